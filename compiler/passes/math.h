/* math.h: private to pass_math: building the functions of real numbers from plain arithmetic. */
#ifndef TKC_COMPILER_PASSES_MATH_H
#define TKC_COMPILER_PASSES_MATH_H

#include "compiler/ir.h"

/* Everything is of `type` (a float, or a block of floats of one width); `ints` and `bools` are of
 * the same shape. */
typedef struct Math {
    Builder b;
    const Type *type, *ints, *bools;
} Math;

Math math_of(const Builder *b, const Type *type); /* f32 or f64 */

Value *math_number(const Math *m, double x);
Value *math_int(const Math *m, int64_t x);
Value *math_add(const Math *m, Value *x, Value *y);
Value *math_sub(const Math *m, Value *x, Value *y);
Value *math_mul(const Math *m, Value *x, Value *y);
Value *math_div(const Math *m, Value *x, Value *y);
Value *math_fma(const Math *m, Value *x, Value *y, Value *z);
Value *math_scale(const Math *m, Value *x, double factor);
Value *math_plus(const Math *m, Value *x, double term);
Value *math_one(const Math *m, OpCode code, Value *x);           /* abs, sqrt, rint ... */
Value *math_two(const Math *m, OpCode code, Value *x, Value *y); /* copysign, min, and ... */
Value *math_test(const Math *m, OpCode code, Value *x, double y);
Value *math_pick(const Math *m, Value *condition, Value *yes, Value *no);
Value *math_pick_number(const Math *m, Value *condition, double yes, Value *no);
Value *math_bits(const Math *m, Value *x);      /* float -> int of its width */
Value *math_from_bits(const Math *m, Value *x); /* back */
Value *math_to_int(const Math *m, Value *x);
Value *math_to_float(const Math *m, Value *x);
/* c[0] + c[1] x + ... by Horner's rule. */
Value *math_polynomial(const Math *m, Value *x, const double *c, uint32_t count);
#define POLYNOMIAL(m, x, ...)                                                                      \
    math_polynomial((m), (x), (const double[]){__VA_ARGS__},                                       \
                    sizeof((const double[]){__VA_ARGS__}) / sizeof(double))
Value *math_power_of_two(const Math *m, Value *exponent); /* of whole numbers in the normal range */

/* math_wide.c: f64. NULL: the op is none of these, or is plain already. */
Value *math_wide(const Math *m, OpCode code, Value *x, Value *y);

#endif
