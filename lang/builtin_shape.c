/* builtin_shape.c: making blocks and changing their shape. */
#include "lang/builtin_internal.h"

#include <stdio.h>

Val builtin_program(Lower *l, Call *c) {
    int64_t axis;
    if (!argument_int(l, c, 0, &axis)) return val_error();
    if (axis < 0 || axis > 2)
        return fail(l, c->spans[0], "the axes of the grid are 0, 1 and 2, not %lld",
                    (long long)axis);
    const Type *i32 = type_scalar(l->types, DT_i32);
    Op *op = build_op(&l->build, (OpCode)c->builtin->code, 0, NULL, 1, &i32);
    op_set_int(l->module, op, ATTR_axis, axis);
    return val_tensor(op_result(op, 0));
}

Val builtin_arange(Lower *l, Call *c) {
    int64_t start, end;
    if (!argument_int(l, c, 0, &start) || !argument_int(l, c, 1, &end)) return val_error();
    if (end <= start)
        return fail(l, c->span, "`arange` from %lld to %lld is empty", (long long)start,
                    (long long)end);
    if (start < INT32_MIN || end > INT32_MAX)
        return fail(l, c->span, "`arange` counts in 32 bits; %lld to %lld does not fit",
                    (long long)start, (long long)end);
    if (!check_extent(l, end - start, c->span)) return val_error();
    uint32_t extent = (uint32_t)(end - start);
    const Type *type = type_block(l->types, type_scalar(l->types, DT_i32), 1, &extent);
    Op *op = build_op(&l->build, OP_arange, 0, NULL, 1, &type);
    op_set_int(l->module, op, ATTR_start, start);
    op_set_int(l->module, op, ATTR_end, end);
    return val_tensor(op_result(op, 0));
}

Val full_of(Lower *l, const Type *type, Val value, Span span) {
    if (val_is_number(value) && type_dtype(type) != DT_NONE) {
        if (value.kind == VAL_FLOAT && dtype_is_int(type_dtype(type)))
            value = val_int((Wide)value.number);
        return val_tensor(constant_of(l, value, type));
    }
    Value *v = to_tensor(l, value, span, "the value");
    if (!v) return val_error();
    if (type_is_block(v->type))
        return fail(l, span, "the value must be a scalar, not %s", describe(l, value));
    v = cast_to_type(l, v, type_element(type), span);
    if (!v) return val_error();
    return val_tensor(type_is_block(type) ? build_to(&l->build, OP_splat, v, type) : v);
}

Val builtin_full(Lower *l, Call *c) {
    uint32_t rank, shape[MAX_RANK];
    const Type *dtype;
    if (!argument_shape(l, c, 0, &rank, shape) || !argument_dtype(l, c, 2, &dtype))
        return val_error();
    return full_of(l, type_block(l->types, type_element(dtype), rank, shape), c->arguments[1],
                   c->spans[1]);
}

Val builtin_zeros(Lower *l, Call *c) {
    uint32_t rank, shape[MAX_RANK];
    const Type *dtype;
    if (!argument_shape(l, c, 0, &rank, shape) || !argument_dtype(l, c, 1, &dtype))
        return val_error();
    const Type *type = type_block(l->types, type_element(dtype), rank, shape);
    return val_tensor(build_zero(&l->build, type));
}

/* The shape given as *shape or as one tuple. */
static bool rest_shape(Lower *l, Call *c, uint32_t *rank, uint32_t *shape) {
    int64_t extents[MAX_RANK];
    if (!constant_list(l, c, val_none(), rank, extents, MAX_RANK)) return false;
    for (uint32_t i = 0; i < *rank; i++) {
        if (!check_extent(l, extents[i], c->span)) return false;
        shape[i] = (uint32_t)extents[i];
    }
    return check_elements(l, *rank, shape, c->span);
}

Val builtin_reshape(Lower *l, Call *c) {
    uint32_t rank, shape[MAX_RANK];
    bool reorder = c->builtin->code == 1;
    Value *x = argument_tensor(l, c, 0);
    if (!x || !rest_shape(l, c, &rank, shape)) return val_error();
    if (c->count > 2 && c->given[2] && !argument_bool(l, c, 2, &reorder)) return val_error();
    const Type *type = type_block(l->types, type_element(x->type), rank, shape);
    if (type->count != x->type->count)
        return fail(l, c->span, "%s has %u elements, the new shape has %u",
                    type_string(x->type, l->arena), x->type->count, type->count);
    if (type == x->type) return val_tensor(x);
    if (!type_is_block(x->type)) return val_tensor(build_to(&l->build, OP_splat, x, type));
    if (!type_is_block(type)) return val_tensor(build_to(&l->build, OP_extract, x, type));
    Value *r = build_to(&l->build, OP_reshape, x, type);
    if (reorder) op_set_int(l->module, r->op, ATTR_reorder, 1);
    return val_tensor(r);
}

Val builtin_broadcast_to(Lower *l, Call *c) {
    uint32_t rank, shape[MAX_RANK];
    Value *x = argument_tensor(l, c, 0);
    if (!x || !rest_shape(l, c, &rank, shape)) return val_error();
    Value *r = broadcast_to(l, x, rank, shape, c->span);
    return r ? val_tensor(r) : val_error();
}

Val builtin_broadcast(Lower *l, Call *c) {
    Value *both[2] = {argument_tensor(l, c, 0), argument_tensor(l, c, 1)};
    if (!both[0] || !both[1]) return val_error();
    if (!broadcast_together(l, both, 2, c->spans, c->span, "`broadcast`")) return val_error();
    Val *items = arena_array(l->arena, Val, 2);
    items[0] = val_tensor(both[0]);
    items[1] = val_tensor(both[1]);
    return val_tuple(items, 2);
}

static Value *expand(Lower *l, Value *x, uint32_t axis) {
    uint32_t rank = type_is_block(x->type) ? x->type->rank : 0, shape[MAX_RANK + 1];
    for (uint32_t i = 0; i <= rank; i++)
        shape[i] = i == axis ? 1 : x->type->shape[i < axis ? i : i - 1];
    const Type *type = type_block(l->types, type_element(x->type), rank + 1, shape);
    Value *r = build_to(&l->build, rank ? OP_expand_dims : OP_splat, x, type);
    if (rank) op_set_int(l->module, r->op, ATTR_axis, axis);
    return r;
}

Val builtin_expand_dims(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    Val one = c->arguments[1];
    const Val *axes = one.kind == VAL_TUPLE ? one.items : &one;
    uint32_t count = one.kind == VAL_TUPLE ? one.count : 1;
    uint32_t rank = (type_is_block(x->type) ? x->type->rank : 0) + count;
    if (rank > MAX_RANK) return fail(l, c->span, "a block has at most %d dims", MAX_RANK);
    bool is_new[MAX_RANK] = {false};
    for (uint32_t i = 0; i < count; i++) {
        if (!val_is_integer(axes[i]))
            return not_constant(l, axes[i], c->spans[1], argument_name(l, c, 1));
        Wide a = axes[i].integer < 0 ? axes[i].integer + rank : axes[i].integer;
        if (a < 0 || a >= rank || is_new[(uint32_t)a])
            return fail(l, c->spans[1], "axis %s of a result of rank %u",
                        wide_string(l->arena, axes[i].integer), rank);
        is_new[(uint32_t)a] = true;
    }
    for (uint32_t i = 0; i < rank; i++)
        if (is_new[i]) x = expand(l, x, i);
    return val_tensor(x);
}

Val builtin_permute(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    int64_t order[MAX_RANK];
    uint32_t count, rank, shape[MAX_RANK], seen = 0;
    if (!x || !constant_list(l, c, val_none(), &count, order, MAX_RANK)) return val_error();
    rank = type_is_block(x->type) ? x->type->rank : 0;
    if (count == 0 && c->builtin->code == 1) { /* trans(x): the last two dims */
        if (rank < 2)
            return fail(l, c->span, "`trans` needs a block of rank 2 or more, not %s",
                        type_string(x->type, l->arena));
        for (count = 0; count < rank; count++) order[count] = count;
        order[rank - 1] = rank - 2;
        order[rank - 2] = rank - 1;
    }
    if (count != rank)
        return fail(l, c->span, "%u dims for %s, which has rank %u", count,
                    type_string(x->type, l->arena), rank);
    bool identity = true;
    for (uint32_t i = 0; i < rank; i++) {
        if (order[i] < 0) order[i] += rank;
        if (order[i] < 0 || order[i] >= rank || (seen >> order[i] & 1))
            return fail(l, c->span, "the dims of `%s` must be 0 to %u, each once", c->builtin->name,
                        rank - 1);
        seen |= 1u << order[i];
        shape[i] = x->type->shape[order[i]];
        identity = identity && order[i] == i;
    }
    if (identity) return val_tensor(x);
    const Type *type = type_block(l->types, type_element(x->type), rank, shape);
    Value *r = build_to(&l->build, OP_permute, x, type);
    op_set_ints(l->module, r->op, ATTR_order, rank, order);
    return val_tensor(r);
}

Val builtin_join(Lower *l, Call *c) {
    Value *x, *y;
    if (!arithmetic_operands(l, c->arguments[0], c->arguments[1], c->spans[0], c->spans[1], c->span,
                             false, "`join`", &x, &y))
        return val_error();
    uint32_t rank = type_is_block(x->type) ? x->type->rank : 0, shape[MAX_RANK];
    bool scalar = rank == 0;
    if (rank == MAX_RANK) return fail(l, c->span, "a block has at most %d dims", MAX_RANK);
    if (scalar) {
        x = expand(l, x, 0);
        y = expand(l, y, 0);
        rank = 1;
    }
    memcpy(shape, x->type->shape, rank * sizeof *shape);
    shape[rank] = 2;
    if (!check_elements(l, rank + 1, shape, c->span)) return val_error();
    const Type *type = type_block(l->types, type_element(x->type), rank + 1, shape);
    Value *operands[2] = {x, y};
    Value *r = op_result(build_op(&l->build, OP_join, 2, operands, 1, &type), 0);
    if (scalar) {
        uint32_t two = 2;
        r = build_to(&l->build, OP_reshape, r,
                     type_block(l->types, type_element(r->type), 1, &two));
    }
    return val_tensor(r);
}

Val builtin_split(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    if (!type_is_block(x->type) || x->type->shape[x->type->rank - 1] != 2)
        return fail(l, c->span, "`split` needs a last dim of 2, not %s",
                    type_string(x->type, l->arena));
    bool flat = x->type->rank == 1;
    if (flat) {
        uint32_t shape[2] = {1, 2};
        x = build_to(&l->build, OP_reshape, x,
                     type_block(l->types, type_element(x->type), 2, shape));
    }
    const Type *half =
        type_block(l->types, type_element(x->type), x->type->rank - 1, x->type->shape);
    const Type *types[2] = {half, half};
    Op *op = build_op(&l->build, OP_split, 1, &x, 2, types);
    Val *items = arena_array(l->arena, Val, 2);
    for (uint32_t i = 0; i < 2; i++) {
        Value *r = op_result(op, i);
        if (flat) r = build_to(&l->build, OP_extract, r, type_element(r->type));
        items[i] = val_tensor(r);
    }
    return val_tuple(items, 2);
}

Val builtin_cat(Lower *l, Call *c) {
    Value *x, *y;
    bool reorder;
    int64_t dim;
    if (!argument_bool(l, c, 2, &reorder)) return val_error();
    if (c->given[3] && (!argument_int(l, c, 3, &dim) || dim != 0)) {
        return fail(l, c->spans[3], "`cat` joins along dim 0 only");
    }
    if (!arithmetic_operands(l, c->arguments[0], c->arguments[1], c->spans[0], c->spans[1], c->span,
                             false, "`cat`", &x, &y))
        return val_error();
    if (!type_is_block(x->type)) return fail(l, c->span, "`cat` needs blocks");
    uint32_t shape[MAX_RANK];
    memcpy(shape, x->type->shape, sizeof shape);
    shape[0] *= 2;
    if (!check_elements(l, x->type->rank, shape, c->span)) return val_error();
    const Type *type = type_block(l->types, type_element(x->type), x->type->rank, shape);
    Value *operands[2] = {x, y};
    Op *op = build_op(&l->build, OP_concat, 2, operands, 1, &type);
    if (reorder) op_set_int(l->module, op, ATTR_reorder, 1);
    return val_tensor(op_result(op, 0));
}

Val builtin_gather(Lower *l, Call *c) {
    Value *source = argument_tensor(l, c, 0), *index = argument_tensor(l, c, 1);
    uint32_t axis;
    if (!source || !index) return val_error();
    if (!type_is_block(source->type) || !type_is_block(index->type) ||
        source->type->rank != index->type->rank)
        return fail(l, c->span,
                    "`gather` needs a block and an index block of the same rank, not %s and %s",
                    type_string(source->type, l->arena), type_string(index->type, l->arena));
    if (!dtype_is_int(type_dtype(index->type)))
        return fail(l, c->spans[1], "the index of `gather` must be integers, not %s",
                    type_string(index->type, l->arena));
    if (!argument_axis(l, c, 2, source->type->rank, &axis)) return val_error();
    for (uint32_t i = 0; i < source->type->rank; i++)
        if (i != axis && source->type->shape[i] != index->type->shape[i])
            return fail(l, c->span,
                        "`gather` along axis %u: dim %u is %u in the source and %u in the index",
                        axis, i, source->type->shape[i], index->type->shape[i]);
    const Type *type = type_with_element(l->types, index->type, type_element(source->type));
    Value *operands[2] = {source, index};
    Op *op = build_op(&l->build, OP_gather, 2, operands, 1, &type);
    op_set_int(l->module, op, ATTR_axis, axis);
    return val_tensor(op_result(op, 0));
}

Val builtin_item(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    if (!type_is_block(x->type)) return val_tensor(x);
    if (x->type->count != 1)
        return fail(l, c->span, "`item` needs a block of one element, not %s",
                    type_string(x->type, l->arena));
    return val_tensor(build_to(&l->build, OP_extract, x, type_element(x->type)));
}

Val builtin_numel(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    return x ? val_int(x->type->count) : val_error();
}
