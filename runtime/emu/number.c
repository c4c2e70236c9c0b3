/* number.c: rounding of doubles to small formats, one bit at a time honest. */
#include "runtime/emu/number.h"

const Format format_f16 = {5, 10, true, 0x7fff, 0x7bff};
const Format format_bf16 = {8, 7, true, 0x7fff, 0x7f7f};
const Format format_e4m3 = {4, 3, false, 0x7f, 0x7e};
const Format format_e5m2 = {5, 2, true, 0x7f, 0x7b};
const Format format_tf32 = {8, 10, true, 0x3ffff, 0x3fbff};

uint32_t number_encode(const Format *format, double value, Rounding mode, bool saturate) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    uint32_t width = 1u + format->exponent_bits + format->mantissa_bits;
    uint32_t sign = (uint32_t)(bits >> 63) << (width - 1);
    bool negative = sign != 0;
    int32_t exponent = (int32_t)(bits >> 52 & 2047) - 1023;
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (exponent == 1024 && mantissa) return format->nan;
    if (exponent == 1024) {
        if (saturate) return sign | format->largest;
        return format->infinity ? sign | (format->largest + 1) : sign | format->nan;
    }
    if (exponent == -1023 && !mantissa) return sign;
    if (exponent == -1023)
        exponent = -1022; /* far below every format: only its being there counts */
    else
        mantissa |= (uint64_t)1 << 52;
    int32_t least = 2 - (1 << (format->exponent_bits - 1)); /* exponent of the smallest normal */
    int32_t shift = 52 - format->mantissa_bits + (exponent < least ? least - exponent : 0);
    uint64_t kept, rest, half;
    if (shift > 62) {
        kept = 0, rest = 1, half = 2;
    } else {
        kept = mantissa >> shift;
        rest = mantissa & (((uint64_t)1 << shift) - 1);
        half = (uint64_t)1 << (shift - 1);
    }
    bool up = false;
    switch (mode) {
    case ROUND_NEAREST: up = rest > half || (rest == half && (kept & 1)); break;
    case ROUND_AWAY: up = rest >= half; break;
    case ROUND_ZERO: break;
    case ROUND_DOWN: up = rest && negative; break;
    case ROUND_UP: up = rest && !negative; break;
    }
    uint64_t result = kept + up;
    if (exponent >= least) result += (uint64_t)(exponent - least) << format->mantissa_bits;
    if (result > format->largest) {
        bool toward = mode == ROUND_ZERO || (mode == ROUND_DOWN && !negative) ||
                      (mode == ROUND_UP && negative);
        if (saturate || toward) return sign | format->largest;
        return format->infinity ? sign | (format->largest + 1) : sign | format->nan;
    }
    return sign | (uint32_t)result;
}

double number_decode(const Format *format, uint32_t bits) {
    uint32_t width = 1u + format->exponent_bits + format->mantissa_bits;
    uint32_t magnitude = bits & ((1u << (width - 1)) - 1);
    double sign = bits >> (width - 1) & 1 ? -1.0 : 1.0;
    int32_t exponent = (int32_t)(magnitude >> format->mantissa_bits);
    uint32_t mantissa = magnitude & ((1u << format->mantissa_bits) - 1);
    int32_t bias = (1 << (format->exponent_bits - 1)) - 1;
    if (magnitude > format->largest) {
        if (format->infinity && magnitude == format->largest + 1) return sign * INFINITY;
        return NAN;
    }
    if (exponent)
        mantissa |= 1u << format->mantissa_bits;
    else
        exponent = 1;
    return sign * ldexp((double)mantissa, exponent - bias - format->mantissa_bits);
}

double number_fma_odd(double a, double b, double c) {
    double product = a * b, sum = product + c;
    if (!(fabs(sum) <= 1.7e308) || sum == 0) return sum;
    double other = sum - product;
    double error = (product - (sum - other)) + (c - other);
    uint64_t bits;
    memcpy(&bits, &sum, 8);
    if (error != 0 && !(bits & 1)) { /* take the odd neighbour on the side of the true value */
        bits += (error > 0) == (sum > 0) ? 1 : (uint64_t)-1;
        memcpy(&sum, &bits, 8);
    }
    return sum;
}
