/* SPDX-License-Identifier: MPL-2.0 */
/* Buffers stop at their maximum and say so; blobs count their holders; errors keep their context.
 */
#include "tests/unit/unit.h"

#include "common/base/blob.h"
#include "common/base/buf.h"
#include "common/base/error.h"

static void buf_keeps_its_bound(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_string_equal(buf_cstr(&b), "");
    buf_drop_front(&b, 0);
    buf_add_str(&b, "12345678");
    buf_add_u64(&b, 90);
    assert_false(b.failed);
    assert_string_equal(buf_cstr(&b), "1234567890");
    buf_add_char(&b, 'x');
    assert_true(b.failed);
    assert_string_equal(buf_cstr(&b), "1234567890");
    buf_reset(&b);
    assert_false(b.failed);
    buf_addf(&b, "%d", 12345);
    buf_drop_front(&b, 3);
    assert_string_equal(buf_cstr(&b), "45");
    buf_addf(&b, "%s", "123456789");
    assert_true(b.failed);
    buf_fini(&b);
}

static void blob_counts(void **state)
{
    (void)state;
    assert_null(blob_new("", 0));
    struct blob *a = blob_new("abc", 3);
    struct blob *b = blob_ref(a);
    assert_ptr_equal(a, b);
    blob_unref(&a);
    assert_null(a);
    assert_true(view_is(blob_view(b), "abc"));
    blob_unref(&b);
    blob_unref(&b);
    assert_int_equal(blob_size(NULL), 0);
}

static void error_prefixes(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, 7, "no %s", "file"), -1);
    error_prefix(&e, "job %d", 5);
    assert_string_equal(e.text, "job 5: no file");
    assert_int_equal(e.status, 7);
    assert_int_equal(error_set(NULL, 7, "x"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_keeps_its_bound),
        cmocka_unit_test(blob_counts),
        cmocka_unit_test(error_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
