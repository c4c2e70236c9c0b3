/* dev_cpu.c: kernels as native code on all cores (compiler/cpu).
 *
 * Memory is the caller's own kind: a buffer's address is where it lies, and DLPack tensors are used
 * in place. A launch has run when tkc_launch returns.
 */
#include "runtime/cpu_pool.h"
#include "runtime/report.h"

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

typedef struct CpuVariant {
    CpuCode code;
    CpuItemTime time; /* of a program */
} CpuVariant;

typedef struct CpuKernel {
    CpuVariant plain;
    pthread_mutex_t lock; /* held to make what follows */
    CpuVariant *checked;  /* every access is checked; NULL: not asked for yet */
} CpuKernel;

static tkc_status load_guarded(Arena *arena, const tkc_kernel *kernel, bool bounds, CpuCode *code) {
    jmp_buf exhausted;
    arena->on_exhausted = &exhausted;
    if (setjmp(exhausted)) return rt_fail_memory();
    Text error = {.arena = arena};
    if (cpu_compile(kernel->module, &(CpuOptions){.bounds = bounds}, code, &error)) return TKC_OK;
    return tkc_fail(TKC_INTERNAL, "Kernel `%s` cannot be made native code: %s", kernel->name,
                    error.data ? error.data : "for an unknown reason");
}

static tkc_status load_variant(const tkc_kernel *kernel, bool bounds, CpuVariant *variant) {
    Arena arena;
    arena_init(&arena, 0);
    const tkc_status status = load_guarded(&arena, kernel, bounds, &variant->code);
    arena_free(&arena);
    return status;
}

static tkc_status cpu_load(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    (void)device;
    if (!kernel->module)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` is compiled for `%s` only, and cannot run on `cpu`.",
                        kernel->name, kernel->target);
    CpuKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    const tkc_status status = load_variant(kernel, false, &made->plain);
    if (status) {
        free(made);
        return status;
    }
    pthread_mutex_init(&made->lock, NULL);
    *loaded = made;
    return TKC_OK;
}

static tkc_status checked_variant(CpuKernel *made, const tkc_kernel *kernel, CpuVariant **variant) {
    tkc_status status = TKC_OK;
    pthread_mutex_lock(&made->lock);
    if (!made->checked) {
        CpuVariant *checked = calloc(1, sizeof *checked);
        status = checked ? load_variant(kernel, true, checked) : rt_fail_memory();
        if (status)
            free(checked);
        else
            made->checked = checked;
    }
    *variant = made->checked;
    pthread_mutex_unlock(&made->lock);
    return status;
}

static void cpu_unload(tkc_device *device, void *loaded) {
    (void)device;
    CpuKernel *made = loaded;
    cpu_free(&made->plain.code);
    if (made->checked) cpu_free(&made->checked->code);
    free(made->checked);
    pthread_mutex_destroy(&made->lock);
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

/* ---- what may be accessed -------------------------------------------------------------- */

/* Arguments as a checked variant sees them, and the memory that they are in. */
typedef struct Checks {
    uint64_t *arguments, *plain; /* plain: as the interpreter numbers buffers */
    CpuRange *ranges;
    InterpBuffer *buffers;
    const char **names;
    uint32_t count;
} Checks;

static void checks_free(Checks *checks) {
    free(checks->arguments);
    free(checks->plain);
    free(checks->ranges);
    free(checks->buffers);
    free(checks->names);
}

static bool checks_new(Checks *checks, uint32_t arguments) {
    const size_t room = arguments + 1; /* one range must be there */
    *checks = (Checks){
        .arguments = calloc(room, sizeof *checks->arguments),
        .plain = calloc(room, sizeof *checks->plain),
        .ranges = calloc(room, sizeof *checks->ranges),
        .buffers = calloc(room, sizeof *checks->buffers),
        .names = calloc(room, sizeof *checks->names),
    };
    return checks->arguments && checks->plain && checks->ranges && checks->buffers && checks->names;
}

/* The address of argument `i`, which points into this memory. */
static void add_range(Checks *checks, uint32_t i, uint64_t address, uint64_t data, uint64_t size,
                      const char *name) {
    uint32_t k = 0;
    while (k < checks->count && (checks->ranges[k].data != data || checks->ranges[k].size != size))
        k++;
    checks->ranges[k] = (CpuRange){size, data};
    checks->buffers[k] = (InterpBuffer){.data = (uint8_t *)(uintptr_t)data, .size = size};
    checks->names[k] = name;
    if (k == checks->count) checks->count++;
    checks->plain[i] = INTERP_BUFFER_ADDRESS(k) + (address - data);
    checks->arguments[i] = CPU_CHECKED_ADDRESS(k) + (address - data);
}

static void find_memory(Checks *checks, const tkc_kernel *kernel, const DeviceLaunch *launch) {
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        const tkc_buffer *buffer = launch->given[i].value.buffer;
        checks->arguments[i] = checks->plain[i] = launch->arguments[i];
        if (kernel->parameters[i].is_pointer && launch->given[i].kind == TKC_ARGUMENT_BUFFER &&
            buffer)
            add_range(checks, i, launch->arguments[i], buffer->address, buffer->size, buffer->name);
    }
    for (uint32_t i = 0; i < launch->tensor_count; i++) {
        const DeviceTensor *tensor = &launch->tensors[i];
        const uint64_t data = (uint64_t)(uintptr_t)tensor->data;
        add_range(checks, tensor->argument, data, data, tensor->size,
                  kernel->parameters[tensor->argument].name);
    }
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

static void set_element(InterpFault *fault, const Op *op, uint64_t element) {
    if (!op || !op->operand_count || !type_is_block(op_operand(op, 0)->type)) return;
    const Type *type = op_operand(op, 0)->type;
    fault->rank = type->rank;
    for (uint32_t d = type->rank; d-- > 0; element /= type->shape[d])
        fault->coordinates[d] = (uint32_t)(element % type->shape[d]);
}

static tkc_status report(const CpuRun *run, const tkc_kernel *kernel, const Checks *checks) {
    const Op *op = cpu_op_at(run->code, run->fault.op);
    InterpFault fault = {.parameter = -1, .buffer = -1};
    if (op) fault.at = op->at;
    program_at(run, run->program, fault.program);
    if (run->fault.kind >= CPU_FAULT_BOUNDS) {
        const InterpLaunch launch = {
            .arguments = checks->plain, .buffers = checks->buffers, .buffer_count = checks->count};
        fault.kind = run->fault.kind == CPU_FAULT_BOUNDS       ? FAULT_OUT_OF_BOUNDS
                     : run->fault.kind == CPU_FAULT_MISALIGNED ? FAULT_MISALIGNED
                                                               : FAULT_NULL;
        interp_say_access(((const Module *)kernel->module)->kernel, &launch, op,
                          (uint32_t)run->fault.element, run->fault.address, &fault);
        return rt_report(kernel, &fault, fault.buffer < 0 ? "" : checks->names[fault.buffer]);
    }
    const Attribute *text = op ? op_attribute(op, ATTR_text) : NULL;
    const bool assertion = run->fault.kind == CPU_FAULT_ASSERT;
    const int length = assertion && text ? (int)(text->count < 400 ? text->count : 400) : 0;
    fault.kind = assertion ? FAULT_ASSERT : FAULT_UNSUPPORTED;
    size_t used = (size_t)snprintf(fault.message, sizeof fault.message, "%s%s%.*s",
                                   assertion ? "assertion failed" : "this cannot run on the CPU",
                                   length ? ": " : "", length, length ? text->string : "");
    set_element(&fault, op, run->fault.element);
    for (uint32_t d = 0; d < fault.rank; d++)
        used += (size_t)snprintf(fault.message + used, sizeof fault.message - used, "%s%u",
                                 d ? ", " : " at element [", fault.coordinates[d]);
    snprintf(fault.message + used, sizeof fault.message - used, "%s (program %u, %u, %u)",
             fault.rank ? "]" : "", fault.program[0], fault.program[1], fault.program[2]);
    return rt_report(kernel, &fault, "");
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

static tkc_status run_variant(tkc_device *device, const tkc_kernel *kernel, CpuVariant *variant,
                              const Checks *checks, const DeviceLaunch *launch) {
    CpuDevice *state = device->state;
    const tkc_launch_options *o = launch->options;
    const uint64_t programs = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    CpuRun run = {
        .launch = {.arguments = checks ? checks->arguments : launch->arguments,
                   .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                   .tf32_half = o->ieee_dot ? 0 : 0x1000,
                   .tf32_mask = o->ieee_dot ? ~UINT64_C(0) : ~UINT64_C(0x1fff),
                   .print = device->context->options.print ? print_elements : NULL,
                   .check = checks ? cpu_check : NULL,
                   .ranges = checks ? checks->ranges : NULL,
                   .range_count = checks ? checks->count : 0,
                   .stream = is_stream(state, &variant->code, programs)},
        .code = &variant->code,
        .context = device->context,
        .cancel = o->cancel,
    };
    memcpy(run.grid, launch->grid, sizeof run.grid);
    pthread_mutex_init(&run.lock, NULL);
    pthread_rwlock_rdlock(&state->running);
    const bool ran = cpu_pool_run(state->pool, programs, o->threads, run.code->scratch_size,
                                  &variant->time, run_programs, &run);
    tkc_status status = TKC_OK;
    if (run.failed)
        status = report(&run, kernel, checks);
    else if (run.cancelled)
        status = tkc_fail(TKC_CANCELLED, "The launch of kernel `%s` was cancelled.", kernel->name);
    else if (!ran)
        status = rt_fail_memory();
    pthread_rwlock_unlock(&state->running);
    pthread_mutex_destroy(&run.lock);
    return status;
}

static tkc_status cpu_run(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                          void *loaded, const DeviceLaunch *launch) {
    (void)stream;
    CpuKernel *made = loaded;
    for (uint32_t i = 0; i < launch->tensor_count; i++)
        launch->arguments[launch->tensors[i].argument] =
            (uint64_t)(uintptr_t)launch->tensors[i].data;
    if (!launch->options->bounds) return run_variant(device, kernel, &made->plain, NULL, launch);
    CpuVariant *checked;
    const tkc_status status = checked_variant(made, kernel, &checked);
    if (status) return status;
    Checks checks;
    const bool room = checks_new(&checks, launch->argument_count);
    if (room) find_memory(&checks, kernel, launch);
    const tkc_status ran =
        room ? run_variant(device, kernel, checked, &checks, launch) : rt_fail_memory();
    checks_free(&checks);
    return ran;
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
    .checks = true,
};
