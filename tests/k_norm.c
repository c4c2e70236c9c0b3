/* k_norm.c: layer normalisation and its root-mean-square form, forward and backward, with and
 * without weight, bias, residual and gradient of the sum. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    uint32_t rank;
    int64_t shape[4];
    int32_t axis; /* counted from the last */
    ReferenceType type;
    bool rms, weight, bias, residual;
    TestLayout layout;
    double offset; /* added to x: cancellation */
} Case;

static const Case cases[] = {
    {2, {1, 1}, -1, REF_F32, false, true, true, false, {.gap = 0}, 0},
    {2, {70, 100}, -1, REF_F32, false, true, true, true, {.gap = 0}, 0},
    {3, {3, 11, 768}, -1, REF_F16, true, true, false, true, {.gap = 0}, 0},
    {2, {19, 1000}, -1, REF_BF16, false, true, true, false, {.gap = 8, .start = 8}, 0},
    {2, {5, 512}, -1, REF_F32, true, false, false, false, {.gap = 0}, 0},
    {2, {9, 300}, -1, REF_F32, false, false, false, false, {.gap = 0}, 1000},
    {4, {2, 24, 5, 9}, -3, REF_F32, false, true, true, true, {.gap = 0}, 0},
    {4, {3, 5, 2, 40}, -1, REF_F16, true, true, false, false, {.order = {1, 3, 0, 2}}, 0},
    {2, {0, 64}, -1, REF_F32, false, true, true, false, {.gap = 0}, 0},
};
/* Rows in pieces: on GPUs over 8192 elements, on cores over 65536, backward over 16384. */
static const Case long_cases[] = {
    {2, {3, 10000}, -1, REF_F32, false, true, true, true, {.gap = 0}, 0},
    {2, {2, 65540}, -1, REF_F32, false, true, false, true, {.gap = 0}, 3},
    {2, {3, 8193}, -1, REF_F16, true, true, false, false, {.gap = 0}, 0},
    {2, {700, 35}, -2, REF_F32, false, true, true, false, {.gap = 0}, 0},
};

/* Everything of a case, in the order of rows. */
typedef struct Problem {
    int64_t outer, n, inner, rows, count;
    uint32_t state_rank;
    int64_t state_shape[4];
    ReferenceNorm r;
    double *s, *y, *dy, *dsum, *dx, *mean, *rstd, *dweight, *dbias;
    double *a, *b, *to, *to_allowed; /* scratch */
} Problem;

static Problem problem_of(const Case *c) {
    Problem p = {.outer = 1, .inner = 1};
    uint32_t axis = (uint32_t)((int32_t)c->rank + c->axis);
    for (uint32_t i = 0; i < c->rank; i++) {
        if (i < axis) p.outer *= c->shape[i];
        if (i > axis) p.inner *= c->shape[i];
        if (i != axis) p.state_shape[p.state_rank++] = c->shape[i];
    }
    p.n = c->shape[axis];
    p.rows = p.outer * p.inner;
    p.count = p.rows * p.n;
    double **whole[] = {&p.s, &p.y, &p.dy, &p.dsum, &p.dx, &p.a, &p.b, &p.to, &p.to_allowed};
    double **other[] = {&p.mean, &p.rstd, &p.dweight, &p.dbias};
    for (int i = 0; i < 9; i++) *whole[i] = test_numbers(p.count);
    for (int i = 0; i < 4; i++) *other[i] = test_numbers(i < 2 ? p.rows : p.n);
    return p;
}

static void problem_free(Problem *p) {
    double *all[] = {p->s,  p->y,    p->dy,   p->dsum,    p->dx,    p->a,         p->b,
                     p->to, p->mean, p->rstd, p->dweight, p->dbias, p->to_allowed};
    for (int i = 0; i < 13; i++) free(all[i]);
}

static void to_rows(const Problem *p, const double *from, double *to) {
    reference_exchange(p->outer, p->n, p->inner, from, to);
}

/* Compares a tensor with expected values and tolerances in the order of rows. */
static void check_rows(Problem *p, Operand *out, const char *what, const double *expected,
                       const double *allowed) {
    reference_exchange(p->outer, p->inner, p->n, expected, p->to);
    reference_exchange(p->outer, p->inner, p->n, allowed, p->to_allowed);
    check_output(out, what, p->to, p->to_allowed);
}

static void check_forward(TestDevice *device, Random *random, const Case *c, Problem *p,
                          const Operand *weight, const Operand *bias) {
    const TestLayout *layout = &c->layout;
    Operand x = random_operand(device, random, "x", c->type, c->rank, c->shape, layout, 1);
    for (int64_t i = 0; i < x.n && c->offset != 0; i++) x.values[i] += c->offset;
    Operand given = given_operand(device, "x", c->type, c->rank, c->shape, layout, x.values);
    Operand residual =
        random_operand(device, random, "residual", c->type, c->rank, c->shape, NULL, 2);
    Operand sum = output_operand(device, "sum", c->type, c->rank, c->shape, layout);
    Operand y = output_operand(device, "y", c->type, c->rank, c->shape, NULL);
    Operand mean = output_operand(device, "mean", REF_F32, p->state_rank, p->state_shape, NULL);
    Operand rstd = output_operand(device, "rstd", REF_F32, p->state_rank, p->state_shape, NULL);
    for (int64_t i = 0; i < x.n; i++) {
        double s = given.values[i];
        if (c->residual) s = reference_round(c->type, (double)(float)(s + residual.values[i]));
        p->a[i] = s;
    }
    to_rows(p, p->a, p->s);
    reference_norm(&p->r);

    tkk_norm norm = TKK_NORM_INIT;
    norm.axis = c->axis;
    norm.rms = c->rms;
    norm.epsilon = (float)p->r.epsilon;
    norm.x = given.tensor, norm.y = y.tensor, norm.rstd = rstd.tensor;
    if (!c->rms) norm.mean = mean.tensor;
    if (c->weight) norm.weight = weight->tensor;
    if (c->bias) norm.bias = bias->tensor;
    if (c->residual) norm.residual = residual.tensor, norm.sum = sum.tensor;
    test_ok(tkk_norm_forward(device->library, NULL, &norm));

    double *allowed_mean = test_numbers(p->rows), *allowed_rstd = test_numbers(p->rows);
    reference_norm_tolerances(&p->r, c->type, p->b, allowed_mean, allowed_rstd);
    const char *what = test_name(device, c->rms ? "rms norm" : "norm", c->type, "%lldx%lldx%lld",
                                 (long long)p->outer, (long long)p->n, (long long)p->inner);
    check_rows(p, &y, what, p->y, p->b);
    if (!c->rms) check_output(&mean, what, p->mean, allowed_mean);
    check_output(&rstd, what, p->rstd, allowed_rstd);
    for (int64_t i = 0; i < p->count; i++) p->to_allowed[i] = 0;
    if (c->residual) check_output(&sum, what, p->a, p->to_allowed);
    free(allowed_mean);
    free(allowed_rstd);
    free_operands(7, (Operand *[]){&x, &given, &residual, &sum, &y, &mean, &rstd});
}

static void check_backward(TestDevice *device, Random *random, const Case *c, Problem *p,
                           const Operand *weight) {
    ReferenceNorm *r = &p->r;
    const TestLayout *layout = &c->layout;
    /* From the exact state, rounded to what is stored. */
    reference_exchange(p->outer, p->inner, p->n, p->s, p->a);
    Operand s = given_operand(device, "x", c->type, c->rank, c->shape, layout, p->a);
    Operand dy = random_operand(device, random, "dy", c->type, c->rank, c->shape, NULL, 1);
    Operand dsum = random_operand(device, random, "dsum", c->type, c->rank, c->shape, NULL, 1);
    Operand mean =
        given_operand(device, "mean", REF_F32, p->state_rank, p->state_shape, NULL, p->mean);
    Operand rstd =
        given_operand(device, "rstd", REF_F32, p->state_rank, p->state_shape, NULL, p->rstd);
    Operand dx = output_operand(device, "dx", c->type, c->rank, c->shape, layout);
    Operand dweight = output_operand(device, "dweight", REF_F32, 1, &p->n, NULL);
    Operand dbias = output_operand(device, "dbias", REF_F32, 1, &p->n, NULL);
    memcpy(p->mean, mean.values, (size_t)p->rows * sizeof *p->mean);
    memcpy(p->rstd, rstd.values, (size_t)p->rows * sizeof *p->rstd);
    to_rows(p, dy.values, p->dy);
    to_rows(p, dsum.values, p->dsum);
    r->dsum = c->residual ? p->dsum : NULL;
    reference_norm_backward(r);

    tkk_norm norm = TKK_NORM_INIT;
    norm.axis = c->axis;
    norm.rms = c->rms;
    norm.x = s.tensor, norm.dy = dy.tensor, norm.dx = dx.tensor;
    norm.rstd = rstd.tensor;
    if (!c->rms) norm.mean = mean.tensor;
    if (c->weight) norm.weight = weight->tensor, norm.dweight = dweight.tensor;
    if (c->bias) norm.dbias = dbias.tensor;
    if (c->residual) norm.dsum = dsum.tensor;
    test_ok(tkk_norm_backward(device->library, NULL, &norm));

    double *allowed_weight = test_numbers(p->n), *allowed_bias = test_numbers(p->n);
    reference_norm_backward_tolerances(r, c->type, REF_F32, p->b, allowed_weight, allowed_bias);
    const char *what = test_name(device, c->rms ? "rms norm" : "norm", c->type, "%lldx%lldx%lld",
                                 (long long)p->outer, (long long)p->n, (long long)p->inner);
    check_rows(p, &dx, what, p->dx, p->b);
    if (c->weight) check_output(&dweight, what, p->dweight, allowed_weight);
    if (c->bias) check_output(&dbias, what, p->dbias, allowed_bias);

    /* The same bits again, now with a workspace of the caller's. */
    uint64_t size = tkk_norm_workspace(device->library, &norm);
    if (c->weight && size > 0) {
        tkc_buffer *scratch;
        test_ok(tkc_buffer_create(device->device, size, "scratch", &scratch));
        norm.workspace = (tkk_workspace){tkc_arg_buffer(scratch), size};
        double *first = test_numbers(p->n);
        memcpy(first, dweight.values, (size_t)p->n * sizeof *first);
        test_ok(tkk_norm_backward(device->library, NULL, &norm));
        ck_assert_mem_eq(first, read_output(&dweight), (size_t)p->n * sizeof *first);
        free(first);
        tkc_buffer_destroy(scratch);
    }
    free(allowed_weight);
    free(allowed_bias);
    free_operands(8, (Operand *[]){&s, &dy, &dsum, &mean, &rstd, &dx, &dweight, &dbias});
}

static void check(TestDevice *device, Random *random, const Case *c) {
    Problem p = problem_of(c);
    Operand weight = random_operand(device, random, "weight", REF_F32, 1, &p.n, NULL, 1);
    Operand bias = random_operand(device, random, "bias", c->type, 1, &p.n, NULL, 1);
    p.r = (ReferenceNorm){.rows = p.rows,
                          .n = p.n,
                          .rms = c->rms,
                          .epsilon = (double)1e-5f,
                          .s = p.s,
                          .weight = c->weight ? weight.values : NULL,
                          .bias = c->bias ? bias.values : NULL,
                          .y = p.y,
                          .mean = p.mean,
                          .rstd = p.rstd,
                          .dy = p.dy,
                          .dx = p.dx,
                          .dweight = p.dweight,
                          .dbias = p.dbias};
    check_forward(device, random, c, &p, &weight, &bias);
    check_backward(device, random, c, &p, &weight);
    free_operands(2, (Operand *[]){&weight, &bias});
    problem_free(&p);
}

static void check_short(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

static void check_long(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof long_cases / sizeof *long_cases; i++)
        check(device, random, &long_cases[i]);
}

/* In place: y over x. A row of equal numbers gives the bias. */
static void check_in_place(TestDevice *device, Random *random) {
    (void)random;
    const int64_t shape[] = {2, 40}, rows[] = {2};
    double x[80], bias[40], expected[80];
    for (int i = 0; i < 80; i++) x[i] = i < 40 ? 3 : -0x1p100;
    for (int i = 0; i < 80; i++) expected[i] = bias[i % 40] = i % 40;
    Operand tx = given_operand(device, "x", REF_F32, 2, shape, NULL, x);
    Operand tb = given_operand(device, "bias", REF_F32, 1, shape + 1, NULL, bias);
    Operand mean = output_operand(device, "mean", REF_F32, 1, rows, NULL);
    Operand rstd = output_operand(device, "rstd", REF_F32, 1, rows, NULL);
    tkk_norm norm = TKK_NORM_INIT;
    norm.x = norm.y = tx.tensor;
    norm.bias = tb.tensor;
    norm.mean = mean.tensor, norm.rstd = rstd.tensor;
    test_ok(tkk_norm_forward(device->library, NULL, &norm));
    ck_assert(fabs(read_output(&mean)[0] - 3) < 1e-6);
    check_output(&tx, "norm in place", expected, (double[80]){0});
    norm.epsilon = -1;
    ck_assert_int_eq(tkk_norm_forward(device->library, NULL, &norm), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "epsilon"));
    free_operands(4, (Operand *[]){&tx, &tb, &mean, &rstd});
}

START_TEST(short_rows) {
    test_on_each_device(check_short);
}
END_TEST

START_TEST(long_rows) {
    test_on_each_device(check_long);
}
END_TEST

START_TEST(in_place) {
    test_on_each_device(check_in_place);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("norm");
    TCase *tests = tcase_create("norm");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, short_rows);
    tcase_add_test(tests, long_rows);
    tcase_add_test(tests, in_place);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
