/* bases.c: a block of pointers is one scalar pointer and 32-bit offsets.
 *
 *     offset(broadcast(offset(splat p, rows)), columns) + splat s
 *
 * becomes offset(offset(splat(p + s), columns), rows): what is the same for all elements moves to
 * the scalar side. A loop that carries a block of pointers and adds the same number to all of them
 * carries the scalar instead. A thread then holds one 64-bit pointer, which the loop moves on, and
 * the offsets of its elements, which stay as they are: one multiply-add makes an address of both.
 *
 * Offsets are widened to 64 bits one by one, before and after, so addresses are the same to the
 * bit; two of them are never added up. Those that are contiguous come first: a thread has few
 * different ones that begin an access.
 */
#include "compiler/gpu/axis.h"
#include "compiler/gpu/gpu.h"

enum { MOST_TERMS = 6, DEPTH = 64 };

typedef struct Term {
    Value *offsets; /* a block of integers */
    bool contiguous;
} Term;

typedef struct Pointers {
    Value *base; /* scalar */
    Term terms[MOST_TERMS];
    uint32_t count;
} Pointers;

typedef struct Bases {
    Module *module;
    Axis *axis;
    bool changed;
} Bases;

static Builder in_front_of(Bases *b, Op *op) {
    return (Builder){b->module, op->parent, op, op->at};
}

static bool is_shape(const Op *op) {
    return op->code == OP_broadcast || op->code == OP_expand_dims || op->code == OP_reshape ||
           op->code == OP_permute;
}

/* The scalar that all elements are; NULL: they differ. Constants are made in front of `op`. */
static Value *uniform(Bases *b, Value *v, Op *op) {
    int64_t number;
    while (v->op && is_shape(v->op)) v = op_operand(v->op, 0);
    if (v->op && v->op->code == OP_splat) return op_operand(v->op, 0);
    if (!value_constant_int(v, &number)) return NULL;
    Builder at = in_front_of(b, op);
    return build_constant_int(&at, type_element(v->type), number);
}

static bool add_term(Bases *b, Pointers *p, Value *offsets) {
    const AxisFacts *facts = axis_facts(b->axis, offsets);
    Term term = {.offsets = offsets};
    if (p->count == MOST_TERMS) return false;
    for (uint32_t d = 0; d < offsets->type->rank; d++) term.contiguous |= facts->contiguity[d] > 1;
    p->terms[p->count++] = term;
    return true;
}

/* What the pointers are the sum of; false: not known. `root`, when it is met, stands for a base. */
static bool take_apart(Bases *b, Value *v, const Value *root, Value *root_base, Pointers *p,
                       uint32_t depth) {
    if (v == root) {
        *p = (Pointers){.base = root_base};
        return true;
    }
    Op *op = v->op;
    if (!op || depth == 0) return false;
    Builder at = in_front_of(b, op);
    if (op->code == OP_splat) {
        *p = (Pointers){.base = op_operand(op, 0)};
        return true;
    }
    if (op->code == OP_offset) {
        Value *by = op_operand(op, 1);
        if (!take_apart(b, op_operand(op, 0), root, root_base, p, depth - 1)) return false;
        Value *same = uniform(b, by, op);
        if (!same) return add_term(b, p, by);
        p->base = build_binary(&at, OP_offset, p->base, same);
        return true;
    }
    if (!is_shape(op) || !take_apart(b, op_operand(op, 0), root, root_base, p, depth - 1))
        return false;
    for (uint32_t i = 0; i < p->count; i++) {
        Value *offsets = p->terms[i].offsets;
        const Type *type = type_with_dtype(&b->module->types, v->type, type_dtype(offsets->type));
        p->terms[i].offsets = build_to(&at, op->code, offsets, type);
        op_copy_attributes(b->module, p->terms[i].offsets->op, op);
    }
    return true;
}

static Value *put_together(Builder *at, const Pointers *p, const Type *type) {
    Value *v = build_to(at, OP_splat, p->base, type);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < p->count; i++)
            if (p->terms[i].contiguous == (round == 0))
                v = build_binary(at, OP_offset, v, p->terms[i].offsets);
    return v;
}

/* ---- loops ------------------------------------------------------------------------------- */

/* Carries argument i of the loop as a scalar, where each iteration adds the same to all elements.
 */
static void carry_base(Bases *b, Op *loop, uint32_t i) {
    Region *body = loop->regions[0];
    Value *inside = body->arguments[i + 1], *result = &loop->results[i];
    Op *yield = body->last;
    const Type *type = inside->type, *scalar = type_element(type);
    Pointers start, next;
    if (!take_apart(b, op_operand(loop, i + 3), NULL, NULL, &start, DEPTH)) return;
    /* a first look with any scalar in the place of the base: are there only uniform steps? */
    if (!take_apart(b, op_operand(yield, i), inside, start.base, &next, DEPTH) || next.count)
        return;
    Builder top = {b->module, body, body->first, loop->at};
    Builder behind = {b->module, loop->parent, loop->next, loop->at};
    Value *old = build_to(&top, OP_splat, start.base, type); /* holds the uses meanwhile */
    value_replace(inside, old);
    inside->type = scalar;
    take_apart(b, op_operand(yield, i), old, inside, &next, DEPTH);
    op_set_operand(yield, i, next.base);
    op_set_operand(loop, i + 3, start.base);
    start.base = inside;
    value_replace(old, put_together(&top, &start, type));
    op_remove(old->op);
    if (!value_unused(result)) {
        Value *after = build_to(&behind, OP_splat, start.base, type);
        value_replace(result, after);
        start.base = result;
        result->type = scalar;
        value_replace(after, put_together(&behind, &start, type));
        op_remove(after->op);
    }
    result->type = scalar;
    b->changed = true;
}

/* ---- the pass ---------------------------------------------------------------------------- */

static bool is_access(const Op *op) {
    return op->code == OP_load || op->code == OP_store || op->code == OP_atomic_rmw ||
           op->code == OP_atomic_cas;
}

/* Pointers that are a scalar and offsets already. */
static bool is_plain(const Value *v) {
    while (v->op && v->op->code == OP_offset) {
        const Value *by = op_operand(v->op, 1);
        if (by->op && (by->op->code == OP_splat || by->op->code == OP_constant)) return false;
        v = op_operand(v->op, 0);
    }
    return v->op && v->op->code == OP_splat;
}

static void visit_loop(Op *op, void *context) {
    if (op->code != OP_for) return;
    for (uint32_t i = 0; i < op->result_count; i++)
        if (type_is_block(op->results[i].type) && type_is_pointer(op->results[i].type))
            carry_base(context, op, i);
}

static void visit_access(Op *op, void *context) {
    Bases *b = context;
    Pointers p;
    if (!is_access(op)) return;
    Value *v = op_operand(op, 0);
    if (!type_is_block(v->type) || is_plain(v) || !take_apart(b, v, NULL, NULL, &p, DEPTH)) return;
    Builder at = {b->module, v->op->parent, v->op->next, v->op->at};
    Value *new = put_together(&at, &p, v->type);
    value_replace(v, new);
    b->changed = true;
}

bool pass_bases(Module *module) {
    Bases b = {.module = module, .axis = axis_analyse(module)};
    region_walk(module->kernel->body, visit_loop, &b);
    if (b.changed) b.axis = axis_analyse(module);
    region_walk(module->kernel->body, visit_access, &b);
    if (b.changed) pass_dce(module);
    return b.changed;
}
