/* dev_emu.c: the emitted PTX, run and checked on the CPU (runtime/emu).
 *
 *     emu            as `emu:sm_80`
 *     emu:sm_90a     code for that GPU
 *
 * The device stands in for `cuda` wherever there is no GPU, and finds what a GPU does not tell: all
 * checks of the emulator are on. What a kernel did wrong is reported with its line in the source.
 */
#include "runtime/emu/emu.h"
#include "runtime/gpu_code.h"
#include "runtime/host_memory.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(EMU_BUFFER_ADDRESS(3) == HOST_BUFFER_ADDRESS(3), "where buffers begin");

static const char usual_target[] = "sm_80";

/* ---- the device -------------------------------------------------------------------------------
 */

static uint32_t emu_count(tkc_context *context) {
    (void)context;
    return 1;
}

static void emu_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    (void)context, (void)index;
    info->threads = host_processors();
    snprintf(info->name, sizeof info->name, "emu");
    snprintf(info->description, sizeof info->description,
             "runs the PTX for a GPU (emu:%s, emu:sm_90a ...) on the CPU and checks it",
             usual_target);
#ifndef TKC_LLVM
    snprintf(info->reason, sizeof info->reason,
             "this build makes no PTX (it has no LLVM); it can run saved kernels");
#endif
}

static tkc_status emu_open(tkc_device *device, const char *selector,
                           const tkc_device_options *options) {
    (void)options;
    const char *target = gpu_target_name(selector ? selector : usual_target);
    if (!target)
        return tkc_fail(TKC_NOT_FOUND,
                        "`emu:%s` is no device: the name of a GPU target must follow the colon, "
                        "as in `emu:%s`.",
                        selector, usual_target);
    HostMemory *memory = calloc(1, sizeof *memory);
    if (!memory) return rt_fail_memory();
    host_memory_init(memory);
    snprintf(device->name, sizeof device->name, "emu:%s", target);
    snprintf(device->target, sizeof device->target, "%s", target);
    device->processors = host_processors();
    device->state = memory;
    return TKC_OK;
}

static void emu_close(tkc_device *device) {
    host_memory_free(device->state);
    free(device->state);
}

/* ---- kernels ----------------------------------------------------------------------------------
 */

typedef struct EmuKernel {
    Arena arena;
    jmp_buf exhausted;
    Sources sources;
    Diagnostics diagnostics;
    const EmuEntry *entry;
} EmuKernel;

static void emu_unload(tkc_device *device, void *loaded) {
    (void)device;
    EmuKernel *kernel = loaded;
    arena_free(&kernel->arena);
    free(kernel);
}

/* The entry must take what the kernel says it takes. */
static tkc_status check_entry(const tkc_kernel *kernel, const EmuEntry *entry) {
    if (!entry)
        return tkc_fail(TKC_COMPILE_ERROR, "The PTX of kernel `%s` has no entry of that name.",
                        kernel->name);
    if (entry->parameter_count != kernel->parameter_count)
        return tkc_fail(TKC_COMPILE_ERROR,
                        "The PTX of kernel `%s` has %u parameters, its header names %u.",
                        kernel->name, entry->parameter_count, kernel->parameter_count);
    for (uint32_t i = 0; i < entry->parameter_count; i++) {
        const tkc_parameter *p = &kernel->parameters[i];
        uint32_t size = p->is_pointer ? 8 : tkc_dtype_size(p->dtype);
        if (entry->parameters[i].size != size)
            return tkc_fail(TKC_COMPILE_ERROR,
                            "Parameter `%s: %s` of kernel `%s` has %u bytes in the PTX.", p->name,
                            p->type, kernel->name, entry->parameters[i].size);
    }
    return TKC_OK;
}

static tkc_status load_code(EmuKernel *made, const tkc_kernel *kernel) {
    if (setjmp(made->exhausted)) return rt_fail_memory();
    made->arena.on_exhausted = &made->exhausted;
    made->sources.arena = made->diagnostics.arena = &made->arena;
    made->diagnostics.sources = &made->sources;
    const char *path = arena_printf(&made->arena, "%s.ptx", kernel->name);
    uint32_t source = sources_add(&made->sources, path, kernel->code, kernel->code_size);
    EmuModule *module = emu_load(&made->arena, &made->diagnostics, source);
    tkc_status status = TKC_OK;
    if (module) {
        made->entry = emu_find_entry(module, kernel->name);
        status = check_entry(kernel, made->entry);
    } else {
        Text text = {.arena = &made->arena};
        diag_render(&made->diagnostics, &text);
        status = tkc_fail(TKC_COMPILE_ERROR, "The PTX of kernel `%s` was refused:\n%s",
                          kernel->name, text.data ? text.data : "");
    }
    made->arena.on_exhausted = NULL;
    return status;
}

static tkc_status emu_load_kernel(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    if (!kernel->code)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` is compiled for `%s`; to run it on `%s`, compile it with "
                        "target `%s` (tkc_device_target).",
                        kernel->name, kernel->target, device->name, device->target);
    EmuKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    arena_init(&made->arena, 0);
    tkc_status status = load_code(made, kernel);
    if (status)
        emu_unload(device, made);
    else
        *loaded = made;
    return status;
}

/* ---- faults -----------------------------------------------------------------------------------
 */

static tkc_fault_kind kind_of(EmuFaultKind kind) {
    switch (kind) {
    case EMU_NONE: return TKC_FAULT_NONE;
    case EMU_OUT_OF_BOUNDS: return TKC_FAULT_OUT_OF_BOUNDS;
    case EMU_MISALIGNED: return TKC_FAULT_MISALIGNED;
    case EMU_NULL_ADDRESS: return TKC_FAULT_NULL;
    case EMU_READ_ONLY: return TKC_FAULT_READ_ONLY;
    case EMU_UNINITIALISED: return TKC_FAULT_UNWRITTEN;
    case EMU_RACE:
    case EMU_SCHEDULE: return TKC_FAULT_RACE;
    case EMU_PROXY:
    case EMU_BARRIER:
    case EMU_DEADLOCK:
    case EMU_MBARRIER:
    case EMU_ASYNC:
    case EMU_WGMMA:
    case EMU_WARP_SYNC: return TKC_FAULT_SYNCHRONISATION;
    case EMU_ASSERT: return TKC_FAULT_ASSERT;
    case EMU_UNSUPPORTED: return TKC_FAULT_UNSUPPORTED;
    case EMU_LIMIT: return TKC_FAULT_LIMIT;
    case EMU_MEMORY: return TKC_FAULT_MEMORY;
    case EMU_CANCELLED: return TKC_FAULT_CANCELLED;
    case EMU_LAUNCH:
    case EMU_TRAP: return TKC_FAULT_OTHER;
    }
    return TKC_FAULT_OTHER;
}

/* Which buffer an address was meant for, when it is near one. */
static void find_buffer(const HostView *view, const tkc_kernel *kernel, const DeviceLaunch *launch,
                        uint64_t address, tkc_fault *fault) {
    uint64_t half = (uint64_t)1 << (HOST_BUFFER_SHIFT - 1);
    uint64_t number = ((address + half) >> HOST_BUFFER_SHIFT) - 1;
    if (number >= view->count || !view->list[number].data) return;
    const HostBuffer *buffer = &view->list[number];
    fault->buffer = buffer->name;
    fault->buffer_size = buffer->size;
    fault->offset = (int64_t)(address - HOST_BUFFER_ADDRESS(number));
    for (uint32_t i = 0; i < kernel->parameter_count && !*fault->parameter; i++) {
        uint64_t start = launch->arguments[i] - HOST_BUFFER_ADDRESS(number);
        if (kernel->parameters[i].is_pointer && start <= buffer->size)
            fault->parameter = kernel->parameters[i].name;
    }
}

static tkc_status report_fault(const tkc_kernel *kernel, const DeviceLaunch *launch,
                               const HostView *view, const EmuFault *fault) {
    tkc_fault given = {
        .kind = kind_of(fault->kind),
        .file = fault->source_file ? fault->source_file : "",
        .line = fault->source_line,
        .program = {fault->cta[0] / kernel->info.num_ctas, fault->cta[1], fault->cta[2]},
        .parameter = "",
        .buffer = "",
        .message = fault->message,
        .ptx_line = fault->ptx_line,
    };
    if (fault->address) find_buffer(view, kernel, launch, fault->address, &given);
    rt_keep_fault(&given);
    tkc_status status = TKC_LAUNCH_FAULT;
    if (given.kind == TKC_FAULT_CANCELLED) status = TKC_CANCELLED;
    if (given.kind == TKC_FAULT_MEMORY) status = TKC_OUT_OF_MEMORY;
    if (given.kind == TKC_FAULT_UNSUPPORTED) status = TKC_UNSUPPORTED;
    char place[512] = "", note[256] = "";
    if (*given.file) snprintf(place, sizeof place, "%s:%u: ", given.file, given.line);
    if (*given.parameter && strcmp(given.parameter, given.buffer) != 0)
        snprintf(note, sizeof note, "\nnote: the kernel reaches `%s` through its parameter `%s`",
                 given.buffer, given.parameter);
    return tkc_fail(status, "%sfault: kernel `%s` on the emulator: %s%s", place, kernel->name,
                    fault->message, note);
}

/* ---- launching --------------------------------------------------------------------------------
 */

/* One call of the device's printf may hold several lines. */
static void print_lines(void *context, const char *text) {
    char line[1024];
    while (*text) {
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1),
                 text);
        rt_print(context, line);
        text += length + (text[length] == '\n');
    }
}

static char *copy_of(const Text *text) {
    return strdup(text->data ? text->data : "");
}

static tkc_status give_counters(Arena *arena, const EmuCounters *from, tkc_counters *to) {
    Text text = {.arena = arena}, json = {.arena = arena};
    emu_print_counters(from, &text);
    emu_print_counters_json(from, &json);
    tkc_counters found = {
        .struct_size = sizeof found,
        .programs = from->ctas,
        .warps = from->warps,
        .warp_instructions = from->warp_instructions,
        .thread_instructions = from->thread_instructions,
        .load_requests = from->load_requests,
        .load_sectors = from->load_sectors,
        .load_bytes = from->load_bytes,
        .store_requests = from->store_requests,
        .store_sectors = from->store_sectors,
        .store_bytes = from->store_bytes,
        .shared_wavefronts = from->shared_wavefronts,
        .ideal_wavefronts = from->ideal_wavefronts,
        .tensor_operations = from->tensor_operations,
        .barriers = from->barrier_waits,
        .text = copy_of(&text),
        .json = copy_of(&json),
    };
    tkc_status status = found.text && found.json ? TKC_OK : rt_fail_memory();
    if (!status) status = rt_give_struct(to, &found, sizeof found, "tkc_counters");
    if (status) {
        free(found.text);
        free(found.json);
    }
    return status;
}

/* What a launch needs besides the emulator's own; freed in one place. */
typedef struct EmuRun {
    Arena arena;
    jmp_buf exhausted;
    EmuBuffer *buffers;
    uint8_t *parameters;
} EmuRun;

static bool prepare(EmuRun *run, const EmuEntry *entry, const HostView *view,
                    const DeviceLaunch *launch) {
    run->buffers = calloc(view->count + 1, sizeof *run->buffers);
    run->parameters = calloc(entry->parameter_size + 8, 1);
    if (!run->buffers || !run->parameters) return false;
    for (uint32_t i = 0; i < view->count; i++) {
        const HostBuffer *from = &view->list[i];
        run->buffers[i] = (EmuBuffer){.address = HOST_BUFFER_ADDRESS(i),
                                      .size = from->data ? from->size : 0,
                                      .data = from->data,
                                      .written = from->written,
                                      .name = from->name ? from->name : ""};
    }
    for (uint32_t i = 0; i < entry->parameter_count; i++)
        memcpy(run->parameters + entry->parameters[i].offset, &launch->arguments[i],
               entry->parameters[i].size);
    return true;
}

static tkc_status run_entry(EmuRun *run, tkc_device *device, const tkc_kernel *kernel,
                            const EmuEntry *entry, const HostView *view,
                            const DeviceLaunch *launch) {
    const tkc_launch_options *options = launch->options;
    uint32_t ctas = kernel->info.num_ctas;
    EmuResult result = {0};
    if (setjmp(run->exhausted)) return rt_fail_memory();
    run->arena.on_exhausted = &run->exhausted;
    EmuLaunch emulated = {
        .grid = {launch->grid[0] * ctas, launch->grid[1], launch->grid[2]},
        .block = {kernel->info.num_warps * 32, 1, 1},
        .cluster = {ctas > 1 ? ctas : 0, ctas > 1, ctas > 1},
        .dynamic_shared = kernel->info.shared_bytes,
        .parameters = run->parameters,
        .buffers = run->buffers,
        .buffer_count = view->count,
        .checks = EMU_CHECK_ALL,
        .threads = options->threads,
        .seed = options->seed,
        .counters = options->counters != NULL,
        .print = device->context->options.print ? print_lines : NULL,
        .print_context = device->context,
        .cancel = options->cancel,
    };
    if (!emu_launch(&run->arena, entry, &emulated, &result))
        return report_fault(kernel, launch, view, &result.fault);
    if (!options->counters) return TKC_OK;
    return give_counters(&run->arena, &result.counters, options->counters);
}

static tkc_status emu_run(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                          void *loaded, const DeviceLaunch *launch) {
    (void)stream;
    HostMemory *memory = device->state;
    const EmuKernel *ready = loaded;
    HostView view;
    EmuRun run = {0};
    if ((uint64_t)launch->grid[0] * kernel->info.num_ctas > INT32_MAX)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` with num_ctas = %u: at most %u programs along x.",
                        kernel->name, kernel->info.num_ctas, INT32_MAX / kernel->info.num_ctas);
    if (!host_view_begin(memory, kernel, launch, &view)) return rt_fail_memory();
    arena_init(&run.arena, 0);
    tkc_status status = prepare(&run, ready->entry, &view, launch)
                            ? run_entry(&run, device, kernel, ready->entry, &view, launch)
                            : rt_fail_memory();
    arena_free(&run.arena);
    free(run.buffers);
    free(run.parameters);
    host_view_end(memory, &view);
    return status;
}

const DeviceKind device_emu = {
    .count = emu_count,
    .describe = emu_describe,
    .open = emu_open,
    .close = emu_close,
    .attach = host_attach,
    .detach = host_detach,
    .write = host_write,
    .read = host_read,
    .copy = host_copy,
    .fill = host_fill,
    .poison = host_poison,
    .accepts = host_accepts,
    .load = emu_load_kernel,
    .unload = emu_unload,
    .launch = emu_run,
    .counts = true,
    .checks = true,
};
