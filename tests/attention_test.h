/* attention_test.h: one problem of kernels/attention.h with any options, its float64 reference and
 * tensors on a device; what the k_attention*.c share.
 *
 *     AttentionCase c = {.batch = 1, .heads = 2, .kv_heads = 1, .q_length = 90, ...};
 *     check_attention(device, random, &c); // forward and backward, all results
 */
#ifndef TKC_TESTS_ATTENTION_TEST_H
#define TKC_TESTS_ATTENTION_TEST_H

#include "tests/kernel_test.h"

typedef enum BiasKind {
    NO_BIAS,
    ADDED,        /* with a gradient, and -inf here and there */
    ADDED_TO_KEY, /* the same for all batches, heads and rows */
    BOOLEAN,
    BOOLEAN_OF_KEY /* the same for all heads and rows */
} BiasKind;

enum { MOST_SEQUENCES = 8 };

typedef struct AttentionCase {
    int64_t batch, heads, kv_heads, q_length, kv_length, dim;
    ReferenceType type;
    tkk_mask mask;
    tkk_precision precision;
    const TestLayout *layout;

    /* As in tkk_attention: off when zero. */
    tkk_weighting weighting;
    bool windowed;
    int64_t left, right;
    float soft_cap, dropout;
    BiasKind bias;
    bool slopes;
    float spread; /* of q and k; 0: 0.7 */
    /* Variable lengths: how many sequences, and their lengths; q_length and kv_length are then the
     * sums, with `outside` elements before the first and behind the last sequence. */
    int64_t sequences, outside, q_lengths[MOST_SEQUENCES], kv_lengths[MOST_SEQUENCES];
} AttentionCase;

/* One result: what it should be, how far off it may be, and the kernel's. */
typedef struct AttentionResult {
    const char *name;
    double *want, *allowed;
    TestTensor tensor;
} AttentionResult;

enum { OUT, LSE, DQ, DK, DV, DBIAS, RESULTS };

typedef struct AttentionProblem {
    AttentionCase c;
    uint64_t seed; /* of dropout */
    float scale;
    double *q, *k, *v, *dout;
    double *bias, *slopes; /* NULL: none; bias is [batch, heads, q_length, kv_length] */
    AttentionResult results[RESULTS];
    TestTensor inputs[4], bias_tensor, slope_tensor, delta;
    tkc_buffer *mask_buffer, *starts[2];
    tkk_attention call;
} AttentionProblem;

/* Random inputs, the reference's results, and tensors. Numbers of keys that no row sees, and of
 * rows that see no key, are NaN on the device. */
AttentionProblem *attention_problem(TestDevice *device, Random *random, const AttentionCase *c);
/* Compares the result with the reference's. */
void attention_compare(const AttentionProblem *problem, const TestDevice *device, int result);
void attention_free(AttentionProblem *problem);

void check_attention(TestDevice *device, Random *random, const AttentionCase *c);

#endif
