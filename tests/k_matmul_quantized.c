/* k_matmul_quantized.c: products of int8 and of fp8, with scales. */
#include "tests/kernel_test.h"
#include "tests/reference_matrix.h"

#include <math.h>
#include <stdlib.h>

typedef enum Scale { NO_SCALE, ONE_SCALE, EACH_SCALE } Scale;

typedef struct Case {
    int64_t m, n, k;
    ReferenceType a, b, out;
    Scale a_scale, b_scale;
    bool bias, gelu, turned_b;
} Case;

static const TestLayout transposed = {.order = {1, 0}};

static TestTensor scale_tensor(TestDevice *device, const char *name, Scale kind, int64_t count,
                               double *values) {
    if (kind != EACH_SCALE)
        for (int64_t i = 0; i < count; i++) values[i] = kind == NO_SCALE ? 1 : values[0];
    if (kind == ONE_SCALE) count = 1;
    return test_tensor(device, name, REF_F32, 1, &count, NULL, values);
}

/* i8: sums are exact, what is left are the roundings of the scales, the bias and the result. fp8:
 * products are exact and sums round. */
static void expect(const Case *c, const double *sums, const double *a_scale, const double *b_scale,
                   const double *bias, double *want, double *allowed) {
    const double u = reference_unit_roundoff(REF_F32);
    const double noise = c->a == REF_I8 ? 1 : 1 + REFERENCE_SIGMAS * sqrt((double)c->k);
    for (int64_t i = 0; i < c->m * c->n; i++) {
        const double scale = a_scale[i / c->n] * b_scale[i % c->n];
        const double more = c->bias ? bias[i % c->n] : 0;
        const double size = sums[i] * fabs(scale) + fabs(more);
        want[i] = want[i] * scale + more;
        if (c->gelu) want[i] = reference_activate(REF_GELU, want[i]);
        allowed[i] = size * (noise + 4) * u + fabs(want[i]) * reference_unit_roundoff(c->out) +
                     reference_underflow(c->out);
        if (c->gelu) allowed[i] += size * (0.13 * (noise + 4) + 8) * u;
        if (c->out == REF_I32) allowed[i] = 0;
    }
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    const int64_t count = c->m * c->n;
    double *a = test_numbers(c->m * c->k), *b = test_numbers(c->k * c->n);
    double *want = test_numbers(count), *sums = test_numbers(count), *allowed = test_numbers(count);
    double *a_scale = test_numbers(c->m + 1), *b_scale = test_numbers(c->n + 1);
    double *bias = test_numbers(c->n);
    const double deviation = c->a == REF_I8 ? 60 : 1; /* some saturate */
    random_fill(random, c->a, deviation, a, c->m * c->k);
    random_fill(random, c->b, deviation, b, c->k * c->n);
    random_fill(random, REF_F32, 0.01, a_scale, c->m + 1);
    random_fill(random, REF_F32, 0.01, b_scale, c->n + 1);
    random_fill(random, REF_F32, 0.1, bias, c->n);
    TestTensor ta = test_tensor(device, "a", c->a, 2, (int64_t[]){c->m, c->k}, NULL, a);
    TestTensor tb = test_tensor(device, "b", c->b, 2, (int64_t[]){c->k, c->n},
                                c->turned_b ? &transposed : NULL, b);
    TestTensor tc = test_tensor(device, "c", c->out, 2, (int64_t[]){c->m, c->n}, NULL, NULL);
    TestTensor sa = scale_tensor(device, "a_scale", c->a_scale, c->m, a_scale);
    TestTensor sb = scale_tensor(device, "b_scale", c->b_scale, c->n, b_scale);
    TestTensor tbias = test_tensor(device, "bias", REF_F32, 1, &c->n, NULL, bias);
    tkk_quantized_matmul p = TKK_QUANTIZED_MATMUL_INIT;
    p.a = ta.tensor, p.b = tb.tensor, p.c = tc.tensor;
    if (c->a_scale) p.a_scale = sa.tensor;
    if (c->b_scale) p.b_scale = sb.tensor;
    if (c->bias) p.bias = tbias.tensor;
    p.activation = c->gelu ? TKK_GELU : TKK_NO_ACTIVATION;
    test_ok(tkk_matmul_quantized(device->library, NULL, &p));
    reference_matmul(c->m, c->n, c->k, a, b, REF_NONE, want, sums);
    expect(c, sums, a_scale, b_scale, bias, want, allowed);
    double *got = test_read(&tc);
    char what[96];
    snprintf(what, sizeof what, "%s x %s -> %s, %lldx%lldx%lld on %s",
             tkc_dtype_name(test_dtype(c->a)), tkc_dtype_name(test_dtype(c->b)),
             tkc_dtype_name(test_dtype(c->out)), (long long)c->m, (long long)c->n, (long long)c->k,
             device->name);
    test_compare(what, count, got, want, allowed);
    TestTensor *tensors[] = {&ta, &tb, &tc, &sa, &sb, &tbias};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
    double *all[] = {a, b, want, sums, allowed, a_scale, b_scale, bias, got};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void check_products(TestDevice *device, Random *random) {
    static const Case cases[] = {
        {40, 50, 200, REF_I8, REF_I8, REF_I32, NO_SCALE, NO_SCALE, false, false, true},
        {17, 130, 33, REF_I8, REF_I8, REF_F16, EACH_SCALE, EACH_SCALE, true, true, false},
        {64, 32, 64, REF_I8, REF_I8, REF_F32, ONE_SCALE, EACH_SCALE, false, false, true},
        {16, 16, 16, REF_I8, REF_I8, REF_BF16, NO_SCALE, ONE_SCALE, true, false, false},
        {33, 40, 70, REF_F8E4M3, REF_F8E4M3, REF_F32, EACH_SCALE, ONE_SCALE, true, true, true},
        {64, 32, 64, REF_F8E4M3, REF_F8E5M2, REF_BF16, EACH_SCALE, EACH_SCALE, false, false, true},
        {20, 24, 40, REF_F8E5M2, REF_F8E5M2, REF_F16, NO_SCALE, NO_SCALE, false, false, false},
        {5, 6, 0, REF_I8, REF_I8, REF_I32, NO_SCALE, NO_SCALE, false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(device, random, &cases[i]);
}

static void check_refusals(TestDevice *device, Random *random) {
    (void)random;
    TestTensor a = test_tensor(device, "a", REF_I8, 2, (int64_t[]){4, 5}, NULL, NULL);
    TestTensor b = test_tensor(device, "b", REF_F8E4M3, 2, (int64_t[]){5, 7}, NULL, NULL);
    TestTensor b8 = test_tensor(device, "b", REF_I8, 2, (int64_t[]){5, 7}, NULL, NULL);
    TestTensor c = test_tensor(device, "c", REF_I32, 2, (int64_t[]){4, 7}, NULL, NULL);
    TestTensor scale = test_tensor(device, "scale", REF_F32, 1, (int64_t[]){3}, NULL, NULL);
    tkk_quantized_matmul p = TKK_QUANTIZED_MATMUL_INIT;
    p.a = a.tensor, p.b = b.tensor, p.c = c.tensor;
    ck_assert_int_eq(tkk_matmul_quantized(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "b has dtype f8e4m3"));
    p.b = b8.tensor;
    p.a_scale = scale.tensor;
    ck_assert_int_eq(tkk_matmul_quantized(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "a_scale has 3 elements; 1 or 4"));
    p.a_scale.shape[0] = 1;
    ck_assert_int_eq(tkk_matmul_quantized(device->library, NULL, &p), TKC_UNSUPPORTED);
    TestTensor *tensors[] = {&a, &b, &b8, &c, &scale};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
}

START_TEST(products) {
    test_on_each_device(check_products);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("matmul_quantized");
    TCase *tests = tcase_create("matmul_quantized");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, products);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
