/* anchor.c: the layouts that memory accesses and dots ask for.
 *
 * A memory access wants its threads side by side along the dim that is contiguous in memory, with
 * as many elements a thread as one instruction moves (16 bytes), but not so many that threads are
 * left without work. A dot wants the fragments of an mma.sync when there is one for its types and
 * it fills the tile; else it is done by FMA, each thread on a small box of the result.
 */
#include "compiler/gpu/lay.h"

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}
static uint32_t most(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static const Layout *keep(const Anchors *a, Layout layout) {
    return type_layout(&a->module->types, &layout);
}

/* ---- memory ------------------------------------------------------------------------------ */

static const Layout *coalesced(const Anchors *a, const Type *type, const uint32_t *order,
                               uint32_t vector) {
    uint32_t threads = a->num_warps * 32;
    vector = least(vector, most(1, type->count / threads));
    return keep(a, tile_coalesced(type->rank, type->shape, order, vector, a->num_warps));
}

const Layout *anchor_default(const Anchors *a, const Type *type) {
    uint32_t order[MAX_RANK];
    for (uint32_t d = 0; d < type->rank; d++) order[d] = type->rank - 1 - d;
    return coalesced(a, type, order, most(1, 16 / most(4, type_element_size(type))));
}

/* Dims by contiguity in memory, the longest first; the last dim first among equals. */
static void memory_order(const AxisFacts *facts, uint32_t rank, uint32_t *order) {
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t d = rank - 1 - i, at = i;
        for (; at > 0 && facts->contiguity[order[at - 1]] < facts->contiguity[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
}

static const Value *mask_of(const Op *op) {
    uint32_t at = op->code == OP_load ? 1 : 2;
    if (op->code == OP_atomic_cas || op->operand_count <= at) return NULL;
    return op_operand(op, at);
}

const Layout *anchor_memory(const Anchors *a, const Op *op) {
    const Value *pointers = op_operand(op, 0);
    const Type *type = pointers->type;
    uint32_t order[MAX_RANK], size = type_element_size(type_element(type)->element);
    memory_order(axis_facts(a->axis, pointers), type->rank, order);
    uint32_t vector = axis_vector(a->axis, pointers, mask_of(op), order[0]);
    return coalesced(a, type, order, least(vector, 16 / size));
}

bool anchor_stores_well(const Anchors *a, const Op *op, const Layout *layout) {
    const Value *pointers = op_operand(op, 0);
    const Type *type = pointers->type;
    uint32_t order[MAX_RANK], shift = 0;
    uint32_t size = type_element_size(type_element(type)->element);
    memory_order(axis_facts(a->axis, pointers), type->rank, order);
    for (uint32_t d = order[0] + 1; d < type->rank; d++) shift += log2_exact(type->shape[d]);
    /* elements side by side in memory: first in registers, then in lanes */
    uint32_t bits = log2_exact(type->shape[order[0]]), vector = 0, lanes = 0;
    for (; vector < layout->bits[PLACE_REGISTER] && vector < bits; vector++)
        if (layout->columns[PLACE_REGISTER][vector] != 1u << (shift + vector)) break;
    if (vector > 0 && size << vector > 16) return false; /* lanes would stand apart */
    for (uint32_t k = 0; k < LANE_BITS && vector + lanes < bits; k++)
        lanes += layout->columns[PLACE_LANE][k] == 1u << (shift + vector + lanes);
    return size << (vector + lanes) >= 32 || vector + lanes == bits;
}

/* ---- mma --------------------------------------------------------------------------------- */

/* The kind of mma for these types, and the least K it takes; 0: none. */
static uint32_t mma_kind(const Op *dot, uint32_t *k) {
    DType a = type_dtype(op_operand(dot, 0)->type), c = type_dtype(op_operand(dot, 2)->type);
    DType b = type_dtype(op_operand(dot, 1)->type);
    Word precision = op_word(dot, ATTR_precision, WORD_tf32);
    *k = 256 / dtype_bits(a);
    if (a == DT_f64) *k = 4;
    if ((a == DT_f16 && (c == DT_f32 || c == DT_f16)) || (a == DT_bf16 && c == DT_f32))
        return MMA_F16;
    if (a == DT_f32 && c == DT_f32 && (precision == WORD_tf32 || precision == WORD_tf32x3))
        return MMA_TF32;
    if ((a == DT_i8 || a == DT_u8) && c == DT_i32) return MMA_S8;
    if (a == DT_f64 && c == DT_f64) return MMA_F64;
    bool fp8 = a != DT_f8e4m3b15 && b != DT_f8e4m3b15;
    return dtype_is_fp8(a) && fp8 && c == DT_f32 ? MMA_FP8 : 0;
}

static bool mma_fits(const Op *dot, const GpuTarget *target) {
    const Type *c = op_operand(dot, 2)->type, *a = op_operand(dot, 0)->type;
    uint32_t r = c->rank, k, kind = mma_kind(dot, &k);
    uint32_t rows = kind == MMA_F64 ? 8 : 16;
    return target && (target->mma & kind) && c->shape[r - 2] >= rows && c->shape[r - 1] >= 8 &&
           a->shape[r - 1] >= k;
}

static MmaTile tile_of(const Type *type, uint32_t warps_m, uint32_t num_warps) {
    MmaTile tile = {.rank = type->rank, .warps_m = warps_m, .warps_n = num_warps / warps_m};
    memcpy(tile.shape, type->shape, type->rank * sizeof(uint32_t));
    return tile;
}

static DotLayouts mma_layouts(const Anchors *a, const Op *dot, uint32_t warps_m) {
    const Type *ta = op_operand(dot, 0)->type, *tb = op_operand(dot, 1)->type;
    const Type *tc = op_operand(dot, 2)->type;
    uint32_t bits = dtype_bits(type_dtype(ta));
    MmaTile result = tile_of(tc, warps_m, a->num_warps);
    MmaTile left = tile_of(ta, warps_m, a->num_warps), right = tile_of(tb, warps_m, a->num_warps);
    return (DotLayouts){keep(a, tile_mma_a(&left, bits)), keep(a, tile_mma_b(&right, bits)),
                        keep(a, tile_mma_result(&result)), true};
}

bool gpu_dot_mma(const Module *module, const Op *dot, MmaTile *tile) {
    const Type *ta = op_operand(dot, 0)->type, *tb = op_operand(dot, 1)->type;
    const Type *tc = op_operand(dot, 2)->type;
    uint32_t num_warps = module->kernel->num_warps, bits = dtype_bits(type_dtype(ta));
    if (!mma_fits(dot, module->target ? gpu_target(module->target) : NULL)) return false;
    for (uint32_t warps_m = 1; warps_m <= num_warps; warps_m *= 2) {
        MmaTile left = tile_of(ta, warps_m, num_warps), right = tile_of(tb, warps_m, num_warps);
        *tile = tile_of(tc, warps_m, num_warps);
        Layout a = tile_mma_a(&left, bits), b = tile_mma_b(&right, bits);
        Layout result = tile_mma_result(tile);
        if (layout_equal(&result, tc->layout) && layout_equal(&a, ta->layout) &&
            layout_equal(&b, tb->layout))
            return true;
    }
    return false;
}

/* ---- FMA --------------------------------------------------------------------------------- */

/* Threads 4 or 8 along N, the others along M, on boxes of up to 4 x 4. */
static Layout fma_result(const Type *type, uint32_t num_warps) {
    uint32_t r = type->rank, m = type->shape[r - 2], n = type->shape[r - 1];
    uint32_t each = most(1, type->count / (num_warps * 32));
    uint32_t shape[MAX_RANK], order[MAX_RANK], box[MAX_RANK], lanes[MAX_RANK], warps[MAX_RANK];
    for (uint32_t d = 0; d < r; d++) {
        shape[d] = type->shape[d];
        order[d] = r - 1 - d;
        box[d] = lanes[d] = warps[d] = 1;
    }
    box[r - 1] = least(least(n, 4), each);
    box[r - 2] = least(least(m, 4), each / box[r - 1]);
    lanes[r - 1] = least(n / box[r - 1], 8);
    lanes[r - 2] = least(m / box[r - 2], 32 / lanes[r - 1]);
    lanes[r - 1] *= 32 / (lanes[r - 1] * lanes[r - 2]);
    warps[r - 2] = least(most(1, m / (box[r - 2] * lanes[r - 2])), num_warps);
    warps[r - 1] = num_warps / warps[r - 2];
    return tile_blocked(r, shape, box, lanes, warps, order);
}

/* Operand of an FMA dot: where a thread has row m of the result it has row m of a, all k (the right
 * operand: columns). Element numbers: ((batch * M) + m) * N + n of the result. */
static Layout fma_operand(const Layout *result, const Type *tc, const Type *operand, bool right) {
    uint32_t r = tc->rank, m = log2_exact(tc->shape[r - 2]), n = log2_exact(tc->shape[r - 1]);
    uint32_t k = log2_exact(operand->shape[right ? r - 2 : r - 1]);
    Layout l = {.out_bits = (uint8_t)log2_exact(operand->count)};
    for (uint32_t b = 0; !right && b < k; b++) layout_push(&l, PLACE_REGISTER, 1u << b);
    for (int p = PLACE_REGISTER; p <= PLACE_WARP; p++)
        for (uint32_t b = 0; b < result->bits[p]; b++) {
            uint32_t e = result->columns[p][b], batch = e >> n >> m, column = e & ((1u << n) - 1);
            uint32_t mine = right ? batch << n << k | column : e >> n << k;
            if (p != PLACE_REGISTER || mine) layout_push(&l, (Place)p, mine);
        }
    for (uint32_t b = 0; right && b < k; b++) layout_push(&l, PLACE_REGISTER, 1u << (n + b));
    return l;
}

static DotLayouts fma_layouts(const Anchors *a, const Op *dot) {
    const Type *ta = op_operand(dot, 0)->type, *tb = op_operand(dot, 1)->type;
    const Type *tc = op_operand(dot, 2)->type;
    Layout result = fma_result(tc, a->num_warps);
    return (DotLayouts){keep(a, fma_operand(&result, tc, ta, false)),
                        keep(a, fma_operand(&result, tc, tb, true)), keep(a, result), false};
}

DotLayouts anchor_dot(const Anchors *a, const Op *dot, bool chain) {
    if (!mma_fits(dot, a->target)) return fma_layouts(a, dot);
    const Type *c = op_operand(dot, 2)->type;
    uint32_t m = c->shape[c->rank - 2], n = c->shape[c->rank - 1];
    uint32_t warps_m = tile_mma_warps_m(m, n, a->num_warps);
    if (chain && m / 16 >= a->num_warps) warps_m = a->num_warps;
    return mma_layouts(a, dot, warps_m);
}

/* ---- scan -------------------------------------------------------------------------------- */

bool scan_fits(const Layout *l, const Type *type, uint32_t axis) {
    uint32_t shift = 0, bits = log2_exact(type->shape[axis]);
    for (uint32_t d = axis + 1; d < type->rank; d++) shift += log2_exact(type->shape[d]);
    uint32_t stage = 0, mask = (type->shape[axis] - 1) << shift;
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++)
            if ((l->columns[p][k] & mask) && (l->columns[p][k] & (l->columns[p][k] - 1)))
                return false;
    for (uint32_t b = 0; b < bits; b++) {
        Place place = PLACES;
        for (int p = 0; p < PLACES; p++)
            for (uint32_t k = 0; k < l->bits[p]; k++)
                if (l->columns[p][k] == 1u << (shift + b)) place = (Place)p;
        if (place >= PLACE_OFFSET) return false;
        if (place == PLACE_REGISTER && (stage == 1 || stage == 2)) stage = 3;
        if (place != PLACE_REGISTER && stage == 3) return false;
        if (place != PLACE_REGISTER && (uint32_t)place < stage) return false;
        if (place != PLACE_REGISTER) stage = (uint32_t)place;
    }
    return true;
}
