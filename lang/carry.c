/* carry.c: values that cross the border of a region.
 *
 * A variable may hold one tensor, or several (a tuple, a block pointer): its leaves. They enter a
 * region as arguments and leave it by yield; the constants around them must stay the same.
 */
#include "lang/stmt_internal.h"

static uint32_t pointer_parts(Pointer *p, Value ***parts) {
    uint32_t n = 0;
    parts[n++] = &p->base;
    for (uint32_t i = 0; i < p->rank; i++) {
        parts[n++] = &p->shape[i];
        parts[n++] = &p->strides[i];
        if (p->offsets[i]) parts[n++] = &p->offsets[i];
    }
    return n;
}

void collect_leaves(Lower *l, Val v, Leaves *out) {
    if (v.kind == VAL_TENSOR) {
        vec_push(l->arena, out, v.value);
    } else if (v.kind == VAL_TUPLE) {
        for (uint32_t i = 0; i < v.count; i++) collect_leaves(l, v.items[i], out);
    } else if (v.kind == VAL_BLOCK_POINTER || v.kind == VAL_DESCRIPTOR) {
        Pointer copy = *v.pointer;
        Value **parts[1 + 3 * MAX_RANK];
        uint32_t n = pointer_parts(&copy, parts);
        for (uint32_t i = 0; i < n; i++) vec_push(l->arena, out, *parts[i]);
    }
}

Val with_leaves(Lower *l, Val v, Value **leaves, uint32_t *at) {
    if (v.kind == VAL_TENSOR) {
        v.value = leaves[(*at)++];
        v.plain = false;
    } else if (v.kind == VAL_TUPLE && v.count) {
        Val *items = arena_array(l->arena, Val, v.count);
        for (uint32_t i = 0; i < v.count; i++) items[i] = with_leaves(l, v.items[i], leaves, at);
        v.items = items;
    } else if (v.kind == VAL_BLOCK_POINTER || v.kind == VAL_DESCRIPTOR) {
        Pointer *copy = arena_new(l->arena, Pointer);
        *copy = *v.pointer;
        Value **parts[1 + 3 * MAX_RANK];
        uint32_t n = pointer_parts(copy, parts);
        for (uint32_t i = 0; i < n; i++) *parts[i] = leaves[(*at)++];
        v.pointer = copy;
    }
    return v;
}

static int number_rank(Val v) {
    return v.kind == VAL_FLOAT ? 2 : v.kind == VAL_INT ? 1 : 0;
}

static Value *number_as(Lower *l, Val number, const Type *type, Region *region) {
    DType d = type_dtype(type);
    if (d == DT_NONE) return NULL;
    int rank = dtype_is_float(d) ? 2 : d == DT_i1 ? 0 : 1;
    if (number_rank(number) > rank) return NULL;
    Builder outer = l->build;
    l->build.region = region;
    l->build.before = NULL;
    Value *v = constant_of(l, number, type);
    l->build = outer;
    return v;
}

static Value *number_as_variable(Lower *l, Val number, Region *region) {
    Builder outer = l->build;
    l->build.region = region;
    l->build.before = NULL;
    Value *v = to_tensor(l, number, number.span, "this");
    l->build = outer;
    return v;
}

Fit merge_values(Lower *l, Merge *m, Val a, Val b, Val *merged) {
    *merged = a;
    if (val_is_silent(a) || val_is_silent(b)) {
        *merged = a.kind == VAL_ERROR || b.kind == VAL_ERROR ? val_error() : val_unknown();
        return FIT_OK;
    }
    bool numbers = val_is_number(a) && val_is_number(b);
    if (val_is_constant(a) && val_is_constant(b) && a.kind == b.kind && a.kind != VAL_TUPLE &&
        konst_equal(a, b))
        return FIT_OK;
    bool a_leaf = a.kind == VAL_TENSOR || val_is_number(a);
    bool b_leaf = b.kind == VAL_TENSOR || val_is_number(b);
    if (a_leaf && b_leaf) {
        Value *x = a.kind == VAL_TENSOR ? a.value : NULL,
              *y = b.kind == VAL_TENSOR ? b.value : NULL;
        if (numbers) {
            x = number_as_variable(l, a, m->regions[0]);
            y = number_as_variable(l, b, m->regions[1]);
        }
        if (!x && y) x = number_as(l, a, y->type, m->regions[0]);
        if (!y && x) y = number_as(l, b, x->type, m->regions[1]);
        if (!x || !y || x->type != y->type) return FIT_TYPES;
        vec_push(l->arena, &m->leaves[0], x);
        vec_push(l->arena, &m->leaves[1], y);
        merged->kind = VAL_TENSOR;
        merged->value = x;
        return FIT_OK;
    }
    if (a.kind != b.kind) return FIT_KINDS;
    if (a.kind == VAL_TUPLE) {
        if (a.count != b.count) return FIT_KINDS;
        merged->items = arena_array(l->arena, Val, a.count + 1);
        for (uint32_t i = 0; i < a.count; i++) {
            Fit fit = merge_values(l, m, a.items[i], b.items[i], &merged->items[i]);
            if (fit != FIT_OK) return fit;
        }
        return FIT_OK;
    }
    if (a.kind == VAL_BLOCK_POINTER || a.kind == VAL_DESCRIPTOR) {
        if (a.pointer->rank != b.pointer->rank || a.pointer->base->type != b.pointer->base->type ||
            memcmp(a.pointer->block, b.pointer->block, sizeof a.pointer->block) != 0)
            return FIT_TYPES;
        collect_leaves(l, a, &m->leaves[0]);
        collect_leaves(l, b, &m->leaves[1]);
        return FIT_OK;
    }
    return FIT_KINDS;
}

bool val_same(Val a, Val b) { /* nothing to merge */
    if (a.kind != b.kind) return false;
    if (a.kind == VAL_BLOCK_POINTER || a.kind == VAL_DESCRIPTOR) return a.pointer == b.pointer;
    return konst_equal(a, b);
}
