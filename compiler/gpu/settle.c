/* settle.c: fewer and cheaper converts.
 *
 * lay already puts converts where values are made and makes cheap ones anew. What is left are local
 * matters, seen once all converts stand there:
 *
 *     convert (convert x)          one convert, or none when it comes back to where it was
 *     narrow (convert x)           convert (narrow x): half the bytes move
 *     a convert in a loop          of a value that is carried and given in that layout anyway: the
 *                                  loop carries it so, and the convert stands before and behind it
 *     a convert only the branch    moves into the branch
 *     of an `if` uses
 *
 * Last, what goes through shared memory is read back as late as can be, and written right before:
 * the loads from global memory are then all under way before the first one is waited for, and
 * blocks that one op needs together share their barriers. An operand that stays the same in a loop
 * full of dots is read back in each iteration: it would take registers that the sums need.
 */
#include "compiler/gpu/gpu.h"

typedef struct Settle {
    Module *module;
    const GpuTarget *target;
    bool changed;
    uint32_t held; /* bytes of shared memory that loops hold so that they can read again */
} Settle;

static bool is_convert(const Value *v) {
    return v->op && v->op->code == OP_convert;
}

static bool has_one_use(const Value *v) {
    return v->uses && !v->uses->next;
}

/* ---- local rewrites ---------------------------------------------------------------------- */

static void fold_chain(Settle *s, Op *op) {
    Value *x = op_operand(op, 0);
    if (is_convert(x)) {
        op_set_operand(op, 0, op_operand(x->op, 0));
        s->changed = true;
        x = op_operand(op, 0);
    }
    if (x->type != op->results[0].type) return;
    value_replace(&op->results[0], x);
    op_remove(op);
    s->changed = true;
}

static void narrow_first(Settle *s, Op *cast) {
    Value *moved = op_operand(cast, 0);
    const Type *to = cast->results[0].type;
    if (!is_convert(moved) || !has_one_use(moved)) return;
    if (type_element_size(to) >= type_element_size(moved->type)) return;
    Value *x = op_operand(moved->op, 0);
    Builder b = {s->module, cast->parent, cast, cast->at};
    Value *narrow =
        build_to(&b, OP_cast, x, type_with_layout(&s->module->types, to, x->type->layout));
    op_copy_attributes(s->module, narrow->op, cast);
    value_replace(&cast->results[0], build_to(&b, OP_convert, narrow, to));
    op_remove(cast);
    op_remove(moved->op);
    s->changed = true;
}

static void sink_into_branch(Settle *s, Op *op) {
    const Region *branch = NULL;
    Op *first = NULL;
    for (const Use *use = op->results[0].uses; use; use = use->next) {
        Op *user = use->user;
        while (user->parent != op->parent && user->parent->parent &&
               user->parent->parent->parent != op->parent)
            user = user->parent->parent;
        if (user->parent == op->parent || !user->parent->parent ||
            user->parent->parent->code != OP_if || (branch && user->parent != branch))
            return;
        branch = user->parent;
    }
    if (!branch) return;
    for (first = branch->first; first; first = first->next) { /* the first that needs it */
        bool uses = false;
        for (const Use *use = op->results[0].uses; use; use = use->next) {
            uses |= use->user == first;
            for (uint32_t r = 0; r < first->region_count; r++)
                uses |= op_is_inside(use->user, first->regions[r]);
        }
        if (uses) break;
    }
    if (!first) return;
    op_move_before(op, first);
    s->changed = true;
}

static void visit(Op *op, void *context) {
    Settle *s = context;
    if (op->code == OP_cast) narrow_first(s, op);
    if (op->parent && op->code == OP_convert) fold_chain(s, op);
    if (op->parent && op->code == OP_convert) sink_into_branch(s, op);
}

/* ---- carried values ---------------------------------------------------------------------- */

/* The type that all users inside convert the carried value to, when the loop gives one of that
 * type; else NULL. */
static const Type *carried_as(const Op *loop, uint32_t i) {
    const Value *inside = loop->regions[0]->arguments[i + 1];
    const Value *given = op_operand(loop->regions[0]->last, i);
    if (!type_is_block(inside->type) || !is_convert(given)) return NULL;
    const Type *wanted = op_operand(given->op, 0)->type;
    for (const Use *use = inside->uses; use; use = use->next)
        if (use->user->code != OP_convert || use->user->results[0].type != wanted) return NULL;
    return inside->uses ? wanted : NULL;
}

static void carry_as(Settle *s, Op *loop, uint32_t i, const Type *wanted) {
    Value *inside = loop->regions[0]->arguments[i + 1], *result = &loop->results[i];
    Op *yield = loop->regions[0]->last;
    const Type *old = result->type;
    Builder before = {s->module, loop->parent, loop, loop->at};
    op_set_operand(loop, i + 3, build_to(&before, OP_convert, op_operand(loop, i + 3), wanted));
    op_set_operand(yield, i, op_operand(op_operand(yield, i)->op, 0));
    VEC(Op *) converts = {0};
    for (const Use *use = inside->uses; use; use = use->next)
        vec_push(s->module->arena, &converts, use->user);
    for (uint32_t k = 0; k < converts.length; k++) {
        value_replace(&converts.data[k]->results[0], inside);
        op_remove(converts.data[k]);
    }
    inside->type = result->type = wanted;
    Builder behind = {s->module, loop->parent, loop->next, loop->at};
    Value *back = build_to(&behind, OP_convert, result, old);
    for (Use *use = result->uses, *next; use; use = next) {
        next = use->next;
        if (use->user != back->op) op_set_operand(use->user, use_index(use), back);
    }
    s->changed = true;
}

static void visit_loop(Op *op, void *context) {
    if (op->code != OP_for) return;
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Type *wanted = carried_as(op, i);
        if (wanted) carry_as(context, op, i, wanted);
    }
}

/* ---- order ------------------------------------------------------------------------------- */

/* The op of `region` that holds the first use of the value; NULL: there is none. */
static Op *first_user(const Value *value, const Region *region) {
    Op *first = NULL;
    for (const Use *use = value->uses; use; use = use->next) {
        Op *user = use->user;
        while (user->parent != region) user = user->parent->parent;
        Op *op = first;
        while (op && op != user) op = op->previous; /* is the user before what was found? */
        if (!first || op) first = user;
    }
    return first;
}

static bool follows_shared_load(const Op *op) {
    switch (op->code) {
    case OP_shared_load: return true;
    case OP_permute:
    case OP_reshape:
    case OP_expand_dims: {
        const Op *maker = op_operand(op, 0)->op;
        return maker && maker->parent == op->parent && follows_shared_load(maker);
    }
    default: return false;
    }
}

static void read_late(Region *region) {
    for (Op *op = region->last, *previous; op; op = previous) {
        previous = op->previous;
        for (uint32_t i = 0; i < op->region_count; i++) read_late(op->regions[i]);
        if (!follows_shared_load(op)) continue;
        Op *user = first_user(&op->results[0], region);
        if (user && user != op->next) op_move_before(op, user);
    }
}

/* 32-bit registers that a thread holds the value in. */
static uint32_t registers_of(const Value *v) {
    if (!type_is_block(v->type)) return 1;
    uint32_t bytes = type_element_size(v->type) << v->type->layout->bits[PLACE_REGISTER];
    return (bytes + 3) / 4;
}

static uint32_t dot_registers(const Region *region) {
    uint32_t sum = 0;
    for (const Op *op = region->first; op; op = op->next) {
        if (op->code == OP_dot) sum += registers_of(&op->results[0]);
        for (uint32_t i = 0; i < op->region_count; i++) sum += dot_registers(op->regions[i]);
    }
    return sum;
}

/* Is the load worth its registers in all loops that use it? They are few enough, or it is not a
 * dot in a loop that uses it. */
static bool may_stay(const Op *load) {
    enum { MOST_REGISTERS = 128 };
    const Value *v = &load->results[0];
    for (const Use *use = v->uses; use; use = use->next) {
        const Op *user = use->user, *around = user->parent->parent;
        if (user->code != OP_dot || user->parent == load->parent || around->code != OP_for)
            return true;
        if (registers_of(v) + dot_registers(user->parent) < MOST_REGISTERS) return true;
    }
    return v->uses == NULL;
}

static uint32_t shared_bytes_in(const Module *module, const Region *region) {
    uint32_t sum = 0;
    for (const Op *op = region->first; op; op = op->next) {
        if (op->code == OP_shared_alloc) sum += gpu_scratch_bytes(module, op);
        for (uint32_t i = 0; i < op->region_count; i++)
            sum += shared_bytes_in(module, op->regions[i]);
    }
    return sum;
}

/* Is there room for what the load reads, beside what the loops load? */
static bool has_room(const Settle *s, const Op *load) {
    uint32_t own = gpu_scratch_bytes(s->module, op_operand(load, 0)->op), inside = 0;
    for (const Use *use = load->results[0].uses; use; use = use->next) {
        uint32_t bytes = shared_bytes_in(s->module, use->user->parent);
        inside = bytes > inside ? bytes : inside;
    }
    return s->target && s->held + own + inside <= s->target->shared_bytes;
}

static void read_again(Settle *s, Region *region) {
    for (Op *op = region->first, *next; op; op = next) {
        next = op->next;
        for (uint32_t i = 0; i < op->region_count; i++) read_again(s, op->regions[i]);
        if (op->code != OP_shared_load || may_stay(op) || !has_room(s, op)) continue;
        s->held += gpu_scratch_bytes(s->module, op_operand(op, 0)->op);
        while (op->results[0].uses) {
            Use *use = op->results[0].uses;
            Builder b = {s->module, use->user->parent, use->user, op->at};
            ValueMap map = {0};
            Op *copy = op_clone(&b, op, &map);
            op_set_operand(use->user, use_index(use), &copy->results[0]);
        }
        op_remove(op);
    }
}

static void write_late(Region *region) {
    for (Op *op = region->last, *previous; op; op = previous) {
        previous = op->previous;
        for (uint32_t i = 0; i < op->region_count; i++) write_late(op->regions[i]);
        if (op->code != OP_shared_store) continue;
        Op *place = NULL; /* the first that comes after the store and reads what it wrote */
        for (Op *o = op->next; o && !place; o = o->next) {
            if (o->code == OP_shared_load && op_operand(o, 0) == op_operand(op, 0)) place = o;
            if (o->region_count) break;
        }
        if (!place) continue;
        while (place->previous != op &&
               (follows_shared_load(place->previous) || place->previous->code == OP_shared_store))
            place = place->previous;
        if (place->previous != op) op_move_before(op, place);
    }
}

/* ---- the pass ---------------------------------------------------------------------------- */

bool pass_settle(Module *module) {
    Settle s = {.module = module, .target = module->target ? gpu_target(module->target) : NULL};
    bool any = false;
    do {
        s.changed = false;
        region_walk(module->kernel->body, visit_loop, &s);
        region_walk(module->kernel->body, visit, &s);
        any |= s.changed;
    } while (s.changed);
    read_late(module->kernel->body);
    write_late(module->kernel->body);
    read_again(&s, module->kernel->body);
    return any;
}
