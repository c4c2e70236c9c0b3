/* place.c: LAID -> PLACED: where in shared memory everything lies, and the barriers between ops.
 *
 * Ops are numbered in the order of the text. What an op needs for itself is alive while it runs; a
 * shared_alloc until its last use, to the end of the loops that the use lies in and the alloc does
 * not. The largest goes first, each to the lowest offset that is free for its life.
 *
 * Then one walk keeps the accesses since the last barrier. An op that would read what another
 * thread may still be writing, or write what another may still be reading, gets a barrier before
 * it. A loop is walked twice, the second time with what its end leaves open. What goes on within a
 * ring (a shared_alloc with several buffers) is left to the pass that made it: it knows whose turn
 * it is.
 *
 * Global memory is held to the same rule, as far as it is plain that two accesses may touch the
 * same bytes: a program reads what it wrote, whichever of its threads did. Accesses are told apart
 * by the parameter that their pointers come from; accesses through the very same pointers are each
 * thread's own. And a scalar atomic (a lock, a counter) comes after everything before it.
 */
#include "compiler/gpu/gpu.h"
#include "compiler/partner.h"

#include <assert.h>

enum { SHARED_ALIGNMENT = 128 };

/* ---- how much ---------------------------------------------------------------------------- */

/* 2^(bits of a place that move along the axis). */
static uint32_t extent_in(const Type *type, Place place, uint32_t axis) {
    uint32_t shift = 0, n = 1;
    for (uint32_t d = axis + 1; d < type->rank; d++) shift += log2_exact(type->shape[d]);
    for (uint32_t k = 0; k < type->layout->bits[place]; k++)
        if (type->layout->columns[place][k] >> shift & (type->shape[axis] - 1)) n *= 2;
    return n;
}

/* Registers along the axis that come after the warps (gpu.h, scan). */
static uint32_t late_registers(const Type *type, uint32_t axis) {
    uint32_t shift = 0, warp_bits = 0, n = 1;
    for (uint32_t d = axis + 1; d < type->rank; d++) shift += log2_exact(type->shape[d]);
    uint32_t mask = type->shape[axis] - 1;
    for (int p = PLACE_LANE; p <= PLACE_WARP; p++)
        for (uint32_t k = 0; k < type->layout->bits[p]; k++)
            warp_bits |= type->layout->columns[p][k] >> shift & mask;
    for (uint32_t k = 0; k < type->layout->bits[PLACE_REGISTER]; k++)
        if ((type->layout->columns[PLACE_REGISTER][k] >> shift & mask) > warp_bits) n *= 2;
    return n;
}

static uint32_t along_axis_bytes(const Op *op) {
    const Type *first = op_operand(op, 0)->type;
    uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0), sum = 0;
    uint32_t parts = extent_in(first, PLACE_WARP, axis);
    if (parts == 1) return 0;
    if (op->code == OP_scan) parts *= late_registers(first, axis);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        uint32_t each = first->count / first->shape[axis] * parts;
        sum += (each * type_element_size(op_operand(op, i)->type) + 15) / 16 * 16;
    }
    return sum;
}

static uint32_t atomic_bytes(const Op *op) {
    const Value *result = &op->results[0];
    uint32_t size = type_element_size(result->type);
    if (value_unused(result)) return 0;
    if (!type_is_block(result->type)) return size;
    const Layout *l = result->type->layout;
    bool copies = layout_copies(l, PLACE_LANE) || layout_copies(l, PLACE_WARP);
    return copies ? result->type->count * size : 0;
}

bool gpu_gather_distance(const Op *gather, uint32_t *distance) {
    const Type *type = op_operand(gather, 0)->type;
    uint32_t difference;
    if (!type->layout || type->layout != gather->results[0].type->layout) return false;
    if (!gather_swaps(gather, &difference)) return false;
    for (uint32_t d = type->rank; --d > (uint32_t)op_int(gather, ATTR_axis, 0);)
        difference *= type->shape[d];
    return layout_find(type->layout, difference, distance);
}

static uint32_t gather_bytes(const Op *op) {
    const Type *from = op_operand(op, 0)->type;
    const uint32_t in_warp = from->layout->bits[PLACE_REGISTER] + LANE_BITS;
    uint32_t distance;
    if (!gpu_gather_distance(op, &distance)) return from->count * type_element_size(from);
    if (distance >> in_warp == 0) return 0;
    return type_element_size(from) << (in_warp + from->layout->bits[PLACE_WARP]);
}

uint32_t gpu_scratch_bytes(const Module *module, const Op *op) {
    (void)module;
    const Type *from = op->operand_count ? op_operand(op, 0)->type : NULL;
    switch (op->code) {
    case OP_shared_alloc:
        return op->results[0].type->count * type_element_size(op->results[0].type) *
               (uint32_t)op_int(op, ATTR_buffers, 1);
    case OP_convert:
        if (layout_conversion(from->layout, op->results[0].type->layout, NULL) != CONVERT_SHARED)
            return 0;
        return from->count * type_element_size(from);
    case OP_reduce:
    case OP_scan: return along_axis_bytes(op);
    case OP_gather: return gather_bytes(op);
    case OP_histogram: return op->results[0].type->count * 4;
    case OP_atomic_rmw:
    case OP_atomic_cas: return atomic_bytes(op);
    default: return 0;
    }
}

/* ---- where ------------------------------------------------------------------------------- */

typedef struct Piece {
    Op *op;
    uint32_t start, last; /* op numbers */
    uint32_t offset, bytes;
} Piece;

typedef struct Numbered {
    const Op *op;
    uint32_t end; /* number of the last op inside */
} Numbered;

typedef struct Placer {
    Module *module;
    Arena *arena;
    VEC(Piece) pieces;
    VEC(Numbered) ops;
    uint32_t bytes;
} Placer;

static void number_region(Placer *p, Region *region) {
    for (Op *op = region->first; op; op = op->next) {
        uint32_t number = p->ops.length, bytes = gpu_scratch_bytes(p->module, op);
        vec_push(p->arena, &p->ops, ((Numbered){op, number}));
        if (bytes) {
            bytes = (bytes + SHARED_ALIGNMENT - 1) / SHARED_ALIGNMENT * SHARED_ALIGNMENT;
            vec_push(p->arena, &p->pieces, ((Piece){op, number, number, 0, bytes}));
        }
        for (uint32_t i = 0; i < op->region_count; i++) number_region(p, op->regions[i]);
        p->ops.data[number].end = p->ops.length - 1;
    }
}

static uint32_t number_of(const Placer *p, const Op *op) {
    uint32_t i = 0;
    while (p->ops.data[i].op != op) i++;
    return i;
}

/* The last op during which this use of what `alloc` made counts. */
static uint32_t end_of_use(const Placer *p, const Op *alloc, const Op *user) {
    uint32_t last = number_of(p, user);
    for (const Op *op = user; op->parent != alloc->parent; op = op->parent->parent) {
        uint32_t around = p->ops.data[number_of(p, op->parent->parent)].end;
        last = around > last ? around : last;
    }
    return last;
}

/* A copy that is under way holds its memory until all have landed. */
static uint32_t landing(const Placer *p, uint32_t last) {
    for (uint32_t i = last + 1; i < p->ops.length; i++)
        if (p->ops.data[i].op->code == OP_async_wait &&
            op_int(p->ops.data[i].op, ATTR_count, 0) == 0)
            return i;
    return p->ops.length;
}

static void find_lives(Placer *p) {
    for (uint32_t i = 0; i < p->pieces.length; i++) {
        Piece *piece = &p->pieces.data[i];
        if (piece->op->code != OP_shared_alloc) continue;
        bool copied = false;
        for (const Use *use = piece->op->results[0].uses; use; use = use->next) {
            uint32_t end = end_of_use(p, piece->op, use->user);
            piece->last = end > piece->last ? end : piece->last;
            copied |= use->user->code == OP_async_copy;
        }
        if (copied) piece->last = landing(p, piece->last);
    }
}

static bool alive_together(const Piece *a, const Piece *b) {
    return a->start <= b->last && b->start <= a->last;
}

/* The lowest offset that none of the pieces placed before (the first `count` of `order`) holds
 * while `piece` is alive. */
static uint32_t find_offset(Piece **order, uint32_t count, const Piece *piece) {
    uint32_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < count; i++) {
            const Piece *other = order[i];
            if (!alive_together(piece, other) || offset >= other->offset + other->bytes ||
                other->offset >= offset + piece->bytes)
                continue;
            offset = other->offset + other->bytes;
            moved = true;
        }
    }
    return offset;
}

static void place_all(Placer *p) {
    uint32_t count = p->pieces.length;
    Piece **order = arena_array(p->arena, Piece *, count + 1);
    for (uint32_t i = 0; i < count; i++) { /* by size, then in the order of the text */
        uint32_t at = i;
        for (; at > 0 && order[at - 1]->bytes < p->pieces.data[i].bytes; at--)
            order[at] = order[at - 1];
        order[at] = &p->pieces.data[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        order[i]->offset = find_offset(order, i, order[i]);
        uint32_t end = order[i]->offset + order[i]->bytes;
        p->bytes = end > p->bytes ? end : p->bytes;
        op_set_int(p->module, order[i]->op, ATTR_scratch, order[i]->offset);
    }
}

/* ---- barriers ---------------------------------------------------------------------------- */

/* Something read or written since the last barrier. */
typedef struct Access {
    bool writes, global;
    uint32_t low, high;    /* shared: bytes */
    const Op *ring;        /* shared: a shared_alloc with several buffers */
    const Value *root;     /* global: the parameter, or NULL: unknown */
    const Value *pointers; /* global */
} Access;

typedef VEC(Access) Accesses;

typedef struct Walk {
    Placer *placer;
    Accesses open;
    uint32_t inserted;
} Walk;

const Value *gpu_pointer_root(const Value *v) {
    for (uint32_t depth = 0; v && depth < 1000; depth++) {
        const Op *op = v->op;
        if (!op) {
            const Op *around = v->region->parent;
            if (!around) return v;
            if (around->code != OP_for || v->index == 0) return NULL;
            v = op_operand(around, v->index + 2);
        } else if (op->code == OP_for) {
            v = op_operand(op, v->index + 3);
        } else if (op->operand_count > 0 && type_is_pointer(op_operand(op, 0)->type) &&
                   type_is_pointer(v->type) && op->result_count == 1) {
            v = op_operand(op, 0);
        } else {
            return NULL;
        }
    }
    return NULL;
}

static Access global_access(const Value *pointers, bool writes) {
    return (Access){
        .writes = writes, .global = true, .root = gpu_pointer_root(pointers), .pointers = pointers};
}

static Access shared_access(const Op *owner, uint32_t bytes, bool writes) {
    uint32_t low = (uint32_t)op_int(owner, ATTR_scratch, 0);
    const Op *ring = op_int(owner, ATTR_buffers, 1) > 1 ? owner : NULL;
    return (Access){.writes = writes, .low = low, .high = low + bytes, .ring = ring};
}

/* Does each element have one thread that holds it? */
static bool is_each_threads_own(const Value *pointers) {
    const Layout *l = pointers->type->layout;
    return l && !layout_copies(l, PLACE_LANE) && !layout_copies(l, PLACE_WARP);
}

static bool collides(const Access *a, const Access *b) {
    if (a->global != b->global || (!a->writes && !b->writes)) return false;
    if (a->ring && a->ring == b->ring) return false;
    if (!a->global) return a->low < b->high && b->low < a->high;
    if (a->writes && b->writes) return false; /* who is last was not promised to anyone */
    if (a->pointers == b->pointers && is_each_threads_own(a->pointers)) return false;
    return !a->root || !b->root || a->root == b->root;
}

static void open_access(Walk *w, Access access) {
    for (uint32_t i = 0; i < w->open.length; i++) {
        const Access *a = &w->open.data[i];
        if (a->writes == access.writes && a->global == access.global && a->low == access.low &&
            a->high == access.high && a->ring == access.ring && a->root == access.root &&
            a->pointers == access.pointers)
            return;
    }
    vec_push(w->placer->arena, &w->open, access);
}

static Access access_of_shared(const Walk *w, const Op *op) {
    const Op *alloc = op_operand(op, 0)->op;
    return shared_access(alloc, gpu_scratch_bytes(w->placer->module, alloc),
                         op->code != OP_shared_load);
}

/* A load from shared memory, or a renaming of what it loaded. */
static bool is_read(const Op *op) {
    return op && (op->code == OP_shared_load || op->code == OP_permute || op->code == OP_reshape ||
                  op->code == OP_expand_dims);
}

/* The barrier that a load needs stands in front of the loads before it too: a dot that comes next
 * may then read what they load step by step. */
static void barrier_before(Walk *w, Op *op) {
    Op *place = op;
    while (op->code == OP_shared_load && is_read(place->previous)) place = place->previous;
    Builder b = {w->placer->module, op->parent, place, op->at};
    build_op(&b, OP_barrier, 0, NULL, 0, NULL);
    w->inserted++;
    w->open.length = 0;
    for (; place != op; place = place->next)
        if (place->code == OP_shared_load) open_access(w, access_of_shared(w, place));
}

/* One access of an op. */
static void access_now(Walk *w, Op *op, Access access) {
    bool collision = false;
    for (uint32_t i = 0; i < w->open.length; i++) collision |= collides(&w->open.data[i], &access);
    if (collision) barrier_before(w, op);
}

static void keep_open(Accesses *into, Walk *w) {
    Accesses now = w->open;
    w->open = *into;
    for (uint32_t i = 0; i < now.length; i++) open_access(w, now.data[i]);
    *into = w->open;
    w->open = now;
}

static Accesses copy_of(Walk *w) {
    Accesses copy = {0};
    for (uint32_t i = 0; i < w->open.length; i++)
        vec_push(w->placer->arena, &copy, w->open.data[i]);
    return copy;
}

static void walk_region(Walk *w, Region *region);

static void walk_control(Walk *w, Op *op) {
    Accesses before = copy_of(w);
    if (op->code == OP_if) {
        walk_region(w, op->regions[0]);
        Accesses first = copy_of(w);
        w->open = before;
        walk_region(w, op->regions[1]);
        keep_open(&first, w);
        w->open = first;
        return;
    }
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t r = 0; r < op->region_count; r++) walk_region(w, op->regions[r]);
        keep_open(&before, w); /* it may not run at all */
        w->open = before;
        before = copy_of(w);
    }
}

/* A ring that an outer loop makes anew: its loop orders only what is in it now. */
static void forget_ring(Walk *w, const Op *ring) {
    for (uint32_t i = 0; i < w->open.length; i++)
        if (w->open.data[i].ring == ring) w->open.data[i].ring = NULL;
}

static void walk_op(Walk *w, Op *op) {
    if (op->code == OP_shared_alloc) forget_ring(w, op);
    const bool shared = op->operand_count && op_operand(op, 0)->type->kind == TYPE_SHARED;
    uint32_t own = op->code == OP_shared_alloc ? 0 : gpu_scratch_bytes(w->placer->module, op);
    bool scalar_atomic = (op->code == OP_atomic_rmw || op->code == OP_atomic_cas) &&
                         !type_is_block(op_operand(op, 0)->type);
    Access accesses[3];
    uint32_t count = 0;
    if (op->code == OP_barrier) w->open.length = 0;
    if (op->region_count && (op->code == OP_for || op->code == OP_if || op->code == OP_while))
        walk_control(w, op);
    if (shared) accesses[count++] = access_of_shared(w, op);
    if (own) accesses[count++] = shared_access(op, own, true);
    if (op->code == OP_load || op->code == OP_store)
        accesses[count++] = global_access(op_operand(op, 0), op->code == OP_store);
    if (op->code == OP_async_copy) accesses[count++] = global_access(op_operand(op, 2), false);
    if (op->code == OP_atomic_rmw || op->code == OP_atomic_cas)
        accesses[count++] = global_access(op_operand(op, 0), true);
    bool global_open = false;
    for (uint32_t i = 0; i < w->open.length; i++) global_open |= w->open.data[i].global;
    if (scalar_atomic && global_open) barrier_before(w, op);
    for (uint32_t i = 0; i < count; i++) access_now(w, op, accesses[i]);
    if (own) { /* its own barrier lies between its writes and its reads */
        w->open.length = 0;
        open_access(w, shared_access(op, own, false));
        return;
    }
    for (uint32_t i = 0; i < count; i++) open_access(w, accesses[i]);
}

static void walk_region(Walk *w, Region *region) {
    for (Op *op = region->first; op; op = op->next) walk_op(w, op);
}

/* ---- the pass ---------------------------------------------------------------------------- */

bool pass_place(Module *module) {
    if (module->level == LEVEL_PLACED) return false;
    Placer p = {.module = module, .arena = module->arena};
    number_region(&p, module->kernel->body);
    find_lives(&p);
    place_all(&p);
    Walk w = {.placer = &p};
    walk_region(&w, module->kernel->body);
    module->kernel->shared_bytes = p.bytes;
    const GpuTarget *target = module->target ? gpu_target(module->target) : NULL;
    if (target && p.bytes > target->shared_bytes)
        diag_error(module->diagnostics, module->kernel->at,
                   "this kernel needs %u bytes of shared memory, and %s has %u: smaller blocks or "
                   "fewer num_stages need less",
                   p.bytes, target->name, target->shared_bytes);
    module->level = LEVEL_PLACED;
    return true;
}

const char *gpu_check_placed(Module *module, const Op **culprit) {
    Placer p = {.module = module, .arena = module->arena};
    number_region(&p, module->kernel->body);
    find_lives(&p);
    for (uint32_t i = 0; i < p.pieces.length; i++) {
        Piece *a = &p.pieces.data[i];
        const Attribute *scratch = op_attribute(a->op, ATTR_scratch);
        *culprit = a->op;
        if (!scratch) return "it has no place in shared memory";
        if (scratch->i < 0 || scratch->i % SHARED_ALIGNMENT || scratch->i > UINT32_MAX / 2 ||
            scratch->i + a->bytes > module->kernel->shared_bytes)
            return "its place is not within shared memory";
        a->offset = (uint32_t)scratch->i;
        for (uint32_t k = 0; k < i; k++) {
            const Piece *b = &p.pieces.data[k];
            if (alive_together(a, b) && a->offset < b->offset + b->bytes &&
                b->offset < a->offset + a->bytes)
                return "its place is that of another op";
        }
    }
    return NULL;
}
