/* cpu_pool.h: threads that run the programs of launches, and their scratch memory.
 *
 * A pool has helpers that wait until there is work. Whoever launches works too, so launches from
 * several threads at once share the helpers and never wait for each other.
 */
#ifndef TKC_RUNTIME_CPU_POOL_H
#define TKC_RUNTIME_CPU_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct CpuPool CpuPool;

/* How many threads this process should use: TKC_NUM_THREADS, else the processors it may run on,
 * and no more than the control group's quota. */
uint32_t cpu_threads(void);

CpuPool *cpu_pool_new(void); /* for cpu_threads() threads; NULL: out of memory */
void cpu_pool_free(CpuPool *pool);

/* Does items [first, last) with `scratch` (aligned to 64 bytes); false: nobody goes on. */
typedef bool CpuWork(void *context, uint64_t first, uint64_t last, uint8_t *scratch);

/* Nanoseconds that an item takes, from the last time; 0: not known yet. */
typedef atomic_uint_fast64_t CpuItemTime;

/* All items in order of number, on up to `threads` threads (0: the pool's), or on the caller's
 * alone when `time` says that they are done before a helper would come. False: no memory. */
bool cpu_pool_run(CpuPool *pool, uint64_t items, uint32_t threads, size_t scratch_size,
                  CpuItemTime *time, CpuWork *work, void *context);

#endif
