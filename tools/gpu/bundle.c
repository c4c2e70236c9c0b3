/* bundle.c: what tools/gpu_check takes along for bench.py: for each case the launches that a host
 * of kernels/ makes of it, and their PTX.
 *
 *     gpu_bundle TARGET FOLDER [small]     writes cases.json and the PTX into FOLDER
 *
 * A case is one call of a host, whose launches are recorded, not made (library_record). Its tensors
 * lie at made-up addresses that tell which one it is. What the hosts choose (blocks, warps, how
 * many launches) is in the recording, so that it is written down nowhere else.
 */
#include "kernels/host.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 16, MOST_SCRATCH = 8, ADDRESS_SHIFT = 44 };

typedef struct Bundle {
    const char *folder, *name; /* of the case */
    tkk_library *library;
    cJSON *cases, *tensors, *launches, *scratch; /* the last three: of the case */
    const tkc_buffer *buffers[MOST_SCRATCH];
    uint32_t tensor_count, scratch_count;
    bool small;
} Bundle;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "gpu_bundle: %s: %s\n", what, tkc_last_error());
    exit(1);
}

/* ---- a launch ----------------------------------------------------------------------------------
 */

/* "matmul_4096.ptx", the second launch of a case "matmul_4096-1.ptx". */
static tkc_status write_ptx(Bundle *b, const tkc_kernel *kernel, cJSON *launch) {
    char name[128], path[1024];
    size_t size;
    int number = cJSON_GetArraySize(b->launches);
    if (number)
        snprintf(name, sizeof name, "%s-%d.ptx", b->name, number);
    else
        snprintf(name, sizeof name, "%s.ptx", b->name);
    snprintf(path, sizeof path, "%s/%s", b->folder, name);
    cJSON_AddStringToObject(launch, "ptx", name);
    const char *text = tkc_kernel_text(kernel, "ptx", &size);
    FILE *file = text ? fopen(path, "wb") : NULL;
    bool good = file && fwrite(text, 1, size, file) == size;
    if (file && fclose(file)) good = false;
    return good ? TKC_OK : tkc_fail(TKC_IO, "%s cannot be written", path);
}

/* Memory of the host's own: told by number and size. */
static void put_buffer(Bundle *b, const tkc_argument *a, tkc_dtype dtype, cJSON *to) {
    uint32_t i = 0;
    while (i < b->scratch_count && b->buffers[i] != a->value.buffer) i++;
    if (i == MOST_SCRATCH) fail("too much scratch memory");
    if (i == b->scratch_count) {
        b->buffers[b->scratch_count++] = a->value.buffer;
        double size = (double)tkc_buffer_size(a->value.buffer);
        cJSON_AddItemToArray(b->scratch, cJSON_CreateNumber(size));
    }
    cJSON_AddNumberToObject(to, "scratch", i);
    cJSON_AddNumberToObject(to, "offset", (double)a->offset);
    cJSON_AddStringToObject(to, "dtype", tkc_dtype_name(dtype));
}

static void put_argument(Bundle *b, const tkc_kernel *kernel, uint32_t index, const tkc_argument *a,
                         cJSON *list) {
    tkc_parameter parameter = TKC_PARAMETER_INIT;
    if (tkc_kernel_parameter(kernel, index, &parameter) != TKC_OK) fail("parameter");
    cJSON *to = cJSON_CreateObject();
    cJSON_AddItemToArray(list, to);
    cJSON_AddStringToObject(to, "name", parameter.name);
    if (a->kind == TKC_ARGUMENT_BUFFER) {
        put_buffer(b, a, parameter.dtype, to);
    } else if (a->kind == TKC_ARGUMENT_ADDRESS && a->value.u) {
        cJSON_AddNumberToObject(to, "tensor", (double)(a->value.u >> ADDRESS_SHIFT) - 1);
        cJSON_AddNumberToObject(to, "offset",
                                (double)(a->value.u & (((uint64_t)1 << ADDRESS_SHIFT) - 1)));
    } else if (a->kind == TKC_ARGUMENT_ADDRESS) {
        cJSON_AddNullToObject(to, "value");
    } else if (a->kind == TKC_ARGUMENT_FLOAT) {
        cJSON_AddNumberToObject(to, "float", a->value.f);
    } else {
        cJSON_AddNumberToObject(to, "value", (double)a->value.i);
    }
}

static tkc_status record(void *user, const Call *call, tkc_kernel *kernel, tkc_grid grid) {
    Bundle *b = user;
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    tkc_status status = tkc_kernel_query(kernel, &info);
    if (status != TKC_OK) return status;
    cJSON *launch = cJSON_CreateObject();
    status = write_ptx(b, kernel, launch);
    cJSON_AddItemToArray(b->launches, launch);
    cJSON_AddStringToObject(launch, "file", call->file->path);
    cJSON_AddStringToObject(launch, "kernel", call->kernel);
    cJSON_AddNumberToObject(launch, "num_warps", info.num_warps);
    cJSON_AddNumberToObject(launch, "num_stages", info.num_stages);
    const double extents[] = {(double)grid.x, (double)grid.y, (double)grid.z};
    cJSON_AddItemToObject(launch, "grid", cJSON_CreateDoubleArray(extents, 3));
    cJSON *arguments = cJSON_AddArrayToObject(launch, "arguments");
    for (uint32_t i = 0; i < call->argument_count; i++)
        put_argument(b, kernel, i, &call->arguments[i], arguments);
    cJSON *constants = cJSON_AddObjectToObject(launch, "constants");
    for (uint32_t i = 0; i < call->constant_count; i++)
        cJSON_AddStringToObject(constants, call->constants[i].name, call->constants[i].text);
    return status;
}

/* ---- a case ------------------------------------------------------------------------------------
 */

static void begin(Bundle *b, const char *name, const char *operation) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddItemToArray(b->cases, one);
    cJSON_AddStringToObject(one, "name", b->name = name);
    cJSON_AddStringToObject(one, "operation", operation);
    b->tensors = cJSON_AddArrayToObject(one, "tensors");
    b->scratch = cJSON_AddArrayToObject(one, "scratch");
    b->launches = cJSON_AddArrayToObject(one, "launches");
    b->tensor_count = b->scratch_count = 0;
}

/* A dense tensor of the case. */
static tkk_tensor tensor(Bundle *b, const char *name, tkc_dtype dtype, uint32_t rank,
                         const int64_t *shape) {
    if (++b->tensor_count > MOST_TENSORS) fail("too many tensors");
    cJSON *one = cJSON_CreateObject(), *list = cJSON_CreateArray();
    cJSON_AddItemToArray(b->tensors, one);
    cJSON_AddStringToObject(one, "name", name);
    cJSON_AddStringToObject(one, "dtype", tkc_dtype_name(dtype));
    for (uint32_t i = 0; i < rank; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber((double)shape[i]));
    cJSON_AddItemToObject(one, "shape", list);
    tkc_argument at = tkc_arg_address((uint64_t)b->tensor_count << ADDRESS_SHIFT);
    return rank == 1   ? tkk_vector(at, dtype, shape[0])
           : rank == 2 ? tkk_matrix(at, dtype, shape[0], shape[1])
           : rank == 3 ? tkk_tensor3(at, dtype, shape[0], shape[1], shape[2])
                       : tkk_tensor4(at, dtype, shape[0], shape[1], shape[2], shape[3]);
}

#define TENSOR(b, name, dtype, ...)                                                                \
    tensor((b), (name), (dtype), sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),               \
           (int64_t[]){__VA_ARGS__})

static void end(Bundle *b, tkc_status status) {
    if (status != TKC_OK) fail(b->name);
    if (cJSON_GetArraySize(b->launches) == 0) fail("nothing was launched");
}

static void vector_add(Bundle *b, const char *name, int64_t n) {
    begin(b, name, "vector_add");
    tkk_tensor x = TENSOR(b, "x", TKC_F32, n), y = TENSOR(b, "y", TKC_F32, n),
               out = TENSOR(b, "out", TKC_F32, n);
    end(b, tkk_vector_add(b->library, NULL, &x, &y, &out));
}

static void softmax(Bundle *b, const char *name, int64_t rows, int64_t columns) {
    begin(b, name, "softmax");
    tkk_tensor x = TENSOR(b, "x", TKC_F32, rows, columns),
               out = TENSOR(b, "out", TKC_F32, rows, columns);
    end(b, tkk_softmax_forward(b->library, NULL, &x, &out, NULL));
}

static void matmul(Bundle *b, const char *name, tkc_dtype dtype, int64_t m, int64_t n, int64_t k) {
    begin(b, name, "matmul");
    tkk_tensor a = TENSOR(b, "a", dtype, m, k), w = TENSOR(b, "b", dtype, k, n),
               out = TENSOR(b, "out", dtype, m, n);
    end(b, tkk_matmul(b->library, NULL, &a, &w, &out, NULL));
}

static void attention(Bundle *b, const char *name, bool backward, bool causal, int64_t batch,
                      int64_t heads, int64_t length, int64_t dim) {
    tkk_attention p = TKK_ATTENTION_INIT;
    begin(b, name,
          backward ? causal ? "attention_backward_causal" : "attention_backward"
          : causal ? "attention_causal"
                   : "attention");
    p.mask = causal ? TKK_CAUSAL : TKK_NO_MASK;
    p.scale = dim == 64 ? 0.125f : 0.08838834764f;
    cJSON_AddNumberToObject(cJSON_GetArrayItem(b->cases, cJSON_GetArraySize(b->cases) - 1), "scale",
                            (double)p.scale);
    p.q = TENSOR(b, "q", TKC_F16, batch, heads, length, dim);
    p.k = TENSOR(b, "k", TKC_F16, batch, heads, length, dim);
    p.v = TENSOR(b, "v", TKC_F16, batch, heads, length, dim);
    p.out = TENSOR(b, "out", TKC_F16, batch, heads, length, dim);
    p.lse = TENSOR(b, "lse", TKC_F32, batch, heads, length);
    if (backward) {
        p.dout = TENSOR(b, "dout", TKC_F16, batch, heads, length, dim);
        p.delta = TENSOR(b, "delta", TKC_F32, batch, heads, length);
        p.dq = TENSOR(b, "dq", TKC_F16, batch, heads, length, dim);
        p.dk = TENSOR(b, "dk", TKC_F16, batch, heads, length, dim);
        p.dv = TENSOR(b, "dv", TKC_F16, batch, heads, length, dim);
    }
    end(b, backward ? tkk_attention_backward(b->library, NULL, &p)
                    : tkk_attention_forward(b->library, NULL, &p));
}

static void all(Bundle *b) {
    if (b->small) {
        vector_add(b, "vector_add", 3000);
        softmax(b, "softmax", 7, 300);
        matmul(b, "matmul", TKC_F16, 100, 70, 130);
        matmul(b, "matmul_even", TKC_F16, 128, 128, 128);
        attention(b, "attention_causal", false, true, 1, 2, 128, 64);
        attention(b, "attention_backward", true, true, 1, 2, 128, 64);
        return;
    }
    vector_add(b, "vector_add", 1 << 26);
    softmax(b, "softmax_1024", 8192, 1024);
    softmax(b, "softmax_4096", 8192, 4096);
    matmul(b, "matmul_4096", TKC_F16, 4096, 4096, 4096);
    matmul(b, "matmul_8192", TKC_F16, 8192, 8192, 8192);
    matmul(b, "matmul_bf16", TKC_BF16, 4096, 4096, 4096);
    matmul(b, "matmul_thin", TKC_F16, 256, 256, 16384);
    attention(b, "attention_64", false, false, 4, 32, 4096, 64);
    attention(b, "attention_64_causal", false, true, 4, 32, 4096, 64);
    attention(b, "attention_128", false, false, 4, 16, 4096, 128);
    attention(b, "attention_128_causal", false, true, 4, 16, 4096, 128);
    attention(b, "attention_64_backward", true, false, 4, 32, 4096, 64);
    attention(b, "attention_128_backward", true, true, 4, 16, 4096, 128);
}

int main(int count, char **words) {
    Bundle b = {.cases = cJSON_CreateArray()};
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    tkc_context *context;
    tkc_device *device;
    char name[64], path[1024];
    if (count < 3) return fprintf(stderr, "usage: gpu_bundle TARGET FOLDER [small]\n"), 2;
    b.folder = words[2];
    b.small = count > 3 && strcmp(words[3], "small") == 0;
    options.cache_folder = "";
    snprintf(name, sizeof name, "emu:%.32s", words[1]);
    if (tkc_context_create(&options, &context) || tkc_device_open(context, name, &device) ||
        tkk_create(context, device, &b.library))
        fail(name);
    library_record(b.library, record, &b);
    all(&b);
    snprintf(path, sizeof path, "%s/cases.json", b.folder);
    char *text = cJSON_Print(b.cases);
    FILE *file = fopen(path, "w");
    if (!text || !file || fputs(text, file) < 0 || fclose(file)) return perror(path), 1;
    free(text);
    cJSON_Delete(b.cases);
    tkk_destroy(b.library);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return 0;
}
