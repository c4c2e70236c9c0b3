/* ptx.h: a PTX module as written, before any instruction is understood.
 *
 * The parser (ptx_lex.l, ptx_parse.y, ptx_build.c) makes a flat list of statements for each
 * function, and one table of symbols keyed by (scope, name). A scope is a pair of braces; inline
 * assembly uses them to have its own registers and labels. Names are interned, so they compare
 * by pointer.
 */
#ifndef TKC_RUNTIME_EMU_PTX_H
#define TKC_RUNTIME_EMU_PTX_H

#include "compiler/base.h"
#include "compiler/diag.h"

/* TYPE(name, bits, kind) */
#define PTX_TYPES(TYPE)                                                                            \
    TYPE(none, 0, BITS)                                                                            \
    TYPE(pred, 1, BITS)                                                                            \
    TYPE(b1, 1, BITS)                                                                              \
    TYPE(b8, 8, BITS)                                                                              \
    TYPE(b16, 16, BITS)                                                                            \
    TYPE(b32, 32, BITS)                                                                            \
    TYPE(b64, 64, BITS)                                                                            \
    TYPE(b128, 128, BITS)                                                                          \
    TYPE(u4, 4, UNSIGNED)                                                                          \
    TYPE(u8, 8, UNSIGNED)                                                                          \
    TYPE(u16, 16, UNSIGNED)                                                                        \
    TYPE(u32, 32, UNSIGNED)                                                                        \
    TYPE(u64, 64, UNSIGNED)                                                                        \
    TYPE(s4, 4, SIGNED)                                                                            \
    TYPE(s8, 8, SIGNED)                                                                            \
    TYPE(s16, 16, SIGNED)                                                                          \
    TYPE(s32, 32, SIGNED)                                                                          \
    TYPE(s64, 64, SIGNED)                                                                          \
    TYPE(u16x2, 32, UNSIGNED)                                                                      \
    TYPE(s16x2, 32, SIGNED)                                                                        \
    TYPE(f16, 16, FLOAT)                                                                           \
    TYPE(f16x2, 32, FLOAT)                                                                         \
    TYPE(bf16, 16, FLOAT)                                                                          \
    TYPE(bf16x2, 32, FLOAT)                                                                        \
    TYPE(f32, 32, FLOAT)                                                                           \
    TYPE(f32x2, 64, FLOAT)                                                                         \
    TYPE(f64, 64, FLOAT)                                                                           \
    TYPE(tf32, 32, FLOAT)                                                                          \
    TYPE(e4m3, 8, FLOAT)                                                                           \
    TYPE(e5m2, 8, FLOAT)                                                                           \
    TYPE(e4m3x2, 16, FLOAT)                                                                        \
    TYPE(e5m2x2, 16, FLOAT)

typedef enum PtxType {
#define TYPE(name, bits, kind) TYPE_##name,
    PTX_TYPES(TYPE)
#undef TYPE
        TYPE_COUNT
} PtxType;

typedef enum PtxTypeKind { TYPE_BITS, TYPE_UNSIGNED, TYPE_SIGNED, TYPE_FLOAT } PtxTypeKind;

typedef struct PtxTypeInfo {
    const char *name;
    uint8_t bits;
    PtxTypeKind kind;
} PtxTypeInfo;

extern const PtxTypeInfo ptx_types[TYPE_COUNT];

typedef enum PtxSpace {
    SPACE_GENERIC,
    SPACE_REG,
    SPACE_GLOBAL,
    SPACE_CONST,
    SPACE_SHARED,
    SPACE_CLUSTER,
    SPACE_LOCAL,
    SPACE_PARAM
} PtxSpace;

/* ---- operands -------------------------------------------------------------------------------- */

typedef enum PtxOperandKind {
    OPERAND_NAME,    /* name[.selector][+bits] */
    OPERAND_INT,     /* bits */
    OPERAND_FLOAT,   /* bits; width 32 or 64 */
    OPERAND_VECTOR,  /* {items} */
    OPERAND_ADDRESS, /* [items]: base, then further comma-separated parts */
    OPERAND_LIST     /* (items): arguments of a call */
} PtxOperandKind;

typedef struct PtxOperand {
    PtxOperandKind kind;
    bool negated;  /* !p */
    uint8_t width; /* of a float literal */
    char selector; /* x y z w, or 0 */
    const char *name;
    uint64_t bits;                          /* value, or offset added to a name */
    struct PtxOperand *items, *next, *last; /* last: of the list that this one begins */
    struct PtxOperand *pair;                /* d|p */
    uint32_t line;
    uint16_t column;
} PtxOperand;

typedef enum PtxStatementKind { STATEMENT_INSTRUCTION, STATEMENT_LABEL } PtxStatementKind;

typedef struct PtxStatement {
    PtxStatementKind kind;
    bool guarded, guard_negated;
    const char *opcode; /* as written, dots included; or the label */
    const char *guard;
    PtxOperand *operands;
    uint32_t scope, line, loc; /* loc: index into PtxModule.locs, 0 for none */
    uint16_t column;
} PtxStatement;

/* ---- symbols --------------------------------------------------------------------------------- */

typedef struct PtxInitial {
    uint64_t bits;
    const char *symbol; /* address of this name + bits */
    bool generic, is_float;
    uint8_t width;
} PtxInitial;

typedef struct PtxVariable {
    const char *name;
    PtxSpace space;
    PtxType type;
    uint32_t vector; /* 1, 2, 4, 8 */
    uint64_t size;   /* bytes; 0: extern without a size */
    uint32_t align;
    bool is_extern, is_pointer;
    const PtxInitial *initial;
    uint32_t initial_count;
    uint64_t address; /* set by the loader: offset in its space */
    uint32_t line;
} PtxVariable;

typedef struct PtxFunction PtxFunction;

typedef enum PtxSymbolKind {
    SYMBOL_REGISTER,
    SYMBOL_REGISTERS,
    SYMBOL_VARIABLE,
    SYMBOL_LABEL,
    SYMBOL_FUNCTION,
    SYMBOL_TARGETS,
    SYMBOL_PROTOTYPE
} PtxSymbolKind;

typedef struct PtxSymbol {
    PtxSymbolKind kind;
    const char *name;
    uint32_t scope;
    PtxType type;    /* registers */
    uint32_t vector; /* registers */
    uint32_t count;  /* SYMBOL_REGISTERS: name0 .. name(count-1) */
    uint32_t index;  /* label: statement number; the loader keeps register numbers here */
    PtxVariable *variable;
    PtxFunction *function;
    PtxOperand *targets;
} PtxSymbol;

typedef struct PtxFunction {
    const char *name;
    bool entry, defined, no_return;
    uint32_t scope, line, index;
    uint32_t required_block[3], max_block[3], cluster[3], max_registers;
    VEC(PtxVariable *) parameters;
    VEC(PtxVariable *) returns;
    VEC(PtxVariable *) variables; /* declared inside: .local .shared .param */
    VEC(PtxStatement) statements;
    struct Code *code; /* made by the loader */
} PtxFunction;

typedef struct PtxLoc {
    uint32_t file, line;         /* of the statement; of the call, when inlined from another file */
    uint32_t own_file, own_line; /* as written */
} PtxLoc;

typedef struct PtxModule {
    Arena *arena;
    Diagnostics *diagnostics;
    uint32_t source;
    const char *path;
    Names names;
    uint32_t target;
    VEC(PtxFunction *) functions;
    VEC(PtxVariable *) variables; /* of the module */
    VEC(PtxLoc) locs;             /* [0] is "none" */
    VEC(const char *) files;      /* by .file number; may hold NULLs */
    VEC(uint32_t) scope_parents;  /* scope 0 is the module */
    PtxSymbol **symbols;          /* open addressing, by (scope, name) */
    uint32_t symbol_count, symbol_capacity;
} PtxModule;

/* Reads the text of `source`. The module is complete only if no error was reported. */
PtxModule *ptx_parse(Arena *arena, Diagnostics *diagnostics, uint32_t source);

/* The symbol that `name` means inside `scope`, or NULL. Looks outwards. */
PtxSymbol *ptx_lookup(const PtxModule *module, uint32_t scope, const char *name);
/* Adds a symbol; reports a second one of that name in the same scope. */
PtxSymbol *ptx_declare(PtxModule *module, PtxSymbolKind kind, uint32_t scope, const char *name,
                       uint32_t line);
void ptx_error(PtxModule *module, uint32_t line, uint32_t column, const char *format, ...)
    PRINTF_LIKE(4, 5);

#endif
