/* SPDX-License-Identifier: MPL-2.0 */
#include "common/net/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/text.h"

#define SYSTEM_DIRECTORY "/run/stint"
/* sun_path holds this much, NUL included; the longest socket name goes behind the directory. */
#define DIRECTORY_BYTES_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof "/clients")

static const char *const socket_names[] = {"clients", "workers", "results", "control"};

static int address_ipc(const char *directory, struct net_address *a, struct error *e)
{
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        length--;
    if (directory[0] != '/')
        return error_set(e, 2, "bad address 'ipc://%.200s': an absolute directory is needed",
                         directory);
    if (length > DIRECTORY_BYTES_MAX)
        return error_set(e, 2,
                         "bad address 'ipc://%.200s': the path is too long for a socket (at most "
                         "%zu bytes)",
                         directory, DIRECTORY_BYTES_MAX);
    *a = (struct net_address){.is_ipc = true};
    memcpy(a->host, directory, length);
    return 0;
}

static int address_tcp(const char *host_port, uint16_t default_port, struct net_address *a,
                       struct error *e)
{
    const char *colon = strrchr(host_port, ':');
    const char *bracket = strrchr(host_port, ']');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    size_t host = has_port ? (size_t)(colon - host_port) : strlen(host_port);
    uint64_t port = default_port;
    if (host == 0 || host >= ADDRESS_HOST_BYTES ||
        (has_port && (!text_u64(colon + 1, &port) || port == 0 || port > 65533)))
        return error_set(e, 2, "bad address 'tcp://%.200s': tcp://HOST:PORT is needed", host_port);
    *a = (struct net_address){.port = (uint16_t)port};
    memcpy(a->host, host_port, host);
    return 0;
}

int net_address_parse(const char *text, uint16_t default_port, struct net_address *ret,
                      struct error *e)
{
    if (strncmp(text, "ipc://", 6) == 0)
        return address_ipc(text + 6, ret, e);
    if (strncmp(text, "tcp://", 6) == 0)
        return address_tcp(text + 6, default_port, ret, e);
    return error_set(e, 2, "bad address '%.200s': ipc://DIRECTORY or tcp://HOST:PORT is needed",
                     text);
}

void net_address_text(const struct net_address *a, char out[ENDPOINT_BYTES_MAX])
{
    if (a->is_ipc)
        snprintf(out, ENDPOINT_BYTES_MAX, "ipc://%s", a->host);
    else
        snprintf(out, ENDPOINT_BYTES_MAX, "tcp://%s:%u", a->host, a->port);
}

void net_endpoint(const struct net_address *a, enum plane_socket socket, uint16_t port,
                  char out[ENDPOINT_BYTES_MAX])
{
    if (a->is_ipc)
        snprintf(out, ENDPOINT_BYTES_MAX, "ipc://%s/%s", a->host, socket_names[socket]);
    else
        snprintf(out, ENDPOINT_BYTES_MAX, "tcp://%s:%u", a->host, port);
}

bool net_address_is_local(const struct net_address *a)
{
    return a->is_ipc || strncmp(a->host, "127.", 4) == 0 || strcmp(a->host, "localhost") == 0 ||
           strcmp(a->host, "[::1]") == 0 || strcmp(a->host, "lo") == 0;
}

bool net_address_is_there(const struct net_address *a, enum plane_socket socket)
{
    char endpoint[ENDPOINT_BYTES_MAX];
    net_endpoint(a, socket, a->port, endpoint);
    return !a->is_ipc || access(endpoint + strlen("ipc://"), F_OK) == 0;
}

bool net_address_is_guarded(const struct net_address *a)
{
    struct stat st;
    if (!a->is_ipc)
        return false;
    if (stat(a->host, &st) != 0)
        return true;
    bool is_ours = st.st_uid == geteuid() || st.st_uid == 0;
    return is_ours && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* The user's directory: $XDG_STATE_HOME/stint or ~/.local/state/stint. */
static bool address_user(struct net_address *a)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char directory[ADDRESS_HOST_BYTES] = "";
    int n = -1;
    if (state != NULL && state[0] == '/')
        n = snprintf(directory, sizeof directory, "%s/stint", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(directory, sizeof directory, "%s/.local/state/stint", home);
    return n > 0 && (size_t)n < sizeof directory && address_ipc(directory, a, NULL) == 0;
}

size_t net_address_defaults(struct net_address list[NET_DEFAULTS_MAX])
{
    size_t n = 0;
    bool is_root = geteuid() == 0;
    if (is_root && address_ipc(SYSTEM_DIRECTORY, &list[n], NULL) == 0)
        n++;
    if (address_user(&list[n]))
        n++;
    if (!is_root && address_ipc(SYSTEM_DIRECTORY, &list[n], NULL) == 0)
        n++;
    return n;
}
