/* ptx_build.h: what the scanner and the grammar share: the state of one parse and the functions
 * that the grammar's actions call. */
#ifndef TKC_RUNTIME_EMU_PTX_BUILD_H
#define TKC_RUNTIME_EMU_PTX_BUILD_H

#include "runtime/emu/ptx.h"

typedef struct PtxDeclaration { /* what stands before the names of a declaration */
    PtxSpace space;
    PtxType type;
    uint32_t vector, align;
    bool is_extern, is_pointer;
} PtxDeclaration;

typedef struct PtxInitials {
    VEC(PtxInitial) list;
} PtxInitials;

typedef struct PtxParse {
    Arena *arena;
    PtxModule *module;
    PtxFunction *function; /* being read, or NULL */
    uint32_t scope, depth;
    uint32_t opened; /* line where a comment or section began */
    uint32_t loc;    /* latest .loc */
    PtxDeclaration declaration;
    PtxInitials initials;
    bool link_extern;
    bool in_returns; /* a parameter list before the function's name */
    VEC(PtxVariable *) returns, parameters;
} PtxParse;

typedef struct PtxNumbers {
    uint32_t count;
    uint64_t value[3];
} PtxNumbers;

PtxOperand *build_operand(PtxParse *p, PtxOperandKind kind, uint32_t line, uint32_t column);
PtxOperand *build_append(PtxOperand *list, PtxOperand *item);
PtxOperand *build_sum(PtxParse *p, PtxOperand *a, PtxOperand *b, bool subtract);
PtxOperand *build_two(PtxParse *p, char op, PtxOperand *a, PtxOperand *b);
PtxOperand *build_one(PtxParse *p, char op, PtxOperand *a);
void build_attribute(PtxParse *p, const char *word, uint32_t line, uint32_t column);
void build_begin_declaration(PtxParse *p, PtxSpace space);
void build_register(PtxParse *p, const char *name, uint64_t count, bool range, uint32_t line);
PtxVariable *build_variable(PtxParse *p, const char *name, uint64_t elements, bool is_array,
                            uint32_t line);
void build_parameter(PtxParse *p, PtxVariable *variable);
void build_begin_function(PtxParse *p, const char *name, bool entry, uint32_t line);
void build_directive(PtxParse *p, const char *word, PtxNumbers numbers, uint32_t line);
void build_end_function(PtxParse *p, bool defined);
void build_open_scope(PtxParse *p, uint32_t line, uint32_t column);
void build_close_scope(PtxParse *p);
PtxStatement *build_statement(PtxParse *p, const char *opcode, PtxOperand *operands, uint32_t line,
                              uint32_t column);
void build_label(PtxParse *p, const char *name, uint32_t line, uint32_t column);
void build_targets(PtxParse *p, const char *label, PtxOperand *targets, uint32_t line);
/* at_file, at_line: where it was inlined; 0: it was not. */
void build_loc(PtxParse *p, uint64_t file, uint64_t line, uint64_t at_file, uint64_t at_line);
void build_file(PtxParse *p, uint64_t number, const char *path);
void build_target(PtxParse *p, const char *word, uint32_t line);

#endif
