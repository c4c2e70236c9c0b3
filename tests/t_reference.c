/* t_reference.c: the references themselves: rounding against the machine's, attention's gradients
 * against differences of its forward pass, the matrix product against three loops. */
#include "tests/reference.h"

#include "tests/check_quick.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An assertion of Check that holds costs a system call; these loops make too many. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) ck_abort_msg("%s", #condition);                                          \
    } while (0)

#define EXPECT_NEAR(x, y, tolerance) EXPECT(fabs((x) - (y)) <= (tolerance))

START_TEST(round_trip_f16) {
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits, back;
        double value = reference_load(REF_F16, &half, 0);
        if (isnan(value)) continue;
        reference_store(REF_F16, &back, 0, value);
        EXPECT(back == half);
        EXPECT(reference_round(REF_F16, value) == value);
    }
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t brain = (uint16_t)bits;
        uint32_t wide = bits << 16;
        float exact;
        memcpy(&exact, &wide, sizeof exact);
        if (isnan(exact)) continue;
        EXPECT(reference_load(REF_BF16, &brain, 0) == (double)exact);
    }
}
END_TEST

/* Between two neighbours: to the nearer one, and in the middle to the even one. */
START_TEST(round_to_even) {
    for (uint16_t bits = 0; bits < 0x7bff; bits++) {
        uint16_t above = bits + 1, even = bits & 1 ? above : bits, got;
        double a = reference_load(REF_F16, &bits, 0), b = reference_load(REF_F16, &above, 0);
        const double points[] = {a + (b - a) * 0.5, a + (b - a) * 0.4999, a + (b - a) * 0.5001};
        const uint16_t expected[] = {even, bits, above};
        for (int i = 0; i < 3; i++) {
            reference_store(REF_F16, &got, 0, points[i]);
            EXPECT(got == expected[i]);
            EXPECT(reference_round(REF_F16, points[i]) == reference_load(REF_F16, &expected[i], 0));
            reference_store(REF_F16, &got, 0, -points[i]);
            EXPECT(got == (expected[i] | 0x8000));
        }
    }
    EXPECT(reference_round(REF_F16, 65519.99) == 65504);
    EXPECT(isinf(reference_round(REF_F16, 65520)));
    EXPECT(reference_underflow(REF_F16) == 0x1p-25);
    EXPECT(reference_unit_roundoff(REF_BF16) == 0x1p-8);
}
END_TEST

/* Codes of fp8 go up with their values, and come back; known ends. */
START_TEST(narrow) {
    static const ReferenceType types[] = {REF_F8E4M3, REF_F8E5M2};
    static const uint8_t last[] = {0x7e, 0x7b};
    static const double largest[] = {448, 57344}, least[] = {0x1p-9, 0x1p-16};
    for (int t = 0; t < 2; t++) {
        for (uint32_t bits = 0; bits < 256; bits++) {
            uint8_t code = (uint8_t)bits, below = (uint8_t)(bits - 1), back;
            const double value = reference_load(types[t], &code, 0);
            EXPECT(isfinite(value) == ((bits & 0x7f) <= last[t]));
            if (isnan(value)) continue;
            reference_store(types[t], &back, 0, value);
            EXPECT(back == code && reference_round(types[t], value) == value);
            if (bits > 0 && bits < 0x80) EXPECT(value > reference_load(types[t], &below, 0));
        }
        uint8_t one = 1;
        EXPECT(reference_load(types[t], &last[t], 0) == largest[t]);
        EXPECT(reference_load(types[t], &one, 0) == least[t]);
    }
    EXPECT(reference_round(REF_F8E4M3, 463) == 448 && isnan(reference_round(REF_F8E4M3, 465)));
    EXPECT(reference_round(REF_I8, -128.7) == -128 && reference_round(REF_I8, 2.5) == 2);
}
END_TEST

START_TEST(product) {
    enum { M = 37, N = 29, K = 23 };
    static double a[M * K], b[K * N], c[M * N], sums[M * N];
    Random random = random_from_seed(1);
    random_fill(&random, REF_F64, 1, a, M * K);
    random_fill(&random, REF_F64, 1, b, K * N);
    reference_matmul(M, N, K, a, b, REF_NONE, c, sums);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double value = 0, sum = 0;
            for (int k = 0; k < K; k++) {
                value += a[i * K + k] * b[k * N + j];
                sum += fabs(a[i * K + k] * b[k * N + j]);
            }
            EXPECT_NEAR(c[i * N + j], value, 1e-12);
            EXPECT_NEAR(sums[i * N + j], sum, 1e-12);
        }
}
END_TEST

enum { B = 2, H = 4, KV = 2, Q = 9, L = 13, D = 3, NQ = B * H * Q * D, NK = B * KV * L * D };

enum { NS = B * H * Q * L };

static double q[NQ], k[NK], v[NK], dout[NQ], out[NQ], lse[B * H * Q], dq[NQ], dk[NK], dv[NK];
static double bias[NS], dbias[NS], slopes[H];

/* sum(out * dout): its derivatives are the gradients. */
static double objective(ReferenceAttention p) {
    static double at[NQ], state[B * H * Q];
    p.dout = NULL;
    p.out = at;
    p.lse = state;
    reference_attention(&p);
    double sum = 0;
    for (int i = 0; i < NQ; i++) sum += at[i] * dout[i];
    return sum;
}

static void check_gradient(const ReferenceAttention *p, double *x, const double *gradient, int n) {
    for (int i = 0; i < n; i++) {
        double here = x[i], h = 1e-4;
        x[i] = here + h;
        double up = objective(*p);
        x[i] = here - h;
        double down = objective(*p);
        x[i] = here;
        EXPECT_NEAR((up - down) / (2 * h), gradient[i], 1e-6);
    }
}

START_TEST(gradients) {
    Random random = random_from_seed(2);
    random_fill(&random, REF_F64, 1, q, NQ);
    random_fill(&random, REF_F64, 1, k, NK);
    random_fill(&random, REF_F64, 1, v, NK);
    random_fill(&random, REF_F64, 1, dout, NQ);
    const int64_t diagonals[] = {0, L - Q, -3};
    for (int i = 0; i < 4; i++) {
        ReferenceAttention p = {.batch = B,
                                .heads = H,
                                .kv_heads = KV,
                                .q_length = Q,
                                .kv_length = L,
                                .dim = D,
                                .causal = i > 0,
                                .diagonal = i > 0 ? diagonals[i - 1] : 0,
                                .scale = 0.7,
                                .q = q,
                                .k = k,
                                .v = v,
                                .dout = dout,
                                .out = out,
                                .lse = lse,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv};
        reference_attention(&p);
        check_gradient(&p, q, dq, NQ);
        check_gradient(&p, k, dk, NK);
        check_gradient(&p, v, dv, NK);
        if (i == 3) { /* the first three rows see nothing */
            for (int row = 0; row < 3; row++) {
                ck_assert(isinf(lse[row]) && lse[row] > 0);
                ck_assert(out[row * D] == 0);
            }
        }
    }
}
END_TEST

/* Each option, and most of them together. */
START_TEST(gradients_of_options) {
    Random random = random_from_seed(4);
    random_fill(&random, REF_F64, 1, q, NQ);
    random_fill(&random, REF_F64, 1, k, NK);
    random_fill(&random, REF_F64, 1, v, NK);
    random_fill(&random, REF_F64, 1, dout, NQ);
    random_fill(&random, REF_F64, 1, bias, NS);
    random_fill(&random, REF_F64, 0.1, slopes, H);
    for (int i = 0; i < NS; i += 7) bias[i] = -INFINITY;
    const ReferenceAttention plain = {.batch = B,
                                      .heads = H,
                                      .kv_heads = KV,
                                      .q_length = Q,
                                      .kv_length = L,
                                      .dim = D,
                                      .diagonal = L - Q,
                                      .scale = 0.7,
                                      .q = q,
                                      .k = k,
                                      .v = v,
                                      .dout = dout,
                                      .out = out,
                                      .lse = lse,
                                      .dq = dq,
                                      .dk = dk,
                                      .dv = dv};
    for (int i = 0; i < 6; i++) {
        ReferenceAttention p = plain;
        if (i == 0 || i == 5) p.soft_cap = 1.5;
        if (i == 1 || i == 5) p.windowed = true, p.left = 3, p.right = 2;
        if (i == 2 || i == 5) p.dropout = 0.3, p.seed = 5, p.first_place = 7;
        if (i == 3 || i == 5) p.bias = bias, p.dbias = dbias, p.slopes = slopes;
        if (i >= 4) p.relu = true;
        reference_attention(&p);
        check_gradient(&p, q, dq, NQ);
        check_gradient(&p, k, dk, NK);
        check_gradient(&p, v, dv, NK);
        if (!p.bias) continue;
        for (int j = 0; j < NS; j += 7) bias[j] = -INFINITY;
        for (int j = 1; j < NS; j += 7)
            check_gradient(&p, bias + j, dbias + j, 6 < NS - j ? 6 : NS - j);
        for (int j = 0; j < NS; j += 7) EXPECT(dbias[j] == 0);
    }
}
END_TEST

/* Known answers of the paper's authors. */
START_TEST(philox) {
    static const struct {
        uint64_t key;
        uint32_t counter[4], words[4];
    } known[] = {
        {0, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~(uint64_t)0, {~0u, ~0u, ~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t words[4];
        reference_philox(known[i].key, known[i].counter, words);
        ck_assert_mem_eq(words, known[i].words, sizeof words);
    }
}
END_TEST

/* The forward pass from its definition, one row at a time. */
START_TEST(definition) {
    Random random = random_from_seed(3);
    random_fill(&random, REF_F64, 1, q, NQ);
    random_fill(&random, REF_F64, 1, k, NK);
    random_fill(&random, REF_F64, 1, v, NK);
    ReferenceAttention p = {.batch = B,
                            .heads = H,
                            .kv_heads = KV,
                            .q_length = Q,
                            .kv_length = L,
                            .dim = D,
                            .causal = true,
                            .diagonal = L - Q,
                            .scale = 0.5,
                            .q = q,
                            .k = k,
                            .v = v,
                            .out = out,
                            .lse = lse};
    reference_attention(&p);
    for (int head = 0; head < B * H; head++)
        for (int i = 0; i < Q; i++) {
            const double *keys = k + head / (H / KV) * L * D, *values = v + head / (H / KV) * L * D;
            double sum = 0, want[D] = {0};
            for (int j = 0; j <= i + L - Q; j++) {
                double score = 0;
                for (int c = 0; c < D; c++) score += q[(head * Q + i) * D + c] * keys[j * D + c];
                sum += exp(score * 0.5);
                for (int c = 0; c < D; c++) want[c] += exp(score * 0.5) * values[j * D + c];
            }
            EXPECT_NEAR(lse[head * Q + i], log(sum), 1e-12);
            for (int c = 0; c < D; c++)
                EXPECT_NEAR(out[(head * Q + i) * D + c], want[c] / sum, 1e-12);
        }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("reference");
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, round_trip_f16);
    tcase_add_test(tests, round_to_even);
    tcase_add_test(tests, narrow);
    tcase_add_test(tests, product);
    tcase_add_test(tests, gradients);
    tcase_add_test(tests, gradients_of_options);
    tcase_add_test(tests, philox);
    tcase_add_test(tests, definition);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
