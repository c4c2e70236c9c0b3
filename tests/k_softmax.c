/* k_softmax.c: softmax and its logarithm, forward and backward: along the last dimension and
 * others, whole rows and rows in pieces. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    uint32_t rank;
    int64_t shape[4];
    int32_t axis; /* counted from the last */
    ReferenceType type;
    double deviation; /* of the input */
    bool logarithm;
    TestLayout layout;
} Case;

#define PLAIN                                                                                      \
    { .gap = 0 }

/* A case seen as [outer, n, inner]. */
typedef struct Problem {
    int64_t outer, n, inner, count, rows;
    tkk_softmax_options options;
    double *x, *y, *dy, *dx; /* with rows along the last dimension */
    double *expected, *allowed;
} Problem;

static Problem problem_of(const Case *c) {
    Problem p = {.outer = 1, .inner = 1, .options = TKK_SOFTMAX_OPTIONS_INIT};
    uint32_t axis = (uint32_t)((int32_t)c->rank + c->axis);
    for (uint32_t i = 0; i < axis; i++) p.outer *= c->shape[i];
    for (uint32_t i = axis + 1; i < c->rank; i++) p.inner *= c->shape[i];
    p.n = c->shape[axis];
    p.rows = p.outer * p.inner;
    p.count = p.rows * p.n;
    p.options.axis = c->axis;
    p.options.logarithm = c->logarithm;
    double **arrays[] = {&p.x, &p.y, &p.dy, &p.dx, &p.expected, &p.allowed};
    for (int i = 0; i < 6; i++) *arrays[i] = test_numbers(p.count);
    return p;
}

static void problem_free(Problem *p) {
    double *arrays[] = {p->x, p->y, p->dy, p->dx, p->expected, p->allowed};
    for (int i = 0; i < 6; i++) free(arrays[i]);
}

static void to_rows(const Problem *p, const double *from, double *to) {
    reference_exchange(p->outer, p->n, p->inner, from, to);
}

/* Writes p->expected and p->allowed in the order of the tensors. */
static void from_rows(Problem *p, const double *expected, double *allowed) {
    reference_exchange(p->outer, p->inner, p->n, expected, p->expected);
    reference_exchange(p->outer, p->inner, p->n, allowed, p->allowed);
    free(allowed);
}

static double spread_of(const double *x, int64_t n) {
    double largest = x[0], smallest = x[0];
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, x[i]);
        smallest = fmin(smallest, x[i]);
    }
    return largest - smallest;
}

static void forward(const Case *c, Problem *p) {
    (c->logarithm ? reference_log_softmax : reference_softmax)(p->rows, p->n, p->x, p->y);
    double *allowed = test_numbers(p->count);
    for (int64_t at = 0; at < p->count; at += p->n) {
        double spread = spread_of(p->x + at, p->n);
        for (int64_t i = at; i < at + p->n; i++)
            allowed[i] =
                (c->logarithm ? reference_log_softmax_tolerance
                              : reference_softmax_tolerance)(c->type, p->n, spread, p->y[i]);
    }
    from_rows(p, p->y, allowed);
}

static void backward(const Case *c, Problem *p) {
    (c->logarithm ? reference_log_softmax_backward
                  : reference_softmax_backward)(p->rows, p->n, p->y, p->dy, p->dx);
    double *allowed = test_numbers(p->count);
    for (int64_t at = 0; at < p->count; at += p->n) {
        double sum = 0;
        for (int64_t i = at; i < at + p->n; i++)
            sum += fabs(c->logarithm ? p->dy[i] : p->y[i] * p->dy[i]);
        for (int64_t i = at; i < at + p->n; i++)
            allowed[i] = (c->logarithm ? reference_log_softmax_backward_tolerance
                                       : reference_softmax_backward_tolerance)(
                c->type, p->n, sum, p->y[i], p->dy[i], p->dx[i]);
    }
    from_rows(p, p->dx, allowed);
}

static void check(TestDevice *device, Random *random, const Case *c) {
    Problem p = problem_of(c);
    const char *kernel = c->logarithm ? "log_softmax" : "softmax";
    const char *what = test_name(device, kernel, c->type, "%lldx%lldx%lld", (long long)p.outer,
                                 (long long)p.n, (long long)p.inner);
    Operand x =
        random_operand(device, random, "x", c->type, c->rank, c->shape, &c->layout, c->deviation);
    Operand y = output_operand(device, "y", c->type, c->rank, c->shape, NULL);
    to_rows(&p, x.values, p.x);
    forward(c, &p);
    test_ok(tkk_softmax_forward(device->library, NULL, &x.tensor, &y.tensor, &p.options));
    check_output(&y, what, p.expected, p.allowed);

    /* Backward from the exact y, rounded. */
    Operand ry = given_operand(device, "y", c->type, c->rank, c->shape, &c->layout, p.expected);
    Operand dy = random_operand(device, random, "dy", c->type, c->rank, c->shape, NULL, 1);
    Operand dx = output_operand(device, "dx", c->type, c->rank, c->shape, &c->layout);
    to_rows(&p, ry.values, p.y);
    to_rows(&p, dy.values, p.dy);
    backward(c, &p);
    test_ok(tkk_softmax_backward(device->library, NULL, &ry.tensor, &dy.tensor, &dx.tensor,
                                 &p.options));
    check_output(&dx, what, p.expected, p.allowed);
    free_operands(5, (Operand *[]){&x, &y, &ry, &dy, &dx});
    problem_free(&p);
}

static const Case cases[] = {
    {2, {1, 1}, -1, REF_F32, 1, false, PLAIN},
    {2, {3, 2}, -1, REF_F32, 1, true, PLAIN},
    {2, {5, 128}, -1, REF_F16, 1, false, PLAIN},
    {2, {64, 781}, -1, REF_F32, 10, false, PLAIN},
    {2, {33, 1000}, -1, REF_BF16, 2, true, PLAIN},
    {2, {2, 16384}, -1, REF_F32, 1, true, PLAIN},
    {1, {77}, -1, REF_F32, 3, false, PLAIN},
    {2, {4, 300}, -1, REF_F32, 1e4, false, PLAIN}, /* nothing may overflow */
    {2, {4, 300}, -1, REF_F32, 1e4, true, PLAIN},
    /* rows with gaps between them, starting at an odd address */
    {2, {13, 100}, -1, REF_F16, 1, false, {.gap = 5, .start = 3}},
    /* other axes, dims in another order, steps */
    {3, {3, 37, 50}, -2, REF_F32, 2, false, PLAIN},
    {4, {2, 3, 20, 9}, -3, REF_F16, 1, true, PLAIN},
    {4, {5, 3, 7, 11}, -4, REF_F32, 1, false, {.order = {2, 0, 3, 1}, .step = 2}},
    {4, {3, 4, 5, 33}, -1, REF_F32, 1, true, {.order = {1, 0, 3, 2}}},
};
/* Rows in pieces: on GPUs over 16384 elements, on cores over 65536. */
static const Case long_cases[] = {
    {2, {2, 16385}, -1, REF_F32, 5, false, PLAIN},
    {2, {2, 70001}, -1, REF_F16, 1, true, PLAIN},
    {2, {3, 17000}, -1, REF_F32, 1, true, {.gap = 5, .start = 3}},
    {3, {2, 700, 40}, -2, REF_F32, 3, false, PLAIN},
    {2, {5000, 17}, -2, REF_BF16, 1, true, PLAIN},
};

static void check_short(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

static void check_long(TestDevice *device, Random *random) {
    size_t count = sizeof long_cases / sizeof *long_cases;
    for (size_t i = 0; i < count; i += (size_t)test_size(1, 3))
        check(device, random, &long_cases[i]);
}

/* Rows of equal numbers give exactly 1 / n; -inf is no weight; a row of nothing else, and one with
 * NaN, are NaN and leave their neighbours alone. Whole rows and rows in pieces. */
static void check_special(TestDevice *device, int64_t n) {
    enum { EQUAL, HALF, NOTHING, WRONG, LOWEST, ROWS };
    const int64_t shape[] = {ROWS, n};
    double *x = test_numbers(ROWS * n);
    for (int64_t i = 0; i < n; i++) {
        x[EQUAL * n + i] = -60000;
        x[HALF * n + i] = i % 2 ? -INFINITY : 3;
        x[NOTHING * n + i] = -INFINITY;
        x[WRONG * n + i] = i == n / 2 ? NAN : 1;
        x[LOWEST * n + i] = -3.4028234663852886e38;
    }
    Operand tx = given_operand(device, "x", REF_F32, 2, shape, NULL, x);
    Operand ty = output_operand(device, "y", REF_F32, 2, shape, NULL);
    test_ok(tkk_softmax_forward(device->library, NULL, &tx.tensor, &ty.tensor, NULL));
    const double *y = read_output(&ty);
    for (int64_t i = 0; i < n; i++) {
        const double even = 1.0 / (double)n;
        if (y[EQUAL * n + i] != even || y[LOWEST * n + i] != even ||
            y[HALF * n + i] != (i % 2 ? 0 : 2 * even) || !isnan(y[NOTHING * n + i]) ||
            !isnan(y[WRONG * n + i]))
            ck_abort_msg("n %lld, column %lld on %s: %g %g %g %g %g", (long long)n, (long long)i,
                         device->name, y[EQUAL * n + i], y[HALF * n + i], y[NOTHING * n + i],
                         y[WRONG * n + i], y[LOWEST * n + i]);
    }
    free_operands(2, (Operand *[]){&tx, &ty});
    free(x);
}

static void check_extreme(TestDevice *device, Random *random) {
    (void)random;
    check_special(device, 64);
    check_special(device, 131072);
}

static void check_refusals(TestDevice *device, Random *random) {
    const int64_t shape[] = {4, 6}, empty[] = {0, 6};
    Operand x = random_operand(device, random, "x", REF_F32, 2, shape, NULL, 1);
    Operand none = output_operand(device, "none", REF_F32, 2, empty, NULL);
    tkk_softmax_options options = TKK_SOFTMAX_OPTIONS_INIT;
    test_ok(tkk_softmax_forward(device->library, NULL, &none.tensor, &none.tensor, NULL));
    options.axis = 2;
    tkc_status status = tkk_softmax_forward(device->library, NULL, &x.tensor, &x.tensor, &options);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "axis is 2"));
    status = tkk_softmax_forward(device->library, NULL, &x.tensor, &none.tensor, NULL);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "y: the extent of dimension 0 is 0"));
    free_operands(2, (Operand *[]){&x, &none});
}

START_TEST(short_rows) {
    test_on_each_device(check_short);
}
END_TEST

START_TEST(long_rows) {
    test_on_each_device(check_long);
}
END_TEST

START_TEST(extreme) {
    test_on_each_device(check_extreme);
}
END_TEST

START_TEST(refusals) {
    test_on_each_device(check_refusals);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("softmax");
    TCase *tests = tcase_create("softmax");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, short_rows);
    tcase_add_test(tests, long_rows);
    tcase_add_test(tests, extreme);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
