/* emit_convert.c: data that changes threads: convert, gather, histogram.
 *
 * The map of a conversion gives, for each place (register, lane, warp) of the result, the place of
 * the operand that has its element. Within warps, each result register is one `shfl.idx` for each
 * operand register that some lane of the warp may want; lanes choose. Through shared memory, the
 * order of the elements there is chosen by trial: the swizzle under which the stores and the loads
 * take the fewest wavefronts.
 */
#include "compiler/gpu/emit/emit.h"

/* ---- within the warp
 * ------------------------------------------------------------------------------ */

static void shuffle_convert(Emitter *e, const Type *from, const Type *to, const BitMap *map,
                            const Scalar *old, Scalar *new) {
    const uint32_t to_bits = to->layout->bits[PLACE_REGISTER];
    const uint32_t from_bits = from->layout->bits[PLACE_REGISTER];
    const uint32_t register_mask = (1u << from_bits) - 1;
    uint32_t lane_to_lane[LANE_BITS], lane_to_register[LANE_BITS], span[32] = {0}, spans = 1;
    bool moves = false; /* else lanes only choose among their own registers */
    for (uint32_t k = 0; k < LANE_BITS; k++) {
        uint32_t image = map->columns[to_bits + k];
        lane_to_register[k] = image & register_mask;
        lane_to_lane[k] = image >> from_bits & 31;
        moves |= lane_to_lane[k] != 1u << k;
        bool known = false;
        for (uint32_t i = 0; i < spans; i++) known |= span[i] == lane_to_register[k];
        if (!known) {
            for (uint32_t i = 0; i < spans; i++) span[spans + i] = span[i] ^ lane_to_register[k];
            spans *= 2;
        }
    }
    for (uint32_t k = 0; k < to_bits; k++) moves |= map->columns[k] >> from_bits != 0;
    LLVMBasicBlockRef here = emit_at_entry(e);
    Index source = emit_linear(e, e->lane, LANE_BITS, lane_to_lane);
    Index wanted = emit_linear(e, e->lane, LANE_BITS, lane_to_register);
    emit_back(e, here);
    for (uint32_t r = 0; r < register_count(to); r++) {
        uint32_t image = bit_map_apply(map, r), base = image & register_mask;
        Scalar lane = index_xor(e, source, image >> from_bits & 31);
        for (uint32_t i = 0; i < spans; i++) {
            Scalar got = old[base ^ span[i]];
            if (moves) got = emit_shuffle(e, "idx", type_element(from), got, lane);
            if (i == 0) {
                new[r] = got;
                continue;
            }
            Scalar mine =
                LLVMBuildICmp(e->builder, LLVMIntEQ, wanted.base, emit_i32(e, span[i]), "");
            new[r] = LLVMBuildSelect(e->builder, mine, got, new[r], "");
        }
    }
}

/* ---- through shared memory
 * ------------------------------------------------------------------------- */

/* Wavefronts of one warp that moves all its registers of a block, to or from shared memory. */
static uint32_t wavefronts(const Layout *block, const Layout *shared, uint32_t size) {
    uint32_t unit[32], column[3][MAX_PLACE_BITS], run = 0, address[32];
    for (uint32_t b = 0; b < block->out_bits; b++) {
        uint32_t input = 0;
        layout_find(shared, 1u << b, &input);
        unit[b] = input;
    }
    for (int p = 0; p <= PLACE_WARP; p++)
        for (uint32_t k = 0; k < block->bits[p]; k++) {
            column[p][k] = 0;
            for (uint32_t b = 0; b < block->out_bits; b++)
                if (block->columns[p][k] >> b & 1) column[p][k] ^= unit[b];
        }
    const uint32_t registers = block->bits[PLACE_REGISTER];
    while (size << (run + 1) <= 16) {
        uint32_t wanted = 1u << run;
        bool found = false, clean = true;
        for (int p = 0; p <= PLACE_WARP; p++)
            for (uint32_t k = 0; k < block->bits[p]; k++) {
                if (p == PLACE_REGISTER && column[p][k] == wanted)
                    found = true;
                else if (column[p][k] & wanted)
                    clean = false;
            }
        if (!found || !clean) break;
        run++;
    }
    for (uint32_t lane = 0; lane < 32; lane++) {
        address[lane] = 0;
        for (uint32_t k = 0; k < LANE_BITS; k++)
            if (lane >> k & 1) address[lane] ^= column[PLACE_LANE][k];
        address[lane] *= size;
    }
    return shared_wavefronts(address, 32, size << run) << (registers - run);
}

static Layout best_scratch(const Type *from, const Type *to) {
    const uint32_t size = type_element_size(from), rank = from->rank;
    Layout best = {.out_bits = 0};
    uint32_t least = UINT32_MAX;
    for (uint32_t first = rank; first-- > 0;) { /* the dim that lies contiguous */
        uint32_t order[MAX_RANK], n = 0;
        order[n++] = first;
        for (uint32_t d = rank; d-- > 0;)
            if (d != first) order[n++] = d;
        uint32_t row = log2_exact(from->shape[first]) + log2_exact(size);
        uint32_t per_phase = row < 7 ? 7 - row : 0;
        for (uint32_t vector = 0; size << vector <= 16; vector++)
            for (uint32_t phase = 0; phase <= 5; phase++) {
                Layout l = tile_shared(rank, from->shape, order, vector, per_phase, phase);
                uint32_t cost = wavefronts(from->layout, &l, size);
                if (cost < least) cost += wavefronts(to->layout, &l, size);
                if (cost < least) least = cost, best = l;
            }
    }
    return best;
}

void emit_convert(Emitter *e, const Op *op) {
    const Type *from = op_operand(op, 0)->type, *to = op->results[0].type;
    Scalar *old = emit_operand(e, op, 0), *new = emit_result(e, op, 0);
    BitMap map;
    ConversionKind kind = layout_conversion(from->layout, to->layout, &map);
    if (kind == CONVERT_SHARED) {
        Layout scratch = best_scratch(from, to);
        Scalar base = emit_i32(e, op_int(op, ATTR_scratch, 0));
        emit_to_shared(e, from, old, &scratch, base);
        emit_barrier(e);
        emit_from_shared(e, to, new, &scratch, base);
    } else if (kind == CONVERT_LANES) {
        shuffle_convert(e, from, to, &map, old, new);
    } else {
        uint32_t mask = (1u << from->layout->bits[PLACE_REGISTER]) - 1;
        for (uint32_t r = 0; r < register_count(to); r++)
            new[r] = old[bit_map_apply(&map, r) & mask];
    }
}

/* ---- gather
 * ---------------------------------------------------------------------------------------- */

static Layout row_major(const Type *type) {
    Layout l = {.out_bits = (uint8_t)log2_exact(type->count)};
    for (uint32_t b = 0; b < l.out_bits; b++) layout_push(&l, PLACE_OFFSET, 1u << b);
    return l;
}

static Scalar load_element(Emitter *e, const Type *type, Scalar base, Scalar number) {
    const uint32_t size = type_element_size(type);
    Scalar bytes = LLVMBuildMul(e->builder, number, emit_i32(e, size), ""), result;
    Scalar place = emit_shared_address(e, LLVMBuildAdd(e->builder, bytes, base, ""));
    Scalar word = LLVMBuildLoad2(e->builder, int_type(e, 8 * size), place, "");
    emit_unpack(e, type_element(type), 1, &word, size, &result);
    return result;
}

/* All threads find their partners at one distance, an XOR of places. Those of other warps go
 * through shared memory: a row of lanes a register, so that no two lanes meet in a bank. */
static void swap_partners(Emitter *e, const Op *op, uint32_t distance) {
    const Type *block = op_operand(op, 0)->type, *element = type_element(block);
    const Scalar *from = emit_operand(e, op, 0);
    Scalar *to = emit_result(e, op, 0), word;
    const uint32_t bits = block->layout->bits[PLACE_REGISTER], count = register_count(block);
    const uint32_t reg = distance & (count - 1), thread = distance >> bits;
    const uint32_t size = type_element_size(block),
                   row = size << LANE_BITS << block->layout->bits[PLACE_WARP];
    if (thread < 1u << LANE_BITS) {
        for (uint32_t r = 0; r < count; r++) {
            to[r] = from[r ^ reg];
            if (thread) to[r] = emit_shuffle(e, "bfly", element, to[r], emit_i32(e, thread));
        }
        return;
    }
    uint32_t lane_columns[LANE_BITS], warp_columns[MAX_PLACE_BITS];
    for (uint32_t k = 0; k < LANE_BITS; k++) lane_columns[k] = size << k;
    for (uint32_t k = 0; k < MAX_PLACE_BITS; k++) warp_columns[k] = size << LANE_BITS << k;
    Index own = emit_thread_index(e, lane_columns, LANE_BITS, warp_columns,
                                  block->layout->bits[PLACE_WARP]);
    Scalar other = index_xor(e, own, thread * size);
    const int64_t base = op_int(op, ATTR_scratch, 0);
    for (uint32_t r = 0; r < count; r++) {
        Scalar at = LLVMBuildAdd(e->builder, own.base, emit_i32(e, base + r * row), "");
        emit_pack(e, element, 1, &from[r], size, &word);
        LLVMBuildStore(e->builder, word, emit_shared_address(e, at));
    }
    emit_barrier(e);
    for (uint32_t r = 0; r < count; r++) {
        Scalar at = LLVMBuildAdd(e->builder, other, emit_i32(e, base + (r ^ reg) * row), "");
        word = LLVMBuildLoad2(e->builder, int_type(e, 8 * size), emit_shared_address(e, at), "");
        emit_unpack(e, element, 1, &word, size, &to[r]);
    }
}

void emit_gather(Emitter *e, const Op *op) {
    uint32_t distance;
    if (gpu_gather_distance(op, &distance)) {
        swap_partners(e, op, distance);
        return;
    }
    const Type *source = op_operand(op, 0)->type, *index = op_operand(op, 1)->type;
    const uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0);
    Layout plain = row_major(source);
    Scalar base = emit_i32(e, op_int(op, ATTR_scratch, 0)), *wanted = emit_operand(e, op, 1);
    emit_to_shared(e, source, emit_operand(e, op, 0), &plain, base);
    emit_barrier(e);
    Scalar *to = emit_result(e, op, 0);
    for (uint32_t r = 0; r < register_count(index); r++) {
        Scalar element = emit_element_number(e, index->layout, r), number = emit_i32(e, 0);
        for (uint32_t d = 0; d < source->rank; d++) {
            Scalar at = emit_coordinate(e, index, element, d);
            if (d == axis) {
                at = LLVMBuildIntCast2(e->builder, wanted[r], e->i32, false, "");
                at = LLVMBuildAnd(e->builder, at, emit_i32(e, source->shape[d] - 1), "");
            }
            number = LLVMBuildMul(e->builder, number, emit_i32(e, source->shape[d]), "");
            number = LLVMBuildAdd(e->builder, number, at, "");
        }
        to[r] = load_element(e, source, base, number);
    }
}

/* ---- histogram
 * -------------------------------------------------------------------------------------- */

void emit_histogram(Emitter *e, const Op *op) {
    const Type *from = op_operand(op, 0)->type, *to = op->results[0].type;
    const Scalar *values = emit_operand(e, op, 0);
    const Scalar *mask = op->operand_count > 1 ? emit_operand(e, op, 1) : NULL;
    const uint32_t copies = layout_copies(from->layout, PLACE_REGISTER);
    Layout plain = row_major(to);
    Scalar base = emit_i32(e, op_int(op, ATTR_scratch, 0)), owner = emit_is_owner(e, from->layout);
    Scalar *counts = emit_result(e, op, 0), one = emit_i32(e, 1);
    ScalarType type = LLVMTypeOf(values[0]);
    for (uint32_t r = 0; r < register_count(to); r++) counts[r] = emit_i32(e, 0);
    emit_to_shared(e, to, counts, &plain, base);
    emit_barrier(e);
    for (uint32_t r = 0; r < register_count(from); r++) {
        if (r & copies) continue;
        ScalarType wide = LLVMGetIntTypeWidth(type) < 32 ? e->i32 : type;
        bool is_signed = !dtype_is_unsigned(type_dtype(from));
        Scalar value = LLVMBuildIntCast2(e->builder, values[r], wide, is_signed, "");
        Scalar on =
            LLVMBuildICmp(e->builder, LLVMIntULT, value, LLVMConstInt(wide, to->count, 0), "");
        if (mask) on = LLVMBuildAnd(e->builder, on, mask[r], "");
        if (owner) on = LLVMBuildAnd(e->builder, on, owner, "");
        LLVMBasicBlockRef then, after;
        emit_branch_if(e, on, &then, &after);
        Scalar bin = LLVMBuildIntCast2(e->builder, value, e->i32, false, "");
        bin = LLVMBuildMul(e->builder, bin, emit_i32(e, 4), "");
        Scalar place = emit_shared_address(e, LLVMBuildAdd(e->builder, bin, base, ""));
        LLVMBuildAtomicRMW(e->builder, LLVMAtomicRMWBinOpAdd, place, one,
                           LLVMAtomicOrderingMonotonic, false);
        emit_join(e, after);
    }
    emit_barrier(e);
    emit_from_shared(e, to, counts, &plain, base);
}
