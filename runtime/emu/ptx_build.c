/* ptx_build.c: makes the module from what the grammar recognises, and keeps the symbol table. */
#include "runtime/emu/ptx_build.h"

#include <stdio.h>
#include <stdlib.h>

#include "ptx_parse.h"

#define YYSTYPE PTXYYSTYPE
#define YYLTYPE PTXYYLTYPE
#include "ptx_lex.h"

enum { SCOPE_DEPTH_LIMIT = 64, REGISTER_LIMIT = 1 << 20 };
static const uint64_t SIZE_LIMIT = (uint64_t)1 << 30;

const PtxTypeInfo ptx_types[TYPE_COUNT] = {
#define TYPE(name, bits, kind) {#name, bits, TYPE_##kind},
    PTX_TYPES(TYPE)
#undef TYPE
};

void ptx_error(PtxModule *module, uint32_t line, uint32_t column, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char message[512];
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    Location at = {.span = {module->source, line, (uint16_t)(column > 65535 ? 65535 : column), 1}};
    diag_error(module->diagnostics, at, "%s", message);
}

/* ---- symbols --------------------------------------------------------------------------------- */

static uint32_t symbol_slot(const PtxModule *module, uint32_t scope, const char *name) {
    uint64_t key = ((uint64_t)(uintptr_t)name >> 3) * 0x9e3779b97f4a7c15u + scope * 0x85ebca6bu;
    uint32_t slot = (uint32_t)(key >> 20) & (module->symbol_capacity - 1);
    for (;; slot = (slot + 1) & (module->symbol_capacity - 1)) {
        const PtxSymbol *found = module->symbols[slot];
        if (!found || (found->scope == scope && found->name == name)) return slot;
    }
}

static void symbols_reserve(PtxModule *module) {
    if (module->symbol_count * 2 < module->symbol_capacity) return;
    PtxSymbol **old = module->symbols;
    uint32_t old_capacity = module->symbol_capacity;
    module->symbol_capacity = old_capacity ? old_capacity * 2 : 256;
    module->symbols = arena_array(module->arena, PtxSymbol *, module->symbol_capacity);
    for (uint32_t i = 0; i < old_capacity; i++)
        if (old[i]) module->symbols[symbol_slot(module, old[i]->scope, old[i]->name)] = old[i];
}

PtxSymbol *ptx_declare(PtxModule *module, PtxSymbolKind kind, uint32_t scope, const char *name,
                       uint32_t line) {
    symbols_reserve(module);
    uint32_t slot = symbol_slot(module, scope, name);
    PtxSymbol *symbol = module->symbols[slot];
    if (symbol) {
        if (symbol->kind != SYMBOL_FUNCTION || kind != SYMBOL_FUNCTION)
            ptx_error(module, line, 1, "`%s` is declared twice in this scope", name);
        return symbol;
    }
    symbol = arena_new(module->arena, PtxSymbol);
    *symbol = (PtxSymbol){.kind = kind, .name = name, .scope = scope};
    module->symbols[slot] = symbol;
    module->symbol_count++;
    return symbol;
}

/* `%r12` belongs to a declaration `%r<100>`: splits off the digits. */
static PtxSymbol *lookup_range(const PtxModule *module, uint32_t scope, const char *name) {
    size_t length = strlen(name), stem = length;
    while (stem > 1 && name[stem - 1] >= '0' && name[stem - 1] <= '9') stem--;
    if (stem == length || length - stem > 7 || (name[stem] == '0' && length - stem > 1))
        return NULL;
    Names *names = (Names *)&module->names; /* interning a stem changes no meaning */
    char key[256];
    if (stem + 1 >= sizeof key) return NULL;
    memcpy(key, name, stem);
    key[stem] = '<'; /* ranges are declared under a name that no register can have */
    const char *prefix = intern(names, key, stem + 1);
    PtxSymbol *range = module->symbols[symbol_slot(module, scope, prefix)];
    if (!range || range->kind != SYMBOL_REGISTERS) return NULL;
    return (uint32_t)atoi(name + stem) < range->count ? range : NULL;
}

PtxSymbol *ptx_lookup(const PtxModule *module, uint32_t scope, const char *name) {
    if (!module->symbol_capacity) return NULL;
    for (;;) {
        PtxSymbol *found = module->symbols[symbol_slot(module, scope, name)];
        if (found && found->kind != SYMBOL_REGISTERS) return found;
        if ((found = lookup_range(module, scope, name))) return found;
        if (!scope) return NULL;
        scope = module->scope_parents.data[scope];
    }
}

static uint32_t new_scope(PtxModule *module, uint32_t parent) {
    vec_push(module->arena, &module->scope_parents, parent);
    return module->scope_parents.length - 1;
}

/* ---- operands -------------------------------------------------------------------------------- */

PtxOperand *build_operand(PtxParse *p, PtxOperandKind kind, uint32_t line, uint32_t column) {
    PtxOperand *operand = arena_new(p->arena, PtxOperand);
    operand->kind = kind;
    operand->line = line;
    operand->column = (uint16_t)(column > 65535 ? 65535 : column);
    return operand;
}

PtxOperand *build_append(PtxOperand *list, PtxOperand *item) {
    PtxOperand *last = list->last ? list->last : list;
    list->last = last->next = item;
    return list;
}

PtxOperand *build_sum(PtxParse *p, PtxOperand *a, PtxOperand *b, bool subtract) {
    uint64_t value = subtract ? 0 - b->bits : b->bits;
    if (a->kind == OPERAND_INT && b->kind == OPERAND_NAME && !subtract) {
        PtxOperand *swap = a;
        a = b, b = swap;
        value = b->bits;
    }
    if ((a->kind == OPERAND_INT || a->kind == OPERAND_NAME) && b->kind == OPERAND_INT)
        a->bits += value;
    else
        ptx_error(p->module, a->line, a->column, "only integers can be added to a name");
    return a;
}

PtxOperand *build_two(PtxParse *p, char op, PtxOperand *a, PtxOperand *b) {
    if (a->kind != OPERAND_INT || b->kind != OPERAND_INT) {
        ptx_error(p->module, a->line, a->column, "constant expressions take integers");
        return a;
    }
    uint64_t x = a->bits, y = b->bits;
    if ((op == '/' || op == '%') && y == 0) {
        ptx_error(p->module, b->line, b->column, "division by zero in a constant expression");
        return a;
    }
    switch (op) {
    case '*': x *= y; break;
    case '/': x /= y; break;
    case '%': x %= y; break;
    case '&': x &= y; break;
    case '^': x ^= y; break;
    case '<': x = y < 64 ? x << y : 0; break;
    case '>': x = y < 64 ? x >> y : 0; break;
    }
    a->bits = x;
    return a;
}

PtxOperand *build_one(PtxParse *p, char op, PtxOperand *a) {
    if (a->kind == OPERAND_FLOAT && op == '-')
        a->bits ^= a->width == 32 ? (uint64_t)1 << 31 : (uint64_t)1 << 63;
    else if (a->kind == OPERAND_INT)
        a->bits = op == '-' ? 0 - a->bits : ~a->bits;
    else
        ptx_error(p->module, a->line, a->column, "`%c` takes a number", op);
    return a;
}

/* ---- declarations ---------------------------------------------------------------------------- */

void build_begin_declaration(PtxParse *p, PtxSpace space) {
    p->declaration = (PtxDeclaration){.space = space, .vector = 1, .is_extern = p->link_extern};
}

void build_attribute(PtxParse *p, const char *word, uint32_t line, uint32_t column) {
    PtxDeclaration *d = &p->declaration;
    if (!strcmp(word, ".align")) return;
    if (!strcmp(word, ".ptr")) {
        d->is_pointer = true;
        return;
    }
    if (word[1] == 'v' && (word[2] == '2' || word[2] == '4' || word[2] == '8') && !word[3]) {
        d->vector = (uint32_t)(word[2] - '0');
        return;
    }
    for (PtxType type = TYPE_pred; type < TYPE_COUNT; type++)
        if (!strcmp(word + 1, ptx_types[type].name)) {
            d->type = type;
            return;
        }
    if (!strcmp(word, ".attribute") || !strcmp(word, ".managed")) return;
    ptx_error(p->module, line, column, "unknown word `%s` in a declaration", word);
}

void build_register(PtxParse *p, const char *name, uint64_t count, bool range, uint32_t line) {
    const PtxDeclaration *d = &p->declaration;
    if (d->space != SPACE_REG) {
        ptx_error(p->module, line, 1, "only registers are declared as `name<count>`");
        return;
    }
    if (d->type == TYPE_none) ptx_error(p->module, line, 1, "`%s` has no type", name);
    if (count > REGISTER_LIMIT) {
        ptx_error(p->module, line, 1, "%llu registers are too many", (unsigned long long)count);
        count = 1;
    }
    if (range) {
        const char *key = arena_printf(p->arena, "%s<", name);
        name = intern_string(&p->module->names, key);
    }
    PtxSymbol *symbol =
        ptx_declare(p->module, range ? SYMBOL_REGISTERS : SYMBOL_REGISTER, p->scope, name, line);
    symbol->type = d->type;
    symbol->vector = d->vector;
    symbol->count = (uint32_t)count;
}

PtxVariable *build_variable(PtxParse *p, const char *name, uint64_t elements, bool is_array,
                            uint32_t line) {
    const PtxDeclaration *d = &p->declaration;
    if (d->space == SPACE_REG && !p->in_returns) {
        if (is_array) ptx_error(p->module, line, 1, "registers come as `name<count>`");
        build_register(p, name, 1, false, line);
        return NULL;
    }
    uint64_t element = (ptx_types[d->type].bits + 7u) / 8u * d->vector;
    if (!element) {
        ptx_error(p->module, line, 1, "`%s` has no type", name);
        element = 4;
    }
    if (elements > SIZE_LIMIT / element) {
        ptx_error(p->module, line, 1, "`%s` is too large", name);
        elements = 1;
    }
    PtxVariable *v = arena_new(p->arena, PtxVariable);
    *v = (PtxVariable){.name = name,
                       .space = d->space,
                       .type = d->type,
                       .vector = d->vector,
                       .size = element * elements,
                       .is_extern = d->is_extern,
                       .is_pointer = d->is_pointer,
                       .line = line,
                       .align = d->align ? d->align : (uint32_t)element};
    if (v->align & (v->align - 1)) {
        ptx_error(p->module, line, 1, ".align takes a power of two");
        v->align = 16;
    }
    if (p->in_returns) return v; /* no function to belong to yet */
    PtxSymbol *symbol = ptx_lookup(p->module, p->scope, name);
    if (symbol && symbol->kind == SYMBOL_VARIABLE && symbol->scope == p->scope &&
        symbol->variable->is_extern && !p->function) {
        *symbol->variable = *v; /* the definition of what was declared before */
        return symbol->variable;
    }
    symbol = ptx_declare(p->module, SYMBOL_VARIABLE, p->scope, name, line);
    symbol->variable = v;
    if (p->function)
        vec_push(p->arena, &p->function->variables, v);
    else
        vec_push(p->arena, &p->module->variables, v);
    return v;
}

void build_parameter(PtxParse *p, PtxVariable *variable) {
    if (!variable) return;
    if (p->in_returns) {
        vec_push(p->arena, &p->returns, variable);
    } else if (p->function) {
        p->function->variables.length--; /* a parameter is not a variable of the body */
        vec_push(p->arena, &p->function->parameters, variable);
    }
}

/* ---- functions ------------------------------------------------------------------------------- */

void build_begin_function(PtxParse *p, const char *name, bool entry, uint32_t line) {
    PtxModule *module = p->module;
    PtxFunction *f = arena_new(p->arena, PtxFunction);
    f->name = name;
    f->entry = entry;
    f->line = line;
    f->scope = p->scope = new_scope(module, 0);
    p->in_returns = false;
    p->function = f;
    p->loc = 0;
    for (uint32_t i = 0; i < p->returns.length; i++) {
        PtxVariable *v = p->returns.data[i];
        vec_push(p->arena, &f->returns, v);
        if (!strcmp(v->name, "_")) continue;
        ptx_declare(module, SYMBOL_VARIABLE, f->scope, v->name, line)->variable = v;
    }
    p->returns.length = 0;
    PtxSymbol *symbol = ptx_declare(module, SYMBOL_FUNCTION, 0, name, line);
    if (symbol->kind != SYMBOL_FUNCTION) return;
    if (symbol->function && symbol->function->defined) f->defined = true; /* checked at the end */
    if (!symbol->function || !symbol->function->defined) symbol->function = f;
}

static void copy_numbers(uint32_t to[3], PtxNumbers numbers) {
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t value = i < numbers.count ? numbers.value[i] : 1;
        to[i] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    }
}

void build_directive(PtxParse *p, const char *word, PtxNumbers numbers, uint32_t line) {
    static const char *const ignored[] = {
        ".minnctapersm",         ".maxnctapersm",      ".explicitcluster",
        ".maxclusterrank",       ".unified",           ".abi_preserve",
        ".abi_preserve_control", ".blocksareclusters", ".align"};
    PtxFunction *f = p->function;
    if (!f) return;
    if (!strcmp(word, ".maxntid")) {
        copy_numbers(f->max_block, numbers);
    } else if (!strcmp(word, ".reqntid")) {
        copy_numbers(f->required_block, numbers);
    } else if (!strcmp(word, ".reqnctapercluster")) {
        copy_numbers(f->cluster, numbers);
    } else if (!strcmp(word, ".maxnreg")) {
        f->max_registers = (uint32_t)numbers.value[0];
    } else if (!strcmp(word, ".noreturn")) {
        f->no_return = true;
    } else {
        for (size_t i = 0; i < ARRAY_LENGTH(ignored); i++)
            if (!strcmp(word, ignored[i])) return;
        ptx_error(p->module, line, 1, "unknown directive `%s`", word);
    }
}

void build_end_function(PtxParse *p, bool defined) {
    PtxFunction *f = p->function;
    if (!f) return;
    if (defined && f->defined) ptx_error(p->module, f->line, 1, "`%s` is defined twice", f->name);
    f->defined = defined;
    PtxSymbol *symbol = ptx_lookup(p->module, 0, f->name);
    if (symbol && symbol->kind == SYMBOL_FUNCTION) {
        if (defined) symbol->function = f;
        f->index = p->module->functions.length;
        vec_push(p->arena, &p->module->functions, f);
    }
    p->function = NULL;
    p->scope = 0;
}

void build_open_scope(PtxParse *p, uint32_t line, uint32_t column) {
    uint32_t depth = 0;
    for (uint32_t s = p->scope; s; s = p->module->scope_parents.data[s]) depth++;
    if (depth > SCOPE_DEPTH_LIMIT)
        ptx_error(p->module, line, column, "braces nest deeper than %d", SCOPE_DEPTH_LIMIT);
    else
        p->scope = new_scope(p->module, p->scope);
}

void build_close_scope(PtxParse *p) {
    if (p->function && p->scope != p->function->scope)
        p->scope = p->module->scope_parents.data[p->scope];
}

PtxStatement *build_statement(PtxParse *p, const char *opcode, PtxOperand *operands, uint32_t line,
                              uint32_t column) {
    PtxFunction *f = p->function;
    if (!f) return NULL;
    PtxStatement s = {.kind = STATEMENT_INSTRUCTION,
                      .opcode = opcode,
                      .operands = operands,
                      .scope = p->scope,
                      .line = line,
                      .loc = p->loc,
                      .column = (uint16_t)(column > 65535 ? 65535 : column)};
    vec_push(p->arena, &f->statements, s);
    return &f->statements.data[f->statements.length - 1];
}

void build_label(PtxParse *p, const char *name, uint32_t line, uint32_t column) {
    PtxStatement *s = build_statement(p, name, NULL, line, column);
    if (!s) return;
    s->kind = STATEMENT_LABEL;
    PtxSymbol *symbol = ptx_declare(p->module, SYMBOL_LABEL, p->scope, name, line);
    symbol->index = p->function->statements.length - 1;
}

void build_targets(PtxParse *p, const char *label, PtxOperand *targets, uint32_t line) {
    ptx_declare(p->module, SYMBOL_TARGETS, p->scope, label, line)->targets = targets;
}

/* A line of another file (a toolkit's header) says less than the call that inlined it; the call
 * itself may have been inlined: then it stands a few .locs before this one. */
void build_loc(PtxParse *p, uint64_t file, uint64_t line, uint64_t at_file, uint64_t at_line) {
    PtxModule *module = p->module;
    PtxLoc loc = {(uint32_t)file, (uint32_t)line, (uint32_t)file, (uint32_t)line};
    if (at_file && at_file != file) loc.file = (uint32_t)at_file, loc.line = (uint32_t)at_line;
    uint32_t count = module->locs.length;
    for (uint32_t i = count; at_file && i > 1 && i + 16 > count; i--) {
        const PtxLoc *outer = &module->locs.data[i - 1];
        if (outer->own_file != at_file || outer->own_line != at_line) continue;
        if (outer->file != loc.own_file) loc.file = outer->file, loc.line = outer->line;
        break;
    }
    PtxLoc last = module->locs.data[p->loc];
    if (!memcmp(&last, &loc, sizeof loc)) return;
    vec_push(p->arena, &module->locs, loc);
    p->loc = module->locs.length - 1;
}

void build_file(PtxParse *p, uint64_t number, const char *path) {
    if (number > 4095) return;
    while (p->module->files.length <= number)
        vec_push(p->arena, &p->module->files, (const char *)NULL);
    p->module->files.data[number] = path;
}

void build_target(PtxParse *p, const char *word, uint32_t line) {
    if (!strncmp(word, "sm_", 3)) p->module->target = (uint32_t)atoi(word + 3);
    if (p->module->target < 50 || p->module->target > 999)
        ptx_error(p->module, line, 1, "unknown target `%s`", word);
}

PtxModule *ptx_parse(Arena *arena, Diagnostics *diagnostics, uint32_t source) {
    PtxModule *module = arena_new(arena, PtxModule);
    module->arena = arena;
    module->diagnostics = diagnostics;
    module->source = source;
    module->names.arena = arena;
    module->path = diagnostics->sources->list.data[source].path;
    if (!module->path) module->path = "ptx";
    vec_push(arena, &module->locs, (PtxLoc){0});
    vec_push(arena, &module->scope_parents, 0u);
    symbols_reserve(module);
    PtxParse p = {.arena = arena, .module = module};
    const Source *text = &diagnostics->sources->list.data[source];
    yyscan_t scanner;
    if (text->length > INT32_MAX - 16 || ptxyylex_init_extra(&p, &scanner)) {
        ptx_error(module, 0, 0, "this source is too large");
        return module;
    }
    if (!ptxyy_scan_bytes(text->text, (int)text->length, scanner)) return module;
    ptxyyset_lineno(1, scanner);
    ptxyyset_column(1, scanner);
    ptxyyparse(scanner, &p);
    ptxyylex_destroy(scanner);
    return module;
}
