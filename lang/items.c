/* items.c: what a file defines at its top level.
 *
 * Files are whole Python programs, most of which no kernel can see. The tokens are cut into
 * statements by their line ends and indentation alone, and a look at the first tokens tells what a
 * statement is. Only jit functions must parse; constants, imports, classes and other functions are
 * parsed too, but their errors stay with the item until something uses it. All else is skipped.
 */
#include "lang/parse_internal.h"
#include "parse.h"

typedef struct Reader {
    Parser parser;
    Diagnostics *diagnostics; /* the user's */
    File *file;
    Item **tail;
} Reader;

/* How statements are looked at. */
typedef struct View {
    bool conditional, nested;
    bool jit_only; /* inside a function: only jit functions matter */
} View;

/* ---- cutting ----------------------------------------------------------------------------- */

static const Token *line_end(const Token *t, const Token *end) {
    while (t < end && t->kind != T_NEWLINE) t++;
    return t < end ? t + 1 : end;
}

/* Behind the block whose INDENT is at `t`; `t` when there is none. */
static const Token *block_end(const Token *t, const Token *end) {
    if (t == end || t->kind != T_INDENT) return t;
    uint32_t depth = 0;
    for (; t < end; t++) {
        if (t->kind == T_INDENT) depth++;
        if (t->kind == T_DEDENT && --depth == 0) return t + 1;
    }
    return end;
}

/* The first `kind` outside brackets from `t` on, or `end`. */
static const Token *find_outside(const Token *t, const Token *end, uint16_t kind) {
    uint32_t depth = 0, lambdas = 0;
    for (; t < end; t++) {
        if (t->kind == kind && depth == 0 && (kind != ':' || lambdas == 0)) return t;
        if (t->kind == '(' || t->kind == '[' || t->kind == '{') depth++;
        if ((t->kind == ')' || t->kind == ']' || t->kind == '}') && depth > 0) depth--;
        if (t->kind == T_LAMBDA && depth == 0) lambdas++;
        if (t->kind == ':' && depth == 0 && lambdas > 0) lambdas--;
    }
    return end;
}

static bool token_is(const Reader *r, const Token *t, const char *word) {
    size_t length = t->end - t->begin;
    return t->kind == T_NAME && strlen(word) == length &&
           memcmp(r->parser.text + t->begin, word, length) == 0;
}

/* Is the decorator at `t` (behind its `@`) one that makes a kernel: jit, x.jit, x_jit, called or
 * not? The jit of other compilers for Python is none. */
static bool is_jit(const Reader *r, const Token *t, const Token *end) {
    static const char *const others[] = {"numba", "nb", "cuda", "jax", "cute", "cutlass", "torch"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(others); i++)
        if (token_is(r, t, others[i])) return false;
    while (t + 2 < end && t->kind == T_NAME && t[1].kind == '.') t += 2;
    if (t->kind != T_NAME) return false;
    const char *text = r->parser.text + t->begin;
    size_t length = t->end - t->begin;
    bool jit = length >= 3 && memcmp(text + length - 3, "jit", 3) == 0;
    if (!jit || (length > 3 && text[length - 4] != '_')) return false;
    return t + 1 == end || t[1].kind == '(' || t[1].kind == T_NEWLINE;
}

/* ---- items ------------------------------------------------------------------------------- */

static Item *add_item(Reader *r, ItemKind kind, const Token *name, Span span, const View *view) {
    Item *item = arena_new(r->parser.arena, Item);
    item->kind = kind;
    item->name = name ? token_name(&r->parser, name) : NULL;
    item->span = span;
    item->conditional = view->conditional;
    item->nested = view->nested;
    *r->tail = item;
    r->tail = &item->next;
    return item;
}

/* Messages that stay with the item. */
static Diagnostics quiet(const Reader *r) {
    return (Diagnostics){.arena = r->parser.arena, .sources = r->parser.sources, .error_limit = 1};
}

static Node *parse_quietly(Reader *r, int start, const Token *first, const Token *last,
                           Diagnostic **error) {
    Diagnostics unheard = quiet(r);
    return parse_range(&r->parser, start, first, last, &unheard, error);
}

static void add_constant(Reader *r, const Token *first, const Token *last, const View *view) {
    uint16_t next = first + 1 < last ? first[1].kind : T_END;
    bool plain = first->kind == T_NAME &&
                 (next == '=' || next == ':' || (next >= T_POW_ASSIGN && next <= T_XOR_ASSIGN));
    const Token *equals = find_outside(first, last, '=');
    bool assigns = equals < last;
    if (plain && next == '=' && find_outside(equals + 1, last, '=') < last) plain = false;
    bool tuple =
        first->kind == T_NAME || first->kind == '(' || first->kind == '[' || first->kind == '*';
    if (first->kind == T_NAME && (next == '.' || next == '[') &&
        find_outside(first, equals, ',') == equals)
        tuple = false; /* a[i] = ..., a.b = ...: nothing is defined */
    if (!plain && !(tuple && assigns)) return;
    Span span = token_span(&r->parser, first);
    Item *item = add_item(r, ITEM_CONSTANT, plain ? first : NULL, span, view);
    item->node = parse_quietly(r, T_START_STATEMENTS, first, last, &item->error);
}

static void add_import(Reader *r, const Token *first, const Token *last, const View *view) {
    Item *item = add_item(r, ITEM_IMPORT, NULL, token_span(&r->parser, first), view);
    item->node = parse_quietly(r, T_START_STATEMENTS, first, last, &item->error);
}

/* `first..last`: simple statements on one line, up to its NEWLINE. */
static void read_simple(Reader *r, const Token *first, const Token *last, const View *view) {
    if (view->jit_only) return;
    const Token *newline = last > first && last[-1].kind == T_NEWLINE ? last - 1 : last;
    while (first < newline) {
        const Token *stop = find_outside(first, newline, ';');
        /* the grammar wants a NEWLINE: one is lent when the statement ends in `;` */
        uint32_t count = (uint32_t)(stop - first);
        const Token *tokens = first;
        if (stop != newline || newline == last) {
            Token *copy = arena_array(r->parser.arena, Token, count + 2);
            memcpy(copy, first, sizeof(Token) * count);
            copy[count] = *stop;
            copy[count].kind = T_NEWLINE;
            copy[count + 1] = *stop;
            tokens = copy;
        }
        const Token *end = tokens + count + 1;
        if (count == 0) {
            first = stop + 1;
            continue;
        }
        if (first->kind == T_IMPORT || first->kind == T_FROM)
            add_import(r, tokens, end, view);
        else
            add_constant(r, tokens, end, view);
        first = stop + 1;
    }
}

/* The decorators in first..last, each on its own, so that a bad one costs no more than itself. */
static Node *read_decorators(Reader *r, const Token *first, const Token *last) {
    NodeList list = {0};
    while (first < last) {
        const Token *end = line_end(first, last);
        const Token *newline = end[-1].kind == T_NEWLINE ? end - 1 : end;
        Node *node = newline > first + 1
                         ? parse_quietly(r, T_START_EXPRESSION, first + 1, newline, NULL)
                         : NULL;
        if (node) list_add(&list, node);
        first = end;
    }
    return list.first;
}

static void read_statements(Reader *r, const Token *t, const Token *end, const View *view);

/* A `def` at first..last, below the decorators in decorators..first. */
static Node *read_function(Reader *r, const Token *decorators, const Token *first,
                           const Token *last, bool jit, const View *view) {
    const Token *name = first + 1 < last && first[1].kind == T_NAME ? first + 1 : NULL;
    Item *item = NULL;
    Span span = token_span(&r->parser, name ? name : first);
    if (jit || !(view->jit_only || view->nested))
        item = add_item(r, jit ? ITEM_FUNCTION : ITEM_HELPER, name, span, view);
    Node *node = NULL;
    if (jit) {
        r->file->function_count++;
        node =
            parse_range(&r->parser, T_START_STATEMENTS, first, last, r->diagnostics, &item->error);
    } else if (!view->jit_only) {
        node = parse_quietly(r, T_START_STATEMENTS, first, last, item ? &item->error : NULL);
    }
    if (node) node->decorators = read_decorators(r, decorators, first);
    if (item) item->node = node;
    if (!jit) {
        View inner = {.conditional = true, .nested = true, .jit_only = true};
        const Token *block = line_end(first, last);
        if (block < last && block->kind == T_INDENT)
            read_statements(r, block + 1, last - 1, &inner);
    }
    return node;
}

/* A class: its head, and of its body the functions and assignments that parse. */
static void read_class(Reader *r, const Token *decorators, const Token *first, const Token *last,
                       const View *view) {
    const Token *head_end = find_outside(first, last, ':');
    const Token *name = first + 1 < last && first[1].kind == T_NAME ? first + 1 : NULL;
    if (head_end == last || !name) return;
    Item *item = NULL;
    Node *node = NULL;
    if (!view->jit_only) {
        item = add_item(r, ITEM_CLASS, name, token_span(&r->parser, name), view);
        node = parse_quietly(r, T_START_CLASS, first, head_end + 1, &item->error);
        if (node) node->decorators = read_decorators(r, decorators, first);
    }
    View inner = {.conditional = view->conditional, .nested = true, .jit_only = view->jit_only};
    NodeList body = {0};
    const Token *t = line_end(first, last);
    const Token *end = last;
    if (t < last && t->kind == T_INDENT) {
        t++;
        end--;
    }
    while (t < end) {
        const Token *above = t;
        bool jit = false;
        for (; t < end && t->kind == '@'; t = line_end(t, end)) jit |= is_jit(r, t + 1, end);
        const Token *after = block_end(line_end(t, end), end);
        Node *member = NULL;
        if (t < end && t->kind == T_DEF)
            member = read_function(r, above, t, after, jit, &inner);
        else if (t < end && t->kind == T_CLASS)
            read_class(r, above, t, after,
                       &(View){.conditional = true, .nested = true, .jit_only = true});
        else if (t < end && !view->jit_only && find_outside(t, after, '=') + 1 < after)
            member = parse_quietly(r, T_START_STATEMENTS, t, after, NULL);
        else if (t < end && !view->jit_only && find_outside(t, after, ':') + 1 < after)
            member = parse_quietly(r, T_START_STATEMENTS, t, after, NULL);
        for (Node *next; member; member = next) {
            next = member->next;
            list_add(&body, member);
        }
        t = after;
    }
    if (!node) return;
    for (Node *n = body.first; n; n = n->next) {
        if (n->height >= node->height) node->height = (uint16_t)(n->height + 1);
        if (n->nesting >= node->nesting) node->nesting = (uint16_t)(n->nesting + 1);
    }
    node->body = body.first;
    item->node = node;
}

/* A statement with a block: what is in the block stands at the top level too. */
static void read_block(Reader *r, const Token *first, const Token *last, const View *view) {
    const Token *colon = find_outside(first, last, ':');
    if (colon == last) return;
    View inner = *view;
    inner.conditional = true;
    const Token *below = line_end(first, last);
    if (colon + 1 < last && colon[1].kind != T_NEWLINE) read_simple(r, colon + 1, below, &inner);
    if (below < last && below->kind == T_INDENT) read_statements(r, below + 1, last - 1, &inner);
}

static void read_statements(Reader *r, const Token *t, const Token *end, const View *view) {
    while (t < end) {
        const Token *decorators = t;
        const Token *jit = NULL;
        for (; t < end && t->kind == '@'; t = line_end(t, end))
            if (is_jit(r, t + 1, end)) jit = t;
        if (t == end || (jit && t->kind != T_DEF)) {
            if (jit) {
                r->parser.stopped = false;
                r->parser.diagnostics = r->diagnostics;
                parse_error(&r->parser, token_span(&r->parser, t < end ? t : jit),
                            "expected `def` below the decorators");
            }
            if (t == end) return;
        }
        const Token *after = block_end(line_end(t, end), end);
        switch (t->kind) {
        case T_DEF: read_function(r, decorators, t, after, jit != NULL, view); break;
        case T_CLASS: read_class(r, decorators, t, after, view); break;
        case T_IF:
        case T_ELIF:
        case T_ELSE:
        case T_TRY:
        case T_EXCEPT:
        case T_FINALLY:
        case T_WITH:
        case T_FOR:
        case T_WHILE: read_block(r, t, after, view); break;
        default:
            if (decorators == t) read_simple(r, t, line_end(t, after), view);
        }
        t = after;
    }
}

/* ---- entries ----------------------------------------------------------------------------- */

static Parser parser_for(Arena *arena, Names *names, Sources *sources, Diagnostics *diagnostics,
                         uint32_t source) {
    const Source *s = &sources->list.data[source];
    return (Parser){.arena = arena,
                    .names = names,
                    .sources = sources,
                    .diagnostics = diagnostics,
                    .source = source,
                    .text = s->text ? s->text : "",
                    .length = s->text ? s->length : 0};
}

/* Reports what makes the whole text unreadable. */
static bool is_text(Parser *parser) {
    Span start = {parser->source, 1, 1, 1};
    if (parser->length > MAX_SOURCE) {
        parse_error(parser, start, "this source is larger than %d MB", MAX_SOURCE >> 20);
        return false;
    }
    const char *nul = memchr(parser->text, 0, parser->length);
    if (!nul) return true;
    size_t at = (size_t)(nul - parser->text);
    parse_error(parser, sources_span(parser->sources, parser->source, at, 1),
                "there is a NUL byte here: this is no source text");
    return false;
}

static bool scan_source(Parser *parser, bool inside, Scan *scan, TokenList *tokens) {
    if (!is_text(parser)) return false;
    *scan = (Scan){
        .arena = parser->arena, .text = parser->text, .line = 1, .end = (uint32_t)parser->length};
    if (parser->length >= 3 && memcmp(parser->text, "\xEF\xBB\xBF", 3) == 0) scan->begin = 3;
    scan_tokens(scan);
    if (scan->junk > JUNK_LIMIT) {
        parse_error(parser, sources_span(parser->sources, parser->source, scan->junk_at, 1),
                    "from here on there are many bytes that are no text in UTF-8");
        return false;
    }
    *tokens = layout_tokens(parser->arena, parser->text, &scan->tokens, inside);
    return true;
}

/* A long string that is never closed hides all that follows, so it cannot pass as host code. */
static void report_open_string(Reader *r, const Scan *scan) {
    if (scan->open_string == 0) return;
    const Token *t = &scan->tokens.data[scan->open_string - 1];
    Span span = token_span(&r->parser, t);
    for (const Diagnostic *d = r->diagnostics->first; d; d = d->next)
        if (d->at.span.line == span.line && d->at.span.column == span.column) return;
    r->parser.diagnostics = r->diagnostics;
    r->parser.stopped = false;
    parse_error(&r->parser, span, "%s", t->message);
}

File *parse_file(Arena *arena, Names *names, Sources *sources, Diagnostics *diagnostics,
                 uint32_t source) {
    File *file = arena_new(arena, File);
    *file = (File){.source = source, .path = sources->list.data[source].path};
    Reader reader = {.parser = parser_for(arena, names, sources, diagnostics, source),
                     .diagnostics = diagnostics,
                     .file = file,
                     .tail = &file->items};
    Scan scan;
    TokenList tokens;
    if (!scan_source(&reader.parser, false, &scan, &tokens)) return file;
    View top = {0};
    read_statements(&reader, tokens.data, tokens.data + tokens.length - 1, &top);
    report_open_string(&reader, &scan);
    return file;
}

Node *parse_expression(Arena *arena, Names *names, Sources *sources, Diagnostics *diagnostics,
                       uint32_t source) {
    Parser parser = parser_for(arena, names, sources, diagnostics, source);
    Scan scan;
    TokenList tokens;
    if (!scan_source(&parser, true, &scan, &tokens)) return NULL;
    return parse_range(&parser, T_START_EXPRESSION, tokens.data, tokens.data + tokens.length - 1,
                       diagnostics, NULL);
}
