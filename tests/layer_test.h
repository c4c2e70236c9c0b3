/* layer_test.h: operands of the layers' tests: a tensor on the device and its values here.
 *
 *     Operand x = random_operand(device, random, "x", REF_F16, 2, shape, NULL, 1.0);
 *     Operand y = output_operand(device, "y", REF_F16, 2, shape, NULL);
 *     test_ok(tkk_softmax_forward(device->library, NULL, &x.tensor, &y.tensor, NULL));
 *     check_output(&y, "softmax", expected, allowed);
 *     free_operands(2, (Operand *[]){&x, &y});
 */
#ifndef TKC_TESTS_LAYER_TEST_H
#define TKC_TESTS_LAYER_TEST_H

#include "tests/kernel_test.h"
#include "tests/reference_layers.h"

typedef struct Operand {
    TestTensor t;
    tkk_tensor tensor; /* that of t */
    int64_t n;
    double *values; /* of inputs, dense; outputs: what check_output or read_output found */
} Operand;

Operand random_operand(TestDevice *device, Random *random, const char *name, ReferenceType type,
                       uint32_t rank, const int64_t *shape, const TestLayout *layout,
                       double deviation);
/* The values are copied, and rounded to the type. */
Operand given_operand(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                      const int64_t *shape, const TestLayout *layout, const double *values);
Operand output_operand(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                       const int64_t *shape, const TestLayout *layout);
const double *read_output(Operand *operand);
void check_output(Operand *operand, const char *what, const double *expected,
                  const double *allowed);
void free_operands(uint32_t count, Operand *const *operands);

/* Integers: i32 or i64, dense. */
typedef struct IndexOperand {
    tkc_buffer *buffer;
    tkk_tensor tensor;
} IndexOperand;

IndexOperand index_operand(TestDevice *device, const char *name, tkc_dtype dtype, uint32_t rank,
                           const int64_t *shape, const int64_t *values);

/* "KERNEL CASE f16 on DEVICE", in memory that the next call uses again. */
const char *test_name(const TestDevice *device, const char *kernel, ReferenceType type,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
