/* k_embedding.c: rows of a table by number, and the gradient of the table, in order and by
 * atomics. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t rows, dim;
    uint32_t rank;
    int64_t shape[3]; /* of indices */
    ReferenceType type;
    bool atomic;
    int64_t padding;
    TestLayout layout;
} Case;

static const Case cases[] = {
    {1, 1, 1, {1}, REF_F32, false, -1, {.gap = 0}},
    {50, 64, 2, {7, 13}, REF_F32, false, -1, {.gap = 0}},
    {33, 100, 1, {200}, REF_F16, false, 3, {.gap = 4}},
    {21, 1500, 3, {2, 3, 5}, REF_BF16, false, -1, {.gap = 0}},
    {40, 24, 2, {30, 5}, REF_F32, true, 7, {.start = 1}},
    {9, 300, 1, {4500}, REF_F32, false, -1, {.gap = 0}},
    {10, 16, 1, {0}, REF_F32, true, -1, {.gap = 0}},
};

static void check(TestDevice *device, Random *random, const Case *c) {
    int64_t count = 1, shape[4], table[] = {c->rows, c->dim};
    for (uint32_t i = 0; i < c->rank; i++) count *= shape[i] = c->shape[i];
    shape[c->rank] = c->dim;
    int64_t *indices = malloc((size_t)(count + 1) * sizeof *indices);
    for (int64_t i = 0; i < count; i++)
        indices[i] = (int64_t)(random_bits(random) % (uint64_t)c->rows);
    Operand from = random_operand(device, random, "table", c->type, 2, table, &c->layout, 1);
    Operand out = output_operand(device, "out", c->type, c->rank + 1, shape, NULL);
    Operand dout = random_operand(device, random, "dout", c->type, c->rank + 1, shape, NULL, 1);
    Operand dtable = output_operand(device, "dtable", c->type, 2, table, &c->layout);
    IndexOperand ti =
        index_operand(device, "indices", count % 2 ? TKC_I32 : TKC_I64, c->rank, shape, indices);
    tkk_embedding p = TKK_EMBEDDING_INIT;
    p.atomic = c->atomic;
    p.padding_index = c->padding;
    p.check_indices = true;
    p.indices = ti.tensor, p.table = from.tensor, p.out = out.tensor;
    p.dout = dout.tensor, p.dtable = dtable.tensor;
    const char *what =
        test_name(device, "embedding", c->type, "%lldx%lld", (long long)c->rows, (long long)c->dim);
    double *expected = test_numbers(out.n), *allowed = test_numbers(out.n);
    for (int64_t i = 0; i < out.n; i++) {
        expected[i] = from.values[indices[i / c->dim] * c->dim + i % c->dim];
        allowed[i] = 0;
    }
    test_ok(tkk_embedding_forward(device->library, NULL, &p));
    check_output(&out, what, expected, allowed);

    double *sum = test_numbers(dtable.n), *size = test_numbers(dtable.n);
    for (int64_t i = 0; i < dtable.n; i++) sum[i] = size[i] = 0;
    for (int64_t i = 0; i < out.n; i++) {
        int64_t at = indices[i / c->dim] * c->dim + i % c->dim;
        if (indices[i / c->dim] == c->padding) continue;
        sum[at] += dout.values[i];
        size[at] += fabs(dout.values[i]);
    }
    double u = reference_unit_roundoff(REF_F32), last = reference_unit_roundoff(c->type);
    for (int64_t i = 0; i < dtable.n; i++)
        size[i] = (REFERENCE_SIGMAS * sqrt((double)count / (double)c->rows + 1) + 2) * u * size[i] +
                  last * fabs(sum[i]) + reference_underflow(c->type);
    test_ok(tkk_embedding_backward(device->library, NULL, &p));
    check_output(&dtable, what, sum, size);
    if (!c->atomic) { /* the same bits every time */
        for (int64_t i = 0; i < dtable.n; i++) sum[i] = dtable.values[i], size[i] = 0;
        test_ok(tkk_embedding_backward(device->library, NULL, &p));
        check_output(&dtable, "embedding again", sum, size);
    }
    free(expected);
    free(allowed);
    free(sum);
    free(size);
    free(indices);
    tkc_buffer_destroy(ti.buffer);
    free_operands(4, (Operand *[]){&from, &out, &dout, &dtable});
}

static void check_cases(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

/* Indices that are no rows: NaN and no gradient, or a fault where the device tells. */
static void check_outside(TestDevice *device, Random *random) {
    const int64_t table[] = {3, 4}, count = 4, shape[] = {4, 4}, indices[] = {1, 3, -1, 0};
    Operand from = random_operand(device, random, "table", REF_F32, 2, table, NULL, 1);
    Operand out = output_operand(device, "out", REF_F32, 2, shape, NULL);
    Operand dtable = output_operand(device, "dtable", REF_F32, 2, table, NULL);
    IndexOperand ti = index_operand(device, "indices", TKC_I64, 1, &count, indices);
    tkk_embedding p = TKK_EMBEDDING_INIT;
    p.indices = ti.tensor, p.table = from.tensor, p.out = out.tensor;
    test_ok(tkk_embedding_forward(device->library, NULL, &p));
    const double *got = read_output(&out);
    for (int i = 0; i < 16; i++) ck_assert((i / 4 == 1 || i / 4 == 2) == isnan(got[i]));
    for (int atomic = 0; atomic < 2; atomic++) {
        p.dout = from.tensor; /* rows 0 to 2, and no row 3 of dout: only 3 indices */
        p.indices.shape[0] = 3;
        p.atomic = atomic;
        p.dtable = dtable.tensor;
        test_ok(tkk_embedding_backward(device->library, NULL, &p));
        got = read_output(&dtable);
        for (int i = 0; i < 12; i++) ck_assert(got[i] == (i / 4 == 1 ? from.values[i % 4] : 0));
    }
    p.indices.shape[0] = 4;
    p.check_indices = true;
    if (strcmp(device->name, "interp") == 0 || strcmp(device->name, "cpu") == 0) {
        ck_assert_int_eq(tkk_embedding_forward(device->library, NULL, &p), TKC_LAUNCH_FAULT);
        ck_assert_ptr_nonnull(strstr(tkc_last_error(), "an index is no row of the table"));
    }
    tkc_buffer_destroy(ti.buffer);
    free_operands(3, (Operand *[]){&from, &out, &dtable});
}

START_TEST(rows_by_number) {
    test_on_each_device(check_cases);
}
END_TEST

START_TEST(outside) {
    test_on_each_device(check_outside);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("embedding");
    TCase *tests = tcase_create("embedding");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, rows_by_number);
    tcase_add_test(tests, outside);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
