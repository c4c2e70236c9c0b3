/* axis.c: facts about the numbers in each value, from the leaves up (axis.h says which).
 *
 * All facts are powers of two, so a greatest common divisor is a minimum. Two rules are behind most
 * functions here. A run of length C of the result lies in runs of the operands at least as long;
 * the first number of such a part is a multiple of min(divisibility, C), or of the divisibility
 * when the operand's runs are no longer than C (`start_divisor`). And a sum is contiguous where one
 * side is and the other one is constant.
 *
 * Values that loops carry start with the facts of their first value, which only get weaker as the
 * body is walked again, until nothing changes.
 */
#include "compiler/gpu/axis.h"

enum { MOST = 1 << 30 };

typedef struct Entry {
    const Value *value;
    AxisFacts facts;
    bool not_negative; /* known to be; integers */
} Entry;

struct Axis {
    Module *module;
    Entry **slots; /* open addressing */
    uint32_t count, capacity;
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t lowest_bit(int64_t n) {
    return n == 0 ? MOST : least(MOST, n & -n);
}

static uint32_t rank_of(const Value *v) {
    return v->type->rank ? v->type->rank : 1;
}
static int64_t extent(const Value *v, uint32_t d) {
    return v->type->rank ? v->type->shape[d] : 1;
}

/* ---- the table --------------------------------------------------------------------------- */

static Entry **find_slot(Entry **slots, uint32_t capacity, const Value *value) {
    uint32_t at = (uint32_t)hash_bytes(0, &value, sizeof value) & (capacity - 1);
    while (slots[at] && slots[at]->value != value) at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static void grow(Axis *axis) {
    uint32_t capacity = axis->capacity ? axis->capacity * 2 : 256;
    Entry **slots = arena_array(axis->module->arena, Entry *, capacity);
    for (uint32_t i = 0; i < axis->capacity; i++)
        if (axis->slots[i]) *find_slot(slots, capacity, axis->slots[i]->value) = axis->slots[i];
    axis->slots = slots;
    axis->capacity = capacity;
}

static AxisFacts nothing_known(void) {
    AxisFacts f = {.is_constant = false};
    for (uint32_t d = 0; d < MAX_RANK; d++)
        f.contiguity[d] = f.divisibility[d] = f.constancy[d] = 1;
    return f;
}

static const Entry *entry_of(const Axis *axis, const Value *value) {
    return axis->capacity ? *find_slot(axis->slots, axis->capacity, value) : NULL;
}

const AxisFacts *axis_facts(const Axis *axis, const Value *value) {
    static const AxisFacts nothing = {.contiguity = {1, 1, 1, 1, 1, 1, 1, 1},
                                      .divisibility = {1, 1, 1, 1, 1, 1, 1, 1},
                                      .constancy = {1, 1, 1, 1, 1, 1, 1, 1}};
    const Entry *entry = entry_of(axis, value);
    return entry ? &entry->facts : &nothing;
}

static bool not_negative(const Axis *axis, const Value *value) {
    const Entry *entry = entry_of(axis, value);
    return dtype_is_unsigned(type_dtype(value->type)) || (entry && entry->not_negative);
}

static void set_facts(Axis *axis, const Value *value, AxisFacts facts, bool positive) {
    if (axis->count * 2 >= axis->capacity) grow(axis);
    Entry **slot = find_slot(axis->slots, axis->capacity, value);
    if (!*slot) {
        *slot = arena_new(axis->module->arena, Entry);
        axis->count++;
    } else if (!memcmp(&(*slot)->facts, &facts, sizeof facts) &&
               (*slot)->not_negative == positive) {
        return;
    }
    **slot = (Entry){value, facts, positive};
}

static AxisFacts meet(const AxisFacts *a, const AxisFacts *b) {
    AxisFacts f = nothing_known();
    for (uint32_t d = 0; d < MAX_RANK; d++) {
        f.contiguity[d] = least(a->contiguity[d], b->contiguity[d]);
        f.constancy[d] = least(a->constancy[d], b->constancy[d]);
        int64_t da = a->divisibility[d], db = b->divisibility[d], run = f.contiguity[d];
        if (a->contiguity[d] > run) da = least(da, run);
        if (b->contiguity[d] > run) db = least(db, run);
        f.divisibility[d] = least(da, db);
    }
    f.is_constant = a->is_constant && b->is_constant && a->constant == b->constant;
    f.constant = f.is_constant ? a->constant : 0;
    return f;
}

/* ---- rules ------------------------------------------------------------------------------- */

/* Divides the first number of each part of length `run`; `step`: what one more is (pointers: the
 * bytes of an element). */
static int64_t start_divisor(const AxisFacts *f, uint32_t d, int64_t run, int64_t step) {
    return f->contiguity[d] > run ? least(f->divisibility[d], run * step) : f->divisibility[d];
}

/* Divides every number. */
static int64_t each_divisor(const AxisFacts *f, uint32_t rank, int64_t step) {
    int64_t best = 1;
    for (uint32_t d = 0; d < rank; d++) best = most(best, start_divisor(f, d, 1, step));
    return best;
}

static int64_t element_bytes(const Value *pointer) {
    const Type *type = type_element(pointer->type);
    return type->kind == TYPE_POINTER ? type_element_size(type->element) : 1;
}

static AxisFacts constant_facts(const Value *v, int64_t number) {
    AxisFacts f = nothing_known();
    for (uint32_t d = 0; d < rank_of(v); d++) {
        f.constancy[d] = extent(v, d);
        f.divisibility[d] = lowest_bit(number);
    }
    f.is_constant = true;
    f.constant = number;
    return f;
}

/* x + scale * y, scale > 1 for pointers. */
static AxisFacts sum_facts(const Value *v, const AxisFacts *x, const AxisFacts *y, int64_t scale,
                           bool subtract) {
    AxisFacts f = nothing_known();
    for (uint32_t d = 0; d < rank_of(v); d++) {
        int64_t run = least(x->contiguity[d], y->constancy[d]);
        if (!subtract) run = most(run, least(x->constancy[d], y->contiguity[d]));
        f.contiguity[d] = run;
        f.constancy[d] = least(x->constancy[d], y->constancy[d]);
        f.divisibility[d] = least(start_divisor(x, d, run, scale),
                                  least(MOST, scale * start_divisor(y, d, run, 1)));
    }
    if (x->is_constant && y->is_constant && scale == 1) {
        f.is_constant = !__builtin_add_overflow(x->constant, subtract ? -y->constant : y->constant,
                                                &f.constant);
        if (!f.is_constant) f.constant = 0;
    }
    return f;
}

static AxisFacts product_facts(const Value *v, const AxisFacts *x, const AxisFacts *y) {
    if (x->is_constant && x->constant == 1) return *y;
    if (y->is_constant && y->constant == 1) return *x;
    AxisFacts f = nothing_known();
    int64_t divisor = least(MOST, each_divisor(x, rank_of(v), 1) * each_divisor(y, rank_of(v), 1));
    for (uint32_t d = 0; d < rank_of(v); d++) {
        f.constancy[d] = least(x->constancy[d], y->constancy[d]);
        f.divisibility[d] = divisor;
    }
    if (x->is_constant && y->is_constant) {
        f.is_constant = !__builtin_mul_overflow(x->constant, y->constant, &f.constant);
        if (!f.is_constant) f.constant = 0;
    }
    return f;
}

/* x / y or x % y; `floor`: numbers below zero behave like the others. Within a run, x stays in one
 * multiple of y as long as both the run's start and y are multiples of its length. */
static AxisFacts quotient_facts(const Value *v, const AxisFacts *x, const AxisFacts *y, bool rest,
                                bool floor) {
    AxisFacts f = nothing_known();
    if (y->is_constant && y->constant == 1 && !rest) return *x;
    for (uint32_t d = 0; d < rank_of(v); d++) {
        int64_t same = least(x->constancy[d], y->constancy[d]);
        int64_t run = least(least(x->contiguity[d], y->constancy[d]),
                            least(x->divisibility[d], each_divisor(y, rank_of(v), 1)));
        if (!floor) run = 1;
        f.constancy[d] = rest ? same : most(same, run);
        f.contiguity[d] = rest ? run : 1;
        if (rest)
            f.divisibility[d] = least(start_divisor(x, d, run, 1), each_divisor(y, rank_of(v), 1));
        else if (y->is_constant && y->constant > 0 && lowest_bit(y->constant) == y->constant)
            f.divisibility[d] = most(1, start_divisor(x, d, 1, 1) / y->constant);
    }
    return f;
}

static AxisFacts shift_count(const Value *v, const AxisFacts *by) {
    if (!by->is_constant || by->constant < 0 || by->constant > 30) return nothing_known();
    return constant_facts(v, INT64_C(1) << by->constant);
}

/* x < y and the like stay the same along a run of x when both its start and y are multiples of the
 * run's length. */
static AxisFacts compare_facts(const Op *op, const AxisFacts *x, const AxisFacts *y) {
    const Value *v = &op->results[0];
    AxisFacts f = nothing_known();
    bool left = op->code == OP_lt || op->code == OP_ge;
    bool right = op->code == OP_gt || op->code == OP_le;
    const AxisFacts *runs = right ? y : x, *bound = right ? x : y;
    bool numbers = dtype_is_int(type_dtype(op_operand(op, 0)->type));
    for (uint32_t d = 0; d < rank_of(v); d++) {
        f.constancy[d] = least(x->constancy[d], y->constancy[d]);
        if (!numbers || !(left || right)) continue;
        int64_t run = least(least(runs->contiguity[d], bound->constancy[d]),
                            least(runs->divisibility[d], each_divisor(bound, rank_of(v), 1)));
        f.constancy[d] = most(f.constancy[d], run);
    }
    return f;
}

/* What any function of the elements keeps: equal operands give equal results. */
static AxisFacts element_facts(const Axis *axis, const Op *op) {
    AxisFacts f = nothing_known();
    const Value *v = &op->results[0];
    for (uint32_t d = 0; d < rank_of(v); d++) {
        f.constancy[d] = extent(v, d);
        for (uint32_t i = 0; i < op->operand_count; i++)
            f.constancy[d] =
                least(f.constancy[d], axis_facts(axis, op_operand(op, i))->constancy[d]);
    }
    return f;
}

/* min, max, select: one of x and y; `choice`: decided element by element by this. */
static AxisFacts either_facts(const Value *v, const AxisFacts *x, const AxisFacts *y,
                              const AxisFacts *choice) {
    AxisFacts f = meet(x, y);
    for (uint32_t d = 0; d < rank_of(v); d++) {
        int64_t run = choice ? choice->constancy[d] : 1;
        if (f.contiguity[d] > run) {
            f.divisibility[d] = least(f.divisibility[d], run);
            f.contiguity[d] = run;
        }
        if (choice) f.constancy[d] = least(f.constancy[d], run);
    }
    return f;
}

static AxisFacts hint_facts(const Op *op, AxisFacts f) {
    static const AttributeKey keys[] = {ATTR_divisibility, ATTR_contiguity, ATTR_constancy};
    int64_t *facts[] = {f.divisibility, f.contiguity, f.constancy};
    for (uint32_t k = 0; k < ARRAY_LENGTH(keys); k++) {
        const Attribute *a = op_attribute(op, keys[k]);
        for (uint32_t d = 0; a && d < a->count && d < rank_of(&op->results[0]); d++)
            facts[k][d] = most(facts[k][d], lowest_bit(a->ints[d]));
    }
    for (uint32_t d = 0; d < rank_of(&op->results[0]); d++) { /* runs lie within the block */
        f.contiguity[d] = least(f.contiguity[d], extent(&op->results[0], d));
        f.constancy[d] = least(f.constancy[d], extent(&op->results[0], d));
    }
    return f;
}

static AxisFacts shape_facts(const Axis *axis, const Op *op) {
    const Value *x = op_operand(op, 0), *v = &op->results[0];
    const AxisFacts *f = axis_facts(axis, x);
    AxisFacts r = nothing_known();
    int64_t each = each_divisor(f, rank_of(x), element_bytes(x));
    switch (op->code) {
    case OP_splat:
        for (uint32_t d = 0; d < rank_of(v); d++) {
            r.constancy[d] = extent(v, d);
            r.divisibility[d] = f->divisibility[0];
        }
        break;
    case OP_expand_dims:
        for (uint32_t d = 0, at = (uint32_t)op_int(op, ATTR_axis, 0); d < rank_of(v); d++) {
            r.contiguity[d] = d == at ? 1 : f->contiguity[d - (d > at)];
            r.constancy[d] = d == at ? 1 : f->constancy[d - (d > at)];
            r.divisibility[d] = d == at ? each : f->divisibility[d - (d > at)];
        }
        break;
    case OP_broadcast:
        r = *f;
        for (uint32_t d = 0; d < rank_of(v); d++)
            if (extent(x, d) != extent(v, d)) r.constancy[d] = extent(v, d);
        break;
    case OP_permute:
        for (uint32_t d = 0; d < rank_of(v); d++) {
            uint32_t from = (uint32_t)op_attribute(op, ATTR_order)->ints[d];
            r.contiguity[d] = f->contiguity[from];
            r.constancy[d] = f->constancy[from];
            r.divisibility[d] = f->divisibility[from];
        }
        break;
    default: { /* reshape: the last dims are the same, or nothing is known but what all share */
        bool constant = true;
        for (uint32_t d = 0; d < rank_of(x); d++) constant &= f->constancy[d] == extent(x, d);
        for (uint32_t d = 0; d < rank_of(v); d++) {
            r.divisibility[d] = each;
            if (constant) r.constancy[d] = extent(v, d);
        }
        if (rank_of(x) && rank_of(v) && !op_int(op, ATTR_reorder, 0)) {
            uint32_t a = rank_of(x) - 1, b = rank_of(v) - 1;
            r.contiguity[b] = least(f->contiguity[a], extent(v, b));
            r.divisibility[b] = start_divisor(f, a, r.contiguity[b], element_bytes(x));
            r.constancy[b] = most(r.constancy[b], least(f->constancy[a], extent(v, b)));
        }
        break;
    }
    }
    r.is_constant = f->is_constant;
    r.constant = f->constant;
    return r;
}

static bool result_not_negative(const Axis *axis, const Op *op) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!not_negative(axis, op_operand(op, i))) return false;
    return true;
}

static void visit_plain(Axis *axis, const Op *op) {
    const Value *v = &op->results[0];
    const AxisFacts *x = op->operand_count > 0 ? axis_facts(axis, op_operand(op, 0)) : NULL;
    const AxisFacts *y = op->operand_count > 1 ? axis_facts(axis, op_operand(op, 1)) : NULL;
    AxisFacts f = nothing_known(), power;
    bool integer = dtype_is_int(type_dtype(v->type)), positive = false;
    switch (op->code) {
    case OP_constant:
        if (dtype_is_float(type_dtype(v->type))) {
            for (uint32_t d = 0; d < rank_of(v); d++) f.constancy[d] = extent(v, d);
        } else {
            f = constant_facts(v, op_int(op, ATTR_value, 0));
            positive = op_int(op, ATTR_value, 0) >= 0;
        }
        break;
    case OP_arange:
        f.contiguity[0] = extent(v, 0);
        f.divisibility[0] = lowest_bit(op_int(op, ATTR_start, 0));
        positive = op_int(op, ATTR_start, 0) >= 0;
        break;
    case OP_program_id:
    case OP_num_programs: positive = true; break;
    case OP_splat:
    case OP_expand_dims:
    case OP_broadcast:
    case OP_permute:
    case OP_reshape:
        f = shape_facts(axis, op);
        positive = not_negative(axis, op_operand(op, 0));
        break;
    case OP_offset: f = sum_facts(v, x, y, element_bytes(op_operand(op, 0)), false); break;
    case OP_hint:
        f = hint_facts(op, *x);
        positive = not_negative(axis, op_operand(op, 0));
        break;
    case OP_convert: f = *x; break;
    case OP_bitcast: /* addresses stay what they are; runs of pointers to another size do not */
        f = nothing_known();
        for (uint32_t d = 0; d < rank_of(v); d++) {
            f.constancy[d] = x->constancy[d];
            if (type_is_pointer(v->type) && type_is_pointer(op_operand(op, 0)->type))
                f.divisibility[d] = start_divisor(x, d, 1, element_bytes(op_operand(op, 0)));
        }
        break;
    case OP_cast:
        f = integer && dtype_is_int(type_dtype(op_operand(op, 0)->type)) &&
                    type_dtype(v->type) != DT_i1
                ? *x
                : element_facts(axis, op);
        positive = integer && not_negative(axis, op_operand(op, 0));
        break;
    case OP_select:
        f = either_facts(v, y, axis_facts(axis, op_operand(op, 2)), x);
        positive = not_negative(axis, op_operand(op, 1)) && not_negative(axis, op_operand(op, 2));
        break;
    default:
        if (!op_is(op, OPF_ELEMENT)) break;
        f = element_facts(axis, op);
        positive = integer && result_not_negative(axis, op);
        if (op_info(op)->rule == RULE_COMPARE) f = compare_facts(op, x, y);
        if (!integer || op_info(op)->rule == RULE_COMPARE) break;
        switch (op->code) {
        case OP_add: f = sum_facts(v, x, y, 1, false); break;
        case OP_sub:
            f = sum_facts(v, x, y, 1, true);
            positive = false;
            break;
        case OP_mul: f = product_facts(v, x, y); break;
        case OP_min:
        case OP_max: f = either_facts(v, x, y, NULL); break;
        case OP_div: f = quotient_facts(v, x, y, false, positive); break;
        case OP_rem: f = quotient_facts(v, x, y, true, positive); break;
        case OP_shl:
            power = shift_count(v, y);
            if (power.is_constant) f = product_facts(v, x, &power);
            break;
        case OP_shr:
            power = shift_count(v, y);
            if (power.is_constant) f = quotient_facts(v, x, &power, false, true);
            break;
        case OP_and:
            if (y->is_constant && y->constant > 0 && (y->constant & (y->constant + 1)) == 0) {
                power = constant_facts(v, y->constant + 1);
                f = quotient_facts(v, x, &power, true, true);
            }
            break;
        default: break;
        }
    }
    set_facts(axis, v, f, positive);
}

/* ---- regions ----------------------------------------------------------------------------- */

static void visit_region(Axis *axis, const Region *region);

static void join_into(Axis *axis, const Value *into, const Value *from, bool first) {
    AxisFacts f = *axis_facts(axis, from);
    bool positive = not_negative(axis, from);
    if (!first) {
        f = meet(axis_facts(axis, into), &f);
        positive = positive && not_negative(axis, into);
    }
    set_facts(axis, into, f, positive);
}

static void visit_for(Axis *axis, const Op *op) {
    const Region *body = op->regions[0];
    const AxisFacts *from = axis_facts(axis, op_operand(op, 0));
    const AxisFacts *step = axis_facts(axis, op_operand(op, 2));
    AxisFacts index = nothing_known();
    index.divisibility[0] = least(from->divisibility[0], step->divisibility[0]);
    set_facts(axis, body->arguments[0], index,
              not_negative(axis, op_operand(op, 0)) && not_negative(axis, op_operand(op, 2)));
    for (uint32_t i = 0; i < op->result_count; i++)
        join_into(axis, body->arguments[i + 1], op_operand(op, i + 3), true);
    for (bool again = true; again;) {
        visit_region(axis, body);
        again = false;
        for (uint32_t i = 0; i < op->result_count; i++) {
            AxisFacts before = *axis_facts(axis, body->arguments[i + 1]);
            bool positive = not_negative(axis, body->arguments[i + 1]);
            join_into(axis, body->arguments[i + 1], op_operand(body->last, i), false);
            again |= memcmp(&before, axis_facts(axis, body->arguments[i + 1]), sizeof before) != 0;
            again |= positive != not_negative(axis, body->arguments[i + 1]);
        }
    }
    for (uint32_t i = 0; i < op->result_count; i++)
        join_into(axis, &op->results[i], body->arguments[i + 1], true);
}

static void visit_op(Axis *axis, const Op *op) {
    switch (op->code) {
    case OP_for: visit_for(axis, op); return;
    case OP_if:
        for (uint32_t r = 0; r < 2; r++) {
            visit_region(axis, op->regions[r]);
            for (uint32_t i = 0; i < op->result_count; i++)
                join_into(axis, &op->results[i], op_operand(op->regions[r]->last, i), r == 0);
        }
        return;
    case OP_while: /* nothing is known of what it carries */
        for (uint32_t r = 0; r < 2; r++) {
            for (uint32_t i = 0; i < op->regions[r]->argument_count; i++)
                set_facts(axis, op->regions[r]->arguments[i], nothing_known(), false);
            visit_region(axis, op->regions[r]);
        }
        break;
    case OP_reduce:
    case OP_scan:
    case OP_map: break; /* scalars inside: nothing that a memory access depends on */
    default:
        if (op->result_count == 1) {
            visit_plain(axis, op);
            return;
        }
    }
    for (uint32_t i = 0; i < op->result_count; i++)
        set_facts(axis, &op->results[i], nothing_known(), false);
}

static void visit_region(Axis *axis, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) visit_op(axis, op);
}

Axis *axis_analyse(Module *module) {
    Axis *axis = arena_new(module->arena, Axis);
    axis->module = module;
    const Kernel *kernel = module->kernel;
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        AxisFacts f = nothing_known();
        f.divisibility[0] = lowest_bit(kernel->parameters[i].divisibility);
        set_facts(axis, kernel->body->arguments[i], f, false);
    }
    visit_region(axis, kernel->body);
    return axis;
}

uint32_t axis_vector(const Axis *axis, const Value *pointers, const Value *mask, uint32_t d) {
    const AxisFacts *p = axis_facts(axis, pointers);
    int64_t run = least(p->contiguity[d], most(1, p->divisibility[d] / element_bytes(pointers)));
    if (mask) run = least(run, axis_facts(axis, mask)->constancy[d]);
    return (uint32_t)least(run, extent(pointers, d));
}
