/* gpu.h: the GPU back end: BLOCK-level IR in, PTX out.
 *
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
    bool wgmma, tma; /* for the passes of sm_90a */
} GpuTarget;

extern const GpuTarget gpu_targets[]; /* NULL name ends it */
const GpuTarget *gpu_target(const char *name); /* "sm_80", "cuda:80"; NULL when unknown */

/* The list from BLOCK to PLACED for a target; run with pipeline_run after pipeline_block. The target
 * is found in module->target. */
extern const Pass pipeline_gpu[];

bool pass_lay(Module *module);      /* BLOCK -> LAID */
bool pass_settle(Module *module);   /* LAID */
bool pass_pipeline(Module *module); /* LAID: software pipelining of `for` */
bool pass_place(Module *module);    /* LAID -> PLACED: shared memory by lifetime, barriers */

/* Kernel ABI: the parameters in order, pointers as 64-bit global addresses, i1 as one byte; then the
 * launch must give block size kernel->num_warps * 32 and kernel->shared_bytes of dynamic shared
 * memory. The entry has the kernel's name. */
typedef struct GpuCode {
    Text *llvm; /* LLVM IR before optimisation; NULL: not wanted */
    Text *ptx;
} GpuCode;

/* Needs PLACED. False and messages in module->diagnostics when something cannot be emitted. The same
 * module gives the same bytes. Thread-safe. */
bool gpu_emit(Module *module, const GpuTarget *target, GpuCode *code);

#endif
