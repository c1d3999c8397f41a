/* SPDX-License-Identifier: MPL-2.0 */
/* address.h - the one address that names a broker, and the endpoints behind it.
 *
 * "ipc://DIR": a private directory that holds the sockets `clients`, `workers`, `results`,
 * `control`. "tcp://HOST:PORT": the endpoint of `clients`; HELLO names the ports of the others.
 * Default: the user's state directory ($XDG_STATE_HOME/stint or ~/.local/state/stint), for root
 * /run/stint. No network access here. Thread-safe but for the environment that defaults read. */
#ifndef STINT_COMMON_NET_ADDRESS_H
#define STINT_COMMON_NET_ADDRESS_H

#include "common/base/base.h"
#include "common/base/error.h"

#define ADDRESS_HOST_BYTES 256
#define ENDPOINT_BYTES_MAX 320

enum plane_socket {
    NET_CLIENTS,
    NET_WORKERS,
    NET_RESULTS,
    NET_CONTROL
};

struct net_address {
    bool is_ipc;
    uint16_t port;                 /* tcp */
    char host[ADDRESS_HOST_BYTES]; /* tcp: host as given, brackets of IPv6 kept; ipc: directory */
};

/* Parses an address; `default_port` where tcp has none. Returns 0, or -1 with a sentence. */
int net_address_parse(const char *text, uint16_t default_port, struct net_address *ret,
                      struct error *e) MUST_CHECK;

/* The address as text, and the endpoint of one of its sockets (tcp: `port`, ipc: ignored). */
void net_address_text(const struct net_address *a, char out[ENDPOINT_BYTES_MAX]);
void net_endpoint(const struct net_address *a, enum plane_socket socket, uint16_t port,
                  char out[ENDPOINT_BYTES_MAX]);

/* True where only this machine can reach it. */
bool net_address_is_local(const struct net_address *a);

/* True where the socket of an ipc address exists (always on tcp): a hint which default to dial. */
bool net_address_is_there(const struct net_address *a, enum plane_socket socket);

/* True where file permissions guard it: an ipc directory that is this user's or root's and that
 * others may not write to, or that is not there yet. False for tcp. */
bool net_address_is_guarded(const struct net_address *a);

#define NET_DEFAULTS_MAX 2
/* The addresses to try, best first: the user's own, then /run/stint (for root the other way round).
 * Returns how many. */
size_t net_address_defaults(struct net_address list[NET_DEFAULTS_MAX]);

#endif
