/* exec_cvt.c: conversions. The handful that kernels are full of are vector code; all others
 * take each lane through a 64-bit integer or an (exact or sticky) double. */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

#include <fenv.h>

#define LANE_LOOP for (int l = 0; l < LANES; l++)

static const Format format_f32 = {8, 23, true, 0x7fffffff, 0x7f7fffff};

/* ---- fast ones ------------------------------------------------------------------------------- */

#define CONVERT(name, from_bits, to_bits, expression)                                              \
    VECTOR_CODE static void name##_loop(uint##to_bits##_t *restrict out,                           \
                                        const uint##from_bits##_t *a) {                            \
        LANE_LOOP out[l] = expression;                                                             \
    }                                                                                              \
    static Step name(Warp *w, const Inst *in) {                                                    \
        uint##to_bits##_t out[LANES];                                                              \
        name##_loop(out, lanes##from_bits(w, in->r[1]));                                           \
        write##to_bits(w, in->r[0], out);                                                          \
        return STEP_NEXT;                                                                          \
    }
CONVERT(f32_of_f16, 32, 32, bits_of_float(f32_from_f16(a[l] & 0xffff)))
CONVERT(f32_of_bf16, 32, 32, canonical_f32(f32_from_bf16(a[l])))
CONVERT(f16_of_f32, 32, 32, f16_from_f32(float_of_bits(a[l])))
CONVERT(bf16_of_f32, 32, 32, bf16_from_f32(float_of_bits(a[l])))
CONVERT(f32_of_s32, 32, 32, bits_of_float((float)(int32_t)a[l]))
CONVERT(f32_of_u32, 32, 32, bits_of_float((float)a[l]))
CONVERT(s64_of_s32, 32, 64, (uint64_t)(int64_t)(int32_t)a[l])
CONVERT(u64_of_u32, 32, 64, a[l])
CONVERT(u32_of_u64, 64, 32, (uint32_t)a[l])
CONVERT(u32_of_u16, 32, 32, a[l] & 0xffff)
CONVERT(s32_of_s16, 32, 32, (uint32_t)(int16_t)a[l])
CONVERT(u16_of_u32, 32, 32, a[l] & 0xffff)
CONVERT(s32_of_s8, 32, 32, (uint32_t)(int8_t)a[l])
CONVERT(u8_of_u32, 32, 32, a[l] & 0xff)

#define PACK2(name, convert)                                                                       \
    VECTOR_CODE static void name##_loop(uint32_t *restrict out, const uint32_t *a,                 \
                                        const uint32_t *b) {                                       \
        LANE_LOOP out[l] = convert(float_of_bits(b[l])) | convert(float_of_bits(a[l])) << 16;      \
    }                                                                                              \
    static Step name(Warp *w, const Inst *in) {                                                    \
        uint32_t out[LANES];                                                                       \
        name##_loop(out, lanes32(w, in->r[1]), lanes32(w, in->r[2]));                              \
        write32(w, in->r[0], out);                                                                 \
        return STEP_NEXT;                                                                          \
    }
PACK2(f16x2_of_f32, f16_from_f32)
PACK2(bf16x2_of_f32, bf16_from_f32)

/* ---- the general way ------------------------------------------------------------------------- */

static const Format *format_of(PtxType type) {
    switch (type) {
    case TYPE_f16:
    case TYPE_f16x2: return &format_f16;
    case TYPE_bf16:
    case TYPE_bf16x2: return &format_bf16;
    case TYPE_e4m3:
    case TYPE_e4m3x2: return &format_e4m3;
    case TYPE_e5m2:
    case TYPE_e5m2x2: return &format_e5m2;
    case TYPE_tf32: return &format_tf32;
    case TYPE_f32: return &format_f32;
    default: return NULL;
    }
}

static Rounding rounding_of(Word word) {
    switch (word) {
    case WORD_rz:
    case WORD_rzi: return ROUND_ZERO;
    case WORD_rm:
    case WORD_rmi: return ROUND_DOWN;
    case WORD_rp:
    case WORD_rpi: return ROUND_UP;
    case WORD_rna: return ROUND_AWAY;
    default: return ROUND_NEAREST;
    }
}

static double round_integral(double x, Rounding mode) {
    switch (mode) {
    case ROUND_ZERO: return trunc(x);
    case ROUND_DOWN: return floor(x);
    case ROUND_UP: return ceil(x);
    default: return rint(x); /* the host rounds to nearest even */
    }
}

static double float_source(uint64_t bits, PtxType type) {
    if (type == TYPE_f64) return as_double(bits);
    if (type == TYPE_f32) return (double)as_float((uint32_t)bits);
    return number_decode(format_of(type),
                         (uint32_t)bits & ((1u << (ptx_types[type].bits % 32)) - 1));
}

/* Integers beyond 2^53 become doubles whose last bit says "and something more". */
static double sticky_double(uint64_t magnitude, bool negative) {
    double value;
    if (magnitude >> 53) {
        int shift = 11 - __builtin_clzll(magnitude);
        if (shift < 1) shift = 1;
        uint64_t kept = magnitude >> shift;
        if (magnitude & (((uint64_t)1 << shift) - 1)) kept |= 1;
        value = ldexp((double)kept, shift);
    } else {
        value = (double)magnitude;
    }
    return negative ? -value : value;
}

static uint64_t float_result(const Form *f, PtxType to, double value) {
    Word word = (Word)f->word[CATEGORY_ROUND];
    Rounding mode = rounding_of(word);
    if (form_has(f, F(relu)) && value <= 0) value = 0; /* NaN stays; -0 too becomes 0 */
    if (form_has(f, F(sat))) value = value > 0 ? (value < 1 ? value : 1) : 0;
    if (to == TYPE_f64) return double_bits(value);
    bool integral = word >= WORD_rni && word <= WORD_rpi;
    uint32_t bits = number_encode(format_of(to), value, integral ? ROUND_NEAREST : mode,
                                  form_has(f, F(satfinite)));
    if (to == TYPE_tf32) bits <<= 13;
    if (to == TYPE_tf32 && value != value) bits = 0x7fffffff;
    if (to == TYPE_f32 && form_has(f, F(ftz))) bits = float_bits(flush_f32(as_float(bits)));
    return bits;
}

static uint64_t integer_result(PtxType to, double value, PtxType from) {
    uint32_t bits = ptx_types[to].bits;
    bool sign = ptx_types[to].kind == TYPE_SIGNED;
    if (value != value) return bits == 64 || from == TYPE_f64 ? (uint64_t)1 << (bits - 1) : 0;
    double low = sign ? -ldexp(1, (int)bits - 1) : 0,
           high = ldexp(1, (int)(sign ? bits - 1 : bits));
    if (value <= low)
        return sign ? (uint64_t)INT64_MIN >> (64 - bits) | ~(uint64_t)0 << (bits - 1) : 0;
    if (value >= high) return sign ? UINT64_MAX >> (65 - bits) : UINT64_MAX >> (64 - bits);
    return sign ? (uint64_t)(int64_t)value : (uint64_t)value;
}

static uint64_t extend(uint64_t bits, PtxType type) {
    uint32_t width = ptx_types[type].bits;
    if (width >= 64) return bits;
    uint64_t low = bits & (((uint64_t)1 << width) - 1);
    bool negative = ptx_types[type].kind == TYPE_SIGNED && (low >> (width - 1) & 1);
    return negative ? low | UINT64_MAX << width : low;
}

static uint64_t integer_to_integer(const Form *f, PtxType to, uint64_t value, PtxType from) {
    uint32_t width = ptx_types[to].bits;
    bool from_sign = ptx_types[from].kind == TYPE_SIGNED, sign = ptx_types[to].kind == TYPE_SIGNED;
    if (form_has(f, F(sat))) {
        __int128 x = from_sign ? (__int128)(int64_t)value : (__int128)value;
        __int128 high = sign ? ((__int128)1 << (width - 1)) - 1 : ((__int128)1 << width) - 1;
        __int128 low = sign ? -((__int128)1 << (width - 1)) : 0;
        x = x < low ? low : x > high ? high : x;
        value = (uint64_t)x;
    }
    return extend(value, to);
}

static uint64_t convert_one(const Form *f, PtxType to, PtxType from, uint64_t bits) {
    bool from_float = ptx_types[from].kind == TYPE_FLOAT,
         to_float = ptx_types[to].kind == TYPE_FLOAT;
    Word word = (Word)f->word[CATEGORY_ROUND];
    if (!from_float) {
        uint64_t value = extend(bits, from);
        if (!to_float) return integer_to_integer(f, to, value, from);
        bool negative = ptx_types[from].kind == TYPE_SIGNED && (int64_t)value < 0;
        uint64_t magnitude = negative ? 0 - value : value;
        if (to == TYPE_f64 && magnitude >> 53) {
            static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD,
                                        FE_TONEAREST};
            int before = fegetround();
            fesetround(modes[rounding_of(word)]);
            volatile uint64_t source = value;
            volatile double result = negative ? (double)(int64_t)source : (double)source;
            fesetround(before);
            return double_bits(result);
        }
        return float_result(f, to, sticky_double(magnitude, negative));
    }
    double value = float_source(bits, from);
    if (form_has(f, F(ftz)) && from == TYPE_f32) value = (double)flush_f32((float)value);
    if (!to_float)
        return extend(integer_result(to, round_integral(value, rounding_of(word)), from), to);
    if (word >= WORD_rni && word <= WORD_rpi) value = round_integral(value, rounding_of(word));
    return float_result(f, to, value);
}

static bool is_pair(PtxType type) {
    return type == TYPE_f16x2 || type == TYPE_bf16x2 || type == TYPE_e4m3x2 || type == TYPE_e5m2x2;
}
static PtxType element_of(PtxType type) {
    switch (type) {
    case TYPE_f16x2: return TYPE_f16;
    case TYPE_bf16x2: return TYPE_bf16;
    case TYPE_e4m3x2: return TYPE_e4m3;
    case TYPE_e5m2x2: return TYPE_e5m2;
    default: return type;
    }
}

/* The width of a register slot: sources and results may lie in wider registers than their type. */
static Step convert_any(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType to = (PtxType)f->type[0], from = (PtxType)f->type[1];
    bool wide_to = ptx_types[to].bits == 64, wide_from = ptx_types[from].bits == 64;
    uint32_t out32[LANES] = {0};
    uint64_t out64[LANES] = {0};
    FOR_LANES(w->active, l) {
        uint64_t a = wide_from ? lanes64(w, in->r[1])[l] : lanes32(w, in->r[1])[l], result;
        if (is_pair(to)) {
            PtxType element = element_of(to);
            uint32_t width = ptx_types[element].bits;
            uint64_t low = a, high = a;
            if (is_pair(from)) {
                uint32_t part = ptx_types[from].bits / 2u;
                low = a & ((1u << part) - 1), high = a >> part & ((1u << part) - 1);
            } else {
                low = lanes32(w, in->r[2])[l];
            }
            result = convert_one(f, element, element_of(from), low) |
                     convert_one(f, element, element_of(from), high) << width;
        } else {
            result = convert_one(f, to, from, a & (wide_from ? UINT64_MAX : UINT32_MAX));
        }
        out32[l] = (uint32_t)result;
        out64[l] = result;
    }
    if (wide_to)
        write64(w, in->r[0], out64);
    else
        write32(w, in->r[0], out32);
    return STEP_NEXT;
}

typedef struct Fast {
    PtxType to, from;
    Word round;
    Run run;
} Fast;

static const Fast fast[] = {
    {TYPE_f32, TYPE_f16, WORD_none, f32_of_f16},   {TYPE_f32, TYPE_bf16, WORD_none, f32_of_bf16},
    {TYPE_f16, TYPE_f32, WORD_rn, f16_of_f32},     {TYPE_bf16, TYPE_f32, WORD_rn, bf16_of_f32},
    {TYPE_f16x2, TYPE_f32, WORD_rn, f16x2_of_f32}, {TYPE_bf16x2, TYPE_f32, WORD_rn, bf16x2_of_f32},
    {TYPE_f32, TYPE_s32, WORD_rn, f32_of_s32},     {TYPE_f32, TYPE_u32, WORD_rn, f32_of_u32},
    {TYPE_s64, TYPE_s32, WORD_none, s64_of_s32},   {TYPE_u64, TYPE_s32, WORD_none, s64_of_s32},
    {TYPE_u64, TYPE_u32, WORD_none, u64_of_u32},   {TYPE_s64, TYPE_u32, WORD_none, u64_of_u32},
    {TYPE_u32, TYPE_u64, WORD_none, u32_of_u64},   {TYPE_s32, TYPE_s64, WORD_none, u32_of_u64},
    {TYPE_u32, TYPE_s64, WORD_none, u32_of_u64},   {TYPE_s32, TYPE_u64, WORD_none, u32_of_u64},
};
/* These may find their operand in a register of another width than the type: only used when the
 * widths agree, which the loader cannot see; 16-bit and narrower types share one width. */
static const Fast narrow[] = {
    {TYPE_u32, TYPE_u16, WORD_none, u32_of_u16}, {TYPE_s32, TYPE_s16, WORD_none, s32_of_s16},
    {TYPE_s32, TYPE_u16, WORD_none, u32_of_u16}, {TYPE_u16, TYPE_u32, WORD_none, u16_of_u32},
    {TYPE_s32, TYPE_s8, WORD_none, s32_of_s8},   {TYPE_u8, TYPE_u32, WORD_none, u8_of_u32},
};

Run select_cvt(const Form *form) {
    if (form->type_count != 2) return NULL;
    PtxType to = (PtxType)form->type[0], from = (PtxType)form->type[1];
    Word round = (Word)form->word[CATEGORY_ROUND];
    bool from_float = ptx_types[from].kind == TYPE_FLOAT,
         to_float = ptx_types[to].kind == TYPE_FLOAT;
    if (ptx_types[to].kind == TYPE_BITS || ptx_types[from].kind == TYPE_BITS) return NULL;
    if (!form->flags) {
        for (const Fast *f = fast; f < fast + ARRAY_LENGTH(fast); f++)
            if (f->to == to && f->from == from && f->round == round) return f->run;
        for (const Fast *f = narrow; f < narrow + ARRAY_LENGTH(narrow); f++)
            if (f->to == to && f->from == from && f->round == round) return f->run;
    }
    bool integral = round >= WORD_rni && round <= WORD_rpi;
    if (from_float && !to_float && !integral) return NULL;
    if (!from_float && to_float && (!round || integral)) return NULL;
    if (is_pair(from) && !is_pair(to)) return NULL;
    if (is_pair(to) && !is_pair(from) && from != TYPE_f32) return NULL;
    if (to_float && !format_of(element_of(to)) && to != TYPE_f64) return NULL;
    if (from_float && !format_of(element_of(from)) && from != TYPE_f64) return NULL;
    return convert_any;
}
