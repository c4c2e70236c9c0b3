/* builtin.c: finding builtins, and their arguments as constants. */
#include "lang/builtin_internal.h"

#include <limits.h>
#include <stdio.h>

static const Builtin builtins[] = {
#define BUILTIN(modules, name, lower, code, parameters)                                            \
    {#name, parameters, builtin_##lower, code, modules},
#include "lang/builtins.def"
#undef BUILTIN
};

static const Builtin *find(const char *name, uint32_t modules) {
    for (uint32_t i = 0; i < ARRAY_LENGTH(builtins); i++)
        if ((builtins[i].flags & modules) && strcmp(builtins[i].name, name) == 0)
            return &builtins[i];
    return NULL;
}

const Builtin *builtin_find(const char *module, const char *name) {
    static const struct {
        const char *module;
        uint32_t flag;
    } plain[] = {{"triton", TRITON}, {"python", PYTHON}, {"dtype", DTYPE},
                 {"str", STR},       {"dict", DICT},     {"descriptor", DESCRIPTOR},
                 {"math", MATH},     {"torch", TORCH}};
    if (strncmp(module, "triton.language", 15) == 0) return find(name, TL);
    for (uint32_t i = 0; i < ARRAY_LENGTH(plain); i++)
        if (strcmp(plain[i].module, module) == 0) return find(name, plain[i].flag);
    return NULL;
}

const Builtin *builtin_method(const char *name) {
    return find(name, METHOD);
}

static const char *nearest_of(const char *name, uint32_t modules) {
    const char *known[ARRAY_LENGTH(builtins)];
    uint32_t count = 0;
    for (uint32_t i = 0; i < ARRAY_LENGTH(builtins); i++)
        if (builtins[i].flags & modules) known[count++] = builtins[i].name;
    return nearest(name, known, count);
}

const char *builtin_nearest(const char *name) {
    return nearest_of(name, TL);
}

const char *method_nearest(const char *name) {
    return nearest_of(name, METHOD);
}

/* ---- messages ------------------------------------------------------------------------------ */

Location here(const Lower *l, Span span) {
    return (Location){.span = span, .inlined_at = l->frame ? l->frame->site : NULL};
}

/* Errors inside the standard file are shown where the user called it. */
static Location users_place(const Lower *l, Span span) {
    Location at = here(l, span);
    if (!l->std || span.source != l->std->file->source) return at;
    for (const Frame *f = l->frame; f && f->site && f->function->file->is_std; f = f->up)
        at = (Location){.span = f->site->span, .inlined_at = f->site->up};
    return at;
}

Val fail(Lower *l, Span span, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    diag_error(l->diagnostics, users_place(l, span), "%s", text);
    if (l->diagnostics->errors > 200) l->gave_up = true;
    return val_error();
}

void note(Lower *l, Span span, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Location at = {.span = users_place(l, span).span};
    diag_note(l->diagnostics, at, "%s", text);
}

const char *describe(Lower *l, Val v) {
    Text text = {.arena = l->arena};
    switch (v.kind) {
    case VAL_ERROR:
    case VAL_UNKNOWN: return "a value of unknown type";
    case VAL_TENSOR: return type_string(v.value->type, l->arena);
    case VAL_NONE: return "None";
    case VAL_BOOL:
    case VAL_INT:
    case VAL_FLOAT:
        text_puts(&text, "the constant ");
        konst_print(l, v, &text);
        return text.data;
    case VAL_STRING: return arena_printf(l->arena, "the string '%.40s'", v.string);
    case VAL_DTYPE: return arena_printf(l->arena, "the type %s", type_string(v.type, l->arena));
    case VAL_TUPLE: return arena_printf(l->arena, "a tuple of %u", v.count);
    case VAL_DICT: return "a dict";
    case VAL_SLICE: return "a slice";
    case VAL_ELLIPSIS: return "`...`";
    case VAL_RANGE: return "a range";
    case VAL_FUNCTION: return arena_printf(l->arena, "the function `%s`", v.function->name);
    case VAL_BUILTIN: return arena_printf(l->arena, "the function `%s`", v.builtin->name);
    case VAL_MODULE: return arena_printf(l->arena, "the module `%s`", v.string);
    case VAL_CLASS: return arena_printf(l->arena, "the class `%s`", v.klass->name);
    case VAL_BLOCK_POINTER: return "a block pointer";
    case VAL_DESCRIPTOR: return "a tensor descriptor";
    }
    return "?";
}

const char *argument_name(Lower *l, const Call *c, uint32_t i) {
    return arena_printf(l->arena, "argument `%s` of `%s`", c->names[i], c->builtin->name);
}

Val not_constant(Lower *l, Val v, Span span, const char *what) {
    if (val_is_silent(v)) return v;
    if (v.kind != VAL_TENSOR) return fail(l, span, "%s cannot be %s", what, describe(l, v));
    fail(l, span, "%s must be known when the kernel is compiled, but this is a run-time value (%s)",
         what, describe(l, v));
    int64_t value;
    const char *name = v.value->name ? v.value->name : "name";
    if (v.plain && value_constant_int(v.value, &value) && v.span.line)
        note(l, v.span,
             "it is %lld here, but a plain assignment makes a variable; write `%s: tl.constexpr = "
             "%lld`",
             (long long)value, name, (long long)value);
    else if (v.value->op == NULL && v.span.line)
        note(l, v.span,
             "it comes from here; declare the parameter `: tl.constexpr` if its value is "
             "fixed");
    else if (v.span.line)
        note(l, v.span,
             "it comes from here; a `tl.constexpr` can only be made from other constants");
    return val_error();
}

/* ---- constant arguments --------------------------------------------------------------------- */

bool argument_int(Lower *l, Call *c, uint32_t i, int64_t *value) {
    Val v = c->arguments[i];
    if (!val_is_integer(v)) {
        not_constant(l, v, c->spans[i], argument_name(l, c, i));
        return false;
    }
    if (v.integer < INT64_MIN || v.integer > INT64_MAX) {
        fail(l, c->spans[i], "%s does not fit into 64 bits", argument_name(l, c, i));
        return false;
    }
    *value = (int64_t)v.integer;
    return true;
}

bool argument_bool(Lower *l, Call *c, uint32_t i, bool *value) {
    Val v = c->arguments[i];
    if (v.kind == VAL_TENSOR) {
        not_constant(l, v, c->spans[i], argument_name(l, c, i));
        return false;
    }
    *value = konst_truth(v);
    return true;
}

bool argument_string(Lower *l, Call *c, uint32_t i, const char **value) {
    Val v = c->arguments[i];
    *value = "";
    if (v.kind == VAL_NONE) return true;
    if (v.kind != VAL_STRING) {
        fail(l, c->spans[i], "%s must be a string, not %s", argument_name(l, c, i), describe(l, v));
        return false;
    }
    *value = v.string;
    return true;
}

bool argument_dtype(Lower *l, Call *c, uint32_t i, const Type **value) {
    Val v = c->arguments[i];
    if (v.kind == VAL_STRING) { /* "float32", "fp32" */
        DType d = dtype_from_name(v.string, v.count);
        if (d != DT_NONE) v = val_dtype(l, d);
    }
    if (v.kind == VAL_BUILTIN && (v.builtin->code == VAL_FLOAT || v.builtin->code == VAL_INT) &&
        (v.builtin->flags & PYTHON))
        v = val_dtype(l, v.builtin->code == VAL_FLOAT ? DT_f32 : DT_i32);
    if (v.kind != VAL_DTYPE) {
        fail(l, c->spans[i], "%s must be a type such as tl.float32, not %s", argument_name(l, c, i),
             describe(l, v));
        return false;
    }
    *value = v.type;
    return true;
}

bool check_extent(Lower *l, Wide extent, Span span) {
    if (extent < 1) {
        fail(l, span, "an extent of %s", wide_string(l->arena, extent));
        return false;
    }
    if (extent & (extent - 1)) {
        Wide up = 1;
        while (up < extent) up *= 2;
        fail(l, span, "the extents of a block are powers of two; %s is not",
             wide_string(l->arena, extent));
        note(l, span, "use %s and a mask for the rest", wide_string(l->arena, up));
        return false;
    }
    if (extent > MAX_BLOCK_ELEMENTS) {
        fail(l, span, "a block has at most %u elements", MAX_BLOCK_ELEMENTS);
        return false;
    }
    return true;
}

static bool shape_of(Lower *l, Val v, Span span, const char *what, uint32_t *rank,
                     uint32_t *shape) {
    const Val *items = v.kind == VAL_TUPLE ? v.items : &v;
    uint32_t count = v.kind == VAL_TUPLE ? v.count : 1;
    if (count > MAX_RANK) {
        fail(l, span, "a block has at most %d dims, not %u", MAX_RANK, count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!val_is_integer(items[i])) {
            not_constant(l, items[i], span, what);
            return false;
        }
        if (!check_extent(l, items[i].integer, span)) return false;
        shape[i] = (uint32_t)items[i].integer;
    }
    *rank = count;
    return check_elements(l, count, shape, span);
}

bool argument_shape(Lower *l, Call *c, uint32_t i, uint32_t *rank, uint32_t *shape) {
    return shape_of(l, c->arguments[i], c->spans[i], argument_name(l, c, i), rank, shape);
}

bool argument_axis(Lower *l, Call *c, uint32_t i, uint32_t rank, uint32_t *axis) {
    int64_t a;
    if (!argument_int(l, c, i, &a)) return false;
    if (a < -(int64_t)rank || a >= (int64_t)rank) {
        fail(l, c->spans[i], "axis %lld of a block of rank %u", (long long)a, rank);
        return false;
    }
    *axis = (uint32_t)(a < 0 ? a + rank : a);
    return true;
}

Value *argument_tensor(Lower *l, Call *c, uint32_t i) {
    return to_tensor(l, c->arguments[i], c->spans[i], argument_name(l, c, i));
}

bool constant_list(Lower *l, Call *c, Val first, uint32_t *count, int64_t *values, uint32_t limit) {
    const Val *items = c->rest;
    uint32_t n = c->rest_count;
    if (first.kind == VAL_TUPLE) {
        items = first.items;
        n = first.count;
    } else if (n == 1 && items[0].kind == VAL_TUPLE) {
        n = items[0].count;
        items = items[0].items;
    }
    if (n > limit) {
        fail(l, c->span, "`%s` takes at most %u numbers here", c->builtin->name, limit);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!val_is_integer(items[i])) {
            not_constant(l, items[i], c->span,
                         arena_printf(l->arena, "an argument of `%s`", c->builtin->name));
            return false;
        }
        values[i] = (int64_t)items[i].integer;
    }
    *count = n;
    return true;
}
