/* canon_control.c: rules for memory, reductions and control flow.
 *
 * Masks that are known go, branches and loops whose course is known are inlined, and what a loop
 * carries around unchanged is taken from outside. Dropping the carried values that are then unused
 * is the work of dce.
 */
#include "compiler/passes/canon.h"

static bool is_bool(const Value *v, int64_t wanted) {
    int64_t value;
    return value_constant_int(v, &value) && value == wanted;
}

/* ---- memory and assertions -------------------------------------------------------------- */

/* Takes operands from `index` on away. */
static bool drop_operands(Canon *c, Op *op, uint32_t index) {
    while (op->operand_count > index) {
        Value *dropped = op_operand(op, op->operand_count - 1);
        op_drop_operand(op, op->operand_count - 1);
        if (dropped->op) canon_look_at(c, dropped->op);
    }
    canon_look_at(c, op);
    return true;
}

static bool replace_op(Canon *c, Op *op, Value *with) {
    canon_replace(c, op_result(op, 0), with);
    canon_remove(c, op);
    return true;
}

static bool masked_memory(Canon *c, Op *op) {
    uint32_t at = op->code == OP_load ? 1 : 2; /* where the mask is */
    if (op->operand_count <= at) return false;
    if (is_bool(op_operand(op, at), 1)) return drop_operands(c, op, at);
    if (!is_bool(op_operand(op, at), 0)) return false;
    if (op->result_count) {
        Builder b = builder_at(c, op);
        bool given = op->code == OP_load && op->operand_count > 2;
        return replace_op(c, op,
                          given ? op_operand(op, 2) : build_zero(&b, op_result(op, 0)->type));
    }
    canon_remove(c, op);
    return true;
}

static bool assertion(Canon *c, Op *op) {
    bool never = op->operand_count > 1 && is_bool(op_operand(op, 1), 0);
    if (!is_bool(op_operand(op, 0), 1) && !never) return false;
    canon_remove(c, op);
    return true;
}

/* ---- whole blocks ----------------------------------------------------------------------- */

/* Along one element there is nothing to combine. */
static bool reduce_one(Canon *c, Op *op) {
    const Type *type = op_operand(op, 0)->type;
    if (type->shape[op_int(op, ATTR_axis, 0)] != 1) return false;
    for (uint32_t i = 0; i < op->result_count; i++) {
        Value *x = op_operand(op, i), *result = op_result(op, i);
        Builder b = builder_at(c, op);
        if (!type_is_block(result->type))
            x = canon_made(c, build_to(&b, OP_extract, x, result->type));
        else if (result->type != x->type)
            x = canon_made(c, build_to(&b, OP_reshape, x, result->type));
        canon_replace(c, result, x);
    }
    canon_remove(c, op);
    return true;
}

static bool split(Canon *c, Op *op) {
    Value *x = op_operand(op, 0);
    if (x->op && x->op->code == OP_join) {
        for (uint32_t i = 0; i < 2; i++) canon_replace(c, op_result(op, i), op_operand(x->op, i));
    } else if (value_is_uniform(x)) {
        const Type *type = op_result(op, 0)->type;
        Builder b = builder_at(c, op);
        Value *part = value_is_constant(x)  ? canon_constant_like(c, op, x, type)
                      : type_is_block(type) ? build_to(&b, OP_splat, op_operand(x->op, 0), type)
                                            : op_operand(x->op, 0);
        for (uint32_t i = 0; i < 2; i++) canon_replace(c, op_result(op, i), part);
    } else {
        return false;
    }
    canon_remove(c, op);
    return true;
}

/* ---- inlining a region ------------------------------------------------------------------ */

/* Moves the ops of a region that runs once before `op`, its arguments replaced by `values`. The
 * region's last op stays behind, for its operands. */
static void inline_region(Canon *c, Op *op, Region *region, Value *const *values) {
    for (uint32_t i = 0; i < region->argument_count; i++)
        canon_replace(c, region->arguments[i], values[i]);
    while (region->first != region->last) {
        Op *moved = region->first;
        op_move_before(moved, op);
        canon_look_at(c, moved);
    }
}

/* The op's results become the operands of `end` from `skip` on, and the op goes. */
static bool finish(Canon *c, Op *op, const Op *end, uint32_t skip) {
    for (uint32_t i = 0; i < op->result_count; i++)
        canon_replace(c, op_result(op, i), op_operand(end, i + skip));
    canon_remove(c, op);
    return true;
}

/* ---- if --------------------------------------------------------------------------------- */

/* `if` with nothing to do but choose is a select. */
static bool if_to_select(Canon *c, Op *op) {
    const Op *yes = op->regions[0]->first, *no = op->regions[1]->first;
    if (yes->next || no->next) return false;
    for (uint32_t i = 0; i < op->result_count; i++) {
        Value *condition = op_operand(op, 0), *a = op_operand(yes, i), *z = op_operand(no, i);
        Builder b = builder_at(c, op);
        if (a != z && type_is_block(a->type))
            condition = canon_made(c, build_to(&b, OP_splat, condition,
                                               type_with_dtype(&c->module->types, a->type, DT_i1)));
        if (a != z) a = canon_made(c, build_ternary(&b, OP_select, condition, a, z));
        canon_replace(c, op_result(op, i), a);
    }
    canon_remove(c, op);
    return true;
}

static bool rewrite_if(Canon *c, Op *op) {
    int64_t condition;
    bool changed = false;
    if (value_constant_int(op_operand(op, 0), &condition)) {
        Region *taken = op->regions[condition ? 0 : 1];
        inline_region(c, op, taken, NULL);
        return finish(c, op, taken->last, 0);
    }
    if (if_to_select(c, op)) return true;
    for (uint32_t i = 0; i < op->result_count; i++) {
        Value *a = op_operand(op->regions[0]->last, i), *z = op_operand(op->regions[1]->last, i);
        if (a != z || value_unused(op_result(op, i))) continue;
        canon_replace(c, op_result(op, i), a);
        changed = true;
    }
    return changed;
}

/* ---- for -------------------------------------------------------------------------------- */

enum { TRIPS_UNKNOWN = 2 };

/* 0, 1 or TRIPS_UNKNOWN; only for loops that count upwards by a constant. */
static int trips(const Op *op) {
    int64_t from, to, step;
    if (!value_constant_int(op_operand(op, 2), &step) || step <= 0) return TRIPS_UNKNOWN;
    if (op_operand(op, 0) == op_operand(op, 1)) return 0;
    if (!value_constant_int(op_operand(op, 0), &from)) return TRIPS_UNKNOWN;
    if (!value_constant_int(op_operand(op, 1), &to)) return TRIPS_UNKNOWN;
    __int128 start = from, end = to, by = step;
    if (type_dtype(op_operand(op, 0)->type) == DT_u64) {
        start = (uint64_t)from;
        end = (uint64_t)to;
    }
    return start >= end ? 0 : start + by >= end ? 1 : TRIPS_UNKNOWN;
}

/* Carried value i keeps its initial value: it is given back as it came, or as that value. */
static bool stays(Value *argument, Value *initial, Value *next) {
    return next == argument || next == initial;
}

static bool rewrite_for(Canon *c, Op *op) {
    Region *body = op->regions[0];
    uint32_t carried = op->result_count;
    int count = trips(op);
    bool changed = false;
    if (count == 0) {
        for (uint32_t i = 0; i < carried; i++)
            canon_replace(c, op_result(op, i), op_operand(op, i + 3));
        canon_remove(c, op);
        return true;
    }
    if (count == 1) {
        Value **values = arena_array(c->module->arena, Value *, carried + 1);
        values[0] = op_operand(op, 0);
        for (uint32_t i = 0; i < carried; i++) values[i + 1] = op_operand(op, i + 3);
        inline_region(c, op, body, values);
        return finish(c, op, body->last, 0);
    }
    for (uint32_t i = 0; i < carried; i++) {
        Value *argument = body->arguments[i + 1], *initial = op_operand(op, i + 3);
        if (!stays(argument, initial, op_operand(body->last, i))) continue;
        if (value_unused(op_result(op, i)) && value_unused(argument)) continue;
        if (argument->uses && !argument->uses->next && argument->uses->user == body->last &&
            value_unused(op_result(op, i)))
            continue; /* only handed on: dce drops it */
        canon_replace(c, op_result(op, i), initial);
        canon_replace(c, argument, initial);
        changed = true;
    }
    return changed;
}

/* ---- while ------------------------------------------------------------------------------ */

static bool rewrite_while(Canon *c, Op *op) {
    Region *before = op->regions[0], *after = op->regions[1];
    Op *condition = before->last, *yield = after->last;
    bool changed = false;
    if (is_bool(op_operand(condition, 0), 0)) {
        Value **values = arena_array(c->module->arena, Value *, op->operand_count);
        for (uint32_t i = 0; i < op->operand_count; i++) values[i] = op_operand(op, i);
        inline_region(c, op, before, values);
        return finish(c, op, condition, 1);
    }
    for (uint32_t i = 0; i < op->operand_count; i++) {
        Value *argument = before->arguments[i], *initial = op_operand(op, i);
        Value *next = op_operand(yield, i);
        if (next->region == after && next->index < op->result_count)
            next = op_operand(condition, next->index + 1); /* handed through */
        if (!stays(argument, initial, next) || value_unused(argument)) continue;
        canon_replace(c, argument, initial);
        changed = true;
    }
    for (uint32_t i = 0; i < op->result_count; i++) { /* known outside: no need to hand it on */
        Value *given = op_operand(condition, i + 1);
        bool outside = given->op ? !op_is_inside(given->op, before) : given->region != before;
        if (!outside || (value_unused(op_result(op, i)) && value_unused(after->arguments[i])))
            continue;
        canon_replace(c, op_result(op, i), given);
        canon_replace(c, after->arguments[i], given);
        changed = true;
    }
    return changed;
}

bool canon_control(Canon *c, Op *op) {
    switch (op->code) {
    case OP_load:
    case OP_store:
    case OP_atomic_rmw: return masked_memory(c, op);
    case OP_assert:
    case OP_assume: return assertion(c, op);
    case OP_reduce:
    case OP_scan: return reduce_one(c, op);
    case OP_split: return split(c, op);
    case OP_if: return rewrite_if(c, op);
    case OP_for: return rewrite_for(c, op);
    case OP_while: return rewrite_while(c, op);
    default: return false;
    }
}
