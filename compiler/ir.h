/* ir.h: the block IR. SSA values over structured regions; an op on a block is one op.
 *
 *     kernel @scale(x: *f32 {divisibility = 16}, n: i32) {
 *         %0: i32 = program_id {axis = 0}
 *         %1: 128xi32 = arange {start = 0, end = 128}
 *         ...
 *         store %9, %11, %7
 *         return
 *     }
 *
 * Regions hold ops in order and end in an op with the flag ENDS. A region's arguments are the
 * loop index and carried values; `if` and `for` give their results by yield. There is no phi,
 * and a value is visible in its region, after its op, and in all regions nested there.
 *
 * Everything is in the module's arena. No pass frees; an op that is removed is only unlinked.
 */
#ifndef TKC_COMPILER_IR_H
#define TKC_COMPILER_IR_H

#include "compiler/base.h"
#include "compiler/diag.h"
#include "compiler/type.h"

typedef enum OpCode {
#define OP(name, ...) OP_##name,
#include "compiler/ops.def"
#undef OP
    OP_COUNT
} OpCode;

typedef enum AttributeKey {
#define ATTRIBUTE(name, kind) ATTR_##name,
#include "compiler/ops.def"
#undef ATTRIBUTE
    ATTR_COUNT
} AttributeKey;

typedef enum Word {
    WORD_none,
#define WORD(name) WORD_##name,
#include "compiler/ops.def"
#undef WORD
    WORD_COUNT
} Word;

typedef enum AttributeKind { AK_INT, AK_NUMBER, AK_INTS, AK_WORD, AK_STRING } AttributeKind;

enum {
    OPF_PURE = 1,
    OPF_ELEMENT = 2,
    OPF_COMMUTES = 4,
    OPF_READS = 8,
    OPF_WRITES = 16,
    OPF_EFFECT = 32,
    OPF_ENDS = 64,
    OPF_NESTED = 128
};

typedef enum TypeRule {
    RULE_NONE,     /* no results; operands checked by the verifier */
    RULE_EXPLICIT, /* the builder gives the result types; the verifier checks them */
    RULE_SAME, RULE_SAME_INT, RULE_SAME_FLOAT, /* operands of one type T; result T */
    RULE_COMPARE,  /* operands of one type; result i1 of that shape */
    RULE_SELECT,   /* i1, T, T -> T, one shape */
    RULE_CAST,     /* given result, same shape as the operand */
    RULE_OFFSET,   /* pointer(s), integer(s) of the same shape -> pointer(s) */
    RULE_LOAD, RULE_STORE, RULE_ATOMIC, RULE_DOT, RULE_REDUCE, RULE_SCAN, RULE_FOR, RULE_WHILE,
    RULE_IF
} TypeRule;

enum { MANY = -1 };

typedef struct OpInfo {
    const char *name;
    int min_operands, max_operands, results, regions; /* MANY: any number */
    TypeRule rule;
    uint32_t flags;
    uint64_t required, optional; /* bit (1 << AttributeKey) */
} OpInfo;

extern const OpInfo op_infos[OP_COUNT];
extern const char *const attribute_names[ATTR_COUNT];
extern const AttributeKind attribute_kinds[ATTR_COUNT];
extern const char *const word_names[WORD_COUNT];

Word word_from_name(const char *name, size_t length); /* WORD_none when unknown */

typedef struct Op Op;
typedef struct Region Region;
typedef struct Value Value;
typedef struct Module Module;

/* One use of a value: operand `index` of `user`. Uses of a value form a list. */
typedef struct Use {
    Value *value;
    Op *user;
    struct Use *next, **link; /* link: what points at this use */
} Use;

struct Value {
    const Type *type;
    Op *op;           /* the op it is a result of, or NULL: an argument of `region` */
    Region *region;   /* argument of this region, or NULL */
    uint32_t index;   /* result or argument number */
    uint32_t number;  /* set by ir_number */
    Use *uses;
    const char *name; /* kernel parameters and, where known, the variable it was assigned to */
};

typedef struct Attribute {
    AttributeKey key;
    bool is_float; /* AK_NUMBER: which of the two */
    uint32_t count; /* AK_INTS, AK_STRING: length */
    union {
        int64_t i; /* AK_INT, AK_NUMBER */
        double f;
        Word word;
        const int64_t *ints;
        const char *string; /* not interned; may hold any byte */
    };
} Attribute;

struct Op {
    OpCode code;
    uint16_t operand_count, result_count, region_count, attribute_count;
    Use *operands; /* operand i is operands[i].value */
    Value *results; /* result i is &results[i] */
    Region **regions;
    Attribute *attributes; /* sorted by key */
    Region *parent;        /* NULL: unlinked */
    Op *previous, *next;
    Location at;
};

struct Region {
    Op *parent; /* NULL: a kernel's body */
    Value **arguments;
    uint32_t argument_count, argument_capacity;
    Op *first, *last;
};

typedef struct Parameter {
    const char *name;
    const Type *type;
    int64_t divisibility; /* of the value (pointers: of the address); 1 unless promised */
    Span span;
} Parameter;

typedef struct Kernel {
    const char *name;
    Parameter *parameters;
    uint32_t parameter_count;
    Region *body; /* its arguments are the parameters, one value each */
    uint32_t num_warps, num_stages, num_ctas;
    uint32_t shared_bytes; /* PLACED: dynamic shared memory of a launch */
    Location at;
} Kernel;

/* BLOCK: types only. LAID: every block value has a layout. PLACED: shared memory is given out. */
typedef enum Level { LEVEL_BLOCK, LEVEL_LAID, LEVEL_PLACED } Level;

struct Module {
    Arena *arena;
    Types types;
    Names names;
    Sources *sources;
    Diagnostics *diagnostics;
    Kernel *kernel;     /* one kernel a module: helpers are inlined */
    Level level;        /* what holds now; printed and read when it is not BLOCK */
    const char *target; /* the GPU, "sm_80"; NULL at BLOCK level and for `interp`, `cpu` */
};

Module *module_new(Arena *arena, Sources *sources, Diagnostics *diagnostics);
/* A kernel with an empty body whose arguments are the parameters. */
Kernel *kernel_new(Module *module, const char *name, uint32_t parameter_count,
                   const Parameter *parameters);

/* ---- building --------------------------------------------------------------------------- */

/* Where new ops go: before `before`, or at the end of `region` when it is NULL. */
typedef struct Builder {
    Module *module;
    Region *region;
    Op *before;
    Location at;
} Builder;

/* Makes and inserts an op. `results` may be NULL when the type rule infers them (SAME, COMPARE,
 * SELECT, OFFSET, LOAD, ATOMIC, DOT, SCAN, NONE). Operand types must already agree: lowering
 * reports user errors before building; a disagreement here is a bug (assert). */
Op *build_op(Builder *b, OpCode code, uint32_t operand_count, Value *const *operands,
             uint32_t result_count, const Type *const *results);
/* The same with regions (empty, without arguments). */
Op *build_nested(Builder *b, OpCode code, uint32_t operand_count, Value *const *operands,
                 uint32_t result_count, const Type *const *results);
/* Gives the op a region that was filled before the op was made. */
void op_take_region(Op *op, uint32_t index, Region *region);
Value *region_add_argument(Module *module, Region *region, const Type *type);

Value *build_constant_int(Builder *b, const Type *type, int64_t value); /* block: splat */
Value *build_constant_float(Builder *b, const Type *type, double value);
Value *build_zero(Builder *b, const Type *type);
Value *build_unary(Builder *b, OpCode code, Value *x);
Value *build_binary(Builder *b, OpCode code, Value *x, Value *y);
Value *build_ternary(Builder *b, OpCode code, Value *x, Value *y, Value *z);
/* One operand, given result type: splat, broadcast, reshape, cast, bitcast ... */
Value *build_to(Builder *b, OpCode code, Value *x, const Type *result);

void op_set_int(Module *m, Op *op, AttributeKey key, int64_t value);
void op_set_float(Module *m, Op *op, AttributeKey key, double value); /* AK_NUMBER */
void op_set_ints(Module *m, Op *op, AttributeKey key, uint32_t count, const int64_t *values);
void op_set_word(Module *m, Op *op, AttributeKey key, Word word);
void op_set_string(Module *m, Op *op, AttributeKey key, const char *string, uint32_t length);

void op_copy_attributes(Module *m, Op *to, const Op *from);

const Attribute *op_attribute(const Op *op, AttributeKey key); /* NULL when absent */
bool attribute_equal(const Attribute *a, const Attribute *b); /* floats: the same bits */
int64_t op_int(const Op *op, AttributeKey key, int64_t otherwise);
Word op_word(const Op *op, AttributeKey key, Word otherwise);

/* ---- reading and changing ----------------------------------------------------------------- */

static inline Value *op_operand(const Op *op, uint32_t i) { return op->operands[i].value; }
static inline Value *op_result(const Op *op, uint32_t i) { return &op->results[i]; }
static inline const OpInfo *op_info(const Op *op) { return &op_infos[op->code]; }
static inline bool op_is(const Op *op, uint32_t flag) { return (op_info(op)->flags & flag) != 0; }
static inline uint32_t use_index(const Use *use) { return (uint32_t)(use - use->user->operands); }
static inline bool value_unused(const Value *v) { return v->uses == NULL; }
static inline bool value_is_constant(const Value *v) { return v->op && v->op->code == OP_constant; }
/* True and the value for integer constants (scalars and splats). */
bool value_constant_int(const Value *v, int64_t *value);

void op_set_operand(Op *op, uint32_t index, Value *value);
void value_replace(Value *old, Value *with); /* in all uses */
/* Unlinks an op whose results are unused, and gives up its operands' uses, nested ops included. */
void op_remove(Op *op);
void op_move_before(Op *op, Op *before);
void op_move_to_end(Op *op, Region *region);
/* Take one away; what follows moves down. Results and arguments must be unused. Pointers to later
 * results of the op become stale. */
void op_drop_operand(Op *op, uint32_t index);
void op_drop_result(Op *op, uint32_t index);
void region_drop_argument(Region *region, uint32_t index);
/* Copies op (with its regions) to the builder's place, operands looked up in `map` (pairs old,
 * new; values not in the map stay). Results are added to the map. */
typedef VEC(Value *) ValueMap;
Op *op_clone(Builder *b, const Op *op, ValueMap *map);
/* True when the op, or any op nested in it, has one of these flags. */
bool op_has_effect(const Op *op, uint32_t flags);
/* No effect, and the same operands give the same results: the flag, or inline_asm {pure = 1}. */
bool op_is_pure(const Op *op);
bool op_is_inside(const Op *op, const Region *region); /* at any depth */

/* Calls `visit` for each op, outer before inner, in order. The op it is given may be removed. */
void region_walk(Region *region, void (*visit)(Op *op, void *context), void *context);

/* Numbers all values from 0 in order of definition, kernel parameters first; says how many. */
uint32_t ir_number(Module *module);

/* ---- text, checks -------------------------------------------------------------------------- */

void ir_print(Module *module, Text *out);
/* The same with ` @line:column` behind each op, and the sources those lie in named at the top. */
void ir_print_with_positions(Module *module, Text *out);
/* One op as it stands in the text, without its regions; values by their present numbers. */
void op_print(const Module *module, const Op *op, Text *out);
/* Reads what ir_print wrote. Untrusted: anything else is reported with line and column in
 * `diagnostics`, and NULL returned. What is returned has passed ir_verify at its level. */
Module *ir_read(Arena *arena, Sources *sources, Diagnostics *diagnostics, uint32_t source);
/* Checks every rule of the IR; a violation is an error in module->diagnostics that names the op.
 * Returns true when all hold. */
bool ir_verify(Module *module, Level level);

#endif
