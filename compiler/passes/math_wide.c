/* math_wide.c: functions of f64, from Taylor series after range reduction.
 *
 * Largest errors in units of the last place, as tests/t_math.c measures them:
 *
 *     exp exp2 expm1 log log2 log10 log1p rsqrt cbrt hypot 2    sin cos 2 (|x| < 2^30)   tan 4
 *     atan asin acos atan2 4     sinh cosh tanh asinh acosh atanh 6     erf erfc 8
 *     pow: 2 + |y log2 x|        tgamma: 20 + |lgamma|    lgamma: 1e-14 absolute near its zeros
 *
 * Double the last place of what a function of f32 needs in any case.
 */
#include "compiler/passes/math.h"

#include <math.h>

static const double ln_2_high = 0x1.62e42fefa0000p-1, ln_2_low = 0x1.cf79abc9e3b3ap-40;
static const double ln_2 = 0x1.62e42fefa39efp-1, log2_e = 0x1.71547652b82fep+0;
static const double pi_half = 0x1.921fb54442d18p+0, pi_half_low = 0x1.1a62633145c07p-54;

static Value *keep_nan(const Math *m, Value *x, Value *result) {
    return math_pick(m, math_two(m, OP_ne, x, x), x, result);
}

static Value *clamp(const Math *m, Value *x, double low, double high) {
    return math_two(m, OP_min, math_two(m, OP_max, x, math_number(m, low)), math_number(m, high));
}

/* x 2^k for whole k in [-2100, 2100]: in two steps, so that neither factor overflows. */
static Value *scale_by(const Math *m, Value *x, Value *k) {
    Value *whole = math_to_int(m, k);
    Value *half = math_two(m, OP_shr, whole, math_int(m, 1));
    Value *rest = math_two(m, OP_sub, whole, half);
    x = math_mul(m, x, math_power_of_two(m, half));
    return math_mul(m, x, math_power_of_two(m, rest));
}

/* exp r - 1 for |r| <= 0.35 */
static Value *expm1_small(const Math *m, Value *r) {
    Value *p = POLYNOMIAL(m, r, 0.5, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                          1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600,
                          1.0 / 6227020800.0);
    return math_fma(m, math_mul(m, r, r), p, r);
}

/* x = k ln 2 + r */
static Value *reduce_exp(const Math *m, Value *x, Value **k) {
    *k = math_one(m, OP_rint, math_scale(m, x, log2_e));
    Value *r = math_fma(m, *k, math_number(m, -ln_2_high), x);
    return math_fma(m, *k, math_number(m, -ln_2_low), r);
}

static Value *exp_wide(const Math *m, Value *x) {
    Value *k, *r = reduce_exp(m, clamp(m, x, -750, 720), &k);
    return keep_nan(m, x, scale_by(m, math_plus(m, expm1_small(m, r), 1), k));
}

static Value *exp2_wide(const Math *m, Value *x) {
    Value *kept = clamp(m, x, -1080, 1030), *k = math_one(m, OP_rint, kept);
    Value *r = math_scale(m, math_sub(m, kept, k), ln_2);
    return keep_nan(m, x, scale_by(m, math_plus(m, expm1_small(m, r), 1), k));
}

static Value *expm1_wide(const Math *m, Value *x) {
    Value *k, *r = reduce_exp(m, clamp(m, x, -60, 720), &k), *q = expm1_small(m, r);
    Value *power = math_power_of_two(m, math_to_int(m, math_plus(m, k, -1))); /* 2^(k-1) */
    Value *sum = math_fma(m, q, power, math_plus(m, power, -0.5));
    Value *result = math_scale(m, sum, 2);
    result = math_pick(m, math_test(m, OP_eq, k, 0), q, result);
    result = math_pick(m, math_test(m, OP_eq, x, 0), x, result);
    return keep_nan(m, x, result);
}

/* log m and the exponent, x = 2^k m, for positive finite x */
static Value *log_parts(const Math *m, Value *x, Value **k) {
    Value *is_small = math_test(m, OP_lt, x, 0x1p-1022);
    Value *bits = math_bits(m, math_pick(m, is_small, math_scale(m, x, 0x1p54), x));
    Value *e = math_two(m, OP_sub, bits, math_int(m, 0x3fe6a09e667f3bcd));
    e = math_two(m, OP_shr, e, math_int(m, 52));
    Value *part = math_two(m, OP_sub, bits, math_two(m, OP_shl, e, math_int(m, 52)));
    Value *f = math_plus(m, math_from_bits(m, part), -1);
    *k = math_add(m, math_to_float(m, e), math_pick_number(m, is_small, -54, math_number(m, 0)));
    /* s = f / (2 + f); log m = f - s (f - r) with r = 2 (atanh(s) / s - 1) */
    Value *s = math_div(m, f, math_plus(m, f, 2)), *z = math_mul(m, s, s);
    Value *r = POLYNOMIAL(m, z, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15,
                          2.0 / 17, 2.0 / 19, 2.0 / 21);
    r = math_mul(m, r, z);
    Value *half = math_scale(m, math_mul(m, f, f), 0.5);
    Value *inner = math_fma(m, s, math_add(m, half, r), math_sub(m, math_number(m, 0), half));
    return math_add(m, f, inner);
}

static Value *log_specials(const Math *m, Value *x, Value *result) {
    result = math_pick(m, math_test(m, OP_lt, x, INFINITY), result, x);
    result = math_pick_number(m, math_test(m, OP_eq, x, 0), -INFINITY, result);
    return math_pick_number(m, math_test(m, OP_lt, x, 0), NAN, result);
}

/* high + low = the value of one step of k; unit: of log m */
static Value *log_wide(const Math *m, Value *x, double high, double low, double unit) {
    Value *k, *part = log_parts(m, x, &k);
    if (unit != 1) part = math_scale(m, part, unit);
    part = math_fma(m, k, math_number(m, low), part);
    return log_specials(m, x, math_fma(m, k, math_number(m, high), part));
}

static Value *log_natural(const Math *m, Value *x) {
    return log_wide(m, x, ln_2_high, ln_2_low, 1);
}

static Value *log1p_wide(const Math *m, Value *x) {
    Value *u = math_plus(m, x, 1);
    Value *lost = math_sub(m, math_plus(m, u, -1), x);
    Value *fix = math_div(m, lost, u);
    Value *result = math_sub(m, log_natural(m, u), fix);
    result = math_pick(m, math_test(m, OP_lt, math_one(m, OP_abs, x), 0x1p-54), x, result);
    result = math_pick(m, math_test(m, OP_eq, x, INFINITY), x, result);
    return math_pick_number(m, math_test(m, OP_eq, x, -1), -INFINITY, result);
}

/* ---- circles
 * ------------------------------------------------------------------------------------- */

static Value *quarter_turns(const Math *m, Value *x, Value **rest) {
    Value *k = math_one(m, OP_rint, math_scale(m, x, 0x1.45f306dc9c883p-1));
    Value *r = math_fma(m, k, math_number(m, -pi_half), x);
    *rest = math_fma(m, k, math_number(m, -pi_half_low), r);
    return math_to_int(m, k);
}

static void sine_and_cosine(const Math *m, Value *r, Value **s, Value **c) {
    Value *z = math_mul(m, r, r);
    Value *p = POLYNOMIAL(m, z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
                          1.0 / 6227020800.0, -1.0 / 1307674368000.0, 1.0 / 355687428096000.0);
    Value *q = POLYNOMIAL(m, z, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                          -1.0 / 87178291200.0, 1.0 / 20922789888000.0, -1.0 / 6402373705728000.0);
    *s = math_fma(m, math_mul(m, z, r), p, r);
    Value *half = math_scale(m, z, 0.5), *w = math_sub(m, math_number(m, 1), half);
    Value *lost = math_sub(m, math_sub(m, math_number(m, 1), w), half);
    *c = math_add(m, w, math_fma(m, math_mul(m, z, z), q, lost));
}

static Value *is_odd(const Math *m, Value *k) {
    return math_two(m, OP_ne, math_two(m, OP_and, k, math_int(m, 1)), math_int(m, 0));
}

static Value *only_finite(const Math *m, Value *x, Value *result) {
    Value *finite = math_test(m, OP_lt, math_one(m, OP_abs, x), INFINITY);
    return math_pick(m, finite, result, math_number(m, NAN));
}

static Value *sine_wide(const Math *m, Value *x, int64_t quarter) {
    Value *r, *s, *c, *k = quarter_turns(m, x, &r);
    k = math_two(m, OP_add, k, math_int(m, quarter));
    sine_and_cosine(m, r, &s, &c);
    Value *minus = math_two(m, OP_shl, math_two(m, OP_and, k, math_int(m, 2)), math_int(m, 62));
    Value *bits = math_bits(m, math_pick(m, is_odd(m, k), c, s));
    return only_finite(m, x, math_from_bits(m, math_two(m, OP_xor, bits, minus)));
}

static Value *tan_wide(const Math *m, Value *x) {
    Value *r, *s, *c, *k = quarter_turns(m, x, &r);
    sine_and_cosine(m, r, &s, &c);
    Value *odd = is_odd(m, k), *minus = math_sub(m, math_number(m, 0), c);
    return only_finite(m, x, math_div(m, math_pick(m, odd, minus, s), math_pick(m, odd, s, c)));
}

/* atan of y / x for y >= 0, x > 0 or y, x both: the smaller over the larger, then by the nearest of
 * 0, pi/8, pi/4: atan a = t + atan((a - tan t) / (1 + a tan t)). */
static Value *atan_ratio(const Math *m, Value *y, Value *x) {
    const double tangent = 0x1.a827999fcef32p-2, eighth = 0x1.921fb54442d18p-2;
    Value *steep = math_two(m, OP_gt, y, x);
    Value *small = math_pick(m, steep, x, y), *large = math_pick(m, steep, y, x);
    Value *near_1 = math_two(m, OP_gt, small, math_scale(m, large, 0.6681786379192989));
    Value *near_0 = math_two(m, OP_lt, small, math_scale(m, large, 0.19891236737965798));
    Value *t = math_pick_number(m, near_1, 1, math_number(m, tangent));
    t = math_pick_number(m, near_0, 0, t);
    Value *base = math_pick_number(m, near_1, 2 * eighth, math_number(m, eighth));
    base = math_pick_number(m, near_0, 0, base);
    Value *minus = math_sub(m, math_number(m, 0), t);
    Value *a = math_div(m, math_fma(m, minus, large, small), math_fma(m, t, small, large));
    Value *z = math_mul(m, a, a);
    Value *p = POLYNOMIAL(m, z, -1.0 / 3, 1.0 / 5, -1.0 / 7, 1.0 / 9, -1.0 / 11, 1.0 / 13,
                          -1.0 / 15, 1.0 / 17, -1.0 / 19, 1.0 / 21);
    Value *angle = math_add(m, base, math_fma(m, math_mul(m, z, a), p, a));
    Value *rest = math_plus(m, math_sub(m, math_number(m, pi_half), angle), 0x1.1a62633145c07p-54);
    return math_pick(m, steep, rest, angle);
}

static Value *atan2_wide(const Math *m, Value *y, Value *x) {
    Value *ay = math_one(m, OP_abs, y), *ax = math_one(m, OP_abs, x);
    Value *both_infinite =
        math_two(m, OP_and, math_test(m, OP_eq, ay, INFINITY), math_test(m, OP_eq, ax, INFINITY));
    Value *both_zero = math_two(m, OP_and, math_test(m, OP_eq, ay, 0), math_test(m, OP_eq, ax, 0));
    /* large and small numbers alike are brought to where products do not overflow */
    Value *most = math_two(m, OP_max, ax, ay);
    Value *huge = math_test(m, OP_gt, most, 0x1p1000), *tiny = math_test(m, OP_lt, most, 0x1p-900);
    Value *factor = math_pick_number(m, huge, 0x1p-60, math_number(m, 1));
    factor = math_pick_number(m, tiny, 0x1p100, factor);
    Value *one = math_number(m, 1);
    Value *sy = math_pick(m, both_infinite, one, math_mul(m, ay, factor));
    Value *sx = math_pick(m, both_infinite, one, math_mul(m, ax, factor));
    sx = math_pick(m, both_zero, one, sx);
    Value *y_infinite = math_test(m, OP_eq, sy, INFINITY);
    Value *x_infinite = math_test(m, OP_eq, sx, INFINITY);
    sx = math_pick_number(m, y_infinite, 0, sx);
    sy = math_pick_number(m, x_infinite, 0, sy);
    sy = math_pick(m, y_infinite, one, sy);
    sx = math_pick(m, x_infinite, one, sx);
    Value *angle = atan_ratio(m, sy, sx);
    Value *sign = math_two(m, OP_copysign, math_number(m, 1), x); /* -0 too */
    Value *left = math_test(m, OP_lt, sign, 0);
    Value *turned = math_sub(m, math_number(m, 2 * pi_half), math_plus(m, angle, -2 * pi_half_low));
    Value *result = math_two(m, OP_copysign, math_pick(m, left, turned, angle), y);
    return keep_nan(m, x, keep_nan(m, y, result));
}

static Value *asin_or_acos(const Math *m, Value *x, bool cosine) {
    Value *one = math_number(m, 1);
    Value *product = math_mul(m, math_sub(m, one, x), math_add(m, one, x));
    Value *other = math_one(m, OP_sqrt, product); /* NaN when |x| > 1 */
    return cosine ? atan2_wide(m, other, x) : atan2_wide(m, x, other);
}

/* ---- hyperbolas
 * ---------------------------------------------------------------------------------- */

static Value *sinh_wide(const Math *m, Value *x, bool cosine) {
    Value *size = math_one(m, OP_abs, x);
    Value *half = exp_wide(m, math_scale(m, size, 0.5)); /* for those whose exp overflows */
    Value *large = math_mul(m, math_scale(m, half, 0.5), half), *small;
    if (cosine) {
        Value *power = exp_wide(m, size);
        small = math_add(m, power, math_div(m, math_number(m, 1), power));
        small = math_scale(m, small, 0.5);
    } else {
        Value *power = expm1_wide(m, size);
        small = math_add(m, power, math_div(m, power, math_plus(m, power, 1)));
        small = math_scale(m, small, 0.5);
    }
    Value *result = math_pick(m, math_test(m, OP_lt, size, 700), small, large);
    return keep_nan(m, x, cosine ? result : math_two(m, OP_copysign, result, x));
}

static Value *tanh_wide(const Math *m, Value *x) {
    Value *size = math_two(m, OP_min, math_one(m, OP_abs, x), math_number(m, 30));
    Value *power = expm1_wide(m, math_scale(m, size, 2));
    Value *result = math_div(m, power, math_plus(m, power, 2));
    return keep_nan(m, x, math_two(m, OP_copysign, result, x));
}

static Value *asinh_wide(const Math *m, Value *x) {
    Value *size = math_one(m, OP_abs, x), *square = math_mul(m, size, size);
    Value *root = math_one(m, OP_sqrt, math_plus(m, square, 1));
    Value *more = math_div(m, square, math_plus(m, root, 1));
    Value *small = log1p_wide(m, math_add(m, size, more));
    Value *large = math_plus(m, log_natural(m, size), ln_2);
    Value *result = math_pick(m, math_test(m, OP_lt, size, 0x1p30), small, large);
    return math_two(m, OP_copysign, result, x);
}

static Value *acosh_wide(const Math *m, Value *x) {
    Value *t = math_plus(m, x, -1);
    Value *root = math_one(m, OP_sqrt, math_fma(m, t, t, math_scale(m, t, 2)));
    Value *small = log1p_wide(m, math_add(m, t, root));
    Value *large = math_plus(m, log_natural(m, x), ln_2);
    Value *result = math_pick(m, math_test(m, OP_lt, x, 0x1p30), small, large);
    return math_pick_number(m, math_test(m, OP_lt, x, 1), NAN, result);
}

static Value *atanh_wide(const Math *m, Value *x) {
    Value *size = math_one(m, OP_abs, x);
    Value *ratio = math_div(m, math_scale(m, size, 2), math_sub(m, math_number(m, 1), size));
    return math_two(m, OP_copysign, math_scale(m, log1p_wide(m, ratio), 0.5), x);
}

/* ---- roots and powers
 * ---------------------------------------------------------------------------- */

static Value *cbrt_wide(const Math *m, Value *x) {
    Value *size = math_one(m, OP_abs, x), *k;
    Value *log = log_parts(m, size, &k);
    log = math_fma(m, k, math_number(m, ln_2), log);
    Value *y = exp_wide(m, math_scale(m, log, 1.0 / 3));
    for (int i = 0; i < 2; i++) { /* Newton: y -= (y - x / y^2) / 3 */
        Value *rest = math_sub(m, y, math_div(m, size, math_mul(m, y, y)));
        y = math_sub(m, y, math_scale(m, rest, 1.0 / 3));
    }
    Value *plain =
        math_two(m, OP_and, math_test(m, OP_gt, size, 0), math_test(m, OP_lt, size, INFINITY));
    return math_pick(m, plain, math_two(m, OP_copysign, y, x), x);
}

static Value *hypot_wide(const Math *m, Value *x, Value *y) {
    Value *ax = math_one(m, OP_abs, x), *ay = math_one(m, OP_abs, y);
    Value *large = math_two(m, OP_max, ax, ay);
    Value *huge = math_test(m, OP_gt, large, 0x1p500), *tiny = math_test(m, OP_lt, large, 0x1p-450);
    Value *factor = math_pick_number(m, huge, 0x1p-600, math_number(m, 1));
    factor = math_pick_number(m, tiny, 0x1p600, factor);
    Value *back = math_pick_number(m, huge, 0x1p600, math_number(m, 1));
    back = math_pick_number(m, tiny, 0x1p-600, back);
    Value *sx = math_mul(m, ax, factor), *sy = math_mul(m, ay, factor);
    Value *root = math_one(m, OP_sqrt, math_fma(m, sx, sx, math_mul(m, sy, sy)));
    Value *result = keep_nan(m, y, keep_nan(m, x, math_mul(m, root, back)));
    return math_pick_number(m, math_test(m, OP_eq, large, INFINITY), INFINITY, result);
}

/* 2^(y log2 |x|), the logarithm to some 10 bits more than f64 has. */
static Value *pow_wide(const Math *m, Value *x, Value *y) {
    Value *size = math_one(m, OP_abs, x), *k, *zero = math_number(m, 0);
    Value *part = log_parts(m, size, &k);
    Value *high = math_fma(m, k, math_number(m, ln_2_high), part);
    Value *lost = math_sub(m, math_fma(m, k, math_number(m, ln_2_high), math_sub(m, zero, high)),
                           math_sub(m, zero, part));
    lost = math_fma(m, k, math_number(m, ln_2_low), lost);
    Value *yy = clamp(m, y, -0x1p100, 0x1p100);
    Value *t = math_mul(m, yy, high);
    Value *rest = math_fma(m, yy, high, math_sub(m, zero, t));
    rest = math_fma(m, yy, lost, rest);
    Value *in_range = math_test(m, OP_lt, math_one(m, OP_abs, t), 1000);
    Value *power = exp_wide(m, t);
    Value *result = math_pick(m, in_range, math_fma(m, power, rest, power), power);

    Value *whole = math_two(m, OP_eq, math_one(m, OP_trunc, y), y);
    Value *half = math_scale(m, y, 0.5);
    Value *odd = math_two(m, OP_and, whole, math_two(m, OP_ne, math_one(m, OP_trunc, half), half));
    Value *grows = math_two(m, OP_eq, math_test(m, OP_gt, size, 1), math_test(m, OP_gt, y, 0));
    Value *edge = math_pick_number(m, grows, INFINITY, zero); /* 0, infinity, y infinite */
    Value *is_edge =
        math_two(m, OP_or, math_test(m, OP_eq, size, 0), math_test(m, OP_eq, size, INFINITY));
    is_edge = math_two(m, OP_or, is_edge, math_test(m, OP_eq, math_one(m, OP_abs, y), INFINITY));
    result = math_pick(m, is_edge, edge, result);
    Value *negative = math_test(m, OP_lt, math_two(m, OP_copysign, math_number(m, 1), x), 0);
    Value *flipped =
        math_pick(m, math_two(m, OP_and, negative, odd), math_sub(m, zero, result), result);
    Value *bad = math_two(m, OP_and, math_test(m, OP_lt, x, 0), math_test(m, OP_gt, x, -INFINITY));
    bad = math_two(m, OP_and, bad, math_two(m, OP_xor, whole, math_two(m, OP_eq, y, y)));
    result = math_pick_number(m, bad, NAN, flipped);
    result = keep_nan(m, x, keep_nan(m, y, result));
    Value *minus_one = math_two(m, OP_and, math_test(m, OP_eq, x, -1),
                                math_test(m, OP_eq, math_one(m, OP_abs, y), INFINITY));
    Value *one = math_two(m, OP_or, math_test(m, OP_eq, x, 1), math_test(m, OP_eq, y, 0));
    return math_pick_number(m, math_two(m, OP_or, one, minus_one), 1, result);
}

/* ---- the error function and gamma
 * ------------------------------------------------------------------- */

/* erfc x = t exp(-x^2 + p(u)) for x >= 0, t = 2 / (2 + x), u = t scaled to [-1, 1]; p by Chebyshev
 * interpolation of the exact function, largest error 4e-16. */
static Value *erfc_positive(const Math *m, Value *x) {
    const double low = 0.066;
    Value *kept = math_two(m, OP_min, x, math_number(m, 28));
    Value *t = math_div(m, math_number(m, 2), math_plus(m, kept, 2));
    Value *u =
        math_fma(m, t, math_number(m, 2 / (1 - low)), math_number(m, -(1 + low) / (1 - low)));
    Value *p = POLYNOMIAL(m, u, -0x1.412148b89a360p-1, 0x1.445a8ffe3a24dp-1, 0x1.0e50d244d1c1fp-5,
                          -0x1.47c9855dc77eep-5, -0x1.5697248361604p-8, 0x1.b17e5268c3debp-8,
                          0x1.d493accdc52e9p-12, -0x1.795da2a80c2e7p-10, 0x1.14e68c58eb93ap-13,
                          0x1.4616364875fd3p-12, -0x1.a2f5e336ee3b2p-14, -0x1.b3b587bb67f8ap-15,
                          0x1.41a0898b16211p-15, 0x1.1b9ea66636eacp-19, -0x1.53559f0b0e759p-17,
                          0x1.5e382c1599f96p-19, 0x1.ba04dad5eaf31p-20, -0x1.3662019e7c725p-20,
                          -0x1.4bc0525919ad7p-25, 0x1.1e0befd64cc60p-22, -0x1.b7336842d6177p-25,
                          -0x1.1cfd1af64d57ap-25, 0x1.3757507f999a0p-27, 0x1.95b316bda3dcdp-30);
    Value *square = math_mul(m, kept, kept), *minus = math_sub(m, math_number(m, 0), kept);
    Value *lost = math_fma(m, kept, minus, square); /* -(x^2) + square, exactly */
    Value *first = exp_wide(m, math_sub(m, math_number(m, 0), square));
    return math_mul(m, math_mul(m, t, first), exp_wide(m, math_add(m, p, lost)));
}

static Value *erf_small(const Math *m, Value *x) { /* |x| < 0.5 */
    Value *z = math_mul(m, x, x);
    const double f = 0x1.20dd750429b6dp+0; /* 2 / sqrt(pi) */
    Value *p =
        POLYNOMIAL(m, z, f, -f / 3, f / 10, -f / 42, f / 216, -f / 1320, f / 9360, -f / 75600,
                   f / 685440, -f / 6894720, f / 76204800, -f / 918086400, f / 11975040000.0);
    return math_mul(m, p, x);
}

static Value *erf_wide(const Math *m, Value *x, bool complement) {
    Value *size = math_one(m, OP_abs, x), *small = erf_small(m, x), *one = math_number(m, 1);
    Value *tail = erfc_positive(m, size), *result;
    Value *near = math_test(m, OP_lt, size, 0.5);
    if (complement) {
        Value *left = math_sub(m, math_number(m, 2), tail);
        result = math_pick(m, math_test(m, OP_lt, x, 0), left, tail);
        result = math_pick(m, near, math_sub(m, one, small), result);
    } else {
        result = math_two(m, OP_copysign, math_sub(m, one, tail), x);
        result = math_pick(m, near, small, result);
    }
    return keep_nan(m, x, result);
}

/* log Gamma(x) for x >= 0.5: Stirling's series at x + n >= 9, less the logarithm of what was
 * multiplied on the way; *product gets that. */
static Value *stirling(const Math *m, Value *x, Value **product) {
    *product = math_number(m, 1);
    for (int i = 0; i < 9; i++) {
        Value *low = math_test(m, OP_lt, x, 9);
        *product = math_pick(m, low, math_mul(m, *product, x), *product);
        x = math_pick(m, low, math_plus(m, x, 1), x);
    }
    Value *inverse = math_div(m, math_number(m, 1), x), *z = math_mul(m, inverse, inverse);
    Value *p = POLYNOMIAL(m, z, 1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188,
                          -691.0 / 360360, 1.0 / 156, -3617.0 / 122400);
    Value *natural = log_natural(m, x);
    Value *sum = math_mul(m, math_plus(m, x, -0.5), math_plus(m, natural, -1));
    sum = math_plus(m, sum, 0.5 * log(2 * M_PI) - 0.5);
    return math_fma(m, p, inverse, sum);
}

/* sin(pi x), by turns of x itself */
static Value *sine_of_pi(const Math *m, Value *x) {
    Value *k = math_one(m, OP_rint, math_scale(m, x, 2)), *s, *c;
    Value *r = math_fma(m, k, math_number(m, -0.5), x);
    sine_and_cosine(m, math_scale(m, r, 2 * pi_half), &s, &c);
    Value *quarter =
        math_sub(m, k, math_scale(m, math_one(m, OP_floor, math_scale(m, k, 0.25)), 4));
    Value *odd =
        math_two(m, OP_or, math_test(m, OP_eq, quarter, 1), math_test(m, OP_eq, quarter, 3));
    Value *value = math_pick(m, odd, c, s);
    return math_pick(m, math_test(m, OP_ge, quarter, 2), math_sub(m, math_number(m, 0), value),
                     value);
}

static Value *gamma_wide(const Math *m, Value *x, bool log) {
    Value *low = math_test(m, OP_lt, x, 0.5), *one = math_number(m, 1), *product;
    Value *y = math_pick(m, low, math_sub(m, one, x), x); /* >= 0.5 */
    Value *sum = stirling(m, y, &product), *sine = sine_of_pi(m, x), *result;
    Value *pole = math_two(m, OP_and, math_test(m, OP_le, x, 0),
                           math_two(m, OP_eq, math_one(m, OP_floor, x), x));
    if (log) {
        sum = math_sub(m, sum, log_natural(m, product));
        Value *mirror = log_natural(m, math_one(m, OP_abs, sine)); /* pi / sine may overflow */
        mirror = math_sub(m, math_number(m, 0x1.250d048e7a1bdp+0), mirror);
        result = math_pick(m, low, math_sub(m, mirror, sum), sum);
        result = math_pick_number(m, pole, INFINITY, result);
        Value *infinite = math_test(m, OP_eq, math_one(m, OP_abs, x), INFINITY);
        result = math_pick_number(m, infinite, INFINITY, result);
    } else {
        Value *half = exp_wide(m, math_scale(m, sum, 0.5));
        Value *value = math_div(m, math_mul(m, half, half), product);
        Value *mirror = math_div(m, math_number(m, M_PI), math_mul(m, sine, value));
        result = math_pick(m, low, mirror, value);
        result = math_pick_number(m, pole, NAN, result);
        Value *zero = math_test(m, OP_eq, x, 0);
        result = math_pick(m, zero, math_div(m, one, x), result);
        result = math_pick(m, math_test(m, OP_eq, x, INFINITY), x, result);
        result = math_pick_number(m, math_test(m, OP_eq, x, -INFINITY), NAN, result);
    }
    return keep_nan(m, x, result);
}

/* ---- the table
 * ------------------------------------------------------------------------------------- */

Value *math_wide(const Math *m, OpCode code, Value *x, Value *y) {
    switch (code) {
    case OP_exp: return exp_wide(m, x);
    case OP_exp2: return exp2_wide(m, x);
    case OP_expm1: return expm1_wide(m, x);
    case OP_log: return log_natural(m, x);
    case OP_log2: return log_wide(m, x, 1, 0, log2_e);
    case OP_log10:
        return log_wide(m, x, 0x1.34413509f6000p-2, 0x1.9fef311f12b36p-42, 0x1.bcb7b1526e50ep-2);
    case OP_log1p: return log1p_wide(m, x);
    case OP_rsqrt: return math_div(m, math_number(m, 1), math_one(m, OP_sqrt, x));
    case OP_cbrt: return cbrt_wide(m, x);
    case OP_sin: return sine_wide(m, x, 0);
    case OP_cos: return sine_wide(m, x, 1);
    case OP_tan: return tan_wide(m, x);
    case OP_asin: return asin_or_acos(m, x, false);
    case OP_acos: return asin_or_acos(m, x, true);
    case OP_atan: return atan2_wide(m, x, math_number(m, 1));
    case OP_atan2: return atan2_wide(m, x, y);
    case OP_sinh: return sinh_wide(m, x, false);
    case OP_cosh: return sinh_wide(m, x, true);
    case OP_tanh: return tanh_wide(m, x);
    case OP_asinh: return asinh_wide(m, x);
    case OP_acosh: return acosh_wide(m, x);
    case OP_atanh: return atanh_wide(m, x);
    case OP_erf: return erf_wide(m, x, false);
    case OP_erfc: return erf_wide(m, x, true);
    case OP_lgamma: return gamma_wide(m, x, true);
    case OP_tgamma: return gamma_wide(m, x, false);
    case OP_pow: return pow_wide(m, x, y);
    case OP_hypot: return hypot_wide(m, x, y);
    default: return NULL;
    }
}
