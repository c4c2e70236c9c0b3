/* pipeline.c: loads of a loop that feed dots go ahead of it, by cp.async into a ring of buffers.
 *
 *     for i { x = load p(i); store x -> s; y = load s; dot(y) }
 *
 * becomes, with S stages,
 *
 *     for k in 0 .. S-2 { copy p(k) -> ring[k]; commit }            written out
 *     for i {
 *         wait until all but the newest S-2 groups have landed; barrier
 *         copy p(i + S-1) -> ring[(i + S-1) mod S]; commit          not behind the end
 *         y = load ring[i mod S]; dot(y)
 *     }
 *     wait for all
 *
 * The one barrier does two things: what others copied for this iteration is there, and the buffer
 * that is filled next, which was read in the iteration before, is free.
 *
 * What an address or a mask depends on inside the loop (the index, carried pointers, and pure ops
 * on them) is computed again for the iteration ahead; carried values of that kind are carried
 * twice, and dce drops the old ones. Loads of the kind may stand there too (tables of pages): they
 * are masked off behind the end like the copies.
 *
 * Rows of numbers that most threads hold (the state of rows in attention) go along: 16 or 4 bytes a
 * thread into a ring, and each thread reads its own from there when it needs them.
 *
 * Only innermost loops with a signed index and a constant positive step; only loads whose bytes
 * nothing in the loop writes; only runs of 4 bytes or more; only as many stages, and with two only
 * as many loads, as shared memory holds.
 */
#include "compiler/gpu/axis.h"
#include "compiler/gpu/gpu.h"

/* One load that goes ahead: of a block that goes through shared memory, or of a row. */
typedef struct Copy {
    Op *load, *store, *alloc; /* a row: store and alloc are NULL */
    const Type *shared;
    const Layout *row; /* of the pointers, for a row; else NULL */
    Value *ring;
} Copy;

typedef struct Loop {
    Module *module;
    Axis *axis;
    const GpuTarget *target;
    Op *op;
    Region *body;
    int64_t step;
    VEC(Copy) copies;
    VEC(Op *) slice;       /* ops of the body to compute again, in order */
    VEC(uint32_t) carried; /* carried values to carry twice */
    VEC(Value *) ahead;    /* their values for the next iteration to copy */
    uint32_t stages;
} Loop;

/* ---- may it? ----------------------------------------------------------------------------- */

/* The bytes that one thread's cp.async may take at once. */
static uint32_t run_bytes(const Loop *l, const Op *load) {
    const Value *pointers = op_operand(load, 0);
    const Value *mask = load->operand_count > 1 ? op_operand(load, 1) : NULL;
    const Type *type = load->results[0].type;
    uint32_t size = type_element_size(type), best = 0;
    for (uint32_t d = 0, shift = 0; d < type->rank; d++) {
        uint8_t order[MAX_PLACE_BITS] = {0};
        uint32_t dim = type->rank - 1 - d, bits = log2_exact(type->shape[dim]), n = 0;
        for (uint32_t b = 0; b < bits; b++) order[n++] = (uint8_t)(shift + b);
        for (uint32_t b = 0; b < type->layout->out_bits; b++)
            if (b < shift || b >= shift + bits) order[n++] = (uint8_t)b;
        uint32_t held = 1u << layout_vector_bits(type->layout, order);
        uint32_t run = axis_vector(l->axis, pointers, mask, dim);
        run = run < held ? run : held;
        best = run > best ? run : best;
        shift += bits;
    }
    return best * size;
}

static bool is_zero(const Value *v) {
    while (v->op && (v->op->code == OP_splat || v->op->code == OP_broadcast))
        v = op_operand(v->op, 0);
    if (!value_is_constant(v)) return false;
    const Attribute *a = op_attribute(v->op, ATTR_value);
    return a->i == 0; /* +0.0 too: the bits */
}

/* Does anything in the region write where this load reads? */
static bool is_written(const Region *region, const Value *pointers) {
    const Value *root = gpu_pointer_root(pointers);
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->region_count; i++)
            if (is_written(op->regions[i], pointers)) return true;
        if (op->code == OP_barrier || (op->code == OP_inline_asm && !op_is_pure(op))) return true;
        if (op->code != OP_store && op->code != OP_atomic_rmw && op->code != OP_atomic_cas)
            continue;
        if (op->code != OP_store && !type_is_block(op_operand(op, 0)->type)) return true; /* lock */
        const Value *written = gpu_pointer_root(op_operand(op, 0));
        if (!root || !written || root == written) return true;
    }
    return false;
}

static bool has_op(const Op *const *list, uint32_t count, const Op *op) {
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == op) return true;
    return false;
}

typedef struct Slice {
    VEC(Op *) ops;
    VEC(uint32_t) carried;
} Slice;

/* Adds what `value` depends on inside the loop; false: something that cannot go ahead. */
static bool add_to_slice(Loop *l, Slice *s, const Value *value) {
    Arena *arena = l->module->arena;
    if (value->region == l->body) {
        if (value->index == 0) return true;
        uint32_t k = value->index - 1;
        for (uint32_t i = 0; i < s->carried.length; i++)
            if (s->carried.data[i] == k) return true;
        vec_push(arena, &s->carried, k);
        return add_to_slice(l, s, op_operand(l->body->last, k));
    }
    Op *op = value->op;
    if (!op || op->parent != l->body) return true; /* from outside the loop */
    if (has_op((const Op *const *)s->ops.data, s->ops.length, op)) return true;
    bool load = op->code == OP_load && !op_int(op, ATTR_is_volatile, 0) && op->operand_count <= 2 &&
                !is_written(l->body, op_operand(op, 0));
    if (!load && (!op_is_pure(op) || op->region_count || op->code == OP_dot ||
                  gpu_scratch_bytes(l->module, op) > 0))
        return false;
    vec_push(arena, &s->ops, op);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!add_to_slice(l, s, op_operand(op, i))) return false;
    return true;
}

/* load -> shared_store, in this loop's body, and nothing else uses either. */
static bool find_copy(Loop *l, Op *store, Copy *copy) {
    Op *load = op_operand(store, 2)->op, *alloc = op_operand(store, 0)->op;
    *copy =
        (Copy){.load = load, .store = store, .alloc = alloc, .shared = op_operand(store, 0)->type};
    if (!load || load->code != OP_load || load->parent != l->body || alloc->parent != l->body)
        return false;
    if (load->results[0].uses->next || op_int(alloc, ATTR_buffers, 1) != 1) return false;
    if (op_int(load, ATTR_is_volatile, 0)) return false;
    if (load->operand_count > 2 && !is_zero(op_operand(load, 2))) return false;
    return run_bytes(l, load) >= 4 && !is_written(l->body, op_operand(load, 0));
}

/* Can the value be made in any layout, from scalars? */
static bool is_remakable(const Value *v, uint32_t depth) {
    const Op *op = v->op;
    if (!type_is_block(v->type)) return true;
    if (!op || depth == 0 || op->operand_count > 3 || !op_is_pure(op)) return false;
    if (op->code != OP_constant && op->code != OP_arange && op->code != OP_splat &&
        !op_is(op, OPF_ELEMENT))
        return false;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!is_remakable(op_operand(op, i), depth - 1)) return false;
    return true;
}

/* A row that four threads or more hold each element of. */
static bool find_row(Loop *l, Op *load, Copy *copy) {
    enum { DEPTH = 12, COPY_BITS = 2 };
    if (load->code != OP_load || op_int(load, ATTR_is_volatile, 0)) return false;
    const Type *type = load->results[0].type;
    const Value *mask = load->operand_count > 1 ? op_operand(load, 1) : NULL;
    if (!type_is_block(type) || type->rank != 1 || type_element_size(type) < 4) return false;
    const uint32_t warps = l->module->kernel->num_warps, order[] = {0};
    const uint32_t held = type->layout->bits[PLACE_REGISTER] + LANE_BITS + log2_exact(warps);
    if (held < (uint32_t)type->layout->out_bits + COPY_BITS || value_unused(&load->results[0]))
        return false;
    for (uint32_t i = 0; i < load->operand_count && i < 2; i++)
        if (!is_remakable(op_operand(load, i), DEPTH)) return false;
    if (is_written(l->body, op_operand(load, 0))) return false;
    uint32_t vector = axis_vector(l->axis, op_operand(load, 0), mask, 0);
    while (vector * type_element_size(type) > 16) vector /= 2;
    Layout row = tile_coalesced(1, type->shape, order, vector, warps);
    Layout plain = {.out_bits = type->layout->out_bits};
    for (uint32_t b = 0; b < plain.out_bits; b++) layout_push(&plain, PLACE_OFFSET, 1u << b);
    *copy = (Copy){.load = load,
                   .row = type_layout(&l->module->types, &row),
                   .shared = type_shared(&l->module->types, type, &plain)};
    return true;
}

/* The first `most` loads that may go ahead, rows not counted, and what they need computed ahead. */
static void find_copies(Loop *l, uint32_t most) {
    Arena *arena = l->module->arena;
    Slice all = {0};
    l->copies.length = l->slice.length = l->carried.length = 0;
    uint32_t blocks = 0;
    for (Op *op = l->body->first; op; op = op->next) {
        Copy copy;
        if (op->code == OP_shared_store ? blocks == most || !find_copy(l, op, &copy)
                                        : !find_row(l, op, &copy))
            continue;
        Slice s = {0};
        for (uint32_t i = 0; i < all.ops.length; i++) vec_push(arena, &s.ops, all.ops.data[i]);
        for (uint32_t i = 0; i < all.carried.length; i++)
            vec_push(arena, &s.carried, all.carried.data[i]);
        bool fits = add_to_slice(l, &s, op_operand(copy.load, 0));
        if (fits && copy.load->operand_count > 1)
            fits = add_to_slice(l, &s, op_operand(copy.load, 1));
        if (!fits) continue;
        all = s;
        blocks += copy.row == NULL;
        vec_push(arena, &l->copies, copy);
    }
    if (!blocks) l->copies.length = 0;               /* rows alone are not worth a barrier */
    for (Op *op = l->body->first; op; op = op->next) /* in the order of the body */
        if (has_op((const Op *const *)all.ops.data, all.ops.length, op))
            vec_push(arena, &l->slice, op);
    for (uint32_t i = 0; i < all.carried.length; i++)
        vec_push(arena, &l->carried, all.carried.data[i]);
}

static bool becomes_ring(const Loop *l, const Op *alloc) {
    for (uint32_t i = 0; i < l->copies.length; i++)
        if (l->copies.data[i].alloc && l->copies.data[i].alloc == alloc) return true;
    return false;
}

/* Shared memory of what stays in the loop: blocks may be there together, other ops come one by one.
 */
static uint32_t shared_beside(const Loop *l, const Region *region) {
    uint32_t most = 0, blocks = 0;
    for (const Op *op = region->first; op; op = op->next) {
        uint32_t bytes = becomes_ring(l, op) ? 0 : gpu_scratch_bytes(l->module, op);
        bytes = (bytes + 127) / 128 * 128;
        if (op->code == OP_shared_alloc) {
            blocks += bytes;
            continue;
        }
        most = bytes > most ? bytes : most;
        for (uint32_t i = 0; i < op->region_count; i++) {
            bytes = shared_beside(l, op->regions[i]);
            most = bytes > most ? bytes : most;
        }
    }
    return most + blocks;
}

/* Shared memory from before the loop that the loop reads. */
static uint32_t held_bytes(const Loop *l) {
    uint32_t sum = 0;
    const Value *seen[16];
    uint32_t count = 0;
    for (const Op *op = l->body->first; op; op = op->next) {
        if (op->code != OP_shared_load || op_operand(op, 0)->op->parent == l->body) continue;
        bool known = false;
        for (uint32_t i = 0; i < count; i++) known |= seen[i] == op_operand(op, 0);
        if (known || count == ARRAY_LENGTH(seen)) continue;
        seen[count++] = op_operand(op, 0);
        sum += (gpu_scratch_bytes(l->module, op_operand(op, 0)->op) + 127) / 128 * 128;
    }
    return sum;
}

static uint32_t shared_bytes(const Type *shared) {
    return (shared->count * type_element_size(shared) + 127) / 128 * 128;
}

/* As many stages as wanted, and as shared memory holds beside what runs in the loop. */
static bool choose_stages(Loop *l) {
    uint32_t ring = 0, beside = shared_beside(l, l->body) + held_bytes(l);
    for (uint32_t i = 0; i < l->copies.length; i++) ring += shared_bytes(l->copies.data[i].shared);
    int64_t wanted = op_int(l->op, ATTR_num_stages, l->module->kernel->num_stages);
    l->stages = wanted < 1 ? 1 : wanted > 8 ? 8 : (uint32_t)wanted;
    while (l->stages > 1 && l->stages * ring + beside > l->target->shared_bytes) l->stages--;
    return l->stages > 1;
}

static bool is_innermost(const Region *body) {
    for (const Op *op = body->first; op; op = op->next) {
        if (op->code == OP_for || op->code == OP_while) return false;
        for (uint32_t i = 0; op->code == OP_if && i < 2; i++)
            if (!is_innermost(op->regions[i])) return false;
    }
    return true;
}

/* ---- the copies of one iteration --------------------------------------------------------- */

static Value *mapped(const ValueMap *map, Value *value) {
    for (uint32_t i = map->length; i >= 2; i -= 2)
        if (map->data[i - 2] == value) return map->data[i - 1];
    return value;
}

static Value *masked(Loop *l, Builder *b, const Type *like, Value *mask, Value *valid) {
    Value *on = valid;
    if (type_is_block(like))
        on = build_to(b, OP_splat, valid, type_with_dtype(&l->module->types, like, DT_i1));
    return mask ? build_binary(b, OP_and, mask, on) : on;
}

static void clone_slice(Loop *l, Builder *b, ValueMap *map, Value *valid) {
    for (uint32_t i = 0; i < l->slice.length; i++) {
        Op *op = l->slice.data[i];
        if (op->code != OP_load) {
            op_clone(b, op, map);
            continue;
        }
        Value *pointers = mapped(map, op_operand(op, 0));
        Value *mask = op->operand_count > 1 ? mapped(map, op_operand(op, 1)) : NULL;
        mask = masked(l, b, pointers->type, mask, valid);
        Op *load = build_op(b, OP_load, 2, (Value *[]){pointers, mask}, 1, &op->results[0].type);
        op_copy_attributes(l->module, load, op);
        vec_push(l->module->arena, map, &op->results[0]);
        vec_push(l->module->arena, map, &load->results[0]);
    }
}

/* The value of the iteration ahead, in another layout. */
static Value *remade(Loop *l, Builder *b, const ValueMap *map, Value *v, const Layout *layout) {
    Value *operands[3];
    const Op *op = v->op;
    if (!type_is_block(v->type)) return mapped(map, v);
    for (uint32_t i = 0; i < op->operand_count; i++)
        operands[i] = remade(l, b, map, op_operand(op, i), layout);
    const Type *type = type_with_layout(&l->module->types, v->type, layout);
    Op *new = build_op(b, op->code, op->operand_count, operands, 1, &type);
    op_copy_attributes(l->module, new, op);
    return &new->results[0];
}

/* Copies for the iteration with this index into this buffer, when `valid`; moves l->ahead on. */
static void copy_iteration(Loop *l, Builder *b, Value *index, Value *buffer, Value *valid) {
    ValueMap map = {0};
    Arena *arena = l->module->arena;
    vec_push(arena, &map, l->body->arguments[0]);
    vec_push(arena, &map, index);
    for (uint32_t i = 0; i < l->carried.length; i++) {
        vec_push(arena, &map, l->body->arguments[l->carried.data[i] + 1]);
        vec_push(arena, &map, l->ahead.data[i]);
    }
    clone_slice(l, b, &map, valid);
    for (uint32_t i = 0; i < l->copies.length; i++) {
        const Copy *copy = &l->copies.data[i];
        Value *pointers = op_operand(copy->load, 0), *mask = NULL;
        if (copy->load->operand_count > 1) mask = op_operand(copy->load, 1);
        pointers = copy->row ? remade(l, b, &map, pointers, copy->row) : mapped(&map, pointers);
        if (mask) mask = copy->row ? remade(l, b, &map, mask, copy->row) : mapped(&map, mask);
        mask = masked(l, b, pointers->type, mask, valid);
        Value *operands[] = {copy->ring, buffer, pointers, mask};
        Op *async = build_op(b, OP_async_copy, 4, operands, 0, NULL);
        Word cache = op_word(copy->load, ATTR_cache, WORD_none);
        Word evict = op_word(copy->load, ATTR_evict, WORD_none);
        if (copy->load->operand_count == 1) op_set_int(l->module, async, ATTR_skip, 1);
        if (cache != WORD_none) op_set_word(l->module, async, ATTR_cache, cache);
        if (evict != WORD_none) op_set_word(l->module, async, ATTR_evict, evict);
    }
    build_op(b, OP_async_commit, 0, NULL, 0, NULL);
    for (uint32_t i = 0; i < l->carried.length; i++)
        l->ahead.data[i] = mapped(&map, op_operand(l->body->last, l->carried.data[i]));
}

/* ---- the loop ---------------------------------------------------------------------------- */

static Value *number(Builder *b, const Type *type, int64_t value) {
    return build_constant_int(b, type, value);
}

/* Iteration `ahead` after the one with this index: is it there? Written so that nothing overflows.
 */
static Value *is_within(Builder *b, Value *to, Value *index, int64_t distance) {
    Value *left = build_binary(b, OP_sub, to, index);
    return build_binary(b, OP_gt, left, number(b, index->type, distance));
}

static void build_prologue(Loop *l, Builder *b) {
    Value *from = op_operand(l->op, 0), *to = op_operand(l->op, 1);
    const Type *i32 = type_scalar(&l->module->types, DT_i32);
    for (uint32_t i = 0; i < l->copies.length; i++) {
        Copy *copy = &l->copies.data[i];
        Op *ring = build_op(b, OP_shared_alloc, 0, NULL, 1, &copy->shared);
        op_set_int(l->module, ring, ATTR_buffers, l->stages);
        copy->ring = &ring->results[0];
    }
    for (uint32_t i = 0; i < l->carried.length; i++)
        vec_push(l->module->arena, &l->ahead, op_operand(l->op, l->carried.data[i] + 3));
    for (uint32_t k = 0; k + 1 < l->stages; k++) {
        Value *index = build_binary(b, OP_add, from, number(b, from->type, k * l->step));
        Value *valid = is_within(b, to, from, k * l->step);
        copy_iteration(l, b, index, number(b, i32, k), valid);
    }
}

/* The same loop with more carried values, initially `extra`; the yield still lacks them. */
static Op *widen_loop(Loop *l, Builder *b, Value *const *extra, uint32_t count) {
    Module *m = l->module;
    uint32_t old = l->op->operand_count, results = l->op->result_count;
    Value **operands = arena_array(m->arena, Value *, old + count);
    const Type **types = arena_array(m->arena, const Type *, results + count);
    for (uint32_t i = 0; i < old; i++) operands[i] = op_operand(l->op, i);
    for (uint32_t i = 0; i < count; i++) operands[old + i] = extra[i];
    for (uint32_t i = 0; i < results + count; i++) types[i] = operands[i + 3]->type;
    Op *loop = build_nested(b, OP_for, old + count, operands, results + count, types);
    op_copy_attributes(m, loop, l->op);
    loop->at = l->op->at;
    Region *body = loop->regions[0];
    region_add_argument(m, body, operands[0]->type);
    for (uint32_t i = 0; i < results + count; i++) region_add_argument(m, body, types[i]);
    return loop;
}

static void move_body(Loop *l, Op *loop) {
    Region *body = loop->regions[0];
    for (uint32_t i = 0; i < l->body->argument_count; i++) {
        body->arguments[i]->name = l->body->arguments[i]->name;
        value_replace(l->body->arguments[i], body->arguments[i]);
    }
    for (Op *op = l->body->first, *next; op; op = next) {
        next = op->next;
        op_move_to_end(op, body);
    }
    for (uint32_t i = 0; i < l->op->result_count; i++)
        value_replace(&l->op->results[i], &loop->results[i]);
    op_remove(l->op);
    l->op = loop;
    l->body = body;
}

static Value *next_slot(Loop *l, Builder *b, Value *slot) {
    Value *next = build_binary(b, OP_add, slot, number(b, slot->type, 1));
    Value *wraps = build_binary(b, OP_eq, next, number(b, slot->type, l->stages));
    return build_ternary(b, OP_select, wraps, number(b, slot->type, 0), next);
}

static void replace_yield(Loop *l, Value *const *extra, uint32_t count) {
    Op *old = l->body->last;
    Value **operands = arena_array(l->module->arena, Value *, old->operand_count + count);
    for (uint32_t i = 0; i < old->operand_count; i++) operands[i] = op_operand(old, i);
    for (uint32_t i = 0; i < count; i++) operands[old->operand_count + i] = extra[i];
    Builder b = {l->module, l->body, NULL, old->at};
    uint32_t all = old->operand_count + count;
    op_remove(old);
    build_op(&b, OP_yield, all, operands, 0, NULL);
}

/* The first op of the body that uses the value, itself or further inside. */
static Op *first_user(const Loop *l, const Value *value, Op *from) {
    for (Op *op = from; op; op = op->next)
        for (const Use *use = value->uses; use; use = use->next) {
            const Op *user = use->user;
            while (user->parent != l->body) user = user->parent->parent;
            if (user == op) return op;
        }
    return l->body->last;
}

/* A row is read from its ring where it is wanted first; what the mask hides is `other`. */
static void read_row(Loop *l, const Copy *copy, Value *slot) {
    Op *load = copy->load;
    Builder b = {l->module, l->body, first_user(l, &load->results[0], load->next), load->at};
    const Type *type = load->results[0].type;
    Value *operands[] = {copy->ring, slot};
    Value *row = &build_op(&b, OP_shared_load, 2, operands, 1, &type)->results[0];
    if (load->operand_count > 2 && !is_zero(op_operand(load, 2)))
        row = build_ternary(&b, OP_select, op_operand(load, 1), row, op_operand(load, 2));
    value_replace(&load->results[0], row);
    op_remove(load);
}

static void pipeline_loop(Loop *l) {
    Module *m = l->module;
    const Type *i32 = type_scalar(&m->types, DT_i32);
    Builder before = {m, l->op->parent, l->op, l->op->at};
    build_prologue(l, &before);
    uint32_t first = l->op->result_count, count = l->carried.length + 2;
    Value **extra = arena_array(m->arena, Value *, count);
    for (uint32_t i = 0; i < l->carried.length; i++) extra[i] = l->ahead.data[i];
    extra[count - 2] = number(&before, i32, 0);             /* to read from */
    extra[count - 1] = number(&before, i32, l->stages - 1); /* to copy into */
    move_body(l, widen_loop(l, &before, extra, count));
    Value **arguments = l->body->arguments + 1 + first;

    Builder top = {m, l->body, l->body->first, l->op->at};
    Op *wait = build_op(&top, OP_async_wait, 0, NULL, 0, NULL);
    op_set_int(m, wait, ATTR_count, l->stages - 2);
    build_op(&top, OP_barrier, 0, NULL, 0, NULL);
    int64_t distance = (l->stages - 1) * l->step;
    Value *index = l->body->arguments[0];
    Value *ahead = build_binary(&top, OP_add, index, number(&top, index->type, distance));
    Value *valid = is_within(&top, op_operand(l->op, 1), index, distance);
    for (uint32_t i = 0; i < l->carried.length; i++) l->ahead.data[i] = arguments[i];
    copy_iteration(l, &top, ahead, arguments[count - 1], valid);

    for (uint32_t i = 0; i < l->copies.length; i++) {
        const Copy *copy = &l->copies.data[i];
        if (copy->row) {
            read_row(l, copy, arguments[count - 2]);
            continue;
        }
        op_remove(copy->store);
        Value *old = &copy->alloc->results[0];
        while (old->uses) { /* shared_loads */
            Op *load = old->uses->user;
            op_set_operand(load, 1, arguments[count - 2]);
            op_set_operand(load, 0, copy->ring);
        }
        op_remove(copy->alloc);
        op_remove(copy->load);
    }
    Builder end = {m, l->body, l->body->last, l->op->at};
    for (uint32_t i = 0; i < l->carried.length; i++) extra[i] = l->ahead.data[i];
    extra[count - 2] = next_slot(l, &end, arguments[count - 2]);
    extra[count - 1] = next_slot(l, &end, arguments[count - 1]);
    replace_yield(l, extra, count);
    Builder after = {m, l->op->parent, l->op->next, l->op->at};
    Op *drain = build_op(&after, OP_async_wait, 0, NULL, 0, NULL);
    op_set_int(m, drain, ATTR_count, 0);
}

/* ---- the pass ---------------------------------------------------------------------------- */

typedef struct Search {
    Module *module;
    const GpuTarget *target;
    VEC(Op *) loops;
} Search;

static void find_loop(Op *op, void *context) {
    Search *s = context;
    int64_t step;
    if (op->code != OP_for || !is_innermost(op->regions[0])) return;
    const Type *index = op_operand(op, 0)->type;
    if (dtype_is_unsigned(index->dtype) || !value_constant_int(op_operand(op, 2), &step)) return;
    if (step > 0 && step < 1 << 24) vec_push(s->module->arena, &s->loops, op);
}

static uint32_t blocks_of(const Loop *l) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->copies.length; i++) count += l->copies.data[i].row == NULL;
    return count;
}

bool pass_pipeline(Module *module) {
    const GpuTarget *target = module->target ? gpu_target(module->target) : NULL;
    if (!target || !target->cp_async) return false;
    Search s = {.module = module, .target = target};
    region_walk(module->kernel->body, find_loop, &s);
    bool changed = false;
    for (uint32_t i = 0; i < s.loops.length; i++) {
        Loop l = {.module = module, .target = target, .op = s.loops.data[i]};
        l.axis = axis_analyse(module);
        l.body = l.op->regions[0];
        value_constant_int(op_operand(l.op, 2), &l.step);
        find_copies(&l, UINT32_MAX);
        while (l.copies.length && !choose_stages(&l)) find_copies(&l, blocks_of(&l) - 1);
        if (!l.copies.length) continue;
        pipeline_loop(&l);
        changed = true;
    }
    return changed;
}
