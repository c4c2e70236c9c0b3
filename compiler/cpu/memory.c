/* memory.c: load, store, atomics.
 *
 * An address that is base + lane * step with the element's size as step is a vector access, with a
 * mask when there is one. When the step is known only at run time both ways are there, and a branch
 * chooses. Everything else is a gather or scatter; lanes are written in order, so that of several
 * elements at one address the last stays.
 *
 * A load is done where it is used, but never after something may have written: before_write().
 */
#include "compiler/cpu/emit.h"

#include <assert.h>
#include <stdio.h>

/* ---- one access of a nest ----------------------------------------------------------- */

typedef struct Access {
    Emitter *e;
    const Op *op;
    const Type *element;
    RegType type; /* in memory */
    uint32_t size, width;
    Reg base, step; /* affine: step is a constant or a scalar */
    Reg addresses;  /* otherwise */
    Reg mask;       /* NULL: all; a scalar: for all lanes */
    bool some_off;  /* a mask that is known to be off somewhere */
    const Place *place;
    Reg other; /* loads: in memory form, of `width` lanes; or NULL */
    Reg value; /* stores: in memory form, of `width` lanes */
} Access;

static Reg all_lanes(Emitter *e, uint32_t width) {
    return LLVMConstAllOnes(LLVMVectorType(e->i1, width));
}

static Reg lanes_of_mask(Access *a, uint32_t width) {
    if (!a->mask) return all_lanes(a->e, width);
    if (width_of(a->mask) == width && width > 1) return a->mask;
    Emitter *e = a->e;
    if (width == 1)
        return LLVMBuildInsertElement(e->b, LLVMGetPoison(LLVMVectorType(e->i1, 1)), a->mask,
                                      const_i64(e, 0), "");
    return splat_reg(e, a->mask, width);
}

static void set_align(Access *a, Reg call, uint32_t parameter) {
    const unsigned id = LLVMGetEnumAttributeKindForName("align", 5);
    LLVMAddCallSiteAttribute(call, parameter + 1,
                             LLVMCreateEnumAttribute(a->e->context, id, a->size));
}

/* Past the caches where the launch says so and the vector lies right. */
static void store_all_lanes(Access *a, Reg pointer) {
    Emitter *e = a->e;
    const uint32_t bytes = a->size * a->width;
    if (!e->streams || 2 * bytes < e->vector_bytes) {
        store_reg(e, a->value, pointer, a->size);
        return;
    }
    Reg low = LLVMBuildAnd(e->b, a->base, const_i64(e, bytes - 1), "");
    Reg aligned = LLVMBuildICmp(e->b, LLVMIntEQ, low, const_i64(e, 0), "");
    Branch branch;
    branch_open(e, &branch, LLVMBuildAnd(e->b, e->streams, aligned, ""));
    Reg store = LLVMBuildStore(e->b, a->value, pointer);
    LLVMSetAlignment(store, bytes);
    LLVMMetadataRef one = LLVMValueAsMetadata(const_i32(e, 1));
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->context, "nontemporal", 11),
                    LLVMMetadataAsValue(e->context, LLVMMDNodeInContext2(e->context, &one, 1)));
    branch_else(e, &branch);
    store_reg(e, a->value, pointer, a->size);
    branch_close(e, &branch);
}

/* Masked stores are slow on some machines; mostly all lanes are on. */
static void store_by_mask(Access *a, Reg pointer, Reg mask, RegType *types) {
    Emitter *e = a->e;
    Branch branch;
    if (a->some_off) {
        Reg operands[3] = {a->value, pointer, mask};
        set_align(a, call_overloaded(e, "llvm.masked.store", 2, types, 3, operands), 1);
        return;
    }
    branch_open(e, &branch, call_intrinsic(e, "llvm.vector.reduce.and", 1, &mask));
    store_all_lanes(a, pointer);
    branch_else(e, &branch);
    Reg operands[3] = {a->value, pointer, mask};
    set_align(a, call_overloaded(e, "llvm.masked.store", 2, types, 3, operands), 1);
    branch_close(e, &branch);
}

static Reg move_vector(Access *a, uint32_t width) {
    Emitter *e = a->e;
    Reg pointer = as_pointer(e, a->base);
    RegType type = lanes_type(a->type, width);
    if (!a->mask) {
        if (!a->value) return load_reg(e, type, pointer, a->size);
        if (width > 1)
            store_all_lanes(a, pointer);
        else
            store_reg(e, a->value, pointer, a->size);
        return NULL;
    }
    RegType vector = LLVMVectorType(a->type, width), types[2] = {vector, e->pointer};
    Reg mask = lanes_of_mask(a, width);
    if (a->value && width > 1) {
        store_by_mask(a, pointer, mask, types);
        return NULL;
    }
    if (a->value) {
        Reg value = LLVMBuildBitCast(e->b, a->value, vector, "");
        Reg operands[3] = {value, pointer, mask};
        set_align(a, call_overloaded(e, "llvm.masked.store", 2, types, 3, operands), 1);
        return NULL;
    }
    Reg other = a->other ? a->other : LLVMConstNull(type);
    if (width == 1) other = LLVMBuildBitCast(e->b, other, vector, "");
    Reg operands[3] = {pointer, mask, other};
    Reg call = call_overloaded(e, "llvm.masked.load", 2, types, 3, operands);
    set_align(a, call, 0);
    return width > 1 ? call : LLVMBuildExtractElement(e->b, call, const_i64(e, 0), "");
}

/* Elements that the machine cannot gather: a function with a loop over the lanes, so that the many
 * places that may need it stay short. */
static Reg lanes_function(Access *a, RegType addresses, RegType mask, RegType vector) {
    Emitter *e = a->e;
    char name[48];
    snprintf(name, sizeof name, "tkc.%s.%u.%u", a->value ? "scatter" : "gather", a->size, a->width);
    RegType types[3] = {addresses, mask, vector};
    Function f;
    if (!function_open(e, &f, name, a->value ? NULL : vector, types, 3)) return f.value;
    Reg flags = LLVMBuildZExt(e->b, f.arguments[1], lanes_type(e->i8, a->width), "");
    Reg from = LLVMBuildAlloca(e->b, addresses, ""),
        on = LLVMBuildAlloca(e->b, LLVMTypeOf(flags), "");
    Reg data = LLVMBuildAlloca(e->b, vector, "");
    LLVMBuildStore(e->b, f.arguments[0], from);
    LLVMBuildStore(e->b, flags, on);
    LLVMBuildStore(e->b, f.arguments[2], data);
    Loop loop;
    loop_open(e, &loop, const_i64(e, a->width), 1, 0, NULL);
    Reg active = load_reg(e, e->i8, byte_offset(e, on, loop.index), 1);
    Branch branch;
    branch_open(e, &branch, LLVMBuildICmp(e->b, LLVMIntNE, active, LLVMConstInt(e->i8, 0, 0), ""));
    Reg far = LLVMBuildMul(e->b, loop.index, const_i64(e, a->size), "");
    Reg at = LLVMBuildMul(e->b, loop.index, const_i64(e, 8), "");
    Reg address = as_pointer(e, load_reg(e, e->i64, byte_offset(e, from, at), 8));
    Reg place = byte_offset(e, data, far);
    store_reg(e, load_reg(e, a->type, a->value ? place : address, a->size),
              a->value ? address : place, a->size);
    branch_close(e, &branch);
    loop_close(e, &loop);
    function_close(e, &f, a->value ? NULL : LLVMBuildLoad2(e->b, vector, data, ""));
    return f.value;
}

static Reg move_lane_by_lane(Access *a, Reg addresses) {
    Emitter *e = a->e;
    RegType vector = LLVMVectorType(a->type, a->width);
    Reg mask = lanes_of_mask(a, a->width);
    Reg function = lanes_function(a, LLVMTypeOf(addresses), LLVMTypeOf(mask), vector);
    Reg last = a->value ? a->value : a->other ? a->other : LLVMConstNull(vector);
    Reg operands[3] = {addresses, mask, last};
    return function_call(e, function, operands, 3);
}

static Reg move_scattered(Access *a, Reg addresses) {
    Emitter *e = a->e;
    const uint32_t width = a->width;
    RegType vector = LLVMVectorType(a->type, width);
    RegType types[2] = {vector, LLVMVectorType(e->pointer, width)};
    if (!e->avx512 || a->size < 4) {
        Reg x = move_lane_by_lane(a, addresses);
        return a->value ? NULL : x;
    }
    Reg pointers = as_pointer(e, addresses), mask = lanes_of_mask(a, width);
    if (a->value) {
        Reg operands[3] = {a->value, pointers, mask};
        set_align(a, call_overloaded(e, "llvm.masked.scatter", 2, types, 3, operands), 1);
        return NULL;
    }
    Reg operands[3] = {pointers, mask, a->other ? a->other : LLVMConstNull(vector)};
    Reg call = call_overloaded(e, "llvm.masked.gather", 2, types, 3, operands);
    set_align(a, call, 0);
    return call;
}

static Reg addresses_of(Access *a) {
    Emitter *e = a->e;
    Reg step = splat_reg(e, a->step, a->width);
    Reg far = LLVMBuildMul(e->b, step, lane_numbers(e, e->i64, a->width), "");
    return LLVMBuildAdd(e->b, splat_reg(e, a->base, a->width), far, "");
}

static Reg move_by_step(Access *a) {
    Emitter *e = a->e;
    Reg usual = LLVMBuildICmp(e->b, LLVMIntEQ, a->step, const_i64(e, a->size), "");
    Branch branch;
    branch_open(e, &branch, usual);
    Reg near = move_vector(a, a->width);
    LLVMBasicBlockRef then_end = LLVMGetInsertBlock(e->b);
    branch_else(e, &branch);
    Reg far = move_scattered(a, addresses_of(a));
    LLVMBasicBlockRef else_end = LLVMGetInsertBlock(e->b);
    branch_close(e, &branch);
    return near ? branch_merge(e, &branch, then_end, near, else_end, far) : NULL;
}

/* From here on addresses are the machine's. */
static void check_access(Access *a) {
    Emitter *e = a->e;
    Checked c = {a->op, a->size, a->width, 0, a->mask, a->place};
    if (a->width > 1 && !a->addresses &&
        (!LLVMIsConstant(a->step) || LLVMConstIntGetSExtValue(a->step) < 0))
        a->addresses = addresses_of(a);
    if (a->addresses) {
        a->addresses = code_checked(e, &c, a->addresses);
        return;
    }
    if (a->width > 1) c.step = LLVMConstIntGetZExtValue(a->step);
    a->base = code_checked(e, &c, a->base);
}

/* The elements, or NULL for a store. */
static Reg move(Access *a) {
    Emitter *e = a->e;
    const bool vector = a->width > 1;
    if (a->mask && LLVMIsConstant(a->mask) && LLVMIsNull(a->mask)) {
        if (a->value) return NULL;
        return a->other ? a->other : LLVMConstNull(lanes_type(a->type, a->width));
    }
    if (e->bounds) check_access(a);
    if (!vector) return move_vector(a, 1);
    if (a->addresses) return move_scattered(a, a->addresses);
    if (!LLVMIsConstant(a->step)) return move_by_step(a);
    const uint64_t step = LLVMConstIntGetZExtValue(a->step);
    if (step == a->size) return move_vector(a, a->width);
    if (step == 0 && !a->value && (!a->mask || width_of(a->mask) == 1) &&
        (!a->other || LLVMIsConstant(a->other))) {
        Reg wide_other = a->other;
        if (wide_other) a->other = extract_lane(e, wide_other, 0);
        Reg one = move_vector(a, 1);
        return splat_reg(e, one, a->width);
    }
    return move_scattered(a, addresses_of(a));
}

static void take_address(Access *a, Nest *nest, const Value *pointer, const Place *place) {
    a->width = 1;
    a->place = place;
    for (uint32_t d = 0; d < place->rank; d++)
        if (place->at[d].kind != COORD_ONE) a->width = nest->width;
    if (eval_affine(nest, pointer, place, &a->base, &a->step)) return;
    a->addresses = eval(nest, pointer, place);
    if (width_of(a->addresses) == 1) {
        a->base = a->addresses;
        a->step = const_i64(a->e, 0);
        a->addresses = NULL;
    }
}

static void take_mask(Access *a, Nest *nest, const Value *mask, const Place *place) {
    a->mask = eval(nest, mask, place);
    if (LLVMIsConstant(a->mask) && width_of(a->mask) == 1 && LLVMConstIntGetZExtValue(a->mask))
        a->mask = NULL;
    a->some_off = a->mask && mask == nest->mask;
}

static bool is_all_true(const Value *mask) {
    int64_t value;
    return value_constant_int(mask, &value) && value;
}

Reg eval_load(Nest *nest, const Op *op, const Place *place) {
    Emitter *e = nest->e;
    const Type *element = type_element(op->results[0].type);
    Access a = {.e = e, .op = op, .element = element, .size = type_element_size(element)};
    a.type = stored_type(e, element);
    take_address(&a, nest, op_operand(op, 0), place);
    if (nest->next_turn && !a.addresses && a.width > 1) ask_next_turn(nest, op, a.base);
    if (op->operand_count > 1 && !is_all_true(op_operand(op, 1)))
        take_mask(&a, nest, op_operand(op, 1), place);
    if (a.mask && op->operand_count > 2) {
        Reg other = to_memory(e, eval(nest, op_operand(op, 2), place), element);
        a.other = splat_reg(e, other, a.width);
    }
    return from_memory(e, move(&a), element);
}

/* ---- the order of reads and writes -------------------------------------------------- */

/* Is the lazy value needed by something that comes after `op`, or is `op`? */
static bool needed_after(Emitter *e, const Value *v, const Op *op, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    if (info->mark == walk) return false;
    info->mark = walk;
    for (const Use *use = v->uses; use; use = use->next) {
        const Op *user = use->user;
        if (!op_is_lazy(user)) {
            if (order_of(e, user) > order_of(e, op)) return true;
            continue;
        }
        for (uint32_t i = 0; i < user->result_count; i++) {
            const Value *result = op_result(user, i);
            if (!info_of(e, result)->ready && needed_after(e, result, op, walk)) return true;
        }
    }
    return false;
}

bool is_needed_after(Emitter *e, const Value *v, const Op *op) {
    e->walk += 2;
    return needed_after(e, v, op, e->walk);
}

void before_write(Emitter *e, const Op *op) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->loads.length; i++) {
        const Value *v = e->loads.data[i];
        if (info_of(e, v)->ready) continue;
        if (!is_needed_after(e, v, op)) continue;
        const Value *wanted = v;
        /* Rather what is made of it, when that has a slot anyway. */
        const ValueInfo *info = info_of(e, v);
        if (!info->stored && info->anchor && info->anchor != op) {
            for (const Use *use = v->uses; use && !use->next; use = wanted->uses) {
                if (!op_is_lazy(use->user) || use->user->result_count != 1) break;
                wanted = op_result(use->user, 0);
                if (info_of(e, wanted)->stored) break;
            }
            if (!info_of(e, wanted)->stored) wanted = v;
        }
        force(e, wanted);
        if (wanted != v && !info_of(e, v)->ready) e->loads.data[kept++] = v;
    }
    e->loads.length = kept;
}

void code_load(Emitter *e, const Op *op) {
    const Value *result = op_result(op, 0);
    if (type_is_block(result->type)) {
        force(e, result);
        return;
    }
    Nest nest;
    nest_open(&nest, e, result->type, 0, 1);
    info_of(e, result)->reg = eval_load(&nest, op, &nest.place);
    if (op_int(op, ATTR_is_volatile, 0) && LLVMIsALoadInst(info_of(e, result)->reg))
        LLVMSetVolatile(info_of(e, result)->reg, 1);
    nest_close(&nest);
}

/* ---- store -------------------------------------------------------------------------- */

/* Loads that the stored value still needs would read what is being written, except where each
 * element is read at the very place it is written to. */
static bool reads_elsewhere(Emitter *e, const Value *v, const Value *pointer, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    if (!type_is_block(v->type) || !v->op || info->ready || !info->has_load) return false;
    if (info->mark == walk) return false;
    info->mark = walk;
    const Op *op = v->op;
    if (op->code == OP_load && op_operand(op, 0) == pointer) return false;
    if (op->code == OP_load || !op_is(op, OPF_ELEMENT)) return true;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (reads_elsewhere(e, op_operand(op, i), pointer, walk)) return true;
    return false;
}

static uint32_t store_dim(const Type *space) {
    uint32_t dim = space->rank - 1;
    while (dim > 0 && space->shape[dim] == 1) dim--;
    return dim;
}

/* Writes the stored value where it belongs; it may be computed on the way. */
static void store_nest(Emitter *e, const Op *op) {
    const Value *pointer = op_operand(op, 0), *value = op_operand(op, 1);
    const Value *mask = op->operand_count > 2 ? op_operand(op, 2) : NULL;
    const Type *space = value->type, *element = type_element(space);
    Nest nest;
    const uint32_t dim = type_is_block(space) ? store_dim(space) : 0;
    nest_open(&nest, e, space, dim, usual_width(e, space, dim));
    if (mask && is_all_true(mask)) mask = NULL;
    const Value *split_mask = mask_of(e, 1, &value);
    Split split;
    split_open(&split, &nest, split_mask, 1, &nest.place);
    while (split_next(&split)) {
        Access a = {.e = e, .op = op, .element = element, .size = type_element_size(element)};
        a.type = stored_type(e, element);
        take_address(&a, &nest, pointer, &nest.place);
        if (mask) take_mask(&a, &nest, mask, &nest.place);
        Reg x = to_memory(e, eval_here(&nest, value), element);
        a.value = splat_reg(e, x, a.width);
        move(&a);
    }
    nest_close(&nest);
}

/* Loads below element ops. False: too many, or anything else that is not there yet. */
enum { MOST_LOADS = 4 };
static bool plain_loads(Emitter *e, const Value *v, const Op **loads, uint32_t *count) {
    const ValueInfo *info = info_of(e, v);
    if (!type_is_block(v->type) || !v->op || info->ready || !info->has_load) return true;
    if (info->stored) return false;
    if (v->op->code == OP_load) {
        if (*count == MOST_LOADS) return false;
        loads[(*count)++] = v->op;
        for (uint32_t i = 0; i < v->op->operand_count; i++)
            if (info_of(e, op_operand(v->op, i))->has_load) return false;
        return true;
    }
    if (!op_is(v->op, OPF_ELEMENT)) return false;
    for (uint32_t i = 0; i < v->op->operand_count; i++)
        if (!plain_loads(e, op_operand(v->op, i), loads, count)) return false;
    return true;
}

/* Where a block lies whose address is affine along every dimension, and whose elements follow each
 * other along the lanes. */
typedef struct Reach {
    Reg steps[MAX_RANK]; /* NULL: one element there */
    Reg first, low, high;
} Reach;

static bool reach_of(Emitter *e, const Type *space, const Value *pointer, uint32_t size,
                     Reach *reach) {
    Nest nest = {.e = e, .space = space, .width = e->lanes, .lane_dim = store_dim(space)};
    Place zero = {.rank = space->rank};
    for (uint32_t d = 0; d < space->rank; d++) zero.at[d] = (Coord){.base = const_i64(e, 0)};
    bool good = true;
    *reach = (Reach){0};
    for (uint32_t d = space->rank; good && d-- > 0;) {
        if (space->shape[d] == 1 && d != nest.lane_dim) continue;
        nest.place = zero;
        nest.place.at[d].kind = COORD_STEP;
        Reg base, step, zero_bytes = const_i64(e, 0);
        good = eval_affine(&nest, pointer, &nest.place, &base, &step);
        if (!good) break;
        if (d == nest.lane_dim)
            good = LLVMIsConstant(step) && LLVMConstIntGetZExtValue(step) == size;
        if (!reach->first) reach->first = reach->low = base, reach->high = base;
        Reg last = const_i64(e, space->shape[d] - 1);
        Reg far = LLVMBuildMul(e->b, step, last, "");
        Reg back = LLVMBuildICmp(e->b, LLVMIntSLT, far, zero_bytes, "");
        Reg down = LLVMBuildSelect(e->b, back, far, zero_bytes, "");
        Reg up = LLVMBuildSelect(e->b, back, zero_bytes, far, "");
        reach->low = LLVMBuildAdd(e->b, reach->low, down, "");
        reach->high = LLVMBuildAdd(e->b, reach->high, up, "");
        reach->steps[d] = step;
    }
    nest_forget(&nest);
    if (good) reach->high = LLVMBuildAdd(e->b, reach->high, const_i64(e, size), "");
    return good;
}

/* Is it the same block, with rows that do not overlap each other? */
static Reg same_reach(Emitter *e, const Type *space, const Reach *to, const Reach *from) {
    const uint32_t lane_dim = store_dim(space);
    Reg same = LLVMBuildICmp(e->b, LLVMIntEQ, from->first, to->first, "");
    uint32_t outer = 0;
    for (uint32_t d = 0; d < space->rank; d++) {
        if (d == lane_dim || !to->steps[d]) continue;
        Reg equal = LLVMBuildICmp(e->b, LLVMIntEQ, from->steps[d], to->steps[d], "");
        const int64_t row = (int64_t)space->shape[lane_dim] * type_element_size(space);
        Reg below = LLVMBuildICmp(e->b, LLVMIntSLE, to->steps[d], const_i64(e, -row), "");
        Reg above = LLVMBuildICmp(e->b, LLVMIntSGE, to->steps[d], const_i64(e, row), "");
        same = LLVMBuildAnd(e->b, same, equal, "");
        same = LLVMBuildAnd(e->b, same, LLVMBuildOr(e->b, below, above, ""), "");
        outer++;
    }
    return outer > 1 ? LLVMConstInt(e->i1, 0, 0) : same;
}

/* No byte in common, or the same elements at the same places. */
static Reg reaches_apart(Emitter *e, const Type *space, const Reach *to, const Type *type,
                         const Reach *from) {
    Reg below = LLVMBuildICmp(e->b, LLVMIntULE, to->high, from->low, "");
    Reg above = LLVMBuildICmp(e->b, LLVMIntULE, from->high, to->low, "");
    Reg apart = LLVMBuildOr(e->b, below, above, "");
    if (type_element_size(type) != type_element_size(space)) return apart;
    return LLVMBuildOr(e->b, apart, same_reach(e, space, to, from), "");
}

/* May the block be stored while it is loaded? Decided when it runs; NULL: not known even then. */
static Reg is_apart(Emitter *e, const Op *op) {
    const Value *value = op_operand(op, 1);
    const Type *space = value->type;
    const Op *loads[MOST_LOADS];
    uint32_t count = 0;
    if (!type_is_block(space) || space->shape[store_dim(space)] < e->lanes ||
        info_of(e, value)->stored || !plain_loads(e, value, loads, &count))
        return NULL;
    Reach to, from;
    const uint32_t size = type_element_size(type_element(space));
    Reg apart = NULL;
    if (!reach_of(e, space, op_operand(op, 0), size, &to)) return NULL; /* all of one shape */
    for (uint32_t i = 0; i < count; i++) {
        const Type *type = loads[i]->results[0].type;
        if (!reach_of(e, type, op_operand(loads[i], 0), type_element_size(type), &from))
            return NULL;
        Reg good = reaches_apart(e, space, &to, type, &from);
        apart = apart ? LLVMBuildAnd(e->b, apart, good, "") : good;
    }
    return apart;
}

/* Both ways and a branch: through scratch when loads and stores may touch the same bytes. */
static bool store_either_way(Emitter *e, const Op *op) {
    const Value *value = op_operand(op, 1);
    for (uint32_t i = 0; i < op->operand_count; i++)
        prepare(e, op_operand(op, i), value->type, true);
    Reg apart = is_apart(e, op);
    if (!apart) return false;
    Branch branch;
    branch_open(e, &branch, apart);
    store_nest(e, op);
    branch_else(e, &branch);
    ValueInfo *info = info_of(e, value);
    const uint64_t slot = slot_alloc(e, slot_bytes(value->type));
    materialise(e, 1, &value, &slot);
    info->slot = slot;
    info->ready = true;
    store_nest(e, op);
    info->ready = false;
    slot_free(e, slot, slot_bytes(value->type));
    branch_close(e, &branch);
    return true;
}

void code_store(Emitter *e, const Op *op) {
    const Value *pointer = op_operand(op, 0), *value = op_operand(op, 1);
    const Value *mask = op->operand_count > 2 ? op_operand(op, 2) : NULL;
    e->walk += 2;
    if (reads_elsewhere(e, pointer, NULL, e->walk)) force(e, pointer);
    if (mask && has_unread_loads(e, mask)) force(e, mask);
    before_write(e, op);
    e->stored += (uint64_t)type_element_size(value->type) *
                 (type_is_block(value->type) ? value->type->count : 1);
    e->walk += 2;
    if (reads_elsewhere(e, value, pointer, e->walk)) {
        if (store_either_way(e, op)) return;
        force(e, value);
    }
    for (uint32_t i = 0; i < op->operand_count; i++)
        prepare(e, op_operand(op, i), value->type, true);
    store_nest(e, op);
}

/* ---- atomics ------------------------------------------------------------------------ */

static Reg as_int(Emitter *e, Reg x, uint32_t size) {
    RegType type = LLVMIntTypeInContext(e->context, size * 8);
    return LLVMTypeOf(x) == type ? x : LLVMBuildBitCast(e->b, x, type, "");
}

static Reg swap(Emitter *e, Reg pointer, Reg expected, Reg desired) {
    return LLVMBuildAtomicCmpXchg(e->b, pointer, expected, desired,
                                  LLVMAtomicOrderingSequentiallyConsistent,
                                  LLVMAtomicOrderingSequentiallyConsistent, 0);
}

/* Compare and swap until nobody was in between. */
static Reg update_loop(Emitter *e, OpCode code, const Type *element, Reg pointer, Reg value) {
    const uint32_t size = type_element_size(element);
    RegType bits = LLVMIntTypeInContext(e->context, size * 8);
    RegType type = stored_type(e, element);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = new_block(e, "update");
    LLVMBasicBlockRef end = new_block(e, "updated");
    Reg first = load_reg(e, bits, pointer, size);
    LLVMSetOrdering(first, LLVMAtomicOrderingMonotonic);
    LLVMBuildBr(e->b, body);
    LLVMPositionBuilderAtEnd(e->b, body);
    Reg old = LLVMBuildPhi(e->b, bits, "");
    LLVMAddIncoming(old, &first, &before, 1);
    Reg now = from_memory(e, LLVMBuildBitCast(e->b, old, type, ""), element);
    Reg next = to_memory(e, code_binary(e, code, type_dtype(element), now, value), element);
    Reg pair = swap(e, pointer, old, as_int(e, next, size));
    Reg found = LLVMBuildExtractValue(e->b, pair, 0, "");
    LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b);
    LLVMAddIncoming(old, &found, &from, 1);
    LLVMBuildCondBr(e->b, LLVMBuildExtractValue(e->b, pair, 1, ""), end, body);
    LLVMPositionBuilderAtEnd(e->b, end);
    return old;
}

static Reg update(Emitter *e, const Op *op, const Type *element, Reg pointer, Reg value) {
    const Word kind = op_word(op, ATTR_kind, WORD_none);
    const DType dtype = type_dtype(element);
    const bool u = dtype_is_unsigned(dtype), number = dtype != DT_i1 && dtype_is_int(dtype);
    LLVMAtomicRMWBinOp simple = LLVMAtomicRMWBinOpXchg;
    OpCode code = OP_add;
    switch (kind) {
    case WORD_add: simple = LLVMAtomicRMWBinOpAdd; break;
    case WORD_and: simple = LLVMAtomicRMWBinOpAnd, code = OP_and; break;
    case WORD_or: simple = LLVMAtomicRMWBinOpOr, code = OP_or; break;
    case WORD_xor: simple = LLVMAtomicRMWBinOpXor, code = OP_xor; break;
    case WORD_max:
        simple = u ? LLVMAtomicRMWBinOpUMax : LLVMAtomicRMWBinOpMax, code = OP_max;
        break;
    case WORD_min:
        simple = u ? LLVMAtomicRMWBinOpUMin : LLVMAtomicRMWBinOpMin, code = OP_min;
        break;
    default: break;
    }
    if (!number && kind != WORD_xchg) return update_loop(e, code, element, pointer, value);
    value = as_int(e, to_memory(e, value, element), type_element_size(element));
    return LLVMBuildAtomicRMW(e->b, simple, pointer, value,
                              LLVMAtomicOrderingSequentiallyConsistent, 0);
}

static Reg one_atomic(Emitter *e, const Op *op, const Type *element, Nest *nest) {
    const uint32_t size = type_element_size(element);
    Reg address = eval_here(nest, op_operand(op, 0));
    const Checked checked = {op, size, 1, 0, NULL, &nest->place};
    Reg pointer = as_pointer(e, e->bounds ? code_checked(e, &checked, address) : address);
    Reg value = eval_here(nest, op_operand(op, 1));
    if (op->code == OP_atomic_rmw) return update(e, op, element, pointer, value);
    Reg expected = as_int(e, to_memory(e, value, element), size);
    Reg desired = as_int(e, to_memory(e, eval_here(nest, op_operand(op, 2)), element), size);
    return LLVMBuildExtractValue(e->b, swap(e, pointer, expected, desired), 0, "");
}

/* Element by element in row-major order; those masked off give 0. */
void code_atomic(Emitter *e, const Op *op) {
    const Value *result = op_result(op, 0);
    const Type *space = result->type, *element = type_element(space);
    const uint32_t size = type_element_size(element);
    const bool block = type_is_block(space),
               masked = op->code == OP_atomic_rmw && op->operand_count > 2;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (has_unread_loads(e, op_operand(op, i))) force(e, op_operand(op, i));
    before_write(e, op);
    for (uint32_t i = 0; i < op->operand_count; i++) prepare(e, op_operand(op, i), space, true);
    if (block) give_slot(e, result);
    Nest nest;
    nest_open(&nest, e, space, block ? space->rank - 1 : 0, 1);
    Reg mask = masked ? eval_here(&nest, op_operand(op, 2)) : NULL;
    /* Values are wanted outside the branch: what is written on the way is for all elements. */
    for (uint32_t i = 0; i < op->operand_count; i++) (void)eval_here(&nest, op_operand(op, i));
    Branch branch;
    if (mask) branch_open(e, &branch, mask);
    Reg old = one_atomic(e, op, element, &nest);
    if (mask) {
        Reg zero = LLVMConstNull(LLVMTypeOf(old));
        LLVMBasicBlockRef then_end = LLVMGetInsertBlock(e->b);
        branch_close(e, &branch);
        old = branch_merge(e, &branch, then_end, old, branch.from, zero);
    }
    Reg value = from_memory(e, LLVMBuildBitCast(e->b, old, stored_type(e, element), ""), element);
    if (block)
        slot_write(e, space, info_of(e, result)->slot, &nest.place, value, 1);
    else
        info_of(e, result)->reg = value;
    nest_close(&nest);
    info_of(e, result)->ready = block;
    (void)size;
}
