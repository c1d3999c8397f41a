/* SPDX-License-Identifier: MPL-2.0 */
#include "broker/core/effect.h"

#include <stdlib.h>

#include "common/base/memory.h"

void effects_init(struct effects *fx)
{
    *fx = (struct effects){0};
}

void effect_fini(struct effect *f)
{
    switch (f->type) {
    case EFFECT_JOBS:
        for (size_t i = 0; i < f->jobs.count; i++)
            job_row_fini(&f->jobs.jobs[i].row);
        free(f->jobs.jobs);
        break;
    case EFFECT_FINISHED:
        for (size_t i = 0; i < f->finished.count; i++)
            finish_unref(&f->finished.finishes[i]);
        free(f->finished.finishes);
        break;
    case EFFECT_FOLLOWED:
        blob_unref(&f->followed.stdout_data);
        blob_unref(&f->followed.stderr_data);
        break;
    case EFFECT_STATUS:
        free(f->status->queues);
        free(f->status);
        break;
    case EFFECT_WORKERS:
        for (size_t i = 0; i < f->workers.count; i++)
            free(f->workers.workers[i].queues);
        free(f->workers.workers);
        break;
    case EFFECT_JOB:
        job_template_unref(&f->job.template);
        blob_unref(&f->job.payload);
        break;
    case EFFECT_QUERY:
        query_fini(&f->query);
        break;
    default:
        break;
    }
}

void effects_reset(struct effects *fx)
{
    for (size_t i = 0; i < fx->count; i++)
        effect_fini(&fx->list[i]);
    fx->count = 0;
    for (size_t i = 0; i < fx->record_count; i++)
        record_fini(&fx->records[i]);
    fx->record_count = 0;
}

void effects_fini(struct effects *fx)
{
    effects_reset(fx);
    free(fx->list);
    free(fx->records);
    effects_init(fx);
}

struct effect *effects_add(struct effects *fx, enum effect_type type, const struct caller *caller)
{
    if (fx->count == fx->capacity) {
        fx->capacity = fx->capacity > 0 ? fx->capacity * 2 : 64;
        fx->list = mem_realloc_array(fx->list, fx->capacity, sizeof fx->list[0]);
    }
    struct effect *f = &fx->list[fx->count++];
    memset(f, 0, sizeof *f);
    f->type = type;
    f->waits = true;
    if (caller != NULL)
        f->caller = *caller;
    return f;
}

struct record *effects_record(struct effects *fx, enum record_type type, uint64_t job)
{
    if (fx->record_count == fx->record_capacity) {
        fx->record_capacity = fx->record_capacity > 0 ? fx->record_capacity * 2 : 64;
        fx->records = mem_realloc_array(fx->records, fx->record_capacity, sizeof fx->records[0]);
    }
    struct record *r = &fx->records[fx->record_count++];
    memset(r, 0, sizeof *r);
    r->type = type;
    r->job = job;
    return r;
}
