/* decode.h: attention of a few new tokens against a long cache of keys and values, for generation.
 * Contracts that hold for all functions are in kernels.h. */
#ifndef TKC_KERNELS_DECODE_H
#define TKC_KERNELS_DECODE_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One step of generation: out = softmax(scale * q k^T) v, where the `tokens` rows of q are the last
 * ones of each sequence.
 *
 *     q, out     [batch, heads, tokens, head_dim]
 *     k, v       [batch, kv_heads, capacity, head_dim], a cache with room for `capacity` tokens, or
 *                [pages, page_size, kv_heads, head_dim], one in pages
 *     table      [batch, pages of a sequence], i32: the pages of each sequence, in order
 *     lengths    [batch], i32, without gaps: tokens of each sequence in the cache, new ones
 *                included; none: all of the capacity
 *     lse        [batch, heads, tokens], f32, without gaps: as tkk_attention's; may be left out
 *
 * Token t of q sees the keys j <= lengths[i] - tokens + t of sequence i; one that sees none gives
 * 0. head_dim is 1 to 256; heads is a multiple of kv_heads, and consecutive query heads share a key
 * head; scale is positive; q, k and v have one dtype, out its own. Lengths are cut to what the
 * cache holds, and a key in a page whose number is not in [0, pages) counts as not there. Entries
 * of the table behind the length of their sequence are not read.
 *
 * The rows that share a key head are one block, so that each key is read once. A sequence is done
 * in `splits` parts at the same time, each with its own maximum and sum, and a second launch
 * brings the parts together: this fills a device that has more processors than there are
 * sequences and key heads.
 *
 * Sources: parts of a sequence, Dao et al., "Flash-Decoding for long-context inference", 2023;
 * pages, Kwon et al. (arXiv 2309.06180); shared key heads, Shazeer (arXiv 1911.02150) and Ainslie
 * et al. (arXiv 2305.13245). */
typedef struct tkk_decode {
    uint32_t struct_size;
    tkk_precision precision;
    float scale;
    bool compile_only;         /* compile what this call needs, run nothing */
    uint32_t splits;           /* parts of a sequence, at most 128; 0: as many as fill the device */
    tkk_tensor q, k, v;        /* read */
    tkk_tensor table, lengths; /* read; rank 0: no pages; full sequences */
    tkk_tensor out;            /* written */
    tkk_tensor lse;            /* written; rank 0: not wanted */
    tkk_workspace workspace;   /* used when there is more than one part */
} tkk_decode;

#define TKK_DECODE_INIT                                                                            \
    { .struct_size = sizeof(tkk_decode), .scale = 1.0f }

TKC_API tkc_status tkk_decode_forward(tkk_library *library, tkc_stream *stream,
                                      const tkk_decode *problem);
/* Bytes of workspace that the call takes; out and lse need not be there. */
TKC_API uint64_t tkk_decode_workspace(tkk_library *library, const tkk_decode *problem);

#ifdef __cplusplus
}
#endif

#endif
