/* builtin_math.c: element-wise functions. Those of floats work in f32 or f64; narrower operands
 * are widened to f32 and so is the result.
 */
#include "lang/builtin_internal.h"

#include <math.h>

static Val result(Value *v) {
    return v ? val_tensor(v) : val_error();
}

Val builtin_unary(Lower *l, Call *c) {
    Value *x = float_operand(l, c->arguments[0], c->spans[0], argument_name(l, c, 0));
    return x ? val_tensor(build_unary(&l->build, (OpCode)c->builtin->code, x)) : val_error();
}

/* Two operands in their common type and shape. */
static bool pair_for(Lower *l, Call *c, bool division, Value **x, Value **y) {
    const char *what = arena_printf(l->arena, "`%s`", c->builtin->name);
    return arithmetic_operands(l, c->arguments[0], c->arguments[1], c->spans[0], c->spans[1],
                               c->span, division, what, x, y);
}

static bool pair(Lower *l, Call *c, Value **x, Value **y) {
    return pair_for(l, c, false, x, y);
}

/* The same, as f32 or f64. */
static bool float_pair(Lower *l, Call *c, Value **x, Value **y) {
    if (!pair(l, c, x, y)) return false;
    DType d = type_dtype((*x)->type);
    if (d == DT_f32 || d == DT_f64) return true;
    *x = cast_to(l, *x, DT_f32, WORD_none);
    *y = cast_to(l, *y, DT_f32, WORD_none);
    return true;
}

Val builtin_float_binary(Lower *l, Call *c) {
    Value *x, *y;
    if (!float_pair(l, c, &x, &y)) return val_error();
    return val_tensor(build_binary(&l->build, (OpCode)c->builtin->code, x, y));
}

Val builtin_fdiv(Lower *l, Call *c) {
    Value *x, *y;
    if (!pair_for(l, c, true, &x, &y)) return val_error();
    if (!dtype_is_float(type_dtype(x->type)))
        return fail(l, c->span, "`%s` divides floats, not %s; write `//` for integers",
                    c->builtin->name, type_string(x->type, l->arena));
    return val_tensor(build_binary(&l->build, OP_div, x, y));
}

Val builtin_operator(Lower *l, Call *c) {
    Val a = c->arguments[0], b = c->arguments[1];
    Operator op = (Operator)c->builtin->code;
    if (val_is_constant(a) && val_is_constant(b)) return konst_binary(l, op, a, b, c->span);
    return tensor_binary(l, op, a, b, c->spans[0], c->spans[1], c->span);
}

Val builtin_logical(Lower *l, Call *c) {
    Value *both[2] = {truth_value(l, c->arguments[0], c->spans[0], "the left operand"),
                      truth_value(l, c->arguments[1], c->spans[1], "the right operand")};
    if (!both[0] || !both[1]) return val_error();
    if (!broadcast_together(l, both, 2, c->spans, c->span, c->builtin->name)) return val_error();
    return val_tensor(build_binary(&l->build, (OpCode)c->builtin->code, both[0], both[1]));
}

static bool wants_nan(Lower *l, Call *c, uint32_t i) {
    Val v = c->arguments[i];
    if (v.kind == VAL_BUILTIN || v.kind == VAL_MODULE) return false;
    (void)l;
    /* tl.PropagateNan.ALL is 0xffff, NONE 0 */
    return val_is_constant(v) && konst_truth(v);
}

Val builtin_minmax(Lower *l, Call *c) {
    bool nan = c->count > 2 && wants_nan(l, c, 2);
    bool is_max = c->builtin->code == OP_max;
    Value *x, *y;
    if (!pair(l, c, &x, &y)) return val_error();
    DType d = type_dtype(x->type);
    OpCode code = is_max ? OP_max : OP_min;
    if (nan && dtype_is_float(d)) code = is_max ? OP_max_nan : OP_min_nan;
    return val_tensor(build_binary(&l->build, code, x, y));
}

Val builtin_python_minmax(Lower *l, Call *c) {
    const Val *items = c->rest;
    uint32_t count = c->rest_count;
    if (count == 1 && items[0].kind == VAL_TUPLE) {
        count = items[0].count;
        items = items[0].items;
    }
    if (count == 0) return fail(l, c->span, "`%s` needs values", c->builtin->name);
    bool is_max = c->builtin->code == OP_max;
    Val best = items[0];
    for (uint32_t i = 1; i < count; i++) {
        if (val_is_constant(best) && val_is_constant(items[i])) {
            Val less =
                konst_compare(l, is_max ? OPERATOR_GT : OPERATOR_LT, items[i], best, c->span);
            if (less.kind == VAL_ERROR) return less;
            if (konst_truth(less)) best = items[i];
            continue;
        }
        Value *x, *y;
        const char *what = arena_printf(l->arena, "`%s`", c->builtin->name);
        if (!arithmetic_operands(l, best, items[i], c->span, c->span, c->span, false, what, &x, &y))
            return val_error();
        best = val_tensor(build_binary(&l->build, is_max ? OP_max : OP_min, x, y));
    }
    return best;
}

/* Three operands in their common type and shape; DT_NONE after an error. */
static DType triple(Lower *l, Call *c, Value **v) {
    for (uint32_t i = 0; i < 3; i++) {
        v[i] = argument_tensor(l, c, i);
        if (!v[i]) return DT_NONE;
        if (!type_is_pointer(v[i]->type)) continue;
        fail(l, c->spans[i], "%s is a pointer", argument_name(l, c, i));
        return DT_NONE;
    }
    DType d = common_dtype(l, c->arguments, v, 3);
    for (uint32_t i = 0; i < 3; i++) {
        v[i] = number_operand(l, c->arguments[i], v[i], d, c->spans[i]);
        if (!v[i]) return DT_NONE;
    }
    const char *what = arena_printf(l->arena, "`%s`", c->builtin->name);
    return broadcast_together(l, v, 3, c->spans, c->span, what) ? d : DT_NONE;
}

Val builtin_clamp(Lower *l, Call *c) {
    Value *v[3];
    if (triple(l, c, v) == DT_NONE) return val_error();
    Value *r = build_ternary(&l->build, OP_clamp, v[0], v[1], v[2]);
    if (wants_nan(l, c, 3)) op_set_int(l->module, r->op, ATTR_nan, 1);
    return val_tensor(r);
}

Val builtin_where(Lower *l, Call *c) {
    Value *condition = truth_value(l, c->arguments[0], c->spans[0], argument_name(l, c, 0));
    if (!condition) return val_error();
    Val a = c->arguments[1], b = c->arguments[2];
    Value *v[3] = {condition, NULL, NULL};
    bool pointers = (a.kind == VAL_TENSOR && type_is_pointer(a.value->type)) &&
                    (b.kind == VAL_TENSOR && type_is_pointer(b.value->type));
    if (pointers) {
        v[1] = a.value;
        v[2] = b.value;
        if (type_element(v[1]->type) != type_element(v[2]->type))
            return fail(l, c->span, "`where` cannot choose between %s and %s", describe(l, a),
                        describe(l, b));
    } else if (!arithmetic_operands(l, a, b, c->spans[1], c->spans[2], c->span, false, "`where`",
                                    &v[1], &v[2])) {
        return val_error();
    }
    if (!broadcast_together(l, v, 3, c->spans, c->span, "`where`")) return val_error();
    return val_tensor(build_ternary(&l->build, OP_select, v[0], v[1], v[2]));
}

Val builtin_fma(Lower *l, Call *c) {
    Value *v[3];
    DType d = triple(l, c, v);
    if (d == DT_NONE) return val_error();
    if (!dtype_is_float(d)) return fail(l, c->span, "`fma` needs floats, not %s", dtype_name(d));
    return val_tensor(build_ternary(&l->build, OP_fma, v[0], v[1], v[2]));
}

Val builtin_mulhi(Lower *l, Call *c) {
    Value *x, *y;
    if (!pair(l, c, &x, &y)) return val_error();
    DType d = type_dtype(x->type);
    if (!dtype_is_int(d) || dtype_bits(d) < 32)
        return fail(l, c->span, "`%s` needs 32- or 64-bit integers, not %s", c->builtin->name,
                    type_string(x->type, l->arena));
    if (strcmp(c->builtin->name, "umulhi") == 0) { /* unsigned whatever the operands say */
        DType u = dtype_bits(d) == 64 ? DT_u64 : DT_u32;
        x = cast_to(l, x, u, WORD_none);
        y = cast_to(l, y, u, WORD_none);
    }
    Value *r = build_binary(&l->build, OP_mulhi, x, y);
    return val_tensor(cast_to(l, r, d, WORD_none));
}

Val builtin_abs(Lower *l, Call *c) {
    Val v = c->arguments[0];
    if (val_is_integer(v)) return val_int(v.integer < 0 ? -v.integer : v.integer);
    if (v.kind == VAL_FLOAT) return val_float(fabs(v.number));
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    if (type_is_pointer(x->type))
        return fail(l, c->spans[0], "%s is a pointer", argument_name(l, c, 0));
    if (dtype_is_unsigned(type_dtype(x->type))) return val_tensor(x);
    return val_tensor(build_unary(&l->build, OP_abs, x));
}

Val builtin_integer_unary(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    if (!dtype_is_int(type_dtype(x->type)))
        return fail(l, c->spans[0], "`%s` needs integers, not %s", c->builtin->name,
                    type_string(x->type, l->arena));
    return val_tensor(build_unary(&l->build, (OpCode)c->builtin->code, x));
}

/* isnan and its like, said with comparisons; the result is i1. */
Val builtin_classify(Lower *l, Call *c) {
    Value *x = float_operand(l, c->arguments[0], c->spans[0], argument_name(l, c, 0));
    if (!x) return val_error();
    Builder *b = &l->build;
    if (c->builtin->code == CLASS_NAN) return val_tensor(build_binary(b, OP_ne, x, x));
    if (c->builtin->code == CLASS_NEGATIVE) {
        DType bits = type_dtype(x->type) == DT_f64 ? DT_i64 : DT_i32;
        Value *i = build_to(b, OP_bitcast, x, type_with_dtype(l->types, x->type, bits));
        return val_tensor(build_binary(b, OP_lt, i, build_zero(b, i->type)));
    }
    Value *size = build_unary(b, OP_abs, x), *inf = build_constant_float(b, x->type, INFINITY);
    return val_tensor(build_binary(b, c->builtin->code == CLASS_INF ? OP_eq : OP_lt, size, inf));
}

/* llrint, float2uint_rz, ...: the type is in the name. */
Val builtin_to_integer(Lower *l, Call *c) {
    Value *x = float_operand(l, c->arguments[0], c->spans[0], argument_name(l, c, 0));
    if (!x) return val_error();
    x = build_unary(&l->build, (OpCode)c->builtin->code, x);
    const char *two = strchr(c->builtin->name, '2'), *type = two ? two + 1 : c->builtin->name;
    bool is_unsigned = *type == 'u', wide = type[is_unsigned] == 'l';
    DType d = is_unsigned ? (wide ? DT_u64 : DT_u32) : wide ? DT_i64 : DT_i32;
    return val_tensor(cast_to(l, x, d, WORD_none));
}

Val builtin_from_integer(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    if (!x) return val_error();
    if (type_is_pointer(x->type))
        return fail(l, c->spans[0], "%s is a pointer", argument_name(l, c, 0));
    return val_tensor(cast_to(l, x, (DType)c->builtin->code, WORD_none));
}

/* float_as_int and its like */
Val builtin_as_bits(Lower *l, Call *c) {
    Value *x = argument_tensor(l, c, 0);
    DType to = (DType)c->builtin->code;
    if (!x) return val_error();
    DType from = dtype_is_float(to) ? DT_NONE : to == DT_i64 ? DT_f64 : DT_f32;
    if (from != DT_NONE && !type_is_pointer(x->type)) x = cast_to(l, x, from, WORD_none);
    if (type_is_pointer(x->type) || dtype_size(type_dtype(x->type)) != dtype_size(to))
        return fail(l, c->spans[0], "`%s` of %s", c->builtin->name, type_string(x->type, l->arena));
    if (type_dtype(x->type) == to) return val_tensor(x);
    return val_tensor(build_to(&l->build, OP_bitcast, x, type_with_dtype(l->types, x->type, to)));
}

/* ---- types ----------------------------------------------------------------------------------- */

Val builtin_cast(Lower *l, Call *c) {
    const Type *type;
    const char *rounding;
    bool bits;
    Value *x = argument_tensor(l, c, 0);
    if (!x || !argument_dtype(l, c, 1, &type) || !argument_string(l, c, 2, &rounding) ||
        !argument_bool(l, c, 3, &bits))
        return val_error();
    if (bits) return builtin_bitcast(l, c);
    Word word = WORD_none;
    if (strcmp(rounding, "rtz") == 0) {
        word = WORD_rtz;
    } else if (*rounding && strcmp(rounding, "rtne") != 0) {
        return fail(l, c->spans[2], "fp_downcast_rounding is 'rtne' or 'rtz', not '%s'", rounding);
    }
    const Type *element = type_element(type);
    if (type_is_pointer(x->type) || element->kind == TYPE_POINTER)
        return result(cast_to_type(l, x, element, c->span));
    return val_tensor(cast_to(l, x, element->dtype, word));
}

Val builtin_to_tensor(Lower *l, Call *c) {
    return result(argument_tensor(l, c, 0));
}

Val builtin_bitcast(Lower *l, Call *c) {
    const Type *type;
    Value *x = argument_tensor(l, c, 0);
    if (!x || !argument_dtype(l, c, 1, &type)) return val_error();
    const Type *from = type_element(x->type), *to = type_element(type);
    if (from == to) return val_tensor(x);
    if (type_element_size(from) != type_element_size(to))
        return fail(l, c->span, "a bitcast keeps the size: %s has %u bytes, %s has %u",
                    type_string(from, l->arena), type_element_size(from), type_string(to, l->arena),
                    type_element_size(to));
    return val_tensor(build_to(&l->build, OP_bitcast, x, type_with_element(l->types, x->type, to)));
}
