/* sdpa_internal.h: an attention problem after its checks, as sdpa.c hands it to math_attention.c.
 * All tensors have rank 4 (lse: 3), those that are not there rank 0, and the mask the full shape,
 * with strides of 0 where it is repeated. */
#ifndef TKC_KERNELS_SDPA_INTERNAL_H
#define TKC_KERNELS_SDPA_INTERNAL_H

#include "kernels/host.h"

typedef struct SdpaProblem {
    tkk_library *library;
    tkc_stream *stream;
    tkk_precision precision;
    bool causal, lower_right, compile_only;
    int64_t diagonal; /* row i sees the keys j <= i + diagonal, when it is causal */
    double scale, dropout;
    uint64_t seed;
    tkk_tensor query, key, value, mask, out, lse;
    tkk_tensor dout, dquery, dkey, dvalue, dmask;
    tkk_tensor query_starts, key_starts;
    int64_t longest_query, longest_key;
} SdpaProblem;

enum { SDPA_CHUNK = 128 }; /* rows at a time of the memory-efficient backend */

/* Attention by `chunk` rows at a time, and the bytes of scratch that takes; UINT64_MAX when that is
 * no number of 64 bits. The backward pass reads lse. */
uint64_t math_attention_scratch(const SdpaProblem *problem, int64_t chunk, bool backward);
tkc_status math_attention_forward(const SdpaProblem *problem, int64_t chunk, Scratch *scratch);
tkc_status math_attention_backward(const SdpaProblem *problem, int64_t chunk, Scratch *scratch);

#endif
