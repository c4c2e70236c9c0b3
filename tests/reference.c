/* reference.c: dtypes, random numbers, threads, softmax and matrix product in float64. */
#include "tests/reference.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- dtypes ----------------------------------------------------------------------------- */

typedef struct Format {
    size_t size;
    int mantissa, exponent; /* bits; both 0: an integer */
    bool finite;            /* the largest exponent is as good as others, but for one NaN */
} Format;

static const Format formats[] = {[REF_F16] = {2, 10, 5},
                                 [REF_BF16] = {2, 7, 8},
                                 [REF_F32] = {4, 23, 8},
                                 [REF_F64] = {8, 52, 11},
                                 [REF_F8E4M3] = {1, 3, 4, true},
                                 [REF_F8E5M2] = {1, 2, 5},
                                 [REF_I8] = {1},
                                 [REF_I32] = {4}};

static bool is_integer(const Format *f) {
    return f->mantissa == 0;
}

static int least_exponent(const Format *f) { /* of a normal number */
    return 2 - (1 << (f->exponent - 1));
}

size_t reference_size(ReferenceType type) {
    return formats[type].size;
}

double reference_unit_roundoff(ReferenceType type) {
    const Format *f = &formats[type];
    return is_integer(f) ? 0 : ldexp(1, -f->mantissa - 1);
}

double reference_underflow(ReferenceType type) {
    const Format *f = &formats[type];
    if (is_integer(f)) return 0;
    if (type == REF_F32) return ldexp(1, least_exponent(f));
    return ldexp(1, least_exponent(f) - f->mantissa - 1);
}

/* The number in units of its last place (an integer), and the exponent of that unit. */
static double in_last_places(const Format *f, double magnitude, int *unit) {
    int exponent;
    frexp(magnitude, &exponent); /* magnitude in [2^(exponent-1), 2^exponent) */
    exponent--;
    if (exponent < least_exponent(f)) exponent = least_exponent(f);
    *unit = exponent - f->mantissa;
    return rint(ldexp(magnitude, -*unit)); /* halves to even: the default rounding mode */
}

static double to_integer(const Format *f, double value) {
    const double end = ldexp(1, (int)f->size * 8 - 1);
    return fmax(-end, fmin(end - 1, rint(value)));
}

/* Numbers from here on are too large. */
static double too_large(const Format *f) {
    const double end = ldexp(1, 1 << (f->exponent - 1));
    return f->finite ? 2 * end - ldexp(end, 1 - f->mantissa) + ldexp(end, -f->mantissa) : end;
}

double reference_round(ReferenceType type, double value) {
    const Format *f = &formats[type];
    if (is_integer(f)) return to_integer(f, value);
    if (type == REF_F64 || !isfinite(value) || value == 0) return value;
    if (type == REF_F32) return (double)(float)value;
    int unit;
    double places = in_last_places(f, fabs(value), &unit);
    double rounded = ldexp(places, unit);
    if (rounded >= too_large(f)) return f->finite ? NAN : copysign(INFINITY, value);
    return copysign(rounded, value);
}

static uint16_t encode(const Format *f, double value) {
    const int bits = f->mantissa + f->exponent;
    uint16_t sign = signbit(value) ? (uint16_t)(1 << bits) : 0;
    uint16_t all_ones = (uint16_t)(((1 << f->exponent) - 1) << f->mantissa);
    uint16_t nan = (uint16_t)(f->finite ? (1 << bits) - 1 : all_ones | 1 << (f->mantissa - 1));
    if (isnan(value)) return nan;
    if (isinf(value)) return f->finite ? sign | nan : sign | all_ones;
    if (value == 0) return sign;
    int unit;
    double places = in_last_places(f, fabs(value), &unit);
    /* A carry out of the mantissa raises the exponent by itself: fields are adjacent. */
    int exponent_field = unit - (least_exponent(f) - f->mantissa) + 1;
    int64_t code = ((int64_t)(exponent_field - 1) << f->mantissa) + (int64_t)places;
    uint16_t last = f->finite ? nan : all_ones;
    return sign | (code >= last ? last : (uint16_t)code);
}

static double decode(const Format *f, uint16_t code) {
    const int bits = f->mantissa + f->exponent;
    int field = code >> f->mantissa & ((1 << f->exponent) - 1), ones = (1 << f->exponent) - 1;
    int mantissa = code & ((1 << f->mantissa) - 1);
    double value;
    if (f->finite ? (code & ((1 << bits) - 1)) == (1 << bits) - 1 : field == ones)
        value = mantissa ? NAN : INFINITY;
    else if (field == 0)
        value = ldexp(mantissa, least_exponent(f) - f->mantissa);
    else
        value = ldexp(mantissa + (1 << f->mantissa), least_exponent(f) + field - 1 - f->mantissa);
    return code >> bits & 1 ? -value : value;
}

double reference_load(ReferenceType type, const void *array, int64_t i) {
    switch (type) {
    case REF_F32: return (double)((const float *)array)[i];
    case REF_F64: return ((const double *)array)[i];
    case REF_I8: return ((const int8_t *)array)[i];
    case REF_I32: return ((const int32_t *)array)[i];
    case REF_F8E4M3:
    case REF_F8E5M2: return decode(&formats[type], ((const uint8_t *)array)[i]);
    default: return decode(&formats[type], ((const uint16_t *)array)[i]);
    }
}

void reference_store(ReferenceType type, void *array, int64_t i, double value) {
    switch (type) {
    case REF_F32: ((float *)array)[i] = (float)value; break;
    case REF_F64: ((double *)array)[i] = value; break;
    case REF_I8: ((int8_t *)array)[i] = (int8_t)to_integer(&formats[type], value); break;
    case REF_I32: ((int32_t *)array)[i] = (int32_t)to_integer(&formats[type], value); break;
    case REF_F8E4M3:
    case REF_F8E5M2: ((uint8_t *)array)[i] = (uint8_t)encode(&formats[type], value); break;
    default: ((uint16_t *)array)[i] = encode(&formats[type], value);
    }
}

/* ---- random numbers: splitmix64, and the sum-free polar method -------------------------- */

Random random_from_seed(uint64_t seed) {
    return (Random){seed};
}

uint64_t random_bits(Random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double random_uniform(Random *random) {
    return ((double)(random_bits(random) >> 11) + 0.5) * 0x1p-53;
}

double random_normal(Random *random) {
    for (;;) {
        double x = 2 * random_uniform(random) - 1, y = 2 * random_uniform(random) - 1;
        double square = x * x + y * y;
        if (square < 1) return x * sqrt(-2 * log(square) / square);
    }
}

void random_fill(Random *random, ReferenceType type, double deviation, double *to, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = reference_round(type, deviation * random_normal(random));
}

void reference_philox(uint64_t key, const uint32_t counter[4], uint32_t words[4]) {
    uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    memmove(words, counter, 4 * sizeof *words);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * words[0], b = (uint64_t)0xCD9E8D57 * words[2];
        words[0] = (uint32_t)(b >> 32) ^ words[1] ^ low;
        words[2] = (uint32_t)(a >> 32) ^ words[3] ^ high;
        words[1] = (uint32_t)b;
        words[3] = (uint32_t)a;
        low += 0x9E3779B9;
        high += 0xBB67AE85;
    }
}

/* ---- threads ---------------------------------------------------------------------------- */

typedef struct Crew {
    atomic_llong next;
    int64_t n;
    void (*work)(void *context, int64_t i);
    void *context;
} Crew;

static void *labour(void *argument) {
    Crew *crew = argument;
    for (int64_t i; (i = atomic_fetch_add(&crew->next, 1)) < crew->n;) crew->work(crew->context, i);
    return NULL;
}

void reference_parallel(int64_t n, void (*work)(void *context, int64_t i), void *context) {
    enum { MOST = 64 };
    pthread_t threads[MOST];
    int64_t wanted = sysconf(_SC_NPROCESSORS_ONLN) - 1, started = 0;
    if (wanted > n - 1) wanted = n - 1;
    if (wanted > MOST) wanted = MOST;
    Crew crew = {0, n, work, context};
    while (started < wanted && !pthread_create(&threads[started], NULL, labour, &crew)) started++;
    labour(&crew);
    while (started > 0) pthread_join(threads[--started], NULL);
}

/* ---- C += A B ------------------------------------------------------------------------------ */

typedef double Two __attribute__((vector_size(16), aligned(8)));

enum { TILE_M = 4, TILE_N = 4 };

/* One TILE_M x TILE_N piece of C, held in registers. a: k x TILE_M and b: k x TILE_N, dense. */
static void gemm_tile(int64_t k, const double *a, const double *b, double *c, int64_t c_row) {
    Two sum[TILE_M][2] = {0};
    for (int64_t p = 0; p < k; p++, a += TILE_M, b += TILE_N) {
        Two b0 = *(const Two *)b, b1 = *(const Two *)(b + 2);
#pragma GCC unroll 4
        for (int i = 0; i < TILE_M; i++) {
            Two x = {a[i], a[i]};
            sum[i][0] += x * b0;
            sum[i][1] += x * b1;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE_M; i++) {
        *(Two *)(c + i * c_row) += sum[i][0];
        *(Two *)(c + i * c_row + 2) += sum[i][1];
    }
}

/* Copies `width` columns of a matrix, k rows, side by side. */
static void pack(int64_t k, int width, const double *from, int64_t row, int64_t column,
                 double *to) {
    for (int64_t p = 0; p < k; p++)
        for (int i = 0; i < width; i++) *to++ = from[p * row + i * column];
}

void reference_gemm(int64_t m, int64_t n, int64_t k, const double *a, int64_t a_row,
                    int64_t a_column, const double *b, int64_t b_row, double *c, int64_t c_row) {
    int64_t whole_m = m - m % TILE_M, whole_n = n - n % TILE_N;
    double *packed = malloc((size_t)((whole_m + TILE_N) * k + 1) * sizeof *packed);
    double *panel = packed + whole_m * k;
    for (int64_t i = 0; i < whole_m; i += TILE_M)
        pack(k, TILE_M, a + i * a_row, a_column, a_row, packed + i * k);
    for (int64_t j = 0; j < whole_n; j += TILE_N) {
        pack(k, TILE_N, b + j, b_row, 1, panel);
        for (int64_t i = 0; i < whole_m; i += TILE_M)
            gemm_tile(k, packed + i * k, panel, c + i * c_row + j, c_row);
    }
    free(packed);
    /* the rows and columns that fill no tile */
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++) {
            double x = a[i * a_row + p * a_column];
            for (int64_t j = i < whole_m ? whole_n : 0; j < n; j++)
                c[i * c_row + j] += x * b[p * b_row + j];
        }
}

/* ---- softmax ----------------------------------------------------------------------------------
 */

static double largest_of(int64_t n, const double *x) {
    double largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, x[i]);
    return largest;
}

void reference_softmax(int64_t rows, int64_t columns, const double *x, double *y) {
    for (int64_t r = 0; r < rows; r++, x += columns, y += columns) {
        double largest = largest_of(columns, x), sum = 0;
        for (int64_t i = 0; i < columns; i++) sum += y[i] = exp(x[i] - largest);
        for (int64_t i = 0; i < columns; i++) y[i] /= sum;
    }
}

void reference_softmax_backward(int64_t rows, int64_t columns, const double *y, const double *dy,
                                double *dx) {
    for (int64_t r = 0; r < rows; r++, y += columns, dy += columns, dx += columns) {
        double sum = 0;
        for (int64_t i = 0; i < columns; i++) sum += y[i] * dy[i];
        for (int64_t i = 0; i < columns; i++) dx[i] = y[i] * (dy[i] - sum);
    }
}

/* x - max is off by u |x - max|, and so is its product with log2(e) where exp is made of exp2: an
 * absolute error of an exponent is a relative one of the power. exp itself is good to 2 units in
 * the last place (4 u) on every device; the sum of positive numbers has L sqrt(n) u; the division
 * or a reciprocal and a product, 2 u. In the numerator and in the sum. */
double reference_softmax_tolerance(ReferenceType out, int64_t columns, double spread, double y) {
    double u = reference_unit_roundoff(REF_F32);
    double one = 2 * spread + 4;
    double relative = (2 * one + REFERENCE_SIGMAS * sqrt((double)columns) + 2) * u;
    return y * (relative + reference_unit_roundoff(out)) + reference_underflow(out);
}

/* The sum of y dy has 1 + L sqrt(n) roundings on the sum of magnitudes; the difference and the
 * product one each. */
double reference_softmax_backward_tolerance(ReferenceType out, int64_t columns, double sum,
                                            double y, double dy, double dx) {
    double u = reference_unit_roundoff(REF_F32);
    double sum_error = (1 + REFERENCE_SIGMAS * sqrt((double)columns)) * u * sum;
    double difference = fabs(y) * (sum_error + u * (fabs(dy) + sum));
    return difference + fabs(dx) * (u + reference_unit_roundoff(out)) + reference_underflow(out);
}

/* ---- matrix product ----------------------------------------------------------------------------
 */

double reference_activate(ReferenceActivation activation, double x) {
    switch (activation) {
    case REF_RELU: return x > 0 ? x : 0;
    case REF_LEAKY_RELU: return x > 0 ? x : 0.01 * x;
    case REF_GELU: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case REF_SILU: return x / (1 + exp(-x));
    case REF_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default: return x;
    }
}

typedef struct Product {
    int64_t m, n, k;
    const double *a, *b;
    double *c;
} Product;

enum { STRIP = 32 };

static void product_strip(void *context, int64_t strip) {
    const Product *p = context;
    int64_t start = strip * STRIP, rows = p->m - start < STRIP ? p->m - start : STRIP;
    reference_gemm(rows, p->n, p->k, p->a + start * p->k, p->k, 1, p->b, p->n, p->c + start * p->n,
                   p->n);
}

static double *magnitudes(const double *x, int64_t n) {
    double *to = malloc((size_t)(n ? n : 1) * sizeof *to);
    for (int64_t i = 0; i < n; i++) to[i] = fabs(x[i]);
    return to;
}

void reference_matmul(int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                      ReferenceActivation activation, double *c, double *sums) {
    double *a_size = magnitudes(a, m * k), *b_size = magnitudes(b, k * n);
    memset(c, 0, (size_t)(m * n) * sizeof *c);
    memset(sums, 0, (size_t)(m * n) * sizeof *sums);
    Product value = {m, n, k, a, b, c}, size = {m, n, k, a_size, b_size, sums};
    reference_parallel((m + STRIP - 1) / STRIP, product_strip, &value);
    reference_parallel((m + STRIP - 1) / STRIP, product_strip, &size);
    for (int64_t i = 0; i < m * n; i++) c[i] = reference_activate(activation, c[i]);
    free(a_size);
    free(b_size);
}

/* Products of f16, bf16 and tf32 numbers are exact in f32, those of f32 have u; then the running
 * sum. No activation is steeper than 1.13 (gelu), and each is computed with fewer than 8 roundings
 * of values no larger than its argument, which is at most `sum`. */
double reference_matmul_tolerance(ReferenceType out, int64_t k, double operand_error, double sum,
                                  double c) {
    double u = reference_unit_roundoff(REF_F32);
    double relative = u + REFERENCE_SIGMAS * sqrt((double)k) * u + 2 * operand_error;
    return 1.13 * sum * relative + 8 * u * sum + fabs(c) * reference_unit_roundoff(out) +
           reference_underflow(out);
}
