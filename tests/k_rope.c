/* k_rope.c: rotary position embedding: both styles, tables and computed angles, offsets, lists of
 * positions, part of the dimensions, and the inverse. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    uint32_t rank;
    int64_t shape[4];
    int64_t rotary, offset;
    ReferenceType type;
    bool interleaved, tables;
    uint32_t positions; /* rank of the list */
    TestLayout layout;
} Case;

static const Case cases[] = {
    {4, {2, 33, 3, 64}, 0, 0, REF_F32, false, false, 0, {.gap = 0}},
    {4, {2, 17, 4, 128}, 0, 100000, REF_F16, true, false, 0, {.order = {0, 2, 1, 3}}},
    {4, {3, 1, 8, 80}, 32, 5, REF_BF16, false, true, 2, {.gap = 8}},
    {3, {20, 2, 48}, 0, 0, REF_F32, true, true, 1, {.start = 1, .gap = 3}},
    {3, {9, 5, 6}, 2, 7, REF_F32, true, false, 0, {.step = 2}},
    {4, {1, 0, 2, 8}, 0, 0, REF_F32, false, false, 0, {.gap = 0}},
};

enum { TABLE = 64 };

static void turn(const Case *c, const double *x, const double *position, double sign, double *y,
                 double *allowed) {
    int64_t dim = c->shape[c->rank - 1], heads = c->shape[c->rank - 2];
    int64_t length = c->shape[c->rank - 3], batch = c->rank == 4 ? c->shape[0] : 1;
    int64_t rotary = c->rotary ? c->rotary : dim;
    double u = reference_unit_roundoff(REF_F32), last = reference_unit_roundoff(c->type);
    for (int64_t row = 0; row < batch * length; row++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t d = 0; d < dim; d++) {
                int64_t at = (row * heads + h) * dim, pair, other;
                double size = 0;
                if (d >= rotary) {
                    y[at + d] = x[at + d];
                } else {
                    bool first = c->interleaved ? d % 2 == 0 : d < rotary / 2;
                    pair = c->interleaved ? d / 2 : d % (rotary / 2);
                    other = c->interleaved ? d ^ 1 : first ? d + rotary / 2 : d - rotary / 2;
                    double angle = position[row] * pow(10000, -2.0 * (double)pair / (double)rotary);
                    double s = sign * sin(angle);
                    y[at + d] = x[at + d] * cos(angle) + (first ? -s : s) * x[at + other];
                    size = fabs(x[at + d]) + fabs(x[at + other]);
                }
                allowed[at + d] =
                    20 * u * size + last * fabs(y[at + d]) + reference_underflow(c->type);
            }
}

static void check(TestDevice *device, Random *random, const Case *c) {
    int64_t length = c->shape[c->rank - 3], batch = c->rank == 4 ? c->shape[0] : 1;
    int64_t dim = c->shape[c->rank - 1], rotary = c->rotary ? c->rotary : dim;
    int64_t rows = batch * length, table[] = {TABLE, rotary / 2};
    Operand x = random_operand(device, random, "x", c->type, c->rank, c->shape, &c->layout, 1);
    Operand y = output_operand(device, "y", c->type, c->rank, c->shape, NULL);
    double *position = test_numbers(rows), *expected = test_numbers(x.n);
    double *allowed = test_numbers(x.n), *cosines = test_numbers(table[0] * table[1]);
    double *sines = test_numbers(table[0] * table[1]);
    int64_t *listed = malloc((size_t)(rows + 1) * sizeof *listed);
    for (int64_t i = 0; i < rows; i++) {
        listed[i] = c->positions == 1 && i >= length ? listed[i - length]
                                                     : (int64_t)(random_bits(random) % TABLE);
        position[i] = (double)(c->positions ? listed[i] : c->offset + i % length);
    }
    for (int64_t i = 0; i < table[0] * table[1]; i++) {
        double power = -2.0 * (double)(i % table[1]) / (double)rotary;
        double angle = (double)(i / table[1]) * pow(10000, power);
        cosines[i] = cos(angle), sines[i] = sin(angle);
    }
    const int64_t shape[] = {c->positions == 1 ? length : batch, length};
    IndexOperand tp = index_operand(device, "positions", rows % 2 ? TKC_I32 : TKC_I64, c->positions,
                                    shape, listed);
    Operand tc = given_operand(device, "cos", REF_F32, 2, table, NULL, cosines);
    Operand ts = given_operand(device, "sin", REF_F32, 2, table, NULL, sines);
    tkk_rope p = TKK_ROPE_INIT;
    p.interleaved = c->interleaved;
    p.rotary_dim = c->rotary;
    p.offset = c->offset;
    if (c->positions) p.positions = tp.tensor;
    if (c->tables) p.cos = tc.tensor, p.sin = ts.tensor;
    p.x = x.tensor, p.y = y.tensor;
    const char *what =
        test_name(device, "rope", c->type, "%lldx%lld", (long long)rows, (long long)dim);
    turn(c, x.values, position, 1, expected, allowed);
    test_ok(tkk_rope_forward(device->library, NULL, &p));
    check_output(&y, what, expected, allowed);

    p.dy = p.dx = x.tensor; /* in place */
    turn(c, x.values, position, -1, expected, allowed);
    test_ok(tkk_rope_backward(device->library, NULL, &p));
    check_output(&x, what, expected, allowed);
    double *all[] = {position, expected, allowed, cosines, sines};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(listed);
    tkc_buffer_destroy(tp.buffer);
    free_operands(4, (Operand *[]){&x, &y, &tc, &ts});
}

static void check_cases(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

/* A position that the tables do not have; what is refused. */
static void check_special(TestDevice *device, Random *random) {
    const int64_t shape[] = {2, 1, 4}, table[] = {3, 2}, length = 2;
    const int64_t positions[] = {2, 3};
    Operand x = random_operand(device, random, "x", REF_F32, 3, shape, NULL, 1);
    Operand y = output_operand(device, "y", REF_F32, 3, shape, NULL);
    Operand t = random_operand(device, random, "table", REF_F32, 2, table, NULL, 1);
    IndexOperand tp = index_operand(device, "positions", TKC_I64, 1, &length, positions);
    tkk_rope p = TKK_ROPE_INIT;
    p.x = x.tensor, p.y = y.tensor, p.cos = p.sin = t.tensor, p.positions = tp.tensor;
    test_ok(tkk_rope_forward(device->library, NULL, &p));
    const double *got = read_output(&y);
    ck_assert(isfinite(got[0]) && isfinite(got[3]) && isnan(got[4]) && isnan(got[7]));
    p.rotary_dim = 3;
    ck_assert_int_eq(tkk_rope_forward(device->library, NULL, &p), TKC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), "rotary_dim is 3"));
    tkc_buffer_destroy(tp.buffer);
    free_operands(3, (Operand *[]){&x, &y, &t});
}

START_TEST(turns) {
    test_on_each_device(check_cases);
}
END_TEST

START_TEST(special) {
    test_on_each_device(check_special);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rope");
    TCase *tests = tcase_create("rope");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, turns);
    tcase_add_test(tests, special);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
