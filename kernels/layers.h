/* layers.h: kernels over rows and elements. Contracts that hold for all functions are in
 * kernels.h. */
#ifndef TKC_KERNELS_LAYERS_H
#define TKC_KERNELS_LAYERS_H

#include "kernels/matrix.h" /* tkk_activation */

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

/* ---- normalisation -------------------------------------------------------------------------- */

/* Layer normalisation along an axis, or its root-mean-square form:
 *
 *     s = x + residual        y = (s - mean) * rstd * weight + bias
 *     rstd = 1 / sqrt(variance + epsilon)             rms: mean = 0, variance = mean of squares
 *
 *     x, residual, sum, y, dy, dsum, dx   one shape, rank 1 to 4, any strides
 *     weight, bias, dweight, dbias        [length of the axis], without gaps
 *     mean, rstd                          f32, that shape without the axis, or with an extent of 1
 *
 * Each tensor has its own dtype. Backward takes for x what was normalised: `sum` where there was a
 * residual; dx is then the gradient of x and of the residual. `y` and `sum` may be x or residual;
 * `dx` may be dy or dsum. */
typedef struct tkk_norm {
    uint32_t struct_size;
    int32_t axis; /* negative ones count from the last: -1 */
    bool rms;
    bool compile_only; /* compile what this call needs, run nothing */
    float epsilon;
    tkk_tensor x;            /* read */
    tkk_tensor weight, bias; /* optional: 1 and 0; backward reads no bias */
    tkk_tensor residual;     /* forward: read; optional */
    tkk_tensor sum;          /* forward: written; optional: x + residual, in its dtype */
    tkk_tensor y;            /* forward: written */
    /* Forward: written; optional. Backward: read (mean: not of rms). */
    tkk_tensor mean, rstd;
    tkk_tensor dy;             /* backward: read */
    tkk_tensor dsum;           /* backward: read; optional: added to dx */
    tkk_tensor dx;             /* backward: written */
    tkk_tensor dweight, dbias; /* backward: written; optional */
    tkk_workspace workspace;   /* backward, where dweight or dbias is wanted */
} tkk_norm;

#define TKK_NORM_INIT                                                                              \
    { .struct_size = sizeof(tkk_norm), .axis = -1, .epsilon = 1e-5f }

TKC_API tkc_status tkk_norm_forward(tkk_library *library, tkc_stream *stream,
                                    const tkk_norm *problem);
/* The gradients of weight and bias are summed in the same order every time. */
TKC_API tkc_status tkk_norm_backward(tkk_library *library, tkc_stream *stream,
                                     const tkk_norm *problem);
/* Bytes of workspace that tkk_norm_backward takes. */
TKC_API uint64_t tkk_norm_workspace(tkk_library *library, const tkk_norm *problem);

/* ---- cross entropy ------------------------------------------------------------------------------
 */

typedef enum tkk_loss_reduction {
    TKK_LOSS_MEAN = 0, /* over the rows that count */
    TKK_LOSS_SUM,
    TKK_LOSS_NONE, /* one loss a row */
    TKK_LOSS_REDUCTION_PIN_ = 0x7fffffff
} tkk_loss_reduction;

/* Cross entropy of logits with labels, and its gradient:
 *
 *     lse = log(sum(exp(logits)))
 *     loss of a row = lse - (1 - s) logits[label] - s mean(logits) + z_loss lse^2
 *
 *     logits, dlogits   rank 1 to 4, any strides; classes along `axis`, any number of them
 *     labels, lse       i32 or i64; f32: the shape of logits without the axis, or with extent 1
 *     loss, dloss       one element, or (TKK_LOSS_NONE) the shape of labels
 *     count             f32, one element: how many rows count
 *
 * s is the label smoothing. Rows labelled `ignore_index` have loss and gradient 0 and do not count;
 * when no row counts the mean is NaN. Another label that is no class makes its loss and gradient
 * NaN, or with check_labels a fault of the launch. `dlogits` may be logits. */
typedef struct tkk_cross_entropy {
    uint32_t struct_size;
    int32_t axis; /* negative ones count from the last: -1 */
    tkk_loss_reduction reduction;
    float label_smoothing, z_loss;
    int64_t ignore_index;
    bool check_labels;         /* where the device reports device_assert */
    bool compile_only;         /* compile what this call needs, run nothing */
    tkk_tensor logits, labels; /* read */
    tkk_tensor loss;           /* forward: written */
    tkk_tensor lse;            /* forward: written, optional; backward: read */
    tkk_tensor count;          /* the same, with TKK_LOSS_MEAN */
    tkk_tensor dloss;          /* backward: read */
    tkk_tensor dlogits;        /* backward: written */
    tkk_workspace workspace;   /* forward, unless TKK_LOSS_NONE */
} tkk_cross_entropy;

#define TKK_CROSS_ENTROPY_INIT                                                                     \
    { .struct_size = sizeof(tkk_cross_entropy), .axis = -1, .ignore_index = -100 }

TKC_API tkc_status tkk_cross_entropy_forward(tkk_library *library, tkc_stream *stream,
                                             const tkk_cross_entropy *problem);
TKC_API tkc_status tkk_cross_entropy_backward(tkk_library *library, tkc_stream *stream,
                                              const tkk_cross_entropy *problem);
/* Bytes of workspace that tkk_cross_entropy_forward takes. */
TKC_API uint64_t tkk_cross_entropy_workspace(const tkk_cross_entropy *problem);

/* ---- rotary position embedding ------------------------------------------------------------------
 */

/* Turns pairs of the first rotary_dim elements by position * base^(-2 i / rotary_dim), or by the
 * angle whose cosine and sine stand in row `position` of the tables; copies the others.
 *
 *     x, y, dy, dx   [batch, length, heads, dim] or [length, heads, dim], any strides and dtypes
 *     positions      i32 or i64, [length] or [batch, length]; rank 0: offset, offset + 1, ...
 *     cos, sin       [positions, rotary_dim / 2], rows without gaps; rank 0: computed
 *
 * Pair i is (i, i + rotary_dim / 2), or (2 i, 2 i + 1) when interleaved. A position that the tables
 * do not have gives NaN. `y` may be x, and dx may be dy. */
typedef struct tkk_rope {
    uint32_t struct_size;
    bool interleaved;
    bool compile_only;  /* compile what this call needs, run nothing */
    int64_t rotary_dim; /* even; 0: dim */
    int64_t offset;
    double base;
    tkk_tensor positions, cos, sin; /* read; optional */
    tkk_tensor x;                   /* forward: read */
    tkk_tensor y;                   /* forward: written */
    tkk_tensor dy;                  /* backward: read */
    tkk_tensor dx;                  /* backward: written */
} tkk_rope;

#define TKK_ROPE_INIT                                                                              \
    { .struct_size = sizeof(tkk_rope), .base = 10000 }

TKC_API tkc_status tkk_rope_forward(tkk_library *library, tkc_stream *stream,
                                    const tkk_rope *problem);
/* The inverse: turns back. */
TKC_API tkc_status tkk_rope_backward(tkk_library *library, tkc_stream *stream,
                                     const tkk_rope *problem);

/* ---- embedding ----------------------------------------------------------------------------------
 */

/* out[i] = table[indices[i]], and the gradient of the table.
 *
 *     table, dtable   [rows, dim]
 *     indices         i32 or i64, rank 1 to 3, without gaps
 *     out, dout       the shape of indices and dim, rows equally far apart
 *
 * The last dimension of each is without gaps; dtypes are any. An index that is no row of the table
 * gives a row of NaN, or with check_indices a fault of the launch; it adds to no gradient.
 *
 * dtable is written whole. By default a program owns some rows of it and adds in the order of
 * indices, in f32: the same bits every time. It reads all indices for every 4 to 16 rows of the
 * table, which is cheap up to some 10^4 indices. `atomic` adds with f32 atomics (dtable is f32):
 * work in proportion to dout, in no particular order. */
typedef struct tkk_embedding {
    uint32_t struct_size;
    bool atomic;           /* backward */
    bool check_indices;    /* forward, where the device reports device_assert */
    bool compile_only;     /* compile what this call needs, run nothing */
    int64_t padding_index; /* backward: adds nothing to this row; -1: none */
    tkk_tensor indices;    /* read */
    tkk_tensor table;      /* forward: read */
    tkk_tensor out;        /* forward: written */
    tkk_tensor dout;       /* backward: read */
    tkk_tensor dtable;     /* backward: written */
} tkk_embedding;

#define TKK_EMBEDDING_INIT                                                                         \
    { .struct_size = sizeof(tkk_embedding), .padding_index = -1 }

TKC_API tkc_status tkk_embedding_forward(tkk_library *library, tkc_stream *stream,
                                         const tkk_embedding *problem);
TKC_API tkc_status tkk_embedding_backward(tkk_library *library, tkc_stream *stream,
                                          const tkk_embedding *problem);

/* ---- element by element -------------------------------------------------------------------- */

/* y = dropout(activation(x + bias) * gate) + residual, and its gradients. With a gate this is a
 * gated linear unit (Shazeer, 2020): SwiGLU with TKK_SILU, GeGLU with TKK_GELU, where x and gate
 * are the halves of one tensor (tkk_narrow). Without activation it is dropout alone.
 *
 *     x, gate, residual, y, dy, dx, dgate   one shape, rank 1 to 4, any strides
 *     bias, dbias                           [last extent]
 *
 * Each tensor has its own dtype. `y` may be x, gate or residual; dx and dgate may be dy, x or gate.
 *
 * Dropout sets elements to 0 with probability `dropout` and scales the others by 1 / (1 - dropout).
 * Which ones depends on seed, offset and the element's number in row-major order alone: on every
 * device, for every layout, forward and backward. Element i has word i % 4 of Philox at counter
 * offset + i / 4: add the number of elements by 4, rounded up, to the offset from call to call.
 *
 * The gradient of the residual is dy. */
typedef struct tkk_activate {
    uint32_t struct_size;
    tkk_activation activation;
    bool compile_only; /* compile what this call needs, run nothing */
    float dropout;     /* in [0, 1] */
    uint64_t seed, offset;
    tkk_tensor x;            /* read */
    tkk_tensor bias, gate;   /* read; optional */
    tkk_tensor residual;     /* forward: read; optional */
    tkk_tensor y;            /* forward: written */
    tkk_tensor dy;           /* backward: read */
    tkk_tensor dx, dgate;    /* backward: written; optional */
    tkk_tensor dbias;        /* backward: written; optional: the sum of dx, as it is stored */
    tkk_workspace workspace; /* backward, where dbias is wanted */
} tkk_activate;

#define TKK_ACTIVATE_INIT                                                                          \
    { .struct_size = sizeof(tkk_activate) }

TKC_API tkc_status tkk_activate_forward(tkk_library *library, tkc_stream *stream,
                                        const tkk_activate *problem);
TKC_API tkc_status tkk_activate_backward(tkk_library *library, tkc_stream *stream,
                                         const tkk_activate *problem);
/* Bytes of workspace that tkk_activate_backward takes. */
TKC_API uint64_t tkk_activate_workspace(tkk_library *library, const tkk_activate *problem);

typedef enum tkk_binary_kind {
    TKK_ADD = 0,
    TKK_SUBTRACT,
    TKK_MULTIPLY,
    TKK_DIVIDE,
    TKK_MAXIMUM, /* NaN where either is */
    TKK_MINIMUM,
    TKK_BINARY_KIND_PIN_ = 0x7fffffff
} tkk_binary_kind;

/* out = x + y (- * / ...), rank 1 to 4, any strides and dtypes. x and y are repeated along
 * dimensions where their extent is 1, and along those that they lack in front. `out` may be x or
 * y. */
TKC_API tkc_status tkk_binary(tkk_library *library, tkc_stream *stream, tkk_binary_kind kind,
                              const tkk_tensor *x, const tkk_tensor *y, const tkk_tensor *out);

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
