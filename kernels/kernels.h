/* kernels.h: ready-made kernels, called like functions.
 *
 *     tkck_library *library;
 *     tkck_create(context, device, &library);
 *     tkck_tensor a = tkck_matrix(tkc_arg(a_buffer), TKC_F16, M, K);
 *     tkck_tensor b = tkck_matrix(tkc_arg(b_buffer), TKC_F16, K, N);
 *     tkck_tensor c = tkck_matrix(tkc_arg(c_buffer), TKC_F16, M, N);
 *     if (tkck_matmul(library, NULL, &a, &b, &c, NULL) != TKC_OK) puts(tkc_last_error());
 *
 * A library belongs to one device. It compiles a kernel when it is first needed, from source text
 * that is part of the program, and keeps it. What is compiled depends on dtypes, head dimension,
 * options, which strides are 1 or multiples of 16, and whether addresses are multiples of 16: give
 * the same kinds of tensors and nothing is compiled twice. The context's `compiled` callback tells
 * when something was; `compile_only` does it ahead of time.
 *
 * Tensors are views: where the first element lies, dtype, shape, strides. The memory is the
 * caller's and is used until the stream has done the work. Outputs may not overlap inputs, unless
 * the function says so. Arithmetic is fp32 inside; dtypes are f16, bf16 and f32.
 *
 * Every function returns a tkc_status; tkc_last_error() says in words what was wrong, with the
 * name of the tensor. Shapes, dtypes and options are checked before anything runs:
 * TKC_INVALID_ARGUMENT, or TKC_UNSUPPORTED for what is meaningful but not done here. Work is given
 * to `stream` (NULL: the default one), and a fault in a kernel is reported as tkc_launch says.
 * All functions but tkck_destroy may be called from several threads at once.
 */
#ifndef TKC_KERNELS_KERNELS_H
#define TKC_KERNELS_KERNELS_H

#include "runtime/tkc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tkck_library tkck_library;

/* Context and device must outlive the library. */
TKC_API tkc_status tkck_create(tkc_context *context, tkc_device *device, tkck_library **library);
TKC_API void tkck_destroy(tkck_library *library);

/* ---- tensors ---------------------------------------------------------------------------- */

enum { TKCK_MAX_RANK = 4 };

typedef struct tkck_tensor {
    tkc_argument data; /* tkc_arg(buffer), tkc_arg_buffer_at(buffer, bytes), tkc_arg_address(a) */
    tkc_dtype dtype;
    uint32_t rank;
    int64_t shape[TKCK_MAX_RANK];
    int64_t stride[TKCK_MAX_RANK]; /* in elements */
} tkck_tensor;

/* Row-major tensors without gaps. */
TKC_API tkck_tensor tkck_vector(tkc_argument data, tkc_dtype dtype, int64_t length);
TKC_API tkck_tensor tkck_matrix(tkc_argument data, tkc_dtype dtype, int64_t rows, int64_t columns);
TKC_API tkck_tensor tkck_tensor3(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1,
                                 int64_t n2);
TKC_API tkck_tensor tkck_tensor4(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1,
                                 int64_t n2, int64_t n3);
/* The same elements with two dimensions exchanged. */
TKC_API tkck_tensor tkck_exchange(tkck_tensor tensor, uint32_t i, uint32_t j);

/* ---- small ones ------------------------------------------------------------------------- */

/* out = x + y. Vectors of one length, dtype f32 and stride 1. `out` may be x or y. */
TKC_API tkc_status tkck_vector_add(tkck_library *library, tkc_stream *stream, const tkck_tensor *x,
                                   const tkck_tensor *y, const tkck_tensor *out);

/* y = softmax(x) along rows. Matrices of one shape, each with its own dtype and row stride; columns
 * have stride 1. `y` may be x. */
TKC_API tkc_status tkck_softmax_forward(tkck_library *library, tkc_stream *stream,
                                        const tkck_tensor *x, const tkck_tensor *y);
/* dx = y * (dy - rowsum(y * dy)), y from the forward pass. `dx` may be y or dy. */
TKC_API tkc_status tkck_softmax_backward(tkck_library *library, tkc_stream *stream,
                                         const tkck_tensor *y, const tkck_tensor *dy,
                                         const tkck_tensor *dx);

/* ---- matrix product --------------------------------------------------------------------- */

typedef enum tkck_activation {
    TKCK_NO_ACTIVATION = 0,
    TKCK_RELU,
    TKCK_LEAKY_RELU, /* slope 0.01 */
    TKCK_GELU,       /* with erf, not its tanh approximation */
    TKCK_SILU,
    TKCK_ACTIVATION_PIN_ = 0x7fffffff
} tkck_activation;

/* How products of two f32 are made; products of f16 and bf16 are always exact. */
typedef enum tkck_precision {
    TKCK_TF32 = 0, /* operands rounded to 10 mantissa bits: tensor cores */
    TKCK_IEEE,     /* full f32 */
    TKCK_PRECISION_PIN_ = 0x7fffffff
} tkck_precision;

typedef struct tkck_matmul_options {
    uint32_t struct_size;
    tkck_activation activation;
    tkck_precision precision;
    bool compile_only; /* compile what this call needs, run nothing */
} tkck_matmul_options;

#define TKCK_MATMUL_OPTIONS_INIT                                                                   \
    { sizeof(tkck_matmul_options), TKCK_NO_ACTIVATION, TKCK_TF32, false }

/* c = activation(a b), a: M x K, b: K x N, c: M x N, any strides. a and b have one dtype, c any.
 * `options` may be NULL. */
TKC_API tkc_status tkck_matmul(tkck_library *library, tkc_stream *stream, const tkck_tensor *a,
                               const tkck_tensor *b, const tkck_tensor *c,
                               const tkck_matmul_options *options);

/* ---- attention -------------------------------------------------------------------------- */

typedef enum tkck_mask {
    TKCK_NO_MASK = 0,
    /* Row i sees key j when j <= i + kv_length - q_length: the last row sees all keys. As
     * FlashAttention does since 2.1. Rows that see no key give 0. */
    TKCK_CAUSAL,
    /* Row i sees key j when j <= i: the first row sees one key. The same when lengths are equal. */
    TKCK_CAUSAL_TOP_LEFT,
    TKCK_MASK_PIN_ = 0x7fffffff
} tkck_mask;

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
typedef struct tkck_attention {
    uint32_t struct_size;
    tkck_mask mask;
    tkck_precision precision;
    float scale;
    bool compile_only;      /* compile what this call needs, run nothing */
    tkck_tensor q, k, v;    /* read */
    tkck_tensor out, lse;   /* forward: written; backward: read */
    tkck_tensor dout;       /* backward: read */
    tkck_tensor delta;      /* backward: overwritten */
    tkck_tensor dq, dk, dv; /* backward: written */
} tkck_attention;

#define TKCK_ATTENTION_INIT                                                                        \
    { .struct_size = sizeof(tkck_attention), .scale = 1.0f }

TKC_API tkc_status tkck_attention_forward(tkck_library *library, tkc_stream *stream,
                                          const tkck_attention *problem);
/* Three launches: delta, then dk and dv, then dq. The result does not depend on order: the same
 * input gives the same bits. */
TKC_API tkc_status tkck_attention_backward(tkck_library *library, tkc_stream *stream,
                                           const tkck_attention *problem);

/* The kernels of 2022, kept for comparison: causal, one length and one number of heads for all,
 * a multiple of 128, head_dim 16, 32, 64 or 128. All tensors are without gaps:
 *
 *     q, k, v, out, dout, new_dout, dk, dv   [batch, heads, length, head_dim], f16
 *     dq                                     [batch, heads, length, head_dim], f32
 *     tmp, l, m, delta                       [batch, heads, length], f32
 *
 * Forward reads q, k, v and writes out, l, m (tmp is scratch); backward reads those and dout, and
 * writes dk, dv; it adds to dq, which the caller fills with zeros (new_dout, delta: scratch). */
typedef struct tkck_attention_2022 {
    uint32_t struct_size;
    float scale;
    bool compile_only;
    tkck_tensor q, k, v, out, tmp, l, m;
    tkck_tensor dout, new_dout, delta, dq, dk, dv;
} tkck_attention_2022;

#define TKCK_ATTENTION_2022_INIT                                                                   \
    { .struct_size = sizeof(tkck_attention_2022), .scale = 1.0f }

TKC_API tkc_status tkck_attention_2022_forward(tkck_library *library, tkc_stream *stream,
                                               const tkck_attention_2022 *problem);
TKC_API tkc_status tkck_attention_2022_backward(tkck_library *library, tkc_stream *stream,
                                                const tkck_attention_2022 *problem);

#ifdef __cplusplus
}
#endif

#endif
