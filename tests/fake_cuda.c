/* fake_cuda.c: a CUDA driver without a GPU: host memory, and the PTX emulator. See fake_cuda.h.
 *
 * With FAKE_OLD it is a driver of CUDA 11.2: the optional entry points are missing.
 */
#include "runtime/cuda_driver.h"
#include "runtime/emu/emu.h"
#include "tests/fake_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

struct CUctx_st {
    int device;
};
typedef struct Code {
    Arena arena;
    Sources sources;
    Diagnostics diagnostics;
    char *text;
    EmuModule *module;
    const EmuEntry *entry;
    uint32_t largest_shared;
} Code;
struct CUevent_st {
    double at;
};

enum { MOST_BUFFERS = 4096, MOST_DEVICES = 8 };

static FakeCuda fake = {.device_count = 1, .capability = 80};
static struct CUctx_st primary[MOST_DEVICES];
static EmuBuffer buffers[MOST_BUFFERS];
static uint32_t buffer_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local CUcontext stack[16];
static _Thread_local int depth;

EXPORT FakeCuda *fake_cuda_state(void);
FakeCuda *fake_cuda_state(void) {
    return &fake;
}

/* Writes the call down; what the test wants it to return. */
static CUresult called(const char *name) {
    CUresult result = CUDA_SUCCESS;
    if (fake.idle) return CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    size_t length = strlen(name);
    if (fake.calls_length + length + 2 < FAKE_CALLS) {
        memcpy(fake.calls + fake.calls_length, name, length);
        fake.calls[fake.calls_length + length] = '\n';
        fake.calls_length += length + 1;
        fake.calls[fake.calls_length] = 0;
    }
    if (fake.fail_name && strcmp(fake.fail_name, name) == 0 && fake.fail_after-- <= 0)
        result = fake.fail_result;
    pthread_mutex_unlock(&lock);
    return result;
}

#define CALLED                                                                                     \
    do {                                                                                           \
        CUresult called_ = called(__func__);                                                       \
        if (called_) return called_;                                                               \
    } while (0)
#define NEEDS_CONTEXT                                                                              \
    if (depth == 0) return 201 /* CUDA_ERROR_INVALID_CONTEXT */

#define CUDA_ENTRY(need, name, parameters) EXPORT CUresult name parameters;
#include "runtime/cuda.def"

/* ---- the machine ------------------------------------------------------------------------------
 */

CUresult cuInit(unsigned flags) {
    CALLED;
    const char *count = getenv("FAKE_CUDA_DEVICES"), *capability = getenv("FAKE_CUDA_CAPABILITY");
    if (count) fake.device_count = atoi(count);
    if (capability) fake.capability = atoi(capability);
    fake.idle = getenv("FAKE_CUDA_IDLE") != NULL;
    if (fake.device_count > MOST_DEVICES) fake.device_count = MOST_DEVICES;
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    return fake.device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

static const struct {
    const char *name;
    CUresult value;
} constants[] = {
#define CUDA_CONSTANT(name, value) {#name, value},
#include "runtime/cuda.def"
};

CUresult cuGetErrorName(CUresult error, const char **text) {
    *text = NULL;
    for (size_t i = 0; i < RT_LENGTH(constants); i++)
        if (constants[i].value == error && strncmp(constants[i].name, "CUDA_ERROR", 10) == 0)
            *text = constants[i].name;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "as the fake driver says";
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
    CALLED;
#ifdef FAKE_OLD
    *version = 11020;
#else
    *version = 12040;
#endif
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    CALLED;
    *count = fake.device_count;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    CALLED;
    if (ordinal < 0 || ordinal >= fake.device_count) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
    CALLED;
    snprintf(name, (size_t)size, "Fake GPU %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    CALLED;
    (void)device;
    *bytes = (size_t)8 << 30;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute what, CUdevice device) {
    CALLED;
    (void)device;
    switch (what) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = fake.capability / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = fake.capability % 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 163 * 1024; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* ---- contexts ---------------------------------------------------------------------------------
 */

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    CALLED;
    primary[device].device = device;
    *context = &primary[device];
    fake.retained++;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CALLED;
    (void)device;
    fake.retained--;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    CALLED;
    *context = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    CALLED;
    if (depth == (int)RT_LENGTH(stack)) return CUDA_ERROR_INVALID_VALUE;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    CALLED;
    NEEDS_CONTEXT;
    *context = stack[--depth];
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    CALLED;
    NEEDS_CONTEXT;
    *device = stack[depth - 1]->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
    CALLED;
    NEEDS_CONTEXT;
    return CUDA_SUCCESS;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) {
    CALLED;
    NEEDS_CONTEXT;
    uint8_t *data = aligned_alloc(256, (size + 511) / 256 * 256);
    if (!data || !size) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    bool room = buffer_count < MOST_BUFFERS;
    if (room)
        buffers[buffer_count++] = (EmuBuffer){
            .address = (uint64_t)(uintptr_t)data, .size = size, .data = data, .name = "memory"};
    fake.live_buffers += room;
    pthread_mutex_unlock(&lock);
    *address = (CUdeviceptr)(uintptr_t)data;
    return room ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
    CALLED;
    NEEDS_CONTEXT;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < buffer_count && result; i++) {
        if (buffers[i].address != address) continue;
        free(buffers[i].data);
        buffers[i] = buffers[--buffer_count];
        fake.live_buffers--;
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void *host(CUdeviceptr address) {
    return (void *)(uintptr_t)address; /* NOLINT: the fake's memory is the host's */
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
    CALLED;
    NEEDS_CONTEXT;
    memcpy(host(to), from, size);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
    CALLED;
    NEEDS_CONTEXT;
    memcpy(to, host(from), size);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size) {
    CALLED;
    NEEDS_CONTEXT;
    memmove(host(to), host(from), size);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
    CALLED;
    NEEDS_CONTEXT;
    memset(host(to), value, count);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
    CALLED;
    NEEDS_CONTEXT;
    if (to % 2) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) memcpy((char *)host(to) + 2 * i, &value, 2);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
    CALLED;
    NEEDS_CONTEXT;
    if (to % 4) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) memcpy((char *)host(to) + 4 * i, &value, 4);
    return CUDA_SUCCESS;
}

/* ---- streams, events ---------------------------------------------------------------------------
 */

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    CALLED;
    NEEDS_CONTEXT;
    *stream = malloc(flags + 1);
    fake.live_streams++;
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
    CALLED;
    free(stream);
    fake.live_streams--;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    CALLED;
    NEEDS_CONTEXT;
    (void)stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    CALLED;
    NEEDS_CONTEXT;
    *status = stream && fake.capturing;
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    CALLED;
    NEEDS_CONTEXT;
    (void)flags;
    *event = calloc(1, sizeof **event);
    fake.live_events++;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
    CALLED;
    free(event);
    fake.live_events--;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    CALLED;
    NEEDS_CONTEXT;
    (void)stream;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->at = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    CALLED;
    (void)event;
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent stop) {
    CALLED;
    *milliseconds = (float)(stop->at - start->at);
    return CUDA_SUCCESS;
}

/* ---- code --------------------------------------------------------------------------------------
 */

static void free_code(Code *code) {
    arena_free(&code->arena);
    free(code->text);
    free(code);
}

static Code *take_code(const void *text) {
    Code *code = calloc(1, sizeof *code);
    arena_init(&code->arena, 0);
    code->sources.arena = code->diagnostics.arena = &code->arena;
    code->diagnostics.sources = &code->sources;
    code->text = strdup(text);
    return code;
}

/* Assembles; the messages go to the caller's log, as far as they fit. */
static CUresult assemble(Code *code, CUjit_option *options, void **values, unsigned count) {
    char *log = NULL;
    size_t room = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log = values[i];
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) room = (size_t)(uintptr_t)values[i];
        if (options[i] == CU_JIT_GENERATE_LINE_INFO) fake.line_info = values[i] != NULL;
    }
    uint32_t source = sources_add(&code->sources, "ptx", code->text, strlen(code->text));
    code->module = emu_load(&code->arena, &code->diagnostics, source);
    if (code->module) return CUDA_SUCCESS;
    Text text = {.arena = &code->arena};
    diag_render(&code->diagnostics, &text);
    if (log && room) snprintf(log, room, "%s", text.data ? text.data : "");
    return CUDA_ERROR_INVALID_PTX;
}

static CUresult find_entry(Code *code, const char *name) {
    code->entry = emu_find_entry(code->module, name);
    return code->entry ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *text, unsigned count,
                            CUjit_option *options, void **values) {
    CALLED;
    NEEDS_CONTEXT;
    Code *code = take_code(text);
    CUresult result = assemble(code, options, values, count);
    if (result)
        free_code(code);
    else
        *module = (CUmodule)(void *)code;
    fake.live_modules += !result;
    return result;
}

CUresult cuModuleUnload(CUmodule module) {
    CALLED;
    NEEDS_CONTEXT;
    free_code((Code *)(void *)module);
    fake.live_modules--;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    CALLED;
    *function = (CUfunction)(void *)module;
    return find_entry((Code *)(void *)module, name);
}

#ifndef FAKE_OLD
/* Where a lazy library's log goes: the caller's arrays must live until it is assembled. */
static CUjit_option *late_options;
static void **late_values;
static unsigned late_count;

CUresult cuLibraryLoadData(CUlibrary *library, const void *text, CUjit_option *options,
                           void **values, unsigned count, CUlibraryOption *library_options,
                           void **library_values, unsigned library_count) {
    CALLED;
    (void)library_options, (void)library_values, (void)library_count;
    Code *code = take_code(text);
    late_options = options, late_values = values, late_count = count;
    CUresult result = fake.defer_compile ? CUDA_SUCCESS : assemble(code, options, values, count);
    if (result)
        free_code(code);
    else
        *library = (CUlibrary)(void *)code;
    fake.live_modules += !result;
    return result;
}

CUresult cuLibraryUnload(CUlibrary library) {
    CALLED;
    free_code((Code *)(void *)library);
    fake.live_modules--;
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    CALLED;
    Code *code = (Code *)(void *)library;
    CUresult result = CUDA_SUCCESS;
    if (!code->module) result = assemble(code, late_options, late_values, late_count);
    *kernel = (CUkernel)(void *)library;
    return result ? result : find_entry(code, name);
}

CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    CALLED;
    NEEDS_CONTEXT;
    *function = (CUfunction)(void *)kernel;
    return CUDA_SUCCESS;
}
#endif

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute what, int value) {
    CALLED;
    NEEDS_CONTEXT;
    if (what != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
    ((Code *)(void *)function)->largest_shared = fake.largest_shared = (uint32_t)value;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute what, CUfunction function) {
    CALLED;
    NEEDS_CONTEXT;
    switch (what) {
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 40; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 16; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = (int)((Code *)(void *)function)->entry->shared_size;
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, CUfunction function, int threads,
                                                     size_t dynamic) {
    CALLED;
    NEEDS_CONTEXT;
    (void)function;
    *count = 2048 / threads;
    if (dynamic && (int)(164 * 1024 / dynamic) < *count) *count = (int)(164 * 1024 / dynamic);
    return CUDA_SUCCESS;
}

/* ---- launches ----------------------------------------------------------------------------------
 */

static void write_down(const CUlaunchConfig *config, const EmuEntry *entry, void **parameters) {
    fake.launches++;
    memcpy(fake.grid, &config->grid_x, sizeof fake.grid);
    memcpy(fake.block, &config->block_x, sizeof fake.block);
    fake.shared = config->shared;
    fake.stream = config->stream;
    fake.context = stack[depth - 1];
    fake.attribute_count = config->attribute_count;
    memset(fake.cluster, 0, sizeof fake.cluster);
    for (unsigned i = 0; i < config->attribute_count; i++)
        if (config->attributes[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            memcpy(fake.cluster, &config->attributes[i].value, sizeof fake.cluster);
    fake.parameter_count = entry->parameter_count;
    for (uint32_t i = 0; i < entry->parameter_count && i < FAKE_PARAMETERS; i++) {
        fake.parameter_sizes[i] = entry->parameters[i].size;
        fake.parameters[i] = 0;
        memcpy(&fake.parameters[i], parameters[i], entry->parameters[i].size);
    }
}

static CUresult result_of(const EmuFault *fault) {
    switch (fault->kind) {
    case EMU_NONE: return CUDA_SUCCESS;
    case EMU_OUT_OF_BOUNDS:
    case EMU_NULL_ADDRESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case EMU_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case EMU_ASSERT:
    case EMU_TRAP: return CUDA_ERROR_ASSERT;
    case EMU_LAUNCH: return CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_LAUNCH_FAILED;
    }
}

static CUresult run(const CUlaunchConfig *config, Code *code, void **parameters) {
    static uint8_t bytes[32768];
    const EmuEntry *entry = code->entry;
    Arena arena;
    EmuResult result;
    arena_init(&arena, 0);
    pthread_mutex_lock(&lock); /* one at a time: no launch may miss a buffer */
    write_down(config, entry, parameters);
    for (uint32_t i = 0; i < entry->parameter_count; i++)
        memcpy(bytes + entry->parameters[i].offset, parameters[i], entry->parameters[i].size);
    EmuLaunch launch = {.grid = {config->grid_x, config->grid_y, config->grid_z},
                        .block = {config->block_x, config->block_y, config->block_z},
                        .cluster = {fake.cluster[0], fake.cluster[1], fake.cluster[2]},
                        .dynamic_shared = config->shared,
                        .parameters = bytes,
                        .buffers = buffers,
                        .buffer_count = buffer_count,
                        .checks = EMU_CHECK_ALL};
    CUresult done = CUDA_SUCCESS;
    if (!emu_launch(&arena, entry, &launch, &result)) {
        done = result_of(&result.fault);
        fprintf(stderr, "fake CUDA driver: %s\n", result.fault.message);
    }
    pthread_mutex_unlock(&lock);
    arena_free(&arena);
    return done;
}

static CUresult launch_config(const CUlaunchConfig *config, CUfunction function,
                              void **parameters) {
    Code *code = (Code *)(void *)function;
    if (config->shared > 48 * 1024 && config->shared > code->largest_shared)
        return CUDA_ERROR_INVALID_VALUE;
    if (!config->grid_x || !config->grid_y || !config->grid_z) return CUDA_ERROR_INVALID_VALUE;
    if (fake.idle) return CUDA_SUCCESS;
    return run(config, code, parameters);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        CUstream stream, void **parameters, void **extra) {
    CALLED;
    NEEDS_CONTEXT;
    if (extra) return CUDA_ERROR_INVALID_VALUE;
    CUlaunchConfig config = {grid_x,  grid_y, grid_z, block_x, block_y,
                             block_z, shared, stream, NULL,    0};
    return launch_config(&config, function, parameters);
}

#ifndef FAKE_OLD
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                          void **extra) {
    CALLED;
    NEEDS_CONTEXT;
    if (extra) return CUDA_ERROR_INVALID_VALUE;
    return launch_config(config, function, parameters);
}
#endif
