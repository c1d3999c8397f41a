/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/impl.h"
#include "common/net/address.h"

static void address_fill(struct address *a, const struct net_address *from, bool control)
{
    enum plane_socket socket = control && from->is_ipc ? NET_CONTROL : NET_CLIENTS;
    *a = (struct address){.is_ipc = from->is_ipc};
    net_address_text(from, a->text);
    net_endpoint(from, socket, from->port, a->endpoint);
}

int addresses_set(struct address list[ADDRESSES_MAX], size_t *ret_count, const char *given,
                  bool control, struct error *e)
{
    struct net_address addresses[NET_DEFAULTS_MAX];
    size_t count = 1;
    *ret_count = 0;
    if (given == NULL || given[0] == '\0') {
        count = net_address_defaults(addresses);
    } else if (net_address_parse(given, PROTO_PORT_DEFAULT, &addresses[0], e) != 0) {
        e->status = STINT_BAD_ARGUMENT;
        return STINT_BAD_ARGUMENT;
    }
    for (size_t i = 0; i < count; i++)
        address_fill(&list[i], &addresses[i], control);
    *ret_count = count;
    return STINT_OK;
}

const char *address_failure(const struct address *a)
{
    if (!a->is_ipc)
        return "no connection";
    if (access(a->endpoint + strlen("ipc://"), W_OK) == 0)
        return "nobody listens on the socket there";
    return errno == EACCES ? "permission denied" : "no broker's socket there";
}
