/* dev_interp.c: the device that runs block IR as it stands. */
#include "runtime/host_memory.h"
#include "runtime/report.h"

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

static const char *name_of(const HostView *view, int32_t buffer) {
    return buffer >= 0 && (uint32_t)buffer < view->count ? view->list[buffer].name : "";
}

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
        status = rt_report(kernel, &fault, name_of(&view, fault.buffer));
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
    .checks = true,
};
