/* host_memory.h: buffers of the devices that run on the CPU and check every access.
 *
 * Memory is host memory, but kernels see virtual addresses: buffer number k begins at (k + 1) <<
 * 40, so far from the others that a wild address still tells which buffer it was meant for. A
 * device keeps a table of its buffers; a launch takes a copy of the table and adds the caller's
 * tensors behind it, so that creating buffers never waits for a launch. Destroying one does: a
 * launch holds `running` for reading, destruction for writing.
 *
 * The functions named as those of DeviceKind serve as such; device->state must begin with a
 * HostMemory.
 */
#ifndef TKC_RUNTIME_HOST_MEMORY_H
#define TKC_RUNTIME_HOST_MEMORY_H

#include "runtime/device.h"

#define HOST_BUFFER_SHIFT 40
#define HOST_BUFFER_ADDRESS(k) (((uint64_t)(k) + 1) << HOST_BUFFER_SHIFT)

/* Threads that a launch uses when nobody says how many. */
uint32_t host_processors(void);

typedef struct HostBuffer {
    uint8_t *data; /* NULL: the number is free */
    uint64_t size;
    uint8_t *written; /* one bit a byte, once the buffer was poisoned; else NULL */
    const char *name; /* lives while `running` is held */
} HostBuffer;

typedef struct HostMemory {
    pthread_rwlock_t running;
    pthread_mutex_t lock; /* guards the table */
    HostBuffer *table;
    uint32_t count, capacity;
} HostMemory;

void host_memory_init(HostMemory *memory);
void host_memory_free(HostMemory *memory);

tkc_status host_attach(tkc_buffer *buffer, void *memory);
void host_detach(tkc_buffer *buffer);
tkc_status host_write(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size);
tkc_status host_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size);
tkc_status host_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                     uint64_t from_offset, uint64_t size);
tkc_status host_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                     uint32_t pattern_size);
tkc_status host_poison(tkc_buffer *buffer);
bool host_accepts(const tkc_device *device, int dlpack_type, int dlpack_id);

/* The buffers as one launch sees them; number k is at HOST_BUFFER_ADDRESS(k). */
typedef struct HostView {
    HostBuffer *list;
    uint32_t count;
} HostView;

/* Sets the addresses of the launch's tensors too. From here until host_view_end no buffer goes.
 * False: out of memory, and there is nothing to end. */
bool host_view_begin(HostMemory *memory, const tkc_kernel *kernel, const DeviceLaunch *launch,
                     HostView *view);
void host_view_end(HostMemory *memory, HostView *view);

#endif
