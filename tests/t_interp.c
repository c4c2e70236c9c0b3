/* Tests of the interpreter: what each class of ops does to blocks, against plain loops. Orders of
 * evaluation that the language fixes are checked bit by bit.
 */
#include "tests/interp_test.h"

#include "compiler/eval.h"

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#define HEAD "kernel @test("
#define OPTIONS ") {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"

static void fill_floats(float *x, uint32_t n, uint64_t *seed) {
    for (uint32_t i = 0; i < n; i++) x[i] = (float)(int32_t)random_next(seed) * 0x1p-30f;
}

static void fill_ints(int32_t *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) x[i] = (int32_t)i;
}

/* ---- shapes ------------------------------------------------------------------------------------
 */

START_TEST(shape_ops) {
    static int32_t x[256], y[4096], z[256];
    fill_ints(x, 256);
    run_blocks(1, &(Tensor){DT_i32, "4x8x8", x},
               "%200: 8x4x8xi32 = permute %100 {order = [2, 0, 1]}", 1,
               &(Tensor){DT_i32, "8x4x8", y});
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 8; k++)
                ck_assert_int_eq(y[(i * 4 + j) * 8 + k], j * 64 + k * 8 + i);
    run_blocks(1, &(Tensor){DT_i32, "4x1x8", x}, "%200: 4x16x8xi32 = broadcast %100", 1,
               &(Tensor){DT_i32, "4x16x8", y});
    for (int i = 0; i < 512; i++) ck_assert_int_eq(y[i], i / 128 * 8 + i % 8);
    run_blocks(1, &(Tensor){DT_i32, "8", x},
               "%7: 8x1xi32 = expand_dims %100 {axis = 1}\n%200: 8x32xi32 = broadcast %7", 1,
               &(Tensor){DT_i32, "8x32", y});
    for (int i = 0; i < 256; i++) ck_assert_int_eq(y[i], i / 32);
    run_blocks(2, (Tensor[]){{DT_i32, "4x8", x}, {DT_i32, "4x8", x + 32}},
               "%7: 4x8x2xi32 = join %100, %101\n%200: 4x8xi32, %201: 4x8xi32 = split %7", 2,
               (Tensor[]){{DT_i32, "4x8", y}, {DT_i32, "4x8", z}});
    for (int i = 0; i < 32; i++) ck_assert(y[i] == i && z[i] == i + 32);
    run_blocks(2, (Tensor[]){{DT_i32, "4x8", x}, {DT_i32, "4x8", x + 32}},
               "%200: 8x8xi32 = concat %100, %101", 1, &(Tensor){DT_i32, "8x8", y});
    for (int i = 0; i < 64; i++) ck_assert_int_eq(y[i], i);
    run_blocks(1, &(Tensor){DT_i32, "1x1", x + 5},
               "%7: i32 = extract %100\n%200: 64xi32 = splat %7", 1, &(Tensor){DT_i32, "64", y});
    for (int i = 0; i < 64; i++) ck_assert_int_eq(y[i], 5);
}
END_TEST

START_TEST(gather_and_histogram) {
    static int32_t x[64], index[32], y[64];
    static uint8_t bins[64];
    fill_ints(x, 64);
    for (int i = 0; i < 32; i++) index[i] = (i * 5) % 8;
    run_blocks(2, (Tensor[]){{DT_i32, "8x8", x}, {DT_i32, "4x8", index}},
               "%200: 4x8xi32 = gather %100, %101 {axis = 0}", 1, &(Tensor){DT_i32, "4x8", y});
    for (int i = 0; i < 32; i++) ck_assert_int_eq(y[i], index[i] * 8 + i % 8);
    run_blocks(2, (Tensor[]){{DT_i32, "8x8", x}, {DT_i32, "8x4", index}},
               "%200: 8x4xi32 = gather %100, %101 {axis = 1}", 1, &(Tensor){DT_i32, "8x4", y});
    for (int i = 0; i < 32; i++) ck_assert_int_eq(y[i], i / 4 * 8 + index[i]);
    for (int i = 0; i < 64; i++) bins[i] = (uint8_t)(i % 5 == 4 ? 200 : i % 5);
    run_blocks(1, &(Tensor){DT_u8, "64", bins},
               "%3: 64xu8 = constant {value = 2}\n%4: 64xi1 = ne %100, %3\n"
               "%200: 4xi32 = histogram %100, %4",
               1, &(Tensor){DT_i32, "4", y});
    ck_assert(y[0] == 13 && y[1] == 13 && y[2] == 0 && y[3] == 13);
}
END_TEST

/* Blocks longer than what is stored of a uniform one. */
START_TEST(uniform_blocks) {
    static float x[4096], y[4096];
    uint64_t seed = random_seed(3);
    fill_floats(x, 4096, &seed);
    run_blocks(2, (Tensor[]){{DT_f32, "64x64", x}, {DT_f32, NULL, x + 9}},
               "%1: 64x64xf32 = splat %101\n%2: 64x64xf32 = constant {value = 2.0}\n"
               "%3: 64x64xf32 = mul %1, %2\n%4: 64x64xf32 = mul %100, %3\n"
               "%5: 1x64xf32 = constant {value = 1.0}\n%6: 64x64xf32 = broadcast %5\n"
               "%7: 4096xf32 = constant {value = 0.5}\n%8: 64x64xf32 = reshape %7\n"
               "%9: 64x64xf32 = sub %4, %6\n%200: 64x64xf32 = add %9, %8",
               1, &(Tensor){DT_f32, "64x64", y});
    for (int i = 0; i < 4096; i++) ck_assert(y[i] == x[i] * (x[9] * 2) - 1 + 0.5f);
    run_blocks(1, &(Tensor){DT_f32, NULL, x}, "%200: 4096xf32 = splat %100", 1,
               &(Tensor){DT_f32, "4096", y});
    for (int i = 0; i < 4096; i++) ck_assert(y[i] == x[0]);
}
END_TEST

/* ---- reduce, scan, map -------------------------------------------------------------------------
 */

/* The order the language fixes: neighbours first. */
static float tree_sum(const float *x, uint32_t n, uint32_t stride) {
    if (n == 1) return *x;
    return tree_sum(x, n / 2, stride) + tree_sum(x + (size_t)n / 2 * stride, n / 2, stride);
}

START_TEST(reduce_sum_has_its_order) {
    static const struct {
        const char *shape, *out;
        uint32_t outer, axis, inner, number;
    } cases[] = {
        {"1024", NULL, 1, 1024, 1, 0},     {"64x32", "64", 64, 32, 1, 1},
        {"64x32", "32", 1, 64, 32, 0},     {"8x16x128", "8x128", 8, 16, 128, 1},
        {"2x512x2", "2x2", 2, 512, 2, 1},  {"1x2048", "1", 1, 2048, 1, 1},
        {"16x1", "16", 16, 1, 1, 1},       {"2x1024", "1024", 1, 2, 1024, 0},
        {"4096x2", "4096", 4096, 2, 1, 1},
    };
    static float x[16384], y[16384];
    uint64_t seed = random_seed(5);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[256];
        fill_floats(x, 16384, &seed);
        snprintf(text, sizeof text,
                 "%%200: %s%sf32 = reduce %%100 {axis = %u} (%%1: f32, %%2: f32) {\n"
                 "%%3: f32 = add %%1, %%2\nyield %%3\n}",
                 cases[i].out ? cases[i].out : "", cases[i].out ? "x" : "", cases[i].number);
        run_blocks(1, &(Tensor){DT_f32, cases[i].shape, x}, text, 1,
                   &(Tensor){DT_f32, cases[i].out, y});
        for (uint32_t o = 0; o < cases[i].outer; o++)
            for (uint32_t k = 0; k < cases[i].inner; k++) {
                const float *from = x + (size_t)o * cases[i].axis * cases[i].inner + k;
                const float want = tree_sum(from, cases[i].axis, cases[i].inner);
                ck_assert_msg(y[o * cases[i].inner + k] == want, "%s: %a, not %a", cases[i].shape,
                              y[o * cases[i].inner + k], want);
            }
    }
}
END_TEST

#define ARGMAX(guard)                                                                              \
    "%200: 16xf32, %201: 16xi32 = reduce %100, %101 {axis = 1} "                                   \
    "(%1: f32, %2: i32, %3: f32, %4: i32) {\n"                                                     \
    "%5: i1 = gt %1, %3\n%6: i1 = eq %1, %3\n%7: i1 = lt %2, %4\n%8: i1 = and %6, %7\n"            \
    "%9: i1 = or %5, %8\n" guard "yield %10, %11\n}"

START_TEST(reduce_with_a_region) {
    static float x[1024], best[16];
    static int32_t index[1024], where[16];
    uint64_t seed = random_seed(7);
    for (int i = 0; i < 1024; i++) x[i] = (float)(random_next(&seed) % 40), index[i] = i % 64;
    /* element ops only: on lanes; with an `if`: one element at a time */
    const char *texts[] = {ARGMAX("%10: f32 = select %9, %1, %3\n%11: i32 = select %9, %2, %4\n"),
                           ARGMAX("%10: f32, %11: i32 = if %9 {\nyield %1, %2\n} else {\n"
                                  "yield %3, %4\n}\n")};
    for (int t = 0; t < 2; t++) {
        run_blocks(2, (Tensor[]){{DT_f32, "16x64", x}, {DT_i32, "16x64", index}}, texts[t], 2,
                   (Tensor[]){{DT_f32, "16", best}, {DT_i32, "16", where}});
        for (int i = 0; i < 16; i++) {
            int at = 0;
            for (int j = 1; j < 64; j++)
                if (x[i * 64 + j] > x[i * 64 + at]) at = j;
            ck_assert(where[i] == at && best[i] == x[i * 64 + at]);
        }
    }
    /* not commutative: the leftmost, the rightmost; a value from outside the region */
    run_blocks(1, &(Tensor){DT_f32, "64x16", x},
               "%200: 16xf32 = reduce %100 {axis = 0} (%1: f32, %2: f32) {\nyield %2\n}", 1,
               &(Tensor){DT_f32, "16", best});
    for (int i = 0; i < 16; i++) ck_assert(best[i] == x[63 * 16 + i]);
    run_blocks(2, (Tensor[]){{DT_f32, "64x16", x}, {DT_f32, NULL, x}},
               "%200: 16xf32 = reduce %100 {axis = 0} (%1: f32, %2: f32) {\n"
               "%3: f32 = mul %1, %101\n%4: f32 = sub %3, %3\n%5: f32 = add %4, %1\nyield %5\n}",
               1, &(Tensor){DT_f32, "16", best});
    for (int i = 0; i < 16; i++) ck_assert(best[i] == x[i]);
}
END_TEST

START_TEST(reduce_f16_rounds_each_step) {
    uint16_t x[4] = {0x6800, 0x3c00, 0x3c00, 0x3c00}, y; /* 2048 + 1 is a tie: 2048; 1 + 1 = 2 */
    run_blocks(1, &(Tensor){DT_f16, "4", x},
               "%200: f16 = reduce %100 {axis = 0} (%1: f16, %2: f16) {\n"
               "%3: f16 = add %1, %2\nyield %3\n}",
               1, &(Tensor){DT_f16, NULL, &y});
    ck_assert_uint_eq(y, 0x6801);
    int8_t bytes[512], low;
    for (int i = 0; i < 512; i++) bytes[i] = (int8_t)(i % 100 - 50);
    run_blocks(1, &(Tensor){DT_i8, "512", bytes},
               "%200: i8 = reduce %100 {axis = 0} (%1: i8, %2: i8) {\n"
               "%3: i8 = min %2, %1\nyield %3\n}",
               1, &(Tensor){DT_i8, NULL, &low});
    ck_assert_int_eq(low, -50);
}
END_TEST

START_TEST(scan_forward_and_back) {
    static float x[2048], y[2048];
    uint64_t seed = random_seed(11);
    fill_floats(x, 2048, &seed);
    for (int reverse = 0; reverse < 2; reverse++)
        for (int axis = 0; axis < 2; axis++) {
            char text[256];
            snprintf(text, sizeof text,
                     "%%200: 32x64xf32 = scan %%100 {axis = %d, reverse = %d} (%%1: f32, %%2: f32)"
                     " {\n%%3: f32 = add %%1, %%2\nyield %%3\n}",
                     axis, reverse);
            run_blocks(1, &(Tensor){DT_f32, "32x64", x}, text, 1, &(Tensor){DT_f32, "32x64", y});
            const int length = axis ? 64 : 32, step = axis ? 1 : 64;
            for (int line = 0; line < 2048 / length; line++) {
                const int first = axis ? line * 64 : line;
                float sum = 0;
                for (int s = 0; s < length; s++) {
                    const int at = first + (reverse ? length - 1 - s : s) * step;
                    sum = s == 0 ? x[at] : sum + x[at];
                    ck_assert_msg(y[at] == sum, "axis %d reverse %d", axis, reverse);
                }
            }
        }
    /* two blocks, a region that gives an argument as it is */
    static int32_t i[32], a[32], b[32];
    fill_ints(i, 32);
    run_blocks(2, (Tensor[]){{DT_i32, "32", i}, {DT_i32, "32", i}},
               "%200: 32xi32, %201: 32xi32 = scan %100, %101 {axis = 0} "
               "(%1: i32, %2: i32, %3: i32, %4: i32) {\n%5: i32 = add %2, %3\nyield %1, %5\n}",
               2, (Tensor[]){{DT_i32, "32", a}, {DT_i32, "32", b}});
    int32_t sum = 0;
    for (int k = 1; k < 32; k++) ck_assert(a[k] == 0 && b[k] == (sum += k));
}
END_TEST

START_TEST(map_elements) {
    static int32_t x[1024], y[1024], z[1024];
    fill_ints(x, 1024);
    run_blocks(1, &(Tensor){DT_i32, "32x32", x},
               "%200: 32x32xi32, %201: 32x32xi32 = map %100 (%1: i32) {\n"
               "%2: i32 = constant {value = 3}\n%3: i32 = mul %1, %2\nyield %3, %1\n}",
               2, (Tensor[]){{DT_i32, "32x32", y}, {DT_i32, "32x32", z}});
    for (int i = 0; i < 1024; i++) ck_assert(y[i] == 3 * i && z[i] == i);
    /* a loop in the region: the sum of the numbers below */
    run_blocks(1, &(Tensor){DT_i32, "64", x},
               "%200: 64xi32 = map %100 (%1: i32) {\n"
               "%2: i32 = constant {value = 0}\n%3: i32 = constant {value = 1}\n"
               "%4: i32 = for %2, %1, %3, %2 (%5: i32, %6: i32) {\n"
               "%7: i32 = add %5, %6\nyield %7\n}\nyield %4\n}",
               1, &(Tensor){DT_i32, "64", y});
    for (int i = 0; i < 64; i++) ck_assert_int_eq(y[i], i * (i - 1) / 2);
}
END_TEST

/* ---- control
 * ------------------------------------------------------------------------------------- */

static void run_ints(const char *text, const int32_t *in, int32_t *out, uint32_t outs) {
    int32_t copy[8];
    memcpy(copy, in, sizeof copy);
    Tensor x[8], y[8];
    for (uint32_t i = 0; i < 8; i++) {
        x[i] = (Tensor){DT_i32, NULL, &copy[i]};
        y[i] = (Tensor){DT_i32, NULL, &out[i]};
    }
    run_blocks(8, x, text, outs, y);
}

START_TEST(loops_carry_values) {
    const int32_t in[8] = {0, 10, 3, 7, 8, 9, -2, 1};
    int32_t out[8];
    /* a cycle of three, one kept, one that is a view of another */
    run_ints("%200: i32, %201: i32, %202: i32, %203: i32 = "
             "for %100, %101, %102, %103, %104, %105, %106 "
             "(%1: i32, %2: i32, %3: i32, %4: i32, %5: i32) {\nyield %3, %4, %2, %5\n}",
             in, out, 4);
    /* i = 0, 3, 6, 9: four turns of (7, 8, 9) */
    ck_assert(out[0] == 8 && out[1] == 9 && out[2] == 7 && out[3] == -2);
    /* downwards, and none at all */
    run_ints("%200: i32 = for %101, %100, %106, %100 (%1: i32, %2: i32) {\n"
             "%3: i32 = add %1, %2\nyield %3\n}\n"
             "%201: i32 = for %101, %100, %102, %103 (%4: i32, %5: i32) {\nyield %4\n}",
             in, out, 2);
    ck_assert(out[0] == 10 + 8 + 6 + 4 + 2 && out[1] == 7);
    /* nested, the inner using the outer's carried value */
    run_ints("%200: i32 = for %100, %101, %107, %100 (%1: i32, %2: i32) {\n"
             "%3: i32 = for %100, %1, %107, %2 (%4: i32, %5: i32) {\n"
             "%6: i32 = add %5, %2\n%7: i32 = sub %6, %2\n%8: i32 = add %7, %107\nyield %8\n}\n"
             "yield %3\n}",
             in, out, 1);
    ck_assert_int_eq(out[0], 45);
    /* the inner loop starts from the outer's values, exchanged */
    run_ints("%200: i32, %201: i32 = for %100, %102, %107, %103, %104 "
             "(%1: i32, %2: i32, %3: i32) {\n"
             "%4: i32, %5: i32 = for %100, %107, %107, %3, %2 (%6: i32, %7: i32, %8: i32) {\n"
             "%9: i32 = add %7, %107\nyield %9, %8\n}\nyield %4, %5\n}",
             in, out, 2);
    ck_assert(out[0] == 10 && out[1] == 8); /* 7 8, 9 7, 8 9, 10 8 */
    run_ints("%200: i32, %201: i32 = while %101, %100 (%1: i32, %2: i32) {\n"
             "%3: i1 = gt %1, %100\ncondition %3, %2, %1\n} (%4: i32, %5: i32) {\n"
             "%6: i32 = add %4, %5\n%7: i32 = add %5, %106\nyield %7, %6\n}",
             in, out, 2);
    ck_assert(out[0] == 30 && out[1] == 0);
    run_ints("%1: i1 = lt %100, %101\n%2: i1 = gt %100, %101\n"
             "%200: i32, %201: i32 = if %1 {\nyield %103, %104\n} else {\nyield %104, %103\n}\n"
             "%202: i32, %203: i32 = if %2 {\nyield %200, %201\n} else {\nyield %201, %200\n}",
             in, out, 4);
    ck_assert(out[0] == 7 && out[1] == 8 && out[2] == 8 && out[3] == 7);
}
END_TEST

/* Limits of the index type; no overflow at the end. */
START_TEST(loop_bounds) {
    uint8_t count[4] = {250, 255, 2, 0};
    run_blocks(4,
               (Tensor[]){{DT_u8, NULL, &count[0]},
                          {DT_u8, NULL, &count[1]},
                          {DT_u8, NULL, &count[2]},
                          {DT_u8, NULL, &count[3]}},
               "%1: u8 = constant {value = 1}\n"
               "%200: u8 = for %100, %101, %102, %103 (%2: u8, %3: u8) {\n"
               "%4: u8 = add %3, %1\nyield %4\n}",
               1, &(Tensor){DT_u8, NULL, &count[3]});
    ck_assert_uint_eq(count[3], 3);
    int64_t wide[4] = {INT64_MIN, INT64_MAX, INT64_MAX, 0};
    run_blocks(4,
               (Tensor[]){{DT_i64, NULL, &wide[0]},
                          {DT_i64, NULL, &wide[1]},
                          {DT_i64, NULL, &wide[2]},
                          {DT_i64, NULL, &wide[3]}},
               "%200: i64 = for %100, %101, %102, %103 (%2: i64, %3: i64) {\n"
               "%4: i64 = add %3, %2\nyield %4\n}",
               1, &(Tensor){DT_i64, NULL, &wide[3]});
    ck_assert_int_eq(wide[3], -3); /* the index is the least, -1, the greatest - 1 */
}
END_TEST

/* Accumulators of loops live in place; blocks of several sizes come and go around them. */
START_TEST(blocks_in_loops) {
    static float x[1024], y[1024], z[32];
    uint64_t seed = random_seed(13);
    fill_floats(x, 1024, &seed);
    run_blocks(1, &(Tensor){DT_f32, "32x32", x},
               "%1: i32 = constant {value = 0}\n%2: i32 = constant {value = 5}\n"
               "%3: i32 = constant {value = 1}\n%4: 32xf32 = constant {value = 0.0}\n"
               "%200: 32x32xf32, %201: 32xf32 = for %1, %2, %3, %100, %4 "
               "(%5: i32, %6: 32x32xf32, %7: 32xf32) {\n"
               "%8: 32xf32 = reduce %6 {axis = 1} (%9: f32, %10: f32) {\n"
               "%11: f32 = max %9, %10\nyield %11\n}\n"
               "%12: 32x1xf32 = expand_dims %8 {axis = 1}\n%13: 32x32xf32 = broadcast %12\n"
               "%14: 32x32xf32 = sub %6, %13\n%15: 32xf32 = add %7, %8\n"
               "%16: 32x32xf32 = permute %14 {order = [1, 0]}\nyield %16, %15\n}",
               2, (Tensor[]){{DT_f32, "32x32", y}, {DT_f32, "32", z}});
    float a[1024], b[1024], sum[32] = {0};
    memcpy(a, x, sizeof a);
    for (int turn = 0; turn < 5; turn++) {
        for (int i = 0; i < 32; i++) {
            float most = -INFINITY;
            for (int j = 0; j < 32; j++) most = a[i * 32 + j] > most ? a[i * 32 + j] : most;
            for (int j = 0; j < 32; j++) b[j * 32 + i] = a[i * 32 + j] - most;
            sum[i] += most;
        }
        memcpy(a, b, sizeof a);
    }
    ck_assert(memcmp(a, y, sizeof a) == 0 && memcmp(sum, z, sizeof sum) == 0);
}
END_TEST

/* ---- memory
 * ---------------------------------------------------------------------------------------- */

/* Every way through a row: contiguous, scattered, masks full, empty, broken, `other` or none. */
START_TEST(masks_and_strides) {
    static float x[4096], y[2048], other[2048];
    static uint8_t mask[2048];
    uint64_t seed = random_seed(17);
    fill_floats(x, 4096, &seed);
    fill_floats(other, 2048, &seed);
    const char *shapes[] = {"2048", "32x64", "512x4", "2048x1", "1x1"};
    for (int round = 0; round < 40; round++) {
        const char *shape = shapes[round % 5];
        const uint32_t n = shape_count(shape), stride = round % 2 + 1;
        const bool with_other = round % 3 == 0;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t kind = i / 64 % 4;
            mask[i] = kind == 0   ? 1
                      : kind == 1 ? 0
                      : kind == 2 ? i % 64 < 20
                                  : random_next(&seed) % 2;
        }
        Context *context = context_new();
        Text t = {.arena = &context->arena};
        text_printf(&t,
                    "%%1: %uxi32 = arange {start = 0, end = %u}\n%%2: %sxi32 = reshape %%1\n"
                    "%%3: %sxi32 = constant {value = %u}\n%%4: %sxi32 = mul %%2, %%3\n"
                    "%%5: %sx*f32 = splat %%x0\n%%6: %sx*f32 = offset %%5, %%4\n"
                    "%%200: %sxf32 = load %%6, %%101%s",
                    n, n, shape, shape, stride, shape, shape, shape, shape,
                    with_other ? ", %102" : "");
        /* x0 is also loaded whole, as %100, and not used */
        Case *c = case_blocks(
            3, (Tensor[]){{DT_f32, NULL, x}, {DT_i1, shape, mask}, {DT_f32, shape, other}}, t.data,
            1, &(Tensor){DT_f32, shape, y});
        c->buffers[0].size = (uint64_t)n * stride * 4;
        case_must_run(c, 1);
        for (uint32_t i = 0; i < n; i++) {
            const float want = mask[i] ? x[i * stride] : with_other ? other[i] : 0;
            ck_assert_msg(y[i] == want, "round %d element %u", round, i);
        }
        case_free(c);
        context_free(context);
    }
}
END_TEST

START_TEST(masked_and_scattered_stores) {
    static int32_t index[64], y[128], value[64];
    static uint8_t mask[64];
    for (int i = 0; i < 64; i++) index[i] = 127 - i, value[i] = i + 1, mask[i] = i % 3 != 0;
    memset(y, 0xff, sizeof y);
    const char *text = "%1: 64x*i32 = splat %x3\n%2: 64x*i32 = offset %1, %100\n"
                       "store %2, %101, %102\n%200: i32 = load %x3";
    int32_t first;
    Tensor in[] = {
        {DT_i32, "64", index}, {DT_i32, "64", value}, {DT_i1, "64", mask}, {DT_i32, "128", y}};
    run_blocks(4, in, text, 1, &(Tensor){DT_i32, NULL, &first});
    for (int i = 0; i < 64; i++) ck_assert_int_eq(y[127 - i], mask[i] ? i + 1 : -1);
    /* all to one place: the last one stays */
    for (int i = 0; i < 64; i++) index[i] = 5;
    run_blocks(4, in, text, 1, &(Tensor){DT_i32, NULL, &first});
    ck_assert_int_eq(y[5], 63); /* 63 is masked off */
}
END_TEST

/* A byte of memory that is an i1 counts as true when it is not 0. */
START_TEST(bools_in_memory) {
    uint8_t x[4] = {0, 1, 2, 255}, y[4];
    run_blocks(1, &(Tensor){DT_i1, "4", x}, "%200: 4xi1 = or %100, %100", 1,
               &(Tensor){DT_i1, "4", y});
    ck_assert(y[0] == 0 && y[1] == 1 && y[2] == 1 && y[3] == 1);
}
END_TEST

/* ---- programs
 * --------------------------------------------------------------------------------------- */

START_TEST(programs_and_scalars) {
    Case *c = case_new(HEAD "out: *i64, a: i16, b: f32, flag: i1" OPTIONS
                            "%1: i32 = program_id {axis = 0}\n%2: i32 = program_id {axis = 1}\n"
                            "%3: i32 = program_id {axis = 2}\n%4: i32 = num_programs {axis = 0}\n"
                            "%5: i32 = num_programs {axis = 1}\n%6: i32 = mul %3, %5\n"
                            "%7: i32 = add %6, %2\n%8: i32 = mul %7, %4\n%9: i32 = add %8, %1\n"
                            "%10: *i64 = offset %out, %9\n%11: i64 = cast %9\n%12: i64 = cast %a\n"
                            "%13: i64 = cast %b\n%14: i64 = cast %flag\n%15: i64 = mul %11, %12\n"
                            "%16: i64 = add %15, %13\n%17: i64 = add %16, %14\n"
                            "store %10, %17\nreturn\n}\n");
    int64_t out[60];
    const float b = 1000;
    uint32_t bits;
    memcpy(&bits, &b, 4);
    case_buffer(c, out, sizeof out);
    case_scalar(c, 0xfffe);
    case_scalar(c, bits);
    case_scalar(c, 1);
    c->launch.grid[1] = 4, c->launch.grid[2] = 5;
    case_must_run(c, 3);
    for (int i = 0; i < 60; i++) ck_assert_int_eq(out[i], -2 * i + 1001);
    c->launch.grid[1] = 0;
    memset(out, 0, sizeof out);
    case_must_run(c, 3); /* an empty grid runs nothing */
    ck_assert_int_eq(out[0], 0);
    case_free(c);
}
END_TEST

static void collect(void *context, const char *line) {
    text_printf(context, "%s\n", line);
}

START_TEST(print_lines) {
    Case *c =
        case_new(HEAD "x: f32, n: i32" OPTIONS
                      "%1: 4xi32 = arange {start = 3, end = 7}\n%2: 2x2xi32 = reshape %1\n"
                      "print %2 {text = \"v:\", hex = 0}\nprint %x, %n {text = \"two\"}\n"
                      "print %n {text = \"h\", hex = 1}\nprint {text = \"bare\"}\nreturn\n}\n");
    Text text = {.arena = &c->context->arena};
    case_scalar(c, 0x3fc00000);
    case_scalar(c, (uint32_t)-2);
    c->launch.print = collect;
    c->launch.print_context = &text;
    case_must_run(c, 1);
    ck_assert_str_eq(text.data, "pid (0, 0, 0) idx (0, 0) v: 3\npid (0, 0, 0) idx (0, 1) v: 4\n"
                                "pid (0, 0, 0) idx (1, 0) v: 5\npid (0, 0, 0) idx (1, 1) v: 6\n"
                                "pid (0, 0, 0) idx () two (operand 0) 1.5\n"
                                "pid (0, 0, 0) idx () two (operand 1) -2\n"
                                "pid (0, 0, 0) idx () h 0xfffffffe\npid (0, 0, 0) bare\n");
    case_free(c);
}
END_TEST

/* Program 0 waits for a flag that the last program sets: no thread is left for it at first. */
START_TEST(a_program_waits_for_a_later_one) {
    const char *text = HEAD
        "flag: *i32" OPTIONS "%1: i32 = program_id {axis = 0}\n%2: i32 = constant {value = 0}\n"
        "%3: i32 = constant {value = 1}\n%4: i1 = eq %1, %2\n%5: i32 = constant {value = 7}\n"
        "if %4 {\n%6: i32 = while %2 (%7: i32) {\n%8: i32 = atomic_cas %flag, %3, %3\n"
        "%9: i1 = ne %8, %3\ncondition %9, %8\n} (%10: i32) {\nyield %10\n}\nyield\n} else {\n"
        "%11: i1 = eq %1, %5\nif %11 {\n%12: i32 = atomic_rmw %flag, %3 {kind = xchg}\nyield\n} "
        "else {\nyield\n}\nyield\n}\nreturn\n}\n";
    for (int races = 0; races < 2; races++) {
        Case *c = case_new(text);
        int32_t flag = 0;
        case_buffer(c, &flag, 4);
        c->launch.threads = 1;
        c->launch.check_races = races;
        case_must_run(c, 8);
        ck_assert_int_eq(flag, 1);
        case_free(c);
    }
}
END_TEST

static void *cancel_soon(void *flag) {
    usleep(20000);
    __atomic_store_n((bool *)flag, true, __ATOMIC_RELAXED);
    return NULL;
}

START_TEST(cancel_ends_an_endless_loop) {
    Case *c = case_new(HEAD "n: i1" OPTIONS "%1: i1 = while %n (%2: i1) {\ncondition %n, %2\n}"
                            " (%3: i1) {\nyield %3\n}\nreturn\n}\n");
    static bool cancel;
    pthread_t thread;
    cancel = false;
    case_scalar(c, 1);
    c->launch.cancel = &cancel;
    pthread_create(&thread, NULL, cancel_soon, &cancel);
    ck_assert(!case_run(c, 4));
    ck_assert_int_eq(c->fault.kind, FAULT_CANCELLED);
    pthread_join(thread, NULL);
    case_free(c);
}
END_TEST

UNIT_MAIN("interp", shape_ops, gather_and_histogram, uniform_blocks, reduce_sum_has_its_order,
          reduce_with_a_region, reduce_f16_rounds_each_step, scan_forward_and_back, map_elements,
          loops_carry_values, loop_bounds, blocks_in_loops, masks_and_strides,
          masked_and_scattered_stores, bools_in_memory, programs_and_scalars, print_lines,
          a_program_waits_for_a_later_one, cancel_ends_an_endless_loop)
