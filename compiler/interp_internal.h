/* interp_internal.h: private to interp*.c. What a plan holds and what a running program sees.
 *
 * A plan mirrors the kernel: a Block of Steps for each region, one Step for each op that does
 * work. Every value has a Place: bytes in the frame of the thread, or in the plan's own pool of
 * constants. Places are found once, by lifetime, so that a frame is as small as the values that
 * are alive together and stays in cache. Nothing is looked up while a program runs.
 *
 *   view      expand_dims, reshape, extract, hint, bitcast: the place of the operand, no step
 *   uniform   a block all of one value whose readers know: only `stored` elements are there
 *   lanes     the region of a reduce, scan or map works on up to LANES elements at a time when all
 *             its ops are element ops, else on one
 */
#ifndef TKC_COMPILER_INTERP_INTERNAL_H
#define TKC_COMPILER_INTERP_INTERNAL_H

#include "compiler/eval.h"
#include "compiler/hot.h"
#include "compiler/interp.h"

#include <pthread.h>
#include <stdatomic.h>

enum { UNIFORM = 1024, LANES = 512, ALIGNMENT = 64 };

typedef struct Place {
    uint64_t offset;
    uint32_t count;  /* elements of the value (lanes, in a region that works on lanes) */
    uint32_t stored; /* elements in memory: all, or min(count, UNIFORM) equal ones */
    uint8_t size;    /* bytes an element */
    bool fixed;      /* in the plan's pool, not in the frame */
    bool uniform;
} Place;

typedef struct Thread Thread;
typedef struct Step Step;
typedef struct Block Block;

/* False: the program stops (a fault, or the launch is being stopped). */
typedef bool StepRun(Thread *t, const Step *step);

struct Step {
    StepRun *run;
    const Op *op;
    const Place *in, *out;
    Block *blocks; /* one for each region */
    union {
        const EvalCode *code; /* element ops, recognised combine functions */
        const struct DotPlan *dot;
    };
    uint32_t index;   /* number of the step in the plan: races name both sides by it */
    uint32_t lanes;   /* reduce, scan, map: LANES or 1 */
    uint64_t scratch; /* offset in the thread's scratch memory */
    bool chunked;     /* element op: an operand is stored shorter than the result */
};

typedef struct Copy {
    Place from, to;
} Copy;

struct Block {
    Step *steps;
    uint32_t count;
    const Place *arguments; /* one for each region argument */
    const Place *gives;     /* what the last op gives: yield's operands, condition's */
    const Copy *copies;     /* for, while, if: moves `gives` to where they belong, in order */
    uint32_t copy_count;
};

struct InterpPlan {
    Module *module;
    Block body;
    Place *parameters;
    const uint8_t *pool;
    uint64_t frame_size;       /* scratch included */
    uint32_t granule;          /* size of the smallest element in memory: the race checker's unit */
    const Step **memory_steps; /* by Step.index - 1: for the race checker's messages */
    uint32_t step_count;
};

typedef struct Races Races;

/* What all threads of one launch share. */
typedef struct Run {
    const InterpPlan *plan;
    const InterpLaunch *launch;
    uint64_t program_count;
    _Atomic uint64_t next;   /* the next program to start; programs start in order */
    _Atomic uint64_t lowest; /* number of the lowest program known to be at fault */
    pthread_mutex_t lock;    /* fault, printing, the list of helpers */
    InterpFault *fault;
    Races *races;                     /* NULL: not checked */
    _Atomic uint32_t active, waiting; /* threads; those that spin on memory */
    pthread_t *helpers;
    uint32_t helper_count, helper_limit;
} Run;

struct Thread {
    Run *run;
    const InterpPlan *plan;
    uint8_t *base[2]; /* frame, pool: indexed by Place.fixed */
    uint32_t program[3];
    uint64_t number;
    struct RaceClock *clock; /* of this program, when races are checked */
    uint32_t epoch;
    InterpFault fault;
    bool faulted; /* `fault` is set */
};

INLINE void *place_data(Thread *t, const Place *place) {
    return t->base[place->fixed] + place->offset;
}
/* Bytes from one element to the next: 0 when they are all the same. */
INLINE uint32_t place_stride(const Place *place) {
    return place->uniform ? 0 : place->size;
}
uint64_t place_int(Thread *t, const Place *place); /* first element, zero-extended */

bool run_block(Thread *t, const Block *block);
void run_copies(Thread *t, const Block *block);
void copy_place(Thread *t, const Place *from, const Place *to);
/* n elements of `size` bytes; steps from one to the next in elements. */
void move_elements(size_t n, uint32_t size, void *to, size_t to_step, const void *from,
                   size_t from_step);
/* False when the program must not go on: cancelled, or a lower one is at fault. */
bool may_go_on(Thread *t);

/* ---- faults: each returns false, so that a step can end with it ---------------------------- */

bool fault_text(Thread *t, const Step *step, FaultKind kind, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* The element of the block at fault, for the message: appends ` [5, 0]` of its coordinates. */
void fault_element(Thread *t, const Type *type, uint32_t element);
/* An access of `size` bytes at `address` for element `element` of the block of pointers. */
bool fault_access(Thread *t, const Step *step, FaultKind kind, uint32_t element, uint64_t address);
bool fault_race(Thread *t, const Step *step, const Step *other, uint64_t other_program,
                bool other_writes, uint32_t element, uint64_t address);
void program_coordinates(const Run *run, uint64_t number, uint32_t program[3]);

/* ---- steps ----------------------------------------------------------------------------------- */

/* Where the pointers of a memory op stand among its operands. */
INLINE uint32_t pointer_index(const Op *op) {
    return op->code == OP_async_copy ? 2 : 0;
}
INLINE const Type *pointer_type(const Op *op) {
    return op_operand(op, pointer_index(op))->type;
}

StepRun interp_element;
#define OP(name, ...) StepRun interp_##name;
#include "compiler/ops.def"
#undef OP
extern StepRun *const interp_handlers[OP_COUNT];

/* dot: how an operand is made f32 before it is multiplied. */
typedef enum DotKind { DOT_F32, DOT_F64, DOT_I32 } DotKind;
typedef struct DotPlan {
    DotKind kind;
    DType a, b, c;
    bool tf32; /* operands are f32 and rounded to tf32, unless the launch asks for ieee */
    uint32_t batch, m, n, k;
    uint64_t pack_a, pack_b, pack_c; /* offsets in the frame */
} DotPlan;
/* Fills what the op says; returns the bytes of scratch it needs (pack_* relative to 0). */
uint64_t dot_prepare(DotPlan *dot, const Op *op);

/* ---- races ---------------------------------------------------------------------------------- */

typedef enum RaceKind { RACE_READ, RACE_WRITE, RACE_ATOMIC } RaceKind;

Races *races_new(const InterpPlan *plan, const InterpLaunch *launch);
void races_free(Races *races);
void races_begin(Thread *t); /* a program starts */
void races_end(Thread *t);
/* `count` elements of one step, contiguous from `address`; the first is `element` of the block.
 * False and a fault: a race. */
bool races_access(Thread *t, const Step *step, RaceKind kind, uint64_t address, uint32_t size,
                  uint32_t count, uint32_t element);
/* Order made by an atomic access: before it happens, after it has happened. */
bool races_acquire(Thread *t, uint64_t address);
bool races_release(Thread *t, uint64_t address);
void races_lock(Thread *t); /* while one memory op is checked and done */
void races_unlock(Thread *t);

#endif
