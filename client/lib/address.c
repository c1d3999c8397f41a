/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/lib/impl.h"

#define SYSTEM_DIRECTORY "/run/stint"

/* sun_path of a socket holds this much, NUL included. */
#define SOCKET_PATH_BYTES_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

static int address_ipc(struct address *a, const char *directory, bool control, struct error *e)
{
    const char *socket_name = control ? "control" : "clients";
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        length--;
    if (directory[0] != '/') {
        error_set(e, STINT_BAD_ARGUMENT,
                  "bad address 'ipc://%.200s': the directory must be an absolute path", directory);
        return STINT_BAD_ARGUMENT;
    }
    if (length + 1 + strlen(socket_name) + 1 > SOCKET_PATH_BYTES_MAX) {
        error_set(
            e, STINT_BAD_ARGUMENT,
            "bad address 'ipc://%.200s': the path is too long for a socket (at most %zu bytes)",
            directory, SOCKET_PATH_BYTES_MAX - sizeof "/clients");
        return STINT_BAD_ARGUMENT;
    }
    *a = (struct address){.is_ipc = true};
    snprintf(a->text, sizeof a->text, "ipc://%.*s", (int)length, directory);
    snprintf(a->endpoint, sizeof a->endpoint, "ipc://%.*s/%s", (int)length, directory, socket_name);
    return STINT_OK;
}

static int address_tcp(struct address *a, const char *host_port, struct error *e)
{
    const char *colon = strrchr(host_port, ':');
    const char *bracket = strrchr(host_port, ']');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    size_t host = has_port ? (size_t)(colon - host_port) : strlen(host_port);
    uint64_t port = PROTO_PORT_DEFAULT;
    if (host == 0 || host > 255 ||
        (has_port && (!view_u64(view_str(colon + 1), &port) || port == 0 || port > 65535))) {
        error_set(e, STINT_BAD_ARGUMENT,
                  "bad address 'tcp://%.200s': expected tcp://HOST:PORT, port 1 to 65535",
                  host_port);
        return STINT_BAD_ARGUMENT;
    }
    *a = (struct address){0};
    snprintf(a->text, sizeof a->text, "tcp://%.*s:%u", (int)host, host_port, (unsigned)port);
    snprintf(a->endpoint, sizeof a->endpoint, "%s", a->text);
    return STINT_OK;
}

/* The user's directory: $XDG_STATE_HOME/stint or ~/.local/state/stint; false where neither is set.
 */
static bool user_directory(char *out, size_t out_bytes)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n = 0;
    if (state != NULL && state[0] == '/')
        n = snprintf(out, out_bytes, "%s/stint", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, out_bytes, "%s/.local/state/stint", home);
    return n > 0 && (size_t)n < out_bytes;
}

static int addresses_default(struct address list[ADDRESSES_MAX], size_t *ret_count, bool control,
                             struct error *e)
{
    char user[ADDRESS_BYTES_MAX / 2];
    const char *directories[ADDRESSES_MAX];
    size_t count = 0;
    bool is_root = geteuid() == 0;
    if (is_root)
        directories[count++] = SYSTEM_DIRECTORY;
    if (user_directory(user, sizeof user))
        directories[count++] = user;
    if (!is_root)
        directories[count++] = SYSTEM_DIRECTORY;
    for (size_t i = 0; i < count; i++) {
        int status = address_ipc(&list[i], directories[i], control, e);
        if (status != STINT_OK)
            return status;
    }
    *ret_count = count;
    return STINT_OK;
}

int addresses_set(struct address list[ADDRESSES_MAX], size_t *ret_count, const char *given,
                  bool control, struct error *e)
{
    *ret_count = 0;
    if (given == NULL || given[0] == '\0')
        return addresses_default(list, ret_count, control, e);
    int status = STINT_BAD_ARGUMENT;
    if (strncmp(given, "ipc://", 6) == 0)
        status = address_ipc(&list[0], given + 6, control, e);
    else if (strncmp(given, "tcp://", 6) == 0)
        status = address_tcp(&list[0], given + 6, e);
    else
        error_set(e, STINT_BAD_ARGUMENT,
                  "bad address '%.200s': expected ipc://DIRECTORY or tcp://HOST:PORT", given);
    *ret_count = status == STINT_OK ? 1 : 0;
    return status;
}

const char *address_failure(const struct address *a)
{
    if (!a->is_ipc)
        return "no connection";
    if (access(a->endpoint + strlen("ipc://"), W_OK) == 0)
        return "nobody listens on the socket there";
    return errno == EACCES ? "permission denied" : "no broker's socket there";
}
