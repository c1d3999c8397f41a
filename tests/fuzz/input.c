/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/fuzz/input.h"

static const char *const verbs[] = {
#define VERB(id, name, planes, subject, bodies_min, bodies_max) name,
#include "common/proto/verb.def"
#undef VERB
};

uint8_t input_u8(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

uint64_t input_u64(struct input *in)
{
    uint64_t n = 0;
    for (unsigned bytes = input_u8(in) % 9; bytes > 0; bytes--)
        n = n << 8 | input_u8(in);
    return n;
}

struct view input_text(struct input *in)
{
    size_t size = (size_t)min_u64(input_u8(in), in->left);
    struct view v = view_of(in->data, size);
    in->data += size;
    in->left -= size;
    return v;
}

size_t input_message(struct input *in, const char *tag, struct view frames[INPUT_FRAMES_MAX])
{
    uint8_t kind = input_u8(in);
    size_t count = kind % (INPUT_FRAMES_MAX + 1);
    size_t i = 0;
    if (kind >= 0x80 && count >= 3) {
        frames[i++] = view_str("ST1");
        frames[i++] = view_str(verbs[input_u8(in) % ARRAY_SIZE(verbs)]);
        frames[i++] = view_str(tag);
    }
    for (; i < count; i++)
        frames[i] = input_text(in);
    return count;
}
