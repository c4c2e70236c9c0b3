/* exec_int.c: integer arithmetic and logic. Narrow values are kept zero-extended. */
#include "runtime/emu/machine.h"

/* RUN(name, storage, width, type, expression of a b c): d = expression, all lanes. */
#define LANE_LOOP for (int l = 0; l < LANES; l++)
#define UNARY(name, W, T, R, expression)                                                           \
    static Step name(Warp *w, const Inst *in) {                                                    \
        const uint##W##_t *pa = lanes##W(w, in->r[1]);                                             \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP {                                                                                \
            T a = (T)pa[l];                                                                        \
            out[l] = (R)(expression);                                                              \
        }                                                                                          \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
#define BINARY(name, W, T, R, expression)                                                          \
    static Step name(Warp *w, const Inst *in) {                                                    \
        const uint##W##_t *pa = lanes##W(w, in->r[1]), *pb = lanes##W(w, in->r[2]);                \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP {                                                                                \
            T a = (T)pa[l], b = (T)pb[l];                                                          \
            out[l] = (R)(expression);                                                              \
        }                                                                                          \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
#define TERNARY(name, W, T, R, expression)                                                         \
    static Step name(Warp *w, const Inst *in) {                                                    \
        const uint##W##_t *pa = lanes##W(w, in->r[1]), *pb = lanes##W(w, in->r[2]),                \
                          *pc = lanes##W(w, in->r[3]);                                             \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP {                                                                                \
            T a = (T)pa[l], b = (T)pb[l], c = (T)pc[l];                                            \
            out[l] = (R)(expression);                                                              \
        }                                                                                          \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
/* The same for 16, 32 and 64 bits; `S` and `U` are the signed and unsigned type. */
#define EACH_SIGNED(MACRO, name, expression)                                                       \
    MACRO(name##_s16, 32, int16_t, uint16_t, expression)                                           \
    MACRO(name##_s32, 32, int32_t, uint32_t, expression)                                           \
    MACRO(name##_s64, 64, int64_t, uint64_t, expression)
#define EACH_UNSIGNED(MACRO, name, expression)                                                     \
    MACRO(name##_u16, 32, uint16_t, uint16_t, expression)                                          \
    MACRO(name##_u32, 32, uint32_t, uint32_t, expression)                                          \
    MACRO(name##_u64, 64, uint64_t, uint64_t, expression)

EACH_UNSIGNED(BINARY, add, a + b)
EACH_UNSIGNED(BINARY, sub, a - b)
EACH_UNSIGNED(BINARY, mul_lo, (uint64_t)a *b)
EACH_UNSIGNED(TERNARY, mad_lo, (uint64_t)a *b + c)
EACH_UNSIGNED(BINARY, and, a &b)
EACH_UNSIGNED(BINARY, or, a | b)
EACH_UNSIGNED(BINARY, xor, a ^ b)
EACH_UNSIGNED(UNARY, not, ~a)
EACH_UNSIGNED(UNARY, cnot, a == 0)
EACH_UNSIGNED(UNARY, neg, 0u - a)
EACH_SIGNED(UNARY, abs, a < 0 ? 0 - (uint64_t)a : (uint64_t)a)
EACH_SIGNED(BINARY, min, a < b ? a : b)
EACH_UNSIGNED(BINARY, min, a < b ? a : b)
EACH_SIGNED(BINARY, max, a > b ? a : b)
EACH_UNSIGNED(BINARY, max, a > b ? a : b)
EACH_UNSIGNED(BINARY, div, b ? a / b : UINT64_MAX)
EACH_UNSIGNED(BINARY, rem, b ? a % b : a)
EACH_SIGNED(BINARY, div, b == 0 ? -1 : b == -1 ? (int64_t)(0 - (uint64_t)a) : (int64_t)(a / b))
EACH_SIGNED(BINARY, rem, b == 0 ? a : b == -1 ? 0 : a % b)
EACH_SIGNED(TERNARY, sad,
            (a < b ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b) + (uint64_t)c)
EACH_UNSIGNED(TERNARY, sad, (a < b ? b - a : a - b) + c)

BINARY(mul_hi_s16, 32, int16_t, uint16_t, (a * b) >> 16)
BINARY(mul_hi_u16, 32, uint16_t, uint16_t, ((uint32_t)a * b) >> 16)
BINARY(mul_hi_s32, 32, int32_t, uint32_t, (int64_t)a *b >> 32)
BINARY(mul_hi_u32, 32, uint32_t, uint32_t, (uint64_t)a *b >> 32)
BINARY(mul_hi_s64, 64, int64_t, uint64_t, (__int128)a *b >> 64)
BINARY(mul_hi_u64, 64, uint64_t, uint64_t, (unsigned __int128)a *b >> 64)
TERNARY(mad_hi_s16, 32, int16_t, uint16_t, ((a * b) >> 16) + c)
TERNARY(mad_hi_u16, 32, uint16_t, uint16_t, (((uint32_t)a * b) >> 16) + c)
TERNARY(mad_hi_s32, 32, int32_t, uint32_t, (uint32_t)((int64_t)a *b >> 32) + (uint32_t)c)
TERNARY(mad_hi_u32, 32, uint32_t, uint32_t, (uint32_t)((uint64_t)a *b >> 32) + c)
TERNARY(mad_hi_s64, 64, int64_t, uint64_t, (uint64_t)((__int128)a *b >> 64) + (uint64_t)c)
TERNARY(mad_hi_u64, 64, uint64_t, uint64_t, (uint64_t)((unsigned __int128)a *b >> 64) + c)

static inline int32_t clamp_s32(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}
BINARY(add_sat, 32, int32_t, uint32_t, clamp_s32((int64_t)a + b))
BINARY(sub_sat, 32, int32_t, uint32_t, clamp_s32((int64_t)a - b))
TERNARY(mad_hi_sat, 32, int32_t, uint32_t, clamp_s32(((int64_t)a * b >> 32) + c))

/* pairs of 16-bit integers */
static inline uint32_t pair(uint32_t low, uint32_t high) {
    return (low & 0xffff) | high << 16;
}
#define LOW(x) ((int16_t)(x))
#define HIGH(x) ((int16_t)((x) >> 16))
#define SMALLER(x, y) ((x) < (y) ? (x) : (y))
#define LARGER(x, y) ((x) > (y) ? (x) : (y))
BINARY(add_x2, 32, uint32_t, uint32_t, pair(a + b, (a >> 16) + (b >> 16)))
BINARY(min_s16x2, 32, uint32_t, uint32_t,
       pair((uint16_t)SMALLER(LOW(a), LOW(b)), (uint16_t)SMALLER(HIGH(a), HIGH(b))))
BINARY(max_s16x2, 32, uint32_t, uint32_t,
       pair((uint16_t)LARGER(LOW(a), LOW(b)), (uint16_t)LARGER(HIGH(a), HIGH(b))))
BINARY(min_u16x2, 32, uint32_t, uint32_t,
       pair(SMALLER(a & 0xffff, b & 0xffff), SMALLER(a >> 16, b >> 16)))
BINARY(max_u16x2, 32, uint32_t, uint32_t,
       pair(LARGER(a & 0xffff, b & 0xffff), LARGER(a >> 16, b >> 16)))
static inline uint32_t at_least_0(uint32_t x) {
    return pair(LOW(x) < 0 ? 0 : x, HIGH(x) < 0 ? 0 : x >> 16);
}
BINARY(min_relu_s16x2, 32, uint32_t, uint32_t,
       at_least_0(pair((uint16_t)SMALLER(LOW(a), LOW(b)), (uint16_t)SMALLER(HIGH(a), HIGH(b)))))
BINARY(max_relu_s16x2, 32, uint32_t, uint32_t,
       at_least_0(pair((uint16_t)LARGER(LOW(a), LOW(b)), (uint16_t)LARGER(HIGH(a), HIGH(b)))))
BINARY(min_relu_s32, 32, int32_t, uint32_t, LARGER(SMALLER(a, b), 0))
BINARY(max_relu_s32, 32, int32_t, uint32_t, LARGER(LARGER(a, b), 0))

static inline int32_t low24(uint32_t x) {
    return (int32_t)(x << 8) >> 8;
}
BINARY(mul24_lo_s32, 32, uint32_t, uint32_t, (int64_t)low24(a) * low24(b))
BINARY(mul24_lo_u32, 32, uint32_t, uint32_t, (uint64_t)(a & 0xffffff) * (b & 0xffffff))
BINARY(mul24_hi_s32, 32, uint32_t, uint32_t, (int64_t)low24(a) * low24(b) >> 16)
BINARY(mul24_hi_u32, 32, uint32_t, uint32_t, (uint64_t)(a & 0xffffff) * (b & 0xffffff) >> 16)
TERNARY(mad24_lo_s32, 32, uint32_t, uint32_t, (uint64_t)((int64_t)low24(a) * low24(b)) + c)
TERNARY(mad24_lo_u32, 32, uint32_t, uint32_t, (uint64_t)(a & 0xffffff) * (b & 0xffffff) + c)
TERNARY(mad24_hi_s32, 32, uint32_t, uint32_t, (uint64_t)((int64_t)low24(a) * low24(b) >> 16) + c)
TERNARY(mad24_hi_u32, 32, uint32_t, uint32_t, ((uint64_t)(a & 0xffffff) * (b & 0xffffff) >> 16) + c)
TERNARY(mad24_hi_sat, 32, uint32_t, uint32_t,
        clamp_s32(((int64_t)low24(a) * low24(b) >> 16) + (int32_t)c))

/* ---- wide results ---------------------------------------------------------------------------- */

#define WIDE16(name, T, R)                                                                         \
    static Step mul_wide_##name(Warp *w, const Inst *in) {                                         \
        const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);                       \
        uint32_t out[LANES];                                                                       \
        LANE_LOOP out[l] = (uint32_t)((R)(T)a[l] * (R)(T)b[l]);                                    \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }                                                                                              \
    static Step mad_wide_##name(Warp *w, const Inst *in) {                                         \
        const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]),                       \
                       *c = lanes32(w, in->r[3]);                                                  \
        uint32_t out[LANES];                                                                       \
        LANE_LOOP out[l] = (uint32_t)((R)(T)a[l] * (R)(T)b[l]) + c[l];                             \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
#define WIDE32(name, T, R)                                                                         \
    static Step mul_wide_##name(Warp *w, const Inst *in) {                                         \
        const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);                       \
        uint64_t out[LANES];                                                                       \
        LANE_LOOP out[l] = (uint64_t)((R)(T)a[l] * (R)(T)b[l]);                                    \
        write64(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }                                                                                              \
    static Step mad_wide_##name(Warp *w, const Inst *in) {                                         \
        const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);                       \
        const uint64_t *c = lanes64(w, in->r[3]);                                                  \
        uint64_t out[LANES];                                                                       \
        LANE_LOOP out[l] = (uint64_t)((R)(T)a[l] * (R)(T)b[l]) + c[l];                             \
        write64(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
WIDE16(s16, int16_t, int32_t)
WIDE16(u16, uint16_t, uint32_t)
WIDE32(s32, int32_t, int64_t)
WIDE32(u32, uint32_t, uint64_t)

/* ---- shifts and bits ------------------------------------------------------------------------- */

#define SHIFT(name, W, T, R, expression)                                                           \
    static Step name(Warp *w, const Inst *in) {                                                    \
        const uint##W##_t *pa = lanes##W(w, in->r[1]);                                             \
        const uint32_t *pb = lanes32(w, in->r[2]);                                                 \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP {                                                                                \
            T a = (T)pa[l];                                                                        \
            uint32_t b = pb[l];                                                                    \
            out[l] = (R)(expression);                                                              \
        }                                                                                          \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
SHIFT(shl_16, 32, uint16_t, uint16_t, b > 15 ? 0 : (uint32_t)a << b)
SHIFT(shl_32, 32, uint32_t, uint32_t, b > 31 ? 0 : a << b)
SHIFT(shl_64, 64, uint64_t, uint64_t, b > 63 ? 0 : a << b)
SHIFT(shr_u16, 32, uint16_t, uint16_t, b > 15 ? 0 : a >> b)
SHIFT(shr_u32, 32, uint32_t, uint32_t, b > 31 ? 0 : a >> b)
SHIFT(shr_u64, 64, uint64_t, uint64_t, b > 63 ? 0 : a >> b)
SHIFT(shr_s16, 32, int16_t, uint16_t, a >> (b > 15 ? 15 : b))
SHIFT(shr_s32, 32, int32_t, uint32_t, a >> (b > 31 ? 31 : b))
SHIFT(shr_s64, 64, int64_t, uint64_t, a >> (b > 63 ? 63 : b))

static inline uint32_t keep_low(uint32_t count) {
    return count > 31 ? UINT32_MAX : ((uint32_t)1 << count) - 1;
}
SHIFT(szext_clamp_u32, 32, uint32_t, uint32_t, a &keep_low(b))
SHIFT(szext_wrap_u32, 32, uint32_t, uint32_t, a &keep_low(b & 31))
static inline uint32_t sign_extend(uint32_t a, uint32_t count) {
    return count == 0   ? 0
           : count > 31 ? a
                        : (uint32_t)((int32_t)(a << (32 - count)) >> (32 - count));
}
SHIFT(szext_clamp_s32, 32, uint32_t, uint32_t, sign_extend(a, b))
SHIFT(szext_wrap_s32, 32, uint32_t, uint32_t, sign_extend(a, b & 31))
BINARY(bmsk_clamp, 32, uint32_t, uint32_t, a > 31 ? 0 : keep_low(b) << a)
BINARY(bmsk_wrap, 32, uint32_t, uint32_t, keep_low(b & 31) << (a & 31))

static inline uint32_t funnel(uint32_t low, uint32_t high, uint32_t right) { /* 0..32 */
    return (uint32_t)(((uint64_t)high << 32 | low) >> right);
}
TERNARY(shf_l_wrap, 32, uint32_t, uint32_t, funnel(a, b, 32 - (c & 31)))
TERNARY(shf_l_clamp, 32, uint32_t, uint32_t, funnel(a, b, 32 - (c > 32 ? 32 : c)))
TERNARY(shf_r_wrap, 32, uint32_t, uint32_t, funnel(a, b, c & 31))
TERNARY(shf_r_clamp, 32, uint32_t, uint32_t, funnel(a, b, c > 32 ? 32 : c))

static inline uint32_t reverse32(uint32_t x) {
    x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
    x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(x);
}
UNARY(brev_32, 32, uint32_t, uint32_t, reverse32(a))
UNARY(brev_64, 64, uint64_t, uint64_t,
      (uint64_t)reverse32((uint32_t)a) << 32 | reverse32((uint32_t)(a >> 32)))

#define COUNT64(name, expression)                                                                  \
    static Step name(Warp *w, const Inst *in) {                                                    \
        const uint64_t *pa = lanes64(w, in->r[1]);                                                 \
        uint32_t out[LANES];                                                                       \
        LANE_LOOP {                                                                                \
            uint64_t a = pa[l];                                                                    \
            out[l] = (uint32_t)(expression);                                                       \
        }                                                                                          \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
UNARY(popc_32, 32, uint32_t, uint32_t, __builtin_popcount(a))
UNARY(clz_32, 32, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
COUNT64(popc_64, __builtin_popcountll(a))
COUNT64(clz_64, a ? __builtin_clzll(a) : 64)
/* The highest bit that differs from the sign; `shift` wants the distance from the top. */
static inline uint32_t find_bit(uint64_t x, uint32_t bits, bool shift) {
    if (!x) return UINT32_MAX;
    uint32_t at = 63 - (uint32_t)__builtin_clzll(x);
    return shift ? bits - 1 - at : at;
}
UNARY(bfind_u32, 32, uint32_t, uint32_t, find_bit(a, 32, false))
UNARY(bfind_s32, 32, uint32_t, uint32_t, find_bit((int32_t)a < 0 ? ~a : a, 32, false))
UNARY(bfind_shift_u32, 32, uint32_t, uint32_t, find_bit(a, 32, true))
UNARY(bfind_shift_s32, 32, uint32_t, uint32_t, find_bit((int32_t)a < 0 ? ~a : a, 32, true))
COUNT64(bfind_u64, find_bit(a, 64, false))
COUNT64(bfind_s64, find_bit((int64_t)a < 0 ? ~a : a, 64, false))
COUNT64(bfind_shift_u64, find_bit(a, 64, true))
COUNT64(bfind_shift_s64, find_bit((int64_t)a < 0 ? ~a : a, 64, true))

static uint64_t extract(uint64_t a, uint32_t at, uint32_t length, uint32_t bits, bool sign) {
    at &= 255, length &= 255;
    uint32_t last = at + length - 1 < bits - 1 ? at + length - 1 : bits - 1;
    bool fill = sign && length && (a >> last & 1);
    if (at >= bits) return fill ? UINT64_MAX : 0;
    uint64_t value = a >> at;
    uint32_t have = length < bits - at ? length : bits - at;
    if (have < 64) value &= ((uint64_t)1 << have) - 1;
    if (fill && have < 64) value |= UINT64_MAX << have;
    return length ? value : 0;
}
static uint64_t insert(uint64_t a, uint64_t b, uint32_t at, uint32_t length, uint32_t bits) {
    at &= 255, length &= 255;
    if (at >= bits || !length) return b;
    uint64_t field = (length >= 64 ? UINT64_MAX : ((uint64_t)1 << length) - 1) << at;
    return (b & ~field) | (a << at & field);
}
#define FIELD(name, W, sign)                                                                       \
    static Step bfe_##name(Warp *w, const Inst *in) {                                              \
        const uint##W##_t *a = lanes##W(w, in->r[1]);                                              \
        const uint32_t *b = lanes32(w, in->r[2]), *c = lanes32(w, in->r[3]);                       \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP out[l] = (uint##W##_t)extract(a[l], b[l], c[l], W, sign);                        \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
FIELD(u32, 32, false)
FIELD(s32, 32, true)
FIELD(u64, 64, false)
FIELD(s64, 64, true)
#define INSERT(name, W)                                                                            \
    static Step bfi_##name(Warp *w, const Inst *in) {                                              \
        const uint##W##_t *a = lanes##W(w, in->r[1]), *b = lanes##W(w, in->r[2]);                  \
        const uint32_t *c = lanes32(w, in->r[3]), *d = lanes32(w, in->refs[4]);                    \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP out[l] = (uint##W##_t)insert(a[l], b[l], c[l], d[l], W);                         \
        write##W(w, in->r[0], out);                                                                \
        return STEP_NEXT;                                                                          \
    }
INSERT(32, 32)
INSERT(64, 64)

static uint32_t find_nth(uint32_t mask, uint32_t base, int32_t offset) {
    if (base > 31) return UINT32_MAX;
    if (offset == 0) return mask >> base & 1 ? base : UINT32_MAX;
    int32_t step = offset > 0 ? 1 : -1, count = offset > 0 ? offset : -offset;
    for (int32_t i = (int32_t)base; i >= 0 && i < 32; i += step)
        if ((mask >> i & 1) && --count == 0) return (uint32_t)i;
    return UINT32_MAX;
}
TERNARY(fns, 32, uint32_t, uint32_t, find_nth(a, b, c == 0x80000000u ? 0 : (int32_t)c))

/* ---- lop3, prmt, dot products ---------------------------------------------------------------- */

static Step lop3(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]), *c = lanes32(w, in->r[3]);
    uint32_t out[LANES] = {0};
    for (uint32_t row = 0; row < 8; row++) {
        if (!(in->imm >> row & 1)) continue;
        uint32_t fa = row & 4 ? 0 : UINT32_MAX, fb = row & 2 ? 0 : UINT32_MAX,
                 fc = row & 1 ? 0 : UINT32_MAX;
        LANE_LOOP out[l] |= (a[l] ^ fa) & (b[l] ^ fb) & (c[l] ^ fc);
    }
    if (in->ref_count > 4) {
        Mask nonzero = 0, q = operand_predicate(w, in, in->refs[5], 8);
        LANE_LOOP nonzero |= (Mask)(out[l] != 0) << l;
        Word op = (Word)in->form->word[CATEGORY_OPERATION];
        write_predicate(w, in->refs[4],
                        op == WORD_and  ? nonzero & q
                        : op == WORD_or ? nonzero | q
                                        : nonzero ^ q);
    }
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

static inline uint32_t pick_byte(uint64_t bytes, uint32_t selector) {
    uint32_t byte = (uint32_t)(bytes >> (8 * (selector & 7))) & 255;
    return selector & 8 ? (byte & 128 ? 255 : 0) : byte;
}
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t c) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    return pick_byte(bytes, c) | pick_byte(bytes, c >> 4) << 8 | pick_byte(bytes, c >> 8) << 16 |
           pick_byte(bytes, c >> 12) << 24;
}
static uint32_t permute_mode(uint32_t a, uint32_t b, uint32_t c, Word mode) {
    uint32_t s = c & 3, selector = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t pick = 0;
        switch (mode) {
        case WORD_f4e: pick = s + i; break;
        case WORD_b4e: pick = (s - i) & 7; break;
        case WORD_rc8: pick = s; break;
        case WORD_ecl: pick = i > s ? i : s; break;
        case WORD_ecr: pick = i < s ? i : s; break;
        default: pick = (s & 1) * 2 + (i & 1); break; /* rc16 */
        }
        selector |= pick << (4 * i);
    }
    return permute(a, b, selector);
}
TERNARY(prmt, 32, uint32_t, uint32_t, permute(a, b, c))
TERNARY(prmt_mode, 32, uint32_t, uint32_t,
        permute_mode(a, b, c, (Word)in->form->word[CATEGORY_MODE]))

#define BYTE(T, x, i) ((int32_t)(T)((x) >> (8 * (i))))
#define HALF(T, x, i) ((int32_t)(T)((x) >> (16 * (i))))
#define DOT4(TA, TB)                                                                               \
    (c + (uint32_t)(BYTE(TA, a, 0) * BYTE(TB, b, 0) + BYTE(TA, a, 1) * BYTE(TB, b, 1) +            \
                    BYTE(TA, a, 2) * BYTE(TB, b, 2) + BYTE(TA, a, 3) * BYTE(TB, b, 3)))
#define DOT2(TA, TB, i)                                                                            \
    (c + (uint32_t)(HALF(TA, a, 0) * BYTE(TB, b, i)) +                                             \
     (uint32_t)(HALF(TA, a, 1) * BYTE(TB, b, (i) + 1)))
TERNARY(dp4a_ss, 32, uint32_t, uint32_t, DOT4(int8_t, int8_t))
TERNARY(dp4a_su, 32, uint32_t, uint32_t, DOT4(int8_t, uint8_t))
TERNARY(dp4a_us, 32, uint32_t, uint32_t, DOT4(uint8_t, int8_t))
TERNARY(dp4a_uu, 32, uint32_t, uint32_t, DOT4(uint8_t, uint8_t))
TERNARY(dp2a_lo_ss, 32, uint32_t, uint32_t, DOT2(int16_t, int8_t, 0))
TERNARY(dp2a_lo_su, 32, uint32_t, uint32_t, DOT2(int16_t, uint8_t, 0))
TERNARY(dp2a_lo_us, 32, uint32_t, uint32_t, DOT2(uint16_t, int8_t, 0))
TERNARY(dp2a_lo_uu, 32, uint32_t, uint32_t, DOT2(uint16_t, uint8_t, 0))
TERNARY(dp2a_hi_ss, 32, uint32_t, uint32_t, DOT2(int16_t, int8_t, 2))
TERNARY(dp2a_hi_su, 32, uint32_t, uint32_t, DOT2(int16_t, uint8_t, 2))
TERNARY(dp2a_hi_us, 32, uint32_t, uint32_t, DOT2(uint16_t, int8_t, 2))
TERNARY(dp2a_hi_uu, 32, uint32_t, uint32_t, DOT2(uint16_t, uint8_t, 2))

/* ---- carry chains ---------------------------------------------------------------------------- */

/* d = x + y + carry-in, where x is a, or a part of a * b; subtraction adds the complement. */
static Step carry_chain(Warp *w, const Inst *in) {
    const Form *f = in->form;
    bool wide = ptx_types[f->type[0]].bits == 64;
    bool product = f->op == OP_mad || f->op == OP_madc;
    bool subtract = f->op == OP_sub || f->op == OP_subc;
    bool takes = f->op == OP_addc || f->op == OP_subc || f->op == OP_madc;
    bool sign = ptx_types[f->type[0]].kind == TYPE_SIGNED;
    uint64_t out[LANES];
    uint32_t out32[LANES];
    Mask carry = 0;
    for (int l = 0; l < LANES; l++) {
        uint64_t v[3] = {0};
        for (uint32_t i = 0; i < (product ? 3u : 2u); i++)
            v[i] = wide ? lanes64(w, in->r[1 + i])[l] : lanes32(w, in->r[1 + i])[l];
        uint64_t x = v[0], y = product ? v[2] : v[1];
        if (product) {
            unsigned __int128 p =
                sign && !wide
                    ? (unsigned __int128)(uint64_t)((int64_t)(int32_t)v[0] * (int32_t)v[1])
                : sign ? (unsigned __int128)((__int128)(int64_t)v[0] * (int64_t)v[1])
                       : (unsigned __int128)v[0] * v[1];
            x = form_has(f, F(hi)) ? (uint64_t)(p >> (wide ? 64 : 32)) : (uint64_t)p;
            if (!wide) x = (uint32_t)x;
        }
        if (subtract) y = wide ? ~y : (uint32_t)~y;
        uint64_t carry_in = takes ? (w->carry >> l & 1) : subtract;
        unsigned __int128 sum = (unsigned __int128)x + y + carry_in;
        out[l] = (uint64_t)sum;
        out32[l] = (uint32_t)sum;
        carry |= (Mask)((sum >> (wide ? 64 : 32)) & 1) << l;
    }
    if (form_has(f, F(cc))) w->carry = (w->carry & ~w->active) | (carry & w->active);
    if (wide)
        write64(w, in->r[0], out);
    else
        write32(w, in->r[0], out32);
    return STEP_NEXT;
}

/* ---- tables ---------------------------------------------------------------------------------- */

typedef struct Entry {
    Opcode op;
    uint64_t flags; /* of hi, lo, wide, sat, shiftamt */
    PtxType type, other;
    Run run;
} Entry;

#define SIGNED3(op, flags, name)                                                                   \
    {OP_##op, flags, TYPE_s16, 0, name##_s16}, {OP_##op, flags, TYPE_s32, 0, name##_s32},          \
        {OP_##op, flags, TYPE_s64, 0, name##_s64},
#define UNSIGNED3(op, flags, name)                                                                 \
    {OP_##op, flags, TYPE_u16, 0, name##_u16}, {OP_##op, flags, TYPE_u32, 0, name##_u32},          \
        {OP_##op, flags, TYPE_u64, 0, name##_u64},
#define ANY3(op, flags, name)                                                                      \
    {OP_##op, flags, TYPE_b16, 0, name##_u16}, {OP_##op, flags, TYPE_b32, 0, name##_u32},          \
        {OP_##op, flags, TYPE_b64, 0, name##_u64},
#define WRAP3(op, flags, name)                                                                     \
    {OP_##op, flags, TYPE_s16, 0, name##_u16}, {OP_##op, flags, TYPE_s32, 0, name##_u32},          \
        {OP_##op, flags, TYPE_s64, 0, name##_u64}, UNSIGNED3(op, flags, name)
#define DOT(op, flags, name)                                                                       \
    {OP_##op, flags, TYPE_s32, TYPE_s32, name##_ss},                                               \
        {OP_##op, flags, TYPE_s32, TYPE_u32, name##_su},                                           \
        {OP_##op, flags, TYPE_u32, TYPE_s32, name##_us},                                           \
        {OP_##op, flags, TYPE_u32, TYPE_u32, name##_uu},

static const Entry entries[] = {
    WRAP3(add, 0, add) WRAP3(sub, 0, sub){OP_add, F(sat), TYPE_s32, 0, add_sat},
    {OP_sub, F(sat), TYPE_s32, 0, sub_sat},
    {OP_add, 0, TYPE_s16x2, 0, add_x2},
    {OP_add, 0, TYPE_u16x2, 0, add_x2},
    WRAP3(mul, F(lo), mul_lo) SIGNED3(mul, F(hi), mul_hi)
        UNSIGNED3(mul, F(hi), mul_hi){OP_mul, F(wide), TYPE_s16, 0, mul_wide_s16},
    {OP_mul, F(wide), TYPE_u16, 0, mul_wide_u16},
    {OP_mul, F(wide), TYPE_s32, 0, mul_wide_s32},
    {OP_mul, F(wide), TYPE_u32, 0, mul_wide_u32},
    WRAP3(mad, F(lo), mad_lo) SIGNED3(mad, F(hi), mad_hi)
        UNSIGNED3(mad, F(hi), mad_hi){OP_mad, F(hi) | F(sat), TYPE_s32, 0, mad_hi_sat},
    {OP_mad, F(wide), TYPE_s16, 0, mad_wide_s16},
    {OP_mad, F(wide), TYPE_u16, 0, mad_wide_u16},
    {OP_mad, F(wide), TYPE_s32, 0, mad_wide_s32},
    {OP_mad, F(wide), TYPE_u32, 0, mad_wide_u32},
    {OP_mul24, F(lo), TYPE_s32, 0, mul24_lo_s32},
    {OP_mul24, F(lo), TYPE_u32, 0, mul24_lo_u32},
    {OP_mul24, F(hi), TYPE_s32, 0, mul24_hi_s32},
    {OP_mul24, F(hi), TYPE_u32, 0, mul24_hi_u32},
    {OP_mad24, F(lo), TYPE_s32, 0, mad24_lo_s32},
    {OP_mad24, F(lo), TYPE_u32, 0, mad24_lo_u32},
    {OP_mad24, F(hi), TYPE_s32, 0, mad24_hi_s32},
    {OP_mad24, F(hi), TYPE_u32, 0, mad24_hi_u32},
    {OP_mad24, F(hi) | F(sat), TYPE_s32, 0, mad24_hi_sat},
    SIGNED3(div, 0, div) UNSIGNED3(div, 0, div) SIGNED3(rem, 0, rem) UNSIGNED3(rem, 0, rem)
        SIGNED3(abs, 0, abs){OP_neg, 0, TYPE_s16, 0, neg_u16},
    {OP_neg, 0, TYPE_s32, 0, neg_u32},
    {OP_neg, 0, TYPE_s64, 0, neg_u64},
    SIGNED3(min, 0, min) UNSIGNED3(min, 0, min) SIGNED3(max, 0, max)
        UNSIGNED3(max, 0, max){OP_min, 0, TYPE_s16x2, 0, min_s16x2},
    {OP_max, 0, TYPE_s16x2, 0, max_s16x2},
    {OP_min, 0, TYPE_u16x2, 0, min_u16x2},
    {OP_max, 0, TYPE_u16x2, 0, max_u16x2},
    {OP_min, F(relu), TYPE_s16x2, 0, min_relu_s16x2},
    {OP_max, F(relu), TYPE_s16x2, 0, max_relu_s16x2},
    {OP_min, F(relu), TYPE_s32, 0, min_relu_s32},
    {OP_max, F(relu), TYPE_s32, 0, max_relu_s32},
    SIGNED3(sad, 0, sad) UNSIGNED3(sad, 0, sad) ANY3(and, 0, and) ANY3(or, 0, or) ANY3(xor, 0, xor)
        ANY3(not, 0, not ) ANY3(cnot, 0, cnot){OP_lop3, 0, TYPE_b32, 0, lop3},
    {OP_shl, 0, TYPE_b16, 0, shl_16},
    {OP_shl, 0, TYPE_b32, 0, shl_32},
    {OP_shl, 0, TYPE_b64, 0, shl_64},
    {OP_shr, 0, TYPE_b16, 0, shr_u16},
    {OP_shr, 0, TYPE_b32, 0, shr_u32},
    {OP_shr, 0, TYPE_b64, 0, shr_u64},
    SIGNED3(shr, 0, shr) UNSIGNED3(shr, 0, shr){OP_bfe, 0, TYPE_u32, 0, bfe_u32},
    {OP_bfe, 0, TYPE_s32, 0, bfe_s32},
    {OP_bfe, 0, TYPE_u64, 0, bfe_u64},
    {OP_bfe, 0, TYPE_s64, 0, bfe_s64},
    {OP_bfi, 0, TYPE_b32, 0, bfi_32},
    {OP_bfi, 0, TYPE_b64, 0, bfi_64},
    {OP_bfind, 0, TYPE_u32, 0, bfind_u32},
    {OP_bfind, 0, TYPE_s32, 0, bfind_s32},
    {OP_bfind, 0, TYPE_u64, 0, bfind_u64},
    {OP_bfind, 0, TYPE_s64, 0, bfind_s64},
    {OP_bfind, F(shiftamt), TYPE_u32, 0, bfind_shift_u32},
    {OP_bfind, F(shiftamt), TYPE_s32, 0, bfind_shift_s32},
    {OP_bfind, F(shiftamt), TYPE_u64, 0, bfind_shift_u64},
    {OP_bfind, F(shiftamt), TYPE_s64, 0, bfind_shift_s64},
    {OP_brev, 0, TYPE_b32, 0, brev_32},
    {OP_brev, 0, TYPE_b64, 0, brev_64},
    {OP_popc, 0, TYPE_b32, 0, popc_32},
    {OP_popc, 0, TYPE_b64, 0, popc_64},
    {OP_clz, 0, TYPE_b32, 0, clz_32},
    {OP_clz, 0, TYPE_b64, 0, clz_64},
    {OP_fns, 0, TYPE_b32, 0, fns},
    DOT(dp4a, 0, dp4a) DOT(dp2a, F(lo), dp2a_lo) DOT(dp2a, F(hi), dp2a_hi)};

static Mask logic(Opcode op, Mask a, Mask b) {
    return op == OP_and ? a & b : op == OP_or ? a | b : a ^ b;
}
static Step logic_predicate(Warp *w, const Inst *in) {
    write_predicate(w, in->r[0],
                    logic(in->form->op, predicate_of(w, in->r[1]), predicate_of(w, in->r[2])));
    return STEP_NEXT;
}
static Step not_predicate(Warp *w, const Inst *in) {
    write_predicate(w, in->r[0], ~predicate_of(w, in->r[1]));
    return STEP_NEXT;
}

Run select_int(const Form *form) {
    PtxType type = (PtxType)form->type[0];
    bool wrap = form->word[CATEGORY_MODE] == WORD_wrap;
    bool word = type == TYPE_u32 || type == TYPE_s32 || type == TYPE_u64 || type == TYPE_s64;
    if (form->type_count > 2 ||
        (form->op != OP_dp4a && form->op != OP_dp2a && form->type_count != 1))
        return NULL;
    switch (form->op) {
    case OP_addc:
    case OP_subc:
    case OP_madc: return word ? carry_chain : NULL;
    case OP_and:
    case OP_or:
    case OP_xor:
        if (type == TYPE_pred) return logic_predicate;
        break;
    case OP_not:
        if (type == TYPE_pred) return not_predicate;
        break;
    case OP_shf_l: return type != TYPE_b32 ? NULL : wrap ? shf_l_wrap : shf_l_clamp;
    case OP_shf_r: return type != TYPE_b32 ? NULL : wrap ? shf_r_wrap : shf_r_clamp;
    case OP_szext:
        if (type == TYPE_u32) return wrap ? szext_wrap_u32 : szext_clamp_u32;
        return type != TYPE_s32 ? NULL : wrap ? szext_wrap_s32 : szext_clamp_s32;
    case OP_bmsk: return type != TYPE_b32 ? NULL : wrap ? bmsk_wrap : bmsk_clamp;
    case OP_prmt: return type != TYPE_b32 ? NULL : form->word[CATEGORY_MODE] ? prmt_mode : prmt;
    default: break;
    }
    if (form_has(form, F(cc))) return word ? carry_chain : NULL;
    for (const Entry *e = entries; e < entries + ARRAY_LENGTH(entries); e++)
        if (e->op == form->op && e->type == type && e->flags == form->flags &&
            (!e->other || e->other == form->type[1]))
            return e->run;
    return NULL;
}

Run select_arithmetic(const Form *form) {
    return ptx_types[form->type[0]].kind == TYPE_FLOAT ? select_float(form) : select_int(form);
}
