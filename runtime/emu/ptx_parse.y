/* ptx_parse.y: the grammar of PTX, as far as compilers write it. Actions only call build_*. */
%define api.prefix {ptxyy}
%define api.pure full
%define api.token.prefix {PTX_}
%define parse.error detailed
%locations
%param {void *scanner}
%parse-param {PtxParse *p}

%code requires {
#include "runtime/emu/ptx_build.h"
}

%code {
#include "ptx_parse.h"
#include "ptx_lex.h"

static void ptxyyerror(PTXYYLTYPE *at, void *scanner, PtxParse *p, const char *message) {
    (void)scanner;
    ptx_error(p->module, (uint32_t)at->first_line, (uint32_t)at->first_column, "%s", message);
}
#define LINE(at) ((uint32_t)(at).first_line)
#define COLUMN(at) ((uint32_t)(at).first_column)
#define YYINITDEPTH 1000 /* the parser's stack never grows: nothing to free when memory ends */
#define YYMAXDEPTH 1000
#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
    ((Current) = (N) ? YYRHSLOC(Rhs, 1) : YYRHSLOC(Rhs, 0))
}

%union {
    const char *word;
    uint64_t bits;
    PtxSpace space;
    PtxOperand *operand;
    PtxNumbers numbers;
    PtxVariable *variable;
}

%token VERSION ".version" TARGET ".target" ADDRESS_SIZE ".address_size" FILE_ ".file" LOC ".loc"
%token PRAGMA ".pragma" ENTRY ".entry" FUNC ".func" LINK ".visible" EXTERN ".extern"
%token BAD "stray byte"
%token TARGETS ".branchtargets" PROTOTYPE ".callprototype" LEFT "<<" RIGHT ">>"
%token <space> SPACE "state space"
%token <word> NAME "name" OPCODE "opcode" DOTWORD "directive" STRING "string"
%token <bits> INTEGER "integer" FLOAT32 "f32 literal" FLOAT64 "number"

%type <operand> operand operands operand_list value names
%type <numbers> numbers
%type <bits> dimensions dimension
%type <variable> declarator

%left '^'
%left '&'
%left LEFT RIGHT
%left '+' '-'
%left '*' '/' '%'
%precedence UNARY

%%
module: %empty | module item;

item: VERSION FLOAT64
    | TARGET NAME { build_target(p, $2, LINE(@2)); } more_targets
    | ADDRESS_SIZE INTEGER
    | FILE_ INTEGER STRING file_rest { build_file(p, $2, $3); }
    | PRAGMA strings ';'
    | linkage variable ';' { p->link_extern = false; }
    | linkage function { p->link_extern = false; }
    | error ';' { p->link_extern = false; }
    | error '}' { p->link_extern = false; }
    ;

more_targets: %empty | more_targets ',' NAME;
file_rest: %empty | ',' INTEGER ',' INTEGER;
strings: STRING | strings ',' STRING;
linkage: %empty | linkage LINK | linkage EXTERN { p->link_extern = true; };

/* ---- declarations ---- */
variable: SPACE { build_begin_declaration(p, $1); } attributes declarators;

attributes: %empty | attributes attribute;
attribute: DOTWORD { build_attribute(p, $1, LINE(@1), COLUMN(@1)); }
    | SPACE /* after .ptr */
    | DOTWORD INTEGER {
        build_attribute(p, $1, LINE(@1), COLUMN(@1));
        p->declaration.align = (uint32_t)($2 > 1u << 20 ? 1u << 20 : $2);
      }
    | DOTWORD '(' DOTWORD ')' /* .attribute(.managed) */
    ;

declarators: initialised | declarators ',' initialised;

initialised: declarator { p->initials.list.length = 0; }
    | declarator '=' initial {
        if ($1) {
            $1->initial_count = p->initials.list.length;
            $1->initial = p->initials.list.data;
        }
        p->initials = (PtxInitials){0};
      }
    ;

declarator: NAME { $$ = build_variable(p, $1, 1, false, LINE(@1)); }
    | NAME '<' INTEGER '>' { build_register(p, $1, $3, true, LINE(@1)); $$ = NULL; }
    | NAME dimensions { $$ = build_variable(p, $1, $2, true, LINE(@1)); }
    ;

dimensions: dimension | dimensions dimension {
        if (__builtin_mul_overflow($1, $2, &$$)) $$ = UINT64_MAX;
    };
dimension: '[' ']' { $$ = 0; } | '[' INTEGER ']' { $$ = $2; };

initial: value {
        PtxInitial one = {.bits = $1->bits, .symbol = $1->name,
                          .is_float = $1->kind == OPERAND_FLOAT, .width = $1->width};
        vec_push(p->arena, &p->initials.list, one);
      }
    | NAME '(' value ')' { /* generic(symbol) */
        PtxInitial one = {.bits = $3->bits, .symbol = $3->name, .generic = true};
        vec_push(p->arena, &p->initials.list, one);
      }
    | '{' initials '}'
    ;
initials: %empty | initials_some | initials_some ',';
initials_some: initial | initials_some ',' initial;

/* ---- functions ---- */
function: ENTRY NAME { build_begin_function(p, $2, true, LINE(@2)); } parameter_list
          directives body
    | FUNC func_attributes { p->in_returns = true; } return_list NAME
          { build_begin_function(p, $5, false, LINE(@5)); } parameter_list directives body
    ;

func_attributes: %empty | func_attributes DOTWORD '(' DOTWORD ')';
return_list: %empty | '(' parameters ')';
parameter_list: %empty | '(' parameters ')';
parameters: %empty | parameters_some;
parameters_some: parameter | parameters_some ',' parameter;
parameter: SPACE { build_begin_declaration(p, $1); } attributes declarator {
        build_parameter(p, $4);
    };

directives: %empty | directives directive;
directive: DOTWORD numbers { build_directive(p, $1, $2, LINE(@1)); }
    | PRAGMA strings ';'
    ;
numbers: %empty { $$ = (PtxNumbers){0}; }
    | INTEGER { $$ = (PtxNumbers){1, {$1}}; }
    | numbers ',' INTEGER {
        $$ = $1;
        if ($$.count < 3) $$.value[$$.count++] = $3;
      }
    ;

body: ';' { build_end_function(p, false); }
    | '{' statements '}' { build_end_function(p, true); }
    ;

/* ---- statements ---- */
statements: %empty | statements statement;

statement: variable ';'
    | LOC INTEGER INTEGER INTEGER { build_loc(p, $2, $3, 0, 0); }
    | LOC INTEGER INTEGER INTEGER ',' NAME name_offset ',' NAME INTEGER INTEGER INTEGER {
        build_loc(p, $2, $3, $10, $11);
      }
    | PRAGMA strings ';'
    | NAME ':' { build_label(p, $1, LINE(@1), COLUMN(@1)); }
    | NAME ':' TARGETS names ';' { build_targets(p, $1, $4, LINE(@1)); }
    | NAME ':' PROTOTYPE { ptx_declare(p->module, SYMBOL_PROTOTYPE, p->scope, $1, LINE(@1)); }
    | '{' { build_open_scope(p, LINE(@1), COLUMN(@1)); } statements '}' { build_close_scope(p); }
    | opcode
    | '@' NAME opcode {
        if (p->function && p->function->statements.length) {
            PtxStatement *last =
                &p->function->statements.data[p->function->statements.length - 1];
            last->guarded = true;
            last->guard = $2;
        }
      }
    | '@' '!' NAME opcode {
        if (p->function && p->function->statements.length) {
            PtxStatement *last =
                &p->function->statements.data[p->function->statements.length - 1];
            last->guarded = last->guard_negated = true;
            last->guard = $3;
        }
      }
    | DOTWORD numbers ';' /* statement-level hints carry no meaning here */
    | error ';'
    ;

name_offset: NAME | NAME '+' INTEGER;

opcode: OPCODE operands ';' { build_statement(p, $1, $2, LINE(@1), COLUMN(@1)); }
    | NAME operands ';' { build_statement(p, $1, $2, LINE(@1), COLUMN(@1)); }
    ;

operands: %empty { $$ = NULL; } | operand_list;
operand_list: operand | operand_list ',' operand { $$ = build_append($1, $3); };

operand: value
    | value '|' value { $$ = $1; $1->pair = $3; }
    | '!' NAME {
        $$ = build_operand(p, OPERAND_NAME, LINE(@2), COLUMN(@2));
        $$->name = $2;
        $$->negated = true;
      }
    | '{' operand_list '}' {
        $$ = build_operand(p, OPERAND_VECTOR, LINE(@1), COLUMN(@1));
        $$->items = $2;
      }
    | '[' operand_list ']' {
        $$ = build_operand(p, OPERAND_ADDRESS, LINE(@1), COLUMN(@1));
        $$->items = $2;
      }
    | '(' ')' { $$ = build_operand(p, OPERAND_LIST, LINE(@1), COLUMN(@1)); }
    | '(' operand_list ')' {
        $$ = build_operand(p, OPERAND_LIST, LINE(@1), COLUMN(@1));
        $$->items = $2;
      }
    ;

value: NAME {
        $$ = build_operand(p, OPERAND_NAME, LINE(@1), COLUMN(@1));
        $$->name = $1;
      }
    | OPCODE { /* %tid.x, vector.y */
        $$ = build_operand(p, OPERAND_NAME, LINE(@1), COLUMN(@1));
        $$->name = $1;
      }
    | INTEGER {
        $$ = build_operand(p, OPERAND_INT, LINE(@1), COLUMN(@1));
        $$->bits = $1;
      }
    | FLOAT32 {
        $$ = build_operand(p, OPERAND_FLOAT, LINE(@1), COLUMN(@1));
        $$->bits = $1;
        $$->width = 32;
      }
    | FLOAT64 {
        $$ = build_operand(p, OPERAND_FLOAT, LINE(@1), COLUMN(@1));
        $$->bits = $1;
        $$->width = 64;
      }
    | '-' value %prec UNARY { $$ = build_one(p, '-', $2); }
    | '+' value %prec UNARY { $$ = $2; }
    | '~' value %prec UNARY { $$ = build_one(p, '~', $2); }
    | value '+' value { $$ = build_sum(p, $1, $3, false); }
    | value '-' value { $$ = build_sum(p, $1, $3, true); }
    | value '*' value { $$ = build_two(p, '*', $1, $3); }
    | value '/' value { $$ = build_two(p, '/', $1, $3); }
    | value '%' value { $$ = build_two(p, '%', $1, $3); }
    | value '&' value { $$ = build_two(p, '&', $1, $3); }
    | value '^' value { $$ = build_two(p, '^', $1, $3); }
    | value LEFT value { $$ = build_two(p, '<', $1, $3); }
    | value RIGHT value { $$ = build_two(p, '>', $1, $3); }
    ;

names: NAME {
        $$ = build_operand(p, OPERAND_NAME, LINE(@1), COLUMN(@1));
        $$->name = $1;
      }
    | names ',' NAME {
        PtxOperand *next = build_operand(p, OPERAND_NAME, LINE(@3), COLUMN(@3));
        next->name = $3;
        $$ = build_append($1, next);
      }
    ;
%%
