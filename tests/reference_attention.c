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

/* Space for one task; each of the second group is ROWS x kv_length. */
typedef struct Space {
    double *keys_t, *values_t;   /* dim x kv_length */
    double *keys_t2, *values_t2; /* squares of these */
    double *keys2, *values2;     /* squares, kv_length x dim */
    double *weights;             /* P */
    double *drops, *dropped;     /* D: 0 or 1 / (1 - dropout), and D P */
    double *bends;               /* derivative of the cap */
    double *slopes, *bent;       /* dS, and as it comes out of the cap */
    double *squares;             /* of D P, with the error of P where that is no relative one */
    double *noise, *noise2;
    double *q2, *dout2, *row; /* ROWS x dim */
} Space;

enum { WIDE = 9 };

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

/* The rows of one block of one query head. */
typedef struct Rows {
    int64_t head, first, count, columns; /* columns: those after them no row sees */
    const double *q, *dout;
    double *out, *lse, *dq, *dbias, *out_noise, *dq_noise, *dbias_noise;
} Rows;

/* The columns that the mask and the window leave to a row: [*from, what is returned). */
static int64_t visible(const ReferenceAttention *p, int64_t row, int64_t *from) {
    int64_t at = row + p->diagonal, low = 0, high = p->kv_length;
    if (p->windowed && p->left >= 0 && at - p->left > low) low = at - p->left;
    if (p->windowed && p->right >= 0 && at + p->right + 1 < high) high = at + p->right + 1;
    if (p->causal && at + 1 < high) high = at + 1;
    if (high < 0) high = 0;
    *from = low < high ? low : high;
    return high;
}

/* What one score is made of. */
typedef struct Score {
    double value, bend;
    double largest; /* the sum of magnitudes on the way to it */
} Score;

static Score score_of(const ReferenceAttention *p, const Rows *r, int64_t i, int64_t j,
                      double product) {
    int64_t row = r->first + i;
    Score score = {.value = p->scale * product, .bend = 1};
    score.largest = fabs(score.value);
    if (p->soft_cap > 0) {
        double bent = tanh(score.value / p->soft_cap);
        score.value = p->soft_cap * bent;
        score.bend = 1 - bent * bent;
        score.largest *= 2; /* twice as many roundings */
    }
    if (p->bias) {
        double bias = p->bias[(r->head * p->q_length + row) * p->kv_length + j];
        score.value += bias;
        score.largest += fabs(bias);
    }
    if (p->slopes) {
        double term = p->slopes[r->head % p->heads] * fabs((double)(row + p->diagonal - j));
        score.value -= term;
        score.largest += fabs(term);
    }
    return score;
}

static double drop_of(const ReferenceAttention *p, const Rows *r, int64_t i, int64_t j) {
    if (p->dropout <= 0) return 1;
    const uint32_t counter[] = {(uint32_t)j, (uint32_t)(r->first + i),
                                (uint32_t)(p->first_place + r->head), 0};
    uint32_t words[4];
    reference_philox(p->seed, counter, words);
    return words[0] < llround(p->dropout * 0x1p32) ? 0 : 1 / (1 - p->dropout);
}

/* Scores of one row, in w: from products to weights. Returns the logarithm of their sum. */
static double softmax(double *w, int64_t from, int64_t to) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = from; j < to; j++) largest = fmax(largest, w[j]);
    for (int64_t j = from; j < to; j++)
        sum += w[j] = largest == -INFINITY ? 0 : exp(w[j] - largest);
    for (int64_t j = from; j < to; j++) w[j] /= sum > 0 ? sum : 1;
    return sum > 0 ? largest + log(sum) : INFINITY;
}

/* Sets s->weights, s->drops, s->dropped, s->bends, s->squares, out, lse. */
static void rows_forward(ReferenceAttention *p, Space *s, const Rows *r, const double *values) {
    int64_t n = p->kv_length, d = p->dim, from;
    clear(r->count * n, s->weights);
    reference_gemm(r->count, r->columns, d, r->q, d, 1, s->keys_t, n, s->weights, n);
    if (r->out_noise) {
        square(r->count * d, r->q, s->q2);
        clear(r->count * n, s->noise);
        reference_gemm(r->count, r->columns, d, s->q2, d, 1, s->keys_t2, n, s->noise, n);
    }
    for (int64_t i = 0; i < r->count; i++) {
        double *w = s->weights + i * n;
        int64_t to = visible(p, r->first + i, &from);
        for (int64_t j = 0; j < n; j++) {
            int64_t at = i * n + j;
            bool seen = j >= from && j < to;
            Score score = {.value = -INFINITY};
            if (seen) score = score_of(p, r, i, j, w[j]);
            seen &= score.value > -INFINITY;
            w[j] = score.value;
            s->bends[at] = score.bend;
            s->drops[at] = seen ? drop_of(p, r, i, j) : 0;
            s->squares[at] = 0;
            if (!seen || !r->out_noise) continue;
            double noise = p->scale * sqrt(s->noise[at]);
            if (p->soft_cap > 0) noise *= 1 + 2 / p->soft_cap; /* bend changes with the score */
            p->least_margin = fmin(p->least_margin, fabs(score.value) / (noise + score.largest));
            if (p->relu) /* no weight is divided by a sum: errors of scores are absolute */
                s->squares[at] = (noise + score.largest) * (noise + score.largest);
            p->score_noise = p->relu ? 0 : fmax(p->score_noise, noise);
            p->score_largest = p->relu ? 0 : fmax(p->score_largest, score.largest);
        }
        if (p->relu)
            for (int64_t j = 0; j < n; j++) w[j] = fmax(w[j], 0);
        else
            r->lse[i] = softmax(w, from, to);
        for (int64_t j = 0; j < n; j++) {
            int64_t at = i * n + j;
            if (j < from || j >= to) w[j] = 0;
            s->dropped[at] = w[j] * s->drops[at];
            s->squares[at] = s->drops[at] * s->drops[at] * (w[j] * w[j] + s->squares[at]);
        }
    }
    clear(r->count * d, r->out);
    reference_gemm(r->count, d, r->columns, s->dropped, n, 1, values, d, r->out, d);
    if (!r->out_noise) return;
    clear(r->count * d, r->out_noise);
    reference_gemm(r->count, d, r->columns, s->squares, n, 1, s->values2, d, r->out_noise, d);
    for (int64_t i = 0; i < r->count * d; i++) r->out_noise[i] = sqrt(r->out_noise[i]);
}

/* dS = P * (D * dout v^T - delta); dq, and what these rows add to dk and dv. */
static void rows_backward(const ReferenceAttention *p, Space *s, const Rows *r, const double *keys,
                          double *dk, double *dv) {
    int64_t n = p->kv_length, d = p->dim;
    clear(r->count * n, s->slopes);
    reference_gemm(r->count, r->columns, d, r->dout, d, 1, s->values_t, n, s->slopes, n);
    for (int64_t i = 0; i < r->count; i++) {
        double delta = 0;
        for (int64_t c = 0; c < d; c++) delta += r->dout[i * d + c] * r->out[i * d + c];
        for (int64_t at = i * n; at < (i + 1) * n; at++) {
            double slope = s->drops[at] * s->slopes[at];
            if (p->relu)
                s->slopes[at] = s->weights[at] > 0 ? slope : 0;
            else
                s->slopes[at] = s->weights[at] * (slope - delta);
            s->bent[at] = s->slopes[at] * s->bends[at];
        }
    }
    if (r->dbias) memcpy(r->dbias, s->slopes, (size_t)(r->count * n) * sizeof *r->dbias);
    reference_gemm(r->columns, d, r->count, s->dropped, 1, n, r->dout, d, dv, d);
    reference_gemm(r->columns, d, r->count, s->bent, 1, n, r->q, d, dk, d);
    clear(r->count * d, r->dq);
    reference_gemm(r->count, d, r->columns, s->bent, n, 1, keys, d, r->dq, d);
    for (int64_t i = 0; i < r->count * d; i++) r->dq[i] *= p->scale;
}

/* Squares of the terms; roots are taken when all rows are in.
 *   dv: D P dout                       dq, dk: (|dS| and P D ||dout v||) times k or q
 *   and delta's own error e = ||dout out|| + ||P D (dout v^T)||, the same for all of a row:
 *   dq: e |P k|, taken at its full size         dk: ||P q e||
 * For ReLU weights 1 takes the place of P in dS, and there is no delta. */
static void rows_noise(const ReferenceAttention *p, Space *s, const Rows *r, const double *keys,
                       double *dk_noise, double *dv_noise) {
    int64_t n = p->kv_length, d = p->dim;
    square(r->count * d, r->dout, s->dout2);
    reference_gemm(r->columns, d, r->count, s->squares, 1, n, s->dout2, d, dv_noise, d);

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
            double unscaled = slope + w * delta; /* P D (dout v^T) */
            double factor = s->drops[i * n + j] * (p->relu ? w > 0 : w);
            weighted += unscaled * unscaled;
            s->noise2[i * n + j] = slope * slope + factor * factor * s->noise2[i * n + j];
        }
        error[i] = p->relu ? 0 : sqrt(terms) + sqrt(weighted);
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
            if (r->dbias_noise) r->dbias_noise[i * n + j] = sqrt(s->noise2[i * n + j]);
        }
    reference_gemm(r->columns, d, r->count, s->noise2, 1, n, s->q2, d, dk_noise, d);
}

static double *at(double *array, int64_t i) {
    return array ? array + i : NULL;
}

static void all_rows(ReferenceAttention *p, Space *s, int64_t head, int64_t kv_head) {
    int64_t d = p->dim, kv = kv_head * p->kv_length * d, from;
    for (int64_t first = 0; first < p->q_length; first += ROWS) {
        int64_t row = head * p->q_length + first, left = p->q_length - first;
        Rows r = {.head = head,
                  .first = first,
                  .count = left < ROWS ? left : ROWS,
                  .q = p->q + row * d,
                  .out = p->out + row * d,
                  .lse = at(p->lse, row),
                  .out_noise = at(p->out_noise, row * d)};
        r.columns = visible(p, first + r.count - 1, &from);
        rows_forward(p, s, &r, p->v + kv);
        if (!p->dout) continue;
        r.dout = p->dout + row * d;
        r.dq = p->dq + row * d;
        r.dbias = at(p->dbias, row * p->kv_length);
        rows_backward(p, s, &r, p->k + kv, p->dk + kv, p->dv + kv);
        if (!p->out_noise) continue;
        r.dq_noise = p->dq_noise + row * d;
        r.dbias_noise = at(p->dbias_noise, row * p->kv_length);
        rows_noise(p, s, &r, p->k + kv, p->dk_noise + kv, p->dv_noise + kv);
    }
}

static void key_head(void *context, int64_t kv_head) {
    Job *job = context;
    pthread_mutex_lock(&job->lock);
    ReferenceAttention copy = *job->p, *p = &copy; /* its own score_noise and so on */
    pthread_mutex_unlock(&job->lock);
    int64_t n = p->kv_length, d = p->dim, kv = kv_head * n * d, group = p->heads / p->kv_heads;
    double *all = numbers(6 * n * d + WIDE * ROWS * n + 3 * ROWS * d), *next = all;
    Space s;
    double **parts[] = {&s.keys_t, &s.values_t, &s.keys_t2, &s.values_t2, &s.keys2, &s.values2};
    double **blocks[WIDE] = {&s.weights, &s.drops,   &s.dropped, &s.bends, &s.slopes,
                             &s.bent,    &s.squares, &s.noise,   &s.noise2};
    double **rows[] = {&s.q2, &s.dout2, &s.row};
    for (int i = 0; i < 6; i++, next += n * d) *parts[i] = next;
    for (int i = 0; i < WIDE; i++, next += ROWS * n) *blocks[i] = next;
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
    /* Heads are numbered through the batch: kv_head * group is the first that shares this one. */
    for (int64_t member = 0; member < group; member++)
        all_rows(p, &s, kv_head * group + member, kv_head);
    if (p->dout)
        for (int64_t i = 0; i < n * d; i++) p->dk[kv + i] *= p->scale;
    if (p->dout && p->out_noise)
        for (int64_t i = 0; i < n * d; i++) {
            p->dk_noise[kv + i] = p->scale * sqrt(p->dk_noise[kv + i]);
            p->dv_noise[kv + i] = sqrt(p->dv_noise[kv + i]);
        }
    free(all);
    pthread_mutex_lock(&job->lock);
    job->p->score_noise = fmax(job->p->score_noise, p->score_noise);
    job->p->score_largest = fmax(job->p->score_largest, p->score_largest);
    job->p->least_margin = fmin(job->p->least_margin, p->least_margin);
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
    p->least_margin = INFINITY;
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
