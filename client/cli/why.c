/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/why.h"

#include <stdio.h>

#include "client/cli/job.h"

enum {
    WHY_FIRST_MS = 1500,
    WHY_NEXT_MS = 5000,
};

void why_init(struct why *w, struct cli *cli, uint64_t now_ms)
{
    *w = (struct why){.cli = cli, .next_ms = now_ms + WHY_FIRST_MS};
}

void why_fini(struct why *w)
{
    stint_call_free(&w->call);
}

static void why_answer(struct why *w)
{
    struct stint_bytes text = stint_call_json(w->call);
    json_t *job =
        stint_call_status(w->call) == STINT_OK ? json_loadb(text.data, text.size, 0, NULL) : NULL;
    const char *reason = job_text(job, "waiting_for");
    if (reason[0] != '\0' && strcmp(reason, w->text) != 0) {
        snprintf(w->text, sizeof w->text, "%s", reason);
        cli_say(w->cli, "job %s waits: %s", job_text(job, "id"), reason);
    }
    json_decref(job);
    stint_call_free(&w->call);
}

void why_step(struct why *w, const struct ids *open, uint64_t told, uint64_t now_ms)
{
    if (w->call != NULL && stint_call_is_done(w->call))
        why_answer(w);
    bool is_moving = told != w->told_before;
    w->told_before = told;
    if (is_moving)
        w->next_ms = now_ms + WHY_NEXT_MS;
    if (w->call != NULL || now_ms < w->next_ms || open->count == 0 || w->cli->is_quiet)
        return;
    w->next_ms = now_ms + WHY_NEXT_MS;
    if (stint_is_connected(w->cli->stint))
        stint_get_start(w->cli->stint, open->ranges[0].first, 0, &w->call);
}

uint64_t why_deadline_ms(const struct why *w)
{
    return w->next_ms;
}
