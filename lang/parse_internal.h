/* parse_internal.h: what the files of the parser share.
 *
 *     text --lex.l--> raw tokens --layout.c--> tokens --items.c--> ranges --parse.y--> nodes
 *
 *   lex.l       bytes to raw tokens; knows no brackets and no indentation
 *   layout.c    brackets, NEWLINE, INDENT, DEDENT; closes brackets that were left open
 *   items.c     what the top level defines: finds the ranges of tokens worth parsing
 *   parse.y     the grammar, run on one range at a time
 *   syntax.c    what a syntax error is called
 *   literal.c   values of numbers, strings and f-strings
 *   ast.c       making nodes, and the checks the grammar leaves; the dump
 *
 * A piece of text that is no token becomes an ERROR token that carries its message. It is only
 * reported when the grammar meets it, so that host code may hold anything.
 */
#ifndef TKC_LANG_PARSE_INTERNAL_H
#define TKC_LANG_PARSE_INTERNAL_H

#include "lang/ast.h"

/* ---- tokens ------------------------------------------------------------------------------ */

enum {
    TOKEN_FIRST = 1,    /* first on its line */
    TOKEN_UNCLOSED = 2, /* a bracket that is never closed */
    TOKEN_DEEP = 4      /* ERROR: a bracket or block nested too deep */
};

typedef struct Token {
    uint32_t begin, end; /* bytes of the text */
    uint32_t line;       /* of `begin`, from 1 */
    uint32_t line_end;   /* where the last token of that line ends */
    uint16_t column;     /* from 1, in bytes */
    uint16_t kind;       /* a character, or T_... of parse.y */
    uint8_t flags;
    const char *message; /* ERROR */
} Token;

typedef VEC(Token) TokenList;

/* The tokens of a node, first and last. */
typedef struct Place {
    const Token *first, *last;
} Place;

/* ---- scanning ---------------------------------------------------------------------------- */

typedef struct Scan {
    Arena *arena;
    const char *text;          /* the whole source */
    uint32_t begin, end;       /* the part to scan */
    uint32_t line, line_start; /* line `begin` is on and where that line starts */
    TokenList tokens;          /* result: raw tokens, NEWLINE after each line that has any */
    size_t field_budget;       /* bytes that may still be looked at inside f-string fields */
    const char *base;          /* the scanner's own copy of the part */
    bool fresh;                /* no token yet on this line */
    uint32_t junk;             /* bytes that cannot be text, outside strings and comments */
    uint32_t junk_at;          /* the first of them */
    uint32_t open_string; /* 1 + index of the token of a long string that is never closed, or 0 */
} Scan;

/* A source with more junk than this is no text; scanning stops. */
enum { JUNK_LIMIT = 64, MAX_SOURCE = 256 << 20 };

void scan_tokens(Scan *scan);

/* Brackets, line ends and indentation. As an expression (`inside`), line ends and indentation mean
 * nothing. The result ends in a token END (kind 0). */
TokenList layout_tokens(Arena *arena, const char *text, const TokenList *raw, bool inside);

/* Where the string literal ends whose opening quote is at `at`; false when it is never closed
 * (then *end is where to go on). `format`: an f-string. `budget`: see Scan.field_budget. */
bool string_end(const char *text, size_t at, size_t limit, bool format, bool raw, size_t *budget,
                size_t *end);
/* The expression of an f-string field that starts at `at` (after the brace): where it ends and
 * where the whole field ends, after its closing brace. False when it is never closed. */
bool field_end(const char *text, size_t at, size_t limit, size_t *budget, size_t *expression_end,
               size_t *end);

/* Length of the UTF-8 sequence at `text` (at most `room` bytes), 0 when it is malformed. */
uint32_t utf8_decode(const char *text, size_t room, uint32_t *code);

/* ---- parsing ----------------------------------------------------------------------------- */

typedef struct NodeList {
    Node *first, *last;
} NodeList;

typedef struct Parser {
    Arena *arena;
    Names *names;
    Sources *sources;
    Diagnostics *diagnostics;
    uint32_t source;
    const char *text;
    size_t length;

    int start;            /* token that says what is parsed: T_START_... */
    const Token *tokens;  /* the range; `count` tokens, then END */
    uint32_t count, next; /* next: the token that is read next */
    Token end;
    Node *result;              /* an expression, or a list of statements */
    Diagnostic *first_error;   /* of this range */
    bool stopped;              /* nested too deep: no more messages, no more tokens */
    uint32_t as_seen, as_used; /* `x as y` in parentheses, and those that a `with` took */
    Span as_span;              /* the latest of them */
    uint32_t format_depth;     /* f-strings around this one */
} Parser;

/* f-strings in f-strings. */
enum { MAX_FORMAT_DEPTH = 8 };

int lang_yyparse(Parser *parser); /* parse.y; 0: parser->result is set */

/* Parses tokens first..last-1 as T_START_... says. NULL when there was any error: the messages are
 * in `diagnostics`, the first one in *error (when `error` is not NULL). */
Node *parse_range(Parser *parser, int start, const Token *first, const Token *last,
                  Diagnostics *diagnostics, Diagnostic **error);

Span token_span(const Parser *parser, const Token *token);
Span place_span(const Parser *parser, Place place); /* its first line */
/* The text of a token or place, shortened and made printable for a message. */
const char *token_text(const Parser *parser, const Token *token);

void parse_error(Parser *parser, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void parse_note(Parser *parser, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
/* A syntax error at `token`. `expected` says what the grammar would take, or is NULL. */
typedef struct Expected {
    bool expression, name, colon, comma, closer, else_word, in_word, import_word;
} Expected;
void parse_unexpected(Parser *parser, const Token *token, const Expected *expected);
void parse_too_deep(Parser *parser, Span span);
void parse_check_depth(Parser *parser, const Node *node); /* MAX_NESTING, MAX_HEIGHT */

/* A block is missing below the line that `newline` ends. */
void parse_missing_block(Parser *parser, const Token *newline);
/* The grammar's stack is full at `token`. */
void parse_overflow(Parser *parser, const Token *token);

/* ---- nodes (ast.c) ----------------------------------------------------------------------- */

Node *node_new(Parser *parser, NodeKind kind, Place place);
/* To be called once, when all fields of a node are set: measures it. Returns the node. */
Node *node_close(Parser *parser, Node *node);
Node *node_of(Parser *parser, NodeKind kind, Place place, Node *left, Node *right);
Node *node_operator(Parser *parser, NodeKind kind, Place place, Operator op, Place op_place,
                    Node *left, Node *right);
Node *node_named(Parser *parser, NodeKind kind, Place place, const Token *name, Node *left);
Node *node_items(Parser *parser, NodeKind kind, Place place, NodeList items);
const char *token_name(Parser *parser, const Token *token); /* interned */

void list_add(NodeList *list, Node *node);

Node *make_number(Parser *parser, Place place);  /* literal.c: INT or FLOAT */
Node *make_strings(Parser *parser, Place place); /* literal.c: adjacent string literals */
Node *make_sequence(Parser *parser, Place place, NodeList items); /* one item: itself */
Node *make_call(Parser *parser, Place place, Node *callee, NodeList arguments);
Node *make_slice(Parser *parser, Place place, Node *lower, Node *upper, Node *step);
Node *make_comprehension(Parser *parser, Place place, const char *kind, Node *element,
                         NodeList clauses);
Node *make_assign(Parser *parser, Place place, NodeList targets, Node *value);
Node *make_annotated(Parser *parser, Place place, Node *target, Node *type, Node *value);
Node *make_if(Parser *parser, Place place, Node *condition, NodeList body, NodeList orelse);
Node *make_with(Parser *parser, Place place, NodeList items, Node *body);
Node *make_parameter(Parser *parser, Place place, Operator star, const Token *name,
                     Node *annotation, Node *value);
Node *make_from(Parser *parser, Place place, Place dots, Place module, NodeList names);
Node *make_alias(Parser *parser, Place place, Place name, const Token *alias);

/* Reports what may not be assigned to (deleted, ...). */
void check_target(Parser *parser, const Node *node, const char *verb);
/* Reports parameters in an order that is none. Returns them without the `/` mark. */
Node *check_parameters(Parser *parser, Node *parameters);

#endif
