/* Tests of dot and dot_scaled: bit by bit against the sum in the order that is promised: c first,
 * then products in order of k, in f32 (f64, i32), rounded to the result's type once at the end.
 */
#include "tests/interp_test.h"

#include "compiler/eval.h"

#include <math.h>

typedef struct Shape {
    uint32_t batch, m, n, k; /* batch 0: matrices without one */
} Shape;

static uint32_t tiles(const Shape *s) {
    return s->batch ? s->batch : 1;
}

static void shape_text(char *text, size_t size, const Shape *s, uint32_t rows, uint32_t columns) {
    if (s->batch)
        snprintf(text, size, "%ux%ux%u", s->batch, rows, columns);
    else
        snprintf(text, size, "%ux%u", rows, columns);
}

static uint64_t element(DType dtype, const uint8_t *data, size_t i) {
    uint64_t bits = 0;
    memcpy(&bits, data + i * dtype_size(dtype), dtype_size(dtype));
    return bits;
}

static float tf32(float x) { /* to 10 bits, ties away from zero */
    int exponent;
    const double m = frexp((double)x, &exponent);
    return (float)ldexp(copysign(floor(fabs(m) * 2048 + 0.5), m), exponent - 11);
}

/* One element of the result, as bits. */
static uint64_t reference(const Shape *s, DType in, DType out, bool round_tf32, const uint8_t *a,
                          const uint8_t *b, const uint8_t *c, uint32_t i, uint32_t j) {
    const uint64_t first = element(out, c, (size_t)i * s->n + j);
    float sum = (float)eval_double_from_bits(out, first);
    double sum64 = eval_double_from_bits(out, first);
    uint32_t sum32 = (uint32_t)eval_int_from_bits(out, first);
    for (uint32_t p = 0; p < s->k; p++) {
        const uint64_t x = element(in, a, (size_t)i * s->k + p);
        const uint64_t y = element(in, b, (size_t)p * s->n + j);
        float u = (float)eval_double_from_bits(in, x), v = (float)eval_double_from_bits(in, y);
        if (round_tf32) u = tf32(u), v = tf32(v);
        const float product = u * v;
        sum = sum + product;
        sum64 += eval_double_from_bits(in, x) * eval_double_from_bits(in, y);
        if (dtype_is_int(in))
            sum32 += (uint32_t)eval_int_from_bits(in, x) * (uint32_t)eval_int_from_bits(in, y);
    }
    if (dtype_is_int(out)) return sum32;
    return eval_bits_from_double(out, out == DT_f64 ? sum64 : (double)sum);
}

static void fill(DType dtype, uint8_t *data, size_t n, uint64_t *seed) {
    for (size_t i = 0; i < n; i++) {
        const double x = (double)(int32_t)random_next(seed) * 0x1p-31;
        const uint64_t bits = dtype_is_float(dtype) ? eval_bits_from_double(dtype, x)
                                                    : eval_bits_from_int(dtype, (int64_t)(x * 128));
        memcpy(data + i * dtype_size(dtype), &bits, dtype_size(dtype));
    }
}

static void check_dot(const Shape *s, DType in, DType out, const char *precision, bool ieee) {
    static uint8_t a[1 << 17], b[1 << 17], c[1 << 18], r[1 << 18];
    char as[32], bs[32], cs[32], text[256];
    uint64_t seed = 99 + s->m + s->n;
    shape_text(as, sizeof as, s, s->m, s->k);
    shape_text(bs, sizeof bs, s, s->k, s->n);
    shape_text(cs, sizeof cs, s, s->m, s->n);
    fill(in, a, (size_t)tiles(s) * s->m * s->k, &seed);
    fill(in, b, (size_t)tiles(s) * s->k * s->n, &seed);
    fill(out, c, (size_t)tiles(s) * s->m * s->n, &seed);
    snprintf(text, sizeof text, "%%200: %sx%s = dot %%100, %%101, %%102 %s", cs, dtype_name(out),
             precision);
    Case *t = case_blocks(3, (Tensor[]){{in, as, a}, {in, bs, b}, {out, cs, c}}, text, 1,
                          &(Tensor){out, cs, r});
    t->launch.ieee_dot = ieee;
    case_must_run(t, 1);
    case_free(t);
    const bool rounds = in == DT_f32 && !ieee && (!*precision || strstr(precision, "= tf32}"));
    const uint32_t size = dtype_size(in), out_size = dtype_size(out);
    for (uint32_t i = 0; i < tiles(s) * s->m * s->n; i++) {
        const uint32_t tile = i / (s->m * s->n), row = i / s->n % s->m, column = i % s->n;
        const uint64_t want = reference(s, in, out, rounds, a + (size_t)tile * s->m * s->k * size,
                                        b + (size_t)tile * s->k * s->n * size,
                                        c + (size_t)tile * s->m * s->n * out_size, row, column);
        if (element(out, r, i) != want)
            ck_abort_msg("%s of %s, %s %s: element %u is %llx, not %llx", dtype_name(in),
                         dtype_name(out), cs, precision, i, (unsigned long long)element(out, r, i),
                         (unsigned long long)want);
    }
}

START_TEST(every_type_and_shape) {
    static const Shape shapes[] = {{0, 16, 16, 16}, {0, 128, 64, 32}, {0, 1, 1, 1},
                                   {0, 4, 128, 64}, {0, 2, 8, 256},   {4, 16, 32, 16},
                                   {2, 8, 16, 8},   {0, 64, 2, 4}};
    static const struct {
        DType in, out;
    } types[] = {{DT_f16, DT_f32},       {DT_f16, DT_f16},    {DT_bf16, DT_f32},
                 {DT_bf16, DT_bf16},     {DT_f8e4m3, DT_f32}, {DT_f8e5m2, DT_f16},
                 {DT_f8e4m3b15, DT_f32}, {DT_f32, DT_f32},    {DT_f64, DT_f64},
                 {DT_i8, DT_i32},        {DT_u8, DT_i32}};
    for (size_t i = 0; i < ARRAY_LENGTH(shapes); i++)
        for (size_t k = 0; k < ARRAY_LENGTH(types); k++)
            check_dot(&shapes[i], types[k].in, types[k].out, "", false);
}
END_TEST

START_TEST(precision_of_f32) {
    const Shape s = {0, 32, 32, 64};
    static const char *const words[] = {"tf32", "ieee", "tf32x3", "bf16x3", "bf16x6"};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        char text[64];
        snprintf(text, sizeof text, "{precision = %s}", words[i]);
        check_dot(&s, DT_f32, DT_f32, text, false);
        check_dot(&s, DT_f32, DT_f32, text, true);
    }
}
END_TEST

/* An accumulator carried by a loop and one that is uniform. */
START_TEST(accumulators) {
    static float a[1024], b[1024], r[1024];
    uint64_t seed = random_seed(41);
    fill(DT_f32, (uint8_t *)a, 1024, &seed);
    fill(DT_f32, (uint8_t *)b, 1024, &seed);
    run_blocks(2, (Tensor[]){{DT_f32, "32x32", a}, {DT_f32, "32x32", b}},
               "%1: 32x32xf32 = constant {value = 0.0}\n%2: i32 = constant {value = 0}\n"
               "%3: i32 = constant {value = 3}\n%4: i32 = constant {value = 1}\n"
               "%5: 32x32xf32 = for %2, %3, %4, %1 (%6: i32, %7: 32x32xf32) {\n"
               "%8: 32x32xf32 = dot %100, %101, %7 {precision = ieee}\nyield %8\n}\n"
               "%9: 32x32xf32 = dot %100, %101, %1 {precision = ieee}\n"
               "%200: 32x32xf32 = sub %5, %9",
               1, &(Tensor){DT_f32, "32x32", r});
    for (int i = 0; i < 1024; i++) {
        float sum = 0, once = 0;
        for (int turn = 0; turn < 3; turn++)
            for (int p = 0; p < 32; p++) {
                const float product = a[i / 32 * 32 + p] * b[p * 32 + i % 32];
                sum += product;
                if (turn == 0) once += product;
            }
        ck_assert(r[i] == sum - once);
    }
}
END_TEST

/* ---- dot_scaled
 * ----------------------------------------------------------------------------------- */

static double e2m1(uint32_t code) {
    const double m = code & 1 ? 1.5 : 1, e = code >> 1 & 3;
    const double magnitude = e == 0 ? (code & 1) * 0.5 : ldexp(m, (int)e - 1);
    return code & 8 ? -magnitude : magnitude;
}

START_TEST(scaled) {
    enum { M = 16, N = 32, K = 64 };
    static uint8_t a[M * K / 2], b[K * N], as[M * K / 32], bs[N * K / 32], b4[K / 2 * N];
    static float c[M * N], r[M * N];
    uint64_t seed = random_seed(43);
    for (int i = 0; i < M * K / 2; i++) a[i] = (uint8_t)random_next(&seed);
    for (int i = 0; i < K / 2 * N; i++) b4[i] = (uint8_t)random_next(&seed);
    fill(DT_f8e4m3, b, K * N, &seed);
    fill(DT_f32, (uint8_t *)c, M * N, &seed);
    for (int i = 0; i < M * K / 32; i++) as[i] = (uint8_t)(120 + random_next(&seed) % 12);
    for (int i = 0; i < N * K / 32; i++) bs[i] = (uint8_t)(120 + random_next(&seed) % 12);
    for (int packed = 0; packed < 2; packed++) {
        run_blocks(
            5,
            (Tensor[]){{DT_u8, "16x32", a},
                       {DT_u8, "16x2", as},
                       packed ? (Tensor){DT_u8, "32x32", b4} : (Tensor){DT_f8e4m3, "64x32", b},
                       {DT_u8, "32x2", bs},
                       {DT_f32, "16x32", c}},
            packed ? "%200: 16x32xf32 = dot_scaled %100, %101, %102, %103, %104 "
                     "{a_format = e2m1, b_format = e2m1}"
                   : "%200: 16x32xf32 = dot_scaled %100, %101, %102, %103, %104 "
                     "{a_format = e2m1, b_format = e4m3}",
            1, &(Tensor){DT_f32, "16x32", r});
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                float sum = c[i * N + j];
                for (int p = 0; p < K; p++) {
                    const double x = e2m1(a[i * K / 2 + p / 2] >> (p % 2 * 4) & 15);
                    const double y = packed ? e2m1(b4[p / 2 * N + j] >> (p % 2 * 4) & 15)
                                            : eval_double_from_bits(DT_f8e4m3, b[p * N + j]);
                    const double scale = ldexp(1, as[i * 2 + p / 32] + bs[j * 2 + p / 32] - 254);
                    sum += (float)(x * y * scale);
                }
                ck_assert_msg(r[i * N + j] == sum, "[%d, %d]: %a, not %a", i, j, r[i * N + j], sum);
            }
    }
    as[0] = 255; /* NaN */
    run_blocks(5,
               (Tensor[]){{DT_u8, "16x32", a},
                          {DT_u8, "16x2", as},
                          {DT_f8e4m3, "64x32", b},
                          {DT_u8, "32x2", bs},
                          {DT_f32, "16x32", c}},
               "%200: 16x32xf32 = dot_scaled %100, %101, %102, %103, %104 "
               "{a_format = e2m1, b_format = e4m3}",
               1, &(Tensor){DT_f32, "16x32", r});
    ck_assert(isnan(r[0]) && !isnan(r[N]));
}
END_TEST

UNIT_MAIN("interp_dot", every_type_and_shape, precision_of_f32, accumulators, scaled)
