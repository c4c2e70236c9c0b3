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

/* y = softmax(x) along rows. Matrices of one shape, each with its own dtype and row stride; columns
 * have stride 1. `y` may be x. */
TKC_API tkc_status tkk_softmax_forward(tkk_library *library, tkc_stream *stream,
                                       const tkk_tensor *x, const tkk_tensor *y);
/* dx = y * (dy - rowsum(y * dy)), y from the forward pass. `dx` may be y or dy. */
TKC_API tkc_status tkk_softmax_backward(tkk_library *library, tkc_stream *stream,
                                        const tkk_tensor *y, const tkk_tensor *dy,
                                        const tkk_tensor *dx);

#ifdef __cplusplus
}
#endif

#endif
