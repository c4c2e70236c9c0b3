/* k_matmul.c: the matrix product: any sizes, dtypes, activations, transposed and strided operands.
 */
#include "tests/kernel_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t m, n, k;
    ReferenceType in, out;
    tkk_activation activation;
    tkk_precision precision;
} Case;

static const TestLayout transposed = {.order = {1, 0}};
static const TestLayout gaps = {.gap = 3, .start = 1};
static const TestLayout every_third = {.step = 3};

static void check_case(TestDevice *device, Random *random, const Case *c, const TestLayout *la,
                       const TestLayout *lb, const TestLayout *lc) {
    static const ReferenceActivation activations[] = {
        [TKK_NO_ACTIVATION] = REF_NONE, [TKK_RELU] = REF_RELU, [TKK_LEAKY_RELU] = REF_LEAKY_RELU,
        [TKK_GELU] = REF_GELU,          [TKK_SILU] = REF_SILU, [TKK_GELU_TANH] = REF_GELU_TANH};
    int64_t count = c->m * c->n;
    double *a = test_numbers(c->m * c->k), *b = test_numbers(c->k * c->n);
    double *want = test_numbers(count), *sums = test_numbers(count), *allowed = test_numbers(count);
    random_fill(random, c->in, 1, a, c->m * c->k);
    random_fill(random, c->in, 0.5, b, c->k * c->n);
    reference_matmul(c->m, c->n, c->k, a, b, activations[c->activation], want, sums);
    /* tf32 keeps 10 bits; hardware may cut the rest off: up to one unit of the last place kept. */
    double operand = c->in == REF_F32 && c->precision == TKK_TF32 ? 0x1p-10 : 0;
    for (int64_t i = 0; i < count; i++)
        allowed[i] = reference_matmul_tolerance(c->out, c->k, operand, sums[i], want[i]);

    TestTensor ta = test_tensor(device, "a", c->in, 2, (int64_t[]){c->m, c->k}, la, a);
    TestTensor tb = test_tensor(device, "b", c->in, 2, (int64_t[]){c->k, c->n}, lb, b);
    TestTensor tc = test_tensor(device, "c", c->out, 2, (int64_t[]){c->m, c->n}, lc, NULL);
    tkk_matmul_options options = TKK_MATMUL_OPTIONS_INIT;
    options.activation = c->activation;
    options.precision = c->precision;
    test_ok(tkk_matmul(device->library, NULL, &ta.tensor, &tb.tensor, &tc.tensor, &options));
    double *got = test_read(&tc);
    char what[128];
    snprintf(what, sizeof what, "matmul %lldx%lldx%lld %s -> %s, activation %d, %s on %s",
             (long long)c->m, (long long)c->n, (long long)c->k, tkc_dtype_name(test_dtype(c->in)),
             tkc_dtype_name(test_dtype(c->out)), (int)c->activation,
             c->precision == TKK_IEEE ? "ieee" : "tf32", device->name);
    test_compare(what, count, got, want, allowed);
    test_free(&ta);
    test_free(&tb);
    test_free(&tc);
    free(a);
    free(b);
    free(want);
    free(sums);
    free(allowed);
    free(got);
}

static void check_sizes(TestDevice *device, Random *random) {
    static const Case cases[] = {
        {1, 1, 1, REF_F32, REF_F32, TKK_NO_ACTIVATION, TKK_IEEE},
        {16, 16, 16, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_TF32},
        {128, 128, 64, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_TF32},
        {1, 300, 77, REF_F16, REF_F32, TKK_NO_ACTIVATION, TKK_TF32},
        {129, 131, 65, REF_BF16, REF_BF16, TKK_NO_ACTIVATION, TKK_TF32},
        {100, 50, 333, REF_F32, REF_F32, TKK_NO_ACTIVATION, TKK_IEEE},
        {100, 50, 333, REF_F32, REF_F32, TKK_NO_ACTIVATION, TKK_TF32},
        {77, 200, 30, REF_F32, REF_F16, TKK_NO_ACTIVATION, TKK_IEEE},
        {5, 6, 0, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_TF32}, /* an empty sum is 0 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(device, random, &cases[i], NULL, NULL, NULL);
}

/* With one product a result, little is allowed beside the activation's own rounding. */
static void check_activations(TestDevice *device, Random *random) {
    for (int i = TKK_NO_ACTIVATION; i <= TKK_GELU_TANH; i++) {
        Case c = {70, 90, 40, REF_F16, REF_F32, (tkk_activation)i, TKK_IEEE};
        check_case(device, random, &c, NULL, NULL, NULL);
        c = (Case){70, 90, 1, REF_F32, REF_F32, (tkk_activation)i, TKK_IEEE};
        check_case(device, random, &c, NULL, NULL, NULL);
    }
}

static void check_layouts(TestDevice *device, Random *random) {
    Case c = {75, 140, 100, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_TF32};
    check_case(device, random, &c, &transposed, NULL, NULL);
    check_case(device, random, &c, NULL, &transposed, NULL);
    check_case(device, random, &c, &transposed, &transposed, &transposed);
    check_case(device, random, &c, &gaps, &every_third, &gaps);
    check_case(device, random, &c, &every_third, &gaps, &every_third);
}

/* More tiles than a group holds, in both directions: the order of programs must cover all. */
static void check_many_tiles(TestDevice *device, Random *random) {
    Case c = {test_size(1300, 300),
              test_size(400, 140),
              64,
              REF_F16,
              REF_F32,
              TKK_NO_ACTIVATION,
              TKK_TF32};
    check_case(device, random, &c, NULL, NULL, NULL);
    Case even = {test_size(512, 128),
                 test_size(512, 256),
                 test_size(512, 128),
                 REF_BF16,
                 REF_F32,
                 TKK_RELU,
                 TKK_TF32};
    check_case(device, random, &even, NULL, NULL, NULL);
}

static void check_refusals(TestDevice *device, Random *random) {
    (void)random;
    TestTensor a = test_tensor(device, "a", REF_F16, 2, (int64_t[]){4, 5}, NULL, NULL);
    TestTensor b = test_tensor(device, "b", REF_F16, 2, (int64_t[]){6, 7}, NULL, NULL);
    TestTensor c = test_tensor(device, "c", REF_F16, 2, (int64_t[]){4, 7}, NULL, NULL);
    TestTensor b32 = test_tensor(device, "b", REF_F32, 2, (int64_t[]){5, 7}, NULL, NULL);
    tkc_status status = tkk_matmul(device->library, NULL, &a.tensor, &b.tensor, &c.tensor, NULL);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "b: the extent of dimension 0 is 6"));
    status = tkk_matmul(device->library, NULL, &a.tensor, &b32.tensor, &c.tensor, NULL);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "b has dtype f32"));
    status = tkk_matmul(device->library, NULL, &a.tensor, NULL, &c.tensor, NULL);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    test_free(&a);
    test_free(&b);
    test_free(&c);
    test_free(&b32);
}

/* Nothing is compiled twice, and compile_only compiles what a launch needs. */
static void count_compiles(void *user, const tkc_compile_event *event) {
    (void)event;
    ++*(int *)user;
}

START_TEST(compiles_once) {
    int compiles = 0;
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.user = &compiles;
    options.compiled = count_compiles;
    TestDevice device = {.name = "interp"};
    test_ok(tkc_context_create(&options, &device.context));
    test_ok(tkc_device_open(device.context, "interp", &device.device));
    test_ok(tkk_create(device.context, device.device, &device.library));
    double ones[32 * 32];
    for (int i = 0; i < 32 * 32; i++) ones[i] = 1;
    const int64_t shape[] = {32, 32}, half[] = {16, 32};
    TestTensor a = test_tensor(&device, "a", REF_F16, 2, shape, NULL, ones);
    TestTensor c = test_tensor(&device, "c", REF_F16, 2, shape, NULL, NULL);
    tkk_matmul_options only = TKK_MATMUL_OPTIONS_INIT;
    only.compile_only = true;
    test_ok(tkk_matmul(device.library, NULL, &a.tensor, &a.tensor, &c.tensor, &only));
    ck_assert_int_eq(compiles, 1);
    for (int i = 0; i < 3; i++)
        test_ok(tkk_matmul(device.library, NULL, &a.tensor, &a.tensor, &c.tensor, NULL));
    ck_assert_int_eq(compiles, 1);
    TestTensor h = test_tensor(&device, "a", REF_F16, 2, half, NULL, ones);
    TestTensor d = test_tensor(&device, "c", REF_F16, 2, half, NULL, NULL);
    test_ok(tkk_matmul(device.library, NULL, &h.tensor, &a.tensor, &d.tensor, NULL));
    ck_assert_int_eq(compiles, 2); /* fewer rows: another block */
    test_free(&a);
    test_free(&c);
    test_free(&h);
    test_free(&d);
    tkk_destroy(device.library);
    tkc_device_destroy(device.device);
    tkc_context_destroy(device.context);
}
END_TEST

START_TEST(sizes) {
    test_on_each_device(check_sizes);
}
END_TEST

START_TEST(activations) {
    test_on_each_device(check_activations);
}
END_TEST

START_TEST(layouts) {
    test_on_each_device(check_layouts);
}
END_TEST

START_TEST(many_tiles) {
    test_on_each_device(check_many_tiles);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("matmul");
    TCase *tests = tcase_create("matmul");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, activations);
    tcase_add_test(tests, layouts);
    tcase_add_test(tests, many_tiles);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, compiles_once);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
