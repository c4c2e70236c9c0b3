/* exec_mma.c: ldmatrix, stmatrix, movmatrix and mma.sync.
 *
 * One rule gives the place of every operand element. With e elements in a 32-bit register, lane =
 * 4 * g + t holds of A, in register i, row g (+ 8 for odd i when m is 16), columns t * e .. + e,
 * moved by 4 * e for each further pair of registers (each further one when m is 8); of B likewise
 * with n = g; of C, columns 2 * t and 2 * t + 1 of row g (+ 8). f64 takes e = 1.
 *
 * Products of the small formats are exact in f32; sums run in order of k in f32, which is one of
 * the orders that the ISA leaves open. f16 results are rounded once, at the end.
 */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

#define LANE_LOOP for (int l = 0; l < LANES; l++)

static Step need_all(Warp *w, const Inst *in) {
    return fault(w, in, EMU_WARP_SYNC, first_lane(~w->active), 0,
                 "needs all lanes of the warp together, but only 0x%08x are here", w->active);
}

/* ---- ldmatrix, stmatrix, movmatrix ----------------------------------------------------------- */

static bool matrix_rows(Warp *w, const Inst *in, uint32_t count, bool write, uint8_t *row[LANES]) {
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    for (int l = 0; l < (int)count * 8; l++) {
        Cta *cta;
        uint64_t at = address[l];
        if (resolve_space((PtxSpace)in->addresses->space, &at) != SPACE_SHARED) {
            fault(w, in, EMU_OUT_OF_BOUNDS, l, at, "0x%llx is not an address of shared memory",
                  (unsigned long long)at);
            return false;
        }
        row[l] = shared_at(w, in, l, at, 16, 16, &cta);
        if (!row[l]) return false;
        Access access = plain_access(w, in, cta, l);
        access.lane = LANE_MANY;
        uint32_t offset = (uint32_t)(row[l] - cta->shared);
        if (!(write ? shared_write : shared_read)(&access, offset, 16)) return false;
    }
    if (w->machine->counters) { /* eight rows of 16 bytes make a wavefront */
        Mask active = w->active;
        if (count < 4) w->active = ((Mask)1 << (8 * count)) - 1;
        count_shared(w, in, address, 16, write);
        w->active = active;
    }
    return true;
}

static Step ldmatrix(Warp *w, const Inst *in) {
    uint32_t count = in->ref_count;
    bool trans = form_has(in->form, F(trans));
    uint8_t *row[LANES];
    if (w->active != ALL_LANES) return need_all(w, in);
    if (!matrix_rows(w, in, count, false, row)) return STEP_FAULT;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t out[LANES];
        LANE_LOOP {
            uint16_t half[2];
            if (trans) {
                memcpy(&half[0], row[8 * i + (uint32_t)(l % 4) * 2] + 2 * (l / 4), 2);
                memcpy(&half[1], row[8 * i + (uint32_t)(l % 4) * 2 + 1] + 2 * (l / 4), 2);
            } else {
                memcpy(half, row[8 * i + (uint32_t)l / 4] + 4 * (l % 4), 4);
            }
            out[l] = half[0] | (uint32_t)half[1] << 16;
        }
        write32(w, in->refs[i], out);
    }
    return STEP_NEXT;
}

static Step stmatrix(Warp *w, const Inst *in) {
    uint32_t count = in->ref_count;
    bool trans = form_has(in->form, F(trans));
    uint8_t *row[LANES];
    if (w->active != ALL_LANES) return need_all(w, in);
    if (!matrix_rows(w, in, count, true, row)) return STEP_FAULT;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *from = lanes32(w, in->refs[i]);
        LANE_LOOP {
            uint16_t half[2] = {(uint16_t)from[l], (uint16_t)(from[l] >> 16)};
            if (trans) {
                memcpy(row[8 * i + (uint32_t)(l % 4) * 2] + 2 * (l / 4), &half[0], 2);
                memcpy(row[8 * i + (uint32_t)(l % 4) * 2 + 1] + 2 * (l / 4), &half[1], 2);
            } else {
                memcpy(row[8 * i + (uint32_t)l / 4] + 4 * (l % 4), half, 4);
            }
        }
    }
    return STEP_NEXT;
}

static Step movmatrix(Warp *w, const Inst *in) { /* transposes 8 x 8 halves across lanes */
    const uint32_t *a = lanes32(w, in->r[1]);
    uint32_t out[LANES];
    if (w->active != ALL_LANES) return need_all(w, in);
    LANE_LOOP {
        int row = l / 4, column = l % 4 * 2; /* of the result; sources are at (column, row) */
        uint32_t low = a[column * 4 + row / 2] >> (row % 2 * 16) & 0xffff;
        uint32_t high = a[(column + 1) * 4 + row / 2] >> (row % 2 * 16) & 0xffff;
        out[l] = low | high << 16;
    }
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

Run select_matrix(const Form *form) {
    if (form->type_count != 1 || form->type[0] != TYPE_b16 || form->m != 8 || form->n != 8)
        return NULL;
    if (form->op == OP_movmatrix) return form_has(form, F(trans)) ? movmatrix : NULL;
    if (!form->word[CATEGORY_COUNT_WORD]) return NULL;
    return form->op == OP_ldmatrix ? ldmatrix : stmatrix;
}

/* ---- elements to f32 ------------------------------------------------------------------------- */

static float e4m3_value(uint32_t bits) {
    return (float)number_decode(&format_e4m3, bits);
}
static float e5m2_value(uint32_t bits) {
    return f32_from_f16(bits << 8);
}

/* Element j of each lane's register, as f32. */
VECTOR_CODE static void decode_f16(float *restrict out, const uint32_t *in, uint32_t shift) {
    LANE_LOOP out[l] = f32_from_f16(in[l] >> shift & 0xffff);
}
VECTOR_CODE static void decode_bf16(float *restrict out, const uint32_t *in, uint32_t shift) {
    LANE_LOOP out[l] = float_of_bits(in[l] >> shift << 16);
}

void decode_elements(PtxType type, float out[LANES], const uint32_t *in, uint32_t j) {
    switch (type) {
    case TYPE_f16: decode_f16(out, in, 16 * j); break;
    case TYPE_bf16: decode_bf16(out, in, 16 * j); break;
    case TYPE_tf32: LANE_LOOP out[l] = float_of_bits(in[l] & 0xffffe000); break;
    case TYPE_e4m3: LANE_LOOP out[l] = e4m3_value(in[l] >> (8 * j) & 255); break;
    default: LANE_LOOP out[l] = e5m2_value(in[l] >> (8 * j) & 255); break;
    }
}

static int32_t integer_element(PtxType type, uint32_t bits, uint32_t j) {
    switch (type) {
    case TYPE_s8: return (int8_t)(bits >> (8 * j));
    case TYPE_u8: return (uint8_t)(bits >> (8 * j));
    case TYPE_s4: return (int32_t)(bits >> (4 * j) << 28) >> 28;
    default: return (int32_t)(bits >> (4 * j) & 15);
    }
}

/* ---- mma.sync -------------------------------------------------------------------------------- */

enum { MAX_K = 64 };

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));

/* Four rows at a time, so that four sums are under way; each adds in order of k. */
VECTOR_CODE void matrix_multiply(float *restrict d, const float *restrict a, uint32_t a_pitch,
                                 const float *restrict b, uint32_t m, uint32_t n, uint32_t k) {
    for (uint32_t row = 0; row < m; row += 4)
        for (uint32_t column = 0; column < n; column += 8) {
            float *to = d + row * n + column;
            const float *from = a + row * a_pitch;
            Eight s0 = *(Eight *)to, s1 = *(Eight *)(to + n), s2 = *(Eight *)(to + 2 * n),
                  s3 = *(Eight *)(to + 3 * n);
            for (uint32_t i = 0; i < k; i++) {
                Eight x = *(const Eight *)(b + i * n + column);
                s0 += from[i] * x;
                s1 += from[a_pitch + i] * x;
                s2 += from[2 * a_pitch + i] * x;
                s3 += from[3 * a_pitch + i] * x;
            }
            *(Eight *)to = s0, *(Eight *)(to + n) = s1, *(Eight *)(to + 2 * n) = s2,
                    *(Eight *)(to + 3 * n) = s3;
        }
}

static void multiply_integers(int32_t *restrict d, const int32_t *restrict a,
                              const int32_t *restrict b, uint32_t m, uint32_t k, bool saturate) {
    for (uint32_t row = 0; row < m; row++)
        for (uint32_t n = 0; n < 8; n++) {
            int64_t sum = d[8 * row + n];
            for (uint32_t i = 0; i < k; i++) sum += (int64_t)a[row * k + i] * b[8 * i + n];
            if (saturate) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            d[8 * row + n] = (int32_t)(uint32_t)sum;
        }
}

typedef struct Place { /* of element j of register i of a lane */
    uint32_t row, column;
} Place;

static Place place_a(uint32_t m, uint32_t e, uint32_t i, uint32_t lane, uint32_t j) {
    uint32_t g = lane / 4, t = lane % 4;
    if (m == 8) return (Place){g, t * e + j + i * 4 * e};
    return (Place){g + (i & 1) * 8, t * e + j + (i >> 1) * 4 * e};
}

static Step mma_float(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType td = (PtxType)f->type[0], ta = (PtxType)f->type[1], tb = (PtxType)f->type[2],
            tc = (PtxType)f->type[3];
    uint32_t m = f->m, k = f->k, bits = ta == TYPE_tf32 ? 32 : ptx_types[ta].bits, e = 32 / bits;
    uint32_t count_a = m * k / e / 32, count_b = 8 * k / e / 32;
    uint32_t count_d = m * 8 * ptx_types[td].bits / 1024,
             count_c = m * 8 * ptx_types[tc].bits / 1024;
    const Ref *ref_a = in->refs + count_d, *ref_b = ref_a + count_a, *ref_c = ref_b + count_b;
    float a[16 * MAX_K], b[MAX_K * 8], d[16 * 8], lane[LANES];
    if (w->active != ALL_LANES) return need_all(w, in);
    for (uint32_t i = 0; i < count_a; i++)
        for (uint32_t j = 0; j < e; j++) {
            decode_elements(ta, lane, lanes32(w, ref_a[i]), j);
            for (uint32_t l = 0; l < LANES; l++) {
                Place p = place_a(m, e, i, l, j);
                a[p.row * k + p.column] = lane[l];
            }
        }
    for (uint32_t i = 0; i < count_b; i++)
        for (uint32_t j = 0; j < e; j++) {
            decode_elements(tb, lane, lanes32(w, ref_b[i]), j);
            for (uint32_t l = 0; l < LANES; l++)
                b[8 * (l % 4 * e + j + i * 4 * e) + l / 4] = lane[l];
        }
    for (uint32_t i = 0; i < count_c; i++) {
        const uint32_t *from = lanes32(w, ref_c[i]);
        for (uint32_t l = 0; l < LANES; l++) {
            if (tc == TYPE_f32) {
                d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)] = float_of_bits(from[l]);
            } else {
                d[8 * (l / 4 + i * 8) + l % 4 * 2] = f32_from_f16(from[l] & 0xffff);
                d[8 * (l / 4 + i * 8) + l % 4 * 2 + 1] = f32_from_f16(from[l] >> 16);
            }
        }
    }
    matrix_multiply(d, a, k, b, m, 8, k);
    for (uint32_t i = 0; i < count_d; i++) {
        uint32_t out[LANES];
        for (uint32_t l = 0; l < LANES; l++) {
            if (td == TYPE_f32)
                out[l] = canonical_f32(d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)]);
            else
                out[l] = f16_from_f32(d[8 * (l / 4 + i * 8) + l % 4 * 2]) |
                         f16_from_f32(d[8 * (l / 4 + i * 8) + l % 4 * 2 + 1]) << 16;
        }
        write32(w, in->refs[i], out);
    }
    return STEP_NEXT;
}

static Step mma_integer(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType ta = (PtxType)f->type[1], tb = (PtxType)f->type[2];
    uint32_t m = f->m, k = f->k, e = 32u / ptx_types[ta].bits;
    uint32_t count_a = m * k / e / 32, count_b = 8 * k / e / 32, count_d = m * 8 / 32;
    const Ref *ref_a = in->refs + count_d, *ref_b = ref_a + count_a, *ref_c = ref_b + count_b;
    int32_t a[16 * MAX_K], b[MAX_K * 8], d[16 * 8];
    if (w->active != ALL_LANES) return need_all(w, in);
    for (uint32_t i = 0; i < count_a; i++)
        for (uint32_t l = 0; l < LANES; l++)
            for (uint32_t j = 0; j < e; j++) {
                Place p = place_a(m, e, i, l, j);
                a[p.row * k + p.column] = integer_element(ta, lanes32(w, ref_a[i])[l], j);
            }
    for (uint32_t i = 0; i < count_b; i++)
        for (uint32_t l = 0; l < LANES; l++)
            for (uint32_t j = 0; j < e; j++)
                b[8 * (l % 4 * e + j + i * 4 * e) + l / 4] =
                    integer_element(tb, lanes32(w, ref_b[i])[l], j);
    for (uint32_t i = 0; i < count_d; i++)
        for (uint32_t l = 0; l < LANES; l++)
            d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)] = (int32_t)lanes32(w, ref_c[i])[l];
    multiply_integers(d, a, b, m, k, form_has(f, F(satfinite)));
    for (uint32_t i = 0; i < count_d; i++) {
        uint32_t out[LANES];
        for (uint32_t l = 0; l < LANES; l++)
            out[l] = (uint32_t)d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)];
        write32(w, in->refs[i], out);
    }
    return STEP_NEXT;
}

static Step mma_f64(Warp *w, const Inst *in) {
    const Form *f = in->form;
    uint32_t m = f->m, k = f->k, count_a = m * k / 32, count_b = 8 * k / 32, count_d = m * 8 / 32;
    const Ref *ref_a = in->refs + count_d, *ref_b = ref_a + count_a, *ref_c = ref_b + count_b;
    double a[16 * 16], b[16 * 8], d[16 * 8];
    if (w->active != ALL_LANES) return need_all(w, in);
    for (uint32_t l = 0; l < LANES; l++) {
        for (uint32_t i = 0; i < count_a; i++) {
            Place p = place_a(m, 1, i, l, 0);
            a[p.row * k + p.column] = as_double(lanes64(w, ref_a[i])[l]);
        }
        for (uint32_t i = 0; i < count_b; i++)
            b[8 * (l % 4 + i * 4) + l / 4] = as_double(lanes64(w, ref_b[i])[l]);
        for (uint32_t i = 0; i < count_d; i++)
            d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)] =
                as_double(lanes64(w, ref_c[i])[l]);
    }
    for (uint32_t row = 0; row < m; row++)
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t n = 0; n < 8; n++)
                d[8 * row + n] = fma(a[row * k + i], b[8 * i + n], d[8 * row + n]);
    for (uint32_t i = 0; i < count_d; i++) {
        uint64_t out[LANES];
        for (uint32_t l = 0; l < LANES; l++)
            out[l] = double_bits(d[8 * (l / 4 + (i >> 1) * 8) + l % 4 * 2 + (i & 1)]);
        write64(w, in->refs[i], out);
    }
    return STEP_NEXT;
}

static bool fp8(PtxType type) {
    return type == TYPE_e4m3 || type == TYPE_e5m2;
}
static bool small_integer(PtxType type) {
    return type == TYPE_s8 || type == TYPE_u8 || type == TYPE_s4 || type == TYPE_u4;
}

Run select_mma(const Form *form) {
    PtxType td = (PtxType)form->type[0], ta = (PtxType)form->type[1], tb = (PtxType)form->type[2],
            tc = (PtxType)form->type[3];
    uint32_t m = form->m, k = form->k;
    if (form->type_count != 4 || form->n != 8 || form->word[CATEGORY_OPERATION]) return NULL;
    if (form->layout[0] != WORD_row || form->layout[1] != WORD_col) return NULL;
    if (ta == TYPE_f64) {
        bool shape = (m == 8 && k == 4) || (m == 16 && (k == 4 || k == 8 || k == 16));
        return shape && td == TYPE_f64 && tb == TYPE_f64 && tc == TYPE_f64 ? mma_f64 : NULL;
    }
    if (small_integer(ta)) {
        uint32_t e = 32u / ptx_types[ta].bits;
        bool shape = (m == 8 && k == 4 * e) || (m == 16 && (k == 4 * e || k == 8 * e));
        bool same = small_integer(tb) && ptx_types[ta].bits == ptx_types[tb].bits;
        return shape && same && td == TYPE_s32 && tc == TYPE_s32 ? mma_integer : NULL;
    }
    bool sums = (td == TYPE_f32 || td == TYPE_f16) && (tc == TYPE_f32 || tc == TYPE_f16);
    if (m != 16 || !sums) return NULL;
    if (fp8(ta)) return fp8(tb) && (k == 32 || k == 16) ? mma_float : NULL;
    if (ta != tb || (td == TYPE_f16 && ta != TYPE_f16)) return NULL;
    if (ta == TYPE_f16 || ta == TYPE_bf16) return k == 16 || k == 8 ? mma_float : NULL;
    return ta == TYPE_tf32 && (k == 8 || k == 4) ? mma_float : NULL;
}
