/* reference_matrix.h: matrix products with all that kernels fuse into them, linear layers and
 * convolutions, in float64. As reference.h: dense arrays, and with each result a bound of its error
 * when it is computed in f32 sums. */
#ifndef TKC_TESTS_REFERENCE_MATRIX_H
#define TKC_TESTS_REFERENCE_MATRIX_H

#include "tests/reference.h"

/* y = activation(alpha a b + bias) + beta residual, z: the same before the activation. bias [n],
 * residual [m, n], z, z_allowed may be NULL. `operand`: relative error of the operands (tf32). */
typedef struct ReferenceProduct {
    int64_t m, n, k;
    const double *a, *b, *bias, *residual;
    double alpha, beta, operand;
    ReferenceActivation activation;
    ReferenceType y_type, z_type;
    double *y, *y_allowed, *z, *z_allowed;
} ReferenceProduct;

void reference_product(const ReferenceProduct *problem);

/* out[j][i] = in[i][j] */
void reference_transpose(int64_t rows, int64_t columns, const double *in, double *out);

/* A convolution: x [batch, in, height, width], w [out, in / groups, kh, kw], y and dy
 * [batch, out, oh, ow] (conv_out). Index 0: along the height. */
typedef struct ReferenceConv {
    int64_t batch, in, out, groups;
    int64_t size[2], kernel[2], stride[2], padding[2], dilation[2];
    const double *x, *w, *bias; /* bias may be NULL */
    const double *dy;
} ReferenceConv;

int64_t reference_conv_out(const ReferenceConv *c, int dimension);
/* Each with the sum of magnitudes of the terms of each result in `sums`. */
void reference_conv_forward(const ReferenceConv *c, double *y, double *sums);
void reference_conv_dx(const ReferenceConv *c, double *dx, double *sums);
void reference_conv_dw(const ReferenceConv *c, double *dw, double *sums);
void reference_conv_db(const ReferenceConv *c, double *db, double *sums);

#endif
