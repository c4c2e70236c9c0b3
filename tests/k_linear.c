/* k_linear.c: linear layers, forward and backward. */
#include "tests/kernel_test.h"
#include "tests/reference_layers.h"
#include "tests/reference_matrix.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t rows, in, out;
    ReferenceType type, result; /* of x, w, dy; of y, dx, dw, db */
    tkk_activation activation;
    ReferenceActivation reference;
    bool bias, workspace;
    const TestLayout *x, *w;
} Case;

static const TestLayout transposed = {.order = {1, 0}};
static const TestLayout gaps = {.gap = 3, .start = 1};

static void multiply(int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                     const Case *c, ReferenceType type, double *y, double *allowed) {
    /* dz is rounded to the dtype of dy before it is multiplied */
    const double operand =
        c->activation ? reference_unit_roundoff(c->type) + 16 * reference_unit_roundoff(REF_F32)
                      : 0;
    reference_product(&(ReferenceProduct){.m = m,
                                          .n = n,
                                          .k = k,
                                          .a = a,
                                          .b = b,
                                          .alpha = 1,
                                          .operand = operand,
                                          .y_type = type,
                                          .y = y,
                                          .y_allowed = allowed});
}

typedef struct Numbers {
    double *x, *w, *turned_w, *b, *z, *y, *dy, *dz, *turned_dz, *allowed;
} Numbers;

static Numbers make_numbers(const Case *c, Random *random) {
    const int64_t xs = c->rows * c->in, ws = c->out * c->in, ys = c->rows * c->out;
    Numbers n = {test_numbers(xs), test_numbers(ws),
                 test_numbers(ws), test_numbers(c->out),
                 test_numbers(ys), test_numbers(ys),
                 test_numbers(ys), test_numbers(ys),
                 test_numbers(ys), test_numbers(xs + ws + ys + c->out)};
    random_fill(random, c->type, 1, n.x, xs);
    random_fill(random, c->type, 0.5, n.w, ws);
    random_fill(random, c->type, 1, n.b, c->out);
    random_fill(random, c->type, 1, n.dy, ys);
    reference_transpose(c->out, c->in, n.w, n.turned_w);
    return n;
}

static void free_numbers(Numbers *n) {
    double *all[] = {n->x, n->w,  n->turned_w, n->b,         n->z,
                     n->y, n->dy, n->dz,       n->turned_dz, n->allowed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void compare(const char *what, const Case *c, const TestDevice *device, const TestTensor *t,
                    const double *want, const double *allowed) {
    char name[128];
    snprintf(name, sizeof name, "%s of linear %lldx%lld->%lld activation %d on %s", what,
             (long long)c->rows, (long long)c->in, (long long)c->out, (int)c->activation,
             device->name);
    double *got = test_read(t);
    test_compare(name, t->count, got, want, allowed);
    free(got);
}

/* The kernel's own z goes into the backward pass, and into its reference: relu's slope may differ
 * where z is nearly 0. */
static void check_backward(TestDevice *device, const Case *c, Numbers *n, const TestTensor *z,
                           tkk_linear *problem) {
    const int64_t rows = c->rows, in = c->in, out = c->out;
    double *got_z = test_read(z), *want = test_numbers(rows * in + out * in + out);
    for (int64_t i = 0; i < rows * out; i++)
        n->dz[i] = n->dy[i] * reference_activation_slope(c->reference, got_z[i]);
    TestTensor dy = test_tensor(device, "dy", c->type, 2, (int64_t[]){rows, out}, c->x, n->dy);
    TestTensor dx = test_tensor(device, "dx", c->result, 2, (int64_t[]){rows, in}, c->x, NULL);
    TestTensor dw = test_tensor(device, "dw", c->result, 2, (int64_t[]){out, in}, c->w, NULL);
    TestTensor db = test_tensor(device, "db", c->result, 1, &out, NULL, NULL);
    problem->dy = dy.tensor;
    problem->dx = dx.tensor;
    problem->dw = dw.tensor;
    problem->db = db.tensor;
    tkc_buffer *workspace = NULL;
    const uint64_t size = tkk_linear_workspace(device->library, problem);
    if (c->workspace && size > 0) {
        test_ok(tkc_buffer_create(device->device, size, "workspace", &workspace));
        test_ok(tkc_buffer_poison(workspace));
        problem->workspace = (tkk_workspace){tkc_arg_buffer(workspace), size};
    }
    test_ok(tkk_linear_backward(device->library, NULL, problem));

    multiply(rows, in, out, n->dz, n->w, c, c->result, want, n->allowed);
    compare("dx", c, device, &dx, want, n->allowed);
    reference_transpose(rows, out, n->dz, n->turned_dz);
    multiply(out, in, rows, n->turned_dz, n->x, c, c->result, want, n->allowed);
    compare("dw", c, device, &dw, want, n->allowed);
    double *ones = test_numbers(rows);
    for (int64_t i = 0; i < rows; i++) ones[i] = 1;
    multiply(out, 1, rows, n->turned_dz, ones, c, c->result, want, n->allowed);
    compare("db", c, device, &db, want, n->allowed);
    free(ones);
    free(want);
    free(got_z);
    tkc_buffer_destroy(workspace);
    test_free(&dy);
    test_free(&dx);
    test_free(&dw);
    test_free(&db);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    const int64_t rows = c->rows, in = c->in, out = c->out;
    Numbers n = make_numbers(c, random);
    TestTensor x = test_tensor(device, "x", c->type, 2, (int64_t[]){rows, in}, c->x, n.x);
    TestTensor w = test_tensor(device, "w", c->type, 2, (int64_t[]){out, in}, c->w, n.w);
    TestTensor b = test_tensor(device, "b", c->type, 1, &out, NULL, n.b);
    TestTensor y = test_tensor(device, "y", c->result, 2, (int64_t[]){rows, out}, c->x, NULL);
    TestTensor z = test_tensor(device, "z", REF_F32, 2, (int64_t[]){rows, out}, c->x, NULL);
    tkk_linear problem = TKK_LINEAR_INIT;
    problem.activation = c->activation;
    problem.precision = TKK_IEEE;
    problem.x = x.tensor;
    problem.w = w.tensor;
    if (c->bias) problem.b = b.tensor;
    problem.y = y.tensor;
    problem.z = z.tensor;
    test_ok(tkk_linear_forward(device->library, NULL, &problem));
    double *z_allowed = test_numbers(rows * out);
    ReferenceProduct p = {.m = rows,
                          .n = out,
                          .k = in,
                          .a = n.x,
                          .b = n.turned_w,
                          .bias = c->bias ? n.b : NULL,
                          .alpha = 1,
                          .activation = c->reference,
                          .y_type = c->result,
                          .z_type = REF_F32,
                          .y = n.y,
                          .y_allowed = n.allowed,
                          .z = n.z,
                          .z_allowed = z_allowed};
    reference_product(&p);
    compare("y", c, device, &y, n.y, n.allowed);
    compare("z", c, device, &z, n.z, z_allowed);
    check_backward(device, c, &n, &z, &problem);
    free(z_allowed);
    TestTensor *all[] = {&x, &w, &b, &y, &z};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) test_free(all[i]);
    free_numbers(&n);
}

static void check_layers(TestDevice *device, Random *random) {
    const Case cases[] = {
        {150, 40, 70, REF_F32, REF_F32, TKK_GELU, REF_GELU, true, true, NULL, NULL},
        {33, 17, 130, REF_F16, REF_F32, TKK_SILU, REF_SILU, true, false, &gaps, &transposed},
        {16, 32, 16, REF_BF16, REF_BF16, TKK_GELU_TANH, REF_GELU_TANH, false, true, NULL, NULL},
        {200, 16, 20, REF_F16, REF_F16, TKK_NO_ACTIVATION, REF_NONE, true, true, &transposed, NULL},
        {20, 16, 48, REF_F32, REF_F16, TKK_LEAKY_RELU, REF_LEAKY_RELU, true, false, NULL, &gaps},
        {0, 16, 20, REF_F32, REF_F32, TKK_RELU, REF_RELU, true, true, NULL, NULL},
        {5, 0, 20, REF_F32, REF_F32, TKK_RELU, REF_RELU, true, true, NULL, NULL},
        {5, 7, 0, REF_F32, REF_F32, TKK_RELU, REF_RELU, true, true, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(device, random, &cases[i]);
}

/* Far out: no activation or slope may become NaN, nor a result infinite that should not be. */
static void check_extremes(TestDevice *device, Random *random) {
    (void)random;
    const double values[] = {-1e30, -1e4, -100, -20, -1e-30, 0, 1e-30, 20, 100, 1e4, 1e30, 1e18};
    const int64_t n = sizeof values / sizeof *values, one = 1;
    double ones[12];
    for (int64_t i = 0; i < n; i++) ones[i] = 1;
    for (int i = TKK_NO_ACTIVATION; i <= TKK_GELU_TANH; i++) {
        TestTensor x = test_tensor(device, "x", REF_F32, 2, (int64_t[]){n, 1}, NULL, values);
        TestTensor w = test_tensor(device, "w", REF_F32, 2, (int64_t[]){1, 1}, NULL, ones);
        TestTensor y = test_tensor(device, "y", REF_F32, 2, (int64_t[]){n, 1}, NULL, NULL);
        TestTensor dy = test_tensor(device, "dy", REF_F32, 2, (int64_t[]){n, 1}, NULL, ones);
        TestTensor dx = test_tensor(device, "dx", REF_F32, 2, (int64_t[]){n, 1}, NULL, NULL);
        tkk_linear p = TKK_LINEAR_INIT;
        p.activation = (tkk_activation)i;
        p.precision = TKK_IEEE;
        p.x = x.tensor, p.w = w.tensor, p.y = y.tensor;
        p.z = x.tensor, p.dy = dy.tensor, p.dx = dx.tensor;
        p.z.dtype = TKC_NONE, p.z.rank = 0;
        test_ok(tkk_linear_forward(device->library, NULL, &p));
        p.z = x.tensor;
        test_ok(tkk_linear_backward(device->library, NULL, &p));
        double *y_got = test_read(&y), *dx_got = test_read(&dx);
        static const ReferenceActivation references[] = {[TKK_NO_ACTIVATION] = REF_NONE,
                                                         [TKK_RELU] = REF_RELU,
                                                         [TKK_LEAKY_RELU] = REF_LEAKY_RELU,
                                                         [TKK_GELU] = REF_GELU,
                                                         [TKK_SILU] = REF_SILU,
                                                         [TKK_GELU_TANH] = REF_GELU_TANH};
        for (int64_t j = 0; j < n; j++) {
            const double y_want = reference_activate(references[i], values[j]);
            const double slope = reference_activation_slope(references[i], values[j]);
            ck_assert_msg(fabs(y_got[j] - y_want) <= 1e-5 * fabs(values[j]) + 1e-37,
                          "activation %d of %g on %s: %g, expected %g", i, values[j], device->name,
                          y_got[j], y_want);
            ck_assert_msg(fabs(dx_got[j] - slope) <= 1e-5,
                          "slope of activation %d at %g on %s: %g, expected %g", i, values[j],
                          device->name, dx_got[j], slope);
        }
        free(y_got);
        free(dx_got);
        TestTensor *all[] = {&x, &w, &y, &dy, &dx};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) test_free(all[j]);
    }
    (void)one;
}

START_TEST(layers) {
    test_on_each_device(check_layers);
}
END_TEST

START_TEST(extremes) {
    test_on_each_device(check_extremes);
}
END_TEST

/* The reference's slopes are the derivatives of its activations. */
START_TEST(differences) {
    for (int i = REF_NONE; i <= REF_GELU_TANH; i++)
        for (double x = -5.05; x < 5; x += 0.1) {
            const double h = 1e-5, up = reference_activate((ReferenceActivation)i, x + h);
            const double down = reference_activate((ReferenceActivation)i, x - h);
            const double slope = reference_activation_slope((ReferenceActivation)i, x);
            ck_assert_double_eq_tol(slope, (up - down) / (2 * h), 1e-8);
        }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("linear");
    TCase *tests = tcase_create("linear");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, layers);
    tcase_add_test(tests, extremes);
    tcase_add_test(tests, differences);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
