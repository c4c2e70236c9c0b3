/* cast.c: conversions between dtypes in registers, to the bit what eval_cast.c gives.
 *
 * f32 is the hub of the narrow floats. f16 uses the machine's instructions; the others are shifts
 * and additions on bits. What comes from beyond f32 is rounded to odd on the way.
 */
#include "compiler/cpu/emit.h"

typedef struct Format {
    int mantissa, bias;
    uint32_t width, largest, beyond, infinity, nan, top; /* top: exponent field of infinity or 0 */
} Format;

static Format format_of(DType dtype) {
    switch (dtype) {
    case DT_f16: return (Format){10, 15, 16, 0x7bff, 0x7c00, 0x7c00, 0x7fff, 31};
    case DT_bf16: return (Format){7, 127, 16, 0x7f7f, 0x7f80, 0x7f80, 0x7fff, 255};
    case DT_f8e4m3: return (Format){3, 7, 8, 0x7e, 0x7e, 0x7e, 0x7f, 0};
    case DT_f8e5m2: return (Format){2, 15, 8, 0x7b, 0x7b, 0x7b, 0x7f, 31};
    default: return (Format){3, 15, 8, 0x7f, 0x7f, 0x7f, 0x7f, 0};
    }
}

static Reg to_type(Emitter *e, Reg x, RegType element) {
    return LLVMBuildBitCast(e->b, x, lanes_type(element, width_of(x)), "");
}
static Reg zext(Emitter *e, Reg x, RegType element) {
    return LLVMBuildZExt(e->b, x, lanes_type(element, width_of(x)), "");
}
static Reg trunc_to(Emitter *e, Reg x, RegType element) {
    return LLVMBuildTrunc(e->b, x, lanes_type(element, width_of(x)), "");
}
static Reg and_(Emitter *e, Reg x, uint64_t mask) {
    return LLVMBuildAnd(e->b, x, const_int_like(x, mask), "");
}
static Reg add_(Emitter *e, Reg x, uint64_t y) {
    return LLVMBuildAdd(e->b, x, const_int_like(x, y), "");
}
static Reg shl_(Emitter *e, Reg x, uint64_t n) {
    return LLVMBuildShl(e->b, x, const_int_like(x, n), "");
}
static Reg shr_(Emitter *e, Reg x, uint64_t n) {
    return LLVMBuildLShr(e->b, x, const_int_like(x, n), "");
}
static Reg compare_int(Emitter *e, LLVMIntPredicate p, Reg x, uint64_t y) {
    return LLVMBuildICmp(e->b, p, x, const_int_like(x, y), "");
}
static Reg pick(Emitter *e, Reg condition, Reg a, Reg b) {
    return LLVMBuildSelect(e->b, condition, a, b, "");
}

/* ---- narrow floats and f32 ---------------------------------------------------------- */

static Reg widen_bits(Emitter *e, DType from, Reg x) {
    const Format f = format_of(from);
    Reg bits = zext(e, x, e->i32);
    Reg magnitude = shl_(e, and_(e, bits, (1u << (f.width - 1)) - 1), 23u - (uint32_t)f.mantissa);
    Reg sign = shl_(e, shr_(e, bits, f.width - 1), 31);
    const uint32_t rebias = (uint32_t)(127 - f.bias) << 23, smallest = 1u << 23;
    Reg one_more = const_int_like(magnitude, rebias + smallest);
    Reg small = LLVMBuildFSub(e->b, to_type(e, add_(e, magnitude, rebias + smallest), e->f32),
                              to_type(e, one_more, e->f32), "");
    Reg r = pick(e, compare_int(e, LLVMIntULT, magnitude, smallest), to_type(e, small, e->i32),
                 add_(e, magnitude, rebias));
    if (f.top) {
        Reg special = LLVMBuildOr(e->b, magnitude, const_int_like(magnitude, 0x7f800000u), "");
        r = pick(e, compare_int(e, LLVMIntUGE, magnitude, f.top << 23), special, r);
    }
    if (from == DT_f8e4m3)
        r = pick(e, compare_int(e, LLVMIntEQ, and_(e, bits, 0x7f), 0x7f),
                 const_int_like(r, 0x7fffffffu), r);
    if (from == DT_f8e4m3) { /* its NaN is positive */
        Reg nan = compare_int(e, LLVMIntEQ, and_(e, bits, 0x7f), 0x7f);
        sign = pick(e, nan, LLVMConstNull(LLVMTypeOf(sign)), sign);
    }
    return to_type(e, LLVMBuildOr(e->b, r, sign, ""), e->f32);
}

Reg widen_to_f32(Emitter *e, DType from, Reg x) {
    if (from == DT_f32) return x;
    if (from == DT_bf16) return to_type(e, shl_(e, zext(e, x, e->i32), 16), e->f32);
    if (from == DT_f16) {
        Reg half = to_type(e, x, e->half);
        return LLVMBuildFPExt(e->b, half, lanes_type(e->f32, width_of(x)), "");
    }
    return widen_bits(e, from, x);
}

static Reg narrow_magnitude(Emitter *e, const Format *f, bool rtz, Reg magnitude) {
    const uint32_t shift = 23u - (uint32_t)f->mantissa;
    const uint32_t rebias = (uint32_t)(127 - f->bias) << 23;
    Reg up = magnitude;
    if (!rtz)
        up = LLVMBuildAdd(e->b, add_(e, magnitude, (1u << (shift - 1)) - 1),
                          and_(e, shr_(e, magnitude, shift), 1), "");
    Reg normal = shr_(e, add_(e, up, 0u - rebias), shift);
    if (f->bias == 127) return normal;
    Reg magic_bits =
        const_int_like(magnitude, (uint32_t)(127 + 1 - f->bias - f->mantissa + 23) << 23);
    Reg magic = to_type(e, magic_bits, e->f32), value = to_type(e, magnitude, e->f32);
    Reg sum = LLVMBuildFAdd(e->b, value, magic, "");
    Reg small = LLVMBuildSub(e->b, to_type(e, sum, e->i32), magic_bits, "");
    if (rtz) {
        Reg over = LLVMBuildFCmp(e->b, LLVMRealOGT, LLVMBuildFSub(e->b, sum, magic, ""), value, "");
        small = LLVMBuildSub(e->b, small, zext(e, over, e->i32), "");
    }
    return pick(e, compare_int(e, LLVMIntULT, magnitude, rebias + (1u << 23)), small, normal);
}

static Reg narrow_bits(Emitter *e, DType to, bool rtz, Reg x) {
    const Format f = format_of(to);
    Reg bits = to_type(e, x, e->i32), magnitude = and_(e, bits, 0x7fffffffu);
    Reg r = narrow_magnitude(e, &f, rtz, magnitude);
    r = pick(e, compare_int(e, LLVMIntUGT, r, f.largest),
             const_int_like(r, rtz ? f.largest : f.beyond), r);
    r = pick(e, compare_int(e, LLVMIntEQ, magnitude, 0x7f800000u), const_int_like(r, f.infinity),
             r);
    r = LLVMBuildOr(e->b, r, shl_(e, shr_(e, bits, 31), f.width - 1), "");
    r = pick(e, compare_int(e, LLVMIntUGT, magnitude, 0x7f800000u), const_int_like(r, f.nan), r);
    return trunc_to(e, r, f.width == 16 ? e->i16 : e->i8);
}

/* The upper half, one more when what is cut off is more than a half of it, or a half and the rest
 * is odd: it runs over into the exponent, and to infinity, as it should. */
static Reg round_to_bf16(Emitter *e, Reg x) {
    Reg u = to_type(e, x, e->i32);
    Reg cut = const_int_like(u, 16), nan = LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, "");
    Reg odd = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, u, cut, ""), const_int_like(u, 1), "");
    u = LLVMBuildAdd(e->b, LLVMBuildAdd(e->b, u, const_int_like(u, 0x7fff), ""), odd, "");
    u = pick(e, nan, const_int_like(u, 0x7fffffff), u);
    return LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, u, cut, ""), lanes_type(e->i16, width_of(x)),
                          "");
}

Reg narrow_from_f32(Emitter *e, DType to, bool rtz, Reg x) {
    if (to == DT_f32) return x;
    if (to == DT_bf16 && !rtz) return round_to_bf16(e, x);
    if (to != DT_f16 || rtz) return narrow_bits(e, to, rtz, x);
    Reg half = LLVMBuildFPTrunc(e->b, x, lanes_type(e->half, width_of(x)), "");
    Reg nan = LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), r = to_type(e, half, e->i16);
    return pick(e, nan, const_int_like(r, 0x7fff), r);
}

/* ---- to f32, rounding to odd, or towards zero --------------------------------------- */

static Reg f32_to_odd(Emitter *e, Reg x) {
    RegType f64 = LLVMTypeOf(x);
    Reg near = LLVMBuildFPTrunc(e->b, x, lanes_type(e->f32, width_of(x)), "");
    Reg back = LLVMBuildFPExt(e->b, near, f64, "");
    Reg over = LLVMBuildFCmp(e->b, LLVMRealOGT, call_intrinsic(e, "llvm.fabs", 1, &back),
                             call_intrinsic(e, "llvm.fabs", 1, &x), "");
    Reg inexact = LLVMBuildFCmp(e->b, LLVMRealONE, back, x, ""); /* not for NaN */
    Reg bits = to_type(e, near, e->i32);
    bits = LLVMBuildSub(e->b, bits, zext(e, over, e->i32), "");
    bits = LLVMBuildOr(e->b, bits, zext(e, inexact, e->i32), "");
    return to_type(e, bits, e->f32);
}

static Reg truncate_to_f32(Emitter *e, Reg x) {
    RegType f64 = LLVMTypeOf(x);
    Reg near = LLVMBuildFPTrunc(e->b, x, lanes_type(e->f32, width_of(x)), "");
    Reg back = LLVMBuildFPExt(e->b, near, f64, "");
    Reg over = LLVMBuildFCmp(e->b, LLVMRealOGT, call_intrinsic(e, "llvm.fabs", 1, &back),
                             call_intrinsic(e, "llvm.fabs", 1, &x), "");
    Reg bits = LLVMBuildSub(e->b, to_type(e, near, e->i32), zext(e, over, e->i32), "");
    return to_type(e, bits, e->f32);
}

static Reg int_to_float(Emitter *e, DType from, RegType to, Reg x) {
    RegType type = lanes_type(to, width_of(x));
    return dtype_is_unsigned(from) ? LLVMBuildUIToFP(e->b, x, type, "")
                                   : LLVMBuildSIToFP(e->b, x, type, "");
}

/* 64-bit integers as doubles whose last bit is set when something was lost. */
static Reg wide_to_odd(Emitter *e, DType from, Reg x) {
    Reg magnitude = x, negative = NULL;
    if (!dtype_is_unsigned(from)) {
        negative = LLVMBuildICmp(e->b, LLVMIntSLT, x, LLVMConstNull(LLVMTypeOf(x)), "");
        magnitude = pick(e, negative, LLVMBuildNeg(e->b, x, ""), x);
    }
    Reg lost = compare_int(e, LLVMIntNE, and_(e, magnitude, 2047), 0);
    Reg kept = LLVMBuildOr(e->b, shr_(e, magnitude, 11), zext(e, lost, e->i64), "");
    Reg large = compare_int(e, LLVMIntNE, shr_(e, magnitude, 53), 0);
    Reg m = pick(e, large, shl_(e, kept, 11), magnitude);
    Reg r = LLVMBuildUIToFP(e->b, m, lanes_type(e->f64, width_of(x)), "");
    return negative ? pick(e, negative, LLVMBuildFNeg(e->b, r, ""), r) : r;
}

/* Any number as f32, such that rounding that again is rounding the number. */
static Reg f32_for_narrowing(Emitter *e, DType from, Reg x) {
    if (dtype_is_float(from) && dtype_size(from) < 8) return widen_to_f32(e, from, x);
    if (from == DT_f64) return f32_to_odd(e, x);
    if (dtype_size(from) < 4) return int_to_float(e, from, e->f32, x);
    if (dtype_size(from) == 4) return f32_to_odd(e, int_to_float(e, from, e->f64, x));
    return f32_to_odd(e, wide_to_odd(e, from, x));
}

/* ---- integers ----------------------------------------------------------------------- */

static Reg float_to_int(Emitter *e, DType to, Reg x) {
    RegType element = to == DT_i1           ? e->i8
                      : dtype_size(to) == 1 ? e->i8
                      : dtype_size(to) == 2 ? e->i16
                      : dtype_size(to) == 4 ? e->i32
                                            : e->i64;
    RegType types[2] = {lanes_type(element, width_of(x)), LLVMTypeOf(x)};
    const bool u = dtype_is_unsigned(to);
    return call_overloaded(e, u ? "llvm.fptoui.sat" : "llvm.fptosi.sat", 2, types, 1, &x);
}

static Reg int_to_int(Emitter *e, DType from, DType to, Reg x) {
    RegType type;
    switch (dtype_size(to)) {
    case 1: type = e->i8; break;
    case 2: type = e->i16; break;
    case 4: type = e->i32; break;
    default: type = e->i64; break;
    }
    type = lanes_type(type, width_of(x));
    if (dtype_bits(to) == dtype_bits(from)) return x;
    if (dtype_bits(to) < dtype_bits(from)) return LLVMBuildTrunc(e->b, x, type, "");
    return dtype_is_unsigned(from) ? LLVMBuildZExt(e->b, x, type, "")
                                   : LLVMBuildSExt(e->b, x, type, "");
}

Reg code_cast(Emitter *e, DType from, DType to, bool rtz, Reg x) {
    const uint32_t width = width_of(x);
    const bool to_float = dtype_is_float(to), from_float = dtype_is_float(from);
    if (from == to) return x;
    if (to_float && dtype_size(to) < 4)
        return narrow_from_f32(e, to, rtz && from_float, f32_for_narrowing(e, from, x));
    if (from_float && dtype_size(from) < 4) {
        x = widen_to_f32(e, from, x);
        from = DT_f32;
        if (to == DT_f32) return x;
    }
    if (to == DT_i1)
        return from_float ? LLVMBuildFCmp(e->b, LLVMRealUNE, x, LLVMConstNull(LLVMTypeOf(x)), "")
                          : LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
    if (!to_float) return from_float ? float_to_int(e, to, x) : int_to_int(e, from, to, x);
    RegType type = lanes_type(to == DT_f32 ? e->f32 : e->f64, width);
    if (!from_float) return int_to_float(e, from, to == DT_f32 ? e->f32 : e->f64, x);
    if (to == DT_f64) return LLVMBuildFPExt(e->b, x, type, "");
    return rtz ? truncate_to_f32(e, x) : LLVMBuildFPTrunc(e->b, x, type, "");
}
