/* ir.c: building, reading and changing the IR.
 *
 * The one invariant kept here: every operand is a Use in the list of the value it uses, whatever
 * is inserted, replaced or moved. Unlinking an op gives its uses up, so that a value's list holds
 * live uses only and "unused" is a NULL pointer. Types are the business of rules.c.
 */
#include "compiler/ir.h"
#include "compiler/eval.h"
#include "compiler/rules.h"

#include <assert.h>

Module *module_new(Arena *arena, Sources *sources, Diagnostics *diagnostics) {
    Module *module = arena_new(arena, Module);
    *module = (Module){.arena = arena, .sources = sources, .diagnostics = diagnostics};
    module->types.arena = arena;
    module->names.arena = arena;
    return module;
}

Kernel *kernel_new(Module *module, const char *name, uint32_t parameter_count,
                   const Parameter *parameters) {
    Kernel *kernel = arena_new(module->arena, Kernel);
    *kernel = (Kernel){.name = name, .num_warps = 4, .num_stages = 3, .num_ctas = 1};
    kernel->parameters = arena_array(module->arena, Parameter, parameter_count);
    kernel->parameter_count = parameter_count;
    kernel->body = arena_new(module->arena, Region);
    for (uint32_t i = 0; i < parameter_count; i++) {
        kernel->parameters[i] = parameters[i];
        if (kernel->parameters[i].divisibility < 1) kernel->parameters[i].divisibility = 1;
        Value *value = region_add_argument(module, kernel->body, parameters[i].type);
        value->name = parameters[i].name;
    }
    module->kernel = kernel;
    return kernel;
}

/* ---- uses and links --------------------------------------------------------------------- */

static void use_link(Use *use, Value *value) {
    use->value = value;
    use->next = value->uses;
    use->link = &value->uses;
    if (use->next) use->next->link = &use->next;
    value->uses = use;
}

static void use_unlink(Use *use) {
    *use->link = use->next;
    if (use->next) use->next->link = use->link;
    use->next = NULL;
    use->link = NULL;
}

/* The use or the value was copied to another address: make its neighbours point there. */
static void use_moved(Use *use) {
    *use->link = use;
    if (use->next) use->next->link = &use->next;
}

static void value_moved(Value *value) {
    if (value->uses) value->uses->link = &value->uses;
    for (Use *use = value->uses; use; use = use->next) use->value = value;
}

static void op_link(Op *op, Region *region, Op *before) {
    assert(!op->parent && (!before || before->parent == region));
    op->parent = region;
    op->next = before;
    op->previous = before ? before->previous : region->last;
    *(op->previous ? &op->previous->next : &region->first) = op;
    *(op->next ? &op->next->previous : &region->last) = op;
}

static void op_unlink(Op *op) {
    Region *region = op->parent;
    *(op->previous ? &op->previous->next : &region->first) = op->next;
    *(op->next ? &op->next->previous : &region->last) = op->previous;
    op->parent = NULL;
    op->previous = op->next = NULL;
}

/* ---- building --------------------------------------------------------------------------- */

void op_take_region(Op *op, uint32_t index, Region *region) {
    op->regions[index] = region;
    region->parent = op;
}

static Op *op_new(Module *module, OpCode code, uint32_t operand_count, uint32_t result_count,
                  uint32_t region_count) {
    assert(operand_count <= UINT16_MAX && result_count <= UINT16_MAX);
    Op *op = arena_new(module->arena, Op);
    op->code = code;
    op->operand_count = (uint16_t)operand_count;
    op->result_count = (uint16_t)result_count;
    op->region_count = (uint16_t)region_count;
    if (operand_count) op->operands = arena_array(module->arena, Use, operand_count);
    if (result_count) op->results = arena_array(module->arena, Value, result_count);
    if (region_count) op->regions = arena_array(module->arena, Region *, region_count);
    for (uint32_t i = 0; i < operand_count; i++) op->operands[i].user = op;
    for (uint32_t i = 0; i < result_count; i++) {
        op->results[i].op = op;
        op->results[i].index = i;
    }
    for (uint32_t i = 0; i < region_count; i++)
        op_take_region(op, i, arena_new(module->arena, Region));
    return op;
}

static Op *build(Builder *b, OpCode code, uint32_t operand_count, Value *const *operands,
                 uint32_t result_count, const Type *const *results) {
    const OpInfo *info = &op_infos[code];
    assert((int)operand_count >= info->min_operands);
    assert(info->max_operands == MANY || (int)operand_count <= info->max_operands);
    uint32_t count = results || info->results == MANY ? result_count : (uint32_t)info->results;
    if (!results && info->rule == RULE_SCAN) count = operand_count;
    assert(info->results == MANY || (int)count == info->results);
    Op *op = op_new(b->module, code, operand_count, count, (uint32_t)info->regions);
    op->at = b->at;
    for (uint32_t i = 0; i < operand_count; i++) use_link(&op->operands[i], operands[i]);
    for (uint32_t i = 0; i < count; i++)
        op->results[i].type = results ? results[i] : rule_infer(&b->module->types, op, i);
    op_link(op, b->region, b->before);
    return op;
}

Op *build_op(Builder *b, OpCode code, uint32_t operand_count, Value *const *operands,
             uint32_t result_count, const Type *const *results) {
    return build(b, code, operand_count, operands, result_count, results);
}

Op *build_nested(Builder *b, OpCode code, uint32_t operand_count, Value *const *operands,
                 uint32_t result_count, const Type *const *results) {
    assert(op_infos[code].regions > 0);
    return build(b, code, operand_count, operands, result_count, results);
}

Value *region_add_argument(Module *module, Region *region, const Type *type) {
    if (region->argument_count == region->argument_capacity)
        region->arguments = vec_grow_(module->arena, region->arguments, &region->argument_capacity,
                                      sizeof(Value *));
    Value *value = arena_new(module->arena, Value);
    *value = (Value){.type = type, .region = region, .index = region->argument_count};
    region->arguments[region->argument_count++] = value;
    return value;
}

static Op *build_constant(Builder *b, const Type *type) {
    return build_op(b, OP_constant, 0, NULL, 1, &type);
}

Value *build_constant_int(Builder *b, const Type *type, int64_t value) {
    if (dtype_is_float(type_dtype(type))) return build_constant_float(b, type, (double)value);
    if (!type_is_pointer(type)) value = dtype_wrap(type_dtype(type), value);
    Op *op = build_constant(b, type);
    op_set_int(b->module, op, ATTR_value, value);
    return op_result(op, 0);
}

Value *build_constant_float(Builder *b, const Type *type, double value) {
    assert(dtype_is_float(type_dtype(type)));
    DType dtype = type_dtype(type);
    value = eval_double_from_bits(dtype, eval_bits_from_double(dtype, value));
    Op *op = build_constant(b, type);
    op_set_float(b->module, op, ATTR_value, value);
    return op_result(op, 0);
}

Value *build_zero(Builder *b, const Type *type) {
    return build_constant_int(b, type, 0);
}

Value *build_unary(Builder *b, OpCode code, Value *x) {
    return op_result(build_op(b, code, 1, &x, 1, NULL), 0);
}

Value *build_binary(Builder *b, OpCode code, Value *x, Value *y) {
    return op_result(build_op(b, code, 2, (Value *[]){x, y}, 1, NULL), 0);
}

Value *build_ternary(Builder *b, OpCode code, Value *x, Value *y, Value *z) {
    return op_result(build_op(b, code, 3, (Value *[]){x, y, z}, 1, NULL), 0);
}

Value *build_to(Builder *b, OpCode code, Value *x, const Type *result) {
    return op_result(build_op(b, code, 1, &x, 1, &result), 0);
}

/* ---- attributes ------------------------------------------------------------------------- */

static void set_attribute(Module *m, Op *op, Attribute attribute) {
    uint32_t at = 0;
    while (at < op->attribute_count && op->attributes[at].key < attribute.key) at++;
    if (at == op->attribute_count || op->attributes[at].key != attribute.key) {
        size_t size = op->attribute_count * sizeof(Attribute);
        op->attributes = arena_grow(m->arena, op->attributes, size, size + sizeof(Attribute));
        memmove(&op->attributes[at + 1], &op->attributes[at],
                (op->attribute_count - at) * sizeof(Attribute));
        op->attribute_count++;
    }
    op->attributes[at] = attribute;
}

void op_set_int(Module *m, Op *op, AttributeKey key, int64_t value) {
    set_attribute(m, op, (Attribute){.key = key, .i = value});
}

void op_set_float(Module *m, Op *op, AttributeKey key, double value) {
    set_attribute(m, op, (Attribute){.key = key, .is_float = true, .f = value});
}

void op_set_ints(Module *m, Op *op, AttributeKey key, uint32_t count, const int64_t *values) {
    int64_t *copy = arena_array(m->arena, int64_t, count);
    if (count) memcpy(copy, values, count * sizeof *copy);
    set_attribute(m, op, (Attribute){.key = key, .count = count, .ints = copy});
}

void op_set_word(Module *m, Op *op, AttributeKey key, Word word) {
    set_attribute(m, op, (Attribute){.key = key, .word = word});
}

void op_set_string(Module *m, Op *op, AttributeKey key, const char *string, uint32_t length) {
    const char *copy = arena_strndup(m->arena, string, length);
    set_attribute(m, op, (Attribute){.key = key, .count = length, .string = copy});
}

void op_copy_attributes(Module *m, Op *to, const Op *from) {
    if (!from->attribute_count) return;
    to->attributes = arena_array(m->arena, Attribute, from->attribute_count);
    memcpy(to->attributes, from->attributes, from->attribute_count * sizeof(Attribute));
    to->attribute_count = from->attribute_count;
}

const Attribute *op_attribute(const Op *op, AttributeKey key) {
    for (uint32_t i = 0; i < op->attribute_count; i++)
        if (op->attributes[i].key == key) return &op->attributes[i];
    return NULL;
}

int64_t op_int(const Op *op, AttributeKey key, int64_t otherwise) {
    const Attribute *attribute = op_attribute(op, key);
    return attribute ? attribute->i : otherwise;
}

Word op_word(const Op *op, AttributeKey key, Word otherwise) {
    const Attribute *attribute = op_attribute(op, key);
    return attribute ? attribute->word : otherwise;
}

bool attribute_equal(const Attribute *a, const Attribute *b) {
    if (a->key != b->key || a->is_float != b->is_float || a->count != b->count) return false;
    switch (attribute_kinds[a->key]) {
    case AK_INT:
    case AK_NUMBER: return a->i == b->i; /* floats by their bits */
    case AK_WORD: return a->word == b->word;
    case AK_INTS: return !a->count || !memcmp(a->ints, b->ints, a->count * sizeof *a->ints);
    case AK_STRING: return !a->count || !memcmp(a->string, b->string, a->count);
    }
    return false;
}

bool value_constant_int(const Value *v, int64_t *value) {
    while (v->op && v->op->code == OP_splat) v = op_operand(v->op, 0);
    if (!value_is_constant(v) || !dtype_is_int(type_dtype(v->type))) return false;
    *value = op_int(v->op, ATTR_value, 0);
    return true;
}

/* ---- changing --------------------------------------------------------------------------- */

void op_set_operand(Op *op, uint32_t index, Value *value) {
    Use *use = &op->operands[index];
    if (use->value == value) return;
    use_unlink(use);
    use_link(use, value);
}

void value_replace(Value *old, Value *with) {
    if (old == with) return;
    while (old->uses) op_set_operand(old->uses->user, use_index(old->uses), with);
}

static void give_up_uses(Op *op, void *context) {
    (void)context;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (op->operands[i].link) use_unlink(&op->operands[i]);
}

void op_remove(Op *op) {
    for (uint32_t i = 0; i < op->result_count; i++) assert(value_unused(&op->results[i]));
    give_up_uses(op, NULL);
    for (uint32_t i = 0; i < op->region_count; i++) region_walk(op->regions[i], give_up_uses, NULL);
    op_unlink(op);
}

void op_move_before(Op *op, Op *before) {
    if (op == before) return;
    op_unlink(op);
    op_link(op, before->parent, before);
}

void op_move_to_end(Op *op, Region *region) {
    op_unlink(op);
    op_link(op, region, NULL);
}

void op_drop_operand(Op *op, uint32_t index) {
    use_unlink(&op->operands[index]);
    op->operand_count--;
    for (uint32_t i = index; i < op->operand_count; i++) {
        op->operands[i] = op->operands[i + 1];
        use_moved(&op->operands[i]);
    }
}

void op_drop_result(Op *op, uint32_t index) {
    assert(value_unused(&op->results[index]));
    op->result_count--;
    for (uint32_t i = index; i < op->result_count; i++) {
        op->results[i] = op->results[i + 1];
        op->results[i].index = i;
        value_moved(&op->results[i]);
    }
}

void region_drop_argument(Region *region, uint32_t index) {
    assert(value_unused(region->arguments[index]));
    region->argument_count--;
    for (uint32_t i = index; i < region->argument_count; i++) {
        region->arguments[i] = region->arguments[i + 1];
        region->arguments[i]->index = i;
    }
}

/* The map is a list of pairs that grows at its end; what was mapped last is found first, since
 * operands are mostly near their definitions. */
static Value *mapped(const ValueMap *map, Value *value) {
    for (uint32_t i = map->length; i >= 2; i -= 2)
        if (map->data[i - 2] == value) return map->data[i - 1];
    return value;
}

static void map_add(Builder *b, ValueMap *map, Value *old, Value *new) {
    new->name = old->name;
    vec_push(b->module->arena, map, old);
    vec_push(b->module->arena, map, new);
}

Op *op_clone(Builder *b, const Op *op, ValueMap *map) {
    Module *module = b->module;
    Op *copy = op_new(module, op->code, op->operand_count, op->result_count, op->region_count);
    copy->at = op->at;
    for (uint32_t i = 0; i < op->operand_count; i++)
        use_link(&copy->operands[i], mapped(map, op_operand(op, i)));
    op_copy_attributes(module, copy, op);
    op_link(copy, b->region, b->before);
    for (uint32_t i = 0; i < op->region_count; i++) {
        const Region *from = op->regions[i];
        Builder inside = {.module = module, .region = copy->regions[i], .at = b->at};
        for (uint32_t j = 0; j < from->argument_count; j++)
            map_add(b, map, from->arguments[j],
                    region_add_argument(module, inside.region, from->arguments[j]->type));
        for (const Op *o = from->first; o; o = o->next) op_clone(&inside, o, map);
    }
    for (uint32_t i = 0; i < op->result_count; i++) {
        copy->results[i].type = op->results[i].type;
        map_add(b, map, &op->results[i], &copy->results[i]);
    }
    return copy;
}

/* ---- walking ---------------------------------------------------------------------------- */

bool op_has_effect(const Op *op, uint32_t flags) {
    if (op_is(op, flags)) return true;
    for (uint32_t i = 0; i < op->region_count; i++)
        for (const Op *o = op->regions[i]->first; o; o = o->next)
            if (op_has_effect(o, flags)) return true;
    return false;
}

bool op_is_pure(const Op *op) {
    return op_is(op, OPF_PURE) || (op->code == OP_inline_asm && op_int(op, ATTR_pure, 0));
}

bool op_is_inside(const Op *op, const Region *region) {
    for (const Region *r = op->parent; r; r = r->parent ? r->parent->parent : NULL)
        if (r == region) return true;
    return false;
}

void region_walk(Region *region, void (*visit)(Op *op, void *context), void *context) {
    for (Op *op = region->first, *next; op; op = next) {
        next = op->next;
        visit(op, context);
        if (!op->parent) continue; /* removed */
        for (uint32_t i = 0; i < op->region_count; i++) region_walk(op->regions[i], visit, context);
    }
}

static void number_region(Region *region, uint32_t *next) {
    for (uint32_t i = 0; i < region->argument_count; i++) region->arguments[i]->number = (*next)++;
    for (Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->result_count; i++) op->results[i].number = (*next)++;
        for (uint32_t i = 0; i < op->region_count; i++) number_region(op->regions[i], next);
    }
}

uint32_t ir_number(Module *module) {
    uint32_t next = 0;
    number_region(module->kernel->body, &next);
    return next;
}
