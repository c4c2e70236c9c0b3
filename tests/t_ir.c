/* Tests of compiler/ir.c: building, changing and walking keep the uses in order. After each step
 * the verifier is asked. */
#include "tests/unit.h"

typedef struct Fixture {
    Context *context;
    Module *module;
    Builder b;
    const Type *i32, *f32, *row; /* row: 64xi32 */
} Fixture;

static Fixture fixture_new(void) {
    Fixture f = {.context = context_new()};
    f.module = module_new(&f.context->arena, &f.context->sources, &f.context->diagnostics);
    f.i32 = type_scalar(&f.module->types, DT_i32);
    f.f32 = type_scalar(&f.module->types, DT_f32);
    f.row = type_block(&f.module->types, f.i32, 1, (uint32_t[]){64});
    Parameter parameters[] = {{.name = "n", .type = f.i32, .divisibility = 16},
                              {.name = "x", .type = f.f32}};
    kernel_new(f.module, "test", 2, parameters);
    f.b = (Builder){.module = f.module, .region = f.module->kernel->body};
    return f;
}

static Value *parameter(Fixture *f, uint32_t i) {
    return f->module->kernel->body->arguments[i];
}

static void keep(Fixture *f, Value *value) { /* an op that cannot go */
    Op *op = build_op(&f->b, OP_print, 1, &value, 0, NULL);
    op_set_string(f->module, op, ATTR_text, "", 0);
    op_set_int(f->module, op, ATTR_hex, 0);
}

static void check(Fixture *f) {
    ck_assert_msg(ir_verify(f->module, LEVEL_BLOCK), "%s", context_messages(f->context));
}

static uint32_t count_uses(const Value *value) {
    uint32_t count = 0;
    for (const Use *use = value->uses; use; use = use->next) count++;
    return count;
}

START_TEST(built_ops_infer_their_types) {
    Fixture f = fixture_new();
    Types *types = &f.module->types;
    Value *n = parameter(&f, 0);
    Value *sum = build_binary(&f.b, OP_add, n, n);
    ck_assert_ptr_eq(sum->type, f.i32);
    ck_assert_uint_eq(count_uses(n), 2);
    Value *block = build_to(&f.b, OP_splat, sum, f.row);
    Value *mask = build_binary(&f.b, OP_lt, block, build_constant_int(&f.b, f.row, 7));
    ck_assert_ptr_eq(mask->type, type_with_dtype(types, f.row, DT_i1));
    Value *chosen = build_ternary(&f.b, OP_select, mask, block, build_zero(&f.b, f.row));
    ck_assert_ptr_eq(chosen->type, f.row);
    keep(&f, chosen);
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    check(&f);
    ck_assert_int_eq(f.module->kernel->parameters[1].divisibility, 1);
    context_free(f.context);
}
END_TEST

START_TEST(constants_are_brought_into_range) {
    Fixture f = fixture_new();
    Types *types = &f.module->types;
    int64_t value;
    Value *byte = build_constant_int(&f.b, type_scalar(types, DT_u8), -1);
    ck_assert(value_constant_int(byte, &value) && value == 255);
    Value *row = build_constant_int(&f.b, f.row, INT64_C(1) << 31);
    ck_assert(value_constant_int(row, &value) && value == INT32_MIN);
    Value *splat = build_to(&f.b, OP_splat, build_constant_int(&f.b, f.i32, 5), f.row);
    ck_assert(value_constant_int(splat, &value) && value == 5);
    Value *tenth = build_constant_float(&f.b, f.f32, 0.1);
    ck_assert(op_attribute(tenth->op, ATTR_value)->f == (double)0.1f);
    ck_assert(!value_constant_int(tenth, &value) && !value_constant_int(parameter(&f, 0), &value));
    Value *half = build_constant_float(&f.b, type_scalar(types, DT_bf16), 1.00390625);
    ck_assert(op_attribute(half->op, ATTR_value)->f == 1.0); /* half way, to even */
    context_free(f.context);
}
END_TEST

START_TEST(attributes_are_sorted_and_found) {
    Fixture f = fixture_new();
    Op *op =
        build_op(&f.b, OP_load, 1,
                 (Value *[]){build_zero(&f.b, type_pointer(&f.module->types, f.i32))}, 1, NULL);
    op_set_int(f.module, op, ATTR_is_volatile, 1);
    op_set_word(f.module, op, ATTR_cache, WORD_cg);
    op_set_word(f.module, op, ATTR_evict, WORD_evict_last);
    op_set_int(f.module, op, ATTR_is_volatile, 0);
    ck_assert_uint_eq(op->attribute_count, 3);
    for (uint32_t i = 1; i < op->attribute_count; i++)
        ck_assert_int_lt(op->attributes[i - 1].key, op->attributes[i].key);
    ck_assert_int_eq(op_int(op, ATTR_is_volatile, 7), 0);
    ck_assert_int_eq(op_word(op, ATTR_cache, WORD_none), WORD_cg);
    ck_assert_int_eq(op_int(op, ATTR_axis, 7), 7);
    ck_assert_ptr_null(op_attribute(op, ATTR_axis));
    Op *other = build_op(&f.b, OP_barrier, 0, NULL, 0, NULL);
    op_copy_attributes(f.module, other, op);
    op_set_word(f.module, other, ATTR_cache, WORD_ca);
    ck_assert_int_eq(op_word(op, ATTR_cache, WORD_none), WORD_cg);
    ck_assert(attribute_equal(&op->attributes[1], &other->attributes[1]));
    ck_assert(!attribute_equal(&op->attributes[0], &other->attributes[0]));
    context_free(f.context);
}
END_TEST

START_TEST(replacing_and_removing_keep_the_uses) {
    Fixture f = fixture_new();
    Value *n = parameter(&f, 0);
    Value *one = build_constant_int(&f.b, f.i32, 1);
    Value *a = build_binary(&f.b, OP_add, n, one), *b = build_binary(&f.b, OP_mul, a, a);
    keep(&f, b);
    keep(&f, a);
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    value_replace(a, n);
    ck_assert(value_unused(a));
    ck_assert_uint_eq(count_uses(n), 4);
    check(&f);
    op_remove(a->op);
    ck_assert(value_unused(one));
    ck_assert_uint_eq(count_uses(n), 3);
    check(&f);
    op_set_operand(b->op, 1, one);
    ck_assert_uint_eq(count_uses(n), 2);
    check(&f);
    op_move_before(one->op, f.module->kernel->body->first);
    op_move_before(one->op, one->op);
    check(&f);
    ck_assert_ptr_eq(f.module->kernel->body->first, one->op);
    context_free(f.context);
}
END_TEST

/* for (i = 0; i < n; i += 1) carrying three values, the middle one unused. */
static Op *build_loop(Fixture *f) {
    Value *zero = build_zero(&f->b, f->i32), *one = build_constant_int(&f->b, f->i32, 1);
    Value *operands[] = {zero, parameter(f, 0), one, zero, one, zero};
    const Type *types[] = {f->i32, f->i32, f->i32};
    Op *loop = build_nested(&f->b, OP_for, 6, operands, 3, types);
    Region *body = loop->regions[0];
    for (int i = 0; i < 4; i++) region_add_argument(f->module, body, f->i32);
    Builder inside = {.module = f->module, .region = body};
    Value *sum = build_binary(&inside, OP_add, body->arguments[1], body->arguments[3]);
    build_op(&inside, OP_yield, 3, (Value *[]){sum, one, sum}, 0, NULL);
    keep(f, op_result(loop, 0));
    keep(f, op_result(loop, 2));
    return loop;
}

START_TEST(carried_values_can_be_dropped) {
    Fixture f = fixture_new();
    Op *loop = build_loop(&f);
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    check(&f);
    op_drop_operand(loop->regions[0]->last, 1);
    op_drop_operand(loop, 4);
    op_drop_result(loop, 1);
    region_drop_argument(loop->regions[0], 2);
    check(&f);
    ck_assert_uint_eq(loop->result_count, 2);
    const Op *last = f.module->kernel->body->last->previous;
    ck_assert_ptr_eq(op_operand(last, 0), op_result(loop, 1));
    ck_assert_uint_eq(count_uses(op_result(loop, 1)), 1);
    context_free(f.context);
}
END_TEST

START_TEST(clones_are_whole_and_apart) {
    Fixture f = fixture_new();
    Op *loop = build_loop(&f);
    Value *n = parameter(&f, 0), *two = build_constant_int(&f.b, f.i32, 2);
    uint32_t before = count_uses(n);
    ValueMap map = {0};
    vec_push(&f.context->arena, &map, n);
    vec_push(&f.context->arena, &map, two);
    Op *copy = op_clone(&f.b, loop, &map);
    keep(&f, op_result(copy, 0));
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    check(&f);
    ck_assert_uint_eq(count_uses(n), before);
    ck_assert_ptr_eq(op_operand(copy, 1), two);
    ck_assert_ptr_eq(map.data[map.length - 1], op_result(copy, 2));
    ck_assert(op_is_inside(copy->regions[0]->first, copy->regions[0]));
    ck_assert(!op_is_inside(copy->regions[0]->first, loop->regions[0]));
    ck_assert(op_is_inside(copy->regions[0]->first, f.module->kernel->body));
    context_free(f.context);
}
END_TEST

START_TEST(removing_a_loop_gives_up_what_it_used) {
    Fixture f = fixture_new();
    Op *loop = build_loop(&f);
    Value *one = op_operand(loop, 2);
    while (f.module->kernel->body->last != loop) op_remove(f.module->kernel->body->last);
    ck_assert_uint_eq(count_uses(one), 3);
    op_remove(loop);
    ck_assert(value_unused(one) && value_unused(parameter(&f, 0)));
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    check(&f);
    context_free(f.context);
}
END_TEST

static void remove_prints(Op *op, void *count) {
    ++*(int *)count;
    if (op->code == OP_print) op_remove(op);
}

START_TEST(walking_sees_all_and_allows_removal) {
    Fixture f = fixture_new();
    Op *loop = build_loop(&f);
    build_op(&f.b, OP_return, 0, NULL, 0, NULL);
    int seen = 0;
    region_walk(f.module->kernel->body, remove_prints, &seen);
    ck_assert_int_eq(seen, 8);
    ck_assert(value_unused(op_result(loop, 0)));
    ck_assert_uint_eq(ir_number(f.module), 2 + 2 + 3 + 4 + 1);
    ck_assert_uint_eq(parameter(&f, 1)->number, 1);
    ck_assert(!op_has_effect(loop, OPF_EFFECT | OPF_WRITES));
    ck_assert(op_has_effect(loop, OPF_ENDS));
    check(&f);
    context_free(f.context);
}
END_TEST

START_TEST(the_table_is_consistent) {
    for (OpCode code = 0; code < OP_COUNT; code++) {
        const OpInfo *info = &op_infos[code];
        ck_assert(info->max_operands == MANY || info->min_operands <= info->max_operands);
        ck_assert_uint_eq(info->required & info->optional, 0);
        if (info->flags & OPF_COMMUTES) ck_assert_int_ge(info->min_operands, 2);
        if (info->flags & OPF_ELEMENT) ck_assert_int_eq(info->results, 1);
        if (info->flags & OPF_PURE)
            ck_assert(!(info->flags & (OPF_READS | OPF_WRITES | OPF_EFFECT | OPF_ENDS)));
        for (OpCode other = 0; other < code; other++)
            ck_assert_str_ne(info->name, op_infos[other].name);
    }
    for (Word word = WORD_none + 1; word < WORD_COUNT; word++)
        ck_assert_int_eq(word_from_name(word_names[word], strlen(word_names[word])), word);
    ck_assert_int_eq(word_from_name("nonsense", 8), WORD_none);
}
END_TEST

UNIT_MAIN("ir", built_ops_infer_their_types, constants_are_brought_into_range,
          attributes_are_sorted_and_found, replacing_and_removing_keep_the_uses,
          carried_values_can_be_dropped, clones_are_whole_and_apart,
          removing_a_loop_gives_up_what_it_used, walking_sees_all_and_allows_removal,
          the_table_is_consistent)
