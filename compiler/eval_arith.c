/* eval_arith.c: arithmetic, bits, comparisons, select: what each op does to one element.
 *
 * An integer op is written once, as a macro from T (its type), U (unsigned T), W (unsigned, at
 * least as wide as int, so that nothing overflows), D (twice as wide) and N (bits) to an
 * expression in a and b, and stamped out for every dtype. Floats are stated for f32 and f64.
 */
#include "compiler/eval_loops.h"

__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 UInt128;

/* clang-format off */
#define SIGNED_LOOPS(LOOP, op, E)                                                                  \
    LOOP(op##_i8,  int8_t,  int8_t,  E(int8_t,  uint8_t,  uint32_t, int32_t, 8))                   \
    LOOP(op##_i16, int16_t, int16_t, E(int16_t, uint16_t, uint32_t, int32_t, 16))                  \
    LOOP(op##_i32, int32_t, int32_t, E(int32_t, uint32_t, uint32_t, int64_t, 32))                  \
    LOOP(op##_i64, int64_t, int64_t, E(int64_t, uint64_t, uint64_t, Int128,  64))
#define UNSIGNED_LOOPS(LOOP, op, E)                                                                \
    LOOP(op##_i1,  uint8_t,  uint8_t,  1 & (E(uint8_t, uint8_t, uint32_t, uint32_t, 1)))           \
    LOOP(op##_u8,  uint8_t,  uint8_t,  E(uint8_t,  uint8_t,  uint32_t, uint32_t, 8))               \
    LOOP(op##_u16, uint16_t, uint16_t, E(uint16_t, uint16_t, uint32_t, uint32_t, 16))              \
    LOOP(op##_u32, uint32_t, uint32_t, E(uint32_t, uint32_t, uint32_t, uint64_t, 32))              \
    LOOP(op##_u64, uint64_t, uint64_t, E(uint64_t, uint64_t, uint64_t, UInt128,  64))
#define INT_ROW(op)                                                                                \
    [DT_i1] = op##_i1, [DT_i8] = op##_i8, [DT_i16] = op##_i16, [DT_i32] = op##_i32,                \
    [DT_i64] = op##_i64, [DT_u8] = op##_u8, [DT_u16] = op##_u16, [DT_u32] = op##_u32,              \
    [DT_u64] = op##_u64
#define FLOAT_ROW(op) [DT_f32] = op##_f32, [DT_f64] = op##_f64
/* clang-format on */

#define INT_OP(LOOP, op, SIGNED, UNSIGNED)                                                         \
    SIGNED_LOOPS(LOOP, op, SIGNED)                                                                 \
    UNSIGNED_LOOPS(LOOP, op, UNSIGNED)
#define INT_ONLY(LOOP, op, SIGNED, UNSIGNED)                                                       \
    INT_OP(LOOP, op, SIGNED, UNSIGNED)                                                             \
    EvalRow eval_##op = {INT_ROW(op)};
#define FLOAT_OP(LOOP, op, F32, F64)                                                               \
    LOOP(op##_f32, float, float, F32)                                                              \
    LOOP(op##_f64, double, double, F64)
#define FLOAT_ONLY(LOOP, op, F32, F64)                                                             \
    FLOAT_OP(LOOP, op, F32, F64)                                                                   \
    EvalRow eval_##op = {FLOAT_ROW(op)};
#define INT_AND_FLOAT(LOOP, op, SIGNED, UNSIGNED, F32, F64)                                        \
    INT_OP(LOOP, op, SIGNED, UNSIGNED)                                                             \
    FLOAT_OP(LOOP, op, F32, F64)                                                                   \
    EvalRow eval_##op = {INT_ROW(op), FLOAT_ROW(op)};

/* ---- arithmetic -------------------------------------------------------------------------- */

#define ADD(T, U, W, D, N) ((W)a + (W)b)
#define SUB(T, U, W, D, N) ((W)a - (W)b)
#define MUL(T, U, W, D, N) ((W)a * (W)b)
#define DIV_SIGNED(T, U, W, D, N) (b == 0 ? (W)-1 : b == -1 ? 0 - (W)a : (W)(a / b))
#define DIV_UNSIGNED(T, U, W, D, N) (b == 0 ? (T)-1 : a / b)
#define REM_SIGNED(T, U, W, D, N) (b == 0 ? a : b == -1 ? 0 : a % b)
#define REM_UNSIGNED(T, U, W, D, N) (b == 0 ? a : a % b)
#define MULHI(T, U, W, D, N) (((D)a * (D)b) >> N)
#define AND(T, U, W, D, N) (a & b)
#define OR(T, U, W, D, N) (a | b)
#define XOR(T, U, W, D, N) (a ^ b)
#define SHL(T, U, W, D, N) ((U)b >= N ? 0 : (W)a << (b & (N - 1)))
#define SHR_SIGNED(T, U, W, D, N) (a >> ((U)b >= N ? N - 1 : b))
#define SHR_UNSIGNED(T, U, W, D, N) (b >= N ? 0 : a >> (b & (N - 1)))
#define MIN(T, U, W, D, N) (a < b ? a : b)
#define MAX(T, U, W, D, N) (a > b ? a : b)
#define CLAMP(T, U, W, D, N) ((a > b ? a : b) < c ? (a > b ? a : b) : c)
#define ABS(T, U, W, D, N) (a < 0 ? 0 - (W)a : (W)a)
#define SAME(T, U, W, D, N) (a)
#define POPCOUNT(T, U, W, D, N) (__builtin_popcountll((U)a))
#define CLZ(T, U, W, D, N) (a == 0 ? N : __builtin_clzll((U)a) - (64 - N))
#define REVERSE(T, U, W, D, N) (reverse_bits((U)a) >> (64 - N))

/* minNum and maxNum: the number when one is NaN; -0 < +0; two NaN give the canonical one. The
 * _nan forms give it when either is NaN. */
#define MINMAX(F, U, quiet)                                                                        \
    INLINE F min_number_##F(F a, F b) {                                                            \
        const F less = b != b ? a : a < b ? a : b;                                                 \
        const F both = a == b ? F##_view_from(F##_view_bits(a) | F##_view_bits(b)) : less;         \
        return a != a && b != b ? F##_view_from(quiet) : both;                                     \
    }                                                                                              \
    INLINE F max_number_##F(F a, F b) {                                                            \
        const F more = b != b ? a : a > b ? a : b;                                                 \
        const F both = a == b ? F##_view_from(F##_view_bits(a) & F##_view_bits(b)) : more;         \
        return a != a && b != b ? F##_view_from(quiet) : both;                                     \
    }                                                                                              \
    INLINE F min_nan_##F(F a, F b) {                                                               \
        return a != a || b != b ? F##_view_from(quiet) : min_number_##F(a, b);                     \
    }                                                                                              \
    INLINE F max_nan_##F(F a, F b) {                                                               \
        return a != a || b != b ? F##_view_from(quiet) : max_number_##F(a, b);                     \
    }
#define float_view_bits f32_bits
#define float_view_from f32_from
#define double_view_bits f64_bits
#define double_view_from f64_from
MINMAX(float, uint32_t, 0x7fffffffu)
MINMAX(double, uint64_t, 0x7fffffffffffffffu)

INLINE uint64_t reverse_bits(uint64_t x) {
    x = (x >> 1 & 0x5555555555555555u) | (x & 0x5555555555555555u) << 1;
    x = (x >> 2 & 0x3333333333333333u) | (x & 0x3333333333333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0fu) | (x & 0x0f0f0f0f0f0f0f0fu) << 4;
    x = (x >> 8 & 0x00ff00ff00ff00ffu) | (x & 0x00ff00ff00ff00ffu) << 8;
    x = (x >> 16 & 0x0000ffff0000ffffu) | (x & 0x0000ffff0000ffffu) << 16;
    return x >> 32 | x << 32;
}

/* clang-format off */
INT_AND_FLOAT(LOOP2, add, ADD, ADD, a + b, a + b)
INT_AND_FLOAT(LOOP2, sub, SUB, SUB, a - b, a - b)
INT_AND_FLOAT(LOOP2, mul, MUL, MUL, a * b, a * b)
INT_AND_FLOAT(LOOP2, div, DIV_SIGNED, DIV_UNSIGNED, a / b, a / b)
INT_AND_FLOAT(LOOP2, rem, REM_SIGNED, REM_UNSIGNED, __builtin_fmodf(a, b), __builtin_fmod(a, b))
INT_AND_FLOAT(LOOP2, min, MIN, MIN, min_number_float(a, b), min_number_double(a, b))
INT_AND_FLOAT(LOOP2, max, MAX, MAX, max_number_float(a, b), max_number_double(a, b))
INT_AND_FLOAT(LOOP3, clamp, CLAMP, CLAMP, min_number_float(max_number_float(a, b), c),
              min_number_double(max_number_double(a, b), c))
INT_AND_FLOAT(LOOP1, abs, ABS, SAME, __builtin_fabsf(a), __builtin_fabs(a))
FLOAT_ONLY(LOOP2, min_nan, min_nan_float(a, b), min_nan_double(a, b))
FLOAT_ONLY(LOOP2, max_nan, max_nan_float(a, b), max_nan_double(a, b))
/* NaN bounds are ignored, as min and max do; only a NaN operand is kept. */
FLOAT_OP(LOOP3, clamp_nan,
         a != a ? f32_from(0x7fffffffu) : min_number_float(max_number_float(a, b), c),
         a != a ? f64_from(0x7fffffffffffffffu) : min_number_double(max_number_double(a, b), c))
EvalRow eval_clamp_nan = {FLOAT_ROW(clamp_nan)};
INT_ONLY(LOOP2, mulhi, MULHI, MULHI)
INT_ONLY(LOOP2, and, AND, AND)
INT_ONLY(LOOP2, or, OR, OR)
INT_ONLY(LOOP2, xor, XOR, XOR)
INT_ONLY(LOOP2, shl, SHL, SHL)
INT_ONLY(LOOP2, shr, SHR_SIGNED, SHR_UNSIGNED)
INT_ONLY(LOOP1, popcount, POPCOUNT, POPCOUNT)
INT_ONLY(LOOP1, clz, CLZ, CLZ)
INT_ONLY(LOOP1, bitreverse, REVERSE, REVERSE)
/* clang-format on */

/* ---- fma: rounded once --------------------------------------------------------------------- */

/* a * b is exact in f64 for narrow floats; the sum is rounded to odd twice, so that narrowing
 * the result rounds the exact value. */
INLINE float fma_to_odd(double a, double b, double c) {
    const double product = a * b, sum = product + c;
    const double part = sum - product;
    const double error = (product - (sum - part)) + (c - part);
    const uint64_t bits = f64_bits(sum);
    const bool even = !(bits & 1) && error != 0 && __builtin_fabs(sum) <= __DBL_MAX__;
    const bool up = (error > 0) == (sum > 0);
    return f32_round_to_odd(f64_from(even ? (up ? bits + 1 : bits - 1) : bits));
}

FLOAT_OP(LOOP3, fma, __builtin_fmaf(a, b, c), __builtin_fma(a, b, c))
LOOP3(fma_narrow, float, float, fma_to_odd((double)a, (double)b, (double)c))
EvalRow eval_fma = {
    FLOAT_ROW(fma),           [DT_f16] = fma_narrow,    [DT_bf16] = fma_narrow,
    [DT_f8e4m3] = fma_narrow, [DT_f8e5m2] = fma_narrow, [DT_f8e4m3b15] = fma_narrow,
};

/* ---- comparisons, select, offset ------------------------------------------------------------- */

/* clang-format off */
#define COMPARE(op, expression)                                                                    \
    LOOP2(op##_i8,  uint8_t, int8_t,   expression)                                                 \
    LOOP2(op##_i16, uint8_t, int16_t,  expression)                                                 \
    LOOP2(op##_i32, uint8_t, int32_t,  expression)                                                 \
    LOOP2(op##_i64, uint8_t, int64_t,  expression)                                                 \
    LOOP2(op##_u8,  uint8_t, uint8_t,  expression)                                                 \
    LOOP2(op##_u16, uint8_t, uint16_t, expression)                                                 \
    LOOP2(op##_u32, uint8_t, uint32_t, expression)                                                 \
    LOOP2(op##_u64, uint8_t, uint64_t, expression)                                                 \
    LOOP2(op##_f32, uint8_t, float,    expression)                                                 \
    LOOP2(op##_f64, uint8_t, double,   expression)                                                 \
    EvalRow eval_##op = {                                                                          \
        [DT_NONE] = op##_u64, [DT_i1] = op##_u8, [DT_i8] = op##_i8, [DT_i16] = op##_i16,           \
        [DT_i32] = op##_i32, [DT_i64] = op##_i64, [DT_u8] = op##_u8, [DT_u16] = op##_u16,          \
        [DT_u32] = op##_u32, [DT_u64] = op##_u64, FLOAT_ROW(op)};
COMPARE(eq, a == b)
COMPARE(ne, a != b)
COMPARE(lt, a < b)
COMPARE(le, a <= b)
COMPARE(gt, a > b)
COMPARE(ge, a >= b)

/* Element types matter only by their size here. */
#define BY_SIZE(op)                                                                                \
    [DT_NONE] = op##_8, [DT_i1] = op##_1, [DT_i8] = op##_1, [DT_i16] = op##_2, [DT_i32] = op##_4,  \
    [DT_i64] = op##_8, [DT_u8] = op##_1, [DT_u16] = op##_2, [DT_u32] = op##_4, [DT_u64] = op##_8,  \
    [DT_f8e4m3] = op##_1, [DT_f8e5m2] = op##_1, [DT_f8e4m3b15] = op##_1, [DT_f16] = op##_2,        \
    [DT_bf16] = op##_2, [DT_f32] = op##_4, [DT_f64] = op##_8
/* clang-format on */

#define SELECT(size, T)                                                                            \
    WARM static void select_##size(size_t n, void *result, const void *const *operands) {          \
        T *restrict r = result;                                                                    \
        const uint8_t *condition = operands[0];                                                    \
        const T *x = operands[1], *y = operands[2];                                                \
        for (size_t i = 0; i < n; i++) {                                                           \
            const T a = x[i], b = y[i];                                                            \
            r[i] = condition[i] ? a : b;                                                           \
        }                                                                                          \
    }
SELECT(1, uint8_t)
SELECT(2, uint16_t)
SELECT(4, uint32_t)
SELECT(8, uint64_t)
EvalRow eval_select = {BY_SIZE(select)};

#define COPY(size)                                                                                 \
    static void copy_##size(size_t n, void *result, const void *const *operands) {                 \
        memcpy(result, operands[0], n *(size));                                                    \
    }
COPY(1)
COPY(2)
COPY(4)
COPY(8)
EvalRow eval_hint = {BY_SIZE(copy)};

/* Operand 2 is one number: bytes an element. The index counts as its dtype says. */
#define OFFSET(name, T, W)                                                                         \
    WARM static void offset_##name(size_t n, void *result, const void *const *operands) {          \
        uint64_t *restrict r = result;                                                             \
        const uint64_t *base = operands[0], scale = *(const uint64_t *)operands[2];                \
        const T *index = operands[1];                                                              \
        for (size_t i = 0; i < n; i++) r[i] = base[i] + (uint64_t)(W)index[i] * scale;             \
    }
OFFSET(i8, int8_t, int64_t)
OFFSET(i16, int16_t, int64_t)
OFFSET(i32, int32_t, int64_t)
OFFSET(i64, int64_t, int64_t)
OFFSET(u8, uint8_t, uint64_t)
OFFSET(u16, uint16_t, uint64_t)
OFFSET(u32, uint32_t, uint64_t)
EvalRow eval_offset = {
    [DT_i1] = offset_u8,   [DT_i8] = offset_i8,   [DT_i16] = offset_i16,
    [DT_i32] = offset_i32, [DT_i64] = offset_i64, [DT_u8] = offset_u8,
    [DT_u16] = offset_u16, [DT_u32] = offset_u32, [DT_u64] = offset_i64,
};
