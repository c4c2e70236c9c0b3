/* math.c: functions of real numbers become plain arithmetic, for devices that lack them.
 *
 * Left as they are: what devices have or round correctly (exp2 and rsqrt of f32, sqrt, floor, ...).
 * f32 functions that kernels use in earnest (exp, log, sin, cos, tanh, erf) are polynomials of
 * their own in f32; the others are computed in f64 (math_wide.c) and rounded. Largest errors in
 * units of the last place, given exact exp2 (the GPU's ex2.approx adds 2):
 *
 *     exp 1.5   log log2 log10 1.5   sin cos 1 (f64 reduction; |x| < 2^30)   tanh 2   erf 2
 *     every other function of f32: 0.51, from f64
 *
 * Special values are those of C: log(0) = -inf, log(-1) = NaN, tanh(inf) = 1, ...
 */
#include "compiler/passes/math.h"

#include "compiler/passes/pass.h"

#include <math.h>

static const double ln_2 = 0x1.62e42fefa39efp-1, log2_e = 0x1.71547652b82fep+0;

/* ---- building ----------------------------------------------------------------------------------
 */

Math math_of(const Builder *b, const Type *type) {
    Types *types = &b->module->types;
    bool wide = type_dtype(type) == DT_f64;
    return (Math){.b = *b,
                  .type = type,
                  .ints = type_with_dtype(types, type, wide ? DT_i64 : DT_i32),
                  .bools = type_with_dtype(types, type, DT_i1)};
}

static Builder *builder(const Math *m) {
    return (Builder *)&m->b;
}

Value *math_number(const Math *m, double x) {
    return build_constant_float(builder(m), m->type, x);
}
Value *math_int(const Math *m, int64_t x) {
    return build_constant_int(builder(m), m->ints, x);
}
Value *math_two(const Math *m, OpCode code, Value *x, Value *y) {
    return build_binary(builder(m), code, x, y);
}
Value *math_one(const Math *m, OpCode code, Value *x) {
    return build_unary(builder(m), code, x);
}
Value *math_add(const Math *m, Value *x, Value *y) {
    return math_two(m, OP_add, x, y);
}
Value *math_sub(const Math *m, Value *x, Value *y) {
    return math_two(m, OP_sub, x, y);
}
Value *math_mul(const Math *m, Value *x, Value *y) {
    return math_two(m, OP_mul, x, y);
}
Value *math_div(const Math *m, Value *x, Value *y) {
    return math_two(m, OP_div, x, y);
}
Value *math_fma(const Math *m, Value *x, Value *y, Value *z) {
    return build_ternary(builder(m), OP_fma, x, y, z);
}
Value *math_scale(const Math *m, Value *x, double factor) {
    return math_mul(m, x, math_number(m, factor));
}
Value *math_plus(const Math *m, Value *x, double term) {
    return math_add(m, x, math_number(m, term));
}
Value *math_test(const Math *m, OpCode code, Value *x, double y) {
    return math_two(m, code, x, math_number(m, y));
}
Value *math_pick(const Math *m, Value *condition, Value *yes, Value *no) {
    return build_ternary(builder(m), OP_select, condition, yes, no);
}
Value *math_pick_number(const Math *m, Value *condition, double yes, Value *no) {
    return math_pick(m, condition, math_number(m, yes), no);
}
Value *math_bits(const Math *m, Value *x) {
    return build_to(builder(m), OP_bitcast, x, m->ints);
}
Value *math_from_bits(const Math *m, Value *x) {
    return build_to(builder(m), OP_bitcast, x, m->type);
}
Value *math_to_int(const Math *m, Value *x) {
    return build_to(builder(m), OP_cast, x, m->ints);
}
Value *math_to_float(const Math *m, Value *x) {
    return build_to(builder(m), OP_cast, x, m->type);
}

Value *math_polynomial(const Math *m, Value *x, const double *c, uint32_t count) {
    Value *sum = math_number(m, c[count - 1]);
    for (uint32_t i = count - 1; i-- > 0;) sum = math_fma(m, sum, x, math_number(m, c[i]));
    return sum;
}

Value *math_power_of_two(const Math *m, Value *exponent) {
    const bool wide = type_dtype(m->type) == DT_f64;
    Value *biased = math_two(m, OP_add, exponent, math_int(m, wide ? 1023 : 127));
    return math_from_bits(m, math_two(m, OP_shl, biased, math_int(m, wide ? 52 : 23)));
}

/* ---- f32
 * ----------------------------------------------------------------------------------------- */

/* exp x = 2^t (1 + rest ln 2), where t + rest = x log2 e to twice the precision. */
static Value *exp_f32(const Math *m, Value *x) {
    const float high = (float)log2_e;
    Value *low = math_two(m, OP_max_nan, x, math_number(m, -110));
    Value *kept = math_two(m, OP_min_nan, low, math_number(m, 100));
    Value *t = math_scale(m, kept, high);
    Value *minus = math_sub(m, math_number(m, 0), t);
    Value *rest = math_fma(m, kept, math_number(m, high), minus);
    rest = math_fma(m, kept, math_number(m, (float)(log2_e - high)), rest);
    Value *power = math_one(m, OP_exp2, t);
    Value *result = math_fma(m, power, math_scale(m, rest, ln_2), power);
    /* 2^t is infinite: so is the result (infinity times a rest of 0 is no number) */
    return math_pick(m, math_test(m, OP_eq, power, INFINITY), power, result);
}

/* x = 2^k m, m in [0.707, 1.414); log x = (k ln 2 + log m) unit. p(f) = (log(1+f) - f + f^2/2) /
 * f^3. */
static Value *log_f32(const Math *m, Value *x, double unit) {
    const int64_t half = 0x3f3504f3; /* sqrt(1/2) */
    const double step = ln_2 * unit;
    const float step_high = (float)(floor(step * 65536) / 65536);
    Value *is_small = math_test(m, OP_lt, x, 0x1p-126);
    Value *scaled = math_pick(m, is_small, math_scale(m, x, 0x1p23), x);
    Value *bits = math_bits(m, scaled);
    Value *k = math_two(m, OP_shr, math_two(m, OP_sub, bits, math_int(m, half)), math_int(m, 23));
    Value *part = math_two(m, OP_sub, bits, math_two(m, OP_shl, k, math_int(m, 23)));
    Value *f = math_plus(m, math_from_bits(m, part), -1);
    k = math_to_float(m, k);
    k = math_add(m, k, math_pick_number(m, is_small, -23, math_number(m, 0)));
    Value *p = POLYNOMIAL(m, f, 3.333333118e-01, -2.499999700e-01, 2.000071630e-01,
                          -1.666779828e-01, 1.424903273e-01, -1.242577672e-01, 1.168579594e-01,
                          -1.147918809e-01, 6.969753982e-02);
    Value *square = math_mul(m, f, f);
    /* log m = f + tail; small parts first */
    Value *tail = math_fma(m, math_mul(m, square, f), p, math_scale(m, square, -0.5));
    Value *sum;
    if (unit == 1) {
        tail = math_fma(m, k, math_number(m, step - step_high), tail);
        sum = math_fma(m, k, math_number(m, step_high), math_add(m, f, tail));
    } else {
        const float unit_high = (float)unit;
        Value *low = math_scale(m, f, unit - unit_high);
        low = math_fma(m, tail, math_number(m, unit_high), low);
        low = math_fma(m, k, math_number(m, step - step_high), low);
        Value *high = math_fma(m, f, math_number(m, unit_high), low);
        sum = math_fma(m, k, math_number(m, step_high), high);
    }
    sum = math_pick(m, math_test(m, OP_lt, x, INFINITY), sum, x); /* infinity, NaN */
    sum = math_pick_number(m, math_test(m, OP_eq, x, 0), -INFINITY, sum);
    return math_pick_number(m, math_test(m, OP_lt, x, 0), NAN, sum);
}

/* Quarter turns are counted and taken off in f64, where x and 53 bits of pi/2 leave 2^-50 of an
 * error up to |x| = 2^30; the rest is small and done in f32. */
static Value *sine_f32(const Math *m, Value *x, int64_t quarter) {
    Types *types = &m->b.module->types;
    Math wide = math_of(&m->b, type_with_dtype(types, m->type, DT_f64));
    Value *xw = build_to(builder(m), OP_cast, x, wide.type);
    Value *turns = math_one(&wide, OP_rint, math_scale(&wide, xw, 0x1.45f306dc9c883p-1));
    Value *rest = math_fma(&wide, turns, math_number(&wide, -0x1.921fb54442d18p+0), xw);
    rest = math_fma(&wide, turns, math_number(&wide, -0x1.1a62633145c07p-54), rest);
    Value *k =
        math_two(m, OP_add, build_to(builder(m), OP_cast, turns, m->ints), math_int(m, quarter));
    Value *r = build_to(builder(m), OP_cast, rest, m->type), *z = math_mul(m, r, r);
    Value *s = POLYNOMIAL(m, z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880);
    s = math_fma(m, math_mul(m, z, r), s, r);
    Value *c = POLYNOMIAL(m, z, -0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800);
    c = math_fma(m, c, z, math_number(m, 1));
    Value *zero = math_int(m, 0);
    Value *odd = math_two(m, OP_ne, math_two(m, OP_and, k, math_int(m, 1)), zero);
    Value *minus = math_two(m, OP_shl, math_two(m, OP_and, k, math_int(m, 2)), math_int(m, 30));
    Value *bits = math_bits(m, math_pick(m, odd, c, s));
    Value *result = math_from_bits(m, math_two(m, OP_xor, bits, minus));
    Value *finite = math_test(m, OP_lt, math_one(m, OP_abs, x), INFINITY);
    return math_pick(m, finite, result, math_number(m, NAN));
}

/* Near 0 an odd polynomial, else 1 - 2 / (exp 2|x| + 1). */
static Value *tanh_f32(const Math *m, Value *x) {
    Value *size = math_one(m, OP_abs, x), *z = math_mul(m, x, x);
    Value *p = POLYNOMIAL(m, z, -3.333332992e-01, 1.333287101e-01, -5.386673542e-02,
                          2.107433336e-02, -6.212077930e-03);
    Value *small = math_fma(m, math_mul(m, z, size), p, size);
    Value *power = math_one(m, OP_exp2, math_scale(m, size, 2 * log2_e));
    Value *part = math_div(m, math_number(m, 2), math_plus(m, power, 1));
    Value *large = math_sub(m, math_number(m, 1), part);
    Value *result = math_pick(m, math_test(m, OP_lt, size, 0.6), small, large);
    return math_two(m, OP_copysign, result, x);
}

/* |x| < 1: odd polynomial; else 1 - 2^-p(|x|). */
static Value *erf_f32(const Math *m, Value *x) {
    Value *size = math_one(m, OP_abs, x), *z = math_mul(m, x, x);
    Value *small = POLYNOMIAL(m, z, 1.128379166e+00, -3.761262667e-01, 1.128359471e-01,
                              -2.685421200e-02, 5.189087409e-03, -8.016864174e-04, 7.875874715e-05);
    small = math_mul(m, small, size);
    Value *kept = math_two(m, OP_min_nan, size, math_number(m, 4.1));
    Value *p = POLYNOMIAL(m, kept, 4.298328992e-04, -1.630449480e+00, -9.117646059e-01,
                          -1.585875036e-01, 3.798655660e-02, -6.819222684e-03, 8.506114503e-04,
                          -6.518242923e-05, 2.296346667e-06);
    Value *large = math_sub(m, math_number(m, 1), math_one(m, OP_exp2, p));
    Value *result = math_pick(m, math_test(m, OP_lt, size, 1), small, large);
    return math_two(m, OP_copysign, result, x);
}

static Value *narrow(const Math *m, OpCode code, Value *x) {
    switch (code) {
    case OP_exp: return exp_f32(m, x);
    case OP_log: return log_f32(m, x, 1);
    case OP_log2: return log_f32(m, x, log2_e);
    case OP_log10: return log_f32(m, x, 0x1.bcb7b1526e50ep-2);
    case OP_sin: return sine_f32(m, x, 0);
    case OP_cos: return sine_f32(m, x, 1);
    case OP_tanh: return tanh_f32(m, x);
    case OP_erf: return erf_f32(m, x);
    default: return NULL;
    }
}

/* ---- the pass
 * ------------------------------------------------------------------------------------- */

/* NULL: stays as it is. */
static Value *expand(const Builder *b, const Op *op) {
    const Type *type = op->results[0].type;
    const DType dtype = type_dtype(type);
    Value *x = op_operand(op, 0), *y = op->operand_count > 1 ? op_operand(op, 1) : NULL;
    Math m = math_of(b, type);
    if (dtype == DT_f64) return math_wide(&m, op->code, x, y);
    if (dtype != DT_f32 || op->code == OP_exp2 || op->code == OP_rsqrt) return NULL;
    Value *result = op->operand_count == 1 ? narrow(&m, op->code, x) : NULL;
    if (result) return result;
    Math wide = math_of(b, type_with_dtype(&b->module->types, type, DT_f64));
    Value *xw = build_to(builder(&m), OP_cast, x, wide.type);
    Value *yw = y ? build_to(builder(&m), OP_cast, y, wide.type) : NULL;
    result = math_wide(&wide, op->code, xw, yw);
    return result ? build_to(builder(&m), OP_cast, result, type) : NULL;
}

static bool is_function(OpCode code) {
    return (code >= OP_exp && code <= OP_hypot) && code != OP_sqrt && code != OP_floor &&
           code != OP_ceil && code != OP_trunc && code != OP_round && code != OP_rint;
}

typedef struct Expansion {
    Module *module;
    bool changed;
} Expansion;

static void visit(Op *op, void *context) {
    Expansion *e = context;
    if (!is_function(op->code) || !dtype_is_float(type_dtype(op->results[0].type))) return;
    Builder b = {.module = e->module, .region = op->parent, .before = op, .at = op->at};
    Value *result = expand(&b, op);
    if (!result) return;
    value_replace(&op->results[0], result);
    op_remove(op);
    e->changed = true;
}

bool pass_math(Module *module) {
    Expansion e = {.module = module};
    region_walk(module->kernel->body, visit, &e);
    return e.changed;
}
