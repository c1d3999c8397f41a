/* SPDX-License-Identifier: MPL-2.0 */
/* The message decoder on every plane; what it accepts is encoded again and must decode to the same.
 */
#include <stdlib.h>

#include "common/proto/msg.h"
#include "common/proto/ref.h"
#include "tests/fuzz/input.h"

static void check_again(const struct msg *m, enum plane plane)
{
    struct outmsg out;
    struct view frames[INPUT_FRAMES_MAX];
    struct msg back;
    struct error e;
    outmsg_init(&out, m->verb, m->tag, m->subject);
    outmsg_header(&out, m->header);
    for (size_t i = 0; i < m->body_count; i++)
        outmsg_body(&out, blob_from_view(m->bodies[i]));
    size_t n = outmsg_frame_count(&out);
    for (size_t i = 0; i < n; i++)
        frames[i] = outmsg_frame(&out, i);
    if (msg_decode(frames, n, plane, &back, &e) != STATUS_OK || back.verb != m->verb ||
        !view_eq(back.tag, m->tag) || !view_eq(back.subject, m->subject) ||
        !view_eq(back.header, m->header) || back.body_count != m->body_count)
        abort();
    outmsg_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct view frames[INPUT_FRAMES_MAX];
    struct id_range ranges[16];
    struct msg m;
    struct error e;
    size_t ranges_count = 0;
    enum plane plane = (enum plane)(1 << input_u8(&in) % 6);
    size_t n = input_message(&in, "tag", frames);
    if (msg_decode(frames, n, plane, &m, &e) == STATUS_OK)
        check_again(&m, plane);
    if (n > 0 && idset_parse(frames[n - 1], ranges, ARRAY_SIZE(ranges), &ranges_count))
        for (size_t i = 0; i < ranges_count; i++)
            if (!idset_has(ranges, ranges_count, ranges[i].first) ||
                !idset_has(ranges, ranges_count, ranges[i].last))
                abort();
    return 0;
}
