/* multihead.h: the multi-head attention layer, as torch.nn.MultiheadAttention, and with other
 * options the causal self attention of language models. Contracts that hold for all functions are
 * in kernels.h.
 *
 * Causal self attention with dropout of weights and of the result, no biases:
 *
 *     tkk_multihead p = TKK_MULTIHEAD_INIT;
 *     p.heads = 8;
 *     p.is_causal = true;
 *     p.dropout_p = p.residual_p = 0.1;
 *     p.dropout_seed = step;
 *     p.query = x;
 *     p.in_weight = c_attn;
 *     p.out_weight = c_proj;
 *     p.out = y;
 *     p.saved = (tkk_workspace){tkc_arg(buffer), tkk_multihead_saved(&p)};
 *     tkk_multihead_forward(library, NULL, &p);
 */
#ifndef TKC_KERNELS_MULTIHEAD_H
#define TKC_KERNELS_MULTIHEAD_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out = drop(concat(heads) out_weight^T + out_bias), where a head is the attention (tkk_sdpa, scale
 * 1 / sqrt(dim / heads)) of its columns of
 *
 *     query in_weight[0 : dim]^T + in_bias[0 : dim]              key in_weight[dim : 2 dim]^T + ...
 *     value in_weight[2 dim : 3 dim]^T + ...
 *
 *     query, out, dquery, dout                [batch, length, dim]
 *     key, value, dkey, dvalue                [batch, kv_length, dim]
 *     in_weight, in_bias, out_weight, out_bias    [3 dim, dim], [3 dim], [dim, dim], [dim]
 *     din_weight, ...                         gradients, of the same shapes
 *     mask, dmask                             as in sdpa.h, for [batch, heads, length, kv_length];
 * a mask of keys (padding) is [batch, 1, 1, kv_length]
 *
 * Without key and value it is self attention, with dquery the whole gradient; without value alone
 * the keys are values, and dkey the gradient of both. Inputs, weights and dout have one dtype (f16,
 * bf16, f32), all others each their own. The first two dimensions of each tensor lie in memory in
 * either order, [batch, length, dim] or [length, batch, dim], without gaps between them (out and
 * dout, and an input and its gradient, in the same).
 *
 * Sequences of different lengths, one behind the other: with query_starts (and key_starts, when
 * there are keys) as in sdpa.h the batch is 1, and length the sum of all lengths. Without a mask.
 *
 * Dropout: of weights with dropout_p as in sdpa.h, of the result with residual_p as tkk_activate
 * does it with dropout_seed and an offset of 2^63.
 *
 * Source: Vaswani et al., "Attention is all you need" (arXiv 1706.03762). */
typedef struct tkk_multihead {
    uint32_t struct_size;
    uint32_t heads; /* a divisor of dim */
    tkk_precision precision;
    uint32_t backends;              /* of tkk_sdpa; 0: any */
    bool is_causal, is_lower_right; /* as tkk_sdpa's */
    bool compile_only;              /* compile what this call needs, run nothing */
    double dropout_p, residual_p;   /* in [0, 1) */
    uint64_t dropout_seed;
    tkk_tensor query, key, value;                            /* read */
    tkk_tensor mask;                                         /* read; optional */
    tkk_tensor in_weight, in_bias, out_weight, out_bias;     /* read; biases optional */
    tkk_tensor out;                                          /* forward: written */
    tkk_tensor dout;                                         /* backward: read */
    tkk_tensor dquery, dkey, dvalue, dmask;                  /* backward: written; each optional */
    tkk_tensor din_weight, din_bias, dout_weight, dout_bias; /* the same */
    tkk_tensor query_starts, key_starts;                     /* rank 0: one length */
    int64_t longest_query, longest_key;
    /* What the backward pass needs of the forward pass: tkk_multihead_saved bytes. The forward pass
     * writes it when it is given. */
    tkk_workspace saved;
    tkk_workspace workspace;
} tkk_multihead;

#define TKK_MULTIHEAD_INIT                                                                         \
    { .struct_size = sizeof(tkk_multihead) }

TKC_API tkc_status tkk_multihead_forward(tkk_library *library, tkc_stream *stream,
                                         const tkk_multihead *problem);
TKC_API tkc_status tkk_multihead_backward(tkk_library *library, tkc_stream *stream,
                                          const tkk_multihead *problem);
/* Bytes that forward and backward pass share; 0 when the problem would be refused. Only what both
 * read need be there. */
TKC_API uint64_t tkk_multihead_saved(const tkk_multihead *problem);
/* Bytes of workspace that the call takes. */
TKC_API uint64_t tkk_multihead_workspace(tkk_library *library, const tkk_multihead *problem,
                                         bool backward);

#ifdef __cplusplus
}
#endif

#endif
