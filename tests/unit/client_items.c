/* SPDX-License-Identifier: MPL-2.0 */
/* Items of map and submit --lines: every split of the input gives the same items. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/cli/items.h"

/* Feeds `text` in writes of `step` bytes and joins the items with '|'. */
static char *items_of(const char *text, size_t size, size_t step, char separator)
{
    static char out[4096];
    int fds[2];
    struct items items;
    struct stint_bytes item;
    size_t used = 0;
    size_t fed = 0;
    assert_int_equal(pipe(fds), 0);
    items_init_fd(&items, fds[0], separator);
    for (;;) {
        enum items_next next = items_next(&items, &item);
        if (next == ITEMS_END)
            break;
        if (next == ITEMS_ONE) {
            memcpy(out + used, item.data, item.size);
            used += item.size;
            out[used++] = '|';
            continue;
        }
        assert_int_equal(next, ITEMS_MORE);
        size_t n = size - fed < step ? size - fed : step;
        if (n == 0)
            close(fds[1]);
        else
            assert_int_equal(write(fds[1], text + fed, n), n);
        fed += n;
        assert_int_equal(items_read(&items), 0);
    }
    out[used] = '\0';
    items_fini(&items);
    close(fds[0]);
    return out;
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t step = 1; step < 20; step++) {
        assert_string_equal(items_of("a\nbb\n\nc d", 9, step, '\n'), "a|bb||c d|");
        assert_string_equal(items_of("a\n", 2, step, '\n'), "a|");
        assert_string_equal(items_of("\n", 1, step, '\n'), "|");
        assert_string_equal(items_of("", 0, step, '\n'), "");
        assert_string_equal(items_of("a\nb\0c\0", 6, step, '\0'), "a\nb|c|");
        assert_string_equal(items_of("\xff\xfe\r\n", 4, step, '\n'), "\xff\xfe\r|");
    }
}

static void test_words(void **state)
{
    (void)state;
    char a[] = "one";
    char b[] = "";
    char *words[] = {a, b};
    struct items items;
    struct stint_bytes item;
    items_init_words(&items, words, 2);
    assert_int_equal(items_next(&items, &item), ITEMS_ONE);
    assert_memory_equal(item.data, "one", 3);
    assert_int_equal(items_next(&items, &item), ITEMS_ONE);
    assert_int_equal(item.size, 0);
    assert_int_equal(items_next(&items, &item), ITEMS_END);
    assert_int_equal(items.fd, -1);
    items_fini(&items);
}

/* An item may be as large as a payload and not larger, whether its end has come or not. */
static void test_large(void **state)
{
    (void)state;
    char *big = malloc(STINT_PAYLOAD_BYTES_MAX + 2);
    char path[] = "/tmp/stint-items-XXXXXX";
    memset(big, 'x', STINT_PAYLOAD_BYTES_MAX + 1);
    for (size_t extra = 0; extra < 2; extra++) {
        for (int has_end = 0; has_end < 2; has_end++) {
            struct items items;
            struct stint_bytes item;
            size_t size = STINT_PAYLOAD_BYTES_MAX + extra;
            int fd = extra == 0 && !has_end ? mkstemp(path) : open(path, O_RDWR | O_TRUNC);
            assert_true(fd >= 0);
            big[size] = '\n';
            assert_int_equal(write(fd, big, size + (size_t)has_end), size + (size_t)has_end);
            big[size] = 'x';
            lseek(fd, 0, SEEK_SET);
            items_init_fd(&items, fd, '\n');
            enum items_next next;
            while ((next = items_next(&items, &item)) == ITEMS_MORE)
                assert_int_equal(items_read(&items), 0);
            assert_int_equal(next, extra == 0 ? ITEMS_ONE : ITEMS_TOO_LARGE);
            if (extra == 0)
                assert_int_equal(item.size, size);
            items_fini(&items);
            close(fd);
        }
    }
    unlink(path);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
