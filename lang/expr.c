/* expr.c: expressions. Constants are computed at once, the rest becomes IR. */
#include "lang/lower_internal.h"

/* ---- attributes ------------------------------------------------------------------------------ */

static Val shape_tuple(Lower *l, const Type *t) {
    uint32_t rank = type_is_block(t) ? t->rank : 0;
    Val *items = arena_array(l->arena, Val, rank + 1);
    for (uint32_t i = 0; i < rank; i++) items[i] = val_int(t->shape[i]);
    return val_tuple(items, rank);
}

static Val bound(Lower *l, Val callee, Val self) {
    Val *copy = arena_new(l->arena, Val);
    *copy = self;
    callee.self = copy;
    return callee;
}

static bool std_method(Lower *l, const char *name, Span span, Val *method) {
    Val module = {.kind = VAL_MODULE, .string = "triton.language"};
    if (builtin_find("triton.language", name)) return false;
    uint32_t errors = l->diagnostics->errors;
    if (!l->std) (void)module_attribute(l, module, "cdiv", span); /* loads the standard file */
    if (!l->std || l->diagnostics->errors != errors || !file_item(l->std->file, name)) return false;
    return file_name(l, l->std, name, span, method) && method->kind == VAL_FUNCTION;
}

static Val tensor_attribute(Lower *l, Val of, const char *name, const Node *node) {
    const Type *t = of.value->type;
    if (strcmp(name, "dtype") == 0) return val_type(type_element(t));
    if (strcmp(name, "type") == 0) return val_type(t);
    if (strcmp(name, "shape") == 0) return shape_tuple(l, t);
    if (strcmp(name, "numel") == 0) return val_int(t->count);
    if (strcmp(name, "ndim") == 0) return val_int(type_is_block(t) ? t->rank : 0);
    if (strcmp(name, "T") == 0) {
        Val module = {.kind = VAL_MODULE, .string = "triton.language"};
        return call_value(l, module_attribute(l, module, "trans", node->span), &of, 1, node->span);
    }
    const Builtin *b = builtin_method(name);
    if (b) return bound(l, (Val){.kind = VAL_BUILTIN, .builtin = b}, of);
    Val method;
    if (std_method(l, name, node->span, &method)) return bound(l, method, of);
    const char *near = method_nearest(name);
    return fail(l, node->op_span, "a block has no attribute `%s`%s%s%s", name,
                near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
}

static Val dtype_attribute(Lower *l, Val of, const char *name, const Node *node) {
    const Type *t = of.type, *e = type_element(t);
    DType d = e->dtype;
    if (strcmp(name, "element_ty") == 0) {
        if (type_is_block(t)) return val_type(e);
        return val_type(t->kind == TYPE_POINTER ? t->element : t);
    }
    if (strcmp(name, "scalar") == 0) return val_type(e);
    if (strcmp(name, "value") == 0) return of; /* constexpr.value */
    if (strcmp(name, "shape") == 0) return shape_tuple(l, t);
    if (strcmp(name, "numel") == 0) return val_int(t->count);
    if (strcmp(name, "primitive_bitwidth") == 0 || strcmp(name, "int_bitwidth") == 0)
        return val_int(e->kind == TYPE_POINTER ? 64 : dtype_bits(d));
    if (strcmp(name, "itemsize") == 0) return val_int(e->kind == TYPE_POINTER ? 8 : dtype_size(d));
    if (strcmp(name, "fp_mantissa_width") == 0) return val_int(dtype_mantissa_bits(d));
    if (strcmp(name, "name") == 0) {
        const char *s = e->kind == TYPE_POINTER ? type_string(e, l->arena) : dtype_triton_name(d);
        return val_string(s, strlen(s));
    }
    const Builtin *b = builtin_find("dtype", name);
    if (b) return bound(l, (Val){.kind = VAL_BUILTIN, .builtin = b}, of);
    return fail(l, node->op_span, "a type has no attribute `%s`", name);
}

static Val tuple_attribute(Lower *l, Val of, const char *name, const Node *node) {
    for (uint32_t i = 0; of.named && i < of.named->field_count && i < of.count; i++)
        if (of.named->fields[i] == name) return of.items[i];
    Val method;
    bool takes_self;
    if (of.named && class_method(l, of.named, name, &method, &takes_self))
        return takes_self ? bound(l, method, of) : method;
    if (strcmp(name, "value") == 0) return of;
    if (of.named) return fail(l, node->op_span, "`%s` has no field `%s`", of.named->name, name);
    return fail(l, node->op_span, "a tuple has no attribute `%s`", name);
}

static Val pointer_attribute(Lower *l, Val of, const char *name, const Node *node) {
    const Pointer *p = of.pointer;
    if (strcmp(name, "dtype") == 0) return val_type(p->base->type->element);
    if (strcmp(name, "type") == 0) return val_type(p->base->type);
    bool block_shape = strcmp(name, "block_shape") == 0;
    if (block_shape || strcmp(name, "shape") == 0 || strcmp(name, "strides") == 0) {
        Val *items = arena_array(l->arena, Val, p->rank);
        for (uint32_t i = 0; i < p->rank; i++) {
            bool extent = name[1] == 'h';
            Value *v = extent ? p->shape[i] : p->strides[i];
            if (extent && of.kind == VAL_DESCRIPTOR) v = cast_to(l, v, DT_i32, WORD_none);
            items[i] = block_shape ? val_int(p->block[i]) : val_tensor(v);
        }
        return val_tuple(items, p->rank);
    }
    bool descriptor = of.kind == VAL_DESCRIPTOR;
    const Builtin *b = descriptor ? builtin_find("descriptor", name) : builtin_method(name);
    if (b) return bound(l, (Val){.kind = VAL_BUILTIN, .builtin = b}, of);
    return fail(l, node->op_span, "%s has no attribute `%s`", describe(l, of), name);
}

Val lower_attribute(Lower *l, Val of, const char *name, const Node *node) {
    if (val_is_silent(of)) return of;
    switch (of.kind) {
    case VAL_MODULE: return module_attribute(l, of, name, node->op_span);
    case VAL_TENSOR: return tensor_attribute(l, of, name, node);
    case VAL_DTYPE: return dtype_attribute(l, of, name, node);
    case VAL_CLASS: return class_attribute(l, of.klass, name, node);
    case VAL_TUPLE: return tuple_attribute(l, of, name, node);
    case VAL_BLOCK_POINTER:
    case VAL_DESCRIPTOR: return pointer_attribute(l, of, name, node);
    case VAL_STRING:
    case VAL_DICT: {
        const Builtin *b = builtin_find(of.kind == VAL_DICT ? "dict" : "str", name);
        if (b) return bound(l, (Val){.kind = VAL_BUILTIN, .builtin = b}, of);
        break;
    }
    case VAL_FUNCTION:
        if (strcmp(name, "__name__") == 0)
            return val_string(of.function->name, strlen(of.function->name));
        if (strcmp(name, "fn") == 0) return of; /* JITFunction.fn */
        break;
    case VAL_BOOL:
    case VAL_INT:
    case VAL_FLOAT: {
        if (strcmp(name, "value") == 0) return of; /* constexpr.value */
        /* a literal has no dtype of its own; methods work on it as on a scalar */
        Value *v = to_tensor(l, of, node->left->span, "this");
        return v ? tensor_attribute(l, val_tensor(v), name, node) : val_error();
    }
    case VAL_NONE:
        fail(l, node->left->span, "`%s` is None here, so it has no `%s`",
             node->left->kind == NODE_NAME ? node->left->name : "this", name);
        if (of.span.line && of.span.line != node->span.line)
            note(l, of.span, "it was given None here");
        return val_error();
    default: break;
    }
    if (strcmp(name, "value") == 0 && val_is_constant(of)) return of;
    return fail(l, node->op_span, "%s has no attribute `%s`", describe(l, of), name);
}

/* ---- subscripts ------------------------------------------------------------------------------ */

static Val index_tuple(Lower *l, Val of, Val index, const Node *node) {
    if (index.kind == VAL_SLICE) {
        Wide n = of.count, step = index.items[2].kind == VAL_NONE ? 1 : index.items[2].integer;
        if (step == 0) return fail(l, node->span, "a slice step of 0");
        Wide from = step > 0 ? 0 : n - 1, to = step > 0 ? n : -1;
        for (int k = 0; k < 2; k++) {
            Val bound_value = index.items[k];
            if (bound_value.kind == VAL_NONE) continue;
            if (!val_is_integer(bound_value))
                return not_constant(l, bound_value, node->span, "a slice bound");
            Wide i = bound_value.integer < 0 ? bound_value.integer + n : bound_value.integer;
            Wide low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
            i = i < low ? low : i > high ? high : i;
            if (k == 0)
                from = i;
            else
                to = i;
        }
        VEC(Val) picked = {0};
        for (Wide i = from; step > 0 ? i < to : i > to; i += step)
            vec_push(l->arena, &picked, of.items[(uint32_t)i]);
        return val_tuple(picked.data, picked.length);
    }
    if (!val_is_integer(index))
        return not_constant(l, index, node->right->span, "an index into a tuple");
    Wide i = index.integer < 0 ? index.integer + of.count : index.integer;
    if (i < 0 || i >= of.count)
        return fail(l, node->right->span, "index %s is outside a tuple of %u items",
                    wide_string(l->arena, index.integer), of.count);
    return of.items[(uint32_t)i];
}

static bool is_full_slice(Val v) {
    return v.kind == VAL_SLICE && v.items[0].kind == VAL_NONE && v.items[1].kind == VAL_NONE &&
           v.items[2].kind == VAL_NONE;
}

/* x[:, None], x[None, :], x[..., None]: new extents of 1. */
static Val index_block(Lower *l, Val of, Val index, const Node *node) {
    Value *v = of.value;
    const Val *items = index.kind == VAL_TUPLE ? index.items : &index;
    uint32_t count = index.kind == VAL_TUPLE ? index.count : 1;
    uint32_t rank = type_is_block(v->type) ? v->type->rank : 0, used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (val_is_silent(items[i])) return items[i];
        used += is_full_slice(items[i]);
        if (items[i].kind == VAL_NONE || items[i].kind == VAL_ELLIPSIS || is_full_slice(items[i]))
            continue;
        fail(l, node->right->span, "a block can only be indexed with `:` and None, not with %s",
             describe(l, items[i]));
        note(l, node->span, "to pick elements use tl.gather, tl.sum(tl.where(...)), or load them");
        return val_error();
    }
    if (used > rank)
        return fail(l, node->span, "%u `:` for %s, which has rank %u", used,
                    type_string(v->type, l->arena), rank);
    uint32_t at = 0; /* dim of the result reached */
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].kind == VAL_ELLIPSIS) {
            at += rank - used;
            continue;
        }
        if (items[i].kind == VAL_NONE) {
            const Type *t = v->type;
            uint32_t r = type_is_block(t) ? t->rank : 0, shape[MAX_RANK + 1];
            if (r == MAX_RANK) return fail(l, node->span, "a block has at most %d dims", MAX_RANK);
            for (uint32_t d = 0; d <= r; d++)
                shape[d] = d < at ? t->shape[d] : d == at ? 1 : t->shape[d - 1];
            const Type *to = type_block(l->types, type_element(t), r + 1, shape);
            v = build_to(&l->build, r ? OP_expand_dims : OP_splat, v, to);
            if (r) op_set_int(l->module, v->op, ATTR_axis, at);
        }
        at++;
    }
    return val_tensor(v);
}

Val lower_index(Lower *l, Val of, Val index, const Node *node) {
    if (val_is_silent(of)) return of;
    if (index.kind == VAL_ERROR || index.kind == VAL_UNKNOWN) return index;
    switch (of.kind) {
    case VAL_TUPLE: return index_tuple(l, of, index, node);
    case VAL_TENSOR: return index_block(l, of, index, node);
    case VAL_BOOL:
    case VAL_INT:
    case VAL_FLOAT: {
        Value *v = to_tensor(l, of, node->left->span, "this");
        return v ? index_block(l, val_tensor(v), index, node) : val_error();
    }
    case VAL_DICT:
        for (uint32_t i = 0; i < of.count; i++)
            if (konst_equal(of.items[2 * i], index)) return of.items[2 * i + 1];
        return fail(l, node->right->span, "no entry %s", describe(l, index));
    case VAL_STRING:
        if (val_is_integer(index)) {
            Wide i = index.integer < 0 ? index.integer + of.count : index.integer;
            if (i >= 0 && i < of.count) return val_string(of.string + (uint32_t)i, 1);
        }
        return fail(l, node->right->span, "not an index into a string of %u", of.count);
    case VAL_BUILTIN:
    case VAL_CLASS: return of; /* generic types in annotations */
    default: return fail(l, node->span, "%s cannot be indexed", describe(l, of));
    }
}

/* ---- operators ------------------------------------------------------------------------------- */

/* After a type or shape error: where do the operands come from? */
static void note_operand(Lower *l, const Node *operand, Val v) {
    if (!operand || operand->kind != NODE_NAME || v.kind != VAL_TENSOR || !v.span.line) return;
    if (v.span.line == operand->span.line && v.span.column == operand->span.column) return;
    note(l, v.span, "`%s` is %s, from here", operand->name, type_string(v.value->type, l->arena));
}

static void note_operands(Lower *l, const Node *left, Val a, const Node *right, Val b,
                          uint32_t errors_before) {
    if (l->diagnostics->errors == errors_before) return;
    note_operand(l, left, a);
    note_operand(l, right, b);
}

Val lower_binary(Lower *l, Operator op, Val a, Val b, const Node *node) {
    if (a.kind == VAL_ERROR || b.kind == VAL_ERROR) return val_error();
    if (val_is_silent(a) || val_is_silent(b)) return val_unknown();
    bool tensor = a.kind == VAL_TENSOR || b.kind == VAL_TENSOR;
    if (!tensor) return konst_binary(l, op, a, b, node->op_span);
    uint32_t errors = l->diagnostics->errors;
    Val v = tensor_binary(l, op, a, b, node->left->span, node->right->span, node->op_span);
    note_operands(l, node->left, a, node->right, b, errors);
    return v;
}

static Val compare_operands(Lower *l, Operator op, Val a, Val b, const Node *left,
                            const Node *comparison) {
    if (a.kind == VAL_ERROR || b.kind == VAL_ERROR) return val_error();
    if (val_is_silent(a) || val_is_silent(b)) return val_unknown();
    Span at = comparison->op_span;
    if (op == OPERATOR_IS || op == OPERATOR_IS_NOT) {
        bool same = a.kind == b.kind && konst_equal(a, b);
        return val_bool(same == (op == OPERATOR_IS));
    }
    bool tensor = a.kind == VAL_TENSOR || b.kind == VAL_TENSOR;
    if (!tensor) return konst_compare(l, op, a, b, at);
    if (op == OPERATOR_IN || op == OPERATOR_NOT_IN) {
        Val in = b.kind == VAL_TENSOR ? a : b;
        return fail(l, at, "`in` works on compile-time values only, not on %s",
                    describe(l, in.kind == VAL_TENSOR ? in : a));
    }
    /* None against a tensor: as in Python, never equal */
    if ((a.kind == VAL_NONE || b.kind == VAL_NONE) && (op == OPERATOR_EQ || op == OPERATOR_NE))
        return val_bool(op == OPERATOR_NE);
    uint32_t errors = l->diagnostics->errors;
    Val v = tensor_compare(l, op, a, b, left->span, comparison->left->span, at);
    note_operands(l, left, a, comparison->left, b, errors);
    return v;
}

/* Both as truth values, joined. */
static Val join_truth(Lower *l, OpCode code, Val a, Val b, Span a_span, Span b_span, Span at) {
    Value *both[2] = {truth_value(l, a, a_span, "the left operand"),
                      truth_value(l, b, b_span, "the right operand")};
    Span spans[2] = {a_span, b_span};
    if (!both[0] || !both[1]) return val_error();
    const char *what = code == OP_and ? "`and`" : "`or`";
    if (!broadcast_together(l, both, 2, spans, at, what)) return val_error();
    return val_tensor(build_binary(&l->build, code, both[0], both[1]));
}

static Val lower_bool(Lower *l, const Node *node) {
    bool is_and = node->op == OPERATOR_BOOL_AND;
    Val result = lower_expression(l, node->items);
    const Node *left = node->items;
    for (const Node *n = left->next; n; n = n->next) {
        if (val_is_constant(result)) {
            if (konst_truth(result) != is_and) return result; /* decided */
            result = lower_expression(l, n);
        } else {
            Val right = lower_expression(l, n);
            if (result.kind == VAL_ERROR || right.kind == VAL_ERROR) return val_error();
            if (val_is_constant(right) && konst_truth(right) == is_and) continue;
            if (val_is_silent(result) || val_is_silent(right)) {
                result = val_unknown();
                continue;
            }
            result = join_truth(l, is_and ? OP_and : OP_or, result, right, left->span, n->span,
                                node->span);
        }
        left = n;
    }
    return result;
}

static Val lower_comparison(Lower *l, const Node *node) {
    const Node *left = node->left;
    Val a = lower_expression(l, left), result = val_none();
    for (const Node *c = node->items; c; c = c->next) {
        Val b = lower_expression(l, c->left);
        Val one = compare_operands(l, c->op, a, b, left, c);
        if (c == node->items) {
            result = one;
        } else if (one.kind == VAL_ERROR || result.kind == VAL_ERROR) {
            result = val_error();
        } else if (val_is_silent(one) || val_is_silent(result)) {
            result = val_unknown();
        } else if (val_is_constant(result) && val_is_constant(one)) {
            result = val_bool(konst_truth(result) && konst_truth(one));
        } else {
            result = join_truth(l, OP_and, result, one, node->span, node->span, node->span);
        }
        a = b;
        left = c->left;
    }
    return result;
}

static Val lower_unary(Lower *l, const Node *node) {
    Val a = lower_expression(l, node->left);
    if (val_is_silent(a)) return a;
    if (a.kind != VAL_TENSOR) return konst_unary(l, node->op, a, node->span);
    Value *v = a.value;
    if (node->op == OPERATOR_NOT) {
        v = truth_value(l, a, node->span, "the operand of `not`");
        if (!v) return val_error();
        return val_tensor(
            build_binary(&l->build, OP_xor, v, build_constant_int(&l->build, v->type, 1)));
    }
    if (type_is_pointer(v->type))
        return fail(l, node->span, "`%s` is not defined on a pointer", operator_names[node->op]);
    bool is_float = dtype_is_float(type_dtype(v->type));
    switch (node->op) {
    case OPERATOR_POS: return a;
    case OPERATOR_NEG: { /* -0.0 - x, not 0.0 - x: the sign of zero changes too */
        Value *zero = is_float ? build_constant_float(&l->build, v->type, -0.0)
                               : build_zero(&l->build, v->type);
        return val_tensor(build_binary(&l->build, OP_sub, zero, v));
    }
    case OPERATOR_INVERT: {
        if (is_float) return fail(l, node->span, "`~` needs integers, not %s", describe(l, a));
        int64_t ones = type_dtype(v->type) == DT_i1 ? 1 : -1;
        return val_tensor(
            build_binary(&l->build, OP_xor, v, build_constant_int(&l->build, v->type, ones)));
    }
    default: return val_error();
    }
}

/* a if c else b with a run-time c: a scalar decides, so only one side runs. */
static Val lower_choice(Lower *l, const Node *node, Value *condition) {
    Builder outer = l->build;
    Region *regions[2];
    Val sides[2];
    const Node *nodes[2] = {node->left, node->right};
    for (int i = 0; i < 2; i++) {
        regions[i] = arena_new(l->arena, Region);
        l->build.region = regions[i];
        l->build.before = NULL;
        sides[i] = lower_expression(l, nodes[i]);
    }
    Val result = val_error();
    if (val_is_silent(sides[0]) || val_is_silent(sides[1])) {
        l->build = outer;
        return sides[0].kind == VAL_ERROR ? sides[0] : sides[1];
    }
    if (val_is_constant(sides[0]) && val_is_constant(sides[1]) && konst_equal(sides[0], sides[1])) {
        l->build = outer;
        return sides[0];
    }
    Value *values[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        l->build.region = regions[i];
        Val other = sides[1 - i];
        bool adopt = val_is_number(sides[i]) && other.kind == VAL_TENSOR &&
                     !type_is_pointer(other.value->type);
        values[i] = adopt ? constant_of(l, sides[i], other.value->type)
                          : to_tensor(l, sides[i], nodes[i]->span, "this side of `if ... else`");
    }
    if (values[0] && values[1] && values[0]->type != values[1]->type) {
        fail(l, node->span, "the two sides have different types: %s and %s",
             type_string(values[0]->type, l->arena), type_string(values[1]->type, l->arena));
        note(l, node->span, "cast one of them, or write tl.where(condition, a, b) for blocks");
    } else if (values[0] && values[1]) {
        for (int i = 0; i < 2; i++) {
            l->build.region = regions[i];
            build_op(&l->build, OP_yield, 1, &values[i], 0, NULL);
        }
        l->build = outer;
        const Type *type = values[0]->type;
        Op *op = build_nested(&l->build, OP_if, 1, &condition, 1, &type);
        for (uint32_t i = 0; i < 2; i++) op_take_region(op, i, regions[i]);
        return val_tensor(op_result(op, 0));
    }
    l->build = outer;
    return result;
}

static Val lower_conditional(Lower *l, const Node *node) {
    Val c = lower_expression(l, node->condition);
    if (c.kind == VAL_ERROR) return c;
    if (c.kind == VAL_UNKNOWN) {
        (void)lower_expression(l, node->left);
        (void)lower_expression(l, node->right);
        return c;
    }
    if (c.kind != VAL_TENSOR) return lower_expression(l, konst_truth(c) ? node->left : node->right);
    Value *condition = branch_condition(l, c, node->condition->span);
    if (!condition) return val_error();
    if (type_is_block(condition->type)) {
        fail(l, node->condition->span, "the condition of `a if c else b` is a block (%s)",
             type_string(c.value->type, l->arena));
        note(l, node->span, "write tl.where(condition, a, b) to choose element by element");
        return val_error();
    }
    return lower_choice(l, node, condition);
}

/* ---- collections ----------------------------------------------------------------------------- */

static Val lower_items(Lower *l, const Node *items) {
    VEC(Val) list = {0};
    for (const Node *n = items; n; n = n->next) {
        if (n->kind == NODE_STARRED) {
            Val t = lower_expression(l, n->left);
            if (val_is_silent(t)) return t;
            if (t.kind != VAL_TUPLE)
                return fail(l, n->span, "`*` needs a tuple, not %s", describe(l, t));
            for (uint32_t i = 0; i < t.count; i++) vec_push(l->arena, &list, t.items[i]);
            continue;
        }
        Val v = lower_expression(l, n);
        if (v.kind == VAL_ERROR) return v;
        vec_push(l->arena, &list, v);
    }
    return val_tuple(list.data, list.length);
}

static Val lower_dict(Lower *l, const Node *node) {
    VEC(Val) list = {0};
    for (const Node *n = node->items; n; n = n->next) {
        if (!n->left) return fail(l, n->span, "`**` in a dict is not understood here");
        vec_push(l->arena, &list, lower_expression(l, n->left));
        vec_push(l->arena, &list, lower_expression(l, n->right));
    }
    return (Val){.kind = VAL_DICT, .items = list.data, .count = list.length / 2};
}

typedef VEC(Val) ValList;

static bool comprehension_clause(Lower *l, const Node *node, const Node *clause, ValList *out) {
    if (!clause) {
        Val v = lower_expression(l, node->left);
        vec_push(l->arena, out, v);
        return v.kind != VAL_ERROR;
    }
    Val in = lower_expression(l, clause->right);
    if (in.kind == VAL_RANGE) in = range_items(l, in, clause->right->span);
    if (in.kind != VAL_TUPLE) {
        if (!val_is_silent(in))
            fail(l, clause->right->span, "a comprehension runs over compile-time values, not %s",
                 describe(l, in));
        return false;
    }
    for (uint32_t i = 0; i < in.count; i++) {
        lower_assign(l, clause->left, in.items[i], clause);
        bool keep = true;
        for (const Node *c = clause->items; c && keep; c = c->next) {
            Val v = lower_expression(l, c);
            if (v.kind == VAL_TENSOR) {
                not_constant(l, v, c->span, "the condition of a comprehension");
                return false;
            }
            keep = konst_truth(v);
        }
        if (keep && !comprehension_clause(l, node, clause->next, out)) return false;
    }
    return true;
}

static Val lower_comprehension(Lower *l, const Node *node) {
    if (strcmp(node->name, "dict") == 0)
        return fail(l, node->span, "a dict comprehension is not understood in a kernel");
    ValList out = {0};
    Scope *outer = l->frame->scope;
    l->frame->scope = scope_copy(l, outer); /* its variables stay inside */
    bool ok = comprehension_clause(l, node, node->items, &out);
    l->frame->scope = outer;
    return ok ? val_tuple(out.data, out.length) : val_error();
}

static Val lower_fstring(Lower *l, const Node *node) {
    Text text = {.arena = l->arena};
    text_puts(&text, "");
    for (const Node *n = node->items; n; n = n->next) {
        if (n->kind == NODE_STRING) {
            text_add(&text, n->string, n->string_length);
            continue;
        }
        Val v = lower_expression(l, n->left);
        if (val_is_silent(v)) return v;
        konst_print(l, v, &text);
    }
    return val_string(text.data, text.length);
}

static Val lower_slice(Lower *l, const Node *node) {
    Val *items = arena_array(l->arena, Val, 3);
    const Node *parts[3] = {node->left, node->right, node->third};
    for (int i = 0; i < 3; i++) items[i] = parts[i] ? lower_expression(l, parts[i]) : val_none();
    return (Val){.kind = VAL_SLICE, .items = items, .count = 3};
}

static Val lower_lambda(Lower *l, const Node *node) {
    Function *f = arena_new(l->arena, Function);
    *f = (Function){.name = "<lambda>",
                    .node = node,
                    .file = l->frame->function->file,
                    .closure = scope_copy(l, l->frame->scope)};
    return (Val){.kind = VAL_FUNCTION, .function = f};
}

static Val lower_integer(Lower *l, const Node *node) {
    if (node->integer_high >> 63)
        return fail(l, node->span, "this constant has more than 127 bits");
    return val_int((Wide)(((unsigned __int128)node->integer_high << 64) | node->integer));
}

static Val expression(Lower *l, const Node *node) {
    switch (node->kind) {
    case NODE_NAME: return name_value(l, node);
    case NODE_INT: return lower_integer(l, node);
    case NODE_FLOAT: return val_float(node->number);
    case NODE_STRING: return val_string(node->string, node->string_length);
    case NODE_FSTRING: return lower_fstring(l, node);
    case NODE_TRUE: return val_bool(true);
    case NODE_FALSE: return val_bool(false);
    case NODE_NONE: return val_none();
    case NODE_ELLIPSIS: return (Val){.kind = VAL_ELLIPSIS};
    case NODE_ATTRIBUTE:
        return lower_attribute(l, lower_expression(l, node->left), node->name, node);
    case NODE_SUBSCRIPT: {
        Val of = lower_expression(l, node->left);
        return lower_index(l, of, lower_expression(l, node->right), node);
    }
    case NODE_SLICE: return lower_slice(l, node);
    case NODE_CALL: return lower_call(l, node);
    case NODE_UNARY: return lower_unary(l, node);
    case NODE_BINARY: {
        Val a = lower_expression(l, node->left), b = lower_expression(l, node->right);
        l->build.at = here(l, node->span);
        return lower_binary(l, node->op, a, b, node);
    }
    case NODE_BOOL: return lower_bool(l, node);
    case NODE_COMPARE: return lower_comparison(l, node);
    case NODE_CONDITIONAL: return lower_conditional(l, node);
    case NODE_LAMBDA: return lower_lambda(l, node);
    case NODE_TUPLE:
    case NODE_LIST:
    case NODE_SET: return lower_items(l, node->items);
    case NODE_DICT: return lower_dict(l, node);
    case NODE_COMPREHENSION: return lower_comprehension(l, node);
    case NODE_NAMED: {
        Val v = lower_expression(l, node->right);
        lower_assign(l, node->left, v, node);
        return v;
    }
    case NODE_STARRED: return fail(l, node->span, "`*` is understood only in calls and tuples");
    default: return fail(l, node->span, "this is not an expression that a kernel can use");
    }
}

Val lower_expression(Lower *l, const Node *node) {
    if (l->gave_up) return val_error();
    l->build.at = here(l, node->span);
    Val v = expression(l, node);
    if (!v.span.line) v.span = node->span;
    return v;
}
