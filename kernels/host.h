/* host.h: what the hosts share. A host checks its tensors, fills a Call, and launches it.
 *
 * A Call says two things at once: which variant of a kernel is wanted (types of the parameters and
 * constants, as text) and the arguments of this launch. call_launch looks the variant up in the
 * library and compiles it when it is not there.
 *
 *     Call call;
 *     call_begin(&call, library, &kernels_softmax, "softmax_forward");
 *     call_tensor(&call, "x", x);
 *     call_stride(&call, "x_stride", "i64", x->stride[0]);
 *     call_int(&call, columns);
 *     call_constant_int(&call, "BLOCK", 1024);
 *     return call_launch(&call, stream, tkc_grid1(rows));
 *
 * Arguments are added in the order of the kernel's parameters.
 */
#ifndef TKC_KERNELS_HOST_H
#define TKC_KERNELS_HOST_H

#include "kernels/kernels.h"

/* A .tk file that is part of the library: the build makes it an array, NAME_tk. */
typedef struct KernelFile {
    const char *path, *text;
    const size_t *size;
} KernelFile;

#define KERNEL_TEXT(name)                                                                          \
    extern const char name##_tk[];                                                                 \
    extern const size_t name##_tk_length

/* Declares the static KernelFile `file` of NAME.tk. */
#define KERNEL_FILE(name)                                                                          \
    KERNEL_TEXT(name);                                                                             \
    static const KernelFile file = {#name ".tk", name##_tk, &name##_tk_length}

enum { CALL_MAX = 64, CALL_TEXT_MAX = 3072 };

typedef struct Call {
    tkk_library *library;
    const KernelFile *file;
    const char *kernel;
    uint32_t num_warps, num_stages;
    bool compile_only;
    tkc_named types[CALL_MAX], constants[CALL_MAX];
    tkc_argument arguments[CALL_MAX];
    uint32_t type_count, constant_count, argument_count;
    char text[CALL_TEXT_MAX]; /* what `types` and `constants` point to */
    size_t text_used;
} Call;

void call_begin(Call *call, tkk_library *library, const KernelFile *file, const char *kernel);
/* A pointer of the tensor's dtype; 16-byte alignment is promised when the address has it. */
void call_tensor(Call *call, const char *name, const tkk_tensor *tensor);
/* A stride that is 1 becomes a constant; multiples of 4, 8 and 16 become promises. `type`: i32,
 * i64. */
void call_stride(Call *call, const char *name, const char *type, int64_t stride);
/* The tensor, or None when it is NULL. */
void call_optional(Call *call, const char *name, const tkk_tensor *tensor);
/* For a parameter without annotation: its type ("fp32"). The argument follows. */
void call_type(Call *call, const char *name, const char *type);
void call_strides4(Call *call, const char *const names[4], const tkk_tensor *tensor);
void call_int(Call *call, int64_t value);
void call_float(Call *call, double value);
void call_constant(Call *call, const char *name, const char *text);
void call_constant_int(Call *call, const char *name, int64_t value);
tkc_status call_launch(Call *call, tkc_stream *stream, tkc_grid grid);

/* For tools that want to know what hosts launch: each launch is told, with the kernel compiled for
 * it, instead of being made. Nothing need lie at the addresses of tensors. */
typedef tkc_status CallRecord(void *user, const Call *call, tkc_kernel *kernel, tkc_grid grid);
void library_record(tkk_library *library, CallRecord *record, void *user);

/* Whether programs of a launch run as vector code on host cores, so that blocks should fit caches
 * and not registers of many threads. */
bool runs_on_host(const tkk_library *library);
/* A GPU with 99 KB of shared memory a program, where others have 163 or more. */
bool has_small_shared(const tkk_library *library);
/* Cores or multiprocessors: how many programs should run at the same time, at least. */
uint32_t processors(const tkk_library *library);
/* Where a tensor's first element lies, as the device counts. */
uint64_t address_of(const tkc_argument *data);
/* Whether an optional tensor is there. */
bool is_given(const tkk_tensor *tensor);
/* The tensor when it is there, or NULL: what call_optional takes. */
const tkk_tensor *given(const tkk_tensor *tensor);
/* The stride along dimension `d`; 0 where that has no second element, so that whatever was given
 * makes no variant of its own. */
int64_t stride_of(const tkk_tensor *tensor, uint32_t d);
/* "tl.float16": the dtype as a constant of a kernel. */
const char *dtype_constant(tkc_dtype dtype);

/* ---- scratch memory ---------------------------------------------------------------------- */

/* A workspace handed out piece by piece.
 *
 *     Scratch scratch;
 *     CHECK(scratch_begin(&scratch, library, &p->workspace, need(p), "tkk_linear"));
 *     tkk_tensor sums = tkk_vector(scratch_take(&scratch, 4 * n), TKC_F32, n);
 *     tkc_status status = launch(...);
 *     return scratch_end(&scratch, status);
 */
typedef struct Scratch {
    tkc_argument data;
    uint64_t size, used;
    tkc_buffer *own;
} Scratch;

/* Bytes that a piece of `size` takes: sum these up for scratch_begin. */
uint64_t scratch_size(uint64_t size);
/* The caller's workspace, which must have `size` bytes, or a buffer of its own when he gave none.
 */
tkc_status scratch_begin(Scratch *scratch, tkk_library *library, const tkk_workspace *given,
                         uint64_t size, const char *what);
tkc_argument scratch_take(Scratch *scratch, uint64_t size);
/* Frees what it made; returns `status`. */
tkc_status scratch_end(Scratch *scratch, tkc_status status);

/* ---- checks; each says in tkc_last_error what is wrong with the tensor called `name` ---- */

/* A library is there at all. */
tkc_status check_library(const tkk_library *library);
tkc_status check_rank(const char *name, const tkk_tensor *tensor, uint32_t rank);
tkc_status check_shape(const char *name, const tkk_tensor *tensor, uint32_t rank,
                       const int64_t *shape);
tkc_status check_float(const char *name, const tkk_tensor *tensor); /* f16, bf16, f32 */
tkc_status check_dtype(const char *name, const tkk_tensor *tensor, tkc_dtype dtype);
tkc_status check_dense(const char *name, const tkk_tensor *tensor);
/* Extents below 2^30, and strides that leave offsets inside a block of 256 in 31 bits. */
tkc_status check_reach(const char *name, const tkk_tensor *tensor, uint32_t first_dim);
tkc_status check_options(const void *options, uint32_t given, size_t known, const char *what);
/* The numbers are among those of their enum; `what` is the function. */
tkc_status check_precision(const char *what, tkk_precision precision);
tkc_status check_activation(const char *what, tkk_activation activation);

/* Runs the check and returns its status when it is not TKC_OK. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        tkc_status check_status_ = (call);                                                         \
        if (check_status_ != TKC_OK) return check_status_;                                         \
    } while (0)

/* check_options of a pointer to a struct, which may be NULL. */
#define CHECK_OPTIONS(options, what)                                                               \
    CHECK(check_options((options), (options) ? (options)->struct_size : 0, sizeof *(options),      \
                        (what)))

int64_t next_power_of_two(int64_t x); /* at least 1 */

#endif
