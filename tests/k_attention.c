/* k_attention.c: fused attention, forward and backward, against float64: head dimensions, dtypes,
 * masks, lengths that are no multiple of a block, q length other than kv length, shared key heads,
 * strides, refusals. The options are in k_attention_options.c. */
#include "tests/attention_test.h"

#include <stdlib.h>

/* Head dimensions with every dtype among them, causal, at a length that is no multiple of a
 * block. */
static void check_dims(TestDevice *device, Random *random) {
    static const struct {
        int64_t dim;
        ReferenceType type;
    } rows[] = {{16, REF_BF16}, {72, REF_F16},  {64, REF_F16}, {128, REF_F32}, {256, REF_BF16},
                {1, REF_F32},   {128, REF_F16}, {32, REF_F32}, {256, REF_F32}};
    const int64_t count = test_size(sizeof rows / sizeof *rows, 5);
    for (int64_t i = 0; i < count; i++) {
        int64_t length = rows[i].dim > 128 ? 70 : test_size(150, 70);
        AttentionCase c = {.batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .q_length = length,
                           .kv_length = length,
                           .dim = rows[i].dim,
                           .type = rows[i].type,
                           .mask = TKK_CAUSAL,
                           .precision = TKK_IEEE};
        check_attention(device, random, &c);
    }
}

/* Whole blocks, longer and shorter keys than queries, each mask. Top left with few keys: many rows
 * see all of them; bottom right with few keys: the first rows see none. */
static void check_lengths(TestDevice *device, Random *random) {
    static const struct {
        int64_t q, kv;
        tkk_mask mask;
    } rows[] = {{256, 256, TKK_NO_MASK}, {256, 256, TKK_CAUSAL},  {100, 333, TKK_NO_MASK},
                {100, 333, TKK_CAUSAL},  {333, 100, TKK_NO_MASK}, {333, 100, TKK_CAUSAL},
                {1, 200, TKK_CAUSAL},    {200, 1, TKK_CAUSAL},    {100, 333, TKK_CAUSAL_TOP_LEFT},
                {1, 1, TKK_NO_MASK},     {1, 9, TKK_NO_MASK},     {333, 100, TKK_CAUSAL_TOP_LEFT}};
    const int64_t count = test_size(sizeof rows / sizeof *rows, 6);
    for (int64_t i = 0; i < count; i++) {
        AttentionCase c = {.batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .q_length = rows[i].q,
                           .kv_length = rows[i].kv,
                           .dim = 16,
                           .type = REF_F16,
                           .mask = rows[i].mask,
                           .precision = TKK_IEEE};
        check_attention(device, random, &c);
    }
}

/* Diagonals just at, before and after the border of a block: one column too many or too few there
 * is a mistake in where the mask begins. */
static void check_diagonals(TestDevice *device, Random *random) {
    static const int64_t diagonals[] = {-65, 63, -64, -33, -31, -1, 1, 32, 65, 127, 128};
    const int64_t count = test_size(sizeof diagonals / sizeof *diagonals, 2);
    for (int64_t i = 0; i < count; i++) {
        AttentionCase c = {.batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .q_length = 140,
                           .kv_length = 140 + diagonals[i],
                           .dim = 16,
                           .type = i % 2 ? REF_F32 : REF_F16,
                           .mask = TKK_CAUSAL,
                           .precision = TKK_IEEE};
        check_attention(device, random, &c);
    }
}

static void check_shared_heads(TestDevice *device, Random *random) {
    AttentionCase c = {.batch = 2,
                       .heads = 6,
                       .kv_heads = 2,
                       .q_length = 40,
                       .kv_length = 70,
                       .dim = 16,
                       .type = REF_F16,
                       .mask = TKK_CAUSAL,
                       .precision = TKK_IEEE};
    check_attention(device, random, &c);
}

static void check_layouts(TestDevice *device, Random *random) {
    static const TestLayout layouts[] = {
        {.order = {0, 2, 1, 3}},                                  /* [batch, length, heads, dim] */
        {.order = {0, 1, 3, 2}},                                  /* rows are columns */
        {.order = {2, 0, 1, 3}, .step = 2, .gap = 7, .start = 1}, /* odd addresses and strides */
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        AttentionCase c = {.batch = 2,
                           .heads = 2,
                           .kv_heads = 2,
                           .q_length = 40,
                           .kv_length = 70,
                           .dim = 32,
                           .type = REF_F16,
                           .mask = TKK_CAUSAL,
                           .precision = TKK_IEEE,
                           .layout = &layouts[i]};
        check_attention(device, random, &c);
    }
}

static void check_tf32(TestDevice *device, Random *random) {
    AttentionCase c = {.batch = 1,
                       .heads = 2,
                       .kv_heads = 2,
                       .q_length = 70,
                       .kv_length = 70,
                       .dim = 64,
                       .type = REF_F32,
                       .mask = TKK_CAUSAL,
                       .precision = TKK_TF32};
    check_attention(device, random, &c);
}

/* Nothing to do: no rows, no keys, no batch. */
static void check_empty(TestDevice *device, Random *random) {
    AttentionCase c = {.batch = 1,
                       .heads = 2,
                       .kv_heads = 2,
                       .kv_length = 5,
                       .dim = 16,
                       .type = REF_F32,
                       .precision = TKK_IEEE};
    check_attention(device, random, &c);
    c.q_length = 5;
    c.kv_length = 0;
    check_attention(device, random, &c);
    c.batch = 0;
    check_attention(device, random, &c);
}

/* A second run gives the same bits. */
static void check_repeat(TestDevice *device, Random *random) {
    const AttentionCase c = {.batch = 1,
                             .heads = 2,
                             .kv_heads = 1,
                             .q_length = test_size(140, 70),
                             .kv_length = test_size(140, 70),
                             .dim = 16,
                             .type = REF_F16,
                             .mask = TKK_CAUSAL,
                             .precision = TKK_IEEE,
                             .dropout = 0.1f};
    AttentionProblem *p = attention_problem(device, random, &c);
    double *first[RESULTS] = {NULL};
    for (int run = 0; run < 2; run++) {
        test_ok(tkk_attention_forward(device->library, NULL, &p->call));
        test_ok(tkk_attention_backward(device->library, NULL, &p->call));
        for (int i = OUT; i <= DV; i++) {
            const TestTensor *tensor = &p->results[i].tensor;
            double *got = test_read(tensor);
            if (run == 0) {
                first[i] = got;
                test_ok(tkc_buffer_poison(tensor->buffer));
                continue;
            }
            ck_assert_mem_eq(got, first[i], (size_t)tensor->count * sizeof *got);
            free(got);
            free(first[i]);
        }
    }
    attention_free(p);
}

/* ---- refusals ---------------------------------------------------------------------------- */

static void expect_refusal(TestDevice *device, const tkk_attention *call, const char *words) {
    tkc_status status = tkk_attention_backward(device->library, NULL, call);
    ck_assert_msg(status == TKC_INVALID_ARGUMENT || status == TKC_UNSUPPORTED,
                  "status %d where \"%s\" was expected", (int)status, words);
    ck_assert_msg(strstr(tkc_last_error(), words), "\"%s\" does not say \"%s\"", tkc_last_error(),
                  words);
}

static void check_refusals(TestDevice *device, Random *random) {
    const AttentionCase c = {.batch = 1,
                             .heads = 2,
                             .kv_heads = 2,
                             .q_length = 8,
                             .kv_length = 8,
                             .dim = 16,
                             .type = REF_F16,
                             .mask = TKK_CAUSAL,
                             .precision = TKK_IEEE,
                             .bias = ADDED};
    AttentionProblem *p = attention_problem(device, random, &c);
#define REFUSED(words, change)                                                                     \
    do {                                                                                           \
        tkk_attention call = p->call;                                                              \
        change;                                                                                    \
        expect_refusal(device, &call, words);                                                      \
    } while (0)
    REFUSED("scale is 0", call.scale = 0);
    REFUSED("head dimension is 257", call.q.shape[3] = 257);
    REFUSED("v: the extent of dimension 2 is 7", call.v.shape[2] = 7);
    REFUSED("k has dtype bf16", call.k.dtype = TKC_BF16);
    REFUSED("lse: the stride of dimension 1", call.lse.stride[1] = 9);
    REFUSED("multiple", call.k.shape[1] = call.v.shape[1] = 3);
    REFUSED("q: the stride of dimension 2", call.q.stride[2] = (int64_t)1 << 23);
    REFUSED("struct_size", call.struct_size = 8);
    REFUSED("unknown mask", call.weighting = (tkk_weighting)2);
    REFUSED("soft_cap is -1", call.soft_cap = -1);
    REFUSED("dropout is 1", call.dropout = 1);
    REFUSED("bias: the extent of dimension 3 is 9", call.bias.shape[3] = 9);
    REFUSED("bias has dtype i32", call.bias.dtype = TKC_I32);
    REFUSED("dbias is given", call.bias.dtype = TKC_I1);
    REFUSED("dbias has dtype f16", call.dbias.dtype = TKC_F16);
    REFUSED("slopes has 3 dimensions", call.slopes = call.lse);
    REFUSED("belong together", call.bias.rank = 0; call.q_starts = call.lse);
    REFUSED("q_starts has 3 dimensions", call.bias.rank = 0;
            call.q_starts = call.kv_starts = call.lse);
    const tkk_tensor starts = tkk_vector(p->call.q.data, TKC_I32, 2);
    REFUSED("bias cannot be combined", call.q_starts = call.kv_starts = starts);
    REFUSED("longest", call.bias.rank = 0; call.q_starts = call.kv_starts = starts;
            call.longest_q = -1);
#undef REFUSED
    attention_free(p);
}

/* clang-format off */
START_TEST(dims) { test_on_each_device(check_dims); } END_TEST
START_TEST(lengths) { test_on_each_device(check_lengths); } END_TEST
START_TEST(diagonals) { test_on_each_device(check_diagonals); } END_TEST
START_TEST(shared_heads) { test_on_each_device(check_shared_heads); } END_TEST
START_TEST(layouts) { test_on_each_device(check_layouts); } END_TEST
START_TEST(tf32) { test_on_each_device(check_tf32); } END_TEST
START_TEST(empty) { test_on_each_device(check_empty); } END_TEST
START_TEST(repeat) { test_on_each_device(check_repeat); } END_TEST
START_TEST(refusals) { test_on_each_device(check_refusals); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, dims);
    tcase_add_test(tests, lengths);
    tcase_add_test(tests, diagonals);
    tcase_add_test(tests, shared_heads);
    tcase_add_test(tests, layouts);
    tcase_add_test(tests, tf32);
    tcase_add_test(tests, empty);
    tcase_add_test(tests, repeat);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
