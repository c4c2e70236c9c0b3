/* cuda_driver.c: opens the driver's library, finds its entry points, words its errors. */
#include "runtime/cuda_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_LIBRARY "libcuda.so.1"

/* ---- opening -------------------------------------------------------------------------------- */

typedef struct EntryRow {
    const char *name;
    bool optional;
    size_t offset; /* in CudaDriver */
} EntryRow;

enum { NEEDED = false, OPTIONAL = true };

static const EntryRow entries[] = {
#define CUDA_ENTRY(need, name, parameters) {#name, need, offsetof(CudaDriver, name)},
#include "runtime/cuda.def"
};

static bool find_entries(CudaDriver *driver, void *library) {
    for (size_t i = 0; i < RT_LENGTH(entries); i++) {
        void *found = dlsym(library, entries[i].name);
        memcpy((char *)driver + entries[i].offset, &found, sizeof found);
        if (found || entries[i].optional) continue;
        snprintf(driver->reason, sizeof driver->reason,
                 "the CUDA driver is too old: it has no %s (CUDA 11.2 or later is needed)",
                 entries[i].name);
        return false;
    }
    /* The four belong together. */
    if (!driver->cuLibraryUnload || !driver->cuLibraryGetKernel || !driver->cuKernelGetFunction)
        driver->cuLibraryLoadData = NULL;
    return true;
}

static const char *words_of(const CudaDriver *driver, CUresult result, const char **name) {
    const char *text = NULL;
    *name = NULL;
    if (driver->cuGetErrorName(result, name) || !*name) *name = "an unknown error";
    if (driver->cuGetErrorString(result, &text) || !text) text = "no text";
    return text;
}

static void count_devices(CudaDriver *driver) {
    const char *name, *text;
    int count = 0;
    driver->found = driver->cuInit(0);
    if (!driver->found) driver->cuDriverGetVersion(&driver->version);
    if (!driver->found) driver->found = driver->cuDeviceGetCount(&count);
    if (!driver->found && count > 0) {
        driver->device_count = count;
        return;
    }
    if (!driver->found) driver->found = CUDA_ERROR_NO_DEVICE;
    text = words_of(driver, driver->found, &name);
    bool none = driver->found == CUDA_ERROR_NO_DEVICE;
    snprintf(driver->reason, sizeof driver->reason, "%s: %s (%s)",
             none ? "the driver reports no device" : "the driver does not start", text, name);
}

static CudaDriver *open_driver(const char *given) {
    CudaDriver *driver = calloc(1, sizeof *driver);
    if (!driver) return NULL;
    const char *path = given ? given : getenv("TKC_LIBCUDA");
    if (!path || !*path) path = USUAL_LIBRARY;
    /* Never closed: the driver has threads of its own, and handlers that run when the process
     * ends. Opening it again gives the same one. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        snprintf(driver->reason, sizeof driver->reason, "no %s: %s", path,
                 strchr(path, '/') ? "it cannot be opened" : "no NVIDIA driver is installed");
    else if (find_entries(driver, library))
        count_devices(driver);
    return driver;
}

const CudaDriver *cuda_driver(tkc_context *context) {
    pthread_mutex_lock(&context->setup);
    if (!context->cuda) context->cuda = open_driver(context->cuda_library);
    const CudaDriver *driver = context->cuda;
    pthread_mutex_unlock(&context->setup);
    return driver;
}

/* ---- errors --------------------------------------------------------------------------------- */

typedef struct ErrorRow {
    CUresult result;
    tkc_status status;
    tkc_fault_kind fault;
    const char *advice;
} ErrorRow;

#define AFTER_FAULT                                                                                \
    " The kernel that did it may be an earlier one; after this the CUDA context can no longer be " \
    "used. `emu` and `interp` say where it happens."

/* clang-format off */
static const ErrorRow errors[] = {
    {CUDA_ERROR_OUT_OF_MEMORY,           TKC_OUT_OF_MEMORY, TKC_FAULT_NONE, ""},
    {CUDA_ERROR_NO_DEVICE,               TKC_NO_DEVICE,     TKC_FAULT_NONE, ""},
    {CUDA_ERROR_INVALID_DEVICE,          TKC_NO_DEVICE,     TKC_FAULT_NONE, ""},
    {CUDA_ERROR_NOT_SUPPORTED,           TKC_UNSUPPORTED,   TKC_FAULT_NONE, ""},
    {CUDA_ERROR_NO_BINARY_FOR_GPU,       TKC_UNSUPPORTED,   TKC_FAULT_NONE, ""},
    {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, TKC_UNSUPPORTED,   TKC_FAULT_NONE,
     " The driver is older than the PTX; a newer driver, or a lower target, helps."},
    {CUDA_ERROR_ILLEGAL_ADDRESS,         TKC_LAUNCH_FAULT,  TKC_FAULT_OUT_OF_BOUNDS, AFTER_FAULT},
    {CUDA_ERROR_MISALIGNED_ADDRESS,      TKC_LAUNCH_FAULT,  TKC_FAULT_MISALIGNED,    AFTER_FAULT},
    {CUDA_ERROR_ASSERT,                  TKC_LAUNCH_FAULT,  TKC_FAULT_ASSERT,        AFTER_FAULT},
    {CUDA_ERROR_LAUNCH_TIMEOUT,          TKC_LAUNCH_FAULT,  TKC_FAULT_LIMIT,         AFTER_FAULT},
    {CUDA_ERROR_HARDWARE_STACK_ERROR,    TKC_LAUNCH_FAULT,  TKC_FAULT_OTHER,         AFTER_FAULT},
    {CUDA_ERROR_ILLEGAL_INSTRUCTION,     TKC_LAUNCH_FAULT,  TKC_FAULT_OTHER,         AFTER_FAULT},
    {CUDA_ERROR_INVALID_ADDRESS_SPACE,   TKC_LAUNCH_FAULT,  TKC_FAULT_OTHER,         AFTER_FAULT},
    {CUDA_ERROR_INVALID_PC,              TKC_LAUNCH_FAULT,  TKC_FAULT_OTHER,         AFTER_FAULT},
    {CUDA_ERROR_LAUNCH_FAILED,           TKC_LAUNCH_FAULT,  TKC_FAULT_OTHER,         AFTER_FAULT},
};
/* clang-format on */

tkc_status cuda_check(const CudaDriver *driver, CUresult result, const char *format, ...) {
    if (result == CUDA_SUCCESS) return TKC_OK;
    static const ErrorRow unknown = {0, TKC_DRIVER, TKC_FAULT_NONE, ""};
    const ErrorRow *row = &unknown;
    for (size_t i = 0; i < RT_LENGTH(errors); i++)
        if (errors[i].result == result) row = &errors[i];
    char what[512] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    const char *name, *text = words_of(driver, result, &name);
    if (row->fault) {
        char message[256];
        snprintf(message, sizeof message, "%s (%s)", text, name);
        rt_keep_fault(&(tkc_fault){.kind = row->fault, .message = message});
    }
    return tkc_fail(row->status, "%s: the CUDA driver says: %s (%s, %d).%s", what, text, name,
                    (int)result, row->advice);
}
