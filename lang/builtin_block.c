/* builtin_block.c: functions of whole blocks (dot, reduce, scan, histogram), hints, checks and
 * device output.
 */
#include "lang/builtin_internal.h"

#include <stdio.h>

/* ---- dot ------------------------------------------------------------------------------------- */

static Value *transposed(Lower *l, Value *v) {
    uint32_t shape[MAX_RANK], rank = v->type->rank;
    int64_t order[MAX_RANK];
    for (uint32_t i = 0; i < rank; i++) order[i] = i;
    order[rank - 1] = rank - 2;
    order[rank - 2] = rank - 1;
    for (uint32_t i = 0; i < rank; i++) shape[i] = v->type->shape[order[i]];
    Value *r =
        build_to(&l->build, OP_permute, v, type_block(l->types, v->type->element, rank, shape));
    op_set_ints(l->module, r->op, ATTR_order, rank, order);
    return r;
}

static Value *matrix(Lower *l, Call *c, uint32_t i) {
    Value *v = argument_tensor(l, c, i);
    if (!v) return NULL;
    if (type_is_pointer(v->type)) {
        fail(l, c->spans[i], "%s is a block of pointers (%s); load it first",
             argument_name(l, c, i), type_string(v->type, l->arena));
        return NULL;
    }
    if (!type_is_block(v->type) || v->type->rank < 2 || v->type->rank > 3) {
        fail(l, c->spans[i], "%s must be a block of rank 2 (or 3: a batch), not %s",
             argument_name(l, c, i), type_string(v->type, l->arena));
        return NULL;
    }
    return v;
}

static bool dot_shapes(Lower *l, Call *c, const Type *a, const Type *b, uint32_t *shape) {
    uint32_t rank = a->rank;
    if (b->rank != rank) {
        fail(l, c->span, "`%s` of rank %u with rank %u", c->builtin->name, a->rank, b->rank);
        return false;
    }
    if (a->shape[rank - 1] != b->shape[rank - 2] || (rank == 3 && a->shape[0] != b->shape[0])) {
        fail(l, c->span, "`%s`: %s times %s: the inner extents %u and %u differ", c->builtin->name,
             type_string(a, l->arena), type_string(b, l->arena), a->shape[rank - 1],
             b->shape[rank - 2]);
        diag_also(l->diagnostics->last, c->spans[0]);
        diag_also(l->diagnostics->last, c->spans[1]);
        if (a->shape[rank - 1] == b->shape[rank - 1])
            note(l, c->span, "did you mean the transpose, `tl.trans(...)`?");
        return false;
    }
    if (rank == 3) shape[0] = a->shape[0];
    shape[rank - 2] = a->shape[rank - 2];
    shape[rank - 1] = b->shape[rank - 1];
    return check_elements(l, rank, shape, c->span);
}

/* What a dot of these operands accumulates in; DT_NONE: not available. */
static DType accumulator(DType a, DType out) {
    if (dtype_is_int(a)) return dtype_size(a) == 1 && a != DT_i1 ? DT_i32 : DT_NONE;
    if (a == DT_f64) return DT_f64;
    if (a == DT_f32 || a == DT_bf16) return DT_f32;
    return out == DT_f16 ? DT_f16 : DT_f32;
}

static bool dot_precision(Lower *l, Call *c, Word *precision) {
    const char *text;
    *precision = WORD_none;
    if (!argument_string(l, c, 3, &text)) return false;
    if (c->given[4] && c->arguments[4].kind != VAL_NONE) {
        bool allow;
        if (!argument_bool(l, c, 4, &allow)) return false;
        *precision = allow ? WORD_tf32 : WORD_ieee;
    }
    if (*text) {
        *precision = word_from_name(text, strlen(text));
        if (*precision < WORD_tf32 || *precision > WORD_bf16x6) {
            fail(l, c->spans[3],
                 "input_precision is 'tf32', 'tf32x3', 'ieee', 'bf16x3' or 'bf16x6', not '%s'",
                 text);
            return false;
        }
    }
    return true;
}

/* The accumulator operand: `acc`, or zero. */
static Value *initial_sum(Lower *l, Call *c, uint32_t i, const Type *type) {
    if (c->arguments[i].kind == VAL_NONE) return build_zero(&l->build, type);
    if (val_is_number(c->arguments[i])) {
        Val v = full_of(l, type, c->arguments[i], c->spans[i]);
        return v.kind == VAL_TENSOR ? v.value : NULL;
    }
    Value *acc = argument_tensor(l, c, i);
    if (!acc) return NULL;
    if (acc->type != type) {
        fail(l, c->spans[i], "%s is %s, but this product is %s", argument_name(l, c, i),
             type_string(acc->type, l->arena), type_string(type, l->arena));
        return NULL;
    }
    return acc;
}

Val builtin_dot(Lower *l, Call *c) {
    Value *a = matrix(l, c, 0), *b = matrix(l, c, 1);
    bool trans_a, trans_b;
    Word precision;
    if (!a || !b || !argument_bool(l, c, 7, &trans_a) || !argument_bool(l, c, 8, &trans_b) ||
        !dot_precision(l, c, &precision))
        return val_error();
    const Type *out = type_scalar(l->types, DT_f32);
    if (c->given[6] && c->arguments[6].kind != VAL_NONE && !argument_dtype(l, c, 6, &out))
        return val_error();
    Val given_acc = c->arguments[2];
    if (!c->given[6] && given_acc.kind == VAL_TENSOR && !type_is_pointer(given_acc.value->type))
        out = type_element(given_acc.value->type);
    if (trans_a) a = transposed(l, a);
    if (trans_b) b = transposed(l, b);
    DType da = type_dtype(a->type), db = type_dtype(b->type);
    if (da == DT_f8e4m3b15) a = cast_to(l, a, da = DT_f16, WORD_none);
    if (db == DT_f8e4m3b15) b = cast_to(l, b, db = DT_f16, WORD_none);
    if (da != db && !(dtype_is_fp8(da) && dtype_is_fp8(db))) {
        fail(l, c->span, "`dot` needs operands of one dtype, not %s and %s", dtype_name(da),
             dtype_name(db));
        diag_also(l->diagnostics->last, c->spans[0]);
        diag_also(l->diagnostics->last, c->spans[1]);
        note(l, c->span, "cast one, e.g. `p.to(v.dtype)`");
        return val_error();
    }
    DType sum = accumulator(da, type_dtype(out));
    if (sum == DT_NONE)
        return fail(l, c->span, "`dot` is not available for %s; cast to tl.int8 or to a float type",
                    dtype_name(da));
    uint32_t shape[MAX_RANK];
    if (!dot_shapes(l, c, a->type, b->type, shape)) return val_error();
    const Type *type = type_block(l->types, type_scalar(l->types, sum), a->type->rank, shape);
    Value *acc = initial_sum(l, c, 2, type);
    if (!acc) return val_error();
    Value *operands[3] = {a, b, acc};
    Op *op = build_op(&l->build, OP_dot, 3, operands, 0, NULL);
    if (precision != WORD_none && da == DT_f32)
        op_set_word(l->module, op, ATTR_precision, precision);
    int64_t imprecise;
    if (c->given[5] && c->arguments[5].kind != VAL_NONE) {
        if (!argument_int(l, c, 5, &imprecise)) return val_error();
        op_set_int(l->module, op, ATTR_max_imprecise, imprecise);
    }
    return val_tensor(op_result(op, 0));
}

static bool scaled_format(Lower *l, Call *c, uint32_t i, Word *format) {
    const char *text;
    if (!argument_string(l, c, i, &text)) return false;
    *format = word_from_name(text, strlen(text));
    if (*format >= WORD_e2m1 && *format <= WORD_fp16) return true;
    fail(l, c->spans[i], "a format is 'e2m1', 'e4m3', 'e5m2', 'bf16' or 'fp16', not '%s'", text);
    return false;
}

/* A block of scales (u8 exponents); absent: all 2^0. */
static Value *scale_operand(Lower *l, Call *c, uint32_t i, uint32_t rows, uint32_t k) {
    uint32_t shape[2] = {rows, k / 32 ? k / 32 : 1};
    const Type *type = type_block(l->types, type_scalar(l->types, DT_u8), 2, shape);
    if (c->arguments[i].kind == VAL_NONE) return build_constant_int(&l->build, type, 127);
    Value *v = argument_tensor(l, c, i);
    if (!v) return NULL;
    if (!type_same_shape(v->type, type) || dtype_size(type_dtype(v->type)) != 1) {
        fail(l, c->spans[i], "%s is %s; it must be %s: one exponent byte for 32 elements along K",
             argument_name(l, c, i), type_string(v->type, l->arena), type_string(type, l->arena));
        return NULL;
    }
    return cast_to(l, v, DT_u8, WORD_none);
}

/* Two 4-bit floats share a byte: repacked so that they are neighbours along K. */
static Value *packed_along_k(Lower *l, Call *c, Value *v, const char *how) {
    Val packed = val_tensor(cast_to(l, v, DT_u8, WORD_none));
    packed = call_std(l, how, &packed, 1, c->span);
    return packed.kind == VAL_TENSOR ? packed.value : NULL;
}

Val builtin_dot_scaled(Lower *l, Call *c) {
    Value *a = matrix(l, c, 0), *b = matrix(l, c, 3);
    Word a_format, b_format;
    bool fast, a_pack, b_pack;
    if (!a || !b || !scaled_format(l, c, 2, &a_format) || !scaled_format(l, c, 5, &b_format) ||
        !argument_bool(l, c, 7, &fast) || !argument_bool(l, c, 8, &a_pack) ||
        !argument_bool(l, c, 9, &b_pack))
        return val_error();
    if (a->type->rank != 2 || b->type->rank != 2)
        return fail(l, c->span, "`dot_scaled` needs blocks of rank 2");
    if ((!a_pack && a_format != WORD_e2m1) || (!b_pack && b_format != WORD_e2m1))
        return fail(l, c->span,
                    "only e2m1 operands are packed, so lhs_k_pack and rhs_k_pack are "
                    "for them");
    if (!a_pack) a = packed_along_k(l, c, a, "_pack_columns");
    if (!b_pack) b = packed_along_k(l, c, b, "_pack_rows");
    if (!a || !b) return val_error();
    uint32_t a_k = a->type->shape[1] * (a_format == WORD_e2m1 ? 2 : 1);
    uint32_t b_k = b->type->shape[0] * (b_format == WORD_e2m1 ? 2 : 1);
    if (a_k != b_k)
        return fail(l, c->span, "`dot_scaled`: K is %u on the left and %u on the right", a_k, b_k);
    uint32_t shape[2] = {a->type->shape[0], b->type->shape[1]};
    if (!check_elements(l, 2, shape, c->span)) return val_error();
    const Type *type = type_block(l->types, type_scalar(l->types, DT_f32), 2, shape);
    Value *a_scale = scale_operand(l, c, 1, shape[0], a_k);
    Value *b_scale = scale_operand(l, c, 4, shape[1], b_k);
    Value *acc = initial_sum(l, c, 6, type);
    if (!a_scale || !b_scale || !acc) return val_error();
    Value *operands[5] = {a, a_scale, b, b_scale, acc};
    Op *op = build_op(&l->build, OP_dot_scaled, 5, operands, 1, &type);
    op_set_word(l->module, op, ATTR_a_format, a_format);
    op_set_word(l->module, op, ATTR_b_format, b_format);
    if (fast) op_set_int(l->module, op, ATTR_fast_math, 1);
    return val_tensor(op_result(op, 0));
}

/* ---- reduce, scan, map ----------------------------------------------------------------------- */

/* The operands of reduce or scan: one block or a tuple of blocks of one shape. */
static bool block_operands(Lower *l, Call *c, Value **blocks, uint32_t *count) {
    Val v = c->arguments[0];
    const Val *items = v.kind == VAL_TUPLE ? v.items : &v;
    *count = v.kind == VAL_TUPLE ? v.count : 1;
    if (*count == 0 || *count > 8) {
        fail(l, c->spans[0], "`%s` takes 1 to 8 blocks, not %u", c->builtin->name, *count);
        return false;
    }
    for (uint32_t i = 0; i < *count; i++) {
        blocks[i] = to_tensor(l, items[i], c->spans[0], argument_name(l, c, 0));
        if (!blocks[i]) return false;
        if (type_is_pointer(blocks[i]->type)) {
            fail(l, c->spans[0], "`%s` of pointers (%s); load them first", c->builtin->name,
                 type_string(blocks[i]->type, l->arena));
            return false;
        }
    }
    return broadcast_together(l, blocks, *count, NULL, c->span, c->builtin->name);
}

/* Lowers `combine` on scalars of these types into a fresh region; NULL after an error. */
static Region *combine_region(Lower *l, Call *c, Val combine, uint32_t argument_count,
                              const Type *const *arguments, uint32_t result_count,
                              const Type *const *results) {
    if (combine.kind != VAL_FUNCTION && combine.kind != VAL_BUILTIN) {
        fail(l, c->span, "`%s` needs a function here, not %s", c->builtin->name,
             describe(l, combine));
        return NULL;
    }
    Builder outer = l->build;
    Region *region = arena_new(l->arena, Region);
    l->build.region = region;
    l->build.before = NULL;
    Val *values = arena_array(l->arena, Val, argument_count);
    for (uint32_t i = 0; i < argument_count; i++)
        values[i] = val_tensor(region_add_argument(l->module, region, arguments[i]));
    Val r = call_value(l, combine, values, argument_count, c->span);
    const Val *items = r.kind == VAL_TUPLE ? r.items : &r;
    uint32_t count = r.kind == VAL_TUPLE ? r.count : 1;
    bool ok = !val_is_silent(r);
    if (ok && count != result_count) {
        fail(l, c->span, "the function given to `%s` returns %u values; %u are needed",
             c->builtin->name, count, result_count);
        ok = false;
    }
    Value *yields[16];
    for (uint32_t i = 0; ok && i < count; i++) {
        yields[i] = to_tensor(l, items[i], c->span, "the combined value");
        if (yields[i] && yields[i]->type != results[i] && !type_is_pointer(yields[i]->type) &&
            !type_is_block(yields[i]->type))
            yields[i] = cast_to(l, yields[i], type_dtype(results[i]), WORD_none);
        if (yields[i] && yields[i]->type != results[i]) {
            fail(l, c->span, "the function given to `%s` returns %s where %s is needed",
                 c->builtin->name, type_string(yields[i]->type, l->arena),
                 type_string(results[i], l->arena));
            ok = false;
        }
        ok = ok && yields[i];
    }
    if (ok) {
        l->build.at = here(l, c->span);
        build_op(&l->build, OP_yield, count, yields, 0, NULL);
    }
    l->build = outer;
    if (ok && region->first != region->last)
        for (Op *op = region->first; op; op = op->next)
            if (op_has_effect(op, OPF_READS | OPF_WRITES | OPF_EFFECT)) {
                fail(l, c->span, "the function given to `%s` may only compute, not access memory",
                     c->builtin->name);
                return NULL;
            }
    return ok ? region : NULL;
}

static Val results_of(Lower *l, Call *c, Op *op) {
    bool tuple = c->arguments[0].kind == VAL_TUPLE;
    if (!tuple) return val_tensor(op_result(op, 0));
    Val *items = arena_array(l->arena, Val, op->result_count);
    for (uint32_t i = 0; i < op->result_count; i++) items[i] = val_tensor(op_result(op, i));
    return val_tuple(items, op->result_count);
}

static Op *combine_op(Lower *l, Call *c, OpCode code, Value **blocks, uint32_t count,
                      const Type *const *results, uint32_t axis) {
    const Type *scalars[16];
    for (uint32_t i = 0; i < count; i++)
        scalars[i] = scalars[count + i] = type_element(blocks[i]->type);
    Region *region = combine_region(l, c, c->arguments[2], 2 * count, scalars, count, scalars);
    if (!region) return NULL;
    l->build.at = here(l, c->span);
    Op *op = build_nested(&l->build, code, count, blocks, count, results);
    op_take_region(op, 0, region);
    op_set_int(l->module, op, ATTR_axis, axis);
    return op;
}

Val builtin_reduce(Lower *l, Call *c) {
    Value *blocks[8];
    uint32_t count, axis = 0;
    bool keep;
    if (!block_operands(l, c, blocks, &count) || !argument_bool(l, c, 3, &keep)) return val_error();
    const Type *type = blocks[0]->type;
    uint32_t rank = type_is_block(type) ? type->rank : 0, old_rank = rank;
    if (rank == 0) return c->arguments[0]; /* one element: itself */
    bool all = c->arguments[1].kind == VAL_NONE;
    if (!all && !argument_axis(l, c, 1, rank, &axis)) return val_error();
    if (all && rank > 1) { /* over everything: as one row */
        for (uint32_t i = 0; i < count; i++)
            blocks[i] =
                build_to(&l->build, OP_reshape, blocks[i],
                         type_block(l->types, type_element(blocks[i]->type), 1, &type->count));
        rank = 1;
        type = blocks[0]->type;
    }
    const Type *results[8];
    uint32_t shape[MAX_RANK], n = 0;
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis) shape[n++] = type->shape[i];
    for (uint32_t i = 0; i < count; i++)
        results[i] = type_block(l->types, type_element(blocks[i]->type), n, shape);
    Op *op = combine_op(l, c, OP_reduce, blocks, count, results, axis);
    if (!op) return val_error();
    Val r = results_of(l, c, op);
    if (!keep) return r;
    Val *items = r.kind == VAL_TUPLE ? r.items : &r;
    for (uint32_t i = 0; i < count; i++) {
        Value *v = items[i].value;
        if (all) {
            uint32_t ones[MAX_RANK];
            for (uint32_t d = 0; d < old_rank; d++) ones[d] = 1;
            v = build_to(&l->build, OP_splat, v, type_block(l->types, v->type, old_rank, ones));
        } else {
            uint32_t longer[MAX_RANK];
            for (uint32_t d = 0; d < rank; d++) longer[d] = d == axis ? 1 : type->shape[d];
            const Type *t = type_block(l->types, type_element(v->type), rank, longer);
            v = build_to(&l->build, rank > 1 ? OP_expand_dims : OP_splat, v, t);
            if (rank > 1) op_set_int(l->module, v->op, ATTR_axis, axis);
        }
        items[i] = val_tensor(v);
    }
    return r;
}

Val builtin_scan(Lower *l, Call *c) {
    Value *blocks[8];
    uint32_t count, axis;
    bool reverse;
    if (!block_operands(l, c, blocks, &count) || !argument_bool(l, c, 3, &reverse))
        return val_error();
    const Type *type = blocks[0]->type;
    if (!type_is_block(type)) return c->arguments[0];
    if (!argument_axis(l, c, 1, type->rank, &axis)) return val_error();
    const Type *results[8];
    for (uint32_t i = 0; i < count; i++) results[i] = blocks[i]->type;
    Op *op = combine_op(l, c, OP_scan, blocks, count, results, axis);
    if (!op) return val_error();
    if (reverse) op_set_int(l->module, op, ATTR_reverse, 1);
    return results_of(l, c, op);
}

/* The result types of map are whatever the function returns for scalars. */
Val builtin_map(Lower *l, Call *c) {
    Value *blocks[8];
    uint32_t count = c->rest_count;
    if (count == 0 || count > 8) return fail(l, c->span, "`map_elementwise` takes 1 to 8 blocks");
    if (c->given[2] && !(val_is_integer(c->arguments[2]) && c->arguments[2].integer == 1))
        return fail(l, c->span, "`map_elementwise` with pack other than 1 is not available");
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = to_tensor(l, c->rest[i], c->span, "an operand of `map_elementwise`");
        if (!blocks[i]) return val_error();
    }
    if (!broadcast_together(l, blocks, count, NULL, c->span, "`map_elementwise`"))
        return val_error();
    Builder outer = l->build;
    Region *region = arena_new(l->arena, Region);
    l->build.region = region;
    l->build.before = NULL;
    Val arguments[8];
    for (uint32_t i = 0; i < count; i++)
        arguments[i] =
            val_tensor(region_add_argument(l->module, region, type_element(blocks[i]->type)));
    Val r = call_value(l, c->arguments[0], arguments, count, c->span);
    const Val *items = r.kind == VAL_TUPLE ? r.items : &r;
    uint32_t result_count = r.kind == VAL_TUPLE ? r.count : 1;
    Value *yields[8];
    const Type *types[8];
    bool ok = !val_is_silent(r) && result_count > 0 && result_count <= 8;
    for (uint32_t i = 0; ok && i < result_count; i++) {
        yields[i] = to_tensor(l, items[i], c->span, "the result of the mapped function");
        ok = yields[i] && !type_is_block(yields[i]->type);
        if (ok) types[i] = type_with_element(l->types, blocks[0]->type, yields[i]->type);
    }
    if (ok) build_op(&l->build, OP_yield, result_count, yields, 0, NULL);
    l->build = outer;
    if (!ok)
        return r.kind == VAL_ERROR ? r
                                   : fail(l, c->span, "the mapped function must return scalars");
    Op *op = build_nested(&l->build, OP_map, count, blocks, result_count, types);
    op_take_region(op, 0, region);
    Val *out = arena_array(l->arena, Val, result_count);
    for (uint32_t i = 0; i < result_count; i++) out[i] = val_tensor(op_result(op, i));
    return r.kind == VAL_TUPLE ? val_tuple(out, result_count) : out[0];
}

Val builtin_histogram(Lower *l, Call *c) {
    int64_t bins;
    Value *x = argument_tensor(l, c, 0);
    if (!x || !argument_int(l, c, 1, &bins) || !check_extent(l, bins, c->spans[1]))
        return val_error();
    if (!type_is_block(x->type) || x->type->rank != 1 || !dtype_is_int(type_dtype(x->type)))
        return fail(l, c->spans[0], "`histogram` needs a 1-d block of integers, not %s",
                    type_string(x->type, l->arena));
    Value *operands[2] = {x, NULL};
    uint32_t count = 1, extent = (uint32_t)bins;
    if (c->arguments[2].kind != VAL_NONE) {
        operands[1] = truth_value(l, c->arguments[2], c->spans[2], argument_name(l, c, 2));
        if (!operands[1] || !broadcast_together(l, operands, 2, c->spans, c->span, "`histogram`"))
            return val_error();
        count = 2;
    }
    const Type *type = type_block(l->types, type_scalar(l->types, DT_i32), 1, &extent);
    return val_tensor(op_result(build_op(&l->build, OP_histogram, count, operands, 1, &type), 0));
}

/* ---- hints, checks, output ------------------------------------------------------------------- */

Val builtin_hint(Lower *l, Call *c) {
    Val input = c->arguments[0], values = c->arguments[1];
    if (val_is_constant(input) && val_is_number(input)) return input;
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    const Val *items = values.kind == VAL_TUPLE ? values.items : &values;
    uint32_t count = values.kind == VAL_TUPLE ? values.count : 1;
    uint32_t rank = type_is_block(x->type) ? x->type->rank : 1;
    int64_t numbers[MAX_RANK];
    if (count != rank)
        return fail(l, c->spans[1], "%s has %u entries for %s", argument_name(l, c, 1), count,
                    type_string(x->type, l->arena));
    for (uint32_t i = 0; i < count; i++) {
        if (!val_is_integer(items[i]))
            return not_constant(l, items[i], c->spans[1], argument_name(l, c, 1));
        if (items[i].integer < 1 || items[i].integer > INT32_MAX)
            return fail(l, c->spans[1], "%s cannot be %s", argument_name(l, c, 1),
                        wide_string(l->arena, items[i].integer));
        numbers[i] = (int64_t)items[i].integer;
    }
    Value *r = build_unary(&l->build, OP_hint, x);
    op_set_ints(l->module, r->op, (AttributeKey)c->builtin->code, count, numbers);
    return val_tensor(r);
}

Val builtin_assume(Lower *l, Call *c) {
    if (val_is_constant(c->arguments[0])) {
        if (konst_truth(c->arguments[0])) return val_none();
        return fail(l, c->span, "this is assumed to be true, but it is false");
    }
    Value *condition = truth_value(l, c->arguments[0], c->spans[0], argument_name(l, c, 0));
    if (!condition) return val_error();
    if (type_is_block(condition->type)) return val_none(); /* says nothing a pass could use */
    build_op(&l->build, OP_assume, 1, &condition, 0, NULL);
    return val_none();
}

Val builtin_barrier(Lower *l, Call *c) {
    (void)c;
    build_op(&l->build, OP_barrier, 0, NULL, 0, NULL);
    return val_none();
}

Val builtin_print(Lower *l, Call *c) {
    bool python = c->builtin->code == 1; /* print("text", x): the prefix is the first value */
    Val prefix = python ? val_string("", 0) : c->arguments[0];
    const Val *values = c->rest;
    uint32_t count = c->rest_count;
    if (python && count && values[0].kind == VAL_STRING) {
        prefix = values[0];
        values++;
        count--;
    }
    bool hex = false;
    if (!python && !argument_bool(l, c, 2, &hex)) return val_error();
    if (prefix.kind != VAL_STRING)
        return fail(l, c->spans[0], "the first argument of `%s` is a text, not %s",
                    c->builtin->name, describe(l, prefix));
    VEC(Value *) operands = {0};
    Text text = {.arena = l->arena};
    text_add(&text, prefix.string, prefix.count);
    for (uint32_t i = 0; i < count; i++) {
        if (val_is_constant(values[i]) && !val_is_number(values[i])) {
            konst_print(l, values[i], &text);
            continue;
        }
        Value *v = to_tensor(l, values[i], c->span, "a printed value");
        if (!v) return val_error();
        vec_push(l->arena, &operands, v);
    }
    Op *op = build_op(&l->build, OP_print, operands.length, operands.data, 0, NULL);
    op_set_string(l->module, op, ATTR_text, text.data ? text.data : "", (uint32_t)text.length);
    if (hex) op_set_int(l->module, op, ATTR_hex, 1);
    return val_none();
}

Val builtin_assert(Lower *l, Call *c) {
    if (val_is_constant(c->arguments[0]) && konst_truth(c->arguments[0])) return val_none();
    Text message = {.arena = l->arena};
    text_puts(&message, "");
    if (c->arguments[1].kind != VAL_NONE) konst_print(l, c->arguments[1], &message);
    Value *operands[2] = {truth_value(l, c->arguments[0], c->spans[0], argument_name(l, c, 0)),
                          NULL};
    if (!operands[0]) return val_error();
    uint32_t count = 1;
    if (c->arguments[2].kind != VAL_NONE) {
        operands[1] = truth_value(l, c->arguments[2], c->spans[2], argument_name(l, c, 2));
        Span spans[2] = {c->spans[0], c->spans[2]};
        if (!operands[1] || !broadcast_together(l, operands, 2, spans, c->span, "`device_assert`"))
            return val_error();
        count = 2;
    }
    Op *op = build_op(&l->build, OP_assert, count, operands, 0, NULL);
    op_set_string(l->module, op, ATTR_text, message.data, (uint32_t)message.length);
    return val_none();
}

Val builtin_inline_asm(Lower *l, Call *c) {
    const char *text, *constraints;
    const Type *types[8], *elements[8];
    bool pure;
    int64_t pack;
    if (!argument_string(l, c, 0, &text) || !argument_string(l, c, 1, &constraints) ||
        !argument_bool(l, c, 4, &pure) || !argument_int(l, c, 5, &pack))
        return val_error();
    Val list = c->arguments[2], dtype = c->arguments[3];
    const Val *items = list.kind == VAL_TUPLE ? list.items : &list;
    uint32_t count = list.kind == VAL_TUPLE ? list.count : 1;
    uint32_t results = dtype.kind == VAL_TUPLE ? dtype.count : 1;
    if (count > 16 || results == 0 || results > 8)
        return fail(l, c->span,
                    "`inline_asm_elementwise` takes at most 16 operands and 1 to 8 results");
    Value *operands[16];
    for (uint32_t i = 0; i < count; i++) {
        operands[i] = to_tensor(l, items[i], c->spans[2], argument_name(l, c, 2));
        if (!operands[i]) return val_error();
    }
    if (count && !broadcast_together(l, operands, count, NULL, c->span, "`inline_asm_elementwise`"))
        return val_error();
    for (uint32_t i = 0; i < results; i++) {
        Val one = dtype.kind == VAL_TUPLE ? dtype.items[i] : dtype;
        if (one.kind != VAL_DTYPE)
            return fail(l, c->spans[3], "%s must be a type, not %s", argument_name(l, c, 3),
                        describe(l, one));
        elements[i] = type_element(one.type);
        types[i] =
            count ? type_with_element(l->types, operands[0]->type, elements[i]) : elements[i];
    }
    Op *op = build_op(&l->build, OP_inline_asm, count, operands, results, types);
    op_set_string(l->module, op, ATTR_asm_text, text, (uint32_t)strlen(text));
    op_set_string(l->module, op, ATTR_constraints, constraints, (uint32_t)strlen(constraints));
    op_set_int(l->module, op, ATTR_pack, pack);
    if (pure) op_set_int(l->module, op, ATTR_pure, 1);
    Val *out = arena_array(l->arena, Val, results);
    for (uint32_t i = 0; i < results; i++) out[i] = val_tensor(op_result(op, i));
    return dtype.kind == VAL_TUPLE ? val_tuple(out, results) : out[0];
}
