/* branch.c: `if`.
 *
 * A constant condition lowers one side only. A run-time condition makes an `if` op; variables that
 * the sides leave with different values become its results, and a variable that only one side
 * sets is lost afterwards.
 *
 * A `return` below a run-time `if` makes the rest of the function part of both sides:
 * `if c: return a` + rest  becomes  `if c: a else: rest`.
 */
#include "lang/stmt_internal.h"

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
    for (uint32_t k = 0; k < 2; k++) op_take_region(op, k, branches[k].region);
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
            lost.lost = condition || !l->checking;
            if (!lost.lost) lost.value = val_unknown();
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
        if (fit == FIT_TYPES && condition) {
            report_branches(l, n, a->name, a->value, b->value);
        } else if (fit == FIT_TYPES) { /* the condition may be a constant */
            c.value = val_unknown();
        } else if (fit == FIT_KINDS) { /* only an error when it is used */
            Binding lost = {.name = a->name, .value = b->value};
            lost.lost = condition || !l->checking;
            if (!lost.lost) lost.value = val_unknown();
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
        b.lost = condition || !l->checking;
        if (!b.lost) b.value = val_unknown();
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

Flow lower_if(Lower *l, const Node *n, const Rest *rest) {
    Val c = lower_expression(l, n->condition);
    if (val_is_constant(c)) return lower_statements(l, konst_truth(c) ? n->body : n->orelse, rest);
    Value *condition = NULL;
    if (c.kind == VAL_TENSOR) {
        condition = branch_condition(l, c, n->condition->span);
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
    if (returns && !condition && l->checking) {
        returns = false; /* perhaps a constant: either way */
    } else if (returns && (l->frame->loop_depth || l->frame->unroll_depth)) {
        fail(l, n->span, "`return` below a run-time `if` inside a loop");
        note(l, n->span, "compute the result with tl.where, or guard the work with `if` instead");
        returns = false;
    }
    Location at = l->build.at;
    bool perhaps_constant = !condition && l->checking;
    l->uncertain += perhaps_constant;
    Branch branches[2] = {lower_branch(l, n->body, l->frame->scope, returns, rest),
                          lower_branch(l, n->orelse, l->frame->scope, returns, rest)};
    l->uncertain -= perhaps_constant;
    l->build.at = at;
    if (returns) return merge_returns(l, n, condition, branches);
    merge_scopes(l, n, condition, branches);
    return FLOW_ON;
}
