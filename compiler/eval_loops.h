/* eval_loops.h: private to eval*.c. How the loops are written and where they are listed.
 *
 * Each op has one row, `eval_<op>`, with its loop for each dtype it is stated on. Narrow floats
 * (f8*, f16, bf16) have no loop of their own unless given one: they go through f32.
 */
#ifndef TKC_COMPILER_EVAL_LOOPS_H
#define TKC_COMPILER_EVAL_LOOPS_H

#include "compiler/eval.h"
#include "compiler/hot.h"

typedef EvalLoop *const EvalRow[DT_COUNT];

#define OP(name, ...) extern EvalRow eval_##name; /* defined for ELEMENT ops and hint */
#include "compiler/ops.def"
#undef OP

/* A loop named `symbol`: R result from the expression in a, b, c (operands of type T). */
#define LOOP(speed, symbol, R, T, arity, expression)                                               \
    speed static void symbol(size_t n, void *result, const void *const *operands) {                \
        R *restrict r = result;                                                                    \
        const T *x = operands[0];                                                                  \
        const T *y = (arity) > 1 ? operands[1] : x, *z = (arity) > 2 ? operands[2] : x;            \
        for (size_t i = 0; i < n; i++) {                                                           \
            const T a = x[i], b = y[i], c = z[i];                                                  \
            (void)a, (void)b, (void)c;                                                             \
            r[i] = (R)(expression);                                                                \
        }                                                                                          \
    }
#define LOOP1(symbol, R, T, expression) LOOP(WARM, symbol, R, T, 1, expression)
#define LOOP2(symbol, R, T, expression) LOOP(WARM, symbol, R, T, 2, expression)
#define LOOP3(symbol, R, T, expression) LOOP(WARM, symbol, R, T, 3, expression)

extern EvalRow eval_clamp_nan; /* clamp with the attribute nan */

/* eval_cast.c. Between i1, integers, f32 and f64: */
EvalLoop *eval_cast_loop(DType in, DType out);
EvalLoop *eval_odd_loop(DType in);  /* i32, u32, i64, u64, f64 -> f32, rounded to odd */
EvalLoop *eval_truncate_loop(void); /* f64 -> f32 towards zero */
/* Between narrow floats and f32; NULL: not a narrow float. */
EvalLoop *eval_widen_loop(DType in);
EvalLoop *eval_narrow_loop(DType out, bool rtz);

/* Bits and values. */
#define BIT_VIEW(name, F, U)                                                                       \
    INLINE U name##_bits(F value) {                                                                \
        U bits;                                                                                    \
        memcpy(&bits, &value, sizeof bits);                                                        \
        return bits;                                                                               \
    }                                                                                              \
    INLINE F name##_from(U bits) {                                                                 \
        F value;                                                                                   \
        memcpy(&value, &bits, sizeof value);                                                       \
        return value;                                                                              \
    }
BIT_VIEW(f32, float, uint32_t)
BIT_VIEW(f64, double, uint64_t)
#undef BIT_VIEW

static inline bool is_narrow(DType d) {
    return dtype_is_fp8(d) || d == DT_f16 || d == DT_bf16;
}

/* Rounded to odd: exact, or the neighbour with an odd last bit. Rounding the result again to a
 * shorter format (by two bits or more) is then the same as rounding once. */
INLINE float f32_round_to_odd(double value) {
    const float nearest = (float)value;
    const double back = (double)nearest;
    const uint32_t bits = f32_bits(nearest);
    const bool even = !(bits & 1) && back != value && value == value;
    const bool up = __builtin_fabs(value) > __builtin_fabs(back);
    return f32_from(even ? (up ? bits + 1 : bits - 1) : bits);
}

#endif
