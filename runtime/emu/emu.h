/* emu.h: runs PTX text on the CPU, checks it and counts it, with no GPU.
 *
 *     EmuModule *module = emu_load(arena, &diagnostics, source);     text -> checked code
 *     const EmuEntry *entry = emu_find_entry(module, "add");         what it takes
 *     emu_launch(entry, &launch, &result)                            run a grid
 *
 * Memory is virtual. The caller says which buffers a launch may touch and at which addresses
 * they appear; EMU_BUFFER_ADDRESS(k) keeps them so far apart that a wild address still tells
 * which buffer it was meant for. Everything a kernel can do wrong ends the launch with a fault
 * that names the PTX line, the kernel source line, CTA, warp, lane and address.
 *
 * The library never prints; a module is read-only after loading and may be launched from many
 * threads at once.
 */
#ifndef TKC_RUNTIME_EMU_EMU_H
#define TKC_RUNTIME_EMU_EMU_H

#include "compiler/base.h"
#include "compiler/diag.h"

#define EMU_BUFFER_ADDRESS(k) (((uint64_t)(k) + 1) << 40)

/* ---- modules --------------------------------------------------------------------------------- */

typedef struct EmuModule EmuModule;

typedef struct EmuParameter {
    const char *name;
    uint32_t offset, size, align; /* in the block of parameter bytes */
    bool pointer;                 /* declared with .ptr */
} EmuParameter;

typedef struct EmuEntry {
    const EmuModule *module;
    const char *name;
    const EmuParameter *parameters;
    uint32_t parameter_count, parameter_size;
    uint32_t shared_size;                     /* static shared memory, bytes */
    uint32_t local_size;                      /* a thread's local memory (no recursion), bytes */
    uint32_t required_block[3], max_block[3]; /* .reqntid, .maxntid; zeros: not stated */
    uint32_t cluster[3];                      /* .reqnctapercluster; zeros: not stated */
    uint32_t max_registers;                   /* .maxnreg; 0: not stated */
    uint32_t instruction_count;
} EmuEntry;

/* Reads and checks one PTX source. NULL when there were errors (reported in `diagnostics`).
 * The module lives in `arena` and refers to the source text's line numbers only. */
EmuModule *emu_load(Arena *arena, Diagnostics *diagnostics, uint32_t source);
uint32_t emu_entry_count(const EmuModule *module);
const EmuEntry *emu_entry(const EmuModule *module, uint32_t index);
const EmuEntry *emu_find_entry(const EmuModule *module, const char *name); /* or NULL */

/* ---- launches -------------------------------------------------------------------------------- */

typedef struct EmuBuffer {
    uint64_t address, size;
    uint8_t *data;
    const char *name;
    bool read_only;
    uint8_t *written; /* one bit a byte (compiler/written.h): those that may be read; NULL: all */
} EmuBuffer;

typedef enum EmuCheck {
    EMU_CHECK_GLOBAL = 1,        /* bounds, alignment, read-only buffers (always on) */
    EMU_CHECK_UNINITIALISED = 2, /* registers and memory read before written */
    EMU_CHECK_RACES = 4,         /* shared memory, proxies and async copies included */
    EMU_CHECK_WARP_RACES = 8,    /* ... also between lanes of one warp (needs RACES) */
    EMU_CHECK_ASYNC = 16,        /* wgmma accumulators in flight, fences */
    EMU_CHECK_ALL = 31
} EmuCheck;

typedef struct EmuLaunch {
    uint32_t grid[3], block[3];
    uint32_t cluster[3]; /* zeros: what the kernel says, else 1 */
    uint32_t dynamic_shared;
    const void *parameters; /* entry->parameter_size bytes */
    const EmuBuffer *buffers;
    uint32_t buffer_count;
    uint32_t checks;    /* EmuCheck bits */
    uint32_t threads;   /* host threads; 0: as many as the machine has */
    uint64_t seed;      /* order of warps and of async completions; 0: plain round robin */
    uint32_t schedules; /* > 1: run so many seeded orders and demand the same bytes from each */
    bool counters;      /* count memory traffic too (instructions are always counted) */
    uint64_t instruction_limit; /* warp instructions a cluster may execute; 0: 2^36 */
    void (*print)(void *context, const char *text); /* device printf; serialised; may be NULL */
    void *print_context;
    const volatile bool *cancel; /* set by another thread to stop; may be NULL */
} EmuLaunch;

/* FAULT(name, words) */
#define EMU_FAULTS(FAULT)                                                                          \
    FAULT(NONE, "no fault")                                                                        \
    FAULT(LAUNCH, "bad launch")                                                                    \
    FAULT(OUT_OF_BOUNDS, "out of bounds")                                                          \
    FAULT(MISALIGNED, "misaligned access")                                                         \
    FAULT(NULL_ADDRESS, "null address")                                                            \
    FAULT(READ_ONLY, "write to read-only memory")                                                  \
    FAULT(UNINITIALISED, "uninitialised read")                                                     \
    FAULT(RACE, "race")                                                                            \
    FAULT(PROXY, "missing proxy fence")                                                            \
    FAULT(BARRIER, "barrier misuse")                                                               \
    FAULT(DEADLOCK, "deadlock")                                                                    \
    FAULT(MBARRIER, "mbarrier misuse")                                                             \
    FAULT(ASYNC, "async copy misuse")                                                              \
    FAULT(WGMMA, "wgmma misuse")                                                                   \
    FAULT(WARP_SYNC, "warp synchronisation misuse")                                                \
    FAULT(TRAP, "trap")                                                                            \
    FAULT(ASSERT, "assertion failed")                                                              \
    FAULT(SCHEDULE, "answer depends on the schedule")                                              \
    FAULT(UNSUPPORTED, "not supported")                                                            \
    FAULT(LIMIT, "instruction limit reached")                                                      \
    FAULT(MEMORY, "out of host memory")                                                            \
    FAULT(CANCELLED, "cancelled")

typedef enum EmuFaultKind {
#define FAULT(name, words) EMU_##name,
    EMU_FAULTS(FAULT)
#undef FAULT
} EmuFaultKind;

typedef struct EmuFault {
    EmuFaultKind kind;
    uint32_t ptx_line;       /* 0: not at an instruction */
    const char *source_file; /* from .loc; NULL when the PTX has none */
    uint32_t source_line;
    uint32_t cta[3];
    int32_t warp, lane; /* -1: not one of them */
    uint64_t address;
    char message[1024]; /* all of the above in words */
} EmuFault;

const char *emu_fault_name(EmuFaultKind kind);

/* ---- counters -------------------------------------------------------------------------------- */

/* CLASS(name): every instruction belongs to one. */
#define EMU_CLASSES(CLASS)                                                                         \
    CLASS(integer)                                                                                 \
    CLASS(f16)                                                                                     \
    CLASS(f32)                                                                                     \
    CLASS(f64)                                                                                     \
    CLASS(special)                                                                                 \
    CLASS(convert)                                                                                 \
    CLASS(move)                                                                                    \
    CLASS(compare)                                                                                 \
    CLASS(control)                                                                                 \
    CLASS(shuffle)                                                                                 \
    CLASS(tensor)                                                                                  \
    CLASS(global)                                                                                  \
    CLASS(shared)                                                                                  \
    CLASS(local)                                                                                   \
    CLASS(parameter)                                                                               \
    CLASS(atomic)                                                                                  \
    CLASS(async)                                                                                   \
    CLASS(barrier)

typedef enum EmuClass {
#define CLASS(name) EMU_CLASS_##name,
    EMU_CLASSES(CLASS)
#undef CLASS
        EMU_CLASS_COUNT
} EmuClass;

/* What one line of the kernel source (or, without .loc, of the PTX) did. */
typedef struct EmuLine {
    const char *file; /* NULL: `line` is a PTX line */
    uint32_t line;
    uint64_t warp_instructions;
    uint64_t requests, sectors, global_bytes; /* global memory; bytes: asked for by lanes */
    uint64_t wavefronts, ideal_wavefronts;    /* shared memory */
} EmuLine;

typedef struct EmuCounters {
    uint64_t ctas, warps;
    uint64_t warp_instructions, thread_instructions;
    uint64_t by_class[EMU_CLASS_COUNT]; /* warp instructions */
    uint64_t load_requests, load_sectors, load_bytes;
    uint64_t store_requests, store_sectors, store_bytes;
    uint64_t shared_wavefronts, ideal_wavefronts;
    uint64_t shared_load_bytes, shared_store_bytes;
    uint64_t async_bytes, bulk_load_bytes, bulk_store_bytes;
    uint64_t tensor_operations; /* multiplications and additions by mma and wgmma */
    uint64_t barrier_waits, mbarrier_waits, failed_mbarrier_waits;
    const EmuLine *lines; /* sorted by file and line; in the launch's arena */
    uint32_t line_count;
} EmuCounters;

typedef struct EmuResult {
    EmuFault fault;
    EmuCounters counters;
} EmuResult;

/* Runs the whole grid. True: it ended well. False: result->fault says what went wrong first (in
 * the lowest CTA among those found). An empty grid runs nothing. `arena` receives
 * result->counters.lines. */
bool emu_launch(Arena *arena, const EmuEntry *entry, const EmuLaunch *launch, EmuResult *result);

void emu_print_counters(const EmuCounters *counters, Text *out);
void emu_print_counters_json(const EmuCounters *counters, Text *out);

/* ---- tensor maps ----------------------------------------------------------------------------- */

typedef enum EmuSwizzle {
    EMU_SWIZZLE_NONE,
    EMU_SWIZZLE_32,
    EMU_SWIZZLE_64,
    EMU_SWIZZLE_128
} EmuSwizzle;

typedef struct EmuTensorMap {
    uint32_t rank;         /* 1..5; dimension 0 is the innermost */
    uint32_t element_size; /* 1, 2, 4 or 8 bytes */
    bool is_float;         /* reductions add floats (f16 when 2 bytes, else f32, f64) */
    bool is_bf16;          /* ... or bf16 */
    bool fill_nan;         /* out-of-range elements read as NaN instead of zero */
    EmuSwizzle swizzle;
    uint64_t address;           /* of element 0; a multiple of 16 */
    uint64_t extent[5];         /* elements */
    uint64_t stride[5];         /* bytes; [0] is the element size; multiples of 16 */
    uint32_t box[5];            /* elements moved at once; 1..256 */
    uint32_t element_stride[5]; /* 1 unless every n-th element is taken */
} EmuTensorMap;

/* Makes the 128 bytes that a kernel takes as its tensor map. The encoding is the emulator's
 * own. False when a GPU would refuse the description; `why` then says so. */
bool emu_encode_tensor_map(uint8_t map[128], const EmuTensorMap *description, char why[128]);

#endif
