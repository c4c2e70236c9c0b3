/* reduce.c: reduce, scan, map, histogram.
 *
 *   across lanes, one commutative op    several vectors of sums, then halves of vectors: the order
 *                                       is fixed by the shape alone
 *   across lanes, any other function    neighbours first, as the interpreter does, level by level
 *   along another dimension             from the first to the last, lanes side by side
 *   scan                                from the first to the last
 *
 * Operands are computed on the way; nothing is stored only to be reduced.
 */
#include "compiler/cpu/emit.h"
#include "compiler/eval.h"

#include <assert.h>

enum { MOST_TOGETHER = 16 };

static uint32_t lane_dim_of(const Type *space) {
    uint32_t dim = space->rank - 1;
    while (dim > 0 && space->shape[dim] == 1) dim--;
    return dim;
}

/* The op when the region is one commutative op on its two arguments; else OP_COUNT. */
static OpCode simple_combine(const Op *op) {
    const Region *region = op->regions[0];
    const Op *first = region->first;
    if (op->operand_count != 1 || !first || first->next != region->last) return OP_COUNT;
    if (first->operand_count != 2 || !op_is(first, OPF_COMMUTES) || !op_is(first, OPF_ELEMENT))
        return OP_COUNT;
    if (op_operand(region->last, 0) != op_result(first, 0)) return OP_COUNT;
    const Value *a = op_operand(first, 0), *b = op_operand(first, 1);
    if (!((a == region->arguments[0] && b == region->arguments[1]) ||
          (a == region->arguments[1] && b == region->arguments[0])))
        return OP_COUNT;
    switch (first->code) {
    case OP_add:
    case OP_mul:
    case OP_and:
    case OP_or:
    case OP_xor:
    case OP_min:
    case OP_max:
    case OP_min_nan:
    case OP_max_nan: return first->code;
    default: return OP_COUNT;
    }
}

void eval_region(Emitter *e, const Region *region, uint32_t count, const Reg *arguments,
                 Reg *results) {
    for (uint32_t i = 0; i < count; i++) info_of(e, region->arguments[i])->reg = arguments[i];
    if (region_is_simple(region)) {
        for (const Op *op = region->first; op != region->last; op = op->next) {
            Reg operands[8];
            if (op->code == OP_constant) {
                info_of(e, op_result(op, 0))->reg = code_constant(e, op);
                continue;
            }
            for (uint32_t i = 0; i < op->operand_count; i++)
                operands[i] = scalar_of(e, op_operand(op, i));
            info_of(e, op_result(op, 0))->reg = code_element(e, op, operands);
        }
    } else {
        code_ops(e, region);
    }
    for (uint32_t i = 0; i < region->last->operand_count; i++)
        results[i] = scalar_of(e, op_operand(region->last, i));
}

static void combine(Emitter *e, const Op *op, OpCode simple, const Reg *left, const Reg *right,
                    Reg *results) {
    const uint32_t n = op->operand_count;
    Reg both[2 * MOST_TOGETHER] = {0};
    if (simple != OP_COUNT) {
        const DType dtype = type_dtype(op_operand(op, 0)->type);
        results[0] = code_binary(e, simple, dtype, left[0], right[0]);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        both[i] = left[i];
        both[n + i] = right[i];
    }
    eval_region(e, op->regions[0], 2 * n, both, results);
    for (uint32_t i = 0; i < n; i++) results[i] = splat_reg(e, results[i], width_of(left[i]));
}

/* ---- across lanes: one commutative op ----------------------------------------------- */

static uint64_t identity_bits(OpCode code, DType dtype) {
    const bool real = dtype_is_float(dtype);
    const double inf = __builtin_inf();
    const uint32_t bits = dtype_bits(dtype);
    const uint64_t ones = bits == 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
    switch (code) {
    case OP_add: return real ? eval_bits_from_double(dtype, -0.0) : 0;
    case OP_mul: return real ? eval_bits_from_double(dtype, 1) : 1;
    case OP_and: return ones;
    case OP_min:
        if (real) return eval_bits_from_double(dtype, __builtin_nan(""));
        return dtype_is_unsigned(dtype) ? ones : ones >> 1;
    case OP_max:
        if (real) return eval_bits_from_double(dtype, __builtin_nan(""));
        return dtype_is_unsigned(dtype) ? 0 : (ones >> 1) + 1;
    case OP_min_nan: return eval_bits_from_double(dtype, inf);
    case OP_max_nan: return eval_bits_from_double(dtype, -inf);
    default: return 0;
    }
}

static Reg identity(Emitter *e, OpCode code, const Type *element, uint32_t width) {
    RegType type = reg_type(e, element);
    const uint64_t bits = identity_bits(code, element->dtype);
    Reg one = element->dtype == DT_f32   ? LLVMConstBitCast(LLVMConstInt(e->i32, bits, 0), type)
              : element->dtype == DT_f64 ? LLVMConstBitCast(LLVMConstInt(e->i64, bits, 0), type)
                                         : LLVMConstInt(type, bits, 0);
    return width == 1 ? one : splat_reg(e, one, width);
}

/* Lanes `by` further, around the end: the vector keeps its width, for which there are better
 * instructions than for its parts. */
static Reg turned(Emitter *e, Reg x, uint32_t by) {
    int order[256];
    const uint32_t width = width_of(x);
    for (uint32_t i = 0; i < width; i++) order[i] = (int)((i + by) % width);
    return shuffle(e, x, x, width, order);
}

static void give_result(Emitter *e, const Value *result, const Place *place, Reg reg,
                        uint32_t width) {
    if (type_is_block(result->type))
        slot_write(e, result->type, info_of(e, result)->slot, place, reg, width);
    else
        info_of(e, result)->reg = reg;
}

static Place without(const Place *place, uint32_t axis) {
    Place p = {.rank = place->rank - 1};
    for (uint32_t d = 0; d < p.rank; d++) p.at[d] = place->at[d + (d >= axis)];
    return p;
}

static void reduce_lanes(Emitter *e, const Op *op, uint32_t axis, OpCode code) {
    enum { MOST_SUMS = 4 };
    const Value *x = op_operand(op, 0);
    const Type *space = x->type, *element = type_element(space);
    const uint32_t extent = space->shape[axis], width = usual_width(e, space, axis);
    const uint32_t sums = extent / width < MOST_SUMS ? extent / width : MOST_SUMS;
    Nest nest = {.e = e, .space = space, .width = width, .lane_dim = axis};
    nest.place.rank = space->rank;
    for (uint32_t d = 0; d < space->rank; d++) {
        nest.place.at[d] = (Coord){COORD_ONE, false, const_i64(e, 0)};
        if (d == axis || space->shape[d] == 1) continue;
        Loop *loop = &nest.loops[nest.loop_count++];
        loop_open(e, loop, const_i64(e, space->shape[d]), 1, 0, NULL);
        nest.place.at[d].base = loop->index;
    }
    Loop *loop = &nest.loops[nest.loop_count++];
    Reg initial[MOST_SUMS];
    for (uint32_t i = 0; i < sums; i++) initial[i] = identity(e, code, element, width);
    loop_open(e, loop, const_i64(e, extent), (uint64_t)width * sums, sums, initial);
    Place places[MOST_SUMS];
    for (uint32_t i = 0; i < sums; i++) {
        Reg at = LLVMBuildAdd(e->b, loop->index, const_i64(e, (int64_t)i * width), "");
        nest.place.at[axis] = (Coord){width > 1 ? COORD_STEP : COORD_ONE, !loop->once, at};
        places[i] = nest.place;
    }
    Split split;
    Reg terms[2][MOST_SUMS];
    split_open(&split, &nest, mask_of(e, 1, &x), sums, places);
    for (uint32_t turn = 0; split_next(&split); turn++)
        for (uint32_t i = 0; i < sums; i++) {
            nest.place = places[i];
            terms[turn][i] = splat_reg(e, eval_here(&nest, x), width);
        }
    for (uint32_t i = 0; i < sums; i++) terms[0][i] = split_merge(&split, terms[0][i], terms[1][i]);
    for (uint32_t i = 0; i < sums; i++)
        loop->next[i] = code_binary(e, code, element->dtype, loop->phi[i], terms[0][i]);
    loop_close(e, loop);
    nest.loop_count--;
    Reg sum = loop->phi[0];
    for (uint32_t n = sums; n > 1; n /= 2)
        for (uint32_t i = 0; i < n / 2; i++)
            loop->phi[i] = code_binary(e, code, element->dtype, loop->phi[i], loop->phi[i + n / 2]);
    sum = loop->phi[0];
    for (uint32_t half = width / 2; half >= 1; half /= 2)
        sum = code_binary(e, code, element->dtype, sum, turned(e, sum, half));
    sum = extract_lane(e, sum, 0);
    const Place place = without(&nest.place, axis);
    give_result(e, op_result(op, 0), &place, sum, 1);
    nest_close(&nest);
}

/* ---- along another dimension -------------------------------------------------------- */

static void eval_all(Nest *nest, const Op *op, Reg *regs) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        regs[i] = splat_reg(nest->e, eval_here(nest, op_operand(op, i)), nest->width);
}

/* Loops over all dims but the axis, lanes last; for scans each partial result is kept. */
static void fold(Emitter *e, const Op *op, uint32_t axis, OpCode simple, uint32_t width,
                 bool scan) {
    const Type *space = op_operand(op, 0)->type;
    const uint32_t extent = space->shape[axis], n = op->operand_count;
    const bool reverse = op_int(op, ATTR_reverse, 0) != 0;
    uint32_t lane_dim = lane_dim_of(space);
    Nest nest = {.e = e, .space = space, .width = width, .lane_dim = lane_dim};
    nest.place.rank = space->rank;
    for (uint32_t d = 0; d < space->rank; d++) {
        nest.place.at[d] = (Coord){COORD_ONE, false, const_i64(e, 0)};
        if (d == axis || space->shape[d] == 1) continue;
        const bool lanes = d == lane_dim;
        Loop *loop = &nest.loops[nest.loop_count++];
        loop_open(e, loop, const_i64(e, space->shape[d]), lanes ? width : 1, 0, NULL);
        nest.place.at[d] = (Coord){lanes && width > 1 ? COORD_STEP : COORD_ONE, true, loop->index};
    }
    Reg sum[MOST_TOGETHER], term[MOST_TOGETHER];
    nest.place.at[axis].base = const_i64(e, reverse ? extent - 1 : 0);
    eval_all(&nest, op, sum);
    for (uint32_t i = 0; i < n && scan; i++)
        slot_write(e, space, info_of(e, op_result(op, i))->slot, &nest.place, sum[i], width);
    if (extent > 1) {
        nest_forget(&nest);
        for (uint32_t d = 0; d < space->rank; d++) nest.place.at[d].inner = false;
        Loop *loop = &nest.loops[nest.loop_count++];
        loop_open(e, loop, const_i64(e, extent - 1), 1, n, sum);
        Reg at = LLVMBuildAdd(e->b, loop->index, const_i64(e, 1), "");
        if (reverse) at = LLVMBuildSub(e->b, const_i64(e, extent - 1), at, "");
        nest.place.at[axis] = (Coord){COORD_ONE, true, at};
        eval_all(&nest, op, term);
        combine(e, op, simple, loop->phi, term, loop->next);
        for (uint32_t i = 0; i < n && scan; i++)
            slot_write(e, space, info_of(e, op_result(op, i))->slot, &nest.place, loop->next[i],
                       width);
        loop_close(e, loop);
        nest.loop_count--;
        memcpy(sum, loop->phi, sizeof *sum * n);
    }
    const Place place = without(&nest.place, axis);
    for (uint32_t i = 0; i < n && !scan; i++)
        give_result(e, op_result(op, i), &place, sum[i], width);
    nest_close(&nest);
}

/* ---- across lanes: any function ----------------------------------------------------- */

/* Elements first .. first + width of the left or right neighbours. */
static void take_pairs(Emitter *e, const Type *element, uint64_t slot, Reg first, uint32_t width,
                       Reg *left, Reg *right) {
    const uint32_t size = type_element_size(element);
    Reg offset = LLVMBuildMul(e->b, first, const_i64(e, 2 * (int64_t)size), "");
    Reg pointer = byte_offset(e, slot_pointer(e, slot), offset);
    Reg both = load_reg(e, LLVMVectorType(stored_type(e, element), 2 * width), pointer, size);
    both = from_memory(e, both, element);
    if (width == 1) {
        *left = extract_lane(e, both, 0);
        *right = extract_lane(e, both, 1);
        return;
    }
    int order[256];
    for (uint32_t i = 0; i < width; i++) order[i] = (int)(2 * i);
    *left = shuffle(e, both, both, width, order);
    for (uint32_t i = 0; i < width; i++) order[i] = (int)(2 * i + 1);
    *right = shuffle(e, both, both, width, order);
}

static void put(Emitter *e, const Type *element, uint64_t slot, Reg first, Reg value) {
    const uint32_t size = type_element_size(element);
    Reg offset = LLVMBuildMul(e->b, first, const_i64(e, size), "");
    store_reg(e, to_memory(e, value, element), byte_offset(e, slot_pointer(e, slot), offset), size);
}

/* The axis is the last dimension with more than one element: neighbours are next to each other. */
static void reduce_pairs(Emitter *e, const Op *op, uint32_t extent) {
    const uint32_t n = op->operand_count;
    const Type *space = op_operand(op, 0)->type;
    const bool lanes = region_is_simple(op->regions[0]);
    uint64_t from[MOST_TOGETHER], half[MOST_TOGETHER];
    for (uint32_t i = 0; i < n; i++) {
        force(e, op_operand(op, i));
        from[i] = info_of(e, op_operand(op, i))->slot;
        half[i] = slot_alloc(e, slot_bytes(op_operand(op, i)->type));
    }
    uint32_t count = space->count;
    for (; extent > 1; extent /= 2) {
        count /= 2;
        const uint32_t width = !lanes ? 1 : count < e->lanes ? count : e->lanes;
        Loop loop;
        loop_open(e, &loop, const_i64(e, count), width, 0, NULL);
        Reg left[MOST_TOGETHER], right[MOST_TOGETHER], result[MOST_TOGETHER];
        for (uint32_t i = 0; i < n; i++)
            take_pairs(e, type_element(op_operand(op, i)->type), from[i], loop.index, width,
                       &left[i], &right[i]);
        combine(e, op, OP_COUNT, left, right, result);
        for (uint32_t i = 0; i < n; i++)
            put(e, type_element(op_operand(op, i)->type), half[i], loop.index, result[i]);
        loop_close(e, &loop);
        for (uint32_t i = 0; i < n; i++) from[i] = half[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        const Value *result = op_result(op, i);
        const Type *element = type_element(result->type);
        const uint32_t size = type_element_size(element);
        if (!type_is_block(result->type)) {
            Reg x = load_reg(e, stored_type(e, element), slot_pointer(e, from[i]), size);
            info_of(e, result)->reg = from_memory(e, x, element);
        } else {
            LLVMBuildMemCpy(e->b, slot_pointer(e, info_of(e, result)->slot), size,
                            slot_pointer(e, from[i]), size, const_i64(e, (int64_t)count * size));
        }
    }
    for (uint32_t i = 0; i < n; i++) slot_free(e, half[i], slot_bytes(op_operand(op, i)->type));
}

/* ---- the ops ------------------------------------------------------------------------ */

static void begin(Emitter *e, const Op *op) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        prepare(e, op_operand(op, i), op_operand(op, 0)->type, true);
    for (uint32_t i = 0; i < op->result_count; i++)
        if (type_is_block(op_result(op, i)->type)) give_slot(e, op_result(op, i));
}

static void end(Emitter *e, const Op *op) {
    for (uint32_t i = 0; i < op->result_count; i++) info_of(e, op_result(op, i))->ready = true;
}

static bool too_many(Emitter *e, const Op *op) {
    if (op->operand_count <= MOST_TOGETHER) return false;
    code_fault(e, op, CPU_FAULT_UNSUPPORTED, NULL, NULL);
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = op_result(op, i);
        RegType type = reg_type(e, type_element(result->type));
        if (type_is_block(result->type))
            give_slot(e, result);
        else
            info_of(e, result)->reg = LLVMConstNull(type);
        info_of(e, result)->ready = true;
    }
    return true;
}

void code_reduce(Emitter *e, const Op *op) {
    const Type *space = op_operand(op, 0)->type;
    const uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0), dim = lane_dim_of(space);
    if (too_many(e, op)) return;
    begin(e, op);
    const OpCode simple = simple_combine(op);
    const bool lanes = simple != OP_COUNT || region_is_simple(op->regions[0]);
    if (axis != dim || space->shape[axis] == 1)
        fold(e, op, axis, simple, lanes && axis != dim ? usual_width(e, space, dim) : 1, false);
    else if (simple != OP_COUNT)
        reduce_lanes(e, op, axis, simple);
    else
        reduce_pairs(e, op, space->shape[axis]);
    end(e, op);
}

void code_scan(Emitter *e, const Op *op) {
    const Type *space = op_operand(op, 0)->type;
    const uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0), dim = lane_dim_of(space);
    if (too_many(e, op)) return;
    begin(e, op);
    const OpCode simple = simple_combine(op);
    const bool lanes = simple != OP_COUNT || region_is_simple(op->regions[0]);
    fold(e, op, axis, simple, lanes && axis != dim ? usual_width(e, space, dim) : 1, true);
    end(e, op);
}

/* Regions with control flow, or several results: one element at a time. */
void code_map(Emitter *e, const Op *op) {
    const Type *space = op->operand_count ? op_operand(op, 0)->type : op_result(op, 0)->type;
    Reg *arguments = arena_array(e->arena, Reg, op->operand_count);
    Reg *results = arena_array(e->arena, Reg, op->result_count);
    begin(e, op);
    Nest nest;
    nest_open(&nest, e, space, type_is_block(space) ? space->rank - 1 : 0, 1);
    for (uint32_t i = 0; i < op->operand_count; i++)
        arguments[i] = eval_here(&nest, op_operand(op, i));
    eval_region(e, op->regions[0], op->operand_count, arguments, results);
    for (uint32_t i = 0; i < op->result_count; i++)
        give_result(e, op_result(op, i), &nest.place, results[i], 1);
    nest_close(&nest);
    end(e, op);
}

void code_histogram(Emitter *e, const Op *op) {
    const Value *values = op_operand(op, 0), *result = op_result(op, 0);
    const Value *mask = op->operand_count > 1 ? op_operand(op, 1) : NULL;
    begin(e, op);
    Reg counts = slot_pointer(e, info_of(e, result)->slot);
    LLVMBuildMemSet(e->b, counts, LLVMConstInt(e->i8, 0, 0),
                    const_i64(e, 4 * (int64_t)result->type->count), 4);
    Nest nest;
    nest_open(&nest, e, values->type, 0, 1);
    Reg bin = eval_here(&nest, values);
    bin = dtype_is_unsigned(type_dtype(values->type)) ? LLVMBuildZExt(e->b, bin, e->i64, "")
                                                      : LLVMBuildSExt(e->b, bin, e->i64, "");
    Reg inside = LLVMBuildICmp(e->b, LLVMIntULT, bin, const_i64(e, result->type->count), "");
    if (mask) inside = LLVMBuildAnd(e->b, inside, eval_here(&nest, mask), "");
    Reg safe = LLVMBuildSelect(e->b, inside, bin, const_i64(e, 0), "");
    Reg place = byte_offset(e, counts, LLVMBuildMul(e->b, safe, const_i64(e, 4), ""));
    Reg old = load_reg(e, e->i32, place, 4);
    store_reg(e, LLVMBuildAdd(e->b, old, LLVMBuildZExt(e->b, inside, e->i32, ""), ""), place, 4);
    nest_close(&nest);
    end(e, op);
}
