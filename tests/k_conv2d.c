/* k_conv2d.c: convolutions and their gradients. */
#include "tests/kernel_test.h"
#include "tests/reference_matrix.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t batch, in, out, groups;
    int64_t size[2], kernel[2], stride[2], padding[2], dilation[2];
    ReferenceType type, result; /* of x, w, dy; of y, dx, dw, db */
    bool bias, relu, workspace;
    const TestLayout *layout; /* of all images */
} Case;

static const TestLayout channels_last = {.order = {0, 2, 3, 1}};
static const TestLayout gaps = {.gap = 3, .start = 1};
static const TestLayout every_third = {.step = 3};

typedef struct Layer {
    const Case *c;
    TestDevice *device;
    ReferenceConv reference;
    int64_t x_count, w_count, y_count, terms; /* terms: most of a result */
    double *want, *sums;
    tkk_conv2d problem;
} Layer;

static TestTensor image(Layer *l, const char *name, ReferenceType type, bool is_y,
                        const double *values) {
    const ReferenceConv *r = &l->reference;
    const int64_t shape[] = {r->batch, is_y ? r->out : r->in,
                             is_y ? reference_conv_out(r, 0) : r->size[0],
                             is_y ? reference_conv_out(r, 1) : r->size[1]};
    return test_tensor(l->device, name, type, 4, shape, l->c->layout, values);
}

static TestTensor weights(Layer *l, const char *name, ReferenceType type, const double *values) {
    const ReferenceConv *r = &l->reference;
    const int64_t shape[] = {r->out, r->in / r->groups, r->kernel[0], r->kernel[1]};
    return test_tensor(l->device, name, type, 4, shape, l->c->layout == &every_third ? &gaps : NULL,
                       values);
}

/* Against l->want, where a result of magnitudes `sums` was made of `terms` of them. */
static void compare(const Layer *l, const char *what, const TestTensor *t, int64_t terms) {
    const Case *c = l->c;
    const double u = reference_unit_roundoff(REF_F32);
    double *got = test_read(t), *allowed = test_numbers(t->count);
    for (int64_t i = 0; i < t->count; i++)
        allowed[i] = l->sums[i] * (2 + REFERENCE_SIGMAS * sqrt((double)terms)) * u +
                     fabs(l->want[i]) * reference_unit_roundoff(c->result) +
                     reference_underflow(c->result);
    char name[160];
    snprintf(name, sizeof name,
             "%s of conv2d %lldx%lldx%lldx%lld -> %lld, kernel %lldx%lld stride %lld groups %lld "
             "on %s",
             what, (long long)c->batch, (long long)c->in, (long long)c->size[0],
             (long long)c->size[1], (long long)c->out, (long long)c->kernel[0],
             (long long)c->kernel[1], (long long)c->stride[0], (long long)c->groups,
             l->device->name);
    test_compare(name, t->count, got, l->want, allowed);
    free(got);
    free(allowed);
}

static void check_forward(Layer *l) {
    TestTensor y = image(l, "y", l->c->result, true, NULL);
    l->problem.y = y.tensor;
    test_ok(tkk_conv2d_forward(l->device->library, NULL, &l->problem));
    reference_conv_forward(&l->reference, l->want, l->sums);
    if (l->c->relu)
        for (int64_t i = 0; i < l->y_count; i++) l->want[i] = l->want[i] > 0 ? l->want[i] : 0;
    compare(l, "y", &y, l->terms);
    test_free(&y);
}

static void check_backward(Layer *l) {
    const ReferenceConv *r = &l->reference;
    TestTensor dx = image(l, "dx", l->c->result, false, NULL);
    TestTensor dw = weights(l, "dw", l->c->result, NULL);
    TestTensor db = test_tensor(l->device, "db", l->c->result, 1, &r->out, NULL, NULL);
    l->problem.dx = dx.tensor;
    l->problem.dw = dw.tensor;
    l->problem.db = db.tensor;
    tkc_buffer *workspace = NULL;
    const uint64_t size = tkk_conv2d_workspace(l->device->library, &l->problem);
    if (l->c->workspace && size > 0) {
        test_ok(tkc_buffer_create(l->device->device, size, "workspace", &workspace));
        test_ok(tkc_buffer_poison(workspace));
        l->problem.workspace = (tkk_workspace){tkc_arg_buffer(workspace), size};
    }
    test_ok(tkk_conv2d_backward(l->device->library, NULL, &l->problem));
    const int64_t pixels = reference_conv_out(r, 0) * reference_conv_out(r, 1);
    reference_conv_dx(r, l->want, l->sums);
    compare(l, "dx", &dx, r->out / r->groups * r->kernel[0] * r->kernel[1]);
    reference_conv_dw(r, l->want, l->sums);
    compare(l, "dw", &dw, r->batch * pixels);
    reference_conv_db(r, l->want, l->sums);
    compare(l, "db", &db, r->batch * pixels);
    tkc_buffer_destroy(workspace);
    test_free(&dx);
    test_free(&dw);
    test_free(&db);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    Layer l = {.c = c, .device = device};
    l.reference =
        (ReferenceConv){.batch = c->batch, .in = c->in, .out = c->out, .groups = c->groups};
    tkk_conv2d problem = TKK_CONV2D_INIT;
    for (int d = 0; d < 2; d++) {
        l.reference.size[d] = c->size[d];
        l.reference.kernel[d] = c->kernel[d];
        l.reference.stride[d] = c->stride[d];
        l.reference.padding[d] = c->padding[d];
        l.reference.dilation[d] = c->dilation[d];
        problem.stride[d] = (uint32_t)c->stride[d];
        problem.padding[d] = (uint32_t)c->padding[d];
        problem.dilation[d] = (uint32_t)c->dilation[d];
    }
    problem.groups = (uint32_t)c->groups;
    problem.precision = TKK_IEEE;
    problem.activation = c->relu ? TKK_RELU : TKK_NO_ACTIVATION;
    l.terms = c->in / c->groups * c->kernel[0] * c->kernel[1];
    l.x_count = c->batch * c->in * c->size[0] * c->size[1];
    l.w_count = c->out * l.terms;
    l.y_count = c->batch * c->out * reference_conv_out(&l.reference, 0) *
                reference_conv_out(&l.reference, 1);
    const int64_t most = l.x_count + l.w_count + l.y_count + c->out;
    double *x = test_numbers(l.x_count), *w = test_numbers(l.w_count);
    double *dy = test_numbers(l.y_count), *bias = test_numbers(c->out);
    l.want = test_numbers(most);
    l.sums = test_numbers(most);
    random_fill(random, c->type, 1, x, l.x_count);
    random_fill(random, c->type, 1, w, l.w_count);
    random_fill(random, c->type, 1, dy, l.y_count);
    random_fill(random, c->type, 1, bias, c->out);
    l.reference.x = x, l.reference.w = w, l.reference.dy = dy;
    TestTensor tx = image(&l, "x", c->type, false, x), ty = image(&l, "dy", c->type, true, dy);
    TestTensor tw = weights(&l, "w", c->type, w);
    TestTensor tb = test_tensor(device, "b", c->type, 1, &c->out, NULL, bias);
    problem.x = tx.tensor, problem.w = tw.tensor, problem.dy = ty.tensor;
    if (c->bias) {
        problem.b = tb.tensor;
        l.reference.bias = bias;
    }
    l.problem = problem;
    check_forward(&l);
    check_backward(&l);
    TestTensor *tensors[] = {&tx, &tw, &tb, &ty};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
    double *all[] = {x, w, dy, bias, l.want, l.sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void check_layers(TestDevice *device, Random *random) {
    /* batch in out groups, size kernel stride padding dilation, dtypes, bias relu workspace */
    static const Case cases[] = {
        {2,
         3,
         16,
         1,
         {9, 34},
         {3, 3},
         {1, 1},
         {0, 0},
         {1, 1},
         REF_F32,
         REF_F32,
         true,
         false,
         true,
         NULL},
        {1,
         20,
         18,
         1,
         {6, 10},
         {3, 3},
         {1, 1},
         {1, 1},
         {1, 1},
         REF_F16,
         REF_F16,
         false,
         true,
         false,
         NULL},
        {2,
         16,
         16,
         1,
         {8, 9},
         {3, 2},
         {2, 3},
         {1, 2},
         {1, 1},
         REF_F32,
         REF_F32,
         true,
         false,
         true,
         &gaps},
        {1,
         32,
         24,
         2,
         {9, 20},
         {2, 3},
         {1, 2},
         {0, 1},
         {2, 2},
         REF_BF16,
         REF_F32,
         true,
         false,
         true,
         NULL},
        {1,
         17,
         5,
         1,
         {5, 40},
         {1, 1},
         {1, 1},
         {0, 0},
         {1, 1},
         REF_F16,
         REF_F32,
         true,
         true,
         true,
         NULL},
        {1,
         4,
         8,
         4,
         {7, 20},
         {3, 3},
         {2, 1},
         {1, 1},
         {1, 2},
         REF_F32,
         REF_BF16,
         true,
         true,
         false,
         NULL},
        {2,
         16,
         20,
         1,
         {7, 7},
         {3, 3},
         {1, 1},
         {1, 1},
         {1, 1},
         REF_F32,
         REF_F32,
         false,
         false,
         true,
         &channels_last},
        {1,
         6,
         4,
         2,
         {5, 6},
         {4, 5},
         {3, 2},
         {2, 0},
         {1, 1},
         REF_F16,
         REF_F32,
         false,
         false,
         true,
         &every_third},
        {1,
         2,
         2,
         1,
         {9, 9},
         {1, 1},
         {4, 3},
         {0, 0},
         {1, 1},
         REF_F32,
         REF_F32,
         false,
         false,
         true,
         NULL}, /* pixels that no tap reaches: their gradient is 0 */
        {0,
         4,
         4,
         1,
         {4, 4},
         {3, 3},
         {1, 1},
         {1, 1},
         {1, 1},
         REF_F32,
         REF_F32,
         true,
         false,
         true,
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(device, random, &cases[i]);
}

static void check_refusals(TestDevice *device, Random *random) {
    (void)random;
    TestTensor x = test_tensor(device, "x", REF_F16, 4, (int64_t[]){1, 4, 5, 5}, NULL, NULL);
    TestTensor w = test_tensor(device, "w", REF_F16, 4, (int64_t[]){6, 4, 3, 3}, NULL, NULL);
    TestTensor y = test_tensor(device, "y", REF_F16, 4, (int64_t[]){1, 6, 4, 3}, NULL, NULL);
    tkk_conv2d p = TKK_CONV2D_INIT;
    p.x = x.tensor, p.w = w.tensor, p.y = y.tensor;
    ck_assert_int_eq(tkk_conv2d_forward(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "y: the extent of dimension 2 is 4"));
    p.groups = 4;
    ck_assert_int_eq(tkk_conv2d_forward(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "not multiples of 4 groups"));
    p.groups = 1;
    p.dilation[0] = 3;
    ck_assert_int_eq(tkk_conv2d_forward(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "reaches beyond the padded input"));
    p.stride[1] = 0;
    ck_assert_int_eq(tkk_conv2d_forward(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    test_free(&x);
    test_free(&w);
    test_free(&y);
}

START_TEST(layers) {
    test_on_each_device(check_layers);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

static double weighted_sum(const ReferenceConv *c, double *y, double *sums) {
    const int64_t n = c->batch * c->out * reference_conv_out(c, 0) * reference_conv_out(c, 1);
    double sum = 0;
    reference_conv_forward(c, y, sums);
    for (int64_t i = 0; i < n; i++) sum += c->dy[i] * y[i];
    return sum;
}

/* The reference's gradients are derivatives of its forward pass; it is linear in x and in w, so
 * that differences are exact. */
START_TEST(differences) {
    enum { X = 2 * 4 * 5 * 4, W = 6 * 2 * 3 * 2, Y = 2 * 6 * 3 * 5 };
    Random random = random_from_seed(7);
    double x[X], w[W], dy[Y], bias[6], y[Y], gradient[X], sums[X + Y];
    ReferenceConv c = {2, 4, 6, 2, {5, 4}, {3, 2}, {2, 1}, {1, 2}, {1, 3}, x, w, bias, dy};
    ck_assert_int_eq(reference_conv_out(&c, 0) * reference_conv_out(&c, 1), 3 * 5);
    random_fill(&random, REF_F64, 1, x, X);
    random_fill(&random, REF_F64, 1, w, W);
    random_fill(&random, REF_F64, 1, dy, Y);
    random_fill(&random, REF_F64, 1, bias, 6);
    double *inputs[] = {x, w, bias};
    const int counts[] = {X, W, 6};
    void (*const gradients[])(const ReferenceConv *, double *,
                              double *) = {reference_conv_dx, reference_conv_dw, reference_conv_db};
    for (int kind = 0; kind < 3; kind++) {
        gradients[kind](&c, gradient, sums);
        for (int i = 0; i < counts[kind]; i++) {
            const double kept = inputs[kind][i];
            inputs[kind][i] = kept + 0.5;
            const double up = weighted_sum(&c, y, sums);
            inputs[kind][i] = kept - 0.5;
            const double down = weighted_sum(&c, y, sums);
            inputs[kind][i] = kept;
            ck_assert_double_eq_tol(gradient[i], up - down, 1e-9);
        }
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("conv2d");
    TCase *tests = tcase_create("conv2d");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, layers);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, differences);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
