/* cse.c: one op for equal ops.
 *
 * Ops are equal when code, operands, attributes, result types and regions are. The table of ops
 * seen is scoped like the regions: what a region added is taken out at its end, so that every op in
 * the table is visible where it is found. Loads are merged too, while nothing has been written
 * since: each possible write starts a new epoch, and a load is only equal to one of its own region
 * and epoch.
 */
#include "compiler/passes/pass.h"

typedef struct Entry {
    Op *op;
    uint64_t hash;
    uint32_t epoch; /* loads */
    uint32_t next;  /* entry in the same bucket, plus 1 */
} Entry;

enum { BUCKETS = 1024 };

typedef struct Cse {
    Module *module;
    VEC(Entry) entries; /* those in scope, innermost last */
    uint32_t buckets[BUCKETS];
    uint32_t epoch;
    bool changed;
} Cse;

static uint64_t hash_op(const Op *op) {
    uint64_t hash = hash_bytes(op->code, &op->operand_count, sizeof op->operand_count);
    bool commutes = op_is(op, OPF_COMMUTES);
    uint64_t exchangeable = 0;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Value *value = op_operand(op, i);
        if (commutes && i < 2)
            exchangeable += hash_bytes(1, &value, sizeof value);
        else
            hash = hash_bytes(hash, &value, sizeof value);
    }
    for (uint32_t i = 0; i < op->result_count; i++)
        hash = hash_bytes(hash, &op->results[i].type, sizeof op->results[i].type);
    for (uint32_t i = 0; i < op->attribute_count; i++) {
        const Attribute *a = &op->attributes[i];
        hash = hash_bytes(hash, &a->key, sizeof a->key);
        if (attribute_kinds[a->key] == AK_INT || attribute_kinds[a->key] == AK_NUMBER)
            hash = hash_bytes(hash, &a->i, sizeof a->i);
    }
    return hash ^ exchangeable;
}

/* ---- equality --------------------------------------------------------------------------- */

/* Inside regions, a value of `a` corresponds to the value of `b` that the map pairs it with. */
static bool same_value(const ValueMap *map, const Value *a, const Value *b) {
    for (uint32_t i = map->length; i >= 2; i -= 2)
        if (map->data[i - 2] == a) return map->data[i - 1] == b;
    return a == b;
}

static bool same_op(Arena *arena, ValueMap *map, Op *a, Op *b);

static void pair(Arena *arena, ValueMap *map, Value *a, Value *b) {
    vec_push(arena, map, a);
    vec_push(arena, map, b);
}

enum { LARGEST_MAP = 2000 }; /* larger regions are not compared: looking up is linear */

static bool same_region(Arena *arena, ValueMap *map, Region *a, Region *b) {
    if (a->argument_count != b->argument_count || map->length > LARGEST_MAP) return false;
    for (uint32_t i = 0; i < a->argument_count; i++) {
        if (a->arguments[i]->type != b->arguments[i]->type) return false;
        pair(arena, map, a->arguments[i], b->arguments[i]);
    }
    Op *x = a->first, *y = b->first;
    for (; x && y; x = x->next, y = y->next) {
        if (map->length > LARGEST_MAP || !same_op(arena, map, x, y)) return false;
        for (uint32_t i = 0; i < x->result_count; i++)
            pair(arena, map, op_result(x, i), op_result(y, i));
    }
    return !x && !y;
}

static bool same_op(Arena *arena, ValueMap *map, Op *a, Op *b) {
    if (a->code != b->code || a->operand_count != b->operand_count ||
        a->result_count != b->result_count || a->attribute_count != b->attribute_count)
        return false;
    bool swapped = op_is(a, OPF_COMMUTES) && same_value(map, op_operand(a, 0), op_operand(b, 1)) &&
                   same_value(map, op_operand(a, 1), op_operand(b, 0));
    for (uint32_t i = swapped ? 2 : 0; i < a->operand_count; i++)
        if (!same_value(map, op_operand(a, i), op_operand(b, i))) return false;
    for (uint32_t i = 0; i < a->result_count; i++)
        if (a->results[i].type != b->results[i].type) return false;
    for (uint32_t i = 0; i < a->attribute_count; i++)
        if (!attribute_equal(&a->attributes[i], &b->attributes[i])) return false;
    for (uint32_t i = 0; i < a->region_count; i++)
        if (!same_region(arena, map, a->regions[i], b->regions[i])) return false;
    return true;
}

/* ---- the table -------------------------------------------------------------------------- */

static Op *find(Cse *c, Op *op, uint64_t hash) {
    bool load = op->code == OP_load;
    for (uint32_t at = c->buckets[hash % BUCKETS]; at; at = c->entries.data[at - 1].next) {
        const Entry *entry = &c->entries.data[at - 1];
        ValueMap map = {0};
        if (entry->hash != hash) continue;
        if (load && (entry->epoch != c->epoch || entry->op->parent != op->parent)) continue;
        if (same_op(c->module->arena, &map, entry->op, op)) return entry->op;
    }
    return NULL;
}

static void add(Cse *c, Op *op, uint64_t hash) {
    uint32_t *bucket = &c->buckets[hash % BUCKETS];
    Entry entry = {.op = op, .hash = hash, .epoch = c->epoch, .next = *bucket};
    vec_push(c->module->arena, &c->entries, entry);
    *bucket = c->entries.length;
}

static void leave_scope(Cse *c, uint32_t length) {
    while (c->entries.length > length) {
        const Entry *entry = &c->entries.data[--c->entries.length];
        c->buckets[entry->hash % BUCKETS] = entry->next;
    }
}

static void merge(Cse *c, Op *op, Op *earlier) {
    for (uint32_t i = 0; i < op->result_count; i++) {
        Value *kept = op_result(earlier, i);
        if (!kept->name) kept->name = op->results[i].name;
        value_replace(op_result(op, i), kept);
    }
    op_remove(op);
    c->changed = true;
}

/* May this op, or one nested in it, make a second load of one address give something else? */
static bool may_write(const Op *op) {
    bool harmless = op->code == OP_print || op->code == OP_assert || op->code == OP_assume;
    if (op_is(op, OPF_WRITES | OPF_EFFECT) && !harmless && !op_is_pure(op)) return true;
    for (uint32_t i = 0; i < op->region_count; i++)
        for (const Op *o = op->regions[i]->first; o; o = o->next)
            if (may_write(o)) return true;
    return false;
}

static void visit_region(Cse *c, Region *region) {
    uint32_t scope = c->entries.length;
    for (Op *op = region->first, *next; op; op = next) {
        next = op->next;
        bool load = op->code == OP_load && !op_int(op, ATTR_is_volatile, 0);
        if (may_write(op)) c->epoch++;
        for (uint32_t i = 0; i < op->region_count; i++) visit_region(c, op->regions[i]);
        if (!load && !op_is_pure(op)) continue;
        uint64_t hash = hash_op(op);
        Op *earlier = find(c, op, hash);
        if (earlier)
            merge(c, op, earlier);
        else
            add(c, op, hash);
    }
    leave_scope(c, scope);
}

bool pass_cse(Module *module) {
    Cse *c = arena_new(module->arena, Cse);
    c->module = module;
    visit_region(c, module->kernel->body);
    return c->changed;
}
