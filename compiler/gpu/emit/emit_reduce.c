/* emit_reduce.c: reduce and scan, with any region that combines.
 *
 * reduce goes from near to far: registers of the thread in pairs, then lanes by butterfly shuffles
 * (all lanes end with the result), then warps: each writes its part to shared memory, and every
 * thread combines all parts. The region is taken as associative and commutative, as Triton does.
 *
 * scan keeps two things while the part of the axis it has done grows by factors of two: the prefix
 * of every element within its part (`prefix`), and the total of the part (`total`, known to every
 * thread that holds any of it). A step joins two parts: the upper one's prefixes take in the lower
 * one's total. Registers and lanes step bit by bit; warps in one go through shared memory; then the
 * registers above the warps.
 */
#include "compiler/gpu/emit/emit.h"

enum { MAX_OPERANDS = 16 };

typedef struct Fold {
    const Op *op;
    const Type *type; /* of operand 0 */
    const Layout *layout;
    uint32_t axis, shift, mask; /* bits of an element number along the axis */
    uint32_t operands, registers;
    bool reverse;
    Scalar *value[MAX_OPERANDS]; /* by register */
    Scalar *total[MAX_OPERANDS];
} Fold;

static Fold fold_of(Emitter *e, const Op *op) {
    Fold f = {.op = op, .type = op_operand(op, 0)->type, .operands = op->operand_count};
    if (f.operands > MAX_OPERANDS)
        emit_fail(e, "%s of more than %d blocks", op_info(op)->name, MAX_OPERANDS);
    f.layout = f.type->layout;
    f.axis = (uint32_t)op_int(op, ATTR_axis, 0);
    f.reverse = op_int(op, ATTR_reverse, 0) != 0;
    for (uint32_t d = f.axis + 1; d < f.type->rank; d++) f.shift += log2_exact(f.type->shape[d]);
    f.mask = (f.type->shape[f.axis] - 1) << f.shift;
    f.registers = register_count(f.type);
    for (uint32_t i = 0; i < f.operands; i++) {
        f.value[i] = arena_array(e->arena, Scalar, f.registers);
        memcpy(f.value[i], emit_operand(e, op, i), f.registers * sizeof(Scalar));
    }
    return f;
}

/* result = region(left, right) */
static void combine(Emitter *e, const Fold *f, const Scalar *left, const Scalar *right,
                    Scalar *result) {
    Scalar in[2 * MAX_OPERANDS];
    for (uint32_t i = 0; i < f->operands; i++) in[i] = left[i], in[f->operands + i] = right[i];
    emit_inline(e, f->op->regions[0], in, result);
}

static void take(const Fold *f, Scalar *const *arrays, uint32_t r, Scalar *to) {
    for (uint32_t i = 0; i < f->operands; i++) to[i] = arrays[i][r];
}

static void give(const Fold *f, Scalar *const *arrays, uint32_t r, const Scalar *from) {
    for (uint32_t i = 0; i < f->operands; i++) arrays[i][r] = from[i];
}

/* The bits of a place that move along the axis, by their place there; copies are left out. */
static uint32_t axis_bits(const Fold *f, Place place, uint8_t *bits) {
    uint32_t count = 0, copies = layout_copies(f->layout, place);
    for (uint32_t k = 0; k < f->layout->bits[place]; k++) {
        if ((copies >> k & 1) || !(f->layout->columns[place][k] & f->mask)) continue;
        uint32_t at = count++;
        for (; at && (f->layout->columns[place][bits[at - 1]] & f->mask) >
                         (f->layout->columns[place][k] & f->mask);
             at--)
            bits[at] = bits[at - 1];
        bits[at] = (uint8_t)k;
    }
    return count;
}

static Scalar lane_bit(Emitter *e, Scalar index, uint32_t bit) {
    LLVMBasicBlockRef here = emit_at_entry(e);
    Scalar masked = LLVMBuildAnd(e->builder, index, emit_i32(e, 1ll << bit), "");
    Scalar set = LLVMBuildICmp(e->builder, LLVMIntNE, masked, emit_i32(e, 0), "");
    emit_back(e, here);
    return set;
}

/* ---- what warps exchange
 * ---------------------------------------------------------------------------- */

/* Parts of the same element lie next to each other, one for each warp along the axis. */
typedef struct Exchange {
    uint32_t parts, late;             /* warps along the axis; slots an element has of each */
    Index warp;                       /* which part this warp is */
    Index element;                    /* of the block without the axis, by thread */
    uint32_t columns[MAX_PLACE_BITS]; /* the same for registers */
    Scalar writes;                    /* true in one thread of each element and part; NULL: all */
    uint32_t offset[MAX_OPERANDS], size[MAX_OPERANDS];
} Exchange;

static uint32_t without_axis(const Fold *f, uint32_t number) {
    uint32_t low = number & ((1u << f->shift) - 1),
             high = number & ~(f->mask | ((1u << f->shift) - 1));
    return low | high >> log2_exact(f->type->shape[f->axis]);
}

static Exchange exchange_of(Emitter *e, const Fold *f, uint32_t late) {
    Exchange x = {.parts = 1, .late = late};
    uint8_t warps[MAX_PLACE_BITS], lanes[MAX_PLACE_BITS];
    uint32_t lane_columns[MAX_PLACE_BITS], warp_columns[MAX_PLACE_BITS] = {0}, idle = 0;
    uint32_t part_columns[MAX_PLACE_BITS] = {0};
    const Layout *l = f->layout;
    const uint32_t count = axis_bits(f, PLACE_WARP, warps);
    const uint32_t lane_count = axis_bits(f, PLACE_LANE, lanes);
    for (uint32_t k = 0; k < count; k++) part_columns[warps[k]] = 1u << k;
    x.parts = 1u << count;
    for (uint32_t k = 0; k < lane_count; k++) idle |= 1u << lanes[k];
    idle |= layout_copies(l, PLACE_LANE);
    for (uint32_t k = 0; k < l->bits[PLACE_REGISTER]; k++)
        x.columns[k] = without_axis(f, l->columns[PLACE_REGISTER][k]);
    for (uint32_t k = 0; k < l->bits[PLACE_LANE]; k++)
        lane_columns[k] = without_axis(f, l->columns[PLACE_LANE][k]);
    for (uint32_t k = 0; k < l->bits[PLACE_WARP]; k++)
        warp_columns[k] = without_axis(f, l->columns[PLACE_WARP][k]);
    x.element =
        emit_thread_index(e, lane_columns, l->bits[PLACE_LANE], warp_columns, l->bits[PLACE_WARP]);
    x.warp = emit_thread_index(e, NULL, 0, part_columns, l->bits[PLACE_WARP]);
    LLVMBasicBlockRef here = emit_at_entry(e);
    uint32_t masks[2] = {idle, layout_copies(l, PLACE_WARP)};
    for (int i = 0; i < 2; i++) {
        if (!masks[i]) continue;
        Scalar bits = LLVMBuildAnd(e->builder, i ? e->warp : e->lane, emit_i32(e, masks[i]), "");
        Scalar none = LLVMBuildICmp(e->builder, LLVMIntEQ, bits, emit_i32(e, 0), "");
        x.writes = x.writes ? LLVMBuildAnd(e->builder, x.writes, none, "") : none;
    }
    emit_back(e, here);
    uint32_t at = (uint32_t)op_int(f->op, ATTR_scratch, 0);
    for (uint32_t i = 0; i < f->operands; i++) {
        x.size[i] = type_element_size(op_operand(f->op, i)->type);
        x.offset[i] = at;
        at +=
            (f->type->count / f->type->shape[f->axis] * x.parts * late * x.size[i] + 15) / 16 * 16;
    }
    return x;
}

/* The place of part 0 of the element in register r (late: which of its slots). */
static Scalar slot(Emitter *e, const Exchange *x, uint32_t i, uint32_t r, uint32_t late) {
    uint32_t sum = 0;
    for (uint32_t k = 0; k < MAX_PLACE_BITS; k++)
        if (r >> k & 1) sum ^= x->columns[k];
    Scalar number = index_xor(e, x->element, sum);
    number =
        LLVMBuildMul(e->builder, number, emit_i32(e, (int64_t)x->late * x->parts * x->size[i]), "");
    uint32_t constant = x->offset[i] + late * x->parts * x->size[i];
    return LLVMBuildAdd(e->builder, number, emit_i32(e, constant), "");
}

static void write_part(Emitter *e, const Fold *f, const Exchange *x, uint32_t r, uint32_t late,
                       const Scalar *values) {
    for (uint32_t i = 0; i < f->operands; i++) {
        Scalar at = slot(e, x, i, r, late), word;
        Scalar part = LLVMBuildMul(e->builder, x->warp.base, emit_i32(e, x->size[i]), "");
        Scalar place = emit_shared_address(e, LLVMBuildAdd(e->builder, at, part, ""));
        emit_pack(e, type_element(op_operand(f->op, i)->type), 1, &values[i], x->size[i], &word);
        LLVMBuildStore(e->builder, word, place);
    }
}

/* All parts of an element: parts[i * x->parts + k] is part k of operand i. */
static void read_parts(Emitter *e, const Fold *f, const Exchange *x, uint32_t r, uint32_t late,
                       Scalar *parts) {
    for (uint32_t i = 0; i < f->operands; i++) {
        const Type *element = type_element(op_operand(f->op, i)->type);
        const uint32_t bytes = x->parts * x->size[i], step = bytes < 16 ? bytes : 16;
        const uint32_t word = step < 4 ? step : x->size[i] == 8 ? 8 : 4, words = step / word;
        Scalar at = slot(e, x, i, r, late);
        for (uint32_t b = 0; b < bytes; b += step) {
            Scalar place = emit_shared_address(e, LLVMBuildAdd(e->builder, at, emit_i32(e, b), ""));
            ScalarType type = int_type(e, 8 * word);
            Scalar split[4];
            Scalar load = LLVMBuildLoad2(e->builder, words > 1 ? LLVMVectorType(type, words) : type,
                                         place, "");
            LLVMSetAlignment(load, step);
            for (uint32_t k = 0; k < words; k++)
                split[k] = words == 1
                               ? load
                               : LLVMBuildExtractElement(e->builder, load, emit_i32(e, k), "");
            emit_unpack(e, element, step / x->size[i], split, word,
                        parts + i * x->parts + b / x->size[i]);
        }
    }
}

static void part_at(const Fold *f, const Exchange *x, const Scalar *parts, uint32_t k, Scalar *to) {
    for (uint32_t i = 0; i < f->operands; i++) to[i] = parts[i * x->parts + k];
}

/* ---- reduce
 * ------------------------------------------------------------------------------------------ */

static void reduce_lanes(Emitter *e, const Fold *f, Scalar *values) {
    uint8_t bits[MAX_PLACE_BITS];
    const uint32_t count = axis_bits(f, PLACE_LANE, bits);
    for (uint32_t k = 0; k < count; k++) {
        Scalar other[MAX_OPERANDS];
        for (uint32_t i = 0; i < f->operands; i++)
            other[i] = emit_shuffle(e, "bfly", type_element(op_operand(f->op, i)->type), values[i],
                                    emit_i32(e, 1ll << bits[k]));
        combine(e, f, values, other, values);
    }
}

void emit_reduce(Emitter *e, const Op *op) {
    Fold f = fold_of(e, op);
    uint8_t bits[MAX_PLACE_BITS], warps[MAX_PLACE_BITS], kept[MAX_PLACE_BITS];
    const uint32_t count = axis_bits(&f, PLACE_REGISTER, bits);
    const uint32_t parts = 1u << axis_bits(&f, PLACE_WARP, warps);
    Scalar values[MAX_OPERANDS], right[MAX_OPERANDS];
    uint32_t gone = layout_copies(f.layout, PLACE_REGISTER);
    for (uint32_t k = 0; k < count; k++) { /* registers */
        for (uint32_t r = 0; r < f.registers; r++) {
            if (r & (gone | 1u << bits[k])) continue;
            take(&f, f.value, r, values);
            take(&f, f.value, r | 1u << bits[k], right);
            combine(e, &f, values, right, values);
            give(&f, f.value, r, values);
        }
        gone |= 1u << bits[k];
    }
    Layout slice = layout_slice(f.layout, f.type->rank, f.type->shape, f.axis, kept);
    const uint32_t left = 1u << slice.bits[PLACE_REGISTER];
    uint32_t *source = arena_array(e->arena, uint32_t, left);
    for (uint32_t r = 0; r < left; r++)
        for (uint32_t k = 0; k < slice.bits[PLACE_REGISTER]; k++)
            if (r >> k & 1) source[r] |= 1u << kept[k];
    for (uint32_t i = 0; i < f.operands; i++) emit_result(e, op, i);
    for (uint32_t r = 0; r < left; r++) {
        take(&f, f.value, source[r], values);
        reduce_lanes(e, &f, values);
        give(&f, f.value, source[r], values);
        for (uint32_t i = 0; i < f.operands; i++) emit_values(e, &op->results[i])[r] = values[i];
    }
    if (parts == 1) return;
    Exchange x = exchange_of(e, &f, 1);
    LLVMBasicBlockRef then, after = NULL;
    if (x.writes) emit_branch_if(e, x.writes, &then, &after);
    for (uint32_t r = 0; r < left; r++) {
        take(&f, f.value, source[r], values);
        write_part(e, &f, &x, source[r], 0, values);
    }
    if (x.writes) emit_join(e, after);
    emit_barrier(e);
    Scalar *all = arena_array(e->arena, Scalar, (size_t)parts * f.operands);
    for (uint32_t r = 0; r < left; r++) {
        read_parts(e, &f, &x, source[r], 0, all);
        part_at(&f, &x, all, 0, values);
        for (uint32_t k = 1; k < parts; k++) {
            part_at(&f, &x, all, k, right);
            combine(e, &f, values, right, values);
        }
        for (uint32_t i = 0; i < f.operands; i++) emit_values(e, &op->results[i])[r] = values[i];
    }
}

/* ---- scan
 * --------------------------------------------------------------------------------------------- */

/* Joins parts of the axis that differ by a register bit. `done`: register bits within a part, whose
 * total is kept in the register where they are all 0. */
static void scan_register(Emitter *e, const Fold *f, uint32_t bit, uint32_t done) {
    Scalar low[MAX_OPERANDS], high[MAX_OPERANDS], sum[MAX_OPERANDS];
    for (uint32_t r = 0; r < f->registers; r++) { /* prefixes first: they want the old totals */
        if (((r >> bit & 1) != 0) == f->reverse) continue;
        take(f, f->total, (r ^ 1u << bit) & ~done, low);
        take(f, f->value, r, high);
        combine(e, f, low, high, sum);
        give(f, f->value, r, sum);
    }
    for (uint32_t r = 0; r < f->registers; r++) {
        if (r & (done | 1u << bit)) continue;
        take(f, f->total, f->reverse ? r | 1u << bit : r, low);
        take(f, f->total, f->reverse ? r : r | 1u << bit, high);
        combine(e, f, low, high, sum);
        give(f, f->total, r, sum);
    }
}

static void choose(Emitter *e, const Fold *f, Scalar condition, const Scalar *yes, const Scalar *no,
                   Scalar *to) {
    for (uint32_t i = 0; i < f->operands; i++)
        to[i] = LLVMBuildSelect(e->builder, condition, yes[i], no[i], "");
}

static void scan_lane(Emitter *e, const Fold *f, uint32_t bit, uint32_t done) {
    Scalar upper = lane_bit(e, e->lane, bit);
    if (f->reverse) upper = LLVMBuildNot(e->builder, upper, "");
    for (uint32_t r = 0; r < f->registers; r++) {
        if (r & done) continue;
        Scalar mine[MAX_OPERANDS], other[MAX_OPERANDS], low[MAX_OPERANDS], high[MAX_OPERANDS];
        take(f, f->total, r, mine);
        for (uint32_t i = 0; i < f->operands; i++)
            other[i] = emit_shuffle(e, "bfly", type_element(op_operand(f->op, i)->type), mine[i],
                                    emit_i32(e, 1ll << bit));
        for (uint32_t inside = done;;
             inside = (inside - 1) & done) { /* all registers of the part */
            Scalar old[MAX_OPERANDS], sum[MAX_OPERANDS];
            take(f, f->value, r | inside, old);
            combine(e, f, other, old, sum);
            choose(e, f, upper, sum, old, sum);
            give(f, f->value, r | inside, sum);
            if (!inside) break;
        }
        choose(e, f, upper, other, mine, low);
        choose(e, f, upper, mine, other, high);
        combine(e, f, low, high, mine);
        give(f, f->total, r, mine);
    }
}

/* The bits of x that `mask` selects, moved together. */
static uint32_t pick_bits(uint32_t x, uint32_t mask) {
    uint32_t r = 0, at = 0;
    for (; mask; mask &= mask - 1) r |= (x >> __builtin_ctz(mask) & 1) << at++;
    return r;
}

/* `late`: register bits above the warps; the others along the axis are done. */
static void scan_warps(Emitter *e, const Fold *f, uint32_t done, uint32_t late) {
    Exchange x = exchange_of(e, f, 1u << __builtin_popcount(late));
    Scalar *all = arena_array(e->arena, Scalar, (size_t)x.parts * f->operands);
    Scalar values[MAX_OPERANDS], before[MAX_OPERANDS], next[MAX_OPERANDS], sum[MAX_OPERANDS];
    LLVMBasicBlockRef then, after = NULL;
    const uint32_t copies = layout_copies(f->layout, PLACE_REGISTER);
    if (x.writes) emit_branch_if(e, x.writes, &then, &after);
    for (uint32_t r = 0; r < f->registers; r++) {
        if (r & (done | copies)) continue;
        take(f, f->total, r, values);
        write_part(e, f, &x, r, pick_bits(r, late), values);
    }
    if (x.writes) emit_join(e, after);
    emit_barrier(e);
    for (uint32_t r = 0; r < f->registers; r++) {
        if (r & done) continue;
        read_parts(e, f, &x, r, pick_bits(r, late), all);
        for (uint32_t j = 0; j < x.parts; j++) {
            uint32_t k = f->reverse ? x.parts - 1 - j : j;
            part_at(f, &x, all, k, next);
            if (j == 0) {
                memcpy(sum, next, sizeof sum);
                memcpy(before, next, sizeof before);
                continue;
            }
            Scalar mine = LLVMBuildICmp(e->builder, LLVMIntEQ, x.warp.base, emit_i32(e, k), "");
            choose(e, f, mine, sum, before, before);
            combine(e, f, sum, next, sum);
        }
        give(f, f->total, r, sum);
        Scalar first = LLVMBuildICmp(e->builder, LLVMIntEQ, x.warp.base,
                                     emit_i32(e, f->reverse ? x.parts - 1 : 0), "");
        for (uint32_t inside = done;; inside = (inside - 1) & done) {
            take(f, f->value, r | inside, values);
            combine(e, f, before, values, next);
            choose(e, f, first, values, next, next);
            give(f, f->value, r | inside, next);
            if (!inside) break;
        }
    }
}

void emit_scan(Emitter *e, const Op *op) {
    Fold f = fold_of(e, op);
    uint8_t bits[MAX_PLACE_BITS], lanes[MAX_PLACE_BITS], warps[MAX_PLACE_BITS];
    const uint32_t count = axis_bits(&f, PLACE_REGISTER, bits);
    const uint32_t lane_count = axis_bits(&f, PLACE_LANE, lanes);
    const uint32_t warp_count = axis_bits(&f, PLACE_WARP, warps);
    uint32_t highest = 0, done = 0, late = 0, k = 0;
    for (uint32_t i = 0; i < f.operands; i++) {
        f.total[i] = arena_array(e->arena, Scalar, f.registers);
        memcpy(f.total[i], f.value[i], f.registers * sizeof(Scalar));
    }
    for (uint32_t i = 0; i < lane_count; i++)
        highest |= f.layout->columns[PLACE_LANE][lanes[i]] & f.mask;
    for (uint32_t i = 0; i < warp_count; i++)
        highest |= f.layout->columns[PLACE_WARP][warps[i]] & f.mask;
    for (; k < count && (f.layout->columns[PLACE_REGISTER][bits[k]] & f.mask) < highest; k++) {
        scan_register(e, &f, bits[k], done);
        done |= 1u << bits[k];
    }
    for (uint32_t i = k; i < count; i++) late |= 1u << bits[i];
    for (uint32_t i = 0; i < lane_count; i++) scan_lane(e, &f, lanes[i], done);
    if (warp_count) scan_warps(e, &f, done, late);
    for (; k < count; k++) {
        scan_register(e, &f, bits[k], done);
        done |= 1u << bits[k];
    }
    for (uint32_t i = 0; i < f.operands; i++) {
        Scalar *to = emit_result(e, op, i);
        for (uint32_t r = 0; r < f.registers; r++) to[r] = f.value[i][r];
    }
}
