/* nest.c: loops over a shape, and what a lazy value is at a place.
 *
 * eval() asks for the elements of a value at the coordinates of a place, all lanes at once. An
 * element op asks the same of its operands; an op that moves elements asks for other coordinates.
 * What is the same in all lanes stays a scalar, and when it does not change in the innermost loop
 * it is computed before it. Within a nest each (value, place) is computed once.
 *
 * A stored value that is not in its slot yet is either written on the way, when the nest walks over
 * the whole of it, or gets a nest of its own before; prepare() sees to that.
 */
#include "compiler/cpu/emit.h"
#include "compiler/partner.h"

#include <assert.h>

/* ---- slots -------------------------------------------------------------------------- */

uint64_t slot_alloc(Emitter *e, uint64_t bytes) {
    FreeSlot **best = NULL;
    for (FreeSlot **at = &e->free_slots; *at; at = &(*at)->next)
        if ((*at)->size >= bytes && (!best || (*at)->size < (*best)->size)) best = at;
    if (best) {
        FreeSlot *taken = *best;
        const uint64_t offset = taken->offset;
        if (taken->size == bytes)
            *best = taken->next;
        else
            *taken = (FreeSlot){taken->offset + bytes, taken->size - bytes, taken->next};
        return offset;
    }
    const uint64_t offset = e->scratch_size;
    e->scratch_size += bytes;
    return offset;
}

void slot_free(Emitter *e, uint64_t slot, uint64_t bytes) {
    FreeSlot **at = &e->free_slots;
    while (*at && (*at)->offset < slot) at = &(*at)->next;
    FreeSlot *given = arena_new(e->arena, FreeSlot);
    *given = (FreeSlot){slot, bytes, *at};
    *at = given;
    for (FreeSlot *f = e->free_slots; f && f->next;) { /* neighbours become one */
        if (f->offset + f->size == f->next->offset) {
            f->size += f->next->size;
            f->next = f->next->next;
        } else {
            f = f->next;
        }
    }
}

/* A vector may be written past the end of a short block. */
uint64_t slot_bytes(const Type *type) {
    return ((uint64_t)type->count * type_element_size(type) + 63) / 64 * 64;
}

void give_slot(Emitter *e, const Value *value) {
    ValueInfo *info = info_of(e, value);
    if (info->has_slot) return;
    info->slot = slot_alloc(e, slot_bytes(value->type));
    info->has_slot = true;
    vec_push(e->arena, &e->held, value);
}

Reg slot_pointer(Emitter *e, uint64_t slot) {
    return byte_offset(e, e->scratch, const_i64(e, (int64_t)slot));
}

/* ---- coordinates -------------------------------------------------------------------- */

static Coord coord_constant(Emitter *e, int64_t value) {
    return (Coord){COORD_ONE, false, const_i64(e, value)};
}

static Reg coord_vector(Emitter *e, const Coord *c, uint32_t width) {
    if (c->kind == COORD_ANY) return c->base;
    Reg base = splat_reg(e, c->base, width);
    if (c->kind == COORD_ONE) return base;
    return LLVMBuildAdd(e->b, base, lane_numbers(e, e->i64, width), "");
}

Reg row_major(Emitter *e, const Type *type, const Place *place, uint32_t width, CoordKind *kind) {
    Reg sum = NULL;
    *kind = COORD_ONE;
    for (uint32_t d = 0; d < type->rank; d++) {
        const Coord *c = &place->at[d];
        if (c->kind == COORD_ANY) *kind = COORD_ANY;
        if (c->kind == COORD_STEP && *kind != COORD_ANY)
            *kind = d + 1 == type->rank || type->count == 1 ? COORD_STEP : COORD_ANY;
    }
    uint64_t step = type->count;
    for (uint32_t d = 0; d < type->rank; d++) {
        step /= type->shape[d];
        if (type->shape[d] == 1) continue;
        Reg at = *kind == COORD_ANY ? coord_vector(e, &place->at[d], width) : place->at[d].base;
        if (step > 1) at = LLVMBuildMul(e->b, at, const_int_like(at, step), "");
        sum = sum ? LLVMBuildAdd(e->b, sum, at, "") : at;
    }
    if (sum) return sum;
    Reg zero = const_i64(e, 0);
    return *kind == COORD_ANY ? splat_reg(e, zero, width) : zero;
}

static Reg scaled(Emitter *e, Reg index, uint32_t size) {
    return size == 1 ? index : LLVMBuildMul(e->b, index, const_int_like(index, size), "");
}

Reg slot_read(Emitter *e, const Type *type, uint64_t slot, const Place *place, uint32_t width) {
    CoordKind kind;
    const Type *element = type_element(type);
    const uint32_t size = type_element_size(type);
    RegType memory = stored_type(e, element);
    Reg offset = scaled(e, row_major(e, type, place, width, &kind), size);
    Reg pointer = byte_offset(e, slot_pointer(e, slot), offset);
    if (kind != COORD_ANY) {
        RegType wanted = lanes_type(memory, kind == COORD_STEP ? width : 1);
        return from_memory(e, load_reg(e, wanted, pointer, size), element);
    }
    Reg all = const_int_like(LLVMGetUndef(LLVMVectorType(e->i1, width)), 1);
    RegType types[2] = {LLVMVectorType(memory, width), LLVMTypeOf(pointer)};
    Reg operands[3] = {pointer, all, LLVMGetPoison(types[0])};
    Reg x = call_overloaded(e, "llvm.masked.gather", 2, types, 3, operands);
    return from_memory(e, x, element);
}

void slot_write(Emitter *e, const Type *type, uint64_t slot, const Place *place, Reg value,
                uint32_t width) {
    CoordKind kind;
    const Type *element = type_element(type);
    const uint32_t size = type_element_size(type);
    Reg offset = scaled(e, row_major(e, type, place, width, &kind), size);
    Reg pointer = byte_offset(e, slot_pointer(e, slot), offset);
    value = to_memory(e, splat_reg(e, value, kind == COORD_ONE ? 1 : width), element);
    if (kind != COORD_ANY) {
        store_reg(e, value, pointer, size);
        return;
    }
    Reg all = const_int_like(LLVMGetUndef(LLVMVectorType(e->i1, width)), 1);
    RegType types[2] = {LLVMTypeOf(value), LLVMTypeOf(pointer)};
    Reg operands[3] = {value, pointer, all};
    call_overloaded(e, "llvm.masked.scatter", 2, types, 3, operands);
}

/* ---- the loops ---------------------------------------------------------------------- */

uint32_t usual_width(const Emitter *e, const Type *space, uint32_t lane_dim) {
    const uint32_t extent = type_is_block(space) ? space->shape[lane_dim] : 1;
    return extent < e->lanes ? extent : e->lanes;
}

void nest_open(Nest *nest, Emitter *e, const Type *space, uint32_t lane_dim, uint32_t width) {
    *nest = (Nest){.e = e, .space = space, .width = width, .lane_dim = lane_dim};
    nest->place.rank = type_is_block(space) ? space->rank : 0;
    for (uint32_t d = 0; d < nest->place.rank; d++) {
        nest->place.at[d] = coord_constant(e, 0);
        if (d == lane_dim || space->shape[d] == 1) continue;
        Loop *loop = &nest->loops[nest->loop_count++];
        loop_open(e, loop, const_i64(e, space->shape[d]), 1, 0, NULL);
        nest->place.at[d].base = loop->index;
    }
    if (nest->place.rank == 0) return;
    Loop *loop = &nest->loops[nest->loop_count++];
    loop_open(e, loop, const_i64(e, space->shape[lane_dim]), width, 0, NULL);
    nest->place.at[lane_dim] =
        (Coord){width > 1 ? COORD_STEP : COORD_ONE, !loop->once, loop->index};
}

void nest_forget(Nest *nest) {
    for (uint32_t i = 0; i < nest->touched.length; i++)
        info_of(nest->e, nest->touched.data[i])->memo = NULL;
    nest->touched.length = 0;
}

void nest_close(Nest *nest) {
    for (uint32_t i = nest->loop_count; i-- > 0;) loop_close(nest->e, &nest->loops[i]);
    nest_forget(nest);
    for (uint32_t i = 0; i < nest->passing.length; i++)
        info_of(nest->e, nest->passing.data[i])->ready = true;
    for (uint32_t i = 0; i < nest->asked.length; i++)
        info_of(nest->e, nest->asked.data[i])->asked_ahead = true;
}

/* ---- memos -------------------------------------------------------------------------- */

static bool same_place(const Place *a, const Place *b) {
    if (a->rank != b->rank) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->at[i].kind != b->at[i].kind || a->at[i].base != b->at[i].base) return false;
    return true;
}

static Memo *find_memo(Nest *nest, const Value *value, const Place *place, bool affine) {
    for (Memo *m = info_of(nest->e, value)->memo; m; m = m->next)
        if ((m->step != NULL || !m->reg) == affine && same_place(&m->place, place)) return m;
    return NULL;
}

static Memo *add_memo(Nest *nest, const Value *value, const Place *place) {
    ValueInfo *info = info_of(nest->e, value);
    if (!info->memo) vec_push(nest->e->arena, &nest->touched, value);
    Memo *m = arena_new(nest->e->arena, Memo);
    *m = (Memo){.value = value, .place = *place, .next = info->memo};
    info->memo = m;
    return m;
}

/* ---- places of operands ------------------------------------------------------------- */

static Place place_of_broadcast(Emitter *e, const Type *from, const Place *place) {
    Place p = *place;
    for (uint32_t d = 0; d < from->rank; d++)
        if (from->shape[d] == 1) p.at[d] = coord_constant(e, 0);
    return p;
}

static Place place_without(const Place *place, uint32_t axis) {
    Place p = {.rank = place->rank - 1};
    for (uint32_t d = 0; d < p.rank; d++) p.at[d] = place->at[d + (d >= axis)];
    return p;
}

static Place place_with(const Place *place, uint32_t axis, Coord coord) {
    Place p = {.rank = place->rank + 1};
    for (uint32_t d = 0; d < p.rank; d++) p.at[d] = d == axis ? coord : place->at[d - (d > axis)];
    return p;
}

static Place place_of_permute(const Op *op, const Place *place) {
    const int64_t *order = op_attribute(op, ATTR_order)->ints;
    Place p = {.rank = place->rank};
    for (uint32_t d = 0; d < place->rank; d++) p.at[order[d]] = place->at[d];
    return p;
}

/* The row-major number taken apart again. */
static Place place_of_reshape(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const Type *from = op_operand(op, 0)->type, *to = op_result(op, 0)->type;
    Place p = {.rank = from->rank};
    CoordKind kind;
    bool inner = false;
    for (uint32_t d = 0; d < place->rank; d++) inner |= place->at[d].inner;
    Reg number = row_major(e, to, place, nest->width, &kind);
    if (kind == COORD_STEP && from->shape[from->rank - 1] < nest->width) {
        const Coord all = {COORD_STEP, true, number};
        number = coord_vector(e, &all, nest->width);
        kind = COORD_ANY;
    }
    uint64_t step = from->count;
    for (uint32_t d = 0; d < from->rank; d++) {
        step /= from->shape[d];
        Reg at = number;
        if (step > 1)
            at = LLVMBuildLShr(e->b, at, const_int_like(at, (uint64_t)__builtin_ctzll(step)), "");
        at = LLVMBuildAnd(e->b, at, const_int_like(at, from->shape[d] - 1), "");
        const bool last = d + 1 == from->rank;
        p.at[d] = (Coord){kind == COORD_STEP && !last ? COORD_ONE : kind, inner, at};
    }
    return p;
}

/* ---- the value of ops --------------------------------------------------------------- */

Reg scalar_of(Emitter *e, const Value *value) {
    return info_of(e, value)->reg;
}

static Reg choose(Emitter *e, Reg condition, Reg a, Reg b) {
    Reg all[3] = {condition, a, b};
    same_width(e, 3, all);
    return LLVMBuildSelect(e->b, all[0], all[1], all[2], "");
}

static Reg eval_join(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const Place p = place_without(place, place->rank - 1);
    Reg a = eval(nest, op_operand(op, 0), &p), b = eval(nest, op_operand(op, 1), &p);
    const Coord *last = &place->at[place->rank - 1];
    Reg which = last->kind == COORD_ONE ? last->base : coord_vector(e, last, nest->width);
    Reg first = LLVMBuildICmp(e->b, LLVMIntEQ, which, LLVMConstNull(LLVMTypeOf(which)), "");
    return choose(e, first, a, b);
}

static Reg eval_concat(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const uint32_t half = op_operand(op, 0)->type->shape[0];
    Coord c = place->at[0];
    if (c.kind == COORD_STEP) {
        c.base = coord_vector(e, &c, nest->width);
        c.kind = COORD_ANY;
    }
    Reg limit = const_int_like(c.base, half);
    Reg low = LLVMBuildICmp(e->b, LLVMIntULT, c.base, limit, "");
    c.base = LLVMBuildAnd(e->b, c.base, const_int_like(c.base, half - 1), "");
    Place p = *place;
    p.at[0] = c;
    Reg a = eval(nest, op_operand(op, 0), &p);
    return choose(e, low, a, eval(nest, op_operand(op, 1), &p));
}

/* Partners of neighbours are neighbours, but for their order. */
static Reg eval_partners(Nest *nest, const Op *op, const Place *place, uint32_t difference) {
    Emitter *e = nest->e;
    const Value *source = op_operand(op, 0);
    const uint32_t within = difference & (nest->width - 1);
    Place p = *place;
    Coord *c = &p.at[op_int(op, ATTR_axis, 0)];
    c->base = LLVMBuildXor(e->b, c->base, const_i64(e, difference ^ within), "");
    Reg x = slot_read(e, source->type, info_of(e, source)->slot, &p, nest->width);
    if (!within || width_of(x) == 1) return x;
    int *order = arena_array(e->arena, int, nest->width);
    for (uint32_t i = 0; i < nest->width; i++) order[i] = (int)(i ^ within);
    return shuffle(e, x, x, nest->width, order);
}

static Reg eval_gather(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const Value *source = op_operand(op, 0), *index = op_operand(op, 1);
    const uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0);
    uint32_t difference, d = 0;
    while (d < place->rank && place->at[d].kind == (d == axis ? COORD_STEP : COORD_ONE)) d++;
    if (d == place->rank && gather_swaps(op, &difference))
        return eval_partners(nest, op, place, difference);
    Reg at = eval(nest, index, place);
    RegType wide = lanes_type(e->i64, width_of(at));
    at = dtype_is_unsigned(type_dtype(index->type)) ? LLVMBuildZExt(e->b, at, wide, "")
                                                    : LLVMBuildSExt(e->b, at, wide, "");
    /* Out of range is a fault in the interpreter; here it stays inside the block. */
    at = LLVMBuildAnd(e->b, at, const_int_like(at, source->type->shape[axis] - 1), "");
    Place p = *place;
    bool one = width_of(at) == 1;
    for (d = 0; d < p.rank && one; d++) one = d == axis || p.at[d].kind != COORD_ANY;
    p.at[axis] = (Coord){width_of(at) == 1 ? COORD_ONE : COORD_ANY, true, at};
    return slot_read(e, source->type, info_of(e, source)->slot, &p, nest->width);
}

static Reg eval_arange(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const Coord *c = &place->at[0];
    const uint32_t width = c->kind == COORD_ONE ? 1 : nest->width;
    Reg at = c->kind == COORD_ANY ? c->base : c->base;
    at = LLVMBuildTrunc(e->b, at, lanes_type(e->i32, width_of(at)), "");
    const int64_t start = op_int(op, ATTR_start, 0);
    if (start) at = LLVMBuildAdd(e->b, at, const_int_like(at, (uint64_t)start), "");
    if (c->kind != COORD_STEP) return at;
    return LLVMBuildAdd(e->b, splat_reg(e, at, width), lane_numbers(e, e->i32, width), "");
}

static Reg eval_elements(Nest *nest, const Op *op, const Place *place) {
    Reg operands[8];
    assert(op->operand_count <= ARRAY_LENGTH(operands));
    for (uint32_t i = 0; i < op->operand_count; i++)
        operands[i] = eval(nest, op_operand(op, i), place);
    return code_element(nest->e, op, operands);
}

static Reg eval_map(Nest *nest, const Op *op, const Place *place) {
    Reg *operands = arena_array(nest->e->arena, Reg, op->operand_count), result;
    for (uint32_t i = 0; i < op->operand_count; i++)
        operands[i] = eval(nest, op_operand(op, i), place);
    eval_region(nest->e, op->regions[0], op->operand_count, operands, &result);
    return result;
}

static Reg eval_op(Nest *nest, const Value *value, const Place *place) {
    Emitter *e = nest->e;
    const Op *op = value->op;
    Place p;
    switch (op->code) {
    case OP_constant: return code_constant(e, op);
    case OP_arange: return eval_arange(nest, op, place);
    case OP_splat: return scalar_of(e, op_operand(op, 0));
    case OP_broadcast: p = place_of_broadcast(e, op_operand(op, 0)->type, place); break;
    case OP_expand_dims: p = place_without(place, (uint32_t)op_int(op, ATTR_axis, 0)); break;
    case OP_permute: p = place_of_permute(op, place); break;
    case OP_reshape: p = place_of_reshape(nest, op, place); break;
    case OP_split: p = place_with(place, place->rank, coord_constant(e, value->index)); break;
    case OP_hint: p = *place; break;
    case OP_join: return eval_join(nest, op, place);
    case OP_concat: return eval_concat(nest, op, place);
    case OP_gather: return eval_gather(nest, op, place);
    case OP_load: return eval_load(nest, op, place);
    case OP_map: return eval_map(nest, op, place);
    default: return eval_elements(nest, op, place);
    }
    return eval(nest, op_operand(op, 0), &p);
}

/* Is it the same in all turns of the innermost loop? */
static bool is_outside(const Nest *nest, const Place *place) {
    if (nest->loop_count == 0 || nest->loops[nest->loop_count - 1].once) return false;
    for (uint32_t d = 0; d < place->rank; d++)
        if (place->at[d].inner) return false;
    return true;
}

static Reg eval_outside(Nest *nest, const Value *value, const Place *place) {
    Emitter *e = nest->e;
    const LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
    Reg branch = nest->loops[nest->loop_count - 1].branch;
    if (here == LLVMGetInstructionParent(branch)) return eval_op(nest, value, place);
    LLVMPositionBuilderBefore(e->b, branch);
    Reg reg = eval_op(nest, value, place);
    LLVMPositionBuilderAtEnd(e->b, here);
    return reg;
}

static bool writes_on_the_way(const Nest *nest, const Value *value, const Place *place) {
    const ValueInfo *info = info_of(nest->e, value);
    return info->stored && !info->ready && value->type->count == nest->space->count &&
           same_place(place, &nest->place);
}

Reg eval(Nest *nest, const Value *value, const Place *place) {
    Emitter *e = nest->e;
    if (!type_is_block(value->type)) return scalar_of(e, value);
    if (value == nest->mask && nest->all_on && same_place(place, &nest->place))
        return LLVMConstInt(e->i1, 1, 0);
    ValueInfo *info = info_of(e, value);
    Memo *found = find_memo(nest, value, place, false);
    if (found) return found->reg;
    Reg reg;
    if (info->ready) {
        reg = slot_read(e, value->type, info->slot, place, nest->width);
        ask_ahead(nest, value, place);
    } else if (is_outside(nest, place) && !(e->bounds && info->has_load)) { /* checks branch */
        reg = eval_outside(nest, value, place);
    } else {
        reg = eval_op(nest, value, place);
        if (writes_on_the_way(nest, value, place)) {
            give_slot(e, value);
            slot_write(e, value->type, info->slot, place, reg, nest->width);
            bool known = false;
            for (uint32_t i = 0; i < nest->passing.length; i++)
                known |= nest->passing.data[i] == value;
            if (!known) vec_push(e->arena, &nest->passing, value);
        }
    }
    add_memo(nest, value, place)->reg = reg;
    return reg;
}

/* ---- affine values ------------------------------------------------------------------ */

static bool is_zero(Reg step) {
    return LLVMIsConstant(step) && LLVMIsNull(step);
}

static Reg extended(Emitter *e, Reg x, DType from, RegType to) {
    if (LLVMTypeOf(x) == to) return x;
    if (LLVMGetIntTypeWidth(LLVMTypeOf(x)) > LLVMGetIntTypeWidth(to))
        return LLVMBuildTrunc(e->b, x, to, "");
    return dtype_is_unsigned(from) ? LLVMBuildZExt(e->b, x, to, "")
                                   : LLVMBuildSExt(e->b, x, to, "");
}

static bool affine_two(Nest *nest, const Op *op, const Place *place, Reg *base, Reg *step) {
    Emitter *e = nest->e;
    Reg b[2], s[2];
    for (uint32_t i = 0; i < 2; i++)
        if (!eval_affine(nest, op_operand(op, i), place, &b[i], &s[i])) return false;
    switch (op->code) {
    case OP_add:
        *base = LLVMBuildAdd(e->b, b[0], b[1], "");
        *step = is_zero(s[0]) ? s[1] : is_zero(s[1]) ? s[0] : LLVMBuildAdd(e->b, s[0], s[1], "");
        return true;
    case OP_sub:
        *base = LLVMBuildSub(e->b, b[0], b[1], "");
        *step = is_zero(s[1]) ? s[0] : LLVMBuildSub(e->b, s[0], s[1], "");
        return true;
    case OP_mul:
        if (!is_zero(s[0]) && !is_zero(s[1])) return false;
        *base = LLVMBuildMul(e->b, b[0], b[1], "");
        *step = is_zero(s[0]) && is_zero(s[1]) ? s[0]
                : is_zero(s[1])                ? LLVMBuildMul(e->b, s[0], b[1], "")
                                               : LLVMBuildMul(e->b, s[1], b[0], "");
        return true;
    default: break;
    }
    /* offset */
    const DType dtype = type_dtype(op_operand(op, 1)->type);
    const uint64_t size = type_element_size(type_element(op_operand(op, 0)->type)->element);
    if (dtype_is_unsigned(dtype) && !is_zero(s[1]) && !LLVMIsConstant(s[1])) return false;
    for (uint32_t i = 0; i < 2; i++) {
        Reg *x = i ? &s[1] : &b[1];
        *x = extended(e, *x, dtype, e->i64);
        *x = LLVMBuildMul(e->b, *x, const_i64(e, (int64_t)size), "");
    }
    *base = LLVMBuildAdd(e->b, b[0], b[1], "");
    *step = is_zero(s[0]) ? s[1] : is_zero(s[1]) ? s[0] : LLVMBuildAdd(e->b, s[0], s[1], "");
    return true;
}

static bool affine_op(Nest *nest, const Value *value, const Place *place, Reg *base, Reg *step) {
    Emitter *e = nest->e;
    const Op *op = value->op;
    Place p = *place;
    switch (op->code) {
    case OP_arange: {
        const Coord *c = &place->at[0];
        if (c->kind == COORD_ANY) return false;
        *base = LLVMBuildAdd(e->b, LLVMBuildTrunc(e->b, c->base, e->i32, ""),
                             const_i32(e, op_int(op, ATTR_start, 0)), "");
        *step = const_i32(e, c->kind == COORD_STEP);
        return true;
    }
    case OP_broadcast: p = place_of_broadcast(e, op_operand(op, 0)->type, place); break;
    case OP_expand_dims: p = place_without(place, (uint32_t)op_int(op, ATTR_axis, 0)); break;
    case OP_permute: p = place_of_permute(op, place); break;
    case OP_reshape: p = place_of_reshape(nest, op, place); break;
    case OP_hint: break;
    case OP_bitcast:
        if (!type_is_pointer(value->type) && type_dtype(value->type) != DT_i64) return false;
        if (!type_is_pointer(op_operand(op, 0)->type)) return false;
        break;
    case OP_cast: {
        const DType from = type_dtype(op_operand(op, 0)->type), to = type_dtype(value->type);
        if (!dtype_is_int(from) || !dtype_is_int(to) || from == DT_i1 || to == DT_i1 ||
            dtype_size(to) < dtype_size(from))
            return false;
        if (!eval_affine(nest, op_operand(op, 0), place, base, step)) return false;
        if (dtype_is_unsigned(from) && !LLVMIsConstant(*step)) return false;
        *base = extended(e, *base, from, reg_type(e, type_element(value->type)));
        *step = extended(e, *step, from, reg_type(e, type_element(value->type)));
        return true;
    }
    case OP_add:
    case OP_sub:
    case OP_mul:
        if (!dtype_is_int(type_dtype(value->type)) || type_dtype(value->type) == DT_i1)
            return false;
        return affine_two(nest, op, place, base, step);
    case OP_offset: return affine_two(nest, op, place, base, step);
    default: return false;
    }
    return eval_affine(nest, op_operand(op, 0), &p, base, step);
}

/* True when no lane differs: constants, splats, and places with one element. */
static bool is_one(Nest *nest, const Value *value, const Place *place) {
    if (!type_is_block(value->type)) return true;
    for (uint32_t d = 0; d < place->rank; d++)
        if (place->at[d].kind != COORD_ONE && value->type->shape[d] > 1)
            return value->op && !info_of(nest->e, value)->ready &&
                   (value->op->code == OP_splat || value->op->code == OP_constant);
    return true;
}

static bool affine_anew(Nest *nest, const Value *value, const Place *place, Reg *base, Reg *step) {
    if (is_one(nest, value, place)) {
        *base = eval(nest, value, place);
        if (width_of(*base) > 1) return false;
        *step = LLVMConstNull(LLVMTypeOf(*base));
        return LLVMGetTypeKind(LLVMTypeOf(*base)) == LLVMIntegerTypeKind;
    }
    const ValueInfo *info = info_of(nest->e, value);
    return value->op && !info->stored && affine_op(nest, value, place, base, step);
}

bool eval_affine(Nest *nest, const Value *value, const Place *place, Reg *base, Reg *step) {
    if (!type_is_block(value->type)) {
        *base = scalar_of(nest->e, value);
        *step = LLVMConstNull(LLVMTypeOf(*base));
        return true;
    }
    const Memo *found = find_memo(nest, value, place, true);
    Reg b = NULL, s = NULL;
    bool known;
    if (found) {
        b = found->reg;
        s = found->step;
        known = b != NULL;
    } else {
        known = affine_anew(nest, value, place, &b, &s);
        Memo *memo = add_memo(nest, value, place);
        memo->reg = known ? b : NULL;
        memo->step = known ? s : NULL;
    }
    *base = b;
    *step = s;
    return known;
}

/* ---- bodies without a mask ---------------------------------------------------------- */

static const Value *find_mask(Emitter *e, const Value *value, uint32_t walk) {
    ValueInfo *info = info_of(e, value);
    const Op *op = value->op;
    if (!type_is_block(value->type) || !op || info->ready || !info->has_load) return NULL;
    if (info->mark == walk) return NULL;
    info->mark = walk;
    if (op->code == OP_load) {
        const Value *mask = op->operand_count > 1 ? op_operand(op, 1) : NULL;
        int64_t constant;
        return mask && !value_constant_int(mask, &constant) ? mask : NULL;
    }
    if (!op_is(op, OPF_ELEMENT) && op->code != OP_hint) return NULL;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Value *mask = find_mask(e, op_operand(op, i), walk);
        if (mask) return mask;
    }
    return NULL;
}

const Value *mask_of(Emitter *e, uint32_t count, const Value *const *values) {
    enum { MOST_COST = 64 };
    const Value *mask = NULL;
    uint32_t cost = 0;
    e->walk += 2;
    for (uint32_t i = 0; i < count; i++) {
        cost += info_of(e, values[i])->cost;
        if (!mask) mask = find_mask(e, values[i], e->walk);
    }
    return cost <= MOST_COST && mask && !info_of(e, mask)->has_load ? mask : NULL;
}

static Reg lanes_on(Emitter *e, Reg mask) {
    return width_of(mask) == 1 ? mask : call_intrinsic(e, "llvm.vector.reduce.and", 1, &mask);
}

void split_open(Split *split, Nest *nest, const Value *mask, uint32_t count, const Place *places) {
    Emitter *e = nest->e;
    *split = (Split){.nest = nest, .two = mask != NULL, .place = nest->place};
    if (!mask) return;
    Reg on = NULL;
    for (uint32_t i = 0; i < count; i++) {
        nest->place = places[i];
        Reg more = eval_here(nest, mask);
        if (on) {
            Reg both[2] = {on, more};
            same_width(e, 2, both);
            on = LLVMBuildAnd(e->b, both[0], both[1], "");
        } else {
            on = more;
        }
    }
    nest->place = split->place;
    branch_open(e, &split->branch, lanes_on(e, on));
    nest_forget(nest);
    nest->mask = mask;
}

bool split_next(Split *split) {
    Nest *nest = split->nest;
    Emitter *e = nest->e;
    const uint32_t turn = split->turn++;
    if (!split->two) return turn == 0;
    nest->all_on = turn == 0;
    if (turn == 0) return true;
    nest_forget(nest);
    nest->place = split->place;
    split->ends[turn - 1] = LLVMGetInsertBlock(e->b);
    if (turn == 1) {
        branch_else(e, &split->branch);
        return true;
    }
    branch_close(e, &split->branch);
    nest->mask = NULL;
    return false;
}

Reg split_merge(const Split *split, Reg first, Reg second) {
    if (!split->two) return first;
    Branch branch = split->branch;
    return branch_merge(split->nest->e, &branch, split->ends[0], first, split->ends[1], second);
}

/* ---- values that are not in their slots yet ----------------------------------------- */

static void prepare_walk(Emitter *e, const Value *value, const Type *space, bool here,
                         uint32_t walk) {
    if (!type_is_block(value->type) || !value->op) return;
    ValueInfo *info = info_of(e, value);
    /* Marks: walk for "seen here", walk + 1 for "seen elsewhere too", which asks for more. */
    if (info->ready || info->mark == walk + 1 || (info->mark == walk && here)) return;
    info->mark = here ? walk : walk + 1;
    const Op *op = value->op;
    if (info->stored && (!here || value->type->count != space->count)) {
        force(e, value);
        return;
    }
    const bool same =
        op_is(op, OPF_ELEMENT) || op->code == OP_load || op->code == OP_map || op->code == OP_hint;
    for (uint32_t i = 0; i < op->operand_count; i++)
        prepare_walk(e, op_operand(op, i), space, here && same, walk);
    if (op->code == OP_gather) force(e, op_operand(op, 0));
}

void prepare(Emitter *e, const Value *value, const Type *space, bool here) {
    e->walk += 2;
    prepare_walk(e, value, space, here, e->walk);
}

void force(Emitter *e, const Value *value) {
    ValueInfo *info = info_of(e, value);
    if (info->ready || !type_is_block(value->type)) return;
    if (value->op && value->op->parent != e->region && !info->visits) {
        info->visits = true;
        info->visited = e->region;
        vec_push(e->arena, &e->visits, value);
    }
    info->stored = true;
    give_slot(e, value);
    const uint64_t slot = info->slot;
    materialise(e, 1, &value, &slot);
    info->ready = true;
}

void materialise(Emitter *e, uint32_t count, const Value *const *values, const uint64_t *slots) {
    const Type *space = values[0]->type;
    Reg *regs = arena_array(e->arena, Reg, count);
    for (uint32_t i = 0; i < count; i++) prepare(e, values[i], space, true);
    const uint32_t lane_dim = space->rank - 1;
    uint32_t dim = lane_dim;
    while (dim > 0 && space->shape[dim] == 1) dim--;
    Nest nest;
    nest_open(&nest, e, space, dim, usual_width(e, space, dim));
    Split split;
    split_open(&split, &nest, mask_of(e, count, values), 1, &nest.place);
    while (split_next(&split)) {
        for (uint32_t i = 0; i < count; i++) regs[i] = eval_here(&nest, values[i]);
        for (uint32_t i = 0; i < count; i++) {
            const ValueInfo *info = info_of(e, values[i]);
            if (info->has_slot && info->slot == slots[i] && nest.passing.length)
                for (uint32_t k = 0; k < nest.passing.length; k++)
                    if (nest.passing.data[k] == values[i]) regs[i] = NULL;
            if (regs[i]) slot_write(e, values[i]->type, slots[i], &nest.place, regs[i], nest.width);
        }
    }
    nest_close(&nest);
}

/* ---- loads that wait ---------------------------------------------------------------- */

static bool unread(Emitter *e, const Value *value, uint32_t walk) {
    ValueInfo *info = info_of(e, value);
    if (!type_is_block(value->type) || !value->op || info->ready || !info->has_load) return false;
    if (info->mark == walk) return false;
    info->mark = walk;
    if (value->op->code == OP_load) return true;
    for (uint32_t i = 0; i < value->op->operand_count; i++)
        if (unread(e, op_operand(value->op, i), walk)) return true;
    return false;
}

bool has_unread_loads(Emitter *e, const Value *value) {
    e->walk += 2;
    return unread(e, value, e->walk);
}
