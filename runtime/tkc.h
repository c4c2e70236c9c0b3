/* tkc.h: compile block-level kernels and launch them from C.
 *
 *     tkc_context *context;  tkc_device *device;  tkc_kernel *kernel;  tkc_buffer *x, *y;
 *     tkc_context_create(NULL, &context);
 *     tkc_device_open(context, "auto", &device);
 *     tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
 *     options.path = "scale.tk";
 *     if (tkc_compile(context, &options, &kernel, NULL) != TKC_OK) puts(tkc_last_error());
 *     tkc_buffer_create(device, n * sizeof(float), "x", &x);  ...
 *     tkc_argument arguments[] = {tkc_arg(x), tkc_arg(y), tkc_arg(n)};
 *     tkc_launch(kernel, device, NULL, tkc_grid1(tkc_cdiv(n, 1024)), arguments, 3, NULL);
 *
 * Errors. Every function that can fail returns a tkc_status. tkc_last_error() then says, in whole
 * sentences, which argument was wrong, what was given and what to do. When a function fails it has
 * changed nothing, and its out parameter is set to NULL. The library never prints, exits or aborts.
 *
 * Ownership. Objects come from *_create, *_open or tkc_compile and end with *_destroy, which takes
 * NULL too. They may be destroyed in any order: what an object needs (a buffer its device, a
 * device its context) stays until the last object that needs it is gone. Strings and structs that
 * go in are copied or used during the call only, unless the function says "borrowed". Strings that
 * come out belong to the object they were asked from, unless the function says "tkc_free".
 *
 * Threads. Each function has a mark:
 *     [any]   may be called from any threads at the same time, on the same objects too
 *     [one]   not while another thread uses the same object (other objects: no restriction)
 * Callbacks run on the thread that caused them, or on a worker of the launch; calls of one
 * callback never overlap. A callback must not call the library.
 *
 * Structs that begin with struct_size are filled by their _INIT macro first; that way a program
 * built with an older header keeps working with a newer library.
 */
#ifndef TKC_H
#define TKC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define TKC_API
#else
#define TKC_API __attribute__((visibility("default")))
#endif

/* ---- version --------------------------------------------------------------------------- */

#define TKC_VERSION_MAJOR 0
#define TKC_VERSION_MINOR 1
#define TKC_VERSION_PATCH 0
#define TKC_MAKE_VERSION(major, minor, patch) ((major) * 1000000 + (minor) * 1000 + (patch))
#define TKC_VERSION TKC_MAKE_VERSION(TKC_VERSION_MAJOR, TKC_VERSION_MINOR, TKC_VERSION_PATCH)

TKC_API uint32_t tkc_version(void); /* TKC_VERSION of the library that runs [any] */

/* ---- status ---------------------------------------------------------------------------- */

/* X(name, number, text of tkc_status_string) */
#define TKC_STATUS_LIST(X)                                                                         \
    X(OK, 0, "ok")                                                                                 \
    X(INVALID_ARGUMENT, 1, "invalid argument")                                                     \
    X(COMPILE_ERROR, 2, "the source was refused")                                                  \
    X(NOT_FOUND, 3, "not found")                                                                   \
    X(NO_DEVICE, 4, "no such device")                                                              \
    X(OUT_OF_MEMORY, 5, "out of memory")                                                           \
    X(IO, 6, "input or output failed")                                                             \
    X(UNSUPPORTED, 7, "not supported")                                                             \
    X(LAUNCH_FAULT, 8, "a kernel did something wrong while it ran")                                \
    X(BAD_NPY, 9, "not a usable .npy file")                                                        \
    X(CANCELLED, 10, "cancelled")                                                                  \
    X(INTERNAL, 11, "a defect in tkc itself")                                                      \
    X(DRIVER, 12, "the device's driver reported an error")

typedef enum tkc_status {
#define X(name, number, text) TKC_##name = number,
    TKC_STATUS_LIST(X)
#undef X
    TKC_STATUS_PIN_ = 0x7fffffff /* fixes the width of the type */
} tkc_status;

TKC_API const char *tkc_status_string(tkc_status status); /* never NULL [any] */

/* What went wrong in the last failed call of this thread; "" when none failed yet. Valid until the
 * next failed call of this thread. Several lines when source text is shown. [any] */
TKC_API const char *tkc_last_error(void);

/* For libraries built on this one: makes the text of tkc_last_error of this thread, and returns
 * `status`, so that a function can end with `return tkc_fail(TKC_IO, "...")`. [any] */
TKC_API tkc_status tkc_fail(tkc_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Frees a string that a function gave with the words "free with tkc_free". [any] */
TKC_API void tkc_free(void *memory);

/* ---- element types ----------------------------------------------------------------------- */

typedef enum tkc_dtype {
    TKC_NONE = 0, /* unknown, or "as it comes" */
    TKC_I1, /* one byte, 0 or 1 */
    TKC_I8, TKC_I16, TKC_I32, TKC_I64,
    TKC_U8, TKC_U16, TKC_U32, TKC_U64,
    TKC_F8E4M3, TKC_F8E5M2, TKC_F8E4M3B15,
    TKC_F16, TKC_BF16, TKC_F32, TKC_F64,
    TKC_DTYPE_COUNT,
    TKC_DTYPE_PIN_ = 0x7fffffff
} tkc_dtype;

TKC_API const char *tkc_dtype_name(tkc_dtype dtype); /* "f32"; "?" when there is none [any] */
TKC_API uint32_t tkc_dtype_size(tkc_dtype dtype);    /* bytes an element; 0 for TKC_NONE [any] */
/* "f32", "fp32", "float32", "float" ...; TKC_NONE when unknown. [any] */
TKC_API tkc_dtype tkc_dtype_from_name(const char *name);

/* Converts `count` elements. Encoding rounds to nearest, ties to even; what is too large becomes
 * infinity (fp8: the largest number; integers: truncated, the nearest end of their range, NaN 0;
 * i1: value != 0). Decoded 64-bit integers beyond 2^53 are rounded. [any] */
TKC_API void tkc_encode(tkc_dtype dtype, const double *from, void *to, size_t count);
TKC_API void tkc_decode(tkc_dtype dtype, const void *from, double *to, size_t count);

/* ---- context ----------------------------------------------------------------------------- */

typedef struct tkc_context tkc_context;

/* Something was compiled. In a server that prepared all its kernels this never comes. */
typedef struct tkc_compile_event {
    uint32_t struct_size;
    tkc_status status;
    const char *kernel; /* name, or "" when it is not known because the source was refused */
    const char *path;
    const char *target;
    double milliseconds; /* of the whole compile; of that: */
    double lower_ms;     /* text to IR */
    double passes_ms;    /* on the IR */
    double code_ms;      /* GPU targets: IR to PTX */
} tkc_compile_event;

/* A launch has ended. */
typedef struct tkc_launch_event {
    uint32_t struct_size;
    tkc_status status;
    const char *kernel, *device; /* names */
    int64_t grid[3];
    double milliseconds; /* the work and handing it over; a first launch loads the kernel too */
} tkc_launch_event;

typedef struct tkc_context_options {
    uint32_t struct_size;
    uint32_t reserved;
    void *user; /* given to every callback */
    /* One line of device_print (without the newline). NULL: dropped. */
    void (*print)(void *user, const char *line);
    /* One line of static_print, while compiling. NULL: dropped (tkc_kernel_text keeps it). */
    void (*static_print)(void *user, const char *line);
    /* Called after every compile, failed ones included; not when a kernel came out of the cache.
     * NULL: nobody is told. */
    void (*compiled)(void *user, const tkc_compile_event *event);
    /* Compiled GPU kernels are kept in this folder, for all processes. NULL: TKC_CACHE of the
     * environment, else tkc/ in XDG_CACHE_HOME or ~/.cache. "": nowhere. Whatever goes wrong with
     * it, compiling works. */
    const char *cache_folder;
    uint64_t cache_limit; /* bytes; what was not used for longest goes first. 0: 512 MiB */
    /* The CUDA driver's library. NULL: TKC_LIBCUDA of the environment, else libcuda.so.1. */
    const char *cuda_library;
    /* For profiles: called after every launch, which then waits for the work on its stream before
     * it and for its own. NULL: nobody is told and no launch waits. */
    void (*launched)(void *user, const tkc_launch_event *event);
} tkc_context_options;

#define TKC_CONTEXT_OPTIONS_INIT                                                                   \
    {sizeof(tkc_context_options), 0, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL}

/* `options` may be NULL. [any] */
TKC_API tkc_status tkc_context_create(const tkc_context_options *options, tkc_context **context);
TKC_API void tkc_context_destroy(tkc_context *context); /* [one] */

/* ---- devices ----------------------------------------------------------------------------- */

typedef struct tkc_device tkc_device;

typedef struct tkc_device_info {
    uint32_t struct_size;
    uint32_t threads; /* host threads it uses by default; 0 when that has no meaning */
    uint64_t memory;  /* bytes; 0 when it has no memory of its own */
    bool available;
    char name[63];         /* what tkc_device_open takes: "interp", "cuda:0" */
    char description[192]; /* one line */
    char reason[192];      /* why it is not available; "" when it is */
} tkc_device_info;

#define TKC_DEVICE_INFO_INIT {sizeof(tkc_device_info), 0, 0, false, {0}, {0}, {0}}

/* All devices this library knows of, those that this machine or build lacks included. [any] */
TKC_API uint32_t tkc_device_count(tkc_context *context);
TKC_API tkc_status tkc_device_describe(tkc_context *context, uint32_t index,
                                       tkc_device_info *info);

/* Opens "interp", "cpu", "cuda" or "cuda:N", "emu" or "emu:TARGET"; "auto" or NULL is the best one
 * present. TKC_NO_DEVICE and the reason when it is not there, TKC_NOT_FOUND when the name is
 * unknown. [any] */
TKC_API tkc_status tkc_device_open(tkc_context *context, const char *name, tkc_device **device);
TKC_API void tkc_device_destroy(tkc_device *device); /* [one] */

typedef struct tkc_device_options {
    uint32_t struct_size;
    /* cuda: use the CUcontext that is current in the calling thread, not the primary one. */
    bool adopt_current;
    /* cuda: use this CUcontext, borrowed until the device is gone. NULL: the primary one. */
    void *cuda_context;
} tkc_device_options;

#define TKC_DEVICE_OPTIONS_INIT {sizeof(tkc_device_options), false, NULL}

/* The same with options, which may be NULL. An adopted context decides which GPU it is; a number in
 * the name must agree with it. [any] */
TKC_API tkc_status tkc_device_open_with(tkc_context *context, const char *name,
                                        const tkc_device_options *options, tkc_device **device);

TKC_API const char *tkc_device_name(const tkc_device *device); /* "interp" [any] */
/* What tkc_compile_options.target should be for it: "interp", "cpu", "sm_90a" ... [any] */
TKC_API const char *tkc_device_target(const tkc_device *device);
/* Multiprocessors of a GPU, threads of a device on the host: what a launch should fill. [any] */
TKC_API uint32_t tkc_device_processors(const tkc_device *device);
/* Waits until all work given to the device is done, and reports a fault of it. [any] */
TKC_API tkc_status tkc_device_synchronize(tkc_device *device);

/* Bytes of the buffers that live on the device, memory of the caller not counted, and the most
 * there were at once since it was opened or since the last reset. [any] */
TKC_API uint64_t tkc_device_memory_used(const tkc_device *device);
TKC_API uint64_t tkc_device_memory_peak(const tkc_device *device);
TKC_API void tkc_device_memory_reset_peak(tkc_device *device);

/* ---- buffers ----------------------------------------------------------------------------- */

typedef struct tkc_buffer tkc_buffer;

/* `size` bytes of device memory (0 is allowed), contents undefined. `name` (may be NULL) is how
 * messages call it. [any] */
TKC_API tkc_status tkc_buffer_create(tkc_device *device, uint64_t size, const char *name,
                                     tkc_buffer **buffer);
/* A buffer over the caller's memory, borrowed until the buffer is destroyed. TKC_UNSUPPORTED on
 * devices that cannot use host memory. [any] */
TKC_API tkc_status tkc_buffer_wrap(tkc_device *device, void *memory, uint64_t size,
                                   const char *name, tkc_buffer **buffer);
/* Waits for the launches that run on the device, then frees. Using the handle afterwards is
 * refused by tkc_launch as long as it is recognised (the last few hundred handles are). [one] */
TKC_API void tkc_buffer_destroy(tkc_buffer *buffer);

/* Says what the elements are; tkc_launch then refuses the buffer for a pointer parameter of
 * another type. TKC_NONE (the start): anything goes. [one] */
TKC_API tkc_status tkc_buffer_set_dtype(tkc_buffer *buffer, tkc_dtype dtype);

/* Copies between host and device; when they return the copy is done. They come after all launches
 * given to the default stream. [one] */
TKC_API tkc_status tkc_buffer_write(tkc_buffer *buffer, uint64_t offset, const void *from,
                                    uint64_t size);
TKC_API tkc_status tkc_buffer_read(const tkc_buffer *buffer, uint64_t offset, void *to,
                                   uint64_t size);
TKC_API tkc_status tkc_buffer_copy(tkc_buffer *to, uint64_t to_offset, const tkc_buffer *from,
                                   uint64_t from_offset, uint64_t size);
/* Repeats a pattern of 1, 2, 4 or 8 bytes over `size` bytes (a multiple of it). [one] */
TKC_API tkc_status tkc_buffer_fill(tkc_buffer *buffer, uint64_t offset, uint64_t size,
                                   const void *pattern, uint32_t pattern_size);
/* Fills with 0xff bytes (a NaN in every float type, -1 in every integer type) and, on devices that
 * check memory, makes reading any byte before it is written a fault. [one] */
TKC_API tkc_status tkc_buffer_poison(tkc_buffer *buffer);

TKC_API uint64_t tkc_buffer_size(const tkc_buffer *buffer);        /* [any] */
TKC_API uint64_t tkc_buffer_address(const tkc_buffer *buffer);     /* device address [any] */
TKC_API const char *tkc_buffer_name(const tkc_buffer *buffer);     /* never NULL [any] */
TKC_API tkc_dtype tkc_buffer_dtype(const tkc_buffer *buffer);      /* [any] */
TKC_API tkc_device *tkc_buffer_device(const tkc_buffer *buffer);   /* borrowed [any] */

/* ---- compiling --------------------------------------------------------------------------- */

typedef struct tkc_kernel tkc_kernel;

typedef struct tkc_named {
    const char *name, *text;
} tkc_named;

typedef enum tkc_language {
    TKC_LANGUAGE_AUTO = 0, /* by the path: .tkir is IR text, all else (.tk, .py) the language */
    TKC_LANGUAGE_KERNEL,
    TKC_LANGUAGE_IR,
    TKC_LANGUAGE_PIN_ = 0x7fffffff
} tkc_language;

typedef struct tkc_compile_options {
    uint32_t struct_size;
    tkc_language language;
    const char *path;   /* file to read; with `text`: only the name shown in messages */
    const char *text;   /* source text; NULL: read the file */
    size_t text_size;   /* bytes of text; 0: it is NUL-terminated */
    const char *kernel; /* jit function to compile; NULL: the only one of the file */
    /* Types of the parameters. Each is looked for in `constants`, `types` (by name), `signature`
     * (by position: "*fp16:16, *fp32, i32, 128"), its annotation, its default. */
    const char *signature;
    const tkc_named *types; /* name, type: {"x", "*fp16:16"} */
    const tkc_named *constants; /* name, value: {"BLOCK", "128"}, {"KIND", "'relu'"} */
    uint32_t type_count, constant_count;
    uint32_t num_warps, num_stages, num_ctas; /* 0: what the source says, else 4, 3, 1 */
    uint32_t include_path_count;
    const char *const *include_paths; /* where imports are looked for, after the file's folder */
    const char *target; /* "interp" (also NULL), "cpu", "sm_90a" ...; "cuda:90": what suits 9.0 */
    uint64_t memory_limit;            /* bytes one compile may use; 0: 2 GiB */
    /* For those who work on the compiler. */
    const char *dump_after; /* pass name or "all"; the dump is tkc_kernel_text "dump" */
    const char *stop_after; /* pass name */
    const char *skip;       /* comma-separated pass names */
    bool time_passes;       /* tkc_kernel_text "times" */
    bool verify;            /* check the IR after each pass */
    uint32_t error_limit;   /* errors kept; 0: 50 */
    bool intermediate;      /* GPU: keep "laid", "placed" and "llvm" for tkc_kernel_text */
    bool no_cache;          /* compile even when the cache has it, and do not keep it there */
} tkc_compile_options;

#define TKC_COMPILE_OPTIONS_INIT                                                                   \
    {sizeof(tkc_compile_options), TKC_LANGUAGE_AUTO, NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, 0,  \
     0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, NULL, false, false, 0, false, false}

/* Compiles one kernel. A pure function of the options and the files they name: compiles may run at
 * the same time. `log` (may be NULL) receives all messages with source lines and carets, also of a
 * success with warnings; NULL when there are none; free with tkc_free. On failure tkc_last_error
 * holds the messages too, as far as they fit. [any] */
TKC_API tkc_status tkc_compile(tkc_context *context, const tkc_compile_options *options,
                               tkc_kernel **kernel, char **log);
TKC_API void tkc_kernel_destroy(tkc_kernel *kernel); /* [one] */

/* A compiled kernel never changes; the functions below may be called from any thread. */
TKC_API const char *tkc_kernel_name(const tkc_kernel *kernel);   /* [any] */
TKC_API const char *tkc_kernel_target(const tkc_kernel *kernel); /* [any] */

/* One launch argument: a parameter that was not fixed at compile time. */
typedef struct tkc_parameter {
    uint32_t struct_size;
    bool is_pointer;
    tkc_dtype dtype;      /* pointers: of what they point at; TKC_NONE: at pointers */
    const char *name;
    const char *type;     /* "*f16", "i32" */
    int64_t divisibility; /* promised for the value (pointers: the address); 1: nothing */
} tkc_parameter;

#define TKC_PARAMETER_INIT {sizeof(tkc_parameter), false, TKC_NONE, NULL, NULL, 1}

TKC_API uint32_t tkc_kernel_parameter_count(const tkc_kernel *kernel); /* [any] */
TKC_API tkc_status tkc_kernel_parameter(const tkc_kernel *kernel, uint32_t index,
                                        tkc_parameter *parameter); /* [any] */
/* Parameters fixed at compile time, with the text of their value; NULL past the end. [any] */
TKC_API const tkc_named *tkc_kernel_constant(const tkc_kernel *kernel, uint32_t index);

typedef struct tkc_kernel_info {
    uint32_t struct_size;
    uint32_t num_warps, num_stages, num_ctas;
    double compile_ms;     /* 0: it was not compiled but loaded */
    uint32_t shared_bytes; /* GPU: dynamic shared memory of a launch */
    bool from_cache;
} tkc_kernel_info;

#define TKC_KERNEL_INFO_INIT {sizeof(tkc_kernel_info), 0, 0, 0, 0.0, 0, false}

TKC_API tkc_status tkc_kernel_query(const tkc_kernel *kernel, tkc_kernel_info *info); /* [any] */

/* A text made by the compile: "ir" (after the last pass at block level), "source", "dump", "times",
 * "static" (what static_print wrote). GPU targets: "ptx", and nothing else unless
 * tkc_compile_options.intermediate asks for all of these and "laid", "placed", "llvm" (dump_after
 * and time_passes: for the others). Target cpu, with intermediate: "llvm", "asm", "obj". NULL when
 * there is no such text. `size` may be NULL. [any] */
TKC_API const char *tkc_kernel_text(const tkc_kernel *kernel, const char *what, size_t *size);

/* A kernel as native code: the object file that `tkc FILE -t cpu --emit=obj` writes defines
 * `const tkc_native tkc_native_NAME`. Declare it, link the object, and launch the kernel on `cpu`.
 * Needs no compiler: libtkcrt has it too. The object must outlive the kernel. TKC_UNSUPPORTED when
 * it is of another version; that the processor lacks what it needs is found when it is launched or
 * prepared. [any]
 *
 *     extern const tkc_native tkc_native_scale;
 *     tkc_kernel_native(context, &tkc_native_scale, &kernel); */
typedef struct tkc_native tkc_native;
TKC_API tkc_status tkc_kernel_native(tkc_context *context, const tkc_native *native,
                                     tkc_kernel **kernel);

/* Makes a kernel from the "ptx" text of another one, saved to a file (`text` NULL) or at hand
 * (`size` 0: NUL-terminated). The comment at its top says what a launch needs to know. Needs no
 * compiler: libtkcrt has it too. [any] */
TKC_API tkc_status tkc_kernel_load(tkc_context *context, const char *path, const char *text,
                                   size_t size, tkc_kernel **kernel);

/* Does now what a first launch on the device would do (loading, code generation). A kernel that is
 * launched into a CUDA stream while that is being captured must have been prepared. [any] */
TKC_API tkc_status tkc_kernel_prepare(tkc_kernel *kernel, tkc_device *device);

/* What a program of the kernel takes of a GPU, as its driver says. */
typedef struct tkc_kernel_usage {
    uint32_t struct_size;
    uint32_t registers;       /* of a thread */
    uint32_t local_bytes;     /* of a thread: spilled registers and local arrays */
    uint32_t shared_bytes;    /* of a program, static and dynamic */
    uint32_t programs;        /* that fit on one multiprocessor at the same time */
    uint32_t multiprocessors; /* of the device */
} tkc_kernel_usage;

#define TKC_KERNEL_USAGE_INIT {sizeof(tkc_kernel_usage), 0, 0, 0, 0, 0}

/* Prepares the kernel. TKC_UNSUPPORTED on devices where this has no meaning. [any] */
TKC_API tkc_status tkc_kernel_usage_on(tkc_kernel *kernel, tkc_device *device,
                                       tkc_kernel_usage *usage);

/* Names of the passes, in order of their first run, for dump_after and its like; NULL past the
 * end. [any] */
TKC_API const char *tkc_pass_name(uint32_t index);
TKC_API const char *tkc_pass_about(uint32_t index);

/* ---- source files: what can be asked before types are known ---------------------------------- */

typedef struct tkc_source tkc_source;

typedef struct tkc_source_parameter {
    uint32_t struct_size;
    bool is_constexpr;
    const char *name;
    const char *type;          /* annotated type, NULL when there is none */
    const char *default_value; /* source text, NULL when there is none */
} tkc_source_parameter;

#define TKC_SOURCE_PARAMETER_INIT {sizeof(tkc_source_parameter), false, NULL, NULL, NULL}

/* Parses a file (`text` NULL) or a text (`size` 0: NUL-terminated). Succeeds whenever the file can
 * be read; `errors` (may be NULL) is the number of syntax errors and `log` (may be NULL; free with
 * tkc_free) has them. [any] */
TKC_API tkc_status tkc_source_open(tkc_context *context, const char *path, const char *text,
                                   size_t size, tkc_source **source, uint32_t *errors, char **log);
TKC_API void tkc_source_destroy(tkc_source *source); /* [one] */
/* Jit functions in the order of the file; NULL past the end. [one] */
TKC_API const char *tkc_source_function(const tkc_source *source, uint32_t index);
/* Parameter `index` of a function; TKC_NOT_FOUND past the last one, or without such a function.
 * [one] */
TKC_API tkc_status tkc_source_parameter_at(tkc_source *source, const char *function,
                                           uint32_t index, tkc_source_parameter *parameter);
/* Checks one function as far as that is possible without types: TKC_OK, or TKC_COMPILE_ERROR and
 * the messages in `log` (may be NULL; free with tkc_free) and tkc_last_error. [one] */
TKC_API tkc_status tkc_source_check(tkc_source *source, const char *function, char **log);
/* The syntax tree as text. [one] */
TKC_API const char *tkc_source_ast(tkc_source *source, size_t *size);

/* ---- streams, events ------------------------------------------------------------------------ */

/* Work in one stream runs in order; work in two streams may overlap. NULL is the default stream of
 * a device. On `interp` everything is done when the call returns. */
typedef struct tkc_stream tkc_stream;
typedef struct tkc_event tkc_event;

TKC_API tkc_status tkc_stream_create(tkc_device *device, tkc_stream **stream);   /* [any] */
/* A handle for a stream of the caller's, borrowed until the handle is destroyed. cuda: `native` is
 * a CUstream (NULL: the default stream). [any] */
TKC_API tkc_status tkc_stream_adopt(tkc_device *device, void *native, tkc_stream **stream);
TKC_API void *tkc_stream_native(const tkc_stream *stream); /* the CUstream, or NULL [any] */
TKC_API void tkc_stream_destroy(tkc_stream *stream);       /* [one] */
TKC_API tkc_status tkc_stream_synchronize(tkc_device *device, tkc_stream *stream); /* [any] */

TKC_API tkc_status tkc_event_create(tkc_device *device, tkc_event **event); /* [any] */
TKC_API void tkc_event_destroy(tkc_event *event);                           /* [one] */
/* Marks the point that work given to the stream so far will have reached. [one] */
TKC_API tkc_status tkc_event_record(tkc_event *event, tkc_stream *stream);
TKC_API tkc_status tkc_event_synchronize(tkc_event *event); /* [one] */
/* Device time between two events that were recorded and reached. [one] */
TKC_API tkc_status tkc_event_elapsed_ms(tkc_event *start, tkc_event *stop, double *milliseconds);

/* ---- launching ------------------------------------------------------------------------------- */

/* Programs along x (at most 2^31 - 1), y and z (at most 65535). A zero runs nothing. */
typedef struct tkc_grid {
    int64_t x, y, z;
} tkc_grid;

static inline tkc_grid tkc_grid3(int64_t x, int64_t y, int64_t z) {
    tkc_grid grid;
    grid.x = x;
    grid.y = y;
    grid.z = z;
    return grid;
}
static inline tkc_grid tkc_grid2(int64_t x, int64_t y) { return tkc_grid3(x, y, 1); }
static inline tkc_grid tkc_grid1(int64_t x) { return tkc_grid3(x, 1, 1); }
static inline int64_t tkc_cdiv(int64_t a, int64_t b) { return a / b + (a % b > 0); } /* b > 0 */

typedef enum tkc_argument_kind {
    TKC_ARGUMENT_MISSING = 0,
    TKC_ARGUMENT_BUFFER,   /* buffer + offset */
    TKC_ARGUMENT_DLTENSOR, /* const DLTensor *, borrowed during the launch */
    TKC_ARGUMENT_ADDRESS,  /* a device address; 0 is the null pointer */
    TKC_ARGUMENT_INT,      /* value.i; u64: value.u */
    TKC_ARGUMENT_FLOAT,    /* value.f */
    TKC_ARGUMENT_BITS,     /* value.u holds the bits of a `dtype` */
    TKC_ARGUMENT_KIND_PIN_ = 0x7fffffff
} tkc_argument_kind;

/* One argument. Made by the tkc_arg_* functions below, or by tkc_arg(x), which picks one by the
 * type of x.
 *   - An integer goes to an integer parameter of any width that can hold its value.
 *   - A float goes to a float parameter of any width; it is rounded to nearest even, and refused
 *     when a finite value would become infinite.
 *   - An integer for a float parameter, or a float for an integer one, is refused. */
typedef struct tkc_argument {
    tkc_argument_kind kind;
    tkc_dtype dtype;  /* scalars: the type given; ADDRESS: what it points at, or TKC_NONE */
    const char *name; /* NULL, or the parameter it is meant for: checked */
    union {
        tkc_buffer *buffer;
        const void *dltensor;
        int64_t i;
        uint64_t u;
        double f;
    } value;
    uint64_t offset; /* BUFFER: bytes from its start */
} tkc_argument;

static inline tkc_argument tkc_arg_make_(tkc_argument_kind kind, tkc_dtype dtype) {
    tkc_argument argument;
    argument.kind = kind;
    argument.dtype = dtype;
    argument.name = NULL;
    argument.value.u = 0;
    argument.offset = 0;
    return argument;
}
static inline tkc_argument tkc_arg_int_(tkc_dtype dtype, int64_t i) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_INT, dtype);
    argument.value.i = i;
    return argument;
}
static inline tkc_argument tkc_arg_bits(tkc_dtype dtype, uint64_t bits) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_BITS, dtype);
    argument.value.u = bits;
    return argument;
}
static inline tkc_argument tkc_arg_buffer_at(tkc_buffer *buffer, uint64_t offset) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_BUFFER, TKC_NONE);
    argument.value.buffer = buffer;
    argument.offset = offset;
    return argument;
}
/* NULL is the null pointer. */
static inline tkc_argument tkc_arg_buffer(tkc_buffer *buffer) {
    return tkc_arg_buffer_at(buffer, 0);
}
/* `tensor` is a const DLTensor * (or DLManagedTensor *, whose first member is one). Its memory must
 * be one the device can use (interp, cpu: kDLCPU). The kernel gets the base pointer, data +
 * byte_offset; strides are for the kernel's own arguments. */
static inline tkc_argument tkc_arg_dltensor(const void *tensor) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_DLTENSOR, TKC_NONE);
    argument.value.dltensor = tensor;
    return argument;
}
static inline tkc_argument tkc_arg_address(uint64_t address) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_ADDRESS, TKC_NONE);
    argument.value.u = address;
    return argument;
}
static inline tkc_argument tkc_arg_i1(bool x) { return tkc_arg_int_(TKC_I1, x); }
static inline tkc_argument tkc_arg_i8(int8_t x) { return tkc_arg_int_(TKC_I8, x); }
static inline tkc_argument tkc_arg_i16(int16_t x) { return tkc_arg_int_(TKC_I16, x); }
static inline tkc_argument tkc_arg_i32(int32_t x) { return tkc_arg_int_(TKC_I32, x); }
static inline tkc_argument tkc_arg_i64(int64_t x) { return tkc_arg_int_(TKC_I64, x); }
static inline tkc_argument tkc_arg_u8(uint8_t x) { return tkc_arg_int_(TKC_U8, x); }
static inline tkc_argument tkc_arg_u16(uint16_t x) { return tkc_arg_int_(TKC_U16, x); }
static inline tkc_argument tkc_arg_u32(uint32_t x) { return tkc_arg_int_(TKC_U32, x); }
static inline tkc_argument tkc_arg_u64(uint64_t x) { return tkc_arg_int_(TKC_U64, (int64_t)x); }
static inline tkc_argument tkc_arg_f64(double x) {
    tkc_argument argument = tkc_arg_make_(TKC_ARGUMENT_FLOAT, TKC_F64);
    argument.value.f = x;
    return argument;
}
static inline tkc_argument tkc_arg_f32(float x) {
    tkc_argument argument = tkc_arg_f64((double)x);
    argument.dtype = TKC_F32;
    return argument;
}
/* The bits of the number: 0x3c00 is 1.0 in f16, 0x3f80 in bf16. */
static inline tkc_argument tkc_arg_f16(uint16_t bits) { return tkc_arg_bits(TKC_F16, bits); }
static inline tkc_argument tkc_arg_bf16(uint16_t bits) { return tkc_arg_bits(TKC_BF16, bits); }

/* The same argument, and a check that it lands at the parameter called `name`. */
static inline tkc_argument tkc_arg_named(const char *name, tkc_argument argument) {
    argument.name = name;
    return argument;
}

/* What a launch did, as `emu` counts it. Free text and json with tkc_free. */
typedef struct tkc_counters {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t programs, warps, warp_instructions, thread_instructions;
    uint64_t load_requests, load_sectors, load_bytes;    /* global memory; a sector: 32 bytes */
    uint64_t store_requests, store_sectors, store_bytes; /* bytes: asked for by threads */
    uint64_t shared_wavefronts, ideal_wavefronts;        /* more than ideal: bank conflicts */
    uint64_t tensor_operations; /* multiplications and additions by tensor cores */
    uint64_t barriers;
    char *text; /* all of it as a table, with the lines of the kernel that cost most */
    char *json;
} tkc_counters;

#define TKC_COUNTERS_INIT                                                                          \
    {sizeof(tkc_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL}

typedef struct tkc_launch_options {
    uint32_t struct_size;
    uint32_t threads;  /* host threads to use; 0: as many as the machine has */
    bool check_races;  /* report two programs that use the same bytes without order (interp) */
    bool ieee_dot;     /* f32 dot in full f32, whatever precision the kernel asks for (interp) */
    const volatile bool *cancel; /* borrowed; set it to true from another thread to stop */
    tkc_counters *counters;      /* emu: filled when the launch ended well; NULL: not counted */
    uint64_t seed;               /* emu: order in which warps run; 0: round robin */
    /* cpu: every access is checked against the buffers and tensors that are arguments; a fault is
     * reported as on interp. Addresses given as such (tkc_arg_address) and pointers in memory are
     * not checked, unless they are null. interp and emu check in any case. */
    bool bounds;
} tkc_launch_options;

#define TKC_LAUNCH_OPTIONS_INIT {sizeof(tkc_launch_options), 0, false, false, NULL, NULL, 0, false}

/* Runs the kernel once for each program of the grid. `arguments` are the kernel's parameters that
 * were not fixed at compile time, in order. All of them are checked first: their number, kind,
 * type, range, promised divisibility, and that buffers live and are of this device.
 *
 * Returns when the launch was given to the stream; on devices that run at once (interp) when it
 * has run. TKC_LAUNCH_FAULT: tkc_last_error says where and why, tkc_last_fault says it in numbers.
 * On an asynchronous device a fault is reported by the call that waits for it. [any] */
TKC_API tkc_status tkc_launch(tkc_kernel *kernel, tkc_device *device, tkc_stream *stream,
                              tkc_grid grid, const tkc_argument *arguments, uint32_t count,
                              const tkc_launch_options *options);

typedef enum tkc_fault_kind {
    TKC_FAULT_NONE = 0,
    TKC_FAULT_OUT_OF_BOUNDS,
    TKC_FAULT_MISALIGNED,
    TKC_FAULT_NULL,
    TKC_FAULT_UNWRITTEN, /* read before it was written */
    TKC_FAULT_RACE,
    TKC_FAULT_ASSERT,
    TKC_FAULT_UNSUPPORTED,
    TKC_FAULT_MEMORY,
    TKC_FAULT_CANCELLED,
    TKC_FAULT_READ_ONLY,       /* a write to memory that may only be read */
    TKC_FAULT_SYNCHRONISATION, /* barriers, asynchronous copies, warps: misused, or a deadlock */
    TKC_FAULT_LIMIT,           /* more instructions than the limit */
    TKC_FAULT_OTHER,           /* a trap, or what a driver did not say more about */
    TKC_FAULT_PIN_ = 0x7fffffff
} tkc_fault_kind;

typedef struct tkc_fault {
    uint32_t struct_size;
    tkc_fault_kind kind;
    const char *file; /* "" when not known */
    uint32_t line, column;
    uint32_t program[3], other_program[3]; /* other: the second one of a race */
    const char *parameter;                 /* pointer parameter that was used, or "" */
    const char *buffer;                    /* name of the buffer, or "" */
    int64_t offset;                        /* bytes from the start of the buffer */
    uint64_t buffer_size;
    uint32_t rank;            /* of the block that was loaded or stored; 0: a scalar */
    uint32_t coordinates[8];  /* of the first bad element */
    const char *message;      /* all of it in one line */
    uint32_t ptx_line;        /* emu: line of the "ptx" text; 0: not known */
} tkc_fault;

/* The fault of this thread's last launch that was stopped while it ran (TKC_LAUNCH_FAULT,
 * TKC_CANCELLED, or a fault kind of its own status); NULL when there was none. Valid until the next
 * one of this thread. [any] */
TKC_API const tkc_fault *tkc_last_fault(void);

/* ---- arrays in .npy files -------------------------------------------------------------------- */

enum { TKC_MAX_RANK = 32 };

/* A row-major array in host memory. */
typedef struct tkc_array {
    uint32_t struct_size;
    tkc_dtype dtype;
    uint32_t rank; /* 0: one element */
    uint32_t reserved;
    int64_t shape[TKC_MAX_RANK];
    void *data;    /* aligned to 64 bytes when tkc_npy_load made it */
    uint64_t size; /* bytes */
} tkc_array;

#define TKC_ARRAY_INIT {sizeof(tkc_array), TKC_NONE, 0, 0, {0}, NULL, 0}

/* Loads a .npy file (format 1, 2 or 3; Fortran order is transposed to row-major). The file is not
 * trusted. Element types that NumPy has are taken as they are. bf16 and fp8, which it has not, are
 * stored as raw bytes, "<V2" and "|V1", as NumPy does with types that extensions add to it: V2 is
 * taken as bf16, and V1 needs `as`.
 * `as` TKC_NONE: as the file says. Else the file must hold that type, or raw bytes (V) or unsigned
 * integers of its size, which are then taken as bits of that type. Values are never converted.
 * Free the array with tkc_array_free. TKC_BAD_NPY and the reason when the file is no good: not
 * little-endian, objects, records, strings, complex numbers, data too short or too long. [any] */
TKC_API tkc_status tkc_npy_load(const char *path, tkc_dtype as, tkc_array *array);
/* The same from memory; `name` is used in messages. [any] */
TKC_API tkc_status tkc_npy_parse(const void *bytes, size_t size, const char *name, tkc_dtype as,
                                 tkc_array *array);
/* Writes the array (format 1). The file appears complete or not at all. [any] */
TKC_API tkc_status tkc_npy_save(const char *path, const tkc_array *array);
TKC_API void tkc_array_free(tkc_array *array); /* what tkc_npy_load and _parse allocated [one] */
/* Elements (the product of the shape); UINT64_MAX when it overflows or an extent is negative. */
TKC_API uint64_t tkc_array_count(const tkc_array *array);

#ifdef __cplusplus
} /* extern "C" */

static inline tkc_argument tkc_arg(tkc_argument x) { return x; }
static inline tkc_argument tkc_arg(tkc_buffer *x) { return tkc_arg_buffer(x); }
static inline tkc_argument tkc_arg(bool x) { return tkc_arg_i1(x); }
static inline tkc_argument tkc_arg(signed char x) { return tkc_arg_i8(x); }
static inline tkc_argument tkc_arg(short x) { return tkc_arg_i16(x); }
static inline tkc_argument tkc_arg(int x) { return tkc_arg_i32(x); }
static inline tkc_argument tkc_arg(long x) { return tkc_arg_i64(x); }
static inline tkc_argument tkc_arg(long long x) { return tkc_arg_i64(x); }
static inline tkc_argument tkc_arg(unsigned char x) { return tkc_arg_u8(x); }
static inline tkc_argument tkc_arg(unsigned short x) { return tkc_arg_u16(x); }
static inline tkc_argument tkc_arg(unsigned int x) { return tkc_arg_u32(x); }
static inline tkc_argument tkc_arg(unsigned long x) { return tkc_arg_u64(x); }
static inline tkc_argument tkc_arg(unsigned long long x) { return tkc_arg_u64(x); }
static inline tkc_argument tkc_arg(float x) { return tkc_arg_f32(x); }
static inline tkc_argument tkc_arg(double x) { return tkc_arg_f64(x); }
#else
static inline tkc_argument tkc_arg_same_(tkc_argument x) { return x; }
/* clang-format off */
#define tkc_arg(x)                                                                                 \
    _Generic((x), tkc_argument: tkc_arg_same_, tkc_buffer *: tkc_arg_buffer,                       \
             bool: tkc_arg_i1, signed char: tkc_arg_i8, short: tkc_arg_i16, int: tkc_arg_i32,      \
             long: tkc_arg_i64, long long: tkc_arg_i64, unsigned char: tkc_arg_u8,                 \
             unsigned short: tkc_arg_u16, unsigned int: tkc_arg_u32, unsigned long: tkc_arg_u64,   \
             unsigned long long: tkc_arg_u64, float: tkc_arg_f32, double: tkc_arg_f64)(x)
/* clang-format on */
#endif

#endif
