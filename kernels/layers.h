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

#ifdef __cplusplus
}
#endif

#endif
