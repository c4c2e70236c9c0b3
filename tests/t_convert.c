/* Tests of compiler/eval_cast.c: narrow floats and casts, against formats stated from scratch: a
 * code is sign, exponent field, mantissa; a number rounds to the code that lies nearest.
 */
#include "tests/unit.h"

#include "compiler/eval.h"

#include <float.h>
#include <math.h>

typedef struct Format {
    DType dtype;
    int exponent_bits, mantissa_bits, bias;
    uint32_t largest; /* code of the largest finite number */
    bool infinite;    /* has infinities: overflow gives them */
} Format;

static const Format formats[] = {
    {DT_f16, 5, 10, 15, 0x7bff, true},     {DT_bf16, 8, 7, 127, 0x7f7f, true},
    {DT_f8e4m3, 4, 3, 7, 0x7e, false},     {DT_f8e5m2, 5, 2, 15, 0x7b, false},
    {DT_f8e4m3b15, 4, 3, 15, 0x7f, false},
};

static uint32_t width_of(const Format *f) {
    return (uint32_t)(1 + f->exponent_bits + f->mantissa_bits);
}
static uint32_t nan_code(const Format *f) {
    return (1u << (width_of(f) - 1)) - 1;
}

/* Value of a magnitude up to `largest`, and one step beyond it: where overflow begins to round. */
static double magnitude_value(const Format *f, uint32_t code) {
    const int field = (int)(code >> f->mantissa_bits);
    const double m = (double)(code & ((1u << f->mantissa_bits) - 1)) * ldexp(1, -f->mantissa_bits);
    return field == 0 ? ldexp(m, 1 - f->bias) : ldexp(1 + m, field - f->bias);
}

/* The code `value` rounds to, found by bisection over all magnitudes. */
static uint32_t round_to(const Format *f, double value, bool rtz) {
    const uint32_t sign = signbit(value) ? 1u << (width_of(f) - 1) : 0;
    const double m = fabs(value);
    if (isnan(value)) return nan_code(f);
    const uint32_t over = f->infinite && !(rtz && isfinite(m)) ? f->largest + 1 : f->largest;
    uint32_t low = 0, high = f->largest + 1; /* value(low) <= m < value(high) */
    if (m >= magnitude_value(f, high)) return sign | over;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (magnitude_value(f, middle) <= m)
            low = middle;
        else
            high = middle;
    }
    const double down = m - magnitude_value(f, low), up = magnitude_value(f, high) - m;
    const bool to_high = !rtz && (down > up || (down == up && low % 2 == 1));
    if (to_high) low = high;
    return sign | (low > f->largest ? over : low);
}

static uint64_t bits64(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static uint32_t bits32(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static uint64_t cast(DType from, DType to, uint64_t bits, bool rtz) {
    EvalCode code;
    uint64_t result = 0;
    const void *operands[1] = {&bits};
    if (!eval_prepare(&code, OP_cast, from, to, rtz ? EVAL_RTZ : 0)) ck_abort_msg("no such cast");
    eval_block(&code, 1, &result, operands);
    return result;
}

/* Every code: its value, and back. Blocks of all of them at once. */
START_TEST(every_code_widens_and_returns) {
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        const Format *f = &formats[i];
        const uint32_t count = 1u << width_of(f), size = width_of(f) / 8;
        uint8_t *codes = malloc((size_t)count * size), *back = malloc((size_t)count * size);
        float *wide = malloc(count * sizeof *wide);
        for (uint32_t c = 0; c < count; c++) memcpy(codes + (size_t)c * size, &c, size);
        eval_to_f32(f->dtype, count, wide, codes);
        eval_from_f32(f->dtype, false, count, back, wide);
        for (uint32_t c = 0; c < count; c++) {
            const uint32_t magnitude = c & (count / 2 - 1);
            uint32_t again = 0;
            memcpy(&again, back + (size_t)c * size, size);
            if (magnitude > f->largest + f->infinite + (f->dtype == DT_f8e5m2)) {
                if (!isnan(wide[c]) || again != nan_code(f))
                    ck_abort_msg("%s %x is %a", dtype_name(f->dtype), c, wide[c]);
                continue;
            }
            const double value = magnitude > f->largest ? INFINITY : magnitude_value(f, magnitude);
            const uint32_t returns = f->dtype == DT_f8e5m2 && isinf(value) ? c - 1 : c;
            if (bits32(wide[c]) != bits32((float)(c == magnitude ? value : -value)) ||
                again != returns)
                ck_abort_msg("%s %x is %a and back %x", dtype_name(f->dtype), c, wide[c], again);
        }
        free(codes);
        free(back);
        free(wide);
    }
}
END_TEST

static void check_rounding(const Format *f, double value) {
    for (int rtz = 0; rtz < 2; rtz++) {
        const uint32_t want = round_to(f, value, rtz);
        const uint64_t got = cast(DT_f64, f->dtype, bits64(value), rtz);
        if (got != want)
            ck_abort_msg("%a to %s%s: %llx, not %x", value, dtype_name(f->dtype), rtz ? " rtz" : "",
                         (unsigned long long)got, want);
        const float single = (float)value;
        if ((double)single != value) continue;
        const uint64_t from_f32 = cast(DT_f32, f->dtype, bits32(single), rtz);
        if (from_f32 != want)
            ck_abort_msg("f32 %a to %s%s: %llx, not %x", value, dtype_name(f->dtype),
                         rtz ? " rtz" : "", (unsigned long long)from_f32, want);
    }
}

/* Every number of the format, every midpoint, and what lies next to them, of both signs. */
START_TEST(rounding_at_every_midpoint) {
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        const Format *f = &formats[i];
        for (uint32_t c = 0; c <= f->largest; c++) {
            const double here = magnitude_value(f, c), next = magnitude_value(f, c + 1);
            const double middle = (here + next) / 2;
            const double near[] = {here,
                                   nextafter(here, INFINITY),
                                   middle,
                                   nextafter(middle, 0),
                                   nextafter(middle, INFINITY),
                                   (double)nextafterf((float)middle, 0),
                                   (double)nextafterf((float)middle, INFINITY)};
            for (size_t k = 0; k < ARRAY_LENGTH(near); k++) {
                check_rounding(f, near[k]);
                check_rounding(f, -near[k]);
            }
        }
        const double far[] = {1e6,      1e300,     INFINITY, NAN,  DBL_MAX,
                              0x1p-149, 0x1p-1074, 65519.99, 65520};
        for (size_t k = 0; k < ARRAY_LENGTH(far); k++) {
            check_rounding(f, far[k]);
            check_rounding(f, -far[k]);
        }
    }
}
END_TEST

START_TEST(saturation_as_promised) {
    ck_assert_uint_eq(cast(DT_f32, DT_f8e4m3, bits32(449), false), 0x7e);
    ck_assert_uint_eq(cast(DT_f32, DT_f8e4m3, bits32(-INFINITY), false), 0xfe);
    ck_assert_uint_eq(cast(DT_f32, DT_f8e4m3, bits32(NAN), false), 0x7f);
    ck_assert_uint_eq(cast(DT_f32, DT_f8e5m2, bits32(INFINITY), false), 0x7b);
    ck_assert_uint_eq(cast(DT_f32, DT_f8e5m2, bits32(NAN), false), 0x7f);
    ck_assert_uint_eq(cast(DT_f32, DT_f8e4m3b15, bits32(7), false), 0x7f);
    ck_assert_uint_eq(cast(DT_f32, DT_f16, bits32(65520), false), 0x7c00);
    ck_assert_uint_eq(cast(DT_f32, DT_f16, bits32(65520), true), 0x7bff);
    ck_assert_uint_eq(cast(DT_f32, DT_f16, bits32(INFINITY), true), 0x7c00);
    ck_assert_uint_eq(cast(DT_f32, DT_bf16, bits32(FLT_MAX), false), 0x7f80);
    ck_assert_uint_eq(cast(DT_f64, DT_f32, bits64(1e300), true), bits32(FLT_MAX));
    ck_assert_uint_eq(cast(DT_f64, DT_f32, bits64(1e300), false), bits32(INFINITY));
}
END_TEST

/* Random f32 patterns in blocks, against the scalar statement. */
START_TEST(random_patterns) {
    uint64_t seed = random_seed(23);
    enum { N = 4096 };
    static float x[N];
    static uint16_t r[N];
    static uint8_t r8[N];
    for (int round = 0; round < 40; round++)
        for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
            const Format *f = &formats[i];
            for (int k = 0; k < N; k++) {
                x[k] = float_of(random_next(&seed));
                if (k % 2) x[k] = ldexpf((float)(int32_t)random_next(&seed), -31 - (k / 2) % 30);
            }
            eval_from_f32(f->dtype, round % 2, N, width_of(f) == 16 ? (void *)r : (void *)r8, x);
            for (int k = 0; k < N; k++) {
                const uint32_t got = width_of(f) == 16 ? r[k] : r8[k];
                if (got != round_to(f, (double)x[k], round % 2))
                    ck_abort_msg("%a to %s: %x", x[k], dtype_name(f->dtype), got);
            }
        }
}
END_TEST

/* ---- arithmetic of narrow floats: one rounding of the exact result ------------------------------
 */

static double value_of(const Format *f, uint32_t code) {
    float x;
    eval_to_f32(f->dtype, 1, &x, &code);
    return (double)x;
}

static void check_narrow(const Format *f, OpCode op, uint32_t a, uint32_t b, uint32_t c) {
    const double x = value_of(f, a), y = value_of(f, b);
    double exact = 0;
    switch (op) {
    case OP_add: exact = x + y; break; /* what f64 drops is far below a tie */
    case OP_sub: exact = x - y; break;
    case OP_mul: exact = x * y; break;
    case OP_div: exact = x / y; break;
    case OP_rem: exact = fmod(x, y); break;
    case OP_sqrt: exact = sqrt(x); break;
    default: break;
    }
    uint64_t got = 0;
    if (!eval_scalar(op, f->dtype, f->dtype, (uint64_t[]){a, b, c}, &got)) ck_abort_msg("no op");
    if (isnan(exact) ? got != nan_code(f) : got != round_to(f, exact, false))
        ck_abort_msg("%s %s of %a and %a: %llx, not %x", dtype_name(f->dtype), op_infos[op].name, x,
                     y, (unsigned long long)got, round_to(f, exact, false));
}

START_TEST(narrow_arithmetic) {
    static const OpCode ops[] = {OP_add, OP_sub, OP_mul, OP_div, OP_rem, OP_sqrt};
    uint64_t seed = random_seed(29);
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++)
        for (size_t k = 0; k < ARRAY_LENGTH(ops); k++) {
            const Format *f = &formats[i];
            const uint32_t end = 1u << width_of(f);
            const bool all = end == 256;
            for (uint32_t j = 0; j < 65536; j++)
                check_narrow(f, ops[k], all ? j % 256 : random_next(&seed) % end,
                             all ? j / 256 : random_next(&seed) % end, 0);
        }
}
END_TEST

__extension__ typedef __int128 Wide;

/* f16 numbers are multiples of 2^-24, so x y + z is an integer of at most 82 bits times 2^-48.
 * It goes to f64 with what does not fit or-ed into the last bit. */
static double exact_fma(double x, double y, double z) {
    const Wide sum = (Wide)(x * 0x1p24) * (Wide)(y * 0x1p24) + (Wide)(z * 0x1p24) * ((Wide)1 << 24);
    Wide m = sum < 0 ? -sum : sum;
    int shift = 0;
    for (; m >> 53; shift++) m = m >> 1 | (m & 1);
    if (sum == 0) return fma(x, y, z); /* its sign */
    return ldexp(sum < 0 ? -(double)m : (double)m, shift - 48);
}

START_TEST(narrow_fma_rounds_once) {
    uint64_t seed = random_seed(31), r = 0;
    const Format *f = &formats[0];
    for (uint32_t j = 0; j < 200000; j++) {
        const uint32_t a = random_next(&seed) % 65536, b = random_next(&seed) % 65536;
        const uint32_t c = random_next(&seed) % 65536;
        const double x = value_of(f, a), y = value_of(f, b), z = value_of(f, c);
        if (!isfinite(x) || !isfinite(y) || !isfinite(z)) continue;
        const uint32_t want = round_to(f, exact_fma(x, y, z), false);
        if (!eval_scalar(OP_fma, DT_f16, DT_f16, (uint64_t[]){a, b, c}, &r) || r != want)
            ck_abort_msg("fma(%a, %a, %a) is %llx, not %x", x, y, z, (unsigned long long)r, want);
    }
    /* bf16: 1.5 * 1.0078125 = 1.51171875, halfway between two; a tiny c decides. */
    const uint64_t low = 0x0080, product[2] = {0x3fc0, 0x3f81};
    ck_assert(eval_scalar(OP_fma, DT_bf16, DT_bf16, (uint64_t[]){product[0], product[1], low}, &r));
    ck_assert_uint_eq(r, 0x3fc2);
    ck_assert(eval_scalar(OP_fma, DT_bf16, DT_bf16,
                          (uint64_t[]){product[0], product[1], 0x8000 | low}, &r));
    ck_assert_uint_eq(r, 0x3fc1);
    ck_assert(eval_scalar(OP_fma, DT_bf16, DT_bf16, (uint64_t[]){product[0], product[1], 0}, &r));
    ck_assert_uint_eq(r, 0x3fc2); /* to even */
}
END_TEST

/* ---- casts
 * ------------------------------------------------------------------------------------------ */

START_TEST(floats_to_integers_saturate) {
    static const struct {
        double from;
        DType to;
        uint64_t want;
    } cases[] = {
        {1.9, DT_i32, 1},
        {-1.9, DT_i32, 0xffffffff},
        {NAN, DT_i32, 0},
        {1e10, DT_i32, INT32_MAX},
        {-1e10, DT_i32, 0x80000000},
        {2147483647.0, DT_i32, INT32_MAX},
        {-0.99, DT_u32, 0},
        {-5, DT_u32, 0},
        {4294967295.0, DT_u32, UINT32_MAX},
        {1e20, DT_u32, UINT32_MAX},
        {300, DT_u8, 255},
        {255.5, DT_u8, 255},
        {-200, DT_i8, 0x80},
        {127.9, DT_i8, 127},
        {128, DT_i8, 127},
        {-128.9, DT_i8, 0x80},
        {40000, DT_i16, 32767},
        {-40000, DT_i16, 0x8000},
        {1e19, DT_i64, INT64_MAX},
        {-1e19, DT_i64, 1ull << 63},
        {1e19, DT_u64, 10000000000000000000u},
        {1e20, DT_u64, UINT64_MAX},
        {INFINITY, DT_i64, INT64_MAX},
        {-INFINITY, DT_u16, 0},
        {NAN, DT_u64, 0},
        {0.5, DT_i1, 1},
        {0, DT_i1, 0},
        {-0.0, DT_i1, 0},
        {NAN, DT_i1, 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const uint64_t wide = cast(DT_f64, cases[i].to, bits64(cases[i].from), false);
        ck_assert_msg(wide == cases[i].want, "case %zu: %llx", i, (unsigned long long)wide);
        if ((double)(float)cases[i].from != cases[i].from && cases[i].from == cases[i].from)
            continue;
        const uint64_t single = cast(DT_f32, cases[i].to, bits32((float)cases[i].from), false);
        ck_assert_msg(single == cases[i].want, "f32 case %zu: %llx", i, (unsigned long long)single);
    }
    ck_assert_uint_eq(cast(DT_f16, DT_i8, 0x5c00, false), 127); /* 256 */
    ck_assert_uint_eq(cast(DT_bf16, DT_i32, 0xc000, false), 0xfffffffe);
}
END_TEST

START_TEST(integers_wrap_and_extend) {
    ck_assert_uint_eq(cast(DT_i32, DT_i8, 0x1ff, false), 0xff);
    ck_assert_uint_eq(cast(DT_i8, DT_i64, 0x80, false), 0xffffffffffffff80u);
    ck_assert_uint_eq(cast(DT_u8, DT_i64, 0x80, false), 0x80);
    ck_assert_uint_eq(cast(DT_i1, DT_i32, 1, false), 1);
    ck_assert_uint_eq(cast(DT_i32, DT_i1, 2, false), 1);
    ck_assert_uint_eq(cast(DT_u64, DT_i1, 1ull << 63, false), 1);
    ck_assert_uint_eq(cast(DT_i64, DT_f64, (uint64_t)-3, false), bits64(-3));
    ck_assert_uint_eq(cast(DT_u64, DT_f32, UINT64_MAX, false), bits32(0x1p64f));
    ck_assert_uint_eq(cast(DT_i32, DT_f32, 0x7fffffff, false), bits32(0x1p31f));
}
END_TEST

/* Integers to narrow floats round once: from exact values, with no stop in f32. */
START_TEST(integers_to_narrow_floats) {
    uint64_t seed = random_seed(37);
    const Format *bf16 = &formats[1], *f16 = &formats[0];
    for (int i = 0; i < 100000; i++) {
        const int32_t a = (int32_t)random_next(&seed) >> random_next(&seed) % 32;
        if (cast(DT_i32, DT_bf16, (uint32_t)a, false) != round_to(bf16, a, false) ||
            cast(DT_i32, DT_f16, (uint32_t)a, false) != round_to(f16, a, false))
            ck_abort_msg("%d to a narrow float", a);
    }
    /* 2^62 + 2^54 is a tie in bf16; one more is not, though f32 and f64 cannot tell. */
    const uint64_t tie = (1ull << 62) + (1ull << 54);
    ck_assert_uint_eq(cast(DT_i64, DT_bf16, tie, false), 0x5e80);
    ck_assert_uint_eq(cast(DT_i64, DT_bf16, tie + 1, false), 0x5e81);
    ck_assert_uint_eq(cast(DT_i64, DT_bf16, 0 - (tie + 1), false), 0xde81);
    ck_assert_uint_eq(cast(DT_u64, DT_bf16, tie + 1, false), 0x5e81);
    ck_assert_uint_eq(cast(DT_f64, DT_bf16, bits64(1 + 0x1p-8 + 0x1p-50), false), 0x3f81);
    ck_assert_uint_eq(cast(DT_f64, DT_bf16, bits64(1 + 0x1p-8), false), 0x3f80);
}
END_TEST

START_TEST(numbers_and_bits) {
    ck_assert_uint_eq(eval_bits_from_double(DT_f16, 1.5), 0x3e00);
    ck_assert_uint_eq(eval_bits_from_double(DT_f32, 0.1), bits32(0.1f));
    ck_assert_uint_eq(eval_bits_from_int(DT_i8, -1), 0xff);
    ck_assert_uint_eq(eval_bits_from_int(DT_bf16, 3), 0x4040);
    ck_assert_uint_eq(eval_bits_from_int(DT_NONE, 5), 5);
    ck_assert(eval_double_from_bits(DT_f8e5m2, 0xbc) == -1.0);
    ck_assert_int_eq(eval_int_from_bits(DT_i16, 0xffff), -1);
    ck_assert_int_eq(eval_int_from_bits(DT_u16, 0xffff), 65535);
    const Attribute real = {.is_float = true, .f = 2}, whole = {.i = 2};
    ck_assert_uint_eq(eval_bits_from_number(DT_f16, &real), 0x4000);
    ck_assert_uint_eq(eval_bits_from_number(DT_i32, &whole), 2);
}
END_TEST

UNIT_MAIN("convert", every_code_widens_and_returns, rounding_at_every_midpoint,
          saturation_as_promised, random_patterns, narrow_arithmetic, narrow_fma_rounds_once,
          floats_to_integers_saturate, integers_wrap_and_extend, integers_to_narrow_floats,
          numbers_and_bits)
