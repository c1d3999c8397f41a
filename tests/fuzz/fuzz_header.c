/* SPDX-License-Identifier: MPL-2.0 */
/* Every JSON header: job options and their way to the worker, READY, its answer, verdicts, CANCEL.
 */
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/proto/header.h"
#include "common/proto/option.h"
#include "tests/fuzz/input.h"

/* What the broker accepts, the worker must understand. */
static void fuzz_options(struct view header, struct view queue)
{
    struct job_options o;
    struct blob *spec = NULL;
    struct error e;
    if (job_options_decode(header, &o, &spec, &e) != STATUS_OK) {
        if (spec != NULL)
            abort();
        return;
    }
    struct buf b;
    struct job_spec s;
    buf_init(&b, (size_t)PROTO_HEADER_BYTES_MAX * 2);
    job_header_add(&b, blob_view(spec), queue, o.seq);
    if (job_spec_decode(buf_view(&b), &s, &e) != 0 || (s.argc > 0) != (o.kind == JOB_COMMAND) ||
        s.seq != o.seq)
        abort();
    job_spec_fini(&s);
    buf_fini(&b);
    blob_unref(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view header = view_of(data, size);
    struct ready_header ready;
    struct welcome_header welcome;
    struct verdict_header verdict;
    struct cancel_header cancel;
    struct job_spec spec;
    struct error e;
    struct buf b;
    buf_init(&b, (size_t)PROTO_HEADER_BYTES_MAX * 2);
    fuzz_options(header, view_str("q"));
    if (ready_header_decode(header, &ready, &e) == STATUS_OK)
        ready_header_encode(&ready, &b);
    if (welcome_header_decode(header, &welcome, &e) == STATUS_OK)
        welcome_header_encode(&welcome, &b);
    if (verdict_header_decode(header, 1, 2, &verdict, &e) == STATUS_OK)
        verdict_header_encode(&verdict, &b);
    if (cancel_header_decode(header, &cancel, &e) == STATUS_OK)
        cancel_header_encode(&cancel, &b);
    if (b.failed)
        abort();
    if (job_spec_decode(header, &spec, &e) == 0 && spec.argc > PROTO_ARGV_MAX)
        abort();
    job_spec_fini(&spec);
    buf_fini(&b);
    return 0;
}
