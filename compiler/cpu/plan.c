/* plan.c: decides which block values get a slot in scratch and which are computed where they are
 * used.
 *
 * A value is lazy when its op says how to get one element from elements of the operands. A lazy
 * value gets a slot all the same when computing it is dear and it is needed in more than one
 * place, in another region than its own (a loop would do it again and again), or for each element
 * of a larger block. It is written as late as possible: on the way of the first nest that needs
 * all of it. Of a block that is only seen larger, what it is seen of is kept.
 *
 * What ops that are not lazy give (reductions, dot, loops ...) always has a slot.
 */
#include "compiler/cpu/emit.h"

enum { DEAR = 8, MOST = 1000 };

static const char many_anchors;

/* ---- the order of ops ---------------------------------------------------------------------------
 */

static uint32_t place_of(const Emitter *e, const Op *op) {
    uint32_t i =
        (uint32_t)(((uintptr_t)op >> 4) * 0x9e3779b97f4a7c15u >> 20) & (e->op_capacity - 1);
    while (e->op_keys[i] && e->op_keys[i] != op) i = (i + 1) & (e->op_capacity - 1);
    return i;
}

uint32_t order_of(const Emitter *e, const Op *op) {
    return e->op_numbers[place_of(e, op)];
}

static uint32_t count_ops(const Region *region) {
    uint32_t count = 0;
    for (const Op *op = region->first; op; op = op->next) {
        count++;
        for (uint32_t i = 0; i < op->region_count; i++) count += count_ops(op->regions[i]);
    }
    return count;
}

static void number_ops(Emitter *e, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        const uint32_t at = place_of(e, op);
        e->op_keys[at] = op;
        e->op_numbers[at] = ++e->op_count;
        for (uint32_t i = 0; i < op->region_count; i++) number_ops(e, op->regions[i]);
    }
}

static const Op *find_op(const Region *region, uint32_t *left) {
    for (const Op *op = region->first; op; op = op->next) {
        if (--*left == 0) return op;
        for (uint32_t i = 0; i < op->region_count; i++) {
            const Op *found = find_op(op->regions[i], left);
            if (found) return found;
        }
    }
    return NULL;
}

const Op *cpu_op_at(const CpuCode *code, uint32_t index) {
    return index ? find_op(code->module->kernel->body, &index) : NULL;
}

/* ---- which ops are lazy ------------------------------------------------------------- */

bool region_is_simple(const Region *region) {
    for (const Op *op = region->first; op; op = op->next)
        if (!op_is(op, OPF_ELEMENT) && op->code != OP_constant && op->code != OP_yield)
            return false;
    return true;
}

bool op_is_lazy(const Op *op) {
    if (op->result_count == 0 || !type_is_block(op->results[0].type)) return false;
    switch (op->code) {
    case OP_load: return op_int(op, ATTR_is_volatile, 0) == 0;
    case OP_map: return op->result_count == 1 && region_is_simple(op->regions[0]);
    case OP_reduce:
    case OP_scan:
    case OP_dot:
    case OP_dot_scaled:
    case OP_histogram: return false;
    default: return op_is(op, OPF_PURE) || op->code == OP_hint;
    }
}

/* ---- costs -------------------------------------------------------------------------- */

static uint32_t own_cost(const Op *op) {
    switch (op->code) {
    case OP_constant:
    case OP_splat:
    case OP_broadcast:
    case OP_expand_dims:
    case OP_permute:
    case OP_reshape:
    case OP_split:
    case OP_extract:
    case OP_hint:
    case OP_bitcast: return 0;
    case OP_join:
    case OP_concat: return 2;
    case OP_load:
    case OP_gather:
    case OP_map: return DEAR;
    case OP_rem:
    case OP_mulhi: return 4;
    case OP_div: return dtype_is_float(type_dtype(op->results[0].type)) ? 4 : DEAR;
    case OP_cast:
        return dtype_size(type_dtype(op->results[0].type)) < 4 ||
                       dtype_size(type_dtype(op_operand(op, 0)->type)) < 4
                   ? 2
                   : 1;
    default: break;
    }
    if (op->code >= OP_exp && op->code <= OP_nextafter)
        return op->code >= OP_floor && op->code <= OP_rint ? 1 : op->code == OP_sqrt ? 4 : 2 * DEAR;
    return 1;
}

/* ---- addresses that go up evenly ----------------------------------------------------- */

static bool is_row(const Value *v) {
    return type_is_block(v->type) && v->type->shape[v->type->rank - 1] > 1;
}

/* All elements of a row are the same. */
static bool is_even(const Value *v) {
    if (!is_row(v)) return true;
    if (!v->op) return false;
    return v->op->code == OP_splat || v->op->code == OP_constant ||
           (v->op->code == OP_broadcast && is_even(op_operand(v->op, 0)));
}

/* Along a row the elements are base + i * step, as eval_affine finds: computing them where they are
 * used costs nothing, and reading them from a slot would hide that they are neighbours. */
static bool is_affine(Emitter *e, const Op *op) {
    if (!op || op->result_count != 1) return false;
    const Value *v = op_result(op, 0);
    if (!type_is_pointer(v->type) && !dtype_is_int(type_dtype(v->type))) return false;
    bool good = true;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Value *x = op_operand(op, i);
        good &= is_even(x) || info_of(e, x)->affine;
    }
    switch (op->code) {
    case OP_arange: return true;
    case OP_broadcast:
    case OP_expand_dims:
    case OP_add:
    case OP_sub:
    case OP_offset: return good;
    case OP_cast: return good && dtype_is_int(type_dtype(op_operand(op, 0)->type));
    case OP_mul: return good && (is_even(op_operand(op, 0)) || is_even(op_operand(op, 1)));
    default: return false;
    }
}

static void cost_region(Emitter *e, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->region_count; i++) cost_region(e, op->regions[i]);
        if (!op_is_lazy(op)) continue;
        uint32_t cost = own_cost(op);
        bool loads = op->code == OP_load;
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const Value *v = op_operand(op, i);
            if (!type_is_block(v->type)) continue;
            cost += info_of(e, v)->cost;
            loads |= info_of(e, v)->has_load;
        }
        for (uint32_t i = 0; i < op->result_count; i++) {
            ValueInfo *info = info_of(e, op_result(op, i));
            info->cost = cost < MOST ? cost : MOST;
            info->has_load = loads;
            info->affine = is_row(op_result(op, i)) && is_affine(e, op);
        }
    }
}

/* ---- who needs what, until when ----------------------------------------------------- */

/* The op of `region` that `op` is, or is nested in. */
static const Op *lifted(const Op *op, const Region *region) {
    while (op && op->parent != region) op = op->parent ? op->parent->parent : NULL;
    return op;
}

static const Region *region_of(const Value *v) {
    return v->op ? v->op->parent : v->region;
}

/* Does this user look at elements more than once, or at places known only when it runs? */
static bool repeats(const Op *user, const Value *v) {
    switch (user->code) {
    case OP_broadcast: return user->results[0].type->count > v->type->count;
    case OP_gather: return op_operand(user, 0) == v;
    case OP_join:
    case OP_concat: return true;
    default: return false;
    }
}

/* Turned for products alone: packing turns a slot's rows by squares of vectors. */
static bool is_turned_for_dots(const Op *op) {
    if (op->code != OP_permute) return false;
    for (const Use *use = op->results[0].uses; use; use = use->next)
        if (use->user->code != OP_dot || use_index(use) > 1) return false;
    return true;
}

/* What is never worth a slot, though what it is made of may be: a smaller block seen as a larger
 * one, what is turned for products, and what goes up evenly. */
static bool is_view(Emitter *e, const Op *op) {
    return op->code == OP_broadcast || op->code == OP_expand_dims || is_turned_for_dots(op) ||
           (op->result_count == 1 && info_of(e, op_result(op, 0))->affine);
}

static void plan_value(Emitter *e, const Value *v, bool lazy) {
    ValueInfo *info = info_of(e, v);
    const Region *region = region_of(v);
    bool away = false, again = false;
    const Op *end = v->op ? v->op : region->first;
    for (const Use *use = v->uses; use; use = use->next) {
        const Op *user = use->user;
        const void *anchor = user;
        const Op *until = user;
        if (op_is_lazy(user) && type_is_block(v->type)) {
            for (uint32_t i = 0; i < user->result_count; i++) {
                const Value *result = op_result(user, i);
                const ValueInfo *r = info_of(e, result);
                anchor = r->stored ? (const void *)result : r->anchor;
                const Op *last = lifted(r->end, region);
                if (last && order_of(e, last) > order_of(e, lifted(until, region))) until = last;
                if (user->result_count > 1 && i && anchor != info->anchor) anchor = &many_anchors;
            }
        }
        if (info->anchor && info->anchor != anchor) anchor = &many_anchors;
        info->anchor = anchor;
        away |= user->parent != region;
        again |= repeats(user, v);
        if (is_view(e, user)) again |= info_of(e, op_result(user, 0))->seen_again;
        const Op *last = lifted(until, region);
        if (last && order_of(e, last) > order_of(e, end)) end = last;
    }
    info->end = end;
    if (!lazy) {
        info->stored = true;
        return;
    }
    const bool dear = info->has_load || info->cost >= DEAR;
    info->seen_again = away || again || info->anchor == &many_anchors;
    info->stored = dear && v->uses && info->seen_again && !is_view(e, v->op);
    if (v->op->code == OP_gather) /* its source is looked up in memory */
        info_of(e, op_operand(v->op, 0))->stored = true;
}

static void plan_region(Emitter *e, const Region *region) {
    for (const Op *op = region->last; op; op = op->previous) {
        const bool lanes = op->code == OP_reduce || op->code == OP_scan || op->code == OP_map;
        for (uint32_t i = op->result_count; i-- > 0;)
            if (type_is_block(op->results[i].type)) plan_value(e, op_result(op, i), op_is_lazy(op));
        for (uint32_t i = op->region_count; !lanes && i-- > 0;) plan_region(e, op->regions[i]);
    }
    for (uint32_t i = 0; i < region->argument_count; i++)
        if (type_is_block(region->arguments[i]->type)) {
            plan_value(e, region->arguments[i], false);
            info_of(e, region->arguments[i])->end = NULL; /* its owner says */
        }
}

/* What gather looks up lies in memory, whatever it is. */
static void store_sources(Emitter *e, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->region_count; i++) store_sources(e, op->regions[i]);
        if (op->code == OP_gather) info_of(e, op_operand(op, 0))->stored = true;
    }
}

void plan_module(Emitter *e) {
    const uint32_t ops = count_ops(e->module->kernel->body);
    for (e->op_capacity = 64; e->op_capacity < 2 * ops;) e->op_capacity *= 2;
    e->op_keys = arena_array(e->arena, const Op *, e->op_capacity);
    e->op_numbers = arena_array(e->arena, uint32_t, e->op_capacity);
    number_ops(e, e->module->kernel->body);
    e->value_count = ir_number(e->module);
    e->values = arena_array(e->arena, ValueInfo, e->value_count);
    cost_region(e, e->module->kernel->body);
    plan_region(e, e->module->kernel->body);
    store_sources(e, e->module->kernel->body);
}
