/* SPDX-License-Identifier: MPL-2.0 */
/* slot.c - attempts: from JOB to the verdict.
 *
 *   FREE ──JOB──► RUNNING ──its processes are gone──► FREE (a verdict is in the outbox)
 *                    └──its lease has ended──► FENCED ──its processes are gone──► FREE (no verdict)
 *
 * A JOB that is not started is answered as softly as possible: RELEASED where this worker just
 * cannot now or the lease is over (while BEATs are answered the broker waits long for word of it),
 * FAIL or DISCARD where no further attempt here would fare better. */
#include <stdio.h>
#include <string.h>

#include "worker/pool/command.h"
#include "worker/pool/impl.h"

static struct slot *slot_holding(struct pool *p, const struct ref *ref)
{
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].state != SLOT_FREE && ref_eq(&p->slots[i].ref, ref))
            return &p->slots[i];
    return NULL;
}

static struct slot *slot_free_one(struct pool *p)
{
    for (size_t i = 0; p->busy < p->slot_count && i < p->slot_count; i++)
        if (p->slots[i].state == SLOT_FREE)
            return &p->slots[i];
    return NULL;
}

/* A verdict on a JOB that never ran. */
static void refuse(struct pool *p, const struct ref *ref, enum verb verb, int exit_code,
                   const char *reason)
{
    struct verdict_header header;
    struct blob *none[2] = {NULL, NULL};
    if (outbox_is_full(p))
        return; /* never reported, so the broker takes it back */
    verdict_header_init(&header);
    header.exit_code = exit_code;
    snprintf(header.reason, sizeof header.reason, "%s", reason);
    outbox_add(p, ref, verb, &header, none);
    if (verb != VERB_RELEASED)
        p->stats.failed++;
}

static void refuse_with(struct pool *p, const struct ref *ref, enum verb verb, int exit_code,
                        const char *text)
{
    char reason[PROTO_REASON_BYTES_MAX + 1];
    snprintf(reason, sizeof reason, "%.*s (worker %.*s)", PROTO_REASON_BYTES_MAX / 2, text,
             PROTO_REASON_BYTES_MAX / 2 - 16, p->ready.name);
    refuse(p, ref, verb, exit_code, reason);
}

static void slot_start(struct pool *p, const struct ref *ref, const struct job_spec *spec,
                       struct view body)
{
    struct slot *slot = slot_free_one(p);
    bool is_open = p->mode == MODE_SERVING || p->mode == MODE_QUIET;
    if (slot == NULL || !is_open || p->outbox_count + p->busy >= PROTO_OUTBOX_MAX) {
        p->stats.refused_full++;
        refuse(p, ref, VERB_RELEASED, -1, is_open ? "no free slot" : "the worker is leaving");
        return;
    }
    enum job_kind kind = spec->argc > 0 ? JOB_COMMAND : JOB_PAYLOAD;
    if ((p->ready.kinds & KIND_BIT(kind)) == 0) {
        refuse_with(p, ref, VERB_FAIL, -1,
                    kind == JOB_COMMAND ? "takes no command jobs" : "takes no payload jobs");
        return;
    }
    struct error e = {0};
    struct command_context context = {
        .spec = spec,
        .ref = ref,
        .body = body,
        .queue = p->ready.queues[0],
        .worker = p->ready.name,
        .slot = (size_t)(slot - p->slots),
        .handler_argv = (const char *const *)p->handler_argv,
        .handler_argc = p->handler_argc,
        .kill_grace_ms = p->kill_grace_ms,
    };
    struct pool_command *command = command_build(&context, &e);
    if (command == NULL) {
        refuse_with(p, ref, VERB_FAIL, 126, e.text);
        return;
    }
    *slot = (struct slot){.state = SLOT_RUNNING,
                          .ref = *ref,
                          .lease_end_ms = link_base_lease_end(p),
                          .since_beat = p->beat_number};
    p->busy++;
    p->stats.started++;
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_SPAWN);
    effect->slot = context.slot;
    effect->lease = ref->lease;
    effect->fence_ms = slot->lease_end_ms;
    effect->command = command;
}

void slot_on_job(struct pool *p, const struct msg *msg)
{
    struct ref ref;
    struct job_spec spec;
    struct error e = {0};
    p->received++;
    if (!ref_parse(msg->subject, &ref) || msg->body_count != 1) {
        p->stats.refused_other++;
        return;
    }
    if (slot_holding(p, &ref) != NULL || outbox_find(p, &ref) != NULL) {
        p->stats.refused_twice++;
        return;
    }
    if (p->now_ms >= link_base_lease_end(p)) {
        p->stats.refused_late++;
        pool_effects_log(p->fx, POOL_LEVEL_INFO, "job %llu came after the end of its lease",
                         (unsigned long long)ref.job);
        refuse(p, &ref, VERB_RELEASED, -1, "it came after the end of its lease");
        return;
    }
    if (job_spec_decode(msg->header, &spec, &e) != 0)
        refuse_with(p, &ref, VERB_DISCARD, -1, e.text);
    else
        slot_start(p, &ref, &spec, msg->bodies[0]);
    job_spec_fini(&spec);
}

void slot_on_cancel(struct pool *p, const struct msg *msg)
{
    struct ref ref;
    struct cancel_header header;
    if (!ref_parse(msg->subject, &ref) ||
        cancel_header_decode(msg->header, &header, NULL) != STATUS_OK) {
        p->stats.refused_other++;
        return;
    }
    struct slot *slot = slot_holding(p, &ref);
    if (slot == NULL || slot->state != SLOT_RUNNING)
        return;
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_STOP);
    effect->slot = (size_t)(slot - p->slots);
    effect->lease = ref.lease;
    effect->cause = POOL_CAUSE_CANCELLED;
    effect->grace_ms = header.grace_ms;
}

static struct slot *slot_of_event(struct pool *p, size_t index, uint64_t lease)
{
    if (index >= p->slot_count || p->slots[index].state == SLOT_FREE ||
        p->slots[index].ref.lease != lease)
        return NULL;
    return &p->slots[index];
}

void slot_on_output(struct pool *p, const struct pool_output *output)
{
    const struct slot *slot = slot_of_event(p, output->slot, output->lease);
    if (slot == NULL || slot->state != SLOT_RUNNING || p->link != POOL_LINK_UP ||
        output->bytes.size == 0)
        return; /* the view of a follower has a hole, the verdict will not */
    char tag[SESSION_BYTES_MAX];
    char subject[REF_BYTES_MAX];
    char offset[24];
    size_t tag_size = session_format(&p->session, tag);
    size_t subject_size = ref_format(&slot->ref, subject);
    int offset_size = snprintf(offset, sizeof offset, "%llu", (unsigned long long)output->offset);
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_SEND_RESULTS);
    outmsg_init(&effect->message, VERB_OUTPUT, view_of(tag, tag_size),
                view_of(subject, subject_size));
    outmsg_body(&effect->message, blob_from_view(view_str(output->stream == 0 ? "out" : "err")));
    outmsg_body(&effect->message, blob_new(offset, (size_t)offset_size));
    outmsg_body(&effect->message, blob_from_view(output->bytes));
}

/* ---- ends ---- */

/* What the end of an attempt means to the broker, with the reason in words. */
static enum verb judge(const struct pool *p, const struct pool_exit *x, char *reason, size_t size)
{
    switch (x->cause) {
    case POOL_CAUSE_RELEASED:
        snprintf(reason, size, "the worker is leaving");
        return VERB_RELEASED;
    case POOL_CAUSE_FENCED:
        snprintf(reason, size, "the lease had ended");
        return VERB_RELEASED;
    case POOL_CAUSE_NOT_STARTED:
        snprintf(reason, size, "%.*s (worker %.*s)", PROTO_REASON_BYTES_MAX / 2,
                 x->reason != NULL ? x->reason : "could not be started",
                 PROTO_REASON_BYTES_MAX / 2 - 16, p->ready.name);
        return VERB_FAIL;
    case POOL_CAUSE_TIME_LIMIT:
        snprintf(reason, size, "time limit");
        return VERB_FAIL;
    case POOL_CAUSE_EXITED:
    case POOL_CAUSE_CANCELLED:
        break;
    }
    if (x->signal == 0 && x->exit_code == 0)
        return VERB_DONE;
    if (x->signal != 0)
        snprintf(reason, size, "signal %d", x->signal);
    else
        snprintf(reason, size, "exit %d", x->exit_code);
    return VERB_FAIL;
}

static void report(struct pool *p, const struct slot *slot, const struct pool_exit *x)
{
    struct verdict_header header;
    verdict_header_init(&header);
    enum verb verb = judge(p, x, header.reason, sizeof header.reason);
    header.exit_code = x->exit_code;
    header.signal = x->signal;
    header.is_truncated = x->is_truncated;
    header.stdout_bytes = x->total_bytes[0];
    header.stderr_bytes = x->total_bytes[1];
    header.run_ms = x->run_ms;
    struct blob *bodies[2] = {blob_ref(x->output[0]), blob_ref(x->output[1])};
    outbox_add(p, &slot->ref, verb, &header, bodies);
    if (verb == VERB_DONE)
        p->stats.succeeded++;
    else if (verb == VERB_FAIL)
        p->stats.failed++;
}

void slot_on_exit(struct pool *p, enum pool_event_type type, const struct pool_exit *x)
{
    struct slot *slot = slot_of_event(p, x->slot, x->lease);
    if (slot == NULL)
        return;
    p->busy--;
    if (slot->state == SLOT_RUNNING && type == POOL_EVENT_EXITED) {
        report(p, slot, x);
    } else if (slot->state == SLOT_RUNNING && type == POOL_EVENT_LOST) {
        refuse(p, &slot->ref, VERB_FAIL, -1,
               "keeper lost: the process that kept the job was killed, and the job with it");
    } else if (slot->state == SLOT_RUNNING) {
        p->credit_pause_ms = p->now_ms + POOL_SPAWN_PAUSE_MS;
        p->stats.started--;
        refuse_with(p, &slot->ref, VERB_RELEASED, -1,
                    x->reason != NULL ? x->reason : "cannot start processes");
        pool_effects_log(p->fx, POOL_LEVEL_ERROR, "cannot start job %llu: %s",
                         (unsigned long long)slot->ref.job, x->reason != NULL ? x->reason : "");
    }
    *slot = (struct slot){.state = SLOT_FREE};
}

/* ---- leases ---- */

void slot_renew(struct pool *p, struct slot *slot, uint64_t lease_end_ms)
{
    slot->lease_end_ms = lease_end_ms;
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_FENCE);
    effect->slot = (size_t)(slot - p->slots);
    effect->lease = slot->ref.lease;
    effect->fence_ms = lease_end_ms;
}

void slots_fence(struct pool *p)
{
    for (size_t i = 0; p->busy > 0 && i < p->slot_count; i++) {
        struct slot *slot = &p->slots[i];
        if (slot->state != SLOT_RUNNING || p->now_ms < slot->lease_end_ms)
            continue;
        slot->state = SLOT_FENCED;
        p->stats.fenced++;
        struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_STOP);
        effect->slot = i;
        effect->lease = slot->ref.lease;
        effect->cause = POOL_CAUSE_FENCED;
        effect->grace_ms = 0;
        pool_effects_log(p->fx, POOL_LEVEL_WARN, "job %llu ended: its lease is over",
                         (unsigned long long)slot->ref.job);
    }
}

uint64_t slots_deadline(const struct pool *p)
{
    uint64_t at = NEVER_MS;
    for (size_t i = 0; p->busy > 0 && i < p->slot_count; i++)
        if (p->slots[i].state == SLOT_RUNNING)
            at = min_u64(at, p->slots[i].lease_end_ms);
    return at;
}
