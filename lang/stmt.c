/* stmt.c: statements.
 *
 * Constants choose at compile time: an `if` on a constant lowers one side only, a loop over a
 * tuple or tl.static_range is unrolled. Run-time `if`, `for` and `while` become IR ops with
 * regions. A variable that a region may change is carried: its tensors ("leaves": tuples and block
 * pointers have several) enter the region as arguments and leave it by yield.
 *
 * A `return` below a run-time `if` makes the rest of the function part of both sides:
 * `if c: return a` + rest  becomes  `if c: a else: rest`.
 */
#include "lang/lower_internal.h"

enum { MAX_STEPS = 2000000 };

/* What comes after the statements at hand, in the blocks around them. */
typedef struct Rest {
    const Node *statements;
    const struct Rest *next;
} Rest;

typedef VEC(Value *) Leaves;
typedef VEC(const char *) NameList;

static Flow lower_statements(Lower *l, const Node *list, const Rest *rest);

/* ---- assignment ------------------------------------------------------------------------------ */

/* x = 3 makes a variable, not a constant. */
static Val as_variable(Lower *l, Val v, Span span) {
    if (l->frame->function->is_python || l->frame->function->file->is_std) return v;
    if (val_is_number(v)) {
        Value *t = to_tensor(l, v, span, "the value");
        if (!t) return val_error();
        Val r = val_tensor(t);
        r.plain = true;
        r.span = v.span;
        return r;
    }
    if (v.kind == VAL_TUPLE) {
        Val *items = arena_array(l->arena, Val, v.count + 1);
        for (uint32_t i = 0; i < v.count; i++) items[i] = as_variable(l, v.items[i], span);
        v.items = items;
    }
    return v;
}

static void assign_tuple(Lower *l, const Node *target, Val value, const Node *statement) {
    uint32_t wanted = 0, starred = 0;
    for (const Node *t = target->items; t; t = t->next, wanted++)
        starred += t->kind == NODE_STARRED;
    if (val_is_silent(value)) {
        for (const Node *t = target->items; t; t = t->next)
            lower_assign(l, t->kind == NODE_STARRED ? t->left : t, value, statement);
        return;
    }
    bool fits =
        value.kind == VAL_TUPLE && (starred ? value.count + 1 >= wanted : value.count == wanted);
    if (!fits) {
        if (value.kind == VAL_TUPLE)
            fail(l, target->span, "%u names on the left, %u values on the right", wanted,
                 value.count);
        else
            fail(l, target->span, "%s cannot be taken apart into %u values", describe(l, value),
                 wanted);
        value = val_error();
        assign_tuple(l, target, value, statement);
        return;
    }
    uint32_t i = 0;
    for (const Node *t = target->items; t; t = t->next) {
        if (t->kind == NODE_STARRED) {
            uint32_t n = value.count - (wanted - 1);
            lower_assign(l, t->left, val_tuple(value.items + i, n), statement);
            i += n;
        } else {
            lower_assign(l, t, value.items[i++], statement);
        }
    }
}

void lower_assign(Lower *l, const Node *target, Val value, const Node *statement) {
    bool variable = statement->kind == NODE_ASSIGN || statement->kind == NODE_AUGMENTED ||
                    statement->kind == NODE_NAMED || statement->kind == NODE_ANNOTATED;
    switch (target->kind) {
    case NODE_NAME:
        if (variable) value = as_variable(l, value, target->span);
        value.span = target->span;
        scope_set(l, l->frame->scope, target->name, value);
        return;
    case NODE_TUPLE:
    case NODE_LIST: assign_tuple(l, target, value, statement); return;
    case NODE_SUBSCRIPT:
        fail(l, target->span, "an element of a block cannot be assigned");
        note(l, target->span, "write to memory with tl.store, or build a new block with tl.where");
        return;
    default: fail(l, target->span, "this cannot be assigned to"); return;
    }
}

static bool is_constexpr_annotation(Lower *l, const Node *annotation) {
    if (annotation->kind == NODE_STRING) return strstr(annotation->string, "constexpr") != NULL;
    if (annotation->kind == NODE_SUBSCRIPT) annotation = annotation->left;
    (void)l;
    return (annotation->kind == NODE_ATTRIBUTE || annotation->kind == NODE_NAME) &&
           strcmp(annotation->name, "constexpr") == 0;
}

static void lower_annotated(Lower *l, const Node *n) {
    if (!n->right) return;
    Val v = lower_expression(l, n->right);
    if (!is_constexpr_annotation(l, n->annotation)) {
        lower_assign(l, n->left, v, n);
        return;
    }
    if (v.kind == VAL_TENSOR) v = not_constant(l, v, n->right->span, "a constexpr");
    if (n->left->kind != NODE_NAME) {
        fail(l, n->left->span, "only a name can be a constexpr");
        return;
    }
    v.span = n->left->span;
    scope_set(l, l->frame->scope, n->left->name, v);
    scope_find(l->frame->scope, n->left->name)->is_constexpr = true;
}

static void lower_assignment(Lower *l, const Node *n) {
    Val v = lower_expression(l, n->right);
    for (const Node *t = n->items ? n->items : n->left; t; t = n->items ? t->next : NULL)
        lower_assign(l, t, v, n);
}

static void lower_augmented(Lower *l, const Node *n) {
    Val a = lower_expression(l, n->left), b = lower_expression(l, n->right);
    l->build.at = here(l, n->span);
    lower_assign(l, n->left, lower_binary(l, n->op, a, b, n), n);
}

/* ---- leaves ------------------------------------------------------------------------------------
 */

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

/* All tensors of a value, in a fixed order. */
static void collect_leaves(Lower *l, Val v, Leaves *out) {
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

/* The same value with other tensors, taken in that order. */
static Val with_leaves(Lower *l, Val v, Value **leaves, uint32_t *at) {
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

/* Two values that must become one variable: their leaves side by side, constants turned into the
 * tensor they meet. `regions` is where conversions go. */
typedef struct Merge {
    Region *regions[2];
    Leaves leaves[2];
} Merge;

typedef enum Fit { FIT_OK, FIT_TYPES, FIT_KINDS } Fit;

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

/* `merged` has the shape of the result; its leaves are found in m->leaves afterwards. */
static Fit merge_values(Lower *l, Merge *m, Val a, Val b, Val *merged) {
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

static bool val_same(Val a, Val b) { /* nothing to merge */
    if (a.kind != b.kind) return false;
    if (a.kind == VAL_BLOCK_POINTER || a.kind == VAL_DESCRIPTOR) return a.pointer == b.pointer;
    return konst_equal(a, b);
}

/* ---- if
 * ------------------------------------------------------------------------------------------ */

static bool contains_return(const Node *n) {
    for (; n; n = n->next) {
        if (n->kind == NODE_RETURN) return true;
        bool nests = n->kind == NODE_IF || n->kind == NODE_FOR || n->kind == NODE_WHILE;
        if (nests && (contains_return(n->body) || contains_return(n->orelse))) return true;
    }
    return false;
}

static bool if_returns(const Node *n) {
    return contains_return(n->body) || contains_return(n->orelse);
}

static Flow run_rest(Lower *l, const Rest *rest) {
    for (; rest; rest = rest->next)
        if (lower_statements(l, rest->statements, rest->next) == FLOW_RETURNED)
            return FLOW_RETURNED;
    l->frame->result = val_none();
    return FLOW_RETURNED;
}

typedef struct Branch {
    Region *region;
    Scope *scope;
    Flow flow;
    Val result;
} Branch;

static Branch lower_branch(Lower *l, const Node *body, const Scope *scope, bool returns,
                           const Rest *rest) {
    Branch b = {.region = arena_new(l->arena, Region), .scope = scope_copy(l, scope)};
    Builder outer = l->build;
    Scope *outer_scope = l->frame->scope;
    l->build.region = b.region;
    l->build.before = NULL;
    l->frame->scope = b.scope;
    b.flow = lower_statements(l, body, rest);
    if (returns && b.flow == FLOW_ON) b.flow = run_rest(l, rest);
    b.result = l->frame->result;
    l->frame->scope = outer_scope;
    l->build = outer;
    return b;
}

/* Builds the `if` op over two lowered regions; leaves that differ become its results, which
 * replace them in m->leaves[0]. */
static void finish_if(Lower *l, Value *condition, Branch *branches, Merge *m) {
    VEC(const Type *) types = {0};
    Leaves yields[2] = {{0}, {0}};
    for (uint32_t i = 0; i < m->leaves[0].length; i++) {
        if (m->leaves[0].data[i] == m->leaves[1].data[i]) continue;
        vec_push(l->arena, &types, m->leaves[0].data[i]->type);
        for (int k = 0; k < 2; k++) vec_push(l->arena, &yields[k], m->leaves[k].data[i]);
    }
    Builder outer = l->build;
    for (int k = 0; k < 2; k++) {
        l->build.region = branches[k].region;
        l->build.before = NULL;
        build_op(&l->build, OP_yield, yields[k].length, yields[k].data, 0, NULL);
    }
    l->build = outer;
    Op *op = build_nested(&l->build, OP_if, 1, &condition, types.length, types.data);
    for (int k = 0; k < 2; k++) {
        op->regions[k] = branches[k].region;
        branches[k].region->parent = op;
    }
    uint32_t r = 0;
    for (uint32_t i = 0; i < m->leaves[0].length; i++)
        if (m->leaves[0].data[i] != m->leaves[1].data[i]) m->leaves[0].data[i] = op_result(op, r++);
}

static void report_branches(Lower *l, const Node *n, const char *name, Val a, Val b) {
    fail(l, n->span, "after this `if`, `%s` would be %s or %s", name, describe(l, a),
         describe(l, b));
    note(l, a.span, "%s when the condition holds", describe(l, a));
    note(l, b.span, "%s when it does not", describe(l, b));
    note(l, b.span, "give both the same type, e.g. with `.to(...)` or tl.full");
}

static void merge_scopes(Lower *l, const Node *n, Value *condition, Branch *branches) {
    Merge m = {.regions = {branches[0].region, branches[1].region}};
    Scope *scope = l->frame->scope;
    uint32_t errors = l->diagnostics->errors;
    typedef struct Changed {
        const char *name;
        Val value;
        Span span;
    } Changed;
    VEC(Changed) changed = {0};
    for (uint32_t i = 0; i < branches[0].scope->bindings.length; i++) {
        Binding *a = &branches[0].scope->bindings.data[i];
        Binding *b = scope_find(branches[1].scope, a->name);
        Binding *before = scope_find(scope, a->name);
        if (!b || a->lost || b->lost) {
            if (before && !before->lost && !(a->lost || (b && b->lost))) continue;
            Binding lost = *(a->lost || !b ? a : b);
            lost.lost = true;
            if (before)
                *before = lost;
            else
                vec_push(l->arena, &scope->bindings, lost);
            continue;
        }
        if (val_same(a->value, b->value)) {
            if (!before)
                vec_push(l->arena, &scope->bindings, *a);
            else
                *before = *a;
            continue;
        }
        Changed c = {.name = a->name, .span = a->value.span};
        Fit fit = merge_values(l, &m, a->value, b->value, &c.value);
        if (fit == FIT_TYPES) {
            report_branches(l, n, a->name, a->value, b->value);
        } else if (fit == FIT_KINDS) { /* only an error when it is used */
            Binding lost = {.name = a->name, .value = b->value, .lost = true};
            if (before)
                *before = lost;
            else
                vec_push(l->arena, &scope->bindings, lost);
            continue;
        }
        vec_push(l->arena, &changed, c);
    }
    for (uint32_t i = 0; i < branches[1].scope->bindings.length; i++) { /* only in the else side */
        Binding b = branches[1].scope->bindings.data[i];
        if (scope_find(branches[0].scope, b.name) || scope_find(scope, b.name)) continue;
        b.lost = true;
        vec_push(l->arena, &scope->bindings, b);
    }
    bool failed = l->diagnostics->errors != errors || !condition;
    if (!failed) finish_if(l, condition, branches, &m);
    uint32_t at = 0;
    for (uint32_t i = 0; i < changed.length; i++) {
        Changed c = changed.data[i];
        if (failed && !val_is_silent(c.value))
            c.value = condition ? val_error() : val_unknown();
        else
            c.value = with_leaves(l, c.value, m.leaves[0].data, &at);
        c.value.span = c.span;
        scope_set(l, scope, c.name, c.value);
    }
}

static Flow merge_returns(Lower *l, const Node *n, Value *condition, Branch *branches) {
    Merge m = {.regions = {branches[0].region, branches[1].region}};
    Val merged;
    Fit fit = merge_values(l, &m, branches[0].result, branches[1].result, &merged);
    if (fit != FIT_OK) {
        Val a = branches[0].result, b = branches[1].result;
        fail(l, n->span, "this function returns %s or %s, depending on a run-time condition",
             describe(l, a), describe(l, b));
        if (a.span.line) note(l, a.span, "%s is returned here", describe(l, a));
        if (b.span.line) note(l, b.span, "%s is returned here", describe(l, b));
        merged = val_error();
    } else if (condition) {
        finish_if(l, condition, branches, &m);
        uint32_t at = 0;
        merged = with_leaves(l, merged, m.leaves[0].data, &at);
    } else {
        merged = val_unknown();
    }
    l->frame->result = merged;
    return FLOW_RETURNED;
}

static Flow lower_if(Lower *l, const Node *n, const Rest *rest) {
    Val c = lower_expression(l, n->condition);
    if (val_is_constant(c)) return lower_statements(l, konst_truth(c) ? n->body : n->orelse, rest);
    Value *condition = NULL;
    if (c.kind == VAL_TENSOR) {
        condition = truth_value(l, c, n->condition->span, "the condition");
    } else if (c.kind != VAL_UNKNOWN && c.kind != VAL_ERROR) {
        fail(l, n->condition->span, "%s is not a condition", describe(l, c));
    }
    if (condition && type_is_block(condition->type)) {
        fail(l, n->condition->span, "the condition of `if` is a block (%s)",
             type_string(c.value->type, l->arena));
        note(l, n->condition->span,
             "`if` decides for the whole program: use tl.where or a mask to choose element by "
             "element, or reduce the condition to one value");
        condition = NULL;
    }
    bool returns = if_returns(n);
    if (returns && l->frame->loop_depth) {
        fail(l, n->span, "`return` below a run-time `if` inside a loop");
        note(l, n->span, "compute the result with tl.where, or guard the work with `if` instead");
        returns = false;
    }
    Location at = l->build.at;
    Branch branches[2] = {lower_branch(l, n->body, l->frame->scope, returns, rest),
                          lower_branch(l, n->orelse, l->frame->scope, returns, rest)};
    l->build.at = at;
    if (returns) return merge_returns(l, n, condition, branches);
    merge_scopes(l, n, condition, branches);
    return FLOW_ON;
}

/* ---- loops
 * ----------------------------------------------------------------------------------------- */

static void add_name(Lower *l, NameList *names, const char *name) {
    for (uint32_t i = 0; i < names->length; i++)
        if (names->data[i] == name) return;
    vec_push(l->arena, names, name);
}

static void target_names(Lower *l, const Node *t, NameList *names) {
    if (t->kind == NODE_NAME) add_name(l, names, t->name);
    if (t->kind == NODE_STARRED) target_names(l, t->left, names);
    if (t->kind == NODE_TUPLE || t->kind == NODE_LIST)
        for (const Node *i = t->items; i; i = i->next) target_names(l, i, names);
}

/* Names that these statements may assign. */
static void assigned_names(Lower *l, const Node *n, NameList *names) {
    for (; n; n = n->next) {
        switch (n->kind) {
        case NODE_ASSIGN:
            for (const Node *t = n->items ? n->items : n->left; t; t = n->items ? t->next : NULL)
                target_names(l, t, names);
            break;
        case NODE_ANNOTATED:
        case NODE_AUGMENTED: target_names(l, n->left, names); break;
        case NODE_FOR:
            target_names(l, n->left, names);
            /* fall through */
        case NODE_IF:
        case NODE_WHILE:
            assigned_names(l, n->body, names);
            assigned_names(l, n->orelse, names);
            break;
        default: break;
        }
    }
}

/* A variable that lives through a loop. */
typedef struct Carried {
    const char *name;
    Val before;
    uint32_t first, count; /* its leaves */
} Carried;

typedef struct Loop {
    VEC(Carried) carried;
    Leaves initial;   /* leaves before the loop */
    Leaves arguments; /* leaves at the start of the body */
} Loop;

static void find_carried(Lower *l, const Node *n, Loop *loop) {
    NameList names = {0}, targets = {0};
    assigned_names(l, n->body, &names);
    if (n->kind == NODE_FOR) target_names(l, n->left, &targets);
    for (uint32_t i = 0; i < names.length; i++) {
        bool is_target = false;
        for (uint32_t k = 0; k < targets.length; k++) is_target |= targets.data[k] == names.data[i];
        Binding *b = scope_find(l->frame->scope, names.data[i]);
        if (!b || b->lost || is_target || b->is_constexpr) continue;
        Val before = b->value;
        if (val_is_number(before)) { /* a constexpr parameter that the loop changes */
            Value *t = to_tensor(l, before, before.span, "this");
            if (!t) continue;
            Span span = before.span;
            before = val_tensor(t);
            before.span = span;
        }
        Carried c = {.name = names.data[i], .before = before, .first = loop->initial.length};
        collect_leaves(l, before, &loop->initial);
        c.count = loop->initial.length - c.first;
        vec_push(l->arena, &loop->carried, c);
    }
}

/* Binds the carried variables to fresh arguments of the region. */
static void enter_region(Lower *l, Loop *loop, Region *region, Leaves *arguments) {
    arguments->length = 0;
    for (uint32_t i = 0; i < loop->initial.length; i++)
        vec_push(l->arena, arguments,
                 region_add_argument(l->module, region, loop->initial.data[i]->type));
    for (uint32_t i = 0; i < loop->carried.length; i++) {
        Carried *c = &loop->carried.data[i];
        uint32_t at = 0;
        Val v = with_leaves(l, c->before, arguments->data + c->first, &at);
        v.span = c->before.span;
        scope_set(l, l->frame->scope, c->name, v);
    }
}

static void report_carried(Lower *l, const Node *n, const char *name, Val before, Val after) {
    fail(l, n->span, "`%s` changes its type in this loop: from %s to %s", name, describe(l, before),
         describe(l, after));
    note(l, before.span, "%s before the loop", describe(l, before));
    note(l, after.span, "%s after one iteration", describe(l, after));
    if (before.kind == VAL_TENSOR && before.plain)
        note(l, before.span,
             "start with the type it will have, e.g. tl.zeros(shape, dtype=...) or "
             "tl.full");
    else
        note(l, after.span, "a variable keeps one type through a loop; cast with `.to(...)`");
}

/* The leaves of all carried variables at the end of the body; false after an error. */
static bool leave_region(Lower *l, const Node *n, Loop *loop, Region *region, Leaves *final) {
    bool ok = true;
    for (uint32_t i = 0; i < loop->carried.length; i++) {
        Carried *c = &loop->carried.data[i];
        Binding *b = scope_find(l->frame->scope, c->name);
        Val after = b->value, merged;
        if (b->lost) {
            fail(l, n->span, "`%s` may have no value at the end of this loop's body", c->name);
            note(l, after.span, "it is set here, in a branch that may not run");
            ok = false;
            continue;
        }
        if (val_is_silent(after) || val_is_silent(c->before)) {
            ok = ok && after.kind != VAL_ERROR && c->before.kind != VAL_ERROR;
            for (uint32_t k = 0; k < c->count; k++) vec_push(l->arena, final, NULL);
            ok = ok && c->count == 0;
            continue;
        }
        Merge m = {.regions = {region, region}};
        Fit fit = merge_values(l, &m, c->before, after, &merged);
        bool constant_changed =
            fit == FIT_OK && c->count != m.leaves[1].length; /* tuple of constants, say */
        if (fit != FIT_OK || constant_changed) {
            report_carried(l, n, c->name, c->before, after);
            ok = false;
            continue;
        }
        for (uint32_t k = 0; k < m.leaves[1].length; k++)
            vec_push(l->arena, final, m.leaves[1].data[k]);
    }
    return ok && final->length == loop->initial.length;
}

/* After the loop: carried variables get `leaves` (NULL: the loop failed), those first assigned in
 * the body are lost. */
static void bind_after(Lower *l, Scope *before, Scope *inner, Loop *loop, Value **leaves) {
    l->frame->scope = before;
    for (uint32_t i = 0; i < loop->carried.length; i++) {
        Carried *c = &loop->carried.data[i];
        Binding *b = scope_find(inner, c->name);
        uint32_t at = 0;
        Val v = leaves        ? with_leaves(l, c->before, leaves + c->first, &at)
                : l->checking ? val_unknown()
                              : val_error();
        if (c->before.kind == VAL_UNKNOWN) v = val_unknown();
        v.span = b ? b->value.span : c->before.span;
        scope_set(l, before, c->name, v);
    }
    for (uint32_t i = 0; i < inner->bindings.length; i++) {
        Binding b = inner->bindings.data[i];
        Binding *outer = scope_find(before, b.name);
        if (outer && !outer->lost) continue;
        if (outer) continue;
        b.lost = !val_is_constant(b.value) || val_is_number(b.value);
        if (val_is_silent(b.value)) b.lost = false;
        vec_push(l->arena, &before->bindings, b);
    }
}

static const AttributeKey range_hints[RANGE_ITEMS] = {
    [RANGE_NUM_STAGES] = ATTR_num_stages,
    [RANGE_UNROLL] = ATTR_unroll,
    [RANGE_FLATTEN] = ATTR_flatten,
    [RANGE_WARP_SPECIALIZE] = ATTR_warp_specialize,
    [RANGE_NO_MULTI_BUFFER] = ATTR_no_multi_buffer,
};

static Flow lower_unrolled(Lower *l, const Node *n, Val iterable, const Rest *rest) {
    Wide count = iterable.count, from = 0, step = 1;
    if (iterable.kind == VAL_RANGE) {
        static const char *const what[] = {"the start of tl.static_range",
                                           "the end of tl.static_range",
                                           "the step of tl.static_range"};
        for (int i = 0; i < 3; i++)
            if (!val_is_integer(iterable.items[i])) {
                not_constant(l, iterable.items[i], n->right->span, what[i]);
                return FLOW_ON;
            }
        from = iterable.items[RANGE_FROM].integer;
        step = iterable.items[RANGE_STEP].integer;
        Wide to = iterable.items[RANGE_TO].integer;
        if (step == 0) {
            fail(l, n->right->span, "a range with step 0");
            return FLOW_ON;
        }
        count = step > 0 ? (to - from + step - 1) / step : (from - to - step - 1) / -step;
    }
    (void)rest;
    for (Wide i = 0; i < count && !l->gave_up; i++) {
        Val item =
            iterable.kind == VAL_RANGE ? val_int(from + i * step) : iterable.items[(uint32_t)i];
        lower_assign(l, n->left, item, n);
        if (lower_statements(l, n->body, NULL) == FLOW_RETURNED) return FLOW_RETURNED;
    }
    return FLOW_ON;
}

/* The bounds of a run-time range as scalars of one integer type; false after an error. */
static bool range_bounds(Lower *l, const Node *n, Val range, Value **bounds) {
    static const char *const what[] = {"the start of the range", "the end of the range",
                                       "the step of the range"};
    DType dtype = DT_i32;
    for (int i = 0; i < 3; i++) {
        if (range.items[i].kind == VAL_INT && i == RANGE_STEP && range.items[i].integer == 0) {
            fail(l, n->right->span, "a range with step 0");
            return false;
        }
        bounds[i] = to_tensor(l, range.items[i], n->right->span, what[i]);
        if (!bounds[i]) return false;
        const Type *t = bounds[i]->type;
        if (type_is_block(t) || type_is_pointer(t) || !dtype_is_int(t->dtype)) {
            fail(l, n->right->span, "%s must be an integer scalar, not %s", what[i],
                 type_string(t, l->arena));
            return false;
        }
        bool mixed;
        DType d = t->dtype == DT_i1 ? DT_i32 : t->dtype;
        dtype = i == 0 ? d : promote(dtype, false, d, false, false, &mixed);
    }
    for (int i = 0; i < 3; i++) bounds[i] = cast_to(l, bounds[i], dtype, WORD_none);
    return true;
}

static void lower_range_loop(Lower *l, const Node *n, Val range) {
    Value *bounds[3], *from = NULL;
    bool known = true;
    for (int i = 0; i < 3; i++) {
        if (range.items[i].kind == VAL_ERROR) return;
        known = known && range.items[i].kind != VAL_UNKNOWN;
    }
    if (known && !range_bounds(l, n, range, bounds)) known = false;
    if (!known && !l->checking) return;
    Val step = range.items[RANGE_STEP];
    bool backwards = known && val_is_integer(step) && step.integer < 0;
    if (backwards) { /* count up from 0; the index is from - count */
        from = bounds[0];
        bounds[1] = build_binary(&l->build, OP_sub, bounds[0], bounds[1]);
        bounds[0] = build_zero(&l->build, from->type);
        bounds[2] = constant_of(l, val_int(-step.integer), from->type);
    }
    Loop loop = {0};
    find_carried(l, n, &loop);
    Location at = l->build.at;
    Builder outer = l->build;
    Scope *before = l->frame->scope, *inner = scope_copy(l, before);
    Region *region = arena_new(l->arena, Region);
    l->frame->scope = inner;
    l->frame->loop_depth++;
    l->build.region = region;
    l->build.before = NULL;
    Val index = val_unknown();
    if (known) {
        Value *argument = region_add_argument(l->module, region, bounds[0]->type);
        index = val_tensor(backwards ? build_binary(&l->build, OP_sub, from, argument) : argument);
    }
    enter_region(l, &loop, region, &loop.arguments);
    lower_assign(l, n->left, index, n);
    lower_statements(l, n->body, NULL);
    Leaves final = {0};
    bool ok = leave_region(l, n, &loop, region, &final) && known;
    l->frame->loop_depth--;
    if (!ok) {
        l->build = outer;
        bind_after(l, before, inner, &loop, NULL);
        return;
    }
    l->build.at = at;
    build_op(&l->build, OP_yield, final.length, final.data, 0, NULL);
    l->build = outer;
    l->build.at = at;
    Leaves operands = {0};
    VEC(const Type *) types = {0};
    for (int i = 0; i < 3; i++) vec_push(l->arena, &operands, bounds[i]);
    for (uint32_t i = 0; i < loop.initial.length; i++) {
        vec_push(l->arena, &operands, loop.initial.data[i]);
        vec_push(l->arena, &types, loop.initial.data[i]->type);
    }
    Op *op =
        build_nested(&l->build, OP_for, operands.length, operands.data, types.length, types.data);
    op->regions[0] = region;
    region->parent = op;
    for (int i = RANGE_NUM_STAGES; i < RANGE_ITEMS; i++)
        if (val_is_integer(range.items[i]))
            op_set_int(l->module, op, range_hints[i], (int64_t)range.items[i].integer);
    Leaves results = {0};
    for (uint32_t i = 0; i < types.length; i++) vec_push(l->arena, &results, op_result(op, i));
    bind_after(l, before, inner, &loop, results.data);
}

static Flow lower_for(Lower *l, const Node *n, const Rest *rest) {
    Val iterable = lower_expression(l, n->right);
    l->build.at = here(l, n->span);
    if (n->orelse) fail(l, n->orelse->span, "a loop in a kernel cannot have `else`");
    if (iterable.kind == VAL_ERROR) return FLOW_ON;
    if (iterable.kind == VAL_TUPLE ||
        (iterable.kind == VAL_RANGE &&
         (konst_truth(iterable.items[RANGE_STATIC]) || l->frame->function->is_python))) {
        bool unknown = false;
        for (int i = 0; iterable.kind == VAL_RANGE && i < 3; i++)
            unknown |= iterable.items[i].kind == VAL_UNKNOWN;
        if (!unknown) return lower_unrolled(l, n, iterable, rest);
    }
    if (iterable.kind == VAL_UNKNOWN) {
        Val *items = arena_array(l->arena, Val, RANGE_ITEMS);
        for (int i = 0; i < RANGE_ITEMS; i++) items[i] = i < 3 ? val_unknown() : val_none();
        iterable = (Val){.kind = VAL_RANGE, .items = items, .count = RANGE_ITEMS};
    }
    if (iterable.kind != VAL_RANGE) {
        fail(l, n->right->span,
             "a loop runs over range(...), tl.range(...), tl.static_range(...) or a "
             "tuple, not over %s",
             describe(l, iterable));
        return FLOW_ON;
    }
    lower_range_loop(l, n, iterable);
    return FLOW_ON;
}

static void lower_while(Lower *l, const Node *n) {
    Loop loop = {0};
    find_carried(l, n, &loop);
    Location at = here(l, n->span);
    Builder outer = l->build;
    Scope *before = l->frame->scope, *inner = scope_copy(l, before);
    Region *regions[2] = {arena_new(l->arena, Region), arena_new(l->arena, Region)};
    l->frame->scope = inner;
    l->frame->loop_depth++;
    l->build.before = NULL;
    l->build.region = regions[0];
    enter_region(l, &loop, regions[0], &loop.arguments);
    Val c = lower_expression(l, n->condition);
    Value *condition = NULL;
    if (val_is_constant(c) && konst_truth(c)) {
        fail(l, n->condition->span, "this loop never ends: its condition is always true");
        note(l, n->condition->span, "`break` is not available; put the condition here");
    } else if (c.kind != VAL_UNKNOWN && c.kind != VAL_ERROR) {
        condition = truth_value(l, c, n->condition->span, "the condition");
        if (condition && type_is_block(condition->type)) {
            fail(l, n->condition->span,
                 "the condition of `while` is a block (%s); reduce it to one "
                 "value, e.g. with tl.max",
                 type_string(condition->type, l->arena));
            condition = NULL;
        }
    }
    if (condition) {
        Leaves forwarded = {0};
        vec_push(l->arena, &forwarded, condition);
        for (uint32_t i = 0; i < loop.arguments.length; i++)
            vec_push(l->arena, &forwarded, loop.arguments.data[i]);
        build_op(&l->build, OP_condition, forwarded.length, forwarded.data, 0, NULL);
    }
    l->build.region = regions[1];
    enter_region(l, &loop, regions[1], &loop.arguments);
    lower_statements(l, n->body, NULL);
    Leaves final = {0};
    bool ok = leave_region(l, n, &loop, regions[1], &final) && condition;
    l->frame->loop_depth--;
    l->build.at = at;
    if (ok) build_op(&l->build, OP_yield, final.length, final.data, 0, NULL);
    l->build = outer;
    l->build.at = at;
    if (!ok) {
        bind_after(l, before, inner, &loop, NULL);
        return;
    }
    VEC(const Type *) types = {0};
    Leaves results = {0};
    for (uint32_t i = 0; i < loop.initial.length; i++)
        vec_push(l->arena, &types, loop.initial.data[i]->type);
    Op *op = build_nested(&l->build, OP_while, loop.initial.length, loop.initial.data, types.length,
                          types.data);
    for (int i = 0; i < 2; i++) {
        op->regions[i] = regions[i];
        regions[i]->parent = op;
    }
    for (uint32_t i = 0; i < types.length; i++) vec_push(l->arena, &results, op_result(op, i));
    bind_after(l, before, inner, &loop, results.data);
}

/* ---- the rest
 * -------------------------------------------------------------------------------------- */

static Flow lower_return(Lower *l, const Node *n) {
    Val v = n->left ? lower_expression(l, n->left) : val_none();
    if (l->frame->loop_depth) {
        fail(l, n->span, "`return` inside a run-time loop");
        note(l, n->span, "carry the result in a variable and return it after the loop");
        return FLOW_ON;
    }
    v = as_variable(l, v, n->span);
    v.span = n->span;
    l->frame->result = v;
    return FLOW_RETURNED;
}

static void lower_assert(Lower *l, const Node *n) {
    Val module = {.kind = VAL_MODULE, .string = "triton.language"};
    Val arguments[2] = {lower_expression(l, n->condition),
                        n->left ? lower_expression(l, n->left)
                                : val_string("assertion failed", 16)};
    if (arguments[1].kind != VAL_STRING) arguments[1] = val_string("assertion failed", 16);
    Val callee = module_attribute(l, module, "device_assert", n->span);
    (void)call_value(l, callee, arguments, 2, n->span);
}

static void lower_raise(Lower *l, const Node *n) {
    const char *text = "";
    if (n->left && n->left->kind == NODE_CALL && n->left->items) {
        Val v = lower_expression(l, n->left->items);
        if (v.kind == VAL_STRING) text = arena_printf(l->arena, ": %s", v.string);
    }
    fail(l, n->span, "this `raise` is reached when the kernel is compiled%s", text);
}

static void refuse_loop_exit(Lower *l, const Node *n) {
    bool is_break = n->kind == NODE_BREAK;
    fail(l, n->span, "`%s` is not available in a kernel", is_break ? "break" : "continue");
    note(l, n->span,
         is_break ? "put the condition into the loop: `while i < n and not done:` with a "
                    "variable `done`"
                  : "put the rest of the body under `if not ...:`");
}

static Flow lower_statement(Lower *l, const Node *n, const Rest *rest) {
    switch (n->kind) {
    case NODE_EXPRESSION:
        if (n->left->kind != NODE_STRING) (void)lower_expression(l, n->left);
        break;
    case NODE_ASSIGN: lower_assignment(l, n); break;
    case NODE_ANNOTATED: lower_annotated(l, n); break;
    case NODE_AUGMENTED: lower_augmented(l, n); break;
    case NODE_IF: {
        Rest after = {n->next, rest};
        return lower_if(l, n, &after);
    }
    case NODE_FOR: return lower_for(l, n, rest);
    case NODE_WHILE: lower_while(l, n); break;
    case NODE_RETURN: return lower_return(l, n);
    case NODE_ASSERT: lower_assert(l, n); break;
    case NODE_RAISE: lower_raise(l, n); break;
    case NODE_PASS:
    case NODE_IMPORT: break;
    case NODE_BREAK:
    case NODE_CONTINUE: refuse_loop_exit(l, n); break;
    case NODE_FUNCTION: {
        Function *f = arena_new(l->arena, Function);
        *f = (Function){.name = n->name,
                        .node = n,
                        .file = l->frame->function->file,
                        .closure = l->frame->scope,
                        .is_python = l->frame->function->is_python};
        Val v = {.kind = VAL_FUNCTION, .function = f, .span = n->span};
        scope_set(l, l->frame->scope, n->name, v);
        break;
    }
    case NODE_DELETE: break;
    default: fail(l, n->span, "this statement is host code: a kernel cannot run it"); break;
    }
    return FLOW_ON;
}

static Flow lower_statements(Lower *l, const Node *list, const Rest *rest) {
    for (const Node *n = list; n && !l->gave_up; n = n->next) {
        if (++l->steps > MAX_STEPS) {
            fail(l, n->span, "this kernel unrolls into more than %d statements", MAX_STEPS);
            note(l, n->span, "use a run-time loop (tl.range) instead of tl.static_range");
            l->gave_up = true;
            return FLOW_ON;
        }
        l->build.at = here(l, n->span);
        if (lower_statement(l, n, rest) == FLOW_RETURNED) return FLOW_RETURNED;
    }
    return FLOW_ON;
}

Flow lower_body(Lower *l, const Node *statements) {
    return lower_statements(l, statements, NULL);
}
