/* host_memory.c: the table of buffers, their contents, and what a launch sees of them. */
#include "runtime/host_memory.h"

#include "compiler/written.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BUFFERS = 1 << 20, BUFFER_ALIGNMENT = 64 };
#define LARGEST_BUFFER ((uint64_t)1 << (HOST_BUFFER_SHIFT - 1))

uint32_t host_processors(void) {
    const long threads = sysconf(_SC_NPROCESSORS_ONLN);
    return threads > 0 ? (uint32_t)threads : 1;
}

void host_memory_init(HostMemory *state) {
    pthread_mutex_init(&state->lock, NULL);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&state->running, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

void host_memory_free(HostMemory *state) {
    pthread_rwlock_destroy(&state->running);
    pthread_mutex_destroy(&state->lock);
    free(state->table);
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* The lowest free number, the table grown if need be; UINT32_MAX when out of memory. */
static uint32_t free_number(HostMemory *state) {
    for (uint32_t i = 0; i < state->count; i++)
        if (!state->table[i].data) return i;
    if (state->count == state->capacity) {
        uint32_t capacity = state->capacity ? state->capacity * 2 : 64;
        if (capacity > MOST_BUFFERS) return UINT32_MAX;
        HostBuffer *table = realloc(state->table, capacity * sizeof *table);
        if (!table) return UINT32_MAX;
        state->table = table;
        state->capacity = capacity;
    }
    state->table[state->count] = (HostBuffer){0};
    return state->count++;
}

tkc_status host_attach(tkc_buffer *buffer, void *memory) {
    HostMemory *state = buffer->device->state;
    if (buffer->size > LARGEST_BUFFER)
        return tkc_fail(TKC_OUT_OF_MEMORY,
                        "Buffer `%s` of %llu bytes: the largest "
                        "is %llu.",
                        buffer->name, (unsigned long long)buffer->size,
                        (unsigned long long)LARGEST_BUFFER);
    size_t rounded = (buffer->size + BUFFER_ALIGNMENT) & ~(uint64_t)(BUFFER_ALIGNMENT - 1);
    uint8_t *data = memory ? memory : aligned_alloc(BUFFER_ALIGNMENT, rounded);
    if (!data)
        return tkc_fail(TKC_OUT_OF_MEMORY, "There is no memory for buffer `%s` of %llu bytes.",
                        buffer->name, (unsigned long long)buffer->size);
    pthread_mutex_lock(&state->lock);
    uint32_t number = free_number(state);
    if (number != UINT32_MAX) {
        state->table[number] =
            (HostBuffer){.data = data, .size = buffer->size, .name = buffer->name};
        buffer->number = number;
        buffer->address = HOST_BUFFER_ADDRESS(number);
    }
    pthread_mutex_unlock(&state->lock);
    if (number != UINT32_MAX) return TKC_OK;
    if (!memory) free(data);
    return tkc_fail(TKC_OUT_OF_MEMORY, "There is no room for buffer `%s` beside the other %u.",
                    buffer->name, state->count);
}

void host_detach(tkc_buffer *buffer) {
    HostMemory *state = buffer->device->state;
    pthread_rwlock_wrlock(&state->running);
    pthread_mutex_lock(&state->lock);
    HostBuffer memory = state->table[buffer->number];
    state->table[buffer->number] = (HostBuffer){0};
    pthread_mutex_unlock(&state->lock);
    pthread_rwlock_unlock(&state->running);
    if (!buffer->borrowed) free(memory.data);
    free(memory.written);
}

static HostBuffer memory_of(const tkc_buffer *buffer) {
    HostMemory *state = buffer->device->state;
    pthread_mutex_lock(&state->lock);
    HostBuffer memory = state->table[buffer->number];
    pthread_mutex_unlock(&state->lock);
    return memory;
}

static void note_written(HostBuffer memory, uint64_t offset, uint64_t size) {
    if (memory.written) mark_written(memory.written, offset, offset + size);
}

tkc_status host_write(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size) {
    HostBuffer memory = memory_of(buffer);
    memmove(memory.data + offset, from, size);
    note_written(memory, offset, size);
    return TKC_OK;
}

tkc_status host_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size) {
    memmove(to, memory_of(buffer).data + offset, size);
    return TKC_OK;
}

tkc_status host_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                     uint64_t from_offset, uint64_t size) {
    return host_write(to, to_offset, memory_of(from).data + from_offset, size);
}

tkc_status host_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                     uint32_t pattern_size) {
    HostBuffer memory = memory_of(buffer);
    uint8_t *data = memory.data + offset;
    memcpy(data, pattern, pattern_size);
    for (uint64_t done = pattern_size; done < size;) { /* copy what is there already: doubling */
        uint64_t next = done < size - done ? done : size - done;
        memcpy(data + done, data, next);
        done += next;
    }
    note_written(memory, offset, size);
    return TKC_OK;
}

tkc_status host_poison(tkc_buffer *buffer) {
    HostMemory *state = buffer->device->state;
    HostBuffer memory = memory_of(buffer);
    uint64_t bytes = buffer->size / 8 + 1;
    if (memory.written) {
        memset(memory.written, 0, bytes);
    } else {
        memory.written = calloc(bytes, 1);
        if (!memory.written)
            return tkc_fail(TKC_OUT_OF_MEMORY, "There is no memory to watch buffer `%s`.",
                            buffer->name);
        pthread_mutex_lock(&state->lock);
        state->table[buffer->number].written = memory.written;
        pthread_mutex_unlock(&state->lock);
    }
    memset(memory.data, 0xff, buffer->size);
    return TKC_OK;
}

bool host_accepts(const tkc_device *device, int dlpack_type, int dlpack_id) {
    enum { CPU = 1, CUDA_HOST = 3 }; /* DLPack's numbers */
    (void)device, (void)dlpack_id;
    return dlpack_type == CPU || dlpack_type == CUDA_HOST;
}

/* ---- what a launch sees -----------------------------------------------------------------------
 */

/* A tensor inside one that is there already shares its number, so that two arguments over the same
 * memory are known to be the same. */
static uint64_t tensor_address(HostView *view, uint32_t first, const DeviceTensor *tensor) {
    uintptr_t start = (uintptr_t)tensor->data;
    for (uint32_t i = first; i < view->count; i++) {
        uintptr_t begin = (uintptr_t)view->list[i].data;
        if (start < begin || start - begin > view->list[i].size) continue;
        if (view->list[i].size - (start - begin) >= tensor->size)
            return HOST_BUFFER_ADDRESS(i) + (start - begin);
    }
    /* Of an empty tensor no byte is touched, but NULL would mean that the number is free. */
    void *data = tensor->data ? tensor->data : view->list;
    view->list[view->count] = (HostBuffer){.data = data, .size = tensor->size};
    return HOST_BUFFER_ADDRESS(view->count++);
}

/* Largest first, so that the others find the one they are inside of. */
static void add_tensors(HostView *view, const tkc_kernel *kernel, const DeviceLaunch *launch) {
    uint32_t first = view->count;
    for (uint32_t done = 0; done < launch->tensor_count; done++) {
        const DeviceTensor *largest = NULL;
        for (uint32_t i = 0; i < launch->tensor_count; i++) {
            const DeviceTensor *tensor = &launch->tensors[i];
            if (launch->arguments[tensor->argument]) continue;
            if (!largest || tensor->size > largest->size) largest = tensor;
        }
        uint32_t before = view->count;
        launch->arguments[largest->argument] = tensor_address(view, first, largest);
        if (view->count > before)
            view->list[before].name = kernel->parameters[largest->argument].name;
    }
}

bool host_view_begin(HostMemory *state, const tkc_kernel *kernel, const DeviceLaunch *launch,
                     HostView *view) {
    pthread_rwlock_rdlock(&state->running);
    pthread_mutex_lock(&state->lock);
    view->count = state->count;
    view->list = calloc((size_t)state->count + launch->tensor_count + 1, sizeof *view->list);
    if (view->list && state->count)
        memcpy(view->list, state->table, state->count * sizeof *view->list);
    pthread_mutex_unlock(&state->lock);
    if (view->list)
        add_tensors(view, kernel, launch);
    else
        pthread_rwlock_unlock(&state->running);
    return view->list != NULL;
}

void host_view_end(HostMemory *state, HostView *view) {
    free(view->list);
    pthread_rwlock_unlock(&state->running);
}
