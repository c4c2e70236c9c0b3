/* interp_memory.h: private to interp*.c. What loads, stores and atomics share. */
#ifndef TKC_COMPILER_INTERP_MEMORY_H
#define TKC_COMPILER_INTERP_MEMORY_H

#include "compiler/interp_internal.h"
#include "compiler/written.h"

#define INTERP_OFFSET_MASK ((UINT64_C(1) << INTERP_BUFFER_SHIFT) - 1)

/* The buffer an address lies in by its number; NULL: none, or a freed one. */
const InterpBuffer *buffer_at(const Run *run, uint64_t address);
/* False and a fault when `size` bytes at `address` may not be touched. */
bool check_element(Thread *t, const Step *step, uint32_t element, uint64_t address, uint32_t size);

/* Bits of the bytes from .. to of a buffer: the first that is not set (`to`: all are); set all. */

#endif
