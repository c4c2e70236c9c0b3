/* t_gpu_axis.c: axis facts, each op's by name: what is known of a value, and how wide an access may
 * be. */
#include "tests/unit.h"

#include "compiler/gpu/axis.h"

typedef struct Case {
    Context *context;
    Module *module;
    Axis *axis;
} Case;

static Case case_of(const char *body) {
    Case c = {.context = context_new()};
    Text text = {.arena = &c.context->arena};
    text_printf(
        &text,
        "kernel @k(x: *f16 {divisibility = 16}, y: *f16, n: i32 {divisibility = 16}, m: i32)"
        " {num_warps = 4, num_stages = 3, num_ctas = 1} {\n%s\nreturn\n}\n",
        body);
    c.module = context_must_read(c.context, text.data);
    c.axis = axis_analyse(c.module);
    return c;
}

/* The last value of the kernel's body. */
static const Value *last_value(const Case *c) {
    const Op *op = c->module->kernel->body->last;
    while (op->result_count == 0) op = op->previous;
    return &op->results[op->result_count - 1];
}

static void expect(const char *body, uint32_t d, int64_t contiguity, int64_t divisibility,
                   int64_t constancy) {
    Case c = case_of(body);
    const AxisFacts *f = axis_facts(c.axis, last_value(&c));
    ck_assert_msg(f->contiguity[d] == contiguity && f->divisibility[d] == divisibility &&
                      f->constancy[d] == constancy,
                  "%s\ndim %u: contiguity %lld, divisibility %lld, constancy %lld", body, d,
                  (long long)f->contiguity[d], (long long)f->divisibility[d],
                  (long long)f->constancy[d]);
    context_free(c.context);
}

enum { MOST = 1 << 30 };
#define RANGE "%0: 64xi32 = arange {start = 0, end = 64}\n"
#define SHIFTED "%0: 64xi32 = arange {start = 8, end = 72}\n"

START_TEST(leaves) {
    expect("%0: i32 = constant {value = 24}", 0, 1, 8, 1);
    expect("%0: 64xi32 = constant {value = 24}", 0, 1, 8, 64);
    expect("%0: 64xi32 = constant {value = 0}", 0, 1, MOST, 64);
    expect(RANGE, 0, 64, MOST, 1);
    expect(SHIFTED, 0, 64, 8, 1);
    expect("%0: i32 = program_id {axis = 0}", 0, 1, 1, 1);
    expect("%0: 64xi32 = splat %n", 0, 1, 16, 64);
    expect("%0: 64xi32 = splat %m", 0, 1, 1, 64);
}
END_TEST

START_TEST(sums) {
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi32 = add %0, %1", 0, 64, 16, 1);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi32 = sub %0, %1", 0, 64, 16, 1);
    expect(RANGE "%1: 64xi32 = splat %m\n%2: 64xi32 = add %1, %0", 0, 64, 1, 1);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi32 = sub %1, %0", 0, 1, 1, 1); /* backwards */
    expect(RANGE "%1: 64xi32 = add %0, %0", 0, 1, 1, 1);
}
END_TEST

START_TEST(products) {
    expect(RANGE "%1: 64xi32 = constant {value = 4}\n%2: 64xi32 = mul %0, %1", 0, 1, 4, 1);
    expect("%0: i32 = constant {value = 4}\n%1: i32 = mul %n, %0", 0, 1, 64, 1);
    expect("%0: i32 = constant {value = 2}\n%1: i32 = shl %n, %0", 0, 1, 64, 1);
}
END_TEST

START_TEST(quotients) {
    expect(RANGE "%1: 64xi32 = constant {value = 8}\n%2: 64xi32 = div %0, %1", 0, 1, 1, 8);
    expect(RANGE "%1: 64xi32 = constant {value = 8}\n%2: 64xi32 = rem %0, %1", 0, 8, 8, 1);
    expect(RANGE "%1: 64xi32 = constant {value = 7}\n%2: 64xi32 = and %0, %1", 0, 8, 8, 1);
    expect(RANGE "%1: 64xi32 = constant {value = 3}\n%2: 64xi32 = shr %0, %1", 0, 1, 1, 8);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi32 = rem %0, %1", 0, 1, 1, 1); /* n below 0 */
    /* below zero a quotient is not the same all along a run */
    expect("%0: 64xi32 = arange {start = -32, end = 32}\n%1: 64xi32 = constant {value = 8}\n"
           "%2: 64xi32 = div %0, %1",
           0, 1, 1, 1);
}
END_TEST

START_TEST(comparisons) {
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi1 = lt %0, %1", 0, 1, 1, 16);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi1 = ge %0, %1", 0, 1, 1, 16);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi1 = gt %1, %0", 0, 1, 1, 16);
    expect(RANGE "%1: 64xi32 = splat %n\n%2: 64xi1 = le %0, %1", 0, 1, 1, 1);
    expect(RANGE "%1: 64xi32 = splat %m\n%2: 64xi1 = lt %0, %1", 0, 1, 1, 1);
    expect("%0: 64xi32 = splat %m\n%1: 64xi32 = splat %n\n%2: 64xi1 = lt %0, %1", 0, 1, 1, 64);
}
END_TEST

#define TILE RANGE "%1: 1x64xi32 = expand_dims %0 {axis = 0}\n%2: 32x64xi32 = broadcast %1\n"
START_TEST(shapes) {
    expect(RANGE "%1: 1x64xi32 = expand_dims %0 {axis = 0}", 1, 64, MOST, 1);
    expect(RANGE "%1: 64x1xi32 = expand_dims %0 {axis = 1}", 1, 1, 1, 1);
    expect(TILE, 0, 1, 1, 32);
    expect(TILE, 1, 64, MOST, 1);
    expect(TILE "%3: 64x32xi32 = permute %2 {order = [1, 0]}", 0, 64, MOST, 1);
    expect(TILE "%3: 2048xi32 = reshape %2", 0, 64, MOST, 1);
}
END_TEST

START_TEST(hints) {
    expect("%0: i32 = hint %m {divisibility = [32]}", 0, 1, 32, 1);
    expect(RANGE "%1: 64xi32 = splat %m\n%2: 64xi32 = mul %0, %1\n"
                 "%3: 64xi32 = hint %2 {divisibility = [8], contiguity = [16]}",
           0, 16, 8, 1);
}
END_TEST

START_TEST(loops) {
    expect("%0: i32 = constant {value = 0}\n%1: i32 = constant {value = 32}\n"
           "%2: *f16 = for %0, %m, %1, %x (%3: i32, %4: *f16) {\n"
           "%5: *f16 = offset %4, %1\nyield %5\n}",
           0, 1, 16, 1);
    expect("%0: i32 = constant {value = 0}\n%1: i32 = constant {value = 2}\n"
           "%2: *f16 = for %0, %m, %1, %x (%3: i32, %4: *f16) {\n"
           "%5: *f16 = offset %4, %1\nyield %5\n}",
           0, 1, 4, 1);
    expect("%0: i32 = constant {value = 0}\n%1: i32 = constant {value = 2}\n"
           "%2: i32 = for %0, %m, %1, %n (%3: i32, %4: i32) {\nyield %3\n}",
           0, 1, 2, 1);
    expect("%0: i1 = lt %n, %m\n%1: i32 = if %0 {\nyield %n\n} else {\n"
           "%2: i32 = constant {value = 8}\nyield %2\n}",
           0, 1, 8, 1);
}
END_TEST

static uint32_t vector_of(const char *body) {
    Case c = case_of(body);
    const Op *load = c.module->kernel->body->last->previous;
    const Value *mask = load->operand_count > 1 ? op_operand(load, 1) : NULL;
    uint32_t vector = axis_vector(c.axis, op_operand(load, 0), mask, 0);
    context_free(c.context);
    return vector;
}

#define AT(pointer, by)                                                                            \
    RANGE "%1: 64x*f16 = splat %" pointer "\n%2: 64xi32 = splat %" by                              \
          "\n%3: 64xi32 = add %0, %2\n%4: 64x*f16 = offset %1, %3\n"
START_TEST(vectors) {
    ck_assert_uint_eq(vector_of(AT("x", "n") "%5: 64xf16 = load %4"), 8);
    ck_assert_uint_eq(vector_of(AT("x", "m") "%5: 64xf16 = load %4"), 1);
    ck_assert_uint_eq(vector_of(AT("y", "n") "%5: 64xf16 = load %4"), 1);
    ck_assert_uint_eq(vector_of(AT("x", "n") "%6: 64xi1 = lt %0, %2\n%5: 64xf16 = load %4, %6"), 8);
    ck_assert_uint_eq(vector_of(AT("x", "n") "%6: 64xi32 = constant {value = 60}\n"
                                             "%7: 64xi1 = lt %0, %6\n%5: 64xf16 = load %4, %7"),
                      4);
}
END_TEST

UNIT_MAIN("gpu_axis", leaves, sums, products, quotients, comparisons, shapes, hints, loops, vectors)
