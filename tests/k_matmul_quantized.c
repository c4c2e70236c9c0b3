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

/* Rows of numbers, then of very large, very small and no numbers. */
static void check_rows(TestDevice *device, Random *random, ReferenceType type, ReferenceType in,
                       int64_t columns, bool turned) {
    enum { ROWS = 6 };
    const double sizes[ROWS] = {
        1, 100, in == REF_F16 ? 6e4 : 1e38, 1e-4, in == REF_F16 ? 6e-8 : 1e-38, 0};
    const double most = type == REF_I8 ? 127 : type == REF_F8E4M3 ? 448 : 57344;
    double *x = test_numbers(ROWS * columns);
    for (int64_t i = 0; i < ROWS * columns; i++)
        x[i] = reference_round(in, sizes[i / columns] * (2 * random_uniform(random) - 1));
    const int64_t shape[] = {ROWS, columns}, rows = ROWS;
    const TestLayout *layout = turned ? &transposed : NULL;
    TestTensor tx = test_tensor(device, "x", in, 2, shape, layout, x);
    TestTensor tq = test_tensor(device, "q", type, 2, shape, layout, NULL);
    TestTensor ts = test_tensor(device, "scale", REF_F32, 1, &rows, NULL, NULL);
    test_ok(tkk_quantize(device->library, NULL, &tx.tensor, &tq.tensor, &ts.tensor));
    double *q = test_read(&tq), *scale = test_read(&ts), *allowed = test_numbers(ROWS * columns);
    const double u = reference_unit_roundoff(REF_F32), step = type == REF_I8 ? 0.5 : 0;
    for (int64_t r = 0; r < ROWS; r++) {
        double largest = 0;
        for (int64_t i = 0; i < columns; i++) largest = fmax(largest, fabs(x[r * columns + i]));
        const double want = largest > 0 ? fmax(largest / most, 0x1p-126) : 1;
        ck_assert_msg(fabs(scale[r] - want) <= 2 * u * want, "scale %g, expected %g on %s",
                      scale[r], want, device->name);
        for (int64_t i = r * columns; i < (r + 1) * columns; i++) {
            q[i] *= scale[r];
            allowed[i] = scale[r] * (step + reference_underflow(type)) +
                         fabs(x[i]) * (reference_unit_roundoff(type) + 4 * u) + 0x1p-126;
        }
    }
    char what[96];
    snprintf(what, sizeof what, "%s to %s, %lld columns on %s", tkc_dtype_name(test_dtype(in)),
             tkc_dtype_name(test_dtype(type)), (long long)columns, device->name);
    test_compare(what, ROWS * columns, q, x, allowed);
    test_free(&tx);
    test_free(&tq);
    test_free(&ts);
    free(x);
    free(q);
    free(scale);
    free(allowed);
}

static void check_quantize(TestDevice *device, Random *random) {
    check_rows(device, random, REF_I8, REF_F32, 100, false);
    check_rows(device, random, REF_I8, REF_F16, 2100, false);
    check_rows(device, random, REF_F8E4M3, REF_F16, 64, true);
    check_rows(device, random, REF_F8E5M2, REF_F32, 33, true);
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

START_TEST(quantize) {
    test_on_each_device(check_quantize);
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
    tcase_add_test(tests, quantize);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
