/* Random kernels as emulated PTX, with all checks on, and on the interpreter: integers must be the
 * same, and f32 as near as sums of products in another rounding can be. GPUs and numbers of warps
 * are drawn too. */
#include "tests/random_kernel.h"

#include "runtime/tkc.h"

#include <math.h>

static void ok(tkc_status status, uint64_t seed) {
    ck_assert_msg(status == TKC_OK, "%s, with TKC_SEED=%llu", tkc_last_error(),
                  (unsigned long long)seed);
}

static void run_on(tkc_context *context, const char *name, const char *text, int32_t *out,
                   uint64_t seed) {
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer *buffer;
    const int32_t zero = 0;
    ok(tkc_device_open(context, name, &device), seed);
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = "random.tkir";
    options.text = text;
    options.target = tkc_device_target(device);
    options.verify = true;
    ok(tkc_compile(context, &options, &kernel, NULL), seed);
    ok(tkc_buffer_create(device, OUT * sizeof *out, "out", &buffer), seed);
    ok(tkc_buffer_fill(buffer, 0, OUT * sizeof *out, &zero, sizeof zero), seed);
    const tkc_argument arguments[] = {tkc_arg(buffer), tkc_arg(buffer), tkc_arg(21)};
    tkc_launch_options launch = TKC_LAUNCH_OPTIONS_INIT;
    launch.threads = 1;
    launch.seed = seed % 3; /* the order of warps */
    launch.ieee_dot = true;
    ok(tkc_launch(kernel, device, NULL, tkc_grid1(1), arguments, 3, &launch), seed);
    ok(tkc_buffer_read(buffer, 0, out, OUT * sizeof *out), seed);
    tkc_buffer_destroy(buffer);
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(device);
}

static bool near(const int32_t *a, const int32_t *b) {
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (x == y || !isfinite(x) || !isfinite(y)) return true; /* what overflowed says nothing */
    return fabsf(x - y) <= 1e-3f * fmaxf(fabsf(x), fabsf(y)) || fabsf(x) > 1e6f;
}

START_TEST(the_same_on_a_gpu) {
    static const char *const devices[] = {"emu:sm_80", "emu:sm_90a", "emu:sm_89", "emu:sm_120a"};
    static const char warps[] = "num_warps = ";
    static int32_t plain[OUT], got[OUT];
    uint64_t seed = random_seed(12);
    const char *wanted = getenv("TKC_ROUNDS");
    const uint32_t rounds = wanted ? (uint32_t)atoi(wanted) : 10;
    tkc_context *context;
    ok(tkc_context_create(NULL, &context), seed);
    for (uint32_t round = 0; round < rounds; round++) {
        Context *texts = context_new();
        const uint64_t start = seed;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        char *text = (char *)make_kernel(texts, seed);
        strstr(text, warps)[strlen(warps)] = "1248"[seed >> 40 & 3];
        const char *device = devices[seed >> 50 & 3];
        run_on(context, "interp", text, plain, start);
        run_on(context, device, text, got, start);
        for (uint32_t i = 0; i < OUT; i++) {
            const bool real = i / OUT_ROW / 8 == 4;
            if (plain[i] != got[i] && !(real && near(&plain[i], &got[i])))
                ck_abort_msg("%s: value %u, element %u: %d, expected %d, with TKC_SEED=%llu",
                             device, i / OUT_ROW, i % OUT_ROW, got[i], plain[i],
                             (unsigned long long)start);
        }
        context_free(texts);
    }
    tkc_context_destroy(context);
}
END_TEST

UNIT_MAIN("gpu_random", the_same_on_a_gpu)
