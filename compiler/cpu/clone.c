/* clone.c: a copy of the module that the back end may change, in a form that suits loops.
 *
 * A loop that moves a block of pointers (or integers) by the same amount in every iteration,
 *
 *     for ... (p: 128x32x*f16) { ... yield offset(p, splat(d)) }
 *
 * carries the sum of the amounts, a scalar, and the block becomes offset(start, splat(sum)): what
 * stays is an address that is a simple function of the coordinates, instead of a block in memory.
 */
#include "compiler/cpu/emit.h"

/* ---- copying ------------------------------------------------------------------------ */

typedef struct Cloner {
    Module *module;
    uint32_t capacity; /* power of two */
    const Value **from;
    Value **to;
    uint32_t count;
} Cloner;

static uint32_t slot_for(const Cloner *c, const Value *value) {
    uint32_t i =
        (uint32_t)(((uintptr_t)value >> 4) * 0x9e3779b97f4a7c15u >> 20) & (c->capacity - 1);
    while (c->from[i] && c->from[i] != value) i = (i + 1) & (c->capacity - 1);
    return i;
}

static void remember(Cloner *c, const Value *from, Value *to) {
    if (2 * ++c->count > c->capacity) {
        Cloner old = *c;
        c->capacity = old.capacity ? old.capacity * 2 : 256;
        c->from = arena_array(c->module->arena, const Value *, c->capacity);
        c->to = arena_array(c->module->arena, Value *, c->capacity);
        for (uint32_t i = 0; i < old.capacity; i++) {
            if (!old.from[i]) continue;
            const uint32_t at = slot_for(c, old.from[i]);
            c->from[at] = old.from[i];
            c->to[at] = old.to[i];
        }
    }
    const uint32_t at = slot_for(c, from);
    c->from[at] = from;
    c->to[at] = to;
}

static void clone_ops(Cloner *c, Region *to, const Region *from) {
    Arena *arena = c->module->arena;
    for (const Op *op = from->first; op; op = op->next) {
        Builder b = {.module = c->module, .region = to, .at = op->at};
        Value **operands = arena_array(arena, Value *, op->operand_count);
        const Type **types = arena_array(arena, const Type *, op->result_count);
        for (uint32_t i = 0; i < op->operand_count; i++)
            operands[i] = c->to[slot_for(c, op_operand(op, i))];
        for (uint32_t i = 0; i < op->result_count; i++) types[i] = op->results[i].type;
        Op *copy =
            op->region_count
                ? build_nested(&b, op->code, op->operand_count, operands, op->result_count, types)
                : build_op(&b, op->code, op->operand_count, operands, op->result_count, types);
        op_copy_attributes(c->module, copy, op);
        for (uint32_t i = 0; i < op->region_count; i++) {
            const Region *region = op->regions[i];
            for (uint32_t k = 0; k < region->argument_count; k++)
                remember(
                    c, region->arguments[k],
                    region_add_argument(c->module, copy->regions[i], region->arguments[k]->type));
            clone_ops(c, copy->regions[i], region);
        }
        for (uint32_t i = 0; i < op->result_count; i++)
            remember(c, &op->results[i], &copy->results[i]);
    }
}

/* ---- amounts that are the same for all elements ------------------------------------- */

static bool is_uniform(const Value *v, uint32_t depth) {
    if (!type_is_block(v->type)) return true;
    if (!v->op || depth > 8) return false;
    switch (v->op->code) {
    case OP_constant:
    case OP_splat: return true;
    case OP_broadcast:
    case OP_expand_dims:
    case OP_reshape:
    case OP_cast:
    case OP_add:
    case OP_sub:
    case OP_mul: break;
    default: return false;
    }
    for (uint32_t i = 0; i < v->op->operand_count; i++)
        if (!is_uniform(op_operand(v->op, i), depth + 1)) return false;
    return true;
}

static Value *uniform_scalar(Builder *b, Value *v) {
    if (!type_is_block(v->type)) return v;
    Op *op = v->op;
    const Type *element = type_element(v->type);
    switch (op->code) {
    case OP_constant: {
        const Attribute *value = op_attribute(op, ATTR_value);
        return value->is_float ? build_constant_float(b, element, value->f)
                               : build_constant_int(b, element, value->i);
    }
    case OP_splat: return op_operand(op, 0);
    case OP_cast: return build_to(b, OP_cast, uniform_scalar(b, op_operand(op, 0)), element);
    case OP_add:
    case OP_sub:
    case OP_mul: {
        Value *left = uniform_scalar(b, op_operand(op, 0));
        return build_binary(b, op->code, left, uniform_scalar(b, op_operand(op, 1)));
    }
    default: return uniform_scalar(b, op_operand(op, 0));
    }
}

/* ---- carried amounts ---------------------------------------------------------------- */

/* The chain of offset or add with uniform amounts from `v` back to `start`; at most 8 steps. */
static bool moves_uniformly(const Value *v, const Value *start, bool pointer, uint32_t depth) {
    if (v == start) return true;
    if (!v->op || depth > 8) return false;
    const OpCode code = v->op->code;
    if (pointer ? code != OP_offset : code != OP_add) return false;
    if (is_uniform(op_operand(v->op, 1), 0))
        return moves_uniformly(op_operand(v->op, 0), start, pointer, depth + 1);
    return !pointer && is_uniform(op_operand(v->op, 0), 0) &&
           moves_uniformly(op_operand(v->op, 1), start, pointer, depth + 1);
}

static Value *sum_of_moves(Builder *b, Value *v, const Value *start, const Type *sum_type,
                           Value *sum) {
    if (v == start) return sum;
    Op *op = v->op;
    const bool second = is_uniform(op_operand(op, 1), 0);
    sum = sum_of_moves(b, op_operand(op, second ? 0 : 1), start, sum_type, sum);
    Value *amount = uniform_scalar(b, op_operand(op, second ? 1 : 0));
    if (amount->type != sum_type) amount = build_to(b, OP_cast, amount, sum_type);
    return build_binary(b, OP_add, sum, amount);
}

static bool may_be_scalar(const Op *loop, uint32_t i) {
    const Region *body = loop->regions[0];
    const Value *argument = body->arguments[i + 1];
    if (!type_is_block(argument->type)) return false;
    const bool pointer = type_is_pointer(argument->type);
    if (!pointer && !dtype_is_int(type_dtype(argument->type))) return false;
    if (!pointer && type_dtype(argument->type) == DT_i1) return false;
    return moves_uniformly(op_operand(body->last, i), argument, pointer, 0);
}

/* The loop again, with scalars for those carried values. */
static void carry_amounts(Module *m, Op *loop) {
    const uint32_t n = loop->result_count;
    bool any = false;
    bool *scalar = arena_array(m->arena, bool, n);
    for (uint32_t i = 0; i < n; i++) any |= scalar[i] = may_be_scalar(loop, i);
    if (!any) return;
    Builder b = {.module = m, .region = loop->parent, .before = loop, .at = loop->at};
    Region *body = loop->regions[0];
    Value **operands = arena_array(m->arena, Value *, n + 3);
    const Type **types = arena_array(m->arena, const Type *, n);
    for (uint32_t i = 0; i < 3; i++) operands[i] = op_operand(loop, i);
    for (uint32_t i = 0; i < n; i++) {
        const Type *type = loop->results[i].type;
        types[i] = !scalar[i]              ? type
                   : type_is_pointer(type) ? type_scalar(&m->types, DT_i64)
                                           : type_element(type);
        operands[i + 3] = scalar[i] ? build_zero(&b, types[i]) : op_operand(loop, i + 3);
    }
    Op *made = build_nested(&b, OP_for, n + 3, operands, n, types);
    op_copy_attributes(m, made, loop);
    Region *to = made->regions[0];
    value_replace(body->arguments[0], region_add_argument(m, to, body->arguments[0]->type));
    Builder inside = {.module = m, .region = to, .at = loop->at};
    for (uint32_t i = 0; i < n; i++) region_add_argument(m, to, types[i]);
    for (uint32_t i = 0; i < n; i++) {
        Value *argument = to->arguments[i + 1], *old = body->arguments[i + 1];
        if (scalar[i]) {
            const Type *shape = type_with_element(&m->types, old->type, types[i]);
            Value *moved = build_to(&inside, OP_splat, argument, shape);
            argument = build_binary(&inside, type_is_pointer(old->type) ? OP_offset : OP_add,
                                    op_operand(loop, i + 3), moved);
        }
        Builder end = {.module = m, .region = body, .before = body->last, .at = loop->at};
        if (scalar[i])
            op_set_operand(
                body->last, i,
                sum_of_moves(&end, op_operand(body->last, i), old, types[i], to->arguments[i + 1]));
        value_replace(old, argument);
    }
    for (Op *op = body->first, *next; op; op = next) {
        next = op->next;
        op_move_to_end(op, to);
    }
    for (uint32_t i = 0; i < n; i++) {
        Value *result = op_result(made, i), *old = op_result(loop, i);
        if (scalar[i] && !value_unused(old)) {
            const Type *shape = type_with_element(&m->types, old->type, types[i]);
            Value *moved = build_to(&b, OP_splat, result, shape);
            result = build_binary(&b, type_is_pointer(old->type) ? OP_offset : OP_add,
                                  op_operand(loop, i + 3), moved);
        }
        value_replace(old, result);
    }
    op_remove(loop);
}

static void carry_amounts_in(Module *m, Region *region) {
    for (Op *op = region->first, *next; op; op = next) {
        next = op->next;
        for (uint32_t i = 0; i < op->region_count; i++) carry_amounts_in(m, op->regions[i]);
        if (op->code == OP_for) carry_amounts(m, op);
    }
}

/* Pure ops without users; backwards, so that what they used goes too. */
static void drop_unused(Region *region) {
    for (Op *op = region->last, *previous; op; op = previous) {
        previous = op->previous;
        for (uint32_t i = 0; i < op->region_count; i++) drop_unused(op->regions[i]);
        bool used = op->result_count == 0 || !op_is_pure(op) || op_is(op, OPF_NESTED);
        for (uint32_t i = 0; i < op->result_count; i++) used |= !value_unused(op_result(op, i));
        if (!used) op_remove(op);
    }
}

Module *cpu_clone(Arena *arena, const Module *from) {
    Module *m = module_new(arena, from->sources, from->diagnostics);
    /* Types of the original stay what they are here: the table starts as a copy. */
    m->types.capacity = from->types.capacity;
    m->types.count = from->types.count;
    m->types.slots = arena_array(arena, const Type *, from->types.capacity);
    if (from->types.capacity)
        memcpy(m->types.slots, from->types.slots, from->types.capacity * sizeof *m->types.slots);
    const Kernel *kernel = from->kernel;
    kernel_new(m, kernel->name, kernel->parameter_count, kernel->parameters);
    Cloner c = {.module = m};
    for (uint32_t i = 0; i < kernel->parameter_count; i++)
        remember(&c, kernel->body->arguments[i], m->kernel->body->arguments[i]);
    clone_ops(&c, m->kernel->body, kernel->body);
    carry_amounts_in(m, m->kernel->body);
    drop_unused(m->kernel->body);
    return m;
}
