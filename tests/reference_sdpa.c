/* reference_sdpa.c: scaled dot product attention by its formulas, a head at a time. */
#include "tests/reference_sdpa.h"

#include <math.h>
#include <stdlib.h>

bool reference_drops(double dropout, uint64_t seed, uint32_t column, uint32_t row,
                     uint32_t batch_head) {
    uint32_t counter[4] = {column, row, batch_head, 0};
    uint32_t low = (uint32_t)seed, high = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t first = (uint64_t)counter[0] * 0xD2511F53u;
        const uint64_t third = (uint64_t)counter[2] * 0xCD9E8D57u;
        const uint32_t next[4] = {(uint32_t)(third >> 32) ^ counter[1] ^ low, (uint32_t)third,
                                  (uint32_t)(first >> 32) ^ counter[3] ^ high, (uint32_t)first};
        for (int i = 0; i < 4; i++) counter[i] = next[i];
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return counter[0] < rint(dropout * 0x1p32);
}

static double *zeros(int64_t n) {
    return calloc((size_t)(n > 0 ? n : 1), sizeof(double));
}

/* sum of x[i] y[i], and of their magnitudes */
static double dot(int64_t n, const double *x, const double *y, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
        *size += fabs(x[i] * y[i]);
    }
    return sum;
}

/* to += factor x, and the magnitudes to `size` */
static void add(int64_t n, double factor, double magnitude, const double *x, double *to,
                double *size) {
    for (int64_t i = 0; i < n; i++) {
        to[i] += factor * x[i];
        size[i] += magnitude * fabs(x[i]);
    }
}

/* Weights of one row before dropout; returns lse. */
static double row_weights(ReferenceSdpa *p, int64_t row, const double *q, const double *k,
                          const double *bias, double *weights) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < p->kv_length; j++) {
        double size, score = p->scale * dot(p->dim, q, k + j * p->dim, &size);
        if (bias) score += bias[j];
        weights[j] = p->causal && j > row + p->diagonal ? -INFINITY : score;
        largest = fmax(largest, weights[j]);
        if (isinf(weights[j])) continue;
        p->score_size = fmax(p->score_size, p->scale * size + (bias ? fabs(bias[j]) : 0));
    }
    for (int64_t j = 0; j < p->kv_length; j++)
        sum += weights[j] = isinf(weights[j]) ? 0 : exp(weights[j] - largest);
    for (int64_t j = 0; j < p->kv_length; j++) weights[j] = sum > 0 ? weights[j] / sum : 0;
    return sum > 0 ? largest + log(sum) : INFINITY;
}

static void row(ReferenceSdpa *p, int64_t batch_head, int64_t i) {
    const int64_t n = p->kv_length, d = p->dim, e = p->value_dim;
    const int64_t batch = batch_head / p->heads, head = batch_head % p->heads;
    const int64_t kv_head = batch * p->kv_heads + head / (p->heads / p->kv_heads);
    const int64_t at = batch_head * p->q_length + i, keys = kv_head * n;
    const double *q = p->q + at * d, *k = p->k + keys * d, *v = p->v + keys * e;
    double *weights = zeros(n), *used = zeros(n), *slopes = zeros(n), *slope_sizes = zeros(n);
    p->lse[at] = row_weights(p, i, q, k, p->bias ? p->bias + at * n : NULL, weights);
    for (int64_t j = 0; j < n; j++) {
        const bool drops = p->dropout > 0 && reference_drops(p->dropout, p->seed, (uint32_t)j,
                                                             (uint32_t)i, (uint32_t)batch_head);
        used[j] = drops ? 0 : 1 / (1 - p->dropout);
        add(e, weights[j] * used[j], weights[j] * used[j], v + j * e, p->out + at * e,
            p->out_size + at * e);
    }
    double delta = 0, delta_size = 0;
    for (int64_t j = 0; p->dout && j < n; j++) {
        slopes[j] = used[j] * dot(e, p->dout + at * e, v + j * e, &slope_sizes[j]);
        slope_sizes[j] *= used[j];
        delta += weights[j] * slopes[j];
        delta_size += weights[j] * slope_sizes[j];
    }
    for (int64_t j = 0; p->dout && j < n; j++) {
        const double w = weights[j] * used[j], slope = weights[j] * (slopes[j] - delta);
        const double size = weights[j] * (slope_sizes[j] + delta_size);
        p->dbias[at * n + j] = slope;
        p->dbias_size[at * n + j] = size;
        add(e, w, w, p->dout + at * e, p->dv + (keys + j) * e, p->dv_size + (keys + j) * e);
        add(d, p->scale * slope, p->scale * size, q, p->dk + (keys + j) * d,
            p->dk_size + (keys + j) * d);
        add(d, p->scale * slope, p->scale * size, k + j * d, p->dq + at * d, p->dq_size + at * d);
    }
    free(weights);
    free(used);
    free(slopes);
    free(slope_sizes);
}

void reference_sdpa(ReferenceSdpa *p) {
    const int64_t rows = p->batch * p->heads * p->q_length;
    const int64_t keys = p->batch * p->kv_heads * p->kv_length;
    p->score_size = 0;
    p->lse = zeros(rows);
    p->out = zeros(rows * p->value_dim);
    p->dq = zeros(rows * p->dim);
    p->dk = zeros(keys * p->dim);
    p->dv = zeros(keys * p->value_dim);
    p->dbias = zeros(rows * p->kv_length);
    p->out_size = zeros(rows * p->value_dim);
    p->dq_size = zeros(rows * p->dim);
    p->dk_size = zeros(keys * p->dim);
    p->dv_size = zeros(keys * p->value_dim);
    p->dbias_size = zeros(rows * p->kv_length);
    for (int64_t i = 0; i < rows; i++) row(p, i / p->q_length, i % p->q_length);
}

void reference_sdpa_free(ReferenceSdpa *p) {
    double *all[] = {p->out,      p->lse,     p->dq,      p->dk,      p->dv,        p->dbias,
                     p->out_size, p->dq_size, p->dk_size, p->dv_size, p->dbias_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* The relative error of a term: roundings of weights and slopes to the dtype of the operands; the
 * absolute error of a score, which is the relative one of its weight: a sum of dim products, some
 * roundings, the errors of the operands; exponentials and the sums themselves. Values smaller than
 * the dtype has count as 0. */
double reference_sdpa_tolerance(const ReferenceSdpa *p, const ReferenceMethod *method,
                                ReferenceType out, double value, double size) {
    const double u = reference_unit_roundoff(method->weights == REF_F64 ? REF_F64 : REF_F32);
    const double dim = sqrt((double)(p->dim > p->value_dim ? p->dim : p->value_dim));
    const int64_t rows = p->q_length * (p->heads / p->kv_heads);
    const double terms = sqrt((double)(rows > p->kv_length ? rows : p->kv_length));
    const double rounding = method->roundings * fmax(reference_unit_roundoff(method->weights), u);
    const double score = ((dim + 4) * u + 2 * method->operand_error) * p->score_size;
    const double term = rounding + score + (dim + terms + 8) * u + 2 * method->operand_error;
    const double flushed =
        method->roundings * reference_underflow(method->weights) * terms * (1 + p->score_size);
    return REFERENCE_SIGMAS * (term * size + flushed) + fabs(value) * reference_unit_roundoff(out) +
           reference_underflow(out);
}
