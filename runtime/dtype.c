/* dtype.c: element types of the public API. They are the compiler's own, number by number.
 *
 * Numbers become bits by one rule for all the small float types, which are told apart by a row of
 * facts: widths, bias, and what the highest patterns mean. The compiler has its own conversions,
 * fast ones over blocks; tests/t_dtype.c holds the two against each other.
 */
#include "compiler/type.h"
#include "runtime/internal.h"

#include <math.h>

#define SAME(public_name, name) _Static_assert((int)public_name == (int)DT_##name, #name)
SAME(TKC_NONE, NONE);
SAME(TKC_I1, i1);
SAME(TKC_I8, i8);
SAME(TKC_I16, i16);
SAME(TKC_I32, i32);
SAME(TKC_I64, i64);
SAME(TKC_U8, u8);
SAME(TKC_U16, u16);
SAME(TKC_U32, u32);
SAME(TKC_U64, u64);
SAME(TKC_F8E4M3, f8e4m3);
SAME(TKC_F8E5M2, f8e5m2);
SAME(TKC_F8E4M3B15, f8e4m3b15);
SAME(TKC_F16, f16);
SAME(TKC_BF16, bf16);
SAME(TKC_F32, f32);
SAME(TKC_F64, f64);
_Static_assert((int)TKC_DTYPE_COUNT == (int)DT_COUNT, "an element type has no public name");

static bool known(tkc_dtype dtype) {
    return dtype > TKC_NONE && dtype < TKC_DTYPE_COUNT;
}

const char *tkc_dtype_name(tkc_dtype dtype) {
    return known(dtype) ? dtype_name((DType)dtype) : "?";
}

uint32_t tkc_dtype_size(tkc_dtype dtype) {
    return known(dtype) ? dtype_size((DType)dtype) : 0;
}

tkc_dtype tkc_dtype_from_name(const char *name) {
    return name ? (tkc_dtype)dtype_from_name(name, strlen(name)) : TKC_NONE;
}

/* Truncated, and held to the range of the type. */
static uint64_t int_from_double(DType dtype, double value) {
    if (isnan(value)) return 0;
    uint32_t bits = dtype_bits(dtype);
    bool is_unsigned = dtype_is_unsigned(dtype);
    double low = is_unsigned ? 0 : -ldexp(1, (int)bits - 1);
    double beyond = ldexp(1, (int)bits - !is_unsigned);
    uint64_t highest = UINT64_MAX >> (64 - bits + !is_unsigned);
    if (value <= low) return is_unsigned ? 0 : (uint64_t)1 << (bits - 1);
    if (value >= beyond) return highest;
    return is_unsigned ? (uint64_t)value : (uint64_t)(int64_t)value;
}

/* ---- small floats --------------------------------------------------------------------------- */

typedef struct SmallFloat {
    uint32_t mantissa; /* bits of it */
    int bias;
    uint32_t highest;   /* largest finite magnitude; infinity, where there is one, follows it */
    uint32_t infinity;  /* 0: what is too large becomes `highest` */
    uint32_t quiet_nan; /* 0: NaN becomes `highest` too */
    uint32_t first_nan; /* magnitudes from here on are read as NaN */
} SmallFloat;

/* clang-format off */
static const SmallFloat small_floats[TKC_DTYPE_COUNT] = {
    /*                 bits bias  highest infinity NaN     first NaN */
    [TKC_F8E4M3]    = { 3,    7,  0x7e,   0,       0x7f,   0x7f},
    [TKC_F8E5M2]    = { 2,   15,  0x7b,   0,       0x7f,   0x7d},
    [TKC_F8E4M3B15] = { 3,   15,  0x7f,   0,       0,      0x80},
    [TKC_F16]       = {10,   15,  0x7bff, 0x7c00,  0x7fff, 0x7c01},
    [TKC_BF16]      = { 7,  127,  0x7f7f, 0x7f80,  0x7fff, 0x7f81},
};
/* clang-format on */

static uint32_t sign_bit(tkc_dtype dtype) {
    return tkc_dtype_size(dtype) == 1 ? 0x80 : 0x8000;
}

/* Rounded to nearest, ties to even. */
static uint32_t encode_small(tkc_dtype dtype, double value) {
    const SmallFloat *f = &small_floats[dtype];
    if (isnan(value)) return f->quiet_nan ? f->quiet_nan : f->highest;
    uint32_t sign = signbit(value) ? sign_bit(dtype) : 0;
    uint32_t magnitude = UINT32_MAX;
    if (isfinite(value)) {
        int exponent, least = 1 - f->bias;
        frexp(value, &exponent);
        exponent = value == 0 || exponent - 1 < least ? least : exponent - 1;
        double steps = rint(ldexp(fabs(value), (int)f->mantissa - exponent));
        if (exponent <= f->bias + 1)
            magnitude = (uint32_t)steps + ((uint32_t)(exponent - least) << f->mantissa);
    }
    if (magnitude > f->highest) magnitude = f->infinity ? f->infinity : f->highest;
    return sign | magnitude;
}

static double decode_small(tkc_dtype dtype, uint32_t bits) {
    const SmallFloat *f = &small_floats[dtype];
    uint32_t sign = sign_bit(dtype), magnitude = bits & (sign - 1);
    uint32_t exponent = magnitude >> f->mantissa, hidden = 1u << f->mantissa;
    uint32_t steps = (magnitude & (hidden - 1)) | (exponent ? hidden : 0);
    double value = ldexp(steps, (int)(exponent ? exponent : 1) - f->bias - (int)f->mantissa);
    if (magnitude >= f->first_nan)
        value = NAN;
    else if (magnitude > f->highest)
        value = INFINITY;
    return bits & sign ? -value : value;
}

/* ---- any type ------------------------------------------------------------------------------- */

static uint64_t encode_one(tkc_dtype dtype, double value) {
    uint64_t bits = 0;
    float narrow = (float)value;
    switch (dtype) {
    case TKC_I1: return value != 0;
    case TKC_F64: memcpy(&bits, &value, sizeof value); return bits;
    case TKC_F32: memcpy(&bits, &narrow, sizeof narrow); return bits; /* little-endian hosts */
    default:
        if (dtype_is_float((DType)dtype)) return encode_small(dtype, value);
        return int_from_double((DType)dtype, value);
    }
}

static double decode_one(tkc_dtype dtype, uint64_t bits) {
    double value;
    float narrow;
    switch (dtype) {
    case TKC_F64: memcpy(&value, &bits, sizeof value); return value;
    case TKC_F32: memcpy(&narrow, &bits, sizeof narrow); return (double)narrow;
    case TKC_U64: return (double)bits;
    default:
        if (dtype_is_float((DType)dtype)) return decode_small(dtype, (uint32_t)bits);
        return (double)dtype_wrap((DType)dtype, (int64_t)bits);
    }
}

void tkc_encode(tkc_dtype dtype, const double *from, void *to, size_t count) {
    if (!known(dtype)) return;
    size_t size = dtype_size((DType)dtype);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = encode_one(dtype, from[i]);
        memcpy((char *)to + i * size, &bits, size); /* little-endian hosts */
    }
}

void tkc_decode(tkc_dtype dtype, const void *from, double *to, size_t count) {
    if (!known(dtype)) return;
    size_t size = dtype_size((DType)dtype);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, (const char *)from + i * size, size);
        to[i] = decode_one(dtype, bits);
    }
}
