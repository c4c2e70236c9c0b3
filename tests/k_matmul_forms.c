/* k_matmul_forms.c: the matrix product's forms: batches, what is fused behind the sums, schedules,
 * and groups. */
#include "tests/kernel_test.h"
#include "tests/reference_matrix.h"

#include <math.h>
#include <stdlib.h>

static ReferenceActivation reference_of(tkk_activation activation) {
    static const ReferenceActivation all[] = {
        [TKK_NO_ACTIVATION] = REF_NONE, [TKK_RELU] = REF_RELU, [TKK_LEAKY_RELU] = REF_LEAKY_RELU,
        [TKK_GELU] = REF_GELU,          [TKK_SILU] = REF_SILU, [TKK_GELU_TANH] = REF_GELU_TANH};
    return all[activation];
}

/* How an operand repeats over the batch. */
typedef enum Repeat { EACH, SHARED, STRIDE_0 } Repeat;

typedef struct Case {
    int64_t batch, m, n, k;
    ReferenceType in, out;
    tkk_activation activation;
    tkk_schedule schedule;
    uint32_t splits;
    double alpha, beta;
    bool bias, residual, in_place, z;
    Repeat a, b;
} Case;

/* [batch, rows, columns] values, or one matrix for all of the batch. */
static TestTensor operand(TestDevice *device, const char *name, ReferenceType type, Repeat repeat,
                          int64_t batch, int64_t rows, int64_t columns, const double *values) {
    if (repeat == EACH)
        return test_tensor(device, name, type, 3, (int64_t[]){batch, rows, columns}, NULL, values);
    TestTensor t = test_tensor(device, name, type, 2, (int64_t[]){rows, columns}, NULL, values);
    if (repeat == STRIDE_0) {
        t.tensor = tkk_tensor3(t.tensor.data, t.tensor.dtype, batch, rows, columns);
        t.tensor.stride[0] = 0;
    }
    return t;
}

typedef struct Numbers {
    double *a, *b, *bias, *residual, *y, *y_allowed, *z, *z_allowed;
} Numbers;

static Numbers make_numbers(const Case *c, Random *random) {
    const int64_t batch = c->batch, count = batch * c->m * c->n;
    const int64_t a_count = (c->a == EACH ? batch : 1) * c->m * c->k;
    const int64_t b_count = (c->b == EACH ? batch : 1) * c->k * c->n;
    Numbers n = {test_numbers(a_count), test_numbers(b_count), test_numbers(c->n),
                 test_numbers(count),   test_numbers(count),   test_numbers(count),
                 test_numbers(count),   test_numbers(count)};
    random_fill(random, c->in, 1, n.a, a_count);
    random_fill(random, c->in, 0.3, n.b, b_count);
    random_fill(random, REF_F32, 1, n.bias, c->n);
    random_fill(random, c->out, 2, n.residual, count);
    for (int64_t i = 0; i < batch; i++) {
        const int64_t at = i * c->m * c->n;
        ReferenceProduct p = {.m = c->m,
                              .n = c->n,
                              .k = c->k,
                              .a = n.a + (c->a == EACH ? i * c->m * c->k : 0),
                              .b = n.b + (c->b == EACH ? i * c->k * c->n : 0),
                              .bias = c->bias ? n.bias : NULL,
                              .residual = c->residual ? n.residual + at : NULL,
                              .alpha = c->alpha,
                              .beta = c->beta,
                              .activation = reference_of(c->activation),
                              .y_type = c->out,
                              .z_type = REF_F32,
                              .y = n.y + at,
                              .y_allowed = n.y_allowed + at,
                              .z = n.z + at,
                              .z_allowed = n.z_allowed + at};
        reference_product(&p);
    }
    return n;
}

static void free_numbers(Numbers *n) {
    double *all[] = {n->a, n->b, n->bias, n->residual, n->y, n->y_allowed, n->z, n->z_allowed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    const int64_t count = c->batch * c->m * c->n;
    Numbers n = make_numbers(c, random);
    char what[128];
    snprintf(what, sizeof what, "matmul %lldx%lldx%lldx%lld schedule %d on %s", (long long)c->batch,
             (long long)c->m, (long long)c->n, (long long)c->k, (int)c->schedule, device->name);
    TestTensor a = operand(device, "a", c->in, c->a, c->batch, c->m, c->k, n.a);
    TestTensor b = operand(device, "b", c->in, c->b, c->batch, c->k, c->n, n.b);
    const double *start = c->in_place ? n.residual : NULL;
    TestTensor y = operand(device, "c", c->out, EACH, c->batch, c->m, c->n, start);
    TestTensor residual =
        operand(device, "residual", c->out, EACH, c->batch, c->m, c->n, n.residual);
    TestTensor bias = test_tensor(device, "bias", REF_F32, 1, &c->n, NULL, n.bias);
    TestTensor z = operand(device, "z", REF_F32, EACH, c->batch, c->m, c->n, NULL);
    tkk_matmul_options o = TKK_MATMUL_OPTIONS_INIT;
    o.activation = c->activation;
    o.precision = TKK_IEEE;
    o.schedule = c->schedule;
    o.splits = c->splits;
    o.alpha = (float)c->alpha;
    o.beta = (float)c->beta;
    if (c->bias) o.bias = bias.tensor;
    if (c->residual) o.residual = c->in_place ? y.tensor : residual.tensor;
    if (c->z) o.z = z.tensor;

    uint64_t size = tkk_matmul_workspace(device->library, &a.tensor, &b.tensor, &y.tensor, &o);
    ck_assert(c->schedule != TKK_SPLIT_K || size > 0);
    tkc_buffer *workspace = NULL;
    if (size > 0 && !c->in_place) { /* the others: the call's own */
        test_ok(tkc_buffer_create(device->device, size, "workspace", &workspace));
        test_ok(tkc_buffer_poison(workspace));
        o.workspace = (tkk_workspace){tkc_arg_buffer(workspace), size};
    }
    test_ok(tkk_matmul(device->library, NULL, &a.tensor, &b.tensor, &y.tensor, &o));
    double *got = test_read(&y);
    test_compare(what, count, got, n.y, n.y_allowed);
    if (c->z) {
        double *z_got = test_read(&z);
        test_compare(what, count, z_got, n.z, n.z_allowed);
        free(z_got);
    }
    if (!c->in_place) { /* once more: the same bits */
        test_ok(tkk_matmul(device->library, NULL, &a.tensor, &b.tensor, &y.tensor, &o));
        double *again = test_read(&y);
        ck_assert_msg(memcmp(got, again, (size_t)count * sizeof *got) == 0, "%s: differs", what);
        free(again);
    }
    tkc_buffer_destroy(workspace);
    TestTensor *all[] = {&a, &b, &y, &residual, &bias, &z};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) test_free(all[i]);
    free_numbers(&n);
    free(got);
}

static void check_forms(TestDevice *device, Random *random) {
    static const Case cases[] = {
        /* what is fused */
        {1, 33, 50, 40, REF_F16, REF_F16, TKK_GELU_TANH, TKK_TILES, 0, 0.5, 2, true, true, false,
         true, EACH, EACH},
        {1, 16, 32, 16, REF_BF16, REF_F32, TKK_SILU, TKK_AUTO_SCHEDULE, 0, 1, 1, true, true, true,
         false, SHARED, SHARED},
        {1, 20, 20, 20, REF_F32, REF_BF16, TKK_RELU, TKK_TILES, 0, -1, 1, true, false, false, true,
         EACH, SHARED},
        /* batches */
        {3, 20, 17, 33, REF_F16, REF_F32, TKK_NO_ACTIVATION, TKK_TILES, 0, 1, 0.5, true, true,
         false, false, EACH, SHARED},
        {2, 40, 16, 16, REF_F32, REF_F32, TKK_GELU, TKK_PERSISTENT, 0, 1, 1, false, true, true,
         true, STRIDE_0, EACH},
        /* schedules */
        {1, 300, 150, 24, REF_F16, REF_F16, TKK_RELU, TKK_PERSISTENT, 0, 2, 1, true, false, false,
         true, EACH, EACH},
        {1, 18, 140, 300, REF_F32, REF_F32, TKK_NO_ACTIVATION, TKK_SPLIT_K, 4, 1, 1, false, false,
         false, false, EACH, EACH},
        {2, 10, 30, 200, REF_BF16, REF_BF16, TKK_SILU, TKK_SPLIT_K, 3, 0.25, -1, true, true, false,
         true, EACH, SHARED},
        {1, 16, 20, 1100, REF_F32, REF_F32, TKK_NO_ACTIVATION, TKK_AUTO_SCHEDULE, 0, 1, 1, true,
         false, false, false, EACH, EACH}, /* split, where there are processors for it */
        {1, 16, 16, 0, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_SPLIT_K, 3, 1, 1, true, true, true,
         false, EACH, EACH},
        {0, 16, 16, 16, REF_F16, REF_F16, TKK_NO_ACTIVATION, TKK_TILES, 0, 1, 1, false, false,
         false, false, EACH, EACH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(device, random, &cases[i]);
}

/* ---- groups --------------------------------------------------------------------------------- */

enum { PROBLEMS = 5 };

static void check_group(TestDevice *device, Random *random) {
    static const int64_t sizes[PROBLEMS][3] = {
        {1, 1, 1}, {40, 150, 20}, {0, 16, 16}, {17, 33, 0}, {130, 20, 35}};
    TestTensor a[PROBLEMS], b[PROBLEMS], c[PROBLEMS];
    tkk_tensor ta[PROBLEMS], tb[PROBLEMS], tc[PROBLEMS];
    double *want[PROBLEMS], *allowed[PROBLEMS];
    static const TestLayout transposed = {.order = {1, 0}};
    for (int i = 0; i < PROBLEMS; i++) {
        const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
        double *a_values = test_numbers(m * k), *b_values = test_numbers(k * n);
        random_fill(random, REF_F16, 1, a_values, m * k);
        random_fill(random, REF_F16, 1, b_values, k * n);
        want[i] = test_numbers(m * n);
        allowed[i] = test_numbers(m * n);
        reference_product(&(ReferenceProduct){.m = m,
                                              .n = n,
                                              .k = k,
                                              .a = a_values,
                                              .b = b_values,
                                              .alpha = 0.5,
                                              .activation = REF_RELU,
                                              .y_type = REF_F32,
                                              .y = want[i],
                                              .y_allowed = allowed[i]});
        a[i] = test_tensor(device, "a", REF_F16, 2, (int64_t[]){m, k}, NULL, a_values);
        b[i] = test_tensor(device, "b", REF_F16, 2, (int64_t[]){k, n}, i == 4 ? &transposed : NULL,
                           b_values);
        c[i] = test_tensor(device, "c", REF_F32, 2, (int64_t[]){m, n}, NULL, NULL);
        ta[i] = a[i].tensor;
        tb[i] = b[i].tensor;
        tc[i] = c[i].tensor;
        free(a_values);
        free(b_values);
    }
    tkk_matmul_options o = TKK_MATMUL_OPTIONS_INIT;
    o.alpha = 0.5f;
    o.activation = TKK_RELU;
    test_ok(tkk_matmul_grouped(device->library, NULL, PROBLEMS, ta, tb, tc, &o));
    /* All of the same kind: the variant with promises; with a workspace. */
    tkk_tensor same[3][2] = {{ta[1], ta[1]}, {tb[1], tb[1]}, {tc[1], tc[1]}};
    tkc_buffer *workspace;
    uint64_t size = tkk_matmul_grouped_workspace(2);
    test_ok(tkc_buffer_create(device->device, size, "workspace", &workspace));
    o.workspace = (tkk_workspace){tkc_arg_buffer(workspace), size};
    test_ok(tkk_matmul_grouped(device->library, NULL, 1, same[0], same[1], same[2], &o));
    for (int i = 0; i < PROBLEMS; i++) {
        double *got = test_read(&c[i]);
        char what[64];
        snprintf(what, sizeof what, "problem %d of a group on %s", i, device->name);
        test_compare(what, sizes[i][0] * sizes[i][1], got, want[i], allowed[i]);
        free(got);
        free(want[i]);
        free(allowed[i]);
        test_free(&a[i]);
        test_free(&b[i]);
        test_free(&c[i]);
    }
    tkc_buffer_destroy(workspace);
}

static void check_refusals(TestDevice *device, Random *random) {
    (void)random;
    TestTensor a = test_tensor(device, "a", REF_F16, 3, (int64_t[]){2, 4, 5}, NULL, NULL);
    TestTensor b = test_tensor(device, "b", REF_F16, 2, (int64_t[]){5, 7}, NULL, NULL);
    TestTensor c = test_tensor(device, "c", REF_F16, 2, (int64_t[]){4, 7}, NULL, NULL);
    tkk_library *library = device->library;
    ck_assert_int_eq(tkk_matmul(library, NULL, &a.tensor, &b.tensor, &c.tensor, NULL),
                     TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "a has 3 dimensions, 2 are needed"));
    tkk_tensor one = a.tensor;
    one.rank = 2;
    one.shape[0] = 4, one.shape[1] = 5, one.stride[0] = 5, one.stride[1] = 1;
    tkk_matmul_options o = TKK_MATMUL_OPTIONS_INIT;
    o.bias = tkk_vector(c.tensor.data, TKC_F16, 6);
    ck_assert_int_eq(tkk_matmul(library, NULL, &one, &b.tensor, &c.tensor, &o),
                     TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "bias: the extent of dimension 0 is 6"));
    ck_assert_int_eq(tkk_matmul_grouped(library, NULL, 1, &one, &b.tensor, &c.tensor, &o),
                     TKC_UNSUPPORTED);
    o = (tkk_matmul_options)TKK_MATMUL_OPTIONS_INIT;
    o.schedule = TKK_SPLIT_K;
    o.workspace = (tkk_workspace){b.tensor.data, 16};
    ck_assert_int_eq(tkk_matmul(library, NULL, &one, &b.tensor, &c.tensor, &o),
                     TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "the workspace has 16 bytes"));
    test_free(&a);
    test_free(&b);
    test_free(&c);
}

START_TEST(forms) {
    test_on_each_device(check_forms);
}
END_TEST

START_TEST(group) {
    test_on_each_device(check_group);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("matmul_forms");
    TCase *tests = tcase_create("matmul_forms");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, forms);
    tcase_add_test(tests, group);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
