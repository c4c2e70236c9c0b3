/* canon.c: local rewrites until none applies.
 *
 * A list of ops to look at starts with all of them; whatever a rewrite may have made simpler is
 * put on it again: the users of a value that was replaced, and the ops that lost a user. The
 * rules are in canon_element.c, canon_shape.c and canon_control.c.
 *
 * Keeps: hints, and whatever the axis analysis reads off products, quotients and offsets. Floats
 * are changed only where no bit of a number can change (NaNs may become other NaNs).
 */
#include "compiler/passes/canon.h"
#include "compiler/passes/pass.h"

void canon_look_at(Canon *c, Op *op) {
    vec_push(c->module->arena, &c->work, op);
}

Value *canon_made(Canon *c, Value *value) {
    canon_look_at(c, value->op);
    return value;
}

void canon_replace(Canon *c, Value *old, Value *with) {
    if (!with->name) with->name = old->name;
    for (Use *use = old->uses; use; use = use->next) canon_look_at(c, use->user);
    value_replace(old, with);
    c->changed = true;
}

static void look_at_operands(Op *op, void *context) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (op_operand(op, i)->op) canon_look_at(context, op_operand(op, i)->op);
}

void canon_remove(Canon *c, Op *op) {
    look_at_operands(op, c);
    for (uint32_t i = 0; i < op->region_count; i++)
        region_walk(op->regions[i], look_at_operands, c);
    op_remove(op);
    c->changed = true;
}

Value *canon_rebuild(Canon *c, Op *op, Value *const *operands, const Type *result) {
    Builder b = builder_at(c, op);
    Op *made = build_op(&b, op->code, op->operand_count, operands, 1, &result);
    op_copy_attributes(c->module, made, op);
    return canon_made(c, op_result(made, 0));
}

Value *canon_constant_like(Canon *c, Op *at, const Value *constant, const Type *type) {
    const Attribute *value = op_attribute(constant->op, ATTR_value);
    Builder b = builder_at(c, at);
    return value->is_float ? build_constant_float(&b, type, value->f)
                           : build_constant_int(&b, type, value->i);
}

/* Ops inside a removed op still have a parent, so all parents are asked. */
static bool is_linked(const Canon *c, const Op *op) {
    return op_is_inside(op, c->module->kernel->body);
}

static bool is_unused(const Op *op) {
    for (uint32_t i = 0; i < op->result_count; i++)
        if (!value_unused(&op->results[i])) return false;
    return true;
}

static void look(Canon *c, Op *op) {
    if (op_is_pure(op) && is_unused(op)) {
        canon_remove(c, op);
        return;
    }
    Value *found = NULL;
    if (op_is(op, OPF_ELEMENT))
        found = canon_element(c, op);
    else if (op->result_count == 1)
        found = canon_shape(c, op);
    if (found == NULL) {
        if (canon_control(c, op)) c->changed = true;
    } else if (found == op_result(op, 0)) {
        canon_look_at(c, op);
        c->changed = true;
    } else {
        canon_replace(c, op_result(op, 0), found);
        canon_remove(c, op);
    }
}

static void add_op(Op *op, void *context) {
    canon_look_at(context, op);
}

bool pass_canon(Module *module) {
    Canon c = {.module = module};
    region_walk(module->kernel->body, add_op, &c);
    for (uint32_t i = 0, n = c.work.length; i < n / 2; i++) { /* the first op comes first */
        Op *op = c.work.data[i];
        c.work.data[i] = c.work.data[n - 1 - i];
        c.work.data[n - 1 - i] = op;
    }
    while (c.work.length > 0) {
        Op *op = c.work.data[--c.work.length];
        if (is_linked(&c, op)) look(&c, op);
    }
    return c.changed;
}
