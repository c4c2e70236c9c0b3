/* rules_layout.c: the rules of layouts and of shared memory (LAID level and below).
 *
 * Data crosses threads only in convert, reduce, scan, gather, histogram, atomics with a result, and
 * through shared memory. For every other op the layout of the result follows from that of the
 * operands in such a way that each thread finds in its own registers what it needs; these are the
 * rules here, op by op. Ops whose type rule demands equal types need none: a layout is part of the
 * type.
 */
#include "compiler/layout/layout.h"
#include "compiler/rules.h"

static bool is_laid(const Value *v) {
    return !type_is_block(v->type) || v->type->layout;
}

static bool has_layouts(const Op *op) {
    bool some = false;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!is_laid(op_operand(op, i))) return false;
        some |= op_operand(op, i)->type->layout != NULL;
    }
    for (uint32_t i = 0; i < op->result_count; i++) {
        if (!is_laid(&op->results[i])) return false;
        some |= op->results[i].type->layout != NULL;
    }
    return some;
}

static bool is_layout(const Type *type, Layout wanted) {
    return layout_equal(type->layout, &wanted);
}

/* Do all operands and results hold their elements alike? */
static bool all_alike(const Op *op) {
    const Layout *first = NULL;
    for (uint32_t i = 0; i < op->operand_count + (uint32_t)op->result_count; i++) {
        const Value *v =
            i < op->operand_count ? op_operand(op, i) : &op->results[i - op->operand_count];
        if (!type_is_block(v->type)) continue;
        if (first && v->type->layout != first) return false;
        first = v->type->layout;
    }
    return true;
}

static const char *check_reduce(const Op *op) {
    uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Type *from = op_operand(op, i)->type, *to = op->results[i].type;
        if (from->layout != op_operand(op, 0)->type->layout)
            return "the layouts of the operands differ";
        if (!type_is_block(to)) continue;
        if (!is_layout(to, layout_slice(from->layout, from->rank, from->shape, axis, NULL)))
            return "the layout of a result is no slice of that of the operand";
    }
    return NULL;
}

static const char *check_split(const Op *op) {
    Layout half;
    uint32_t reg;
    if (!layout_split(op_operand(op, 0)->type->layout, &half, &reg))
        return "one register bit alone must move the last dimension";
    for (uint32_t i = 0; i < 2; i++)
        if (type_is_block(op->results[i].type) && !is_layout(op->results[i].type, half))
            return "the layout of a result is not half of that of the operand";
    return NULL;
}

static bool derived(const Op *op) {
    const Type *from = op_operand(op, 0)->type, *to = op->results[0].type;
    BitMap map;
    switch (op->code) {
    case OP_expand_dims:
    case OP_reshape: return from->layout == to->layout;
    case OP_broadcast:
        return layout_broadcast_map(from->layout, to->layout, to->rank, from->shape, to->shape,
                                    &map);
    case OP_permute: {
        const int64_t *order = op_attribute(op, ATTR_order)->ints;
        return is_layout(to, layout_permute(from->layout, from->rank, from->shape, order));
    }
    case OP_join: return !from->layout || is_layout(to, layout_join(from->layout));
    case OP_concat: return is_layout(to, layout_concat(from->layout));
    default: return true;
    }
}

const char *rule_check_layouts(Types *types, Arena *arena, const Op *op) {
    (void)types, (void)arena;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        bool takes = i == 0 && (op->code == OP_shared_load || op->code == OP_shared_store ||
                                op->code == OP_async_copy);
        if (op_operand(op, i)->type->kind == TYPE_SHARED && !takes)
            return "shared memory is no operand of this op";
    }
    for (uint32_t i = 0; i < op->result_count; i++)
        if (op->results[i].type->kind == TYPE_SHARED && op->code != OP_shared_alloc)
            return "shared memory is no result of this op";
    if (!has_layouts(op)) return NULL;
    switch (op->code) {
    case OP_expand_dims:
    case OP_reshape:
    case OP_broadcast:
    case OP_permute:
    case OP_join:
    case OP_concat:
        return derived(op) ? NULL : "the layout of the result does not follow from the operand";
    case OP_split: return check_split(op);
    case OP_reduce: return check_reduce(op);
    case OP_scan:
    case OP_cast:
    case OP_bitcast:
    case OP_map:
    case OP_inline_asm: return all_alike(op) ? NULL : "the layouts of its blocks differ";
    default: return NULL;
    }
}

/* ---- shared memory -------------------------------------------------------------------------- */

const char *rule_check_shared(Types *types, Arena *arena, const Op *op) {
    (void)arena;
    if (op->code == OP_shared_alloc) {
        if (op->results[0].type->kind != TYPE_SHARED) return "the result must be shared memory";
        int64_t buffers = op_int(op, ATTR_buffers, 1);
        return buffers < 1 || buffers > 64 ? "there must be 1 to 64 buffers" : NULL;
    }
    const Type *shared = op_operand(op, 0)->type;
    if (shared->kind != TYPE_SHARED) return "operand 0 must be shared memory";
    if (op_operand(op, 1)->type != type_scalar(types, DT_i32)) return "operand 1 must be i32";
    const Type *block = op->code == OP_shared_load ? op->results[0].type : op_operand(op, 2)->type;
    if (!type_is_block(block) || !type_same_shape(block, shared))
        return "the shapes of the block and of shared memory differ";
    if (op->code != OP_async_copy)
        return type_element(block) == shared->element ? NULL : "the element types differ";
    if (!type_is_pointer(block) || type_element(block)->element != shared->element)
        return "operand 2 must be pointers to what shared memory holds";
    if (op->operand_count > 3 && op_operand(op, 3)->type != type_with_dtype(types, block, DT_i1))
        return "operand 3 must be a mask of the shape and layout of the pointers";
    if (op->operand_count > 4 &&
        op_operand(op, 4)->type != type_with_element(types, block, shared->element))
        return "operand 4 must be a block of the shape and layout of the pointers";
    return NULL;
}
