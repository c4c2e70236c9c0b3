/* dot.c: matrix products by register tiles.
 *
 * Operands are converted once and laid out for the inner loop (dot_pack.c), which keeps a tile of
 * results in registers for all of k (dot_tile.c). An operand that is made before a loop is packed
 * before that loop.
 *
 * What is multiplied, and how a result rounds:
 *
 *     f32, f64     as such; sums run upwards in k, with fused multiply-adds. tf32: rounded first
 *     f16          widened to f32: the interpreter's bits
 *     fp8          widened to bf16, which is exact, where the machine multiplies pairs of bf16;
 *                  elsewhere to f32. Products are exact in f32 either way: sums round only
 *     bf16         likewise, with one difference where the machine multiplies pairs: operands and
 *                  sums below 2^-126 are taken for zero. With {precision = ieee}: f32, always
 *     i8           as quads where the machine has them: it takes one side without sign, so 128 is
 *                  added to a, and 128 times the sums of the columns of b are subtracted: exact
 *     i8, u8, i16  as pairs of i16 where the machine has those, else i32: exact, wrapping
 */
#include "compiler/cpu/dot.h"

/* ---- what to multiply --------------------------------------------------------------- */

static bool fits_i16(DType dtype) {
    return dtype == DT_i8 || dtype == DT_u8 || dtype == DT_i16;
}

static bool is_short_float(DType dtype) {
    return dtype == DT_bf16 || dtype_is_fp8(dtype);
}

/* Pairs or quads, where the machine has them and there are such. */
static DotKind units_or(Emitter *e, const Op *op, DotKind kind) {
    const Type *a = op_operand(op, 0)->type, *b = op_operand(op, 1)->type;
    const DType da = type_dtype(a), db = type_dtype(b);
    const uint32_t k = a->shape[a->rank - 1], n = b->shape[b->rank - 1];
    if (op->code != OP_dot || k < 2 || n < 4) return kind;
    if (kind == DOT_I32 && e->i8_quads && da == DT_i8 && db == DT_i8 && k >= 4) return DOT_I8_QUADS;
    if (kind == DOT_I32 && e->i16_pairs && fits_i16(da) && fits_i16(db)) return DOT_I16_PAIRS;
    const bool exact = da == DT_bf16 && op_word(op, ATTR_precision, WORD_tf32) == WORD_ieee;
    if (kind == DOT_F32 && e->bf16_pairs && is_short_float(da) && is_short_float(db) && !exact)
        return DOT_BF16_PAIRS;
    return kind;
}

static void set_types(Dot *d) {
    static const DType wide[] = {
        [DOT_F32] = DT_f32,         [DOT_F64] = DT_f64,       [DOT_I32] = DT_i32,
        [DOT_BF16_PAIRS] = DT_bf16, [DOT_I16_PAIRS] = DT_i16, [DOT_I8_QUADS] = DT_i8};
    Emitter *e = d->e;
    const bool whole = dtype_is_int(wide[d->kind]);
    d->wide = wide[d->kind];
    d->sum = whole ? DT_i32 : d->kind == DOT_F64 ? DT_f64 : DT_f32;
    d->type = whole ? e->i32 : d->kind == DOT_F64 ? e->f64 : e->f32;
    d->size = dtype_size(d->sum);
    d->per_unit = d->size / dtype_size(d->wide);
    d->unit = d->per_unit > 1 ? e->i32 : d->type;
}

Dot dot_new(Emitter *e, const Op *op, uint32_t packed_a) {
    const Type *a = op_operand(op, 0)->type, *c = op_result(op, 0)->type;
    const uint32_t r = a->rank;
    const DType da = type_dtype(a), dc = type_dtype(c);
    Dot d = {.e = e, .op = op};
    const bool scaled = op->code == OP_dot_scaled;
    d.kind = scaled                         ? DOT_F32
             : dtype_is_int(dc)             ? DOT_I32
             : dc == DT_f64 || da == DT_f64 ? DOT_F64
                                            : DOT_F32;
    d.kind = units_or(e, op, d.kind);
    set_types(&d);
    d.batch = r == 3 ? a->shape[0] : 1;
    d.m = a->shape[r - 2];
    d.k = a->shape[r - 1] * packed_a / d.per_unit;
    d.n = c->shape[r - 1];
    const uint32_t lanes = e->vector_bytes / d.size;
    d.width = d.n < lanes ? d.n : lanes;
    d.vectors = d.n >= 2 * d.width ? 2 : 1;
    d.rows = e->avx512 ? 8 : 4;
    if (d.m < d.rows) d.rows = d.m;
    d.tf32 = !scaled && da == DT_f32 && d.kind == DOT_F32 &&
             op_word(op, ATTR_precision, WORD_tf32) == WORD_tf32;
    return d;
}

/* ---- addresses ---------------------------------------------------------------------- */

Reg dot_unit_at(const Dot *d, uint64_t slot, Reg index) {
    Reg offset = LLVMBuildMul(d->e->b, index, const_i64(d->e, d->size), "");
    return byte_offset(d->e, slot_pointer(d->e, slot), offset);
}

Reg dot_mul_add(Emitter *e, Reg a, uint64_t factor, Reg b) {
    return LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a, const_i64(e, (int64_t)factor), ""), b, "");
}

uint64_t dot_bytes(const Dot *d, uint64_t units) {
    return (units * d->size + 63) / 64 * 64;
}

/* ---- the result --------------------------------------------------------------------- */

static bool is_zero(const Value *v) {
    if (!value_is_constant(v)) return false;
    const Attribute *value = op_attribute(v->op, ATTR_value);
    return value->is_float ? value->f == 0 && !__builtin_signbit(value->f) : value->i == 0;
}

/* Only element by element, at the same place. */
static bool reads_here(Emitter *e, const Value *v, const Value *carried, bool here, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    if (v == carried) return here;
    if (!type_is_block(v->type) || info->ready || !v->op) return true;
    if (info->mark == walk + 1 || (info->mark == walk && here)) return true;
    info->mark = here ? walk : walk + 1;
    const bool same = here && op_is(v->op, OPF_ELEMENT);
    for (uint32_t i = 0; i < v->op->operand_count; i++)
        if (!reads_here(e, op_operand(v->op, i), carried, same, walk)) return false;
    return true;
}

/* When the result is all that becomes of a carried block, it is written over it. */
static bool use_carried_slot(Emitter *e, const Op *op) {
    const Value *result = op_result(op, 0);
    const Use *use = result->uses;
    if (!use || use->next || use->user->code != OP_yield) return false;
    const Op *loop = use->user->parent->parent;
    if (!loop || loop->code != OP_for || op->parent != loop->regions[0]) return false;
    const Value *carried = loop->regions[0]->arguments[use_index(use) + 1];
    const ValueInfo *from = info_of(e, carried);
    if (!from->ready || is_needed_after(e, carried, op)) return false;
    e->walk += 2;
    if (!reads_here(e, op_operand(op, op->operand_count - 1), carried, true, e->walk)) return false;
    ValueInfo *info = info_of(e, result);
    info->slot = from->slot;
    info->has_slot = true;
    return true;
}

static void convert_slot(const Dot *d, DType from, uint64_t from_slot, DType to, uint64_t to_slot) {
    Emitter *e = d->e;
    const Type *shape = op_result(d->op, 0)->type;
    const Type *in = type_with_dtype(&e->module->types, shape, from);
    const Type *out = type_with_dtype(&e->module->types, shape, to);
    Nest nest;
    nest_open(&nest, e, shape, shape->rank - 1, usual_width(e, shape, shape->rank - 1));
    Reg x = slot_read(e, in, from_slot, &nest.place, nest.width);
    slot_write(e, out, to_slot, &nest.place, code_cast(e, from, to, false, x), nest.width);
    nest_close(&nest);
}

void dot_finish(const Dot *d, const Pack *a, const Pack *b, const Value *c) {
    Emitter *e = d->e;
    const Value *result = op_result(d->op, 0);
    const DType dtype = type_dtype(result->type);
    const bool direct = dtype == d->sum || (d->sum == DT_i32 && dtype == DT_u32);
    const bool zero = is_zero(c);
    if (!use_carried_slot(e, d->op)) give_slot(e, result);
    ValueInfo *info = info_of(e, result);
    const uint64_t bytes = dot_bytes(d, result->type->count);
    const uint64_t sums = direct ? info->slot : slot_alloc(e, bytes);
    if (!zero && !(info_of(e, c)->ready && info_of(e, c)->slot == info->slot))
        materialise(e, 1, &c, &info->slot);
    if (!zero && !direct) convert_slot(d, dtype, info->slot, d->sum, sums);
    dot_multiply(d, a, b, sums, zero);
    if (!direct) {
        convert_slot(d, d->sum, sums, dtype, info->slot);
        slot_free(e, sums, bytes);
    }
    if (a->owned) slot_free(e, a->slot, a->bytes);
    if (b->owned) slot_free(e, b->slot, b->bytes);
    info->ready = true;
}

void code_dot(Emitter *e, const Op *op) {
    const Dot d = dot_new(e, op, 1);
    const Pack a = dot_operand(&d, 0), b = dot_operand(&d, 1);
    dot_finish(&d, &a, &b, op_operand(op, 2));
}
