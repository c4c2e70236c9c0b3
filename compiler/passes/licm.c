/* licm.c: pure ops that do not depend on a loop move before it.
 *
 * Inner loops come first, so that an op leaves as many loops as it can. A pure op cannot trap, so
 * it may run even when the loop does not. Loads stay: something in the loop may write.
 */
#include "compiler/passes/pass.h"

/* Defined before `loop`, hence visible there. A value used in the loop is either that, or defined
 * somewhere inside. */
static bool is_outside(const Value *value, const Op *loop) {
    const Op *op = value->op ? value->op : value->region->parent;
    if (op == loop) return false; /* an argument of the loop's region */
    while (op && op->parent->parent && op->parent->parent != loop) op = op->parent->parent;
    return !op || op->parent->parent != loop;
}

/* `top` is an op of the loop's body; do it and all ops nested in it use outer values only? */
static bool is_invariant(const Op *op, const Op *top, const Op *loop) {
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Value *value = op_operand(op, i);
        if (is_outside(value, loop)) continue;
        const Op *owner = value->op ? value->op : value->region->parent;
        if (op == top) return false;
        while (owner && owner != top) owner = owner->parent->parent;
        if (!owner) return false; /* defined in the loop, but not in `top` */
    }
    for (uint32_t i = 0; i < op->region_count; i++)
        for (const Op *o = op->regions[i]->first; o; o = o->next)
            if (!is_invariant(o, top, loop)) return false;
    return true;
}

static bool visit_region(Region *region);

static bool visit_op(Op *op) {
    bool changed = false;
    for (uint32_t i = 0; i < op->region_count; i++) changed |= visit_region(op->regions[i]);
    if (op->code != OP_for && op->code != OP_while) return changed;
    for (uint32_t i = 0; i < op->region_count; i++) {
        for (Op *o = op->regions[i]->first, *next; o; o = next) {
            next = o->next;
            if (!op_is_pure(o) || !is_invariant(o, o, op)) continue;
            op_move_before(o, op);
            changed = true;
        }
    }
    return changed;
}

static bool visit_region(Region *region) {
    bool changed = false;
    for (Op *op = region->first; op; op = op->next) changed |= visit_op(op);
    return changed;
}

bool pass_licm(Module *module) {
    return visit_region(module->kernel->body);
}
