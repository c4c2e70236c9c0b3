/* tkbench_suites.c: the measurements themselves.
 *
 *   interp     what kernels of kernels/ reach on the device (the interpreter, unless told another)
 *   cpu        the same on the fast CPU device, beside OpenBLAS and a copy loop
 *   dot        products on the CPU device, with their share of the peak (tkbench_cpu_dot.c)
 *   emu        the PTX emulator
 *   compile    text to PTX (tkbench_compile.c)
 *   frontend   source text to canonical IR, all typed kernels of a file, in process
 */
#include "tools/tkbench.h"

#include <stdlib.h>

#include "kernels/host.h"

KERNEL_TEXT(vector_add);
KERNEL_TEXT(softmax);
KERNEL_TEXT(matmul);
KERNEL_TEXT(attention);
KERNEL_TEXT(attention_2022);

/* ---- tensors --------------------------------------------------------------------------------- */

enum { MOST_TENSORS = 16 };

/* Tensors of one measurement; after the first failure all further calls do nothing. */
typedef struct Tensors {
    Bench *bench;
    tkc_buffer *buffers[MOST_TENSORS];
    uint32_t count;
    tkc_status status;
} Tensors;

/* Numbers in [-scale, scale), the same in every run. */
static tkc_status fill_random(tkc_buffer *buffer, tkc_dtype dtype, uint64_t count, double scale,
                              uint64_t seed) {
    enum { CHUNK = 4096 };
    double numbers[CHUNK];
    char bytes[CHUNK * 8];
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1, size = tkc_dtype_size(dtype);
    tkc_status status = TKC_OK;
    for (uint64_t i = 0; i < count && status == TKC_OK; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        for (uint64_t j = 0; j < n; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            numbers[j] = scale * ((double)(state >> 11) * 0x1p-52 - 1);
        }
        tkc_encode(dtype, numbers, bytes, n);
        status = tkc_buffer_write(buffer, i * size, bytes, n * size);
    }
    return status;
}

/* A buffer of `count` elements: random, or zeros when scale is 0. */
static tkc_argument new_tensor(Tensors *tensors, const char *name, tkc_dtype dtype, uint64_t count,
                               double scale) {
    static const uint8_t zero = 0;
    tkc_buffer *buffer = NULL;
    uint64_t size = count * tkc_dtype_size(dtype);
    if (tensors->status != TKC_OK) return tkc_arg_address(0);
    tensors->status = tkc_buffer_create(tensors->bench->device, size, name, &buffer);
    if (tensors->status != TKC_OK) return tkc_arg_address(0);
    tensors->buffers[tensors->count++] = buffer;
    tensors->status = scale == 0 ? tkc_buffer_fill(buffer, 0, size, &zero, 1)
                                 : fill_random(buffer, dtype, count, scale, tensors->count);
    return tkc_arg_buffer(buffer);
}

static tkc_status free_tensors(Tensors *tensors) {
    for (uint32_t i = 0; i < tensors->count; i++) tkc_buffer_destroy(tensors->buffers[i]);
    return tensors->status;
}

/* Runs `once` (after one run that also compiles) and takes amount / seconds, or the seconds. */
static void take_samples(Tensors *tensors, Samples *samples, double amount,
                         tkc_status (*once)(Tensors *tensors, void *problem), void *problem) {
    if (tensors->status == TKC_OK) tensors->status = once(tensors, problem);
    while (tensors->status == TKC_OK && !samples_done(samples)) {
        double start = now_seconds();
        tensors->status = once(tensors, problem);
        if (tensors->status == TKC_OK)
            tensors->status = tkc_device_synchronize(tensors->bench->device);
        double seconds = now_seconds() - start;
        if (tensors->status == TKC_OK)
            samples_add(samples, amount > 0 ? amount / seconds : seconds, seconds);
    }
}

/* ---- vector add, matmul ---------------------------------------------------------------------- */

typedef struct ThreeTensors {
    tkk_tensor a, b, c;
} ThreeTensors;

static tkc_status add_once(Tensors *tensors, void *problem) {
    ThreeTensors *t = problem;
    return tkk_vector_add(tensors->bench->library, NULL, &t->a, &t->b, &t->c);
}

static tkc_status run_vector_add(Bench *bench, Samples *samples) {
    enum { LENGTH = 1 << 24 };
    Tensors tensors = {.bench = bench};
    ThreeTensors t;
    t.a = tkk_vector(new_tensor(&tensors, "x", TKC_F32, LENGTH, 1), TKC_F32, LENGTH);
    t.b = tkk_vector(new_tensor(&tensors, "y", TKC_F32, LENGTH, 1), TKC_F32, LENGTH);
    t.c = tkk_vector(new_tensor(&tensors, "out", TKC_F32, LENGTH, 0), TKC_F32, LENGTH);
    take_samples(&tensors, samples, 3.0 * LENGTH * sizeof(float) / 1e9, add_once, &t);
    return free_tensors(&tensors);
}

static tkc_status matmul_once(Tensors *tensors, void *problem) {
    ThreeTensors *t = problem;
    return tkk_matmul(tensors->bench->library, NULL, &t->a, &t->b, &t->c, NULL);
}

static tkc_status run_matmul(Bench *bench, Samples *samples) {
    enum { SIDE = 1024 };
    Tensors tensors = {.bench = bench};
    ThreeTensors t;
    uint64_t count = (uint64_t)SIDE * SIDE;
    t.a = tkk_matrix(new_tensor(&tensors, "a", TKC_F16, count, 1), TKC_F16, SIDE, SIDE);
    t.b = tkk_matrix(new_tensor(&tensors, "b", TKC_F16, count, 1), TKC_F16, SIDE, SIDE);
    t.c = tkk_matrix(new_tensor(&tensors, "c", TKC_F16, count, 0), TKC_F16, SIDE, SIDE);
    take_samples(&tensors, samples, 2.0 * SIDE * SIDE * SIDE / 1e9, matmul_once, &t);
    return free_tensors(&tensors);
}

/* ---- attention: the problem of the tutorial's test, forward and backward
 * --------------------------- */

enum { BATCH = 3, HEADS = 2, LENGTH = 2048, HEAD_DIM = 64 };
static const float attention_scale = 0.3f;

static tkk_tensor attention_tensor(Tensors *tensors, const char *name, tkc_dtype dtype,
                                   double scale) {
    uint64_t count = (uint64_t)BATCH * HEADS * LENGTH * HEAD_DIM;
    return tkk_tensor4(new_tensor(tensors, name, dtype, count, scale), dtype, BATCH, HEADS, LENGTH,
                       HEAD_DIM);
}

static tkk_tensor row_tensor(Tensors *tensors, const char *name) {
    uint64_t count = (uint64_t)BATCH * HEADS * LENGTH;
    return tkk_tensor3(new_tensor(tensors, name, TKC_F32, count, 0), TKC_F32, BATCH, HEADS, LENGTH);
}

static tkc_status attention_once(Tensors *tensors, void *problem) {
    tkk_library *library = tensors->bench->library;
    tkc_status status = tkk_attention_forward(library, NULL, problem);
    return status == TKC_OK ? tkk_attention_backward(library, NULL, problem) : status;
}

static tkc_status run_attention(Bench *bench, Samples *samples) {
    Tensors tensors = {.bench = bench};
    tkk_attention problem = TKK_ATTENTION_INIT;
    problem.mask = TKK_CAUSAL;
    problem.scale = attention_scale;
    problem.q = attention_tensor(&tensors, "q", TKC_F16, 0.8);
    problem.k = attention_tensor(&tensors, "k", TKC_F16, 0.8);
    problem.v = attention_tensor(&tensors, "v", TKC_F16, 0.8);
    problem.out = attention_tensor(&tensors, "out", TKC_F16, 0);
    problem.lse = row_tensor(&tensors, "lse");
    problem.dout = attention_tensor(&tensors, "dout", TKC_F16, 0.8);
    problem.delta = row_tensor(&tensors, "delta");
    problem.dq = attention_tensor(&tensors, "dq", TKC_F16, 0);
    problem.dk = attention_tensor(&tensors, "dk", TKC_F16, 0);
    problem.dv = attention_tensor(&tensors, "dv", TKC_F16, 0);
    take_samples(&tensors, samples, 0, attention_once, &problem);
    return free_tensors(&tensors);
}

static tkc_status attention_2022_once(Tensors *tensors, void *problem) {
    static const uint8_t zero = 0;
    tkk_library *library = tensors->bench->library;
    tkk_attention_2022 *p = problem;
    tkc_buffer *dq = p->dq.data.value.buffer;
    tkc_status status = tkc_buffer_fill(dq, 0, tkc_buffer_size(dq), &zero, 1);
    if (status == TKC_OK) status = tkk_attention_2022_forward(library, NULL, problem);
    return status == TKC_OK ? tkk_attention_2022_backward(library, NULL, problem) : status;
}

static tkc_status run_attention_2022(Bench *bench, Samples *samples) {
    Tensors tensors = {.bench = bench};
    tkk_attention_2022 problem = TKK_ATTENTION_2022_INIT;
    problem.scale = attention_scale;
    problem.q = attention_tensor(&tensors, "q", TKC_F16, 0.8);
    problem.k = attention_tensor(&tensors, "k", TKC_F16, 0.8);
    problem.v = attention_tensor(&tensors, "v", TKC_F16, 0.8);
    problem.out = attention_tensor(&tensors, "out", TKC_F16, 0);
    problem.tmp = row_tensor(&tensors, "tmp");
    problem.l = row_tensor(&tensors, "l");
    problem.m = row_tensor(&tensors, "m");
    problem.dout = attention_tensor(&tensors, "dout", TKC_F16, 0.8);
    problem.new_dout = attention_tensor(&tensors, "new_dout", TKC_F16, 0);
    problem.delta = row_tensor(&tensors, "delta");
    problem.dq = attention_tensor(&tensors, "dq", TKC_F32, 0);
    problem.dk = attention_tensor(&tensors, "dk", TKC_F16, 0);
    problem.dv = attention_tensor(&tensors, "dv", TKC_F16, 0);
    take_samples(&tensors, samples, 0, attention_2022_once, &problem);
    return free_tensors(&tensors);
}

/* ---- the front end
 * ------------------------------------------------------------------------------------ */

enum { MOST_KERNELS = 16 };

typedef struct SourceFile {
    const char *path, *text;
    size_t size;
    const char *kernels[MOST_KERNELS];
    uint32_t count;
} SourceFile;

/* Functions whose run-time parameters all have a type; the others are helpers. */
static tkc_status find_kernels(Bench *bench, SourceFile *file) {
    tkc_source *source;
    const char *function;
    tkc_status status =
        tkc_source_open(bench->context, file->path, file->text, file->size, &source, NULL, NULL);
    if (status != TKC_OK) return status;
    for (uint32_t i = 0; (function = tkc_source_function(source, i)); i++) {
        tkc_source_parameter parameter = TKC_SOURCE_PARAMETER_INIT;
        bool typed = false, untyped = false;
        for (uint32_t j = 0; tkc_source_parameter_at(source, function, j, &parameter) == TKC_OK;
             j++) {
            typed |= parameter.type && !parameter.is_constexpr;
            untyped |= !parameter.type && !parameter.default_value && !parameter.is_constexpr;
        }
        if (typed && !untyped && file->count < MOST_KERNELS)
            file->kernels[file->count++] = arena_strdup(bench->arena, function);
    }
    tkc_source_destroy(source);
    if (file->count == 0)
        return tkc_fail(TKC_INTERNAL, "tkbench: %s has no kernel whose types are known.",
                        file->path);
    return TKC_OK;
}

static tkc_status compile_kernels(Bench *bench, const SourceFile *file) {
    for (uint32_t i = 0; i < file->count; i++) {
        tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
        tkc_kernel *kernel;
        options.path = file->path;
        options.text = file->text;
        options.text_size = file->size;
        options.kernel = file->kernels[i];
        tkc_status status = tkc_compile(bench->context, &options, &kernel, NULL);
        if (status != TKC_OK) return status;
        tkc_kernel_destroy(kernel);
    }
    return TKC_OK;
}

static tkc_status compile_file(Bench *bench, Samples *samples, const char *path, const char *text,
                               size_t size) {
    SourceFile file = {.path = path, .text = text, .size = size};
    tkc_status status = find_kernels(bench, &file);
    samples->wanted = bench->quick ? 5 : MOST_SAMPLES; /* short: a median of many costs nothing */
    if (status == TKC_OK) status = compile_kernels(bench, &file);
    while (status == TKC_OK && !samples_done(samples)) {
        double start = now_seconds();
        status = compile_kernels(bench, &file);
        double seconds = now_seconds() - start;
        if (status == TKC_OK) samples_add(samples, seconds * 1e3, seconds);
    }
    return status;
}

#define FRONTEND(name)                                                                             \
    static tkc_status compile_##name(Bench *bench, Samples *samples) {                             \
        return compile_file(bench, samples, "kernels/" #name ".tk", name##_tk, name##_tk_length);  \
    }
FRONTEND(attention)
FRONTEND(attention_2022)
FRONTEND(matmul)
FRONTEND(softmax)
FRONTEND(vector_add)

/* clang-format off */
const Measurement measurements[] = {
    {"interp", "vector add, 2^24 f32", "GB/s", true, 2, run_vector_add},
    {"interp", "matmul 1024^3 f16", "GFLOP/s", true, 15, run_matmul},
    {"interp", "attention, forward + backward", "s", false, 4, run_attention},
    {"interp", "attention of 2022, fwd + bwd", "s", false, 4, run_attention_2022},
    {"cpu", "matmul 1024^3 f32, by OpenBLAS", "x", true, 0.9, cpu_matmul_1024},
    {"cpu", "matmul 2048^3 f32, by OpenBLAS", "x", true, 0.9, cpu_matmul_2048},
    {"cpu", "softmax 4096x4096 f32, by copy", "x", true, 0.85, cpu_softmax},
    {"cpu", "layer norm 4096x4096 f32, by copy", "x", true, 0.85, cpu_layer_norm},
    {"cpu", "vector add 2^24 f32, by copy", "x", true, 0.95, cpu_vector_add},
    {"cpu", "JIT: vector add", "ms", false, 10, cpu_make_vector_add},
    {"cpu", "JIT: attention forward f32", "ms", false, 60, cpu_make_forward},
    {"cpu", "JIT: attention, all 4 kernels, f32", "ms", false, 200, cpu_make_attention},
    {"cpu", "launch: empty, 19 arguments", "us", false, 1, cpu_call_empty},
    {"cpu", "call: tkk_matmul 32x64x128 f32", "us", false, 14, cpu_call_matmul},
    {"cpu", "call: tkk_softmax 128x64 f32", "us", false, 9, cpu_call_softmax},
    {"emu", "plain code, checked", "M/s", true, 100, emu_plain},
    {"emu", "mma.sync f16", "GFLOP/s", true, 4, emu_mma},
    {"emu", "wgmma bf16", "GFLOP/s", true, 4, emu_wgmma},
    {"emu", "matmul 256^3 f16, sm_80 PTX", "s", false, 0.3, emu_matmul_256},
    {"frontend", "attention.tk, text to IR", "ms", false, 10, compile_attention},
    {"frontend", "attention_2022.tk", "ms", false, 0, compile_attention_2022},
    {"frontend", "matmul.tk", "ms", false, 0, compile_matmul},
    {"frontend", "softmax.tk", "ms", false, 0, compile_softmax},
    {"frontend", "vector_add.tk", "ms", false, 0, compile_vector_add},
    {0},
};
/* clang-format on */
