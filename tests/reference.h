/* reference.h: what kernels should compute, in float64 and plain C, and how far off they may be.
 *
 * Nothing here uses the compiler or the runtime, so that both cannot share a mistake. Arrays are
 * dense and double; a test rounds its inputs to the kernel's dtype first, and gives those to both.
 *
 * Tolerances are derived, not tuned. Rounding errors of a sum of n products are taken as
 * independent: with probability over 1 - 2 exp(-L^2 / 2), L = REFERENCE_SIGMAS, their total stays
 * below L u ||products||_2 for roundings of the products, and below L sqrt(n) u times the sum of
 * magnitudes for those of the running sum (Higham and Mary, SIAM J. Sci. Comput. 41, 2019). So
 * every reference gives, next to each result, the 2-norm or the sum of magnitudes of its terms.
 */
#ifndef TKC_TESTS_REFERENCE_H
#define TKC_TESTS_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REFERENCE_SIGMAS 6.0

/* ---- dtypes ----------------------------------------------------------------------------- */

typedef enum ReferenceType {
    REF_F16,
    REF_BF16,
    REF_F32,
    REF_F64,
    REF_F8E4M3, /* no infinities; 0x7f is NaN */
    REF_F8E5M2,
    REF_I8,
    REF_I32
} ReferenceType;

size_t reference_size(ReferenceType type);
double reference_unit_roundoff(ReferenceType type); /* f16: 2^-11; integers: 0 */
/* Half the least positive number; f32: the least normal number, since devices may take what is
 * smaller as zero. */
double reference_underflow(ReferenceType type);
/* Element i of an array of `type`. Store rounds to nearest, ties to even, overflow to infinity (to
 * NaN where there is none; integers: to the nearest there is). */
double reference_load(ReferenceType type, const void *array, int64_t i);
void reference_store(ReferenceType type, void *array, int64_t i, double value);
double reference_round(ReferenceType type, double value);

/* ---- random numbers ----------------------------------------------------------------------- */

typedef struct Random {
    uint64_t state;
} Random;

Random random_from_seed(uint64_t seed);
uint64_t random_bits(Random *random);
double random_uniform(Random *random); /* in (0, 1) */
double random_normal(Random *random);  /* mean 0, deviation 1 */
/* n normal numbers of this deviation, rounded to the dtype. */
void random_fill(Random *random, ReferenceType type, double deviation, double *to, int64_t n);

/* Philox 4x32-10 (Salmon et al., SC 2011), what kernels draw from. The low word of a key and of a
 * counter is the first one. */
void reference_philox(uint64_t key, const uint32_t counter[4], uint32_t words[4]);

/* ---- work ----------------------------------------------------------------------------------- */

/* Calls work(context, i) for i in [0, n), on all processors. */
void reference_parallel(int64_t n, void (*work)(void *context, int64_t i), void *context);

/* C += A B, where element (i, k) of A is a[i * a_row + k * a_column]; rows of B and C are b_row
 * and c_row apart. */
void reference_gemm(int64_t m, int64_t n, int64_t k, const double *a, int64_t a_row,
                    int64_t a_column, const double *b, int64_t b_row, double *c, int64_t c_row);

/* ---- softmax ----------------------------------------------------------------------------------
 */

void reference_softmax(int64_t rows, int64_t columns, const double *x, double *y);
void reference_softmax_backward(int64_t rows, int64_t columns, const double *y, const double *dy,
                                double *dx);
/* Most that an element may be off when computed in f32 and stored as `out`. `spread`: of the row,
 * max(x) - min(x). `sum`: of the row, the sum of |y dy|. */
double reference_softmax_tolerance(ReferenceType out, int64_t columns, double spread, double y);
double reference_softmax_backward_tolerance(ReferenceType out, int64_t columns, double sum,
                                            double y, double dy, double dx);

/* ---- matrix product ----------------------------------------------------------------------------
 */

typedef enum ReferenceActivation {
    REF_NONE,
    REF_RELU,
    REF_LEAKY_RELU,
    REF_GELU,
    REF_SILU,
    REF_GELU_TANH
} ReferenceActivation;

double reference_activate(ReferenceActivation activation, double x);
/* c = activation(a b), and sums[i] = the sum of |a b| behind c[i]. */
void reference_matmul(int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                      ReferenceActivation activation, double *c, double *sums);
/* `operand_error`: relative error of each operand of a product, 0 unless it is rounded (tf32). */
double reference_matmul_tolerance(ReferenceType out, int64_t k, double operand_error, double sum,
                                  double c);

/* ---- attention ----------------------------------------------------------------------------------
 */

/* [batch, heads, q_length, dim] and [batch, kv_heads, kv_length, dim]; lse [batch, heads,
 * q_length]; bias [batch, heads, q_length, kv_length]. Row i stands at column i + diagonal; causal:
 * it sees none after that. */
typedef struct ReferenceAttention {
    int64_t batch, heads, kv_heads, q_length, kv_length, dim, diagonal;
    bool causal;
    double scale;
    const double *q, *k, *v;
    const double *dout; /* NULL: forward only */
    double *out, *lse;
    double *dq, *dk, *dv;

    /* What follows is off when zero, and means what it does in kernels/attention.h. */
    bool relu, windowed;
    int64_t left, right; /* of the window; negative: no limit */
    double soft_cap, dropout;
    const double *bias; /* -inf: the column is not seen */
    double *dbias;
    const double *slopes;
    uint64_t seed;
    int64_t first_place; /* dropout's number of the first head of the first batch */

    /* Norms of the terms of each result, for tolerances; NULL: not wanted. */
    double *out_noise, *dq_noise, *dk_noise, *dv_noise, *dbias_noise;
    double score_noise, score_largest; /* set: largest norm of the terms of a score, and |score| */
    double largest_input;              /* set: largest magnitude in q, k, v, dout */
    double least_margin; /* set: least |score| / norm of its terms, when out_noise is wanted */
} ReferenceAttention;

void reference_attention(ReferenceAttention *problem);

/* How a kernel computed: the dtype P and dS are rounded to, roundings before the last (1; the
 * kernels of 2022: 2), and the relative error of each operand of a product (tf32). */
typedef struct ReferenceMethod {
    ReferenceType weights;
    double roundings, operand_error;
} ReferenceMethod;

/* Most that a result may be off that has value `value` and noise `noise`. */
double reference_attention_tolerance(const ReferenceAttention *problem,
                                     const ReferenceMethod *method, ReferenceType out, double value,
                                     double noise);
double reference_lse_tolerance(const ReferenceAttention *problem, const ReferenceMethod *method,
                               double lse);

#endif
