/* cpu.h: BLOCK-level IR to native code, by LLVM.
 *
 * One program of the grid is one call of the compiled function. A block value is either computed
 * where it is used, a vector of lanes at a time, or lies row-major in the program's scratch
 * memory; every op is a loop over vectors, so code does not grow with the blocks.
 *
 * Addresses are the machine's own, and nothing is checked, unless CpuOptions.bounds asks for it.
 * Then pointer arguments are CPU_CHECKED_ADDRESS(k) + offset into range k of the launch, so far
 * apart that a wild address still tells what was meant, and each access is checked and translated.
 * Other addresses (read from memory, or given as such) are the machine's own then, too, and only
 * null pointers are told among them.
 */
#ifndef TKC_COMPILER_CPU_CPU_H
#define TKC_COMPILER_CPU_CPU_H

#include "compiler/ir.h"

enum {
    CPU_RUNNING,
    CPU_FAULT_ASSERT,
    CPU_FAULT_UNSUPPORTED,
    CPU_FAULT_BOUNDS, /* and the next two: CpuFault.address counts from CPU_CHECKED on */
    CPU_FAULT_MISALIGNED,
    CPU_FAULT_NULL
};

enum { CPU_RANGE_SHIFT = 40 };
#define CPU_CHECKED (UINT64_C(1) << 62)
#define CPU_CHECKED_ADDRESS(k) (CPU_CHECKED + (((uint64_t)(k) + 1) << CPU_RANGE_SHIFT))

/* Memory that may be accessed. */
typedef struct CpuRange {
    uint64_t size, data; /* data: where it lies */
} CpuRange;

/* Why a program stopped, and at which op (cpu_op_at). */
typedef struct CpuFault {
    uint32_t kind, op;
    uint64_t element, address;
} CpuFault;

typedef struct CpuLaunch CpuLaunch;

/* Elements of operand `operand` of the print op, row-major. */
typedef void CpuPrint(const CpuLaunch *launch, const uint32_t *program, uint32_t op,
                      uint32_t operand, const void *elements);

/* Some accesses that are to be checked. */
enum { CPU_MOST_LANES = 64 };
typedef struct CpuLanes {
    uint64_t address[CPU_MOST_LANES], element[CPU_MOST_LANES];
    uint8_t on[CPU_MOST_LANES];
} CpuLanes;

/* Checks `count` lanes of `size` bytes and sets their addresses to where they lie (those that are
 * off: to where they would lie). 0, or a CPU_FAULT_... with *fault filled in. */
typedef uint32_t CpuCheck(const CpuLaunch *launch, CpuLanes *lanes, uint32_t count, uint32_t size,
                          uint32_t op, CpuFault *fault);

/* What compiled code reads. */
struct CpuLaunch {
    const uint64_t *arguments; /* one a parameter: address, or the scalar's bits */
    uint64_t grid[3];
    uint64_t tf32_half, tf32_mask; /* x & mask after x + half; 0 and ~0: dot in full f32 */
    CpuPrint *print;
    CpuCheck *check; /* bounds: cpu_check, and the memory there is; at least one range */
    const CpuRange *ranges;
    uint64_t range_count;
    uint64_t stream; /* not 0: results go past the caches, which the launch would only flush */
};

/* Runs one program. `scratch` has scratch_size bytes, aligned to 64. 0, or a CPU_FAULT_... */
typedef uint32_t CpuEntry(const CpuLaunch *launch, uint8_t *scratch, const uint32_t *program,
                          CpuFault *fault);

typedef struct CpuOptions {
    const char *processor; /* LLVM's name, "native" or NULL: this machine */
    const char *features;  /* LLVM's, "+avx2,-avx512f", or NULL */
    bool bounds;           /* check every access */
} CpuOptions;

/* Code ready to run. */
typedef struct CpuCode {
    CpuEntry *entry;
    uint64_t scratch_size;
    uint64_t stored;      /* bytes that a program stores at least; 0: `stream` is not looked at */
    const Module *module; /* what was compiled: ops that faults and prints are about */
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
 * `const uint64_t tkc_NAME_scratch`, the bytes of scratch it needs. */
bool cpu_emit(Module *module, const CpuOptions *options, CpuForm form, Text *out, Text *error);
/* This machine's processor and vector width in bits, for listings. */
const char *cpu_host_name(Arena *arena, uint32_t *vector_bits);

CpuCheck cpu_check;

/* The op that CpuFault and CpuPrint mean; NULL when there is none. */
const Op *cpu_op_at(const CpuCode *code, uint32_t index);

#endif
