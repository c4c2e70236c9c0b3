/* wgmma.c: warpgroup matrix multiply. Each warp of a warpgroup owns 16 rows of D, so each does
 * its part alone: rows 16 * (warp % 4) .. of A, all of B.
 *
 * The product is computed when the instruction is issued; what makes it asynchronous is kept by
 * the checks: accumulators (and A's registers) are in flight, and shared memory is being read,
 * until wgmma.wait_group says otherwise.
 *
 * Where an element lies, by descriptor (start address, leading and stride byte offsets LBO and
 * SBO, swizzle); "column" means the 16 bytes that move as one, T elements:
 *   K-major, no swizzle    rows of 16 bytes in blocks of 8; SBO to the next 8 rows, LBO to the
 *                          next column
 *   K-major, swizzle s     rows of s bytes in blocks of 8, SBO to the next 8 rows
 *   MN-major, no swizzle   T x 8 blocks: 16 bytes a k; SBO to the next T of mn, LBO to the next 8 k
 *   MN-major, swizzle s    rows of s bytes along mn, one a k, in blocks of 8; LBO to the next s
 *                          bytes of mn, SBO to the next 8 k
 */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

enum { MAX_N = 256, MAX_K = 32 };

typedef struct Matrix { /* an operand in shared memory */
    uint32_t start, leading, stride;
    EmuSwizzle swizzle;
    bool mn_major;
    uint32_t element; /* bytes */
} Matrix;

static bool read_descriptor(Warp *w, const Inst *in, uint64_t bits, bool mn_major, uint32_t element,
                            Matrix *m) {
    static const EmuSwizzle swizzles[] = {EMU_SWIZZLE_NONE, EMU_SWIZZLE_128, EMU_SWIZZLE_64,
                                          EMU_SWIZZLE_32};
    *m = (Matrix){.start = (uint32_t)(bits & 0x3fff) << 4,
                  .leading = (uint32_t)(bits >> 16 & 0x3fff) << 4,
                  .stride = (uint32_t)(bits >> 32 & 0x3fff) << 4,
                  .swizzle = swizzles[bits >> 62],
                  .mn_major = mn_major,
                  .element = element};
    if (bits >> 49 & 7) {
        fault(w, in, EMU_UNSUPPORTED, -1, m->start, "a wgmma descriptor with a base offset");
        return false;
    }
    return true;
}

/* The address of the column that holds (mn, k); both are multiples of T where they vary. */
static uint32_t column_address(const Matrix *m, uint32_t mn, uint32_t k) {
    uint32_t t = 16 / m->element, span = 16u << m->swizzle, at;
    if (!m->mn_major && m->swizzle == EMU_SWIZZLE_NONE)
        at = mn / 8 * m->stride + mn % 8 * 16 + k / t * m->leading;
    else if (!m->mn_major)
        at = mn / 8 * m->stride + mn % 8 * span + k * m->element;
    else if (m->swizzle == EMU_SWIZZLE_NONE)
        at = mn / t * m->stride + k % 8 * 16 + k / 8 * m->leading;
    else
        at = mn * m->element / span * m->leading + mn * m->element % span + k % 8 * span +
             k / 8 * m->stride;
    return swizzle_address(m->start + at, m->swizzle);
}

static const uint8_t *column_at(Warp *w, const Inst *in, const Matrix *m, uint32_t mn, uint32_t k) {
    uint32_t address = column_address(m, mn, k);
    Cta *cta;
    const uint8_t *at = shared_at(w, in, -1, address, 16, 16, &cta);
    if (!at) return NULL;
    Access access = {.warp = w,
                     .inst = in,
                     .cta = cta,
                     .agent = wgmma_agent(w),
                     .time = w->wgmma_group,
                     .lane = LANE_MANY,
                     .async = w->machine->checks & EMU_CHECK_ASYNC};
    return shared_read(&access, address, 16) ? at : NULL;
}

/* The elements of one 16-byte column, as f32 (or integers as f32: they are small). */
static void decode_column(PtxType type, const uint8_t *at, float out[16]) {
    uint16_t half[8];
    uint32_t word[4];
    memcpy(half, at, 16);
    memcpy(word, at, 16);
    switch (type) {
    case TYPE_f16:
        for (int i = 0; i < 8; i++) out[i] = f32_from_f16(half[i]);
        break;
    case TYPE_bf16:
        for (int i = 0; i < 8; i++) out[i] = f32_from_bf16(half[i]);
        break;
    case TYPE_tf32:
        for (int i = 0; i < 4; i++) out[i] = float_of_bits(word[i] & 0xffffe000);
        break;
    case TYPE_s8:
        for (int i = 0; i < 16; i++) out[i] = (float)(int8_t)at[i];
        break;
    case TYPE_u8:
        for (int i = 0; i < 16; i++) out[i] = (float)at[i];
        break;
    case TYPE_e5m2:
        for (int i = 0; i < 16; i++) out[i] = f32_from_f16((uint32_t)at[i] << 8);
        break;
    default:
        for (int i = 0; i < 16; i++) out[i] = (float)number_decode(&format_e4m3, at[i]);
    }
}

/* out[k * pitch + mn] or, `by_row`, out[mn * pitch + k]. */
static bool read_matrix(Warp *w, const Inst *in, const Matrix *m, PtxType type, uint32_t first,
                        uint32_t count, uint32_t k_count, float *out, uint32_t pitch, bool by_row) {
    uint32_t t = 16 / m->element;
    float column[16];
    for (uint32_t mn = 0; mn < count; mn += m->mn_major ? t : 1)
        for (uint32_t k = 0; k < k_count; k += m->mn_major ? 1 : t) {
            const uint8_t *at = column_at(w, in, m, first + mn, k);
            if (!at) return false;
            decode_column(type, at, column);
            for (uint32_t i = 0; i < t; i++) {
                uint32_t row = m->mn_major ? mn + i : mn, kk = m->mn_major ? k : k + i;
                out[by_row ? row * pitch + kk : kk * pitch + row] = column[i];
            }
        }
    return true;
}

/* Integers up to 2^14 a product, 32 of them: exact in f32. The accumulator is not. */
static void multiply_integers(int32_t *d, const float *a, const float *b, uint32_t n, uint32_t k,
                              bool saturate) {
    for (uint32_t row = 0; row < 16; row++)
        for (uint32_t c = 0; c < n; c++) {
            int64_t sum = d[row * n + c];
            for (uint32_t i = 0; i < k; i++) sum += (int64_t)(a[row * MAX_K + i] * b[i * n + c]);
            if (saturate) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            d[row * n + c] = (int32_t)(uint32_t)sum;
        }
}

static bool read_a_registers(Warp *w, const Inst *in, const Ref *refs, PtxType type, float *a) {
    uint32_t e = 32u / (type == TYPE_tf32 ? 32 : ptx_types[type].bits);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t l = 0; l < LANES; l++) {
            uint8_t bytes[16] = {0};
            float column[16];
            memcpy(bytes, &lanes32(w, refs[i])[l], 4);
            decode_column(type, bytes, column);
            for (uint32_t j = 0; j < e; j++)
                a[(l / 4 + (i & 1) * 8) * MAX_K + l % 4 * e + j + (i >> 1) * 4 * e] = column[j];
        }
    (void)in;
    return true;
}

/* The place in D's 16 rows of register i of a lane; f16 registers hold two neighbours. */
static uint32_t place_d(uint32_t n, uint32_t i, uint32_t l, bool half) {
    if (half) return (l / 4 + (i & 1) * 8) * n + (i >> 1) * 8 + l % 4 * 2;
    return (l / 4 + (i >> 1 & 1) * 8) * n + (i >> 2) * 8 + l % 4 * 2 + (i & 1);
}

static Step check_issue(Warp *w, const Inst *in, bool scale_d) {
    if (!(w->machine->checks & EMU_CHECK_ASYNC)) return STEP_NEXT;
    const Frame *frame = w->now->frame;
    const Code *code = frame->code;
    if (w->cta->warp_count % 4)
        return fault(w, in, EMU_WGMMA, -1, 0, "a CTA of %u warps has no whole warpgroups",
                     w->cta->warp_count);
    if (!w->wgmma_fenced)
        return fault(w, in, EMU_WGMMA, -1, 0,
                     "no wgmma.fence since registers were last written by other instructions");
    for (uint32_t i = 0; i < in->use_count; i++)
        if (frame->in_flight[in->uses[i]] && !(frame->in_flight[in->uses[i]] & 1))
            return fault(w, in, EMU_WGMMA, -1, 0,
                         "takes `%s` as A, which a wgmma still in flight writes",
                         code->register_names[in->uses[i]]);
    for (uint32_t i = 0; scale_d && frame->defined && i < in->define_count; i++) {
        uint32_t number = in->uses[in->use_count + i];
        Mask missing = code->tracked[number] ? w->active & ~frame->defined[number] : 0;
        if (missing)
            return fault(w, in, EMU_UNINITIALISED, first_lane(missing), 0,
                         "accumulates into `%s`, which this thread never wrote",
                         code->register_names[number]);
    }
    return STEP_NEXT;
}

static void mark_in_flight(Warp *w, const Inst *in) {
    Frame *frame = w->now->frame;
    bool registers = in->imm & 16;
    for (uint32_t i = 0; i < in->define_count; i++) {
        frame->in_flight[in->uses[in->use_count + i]] = 2 * w->wgmma_group;
        if (frame->defined) frame->defined[in->uses[in->use_count + i]] |= w->active;
    }
    for (uint32_t i = 0; registers && i < 4 && i < in->use_count; i++)
        frame->in_flight[in->uses[i]] = 2 * w->wgmma_group + 1;
    w->wgmma_flights = 1;
    w->wgmma_open = true;
}

static void flip(float *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) values[i] = -values[i];
}

static Step wgmma(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType td = (PtxType)f->type[0], ta = (PtxType)f->type[1], tb = (PtxType)f->type[2];
    uint32_t n = f->n, k = f->k, bytes = ta == TYPE_tf32 ? 4 : ptx_types[ta].bits / 8u;
    uint32_t count = 64 * n * ptx_types[td].bits / 4096;
    const Ref *rest = in->refs + count;
    bool in_registers = in->imm & 16, half = td == TYPE_f16, whole = td == TYPE_s32;
    float a[16 * MAX_K] = {0}, b[MAX_K * MAX_N];
    union {
        float f[16 * MAX_N];
        int32_t i[16 * MAX_N];
    } d;
    if (w->active != ALL_LANES)
        return fault(w, in, EMU_WARP_SYNC, first_lane(~w->active), 0,
                     "needs all lanes of the warp");
    uint32_t scale_ref = in_registers ? 5 : 2;
    Mask scale = operand_predicate(w, in, rest[scale_ref], 8);
    if (scale && scale != ALL_LANES)
        return fault(w, in, EMU_WGMMA, first_lane(~scale), 0, "scale-d differs between lanes");
    Step step = check_issue(w, in, scale != 0);
    if (step != STEP_NEXT) return step;
    Matrix ma, mb;
    uint64_t descriptor_b = lanes64(w, rest[in_registers ? 4 : 1])[0];
    if (!read_descriptor(w, in, descriptor_b, in->imm & 8, bytes, &mb)) return STEP_FAULT;
    if (!read_matrix(w, in, &mb, tb, 0, n, k, b, n, false)) return STEP_FAULT;
    if (in_registers) {
        read_a_registers(w, in, rest, ta, a);
    } else {
        if (!read_descriptor(w, in, lanes64(w, rest[0])[0], in->imm & 4, bytes, &ma))
            return STEP_FAULT;
        if (!read_matrix(w, in, &ma, ta, w->index % 4 * 16, 16, k, a, MAX_K, true))
            return STEP_FAULT;
    }
    if (in->imm & 1) flip(a, 16 * MAX_K);
    if (in->imm & 2) flip(b, k * n);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *from = lanes32(w, in->refs[i]);
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t at = place_d(n, i, l, half);
            if (half) {
                d.f[at] = scale ? f32_from_f16(from[l] & 0xffff) : 0;
                d.f[at + 1] = scale ? f32_from_f16(from[l] >> 16) : 0;
            } else if (whole) {
                d.i[at] = scale ? (int32_t)from[l] : 0;
            } else {
                d.f[at] = scale ? float_of_bits(from[l]) : 0;
            }
        }
    }
    if (whole)
        multiply_integers(d.i, a, b, n, k, form_has(f, F(satfinite)));
    else
        matrix_multiply(d.f, a, MAX_K, b, 16, n, k);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t out[LANES];
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t at = place_d(n, i, l, half);
            out[l] = half    ? f16_from_f32(d.f[at]) | f16_from_f32(d.f[at + 1]) << 16
                     : whole ? (uint32_t)d.i[at]
                             : canonical_f32(d.f[at]);
        }
        write32(w, in->refs[i], out);
    }
    mark_in_flight(w, in);
    return STEP_NEXT;
}

/* ---- fence, commit, wait --------------------------------------------------------------------- */

static Step wgmma_control(Warp *w, const Inst *in) {
    if (w->active != w->live)
        return fault(w, in, EMU_WARP_SYNC, first_lane(w->live & ~w->active), 0,
                     "needs all lanes of the warp");
    if (in->form->op == OP_wgmma_fence) {
        w->wgmma_fenced = true;
        return STEP_NEXT;
    }
    if (in->form->op == OP_wgmma_commit) {
        w->wgmma_group++;
        w->wgmma_open = false;
        return STEP_NEXT;
    }
    uint32_t keep = lanes32(w, in->r[0])[0], committed = w->wgmma_group - 1;
    uint32_t done = committed > keep ? committed - keep : 0;
    if (checks_races(w)) {
        uint32_t *seen = &w->seen[wgmma_agent(w)];
        *seen = *seen > done ? *seen : done;
    }
    w->wgmma_flights = 0;
    for (Frame *frame = w->now->frame; frame; frame = frame->up)
        for (uint32_t i = 0; i < frame->code->register_count; i++) {
            if (frame->in_flight[i] / 2 <= done) frame->in_flight[i] = 0;
            w->wgmma_flights |= frame->in_flight[i] != 0;
        }
    w->wgmma_fenced = w->wgmma_flights != 0;
    return STEP_NEXT;
}

Run select_wgmma(const Form *form) {
    PtxType td = (PtxType)form->type[0], ta = (PtxType)form->type[1], tb = (PtxType)form->type[2];
    if (form->op != OP_wgmma) return wgmma_control;
    bool sums = td == TYPE_f32 || td == TYPE_f16;
    uint32_t k = form->k;
    switch (ta) {
    case TYPE_f16: return tb == ta && sums && k == 16 ? wgmma : NULL;
    case TYPE_bf16: return tb == ta && td == TYPE_f32 && k == 16 ? wgmma : NULL;
    case TYPE_tf32: return tb == ta && td == TYPE_f32 && k == 8 ? wgmma : NULL;
    case TYPE_e4m3:
    case TYPE_e5m2: return (tb == TYPE_e4m3 || tb == TYPE_e5m2) && sums && k == 32 ? wgmma : NULL;
    case TYPE_s8:
    case TYPE_u8:
        return (tb == TYPE_s8 || tb == TYPE_u8) && td == TYPE_s32 && k == 32 ? wgmma : NULL;
    default: return NULL;
    }
}
