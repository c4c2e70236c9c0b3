/* native.h: what native code and those who call it agree on: no LLVM and no compiler is needed to
 * run what was compiled ahead of time.
 *
 * Addresses are the machine's own, and nothing is checked, unless CpuOptions.bounds asked for it.
 * Then pointer arguments are CPU_CHECKED_ADDRESS(k) + offset into range k of the launch, so far
 * apart that a wild address still tells what was meant, and each access is checked and translated.
 * Other addresses (read from memory, or given as such) are the machine's own then, too, and only
 * null pointers are told among them.
 */
#ifndef TKC_COMPILER_CPU_NATIVE_H
#define TKC_COMPILER_CPU_NATIVE_H

#include <stddef.h>
#include <stdint.h>

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

/* Why a program stopped, and at which op (CpuSite.op). */
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

/* ---- what the code is about ---------------------------------------------------------------- */

enum { CPU_MOST_RANK = 8 };

typedef struct CpuOperand {
    uint32_t dtype; /* DType; 0: pointers */
    uint32_t size;  /* bytes of an element */
    uint32_t rank, count;
    uint32_t shape[CPU_MOST_RANK];
} CpuOperand;

/* An op that prints, or that can end a program. */
typedef struct CpuSite {
    uint32_t op; /* as CpuFault and CpuPrint number it */
    uint32_t line, column;
    uint32_t hex; /* numbers are printed so */
    uint32_t operand_count, unused;
    const char *file, *text; /* text of the print or assertion; "" when there is none */
    const CpuOperand *operands;
} CpuSite;

/* Parts of instruction sets that code may need, as bits. FEATURE(name of LLVM's) */
#define CPU_FEATURES(FEATURE)                                                                      \
    FEATURE(avx2)                                                                                  \
    FEATURE(fma) FEATURE(f16c) FEATURE(bmi2) FEATURE(avx512f) FEATURE(avx512bw) FEATURE(avx512dq)  \
        FEATURE(avx512vl) FEATURE(avx512vnni) FEATURE(avx512bf16)

/* A kernel in an object file. */
typedef struct CpuNative {
    uint32_t version; /* CPU_NATIVE_VERSION */
    uint32_t site_count;
    uint64_t features;  /* bit i: the i-th of CPU_FEATURES */
    const char *header; /* of a saved kernel: name, target, parameters (runtime/saved.c) */
    CpuEntry *entry;
    uint64_t scratch_size, stored; /* as in CpuCode */
    const CpuSite *sites;
} CpuNative;
enum { CPU_NATIVE_VERSION = 1 };

#endif
