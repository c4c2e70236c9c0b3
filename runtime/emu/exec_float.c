/* exec_float.c: f32, f64, f16 and bf16 arithmetic. f32 to nearest is vector code; directed
 * rounding sets the host's rounding mode for one lane at a time; the small formats compute
 * exactly (or to odd) in f64 and round once. */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

#include <fenv.h>

#define LANE_LOOP for (int l = 0; l < LANES; l++)

static inline float saturate_f32(float x) {
    return x > 0 ? (x < 1 ? x : 1) : 0;
} /* NaN: 0 */

/* ---- f32 to nearest -------------------------------------------------------------------------- */

#define FLOAT_LOOP(name, count, expression, ftz, sat)                                              \
    VECTOR_CODE static void name##_loop(uint32_t *restrict out, const uint32_t *pa,                \
                                        const uint32_t *pb, const uint32_t *pc) {                  \
        LANE_LOOP {                                                                                \
            float a = float_of_bits(pa[l]), b = count > 1 ? float_of_bits(pb[l]) : 0,              \
                  c = count > 2 ? float_of_bits(pc[l]) : 0;                                        \
            if (ftz) a = flush_f32(a), b = flush_f32(b), c = flush_f32(c);                         \
            (void)b, (void)c;                                                                      \
            float r = expression;                                                                  \
            if (ftz) r = flush_f32(r);                                                             \
            if (sat) r = saturate_f32(r);                                                          \
            out[l] = canonical_f32(r);                                                             \
        }                                                                                          \
    }                                                                                              \
    static Step name(Warp *w, const Inst *in) {                                                    \
        uint32_t out[LANES];                                                                       \
        name##_loop(out, lanes32(w, in->r[1]), lanes32(w, in->r[count > 1 ? 2 : 1]),               \
                    lanes32(w, in->r[count > 2 ? 3 : 1]));                                         \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
#define FLOAT4(name, count, expression)                                                            \
    FLOAT_LOOP(name, count, expression, 0, 0)                                                      \
    FLOAT_LOOP(name##_ftz, count, expression, 1, 0)                                                \
    FLOAT_LOOP(name##_sat, count, expression, 0, 1)                                                \
    FLOAT_LOOP(name##_ftz_sat, count, expression, 1, 1)                                            \
    static const Run name##_runs[4] = {name, name##_ftz, name##_sat, name##_ftz_sat};

FLOAT4(add_f32, 2, a + b)
FLOAT4(sub_f32, 2, a - b)
FLOAT4(mul_f32, 2, a *b)
FLOAT4(fma_f32, 3, __builtin_fmaf(a, b, c))
FLOAT4(div_f32, 2, a / b)
static inline float divide_approx(float a, float b) {
    if (fabsf(b) > 0x1p126f && fabsf(b) < INFINITY)
        return isinf(a) ? NAN : copysignf(0, a) * copysignf(1, b);
    return a / b;
}
FLOAT4(div_approx, 2, divide_approx(a, b))
FLOAT4(rcp_f32, 1, 1 / a)
FLOAT4(sqrt_f32, 1, __builtin_sqrtf(a))
FLOAT4(rsqrt_f32, 1, (float)(1 / __builtin_sqrt((double)a)))

/* 2^x: polynomial on [-1/2, 1/2], then the exponent put in by hand. */
static inline float exp2_f32(float x) {
    double bounded = x > 200 ? 200 : x < -200 ? -200 : (double)x;
    double whole = (bounded + 0x1.8p52) - 0x1.8p52, f = bounded - whole;
    double p = 1.5353362560e-04;
    p = p * f + 1.3398874469e-03;
    p = p * f + 9.6184373558e-03;
    p = p * f + 5.5503324710e-02;
    p = p * f + 2.4022647914e-01;
    p = p * f + 6.9314720286e-01;
    p = p * f + 1.0;
    int64_t scale = (int64_t)((uint64_t)((int64_t)(int32_t)whole + 1023) << 52);
    double power;
    memcpy(&power, &scale, 8);
    return x == x ? (float)(p * power) : x;
}
FLOAT4(ex2_f32, 1, exp2_f32(a))
FLOAT4(lg2_f32, 1, (float)log2((double)a))
FLOAT4(sin_f32, 1, (float)sin((double)a))
FLOAT4(cos_f32, 1, (float)cos((double)a))
FLOAT4(tanh_f32, 1, (float)tanh((double)a))

/* ---- min and max ----------------------------------------------------------------------------- */

static inline float smaller_f32(float a, float b) { /* -0 < +0; the number when one is NaN */
    if (a != a) return b;
    if (b != b) return a;
    if (a == b) return float_of_bits(bits_of_float(a) | bits_of_float(b));
    return a < b ? a : b;
}
static inline float larger_f32(float a, float b) {
    if (a != a) return b;
    if (b != b) return a;
    if (a == b) return float_of_bits(bits_of_float(a) & bits_of_float(b));
    return a > b ? a : b;
}
FLOAT4(min_f32, 2, smaller_f32(a, b))
FLOAT4(max_f32, 2, larger_f32(a, b))
#define BOTH(a, b, x) ((a) != (a) || (b) != (b) ? NAN : (x))
FLOAT4(min_nan_f32, 2, BOTH(a, b, smaller_f32(a, b)))
FLOAT4(max_nan_f32, 2, BOTH(a, b, larger_f32(a, b)))
FLOAT4(min3_f32, 3, smaller_f32(smaller_f32(a, b), c))
FLOAT4(max3_f32, 3, larger_f32(larger_f32(a, b), c))
FLOAT4(min3_nan_f32, 3, c != c ? c : BOTH(a, b, smaller_f32(smaller_f32(a, b), c)))
FLOAT4(max3_nan_f32, 3, c != c ? c : BOTH(a, b, larger_f32(larger_f32(a, b), c)))
static inline float with_xor_sign(float magnitude, float a, float b) {
    uint32_t sign = (bits_of_float(a) ^ bits_of_float(b)) & 0x80000000;
    return float_of_bits((bits_of_float(magnitude) & 0x7fffffff) | sign);
}
FLOAT4(min_xor_f32, 2, with_xor_sign(smaller_f32(fabsf(a), fabsf(b)), a, b))
FLOAT4(max_xor_f32, 2, with_xor_sign(larger_f32(fabsf(a), fabsf(b)), a, b))
FLOAT4(min_nan_xor_f32, 2, BOTH(a, b, with_xor_sign(smaller_f32(fabsf(a), fabsf(b)), a, b)))
FLOAT4(max_nan_xor_f32, 2, BOTH(a, b, with_xor_sign(larger_f32(fabsf(a), fabsf(b)), a, b)))
FLOAT4(abs_f32, 1, fabsf(a))

static Step neg_f32(Warp *w, const Inst *in) { /* flips the sign, of NaNs too */
    const uint32_t *a = lanes32(w, in->r[1]);
    bool ftz = form_has(in->form, F(ftz));
    uint32_t out[LANES];
    LANE_LOOP out[l] =
        bits_of_float(ftz ? flush_f32(float_of_bits(a[l])) : float_of_bits(a[l])) ^ 0x80000000u;
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

/* ---- f64 ------------------------------------------------------------------------------------- */

static inline double smaller_f64(double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b;
}
static inline double larger_f64(double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}
#define DOUBLE(name, count, expression)                                                            \
    VECTOR_CODE static void name##_loop(uint64_t *restrict out, const uint64_t *pa,                \
                                        const uint64_t *pb, const uint64_t *pc) {                  \
        LANE_LOOP {                                                                                \
            double a = as_double(pa[l]), b = as_double(pb[l]), c = as_double(pc[l]);               \
            (void)b, (void)c;                                                                      \
            out[l] = double_bits(expression);                                                      \
        }                                                                                          \
    }                                                                                              \
    static Step name(Warp *w, const Inst *in) {                                                    \
        uint64_t out[LANES];                                                                       \
        name##_loop(out, lanes64(w, in->r[1]), lanes64(w, in->r[count > 1 ? 2 : 1]),               \
                    lanes64(w, in->r[count > 2 ? 3 : 1]));                                         \
        write64(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
DOUBLE(add_f64, 2, a + b)
DOUBLE(sub_f64, 2, a - b)
DOUBLE(mul_f64, 2, a *b)
DOUBLE(fma_f64, 3, __builtin_fma(a, b, c))
DOUBLE(div_f64, 2, a / b)
DOUBLE(rcp_f64, 1, 1 / a)
DOUBLE(sqrt_f64, 1, __builtin_sqrt(a))
DOUBLE(rsqrt_f64, 1, 1 / __builtin_sqrt(a))
DOUBLE(min_f64, 2, smaller_f64(a, b))
DOUBLE(max_f64, 2, larger_f64(a, b))
DOUBLE(abs_f64, 1, fabs(a))
DOUBLE(neg_f64, 1, -a)
DOUBLE(copysign_f64, 2, copysign(b, a))

/* ---- directed rounding ----------------------------------------------------------------------- */

static double directed_one(Opcode op, bool narrow, double x, double y, double z) {
    volatile double a = x, b = y, c = z, r;
    if (narrow) {
        volatile float fa = (float)x, fb = (float)y, fc = (float)z, fr;
        switch (op) {
        case OP_add: fr = fa + fb; break;
        case OP_sub: fr = fa - fb; break;
        case OP_mul: fr = fa * fb; break;
        case OP_div: fr = fa / fb; break;
        case OP_rcp: fr = 1 / fa; break;
        case OP_sqrt: fr = sqrtf(fa); break;
        default: fr = fmaf(fa, fb, fc); break;
        }
        return (double)fr;
    }
    switch (op) {
    case OP_add: r = a + b; break;
    case OP_sub: r = a - b; break;
    case OP_mul: r = a * b; break;
    case OP_div: r = a / b; break;
    case OP_rcp: r = 1 / a; break;
    case OP_sqrt: r = sqrt(a); break;
    default: r = fma(a, b, c); break;
    }
    return r;
}

static Step directed(Warp *w, const Inst *in) {
    const Form *f = in->form;
    bool narrow = f->type[0] == TYPE_f32, ftz = form_has(f, F(ftz)), sat = form_has(f, F(sat));
    Word word = (Word)f->word[CATEGORY_ROUND];
    int mode = word == WORD_rz   ? FE_TOWARDZERO
               : word == WORD_rm ? FE_DOWNWARD
               : word == WORD_rp ? FE_UPWARD
                                 : FE_TONEAREST;
    uint32_t out32[LANES];
    uint64_t out64[LANES];
    int before = fegetround();
    for (int l = 0; l < LANES; l++) {
        double v[3] = {0};
        for (uint32_t i = 0; i < 3 && i + 1 < in->ref_count; i++) {
            if (narrow) {
                float x = as_float(lanes32(w, in->r[1 + i])[l]);
                v[i] = (double)(ftz ? flush_f32(x) : x);
            } else {
                v[i] = as_double(lanes64(w, in->r[1 + i])[l]);
            }
        }
        fesetround(mode);
        double r = directed_one(f->op == OP_mad ? OP_fma : f->op, narrow, v[0], v[1], v[2]);
        fesetround(before);
        float r32 = (float)r;
        if (ftz) r32 = flush_f32(r32);
        if (sat) r32 = saturate_f32(r32);
        out32[l] = canonical_f32(r32);
        out64[l] = double_bits(r);
    }
    if (narrow)
        write32(w, in->r[0], out32);
    else
        write64(w, in->r[0], out64);
    return STEP_NEXT;
}

/* ---- f16 and bf16, one or two a register ----------------------------------------------------- */

/* The common ones on f16, as vector code: f32 holds sums and products exactly enough. */
#define HALF_LOOP(name, expression)                                                                \
    VECTOR_CODE static void name##_loop(uint32_t *restrict out, const uint32_t *pa,                \
                                        const uint32_t *pb) {                                      \
        LANE_LOOP {                                                                                \
            uint32_t result = 0;                                                                   \
            for (int h = 0; h < 32; h += 16) {                                                     \
                float a = f32_from_f16(pa[l] >> h & 0xffff);                                       \
                float b = f32_from_f16(pb[l] >> h & 0xffff);                                       \
                result |= f16_from_f32(expression) << h;                                           \
            }                                                                                      \
            out[l] = result;                                                                       \
        }                                                                                          \
    }                                                                                              \
    static Step name(Warp *w, const Inst *in) {                                                    \
        uint32_t out[LANES];                                                                       \
        name##_loop(out, lanes32(w, in->r[1]), lanes32(w, in->r[2]));                              \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
HALF_LOOP(add_f16x2, a + b)
HALF_LOOP(sub_f16x2, a - b)
HALF_LOOP(mul_f16x2, a *b)

static uint32_t half_flush(const Format *format, uint32_t bits) {
    uint32_t exponent = ((1u << format->exponent_bits) - 1) << format->mantissa_bits;
    return bits & exponent ? bits : bits & 0x8000;
}

static double half_min_max(const Form *f, double a, double b) {
    if (form_has(f, F(nan_result)) && (a != a || b != b)) return NAN;
    double x = form_has(f, F(xorsign)) ? fabs(a) : a, y = form_has(f, F(xorsign)) ? fabs(b) : b;
    double r = f->op == OP_min ? smaller_f64(x, y) : larger_f64(x, y);
    if (form_has(f, F(xorsign)) && r == r) r = copysign(r, signbit(a) != signbit(b) ? -1 : 1);
    return r;
}

static uint32_t half_one(const Form *f, const Format *format, uint32_t a, uint32_t b, uint32_t c) {
    if (form_has(f, F(ftz)))
        a = half_flush(format, a), b = half_flush(format, b), c = half_flush(format, c);
    if (f->op == OP_neg) return a ^ 0x8000;
    if (f->op == OP_abs) return a & 0x7fff;
    double x = number_decode(format, a), y = number_decode(format, b), z = number_decode(format, c);
    double r;
    switch (f->op) {
    case OP_add: r = number_fma_odd(x, 1, y); break;
    case OP_sub: r = number_fma_odd(x, 1, -y); break;
    case OP_mul: r = x * y; break;
    case OP_fma: r = number_fma_odd(x, y, z); break;
    case OP_min:
    case OP_max: r = half_min_max(f, x, y); break;
    case OP_ex2: r = (double)exp2_f32((float)x); break;
    default: r = tanh(x); break;
    }
    if (form_has(f, F(relu))) r = r > 0 ? r : r != r ? r : 0;
    if (form_has(f, F(sat))) r = r > 0 ? (r < 1 ? r : 1) : 0;
    uint32_t bits = number_encode(format, r, ROUND_NEAREST, false);
    return form_has(f, F(ftz)) ? half_flush(format, bits) : bits;
}

static Step half_any(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType type = (PtxType)f->type[0];
    const Format *format = type == TYPE_f16 || type == TYPE_f16x2 ? &format_f16 : &format_bf16;
    uint32_t halves = ptx_types[type].bits / 16, out[LANES] = {0};
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[in->ref_count > 2 ? 2 : 1]),
                   *c = lanes32(w, in->r[in->ref_count > 3 ? 3 : 1]);
    FOR_LANES(w->active, l)
    for (uint32_t h = 0; h < halves; h++)
        out[l] |= half_one(f, format, a[l] >> (16 * h) & 0xffff, b[l] >> (16 * h) & 0xffff,
                           c[l] >> (16 * h) & 0xffff)
                  << (16 * h);
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

/* ---- pairs of f32 (sm_100) ------------------------------------------------------------------- */

static Step pair_f32(Warp *w, const Inst *in) {
    const Form *f = in->form;
    uint64_t out[LANES];
    bool ftz = form_has(f, F(ftz));
    LANE_LOOP {
        uint64_t result = 0;
        for (uint32_t h = 0; h < 64; h += 32) {
            float v[3] = {0};
            for (uint32_t i = 0; i < 3 && i + 1 < in->ref_count; i++) {
                v[i] = as_float((uint32_t)(lanes64(w, in->r[1 + i])[l] >> h));
                if (ftz) v[i] = flush_f32(v[i]);
            }
            float r = f->op == OP_add   ? v[0] + v[1]
                      : f->op == OP_sub ? v[0] - v[1]
                      : f->op == OP_mul ? v[0] * v[1]
                                        : fmaf(v[0], v[1], v[2]);
            result |= (uint64_t)canonical_f32(ftz ? flush_f32(r) : r) << h;
        }
        out[l] = result;
    }
    write64(w, in->r[0], out);
    return STEP_NEXT;
}

/* ---- halves added to f32 (sm_100): add, sub, fma, rounded once --------------------------------
 */

static Step mixed_f32(Warp *w, const Inst *in) {
    const Form *f = in->form;
    const Format *format = f->type[1] == TYPE_f16 ? &format_f16 : &format_bf16;
    uint32_t out[LANES];
    LANE_LOOP {
        uint32_t bits = lanes32(w, in->r[in->ref_count - 1])[l];
        float a = (float)number_decode(format, lanes32(w, in->r[1])[l] & 0xffff), r;
        if (f->op == OP_fma)
            r = fmaf(a, (float)number_decode(format, lanes32(w, in->r[2])[l] & 0xffff),
                     as_float(bits));
        else
            r = f->op == OP_add ? a + as_float(bits) : a - as_float(bits);
        if (form_has(f, F(sat))) r = r > 0 ? (r < 1 ? r : 1) : 0;
        out[l] = canonical_f32(r);
    }
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

static Run select_mixed(const Form *f) {
    Word round = (Word)f->word[CATEGORY_ROUND];
    bool half = f->type[1] == TYPE_f16 || f->type[1] == TYPE_bf16;
    bool known = f->op == OP_add || f->op == OP_sub || f->op == OP_fma;
    return f->type[0] == TYPE_f32 && half && known && (!round || round == WORD_rn) ? mixed_f32
                                                                                   : NULL;
}

/* ---- odds and ends --------------------------------------------------------------------------- */

static Step copysign_f32(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);
    uint32_t out[LANES];
    LANE_LOOP out[l] = (a[l] & 0x80000000) | (b[l] & 0x7fffffff);
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

static Step testp(Warp *w, const Inst *in) {
    const Form *f = in->form;
    Mask result = 0;
    LANE_LOOP {
        bool narrow = f->type[0] == TYPE_f32;
        int class = narrow ? fpclassify(as_float(lanes32(w, in->r[1])[l]))
                           : fpclassify(as_double(lanes64(w, in->r[1])[l]));
        bool yes = form_has(f, F(finite))       ? class != FP_NAN && class != FP_INFINITE
                   : form_has(f, F(infinite))   ? class == FP_INFINITE
                   : form_has(f, F(number))     ? class != FP_NAN
                   : form_has(f, F(notanumber)) ? class == FP_NAN
                   : form_has(f, F(normal))     ? class == FP_NORMAL
                                                : class == FP_SUBNORMAL;
        result |= (Mask)yes << l;
    }
    write_predicate(w, in->r[0], result);
    return STEP_NEXT;
}

/* ---- selection ------------------------------------------------------------------------------- */

static Run pick4(const Run runs[4], const Form *form) {
    return runs[(form_has(form, F(ftz)) ? 1 : 0) + (form_has(form, F(sat)) ? 2 : 0)];
}

static Run min_max_f32(const Form *f) {
    bool min = f->op == OP_min, nan = form_has(f, F(nan_result));
    if (form_has(f, F(relu))) return NULL;
    if (form_has(f, F(xorsign)))
        return pick4(min   ? nan ? min_nan_xor_f32_runs : min_xor_f32_runs
                     : nan ? max_nan_xor_f32_runs
                           : max_xor_f32_runs,
                     f);
    return pick4(min   ? nan ? min_nan_f32_runs : min_f32_runs
                 : nan ? max_nan_f32_runs
                       : max_f32_runs,
                 f);
}

/* Three-operand min and max share a form with the others; told apart when they run. */
static Step min_max3_f32(Warp *w, const Inst *in) {
    const Form *f = in->form;
    bool min = f->op == OP_min, nan = form_has(f, F(nan_result));
    const Run *runs = min   ? nan ? min3_nan_f32_runs : min3_f32_runs
                      : nan ? max3_nan_f32_runs
                            : max3_f32_runs;
    return in->ref_count == 4 ? pick4(runs, f)(w, in) : min_max_f32(f)(w, in);
}

static Run select_f32(const Form *f) {
    Word round = (Word)f->word[CATEGORY_ROUND];
    bool approx = form_has(f, F(approx) | F(full));
    if (round == WORD_rz || round == WORD_rm || round == WORD_rp) return directed;
    if (round && round != WORD_rn) return NULL;
    switch (f->op) {
    case OP_add: return pick4(add_f32_runs, f);
    case OP_sub: return pick4(sub_f32_runs, f);
    case OP_mul: return pick4(mul_f32_runs, f);
    case OP_fma:
    case OP_mad: return pick4(fma_f32_runs, f);
    case OP_div: return pick4(form_has(f, F(approx)) ? div_approx_runs : div_f32_runs, f);
    case OP_rcp: return approx || round ? pick4(rcp_f32_runs, f) : NULL;
    case OP_sqrt: return approx || round ? pick4(sqrt_f32_runs, f) : NULL;
    case OP_rsqrt: return approx ? pick4(rsqrt_f32_runs, f) : NULL;
    case OP_ex2: return approx ? pick4(ex2_f32_runs, f) : NULL;
    case OP_lg2: return approx ? pick4(lg2_f32_runs, f) : NULL;
    case OP_sin: return approx ? pick4(sin_f32_runs, f) : NULL;
    case OP_cos: return approx ? pick4(cos_f32_runs, f) : NULL;
    case OP_tanh: return approx ? pick4(tanh_f32_runs, f) : NULL;
    case OP_min:
    case OP_max: return min_max_f32(f) ? min_max3_f32 : NULL;
    case OP_abs: return pick4(abs_f32_runs, f);
    case OP_neg: return neg_f32;
    case OP_copysign: return copysign_f32;
    case OP_testp: return testp;
    default: return NULL;
    }
}

static Run select_f64(const Form *f) {
    Word round = (Word)f->word[CATEGORY_ROUND];
    if (round == WORD_rz || round == WORD_rm || round == WORD_rp) return directed;
    switch (f->op) {
    case OP_add: return add_f64;
    case OP_sub: return sub_f64;
    case OP_mul: return mul_f64;
    case OP_fma:
    case OP_mad: return round ? fma_f64 : NULL;
    case OP_div: return round ? div_f64 : NULL;
    case OP_rcp: return rcp_f64;
    case OP_sqrt: return round ? sqrt_f64 : NULL;
    case OP_rsqrt: return rsqrt_f64;
    case OP_min: return min_f64;
    case OP_max: return max_f64;
    case OP_abs: return abs_f64;
    case OP_neg: return neg_f64;
    case OP_copysign: return copysign_f64;
    case OP_testp: return testp;
    default: return NULL;
    }
}

static Run select_half(const Form *f) {
    Word round = (Word)f->word[CATEGORY_ROUND];
    if (round && round != WORD_rn) return NULL;
    bool is_f16 = f->type[0] == TYPE_f16 || f->type[0] == TYPE_f16x2;
    bool plain = !f->flags && is_f16;
    switch (f->op) {
    case OP_add: return plain ? add_f16x2 : half_any;
    case OP_sub: return plain ? sub_f16x2 : half_any;
    case OP_mul: return plain ? mul_f16x2 : half_any;
    case OP_fma:
    case OP_neg:
    case OP_abs:
    case OP_min:
    case OP_max: return half_any;
    case OP_ex2:
    case OP_tanh: return form_has(f, F(approx)) ? half_any : NULL;
    default: return NULL;
    }
}

Run select_float(const Form *form) {
    if (form_has(form, F(cc) | F(wide) | F(hi) | F(lo))) return NULL;
    if (form->type_count == 2) return select_mixed(form);
    if (form->type_count != 1) return NULL;
    switch (form->type[0]) {
    case TYPE_f32: return select_f32(form);
    case TYPE_f64: return select_f64(form);
    case TYPE_f16:
    case TYPE_f16x2:
    case TYPE_bf16:
    case TYPE_bf16x2: return select_half(form);
    case TYPE_f32x2:
        return form->op == OP_add || form->op == OP_sub || form->op == OP_mul || form->op == OP_fma
                   ? pair_f32
                   : NULL;
    default: return NULL;
    }
}
