/* kernel.c: what a compiled kernel answers, and the devices it is loaded on. */
#include "runtime/device.h"

#include <stdlib.h>
#include <string.h>

/* ---- on devices ----------------------------------------------------------------------------- */

/* Loading happens under the kernel's lock: once a device, however many threads launch. Finding what
 * is loaded needs no lock, since the list only grows, at its head. */
tkc_status rt_kernel_on(tkc_kernel *kernel, tkc_device *device, void **loaded) {
    tkc_status status = TKC_OK;
    LoadedKernel *entry = rt_kernel_find(kernel, device);
    if (entry) {
        *loaded = entry->loaded;
        return TKC_OK;
    }
    pthread_mutex_lock(&kernel->lock);
    entry = rt_kernel_find(kernel, device);
    if (!entry) {
        entry = calloc(1, sizeof *entry);
        status = entry ? device->kind->load(device, kernel, &entry->loaded) : rt_fail_memory();
        if (status) {
            free(entry);
        } else {
            entry->device = rt_device_keep(device);
            entry->next = atomic_load_explicit(&kernel->loaded, memory_order_relaxed);
            atomic_store_explicit(&kernel->loaded, entry, memory_order_release);
        }
    }
    if (!status) *loaded = entry->loaded;
    pthread_mutex_unlock(&kernel->lock);
    return status;
}

tkc_status tkc_kernel_prepare(tkc_kernel *kernel, tkc_device *device) {
    void *loaded;
    if (!kernel || !device)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_prepare: `%s` is NULL.",
                        kernel ? "device" : "kernel");
    return rt_kernel_on(kernel, device, &loaded);
}

tkc_status tkc_kernel_usage_on(tkc_kernel *kernel, tkc_device *device, tkc_kernel_usage *usage) {
    void *loaded;
    if (!kernel || !device || !usage)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_usage_on: `%s` is NULL.",
                        !kernel  ? "kernel"
                        : device ? "usage"
                                 : "device");
    if (!device->kind->usage)
        return tkc_fail(TKC_UNSUPPORTED,
                        "What a kernel takes of the machine is known on `cuda`, not on `%s`.",
                        device->name);
    tkc_kernel_usage found = TKC_KERNEL_USAGE_INIT;
    tkc_status status = rt_kernel_on(kernel, device, &loaded);
    if (!status) status = device->kind->usage(device, kernel, loaded, &found);
    return status ? status : rt_give_struct(usage, &found, sizeof found, "tkc_kernel_usage");
}

void tkc_kernel_destroy(tkc_kernel *kernel) {
    if (!kernel) return;
    for (LoadedKernel *entry; (entry = atomic_load(&kernel->loaded));) {
        atomic_store(&kernel->loaded, entry->next);
        entry->device->kind->unload(entry->device, entry->loaded);
        rt_device_release(entry->device);
        free(entry);
    }
    pthread_mutex_destroy(&kernel->lock);
    tkc_context *context = kernel->context;
    kernel->destroy(kernel);
    rt_context_release(context);
}

/* ---- questions ------------------------------------------------------------------------------ */

const char *tkc_kernel_name(const tkc_kernel *kernel) {
    return kernel ? kernel->name : "";
}

const char *tkc_kernel_target(const tkc_kernel *kernel) {
    return kernel ? kernel->target : "";
}

uint32_t tkc_kernel_parameter_count(const tkc_kernel *kernel) {
    return kernel ? kernel->parameter_count : 0;
}

tkc_status tkc_kernel_parameter(const tkc_kernel *kernel, uint32_t index,
                                tkc_parameter *parameter) {
    if (!kernel || !parameter)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_parameter: `%s` is NULL.",
                        kernel ? "parameter" : "kernel");
    if (index >= kernel->parameter_count)
        return tkc_fail(TKC_NOT_FOUND,
                        "tkc_kernel_parameter: kernel `%s` has %u parameters; there is no number "
                        "%u (they count from 0).",
                        kernel->name, kernel->parameter_count, index);
    return rt_give_struct(parameter, &kernel->parameters[index], sizeof *parameter,
                          "tkc_parameter");
}

const tkc_named *tkc_kernel_constant(const tkc_kernel *kernel, uint32_t index) {
    if (!kernel) return NULL;
    for (const tkc_named *constant = kernel->constants; constant->name; constant++)
        if (index-- == 0) return constant;
    return NULL;
}

tkc_status tkc_kernel_query(const tkc_kernel *kernel, tkc_kernel_info *info) {
    if (!kernel || !info)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_query: `%s` is NULL.",
                        kernel ? "info" : "kernel");
    return rt_give_struct(info, &kernel->info, sizeof *info, "tkc_kernel_info");
}

const char *tkc_kernel_text(const tkc_kernel *kernel, const char *what, size_t *size) {
    if (size) *size = 0;
    if (!kernel || !what) return NULL;
    for (const KernelText *text = kernel->texts; text->name; text++) {
        if (strcmp(text->name, what) != 0) continue;
        if (size) *size = text->size;
        return text->text;
    }
    return NULL;
}
