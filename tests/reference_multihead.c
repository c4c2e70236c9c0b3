/* reference_multihead.c: projections, attention, projection; and backwards. */
#include "tests/reference_multihead.h"

#include <math.h>
#include <stdlib.h>

typedef ReferenceSized Sized;

static Sized sized(int64_t n) {
    const size_t count = (size_t)(n > 0 ? n : 1);
    return (Sized){calloc(count, sizeof(double)), calloc(count, sizeof(double))};
}

static void release(Sized x) {
    free(x.value);
    free(x.size);
}

static Sized given(const double *values, int64_t n) {
    Sized x = sized(n);
    for (int64_t i = 0; i < n; i++) {
        x.value[i] = values[i];
        x.size[i] = fabs(values[i]);
    }
    return x;
}

/* A matrix: element (i, j) is number i * row + j * column. */
typedef struct Matrix {
    Sized x;
    int64_t row, column;
} Matrix;

/* a b, a: m x k, b: k x n, dense. */
static Sized product(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b) {
    Sized c = sized(m * n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) {
                const int64_t from = i * a.row + l * a.column, with = l * b.row + j * b.column;
                c.value[i * n + j] += a.x.value[from] * b.x.value[with];
                const double term = a.x.size[from] * b.x.size[with];
                c.size[i * n + j] += term * term;
            }
    for (int64_t i = 0; i < m * n; i++) c.size[i] = hypot(sqrt(c.size[i]), c.value[i]);
    return c;
}

static Sized at(Sized x, int64_t i) {
    return (Sized){x.value + i, x.size + i};
}

/* [batch, length, heads, head_dim] becomes [batch, heads, length, head_dim], or back. */
static Sized exchange(Sized x, int64_t batch, int64_t n1, int64_t n2, int64_t head_dim) {
    Sized y = sized(batch * n1 * n2 * head_dim);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < n1; i++)
            for (int64_t j = 0; j < n2; j++)
                for (int64_t c = 0; c < head_dim; c++) {
                    const int64_t from = ((b * n1 + i) * n2 + j) * head_dim + c;
                    const int64_t to = ((b * n2 + j) * n1 + i) * head_dim + c;
                    y.value[to] = x.value[from];
                    y.size[to] = x.size[from];
                }
    release(x);
    return y;
}

/* x w^T + b, w being rows [first, first + dim) of a weight. */
static Sized project(int64_t rows, int64_t dim, const double *x, const double *w, const double *b) {
    Sized input = given(x, rows * dim), weight = given(w, dim * dim);
    Sized y = product(rows, dim, dim, (Matrix){input, dim, 1}, (Matrix){weight, 1, dim});
    for (int64_t i = 0; b && i < rows * dim; i++) {
        y.value[i] += b[i % dim];
        y.size[i] += fabs(b[i % dim]);
    }
    release(input);
    release(weight);
    return y;
}

/* As tkk_activate does it. */
static void drop(const ReferenceMultihead *p, Sized x) {
    for (int64_t i = 0; p->residual > 0 && i < p->batch * p->length * p->dim; i++) {
        const uint32_t counter[4] = {(uint32_t)(i / 4), UINT32_C(1) << 31};
        uint32_t words[4];
        reference_philox(p->seed, counter, words);
        const bool drops = words[i % 4] < rint(p->residual * 0x1p32);
        x.value[i] = drops ? 0 : x.value[i] / (1 - p->residual);
        x.size[i] = drops ? 0 : x.size[i] / (1 - p->residual);
    }
}

static Sized column_sums(Sized x, int64_t rows, int64_t columns) {
    Sized sums = sized(columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        sums.value[i % columns] += x.value[i];
        sums.size[i % columns] += x.size[i] * x.size[i];
    }
    for (int64_t i = 0; i < columns; i++) sums.size[i] = sqrt(sums.size[i]);
    return sums;
}

static void copy(Sized to, Sized from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        to.value[i] = from.value[i];
        to.size[i] = from.size[i];
    }
    release(from);
}

/* Gradients of one input and of its rows of the weight and bias. */
static Sized input_backward(ReferenceMultihead *p, int64_t which, const double *x, int64_t length,
                            const double *slopes, const double *sizes) {
    const int64_t dim = p->dim, rows = p->batch * length;
    Sized copied = sized(rows * dim);
    for (int64_t i = 0; i < rows * dim; i++) {
        copied.value[i] = slopes[i];
        copied.size[i] = sizes[i];
    }
    Sized dy = exchange(copied, p->batch, p->heads, length, dim / p->heads);
    Sized input = given(x, rows * dim), weight = given(p->in_weight + which * dim * dim, dim * dim);
    Sized dx = product(rows, dim, dim, (Matrix){dy, dim, 1}, (Matrix){weight, dim, 1});
    copy(at(p->din_weight, which * dim * dim),
         product(dim, dim, rows, (Matrix){dy, 1, dim}, (Matrix){input, dim, 1}), dim * dim);
    copy(at(p->din_bias, which * dim), column_sums(dy, rows, dim), dim);
    release(dy);
    release(input);
    release(weight);
    return dx;
}

void reference_multihead(ReferenceMultihead *p) {
    const int64_t dim = p->dim, rows = p->batch * p->length, keys = p->batch * p->kv_length;
    const int64_t head_dim = dim / p->heads;
    Sized dresult = given(p->dout, rows * dim);
    drop(p, dresult);
    Sized out_weight = given(p->out_weight, dim * dim);
    Sized dattended =
        product(rows, dim, dim, (Matrix){dresult, dim, 1}, (Matrix){out_weight, dim, 1});

    const double *inputs[] = {p->query, p->key, p->value};
    const int64_t lengths[] = {p->length, p->kv_length, p->kv_length};
    Sized projected[3];
    for (int i = 0; i < 3; i++)
        projected[i] =
            exchange(project(i ? keys : rows, dim, inputs[i], p->in_weight + i * dim * dim,
                             p->in_bias ? p->in_bias + i * dim : NULL),
                     p->batch, lengths[i], p->heads, head_dim);
    dattended = exchange(dattended, p->batch, p->length, p->heads, head_dim);
    ReferenceSdpa *a = &p->attention;
    *a = (ReferenceSdpa){.batch = p->batch,
                         .heads = p->heads,
                         .kv_heads = p->heads,
                         .q_length = p->length,
                         .kv_length = p->kv_length,
                         .dim = head_dim,
                         .value_dim = head_dim,
                         .causal = p->causal,
                         .scale = 1 / sqrt((double)head_dim),
                         .dropout = p->dropout,
                         .seed = p->seed,
                         .q = projected[0].value,
                         .q_size = projected[0].size,
                         .k = projected[1].value,
                         .k_size = projected[1].size,
                         .v = projected[2].value,
                         .v_size = projected[2].size,
                         .dout = dattended.value,
                         .dout_size = dattended.size,
                         .bias = p->mask,
                         .longest_sum = dim > rows + keys ? dim : rows + keys};
    reference_sdpa(a);

    Sized merged = sized(rows * dim);
    copy(merged, (Sized){a->out, a->out_terms}, rows * dim);
    a->out = a->out_terms = NULL;
    Sized attended = exchange(merged, p->batch, p->heads, p->length, head_dim);
    p->out = product(rows, dim, dim, (Matrix){attended, dim, 1}, (Matrix){out_weight, 1, dim});
    for (int64_t i = 0; p->out_bias && i < rows * dim; i++) {
        p->out.value[i] += p->out_bias[i % dim];
        p->out.size[i] += fabs(p->out_bias[i % dim]);
    }
    drop(p, p->out);
    p->dout_weight = product(dim, dim, rows, (Matrix){dresult, 1, dim}, (Matrix){attended, dim, 1});
    p->dout_bias = column_sums(dresult, rows, dim);
    p->din_weight = sized(3 * dim * dim);
    p->din_bias = sized(3 * dim);
    p->dquery = input_backward(p, 0, p->query, p->length, a->dq, a->dq_terms);
    p->dkey = input_backward(p, 1, p->key, p->kv_length, a->dk, a->dk_terms);
    p->dvalue = input_backward(p, 2, p->value, p->kv_length, a->dv, a->dv_terms);
    Sized done[] = {dresult,      out_weight,   dattended,   attended,
                    projected[0], projected[1], projected[2]};
    for (size_t i = 0; i < sizeof done / sizeof *done; i++) release(done[i]);
}

void reference_multihead_free(ReferenceMultihead *p) {
    Sized all[] = {p->out,        p->dquery,   p->dkey,        p->dvalue,
                   p->din_weight, p->din_bias, p->dout_weight, p->dout_bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) release(all[i]);
    reference_sdpa_free(&p->attention);
}
