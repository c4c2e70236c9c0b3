/* k_vector_add.c: vector addition. One f32 addition: the result must be the rounded sum exactly. */
#include "tests/kernel_test.h"

#include <stdlib.h>

static void check_length(TestDevice *device, Random *random, int64_t n, const TestLayout *layout) {
    double *x = test_numbers(n), *y = test_numbers(n), *sum = test_numbers(n);
    double *allowed = test_numbers(n);
    random_fill(random, REF_F32, 1, x, n);
    random_fill(random, REF_F32, 1, y, n);
    for (int64_t i = 0; i < n; i++) {
        sum[i] = (double)((float)x[i] + (float)y[i]);
        allowed[i] = 0;
    }
    TestTensor tx = test_tensor(device, "x", REF_F32, 1, &n, layout, x);
    TestTensor ty = test_tensor(device, "y", REF_F32, 1, &n, layout, y);
    TestTensor out = test_tensor(device, "out", REF_F32, 1, &n, layout, NULL);
    test_ok(tkk_vector_add(device->library, NULL, &tx.tensor, &ty.tensor, &out.tensor));
    double *got = test_read(&out);
    char what[64];
    snprintf(what, sizeof what, "vector_add %lld on %s", (long long)n, device->name);
    test_compare(what, n, got, sum, allowed);
    test_free(&tx);
    test_free(&ty);
    test_free(&out);
    free(x);
    free(y);
    free(sum);
    free(allowed);
    free(got);
}

static void check_lengths(TestDevice *device, Random *random) {
    const int64_t lengths[] = {1, 2, 1023, 1024, 1025, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        check_length(device, random, lengths[i], NULL);
    check_length(device, random, test_size(3000001, 50001), NULL);
    check_length(device, random, 0, NULL);
}

static void check_unaligned(TestDevice *device, Random *random) {
    check_length(device, random, 5000, &(TestLayout){.start = 3, .gap = 5});
}

/* Tensors given by device address, as a program does that has its own allocator. */
static void check_addresses(TestDevice *device, Random *random) {
    enum { N = 1500 };
    const int64_t n = N;
    double x[N], twice[N], allowed[N] = {0};
    random_fill(random, REF_F32, 1, x, N);
    for (int i = 0; i < N; i++) twice[i] = 2 * x[i];
    TestTensor in = test_tensor(device, "x", REF_F32, 1, &n, NULL, x);
    TestTensor out = test_tensor(device, "out", REF_F32, 1, &n, NULL, NULL);
    tkk_tensor from = in.tensor, to = out.tensor;
    from.data = tkc_arg_address(tkc_buffer_address(in.buffer));
    to.data = tkc_arg_address(tkc_buffer_address(out.buffer));
    test_ok(tkk_vector_add(device->library, NULL, &from, &from, &to));
    double *got = test_read(&out);
    test_compare("vector_add by address", n, got, twice, allowed);
    free(got);
    test_free(&in);
    test_free(&out);
}

/* What the host refuses, and that it says which tensor is meant. */
static void check_refusals(TestDevice *device, Random *random) {
    (void)random;
    const int64_t n = 8, m = 9;
    TestTensor x = test_tensor(device, "x", REF_F32, 1, &n, NULL, NULL);
    TestTensor y = test_tensor(device, "y", REF_F32, 1, &m, NULL, NULL);
    TestTensor h = test_tensor(device, "h", REF_F16, 1, &n, NULL, NULL);
    tkc_status status = tkk_vector_add(device->library, NULL, &x.tensor, &y.tensor, &x.tensor);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "y: "));
    status = tkk_vector_add(device->library, NULL, &x.tensor, &x.tensor, &h.tensor);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "out has dtype f16"));
    test_free(&x);
    test_free(&y);
    test_free(&h);
    tkk_sdpa sdpa = TKK_SDPA_INIT;
    ck_assert_int_eq(tkk_vector_add(NULL, NULL, NULL, NULL, NULL), TKC_INVALID_ARGUMENT);
    ck_assert_int_eq(tkk_sdpa_forward(NULL, NULL, &sdpa), TKC_INVALID_ARGUMENT);
    ck_assert_msg(strstr(tkc_last_error(), "library is NULL"), "%s", tkc_last_error());
}

START_TEST(lengths) {
    test_on_each_device(check_lengths);
}
END_TEST

START_TEST(unaligned) {
    test_on_each_device(check_unaligned);
}
END_TEST

START_TEST(addresses) {
    test_on_each_device(check_addresses);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("vector_add");
    TCase *tests = tcase_create("vector_add");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, lengths);
    tcase_add_test(tests, unaligned);
    tcase_add_test(tests, addresses);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
