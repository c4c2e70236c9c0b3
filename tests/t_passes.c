/* Tests of compiler/passes: what each pass promises beyond its golden cases, the pipeline's
 * options, and above all that no pass changes what a kernel does. For that, random kernels run on
 * the interpreter before and after. */
#include "compiler/interp.h"
#include "compiler/passes/pass.h"
#include "tests/unit.h"

#include <math.h>

/* ---- single passes ---------------------------------------------------------------------- */

#define HEAD "kernel @k(p: *i32 {divisibility = 16}, n: i32, x: f32, c: i1) {num_warps = 4} {\n"

static Module *run(Context *c, const char *ops, bool (*pass)(Module *), bool changes) {
    Module *m = context_must_read(c, arena_printf(&c->arena, HEAD "%s\nreturn\n}\n", ops));
    ck_assert_int_eq(pass(m), changes);
    ck_assert_msg(ir_verify(m, LEVEL_BLOCK), "%s", context_messages(c));
    return m;
}

static uint32_t count(const Region *region, OpCode code) {
    uint32_t found = 0;
    for (const Op *op = region->first; op; op = op->next) {
        found += op->code == code;
        for (uint32_t i = 0; i < op->region_count; i++) found += count(op->regions[i], code);
    }
    return found;
}

START_TEST(a_pass_with_nothing_to_do_says_so) {
    static const char *const ops =
        "%0: i32 = add %n, %n\n%1: i32 = constant {value = 1}\n"
        "%2: i32 = for %1, %n, %1, %0 (%3: i32, %4: i32) {\n"
        "%5: i32 = load %p\n%6: i32 = add %5, %4\nyield %6\n}\nstore %p, %2";
    Context *c = context_new();
    run(c, ops, pass_canon, false);
    run(c, ops, pass_cse, false);
    run(c, ops, pass_licm, false);
    run(c, ops, pass_dce, false);
    context_free(c);
}
END_TEST

START_TEST(facts_for_the_axis_analysis_stay) {
    Context *c = context_new();
    Module *m = run(c,
                    "%0: i32 = constant {value = 16}\n%1: i32 = mul %n, %0\n"
                    "%2: i32 = div %1, %0\n%3: i32 = rem %n, %0\n"
                    "%4: i32 = hint %2 {divisibility = [8]}\n"
                    "%5: *i32 = offset %p, %4\nstore %5, %3",
                    pass_canon, false);
    ck_assert_uint_eq(count(m->kernel->body, OP_mul), 1);
    ck_assert_uint_eq(count(m->kernel->body, OP_div), 1);
    ck_assert_uint_eq(count(m->kernel->body, OP_hint), 1);
    ck_assert_uint_eq(count(m->kernel->body, OP_shl) + count(m->kernel->body, OP_shr), 0);
    ck_assert_int_eq(m->kernel->parameters[0].divisibility, 16);
    context_free(c);
}
END_TEST

START_TEST(values_keep_their_names) {
    Context *c = context_new();
    Module *m = context_must_read(c, HEAD "%0: i32 = add %n, %n\n%1: i32 = constant {value = 0}\n"
                                          "%2: i32 = add %0, %1\nstore %p, %2\nreturn\n}\n");
    m->kernel->body->last->previous->operands[1].value->name = "total";
    pass_canon(m);
    ck_assert_str_eq(op_operand(m->kernel->body->last->previous, 1)->name, "total");
    context_free(c);
}
END_TEST

/* A loop of a loop of a loop ... whose innermost value depends on nothing. */
START_TEST(deep_nests_are_left_in_one_go) {
    Context *c = context_new();
    Text text = {.arena = &c->arena};
    text_puts(&text, "%0: i32 = constant {value = 1}\n");
    for (int i = 1; i <= 60; i++) text_printf(&text, "for %%0, %%n, %%0 (%%%d: i32) {\n", i);
    text_puts(&text, "%100: i32 = mul %n, %n\nstore %p, %100\n");
    for (int i = 1; i <= 60; i++) text_puts(&text, "yield\n}\n");
    Module *m = run(c, text.data, pass_licm, true);
    ck_assert_int_eq(m->kernel->body->first->next->code, OP_mul);
    ck_assert(!pass_licm(m));
    context_free(c);
}
END_TEST

START_TEST(long_chains_fold_in_one_go) {
    Context *c = context_new();
    Text text = {.arena = &c->arena};
    text_puts(&text, "%0: i32 = constant {value = 1}\n%1: i32 = add %n, %0\n");
    for (int i = 2; i <= 20000; i++) text_printf(&text, "%%%d: i32 = add %%%d, %%0\n", i, i - 1);
    text_puts(&text, "store %p, %20000");
    Module *m = run(c, text.data, pass_canon, true);
    int64_t value;
    ck_assert(value_constant_int(op_operand(m->kernel->body->last->previous->previous, 1), &value));
    ck_assert_int_eq(value, 20000);
    ck_assert_uint_eq(count(m->kernel->body, OP_add), 1);
    context_free(c);
}
END_TEST

/* ---- the pipeline ----------------------------------------------------------------------- */

static Module *sample(Context *c) {
    return context_must_read(c, HEAD "%0: i32 = constant {value = 0}\n%1: i32 = add %n, %0\n"
                                     "%2: i32 = mul %n, %n\n%3: i32 = mul %1, %1\n"
                                     "%4: i32 = sub %2, %3\n%5: i32 = add %4, %n\n"
                                     "store %p, %5\nreturn\n}\n");
}

START_TEST(the_pipeline_runs_all) {
    Context *c = context_new();
    Module *m = sample(c);
    Text times = {.arena = &c->arena};
    ck_assert(pipeline_run(m, pipeline_block, &(PipelineOptions){.verify = true, .times = &times}));
    ck_assert_uint_eq(count(m->kernel->body, OP_mul), 0);
    ck_assert_ptr_eq(op_operand(m->kernel->body->first, 1), m->kernel->body->arguments[1]);
    uint32_t lines = 0;
    for (const char *at = times.data; *at; at++) lines += *at == '\n';
    ck_assert_uint_eq(lines, 6); /* five passes and the total */
    ck_assert_ptr_nonnull(strstr(times.data, "total"));
    context_free(c);
}
END_TEST

START_TEST(the_pipeline_stops_skips_and_dumps) {
    Context *c = context_new();
    Module *m = sample(c);
    Text dump = {.arena = &c->arena};
    PipelineOptions options = {.dump_after = "all", .dump = &dump, .stop_after = "cse"};
    ck_assert(pipeline_run(m, pipeline_block, &options));
    ck_assert_uint_eq(count(m->kernel->body, OP_sub), 1); /* x - x falls only to the second canon */
    ck_assert_ptr_nonnull(strstr(dump.data, "// after canon\nkernel @k("));
    ck_assert_ptr_nonnull(strstr(dump.data, "// after cse\nkernel @k("));
    ck_assert_ptr_null(strstr(dump.data, "// after dce"));

    m = sample(c);
    dump = (Text){.arena = &c->arena};
    options = (PipelineOptions){.skip = "cse,licm", .dump_after = "cse", .dump = &dump};
    ck_assert(pipeline_run(m, pipeline_block, &options));
    ck_assert_uint_eq(count(m->kernel->body, OP_mul), 2);
    ck_assert_ptr_null(dump.data);
    context_free(c);
}
END_TEST

START_TEST(unknown_passes_are_errors) {
    static const PipelineOptions wrong[] = {{.stop_after = "cze"},
                                            {.dump_after = "cze"},
                                            {.skip = "canon,cze"},
                                            {.skip = "cze,canon"},
                                            {.skip = "canon,cz,cse"}};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        Context *c = context_new();
        Module *m = sample(c);
        ck_assert(!pipeline_run(m, pipeline_block, &wrong[i]));
        const char *messages = context_messages(c);
        ck_assert_msg(strstr(messages, "there are: canon, licm, cse, dce\n"), "%s", messages);
        context_free(c);
    }
}
END_TEST

static bool break_something(Module *m) {
    m->kernel->num_warps = 5;
    return true;
}

START_TEST(a_pass_that_breaks_a_rule_is_named) {
    static const Pass passes[] = {
        {"canon", pass_canon, LEVEL_BLOCK, ""}, {"vandal", break_something, LEVEL_BLOCK, ""}, {0}};
    Context *c = context_new();
    ck_assert(!pipeline_run(sample(c), passes, &(PipelineOptions){.verify = true}));
    ck_assert_ptr_nonnull(strstr(context_messages(c), "found after the pass `vandal`"));
    context_free(c);
}
END_TEST

/* ---- random kernels ----------------------------------------------------------------------- */

/* What a kernel may see and do: 64 numbers of input, and output, each as i32 and as f32: 64 cells
 * to store to and load from, and then a place of 64 for each value that is shown in the end. */
enum { CELLS = 64, SHOWN = 40, OUTPUT = CELLS * (1 + SHOWN) };

typedef struct Maker {
    Module *module;
    Builder b;
    uint64_t *random;
    VEC(Value *) visible;
    uint32_t depth;
} Maker;

static uint32_t pick(Maker *k, uint32_t count_) {
    return random_next(k->random) % count_;
}

static const Type *scalar(Maker *k, DType dtype) {
    return type_scalar(&k->module->types, dtype);
}

static const Type *any_type(Maker *k) {
    static const DType dtypes[] = {DT_i1,  DT_i8,  DT_u8,  DT_i32, DT_i32,
                                   DT_u32, DT_i64, DT_f16, DT_f32, DT_f32};
    static const uint32_t shapes[][3] = {{0},       {0},        {0},        {1, 16}, {1, 16},
                                         {2, 4, 4}, {2, 16, 1}, {2, 1, 16}, {1, 1},  {2, 8, 2}};
    const Type *element = scalar(k, dtypes[pick(k, ARRAY_LENGTH(dtypes))]);
    const uint32_t *shape = shapes[pick(k, ARRAY_LENGTH(shapes))];
    return type_block(&k->module->types, element, shape[0], shape + 1);
}

static Value *add(Maker *k, Value *value) {
    vec_push(k->module->arena, &k->visible, value);
    return value;
}

static Value *constant(Maker *k, const Type *type) {
    static const int64_t ints[] = {0, 0,  1,   1,   -1,   2,         3,         4,
                                   7, 16, 127, 255, -128, INT32_MAX, INT32_MIN, INT64_MIN};
    static const double floats[] = {0.0, -0.0,     0.0,       -0.0, 1.0,     -1.0, 0.5,
                                    3.0, INFINITY, -INFINITY, NAN,  65504.0, 1e-7};
    if (dtype_is_float(type_dtype(type)))
        return build_constant_float(&k->b, type, floats[pick(k, ARRAY_LENGTH(floats))]);
    return build_constant_int(&k->b, type, ints[pick(k, ARRAY_LENGTH(ints))]);
}

/* A visible value that `fits`; NULL when there is none. */
static Value *find(Maker *k, const Type *type, bool (*fits)(const Type *a, const Type *b)) {
    Value *found = NULL;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < k->visible.length; i++)
        if (fits(k->visible.data[i]->type, type) && pick(k, ++seen) == 0)
            found = k->visible.data[i];
    return found;
}

static bool is_same(const Type *a, const Type *b) {
    return a == b;
}

static bool is_number_of_shape(const Type *a, const Type *b) {
    return type_same_shape(a, b) && !type_is_pointer(a);
}

/* A visible value of the type, or a new one. */
static Value *get(Maker *k, const Type *type) {
    Value *found = find(k, type, is_same);
    if (found && pick(k, 8)) return found;
    found = find(k, type, is_number_of_shape);
    if (found && pick(k, 4)) return add(k, build_to(&k->b, OP_cast, found, type));
    if (type_is_block(type) && pick(k, 2))
        return add(k, build_to(&k->b, OP_splat, get(k, type->element), type));
    return add(k, constant(k, type));
}

static Value *of(Maker *k, DType dtype, const Type *shape) {
    return get(k, type_with_dtype(&k->module->types, shape, dtype));
}

static void arithmetic(Maker *k) {
    static const OpCode any[] = {OP_add, OP_sub, OP_mul, OP_div, OP_rem, OP_min, OP_max};
    static const OpCode bits[] = {OP_and, OP_or, OP_xor, OP_shl, OP_shr, OP_mulhi};
    const Type *type = any_type(k);
    bool ints = dtype_is_int(type_dtype(type));
    OpCode code =
        ints && pick(k, 2) ? bits[pick(k, ARRAY_LENGTH(bits))] : any[pick(k, ARRAY_LENGTH(any))];
    Value *x = get(k, type), *y = pick(k, 6) ? get(k, type) : x;
    if (pick(k, 12) == 0)
        add(k, build_ternary(&k->b, OP_clamp, x, y, get(k, type)));
    else if (pick(k, 12) == 0)
        add(k, build_unary(&k->b, OP_abs, x));
    else
        add(k, build_binary(&k->b, code, x, y));
}

static void comparison(Maker *k) {
    const Type *type = any_type(k);
    Value *x = get(k, type), *y = pick(k, 5) ? get(k, type) : x;
    if (pick(k, 3) == 0)
        add(k, build_ternary(&k->b, OP_select, of(k, DT_i1, type), x, y));
    else
        add(k, build_binary(&k->b, OP_eq + pick(k, 6), x, y));
}

static void conversion(Maker *k) {
    Value *x = get(k, any_type(k));
    DType dtype = type_dtype(any_type(k));
    add(k, build_to(&k->b, OP_cast, x, type_with_dtype(&k->module->types, x->type, dtype)));
}

static void shape_op(Maker *k) {
    Types *types = &k->module->types;
    Value *x = get(k, any_type(k));
    const Type *type = x->type, *element = type_element(type);
    if (!type_is_block(type)) {
        add(k, build_to(&k->b, OP_splat, x, type_block(types, element, 1, (uint32_t[]){16})));
        return;
    }
    uint32_t shape[MAX_RANK];
    memcpy(shape, type->shape, sizeof shape);
    switch (pick(k, 7)) {
    case 0:
        for (uint32_t i = 0; i < type->rank; i++)
            if (shape[i] == 1) shape[i] = type->count < 64 ? 4 : 1;
        add(k, build_to(&k->b, OP_broadcast, x, type_block(types, element, type->rank, shape)));
        return;
    case 1: {
        uint32_t axis = pick(k, type->rank + 1), at = 0;
        if (type->rank > 3) return;
        for (uint32_t i = 0; i <= type->rank; i++) shape[i] = i == axis ? 1 : type->shape[at++];
        const Type *to = type_block(types, element, type->rank + 1, shape);
        op_set_int(k->module, add(k, build_to(&k->b, OP_expand_dims, x, to))->op, ATTR_axis, axis);
        return;
    }
    case 2:
        add(k, build_to(&k->b, OP_reshape, x, type_block(types, element, 1, &type->count)));
        return;
    case 3: {
        int64_t order[MAX_RANK];
        for (uint32_t i = 0; i < type->rank; i++) { /* put i in at a random place */
            uint32_t at = pick(k, i + 1);
            order[i] = order[at];
            order[at] = i;
        }
        for (uint32_t i = 0; i < type->rank; i++) shape[i] = type->shape[order[i]];
        const Type *to = type_block(types, element, type->rank, shape);
        Op *op = add(k, build_to(&k->b, OP_permute, x, to))->op;
        op_set_ints(k->module, op, ATTR_order, type->rank, order);
        return;
    }
    case 4:
        if (type->count == 1) add(k, build_to(&k->b, OP_extract, x, element));
        return;
    case 5:
        if (type->rank > 3 || type->count > 64) return;
        shape[type->rank] = 2;
        type = type_block(types, element, type->rank + 1, shape);
        add(k,
            op_result(build_op(&k->b, OP_join, 2, (Value *[]){x, get(k, x->type)}, 1, &type), 0));
        return;
    default: {
        if (shape[type->rank - 1] != 2) return;
        const Type *half = type_block(types, element, type->rank - 1, shape);
        Op *op = build_op(&k->b, OP_split, 1, &x, 2, (const Type *[]){half, half});
        add(k, op_result(op, 0));
        add(k, op_result(op, 1));
    }
    }
}

static void reduction(Maker *k) {
    Value *x = get(k, any_type(k));
    if (!type_is_block(x->type)) return;
    uint32_t axis = pick(k, x->type->rank), rank = 0, shape[MAX_RANK];
    for (uint32_t i = 0; i < x->type->rank; i++)
        if (i != axis) shape[rank++] = x->type->shape[i];
    const Type *element = x->type->element;
    const Type *type = type_block(&k->module->types, element, rank, shape);
    bool scan = pick(k, 3) == 0;
    Op *op = build_nested(&k->b, scan ? OP_scan : OP_reduce, 1, &x, 1, scan ? &x->type : &type);
    op_set_int(k->module, op, ATTR_axis, axis);
    Value *left = region_add_argument(k->module, op->regions[0], element);
    Value *right = region_add_argument(k->module, op->regions[0], element);
    Builder inside = {.module = k->module, .region = op->regions[0]};
    Value *both = build_binary(&inside, pick(k, 2) ? OP_add : OP_max, left, right);
    if (pick(k, 4) == 0) both = build_binary(&inside, OP_add, both, build_zero(&inside, element));
    build_op(&inside, OP_yield, 1, &both, 0, NULL);
    add(k, op_result(op, 0));
}

/* Pointers to cells of buffer parameter `which`, in the shape of `like`; often ones used before. */
static Value *cells(Maker *k, uint32_t which, const Type *like) {
    Types *types = &k->module->types;
    Value *base = k->module->kernel->body->arguments[which];
    const Type *index_type = type_with_dtype(types, like, DT_i32);
    const Type *type = type_with_element(types, like, base->type);
    if (pick(k, 2)) {
        for (uint32_t i = k->visible.length; i-- > 0;) {
            Value *old = k->visible.data[i];
            if (old->type == type && old->index == 0 && old->name == base->name) return old;
        }
    }
    Value *index = build_binary(&k->b, OP_and, of(k, DT_i32, like),
                                build_constant_int(&k->b, index_type, CELLS - 1));
    if (type_is_block(like)) base = build_to(&k->b, OP_splat, base, type);
    const char *name = k->module->kernel->body->arguments[which]->name;
    Value *pointer = add(k, build_binary(&k->b, OP_offset, base, index));
    pointer->name = name;
    return pointer;
}

/* An op on two operands as before, or with them exchanged. */
static void again(Maker *k) {
    const Op *op = k->visible.data[pick(k, k->visible.length)]->op;
    if (!op || !op_is(op, OPF_ELEMENT) || op->operand_count != 2 || op->code == OP_offset) return;
    uint32_t first = pick(k, 2);
    add(k, build_binary(&k->b, op->code, op_operand(op, first), op_operand(op, 1 - first)));
}

static void memory(Maker *k) {
    DType dtype = pick(k, 2) ? DT_i32 : DT_f32;
    const Type *type = type_with_dtype(&k->module->types, any_type(k), dtype);
    if (pick(k, 2)) {
        Value *operands[3] = {cells(k, (dtype == DT_f32) + 2 * pick(k, 2), type)};
        uint32_t n = pick(k, 3) ? 3 : 1;
        if (n == 3) operands[1] = of(k, DT_i1, type);
        if (n == 3) operands[2] = get(k, type);
        add(k, op_result(build_op(&k->b, OP_load, n, operands, 1, NULL), 0));
    } else {
        Value *operands[3] = {cells(k, 2 + (dtype == DT_f32), type)};
        operands[1] = get(k, type);
        uint32_t n = pick(k, 2) ? 3 : 2;
        if (n == 3) operands[2] = of(k, DT_i1, type);
        build_op(&k->b, OP_store, n, operands, 0, NULL);
    }
}

static void statements(Maker *k, uint32_t many);

/* Fills a region and ends it: `first` is given, then values of these types (now and then the
 * region's own arguments from `skip` on, unchanged), then `last`. */
static void fill(Maker *k, Region *region, OpCode end, Value *first, uint32_t many,
                 const Type *const *types, uint32_t skip, Value *last) {
    Builder outer = k->b;
    uint32_t scope = k->visible.length, n = 0;
    Value *given[9];
    k->b = (Builder){.module = k->module, .region = region};
    for (uint32_t i = 0; i < region->argument_count; i++) add(k, region->arguments[i]);
    statements(k, pick(k, 5));
    if (first) given[n++] = first;
    for (uint32_t i = 0; i < many; i++) {
        Value *own = i + skip < region->argument_count ? region->arguments[i + skip] : NULL;
        given[n++] = own && own->type == types[i] && pick(k, 3) == 0 ? own : get(k, types[i]);
    }
    if (last) given[n++] = last;
    build_op(&k->b, end, n, given, 0, NULL);
    k->visible.length = scope;
    k->b = outer;
}

static Op *make_if(Maker *k, uint32_t many, const Type *const *types) {
    Value *condition = of(k, DT_i1, scalar(k, DT_i32));
    Op *op = build_nested(&k->b, OP_if, 1, &condition, many, types);
    for (uint32_t r = 0; r < 2; r++) fill(k, op->regions[r], OP_yield, NULL, many, types, 0, NULL);
    return op;
}

/* A few times round at most. */
static Op *make_for(Maker *k, uint32_t many, const Type *const *types) {
    const Type *i32 = scalar(k, DT_i32);
    Value *operands[8] = {build_constant_int(&k->b, i32, pick(k, 3))};
    Value *three = build_constant_int(&k->b, i32, 3);
    operands[1] = pick(k, 2) ? build_constant_int(&k->b, i32, pick(k, 4))
                             : build_binary(&k->b, OP_and, get(k, i32), three);
    operands[2] = build_constant_int(&k->b, i32, 1 + pick(k, 2));
    for (uint32_t i = 0; i < many; i++) operands[3 + i] = get(k, types[i]);
    Op *op = build_nested(&k->b, OP_for, 3 + many, operands, many, types);
    region_add_argument(k->module, op->regions[0], i32);
    for (uint32_t i = 0; i < many; i++) region_add_argument(k->module, op->regions[0], types[i]);
    fill(k, op->regions[0], OP_yield, NULL, many, types, 1, NULL);
    return op;
}

/* Counts down to 0; the counter is the last value carried. */
static Op *make_while(Maker *k, uint32_t many, const Type **types) {
    const Type *i32 = types[many] = scalar(k, DT_i32);
    Value *operands[8];
    for (uint32_t i = 0; i < many; i++) operands[i] = get(k, types[i]);
    operands[many] = build_constant_int(&k->b, i32, pick(k, 4));
    Op *op = build_nested(&k->b, OP_while, many + 1, operands, many + 1, types);
    Builder inside[2];
    Value *counters[2];
    for (uint32_t r = 0; r < 2; r++) {
        inside[r] = (Builder){.module = k->module, .region = op->regions[r]};
        for (uint32_t i = 0; i <= many; i++)
            counters[r] = region_add_argument(k->module, op->regions[r], types[i]);
    }
    Value *more = build_binary(&inside[0], OP_gt, counters[0], build_zero(&inside[0], i32));
    fill(k, op->regions[0], OP_condition, more, many, types, 0, counters[0]);
    Value *one = build_constant_int(&inside[1], i32, 1);
    Value *less = build_binary(&inside[1], OP_sub, counters[1], one);
    fill(k, op->regions[1], OP_yield, NULL, many, types, 0, less);
    return op;
}

static void control(Maker *k) {
    const Type *types[5];
    uint32_t many = pick(k, 4), kind = pick(k, 3);
    if (k->depth == 3) return;
    k->depth++;
    for (uint32_t i = 0; i < many; i++) types[i] = any_type(k);
    Op *op = kind == 0   ? make_if(k, many, types)
             : kind == 1 ? make_for(k, many, types)
                         : make_while(k, many, types);
    k->depth--;
    for (uint32_t i = 0; i < op->result_count; i++) add(k, op_result(op, i));
}

static void statements(Maker *k, uint32_t many) {
    static void (*const makers[])(Maker * k) = {again,      arithmetic, arithmetic, arithmetic,
                                                comparison, conversion, shape_op,   shape_op,
                                                reduction,  memory,     memory,     control};
    while (many-- > 0) makers[pick(k, ARRAY_LENGTH(makers))](k);
}

/* A row of 16 of the input, from a random place; now and then as a square. */
static void load_input(Maker *k, uint32_t which) {
    Types *types = &k->module->types;
    Value *base = k->module->kernel->body->arguments[which];
    const Type *row = type_block(types, scalar(k, DT_i32), 1, (uint32_t[]){16});
    Op *index = build_op(&k->b, OP_arange, 0, NULL, 1, &row);
    uint32_t start = pick(k, CELLS - 15);
    op_set_int(k->module, index, ATTR_start, start);
    op_set_int(k->module, index, ATTR_end, start + 16);
    Value *pointers = build_to(&k->b, OP_splat, base, type_with_element(types, row, base->type));
    pointers = build_binary(&k->b, OP_offset, pointers, op_result(index, 0));
    Value *value = build_unary(&k->b, OP_load, pointers);
    if (pick(k, 2)) {
        const Type *element = type_element(value->type);
        const Type *square = type_block(types, element, 2, (uint32_t[]){4, 4});
        value = build_to(&k->b, OP_reshape, value, square);
    }
    add(k, value);
}

/* Stores the value to a place of its own. */
static void show(Maker *k, Value *value, uint32_t place) {
    Types *types = &k->module->types;
    uint32_t size = value->type->count;
    if (type_is_pointer(value->type) || size > CELLS) return;
    bool is_float = dtype_is_float(type_dtype(value->type));
    Value *base = k->module->kernel->body->arguments[2 + is_float];
    const Type *element = type_element(base->type)->element;
    value = build_to(&k->b, OP_cast, value, type_with_element(types, value->type, element));
    const Type *row = type_block(types, element, 1, &size), *i32 = scalar(k, DT_i32);
    value = build_to(&k->b, type_is_block(value->type) ? OP_reshape : OP_splat, value, row);
    row = type_with_element(types, row, i32);
    Op *index = build_op(&k->b, OP_arange, 0, NULL, 1, &row);
    op_set_int(k->module, index, ATTR_start, place * CELLS);
    op_set_int(k->module, index, ATTR_end, place * CELLS + size);
    Value *pointers = build_to(&k->b, OP_splat, base, type_with_element(types, row, base->type));
    Value *operands[] = {build_binary(&k->b, OP_offset, pointers, op_result(index, 0)), value};
    build_op(&k->b, OP_store, 2, operands, 0, NULL);
}

static Module *random_kernel(Context *c, uint64_t *state) {
    Module *m = module_new(&c->arena, &c->sources, &c->diagnostics);
    const Type *i32 = type_scalar(&m->types, DT_i32), *f32 = type_scalar(&m->types, DT_f32);
    const Type *ints = type_pointer(&m->types, i32), *floats = type_pointer(&m->types, f32);
    Parameter parameters[] = {{.name = "in", .type = ints},  {.name = "inf", .type = floats},
                              {.name = "out", .type = ints}, {.name = "outf", .type = floats},
                              {.name = "n", .type = i32},    {.name = "x", .type = f32}};
    Kernel *kernel = kernel_new(m, "random", ARRAY_LENGTH(parameters), parameters);
    Maker k = {.module = m, .random = state};
    k.b = (Builder){.module = m, .region = kernel->body};
    add(&k, kernel->body->arguments[4]);
    add(&k, kernel->body->arguments[5]);
    for (uint32_t i = 0; i < 4; i++) load_input(&k, i % 2);
    statements(&k, 5 + pick(&k, 40));
    for (uint32_t i = 0, n = k.visible.length; i < SHOWN && i < n; i++)
        if (pick(&k, 8)) show(&k, k.visible.data[n - 1 - i], i + 1);
    build_op(&k.b, OP_return, 0, NULL, 0, NULL);
    return m;
}

typedef struct Memory {
    uint32_t in[CELLS], out[OUTPUT];
    float inf[CELLS], outf[OUTPUT];
} Memory;

static void execute(Context *c, Module *m, Memory *memory, const char *text) {
    InterpBuffer buffers[] = {{(uint8_t *)memory->in, sizeof memory->in, NULL},
                              {(uint8_t *)memory->inf, sizeof memory->inf, NULL},
                              {(uint8_t *)memory->out, sizeof memory->out, NULL},
                              {(uint8_t *)memory->outf, sizeof memory->outf, NULL}};
    uint64_t arguments[] = {INTERP_BUFFER_ADDRESS(0),
                            INTERP_BUFFER_ADDRESS(1),
                            INTERP_BUFFER_ADDRESS(2),
                            INTERP_BUFFER_ADDRESS(3),
                            5, /* n */
                            0x40200000 /* x = 2.5 */};
    InterpLaunch launch = {.grid = {1, 1, 1},
                           .arguments = arguments,
                           .buffers = buffers,
                           .buffer_count = ARRAY_LENGTH(buffers),
                           .threads = 1};
    InterpFault fault;
    bool good = interp_launch(interp_plan(&c->arena, m), &launch, &fault);
    if (!good) printf("%s", text);
    ck_assert_msg(good, "%s", fault.message);
}

static Memory memory_new(void) {
    Memory memory = {0};
    for (uint32_t i = 0; i < CELLS; i++) {
        memory.in[i] = i * 2654435761u >> (i % 29);
        memory.inf[i] = (float)(int)(i * 37 % 64 - 32) * 0.375f;
    }
    for (uint32_t i = 0; i < OUTPUT; i++) {
        memory.out[i] = i;
        memory.outf[i] = (float)i;
    }
    return memory;
}

static bool same_memory(const Memory *a, const Memory *b) {
    for (uint32_t i = 0; i < OUTPUT; i++) {
        bool nans = isnan(a->outf[i]) && isnan(b->outf[i]);
        if (a->out[i] != b->out[i]) return false;
        if (!nans && memcmp(&a->outf[i], &b->outf[i], sizeof(float)) != 0) return false;
    }
    return true;
}

/* One kernel: before, and after some passes in some order, or the whole pipeline. */
static void compare_one(Context *c, uint64_t *state, uint64_t kernel_seed, uint32_t *shrunk) {
    static bool (*const passes[])(Module *) = {pass_canon, pass_cse, pass_licm, pass_dce};
    Module *m = random_kernel(c, state);
    ck_assert_msg(ir_verify(m, LEVEL_BLOCK), "%s", context_messages(c));
    const char *text = context_print(c, m);
    Memory before = memory_new(), after = memory_new();
    execute(c, m, &before, text);
    m = context_must_read(c, text);
    if (random_next(state) % 2) {
        PipelineOptions options = {.verify = true};
        ck_assert_msg(pipeline_run(m, pipeline_block, &options), "%s\n%s", context_messages(c),
                      text);
    } else {
        for (uint32_t i = 0; i < 3; i++) {
            passes[random_next(state) % 4](m);
            ck_assert_msg(ir_verify(m, LEVEL_BLOCK), "%s\n%s", context_messages(c), text);
        }
    }
    const char *now = context_print(c, m);
    *shrunk += strlen(now) < strlen(text);
    execute(c, m, &after, now);
    bool same = same_memory(&before, &after);
    if (!same) printf("before:\n%s\nafter:\n%s", text, now);
    ck_assert_msg(same, "the passes changed what a kernel does; TKC_SEED=%llu makes it the first",
                  (unsigned long long)kernel_seed);
}

START_TEST(passes_do_not_change_what_kernels_do) {
    uint64_t state = random_seed(1234567);
    const char *given = getenv("TKC_KERNELS");
    uint32_t kernels = given ? (uint32_t)strtoul(given, NULL, 0) : 2000, shrunk = 0;
    for (uint32_t i = 0; i < kernels; i++) {
        Context *c = context_new();
        uint64_t kernel_seed = state;
        compare_one(c, &state, kernel_seed, &shrunk);
        context_free(c);
    }
    ck_assert_uint_gt(shrunk, kernels / 2); /* or the passes did nothing */
}
END_TEST

START_TEST(the_pipeline_settles) {
    uint64_t state = random_seed(42);
    for (uint32_t i = 0; i < 300; i++) {
        Context *c = context_new();
        Module *m = random_kernel(c, &state);
        for (uint32_t round = 0; round < 4; round++)
            ck_assert(pipeline_run(m, pipeline_block, &(PipelineOptions){0}));
        const char *once = context_print(c, m);
        ck_assert(pipeline_run(m, pipeline_block, &(PipelineOptions){0}));
        ck_assert_str_eq(context_print(c, m), once);
        ck_assert(!pass_canon(m) && !pass_cse(m) && !pass_licm(m) && !pass_dce(m));
        context_free(c);
    }
}
END_TEST

UNIT_MAIN("passes", a_pass_with_nothing_to_do_says_so, facts_for_the_axis_analysis_stay,
          values_keep_their_names, deep_nests_are_left_in_one_go, long_chains_fold_in_one_go,
          the_pipeline_runs_all, the_pipeline_stops_skips_and_dumps, unknown_passes_are_errors,
          a_pass_that_breaks_a_rule_is_named, passes_do_not_change_what_kernels_do,
          the_pipeline_settles)
