/* loop.c: `for` and `while`.
 *
 * tl.static_range and tuples are unrolled. Any other loop becomes an op; a variable that existed
 * before and is assigned in the body is carried through it, and keeps its type. What the body
 * assigns first is lost after the loop, which may not have run.
 */
#include "lang/stmt_internal.h"

typedef VEC(const char *) NameList;

static void add_name(Lower *l, NameList *names, const char *name) {
    for (uint32_t i = 0; i < names->length; i++)
        if (names->data[i] == name) return;
    vec_push(l->arena, names, name);
}

static void target_names(Lower *l, const Node *t, NameList *names) {
    if (t->kind == NODE_NAME) add_name(l, names, t->name);
    if (t->kind == NODE_STARRED || t->kind == NODE_SUBSCRIPT) target_names(l, t->left, names);
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
        b.lost = !l->checking && !val_is_silent(b.value) &&
                 (!val_is_constant(b.value) || val_is_number(b.value));
        if (l->checking) b.value = val_unknown();
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

static Flow lower_unrolled(Lower *l, const Node *n, Val iterable) {
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
    enum { MOST_UNROLLED = 1 << 20 };
    if (count > MOST_UNROLLED) {
        fail(l, n->right->span, "this loop would be unrolled more than %d times; use range(...)",
             MOST_UNROLLED);
        return FLOW_ON;
    }
    Flow flow = FLOW_ON;
    l->frame->unroll_depth++;
    for (Wide i = 0; i < count && !l->gave_up && flow == FLOW_ON; i++) {
        Val item =
            iterable.kind == VAL_RANGE ? val_int(from + i * step) : iterable.items[(uint32_t)i];
        lower_assign(l, n->left, item, n);
        flow = lower_statements(l, n->body, NULL);
    }
    l->frame->unroll_depth--;
    return flow;
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
    op_take_region(op, 0, region);
    for (int i = RANGE_NUM_STAGES; i < RANGE_ITEMS; i++)
        if (val_is_integer(range.items[i]))
            op_set_int(l->module, op, range_hints[i], (int64_t)range.items[i].integer);
    Leaves results = {0};
    for (uint32_t i = 0; i < types.length; i++) vec_push(l->arena, &results, op_result(op, i));
    bind_after(l, before, inner, &loop, results.data);
}

static void forget_assigned(Lower *l, const Node *body) {
    NameList names = {0};
    assigned_names(l, body, &names);
    for (uint32_t i = 0; i < names.length; i++) {
        Binding *b = scope_find(l->frame->scope, names.data[i]);
        if (b) b->value = val_unknown();
    }
}

/* Checking: a loop that is unrolled an unknown number of times. */
static void lower_unknown_loop(Lower *l, const Node *n) {
    forget_assigned(l, n->body);
    lower_assign(l, n->left, val_unknown(), n);
    l->uncertain++;
    lower_statements(l, n->body, NULL);
    l->uncertain--;
}

Flow lower_for(Lower *l, const Node *n) {
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
        if (!unknown) return lower_unrolled(l, n, iterable);
        lower_unknown_loop(l, n);
        return FLOW_ON;
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

static void lower_run_time_while(Lower *l, const Node *n) {
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
        condition = branch_condition(l, c, n->condition->span);
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
    for (uint32_t i = 0; i < 2; i++) op_take_region(op, i, regions[i]);
    for (uint32_t i = 0; i < types.length; i++) vec_push(l->arena, &results, op_result(op, i));
    bind_after(l, before, inner, &loop, results.data);
}

/* In a function that runs on constants: goes round while the condition holds. */
static Flow lower_constant_while(Lower *l, const Node *n) {
    Flow flow = FLOW_ON;
    l->frame->unroll_depth++;
    while (flow == FLOW_ON && !l->gave_up) {
        Val c = lower_expression(l, n->condition);
        if (c.kind == VAL_TENSOR) not_constant(l, c, n->condition->span, "this condition");
        if (c.kind == VAL_UNKNOWN) forget_assigned(l, n->body);
        if (!val_is_constant(c) || !konst_truth(c)) break;
        flow = lower_statements(l, n->body, NULL);
    }
    l->frame->unroll_depth--;
    return flow;
}

Flow lower_while(Lower *l, const Node *n) {
    if (l->frame->function->is_python) return lower_constant_while(l, n);
    lower_run_time_while(l, n);
    return FLOW_ON;
}
