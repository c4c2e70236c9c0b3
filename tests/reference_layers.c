/* reference_layers.c: layers over rows and elements in float64. */
#include "tests/reference_layers.h"

#include <math.h>

void reference_exchange(int64_t outer, int64_t n, int64_t inner, const double *from, double *to) {
    for (int64_t o = 0; o < outer; o++, from += n * inner, to += n * inner)
        for (int64_t k = 0; k < n; k++)
            for (int64_t i = 0; i < inner; i++) to[i * n + k] = from[k * inner + i];
}

double reference_magnitude(int64_t n, const double *x) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs(x[i]);
    return sum;
}

static double unit(void) {
    return reference_unit_roundoff(REF_F32);
}

/* ---- logarithm of softmax --------------------------------------------------------------------
 */

void reference_log_softmax(int64_t rows, int64_t columns, const double *x, double *y) {
    for (int64_t r = 0; r < rows; r++, x += columns, y += columns) {
        double largest = -INFINITY, sum = 0;
        for (int64_t i = 0; i < columns; i++) largest = fmax(largest, x[i]);
        for (int64_t i = 0; i < columns; i++) sum += exp(x[i] - largest);
        for (int64_t i = 0; i < columns; i++) y[i] = x[i] - largest - log(sum);
    }
}

void reference_log_softmax_backward(int64_t rows, int64_t columns, const double *y,
                                    const double *dy, double *dx) {
    for (int64_t r = 0; r < rows; r++, y += columns, dy += columns, dx += columns) {
        double sum = 0;
        for (int64_t i = 0; i < columns; i++) sum += dy[i];
        for (int64_t i = 0; i < columns; i++) dx[i] = dy[i] - exp(y[i]) * sum;
    }
}

/* The sum has the relative error of softmax's, which is an absolute one of its logarithm; the
 * logarithm, at most log(n), is good to 4 u; two differences follow, of numbers no larger than the
 * spread and log(n). */
double reference_log_softmax_tolerance(ReferenceType out, int64_t columns, double spread,
                                       double y) {
    double u = unit(), logarithm = log((double)columns);
    double sum = (2 * spread + 4 + REFERENCE_SIGMAS * sqrt((double)columns)) * u;
    double absolute = sum + (5 * logarithm + 2 * spread) * u;
    return absolute + fabs(y) * (u + reference_unit_roundoff(out)) + reference_underflow(out);
}

double reference_log_softmax_backward_tolerance(ReferenceType out, int64_t columns, double sum,
                                                double y, double dy, double dx) {
    double u = unit();
    double product = exp(y) * sum * (2 * fabs(y) + 5 + REFERENCE_SIGMAS * sqrt((double)columns));
    return product * u + u * fabs(dy) + fabs(dx) * reference_unit_roundoff(out) +
           reference_underflow(out);
}

/* ---- normalisation -----------------------------------------------------------------------------
 */

static double or_one(const double *weight, int64_t i) {
    return weight ? weight[i] : 1;
}

void reference_norm(ReferenceNorm *p) {
    for (int64_t r = 0; r < p->rows; r++) {
        const double *s = p->s + r * p->n;
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < p->n && !p->rms; i++) mean += s[i] / (double)p->n;
        for (int64_t i = 0; i < p->n; i++) variance += (s[i] - mean) * (s[i] - mean) / (double)p->n;
        double rstd = 1 / sqrt(variance + p->epsilon);
        for (int64_t i = 0; i < p->n; i++)
            p->y[r * p->n + i] =
                (s[i] - mean) * rstd * or_one(p->weight, i) + (p->bias ? p->bias[i] : 0);
        if (p->mean) p->mean[r] = mean;
        if (p->rstd) p->rstd[r] = rstd;
    }
}

/* The two means of a row that dx is made of, and the same of magnitudes. */
typedef struct NormMeans {
    double slope, product, slope_size, product_size;
} NormMeans;

static double normal_at(const ReferenceNorm *p, int64_t r, int64_t i) {
    return (p->s[r * p->n + i] - (p->rms ? 0 : p->mean[r])) * p->rstd[r];
}

static NormMeans norm_means(const ReferenceNorm *p, int64_t r) {
    NormMeans means = {0};
    for (int64_t i = 0; i < p->n; i++) {
        double g = p->dy[r * p->n + i] * or_one(p->weight, i), z = normal_at(p, r, i);
        means.slope += p->rms ? 0 : g / (double)p->n;
        means.slope_size += p->rms ? 0 : fabs(g) / (double)p->n;
        means.product += g * z / (double)p->n;
        means.product_size += fabs(g * z) / (double)p->n;
    }
    return means;
}

void reference_norm_backward(ReferenceNorm *p) {
    for (int64_t i = 0; i < p->n; i++) {
        if (p->dweight) p->dweight[i] = 0;
        if (p->dbias) p->dbias[i] = 0;
    }
    for (int64_t r = 0; r < p->rows; r++) {
        NormMeans means = norm_means(p, r);
        for (int64_t i = 0; i < p->n; i++) {
            int64_t at = r * p->n + i;
            double z = normal_at(p, r, i), g = p->dy[at] * or_one(p->weight, i);
            p->dx[at] = p->rstd[r] * (g - means.slope - z * means.product);
            if (p->dsum) p->dx[at] += p->dsum[at];
            if (p->dweight) p->dweight[i] += p->dy[at] * z;
            if (p->dbias) p->dbias[i] += p->dy[at];
        }
    }
}

/* The mean is off by e = (L sqrt(n) + 2) u mean|s|, and so is what is normalised, by its own
 * roundings too. That makes the variance off by 2 sqrt(variance) e at most and by the roundings of
 * its own sum, so that rstd has a relative error of e rstd + (L sqrt(n) / 2 + 4) u. */
void reference_norm_tolerances(const ReferenceNorm *p, ReferenceType out, double *y, double *mean,
                               double *rstd) {
    double u = unit(), walk = REFERENCE_SIGMAS * sqrt((double)p->n) * u;
    for (int64_t r = 0; r < p->rows; r++) {
        double size = reference_magnitude(p->n, p->s + r * p->n) / (double)p->n;
        double e = (walk + 2 * u) * (p->rms ? 0 : size), scale = p->rstd[r];
        double relative = e * scale + walk / 2 + 8 * u;
        mean[r] = e + u * size;
        rstd[r] = scale * relative;
        for (int64_t i = 0; i < p->n; i++) {
            int64_t at = r * p->n + i;
            double z = normal_at(p, r, i), w = fabs(or_one(p->weight, i));
            double wrong = scale * (e + 2 * u * (fabs(p->s[at]) + size)) + fabs(z) * relative;
            double bias = p->bias ? fabs(p->bias[i]) : 0;
            y[at] = w * wrong + 2 * u * (w * fabs(z) + bias) +
                    fabs(p->y[at]) * reference_unit_roundoff(out) + reference_underflow(out);
        }
    }
}

/* z has 3 roundings and g one; the means those of their sums. */
void reference_norm_backward_tolerances(const ReferenceNorm *p, ReferenceType out,
                                        ReferenceType parameters, double *dx, double *dweight,
                                        double *dbias) {
    double u = unit(), walk = REFERENCE_SIGMAS * sqrt((double)p->n) * u,
           last = reference_unit_roundoff(out);
    double down = REFERENCE_SIGMAS * sqrt((double)p->rows) * u;
    for (int64_t i = 0; i < p->n; i++) {
        double round = reference_unit_roundoff(parameters), least = reference_underflow(parameters);
        dweight[i] = round * fabs(p->dweight ? p->dweight[i] : 0) + least;
        dbias[i] = round * fabs(p->dbias ? p->dbias[i] : 0) + least;
    }
    for (int64_t r = 0; r < p->rows; r++) {
        NormMeans means = norm_means(p, r);
        for (int64_t i = 0; i < p->n; i++) {
            int64_t at = r * p->n + i;
            double z = fabs(normal_at(p, r, i)), g = fabs(p->dy[at] * or_one(p->weight, i));
            double parts = g + fabs(means.slope) + z * fabs(means.product);
            double sums = (walk + 6 * u) * (means.slope_size + z * means.product_size);
            double dsum = p->dsum ? fabs(p->dsum[at]) : 0;
            dx[at] = p->rstd[r] * (6 * u * parts + sums) + u * (dsum + fabs(p->dx[at])) +
                     last * fabs(p->dx[at]) + reference_underflow(out);
            dweight[i] += (down + 6 * u) * fabs(p->dy[at]) * z;
            dbias[i] += (down + 2 * u) * fabs(p->dy[at]);
        }
    }
}

/* ---- element by element ------------------------------------------------------------------------
 */

double reference_activation_slope(ReferenceActivation activation, double x) {
    switch (activation) {
    case REF_RELU: return x > 0 ? 1 : 0;
    case REF_LEAKY_RELU: return x > 0 ? 1 : 0.01;
    case REF_GELU: return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    case REF_SILU: {
        double s = 1 / (1 + exp(-x));
        return s * (1 + x * (1 - s));
    }
    case REF_GELU_TANH: {
        double inner = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), t = tanh(inner);
        double steep = sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
        return 0.5 * (1 + t) + (fabs(t) < 1 ? 0.5 * x * (1 - t * t) * steep : 0);
    }
    default: return 1;
    }
}

/* Each is x times a number in [0, 1] that has an absolute error of a few u; x has one rounding. */
double reference_activation_error(double x) {
    return 12 * unit() * fabs(x);
}

/* Sums of such numbers and products with bounded ones. In the slope of gelu's approximation 1 - s
 * is off by 3 u where s is not yet 1, below 5.5, and is multiplied by the slope of the cubic. */
double reference_activation_slope_error(ReferenceActivation activation, double x) {
    double cubic = 0;
    if (activation == REF_GELU_TANH && fabs(x) < 5.5) cubic = 3 * fabs(x) * (1.6 + 0.215 * x * x);
    return (16 + cubic) * unit();
}

/* ---- cross entropy -----------------------------------------------------------------------------
 */

static double mean_of(int64_t n, const double *x) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

void reference_cross_entropy(ReferenceCrossEntropy *p) {
    for (int64_t r = 0; r < p->rows; r++) {
        const double *x = p->x + r * p->n;
        double largest = -INFINITY, sum = 0;
        for (int64_t i = 0; i < p->n; i++) largest = fmax(largest, x[i]);
        for (int64_t i = 0; i < p->n; i++) sum += exp(x[i] - largest);
        double lse = p->lse[r] = largest + log(sum);
        p->loss[r] = 0;
        if (p->labels[r] >= 0)
            p->loss[r] = lse - (1 - p->smoothing) * x[p->labels[r]] + p->z_loss * lse * lse;
        if (p->labels[r] >= 0 && p->smoothing > 0) p->loss[r] -= p->smoothing * mean_of(p->n, x);
    }
}

void reference_cross_entropy_backward(ReferenceCrossEntropy *p) {
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t i = 0; i < p->n; i++) {
            double weight = exp(p->x[r * p->n + i] - p->lse[r]) * (1 + 2 * p->z_loss * p->lse[r]);
            double wanted = (i == p->labels[r]) * (1 - p->smoothing) + p->smoothing / (double)p->n;
            p->dx[r * p->n + i] = p->labels[r] < 0 ? 0 : p->slope[r] * (weight - wanted);
        }
}

/* lse as the logarithm of softmax's sum; then a handful of differences and products. */
void reference_cross_entropy_tolerances(const ReferenceCrossEntropy *p, double *loss, double *lse) {
    double u = unit(), walk = REFERENCE_SIGMAS * sqrt((double)p->n) * u;
    for (int64_t r = 0; r < p->rows; r++) {
        const double *x = p->x + r * p->n;
        double largest = -INFINITY, least = INFINITY;
        for (int64_t i = 0; i < p->n; i++) {
            largest = fmax(largest, x[i]);
            if (isfinite(x[i])) least = fmin(least, x[i]);
        }
        double sum = (2 * (largest - least) + 4) * u + walk;
        lse[r] = sum + 4 * u * log((double)p->n) + 2 * u * fabs(p->lse[r]);
        loss[r] = 0;
        if (p->labels[r] < 0) continue;
        double size = fabs(p->lse[r]) + 2 * fabs(x[p->labels[r]]);
        double mean = reference_magnitude(p->n, x) / (double)p->n;
        loss[r] = lse[r] * (1 + 2 * p->z_loss * fabs(p->lse[r])) + 4 * u * size +
                  4 * u * p->z_loss * p->lse[r] * p->lse[r] + u * fabs(p->loss[r]);
        if (p->smoothing > 0) loss[r] += p->smoothing * (walk + 6 * u) * mean;
    }
}

void reference_cross_entropy_backward_tolerances(const ReferenceCrossEntropy *p, ReferenceType out,
                                                 double *dx) {
    double u = unit();
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t i = 0; i < p->n; i++) {
            int64_t at = r * p->n + i;
            double below = p->x[at] - p->lse[r], weight = exp(below);
            double factor = 1 + 2 * p->z_loss * fabs(p->lse[r]);
            double relative = 2 * (isfinite(below) ? fabs(below) : 0) + 10;
            dx[at] = fabs(p->slope[r]) * u *
                         (weight * factor * relative + 4 * (i == p->labels[r]) +
                          8 * p->smoothing / (double)p->n) +
                     fabs(p->dx[at]) * (u + reference_unit_roundoff(out)) +
                     reference_underflow(out);
            if (p->labels[r] < 0) dx[at] = 0;
        }
}
