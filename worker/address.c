/* SPDX-License-Identifier: MPL-2.0 */
#include "worker/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/view.h"
#include "common/proto/limits.h"

#define SYSTEM_DIRECTORY "/run/stint"
#define SOCKET_PATH_BYTES_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

static int address_ipc(struct address *a, const char *directory, struct error *e)
{
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        length--;
    if (directory[0] != '/')
        return error_set(e, 2, "bad address 'ipc://%.200s': the directory must be an absolute path",
                         directory);
    if (length + sizeof "/workers" > SOCKET_PATH_BYTES_MAX)
        return error_set(e, 2,
                         "bad address 'ipc://%.200s': the path is too long for a socket (at "
                         "most %zu bytes)",
                         directory, SOCKET_PATH_BYTES_MAX - sizeof "/workers");
    *a = (struct address){.is_ipc = true};
    snprintf(a->text, sizeof a->text, "ipc://%.*s", (int)length, directory);
    return 0;
}

static int address_tcp(struct address *a, const char *host_port, struct error *e)
{
    const char *colon = strrchr(host_port, ':');
    const char *bracket = strrchr(host_port, ']');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    size_t host = has_port ? (size_t)(colon - host_port) : strlen(host_port);
    uint64_t port = PROTO_PORT_DEFAULT;
    if (host == 0 || host > 255 ||
        (has_port && (!view_u64(view_str(colon + 1), &port) || port == 0 || port > 65535)))
        return error_set(e, 2,
                         "bad address 'tcp://%.200s': expected tcp://HOST:PORT, port 1 to "
                         "65535",
                         host_port);
    *a = (struct address){0};
    snprintf(a->text, sizeof a->text, "tcp://%.*s:%u", (int)host, host_port, (unsigned)port);
    snprintf(a->host, sizeof a->host, "%.*s", (int)host, host_port);
    return 0;
}

/* $XDG_STATE_HOME/stint or ~/.local/state/stint; false where neither is set. */
static bool user_directory(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n = 0;
    if (state != NULL && state[0] == '/')
        n = snprintf(out, size, "%s/stint", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, size, "%s/.local/state/stint", home);
    return n > 0 && (size_t)n < size;
}

static int addresses_default(struct address list[ADDRESSES_MAX], size_t *ret_count, struct error *e)
{
    char user[ADDRESS_BYTES_MAX / 2];
    bool is_root = geteuid() == 0;
    bool has_user = user_directory(user, sizeof user);
    const char *directories[ADDRESSES_MAX] = {has_user && !is_root ? user : SYSTEM_DIRECTORY,
                                              has_user && !is_root ? SYSTEM_DIRECTORY : user};
    *ret_count = has_user ? 2 : 1;
    for (size_t i = 0; i < *ret_count; i++)
        if (address_ipc(&list[i], directories[i], e) != 0)
            return -1;
    return 0;
}

int addresses_set(struct address list[ADDRESSES_MAX], size_t *ret_count, const char *given,
                  struct error *e)
{
    *ret_count = 1;
    if (given == NULL || given[0] == '\0')
        return addresses_default(list, ret_count, e);
    if (strncmp(given, "ipc://", 6) == 0)
        return address_ipc(&list[0], given + 6, e);
    if (strncmp(given, "tcp://", 6) == 0)
        return address_tcp(&list[0], given + 6, e);
    return error_set(e, 2, "bad address '%.200s': expected ipc://DIRECTORY or tcp://HOST:PORT",
                     given);
}

void address_endpoint(const struct address *a, const char *socket_name, unsigned port,
                      char out[ADDRESS_BYTES_MAX])
{
    if (a->is_ipc)
        snprintf(out, ADDRESS_BYTES_MAX, "%.*s/%s", ADDRESS_BYTES_MAX - 16, a->text, socket_name);
    else
        snprintf(out, ADDRESS_BYTES_MAX, "tcp://%.*s:%u", ADDRESS_BYTES_MAX - 16, a->host, port);
}

bool address_is_there(const struct address *a)
{
    char endpoint[ADDRESS_BYTES_MAX];
    if (!a->is_ipc)
        return true;
    address_endpoint(a, "workers", 0, endpoint);
    return access(endpoint + strlen("ipc://"), F_OK) == 0;
}
