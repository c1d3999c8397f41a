/* SPDX-License-Identifier: MPL-2.0 */
/* A broker that says anything, to a worker's rules: messages, cuts, ends of jobs, time. */
#include "tests/fuzz/input.h"
#include "worker/pool/pool.h"

static void message(struct pool *pool, struct input *in, uint64_t boot_ms, struct pool_effects *fx)
{
    struct view frames[INPUT_FRAMES_MAX];
    char tag[SESSION_BYTES_MAX];
    struct session s = pool_session(pool);
    struct msg m;
    struct error e;
    if (s.broker_start == 0)
        s.broker_start = 10;
    session_format(&s, tag);
    size_t n = input_message(in, tag, frames);
    if (msg_decode(frames, n, PLANE_B, &m, &e) != STATUS_OK)
        return;
    struct pool_event event = {.type = POOL_EVENT_MESSAGE, .boot_ms = boot_ms, .msg = &m};
    pool_step(pool, &event, fx);
}

static void ended(struct pool *pool, struct input *in, uint64_t boot_ms, struct pool_effects *fx)
{
    struct ref ref = {0};
    uint64_t end_ms = 0;
    struct pool_event event = {.type = POOL_EVENT_EXITED, .boot_ms = boot_ms};
    event.exit.slot = input_u8(in) % 2;
    if (pool_slot_holds(pool, event.exit.slot, &ref, &end_ms))
        event.exit.lease = ref.lease;
    event.exit.exit_code = input_u8(in) % 3;
    event.type = input_u8(in) % 8 == 0 ? POOL_EVENT_LOST : POOL_EVENT_EXITED;
    pool_step(pool, &event, fx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum pool_event_type simples[] = {POOL_EVENT_TICK, POOL_EVENT_CUT, POOL_EVENT_TERM,
                                                   POOL_EVENT_QUIET, POOL_EVENT_TICK};
    struct input in = {data, size};
    struct pool_config config = {.instance = 1, .grace_ms = 30000, .kill_grace_ms = 10000};
    config.ready.slots = 2;
    config.ready.kinds = KIND_BIT(JOB_PAYLOAD) | KIND_BIT(JOB_COMMAND);
    config.ready.queue_count = 1;
    memcpy(config.ready.queues[0], "q", 2);
    struct pool *pool = pool_new(&config);
    struct pool_effects fx;
    pool_effects_init(&fx);
    struct pool_event event = {.type = POOL_EVENT_START, .boot_ms = 1000};
    pool_step(pool, &event, &fx);
    uint64_t boot_ms = 1000;
    while (in.left > 0) {
        uint8_t what = input_u8(&in);
        if (what < 160) {
            message(pool, &in, boot_ms, &fx);
        } else if (what < 210) {
            ended(pool, &in, boot_ms, &fx);
        } else {
            boot_ms += input_u64(&in) % 40000;
            event = (struct pool_event){
                .type = simples[what % ARRAY_SIZE(simples)], .boot_ms = boot_ms, .random = what};
            pool_step(pool, &event, &fx);
        }
        pool_effects_reset(&fx);
    }
    pool_effects_fini(&fx);
    pool_free(&pool);
    return 0;
}
