/* ast.h: the syntax tree. Text in, nodes out; no types, no symbols, no evaluation.
 *
 * One struct for all nodes, its fields grouped by what uses them. Lists of nodes are linked by
 * `next`. All nodes and names live in one arena.
 */
#ifndef TKC_LANG_AST_H
#define TKC_LANG_AST_H

#include "compiler/diag.h"
#include "compiler/type.h"

typedef enum Operator {
    OPERATOR_NONE,
    /* binary and augmented assignment */
    OPERATOR_ADD, OPERATOR_SUB, OPERATOR_MUL, OPERATOR_DIV, OPERATOR_FLOORDIV, OPERATOR_MOD,
    OPERATOR_POW, OPERATOR_MATMUL, OPERATOR_AND, OPERATOR_OR, OPERATOR_XOR, OPERATOR_SHL,
    OPERATOR_SHR,
    /* comparison */
    OPERATOR_EQ, OPERATOR_NE, OPERATOR_LT, OPERATOR_LE, OPERATOR_GT, OPERATOR_GE,
    OPERATOR_IS, OPERATOR_IS_NOT, OPERATOR_IN, OPERATOR_NOT_IN,
    /* unary */
    OPERATOR_NEG, OPERATOR_POS, OPERATOR_INVERT, OPERATOR_NOT,
    /* bool */
    OPERATOR_BOOL_AND, OPERATOR_BOOL_OR
} Operator;

typedef enum NodeKind {
    /* expressions ----------------------------------------------------------------------- */
    NODE_NAME,      /* name */
    NODE_INT,       /* integer */
    NODE_FLOAT,     /* number */
    NODE_STRING,    /* string, string_length (adjacent literals joined, escapes resolved) */
    NODE_FSTRING,   /* items: NODE_STRING and NODE_FORMAT in order (no field at all: a STRING) */
    NODE_FORMAT,    /* one {..} of an f-string: left = expression, name = format after ":" or NULL,
                       op = nothing; conversion (!r) is dropped; {x=} puts "x=" text before */
    NODE_TRUE, NODE_FALSE, NODE_NONE,
    NODE_ELLIPSIS,
    NODE_ATTRIBUTE, /* left.name */
    NODE_SUBSCRIPT, /* left[right]; several indices: right is a NODE_TUPLE */
    NODE_SLICE,     /* left:right:third, each may be NULL */
    NODE_CALL,      /* left(items); items: expressions, NODE_STARRED, NODE_KEYWORD */
    NODE_KEYWORD,   /* name=left in a call; name NULL: **left */
    NODE_STARRED,   /* *left */
    NODE_UNARY,     /* op left */
    NODE_BINARY,    /* left op right; op_span is the operator itself */
    NODE_BOOL,      /* items joined by op (BOOL_AND, BOOL_OR) */
    NODE_COMPARE,   /* left, then items: each a NODE_COMPARISON; a < b <= c has two */
    NODE_COMPARISON,/* op left(the right-hand operand) */
    NODE_CONDITIONAL, /* left if condition else right */
    NODE_LAMBDA,    /* parameters, left = body */
    NODE_TUPLE, NODE_LIST, NODE_SET, /* items */
    NODE_DICT,      /* items: each NODE_PAIR */
    NODE_PAIR,      /* left: right; left NULL: **right */
    NODE_COMPREHENSION, /* left for items(NODE_FOR_CLAUSE)...; name "list", "set", "dict" (left is a
                       NODE_PAIR) or "generator" */
    NODE_FOR_CLAUSE, /* for left in right if items... */
    NODE_NAMED,     /* (left := right) */
    /* statements ------------------------------------------------------------------------ */
    NODE_ASSIGN,    /* left = right; a = b = c: left is NULL, `items` are the targets, in order,
                       and right is c */
    NODE_ANNOTATED, /* left: annotation = right (right may be NULL) */
    NODE_AUGMENTED, /* left op= right */
    NODE_EXPRESSION,/* left */
    NODE_IF,        /* condition, body, orelse (elif: orelse is one NODE_IF) */
    NODE_FOR,       /* for left in right: body; orelse */
    NODE_WHILE,     /* condition, body, orelse */
    NODE_RETURN,    /* left or NULL */
    NODE_ASSERT,    /* condition, left = message or NULL */
    NODE_PASS, NODE_BREAK, NODE_CONTINUE,
    NODE_RAISE,     /* left or NULL */
    NODE_DELETE,    /* items */
    NODE_GLOBAL,    /* items: NODE_NAMEs; op NOT: nonlocal */
    NODE_WITH,      /* items: NODE_WITH_ITEM; body */
    NODE_WITH_ITEM, /* left as right (may be NULL) */
    NODE_TRY,       /* body; kept only to be refused with a message */
    NODE_IMPORT,    /* name: dotted module ("" for `from . import`), integer: leading dots,
                       is_from, items: NODE_ALIAS (empty with is_from: `*`) */
    NODE_ALIAS,     /* name (dotted for a plain import), alias or NULL */
    NODE_FUNCTION,  /* name, parameters, annotation (of the result), body, decorators */
    NODE_PARAMETER, /* name, annotation, left = default; op MUL: *name, op POW: **name; a bare `*`
                       has name NULL; keyword_only. (A `/` is checked and dropped.) */
    NODE_CLASS,     /* name, items = bases, body: as far as it could be parsed; used for constants
                       and named tuples at file level */
    NODE_KIND_COUNT
} NodeKind;

extern const char *const node_kind_names[NODE_KIND_COUNT]; /* "Name", "Int", ... for the dump */
extern const char *const operator_names[];                 /* "+", "<=", "is not", ... */

typedef struct Node Node;
struct Node {
    NodeKind kind;
    Operator op;
    Span span;     /* the whole node; its first line when it has several */
    Span op_span;  /* BINARY, UNARY, COMPARISON, AUGMENTED: the operator; CALL, ATTRIBUTE, KEYWORD,
                      PARAMETER, FUNCTION, CLASS: the name */
    Node *next;    /* in a list */

    const char *name; /* interned */
    const char *alias;
    Node *left, *right, *third, *condition;
    Node *items;
    Node *body, *orelse; /* lists of statements */
    Node *parameters, *annotation, *decorators;

    uint64_t integer; /* INT: low 64 bits; */
    uint64_t integer_high; /* bits 64..127; larger literals are refused */
    double number;
    const char *string; /* NUL-terminated, but may hold NULs: use string_length */
    uint32_t string_length;
    bool is_from, keyword_only, parenthesized;
    uint16_t height;  /* levels of nodes below and with this one; at most MAX_HEIGHT */
    uint16_t nesting; /* the same, not counting along chains (a + b + c, a.b.c, elif) */
};

/* What a file defines at its top level. Statements that no kernel can need (host code) are
 * skipped unread; the bodies of top-level `if`, `else`, `try`, `except`, `with`, `for` and `while`
 * are looked into, as if they stood at the top. Jit functions inside classes and inside other
 * functions are found too (`nested`). Order is that of the file, the outer one first. */
typedef enum ItemKind {
    ITEM_FUNCTION, /* def with a `jit` decorator: @triton.jit, @jit, @triton.jit(...), also below
                      @triton.autotune(...), @triton.heuristics(...); in a .tk file @jit and
                      @triton.jit alike */
    ITEM_HELPER,   /* any other def at top level: usable only where its body can be evaluated at
                      compile time (constexpr functions), parsed on demand */
    ITEM_CONSTANT, /* name = expression, name: annotation = expression, name += expression (the
                      node is ASSIGN, ANNOTATED or AUGMENTED); a = b = ... and a, b = ... give one
                      item with name NULL */
    ITEM_IMPORT,
    ITEM_CLASS
} ItemKind;

typedef struct Item Item;
struct Item {
    ItemKind kind;
    const char *name; /* interned; NULL: an import, or a tuple assignment */
    Span span;        /* of the name, or the first line */
    Node *node;       /* NULL: has a syntax error somewhere; `error` is the first one. The nodes of
                       * jit methods are in the body of their class too. */
    Diagnostic *error; /* kept, not reported: only a use of the item makes it an error. For a
                        * ITEM_FUNCTION it is reported at once. */
    bool conditional; /* inside a top-level if / try */
    bool nested;      /* ITEM_FUNCTION inside a class or a function */
    Item *next;
};

typedef struct File {
    uint32_t source;
    const char *path;
    Item *items;
    uint32_t function_count;
} File;

/* Parses a source. Always returns a file; what could not be read is in `diagnostics`, several
 * errors a run. Any bytes are accepted as input.
 *
 * More than MAX_NESTING brackets, blocks, operators inside each other are an error. Chains (1 + 1
 * + 1 ..., a.b.c ..., elif elif ...) are deep trees too, without being nested: no tree is higher
 * than MAX_HEIGHT, all counted, so a function that calls itself for each child is safe. Lists
 * (`next`) may have any length: walk them in a loop. */
enum { MAX_NESTING = 200, MAX_HEIGHT = 1000 };
File *parse_file(Arena *arena, Names *names, Sources *sources, Diagnostics *diagnostics,
                 uint32_t source);
/* One expression, e.g. from a -D option. NULL and a message when it is none. */
Node *parse_expression(Arena *arena, Names *names, Sources *sources, Diagnostics *diagnostics,
                       uint32_t source);

/* The tree as indented text, one node a line. */
void ast_print(const File *file, Text *out);

#endif
