/* sdpa.h: scaled dot product attention, the function of PyTorch under that name: one entry, several
 * ways to compute it. Contracts that hold for all functions are in kernels.h.
 *
 *     tkk_sdpa p = TKK_SDPA_INIT;
 *     p.query = tkk_tensor4(tkc_arg(q), TKC_F16, batch, heads, length, head_dim);  ...
 *     p.out = tkk_tensor4(tkc_arg(out), TKC_F16, batch, heads, length, head_dim);
 *     p.is_causal = true;
 *     if (tkk_sdpa_forward(library, NULL, &p) != TKC_OK) puts(tkc_last_error());
 */
#ifndef TKC_KERNELS_SDPA_H
#define TKC_KERNELS_SDPA_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ways to compute it; a set of them is a sum.
 *
 *                 dtypes              head_dim      launches   memory beyond the tensors
 *     FLASH       f16 bf16 f32        at most 256   1, 2, 3    lse, delta: 4 bytes a row of a head
 *     EFFICIENT   f16 bf16 f32 f64    any           many       linear: scores of 128 rows at a time
 *     MATH        f16 bf16 f32 f64    any           3, 6       quadratic: all scores
 *
 * FLASH is tkk_attention, a fused kernel that keeps the scores on chip; forward, one row of query
 * that sees all keys, or up to 16 with is_lower_right, are tkk_decode, which does parts of the keys
 * side by side (its workspace grows with the number of parts, not of keys). MATH is the formula,
 * step by step, with the scores in memory (f32; f64 for f64). EFFICIENT, the memory-efficient one,
 * does the steps of MATH for some rows after the other, as Rabe and Staats do (arXiv 2112.05682).
 * Both make the scores again in the backward pass, and in both the head dimension of value may
 * differ from that of query and key. All three take every mask, dropout and shared heads, and drop
 * the same weights for the same seed. Two things only FLASH does: sequences of different lengths,
 * and to leave keys that nobody sees unread (in the others they count with weight 0, so that what
 * is not finite spreads). */
typedef enum tkk_sdpa_backend {
    TKK_SDPA_FLASH = 1,
    TKK_SDPA_EFFICIENT = 2,
    TKK_SDPA_MATH = 4,
    TKK_SDPA_ANY = 7,
    TKK_SDPA_BACKEND_PIN_ = 0x7fffffff
} tkk_sdpa_backend;

/* out = dropout(softmax(scale * query key^T + mask)) value, and its gradients.
 *
 *     query, dquery      [batch, heads, length, head_dim]
 *     key, dkey          [batch, kv_heads, kv_length, head_dim]
 *     value, dvalue      [batch, kv_heads, kv_length, value_dim]
 *     out, dout          [batch, heads, length, value_dim]
 *     lse                [batch, heads, length], without gaps, f32 (f64 when query is)
 *     mask               [batch, heads, length, kv_length], where any extent may be 1, and leading
 *                        ones may be left out
 *     dmask              [batch, heads, length, kv_length], without gaps, f32 (f64 when query is)
 *
 * All may be without `heads` (rank 3, as [batch, length, head_dim]): one head. query, key, value
 * and dout have one dtype, all others each their own; any strides. kv_heads is heads, or with
 * enable_gqa a divisor of it: consecutive query heads share a key head. Only what a function reads
 * or writes need be there; the backward pass reads out and lse of the forward pass, with the same
 * query, key, value, mask, dropout and seed.
 *
 * mask: i1, true where a row sees a key, or f16, bf16, f32 (f64), added to the scores. is_causal:
 * row i sees the keys j <= i; with is_lower_right too those j <= i + kv_length - length, so that
 * the last row sees all of them. A mask may come on top. A row that sees nothing gives 0, and
 * lse = +inf.
 *
 * Sequences of different lengths, one behind the other, with a batch of 1: query_starts and
 * key_starts are q_starts and kv_starts of tkk_attention, the longest ones upper bounds (0: the sum
 * of all lengths). Without a mask.
 *
 * Dropout: a weight becomes 0 with probability dropout_p, by a random number that depends on
 * dropout_seed and its place alone (see attention.h), and others grow by 1 / (1 - dropout_p).
 *
 * The workspace may be left out (tensor.h); then a call that needs one waits for the device. Its
 * least size is tkk_sdpa_workspace's. */
typedef struct tkk_sdpa {
    uint32_t struct_size;
    uint32_t backends; /* those allowed: a sum of tkk_sdpa_backend; 0: any */
    tkk_precision precision;
    bool is_causal, is_lower_right, enable_gqa;
    bool compile_only; /* compile what this call needs, run nothing */
    double scale;      /* 0: 1 / sqrt(head_dim) */
    double dropout_p;  /* in [0, 1) */
    uint64_t dropout_seed;
    tkk_tensor query, key, value;
    tkk_tensor mask;                 /* rank 0: none */
    tkk_tensor out;                  /* forward: written; backward: read */
    tkk_tensor lse;                  /* the same; forward: rank 0 when no backward pass follows */
    tkk_tensor dout;                 /* backward: read */
    tkk_tensor dquery, dkey, dvalue; /* backward: written */
    tkk_tensor dmask;                /* backward: written; rank 0: not wanted; not of an i1 mask */
    tkk_tensor query_starts, key_starts; /* rank 0: one length */
    int64_t longest_query, longest_key;
    tkk_workspace workspace;
} tkk_sdpa;

#define TKK_SDPA_INIT                                                                              \
    { .struct_size = sizeof(tkk_sdpa) }

/* When no allowed backend can do it, TKC_UNSUPPORTED, and tkc_last_error names the reason for each
 * of them. */
TKC_API tkc_status tkk_sdpa_forward(tkk_library *library, tkc_stream *stream,
                                    const tkk_sdpa *problem);
TKC_API tkc_status tkk_sdpa_backward(tkk_library *library, tkc_stream *stream,
                                     const tkk_sdpa *problem);
/* Bytes of workspace that the call takes; out, lse and gradients need not be there. */
TKC_API uint64_t tkk_sdpa_workspace(tkk_library *library, const tkk_sdpa *problem, bool backward);

typedef struct tkk_sdpa_choice {
    uint32_t struct_size;
    tkk_sdpa_backend backend; /* what would run */
    uint64_t workspace;       /* what it needs, bytes */
    char reasons[400];        /* a line for each backend that is not chosen: why */
} tkk_sdpa_choice;

#define TKK_SDPA_CHOICE_INIT                                                                       \
    { .struct_size = sizeof(tkk_sdpa_choice) }

/* Which backend a call would take: FLASH where it can, then MATH while its scores take no more than
 * 64 MiB (and fit the workspace, where one is given), then EFFICIENT. Runs nothing. */
TKC_API tkc_status tkk_sdpa_choose(tkk_library *library, const tkk_sdpa *problem, bool backward,
                                   tkk_sdpa_choice *choice);
/* "flash", "memory-efficient", "math"; "none" when it is not one of them. */
TKC_API const char *tkk_sdpa_backend_name(tkk_sdpa_backend backend);

#ifdef __cplusplus
}
#endif

#endif
