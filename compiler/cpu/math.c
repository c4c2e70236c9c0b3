/* math.c: functions of real numbers on vectors.
 *
 * f32, error in units of the last place (tests/t_cpu_math.c measures it):
 *   exp exp2                 1.5    own, in f32:  2^t = 2^r p(t - r), r = t rounded
 *   log log2 log10           0.51   own, in f64:  log2(m 2^k) = k + c s q(s^2), s = (m-1)/(m+1)
 *   erf                      1.2    own, in f32
 *   tanh sin cos             0.51   own, in f64, rounded once; sin and cos of |x| > 2^20: libm
 *   rsqrt                    0.51   1 / sqrt(x) in f64
 *   sqrt floor ceil trunc round rint copysign: exact
 *   the others, and f64      libm, one lane at a time (f32: through f64, rounded once)
 *
 * Whatever is long is a function of the module, one for each op and width, so that a kernel that
 * uses it often does not grow.
 */
#include "compiler/cpu/emit.h"

#include <assert.h>
#include <stdio.h>

/* ---- vector arithmetic -------------------------------------------------------------- */

static Reg mul(Emitter *e, Reg a, Reg b) {
    return LLVMBuildFMul(e->b, a, b, "");
}
static Reg add(Emitter *e, Reg a, Reg b) {
    return LLVMBuildFAdd(e->b, a, b, "");
}
static Reg sub(Emitter *e, Reg a, Reg b) {
    return LLVMBuildFSub(e->b, a, b, "");
}
static Reg fma_(Emitter *e, Reg a, Reg b, Reg c) {
    Reg all[3] = {a, b, c};
    return call_intrinsic(e, "llvm.fma", 3, all);
}
static Reg pick(Emitter *e, Reg condition, Reg a, Reg b) {
    return LLVMBuildSelect(e->b, condition, a, b, "");
}
static Reg compare(Emitter *e, LLVMRealPredicate p, Reg x, double y) {
    return LLVMBuildFCmp(e->b, p, x, const_like(x, y), "");
}
static Reg fabs_(Emitter *e, Reg x) {
    return call_intrinsic(e, "llvm.fabs", 1, &x);
}
static Reg to_f64(Emitter *e, Reg x) {
    return LLVMBuildFPExt(e->b, x, lanes_type(e->f64, width_of(x)), "");
}
static Reg to_f32(Emitter *e, Reg x) {
    return LLVMBuildFPTrunc(e->b, x, lanes_type(e->f32, width_of(x)), "");
}

/* c[0] + c[1] x + ... */
static Reg polynomial(Emitter *e, Reg x, uint32_t count, const double *c) {
    Reg sum = const_like(x, c[count - 1]);
    for (uint32_t i = count - 1; i-- > 0;) sum = fma_(e, sum, x, const_like(x, c[i]));
    return sum;
}

/* ---- exp, exp2 in f32 --------------------------------------------------------------- */

/* 2^(r + f unit), r a whole number within +-200, |f unit| <= 1/2. */
static Reg power_of_two(Emitter *e, Reg r, Reg shifted, Reg f, double unit) {
    double c[] = {1,
                  6.9314720286e-01,
                  2.4022647914e-01,
                  5.5503324710e-02,
                  9.6184373558e-03,
                  1.3398874469e-03,
                  1.5353362560e-04};
    double power = 1;
    for (uint32_t i = 0; i < ARRAY_LENGTH(c); i++, power *= unit) c[i] *= power;
    Reg p = polynomial(e, f, ARRAY_LENGTH(c), c);
    if (e->avx512 && width_of(f) == 16) {
        Reg operands[5] = {p, r, p, LLVMConstAllOnes(e->i16), const_i32(e, 4)};
        return call_overloaded(e, "llvm.x86.avx512.mask.scalef.ps.512", 0, NULL, 5, operands);
    }
    /* In two steps, so that results below the smallest normal number are rounded right. */
    RegType ints = lanes_type(e->i32, width_of(f));
    Reg k = LLVMBuildBitCast(e->b, shifted, ints, "");
    k = LLVMBuildSub(e->b, k, const_int_like(k, 0x4b400000), "");
    Reg half = LLVMBuildAShr(e->b, k, const_int_like(k, 1), "");
    Reg rest = LLVMBuildSub(e->b, k, half, "");
    for (int i = 0; i < 2; i++) {
        Reg n = LLVMBuildAdd(e->b, i ? rest : half, const_int_like(k, 127), "");
        n = LLVMBuildShl(e->b, n, const_int_like(n, 23), "");
        p = mul(e, p, LLVMBuildBitCast(e->b, n, LLVMTypeOf(f), ""));
    }
    return p;
}

static Reg exp_f32(Emitter *e, bool natural, Reg x) {
    const double limit = natural ? 110 : 160;
    x = pick(e, compare(e, LLVMRealOLT, x, -limit), const_like(x, -limit), x);
    x = pick(e, compare(e, LLVMRealOGT, x, limit), const_like(x, limit), x);
    const double log2_e = 0x1.71547652b82fep+0;
    Reg magic = const_like(x, 0x1.8p23);
    Reg shifted = natural ? fma_(e, x, const_like(x, log2_e), magic) : add(e, x, magic);
    Reg r = sub(e, shifted, magic);
    if (!natural) return power_of_two(e, r, shifted, sub(e, x, r), 1);
    /* x - r ln 2, in two pieces */
    Reg f = fma_(e, r, const_like(x, -0x1.62e430p-1), x);
    f = fma_(e, r, const_like(x, 0x1.05c610p-29), f);
    return power_of_two(e, r, shifted, f, log2_e);
}

/* ---- in f64 ------------------------------------------------------------------------- */

/* 2^t for |t| < 1000, error 1e-12. */
static Reg exp2_f64(Emitter *e, Reg t) {
    static const double c[] = {1.0,
                               0x1.62e42fef84cf0p-1,
                               0x1.ebfbdff823cedp-3,
                               0x1.c6b08dd6fd234p-5,
                               0x1.3b2ab7181b755p-7,
                               0x1.5d8745a728441p-10,
                               0x1.4308ac85aa947p-13,
                               0x1.00dc4a532fb8ep-16,
                               0x1.63d136366db24p-20};
    Reg magic = const_like(t, 0x1.8p52);
    Reg shifted = add(e, t, magic);
    Reg p = polynomial(e, sub(e, t, sub(e, shifted, magic)), ARRAY_LENGTH(c), c);
    Reg k = LLVMBuildBitCast(e->b, shifted, lanes_type(e->i64, width_of(t)), "");
    k = LLVMBuildShl(e->b, LLVMBuildAdd(e->b, k, const_int_like(k, 1023), ""),
                     const_int_like(k, 52), "");
    return mul(e, p, LLVMBuildBitCast(e->b, k, LLVMTypeOf(t), ""));
}

static Reg log_f32(Emitter *e, Reg x, double unit) {
    static const double c[] = {1.0,
                               0x1.5555555552d50p-2,
                               0x1.999999a435066p-3,
                               0x1.249240b87155dp-3,
                               0x1.c722cceee92f4p-4,
                               0x1.732320a9c93b0p-4,
                               0x1.58d5d4a93822dp-4};
    Reg inf = const_like(x, __builtin_inf());
    Reg usual = LLVMBuildAnd(e->b, compare(e, LLVMRealOGT, x, 0),
                             LLVMBuildFCmp(e->b, LLVMRealOLT, x, inf, ""), "");
    Reg wide = to_f64(e, pick(e, usual, x, const_like(x, 1)));
    Reg bits = LLVMBuildBitCast(e->b, wide, lanes_type(e->i64, width_of(x)), "");
    Reg field = LLVMBuildAdd(
        e->b, bits, const_int_like(bits, ((uint64_t)1024 << 52) - 0x3fe6a09e667f3bcdu), "");
    field = LLVMBuildLShr(e->b, field, const_int_like(bits, 52), "");
    Reg shifted = LLVMBuildShl(e->b, field, const_int_like(bits, 52), "");
    Reg m = LLVMBuildAdd(e->b, LLVMBuildSub(e->b, bits, shifted, ""),
                         const_int_like(bits, (uint64_t)1024 << 52), "");
    m = LLVMBuildBitCast(e->b, m, LLVMTypeOf(wide), "");
    Reg k = LLVMBuildAdd(e->b, field, const_int_like(field, 0x4330000000000000u), "");
    k = sub(e, LLVMBuildBitCast(e->b, k, LLVMTypeOf(wide), ""), const_like(wide, 0x1p52 + 1024));
    Reg one = const_like(wide, 1);
    Reg s = LLVMBuildFDiv(e->b, sub(e, m, one), add(e, m, one), "");
    Reg q = polynomial(e, mul(e, s, s), ARRAY_LENGTH(c), c);
    Reg r = fma_(e, mul(e, s, q), const_like(wide, 0x1.71547652b82fep+1), k);
    r = to_f32(e, mul(e, r, const_like(wide, unit)));
    Reg nan = const_like(x, __builtin_nan(""));
    Reg other = pick(e, compare(e, LLVMRealOGT, x, 0), x, nan);
    other = pick(e, compare(e, LLVMRealOEQ, x, 0), const_like(x, -__builtin_inf()), other);
    return pick(e, usual, r, other);
}

static Reg tanh_f32(Emitter *e, Reg x) {
    static const double c[] = {1, -1.0 / 3, 2.0 / 15, -17.0 / 315, 62.0 / 2835};
    Reg w = to_f64(e, x), a = fabs_(e, w);
    Reg bounded = pick(e, compare(e, LLVMRealOGT, a, 20), const_like(a, 20), a);
    Reg t = exp2_f64(e, mul(e, bounded, const_like(a, 2 * 0x1.71547652b82fep+0)));
    Reg one = const_like(a, 1);
    Reg large = LLVMBuildFDiv(e->b, sub(e, t, one), add(e, t, one), "");
    Reg small = mul(e, a, polynomial(e, mul(e, a, a), ARRAY_LENGTH(c), c));
    Reg r = pick(e, compare(e, LLVMRealOLT, a, 0.05), small, large);
    r = pick(e, LLVMBuildFCmp(e->b, LLVMRealUNO, a, a, ""), a, r);
    Reg all[2] = {r, w};
    return to_f32(e, call_intrinsic(e, "llvm.copysign", 2, all));
}

/* Near 0: x + x p(x^2). Else 1 - exp(t q(t)), since the logarithm of erfc is smooth. Fitted by
 * least squares, weighted until the largest error was the least. */
static Reg erf_f32(Emitter *e, Reg x) {
    static const double p[] = {0x1.06eba6p-3,  -0x1.8126e8p-2, 0x1.ce1abcp-4,
                               -0x1.b69006p-6, 0x1.4757aap-8,  -0x1.3a8bc2p-11};
    static const double q[] = {-0x1.20e8fep+0, -0x1.456e94p-1, -0x1.af4938p-4, 0x1.740d78p-6,
                               -0x1.82e180p-9, 0x1.e27056p-15, 0x1.711a00p-15, -0x1.428f26p-18};
    Reg a = fabs_(e, x), one = const_like(a, 1);
    Reg t = pick(e, compare(e, LLVMRealOGT, a, 3.95), const_like(a, 3.95), a);
    Reg small = fma_(e, polynomial(e, mul(e, t, t), ARRAY_LENGTH(p), p), t, t);
    Reg decay = exp_f32(e, true, mul(e, t, polynomial(e, t, ARRAY_LENGTH(q), q)));
    Reg all[2] = {pick(e, compare(e, LLVMRealOLT, a, 0.92), small, sub(e, one, decay)), x};
    return call_intrinsic(e, "llvm.copysign", 2, all);
}

/* ---- one lane at a time, by libm ---------------------------------------------------- */

static Reg libm(Emitter *e, const char *name, uint32_t count, Reg *x) {
    const uint32_t width = width_of(x[0]);
    const bool narrow = LLVMTypeOf(extract_lane(e, x[0], 0)) == e->f32;
    Reg result = width > 1 ? LLVMGetPoison(LLVMTypeOf(x[0])) : NULL;
    for (uint32_t i = 0; i < width; i++) {
        Reg lane[3];
        for (uint32_t k = 0; k < count; k++) {
            lane[k] = extract_lane(e, x[k], i);
            if (narrow) lane[k] = to_f64(e, lane[k]);
        }
        uint32_t given = count;
        if (!strcmp(name, "lgamma_r")) lane[given++] = LLVMBuildAlloca(e->b, e->i32, "");
        Reg r = call_extern(e, name, e->f64, given, lane);
        if (narrow) r = to_f32(e, r);
        result = width > 1 ? LLVMBuildInsertElement(e->b, result, r, const_i64(e, i), "") : r;
    }
    return result;
}

/* x = n pi/2 + r; |x| <= 2^20, so n fits and r keeps 1e-14. */
static Reg sin_cos_near(Emitter *e, bool cosine, Reg x) {
    static const double sines[] = {
        1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800};
    static const double cosines[] = {1,           -0.5,           1.0 / 24,         -1.0 / 720,
                                     1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600.0};
    Reg w = to_f64(e, x), magic = const_like(w, 0x1.8p52);
    Reg shifted = add(e, mul(e, w, const_like(w, 0x1.45f306dc9c883p-1)), magic);
    Reg n = sub(e, shifted, magic);
    Reg r = fma_(e, n, const_like(w, -0x1.921fb54442d18p+0), w);
    r = fma_(e, n, const_like(w, -0x1.1a62633145c07p-54), r);
    Reg z = mul(e, r, r);
    Reg s = mul(e, r, polynomial(e, z, ARRAY_LENGTH(sines), sines));
    Reg c = polynomial(e, z, ARRAY_LENGTH(cosines), cosines);
    Reg k = LLVMBuildBitCast(e->b, shifted, lanes_type(e->i64, width_of(x)), "");
    if (cosine) k = LLVMBuildAdd(e->b, k, const_int_like(k, 1), "");
    Reg zero = LLVMConstNull(LLVMTypeOf(k));
    Reg odd =
        LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, k, const_int_like(k, 1), ""), zero, "");
    Reg minus =
        LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, k, const_int_like(k, 2), ""), zero, "");
    Reg y = pick(e, odd, c, s);
    return to_f32(e, pick(e, minus, LLVMBuildFNeg(e->b, y, ""), y));
}

static Reg any_lane(Emitter *e, Reg condition) {
    return width_of(condition) == 1 ? condition
                                    : call_intrinsic(e, "llvm.vector.reduce.or", 1, &condition);
}

static Reg sin_cos(Emitter *e, bool cosine, Reg x) {
    Reg near = sin_cos_near(e, cosine, x);
    Reg far = LLVMBuildNot(e->b, compare(e, LLVMRealOLE, fabs_(e, x), 0x1p20), "");
    Branch branch;
    branch_open(e, &branch, any_lane(e, far));
    Reg slow = libm(e, cosine ? "cos" : "sin", 1, &x);
    slow = pick(e, far, slow, near);
    LLVMBasicBlockRef then_end = LLVMGetInsertBlock(e->b);
    branch_close(e, &branch);
    return branch_merge(e, &branch, then_end, slow, branch.from, near);
}

/* ---- which is which ----------------------------------------------------------------- */

static Reg round_away(Emitter *e, Reg x) {
    return call_intrinsic(e, "llvm.round", 1, &x);
}

static Reg body_of(Emitter *e, OpCode code, DType dtype, uint32_t count, Reg *x) {
    const bool f32 = dtype == DT_f32;
    if (f32) switch (code) {
        case OP_log: return log_f32(e, x[0], 0x1.62e42fefa39efp-1);
        case OP_log2: return log_f32(e, x[0], 1);
        case OP_log10: return log_f32(e, x[0], 0x1.34413509f79ffp-2);
        case OP_tanh: return tanh_f32(e, x[0]);
        case OP_erf: return erf_f32(e, x[0]);
        case OP_sin:
        case OP_cos: return sin_cos(e, code == OP_cos, x[0]);
        default: break;
        }
    if (code == OP_nextafter && f32) {
        const uint32_t width = width_of(x[0]);
        Reg result = width > 1 ? LLVMGetPoison(LLVMTypeOf(x[0])) : NULL;
        for (uint32_t i = 0; i < width; i++) {
            Reg lane[2] = {extract_lane(e, x[0], i), extract_lane(e, x[1], i)};
            Reg r = call_extern(e, "nextafterf", e->f32, 2, lane);
            result = width > 1 ? LLVMBuildInsertElement(e->b, result, r, const_i64(e, i), "") : r;
        }
        return result;
    }
    const char *name = op_infos[code].name;
    return libm(e, code == OP_lgamma ? "lgamma_r" : code == OP_rem ? "fmod" : name, count, x);
}

/* A function of the module for the op; it is made when it is asked for first. */
static Reg call_own(Emitter *e, OpCode code, DType dtype, uint32_t count, Reg *x) {
    char name[64];
    RegType type = LLVMTypeOf(x[0]), types[3];
    snprintf(name, sizeof name, "tkc.%s.%s.%u", op_infos[code].name, dtype_name(dtype),
             width_of(x[0]));
    for (uint32_t i = 0; i < count; i++) types[i] = type;
    Function f;
    if (function_open(e, &f, name, type, types, count))
        function_close(e, &f, body_of(e, code, dtype, count, f.arguments));
    return function_call(e, f.value, x, count);
}

static Reg rsqrt(Emitter *e, DType dtype, Reg x) {
    Reg w = dtype == DT_f32 ? to_f64(e, x) : x;
    Reg root = call_intrinsic(e, "llvm.sqrt", 1, &w);
    Reg r = LLVMBuildFDiv(e->b, const_like(w, 1), root, "");
    return dtype == DT_f32 ? to_f32(e, r) : r;
}

Reg code_math(Emitter *e, OpCode code, DType dtype, Reg *x) {
    const uint32_t count = (uint32_t)op_infos[code].min_operands;
    same_width(e, count, x);
    switch (code) {
    case OP_exp:
    case OP_exp2:
        if (dtype == DT_f32) return exp_f32(e, code == OP_exp, x[0]);
        break;
    case OP_sqrt: return call_intrinsic(e, "llvm.sqrt", 1, x);
    case OP_rsqrt: return rsqrt(e, dtype, x[0]);
    case OP_floor: return call_intrinsic(e, "llvm.floor", 1, x);
    case OP_ceil: return call_intrinsic(e, "llvm.ceil", 1, x);
    case OP_trunc: return call_intrinsic(e, "llvm.trunc", 1, x);
    case OP_round: return round_away(e, x[0]);
    case OP_rint: return call_intrinsic(e, "llvm.roundeven", 1, x);
    case OP_copysign: return call_intrinsic(e, "llvm.copysign", 2, x);
    case OP_rem: return call_own(e, OP_rem, dtype, count, x);
    default: break;
    }
    return call_own(e, code, dtype, count, x);
}
