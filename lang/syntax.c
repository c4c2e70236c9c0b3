/* syntax.c: what a syntax error is called.
 *
 * The grammar only knows that a token does not fit. What the user did wrong is seen better in the
 * line: which keyword it starts with, whether a bracket is open, what stands before the token. The
 * first rule that fits gives the message.
 */
#include "lang/parse_internal.h"
#include "parse.h"

/* ---- places and reports ------------------------------------------------------------------ */

static Span span_of(const Parser *parser, const Token *token, uint32_t end) {
    uint32_t length = end > token->begin ? end - token->begin : 1;
    return (Span){parser->source, token->line, token->column,
                  (uint16_t)(length > UINT16_MAX ? UINT16_MAX : length)};
}

Span place_span(const Parser *parser, Place place) {
    const Token *t = place.first;
    return span_of(parser, t, place.last->end < t->line_end ? place.last->end : t->line_end);
}

Span token_span(const Parser *parser, const Token *token) {
    return place_span(parser, (Place){token, token});
}

/* The byte behind a token. */
static Span after_span(const Parser *parser, const Token *token) {
    Span span = sources_span(parser->sources, parser->source, token->end, 1);
    span.length = 1;
    return span;
}

const char *token_text(const Parser *parser, const Token *token) {
    char *text = arena_alloc(parser->arena, 64);
    size_t n = 0;
    for (uint32_t i = token->begin; i < token->end; i++) {
        char c = parser->text[i];
        if (n == 40 || c == '\n' || c == '\r') {
            while (n > 0 && ((uint8_t)text[n - 1] & 0xC0) == 0x80) n--; /* no half character */
            if (n > 0 && (uint8_t)text[n - 1] >= 0xC0) n--;
            memcpy(text + n, "...", 4);
            break;
        }
        text[n++] = (uint8_t)c < 32 || c == 127 ? '?' : c;
    }
    return text;
}

void parse_error(Parser *parser, Span span, const char *format, ...) {
    if (parser->stopped) return;
    va_list args;
    va_start(args, format);
    Text text = {.arena = parser->arena};
    text_vprintf(&text, format, args);
    va_end(args);
    Diagnostic *error = diag_error(parser->diagnostics, (Location){.span = span}, "%s", text.data);
    if (!parser->first_error) parser->first_error = error;
}

void parse_note(Parser *parser, Span span, const char *format, ...) {
    if (parser->stopped) return;
    va_list args;
    va_start(args, format);
    Text text = {.arena = parser->arena};
    text_vprintf(&text, format, args);
    va_end(args);
    diag_note(parser->diagnostics, (Location){.span = span}, "%s", text.data);
}

void parse_too_deep(Parser *parser, Span span) {
    parse_error(parser, span, "nested deeper than %d levels", MAX_NESTING);
    parser->stopped = true;
}

static const Token *line_start(const Parser *parser, const Token *t) {
    while (t > parser->tokens && t[-1].kind != T_NEWLINE && t[-1].kind != T_INDENT &&
           t[-1].kind != T_DEDENT)
        t--;
    return t;
}

void parse_missing_block(Parser *parser, const Token *newline) {
    const Token *next = newline + 1;
    if (next < parser->tokens + parser->count && (next->flags & TOKEN_DEEP)) {
        parse_too_deep(parser, token_span(parser, next));
        return;
    }
    const Token *t = line_start(parser, newline);
    parse_error(parser, token_span(parser, t),
                "the lines below this `%s` must be indented (a block needs at least `pass`)",
                token_text(parser, t));
}

static void too_long_chain(Parser *parser, Span span) {
    parse_error(parser, span, "this is a chain of more than %d links; split it", MAX_HEIGHT);
    parser->stopped = true;
}

void parse_check_depth(Parser *parser, const Node *node) {
    if (node->nesting > MAX_NESTING)
        parse_too_deep(parser, node->span);
    else if (node->height > MAX_HEIGHT)
        too_long_chain(parser, node->span);
}

void parse_overflow(Parser *parser, const Token *token) {
    bool ended = token == &parser->end;
    const Token *t = ended ? parser->tokens + parser->count : token;
    if (line_start(parser, t)->kind == T_ELIF)
        too_long_chain(parser, token_span(parser, token));
    else
        parse_too_deep(parser, token_span(parser, token));
}

/* ---- what tokens are --------------------------------------------------------------------- */

static bool ends_line(uint16_t kind) {
    return kind == T_NEWLINE || kind == T_INDENT || kind == T_DEDENT || kind == T_END;
}

static bool is_keyword(uint16_t kind) {
    return kind >= T_AND && kind <= T_YIELD;
}

static bool is_operator(uint16_t kind) {
    return (kind >= T_POW && kind <= T_GE) || kind == T_AND || kind == T_OR || kind == T_NOT ||
           kind == T_IN || kind == T_IS || (kind < 128 && kind && strchr("+-*/%@&|^~<>", kind));
}

static bool begins_operand(uint16_t kind) {
    return kind == T_NAME || kind == T_INT || kind == T_FLOAT || kind == T_STRING ||
           kind == T_TRUE || kind == T_FALSE || kind == T_NONE || kind == T_LAMBDA || kind == '(' ||
           kind == '[' || kind == '{' || kind == '~';
}

static bool ends_operand(uint16_t kind) {
    return kind == T_NAME || kind == T_INT || kind == T_FLOAT || kind == T_STRING ||
           kind == T_TRUE || kind == T_FALSE || kind == T_NONE || kind == T_ELLIPSIS ||
           kind == ')' || kind == ']' || kind == '}';
}

/* ---- the line of the error --------------------------------------------------------------- */

typedef struct Line {
    Parser *parser;
    const Token *token;    /* does not fit */
    const Token *previous; /* NULL: none on this line */
    const Token *first;    /* of the line */
    const Token *open;     /* innermost bracket around the token, or NULL */
    bool colon;            /* a `:` outside brackets stands before the token */
    bool header;           /* the line starts a block */
    const Expected *expected;
} Line;

static bool opens_block(uint16_t kind) {
    switch (kind) {
    case T_IF:
    case T_ELIF:
    case T_ELSE:
    case T_WHILE:
    case T_FOR:
    case T_DEF:
    case T_CLASS:
    case T_WITH:
    case T_TRY:
    case T_EXCEPT:
    case T_FINALLY: return true;
    default: return false;
    }
}

static Line look_at(Parser *parser, const Token *token, const Expected *expected) {
    Line line = {.parser = parser, .token = token, .expected = expected};
    const Token *first = parser->tokens;
    const Token *t = token == &parser->end ? first + parser->count : token;
    uint32_t closed = 0;
    line.first = token;
    if (t > first && !ends_line(t[-1].kind)) line.previous = t - 1;
    while (t > first && !ends_line(t[-1].kind)) {
        t--;
        if (t->kind == ')' || t->kind == ']' || t->kind == '}') closed++;
        if (t->kind == '(' || t->kind == '[' || t->kind == '{') {
            if (closed > 0)
                closed--;
            else if (!line.open)
                line.open = t;
        }
        line.colon |= t->kind == ':' && closed == 0 && !line.open;
        line.first = t;
    }
    line.header = opens_block(line.first->kind);
    return line;
}

/* Where to point for "something is missing here". */
static Span missing_span(const Line *line) {
    if (line->previous && ends_line(line->token->kind))
        return after_span(line->parser, line->previous);
    return token_span(line->parser, line->token);
}

static const char *found(const Line *line) {
    uint16_t kind = line->token->kind;
    if (ends_line(kind)) return line->parser->format_depth ? "the field ends" : "the line ends";
    return arena_printf(line->parser->arena, "found `%s`", token_text(line->parser, line->token));
}

/* ---- the rules --------------------------------------------------------------------------- */

/* Each reports and returns true when it fits. */

static bool broken_token(const Line *line) {
    if (line->token->kind != T_ERROR) return false;
    Span span = token_span(line->parser, line->token);
    if (!(line->token->flags & TOKEN_DEEP)) {
        parse_error(line->parser, span, "%s", line->token->message);
        return true;
    }
    parse_too_deep(line->parser, span);
    line->parser->stopped = !line->open; /* the lines behind a bracket can be read */
    return true;
}

static bool unclosed_bracket(const Line *line) {
    if (!line->open || !(line->open->flags & TOKEN_UNCLOSED)) return false;
    parse_error(line->parser, token_span(line->parser, line->open), "this `%c` is never closed",
                (char)line->open->kind);
    return true;
}

static bool wrong_header(const Line *line) {
    Parser *parser = line->parser;
    const Token *t = line->token, *first = line->first;
    if (!line->header || line->colon || line->open || t == first) return false;
    if (first->kind == T_ELSE && t->kind == T_IF && t == first + 1) {
        parse_error(parser, token_span(parser, t), "`else if` is written `elif`");
        return true;
    }
    if (ends_line(t->kind) && line->expected->colon) {
        parse_error(parser, missing_span(line), "expected `:` at the end of this `%s`",
                    token_text(parser, first));
        return true;
    }
    return false;
}

static bool wrong_equals(const Line *line) {
    Parser *parser = line->parser;
    const Token *t = line->token;
    if (t->kind == T_WALRUS) {
        parse_error(parser, token_span(parser, t),
                    "`:=` needs parentheses around it here; a statement assigns with `=`");
        return true;
    }
    if (t->kind != '=') return false;
    if (line->previous && line->previous == line->first && is_keyword(line->first->kind)) {
        parse_error(parser, token_span(parser, line->first),
                    "`%s` is a keyword and cannot be a name", token_text(parser, line->first));
        return true;
    }
    if (line->previous && line->previous->kind == '=') return false; /* a = = b */
    bool call = line->open && line->open->kind == '(' && line->open > line->first &&
                ends_operand(line->open[-1].kind);
    const char *message =
        call ? "only a plain name can stand before `=` in a call; to compare, write `==`"
             : "`=` assigns, and cannot stand here; to compare, write `==`";
    parse_error(parser, token_span(parser, t), "%s", message);
    return true;
}

static bool misplaced_keyword(const Line *line) {
    Parser *parser = line->parser;
    const Token *t = line->token;
    const char *text = token_text(parser, t);
    Span span = token_span(parser, t);
    switch (t->kind) {
    case T_ELSE:
    case T_ELIF:
    case T_EXCEPT:
    case T_FINALLY:
        if (t != line->first) return false;
        parse_error(parser, span, "this `%s` belongs to no block above it", text);
        return true;
    case T_ASYNC:
    case T_AWAIT:
    case T_YIELD: parse_error(parser, span, "`%s` is not part of the language", text); return true;
    case T_AS: parse_error(parser, span, "`as` can only stand in `with` and `import`"); return true;
    default: break;
    }
    bool parameter = line->open && line->first->kind == T_DEF && !line->expected->expression;
    if (!is_keyword(t->kind)) return false;
    if (!parameter && (begins_operand(t->kind) || is_operator(t->kind))) return false;
    bool inside = line->open && (line->previous == line->open || line->previous->kind == ',');
    if (!inside && (!line->expected->name || line->expected->expression)) return false;
    parse_error(parser, span, "`%s` is a keyword and cannot be a name", text);
    return true;
}

static bool missing_word(const Line *line) {
    const char *word = NULL;
    if (line->expected->else_word && !ends_line(line->first->kind)) {
        bool inner = false;
        for (const Token *t = line->first + 1; t < line->token && line->previous; t++)
            inner |= t->kind == T_IF;
        if (inner) word = "`else`: an `if` inside an expression has two sides, `a if x else b`";
    }
    if (line->expected->in_word) word = "`in`";
    if (line->expected->import_word && line->first->kind == T_FROM) word = "`import`";
    if (!word) return false;
    parse_error(line->parser, missing_span(line), "expected %s", word);
    return true;
}

/* Two operands side by side. */
static bool missing_operator(const Line *line) {
    Parser *parser = line->parser;
    const Token *t = line->token, *previous = line->previous;
    if (!previous || !ends_operand(previous->kind) || !begins_operand(t->kind)) return false;
    if (line->expected->expression) return false;
    Span span = token_span(parser, t);
    const char *text = token_text(parser, t), *before = token_text(parser, previous);
    if (line->open) {
        parse_error(parser, span, "expected `,` or an operator between `%s` and `%s`", before,
                    text);
    } else if (line->header && !line->colon && line->expected->colon) {
        parse_error(parser, span, "expected `:` or an operator before `%s`", text);
    } else if (parser->format_depth) {
        parse_error(parser, span, "expected an operator before `%s`", text);
    } else if (line->first->kind == T_FROM || line->first->kind == T_IMPORT) {
        parse_error(parser, span, "expected `,` before `%s`", text);
    } else if (previous == line->first && strcmp(before, "print") == 0) {
        parse_error(parser, span, "`print` is a function: its arguments stand in parentheses");
    } else {
        parse_error(parser, span, "expected an operator or a new line before `%s`", text);
    }
    return true;
}

static bool missing_operand(const Line *line) {
    Parser *parser = line->parser;
    const Token *previous = line->previous;
    uint16_t kind = line->token->kind;
    bool gap = previous && line->open && (previous == line->open || previous->kind == ',') &&
               (kind == ',' || kind == ')' || kind == ']' || kind == '}'); /* (, [] */
    if (!gap && (!line->expected->expression || kind == ';')) return false;
    if (!previous || !is_operator(previous->kind)) {
        parse_error(parser, missing_span(line), "expected an expression, but %s", found(line));
        return true;
    }
    parse_error(parser, missing_span(line), "expected an expression after `%s`, but %s",
                token_text(parser, previous), found(line));
    bool doubled = previous > line->first && previous[-1].kind == previous->kind &&
                   (previous->kind == '+' || previous->kind == '-');
    if (doubled && ends_line(line->token->kind))
        parse_note(parser, token_span(parser, previous), "to count, write `%c= 1`",
                   (char)previous->kind);
    return true;
}

static void anything_else(const Line *line) {
    Parser *parser = line->parser;
    const Expected *expected = line->expected;
    const char *wanted = NULL;
    if (expected->colon)
        wanted = "`:`";
    else if (expected->closer && line->open)
        wanted = line->open->kind == '('   ? "`,` or `)`"
                 : line->open->kind == '[' ? "`,` or `]`"
                                           : "`,` or `}`";
    else if (expected->name && line->token->kind != ';')
        wanted = "a name";
    if (wanted)
        parse_error(parser, missing_span(line), "expected %s, but %s", wanted, found(line));
    else if (ends_line(line->token->kind))
        parse_error(parser, missing_span(line), "the line ends too early");
    else
        parse_error(parser, token_span(parser, line->token), "`%s` cannot stand here",
                    token_text(parser, line->token));
}

void parse_unexpected(Parser *parser, const Token *token, const Expected *expected) {
    static bool (*const rules[])(const Line *) = {
        broken_token,      unclosed_bracket, wrong_header,     wrong_equals,
        misplaced_keyword, missing_word,     missing_operator, missing_operand,
    };
    if (parser->stopped) return;
    Line line = look_at(parser, token, expected);
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++)
        if (rules[i](&line)) return;
    anything_else(&line);
}

/* ---- running the grammar ----------------------------------------------------------------- */

Node *parse_range(Parser *parser, int start, const Token *first, const Token *last,
                  Diagnostics *diagnostics, Diagnostic **error) {
    parser->start = start;
    parser->tokens = first;
    parser->count = (uint32_t)(last - first);
    parser->next = 0;
    parser->result = NULL;
    parser->first_error = NULL;
    parser->stopped = false;
    parser->as_seen = parser->as_used = 0;
    parser->diagnostics = diagnostics;
    parser->end = *last;
    parser->end.kind = T_END;
    parser->end.end = parser->end.line_end = parser->end.begin;
    int status = lang_yyparse(parser);
    if (!parser->first_error && parser->as_seen != parser->as_used)
        parse_error(parser, parser->as_span, "`as` can only stand in `with` and `import`");
    if (!parser->first_error && status != 0)
        parse_error(parser, token_span(parser, &parser->end), "this cannot be read");
    if (error) *error = parser->first_error;
    return parser->first_error ? NULL : parser->result;
}
