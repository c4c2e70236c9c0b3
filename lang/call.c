/* call.c: calls. Arguments are bound to parameters as Python does; functions of the source are
 * inlined, so there is no call in the IR.
 */
#include "lang/lower_internal.h"

enum { MAX_CALL_DEPTH = 48, MAX_PARAMETERS = 256 };

/* Arguments as written at a call. */
typedef struct Arguments {
    VEC(Val) positional;
    VEC(Span) positional_spans;
    VEC(Val) keywords;
    VEC(const char *) names;
    VEC(Span) keyword_spans; /* of the value */
    VEC(Span) name_spans;
    bool bad, unknown;
} Arguments;

static void push_positional(Lower *l, Arguments *a, Val v, Span span) {
    vec_push(l->arena, &a->positional, v);
    vec_push(l->arena, &a->positional_spans, span);
    a->bad |= v.kind == VAL_ERROR;
    a->unknown |= v.kind == VAL_UNKNOWN;
}

static void push_keyword(Lower *l, Arguments *a, const char *name, Span name_span, Val v,
                         Span span) {
    vec_push(l->arena, &a->keywords, v);
    vec_push(l->arena, &a->names, name);
    vec_push(l->arena, &a->keyword_spans, span);
    vec_push(l->arena, &a->name_spans, name_span);
    a->bad |= v.kind == VAL_ERROR;
    a->unknown |= v.kind == VAL_UNKNOWN;
}

static void evaluate_arguments(Lower *l, const Node *call, Arguments *a) {
    for (const Node *n = call->items; n; n = n->next) {
        if (n->kind == NODE_STARRED) {
            Val t = lower_expression(l, n->left);
            if (t.kind == VAL_TUPLE) {
                for (uint32_t i = 0; i < t.count; i++) push_positional(l, a, t.items[i], n->span);
            } else {
                a->bad |= t.kind != VAL_UNKNOWN;
                a->unknown |= t.kind == VAL_UNKNOWN;
                if (!val_is_silent(t))
                    fail(l, n->span, "`*` needs a tuple, not %s", describe(l, t));
            }
        } else if (n->kind == NODE_KEYWORD && !n->name) {
            Val t = lower_expression(l, n->left);
            if (t.kind == VAL_DICT) {
                for (uint32_t i = 0; i < t.count; i++) {
                    Val key = t.items[2 * i];
                    if (key.kind == VAL_STRING)
                        push_keyword(l, a, intern(l->names, key.string, key.count), n->span,
                                     t.items[2 * i + 1], n->span);
                }
            } else {
                a->bad |= t.kind != VAL_UNKNOWN;
                a->unknown |= t.kind == VAL_UNKNOWN;
                if (!val_is_silent(t))
                    fail(l, n->span, "`**` needs a dict, not %s", describe(l, t));
            }
        } else if (n->kind == NODE_KEYWORD) {
            push_keyword(l, a, n->name, n->op_span, lower_expression(l, n->left), n->left->span);
        } else {
            push_positional(l, a, lower_expression(l, n), n->span);
        }
    }
}

/* ---- builtins -------------------------------------------------------------------------------- */

/* One parameter of a builtin's list, read off its text. */
typedef struct BuiltinParameter {
    const char *name;
    size_t length;
    bool has_default, is_rest, is_keywords;
} BuiltinParameter;

static uint32_t read_parameters(const char *text, BuiltinParameter *out) {
    uint32_t count = 0;
    while (*text) {
        while (*text == ' ' || *text == ',') text++;
        if (!*text) break;
        BuiltinParameter p = {.name = text};
        if (*text == '*') {
            p.is_rest = true;
            p.name = ++text;
            p.is_keywords = *text == '*';
            if (p.is_keywords) p.name = ++text;
        }
        while (*text && *text != ',' && *text != '=' && *text != ' ') text++;
        p.length = (size_t)(text - p.name);
        p.has_default = *text == '=';
        while (*text && *text != ',') text++;
        if (count < MAX_ARGUMENTS) out[count++] = p;
    }
    return count;
}

static const char *call_name(Lower *l, const Builtin *b) {
    return arena_printf(l->arena, "`%s`", b->name);
}

static bool bind_builtin(Lower *l, Call *c, const BuiltinParameter *parameters,
                         const Arguments *a) {
    const Builtin *b = c->builtin;
    VEC(Val) rest = {0};
    VEC(const char *) other_names = {0};
    VEC(Val) other_values = {0};
    bool any_keyword = c->count && parameters[c->count - 1].is_keywords;
    uint32_t next = 0;
    for (uint32_t i = 0; i < a->positional.length; i++) {
        if (next < c->count && parameters[next].is_rest) {
            vec_push(l->arena, &rest, a->positional.data[i]);
            continue;
        }
        if (next >= c->count) {
            fail(l, a->positional_spans.data[i], "%s takes at most %u arguments: %s",
                 call_name(l, b), c->count, b->parameters);
            return false;
        }
        c->arguments[next] = a->positional.data[i];
        c->spans[next] = a->positional_spans.data[i];
        c->given[next++] = true;
    }
    c->rest = rest.data;
    c->rest_count = rest.length;
    for (uint32_t k = 0; k < a->keywords.length; k++) {
        const char *name = a->names.data[k];
        uint32_t i = 0;
        while (i < c->count &&
               (parameters[i].is_rest || strncmp(parameters[i].name, name, parameters[i].length) ||
                name[parameters[i].length]))
            i++;
        bool internal = strcmp(name, "_semantic") == 0 || strcmp(name, "_builder") == 0 ||
                        strcmp(name, "_generator") == 0;
        if (i == c->count && internal) continue; /* Triton's own plumbing, seen in old kernels */
        if (i == c->count && any_keyword) {
            vec_push(l->arena, &other_names, name);
            vec_push(l->arena, &other_values, a->keywords.data[k]);
            continue;
        }
        if (i == c->count) {
            const char *near = nearest(name, c->names, c->count);
            fail(l, a->name_spans.data[k], "%s has no argument `%s`%s%s%s", call_name(l, b), name,
                 near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
            note(l, a->name_spans.data[k], "it takes (%s)", b->parameters);
            return false;
        }
        if (c->given[i]) {
            fail(l, a->name_spans.data[k], "argument `%s` of %s is given twice", name,
                 call_name(l, b));
            return false;
        }
        c->arguments[i] = a->keywords.data[k];
        c->spans[i] = a->keyword_spans.data[k];
        c->given[i] = true;
    }
    c->keyword_names = other_names.data;
    c->keyword_values = other_values.data;
    c->keyword_count = other_names.length;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->given[i] || parameters[i].has_default || parameters[i].is_rest) continue;
        fail(l, c->span, "%s needs an argument `%s`", call_name(l, b), c->names[i]);
        note(l, c->span, "it takes (%s)", b->parameters);
        return false;
    }
    return true;
}

static Val call_builtin(Lower *l, Val callee, Arguments *a, const Node *node, Span span) {
    const Builtin *b = callee.builtin;
    Call c = {.builtin = b, .node = node, .span = span};
    BuiltinParameter parameters[MAX_ARGUMENTS];
    c.count = read_parameters(b->parameters, parameters);
    for (uint32_t i = 0; i < c.count; i++) {
        c.names[i] = arena_strndup(l->arena, parameters[i].name, parameters[i].length);
        c.arguments[i] = val_none();
        c.spans[i] = span;
    }
    if (callee.self) { /* x.f(...): x is the first argument */
        Arguments with_self = *a;
        memset(&with_self.positional, 0, sizeof with_self.positional);
        memset(&with_self.positional_spans, 0, sizeof with_self.positional_spans);
        push_positional(l, &with_self, *callee.self, span);
        for (uint32_t i = 0; i < a->positional.length; i++)
            push_positional(l, &with_self, a->positional.data[i], a->positional_spans.data[i]);
        *a = with_self;
    }
    if (!bind_builtin(l, &c, parameters, a) || a->bad) return val_error();
    if (a->unknown) return val_unknown();
    l->build.at = here(l, span);
    return b->lower(l, &c);
}

/* ---- functions of the source ----------------------------------------------------------------- */

static const Node *find_parameter(const Function *f, const char *name, uint32_t *index) {
    *index = 0;
    for (const Node *p = f->node->parameters; p; p = p->next, ++*index)
        if (p->name == name && p->op == OPERATOR_NONE) return p;
    return NULL;
}

/* A parameter's default, evaluated where the function was defined. */
static Val default_value(Lower *l, const Function *f, const Node *p) {
    Frame frame = {.function = f, .up = l->frame, .site = l->frame ? l->frame->site : NULL};
    frame.scope = arena_new(l->arena, Scope);
    frame.scope->outer = f->closure;
    Frame *outer = l->frame;
    l->frame = &frame;
    Val v = lower_expression(l, p->left);
    l->frame = outer;
    return v;
}

static void note_definition(Lower *l, const Function *f) {
    note(l, f->node->span, "`%s` is defined here", f->name);
}

/* Gives every parameter a value in `scope`; false after an error. */
static bool bind_function(Lower *l, const Function *f, const Arguments *a, Scope *scope,
                          Span span) {
    Val values[MAX_PARAMETERS] = {{0}};
    bool given[MAX_PARAMETERS] = {false};
    uint32_t count = 0;
    for (const Node *p = f->node->parameters; p; p = p->next) count++;
    if (count > MAX_PARAMETERS) {
        fail(l, f->node->span, "`%s` has more than %d parameters", f->name, MAX_PARAMETERS);
        return false;
    }
    uint32_t used = 0, index = 0;
    for (const Node *p = f->node->parameters; p; p = p->next, index++) {
        if (p->op == OPERATOR_MUL) { /* *args, or a bare * */
            if (p->name) {
                values[index] = val_tuple(a->positional.data + used, a->positional.length - used);
                given[index] = true;
                used = a->positional.length;
            }
            break;
        }
        if (p->op == OPERATOR_POW || p->keyword_only) break;
        if (used >= a->positional.length) continue;
        values[index] = a->positional.data[used];
        used++;
        given[index] = true;
    }
    if (used < a->positional.length) {
        fail(l, a->positional_spans.data[used], "`%s` takes %u argument%s by position, not %u",
             f->name, used, used == 1 ? "" : "s", a->positional.length);
        note_definition(l, f);
        return false;
    }
    for (uint32_t k = 0; k < a->keywords.length; k++) {
        if (!find_parameter(f, a->names.data[k], &index)) {
            VEC(const char *) known = {0};
            for (const Node *p = f->node->parameters; p; p = p->next)
                if (p->name) vec_push(l->arena, &known, p->name);
            const char *near = nearest(a->names.data[k], known.data, known.length);
            fail(l, a->name_spans.data[k], "`%s` has no parameter `%s`%s%s%s", f->name,
                 a->names.data[k], near ? "; did you mean `" : "", near ? near : "",
                 near ? "`?" : "");
            note_definition(l, f);
            return false;
        }
        if (given[index]) {
            fail(l, a->name_spans.data[k], "parameter `%s` of `%s` is given twice",
                 a->names.data[k], f->name);
            return false;
        }
        values[index] = a->keywords.data[k];
        given[index] = true;
    }
    index = 0;
    for (const Node *p = f->node->parameters; p; p = p->next, index++) {
        if (!p->name) continue;
        if (p->op == OPERATOR_POW) {
            values[index] = (Val){.kind = VAL_DICT};
        } else if (!given[index] && p->left) {
            values[index] = default_value(l, f, p);
            if (values[index].kind == VAL_ERROR) return false;
        } else if (!given[index]) {
            fail(l, span, "`%s` needs an argument `%s`", f->name, p->name);
            note_definition(l, f);
            return false;
        }
        Binding b = {.name = p->name, .value = values[index]};
        if (!b.value.span.line) b.value.span = p->span;
        vec_push(l->arena, &scope->bindings, b);
    }
    return true;
}

static bool too_deep(Lower *l, const Function *f, Span span) {
    uint32_t same = 0;
    for (Frame *up = l->frame; up; up = up->up) same += up->function->node == f->node;
    if (same < 8 && l->call_depth < MAX_CALL_DEPTH) return false;
    Location at = {.span = span}; /* without the chain of calls: it says nothing here */
    if (same)
        diag_error(l->diagnostics, at, "`%s` calls itself", f->name);
    else
        diag_error(l->diagnostics, at, "calls are nested deeper than %d", MAX_CALL_DEPTH);
    diag_note(
        l->diagnostics, (Location){.span = f->node->span},
        "functions are inlined into the kernel, so recursion must end at compile time; write a "
        "loop");
    l->gave_up = true;
    return true;
}

/* The value of a call. `self`, if not NULL, gets what the first parameter ends as. */
static Val inline_call(Lower *l, const Function *f, const Arguments *a, Span span, Val *self) {
    if (too_deep(l, f, span)) return val_error();
    Scope *scope = arena_new(l->arena, Scope);
    scope->outer = f->closure;
    if (!bind_function(l, f, a, scope, span)) return val_error();
    if (a->bad) return val_error();
    if (l->checking && !f->file->is_std && a->unknown) return val_unknown(); /* checked by itself */
    CallSite *site = arena_new(l->arena, CallSite);
    *site = (CallSite){.function = f->name, .span = span, .up = l->frame ? l->frame->site : NULL};
    Frame frame = {.function = f, .scope = scope, .site = site, .up = l->frame};
    frame.result = val_none();
    Frame *outer = l->frame;
    l->frame = &frame;
    l->call_depth++;
    if (f->node->kind == NODE_LAMBDA)
        frame.result = lower_expression(l, f->node->left);
    else
        lower_body(l, f->node->body);
    l->call_depth--;
    l->frame = outer;
    if (self) *self = scope_find(frame.scope, f->node->parameters->name)->value;
    Val result = frame.result;
    if (result.kind == VAL_NONE && l->gave_up) result = val_error();
    result.span = span;
    return result;
}

static Val inline_function(Lower *l, const Function *f, const Arguments *a, Span span) {
    return inline_call(l, f, a, span, NULL);
}

Val call_function(Lower *l, const Function *function, const Val *positional,
                  uint32_t positional_count, const char *const *keywords, const Val *keyword_values,
                  uint32_t keyword_count, Span span) {
    Arguments a = {0};
    for (uint32_t i = 0; i < positional_count; i++) push_positional(l, &a, positional[i], span);
    for (uint32_t i = 0; i < keyword_count; i++)
        push_keyword(l, &a, keywords[i], span, keyword_values[i], span);
    return inline_function(l, function, &a, span);
}

/* ---- any call -------------------------------------------------------------------------------- */

/* The arguments of a method: the object, then those of the call. */
static Arguments with_self(Lower *l, Val self, const Arguments *a, Span span) {
    Arguments all = {.keywords = {0}};
    push_positional(l, &all, self, span);
    for (uint32_t i = 0; i < a->positional.length; i++)
        push_positional(l, &all, a->positional.data[i], a->positional_spans.data[i]);
    for (uint32_t i = 0; i < a->keywords.length; i++)
        push_keyword(l, &all, a->names.data[i], a->name_spans.data[i], a->keywords.data[i],
                     a->keyword_spans.data[i]);
    return all;
}

static Val make_named_tuple(Lower *l, const Class *c, const Arguments *a, Span span) {
    if (!c->is_tuple) {
        if (l->checking) return val_unknown();
        fail(l, span, "`%s` is a class of the host: a kernel cannot make objects of it", c->name);
        note(l, c->node->span, "a class with the base NamedTuple can be used");
        return val_error();
    }
    Val *items = arena_array(l->arena, Val, c->field_count + 1), init;
    bool takes_self;
    if (class_method(l, c, "__init__", &init, &takes_self)) {
        if (!takes_self || !init.function->node->parameters ||
            !init.function->node->parameters->name)
            return fail(l, span, "`__init__` of `%s` has no parameter for the object", c->name);
        Val self = val_tuple(items, c->field_count);
        for (uint32_t i = 0; i < c->field_count; i++) items[i] = val_none();
        self.named = c;
        Arguments all = with_self(l, self, a, span);
        Val done = inline_call(l, init.function, &all, span, &self);
        return val_is_silent(done) ? done : self;
    }
    if (a->positional.length > c->field_count)
        return fail(l, span, "`%s` has %u fields, %u values are given", c->name, c->field_count,
                    a->positional.length);
    for (uint32_t i = 0; i < c->field_count; i++) {
        items[i].kind = VAL_ERROR;
        if (i < a->positional.length) items[i] = a->positional.data[i];
        for (uint32_t k = 0; k < a->keywords.length; k++)
            if (a->names.data[k] == c->fields[i]) items[i] = a->keywords.data[k];
        if (items[i].kind == VAL_ERROR)
            return fail(l, span, "`%s` needs a value for `%s`", c->name, c->fields[i]);
    }
    Val v = val_tuple(items, c->field_count);
    v.named = c;
    return v;
}

static Val call_dtype(Lower *l, const Type *type, const Arguments *a, Span span) {
    if (a->positional.length != 1) return fail(l, span, "a type takes one value to convert");
    Span at = a->positional_spans.data[0];
    Value *v = to_tensor(l, a->positional.data[0], at, "the value");
    v = v ? cast_to_type(l, v, type_element(type), at) : NULL;
    return v ? val_tensor(v) : val_error();
}

static Val dispatch(Lower *l, Val callee, Arguments *a, const Node *node, Span span) {
    switch (callee.kind) {
    case VAL_ERROR:
    case VAL_UNKNOWN: return callee;
    case VAL_BUILTIN: return call_builtin(l, callee, a, node, span);
    case VAL_FUNCTION:
        if (callee.self) {
            Arguments all = with_self(l, *callee.self, a, span);
            return inline_function(l, callee.function, &all, span);
        }
        return inline_function(l, callee.function, a, span);
    case VAL_CLASS: return make_named_tuple(l, callee.klass, a, span);
    case VAL_DTYPE: return call_dtype(l, callee.type, a, span);
    case VAL_MODULE:
        if (strncmp(callee.string, "triton.", 7) == 0)
            return fail(l, span,
                        "`%s` is not available: it belongs to a dialect of Triton or to "
                        "its host side",
                        callee.string);
        fail(l, span, "`%s` is host code: a kernel cannot call it", callee.string);
        if (!callee.file)
            note(l, span,
                 "a helper of a kernel must be a @triton.jit function in a file that can "
                 "be found (-I adds a folder)");
        return val_error();
    default: return fail(l, span, "%s cannot be called", describe(l, callee));
    }
}

Val lower_call(Lower *l, const Node *node) {
    Val callee = lower_expression(l, node->left);
    Arguments a = {0};
    evaluate_arguments(l, node, &a);
    l->build.at = here(l, node->span);
    if (a.bad && callee.kind != VAL_BUILTIN) return val_error();
    return dispatch(l, callee, &a, node, node->span);
}

Val call_value(Lower *l, Val callee, const Val *arguments, uint32_t count, Span span) {
    Arguments a = {0};
    for (uint32_t i = 0; i < count; i++) push_positional(l, &a, arguments[i], span);
    return dispatch(l, callee, &a, NULL, span);
}

Val call_std(Lower *l, const char *name, const Val *arguments, uint32_t count, Span span) {
    Val module = {.kind = VAL_MODULE, .string = "triton.language"};
    return call_value(l, module_attribute(l, module, name, span), arguments, count, span);
}
