/* reference_layers.h: layers over rows and elements in float64, and how far off kernels may be.
 * Arrays are dense, [rows, columns] where nothing else is said; reference.h says how tolerances
 * are derived. u is the unit roundoff of f32, in which kernels compute. */
#ifndef TKC_TESTS_REFERENCE_LAYERS_H
#define TKC_TESTS_REFERENCE_LAYERS_H

#include "tests/reference.h"

/* to[o, i, k] = from[o, k, i] for from [outer, n, inner]: rows along the middle dimension become
 * rows along the last one. The inverse is the same with n and inner exchanged. */
void reference_exchange(int64_t outer, int64_t n, int64_t inner, const double *from, double *to);
/* The sum of magnitudes. */
double reference_magnitude(int64_t n, const double *x);

/* ---- logarithm of softmax --------------------------------------------------------------------
 */

void reference_log_softmax(int64_t rows, int64_t columns, const double *x, double *y);
void reference_log_softmax_backward(int64_t rows, int64_t columns, const double *y,
                                    const double *dy, double *dx);
double reference_log_softmax_tolerance(ReferenceType out, int64_t columns, double spread, double y);
/* `sum`: of the row, the sum of |dy|. */
double reference_log_softmax_backward_tolerance(ReferenceType out, int64_t columns, double sum,
                                                double y, double dy, double dx);

/* ---- normalisation -----------------------------------------------------------------------------
 */

/* Rows of s, already the sum with the residual. NULL: weight 1, bias 0, state not wanted. */
typedef struct ReferenceNorm {
    int64_t rows, n;
    bool rms;
    double epsilon;
    const double *s, *weight, *bias;
    double *y, *mean, *rstd; /* written forward; mean and rstd: read backward */
    const double *dy, *dsum; /* dsum: NULL, or added to dx */
    double *dx, *dweight, *dbias;
} ReferenceNorm;

void reference_norm(ReferenceNorm *p);
void reference_norm_backward(ReferenceNorm *p);
/* Most that y, dx (arrays [rows, n]), mean, rstd ([rows]), dweight and dbias ([n]) may be off. */
void reference_norm_tolerances(const ReferenceNorm *p, ReferenceType out, double *y, double *mean,
                               double *rstd);
void reference_norm_backward_tolerances(const ReferenceNorm *p, ReferenceType out,
                                        ReferenceType parameters, double *dx, double *dweight,
                                        double *dbias);

/* ---- element by element ------------------------------------------------------------------------
 */

/* f'(x); and how far off a kernel's f(x) and f'(x) may be. */
double reference_activation_slope(ReferenceActivation activation, double x);
double reference_activation_error(double x);
double reference_activation_slope_error(ReferenceActivation activation, double x);

/* ---- cross entropy -----------------------------------------------------------------------------
 */

/* Rows of logits; a label below 0 is ignored: loss and gradient 0. `slope`: of the loss of each
 * row. */
typedef struct ReferenceCrossEntropy {
    int64_t rows, n;
    double smoothing, z_loss;
    const double *x;
    const int64_t *labels;
    double *loss, *lse; /* written; backward reads lse */
    const double *slope;
    double *dx;
} ReferenceCrossEntropy;

void reference_cross_entropy(ReferenceCrossEntropy *p);
void reference_cross_entropy_backward(ReferenceCrossEntropy *p);
/* Most that the loss and lse of each row, computed and stored in f32, and dx may be off. */
void reference_cross_entropy_tolerances(const ReferenceCrossEntropy *p, double *loss, double *lse);
void reference_cross_entropy_backward_tolerances(const ReferenceCrossEntropy *p, ReferenceType out,
                                                 double *dx);

#endif
