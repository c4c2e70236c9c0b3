/* t_npy.c: .npy files that are right, and every way of being wrong that has a message. */
#include "runtime/tkc.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Bytes {
    char data[4096];
    size_t size;
} Bytes;

/* A file with this header text (padded as NumPy does) and `size` bytes of data 0, 1, 2, ... */
static Bytes file_of(int major, const char *header, size_t size) {
    Bytes b = {{0}, 0};
    size_t start = major == 1 ? 10 : 12, length = strlen(header) + 1;
    while ((start + length) % 64) length++;
    memcpy(b.data, "\x93NUMPY", 6);
    b.data[6] = (char)major;
    b.data[8] = (char)(length & 255);
    b.data[9] = (char)(length >> 8);
    memset(b.data + start, ' ', length);
    memcpy(b.data + start, header, strlen(header));
    b.data[start + length - 1] = '\n';
    for (size_t i = 0; i < size; i++) b.data[start + length + i] = (char)i;
    b.size = start + length + size;
    return b;
}

static tkc_status parse(const Bytes *b, tkc_dtype as, tkc_array *array) {
    return tkc_npy_parse(b->data, b->size, "x.npy", as, array);
}

/* The header is refused, and the message has all of these parts. */
static void refused(const char *header, size_t size, const char *part, const char *other) {
    Bytes b = file_of(1, header, size);
    tkc_array array = TKC_ARRAY_INIT;
    tkc_status status = parse(&b, TKC_NONE, &array);
    ck_assert_msg(status == TKC_BAD_NPY, "accepted: %s", header);
    ck_assert_ptr_null(array.data);
    ck_assert_msg(strstr(tkc_last_error(), "`x.npy`"), "%s", tkc_last_error());
    ck_assert_msg(strstr(tkc_last_error(), part), "no \"%s\" in: %s", part, tkc_last_error());
    ck_assert_msg(strstr(tkc_last_error(), other), "no \"%s\" in: %s", other, tkc_last_error());
}

START_TEST(test_all_types_go_out_and_in) {
    char path[] = "/tmp/tkc-npy-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    for (int type = TKC_I1; type < TKC_DTYPE_COUNT; type++) {
        uint8_t bytes[6 * 8];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = type == TKC_I1 ? (uint8_t)(i % 2) : (uint8_t)(i * 37 + 11);
        tkc_array out = TKC_ARRAY_INIT, in = TKC_ARRAY_INIT;
        out.dtype = (tkc_dtype)type;
        out.rank = 2;
        out.shape[0] = 2;
        out.shape[1] = 3;
        out.data = bytes;
        out.size = 6u * tkc_dtype_size(out.dtype);
        ck_assert_int_eq(tkc_npy_save(path, &out), TKC_OK);
        bool fp8 = type == TKC_F8E4M3 || type == TKC_F8E5M2 || type == TKC_F8E4M3B15;
        tkc_dtype as = fp8 ? out.dtype : TKC_NONE;
        ck_assert_msg(tkc_npy_load(path, as, &in) == TKC_OK, "%s", tkc_last_error());
        ck_assert_int_eq(in.dtype, out.dtype);
        ck_assert_uint_eq(in.rank, 2);
        ck_assert_int_eq(in.shape[0], 2);
        ck_assert_int_eq(in.shape[1], 3);
        ck_assert_uint_eq(in.size, out.size);
        ck_assert_int_eq(memcmp(in.data, bytes, in.size), 0);
        ck_assert_uint_eq((uintptr_t)in.data % 64, 0);
        tkc_array_free(&in);
        if (fp8) ck_assert_int_eq(tkc_npy_load(path, TKC_NONE, &in), TKC_BAD_NPY);
    }
    unlink(path);
}
END_TEST

START_TEST(test_header_is_as_numpy_writes_it) {
    char path[] = "/tmp/tkc-npy-XXXXXX", head[128];
    close(mkstemp(path));
    float x[3] = {1, 2, 3};
    tkc_array out = TKC_ARRAY_INIT;
    out.dtype = TKC_F32;
    out.rank = 1;
    out.shape[0] = 3;
    out.data = x;
    out.size = sizeof x;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_OK);
    FILE *file = fopen(path, "rb");
    ck_assert_uint_eq(fread(head, 1, 128, file), 128);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    ck_assert_int_eq(ftell(file), 128 + 12);
    fclose(file);
    ck_assert_int_eq(memcmp(head, "\x93NUMPY\1\0\x76\0", 10), 0);
    const char *text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
    ck_assert_int_eq(memcmp(head + 10, text, strlen(text)), 0);
    ck_assert_int_eq(head[127], '\n');
    unlink(path);
}
END_TEST

START_TEST(test_versions_and_shapes) {
    tkc_array array = TKC_ARRAY_INIT;
    for (int major = 1; major <= 3; major++) {
        Bytes b = file_of(major, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 12);
        ck_assert_msg(parse(&b, TKC_NONE, &array) == TKC_OK, "%s", tkc_last_error());
        ck_assert_int_eq(((int16_t *)array.data)[5], 11 << 8 | 10);
        tkc_array_free(&array);
    }
    Bytes scalar = file_of(1, "{\"shape\":(),\"descr\":\"f8\",'fortran_order':True}", 8);
    ck_assert_msg(parse(&scalar, TKC_NONE, &array) == TKC_OK, "%s", tkc_last_error());
    ck_assert_uint_eq(array.rank, 0);
    ck_assert_uint_eq(tkc_array_count(&array), 1);
    tkc_array_free(&array);
    Bytes empty = file_of(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 0L), }", 0);
    ck_assert_msg(parse(&empty, TKC_NONE, &array) == TKC_OK, "%s", tkc_last_error());
    ck_assert_uint_eq(tkc_array_count(&array), 0);
    tkc_array_free(&array);
    Bytes old = file_of(4, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4);
    ck_assert_int_eq(parse(&old, TKC_NONE, &array), TKC_BAD_NPY);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "version 4.0"));
}
END_TEST

START_TEST(test_fortran_order_is_transposed) {
    /* a[i][j][k] is byte i + 2 j + 6 k */
    Bytes b = file_of(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4), }", 24);
    tkc_array array = TKC_ARRAY_INIT;
    ck_assert_int_eq(parse(&b, TKC_NONE, &array), TKC_OK);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++)
                ck_assert_int_eq(((uint8_t *)array.data)[(i * 3 + j) * 4 + k], i + 2 * j + 6 * k);
    tkc_array_free(&array);
}
END_TEST

START_TEST(test_taken_as_another_type) {
    tkc_array array = TKC_ARRAY_INIT;
    Bytes u2 = file_of(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }", 4);
    ck_assert_int_eq(parse(&u2, TKC_BF16, &array), TKC_OK);
    ck_assert_int_eq(array.dtype, TKC_BF16);
    tkc_array_free(&array);
    ck_assert_int_eq(parse(&u2, TKC_U16, &array), TKC_OK);
    tkc_array_free(&array);
    ck_assert_int_eq(parse(&u2, TKC_F32, &array), TKC_BAD_NPY);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "holds u16 (dtype '<u2'), not f32"));
    for (int i = 0; i < 2; i++) { /* NumPy writes plain void as |V2, an added type as <V2 */
        Bytes v2 = file_of(1,
                           i ? "{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }"
                             : "{'descr': '|V2', 'fortran_order': False, 'shape': (2,), }",
                           4);
        ck_assert_int_eq(parse(&v2, TKC_NONE, &array), TKC_OK);
        ck_assert_int_eq(array.dtype, TKC_BF16);
        tkc_array_free(&array);
        ck_assert_int_eq(parse(&v2, TKC_F16, &array), TKC_OK);
        ck_assert_int_eq(array.dtype, TKC_F16);
        tkc_array_free(&array);
    }
    Bytes v1 = file_of(1, "{'descr': '|V1', 'fortran_order': False, 'shape': (2,), }", 2);
    ck_assert_int_eq(parse(&v1, TKC_NONE, &array), TKC_BAD_NPY);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "say what they are: f8e4m3"));
    ck_assert_int_eq(parse(&v1, TKC_F8E5M2, &array), TKC_OK);
    tkc_array_free(&array);
    Bytes f4 = file_of(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4);
    ck_assert_int_eq(parse(&f4, TKC_I32, &array), TKC_BAD_NPY);
    Bytes bools = file_of(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", 3);
    ck_assert_int_eq(parse(&bools, TKC_NONE, &array), TKC_BAD_NPY);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "element 2 is 2"));
    ck_assert_ptr_null(array.data);
}
END_TEST

#define WITH(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

START_TEST(test_refused) {
    refused(WITH("'>f4'", "(1,)"), 4, "big-endian", "astype('<f4')");
    refused(WITH("'|O'", "(1,)"), 8, "'|O'", "Python objects");
    refused(WITH("'<U8'", "(1,)"), 32, "'<U8'", "strings");
    refused(WITH("'|S8'", "(1,)"), 8, "'|S8'", "strings");
    refused(WITH("'<c8'", "(1,)"), 8, "'<c8'", "complex");
    refused(WITH("'<M8[ns]'", "(1,)"), 8, "'<M8[ns]'", "dates");
    refused(WITH("'<f16'", "(1,)"), 16, "'<f16'", "not an element type");
    refused(WITH("''", "(1,)"), 8, "''", "not an element type");
    refused(WITH("[('a', '<f4')]", "(1,)"), 4, "records", "np.save");
    refused(WITH("'<f4'", "(2, 3)"), 23, "truncated", "24 bytes of data and there are 23");
    refused(WITH("'<f4'", "(2, 3)"), 25, "too long", "24 bytes of data and there are 25");
    refused(WITH("'<f4'", "(4611686018427387904, 4)"), 0, "shape", "larger than any memory");
    refused(WITH("'<f4'", "(9223372036854775807,)"), 0, "shape", "larger than any memory");
    refused(WITH("'<f4'", "(99999999999999999999,)"), 0, "extent", "2^63");
    refused(WITH("'<f4'", "(-1,)"), 0, "no number", "-1");
    refused(WITH("'<f4'", "(1 2)"), 0, "not a tuple", "2)");
    refused(WITH("'<f4'", "(4)"), 16, "not a tuple", ")");
    refused(WITH("'<f4'", "(1,,2)"), 0, "no number", ",2)");
    refused(WITH("'<f4'", "4"), 16, "lacks a `(`", "4");
    refused(WITH("<f4", "(1,)"), 4, "lacks a `\"`", "<f4");
    refused("{'descr': '<f4", 4, "does not end", "");
    refused("{'descr': '<f4', 'shape': (1,), }", 4, "lacks one of", "fortran_order");
    refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "twice",
            "");
    refused("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, "neither True nor False", "");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4, "a key other",
            "");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + 1", 4, "goes on", "+ 1");
    refused("", 4, "lacks a `{`", "");
    refused(WITH("'<f4'", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), 4,
            "32 dimensions", "");
}
END_TEST

/* No prefix of a good file, and no change of one byte in its header, may crash; a shorter file is
 * always refused. */
START_TEST(test_damaged) {
    Bytes good = file_of(1, WITH("'<f4'", "(2, 3)"), 24);
    tkc_array array = TKC_ARRAY_INIT;
    for (size_t size = 0; size < good.size; size++) {
        char *exact = malloc(size ? size : 1); /* so that ASan sees a read beyond */
        memcpy(exact, good.data, size);
        ck_assert_int_eq(tkc_npy_parse(exact, size, NULL, TKC_NONE, &array), TKC_BAD_NPY);
        free(exact);
    }
    unsigned accepted = 0;
    for (size_t at = 0; at < good.size - 24; at++)
        for (int byte = 0; byte < 256; byte++) {
            Bytes bad = good;
            bad.data[at] = (char)byte;
            if (parse(&bad, TKC_NONE, &array) == TKC_OK) {
                accepted++;
                ck_assert_uint_eq(array.size, 24);
            }
            tkc_array_free(&array);
        }
    ck_assert_uint_gt(accepted, 128); /* the byte itself, and other spellings */
    Bytes huge = good;
    huge.data[6] = 2;
    memset(huge.data + 8, 0xff, 4);
    ck_assert_int_eq(parse(&huge, TKC_NONE, &array), TKC_BAD_NPY);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "4294967295 bytes"));
}
END_TEST

START_TEST(test_files_that_are_not_there) {
    tkc_array array = TKC_ARRAY_INIT;
    ck_assert_int_eq(tkc_npy_load("/nonexistent/x.npy", TKC_NONE, &array), TKC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "`/nonexistent/x.npy`"));
    ck_assert_int_eq(tkc_npy_load("/tmp", TKC_NONE, &array), TKC_IO);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "is a directory"));
    ck_assert_int_eq(tkc_npy_load("/dev/zero", TKC_NONE, &array), TKC_IO);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "not a regular file"));
    ck_assert_int_eq(tkc_npy_load(NULL, TKC_NONE, &array), TKC_INVALID_ARGUMENT);
    ck_assert_int_eq(tkc_npy_load("x", TKC_NONE, NULL), TKC_INVALID_ARGUMENT);
    tkc_array raw;
    memset(&raw, 0xee, sizeof raw);
    ck_assert_int_eq(tkc_npy_load("x", TKC_NONE, &raw), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "TKC_ARRAY_INIT"));
}
END_TEST

/* A save that fails leaves the old file as it was, and nothing beside it. */
START_TEST(test_save_failures) {
    char folder[] = "/tmp/tkc-npy-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/gone/x.npy", folder);
    float x = 1;
    tkc_array out = TKC_ARRAY_INIT;
    out.dtype = TKC_F32;
    out.data = &x;
    out.size = 4;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_IO);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), path));
    snprintf(path, sizeof path, "%s/x.npy", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* a folder stands in the way */
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_IO);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(tkc_npy_save("/dev/null", &out), TKC_OK);
    ck_assert_int_eq(tkc_npy_save("/dev/full", &out), TKC_IO);
    out.size = 3;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_INVALID_ARGUMENT);
    out.size = 4;
    out.data = NULL;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_INVALID_ARGUMENT);
    out.data = &x;
    out.rank = 1;
    out.shape[0] = -1;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_INVALID_ARGUMENT);
    out.rank = 0;
    out.dtype = TKC_NONE;
    ck_assert_int_eq(tkc_npy_save(path, &out), TKC_INVALID_ARGUMENT);
    ck_assert_int_eq(rmdir(folder), 0); /* empty: nothing was left behind */
}
END_TEST

int main(void) {
    TCase *all = tcase_create("npy");
    tcase_add_test(all, test_all_types_go_out_and_in);
    tcase_add_test(all, test_header_is_as_numpy_writes_it);
    tcase_add_test(all, test_versions_and_shapes);
    tcase_add_test(all, test_fortran_order_is_transposed);
    tcase_add_test(all, test_taken_as_another_type);
    tcase_add_test(all, test_refused);
    tcase_add_test(all, test_damaged);
    tcase_add_test(all, test_files_that_are_not_there);
    tcase_add_test(all, test_save_failures);
    Suite *suite = suite_create("npy");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
