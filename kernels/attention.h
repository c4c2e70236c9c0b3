/* attention.h: fused attention, forward and backward. Contracts that hold for all functions are in
 * kernels.h. */
#ifndef TKC_KERNELS_ATTENTION_H
#define TKC_KERNELS_ATTENTION_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tkk_mask {
    TKK_NO_MASK = 0,
    /* Row i sees key j when j <= i + kv_length - q_length: the last row sees all keys. As
     * FlashAttention does since 2.1. Rows that see no key give 0. */
    TKK_CAUSAL,
    /* Row i sees key j when j <= i: the first row sees one key. The same when lengths are equal. */
    TKK_CAUSAL_TOP_LEFT,
    TKK_MASK_PIN_ = 0x7fffffff
} tkk_mask;

/* What makes weights of scores. */
typedef enum tkk_weighting {
    TKK_SOFTMAX = 0,
    TKK_RELU_WEIGHTS, /* max(score, 0), not normalised: put 1 / length into `scale` for a mean */
    TKK_WEIGHTING_PIN_ = 0x7fffffff
} tkk_weighting;

/* One attention problem, out = drop(weights(s)) v, and its gradients. The score of row i and key j
 * is
 *
 *     s = cap(scale * q_i . k_j) + bias_ij - slope * |p - j|      when row i sees key j
 *
 * with p = i + kv_length - q_length, or i when the mask is TKK_CAUSAL_TOP_LEFT: the key the row
 * stands at.
 *
 *     q, out, dout, dq   [batch, heads, q_length, head_dim]
 *     k, v, dk, dv       [batch, kv_heads, kv_length, head_dim]
 *     lse, delta         [batch, heads, q_length], f32, without gaps
 *     bias, dbias        [batch, heads, q_length, kv_length]; in bias a stride may be 0
 *     slopes             [heads], f32, without gaps
 *
 * head_dim is 1 to 256 (what is no power of two costs as much as the next one); heads is a multiple
 * of kv_heads, and consecutive query heads share a key head; scale is positive. q, k, v and dout
 * have one dtype; out, dq, dk and dv each their own. All of those may have any strides (a row
 * stride of less than 2^23 elements). lse is the natural logarithm of the sum of exp(s) over the
 * keys a row sees. A row that sees none gives 0, and lse = +inf. delta is scratch of the backward
 * pass. ReLU weights use neither: both may be left out. No memory is used beyond the tensors: what
 * grows with q_length * kv_length is bias and dbias alone.
 *
 * A key that no row sees has no influence, whatever its k and v hold (NaN too), and a row that sees
 * no key has none on dk and dv. A bias of -inf, or any score below -6.9e37, hides a key as well,
 * but then its k and v must be finite. Weights are rounded to the dtype of v before they meet v.
 *
 * dbias is f32 and without gaps, and is 0 where a key is not seen. Where bias was repeated by a
 * stride of 0, the caller adds up.
 *
 * Dropout: weight (i, j) of head h of batch b is dropped when x < round(dropout * 2^32), where x is
 * the first word of Philox 4x32-10 (Salmon et al., SC 2011) with key dropout_seed (low word, high
 * word) and counter (j, i, b * heads + h, 0). So it depends on nothing else.
 *
 * Variable lengths: q_starts and kv_starts (i32, one more than there are sequences) say that the
 * rows of sequence i are [starts[i], starts[i + 1]). The sequences lie one behind the other: batch
 * is 1 in all tensors, their lengths are the sums, and every sequence is computed as if it were an
 * element of a batch (i, j and the lengths above count inside it). longest_q and longest_kv are
 * upper bounds of the lengths of a sequence. Bias cannot be combined with it. Rows before the first
 * start and behind the last one are neither read nor written. Starts that are out of order or range
 * give wrong results, and no access outside the tensors.
 *
 * Sources: online softmax by Milakov and Gimelshein (arXiv 1805.02867); recomputing weights from
 * lse in the backward pass, Dao et al. (arXiv 2205.14135, 2307.08691); slopes, Press et al. (arXiv
 * 2108.12409). */
typedef struct tkk_attention {
    uint32_t struct_size;
    tkk_mask mask;
    tkk_precision precision;
    float scale;
    bool compile_only;     /* compile what this call needs, run nothing */
    tkk_tensor q, k, v;    /* read */
    tkk_tensor out, lse;   /* forward: written; backward: read */
    tkk_tensor dout;       /* backward: read */
    tkk_tensor delta;      /* backward: overwritten */
    tkk_tensor dq, dk, dv; /* backward: written */

    /* All that follows is off when zero. */
    tkk_weighting weighting;
    bool windowed;                     /* row i sees only keys p - window_left ... */
    int64_t window_left, window_right; /* p + window_right; negative: no limit on that side */
    float soft_cap;                    /* cap(x) = soft_cap * tanh(x / soft_cap) */
    tkk_tensor bias;                   /* f16, bf16, f32: added; i1: false hides the key */
    tkk_tensor dbias;                  /* written by the backward pass; not of an i1 bias */
    tkk_tensor slopes;                 /* ALiBi */
    float dropout;                     /* part of the weights that become 0, less than 1; the */
    uint64_t dropout_seed;             /* others are divided by 1 - dropout */
    tkk_tensor q_starts, kv_starts;
    int64_t longest_q, longest_kv;
} tkk_attention;

#define TKK_ATTENTION_INIT                                                                         \
    { .struct_size = sizeof(tkk_attention), .scale = 1.0f }

TKC_API tkc_status tkk_attention_forward(tkk_library *library, tkc_stream *stream,
                                         const tkk_attention *problem);
/* Three launches: delta, then dk and dv, then dq. The result does not depend on order: the same
 * input gives the same bits. */
TKC_API tkc_status tkk_attention_backward(tkk_library *library, tkc_stream *stream,
                                          const tkk_attention *problem);

/* The kernels of 2022, kept for comparison: causal, one length and one number of heads for all,
 * a multiple of 128, head_dim 16, 32, 64 or 128. All tensors are without gaps:
 *
 *     q, k, v, out, dout, new_dout, dk, dv   [batch, heads, length, head_dim], f16
 *     dq                                     [batch, heads, length, head_dim], f32
 *     tmp, l, m, delta                       [batch, heads, length], f32
 *
 * Forward reads q, k, v and writes out, l, m (tmp is scratch); backward reads those and dout, and
 * writes dk, dv; it adds to dq, which the caller fills with zeros (new_dout, delta: scratch). */
typedef struct tkk_attention_2022 {
    uint32_t struct_size;
    float scale;
    bool compile_only; /* compile what this call needs, run nothing */
    tkk_tensor q, k, v, out, tmp, l, m;
    tkk_tensor dout, new_dout, delta, dq, dk, dv;
} tkk_attention_2022;

#define TKK_ATTENTION_2022_INIT                                                                    \
    { .struct_size = sizeof(tkk_attention_2022), .scale = 1.0f }

TKC_API tkc_status tkk_attention_2022_forward(tkk_library *library, tkc_stream *stream,
                                              const tkk_attention_2022 *problem);
TKC_API tkc_status tkk_attention_2022_backward(tkk_library *library, tkc_stream *stream,
                                               const tkk_attention_2022 *problem);

#ifdef __cplusplus
}
#endif

#endif
