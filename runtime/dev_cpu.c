/* dev_cpu.c: kernels as native code on all cores (compiler/cpu).
 *
 * Memory is the caller's own kind: a buffer's address is where it lies, and DLPack tensors are used
 * in place. A launch has run when tkc_launch returns.
 */
#include "runtime/cpu_pool.h"
#include "runtime/device.h"

#include "compiler/cpu/cpu.h"
#include "compiler/eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BUFFER_ALIGNMENT = 64, HUGE_PAGE = 2 << 20, USUAL_CACHE = 32 << 20 };

typedef struct CpuDevice {
    CpuPool *pool;
    pthread_rwlock_t running; /* launches read, destroying a buffer writes */
    atomic_uint large;        /* buffers made so far, to lay them out */
    uint64_t cache_size;      /* of the last level */
} CpuDevice;

/* ---- the device -------------------------------------------------------------------------------
 */

static uint32_t cpu_count(tkc_context *context) {
    (void)context;
    return 1;
}

static void cpu_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    (void)context, (void)index;
    Arena arena;
    uint32_t bits;
    arena_init(&arena, 0);
    info->threads = cpu_threads();
    const char *name = cpu_host_name(&arena, &bits);
    snprintf(info->name, sizeof info->name, "cpu");
    snprintf(info->description, sizeof info->description,
             "native code for %s, vectors of %u bits (%u thread%s)", name ? name : "this machine",
             bits, info->threads, info->threads == 1 ? "" : "s");
    arena_free(&arena);
}

/* Of the last level, as one processor sees it. */
static uint64_t cache_size(void) {
    uint64_t size = 0;
    for (char level = '0'; level <= '4'; level++) {
        char path[] = "/sys/devices/system/cpu/cpu0/cache/index?/size";
        char unit = 0;
        unsigned long number;
        path[strlen("/sys/devices/system/cpu/cpu0/cache/index")] = level;
        FILE *file = fopen(path, "re");
        if (!file) break;
        if (fscanf(file, "%lu%c", &number, &unit) == 2)
            size = (uint64_t)number << (unit == 'G' ? 30 : unit == 'M' ? 20 : 10);
        fclose(file);
    }
    return size ? size : USUAL_CACHE;
}

static tkc_status cpu_open(tkc_device *device, const char *selector,
                           const tkc_device_options *options) {
    (void)options;
    if (selector)
        return tkc_fail(TKC_NOT_FOUND, "There is one CPU device, `cpu`; `cpu:%s` is no device.",
                        selector);
    CpuDevice *state = calloc(1, sizeof *state);
    if (!state) return rt_fail_memory();
    state->cache_size = cache_size();
    state->pool = cpu_pool_new();
    if (!state->pool) {
        free(state);
        return rt_fail_memory();
    }
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&state->running, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    snprintf(device->name, sizeof device->name, "cpu");
    snprintf(device->target, sizeof device->target, "cpu");
    device->processors = cpu_threads();
    device->state = state;
    return TKC_OK;
}

static void cpu_close(tkc_device *device) {
    CpuDevice *state = device->state;
    cpu_pool_free(state->pool);
    pthread_rwlock_destroy(&state->running);
    free(state);
}

/* ---- buffers -----------------------------------------------------------------------------------
 */

static uint8_t *data_of(const tkc_buffer *buffer) {
    return (uint8_t *)(uintptr_t)buffer->address;
}

/* Large buffers begin at different places of their pages: equal distances between the streams of a
 * kernel would meet in the same banks of memory. */
static bool is_large(const tkc_buffer *buffer) {
    return buffer->size >= 2 * (uint64_t)HUGE_PAGE;
}

static uint8_t *new_memory(CpuDevice *state, const tkc_buffer *buffer) {
    enum { STAGGER = 64 * 67, STEPS = 32 };
    if (buffer->size > SIZE_MAX - 4 * (uint64_t)HUGE_PAGE) return NULL;
    if (!is_large(buffer)) {
        const size_t size = (size_t)buffer->size + BUFFER_ALIGNMENT;
        return aligned_alloc(BUFFER_ALIGNMENT, size / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT);
    }
    const size_t size = ((size_t)buffer->size + 2 * HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *memory = aligned_alloc(HUGE_PAGE, size);
    if (!memory) return NULL;
    madvise(memory, size, MADV_HUGEPAGE);
    return memory + atomic_fetch_add(&state->large, 1) % STEPS * STAGGER;
}

static tkc_status cpu_attach(tkc_buffer *buffer, void *memory) {
    if (!memory) memory = new_memory(buffer->device->state, buffer);
    if (!memory)
        return tkc_fail(TKC_OUT_OF_MEMORY, "There is no memory for buffer `%s` of %llu bytes.",
                        buffer->name, (unsigned long long)buffer->size);
    buffer->address = (uint64_t)(uintptr_t)memory;
    return TKC_OK;
}

static void cpu_detach(tkc_buffer *buffer) {
    CpuDevice *state = buffer->device->state;
    pthread_rwlock_wrlock(&state->running);
    pthread_rwlock_unlock(&state->running);
    if (buffer->borrowed) return;
    const uint64_t start =
        is_large(buffer) ? buffer->address / HUGE_PAGE * HUGE_PAGE : buffer->address;
    free((void *)(uintptr_t)start);
}

static tkc_status cpu_write(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size) {
    memmove(data_of(buffer) + offset, from, size);
    return TKC_OK;
}

static tkc_status cpu_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size) {
    memmove(to, data_of(buffer) + offset, size);
    return TKC_OK;
}

static tkc_status cpu_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                           uint64_t from_offset, uint64_t size) {
    memmove(data_of(to) + to_offset, data_of(from) + from_offset, size);
    return TKC_OK;
}

static tkc_status cpu_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                           uint32_t pattern_size) {
    uint8_t *data = data_of(buffer) + offset;
    memcpy(data, pattern, pattern_size);
    for (uint64_t done = pattern_size; done < size;) { /* copy what is there already: doubling */
        const uint64_t next = done < size - done ? done : size - done;
        memcpy(data + done, data, next);
        done += next;
    }
    return TKC_OK;
}

static tkc_status cpu_poison(tkc_buffer *buffer) {
    memset(data_of(buffer), 0xff, buffer->size);
    return TKC_OK;
}

static bool cpu_accepts(const tkc_device *device, int dlpack_type, int dlpack_id) {
    enum { CPU = 1, CUDA_HOST = 3 }; /* DLPack's numbers */
    (void)device, (void)dlpack_id;
    return dlpack_type == CPU || dlpack_type == CUDA_HOST;
}

/* ---- kernels ------------------------------------------------------------------------------------
 */

typedef struct CpuKernel {
    CpuCode code;
    CpuItemTime time; /* of a program */
} CpuKernel;

static tkc_status load_guarded(Arena *arena, const tkc_kernel *kernel, CpuCode *code) {
    jmp_buf exhausted;
    arena->on_exhausted = &exhausted;
    if (setjmp(exhausted)) return rt_fail_memory();
    Text error = {.arena = arena};
    if (cpu_compile(kernel->module, NULL, code, &error)) return TKC_OK;
    return tkc_fail(TKC_INTERNAL, "Kernel `%s` cannot be made native code: %s", kernel->name,
                    error.data ? error.data : "for an unknown reason");
}

static tkc_status cpu_load(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    (void)device;
    if (!kernel->module)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` is compiled for `%s` only, and cannot run on `cpu`.",
                        kernel->name, kernel->target);
    CpuKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    Arena arena;
    arena_init(&arena, 0);
    const tkc_status status = load_guarded(&arena, kernel, &made->code);
    arena_free(&arena);
    if (status) {
        free(made);
        return status;
    }
    *loaded = made;
    return TKC_OK;
}

static void cpu_unload(tkc_device *device, void *loaded) {
    (void)device;
    CpuKernel *made = loaded;
    cpu_free(&made->code);
    free(made);
}

/* ---- launching
 * ----------------------------------------------------------------------------------- */

typedef struct CpuRun {
    CpuLaunch launch; /* first: prints come back with its address */
    const CpuCode *code;
    tkc_context *context;
    const volatile bool *cancel;
    uint32_t grid[3];
    pthread_mutex_t lock; /* guards what follows */
    bool failed, cancelled;
    uint64_t program;
    CpuFault fault;
} CpuRun;

static void program_at(const CpuRun *run, uint64_t number, uint32_t *program) {
    program[0] = (uint32_t)(number % run->grid[0]);
    program[1] = (uint32_t)(number / run->grid[0] % run->grid[1]);
    program[2] = (uint32_t)(number / run->grid[0] / run->grid[1]);
}

/* Does the launch write more than the caches keep? Then nobody finds its results there. */
static bool is_stream(const CpuDevice *state, const CpuCode *code, uint64_t programs) {
    return code->stored && programs > state->cache_size / code->stored;
}

/* Stores past the caches are in order again. */
static void end_stream(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

static bool run_programs(void *context, uint64_t first, uint64_t last, uint8_t *scratch) {
    CpuRun *run = context;
    for (uint64_t i = first; i < last; i++) {
        uint32_t program[3];
        CpuFault fault;
        program_at(run, i, program);
        const bool cancelled = run->cancel && *run->cancel;
        if (!cancelled && run->code->entry(&run->launch, scratch, program, &fault) == CPU_RUNNING)
            continue;
        if (run->launch.stream) end_stream();
        pthread_mutex_lock(&run->lock);
        run->cancelled |= cancelled;
        if (!cancelled && (!run->failed || i < run->program)) {
            run->failed = true;
            run->program = i;
            run->fault = fault;
        }
        pthread_mutex_unlock(&run->lock);
        return false;
    }
    if (run->launch.stream) end_stream();
    return true;
}

static tkc_status report(const CpuRun *run, const tkc_kernel *kernel) {
    uint32_t program[3];
    char message[768];
    const Op *op = cpu_op_at(run->code, run->fault.op);
    const Attribute *text = op ? op_attribute(op, ATTR_text) : NULL;
    const bool assertion = run->fault.kind == CPU_FAULT_ASSERT;
    const int length = assertion && text ? (int)(text->count < 400 ? text->count : 400) : 0;
    program_at(run, run->program, program);
    snprintf(message, sizeof message, "program (%u, %u, %u): %s%s%.*s", program[0], program[1],
             program[2], assertion ? "assertion failed" : "this cannot run on the CPU",
             length ? ": " : "", length, length ? text->string : "");
    const Sources *sources = ((const Module *)kernel->module)->sources;
    const Span at = op ? op->at.span : (Span){0};
    const bool known = at.line && at.source < sources->list.length;
    tkc_fault given = {
        .struct_size = sizeof given,
        .kind = assertion ? TKC_FAULT_ASSERT : TKC_FAULT_UNSUPPORTED,
        .file = known ? sources->list.data[at.source].path : "",
        .line = at.line,
        .column = at.column,
        .parameter = "",
        .buffer = "",
        .message = message,
    };
    memcpy(given.program, program, sizeof program);
    if (op && op->operand_count && type_is_block(op_operand(op, 0)->type)) {
        const Type *type = op_operand(op, 0)->type;
        uint64_t rest = run->fault.element;
        given.rank = type->rank;
        for (uint32_t d = type->rank; d-- > 0; rest /= type->shape[d])
            given.coordinates[d] = (uint32_t)(rest % type->shape[d]);
    }
    rt_keep_fault(&given);
    const tkc_status status = assertion ? TKC_LAUNCH_FAULT : TKC_UNSUPPORTED;
    Arena arena;
    jmp_buf exhausted;
    arena_init(&arena, 0);
    arena.on_exhausted = &exhausted;
    if (setjmp(exhausted)) {
        tkc_fail(status, "%s", message);
    } else {
        Diagnostics diagnostics = {.arena = &arena, .sources = sources};
        Text rendered = {.arena = &arena};
        Diagnostic *d = diag_warning(&diagnostics, op ? op->at : (Location){0}, "%s", message);
        d->severity = SEVERITY_FAULT;
        diag_render(&diagnostics, &rendered);
        tkc_fail(status, "%s", rendered.data);
    }
    arena_free(&arena);
    return status;
}

/* ---- print
 * ----------------------------------------------------------------------------------------- */

static size_t add_number(char *to, size_t room, const Type *element, const uint8_t *at, bool hex) {
    const uint32_t size = type_element_size(element);
    const DType dtype = type_dtype(element);
    uint64_t bits = 0;
    memcpy(&bits, at, size);
    int n;
    if (hex || dtype == DT_NONE)
        n = snprintf(to, room, "0x%0*" PRIx64, (int)size * 2, bits);
    else if (dtype_is_float(dtype))
        n = snprintf(to, room, dtype == DT_f64 ? "%.17g" : "%.9g",
                     eval_double_from_bits(dtype, bits));
    else if (dtype_is_unsigned(dtype))
        n = snprintf(to, room, "%" PRIu64, bits);
    else
        n = snprintf(to, room, "%" PRId64, eval_int_from_bits(dtype, bits));
    return n > 0 ? (size_t)n : 0;
}

/* One line an element, as the interpreter prints them. */
static void print_elements(const CpuLaunch *launch, const uint32_t *program, uint32_t index,
                           uint32_t k, const void *elements) {
    const CpuRun *run = (const CpuRun *)launch;
    const Op *op = cpu_op_at(run->code, index);
    const Attribute *text = op_attribute(op, ATTR_text);
    const int length = text ? (int)(text->count < 400 ? text->count : 400) : 0;
    const Type *type = op->operand_count ? op_operand(op, k)->type : NULL;
    const uint32_t count = type ? type->count : 1;
    for (uint32_t i = 0; i < count; i++) {
        char line[640];
        size_t at = (size_t)snprintf(line, sizeof line, "pid (%u, %u, %u) ", program[0], program[1],
                                     program[2]);
        if (type) at += (size_t)snprintf(line + at, sizeof line - at, "idx (");
        uint32_t rest = i, stride = count;
        for (uint32_t d = 0; type && d < type->rank; d++) {
            stride /= type->shape[d];
            at +=
                (size_t)snprintf(line + at, sizeof line - at, "%s%u", d ? ", " : "", rest / stride);
            rest %= stride;
        }
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%.*s", type ? ") " : "", length,
                               length ? text->string : "");
        if (op->operand_count > 1)
            at += (size_t)snprintf(line + at, sizeof line - at, " (operand %u)", k);
        if (type && at + 40 < sizeof line) {
            const Type *element = type_element(type);
            line[at++] = ' ';
            const uint8_t *value =
                (const uint8_t *)elements + (size_t)i * type_element_size(element);
            add_number(line + at, sizeof line - at, element, value, op_int(op, ATTR_hex, 0) != 0);
        }
        rt_print(run->context, line);
    }
}

static tkc_status cpu_run(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                          void *loaded, const DeviceLaunch *launch) {
    (void)stream;
    CpuDevice *state = device->state;
    CpuKernel *made = loaded;
    const tkc_launch_options *o = launch->options;
    for (uint32_t i = 0; i < launch->tensor_count; i++)
        launch->arguments[launch->tensors[i].argument] =
            (uint64_t)(uintptr_t)launch->tensors[i].data;
    CpuRun run = {
        .launch = {.arguments = launch->arguments,
                   .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                   .tf32_half = o->ieee_dot ? 0 : 0x1000,
                   .tf32_mask = o->ieee_dot ? ~UINT64_C(0) : ~UINT64_C(0x1fff),
                   .print = device->context->options.print ? print_elements : NULL},
        .code = &made->code,
        .context = device->context,
        .cancel = o->cancel,
    };
    memcpy(run.grid, launch->grid, sizeof run.grid);
    const uint64_t programs = (uint64_t)run.grid[0] * run.grid[1] * run.grid[2];
    run.launch.stream = is_stream(state, run.code, programs);
    pthread_mutex_init(&run.lock, NULL);
    pthread_rwlock_rdlock(&state->running);
    const bool ran = cpu_pool_run(state->pool, programs, o->threads, run.code->scratch_size,
                                  &made->time, run_programs, &run);
    tkc_status status = TKC_OK;
    if (run.failed)
        status = report(&run, kernel);
    else if (run.cancelled)
        status = tkc_fail(TKC_CANCELLED, "The launch of kernel `%s` was cancelled.", kernel->name);
    else if (!ran)
        status = rt_fail_memory();
    pthread_rwlock_unlock(&state->running);
    pthread_mutex_destroy(&run.lock);
    return status;
}

const DeviceKind device_cpu = {
    .count = cpu_count,
    .describe = cpu_describe,
    .open = cpu_open,
    .close = cpu_close,
    .attach = cpu_attach,
    .detach = cpu_detach,
    .write = cpu_write,
    .read = cpu_read,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .poison = cpu_poison,
    .accepts = cpu_accepts,
    .load = cpu_load,
    .unload = cpu_unload,
    .launch = cpu_run,
};
