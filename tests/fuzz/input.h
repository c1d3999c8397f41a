/* SPDX-License-Identifier: MPL-2.0 */
/* input.h - a fuzzer's bytes as a stream of numbers, texts and multipart messages.
 *
 * Reading past the end gives zeros and empty texts, so every input means something. */
#ifndef STINT_TESTS_FUZZ_INPUT_H
#define STINT_TESTS_FUZZ_INPUT_H

#include "common/base/view.h"

struct input {
    const uint8_t *data;
    size_t left;
};

uint8_t input_u8(struct input *in);
uint64_t input_u64(struct input *in);
/* A text: a length byte, then its bytes. */
struct view input_text(struct input *in);

#define INPUT_FRAMES_MAX 12
/* A message: a byte for the number of frames, then texts. A first byte of 0x80 and above stands for
 * a well-formed start: "ST1", a verb by number, the tag given, then texts. */
size_t input_message(struct input *in, const char *tag, struct view frames[INPUT_FRAMES_MAX]);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
