/* k_reduce.c: reductions along a dimension, in one launch and in parts. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    uint32_t rank;
    int64_t shape[4];
    int32_t axis; /* counted from the last */
    ReferenceType type, out;
    TestLayout layout;
    bool keep; /* the axis, with an extent of 1 */
} Case;

static const Case cases[] = {
    {2, {1, 1}, -1, REF_F32, REF_F32, {.gap = 0}, false},
    {1, {1000}, -1, REF_F16, REF_F32, {.gap = 0}, false},
    {2, {37, 300}, -1, REF_BF16, REF_BF16, {.gap = 3}, true},
    {3, {5, 77, 40}, -2, REF_F32, REF_F32, {.gap = 0}, false},
    {4, {4, 3, 6, 7}, -3, REF_F16, REF_F16, {.order = {2, 0, 3, 1}, .step = 2}, true},
    {2, {300, 33}, -2, REF_F32, REF_F16, {.start = 1}, false},
    {2, {3, 0}, -1, REF_F32, REF_F32, {.gap = 0}, false},
};
/* Few long rows are done in parts. */
static const Case long_cases[] = {
    {2, {2, 70001}, -1, REF_F32, REF_F32, {.gap = 0}, false},
    {3, {2, 33333, 3}, -2, REF_F16, REF_F32, {.gap = 0}, false},
};

static const char *const names[] = {"sum", "mean", "norm", "max", "min"};

/* Rows of x, and one result a row with what it may be off. */
static void expect(tkk_reduction kind, ReferenceType out, int64_t rows, int64_t n, const double *x,
                   double *expected, double *allowed, int64_t *places) {
    double u = reference_unit_roundoff(REF_F32), last = reference_unit_roundoff(out);
    double walk = REFERENCE_SIGMAS * sqrt((double)n) * u;
    for (int64_t r = 0; r < rows; r++, x += n) {
        double sum = 0, size = 0, squares = 0;
        int64_t found = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += x[i];
            size += fabs(x[i]);
            squares += x[i] * x[i];
            if (kind == TKK_MAX ? x[i] > x[found] : x[i] < x[found]) found = i;
        }
        places[r] = found;
        if (kind == TKK_MEAN) sum /= (double)n, size /= (double)n;
        if (kind == TKK_NORM) sum = size = sqrt(squares);
        if (kind == TKK_MAX || kind == TKK_MIN) sum = n > 0 ? x[found] : 0, size = 0;
        expected[r] = sum;
        allowed[r] = size * (walk + 3 * u) + fabs(sum) * last + reference_underflow(out);
    }
}

static void check(TestDevice *device, Random *random, const Case *c, tkk_reduction kind) {
    uint32_t axis = (uint32_t)((int32_t)c->rank + c->axis), rank = 0;
    int64_t outer = 1, inner = 1, n = c->shape[axis], shape[4];
    for (uint32_t i = 0; i < c->rank; i++) {
        if (i != axis) shape[rank++] = c->shape[i];
        if (i == axis && c->keep) shape[rank++] = 1;
        if (i < axis) outer *= c->shape[i];
        if (i > axis) inner *= c->shape[i];
    }
    int64_t rows = outer * inner;
    bool extreme = kind == TKK_MAX || kind == TKK_MIN;
    if (n == 0 && (extreme || kind == TKK_MEAN)) return;
    Operand x = random_operand(device, random, "x", c->type, c->rank, c->shape, &c->layout, 1);
    Operand out = output_operand(device, "out", c->out, rank, shape, NULL);
    double *seen = test_numbers(x.n), *expected = test_numbers(rows), *allowed = test_numbers(rows);
    int64_t *places = malloc((size_t)rows * sizeof *places);
    reference_exchange(outer, n, inner, x.values, seen);
    expect(kind, c->out, rows, n, seen, expected, allowed, places);

    tkk_reduce_options options = TKK_REDUCE_OPTIONS_INIT;
    options.kind = kind;
    options.axis = c->axis;
    IndexOperand at = {0};
    tkc_dtype dtype = rows % 2 ? TKC_I32 : TKC_I64;
    if (extreme) {
        at = index_operand(device, "places", dtype, rank, shape, places);
        test_ok(tkc_buffer_poison(at.buffer));
        options.places = at.tensor;
    }
    const char *what = test_name(device, names[kind], c->type, "%lldx%lldx%lld", (long long)outer,
                                 (long long)n, (long long)inner);
    test_ok(tkk_reduce(device->library, NULL, &x.tensor, &out.tensor, &options));
    check_output(&out, what, expected, allowed);
    if (extreme) {
        int64_t *got = malloc((size_t)rows * sizeof *got);
        test_ok(tkc_buffer_read(at.buffer, 0, got, (uint64_t)rows * (dtype == TKC_I32 ? 4 : 8)));
        for (int64_t r = 0; r < rows; r++) {
            int64_t found = dtype == TKC_I32 ? ((const int32_t *)got)[r] : got[r];
            if (found != places[r])
                ck_abort_msg("%s: row %lld has its extreme at %lld, found at %lld", what,
                             (long long)r, (long long)places[r], (long long)found);
        }
        free(got);
        tkc_buffer_destroy(at.buffer);
    }
    free_operands(2, (Operand *[]){&x, &out});
    free(seen);
    free(expected);
    free(allowed);
    free(places);
}

static void check_short(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (tkk_reduction kind = TKK_SUM; kind <= TKK_MIN; kind++)
            check(device, random, &cases[i], kind);
}

static void check_long(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof long_cases / sizeof *long_cases; i++)
        for (tkk_reduction kind = TKK_MEAN; kind <= TKK_MAX; kind++)
            check(device, random, &long_cases[i], kind);
}

/* Extremes of rows with NaN and infinities; equal numbers: the first. A workspace that is too small
 * is refused, one that fits is used, and the same sum comes out bit for bit. */
static void check_special(TestDevice *device, Random *random) {
    enum { N = 70000, ROWS = 3 };
    const int64_t shape[] = {ROWS, N}, rows[] = {ROWS};
    double *x = test_numbers(ROWS * N);
    for (int64_t i = 0; i < ROWS * N; i++) x[i] = 7;
    x[5] = x[30000] = NAN;
    x[N + 9] = x[N + 66666] = INFINITY;
    x[2 * N + 100] = -INFINITY;
    Operand tx = given_operand(device, "x", REF_F32, 2, shape, NULL, x);
    Operand out = output_operand(device, "out", REF_F32, 1, rows, NULL);
    int64_t at[ROWS] = {0};
    IndexOperand places = index_operand(device, "places", TKC_I64, 1, rows, at);
    tkk_reduce_options options = TKK_REDUCE_OPTIONS_INIT;
    options.kind = TKK_MAX;
    options.places = places.tensor;
    test_ok(tkk_reduce(device->library, NULL, &tx.tensor, &out.tensor, &options));
    const double *got = read_output(&out);
    test_ok(tkc_buffer_read(places.buffer, 0, at, sizeof at));
    ck_assert_msg(isnan(got[0]) && isinf(got[1]) && got[2] == 7, "max %g %g %g", got[0], got[1],
                  got[2]);
    ck_assert_msg(at[0] == 5 && at[1] == 9 && at[2] == 0, "at %lld %lld %lld", (long long)at[0],
                  (long long)at[1], (long long)at[2]);
    test_ok(tkk_reduce(device->library, NULL, &tx.tensor, NULL, &options)); /* places alone */

    Operand r = random_operand(device, random, "x", REF_F32, 2, shape, NULL, 1);
    options = (tkk_reduce_options)TKK_REDUCE_OPTIONS_INIT;
    test_ok(tkk_reduce(device->library, NULL, &r.tensor, &out.tensor, &options));
    double first[ROWS];
    memcpy(first, read_output(&out), sizeof first);
    options.workspace.size = tkk_reduce_workspace(device->library, &r.tensor, &options);
    if (options.workspace.size > 0) {
        tkc_buffer *scratch;
        test_ok(tkc_buffer_create(device->device, options.workspace.size, "scratch", &scratch));
        options.workspace.data = tkc_arg_buffer(scratch);
        test_ok(tkk_reduce(device->library, NULL, &r.tensor, &out.tensor, &options));
        ck_assert_mem_eq(first, read_output(&out), sizeof first);
        options.workspace.size--;
        ck_assert_int_eq(tkk_reduce(device->library, NULL, &r.tensor, &out.tensor, &options),
                         TKC_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(tkc_last_error(), "workspace"));
        tkc_buffer_destroy(scratch);
    }
    tkc_buffer_destroy(places.buffer);
    free_operands(3, (Operand *[]){&tx, &out, &r});
    free(x);
}

START_TEST(short_rows) {
    test_on_each_device(check_short);
}
END_TEST

START_TEST(long_rows) {
    test_on_each_device(check_long);
}
END_TEST

START_TEST(special) {
    test_on_each_device(check_special);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("reduce");
    TCase *tests = tcase_create("reduce");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, short_rows);
    tcase_add_test(tests, long_rows);
    tcase_add_test(tests, special);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
