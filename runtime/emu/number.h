/* number.h: the small float formats: to and from f32 and f64, in every rounding mode.
 *
 * The f16 and bf16 conversions that kernels use all the time are branch-free, so that loops over
 * lanes become vector code; everything else goes through number_encode, which rounds a double
 * (exact, or with its last bit made "sticky") to any format.
 */
#ifndef TKC_RUNTIME_EMU_NUMBER_H
#define TKC_RUNTIME_EMU_NUMBER_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Functions marked so exist once for each vector width of the host. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&                \
    !defined(__SANITIZE_THREAD__)
#define VECTOR_CODE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR_CODE
#endif

typedef enum Rounding { ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP, ROUND_AWAY } Rounding;

typedef struct Format {
    uint8_t exponent_bits, mantissa_bits;
    bool infinity;    /* the top exponent means infinity and NaN; else (e4m3) only its last code */
    uint32_t nan;     /* the canonical NaN */
    uint32_t largest; /* finite */
} Format;

extern const Format format_f16, format_bf16, format_e4m3, format_e5m2, format_tf32;

/* Rounds to the format. Overflow: infinity or the largest finite number, as IEEE says for the
 * mode; `saturate`: always the largest. e4m3 without saturation overflows to NaN. */
uint32_t number_encode(const Format *format, double value, Rounding mode, bool saturate);
double number_decode(const Format *format, uint32_t bits);

/* a * b + c, rounded to odd: rounding the result again to fewer bits is right. */
double number_fma_odd(double a, double b, double c);

/* ---- fast paths ------------------------------------------------------------------------------ */

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline float f32_from_f16(uint32_t half) {
    uint32_t magnitude = half & 0x7fff, sign = (half & 0x8000) << 16;
    uint32_t normal = (magnitude << 13) + 0x38000000;
    uint32_t special = magnitude > 0x7c00 ? 0x7fffffff : 0x7f800000;
    /* 2^-14 * (1 + m / 1024) - 2^-14 is the subnormal m * 2^-24 */
    uint32_t small =
        bits_of_float(float_of_bits((magnitude << 13) + 0x38800000) - float_of_bits(0x38800000));
    uint32_t bits = magnitude < 0x400 ? small : magnitude < 0x7c00 ? normal : special;
    return float_of_bits(magnitude > 0x7c00 ? special : bits | sign);
}

static inline uint32_t f16_from_f32(float value) { /* to nearest even */
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t moved = magnitude - 0x38000000; /* exponent rebased */
    uint32_t normal = (moved + 0xfff + (moved >> 13 & 1)) >> 13;
    /* adding 0.5 rounds at 2^-24, the weight of the last subnormal bit */
    uint32_t small = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000;
    uint32_t special = magnitude > 0x7f800000 ? 0x7fff : 0x7c00;
    uint32_t half = magnitude < 0x38800000 ? small : magnitude < 0x47800000 ? normal : special;
    return magnitude > 0x7f800000 ? 0x7fff : half | sign;
}

static inline float f32_from_bf16(uint32_t bits) {
    return float_of_bits(bits << 16);
}

static inline uint32_t bf16_from_f32(float value) { /* to nearest even */
    uint32_t bits = bits_of_float(value);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded;
}

/* NaNs leave the machine in one form. */
static inline uint32_t canonical_f32(float value) {
    return value == value ? bits_of_float(value) : 0x7fffffffu;
}
static inline float flush_f32(float value) { /* subnormal to zero of the same sign */
    uint32_t bits = bits_of_float(value);
    return float_of_bits(bits & 0x7f800000 ? bits : bits & 0x80000000);
}

#endif
