/* stmt.c: statements, one at a time; `if` is in branch.c, loops are in loop.c. */
#include "lang/stmt_internal.h"

enum { MAX_STEPS = 2000000 };

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

/* self.field = value, in a constructor. */
static void assign_field(Lower *l, const Node *target, Val value) {
    Binding *b =
        target->left->kind == NODE_NAME ? scope_find(l->frame->scope, target->left->name) : NULL;
    if (b && val_is_silent(b->value)) return;
    if (!b || b->value.kind != VAL_TUPLE || !b->value.named) {
        fail(l, target->span, "this cannot be assigned to");
        return;
    }
    const char *name = l->frame->function->name;
    if (strcmp(name ? name : "", "__init__") != 0) {
        fail(l, target->span, "the fields of a `%s` cannot be changed", b->value.named->name);
        note(l, target->span, "make a new one with the values it shall have");
        return;
    }
    Val changed = tuple_with_field(l, b->value, target->name, value);
    if (changed.kind == VAL_ERROR)
        fail(l, target->op_span, "`%s` has no field `%s`", b->value.named->name, target->name);
    else
        b->value = changed;
}

/* t[i] = value for a tuple in a variable: a new tuple. */
static bool assign_item(Lower *l, const Node *target, Val value) {
    Binding *b =
        target->left->kind == NODE_NAME ? scope_find(l->frame->scope, target->left->name) : NULL;
    if (!b || b->value.kind != VAL_TUPLE) return b && val_is_silent(b->value);
    Val index = lower_expression(l, target->right);
    if (val_is_silent(index)) return true;
    if (!val_is_integer(index)) {
        not_constant(l, index, target->right->span, "an index into a tuple");
        return true;
    }
    Val tuple = b->value;
    Wide i = index.integer < 0 ? index.integer + tuple.count : index.integer;
    if (i < 0 || i >= tuple.count) {
        fail(l, target->right->span, "index %s is outside a tuple of %u items",
             wide_string(l->arena, index.integer), tuple.count);
        return true;
    }
    Val *items = arena_array(l->arena, Val, tuple.count);
    memcpy(items, tuple.items, tuple.count * sizeof *items);
    items[(uint32_t)i] = as_variable(l, value, target->span);
    b->value.items = items;
    return true;
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
        if (assign_item(l, target, value)) return;
        fail(l, target->span, "an element of a block cannot be assigned");
        note(l, target->span, "write to memory with tl.store, or build a new block with tl.where");
        return;
    case NODE_ATTRIBUTE: assign_field(l, target, value); return;
    default: fail(l, target->span, "this cannot be assigned to"); return;
    }
}

static void lower_annotated(Lower *l, const Node *n) {
    if (!n->right) return;
    Val v = lower_expression(l, n->right);
    if (!is_constexpr(n->annotation)) {
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

/* ---- the rest ---- */

static Flow lower_return(Lower *l, const Node *n) {
    Val v = n->left ? lower_expression(l, n->left) : val_none();
    if (l->frame->loop_depth && !l->uncertain) {
        fail(l, n->span, "`return` inside a run-time loop");
        note(l, n->span, "carry the result in a variable and return it after the loop");
        return FLOW_ON;
    }
    v.span = n->span; /* a constant stays one: f() may stand where a constexpr is needed */
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
    if (l->uncertain) return;
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
    case NODE_FOR: return lower_for(l, n);
    case NODE_WHILE: return lower_while(l, n);
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

Flow lower_statements(Lower *l, const Node *list, const Rest *rest) {
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
