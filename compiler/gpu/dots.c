/* dots.c: before layouts, dots that no instruction does become dots that one does.
 *
 *   dot_scaled   its operands are unpacked and scaled in bf16, which holds each product of an fp4
 * or fp8 number and a power of two exactly; f16 operands in f32 fp8          where the target has
 * no fp8 mma: cast to f16, which holds both formats
 */
#include "compiler/gpu/lay.h"

typedef struct Dots {
    Module *module;
    const GpuTarget *target;
} Dots;

static Value *cast(Builder *b, Value *x, DType dtype) {
    const Type *type = type_with_dtype(&b->module->types, x->type, dtype);
    return x->type == type ? x : build_to(b, OP_cast, x, type);
}

static Value *bitcast(Builder *b, Value *x, DType dtype) {
    const Type *type = type_with_dtype(&b->module->types, x->type, dtype);
    return x->type == type ? x : build_to(b, OP_bitcast, x, type);
}

static void widen_fp8(const Dots *d, Op *op) {
    DType a = type_dtype(op_operand(op, 0)->type), b = type_dtype(op_operand(op, 1)->type);
    bool odd = a == DT_f8e4m3b15 || b == DT_f8e4m3b15;
    if (!dtype_is_fp8(a) || (!odd && d->target && (d->target->mma & MMA_FP8))) return;
    Builder build = {d->module, op->parent, op, op->at};
    for (uint32_t i = 0; i < 2; i++) op_set_operand(op, i, cast(&build, op_operand(op, i), DT_f16));
}

/* ---- dot_scaled -------------------------------------------------------------------------- */

static Value *block_of(Builder *b, const Type *like, int64_t number) {
    return build_constant_int(b, like, number);
}

/* Four bits of e2m1 in an i16 -> bf16: sign, 2 bits of exponent (bias 1), 1 of mantissa. Placed as
 * a bf16 they are 2^-126 of the value, the smallest one a subnormal; a product makes up for it. */
static Value *from_e2m1(Builder *b, Value *code) {
    const Type *t = code->type;
    Value *sign = build_binary(b, OP_shl, build_binary(b, OP_and, code, block_of(b, t, 8)),
                               block_of(b, t, 12));
    Value *rest = build_binary(b, OP_shl, build_binary(b, OP_and, code, block_of(b, t, 7)),
                               block_of(b, t, 6));
    Value *tiny = bitcast(b, build_binary(b, OP_or, sign, rest), DT_bf16);
    Value *wide = cast(b, tiny, DT_f32);
    Value *factor = build_constant_float(b, wide->type, 0x1p126);
    return cast(b, build_binary(b, OP_mul, wide, factor), DT_bf16);
}

/* Bytes with two codes each -> a last dim (right: the one before it) twice as long, low code first.
 */
static Value *unpack_e2m1(Builder *b, Value *packed, bool right) {
    Types *types = &b->module->types;
    uint32_t r = packed->type->rank;
    int64_t swap[MAX_RANK];
    uint32_t shape[MAX_RANK];
    for (uint32_t d = 0; d < r; d++) swap[d] = d;
    swap[r - 1] = r - 2, swap[r - 2] = r - 1;
    for (uint32_t d = 0; d < r; d++) shape[d] = packed->type->shape[right ? (uint32_t)swap[d] : d];
    Value *x = packed;
    if (right) {
        x = build_to(b, OP_permute, x, type_block(types, x->type->element, r, shape));
        op_set_ints(b->module, x->op, ATTR_order, r, swap);
    }
    x = cast(b, bitcast(b, x, DT_u8), DT_i16);
    Value *low = from_e2m1(b, x);
    Value *high = from_e2m1(b, build_binary(b, OP_shr, x, block_of(b, x->type, 4)));
    shape[r] = 2;
    const Type *joined = type_block(types, low->type->element, r + 1, shape);
    Op *join = build_op(b, OP_join, 2, (Value *[]){low, high}, 1, &joined);
    shape[r - 1] *= 2;
    Value *all =
        build_to(b, OP_reshape, &join->results[0], type_block(types, low->type->element, r, shape));
    if (!right) return all;
    uint32_t back[MAX_RANK];
    for (uint32_t d = 0; d < r; d++) back[d] = shape[swap[d]];
    all = build_to(b, OP_permute, all, type_block(types, low->type->element, r, back));
    op_set_ints(b->module, all->op, ATTR_order, r, swap);
    return all;
}

/* scale [.., rows, k / 32] of u8 -> 2^(code - 127) as f32 [.., rows, k] (right: [.., k, rows]). */
static Value *scales(Builder *b, Value *scale, bool right) {
    Types *types = &b->module->types;
    uint32_t r = scale->type->rank, shape[MAX_RANK];
    Value *code = cast(b, bitcast(b, scale, DT_u8), DT_i32);
    Value *bits = build_binary(b, OP_shl, code, block_of(b, code->type, 23));
    Value *power = bitcast(b, bits, DT_f32);
    /* 0: 2^-127, a subnormal of f32; 255: NaN */
    Value *zero = build_binary(b, OP_eq, code, block_of(b, code->type, 0));
    Value *none = build_binary(b, OP_eq, code, block_of(b, code->type, 255));
    power =
        build_ternary(b, OP_select, zero, build_constant_float(b, power->type, 0x1p-127), power);
    power = build_ternary(b, OP_select, none,
                          build_constant_float(b, power->type, __builtin_nan("")), power);
    memcpy(shape, scale->type->shape, sizeof shape);
    shape[r] = 1;
    Value *x =
        build_to(b, OP_expand_dims, power, type_block(types, power->type->element, r + 1, shape));
    op_set_int(b->module, x->op, ATTR_axis, r);
    shape[r] = 32;
    x = build_to(b, OP_broadcast, x, type_block(types, power->type->element, r + 1, shape));
    shape[r - 1] *= 32;
    x = build_to(b, OP_reshape, x, type_block(types, power->type->element, r, shape));
    if (!right) return x;
    int64_t swap[MAX_RANK];
    for (uint32_t d = 0; d < r; d++) swap[d] = d;
    swap[r - 1] = r - 2, swap[r - 2] = r - 1;
    uint32_t back[MAX_RANK];
    for (uint32_t d = 0; d < r; d++) back[d] = shape[swap[d]];
    x = build_to(b, OP_permute, x, type_block(types, power->type->element, r, back));
    op_set_ints(b->module, x->op, ATTR_order, r, swap);
    return x;
}

static Value *unpacked(Builder *b, Value *data, Value *scale, Word format, bool right, DType to) {
    Value *x;
    switch (format) {
    case WORD_e2m1: x = unpack_e2m1(b, data, right); break;
    case WORD_e4m3: x = bitcast(b, data, DT_f8e4m3); break;
    case WORD_e5m2: x = bitcast(b, data, DT_f8e5m2); break;
    default: x = data;
    }
    return cast(b, build_binary(b, OP_mul, cast(b, x, DT_f32), scales(b, scale, right)), to);
}

static void lower_scaled(const Dots *d, Op *op) {
    Builder b = {d->module, op->parent, op, op->at};
    Word fa = op_word(op, ATTR_a_format, WORD_none), fb = op_word(op, ATTR_b_format, WORD_none);
    Value *c = op_operand(op, 4);
    bool wide = fa == WORD_fp16 || fb == WORD_fp16;
    DType to = wide ? DT_f32 : DT_bf16, sum = type_dtype(c->type);
    Value *x = unpacked(&b, op_operand(op, 0), op_operand(op, 1), fa, false, to);
    Value *y = unpacked(&b, op_operand(op, 2), op_operand(op, 3), fb, true, to);
    Value *start = cast(&b, c, DT_f32);
    Op *dot = build_op(&b, OP_dot, 3, (Value *[]){x, y, start}, 1, &start->type);
    if (wide) op_set_word(d->module, dot, ATTR_precision, WORD_ieee);
    value_replace(&op->results[0], cast(&b, &dot->results[0], sum));
    op_remove(op);
}

static void visit(Op *op, void *context) {
    const Dots *d = context;
    if (op->code == OP_dot) widen_fp8(d, op);
    if (op->code == OP_dot_scaled) lower_scaled(d, op);
}

void lay_prepare_dots(Module *module, const GpuTarget *target) {
    Dots d = {module, target};
    region_walk(module->kernel->body, visit, &d);
}
