/* emit.h: what the files of the CPU back end share.
 *
 *   Reg      an LLVM value: a scalar, which stands for all lanes, or a vector of `width` lanes
 *   Place    which elements of a block are meant: one coordinate a dimension; along at most one
 *            dimension (or several, by general vectors) the coordinate differs from lane to lane
 *   Nest     loops over a shape whose body looks at `width` neighbours along one dimension
 *   slot     where a stored block lies in scratch, row-major
 *
 * Registers hold f32 and f64 as such, i1 as i1, pointers as i64, and the narrow floats as the
 * integer of their bits. In memory i1 takes a byte.
 */
#ifndef TKC_COMPILER_CPU_EMIT_H
#define TKC_COMPILER_CPU_EMIT_H

#include "compiler/cpu/cpu.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

typedef LLVMValueRef Reg;
typedef LLVMTypeRef RegType;

typedef enum CoordKind {
    COORD_ONE,  /* the same for all lanes */
    COORD_STEP, /* base + lane; the base is a multiple of the width */
    COORD_ANY   /* a vector */
} CoordKind;

typedef struct Coord {
    CoordKind kind;
    bool inner; /* changes inside the innermost loop */
    Reg base;   /* i64, or a vector of them */
} Coord;

typedef struct Place {
    uint32_t rank;
    Coord at[MAX_RANK];
} Place;

/* ---- values ------------------------------------------------------------------------- */

typedef struct Memo {
    const Value *value;
    Place place;
    Reg reg, step; /* step: of an affine value */
    bool known;
    struct Memo *next;
} Memo;

/* What is known of a value, by its number. */
typedef struct ValueInfo {
    Reg reg;     /* scalars, and arguments of a region that runs on lanes */
    bool stored; /* has, or will have, a slot */
    bool affine;     /* along the last dim: base + i * step */
    bool seen_again; /* computing it where it is used would compute it more than once */
    bool ready;  /* the slot is written */
    bool has_slot;
    bool visits;           /* in Emitter.visits */
    const Region *visited; /* and for which region */
    bool has_load;         /* computing it reads memory of the caller */
    bool asked_ahead;      /* a nest prefetches it for the next program */
    uint32_t cost;         /* of computing an element anew */
    uint64_t slot;         /* offset in scratch */
    const Op *end;         /* after this op of its region nobody needs it */
    const void *anchor;    /* planning: the one place it is needed, or &many_anchors */
    uint32_t mark;         /* walks */
    Memo *memo;            /* of the nest being emitted */
} ValueInfo;

typedef struct FreeSlot {
    uint64_t offset, size;
    struct FreeSlot *next;
} FreeSlot;

typedef struct Emitter {
    Arena *arena;
    Module *module; /* our own copy */
    const CpuOptions *options;
    Text *error;
    LLVMContextRef context;
    LLVMModuleRef llvm;
    LLVMBuilderRef b;
    Reg function, launch, scratch, program, fault;
    RegType i1, i8, i16, i32, i64, half, f32, f64, pointer;
    uint32_t vector_bytes; /* of a register */
    uint32_t lanes;        /* lanes of a usual vector: those of f32 */
    bool avx512, fma;
    bool bf16_pairs, i16_pairs, i8_quads; /* multiplies several and adds all products: see dot.h */
    ValueInfo *values;
    uint32_t value_count;
    const Op **op_keys; /* order_of: a hash table from ops to their number in the text */
    uint32_t *op_numbers;
    uint32_t op_capacity, op_count;
    uint32_t walk; /* the latest mark */
    uint64_t scratch_size;
    Reg streams;     /* i1: CpuLaunch.stream; NULL: programs may wait for each other's stores */
    uint64_t stored; /* bytes, CpuCode.stored */
    VEC(const Op *) sites; /* note_site */
    bool bounds;
    bool has_lanes; /* the slot for CpuLanes */
    uint64_t lanes_slot;
    FreeSlot *free_slots;
    VEC(const Value *) held;   /* stored values with a slot, to be given back */
    VEC(const Value *) loads;  /* lazy loads that were passed */
    const Region *region;      /* whose ops are being emitted */
    VEC(const Value *) visits; /* values of outer regions that got a slot in this one: see force */
    VEC(struct Pack *) packs;  /* dot.c: operands packed before a loop */
    bool failed;
} Emitter;

static inline ValueInfo *info_of(Emitter *e, const Value *v) {
    return &e->values[v->number];
}

/* ---- build.c: small things to say in LLVM -----------------------------------------------------
 */

RegType reg_type(Emitter *e, const Type *element);    /* of one element in a register */
RegType stored_type(Emitter *e, const Type *element); /* and in memory */
RegType lanes_type(RegType type, uint32_t width);     /* width 1: the type itself */
uint32_t width_of(Reg reg);                           /* 1 for scalars */
Reg const_i64(Emitter *e, int64_t value);
Reg const_i32(Emitter *e, int64_t value);
Reg const_like(Reg like, double value); /* a float (vector) constant of like's type */
Reg const_int_like(Reg like, uint64_t value);
Reg splat_reg(Emitter *e, Reg reg, uint32_t width);         /* a scalar to a vector; vectors stay */
Reg lane_numbers(Emitter *e, RegType type, uint32_t width); /* {0, 1, 2, ...} */
Reg extract_lane(Emitter *e, Reg vector, uint32_t lane);
/* Makes all of them as wide as the widest. */
void same_width(Emitter *e, uint32_t count, Reg *regs);
/* An intrinsic overloaded over the types of its first operand. */
Reg call_intrinsic(Emitter *e, const char *name, uint32_t count, Reg *operands);
Reg call_overloaded(Emitter *e, const char *name, uint32_t type_count, RegType *types,
                    uint32_t count, Reg *operands);
/* A C function; every operand and the result scalars. */
Reg call_extern(Emitter *e, const char *name, RegType result, uint32_t count, Reg *operands);
/* A function of the module, made when it is asked for first: code that many places share.
 *
 *     Function f;
 *     if (function_open(e, &f, "tkc.twice", type, &type, 1))
 *         function_close(e, &f, LLVMBuildFAdd(e->b, f.arguments[0], f.arguments[0], ""));
 *     function_call(e, f.value, &x, 1);
 */
enum { MOST_ARGUMENTS = 8 };
typedef struct Function {
    Reg value, arguments[MOST_ARGUMENTS], caller;
    Reg before; /* where the caller goes on */
    LLVMBasicBlockRef here;
} Function;
/* False: it is there already. `result` NULL: void. */
bool function_open(Emitter *e, Function *f, const char *name, RegType result, RegType *types,
                   uint32_t count);
void function_close(Emitter *e, Function *f, Reg result);
Reg function_call(Emitter *e, Reg function, Reg *operands, uint32_t count);
Reg shuffle(Emitter *e, Reg a, Reg b, uint32_t count, const int *order);
Reg as_pointer(Emitter *e, Reg address);
Reg byte_offset(Emitter *e, Reg pointer, Reg offset);
LLVMBasicBlockRef new_block(Emitter *e, const char *name);
Reg load_reg(Emitter *e, RegType type, Reg pointer, uint32_t align);
void store_reg(Emitter *e, Reg value, Reg pointer, uint32_t align);
/* i1 registers are bytes in memory. */
Reg to_memory(Emitter *e, Reg reg, const Type *element);
Reg from_memory(Emitter *e, Reg reg, const Type *element);

/* A loop that runs at least once over 0, step, ... < count (constants: no loop when it is one). */
enum { MAX_CARRIED = 32 };
typedef struct Loop {
    Reg index; /* i64 */
    Reg phi[MAX_CARRIED], next[MAX_CARRIED];
    uint32_t carried;
    Reg count;
    uint64_t step;
    bool once;
    LLVMBasicBlockRef before, body;
    Reg branch; /* into the loop: code that does not change goes before it */
} Loop;
void loop_open(Emitter *e, Loop *loop, Reg count, uint64_t step, uint32_t carried,
               const Reg *initial);
void loop_close(Emitter *e, Loop *loop); /* set next[] first; phi[] are then the final values */
/* A block that runs when the condition holds. */
typedef struct Branch {
    LLVMBasicBlockRef from, then, other, end;
} Branch;
void branch_open(Emitter *e, Branch *branch, Reg condition);
void branch_else(Emitter *e, Branch *branch);
void branch_close(Emitter *e, Branch *branch);
Reg branch_merge(Emitter *e, Branch *branch, LLVMBasicBlockRef then_end, Reg then_value,
                 LLVMBasicBlockRef else_end, Reg else_value);
Reg launch_field(Emitter *e, size_t offset, RegType type);
#define LAUNCH_FIELD(e, field, type) launch_field(e, offsetof(CpuLaunch, field), type)
/* Stops the program. */
void code_fault(Emitter *e, const Op *op, uint32_t kind, Reg element, Reg address);

/* ---- clone.c -----------------------------------------------------------------------------------
 */

/* A copy of the module that may be changed; `from` is only read. Loops that move a block by the
 * same amount each time carry the amount instead. */
Module *cpu_clone(Arena *arena, const Module *from);

/* ---- plan.c ------------------------------------------------------------------------------------
 */

void plan_module(Emitter *e);
uint32_t order_of(const Emitter *e, const Op *op); /* 1, 2, ... in order of the text */

/* ---- ahead_of_time.c ---- */

/* Messages may be about this op. */
void note_site(Emitter *e, const Op *op);
/* All that were noted, as many as e->sites has. */
const CpuSite *sites_of(Emitter *e);
/* Adds the CpuNative of the function. */
void add_native(Emitter *e, uint64_t features, const char *header);
/* LLVM's list; NULL: an unknown processor. */
const char *processor_features(const char *name);
bool op_is_lazy(const Op *op);               /* its block result is computed where it is used */
bool region_is_simple(const Region *region); /* only element ops and constants */

/* ---- nest.c ------------------------------------------------------------------------------------
 */

typedef struct Nest {
    Emitter *e;
    const Type *space;
    uint32_t width, lane_dim;
    Place place; /* the body's */
    Loop loops[MAX_RANK];
    uint32_t loop_count;
    VEC(const Value *) passing; /* stored values written on the way */
    VEC(const Value *) touched; /* values with memos */
    VEC(const Value *) asked;   /* loads that it prefetches for the next program */
    const Value *mask;          /* split_open: what is known of it at `place` */
    bool all_on;
    bool next_turn; /* loads are asked for one turn of the loop ahead */
} Nest;

/* Lanes that suit a block. */
uint32_t usual_width(const Emitter *e, const Type *space, uint32_t lane_dim);
/* All dims but those in `without` (bits) become loops, the lane dim last. */
void nest_open(Nest *nest, Emitter *e, const Type *space, uint32_t lane_dim, uint32_t width);
void nest_close(Nest *nest);
/* Forgets what the body knows, before code for other elements. */
void nest_forget(Nest *nest);
/* Mostly all lanes of a mask are on, and plain code for that is faster. A split has the body twice:
 *
 *     for (split_open(&split, &nest, mask); split_next(&split);) { ... the body ... }
 *
 * once where the mask is known to be on in all lanes of `places` (which end with the nest's own),
 * and once where it is not; a NULL mask gives the body once. split_merge joins registers.
 */
typedef struct Split {
    Nest *nest;
    Branch branch;
    Place place; /* the nest's, before */
    uint32_t turn;
    bool two;
    LLVMBasicBlockRef ends[2];
} Split;
void split_open(Split *split, Nest *nest, const Value *mask, uint32_t count, const Place *places);
bool split_next(Split *split);
Reg split_merge(const Split *split, Reg first, Reg second);
/* A mask of the loads that computing the values at the nest's place does; NULL: none, or the body
 * is too long to have it twice. */
const Value *mask_of(Emitter *e, uint32_t count, const Value *const *values);
/* Elements of a block value (scalars: the value itself). */
Reg eval(Nest *nest, const Value *value, const Place *place);
static inline Reg eval_here(Nest *nest, const Value *value) {
    return eval(nest, value, &nest->place);
}
/* The same as base + lane * step; false: eval it. */
bool eval_affine(Nest *nest, const Value *value, const Place *place, Reg *base, Reg *step);
/* Before a nest over `space` evaluates the value at its own place (here) or others. */
void prepare(Emitter *e, const Value *value, const Type *space, bool here);
/* Gets the value into its slot, unless it is there. What was made in an outer region is there only
 * until the end of the present one, which may not run, or run again. */
void force(Emitter *e, const Value *value);
/* Writes values of one shape to slots in one nest. */
void materialise(Emitter *e, uint32_t count, const Value *const *values, const uint64_t *slots);
uint64_t slot_alloc(Emitter *e, uint64_t bytes);
void slot_free(Emitter *e, uint64_t slot, uint64_t bytes);
uint64_t slot_bytes(const Type *type);
void give_slot(Emitter *e, const Value *value);
Reg slot_pointer(Emitter *e, uint64_t slot);
Reg row_major(Emitter *e, const Type *type, const Place *place, uint32_t width, CoordKind *kind);
Reg slot_read(Emitter *e, const Type *type, uint64_t slot, const Place *place, uint32_t width);
void slot_write(Emitter *e, const Type *type, uint64_t slot, const Place *place, Reg value,
                uint32_t width);
bool has_unread_loads(Emitter *e, const Value *value);
Reg scalar_of(Emitter *e, const Value *value);
/* Is the operation inside a region run on lanes: its results come from eval_region. */
void eval_region(Emitter *e, const Region *region, uint32_t count, const Reg *arguments,
                 Reg *results);

/* ---- element.c, cast.c, math.c ------------------------------------------------------ */

/* An ELEMENT op on registers of any width. */
Reg code_element(Emitter *e, const Op *op, Reg *operands);
Reg code_binary(Emitter *e, OpCode code, DType dtype, Reg a, Reg b);
Reg code_cast(Emitter *e, DType from, DType to, bool rtz, Reg x);
Reg code_math(Emitter *e, OpCode code, DType dtype, Reg *operands);
Reg code_constant(Emitter *e, const Op *op);
Reg widen_to_f32(Emitter *e, DType from, Reg x);
Reg narrow_from_f32(Emitter *e, DType to, bool rtz, Reg x);

/* ---- bounds.c ----------------------------------------------------------------------- */

/* An access by `width` lanes of `size` bytes for the elements at a place of a block of pointers. */
typedef struct Checked {
    const Op *op;
    uint32_t size, width;
    uint64_t step; /* from lane to lane, in bytes, when the address is a scalar */
    Reg mask;      /* NULL: all; a scalar: for all lanes */
    const Place *place;
} Checked;
/* Where they lie; the program ends when they may not be accessed. */
Reg code_checked(Emitter *e, const Checked *c, Reg address);

/* ---- ahead.c ------------------------------------------------------------------------ */

/* The value, a load that lies in its slot, is being read at the place: prefetches what the next
 * program will load there. */
void ask_ahead(Nest *nest, const Value *value, const Place *place);
/* ... and in a loop: what the load will want in the next turn. */
void ask_next_turn(Nest *nest, const Op *load, Reg base);

/* ---- memory.c, reduce.c, dot.c, outside.c, control.c -------------------------------- */

Reg eval_load(Nest *nest, const Op *op, const Place *place);
void code_load(Emitter *e, const Op *op);
void code_store(Emitter *e, const Op *op);
void code_atomic(Emitter *e, const Op *op);
void code_reduce(Emitter *e, const Op *op);
void code_scan(Emitter *e, const Op *op);
void code_map(Emitter *e, const Op *op);
void code_histogram(Emitter *e, const Op *op);
void code_dot(Emitter *e, const Op *op);
/* Operands of a dot inside the loop that are made before it are packed before it. */
void pack_outside(Emitter *e, const Op *loop, const Region *region);
void release_packs(Emitter *e, const Op *loop);
void code_dot_scaled(Emitter *e, const Op *op);
void code_print(Emitter *e, const Op *op);
void code_assert(Emitter *e, const Op *op);
void code_ops(Emitter *e, const Region *region); /* all but the last */
void code_body(Emitter *e);
/* Before an op that may write: loads that are still to be done. */
void before_write(Emitter *e, const Op *op);
/* Is the lazy value needed by something that comes after the op? */
bool is_needed_after(Emitter *e, const Value *v, const Op *op);

#endif
