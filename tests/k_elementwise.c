/* k_elementwise.c: activations with bias, gate, dropout and residual, forward and backward, and
 * binary operations with broadcasting. The reference makes its own random words: masks must be
 * equal, not only alike. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    uint32_t rank;
    int64_t shape[4];
    ReferenceType type;
    tkk_activation activation;
    bool bias, gate, residual;
    float dropout;
    TestLayout layout;
} Case;

static const Case cases[] = {
    {1, {1}, REF_F32, TKK_GELU, false, false, false, 0, {.gap = 0}},
    {1, {10007}, REF_F32, TKK_GELU, false, false, false, 0.3f, {.gap = 0}},
    {2, {33, 100}, REF_F16, TKK_GELU_TANH, true, false, true, 0.1f, {.gap = 0}},
    {2, {7, 1030}, REF_BF16, TKK_SILU, false, true, false, 0, {.gap = 6}},
    {3, {3, 5, 37}, REF_F32, TKK_GELU, true, true, true, 0.5f, {.order = {2, 0, 1}}},
    {4, {2, 3, 4, 20}, REF_F32, TKK_RELU, true, false, false, 0.25f, {.gap = 4, .start = 1}},
    {4,
     {3, 4, 5, 6},
     REF_F32,
     TKK_NO_ACTIVATION,
     false,
     false,
     false,
     0.7f,
     {.order = {3, 1, 0, 2}, .step = 3}},
    {2, {40, 3}, REF_F32, TKK_LEAKY_RELU, true, false, false, 1, {.gap = 0}},
    {2, {3, 0}, REF_F32, TKK_SILU, true, false, false, 0.5f, {.gap = 0}},
};

static const ReferenceActivation references[] = {
    [TKK_NO_ACTIVATION] = REF_NONE, [TKK_RELU] = REF_RELU, [TKK_LEAKY_RELU] = REF_LEAKY_RELU,
    [TKK_GELU] = REF_GELU,          [TKK_SILU] = REF_SILU, [TKK_GELU_TANH] = REF_GELU_TANH,
};

static double kept_scale(const tkk_activate *p, int64_t i) {
    if (p->dropout == 0) return 1;
    uint32_t words[4];
    const uint64_t place = p->offset + (uint64_t)i / 4;
    const uint32_t counter[4] = {(uint32_t)place, (uint32_t)(place >> 32)};
    reference_philox(p->seed, counter, words);
    bool kept = (double)words[i % 4] >= rint((double)p->dropout * 0x1p32);
    return kept ? 1 / (1 - (double)p->dropout) : 0;
}

static double h_at(const Case *c, const Operand *x, const Operand *bias, int64_t i) {
    return x->values[i] + (c->bias ? bias->values[i % bias->n] : 0);
}

static void check(TestDevice *device, Random *random, const Case *c) {
    const TestLayout *layout = &c->layout;
    ReferenceActivation f = references[c->activation];
    int64_t last = c->shape[c->rank - 1];
    Operand x = random_operand(device, random, "x", c->type, c->rank, c->shape, layout, 3);
    Operand bias = random_operand(device, random, "bias", REF_F32, 1, &last, NULL, 1);
    Operand gate = random_operand(device, random, "gate", c->type, c->rank, c->shape, layout, 1);
    Operand residual =
        random_operand(device, random, "residual", c->type, c->rank, c->shape, NULL, 1);
    Operand dy = random_operand(device, random, "dy", c->type, c->rank, c->shape, NULL, 1);
    Operand y = output_operand(device, "y", c->type, c->rank, c->shape, layout);
    Operand dx = output_operand(device, "dx", c->type, c->rank, c->shape, NULL);
    Operand dgate = output_operand(device, "dgate", c->type, c->rank, c->shape, layout);
    Operand dbias = output_operand(device, "dbias", REF_F32, 1, &last, NULL);
    tkk_activate p = TKK_ACTIVATE_INIT;
    p.activation = c->activation;
    p.dropout = c->dropout;
    p.seed = random_bits(random);
    p.offset = 12345678901;
    p.x = x.tensor, p.y = y.tensor, p.dy = dy.tensor, p.dx = dx.tensor;
    if (c->bias) p.bias = bias.tensor, p.dbias = dbias.tensor;
    if (c->gate) p.gate = gate.tensor, p.dgate = dgate.tensor;
    if (c->residual) p.residual = residual.tensor;
    const char *what =
        test_name(device, "activate", c->type, "%d of %lld", (int)c->activation, (long long)x.n);

    double *expected = test_numbers(x.n), *allowed = test_numbers(x.n);
    double u = reference_unit_roundoff(REF_F32), out = reference_unit_roundoff(c->type);
    double least = reference_underflow(c->type);
    for (int64_t i = 0; i < x.n; i++) {
        double h = h_at(c, &x, &bias, i), g = c->gate ? gate.values[i] : 1;
        double scale = kept_scale(&p, i), part = reference_activate(f, h) * g * scale;
        double r = c->residual ? residual.values[i] : 0;
        expected[i] = part + r;
        allowed[i] = scale * fabs(g) * reference_activation_error(h) + 4 * u * fabs(part) +
                     u * fabs(r) + (u + out) * fabs(expected[i]) + least;
    }
    test_ok(tkk_activate_forward(device->library, NULL, &p));
    check_output(&y, what, expected, allowed);

    tkc_buffer *workspace = NULL;
    p.workspace.size = tkk_activate_workspace(device->library, &p);
    if (p.workspace.size > 0) {
        test_ok(tkc_buffer_create(device->device, p.workspace.size, "workspace", &workspace));
        test_ok(tkc_buffer_poison(workspace));
        p.workspace.data = tkc_arg_buffer(workspace);
    }
    test_ok(tkk_activate_backward(device->library, NULL, &p));
    tkc_buffer_destroy(workspace);
    for (int64_t i = 0; i < x.n; i++) {
        double h = h_at(c, &x, &bias, i), slope = dy.values[i] * kept_scale(&p, i);
        double g = c->gate ? gate.values[i] : 1;
        expected[i] = slope * g * reference_activation_slope(f, h);
        allowed[i] = fabs(slope * g) * reference_activation_slope_error(f, h) +
                     1.2 * u * fabs(slope * g * h) + (4 * u + out) * fabs(expected[i]) + least;
    }
    check_output(&dx, what, expected, allowed);
    if (c->bias) {
        double *sum = test_numbers(last), *sum_allowed = test_numbers(last);
        double rows = (double)(last ? x.n / last : 0);
        for (int64_t k = 0; k < last; k++) {
            double size = 0;
            sum[k] = 0;
            for (int64_t i = k; i < x.n; i += last)
                sum[k] += dx.values[i], size += fabs(dx.values[i]);
            sum_allowed[k] = (REFERENCE_SIGMAS * sqrt(rows) + 2) * u * size + least;
        }
        check_output(&dbias, what, sum, sum_allowed);
        free(sum);
        free(sum_allowed);
    }
    for (int64_t i = 0; i < x.n && c->gate; i++) {
        double h = h_at(c, &x, &bias, i), slope = dy.values[i] * kept_scale(&p, i);
        expected[i] = slope * reference_activate(f, h);
        allowed[i] =
            fabs(slope) * reference_activation_error(h) + (4 * u + out) * fabs(expected[i]) + least;
    }
    if (c->gate) check_output(&dgate, what, expected, allowed);
    free(expected);
    free(allowed);
    free_operands(9, (Operand *[]){&x, &bias, &gate, &residual, &dy, &y, &dx, &dgate, &dbias});
}

static void check_activations(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

/* As many are dropped as should be; other seeds and offsets drop others; the halves of one tensor.
 */
static void check_dropout(TestDevice *device, Random *random) {
    enum { ROWS = 64, HALF = 256, N = ROWS * HALF };
    const int64_t shape[] = {ROWS, 2 * HALF}, half[] = {ROWS, HALF};
    Operand x = random_operand(device, random, "x", REF_F32, 2, shape, NULL, 1);
    Operand y = output_operand(device, "y", REF_F32, 2, half, NULL);
    tkk_activate p = TKK_ACTIVATE_INIT;
    p.activation = TKK_SILU;
    p.x = tkk_narrow(x.tensor, 1, 0, HALF);
    p.gate = tkk_narrow(x.tensor, 1, HALF, HALF);
    p.y = y.tensor;
    p.dropout = 0.2f;
    double *first = test_numbers(N);
    int64_t dropped = 0, same = 0;
    for (int turn = 0; turn < 2; turn++) {
        p.seed = 42;
        p.offset = turn ? N / 4 : 0;
        test_ok(tkk_activate_forward(device->library, NULL, &p));
        const double *got = read_output(&y);
        for (int64_t i = 0; i < N; i++) {
            double a = x.values[i / HALF * 2 * HALF + i % HALF];
            double b = x.values[i / HALF * 2 * HALF + HALF + i % HALF];
            double full = reference_activate(REF_SILU, a) * b / 0.8;
            if (got[i] != 0 && fabs(got[i] - full) > 1e-5)
                ck_abort_msg("element %lld is %g, not %g", (long long)i, got[i], full);
            dropped += got[i] == 0;
            if (turn) same += (got[i] == 0) == (first[i] == 0);
            first[i] = got[i];
        }
    }
    double deviation = sqrt(2.0 * N * 0.2 * 0.8);
    ck_assert_msg(fabs((double)dropped - 2.0 * N * 0.2) < 6 * deviation, "%lld of %d were dropped",
                  (long long)dropped, 2 * N);
    deviation = sqrt(N * 0.68 * 0.32);
    ck_assert_msg(fabs((double)same - N * 0.68) < 6 * deviation, "%lld of %d are the same",
                  (long long)same, N);
    free(first);
    free_operands(2, (Operand *[]){&x, &y});
}

/* ---- binary operations ------------------------------------------------------------------------
 */

typedef struct Pair {
    uint32_t x_rank, y_rank, rank;
    int64_t x[4], y[4], out[4];
    ReferenceType type;
} Pair;

static const Pair pairs[] = {
    {2, 2, 2, {30, 70}, {30, 70}, {30, 70}, REF_F32},
    {2, 1, 2, {33, 129}, {129}, {33, 129}, REF_F16},
    {3, 3, 3, {5, 1, 40}, {1, 7, 40}, {5, 7, 40}, REF_F32},
    {1, 4, 4, {1}, {2, 3, 4, 9}, {2, 3, 4, 9}, REF_BF16},
    {2, 2, 2, {50, 1}, {50, 66}, {50, 66}, REF_F32},
    {4, 4, 4, {3, 1, 5, 1}, {1, 4, 1, 7}, {3, 4, 5, 7}, REF_F32},
};

static double value_at(const Operand *operand, uint32_t rank, const int64_t *shape, uint32_t out,
                       const int64_t *place) {
    int64_t at = 0;
    for (uint32_t i = 0; i < rank; i++)
        at = at * shape[i] + (shape[i] == 1 ? 0 : place[i + out - rank]);
    return operand->values[at];
}

static double combine(tkk_binary_kind kind, double a, double b) {
    switch (kind) {
    case TKK_ADD: return a + b;
    case TKK_SUBTRACT: return a - b;
    case TKK_MULTIPLY: return a * b;
    case TKK_DIVIDE: return a / b;
    case TKK_MAXIMUM: return fmax(a, b);
    default: return fmin(a, b);
    }
}

static void check_pair(TestDevice *device, Random *random, const Pair *c, tkk_binary_kind kind,
                       const TestLayout *layout) {
    Operand x = random_operand(device, random, "x", c->type, c->x_rank, c->x, layout, 1);
    Operand y = random_operand(device, random, "y", c->type, c->y_rank, c->y, NULL, 1);
    Operand out = output_operand(device, "out", REF_F32, c->rank, c->out, layout);
    double *expected = test_numbers(out.n), *allowed = test_numbers(out.n);
    int64_t place[4] = {0};
    for (int64_t i = 0; i < out.n; i++) {
        int64_t rest = i;
        for (uint32_t d = c->rank; d-- > 0; rest /= c->out[d]) place[d] = rest % c->out[d];
        expected[i] = combine(kind, value_at(&x, c->x_rank, c->x, c->rank, place),
                              value_at(&y, c->y_rank, c->y, c->rank, place));
        allowed[i] =
            fabs(expected[i]) * (kind == TKK_DIVIDE ? 4 : 1) * reference_unit_roundoff(REF_F32) +
            reference_underflow(REF_F32);
    }
    test_ok(tkk_binary(device->library, NULL, kind, &x.tensor, &y.tensor, &out.tensor));
    check_output(&out, test_name(device, "binary", c->type, "%d", (int)kind), expected, allowed);
    free(expected);
    free(allowed);
    free_operands(3, (Operand *[]){&x, &y, &out});
}

/* x read backwards (a stride of -1), and softmax of one row that stands for many (a stride of 0).
 */
static void check_views(TestDevice *device, Random *random) {
    enum { N = 100, ROWS = 5 };
    const int64_t n = N, shape[] = {ROWS, N};
    Operand x = random_operand(device, random, "x", REF_F32, 1, &n, NULL, 1);
    Operand sum = output_operand(device, "sum", REF_F32, 1, &n, NULL);
    Operand y = output_operand(device, "y", REF_F32, 2, shape, NULL);
    tkk_tensor reversed = x.tensor, repeated = x.tensor;
    reversed.data = tkc_arg_buffer_at(x.t.buffer, 4 * (N - 1));
    reversed.stride[0] = -1;
    repeated.rank = 2;
    repeated.shape[0] = ROWS, repeated.shape[1] = N;
    repeated.stride[0] = 0, repeated.stride[1] = 1;
    double expected[ROWS * N], allowed[ROWS * N];
    for (int i = 0; i < N; i++) {
        expected[i] = (double)(float)(x.values[i] + x.values[N - 1 - i]);
        allowed[i] = 0;
    }
    test_ok(tkk_binary(device->library, NULL, TKK_ADD, &reversed, &x.tensor, &sum.tensor));
    check_output(&sum, "forwards and backwards", expected, allowed);
    for (int i = 0; i < ROWS; i++) reference_softmax(1, N, x.values, expected + i * N);
    for (int i = 0; i < ROWS * N; i++)
        allowed[i] = reference_softmax_tolerance(REF_F32, N, 10, expected[i]);
    test_ok(tkk_softmax_forward(device->library, NULL, &repeated, &y.tensor, NULL));
    check_output(&y, "a repeated row", expected, allowed);
    free_operands(3, (Operand *[]){&x, &sum, &y});
}

static void check_binary(TestDevice *device, Random *random) {
    check_views(device, random);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        check_pair(device, random, &pairs[i], (tkk_binary_kind)(i % 6), NULL);
    check_pair(device, random, &pairs[2], TKK_MULTIPLY,
               &(TestLayout){.order = {2, 1, 0}, .gap = 3});
    const int64_t two = 2, three = 3;
    Operand a = random_operand(device, random, "a", REF_F32, 1, &two, NULL, 1);
    Operand b = random_operand(device, random, "b", REF_F32, 1, &three, NULL, 1);
    tkc_status status = tkk_binary(device->library, NULL, TKK_ADD, &a.tensor, &b.tensor, &b.tensor);
    ck_assert_int_eq(status, TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "x: the extent of dimension 0 is 2"));
    free_operands(2, (Operand *[]){&a, &b});
}

START_TEST(all_activations) {
    test_on_each_device(check_activations);
}
END_TEST

START_TEST(dropout) {
    test_on_each_device(check_dropout);
}
END_TEST

START_TEST(binary) {
    test_on_each_device(check_binary);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("elementwise");
    TCase *tests = tcase_create("elementwise");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, all_activations);
    tcase_add_test(tests, dropout);
    tcase_add_test(tests, binary);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
