/* Tests of compiler/eval*.c: what each op makes of one element, against plain statements of it in
 * wider arithmetic; and that a block gives what its elements give one by one. Formats and
 * conversions of narrow floats are in t_convert.c.
 */
#include "tests/unit.h"

#include "compiler/eval.h"

#include <math.h>

__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 UWide;

static const DType ints[] = {DT_i1, DT_i8, DT_i16, DT_i32, DT_i64, DT_u8, DT_u16, DT_u32, DT_u64};

/* ---- integers ------------------------------------------------------------------------------ */

static Wide value_of(DType d, uint64_t bits) {
    const uint32_t width = dtype_bits(d);
    const Wide value = (Wide)(bits & (width == 64 ? ~0ull : (1ull << width) - 1));
    return !dtype_is_unsigned(d) && (bits >> (width - 1) & 1) ? value - ((Wide)1 << width) : value;
}

static uint64_t wrapped(DType d, Wide value) {
    const uint32_t width = dtype_bits(d);
    return (uint64_t)value & (width == 64 ? ~0ull : (1ull << width) - 1);
}

static Wide shift_left(Wide a, uint64_t count, uint32_t width) {
    return count >= width ? 0 : (Wide)((UWide)a << count);
}

static Wide shift_right(Wide a, uint64_t count, uint32_t width) {
    if (count >= width) return a < 0 ? -1 : 0;
    return a >> count;
}

/* What ops.def promises, in 128 bits. */
static Wide expected(OpCode op, DType d, uint64_t x, uint64_t y) {
    const Wide a = value_of(d, x), b = value_of(d, y);
    const uint32_t width = dtype_bits(d);
    Wide sum = 0;
    switch (op) {
    case OP_add: return a + b;
    case OP_sub: return a - b;
    case OP_mul: return (Wide)((UWide)a * (UWide)b);
    case OP_div: return b == 0 ? -1 : a / b;
    case OP_rem: return b == 0 ? a : a % b;
    case OP_mulhi:
        return (dtype_is_unsigned(d) ? (Wide)((UWide)a * (UWide)b >> width) : a * b >> width);
    case OP_and: return a & b;
    case OP_or: return a | b;
    case OP_xor: return a ^ b;
    case OP_shl: return shift_left(a, y, width);
    case OP_shr: return shift_right(a, y, width);
    case OP_min: return a < b ? a : b;
    case OP_max: return a > b ? a : b;
    case OP_eq: return a == b;
    case OP_ne: return a != b;
    case OP_lt: return a < b;
    case OP_le: return a <= b;
    case OP_gt: return a > b;
    case OP_ge: return a >= b;
    case OP_abs: return a < 0 ? -a : a;
    case OP_popcount:
        for (uint32_t i = 0; i < width; i++) sum += x >> i & 1;
        return sum;
    case OP_clz:
        while (sum < width && !(x >> (width - 1 - (uint32_t)sum) & 1)) sum++;
        return sum;
    case OP_bitreverse:
        for (uint32_t i = 0; i < width; i++) sum |= (Wide)(x >> i & 1) << (width - 1 - i);
        return sum;
    default: ck_abort_msg("no reference for %s", op_infos[op].name);
    }
    return 0;
}

static void check_int(OpCode op, DType d, uint64_t x, uint64_t y) {
    const uint64_t operands[2] = {x, y};
    const DType out = op_infos[op].rule == RULE_COMPARE ? DT_i1 : d;
    uint64_t result = ~0ull;
    const bool known = eval_scalar(op, d, out, operands, &result);
    const uint64_t want = wrapped(out, expected(op, d, x, y));
    if (!known || result != want)
        ck_abort_msg("%s %s of %llx and %llx: %llx, not %llx", op_infos[op].name, dtype_name(d),
                     (unsigned long long)x, (unsigned long long)y, (unsigned long long)result,
                     (unsigned long long)want);
}

static const OpCode int_ops[] = {
    OP_add, OP_sub, OP_mul, OP_div,      OP_rem, OP_mulhi,      OP_and, OP_or,
    OP_xor, OP_shl, OP_shr, OP_min,      OP_max, OP_eq,         OP_ne,  OP_lt,
    OP_le,  OP_gt,  OP_ge,  OP_popcount, OP_clz, OP_bitreverse, OP_abs,
};

START_TEST(small_integers_all_pairs) {
    const DType small[] = {DT_i1, DT_i8, DT_u8};
    for (size_t t = 0; t < ARRAY_LENGTH(small); t++)
        for (size_t i = 0; i < ARRAY_LENGTH(int_ops); i++) {
            const uint64_t end = 1ull << dtype_bits(small[t]);
            for (uint64_t x = 0; x < end; x++)
                for (uint64_t y = 0; y < end; y++) check_int(int_ops[i], small[t], x, y);
        }
}
END_TEST

START_TEST(wide_integers_corners) {
    uint64_t seed = random_seed(7), corner[40];
    for (size_t t = 0; t < ARRAY_LENGTH(ints); t++) {
        const DType d = ints[t];
        const uint32_t width = dtype_bits(d);
        for (uint32_t i = 0; i < 40; i++) {
            const Wide top = (Wide)1 << (width - 1);
            const Wide near[] = {0,  1,  2,   3,       7,       8,  31, 32,
                                 63, 64, top, top - 1, top + 1, -1, -2, -3};
            corner[i] =
                i < 16
                    ? wrapped(d, near[i])
                    : wrapped(d, (Wide)((uint64_t)random_next(&seed) << 32 | random_next(&seed)) >>
                                     random_next(&seed) % width);
        }
        for (size_t k = 0; k < ARRAY_LENGTH(int_ops); k++)
            for (uint32_t i = 0; i < 40; i++)
                for (uint32_t j = 0; j < 40; j++) check_int(int_ops[k], d, corner[i], corner[j]);
    }
}
END_TEST

START_TEST(integer_clamp_and_select) {
    uint64_t r;
    ck_assert(eval_scalar(OP_clamp, DT_i8, DT_i8, (uint64_t[]){0x80, 0xfd, 5}, &r) && r == 0xfd);
    ck_assert(eval_scalar(OP_clamp, DT_u8, DT_u8, (uint64_t[]){0x80, 3, 5}, &r) && r == 5);
    ck_assert(eval_scalar(OP_clamp, DT_i32, DT_i32, (uint64_t[]){4, 3, 5}, &r) && r == 4);
    ck_assert(eval_scalar(OP_select, DT_i64, DT_i64, (uint64_t[]){1, 1ull << 60, 5}, &r));
    ck_assert_uint_eq(r, 1ull << 60);
    ck_assert(eval_scalar(OP_select, DT_f16, DT_f16, (uint64_t[]){0, 1, 0x7e01}, &r));
    ck_assert_uint_eq(r, 0x7e01); /* a NaN's payload passes */
    ck_assert(eval_scalar(OP_eq, DT_NONE, DT_i1, (uint64_t[]){1ull << 41, 1ull << 41}, &r));
    ck_assert_uint_eq(r, 1);
    ck_assert(!eval_scalar(OP_and, DT_f32, DT_f32, (uint64_t[]){1, 1}, &r));
    ck_assert(!eval_scalar(OP_load, DT_f32, DT_f32, (uint64_t[]){1, 1}, &r));
    ck_assert(!eval_scalar(OP_exp, DT_i32, DT_i32, (uint64_t[]){1, 1}, &r));
}
END_TEST

/* ---- f32 and f64 ----------------------------------------------------------------------------- */

static uint64_t bits32(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static float float_of(uint64_t bits) {
    const uint32_t u = (uint32_t)bits;
    float x;
    memcpy(&x, &u, 4);
    return x;
}
static uint64_t bits64(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static double double_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

static float eval2(OpCode op, float a, float b) {
    uint64_t r = 0;
    ck_assert(eval_scalar(op, DT_f32, DT_f32, (uint64_t[]){bits32(a), bits32(b)}, &r));
    return float_of(r);
}

#define same_bits(a, b) ck_assert_uint_eq(bits32(a), bits32(b))

START_TEST(min_max_nan_and_zero) {
    const float nan = float_of(0x7fc01234), quiet = float_of(0x7fffffff);
    same_bits(eval2(OP_min, 1, 2), 1.0f);
    same_bits(eval2(OP_max, 1, 2), 2.0f);
    same_bits(eval2(OP_min, nan, 2), 2.0f);
    same_bits(eval2(OP_min, 2, nan), 2.0f);
    same_bits(eval2(OP_max, nan, -2), -2.0f);
    same_bits(eval2(OP_max, -2, nan), -2.0f);
    same_bits(eval2(OP_max, nan, nan), quiet);
    same_bits(eval2(OP_min, -0.0f, 0.0f), -0.0f);
    same_bits(eval2(OP_min, 0.0f, -0.0f), -0.0f);
    same_bits(eval2(OP_max, -0.0f, 0.0f), 0.0f);
    same_bits(eval2(OP_max, 0.0f, -0.0f), 0.0f);
    same_bits(eval2(OP_min_nan, nan, 2), quiet);
    same_bits(eval2(OP_min_nan, 2, nan), quiet);
    same_bits(eval2(OP_max_nan, 2, nan), quiet);
    same_bits(eval2(OP_max_nan, 2, 3), 3.0f);
    same_bits(eval2(OP_max, INFINITY, nan), INFINITY);
}
END_TEST

START_TEST(clamp_with_and_without_nan) {
    EvalCode code;
    const float x[5] = {NAN, -3, 9, 1, -INFINITY}, low[5] = {0, 0, 0, 0, 0},
                high[5] = {2, 2, 2, 2, 2};
    const void *operands[3] = {x, low, high};
    float r[5];
    ck_assert(eval_prepare(&code, OP_clamp, DT_f32, DT_f32, 0));
    eval_block(&code, 5, r, operands);
    ck_assert(r[0] == 0 && r[1] == 0 && r[2] == 2 && r[3] == 1 && r[4] == 0);
    ck_assert(eval_prepare(&code, OP_clamp, DT_f32, DT_f32, EVAL_NAN));
    eval_block(&code, 5, r, operands);
    ck_assert(isnan(r[0]) && r[1] == 0 && r[2] == 2 && r[3] == 1 && r[4] == 0);
}
END_TEST

START_TEST(comparisons_with_nan) {
    const uint64_t nan = bits32(NAN), one = bits32(1);
    for (OpCode op = OP_eq; op <= OP_ge; op++) {
        uint64_t r = 9;
        ck_assert(eval_scalar(op, DT_f32, DT_i1, (uint64_t[]){nan, one}, &r));
        ck_assert_uint_eq(r, op == OP_ne);
        ck_assert(eval_scalar(op, DT_f32, DT_i1, (uint64_t[]){nan, nan}, &r));
        ck_assert_uint_eq(r, op == OP_ne);
        ck_assert(eval_scalar(op, DT_f32, DT_i1, (uint64_t[]){bits32(-0.0f), 0}, &r));
        ck_assert_uint_eq(r, op == OP_eq || op == OP_le || op == OP_ge);
    }
}
END_TEST

START_TEST(f32_arithmetic_is_correctly_rounded) {
    uint64_t seed = random_seed(11);
    for (int i = 0; i < 300000; i++) {
        const float a = float_of(random_next(&seed)), b = float_of(random_next(&seed));
        const float c = float_of(random_next(&seed));
        if (isnan(a) || isnan(b) || isnan(c)) continue;
        uint64_t fused = 0;
        ck_assert(eval_scalar(OP_fma, DT_f32, DT_f32, (uint64_t[]){bits32(a), bits32(b), bits32(c)},
                              &fused));
        const float want[] = {(float)((long double)a + b),
                              (float)((long double)a - b),
                              (float)((double)a * b),
                              (float)((double)a / b),
                              fmodf(a, b),
                              fmaf(a, b, c)};
        const float got[] = {eval2(OP_add, a, b), eval2(OP_sub, a, b), eval2(OP_mul, a, b),
                             eval2(OP_div, a, b), eval2(OP_rem, a, b), float_of(fused)};
        for (int k = 0; k < 6; k++)
            if (bits32(got[k]) != bits32(want[k]) && !(isnan(got[k]) && isnan(want[k])))
                ck_abort_msg("op %d of %a %a %a: %a, not %a", k, a, b, c, got[k], want[k]);
    }
}
END_TEST

/* ---- functions --------------------------------------------------------------------------------
 */

typedef struct Function {
    OpCode op;
    double (*reference)(double);
    double low, high; /* where to sample; both f32 */
    double ulps;      /* allowed error in f32, of the last place of the exact result */
} Function;

static double rsqrt(double x) {
    return 1 / sqrt(x);
}
static double round_away(double x) {
    return x < 0 ? -floor(-x + 0.5) : floor(x + 0.5);
}

static const Function functions[] = {
    {OP_exp, exp, -110, 90, 0.51},      {OP_exp2, exp2, -155, 129, 0.51},
    {OP_expm1, expm1, -20, 90, 0.51},   {OP_log, log, 0, 3e38, 0.51},
    {OP_log, log, 0.5, 2, 0.51},        {OP_log2, log2, 0, 3e38, 0.51},
    {OP_log2, log2, 0.5, 2, 0.51},      {OP_log10, log10, 0, 3e38, 0.51},
    {OP_log10, log10, 0.5, 2, 0.51},    {OP_log1p, log1p, -1, 100, 0.51},
    {OP_sqrt, sqrt, 0, 3e38, 0.5},      {OP_rsqrt, rsqrt, 0, 3e38, 0.51},
    {OP_cbrt, cbrt, -3e38, 3e38, 0.51}, {OP_sin, sin, -1e6, 1e6, 0.51},
    {OP_cos, cos, -100, 100, 0.51},     {OP_tan, tan, -100, 100, 0.51},
    {OP_asin, asin, -1, 1, 0.51},       {OP_acos, acos, -1, 1, 0.51},
    {OP_atan, atan, -50, 50, 0.51},     {OP_sinh, sinh, -90, 90, 0.51},
    {OP_cosh, cosh, -90, 90, 0.51},     {OP_tanh, tanh, -10, 10, 0.51},
    {OP_asinh, asinh, -1e6, 1e6, 0.51}, {OP_acosh, acosh, 1, 1e6, 0.51},
    {OP_atanh, atanh, -1, 1, 0.51},     {OP_erf, erf, -5, 5, 0.51},
    {OP_erfc, erfc, -5, 11, 0.51},      {OP_lgamma, lgamma, -9, 100, 0.51},
    {OP_tgamma, tgamma, -9, 36, 0.51},  {OP_floor, floor, -1e9, 1e9, 0},
    {OP_ceil, ceil, -1e9, 1e9, 0},      {OP_trunc, trunc, -1e9, 1e9, 0},
    {OP_round, round_away, -99, 99, 0}, {OP_rint, nearbyint, -99, 99, 0},
};

/* Distance in units of the last place of `exact` as an f32. */
static double error_in_ulps(float got, double exact) {
    if (isnan(exact)) return isnan(got) ? 0 : INFINITY;
    if (isinf((float)exact)) return got == (float)exact ? 0 : INFINITY;
    const int exponent = exact == 0 || ilogb(exact) < -126 ? -126 : ilogb(exact);
    return fabs((double)got - exact) / ldexp(1, exponent - 23);
}

START_TEST(functions_f32) {
    uint64_t seed = random_seed(13);
    const size_t n = 40000;
    float *x = malloc(n * sizeof *x), *r = malloc(n * sizeof *r);
    for (size_t f = 0; f < ARRAY_LENGTH(functions); f++) {
        const Function *fn = &functions[f];
        const float special[] = {0,    -0.0f, 1,      -1,      INFINITY, -INFINITY, NAN,  0x1p-149f,
                                 0.5f, -0.5f, 1e-38f, 3.4e38f, -3.4e38f, 2,         1.5f, 2.5f};
        for (size_t i = 0; i < n; i++) {
            const double u = (random_next(&seed) + 0.5) * 0x1p-32;
            x[i] = (float)(fn->low + (fn->high - fn->low) * u);
            if (fn->high > 1e30)
                x[i] = (float)(exp2(u * 254 - 126) * (fn->low < 0 && i % 2 ? -1 : 1));
            if (i < ARRAY_LENGTH(special)) x[i] = special[i];
        }
        EvalCode code;
        const void *operands[1] = {x};
        ck_assert(eval_prepare(&code, fn->op, DT_f32, DT_f32, 0));
        eval_block(&code, n, r, operands);
        for (size_t i = 0; i < n; i++) {
            const double error = error_in_ulps(r[i], fn->reference((double)x[i]));
            if (!(error <= fn->ulps))
                ck_abort_msg("%s(%a) is %a: %g ulp", op_infos[fn->op].name, x[i], r[i], error);
        }
    }
    free(x);
    free(r);
}
END_TEST

START_TEST(functions_of_two_f32) {
    uint64_t seed = random_seed(17);
    for (int i = 0; i < 20000; i++) {
        const float a = (float)(random_next(&seed) % 2000000) * 1e-4f - 100;
        const float b = (float)(random_next(&seed) % 20000) * 1e-3f - 10;
        same_bits(eval2(OP_pow, fabsf(a), b), (float)pow((double)fabsf(a), (double)b));
        same_bits(eval2(OP_atan2, a, b), (float)atan2((double)a, (double)b));
        same_bits(eval2(OP_hypot, a, b), (float)hypot((double)a, (double)b));
        same_bits(eval2(OP_copysign, a, b), copysignf(a, b));
        same_bits(eval2(OP_nextafter, a, b), nextafterf(a, b));
    }
    same_bits(eval2(OP_pow, 0, 0), 1.0f);
    same_bits(eval2(OP_pow, -2, 3), -8.0f);
    ck_assert(isnan(eval2(OP_pow, -2, 0.5f)));
}
END_TEST

START_TEST(functions_f64) {
    for (size_t f = 0; f < ARRAY_LENGTH(functions); f++) {
        const Function *fn = &functions[f];
        const double x[] = {0.3, 1.7, 0.999, 1.0000001};
        for (size_t i = 0; i < ARRAY_LENGTH(x); i++) {
            uint64_t r = 0;
            ck_assert(eval_scalar(fn->op, DT_f64, DT_f64, (uint64_t[]){bits64(x[i])}, &r));
            const double want = fn->reference(x[i]), got = double_of(r);
            ck_assert(got == want || (isnan(got) && isnan(want)));
        }
    }
}
END_TEST

/* ---- blocks and elements
 * ------------------------------------------------------------------------- */

static DType result_dtype(OpCode op, DType in) {
    return op_infos[op].rule == RULE_COMPARE ? DT_i1 : in;
}

/* A block of n gives what its elements give, for lengths around those of vectors and chunks. */
static void check_block(const EvalCode *code, OpCode op, DType in, uint64_t *seed) {
    enum { MOST = 1100 };
    static const uint32_t lengths[] = {1, 7, 64, 511, 513, MOST};
    static uint64_t data[3][MOST], whole[MOST], single[MOST];
    for (uint32_t i = 0; i < 3 * MOST; i++)
        data[i / MOST][i % MOST] = (uint64_t)random_next(seed) << 32 | random_next(seed);
    uint8_t *masks[3] = {(uint8_t *)data[0], (uint8_t *)data[1], (uint8_t *)data[2]};
    for (uint32_t k = 0; k < 3; k++) /* an i1 is 0 or 1 */
        for (uint32_t i = 0; i < sizeof data[k] && (in == DT_i1 || (op == OP_select && k == 0));
             i++)
            masks[k][i] &= 1;
    for (uint32_t l = 0; l < ARRAY_LENGTH(lengths); l++) {
        const uint32_t n = lengths[l];
        const void *operands[3] = {data[0], data[1], data[2]};
        eval_block(code, n, whole, operands);
        for (uint32_t i = 0; i < n; i++) {
            const void *one[3];
            for (uint32_t k = 0; k < 3; k++) {
                const uint32_t size = op == OP_select && k == 0 ? 1 : code->in_size;
                one[k] = (const uint8_t *)data[k] + (size_t)i * size;
            }
            eval_block(code, 1, (uint8_t *)single + (size_t)i * code->out_size, one);
        }
        ck_assert_msg(memcmp(whole, single, (size_t)n * code->out_size) == 0,
                      "%s on %u of %s differs from one by one", op_infos[op].name, n,
                      dtype_name(in));
    }
}

START_TEST(blocks_equal_their_elements) {
    uint64_t seed = random_seed(19);
    uint32_t checked = 0;
    for (OpCode op = 0; op < OP_COUNT; op++)
        for (DType in = 1; in < DT_COUNT; in++) {
            EvalCode code;
            if (!(op_infos[op].flags & OPF_ELEMENT) || op == OP_offset || op == OP_cast) continue;
            if (!eval_prepare(&code, op, in, result_dtype(op, in), 0)) continue;
            check_block(&code, op, in, &seed);
            checked++;
        }
    for (DType in = 1; in < DT_COUNT; in++)
        for (DType out = 1; out < DT_COUNT; out++) {
            EvalCode code;
            ck_assert(eval_prepare(&code, OP_cast, in, out, 0));
            check_block(&code, OP_cast, in, &seed);
        }
    ck_assert_uint_gt(checked, 300);
}
END_TEST

/* Every op is there for every dtype that its type rule lets through. */
START_TEST(no_op_is_missing) {
    for (OpCode op = 0; op < OP_COUNT; op++) {
        const TypeRule rule = op_infos[op].rule;
        if (!(op_infos[op].flags & OPF_ELEMENT) || rule == RULE_OFFSET || rule == RULE_CAST)
            continue;
        for (DType in = 1; in < DT_COUNT; in++) {
            EvalCode code;
            const bool wide = op >= OP_exp && op <= OP_nextafter;
            bool wanted = rule == RULE_SAME_INT ? dtype_is_int(in) : true;
            if (rule == RULE_SAME_FLOAT)
                wanted = wide ? in == DT_f32 || in == DT_f64 : dtype_is_float(in);
            const bool known = eval_prepare(&code, op, in, result_dtype(op, in), 0);
            ck_assert_msg(known || !wanted, "%s on %s is missing", op_infos[op].name,
                          dtype_name(in));
        }
    }
}
END_TEST

UNIT_MAIN("eval", small_integers_all_pairs, wide_integers_corners, integer_clamp_and_select,
          min_max_nan_and_zero, clamp_with_and_without_nan, comparisons_with_nan,
          f32_arithmetic_is_correctly_rounded, functions_f32, functions_of_two_f32, functions_f64,
          blocks_equal_their_elements, no_op_is_missing)
