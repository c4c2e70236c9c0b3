/* Tests of compiler/verify.c and rules.c: each rule is broken on purpose, and must be caught.
 *
 * Rules on types and attributes are broken in text, since the reader leaves them to the verifier;
 * rules on links can only be broken by hand. */
#include "compiler/layout/layout.h"
#include "tests/unit.h"

/* Ops that read well but break one rule, and a part of what must be said. %0 to %9 are given: */
static const char head[] =
    "kernel @k(p: *f32, q: *f16, n: i32, x: f32, h: f16, c: i1, w: i64) {num_warps = 4} {\n"
    "%0: 64xi32 = arange {start = 0, end = 64}\n"
    "%1: 64xf32 = splat %x\n"
    "%2: 64x*f32 = splat %p\n"
    "%3: 64xi1 = splat %c\n"
    "%4: 64x32xf16 = splat %h\n"
    "%5: 32x16xf16 = splat %h\n"
    "%6: 64x16xf32 = splat %x\n"
    "%7: 64x2xi32 = splat %n\n"
    "%8: 1xf32 = splat %x\n"
    "%9: 32xf32 = splat %x\n";

static const struct {
    const char *ops, *message;
} broken[] = {
    /* leaves */
    {"%a: f32 = constant {value = 1}", "must be a float"},
    {"%a: i32 = constant {value = 1.0}", "must be an integer"},
    {"%a: i8 = constant {value = 128}", "does not fit in i8"},
    {"%a: u8 = constant {value = -1}", "does not fit in u8"},
    {"%a: 64xi32 = arange {start = 0, end = 32}", "must be 32xi32"},
    {"%a: 64xi64 = arange {start = 0, end = 64}", "must be 64xi32"},
    {"%a: 1xi32 = arange {start = 1, end = 1}", "is empty"},
    {"%a: i32 = program_id {axis = 3}", "axis must be 0, 1 or 2"},
    {"%a: i64 = num_programs {axis = 0}", "must be i32"},
    {"%a: i32 = program_id", "attribute `axis` is missing"},
    {"%a: i32 = program_id {axis = 0, start = 1}", "`start` does not belong"},
    /* shape */
    {"%a: 64xi32 = splat %x", "must be 64xf32"},
    {"%a: 64xi32 = splat %0", "must be no block"},
    {"%a: i32 = splat %n", "must be a block"},
    {"%a: 64x4xi32 = broadcast %0", "cannot become"},
    {"%a: 128xi32 = broadcast %0", "cannot become"},
    {"%a: 64xf32 = broadcast %8, %8", "`broadcast` does not take 2 operands"},
    {"%a: 64x1xi32 = expand_dims %0 {axis = 0}", "must be 1x64xi32"},
    {"%a: 64x1xi32 = expand_dims %0 {axis = 2}", "axis 2 is not one of"},
    {"%a: 64x1xi32 = expand_dims %0 {axis = -1}", "axis -1 is not one of"},
    {"%a: 1xi32 = expand_dims %n {axis = 0}", "must be a block"},
    {"%a: 8x4xi32 = reshape %0", "cannot become"},
    {"%a: 8x8xf32 = reshape %0", "cannot become"},
    {"%a: 32x64xf16 = permute %4 {order = [0, 1]}", "must be 64x32xf16"},
    {"%a: 64x32xf16 = permute %4 {order = [0, 0]}", "is no order"},
    {"%a: 64x32xf16 = permute %4 {order = [0, 1, 2]}", "is no order"},
    {"%a: 64x32xf16 = permute %4 {order = [0, 2]}", "is no order"},
    {"%a: 64x2xf32 = join %1, %0", "operands 0 and 1 differ"},
    {"%a: 2x64xi32 = join %0, %0", "must be 64x2xi32"},
    {"%a: 64xi32, %b: 32xi32 = split %7", "result 1 is 32xi32"},
    {"%a: 32xi32, %b: 32xi32 = split %0", "the last extent of 64xi32 must be 2"},
    {"%a: 64xi32 = concat %0, %0", "must be 128xi32"},
    {"%a: i32 = concat %n, %n", "must be a block"},
    {"%a: 64xf32 = gather %1, %1 {axis = 0}", "is no index"},
    {"%a: 64xf32 = gather %1, %7 {axis = 0}", "is no index"},
    {"%a: 64xi32 = gather %1, %0 {axis = 0}", "must be 64xf32"},
    {"%a: 64xf32 = gather %1, %0 {axis = 1}", "axis 1 is not one of"},
    {"%a: f32 = extract %1", "a block of one element"},
    {"%a: i32 = extract %8", "must be f32"},
    /* arithmetic */
    {"%a: 64xi32 = add %0, %n", "operands 0 and 1 differ"},
    {"%a: i32 = add %x, %x", "result 0 is i32, but must be f32"},
    {"%a: *f32 = add %p, %p", "must be a number"},
    {"%a: f32 = and %x, %x", "must be an integer"},
    {"%a: i32 = fma %n, %n, %n", "must be a float"},
    {"%a: f16 = exp %h", "must be f32 or f64"},
    {"%a: f16 = sqrt %h", "must be f32 or f64"},
    {"%a: i32 = lt %n, %n", "must be i1"},
    {"%a: i1 = lt %0, %0", "must be 64xi1"},
    {"%a: 64xf32 = select %c, %1, %1", "operand 0 is i1, but must be 64xi1"},
    {"%a: 64xf32 = select %3, %1, %0", "operands 1 and 2 differ"},
    {"%a: 32xf32 = cast %0", "the shapes of"},
    {"%a: i64 = cast %p", "cannot become"},
    {"%a: i16 = cast %x {rounding = tf32}", "`rounding` cannot be `tf32`"},
    {"%a: i64 = bitcast %x", "cannot become"},
    {"%a: i32 = bitcast %p", "cannot become"},
    {"%a: 64xi32 = offset %0, %0", "must be a pointer"},
    {"%a: 64x*f32 = offset %2, %1", "must be an integer"},
    {"%a: 64x*f32 = offset %2, %n", "the shapes of"},
    {"%a: *f16 = offset %p, %n", "must be *f32"},
    {"%a: 64xi32 = hint %0 {divisibility = [1, 2]}", "one number for each dimension"},
    {"%a: 64xi32 = hint %0 {contiguity = [0]}", "must be positive"},
    /* memory */
    {"%a: 64xf32 = load %1", "must be a pointer"},
    {"%a: 64xf16 = load %2", "must be 64xf32"},
    {"%a: 64xf32 = load %2, %c", "operand 1 is i1, but must be 64xi1"},
    {"%a: 64xf32 = load %2, %3, %x", "operand 2 is f32, but must be 64xf32"},
    {"%a: f32 = load %p {cache = tf32}", "`cache` cannot be `tf32`"},
    {"store %2, %0", "operand 1 is 64xi32, but must be 64xf32"},
    {"store %2, %1, %c", "must be 64xi1"},
    {"store %x, %x", "must be a pointer"},
    {"%a: f32 = atomic_rmw %p, %x", "attribute `kind` is missing"},
    {"%a: f32 = atomic_rmw %p, %x {kind = and}", "`and` does not work on f32"},
    {"%a: f16 = atomic_rmw %p, %x {kind = add}", "must be f32"},
    {"%a: f32 = atomic_cas %p, %x, %n", "must be f32"},
    /* whole blocks */
    {"%a: 64x16xf32 = dot %4, %4, %6", "do not fit together"},
    {"%a: 64x16xf32 = dot %4, %5, %4", "do not fit together"},
    {"%a: 64xf32 = dot %1, %1, %1", "do not fit together"},
    {"%a: 64x16xf16 = dot %4, %5, %6", "must be 64x16xf32"},
    {"%b: 32x16xf32 = cast %5\n%a: 64x16xf32 = dot %4, %b, %6", "cannot multiply"},
    {"%b: 64x16xi32 = cast %6\n%a: 64x16xi32 = dot %4, %5, %b", "cannot multiply"},
    {"%a: f32 = reduce %1 {axis = 1} (%r: f32, %s: f32) {\nyield %r\n}", "axis 1 is not one of"},
    {"%a: 1xf32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nyield %r\n}", "must be f32"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32) {\nyield %r\n}", "takes 1 values, but must take 2"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32, %s: i32) {\nyield %r\n}", "must take f32"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nyield %r, %s\n}", "gives 2 values"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nyield %n\n}", "gives i32 as value 0"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nreturn\n}", "must end in `yield`"},
    {"%a: f32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nstore %p, %r\nyield %r\n}",
     "neither touch memory"},
    {"%a: f32, %b: f32 = reduce %1 {axis = 0} (%r: f32, %s: f32) {\nyield %r\n}",
     "2 results for 1 operands"},
    {"%a: f32, %b: f32 = reduce %1, %9 {axis = 0} (%r: f32, %s: f32, %t: f32, %u: f32) {\n"
     "yield %r, %s\n}",
     "the shapes of"},
    {"%a: f32 = scan %1 {axis = 0} (%r: f32, %s: f32) {\nyield %r\n}", "must be 64xf32"},
    {"%a: 64xf32 = map %1 (%r: f32, %s: f32) {\nyield %r\n}", "takes 2 values, but must take 1"},
    {"%a: 64xi32 = map %1 (%r: f32) {\nyield %r\n}", "gives f32 as value 0, but must give i32"},
    {"%a: 32xf32 = map %1 (%r: f32) {\nyield %r\n}", "the shapes of"},
    {"%a: 16xi32 = histogram %1", "must be a row of integers"},
    {"%a: 16xi64 = histogram %0", "must be a row of i32"},
    {"%a: 16xi32 = histogram %0, %c", "must be 64xi1"},
    {"%a: 64x16xf32 = dot_scaled %4, %0, %5, %0, %6 {a_format = e2m1, b_format = fp16}",
     "does not hold the format of a"},
    {"%a: 64x16xf32 = dot_scaled %4, %0, %5, %0, %6 {a_format = fp16, b_format = fp16}",
     "is no scale"},
    /* control */
    {"for %n, %n, %w (%i: i32) {\nyield\n}", "operands 0 and 2 differ"},
    {"for %x, %x, %x (%i: f32) {\nyield\n}", "must be an integer"},
    {"for %n, %n, %n (%i: i64) {\nyield\n}", "i64 inside, but i32 outside"},
    {"for %n, %n, %n, %x (%i: i32, %v: f32) {\nyield %v\n}", "0 results for 1 carried"},
    {"%a: i32 = for %n, %n, %n, %x (%i: i32, %v: f32) {\nyield %v\n}", "must be f32"},
    {"%a: f32 = for %n, %n, %n, %x (%i: i32) {\nyield %x\n}", "takes 1 values, but must take 2"},
    {"%a: f32 = for %n, %n, %n, %x (%i: i32, %v: f32) {\nyield %i\n}", "gives i32 as value 0"},
    {"%a: f32 = for %n, %n, %n, %x (%i: i32, %v: f32) {\nyield\n}", "gives 0 values"},
    {"for %n, %n, %n (%i: i32) {\n}", "must end in `yield`"},
    {"for %n, %n, %n (%i: i32) {\ncondition %c\n}", "must end in `yield`"},
    {"for %n, %n, %n (%i: i32) {\nyield\nyield\n}", "this is not the last op"},
    {"for %n, %n, %n (%i: i32) {\nyield\n}\nprint %i {text = \"\", hex = 0}", "not visible here"},
    {"while %n (%r: i32) {\nyield %r\n} (%s: i32) {\nyield %s\n}", "must end in `condition`"},
    {"while %n (%r: f32) {\ncondition %c\n} () {\nyield %n\n}", "must take i32"},
    {"%a: f32 = while %n (%r: i32) {\ncondition %c, %r\n} (%s: f32) {\nyield %n\n}", "gives i32"},
    {"while %n (%r: i32) {\ncondition %c\n} () {\nyield %x\n}", "must give i32"},
    {"while %n (%r: i32) {\ncondition %r\n} () {\nyield %n\n}", "must be i1"},
    {"if %n {\nyield\n} else {\nyield\n}", "must be i1"},
    {"%a: i32 = if %c {\nyield %n\n} else {\nyield\n}", "gives 0 values, but must give 1"},
    {"%a: i32 = if %c {\nyield %n\n} else {\nyield %x\n}", "must give i32"},
    {"return", "this is not the last op"},
    {"yield", "this is not the last op"},
    /* the outside */
    {"assert %n {text = \"\"}", "must be i1"},
    {"assert %3, %c {text = \"\"}", "must be 64xi1"},
    {"assert %3", "attribute `text` is missing"},
    {"assume %3", "must be i1"},
    {"barrier %n", "does not take 1 operand"},
    {"%a: i32 = inline_asm %0 {asm_text = \"\", constraints = \"\", pack = 1}", "the shapes of"},
    {"%a: i32 = inline_asm %n {asm_text = \"\", constraints = \"\", pack = 0}", "must be positive"},
};

/* %a, %b ... are values the ops define: numbers to the reader. */
static const char *with_numbers(Arena *arena, const char *ops) {
    Text text = {.arena = arena};
    for (; *ops; ops++) {
        bool letter = ops[0] == '%' && ops[1] && !strchr("cghnpqwx0123456789", ops[1]);
        if (letter)
            text_printf(&text, "%%%d", 100 + *++ops);
        else
            text_add(&text, ops, 1);
    }
    return text.data;
}

START_TEST(each_rule_is_enforced) {
    for (size_t i = 0; i < ARRAY_LENGTH(broken); i++) {
        Context *c = context_new();
        const char *ops = with_numbers(&c->arena, broken[i].ops);
        const char *text = arena_printf(&c->arena, "%s%s\nreturn\n}\n", head, ops);
        Module *m = context_read(c, text, strlen(text));
        ck_assert_msg(!m, "taken: %s", broken[i].ops);
        const char *messages = context_messages(c);
        ck_assert_msg(strstr(messages, broken[i].message), "for: %s\nexpected: %s\ngot: %s",
                      broken[i].ops, broken[i].message, messages);
        context_free(c);
    }
}
END_TEST

/* The same ops put right: so the rules refuse no more than they should. */
static const char *const sound[] = {
    "%a: 2xf32 = join %x, %x\n%b: f32, %d: f32 = split %a",
    "%d: 64x32xi32 = splat %n\n%a: 64x32xf16 = gather %4, %d {axis = 1}",
    "%d: 1x64xi32 = expand_dims %0 {axis = 0}\n%a: 1x64x1xi32 = expand_dims %d {axis = 2}",
    "%a: f32 = extract %8",
    "%a: i64 = bitcast %p\n%b: *f16 = bitcast %a\n%d: *f32 = bitcast %q\n%e: i32 = bitcast %x",
    "%a: *f32 = hint %p {divisibility = [16]}",
    "%a: i1 = eq %p, %p",
    "%a: f32 = atomic_rmw %p, %x, %c {kind = xchg, sem = relaxed, scope = sys}",
    "%a: 64x16xf32 = dot %4, %5, %6 {precision = ieee}",
    "%a: f32, %b: i32 = reduce %1, %0 {axis = 0} (%r: f32, %s: i32, %t: f32, %u: i32) {\n"
    "%v: i1 = gt %r, %t\n%y: f32 = select %v, %r, %t\n%z: i32 = select %v, %s, %u\nyield %y, %z\n}",
    "%a: 64xi32 = map %1, %0 (%r: f32, %s: i32) {\n%t: i32 = add %s, %n\nyield %t\n}",
    "%a: 16xi32 = histogram %0, %3",
    "%a: f32 = inline_asm %n, %x {asm_text = \"x\", constraints = \"y\", pack = 1, pure = 1}",
    "assert %3, %3 {text = \"t\"}",
};

START_TEST(what_is_sound_is_taken) {
    for (size_t i = 0; i < ARRAY_LENGTH(sound); i++) {
        Context *c = context_new();
        const char *ops = with_numbers(&c->arena, sound[i]);
        context_must_read(c, arena_printf(&c->arena, "%s%s\nreturn\n}\n", head, ops));
        context_free(c);
    }
}
END_TEST

/* ---- links ------------------------------------------------------------------------------ */

static const char loop[] = "kernel @k(n: i32, c: i1) {num_warps = 4} {\n"
                           "%0: i32 = add %n, %n\n"
                           "%1: i32 = for %n, %0, %n, %0 (%2: i32, %3: i32) {\n"
                           "%4: i32 = mul %2, %3\n"
                           "yield %4\n"
                           "}\n"
                           "print %1, %0 {text = \"\", hex = 0}\n"
                           "return\n}\n";

static Value stray;

static void no_kernel(Module *m) {
    m->kernel = NULL;
}
static void lost_parent(Module *m) {
    m->kernel->body->last->parent = NULL;
}
static void wrong_previous(Module *m) {
    m->kernel->body->last->previous = NULL;
}
static void wrong_last(Module *m) {
    m->kernel->body->last = m->kernel->body->first;
}
static void region_elsewhere(Module *m) {
    m->kernel->body->first->next->regions[0]->parent = NULL;
}
static void missing_region(Module *m) {
    m->kernel->body->first->next->regions[0] = NULL;
}
static void no_operand(Module *m) {
    Use *use = &m->kernel->body->first->operands[0];
    *use->link = use->next;
    if (use->next) use->next->link = use->link;
    use->value = NULL;
}
static void lost_use(Module *m) {
    Use *use = &m->kernel->body->first->operands[0];
    *use->link = use->next;
    if (use->next) use->next->link = use->link;
    use->link = NULL;
}
static void other_user(Module *m) {
    m->kernel->body->first->operands[0].user = m->kernel->body->last;
}
static void forgotten_use(Module *m) {
    m->kernel->body->first->results[0].uses = NULL;
}
static void foreign_use(Module *m) {
    m->kernel->body->first->operands[0].value = &stray;
}
static void result_of_other(Module *m) {
    m->kernel->body->first->results[0].op = NULL;
}
static void result_untyped(Module *m) {
    m->kernel->body->first->results[0].type = NULL;
}
static void wrong_index(Module *m) {
    m->kernel->body->first->results[0].index = 3;
}
static void argument_elsewhere(Module *m) {
    m->kernel->body->arguments[0]->region = NULL;
}
static void argument_index(Module *m) {
    m->kernel->body->arguments[1]->index = 0;
}
static void no_such_op(Module *m) {
    m->kernel->body->first->code = OP_COUNT;
}
static void unsorted(Module *m) {
    Op *print = m->kernel->body->last->previous;
    Attribute swap = print->attributes[0];
    print->attributes[0] = print->attributes[1];
    print->attributes[1] = swap;
}
static void float_axis(Module *m) {
    m->kernel->body->last->previous->attributes[1].is_float = true;
}
static void use_before_definition(Module *m) {
    op_move_before(m->kernel->body->first, m->kernel->body->last->previous);
}
static void use_from_outside(Module *m) {
    Op *loop_op = m->kernel->body->first->next;
    op_set_operand(m->kernel->body->last->previous, 0, op_result(loop_op->regions[0]->first, 0));
}
static void layout_too_early(Module *m) {
    Builder b = {.module = m, .region = m->kernel->body, .before = m->kernel->body->last};
    const Type *block = type_block(&m->types, type_scalar(&m->types, DT_i32), 1, (uint32_t[]){4});
    Layout layout = {.out_bits = 2};
    layout_push(&layout, PLACE_REGISTER, 1);
    layout_push(&layout, PLACE_REGISTER, 2);
    build_constant_int(&b, type_with_layout(&m->types, block, &layout), 1);
}
static void name_with_blank(Module *m) {
    m->kernel->name = "a b";
}
static void parameter_name(Module *m) {
    m->kernel->parameters[0].name = "0";
}
static void parameter_type(Module *m) {
    m->kernel->parameters[0].type = type_scalar(&m->types, DT_f16);
}
static void parameter_count(Module *m) {
    m->kernel->parameter_count = 1;
}
static void parameter_divisibility(Module *m) {
    m->kernel->parameters[0].divisibility = 0;
}
static void parameters_alike(Module *m) {
    m->kernel->parameters[1].name = m->kernel->body->arguments[1]->name = "n";
}
static void parameter_renamed(Module *m) {
    m->kernel->body->arguments[1]->name = "other";
}
static void warps(Module *m) {
    m->kernel->num_warps = 6;
}
static void ctas(Module *m) {
    m->kernel->num_ctas = 0;
}
static void removed_user(Module *m) {
    Op *op = m->kernel->body->first;
    Builder b = {.module = m, .region = m->kernel->body, .before = op};
    Op *more = build_unary(&b, OP_abs, m->kernel->body->arguments[0])->op;
    m->kernel->body->first = op; /* unlinked by hand, its uses kept */
    op->previous = NULL;
    more->parent = NULL;
}

static const struct {
    void (*damage)(Module *m);
    const char *message;
} damages[] = {
    {no_kernel, "no kernel"},
    {lost_parent, "names another region"},
    {wrong_previous, "the list of ops is broken"},
    {wrong_last, "the end of a list of ops is broken"},
    {region_elsewhere, "a region names another parent"},
    {missing_region, "a region is missing"},
    {no_operand, "an operand is missing"},
    {other_user, "a use is no operand of its user"},
    {lost_use, "is in no use list"},
    {forgotten_use, "missing in its use list"},
    {foreign_use, "a use of another value"},
    {result_of_other, "does not name its op"},
    {result_untyped, "has no type"},
    {wrong_index, "does not name its op"},
    {argument_elsewhere, "does not name its region"},
    {argument_index, "does not name its region"},
    {no_such_op, "no such op"},
    {unsorted, "not sorted"},
    {float_axis, "`hex` is not a float"},
    {use_before_definition, "not visible here"},
    {use_from_outside, "not visible here"},
    {layout_too_early, "has a layout"},
    {name_with_blank, "no proper name"},
    {parameter_name, "parameter 0 has no proper name"},
    {parameter_type, "must be a scalar or a pointer"},
    {parameter_count, "1 parameters, but its body takes 2"},
    {parameter_divisibility, "must be positive"},
    {parameters_alike, "two parameters are named `n`"},
    {parameter_renamed, "has another name"},
    {warps, "num_warps must be"},
    {ctas, "num_ctas must be"},
    {removed_user, "used by a removed op"},
};

START_TEST(each_link_is_checked) {
    for (size_t i = 0; i < ARRAY_LENGTH(damages); i++) {
        Context *c = context_new();
        Module *m = context_must_read(c, loop);
        ck_assert(ir_verify(m, LEVEL_BLOCK));
        damages[i].damage(m);
        ck_assert_msg(!ir_verify(m, LEVEL_BLOCK), "not caught: %s", damages[i].message);
        const char *messages = context_messages(c);
        ck_assert_msg(strstr(messages, damages[i].message), "expected: %s\ngot: %s",
                      damages[i].message, messages);
        context_free(c);
    }
}
END_TEST

START_TEST(later_levels_want_layouts) {
    Context *c = context_new();
    Module *m = context_must_read(c, "kernel @k() {num_warps = 4} {\n"
                                     "%0: 4xi32 = arange {start = 0, end = 4}\nreturn\n}\n");
    ck_assert(ir_verify(m, LEVEL_BLOCK));
    ck_assert(!ir_verify(m, LEVEL_LAID));
    ck_assert_ptr_nonnull(strstr(context_messages(c), "has no layout"));
    context_free(c);
}
END_TEST

UNIT_MAIN("verify", each_rule_is_enforced, what_is_sound_is_taken, each_link_is_checked,
          later_levels_want_layouts)
