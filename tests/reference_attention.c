/* reference_attention.c: attention in float64, forward and backward.
 *
 * One task is a key head with the query heads that share it; inside, rows go by blocks so that the
 * scores of a block stay in the cache. Scores, weights and slopes are whole rows: no online
 * softmax, no recomputation, nothing that the kernels do.
 *
 * The noise of a result is the 2-norm of the terms it is a sum of, each weighted with what it is
 * itself made of (see reference_attention_tolerance).
 */
#include "tests/reference.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 };

/* Space for one task. S and W are ROWS x kv_length. */
typedef struct Space {
    double *keys_t, *values_t;   /* dim x kv_length */
    double *keys_t2, *values_t2; /* squares of these */
    double *keys2, *values2;     /* squares, kv_length x dim */
    double *weights, *slopes, *noise, *noise2;
    double *q2, *dout2, *row; /* ROWS x dim */
} Space;

typedef struct Job {
    ReferenceAttention *p;
    pthread_mutex_t lock; /* of p's score_noise and score_largest */
} Job;

static double *numbers(int64_t n) {
    return calloc((size_t)(n > 0 ? n : 1), sizeof(double));
}

static void transpose(int64_t rows, int64_t columns, const double *from, double *to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

static void square(int64_t n, const double *from, double *to) {
    for (int64_t i = 0; i < n; i++) to[i] = from[i] * from[i];
}

static void clear(int64_t n, double *to) {
    memset(to, 0, (size_t)n * sizeof *to);
}

/* Columns that row i sees. */
static int64_t visible(const ReferenceAttention *p, int64_t row) {
    if (!p->causal) return p->kv_length;
    int64_t seen = row + p->diagonal + 1;
    return seen < 0 ? 0 : seen < p->kv_length ? seen : p->kv_length;
}

/* The rows of one block of one query head. */
typedef struct Rows {
    int64_t first, count, columns; /* columns: the most a row sees */
    const double *q, *dout;
    double *out, *lse, *dq, *out_noise, *dq_noise;
} Rows;

/* s->weights = softmax(scale q k^T), out, lse. Returns the largest score noise and score. */
static void rows_forward(const ReferenceAttention *p, Space *s, const Rows *r, const double *values,
                         double *score_noise, double *score_largest) {
    int64_t n = p->kv_length, d = p->dim;
    clear(r->count * n, s->weights);
    reference_gemm(r->count, r->columns, d, r->q, d, 1, s->keys_t, n, s->weights, n);
    for (int64_t i = 0; i < r->count; i++) {
        double *w = s->weights + i * n, largest = -INFINITY, sum = 0;
        int64_t seen = visible(p, r->first + i);
        for (int64_t j = 0; j < seen; j++) {
            w[j] *= p->scale;
            largest = fmax(largest, w[j]);
            *score_largest = fmax(*score_largest, fabs(w[j]));
        }
        for (int64_t j = 0; j < seen; j++) sum += w[j] = exp(w[j] - largest);
        for (int64_t j = 0; j < seen; j++) w[j] /= sum;
        for (int64_t j = seen; j < n; j++) w[j] = 0;
        r->lse[i] = seen ? largest + log(sum) : INFINITY;
    }
    clear(r->count * d, r->out);
    reference_gemm(r->count, d, r->columns, s->weights, n, 1, values, d, r->out, d);
    if (!r->out_noise) return;

    square(r->count * d, r->q, s->q2);
    clear(r->count * n, s->noise);
    reference_gemm(r->count, r->columns, d, s->q2, d, 1, s->keys_t2, n, s->noise, n);
    for (int64_t i = 0; i < r->count; i++)
        for (int64_t j = 0; j < visible(p, r->first + i); j++)
            *score_noise = fmax(*score_noise, p->scale * sqrt(s->noise[i * n + j]));
    square(r->count * n, s->weights, s->noise);
    clear(r->count * d, r->out_noise);
    reference_gemm(r->count, d, r->columns, s->noise, n, 1, s->values2, d, r->out_noise, d);
    for (int64_t i = 0; i < r->count * d; i++) r->out_noise[i] = sqrt(r->out_noise[i]);
}

/* s->slopes = P * (dout v^T - delta); dq, and what these rows add to dk and dv. */
static void rows_backward(const ReferenceAttention *p, Space *s, const Rows *r, const double *keys,
                          double *dk, double *dv) {
    int64_t n = p->kv_length, d = p->dim;
    clear(r->count * n, s->slopes);
    reference_gemm(r->count, r->columns, d, r->dout, d, 1, s->values_t, n, s->slopes, n);
    for (int64_t i = 0; i < r->count; i++) {
        double delta = 0, *slope = s->slopes + i * n;
        for (int64_t c = 0; c < d; c++) delta += r->dout[i * d + c] * r->out[i * d + c];
        for (int64_t j = 0; j < n; j++) slope[j] = s->weights[i * n + j] * (slope[j] - delta);
    }
    reference_gemm(r->columns, d, r->count, s->weights, 1, n, r->dout, d, dv, d);
    reference_gemm(r->columns, d, r->count, s->slopes, 1, n, r->q, d, dk, d);
    clear(r->count * d, r->dq);
    reference_gemm(r->count, d, r->columns, s->slopes, n, 1, keys, d, r->dq, d);
    for (int64_t i = 0; i < r->count * d; i++) r->dq[i] *= p->scale;
}

/* Squares of the terms; roots are taken when all rows are in.
 *   dv: P dout                                  dq, dk: (|dS| and P ||dout v||) times k or q
 *   and delta's own error e = ||dout out|| + ||P (dout v^T)||, the same for all of a row:
 *   dq: e |P k|, taken at its full size         dk: ||P q e||                                  */
static void rows_noise(const ReferenceAttention *p, Space *s, const Rows *r, const double *keys,
                       double *dk_noise, double *dv_noise) {
    int64_t n = p->kv_length, d = p->dim;
    square(r->count * d, r->dout, s->dout2);
    square(r->count * n, s->weights, s->noise);
    reference_gemm(r->columns, d, r->count, s->noise, 1, n, s->dout2, d, dv_noise, d);

    clear(r->count * n, s->noise2);
    reference_gemm(r->count, r->columns, d, s->dout2, d, 1, s->values_t2, n, s->noise2, n);
    double error[ROWS];
    for (int64_t i = 0; i < r->count; i++) {
        double terms = 0, weighted = 0, delta = 0;
        for (int64_t c = 0; c < d; c++) {
            double term = r->dout[i * d + c] * r->out[i * d + c];
            delta += term;
            terms += term * term;
        }
        for (int64_t j = 0; j < n; j++) {
            double w = s->weights[i * n + j], slope = s->slopes[i * n + j];
            double unscaled = slope + w * delta; /* P (dout v^T) */
            weighted += unscaled * unscaled;
            s->noise2[i * n + j] = slope * slope + w * w * s->noise2[i * n + j];
        }
        error[i] = sqrt(terms) + sqrt(weighted);
    }
    clear(r->count * d, r->dq_noise);
    reference_gemm(r->count, d, r->columns, s->noise2, n, 1, s->keys2, d, r->dq_noise, d);
    clear(r->count * d, s->row);
    reference_gemm(r->count, d, r->columns, s->weights, n, 1, keys, d, s->row, d);
    for (int64_t i = 0; i < r->count * d; i++)
        r->dq_noise[i] = p->scale * (sqrt(r->dq_noise[i]) + error[i / d] * fabs(s->row[i]));
    for (int64_t i = 0; i < r->count; i++)
        for (int64_t j = 0; j < n; j++) {
            double w = s->weights[i * n + j] * error[i];
            s->noise2[i * n + j] += w * w;
        }
    reference_gemm(r->columns, d, r->count, s->noise2, 1, n, s->q2, d, dk_noise, d);
}

static double *at(double *array, int64_t i) {
    return array ? array + i : NULL;
}

static void all_rows(const ReferenceAttention *p, Space *s, int64_t head, int64_t kv_head,
                     double *score_noise, double *score_largest) {
    int64_t d = p->dim, kv = kv_head * p->kv_length * d;
    for (int64_t first = 0; first < p->q_length; first += ROWS) {
        int64_t row = head * p->q_length + first, left = p->q_length - first;
        Rows r = {.first = first,
                  .count = left < ROWS ? left : ROWS,
                  .q = p->q + row * d,
                  .out = p->out + row * d,
                  .lse = p->lse + row,
                  .out_noise = at(p->out_noise, row * d)};
        r.columns = visible(p, first + r.count - 1);
        rows_forward(p, s, &r, p->v + kv, score_noise, score_largest);
        if (!p->dout) continue;
        r.dout = p->dout + row * d;
        r.dq = p->dq + row * d;
        rows_backward(p, s, &r, p->k + kv, p->dk + kv, p->dv + kv);
        if (!p->out_noise) continue;
        r.dq_noise = p->dq_noise + row * d;
        rows_noise(p, s, &r, p->k + kv, p->dk_noise + kv, p->dv_noise + kv);
    }
}

static void key_head(void *context, int64_t kv_head) {
    Job *job = context;
    ReferenceAttention *p = job->p;
    int64_t n = p->kv_length, d = p->dim, kv = kv_head * n * d, group = p->heads / p->kv_heads;
    double *all = numbers(6 * n * d + 4 * ROWS * n + 3 * ROWS * d), *next = all;
    Space s;
    double **parts[] = {&s.keys_t, &s.values_t, &s.keys_t2, &s.values_t2, &s.keys2, &s.values2};
    double **blocks[] = {&s.weights, &s.slopes, &s.noise, &s.noise2};
    double **rows[] = {&s.q2, &s.dout2, &s.row};
    for (int i = 0; i < 6; i++, next += n * d) *parts[i] = next;
    for (int i = 0; i < 4; i++, next += ROWS * n) *blocks[i] = next;
    for (int i = 0; i < 3; i++, next += ROWS * d) *rows[i] = next;
    transpose(n, d, p->k + kv, s.keys_t);
    transpose(n, d, p->v + kv, s.values_t);
    square(n * d, s.keys_t, s.keys_t2);
    square(n * d, s.values_t, s.values_t2);
    square(n * d, p->k + kv, s.keys2);
    square(n * d, p->v + kv, s.values2);

    double *sums[] = {p->dk, p->dv, p->dk_noise, p->dv_noise};
    for (int i = 0; i < 4; i++)
        if (p->dout && sums[i]) clear(n * d, sums[i] + kv);
    double score_noise = 0, score_largest = 0;
    /* Heads are numbered through the batch: kv_head * group is the first that shares this one. */
    for (int64_t member = 0; member < group; member++)
        all_rows(p, &s, kv_head * group + member, kv_head, &score_noise, &score_largest);
    if (p->dout)
        for (int64_t i = 0; i < n * d; i++) p->dk[kv + i] *= p->scale;
    if (p->dout && p->out_noise)
        for (int64_t i = 0; i < n * d; i++) {
            p->dk_noise[kv + i] = p->scale * sqrt(p->dk_noise[kv + i]);
            p->dv_noise[kv + i] = sqrt(p->dv_noise[kv + i]);
        }
    free(all);
    pthread_mutex_lock(&job->lock);
    p->score_noise = fmax(p->score_noise, score_noise);
    p->score_largest = fmax(p->score_largest, score_largest);
    pthread_mutex_unlock(&job->lock);
}

static double largest(const double *x, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

void reference_attention(ReferenceAttention *p) {
    int64_t q_count = p->batch * p->heads * p->q_length * p->dim;
    int64_t kv_count = p->batch * p->kv_heads * p->kv_length * p->dim;
    p->score_noise = p->score_largest = 0;
    p->largest_input = fmax(fmax(largest(p->q, q_count), largest(p->k, kv_count)),
                            fmax(largest(p->v, kv_count), p->dout ? largest(p->dout, q_count) : 0));
    Job job = {.p = p};
    pthread_mutex_init(&job.lock, NULL);
    reference_parallel(p->batch * p->kv_heads, key_head, &job);
    pthread_mutex_destroy(&job.lock);
}

/* The relative error of one weight, and of each term of the sums:
 *   the rounding of P, dS and what is stored on the way, each to `weights`;
 *   in f32: the score, a sum of dim products (sqrt(dim) u, and 2 operand errors, on its noise: the
 *   absolute error of an exponent is the relative one of the power), its scaling and the
 *   subtraction of the maximum (4 u of the largest score), exp2 (4 u), dP, again of dim products;
 *   the running sum over n terms: L sqrt(n) u on the sum of magnitudes, which is at most sqrt(n)
 *   times their 2-norm: n u here, before L.
 * Where P or dS underflow the dtype, the error is absolute instead: half the least number for each
 * of n terms. */
double reference_attention_tolerance(const ReferenceAttention *p, const ReferenceMethod *method,
                                     ReferenceType out, double value, double noise) {
    double u = reference_unit_roundoff(REF_F32);
    double n = (double)(p->q_length * (p->heads / p->kv_heads) > p->kv_length
                            ? p->q_length * (p->heads / p->kv_heads)
                            : p->kv_length);
    double rounding = fmax(reference_unit_roundoff(method->weights), u) * method->roundings;
    double product = sqrt((double)p->dim) * u + 2 * method->operand_error;
    double term =
        rounding + product * (2 + p->score_noise) + (4 * p->score_largest + 8) * u + n * u;
    double flushed =
        method->roundings * reference_underflow(method->weights) * sqrt(n) * p->largest_input;
    return REFERENCE_SIGMAS * (term * noise + flushed) +
           fabs(value) * (reference_unit_roundoff(out) + (4 * p->score_largest + 8) * u) +
           reference_underflow(out);
}

/* The largest score and the logarithm of the sum of exponentials: the error of a score, that of a
 * sum of positive numbers, and a few roundings of values no larger than the largest score and lse
 * (which passes through a logarithm to base 2). */
double reference_lse_tolerance(const ReferenceAttention *p, const ReferenceMethod *method,
                               double lse) {
    double u = reference_unit_roundoff(REF_F32);
    double product = sqrt((double)p->dim) * u + 2 * method->operand_error;
    double sum = sqrt((double)p->kv_length) * u;
    return REFERENCE_SIGMAS * (product * p->score_noise + sum) +
           (4 * p->score_largest + 4 * fabs(lse) + 8) * u;
}
