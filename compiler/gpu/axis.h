/* axis.h: what is known about the numbers in a value, per dim (Triton's AxisInfo, also described in
 * the compiler literature as stride and divisibility analysis):
 *
 *     contiguity    longest run along the dim in which each number is one more than the one before
 *                   (pointers: one element further), runs aligned to their length
 *     divisibility  largest power of two that divides the first number of each such run (pointers:
 *                   of the address in bytes)
 *     constancy     longest run along the dim of equal numbers, aligned to its length
 *
 * All are powers of two, at least 1. Scalars have one dim. */
#ifndef TKC_COMPILER_GPU_AXIS_H
#define TKC_COMPILER_GPU_AXIS_H

#include "compiler/ir.h"

typedef struct AxisFacts {
    int64_t contiguity[MAX_RANK], divisibility[MAX_RANK], constancy[MAX_RANK];
    bool is_constant;
    int64_t constant; /* when all elements are this integer */
} AxisFacts;

typedef struct Axis Axis;

/* Analyses the whole kernel (loop-carried values to a fixed point). */
Axis *axis_analyse(Module *module);
const AxisFacts *axis_facts(const Axis *axis, const Value *value);
/* Elements that an access through these pointers (with this mask, or NULL) may take at once along
 * dim `d`: 1, 2, 4 ... so that the run is contiguous, aligned and under one mask. */
uint32_t axis_vector(const Axis *axis, const Value *pointers, const Value *mask, uint32_t d);

#endif
