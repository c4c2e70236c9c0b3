/* reference_sdpa.h: scaled dot product attention with everything it can have, in float64: bias,
 * dropout, head dimensions that differ. One loop a formula, for small sizes; reference_attention is
 * the fast one. */
#ifndef TKC_TESTS_REFERENCE_SDPA_H
#define TKC_TESTS_REFERENCE_SDPA_H

#include "tests/reference.h"

/* Arrays are dense: q, out, dout, dq [batch, heads, q_length, dim or value_dim], k, v, dk, dv
 * [batch, kv_heads, kv_length, ...], bias and dbias [batch, heads, q_length, kv_length]. */
typedef struct ReferenceSdpa {
    int64_t batch, heads, kv_heads, q_length, kv_length, dim, value_dim;
    bool causal; /* row i sees the keys j <= i + diagonal */
    int64_t diagonal;
    double scale, dropout;
    uint64_t seed;
    const double *q, *k, *v;
    const double *bias; /* NULL: none; -inf hides a key */
    const double *dout; /* NULL: forward only */
    /* 2-norms of what q, k, v and dout were made of; NULL: their magnitudes. */
    const double *q_size, *k_size, *v_size, *dout_size;
    int64_t longest_sum; /* of what they were made of; for tolerances */
    double *out, *lse, *dq, *dk, *dv, *dbias;
    /* 2-norms of the terms of each result, for tolerances. */
    double *out_terms, *dq_terms, *dk_terms, *dv_terms, *dbias_terms;
    double score_terms, score_largest; /* the largest of the scores, and of their magnitudes */
} ReferenceSdpa;

/* Fills in all results, which it allocates; reference_sdpa_free frees them. */
void reference_sdpa(ReferenceSdpa *problem);
void reference_sdpa_free(ReferenceSdpa *problem);

/* Whether a weight is dropped (see kernels/attention.h). */
bool reference_drops(double dropout, uint64_t seed, uint32_t column, uint32_t row,
                     uint32_t batch_head);

/* Most that a result may be off: its value, and its terms from above. lse: terms of 1. */
double reference_sdpa_tolerance(const ReferenceSdpa *problem, const ReferenceMethod *method,
                                ReferenceType out, double value, double terms);

#endif
