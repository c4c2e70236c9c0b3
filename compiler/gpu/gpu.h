/* gpu.h: the GPU back end: BLOCK-level IR in, PTX out.
 *
 *            bases             a block of pointers is a scalar pointer and offsets
 *     BLOCK  --lay-->  LAID    every block value has a layout; changes of layout are `convert` ops
 *            settle            fewer and cheaper converts
 *            pipeline          loads of loops go ahead by cp.async into rings of shared buffers
 *            --place-> PLACED  shared memory offsets and barriers are fixed
 *            emit              LLVM IR, then PTX
 *
 * A target is a row of facts; no pass knows a capability number.
 */
#ifndef TKC_COMPILER_GPU_GPU_H
#define TKC_COMPILER_GPU_GPU_H

#include "compiler/ir.h"
#include "compiler/layout/tile.h"
#include "compiler/passes/pass.h"

/* Kinds of mma.sync, as bits. */
enum {
    MMA_F16 = 1, /* f16 and bf16, k 16 */
    MMA_TF32 = 2,
    MMA_S8 = 4,
    MMA_F64 = 8,
    MMA_FP8 = 16 /* e4m3, e5m2 */
};

typedef struct GpuTarget {
    const char *name;      /* "sm_80" */
    const char *processor; /* LLVM's name for it */
    const char *features;  /* "+ptx80" */
    const char *about;
    uint32_t capability;   /* 80, 90, ... */
    uint32_t shared_bytes; /* most dynamic shared memory of a block */
    uint32_t mma;
    bool cp_async, bf16_arithmetic, stmatrix;
    bool vector_atomics; /* red and atom of several f32, f16x2, bf16x2 at once */
    bool wgmma, tma;     /* for the passes of sm_90a */
} GpuTarget;

extern const GpuTarget gpu_targets[]; /* NULL name ends it */
/* "sm_80"; "cuda:80": what suits that compute capability (targets.def); NULL when unknown. */
const GpuTarget *gpu_target(const char *name);

/* The list from BLOCK to PLACED for a target; run with pipeline_run after pipeline_block. The
 * target is found in module->target. */
extern const Pass pipeline_gpu[];

bool pass_bases(Module *module);    /* BLOCK: pointers as scalars and offsets */
bool pass_lay(Module *module);      /* BLOCK -> LAID */
bool pass_settle(Module *module);   /* LAID */
bool pass_pipeline(Module *module); /* LAID: software pipelining of `for` */
bool pass_place(Module *module);    /* LAID -> PLACED: shared memory by lifetime, barriers */

/* ---- what holds at LAID and PLACED ------------------------------------------------------------
 *
 * Every block value has a layout that is onto its block, with exactly 5 lane bits and
 * log2(num_warps) warp bits. Registers of a value are numbered by its register bits. `a` == `b`
 * below: the same interned layout. Rules that follow from equal types (arithmetic, compare, select,
 * load, store, for, if ...) need no words; rules_layout.c checks the others:
 *
 *   constant, arange, splat   any layout: each thread makes its own elements
 *   expand_dims, reshape      result == operand: register r stays register r
 *   permute                   layout_permute(operand): register r stays register r
 *   broadcast                 register r of the result is register bit_map_apply(map, r) of the
 *                             same thread's operand, with the map of layout_broadcast_map
 *   join                      layout_join(operand): register 2 r + i is register r of operand i
 *   split                     layout_split(operand, &half, &bit): result i's register r is the
 *                             operand's register r with bit `bit` set to i (higher bits moved up)
 *   concat                    layout_concat(operand): the operands' registers, one after the other
 *   cast, bitcast, map, inline_asm, scan   all blocks the same layout
 *   reduce                    layout_slice(operand, axis); every thread whose slice column is a
 *                             copy gets the result too (butterfly shuffles, then shared memory at
 *                             `scratch` when warp bits move along the axis)
 *   scan                      along the axis, columns are single bits, in ascending order:
 *                             registers, lanes, warps, then registers again (each may be empty)
 *   convert                   any to any: layout_conversion(from, to, &map) says how; for
 *                             CONVERT_SHARED (and only then) `scratch` is set
 *   gather                    result == index; source any (whole source through `scratch`). When
 *                             it swaps partners (gather_swaps) and source == result, they are
 *                             found in the thread's registers or by a butterfly shuffle; those of
 *                             other warps through `scratch`, each register of each thread there
 *   histogram                 counts any (`scratch`: 4 bytes a count)
 *   atomic_rmw, atomic_cas    one layout. Threads and registers that hold copies (layout_copies)
 *                             do nothing; when the result is used and there are lane or warp
 *                             copies, the old values go round through `scratch` (one element
 *                             each). A scalar atomic is done by thread 0 and its result goes the
 *                             same way.
 *   store                     threads that hold copies do nothing; a scalar store is thread 0's
 *   dot                       result == operand 2, and one of
 *                               gpu_dot_mma(module, op, &tile): the result is tile_mma_result, a
 *                                 is tile_mma_a, b is tile_mma_b (element_bits of the operands)
 *                               otherwise FMA: a's lane and warp columns are those of the result,
 *                                 projected on M (k = 0); its registers cover, with the rows of
 *                                 the thread, all k (layout_find_register finds element (m, k) of
 *                                 the thread); b likewise with N
 *   dot_scaled                does not occur: lay turns it into dot
 *   shared_store, shared_load the block of buffer number operand 1; element e of the block lies at
 *                             offset o (in elements) of the buffer with columns(o) = e, so
 *                             bytes: scratch + (buffer * count + o) * size
 *   async_copy                cp.async of the pointers' block into that buffer; masked-off
 *                             elements are filled with 0 (src-size 0; `other`, when given, is 0);
 *                             with `skip` they are not touched
 *                             Runs per thread are at least 4 bytes contiguous in both memories
 *   async_wait {count}        cp.async.wait_group count; a `barrier` follows where others' data is
 *                             read
 *   barrier                   bar.sync 0. pass_place puts every barrier that is needed *between*
 *                             ops; an op that uses its own `scratch` puts the barriers inside
 *                             itself (between its writes and its reads), none before or after
 *
 * PLACED: every op above that needs shared memory has `scratch`: a byte offset, multiple of 128;
 * gpu_scratch_bytes(op) bytes from there are its own while it runs (shared_alloc: while used).
 */

/* Bytes of shared memory the op needs: for its own use while it runs, or as the buffers of a
 * shared_alloc. 0: none. The same function serves place, verify and the emitter. */
uint32_t gpu_scratch_bytes(const Module *module, const Op *op);

/* The parameter that a pointer was made from by adding offsets; NULL: not known. */
const Value *gpu_pointer_root(const Value *pointer);

/* PLACED: does each op that needs shared memory have a place, apart from those alive with it? NULL,
 * or what is wrong with *culprit. */
const char *gpu_check_placed(Module *module, const Op **culprit);

/* A gather that swaps partners, with source and result in one layout? A layout is linear, so every
 * thread finds all its partners at one *distance, an XOR of places (packed as in layout_find). */
bool gpu_gather_distance(const Op *gather, uint32_t *distance);

/* Is this dot done by mma.sync, and with which tile? False: by FMA. */
bool gpu_dot_mma(const Module *module, const Op *dot, MmaTile *tile);

/* ---- emission ---------------------------------------------------------------------------- */

/* Kernel ABI: the parameters in order, pointers as 64-bit global addresses, i1 as one byte; then
 * the launch must give block size kernel->num_warps * 32 and kernel->shared_bytes of dynamic shared
 * memory. The entry has the kernel's name. */
typedef struct GpuCode {
    Text *llvm; /* LLVM IR before optimisation; NULL: not wanted */
    Text *ptx;
} GpuCode;

/* Needs PLACED. False and messages in module->diagnostics when something cannot be emitted. The
 * same module gives the same bytes. Sets num_ctas to 1. Thread-safe. */
bool gpu_emit(Module *module, const GpuTarget *target, GpuCode *code);

#endif
