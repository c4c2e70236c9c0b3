/* interp.h: runs BLOCK-level IR as it stands. It is the definition of the language.
 *
 * A plan is made once for a kernel and may be launched many times, from several threads at once.
 * Programs of the grid are spread over threads; inside a program each op works on whole blocks.
 *
 * Memory is virtual: buffer number k lives at addresses from (k + 1) << 40, so that any address a
 * kernel computes tells which buffer it was meant for, however far out of bounds it went.
 *
 * What the language leaves open is fixed here, so that every run gives the same bits: lanes of a
 * load that are masked off and have no `other` are zero; of a store's elements with one address
 * the last in row-major order stays; the order of sums is that of interp_reduce.c and
 * interp_dot.c; the meaning of element ops is that of eval.h.
 */
#ifndef TKC_COMPILER_INTERP_H
#define TKC_COMPILER_INTERP_H

#include "compiler/ir.h"

enum { INTERP_BUFFER_SHIFT = 40 };
#define INTERP_BUFFER_ADDRESS(k) (((uint64_t)(k) + 1) << INTERP_BUFFER_SHIFT)

typedef struct InterpBuffer {
    uint8_t *data; /* NULL: this number is free */
    uint64_t size;
    /* One bit a byte: was it ever written? NULL: all of it counts as written. Set by stores
     * (bytes of it atomically); a load of an unwritten byte is a fault. */
    uint8_t *written;
} InterpBuffer;

typedef struct InterpLaunch {
    uint32_t grid[3];
    /* One for each kernel parameter: a pointer's virtual address, or a scalar's bits in the
     * parameter's own dtype, zero-extended. */
    const uint64_t *arguments;
    const InterpBuffer *buffers; /* indexed by number */
    uint32_t buffer_count;
    uint32_t threads;  /* 0: as many as the machine has */
    /* Two programs, same byte, not both atomic, at least one write, unordered (interp_races.c).
     * Programs then run one by one, in order. */
    bool check_races;
    bool ieee_dot;     /* f32 dot in full f32 whatever `precision` says (default: as the GPU) */
    void (*print)(void *context, const char *line); /* device_print; NULL: dropped; serialised */
    void *print_context;
    const volatile bool *cancel; /* set by another thread to stop; may be NULL */
} InterpLaunch;

typedef enum FaultKind {
    FAULT_NONE, FAULT_OUT_OF_BOUNDS, FAULT_MISALIGNED, FAULT_NULL, FAULT_UNWRITTEN, FAULT_RACE,
    FAULT_ASSERT, FAULT_UNSUPPORTED, FAULT_MEMORY, FAULT_CANCELLED
} FaultKind;

typedef struct InterpFault {
    FaultKind kind;
    Location at;
    uint32_t program[3], other_program[3]; /* the other: races */
    int32_t parameter;    /* pointer parameter the access came from, or -1 */
    int32_t buffer;       /* buffer number, or -1 */
    uint32_t rank;
    uint32_t coordinates[MAX_RANK]; /* of the first bad element of the block */
    int64_t offset;       /* bytes from the start of the buffer */
    uint64_t buffer_size;
    char message[768];    /* one line: everything above in words */
} InterpFault;

typedef struct InterpPlan InterpPlan;

/* The plan refers to the module, which must outlive it. Lives in `arena`. */
InterpPlan *interp_plan(Arena *arena, Module *module);

/* Runs the whole grid. False and *fault set when a program did something wrong: the launch stops
 * and the fault reported is that of the lowest program number among those found. An empty grid
 * (a zero) runs nothing and succeeds. Thread-safe. */
bool interp_launch(const InterpPlan *plan, const InterpLaunch *launch, InterpFault *fault);

/* Words for an access that went wrong, also for other devices that address memory as it does here.
 * `fault` has the kind and the program; the rest is filled in. */
void interp_say_access(const Kernel *kernel, const InterpLaunch *launch, const Op *op,
                       uint32_t element, uint64_t address, InterpFault *fault);

#endif
