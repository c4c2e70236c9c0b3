/* lay.h: private to the pass `lay`: which layouts memory accesses and dots ask for (anchor.c), and
 * what is known of each value while layouts are given out (lay.c). */
#ifndef TKC_COMPILER_GPU_LAY_H
#define TKC_COMPILER_GPU_LAY_H

#include "compiler/gpu/axis.h"
#include "compiler/gpu/gpu.h"

/* How much a value's layout matters: the layout of the weightier operand wins. */
typedef enum Weight {
    WEIGHT_NONE,   /* can be made in any layout: constants, ranges, and what is computed of them */
    WEIGHT_ANY,    /* some layout, so that it has one */
    WEIGHT_MEMORY, /* as a memory access has it */
    WEIGHT_DOT     /* as the tensor cores have it */
} Weight;

typedef struct Choice {
    Weight weight;
    const Layout *layout; /* interned; NULL: none */
} Choice;

typedef struct Anchors {
    Module *module;
    const GpuTarget *target;
    Axis *axis;
    uint32_t num_warps;
} Anchors;

const Layout *anchor_default(const Anchors *a, const Type *type);
/* For a load, store or atomic on blocks. */
const Layout *anchor_memory(const Anchors *a, const Op *op);
/* Is a store in this layout about as good as in the one of anchor_memory: whole sectors? */
bool anchor_stores_well(const Anchors *a, const Op *op, const Layout *layout);

typedef struct DotLayouts {
    const Layout *a, *b, *result;
    bool mma;
} DotLayouts;

/* `chain`: rows of the result should stay within a warp. */
DotLayouts anchor_dot(const Anchors *a, const Op *dot, bool chain);

/* May a scan along `axis` work in this layout (gpu.h)? */
bool scan_fits(const Layout *l, const Type *type, uint32_t axis);

/* Before layouts: dot_scaled becomes dot, fp8 operands become f16 where there is no fp8 mma. */
void lay_prepare_dots(Module *module, const GpuTarget *target);

#endif
