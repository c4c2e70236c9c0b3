/* ast.c: making nodes, the checks that the grammar leaves to it, and the dump.
 *
 * Nodes are made from the leaves up, so each is measured once, when its children are complete:
 * that is how the depth of a tree is bounded before anything walks it.
 */
#include "lang/parse_internal.h"
#include "parse.h"

/* ---- making ------------------------------------------------------------------------------ */

const char *token_name(Parser *parser, const Token *token) {
    return intern(parser->names, parser->text + token->begin, token->end - token->begin);
}

void list_add(NodeList *list, Node *node) {
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
}

Node *node_new(Parser *parser, NodeKind kind, Place place) {
    Node *node = arena_new(parser->arena, Node);
    node->kind = kind;
    node->span = place_span(parser, place);
    return node;
}

static void measure(Node *node, const Node *list, bool chain) {
    for (const Node *child = list; child; child = child->next) {
        uint16_t nesting = (uint16_t)(child->nesting + !chain);
        if (child->height >= node->height) node->height = (uint16_t)(child->height + 1);
        if (nesting > node->nesting) node->nesting = nesting;
    }
}

Node *node_close(Parser *parser, Node *node) {
    bool chain = node->kind == NODE_BINARY || node->kind == NODE_ATTRIBUTE ||
                 node->kind == NODE_CALL || node->kind == NODE_SUBSCRIPT;
    node->height = 1;
    measure(node, node->left, chain);
    measure(node, node->right, false);
    measure(node, node->third, false);
    measure(node, node->condition, false);
    measure(node, node->items, false);
    measure(node, node->body, false);
    measure(node, node->orelse, node->orelse && !node->orelse->next);
    measure(node, node->parameters, false);
    measure(node, node->annotation, false);
    parse_check_depth(parser, node);
    return node;
}

Node *node_of(Parser *parser, NodeKind kind, Place place, Node *left, Node *right) {
    Node *node = node_new(parser, kind, place);
    node->left = left;
    node->right = right;
    return node_close(parser, node);
}

Node *node_operator(Parser *parser, NodeKind kind, Place place, Operator op, Place op_place,
                    Node *left, Node *right) {
    Node *node = node_new(parser, kind, place);
    node->op = op;
    node->op_span = place_span(parser, op_place);
    node->left = left;
    node->right = right;
    return node_close(parser, node);
}

Node *node_named(Parser *parser, NodeKind kind, Place place, const Token *name, Node *left) {
    Node *node = node_new(parser, kind, place);
    node->name = token_name(parser, name);
    node->op_span = token_span(parser, name);
    node->left = left;
    return node_close(parser, node);
}

Node *node_items(Parser *parser, NodeKind kind, Place place, NodeList items) {
    Node *node = node_new(parser, kind, place);
    node->items = items.first;
    return node_close(parser, node);
}

/* ---- expressions ------------------------------------------------------------------------- */

Node *make_sequence(Parser *parser, Place place, NodeList items) {
    if (items.first->next) return node_items(parser, NODE_TUPLE, place, items);
    if (items.first->kind == NODE_STARRED)
        parse_error(parser, items.first->span,
                    "`*` needs a list, a tuple or a call around it; a tuple of one ends in `,`");
    return items.first;
}

/* Names are compared pairwise; nothing that people write has more than this. */
enum { MOST_COMPARED = 256 };

Node *make_call(Parser *parser, Place place, Node *callee, NodeList arguments) {
    Node *node = node_new(parser, NODE_CALL, place);
    node->left = callee;
    node->items = arguments.first;
    bool named = callee->kind == NODE_NAME || callee->kind == NODE_ATTRIBUTE;
    node->op_span = named ? callee->op_span : callee->span;
    const Node *keyword = NULL;
    uint32_t count = 0;
    for (const Node *n = arguments.first; n; n = n->next, count++) {
        if (n->kind == NODE_KEYWORD) {
            if (!keyword) keyword = n;
            for (const Node *m = keyword; n->name && m != n && count < MOST_COMPARED; m = m->next)
                if (m->kind == NODE_KEYWORD && m->name == n->name) {
                    parse_error(parser, n->op_span, "argument `%s=` is given twice", n->name);
                    parse_note(parser, m->op_span, "the first one is here");
                    break;
                }
        } else if (keyword && n->kind != NODE_STARRED) {
            parse_error(parser, n->span,
                        "an argument without a name stands behind one with a name");
            parse_note(parser, keyword->span, "this one has a name");
            break;
        }
    }
    return node_close(parser, node);
}

Node *make_slice(Parser *parser, Place place, Node *lower, Node *upper, Node *step) {
    Node *node = node_new(parser, NODE_SLICE, place);
    node->left = lower;
    node->right = upper;
    node->third = step;
    return node_close(parser, node);
}

Node *make_comprehension(Parser *parser, Place place, const char *kind, Node *element,
                         NodeList clauses) {
    Node *node = node_new(parser, NODE_COMPREHENSION, place);
    node->name = intern_string(parser->names, kind);
    node->left = element;
    node->items = clauses.first;
    return node_close(parser, node);
}

/* ---- targets ----------------------------------------------------------------------------- */

static const char *target_problem(const Node *node) {
    switch (node->kind) {
    case NODE_CALL: return "the result of a call";
    case NODE_INT:
    case NODE_FLOAT:
    case NODE_STRING:
    case NODE_FSTRING: return "a literal";
    case NODE_TRUE: return "`True`";
    case NODE_FALSE: return "`False`";
    case NODE_NONE: return "`None`";
    case NODE_ELLIPSIS: return "`...`";
    case NODE_COMPARE: return "a comparison";
    case NODE_CONDITIONAL: return "a conditional expression";
    case NODE_LAMBDA: return "a lambda";
    case NODE_COMPREHENSION: return "a comprehension";
    default: return "an expression";
    }
}

void check_target(Parser *parser, const Node *node, const char *verb) {
    switch (node->kind) {
    case NODE_NAME:
    case NODE_ATTRIBUTE:
    case NODE_SUBSCRIPT: return;
    case NODE_STARRED: check_target(parser, node->left, verb); return;
    case NODE_TUPLE:
    case NODE_LIST: {
        const Node *star = NULL;
        for (const Node *n = node->items; n; n = n->next) {
            if (n->kind == NODE_STARRED && star)
                parse_error(parser, n->span, "only one target can have a `*`");
            if (n->kind == NODE_STARRED) star = n;
            check_target(parser, n, verb);
        }
        return;
    }
    default: parse_error(parser, node->span, "cannot %s %s", verb, target_problem(node));
    }
}

Node *make_assign(Parser *parser, Place place, NodeList targets, Node *value) {
    Node *node = node_new(parser, NODE_ASSIGN, place);
    for (const Node *n = targets.first; n; n = n->next) check_target(parser, n, "assign to");
    if (targets.first == targets.last)
        node->left = targets.first;
    else
        node->items = targets.first;
    node->right = value;
    return node_close(parser, node);
}

Node *make_annotated(Parser *parser, Place place, Node *target, Node *type, Node *value) {
    Node *node = node_new(parser, NODE_ANNOTATED, place);
    check_target(parser, target, "annotate");
    if (target->kind == NODE_TUPLE || target->kind == NODE_LIST)
        parse_error(parser, target->span, "only one name can be annotated at a time");
    node->left = target;
    node->annotation = type;
    node->right = value;
    return node_close(parser, node);
}

/* ---- statements -------------------------------------------------------------------------- */

Node *make_if(Parser *parser, Place place, Node *condition, NodeList body, NodeList orelse) {
    Node *node = node_new(parser, NODE_IF, place);
    node->condition = condition;
    node->body = body.first;
    node->orelse = orelse.first;
    return node_close(parser, node);
}

/* `with (a as x, b as y):` was read as a tuple; its members become the items. */
Node *make_with(Parser *parser, Place place, NodeList items, Node *body) {
    NodeList all = {0};
    for (Node *n = items.first, *next; n; n = next) {
        next = n->next;
        n->next = NULL;
        bool tuple = n->kind == NODE_TUPLE && n->parenthesized && n->items;
        Node *members = tuple ? n->items : n;
        for (Node *m = members, *after; m; m = after) {
            after = m->next;
            m->next = NULL;
            if (m->kind == NODE_WITH_ITEM) {
                parser->as_used += m->parenthesized || tuple;
            } else {
                Node *item = node_new(parser, NODE_WITH_ITEM, place);
                item->span = m->span;
                item->left = m;
                m = node_close(parser, item);
            }
            list_add(&all, m);
        }
    }
    Node *node = node_new(parser, NODE_WITH, place);
    node->items = all.first;
    node->body = body;
    return node_close(parser, node);
}

Node *make_parameter(Parser *parser, Place place, Operator star, const Token *name,
                     Node *annotation, Node *value) {
    Node *node = node_new(parser, NODE_PARAMETER, place);
    node->op = star;
    node->op_span = name ? token_span(parser, name) : node->span;
    node->name = name ? token_name(parser, name) : NULL;
    node->annotation = annotation;
    node->left = value;
    return node_close(parser, node);
}

static bool has_twin(const Node *list, const Node *node) {
    uint32_t count = 0;
    if (!node->name) return false;
    for (const Node *n = list; n && count < MOST_COMPARED; n = n->next, count++)
        if (n->name == node->name) return true;
    return false;
}

Node *check_parameters(Parser *parser, Node *parameters) {
    NodeList kept = {0};
    const Node *optional = NULL, *star = NULL, *rest = NULL, *slash = NULL;
    for (Node *n = parameters, *next; n; n = next) {
        next = n->next;
        if (rest) {
            parse_error(parser, n->span, "no parameter can stand behind `**%s`", rest->name);
            break;
        }
        if (has_twin(kept.first, n))
            parse_error(parser, n->op_span, "there are two parameters `%s`", n->name);
        if (n->op == OPERATOR_DIV) {
            if (slash || star || n == parameters)
                parse_error(parser, n->span,
                            "`/` stands once, behind the parameters that are "
                            "given by position only");
            slash = n;
            continue;
        }
        if (n->op == OPERATOR_MUL) {
            if (star) parse_error(parser, n->span, "only one parameter can have a `*`");
            if (!n->name && (!next || next->op != OPERATOR_NONE))
                parse_error(parser, n->span, "a bare `*` needs a parameter behind it");
            star = n;
        } else if (n->op == OPERATOR_POW) {
            rest = n;
        } else if (star) {
            n->keyword_only = true;
        } else if (n->left) {
            optional = n;
        } else if (optional) {
            parse_error(parser, n->op_span,
                        "parameter `%s` needs a default, since one before it has one", n->name);
            parse_note(parser, optional->span, "this one has a default");
            optional = NULL;
        }
        n->next = NULL;
        list_add(&kept, n);
    }
    return kept.first;
}

/* The text of dotted names without the blanks that may stand between them. */
static const char *dotted_name(Parser *parser, Place place) {
    Text text = {.arena = parser->arena};
    for (const Token *t = place.first; t && t <= place.last; t++)
        text_add(&text, parser->text + t->begin, t->end - t->begin);
    return intern(parser->names, text.data ? text.data : "", text.length);
}

Node *make_from(Parser *parser, Place place, Place dots, Place module, NodeList names) {
    Node *node = node_new(parser, NODE_IMPORT, place);
    node->is_from = true;
    node->name = dotted_name(parser, module);
    for (const Token *t = dots.first; t && t <= dots.last; t++) node->integer += t->end - t->begin;
    node->items = names.first;
    return node_close(parser, node);
}

Node *make_alias(Parser *parser, Place place, Place name, const Token *alias) {
    Node *node = node_new(parser, NODE_ALIAS, place);
    node->name = dotted_name(parser, name);
    node->alias = alias ? token_name(parser, alias) : NULL;
    return node_close(parser, node);
}

/* ---- dump -------------------------------------------------------------------------------- */

/* clang-format off */
const char *const node_kind_names[NODE_KIND_COUNT] = {
    "Name", "Int", "Float", "String", "FString", "Format", "True", "False", "None", "Ellipsis",
    "Attribute", "Subscript", "Slice", "Call", "Keyword", "Starred", "Unary", "Binary", "Bool",
    "Compare", "Comparison", "Conditional", "Lambda", "Tuple", "List", "Set", "Dict", "Pair",
    "Comprehension", "ForClause", "Named",
    "Assign", "Annotated", "Augmented", "Expression", "If", "For", "While", "Return", "Assert",
    "Pass", "Break", "Continue", "Raise", "Delete", "Global", "With", "WithItem", "Try", "Import",
    "Alias", "Function", "Parameter", "Class",
};

const char *const operator_names[] = {
    "", "+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<<", ">>",
    "==", "!=", "<", "<=", ">", ">=", "is", "is not", "in", "not in",
    "-", "+", "~", "not", "and", "or",
};
/* clang-format on */
_Static_assert(ARRAY_LENGTH(operator_names) == OPERATOR_BOOL_OR + 1, "a name for each operator");

static void print_string(Text *out, const char *string, uint32_t length) {
    text_puts(out, " \"");
    for (uint32_t i = 0; i < length; i++) {
        uint8_t c = (uint8_t)string[i];
        if (c == '"' || c == '\\')
            text_printf(out, "\\%c", c);
        else if (c == '\n')
            text_puts(out, "\\n");
        else if (c >= 32 && c < 127)
            text_add(out, &string[i], 1);
        else {
            uint32_t code, n = c < 127 ? 0 : utf8_decode(string + i, length - i, &code);
            if (n > 1)
                text_add(out, string + i, n), i += n - 1;
            else
                text_printf(out, "\\x%02x", c);
        }
    }
    text_puts(out, "\"");
}

static void print_detail(const Node *node, Text *out) {
    switch (node->kind) {
    case NODE_INT:
        if (node->integer_high)
            text_printf(out, " 0x%llx%016llx", (unsigned long long)node->integer_high,
                        (unsigned long long)node->integer);
        else
            text_printf(out, " %llu", (unsigned long long)node->integer);
        return;
    case NODE_FLOAT: text_printf(out, " %.17g", node->number); return;
    case NODE_STRING: print_string(out, node->string, node->string_length); return;
    case NODE_FORMAT:
        if (node->name) print_string(out, node->name, (uint32_t)strlen(node->name));
        return;
    case NODE_KEYWORD:
        if (!node->name) text_puts(out, " **");
        break;
    case NODE_IMPORT:
        if (node->is_from) text_puts(out, " from ");
        for (uint64_t i = 0; i < node->integer && i < 32; i++) text_puts(out, ".");
        text_puts(out, node->name);
        if (node->is_from && !node->items) text_puts(out, " *");
        return;
    case NODE_GLOBAL:
        if (node->op) text_puts(out, " nonlocal");
        return;
    default:
        if (node->op) text_printf(out, " %s", operator_names[node->op]);
    }
    if (node->name) text_printf(out, " %s", node->name);
    if (node->alias) text_printf(out, " as %s", node->alias);
    if (node->keyword_only) text_puts(out, " keyword-only");
    if (node->parenthesized) text_puts(out, " ()");
}

static void print_list(const Node *list, uint32_t depth, const char *role, Text *out);

static void print_node(const Node *node, uint32_t depth, const char *role, Text *out) {
    text_printf(out, "%*s%s%s", (int)depth * 2, "", role, node_kind_names[node->kind]);
    print_detail(node, out);
    text_printf(out, " %u:%u\n", node->span.line, node->span.column);
    bool slice = node->kind == NODE_SLICE, dict = node->kind == NODE_PAIR;
    depth++;
    print_list(node->decorators, depth, "decorator: ", out);
    print_list(node->condition, depth, "condition: ", out);
    print_list(node->parameters, depth, "", out);
    bool parameter = node->kind == NODE_PARAMETER;
    print_list(node->left, depth, parameter ? "default: " : slice ? "lower: " : "", out);
    if (node->kind != NODE_ASSIGN) /* its targets come first */
        print_list(node->right, depth, slice ? "upper: " : dict && !node->left ? "**" : "", out);
    print_list(node->third, depth, "step: ", out);
    print_list(node->annotation, depth, "annotation: ", out);
    print_list(node->items, depth, "", out);
    if (node->kind == NODE_ASSIGN) print_list(node->right, depth, "", out);
    print_list(node->body, depth, "", out);
    print_list(node->orelse, depth, "else: ", out);
}

static void print_list(const Node *list, uint32_t depth, const char *role, Text *out) {
    for (const Node *node = list; node; node = node->next) print_node(node, depth, role, out);
}

void ast_print(const File *file, Text *out) {
    static const char *const kinds[] = {"function", "helper", "constant", "import", "class"};
    for (const Item *item = file->items; item; item = item->next) {
        text_printf(out, "%s %s %u:%u%s%s\n", kinds[item->kind], item->name ? item->name : "-",
                    item->span.line, item->span.column, item->conditional ? " conditional" : "",
                    item->nested ? " nested" : "");
        if (!item->node) {
            text_printf(out, "  not parsed: %s\n", item->error ? item->error->message : "");
            continue;
        }
        Node alone = *item->node; /* a method is in its class's list */
        alone.next = NULL;
        print_node(&alone, 1, "", out);
    }
}
