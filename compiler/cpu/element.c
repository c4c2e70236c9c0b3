/* element.c: what each ELEMENT op does to registers, as eval.h states it.
 *
 * Narrow floats are widened to f32, computed and rounded once. Integer division never traps: the
 * divisor is replaced where it is 0 or -1. Vectors of short integers are divided as doubles, which
 * is exact.
 */
#include "compiler/cpu/emit.h"
#include "compiler/eval.h"

#include <assert.h>

static LLVMBuilderRef b_(const Emitter *e) {
    return e->b;
}

Reg code_constant(Emitter *e, const Op *op) {
    const Type *element = type_element(op->results[0].type);
    const Attribute *value = op_attribute(op, ATTR_value);
    const DType dtype = element->dtype;
    RegType type = reg_type(e, element);
    if (element->kind == TYPE_POINTER) return LLVMConstInt(type, (uint64_t)value->i, 0);
    const double x = value->is_float ? value->f : (double)value->i;
    if (dtype == DT_f32 || dtype == DT_f64) {
        Reg bits =
            LLVMConstInt(dtype == DT_f32 ? e->i32 : e->i64, eval_bits_from_number(dtype, value), 0);
        (void)x;
        return LLVMConstBitCast(bits, type);
    }
    return LLVMConstInt(type, eval_bits_from_number(dtype, value), 0);
}

/* ---- comparing ---------------------------------------------------------------------- */

static Reg compare(Emitter *e, OpCode code, DType dtype, Reg a, Reg b) {
    if (dtype_is_float(dtype)) {
        static const LLVMRealPredicate real[] = {
            [OP_eq] = LLVMRealOEQ, [OP_ne] = LLVMRealUNE, [OP_lt] = LLVMRealOLT,
            [OP_le] = LLVMRealOLE, [OP_gt] = LLVMRealOGT, [OP_ge] = LLVMRealOGE};
        return LLVMBuildFCmp(b_(e), real[code], a, b, "");
    }
    const bool u = dtype == DT_NONE || dtype_is_unsigned(dtype);
    LLVMIntPredicate p;
    switch (code) {
    case OP_eq: p = LLVMIntEQ; break;
    case OP_ne: p = LLVMIntNE; break;
    case OP_lt: p = u ? LLVMIntULT : LLVMIntSLT; break;
    case OP_le: p = u ? LLVMIntULE : LLVMIntSLE; break;
    case OP_gt: p = u ? LLVMIntUGT : LLVMIntSGT; break;
    default: p = u ? LLVMIntUGE : LLVMIntSGE; break;
    }
    return LLVMBuildICmp(b_(e), p, a, b, "");
}

static Reg is_nan(Emitter *e, Reg x) {
    return LLVMBuildFCmp(b_(e), LLVMRealUNO, x, x, "");
}

static RegType bits_type(Emitter *e, Reg x) {
    const bool f64 = LLVMTypeOf(extract_lane(e, x, 0)) == e->f64;
    return lanes_type(f64 ? e->i64 : e->i32, width_of(x));
}

static Reg quiet_nan(Emitter *e, Reg like) {
    Reg bits = LLVMConstNull(bits_type(e, like));
    const bool f64 = LLVMGetIntTypeWidth(LLVMTypeOf(extract_lane(e, bits, 0))) == 64;
    bits = const_int_like(bits, f64 ? 0x7fffffffffffffffu : 0x7fffffffu);
    return LLVMConstBitCast(bits, LLVMTypeOf(like));
}

/* The number when one is NaN, -0 below +0; with `nan`, NaN when one is. */
static Reg min_max_float(Emitter *e, bool max, bool nan, Reg a, Reg b) {
    LLVMBuilderRef x = e->b;
    if (e->avx512 && width_of(a) == 16 && LLVMTypeOf(extract_lane(e, a, 0)) == e->f32) {
        Reg one = LLVMConstAllOnes(e->i16);
        Reg operands[6] = {a, b, const_i32(e, max ? 5 : 4), a, one, const_i32(e, 4)};
        Reg r = call_overloaded(e, "llvm.x86.avx512.mask.range.ps.512", 0, NULL, 6, operands);
        if (!nan) return r;
        return LLVMBuildSelect(x, LLVMBuildFCmp(x, LLVMRealUNO, a, b, ""), quiet_nan(e, a), r, "");
    }
    RegType type = LLVMTypeOf(a), bits = bits_type(e, a);
    Reg before = LLVMBuildFCmp(x, max ? LLVMRealOGT : LLVMRealOLT, a, b, "");
    Reg take_a = LLVMBuildOr(x, before, is_nan(e, b), "");
    Reg r = LLVMBuildSelect(x, take_a, a, b, "");
    Reg ia = LLVMBuildBitCast(x, a, bits, ""), ib = LLVMBuildBitCast(x, b, bits, "");
    Reg both = max ? LLVMBuildAnd(x, ia, ib, "") : LLVMBuildOr(x, ia, ib, "");
    Reg equal = LLVMBuildFCmp(x, LLVMRealOEQ, a, b, "");
    r = LLVMBuildSelect(x, equal, LLVMBuildBitCast(x, both, type, ""), r, "");
    Reg wrong = nan ? LLVMBuildFCmp(x, LLVMRealUNO, a, b, "")
                    : LLVMBuildAnd(x, is_nan(e, a), is_nan(e, b), "");
    return LLVMBuildSelect(x, wrong, quiet_nan(e, a), r, "");
}

/* ---- integers ----------------------------------------------------------------------- */

static Reg min_max_int(Emitter *e, bool max, DType dtype, Reg a, Reg b) {
    Reg less = compare(e, max ? OP_gt : OP_lt, dtype, a, b);
    return LLVMBuildSelect(b_(e), less, a, b, "");
}

static Reg divide_as_double(Emitter *e, bool u, Reg a, Reg b) {
    RegType type = LLVMTypeOf(a), wide = lanes_type(e->f64, width_of(a));
    RegType word = lanes_type(e->i64, width_of(a));
    Reg x = u ? LLVMBuildUIToFP(e->b, a, wide, "") : LLVMBuildSIToFP(e->b, a, wide, "");
    Reg y = u ? LLVMBuildUIToFP(e->b, b, wide, "") : LLVMBuildSIToFP(e->b, b, wide, "");
    Reg q = LLVMBuildFDiv(e->b, x, y, "");
    return LLVMBuildTrunc(e->b, LLVMBuildFPToSI(e->b, q, word, ""), type, "");
}

/* By 0: all ones, and the dividend; INT_MIN by -1 wraps. */
static Reg divide(Emitter *e, bool rem, DType dtype, Reg a, Reg b) {
    LLVMBuilderRef x = e->b;
    const bool u = dtype_is_unsigned(dtype);
    Reg zero = LLVMConstNull(LLVMTypeOf(b)), one = const_int_like(b, 1);
    Reg by_zero = LLVMBuildICmp(x, LLVMIntEQ, b, zero, ""), bad = by_zero, minus = NULL;
    if (!u) {
        minus = LLVMBuildICmp(x, LLVMIntEQ, b, LLVMConstAllOnes(LLVMTypeOf(b)), "");
        bad = LLVMBuildOr(x, bad, minus, "");
    }
    Reg safe = LLVMBuildSelect(x, bad, one, b, ""), q;
    if (width_of(a) > 1 && dtype_size(dtype) <= 4 && dtype != DT_i1) {
        q = divide_as_double(e, u, a, safe);
        if (rem) q = LLVMBuildSub(x, a, LLVMBuildMul(x, q, safe, ""), "");
    } else if (u) {
        q = rem ? LLVMBuildURem(x, a, safe, "") : LLVMBuildUDiv(x, a, safe, "");
    } else {
        q = rem ? LLVMBuildSRem(x, a, safe, "") : LLVMBuildSDiv(x, a, safe, "");
    }
    if (minus) q = LLVMBuildSelect(x, minus, rem ? zero : LLVMBuildNeg(x, a, ""), q, "");
    return LLVMBuildSelect(x, by_zero, rem ? a : LLVMConstAllOnes(LLVMTypeOf(a)), q, "");
}

static Reg multiply_high(Emitter *e, DType dtype, Reg a, Reg b) {
    const uint32_t bits = dtype_bits(dtype);
    const bool u = dtype_is_unsigned(dtype);
    RegType type = LLVMTypeOf(a);
    RegType wide = lanes_type(LLVMIntTypeInContext(e->context, 2 * bits), width_of(a));
    Reg x = u ? LLVMBuildZExt(e->b, a, wide, "") : LLVMBuildSExt(e->b, a, wide, "");
    Reg y = u ? LLVMBuildZExt(e->b, b, wide, "") : LLVMBuildSExt(e->b, b, wide, "");
    Reg product = LLVMBuildMul(e->b, x, y, "");
    product = LLVMBuildLShr(e->b, product, const_int_like(product, bits), "");
    return LLVMBuildTrunc(e->b, product, type, "");
}

static Reg shift(Emitter *e, OpCode code, DType dtype, Reg a, Reg b) {
    const uint32_t bits = dtype_bits(dtype);
    const bool arithmetic = code == OP_shr && !dtype_is_unsigned(dtype);
    Reg most = const_int_like(b, bits - 1);
    Reg beyond = LLVMBuildICmp(e->b, LLVMIntUGT, b, most, "");
    Reg count = LLVMBuildSelect(e->b, beyond, most, b, "");
    if (arithmetic) return LLVMBuildAShr(e->b, a, count, "");
    Reg r = code == OP_shl ? LLVMBuildShl(e->b, a, count, "") : LLVMBuildLShr(e->b, a, count, "");
    return LLVMBuildSelect(e->b, beyond, LLVMConstNull(LLVMTypeOf(a)), r, "");
}

static Reg int_binary(Emitter *e, OpCode code, DType dtype, Reg a, Reg b) {
    LLVMBuilderRef x = e->b;
    switch (code) {
    case OP_add: return LLVMBuildAdd(x, a, b, "");
    case OP_sub: return LLVMBuildSub(x, a, b, "");
    case OP_mul: return LLVMBuildMul(x, a, b, "");
    case OP_and: return LLVMBuildAnd(x, a, b, "");
    case OP_or: return LLVMBuildOr(x, a, b, "");
    case OP_xor: return LLVMBuildXor(x, a, b, "");
    case OP_div: return divide(e, false, dtype, a, b);
    case OP_rem: return divide(e, true, dtype, a, b);
    case OP_mulhi: return multiply_high(e, dtype, a, b);
    case OP_shl:
    case OP_shr: return shift(e, code, dtype, a, b);
    case OP_min: return min_max_int(e, false, dtype, a, b);
    case OP_max: return min_max_int(e, true, dtype, a, b);
    default: return compare(e, code, dtype, a, b);
    }
}

/* ---- floats ------------------------------------------------------------------------- */

static Reg float_binary(Emitter *e, OpCode code, DType dtype, Reg a, Reg b) {
    LLVMBuilderRef x = e->b;
    Reg operands[2] = {a, b};
    switch (code) {
    case OP_add: return LLVMBuildFAdd(x, a, b, "");
    case OP_sub: return LLVMBuildFSub(x, a, b, "");
    case OP_mul: return LLVMBuildFMul(x, a, b, "");
    case OP_div: return LLVMBuildFDiv(x, a, b, "");
    case OP_min:
    case OP_max: return min_max_float(e, code == OP_max, false, a, b);
    case OP_min_nan:
    case OP_max_nan: return min_max_float(e, code == OP_max_nan, true, a, b);
    case OP_eq:
    case OP_ne:
    case OP_lt:
    case OP_le:
    case OP_gt:
    case OP_ge: return compare(e, code, dtype, a, b);
    default: return code_math(e, code, dtype, operands);
    }
}

static bool is_narrow(DType dtype) {
    return dtype_is_float(dtype) && dtype_size(dtype) < 4;
}

static bool is_comparison(OpCode code) {
    return code >= OP_eq && code <= OP_ge;
}

Reg code_binary(Emitter *e, OpCode code, DType dtype, Reg a, Reg b) {
    Reg all[2] = {a, b};
    same_width(e, 2, all);
    if (dtype == DT_NONE || dtype_is_int(dtype)) return int_binary(e, code, dtype, all[0], all[1]);
    if (!is_narrow(dtype)) return float_binary(e, code, dtype, all[0], all[1]);
    for (int i = 0; i < 2; i++) all[i] = widen_to_f32(e, dtype, all[i]);
    Reg r = float_binary(e, code, DT_f32, all[0], all[1]);
    return is_comparison(code) ? r : narrow_from_f32(e, dtype, false, r);
}

static Reg absolute(Emitter *e, DType dtype, Reg x) {
    if (dtype_is_unsigned(dtype)) return x;
    if (!dtype_is_float(dtype)) {
        Reg negative = LLVMBuildICmp(e->b, LLVMIntSLT, x, LLVMConstNull(LLVMTypeOf(x)), "");
        return LLVMBuildSelect(e->b, negative, LLVMBuildNeg(e->b, x, ""), x, "");
    }
    return call_intrinsic(e, "llvm.fabs", 1, &x);
}

static Reg bit_op(Emitter *e, OpCode code, DType dtype, Reg x) {
    if (dtype == DT_i1) return code == OP_clz ? LLVMBuildNot(e->b, x, "") : x;
    if (code == OP_popcount) return call_intrinsic(e, "llvm.ctpop", 1, &x);
    if (code == OP_bitreverse) return call_intrinsic(e, "llvm.bitreverse", 1, &x);
    Reg operands[2] = {x, LLVMConstInt(e->i1, 0, 0)};
    return call_intrinsic(e, "llvm.ctlz", 2, operands);
}

/* max(x, low), then min(.., high); with nan a NaN x stays. */
static Reg clamp(Emitter *e, const Op *op, DType dtype, Reg *x) {
    Reg r = code_binary(e, OP_min, dtype, code_binary(e, OP_max, dtype, x[0], x[1]), x[2]);
    if (!dtype_is_float(dtype) || !op_int(op, ATTR_nan, 0)) return r;
    Reg nan = code_binary(e, OP_ne, dtype, x[0], x[0]);
    Reg all[3] = {nan, x[0], r};
    same_width(e, 3, all);
    return LLVMBuildSelect(e->b, all[0], all[1], all[2], "");
}

/* f16 and such: the exact product in f64, a sum rounded to odd, so that one rounding follows. */
static Reg fma_narrow(Emitter *e, DType dtype, Reg *x) {
    Reg wide[3];
    for (int i = 0; i < 3; i++)
        wide[i] = code_cast(e, DT_f32, DT_f64, false, widen_to_f32(e, dtype, x[i]));
    LLVMBuilderRef b = e->b;
    Reg product = LLVMBuildFMul(b, wide[0], wide[1], ""), c = wide[2];
    Reg sum = LLVMBuildFAdd(b, product, c, "");
    Reg part = LLVMBuildFSub(b, sum, product, "");
    Reg error = LLVMBuildFAdd(b, LLVMBuildFSub(b, product, LLVMBuildFSub(b, sum, part, ""), ""),
                              LLVMBuildFSub(b, c, part, ""), "");
    RegType bits = bits_type(e, sum);
    Reg i = LLVMBuildBitCast(b, sum, bits, ""), zero = LLVMConstNull(LLVMTypeOf(sum));
    Reg odd = LLVMBuildTrunc(b, i, lanes_type(e->i1, width_of(i)), "");
    Reg inexact = LLVMBuildFCmp(b, LLVMRealONE, error, zero, "");
    Reg up = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildFCmp(b, LLVMRealOGT, error, zero, ""),
                           LLVMBuildFCmp(b, LLVMRealOGT, sum, zero, ""), "");
    Reg moved = LLVMBuildAdd(
        b, i, LLVMBuildSelect(b, up, const_int_like(i, 1), LLVMConstAllOnes(bits), ""), "");
    Reg move = LLVMBuildAnd(b, inexact, LLVMBuildNot(b, odd, ""), "");
    sum = LLVMBuildBitCast(b, LLVMBuildSelect(b, move, moved, i, ""), LLVMTypeOf(sum), "");
    return code_cast(e, DT_f64, dtype, false, sum);
}

static Reg code_select(Emitter *e, Reg *x) {
    same_width(e, 3, x);
    return LLVMBuildSelect(e->b, x[0], x[1], x[2], "");
}

static Reg code_offset(Emitter *e, const Op *op, Reg *x) {
    const uint64_t size = type_element_size(type_element(op_operand(op, 0)->type)->element);
    const DType dtype = type_dtype(op_operand(op, 1)->type);
    RegType wide = lanes_type(e->i64, width_of(x[1]));
    Reg by = x[1];
    if (LLVMTypeOf(by) != wide)
        by = dtype_is_unsigned(dtype) ? LLVMBuildZExt(e->b, by, wide, "")
                                      : LLVMBuildSExt(e->b, by, wide, "");
    Reg all[2] = {x[0], LLVMBuildMul(e->b, by, const_int_like(by, size), "")};
    same_width(e, 2, all);
    return LLVMBuildAdd(e->b, all[0], all[1], "");
}

static Reg float_function(Emitter *e, const Op *op, DType dtype, Reg *x) {
    same_width(e, op->operand_count, x);
    if (!is_narrow(dtype)) return code_math(e, op->code, dtype, x);
    for (uint32_t i = 0; i < op->operand_count; i++) x[i] = widen_to_f32(e, dtype, x[i]);
    return narrow_from_f32(e, dtype, false, code_math(e, op->code, DT_f32, x));
}

Reg code_element(Emitter *e, const Op *op, Reg *x) {
    const Type *type = op_operand(op, op->code == OP_select ? 1 : 0)->type;
    const DType dtype = type_dtype(type), to = type_dtype(op_result(op, 0)->type);
    switch (op->code) {
    case OP_select: return code_select(e, x);
    case OP_offset: return code_offset(e, op, x);
    case OP_cast:
        return code_cast(e, dtype, to, op_word(op, ATTR_rounding, WORD_rtne) == WORD_rtz, x[0]);
    case OP_bitcast: {
        RegType wanted = lanes_type(reg_type(e, type_element(op->results[0].type)), width_of(x[0]));
        return LLVMTypeOf(x[0]) == wanted ? x[0] : LLVMBuildBitCast(e->b, x[0], wanted, "");
    }
    case OP_hint: return x[0];
    case OP_abs:
        if (!is_narrow(dtype)) return absolute(e, dtype, x[0]);
        return narrow_from_f32(e, dtype, false, absolute(e, DT_f32, widen_to_f32(e, dtype, x[0])));
    case OP_popcount:
    case OP_clz:
    case OP_bitreverse: return bit_op(e, op->code, dtype, x[0]);
    case OP_clamp: return clamp(e, op, dtype, x);
    case OP_fma:
        same_width(e, 3, x);
        return is_narrow(dtype) ? fma_narrow(e, dtype, x) : call_intrinsic(e, "llvm.fma", 3, x);
    default: break;
    }
    if (op->operand_count == 2 && (op->code < OP_exp || op->code > OP_nextafter))
        return code_binary(e, op->code, dtype, x[0], x[1]);
    return float_function(e, op, dtype, x);
}
