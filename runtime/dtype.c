/* dtype.c: element types of the public API. They are the compiler's own, number by number. */
#include "compiler/eval.h"
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

void tkc_encode(tkc_dtype dtype, const double *from, void *to, size_t count) {
    if (!known(dtype)) return;
    size_t size = dtype_size((DType)dtype);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        if (dtype == TKC_I1)
            bits = from[i] != 0;
        else if (dtype_is_int((DType)dtype))
            bits = int_from_double((DType)dtype, from[i]);
        else
            bits = eval_bits_from_double((DType)dtype, from[i]);
        memcpy((char *)to + i * size, &bits, size); /* little-endian hosts */
    }
}

void tkc_decode(tkc_dtype dtype, const void *from, double *to, size_t count) {
    if (!known(dtype)) return;
    size_t size = dtype_size((DType)dtype);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, (const char *)from + i * size, size);
        to[i] = eval_double_from_bits((DType)dtype, bits);
    }
}
