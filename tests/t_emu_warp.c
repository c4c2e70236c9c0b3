/* t_emu_warp.c: lanes, warps, CTAs: shuffles, divergence, calls, atomics, barriers, printf. */
#include "tests/emu_test.h"

typedef uint32_t u32;

static void both(void (*test)(const char *fixture)) {
    test("warp.sm_80");
    test("warp.sm_90a");
}

static void run_shuffles(const char *fixture) {
    u32 in[32], out[23 * 32], want[23 * 32];
    uint64_t state = emu_test_seed();
    for (u32 l = 0; l < 32; l++) in[l] = (u32)emu_test_random(&state);
    u32 sum = 0, least = UINT32_MAX, xor = 0, ballot = 0;
    int32_t most = INT32_MIN;
    for (u32 l = 0; l < 32; l++) {
        sum += in[l], xor ^= in[l], ballot |= (in[l] & 1) << l;
        least = in[l] < least ? in[l] : least;
        most = (int32_t)in[l] > most ? (int32_t)in[l] : most;
    }
    for (u32 l = 0; l < 32; l++) {
        u32 k = 0, same = 0;
#define WANT(x) want[k++ * 32 + l] = (x)
        WANT(in[5]);
        WANT(in[(l * 7 + 3) % 32]);
        WANT(in[l / 8 * 8 + l % 8]);
        WANT(l >= 3 ? in[l - 3] : in[l]);
        WANT(l % 16 >= 2 ? in[l - 2] : in[l]);
        WANT(l + 9 < 32 ? in[l + 9] : in[l]);
        WANT(l % 8 + 3 < 8 ? in[l + 3] : in[l]);
        WANT(in[l ^ 17]);
        WANT(ballot);
        WANT(1);
        WANT(1);
        for (u32 i = 0; i < 32; i++) same |= (u32)((in[i] & 3) == (in[l] & 3)) << i;
        WANT(same);
        WANT(UINT32_MAX);
        WANT(1);
        WANT(sum);
        WANT(least);
        WANT((u32)most);
        WANT(xor);
        WANT(UINT32_MAX);
        WANT(l & 1 ? in[l ^ 2] : in[l ^ 4]);
        WANT(in[l ^ 1]);
        WANT(l < 16 ? in[l + 16] + 1 : in[l - 16]);
    }
    for (uint64_t seed = 0; seed < 8; seed++) {
        Emu e;
        emu_test_fixture(&e, fixture);
        emu_test_array(&e, "in", in, sizeof in);
        emu_test_array(&e, "out", out, sizeof out);
        e.launch.seed = seed;
        emu_test_run(&e, "shuffles", 1, 32);
        for (u32 i = 0; i < 22 * 32; i++)
            ck_assert_msg(out[i] == want[i], "shuffle %u lane %u: %08x, not %08x", i / 32, i % 32,
                          out[i], want[i]);
        emu_test_free(&e);
    }
}
START_TEST(shuffles) {
    both(run_shuffles);
}
END_TEST

static u32 collatz(u32 start) {
    u32 x = start, steps = 0;
    while (x != 1 && steps < 200) {
        if (x & 1) {
            x = 3 * x + 1;
            if (x > 1000000) break;
        } else {
            x /= 2;
        }
        steps++;
    }
    switch (start % 7) {
    case 0: return steps + 1000;
    case 1: return steps + 5000;
    case 2: return steps + 3000;
    case 3: return steps * 3;
    case 4: return steps ^ 0x55;
    default: return ~steps;
    }
}
static void run_divergence(const char *fixture) {
    enum { N = 1000 };
    static u32 in[N], out[N];
    uint64_t state = emu_test_seed();
    for (u32 i = 0; i < N; i++) in[i] = (u32)(emu_test_random(&state) % 30000) + 1;
    Emu e;
    emu_test_fixture(&e, fixture);
    emu_test_array(&e, "in", in, sizeof in);
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_int(&e, N);
    emu_test_run(&e, "divergence", 8, 128);
    for (u32 i = 0; i < N; i++)
        ck_assert_msg(out[i] == collatz(in[i]), "%u: %u, not %u", in[i], out[i], collatz(in[i]));
    emu_test_free(&e);
}
START_TEST(divergence) {
    both(run_divergence);
}
END_TEST

static u32 ackermann(u32 m, u32 n) {
    if (!m) return n + 1;
    return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}
static void run_calls(const char *fixture) {
    u32 out[96];
    Emu e;
    emu_test_fixture(&e, fixture);
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_run(&e, "calls", 1, 32);
    for (u32 t = 0; t < 32; t++) {
        ck_assert_uint_eq(out[t], ackermann(t % 3, t % 4));
        u32 a = t, sum = 0;
        float b = (float)t;
        uint64_t c = 1000;
        for (u32 i = 0; i < t % 5; i++) c += a, a = t + i, b *= 2;
        ck_assert_uint_eq(out[32 + t], a + (u32)b + (u32)c);
        for (u32 i = 0; i < 16; i++) sum += t * ((i * t) & 15);
        ck_assert_uint_eq(out[64 + t], sum);
    }
    emu_test_free(&e);
}
START_TEST(calls) {
    both(run_calls);
}
END_TEST

static void run_atomics(const char *fixture) {
    enum { N = 512 };
    static const u32 table[4] = {3, 1, 4, 1};
    for (uint64_t seed = 0; seed < 3; seed++) {
        u32 sums[18] = {0}, slots[N], sorted[64] = {0};
        float floats[4] = {0};
        sums[9] = 1000000;
        Emu e;
        emu_test_fixture(&e, fixture);
        emu_test_array(&e, "sums", sums, sizeof sums);
        emu_test_array(&e, "floats", floats, sizeof floats);
        emu_test_array(&e, "slots", slots, sizeof slots);
        emu_test_int(&e, N);
        e.launch.seed = seed;
        emu_test_run(&e, "atomics", N / 64, 64);
        for (u32 i = 0; i < 8; i++) ck_assert_uint_eq(sums[i], N / 8);
        ck_assert_uint_eq(sums[8], N - 1);
        ck_assert_uint_eq(sums[9], 5);
        ck_assert_uint_eq(sums[10], 0);
        ck_assert_uint_eq(sums[11], UINT32_MAX);
        ck_assert_uint_eq(sums[12], N % 10);
        ck_assert_uint_eq(sums[14], N);
        ck_assert_uint_eq(sums[15], N);
        ck_assert_uint_eq(sums[16], 0);
        ck_assert_uint_eq(sums[17], N);
        double half;
        memcpy(&half, floats + 2, 8);
        ck_assert(floats[0] == N && half == N / 2);
        for (u32 i = 0; i < N; i++) sorted[slots[i]]++;
        for (u32 i = 0; i < 4; i++) ck_assert_uint_eq(sorted[table[i] + 10 * (i + 1)], N / 4);
        emu_test_free(&e);
    }
}
START_TEST(atomics) {
    both(run_atomics);
}
END_TEST

static void run_barriers(const char *fixture) {
    u32 out[128];
    for (uint64_t seed = 0; seed < 10; seed++) {
        Emu e;
        emu_test_fixture(&e, fixture);
        emu_test_array(&e, "out", out, sizeof out);
        e.launch.seed = seed;
        emu_test_run(&e, "barriers", 1, 128);
        for (u32 t = 0; t < 128; t++) {
            u32 mine = (127 - t) * (127 - t), other = 127 - (t ^ 32), x = mine + other * other + 1;
            if (t >= 64) x += 7 * (t - 64);
            ck_assert_uint_eq(out[t], x + 64 + 1000 + 10000);
        }
        emu_test_free(&e);
    }
}
START_TEST(barriers) {
    both(run_barriers);
}
END_TEST

START_TEST(printing) {
    Emu e;
    emu_test_fixture(&e, "warp.sm_80");
    emu_test_int(&e, 42);
    emu_test_run(&e, "hello", 1, 32);
    ck_assert_str_eq(e.printed.data, "42 21.00 text 123456789ab z%\n");
    emu_test_free(&e);
}
END_TEST

/* More CTAs than host threads, all waiting for the last one. */
START_TEST(waiting_ctas) {
    u32 flags[12] = {0}, out[12];
    Emu e;
    emu_test_fixture(&e, "warp.sm_80");
    emu_test_array(&e, "flags", flags, sizeof flags);
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_run(&e, "chain", 12, 32);
    for (u32 i = 0; i < 12; i++) ck_assert_uint_eq(out[i], i ? i : 12);
    emu_test_free(&e);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_warp");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, shuffles);
    tcase_add_test(c, divergence);
    tcase_add_test(c, calls);
    tcase_add_test(c, atomics);
    tcase_add_test(c, barriers);
    tcase_add_test(c, printing);
    tcase_add_test(c, waiting_ctas);
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
