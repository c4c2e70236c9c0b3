/* dev_interp.c: the device that runs block IR as it stands.
 *
 * Memory is host memory, found through virtual addresses: buffer number k begins at (k + 1) << 40
 * (compiler/interp.h). The device keeps a table of its buffers; a launch takes a copy of the table
 * and adds the caller's tensors behind it, so that creating buffers never waits for a launch.
 * Destroying one does: a launch holds `running` for reading, destruction for writing.
 */
#include "runtime/device.h"

#include "compiler/interp.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_BUFFERS = 1 << 20, BUFFER_ALIGNMENT = 64 };
#define LARGEST_BUFFER ((uint64_t)1 << (INTERP_BUFFER_SHIFT - 1))

typedef struct InterpDevice {
    pthread_rwlock_t running;
    pthread_mutex_t lock; /* guards the table */
    InterpBuffer *table;
    tkc_buffer **handles; /* for names in messages */
    uint32_t count, capacity;
} InterpDevice;

/* ---- the device ----------------------------------------------------------------------------- */

static uint32_t interp_count(tkc_context *context) {
    (void)context;
    return 1;
}

static void interp_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    (void)context, (void)index;
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    info->threads = threads > 0 ? (uint32_t)threads : 1;
    snprintf(info->name, sizeof info->name, "interp");
    snprintf(info->description, sizeof info->description,
             "runs the block IR itself and checks every access (%u thread%s)", info->threads,
             info->threads == 1 ? "" : "s");
}

static tkc_status interp_open(tkc_device *device, const char *selector,
                              const tkc_device_options *options) {
    (void)options;
    if (selector)
        return tkc_fail(TKC_NOT_FOUND,
                        "There is one interpreter, `interp`; `interp:%s` is no "
                        "device.",
                        selector);
    InterpDevice *state = calloc(1, sizeof *state);
    if (!state) return rt_fail_memory();
    pthread_mutex_init(&state->lock, NULL);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&state->running, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    snprintf(device->name, sizeof device->name, "interp");
    snprintf(device->target, sizeof device->target, "interp");
    device->state = state;
    return TKC_OK;
}

static void interp_close(tkc_device *device) {
    InterpDevice *state = device->state;
    pthread_rwlock_destroy(&state->running);
    pthread_mutex_destroy(&state->lock);
    free(state->table);
    free(state->handles);
    free(state);
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* The lowest free number, the table grown if need be; UINT32_MAX when out of memory. */
static uint32_t free_number(InterpDevice *state) {
    for (uint32_t i = 0; i < state->count; i++)
        if (!state->table[i].data) return i;
    if (state->count == state->capacity) {
        uint32_t capacity = state->capacity ? state->capacity * 2 : 64;
        if (capacity > MOST_BUFFERS) return UINT32_MAX;
        InterpBuffer *table = realloc(state->table, capacity * sizeof *table);
        if (table) state->table = table;
        tkc_buffer **handles = realloc(state->handles, capacity * sizeof *handles);
        if (handles) state->handles = handles;
        if (!table || !handles) return UINT32_MAX;
        state->capacity = capacity;
    }
    state->table[state->count] = (InterpBuffer){0};
    return state->count++;
}

static tkc_status interp_attach(tkc_buffer *buffer, void *memory) {
    InterpDevice *state = buffer->device->state;
    if (buffer->size > LARGEST_BUFFER)
        return tkc_fail(TKC_OUT_OF_MEMORY,
                        "Buffer `%s` of %llu bytes: the interpreter's largest "
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
        state->table[number] = (InterpBuffer){.data = data, .size = buffer->size};
        state->handles[number] = buffer;
        buffer->number = number;
        buffer->address = INTERP_BUFFER_ADDRESS(number);
    }
    pthread_mutex_unlock(&state->lock);
    if (number != UINT32_MAX) return TKC_OK;
    if (!memory) free(data);
    return tkc_fail(TKC_OUT_OF_MEMORY, "There is no room for buffer `%s` beside the other %u.",
                    buffer->name, state->count);
}

static void interp_detach(tkc_buffer *buffer) {
    InterpDevice *state = buffer->device->state;
    pthread_rwlock_wrlock(&state->running);
    pthread_mutex_lock(&state->lock);
    InterpBuffer memory = state->table[buffer->number];
    state->table[buffer->number] = (InterpBuffer){0};
    state->handles[buffer->number] = NULL;
    pthread_mutex_unlock(&state->lock);
    pthread_rwlock_unlock(&state->running);
    if (!buffer->borrowed) free(memory.data);
    free(memory.written);
}

static InterpBuffer memory_of(const tkc_buffer *buffer) {
    InterpDevice *state = buffer->device->state;
    pthread_mutex_lock(&state->lock);
    InterpBuffer memory = state->table[buffer->number];
    pthread_mutex_unlock(&state->lock);
    return memory;
}

static void mark_written(InterpBuffer memory, uint64_t offset, uint64_t size) {
    if (!memory.written) return;
    uint64_t at = offset, end = offset + size;
    for (; at < end && at % 8; at++) memory.written[at / 8] |= (uint8_t)(1u << at % 8);
    if (end - at >= 8) memset(memory.written + at / 8, 0xff, (end - at) / 8);
    for (at += (end - at) / 8 * 8; at < end; at++)
        memory.written[at / 8] |= (uint8_t)(1u << at % 8);
}

static tkc_status interp_write(tkc_buffer *buffer, uint64_t offset, const void *from,
                               uint64_t size) {
    InterpBuffer memory = memory_of(buffer);
    memmove(memory.data + offset, from, size);
    mark_written(memory, offset, size);
    return TKC_OK;
}

static tkc_status interp_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size) {
    memmove(to, memory_of(buffer).data + offset, size);
    return TKC_OK;
}

static tkc_status interp_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                              uint64_t from_offset, uint64_t size) {
    return interp_write(to, to_offset, memory_of(from).data + from_offset, size);
}

static tkc_status interp_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size,
                              const void *pattern, uint32_t pattern_size) {
    InterpBuffer memory = memory_of(buffer);
    uint8_t *data = memory.data + offset;
    memcpy(data, pattern, pattern_size);
    for (uint64_t done = pattern_size; done < size;) { /* copy what is there already: doubling */
        uint64_t next = done < size - done ? done : size - done;
        memcpy(data + done, data, next);
        done += next;
    }
    mark_written(memory, offset, size);
    return TKC_OK;
}

static tkc_status interp_poison(tkc_buffer *buffer) {
    InterpDevice *state = buffer->device->state;
    InterpBuffer memory = memory_of(buffer);
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

static bool interp_accepts(const tkc_device *device, int dlpack_type, int dlpack_id) {
    enum { CPU = 1, CUDA_HOST = 3 }; /* DLPack's numbers */
    (void)device, (void)dlpack_id;
    return dlpack_type == CPU || dlpack_type == CUDA_HOST;
}

/* ---- kernels --------------------------------------------------------------------------------- */

typedef struct InterpKernel {
    Arena arena;
    jmp_buf exhausted;
    InterpPlan *plan;
} InterpKernel;

static void interp_unload(tkc_device *device, void *loaded) {
    (void)device;
    InterpKernel *kernel = loaded;
    arena_free(&kernel->arena);
    free(kernel);
}

static tkc_status interp_load(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    if (!kernel->module || kernel->code)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` is compiled for `%s`; to run it on `interp`, compile it with "
                        "that target.",
                        kernel->name, kernel->target);
    InterpKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    arena_init(&made->arena, 0);
    made->arena.on_exhausted = &made->exhausted;
    if (setjmp(made->exhausted)) {
        interp_unload(device, made);
        return rt_fail_memory();
    }
    made->plan = interp_plan(&made->arena, kernel->module);
    *loaded = made;
    return TKC_OK;
}

/* ---- launching ------------------------------------------------------------------------------- */

/* The buffers as one launch sees them: the device's, then the caller's tensors. */
typedef struct LaunchMemory {
    InterpBuffer *buffers;
    const char **names;
    uint32_t count;
} LaunchMemory;

/* A tensor inside one that is there already shares its number, so that two arguments over the same
 * memory are known to be the same. */
static uint64_t tensor_address(LaunchMemory *memory, uint32_t first, const DeviceTensor *tensor) {
    uintptr_t start = (uintptr_t)tensor->data;
    for (uint32_t i = first; i < memory->count; i++) {
        uintptr_t begin = (uintptr_t)memory->buffers[i].data;
        if (start < begin || start - begin > memory->buffers[i].size) continue;
        if (memory->buffers[i].size - (start - begin) >= tensor->size)
            return INTERP_BUFFER_ADDRESS(i) + (start - begin);
    }
    /* Of an empty tensor no byte is touched, but NULL would mean that the number is free. */
    void *data = tensor->data ? tensor->data : memory->buffers;
    memory->buffers[memory->count] = (InterpBuffer){.data = data, .size = tensor->size};
    return INTERP_BUFFER_ADDRESS(memory->count++);
}

static void free_memory(LaunchMemory *memory) {
    free(memory->buffers);
    free(memory->names);
}

/* The names point into handles, which stay while `running` is held. */
static bool take_memory(InterpDevice *state, const tkc_kernel *kernel, const DeviceLaunch *launch,
                        LaunchMemory *memory) {
    pthread_mutex_lock(&state->lock);
    uint32_t count = state->count, most = count + launch->tensor_count + 1;
    *memory = (LaunchMemory){.buffers = calloc(most, sizeof *memory->buffers),
                             .names = calloc(most, sizeof *memory->names),
                             .count = count};
    bool good = memory->buffers && memory->names;
    if (good && count) {
        memcpy(memory->buffers, state->table, count * sizeof *memory->buffers);
        for (uint32_t i = 0; i < count; i++)
            if (state->handles[i]) memory->names[i] = state->handles[i]->name;
    }
    pthread_mutex_unlock(&state->lock);
    /* Largest first, so that the others find the one they are inside of. */
    for (uint32_t done = 0; good && done < launch->tensor_count; done++) {
        const DeviceTensor *largest = NULL;
        for (uint32_t i = 0; i < launch->tensor_count; i++) {
            const DeviceTensor *tensor = &launch->tensors[i];
            if (launch->arguments[tensor->argument]) continue;
            if (!largest || tensor->size > largest->size) largest = tensor;
        }
        uint32_t before = memory->count;
        launch->arguments[largest->argument] = tensor_address(memory, count, largest);
        if (memory->count > before)
            memory->names[before] = kernel->parameters[largest->argument].name;
    }
    return good;
}

/* The text of the fault, with its source line, as tkc_last_error; and the fault in numbers. */
static tkc_status report_fault(const tkc_kernel *kernel, const LaunchMemory *memory,
                               const InterpFault *fault) {
    const Module *module = kernel->module;
    const Sources *sources = module->sources;
    Span at = fault->at.span;
    bool known = at.line && at.source < sources->list.length;
    bool has_buffer = fault->buffer >= 0 && (uint32_t)fault->buffer < memory->count;
    bool has_parameter =
        fault->parameter >= 0 && (uint32_t)fault->parameter < kernel->parameter_count;
    tkc_fault given = {
        .kind = (tkc_fault_kind)fault->kind,
        .file = known ? sources->list.data[at.source].path : "",
        .line = at.line,
        .column = at.column,
        .parameter = has_parameter ? kernel->parameters[fault->parameter].name : "",
        .buffer = has_buffer ? memory->names[fault->buffer] : "",
        .offset = fault->offset,
        .buffer_size = fault->buffer_size,
        .rank = fault->rank,
        .message = fault->message,
    };
    memcpy(given.program, fault->program, sizeof given.program);
    memcpy(given.other_program, fault->other_program, sizeof given.other_program);
    memcpy(given.coordinates, fault->coordinates, sizeof given.coordinates);
    rt_keep_fault(&given);

    tkc_status status = TKC_LAUNCH_FAULT;
    if (fault->kind == FAULT_CANCELLED) status = TKC_CANCELLED;
    if (fault->kind == FAULT_MEMORY) status = TKC_OUT_OF_MEMORY;
    if (fault->kind == FAULT_UNSUPPORTED) status = TKC_UNSUPPORTED;

    Arena arena;
    jmp_buf exhausted;
    arena_init(&arena, 0);
    arena.on_exhausted = &exhausted;
    if (setjmp(exhausted)) {
        tkc_fail(status, "%s", fault->message);
    } else {
        Diagnostics diagnostics = {.arena = &arena, .sources = sources};
        Text text = {.arena = &arena};
        Diagnostic *message = diag_warning(&diagnostics, fault->at, "%s", fault->message);
        message->severity = SEVERITY_FAULT;
        diag_render(&diagnostics, &text);
        tkc_fail(status, "%s", text.data);
    }
    arena_free(&arena);
    return status;
}

_Static_assert((int)TKC_FAULT_NONE == (int)FAULT_NONE &&
                   (int)TKC_FAULT_OUT_OF_BOUNDS == (int)FAULT_OUT_OF_BOUNDS &&
                   (int)TKC_FAULT_MISALIGNED == (int)FAULT_MISALIGNED &&
                   (int)TKC_FAULT_NULL == (int)FAULT_NULL &&
                   (int)TKC_FAULT_UNWRITTEN == (int)FAULT_UNWRITTEN &&
                   (int)TKC_FAULT_RACE == (int)FAULT_RACE &&
                   (int)TKC_FAULT_ASSERT == (int)FAULT_ASSERT &&
                   (int)TKC_FAULT_UNSUPPORTED == (int)FAULT_UNSUPPORTED &&
                   (int)TKC_FAULT_MEMORY == (int)FAULT_MEMORY &&
                   (int)TKC_FAULT_CANCELLED == (int)FAULT_CANCELLED &&
                   sizeof((tkc_fault *)0)->coordinates == sizeof((InterpFault *)0)->coordinates,
               "faults of the interpreter and of tkc.h must be the same");

static void print_line(void *context, const char *line) {
    rt_print(context, line);
}

static tkc_status interp_run(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                             void *loaded, const DeviceLaunch *launch) {
    (void)stream;
    InterpDevice *state = device->state;
    LaunchMemory memory;
    InterpFault fault = {0};
    tkc_status status = TKC_OK;
    pthread_rwlock_rdlock(&state->running);
    if (take_memory(state, kernel, launch, &memory)) {
        InterpLaunch run = {
            .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
            .arguments = launch->arguments,
            .buffers = memory.buffers,
            .buffer_count = memory.count,
            .threads = launch->options->threads,
            .check_races = launch->options->check_races,
            .ieee_dot = launch->options->ieee_dot,
            .print = device->context->options.print ? print_line : NULL,
            .print_context = device->context,
            .cancel = launch->options->cancel,
        };
        const InterpKernel *ready = loaded;
        if (!interp_launch(ready->plan, &run, &fault))
            status = report_fault(kernel, &memory, &fault);
    } else {
        status = rt_fail_memory();
    }
    free_memory(&memory);
    pthread_rwlock_unlock(&state->running);
    return status;
}

const DeviceKind device_interp = {
    .count = interp_count,
    .describe = interp_describe,
    .open = interp_open,
    .close = interp_close,
    .attach = interp_attach,
    .detach = interp_detach,
    .write = interp_write,
    .read = interp_read,
    .copy = interp_copy,
    .fill = interp_fill,
    .poison = interp_poison,
    .accepts = interp_accepts,
    .load = interp_load,
    .unload = interp_unload,
    .launch = interp_run,
};
