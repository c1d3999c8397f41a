/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/select.h"

#include <string.h>

#include "client/cli/job.h"

enum {
    PAGE_JOBS = 1000,
    SUBJECT_BYTES_MAX = 60000
};

int select_each(struct cli *cli, struct stint_filter filter, uint64_t limit,
                int (*each)(void *arg, const json_t *job), void *arg, bool *ret_more)
{
    bool more = true;
    int code = EXIT_DONE;
    while (more && limit > 0 && code == EXIT_DONE) {
        struct stint_call *c = NULL;
        filter.limit = min_u64(limit, PAGE_JOBS);
        int status = stint_list_start(cli->stint, &filter, &c);
        code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
        json_t *reply = code == EXIT_DONE ? cli_json(cli, c) : NULL;
        if (code == EXIT_DONE && reply == NULL)
            code = EXIT_INTERNAL;
        size_t i = 0;
        json_t *job = NULL;
        json_array_foreach(json_object_get(reply, "jobs"), i, job)
        {
            filter.before = job_number(job, "id");
            limit--;
            code = each(arg, job);
            if (code != EXIT_DONE)
                break;
        }
        more = json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
        stint_call_free(&c);
    }
    if (ret_more != NULL)
        *ret_more = more;
    return code;
}

static int id_take(void *arg, const json_t *job)
{
    uint64_t id = job_number(job, "id");
    if (id > 0)
        ids_add(arg, id, id);
    return EXIT_DONE;
}

int select_states(struct cli *cli, struct ids *ids, const char *states)
{
    struct ids found;
    int code = EXIT_DONE;
    ids_init(&found);
    while (ids->count > 0 && code == EXIT_DONE) {
        struct buf text;
        struct ids asked;
        ids_init(&asked);
        buf_init(&text, SUBJECT_BYTES_MAX + 64);
        ids_text(ids, &text, SUBJECT_BYTES_MAX);
        ids_parse(&asked, buf_view(&text));
        struct stint_filter filter = {.ids = buf_cstr(&text), .states = states};
        code = select_each(cli, filter, NEVER_MS, id_take, &found, NULL);
        ids_drop(ids, asked.ranges[asked.size - 1].last);
        ids_fini(&asked);
        buf_fini(&text);
    }
    ids_fini(ids);
    *ids = found;
    if (code == EXIT_DONE && found.count == 0)
        code = cli_error(cli, STINT_NOT_FOUND,
                         states != NULL
                             ? "none of these jobs is unfinished"
                             : "no such job (any more; finished jobs are kept for a while)");
    return code;
}

int select_existing(struct cli *cli, struct ids *ids)
{
    return ids->count == 1 ? EXIT_DONE : select_states(cli, ids, NULL);
}
