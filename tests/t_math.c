/* t_math.c: the functions that pass_math makes of arithmetic, run by the interpreter and held
 * against libm in units of the last place: f32 against f64 rounded once, f64 against long double.
 * Arguments are random over the range where the function is promised, and the special ones. What is
 * left as it is (exp2 of f32) is exact here; the GPU's adds 2 units. */
#include "compiler/eval.h"
#include "compiler/interp.h"
#include "compiler/passes/pass.h"

#include "tests/check_quick.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 4096 };

typedef long double Exact(long double x);
typedef long double Exact2(long double x, long double y);

typedef struct Function {
    OpCode op;
    Exact *exact;
    double low, high; /* arguments */
    double ulp32, ulp64;
} Function;

static long double exact_rsqrt(long double x) {
    return 1 / sqrtl(x);
}

/* clang-format off */
static const Function functions[] = {
    {OP_exp, expl, -87, 88, 2, 2},           {OP_exp2, exp2l, -125, 127, 0.51, 2},
    {OP_expm1, expm1l, -20, 80, 0.51, 3},    {OP_log, logl, 0, 1e30, 2, 2},
    {OP_log2, log2l, 0, 1e30, 2, 3},         {OP_log10, log10l, 0, 1e30, 2, 3},
    {OP_log1p, log1pl, -0.99, 1e10, 0.51, 3}, {OP_log, logl, 0.5, 2, 2, 2},
    {OP_log2, log2l, 0.5, 2, 2, 3},          {OP_log1p, log1pl, -0.01, 0.01, 0.51, 3},
    {OP_sin, sinl, -1e4, 1e4, 1.5, 2},       {OP_cos, cosl, -1e4, 1e4, 1.5, 2},
    {OP_sin, sinl, -1, 1, 1.5, 2},           {OP_cos, cosl, -2, 2, 1.5, 2},
    {OP_tan, tanl, -1e3, 1e3, 0.51, 5},      {OP_asin, asinl, -1, 1, 0.51, 5},
    {OP_acos, acosl, -1, 1, 0.51, 5},        {OP_atan, atanl, -100, 100, 0.51, 5},
    {OP_sinh, sinhl, -80, 80, 0.51, 6},      {OP_cosh, coshl, -80, 80, 0.51, 6},
    {OP_tanh, tanhl, -9, 9, 3, 6},           {OP_tanh, tanhl, -0.7, 0.7, 3, 6},
    {OP_asinh, asinhl, -1e6, 1e6, 0.51, 6},  {OP_acosh, acoshl, 1, 1e6, 0.51, 6},
    {OP_atanh, atanhl, -0.99, 0.99, 0.51, 6}, {OP_erf, erfl, -4, 4, 3, 8},
    {OP_erf, erfl, -1, 1, 3, 8},             {OP_erfc, erfcl, -3, 9, 0.51, 12},
    {OP_lgamma, lgammal, 3, 1e6, 0.51, 20},  {OP_tgamma, tgammal, 0.1, 30, 0.51, 200},
    {OP_cbrt, cbrtl, -1e6, 1e6, 0.51, 2},    {OP_rsqrt, exact_rsqrt, 1e-6, 1e6, 0.51, 2},
};
/* clang-format on */

/* y = op(x) [of two operands] over a block of COUNT elements, by way of the pass. */
static void run(OpCode op, DType dtype, const void *x, const void *x2, void *y) {
    Arena arena;
    arena_init(&arena, 0);
    Sources sources = {.arena = &arena};
    Diagnostics diagnostics = {.arena = &arena, .sources = &sources};
    const char *name = dtype_name(dtype), *word = op_infos[op].name;
    Text text = {.arena = &arena};
    text_printf(&text,
                "kernel @k(x: *%s, z: *%s, y: *%s) {num_warps = 4} {\n"
                "    %%0: %dxi32 = arange {start = 0, end = %d}\n"
                "    %%1: %dx*%s = splat %%x\n    %%2: %dx*%s = offset %%1, %%0\n"
                "    %%3: %dx%s = load %%2\n"
                "    %%4: %dx*%s = splat %%z\n    %%5: %dx*%s = offset %%4, %%0\n"
                "    %%6: %dx%s = load %%5\n"
                "    %%7: %dx%s = %s %%3%s\n"
                "    %%8: %dx*%s = splat %%y\n    %%9: %dx*%s = offset %%8, %%0\n"
                "    store %%9, %%7\n    return\n}\n",
                name, name, name, COUNT, COUNT, COUNT, name, COUNT, name, COUNT, name, COUNT, name,
                COUNT, name, COUNT, name, COUNT, name, word,
                op_infos[op].max_operands == 2 ? ", %6" : "", COUNT, name, COUNT, name);
    uint32_t source = sources_add(&sources, "test.tkir", text.data, text.length);
    Module *module = ir_read(&arena, &sources, &diagnostics, source);
    Text messages = {.arena = &arena};
    diag_render(&diagnostics, &messages);
    ck_assert_msg(module != NULL, "%s", messages.data);
    pass_math(module);
    ck_assert(ir_verify(module, LEVEL_BLOCK));
    const size_t size = (size_t)COUNT * dtype_size(dtype);
    InterpBuffer buffers[] = {
        {(uint8_t *)x, size, NULL}, {(uint8_t *)x2, size, NULL}, {y, size, NULL}};
    uint64_t arguments[] = {INTERP_BUFFER_ADDRESS(0), INTERP_BUFFER_ADDRESS(1),
                            INTERP_BUFFER_ADDRESS(2)};
    InterpLaunch launch = {.grid = {1, 1, 1},
                           .arguments = arguments,
                           .buffers = buffers,
                           .buffer_count = 3,
                           .threads = 1};
    InterpFault fault;
    bool good = interp_launch(interp_plan(&arena, module), &launch, &fault);
    ck_assert_msg(good, "%s", good ? "" : fault.message);
    arena_free(&arena);
}

static double unit_of(DType dtype, long double exact) {
    int exponent;
    frexpl(exact, &exponent);
    const int bits = dtype == DT_f32 ? 24 : 53, least = dtype == DT_f32 ? -125 : -1021;
    return ldexp(1, (exponent < least ? least : exponent) - bits);
}

static double argument(uint64_t *state, const Function *f) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    const double u = (double)(*state >> 11) * 0x1p-53;
    if (f->low == 0 && f->high > 1e20) return exp2((u - 0.5) * 200); /* all magnitudes */
    return f->low + (f->high - f->low) * u;
}

static void check(const Function *f, DType dtype) {
    static double x64[COUNT], y64[COUNT];
    static float x32[COUNT], y32[COUNT];
    const double allowed = dtype == DT_f32 ? f->ulp32 : f->ulp64;
    uint64_t state = 12345 + f->op;
    double worst = 0, at = 0;
    for (int i = 0; i < COUNT; i++) {
        x64[i] = argument(&state, f);
        x32[i] = (float)x64[i];
        if (dtype == DT_f32 && (x32[i] < f->low || x32[i] > f->high)) x32[i] = (float)f->high;
    }
    if (dtype == DT_f32)
        run(f->op, dtype, x32, x32, y32);
    else
        run(f->op, dtype, x64, x64, y64);
    for (int i = 0; i < COUNT; i++) {
        long double x = dtype == DT_f32 ? x32[i] : x64[i], exact = f->exact(x);
        double got = dtype == DT_f32 ? y32[i] : y64[i];
        double error = (double)(fabsl(got - exact) / unit_of(dtype, exact));
        if (!(error <= worst)) worst = error, at = (double)x;
    }
    if (getenv("TKC_TEST_VERBOSE"))
        printf("%s %s in [%g, %g]: %.2f ulp at %.17g\n", op_infos[f->op].name, dtype_name(dtype),
               f->low, f->high, worst, at);
    ck_assert_msg(worst <= allowed, "%s of %s: %.2f ulp at %.17g, allowed %.2f",
                  op_infos[f->op].name, dtype_name(dtype), worst, at, allowed);
}

START_TEST(single) {
    check(&functions[_i], DT_f32);
}
END_TEST

START_TEST(wide) {
    check(&functions[_i], DT_f64);
}
END_TEST

/* Infinities, zeros and NaN: as libm has them. */
START_TEST(special_values) {
    static const double specials[] = {0.0, -0.0,   1,     -1,     2, -2, 0.5, INFINITY, -INFINITY,
                                      NAN, 1e-310, 1e300, -1e300, 3, -3, 1.5, -1.5};
    static double x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = specials[i % (int)ARRAY_LENGTH(specials)];
    const Function *f = &functions[_i];
    if (f->op == OP_sin || f->op == OP_cos || f->op == OP_tan) { /* promised up to 2^30 */
        for (int i = 0; i < COUNT; i++)
            if (fabs(x[i]) == 1e300) x[i] = 1;
    }
    run(f->op, DT_f64, x, x, y);
    for (size_t i = 0; i < ARRAY_LENGTH(specials); i++) {
        double exact = (double)f->exact(x[i]);
        bool same = (isnan(exact) && isnan(y[i])) || y[i] == exact ||
                    fabs(y[i] - exact) <= 1e-12 * fabs(exact);
        ck_assert_msg(same, "%s(%g) is %g, expected %g", op_infos[f->op].name, x[i], y[i], exact);
    }
}
END_TEST

START_TEST(two_operands) {
    static double x[COUNT], z[COUNT], y[COUNT];
    static const struct {
        OpCode op;
        Exact2 *exact;
        double low, high, ulp;
    } rows[] = {{OP_pow, powl, 0.1, 20, 60},
                {OP_atan2, atan2l, -10, 10, 5},
                {OP_hypot, hypotl, -1e3, 1e3, 3}};
    uint64_t state = 99;
    Function range = {.low = rows[_i].low, .high = rows[_i].high};
    for (int i = 0; i < COUNT; i++)
        x[i] = argument(&state, &range), z[i] = argument(&state, &range);
    run(rows[_i].op, DT_f64, x, z, y);
    for (int i = 0; i < COUNT; i++) {
        long double exact = rows[_i].exact(x[i], z[i]);
        double error = (double)(fabsl(y[i] - exact) / unit_of(DT_f64, exact));
        ck_assert_msg(error <= rows[_i].ulp, "%s(%.17g, %.17g): %.2f ulp",
                      op_infos[rows[_i].op].name, x[i], z[i], error);
    }
    static const double s[] = {0.0, -0.0, 1, -1, 2, -2, 3, 0.5, -0.5, INFINITY, -INFINITY, NAN};
    const int n = ARRAY_LENGTH(s);
    for (int i = 0; i < COUNT; i++) x[i] = s[i % n], z[i] = s[i / n % n];
    run(rows[_i].op, DT_f64, x, z, y);
    for (int i = 0; i < n * n; i++) {
        double exact = (double)rows[_i].exact(x[i], z[i]);
        bool same = (isnan(exact) && isnan(y[i])) || y[i] == exact ||
                    fabs(y[i] - exact) <= 1e-12 * fabs(exact);
        ck_assert_msg(same, "%s(%g, %g) is %g, expected %g", op_infos[rows[_i].op].name, x[i], z[i],
                      y[i], exact);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("math");
    TCase *all = tcase_create("functions");
    tcase_add_loop_test(all, single, 0, (int)ARRAY_LENGTH(functions));
    tcase_add_loop_test(all, wide, 0, (int)ARRAY_LENGTH(functions));
    tcase_add_loop_test(all, special_values, 0, (int)ARRAY_LENGTH(functions));
    tcase_add_loop_test(all, two_operands, 0, 3);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
