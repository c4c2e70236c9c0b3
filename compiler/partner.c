/* partner.c: how a gather's index is made, from the index back to the range. */
#include "compiler/partner.h"

/* The dim of a block that has all its elements; the rank when there is none. */
static uint32_t only_dim(const Type *type) {
    uint32_t d = 0;
    while (d < type->rank && type->shape[d] != type->count) d++;
    return d;
}

/* The operand that is looked through, and its dim that is `axis` of the result; NULL: none is. */
static const Value *behind(const Op *op, uint32_t *axis) {
    const Value *from = op_operand(op, 0);
    const Type *to = op->results[0].type;
    uint32_t d;
    switch (op->code) {
    case OP_convert:
    case OP_hint: return from;
    case OP_broadcast: return from->type->shape[*axis] == to->shape[*axis] ? from : NULL;
    case OP_permute: *axis = (uint32_t)op_attribute(op, ATTR_order)->ints[*axis]; return from;
    case OP_expand_dims:
        d = (uint32_t)op_int(op, ATTR_axis, 0);
        if (*axis == d) return NULL;
        *axis -= *axis > d;
        return from;
    case OP_reshape:
        if (to->shape[*axis] != to->count) return NULL;
        *axis = only_dim(from->type);
        return *axis < from->type->rank ? from : NULL;
    default: return NULL;
    }
}

bool gather_swaps(const Op *gather, uint32_t *difference) {
    const Type *type = op_operand(gather, 0)->type;
    const Value *v = op_operand(gather, 1);
    uint32_t axis = (uint32_t)op_int(gather, ATTR_axis, 0);
    const uint32_t extent = type->shape[axis];
    if (v->type->rank != type->rank || extent == 1) return false;
    for (uint32_t d = 0; d < type->rank; d++)
        if (v->type->shape[d] != type->shape[d]) return false;
    uint32_t sum = 0;
    for (uint32_t depth = 0; depth < 32 && v && v->op; depth++) {
        const Op *op = v->op;
        int64_t constant = 0;
        if (op->code == OP_arange) {
            *difference = sum;
            return op_int(op, ATTR_start, 0) == 0;
        }
        if (op->code == OP_xor && value_constant_int(op_operand(op, 1), &constant))
            v = op_operand(op, 0);
        else if ((op->code == OP_xor || op->code == OP_sub) &&
                 value_constant_int(op_operand(op, 0), &constant))
            v = op_operand(op, 1);
        else if (op->operand_count == 1)
            v = behind(op, &axis);
        else
            return false;
        if (constant < 0 || constant >= extent) return false;
        if (op->code == OP_sub && constant != extent - 1) return false;
        sum ^= (uint32_t)constant;
    }
    return false;
}
