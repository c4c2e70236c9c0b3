/* matrix.h: matrix products. Contracts that hold for all functions are in kernels.h. */
#ifndef TKC_KERNELS_MATRIX_H
#define TKC_KERNELS_MATRIX_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tkk_activation {
    TKK_NO_ACTIVATION = 0,
    TKK_RELU,
    TKK_LEAKY_RELU, /* slope 0.01 */
    TKK_GELU,       /* with erf, not its tanh approximation */
    TKK_SILU,
    TKK_ACTIVATION_PIN_ = 0x7fffffff
} tkk_activation;

typedef struct tkk_matmul_options {
    uint32_t struct_size;
    tkk_activation activation;
    tkk_precision precision;
    bool compile_only; /* compile what this call needs, run nothing */
} tkk_matmul_options;

#define TKK_MATMUL_OPTIONS_INIT                                                                    \
    { sizeof(tkk_matmul_options), TKK_NO_ACTIVATION, TKK_TF32, false }

/* c = activation(a b), a: M x K, b: K x N, c: M x N, any strides. a and b have one dtype, c any.
 * `options` may be NULL. */
TKC_API tkc_status tkk_matmul(tkk_library *library, tkc_stream *stream, const tkk_tensor *a,
                              const tkk_tensor *b, const tkk_tensor *c,
                              const tkk_matmul_options *options);

#ifdef __cplusplus
}
#endif

#endif
