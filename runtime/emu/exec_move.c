/* exec_move.c: moving, comparing and selecting. */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

#include <time.h>

#define LANE_LOOP for (int l = 0; l < LANES; l++)

/* ---- mov ------------------------------------------------------------------------------------- */

static uint64_t frame_base(const Warp *w, const Inst *in) {
    return in->flags & INST_FRAME ? w->now->frame->local_base : 0;
}

static Step mov_32(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]);
    if (!(in->flags & INST_FRAME)) {
        write32(w, in->r[0], a);
        return STEP_NEXT;
    }
    uint32_t out[LANES];
    LANE_LOOP out[l] = a[l] + (uint32_t)frame_base(w, in);
    write32(w, in->r[0], out);
    return STEP_NEXT;
}
static Step mov_64(Warp *w, const Inst *in) {
    const uint64_t *a = lanes64(w, in->r[1]);
    if (!(in->flags & INST_FRAME)) {
        write64(w, in->r[0], a);
        return STEP_NEXT;
    }
    uint64_t out[LANES];
    LANE_LOOP out[l] = a[l] + frame_base(w, in);
    write64(w, in->r[0], out);
    return STEP_NEXT;
}
static Step mov_128(Warp *w, const Inst *in) {
    const uint8_t *a = lanes_of(w, in->r[1]);
    uint8_t *d = lanes_out(w, in->r[0]);
    FOR_LANES(w->active, l) memcpy(d + 16 * l, a + 16 * l, 16);
    return STEP_NEXT;
}
static Step mov_predicate(Warp *w, const Inst *in) {
    write_predicate(w, in->r[0], operand_predicate(w, in, in->r[1], 8));
    return STEP_NEXT;
}

static Step pack_2x16(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);
    uint32_t out[LANES];
    LANE_LOOP out[l] = (a[l] & 0xffff) | b[l] << 16;
    write32(w, in->r[0], out);
    return STEP_NEXT;
}
static Step unpack_2x16(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[2]);
    uint32_t low[LANES], high[LANES];
    LANE_LOOP low[l] = a[l] & 0xffff, high[l] = a[l] >> 16;
    write32(w, in->r[0], low);
    write32(w, in->r[1], high);
    return STEP_NEXT;
}
static Step pack_2x32(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);
    uint64_t out[LANES];
    LANE_LOOP out[l] = a[l] | (uint64_t)b[l] << 32;
    write64(w, in->r[0], out);
    return STEP_NEXT;
}
static Step unpack_2x32(Warp *w, const Inst *in) {
    const uint64_t *a = lanes64(w, in->r[2]);
    uint32_t low[LANES], high[LANES];
    LANE_LOOP low[l] = (uint32_t)a[l], high[l] = (uint32_t)(a[l] >> 32);
    write32(w, in->r[0], low);
    write32(w, in->r[1], high);
    return STEP_NEXT;
}

/* Any other split: bytes of each lane are copied about. The whole comes first or last. */
static uint32_t slot_bytes(uint32_t bytes) {
    return bytes < 4 ? 4 : bytes;
}
static void pack_bytes(Warp *w, const Inst *in, uint32_t parts, uint32_t whole, bool pack) {
    uint32_t part = whole / parts, slot = slot_bytes(part), slot_whole = slot_bytes(whole);
    Ref whole_ref = pack ? in->refs[0] : in->refs[parts];
    uint8_t *all = lanes_out(w, whole_ref);
    uint8_t copy[16 * LANES];
    memcpy(copy, all, slot_whole * LANES);
    for (uint32_t i = 0; i < parts; i++) {
        uint8_t *one = lanes_out(w, in->refs[pack ? i + 1 : i]);
        FOR_LANES(w->active, l) {
            uint8_t *inside = copy + slot_whole * (uint32_t)l + part * i;
            if (pack) {
                memcpy(inside, one + slot * (uint32_t)l, part);
            } else {
                memset(one + slot * (uint32_t)l, 0, slot);
                memcpy(one + slot * (uint32_t)l, inside, part);
            }
        }
    }
    if (!pack) return;
    FOR_LANES(w->active, l)
    memcpy(all + slot_whole * (uint32_t)l, copy + slot_whole * (uint32_t)l, slot_whole);
}
static Step pack_4(Warp *w, const Inst *in) {
    pack_bytes(w, in, in->ref_count - 1u, ptx_types[in->form->type[0]].bits / 8u, true);
    return STEP_NEXT;
}
static Step unpack_4(Warp *w, const Inst *in) {
    pack_bytes(w, in, in->ref_count - 1u, ptx_types[in->form->type[0]].bits / 8u, false);
    return STEP_NEXT;
}

Run select_mov(uint32_t bits, uint32_t destinations, uint32_t sources) {
    if (destinations == 1 && sources == 1)
        return bits == 1 ? mov_predicate : bits <= 32 ? mov_32 : bits == 64 ? mov_64 : mov_128;
    bool pack = destinations == 1;
    uint32_t parts = pack ? sources : destinations;
    if (parts == 2 && bits == 32) return pack ? pack_2x16 : unpack_2x16;
    if (parts == 2 && bits == 64) return pack ? pack_2x32 : unpack_2x32;
    return pack ? pack_4 : unpack_4;
}

static Step mov_clock(Warp *w, const Inst *in) {
    uint32_t special = (in->r[1] & 0x3fffffff) / SPECIAL_BYTES;
    uint64_t value = w->cluster->executed;
    if (special >= SPECIAL_globaltimer) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        value = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    if (special == SPECIAL_clock_hi || special == SPECIAL_globaltimer_hi) value >>= 32;
    uint32_t out32[LANES];
    uint64_t out64[LANES];
    LANE_LOOP out32[l] = (uint32_t)value, out64[l] = value;
    if (special == SPECIAL_clock64 || special == SPECIAL_globaltimer)
        write64(w, in->r[0], out64);
    else
        write32(w, in->r[0], out32);
    return STEP_NEXT;
}
Run select_mov_dynamic(Special special) {
    (void)special;
    return mov_clock;
}

/* ---- selp and addresses ---------------------------------------------------------------------- */

static Step selp_32(Warp *w, const Inst *in) {
    const uint32_t *a = lanes32(w, in->r[1]), *b = lanes32(w, in->r[2]);
    Mask p = operand_predicate(w, in, in->r[3], 8);
    uint32_t out[LANES];
    LANE_LOOP out[l] = p >> l & 1 ? a[l] : b[l];
    write32(w, in->r[0], out);
    return STEP_NEXT;
}
static Step selp_64(Warp *w, const Inst *in) {
    const uint64_t *a = lanes64(w, in->r[1]), *b = lanes64(w, in->r[2]);
    Mask p = operand_predicate(w, in, in->r[3], 8);
    uint64_t out[LANES];
    LANE_LOOP out[l] = p >> l & 1 ? a[l] : b[l];
    write64(w, in->r[0], out);
    return STEP_NEXT;
}

static uint64_t window_of(PtxSpace space) {
    switch (space) {
    case SPACE_SHARED:
    case SPACE_CLUSTER: return SHARED_WINDOW;
    case SPACE_LOCAL: return LOCAL_WINDOW;
    case SPACE_PARAM: return PARAM_WINDOW;
    default: return 0;
    }
}

static Step cvta(Warp *w, const Inst *in) {
    const Form *f = in->form;
    uint64_t window = window_of(form_space(f, 0));
    bool wide = ptx_types[f->type[0]].bits == 64;
    if (!wide) return fault(w, in, EMU_UNSUPPORTED, -1, 0, "32-bit generic addresses");
    const uint64_t *a = lanes64(w, in->r[1]);
    uint64_t out[LANES], base = frame_base(w, in);
    if (in->flags & INST_FRAME) window = LOCAL_WINDOW;
    LANE_LOOP out[l] = form_has(f, F(to)) ? a[l] - window : a[l] + window + base;
    write64(w, in->r[0], out);
    return STEP_NEXT;
}

static Step isspacep(Warp *w, const Inst *in) {
    const uint64_t *a = lanes64(w, in->r[1]);
    PtxSpace wanted = form_space(in->form, 0);
    bool own = in->form->space[0] == WORD_shared_cta || in->form->space[0] == WORD_shared;
    Mask result = 0;
    LANE_LOOP {
        uint64_t address = a[l];
        PtxSpace space = resolve_space(SPACE_GENERIC, &address);
        bool yes = space == wanted || (wanted == SPACE_CLUSTER && space == SPACE_SHARED);
        if (own && space == SPACE_SHARED && address >> CLUSTER_SHIFT &&
            (address >> CLUSTER_SHIFT) - 1 != w->cta->rank)
            yes = false;
        if (wanted == SPACE_CONST)
            yes = a[l] >= w->machine->constants.address &&
                  a[l] - w->machine->constants.address < w->machine->constants.size;
        result |= (Mask)yes << l;
    }
    write_predicate(w, in->r[0], result);
    return STEP_NEXT;
}

/* The same variable in the shared memory of CTA b of the cluster. */
static Step mapa(Warp *w, const Inst *in) {
    bool wide = ptx_types[in->form->type[0]].bits == 64;
    bool shared = in->form->space_count != 0;
    uint64_t out[LANES] = {0};
    uint32_t out32[LANES] = {0};
    const uint32_t *rank = lanes32(w, in->r[2]);
    FOR_LANES(w->active, l) {
        uint64_t a = wide ? lanes64(w, in->r[1])[l] : lanes32(w, in->r[1])[l];
        if (rank[l] >= w->cluster->cta_count)
            return fault(w, in, EMU_OUT_OF_BOUNDS, l, a, "mapa asks for CTA %u of a cluster of %u",
                         rank[l], w->cluster->cta_count);
        uint64_t window = shared ? 0 : SHARED_WINDOW;
        out[l] = ((a - window) & ((1u << CLUSTER_SHIFT) - 1)) + window +
                 ((uint64_t)(rank[l] + 1) << CLUSTER_SHIFT);
        out32[l] = (uint32_t)out[l];
    }
    if (wide)
        write64(w, in->r[0], out);
    else
        write32(w, in->r[0], out32);
    return STEP_NEXT;
}

static Step getctarank(Warp *w, const Inst *in) {
    bool wide = ptx_types[in->form->type[0]].bits == 64;
    uint32_t out[LANES];
    LANE_LOOP {
        uint64_t a = wide ? lanes64(w, in->r[1])[l] : lanes32(w, in->r[1])[l];
        uint32_t rank = (uint32_t)(a & UINT32_MAX) >> CLUSTER_SHIFT;
        out[l] = rank ? rank - 1 : w->cta->rank;
    }
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

Run select_move(const Form *form) {
    uint32_t bits = ptx_types[form->type[0]].bits;
    switch (form->op) {
    case OP_selp: return bits == 64 ? selp_64 : bits == 16 || bits == 32 ? selp_32 : NULL;
    case OP_cvta: return form->space_count == 1 ? cvta : NULL;
    case OP_isspacep: return form->space_count == 1 ? isspacep : NULL;
    case OP_mapa: return bits == 64 || bits == 32 ? mapa : NULL;
    case OP_getrank: return getctarank;
    case OP_createpolicy: return mov_64;
    default: return NULL;
    }
}

/* ---- compare --------------------------------------------------------------------------------- */

typedef Mask Compare(const void *a, const void *b, Word how);

#define COMPARE(name, storage, T, load)                                                            \
    static Mask compare_##name(const void *pa, const void *pb, Word how) {                         \
        const storage *x = pa, *y = pb;                                                            \
        uint8_t lt[LANES], eq[LANES], un[LANES];                                                   \
        LANE_LOOP {                                                                                \
            T a = load(x[l]), b = load(y[l]);                                                      \
            lt[l] = a < b, eq[l] = a == b, un[l] = a != a || b != b;                               \
        }                                                                                          \
        return combine(lt, eq, un, how);                                                           \
    }

static Mask combine(const uint8_t lt[LANES], const uint8_t eq[LANES], const uint8_t un[LANES],
                    Word how) {
    Mask less = 0, equal = 0, unordered = 0;
    LANE_LOOP less |= (Mask)lt[l] << l, equal |= (Mask)eq[l] << l, unordered |= (Mask)un[l] << l;
    Mask ordered = ~unordered;
    switch (how) {
    case WORD_eq: return equal;
    case WORD_ne: return ~equal & ordered;
    case WORD_lt: return less;
    case WORD_le: return less | equal;
    case WORD_gt: return ~(less | equal) & ordered;
    case WORD_ge: return ~less & ordered;
    case WORD_equ: return equal | unordered;
    case WORD_neu: return ~equal;
    case WORD_ltu: return less | unordered;
    case WORD_leu: return less | equal | unordered;
    case WORD_gtu: return ~(less | equal);
    case WORD_geu: return ~less;
    case WORD_num: return ordered;
    default: return unordered; /* nan */
    }
}
#define AS_IS(x) (x)
#define FLUSHED(x) flush_f32(as_float(x))
#define F16(x) f32_from_f16((x)&0xffff)
#define BF16(x) f32_from_bf16(x)
COMPARE(s16, uint32_t, int16_t, (int16_t))
COMPARE(u16, uint32_t, uint16_t, (uint16_t))
COMPARE(s32, uint32_t, int32_t, (int32_t))
COMPARE(u32, uint32_t, uint32_t, AS_IS)
COMPARE(s64, uint64_t, int64_t, (int64_t))
COMPARE(u64, uint64_t, uint64_t, AS_IS)
COMPARE(f32, uint32_t, float, as_float)
COMPARE(f32_ftz, uint32_t, float, FLUSHED)
COMPARE(f64, uint64_t, double, as_double)
COMPARE(f16, uint32_t, float, F16)
COMPARE(bf16, uint32_t, float, BF16)

static Compare *comparer(PtxType type, bool ftz) {
    switch (type) {
    case TYPE_s16: return compare_s16;
    case TYPE_u16:
    case TYPE_b16: return compare_u16;
    case TYPE_s32: return compare_s32;
    case TYPE_u32:
    case TYPE_b32: return compare_u32;
    case TYPE_s64: return compare_s64;
    case TYPE_u64:
    case TYPE_b64: return compare_u64;
    case TYPE_f32: return ftz ? compare_f32_ftz : compare_f32;
    case TYPE_f64: return compare_f64;
    case TYPE_f16: return compare_f16;
    case TYPE_bf16: return compare_bf16;
    default: return NULL;
    }
}

static Word compare_word(const Form *f) { /* lo ls hi hs are the unsigned names */
    if (form_has(f, F(lo))) return WORD_lt;
    if (form_has(f, F(hi))) return WORD_gt;
    Word word = (Word)f->word[CATEGORY_COMPARE];
    return word == WORD_ls ? WORD_le : word == WORD_hs ? WORD_ge : word;
}

static Mask with_predicate(const Form *f, Mask result, Mask c) {
    switch (f->word[CATEGORY_OPERATION]) {
    case WORD_and: return result & c;
    case WORD_or: return result | c;
    case WORD_xor: return result ^ c;
    default: return result;
    }
}

static inline Step finish_setp(Warp *w, const Inst *in, Mask result) {
    Mask c = in->ref_count > 4 ? operand_predicate(w, in, in->refs[4], 8) : 0;
    write_predicate(w, in->r[0], with_predicate(in->form, result, c));
    if (in->imm & 2) write_predicate(w, in->r[1], with_predicate(in->form, ~result, c));
    return STEP_NEXT;
}

/* One function a type, so that the common loops are inlined and vectorised. */
#define SETP(name)                                                                                 \
    static Step setp_##name(Warp *w, const Inst *in) {                                             \
        return finish_setp(                                                                        \
            w, in,                                                                                 \
            compare_##name(lanes_of(w, in->r[2]), lanes_of(w, in->r[3]), compare_word(in->form))); \
    }
SETP(s32)
SETP(u32)
SETP(s64)
SETP(u64)
SETP(f32)

static Step setp_any(Warp *w, const Inst *in) {
    Compare *compare = comparer((PtxType)in->form->type[0], form_has(in->form, F(ftz)));
    return finish_setp(
        w, in, compare(lanes_of(w, in->r[2]), lanes_of(w, in->r[3]), compare_word(in->form)));
}

static Mask half_pairs(const Warp *w, const Inst *in, Compare *compare, uint32_t shift) {
    uint32_t a[LANES], b[LANES];
    LANE_LOOP a[l] = lanes32(w, in->r[2])[l] >> shift & 0xffff,
              b[l] = lanes32(w, in->r[3])[l] >> shift & 0xffff;
    return compare(a, b, compare_word(in->form));
}

/* setp.f16x2 p|q: p is about the low halves, q about the high ones. */
static Step setp_pair(Warp *w, const Inst *in) {
    Compare *compare = in->form->type[0] == TYPE_f16x2 ? compare_f16 : compare_bf16;
    Mask c = in->ref_count > 4 ? operand_predicate(w, in, in->refs[4], 8) : 0;
    write_predicate(w, in->r[0], with_predicate(in->form, half_pairs(w, in, compare, 0), c));
    write_predicate(w, in->r[1], with_predicate(in->form, half_pairs(w, in, compare, 16), c));
    return STEP_NEXT;
}

static Step set_any(Warp *w, const Inst *in) {
    PtxType to = (PtxType)in->form->type[0], from = (PtxType)in->form->type[1];
    Mask c = in->ref_count > 4 ? operand_predicate(w, in, in->refs[4], 8) : 0;
    uint32_t out[LANES];
    if (from == TYPE_f16x2 || from == TYPE_bf16x2) {
        Compare *compare = from == TYPE_f16x2 ? compare_f16 : compare_bf16;
        Mask low = with_predicate(in->form, half_pairs(w, in, compare, 0), c);
        Mask high = with_predicate(in->form, half_pairs(w, in, compare, 16), c);
        uint32_t one = to == TYPE_f16x2 ? 0x3c00 : to == TYPE_bf16x2 ? 0x3f80 : 0xffff;
        LANE_LOOP out[l] = (low >> l & 1 ? one : 0) | (high >> l & 1 ? one << 16 : 0);
    } else {
        Compare *compare = comparer(from, form_has(in->form, F(ftz)));
        Mask m = compare(lanes_of(w, in->r[2]), lanes_of(w, in->r[3]), compare_word(in->form));
        m = with_predicate(in->form, m, c);
        uint32_t one = to == TYPE_f32             ? 0x3f800000
                       : to == TYPE_f16           ? 0x3c00
                       : to == TYPE_bf16          ? 0x3f80
                       : ptx_types[to].bits == 16 ? 0xffff
                                                  : UINT32_MAX;
        LANE_LOOP out[l] = m >> l & 1 ? one : 0;
    }
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

static Step slct_any(Warp *w, const Inst *in) { /* c >= 0 ? a : b */
    PtxType type = (PtxType)in->form->type[0], by = (PtxType)in->form->type[1];
    Mask m = 0;
    LANE_LOOP {
        uint32_t c = lanes32(w, in->r[3])[l];
        float x = form_has(in->form, F(ftz)) ? flush_f32(as_float(c)) : as_float(c);
        m |= (Mask)(by == TYPE_f32 ? x >= 0 : (int32_t)c >= 0) << l;
    }
    if (ptx_types[type].bits == 64) {
        uint64_t out[LANES];
        LANE_LOOP out[l] = m >> l & 1 ? lanes64(w, in->r[1])[l] : lanes64(w, in->r[2])[l];
        write64(w, in->r[0], out);
    } else {
        uint32_t out[LANES];
        LANE_LOOP out[l] = m >> l & 1 ? lanes32(w, in->r[1])[l] : lanes32(w, in->r[2])[l];
        write32(w, in->r[0], out);
    }
    return STEP_NEXT;
}

Run select_compare(const Form *form) {
    bool set = form->op == OP_set;
    if (form->op == OP_slct)
        return form->type_count == 2 && (form->type[1] == TYPE_s32 || form->type[1] == TYPE_f32)
                   ? slct_any
                   : NULL;
    if (form->type_count != (set ? 2 : 1)) return NULL;
    if (!form->word[CATEGORY_COMPARE] && !form_has(form, F(lo) | F(hi))) return NULL;
    PtxType from = (PtxType)form->type[set ? 1 : 0];
    bool pair = from == TYPE_f16x2 || from == TYPE_bf16x2;
    if (pair) return set ? set_any : setp_pair;
    if (!comparer(from, false)) return NULL;
    if (set) return set_any;
    if (form_has(form, F(ftz))) return setp_any;
    switch (from) {
    case TYPE_s32: return setp_s32;
    case TYPE_u32:
    case TYPE_b32: return setp_u32;
    case TYPE_s64: return setp_s64;
    case TYPE_u64:
    case TYPE_b64: return setp_u64;
    case TYPE_f32: return setp_f32;
    default: return setp_any;
    }
}
