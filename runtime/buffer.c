/* buffer.c: device memory: creation, copies, and handles that were destroyed.
 *
 * A destroyed handle is not freed at once. The last few hundred of each device are kept as dead
 * ones, so that a launch that is given one says so instead of reading freed memory.
 */
#include "runtime/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GRAVES = 256 };

/* ---- life ----------------------------------------------------------------------------------- */

static void count_memory(tkc_device *device, uint64_t size) {
    uint64_t used = atomic_fetch_add(&device->memory_used, size) + size;
    uint64_t peak = atomic_load(&device->memory_peak);
    while (used > peak && !atomic_compare_exchange_weak(&device->memory_peak, &peak, used))
        ;
}

static tkc_status attach(tkc_device *device, void *memory, uint64_t size, const char *name,
                         tkc_buffer **buffer) {
    tkc_buffer *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    made->name = rt_copy_string(name ? name : "");
    if (!made->name) {
        free(made);
        return rt_fail_memory();
    }
    made->device = device;
    made->size = size;
    made->borrowed = memory;
    tkc_status status = device->kind->attach(made, memory);
    if (status) {
        free(made->name);
        free(made);
        return status;
    }
    atomic_init(&made->state, BUFFER_LIVE);
    if (!memory) count_memory(device, size);
    rt_device_keep(device);
    *buffer = made;
    return TKC_OK;
}

tkc_status tkc_buffer_create(tkc_device *device, uint64_t size, const char *name,
                             tkc_buffer **buffer) {
    if (buffer) *buffer = NULL;
    if (!device || !buffer)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_buffer_create: `%s` is NULL.",
                        device ? "buffer" : "device");
    return attach(device, NULL, size, name, buffer);
}

tkc_status tkc_buffer_wrap(tkc_device *device, void *memory, uint64_t size, const char *name,
                           tkc_buffer **buffer) {
    if (buffer) *buffer = NULL;
    if (!device || !buffer || !memory)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_buffer_wrap: `%s` is NULL.",
                        !device  ? "device"
                        : memory ? "buffer"
                                 : "memory");
    return attach(device, memory, size, name, buffer);
}

/* Keeps the dead handle; gives back the oldest when there are too many. */
static tkc_buffer *bury(tkc_device *device, tkc_buffer *buffer) {
    tkc_buffer *oldest = NULL;
    pthread_mutex_lock(&device->graves_lock);
    if (device->graves_last)
        device->graves_last->next_grave = buffer;
    else
        device->graves_first = buffer;
    device->graves_last = buffer;
    if (++device->grave_count > MOST_GRAVES) {
        oldest = device->graves_first;
        device->graves_first = oldest->next_grave;
        device->grave_count--;
    }
    pthread_mutex_unlock(&device->graves_lock);
    return oldest;
}

void rt_buffer_free_graves(tkc_device *device) {
    tkc_buffer *buffer = device->graves_first;
    while (buffer) {
        tkc_buffer *next = buffer->next_grave;
        free(buffer);
        buffer = next;
    }
}

void tkc_buffer_destroy(tkc_buffer *buffer) {
    if (!buffer) return;
    unsigned live = BUFFER_LIVE;
    if (!atomic_compare_exchange_strong(&buffer->state, &live, BUFFER_DEAD)) return; /* twice */
    tkc_device *device = buffer->device;
    device->kind->detach(buffer);
    if (!buffer->borrowed) atomic_fetch_sub(&device->memory_used, buffer->size);
    free(buffer->name);
    buffer->name = NULL;
    free(bury(device, buffer));
    rt_device_release(device);
}

/* ---- questions ------------------------------------------------------------------------------ */

static bool is_live(const tkc_buffer *buffer) {
    return buffer && atomic_load(&buffer->state) == BUFFER_LIVE;
}

uint64_t tkc_buffer_size(const tkc_buffer *buffer) {
    return is_live(buffer) ? buffer->size : 0;
}

uint64_t tkc_buffer_address(const tkc_buffer *buffer) {
    return is_live(buffer) ? buffer->address : 0;
}

const char *tkc_buffer_name(const tkc_buffer *buffer) {
    return is_live(buffer) ? buffer->name : "";
}

tkc_dtype tkc_buffer_dtype(const tkc_buffer *buffer) {
    return is_live(buffer) ? buffer->dtype : TKC_NONE;
}

tkc_device *tkc_buffer_device(const tkc_buffer *buffer) {
    return is_live(buffer) ? buffer->device : NULL;
}

uint64_t tkc_device_memory_used(const tkc_device *device) {
    return device ? atomic_load(&device->memory_used) : 0;
}

uint64_t tkc_device_memory_peak(const tkc_device *device) {
    return device ? atomic_load(&device->memory_peak) : 0;
}

void tkc_device_memory_reset_peak(tkc_device *device) {
    if (device) atomic_store(&device->memory_peak, atomic_load(&device->memory_used));
}

/* ---- contents ------------------------------------------------------------------------------- */

static tkc_status check_live(const tkc_buffer *buffer, const char *function) {
    if (is_live(buffer)) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the buffer %s.", function,
                    buffer ? "was destroyed" : "is NULL");
}

static tkc_status check_range(const tkc_buffer *buffer, uint64_t offset, uint64_t size,
                              const char *function) {
    tkc_status status = check_live(buffer, function);
    if (status) return status;
    if (offset <= buffer->size && size <= buffer->size - offset) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "%s: %llu bytes from offset %llu are not inside buffer `%s`, which has %llu "
                    "bytes.",
                    function, (unsigned long long)size, (unsigned long long)offset, buffer->name,
                    (unsigned long long)buffer->size);
}

tkc_status tkc_buffer_set_dtype(tkc_buffer *buffer, tkc_dtype dtype) {
    tkc_status status = check_live(buffer, "tkc_buffer_set_dtype");
    if (status) return status;
    if ((uint32_t)dtype >= TKC_DTYPE_COUNT)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_buffer_set_dtype: %u is no element type.",
                        (unsigned)dtype);
    buffer->dtype = dtype;
    return TKC_OK;
}

tkc_status tkc_buffer_write(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size) {
    tkc_status status = check_range(buffer, offset, size, "tkc_buffer_write");
    if (status || size == 0) return status;
    if (!from) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_buffer_write: `from` is NULL.");
    return buffer->device->kind->write(buffer, offset, from, size);
}

tkc_status tkc_buffer_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size) {
    tkc_status status = check_range(buffer, offset, size, "tkc_buffer_read");
    if (status || size == 0) return status;
    if (!to) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_buffer_read: `to` is NULL.");
    return buffer->device->kind->read(buffer, offset, to, size);
}

tkc_status tkc_buffer_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                           uint64_t from_offset, uint64_t size) {
    tkc_status status = check_range(to, to_offset, size, "tkc_buffer_copy");
    if (!status) status = check_range(from, from_offset, size, "tkc_buffer_copy");
    if (status || size == 0) return status;
    if (to->device != from->device)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_buffer_copy: `%s` and `%s` live on different devices (`%s`, `%s`); "
                        "read into host memory and write from there.",
                        from->name, to->name, from->device->name, to->device->name);
    return to->device->kind->copy(to, to_offset, from, from_offset, size);
}

tkc_status tkc_buffer_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                           uint32_t pattern_size) {
    tkc_status status = check_range(buffer, offset, size, "tkc_buffer_fill");
    if (status) return status;
    bool allowed = pattern_size == 1 || pattern_size == 2 || pattern_size == 4 || pattern_size == 8;
    if (!pattern || !allowed || size % pattern_size)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_buffer_fill: the pattern must have 1, 2, 4 or 8 bytes and `size` be a "
                        "multiple of that; given: %s of %u bytes, size %llu.",
                        pattern ? "a pattern" : "NULL", pattern_size, (unsigned long long)size);
    return size ? buffer->device->kind->fill(buffer, offset, size, pattern, pattern_size) : TKC_OK;
}

tkc_status tkc_buffer_poison(tkc_buffer *buffer) {
    tkc_status status = check_live(buffer, "tkc_buffer_poison");
    return status ? status : buffer->device->kind->poison(buffer);
}
