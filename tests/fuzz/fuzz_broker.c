/* SPDX-License-Identifier: MPL-2.0 */
/* Sequences of messages from clients and workers through ingress, core and egress, with time that
 * passes. A store stands behind it that commits at once and answers every query with nothing. */
#include "broker/core/core.h"
#include "broker/egress/egress.h"
#include "broker/ingress/ingress.h"
#include "tests/fuzz/input.h"

struct world {
    struct core *core;
    struct ingress *ingress;
    struct effects fx;
    uint64_t now_ms;
};

static const struct egress_config egress = {"0", "memory:", "ipc:///x", 0, 0};

static void flush(struct world *w)
{
    uint64_t tokens[64];
    enum query_type types[64];
    size_t token_count = 0;
    core_turn_end(w->core, w->now_ms, &w->fx);
    for (size_t i = 0; i < w->fx.count; i++) {
        struct effect *f = &w->fx.list[i];
        struct outmsg m;
        if (f->type == EFFECT_QUERY && token_count < ARRAY_SIZE(tokens)) {
            types[token_count] = f->query.type;
            tokens[token_count++] = f->query.token;
        }
        if (f->type == EFFECT_QUERY || f->type == EFFECT_NOTE || f->type == EFFECT_EXIT)
            continue;
        egress_encode(&egress, f, &m);
        outmsg_fini(&m);
    }
    effects_reset(&w->fx);
    for (size_t i = 0; i < token_count; i++) {
        struct query_answer a = {.type = types[i], .token = tokens[i], .is_complete = true};
        struct event e = {
            .type = EVENT_ANSWER, .now_ms = w->now_ms, .wall_ms = w->now_ms, .answer = &a};
        core_step(w->core, &e, &w->fx);
    }
}

static void simple(struct world *w, enum event_type type, struct input *in)
{
    struct event e = {.type = type, .now_ms = w->now_ms, .wall_ms = w->now_ms};
    if (type == EVENT_CUT)
        e.cut = input_u8(in) % 4;
    if (type == EVENT_SPACE)
        e.space.free_bytes = input_u64(in);
    if (type == EVENT_UNREACHABLE) {
        e.caller.route.id_size = 1;
        e.caller.route.id[0] = input_u8(in) % 4;
    }
    core_step(w->core, &e, &w->fx);
}

static void message(struct world *w, struct input *in)
{
    static const enum plane planes[] = {PLANE_C, PLANE_W, PLANE_R, PLANE_T};
    static const char *const tags[] = {"0000000000000001.1.10", "0000000000000002.1.10",
                                       "0000000000000001.2.10", "R0000000000000003.1"};
    struct view frames[INPUT_FRAMES_MAX];
    uint8_t who = input_u8(in);
    struct arrival a = {.plane = planes[who % 4],
                        .peer = view_of(&who, 1),
                        .connection = who % 4,
                        .now_ms = w->now_ms,
                        .wall_ms = w->now_ms};
    size_t n = input_message(in, tags[who / 4 % 4], frames);
    const struct event *e = ingress_decode(w->ingress, &a, frames, n);
    if (e != NULL)
        core_step(w->core, e, &w->fx);
    ingress_release(w->ingress);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum event_type simples[] = {EVENT_TICK, EVENT_CUT, EVENT_UNREACHABLE, EVENT_SPACE,
                                              EVENT_TERM};
    struct input in = {data, size};
    struct core_config config;
    struct world w = {.now_ms = 10000};
    core_config_init(&config);
    w.core = core_new(&config);
    w.ingress = ingress_new();
    effects_init(&w.fx);
    struct event start = {.type = EVENT_START, .now_ms = w.now_ms, .wall_ms = w.now_ms};
    core_step(w.core, &start, &w.fx);
    flush(&w);
    while (in.left > 0) {
        uint8_t what = input_u8(&in);
        if (what < 200) {
            message(&w, &in);
        } else {
            w.now_ms += input_u64(&in) % 100000;
            simple(&w, simples[what % ARRAY_SIZE(simples)], &in);
        }
        if (what % 2 == 0)
            flush(&w);
    }
    flush(&w);
    effects_fini(&w.fx);
    ingress_free(&w.ingress);
    core_free(&w.core);
    return 0;
}
