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

/* One attention problem: out = softmax(scale * q k^T + mask) v, and its gradients.
 *
 *     q, out, dout, dq   [batch, heads, q_length, head_dim]
 *     k, v, dk, dv       [batch, kv_heads, kv_length, head_dim]
 *     lse, delta         [batch, heads, q_length], f32, without gaps
 *
 * head_dim is 16, 32, 64, 128 or 256; heads is a multiple of kv_heads, and consecutive query heads
 * share a key head; scale is positive. q, k, v and dout have one dtype; out, dq, dk and dv each
 * their own. All of those may have any strides (a row stride of less than 2^23 elements). lse is
 * the natural logarithm of the sum of exp(scale * q k^T) over the keys a row sees, +inf when it
 * sees none. delta is scratch of the backward pass. */
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
    bool compile_only;
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
