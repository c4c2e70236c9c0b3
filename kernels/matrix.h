/* matrix.h: matrix products: matmul in all its forms, linear layers, convolutions, products of
 * int8 and fp8. Contracts that hold for all functions are in kernels.h.
 *
 * Results do not depend on the order in which programs run: the same input gives the same bits. */
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
    TKK_GELU,       /* with erf */
    TKK_SILU,
    TKK_GELU_TANH, /* the approximation of gelu by tanh (Hendrycks and Gimpel, 2016) */
    TKK_ACTIVATION_PIN_ = 0x7fffffff
} tkk_activation;

/* ---- matmul ----------------------------------------------------------------------------- */

/* How the tiles of a product are shared out among programs. */
typedef enum tkk_schedule {
    TKK_AUTO_SCHEDULE = 0, /* split K where there are too few tiles to fill the device */
    TKK_TILES,             /* one program a tile */
    TKK_SPLIT_K,           /* several programs a tile, each a part of K; needs a workspace */
    TKK_PERSISTENT,        /* as many programs as run at once, each a list of tiles */
    TKK_SCHEDULE_PIN_ = 0x7fffffff
} tkk_schedule;

typedef struct tkk_matmul_options {
    uint32_t struct_size;
    tkk_activation activation;
    tkk_precision precision;
    bool compile_only; /* compile what this call needs, run nothing */
    float alpha, beta;
    tkk_tensor bias;     /* optional: [N] */
    tkk_tensor residual; /* optional: the shape of c; may be c itself */
    tkk_tensor z;        /* optional: the shape of c; written: the value before the activation */
    tkk_schedule schedule;
    uint32_t splits; /* of K, with TKK_SPLIT_K; 0: chosen */
    tkk_workspace workspace;
} tkk_matmul_options;

#define TKK_MATMUL_OPTIONS_INIT                                                                    \
    { .struct_size = sizeof(tkk_matmul_options), .alpha = 1.0f, .beta = 1.0f }

/* c = activation(alpha a b + bias) + beta residual. a: M x K, b: K x N, c: M x N, any strides.
 * a and b have one dtype; c, bias and residual any. Each of a, b and residual may have a leading
 * batch dimension when c has one; those without it are used for all of the batch, as is a stride of
 * 0. `options` may be NULL. */
TKC_API tkc_status tkk_matmul(tkk_library *library, tkc_stream *stream, const tkk_tensor *a,
                              const tkk_tensor *b, const tkk_tensor *c,
                              const tkk_matmul_options *options);
/* Bytes of workspace that this call takes. */
TKC_API uint64_t tkk_matmul_workspace(tkk_library *library, const tkk_tensor *a,
                                      const tkk_tensor *b, const tkk_tensor *c,
                                      const tkk_matmul_options *options);

/* c[i] = activation(alpha a[i] b[i]) for `count` problems of any sizes in one launch. Each of a, b
 * and c has one dtype throughout. The table of problems is written into the workspace (a buffer)
 * before the launch, from the host, which waits for the stream: the call cannot be captured. No
 * bias, residual, z or schedule. */
TKC_API tkc_status tkk_matmul_grouped(tkk_library *library, tkc_stream *stream, uint32_t count,
                                      const tkk_tensor *a, const tkk_tensor *b, const tkk_tensor *c,
                                      const tkk_matmul_options *options);
/* Bytes of workspace that a group of `count` problems takes. */
TKC_API uint64_t tkk_matmul_grouped_workspace(uint32_t count);

/* ---- linear ------------------------------------------------------------------------------- */

/* A linear layer: z = x w^T + b, y = activation(z) + residual, and its gradients.
 *
 *     x, dx              [rows, in]
 *     w, dw              [out, in]
 *     b, db              [out]
 *     y, z, dy, residual [rows, out]
 *
 * x, w and dy have one dtype, all others each their own; any strides. The gradient of the residual
 * is dy. */
typedef struct tkk_linear {
    uint32_t struct_size;
    tkk_activation activation;
    tkk_precision precision;
    bool compile_only;   /* compile what this call needs, run nothing */
    tkk_tensor x, w;     /* read */
    tkk_tensor b;        /* read; optional */
    tkk_tensor y;        /* forward: written */
    tkk_tensor residual; /* forward: read; optional; may be y itself */
    /* Forward: written when given. Backward with an activation: read. Nothing is computed again; of
     * relu and leaky relu the sign is enough: y may be given for z. */
    tkk_tensor z;
    tkk_tensor dy;         /* backward: read */
    tkk_tensor dx, dw, db; /* backward: written; each optional */
    tkk_workspace workspace;
} tkk_linear;

#define TKK_LINEAR_INIT                                                                            \
    { .struct_size = sizeof(tkk_linear) }

TKC_API tkc_status tkk_linear_forward(tkk_library *library, tkc_stream *stream,
                                      const tkk_linear *problem);
TKC_API tkc_status tkk_linear_backward(tkk_library *library, tkc_stream *stream,
                                       const tkk_linear *problem);
/* Bytes of workspace that are enough for both. */
TKC_API uint64_t tkk_linear_workspace(tkk_library *library, const tkk_linear *problem);

/* ---- convolution -------------------------------------------------------------------------- */

/* A 2-d convolution (cross-correlation, as layers have it) and its gradients, by implicit products:
 * no unfolded copy of the input is made.
 *
 *     x, dx   [batch, in, height, width]
 *     w, dw   [out, in / groups, kernel height, kernel width]
 *     b, db   [out]
 *     y, dy   [batch, out, out height, out width],
 *             out = (size + 2 padding - dilation (kernel - 1) - 1) / stride + 1
 *
 * stride, padding, dilation: along height and width. x, w and dy have one dtype, all others each
 * their own; any strides in memory. */
typedef struct tkk_conv2d {
    uint32_t struct_size;
    tkk_activation activation; /* forward only */
    tkk_precision precision;
    bool compile_only; /* compile what this call needs, run nothing */
    uint32_t stride[2], padding[2], dilation[2], groups;
    tkk_tensor x, w;       /* read */
    tkk_tensor b;          /* read; optional */
    tkk_tensor y;          /* forward: written */
    tkk_tensor dy;         /* backward: read */
    tkk_tensor dx, dw, db; /* backward: written; each optional */
    tkk_workspace workspace;
} tkk_conv2d;

#define TKK_CONV2D_INIT                                                                            \
    { .struct_size = sizeof(tkk_conv2d), .stride = {1, 1}, .dilation = {1, 1}, .groups = 1 }

TKC_API tkc_status tkk_conv2d_forward(tkk_library *library, tkc_stream *stream,
                                      const tkk_conv2d *problem);
TKC_API tkc_status tkk_conv2d_backward(tkk_library *library, tkc_stream *stream,
                                       const tkk_conv2d *problem);
/* Bytes of workspace that are enough for both. */
TKC_API uint64_t tkk_conv2d_workspace(tkk_library *library, const tkk_conv2d *problem);

/* ---- products of narrow numbers ------------------------------------------------------------- */

/* c = activation(a_scale * (a b) * b_scale + bias).
 *
 *     a        [M, K], i8 or fp8 (e4m3, e5m2)
 *     b        [K, N], i8 with i8; one of the fp8 with fp8
 *     a_scale  [1] or [M], f32; optional
 *     b_scale  [1] or [N], f32; optional
 *     bias     [N], f16, bf16 or f32; optional
 *     c        [M, N], f16, bf16 or f32; or i32 for i8 without scales, bias and activation
 *
 * Sums of i8 are exact (i32, modulo 2^32); sums of fp8 are f32. GPUs before sm_89 multiply fp8 as
 * f16, which is exact. */
typedef struct tkk_quantized_matmul {
    uint32_t struct_size;
    tkk_activation activation;
    bool compile_only;                 /* compile what this call needs, run nothing */
    tkk_tensor a, b;                   /* read */
    tkk_tensor a_scale, b_scale, bias; /* read; each optional */
    tkk_tensor c;                      /* written */
} tkk_quantized_matmul;

#define TKK_QUANTIZED_MATMUL_INIT                                                                  \
    { .struct_size = sizeof(tkk_quantized_matmul) }

TKC_API tkc_status tkk_matmul_quantized(tkk_library *library, tkc_stream *stream,
                                        const tkk_quantized_matmul *problem);

/* Rows of x (f16, bf16, f32; finite) as q, of the same shape (i8, f8e4m3, f8e5m2), and scales
 * [rows] (f32): q scale is nearest to x, and the largest |q| of a row is the largest its dtype has
 * (less where the scale would not be a normal number; rows of zeros have the scale 1). For columns
 * give tensors with their dimensions exchanged. */
TKC_API tkc_status tkk_quantize(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                                const tkk_tensor *q, const tkk_tensor *scale);

#ifdef __cplusplus
}
#endif

#endif
