/* SPDX-License-Identifier: MPL-2.0 */
#include "broker/core/record.h"

#include <stdlib.h>

#include "common/base/memory.h"

static const struct {
    const char *name;
    bool is_final;
} state_table[JOB_STATE_COUNT] = {
#define STATE(id, name, is_final) [JOB_##id] = {name, is_final},
#include "broker/core/state.def"
#undef STATE
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    "ok", "fail", "retry", "discard", "released", "crashed", "unknown", "cancelled", "expired"};

const char *job_state_name(enum job_state s)
{
    return state_table[s].name;
}

bool job_state_is_final(enum job_state s)
{
    return state_table[s].is_final;
}

bool job_state_parse(struct view name, enum job_state *ret)
{
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        if (view_is(name, state_table[i].name)) {
            *ret = (enum job_state)i;
            return true;
        }
    }
    return false;
}

const char *outcome_name(enum outcome o)
{
    return outcome_names[o];
}

struct job_template *job_template_new(const struct job_options *options, struct blob *spec)
{
    struct job_template *t = mem_alloc(sizeof *t);
    atomic_init(&t->refs, 1);
    t->options = *options;
    t->spec = spec;
    return t;
}

struct job_template *job_template_ref(struct job_template *t)
{
    if (t != NULL)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void job_template_unref(struct job_template **t)
{
    struct job_template *it = *t;
    *t = NULL;
    if (it != NULL && atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) == 1) {
        blob_unref(&it->spec);
        free(it);
    }
}

struct finish *finish_new(void)
{
    struct finish *f = mem_zalloc(sizeof *f);
    atomic_init(&f->refs, 1);
    f->exit_code = -1;
    return f;
}

struct finish *finish_ref(struct finish *f)
{
    if (f != NULL)
        atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void finish_unref(struct finish **f)
{
    struct finish *it = *f;
    *f = NULL;
    if (it != NULL && atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) == 1) {
        blob_unref(&it->reason);
        blob_unref(&it->worker);
        blob_unref(&it->stdout_data);
        blob_unref(&it->stderr_data);
        free(it);
    }
}

static void attempt_fini(struct attempt *a)
{
    blob_unref(&a->worker);
    blob_unref(&a->reason);
}

void record_fini(struct record *r)
{
    switch (r->type) {
    case RECORD_ADD:
        job_template_unref(&r->add.template);
        blob_unref(&r->add.payload);
        break;
    case RECORD_LEASE:
        blob_unref(&r->lease.worker);
        break;
    case RECORD_REQUEUE:
        attempt_fini(&r->requeue.ended);
        break;
    case RECORD_CANCEL:
        blob_unref(&r->cancel.reason);
        break;
    case RECORD_FINISH:
        finish_unref(&r->finish);
        break;
    case RECORD_START:
    case RECORD_AWAY:
    case RECORD_QUEUE:
    case RECORD_CLIENT:
    case RECORD_EXPIRE:
        break;
    }
}

void job_row_fini(struct job_row *row)
{
    job_template_unref(&row->template);
    blob_unref(&row->payload);
    blob_unref(&row->worker);
    blob_unref(&row->cancel_reason);
    for (size_t i = 0; i < row->history_count; i++)
        attempt_fini(&row->history[i]);
    free(row->history);
    row->history = NULL;
    row->history_count = 0;
    finish_unref(&row->finish);
}
