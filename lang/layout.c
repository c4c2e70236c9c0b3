/* layout.c: brackets, line ends and indentation.
 *
 * Turns raw tokens into those of the grammar: line ends inside brackets vanish, a deeper line
 * gives INDENT, a shallower one a DEDENT for each level it closes. The result is always balanced:
 * every INDENT has its DEDENT, and NEWLINE stands before either.
 *
 * A bracket that is never closed would swallow the rest of the file. But a statement keyword at
 * the start of a line can be in no expression, so there the bracket is known to be open: it is
 * marked, and scanning goes back to the first line after it that is not indented deeper than the
 * statement it is in. One slip costs one statement.
 */
#include "lang/parse_internal.h"
#include "parse.h"

typedef struct Bracket {
    uint32_t token; /* in the result */
    uint32_t raw;   /* in the raw tokens */
} Bracket;

typedef struct Indent {
    uint32_t column, narrow; /* with tabs to the next 8, and with tabs as one */
} Indent;

typedef struct Layout {
    Arena *arena;
    const char *text;
    const Token *raw;
    uint32_t raw_count;
    bool inside;
    TokenList out;
    VEC(Bracket) brackets;
    Indent indents[MAX_NESTING + 1];
    uint32_t level;   /* indents[level] is the block we are in */
    Indent statement; /* of the line the statement began on */
    uint64_t go_back; /* tokens that may still be looked at twice */
    bool line_start;  /* the next token begins a statement's line */
} Layout;

static bool begins_statement(uint16_t kind) {
    switch (kind) {
    case T_DEF:
    case T_CLASS:
    case T_RETURN:
    case T_WHILE:
    case T_WITH:
    case T_IMPORT:
    case T_ASSERT:
    case T_PASS:
    case T_BREAK:
    case T_CONTINUE:
    case T_RAISE:
    case T_DEL:
    case T_GLOBAL:
    case T_NONLOCAL:
    case T_TRY:
    case T_EXCEPT:
    case T_FINALLY:
    case T_ELIF: return true;
    default: return false;
    }
}

static bool is_closer(uint16_t kind) {
    return kind == ')' || kind == ']' || kind == '}';
}
static bool is_opener(uint16_t kind) {
    return kind == '(' || kind == '[' || kind == '{';
}
static char closer_of(uint16_t opener) {
    return opener == '(' ? ')' : opener == '[' ? ']' : '}';
}

/* ---- adding tokens ----------------------------------------------------------------------- */

/* A token without text, just before `at`, or after the last one when `at` is NULL. */
static void add_mark(Layout *l, uint16_t kind, const Token *at) {
    Token mark = {.line = 1, .column = 1};
    if (at) {
        mark = *at;
    } else if (l->out.length) {
        mark = l->out.data[l->out.length - 1];
        uint32_t length = mark.end - mark.begin;
        mark.column =
            (uint16_t)(mark.column + length > UINT16_MAX ? UINT16_MAX : mark.column + length);
        mark.begin = mark.end;
    }
    mark.end = mark.line_end = mark.begin;
    mark.kind = kind;
    mark.flags = 0;
    mark.message = NULL;
    vec_push(l->arena, &l->out, mark);
}

static void add_error(Layout *l, const Token *at, const char *message) {
    Token error = *at;
    error.kind = T_ERROR;
    error.message = message;
    vec_push(l->arena, &l->out, error);
}

static void add_deep(Layout *l, const Token *at) {
    add_error(l, at, NULL); /* the parser knows the message */
    l->out.data[l->out.length - 1].flags |= TOKEN_DEEP;
}

static void end_line(Layout *l, const Token *newline) {
    uint32_t n = l->out.length;
    if (n == 0) return;
    uint16_t last = l->out.data[n - 1].kind;
    if (last == T_NEWLINE || last == T_INDENT || last == T_DEDENT) return;
    add_mark(l, T_NEWLINE, newline);
}

/* ---- indentation ------------------------------------------------------------------------- */

static Indent measure(const Layout *l, const Token *t) {
    const char *end = l->text + t->begin, *p = end;
    while (p > l->text && (p[-1] == ' ' || p[-1] == '\t' || p[-1] == '\f' || p[-1] == '\r')) p--;
    Indent indent = {0};
    for (; p < end; p++) {
        if (*p == ' ') {
            indent.column++, indent.narrow++;
        } else if (*p == '\t') {
            indent.column = (indent.column / 8 + 1) * 8, indent.narrow++;
        } else {
            indent = (Indent){0};
        }
    }
    return indent;
}

static void indent_line(Layout *l, const Token *t) {
    static const char mixed[] = "tabs and spaces are mixed here, so that the indentation depends "
                                "on how wide a tab is";
    Indent now = measure(l, t);
    l->statement = now;
    Indent top = l->indents[l->level];
    if (now.column > top.column) {
        if (l->level == MAX_NESTING) {
            add_deep(l, t);
            return;
        }
        l->indents[++l->level] = now;
        add_mark(l, T_INDENT, t);
        if (now.narrow <= top.narrow) add_error(l, t, mixed);
        return;
    }
    while (l->level > 0 && now.column <= l->indents[l->level - 1].column) {
        l->level--;
        add_mark(l, T_DEDENT, t);
    }
    top = l->indents[l->level];
    if (now.column != top.column) { /* between two blocks: the inner one goes on, at this column */
        add_error(l, t, "this line is indented like no block around it");
        l->indents[l->level] = now;
    } else if (now.narrow != top.narrow) {
        add_error(l, t, mixed);
    }
}

/* ---- brackets ---------------------------------------------------------------------------- */

static void open_bracket(Layout *l, uint32_t raw) {
    Bracket bracket = {l->out.length, raw};
    vec_push(l->arena, &l->brackets, bracket);
    if (l->brackets.length == MAX_NESTING + 1)
        add_deep(l, &l->raw[raw]);
    else
        vec_push(l->arena, &l->out, l->raw[raw]);
}

static void close_bracket(Layout *l, const Token *t) {
    char text = (char)t->kind;
    uint32_t n = l->brackets.length;
    if (n == 0) {
        add_error(l, t, arena_printf(l->arena, "`%c` closes nothing", text));
        return;
    }
    const Token *open = &l->raw[l->brackets.data[n - 1].raw];
    if (closer_of(open->kind) == text) {
        l->brackets.length--;
        vec_push(l->arena, &l->out, *t);
        return;
    }
    add_error(l, t,
              arena_printf(l->arena, "`%c` does not close the `%c` opened at line %u", text,
                           (char)open->kind, open->line));
    for (uint32_t i = n; i-- > 0 && n - i <= MAX_NESTING;)
        if (closer_of(l->raw[l->brackets.data[i].raw].kind) == text) {
            l->brackets.length = i;
            return;
        }
}

/* All open brackets are known to be never closed, at raw token `i`. Returns where to go on. */
static uint32_t give_up_brackets(Layout *l, uint32_t i) {
    uint32_t back = l->brackets.data[0].raw + 1;
    for (; back < i; back++) {
        const Token *t = &l->raw[back];
        if ((t->flags & TOKEN_FIRST) && !is_closer(t->kind) && t->kind != T_NEWLINE &&
            measure(l, t).column <= l->statement.column)
            break;
    }
    if (i - back > l->go_back) back = i;
    l->go_back -= i - back;
    for (uint32_t k = 0; k < l->brackets.length; k++)
        l->out.data[l->brackets.data[k].token].flags |= TOKEN_UNCLOSED;
    if (back < i)
        while (l->out.length && l->out.data[l->out.length - 1].begin >= l->raw[back].begin)
            l->out.length--;
    l->brackets.length = 0;
    end_line(l, NULL);
    l->line_start = true;
    return back;
}

/* ---- all of it --------------------------------------------------------------------------- */

TokenList layout_tokens(Arena *arena, const char *text, const TokenList *raw, bool inside) {
    Layout *l = arena_new(arena, Layout);
    *l = (Layout){.arena = arena,
                  .text = text,
                  .raw = raw->data,
                  .raw_count = raw->length,
                  .inside = inside,
                  .line_start = true};
    l->go_back = 4 * (uint64_t)raw->length;
    l->out.capacity = raw->length + raw->length / 8 + 8;
    l->out.data = arena_array(arena, Token, l->out.capacity);
    for (uint32_t i = 0;;) {
        const Token *t = &l->raw[i];
        if (l->brackets.length && !inside &&
            (i == l->raw_count || ((t->flags & TOKEN_FIRST) && begins_statement(t->kind)))) {
            i = give_up_brackets(l, i);
            continue;
        }
        if (i == l->raw_count) break;
        i++;
        if (t->kind == T_NEWLINE) {
            if (l->brackets.length || inside) continue;
            end_line(l, t);
            l->line_start = true;
            continue;
        }
        if (l->line_start && !inside) indent_line(l, t);
        l->line_start = false;
        if (is_opener(t->kind))
            open_bracket(l, i - 1);
        else if (is_closer(t->kind))
            close_bracket(l, t);
        else
            vec_push(arena, &l->out, *t);
    }
    for (uint32_t k = 0; k < l->brackets.length; k++) /* inside: nothing to go back to */
        l->out.data[l->brackets.data[k].token].flags |= TOKEN_UNCLOSED;
    if (!inside) end_line(l, NULL);
    for (; l->level > 0; l->level--) add_mark(l, T_DEDENT, NULL);
    add_mark(l, 0, NULL);
    return l->out;
}
