/* dce.c: drops what nothing needs.
 *
 * First everything needed is marked, beginning at the ops with effects: an op needs its operands, a
 * result of `for`, `while` or `if` needs the values that feed it, and an op in a region needs the
 * op around it to run. A carried value that only feeds itself is thereby never marked. Then what
 * is not marked goes, last op first, so that users go before what they use.
 *
 * `while` always stays, since it may be what keeps a kernel from ending; `for` always ends.
 */
#include "compiler/passes/pass.h"

#include <assert.h>

typedef struct Dce {
    Arena *arena;
    bool *needed; /* by value number */
    VEC(Value *) work;
    bool changed;
} Dce;

/* Must run for itself, whether or not its results are used. */
static bool is_root(const Op *op) {
    if (op->code == OP_load) return op_int(op, ATTR_is_volatile, 0) != 0;
    return op->code == OP_while || op->code == OP_return ||
           (op_is(op, OPF_WRITES | OPF_EFFECT) && !op_is_pure(op));
}

/* ---- marking ---------------------------------------------------------------------------- */

static void need(Dce *d, Value *value) {
    if (d->needed[value->number]) return;
    d->needed[value->number] = true;
    vec_push(d->arena, &d->work, value);
}

/* The op runs: what it needs for that. Its carried values and results are marked one by one. */
static void need_op(Dce *d, Op *op) {
    uint32_t operands = op->operand_count;
    if (op->code == OP_for) operands = 3;
    if (op->code == OP_while) operands = 0;
    if (op->code == OP_yield || op->code == OP_condition) operands = 0;
    for (uint32_t i = 0; i < operands; i++) need(d, op_operand(op, i));
    if (op->code == OP_while) need(d, op_operand(op->regions[0]->last, 0));
    if (op_is(op, OPF_NESTED)) return;
    for (uint32_t i = 0; i < op->region_count; i++) { /* reduce, scan, map: all they compute */
        const Op *yield = op->regions[i]->last;
        for (uint32_t j = 0; j < yield->operand_count; j++) need(d, op_operand(yield, j));
    }
}

static void need_op_and_around(Dce *d, Op *op) {
    for (; op; op = op->parent->parent) need_op(d, op);
}

/* The values that feed number i of a loop's or branch's carried values. */
static void need_carried(Dce *d, Op *op, const Value *value) {
    uint32_t i = value->index;
    switch (op->code) {
    case OP_for:
        if (value->region && i == 0) return; /* the index */
        if (value->region) i--;
        need(d, op_operand(op, i + 3));
        need(d, op_operand(op->regions[0]->last, i));
        need(d, op->regions[0]->arguments[i + 1]);
        return;
    case OP_while:
        if (value->region == op->regions[0]) {
            need(d, op_operand(op, i));
            need(d, op_operand(op->regions[1]->last, i));
        } else {
            need(d, op_operand(op->regions[0]->last, i + 1));
        }
        return;
    case OP_if:
        for (uint32_t r = 0; r < 2; r++) need(d, op_operand(op->regions[r]->last, i));
        return;
    default: return;
    }
}

static void mark_root(Op *op, void *context) {
    if (is_root(op)) need_op_and_around(context, op);
}

static void mark(Dce *d, Module *module) {
    region_walk(module->kernel->body, mark_root, d);
    while (d->work.length > 0) {
        Value *value = d->work.data[--d->work.length];
        Op *op = value->op ? value->op : value->region->parent;
        if (!op) continue; /* a kernel parameter */
        need_op_and_around(d, op);
        if (op_is(op, OPF_NESTED)) need_carried(d, op, value);
    }
}

/* ---- sweeping --------------------------------------------------------------------------- */

static bool has_root(const Op *op) {
    if (is_root(op)) return true;
    for (uint32_t i = 0; i < op->region_count; i++)
        for (const Op *o = op->regions[i]->first; o; o = o->next)
            if (has_root(o)) return true;
    return false;
}

static bool is_needed(const Dce *d, const Op *op) {
    for (uint32_t i = 0; i < op->result_count; i++)
        if (d->needed[op->results[i].number]) return true;
    return op_is(op, OPF_ENDS) || has_root(op);
}

static void sweep_region(Dce *d, Region *region);

static void sweep_for(Dce *d, Op *op) {
    Region *body = op->regions[0];
    for (uint32_t i = op->result_count; i-- > 0;)
        if (!d->needed[body->arguments[i + 1]->number]) op_drop_operand(body->last, i);
    sweep_region(d, body);
    for (uint32_t i = op->result_count; i-- > 0;) {
        if (d->needed[body->arguments[i + 1]->number]) continue;
        region_drop_argument(body, i + 1);
        op_drop_operand(op, i + 3);
        op_drop_result(op, i);
        d->changed = true;
    }
}

static void sweep_while(Dce *d, Op *op) {
    Region *before = op->regions[0], *after = op->regions[1];
    for (uint32_t i = op->operand_count; i-- > 0;)
        if (!d->needed[before->arguments[i]->number]) op_drop_operand(after->last, i);
    for (uint32_t i = op->result_count; i-- > 0;) {
        bool needed = d->needed[op->results[i].number] || d->needed[after->arguments[i]->number];
        if (!needed) op_drop_operand(before->last, i + 1);
    }
    sweep_region(d, after);
    sweep_region(d, before);
    for (uint32_t i = op->operand_count; i-- > 0;) {
        if (d->needed[before->arguments[i]->number]) continue;
        region_drop_argument(before, i);
        op_drop_operand(op, i);
        d->changed = true;
    }
    for (uint32_t i = op->result_count; i-- > 0;) {
        if (d->needed[op->results[i].number] || d->needed[after->arguments[i]->number]) continue;
        region_drop_argument(after, i);
        op_drop_result(op, i);
        d->changed = true;
    }
}

static void sweep_if(Dce *d, Op *op) {
    for (uint32_t i = op->result_count; i-- > 0;) {
        if (d->needed[op->results[i].number]) continue;
        for (uint32_t r = 0; r < 2; r++) op_drop_operand(op->regions[r]->last, i);
        op_drop_result(op, i);
        d->changed = true;
    }
    for (uint32_t r = 0; r < 2; r++) sweep_region(d, op->regions[r]);
}

static void sweep_region(Dce *d, Region *region) {
    for (Op *op = region->last, *previous; op; op = previous) {
        previous = op->previous;
        if (!is_needed(d, op)) {
            op_remove(op);
            d->changed = true;
        } else if (op->code == OP_for) {
            sweep_for(d, op);
        } else if (op->code == OP_while) {
            sweep_while(d, op);
        } else if (op->code == OP_if) {
            sweep_if(d, op);
        } else {
            for (uint32_t i = 0; i < op->region_count; i++) sweep_region(d, op->regions[i]);
        }
    }
}

bool pass_dce(Module *module) {
    Dce d = {.arena = module->arena};
    d.needed = arena_array(module->arena, bool, ir_number(module));
    mark(&d, module);
    sweep_region(&d, module->kernel->body);
    return d.changed;
}
