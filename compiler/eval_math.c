/* eval_math.c: functions of real numbers.
 *
 * f32 functions are computed in f64 and rounded once, which makes them right to half an ulp but
 * for rare near-ties. exp, exp2 and the logarithms are our own polynomials on plain arithmetic, so
 * that loops vectorise and every machine gives the same bits:
 *
 *     2^t = 2^k * p(t - k)        k = t rounded, |t - k| <= 1/2; p near-minimax, error 8e-13
 *     log2(m 2^e) = e + c s q(s^2)  s = (m-1)/(m+1), m in [0.707, 1.414]; q is atanh(s)/s, 2e-16
 *
 * The rest, and all of f64, is libm's.
 */
#include "compiler/eval_loops.h"

#include <math.h>

/* ---- exp and log ----------------------------------------------------------------------------- */

static const double round_magic = 0x1.8p52; /* adding it leaves the integer in the low bits */

INLINE float exp2_of(double t) {
    t = t < -200 ? -200 : t;
    t = t > 200 ? 200 : t; /* NaN passes */
    const double shifted = t + round_magic;
    const double r = t - (shifted - round_magic);
    double p = 0x1.63d136366db24p-20;
    p = p * r + 0x1.00dc4a532fb8ep-16;
    p = p * r + 0x1.4308ac85aa947p-13;
    p = p * r + 0x1.5d8745a728441p-10;
    p = p * r + 0x1.3b2ab7181b755p-7;
    p = p * r + 0x1.c6b08dd6fd234p-5;
    p = p * r + 0x1.ebfbdff823cedp-3;
    p = p * r + 0x1.62e42fef84cf0p-1;
    p = p * r + 1.0;
    const uint64_t power = (f64_bits(shifted) + 1023) << 52;
    return (float)(p * f64_from(power));
}

/* log2 of a positive, finite, normal double; result scaled by `unit` (1: log2, ln 2: log). */
INLINE double log2_scaled(double x, double unit) {
    const uint64_t bits = f64_bits(x), half = 0x3fe6a09e667f3bcdu; /* sqrt(1/2) */
    const uint64_t field = (bits - half + (1024ull << 52)) >> 52;  /* exponent + 1024 */
    const double m = f64_from(bits - (field << 52) + (1024ull << 52));
    const double e = f64_from(field + 0x4330000000000000u) - (0x1p52 + 1024);
    const double s = (m - 1) / (m + 1), z = s * s;
    double q = 0x1.58d5d4a93822dp-4;
    q = q * z + 0x1.732320a9c93b0p-4;
    q = q * z + 0x1.c722cceee92f4p-4;
    q = q * z + 0x1.249240b87155dp-3;
    q = q * z + 0x1.999999a435066p-3;
    q = q * z + 0x1.5555555552d50p-2;
    q = q * z + 1.0;
    const double two_over_ln2 = 0x1.71547652b82fep+1;
    return (e + s * q * two_over_ln2) * unit;
}

INLINE float log_of(float x, double unit) {
    const bool usual = x > 0 && x < __builtin_inff();
    const double r = log2_scaled(usual ? (double)x : 1.0, unit);
    const float other = x == 0 ? -__builtin_inff() : x > 0 ? x : f32_from(0x7fffffffu);
    return usual ? (float)r : other;
}

LOOP(HOT, exp_f32, float, float, 1, exp2_of((double)a * 0x1.71547652b82fep+0))
LOOP(HOT, exp2_f32, float, float, 1, exp2_of((double)a))
LOOP(HOT, log_f32, float, float, 1, log_of(a, 0x1.62e42fefa39efp-1))
LOOP(HOT, log2_f32, float, float, 1, log_of(a, 1))
LOOP(HOT, log10_f32, float, float, 1, log_of(a, 0x1.34413509f79ffp-2))

#define ROW(op) EvalRow eval_##op = {[DT_f32] = op##_f32, [DT_f64] = op##_f64};

LOOP1(exp_f64, double, double, exp(a))
LOOP1(exp2_f64, double, double, exp2(a))
LOOP1(log_f64, double, double, log(a))
LOOP1(log2_f64, double, double, log2(a))
LOOP1(log10_f64, double, double, log10(a))
ROW(exp)
ROW(exp2)
ROW(log)
ROW(log2)
ROW(log10)

/* ---- machine instructions -------------------------------------------------------------------- */

#define PLAIN(op, f32, f64)                                                                        \
    LOOP1(op##_f32, float, float, f32)                                                             \
    LOOP1(op##_f64, double, double, f64)                                                           \
    ROW(op)

PLAIN(sqrt, __builtin_sqrtf(a), __builtin_sqrt(a))
PLAIN(rsqrt, 1 / __builtin_sqrt((double)a), 1 / __builtin_sqrt(a))
PLAIN(floor, __builtin_floorf(a), __builtin_floor(a))
PLAIN(ceil, __builtin_ceilf(a), __builtin_ceil(a))
PLAIN(trunc, __builtin_truncf(a), __builtin_trunc(a))
PLAIN(round, __builtin_roundf(a), __builtin_round(a))
PLAIN(rint, __builtin_rintf(a), __builtin_rint(a))

#define PLAIN2(op, f32, f64)                                                                       \
    LOOP2(op##_f32, float, float, f32)                                                             \
    LOOP2(op##_f64, double, double, f64)                                                           \
    ROW(op)

PLAIN2(copysign, __builtin_copysignf(a, b), __builtin_copysign(a, b))
PLAIN2(nextafter, nextafterf(a, b), nextafter(a, b))

/* ---- libm ------------------------------------------------------------------------------------ */

#define LIBM(op, function)                                                                         \
    LOOP(, op##_f32, float, float, 1, function((double)a))                                         \
    LOOP(, op##_f64, double, double, 1, function(a))                                               \
    ROW(op)
#define LIBM2(op, function)                                                                        \
    LOOP(, op##_f32, float, float, 2, function((double)a, (double)b))                              \
    LOOP(, op##_f64, double, double, 2, function(a, b))                                            \
    ROW(op)

/* libm's lgamma writes a global. */
static double lgamma_value(double x) {
    int sign;
    return lgamma_r(x, &sign);
}

LIBM(expm1, expm1)
LIBM(log1p, log1p)
LIBM(cbrt, cbrt)
LIBM(sin, sin)
LIBM(cos, cos)
LIBM(tan, tan)
LIBM(asin, asin)
LIBM(acos, acos)
LIBM(atan, atan)
LIBM(sinh, sinh)
LIBM(cosh, cosh)
LIBM(tanh, tanh)
LIBM(asinh, asinh)
LIBM(acosh, acosh)
LIBM(atanh, atanh)
LIBM(erf, erf)
LIBM(erfc, erfc)
LIBM(lgamma, lgamma_value)
LIBM(tgamma, tgamma)
LIBM2(pow, pow)
LIBM2(atan2, atan2)
LIBM2(hypot, hypot)
