/* dev_cuda.c: NVIDIA GPUs through the CUDA driver.
 *
 * A device is a GPU and one CUcontext of it: the primary one, or one of the caller's. Each call
 * makes it current for as long as it takes and puts back what was there, so that the caller's own
 * CUDA code notices nothing.
 *
 * All that is slow is done when a kernel is loaded: assembling the PTX, finding the entry, raising
 * the limit of shared memory. A launch then is one call of the driver on numbers that are at hand:
 * it allocates nothing, takes no lock and waits for nothing, and may be captured into a graph.
 * Arguments are 64-bit words whose low bytes are the value, so they are given as they lie.
 */
#include "compiler/gpu/targets.h"
#include "runtime/cuda_driver.h"
#include "runtime/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_CAPABILITY = 80, MOST_PARAMETERS = 512, LOG_SIZE = 8192 };

typedef struct CudaDevice {
    const CudaDriver *driver;
    CUdevice device;
    CUcontext context;
    bool retained; /* the primary context: to be released */
    int ordinal, capability;
    uint32_t shared_limit, multiprocessors;
} CudaDevice;

/* ---- the context ----------------------------------------------------------------------------- */

/* Makes the device's context current; *entered then is to be given to leave. */
static CUresult enter(const CudaDevice *d, bool *entered) {
    CUcontext current = NULL;
    *entered = false;
    CUresult result = d->driver->cuCtxGetCurrent(&current);
    if (result || current == d->context) return result;
    result = d->driver->cuCtxPushCurrent_v2(d->context);
    *entered = result == CUDA_SUCCESS;
    return result;
}

static void leave(const CudaDevice *d, bool entered) {
    CUcontext ignored;
    if (entered) d->driver->cuCtxPopCurrent_v2(&ignored);
}

/* RUN(d, result, call): the call of the driver, made with the device's context. */
#define RUN(d, result, call)                                                                       \
    do {                                                                                           \
        bool entered_;                                                                             \
        (result) = enter((d), &entered_);                                                          \
        if (!(result)) (result) = (d)->driver->call;                                               \
        leave((d), entered_);                                                                      \
    } while (0)

/* ---- listing --------------------------------------------------------------------------------- */

static int attribute_of(const CudaDriver *driver, CUdevice device, CUdevice_attribute what) {
    int value = 0;
    return driver->cuDeviceGetAttribute(&value, what, device) ? 0 : value;
}

static int capability_of(const CudaDriver *driver, CUdevice device) {
    return attribute_of(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
           attribute_of(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
}

static uint32_t cuda_count(tkc_context *context) {
    const CudaDriver *driver = cuda_driver(context);
    return driver && driver->device_count > 0 ? (uint32_t)driver->device_count : 1;
}

static void cuda_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    const CudaDriver *driver = cuda_driver(context);
    CUdevice device;
    char name[96] = "?";
    size_t memory = 0;
    if (!driver || !driver->device_count) {
        snprintf(info->name, sizeof info->name, "cuda");
        snprintf(info->description, sizeof info->description, "PTX through the CUDA driver");
        snprintf(info->reason, sizeof info->reason, "%s",
                 driver ? driver->reason : "the process has no more memory");
        return;
    }
    snprintf(info->name, sizeof info->name, "cuda:%u", index);
    CUresult result = driver->cuDeviceGet(&device, (int)index);
    if (!result) result = driver->cuDeviceGetName(name, sizeof name, device);
    if (!result) result = driver->cuDeviceTotalMem_v2(&memory, device);
    if (result) {
        snprintf(info->reason, sizeof info->reason, "the driver does not describe it (error %d)",
                 (int)result);
        return;
    }
    int capability = capability_of(driver, device);
    info->memory = memory;
    snprintf(info->description, sizeof info->description,
             "%s, compute capability %d.%d, %.1f GiB, driver for CUDA %d.%d", name, capability / 10,
             capability % 10, (double)memory / (1 << 30), driver->version / 1000,
             driver->version % 1000 / 10);
    if (capability < LEAST_CAPABILITY)
        snprintf(info->reason, sizeof info->reason,
                 "%s has compute capability %d.%d; %d.%d or later is needed", name, capability / 10,
                 capability % 10, LEAST_CAPABILITY / 10, LEAST_CAPABILITY % 10);
}

/* ---- targets --------------------------------------------------------------------------------- */

/* Can code for "sm_90a" run on the capability? What is no such name is left to the driver. */
static bool runs_on(const char *target, int capability) {
    char *end;
    if (strncmp(target, "sm_", 3) != 0) return true;
    long number = strtol(target + 3, &end, 10);
    if (number <= 0) return true;
    return *end ? number == capability : number <= capability;
}

/* ---- opening --------------------------------------------------------------------------------- */

static tkc_status take_ordinal(const char *selector, const CudaDriver *driver, int *ordinal) {
    char *end = NULL;
    *ordinal = -1;
    if (!selector) return TKC_OK;
    long number = *selector >= '0' && *selector <= '9' ? strtol(selector, &end, 10) : -1;
    if (number < 0 || *end)
        return tkc_fail(TKC_NOT_FOUND,
                        "`cuda:%s` is no device: the number of a GPU must follow the colon.",
                        selector);
    if (number >= driver->device_count)
        return tkc_fail(TKC_NO_DEVICE,
                        "There is no device `cuda:%ld`: this machine has %d, from "
                        "`cuda:0`.",
                        number, driver->device_count);
    *ordinal = (int)number;
    return TKC_OK;
}

static tkc_status adopt_context(CudaDevice *d, CUcontext given, int ordinal) {
    const CudaDriver *driver = d->driver;
    d->context = given;
    if (!given) {
        CUresult found = driver->cuCtxGetCurrent(&d->context);
        if (found) return cuda_check(driver, found, "Adopting the current CUDA context");
        if (!d->context)
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "tkc_device_options.adopt_current: no CUDA context is current in this "
                            "thread.");
    }
    CUresult result;
    RUN(d, result, cuCtxGetDevice(&d->device));
    if (result) return cuda_check(driver, result, "Adopting a CUDA context");
    for (d->ordinal = 0; d->ordinal < driver->device_count; d->ordinal++) {
        CUdevice device;
        if (!driver->cuDeviceGet(&device, d->ordinal) && device == d->device) break;
    }
    if (ordinal >= 0 && ordinal != d->ordinal)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "The CUDA context to adopt is one of `cuda:%d`, not of `cuda:%d`.",
                        d->ordinal, ordinal);
    return TKC_OK;
}

static tkc_status retain_primary(CudaDevice *d, int ordinal) {
    const CudaDriver *driver = d->driver;
    d->ordinal = ordinal < 0 ? 0 : ordinal;
    CUresult result = driver->cuDeviceGet(&d->device, d->ordinal);
    if (!result) result = driver->cuDevicePrimaryCtxRetain(&d->context, d->device);
    d->retained = !result;
    return cuda_check(driver, result, "Opening `cuda:%d`", d->ordinal);
}

static void cuda_close(tkc_device *device) {
    CudaDevice *d = device->state;
    if (d->retained) d->driver->cuDevicePrimaryCtxRelease_v2(d->device);
    free(d);
}

static tkc_status finish_open(CudaDevice *d, tkc_device *device) {
    const CudaDriver *driver = d->driver;
    d->capability = capability_of(driver, d->device);
    d->multiprocessors =
        (uint32_t)attribute_of(driver, d->device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    d->shared_limit = (uint32_t)attribute_of(driver, d->device,
                                             CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    if (d->capability < LEAST_CAPABILITY)
        return tkc_fail(TKC_NO_DEVICE,
                        "`cuda:%d` has compute capability %d.%d; %d.%d or later is needed.",
                        d->ordinal, d->capability / 10, d->capability % 10, LEAST_CAPABILITY / 10,
                        LEAST_CAPABILITY % 10);
    snprintf(device->name, sizeof device->name, "cuda:%d", d->ordinal);
    snprintf(device->target, sizeof device->target, "%s", gpu_target_for(d->capability));
    device->processors = d->multiprocessors;
    return TKC_OK;
}

static tkc_status cuda_open(tkc_device *device, const char *selector,
                            const tkc_device_options *options) {
    const CudaDriver *driver = cuda_driver(device->context);
    int ordinal;
    if (!driver) return rt_fail_memory();
    if (!driver->device_count)
        return tkc_fail(TKC_NO_DEVICE, "The device `cuda` cannot be opened: %s.", driver->reason);
    tkc_status status = take_ordinal(selector, driver, &ordinal);
    if (status) return status;
    CudaDevice *d = calloc(1, sizeof *d);
    if (!d) return rt_fail_memory();
    d->driver = driver;
    device->state = d;
    if (options->cuda_context || options->adopt_current)
        status = adopt_context(d, options->cuda_context, ordinal);
    else
        status = retain_primary(d, ordinal);
    if (!status) status = finish_open(d, device);
    if (status) cuda_close(device);
    return status;
}

static tkc_status cuda_synchronize(tkc_device *device, tkc_stream *stream) {
    const CudaDevice *d = device->state;
    CUresult result;
    if (stream)
        RUN(d, result, cuStreamSynchronize(stream->native));
    else
        RUN(d, result, cuCtxSynchronize());
    return cuda_check(d->driver, result, "Waiting for `%s`", device->name);
}

/* ---- buffers --------------------------------------------------------------------------------- */

static tkc_status cuda_attach(tkc_buffer *buffer, void *memory) {
    const CudaDevice *d = buffer->device->state;
    CUdeviceptr address = 0;
    CUresult result;
    if (memory)
        return tkc_fail(TKC_UNSUPPORTED,
                        "Buffer `%s`: `%s` cannot use host memory in place. Make a buffer with "
                        "tkc_buffer_create and write to it; for device memory of your own, pass "
                        "its address with tkc_arg_address.",
                        buffer->name, buffer->device->name);
    size_t size = buffer->size ? buffer->size : 1; /* the driver has no empty ones */
    RUN(d, result, cuMemAlloc_v2(&address, size));
    buffer->address = address;
    return cuda_check(d->driver, result, "Buffer `%s` of %llu bytes", buffer->name,
                      (unsigned long long)buffer->size);
}

/* The driver waits for what may use the memory. */
static void cuda_detach(tkc_buffer *buffer) {
    const CudaDevice *d = buffer->device->state;
    CUresult ignored;
    RUN(d, ignored, cuMemFree_v2(buffer->address));
    (void)ignored;
}

static tkc_status cuda_write(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size) {
    const CudaDevice *d = buffer->device->state;
    CUresult result;
    RUN(d, result, cuMemcpyHtoD_v2(buffer->address + offset, from, size));
    return cuda_check(d->driver, result, "Writing to buffer `%s`", buffer->name);
}

static tkc_status cuda_read(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size) {
    const CudaDevice *d = buffer->device->state;
    CUresult result;
    RUN(d, result, cuMemcpyDtoH_v2(to, buffer->address + offset, size));
    return cuda_check(d->driver, result, "Reading from buffer `%s`", buffer->name);
}

/* Copies inside a device, and fills, return before they are done. */
static tkc_status cuda_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                            uint64_t from_offset, uint64_t size) {
    const CudaDevice *d = to->device->state;
    CUresult result;
    RUN(d, result, cuMemcpyDtoD_v2(to->address + to_offset, from->address + from_offset, size));
    if (!result) RUN(d, result, cuStreamSynchronize(NULL));
    return cuda_check(d->driver, result, "Copying buffer `%s` to `%s`", from->name, to->name);
}

/* Eight bytes that are no repetition: once, then what is there is copied behind itself. */
static CUresult fill_by_copies(const CudaDevice *d, CUdeviceptr to, uint64_t size,
                               const void *pattern) {
    CUresult result;
    RUN(d, result, cuMemcpyHtoD_v2(to, pattern, 8));
    for (uint64_t done = 8; done < size && !result;) {
        uint64_t next = done < size - done ? done : size - done;
        RUN(d, result, cuMemcpyDtoD_v2(to + done, to, next));
        done += next;
    }
    return result;
}

static tkc_status cuda_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                            uint32_t pattern_size) {
    const CudaDevice *d = buffer->device->state;
    CUdeviceptr to = buffer->address + offset;
    unsigned char bytes[8];
    uint16_t half;
    uint32_t word;
    CUresult result = CUDA_SUCCESS;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, pattern, pattern_size);
    memcpy(&half, bytes, sizeof half);
    memcpy(&word, bytes, sizeof word);
    bool repeats = pattern_size == 8 && memcmp(bytes, bytes + 4, 4) == 0;
    bool aligned = to % (repeats ? 4 : pattern_size) == 0;
    if (pattern_size == 1)
        RUN(d, result, cuMemsetD8_v2(to, bytes[0], size));
    else if (pattern_size == 2 && aligned)
        RUN(d, result, cuMemsetD16_v2(to, half, size / 2));
    else if ((pattern_size == 4 || repeats) && aligned)
        RUN(d, result, cuMemsetD32_v2(to, word, size / 4));
    else {
        for (uint32_t i = pattern_size; i < 8; i++) bytes[i] = bytes[i - pattern_size];
        if (size >= 8)
            result = fill_by_copies(d, to, size, bytes);
        else
            RUN(d, result, cuMemcpyHtoD_v2(to, bytes, size));
    }
    if (!result) RUN(d, result, cuStreamSynchronize(NULL));
    return cuda_check(d->driver, result, "Filling buffer `%s`", buffer->name);
}

static tkc_status cuda_poison(tkc_buffer *buffer) {
    static const unsigned char ones = 0xff;
    return buffer->size ? cuda_fill(buffer, 0, buffer->size, &ones, 1) : TKC_OK;
}

static bool cuda_accepts(const tkc_device *device, int dlpack_type, int dlpack_id) {
    enum { CUDA = 2, CUDA_HOST = 3, CUDA_MANAGED = 13 }; /* DLPack's numbers */
    const CudaDevice *d = device->state;
    return (dlpack_type == CUDA && dlpack_id == d->ordinal) || dlpack_type == CUDA_HOST ||
           dlpack_type == CUDA_MANAGED;
}

/* ---- kernels --------------------------------------------------------------------------------- */

typedef struct CudaKernel {
    CUlibrary library; /* one of the two */
    CUmodule module;
    CUfunction function;
    /* The driver may write to these until the function was found. */
    CUjit_option options[3];
    void *values[3];
    char log[LOG_SIZE];
} CudaKernel;

static void cuda_unload(tkc_device *device, void *loaded) {
    const CudaDevice *d = device->state;
    CudaKernel *made = loaded;
    CUresult ignored = CUDA_SUCCESS;
    if (made->library) RUN(d, ignored, cuLibraryUnload(made->library));
    if (made->module) RUN(d, ignored, cuModuleUnload(made->module));
    (void)ignored;
    free(made);
}

/* Libraries belong to no context and are loaded into one when it needs them; drivers before CUDA 12
 * have only modules. */
static CUresult load_code(const CudaDriver *driver, const tkc_kernel *kernel, CudaKernel *made) {
    CUresult result;
    if (driver->cuLibraryLoadData) {
        CUkernel found = NULL;
        result = driver->cuLibraryLoadData(&made->library, kernel->code, made->options,
                                           made->values, RT_LENGTH(made->options), NULL, NULL, 0);
        if (!result) result = driver->cuLibraryGetKernel(&found, made->library, kernel->name);
        return result ? result : driver->cuKernelGetFunction(&made->function, found);
    }
    result = driver->cuModuleLoadDataEx(&made->module, kernel->code, RT_LENGTH(made->options),
                                        made->options, made->values);
    if (!result) result = driver->cuModuleGetFunction(&made->function, made->module, kernel->name);
    return result;
}

static tkc_status check_kernel(const tkc_device *device, const tkc_kernel *kernel) {
    const CudaDevice *d = device->state;
    if (!kernel->code)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` is compiled for `%s`; to run it on `%s`, compile it with "
                        "target `%s` (tkc_device_target).",
                        kernel->name, kernel->target, device->name, device->target);
    if (!runs_on(kernel->target, d->capability))
        return tkc_fail(TKC_UNSUPPORTED,
                        "Kernel `%s` is compiled for `%s`, which `%s` (compute capability %d.%d) "
                        "cannot run. Compile it with target `%s` (tkc_device_target).",
                        kernel->name, kernel->target, device->name, d->capability / 10,
                        d->capability % 10, device->target);
    if (kernel->info.shared_bytes > d->shared_limit)
        return tkc_fail(TKC_UNSUPPORTED,
                        "Kernel `%s` needs %u bytes of shared memory a program; `%s` has %u. Use "
                        "smaller blocks or a smaller num_stages (it is %u).",
                        kernel->name, kernel->info.shared_bytes, device->name, d->shared_limit,
                        kernel->info.num_stages);
    if (kernel->parameter_count > MOST_PARAMETERS)
        return tkc_fail(TKC_UNSUPPORTED, "Kernel `%s` has %u parameters; the limit is %u.",
                        kernel->name, kernel->parameter_count, MOST_PARAMETERS);
    if (kernel->info.num_ctas > 1 && !d->driver->cuLaunchKernelEx)
        return tkc_fail(TKC_UNSUPPORTED,
                        "Kernel `%s` has num_ctas = %u, which needs a driver for CUDA 11.8 or "
                        "later.",
                        kernel->name, kernel->info.num_ctas);
    return TKC_OK;
}

static tkc_status fail_load(const CudaDriver *driver, const tkc_kernel *kernel,
                            const CudaKernel *made, CUresult result) {
    tkc_status status =
        cuda_check(driver, result, "Loading kernel `%s` for `%s`", kernel->name, kernel->target);
    if (!made->log[0]) return status;
    char text[1024];
    snprintf(text, sizeof text, "%s", tkc_last_error());
    return tkc_fail(status, "%s\n%s", text, made->log);
}

static tkc_status cuda_load(tkc_device *device, const tkc_kernel *kernel, void **loaded) {
    const CudaDevice *d = device->state;
    bool entered;
    tkc_status status = check_kernel(device, kernel);
    if (status) return status;
    CudaKernel *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    made->options[0] = CU_JIT_ERROR_LOG_BUFFER;
    made->values[0] = made->log;
    made->options[1] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
    made->values[1] = (void *)(uintptr_t)(sizeof made->log - 1);
    made->options[2] = CU_JIT_GENERATE_LINE_INFO;
    made->values[2] = (void *)(uintptr_t)1;
    CUresult result = enter(d, &entered);
    if (!result) result = load_code(d->driver, kernel, made);
    uint32_t shared = kernel->info.shared_bytes;
    if (!result && shared)
        result = d->driver->cuFuncSetAttribute(
            made->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared);
    leave(d, entered);
    if (!result) {
        *loaded = made;
        return TKC_OK;
    }
    status = fail_load(d->driver, kernel, made, result);
    cuda_unload(device, made);
    return status;
}

/* Loading while a stream is captured would break the capture. */
static tkc_status cuda_may_load(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel) {
    const CudaDevice *d = device->state;
    CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
    CUresult result;
    if (!stream || !stream->native) return TKC_OK; /* the default stream cannot be captured */
    RUN(d, result, cuStreamIsCapturing(stream->native, &capture));
    if (result) return cuda_check(d->driver, result, "Asking whether a stream is captured");
    if (capture == CU_STREAM_CAPTURE_STATUS_NONE) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "Kernel `%s` is launched into a stream that is being captured, but it is not "
                    "loaded on `%s` yet. Call tkc_kernel_prepare before the capture begins.",
                    kernel->name, device->name);
}

static tkc_status cuda_usage(tkc_device *device, const tkc_kernel *kernel, void *loaded,
                             tkc_kernel_usage *usage) {
    const CudaDevice *d = device->state;
    const CudaKernel *made = loaded;
    const CudaDriver *driver = d->driver;
    int registers = 0, local = 0, shared = 0, programs = 0;
    bool entered;
    CUresult result = enter(d, &entered);
    if (!result)
        result = driver->cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, made->function);
    if (!result)
        result =
            driver->cuFuncGetAttribute(&local, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, made->function);
    if (!result)
        result = driver->cuFuncGetAttribute(&shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
                                            made->function);
    if (!result)
        result = driver->cuOccupancyMaxActiveBlocksPerMultiprocessor(
            &programs, made->function, (int)kernel->info.num_warps * 32, kernel->info.shared_bytes);
    leave(d, entered);
    usage->registers = (uint32_t)registers;
    usage->local_bytes = (uint32_t)local;
    usage->shared_bytes = (uint32_t)shared + kernel->info.shared_bytes;
    usage->programs = (uint32_t)programs;
    usage->multiprocessors = d->multiprocessors;
    return cuda_check(driver, result, "Asking what kernel `%s` uses", kernel->name);
}

/* ---- launching ------------------------------------------------------------------------------- */

static CUresult launch_function(const CudaDriver *driver, CUfunction function,
                                const tkc_kernel_info *info, const uint32_t *grid, CUstream stream,
                                void **parameters) {
    unsigned threads = info->num_warps * 32;
    if (!driver->cuLaunchKernelEx)
        return driver->cuLaunchKernel(function, grid[0], grid[1], grid[2], threads, 1, 1,
                                      info->shared_bytes, stream, parameters, NULL);
    CUlaunchAttribute cluster = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    cluster.value.cluster.x = info->num_ctas;
    cluster.value.cluster.y = cluster.value.cluster.z = 1;
    CUlaunchConfig config = {.grid_x = grid[0] * info->num_ctas,
                             .grid_y = grid[1],
                             .grid_z = grid[2],
                             .block_x = threads,
                             .block_y = 1,
                             .block_z = 1,
                             .shared = info->shared_bytes,
                             .stream = stream,
                             .attributes = &cluster,
                             .attribute_count = info->num_ctas > 1};
    return driver->cuLaunchKernelEx(&config, function, parameters, NULL);
}

static tkc_status cuda_launch(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                              void *loaded, const DeviceLaunch *launch) {
    const CudaDevice *d = device->state;
    const CudaKernel *ready = loaded;
    void *parameters[MOST_PARAMETERS];
    bool entered;
    for (uint32_t i = 0; i < launch->tensor_count; i++)
        launch->arguments[launch->tensors[i].argument] = (uintptr_t)launch->tensors[i].data;
    for (uint32_t i = 0; i < launch->argument_count; i++) parameters[i] = &launch->arguments[i];
    if ((uint64_t)launch->grid[0] * kernel->info.num_ctas > INT32_MAX)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "Kernel `%s` with num_ctas = %u: at most %u programs along x.",
                        kernel->name, kernel->info.num_ctas, INT32_MAX / kernel->info.num_ctas);
    CUresult result = enter(d, &entered);
    if (!result)
        result = launch_function(d->driver, ready->function, &kernel->info, launch->grid,
                                 stream ? stream->native : NULL, parameters);
    leave(d, entered);
    if (!result) return TKC_OK;
    return cuda_check(d->driver, result, "Launching kernel `%s` (%u, %u, %u)", kernel->name,
                      launch->grid[0], launch->grid[1], launch->grid[2]);
}

/* ---- streams, events ------------------------------------------------------------------------- */

static tkc_status cuda_stream_create(tkc_stream *stream) {
    const CudaDevice *d = stream->device->state;
    CUstream made = NULL;
    CUresult result;
    RUN(d, result, cuStreamCreate(&made, CU_STREAM_NON_BLOCKING));
    stream->native = made;
    return cuda_check(d->driver, result, "Making a stream");
}

static void cuda_stream_destroy(tkc_stream *stream) {
    const CudaDevice *d = stream->device->state;
    CUresult ignored;
    RUN(d, ignored, cuStreamDestroy_v2(stream->native));
    (void)ignored;
}

static tkc_status cuda_event_create(tkc_event *event) {
    const CudaDevice *d = event->device->state;
    CUevent made = NULL;
    CUresult result;
    RUN(d, result, cuEventCreate(&made, CU_EVENT_DEFAULT));
    event->native = made;
    return cuda_check(d->driver, result, "Making an event");
}

static void cuda_event_destroy(tkc_event *event) {
    const CudaDevice *d = event->device->state;
    CUresult ignored;
    RUN(d, ignored, cuEventDestroy_v2(event->native));
    (void)ignored;
}

static tkc_status cuda_event_record(tkc_event *event, tkc_stream *stream) {
    const CudaDevice *d = event->device->state;
    CUresult result;
    RUN(d, result, cuEventRecord(event->native, stream ? stream->native : NULL));
    return cuda_check(d->driver, result, "Recording an event");
}

static tkc_status cuda_event_synchronize(tkc_event *event) {
    const CudaDevice *d = event->device->state;
    CUresult result;
    RUN(d, result, cuEventSynchronize(event->native));
    return cuda_check(d->driver, result, "Waiting for an event");
}

static tkc_status cuda_event_elapsed(tkc_event *start, tkc_event *stop, double *milliseconds) {
    const CudaDevice *d = start->device->state;
    float elapsed = 0;
    CUresult result;
    RUN(d, result, cuEventElapsedTime(&elapsed, start->native, stop->native));
    *milliseconds = (double)elapsed;
    return cuda_check(d->driver, result, "Asking for the time between two events");
}

const DeviceKind device_cuda = {
    .count = cuda_count,
    .describe = cuda_describe,
    .open = cuda_open,
    .close = cuda_close,
    .synchronize = cuda_synchronize,
    .attach = cuda_attach,
    .detach = cuda_detach,
    .write = cuda_write,
    .read = cuda_read,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .poison = cuda_poison,
    .accepts = cuda_accepts,
    .may_load = cuda_may_load,
    .load = cuda_load,
    .unload = cuda_unload,
    .usage = cuda_usage,
    .launch = cuda_launch,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_synchronize = cuda_event_synchronize,
    .event_elapsed = cuda_event_elapsed,
};
