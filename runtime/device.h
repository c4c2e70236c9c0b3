/* device.h: what a device must be able to do, and what the runtime keeps of it.
 *
 * A kind of device is one file (dev_interp.c) that defines one DeviceKind, and one line in the
 * table of device.c. The public functions check their arguments and then call through the table;
 * a DeviceKind may trust what it is given. Each function that returns a status reports its own
 * failure with tkc_fail.
 */
#ifndef TKC_RUNTIME_DEVICE_H
#define TKC_RUNTIME_DEVICE_H

#include "runtime/internal.h"

typedef struct DeviceKind DeviceKind;

struct tkc_device {
    atomic_uint references; /* the handle, and each buffer, stream, event and loaded kernel */
    tkc_context *context;
    const DeviceKind *kind;
    char name[64], target[32];
    uint32_t processors;                       /* 0: 1 */
    void *state;                               /* the kind's own */
    _Atomic uint64_t memory_used, memory_peak; /* bytes of its own buffers */

    pthread_mutex_t graves_lock; /* handles of destroyed buffers, kept to be recognised */
    tkc_buffer *graves_first, *graves_last;
    uint32_t grave_count;
};

/* A buffer is `live` from creation until it is destroyed; after that only this field is valid. */
struct tkc_buffer {
    atomic_uint state;
    tkc_device *device;
    char *name; /* never NULL */
    uint64_t size;
    uint64_t address; /* what a kernel gets */
    void *borrowed;   /* the caller's memory, or NULL: the device's own */
    tkc_dtype dtype;
    uint32_t number; /* interp, emu: which virtual buffer */
    tkc_buffer *next_grave;
};
enum { BUFFER_LIVE = 0x6c697665, BUFFER_DEAD = 0x64656164 };

struct tkc_stream {
    tkc_device *device;
    void *native;
    bool adopted; /* the caller's */
};

struct tkc_event {
    tkc_device *device;
    bool recorded;
    double host_ms; /* devices that run at once: when it was recorded */
    void *native;
};

/* Memory of the caller that one launch uses: argument `argument` is its address. */
typedef struct DeviceTensor {
    uint32_t argument;
    void *data;
    uint64_t size; /* bytes from data that may be touched */
} DeviceTensor;

typedef struct DeviceLaunch {
    uint32_t grid[3]; /* none is 0 */
    /* One for each parameter: device address, or the scalar's bits in the parameter's own dtype.
     * Those of tensors are 0 and the device sets them. */
    uint64_t *arguments;
    uint32_t argument_count;
    const DeviceTensor *tensors;
    uint32_t tensor_count;
    const tkc_argument *given; /* what the caller passed, one for each parameter */
    const tkc_launch_options *options;
} DeviceLaunch;

struct DeviceKind {
    /* Listings: at least 1, more when the machine has more of them. */
    uint32_t (*count)(tkc_context *context);
    void (*describe)(tkc_context *context, uint32_t index, tkc_device_info *info);

    /* `selector` is what follows the colon of the name, or NULL. Sets state, name, target
     * and processors. */
    tkc_status (*open)(tkc_device *device, const char *selector, const tkc_device_options *options);
    void (*close)(tkc_device *device);
    tkc_status (*synchronize)(tkc_device *device, tkc_stream *stream); /* NULL: all streams */

    /* Sets address (and number). `memory` NULL: the device's own memory. */
    tkc_status (*attach)(tkc_buffer *buffer, void *memory);
    void (*detach)(tkc_buffer *buffer); /* waits for launches that may use it */
    tkc_status (*write)(tkc_buffer *buffer, uint64_t offset, const void *from, uint64_t size);
    tkc_status (*read)(const tkc_buffer *buffer, uint64_t offset, void *to, uint64_t size);
    tkc_status (*copy)(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                       uint64_t from_offset, uint64_t size);
    tkc_status (*fill)(tkc_buffer *buffer, uint64_t offset, uint64_t size, const void *pattern,
                       uint32_t pattern_size);
    tkc_status (*poison)(tkc_buffer *buffer);
    /* True when kernels can use memory that DLPack calls (type, id). */
    bool (*accepts)(const tkc_device *device, int dlpack_type, int dlpack_id);

    /* NULL: a kernel may be loaded at any time. Else asked before a launch loads one. */
    tkc_status (*may_load)(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel);
    tkc_status (*load)(tkc_device *device, const tkc_kernel *kernel, void **loaded);
    void (*unload)(tkc_device *device, void *loaded);
    /* NULL: has no meaning here. */
    tkc_status (*usage)(tkc_device *device, const tkc_kernel *kernel, void *loaded,
                        tkc_kernel_usage *usage);
    tkc_status (*launch)(tkc_device *device, tkc_stream *stream, const tkc_kernel *kernel,
                         void *loaded, const DeviceLaunch *launch);

    bool counts; /* fills tkc_launch_options.counters */
    bool checks; /* knows tkc_launch_options.bounds, or checks every access anyway */

    /* NULL where everything is done when the call returns. */
    tkc_status (*stream_create)(tkc_stream *stream);
    void (*stream_destroy)(tkc_stream *stream);
    tkc_status (*event_create)(tkc_event *event);
    void (*event_destroy)(tkc_event *event);
    tkc_status (*event_record)(tkc_event *event, tkc_stream *stream);
    tkc_status (*event_synchronize)(tkc_event *event);
    tkc_status (*event_elapsed)(tkc_event *start, tkc_event *stop, double *milliseconds);
};

extern const DeviceKind device_interp, device_cpu, device_cuda, device_emu;

tkc_device *rt_device_keep(tkc_device *device);
void rt_device_release(tkc_device *device);
void rt_buffer_free_graves(tkc_device *device);

/* ---- kernel.c ------------------------------------------------------------------------------- */

/* A kernel as it stands on one device. It stays in the list until the kernel is destroyed. */
typedef struct LoadedKernel {
    tkc_device *device;
    void *loaded;
    struct LoadedKernel *next;
} LoadedKernel;

typedef struct KernelText {
    const char *name, *text; /* "ir", ...; NULL name: end of the list */
    size_t size;
} KernelText;

struct tkc_kernel {
    tkc_context *context;
    const char *name, *target;
    tkc_parameter *parameters;
    uint32_t parameter_count;
    tkc_named *constants; /* ends with a NULL name */
    tkc_kernel_info info;
    KernelText texts[16];
    const void *native; /* CpuNative *: made ahead of time; NULL: it is not */
    void *module;       /* Module *, for the files that see compiler/; NULL: there is none */
    const char *code;   /* PTX, NUL-terminated, with the header of saved.c; NULL: no GPU kernel */
    size_t code_size;
    /* Ends the compilation that the kernel is part of: everything above, and the kernel itself. */
    void (*destroy)(tkc_kernel *kernel);
    pthread_mutex_t lock; /* held to add to `loaded` */
    _Atomic(LoadedKernel *) loaded;
};

/* The kernel on the device; when it is there already this takes no lock. NULL: not there yet. */
static inline LoadedKernel *rt_kernel_find(const tkc_kernel *kernel, const tkc_device *device) {
    LoadedKernel *entry = atomic_load_explicit(&kernel->loaded, memory_order_acquire);
    while (entry && entry->device != device) entry = entry->next;
    return entry;
}
/* Loads it if need be. */
tkc_status rt_kernel_on(tkc_kernel *kernel, tkc_device *device, void **loaded);

/* ---- saved.c -------------------------------------------------------------------------------- */

/* The header that makes a saved kernel of its PTX; malloc. NULL when out of memory. */
char *rt_saved_header(const tkc_kernel *kernel);
/* Makes a kernel of a saved one. `text` (NUL-terminated, for free()) belongs to the kernel, or is
 * freed when it is refused. */
tkc_status rt_saved_kernel(tkc_context *context, const char *path, char *text, size_t size,
                           tkc_kernel **kernel);

/* ---- dlpack.c ------------------------------------------------------------------------------- */

/* Which argument is being checked. */
typedef struct ArgumentPlace {
    const tkc_kernel *kernel;
    uint32_t index;
} ArgumentPlace;

/* launch.c: TKC_INVALID_ARGUMENT with "Argument 2 of kernel `add`, `x: *f32`: " before the text. */
tkc_status rt_fail_argument(const ArgumentPlace *place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* True when memory of elements `given` may be used through a pointer to `wanted`. */
bool rt_dtype_fits(tkc_dtype wanted, tkc_dtype given);
/* Checks a DLTensor for a pointer parameter; gives its first byte and how many may be touched. */
tkc_status rt_take_dltensor(const ArgumentPlace *place, const tkc_device *device,
                            const void *dltensor, tkc_dtype wanted, DeviceTensor *tensor);

#endif
