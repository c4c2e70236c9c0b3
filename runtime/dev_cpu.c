/* dev_cpu.c: kernels as native code on all cores.
 *
 * Memory is the caller's own kind: a buffer's address is where it lies, and DLPack tensors are used
 * in place. A launch has run when tkc_launch returns.
 *
 * This is part of the launch half: there it runs what was compiled ahead of time.
 */
#include "runtime/cpu_code.h"

#ifdef TKC_LLVM
#include "compiler/cpu/cpu.h"
#endif

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
    info->threads = cpu_threads();
    snprintf(info->name, sizeof info->name, "cpu");
    const char *plural = info->threads == 1 ? "" : "s";
#ifndef TKC_LLVM
    snprintf(info->description, sizeof info->description,
             "native code compiled ahead of time (%u thread%s)", info->threads, plural);
#else
    Arena arena;
    uint32_t bits;
    arena_init(&arena, 0);
    const char *name = cpu_host_name(&arena, &bits);
    snprintf(info->description, sizeof info->description,
             "native code for %s, vectors of %u bits (%u thread%s)", name ? name : "this machine",
             bits, info->threads, plural);
    arena_free(&arena);
#endif
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

/* ---- kernels ------------------------------------------------------------------------------ */

typedef struct CpuKernel {
    CpuVariant plain;
    CpuCompiled *compiled; /* NULL: from an object file */
} CpuKernel;

/* What the code needs and this processor lacks, or NULL. */
static const char *missing_feature(uint64_t features) {
#if defined(__x86_64__)
    uint64_t bit = 1;
#define FEATURE(name)                                                                              \
    if ((features & bit) && !__builtin_cpu_supports(#name)) return #name;                          \
    bit *= 2;
    CPU_FEATURES(FEATURE)
#undef FEATURE
#else
    (void)features;
#endif
    return NULL;
}

static tkc_status take_native(const tkc_kernel *kernel, CpuVariant *variant) {
    const CpuNative *native = kernel->native;
    const char *missing = missing_feature(native->features);
    if (missing)
        return tkc_fail(TKC_UNSUPPORTED,
                        "Kernel `%s` was compiled for processors with %s, which this one lacks. "
                        "Compile it with -t cpu:x86-64-v3 or a lower level.",
                        kernel->name, missing);
    *variant = (CpuVariant){.entry = native->entry,
                            .scratch_size = native->scratch_size,
                            .stored = native->stored,
                            .sites = native->sites,
                            .site_count = native->site_count};
    return TKC_OK;
}

static tkc_status load_code(const tkc_kernel *kernel, CpuKernel *made) {
    if (kernel->native) return take_native(kernel, &made->plain);
#ifdef TKC_LLVM
    if (kernel->module) return cpu_code_new(kernel, &made->plain, &made->compiled);
#endif
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "Kernel `%s` is compiled for `%s` only, and cannot run on `cpu`.", kernel->name,
                    kernel->target);
}

static tkc_status cpu_load(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    (void)device;
    CpuKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    const tkc_status status = load_code(kernel, made);
    if (status)
        free(made);
    else
        *loaded = made;
    return status;
}

static void cpu_unload(tkc_device *device, void *loaded) {
    (void)device;
#ifdef TKC_LLVM
    cpu_code_free(((CpuKernel *)loaded)->compiled);
#endif
    free(loaded);
}

/* ---- launching
 * ----------------------------------------------------------------------------------- */

typedef struct CpuRun {
    CpuLaunch launch; /* first: prints come back with its address */
    const CpuVariant *variant;
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
static bool is_stream(const CpuDevice *state, const CpuVariant *variant, uint64_t programs) {
    return variant->stored && programs > state->cache_size / variant->stored;
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
        if (!cancelled &&
            run->variant->entry(&run->launch, scratch, program, &fault) == CPU_RUNNING)
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

/* ---- faults ------------------------------------------------------------------------------- */

const CpuSite *cpu_site(const CpuVariant *variant, uint32_t op) {
    for (uint32_t i = 0; i < variant->site_count; i++)
        if (variant->sites[i].op == op) return &variant->sites[i];
    return NULL;
}

void cpu_coordinates(const CpuSite *site, uint64_t element, uint32_t *rank, uint32_t *coordinates) {
    *rank = site && site->operand_count ? site->operands[0].rank : 0;
    for (uint32_t d = *rank; d-- > 0; element /= site->operands[0].shape[d])
        coordinates[d] = (uint32_t)(element % site->operands[0].shape[d]);
}

void cpu_say(const CpuSite *site, const CpuFault *fault, const uint32_t *program, char *message,
             size_t size) {
    uint32_t rank, coordinates[CPU_MOST_RANK];
    const bool assertion = fault->kind == CPU_FAULT_ASSERT;
    const char *text = assertion && site ? site->text : "";
    size_t used = (size_t)snprintf(message, size, "%s%s%.400s",
                                   assertion ? "assertion failed" : "this cannot run on the CPU",
                                   *text ? ": " : "", text);
    cpu_coordinates(site, fault->element, &rank, coordinates);
    for (uint32_t d = 0; d < rank; d++)
        used += (size_t)snprintf(message + used, size - used, "%s%u", d ? ", " : " at element [",
                                 coordinates[d]);
    snprintf(message + used, size - used, "%s (program %u, %u, %u)", rank ? "]" : "", program[0],
             program[1], program[2]);
}

/* Of code that knows no more of its source than places. */
static tkc_status report_native(const CpuRun *run, const uint32_t *program) {
    const CpuSite *site = cpu_site(run->variant, run->fault.op);
    const bool assertion = run->fault.kind == CPU_FAULT_ASSERT;
    char message[768];
    cpu_say(site, &run->fault, program, message, sizeof message);
    tkc_fault fault = {
        .struct_size = sizeof fault,
        .kind = assertion ? TKC_FAULT_ASSERT : TKC_FAULT_UNSUPPORTED,
        .file = site ? site->file : "",
        .line = site ? site->line : 0,
        .column = site ? site->column : 0,
        .program = {program[0], program[1], program[2]},
        .parameter = "",
        .buffer = "",
        .message = message,
    };
    cpu_coordinates(site, run->fault.element, &fault.rank, fault.coordinates);
    rt_keep_fault(&fault);
    return tkc_fail(assertion ? TKC_LAUNCH_FAULT : TKC_UNSUPPORTED, "%s:%u:%u: fault: %s",
                    fault.file, fault.line, fault.column, message);
}

static tkc_status report(const CpuRun *run, const tkc_kernel *kernel, const CpuKernel *made,
                         const CpuChecks *checks) {
    uint32_t program[3];
    program_at(run, run->program, program);
#ifdef TKC_LLVM
    if (made->compiled)
        return cpu_code_report(made->compiled, kernel, run->variant, checks, program, &run->fault);
#endif
    (void)kernel, (void)made, (void)checks;
    return report_native(run, program);
}

/* ---- print -------------------------------------------------------------------------------- */

static size_t add_number(char *to, size_t room, const CpuOperand *operand, const uint8_t *at,
                         bool hex) {
    const tkc_dtype dtype = (tkc_dtype)operand->dtype;
    const bool is_float = dtype >= TKC_F8E4M3;
    uint64_t bits = 0;
    double value;
    memcpy(&bits, at, operand->size);
    int n;
    if (hex || dtype == TKC_NONE) {
        n = snprintf(to, room, "0x%0*" PRIx64, (int)operand->size * 2, bits);
    } else if (is_float) {
        tkc_decode(dtype, at, &value, 1);
        n = snprintf(to, room, dtype == TKC_F64 ? "%.17g" : "%.9g", value);
    } else if (dtype == TKC_I1 || dtype >= TKC_U8) {
        n = snprintf(to, room, "%" PRIu64, bits);
    } else {
        const unsigned unused = 64 - 8 * operand->size;
        n = snprintf(to, room, "%" PRId64, (int64_t)(bits << unused) >> unused);
    }
    return n > 0 ? (size_t)n : 0;
}

/* One line an element, as the interpreter prints them. */
static void print_elements(const CpuLaunch *launch, const uint32_t *program, uint32_t index,
                           uint32_t k, const void *elements) {
    const CpuRun *run = (const CpuRun *)launch;
    const CpuSite *site = cpu_site(run->variant, index);
    if (!site) return;
    const CpuOperand *operand = site->operand_count ? &site->operands[k] : NULL;
    const uint32_t count = operand ? operand->count : 1;
    for (uint32_t i = 0; i < count; i++) {
        char line[640];
        size_t at = (size_t)snprintf(line, sizeof line, "pid (%u, %u, %u) ", program[0], program[1],
                                     program[2]);
        if (operand) at += (size_t)snprintf(line + at, sizeof line - at, "idx (");
        uint32_t rest = i, stride = count;
        for (uint32_t d = 0; operand && d < operand->rank; d++) {
            stride /= operand->shape[d];
            at +=
                (size_t)snprintf(line + at, sizeof line - at, "%s%u", d ? ", " : "", rest / stride);
            rest %= stride;
        }
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%.400s", operand ? ") " : "",
                               site->text);
        if (site->operand_count > 1)
            at += (size_t)snprintf(line + at, sizeof line - at, " (operand %u)", k);
        if (operand && at + 40 < sizeof line) {
            line[at++] = ' ';
            add_number(line + at, sizeof line - at, operand,
                       (const uint8_t *)elements + (size_t)i * operand->size, site->hex != 0);
        }
        rt_print(run->context, line);
    }
}

/* ---- launches ----------------------------------------------------------------------------- */

static tkc_status run_variant(tkc_device *device, const tkc_kernel *kernel, const CpuKernel *made,
                              CpuVariant *variant, const CpuChecks *checks,
                              const DeviceLaunch *launch) {
    CpuDevice *state = device->state;
    const tkc_launch_options *o = launch->options;
    const uint64_t programs = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    CpuRun run = {
        .launch = {.arguments = checks ? checks->arguments : launch->arguments,
                   .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                   .tf32_half = o->ieee_dot ? 0 : 0x1000,
                   .tf32_mask = o->ieee_dot ? ~UINT64_C(0) : ~UINT64_C(0x1fff),
                   .print = device->context->options.print ? print_elements : NULL,
                   .check = checks ? checks->check : NULL,
                   .ranges = checks ? checks->ranges : NULL,
                   .range_count = checks ? checks->count : 0,
                   .stream = is_stream(state, variant, programs)},
        .variant = variant,
        .context = device->context,
        .cancel = o->cancel,
    };
    memcpy(run.grid, launch->grid, sizeof run.grid);
    pthread_mutex_init(&run.lock, NULL);
    pthread_rwlock_rdlock(&state->running);
    const bool ran = cpu_pool_run(state->pool, programs, o->threads, variant->scratch_size,
                                  &variant->time, run_programs, &run);
    tkc_status status = TKC_OK;
    if (run.failed)
        status = report(&run, kernel, made, checks);
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
    if (!launch->options->bounds)
        return run_variant(device, kernel, made, &made->plain, NULL, launch);
#ifdef TKC_LLVM
    if (made->compiled) {
        CpuVariant *checked;
        CpuChecks checks;
        tkc_status status = cpu_code_checked(made->compiled, kernel, launch, &checked, &checks);
        if (status) return status;
        status = run_variant(device, kernel, made, checked, &checks, launch);
        cpu_code_end(&checks);
        return status;
    }
#endif
    return tkc_fail(TKC_UNSUPPORTED,
                    "tkc_launch_options.bounds: kernel `%s` was compiled ahead of time, without "
                    "checks of its accesses.",
                    kernel->name);
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
