/* gpu_code.h: from block IR to PTX: the GPU passes and the emitter, and what is kept on the way. */
#ifndef TKC_RUNTIME_GPU_CODE_H
#define TKC_RUNTIME_GPU_CODE_H

#include "compiler/gpu/gpu.h"
#include "runtime/internal.h"

/* Runs several lists of passes with one set of options: each gets the names that are its own. */
typedef struct PassRun {
    const tkc_compile_options *options;
    Text *dump, *times; /* times: NULL when not wanted */
    bool stopped;       /* stop_after was reached */
    double emit_ms;     /* what gpu_code took for LLVM IR and PTX */
} PassRun;

/* False and messages in module->diagnostics when a check failed. */
bool passes_run(PassRun *run, Module *module, const Pass *passes);

typedef struct GpuTexts {
    Text laid, placed, llvm, ptx;
} GpuTexts;

/* The name of a GPU target as the table has it; NULL: no GPU. */
const char *gpu_target_name(const char *target);
/* Is it one that can be compiled for? NULL is. */
tkc_status target_check(const char *target);
/* Needs a module at block level, after its passes. Fills laid, placed and llvm when they are asked
 * for (options.intermediate), and ptx (unless stopped; without an emitter only intermediate texts
 * can be had). TKC_OK; TKC_COMPILE_ERROR and messages; TKC_UNSUPPORTED: this build has no emitter.
 */
tkc_status gpu_code(PassRun *run, Module *module, const char *target, GpuTexts *texts);

#endif
