/* layer_test.c: operands of the layers' tests. */
#include "tests/layer_test.h"

#include <stdarg.h>
#include <stdlib.h>

static Operand operand(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                       const int64_t *shape, const TestLayout *layout, double *values) {
    Operand made = {.values = values};
    made.t = test_tensor(device, name, type, rank, shape, layout, values);
    made.tensor = made.t.tensor;
    made.n = made.t.count;
    return made;
}

static int64_t count_of(uint32_t rank, const int64_t *shape) {
    int64_t count = 1;
    for (uint32_t i = 0; i < rank; i++) count *= shape[i];
    return count;
}

Operand random_operand(TestDevice *device, Random *random, const char *name, ReferenceType type,
                       uint32_t rank, const int64_t *shape, const TestLayout *layout,
                       double deviation) {
    int64_t n = count_of(rank, shape);
    double *values = test_numbers(n);
    random_fill(random, type, deviation, values, n);
    return operand(device, name, type, rank, shape, layout, values);
}

Operand given_operand(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                      const int64_t *shape, const TestLayout *layout, const double *values) {
    int64_t n = count_of(rank, shape);
    double *copy = test_numbers(n);
    for (int64_t i = 0; i < n; i++) copy[i] = reference_round(type, values[i]);
    return operand(device, name, type, rank, shape, layout, copy);
}

Operand output_operand(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                       const int64_t *shape, const TestLayout *layout) {
    return operand(device, name, type, rank, shape, layout, NULL);
}

const double *read_output(Operand *made) {
    free(made->values);
    return made->values = test_read(&made->t);
}

void check_output(Operand *made, const char *what, const double *expected, const double *allowed) {
    char text[160];
    snprintf(text, sizeof text, "%s of %s", made->t.name, what);
    test_compare(text, made->n, read_output(made), expected, allowed);
}

void free_operands(uint32_t count, Operand *const *operands) {
    for (uint32_t i = 0; i < count; i++) {
        free(operands[i]->values);
        test_free(&operands[i]->t);
    }
}

IndexOperand index_operand(TestDevice *device, const char *name, tkc_dtype dtype, uint32_t rank,
                           const int64_t *shape, const int64_t *values) {
    int64_t n = count_of(rank, shape);
    uint64_t size = dtype == TKC_I32 ? 4 : 8;
    IndexOperand made = {.tensor = {.dtype = dtype, .rank = rank}};
    test_ok(
        tkc_buffer_create(device->device, (uint64_t)(n > 0 ? n : 1) * size, name, &made.buffer));
    made.tensor.data = tkc_arg_buffer(made.buffer);
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0; stride *= shape[i]) {
        made.tensor.shape[i] = shape[i];
        made.tensor.stride[i] = stride;
    }
    int32_t *narrow = malloc((size_t)(n > 0 ? n : 1) * sizeof *narrow);
    for (int64_t i = 0; i < n; i++) narrow[i] = (int32_t)values[i];
    const void *from = dtype == TKC_I32 ? (const void *)narrow : (const void *)values;
    if (n > 0) test_ok(tkc_buffer_write(made.buffer, 0, from, (uint64_t)n * size));
    free(narrow);
    return made;
}

const char *test_name(const TestDevice *device, const char *kernel, ReferenceType type,
                      const char *format, ...) {
    static char text[128];
    char about[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(about, sizeof about, format, arguments);
    va_end(arguments);
    snprintf(text, sizeof text, "%s %s %s on %s", kernel, about, tkc_dtype_name(test_dtype(type)),
             device->name);
    return text;
}
