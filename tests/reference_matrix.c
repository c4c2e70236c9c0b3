/* reference_matrix.c: products with epilogues, convolutions, in float64. */
#include "tests/reference_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *numbers(int64_t n) {
    return calloc((size_t)(n > 0 ? n : 1), sizeof(double));
}

/* ---- products ------------------------------------------------------------------------------ */

/* The product of f32 numbers has u, those of narrower ones are exact; the running sum has L sqrt(k)
 * u, split sums no more. No activation is steeper than 1.13, each has fewer than 8 roundings of
 * values no larger than its argument. */
void reference_product(const ReferenceProduct *p) {
    const double u = reference_unit_roundoff(REF_F32);
    const double relative = u + REFERENCE_SIGMAS * sqrt((double)p->k) * u + 2 * p->operand;
    double *sums = numbers(p->m * p->n), *value = numbers(p->m * p->n);
    reference_matmul(p->m, p->n, p->k, p->a, p->b, REF_NONE, value, sums);
    for (int64_t i = 0; i < p->m * p->n; i++) {
        const double bias = p->bias ? p->bias[i % p->n] : 0;
        const double size = fabs(p->alpha) * sums[i] + fabs(bias);
        const double z = p->alpha * value[i] + bias;
        const double z_error = fabs(p->alpha) * sums[i] * relative + 2 * u * size;
        const double more = p->residual ? p->beta * p->residual[i] : 0;
        const double y = reference_activate(p->activation, z) + more;
        p->y[i] = y;
        p->y_allowed[i] = 1.13 * z_error + 8 * u * size + 2 * u * (fabs(y) + fabs(more)) +
                          fabs(y) * reference_unit_roundoff(p->y_type) +
                          reference_underflow(p->y_type);
        if (!p->z) continue;
        p->z[i] = z;
        p->z_allowed[i] =
            z_error + fabs(z) * reference_unit_roundoff(p->z_type) + reference_underflow(p->z_type);
    }
    free(sums);
    free(value);
}

void reference_transpose(int64_t rows, int64_t columns, const double *in, double *out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) out[j * rows + i] = in[i * columns + j];
}

/* ---- convolutions ------------------------------------------------------------------------- */

int64_t reference_conv_out(const ReferenceConv *c, int d) {
    return (c->size[d] + 2 * c->padding[d] - c->dilation[d] * (c->kernel[d] - 1) - 1) /
               c->stride[d] +
           1;
}

/* One term of the sums: elements of x, w and y that meet, and whether there is such an x. */
typedef struct Term {
    int64_t x, w, y, out;
} Term;

typedef struct Walk {
    const ReferenceConv *c;
    void (*add)(const struct Walk *walk, const Term *term);
    double *to, *sums;
} Walk;

/* All terms, in any order. */
static void walk_terms(const Walk *walk) {
    const ReferenceConv *c = walk->c;
    const int64_t oh = reference_conv_out(c, 0), ow = reference_conv_out(c, 1);
    const int64_t in = c->in / c->groups, out = c->out / c->groups;
    const int64_t taps = c->kernel[0] * c->kernel[1];
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t o = 0; o < c->out; o++)
            for (int64_t i = 0; i < in; i++)
                for (int64_t t = 0; t < taps; t++)
                    for (int64_t p = 0; p < oh * ow; p++) {
                        const int64_t u = t / c->kernel[1], v = t % c->kernel[1];
                        const int64_t h =
                            p / ow * c->stride[0] + u * c->dilation[0] - c->padding[0];
                        const int64_t w =
                            p % ow * c->stride[1] + v * c->dilation[1] - c->padding[1];
                        if (h < 0 || h >= c->size[0] || w < 0 || w >= c->size[1]) continue;
                        const int64_t channel = b * c->in + o / out * in + i;
                        Term term = {.x = (channel * c->size[0] + h) * c->size[1] + w,
                                     .w = (o * in + i) * taps + t,
                                     .y = (b * c->out + o) * oh * ow + p,
                                     .out = o};
                        walk->add(walk, &term);
                    }
}

static void add_to(const Walk *walk, int64_t at, double term) {
    walk->to[at] += term;
    walk->sums[at] += fabs(term);
}

static void add_forward(const Walk *walk, const Term *t) {
    add_to(walk, t->y, walk->c->x[t->x] * walk->c->w[t->w]);
}

static void add_dx(const Walk *walk, const Term *t) {
    add_to(walk, t->x, walk->c->dy[t->y] * walk->c->w[t->w]);
}

static void add_dw(const Walk *walk, const Term *t) {
    add_to(walk, t->w, walk->c->dy[t->y] * walk->c->x[t->x]);
}

static int64_t y_count(const ReferenceConv *c) {
    return c->batch * c->out * reference_conv_out(c, 0) * reference_conv_out(c, 1);
}

static void clear(int64_t n, double *a, double *b) {
    memset(a, 0, (size_t)n * sizeof *a);
    memset(b, 0, (size_t)n * sizeof *b);
}

void reference_conv_forward(const ReferenceConv *c, double *y, double *sums) {
    clear(y_count(c), y, sums);
    walk_terms(&(Walk){c, add_forward, y, sums});
    const int64_t pixels = reference_conv_out(c, 0) * reference_conv_out(c, 1);
    if (c->bias)
        for (int64_t i = 0; i < y_count(c); i++) {
            y[i] += c->bias[i / pixels % c->out];
            sums[i] += fabs(c->bias[i / pixels % c->out]);
        }
}

void reference_conv_dx(const ReferenceConv *c, double *dx, double *sums) {
    clear(c->batch * c->in * c->size[0] * c->size[1], dx, sums);
    walk_terms(&(Walk){c, add_dx, dx, sums});
}

void reference_conv_dw(const ReferenceConv *c, double *dw, double *sums) {
    clear(c->out * c->in / c->groups * c->kernel[0] * c->kernel[1], dw, sums);
    walk_terms(&(Walk){c, add_dw, dw, sums});
}

void reference_conv_db(const ReferenceConv *c, double *db, double *sums) {
    clear(c->out, db, sums);
    const int64_t pixels = reference_conv_out(c, 0) * reference_conv_out(c, 1);
    for (int64_t i = 0; i < y_count(c); i++) {
        db[i / pixels % c->out] += c->dy[i];
        sums[i / pixels % c->out] += fabs(c->dy[i]);
    }
}
