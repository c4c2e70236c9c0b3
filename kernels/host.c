/* host.c: the library handle, its table of compiled kernels, and calls.
 *
 * The table is searched by a key made of the kernel's name and all texts of the variant. It only
 * grows, so a kernel that was found may be launched without the lock. Two threads that want the
 * same new variant wait for one compile.
 */
#include "kernels/host.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct Entry {
    struct Entry *next;
    uint64_t hash;
    tkc_kernel *kernel;
    size_t key_size;
    char key[];
} Entry;

enum { BUCKETS = 256 };

struct tkk_library {
    tkc_context *context;
    tkc_device *device;
    pthread_mutex_t lock;
    Entry *buckets[BUCKETS];
    CallRecord *record; /* NULL: launches are made */
    void *record_user;
};

tkc_status tkk_create(tkc_context *context, tkc_device *device, tkk_library **library) {
    if (!library) return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_create: library is NULL.");
    *library = NULL;
    if (!context || !device)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_create: context or device is NULL.");
    tkk_library *made = calloc(1, sizeof *made);
    if (!made) return tkc_fail(TKC_OUT_OF_MEMORY, "tkk_create: out of memory.");
    made->context = context;
    made->device = device;
    pthread_mutex_init(&made->lock, NULL);
    *library = made;
    return TKC_OK;
}

void tkk_destroy(tkk_library *library) {
    if (!library) return;
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (Entry *entry = library->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            tkc_kernel_destroy(entry->kernel);
            free(entry);
        }
    pthread_mutex_destroy(&library->lock);
    free(library);
}

void library_record(tkk_library *library, CallRecord *record, void *user) {
    library->record = record;
    library->record_user = user;
}

uint64_t address_of(const tkc_argument *data) {
    if (data->kind == TKC_ARGUMENT_ADDRESS) return data->value.u;
    if (!data->value.buffer) return 0;
    return tkc_buffer_address(data->value.buffer) + data->offset;
}

/* ---- tensors ---------------------------------------------------------------------------- */

static tkk_tensor dense(tkc_argument data, tkc_dtype dtype, uint32_t rank, const int64_t *shape) {
    tkk_tensor tensor = {.data = data, .dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0;) {
        tensor.shape[i] = shape[i];
        tensor.stride[i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
    return tensor;
}

tkk_tensor tkk_vector(tkc_argument data, tkc_dtype dtype, int64_t length) {
    return dense(data, dtype, 1, (int64_t[]){length});
}

tkk_tensor tkk_matrix(tkc_argument data, tkc_dtype dtype, int64_t rows, int64_t columns) {
    return dense(data, dtype, 2, (int64_t[]){rows, columns});
}

tkk_tensor tkk_tensor3(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1, int64_t n2) {
    return dense(data, dtype, 3, (int64_t[]){n0, n1, n2});
}

tkk_tensor tkk_tensor4(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1, int64_t n2,
                       int64_t n3) {
    return dense(data, dtype, 4, (int64_t[]){n0, n1, n2, n3});
}

tkk_tensor tkk_exchange(tkk_tensor tensor, uint32_t i, uint32_t j) {
    assert(i < tensor.rank && j < tensor.rank);
    int64_t shape = tensor.shape[i], stride = tensor.stride[i];
    tensor.shape[i] = tensor.shape[j];
    tensor.stride[i] = tensor.stride[j];
    tensor.shape[j] = shape;
    tensor.stride[j] = stride;
    return tensor;
}

tkk_tensor tkk_narrow(tkk_tensor tensor, uint32_t dim, int64_t start, int64_t length) {
    assert(dim < tensor.rank);
    uint64_t bytes = (uint64_t)(start * tensor.stride[dim]) * tkc_dtype_size(tensor.dtype);
    if (tensor.data.kind == TKC_ARGUMENT_ADDRESS)
        tensor.data.value.u += bytes;
    else
        tensor.data.offset += bytes;
    tensor.shape[dim] = length;
    return tensor;
}

bool is_given(const tkk_tensor *tensor) {
    return tensor->rank != 0;
}

const tkk_tensor *given(const tkk_tensor *tensor) {
    return is_given(tensor) ? tensor : NULL;
}

int64_t stride_of(const tkk_tensor *tensor, uint32_t d) {
    return tensor->shape[d] > 1 ? tensor->stride[d] : 0;
}

/* ---- checks ----------------------------------------------------------------------------- */

tkc_status check_library(const tkk_library *library) {
    return library ? TKC_OK : tkc_fail(TKC_INVALID_ARGUMENT, "The library is NULL.");
}

tkc_status check_rank(const char *name, const tkk_tensor *tensor, uint32_t rank) {
    if (!tensor) return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the tensor is NULL.", name);
    if (tensor->data.kind != TKC_ARGUMENT_BUFFER && tensor->data.kind != TKC_ARGUMENT_ADDRESS)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: data must be a buffer (tkc_arg_buffer) or an address "
                        "(tkc_arg_address).",
                        name);
    if (tensor->rank != rank)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s has %u dimensions, %u are needed.", name,
                        tensor->rank, rank);
    for (uint32_t i = 0; i < rank; i++)
        if (tensor->shape[i] < 0)
            return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the extent of dimension %u is %lld.", name,
                            i, (long long)tensor->shape[i]);
    return TKC_OK;
}

tkc_status check_shape(const char *name, const tkk_tensor *tensor, uint32_t rank,
                       const int64_t *shape) {
    CHECK(check_rank(name, tensor, rank));
    for (uint32_t i = 0; i < rank; i++)
        if (tensor->shape[i] != shape[i])
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "%s: the extent of dimension %u is %lld; it must be %lld to fit the "
                            "other tensors.",
                            name, i, (long long)tensor->shape[i], (long long)shape[i]);
    return TKC_OK;
}

tkc_status check_float(const char *name, const tkk_tensor *tensor) {
    if (tensor->dtype != TKC_F16 && tensor->dtype != TKC_BF16 && tensor->dtype != TKC_F32)
        return tkc_fail(TKC_UNSUPPORTED, "%s has dtype %s; f16, bf16 or f32 is needed.", name,
                        tkc_dtype_name(tensor->dtype));
    return TKC_OK;
}

tkc_status check_dtype(const char *name, const tkk_tensor *tensor, tkc_dtype dtype) {
    if (tensor->dtype != dtype)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s has dtype %s; it must be %s here.", name,
                        tkc_dtype_name(tensor->dtype), tkc_dtype_name(dtype));
    return TKC_OK;
}

tkc_status check_dense(const char *name, const tkk_tensor *tensor) {
    tkk_tensor packed = dense(tensor->data, tensor->dtype, tensor->rank, tensor->shape);
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] > 1 && tensor->stride[i] != packed.stride[i])
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "%s: the stride of dimension %u is %lld; this tensor must be without "
                            "gaps (%lld).",
                            name, i, (long long)tensor->stride[i], (long long)packed.stride[i]);
    return TKC_OK;
}

tkc_status check_reach(const char *name, const tkk_tensor *tensor, uint32_t first_dim) {
    const int64_t farthest = ((int64_t)1 << 23) - 1, longest = (int64_t)1 << 30;
    for (uint32_t i = first_dim; i < tensor->rank; i++) {
        if (tensor->shape[i] > longest)
            return tkc_fail(TKC_UNSUPPORTED, "%s: the extent of dimension %u is over 2^30.", name,
                            i);
        if (tensor->shape[i] > 1 && (tensor->stride[i] > farthest || tensor->stride[i] < -farthest))
            return tkc_fail(TKC_UNSUPPORTED,
                            "%s: the stride of dimension %u is %lld; at most 2^23 - 1 is "
                            "supported.",
                            name, i, (long long)tensor->stride[i]);
    }
    return TKC_OK;
}

tkc_status check_options(const void *options, uint32_t given, size_t known, const char *what) {
    if (!options) return tkc_fail(TKC_INVALID_ARGUMENT, "%s is NULL.", what);
    if (given != known)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: struct_size is %u, this library knows %zu; start from its _INIT.",
                        what, given, known);
    return TKC_OK;
}

tkc_status check_precision(const char *what, tkk_precision precision) {
    if ((uint32_t)precision > TKK_IEEE)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s: unknown precision %d.", what, (int)precision);
    return TKC_OK;
}

tkc_status check_activation(const char *what, tkk_activation activation) {
    if ((uint32_t)activation > TKK_GELU_TANH)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s: unknown activation %d.", what, (int)activation);
    return TKC_OK;
}

int64_t next_power_of_two(int64_t x) {
    int64_t power = 1;
    while (power < x) power *= 2;
    return power;
}

/* ---- scratch memory ---------------------------------------------------------------------- */

enum { SCRATCH_ALIGNMENT = 256 };

uint64_t scratch_size(uint64_t size) {
    return (size + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
}

tkc_status scratch_begin(Scratch *scratch, tkk_library *library, const tkk_workspace *given,
                         uint64_t size, const char *what) {
    *scratch = (Scratch){.data = given->data, .size = given->size};
    if (given->size == 0) {
        if (size == 0) return TKC_OK;
        CHECK(tkc_buffer_create(library->device, size, what, &scratch->own));
        scratch->data = tkc_arg_buffer(scratch->own);
        scratch->size = size;
        return TKC_OK;
    }
    if (given->data.kind != TKC_ARGUMENT_BUFFER && given->data.kind != TKC_ARGUMENT_ADDRESS)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: the workspace must be a buffer (tkc_arg_buffer) or an address "
                        "(tkc_arg_address).",
                        what);
    if (address_of(&given->data) % 16 != 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: the address of the workspace must be a multiple of 16.", what);
    if (given->size < size)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: the workspace has %llu bytes and %llu are needed.", what,
                        (unsigned long long)given->size, (unsigned long long)size);
    return TKC_OK;
}

tkc_argument scratch_take(Scratch *scratch, uint64_t size) {
    assert(scratch->used + size <= scratch->size);
    tkc_argument piece = scratch->data;
    if (piece.kind == TKC_ARGUMENT_ADDRESS)
        piece.value.u += scratch->used;
    else
        piece.offset += scratch->used;
    scratch->used += scratch_size(size);
    return piece;
}

tkc_status scratch_end(Scratch *scratch, tkc_status status) {
    tkc_buffer_destroy(scratch->own);
    scratch->own = NULL;
    return status;
}

/* ---- calls ------------------------------------------------------------------------------ */

void call_begin(Call *call, tkk_library *library, const KernelFile *file, const char *kernel) {
    call->library = library;
    call->file = file;
    call->kernel = kernel;
    call->num_warps = call->num_stages = 0;
    call->compile_only = false;
    call->type_count = call->constant_count = call->argument_count = 0;
    call->text_used = 0;
}

/* Joins up to three pieces into a string that lives as long as the call. */
static const char *call_text(Call *call, const char *a, const char *b, const char *c) {
    char *start = call->text + call->text_used;
    const char *pieces[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(pieces[i]);
        assert(call->text_used + length + 1 < CALL_TEXT_MAX);
        memcpy(call->text + call->text_used, pieces[i], length);
        call->text_used += length;
    }
    call->text[call->text_used++] = 0;
    return start;
}

void call_type(Call *call, const char *name, const char *type) {
    assert(call->type_count < CALL_MAX);
    call->types[call->type_count++] = (tkc_named){name, type};
}

static void call_argument(Call *call, tkc_argument argument) {
    assert(call->argument_count < CALL_MAX);
    call->arguments[call->argument_count++] = argument;
}

void call_tensor(Call *call, const char *name, const tkk_tensor *tensor) {
    bool aligned = address_of(&tensor->data) % 16 == 0;
    const char *dtype = tkc_dtype_name(tensor->dtype);
    call_type(call, name, call_text(call, "*", dtype, aligned ? ":16" : ""));
    call_argument(call, tkc_arg_named(name, tensor->data));
}

void call_constant(Call *call, const char *name, const char *text) {
    assert(call->constant_count < CALL_MAX);
    call->constants[call->constant_count++] = (tkc_named){name, text};
}

void call_optional(Call *call, const char *name, const tkk_tensor *tensor) {
    if (tensor)
        call_tensor(call, name, tensor);
    else
        call_constant(call, name, "None");
}

void call_constant_int(Call *call, const char *name, int64_t value) {
    char digits[24], *start = digits + sizeof digits;
    uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
    *--start = 0;
    do *--start = (char)('0' + magnitude % 10);
    while (magnitude /= 10);
    if (value < 0) *--start = '-';
    call_constant(call, name, call_text(call, start, "", ""));
}

void call_int(Call *call, int64_t value) {
    call_argument(call, tkc_arg_i64(value));
}

void call_float(Call *call, double value) {
    call_argument(call, tkc_arg_f64(value));
}

/* What a stride is divisible by, as far as that makes loads wider. */
static const char *divisor(int64_t stride) {
    return stride % 16 == 0 ? ":16" : stride % 8 == 0 ? ":8" : stride % 4 == 0 ? ":4" : "";
}

void call_stride(Call *call, const char *name, const char *type, int64_t stride) {
    if (stride == 1) {
        call_constant(call, name, "1");
        return;
    }
    call_type(call, name, call_text(call, type, divisor(stride), ""));
    call_argument(call, tkc_arg_named(name, tkc_arg_i64(stride)));
}

void call_strides4(Call *call, const char *const names[4], const tkk_tensor *tensor) {
    for (uint32_t i = 0; i < 4; i++) {
        /* A dimension of one element has no stride: whatever is given, take one common form. */
        int64_t stride = tensor->shape[i] > 1 ? tensor->stride[i] : i < 3 ? 0 : 1;
        if (i < 2 && stride == 1) { /* never worth a variant of its own */
            call_type(call, names[i], "i64");
            call_argument(call, tkc_arg_named(names[i], tkc_arg_i64(1)));
        } else {
            call_stride(call, names[i], i < 2 ? "i64" : "i32", stride);
        }
    }
}

bool runs_on_host(const tkk_library *library) {
    const char *target = tkc_device_target(library->device);
    return !strncmp(target, "cpu", 3) || !strcmp(target, "interp");
}

bool has_small_shared(const tkk_library *library) {
    static const char *const names[] = {"sm_86", "sm_89", "sm_120"};
    const char *target = tkc_device_target(library->device);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(target, names[i], strlen(names[i]))) return true;
    return false;
}

uint32_t processors(const tkk_library *library) {
    return tkc_device_processors(library->device);
}

const char *dtype_constant(tkc_dtype dtype) {
    static const char *const names[TKC_DTYPE_COUNT] = {
        [TKC_I8] = "tl.int8",     [TKC_I32] = "tl.int32",       [TKC_F8E4M3] = "tl.float8e4nv",
        [TKC_F16] = "tl.float16", [TKC_F8E5M2] = "tl.float8e5", [TKC_BF16] = "tl.bfloat16",
        [TKC_F32] = "tl.float32", [TKC_F64] = "tl.float64",
    };
    return names[dtype] ? names[dtype] : "None";
}

/* ---- the table of variants -------------------------------------------------------------- */

static size_t add_key(char *key, size_t used, size_t limit, const char *text) {
    size_t length = strlen(text) + 1;
    assert(used + length <= limit);
    (void)limit;
    memcpy(key + used, text, length);
    return used + length;
}

static tkc_status compile(const Call *call, tkc_kernel **kernel) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = call->file->path;
    options.text = call->file->text;
    options.text_size = *call->file->size;
    options.kernel = call->kernel;
    options.types = call->types;
    options.type_count = call->type_count;
    options.constants = call->constants;
    options.constant_count = call->constant_count;
    options.num_warps = call->num_warps;
    options.num_stages = call->num_stages;
    options.target = tkc_device_target(call->library->device);
    return tkc_compile(call->library->context, &options, kernel, NULL);
}

/* The compiled variant, made when it is new. Needs the lock. */
static tkc_status find_or_compile(const Call *call, const char *key, size_t size,
                                  tkc_kernel **kernel) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)key[i]) * 0x100000001b3u;
    Entry **bucket = &call->library->buckets[(hash ^ hash >> 32) % BUCKETS];
    for (Entry *entry = *bucket; entry; entry = entry->next)
        if (entry->hash == hash && entry->key_size == size && !memcmp(entry->key, key, size)) {
            *kernel = entry->kernel;
            return TKC_OK;
        }
    Entry *entry = malloc(sizeof *entry + size);
    if (!entry) return tkc_fail(TKC_OUT_OF_MEMORY, "%s: out of memory.", call->kernel);
    tkc_status status = compile(call, &entry->kernel);
    if (status != TKC_OK) {
        free(entry);
        return status;
    }
    entry->hash = hash;
    entry->key_size = size;
    memcpy(entry->key, key, size);
    entry->next = *bucket;
    *bucket = entry;
    *kernel = entry->kernel;
    return TKC_OK;
}

tkc_status call_launch(Call *call, tkc_stream *stream, tkc_grid grid) {
    char key[2 * CALL_TEXT_MAX];
    size_t size = add_key(key, 0, sizeof key, call->kernel);
    for (uint32_t i = 0; i < call->type_count; i++) {
        size = add_key(key, size, sizeof key, call->types[i].name);
        size = add_key(key, size, sizeof key, call->types[i].text);
    }
    for (uint32_t i = 0; i < call->constant_count; i++) {
        size = add_key(key, size, sizeof key, call->constants[i].name);
        size = add_key(key, size, sizeof key, call->constants[i].text);
    }
    char shape[2] = {(char)('0' + call->num_warps), (char)('0' + call->num_stages)};
    assert(size + sizeof shape <= sizeof key);
    memcpy(key + size, shape, sizeof shape);
    size += sizeof shape;

    tkk_library *library = call->library;
    tkc_kernel *kernel = NULL;
    pthread_mutex_lock(&library->lock);
    tkc_status status = find_or_compile(call, key, size, &kernel);
    pthread_mutex_unlock(&library->lock);
    if (status != TKC_OK) return status;
    if (library->record) return library->record(library->record_user, call, kernel, grid);
    if (call->compile_only) return tkc_kernel_prepare(kernel, library->device);
    return tkc_launch(kernel, library->device, stream, grid, call->arguments, call->argument_count,
                      NULL);
}
