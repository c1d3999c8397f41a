/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/items.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 << 10
};

void items_init_fd(struct items *s, int fd, char separator)
{
    *s = (struct items){.fd = fd, .separator = separator};
    buf_init(&s->data, STINT_PAYLOAD_BYTES_MAX + 2 * READ_BYTES);
}

void items_init_words(struct items *s, char **words, size_t count)
{
    *s = (struct items){.fd = -1, .words = words, .words_left = count};
    buf_init(&s->data, 0);
}

void items_fini(struct items *s)
{
    buf_fini(&s->data);
}

static enum items_next item_give(struct items *s, size_t size, struct stint_bytes *ret)
{
    *ret = (struct stint_bytes){s->data.data + s->at, size};
    s->count++;
    return size > STINT_PAYLOAD_BYTES_MAX ? ITEMS_TOO_LARGE : ITEMS_ONE;
}

enum items_next items_next(struct items *s, struct stint_bytes *ret)
{
    if (s->words != NULL) {
        if (s->words_left == 0)
            return ITEMS_END;
        *ret = (struct stint_bytes){*s->words, strlen(*s->words)};
        s->words++;
        s->words_left--;
        s->count++;
        return ret->size > STINT_PAYLOAD_BYTES_MAX ? ITEMS_TOO_LARGE : ITEMS_ONE;
    }
    size_t left = s->data.size - s->scanned;
    const uint8_t *end = left > 0 ? memchr(s->data.data + s->scanned, s->separator, left) : NULL;
    if (end != NULL) {
        size_t size = (size_t)(end - (s->data.data + s->at));
        enum items_next result = item_give(s, size, ret);
        s->at += size + 1;
        s->scanned = s->at;
        return result;
    }
    s->scanned = s->data.size;
    if (s->data.size - s->at > STINT_PAYLOAD_BYTES_MAX)
        return ITEMS_TOO_LARGE;
    if (s->fd >= 0)
        return ITEMS_MORE;
    if (s->data.size == s->at)
        return ITEMS_END;
    enum items_next result = item_give(s, s->data.size - s->at, ret);
    s->at = s->data.size;
    return result;
}

int items_read(struct items *s)
{
    char chunk[READ_BYTES];
    if (s->at > 0)
        buf_drop_front(&s->data, s->at);
    s->scanned -= s->at;
    s->at = 0;
    ssize_t n = read(s->fd, chunk, sizeof chunk);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : errno;
    if (n == 0)
        s->fd = -1;
    buf_add(&s->data, chunk, (size_t)n);
    return s->data.failed ? ENOMEM : 0;
}
