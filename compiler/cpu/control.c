/* control.c: regions op by op; loops and branches; which slots are free again.
 *
 * Scalars that a loop carries are phis. Blocks lie in one slot: the initial value is copied there,
 * the body reads it, `yield` writes it. What is yielded together is written together, element by
 * element, or goes through a slot of its own when it looks at other elements of what is
 * overwritten.
 */
#include "compiler/cpu/emit.h"

#include <assert.h>

/* ---- before a nested op: what is used inside must be there -------------------------- */

static void force_used(Emitter *e, const Value *v, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    if (!type_is_block(v->type) || !v->op || info->ready || info->mark == walk) return;
    info->mark = walk;
    if (info->stored && op_is_lazy(v->op)) {
        force(e, v);
        return;
    }
    for (uint32_t i = 0; i < v->op->operand_count; i++) force_used(e, op_operand(v->op, i), walk);
}

static void force_inside(Emitter *e, const Op *outer, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const Value *v = op_operand(op, i);
            if (v->op && !op_is_inside(v->op, outer->regions[0]) &&
                !(outer->region_count > 1 && op_is_inside(v->op, outer->regions[1]))) {
                e->walk += 2;
                force_used(e, v, e->walk);
            }
        }
        for (uint32_t i = 0; i < op->region_count; i++) force_inside(e, outer, op->regions[i]);
    }
}

static void before_nested(Emitter *e, const Op *op) {
    for (uint32_t i = 0; i < op->region_count; i++) force_inside(e, op, op->regions[i]);
    if (op_has_effect(op, OPF_WRITES | OPF_EFFECT)) before_write(e, op);
    if (op->code != OP_if)
        for (uint32_t i = 0; i < op->region_count; i++) pack_outside(e, op, op->regions[i]);
}

/* ---- carried blocks ----------------------------------------------------------------- */

typedef struct Carry {
    uint32_t count;
    const Value **to; /* region arguments or results: their slots are written */
    const Value **from;
} Carry;

static Carry carry_new(Emitter *e, uint32_t most) {
    return (Carry){.to = arena_array(e->arena, const Value *, most),
                   .from = arena_array(e->arena, const Value *, most)};
}

static void carry_add(Carry *c, const Value *to, const Value *from) {
    c->to[c->count] = to;
    c->from[c->count++] = from;
}

/* Does computing `v` look at a slot that is written, other than at the same element? */
static bool looks_elsewhere(Emitter *e, const Carry *c, const Value *v, const Type *space,
                            bool here, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    if (!type_is_block(v->type)) return false;
    if (info->ready) {
        for (uint32_t i = 0; i < c->count; i++)
            if (info->slot == info_of(e, c->to[i])->slot)
                return !here || v->type->count != space->count ||
                       memcmp(v->type->shape, space->shape, sizeof v->type->shape) != 0;
        return false;
    }
    if (!v->op || info->mark == walk + 1 || (info->mark == walk && here)) return false;
    info->mark = here ? walk : walk + 1;
    const bool same = op_is(v->op, OPF_ELEMENT) || v->op->code == OP_map || v->op->code == OP_hint;
    for (uint32_t i = 0; i < v->op->operand_count; i++)
        if (looks_elsewhere(e, c, op_operand(v->op, i), space, here && same, walk)) return true;
    return false;
}

/* Does it look at a written slot at all? */
static bool looks(Emitter *e, const Carry *c, const Value *v) {
    static const Type none = {0};
    e->walk += 2;
    return looks_elsewhere(e, c, v, &none, false, e->walk);
}

static bool same_shape(const Type *a, const Type *b) {
    return a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof *a->shape);
}

static void carry_write(Emitter *e, const Carry *c) {
    bool *done = arena_array(e->arena, bool, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        const ValueInfo *from = info_of(e, c->from[i]);
        done[i] = from->ready && from->slot == info_of(e, c->to[i])->slot;
    }
    /* Values that depend on slots written by a nest of another shape go first, aside. */
    bool mixed = false;
    for (uint32_t i = 1; i < c->count; i++) mixed |= !same_shape(c->to[i]->type, c->to[0]->type);
    for (uint32_t i = 0; i < c->count; i++) {
        if (done[i] || info_of(e, c->from[i])->ready) continue;
        e->walk += 2;
        if (looks_elsewhere(e, c, c->from[i], c->from[i]->type, true, e->walk) ||
            (mixed && looks(e, c, c->from[i])))
            force(e, c->from[i]);
    }
    const Value **values = arena_array(e->arena, const Value *, c->count);
    uint64_t *slots = arena_array(e->arena, uint64_t, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t n = 0;
        for (uint32_t k = i; k < c->count; k++) {
            if (done[k] || !same_shape(c->to[k]->type, c->to[i]->type)) continue;
            values[n] = c->from[k];
            slots[n++] = info_of(e, c->to[k])->slot;
            done[k] = true;
        }
        if (n) materialise(e, n, values, slots);
    }
}

/* ---- slots that are free again ------------------------------------------------------ */

static void release(Emitter *e, const Op *op) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->held.length; i++) {
        const Value *v = e->held.data[i];
        const ValueInfo *info = info_of(e, v);
        if (info->end == op)
            slot_free(e, info->slot, slot_bytes(v->type));
        else
            e->held.data[kept++] = v;
    }
    e->held.length = kept;
}

static void end_region(Emitter *e, const Region *region) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->held.length; i++) {
        const Value *v = e->held.data[i];
        const ValueInfo *info = info_of(e, v);
        if ((v->op && v->op->parent == region) || (info->visits && info->visited == region))
            slot_free(e, info_of(e, v)->slot, slot_bytes(v->type));
        else
            e->held.data[kept++] = v;
    }
    e->held.length = kept;
    kept = 0;
    for (uint32_t i = 0; i < e->visits.length; i++) {
        const Value *v = e->visits.data[i];
        ValueInfo *info = info_of(e, v);
        if (info->visited == region)
            info->visits = info->ready = info->has_slot = info->stored = false;
        else
            e->visits.data[kept++] = v;
    }
    e->visits.length = kept;
    kept = 0;
    for (uint32_t i = 0; i < e->loads.length; i++)
        if (e->loads.data[i]->op->parent != region) e->loads.data[kept++] = e->loads.data[i];
    e->loads.length = kept;
    e->region = region->parent->parent;
}

static void share_slot(Emitter *e, const Value *with, const Value *value) {
    ValueInfo *info = info_of(e, value);
    info->slot = info_of(e, with)->slot;
    info->has_slot = info->stored = info->ready = true;
}

static void give_ready(Emitter *e, const Value *value) {
    give_slot(e, value);
    info_of(e, value)->stored = info_of(e, value)->ready = true;
}

/* ---- for ---------------------------------------------------------------------------- */

static Reg trip_count(Emitter *e, DType dtype, Reg from, Reg to, Reg by) {
    LLVMBuilderRef b = e->b;
    const bool u = dtype_is_unsigned(dtype);
    Reg wide[3] = {from, to, by};
    for (int i = 0; i < 3; i++)
        wide[i] = u ? LLVMBuildZExt(b, wide[i], e->i64, "") : LLVMBuildSExt(b, wide[i], e->i64, "");
    from = wide[0], to = wide[1], by = wide[2];
    Reg zero = const_i64(e, 0), one = const_i64(e, 1);
    Reg up = u ? LLVMConstInt(e->i1, 1, 0) : LLVMBuildICmp(b, LLVMIntSGT, by, zero, "");
    Reg ascends = LLVMBuildICmp(b, u ? LLVMIntULT : LLVMIntSLT, from, to, "");
    Reg descends = LLVMBuildICmp(b, u ? LLVMIntUGT : LLVMIntSGT, from, to, "");
    Reg some = LLVMBuildSelect(b, up, ascends, descends, "");
    Reg distance =
        LLVMBuildSelect(b, up, LLVMBuildSub(b, to, from, ""), LLVMBuildSub(b, from, to, ""), "");
    Reg step = LLVMBuildSelect(b, up, by, LLVMBuildNeg(b, by, ""), "");
    Reg none = LLVMBuildICmp(b, LLVMIntEQ, step, zero, "");
    step = LLVMBuildSelect(b, none, one, step, "");
    Reg trips = LLVMBuildUDiv(b, LLVMBuildSub(b, distance, one, ""), step, "");
    trips = LLVMBuildAdd(b, trips, one, "");
    some = LLVMBuildAnd(b, some, LLVMBuildNot(b, none, ""), "");
    return LLVMBuildSelect(b, some, trips, zero, "");
}

static void code_for(Emitter *e, const Op *op) {
    Region *body = op->regions[0];
    const uint32_t n = op->result_count;
    before_nested(e, op);
    Carry first = carry_new(e, n), next = carry_new(e, n);
    for (uint32_t i = 0; i < n; i++) {
        const Value *result = op_result(op, i), *argument = body->arguments[i + 1];
        if (!type_is_block(result->type)) continue;
        give_slot(e, result);
        carry_add(&first, result, op_operand(op, i + 3));
        carry_add(&next, argument, op_operand(body->last, i));
    }
    carry_write(e, &first);
    for (uint32_t i = 0; i < n; i++) {
        const Value *result = op_result(op, i);
        if (!type_is_block(result->type)) continue;
        info_of(e, result)->ready = info_of(e, result)->stored = true;
        share_slot(e, result, body->arguments[i + 1]);
    }
    const Value *index = body->arguments[0];
    Reg from = scalar_of(e, op_operand(op, 0)), by = scalar_of(e, op_operand(op, 2));
    Reg trips = trip_count(e, type_dtype(index->type), from, scalar_of(e, op_operand(op, 1)), by);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), head = new_block(e, "for");
    LLVMBasicBlockRef inside = new_block(e, "body"), end = new_block(e, "end");
    LLVMBuildBr(e->b, head);
    LLVMPositionBuilderAtEnd(e->b, head);
    Reg k = LLVMBuildPhi(e->b, e->i64, "k"), zero = const_i64(e, 0);
    LLVMAddIncoming(k, &zero, &before, 1);
    Reg *phi = arena_array(e->arena, Reg, n);
    for (uint32_t i = 0; i < n; i++) {
        if (type_is_block(op_result(op, i)->type)) continue;
        Reg initial = scalar_of(e, op_operand(op, i + 3));
        phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(initial), "");
        LLVMAddIncoming(phi[i], &initial, &before, 1);
        info_of(e, body->arguments[i + 1])->reg = phi[i];
    }
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, k, trips, ""), inside, end);
    LLVMPositionBuilderAtEnd(e->b, inside);
    RegType type = LLVMTypeOf(from);
    Reg turn = LLVMGetIntTypeWidth(type) < 64 ? LLVMBuildTrunc(e->b, k, type, "") : k;
    info_of(e, index)->reg = LLVMBuildAdd(e->b, from, LLVMBuildMul(e->b, turn, by, ""), "");
    code_ops(e, body);
    carry_write(e, &next);
    end_region(e, body);
    Reg k_next = LLVMBuildAdd(e->b, k, const_i64(e, 1), "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b);
    LLVMAddIncoming(k, &k_next, &last, 1);
    for (uint32_t i = 0; i < n; i++) {
        if (!phi[i]) continue;
        Reg value = scalar_of(e, op_operand(body->last, i));
        LLVMAddIncoming(phi[i], &value, &last, 1);
        info_of(e, op_result(op, i))->reg = phi[i];
    }
    LLVMBuildBr(e->b, head);
    LLVMPositionBuilderAtEnd(e->b, end);
}

/* ---- while -------------------------------------------------------------------------- */

static void code_while(Emitter *e, const Op *op) {
    Region *head = op->regions[0], *body = op->regions[1];
    const Op *condition = head->last, *yield = body->last;
    before_nested(e, op);
    Carry first = carry_new(e, op->operand_count), next = carry_new(e, op->operand_count);
    Carry given = carry_new(e, op->result_count);
    uint64_t *slots = arena_array(e->arena, uint64_t, op->operand_count);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Value *argument = head->arguments[i];
        if (!type_is_block(argument->type)) continue;
        slots[i] = slot_alloc(e, slot_bytes(argument->type));
        ValueInfo *info = info_of(e, argument);
        info->slot = slots[i];
        info->has_slot = info->stored = true;
        carry_add(&first, argument, op_operand(op, i));
        carry_add(&next, argument, op_operand(yield, i));
    }
    carry_write(e, &first);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (type_is_block(head->arguments[i]->type)) info_of(e, head->arguments[i])->ready = true;
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = op_result(op, i);
        if (!type_is_block(result->type)) continue;
        give_slot(e, result);
        carry_add(&given, result, op_operand(condition, i + 1));
    }
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), start = new_block(e, "while");
    LLVMBasicBlockRef inside = new_block(e, "body"), end = new_block(e, "end");
    LLVMBuildBr(e->b, start);
    LLVMPositionBuilderAtEnd(e->b, start);
    Reg *phi = arena_array(e->arena, Reg, op->operand_count);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (type_is_block(head->arguments[i]->type)) continue;
        Reg initial = scalar_of(e, op_operand(op, i));
        phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(initial), "");
        LLVMAddIncoming(phi[i], &initial, &before, 1);
        info_of(e, head->arguments[i])->reg = phi[i];
    }
    code_ops(e, head);
    carry_write(e, &given);
    end_region(e, head);
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = op_result(op, i);
        if (type_is_block(result->type)) {
            info_of(e, result)->ready = info_of(e, result)->stored = true;
            share_slot(e, result, body->arguments[i]);
        } else {
            info_of(e, result)->reg = info_of(e, body->arguments[i])->reg =
                scalar_of(e, op_operand(condition, i + 1));
        }
    }
    LLVMBuildCondBr(e->b, scalar_of(e, op_operand(condition, 0)), inside, end);
    LLVMPositionBuilderAtEnd(e->b, inside);
    code_ops(e, body);
    carry_write(e, &next);
    end_region(e, body);
    LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!phi[i]) continue;
        Reg value = scalar_of(e, op_operand(yield, i));
        LLVMAddIncoming(phi[i], &value, &last, 1);
    }
    LLVMBuildBr(e->b, start);
    LLVMPositionBuilderAtEnd(e->b, end);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (type_is_block(head->arguments[i]->type))
            slot_free(e, slots[i], slot_bytes(head->arguments[i]->type));
}

/* ---- if ----------------------------------------------------------------------------- */

static LLVMBasicBlockRef code_side(Emitter *e, const Op *op, const Region *region, Reg *values) {
    Carry given = carry_new(e, op->result_count);
    code_ops(e, region);
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *yielded = op_operand(region->last, i);
        if (type_is_block(yielded->type))
            carry_add(&given, op_result(op, i), yielded);
        else
            values[i] = scalar_of(e, yielded);
    }
    carry_write(e, &given);
    end_region(e, region);
    return LLVMGetInsertBlock(e->b);
}

static void code_if(Emitter *e, const Op *op) {
    before_nested(e, op);
    for (uint32_t i = 0; i < op->result_count; i++)
        if (type_is_block(op_result(op, i)->type)) give_slot(e, op_result(op, i));
    Reg *then_values = arena_array(e->arena, Reg, op->result_count);
    Reg *else_values = arena_array(e->arena, Reg, op->result_count);
    Branch branch;
    branch_open(e, &branch, scalar_of(e, op_operand(op, 0)));
    LLVMBasicBlockRef then_end = code_side(e, op, op->regions[0], then_values);
    branch_else(e, &branch);
    LLVMBasicBlockRef else_end = code_side(e, op, op->regions[1], else_values);
    branch_close(e, &branch);
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = op_result(op, i);
        if (type_is_block(result->type))
            info_of(e, result)->ready = info_of(e, result)->stored = true;
        else
            info_of(e, result)->reg =
                branch_merge(e, &branch, then_end, then_values[i], else_end, else_values[i]);
    }
}

/* ---- op by op ----------------------------------------------------------------------- */

static void code_extract(Emitter *e, const Op *op) {
    const Value *block = op_operand(op, 0);
    prepare(e, block, block->type, false);
    Nest nest;
    nest_open(&nest, e, op_result(op, 0)->type, 0, 1);
    Place first = {.rank = block->type->rank};
    for (uint32_t d = 0; d < first.rank; d++)
        first.at[d] = (Coord){COORD_ONE, false, const_i64(e, 0)};
    info_of(e, op_result(op, 0))->reg = eval(&nest, block, &first);
    nest_close(&nest);
}

static Reg program_id(Emitter *e, const Op *op) {
    const int64_t axis = op_int(op, ATTR_axis, 0);
    if (op->code == OP_program_id)
        return load_reg(e, e->i32, byte_offset(e, e->program, const_i64(e, 4 * axis)), 4);
    Reg all = launch_field(e, offsetof(CpuLaunch, grid) + 8 * (size_t)axis, e->i64);
    return LLVMBuildTrunc(e->b, all, e->i32, "");
}

static void code_scalar(Emitter *e, const Op *op) {
    ValueInfo *info = info_of(e, op_result(op, 0));
    Reg operands[8];
    switch (op->code) {
    case OP_constant: info->reg = code_constant(e, op); return;
    case OP_program_id:
    case OP_num_programs: info->reg = program_id(e, op); return;
    case OP_extract: code_extract(e, op); return;
    case OP_hint: info->reg = scalar_of(e, op_operand(op, 0)); return;
    default: break;
    }
    for (uint32_t i = 0; i < op->operand_count; i++) operands[i] = scalar_of(e, op_operand(op, i));
    info->reg = code_element(e, op, operands);
}

static void code_unsupported(Emitter *e, const Op *op) {
    code_fault(e, op, CPU_FAULT_UNSUPPORTED, NULL, NULL);
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = op_result(op, i);
        if (type_is_block(result->type))
            give_ready(e, result);
        else
            info_of(e, result)->reg = LLVMConstNull(reg_type(e, result->type));
    }
}

static void code_op(Emitter *e, const Op *op) {
    switch (op->code) {
    case OP_load:
        if (!op_is_lazy(op))
            code_load(e, op);
        else
            vec_push(e->arena, &e->loads, op_result(op, 0));
        return;
    case OP_store: code_store(e, op); return;
    case OP_atomic_rmw:
    case OP_atomic_cas: code_atomic(e, op); return;
    case OP_reduce: code_reduce(e, op); return;
    case OP_scan: code_scan(e, op); return;
    case OP_map:
        if (!op_is_lazy(op)) code_map(e, op);
        return;
    case OP_histogram: code_histogram(e, op); return;
    case OP_dot: code_dot(e, op); return;
    case OP_dot_scaled: code_dot_scaled(e, op); return;
    case OP_for:
        code_for(e, op);
        release_packs(e, op);
        return;
    case OP_while:
        code_while(e, op);
        release_packs(e, op);
        return;
    case OP_if: code_if(e, op); return;
    case OP_print: code_print(e, op); return;
    case OP_assert: code_assert(e, op); return;
    case OP_assume: return;
    case OP_barrier: before_write(e, op); return;
    case OP_inline_asm: code_unsupported(e, op); return;
    default: break;
    }
    if (op->result_count == 1 && !type_is_block(op->results[0].type)) code_scalar(e, op);
}

void code_ops(Emitter *e, const Region *region) {
    const Region *outer = e->region;
    e->region = region;
    for (const Op *op = region->first; op != region->last; op = op->next) {
        code_op(e, op);
        release(e, op);
        e->region = region;
    }
    if (!outer || region->parent->code == OP_reduce || region->parent->code == OP_scan ||
        region->parent->code == OP_map)
        e->region = outer;
}

static Reg argument_reg(Emitter *e, const Type *type, Reg bits) {
    RegType reg = reg_type(e, type);
    if (reg == e->i64) return bits;
    const uint32_t size = type_element_size(type);
    if (reg == e->i1)
        return LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildTrunc(e->b, bits, e->i8, ""),
                             LLVMConstInt(e->i8, 0, 0), "");
    Reg narrow = size < 8
                     ? LLVMBuildTrunc(e->b, bits, LLVMIntTypeInContext(e->context, size * 8), "")
                     : bits;
    return LLVMTypeOf(narrow) == reg ? narrow : LLVMBuildBitCast(e->b, narrow, reg, "");
}

/* Stores past the caches are seen late: not where programs may wait for each other. */
static bool waits(const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        if (op->code == OP_atomic_rmw || op->code == OP_atomic_cas ||
            (op->code == OP_load && op_int(op, ATTR_is_volatile, 0)))
            return true;
        for (uint32_t i = 0; i < op->region_count; i++)
            if (waits(op->regions[i])) return true;
    }
    return false;
}

void code_body(Emitter *e) {
    const Kernel *kernel = e->module->kernel;
    if (!waits(kernel->body))
        e->streams =
            LLVMBuildICmp(e->b, LLVMIntNE, LAUNCH_FIELD(e, stream, e->i64), const_i64(e, 0), "");
    Reg arguments = LAUNCH_FIELD(e, arguments, e->pointer);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        Reg at = byte_offset(e, arguments, const_i64(e, 8 * (int64_t)i));
        info_of(e, kernel->body->arguments[i])->reg =
            argument_reg(e, kernel->parameters[i].type, load_reg(e, e->i64, at, 8));
    }
    code_ops(e, kernel->body);
    LLVMBuildRet(e->b, const_i32(e, CPU_RUNNING));
}
