/* tkbench_cpu_dot.c: what products reach on the CPU device: attention, matmul, linear layers, in
 * floating-point operations a second, as libraries count them (a masked half is not counted).
 *
 * Beside each stands what the machine could do at most with that dtype: all threads do nothing but
 * independent fused multiply-adds, or products of pairs of bf16 or quads of i8, in registers.
 * tools/bench_torch.py runs the same problems in PyTorch.
 */
#include "tools/tkbench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- the most there could be --------------------------------------------------------- */

typedef struct Peak {
    const char *name;
    bool (*is_there)(void);
    void (*run)(uint64_t turns);
    double operations; /* a turn */
} Peak;

enum { SUMS = 12 };

#if defined(__x86_64__)
#define EACH(do_sum)                                                                               \
    do_sum(0) do_sum(1) do_sum(2) do_sum(3) do_sum(4) do_sum(5) do_sum(6) do_sum(7) do_sum(8)      \
        do_sum(9) do_sum(10) do_sum(11)

/* Sums have names, as an array would lie in memory; the empty assembly keeps every turn. */
#define DECLARE(i) sum##i,
#define START(i) sum##i = start;
#define NEXT(i)                                                                                    \
    sum##i = ADD(sum##i);                                                                          \
    __asm__ volatile("" : "+v"(sum##i));
#define PEAK(name, features, Sum, one)                                                             \
    __attribute__((target(features))) static void name(uint64_t turns) {                           \
        const Sum start = one;                                                                     \
        Sum EACH(DECLARE) last = start;                                                            \
        EACH(START)                                                                                \
        for (uint64_t turn = 0; turn < turns; turn++) {                                            \
            EACH(NEXT)                                                                             \
        }                                                                                          \
        __asm__ volatile("" : "+v"(last));                                                         \
    }

#define ADD(sum) _mm512_fmadd_ps(start, start, sum)
PEAK(fma_512, "avx512f", __m512, _mm512_set1_ps(0.5f))
#undef ADD
#define ADD(sum) _mm256_fmadd_ps(start, start, sum)
PEAK(fma_256, "avx2,fma", __m256, _mm256_set1_ps(0.5f))
#undef ADD
#define ADD(sum) _mm512_dpbf16_ps(sum, (__m512bh)start, (__m512bh)start)
PEAK(pairs_512, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0.5f))
#undef ADD
#define ADD(sum) _mm512_dpbusd_epi32(sum, start, start)
PEAK(quads_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi8(1))

static bool has_512(void) {
    return __builtin_cpu_supports("avx512f");
}
static bool has_256(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool has_pairs(void) {
    return has_512() && __builtin_cpu_supports("avx512bf16");
}
static bool has_quads(void) {
    return has_512() && __builtin_cpu_supports("avx512vnni");
}
#endif

/* The first of a kind that is there counts. */
static const Peak f32_peaks[] = {
#if defined(__x86_64__)
    {"fused multiply-add, 512 bits", has_512, fma_512, SUMS * 32.0},
    {"fused multiply-add, 256 bits", has_256, fma_256, SUMS * 16.0},
#endif
    {0}};
static const Peak bf16_peaks[] = {
#if defined(__x86_64__)
    {"pairs of bf16, 512 bits", has_pairs, pairs_512, SUMS * 64.0},
    {"fused multiply-add, 512 bits", has_512, fma_512, SUMS * 32.0},
    {"fused multiply-add, 256 bits", has_256, fma_256, SUMS * 16.0},
#endif
    {0}};

static const Peak i8_peaks[] = {
#if defined(__x86_64__)
    {"quads of i8, 512 bits", has_quads, quads_512, SUMS * 128.0},
#endif
    {0}};

static const Peak *peak_of(tkc_dtype dtype) {
    const Peak *peak = dtype == TKC_BF16 ? bf16_peaks : dtype == TKC_I8 ? i8_peaks : f32_peaks;
    while (peak->name && !peak->is_there()) peak++;
    return peak->name ? peak : NULL;
}

enum { PEAK_TURNS = 4000000 / SUMS, MOST_THREADS = 256 };

static void *run_peak(void *peak) {
    ((const Peak *)peak)->run(PEAK_TURNS);
    return NULL;
}

/* GFLOP/s of all threads; 0 where it is not known. The best of a few: nothing makes it faster than
 * it is. */
static double measure_peak(tkc_dtype dtype, uint32_t threads) {
    const Peak *peak = peak_of(dtype);
    pthread_t helpers[MOST_THREADS];
    double best = 0;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    for (int turn = 0; peak && turn < 5; turn++) {
        uint32_t started = 0;
        const double start = now_seconds();
        while (started + 1 < threads &&
               pthread_create(&helpers[started], NULL, run_peak, (void *)(uintptr_t)peak) == 0)
            started++;
        peak->run(PEAK_TURNS);
        for (uint32_t i = 0; i < started; i++) pthread_join(helpers[i], NULL);
        const double seconds = now_seconds() - start;
        const double rate = (started + 1) * peak->operations * PEAK_TURNS / seconds / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- problems --------------------------------------------------------------------------- */

enum { MOST_TENSORS = 16 };

/* One problem; after the first failure all further calls do nothing. */
typedef struct Products {
    tkc_device *device;
    tkk_library *library;
    tkc_buffer *buffers[MOST_TENSORS];
    uint32_t count, threads;
    tkc_status status;
    tkk_attention attention;
    tkk_linear linear;
    tkk_tensor a, b, c;
    tkk_matmul_options options;
} Products;

static void open_products(Products *p, Bench *bench) {
    *p = (Products){.attention = TKK_ATTENTION_INIT,
                    .linear = TKK_LINEAR_INIT,
                    .options = TKK_MATMUL_OPTIONS_INIT};
    p->status = tkc_device_open(bench->context, "cpu", &p->device);
    if (p->status == TKC_OK) p->status = tkk_create(bench->context, p->device, &p->library);
    if (p->status == TKC_OK) p->threads = tkc_device_processors(p->device);
}

static tkc_status close_products(Products *p) {
    for (uint32_t i = 0; i < p->count; i++) tkc_buffer_destroy(p->buffers[i]);
    tkk_destroy(p->library);
    tkc_device_destroy(p->device);
    return p->status;
}

/* Numbers in [-1, 1), of i8 in [-127, 127), the same in every run. */
static tkc_argument new_data(Products *p, tkc_dtype dtype, int64_t count) {
    enum { CHUNK = 4096 };
    double numbers[CHUNK];
    char bytes[CHUNK * sizeof(double)];
    const uint64_t size = tkc_dtype_size(dtype);
    const double scale = dtype == TKC_I8 ? 127 : 1;
    uint64_t state = p->count + 1;
    if (p->status != TKC_OK) return tkc_arg_address(0);
    tkc_buffer **buffer = &p->buffers[p->count];
    p->status = tkc_buffer_create(p->device, (uint64_t)count * size, "tensor", buffer);
    if (p->status != TKC_OK) return tkc_arg_address(0);
    p->count++;
    for (int64_t i = 0; i < count && p->status == TKC_OK; i += CHUNK) {
        const int64_t n = count - i < CHUNK ? count - i : CHUNK;
        for (int64_t j = 0; j < n; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            numbers[j] = scale * ((double)(state >> 11) * 0x1p-52 - 1);
        }
        tkc_encode(dtype, numbers, bytes, (uint64_t)n);
        p->status = tkc_buffer_write(*buffer, (uint64_t)i * size, bytes, (uint64_t)n * size);
    }
    return tkc_arg_buffer(*buffer);
}

static tkk_tensor new_matrix(Products *p, tkc_dtype dtype, int64_t rows, int64_t columns) {
    return tkk_matrix(new_data(p, dtype, rows * columns), dtype, rows, columns);
}

/* Short problems many times a sample: one is shorter than the clock is exact. */
static void take_samples(Products *p, Samples *samples, tkc_dtype dtype, double operations,
                         tkc_status (*once)(Products *p)) {
    for (int i = 0; i < 2 && p->status == TKC_OK; i++) p->status = once(p);
    const double first = now_seconds();
    if (p->status == TKC_OK) p->status = once(p);
    const double turns_wanted = 2e-3 / (now_seconds() - first);
    const uint32_t turns = turns_wanted > 1000 ? 1000
                           : turns_wanted > 1  ? (uint32_t)turns_wanted
                                               : 1;
    if (p->status == TKC_OK) samples->peak = measure_peak(dtype, p->threads);
    while (p->status == TKC_OK && !samples_done(samples)) {
        const double start = now_seconds();
        for (uint32_t i = 0; i < turns && p->status == TKC_OK; i++) p->status = once(p);
        const double seconds = now_seconds() - start;
        samples_add(samples, turns * operations / seconds / 1e9, seconds);
    }
}

/* ---- attention -------------------------------------------------------------------------- */

enum { BATCH = 4, HEADS = 8, LENGTH = 2048, DIM = 64 };

static tkk_tensor new_heads(Products *p, tkc_dtype dtype) {
    const int64_t count = (int64_t)BATCH * HEADS * LENGTH * DIM;
    return tkk_tensor4(new_data(p, dtype, count), dtype, BATCH, HEADS, LENGTH, DIM);
}

static tkk_tensor new_state(Products *p) {
    const int64_t count = (int64_t)BATCH * HEADS * LENGTH;
    return tkk_tensor3(new_data(p, TKC_F32, count), TKC_F32, BATCH, HEADS, LENGTH);
}

static tkc_status forward_once(Products *p) {
    return tkk_attention_forward(p->library, NULL, &p->attention);
}
static tkc_status backward_once(Products *p) {
    return tkk_attention_backward(p->library, NULL, &p->attention);
}

/* Two products forward, five backward, of 2 LENGTH^2 DIM operations a head. f32 in full: tf32 is
 * for GPUs. */
static tkc_status run_attention(Bench *bench, Samples *samples, tkc_dtype dtype, bool causal,
                                bool backward) {
    Products p;
    open_products(&p, bench);
    tkk_attention *a = &p.attention;
    a->mask = causal ? TKK_CAUSAL : TKK_NO_MASK;
    a->scale = 0.125f;
    if (dtype == TKC_F32) a->precision = TKK_IEEE;
    tkk_tensor *tensors[] = {&a->q, &a->k, &a->v, &a->out, &a->dout, &a->dq, &a->dk, &a->dv};
    for (int i = 0; i < (backward ? 8 : 4); i++) *tensors[i] = new_heads(&p, dtype);
    a->lse = new_state(&p);
    if (backward) a->delta = new_state(&p);
    if (backward && p.status == TKC_OK) p.status = forward_once(&p);
    double product = 2.0 * BATCH * HEADS * DIM * LENGTH * LENGTH;
    if (causal) product /= 2;
    take_samples(&p, samples, dtype, product * (backward ? 5 : 2),
                 backward ? backward_once : forward_once);
    return close_products(&p);
}

#define ATTENTION(name, dtype, causal, backward)                                                   \
    static tkc_status name(Bench *bench, Samples *samples) {                                       \
        return run_attention(bench, samples, dtype, causal, backward);                             \
    }
ATTENTION(forward_f32, TKC_F32, false, false)
ATTENTION(forward_f32_causal, TKC_F32, true, false)
ATTENTION(forward_bf16, TKC_BF16, false, false)
ATTENTION(forward_bf16_causal, TKC_BF16, true, false)
ATTENTION(forward_f16, TKC_F16, false, false)
ATTENTION(forward_f16_causal, TKC_F16, true, false)
ATTENTION(backward_f32, TKC_F32, false, true)
ATTENTION(backward_f32_causal, TKC_F32, true, true)
ATTENTION(backward_bf16, TKC_BF16, false, true)
ATTENTION(backward_bf16_causal, TKC_BF16, true, true)

/* ---- matmul ------------------------------------------------------------------------------- */

static tkc_status matmul_once(Products *p) {
    return tkk_matmul(p->library, NULL, &p->a, &p->b, &p->c, &p->options);
}

static tkc_status run_square(Bench *bench, Samples *samples, tkc_dtype dtype, int64_t side) {
    Products p;
    open_products(&p, bench);
    p.a = new_matrix(&p, dtype, side, side);
    p.b = new_matrix(&p, dtype, side, side);
    p.c = new_matrix(&p, dtype, side, side);
    if (dtype == TKC_F32) p.options.precision = TKK_IEEE;
    take_samples(&p, samples, dtype, 2.0 * (double)side * (double)side * (double)side, matmul_once);
    return close_products(&p);
}

static tkc_status square_f32(Bench *bench, Samples *samples) {
    return run_square(bench, samples, TKC_F32, 2048);
}
static tkc_status square_bf16(Bench *bench, Samples *samples) {
    return run_square(bench, samples, TKC_BF16, 2048);
}

static tkc_status quantized_once(Products *p) {
    const tkk_quantized_matmul problem = {
        .struct_size = sizeof problem, .a = p->a, .b = p->b, .c = p->c};
    return tkk_matmul_quantized(p->library, NULL, &problem);
}

static tkc_status square_i8(Bench *bench, Samples *samples) {
    enum { SIDE = 2048 };
    Products p;
    open_products(&p, bench);
    p.a = new_matrix(&p, TKC_I8, SIDE, SIDE);
    p.b = new_matrix(&p, TKC_I8, SIDE, SIDE);
    p.c = new_matrix(&p, TKC_I32, SIDE, SIDE);
    take_samples(&p, samples, TKC_I8, 2.0 * SIDE * SIDE * SIDE, quantized_once);
    return close_products(&p);
}

/* ---- linear layers ------------------------------------------------------------------------ */

static tkc_status linear_forward_once(Products *p) {
    return tkk_linear_forward(p->library, NULL, &p->linear);
}
static tkc_status linear_backward_once(Products *p) {
    return tkk_linear_backward(p->library, NULL, &p->linear);
}

/* y = x w^T; backward: dx and dw. */
static tkc_status run_linear(Bench *bench, Samples *samples, int64_t rows, int64_t in, int64_t out,
                             bool backward) {
    Products p;
    open_products(&p, bench);
    tkk_linear *l = &p.linear;
    l->precision = TKK_IEEE;
    l->x = new_matrix(&p, TKC_F32, rows, in);
    l->w = new_matrix(&p, TKC_F32, out, in);
    if (backward) {
        l->dy = new_matrix(&p, TKC_F32, rows, out);
        l->dx = new_matrix(&p, TKC_F32, rows, in);
        l->dw = new_matrix(&p, TKC_F32, out, in);
    } else {
        l->y = new_matrix(&p, TKC_F32, rows, out);
    }
    const uint64_t size = p.status == TKC_OK ? tkk_linear_workspace(p.library, l) : 0;
    if (size > 0)
        l->workspace =
            (tkk_workspace){new_data(&p, TKC_F32, (int64_t)(size / sizeof(float) + 1)), size};
    take_samples(&p, samples, TKC_F32,
                 2.0 * (double)rows * (double)in * (double)out * (backward ? 2 : 1),
                 backward ? linear_backward_once : linear_forward_once);
    return close_products(&p);
}

#define LINEAR(name, rows, in, out)                                                                \
    static tkc_status linear_##name(Bench *bench, Samples *samples) {                              \
        return run_linear(bench, samples, rows, in, out, false);                                   \
    }                                                                                              \
    static tkc_status linear_##name##_backward(Bench *bench, Samples *samples) {                   \
        return run_linear(bench, samples, rows, in, out, true);                                    \
    }
LINEAR(small, 32, 64, 128)
LINEAR(medium, 64, 1024, 2048)
LINEAR(large, 128, 2048, 4096)

/* clang-format off */
const Measurement dot_measurements[] = {
    {"dot", "attention f32", "GFLOP/s", true, 0, forward_f32},
    {"dot", "attention f32, causal", "GFLOP/s", true, 0, forward_f32_causal},
    {"dot", "attention bf16", "GFLOP/s", true, 0, forward_bf16},
    {"dot", "attention bf16, causal", "GFLOP/s", true, 0, forward_bf16_causal},
    {"dot", "attention f16", "GFLOP/s", true, 0, forward_f16},
    {"dot", "attention f16, causal", "GFLOP/s", true, 0, forward_f16_causal},
    {"dot", "attention backward f32", "GFLOP/s", true, 0, backward_f32},
    {"dot", "attention backward f32, causal", "GFLOP/s", true, 0, backward_f32_causal},
    {"dot", "attention backward bf16", "GFLOP/s", true, 0, backward_bf16},
    {"dot", "attention backward bf16, causal", "GFLOP/s", true, 0, backward_bf16_causal},
    {"dot", "matmul 2048^3 f32", "GFLOP/s", true, 0, square_f32},
    {"dot", "matmul 2048^3 bf16", "GFLOP/s", true, 0, square_bf16},
    {"dot", "matmul 2048^3 i8", "GOP/s", true, 0, square_i8},
    {"dot", "linear 32x64x128", "GFLOP/s", true, 0, linear_small},
    {"dot", "linear 64x1024x2048", "GFLOP/s", true, 0, linear_medium},
    {"dot", "linear 128x2048x4096", "GFLOP/s", true, 0, linear_large},
    {"dot", "linear backward 32x64x128", "GFLOP/s", true, 0, linear_small_backward},
    {"dot", "linear backward 64x1024x2048", "GFLOP/s", true, 0, linear_medium_backward},
    {"dot", "linear backward 128x2048x4096", "GFLOP/s", true, 0, linear_large_backward},
    {0},
};
/* clang-format on */
