/* kernel_test.h: what the numeric kernel tests (k_*.c) share.
 *
 * A test runs on every device that is present; those that are not are named once, with the reason.
 * Inputs are random, the seed is printed and TKC_TEST_SEED repeats it. Outputs are poisoned before
 * the kernel runs, and so is the space between and around the elements of every tensor: what reads
 * it computes NaN, and what writes it is found.
 *
 *     static void check_add(TestDevice *device, Random *random) { ... }
 *     START_TEST(add) { test_on_each_device(check_add); } END_TEST
 */
#ifndef TKC_TESTS_KERNEL_TEST_H
#define TKC_TESTS_KERNEL_TEST_H

#include "kernels/kernels.h"
#include "tests/reference.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <string.h>

typedef struct TestDevice {
    const char *name;
    tkc_context *context;
    tkc_device *device;
    tkk_library *library;
} TestDevice;

void test_on_each_device(void (*check)(TestDevice *device, Random *random));
/* Sizes for a slow build (sanitizers, or TKC_TEST_SMALL=1 in the environment): the smaller one. */
int64_t test_size(int64_t usual, int64_t small);
/* Runs the suite; the exit status for main. */
int test_main(Suite *suite);

#define test_ok(status)                                                                            \
    do {                                                                                           \
        tkc_status test_status_ = (status);                                                        \
        ck_assert_msg(test_status_ == TKC_OK, "%s: %s", #status, tkc_last_error());                \
    } while (0)

tkc_dtype test_dtype(ReferenceType type);

/* How a tensor lies in memory: `order` lists its dimensions from the outermost to the innermost
 * (all zeros: 0, 1, 2, 3), `gap` elements lie behind every innermost run, `step` elements apart
 * are its elements (0: 1), and `start` elements lie before it all. */
typedef struct TestLayout {
    uint32_t order[4];
    int64_t gap, step, start;
} TestLayout;

typedef struct TestTensor {
    const char *name;
    ReferenceType type;
    tkc_buffer *buffer;
    tkk_tensor tensor;
    int64_t count, room; /* elements, and elements of the buffer */
} TestTensor;

/* A tensor with these values (dense, row-major), or a poisoned one when `values` is NULL.
 * `layout` may be NULL. */
TestTensor test_tensor(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                       const int64_t *shape, const TestLayout *layout, const double *values);
/* Its values now, dense; malloc. Fails the test when something outside its elements was written. */
double *test_read(const TestTensor *tensor);
void test_free(TestTensor *tensor);
/* malloc for n doubles. */
double *test_numbers(int64_t n);

/* Fails the test when `got` is further from `expected` than `allowed` (NaN always is) and says
 * where. `what` names the case. Equal infinities are equal. */
void test_compare(const char *what, int64_t n, const double *got, const double *expected,
                  const double *allowed);

#endif
