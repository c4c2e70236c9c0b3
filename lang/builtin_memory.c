/* builtin_memory.c: loads, stores, atomics; block pointers and tensor descriptors, which become
 * blocks of pointers and masks here.
 */
#include "lang/builtin_internal.h"

/* ---- attributes ----------------------------------------------------------------------------- */

static bool word_argument(Lower *l, Call *c, uint32_t i, const char *const *allowed, Word *word) {
    const char *text;
    *word = WORD_none;
    if (!argument_string(l, c, i, &text)) return false;
    if (!*text) return true;
    for (uint32_t k = 0; allowed[k]; k++) {
        const char *a = allowed[k] + (allowed[k][0] == '.');
        if (strcmp(text, allowed[k]) == 0) {
            *word = word_from_name(a, strlen(a));
            return true;
        }
    }
    Text list = {.arena = l->arena};
    for (uint32_t k = 0; allowed[k]; k++) text_printf(&list, k ? ", '%s'" : "'%s'", allowed[k]);
    fail(l, c->spans[i], "%s cannot be '%s'; it is one of %s", argument_name(l, c, i), text,
         list.data);
    return false;
}

static const char *const load_caches[] = {".ca", ".cg", ".cs", ".cv", NULL};
static const char *const store_caches[] = {".wb", ".cg", ".cs", ".wt", NULL};
static const char *const evictions[] = {"evict_first", "evict_last", "evict_normal", NULL};
static const char *const semantics[] = {"relaxed", "acquire", "release", "acq_rel", NULL};
static const char *const scopes[] = {"cta", "gpu", "sys", NULL};

static void set_word(Lower *l, Op *op, AttributeKey key, Word word) {
    if (word != WORD_none) op_set_word(l->module, op, key, word);
}

/* ---- pointers -------------------------------------------------------------------------------- */

/* Argument 0 as pointer(s). Booleans live in memory as bytes, so *i1 is accessed as *i8. */
static Value *pointer_argument(Lower *l, Call *c, bool *is_bool) {
    Val v = c->arguments[0];
    *is_bool = false;
    if (v.kind != VAL_TENSOR || !type_is_pointer(v.value->type)) {
        if (v.kind == VAL_NONE) {
            fail(l, c->spans[0], "the pointer of `%s` is None here", c->builtin->name);
            if (v.span.line) note(l, v.span, "it was given None here");
        } else if (!val_is_silent(v)) {
            fail(l, c->spans[0], "`%s` needs a pointer or a block of pointers, not %s",
                 c->builtin->name, describe(l, v));
            if (v.kind == VAL_TENSOR && v.span.line) note(l, v.span, "it comes from here");
        }
        return NULL;
    }
    Value *p = v.value;
    if (type_dtype(type_element(p->type)->element) == DT_i1) {
        *is_bool = true;
        const Type *byte = type_pointer(l->types, type_scalar(l->types, DT_i8));
        p = build_to(&l->build, OP_bitcast, p, type_with_element(l->types, p->type, byte));
    }
    return p;
}

/* Mask (and value) brought to the shape of the pointers; a scalar pointer takes scalars only. */
static bool match_shapes(Lower *l, Call *c, Value **values, uint32_t count, const Span *spans) {
    if (!type_is_block(values[0]->type)) {
        for (uint32_t i = 1; i < count; i++) {
            if (!type_is_block(values[i]->type)) continue;
            fail(l, spans[i], "`%s` through one pointer cannot use a block here (%s)",
                 c->builtin->name, type_string(values[i]->type, l->arena));
            note(l, spans[0],
                 "this is one pointer; add a block of offsets to make a block of pointers");
            return false;
        }
        return true;
    }
    return broadcast_together(l, values, count, spans, c->span,
                              arena_printf(l->arena, "`%s`", c->builtin->name));
}

static Val load_blocks(Lower *l, Call *c, Value *pointer, Value *mask, Value *other, bool is_bool) {
    Word cache, evict;
    bool is_volatile = false;
    bool full = c->count >= 8; /* descriptor loads have fewer arguments */
    cache = evict = WORD_none;
    uint32_t at = full ? 5 : 2;
    if (c->builtin->lower == builtin_load || c->count == 4) {
        if (!word_argument(l, c, at, load_caches, &cache) ||
            !word_argument(l, c, at + 1, evictions, &evict))
            return val_error();
        if (full && !argument_bool(l, c, 7, &is_volatile)) return val_error();
    }
    Value *operands[3] = {pointer, mask, other};
    uint32_t count = mask ? other ? 3 : 2 : 1;
    Op *op = build_op(&l->build, OP_load, count, operands, 0, NULL);
    set_word(l, op, ATTR_cache, cache);
    set_word(l, op, ATTR_evict, evict);
    if (is_volatile) op_set_int(l->module, op, ATTR_is_volatile, 1);
    Value *r = op_result(op, 0);
    return val_tensor(is_bool ? cast_to(l, r, DT_i1, WORD_none) : r);
}

/* ---- block pointers -------------------------------------------------------------------------- */

static Value *block_of(Lower *l, Value *scalar, uint32_t rank, const uint32_t *shape) {
    return build_to(&l->build, OP_splat, scalar,
                    type_block(l->types, type_element(scalar->type), rank, shape));
}

/* offset[d] + 0..block[d]-1 as i64, laid along dim d of the block. */
static Value *indices(Lower *l, const Pointer *p, Value *const *offsets, uint32_t d) {
    const Type *i32 = type_scalar(l->types, DT_i32);
    const Type *line = type_block(l->types, i32, 1, &p->block[d]);
    Op *op = build_op(&l->build, OP_arange, 0, NULL, 1, &line);
    op_set_int(l->module, op, ATTR_start, 0);
    op_set_int(l->module, op, ATTR_end, p->block[d]);
    Value *v = cast_to(l, op_result(op, 0), DT_i64, WORD_none);
    Value *offset = cast_to(l, offsets[d], DT_i64, WORD_none);
    v = build_binary(&l->build, OP_add, block_of(l, offset, 1, &p->block[d]), v);
    for (uint32_t i = 0; i < p->rank; i++) { /* extents of 1 around it */
        if (i == d) continue;
        uint32_t shape[MAX_RANK], rank = v->type->rank, axis = i < d ? 0 : rank;
        for (uint32_t k = 0; k <= rank; k++)
            shape[k] = k == axis ? 1 : v->type->shape[k < axis ? k : k - 1];
        v = build_to(&l->build, OP_expand_dims, v,
                     type_block(l->types, v->type->element, rank + 1, shape));
        op_set_int(l->module, v->op, ATTR_axis, axis);
    }
    return v;
}

static Value *spread(Lower *l, const Pointer *p, Value *v) {
    const Type *type = type_block(l->types, type_element(v->type), p->rank, p->block);
    return v->type == type ? v : build_to(&l->build, OP_broadcast, v, type);
}

/* The addresses of the block at `offsets`, and the mask of the dims in `checked` (a bit set). */
static Value *addresses(Lower *l, const Pointer *p, Value *const *offsets, uint32_t checked,
                        Value **mask) {
    Value *sum = NULL;
    *mask = NULL;
    for (uint32_t d = 0; d < p->rank; d++) {
        Value *index = indices(l, p, offsets, d);
        const Type *t = index->type;
        Value *stride = block_of(l, p->strides[d], t->rank, t->shape);
        Value *part = spread(l, p, build_binary(&l->build, OP_mul, index, stride));
        sum = sum ? build_binary(&l->build, OP_add, sum, part) : part;
        if (!(checked >> d & 1)) continue;
        Value *low = build_binary(&l->build, OP_ge, index, build_zero(&l->build, t));
        Value *high =
            build_binary(&l->build, OP_lt, index, block_of(l, p->shape[d], t->rank, t->shape));
        Value *in = spread(l, p, build_binary(&l->build, OP_and, low, high));
        *mask = *mask ? build_binary(&l->build, OP_and, *mask, in) : in;
    }
    return build_binary(&l->build, OP_offset, block_of(l, p->base, p->rank, p->block), sum);
}

static Value *padding(Lower *l, const Type *pointers, bool nan) {
    const Type *type = type_with_element(l->types, pointers, type_element(pointers)->element);
    if (nan && dtype_is_float(type_dtype(type)))
        return build_constant_float(&l->build, type, __builtin_nan(""));
    return build_zero(&l->build, type);
}

/* The dims in boundary_check as bits. */
static bool checked_dims(Lower *l, Call *c, uint32_t i, uint32_t rank, uint32_t *bits) {
    Val v = c->arguments[i];
    *bits = 0;
    if (v.kind == VAL_NONE) return true;
    const Val *items = v.kind == VAL_TUPLE ? v.items : &v;
    uint32_t count = v.kind == VAL_TUPLE ? v.count : 1;
    for (uint32_t k = 0; k < count; k++) {
        if (!val_is_integer(items[k])) {
            not_constant(l, items[k], c->spans[i], argument_name(l, c, i));
            return false;
        }
        Wide d = items[k].integer < 0 ? items[k].integer + rank : items[k].integer;
        if (d < 0 || d >= rank) {
            fail(l, c->spans[i], "boundary_check names dim %s of a block of rank %u",
                 wide_string(l->arena, items[k].integer), rank);
            return false;
        }
        *bits |= 1u << (uint32_t)d;
    }
    return true;
}

/* A list of `rank` run-time numbers, cast to dtype. */
static bool number_list(Lower *l, Call *c, uint32_t i, uint32_t rank, DType dtype, Value **out) {
    Val v = c->arguments[i];
    const Val *items = v.kind == VAL_TUPLE ? v.items : &v;
    uint32_t count = v.kind == VAL_TUPLE ? v.count : 1;
    if (count != rank) {
        fail(l, c->spans[i], "%s has %u entries, but the block has rank %u", argument_name(l, c, i),
             count, rank);
        return false;
    }
    for (uint32_t d = 0; d < rank; d++) {
        Value *x = to_tensor(l, items[d], c->spans[i], argument_name(l, c, i));
        if (!x) return false;
        if (type_is_block(x->type) || type_is_pointer(x->type) ||
            !dtype_is_int(type_dtype(x->type))) {
            fail(l, c->spans[i], "%s must hold integer scalars, not %s", argument_name(l, c, i),
                 type_string(x->type, l->arena));
            return false;
        }
        out[d] = cast_to(l, x, dtype, WORD_none);
    }
    return true;
}

static Pointer *pointer_parts(Lower *l, Call *c, uint32_t block_argument) {
    Pointer *p = arena_new(l->arena, Pointer);
    Val base = c->arguments[0];
    if (base.kind != VAL_TENSOR || !type_is_pointer(base.value->type) ||
        type_is_block(base.value->type)) {
        fail(l, c->spans[0], "%s must be one pointer, not %s", argument_name(l, c, 0),
             describe(l, base));
        return NULL;
    }
    p->base = base.value;
    if (!argument_shape(l, c, block_argument, &p->rank, p->block)) return NULL;
    if (p->rank == 0) {
        fail(l, c->spans[block_argument], "the block needs at least one dim");
        return NULL;
    }
    if (!number_list(l, c, 1, p->rank, DT_i64, p->shape) ||
        !number_list(l, c, 2, p->rank, DT_i64, p->strides))
        return NULL;
    return p;
}

Val builtin_make_block_ptr(Lower *l, Call *c) {
    Pointer *p = pointer_parts(l, c, 4);
    if (!p || !number_list(l, c, 3, p->rank, DT_i32, p->offsets)) return val_error();
    Val order = c->arguments[5];
    uint32_t seen = 0, count = order.kind == VAL_TUPLE ? order.count : 1;
    const Val *items = order.kind == VAL_TUPLE ? order.items : &order;
    bool ok = count == p->rank;
    for (uint32_t i = 0; ok && i < count; i++) {
        ok = val_is_integer(items[i]) && items[i].integer >= 0 && items[i].integer < p->rank;
        if (ok) seen |= 1u << (uint32_t)items[i].integer;
    }
    if (!ok || seen != (1u << p->rank) - 1)
        return fail(l, c->spans[5], "`order` must list the dims 0 to %u, each once", p->rank - 1);
    return (Val){.kind = VAL_BLOCK_POINTER, .pointer = p, .span = c->span};
}

Val builtin_advance(Lower *l, Call *c) {
    Val v = c->arguments[0];
    Value *by[MAX_RANK];
    if (v.kind != VAL_BLOCK_POINTER)
        return fail(l, c->spans[0], "`advance` needs a block pointer, not %s", describe(l, v));
    if (!number_list(l, c, 1, v.pointer->rank, DT_i32, by)) return val_error();
    Pointer *p = arena_new(l->arena, Pointer);
    *p = *v.pointer;
    for (uint32_t d = 0; d < p->rank; d++)
        p->offsets[d] = build_binary(&l->build, OP_add, p->offsets[d], by[d]);
    return (Val){.kind = VAL_BLOCK_POINTER, .pointer = p, .span = c->span};
}

/* ---- load and store -------------------------------------------------------------------------- */

static Val load_block_pointer(Lower *l, Call *c) {
    const Pointer *p = c->arguments[0].pointer;
    uint32_t checked;
    const char *pad;
    if (c->given[1] || c->given[2]) {
        fail(l, c->spans[c->given[1] ? 1 : 2], "a load through a block pointer takes no `%s`",
             c->given[1] ? "mask" : "other");
        note(l, c->span,
             "say which dims may run over the edge: boundary_check=(0, 1), "
             "padding_option='zero'");
        return val_error();
    }
    if (!checked_dims(l, c, 3, p->rank, &checked) || !argument_string(l, c, 4, &pad))
        return val_error();
    if (*pad && strcmp(pad, "zero") != 0 && strcmp(pad, "nan") != 0)
        return fail(l, c->spans[4], "padding_option is 'zero' or 'nan', not '%s'", pad);
    Value *mask, *pointers = addresses(l, p, p->offsets, checked, &mask);
    Value *other = mask && *pad ? padding(l, pointers->type, strcmp(pad, "nan") == 0) : NULL;
    return load_blocks(l, c, pointers, mask, other, false);
}

Val builtin_load(Lower *l, Call *c) {
    if (c->arguments[0].kind == VAL_BLOCK_POINTER) return load_block_pointer(l, c);
    bool is_bool;
    Value *pointer = pointer_argument(l, c, &is_bool);
    if (!pointer) return val_error();
    if (c->arguments[3].kind != VAL_NONE && !konst_equal(c->arguments[3], val_tuple(NULL, 0)))
        return fail(l, c->spans[3], "boundary_check is for block pointers; use a mask here");
    bool has_mask = c->arguments[1].kind != VAL_NONE, has_other = c->arguments[2].kind != VAL_NONE;
    if (has_other && !has_mask) {
        fail(l, c->spans[2], "`other` says what masked-off elements read as, so it needs a `mask`");
        note(l, c->span, "add mask=..., or drop other=");
        return val_error();
    }
    Value *values[3] = {pointer, NULL, NULL};
    Span spans[3] = {c->spans[0], c->spans[1], c->spans[2]};
    uint32_t count = 1;
    if (has_mask) {
        values[count] = truth_value(l, c->arguments[1], c->spans[1], argument_name(l, c, 1));
        if (!values[count++]) return val_error();
    }
    if (has_other) {
        const Type *element = type_element(pointer->type)->element;
        Val other = c->arguments[2];
        if (val_is_number(other) && element->kind == TYPE_SCALAR) {
            Val v = full_of(l, element, other, c->spans[2]);
            values[count] = v.kind == VAL_TENSOR ? v.value : NULL;
        } else {
            values[count] = argument_tensor(l, c, 2);
            if (values[count]) values[count] = cast_to_type(l, values[count], element, c->spans[2]);
        }
        if (!values[count++]) return val_error();
    }
    if (!match_shapes(l, c, values, count, spans)) return val_error();
    return load_blocks(l, c, values[0], has_mask ? values[1] : NULL, has_other ? values[2] : NULL,
                       is_bool);
}

static Val build_store(Lower *l, Call *c, Value *pointer, Value *value, Value *mask, int words_at) {
    Word cache = WORD_none, evict = WORD_none;
    if (words_at >= 0 && (!word_argument(l, c, (uint32_t)words_at, store_caches, &cache) ||
                          !word_argument(l, c, (uint32_t)words_at + 1, evictions, &evict)))
        return val_error();
    Value *operands[3] = {pointer, value, mask};
    Op *op = build_op(&l->build, OP_store, mask ? 3 : 2, operands, 0, NULL);
    set_word(l, op, ATTR_cache, cache);
    set_word(l, op, ATTR_evict, evict);
    return val_none();
}

/* The value to store, cast to what the pointer points to. */
static Value *stored_value(Lower *l, Call *c, uint32_t i, const Type *element) {
    if (val_is_number(c->arguments[i]) && element->kind == TYPE_SCALAR) {
        Val v = full_of(l, element, c->arguments[i], c->spans[i]);
        return v.kind == VAL_TENSOR ? v.value : NULL;
    }
    Value *v = argument_tensor(l, c, i);
    return v ? cast_to_type(l, v, element, c->spans[i]) : NULL;
}

static Val store_block_pointer(Lower *l, Call *c) {
    const Pointer *p = c->arguments[0].pointer;
    uint32_t checked;
    if (c->given[2])
        return fail(l, c->spans[2],
                    "a store through a block pointer takes boundary_check, not a mask");
    if (!checked_dims(l, c, 3, p->rank, &checked)) return val_error();
    Value *value = stored_value(l, c, 1, p->base->type->element);
    if (!value) return val_error();
    value = broadcast_to(l, value, p->rank, p->block, c->spans[1]);
    if (!value) return val_error();
    Value *mask, *pointers = addresses(l, p, p->offsets, checked, &mask);
    return build_store(l, c, pointers, value, mask, 4);
}

Val builtin_store(Lower *l, Call *c) {
    if (c->arguments[0].kind == VAL_BLOCK_POINTER) return store_block_pointer(l, c);
    bool is_bool;
    Value *pointer = pointer_argument(l, c, &is_bool);
    if (!pointer) return val_error();
    Value *values[3] = {pointer, NULL, NULL};
    const Type *element = type_element(pointer->type)->element;
    if (is_bool) { /* any non-zero value is true */
        values[1] = truth_value(l, c->arguments[1], c->spans[1], argument_name(l, c, 1));
        if (values[1]) values[1] = cast_to(l, values[1], DT_i8, WORD_none);
    } else {
        values[1] = stored_value(l, c, 1, element);
    }
    if (!values[1]) return val_error();
    uint32_t count = 2;
    if (c->arguments[2].kind != VAL_NONE) {
        values[2] = truth_value(l, c->arguments[2], c->spans[2], argument_name(l, c, 2));
        if (!values[2]) return val_error();
        count = 3;
    }
    if (!match_shapes(l, c, values, count, c->spans)) return val_error();
    return build_store(l, c, values[0], values[1], values[2], 4);
}

/* ---- atomics --------------------------------------------------------------------------------- */

static bool atomic_words(Lower *l, Call *c, uint32_t at, Word *sem, Word *scope) {
    return word_argument(l, c, at, semantics, sem) && word_argument(l, c, at + 1, scopes, scope);
}

static bool atomic_type(Lower *l, Call *c, const Type *element, Word kind) {
    DType d = element->dtype;
    bool ok = element->kind == TYPE_SCALAR;
    if (ok && dtype_is_float(d))
        ok = !dtype_is_fp8(d) &&
             (kind == WORD_add ||
              ((kind == WORD_max || kind == WORD_min || kind == WORD_xchg) && dtype_size(d) >= 4));
    else
        ok = ok && dtype_size(d) >= 4;
    if (!ok)
        fail(l, c->spans[0], "`%s` is not available for %s", c->builtin->name,
             type_string(element, l->arena));
    return ok;
}

Val builtin_atomic(Lower *l, Call *c) {
    bool is_bool;
    Word kind = (Word)c->builtin->code, sem, scope;
    Value *pointer = pointer_argument(l, c, &is_bool);
    if (!pointer || !atomic_words(l, c, 3, &sem, &scope)) return val_error();
    const Type *element = type_element(pointer->type)->element;
    if (!atomic_type(l, c, element, kind)) return val_error();
    Value *values[3] = {pointer, stored_value(l, c, 1, element), NULL};
    if (!values[1]) return val_error();
    uint32_t count = 2;
    if (c->arguments[2].kind != VAL_NONE) {
        values[2] = truth_value(l, c->arguments[2], c->spans[2], argument_name(l, c, 2));
        if (!values[2]) return val_error();
        count = 3;
    }
    if (!match_shapes(l, c, values, count, c->spans)) return val_error();
    Op *op = build_op(&l->build, OP_atomic_rmw, count, values, 0, NULL);
    op_set_word(l->module, op, ATTR_kind, kind);
    set_word(l, op, ATTR_sem, sem);
    set_word(l, op, ATTR_scope, scope);
    return val_tensor(op_result(op, 0));
}

Val builtin_atomic_cas(Lower *l, Call *c) {
    bool is_bool;
    Word sem, scope;
    Value *pointer = pointer_argument(l, c, &is_bool);
    if (!pointer || !atomic_words(l, c, 3, &sem, &scope)) return val_error();
    const Type *element = type_element(pointer->type)->element;
    if (element->kind != TYPE_SCALAR || dtype_size(element->dtype) < 2)
        return fail(l, c->spans[0], "`atomic_cas` is not available for %s",
                    type_string(element, l->arena));
    Value *values[3] = {pointer, stored_value(l, c, 1, element), stored_value(l, c, 2, element)};
    if (!values[1] || !values[2]) return val_error();
    if (!match_shapes(l, c, values, 3, c->spans)) return val_error();
    Op *op = build_op(&l->build, OP_atomic_cas, 3, values, 0, NULL);
    set_word(l, op, ATTR_sem, sem);
    set_word(l, op, ATTR_scope, scope);
    return val_tensor(op_result(op, 0));
}

/* A load or store that other programs see whole: an `or` with 0, an exchange. */
static Val atomic_access(Lower *l, Call *c, Word kind, Value *value, uint32_t mask_at) {
    bool is_bool;
    Word sem, scope;
    Value *pointer = pointer_argument(l, c, &is_bool);
    if (!pointer || !atomic_words(l, c, mask_at + 1, &sem, &scope)) return val_error();
    const Type *element = type_element(pointer->type)->element;
    uint32_t size = type_element_size(element);
    if (size < 4 || element->kind != TYPE_SCALAR)
        return fail(l, c->spans[0], "`%s` is not available for %s", c->builtin->name,
                    type_string(element, l->arena));
    const Type *bits = type_scalar(l->types, size == 8 ? DT_i64 : DT_i32);
    const Type *to = type_with_element(l->types, pointer->type, type_pointer(l->types, bits));
    if (element != bits) pointer = build_to(&l->build, OP_bitcast, pointer, to);
    Value *values[3] = {pointer, value, NULL};
    if (!value) {
        values[1] = build_zero(&l->build, bits);
    } else {
        values[1] = cast_to_type(l, value, element, c->spans[1]);
        const Type *as = values[1] ? type_with_element(l->types, values[1]->type, bits) : NULL;
        if (as && element != bits) values[1] = build_to(&l->build, OP_bitcast, values[1], as);
    }
    if (!values[1]) return val_error();
    uint32_t count = 2;
    Span spans[3] = {c->spans[0], c->spans[1], c->spans[mask_at]};
    if (c->arguments[mask_at].kind != VAL_NONE) {
        values[2] = truth_value(l, c->arguments[mask_at], spans[2], argument_name(l, c, mask_at));
        if (!values[2]) return val_error();
        count = 3;
    }
    if (!match_shapes(l, c, values, count, spans)) return val_error();
    Op *op = build_op(&l->build, OP_atomic_rmw, count, values, 0, NULL);
    op_set_word(l->module, op, ATTR_kind, kind);
    set_word(l, op, ATTR_sem, sem);
    set_word(l, op, ATTR_scope, scope);
    Value *r = op_result(op, 0);
    if (element != bits)
        r = build_to(&l->build, OP_bitcast, r, type_with_element(l->types, r->type, element));
    return value ? val_none() : val_tensor(r);
}

Val builtin_atomic_load(Lower *l, Call *c) {
    return atomic_access(l, c, WORD_or, NULL, 1);
}

Val builtin_atomic_store(Lower *l, Call *c) {
    Value *value = argument_tensor(l, c, 1);
    return value ? atomic_access(l, c, WORD_xchg, value, 2) : val_error();
}

/* ---- tensor descriptors ---------------------------------------------------------------------- */

Val builtin_make_descriptor(Lower *l, Call *c) {
    Pointer *p = pointer_parts(l, c, 3);
    const char *pad;
    if (!p || !argument_string(l, c, 4, &pad)) return val_error();
    p->pad_nan = strcmp(pad, "nan") == 0;
    return (Val){.kind = VAL_DESCRIPTOR, .pointer = p, .span = c->span};
}

static const Pointer *descriptor_argument(Lower *l, Call *c) {
    Val v = c->arguments[0];
    if (v.kind == VAL_DESCRIPTOR) return v.pointer;
    fail(l, c->spans[0], "`%s` needs a tensor descriptor, not %s", c->builtin->name,
         describe(l, v));
    return NULL;
}

static uint32_t all_dims(const Pointer *p) {
    return (1u << p->rank) - 1;
}

Val builtin_descriptor_load(Lower *l, Call *c) {
    const Pointer *p = descriptor_argument(l, c);
    Value *offsets[MAX_RANK], *mask;
    if (!p || !number_list(l, c, 1, p->rank, DT_i32, offsets)) return val_error();
    Value *pointers = addresses(l, p, offsets, all_dims(p), &mask);
    Value *operands[3] = {pointers, mask, padding(l, pointers->type, p->pad_nan)};
    Op *op = build_op(&l->build, OP_load, 3, operands, 0, NULL);
    return val_tensor(op_result(op, 0));
}

static Value *descriptor_value(Lower *l, Call *c, const Pointer *p, uint32_t i) {
    Value *v = stored_value(l, c, i, p->base->type->element);
    return v ? broadcast_to(l, v, p->rank, p->block, c->spans[i]) : NULL;
}

static Val descriptor_write(Lower *l, Call *c, uint32_t offsets_at, uint32_t value_at, Word kind) {
    const Pointer *p = descriptor_argument(l, c);
    Value *offsets[MAX_RANK], *mask;
    if (!p || !number_list(l, c, offsets_at, p->rank, DT_i32, offsets)) return val_error();
    Value *value = descriptor_value(l, c, p, value_at);
    if (!value) return val_error();
    Value *pointers = addresses(l, p, offsets, all_dims(p), &mask);
    if (kind == WORD_none) return build_store(l, c, pointers, value, mask, -1);
    if (!atomic_type(l, c, p->base->type->element, kind)) return val_error();
    Value *operands[3] = {pointers, value, mask};
    Op *op = build_op(&l->build, OP_atomic_rmw, 3, operands, 0, NULL);
    op_set_word(l->module, op, ATTR_kind, kind);
    op_set_word(l->module, op, ATTR_sem, WORD_relaxed);
    return val_none();
}

Val builtin_descriptor_store(Lower *l, Call *c) {
    bool old = c->builtin->code == 1; /* (desc, value, offsets) */
    const char *reduce = "";
    if (c->count == 4 && !argument_string(l, c, 3, &reduce)) return val_error();
    Word kind = *reduce ? word_from_name(reduce, strlen(reduce)) : WORD_none;
    if (*reduce && (kind < WORD_add || kind > WORD_xor))
        return fail(l, c->spans[3], "store_reduce cannot be '%s'", reduce);
    return descriptor_write(l, c, old ? 2 : 1, old ? 1 : 2, kind);
}

Val builtin_descriptor_atomic(Lower *l, Call *c) {
    return descriptor_write(l, c, 1, 2, (Word)c->builtin->code);
}

/* Rows x_offsets[i] of a 2-d descriptor, columns from y_offset. */
static Value *row_addresses(Lower *l, Call *c, const Pointer *p, Val rows, Val column, Value **mask,
                            uint32_t *shape) {
    Value *x = to_tensor(l, rows, c->span, "the row numbers");
    Value *y = to_tensor(l, column, c->span, "the column");
    if (!x || !y) return NULL;
    if (p->rank != 2 || !type_is_block(x->type) || x->type->rank != 1 || type_is_block(y->type)) {
        fail(l, c->span,
             "`%s` needs a descriptor of rank 2, a 1-d block of rows and a scalar column",
             c->builtin->name);
        return NULL;
    }
    shape[0] = x->type->shape[0];
    shape[1] = p->block[1];
    if (!check_elements(l, 2, shape, c->span)) return NULL;
    Pointer rows_of = *p; /* columns are the indices of dim 1, rows come from x */
    rows_of.block[0] = 1;
    Value *offsets[2] = {y, y};
    Value *columns = indices(l, &rows_of, offsets, 1); /* 1 x n */
    uint32_t tall[2] = {shape[0], 1};
    Value *row = cast_to(l, x, DT_i64, WORD_none);
    row =
        build_to(&l->build, OP_expand_dims, row, type_block(l->types, row->type->element, 2, tall));
    op_set_int(l->module, row->op, ATTR_axis, 1);
    Value *parts[2] = {row, columns}, *sum = NULL;
    *mask = NULL;
    const Type *full = type_block(l->types, type_scalar(l->types, DT_i64), 2, shape);
    for (uint32_t d = 0; d < 2; d++) {
        const Type *t = parts[d]->type;
        Value *low = build_binary(&l->build, OP_ge, parts[d], build_zero(&l->build, t));
        Value *high =
            build_binary(&l->build, OP_lt, parts[d], block_of(l, p->shape[d], 2, t->shape));
        Value *in = build_binary(&l->build, OP_and, low, high);
        in = build_to(&l->build, OP_broadcast, in, type_with_dtype(l->types, full, DT_i1));
        *mask = *mask ? build_binary(&l->build, OP_and, *mask, in) : in;
        Value *part =
            build_binary(&l->build, OP_mul, parts[d], block_of(l, p->strides[d], 2, t->shape));
        part = build_to(&l->build, OP_broadcast, part, full);
        sum = sum ? build_binary(&l->build, OP_add, sum, part) : part;
    }
    return build_binary(&l->build, OP_offset, block_of(l, p->base, 2, shape), sum);
}

Val builtin_descriptor_gather(Lower *l, Call *c) {
    const Pointer *p = descriptor_argument(l, c);
    Value *mask;
    uint32_t shape[2];
    if (!p) return val_error();
    Value *pointers = row_addresses(l, c, p, c->arguments[1], c->arguments[2], &mask, shape);
    if (!pointers) return val_error();
    Value *operands[3] = {pointers, mask, padding(l, pointers->type, p->pad_nan)};
    return val_tensor(op_result(build_op(&l->build, OP_load, 3, operands, 0, NULL), 0));
}

Val builtin_descriptor_scatter(Lower *l, Call *c) {
    const Pointer *p = descriptor_argument(l, c);
    Value *mask;
    uint32_t shape[2];
    if (!p) return val_error();
    Value *value = stored_value(l, c, 1, p->base->type->element);
    Value *pointers = row_addresses(l, c, p, c->arguments[2], c->arguments[3], &mask, shape);
    if (!pointers || !value) return val_error();
    value = broadcast_to(l, value, 2, shape, c->spans[1]);
    return value ? build_store(l, c, pointers, value, mask, -1) : val_error();
}
