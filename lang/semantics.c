/* semantics.c: how tensors of different types and shapes meet, by Triton's rules.
 *
 * A number written in the source takes the tensor's type when its kind (bool < int < float) is not
 * above the tensor's; otherwise it counts as i32 / f32 and the usual rules hold:
 *   f64 with anything is f64, else f32 is f32, else f16 is f16, else bf16 with bf16 is bf16 and
 *   with another type f32; division widens narrower floats to f32; two different fp8 give f16;
 *   integers take the wider type, at equal width the unsigned one.
 * Shapes of lower rank get leading extents of 1; extents of 1 are repeated.
 */
#include "lang/lower_internal.h"

#include <float.h>
#include <math.h>

/* ---- constants and casts ------------------------------------------------------------------ */

static Builder *builder(Lower *l) {
    return &l->build;
}

Value *constant_of(Lower *l, Val number, const Type *type) {
    DType dtype = type_dtype(type);
    if (dtype_is_float(dtype)) {
        double d = number.kind == VAL_FLOAT ? number.number : (double)number.integer;
        return build_constant_float(builder(l), type, d);
    }
    Wide i = number.kind == VAL_FLOAT ? (Wide)number.number : number.integer;
    return build_constant_int(builder(l), type, (int64_t)i);
}

static DType literal_dtype(Val v) { /* DT_NONE: fits nowhere */
    const Wide one = 1;
    if (v.kind == VAL_BOOL) return DT_i1;
    if (v.kind == VAL_FLOAT) {
        double a = fabs(v.number);
        bool f32 = a == 0 || isinf(a) || isnan(a) || (a >= FLT_MIN && a <= FLT_MAX);
        return f32 ? DT_f32 : DT_f64;
    }
    if (v.integer >= -(one << 31) && v.integer < (one << 31)) return DT_i32;
    if (v.integer >= 0 && v.integer < (one << 32)) return DT_u32;
    if (v.integer >= -(one << 63) && v.integer < (one << 63)) return DT_i64;
    if (v.integer >= 0 && v.integer < (one << 64)) return DT_u64;
    return DT_NONE;
}

Value *to_tensor(Lower *l, Val v, Span span, const char *what) {
    if (v.kind == VAL_TENSOR) return v.value;
    if (val_is_silent(v)) return NULL;
    if (val_is_number(v)) {
        DType dtype = literal_dtype(v);
        if (dtype == DT_NONE) {
            fail(l, span, "%s does not fit into 64 bits", wide_string(l->arena, v.integer));
            return NULL;
        }
        return constant_of(l, v, type_scalar(l->types, dtype));
    }
    if (v.kind == VAL_NONE)
        fail(l, span, "%s is None here, but a number or a block is needed", what);
    else
        fail(l, span, "%s must be a number or a block, not %s", what, describe(l, v));
    return NULL;
}

Value *cast_to(Lower *l, Value *v, DType dtype, Word rounding) {
    DType from = type_dtype(v->type);
    if (from == dtype) return v;
    const Type *type = type_with_dtype(l->types, v->type, dtype);
    if (dtype == DT_i1) return build_binary(builder(l), OP_ne, v, build_zero(builder(l), v->type));
    Value *r = build_to(builder(l), OP_cast, v, type);
    if (rounding == WORD_rtz) op_set_word(l->module, r->op, ATTR_rounding, WORD_rtz);
    return r;
}

Value *cast_to_type(Lower *l, Value *v, const Type *element, Span span) {
    const Type *from = type_element(v->type);
    if (from == element) return v;
    if (from->kind == TYPE_SCALAR && element->kind == TYPE_SCALAR)
        return cast_to(l, v, element->dtype, WORD_none);
    const Type *type = type_with_element(l->types, v->type, element);
    if (from->kind == TYPE_POINTER && element->kind == TYPE_POINTER)
        return build_to(builder(l), OP_bitcast, v, type);
    if (from->kind == TYPE_POINTER) {
        if (!dtype_is_int(element->dtype)) {
            fail(l, span, "a pointer cannot become %s; only an integer or another pointer",
                 type_string(element, l->arena));
            return NULL;
        }
        Value *i = build_to(builder(l), OP_bitcast, v, type_with_dtype(l->types, v->type, DT_i64));
        return cast_to(l, i, element->dtype, WORD_none);
    }
    if (!dtype_is_int(from->dtype)) {
        fail(l, span, "%s cannot become a pointer; cast it to an integer first",
             type_string(v->type, l->arena));
        return NULL;
    }
    return build_to(builder(l), OP_bitcast, cast_to(l, v, DT_i64, WORD_none), type);
}

/* ---- shapes --------------------------------------------------------------------------------- */

static uint32_t rank_of(const Type *t) {
    return type_is_block(t) ? t->rank : 0;
}

/* Extent of t's dim `i` counted in a shape of rank `rank` (leading dims are 1). */
static uint32_t extent(const Type *t, uint32_t i, uint32_t rank) {
    uint32_t r = rank_of(t), missing = rank - r;
    return i < missing ? 1 : t->shape[i - missing];
}

bool shapes_broadcast(const Type *a, const Type *b) {
    uint32_t rank = rank_of(a) > rank_of(b) ? rank_of(a) : rank_of(b);
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t x = extent(a, i, rank), y = extent(b, i, rank);
        if (x != y && x != 1 && y != 1) return false;
    }
    return true;
}

bool check_elements(Lower *l, uint32_t rank, const uint32_t *shape, Span span) {
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        elements *= shape[i];
        if (elements > MAX_BLOCK_ELEMENTS) {
            fail(l, span, "this block would have more than %u elements", MAX_BLOCK_ELEMENTS);
            return false;
        }
    }
    return true;
}

static Value *expand_to(Lower *l, Value *v, uint32_t rank, const uint32_t *shape) {
    const Type *element = type_element(v->type);
    const Type *type = type_block(l->types, element, rank, shape);
    if (v->type == type) return v;
    if (!type_is_block(v->type)) return build_to(builder(l), OP_splat, v, type);
    while (v->type->rank < rank) {
        uint32_t longer[MAX_RANK] = {1};
        memcpy(longer + 1, v->type->shape, v->type->rank * sizeof *longer);
        v = build_to(builder(l), OP_expand_dims, v,
                     type_block(l->types, element, v->type->rank + 1, longer));
        op_set_int(l->module, v->op, ATTR_axis, 0);
    }
    return v->type == type ? v : build_to(builder(l), OP_broadcast, v, type);
}

static const char *shape_string(Lower *l, const Type *t) {
    Text text = {.arena = l->arena};
    text_puts(&text, "(");
    for (uint32_t i = 0; i < rank_of(t); i++) text_printf(&text, i ? ", %u" : "%u", t->shape[i]);
    text_puts(&text, ")");
    return text.data;
}

Value *broadcast_to(Lower *l, Value *v, uint32_t rank, const uint32_t *shape, Span span) {
    if (rank == 0 && !type_is_block(v->type)) return v;
    const Type *target = type_block(l->types, type_element(v->type), rank, shape);
    bool fits = rank_of(v->type) <= rank;
    for (uint32_t i = 0; fits && i < rank; i++) {
        uint32_t x = extent(v->type, i, rank);
        fits = x == shape[i] || x == 1;
    }
    if (!fits) {
        fail(l, span, "a block of shape %s cannot be broadcast to shape %s",
             shape_string(l, v->type), shape_string(l, target));
        return NULL;
    }
    return expand_to(l, v, rank, shape);
}

bool broadcast_together(Lower *l, Value **values, uint32_t count, const Span *spans, Span at,
                        const char *what) {
    uint32_t rank = 0, shape[MAX_RANK];
    for (uint32_t i = 0; i < count; i++)
        if (rank_of(values[i]->type) > rank) rank = rank_of(values[i]->type);
    for (uint32_t d = 0; d < rank; d++) {
        uint32_t first = 0; /* the value that gave the extent */
        shape[d] = 1;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t x = extent(values[i]->type, d, rank);
            if (x == 1 || x == shape[d]) continue;
            if (shape[d] == 1) {
                shape[d] = x;
                first = i;
                continue;
            }
            fail(l, at,
                 "%s: shapes %s and %s do not fit: dim %u is %u on one side and %u on the "
                 "other",
                 what, shape_string(l, values[first]->type), shape_string(l, values[i]->type), d,
                 shape[d], x);
            if (spans) {
                diag_also(l->diagnostics->last, spans[first]);
                diag_also(l->diagnostics->last, spans[i]);
            }
            return false;
        }
    }
    if (rank == 0) return true;
    if (!check_elements(l, rank, shape, at)) return false;
    for (uint32_t i = 0; i < count; i++) values[i] = expand_to(l, values[i], rank, shape);
    return true;
}

/* ---- arithmetic types ------------------------------------------------------------------------ */

static int kind_rank(DType d) {
    return d == DT_i1 ? 0 : dtype_is_float(d) ? 2 : 1;
}

static DType integer_promote(DType a, DType b) {
    uint32_t x = dtype_bits(a), y = dtype_bits(b);
    if (x != y) return x > y ? a : b;
    return dtype_kind(a) == DK_UNSIGNED ? a : b;
}

DType promote(DType a, bool a_is_number, DType b, bool b_is_number, bool division, bool *mixed) {
    *mixed = false;
    if (a_is_number != b_is_number) {
        DType number = a_is_number ? a : b, tensor = a_is_number ? b : a;
        if (kind_rank(number) <= kind_rank(tensor)) a = b = tensor;
    }
    if (a == DT_f64 || b == DT_f64) return DT_f64;
    bool is_float = dtype_is_float(a) || dtype_is_float(b);
    if (a == DT_f32 || b == DT_f32 || (division && is_float)) return DT_f32;
    if (a == DT_f16 || b == DT_f16) return DT_f16;
    if (a == DT_bf16 && b == DT_bf16) return DT_bf16;
    if (a == DT_bf16 || b == DT_bf16) return DT_f32;
    if (dtype_is_fp8(a) && dtype_is_fp8(b)) return a == b ? a : DT_f16;
    if (dtype_is_fp8(a) || dtype_is_fp8(b)) return dtype_is_fp8(a) ? a : b;
    *mixed = division && dtype_kind(a) != dtype_kind(b) && a != DT_i1 && b != DT_i1;
    return integer_promote(a, b);
}

static bool number_fits(Val v, DType d) {
    if (!dtype_is_int(d) || v.kind == VAL_FLOAT) return true;
    uint32_t bits = dtype_bits(d);
    bool is_unsigned = dtype_is_unsigned(d);
    Wide low = is_unsigned ? 0 : -((Wide)1 << (bits - 1));
    Wide high = ((Wide)1 << (is_unsigned ? bits : bits - 1)) - 1;
    return v.integer >= low && v.integer <= high;
}

Value *number_operand(Lower *l, Val v, Value *as_tensor, DType dtype, Span span) {
    if (v.kind == VAL_TENSOR) return cast_to(l, as_tensor, dtype, WORD_none);
    if (!number_fits(v, dtype)) {
        fail(l, span, "%s does not fit into %s, the type of the other operand",
             wide_string(l->arena, v.integer), dtype_name(dtype));
        note(l, span, "cast the other operand first, e.g. `.to(tl.int64)`");
        return NULL;
    }
    return constant_of(l, v, type_scalar(l->types, dtype));
}

static bool refuse_pointer(Lower *l, Value *v, Span span, Span at, const char *what) {
    if (!type_is_pointer(v->type)) return false;
    fail(l, at, "%s is not defined on a pointer", what);
    note(l, span, "this is %s; did you mean to load from it?", type_string(v->type, l->arena));
    return true;
}

DType common_dtype(Lower *l, const Val *values, Value *const *tensors, uint32_t count) {
    DType tensor = DT_NONE, number = DT_NONE;
    bool mixed;
    (void)l;
    for (uint32_t i = 0; i < count; i++) {
        DType d = type_dtype(tensors[i]->type), *so_far = &tensor;
        bool is_number = values[i].kind != VAL_TENSOR;
        if (is_number) so_far = &number;
        *so_far = *so_far == DT_NONE ? d : promote(*so_far, is_number, d, is_number, false, &mixed);
    }
    if (tensor == DT_NONE || number == DT_NONE) return tensor == DT_NONE ? number : tensor;
    return promote(tensor, false, number, true, false, &mixed);
}

/* The dtype an operand brings to an operation; DT_NONE after an error. */
static DType operand_dtype(Lower *l, Val v, Span span, Span at, const char *operand,
                           const char *what) {
    if (v.kind == VAL_TENSOR)
        return refuse_pointer(l, v.value, span, at, what) ? DT_NONE : type_dtype(v.value->type);
    DType d = val_is_number(v) ? literal_dtype(v) : DT_NONE;
    if (d == DT_NONE) (void)to_tensor(l, v, span, operand); /* says what is wrong */
    return d;
}

bool arithmetic_operands(Lower *l, Val a, Val b, Span a_span, Span b_span, Span at, bool division,
                         const char *what, Value **x, Value **y) {
    DType da = operand_dtype(l, a, a_span, at, "the left operand", what);
    DType db = da == DT_NONE ? DT_NONE : operand_dtype(l, b, b_span, at, "the right operand", what);
    if (db == DT_NONE) return false;
    bool mixed;
    DType dtype = promote(da, a.kind != VAL_TENSOR, db, b.kind != VAL_TENSOR, division, &mixed);
    if (mixed) {
        fail(l, at, "%s needs operands of one signedness, not %s and %s", what, dtype_name(da),
             dtype_name(db));
        note(l, at, "cast one of them with `.to(...)`");
        return false;
    }
    *x = number_operand(l, a, a.kind == VAL_TENSOR ? a.value : NULL, dtype, a_span);
    *y = number_operand(l, b, b.kind == VAL_TENSOR ? b.value : NULL, dtype, b_span);
    if (!*x || !*y) return false;
    Value *both[2] = {*x, *y};
    Span spans[2] = {a_span, b_span};
    if (!broadcast_together(l, both, 2, spans, at, what)) return false;
    *x = both[0];
    *y = both[1];
    return true;
}

/* ---- operators ------------------------------------------------------------------------------- */

static Val pointer_offset(Lower *l, Operator op, Value *pointer, Value *by, Span p_span,
                          Span b_span, Span at) {
    if (type_is_pointer(by->type) || !dtype_is_int(type_dtype(by->type))) {
        fail(l, at, "a pointer moves by integers, not by %s", type_string(by->type, l->arena));
        diag_also(l->diagnostics->last, b_span);
        return val_error();
    }
    if (type_dtype(by->type) == DT_i1) by = cast_to(l, by, DT_i32, WORD_none);
    if (op == OPERATOR_SUB) {
        if (dtype_is_unsigned(type_dtype(by->type))) by = cast_to(l, by, DT_i64, WORD_none);
        by = build_binary(builder(l), OP_sub, build_zero(builder(l), by->type), by);
    }
    Value *both[2] = {pointer, by};
    Span spans[2] = {p_span, b_span};
    if (!broadcast_together(l, both, 2, spans, at, "pointer arithmetic")) return val_error();
    return val_tensor(build_binary(builder(l), OP_offset, both[0], both[1]));
}

static Val true_divide(Lower *l, Val a, Val b, Span a_span, Span b_span, Span at) {
    Value *x, *y;
    if (!arithmetic_operands(l, a, b, a_span, b_span, at, true, "`/`", &x, &y)) return val_error();
    if (!dtype_is_float(type_dtype(x->type))) {
        x = cast_to(l, x, DT_f32, WORD_none);
        y = cast_to(l, y, DT_f32, WORD_none);
    }
    return val_tensor(build_binary(builder(l), OP_div, x, y));
}

static OpCode op_of(Operator op) {
    switch (op) {
    case OPERATOR_ADD: return OP_add;
    case OPERATOR_SUB: return OP_sub;
    case OPERATOR_MUL: return OP_mul;
    case OPERATOR_FLOORDIV: return OP_div;
    case OPERATOR_MOD: return OP_rem;
    case OPERATOR_AND: return OP_and;
    case OPERATOR_OR: return OP_or;
    case OPERATOR_XOR: return OP_xor;
    case OPERATOR_SHL: return OP_shl;
    case OPERATOR_SHR: return OP_shr;
    default: return OP_COUNT;
    }
}

static bool is_pointer(Val v) {
    return v.kind == VAL_TENSOR && type_is_pointer(v.value->type);
}

Val tensor_binary(Lower *l, Operator op, Val a, Val b, Span a_span, Span b_span, Span at) {
    if (op == OPERATOR_ADD || op == OPERATOR_SUB) {
        bool swap = op == OPERATOR_ADD && !is_pointer(a) && is_pointer(b);
        Val pointer = swap ? b : a, by = swap ? a : b;
        if (is_pointer(pointer)) {
            Span spans[2] = {swap ? b_span : a_span, swap ? a_span : b_span};
            Value *offset = to_tensor(l, by, spans[1], "the offset");
            if (!offset) return val_error();
            return pointer_offset(l, op, pointer.value, offset, spans[0], spans[1], at);
        }
    }
    if (op == OPERATOR_DIV) return true_divide(l, a, b, a_span, b_span, at);
    const char *what = arena_printf(l->arena, "`%s`", operator_names[op]);
    OpCode code = op_of(op);
    if (code == OP_COUNT) {
        Val r = fail(l, at, "%s is not defined on blocks", what);
        if (op == OPERATOR_POW) note(l, at, "for floats write tl.exp2(tl.log2(x) * y), or x * x");
        if (op == OPERATOR_MATMUL) note(l, at, "write tl.dot(a, b)");
        return r;
    }
    bool division = op == OPERATOR_FLOORDIV || op == OPERATOR_MOD;
    bool integers_only = op == OPERATOR_FLOORDIV || (op >= OPERATOR_AND && op <= OPERATOR_SHR);
    Value *x, *y;
    if (!arithmetic_operands(l, a, b, a_span, b_span, at, division, what, &x, &y))
        return val_error();
    if (integers_only && !dtype_is_int(type_dtype(x->type))) {
        Val r = fail(l, at, "%s needs integers, not %s", what, type_string(x->type, l->arena));
        if (op == OPERATOR_FLOORDIV) note(l, at, "for floats write tl.floor(x / y)");
        return r;
    }
    Value *r = build_binary(builder(l), code, x, y);
    warn_of_overflow(l, r, at);
    return val_tensor(r);
}

Val tensor_compare(Lower *l, Operator op, Val a, Val b, Span a_span, Span b_span, Span at) {
    static const OpCode codes[] = {OP_eq, OP_ne, OP_lt, OP_le, OP_gt, OP_ge};
    const char *what = arena_printf(l->arena, "`%s`", operator_names[op]);
    OpCode code = codes[op - OPERATOR_EQ];
    Value *x, *y;
    if (is_pointer(a) || is_pointer(b)) { /* as addresses */
        const Type *i64 = type_scalar(l->types, DT_i64);
        x = to_tensor(l, a, a_span, "the left operand");
        y = to_tensor(l, b, b_span, "the right operand");
        if (!x || !y) return val_error();
        x = cast_to_type(l, x, i64, a_span);
        y = cast_to_type(l, y, i64, b_span);
        if (!x || !y) return val_error();
        a = val_tensor(x);
        b = val_tensor(y);
    }
    if (!arithmetic_operands(l, a, b, a_span, b_span, at, false, what, &x, &y)) return val_error();
    return val_tensor(build_binary(builder(l), code, x, y));
}

Value *truth_value(Lower *l, Val v, Span span, const char *what) {
    Value *t = to_tensor(l, v, span, what);
    if (!t) return NULL;
    if (type_is_pointer(t->type)) {
        t = cast_to_type(l, t, type_scalar(l->types, DT_i64), span);
        if (!t) return NULL;
    }
    return cast_to(l, t, DT_i1, WORD_none);
}

Value *branch_condition(Lower *l, Val v, Span span) {
    Value *t = truth_value(l, v, span, "the condition");
    if (!t || !type_is_block(t->type) || t->type->count != 1) return t;
    return build_to(builder(l), OP_extract, t, type_element(t->type));
}

Value *float_operand(Lower *l, Val v, Span span, const char *what) {
    Value *t = to_tensor(l, v, span, what);
    if (!t) return NULL;
    if (type_is_pointer(t->type)) {
        fail(l, span, "%s is a pointer (%s); load from it first", what,
             type_string(t->type, l->arena));
        return NULL;
    }
    DType d = type_dtype(t->type);
    return d == DT_f32 || d == DT_f64 ? t : cast_to(l, t, DT_f32, WORD_none);
}
