/* SPDX-License-Identifier: MPL-2.0 */
#include "broker/core/query.h"

#include <stdlib.h>

void query_fini(struct query *q)
{
    free(q->ranges);
    q->ranges = NULL;
    q->range_count = 0;
}

void query_answer_fini(struct query_answer *a)
{
    for (size_t i = 0; i < a->row_count; i++)
        job_row_fini(&a->rows[i]);
    free(a->rows);
    a->rows = NULL;
    a->row_count = 0;
}
