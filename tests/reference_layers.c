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
