/* eval_cast.c: conversions between dtypes.
 *
 * f32 is the hub of the narrow floats. Widening is exact. Narrowing rounds once; what comes from
 * beyond f32 (f64, 32- and 64-bit integers) reaches f32 rounded to odd, and rounding that again
 * is the same as rounding the original value once.
 *
 * A narrow float is described by its mantissa bits M and exponent bias B; everything else follows:
 * an f32 pattern shifted right by 23 - M has its exponent off by 127 - B, and below the smallest
 * normal number an addition of the right power of two lets the f32 adder do the rounding.
 */
#include "compiler/eval_loops.h"

/* ---- narrow floats to f32 -------------------------------------------------------------------- */

/* `top` is the exponent field that means infinity and NaN, 0: none does. */
INLINE float widen(uint32_t bits, uint32_t width, int M, int B, uint32_t top) {
    const uint32_t magnitude = (bits & ((1u << (width - 1)) - 1)) << (23 - M);
    const uint32_t sign = (bits >> (width - 1)) << 31;
    const uint32_t rebias = (uint32_t)(127 - B) << 23;
    const uint32_t smallest = 1u << 23; /* exponent field 1 */
    /* field 0: 0.m * 2^(1-B) = (1.m - 1) * 2^(1-B) */
    const float subnormal = f32_from(magnitude + rebias + smallest) - f32_from(rebias + smallest);
    uint32_t r = magnitude < smallest && B != 127 ? f32_bits(subnormal) : magnitude + rebias;
    if (top != 0) r = magnitude >= top << 23 ? magnitude | 0x7f800000u : r;
    return f32_from(r | sign);
}

INLINE float widen_e4m3(uint8_t bits) {
    return (bits & 0x7f) == 0x7f ? f32_from(0x7fffffffu) : widen(bits, 8, 3, 7, 0);
}

LOOP(HOT, widen_f16, float, uint16_t, 1, widen(a, 16, 10, 15, 31))
LOOP(HOT, widen_bf16, float, uint16_t, 1, f32_from((uint32_t)a << 16))
LOOP1(widen_f8e4m3, float, uint8_t, widen_e4m3(a))
LOOP1(widen_f8e5m2, float, uint8_t, widen(a, 8, 2, 15, 31))
LOOP1(widen_f8e4m3b15, float, uint8_t, widen(a, 8, 3, 15, 0))

/* ---- f32 to narrow floats -------------------------------------------------------------------- */

/* Magnitude of `value` in the narrow format, as if exponents went on for ever. */
INLINE uint32_t narrow_magnitude(uint32_t magnitude, int M, int B, bool rtz) {
    const int shift = 23 - M;
    const uint32_t rebias = (uint32_t)(127 - B) << 23;
    const uint32_t half = rtz ? 0 : (1u << (shift - 1)) - 1 + (magnitude >> shift & 1);
    const uint32_t normal = (magnitude + half - rebias) >> shift;
    if (B == 127) return normal; /* the exponent range of f32: subnormals are no special case */
    /* The unit in the last place of `magic` is the smallest subnormal number. */
    const float magic = f32_from((uint32_t)(127 + 1 - B - M + 23) << 23);
    const float sum = f32_from(magnitude) + magic;
    uint32_t subnormal = f32_bits(sum) - f32_bits(magic);
    if (rtz) subnormal -= sum - magic > f32_from(magnitude);
    return magnitude < rebias + (1u << 23) ? subnormal : normal;
}

/* `largest`: pattern of the largest finite number; `beyond`: what overflow gives. */
INLINE uint32_t narrow(float value, uint32_t width, int M, int B, uint32_t largest, uint32_t beyond,
                       uint32_t infinity, uint32_t nan, bool rtz) {
    const uint32_t bits = f32_bits(value), magnitude = bits & 0x7fffffffu;
    uint32_t r = narrow_magnitude(magnitude, M, B, rtz);
    r = r > largest ? (rtz ? largest : beyond) : r;
    r = magnitude == 0x7f800000u ? infinity : r;
    r |= (bits >> 31) << (width - 1);
    return magnitude > 0x7f800000u ? nan : r;
}

#define TO_F16(rtz) narrow(a, 16, 10, 15, 0x7bff, 0x7c00, 0x7c00, 0x7fff, rtz)
#define TO_BF16(rtz) narrow(a, 16, 7, 127, 0x7f7f, 0x7f80, 0x7f80, 0x7fff, rtz)
#define TO_F8E4M3(rtz) narrow(a, 8, 3, 7, 0x7e, 0x7e, 0x7e, 0x7f, rtz)
#define TO_F8E5M2(rtz) narrow(a, 8, 2, 15, 0x7b, 0x7b, 0x7b, 0x7f, rtz)
#define TO_F8E4M3B15(rtz) narrow(a, 8, 3, 15, 0x7f, 0x7f, 0x7f, 0x7f, rtz)
LOOP(HOT, narrow_f16, uint16_t, float, 1, TO_F16(false))
LOOP(HOT, narrow_bf16, uint16_t, float, 1, TO_BF16(false))
LOOP1(narrow_f8e4m3, uint8_t, float, TO_F8E4M3(false))
LOOP1(narrow_f8e5m2, uint8_t, float, TO_F8E5M2(false))
LOOP1(narrow_f8e4m3b15, uint8_t, float, TO_F8E4M3B15(false))
LOOP1(truncate_f16, uint16_t, float, TO_F16(true))
LOOP1(truncate_bf16, uint16_t, float, TO_BF16(true))
LOOP1(truncate_f8e4m3, uint8_t, float, TO_F8E4M3(true))
LOOP1(truncate_f8e5m2, uint8_t, float, TO_F8E5M2(true))
LOOP1(truncate_f8e4m3b15, uint8_t, float, TO_F8E4M3B15(true))

EvalLoop *eval_widen_loop(DType in) {
    static EvalLoop *const loops[DT_COUNT] = {
        [DT_f8e4m3] = widen_f8e4m3, [DT_f8e5m2] = widen_f8e5m2, [DT_f8e4m3b15] = widen_f8e4m3b15,
        [DT_f16] = widen_f16,       [DT_bf16] = widen_bf16,
    };
    return loops[in];
}

EvalLoop *eval_narrow_loop(DType out, bool rtz) {
    static EvalLoop *const nearest[DT_COUNT] = {
        [DT_f8e4m3] = narrow_f8e4m3, [DT_f8e5m2] = narrow_f8e5m2, [DT_f8e4m3b15] = narrow_f8e4m3b15,
        [DT_f16] = narrow_f16,       [DT_bf16] = narrow_bf16,
    };
    static EvalLoop *const towards_zero[DT_COUNT] = {
        [DT_f8e4m3] = truncate_f8e4m3,       [DT_f8e5m2] = truncate_f8e5m2,
        [DT_f8e4m3b15] = truncate_f8e4m3b15, [DT_f16] = truncate_f16,
        [DT_bf16] = truncate_bf16,
    };
    return rtz ? towards_zero[out] : nearest[out];
}

/* ---- to f32, rounding to odd or towards zero ------------------------------------------------- */

/* 64-bit magnitudes to a double: what does not fit 53 bits sets the last one of them. */
INLINE double magnitude_to_odd(uint64_t m) {
    const uint64_t sticky = (m >> 11 | ((m & 2047) != 0)) << 11;
    return (double)(m >> 53 ? sticky : m);
}
INLINE float truncate_to_f32(double value) {
    const float nearest = (float)value;
    const bool over = __builtin_fabs((double)nearest) > __builtin_fabs(value);
    return f32_from(f32_bits(nearest) - over);
}

LOOP1(odd_i32, float, int32_t, f32_round_to_odd((double)a))
LOOP1(odd_u32, float, uint32_t, f32_round_to_odd((double)a))
LOOP1(odd_i64, float, int64_t,
      f32_round_to_odd(a < 0 ? -magnitude_to_odd(0 - (uint64_t)a) : magnitude_to_odd((uint64_t)a)))
LOOP1(odd_u64, float, uint64_t, f32_round_to_odd(magnitude_to_odd(a)))
LOOP1(odd_f64, float, double, f32_round_to_odd(a))
LOOP1(truncate_f32, float, double, truncate_to_f32(a))

EvalLoop *eval_odd_loop(DType in) {
    static EvalLoop *const loops[DT_COUNT] = {
        [DT_i32] = odd_i32, [DT_u32] = odd_u32, [DT_i64] = odd_i64,
        [DT_u64] = odd_u64, [DT_f64] = odd_f64,
    };
    return loops[in];
}

EvalLoop *eval_truncate_loop(void) {
    return truncate_f32;
}

/* ---- integers, f32, f64 ---------------------------------------------------------------------- */

/* Truncates; beyond the range the nearest end of it, NaN 0. `limit` is 2^(value bits). */
#define SATURATE(T, low, high, limit)                                                              \
    (a > (low) && a < (limit) ? (T)(a > (low) && a < (limit) ? a : 0)                              \
     : a >= (limit)           ? (high)                                                             \
     : a <= (low)             ? (low)                                                              \
                              : 0)

/* clang-format off */
#define FROM_INT(in, T)                                                                            \
    LOOP1(in##_to_i1,  uint8_t,  T, a != 0)                                                        \
    LOOP1(in##_to_8,   uint8_t,  T, a)                                                             \
    LOOP1(in##_to_16,  uint16_t, T, a)                                                             \
    LOOP1(in##_to_32,  uint32_t, T, a)                                                             \
    LOOP1(in##_to_64,  uint64_t, T, a)                                                             \
    LOOP1(in##_to_f32, float,    T, a)                                                             \
    LOOP1(in##_to_f64, double,   T, a)                                                             \
    static EvalLoop *const from_##in[DT_COUNT] = {                                                 \
        [DT_NONE] = in##_to_64, [DT_i1] = in##_to_i1, [DT_i8] = in##_to_8, [DT_u8] = in##_to_8,    \
        [DT_i16] = in##_to_16, [DT_u16] = in##_to_16, [DT_i32] = in##_to_32,                       \
        [DT_u32] = in##_to_32, [DT_i64] = in##_to_64, [DT_u64] = in##_to_64,                       \
        [DT_f32] = in##_to_f32, [DT_f64] = in##_to_f64};
#define FROM_FLOAT(in, F)                                                                          \
    LOOP1(in##_to_i1,  uint8_t,  F, a != 0)                                                        \
    LOOP1(in##_to_i8,  int8_t,   F, SATURATE(int32_t,  -128, 127, 128))                            \
    LOOP1(in##_to_i16, int16_t,  F, SATURATE(int32_t,  -32768, 32767, 32768))                      \
    LOOP1(in##_to_i32, int32_t,  F, SATURATE(int32_t,  INT32_MIN, INT32_MAX, (F)0x1p31))           \
    LOOP1(in##_to_i64, int64_t,  F, SATURATE(int64_t,  INT64_MIN, INT64_MAX, (F)0x1p63))           \
    LOOP1(in##_to_u8,  uint8_t,  F, SATURATE(int32_t,  0, 255, 256))                               \
    LOOP1(in##_to_u16, uint16_t, F, SATURATE(int32_t,  0, 65535, 65536))                           \
    LOOP1(in##_to_u32, uint32_t, F, SATURATE(uint32_t, 0, UINT32_MAX, (F)0x1p32))                  \
    LOOP1(in##_to_u64, uint64_t, F, SATURATE(uint64_t, 0, UINT64_MAX, (F)0x1p64))                  \
    LOOP1(in##_to_f32, float,    F, a)                                                             \
    LOOP1(in##_to_f64, double,   F, a)                                                             \
    static EvalLoop *const from_##in[DT_COUNT] = {                                                 \
        [DT_i1] = in##_to_i1, [DT_i8] = in##_to_i8, [DT_i16] = in##_to_i16,                        \
        [DT_i32] = in##_to_i32, [DT_i64] = in##_to_i64, [DT_u8] = in##_to_u8,                      \
        [DT_u16] = in##_to_u16, [DT_u32] = in##_to_u32, [DT_u64] = in##_to_u64,                    \
        [DT_f32] = in##_to_f32, [DT_f64] = in##_to_f64};
FROM_INT(u8, uint8_t)
FROM_INT(u16, uint16_t)
FROM_INT(u32, uint32_t)
FROM_INT(u64, uint64_t)
FROM_INT(i8, int8_t)
FROM_INT(i16, int16_t)
FROM_INT(i32, int32_t)
FROM_INT(i64, int64_t)
FROM_FLOAT(f32, float)
FROM_FLOAT(f64, double)
/* clang-format on */

EvalLoop *eval_cast_loop(DType in, DType out) {
    static EvalLoop *const *const loops[DT_COUNT] = {
        [DT_NONE] = from_u64, [DT_i1] = from_u8,   [DT_i8] = from_i8,   [DT_i16] = from_i16,
        [DT_i32] = from_i32,  [DT_i64] = from_i64, [DT_u8] = from_u8,   [DT_u16] = from_u16,
        [DT_u32] = from_u32,  [DT_u64] = from_u64, [DT_f32] = from_f32, [DT_f64] = from_f64,
    };
    return loops[in] ? loops[in][out] : NULL;
}
