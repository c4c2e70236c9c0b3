/* partner.h: gathers that swap partners: index = place ^ constant along the axis, as in the steps
 * of a sorting network (Batcher 1968), or constant - place where that is the same (a mirrored
 * axis). Where the partners are is known when such a gather is compiled. */
#ifndef TKC_COMPILER_PARTNER_H
#define TKC_COMPILER_PARTNER_H

#include "compiler/ir.h"

/* Does this gather have the source's shape, and does place i along the axis of its result come from
 * place i ^ *difference (below the extent) of the source, whatever the data? */
bool gather_swaps(const Op *gather, uint32_t *difference);

#endif
