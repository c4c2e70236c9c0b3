/* eval.h: the scalar meaning of every ELEMENT op, stated once.
 *
 * An op on one dtype is an EvalCode: a loop over n elements. Constant folding runs the same loop
 * with n = 1, so folding and interpreting cannot differ. No result depends on the machine.
 *
 *   integers   wrap; counts of shifts >= width, division by zero: see ops.def; INT_MIN / -1 is
 *              INT_MIN and INT_MIN % -1 is 0; i1 is one unsigned bit (add is xor, mul is and)
 *   f16 bf16   each op is computed in f32 and rounded once, to nearest even. For + - * / sqrt that
 *   f8*        is the correctly rounded result; fma is rounded once from the exact sum
 *   f32        correctly rounded + - * / sqrt fma; the other functions are within 1 ulp
 *   f64        libm
 *   NaN        what an op makes of NaN (min, max, cast to a narrow float) is the positive NaN with
 *              all mantissa bits set, as on the GPU; other ops may keep a payload
 *   min, max   -0 is less than +0
 *   cast       to i1: x != 0 (NaN is true). From i1: 0 or 1. Float to float rounds once, even f64
 * to f8. To f16, bf16, f32: overflow is infinity (rtz: the largest finite number). To f8e4m3,
 * f8e5m2: what is beyond the largest finite number, infinity included, becomes that number with its
 * sign (cvt.satfinite); NaN stays NaN (0x7f). f8e4m3b15: all 256 codes are numbers (largest 1.875);
 * NaN becomes 0x7f clamp      min(max(x, low), high); with `nan` NaN stays NaN
 */
#ifndef TKC_COMPILER_EVAL_H
#define TKC_COMPILER_EVAL_H

#include "compiler/ir.h"

/* Element i of the result from element i of each operand; all contiguous, aligned to their
 * element size. The result overlaps no operand. */
typedef void EvalLoop(size_t n, void *result, const void *const *operands);

typedef struct EvalCode {
    EvalLoop *widen;  /* each operand to f32 first, or NULL */
    EvalLoop *loop;   /* NULL: nothing between widen and narrow */
    EvalLoop *narrow; /* the f32 result to a narrower float, or NULL */
    uint8_t arity, in_size, out_size;
    uint64_t scale; /* offset: bytes a step; else 0 */
} EvalCode;

enum {
    EVAL_RTZ = 1, /* cast: rounding = rtz */
    EVAL_NAN = 2  /* clamp: nan */
};

/* How to run `op` on operands of dtype `in` (select: of its second operand; pointers: DT_NONE)
 * giving `out`. False: there is no such op. offset is not reached this way. The float functions
 * take narrow floats too (computed in f32, rounded once), but for nextafter. */
bool eval_prepare(EvalCode *code, OpCode op, DType in, DType out, uint32_t flags);
/* The same for an ELEMENT op with its attributes and types; offset too. */
bool eval_prepare_op(EvalCode *code, const Op *op);
void eval_block(const EvalCode *code, size_t n, void *result, const void *const *operands);

/* One element; bits are zero-extended. False: not an op of one element, or not of this dtype. */
bool eval_scalar(OpCode op, DType in, DType out, const uint64_t *operands, uint64_t *result);
bool eval_op(const Op *op, const uint64_t *operands, uint64_t *result);

/* ---- values and their bits ----------------------------------------------------------------- */

/* DT_NONE is a pointer: 64 bits. Rounds to nearest even, once. */
uint64_t eval_bits_from_double(DType dtype, double value);
uint64_t eval_bits_from_int(DType dtype, int64_t value);  /* wraps; floats: rounds */
double eval_double_from_bits(DType dtype, uint64_t bits); /* rounds 64-bit integers */
int64_t eval_int_from_bits(DType dtype, uint64_t bits);   /* integers: extended; floats: cast */
/* What a `constant` of this dtype holds. */
uint64_t eval_bits_from_number(DType dtype, const Attribute *value);

/* n elements of a float dtype (not f64) to f32: exact. And back: to nearest even, or rtz. */
void eval_to_f32(DType from, size_t n, float *result, const void *operand);
void eval_from_f32(DType to, bool rtz, size_t n, void *result, const float *operand);

#endif
