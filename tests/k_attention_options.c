/* k_attention_options.c: what attention can do beside the plain case, in combinations: every option
 * is there with 16-bit and with 32-bit numbers, with and without others, and where the blocks of
 * rows and of keys are several. What no mask lets anybody see is NaN (attention_test.h). */
#include "tests/attention_test.h"

#include <math.h>
#include <stdlib.h>

static void check_all(TestDevice *device, Random *random, const AttentionCase *cases,
                      size_t count) {
    for (size_t i = 0; i < count; i++) {
        AttentionCase c = cases[i];
        c.precision = TKK_IEEE;
        check_attention(device, random, &c);
    }
}

#define CHECK_ALL(cases) check_all(device, random, cases, sizeof(cases) / sizeof *(cases))

/* What a window leaves out far from a row is not even looked at: a key that is NaN spoils the rows
 * of its neighbourhood, of a few blocks, and no others; in the gradients too. */
static void check_skipped(TestDevice *device, Random *random) {
    enum { LENGTH = 800, DIM = 16, SPOILED = 400, BEFORE = 128, AFTER = 768 };
    const AttentionCase c = {
        1, 1, 1, LENGTH, LENGTH, DIM, REF_F16, .windowed = true, .left = 20, .right = 7};
    AttentionProblem *p = attention_problem(device, random, &c);
    uint16_t nans[DIM];
    for (int i = 0; i < DIM; i++) nans[i] = 0x7e00;
    for (int i = 1; i <= 2; i++)
        test_ok(tkc_buffer_write(p->inputs[i].buffer, SPOILED * sizeof nans, nans, sizeof nans));
    test_ok(tkk_attention_forward(device->library, NULL, &p->call));
    test_ok(tkk_attention_backward(device->library, NULL, &p->call));
    for (int i = OUT; i <= DV; i++) {
        double *got = test_read(&p->results[i].tensor);
        int64_t width = i == LSE ? 1 : DIM;
        ck_assert(isnan(got[SPOILED * width]));
        for (int64_t j = 0; j < LENGTH * width; j++)
            if (j / width < BEFORE || j / width >= AFTER)
                ck_assert_msg(isfinite(got[j]), "%s: row %d of %s", device->name, (int)(j / width),
                              p->results[i].name);
        free(got);
    }
    attention_free(p);
}

/* Windows over several blocks, on both sides and open on one, with every mask. */
static void check_windows(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {1, 2, 2, 140, 90, 24, REF_F32, .windowed = true, .left = -1, .right = 5, .soft_cap = 5},
        {1, 1, 1, 300, 300, 16, REF_F16, .windowed = true, .left = 20, .right = 7},
        {1, 1, 1, 300, 280, 16, REF_F16, .windowed = true, .left = 0, .right = 0},
        {1, 1, 1, 150, 300, 16, REF_F16, .windowed = true, .left = 150, .right = 140},
        {1, 2, 1, 200, 140, 16, REF_F16, TKK_CAUSAL, .windowed = true, .left = 63, .right = 9},
        {1, 1, 1, 140, 220, 16, REF_F16, TKK_CAUSAL_TOP_LEFT, .windowed = true, .left = 30},
    };
    check_all(device, random, cases, (size_t)test_size(sizeof cases / sizeof *cases, 2));
    if (test_size(1, 0)) check_skipped(device, random);
}

static void check_scores(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {1, 4, 2, 40, 70, 40, REF_F16, TKK_CAUSAL, .slopes = true, .soft_cap = 8},
        {2, 2, 1, 20, 33, 8, REF_F32, TKK_CAUSAL_TOP_LEFT, .slopes = true},
        {1, 1, 1, 20, 40, 64, REF_F32, .spread = 30}, /* scores of thousands */
    };
    CHECK_ALL(cases);
}

static void check_bias(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {1, 2, 1, 140, 150, 16, REF_F16, TKK_CAUSAL, .bias = ADDED},
        {2, 2, 2, 17, 33, 20, REF_F32, .bias = ADDED_TO_KEY, .soft_cap = 6, .slopes = true},
        {2, 4, 2, 33, 140, 16, REF_BF16, .bias = BOOLEAN},
        {2, 2, 1, 20, 40, 16, REF_F32, TKK_CAUSAL, .bias = BOOLEAN_OF_KEY},
        {1, 2, 2, 150, 140, 16, REF_F32, .bias = ADDED, .windowed = true, .left = 9, .right = 3},
    };
    CHECK_ALL(cases);
}

static void check_dropout(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {2, 2, 1, 70, 140, 16, REF_F16, TKK_CAUSAL, .dropout = 0.25f},
        {1, 2, 1, 40, 33, 12, REF_F32, .dropout = 0.6f, .bias = BOOLEAN, .soft_cap = 9,
         .slopes = true, .windowed = true, .left = 12, .right = -1},
    };
    CHECK_ALL(cases);
}

static void check_relu(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {1, 2, 1, 70, 140, 16, REF_F32, TKK_CAUSAL, .weighting = TKK_RELU_WEIGHTS},
        {1, 2, 2, 40, 70, 24, REF_F16, .weighting = TKK_RELU_WEIGHTS, .bias = ADDED,
         .dropout = 0.3f},
        {1, 2, 2, 33, 40, 16, REF_F32, .weighting = TKK_RELU_WEIGHTS, .bias = BOOLEAN,
         .slopes = true, .soft_cap = 5, .windowed = true, .left = 5, .right = 12},
    };
    CHECK_ALL(cases);
}

/* An empty sequence, one without keys, one without rows, and more than a block. */
#define SEQUENCES                                                                                  \
    .sequences = 5, .q_lengths = {5, 0, 17, 140, 9}, .kv_lengths = {9, 3, 0, 133, 9}, .outside = 2
static void check_sequences(TestDevice *device, Random *random) {
    static const AttentionCase cases[] = {
        {1, 2, 1, 175, 158, 16, REF_F16, TKK_CAUSAL, SEQUENCES},
        {1, 2, 2, 175, 158, 20, REF_F32, .windowed = true, .left = 7, .right = 20, .slopes = true,
         .dropout = 0.2f, SEQUENCES},
        {1, 1, 1, 175, 158, 16, REF_F32, TKK_CAUSAL_TOP_LEFT, .weighting = TKK_RELU_WEIGHTS,
         SEQUENCES},
    };
    CHECK_ALL(cases);
}

/* Starts that make no sense, of rows and then of keys: the interpreter checks every access. */
static void check_wrong_starts(TestDevice *device, Random *random) {
    const AttentionCase c = {1, 2, 1, 175, 158, 16, REF_F16, TKK_CAUSAL, SEQUENCES};
    static const int32_t wrong[] = {INT32_MIN, 90, 17, INT32_MAX, -1, INT32_MAX};
    for (int side = 0; side < 2; side++) {
        AttentionProblem *p = attention_problem(device, random, &c);
        test_ok(tkc_buffer_write(p->starts[side], 0, wrong, sizeof wrong));
        for (int i = OUT; i <= LSE; i++) { /* rows of two sequences or of none */
            double *zeros = calloc((size_t)p->results[i].tensor.room, sizeof *zeros);
            test_ok(tkc_buffer_write(p->results[i].tensor.buffer, 0, zeros,
                                     (uint64_t)p->results[i].tensor.room *
                                         reference_size(p->results[i].tensor.type)));
            free(zeros);
        }
        test_ok(tkk_attention_forward(device->library, NULL, &p->call));
        test_ok(tkk_attention_backward(device->library, NULL, &p->call));
        attention_free(p);
    }
}

/* The part of weights that is dropped, counted: v is one everywhere and scores are equal, so that
 * out is the number of keys kept over (1 - dropout) * keys. Another seed drops others. */
static void check_rate(TestDevice *device, Random *random) {
    enum { ROWS = 64, KEYS = 256, DIM = 16 };
    const AttentionCase c = {1, 2, 2, ROWS, KEYS, DIM, REF_F32, .dropout = 0.35f};
    AttentionProblem *p = attention_problem(device, random, &c);
    float *ones = calloc(2 * KEYS * DIM, sizeof *ones),
          *zeros = calloc(2 * KEYS * DIM, sizeof *zeros);
    for (int i = 0; i < 2 * KEYS * DIM; i++) ones[i] = 1;
    test_ok(tkc_buffer_write(p->inputs[1].buffer, 0, zeros, 2 * KEYS * DIM * sizeof *zeros));
    test_ok(tkc_buffer_write(p->inputs[2].buffer, 0, ones, 2 * KEYS * DIM * sizeof *ones));
    double sums[2] = {0, 0}, same = 0;
    double *rows[2];
    for (int run = 0; run < 2; run++) {
        p->call.dropout_seed += (uint64_t)run << 40;
        test_ok(tkk_attention_forward(device->library, NULL, &p->call));
        rows[run] = test_read(&p->results[OUT].tensor);
        for (int64_t i = 0; i < 2 * ROWS; i++) sums[run] += rows[run][i * DIM] / (2 * ROWS);
    }
    for (int64_t i = 0; i < 2 * ROWS; i++) same += rows[0][i * DIM] == rows[1][i * DIM];
    /* The mean of n independent weights, each 1 / (1 - p) with probability 1 - p. */
    double deviation = sqrt(0.35 / 0.65 / (2 * ROWS * KEYS));
    for (int run = 0; run < 2; run++)
        ck_assert_msg(fabs(sums[run] - 1) < 5 * deviation, "%s: mean %g", device->name, sums[run]);
    ck_assert_msg(same < ROWS, "%s: another seed drops the same", device->name);
    free(rows[0]);
    free(rows[1]);
    free(ones);
    free(zeros);
    attention_free(p);
}

/* clang-format off */
START_TEST(windows) { test_on_each_device(check_windows); } END_TEST
START_TEST(scores) { test_on_each_device(check_scores); } END_TEST
START_TEST(bias) { test_on_each_device(check_bias); } END_TEST
START_TEST(dropout) { test_on_each_device(check_dropout); } END_TEST
START_TEST(relu) { test_on_each_device(check_relu); } END_TEST
START_TEST(sequences) { test_on_each_device(check_sequences); } END_TEST
START_TEST(wrong_starts) { test_on_each_device(check_wrong_starts); } END_TEST
START_TEST(rate) { test_on_each_device(check_rate); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("attention_options");
    TCase *tests = tcase_create("attention_options");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, windows);
    tcase_add_test(tests, scores);
    tcase_add_test(tests, bias);
    tcase_add_test(tests, dropout);
    tcase_add_test(tests, relu);
    tcase_add_test(tests, sequences);
    tcase_add_test(tests, wrong_starts);
    tcase_add_test(tests, rate);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
