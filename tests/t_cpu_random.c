/* Random kernels as native code and on the interpreter: integers must be the same, and f32 as near
 * as sums of products in another rounding can be. Each also with narrow vectors, as on a machine
 * without AVX-512, after the passes, and with stores that go past the caches. */
#include "tests/random_kernel.h"

#include "compiler/cpu/cpu.h"
#include "compiler/passes/pass.h"

#include <math.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_disable() (void)0
#define __lsan_enable() (void)0
#endif

static void run_native(Case *c, const char *features, bool stream, int32_t *out) {
    CpuCode code;
    Text error = {.arena = &c->context->arena};
    const CpuOptions options = {.features = features};
    ck_assert_msg(cpu_compile(c->module, &options, &code, &error), "%s", error.data);
    uint8_t *scratch = aligned_alloc(64, (code.scratch_size + 63) / 64 * 64);
    const uint64_t arguments[3] = {(uint64_t)(uintptr_t)out, (uint64_t)(uintptr_t)out, 21};
    const CpuLaunch launch = {
        .arguments = arguments, .grid = {1, 1, 1}, .tf32_mask = ~UINT64_C(0), .stream = stream};
    const uint32_t program[3] = {0};
    CpuFault fault;
    memset(out, 0, OUT * sizeof *out);
    memset(scratch, 0xa5, code.scratch_size);
    ck_assert_uint_eq(code.entry(&launch, scratch, program, &fault), CPU_RUNNING);
    free(scratch);
    cpu_free(&code);
}

static void run_plain(Case *c, int32_t *out) {
    memset(out, 0, OUT * sizeof *out);
    case_buffer(c, out, OUT * sizeof *out);
    c->arguments[c->argument_count++] = c->arguments[0];
    case_scalar(c, 21);
    case_must_run(c, 1);
}

static bool near(const int32_t *a, const int32_t *b) {
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (x == y || !isfinite(x) || !isfinite(y)) return true; /* what overflowed says nothing */
    return fabsf(x - y) <= 1e-3f * fmaxf(fabsf(x), fabsf(y)) || fabsf(x) > 1e6f;
}

static void compare_all(uint32_t rounds, const char *features, bool passes) {
    static int32_t plain[OUT];
    static _Alignas(64) int32_t native[OUT];
    uint64_t seed = random_seed(11);
    for (uint32_t round = 0; round < rounds; round++) {
        Context *context = context_new();
        const uint64_t start = seed;
        const char *text =
            make_kernel(context, seed = seed * 6364136223846793005u + 1442695040888963407u);
        Case *c = case_new(text);
        run_plain(c, plain);
        if (passes) ck_assert(pipeline_run(c->module, pipeline_block, &(PipelineOptions){0}));
        run_native(c, features, round % 2 == 1, native);
        for (uint32_t i = 0; i < OUT; i++) {
            const bool real = i / OUT_ROW / 8 == 4;
            if (plain[i] != native[i] && !(real && near(&plain[i], &native[i])))
                ck_abort_msg("value %u, element %u: %d, expected %d, with TKC_SEED=%llu",
                             i / OUT_ROW, i % OUT_ROW, native[i], plain[i],
                             (unsigned long long)start);
        }
        case_free(c);
        context_free(context);
    }
}

START_TEST(as_written) {
    compare_all(12, NULL, false);
}
END_TEST

START_TEST(after_the_passes) {
    compare_all(12, NULL, true);
}
END_TEST

START_TEST(with_narrow_vectors) {
    compare_all(6, "-avx512f,-avx512bw,-avx512vl,-avx512dq", true);
    compare_all(3, "-avx,-avx2,-fma,-avx512f,-avx512bw,-avx512vl,-avx512dq", true);
}
END_TEST

/* Without SSE no float can be returned: LLVM calls that fatal, and what it held is lost. What is
 * compiled next is well. */
START_TEST(what_llvm_cannot_do) {
    static const char text[] =
        "kernel @k(x: *f32) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
        "%0: f32 = load %x\n%1: f32 = rem %0, %0\nstore %x, %1\nreturn\n}\n";
    for (int round = 0; round < 4; round++) {
        Context *c = context_new();
        Module *module = context_must_read(c, text);
        CpuCode code;
        Text error = {.arena = &c->arena};
        const CpuOptions options = {.features = round % 2 ? NULL : "-sse,-sse2,-avx,-avx512f"};
        if (round % 2 == 0) __lsan_disable();
        ck_assert_int_eq(cpu_compile(module, &options, &code, &error), round % 2 == 1);
        if (round % 2 == 0) __lsan_enable();
        if (round % 2)
            cpu_free(&code);
        else
            ck_assert_ptr_nonnull(strstr(error.data, "LLVM failed on"));
        context_free(c);
    }
}
END_TEST

UNIT_MAIN("cpu_random", as_written, after_the_passes, with_narrow_vectors, what_llvm_cannot_do)
