/* tkbench_cpu.c: native code beside what a CPU library does, in one run.
 *
 * Every sample is a ratio: the time of theirs divided by ours, taken one after the other, on the
 * same threads. Theirs is sgemm of OpenBLAS (looked for when the measurement runs; no ratio without
 * it) or a plain copy loop, whose bytes are counted as the kernel's: read once, written once.
 */
#include "tools/tkbench.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/host.h"

KERNEL_TEXT(matmul);
KERNEL_TEXT(softmax);
KERNEL_TEXT(vector_add);

typedef struct Problem {
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer *buffers[4];
    tkc_argument arguments[16];
    uint32_t count, threads;
    tkc_grid grid;
    tkc_status status;
} Problem;

static void open_problem(Problem *p, Bench *bench, const char *name, const char *text, size_t size,
                         const char *kernel, const char *constants[][2]) {
    *p = (Problem){0};
    tkc_named named[12];
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    for (; constants[options.constant_count][0]; options.constant_count++)
        named[options.constant_count] =
            (tkc_named){constants[options.constant_count][0], constants[options.constant_count][1]};
    const tkc_named types[] = {{"a", "*fp32:16"},  {"b", "*fp32:16"},  {"c", "*fp32:16"},
                               {"stride_ak", "1"}, {"stride_bn", "1"}, {"stride_cn", "1"}};
    options.path = name;
    options.text = text;
    options.text_size = size;
    options.kernel = kernel;
    options.target = "cpu";
    options.constants = named;
    if (!strcmp(kernel, "matmul")) {
        options.types = types;
        options.type_count = ARRAY_LENGTH(types);
    }
    p->status = tkc_device_open(bench->context, "cpu", &p->device);
    if (p->status == TKC_OK) p->status = tkc_compile(bench->context, &options, &p->kernel, NULL);
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    for (uint32_t i = 0; i < tkc_device_count(bench->context); i++)
        if (tkc_device_describe(bench->context, i, &info) == TKC_OK && !strcmp(info.name, "cpu"))
            p->threads = info.threads;
}

static float *add_buffer(Problem *p, uint64_t count) {
    tkc_buffer **buffer = &p->buffers[p->count];
    static float none[1];
    if (p->status == TKC_OK)
        p->status = tkc_buffer_create(p->device, count * sizeof(float), "tensor", buffer);
    if (p->status != TKC_OK) return none;
    float *data = malloc(count * sizeof(float));
    uint64_t state = p->count + 1;
    for (uint64_t i = 0; data && i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        data[i] = (float)(state >> 40) * 0x1p-23f - 1;
    }
    if (data) p->status = tkc_buffer_write(*buffer, 0, data, count * sizeof(float));
    p->arguments[p->count++] = tkc_arg_buffer(*buffer);
    return data;
}

static void add_int(Problem *p, int64_t value) {
    p->arguments[p->count++] = tkc_arg_i64(value);
}

static tkc_status close_problem(Problem *p, float **data, uint32_t count) {
    const tkc_status status = p->status;
    for (uint32_t i = 0; i < count; i++) free(data[i]);
    for (uint32_t i = 0; i < ARRAY_LENGTH(p->buffers); i++) tkc_buffer_destroy(p->buffers[i]);
    tkc_kernel_destroy(p->kernel);
    tkc_device_destroy(p->device);
    return status;
}

static double run_ours(Problem *p) {
    const double start = now_seconds();
    if (p->status == TKC_OK)
        p->status = tkc_launch(p->kernel, p->device, NULL, p->grid, p->arguments, p->count, NULL);
    return now_seconds() - start;
}

/* ---- sgemm
 * ---------------------------------------------------------------------------------------- */

typedef void Sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                   int lda, const float *b, int ldb, float beta, float *c, int ldc);

/* OpenBLAS's threads look for more to do for a tenth of a second, and keep a processor busy. */
static void let_them_rest(void) {
    const struct timespec enough = {.tv_nsec = 150000000};
    nanosleep(&enough, NULL);
}

static tkc_status run_matmul(Bench *bench, Samples *samples, int side) {
    const char *constants[][2] = {
        {"PRECISION", "'ieee'"}, {"EVEN_MN", "True"}, {"EVEN_K", "True"}, {"BLOCK_M", "256"},
        {"BLOCK_N", "512"},      {"BLOCK_K", "128"},  {NULL, NULL}};
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    Sgemm *sgemm = library ? (Sgemm *)dlsym(library, "cblas_sgemm") : NULL;
    void (*set_threads)(int) =
        library ? (void (*)(int))dlsym(library, "openblas_set_num_threads") : NULL;
    if (!sgemm || !set_threads) {
        samples->wanted = 0;
        return TKC_OK;
    }
    Problem p;
    open_problem(&p, bench, "matmul.tk", matmul_tk, matmul_tk_length, "matmul", constants);
    float *data[3];
    const uint64_t count = (uint64_t)side * (uint64_t)side;
    for (int i = 0; i < 3; i++) data[i] = add_buffer(&p, count);
    for (int i = 0; i < 6; i++) add_int(&p, side);
    p.grid = tkc_grid1(tkc_cdiv(side, 256) * tkc_cdiv(side, 512));
    set_threads((int)p.threads);
    for (int i = 0; p.status == TKC_OK && (i < 2 || !samples_done(samples)); i++) {
        let_them_rest();
        const double ours = run_ours(&p), start = now_seconds();
        sgemm(101, 111, 111, side, side, side, 1, data[0], side, data[1], side, 0, data[2], side);
        const double theirs = now_seconds() - start;
        if (i >= 2) samples_add(samples, theirs / ours, theirs + ours);
    }
    return close_problem(&p, data, 3);
}

tkc_status cpu_matmul_1024(Bench *bench, Samples *samples) {
    return run_matmul(bench, samples, 1024);
}
tkc_status cpu_matmul_2048(Bench *bench, Samples *samples) {
    return run_matmul(bench, samples, 2048);
}

/* ---- copying
 * ---------------------------------------------------------------------------------------- */

typedef struct Copy {
    float *to;
    const float *from;
    uint64_t count;
} Copy;

typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));

__attribute__((optimize("no-tree-loop-distribute-patterns"))) static void *copy_part(void *part) {
    const Copy *c = part;
    for (uint64_t i = 0; i + 16 <= c->count; i += 16)
        *(Vector *)(c->to + i) = *(const Vector *)(c->from + i);
    return NULL;
}

static double run_copy(uint32_t threads, float *to, const float *from, uint64_t count) {
    enum { MOST = 64 };
    pthread_t helpers[MOST];
    Copy parts[MOST];
    if (threads > MOST) threads = MOST;
    const double start = now_seconds();
    for (uint32_t i = 0; i < threads; i++) {
        const uint64_t first = count * i / threads, last = count * (i + 1) / threads;
        parts[i] = (Copy){to + first, from + first, last - first};
        if (i > 0 && pthread_create(&helpers[i], NULL, copy_part, &parts[i])) helpers[i] = 0;
    }
    copy_part(&parts[0]);
    for (uint32_t i = 1; i < threads; i++) {
        if (helpers[i])
            pthread_join(helpers[i], NULL);
        else
            copy_part(&parts[i]);
    }
    return now_seconds() - start;
}

/* `moved`: bytes of the kernel by those of the copy. */
static void take_ratios(Problem *p, Samples *samples, float **data, uint64_t count, double moved) {
    for (int i = 0; p->status == TKC_OK && (i < 2 || !samples_done(samples)); i++) {
        const double ours = run_ours(p);
        const double theirs = run_copy(p->threads, data[1], data[0], count) * moved;
        if (i >= 2) samples_add(samples, theirs / ours, theirs + ours);
    }
}

tkc_status cpu_softmax(Bench *bench, Samples *samples) {
    enum { SIDE = 4096 };
    const char *constants[][2] = {{"BLOCK", "4096"}, {NULL, NULL}};
    Problem p;
    open_problem(&p, bench, "softmax.tk", softmax_tk, softmax_tk_length, "softmax_forward",
                 constants);
    float *data[2];
    for (int i = 0; i < 2; i++) data[i] = add_buffer(&p, (uint64_t)SIDE * SIDE);
    for (int i = 0; i < 9; i++) add_int(&p, SIDE); /* strides, then sizes */
    p.grid = tkc_grid1(SIDE);
    take_ratios(&p, samples, data, (uint64_t)SIDE * SIDE, 1);
    return close_problem(&p, data, 2);
}

tkc_status cpu_vector_add(Bench *bench, Samples *samples) {
    enum { LENGTH = 1 << 24 };
    const char *constants[][2] = {{"BLOCK", "4096"}, {NULL, NULL}};
    Problem p;
    open_problem(&p, bench, "vector_add.tk", vector_add_tk, vector_add_tk_length, "vector_add",
                 constants);
    float *data[3];
    for (int i = 0; i < 3; i++) data[i] = add_buffer(&p, LENGTH);
    add_int(&p, LENGTH);
    p.grid = tkc_grid1(LENGTH / 4096);
    take_ratios(&p, samples, data, LENGTH, 1.5);
    return close_problem(&p, data, 3);
}

/* Mean and variance in two passes over what was loaded once. */
static const char layer_norm_text[] =
    "import triton\n"
    "import triton.language as tl\n"
    "\n"
    "@triton.jit\n"
    "def layer_norm(x: '*fp32:16', y: '*fp32:16', scale: '*fp32:16', shift: '*fp32:16',\n"
    "               columns: 'i32', epsilon: 'fp32', BLOCK: tl.constexpr):\n"
    "    start = tl.program_id(0).to(tl.int64) * columns\n"
    "    column = tl.arange(0, BLOCK)\n"
    "    inside = column < columns\n"
    "    value = tl.load(x + start + column, mask=inside, other=0.0)\n"
    "    mean = tl.sum(value, axis=0) / columns\n"
    "    centred = tl.where(inside, value - mean, 0.0)\n"
    "    variance = tl.sum(centred * centred, axis=0) / columns\n"
    "    normal = centred * (1.0 / tl.sqrt(variance + epsilon))\n"
    "    factor = tl.load(scale + column, mask=inside)\n"
    "    result = normal * factor + tl.load(shift + column, mask=inside)\n"
    "    tl.store(y + start + column, result, mask=inside)\n";

tkc_status cpu_layer_norm(Bench *bench, Samples *samples) {
    enum { SIDE = 4096 };
    const char *constants[][2] = {{"BLOCK", "4096"}, {NULL, NULL}};
    Problem p;
    open_problem(&p, bench, "layer_norm.tk", layer_norm_text, sizeof layer_norm_text - 1,
                 "layer_norm", constants);
    float *data[4];
    for (int i = 0; i < 4; i++)
        data[i] = add_buffer(&p, i < 2 ? (uint64_t)SIDE * SIDE : (uint64_t)SIDE);
    add_int(&p, SIDE);
    p.arguments[p.count++] = tkc_arg_f32(1e-5f);
    p.grid = tkc_grid1(SIDE);
    take_ratios(&p, samples, data, (uint64_t)SIDE * SIDE, 1);
    return close_problem(&p, data, 4);
}

/* ---- calls: what a small problem takes, from the call to the return ---- */

typedef struct Calls {
    tkc_device *device;
    tkk_library *library;
    tkc_kernel *empty;
    tkc_buffer *buffers[3];
    tkc_status status;
} Calls;

enum { CALL_ARGUMENTS = 19 };

static void open_calls(Calls *c, Bench *bench) {
    static const char empty[] =
        "import triton\nimport triton.language as tl\n\n@triton.jit\n"
        "def empty(a: '*fp32', b: '*fp32', c: '*fp32', d: '*fp32', e: '*fp32', f: '*fp32',\n"
        "          g: 'i32', h: 'i32', i: 'i32', j: 'i32', k: 'i32', l: 'i32', m: 'i32',\n"
        "          n: 'i32', o: 'i32', p: 'i32', q: 'i32', r: 'i32', s: 'fp32'):\n    pass\n";
    *c = (Calls){0};
    c->status = tkc_device_open(bench->context, "cpu", &c->device);
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = "empty.tk";
    options.text = empty;
    options.text_size = sizeof empty - 1;
    options.target = "cpu";
    if (c->status == TKC_OK) c->status = tkk_create(bench->context, c->device, &c->library);
    if (c->status == TKC_OK) c->status = tkc_compile(bench->context, &options, &c->empty, NULL);
    static const uint32_t half = 0x3f000000;
    for (uint32_t i = 0; i < ARRAY_LENGTH(c->buffers) && c->status == TKC_OK; i++) {
        c->status = tkc_buffer_create(c->device, 1 << 20, "tensor", &c->buffers[i]);
        if (c->status == TKC_OK)
            c->status = tkc_buffer_fill(c->buffers[i], 0, 1 << 20, &half, sizeof half);
    }
}

static tkc_status call_empty(Calls *c) {
    tkc_argument arguments[CALL_ARGUMENTS];
    for (uint32_t i = 0; i < CALL_ARGUMENTS; i++)
        arguments[i] = i < 6 ? tkc_arg_buffer(c->buffers[i % 3]) : tkc_arg_i64(i);
    arguments[CALL_ARGUMENTS - 1] = tkc_arg_f32(1);
    return tkc_launch(c->empty, c->device, NULL, tkc_grid1(1), arguments, CALL_ARGUMENTS, NULL);
}

static tkk_tensor matrix_of(const Calls *c, uint32_t buffer, int64_t rows, int64_t columns) {
    return tkk_matrix(tkc_arg_buffer(c->buffers[buffer]), TKC_F32, rows, columns);
}

static tkc_status call_matmul(Calls *c) {
    tkk_matmul_options options = TKK_MATMUL_OPTIONS_INIT;
    options.precision = TKK_IEEE;
    const tkk_tensor x = matrix_of(c, 0, 32, 64), w = matrix_of(c, 1, 64, 128);
    const tkk_tensor y = matrix_of(c, 2, 32, 128);
    return tkk_matmul(c->library, NULL, &x, &w, &y, &options);
}

static tkc_status call_softmax(Calls *c) {
    const tkk_tensor x = matrix_of(c, 0, 128, 64), y = matrix_of(c, 1, 128, 64);
    return tkk_softmax_forward(c->library, NULL, &x, &y, NULL);
}

/* A sample is the mean of many calls: one is shorter than the clock is exact. */
static tkc_status time_calls(Bench *bench, Samples *samples, tkc_status (*call)(Calls *c)) {
    enum { MANY = 1000 };
    Calls c;
    open_calls(&c, bench);
    for (int i = 0; i < MANY && c.status == TKC_OK; i++) c.status = call(&c);
    while (c.status == TKC_OK && !samples_done(samples)) {
        const double start = now_seconds();
        for (int i = 0; i < MANY && c.status == TKC_OK; i++) c.status = call(&c);
        const double seconds = now_seconds() - start;
        samples_add(samples, seconds * 1e6 / MANY, seconds);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(c.buffers); i++) tkc_buffer_destroy(c.buffers[i]);
    tkc_kernel_destroy(c.empty);
    tkk_destroy(c.library);
    tkc_device_destroy(c.device);
    return c.status;
}

tkc_status cpu_call_empty(Bench *bench, Samples *samples) {
    return time_calls(bench, samples, call_empty);
}
tkc_status cpu_call_matmul(Bench *bench, Samples *samples) {
    return time_calls(bench, samples, call_matmul);
}
tkc_status cpu_call_softmax(Bench *bench, Samples *samples) {
    return time_calls(bench, samples, call_softmax);
}

/* ---- making native code ---- */

/* Compiles what a host chooses, and does not run it (the sum of two vectors: of one program). */
typedef tkc_status Maker(tkk_library *library, tkc_argument memory);

static tkc_status make_vector_add(tkk_library *library, tkc_argument memory) {
    const tkk_tensor x = tkk_vector(memory, TKC_F32, 1024);
    return tkk_vector_add(library, NULL, &x, &x, &x);
}

static tkc_status make_attention(tkk_library *library, tkc_argument memory, bool backward) {
    tkk_attention p = TKK_ATTENTION_INIT;
    p.compile_only = true;
    p.q = p.k = p.v = p.out = p.dout = p.dq = p.dk = p.dv =
        tkk_tensor4(memory, TKC_F32, 4, 16, 4096, 64);
    p.lse = p.delta = tkk_tensor3(memory, TKC_F32, 4, 16, 4096);
    tkc_status status = tkk_attention_forward(library, NULL, &p);
    if (status == TKC_OK && backward) status = tkk_attention_backward(library, NULL, &p);
    return status;
}

static tkc_status make_forward(tkk_library *library, tkc_argument memory) {
    return make_attention(library, memory, false);
}

static tkc_status make_all(tkk_library *library, tkc_argument memory) {
    return make_attention(library, memory, true);
}

static double processor_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Milliseconds of processor time from text to code that can be called. The first is not counted:
 * LLVM's pages come in then. */
static tkc_status time_maker(Samples *samples, Maker *maker) {
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.cache_folder = "";
    tkc_context *context = NULL;
    tkc_device *device = NULL;
    tkc_buffer *buffer = NULL;
    tkc_status status = tkc_context_create(&options, &context);
    if (status == TKC_OK) status = tkc_device_open(context, "cpu", &device);
    if (status == TKC_OK) status = tkc_buffer_create(device, 1 << 16, "memory", &buffer);
    for (int i = 0; status == TKC_OK && (i < 1 || !samples_done(samples)); i++) {
        tkk_library *library;
        status = tkk_create(context, device, &library);
        if (status != TKC_OK) break;
        const double start = processor_seconds();
        status = maker(library, tkc_arg_buffer(buffer));
        const double seconds = processor_seconds() - start;
        tkk_destroy(library);
        if (i >= 1) samples_add(samples, seconds * 1e3, seconds);
    }
    tkc_buffer_destroy(buffer);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return status;
}

tkc_status cpu_make_vector_add(Bench *bench, Samples *samples) {
    (void)bench;
    return time_maker(samples, make_vector_add);
}
tkc_status cpu_make_forward(Bench *bench, Samples *samples) {
    (void)bench;
    return time_maker(samples, make_forward);
}
tkc_status cpu_make_attention(Bench *bench, Samples *samples) {
    (void)bench;
    return time_maker(samples, make_all);
}
