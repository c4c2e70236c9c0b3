/* lay.c: BLOCK -> LAID: a layout for every block value.
 *
 * Memory accesses and dots are the anchors (anchor.c): they know which layout they want. From them
 * a choice flows through the kernel: an op works in the layout of its weightiest operand. A value
 * that is cheap to make again (constants, ranges, index arithmetic on them) has no choice of its
 * own, nor have shape ops: they are made in whatever layout a user asks for, once for each, from
 * operands in the layout that follows. So masks and pointers come in the layout of their access,
 * and a row maximum is repeated in the layout of the block it is subtracted from, and nothing is
 * moved.
 *
 * Everything else has a home, the layout it is computed in, and a user that wants another one gets
 * a `convert` next to the definition, so that what a loop uses is converted before the loop. The
 * operands of a dot go through shared memory by name (shared_alloc, shared_store, shared_load) when
 * they would cross warps, for the pipeliner to find.
 */
#include "compiler/gpu/lay.h"
#include "compiler/partner.h"

#include <assert.h>

typedef struct Version {
    const Layout *layout;
    Value *value;
    struct Version *next;
} Version;

typedef struct Note {
    const Value *value;
    Choice choice;
    Version *versions; /* made so far; the home is one */
    Value *original;   /* what this is a version of; NULL: itself */
    Op *stored;        /* the shared_store of the value, for dots */
    DotLayouts *dot;   /* results of dots */
} Note;

typedef struct Lay {
    Anchors anchors;
    Module *module;
    Types *types;
    Note **slots; /* by value, open addressing */
    uint32_t count, capacity;
    bool changed;
} Lay;

/* ---- notes on values --------------------------------------------------------------------- */

static Note **find_slot(Note **slots, uint32_t capacity, const Value *value) {
    uint32_t at = (uint32_t)hash_bytes(0, &value, sizeof value) & (capacity - 1);
    while (slots[at] && slots[at]->value != value) at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static Note *note_of(Lay *l, const Value *value) {
    if (l->count * 2 >= l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 256;
        Note **slots = arena_array(l->module->arena, Note *, capacity);
        for (uint32_t i = 0; i < l->capacity; i++)
            if (l->slots[i]) *find_slot(slots, capacity, l->slots[i]->value) = l->slots[i];
        l->slots = slots;
        l->capacity = capacity;
    }
    Note **slot = find_slot(l->slots, l->capacity, value);
    if (!*slot) {
        *slot = arena_new(l->module->arena, Note);
        (*slot)->value = value;
        l->count++;
    }
    return *slot;
}

static Choice choice_of(Lay *l, const Value *value) {
    return note_of(l, value)->choice;
}

/* A choice only ever gets weightier, so the walk over the kernel comes to an end. */
static void choose(Lay *l, const Value *value, Choice choice) {
    Note *note = note_of(l, value);
    if (!type_is_block(value->type) || choice.weight <= note->choice.weight) return;
    note->choice = choice;
    l->changed = true;
}

static const Layout *keep(Lay *l, Layout layout) {
    return type_layout(l->types, &layout);
}

static Choice any(Lay *l, const Type *type) {
    if (!type_is_block(type)) return (Choice){WEIGHT_NONE, NULL};
    return (Choice){WEIGHT_ANY, anchor_default(&l->anchors, type)};
}

static Choice or_any(Lay *l, Choice choice, const Type *type) {
    return choice.layout ? choice : any(l, type);
}

static Choice weightier(Choice a, Choice b) {
    return b.weight > a.weight ? b : a;
}

static Choice of_operands(Lay *l, const Op *op) {
    Choice best = {WEIGHT_NONE, NULL};
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (type_is_block(op_operand(op, i)->type))
            best = weightier(best, choice_of(l, op_operand(op, i)));
    return best;
}

/* Where the value is, or where it will be made if nobody asks for more. */
static const Layout *home_of(Lay *l, const Value *value) {
    Choice choice = choice_of(l, value);
    return choice.layout ? choice.layout : anchor_default(&l->anchors, value->type);
}

/* ---- shape ops: from one side to the other ----------------------------------------------- */

static bool is_shape(OpCode code) {
    return code == OP_expand_dims || code == OP_broadcast || code == OP_reshape ||
           code == OP_permute;
}

/* The operand's layout from which the op makes `wanted`. */
static const Layout *layout_before(Lay *l, const Op *op, const Layout *wanted) {
    const Type *from = op_operand(op, 0)->type, *to = op->results[0].type;
    int64_t inverse[MAX_RANK];
    const Attribute *order = op_attribute(op, ATTR_order);
    switch (op->code) {
    case OP_broadcast: return keep(l, layout_unbroadcast(wanted, to->rank, from->shape, to->shape));
    case OP_permute:
        for (uint32_t i = 0; i < to->rank; i++) inverse[order->ints[i]] = i;
        return keep(l, layout_permute(wanted, to->rank, to->shape, inverse));
    default: return wanted;
    }
}

/* What an operand's choice makes of the result. */
static Choice choice_after(Lay *l, const Op *op, Choice choice) {
    const Type *from = op_operand(op, 0)->type;
    if (!choice.layout) return choice;
    switch (op->code) {
    case OP_broadcast: return (Choice){WEIGHT_NONE, NULL}; /* what is repeated is small */
    case OP_permute:
        choice.layout = keep(l, layout_permute(choice.layout, from->rank, from->shape,
                                               op_attribute(op, ATTR_order)->ints));
        return choice;
    default: return choice;
    }
}

/* ---- first walk: choices ----------------------------------------------------------------- */

/* Does the value, changed only element by element, become the left operand of a dot or the rows of
 * a reduction? Then its rows should stay within a warp. */
static bool feeds_rows(const Value *value, uint32_t depth) {
    for (const Use *use = value->uses; use && depth > 0; use = use->next) {
        const Op *op = use->user;
        if (op->code == OP_dot && use_index(use) == 0) return true;
        if (op->code == OP_reduce && op_int(op, ATTR_axis, 0) + 1 == value->type->rank) return true;
        if ((op_is(op, OPF_ELEMENT) || op->code == OP_hint) &&
            feeds_rows(&op->results[0], depth - 1))
            return true;
    }
    return false;
}

/* Is the value made of a dot's result, element by element? */
static bool comes_from_dot(const Value *value, uint32_t depth) {
    const Op *op = value->op;
    if (!op || depth == 0) return false;
    if (op->code == OP_dot) return true;
    for (uint32_t i = 0; op_is(op, OPF_ELEMENT) && i < op->operand_count; i++)
        if (comes_from_dot(op_operand(op, i), depth - 1)) return true;
    return false;
}

static DotLayouts dot_layouts(Lay *l, const Op *dot) {
    enum { DEPTH = 12 };
    Note *note = note_of(l, &dot->results[0]);
    if (!note->dot) {
        bool chain =
            comes_from_dot(op_operand(dot, 0), DEPTH) || feeds_rows(&dot->results[0], DEPTH);
        note->dot = arena_new(l->module->arena, DotLayouts);
        *note->dot = anchor_dot(&l->anchors, dot, chain);
    }
    return *note->dot;
}

/* An access that gains nothing by a layout of its own stays with its pointers. */
static const Layout *memory_layout(Lay *l, const Op *op) {
    const Layout *layout = anchor_memory(&l->anchors, op);
    Choice pointers = choice_of(l, op_operand(op, 0));
    const Type *type = op_operand(op, 0)->type;
    const AxisFacts *facts = axis_facts(l->anchors.axis, op_operand(op, 0));
    for (uint32_t d = 0; d < type->rank; d++)
        if (facts->contiguity[d] > 1) return layout;
    return pointers.weight >= WEIGHT_MEMORY ? pointers.layout : layout;
}

static const Layout *reduce_layout(Lay *l, const Op *op) {
    const Type *type = op_operand(op, 0)->type;
    Choice best = or_any(l, of_operands(l, op), type);
    if (op->code == OP_scan && !scan_fits(best.layout, type, (uint32_t)op_int(op, ATTR_axis, 0)))
        return anchor_default(&l->anchors, type);
    return best.layout;
}

/* The operand's layout in which the last dim lies in one register bit. */
static const Layout *split_layout(Lay *l, const Op *op) {
    const Value *x = op_operand(op, 0);
    const Layout *home = home_of(l, x);
    Layout half;
    uint32_t bit;
    if (layout_split(home, &half, &bit)) return home;
    const Type *type = op->results[0].type;
    if (!type_is_block(type)) { /* 2 elements: both in every thread */
        half = (Layout){.bits = {0, LANE_BITS, (uint8_t)log2_exact(l->anchors.num_warps), 0}};
        return keep(l, layout_join(&half));
    }
    return keep(l, layout_join(anchor_default(&l->anchors, type)));
}

static Choice plain_choice(Lay *l, const Op *op, uint32_t index) {
    const Value *result = &op->results[index];
    Choice best;
    Layout half;
    uint32_t bit;
    switch (op->code) {
    case OP_constant:
    case OP_arange:
    case OP_splat: return (Choice){WEIGHT_NONE, NULL};
    case OP_load:
    case OP_atomic_rmw:
    case OP_atomic_cas: return (Choice){WEIGHT_MEMORY, memory_layout(l, op)};
    case OP_dot: return (Choice){WEIGHT_DOT, dot_layouts(l, op).result};
    case OP_expand_dims:
    case OP_broadcast:
    case OP_reshape:
    case OP_permute: return choice_after(l, op, choice_of(l, op_operand(op, 0)));
    case OP_join:
        if (!type_is_block(op_operand(op, 0)->type)) return any(l, result->type);
        best = or_any(l, of_operands(l, op), op_operand(op, 0)->type);
        best.layout = keep(l, layout_join(best.layout));
        return best;
    case OP_split:
        best = or_any(l, of_operands(l, op), result->type);
        layout_split(split_layout(l, op), &half, &bit);
        best.layout = keep(l, half);
        return best;
    case OP_concat:
        best = or_any(l, of_operands(l, op), op_operand(op, 0)->type);
        best.layout = keep(l, layout_concat(best.layout));
        return best;
    case OP_gather: {
        uint32_t difference;
        best = choice_of(l, op_operand(op, gather_swaps(op, &difference) ? 0 : 1));
        return or_any(l, best, result->type);
    }
    case OP_histogram: return any(l, result->type);
    case OP_reduce: {
        const Type *type = op_operand(op, 0)->type;
        best = or_any(l, of_operands(l, op), type);
        best.layout = keep(l, layout_slice(reduce_layout(l, op), type->rank, type->shape,
                                           (uint32_t)op_int(op, ATTR_axis, 0), NULL));
        return best;
    }
    case OP_scan:
        best = or_any(l, of_operands(l, op), result->type);
        best.layout = reduce_layout(l, op);
        return best;
    default:
        best = of_operands(l, op);
        bool again = op_is(op, OPF_ELEMENT) || op->code == OP_hint; /* cheap to make again */
        return again ? best : or_any(l, best, result->type);
    }
}

static void choose_region(Lay *l, const Region *region);

/* Values that must agree since one becomes the other. */
static void choose_together(Lay *l, Value *const *values, uint32_t count) {
    Choice best = {WEIGHT_NONE, NULL};
    for (uint32_t i = 0; i < count; i++) best = weightier(best, choice_of(l, values[i]));
    /* an op's result keeps the layout that its op gives it */
    for (uint32_t i = 0; i < count; i++) choose(l, values[i], best);
}

static void choose_op(Lay *l, const Op *op) {
    for (uint32_t i = 0; i < op->region_count; i++) choose_region(l, op->regions[i]);
    for (uint32_t i = 0; i < op->result_count; i++) {
        Value *result = (Value *)&op->results[i];
        if (!type_is_block(result->type)) continue;
        if (op->code == OP_for) {
            Region *body = op->regions[0];
            Choice best = weightier(choice_of(l, op_operand(op, i + 3)),
                                    choice_of(l, op_operand(body->last, i)));
            choose(l, body->arguments[i + 1], best);
            choose_together(l, (Value *[]){result, body->arguments[i + 1]}, 2);
        } else if (op->code == OP_if) {
            Choice best = weightier(choice_of(l, op_operand(op->regions[0]->last, i)),
                                    choice_of(l, op_operand(op->regions[1]->last, i)));
            choose(l, result, or_any(l, best, result->type));
        } else if (op->code == OP_while) {
            Value *inside = op->regions[1]->arguments[i];
            choose(l, inside, choice_of(l, op_operand(op->regions[0]->last, i + 1)));
            choose_together(l, (Value *[]){result, inside}, 2);
        } else {
            choose(l, result, plain_choice(l, op, i));
        }
    }
    for (uint32_t i = 0; op->code == OP_while && i < op->operand_count; i++) {
        Choice best = weightier(choice_of(l, op_operand(op, i)),
                                choice_of(l, op_operand(op->regions[1]->last, i)));
        choose(l, op->regions[0]->arguments[i], best);
    }
}

static void choose_region(Lay *l, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) choose_op(l, op);
}

/* The layout that the first anchor behind these uses asks for; NULL: none does. */
static const Layout *asked_by_users(Lay *l, const Value *value, uint32_t depth) {
    for (const Use *use = value->uses; use && depth > 0; use = use->next) {
        const Op *op = use->user;
        const Layout *found = NULL;
        if ((op->code == OP_load || op->code == OP_store || op->code == OP_atomic_rmw ||
             op->code == OP_atomic_cas) &&
            type_is_block(op_operand(op, 0)->type)) {
            found = anchor_memory(&l->anchors, op);
        } else if (op_is(op, OPF_ELEMENT) || op->code == OP_hint) {
            Choice choice = choice_of(l, &op->results[0]);
            found = choice.weight > WEIGHT_ANY ? choice.layout
                                               : asked_by_users(l, &op->results[0], depth - 1);
        } else if (is_shape(op->code) && op->code != OP_broadcast) {
            found = asked_by_users(l, &op->results[0], depth - 1);
            if (found) found = layout_before(l, op, found);
        }
        if (found) return found;
    }
    return NULL;
}

/* A carried value that nothing chose for is laid out as its users want it. */
static void choose_carried(Op *op, void *context) {
    Lay *l = context;
    for (uint32_t r = 0; r < op->region_count; r++)
        for (uint32_t i = 0; i < op->regions[r]->argument_count; i++) {
            Value *v = op->regions[r]->arguments[i];
            if (!type_is_block(v->type) || choice_of(l, v).layout) continue;
            const Layout *asked = asked_by_users(l, v, 8);
            choose(l, v, asked ? (Choice){WEIGHT_ANY, asked} : any(l, v->type));
        }
}

static void choose_all(Lay *l) {
    do {
        l->changed = false;
        choose_region(l, l->module->kernel->body);
    } while (l->changed);
    region_walk(l->module->kernel->body, choose_carried, l);
    while (l->changed) {
        l->changed = false;
        choose_region(l, l->module->kernel->body);
    }
}

/* ---- second walk: values in layouts ------------------------------------------------------ */

static Builder after(Lay *l, const Value *value) {
    Builder b = {.module = l->module};
    if (value->op) {
        b.region = value->op->parent;
        b.before = value->op->next;
        b.at = value->op->at;
    } else {
        b.region = value->region;
        b.before = value->region->first;
        b.at = value->region->parent ? value->region->parent->at : l->module->kernel->at;
    }
    return b;
}

static Value *add_version(Lay *l, Value *value, const Layout *layout, Value *version) {
    Note *note = note_of(l, value);
    Version *v = arena_new(l->module->arena, Version);
    *v = (Version){layout, version, note->versions};
    note->versions = v;
    version->type = type_with_layout(l->types, version->type, layout);
    if (version != value) note_of(l, version)->original = value;
    return version;
}

static Value *value_in(Lay *l, Value *value, const Layout *layout, bool for_dot);

/* What this is a version of. */
static Value *original(Lay *l, Value *value) {
    Value *first = note_of(l, value)->original;
    return first ? first : value;
}

/* The operands of an op that is made anew in `layout`. */
static Value *remake(Lay *l, Value *value, const Layout *layout, bool for_dot) {
    Op *op = value->op;
    Value *operands[3] = {0};
    assert(op->operand_count <= ARRAY_LENGTH(operands));
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Layout *before = is_shape(op->code) ? layout_before(l, op, layout) : layout;
        operands[i] = value_in(l, op_operand(op, i), before, for_dot);
    }
    if (note_of(l, value)->versions) {
        Builder b = after(l, value);
        ValueMap map = {0};
        op = op_clone(&b, op, &map);
    }
    for (uint32_t i = 0; i < op->operand_count; i++) op_set_operand(op, i, operands[i]);
    return add_version(l, value, layout, &op->results[0]);
}

/* The dim that a thread's neighbours in registers (or lanes) go along. */
static uint32_t fastest_dim(const Type *type) {
    const Layout *l = type->layout;
    uint32_t shift = 0, d = type->rank;
    uint32_t first =
        l->bits[PLACE_REGISTER] ? l->columns[PLACE_REGISTER][0] : l->columns[PLACE_LANE][0];
    while (d-- > 0 && first) {
        if (first >> shift & (type->shape[d] - 1)) return d;
        shift += log2_exact(type->shape[d]);
    }
    return type->rank - 1;
}

/* Puts the value into shared memory, swizzled so that both sides are free of bank conflicts. */
static Op *store_shared(Lay *l, Value *home) {
    const Type *type = home->type, *i32 = type_scalar(l->types, DT_i32);
    Builder b = after(l, home);
    uint32_t order[MAX_RANK] = {fastest_dim(type)};
    for (uint32_t d = type->rank, at = 1; d-- > 0;)
        if (d != order[0]) order[at++] = d;
    Layout swizzled = tile_shared_for_rows(type->rank, type->shape, order, type_element_size(type));
    const Type *shared = type_shared(l->types, type, &swizzled);
    Op *alloc = build_op(&b, OP_shared_alloc, 0, NULL, 1, &shared);
    op_set_int(l->module, alloc, ATTR_buffers, 1);
    Value *operands[] = {&alloc->results[0], build_constant_int(&b, i32, 0), home};
    return build_op(&b, OP_shared_store, 3, operands, 0, NULL);
}

static Value *through_shared(Lay *l, Value *value, const Layout *layout) {
    Note *note = note_of(l, value);
    value_in(l, value, home_of(l, value), false);
    if (!note->stored) note->stored = store_shared(l, value);
    Op *store = note->stored;
    Builder b = {
        .module = l->module, .region = store->parent, .before = store->next, .at = store->at};
    const Type *wanted = type_with_layout(l->types, value->type, layout);
    Value *operands[] = {op_operand(store, 0), op_operand(store, 1)};
    Op *load = build_op(&b, OP_shared_load, 2, operands, 1, &wanted);
    return add_version(l, value, layout, &load->results[0]);
}

/* A row of numbers that is loaded, and perhaps changed element by element: it is loaded as it is
 * wanted (from the same cache lines) rather than moved. */
static bool is_row(Lay *l, Value *value, uint32_t depth) {
    value = original(l, value);
    const Op *op = value->op;
    if (!type_is_block(value->type) || choice_of(l, value).weight == WEIGHT_NONE) return true;
    if (!op || value->type->rank != 1 || depth == 0) return false;
    bool load = op->code == OP_load && !op_int(op, ATTR_is_volatile, 0);
    if (!load && !op_is(op, OPF_ELEMENT)) return false;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        Value *operand = original(l, op_operand(op, i));
        if (load ? choice_of(l, operand).weight != WEIGHT_NONE : !is_row(l, operand, depth - 1))
            return false;
    }
    return true;
}

/* Is the value made anew in each layout, rather than converted? */
static bool is_made_anew(Lay *l, Value *value) {
    const Op *op = value->op;
    if (!op) return false;
    if (is_shape(op->code)) return true;
    if (op->code == OP_cast && /* narrow values are cheaper to move */
        type_element_size(op_operand(op, 0)->type) < type_element_size(value->type))
        return true;
    return choice_of(l, value).weight == WEIGHT_NONE &&
           (op->operand_count == 0 || op->code == OP_splat || op_is(op, OPF_ELEMENT) ||
            op->code == OP_hint);
}

/* A loaded block that becomes a dot's operand by cheap ops with values that cost nothing (a cast, a
 * scale): it is the block as loaded that goes through shared memory, ahead of time if possible. */
static bool is_dot_chain(Lay *l, Value *value, uint32_t depth) {
    value = original(l, value);
    const Op *op = value->op;
    if (!op || depth == 0 || !value->uses || value->uses->next) return false;
    if (op->code == OP_load) return value->type->rank > 1;
    if (is_shape(op->code)) return is_dot_chain(l, op_operand(op, 0), depth - 1);
    if (!op_is(op, OPF_ELEMENT)) return false;
    Value *moved = NULL;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        Value *operand = original(l, op_operand(op, i));
        if (!type_is_block(operand->type) || choice_of(l, operand).weight == WEIGHT_NONE) continue;
        if (moved) return false;
        moved = operand;
    }
    return moved && is_dot_chain(l, moved, depth - 1);
}

/* Would a thread hold much more of the value than it does? (The operand of an FMA dot is all of K.)
 * A dot reads such an operand step by step from shared memory. */
static bool holds_many(const Layout *home, const Layout *layout) {
    enum { MANY_BITS = 6 };
    const uint32_t bits = layout->bits[PLACE_REGISTER];
    return bits >= MANY_BITS && bits > home->bits[PLACE_REGISTER] + 1u;
}

static Value *value_in(Lay *l, Value *value, const Layout *layout, bool for_dot) {
    if (!type_is_block(value->type)) return value;
    value = original(l, value);
    for (Version *v = note_of(l, value)->versions; v; v = v->next)
        if (v->layout == layout) return v->value;
    if (is_made_anew(l, value)) return remake(l, value, layout, for_dot);
    const Layout *home = home_of(l, value);
    if (layout == home) return add_version(l, value, layout, value);
    if (is_row(l, value, 4)) {
        value_in(l, value, home, false); /* the op itself stays as it is */
        return remake(l, value, layout, false);
    }
    if (for_dot && value->op && op_is(value->op, OPF_ELEMENT) && is_dot_chain(l, value, 8))
        return remake(l, value, layout, true);
    if (for_dot && (layout_conversion(home, layout, NULL) == CONVERT_SHARED ||
                    holds_many(home, layout)))
        return through_shared(l, value, layout);
    value_in(l, value, home, false); /* gives it its type */
    Builder b = after(l, value);
    const Type *type = type_with_layout(l->types, value->type, layout);
    return add_version(l, value, layout, build_to(&b, OP_convert, value, type));
}

static void set_operand_in(Lay *l, Op *op, uint32_t i, const Layout *layout) {
    op_set_operand(op, i, value_in(l, op_operand(op, i), layout, false));
}

static void set_operands_in(Lay *l, Op *op, uint32_t first, const Layout *layout) {
    for (uint32_t i = first; i < op->operand_count; i++) set_operand_in(l, op, i, layout);
}

static void set_home(Lay *l, Value *value) {
    if (type_is_block(value->type)) value_in(l, value, home_of(l, value), false);
}

static void lay_region(Lay *l, Region *region);

static void lay_control(Lay *l, Op *op) {
    uint32_t first = op->code == OP_for ? 3 : op->code == OP_if ? 1 : 0;
    uint32_t skip = op->code == OP_for ? 1 : 0;
    for (uint32_t i = first; i < op->operand_count; i++) {
        const Value *argument = op->regions[0]->arguments[i - first + skip];
        if (type_is_block(argument->type)) set_operand_in(l, op, i, home_of(l, argument));
    }
    for (uint32_t r = 0; r < op->region_count; r++) {
        for (uint32_t i = 0; i < op->regions[r]->argument_count; i++)
            set_home(l, op->regions[r]->arguments[i]);
        lay_region(l, op->regions[r]);
        Op *end = op->regions[r]->last;
        uint32_t from = end->code == OP_condition;
        for (uint32_t i = from; i < end->operand_count; i++) {
            const Value *to = op->code == OP_while && r == 1 ? op->regions[0]->arguments[i]
                                                             : &op->results[i - from];
            if (type_is_block(to->type)) set_operand_in(l, end, i, home_of(l, to));
        }
    }
    for (uint32_t i = 0; i < op->result_count; i++) set_home(l, &op->results[i]);
}

/* The result is where its op makes it, whatever was planned before. */
static void set_result(Lay *l, Value *result, Layout layout) {
    if (!type_is_block(result->type)) return;
    note_of(l, result)->choice.layout = keep(l, layout);
    set_home(l, result);
}

static void lay_memory(Lay *l, Op *op) {
    if (!type_is_block(op_operand(op, 0)->type)) return;
    const Layout *layout = memory_layout(l, op);
    if (op->code == OP_store || (op->code == OP_atomic_rmw && value_unused(&op->results[0])))
        for (uint32_t i = 2; i-- > 0;) { /* the pointers' own layout, then the value's */
            const Layout *own = choice_of(l, op_operand(op, i)).layout;
            if (own && anchor_stores_well(&l->anchors, op, own)) layout = own;
        }
    set_operands_in(l, op, 0, layout);
    if (op->result_count) set_result(l, &op->results[0], *layout);
}

static void lay_reduce(Lay *l, Op *op) {
    const Layout *layout = reduce_layout(l, op);
    const Type *type = op_operand(op, 0)->type;
    uint32_t axis = (uint32_t)op_int(op, ATTR_axis, 0);
    set_operands_in(l, op, 0, layout);
    for (uint32_t i = 0; i < op->result_count; i++)
        set_result(l, &op->results[i],
                   op->code == OP_scan ? *layout
                                       : layout_slice(layout, type->rank, type->shape, axis, NULL));
}

/* Ops that work element by element, in the layout of the weightiest operand. */
static void lay_elements(Lay *l, Op *op) {
    Choice best = {WEIGHT_NONE, NULL};
    for (uint32_t i = 0; i < op->result_count; i++) {
        if (!type_is_block(op->results[i].type)) continue;
        if (is_made_anew(l, &op->results[i])) return;
        best = choice_of(l, &op->results[0]);
    }
    if (!best.layout) best = of_operands(l, op);
    for (uint32_t i = 0; i < op->operand_count && !best.layout; i++)
        best = any(l, op_operand(op, i)->type);
    if (!best.layout) return;
    set_operands_in(l, op, 0, best.layout);
    for (uint32_t i = 0; i < op->result_count; i++) set_result(l, &op->results[i], *best.layout);
}

static void lay_op(Lay *l, Op *op) {
    switch (op->code) {
    case OP_for:
    case OP_while:
    case OP_if: lay_control(l, op); return;
    case OP_yield:
    case OP_condition: return; /* by the op around them */
    case OP_load:
    case OP_store:
    case OP_atomic_rmw:
    case OP_atomic_cas: lay_memory(l, op); return;
    case OP_dot: {
        DotLayouts d = dot_layouts(l, op);
        op_set_operand(op, 0, value_in(l, op_operand(op, 0), d.a, true));
        op_set_operand(op, 1, value_in(l, op_operand(op, 1), d.b, true));
        set_operand_in(l, op, 2, d.result);
        break;
    }
    case OP_reduce:
    case OP_scan: lay_reduce(l, op); return;
    case OP_join: {
        Layout half;
        uint32_t bit;
        layout_split(home_of(l, &op->results[0]), &half, &bit);
        set_operands_in(l, op, 0, keep(l, half));
        break;
    }
    case OP_split: {
        Layout half;
        uint32_t bit;
        const Layout *whole = split_layout(l, op);
        set_operand_in(l, op, 0, whole);
        layout_split(whole, &half, &bit);
        set_result(l, &op->results[0], half);
        set_result(l, &op->results[1], half);
        return;
    }
    case OP_concat: {
        Layout part = *home_of(l, &op->results[0]);
        part.out_bits--;
        part.columns[PLACE_REGISTER][--part.bits[PLACE_REGISTER]] = 0;
        set_operands_in(l, op, 0, keep(l, part));
        break;
    }
    case OP_gather: {
        uint32_t difference;
        set_home(l, op_operand(op, 0));
        set_operand_in(l, op, 0, home_of(l, op_operand(op, 0)));
        if (gather_swaps(op, &difference))
            set_result(l, &op->results[0], *op_operand(op, 0)->type->layout);
        set_operand_in(l, op, 1, home_of(l, &op->results[0]));
        break;
    }
    case OP_histogram:
    case OP_assert: {
        Choice best = or_any(l, of_operands(l, op), op_operand(op, 0)->type);
        set_operands_in(l, op, 0, best.layout);
        break;
    }
    case OP_extract:
    case OP_print:
        for (uint32_t i = 0; i < op->operand_count; i++)
            if (type_is_block(op_operand(op, i)->type))
                set_operand_in(l, op, i, home_of(l, op_operand(op, i)));
        break;
    default: lay_elements(l, op); return;
    }
    for (uint32_t i = 0; i < op->result_count; i++) set_home(l, &op->results[i]);
}

/* What is made anew, or added, on the way is laid out already: the walk goes by the old ops. */
static void lay_region(Lay *l, Region *region) {
    VEC(Op *) ops = {0};
    for (Op *op = region->first; op; op = op->next) vec_push(l->module->arena, &ops, op);
    for (uint32_t i = 0; i < ops.length; i++) lay_op(l, ops.data[i]);
}

/* What nobody asked for. */
static void drop_unused(Region *region) {
    for (Op *op = region->last, *previous; op; op = previous) {
        previous = op->previous;
        for (uint32_t i = 0; i < op->region_count; i++) drop_unused(op->regions[i]);
        bool used = !op_is_pure(op) || op->region_count > 0;
        for (uint32_t i = 0; i < op->result_count; i++) used |= !value_unused(&op->results[i]);
        if (!used) op_remove(op);
    }
}

bool pass_lay(Module *module) {
    if (module->level != LEVEL_BLOCK) return false;
    const GpuTarget *target = module->target ? gpu_target(module->target) : NULL;
    lay_prepare_dots(module, target);
    Lay l = {.module = module, .types = &module->types};
    l.anchors = (Anchors){.module = module,
                          .target = target,
                          .axis = axis_analyse(module),
                          .num_warps = module->kernel->num_warps};
    choose_all(&l);
    lay_region(&l, module->kernel->body);
    drop_unused(module->kernel->body);
    module->level = LEVEL_LAID;
    return true;
}
