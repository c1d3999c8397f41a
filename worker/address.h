/* SPDX-License-Identifier: MPL-2.0 */
/* address.h - where the broker is: ipc://DIRECTORY or tcp://HOST:PORT, or the default places. */
#ifndef STINT_WORKER_ADDRESS_H
#define STINT_WORKER_ADDRESS_H

#include "common/base/base.h"
#include "common/base/error.h"

#define ADDRESS_BYTES_MAX 320
#define ADDRESSES_MAX 2

struct address {
    bool is_ipc;
    char text[ADDRESS_BYTES_MAX]; /* as given, port filled in: "ipc:///run/stint" */
    char host[ADDRESS_BYTES_MAX]; /* tcp: what stands before the port */
};

/* Reads one address, or with NULL the defaults in the order in which they are tried: the user's
 * directory, then /run/stint (root: the other way round). 0, or -1 with `e`. */
int addresses_set(struct address list[ADDRESSES_MAX], size_t *ret_count, const char *given,
                  struct error *e);

/* The endpoint of one of the broker's sockets: "clients", "workers", "results" in the directory;
 * on tcp the given port. */
void address_endpoint(const struct address *a, const char *socket_name, unsigned port,
                      char out[ADDRESS_BYTES_MAX]);

/* True where a socket of that broker exists (always on tcp): a hint which default to dial. */
bool address_is_there(const struct address *a);

#endif
