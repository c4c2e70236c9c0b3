/* Tests of the parser (lang/ast.h): tokens, precedence, positions, messages, recovery, limits, and
 * what no text may do to it. The tree of whole files is tested in golden/ast. */
#include "lang/ast.h"
#include "tests/unit.h"

#include <time.h>

typedef struct Parsed {
    Context *context;
    Names names;
    File *file;
    Node *node; /* of an expression */
} Parsed;

static uint32_t add_text(Parsed *p, const char *text, size_t length) {
    p->context = context_new();
    p->names.arena = &p->context->arena;
    char *copy = arena_strndup(&p->context->arena, text, length);
    return sources_add(&p->context->sources, "test.tk", copy, length);
}

static Parsed *parse_bytes(const char *text, size_t length) {
    Parsed *p = calloc(1, sizeof *p);
    uint32_t source = add_text(p, text, length);
    Context *c = p->context;
    p->file = parse_file(&c->arena, &p->names, &c->sources, &c->diagnostics, source);
    return p;
}

static Parsed *parse_text(const char *text) {
    return parse_bytes(text, strlen(text));
}

static Parsed *parse_one(const char *text) {
    Parsed *p = calloc(1, sizeof *p);
    uint32_t source = add_text(p, text, strlen(text));
    Context *c = p->context;
    p->node = parse_expression(&c->arena, &p->names, &c->sources, &c->diagnostics, source);
    return p;
}

static void parsed_free(Parsed *p) {
    context_free(p->context);
    free(p);
}

/* "line:column message\n" for each error. */
static const char *errors_of(Parsed *p) {
    Text text = {.arena = &p->context->arena};
    text_puts(&text, "");
    for (const Diagnostic *d = p->context->diagnostics.first; d; d = d->next)
        text_printf(&text, "%u:%u %s\n", d->at.span.line, d->at.span.column, d->message);
    return text.data;
}

static Item *find_item(const Parsed *p, const char *name) {
    for (Item *item = p->file->items; item; item = item->next)
        if (item->name && strcmp(item->name, name) == 0) return item;
    return NULL;
}

/* An expression with all its parentheses. */
static void show(const Node *n, Text *out) {
    switch (n->kind) {
    case NODE_NAME: text_puts(out, n->name); return;
    case NODE_INT: text_printf(out, "%llu", (unsigned long long)n->integer); return;
    case NODE_FLOAT: text_printf(out, "%g", n->number); return;
    case NODE_STRING: text_printf(out, "'%s'", n->string); return;
    case NODE_UNARY: text_printf(out, "(%s ", operator_names[n->op]); break;
    case NODE_COMPARISON: text_printf(out, " %s ", operator_names[n->op]); break;
    case NODE_ATTRIBUTE:
        show(n->left, out);
        text_printf(out, ".%s", n->name);
        return;
    case NODE_BINARY:
    case NODE_NAMED:
        text_puts(out, "(");
        show(n->left, out);
        text_printf(out, " %s ", n->kind == NODE_NAMED ? ":=" : operator_names[n->op]);
        show(n->right, out);
        text_puts(out, ")");
        return;
    case NODE_CONDITIONAL:
        text_puts(out, "(");
        show(n->left, out);
        text_puts(out, " if ");
        show(n->condition, out);
        text_puts(out, " else ");
        show(n->right, out);
        text_puts(out, ")");
        return;
    default: text_printf(out, "%s(", node_kind_names[n->kind]);
    }
    const char *between = n->kind == NODE_BOOL ? operator_names[n->op] : "";
    const Node *children[] = {n->left, n->right, n->third, n->items};
    for (size_t i = 0; i < ARRAY_LENGTH(children); i++) {
        if (i == 1 && n->kind == NODE_SLICE) text_puts(out, ":");
        for (const Node *c = children[i]; c; c = c->next) {
            show(c, out);
            if (c->next)
                text_printf(out, n->kind == NODE_COMPARE ? "" : " %s%s", between,
                            *between ? " " : "");
            if (i < 3) break;
        }
    }
    if (n->kind != NODE_COMPARISON) text_puts(out, ")");
}

START_TEST(operators_bind_as_in_python) {
    static const char *const table[][2] = {
        {"a + b * c", "(a + (b * c))"},
        {"a * b + c", "((a * b) + c)"},
        {"a - b - c", "((a - b) - c)"},
        {"(a - (b - c))", "(a - (b - c))"},
        {"a ** b ** c", "(a ** (b ** c))"},
        {"-a ** b", "(- (a ** b))"},
        {"a ** -b ** c", "(a ** (- (b ** c)))"},
        {"-a * b", "((- a) * b)"},
        {"~a.b", "(~ a.b)"},
        {"a << b + c", "(a << (b + c))"},
        {"a & b << c", "(a & (b << c))"},
        {"a ^ b & c", "(a ^ (b & c))"},
        {"a | b ^ c", "(a | (b ^ c))"},
        {"a // b % c @ d", "(((a // b) % c) @ d)"},
        {"a | b == c", "Compare((a | b) == c)"},
        {"a < b <= c", "Compare(a < b <= c)"},
        {"a is not b", "Compare(a is not b)"},
        {"a not in b", "Compare(a not in b)"},
        {"not a in b", "(not Compare(a in b))"},
        {"not a == b", "(not Compare(a == b))"},
        {"not not a", "(not (not a))"},
        {"a and b or c and d", "Bool(Bool(a and b) or Bool(c and d))"},
        {"a or b or c", "Bool(a or b or c)"},
        {"(a or b) or c", "Bool(Bool(a or b) or c)"},
        {"a or not b", "Bool(a or (not b))"},
        {"a if b else c if d else e", "(a if b else (c if d else e))"},
        {"a or b if c and d else e", "(Bool(a or b) if Bool(c and d) else e)"},
        {"a.b.c", "a.b.c"},
        {"-a.b[c](d)", "(- Call(Subscript(a.bc)d))"},
        {"a, b", "Tuple(a b)"},
        {"a,", "Tuple(a)"},
        {"()", "Tuple()"},
        {"(a)", "a"},
        {"(a := b)", "(a := b)"},
        {"x[a:b, :c, None]", "Subscript(xTuple(Slice(a:b) Slice(:c) None()))"},
        {"[a, *b]", "List(a Starred(b))"},
        {"1 if x else 2", "(1 if x else 2)"},
        {"1if x else 2", "(1 if x else 2)"},
        {"1 .real", "1.real"},
        {"'a' \"b\" '''c'''", "'abc'"},
        {" \n a \n + b \n", "(a + b)"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i][0]);
        ck_assert_msg(p->node != NULL, "%s: %s", table[i][0], errors_of(p));
        Text text = {.arena = &p->context->arena};
        show(p->node, &text);
        ck_assert_str_eq(text.data, table[i][1]);
        parsed_free(p);
    }
}
END_TEST

START_TEST(integers) {
    static const struct {
        const char *text;
        uint64_t high, low;
    } table[] = {
        {"0", 0, 0},
        {"00", 0, 0},
        {"1_000", 0, 1000},
        {"0xFf", 0, 255},
        {"0x_ff", 0, 255},
        {"0o17", 0, 15},
        {"0b1_01", 0, 5},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", 1, 0},
        {"0xffffffffffffffffffffffffffffffff", UINT64_MAX, UINT64_MAX},
        {"340282366920938463463374607431768211455", UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i].text);
        ck_assert_msg(p->node && p->node->kind == NODE_INT, "%s", table[i].text);
        ck_assert_uint_eq(p->node->integer, table[i].low);
        ck_assert_uint_eq(p->node->integer_high, table[i].high);
        parsed_free(p);
    }
}
END_TEST

START_TEST(floats) {
    static const struct {
        const char *text;
        double value;
    } table[] = {{"1.", 1.0},          {".5", 0.5},
                 {"1e-5", 1e-5},       {"1_000.0", 1000.0},
                 {"1E3", 1e3},         {"1.5e+1_0", 1.5e10},
                 {"01.5", 1.5},        {"0.1", 0.1},
                 {"1e400", 1.0 / 0.0}, {"4.9e-324", 4.9e-324},
                 {"00e0", 0.0}};
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i].text);
        ck_assert_msg(p->node && p->node->kind == NODE_FLOAT, "%s", table[i].text);
        ck_assert_msg(p->node->number == table[i].value, "%s", table[i].text);
        parsed_free(p);
    }
}
END_TEST

START_TEST(strings) {
    static const struct {
        const char *text, *value;
        uint32_t length;
    } table[] = {
        {"'a\"b'", "a\"b", 3},
        {"\"\"\"a\n\"b\"\"\"", "a\n\"b", 4},
        {"'''a\r\nb'''", "a\nb", 3},
        {"''", "", 0},
        {"''''''", "", 0},
        {"'\\n\\t\\\\\\'\\a\\0'", "\n\t\\'\a\0", 6},
        {"'\\x41\\101\\u00e9\\U0001F600'", "AA\xc3\xa9\xf0\x9f\x98\x80", 8},
        {"'\\N{BULLET}\\q'", "\\N{BULLET}\\q", 12},
        {"r'\\n\\''", "\\n\\'", 4},
        {"b'\\xff'", "\xff", 1},
        {"Rb'\\x'", "\\x", 2},
        {"u'a' R'\\b'", "a\\b", 3},
        {"'a\\\nb'", "ab", 2},
        {"'a' # x\n 'b'", "ab", 2},
        {"f'{{a}}'", "{a}", 3},
        {"'\xc3\xa9'", "\xc3\xa9", 2},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i].text);
        ck_assert_msg(p->node && p->node->kind == NODE_STRING, "%s: %s", table[i].text,
                      errors_of(p));
        ck_assert_uint_eq(p->node->string_length, table[i].length);
        ck_assert_mem_eq(p->node->string, table[i].value, table[i].length + 1);
        parsed_free(p);
    }
}
END_TEST

/* FString as text: strings as they are, fields as <expression|format>. */
START_TEST(f_strings) {
    static const char *const table[][2] = {
        {"f'a{b}c'", "a<b|>c"},
        {"f'{a}{b}'", "<a|><b|>"},
        {"f'{{{a}}}'", "{<a|>}"},
        {"f'{a + b:>{w}.{p}f}'", "<(a + b)|>{w}.{p}f>"},
        {"f'{a!r:x}'", "<a|x>"},
        {"f'{a = }'", "a = <a|>"},
        {"f'{a=!r}'", "a=<a|>"},
        {"f'{a == b}'", "<Compare(a == b)|>"},
        {"f'{a != b}'", "<Compare(a != b)|>"},
        {"f'{a[\"b\"]}'", "<Subscript(a'b')|>"},
        {"f'{a['b']}'", "<Subscript(a'b')|>"}, /* the same quotes inside */
        {"f'{x[1:2]}'", "<Subscript(xSlice(1:2))|>"},
        {"'a' f'{b}' 'c' f'{d}'", "a<b|>c<d|>"},
        {"rf'\\n{a}'", "\\n<a|>"},
        {"f'\\N{DASH}{a}'", "\\N{DASH}<a|>"},
        {"f'''{\na\n}'''", "<a|>"},
        {"f'{ {1, 2} }'", "<Set(1 2)|>"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i][0]);
        ck_assert_msg(p->node && p->node->kind == NODE_FSTRING, "%s: %s", table[i][0],
                      errors_of(p));
        Text text = {.arena = &p->context->arena};
        for (const Node *n = p->node->items; n; n = n->next) {
            if (n->kind == NODE_STRING) {
                text_puts(&text, n->string);
                continue;
            }
            ck_assert_int_eq(n->kind, NODE_FORMAT);
            text_puts(&text, "<");
            show(n->left, &text);
            text_printf(&text, "|%s>", n->name ? n->name : "");
        }
        ck_assert_str_eq(text.data, table[i][1]);
        parsed_free(p);
    }
}
END_TEST

START_TEST(what_is_no_expression) {
    static const char *const table[][2] = {
        {"", "1:1 expected an expression, but the line ends\n"},
        {"a b", "1:3 expected an operator or a new line before `b`\n"},
        {"(a", "1:1 this `(` is never closed\n"},
        {"a)", "1:2 `)` closes nothing\n"},
        {"a +", "1:4 expected an expression after `+`, but the line ends\n"},
        {"012", "1:1 a decimal number cannot start with 0; octal numbers are written 0o12\n"},
        {"0x1_0000_0000_0000_0000_0000_0000_0000_0000",
         "1:1 this integer needs more than 128 bits\n"},
        {"3j", "1:1 imaginary numbers are not part of the language\n"},
        {"'\\xg'", "1:2 `\\x` needs 2 hexadecimal digits that name a character\n"},
        {"f'{a b}'", "1:6 expected an operator before `b`\n"},
        {"f'{}'", "1:3 this field of the f-string is empty\n"},
        {"a = 1", "1:3 `=` assigns, and cannot stand here; to compare, write `==`\n"},
        {"*a", "1:1 `*` needs a list, a tuple or a call around it; a tuple of one ends in `,`\n"},
        {"\xff", "1:1 these bytes are not UTF-8 text\n"},
        {"a\xc2\xa0", "1:2 the character U+00A0 cannot stand here (a space that is none; write a "
                      "plain space)\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_one(table[i][0]);
        ck_assert_ptr_null(p->node);
        ck_assert_str_eq(errors_of(p), table[i][1]);
        parsed_free(p);
    }
}
END_TEST

START_TEST(every_form_of_line) {
    static const char *const table[] = {
        "@jit\ndef f(x):\n    a = x\n    return a", /* no newline at the end */
        "@jit\r\ndef f(x):\r\n    a = x\r\n    return a\r\n",
        "\xEF\xBB\xBF@jit\ndef f(x):\n\ta = x\n\treturn a\n",
        "@jit\ndef f(x):\n    a = x\n\f\n    return a\n# end",
        "@jit\n\n# comment\ndef f(x):\n  # comment\n    a = \\\n  x\n      # deeper\n    return "
        "a\n",
        "@jit\ndef f(\n  x,\n):\n    a = (\nx\n)\n    return a\n",
        "@jit\ndef f(x): a = x; return a;\n",
        "@jit\ndef f(x):\n    a = x; return a\n",
        "if True:\n    @jit\n    def f(x):\n        a = x\n        return a\n",
        "class A:\n  @jit\n  def f(x):\n    a = x\n    return a\n",
        "def make():\n  @jit\n  def f(x):\n    a = x\n    return a\n  return f\n",
        "x = foo(1,\n@jit\ndef f(x):\n    a = x\n    return a\n", /* a bracket left open above */
        "\"\"\"text\n  @jit\n\"\"\"\n@jit\ndef f(x):\n    a = x\n    return a\n",
        "@a.jit(b, c=[1])\n@d\ndef f(x):\n    a = x\n    return a\n",
        "@(a b)\n@jit\ndef f(x):\n    a = x\n    return a\n", /* one bad decorator */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        Parsed *p = parse_text(table[i]);
        ck_assert_msg(p->context->diagnostics.errors == 0, "%s\n%s", table[i], errors_of(p));
        const Item *item = find_item(p, "f");
        ck_assert_msg(item && item->kind == ITEM_FUNCTION && item->node, "%s", table[i]);
        ck_assert_uint_eq(p->file->function_count, 1);
        const Node *body = item->node->body;
        ck_assert_msg(body && body->next && !body->next->next, "%s", table[i]);
        ck_assert_int_eq(body->kind, NODE_ASSIGN);
        ck_assert_int_eq(body->next->kind, NODE_RETURN);
        parsed_free(p);
    }
}
END_TEST

START_TEST(items_of_a_file) {
    Parsed *p = parse_text("import a.b as c\nA, B = 1, 2\nC: int = 3\nC += 1\nd.e = 4\nf[0] = 5\n"
                           "print('x')\nclass K(T):\n    x: int\n    y = 2\n    class L: pass\n"
                           "    @jit\n    def m(self): pass\ndef h(): yield 1\n"
                           "try:\n    G = 1\nexcept E:\n    G = None\nelse: H = 2\n"
                           "@numba.jit\ndef n(): pass\n@my_jit\ndef o(): pass\n"
                           "async def q(): pass\nZ = 1 1\n");
    Text text = {.arena = &p->context->arena};
    for (const Item *i = p->file->items; i; i = i->next)
        text_printf(&text, "%d%s%s%s%s ", i->kind, i->name ? i->name : "-", i->node ? "" : "!",
                    i->conditional ? "?" : "", i->nested ? "^" : "");
    ck_assert_str_eq(text.data, "3- 2- 2C 2C 4K 0m^ 1h! 2G? 2G? 2H? 1n 0o 2Z! ");
    ck_assert_uint_eq(p->context->diagnostics.errors, 0);
    ck_assert_uint_eq(p->file->function_count, 2);
    ck_assert_int_eq(find_item(p, "C")->next->node->kind, NODE_AUGMENTED);
    ck_assert_str_eq(find_item(p, "h")->error->message, "`yield` is not part of the language");
    const Node *body = find_item(p, "K")->node->body;
    ck_assert_int_eq(body->kind, NODE_ANNOTATED);
    ck_assert_ptr_eq(body->next->next, find_item(p, "m")->node);
    parsed_free(p);
}
END_TEST

static Span span_of_last(Parsed *p, NodeKind kind) { /* expression of the return */
    const Node *n = find_item(p, "f")->node->body;
    while (n->next) n = n->next;
    n = n->left;
    ck_assert_int_eq(n->kind, kind);
    return n->span;
}

START_TEST(positions) {
    static const struct {
        const char *expression;
        NodeKind kind;
        uint16_t column, length;
    } table[] = {
        {"a + b", NODE_BINARY, 12, 5},
        {"(a + b) * c", NODE_BINARY, 12, 11},
        {"(a + b)", NODE_BINARY, 13, 5},
        {"tl.load(x, mask=y)", NODE_CALL, 12, 18},
        {"x[:, None]", NODE_SUBSCRIPT, 12, 10},
        {"foo(a,\n   b)", NODE_CALL, 12, 6}, /* several lines: the first */
        {"'''a\nb'''", NODE_STRING, 12, 4},
        {"not  x", NODE_UNARY, 12, 6},
        {"1, 2", NODE_TUPLE, 12, 4},
        {"(1, 2)", NODE_TUPLE, 12, 6},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char text[128];
        snprintf(text, sizeof text, "@jit\ndef f():\n    return %s  # x\n", table[i].expression);
        Parsed *p = parse_text(text);
        Span span = span_of_last(p, table[i].kind);
        ck_assert_msg(span.line == 3 && span.column == table[i].column &&
                          span.length == table[i].length,
                      "%s: %u:%u +%u", table[i].expression, span.line, span.column, span.length);
        parsed_free(p);
    }
}
END_TEST

#define KERNEL "@jit\ndef k(x, y):\n"

START_TEST(errors_say_what_is_wrong) {
    static const char *const table[][2] = {
        {"    if x\n        y = 1\n    y = 2 2\n",
         "3:9 expected `:` at the end of this `if`\n"
         "5:11 expected an operator or a new line before `2`\n"},
        {"    if x = 3:\n        y = 1\n    else:\n        y = 2\n",
         "3:10 `=` assigns, and cannot stand here; to compare, write `==`\n"},
        {"    a = f(x, y\n    b = 2\n    c = 3 3\n",
         "3:10 this `(` is never closed\n5:11 expected an operator or a new line before `3`\n"},
        {"    a = f(x,\n        y\n    b = 2\n", "3:10 this `(` is never closed\n"},
        {"    a = f(x]\n    b = 2 2\n", "3:12 `]` does not close the `(` opened at line 3\n"
                                        "4:11 expected an operator or a new line before `2`\n"},
        {"    a = 1\n        b = 2\n    c = 3\n",
         "4:9 this line is indented, but nothing opened a block before it\n"},
        {"        a = 1\n    b = 2\n", "4:5 this line is indented like no block around it\n"},
        {"    if x:\n    y = 1\n",
         "3:5 the lines below this `if` must be indented (a block needs at least `pass`)\n"},
        {"    a = 'b\n    c = 1 1\n", "3:9 this string is not closed before its line ends\n"
                                      "4:11 expected an operator or a new line before `1`\n"},
        {"    if x: y\n    else if y: x\n", "4:10 `else if` is written `elif`\n"},
        {"    else:\n        a = 1\n", "3:5 this `else` belongs to no block above it\n"},
        {"    f(x) = 1\n    x + y = 2\n    None = 3\n    for 1 in x: pass\n",
         "3:5 cannot assign to the result of a call\n4:5 cannot assign to an expression\n"
         "5:5 cannot assign to `None`\n6:9 cannot loop over a literal\n"},
        {"    f(a=1, 2)\n    f(a=1, a=2)\n    f(x.y=1)\n    f(x y)\n    f(,)\n",
         "3:12 an argument without a name stands behind one with a name\n"
         "4:12 argument `a=` is given twice\n"
         "5:10 only a plain name can stand before `=` in a call; to compare, write `==`\n"
         "6:9 expected `,` or an operator between `x` and `y`\n"
         "7:7 expected an expression, but found `,`\n"},
        {"    a = x if y\n    for i of x: pass\n    lambda = 3\n    x++\n    b = x && y\n",
         "3:15 expected `else`: an `if` inside an expression has two sides, `a if x else b`\n"
         "4:11 expected `in`\n5:5 `lambda` is a keyword and cannot be a name\n"
         "6:8 expected an expression after `+`, but the line ends\n"
         "7:12 expected an expression after `&`, but found `&`\n"},
        {"    yield x\n    a = !x\n",
         "3:5 `yield` is not part of the language\n"
         "4:9 `!` means nothing here; write `not`, or `!=` to compare\n"},
        {"    b = (x as y)\n", "3:12 `as` can only stand in `with` and `import`\n"},
        {"\ta = 1\n        b = 2\n",
         "4:9 tabs and spaces are mixed here, so that the indentation depends on how wide a tab "
         "is\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char text[512];
        snprintf(text, sizeof text, KERNEL "%s\n@jit\ndef after(): pass\n", table[i][0]);
        Parsed *p = parse_text(text);
        ck_assert_str_eq(errors_of(p), table[i][1]);
        ck_assert_ptr_null(find_item(p, "k")->node);
        ck_assert_ptr_nonnull(find_item(p, "k")->error);
        ck_assert_msg(find_item(p, "after") && find_item(p, "after")->node, "%s", text);
        parsed_free(p);
    }
}
END_TEST

START_TEST(parameters_are_checked) {
    static const char *const table[][2] = {
        {"a, b=1, *, c, d=2, **e", ""},
        {"a, /, b, *c, d", ""},
        {"a=1, b", "2:12 parameter `b` needs a default, since one before it has one\n"},
        {"a, a", "2:10 there are two parameters `a`\n"},
        {"*", "2:7 a bare `*` needs a parameter behind it\n"},
        {"**a, b", "2:12 no parameter can stand behind `**a`\n"},
        {"*a, *b", "2:11 only one parameter can have a `*`\n"},
        {"/, a", "2:7 `/` stands once, behind the parameters that are given by position only\n"},
        {"class", "2:7 `class` is a keyword and cannot be a name\n"},
        {"a b", "2:9 expected `,` or an operator between `a` and `b`\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char text[128];
        snprintf(text, sizeof text, "@jit\ndef f(%s): pass\n", table[i][0]);
        Parsed *p = parse_text(text);
        ck_assert_str_eq(errors_of(p), table[i][1]);
        for (Node *n = i == 0 ? find_item(p, "f")->node->parameters : NULL; n; n = n->next)
            ck_assert(n->keyword_only == (n->name && (*n->name == 'c' || *n->name == 'd')));
        parsed_free(p);
    }
}
END_TEST

static char *repeated(const char *before, const char *unit, size_t count, const char *after) {
    size_t a = strlen(before), u = strlen(unit), z = strlen(after);
    char *text = malloc(a + u * count + z + 1);
    memcpy(text, before, a);
    for (size_t i = 0; i < count; i++) memcpy(text + a + i * u, unit, u);
    memcpy(text + a + u * count, after, z + 1);
    return text;
}

START_TEST(depth_is_limited) {
    static const char deep[] = "nested deeper than 200 levels";
    static const char chain[] = "this is a chain of more than 1000 links; split it";
    static const struct {
        const char *before, *unit, *after;
        size_t good, bad;
        const char *message;
    } table[] = {
        {"a = ", "(", "x", 0, 100000, deep},
        {"a = ", "[", "x", 0, 201, deep},
        {"a = ", "not ", "x", 150, 100000, deep},
        {"a = ", "-", "x", 150, 201, deep},
        {"a = ", "-", "x", 150, 100000, deep},
        {"a = ", "lambda: ", "x", 150, 20000, deep},
        {"a = ", "x if y else ", "x", 150, 20000, deep},
        {"a = x", " ** x", "", 150, 20000, deep},
        {"a = x", ".b", "", 900, 10000, chain},
        {"a = x", "[0]", "", 900, 10000, chain},
        {"a = x", "(0)", "", 900, 10000, chain},
        {"a = 1", " + 1", "", 900, 10000, chain},
        {"if x: y\n", "    elif x: y\n", "", 500, 100000, chain},
        {"a = x", " and x", "", 100000, 0, NULL},
        {"a = x", " < x", "", 100000, 0, NULL},
        {"a = [x", ", x", "]", 100000, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char before[64];
        snprintf(before, sizeof before, KERNEL "    %s", table[i].before);
        char *text = repeated(before, table[i].unit, table[i].good, table[i].after);
        Parsed *p = parse_text(text);
        ck_assert_msg(p->context->diagnostics.errors == 0, "%s: %s", table[i].unit, errors_of(p));
        ck_assert_uint_le(find_item(p, "k")->node->height, MAX_HEIGHT);
        parsed_free(p);
        free(text);
        if (!table[i].bad) continue;
        text = repeated(before, table[i].unit, table[i].bad, table[i].after);
        p = parse_text(text);
        ck_assert_uint_eq(p->context->diagnostics.errors, 1);
        ck_assert_str_eq(p->context->diagnostics.first->message, table[i].message);
        parsed_free(p);
        free(text);
    }
}
END_TEST

START_TEST(blocks_are_limited) {
    for (int depth = 150; depth <= 300; depth += 150) {
        Text text = {.arena = &context_new()->arena};
        text_puts(&text, KERNEL);
        for (int i = 1; i <= depth; i++) text_printf(&text, "%*sif x:\n", i, "");
        text_printf(&text, "%*spass\n", depth + 1, "");
        Parsed *p = parse_text(text.data);
        ck_assert_str_eq(errors_of(p),
                         depth == 150 ? "" : "203:202 nested deeper than 200 levels\n");
        parsed_free(p);
        context_free((Context *)text.arena);
    }
}
END_TEST

START_TEST(bytes_that_are_no_text) {
    Parsed *p = parse_bytes("a = 1\nb = '\0'\n@jit\ndef f(): pass\n", 34);
    ck_assert_str_eq(errors_of(p), "2:6 there is a NUL byte here: this is no source text\n");
    parsed_free(p);
    char *junk = repeated("x\n", "\xff ", 1000, "\n");
    p = parse_text(junk);
    ck_assert_str_eq(errors_of(p),
                     "2:1 from here on there are many bytes that are no text in UTF-8\n");
    parsed_free(p);
    free(junk);
    p = parse_text("# \xff\xfe\nx = '\xff'\n@jit\ndef f(): pass\n"); /* another encoding */
    ck_assert_uint_eq(p->context->diagnostics.errors, 0);
    ck_assert_uint_eq(p->file->function_count, 1);
    parsed_free(p);
    p = parse_text("x = \"\"\"open\n@jit\ndef f(): pass\n");
    ck_assert_str_eq(errors_of(p), "1:5 this string is never closed: the three quotes that end it "
                                   "are missing\n");
    parsed_free(p);
}
END_TEST

/* ---- any bytes --------------------------------------------------------------------------- */

static const char good_source[] =
    "import triton\nimport triton.language as tl\nN: tl.constexpr = 4\n"
    "class C:\n    A = 1\n    @triton.jit\n    def m(x): return x\n"
    "@triton.autotune(configs=[triton.Config({'A': i}) for i in (1, 2)], key=['n'])\n"
    "@triton.jit\ndef k(x, y: tl.constexpr = 1, *, z=None, **w) -> int:\n"
    "    '''text'''\n    a, (b, *c) = x[:, None], y[1:2, ::3, ...]\n"
    "    if a < b <= c and not x or y is not None:\n        a += -x ** 2 // ~y\n"
    "    elif (n := 10) > 5: a = 1; b = 2\n    else:\n"
    "        for i in tl.range(0, 10, num_stages=3):\n"
    "            acc = tl.dot(x, y,\n                acc=acc, *a, **b)\n"
    "        while x: x -= 1\n    z = f\"a{x!r:>{w}}{y=}{f'{z}'}\" r'\\n' \"\"\"c\n\"\"\"\n"
    "    f = lambda u, v=1: u if v else 2\n    with (a as b, c as d): pass\n"
    "    return 0x1F, 1e-3, [i for i in x if i], {1: 2, **k}, {1, 2}, ()\n"
    "try:\n    import q\nexcept E: pass\n";

/* Every node is within its limits and on a line that exists. */
static void check_tree(const Node *n, uint32_t lines) {
    for (; n; n = n->next) {
        ck_assert_uint_le(n->height, MAX_HEIGHT);
        ck_assert(n->span.line >= 1 && n->span.line <= lines && n->span.column >= 1 &&
                  n->span.length >= 1);
        const Node *children[] = {n->left, n->right,  n->third,      n->condition,  n->items,
                                  n->body, n->orelse, n->parameters, n->annotation, n->decorators};
        for (size_t i = 0; i < ARRAY_LENGTH(children); i++) check_tree(children[i], lines);
    }
}

static void parse_anything(const char *text, size_t length) {
    Parsed *p = parse_bytes(text, length);
    Context *c = p->context;
    uint32_t functions = 0;
    for (Item *i = p->file->items; i; i = i->next) {
        functions += i->kind == ITEM_FUNCTION;
        ck_assert((i->node == NULL) == (i->error != NULL));
        if (i->kind == ITEM_FUNCTION && i->error) ck_assert_uint_gt(c->diagnostics.errors, 0);
        if (!i->node) continue;
        Node alone = *i->node;
        alone.next = NULL;
        check_tree(&alone, c->sources.list.data[0].line_count);
    }
    ck_assert_uint_eq(functions, p->file->function_count);
    Text text_out = {.arena = &c->arena};
    ast_print(p->file, &text_out);
    (void)context_messages(c);
    parsed_free(p);
}

START_TEST(changed_sources) {
    static const char *const pieces[] = {
        "(",      ")",      "[",    "]",    "{",    "}",  "\n",   "\n    ",  "'",
        "\"",     "\"\"\"", "f'",   "{",    ":",    "=",  ",",    "\\\n",    "def ",
        "@jit\n", "if ",    "else", " in ", "not ", "*",  "**",   "lambda ", "#",
        "0x",     "1.",     ";",    "\t",   "\r\n", "\f", "\xc3", "as ",     "."};
    uint64_t random = random_seed(0x7061727365);
    size_t length = sizeof good_source - 1;
    parse_anything(good_source, length);
    for (int round = 0; round < 4000; round++) {
        char text[4096];
        size_t n = length;
        memcpy(text, good_source, n);
        for (uint32_t changes = 1 + random_next(&random) % 5; changes-- > 0;) {
            size_t at = random_next(&random) % n, size = 1 + random_next(&random) % 12;
            if (at + size > n) size = n - at;
            const char *piece = pieces[random_next(&random) % ARRAY_LENGTH(pieces)];
            switch (random_next(&random) % 4) {
            case 0: text[at] = (char)random_next(&random); break;
            case 1: /* cut */
                memmove(text + at, text + at + size, n - at - size);
                n -= size;
                break;
            default: /* put something in */
                memmove(text + at + strlen(piece), text + at, n - at);
                memcpy(text + at, piece, strlen(piece));
                n += strlen(piece);
            }
        }
        if (random_next(&random) % 8 == 0) n = random_next(&random) % n; /* cut short */
        parse_anything(text, n);
    }
}
END_TEST

START_TEST(large_inputs_take_no_time) {
    size_t size = 5000000;
    char *text = malloc(size);
    uint64_t random = random_seed(5);
    static const char *const units[] = {
        NULL, "random", "(\n", "f'{('", "@jit\n", "\"\"\"x", "[(", "x x;", "f(x,\n  y\nreturn\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        if (i < 2) { /* any bytes; any bytes but NUL */
            for (size_t k = 0; k < size; k++)
                text[k] = (char)(i == 0 ? random_next(&random) : 1 + random_next(&random) % 127);
        } else {
            size_t unit = strlen(units[i]);
            for (size_t k = 0; k < size; k++) text[k] = units[i][k % unit];
        }
        clock_t start = clock();
        parse_anything(text, size);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        seconds /= 10;
#endif
        ck_assert_msg(seconds < 2, "input %zu took %.2f s", i, seconds);
    }
    free(text);
}
END_TEST

UNIT_MAIN("parse", operators_bind_as_in_python, integers, floats, strings, f_strings,
          what_is_no_expression, every_form_of_line, items_of_a_file, positions,
          errors_say_what_is_wrong, parameters_are_checked, depth_is_limited, blocks_are_limited,
          bytes_that_are_no_text, changed_sources, large_inputs_take_no_time)
