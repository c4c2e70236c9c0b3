/* parse.y: the grammar.
 *
 * Runs on a range of tokens that items.c cut out: statements, one expression, or the head of a
 * class. Where Python's own grammar looks further ahead than one token, this one takes more than
 * it should and an action checks: targets of assignments, parameters, `as` inside parentheses.
 *
 * After an error, parsing goes on behind the end of the line, block included; so one mistake gives
 * one message. All memory comes from the arena. Messages are made in syntax.c.
 */
%require "3.8"
%define api.pure full
%define api.prefix {lang_yy}
%define api.token.prefix {T_}
%define api.location.type {Place}
%define parse.error custom
%locations
%param {Parser *parser}
%expect 0

%code requires {
#include "lang/parse_internal.h"
}

%union {
    Node *node;
    NodeList list;
    Operator op;
}

%code {
/* From the first token to the last; parts that are empty have none. */
#define YYLLOC_DEFAULT(whole, parts, n) ((whole) = join_places(&YYRHSLOC(parts, 1), (n)))
static Place join_places(const Place *parts, int count) {
    Place whole = {0};
    for (int i = 0; i < count; i++) {
        if (!whole.first) whole.first = parts[i].first;
        if (parts[i].last) whole.last = parts[i].last;
    }
    return whole;
}
/* The parser's stack comes from the arena too: it may jump away in the middle of a parse. */
#define YYMALLOC(size) arena_alloc(parser->arena, size)
#define YYFREE(memory) ((void)(memory))
#define YYSTACK_USE_ALLOCA 0
/* Enough for MAX_NESTING brackets with an operator of each precedence open in every one. */
#define YYMAXDEPTH 12000

static int lang_yylex(YYSTYPE *value, Place *place, Parser *parser);
static void lang_yyerror(Place *place, Parser *parser, const char *message);

#define OF(kind, left, right) node_of(parser, kind, yyloc, left, right)
#define LEAF(kind) node_of(parser, kind, yyloc, NULL, NULL)
#define NAMED(kind, place, left) node_named(parser, kind, yyloc, (place).first, left)
#define ITEMS(kind, list) node_items(parser, kind, yyloc, list)
#define BINARY(op, place, left, right)                                                             \
    node_operator(parser, NODE_BINARY, yyloc, op, place, left, right)
#define UNARY(op, place, operand)                                                                  \
    node_operator(parser, NODE_UNARY, yyloc, op, place, operand, NULL)

static NodeList list_of(Node *node) {
    NodeList list = {0};
    list_add(&list, node);
    return list;
}

static NodeList list_with(NodeList list, Node *node) {
    list_add(&list, node);
    return list;
}
}

%token END 0 "the end"
%token START_STATEMENTS START_EXPRESSION START_CLASS
%token NEWLINE "the end of the line" INDENT "an indented block" DEDENT "the end of the block"
%token ERROR "a broken token"
%token NAME "a name" INT "an integer" FLOAT "a number" STRING "a string"
%token AND "`and`" AS "`as`" ASSERT "`assert`" ASYNC "`async`" AWAIT "`await`" BREAK "`break`"
%token CLASS "`class`" CONTINUE "`continue`" DEF "`def`" DEL "`del`" ELIF "`elif`" ELSE "`else`"
%token EXCEPT "`except`" FALSE "`False`" FINALLY "`finally`" FOR "`for`" FROM "`from`"
%token GLOBAL "`global`" IF "`if`" IMPORT "`import`" IN "`in`" IS "`is`" LAMBDA "`lambda`"
%token NONE "`None`" NONLOCAL "`nonlocal`" NOT "`not`" OR "`or`" PASS "`pass`" RAISE "`raise`"
%token RETURN "`return`" TRUE "`True`" TRY "`try`" WHILE "`while`" WITH "`with`" YIELD "`yield`"
%token POW "`**`" FLOORDIV "`//`" SHL "`<<`" SHR "`>>`" EQ "`==`" NE "`!=`" LE "`<=`" GE "`>=`"
%token ARROW "`->`" WALRUS "`:=`" ELLIPSIS "`...`"
%token POW_ASSIGN "`**=`" FLOORDIV_ASSIGN "`//=`" SHL_ASSIGN "`<<=`" SHR_ASSIGN "`>>=`"
%token ADD_ASSIGN "`+=`" SUB_ASSIGN "`-=`" MUL_ASSIGN "`*=`" DIV_ASSIGN "`/=`" MOD_ASSIGN "`%=`"
%token MATMUL_ASSIGN "`@=`" AND_ASSIGN "`&=`" OR_ASSIGN "`|=`" XOR_ASSIGN "`^=`"

%type <list> statements simple_line simple_list else_part else_block suite broken_rest tails
%type <list> targets star_items sub_items paren_items elements arguments argument_list
%type <list> comp_clauses comp_ifs dict_items lambda_parameters lambda_list parameters
%type <list> parameter_list decorators with_items import_names plain_imports names bases
%type <list> bool_ors bool_ands comparisons del_targets
%type <node> statement simple compound test or_test and_test not_test comparison expr primary atom
%type <node> star_expressions star_expression named_expression target_list target_item sub_item
%type <node> slice opt_test paren_item element argument comp_clause dict_item
%type <node> lambda_parameter parameter function class if_statement while_statement
%type <node> for_statement try_statement with_statement with_item import_statement import_name
%type <node> plain_import annotation_part default_part result_part decorated subscripts
%type <op> augmented comparator
%type <node> name

/* A block that is missing, decorators without anything below: only when nothing else fits. */
%precedence MISSING
%precedence INDENT DEF CLASS
/* Arithmetic, loosest first. */
%left '|'
%left '^'
%left '&'
%left SHL SHR
%left '+' '-'
%left '*' '/' FLOORDIV '%' '@'
%precedence UNARY_SIGN
%right POW

%%

input:
    START_STATEMENTS statements END { parser->result = $statements.first; }
  | START_EXPRESSION star_expressions END { parser->result = $star_expressions; }
  | START_CLASS CLASS NAME bases ':' END {
        Node *node = node_new(parser, NODE_CLASS, (Place){@CLASS.first, @5.last});
        node->name = token_name(parser, @NAME.first);
        node->op_span = place_span(parser, @NAME);
        node->items = $bases.first;
        parser->result = node_close(parser, node);
    }
  ;

/* ---- statements -------------------------------------------------------------------------- */

statements:
    statement { $$ = (NodeList){0}; if ($1) list_add(&$$, $1); }
  | simple_line
  | statements[before] statement { $$ = $before; if ($2) list_add(&$$, $2); }
  | statements[before] simple_line {
        $$ = $before;
        if ($$.last) $$.last->next = $2.first, $$.last = $2.last;
        else $$ = $2;
    }
  ;

statement:
    compound
  | INDENT statements DEDENT {
        parse_error(parser, place_span(parser, @1),
                    "this line is indented, but nothing opened a block before it");
        $$ = NULL;
    }
  | error NEWLINE broken_rest { yyerrok; $$ = NULL; }
  ;

/* What hangs below a line that could not be read. */
broken_rest:
    tails
  | INDENT statements DEDENT tails { $$ = (NodeList){0}; }
  ;
tails:
    %empty %prec MISSING { $$ = (NodeList){0}; }
  | tails ELSE suite
  | tails ELIF named_expression suite
  | tails EXCEPT suite
  | tails EXCEPT test suite
  | tails EXCEPT test AS name suite
  | tails FINALLY suite
  ;

simple_line:
    simple_list NEWLINE
  | simple_list ';' NEWLINE
  ;
simple_list:
    simple { $$ = list_of($1); }
  | simple_list ';' simple { $$ = list_with($1, $3); }
  ;

simple:
    star_expressions { $$ = OF(NODE_EXPRESSION, $1, NULL); }
  | targets star_expressions { $$ = make_assign(parser, @$, $1, $2); }
  | star_expressions[target] ':' test[type] {
        $$ = make_annotated(parser, @$, $target, $type, NULL);
    }
  | star_expressions[target] ':' test[type] '=' star_expressions[value] {
        $$ = make_annotated(parser, @$, $target, $type, $value);
    }
  | star_expressions[target] augmented star_expressions[value] {
        check_target(parser, $target, "assign to");
        $$ = node_operator(parser, NODE_AUGMENTED, @$, $augmented, @augmented, $target, $value);
    }
  | RETURN { $$ = LEAF(NODE_RETURN); }
  | RETURN star_expressions { $$ = OF(NODE_RETURN, $2, NULL); }
  | ASSERT test {
        $$ = node_new(parser, NODE_ASSERT, @$);
        $$->condition = $test;
        node_close(parser, $$);
    }
  | ASSERT test[condition] ',' test[message] {
        $$ = node_new(parser, NODE_ASSERT, @$);
        $$->condition = $condition;
        $$->left = $message;
        node_close(parser, $$);
    }
  | PASS { $$ = LEAF(NODE_PASS); }
  | BREAK { $$ = LEAF(NODE_BREAK); }
  | CONTINUE { $$ = LEAF(NODE_CONTINUE); }
  | RAISE { $$ = LEAF(NODE_RAISE); }
  | RAISE test { $$ = OF(NODE_RAISE, $2, NULL); }
  | RAISE test FROM test { $$ = OF(NODE_RAISE, $2, NULL); }
  | DEL del_targets {
        for (Node *n = $2.first; n; n = n->next) check_target(parser, n, "delete");
        $$ = ITEMS(NODE_DELETE, $2);
    }
  | GLOBAL names { $$ = ITEMS(NODE_GLOBAL, $2); }
  | NONLOCAL names { $$ = ITEMS(NODE_GLOBAL, $2); $$->op = OPERATOR_NOT; }
  | import_statement
  ;

/* a = b = */
targets:
    star_expressions '=' { $$ = list_of($1); }
  | targets star_expressions '=' { $$ = list_with($1, $2); }
  ;

augmented:
    ADD_ASSIGN { $$ = OPERATOR_ADD; }     | SUB_ASSIGN { $$ = OPERATOR_SUB; }
  | MUL_ASSIGN { $$ = OPERATOR_MUL; }     | DIV_ASSIGN { $$ = OPERATOR_DIV; }
  | FLOORDIV_ASSIGN { $$ = OPERATOR_FLOORDIV; } | MOD_ASSIGN { $$ = OPERATOR_MOD; }
  | POW_ASSIGN { $$ = OPERATOR_POW; }     | MATMUL_ASSIGN { $$ = OPERATOR_MATMUL; }
  | AND_ASSIGN { $$ = OPERATOR_AND; }     | OR_ASSIGN { $$ = OPERATOR_OR; }
  | XOR_ASSIGN { $$ = OPERATOR_XOR; }     | SHL_ASSIGN { $$ = OPERATOR_SHL; }
  | SHR_ASSIGN { $$ = OPERATOR_SHR; }
  ;

del_targets:
    target_item { $$ = list_of($1); }
  | del_targets ',' target_item { $$ = list_with($1, $3); }
  ;

names:
    name { $$ = list_of($1); }
  | names ',' name { $$ = list_with($1, $3); }
  ;
name: NAME { $$ = NAMED(NODE_NAME, @1, NULL); } ;

/* ---- imports ----------------------------------------------------------------------------- */

import_statement:
    IMPORT plain_imports { $$ = ITEMS(NODE_IMPORT, $2); $$->name = intern(parser->names, "", 0); }
  | FROM dots dotted IMPORT import_names {
        $$ = make_from(parser, @$, @dots, @dotted, $import_names);
    }
  | FROM dotted IMPORT import_names {
        $$ = make_from(parser, @$, (Place){0}, @dotted, $import_names);
    }
  | FROM dots IMPORT import_names { $$ = make_from(parser, @$, @dots, (Place){0}, $import_names); }
  ;
dots: '.' | ELLIPSIS | dots '.' | dots ELLIPSIS ;
dotted: NAME | dotted '.' NAME ;
plain_imports:
    plain_import { $$ = list_of($1); }
  | plain_imports ',' plain_import { $$ = list_with($1, $3); }
  ;
plain_import:
    dotted { $$ = make_alias(parser, @$, @dotted, NULL); }
  | dotted AS NAME { $$ = make_alias(parser, @$, @dotted, @NAME.first); }
  ;
import_names:
    '*' { $$ = (NodeList){0}; }
  | import_list[l] { $$ = $l; }
  | '(' import_list[l] ')' { $$ = $l; }
  | '(' import_list[l] ',' ')' { $$ = $l; }
  ;
%type <list> import_list;
import_list:
    import_name { $$ = list_of($1); }
  | import_list ',' import_name { $$ = list_with($1, $3); }
  ;
import_name:
    NAME { $$ = make_alias(parser, @$, @NAME, NULL); }
  | NAME[from] AS NAME[to] { $$ = make_alias(parser, @$, @from, @to.first); }
  ;

/* ---- blocks ------------------------------------------------------------------------------ */

compound:
    if_statement | while_statement | for_statement | try_statement | with_statement
  | function | class | decorated
  ;

suite:
    ':' simple_line { $$ = $2; }
  | ':' NEWLINE INDENT statements DEDENT { $$ = $4; }
  | ':' NEWLINE %prec MISSING {
        parse_missing_block(parser, @NEWLINE.first);
        $$ = (NodeList){0};
    }
  ;

if_statement:
    IF named_expression suite else_part { $$ = make_if(parser, @$, $2, $3, $4); }
  ;
/* The statements of `else`; for `elif` one IF. */
else_part:
    else_block
  | ELIF named_expression suite else_part { $$ = list_of(make_if(parser, @$, $2, $3, $4)); }
  ;
else_block:
    %empty { $$ = (NodeList){0}; }
  | ELSE suite { $$ = $2; }
  ;

while_statement:
    WHILE named_expression suite else_block {
        $$ = make_if(parser, @$, $2, $3, $4);
        $$->kind = NODE_WHILE;
    }
  ;

for_statement:
    FOR target_list IN star_expressions suite else_block {
        check_target(parser, $target_list, "loop over");
        $$ = node_new(parser, NODE_FOR, @$);
        $$->left = $target_list;
        $$->right = $star_expressions;
        $$->body = $suite.first;
        $$->orelse = $else_block.first;
        node_close(parser, $$);
    }
  ;

/* Only the block is kept: no kernel can use it. */
try_statement:
    TRY suite handlers else_block finally_part {
        $$ = node_new(parser, NODE_TRY, @$);
        $$->body = $suite.first;
        node_close(parser, $$);
    }
  ;
handlers: %empty | handlers handler ;
handler:
    EXCEPT suite
  | EXCEPT star_expressions suite
  | EXCEPT star_expressions AS name suite
  ;
finally_part: %empty | FINALLY suite ;

with_statement:
    WITH with_items suite { $$ = make_with(parser, @$, $2, $3.first); }
  ;
with_items:
    with_item { $$ = list_of($1); }
  | with_items ',' with_item { $$ = list_with($1, $3); }
  ;
with_item:
    test
  | test AS expr {
        check_target(parser, $expr, "assign to");
        $$ = OF(NODE_WITH_ITEM, $1, $3);
    }
  ;

function:
    DEF NAME '(' parameters ')' result_part suite {
        $$ = node_new(parser, NODE_FUNCTION, @$);
        $$->name = token_name(parser, @NAME.first);
        $$->op_span = place_span(parser, @NAME);
        $$->parameters = check_parameters(parser, $parameters.first);
        $$->annotation = $result_part;
        $$->body = $suite.first;
        node_close(parser, $$);
    }
  ;
result_part: %empty { $$ = NULL; } | ARROW test { $$ = $2; } ;

class:
    CLASS NAME bases suite {
        $$ = node_new(parser, NODE_CLASS, @$);
        $$->name = token_name(parser, @NAME.first);
        $$->op_span = place_span(parser, @NAME);
        $$->items = $bases.first;
        $$->body = $suite.first;
        node_close(parser, $$);
    }
  ;
bases: %empty { $$ = (NodeList){0}; } | '(' arguments ')' { $$ = $2; } ;

decorated:
    decorators function { $$ = $2; $$->decorators = $1.first; }
  | decorators class { $$ = $2; $$->decorators = $1.first; }
  | decorators %prec MISSING {
        parse_error(parser, place_span(parser, @1), "a decorator needs a `def` below it");
        $$ = NULL;
    }
  ;
decorators:
    '@' named_expression NEWLINE { $$ = list_of($2); }
  | decorators '@' named_expression NEWLINE { $$ = list_with($1, $3); }
  ;

/* ---- parameters -------------------------------------------------------------------------- */

parameters:
    %empty { $$ = (NodeList){0}; }
  | parameter_list
  | parameter_list ','
  ;
parameter_list:
    parameter { $$ = list_of($1); }
  | parameter_list ',' parameter { $$ = list_with($1, $3); }
  ;
parameter:
    NAME annotation_part default_part {
        $$ = make_parameter(parser, @$, OPERATOR_NONE, @1.first, $2, $3);
    }
  | '*' NAME annotation_part { $$ = make_parameter(parser, @$, OPERATOR_MUL, @2.first, $3, NULL); }
  | POW NAME annotation_part { $$ = make_parameter(parser, @$, OPERATOR_POW, @2.first, $3, NULL); }
  | '*' { $$ = make_parameter(parser, @$, OPERATOR_MUL, NULL, NULL, NULL); }
  | '/' { $$ = make_parameter(parser, @$, OPERATOR_DIV, NULL, NULL, NULL); }
  ;
annotation_part: %empty { $$ = NULL; } | ':' test { $$ = $2; } ;
default_part: %empty { $$ = NULL; } | '=' test { $$ = $2; } ;

lambda_parameters:
    %empty { $$ = (NodeList){0}; }
  | lambda_list
  | lambda_list ','
  ;
lambda_list:
    lambda_parameter { $$ = list_of($1); }
  | lambda_list ',' lambda_parameter { $$ = list_with($1, $3); }
  ;
lambda_parameter:
    NAME { $$ = make_parameter(parser, @$, OPERATOR_NONE, @1.first, NULL, NULL); }
  | NAME '=' test { $$ = make_parameter(parser, @$, OPERATOR_NONE, @1.first, NULL, $3); }
  | '*' NAME { $$ = make_parameter(parser, @$, OPERATOR_MUL, @2.first, NULL, NULL); }
  | POW NAME { $$ = make_parameter(parser, @$, OPERATOR_POW, @2.first, NULL, NULL); }
  | '*' { $$ = make_parameter(parser, @$, OPERATOR_MUL, NULL, NULL, NULL); }
  | '/' { $$ = make_parameter(parser, @$, OPERATOR_DIV, NULL, NULL, NULL); }
  ;

/* ---- expressions, loosest first ---------------------------------------------------------- */

/* With a comma: a tuple. */
star_expressions:
    star_items { $$ = make_sequence(parser, @$, $1); }
  | star_items ',' { $$ = ITEMS(NODE_TUPLE, $1); }
  ;
star_items:
    star_expression { $$ = list_of($1); }
  | star_items ',' star_expression { $$ = list_with($1, $3); }
  ;
star_expression: test | '*' expr { $$ = OF(NODE_STARRED, $2, NULL); } ;

named_expression:
    test
  | NAME WALRUS test { $$ = OF(NODE_NAMED, NAMED(NODE_NAME, @1, NULL), $3); }
  ;

test:
    or_test
  | or_test[then] IF or_test[condition] ELSE test[otherwise] {
        $$ = node_new(parser, NODE_CONDITIONAL, @$);
        $$->left = $then;
        $$->condition = $condition;
        $$->right = $otherwise;
        node_close(parser, $$);
    }
  | LAMBDA lambda_parameters ':' test {
        $$ = node_new(parser, NODE_LAMBDA, @$);
        $$->parameters = check_parameters(parser, $2.first);
        $$->left = $4;
        node_close(parser, $$);
    }
  ;

or_test:
    and_test
  | bool_ors { $$ = ITEMS(NODE_BOOL, $1); $$->op = OPERATOR_BOOL_OR; }
  ;
bool_ors:
    and_test OR and_test { $$ = list_with(list_of($1), $3); }
  | bool_ors OR and_test { $$ = list_with($1, $3); }
  ;
and_test:
    not_test
  | bool_ands { $$ = ITEMS(NODE_BOOL, $1); $$->op = OPERATOR_BOOL_AND; }
  ;
bool_ands:
    not_test AND not_test { $$ = list_with(list_of($1), $3); }
  | bool_ands AND not_test { $$ = list_with($1, $3); }
  ;
not_test:
    comparison
  | NOT not_test { $$ = UNARY(OPERATOR_NOT, @1, $2); }
  ;

comparison:
    expr
  | expr comparisons {
        $$ = node_new(parser, NODE_COMPARE, @$);
        $$->left = $1;
        $$->items = $2.first;
        node_close(parser, $$);
    }
  ;
comparisons:
    comparator expr {
        $$ = list_of(node_operator(parser, NODE_COMPARISON, @$, $1, @1, $2, NULL));
    }
  | comparisons comparator expr {
        Place place = {@2.first, @3.last};
        $$ = list_with($1, node_operator(parser, NODE_COMPARISON, place, $2, @2, $3, NULL));
    }
  ;
comparator:
    EQ { $$ = OPERATOR_EQ; } | NE { $$ = OPERATOR_NE; }
  | '<' { $$ = OPERATOR_LT; } | LE { $$ = OPERATOR_LE; }
  | '>' { $$ = OPERATOR_GT; } | GE { $$ = OPERATOR_GE; }
  | IS { $$ = OPERATOR_IS; } | IS NOT { $$ = OPERATOR_IS_NOT; }
  | IN { $$ = OPERATOR_IN; } | NOT IN { $$ = OPERATOR_NOT_IN; }
  ;

expr:
    primary
  | expr '|' expr { $$ = BINARY(OPERATOR_OR, @2, $1, $3); }
  | expr '^' expr { $$ = BINARY(OPERATOR_XOR, @2, $1, $3); }
  | expr '&' expr { $$ = BINARY(OPERATOR_AND, @2, $1, $3); }
  | expr SHL expr { $$ = BINARY(OPERATOR_SHL, @2, $1, $3); }
  | expr SHR expr { $$ = BINARY(OPERATOR_SHR, @2, $1, $3); }
  | expr '+' expr { $$ = BINARY(OPERATOR_ADD, @2, $1, $3); }
  | expr '-' expr { $$ = BINARY(OPERATOR_SUB, @2, $1, $3); }
  | expr '*' expr { $$ = BINARY(OPERATOR_MUL, @2, $1, $3); }
  | expr '/' expr { $$ = BINARY(OPERATOR_DIV, @2, $1, $3); }
  | expr FLOORDIV expr { $$ = BINARY(OPERATOR_FLOORDIV, @2, $1, $3); }
  | expr '%' expr { $$ = BINARY(OPERATOR_MOD, @2, $1, $3); }
  | expr '@' expr { $$ = BINARY(OPERATOR_MATMUL, @2, $1, $3); }
  | expr POW expr { $$ = BINARY(OPERATOR_POW, @2, $1, $3); }
  | '-' expr %prec UNARY_SIGN { $$ = UNARY(OPERATOR_NEG, @1, $2); }
  | '+' expr %prec UNARY_SIGN { $$ = UNARY(OPERATOR_POS, @1, $2); }
  | '~' expr %prec UNARY_SIGN { $$ = UNARY(OPERATOR_INVERT, @1, $2); }
  ;

primary:
    atom
  | primary '.' NAME {
        $$ = NAMED(NODE_ATTRIBUTE, @NAME, $1);
    }
  | primary '(' arguments ')' { $$ = make_call(parser, @$, $1, $3); }
  | primary '(' named_expression comp_clauses ')' {
        Place inner = {@3.first, @4.last};
        Node *generator = make_comprehension(parser, inner, "generator", $3, $4);
        $$ = make_call(parser, @$, $1, list_of(generator));
    }
  | primary '[' subscripts ']' { $$ = OF(NODE_SUBSCRIPT, $1, $3); }
  ;

arguments:
    %empty { $$ = (NodeList){0}; }
  | argument_list
  | argument_list ','
  ;
argument_list:
    argument { $$ = list_of($1); }
  | argument_list ',' argument { $$ = list_with($1, $3); }
  ;
argument:
    named_expression
  | NAME '=' test { $$ = NAMED(NODE_KEYWORD, @NAME, $3); }
  | '*' test { $$ = OF(NODE_STARRED, $2, NULL); }
  | POW test { $$ = OF(NODE_KEYWORD, $2, NULL); }
  ;

subscripts:
    sub_items {
        bool starred = $1.first->kind == NODE_STARRED; /* x[*i] is x[(*i,)] */
        $$ = starred ? ITEMS(NODE_TUPLE, $1) : make_sequence(parser, @$, $1);
    }
  | sub_items ',' { $$ = ITEMS(NODE_TUPLE, $1); }
  ;
sub_items:
    sub_item { $$ = list_of($1); }
  | sub_items ',' sub_item { $$ = list_with($1, $3); }
  ;
sub_item: named_expression | slice | '*' expr { $$ = OF(NODE_STARRED, $2, NULL); } ;
slice:
    opt_test ':' opt_test { $$ = make_slice(parser, @$, $1, $3, NULL); }
  | opt_test ':' opt_test ':' opt_test { $$ = make_slice(parser, @$, $1, $3, $5); }
  ;
opt_test: %empty { $$ = NULL; } | test ;

atom:
    name
  | INT { $$ = make_number(parser, @1); }
  | FLOAT { $$ = make_number(parser, @1); }
  | strings { $$ = make_strings(parser, @1); }
  | TRUE { $$ = LEAF(NODE_TRUE); }
  | FALSE { $$ = LEAF(NODE_FALSE); }
  | NONE { $$ = LEAF(NODE_NONE); }
  | ELLIPSIS { $$ = LEAF(NODE_ELLIPSIS); }
  | '(' ')' { $$ = LEAF(NODE_TUPLE); $$->parenthesized = true; }
  | '(' paren_items ')' {
        $$ = make_sequence(parser, @$, $2);
        $$->parenthesized = true;
    }
  | '(' paren_items ',' ')' { $$ = ITEMS(NODE_TUPLE, $2); $$->parenthesized = true; }
  | '(' named_expression comp_clauses ')' {
        $$ = make_comprehension(parser, @$, "generator", $2, $3);
    }
  | '[' ']' { $$ = LEAF(NODE_LIST); }
  | '[' elements comma ']' { $$ = ITEMS(NODE_LIST, $2); }
  | '[' named_expression comp_clauses ']' { $$ = make_comprehension(parser, @$, "list", $2, $3); }
  | '{' '}' { $$ = LEAF(NODE_DICT); }
  | '{' dict_items comma '}' { $$ = ITEMS(NODE_DICT, $2); }
  | '{' elements comma '}' { $$ = ITEMS(NODE_SET, $2); }
  | '{' named_expression comp_clauses '}' { $$ = make_comprehension(parser, @$, "set", $2, $3); }
  | '{' dict_item comp_clauses '}' { $$ = make_comprehension(parser, @$, "dict", $2, $3); }
  ;
comma: %empty | ',' ;
strings: STRING | strings STRING ;

paren_items:
    paren_item { $$ = list_of($1); }
  | paren_items ',' paren_item { $$ = list_with($1, $3); }
  ;
paren_item:
    element
  | test AS expr {
        check_target(parser, $expr, "assign to");
        parser->as_seen++;
        parser->as_span = place_span(parser, @AS);
        $$ = OF(NODE_WITH_ITEM, $1, $3);
    }
  ;
elements:
    element { $$ = list_of($1); }
  | elements ',' element { $$ = list_with($1, $3); }
  ;
element: named_expression | '*' expr { $$ = OF(NODE_STARRED, $2, NULL); } ;

dict_items:
    dict_item { $$ = list_of($1); }
  | dict_items ',' dict_item { $$ = list_with($1, $3); }
  ;
dict_item:
    test ':' test { $$ = OF(NODE_PAIR, $1, $3); }
  | POW expr { $$ = OF(NODE_PAIR, NULL, $2); }
  ;

comp_clauses:
    comp_clause { $$ = list_of($1); }
  | comp_clauses comp_clause { $$ = list_with($1, $2); }
  ;
comp_clause:
    FOR target_list IN or_test comp_ifs {
        check_target(parser, $target_list, "loop over");
        $$ = node_new(parser, NODE_FOR_CLAUSE, @$);
        $$->left = $target_list;
        $$->right = $or_test;
        $$->items = $comp_ifs.first;
        node_close(parser, $$);
    }
  ;
comp_ifs:
    %empty { $$ = (NodeList){0}; }
  | comp_ifs IF or_test { $$ = list_with($1, $3); }
  ;

target_list:
    target_items[l] { $$ = make_sequence(parser, @$, $l); }
  | target_items[l] ',' { $$ = ITEMS(NODE_TUPLE, $l); }
  ;
%type <list> target_items;
target_items:
    target_item { $$ = list_of($1); }
  | target_items ',' target_item { $$ = list_with($1, $3); }
  ;
target_item: expr | '*' expr { $$ = OF(NODE_STARRED, $2, NULL); } ;

%%

static int lang_yylex(YYSTYPE *value, Place *place, Parser *parser) {
    (void)value;
    const Token *t = &parser->end;
    if (parser->start != 0) {
        int start = parser->start;
        parser->start = 0;
        *place = (Place){parser->tokens, parser->tokens};
        return start;
    }
    if (parser->next < parser->count && !parser->stopped) t = &parser->tokens[parser->next++];
    *place = (Place){t, t};
    return t->kind;
}

/* Only called when the stack is full. */
static void lang_yyerror(Place *place, Parser *parser, const char *message) {
    (void)message;
    parse_overflow(parser, place->first);
}

static int yyreport_syntax_error(const yypcontext_t *context, Parser *parser) {
    yysymbol_kind_t kinds[YYNTOKENS];
    int count = yypcontext_expected_tokens(context, kinds, YYNTOKENS);
    Expected expected = {0};
    for (int i = 0; i < count; i++) {
        switch (kinds[i]) {
        case YYSYMBOL_INT: expected.expression = true; break;
        case YYSYMBOL_NAME: expected.name = true; break;
        case YYSYMBOL_ELSE: expected.else_word = true; break;
        case YYSYMBOL_IN: expected.in_word = true; break;
        case YYSYMBOL_IMPORT: expected.import_word = true; break;
        default: {
            const char *name = yysymbol_name(kinds[i]);
            if (strcmp(name, "':'") == 0) expected.colon = true;
            if (strcmp(name, "','") == 0) expected.comma = true;
            if (strcmp(name, "')'") == 0 || strcmp(name, "']'") == 0 || strcmp(name, "'}'") == 0)
                expected.closer = true;
        }
        }
    }
    parse_unexpected(parser, yypcontext_location((yypcontext_t *)context)->first, &expected);
    return 0;
}
