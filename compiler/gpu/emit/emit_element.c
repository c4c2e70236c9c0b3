/* emit_element.c: ops that work element by element.
 *
 * Narrow floats: f16 and bf16 add, subtract, multiply and fma natively, which rounds once; what
 * else there is goes through f32 and back, as eval.h says. A register whose operands are those of
 * an earlier register of the same op (broadcasts) shares its result.
 *
 * `mul` and `add` of floats may be fused into one fma (one rounding less), as Triton's default has
 * it; `fma` always is one.
 */
#include "compiler/gpu/emit/emit.h"

static Scalar contracted(Scalar x) {
    if (LLVMIsAInstruction(x) && LLVMCanValueUseFastMathFlags(x))
        LLVMSetFastMathFlags(x, LLVMFastMathAllowContract);
    return x;
}

static Scalar number(Emitter *e, DType dtype, double value) {
    return LLVMConstReal(dtype == DT_f64 ? e->f64 : dtype == DT_f16 ? e->f16 : e->f32, value);
}

/* ---- conversions --------------------------------------------------------------------------------
 */

/* f8 to f16: exact. e4m3 has f16's place for its bits but for the exponent's bias. */
static Scalar f8_to_f16(Emitter *e, Scalar x, DType from) {
    Scalar wide = LLVMBuildZExt(e->builder, x, e->i16, "");
    if (from == DT_f8e5m2) {
        wide = LLVMBuildShl(e->builder, wide, LLVMConstInt(e->i16, 8, 0), "");
        return LLVMBuildBitCast(e->builder, wide, e->f16, "");
    }
    Scalar sign = LLVMBuildAnd(e->builder, wide, LLVMConstInt(e->i16, 0x80, 0), "");
    Scalar magnitude = LLVMBuildAnd(e->builder, wide, LLVMConstInt(e->i16, 0x7f, 0), "");
    sign = LLVMBuildShl(e->builder, sign, LLVMConstInt(e->i16, 8, 0), "");
    Scalar bits = LLVMBuildShl(e->builder, magnitude, LLVMConstInt(e->i16, 7, 0), "");
    if (from == DT_f8e4m3) {
        Scalar value = LLVMBuildBitCast(e->builder, bits, e->f16, "");
        value = LLVMBuildFMul(e->builder, value, number(e, DT_f16, 256), "");
        Scalar is_nan =
            LLVMBuildICmp(e->builder, LLVMIntEQ, magnitude, LLVMConstInt(e->i16, 0x7f, 0), "");
        bits = LLVMBuildBitCast(e->builder, value, e->i16, "");
        bits = LLVMBuildSelect(e->builder, is_nan, LLVMConstInt(e->i16, 0x7fff, 0), bits, "");
    }
    return LLVMBuildBitCast(e->builder, LLVMBuildOr(e->builder, bits, sign, ""), e->f16, "");
}

/* f32 to f8, to nearest even; what is too large becomes the largest number. The same steps as in
 * eval_cast.c: normal numbers round in the integer, smaller ones in the adder. */
static Scalar f32_to_f8(Emitter *e, Scalar x, DType to, bool rtz) {
    LLVMBuilderRef b = e->builder;
    const uint32_t m = to == DT_f8e5m2 ? 2 : 3, bias = to == DT_f8e4m3 ? 7 : 15;
    const uint32_t largest = to == DT_f8e5m2 ? 0x7b : to == DT_f8e4m3 ? 0x7e : 0x7f;
    const uint32_t shift = 23 - m, rebias = (127 - bias) << 23;
    Scalar bits = LLVMBuildBitCast(b, x, e->i32, "");
    Scalar magnitude = LLVMBuildAnd(b, bits, emit_i32(e, 0x7fffffff), "");
    Scalar sign =
        LLVMBuildAnd(b, LLVMBuildLShr(b, bits, emit_i32(e, 24), ""), emit_i32(e, 0x80), "");
    Scalar sum = LLVMBuildSub(b, magnitude, emit_i32(e, rebias), "");
    if (!rtz) {
        Scalar odd = LLVMBuildAnd(b, LLVMBuildLShr(b, magnitude, emit_i32(e, shift), ""),
                                  emit_i32(e, 1), "");
        sum = LLVMBuildAdd(b, sum, emit_i32(e, (1u << (shift - 1)) - 1), "");
        sum = LLVMBuildAdd(b, sum, odd, "");
    }
    Scalar normal = LLVMBuildLShr(b, sum, emit_i32(e, shift), "");
    const uint32_t magic = (127 + 1 - bias - m + 23) << 23;
    Scalar magic_value = LLVMBuildBitCast(b, emit_i32(e, magic), e->f32, "");
    Scalar absolute = LLVMBuildBitCast(b, magnitude, e->f32, "");
    Scalar small = LLVMBuildFAdd(b, absolute, magic_value, "");
    Scalar below = LLVMBuildSub(b, LLVMBuildBitCast(b, small, e->i32, ""), emit_i32(e, magic), "");
    if (rtz) {
        Scalar over =
            LLVMBuildFCmp(b, LLVMRealOGT, LLVMBuildFSub(b, small, magic_value, ""), absolute, "");
        below = LLVMBuildSub(b, below, LLVMBuildZExt(b, over, e->i32, ""), "");
    }
    Scalar is_small =
        LLVMBuildICmp(b, LLVMIntULT, magnitude, emit_i32(e, (int64_t)rebias + (1 << 23)), "");
    Scalar r = LLVMBuildSelect(b, is_small, below, normal, "");
    Scalar over = LLVMBuildICmp(b, LLVMIntUGT, r, emit_i32(e, largest), "");
    r = LLVMBuildSelect(b, over, emit_i32(e, largest), r, "");
    Scalar is_nan = LLVMBuildICmp(b, LLVMIntUGT, magnitude, emit_i32(e, 0x7f800000), "");
    r = LLVMBuildSelect(b, is_nan, emit_i32(e, 0x7f), r, "");
    sign = LLVMBuildSelect(b, is_nan, emit_i32(e, 0), sign, "");
    return LLVMBuildTrunc(b, LLVMBuildOr(b, r, sign, ""), e->i8, "");
}

/* f64 to f32 rounded to odd: rounding that again rounds the original once. */
static Scalar f64_to_odd_f32(Emitter *e, Scalar x) {
    Scalar cut = INTRINSIC(e, "llvm.nvvm.d2f.rz", x);
    Scalar back = LLVMBuildFPExt(e->builder, cut, e->f64, "");
    Scalar lost = LLVMBuildFCmp(e->builder, LLVMRealONE, back, x, "");
    Scalar bits = LLVMBuildBitCast(e->builder, cut, e->i32, "");
    bits = LLVMBuildOr(e->builder, bits, LLVMBuildZExt(e->builder, lost, e->i32, ""), "");
    return LLVMBuildBitCast(e->builder, bits, e->f32, "");
}

static Scalar to_f32(Emitter *e, Scalar x, DType from) {
    if (from == DT_f32) return x;
    if (from == DT_f64) return LLVMBuildFPTrunc(e->builder, x, e->f32, "");
    if (dtype_is_fp8(from)) x = f8_to_f16(e, x, from);
    return LLVMBuildFPExt(e->builder, x, e->f32, "");
}

static Scalar cut_pair(Emitter *e, Scalar x, DType to) {
    Scalar pair =
        emit_intrinsic(e, to == DT_f16 ? "llvm.nvvm.ff2f16x2.rz" : "llvm.nvvm.ff2bf16x2.rz", NULL,
                       2, (Scalar[]){number(e, DT_f32, 0), x});
    return LLVMBuildExtractElement(e->builder, pair, emit_i32(e, 0), "");
}

static Scalar from_f32(Emitter *e, Scalar x, DType to, bool rtz) {
    if (to == DT_f32) return x;
    if (to == DT_f64) return LLVMBuildFPExt(e->builder, x, e->f64, "");
    if (dtype_is_fp8(to)) return f32_to_f8(e, x, to, rtz);
    if (rtz) return cut_pair(e, x, to);
    return LLVMBuildFPTrunc(e->builder, x, to == DT_f16 ? e->f16 : e->bf16, "");
}

static Scalar float_to_float(Emitter *e, Scalar x, DType from, DType to, bool rtz) {
    if (from == to) return x;
    if (from != DT_f64) {
        if (dtype_is_fp8(from) && to == DT_f16) return f8_to_f16(e, x, from);
        return from_f32(e, to_f32(e, x, from), to, rtz);
    }
    if (to == DT_f32) return rtz ? INTRINSIC(e, "llvm.nvvm.d2f.rz", x) : to_f32(e, x, from);
    return from_f32(e, f64_to_odd_f32(e, x), to, rtz);
}

static Scalar int_to_float(Emitter *e, Scalar x, DType from, DType to, bool rtz) {
    const bool is_unsigned = dtype_is_unsigned(from), wide = dtype_bits(from) >= 32;
    if (dtype_is_fp8(to) || rtz || (to != DT_f32 && to != DT_f64)) {
        /* f64 holds 32-bit integers; of 64-bit ones the low bits matter only as "not zero" */
        ScalarType type = wide ? e->f64 : e->f32;
        DType middle = wide ? DT_f64 : DT_f32;
        if (dtype_bits(from) == 64) {
            Scalar low = LLVMBuildAnd(e->builder, x, emit_i64(e, 0xffff), "");
            Scalar some = LLVMBuildICmp(e->builder, LLVMIntNE, low, emit_i64(e, 0), "");
            Scalar big = LLVMBuildAnd(e->builder, x, emit_i64(e, ~0xffffll), "");
            big = LLVMBuildOr(e->builder, big, LLVMBuildZExt(e->builder, some, e->i64, ""), "");
            Scalar size =
                is_unsigned ? x : INTRINSIC_OF(e, "llvm.abs", e->i64, x, LLVMConstInt(e->i1, 0, 0));
            Scalar is_big = LLVMBuildICmp(e->builder, LLVMIntUGE, size, emit_i64(e, 1ll << 52), "");
            x = LLVMBuildSelect(e->builder, is_big, big, x, "");
        }
        x = is_unsigned ? LLVMBuildUIToFP(e->builder, x, type, "")
                        : LLVMBuildSIToFP(e->builder, x, type, "");
        return float_to_float(e, x, middle, to, rtz);
    }
    ScalarType type = to == DT_f64 ? e->f64 : e->f32;
    return is_unsigned ? LLVMBuildUIToFP(e->builder, x, type, "")
                       : LLVMBuildSIToFP(e->builder, x, type, "");
}

static Scalar float_to_int(Emitter *e, Scalar x, DType from, DType to) {
    if (from != DT_f64) x = to_f32(e, x, from);
    const char *width = from == DT_f64 ? "f64" : "f32";
    if (to == DT_i1) {
        Scalar zero = LLVMConstNull(LLVMTypeOf(x));
        return LLVMBuildFCmp(e->builder, LLVMRealUNE, x, zero, "");
    }
    const char *name = arena_printf(e->arena, "llvm.fpto%si.sat.i%u.%s",
                                    dtype_is_unsigned(to) ? "u" : "s", dtype_bits(to), width);
    ScalarType types[2] = {int_type(e, dtype_bits(to)), LLVMTypeOf(x)};
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    Scalar function = LLVMGetIntrinsicDeclaration(e->code, id, types, 2);
    ScalarType type = LLVMIntrinsicGetType(e->context, id, types, 2);
    return LLVMBuildCall2(e->builder, type, function, &x, 1, "");
}

Scalar emit_cast_one(Emitter *e, Scalar x, DType from, DType to, bool rtz) {
    if (dtype_is_float(from))
        return dtype_is_float(to) ? float_to_float(e, x, from, to, rtz)
                                  : float_to_int(e, x, from, to);
    if (dtype_is_float(to)) return int_to_float(e, x, from, to, rtz);
    if (to == DT_i1)
        return LLVMBuildICmp(e->builder, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
    return LLVMBuildIntCast2(e->builder, x, int_type(e, dtype_bits(to)), !dtype_is_unsigned(from),
                             "");
}

static Scalar bitcast_one(Emitter *e, Scalar x, const Type *from, const Type *to) {
    ScalarType type = element_type(e, to);
    if (from->kind == TYPE_POINTER && to->kind == TYPE_POINTER) return x;
    if (from->kind == TYPE_POINTER) {
        Scalar bits = LLVMBuildPtrToInt(e->builder, x, e->i64, "");
        return LLVMBuildBitCast(e->builder, bits, type, "");
    }
    if (to->kind == TYPE_POINTER) {
        Scalar bits = LLVMBuildBitCast(e->builder, x, e->i64, "");
        return LLVMBuildIntToPtr(e->builder, bits, type, "");
    }
    if (LLVMTypeOf(x) == e->i1 && type != e->i1) return LLVMBuildZExt(e->builder, x, type, "");
    if (type == e->i1 && LLVMTypeOf(x) != e->i1) return LLVMBuildTrunc(e->builder, x, type, "");
    return LLVMBuildBitCast(e->builder, x, type, "");
}

/* ---- integers
 * ------------------------------------------------------------------------------------ */

static bool known_int(Scalar x, int64_t *value) {
    if (!LLVMIsAConstantInt(x)) return false;
    *value = LLVMConstIntGetSExtValue(x);
    return true;
}

/* By zero: all ones, and the dividend. The smallest by -1: itself, and 0. LLVM may assume that none
 * of these happen, so it divides by 1 then. */
static Scalar divide(Emitter *e, OpCode code, DType dtype, Scalar x, Scalar y) {
    LLVMBuilderRef b = e->builder;
    ScalarType type = LLVMTypeOf(x);
    const bool is_signed = !dtype_is_unsigned(dtype);
    const LLVMOpcode opcode =
        code == OP_div ? (is_signed ? LLVMSDiv : LLVMUDiv) : (is_signed ? LLVMSRem : LLVMURem);
    int64_t known;
    if (known_int(y, &known) && known != 0 && known != -1)
        return LLVMBuildBinOp(b, opcode, x, y, "");
    Scalar zero = LLVMConstNull(type), one = LLVMConstInt(type, 1, 0);
    Scalar by_zero = LLVMBuildICmp(b, LLVMIntEQ, y, zero, ""), bad = by_zero;
    if (is_signed) {
        Scalar smallest = LLVMConstInt(type, 1ull << (dtype_bits(dtype) - 1), 0);
        Scalar minus = LLVMBuildICmp(b, LLVMIntEQ, y, LLVMConstAllOnes(type), "");
        Scalar least = LLVMBuildICmp(b, LLVMIntEQ, x, smallest, "");
        bad = LLVMBuildOr(b, bad, LLVMBuildAnd(b, minus, least, ""), "");
    }
    y = LLVMBuildSelect(b, bad, one, y, "");
    Scalar r = LLVMBuildBinOp(b, opcode, x, y, "");
    return LLVMBuildSelect(b, by_zero, code == OP_div ? LLVMConstAllOnes(type) : x, r, "");
}

static Scalar shift(Emitter *e, OpCode code, DType dtype, Scalar x, Scalar y) {
    ScalarType type = LLVMTypeOf(x);
    const uint32_t bits = dtype_bits(dtype);
    const bool arithmetic = code == OP_shr && !dtype_is_unsigned(dtype);
    Scalar most = LLVMConstInt(type, bits - 1, 0);
    Scalar over = LLVMBuildICmp(e->builder, LLVMIntUGT, y, most, "");
    Scalar amount =
        LLVMBuildSelect(e->builder, over, arithmetic ? most : LLVMConstNull(type), y, "");
    if (arithmetic) return LLVMBuildAShr(e->builder, x, amount, "");
    Scalar r = code == OP_shl ? LLVMBuildShl(e->builder, x, amount, "")
                              : LLVMBuildLShr(e->builder, x, amount, "");
    return LLVMBuildSelect(e->builder, over, LLVMConstNull(type), r, "");
}

static Scalar multiply_high(Emitter *e, DType dtype, Scalar x, Scalar y) {
    const bool is_unsigned = dtype_is_unsigned(dtype);
    const uint32_t bits = dtype_bits(dtype);
    if (bits == 64)
        return INTRINSIC(e, is_unsigned ? "llvm.nvvm.mulhi.ull" : "llvm.nvvm.mulhi.ll", x, y);
    ScalarType wide = int_type(e, 2 * bits);
    x = LLVMBuildIntCast2(e->builder, x, wide, !is_unsigned, "");
    y = LLVMBuildIntCast2(e->builder, y, wide, !is_unsigned, "");
    Scalar r = LLVMBuildMul(e->builder, x, y, "");
    r = LLVMBuildLShr(e->builder, r, LLVMConstInt(wide, bits, 0), "");
    return LLVMBuildTrunc(e->builder, r, int_type(e, bits), "");
}

static Scalar compare_ints(Emitter *e, OpCode code, bool is_unsigned, Scalar x, Scalar y) {
    static const LLVMIntPredicate with_sign[] = {LLVMIntEQ,  LLVMIntNE,  LLVMIntSLT,
                                                 LLVMIntSLE, LLVMIntSGT, LLVMIntSGE};
    static const LLVMIntPredicate without[] = {LLVMIntEQ,  LLVMIntNE,  LLVMIntULT,
                                               LLVMIntULE, LLVMIntUGT, LLVMIntUGE};
    return LLVMBuildICmp(e->builder, (is_unsigned ? without : with_sign)[code - OP_eq], x, y, "");
}

static Scalar select_by(Emitter *e, OpCode compare, bool is_unsigned, Scalar x, Scalar y) {
    return LLVMBuildSelect(e->builder, compare_ints(e, compare, is_unsigned, x, y), x, y, "");
}

static Scalar int_op(Emitter *e, const Op *op, DType dtype, const Scalar *in) {
    LLVMBuilderRef b = e->builder;
    const bool is_unsigned = dtype_is_unsigned(dtype);
    ScalarType type = LLVMTypeOf(in[0]);
    Scalar x = in[0], y = in[1], no = LLVMConstInt(e->i1, 0, 0);
    switch (op->code) {
    case OP_add: return LLVMBuildAdd(b, x, y, "");
    case OP_sub: return LLVMBuildSub(b, x, y, "");
    case OP_mul: return LLVMBuildMul(b, x, y, "");
    case OP_div:
    case OP_rem: return divide(e, op->code, dtype, x, y);
    case OP_mulhi: return multiply_high(e, dtype, x, y);
    case OP_and: return LLVMBuildAnd(b, x, y, "");
    case OP_or: return LLVMBuildOr(b, x, y, "");
    case OP_xor: return LLVMBuildXor(b, x, y, "");
    case OP_shl:
    case OP_shr: return shift(e, op->code, dtype, x, y);
    case OP_min: return select_by(e, OP_lt, is_unsigned, x, y);
    case OP_max: return select_by(e, OP_gt, is_unsigned, x, y);
    case OP_clamp:
        return select_by(e, OP_lt, is_unsigned, select_by(e, OP_gt, is_unsigned, x, y), in[2]);
    case OP_abs: return is_unsigned ? x : INTRINSIC_OF(e, "llvm.abs", type, x, no);
    case OP_popcount: return INTRINSIC_OF(e, "llvm.ctpop", type, x);
    case OP_clz: return INTRINSIC_OF(e, "llvm.ctlz", type, x, no);
    case OP_bitreverse: return INTRINSIC_OF(e, "llvm.bitreverse", type, x);
    default: emit_fail(e, "no `%s` of %s", op_info(op)->name, dtype_name(dtype));
    }
}

/* ---- floats
 * -------------------------------------------------------------------------------------- */

static Scalar compare_floats(Emitter *e, OpCode code, Scalar x, Scalar y) {
    static const LLVMRealPredicate predicates[] = {LLVMRealOEQ, LLVMRealUNE, LLVMRealOLT,
                                                   LLVMRealOLE, LLVMRealOGT, LLVMRealOGE};
    return LLVMBuildFCmp(e->builder, predicates[code - OP_eq], x, y, "");
}

/* f32 has min and max with and without NaN; f64 only without. */
static Scalar extreme(Emitter *e, bool largest, bool nan, Scalar x, Scalar y) {
    ScalarType type = LLVMTypeOf(x);
    if (!nan || type == e->f64) {
        Scalar r = INTRINSIC_OF(e, largest ? "llvm.maxnum" : "llvm.minnum", type, x, y);
        if (!nan) return r;
        Scalar bad = LLVMBuildFCmp(e->builder, LLVMRealUNO, x, y, "");
        Scalar either = LLVMBuildFAdd(e->builder, x, y, "");
        return LLVMBuildSelect(e->builder, bad, either, r, "");
    }
    return INTRINSIC_OF(e, largest ? "llvm.maximum" : "llvm.minimum", type, x, y);
}

/* The next number after x towards y, on the bits. */
static Scalar next_after(Emitter *e, Scalar x, Scalar y) {
    LLVMBuilderRef b = e->builder;
    ScalarType type = LLVMTypeOf(x), bits = type == e->f64 ? e->i64 : e->i32;
    Scalar zero = LLVMConstNull(bits), one = LLVMConstInt(bits, 1, 0);
    Scalar sign = LLVMConstInt(bits, 1ull << (type == e->f64 ? 63 : 31), 0);
    Scalar xi = LLVMBuildBitCast(b, x, bits, ""), yi = LLVMBuildBitCast(b, y, bits, "");
    Scalar up = LLVMBuildFCmp(b, LLVMRealOLT, x, y, "");
    Scalar negative = LLVMBuildICmp(b, LLVMIntSLT, xi, zero, "");
    Scalar grows = LLVMBuildXor(b, up, negative, "");
    Scalar step = LLVMBuildSelect(b, grows, one, LLVMConstAllOnes(bits), "");
    Scalar moved = LLVMBuildAdd(b, xi, step, "");
    Scalar least = LLVMBuildOr(b, LLVMBuildAnd(b, yi, sign, ""), one, "");
    Scalar is_zero = LLVMBuildFCmp(b, LLVMRealOEQ, x, LLVMConstNull(type), "");
    moved = LLVMBuildSelect(b, is_zero, least, moved, "");
    Scalar equal = LLVMBuildFCmp(b, LLVMRealOEQ, x, y, "");
    moved = LLVMBuildSelect(b, equal, yi, moved, "");
    Scalar bad = LLVMBuildFCmp(b, LLVMRealUNO, x, y, "");
    Scalar either = LLVMBuildBitCast(b, LLVMBuildFAdd(b, x, y, ""), bits, "");
    return LLVMBuildBitCast(b, LLVMBuildSelect(b, bad, either, moved, ""), type, "");
}

static Scalar clamp(Emitter *e, const Op *op, const Scalar *in) {
    bool nan = op_int(op, ATTR_nan, 0) != 0;
    Scalar r = extreme(e, true, nan, in[0], in[1]);
    return extreme(e, false, nan, r, in[2]);
}

/* One op on floats of 32 or 64 bits, or those ops on 16 that round once by themselves. */
static Scalar float_op(Emitter *e, const Op *op, DType dtype, const Scalar *in) {
    LLVMBuilderRef b = e->builder;
    ScalarType type = LLVMTypeOf(in[0]);
    Scalar x = in[0], y = in[1];
    switch (op->code) {
    case OP_add: return contracted(LLVMBuildFAdd(b, x, y, ""));
    case OP_sub: return contracted(LLVMBuildFSub(b, x, y, ""));
    case OP_mul: return contracted(LLVMBuildFMul(b, x, y, ""));
    case OP_div: return LLVMBuildFDiv(b, x, y, "");
    case OP_rem: return LLVMBuildFRem(b, x, y, "");
    case OP_fma: return INTRINSIC_OF(e, "llvm.fma", type, x, y, in[2]);
    case OP_min: return extreme(e, false, false, x, y);
    case OP_max: return extreme(e, true, false, x, y);
    case OP_min_nan: return extreme(e, false, true, x, y);
    case OP_max_nan: return extreme(e, true, true, x, y);
    case OP_clamp: return clamp(e, op, in);
    case OP_abs: return INTRINSIC_OF(e, "llvm.fabs", type, x);
    case OP_copysign: return INTRINSIC_OF(e, "llvm.copysign", type, x, y);
    case OP_nextafter: return next_after(e, x, y);
    default: break;
    }
    Scalar r = op->operand_count == 1 ? emit_math(e, op->code, dtype, x) : NULL;
    if (!r) emit_fail(e, "no `%s` of %s on a GPU", op_info(op)->name, dtype_name(dtype));
    return r;
}

static bool rounds_itself(OpCode code, DType dtype) {
    if (dtype != DT_f16 && dtype != DT_bf16) return dtype == DT_f32 || dtype == DT_f64;
    return code == OP_add || code == OP_sub || code == OP_mul || code == OP_fma || code == OP_abs;
}

static Scalar any_float_op(Emitter *e, const Op *op, DType dtype, const Scalar *in) {
    const bool compares = op->code >= OP_eq && op->code <= OP_ge;
    Scalar wide[3];
    if (rounds_itself(op->code, dtype) || (compares && dtype == DT_f16))
        return compares ? compare_floats(e, op->code, in[0], in[1]) : float_op(e, op, dtype, in);
    for (uint32_t i = 0; i < op->operand_count; i++) wide[i] = to_f32(e, in[i], dtype);
    if (compares) return compare_floats(e, op->code, wide[0], wide[1]);
    return from_f32(e, float_op(e, op, DT_f32, wide), dtype, false);
}

/* ---- one element
 * ----------------------------------------------------------------------------------- */

static Scalar offset(Emitter *e, const Op *op, const Scalar *in) {
    const Type *pointer = type_element(op_operand(op, 0)->type);
    DType dtype = type_dtype(op_operand(op, 1)->type);
    Scalar index = LLVMBuildIntCast2(e->builder, in[1], e->i64, !dtype_is_unsigned(dtype), "");
    ScalarType step = memory_type(e, pointer->element);
    return LLVMBuildGEP2(e->builder, step, in[0], &index, 1, "");
}

static Scalar one_element(Emitter *e, const Op *op, const Scalar *in) {
    const Type *from = type_element(op_operand(op, 0)->type);
    const Type *to = type_element(op->results[0].type);
    switch (op->code) {
    case OP_select: return LLVMBuildSelect(e->builder, in[0], in[1], in[2], "");
    case OP_cast:
        if (from->kind == TYPE_POINTER || to->kind == TYPE_POINTER)
            return bitcast_one(e, in[0], from, to);
        return emit_cast_one(e, in[0], from->dtype, to->dtype,
                             op_word(op, ATTR_rounding, WORD_rtne) == WORD_rtz);
    case OP_bitcast: return bitcast_one(e, in[0], from, to);
    case OP_offset: return offset(e, op, in);
    default: break;
    }
    if (from->kind == TYPE_POINTER) return compare_ints(e, op->code, true, in[0], in[1]);
    if (dtype_is_float(from->dtype)) return any_float_op(e, op, from->dtype, in);
    if (op->code >= OP_eq && op->code <= OP_ge)
        return compare_ints(e, op->code, dtype_is_unsigned(from->dtype), in[0], in[1]);
    if (from->dtype == DT_i1 && (op->code == OP_add || op->code == OP_sub))
        return LLVMBuildXor(e->builder, in[0], in[1], "");
    return int_op(e, op, from->dtype, in);
}

/* ---- all elements
 * ------------------------------------------------------------------------------------ */

static uint64_t hash_operands(const Scalar *in, uint32_t count) {
    return hash_bytes(count, in, count * sizeof *in);
}

void emit_element_op(Emitter *e, const Op *op) {
    const uint32_t n = register_count(op->results[0].type), count = op->operand_count;
    const Scalar *operands[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < count; i++) operands[i] = emit_operand(e, op, i);
    Scalar *to = emit_result(e, op, 0);
    if (n == 1) {
        Scalar in[3] = {NULL, NULL, NULL};
        for (uint32_t i = 0; i < count; i++) in[i] = operands[i][0];
        to[0] = one_element(e, op, in);
        return;
    }
    uint32_t *slots = arena_array(e->arena, uint32_t, 2 * (size_t)n); /* register + 1 */
    for (uint32_t r = 0; r < n; r++) {
        Scalar in[3] = {NULL, NULL, NULL};
        for (uint32_t i = 0; i < count; i++) in[i] = operands[i][r];
        uint32_t at = (uint32_t)hash_operands(in, count) & (2 * n - 1);
        for (; slots[at]; at = (at + 1) & (2 * n - 1)) {
            bool same = true;
            for (uint32_t i = 0; i < count; i++) same &= operands[i][slots[at] - 1] == in[i];
            if (same) break;
        }
        if (slots[at]) {
            to[r] = to[slots[at] - 1];
            continue;
        }
        slots[at] = r + 1;
        to[r] = one_element(e, op, in);
    }
}
