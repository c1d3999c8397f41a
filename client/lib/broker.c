/* SPDX-License-Identifier: MPL-2.0 */
/* broker.c - PING, STATUS, WORKERS, and the control socket's SHUTDOWN and PROGRESS. */
#include "client/lib/impl.h"

int stint_ping_start(struct stint *s, struct stint_call **ret)
{
    return call_start(s, VERB_PING, view_of(NULL, 0), NULL, NULL, 0, 0, ret);
}

int stint_status_start(struct stint *s, struct stint_call **ret)
{
    return call_start(s, VERB_STATUS, view_of(NULL, 0), NULL, NULL, 0, 0, ret);
}

int stint_workers_start(struct stint *s, struct stint_call **ret)
{
    return call_start(s, VERB_WORKERS, view_of(NULL, 0), NULL, NULL, 0, 0, ret);
}

int stint_shutdown_start(struct stint *s, const char *mode, uint64_t grace_ms, bool keep_workers,
                         struct stint_call **ret)
{
    json_t *header = json_object();
    if (grace_ms != STINT_DEFAULT)
        json_object_set_new(header, "grace_ms", json_integer((json_int_t)grace_ms));
    if (keep_workers)
        json_object_set_new(header, "keep_workers", json_true());
    return call_start(s, VERB_SHUTDOWN, view_str(mode), header, NULL, 0, 0, ret);
}

int stint_progress_start(struct stint *s, const char *known_json, struct stint_call **ret)
{
    static const char *const keys[] = {"phase", "running", "ready", "workers"};
    json_t *known = known_json != NULL ? json_loads(known_json, 0, NULL) : NULL;
    json_t *header = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *value = json_object_get(known, keys[i]);
        if (value != NULL)
            json_object_set(header, keys[i], value);
    }
    json_decref(known);
    return call_start(s, VERB_PROGRESS, view_of(NULL, 0), header, NULL, 0, 1000, ret);
}

int stint_ping(struct stint *s)
{
    struct stint_call *c = NULL;
    int status = stint_ping_start(s, &c);
    if (status == STINT_OK)
        status = stint_call_wait(c, STINT_NEVER);
    stint_call_free(&c);
    return status;
}
