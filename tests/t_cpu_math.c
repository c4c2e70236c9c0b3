/* Functions of real numbers as native code: error in units of the last place against libm in f64,
 * and what they make of zeros, infinities, NaN and the smallest numbers. */
#include "tests/unit.h"

#include "compiler/cpu/cpu.h"

#include <math.h>

enum { COUNT = 1024 };

typedef double Function(double);

static double rsqrt(double x) {
    return 1 / sqrt(x);
}

static void run(const char *op, const char *features, const float *x, float *y) {
    Context *c = context_new();
    const char *text = arena_printf(
        &c->arena,
        "kernel @f(x: *f32, y: *f32) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
        "%%0: 1024xi32 = arange {start = 0, end = 1024}\n%%1: 1024x*f32 = splat %%x\n"
        "%%2: 1024x*f32 = offset %%1, %%0\n%%3: 1024xf32 = load %%2\n%%4: 1024xf32 = %s %%3\n"
        "%%5: 1024x*f32 = splat %%y\n%%6: 1024x*f32 = offset %%5, %%0\nstore %%6, %%4\n"
        "return\n}\n",
        op);
    CpuCode code;
    Text error = {.arena = &c->arena};
    const CpuOptions options = {.features = features};
    Module *module = context_must_read(c, text);
    ck_assert_msg(cpu_compile(module, &options, &code, &error), "%s", error.data);
    uint8_t *scratch = aligned_alloc(64, (code.scratch_size + 63) / 64 * 64);
    const uint64_t arguments[2] = {(uint64_t)(uintptr_t)x, (uint64_t)(uintptr_t)y};
    const CpuLaunch launch = {.arguments = arguments, .grid = {1, 1, 1}};
    const uint32_t program[3] = {0};
    CpuFault fault;
    ck_assert_uint_eq(code.entry(&launch, scratch, program, &fault), CPU_RUNNING);
    free(scratch);
    cpu_free(&code);
    context_free(c);
}

/* Distance between two floats, in steps of a float at `right`. */
static double ulp(float got, double right) {
    const float nearest = (float)right;
    if (got == nearest || (isnan(got) && isnan(nearest))) return 0;
    if (isinf(nearest) || isinf(got) || isnan(got) || isnan(nearest))
        return fabs((double)nearest) > 3.4e38 && fabs((double)got) > 3.4e38 ? 1 : INFINITY;
    const float step = fmaxf(nextafterf(fabsf(nearest), INFINITY) - fabsf(nearest), 0x1p-149f);
    return fabs((double)got - right) / (double)step;
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void check(const char *op, Function *right, double allowed, double low, double high) {
    static const uint32_t special[] = {0,          0x80000000u, 0x7f800000u, 0xff800000u,
                                       0x7fc00000, 1,           0x80000001u, 0x00800000u,
                                       0x007fffff, 0x3f800000u, 0xbf800000u, 0x7f7fffffu};
    static const char *const features[] = {NULL, "-avx512f,-avx512bw,-avx512vl,-avx512dq"};
    static float x[COUNT], y[COUNT];
    uint64_t seed = random_seed(5);
    double worst = 0;
    for (int round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            const double at = (double)random_next(&seed) * 0x1p-32;
            if (i < ARRAY_LENGTH(special))
                x[i] = from_bits(special[i]);
            else if (i % 4 == 0)
                x[i] = from_bits(random_next(&seed)); /* any exponent */
            else
                x[i] = (float)(low + (high - low) * at);
        }
        run(op, features[round % 2], x, y);
        for (uint32_t i = 0; i < COUNT; i++) {
            const double error = ulp(y[i], right((double)x[i]));
            if (error > worst) worst = error;
            if (error > allowed)
                ck_abort_msg("%s(%a) is %a, expected %a (%g ulp) with %s", op, (double)x[i],
                             (double)y[i], right((double)x[i]), error,
                             round % 2 ? "narrow vectors" : "all features");
        }
    }
    printf("%s: %.3f ulp\n", op, worst);
}

START_TEST(exponentials) {
    check("exp", exp, 1.5, -104, 89);
    check("exp2", exp2, 1.5, -150, 128);
}
END_TEST

START_TEST(logarithms) {
    check("log", log, 0.51, 0, 4);
    check("log2", log2, 0.51, 0, 4);
    check("log10", log10, 0.51, 0, 100);
}
END_TEST

START_TEST(others) {
    check("tanh", tanh, 0.51, -10, 10);
    check("erf", erf, 1.2, -5, 5);
    check("sin", sin, 0.51, -100, 100);
    check("cos", cos, 0.51, -100, 100);
    check("rsqrt", rsqrt, 0.51, 0, 10);
    check("sqrt", sqrt, 0.5, 0, 10);
    check("expm1", expm1, 0.51, -3, 3);
}
END_TEST

UNIT_MAIN("cpu_math", exponentials, logarithms, others)
