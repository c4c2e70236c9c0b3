/* reference_sdpa.c: scaled dot product attention by its formulas, a head at a time. */
#include "tests/reference_sdpa.h"

#include <math.h>
#include <stdlib.h>

bool reference_drops(double dropout, uint64_t seed, uint32_t column, uint32_t row,
                     uint32_t batch_head) {
    const uint32_t counter[4] = {column, row, batch_head};
    uint32_t words[4];
    reference_philox(seed, counter, words);
    return words[0] < rint(dropout * 0x1p32);
}

static double *zeros(int64_t n) {
    return calloc((size_t)(n > 0 ? n : 1), sizeof(double));
}

/* Numbers, and the 2-norms of what they were made of. */
typedef struct Sized {
    const double *value, *size;
} Sized;

static Sized at(Sized x, int64_t i) {
    return (Sized){x.value + i, x.size + i};
}

/* The problem, with all sizes. */
typedef struct Job {
    ReferenceSdpa *p;
    Sized q, k, v, dout;
} Job;

static double dot(int64_t n, Sized x, Sized y, double *size) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x.value[i] * y.value[i];
        squares += x.size[i] * x.size[i] * y.size[i] * y.size[i];
    }
    *size = sqrt(squares);
    return sum;
}

/* to += factor x; the squares of the terms' sizes to `squares` */
static void add(int64_t n, double factor, double size, Sized x, double *to, double *squares) {
    for (int64_t i = 0; i < n; i++) {
        to[i] += factor * x.value[i];
        squares[i] += size * size * x.size[i] * x.size[i];
    }
}

/* Weights of one row before dropout; returns lse. */
static double row_weights(ReferenceSdpa *p, int64_t row, Sized q, Sized k, const double *bias,
                          double *weights) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < p->kv_length; j++) {
        double size, score = p->scale * dot(p->dim, q, at(k, j * p->dim), &size);
        if (bias) score += bias[j];
        weights[j] = p->causal && j > row + p->diagonal ? -INFINITY : score;
        largest = fmax(largest, weights[j]);
        if (isinf(weights[j])) continue;
        p->score_terms = fmax(p->score_terms, p->scale * size);
        p->score_largest = fmax(p->score_largest, fabs(score) + (bias ? fabs(bias[j]) : 0));
    }
    for (int64_t j = 0; j < p->kv_length; j++)
        sum += weights[j] = isinf(weights[j]) ? 0 : exp(weights[j] - largest);
    for (int64_t j = 0; j < p->kv_length; j++) weights[j] = sum > 0 ? weights[j] / sum : 0;
    return sum > 0 ? largest + log(sum) : INFINITY;
}

static void one_row(const Job *job, int64_t batch_head, int64_t i) {
    ReferenceSdpa *p = job->p;
    const int64_t n = p->kv_length, d = p->dim, e = p->value_dim;
    const int64_t batch = batch_head / p->heads, head = batch_head % p->heads;
    const int64_t kv_head = batch * p->kv_heads + head / (p->heads / p->kv_heads);
    const int64_t row = batch_head * p->q_length + i, keys = kv_head * n;
    const Sized q = at(job->q, row * d), k = at(job->k, keys * d), v = at(job->v, keys * e);
    double *weights = zeros(n), *used = zeros(n), *slopes = zeros(n), *slope_sizes = zeros(n);
    p->lse[row] = row_weights(p, i, q, k, p->bias ? p->bias + row * n : NULL, weights);
    for (int64_t j = 0; j < n; j++) {
        const bool drops = p->dropout > 0 && reference_drops(p->dropout, p->seed, (uint32_t)j,
                                                             (uint32_t)i, (uint32_t)batch_head);
        used[j] = drops ? 0 : 1 / (1 - p->dropout);
        const double w = weights[j] * used[j];
        add(e, w, w, at(v, j * e), p->out + row * e, p->out_terms + row * e);
    }
    const Sized dout = p->dout ? at(job->dout, row * e) : job->q;
    double delta = 0, delta_squares = 0;
    for (int64_t j = 0; p->dout && j < n; j++) {
        slopes[j] = used[j] * dot(e, dout, at(v, j * e), &slope_sizes[j]);
        slope_sizes[j] = used[j] * hypot(slope_sizes[j], slopes[j]);
        delta += weights[j] * slopes[j];
        delta_squares += weights[j] * weights[j] * slope_sizes[j] * slope_sizes[j];
    }
    for (int64_t c = 0; p->dout && c < e; c++) /* delta may also be made of dout * out */
        delta_squares += dout.value[c] * dout.value[c] * p->out[row * e + c] * p->out[row * e + c];
    for (int64_t j = 0; p->dout && j < n; j++) {
        const double w = weights[j] * used[j], slope = weights[j] * (slopes[j] - delta);
        const double size =
            hypot(slope, weights[j] * sqrt(slope_sizes[j] * slope_sizes[j] + delta_squares));
        const int64_t key = (keys + j) * d, value = (keys + j) * e;
        p->dbias[row * n + j] = slope;
        p->dbias_terms[row * n + j] = size * size;
        add(e, w, w, dout, p->dv + value, p->dv_terms + value);
        add(d, p->scale * slope, p->scale * size, q, p->dk + key, p->dk_terms + key);
        add(d, p->scale * slope, p->scale * size, at(k, j * d), p->dq + row * d,
            p->dq_terms + row * d);
    }
    free(weights);
    free(used);
    free(slopes);
    free(slope_sizes);
}

/* Magnitudes where no sizes are given; freed when they are not. */
static Sized with_size(const double *value, const double *size, int64_t n) {
    if (size || !value) return (Sized){value, size};
    double *magnitudes = zeros(n);
    for (int64_t i = 0; i < n; i++) magnitudes[i] = fabs(value[i]);
    return (Sized){value, magnitudes};
}

void reference_sdpa(ReferenceSdpa *p) {
    const int64_t rows = p->batch * p->heads * p->q_length;
    const int64_t keys = p->batch * p->kv_heads * p->kv_length;
    const int64_t counts[] = {rows * p->value_dim, rows * p->dim, keys * p->dim,
                              keys * p->value_dim, rows * p->kv_length};
    double **results[] = {&p->out, &p->dq, &p->dk, &p->dv, &p->dbias};
    double **terms[] = {&p->out_terms, &p->dq_terms, &p->dk_terms, &p->dv_terms, &p->dbias_terms};
    p->score_terms = p->score_largest = 0;
    p->lse = zeros(rows);
    for (int i = 0; i < 5; i++) {
        *results[i] = zeros(counts[i]);
        *terms[i] = zeros(counts[i]);
    }
    const Job job = {p, with_size(p->q, p->q_size, counts[1]),
                     with_size(p->k, p->k_size, counts[2]), with_size(p->v, p->v_size, counts[3]),
                     with_size(p->dout, p->dout_size, counts[0])};
    for (int64_t i = 0; i < rows; i++) one_row(&job, i / p->q_length, i % p->q_length);
    for (int i = 0; i < 5; i++)
        for (int64_t j = 0; j < counts[i]; j++) (*terms[i])[j] = sqrt((*terms[i])[j]);
    const double *own[] = {job.q.size, job.k.size, job.v.size, job.dout.size};
    const double *given[] = {p->q_size, p->k_size, p->v_size, p->dout_size};
    for (int i = 0; i < 4; i++)
        if (!given[i]) free((double *)own[i]);
}

void reference_sdpa_free(ReferenceSdpa *p) {
    double *all[] = {p->out,       p->lse,      p->dq,       p->dk,       p->dv,         p->dbias,
                     p->out_terms, p->dq_terms, p->dk_terms, p->dv_terms, p->dbias_terms};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* As reference_attention_tolerance, where each part of it is explained. */
double reference_sdpa_tolerance(const ReferenceSdpa *p, const ReferenceMethod *method,
                                ReferenceType out, double value, double terms) {
    const double u = reference_unit_roundoff(method->weights == REF_F64 ? REF_F64 : REF_F32);
    const double rows = (double)(p->q_length * (p->heads / p->kv_heads));
    const double n = fmax(fmax(rows, (double)p->kv_length), (double)p->longest_sum);
    const double rounding = method->roundings * fmax(reference_unit_roundoff(method->weights), u);
    const double dim = (double)(p->dim > p->value_dim ? p->dim : p->value_dim);
    const double product = sqrt(dim) * u + 2 * method->operand_error;
    const double score = (4 * p->score_largest + 8) * u;
    const double term = rounding + product * (2 + p->score_terms) + score + n * u;
    const double flushed =
        method->roundings * reference_underflow(method->weights) * sqrt(n) * (1 + p->score_terms);
    return REFERENCE_SIGMAS * (term * terms + flushed) +
           fabs(value) * (reference_unit_roundoff(out) + score) + reference_underflow(out);
}
