/* t_emu_arith.c: arithmetic of PTX that nvcc made, against plain C written from the ISA's words. */
#include "tests/emu_test.h"

#include <fenv.h>
#include <math.h>

enum { N = 2048, MOST_OPS = 64 };
typedef uint32_t u32;
typedef uint64_t u64;
typedef struct Words {
    u32 a, b, c;
} Words;

static u32 in_a[N], in_b[N], in_c[N], out[MOST_OPS * N];

static float f(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static u32 u(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return value != value ? 0x7fffffff : bits;
}

/* ---- integers -------------------------------------------------------------------------------- */

static u32 bit_field(u32 a, u32 at, u32 length) { /* signed, from the ISA's pseudo-code */
    u32 top = at + length - 1 < 31 ? at + length - 1 : 31, result = 0;
    u32 sign = length == 0 ? 0 : a >> top & 1;
    for (u32 i = 0; i < 32; i++) {
        u32 bit = i < length && at + i <= 31 ? a >> (at + i) & 1 : sign;
        result |= bit << i;
    }
    return result;
}
static u32 bit_insert(u32 a, u32 b, u32 at, u32 length) {
    u32 result = b;
    for (u32 i = 0; i < length && at + i <= 31; i++)
        result = (result & ~(1u << (at + i))) | (a >> i & 1) << (at + i);
    return result;
}
static u32 nth_set(u32 mask, u32 base, int offset) {
    if (offset == 0) return mask >> base & 1 ? base : UINT32_MAX;
    int step = offset > 0 ? 1 : -1, left = abs(offset);
    for (int i = (int)base; i >= 0 && i < 32; i += step)
        if (mask >> i & 1 && --left == 0) return (u32)i;
    return UINT32_MAX;
}
static u32 bytes_of(u32 a, u32 b, u32 selector) {
    uint8_t bytes[8];
    memcpy(bytes, &a, 4);
    memcpy(bytes + 4, &b, 4);
    u32 result = 0;
    for (int i = 0; i < 4; i++) { /* __byte_perm looks at three bits of each nibble */
        u32 pick = selector >> (4 * i) & 7;
        result |= (u32)bytes[pick] << (8 * i);
    }
    return result;
}

static u32 reference_int(Words v, u32 op) {
    u32 a = v.a, b = v.b, c = v.c;
    int sa = (int)a, sb = (int)b;
    u64 w = (u64)a << 32 | b, x = (u64)c << 32 | a;
    bool divides = sb && !(sa == INT32_MIN && sb == -1);
    u64 product = (u64)a * b;
    switch (op) {
    case 0: return a + b;
    case 1: return a * b + c;
    case 2: return (u32)(product >> 32);
    case 3: return (u32)((int64_t)sa * sb >> 32);
    case 4: return b ? a / b : 0;
    case 5: return b ? a % b : 0;
    case 6: return divides ? (u32)(sa / sb) : 0;
    case 7: return divides ? (u32)(sa % sb) : 0;
    case 8: return (u32)(sa < sb ? sa : sb);
    case 9: return a > b ? a : b;
    case 10: return sa < 0 ? 0 - a : a;
    case 11: return (a > b ? a - b : b - a) + c;
    case 12: return (sa > sb ? a - b : b - a) + c;
    case 13: return (u32)__builtin_popcount(a);
    case 14: return a ? (u32)__builtin_clz(a) : 32;
    case 15: return (u32)__builtin_ffs(sa);
    case 16: {
        u32 r = 0;
        for (int i = 0; i < 32; i++) r |= (a >> i & 1) << (31 - i);
        return r;
    }
    case 17: return bytes_of(a, b, c);
    case 18: return (u32)(((u64)b << 32 | a) << (c & 31) >> 32);
    case 19: return (u32)(((u64)b << 32 | a) >> (c > 32 ? 32 : c));
    case 20: {
        u32 r = c;
        for (int i = 0; i < 32; i += 8) r += (u32)((int8_t)(a >> i) * (int8_t)(b >> i));
        return r;
    }
    case 21: {
        u32 r = c;
        for (int i = 0; i < 32; i += 8) r += (a >> i & 255) * (b >> i & 255);
        return r;
    }
    case 22:
        return c + (u32)((int16_t)a * (int8_t)b) + (u32)((int16_t)(a >> 16) * (int8_t)(b >> 8));
    case 23: return c + (a & 0xffff) * (b >> 16 & 255) + (a >> 16) * (b >> 24);
    case 24: return (a & b) ^ (~a & c);
    case 25: return (u32)((int64_t)((int)(a << 8) >> 8) * ((int)(b << 8) >> 8));
    case 26: return (a & 0xffffff) * (b & 0xffffff);
    case 27: return bit_field(a, b & 63, c & 63);
    case 28: return bit_insert(a, b, c & 63, c >> 8 & 63);
    case 29: {
        u32 y = sa < 0 ? ~a : a;
        return y ? 31 - (u32)__builtin_clz(y) : UINT32_MAX;
    }
    case 30: return (b & 63) > 31 ? 0 : a << (b & 63);
    case 31: return (u32)(sa >> ((b & 63) > 31 ? 31 : (b & 63)));
    case 32: {
        int64_t sum = (int64_t)sa + sb;
        return (u32)(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
    }
    case 33: return a + b;
    case 34: return a + c + (a + b < a);
    case 35: return a - b;
    case 36: return c - a - (a < b);
    case 37: return (u32)product + c;
    case 38: return (u32)(product >> 32) + c + ((u32)product + c < c);
    case 39: return nth_set(a, b & 31, (int)(c & 7) - 3);
    case 40: return (u32)(w * x >> 32);
    case 41: return (u32)((unsigned __int128)w * x >> 64);
    case 42: return (u32)((u64)((__int128)(int64_t)w * (int64_t)x >> 64) >> 32);
    case 43: return (u32)(x ? w / x : 0);
    case 44: return (u32)__builtin_popcountll(w);
    case 45: return w ? (u32)__builtin_clzll(w) : 64;
    case 46: return (u32)(w >> (c & 63));
    case 47: return (u32)((int64_t)w >> (c & 63));
    case 48: return (u32)(int16_t)a * (u32)(int16_t)b;
    case 49: return (u32)(uint16_t)(a >> 3) % (u32)(uint16_t)(b | 1);
    case 50:
        return (u32)(w < x) + 2u * (u32)((int64_t)w < (int64_t)x) + 4u * (u32)(sa < sb) +
               8u * (u32)(a < b);
    default: ck_abort();
    }
}

/* ---- floats ---------------------------------------------------------------------------------- */

static float rounded(int mode, int op, float x, float y, float z) {
    volatile float a = x, b = y, c = z, r;
    fesetround(mode);
    switch (op) {
    case '+': r = a + b; break;
    case '*': r = a * b; break;
    default: r = fmaf(a, b, c); break;
    }
    fesetround(FE_TONEAREST);
    return r;
}
static float from_integer(int mode, bool sign, u64 bits) {
    volatile u64 v = bits;
    volatile float r;
    fesetround(mode);
    r = sign ? (float)(int64_t)v : (float)v;
    fesetround(FE_TONEAREST);
    return r;
}
static float flushed(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}
static float least(float a, float b) {
    if (a == b) return signbit(a) ? a : b;
    return isnan(a) ? b : isnan(b) ? a : a < b ? a : b;
}
static float most(float a, float b) {
    if (a == b) return signbit(a) ? b : a;
    return isnan(a) ? b : isnan(b) ? a : a > b ? a : b;
}
static float to_integer(float x, double low, double high) {
    if (isnan(x)) return 0;
    return (double)x <= low ? (float)low : (double)x >= high ? (float)high : x;
}

static float reference_float(Words v, u32 op) {
    float a = f(v.a), b = f(v.b), c = f(v.c);
    u64 w = (u64)v.a << 32 | v.b;
    switch (op) {
    case 0: return a + b;
    case 1: return rounded(FE_TOWARDZERO, '+', a, b, c);
    case 2: return rounded(FE_UPWARD, '+', a, b, c);
    case 3: return rounded(FE_DOWNWARD, '+', a, b, c);
    case 4: return a - b;
    case 5: return a * b;
    case 6: return rounded(FE_TOWARDZERO, '*', a, b, c);
    case 7: return rounded(FE_UPWARD, '*', a, b, c);
    case 8: return fmaf(a, b, c);
    case 9: return rounded(FE_TOWARDZERO, 'f', a, b, c);
    case 10: return rounded(FE_DOWNWARD, 'f', a, b, c);
    case 11: return a / b;
    case 12: return sqrtf(a);
    case 13: return 1 / a;
    case 14: return least(a, b);
    case 15: return most(a, b);
    case 16: return fabsf(a);
    case 17: return -a;
    case 18: return a > 0 ? a < 1 ? a : 1 : 0;
    case 19: return rintf(a);
    case 20: return floorf(a);
    case 21: return ceilf(a);
    case 22: return truncf(a);
    case 23: return copysignf(a, b);
    case 24: return flushed(flushed(a) + flushed(b));
    case 25: return flushed(flushed(a) * flushed(b));
    case 26: return isnan(a) || isnan(b) ? NAN : most(a, b);
    case 27: return isnan(a) || isnan(b) ? NAN : least(a, b);
    case 28: return to_integer(rintf(a), -0x1p31, 0x1p31 - 1) + 0.f;
    case 29: return to_integer(truncf(a), -0x1p31, 0x1p31 - 1) + 0.f;
    case 30: return to_integer(ceilf(a), -0x1p31, 0x1p31 - 1) + 0.f;
    case 31: return to_integer(floorf(a), 0, 0x1p32 - 1) + 0.f;
    case 32:
        return isnan(a) ? (float)(double)INT64_MIN : to_integer(truncf(a), -0x1p63, 0x1p63) + 0.f;
    case 33: return from_integer(FE_TOWARDZERO, true, (u64)(int64_t)(int32_t)v.a);
    case 34: return from_integer(FE_UPWARD, false, v.a);
    case 35: return from_integer(FE_TONEAREST, true, w);
    case 36: return from_integer(FE_DOWNWARD, false, w);
    case 37: return (float)(double)w;
    case 38: return (float)((double)a * (double)b + (double)c);
    case 39:
        return (float)(a < b) + 2.f * (float)(a <= b) + 4.f * (float)(a == b) +
               8.f * (float)(a != b);
    case 40: return (float)!(a < b) + 2.f * (float)!(a >= b) + 4.f * (float)isnan(a);
    default: ck_abort();
    }
}

/* ---- half and bfloat16, by search: the nearest of all values --------------------------------- */

typedef struct Small { /* the finite values of a format in order, from which one is picked */
    int exponent, mantissa, special; /* special: the top exponent is not for numbers */
    u32 nan, infinity;
} Small;
static const Small half = {5, 10, 1, 0x7fff, 0x7c00}, brain = {8, 7, 1, 0x7fff, 0x7f80},
                   e4m3 = {4, 3, 0, 0x7f, 0x7f}, e5m2 = {5, 2, 1, 0x7f, 0x7c};

static double small_value(Small s, u32 bits) {
    int width = s.exponent + s.mantissa;
    u32 magnitude = bits & ((1u << width) - 1);
    double sign = bits >> width & 1 ? -1 : 1;
    if (s.special ? magnitude >= s.infinity : magnitude == s.nan)
        return s.special && magnitude == s.infinity ? sign * INFINITY : NAN;
    int exponent = (int)(magnitude >> s.mantissa), bias = (1 << (s.exponent - 1)) - 1;
    double fraction = magnitude & ((1u << s.mantissa) - 1);
    if (!exponent) return sign * ldexp(fraction, 1 - bias - s.mantissa);
    return sign * ldexp(fraction + ldexp(1, s.mantissa), exponent - bias - s.mantissa);
}
/* x + tiny * (something too small to see) to the nearest, zero or up. */
static u32 small_round(Small s, long double x, char mode, bool saturate) {
    if (x != x) return s.nan;
    u32 sign = signbit(x) ? 1u << (s.exponent + s.mantissa) : 0, low = 0;
    u32 high = s.special ? s.infinity : s.nan;
    long double y = fabsl(x);
    while (high - low > 1) { /* the largest that is not above y */
        u32 middle = (low + high) / 2;
        if ((long double)small_value(s, middle) <= y)
            low = middle;
        else
            high = middle;
    }
    u32 last = (s.special ? s.infinity : s.nan) - 1;
    long double below = (long double)small_value(s, low);
    long double ulp = low == last ? (long double)(small_value(s, last) - small_value(s, last - 1))
                                  : (long double)small_value(s, low + 1) - below;
    if (isinf(x)) return saturate ? sign | last : sign | (last + 1);
    long double rest = (y - below) / ulp;
    bool up = mode == 'n'   ? rest > 0.5L || (rest == 0.5L && low & 1)
              : mode == 'p' ? rest > 0 && !sign
                            : false;
    if (up && low == last && saturate) return sign | last;
    return sign | (low + up);
}

static u32 pair_of(u32 (*one)(u32 a, u32 b, u32 c), Words v) {
    return one(v.a & 0xffff, v.b & 0xffff, v.c & 0xffff) | one(v.a >> 16, v.b >> 16, v.c >> 16)
                                                               << 16;
}
#define HALF(name, s, expression)                                                                  \
    static u32 name(u32 ba, u32 bb, u32 bc) {                                                      \
        long double a = small_value(s, ba), b = small_value(s, bb), c = small_value(s, bc);        \
        (void)a, (void)b, (void)c;                                                                 \
        return small_round(s, expression, 'n', false);                                             \
    }
static long double pick(long double a, long double b, bool less, bool nan) {
    if (nan && (a != a || b != b)) return NAN;
    if (a == b) return (signbit(a) != 0) == less ? a : b;
    return a != a ? b : b != b ? a : (a < b) == less ? a : b;
}
HALF(half_add, half, a + b)
HALF(half_sub, half, a - b)
HALF(half_mul, half, a *b)
HALF(half_fma, half, a *b + c)
HALF(half_min, half, pick(a, b, true, false))
HALF(half_max_nan, half, pick(a, b, false, true))
HALF(brain_max, brain, pick(a, b, false, false))
HALF(brain_min_nan, brain, pick(a, b, true, true))
static u32 half_fma_relu(u32 a, u32 b, u32 c) {
    u32 r = half_fma(a, b, c);
    return r & 0x8000 ? 0 : r;
}
static u32 half_add_sat(u32 a, u32 b, u32 c) {
    double r = small_value(half, half_add(a, b, c));
    return r > 0 ? r < 1 ? half_add(a, b, c) : 0x3c00 : 0;
}
static u32 brain_fma(u32 ba, u32 bb, u32 bc) { /* exponents too far apart for long double: skip */
    long double a = small_value(brain, ba), b = small_value(brain, bb), c = small_value(brain, bc);
    long double p = a * b;
    if (p != 0 && c != 0 && isfinite(p) && isfinite(c) && abs(ilogbl(p) - ilogbl(c)) > 40)
        return UINT32_MAX;
    return small_round(brain, p + c, 'n', false);
}
static u32 relu(u32 h) {
    return h & 0x8000 ? 0 : h;
}

static u32 reference_half(Words v, u32 op) {
    u32 h;
    float a = f(v.a), b = f(v.b);
    switch (op) {
    case 0: return pair_of(half_add, v);
    case 1: return pair_of(half_sub, v);
    case 2: return pair_of(half_mul, v);
    case 3: return pair_of(half_fma, v);
    case 4: return pair_of(half_fma_relu, v);
    case 5: return pair_of(half_min, v);
    case 6: return pair_of(half_max_nan, v);
    case 7: return pair_of(half_add_sat, v);
    case 8: {
        u32 low = brain_fma(v.a & 0xffff, v.b & 0xffff, v.c & 0xffff);
        u32 high = brain_fma(v.a >> 16, v.b >> 16, v.c >> 16);
        return low == UINT32_MAX || high == UINT32_MAX ? 0xdeadbeef : low | high << 16;
    }
    case 9: return pair_of(brain_max, v);
    case 10: return pair_of(brain_min_nan, v);
    case 11: return small_round(half, b, 'n', false) | small_round(half, a, 'n', false) << 16;
    case 12: return small_round(brain, b, 'n', false) | small_round(brain, a, 'n', false) << 16;
    case 13:
        return small_round(brain, b, 'z', isfinite(b)) | small_round(brain, a, 'z', isfinite(a))
                                                             << 16;
    case 14:
        return relu(small_round(half, b, 'n', false)) | relu(small_round(half, a, 'n', false))
                                                            << 16;
    case 15: return small_round(half, a, 'z', isfinite(a));
    case 16: return small_round(half, a, 'p', isfinite(a) && signbit(a));
    case 17: return u((float)small_value(half, v.a & 0xffff));
    case 18: /* tf32: 10 bits of mantissa, ties away */
        if (isnan(a)) return 0x7fffffff;
        return isinf(a) ? v.a : (v.a + 0x1000) & 0xffffe000;
    case 19: {
        double x = rint(small_value(half, v.a & 0xffff));
        return (uint16_t)(int16_t)(x != x ? 0 : x < -32768 ? -32768 : x > 32767 ? 32767 : x);
    }
    case 20: return small_round(half, (long double)(int32_t)v.a, 'n', false);
    case 21: {
        int x = (int)v.a;
        return (u32)(x < -128 ? -128 : x > 127 ? 127 : x);
    }
    case 22: {
        int x = (int)v.a;
        return x < 0 ? 0 : x > 65535 ? 65535 : (u32)x;
    }
    default: (void)h; ck_abort();
    }
}

static u32 reference_fp8(Words v, u32 op) {
    float a = f(v.a), b = f(v.b);
    switch (op) {
    case 0: return small_round(e4m3, b, 'n', true) | small_round(e4m3, a, 'n', true) << 8;
    case 1: return small_round(e5m2, b, 'n', true) | small_round(e5m2, a, 'n', true) << 8;
    case 2: {
        u32 low = small_round(e4m3, b, 'n', true), high = small_round(e4m3, a, 'n', true);
        return (low & 128 ? 0 : low) | (high & 128 ? 0 : high) << 8;
    }
    case 3:
        return small_round(half, small_value(e4m3, v.a & 255), 'n', false) |
               small_round(half, small_value(e4m3, v.a >> 8 & 255), 'n', false) << 16;
    case 4:
        return small_round(half, small_value(e5m2, v.a & 255), 'n', false) |
               small_round(half, small_value(e5m2, v.a >> 8 & 255), 'n', false) << 16;
    case 5:
        return small_round(e4m3, small_value(half, v.a & 0xffff), 'n', true) |
               small_round(e4m3, small_value(half, v.a >> 16), 'n', true) << 8;
    default: {
        u32 r = 0;
        for (int i = 0; i < 32; i += 16) {
            long double x = small_value(brain, v.a >> i & 0xffff);
            long double y = small_value(brain, v.b >> i & 0xffff);
            bool far = op == 6 && x != 0 && y != 0 && isfinite(x) && isfinite(y) &&
                       abs(ilogbl(x) - ilogbl(y)) > 50;
            if (far) return 0xdeadbeef;
            r |= small_round(brain, op == 6 ? x + y : x * y, 'n', false) << i;
        }
        return r;
    }
    }
}

/* ---- running --------------------------------------------------------------------------------- */

/* Corner cases first, in all combinations; then random ones. */
static void fill(uint64_t *state, bool small) {
    static const u32 corners[] = {0,          0x80000000, 1,          0xffffffff,
                                  0x7fffffff, 0x3f800000, 0xbf800000, 0x7f800000,
                                  0xff800000, 0x00800000, 0x007fffff, 0x7f7fffff};
    const u32 count = ARRAY_LENGTH(corners);
    for (u32 i = 0; i < N; i++) {
        u32 *to[] = {&in_a[i], &in_b[i], &in_c[i]};
        u32 index = i;
        for (int k = 0; k < 3; k++, index /= count) {
            uint64_t r = emu_test_random(state);
            *to[k] = i < count * count * count ? corners[index % count] : (u32)r;
            if (i % 5 == 4) *to[k] = (u32)r;
            if (i % 5 == 3) *to[k] = ((u32)r & 0x8fffffff) | 0x38000000; /* floats near 1 */
            if (small && i % 5 == 2) *to[k] = ((u32)r & 0x83ff83ff) | 0x3c003c00;
        }
    }
}

static void compare(const char *target, const char *kernel, u32 (*reference)(Words, u32), u32 ops,
                    int inputs) {
    Emu e;
    uint64_t state = emu_test_seed();
    fill(&state, true);
    memset(out, 0xcc, sizeof out);
    emu_test_fixture(&e, target);
    emu_test_array(&e, "a", in_a, sizeof in_a);
    emu_test_array(&e, "b", in_b, sizeof in_b);
    if (inputs == 3) emu_test_array(&e, "c", in_c, sizeof in_c);
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_int(&e, N);
    emu_test_run(&e, kernel, N / 128, 128);
    for (u32 op = 0; op < ops; op++)
        for (u32 i = 0; i < N; i++) {
            Words v = {in_a[i], in_b[i], in_c[i]};
            u32 wanted = reference(v, op);
            ck_assert_msg(out[op * N + i] == wanted || wanted == 0xdeadbeef,
                          "%s, operation %u of %08x %08x %08x: %08x, not %08x", kernel, op, v.a,
                          v.b, v.c, out[op * N + i], wanted);
        }
    emu_test_free(&e);
}

static u32 reference_float_bits(Words v, u32 op) {
    if ((op == 17 || op == 23) && f(v.a) != f(v.a)) return 0xdeadbeef; /* the sign of a NaN */
    return u(reference_float(v, op));
}

START_TEST(integers) {
    compare("arith.sm_80", "int_ops", reference_int, 51, 3);
}
END_TEST
START_TEST(floats) {
    compare("arith.sm_80", "float_ops", reference_float_bits, 41, 3);
}
END_TEST
START_TEST(halves) {
    compare("arith.sm_80", "half_ops", reference_half, 23, 3);
}
END_TEST
START_TEST(eight_bits) {
    compare("arith.sm_90a", "fp8_ops", reference_fp8, 8, 2);
}
END_TEST

/* Within the ISA's bounds; the emulator is nearly exact, so a relative 2^-20 will do. */
START_TEST(approximations) {
    Emu e;
    uint64_t state = emu_test_seed();
    float a[N], result[12 * N];
    for (u32 i = 0; i < N; i++)
        a[i] = (float)((double)(emu_test_random(&state) % 1000000) / 50000.0 + 1e-3);
    emu_test_fixture(&e, "arith.sm_80");
    emu_test_array(&e, "a", a, sizeof a);
    emu_test_array(&e, "out", result, sizeof result);
    emu_test_int(&e, N);
    emu_test_run(&e, "approx_ops", N / 128, 128);
    for (u32 i = 0; i < N; i++) {
        double x = (double)a[i];
        double exact[] = {exp2(x),     log2(x), sin(x), cos(x), 1 / x,  sqrt(x),
                          1 / sqrt(x), tanh(x), 1 / x,  exp(x), log(x), sin(x)};
        for (u32 op = 0; op < ARRAY_LENGTH(exact); op++) {
            double got = (double)result[op * N + i];
            double bound =
                0x1p-20 * fabs(exact[op]) + (op == 2 || op == 3 || op == 1 ? 0x1p-20 : 0x1p-22);
            ck_assert_msg(fabs(got - exact[op]) <= bound, "operation %u of %.9g: %.9g, not %.9g",
                          op, x, got, exact[op]);
        }
    }
    emu_test_free(&e);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_arith");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, integers);
    tcase_add_test(c, floats);
    tcase_add_test(c, halves);
    tcase_add_test(c, eight_bits);
    tcase_add_test(c, approximations);
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
