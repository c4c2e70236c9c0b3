/* reference_multihead.h: the multi-head attention layer in float64, forward and backward: what
 * kernels/multihead.h says, in plain loops. */
#ifndef TKC_TESTS_REFERENCE_MULTIHEAD_H
#define TKC_TESTS_REFERENCE_MULTIHEAD_H

#include "tests/reference_sdpa.h"

/* Numbers, and the 2-norms of what they were made of, rounding included. */
typedef struct ReferenceSized {
    double *value, *size;
} ReferenceSized;

/* Dense arrays in the shapes of kernels/multihead.h. */
typedef struct ReferenceMultihead {
    int64_t batch, length, kv_length, dim, heads;
    bool causal;
    double dropout, residual;
    uint64_t seed;
    const double *query, *key, *value, *in_weight, *out_weight, *dout;
    const double *in_bias, *out_bias; /* NULL: none */
    const double *mask;               /* [batch, heads, length, kv_length], added; NULL: none */
    ReferenceSized out, dquery, dkey, dvalue, din_weight, din_bias, dout_weight, dout_bias;
    ReferenceSdpa attention; /* for reference_sdpa_tolerance */
} ReferenceMultihead;

/* Fills in all results, which it allocates; reference_multihead_free frees them. */
void reference_multihead(ReferenceMultihead *problem);
void reference_multihead_free(ReferenceMultihead *problem);

#endif
