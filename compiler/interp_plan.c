/* interp_plan.c: from a kernel to a plan: where every value lives, and which steps are run.
 *
 * Ops are numbered in the order of the text. A value is alive from its op to its last use; a use
 * inside a loop that the value enters from outside counts until the loop's end. Values that share
 * a place (a loop's result and the carried value; a view and what it views) are one Life, found
 * through `same`. Lives are laid into the frame in order of their start, each at the lowest
 * offset that is free.
 *
 * A value that a loop yields is made in the place of the carried value at once, when that one is
 * dead by then: accumulators stay where they are.
 */
#include "compiler/interp_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { POOL_VALUE_LIMIT = 64 << 10, POOL_LIMIT = 16 << 20 };

typedef struct Life {
    uint32_t start, last; /* op numbers, both included */
    uint32_t same;        /* another life whose place this one shares; itself: its own */
    uint32_t lanes;       /* elements a scalar takes: 1, or LANES in a region on lanes */
    uint64_t bytes, offset;
    bool fixed, uniform, used;
} Life;

typedef struct OpNote {
    uint32_t end;     /* number of the last op inside; its own when it has no regions */
    uint32_t scratch; /* life of its scratch memory; 0: none */
    uint32_t temps;   /* `for`: lives of one temporary a carried value; 0: none */
    uint32_t lanes;   /* reduce, scan, map */
} OpNote;

typedef struct Planner {
    Arena *arena;
    InterpPlan *plan;
    VEC(Life) lives; /* values first, by number; then scratch and temporaries */
    VEC(OpNote) notes;
    VEC(const Step *) memory_steps;
    uint32_t value_count, next; /* next: number of the op the walk is at */
    uint64_t pool_used;
} Planner;

/* The regions around the op a walk is at, innermost first. */
typedef struct Frame {
    const Region *region;
    uint32_t owner; /* number of the op whose region it is */
    const struct Frame *up;
} Frame;

static Life *life_of(Planner *p, const Value *v) {
    return &p->lives.data[v->number];
}

static Life *root_of(Planner *p, uint32_t i) {
    while (p->lives.data[i].same != i) i = p->lives.data[i].same;
    return &p->lives.data[i];
}

static Life *value_root(Planner *p, const Value *v) {
    return root_of(p, v->number);
}

static uint32_t life_new(Planner *p, uint32_t start, uint32_t last, uint64_t bytes) {
    const uint32_t i = p->lives.length;
    vec_push(p->arena, &p->lives,
             ((Life){.start = start, .last = last, .same = i, .lanes = 1, .bytes = bytes}));
    return i;
}

/* One place for both from now on. */
static void share(Planner *p, const Value *a, const Value *b) {
    Life *into = value_root(p, a), *from = value_root(p, b);
    if (into == from) return;
    from->same = into->same;
    into->start = from->start < into->start ? from->start : into->start;
    into->last = from->last > into->last ? from->last : into->last;
    into->bytes = from->bytes > into->bytes ? from->bytes : into->bytes;
    into->fixed |= from->fixed;
}

static bool is_view(const Op *op) {
    switch (op->code) {
    case OP_expand_dims:
    case OP_reshape:
    case OP_extract:
    case OP_hint:
    case OP_convert:
    case OP_bitcast: return true;
    case OP_broadcast: return op_operand(op, 0)->type == op_result(op, 0)->type;
    default: return false;
    }
}

static bool runs_on_lanes(const Op *op) {
    return op->code == OP_reduce || op->code == OP_scan || op->code == OP_map;
}

/* ---- first walk: numbers --------------------------------------------------------------------- */

/* A region of element ops on its own values can work on many elements at a time. */
static bool region_fits_lanes(const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        if (!op_is(op, OPF_ELEMENT) && op->code != OP_constant && op->code != OP_yield &&
            op->code != OP_hint)
            return false;
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const Value *v = op_operand(op, i);
            if ((v->op ? v->op->parent : v->region) != region) return false;
        }
        if (op->result_count && type_is_block(op_result(op, 0)->type)) return false;
    }
    return true;
}

static void number_region(Planner *p, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        const uint32_t number = p->notes.length;
        const bool lanes = runs_on_lanes(op) && region_fits_lanes(op->regions[0]);
        vec_push(p->arena, &p->notes, ((OpNote){.lanes = lanes ? LANES : 1}));
        for (uint32_t i = 0; i < op->region_count; i++) number_region(p, op->regions[i]);
        p->notes.data[number].end = p->notes.length - 1;
    }
}

/* ---- uniform values -------------------------------------------------------------------------- */

static bool makes_uniform(Planner *p, const Value *v) {
    const Op *op = v->op;
    if (!op || !type_is_block(v->type) || v->type->count == 1) return false;
    if (op->code == OP_constant || op->code == OP_splat) return true;
    if (op->code == OP_broadcast && op_operand(op, 0)->type->count == 1) return true;
    if (!op_is(op, OPF_ELEMENT) && !is_view(op) && op->code != OP_broadcast) return false;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!life_of(p, op_operand(op, i))->uniform) return false;
    return true;
}

/* The op reads operand `index` by its stride. */
static bool takes_uniform(Planner *p, const Op *op, uint32_t index) {
    if (is_view(op)) return life_of(p, op_result(op, 0))->uniform;
    switch (op->code) {
    case OP_load:
    case OP_store:
    case OP_atomic_rmw:
    case OP_atomic_cas: return index > 0;
    case OP_dot: return index == 2;
    case OP_broadcast:
    case OP_yield:
    case OP_condition:
    case OP_for:
    case OP_while: return true;
    default: return op_is(op, OPF_ELEMENT);
    }
}

static void uniform_region(Planner *p, const Region *region, bool first, bool *changed) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t r = 0; r < op->result_count; r++) {
            const Value *v = op_result(op, r);
            Life *life = life_of(p, v);
            bool uniform = (first || life->uniform) && makes_uniform(p, v);
            for (const Use *use = first ? NULL : v->uses; use && uniform; use = use->next)
                uniform = takes_uniform(p, use->user, (uint32_t)(use - use->user->operands));
            *changed |= uniform != life->uniform;
            life->uniform = uniform;
        }
        const bool own = !runs_on_lanes(op); /* regions on lanes have no blocks to speak of */
        for (uint32_t i = 0; i < op->region_count && own; i++)
            uniform_region(p, op->regions[i], first, changed);
    }
}

static void find_uniform(Planner *p) {
    bool changed = true;
    uniform_region(p, p->plan->module->kernel->body, true, &changed);
    for (changed = true; changed;) {
        changed = false;
        uniform_region(p, p->plan->module->kernel->body, false, &changed);
    }
}

/* ---- second walk: lives ---------------------------------------------------------------------- */

static uint64_t value_bytes(const Value *v, uint32_t lanes, bool uniform) {
    uint32_t stored = v->type->count * lanes;
    if (uniform && stored > UNIFORM) stored = UNIFORM;
    return (uint64_t)stored * type_element_size(v->type);
}

static void define(Planner *p, const Value *v, uint32_t start, uint32_t last, uint32_t lanes) {
    Life *life = life_of(p, v);
    life->start = start;
    life->last = last > life->last ? last : life->last;
    life->lanes = lanes;
    life->bytes = value_bytes(v, lanes, life->uniform);
    if (v->op && v->op->code == OP_shared_alloc)
        life->bytes *= (uint64_t)op_int(v->op, ATTR_buffers, 1);
}

/* Constants and ranges of a modest size are made once, in the pool. */
static void place_in_pool(Planner *p, const Op *op) {
    Life *life = life_of(p, op_result(op, 0));
    const uint64_t bytes = (life->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > POOL_VALUE_LIMIT || p->pool_used + bytes > POOL_LIMIT) return;
    life->fixed = true;
    life->offset = p->pool_used;
    p->pool_used += bytes;
}

static void note_use(Planner *p, const Value *v, uint32_t at, const Frame *frame) {
    const Region *home = v->op ? v->op->parent : v->region;
    uint32_t last = at;
    for (; frame->region != home; frame = frame->up) last = p->notes.data[frame->owner].end;
    Life *life = life_of(p, v);
    life->last = last > life->last ? last : life->last;
}

static void live_region(Planner *p, const Region *region, const Frame *up, uint32_t owner,
                        uint32_t lanes);

static void live_op(Planner *p, const Op *op, const Frame *frame, uint32_t lanes) {
    const uint32_t at = p->next++;
    const uint32_t end = p->notes.data[at].end;
    const uint32_t inner = p->notes.data[at].lanes;
    for (uint32_t i = 0; i < op->operand_count; i++)
        note_use(p, op_operand(op, i), runs_on_lanes(op) ? end : at, frame);
    for (uint32_t i = 0; i < op->result_count; i++) define(p, op_result(op, i), at, end, lanes);
    if (op->code == OP_constant || op->code == OP_arange) place_in_pool(p, op);
    for (uint32_t r = 0; r < op->region_count; r++) {
        const Region *region = op->regions[r];
        for (uint32_t i = 0; i < region->argument_count; i++)
            define(p, region->arguments[i], at, at, inner);
        live_region(p, region, frame, at, inner);
    }
}

static void live_region(Planner *p, const Region *region, const Frame *up, uint32_t owner,
                        uint32_t lanes) {
    const Frame frame = {region, owner, up};
    for (const Op *op = region->first; op; op = op->next) live_op(p, op, &frame, lanes);
}

static void share_views(Planner *p, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        if (is_view(op)) share(p, op_operand(op, 0), op_result(op, 0));
        for (uint32_t i = 0; i < op->region_count; i++) share_views(p, op->regions[i]);
    }
}

/* ---- loops: carried values, scratch ---------------------------------------------------------- */

/* May `v`, made by op number `at`, be written over carried value `a` (both in the loop's body)? */
static bool may_replace(Planner *p, const Value *v, const Value *a) {
    const Life *new_life = value_root(p, v), *old = value_root(p, a);
    if (!v->op || v->op->parent != a->region || new_life == old) return false;
    if (new_life->fixed || life_of(p, v)->uniform || is_view(v->op) || new_life->used) return false;
    if (old->last < new_life->start) return true;
    /* The maker may read it as its accumulator, and nothing else may. */
    uint32_t reads = 0;
    for (uint32_t i = 0; i < v->op->operand_count; i++)
        reads += value_root(p, op_operand(v->op, i)) == old;
    const uint32_t in_place = v->op->code == OP_dot ? 2 : v->op->code == OP_for ? 3 + v->index : 0;
    return old->last == new_life->start && reads == 1 && in_place > 0 &&
           value_root(p, op_operand(v->op, in_place)) == old;
}

static void share_carried(Planner *p, const Op *op, uint32_t at) {
    const Region *body = op->regions[op->code == OP_for ? 0 : 1];
    const uint32_t skip = op->code == OP_for ? 1 : 0, end = p->notes.data[at].end;
    if (op->code == OP_for)
        for (uint32_t i = 0; i < op->result_count; i++) {
            const Value *v = op_operand(body->last, i), *a = body->arguments[i + skip];
            if (may_replace(p, v, a)) {
                share(p, a, v);
                value_root(p, a)->used = true; /* no second carried value may join */
            }
        }
    for (uint32_t r = 0; r < op->region_count; r++)
        for (uint32_t i = 0; i < op->regions[r]->argument_count; i++) {
            Life *life = value_root(p, op->regions[r]->arguments[i]);
            life->last = end > life->last ? end : life->last;
        }
    for (uint32_t i = 0; i < op->result_count; i++) {
        Life *life = value_root(p, body->arguments[i + skip]);
        life->used = false;
        share(p, body->arguments[i + skip], op_result(op, i));
    }
}

/* Yielded values that lie where another carried value goes take the way over a temporary. */
static void add_temporaries(Planner *p, const Op *op, uint32_t at) {
    const Region *body = op->regions[0];
    const uint32_t end = p->notes.data[at].end, first = p->lives.length;
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *v = op_operand(body->last, i);
        bool crossed = false;
        for (uint32_t j = 0; j < op->result_count; j++)
            crossed |= j != i && value_root(p, v) == value_root(p, body->arguments[j + 1]);
        life_new(p, end, end, crossed ? value_bytes(v, 1, false) : 0);
    }
    p->notes.data[at].temps = first;
}

static uint64_t scratch_bytes(const Op *op, uint32_t lanes) {
    DotPlan dot;
    uint64_t sum = 0;
    switch (op->code) {
    case OP_dot:
    case OP_dot_scaled: return dot_prepare(&dot, op);
    case OP_reduce:
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const Type *type = op_operand(op, i)->type;
            const uint64_t size = type_element_size(type);
            sum += ((uint64_t)type->count / 2 * size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
            sum += (lanes * size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        }
        return sum;
    default: return 0;
    }
}

static void loops_region(Planner *p, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        const uint32_t at = p->next++;
        for (uint32_t i = 0; i < op->region_count; i++) loops_region(p, op->regions[i]);
        if (op->code == OP_for || op->code == OP_while) share_carried(p, op, at);
        const uint64_t bytes = scratch_bytes(op, p->notes.data[at].lanes);
        if (bytes) p->notes.data[at].scratch = life_new(p, at, p->notes.data[at].end, bytes);
    }
}

static void temporaries_region(Planner *p, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        const uint32_t at = p->next++;
        for (uint32_t i = 0; i < op->region_count; i++) temporaries_region(p, op->regions[i]);
        if (op->code == OP_for) add_temporaries(p, op, at);
    }
}

/* ---- laying lives into the frame ------------------------------------------------------------- */

static int by_start(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* `active`: lives in place, by offset. Drops those that ended, puts `life` into the first gap. */
static uint32_t lay(Life **active, uint32_t count, Life *life, uint64_t *frame_size) {
    uint32_t kept = 0, place = 0;
    for (uint32_t i = 0; i < count; i++)
        if (active[i]->last >= life->start) active[kept++] = active[i];
    uint64_t offset = 0;
    for (; place < kept && active[place]->offset - offset < life->bytes; place++)
        offset = active[place]->offset + active[place]->bytes;
    memmove(active + place + 1, active + place, (kept - place) * sizeof *active);
    active[place] = life;
    life->offset = offset;
    if (offset + life->bytes > *frame_size) *frame_size = offset + life->bytes;
    return kept + 1;
}

static void lay_frame(Planner *p) {
    Life **order = arena_array(p->arena, Life *, p->lives.length + 1);
    Life **active = arena_array(p->arena, Life *, p->lives.length + 1);
    uint32_t count = 0, live = 0;
    for (uint32_t i = 0; i < p->lives.length; i++) {
        Life *life = &p->lives.data[i];
        if (life->same != i || life->fixed || life->bytes == 0) continue;
        life->bytes = (life->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        order[count++] = life;
    }
    if (count) qsort(order, count, sizeof *order, by_start);
    for (uint32_t i = 0; i < count; i++) live = lay(active, live, order[i], &p->plan->frame_size);
}

/* ---- third walk: steps ----------------------------------------------------------------------- */

static Place place_of(Planner *p, const Value *v) {
    const Life *own = life_of(p, v), *root = value_root(p, v);
    Place place = {
        .offset = root->offset,
        .count = v->type->count * own->lanes,
        .size = (uint8_t)type_element_size(v->type),
        .fixed = root->fixed,
        .uniform = own->uniform,
    };
    place.stored = place.uniform && place.count > UNIFORM ? UNIFORM : place.count;
    return place;
}

static const Place *operand_places(Planner *p, const Op *op, uint32_t first) {
    Place *places = arena_array(p->arena, Place, op->operand_count - first + 1);
    for (uint32_t i = first; i < op->operand_count; i++)
        places[i - first] = place_of(p, op_operand(op, i));
    return places;
}

static const Place *value_places(Planner *p, uint32_t count, Value *const *values) {
    Place *places = arena_array(p->arena, Place, count + 1);
    for (uint32_t i = 0; i < count; i++) places[i] = place_of(p, values[i]);
    return places;
}

static const Place *result_places(Planner *p, const Op *op) {
    Place *places = arena_array(p->arena, Place, op->result_count + 1);
    for (uint32_t i = 0; i < op->result_count; i++) places[i] = place_of(p, op_result(op, i));
    return places;
}

static void build_block(Planner *p, Block *block, const Region *region);

/* The moves at the end of a region, from what it gives to `targets`. `temps`: see OpNote. */
static void plan_copies(Planner *p, Block *block, const Op *end, uint32_t first,
                        const Place *targets, uint32_t temps) {
    const uint32_t count = end->operand_count - first;
    Copy *copies = arena_array(p->arena, Copy, 2 * count + 1);
    uint32_t used = 0;
    for (uint32_t i = 0; i < count && temps; i++) {
        const Life *temp = &p->lives.data[temps + i];
        Place to = block->gives[i + first];
        if (temp->bytes == 0) continue;
        to.fixed = to.uniform = false;
        to.stored = to.count;
        to.offset = temp->offset;
        copies[used++] = (Copy){block->gives[i + first], to};
    }
    for (uint32_t i = 0, crossed = 0; i < count; i++) {
        const bool temp = temps && p->lives.data[temps + i].bytes > 0;
        const Place from = temp ? copies[crossed++].to : block->gives[i + first];
        if (from.fixed || from.offset != targets[i].offset)
            copies[used++] = (Copy){from, targets[i]};
    }
    block->copies = copies;
    block->copy_count = used;
}

static void build_regions(Planner *p, Step *step, const OpNote *note) {
    const Op *op = step->op;
    step->blocks = arena_array(p->arena, Block, op->region_count);
    for (uint32_t r = 0; r < op->region_count; r++)
        build_block(p, &step->blocks[r], op->regions[r]);
    const Block *b = step->blocks;
    if (op->code == OP_for)
        plan_copies(p, &step->blocks[0], op->regions[0]->last, 0, b[0].arguments + 1, note->temps);
    if (op->code == OP_while) {
        plan_copies(p, &step->blocks[0], op->regions[0]->last, 1, b[1].arguments, 0);
        plan_copies(p, &step->blocks[1], op->regions[1]->last, 0, b[0].arguments, 0);
    }
    if (op->code == OP_if)
        for (uint32_t r = 0; r < 2; r++)
            plan_copies(p, &step->blocks[r], op->regions[r]->last, 0, step->out, 0);
}

/* The element op a combine region consists of, as a loop; NULL: there is more to it. */
static const EvalCode *combine_code(Planner *p, const Op *op) {
    const Region *region = op->regions[0];
    const Op *first = region->first;
    EvalCode *code = arena_new(p->arena, EvalCode);
    if (op->code == OP_map || op->operand_count != 1 || !first || first->next != region->last ||
        !op_is(first, OPF_ELEMENT) || first->operand_count != 2 ||
        op_operand(first, 0) != region->arguments[0] ||
        op_operand(first, 1) != region->arguments[1] ||
        op_operand(region->last, 0) != op_result(first, 0) || !eval_prepare_op(code, first))
        return NULL;
    return code;
}

/* What an atomic makes of the old value and its operand; NULL: xchg, or no such op. */
static const EvalCode *update_code(Planner *p, const Op *op) {
    static const OpCode ops[WORD_COUNT] = {
        [WORD_add] = OP_add, [WORD_max] = OP_max, [WORD_min] = OP_min,
        [WORD_and] = OP_and, [WORD_or] = OP_or,   [WORD_xor] = OP_xor,
    };
    const Word kind = op_word(op, ATTR_kind, WORD_none);
    const DType dtype = type_dtype(op_operand(op, 1)->type);
    EvalCode *code = arena_new(p->arena, EvalCode);
    if (kind == WORD_xchg || !ops[kind] || !eval_prepare(code, ops[kind], dtype, dtype, 0))
        return NULL;
    return code;
}

static void build_detail(Planner *p, Step *step, const OpNote *note) {
    const Op *op = step->op;
    const uint64_t scratch = note->scratch ? p->lives.data[note->scratch].offset : 0;
    step->scratch = scratch;
    step->lanes = note->lanes;
    if (op_is(op, OPF_ELEMENT)) {
        EvalCode *code = arena_new(p->arena, EvalCode);
        const bool known = eval_prepare_op(code, op);
        step->code = known ? code : NULL;
        for (uint32_t i = 0; i < op->operand_count; i++)
            step->chunked |= step->in[i].stored < step->out[0].stored;
    } else if (op->code == OP_dot || op->code == OP_dot_scaled) {
        DotPlan *dot = arena_new(p->arena, DotPlan);
        dot_prepare(dot, op);
        dot->pack_a += scratch, dot->pack_b += scratch, dot->pack_c += scratch;
        step->dot = dot;
    } else if (runs_on_lanes(op)) {
        step->code = combine_code(p, op);
    } else if (op->code == OP_load || op->code == OP_store || op->code == OP_atomic_rmw ||
               op->code == OP_atomic_cas || op->code == OP_async_copy) {
        const uint32_t size = type_element_size(type_element(pointer_type(op))->element);
        p->plan->granule = size < p->plan->granule ? size : p->plan->granule;
        vec_push(p->arena, &p->memory_steps, step);
        step->index = p->memory_steps.length;
        step->code = op->code == OP_atomic_rmw ? update_code(p, op) : NULL;
    }
}

static bool needs_step(Planner *p, const Op *op) {
    if (op->result_count == 1 && life_of(p, op_result(op, 0))->fixed && op->operand_count == 0)
        return false;
    return !is_view(op) && !op_is(op, OPF_ENDS) && op->code != OP_barrier;
}

static void build_step(Planner *p, Step *step, const Op *op, uint32_t number) {
    step->op = op;
    step->run = interp_handlers[op->code];
    step->in = operand_places(p, op, 0);
    step->out = result_places(p, op);
    const OpNote note = p->notes.data[number];
    build_regions(p, step, &note);
    build_detail(p, step, &note);
}

/* A constant in the pool is made by the step that would have made it in the frame. */
static void fill_pool(Planner *p, const Op *op) {
    Step step = {.op = op, .out = result_places(p, op)};
    Thread maker = {.plan = p->plan, .base = {NULL, (uint8_t *)p->plan->pool}};
    interp_handlers[op->code](&maker, &step);
}

static void build_block(Planner *p, Block *block, const Region *region) {
    uint32_t count = 0;
    for (const Op *op = region->first; op; op = op->next) count += needs_step(p, op);
    block->steps = arena_array(p->arena, Step, count + 1);
    block->arguments = value_places(p, region->argument_count, region->arguments);
    for (const Op *op = region->first; op; op = op->next) {
        const uint32_t number = p->next++;
        if (needs_step(p, op))
            build_step(p, &block->steps[block->count++], op, number);
        else if (op->operand_count == 0 && op->result_count)
            fill_pool(p, op);
    }
    block->gives = operand_places(p, region->last, 0);
}

/* ---- all of it ------------------------------------------------------------------------------- */

InterpPlan *interp_plan(Arena *arena, Module *module) {
    const Kernel *kernel = module->kernel;
    InterpPlan *plan = arena_new(arena, InterpPlan);
    *plan = (InterpPlan){.module = module, .granule = 8};
    Planner p = {.arena = arena, .plan = plan, .value_count = ir_number(module)};
    for (uint32_t i = 0; i < p.value_count; i++) life_new(&p, 0, 0, 0);
    number_region(&p, kernel->body);
    find_uniform(&p);
    for (uint32_t i = 0; i < kernel->parameter_count; i++)
        define(&p, kernel->body->arguments[i], 0, UINT32_MAX, 1);
    live_region(&p, kernel->body, NULL, 0, 1);
    share_views(&p, kernel->body);
    if (p.lives.length == 0) life_new(&p, 0, 0, 0); /* so that no scratch is number 0 */
    p.next = 0;
    loops_region(&p, kernel->body);
    p.next = 0;
    temporaries_region(&p, kernel->body);
    lay_frame(&p);
    plan->pool = arena_alloc(arena, p.pool_used + ALIGNMENT);
    plan->pool += -(uintptr_t)plan->pool % ALIGNMENT;
    p.next = 0;
    build_block(&p, &plan->body, kernel->body);
    plan->parameters = arena_array(arena, Place, kernel->parameter_count + 1);
    memcpy(plan->parameters, plan->body.arguments, kernel->parameter_count * sizeof(Place));
    plan->memory_steps = p.memory_steps.data;
    plan->step_count = p.memory_steps.length;
    return plan;
}
