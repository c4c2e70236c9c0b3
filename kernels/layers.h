/* layers.h: kernels over rows and elements. Contracts that hold for all functions are in
 * kernels.h. */
#ifndef TKC_KERNELS_LAYERS_H
#define TKC_KERNELS_LAYERS_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out = x + y. Vectors of one length, dtype f32 and stride 1. `out` may be x or y. */
TKC_API tkc_status tkk_vector_add(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                                  const tkk_tensor *y, const tkk_tensor *out);

typedef struct tkk_softmax_options {
    uint32_t struct_size;
    int32_t axis;      /* negative ones count from the last: -1 */
    bool logarithm;    /* log(softmax(x)), without leaving the logarithms */
    bool compile_only; /* compile what this call needs, run nothing */
} tkk_softmax_options;

#define TKK_SOFTMAX_OPTIONS_INIT                                                                   \
    { sizeof(tkk_softmax_options), -1, false, false }

/* y = softmax(x) along an axis of any length. Tensors of one shape, rank 1 to 4, any strides, each
 * with its own dtype. `y` may be x. -inf has weight 0; rows that are -inf throughout, or hold +inf
 * or NaN, give NaN. `options` may be NULL. */
TKC_API tkc_status tkk_softmax_forward(tkk_library *library, tkc_stream *stream,
                                       const tkk_tensor *x, const tkk_tensor *y,
                                       const tkk_softmax_options *options);
/* dx = y * (dy - sum(y * dy)), or dx = dy - exp(y) * sum(dy) of the logarithm; y from the forward
 * pass. `dx` may be y or dy. */
TKC_API tkc_status tkk_softmax_backward(tkk_library *library, tkc_stream *stream,
                                        const tkk_tensor *y, const tkk_tensor *dy,
                                        const tkk_tensor *dx, const tkk_softmax_options *options);

/* ---- reductions --------------------------------------------------------------------------- */

typedef enum tkk_reduction {
    TKK_SUM = 0,
    TKK_MEAN,
    TKK_NORM, /* the root of the sum of squares */
    TKK_MAX,
    TKK_MIN,
    TKK_REDUCTION_PIN_ = 0x7fffffff
} tkk_reduction;

typedef struct tkk_reduce_options {
    uint32_t struct_size;
    tkk_reduction kind;
    int32_t axis;      /* negative ones count from the last: -1 */
    bool compile_only; /* compile what this call needs, run nothing */
    tkk_tensor places; /* optional, i32 or i64: written: where the extreme was found first */
    tkk_workspace workspace;
} tkk_reduce_options;

#define TKK_REDUCE_OPTIONS_INIT                                                                    \
    { .struct_size = sizeof(tkk_reduce_options), .axis = -1 }

/* out = the sum (mean ...) of x along an axis. x has rank 1 to 4 and any strides; out and places
 * have its shape without the axis, or with an extent of 1 there. Sums are made in f32, in the same
 * order every time. The extreme of a row with NaN is NaN, found at the first one. Nothing has the
 * sum 0, the mean NaN and no extreme (an error). `out` may be NULL when places are given; `options`
 * may be NULL. */
TKC_API tkc_status tkk_reduce(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                              const tkk_tensor *out, const tkk_reduce_options *options);
/* Bytes of workspace that this call takes: long rows are reduced in parts when there are few. */
TKC_API uint64_t tkk_reduce_workspace(tkk_library *library, const tkk_tensor *x,
                                      const tkk_reduce_options *options);

#ifdef __cplusplus
}
#endif

#endif
