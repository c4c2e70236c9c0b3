/* dot_scaled.c: products of blocks with scales (microscaling formats): each element times the scale
 * of its group of 32, in f32; one element at a time, then as any dot. */
#include "compiler/cpu/dot.h"

static Reg scaled_element(const Dot *d, Word format, DType dtype, Reg x, Reg k) {
    Emitter *e = d->e;
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    (void)dtype;
    switch (format) {
    case WORD_e4m3: return widen_to_f32(e, DT_f8e4m3, x);
    case WORD_e5m2: return widen_to_f32(e, DT_f8e5m2, x);
    case WORD_bf16: return widen_to_f32(e, DT_bf16, x);
    case WORD_fp16: return widen_to_f32(e, DT_f16, x);
    default: break;
    }
    Reg table[8];
    for (int i = 0; i < 8; i++) table[i] = LLVMConstReal(e->f32, (double)e2m1[i]);
    Reg odd = LLVMBuildTrunc(e->b, k, e->i1, "");
    Reg high = LLVMBuildLShr(e->b, x, LLVMConstInt(e->i8, 4, 0), "");
    Reg code = LLVMBuildSelect(e->b, odd, high, x, "");
    Reg index = LLVMBuildAnd(e->b, code, LLVMConstInt(e->i8, 7, 0), "");
    Reg value = LLVMBuildExtractElement(e->b, LLVMConstVector(table, 8), index, "");
    Reg sign = LLVMBuildAnd(e->b, code, LLVMConstInt(e->i8, 8, 0), "");
    Reg minus = LLVMBuildICmp(e->b, LLVMIntNE, sign, LLVMConstInt(e->i8, 0, 0), "");
    return LLVMBuildSelect(e->b, minus, LLVMBuildFNeg(e->b, value, ""), value, "");
}

static Reg scale_value(Emitter *e, Reg code) {
    Reg wide = LLVMBuildZExt(e->b, code, e->i32, "");
    Reg bits = LLVMBuildShl(e->b, wide, const_i32(e, 23), "");
    Reg zero = LLVMBuildICmp(e->b, LLVMIntEQ, wide, const_i32(e, 0), "");
    Reg nan = LLVMBuildICmp(e->b, LLVMIntEQ, wide, const_i32(e, 255), "");
    bits = LLVMBuildSelect(e->b, zero, const_i32(e, 0x00400000), bits, "");
    bits = LLVMBuildSelect(e->b, nan, const_i32(e, 0x7fffffff), bits, "");
    return LLVMBuildBitCast(e->b, bits, e->f32, "");
}

static void pack_scaled(const Dot *d, bool is_b, Word format, const Value *data, const Value *scale,
                        uint64_t slot) {
    Emitter *e = d->e;
    const uint32_t lines = is_b ? d->n : d->m, panel = dot_panel(d);
    force(e, data);
    force(e, scale);
    Loop batch, line, k;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &line, const_i64(e, lines), 1, 0, NULL);
    loop_open(e, &k, const_i64(e, d->k), 1, 0, NULL);
    Reg element = k.index;
    if (format == WORD_e2m1) element = LLVMBuildLShr(e->b, element, const_i64(e, 1), "");
    Reg group = LLVMBuildLShr(e->b, k.index, const_i64(e, 5), "");
    const uint32_t r = data->type->rank;
    Place at = {.rank = r}, scale_at = {.rank = r};
    at.at[0] = scale_at.at[0] = (Coord){COORD_ONE, true, batch.index};
    at.at[r - 2] = (Coord){COORD_ONE, true, is_b ? element : line.index};
    at.at[r - 1] = (Coord){COORD_ONE, true, is_b ? line.index : element};
    scale_at.at[r - 2] = (Coord){COORD_ONE, true, line.index};
    scale_at.at[r - 1] = (Coord){COORD_ONE, true, group};
    Reg x = slot_read(e, data->type, info_of(e, data)->slot, &at, 1);
    x = scaled_element(d, format, type_dtype(data->type), x, k.index);
    Reg s = slot_read(e, scale->type, info_of(e, scale)->slot, &scale_at, 1);
    x = LLVMBuildFMul(e->b, x, scale_value(e, s), "");
    Reg to;
    if (is_b) {
        const uint64_t shift = (uint64_t)__builtin_ctz(panel);
        Reg number = LLVMBuildLShr(e->b, line.index, const_i64(e, (int64_t)shift), "");
        number = dot_mul_add(e, batch.index, d->n / panel, number);
        Reg rest = LLVMBuildAnd(e->b, line.index, const_i64(e, panel - 1), "");
        to = dot_mul_add(e, dot_mul_add(e, number, d->k, k.index), panel, rest);
    } else {
        to = dot_mul_add(e, dot_mul_add(e, batch.index, d->m, line.index), d->k, k.index);
    }
    store_reg(e, x, dot_unit_at(d, slot, to), d->size);
    loop_close(e, &k);
    loop_close(e, &line);
    loop_close(e, &batch);
}

void code_dot_scaled(Emitter *e, const Op *op) {
    const Word fa = op_word(op, ATTR_a_format, WORD_none),
               fb = op_word(op, ATTR_b_format, WORD_none);
    const Dot d = dot_new(e, op, fa == WORD_e2m1 ? 2 : 1);
    Pack a = {.owned = true, .pitch = d.k};
    Pack b = {.owned = true, .is_b = true, .panel = dot_panel(&d)};
    a.bytes = dot_bytes(&d, (uint64_t)d.batch * d.m * d.k);
    b.bytes = dot_bytes(&d, (uint64_t)d.batch * d.n * d.k);
    a.slot = slot_alloc(e, a.bytes);
    b.slot = slot_alloc(e, b.bytes);
    pack_scaled(&d, false, fa, op_operand(op, 0), op_operand(op, 1), a.slot);
    pack_scaled(&d, true, fb, op_operand(op, 2), op_operand(op, 3), b.slot);
    dot_finish(&d, &a, &b, op_operand(op, 4));
}
