/* canon_shape.c: rules for ops that move elements: two moves become one, moves that change nothing
 * go, and a block all of one value stays one in any shape. */
#include "compiler/passes/canon.h"

static Value *source_of(const Op *op, OpCode code) {
    Value *x = op_operand(op, 0);
    return x->op && x->op->code == code ? op_operand(x->op, 0) : NULL;
}

/* A uniform block in another shape. */
static Value *uniform_as(Canon *c, Op *op, const Value *x, const Type *type) {
    if (value_is_constant(x)) return canon_constant_like(c, op, x, type);
    Builder b = builder_at(c, op);
    Value *scalar = op_operand(x->op, 0);
    return type_is_block(type) ? canon_made(c, build_to(&b, OP_splat, scalar, type)) : scalar;
}

static Value *make(Canon *c, Op *op, OpCode code, Value *x) {
    Builder b = builder_at(c, op);
    return canon_made(c, build_to(&b, code, x, op_result(op, 0)->type));
}

static Value *reshape(Canon *c, Op *op) {
    Value *x = op_operand(op, 0);
    if (x->type == op_result(op, 0)->type) return x;
    OpCode code = x->op ? x->op->code : OP_COUNT;
    if (code != OP_reshape && code != OP_expand_dims) return NULL;
    bool reorder = op_int(op, ATTR_reorder, 0) || op_int(x->op, ATTR_reorder, 0);
    Value *made = make(c, op, OP_reshape, op_operand(x->op, 0));
    if (reorder) op_set_int(c->module, made->op, ATTR_reorder, 1);
    return made;
}

static Value *permute(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *inner = source_of(op, OP_permute);
    const Attribute *order = op_attribute(op, ATTR_order);
    bool same = true;
    for (uint32_t i = 0; i < order->count; i++) same &= order->ints[i] == i;
    if (same) return x;
    if (!inner) return NULL;
    const Attribute *first = op_attribute(x->op, ATTR_order);
    int64_t both[MAX_RANK];
    for (uint32_t i = 0; i < order->count; i++) both[i] = first->ints[order->ints[i]];
    Value *made = make(c, op, OP_permute, inner);
    op_set_ints(c->module, made->op, ATTR_order, order->count, both);
    return made;
}

static Value *join(Op *op) {
    Value *a = op_operand(op, 0), *b = op_operand(op, 1);
    if (!a->op || a->op != b->op || a->op->code != OP_split || a->index != 0 || b->index != 1)
        return NULL;
    return op_operand(a->op, 0);
}

static Value *extract(Canon *c, Op *op) {
    Value *x = op_operand(op, 0);
    OpCode code = x->op ? x->op->code : OP_COUNT;
    if (code != OP_reshape && code != OP_expand_dims && code != OP_permute && code != OP_broadcast)
        return NULL;
    return make(c, op, OP_extract, op_operand(x->op, 0));
}

static Value *arange(Canon *c, Op *op) {
    int64_t start = op_int(op, ATTR_start, 0);
    if (op_int(op, ATTR_end, 0) != start + 1) return NULL;
    Builder b = builder_at(c, op);
    return build_constant_int(&b, op_result(op, 0)->type, start);
}

Value *canon_shape(Canon *c, Op *op) {
    const Type *type = op_result(op, 0)->type;
    Value *x = op->operand_count ? op_operand(op, 0) : NULL;
    switch (op->code) {
    case OP_arange: return arange(c, op);
    case OP_splat: return value_is_constant(x) ? canon_constant_like(c, op, x, type) : NULL;
    case OP_broadcast:
        if (x->type == type) return x;
        if (value_is_uniform(x)) return uniform_as(c, op, x, type);
        x = source_of(op, OP_broadcast);
        return x ? make(c, op, OP_broadcast, x) : NULL;
    case OP_expand_dims: return value_is_uniform(x) ? uniform_as(c, op, x, type) : NULL;
    case OP_reshape: return value_is_uniform(x) ? uniform_as(c, op, x, type) : reshape(c, op);
    case OP_permute: return value_is_uniform(x) ? uniform_as(c, op, x, type) : permute(c, op);
    case OP_extract: return value_is_uniform(x) ? uniform_as(c, op, x, type) : extract(c, op);
    case OP_gather: return value_is_uniform(x) ? uniform_as(c, op, x, type) : NULL;
    case OP_join: return join(op);
    case OP_hint: return value_is_constant(x) ? x : NULL;
    default: return NULL;
    }
}
