/* cpu.h: BLOCK-level IR to native code, by LLVM.
 *
 * One program of the grid is one call of the compiled function. A block value is either computed
 * where it is used, a vector of lanes at a time, or lies row-major in the program's scratch
 * memory; every op is a loop over vectors, so code does not grow with the blocks.
 *
 * What compiled code and those who call it agree on is in native.h.
 */
#ifndef TKC_COMPILER_CPU_CPU_H
#define TKC_COMPILER_CPU_CPU_H

#include "compiler/cpu/native.h"
#include "compiler/ir.h"

typedef struct CpuOptions {
    const char *processor; /* "native" or NULL: this machine; else see cpu_target */
    const char *features;  /* "+avx2,-avx512f", or NULL */
    bool bounds;           /* check every access */
    const char *header;    /* cpu_emit: adds a CpuNative with this header; NULL: none */
} CpuOptions;

/* Code ready to run. */
typedef struct CpuCode {
    CpuEntry *entry;
    uint64_t scratch_size;
    uint64_t stored;      /* bytes that a program stores at least; 0: `stream` is not looked at */
    const Module *module; /* what was compiled: ops that faults are about */
    const CpuSite *sites;
    uint32_t site_count;
    void *jit;
    Arena *arena;
    double plan_ms, optimise_ms, code_ms, link_ms;
} CpuCode;

typedef enum CpuForm { CPU_LLVM, CPU_ASM, CPU_OBJECT } CpuForm;

/* Compile the module's kernel; the module is only read. False: `error` says why (it is added to).
 * Code lives until cpu_free. Any thread may call these. */
bool cpu_compile(Module *module, const CpuOptions *options, CpuCode *code, Text *error);
void cpu_free(CpuCode *code);
/* The same as text or bytes. The function is called tkc_NAME (a CpuEntry), and beside it there is
 * `const CpuNative tkc_native_NAME` when the options have its header. */
bool cpu_emit(Module *module, const CpuOptions *options, CpuForm form, Text *out, Text *error);
/* This machine's processor and vector width in bits, for listings. */
const char *cpu_host_name(Arena *arena, uint32_t *vector_bits);

/* What a target says: "cpu" is this machine; "cpu:x86-64-v3,+avx512f,-fma" names a processor
 * (native, generic, a level of x86-64) and parts of instruction sets. The options refer to the
 * arena. False: `error` says what is wrong. */
bool cpu_target(Arena *arena, const char *target, CpuOptions *options, Text *error);

CpuCheck cpu_check;

/* The op that CpuFault means; NULL when there is none. */
const Op *cpu_op_at(const CpuCode *code, uint32_t index);

#endif
