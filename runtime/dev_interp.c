/* dev_interp.c: the device that runs block IR as it stands. */
#include "runtime/host_memory.h"

#include "compiler/interp.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(INTERP_BUFFER_SHIFT == HOST_BUFFER_SHIFT, "where buffers begin");

/* ---- the device ----------------------------------------------------------------------------- */

static uint32_t interp_count(tkc_context *context) {
    (void)context;
    return 1;
}

static void interp_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    (void)context, (void)index;
    info->threads = host_processors();
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
    HostMemory *memory = calloc(1, sizeof *memory);
    if (!memory) return rt_fail_memory();
    host_memory_init(memory);
    snprintf(device->name, sizeof device->name, "interp");
    snprintf(device->target, sizeof device->target, "interp");
    device->processors = host_processors();
    device->state = memory;
    return TKC_OK;
}

static void interp_close(tkc_device *device) {
    host_memory_free(device->state);
    free(device->state);
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

/* The text of the fault, with its source line, as tkc_last_error; and the fault in numbers. */
static tkc_status report_fault(const tkc_kernel *kernel, const HostView *view,
                               const InterpFault *fault) {
    const Module *module = kernel->module;
    const Sources *sources = module->sources;
    Span at = fault->at.span;
    bool known = at.line && at.source < sources->list.length;
    bool has_buffer = fault->buffer >= 0 && (uint32_t)fault->buffer < view->count;
    bool has_parameter =
        fault->parameter >= 0 && (uint32_t)fault->parameter < kernel->parameter_count;
    tkc_fault given = {
        .kind = (tkc_fault_kind)fault->kind,
        .file = known ? sources->list.data[at.source].path : "",
        .line = at.line,
        .column = at.column,
        .parameter = has_parameter ? kernel->parameters[fault->parameter].name : "",
        .buffer = has_buffer ? view->list[fault->buffer].name : "",
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
    HostMemory *memory = device->state;
    HostView view;
    InterpFault fault = {0};
    tkc_status status = TKC_OK;
    if (!host_view_begin(memory, kernel, launch, &view)) return rt_fail_memory();
    InterpBuffer *buffers = calloc(view.count + 1, sizeof *buffers);
    for (uint32_t i = 0; buffers && i < view.count; i++) {
        const HostBuffer *from = &view.list[i];
        buffers[i] =
            (InterpBuffer){.data = from->data, .size = from->size, .written = from->written};
    }
    InterpLaunch run = {
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .arguments = launch->arguments,
        .buffers = buffers,
        .buffer_count = view.count,
        .threads = launch->options->threads,
        .check_races = launch->options->check_races,
        .ieee_dot = launch->options->ieee_dot,
        .print = device->context->options.print ? print_line : NULL,
        .print_context = device->context,
        .cancel = launch->options->cancel,
    };
    const InterpKernel *ready = loaded;
    if (!buffers)
        status = rt_fail_memory();
    else if (!interp_launch(ready->plan, &run, &fault))
        status = report_fault(kernel, &view, &fault);
    free(buffers);
    host_view_end(memory, &view);
    return status;
}

const DeviceKind device_interp = {
    .count = interp_count,
    .describe = interp_describe,
    .open = interp_open,
    .close = interp_close,
    .attach = host_attach,
    .detach = host_detach,
    .write = host_write,
    .read = host_read,
    .copy = host_copy,
    .fill = host_fill,
    .poison = host_poison,
    .accepts = host_accepts,
    .load = interp_load,
    .unload = interp_unload,
    .launch = interp_run,
};
