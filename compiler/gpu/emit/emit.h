/* emit.h: what the files of the emitter share.
 *
 * A block value is an array of LLVM values, one a register of its layout: entry r is what this
 * thread holds in register r. Lane and warp are numbers of the running thread; what they select (an
 * element number, an offset in shared memory) is a linear map, computed once in the entry block
 * and XORed with a constant for each register.
 *
 * Errors leave by longjmp to gpu_emit (emit_fail); nothing here returns a status.
 */
#ifndef TKC_COMPILER_GPU_EMIT_H
#define TKC_COMPILER_GPU_EMIT_H

#include "compiler/gpu/axis.h"
#include "compiler/gpu/gpu.h"
#include "compiler/gpu/guard.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/TargetMachine.h>

typedef LLVMValueRef Scalar; /* one element, or a word of several */
typedef LLVMTypeRef ScalarType;

/* An index that depends on the thread: `base` has bits of `mask` only. */
typedef struct Index {
    Scalar base;
    uint32_t mask;
} Index;

typedef struct ThreadIndex {
    const Layout *layout;
    Index index;
} ThreadIndex;

typedef struct InlinedScope {
    const CallSite *site;
    LLVMMetadataRef scope, call;
} InlinedScope;

typedef struct Emitter {
    Module *module;
    const GpuTarget *target;
    Arena *arena;
    const Axis *axis;
    LLVMContextRef context;
    LLVMModuleRef code;
    LLVMBuilderRef builder;
    LLVMTargetMachineRef machine;
    LLVMDIBuilderRef debug;
    LLVMMetadataRef *files; /* by source */
    LLVMMetadataRef subprogram, subroutine;
    VEC(InlinedScope) scopes;
    Scalar function, entry_end; /* entry_end: the branch that ends the entry block */
    ScalarType nothing, i1, i8, i16, i32, i64, f16, bf16, f32, f64;
    ScalarType global, shared, generic; /* pointers */
    Scalar **values;                    /* by value number */
    struct SharedBlock **waiting;       /* by value number: to be fetched by a dot; or NULL */
    Scalar lane, warp, shared_base;
    VEC(ThreadIndex) threads; /* element numbers, by layout */
    uint32_t prints;
    const Op *op; /* under way: for messages */
    jmp_buf *failed;
} Emitter;

_Noreturn void emit_fail(Emitter *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- llvm.c --------------------------------------------------------------------------------- */

/* Starts LLVM once in the process; false: this LLVM lacks the target. Thread-safe. */
bool llvm_start(void);
LLVMTargetMachineRef llvm_machine(const GpuTarget *target);
/* Verifies, optimises, writes PTX. False: *message says why (in the arena). */
bool llvm_write(Emitter *e, Text *ptx, const char **message);

/* After LLVM's passes: what is cheap to make again is made where it is used (sink.c). */
void emit_sink(Emitter *e);

/* ---- emit.c: values, types, indices
 * ---------------------------------------------------------------- */

uint32_t register_count(const Type *type);
ScalarType element_type(Emitter *e, const Type *type); /* of a scalar, pointer or block element */
ScalarType memory_type(Emitter *e, const Type *type);  /* the same, i1 as i8 */
ScalarType int_type(Emitter *e, uint32_t bits);
Scalar *emit_values(Emitter *e, const Value *value);
Scalar *emit_operand(Emitter *e, const Op *op, uint32_t i);
Scalar *emit_result(Emitter *e, const Op *op, uint32_t i); /* new array to be filled */
Scalar emit_scalar(Emitter *e, const Op *op, uint32_t i);  /* operand i is a scalar */
bool emit_is_renaming(const Op *op); /* register r of the result is register r of operand 0 */
void emit_region(Emitter *e, const Region *region);
/* Runs a region of scalars: arguments in, what its yield gives out. */
void emit_inline(Emitter *e, const Region *region, const Scalar *arguments, Scalar *results);

/* The map with these columns applied to `x` (bits above `bits` of x are ignored). */
Index emit_linear(Emitter *e, Scalar x, uint32_t bits, const uint32_t *columns);
/* The map of lane and warp bits, computed in the entry block. */
Index emit_thread_index(Emitter *e, const uint32_t *lane_columns, uint32_t lane_bits,
                        const uint32_t *warp_columns, uint32_t warp_bits);
Index emit_thread_element(Emitter *e, const Layout *layout);
Scalar index_xor(Emitter *e, Index index, uint32_t constant);
Scalar emit_element_number(Emitter *e, const Layout *layout, uint32_t reg);
/* Coordinate of dim d of an element number. */
Scalar emit_coordinate(Emitter *e, const Type *type, Scalar number, uint32_t d);
/* True in threads that hold no copy; NULL: all of them. */
Scalar emit_is_owner(Emitter *e, const Layout *layout);

/* Where instructions go: to the entry block, and back. */
LLVMBasicBlockRef emit_at_entry(Emitter *e);
void emit_back(Emitter *e, LLVMBasicBlockRef block);
LLVMBasicBlockRef emit_block(Emitter *e, const char *name);

/* ---- small builders -----------------------------------------------------------------------------
 */

Scalar emit_i32(Emitter *e, int64_t value);
Scalar emit_i64(Emitter *e, int64_t value);
Scalar emit_intrinsic(Emitter *e, const char *name, ScalarType overload, uint32_t count,
                      Scalar *arguments);
#define INTRINSIC(e, name, ...)                                                                    \
    emit_intrinsic((e), (name), NULL,                                                              \
                   (uint32_t)(sizeof((Scalar[]){__VA_ARGS__}) / sizeof(Scalar)),                   \
                   (Scalar[]){__VA_ARGS__})
/* Overloaded by one type. */
#define INTRINSIC_OF(e, name, type, ...)                                                           \
    emit_intrinsic((e), (name), (type),                                                            \
                   (uint32_t)(sizeof((Scalar[]){__VA_ARGS__}) / sizeof(Scalar)),                   \
                   (Scalar[]){__VA_ARGS__})
Scalar emit_asm(Emitter *e, const char *text, const char *constraints, ScalarType result,
                uint32_t count, Scalar *arguments, bool effect);
Scalar emit_part(Emitter *e, Scalar aggregate, uint32_t index); /* member of a struct */
void emit_barrier(Emitter *e);
void emit_branch_if(Emitter *e, Scalar condition, LLVMBasicBlockRef *then,
                    LLVMBasicBlockRef *after); /* positioned in `then`; ends with emit_join */
void emit_join(Emitter *e, LLVMBasicBlockRef after);

/* ---- emit_pack.c: elements in words -------------------------------------------------------------
 */

/* `count` elements of `size` bytes each, as integers of `word` bytes; both ways. i1 is one byte. */
void emit_pack(Emitter *e, const Type *element, uint32_t count, const Scalar *from, uint32_t word,
               Scalar *to);
void emit_unpack(Emitter *e, const Type *element, uint32_t count, const Scalar *from, uint32_t word,
                 Scalar *to);
Scalar emit_shuffle(Emitter *e, const char *mode, const Type *element, Scalar x, Scalar lane);

/* ---- the ops, by file ---------------------------------------------------------------------------
 */

void emit_element_op(Emitter *e, const Op *op);
/* One element; `type` is the scalar type. */
Scalar emit_cast_one(Emitter *e, Scalar x, DType from, DType to, bool rtz);
Scalar emit_math(Emitter *e, OpCode code, DType dtype, Scalar x); /* NULL: not one of its ops */

/* Elements of `size` bytes that a thread may access at once through these pointers. */
uint32_t emit_access_vector(Emitter *e, const Value *pointers, const Value *mask, uint32_t size);
void emit_load(Emitter *e, const Op *op);
void emit_store(Emitter *e, const Op *op);
void emit_atomic(Emitter *e, const Op *op);

void emit_convert(Emitter *e, const Op *op);
void emit_gather(Emitter *e, const Op *op);
void emit_histogram(Emitter *e, const Op *op);

void emit_reduce(Emitter *e, const Op *op);
void emit_scan(Emitter *e, const Op *op);

void emit_dot(Emitter *e, const Op *op);

void emit_shared_alloc(Emitter *e, const Op *op);
void emit_shared_store(Emitter *e, const Op *op);
void emit_shared_load(Emitter *e, const Op *op);
void emit_async_copy(Emitter *e, const Op *op);
void emit_async_commit(Emitter *e);
void emit_async_wait(Emitter *e, const Op *op);
/* Blocks to and from shared memory at `base` (a byte offset), laid out by `shared`. */
void emit_to_shared(Emitter *e, const Type *block, const Scalar *values, const Layout *shared,
                    Scalar base);
void emit_from_shared(Emitter *e, const Type *block, Scalar *values, const Layout *shared,
                      Scalar base);
Scalar emit_shared_address(Emitter *e, Scalar bytes); /* pointer at a byte offset */
/* The same, register by register: entries of `values` that are not NULL are there already. */
typedef struct SharedBlock SharedBlock;
SharedBlock *emit_shared_open(Emitter *e, const Type *block, Scalar *values, const Layout *shared,
                              Scalar base);
Scalar emit_shared_fetch(Emitter *e, SharedBlock *block, uint32_t reg);

void emit_print(Emitter *e, const Op *op);
void emit_assert(Emitter *e, const Op *op);
void emit_inline_asm(Emitter *e, const Op *op);

#endif
