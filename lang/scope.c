/* scope.c: what a name means.
 *
 * A name is, in this order: a variable of the function; a variable of the functions around it
 * (lambdas, nested defs); a definition at the top of the file; a Python builtin. Definitions of a
 * file are evaluated when first used, so host code that no kernel needs is never looked at.
 */
#include "lang/lower_internal.h"

#include <stdlib.h>

extern const char lang_std[];
extern const size_t lang_std_length;

/* ---- variables ----------------------------------------------------------------------------- */

Binding *scope_find(Scope *scope, const char *name) {
    for (uint32_t i = 0; i < scope->bindings.length; i++)
        if (scope->bindings.data[i].name == name) return &scope->bindings.data[i];
    return NULL;
}

void scope_set(Lower *l, Scope *scope, const char *name, Val value) {
    Binding *b = scope_find(scope, name);
    Binding fresh = {.name = name, .value = value};
    if (b)
        *b = fresh;
    else
        vec_push(l->arena, &scope->bindings, fresh);
    if (value.kind == VAL_TENSOR && value.value->op && !value.value->name) value.value->name = name;
}

Scope *scope_copy(Lower *l, const Scope *scope) {
    Scope *copy = arena_new(l->arena, Scope);
    copy->outer = scope->outer;
    for (uint32_t i = 0; i < scope->bindings.length; i++)
        vec_push(l->arena, &copy->bindings, scope->bindings.data[i]);
    return copy;
}

/* ---- files ----------------------------------------------------------------------------------- */

FileScope *file_scope(Lower *l, const File *file) {
    for (FileScope *f = l->files; f; f = f->next)
        if (f->file == file) return f;
    FileScope *f = arena_new(l->arena, FileScope);
    f->file = file;
    f->path = file->path;
    f->next = l->files;
    l->files = f;
    return f;
}

static FileScope *std_scope(Lower *l) {
    if (!l->std) {
        uint32_t source = sources_add(l->sources, "std.tk", lang_std, lang_std_length);
        l->std = file_scope(l, parse_file(l->arena, l->names, l->sources, l->diagnostics, source));
        l->std->is_std = true;
    }
    return l->std;
}

/* Does the assignment `node` give a value to `name`? The index in a tuple target, or -1. */
static bool assigns(const Node *target, const char *name, int *index) {
    *index = -1;
    if (target->kind == NODE_NAME) return target->name == name;
    if (target->kind != NODE_TUPLE && target->kind != NODE_LIST) return false;
    int i = 0;
    for (const Node *t = target->items; t; t = t->next, i++) {
        if (t->kind == NODE_NAME && t->name == name) {
            *index = i;
            return true;
        }
    }
    return false;
}

static bool item_defines(const Item *item, const char *name) {
    int index;
    if (item->name) return item->name == name;
    if (!item->node) return false;
    if (item->kind == ITEM_IMPORT) {
        for (const Node *a = item->node->items; a; a = a->next) {
            const char *as = a->alias ? a->alias : a->name;
            if (as == name) return true;
            size_t n = strlen(name); /* `import a.b` defines a */
            if (!a->alias && !item->node->is_from && strncmp(a->name, name, n) == 0 &&
                a->name[n] == '.')
                return true;
        }
        return false;
    }
    if (item->kind != ITEM_CONSTANT) return false;
    for (const Node *t = item->node->items ? item->node->items : item->node->left; t; t = t->next)
        if (assigns(t, name, &index)) return true;
    return false;
}

const Item *file_item(const File *file, const char *name) {
    const Item *found = NULL;
    for (const Item *i = file->items; i; i = i->next) {
        if (!item_defines(i, name)) continue;
        if (!i->conditional)
            found = i; /* the last one wins */
        else if (!found)
            found = i; /* alternatives (try/except, if/else): the first */
    }
    return found;
}

/* The file an import names, parsed; NULL when it cannot be found. */
static FileScope *import_file(Lower *l, FileScope *from, const char *module, uint32_t level) {
    const LowerRequest *r = l->request;
    const char *path, *text;
    size_t length;
    if (!r->open_import || from->is_std) return NULL;
    if (!r->open_import(r->import_context, from->path, module, level, &path, &text, &length))
        return NULL;
    for (FileScope *f = l->files; f; f = f->next)
        if (strcmp(f->path, path) == 0) return f;
    uint32_t source = sources_add(l->sources, path, text, length);
    return file_scope(l, parse_file(l->arena, l->names, l->sources, l->diagnostics, source));
}

static bool is_ours(const char *module) {
    return strcmp(module, "triton") == 0 || strncmp(module, "triton.", 7) == 0;
}

static Val module_val(Lower *l, FileScope *from, const char *name, uint32_t level) {
    Val v = {.kind = VAL_MODULE, .string = name, .count = (uint32_t)strlen(name)};
    if (level || !is_ours(name)) v.file = import_file(l, from, name, level);
    return v;
}

static Val import_value(Lower *l, FileScope *from, const Node *import, const char *name, Span use) {
    for (const Node *a = import->items; a; a = a->next) {
        const char *as = a->alias ? a->alias : a->name;
        if (import->is_from && as == name) {
            Val module = module_val(l, from, import->name, (uint32_t)import->integer);
            Val v;
            bool itself =
                module.file == from && a->name == name; /* `from . import name` in a package */
            if (module.file && !itself && file_name(l, module.file, a->name, use, &v)) return v;
            /* `from pkg import mod`: a module, not a name in one */
            const char *dotted =
                *import->name ? arena_printf(l->arena, "%s.%s", import->name, a->name) : a->name;
            if (!is_ours(import->name)) {
                if (!module.file && host_module_attribute(l, module.string, a->name, &v)) return v;
                Val inner = module_val(l, from, dotted, (uint32_t)import->integer);
                bool missing = !inner.file && !module.file && l->checking;
                if (missing && !host_module_known(dotted)) return val_unknown();
                if (inner.file || !module.file) return inner;
            }
            return module_attribute(l, module, a->name, use);
        }
        if (import->is_from) continue;
        if (as == name) return module_val(l, from, a->name, 0);
        size_t n = strlen(name);
        if (!a->alias && strncmp(a->name, name, n) == 0 && a->name[n] == '.')
            return module_val(l, from, name, 0);
    }
    return val_error();
}

/* Evaluates an expression at the top level of a file. */
static Val evaluate_at_top(Lower *l, FileScope *file, const Node *expression) {
    Function *top = arena_new(l->arena, Function);
    *top = (Function){.name = "<module>", .file = file};
    Frame frame = {.function = top, .scope = arena_new(l->arena, Scope), .up = l->frame};
    frame.site = l->frame ? l->frame->site : NULL;
    Frame *outer = l->frame;
    l->frame = &frame;
    Val v = lower_expression(l, expression);
    l->frame = outer;
    return v;
}

/* `tkc check` reports nothing about host code: what cannot be evaluated is unknown. */
static Val checked_at_top(Lower *l, FileScope *file, const Node *expression) {
    if (!l->checking) return evaluate_at_top(l, file, expression);
    Diagnostics scratch = {.arena = l->arena, .sources = l->sources};
    Diagnostics *real = l->diagnostics;
    bool gave_up = l->gave_up;
    l->diagnostics = &scratch;
    Val v = evaluate_at_top(l, file, expression);
    l->diagnostics = real;
    l->gave_up = gave_up;
    return v.kind == VAL_ERROR ? val_unknown() : v;
}

static bool declares_global(const Node *n, const char *name) {
    for (; n; n = n->next) {
        if (n->kind == NODE_GLOBAL)
            for (const Node *g = n->items; g; g = g->next)
                if (g->name == name) return true;
        if (declares_global(n->body, name) || declares_global(n->orelse, name)) return true;
    }
    return false;
}

/* A variable that host code changes: some function of the file says `global name`. */
static bool changed_by_host(const File *file, const char *name) {
    for (const Item *i = file->items; i; i = i->next)
        if (i->kind == ITEM_HELPER && i->node && declares_global(i->node->body, name)) return true;
    return false;
}

static Val constant_item(Lower *l, FileScope *file, const Node *node, const char *name, Span use) {
    if (!node->right) return val_error();
    if (changed_by_host(file->file, name)) {
        if (l->checking) return val_unknown();
        fail(l, use, "`%s` is changed by host code, so it is not known when the kernel is compiled",
             name);
        note(l, node->span, "a function of this file says `global %s`", name);
        return val_error();
    }
    const Node *target = node->items ? node->items : node->left;
    int index = -1;
    for (; target; target = target->next)
        if (assigns(target, name, &index)) break;
    Val v = checked_at_top(l, file, node->right);
    if (val_is_silent(v)) return v;
    if (index >= 0) {
        if (v.kind != VAL_TUPLE || (uint32_t)index >= v.count) return val_error();
        v = v.items[index];
    }
    return v;
}

static Val item_value(Lower *l, FileScope *file, const Item *item, const char *name, Span use) {
    if (!item->node) {
        fail(l, use, "`%s` is defined by code that cannot be read as a compile-time value", name);
        note(l, item->span, "defined here%s%s", item->error ? ": " : "",
             item->error ? item->error->message : "");
        return val_error();
    }
    switch (item->kind) {
    case ITEM_FUNCTION:
    case ITEM_HELPER: {
        Function *f = arena_new(l->arena, Function);
        *f = (Function){.name = name, .node = item->node, .file = file};
        f->is_python = item->kind == ITEM_HELPER;
        return (Val){.kind = VAL_FUNCTION, .function = f};
    }
    case ITEM_IMPORT: return import_value(l, file, item->node, name, use);
    case ITEM_CLASS: return class_val(l, file, item->node);
    case ITEM_CONSTANT: return constant_item(l, file, item->node, name, use);
    }
    return val_error();
}

bool file_name(Lower *l, FileScope *file, const char *name, Span use, Val *value) {
    for (uint32_t i = 0; i < file->known.length; i++) {
        if (file->known.data[i].name != name) continue;
        *value = file->known.data[i].value;
        return true;
    }
    const Item *item = file_item(file->file, name);
    if (!item) { /* from x import * */
        for (const Item *i = file->file->items; i; i = i->next) {
            if (i->kind != ITEM_IMPORT || !i->node || !i->node->is_from || i->node->items) continue;
            Val module = module_val(l, file, i->node->name, (uint32_t)i->node->integer);
            if (module.file && module.file != file && file_name(l, module.file, name, use, value))
                return true;
            bool ours = is_ours(i->node->name) && !file->is_std;
            if (ours &&
                (builtin_find(i->node->name, name) || file_item(std_scope(l)->file, name))) {
                *value = module_attribute(l, module, name, use);
                return true;
            }
        }
        return false;
    }
    for (uint32_t i = 0; i < file->evaluating.length; i++) {
        if (file->evaluating.data[i] != item) continue;
        *value = fail(l, use, "the definition of `%s` needs itself", name);
        note(l, item->span, "defined here");
        return true;
    }
    vec_push(l->arena, &file->evaluating, item);
    *value = item_value(l, file, item, name, use);
    file->evaluating.length--;
    if (!value->span.line) value->span = item->span;
    Binding b = {.name = name, .value = *value};
    vec_push(l->arena, &file->known, b);
    return true;
}

/* ---- modules -------------------------------------------------------------------------------- */

static bool is_submodule(const char *module, const char *name) {
    static const char *const known[] = {"triton.language",
                                        "triton.language.math",
                                        "triton.language.core",
                                        "triton.language.extra",
                                        "triton.language.standard",
                                        "triton.language.libdevice",
                                        "triton.language.random",
                                        "triton.runtime",
                                        "triton.tools",
                                        "triton.language.semantic",
                                        "triton.backends",
                                        "triton.testing",
                                        "triton.tools.ragged_tma",
                                        "triton.language.target_info"};
    size_t n = strlen(module);
    if (strncmp(module, "triton.language.extra", 21) == 0) return true;
    for (uint32_t i = 0; i < ARRAY_LENGTH(known); i++)
        if (strncmp(known[i], module, n) == 0 && known[i][n] == '.' &&
            strcmp(known[i] + n + 1, name) == 0)
            return true;
    return false;
}

Val module_attribute(Lower *l, Val module, const char *name, Span span) {
    Val v = {.kind = VAL_MODULE, .span = span};
    name = intern_string(l->names, name);
    const char *dotted = arena_printf(l->arena, "%s.%s", module.string, name);
    v.string = dotted;
    v.count = (uint32_t)strlen(dotted);
    if (module.file) {
        if (file_name(l, module.file, name, span, &v)) return v;
        v.file = import_file(l, module.file, name, 1); /* a module of the same package */
        if (v.file) return v;
        return fail(l, span, "module `%s` (%s) has no `%s`", module.string, module.file->path,
                    name);
    }
    if (!is_ours(module.string)) { /* host packages: only a use of the value is an error */
        if (host_module_attribute(l, module.string, name, &v)) return v;
        return l->checking && !host_module_known(module.string) ? val_unknown() : v;
    }
    const Builtin *b = builtin_find(module.string, name);
    if (b) return b->lower ? (Val){.kind = VAL_BUILTIN, .builtin = b} : val_dtype(l, b->code);
    if (strncmp(module.string, "triton", 6) == 0) {
        FileScope *std = std_scope(l);
        if (file_item(std->file, name) && file_name(l, std, name, span, &v)) return v;
    }
    if (is_submodule(module.string, name)) return v;
    if (strncmp(dotted, "triton.experimental.gluon", 25) == 0)
        return fail(l, span,
                    "`%s` belongs to Gluon, a dialect for one vendor's hardware that is "
                    "not part of this language",
                    dotted);
    if (l->checking && strcmp(module.string, "triton") == 0) return val_unknown();
    const char *near = builtin_nearest(name);
    return fail(l, span, "`%s` has no function `%s`%s%s%s", module.string, name,
                near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Edit distance with exchanged neighbours as one edit (optimal string alignment). */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][64]; /* the row at hand and the two before it */
    for (size_t i = 0; i <= n; i++) {
        size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                row[j] = i + j;
                continue;
            }
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *nearest(const char *wanted, const char *const *known, uint32_t count) {
    size_t n = strlen(wanted), best = n < 4 ? 2 : n / 3 + 2; /* a distance below this is near */
    const char *found = NULL;
    for (uint32_t k = 0; k < count; k++) {
        size_t m = strlen(known[k]);
        if (n >= 64 || m >= 64) continue;
        size_t d = distance(wanted, n, known[k], m);
        if (d >= best || d == 0) continue;
        best = d;
        found = known[k];
    }
    return found;
}

static Val unknown_name(Lower *l, const Node *node) {
    VEC(const char *) known = {0};
    for (Scope *s = l->frame->scope; s; s = s->outer)
        for (uint32_t i = 0; i < s->bindings.length; i++)
            vec_push(l->arena, &known, s->bindings.data[i].name);
    for (const Item *i = l->frame->function->file->file->items; i; i = i->next)
        if (i->name) vec_push(l->arena, &known, i->name);
    const char *near = nearest(node->name, known.data, known.length);
    if (near)
        return fail(l, node->span, "`%s` is not defined; did you mean `%s`?", node->name, near);
    return fail(l, node->span, "`%s` is not defined", node->name);
}

Val name_value(Lower *l, const Node *node) {
    for (Scope *s = l->frame->scope; s; s = s->outer) {
        Binding *b = scope_find(s, node->name);
        if (b && b->lost) {
            fail(l, node->span, "`%s` may have no value here", node->name);
            note(l, b->value.span,
                 "it is assigned only here, in a branch or loop that may not run; give it a value "
                 "before");
            return val_error();
        }
        if (b) return b->value;
    }
    Val v;
    FileScope *file = l->frame->function->file;
    if (file_name(l, file, node->name, node->span, &v)) return v;
    const Builtin *b = builtin_find("python", node->name);
    if (!b && file->is_std) b = builtin_find("triton.language", node->name);
    if (b) return b->lower ? (Val){.kind = VAL_BUILTIN, .builtin = b} : val_dtype(l, b->code);
    if (l->checking && l->frame->function->nested) return val_unknown();
    return unknown_name(l, node);
}
