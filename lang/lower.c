/* lower.c: from a kernel's syntax tree to a module: which parameters are constants and which have
 * what type, then the body.
 */
#include "lang/builtin_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- finding the kernel ---------------------------------------------------------------------- */

/* `def` without a name gives a function without one. */
static bool is_function(const Item *item) {
    return item->kind == ITEM_FUNCTION && item->name;
}

uint32_t lang_function_count(const File *file) {
    uint32_t count = 0;
    for (const Item *i = file->items; i; i = i->next) count += is_function(i);
    return count;
}

const char *lang_function_name(const File *file, uint32_t index) {
    for (const Item *i = file->items; i; i = i->next)
        if (is_function(i) && index-- == 0) return i->name;
    return NULL;
}

static const Item *function_item(const File *file, const char *name) {
    const Item *found = NULL;
    for (const Item *i = file->items; i; i = i->next)
        if (is_function(i) && strcmp(i->name, name) == 0) found = i;
    return found;
}

/* A function with syntax errors has no tree; what is wrong was reported when it was parsed. */
static const Item *readable(Lower *l, const Item *item) {
    if (item->node) return item;
    diag_error(l->diagnostics, (Location){.span = item->span}, "`%s` could not be read: %s",
               item->name, item->error ? item->error->message : "it has syntax errors");
    return NULL;
}

static const Item *find_kernel(Lower *l) {
    const LowerRequest *r = l->request;
    uint32_t count = lang_function_count(r->file);
    Location nowhere = {.span = {.source = r->file->source}};
    const char **names = arena_array(l->arena, const char *, count + 1);
    Text list = {.arena = l->arena};
    for (uint32_t i = 0; i < count; i++) {
        names[i] = lang_function_name(r->file, i);
        if (i < 12) text_printf(&list, i ? ", %s" : "%s", names[i]);
    }
    if (count > 12) text_puts(&list, ", ...");
    if (r->kernel) {
        const Item *item = function_item(r->file, r->kernel);
        if (item) return readable(l, item);
        const char *near = nearest(r->kernel, names, count);
        if (count == 0)
            diag_error(l->diagnostics, nowhere,
                       "%s has no kernel: no function is decorated with "
                       "@triton.jit",
                       r->file->path);
        else
            diag_error(l->diagnostics, nowhere, "%s has no kernel `%s`%s%s%s; it has: %s",
                       r->file->path, r->kernel, near ? "; did you mean `" : "", near ? near : "",
                       near ? "`?" : "", list.data);
        return NULL;
    }
    if (count == 1) return readable(l, function_item(r->file, names[0]));
    if (count == 0)
        diag_error(l->diagnostics, nowhere,
                   "%s has no kernel: no function is decorated with @triton.jit", r->file->path);
    else
        diag_error(l->diagnostics, nowhere, "%s has %u kernels, name one: %s", r->file->path, count,
                   list.data);
    return NULL;
}

/* ---- parameters ------------------------------------------------------------------------------ */

bool is_constexpr(const Node *annotation) {
    const Node *a = annotation;
    if (!a) return false;
    if (a->kind == NODE_STRING) return strstr(a->string, "constexpr") != NULL;
    if (a->kind == NODE_SUBSCRIPT) a = a->left;
    return (a->kind == NODE_ATTRIBUTE || a->kind == NODE_NAME) && strcmp(a->name, "constexpr") == 0;
}

static const char *annotated_type(const Node *p) {
    const Node *a = p->annotation;
    return a && a->kind == NODE_STRING && !is_constexpr(p->annotation) ? a->string : NULL;
}

/* The source text from one position to another on the same line. */
static const char *source_text(Arena *arena, const Sources *sources, Span span) {
    if (span.source >= sources->list.length || !span.line) return NULL;
    const Source *s = &sources->list.data[span.source];
    if (!s->text || span.line > s->line_count) return NULL;
    size_t at = s->line_starts[span.line - 1] + span.column - 1u;
    if (at + span.length > s->length) return NULL;
    return arena_strndup(arena, s->text + at, span.length);
}

const KernelParameter *lang_parameters(Arena *arena, const File *file, const Sources *sources,
                                       const char *name, uint32_t *count) {
    const Item *item = function_item(file, name);
    *count = 0;
    if (!item || !item->node) return NULL;
    for (const Node *p = item->node->parameters; p; p = p->next) *count += p->name != NULL;
    KernelParameter *list = arena_array(arena, KernelParameter, *count + 1);
    KernelParameter *k = list;
    for (const Node *p = item->node->parameters; p; p = p->next) {
        if (!p->name) continue;
        k->name = p->name;
        k->type = annotated_type(p);
        k->is_constexpr = is_constexpr(p->annotation);
        k->has_default = p->left != NULL;
        k->default_text = p->left ? source_text(arena, sources, p->left->span) : NULL;
        k->span = p->span;
        k++;
    }
    return list;
}

/* What a parameter is: a constant, or a type. */
typedef struct Meaning Meaning;
struct Meaning {
    bool found, is_constant;
    Val constant;
    const Type *type;          /* a descriptor: of its base pointer */
    const Pointer *descriptor; /* rank and block; NULL: none */
    int64_t divisibility;
    Meaning *items; /* a tuple: of its items */
    uint32_t item_count;
};

static const char *trimmed(Arena *arena, const char *s, size_t length) {
    while (length && (*s == ' ' || *s == '\t')) s++, length--;
    while (length && (s[length - 1] == ' ' || s[length - 1] == '\t')) length--;
    return arena_strndup(arena, s, length);
}

static Val constant_text(Lower *l, const char *text, const char *what) {
    DType d = dtype_from_name(text, strlen(text)); /* f16, fp16, float16 */
    if (d != DT_NONE) return val_dtype(l, d);
    const char *path = arena_printf(l->arena, "<%s>", what);
    uint32_t source = sources_add(l->sources, path, text, strlen(text));
    uint32_t errors = l->diagnostics->errors;
    Node *node = parse_expression(l->arena, l->names, l->sources, l->diagnostics, source);
    if (!node) {
        if (l->diagnostics->errors == errors)
            fail(l, (Span){.source = source}, "%s: `%s` is not a value", what, text);
        return val_error();
    }
    if (node->kind == NODE_NAME) { /* none, true, false of the command line */
        static const struct {
            const char *name;
            ValKind kind;
            int value;
        } words[] = {{"none", VAL_NONE, 0}, {"true", VAL_BOOL, 1}, {"false", VAL_BOOL, 0}};
        for (uint32_t i = 0; i < ARRAY_LENGTH(words); i++)
            if (strcmp(words[i].name, node->name) == 0)
                return (Val){.kind = words[i].kind, .integer = words[i].value};
    }
    return lower_expression(l, node);
}

/* Bytes up to the next comma outside quotes and brackets. */
static size_t item_length(const char *s) {
    size_t n = 0;
    int depth = 0;
    char quote = 0;
    for (; s[n]; n++) {
        char c = s[n];
        if (quote) {
            if (c == '\\' && s[n + 1])
                n++;
            else if (c == quote)
                quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (strchr("([{<", c)) {
            depth++;
        } else if (strchr(")]}>", c)) {
            depth--;
        } else if (c == ',' && depth <= 0) {
            break;
        }
    }
    return n;
}

/* "tensordesc<fp16[64, 32]>": what stands between the brackets. */
static bool read_descriptor(Lower *l, const char *text, Span span, const char *name, Meaning *m) {
    size_t length = strcspn(text, "[");
    DType d = dtype_from_name(text, length);
    Pointer *p = arena_new(l->arena, Pointer);
    const char *t = text + length;
    bool ok = d != DT_NONE && *t == '[';
    while (ok && *t != ']') {
        char *end;
        long long extent = strtoll(t + 1, &end, 10);
        ok = end > t + 1 && p->rank < MAX_RANK && extent > 0 && !(extent & (extent - 1)) &&
             extent <= MAX_BLOCK_ELEMENTS;
        if (!ok) break;
        p->block[p->rank++] = (uint32_t)extent;
        t = end + strspn(end, " ");
        ok = *t == ',' || *t == ']';
    }
    if (!ok || (strcmp(t, "]>") != 0 && strncmp(t, "],", 2) != 0)) {
        fail(l, span, "parameter `%s`: this is not the type of a tensor descriptor", name);
        note(l, span,
             "it is written tensordesc<fp16[64, 32]>: the dtype and the extents of the "
             "block, powers of two");
        return false;
    }
    if (!check_elements(l, p->rank, p->block, span)) return false;
    m->found = true;
    m->type = type_pointer(l->types, type_scalar(l->types, d));
    m->descriptor = p;
    m->divisibility = 16; /* what the hardware asks of a descriptor's address */
    return true;
}

/* A name that stands for no constant: a type that was misspelt. */
static bool is_plain_word(const char *s, size_t length) {
    static const char *const words[] = {"None", "True",  "False", "none",
                                        "true", "false", "inf",   "nan"};
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_') return false;
    for (uint32_t i = 0; i < ARRAY_LENGTH(words); i++)
        if (strlen(words[i]) == length && memcmp(words[i], s, length) == 0) return false;
    return length && !isdigit((unsigned char)*s);
}

static bool read_tuple(Lower *l, const char *text, Span span, const char *name, Meaning *m);

/* "*fp16:16", "i32", "i32:1", "128", "None", "tensordesc<fp16[64]>", "(i32, i32)" ... */
static bool read_type(Lower *l, const char *text, Span span, const char *name, Meaning *m) {
    if (*text == '(' && text[1 + item_length(text + 1)] == ',')
        return read_tuple(l, text, span, name, m);
    if (strncmp(text, "tensordesc<", 11) == 0) return read_descriptor(l, text + 11, span, name, m);
    const char *t = text;
    uint32_t stars = 0;
    while (*t == '*') t++, stars++;
    if (*t == 'k' && stars) t++; /* *k...: const, as Triton prints it */
    size_t length = strcspn(t, ":");
    DType d = dtype_from_name(t, length);
    m->found = true;
    m->divisibility = 1;
    if (d == DT_NONE && !stars && !is_plain_word(t, length)) { /* a literal: a constant */
        m->is_constant = true;
        m->constant = constant_text(l, text, arena_printf(l->arena, "the value of `%s`", name));
        return m->constant.kind != VAL_ERROR;
    }
    if (d == DT_NONE || stars > 4) {
        fail(l, span, "parameter `%s`: `%s` is not a type", name, text);
        note(l, span,
             "a type is written like *fp16:16, i32, fp32: stars for pointers, a dtype, and after a "
             "colon what the value is divisible by");
        return false;
    }
    m->type = type_scalar(l->types, d);
    for (uint32_t i = 0; i < stars; i++) m->type = type_pointer(l->types, m->type);
    if (t[length] == ':') {
        char *end;
        long long hint = strtoll(t + length + 1, &end, 10);
        if (*end || hint < 1 || (hint & (hint - 1)) || hint > 65536) {
            fail(l, span, "parameter `%s`: the hint `%s` of `%s` must be a power of two", name,
                 t + length + 1, text);
            return false;
        }
        if (hint == 1 && !stars) {
            m->is_constant = true;
            m->constant = val_int(1);
        }
        m->divisibility = hint;
    }
    return true;
}

/* Item `index` of the signature, or NULL when it has fewer. */
static const char *signature_item(Lower *l, const char *signature, uint32_t index,
                                  uint32_t *count) {
    const char *found = NULL, *s = signature;
    *count = 0;
    if (!s || !*s) return NULL;
    for (;;) {
        size_t length = item_length(s);
        if ((*count)++ == index) found = trimmed(l->arena, s, length);
        if (!s[length]) return found;
        s += length + 1;
    }
}

/* "(*fp16, i32, 1)": a tuple; its items are separate parameters. */
static bool read_tuple(Lower *l, const char *text, Span span, const char *name, Meaning *m) {
    size_t length = strlen(text);
    uint32_t count = 0;
    if (text[length - 1] != ')' || length > 4096) {
        fail(l, span, "parameter `%s`: `%.40s` is not a list of types in brackets", name, text);
        return false;
    }
    const char *list = trimmed(l->arena, text + 1, length - 2);
    (void)signature_item(l, list, 0, &count);
    m->items = arena_array(l->arena, Meaning, count + 1);
    m->found = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t all;
        const char *item = signature_item(l, list, i, &all);
        if (!item || !*item) break; /* a comma at the end */
        if (!read_type(l, item, span, name, &m->items[m->item_count++])) return false;
    }
    bool constant = true;
    Val *values = arena_array(l->arena, Val, m->item_count + 1);
    for (uint32_t i = 0; i < m->item_count; i++) {
        constant = constant && m->items[i].is_constant;
        values[i] = m->items[i].constant;
    }
    m->is_constant = constant;
    if (constant) m->constant = val_tuple(values, m->item_count);
    return true;
}

/* What types, signature or annotation say of a parameter; NULL: nothing. */
static const char *type_text(Lower *l, const Node *p, uint32_t index) {
    const LowerRequest *r = l->request;
    uint32_t count;
    for (uint32_t i = 0; i < r->type_count; i++)
        if (strcmp(r->types[i].name, p->name) == 0) return r->types[i].text;
    const char *item = signature_item(l, r->signature, index, &count);
    if (item && *item) return item;
    const char *annotation = annotated_type(p);
    return annotation ? trimmed(l->arena, annotation, strlen(annotation)) : NULL;
}

static bool is_constant_text(const char *text) {
    return *text != '*' && *text != '(' && strncmp(text, "tensordesc<", 11) != 0 &&
           dtype_from_name(text, strcspn(text, ":")) == DT_NONE;
}

static const NamedText *named(const NamedText *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}

static bool constant_meaning(Lower *l, const Node *p, const NamedText *n, Meaning *m) {
    m->found = m->is_constant = true;
    m->constant = constant_text(l, n->text, arena_printf(l->arena, "the value of `%s`", p->name));
    return m->constant.kind != VAL_ERROR;
}

static bool parameter_meaning(Lower *l, const Node *p, uint32_t index, const NamedText *tuned,
                              uint32_t tuned_count, Meaning *m) {
    const LowerRequest *r = l->request;
    const NamedText *given = named(r->constants, r->constant_count, p->name);
    if (given) return constant_meaning(l, p, given, m);
    const char *text = type_text(l, p, index);
    if (text) {
        bool annotated = text && annotated_type(p) && !named(r->types, r->type_count, p->name);
        Span span = annotated ? p->annotation->span : p->span;
        return read_type(l, text, span, p->name, m);
    }
    given = named(tuned, tuned_count, p->name);
    if (given) return constant_meaning(l, p, given, m);
    if (p->left && (is_constexpr(p->annotation) || p->left->kind == NODE_NONE)) {
        m->found = m->is_constant = true;
        m->constant = lower_expression(l, p->left);
        return m->constant.kind != VAL_ERROR;
    }
    return true;
}

/* ---- autotune and heuristics ----------------------------------------------------------------- */

typedef VEC(NamedText) NamedTexts;

static bool is_given(const LowerRequest *r, const NamedTexts *tuned, const char *name) {
    for (uint32_t i = 0; i < r->constant_count; i++)
        if (strcmp(r->constants[i].name, name) == 0) return true;
    for (uint32_t i = 0; i < tuned->length; i++)
        if (strcmp(tuned->data[i].name, name) == 0) return true;
    return false;
}

/* A constant written so that constant_text reads it back. */
static const char *constant_source(Lower *l, Val v) {
    Text text = {.arena = l->arena};
    if (v.kind == VAL_STRING) {
        text_printf(&text, "'%s'", v.string);
    } else if (v.kind == VAL_FLOAT) {
        text_puts(&text, "float('");
        konst_print(l, v, &text);
        text_puts(&text, "')");
    } else {
        konst_print(l, v, &text);
    }
    return text.data;
}

static void take_dict(Lower *l, Val dict, NamedTexts *tuned, Kernel *options) {
    for (uint32_t i = 0; i < dict.count; i++) {
        Val key = dict.items[2 * i], value = dict.items[2 * i + 1];
        if (key.kind != VAL_STRING || !val_is_constant(value)) continue;
        uint32_t *option = strcmp(key.string, "num_warps") == 0    ? &options->num_warps
                           : strcmp(key.string, "num_stages") == 0 ? &options->num_stages
                           : strcmp(key.string, "num_ctas") == 0   ? &options->num_ctas
                                                                   : NULL;
        if (option) {
            if (val_is_integer(value) && value.integer > 0) *option = (uint32_t)value.integer;
            continue;
        }
        if (is_given(l->request, tuned, key.string)) continue;
        NamedText n = {key.string, constant_source(l, value)};
        vec_push(l->arena, tuned, n);
    }
}

static const Node *argument_of(const Node *call, const char *name, uint32_t position) {
    uint32_t i = 0;
    for (const Node *a = call->items; a; a = a->next, i++) {
        if (a->kind == NODE_KEYWORD) {
            if (a->name && strcmp(a->name, name) == 0) return a->left;
        } else if (i == position) {
            return a;
        }
    }
    return NULL;
}

static const char *decorator_name(const Node *d) {
    const Node *callee = d->kind == NODE_CALL ? d->left : d;
    bool named = callee->kind == NODE_NAME || callee->kind == NODE_ATTRIBUTE;
    return named ? callee->name : "";
}

/* What @heuristics rules may ask about: constants, and for each other parameter its type, so that
 * `args["bias"] is not None` has an answer. Key, value, key, value ... */
typedef VEC(Val) Known;

static void know(Lower *l, Known *known, const char *name, Val value) {
    vec_push(l->arena, known, val_string(name, strlen(name)));
    vec_push(l->arena, known, value);
}

static void known_arguments(Lower *l, const Node *function, const NamedTexts *tuned, Known *known) {
    const LowerRequest *r = l->request;
    uint32_t index = 0;
    for (uint32_t i = 0; i < r->constant_count; i++)
        know(l, known, r->constants[i].name,
             constant_text(l, r->constants[i].text, r->constants[i].name));
    for (uint32_t i = 0; i < tuned->length; i++)
        know(l, known, tuned->data[i].name,
             constant_text(l, tuned->data[i].text, tuned->data[i].name));
    for (const Node *p = function->parameters; p; p = p->next, index++) {
        if (!p->name || is_given(r, tuned, p->name)) continue;
        const char *text = type_text(l, p, index);
        Meaning m = {0};
        if (text && read_type(l, text, p->span, p->name, &m) && m.type)
            know(l, known, p->name, val_type(m.type));
        else if (!text && p->left)
            know(l, known, p->name, lower_expression(l, p->left));
    }
}

/* Values for constexpr parameters that nobody gave: the first configuration of @autotune, and what
 * @heuristics compute from the constants known so far. What only the host could evaluate is left
 * alone: the parameter then counts as missing. */
static void tune(Lower *l, const Node *function, NamedTexts *tuned, Kernel *options) {
    Diagnostics scratch = {.arena = l->arena, .sources = l->sources};
    Diagnostics *real = l->diagnostics;
    l->diagnostics = &scratch;
    for (const Node *d = function->decorators; d; d = d->next) {
        const char *name = decorator_name(d);
        if (d->kind != NODE_CALL) continue;
        if (strcmp(name, "autotune") == 0) {
            const Node *configs = argument_of(d, "configs", 0);
            Val list = configs ? lower_expression(l, configs) : val_error();
            if (list.kind == VAL_TUPLE && list.count && list.items[0].kind == VAL_DICT)
                take_dict(l, list.items[0], tuned, options);
        }
    }
    Known known = {0};
    known_arguments(l, function, tuned, &known);
    for (const Node *d = function->decorators; d; d = d->next) {
        if (d->kind != NODE_CALL || strcmp(decorator_name(d), "heuristics") != 0) continue;
        const Node *values = argument_of(d, "values", 0);
        Val rules = values ? lower_expression(l, values) : val_error();
        if (rules.kind != VAL_DICT) continue;
        for (uint32_t i = 0; i < rules.count; i++) {
            Val key = rules.items[2 * i];
            Val args = {.kind = VAL_DICT, .items = known.data, .count = known.length / 2};
            if (key.kind != VAL_STRING || is_given(l->request, tuned, key.string)) continue;
            Val v = call_value(l, rules.items[2 * i + 1], &args, 1, d->span);
            if (v.kind == VAL_ERROR || !val_is_constant(v)) continue;
            NamedText n = {intern_string(l->names, key.string), constant_source(l, v)};
            vec_push(l->arena, tuned, n);
            vec_push(l->arena, &known, key);
            vec_push(l->arena, &known, v);
        }
    }
    l->diagnostics = real;
    l->gave_up = false;
}

/* ---- lowering -------------------------------------------------------------------------------- */

static Lower *begin(const LowerRequest *r) {
    Lower *l = arena_new(r->arena, Lower);
    l->request = r;
    l->arena = r->arena;
    l->names = r->names;
    l->diagnostics = r->diagnostics;
    l->sources = r->sources;
    l->module = module_new(r->arena, r->sources, r->diagnostics);
    l->types = &l->module->types;
    Function *top = arena_new(l->arena, Function);
    *top = (Function){.name = "<module>", .file = file_scope(l, r->file)};
    l->frame = arena_new(l->arena, Frame);
    l->frame->function = top;
    l->frame->scope = arena_new(l->arena, Scope);
    l->build = (Builder){.module = l->module, .region = arena_new(l->arena, Region)};
    return l;
}

static void report_missing(Lower *l, const Node *function, const char *names, uint32_t count,
                           bool constants) {
    if (constants) {
        fail(l, function->op_span.line ? function->op_span : function->span,
             "`%s` needs a value for the constexpr parameter%s %s", function->name,
             count > 1 ? "s" : "", names);
        note(l, function->span, "give it with -D NAME=VALUE, a default, or @triton.autotune");
    } else {
        fail(l, function->op_span.line ? function->op_span : function->span,
             "`%s` needs %s for the parameter%s %s", function->name, count > 1 ? "types" : "a type",
             count > 1 ? "s" : "", names);
        note(l, function->span,
             "annotate parameters, e.g. x: \"*fp16:16\", n: \"i32\", or give a signature with -s");
    }
}

/* Unknown names among the caller's constants and types. */
static void check_given_names(Lower *l, const Node *function) {
    const LowerRequest *r = l->request;
    VEC(const char *) known = {0};
    uint32_t parameters = 0, items;
    for (const Node *p = function->parameters; p; p = p->next) {
        parameters++;
        if (p->name) vec_push(l->arena, &known, p->name);
    }
    for (uint32_t i = 0; i < r->constant_count + r->type_count; i++) {
        const char *name =
            i < r->constant_count ? r->constants[i].name : r->types[i - r->constant_count].name;
        bool found = false;
        for (uint32_t k = 0; k < known.length; k++) found |= strcmp(known.data[k], name) == 0;
        if (found) continue;
        const char *near = nearest(name, known.data, known.length);
        fail(l, function->span, "`%s` has no parameter `%s`%s%s%s", function->name, name,
             near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
    }
    (void)signature_item(l, r->signature, 0, &items);
    if (items > parameters)
        fail(l, function->span, "the signature has %u items, `%s` has %u parameters", items,
             function->name, parameters);
}

typedef VEC(Parameter) Parameters;

static void add_parameter(Lower *l, Parameters *all, const char *name, const Type *type,
                          int64_t divisibility, Span span) {
    Parameter p = {intern_string(l->names, name), type, divisibility, span};
    vec_push(l->arena, all, p);
}

/* The run-time parameters that pass a value of this meaning. A tuple's items are x_0, x_1, ... A
 * descriptor is passed as its base, its extents (i32), and its strides (i64) but the last, which
 * is 1: x, x_shape0, x_shape1, x_stride0. */
static void add_parameters(Lower *l, const char *name, const Meaning *m, Span span,
                           Parameters *all) {
    if (m->is_constant) return;
    for (uint32_t i = 0; i < m->item_count; i++)
        add_parameters(l, arena_printf(l->arena, "%s_%u", name, i), &m->items[i], span, all);
    if (m->items) return;
    add_parameter(l, all, name, m->type, m->divisibility, span);
    const Pointer *d = m->descriptor;
    if (!d) return;
    for (uint32_t i = 0; i < d->rank; i++)
        add_parameter(l, all, arena_printf(l->arena, "%s_shape%u", name, i),
                      type_scalar(l->types, DT_i32), 1, span);
    int64_t step = 16 / type_element_size(m->type->element);
    for (uint32_t i = 0; i + 1 < d->rank; i++)
        add_parameter(l, all, arena_printf(l->arena, "%s_stride%u", name, i),
                      type_scalar(l->types, DT_i64), step, span);
}

/* The value made of them; *at counts the kernel's arguments. */
static Val parameter_value(Lower *l, const Meaning *m, uint32_t *at) {
    Value **arguments = l->module->kernel->body->arguments;
    if (m->is_constant) return m->constant;
    if (m->items) {
        Val *items = arena_array(l->arena, Val, m->item_count + 1);
        for (uint32_t i = 0; i < m->item_count; i++)
            items[i] = parameter_value(l, &m->items[i], at);
        return val_tuple(items, m->item_count);
    }
    Value *value = arguments[(*at)++];
    if (!m->descriptor) return val_tensor(value);
    Pointer *p = arena_new(l->arena, Pointer);
    *p = *m->descriptor;
    p->base = value;
    l->build.region = l->module->kernel->body;
    l->build.before = NULL;
    for (uint32_t i = 0; i < p->rank; i++)
        p->shape[i] = cast_to(l, arguments[(*at)++], DT_i64, WORD_none);
    for (uint32_t i = 0; i + 1 < p->rank; i++) p->strides[i] = arguments[(*at)++];
    const Type *i64 = type_scalar(l->types, DT_i64);
    p->strides[p->rank - 1] = build_constant_int(&l->build, i64, 1);
    return (Val){.kind = VAL_DESCRIPTOR, .pointer = p};
}

/* Every parameter's value in the kernel's scope; false after an error. */
static bool bind_parameters(Lower *l, const Node *function, Scope *scope, Kernel *options) {
    uint32_t count = 0, index = 0, run_time = 0;
    uint32_t no_type = 0, no_value = 0, errors = l->diagnostics->errors;
    Text types = {.arena = l->arena}, values = {.arena = l->arena};
    NamedTexts tuned = {0};
    check_given_names(l, function);
    for (const Node *p = function->parameters; p; p = p->next, index++) {
        const char *text = p->name ? type_text(l, p, index) : NULL;
        NamedText n = {p->name, text};
        if (text && is_constant_text(text)) vec_push(l->arena, &tuned, n);
    }
    index = 0;
    tune(l, function, &tuned, options);
    for (const Node *p = function->parameters; p; p = p->next) count++;
    Meaning *meanings = arena_array(l->arena, Meaning, count + 1);
    Parameters parameters = {0};
    for (const Node *p = function->parameters; p; p = p->next, index++) {
        Meaning *m = &meanings[index];
        if (!p->name) continue;
        if (p->op != OPERATOR_NONE) {
            fail(l, p->span,
                 "a kernel cannot take `%s%s`: its parameters are fixed when it is compiled",
                 p->op == OPERATOR_MUL ? "*" : "**", p->name);
            continue;
        }
        if (!parameter_meaning(l, p, index, tuned.data, tuned.length, m)) continue;
        bool wants_constant = is_constexpr(p->annotation);
        if (m->found && wants_constant && !m->is_constant) {
            fail(l, p->span, "`%s` is declared constexpr, but is given the type %s", p->name,
                 m->type ? type_string(m->type, l->arena) : "of a tuple");
        } else if (!m->found && wants_constant) {
            text_printf(&values, no_value++ ? ", `%s`" : "`%s`", p->name);
        } else if (!m->found) {
            text_printf(&types, no_type++ ? ", `%s`" : "`%s`", p->name);
        } else if (!m->is_constant) {
            add_parameters(l, p->name, m, p->span, &parameters);
        }
    }
    if (no_type) report_missing(l, function, types.data, no_type, false);
    if (no_value) report_missing(l, function, values.data, no_value, true);
    if (l->diagnostics->errors != errors) return false;
    Kernel *kernel = kernel_new(l->module, function->name, parameters.length, parameters.data);
    const LowerRequest *r = l->request;
    kernel->num_warps = r->num_warps ? r->num_warps : options->num_warps ? options->num_warps : 4;
    kernel->num_stages = r->num_stages         ? r->num_stages
                         : options->num_stages ? options->num_stages
                                               : 3;
    kernel->num_ctas = r->num_ctas ? r->num_ctas : options->num_ctas ? options->num_ctas : 1;
    kernel->at = (Location){.span = function->span};
    index = run_time = 0;
    for (const Node *p = function->parameters; p; p = p->next, index++) {
        if (!p->name) continue;
        Meaning *m = &meanings[index];
        Val v = parameter_value(l, m, &run_time);
        v.span = p->span;
        Binding b = {.name = p->name, .value = v};
        vec_push(l->arena, &scope->bindings, b);
    }
    return true;
}

Module *lower_kernel(const LowerRequest *request) {
    Lower *l = begin(request);
    uint32_t errors = l->diagnostics->errors;
    const Item *item = find_kernel(l);
    if (!item) return NULL;
    Frame frame = {.scope = arena_new(l->arena, Scope), .result = val_none()};
    Function *function = arena_new(l->arena, Function);
    *function =
        (Function){.name = item->name, .node = item->node, .file = l->frame->function->file};
    frame.function = function;
    Kernel options = {0};
    if (!bind_parameters(l, item->node, frame.scope, &options)) return NULL;
    l->frame = &frame;
    l->build.region = l->module->kernel->body;
    lower_body(l, item->node->body);
    if (l->diagnostics->errors != errors) return NULL;
    if (frame.result.kind != VAL_NONE) {
        fail(l, frame.result.span, "a kernel returns nothing, but this returns %s",
             describe(l, frame.result));
        note(l, item->node->span,
             "store results with tl.store; `%s` can only be called from another kernel",
             item->name);
        return NULL;
    }
    l->build.at = (Location){.span = item->node->span};
    build_op(&l->build, OP_return, 0, NULL, 0, NULL);
    return ir_verify(l->module, LEVEL_BLOCK) ? l->module : NULL;
}

bool lang_check(const LowerRequest *request) {
    Lower *l = begin(request);
    uint32_t errors = l->diagnostics->errors;
    l->checking = true;
    const Item *item = find_kernel(l);
    if (!item) return false;
    Frame frame = {.scope = arena_new(l->arena, Scope), .result = val_none()};
    Function *function = arena_new(l->arena, Function);
    *function =
        (Function){.name = item->name, .node = item->node, .file = l->frame->function->file};
    function->nested = item->nested;
    frame.function = function;
    (void)kernel_new(l->module, item->name, 0, NULL);
    for (const Node *p = item->node->parameters; p; p = p->next) {
        if (!p->name) continue;
        Val v = val_unknown();
        v.span = p->span;
        Binding b = {.name = p->name, .value = v};
        vec_push(l->arena, &frame.scope->bindings, b);
    }
    l->frame = &frame;
    lower_body(l, item->node->body);
    return l->diagnostics->errors == errors;
}
