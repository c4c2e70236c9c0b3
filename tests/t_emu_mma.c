/* t_emu_mma.c: tensor-core instructions of sm_80 (and 8-bit floats), and whole matrix products. */
#include "tests/emu_test.h"

#include <math.h>

typedef uint32_t u32;

/* ---- one mma: fragments placed by the tables of the ISA -------------------------------------- */

typedef struct Kind {
    const char *kernel, *fixture;
    u32 m, k, bits; /* of an element of A and B */
    double (*a)(u32 bits), (*b)(u32 bits);
    bool integer, saturate;
} Kind;

static double of_f16(u32 h) {
    int e = (int)(h >> 10 & 31);
    double m = h & 1023, v = e ? ldexp(m + 1024, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}
static double of_f32(u32 bits) {
    float v;
    memcpy(&v, &bits, 4);
    return (double)v;
}
static double of_bf16(u32 h) {
    return of_f32(h << 16);
}
static double of_tf32(u32 h) {
    return of_f32(h & 0xffffe000);
}
static double of_s8(u32 b) {
    return (int8_t)b;
}
static double of_u8(u32 b) {
    return (uint8_t)b;
}
static double of_s4(u32 b) {
    return (double)((int)(b << 28) >> 28);
}
static double of_e4m3(u32 b) {
    int e = (int)(b >> 3 & 15);
    double m = b & 7, v = e ? ldexp(m + 8, e - 10) : ldexp(m, -9);
    return b & 128 ? -v : v;
}
static double of_e5m2(u32 b) {
    return of_f16(b << 8);
}

static const Kind kinds[] = {
    {"mma_f16", "mma.sm_80", 16, 16, 16, of_f16, of_f16, false, false},
    {"mma_bf16", "mma.sm_80", 16, 16, 16, of_bf16, of_bf16, false, false},
    {"mma_tf32", "mma.sm_80", 16, 8, 32, of_tf32, of_tf32, false, false},
    {"mma_s8", "mma.sm_80", 16, 32, 8, of_s8, of_s8, true, false},
    {"mma_u8s8", "mma.sm_80", 16, 32, 8, of_u8, of_s8, true, true},
    {"mma_s4", "mma.sm_80", 16, 64, 4, of_s4, of_s4, true, false},
    {"mma_e4m3", "mma.sm_90a", 16, 32, 8, of_e4m3, of_e4m3, false, false},
    {"mma_e5m2", "mma.sm_90a", 16, 32, 8, of_e5m2, of_e4m3, false, false},
};

/* Bits whose value is a number of moderate size. */
static u32 element(const Kind *kind, bool is_b, uint64_t *state) {
    for (;;) {
        u32 bits = (u32)emu_test_random(state);
        if (kind->bits < 32) bits &= (1u << kind->bits) - 1;
        double v = fabs((is_b ? kind->b : kind->a)(bits));
        bool fp8_nan = kind->kernel[4] == 'e' && (bits & 127) == 127;
        if (!fp8_nan && (kind->integer || (v < 64 && (v > 0.001 || v == 0)))) return bits;
    }
}

static void check_mma(const Kind *kind, uint64_t *state) {
    u32 a[4 * 32] = {0}, b[2 * 32] = {0}, c[4 * 32], d[4 * 32];
    double va[16][64], vb[64][8];
    u32 e = 32 / kind->bits;
    for (u32 row = 0; row < 16; row++)
        for (u32 k = 0; k < kind->k; k++) { /* the ISA's tables, read from element to register */
            u32 bits = element(kind, false, state);
            va[row][k] = kind->a(bits);
            u32 lane = row % 8 * 4 + k % (4 * e) / e, reg = row / 8 + 2 * (k / (4 * e));
            a[reg * 32 + lane] |= bits << (k % e * kind->bits % 32);
        }
    for (u32 k = 0; k < kind->k; k++)
        for (u32 n = 0; n < 8; n++) {
            u32 bits = element(kind, true, state);
            vb[k][n] = kind->b(bits);
            b[k / (4 * e) * 32 + n * 4 + k % (4 * e) / e] |= bits << (k % e * kind->bits % 32);
        }
    for (u32 i = 0; i < 128; i++) {
        float v = (float)((double)(emu_test_random(state) % 1000) / 100 - 5);
        if (kind->integer)
            c[i] = i % 7 ? (u32)emu_test_random(state) % 1000 : INT32_MAX - 100;
        else
            memcpy(&c[i], &v, 4);
    }
    Emu t;
    emu_test_fixture(&t, kind->fixture);
    emu_test_array(&t, "a", a, sizeof a);
    emu_test_array(&t, "b", b, sizeof b);
    emu_test_array(&t, "c", c, sizeof c);
    emu_test_array(&t, "d", d, sizeof d);
    emu_test_run(&t, kind->kernel, 1, 32);
    for (u32 row = 0; row < 16; row++)
        for (u32 n = 0; n < 8; n++) {
            u32 at = (row / 8 * 2 + n % 2) * 32 + row % 8 * 4 + n / 2;
            double sum = kind->integer ? (double)(int32_t)c[at] : of_f32(c[at]), size = fabs(sum);
            for (u32 k = 0; k < kind->k; k++)
                sum += va[row][k] * vb[k][n], size += fabs(va[row][k] * vb[k][n]);
            if (kind->integer) {
                int64_t whole = (int64_t)sum;
                if (kind->saturate) whole = whole > INT32_MAX ? INT32_MAX : whole;
                ck_assert_msg((u32)whole == d[at], "%s row %u n %u: %d, not %lld", kind->kernel,
                              row, n, (int32_t)d[at], (long long)whole);
            } else {
                double bound = size * kind->k * 0x1p-24;
                ck_assert_msg(fabs(of_f32(d[at]) - sum) <= bound, "%s row %u n %u: %g, not %g",
                              kind->kernel, row, n, of_f32(d[at]), sum);
            }
        }
    emu_test_free(&t);
}

START_TEST(each_kind) {
    uint64_t state = emu_test_seed();
    check_mma(&kinds[_i], &state);
}
END_TEST

START_TEST(doubles) {
    double a[32], b[32], c[64], d[64];
    uint64_t state = emu_test_seed();
    for (u32 i = 0; i < 64; i++) {
        if (i < 32) a[i] = (double)(int64_t)emu_test_random(&state) * 0x1p-63;
        if (i < 32) b[i] = (double)(int64_t)emu_test_random(&state) * 0x1p-63;
        c[i] = (double)(int64_t)emu_test_random(&state) * 0x1p-63;
    }
    Emu t;
    emu_test_fixture(&t, "mma.sm_80");
    emu_test_array(&t, "a", a, sizeof a);
    emu_test_array(&t, "b", b, sizeof b);
    emu_test_array(&t, "c", c, sizeof c);
    emu_test_array(&t, "d", d, sizeof d);
    emu_test_run(&t, "mma_f64", 1, 32);
    for (u32 row = 0; row < 8; row++)
        for (u32 n = 0; n < 8; n++) {
            u32 at = n % 2 * 32 + row * 4 + n / 2;
            double sum = c[at];
            for (u32 k = 0; k < 4; k++) sum = fma(a[row * 4 + k], b[n * 4 + k], sum);
            ck_assert(d[at] == sum);
        }
    emu_test_free(&t);
}
END_TEST

START_TEST(matrices) {
    uint16_t in[256], out[448];
    for (int i = 0; i < 256; i++) in[i] = (uint16_t)(i * 257 + 3);
    Emu t;
    emu_test_fixture(&t, "mma.sm_80");
    emu_test_array(&t, "in", in, sizeof in);
    emu_test_array(&t, "out", out, sizeof out);
    emu_test_run(&t, "matrices", 1, 32);
    for (int lane = 0; lane < 32; lane++)
        for (int h = 0; h < 2; h++) {
            int row = lane / 4, column = lane % 4 * 2 + h;
            for (int i = 0; i < 4; i++) /* matrix i is rows 8i.. of 8 halves */
                ck_assert_uint_eq(out[(i * 32 + lane) * 2 + h], in[i * 64 + row * 8 + column]);
            ck_assert_uint_eq(out[(4 * 32 + lane) * 2 + h], in[64 + column * 8 + row]);
            for (int i = 0; i < 2; i++)
                ck_assert_uint_eq(out[((5 + i) * 32 + lane) * 2 + h],
                                  in[i * 64 + column * 8 + row]);
        }
    emu_test_free(&t);
}
END_TEST

/* ---- matrix products ------------------------------------------------------------------------- */

enum { SIZE = 128 };
static uint16_t ma[SIZE * SIZE], mb[SIZE * SIZE];
static float mc[SIZE * SIZE];

static void random_halves(uint16_t *to, u32 count, uint64_t *state) {
    for (u32 i = 0; i < count; i++) /* in +-[1, 2) */
        to[i] = (uint16_t)(((u32)emu_test_random(state) & 0x83ff) | 0x3c00);
}

static void setup(Emu *t, uint64_t *state) {
    random_halves(ma, SIZE * SIZE, state);
    random_halves(mb, SIZE * SIZE, state);
    memset(mc, 0xff, sizeof mc);
    emu_test_fixture(t, "matmul.sm_80");
    emu_test_array(t, "A", ma, sizeof ma);
    emu_test_array(t, "B", mb, sizeof mb);
    emu_test_array(t, "C", mc, sizeof mc);
    emu_test_int(t, SIZE);
    emu_test_int(t, SIZE);
    t->launch.grid[1] = SIZE / 64;
}

static bool right(void) {
    for (u32 m = 0; m < SIZE; m++)
        for (u32 n = 0; n < SIZE; n++) {
            double sum = 0;
            for (u32 k = 0; k < SIZE; k++)
                sum += of_f16(ma[m * SIZE + k]) * of_f16(mb[k * SIZE + n]);
            if (!(fabs((double)mc[m * SIZE + n] - sum) <= SIZE * 4 * SIZE * 0x1p-24)) return false;
        }
    return true;
}

START_TEST(matmul) {
    uint64_t state = emu_test_seed();
    Emu t;
    setup(&t, &state);
    t.launch.seed = (uint64_t)_i;
    t.launch.counters = true;
    emu_test_run(&t, "matmul_clean", SIZE / 64, 128);
    ck_assert(right());
    const EmuCounters *c = &t.result.counters;
    ck_assert_uint_eq(c->tensor_operations, 2u * SIZE * SIZE * SIZE);
    ck_assert_uint_eq(c->async_bytes, 2u * SIZE * SIZE * 2 * (SIZE / 64));
    ck_assert_uint_eq(c->store_bytes, SIZE * SIZE * 4);
    ck_assert_uint_eq(c->shared_wavefronts, c->ideal_wavefronts); /* the swizzle works */
    Text text = {.arena = &t.arena};
    emu_print_counters(c, &text);
    ck_assert(strstr(text.data, "matmul.cu:") != NULL);
    emu_print_counters_json(c, &text);
    emu_test_free(&t);
}
END_TEST

START_TEST(matmul_schedules) {
    uint64_t state = emu_test_seed();
    Emu t;
    setup(&t, &state);
    t.launch.schedules = 4;
    emu_test_run(&t, "matmul_clean", SIZE / 64, 128);
    ck_assert(right());
    emu_test_free(&t);
}
END_TEST

START_TEST(matmul_bugs) {
    static const struct {
        const char *kernel, *words;
        EmuFaultKind kind;
    } bugs[] = {{"matmul_no_barrier", "", EMU_NONE},
                {"matmul_late_wait", "cp.async", EMU_ASYNC},
                {"matmul_no_wait", "cp.async", EMU_ASYNC},
                {"matmul_one_too_many", "`B`", EMU_OUT_OF_BOUNDS}};
    uint64_t state = emu_test_seed();
    for (u32 i = 0; i < ARRAY_LENGTH(bugs); i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            Emu t;
            setup(&t, &state);
            t.launch.seed = seed;
            if (bugs[i].kind) {
                emu_test_fault(&t, bugs[i].kernel, SIZE / 64, 128, bugs[i].kind, bugs[i].words);
                ck_assert_uint_gt(t.result.fault.source_line, 0);
            } else { /* a race, or data not there yet: by the schedule */
                ck_assert(!emu_test_launch(&t, bugs[i].kernel, SIZE / 64, 128));
                EmuFaultKind kind = t.result.fault.kind;
                ck_assert_msg(kind == EMU_RACE || kind == EMU_ASYNC || kind == EMU_UNINITIALISED,
                              "%s", t.result.fault.message);
            }
            emu_test_free(&t);
        }
    Emu t; /* a wrong swizzle breaks no rule: it shows in the numbers and in the counters */
    setup(&t, &state);
    t.launch.counters = true;
    emu_test_run(&t, "matmul_wrong_swizzle", SIZE / 64, 128);
    ck_assert(!right());
    ck_assert_uint_gt(t.result.counters.shared_wavefronts, t.result.counters.ideal_wavefronts);
    emu_test_free(&t);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_mma");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, each_kind, 0, (int)ARRAY_LENGTH(kinds));
    tcase_add_test(c, doubles);
    tcase_add_test(c, matrices);
    tcase_add_loop_test(c, matmul, 0, 4);
    tcase_add_test(c, matmul_schedules);
    tcase_add_test(c, matmul_bugs);
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
