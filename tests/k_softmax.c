/* k_softmax.c: softmax over rows, forward and backward, whole rows and rows in pieces. */
#include "tests/kernel_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t rows, columns;
    ReferenceType type;
    double deviation; /* of the input */
} Case;

static void describe(char *what, size_t size, const char *kernel, const Case *c,
                     const TestDevice *device) {
    snprintf(what, size, "%s %lldx%lld %s on %s", kernel, (long long)c->rows, (long long)c->columns,
             tkc_dtype_name(test_dtype(c->type)), device->name);
}

static void check_forward(TestDevice *device, Random *random, const Case *c,
                          const TestLayout *layout) {
    int64_t n = c->rows * c->columns, shape[] = {c->rows, c->columns};
    double *x = test_numbers(n), *y = test_numbers(n), *allowed = test_numbers(n);
    random_fill(random, c->type, c->deviation, x, n);
    reference_softmax(c->rows, c->columns, x, y);
    for (int64_t at = 0; at < n; at += c->columns) {
        double largest = x[at], least = x[at];
        for (int64_t i = at; i < at + c->columns; i++) {
            largest = fmax(largest, x[i]);
            least = fmin(least, x[i]);
        }
        for (int64_t i = at; i < at + c->columns; i++)
            allowed[i] = reference_softmax_tolerance(c->type, c->columns, largest - least, y[i]);
    }
    TestTensor tx = test_tensor(device, "x", c->type, 2, shape, layout, x);
    TestTensor ty = test_tensor(device, "y", c->type, 2, shape, layout, NULL);
    test_ok(tkk_softmax_forward(device->library, NULL, &tx.tensor, &ty.tensor));
    double *got = test_read(&ty);
    char what[96];
    describe(what, sizeof what, "softmax_forward", c, device);
    test_compare(what, n, got, y, allowed);
    test_free(&tx);
    test_free(&ty);
    free(x);
    free(y);
    free(allowed);
    free(got);
}

static void check_backward(TestDevice *device, Random *random, const Case *c,
                           const TestLayout *layout) {
    int64_t n = c->rows * c->columns, shape[] = {c->rows, c->columns};
    double *x = test_numbers(n), *y = test_numbers(n), *dy = test_numbers(n);
    double *dx = test_numbers(n), *allowed = test_numbers(n);
    random_fill(random, c->type, c->deviation, x, n);
    random_fill(random, c->type, 1, dy, n);
    reference_softmax(c->rows, c->columns, x, y);
    for (int64_t i = 0; i < n; i++) y[i] = reference_round(c->type, y[i]);
    reference_softmax_backward(c->rows, c->columns, y, dy, dx);
    for (int64_t at = 0; at < n; at += c->columns) {
        double sum = 0;
        for (int64_t i = at; i < at + c->columns; i++) sum += fabs(y[i] * dy[i]);
        for (int64_t i = at; i < at + c->columns; i++)
            allowed[i] =
                reference_softmax_backward_tolerance(c->type, c->columns, sum, y[i], dy[i], dx[i]);
    }
    TestTensor ty = test_tensor(device, "y", c->type, 2, shape, layout, y);
    TestTensor tdy = test_tensor(device, "dy", c->type, 2, shape, NULL, dy);
    TestTensor tdx = test_tensor(device, "dx", c->type, 2, shape, layout, NULL);
    test_ok(tkk_softmax_backward(device->library, NULL, &ty.tensor, &tdy.tensor, &tdx.tensor));
    double *got = test_read(&tdx);
    char what[96];
    describe(what, sizeof what, "softmax_backward", c, device);
    test_compare(what, n, got, dx, allowed);
    test_free(&ty);
    test_free(&tdy);
    test_free(&tdx);
    free(x);
    free(y);
    free(dy);
    free(dx);
    free(allowed);
    free(got);
}

static const Case cases[] = {
    {1, 1, REF_F32, 1},     {3, 2, REF_F32, 1},      {7, 127, REF_F32, 3},  {5, 128, REF_F16, 1},
    {64, 781, REF_F32, 10}, {33, 1000, REF_BF16, 2}, {9, 4096, REF_F16, 1}, {2, 16384, REF_F32, 1},
};
/* Over 16384 columns the kernels go through a row in pieces. */
static const Case long_cases[] = {
    {2, 16385, REF_F32, 5}, {3, 20480, REF_F16, 1}, {2, 50001, REF_BF16, 1}};

static void both(TestDevice *device, Random *random, const Case *c, const TestLayout *layout) {
    check_forward(device, random, c, layout);
    check_backward(device, random, c, layout);
}

static void check_short(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) both(device, random, &cases[i], NULL);
}

static void check_long(TestDevice *device, Random *random) {
    size_t count = sizeof long_cases / sizeof *long_cases;
    for (size_t i = 0; i < (size_t)test_size((int64_t)count, 1); i++)
        both(device, random, &long_cases[i], NULL);
}

/* Rows with gaps between them, starting at an odd address. */
static void check_strided(TestDevice *device, Random *random) {
    const TestLayout layout = {.gap = 5, .start = 3};
    both(device, random, &(Case){13, 100, REF_F16, 1}, &layout);
    both(device, random, &(Case){3, 17000, REF_F32, 1}, &layout);
}

/* Large inputs: nothing may overflow, and a row of equal numbers gives exactly 1 / n. */
static void check_extreme(TestDevice *device, Random *random) {
    both(device, random, &(Case){4, 300, REF_F32, 1e4}, NULL);
    const int64_t shape[] = {1, 64};
    double x[64], y[64], allowed[64];
    for (int i = 0; i < 64; i++) {
        x[i] = -60000;
        y[i] = 1.0 / 64;
        allowed[i] = 0;
    }
    TestTensor tx = test_tensor(device, "x", REF_F16, 2, shape, NULL, x);
    TestTensor ty = test_tensor(device, "y", REF_F16, 2, shape, NULL, NULL);
    test_ok(tkk_softmax_forward(device->library, NULL, &tx.tensor, &ty.tensor));
    double *got = test_read(&ty);
    test_compare("softmax of equal numbers", 64, got, y, allowed);
    test_free(&tx);
    test_free(&ty);
    free(got);
}

START_TEST(short_rows) {
    test_on_each_device(check_short);
}
END_TEST

START_TEST(long_rows) {
    test_on_each_device(check_long);
}
END_TEST

START_TEST(strided) {
    test_on_each_device(check_strided);
}
END_TEST

START_TEST(extreme) {
    test_on_each_device(check_extreme);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("softmax");
    TCase *tests = tcase_create("softmax");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, short_rows);
    tcase_add_test(tests, long_rows);
    tcase_add_test(tests, strided);
    tcase_add_test(tests, extreme);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
