/* Tests of compiler/print.c and read.c: what is printed reads back to the same bytes, and no text,
 * however broken, does harm. */
#include "tests/unit.h"

#include <math.h>

static const char everything[] =
    "kernel @all(x: *f32 {divisibility = 16}, y: **f16, n: i64, c: i1)"
    " {num_warps = 8, num_stages = 2, num_ctas = 1} {\n"
    "    %0: i32 = program_id {axis = 2}\n"
    "    %1: 64xi32 = arange {start = -5, end = 59}\n"
    "    %2: 64x*f32 = splat %x\n"
    "    %3: 64x*f32 = offset %2, %1\n"
    "    %4: 64xf32 = load %3 {cache = cg, evict = evict_last, is_volatile = 1}\n"
    "    %5: 64x1xf32 = expand_dims %4 {axis = 1}\n"
    "    %6: 64x32xf32 = broadcast %5\n"
    "    %7: 32x64xf32 = permute %6 {order = [1, 0]}\n"
    "    %8: 64xi32 = hint %1 {divisibility = [4], contiguity = [64]}\n"
    "    %9: f64 = constant {value = -0x1.999999999999ap-4}\n"
    "    %10: f32 = constant {value = inf}\n"
    "    %11: f16 = constant {value = -inf}\n"
    "    %12: bf16 = constant {value = nan}\n"
    "    %13: f32 = constant {value = -0x0p+0}\n"
    "    %14: i64 = constant {value = -9223372036854775808}\n"
    "    %15: f64 = constant {value = 0x0.0000000000001p-1022}\n"
    "    %16: i64, %17: f32 = for %n, %14, %n, %n, %13 {num_stages = 4, unroll = 2}"
    " (%18: i64, %19: i64, %20: f32) {\n"
    "        %21: f32 = if %c {\n"
    "            yield %20\n"
    "        } else {\n"
    "            %22: f32 = exp2 %20\n"
    "            yield %22\n"
    "        }\n"
    "        yield %18, %21\n"
    "    }\n"
    "    %23: i64 = while %16, %17 (%24: i64, %25: f32) {\n"
    "        %26: i1 = lt %24, %n\n"
    "        condition %26, %24\n"
    "    } (%27: i64) {\n"
    "        yield %27, %13\n"
    "    }\n"
    "    while () {\n"
    "        condition %c\n"
    "    } () {\n"
    "        barrier\n"
    "        yield\n"
    "    }\n"
    "    %28: 64xf32, %29: 64xi32 = scan %4, %1 {axis = 0, reverse = 1}"
    " (%30: f32, %31: i32, %32: f32, %33: i32) {\n"
    "        %34: f32 = max %30, %32\n"
    "        yield %34, %33\n"
    "    }\n"
    "    print %28, %0 {text = \"a \\\"quoted\\\"\\n\\t\\\\ \\x00\\xff \", hex = 1}\n"
    "    print {text = \"\", hex = 0}\n"
    "    store %3, %28\n"
    "    return\n"
    "}\n";

START_TEST(everything_reads_back) {
    Context *c = context_new();
    ck_assert_str_eq(context_print(c, context_must_read(c, everything)), everything);
    context_free(c);
}
END_TEST

START_TEST(layout_and_comments_do_not_matter) {
    Context *c = context_new();
    Module *module = context_must_read(
        c, "// head\n kernel @k (a:i32 ,b : *f16{divisibility=8})\t{num_ctas=2,\nnum_warps = 2}\n"
           "{ // body\n%7:i32=add %a,\n  %a\r\n %3 : i32 = mul %7 , %a // last\n return }// end");
    ck_assert_str_eq(context_print(c, module),
                     "kernel @k(a: i32, b: *f16 {divisibility = 8})"
                     " {num_warps = 2, num_stages = 3, num_ctas = 2} {\n"
                     "    %0: i32 = add %a, %a\n    %1: i32 = mul %0, %a\n    return\n}\n");
    context_free(c);
}
END_TEST

static const char *const frame = "kernel @k() {num_warps = 4} {\n%%0: %s = constant {value = %s}\n"
                                 "return\n}\n";

START_TEST(floats_read_back_bit_by_bit) {
    Context *c = context_new();
    uint64_t state = random_seed(7);
    for (int i = 0; i < 3000; i++) {
        uint64_t bits = (uint64_t)random_next(&state) << 32 | random_next(&state), again;
        double value;
        if (i % 4 == 0) bits &= UINT64_C(0x800fffffffffffff); /* denormal */
        memcpy(&value, &bits, 8);
        if (isnan(value)) continue;
        Module *m = context_must_read(c, arena_printf(&c->arena, frame, "f64", "1.0"));
        op_set_float(m, m->kernel->body->first, ATTR_value, value);
        m = context_must_read(c, context_print(c, m));
        memcpy(&again, &op_attribute(m->kernel->body->first, ATTR_value)->f, 8);
        ck_assert_uint_eq(bits, again);
        if (i % 100 == 0) { /* the arena of many modules grows; start afresh */
            context_free(c);
            c = context_new();
        }
    }
    context_free(c);
}
END_TEST

START_TEST(decimal_floats_are_exact_or_refused) {
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0.5", 0.5},   {"1.0", 1},           {"-2.5e3", -2500},        {"0.1", 0.1},
                {"1e22", 1e22}, {"123.456", 123.456}, {"0x1p-1074", 0x1p-1074}, {"0xa.8p0", 10.5}};
    static const char *const bad[] = {"1.2.3", "0x",
                                      "0x1p",  "1e",
                                      "1e400", "0.1234567890123456789",
                                      "1e-23", "0x1.00000000000008p0",
                                      "--1",   "-",
                                      "1x",    "infx"};
    Context *c = context_new();
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        Module *m = context_must_read(c, arena_printf(&c->arena, frame, "f64", good[i].text));
        ck_assert(op_attribute(m->kernel->body->first, ATTR_value)->f == good[i].value);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        const char *text = arena_printf(&c->arena, frame, "f64", bad[i]);
        ck_assert_msg(!context_read(c, text, strlen(text)), "%s was taken", bad[i]);
    }
    context_free(c);
}
END_TEST

/* Text and part of the message, which must name the place. */
static const struct {
    const char *text, *message;
} refused[] = {
    {"", "1:1: error: expected `kernel`"},
    {"kernel", "expected `@`"},
    {"kernel @k(", "expected a name"},
    {"kernel @k(a: 4xi32) {num_warps = 4} {return}", "1:14: error: a parameter must be"},
    {"kernel @k(a: i32, a: i32) {num_warps = 4} {return}", "1:19: error: %a is defined twice"},
    {"kernel @k(a: i32 {divisibility = 0}) {num_warps = 4} {return}", "must be positive"},
    {"kernel @k() {num_warps = 3} {\nreturn}", "num_warps must be a power of two"},
    {"kernel @k() {num_warps = 99} {\nreturn}", "expected a number from 0 to 64"},
    {"kernel @k() {colour = 4} {\nreturn}", "expected num_warps"},
    {"kernel @k() {num_warps = 4} {\nreturn}\n}", "3:1: error: expected the end of the text"},
    {"kernel @k() {num_warps = 4} {\nreturn\n", "expected `}`"},
    {"kernel @k() {num_warps = 4} {\nfoo\nreturn}", "2:1: error: expected an op"},
    {"kernel @k() {num_warps = 4} {\nreturn return}", "2:8: error: expected the end of the line"},
    {"kernel @k() {num_warps = 4} {\n%0: i32 = add %1, %2\nreturn}", "%1 is not defined here"},
    {"kernel @k() {num_warps = 4} {\n%0: i33 = add\nreturn}", "2:5: error: expected a type"},
    {"kernel @k() {num_warps = 4} {\n%0: 3xi32 = add\nreturn}", "must be a power of two"},
    {"kernel @k(a: i32) {num_warps = 4} {\n%0: i32 = add %a\nreturn}", "does not take 1 operand"},
    {"kernel @k(a: i32) {num_warps = 4} {\nadd %a, %a\nreturn}", "`add` has 1 result, not 0"},
    {"kernel @k() {num_warps = 4} {\n%x: i32 = add\nreturn}", "expected a value, like %0"},
    {"kernel @k() {num_warps = 4} {\n%0: i32 = program_id {axis = 0, axis = 1}\nreturn}",
     "2:33: error: this attribute is given twice"},
    {"kernel @k() {num_warps = 4} {\n%0: i32 = program_id {axle = 0}\nreturn}",
     "2:23: error: unknown attribute"},
    {"kernel @k() {num_warps = 4} {\n%0: i32 = program_id {axis = 99999999999999999999}\nreturn}",
     "expected an integer of at most 64 bits"},
    {"kernel @k() {num_warps = 4} {\nprint {text = \"abc\nreturn}", "does not end on its line"},
    {"kernel @k() {num_warps = 4} {\nprint {text = \"a\\qc\", hex = 0}\nreturn}",
     "2:17: error: this"},
    {"kernel @k(p: *f32) {num_warps = 4} {\n%0: f32 = load %p {cache = blue}\nreturn}",
     "2:28: error: unknown word"},
    {"kernel @k(p: *f32) {num_warps = 4} {\n%0: f32 = load %p {cache = add}\nreturn}",
     "cannot be `add`"},
    {"kernel @k(c: i1) {num_warps = 4} {\nif %c {\nyield\n}\nreturn}", "expected `else`"},
    {"kernel @k(c: i1) {num_warps = 4} {\nif %c {\n%0: i32 = constant {value = 1}\nyield\n} else "
     "{\n"
     "yield\n}\nprint %0 {text = \"\", hex = 0}\nreturn}",
     "8:1: error: IR: `print %0 {text = \"\", hex = 0}`: operand 0 is not visible here"},
    {"kernel @k(a: i32, b: f32) {num_warps = 4} {\n%0: i32 = add %a, %b\nreturn}",
     "2:11: error: IR: `%0: i32 = add %a, %b`: operands 0 and 1 differ: i32 and f32"},
    {"kernel @k() {num_warps = 4} @3:5 {\nreturn}", "a source not named above"},
    {"source \"a.tk\"\nkernel @k() {num_warps = 4} @3 {\nreturn}", "expected a position"},
    {"source \"a.tk\"\nkernel @k() {num_warps = 4} @1:3:5 {\nreturn}", "a source not named above"},
};

START_TEST(errors_name_the_place) {
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        Context *c = context_new();
        ck_assert_msg(!context_read(c, refused[i].text, strlen(refused[i].text)), "taken: %s",
                      refused[i].text);
        const char *messages = context_messages(c);
        ck_assert_msg(strstr(messages, refused[i].message), "for:\n%s\nexpected: %s\ngot: %s",
                      refused[i].text, refused[i].message, messages);
        context_free(c);
    }
}
END_TEST

START_TEST(deep_nesting_is_refused) {
    Context *c = context_new();
    Text text = {.arena = &c->arena};
    text_puts(&text, "kernel @k(c: i1) {num_warps = 4} {\n");
    for (int i = 0; i < 100000; i++) text_puts(&text, "if %c {\n");
    ck_assert_ptr_null(context_read(c, text.data, text.length));
    ck_assert_ptr_nonnull(strstr(context_messages(c), "nested too deeply"));
    context_free(c);
}
END_TEST

START_TEST(positions_are_kept) {
    static const char text[] =
        "source \"dir/a \\\"b\\\".tk\"\nsource \"std.tk\"\n"
        "kernel @k(c: i1) {num_warps = 4, num_stages = 3, num_ctas = 1} @3:5 {\n"
        "    barrier @12:7\n"
        "    if %c @1:9:1 {\n"
        "        yield @13:1\n"
        "    } else {\n"
        "        yield\n"
        "    }\n"
        "    return @99:65535\n"
        "}\n";
    Context *c = context_new();
    Module *m = context_must_read(c, text);
    Op *barrier = m->kernel->body->first;
    ck_assert(barrier->at.span.line == 12 && barrier->at.span.column == 7);
    ck_assert_str_eq(c->sources.list.data[barrier->at.span.source].path, "dir/a \"b\".tk");
    ck_assert_str_eq(c->sources.list.data[barrier->next->at.span.source].path, "std.tk");
    barrier->next->regions[1]->last->at = (Location){0}; /* had none, so it pointed into the text */
    Text out = {.arena = &c->arena};
    ir_print_with_positions(m, &out);
    ck_assert_str_eq(out.data, text);
    context_free(c);
}
END_TEST

/* Bytes of the text above, changed at random: cut, doubled, exchanged, spliced. */
static size_t mutate(uint64_t *state, const char *text, size_t length, char *out) {
    static const char *const pieces[] = {
        "%0",    "{",    "}",  "(",      ")",     ":",  "=",      ",",          "[",   "]",
        "\"",    "\\",   "\n", "64xf32", "*",     "-1", "0x1p+1", "axis",       "for", "if",
        "while", "\xff", "@",  "//",     "yield", "%n", " ",      "99999999999"};
    memcpy(out, text, length);
    for (uint32_t edits = 1 + random_next(state) % 4; edits > 0 && length > 0; edits--) {
        size_t at = random_next(state) % length, span = 1 + random_next(state) % 12;
        if (span > length - at) span = length - at;
        switch (random_next(state) % 5) {
        case 0: /* cut out */
            memmove(out + at, out + at + span, length - at - span);
            length -= span;
            break;
        case 1: /* cut off */
            if (random_next(state) % 4 == 0) length = at;
            break;
        case 2: out[at] = (char)random_next(state); break;
        case 3: { /* put a piece in */
            const char *piece = pieces[random_next(state) % ARRAY_LENGTH(pieces)];
            size_t size = strlen(piece);
            memmove(out + at + size, out + at, length - at);
            memcpy(out + at, piece, size);
            length += size;
            break;
        }
        default: { /* copy from elsewhere */
            size_t from = random_next(state) % length;
            if (span > length - from) span = length - from;
            memmove(out + at, out + from, span);
        }
        }
    }
    return length;
}

START_TEST(broken_text_does_no_harm) {
    uint64_t state = random_seed(20240607);
    size_t length = strlen(everything), taken = 0;
    char *text = malloc(length + 1000);
    for (int i = 0; i < 20000; i++) {
        Context *c = context_new();
        size_t size = mutate(&state, everything, length, text);
        Module *m = context_read(c, text, size);
        if (m) { /* still a kernel: then it must print and read back */
            const char *once = context_print(c, m);
            ck_assert_str_eq(context_print(c, context_must_read(c, once)), once);
            taken++;
        } else {
            ck_assert_uint_gt(c->diagnostics.errors, 0);
            context_messages(c);
        }
        context_free(c);
    }
    printf("%zu of 20000 changed texts were still kernels\n", taken);
    ck_assert_uint_gt(taken, 100);
    free(text);
}
END_TEST

UNIT_MAIN("text", everything_reads_back, layout_and_comments_do_not_matter,
          floats_read_back_bit_by_bit, decimal_floats_are_exact_or_refused, errors_name_the_place,
          deep_nesting_is_refused, positions_are_kept, broken_text_does_no_harm)
