/* SPDX-License-Identifier: MPL-2.0 */
/* ingress.c - the way of a message into an event: envelope, verb, then the file of its plane. */
#include "broker/ingress/ingress.h"

#include <stdlib.h>

#include "broker/ingress/impl.h"
#include "common/base/memory.h"

struct ingress *ingress_new(void)
{
    return mem_zalloc(sizeof(struct ingress));
}

void ingress_free(struct ingress **in)
{
    if (*in != NULL)
        ingress_release(*in);
    free(*in);
    *in = NULL;
}

uint64_t ingress_dropped(const struct ingress *in)
{
    return in->dropped;
}

void ingress_release(struct ingress *in)
{
    for (size_t i = 0; i < in->body_count; i++)
        blob_unref(&in->bodies[i]);
    in->body_count = 0;
    blob_unref(&in->spec);
    json_decref(in->header);
    in->header = NULL;
}

/* The way back. A head of the envelope that is too large to be echoed is left out: the peer is told
 * so all the same. False where there is no way back. */
static bool route_fill(struct route *r, enum plane plane, struct view peer, const struct msg *m)
{
    bool is_echoed = m->envelope_count < 2 || m->envelope[0].size <= ENVELOPE_BYTES_MAX;
    if (peer.size > ROUTE_BYTES_MAX)
        return false;
    r->socket = plane == PLANE_C   ? SOCKET_CLIENTS
                : plane == PLANE_T ? SOCKET_CONTROL
                                   : SOCKET_WORKERS;
    r->id_size = (uint8_t)peer.size;
    if (peer.size > 0)
        memcpy(r->id, peer.data, peer.size);
    r->envelope_count = is_echoed ? (uint8_t)m->envelope_count : 0;
    if (r->envelope_count == 2) {
        r->envelope_size = (uint8_t)m->envelope[0].size;
        memcpy(r->envelope, m->envelope[0].data, m->envelope[0].size);
    }
    return true;
}

static enum status ingress_plane(struct ingress *in, enum plane plane, const struct msg *m)
{
    switch (plane) {
    case PLANE_C:
        return ingress_client(in, m);
    case PLANE_T:
        return ingress_control(in, m);
    case PLANE_W:
        return ingress_worker(in, m);
    default:
        return ingress_result(in, m);
    }
}

const struct event *ingress_decode(struct ingress *in, const struct arrival *a,
                                   const struct view *frames, size_t frame_count)
{
    struct msg m;
    struct event *e = &in->event;
    ingress_release(in);
    memset(e, 0, sizeof *e);
    e->now_ms = a->now_ms;
    e->wall_ms = a->wall_ms;
    e->connection = a->connection;
    e->is_pressed = a->is_pressed;
    enum status s = msg_decode(frames, frame_count, a->plane, &m, &in->error);
    if (!route_fill(&e->caller.route, a->plane, a->peer, &m)) {
        in->dropped++;
        return NULL;
    }
    e->caller.tag_size = (uint8_t)m.tag.size;
    if (m.tag.size > 0)
        memcpy(e->caller.tag, m.tag.data, m.tag.size);
    if (m.envelope_count > e->caller.route.envelope_count) {
        error_set(&in->error, STATUS_BAD_MESSAGE, "an envelope of %zu bytes; at most %d",
                  m.envelope[0].size, ENVELOPE_BYTES_MAX);
        s = STATUS_BAD_MESSAGE;
    }
    if (s == STATUS_OK)
        s = ingress_plane(in, a->plane, &m);
    if (s == STATUS_OK)
        return e;
    if (a->plane == PLANE_R) { /* nobody to tell */
        in->dropped++;
        return NULL;
    }
    e->type = EVENT_REFUSED;
    e->refused.status = s;
    e->refused.text = in->error.text;
    return e;
}

/* --- JSON headers of requests --- */

enum status ingress_refuse(struct ingress *in, enum status s, const char *key, const char *why)
{
    error_set(&in->error, (int)s, "%s: %s", key, why);
    return s;
}

enum status ingress_header(struct ingress *in, const struct msg *m, const char *const *keys)
{
    if (m->header.size == 0)
        return STATUS_OK;
    json_error_t at;
    in->header = json_loadb(m->header.data, m->header.size, JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(in->header))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "the header is not a JSON object", at.text);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(in->header, key, value)
    {
        size_t i = 0;
        while (keys[i] != NULL && strcmp(keys[i], key) != 0)
            i++;
        if (keys[i] == NULL) {
            error_set(&in->error, STATUS_UNKNOWN_KEY, "%s does not know the key \"%.64s\"",
                      verb_name(m->verb), key);
            return STATUS_UNKNOWN_KEY;
        }
    }
    return STATUS_OK;
}

enum status ingress_u64(struct ingress *in, const char *key, uint64_t high, uint64_t *ret)
{
    json_t *value = json_object_get(in->header, key);
    if (value == NULL)
        return STATUS_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > high)
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, key, "not a number within its bounds");
    *ret = (uint64_t)json_integer_value(value);
    return STATUS_OK;
}

enum status ingress_bool(struct ingress *in, const char *key, bool *ret)
{
    json_t *value = json_object_get(in->header, key);
    if (value != NULL && !json_is_boolean(value))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, key, "true or false is needed");
    *ret = json_is_true(value);
    return STATUS_OK;
}

enum status ingress_text(struct ingress *in, const char *key, size_t bytes_max, const char **ret)
{
    json_t *value = json_object_get(in->header, key);
    *ret = "";
    if (value == NULL)
        return STATUS_OK;
    if (!json_is_string(value) || json_string_length(value) > bytes_max)
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, key, "not a text, or too long");
    *ret = json_string_value(value);
    return STATUS_OK;
}
