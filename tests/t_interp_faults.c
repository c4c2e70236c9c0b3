/* Tests of the interpreter's faults: which access, which element, which buffer, in which words; and
 * that bytes next to a buffer, and lanes that are masked off, are never touched.
 */
#include "tests/interp_test.h"

#define OPTIONS ") {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"

/* x[program * 64 + i] for i in 0..64, with what follows done to pointers %5. */
#define ROW(dtype)                                                                                 \
    "kernel @test(x: *" dtype ", n: i32" OPTIONS                                                   \
    "%1: i32 = program_id {axis = 0}\n%2: i32 = constant {value = 64}\n%3: i32 = mul %1, %2\n"     \
    "%4: 64xi32 = arange {start = 0, end = 64}\n%6: 64xi32 = splat %3\n%7: 64xi32 = add %6, %4\n"  \
    "%8: 64x*" dtype " = splat %x\n%5: 64x*" dtype " = offset %8, %7\n"                            \
    "%9: 64xi32 = splat %n\n%10: 64xi1 = lt %7, %9\n"
#define END "return\n}\n"

/* A buffer between two guard zones that must stay as they are. */
typedef struct Guarded {
    uint8_t memory[4096 + 512];
} Guarded;

static uint8_t *guarded(Guarded *g) {
    memset(g->memory, 0xa5, sizeof g->memory);
    return g->memory + 256;
}

static bool guards_hold(const Guarded *g, size_t size) {
    for (size_t i = 0; i < sizeof g->memory; i++)
        if ((i < 256 || i >= 256 + size) && g->memory[i] != 0xa5) return false;
    return true;
}

static Case *run_row(const char *text, uint8_t *data, uint64_t size, uint32_t n,
                     uint32_t programs) {
    Case *c = case_new(text);
    case_buffer(c, data, size);
    case_scalar(c, n);
    case_run(c, programs);
    return c;
}

START_TEST(out_of_bounds_load) {
    Guarded g;
    uint8_t *x = guarded(&g);
    Case *c = run_row(ROW("f32") "%11: 64xf32 = load %5\n" END, x, 1000, 0, 8);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_str_eq(
        c->fault.message,
        "load out of bounds: element [58] of the 64 block reads 4 bytes at offset 1000 "
        "of `x`, which has 1000 bytes; the load has no mask (program 3, 0, 0)");
    ck_assert(c->fault.program[0] == 3 && c->fault.parameter == 0 && c->fault.buffer == 0);
    ck_assert(c->fault.rank == 1 && c->fault.coordinates[0] == 58);
    ck_assert(c->fault.offset == 1000 && c->fault.buffer_size == 1000);
    case_free(c);
    /* the last element hangs over the end by two bytes */
    c = run_row(ROW("f32") "%11: 64xf32 = load %5\n" END, x, 254, 0, 1);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_int_eq(c->fault.offset, 252);
    case_free(c);
    c = run_row(ROW("f32") "%11: 64xf32 = load %5, %10\n" END, x, 1000, 251, 8);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "which has 1000 bytes (program 3"));
    case_free(c);
    c = run_row(ROW("f32") "%11: 64xf32 = load %5, %10\n" END, x, 1000, 250, 8);
    ck_assert_msg(c->fault.kind == FAULT_NONE, "%s", c->fault.message);
    case_free(c);
}
END_TEST

START_TEST(out_of_bounds_store_stops_before) {
    Guarded g;
    uint8_t *x = guarded(&g);
    const char *text = ROW("i32") "store %5, %7\n" END;
    Case *c = run_row(text, x, 1000, 0, 5);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_ptr_nonnull(strstr(
        c->fault.message, "store out of bounds: element [58] of the 64 block writes 4 bytes"));
    ck_assert(guards_hold(&g, 1000));
    case_free(c);
    c = run_row(ROW("i32") "store %5, %7, %10\n" END, x, 1000, 250, 100);
    ck_assert_int_eq(c->fault.kind, FAULT_NONE);
    ck_assert(guards_hold(&g, 1000));
    for (int i = 0; i < 250; i++) ck_assert_int_eq(((int32_t *)(void *)x)[i], i);
    case_free(c);
    c = run_row(ROW("i32") "%11: 64xi32 = atomic_rmw %5, %7 {kind = add}\n" END, x, 1000, 0, 4);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "atomic out of bounds: element [58]"));
    ck_assert(guards_hold(&g, 1000));
    case_free(c);
}
END_TEST

START_TEST(negative_offset_belongs_to_its_buffer) {
    int32_t x[4], y[4];
    Case *c = case_new("kernel @test(x: *i32, y: *i32, n: i32" OPTIONS
                       "%1: *i32 = offset %y, %n\n%2: i32 = load %1\n" END);
    case_buffer(c, x, sizeof x);
    case_buffer(c, y, sizeof y);
    case_scalar(c, (uint32_t)-1);
    ck_assert(!case_run(c, 1));
    ck_assert_str_eq(c->fault.message,
                     "load out of bounds: reads 4 bytes at offset -4 of `y`, which "
                     "has 16 bytes; the load has no mask (program 0, 0, 0)");
    ck_assert(c->fault.parameter == 1 && c->fault.rank == 0);
    case_free(c);
}
END_TEST

/* A two-dimensional block: coordinates, first bad element in row-major order. */
START_TEST(coordinates) {
    static uint16_t x[64 * 8];
    Case *c =
        case_new("kernel @test(x: *f16" OPTIONS "%1: 128xi32 = arange {start = 0, end = 128}\n"
                 "%2: 128x1xi32 = expand_dims %1 {axis = 1}\n%3: 128x8xi32 = broadcast %2\n"
                 "%4: 8xi32 = arange {start = 0, end = 8}\n"
                 "%5: 1x8xi32 = expand_dims %4 {axis = 0}\n%6: 128x8xi32 = broadcast %5\n"
                 "%7: 128x8xi32 = constant {value = 8}\n%8: 128x8xi32 = mul %3, %7\n"
                 "%9: 128x8xi32 = add %8, %6\n%10: 128x8x*f16 = splat %x\n"
                 "%11: 128x8x*f16 = offset %10, %9\n%12: 128x8xf16 = load %11\n" END);
    case_buffer(c, x, sizeof x);
    ck_assert(!case_run(c, 1));
    ck_assert_ptr_nonnull(strstr(c->fault.message,
                                 "element [64, 0] of the 128x8 block reads 2 bytes "
                                 "at offset 1024 of `x`, which has 1024 bytes"));
    case_free(c);
}
END_TEST

START_TEST(null_wild_and_freed) {
    const char *text = ROW("f32") "%11: 64xf32 = load %5\n" END;
    Case *c = case_new(text);
    c->arguments[c->argument_count++] = 0;
    case_scalar(c, 0);
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_NULL);
    ck_assert_ptr_nonnull(strstr(c->fault.message,
                                 "load of an invalid address: element [0] of the 64 "
                                 "block reads 4 bytes at address 0x0: a null pointer"));
    ck_assert_int_eq(c->fault.buffer, -1);
    c->arguments[0] = INTERP_BUFFER_ADDRESS(7);
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_NULL);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "where there is no buffer"));
    c->arguments[0] = UINT64_MAX - 3;
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_NULL);
    case_free(c);
    c = case_new(text);
    case_buffer(c, NULL, 0);
    case_scalar(c, 0);
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_NULL);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "offset 0 of `x`, which was freed"));
    case_free(c);
}
END_TEST

START_TEST(misaligned) {
    static uint8_t x[1024];
    Case *c = case_new(ROW("f32") "%11: 64xf32 = load %5\n" END);
    case_buffer(c, x, sizeof x);
    case_scalar(c, 0);
    c->arguments[0] += 6;
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_MISALIGNED);
    ck_assert_ptr_nonnull(strstr(c->fault.message,
                                 "load misaligned: element [0] of the 64 block reads "
                                 "4 bytes at offset 6 of `x`, which is no multiple of 4"));
    case_free(c);
}
END_TEST

/* Poison: reading what nobody wrote. Stores unpoison exactly what they write. */
START_TEST(unwritten) {
    static uint8_t x[1024], written[128];
    const char *load = ROW("f32") "%11: 64xf32 = load %5, %10\n" END;
    const char *store = ROW("i8") "%12: 64xi8 = cast %7\nstore %5, %12, %10\n" END;
    Case *c = case_new(load), *s = case_new(store);
    case_buffer(c, x, sizeof x);
    case_scalar(c, 10);
    case_buffer(s, x, sizeof x);
    case_scalar(s, 37);
    memset(written, 0, sizeof written);
    c->buffers[0].written = s->buffers[0].written = written;
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_UNWRITTEN);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "load of memory never written: element [0]"));
    case_must_run(s, 1); /* bytes 0 .. 37: elements 0 .. 9 of f32 are missing three bytes */
    ck_assert(!case_run(c, 1));
    ck_assert_ptr_nonnull(strstr(c->fault.message,
                                 "element [9] of the 64 block reads 4 bytes at "
                                 "offset 36 of `x`, where nothing was written before"));
    for (int i = 0; i < 128; i++) ck_assert_uint_eq(written[i], i < 4 ? 0xff : i == 4 ? 0x1f : 0);
    s->arguments[1] = 40;
    case_must_run(s, 1);
    case_must_run(c, 1);
    case_free(c);
    case_free(s);
    const char *update = ROW("i32") "%11: 64xi32 = atomic_rmw %5, %7, %10 {kind = add}\n" END;
    c = case_new(update);
    case_buffer(c, x, sizeof x);
    case_scalar(c, 64);
    c->buffers[0].written = written;
    ck_assert(!case_run(c, 1));
    ck_assert_int_eq(c->fault.kind, FAULT_UNWRITTEN);
    ck_assert_int_eq(c->fault.offset, 40);
    case_free(c);
}
END_TEST

START_TEST(assertions) {
    int32_t x[64];
    for (int i = 0; i < 64; i++) x[i] = i;
    Case *c =
        run_row(ROW("i32") "assert %10 {text = \"i < n\"}\n" END, (uint8_t *)x, sizeof x, 70, 3);
    ck_assert_int_eq(c->fault.kind, FAULT_ASSERT);
    ck_assert_str_eq(c->fault.message, "assertion failed: i < n at element [6] (program 1, 0, 0)");
    case_free(c);
    c = run_row(ROW("i32") "%11: 64xi1 = lt %7, %4\nassert %10, %11 {text = \"\"}\n" END,
                (uint8_t *)x, sizeof x, 0, 1);
    ck_assert_int_eq(c->fault.kind, FAULT_NONE); /* masked off everywhere */
    case_free(c);
    c = run_row(ROW("i32") "%11: i1 = gt %n, %1\nassume %11\n" END, (uint8_t *)x, sizeof x, 2, 3);
    ck_assert_int_eq(c->fault.kind, FAULT_ASSERT);
    ck_assert_uint_eq(c->fault.program[0], 2);
    case_free(c);
    c = run_row(
        ROW("i32") "%11: i32 = for %1, %n, %1, %1 (%12: i32, %13: i32) {\nyield %13\n}\n" END,
        (uint8_t *)x, sizeof x, 2, 1);
    ck_assert_int_eq(c->fault.kind, FAULT_ASSERT);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "the step of this loop is 0"));
    case_free(c);
}
END_TEST

START_TEST(unsupported) {
    int32_t x[64] = {0};
    Case *c = run_row(ROW("i32") "%11: 64xi32 = inline_asm %7 {asm_text = \"mov.b32 $0, $1;\", "
                                 "constraints = \"=r,r\", pack = 1}\n" END,
                      (uint8_t *)x, sizeof x, 2, 1);
    ck_assert_int_eq(c->fault.kind, FAULT_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(c->fault.message, "inline assembly"));
    case_free(c);
    c = run_row(ROW("i32") "%11: 64xi32 = gather %4, %7 {axis = 0}\n" END, (uint8_t *)x, sizeof x,
                2, 2);
    ck_assert_int_eq(c->fault.kind, FAULT_OUT_OF_BOUNDS);
    ck_assert_ptr_nonnull(strstr(c->fault.message,
                                 "gather out of bounds: index 64 on axis 0, which "
                                 "has 64 elements at element [0] (program 1"));
    case_free(c);
    c = run_row(ROW("i32") END, (uint8_t *)x, sizeof x, 2, 1);
    c->launch.grid[0] = c->launch.grid[1] = c->launch.grid[2] = UINT32_MAX;
    ck_assert(!interp_launch(c->plan, &c->launch, &c->fault));
    ck_assert_int_eq(c->fault.kind, FAULT_UNSUPPORTED);
    case_free(c);
}
END_TEST

/* The lowest program at fault is reported, whatever the threads do. */
START_TEST(lowest_program_wins) {
    static uint8_t x[64 * 4 * 100 + 8];
    for (int round = 0; round < 50; round++) {
        Case *c = case_new(ROW("f32") "%11: 64xf32 = load %5\n" END);
        case_buffer(c, x, sizeof x);
        case_scalar(c, 0);
        c->launch.threads = 8;
        ck_assert(!case_run(c, 5000));
        ck_assert_uint_eq(c->fault.program[0], 100);
        ck_assert_uint_eq(c->fault.coordinates[0], 2);
        case_free(c);
    }
}
END_TEST

/* The place in the text, and one argument among several in one buffer. */
START_TEST(place_and_argument) {
    int32_t x[4];
    Case *c = case_new("kernel @test(x: *i32, y: *i32" OPTIONS "%1: i32 = constant {value = 4}\n"
                       "%2: *i32 = offset %y, %1\n%3: i32 = load %2\n" END);
    case_buffer(c, x, sizeof x);
    c->arguments[1] = c->arguments[0] + 4;
    ck_assert(!case_run(c, 1));
    ck_assert_uint_eq(c->fault.at.span.line, 4);
    ck_assert_ptr_nonnull(
        strstr(c->fault.message, "offset 20 of `x` (and others in the same memory)"));
    case_free(c);
}
END_TEST

UNIT_MAIN("interp_faults", out_of_bounds_load, out_of_bounds_store_stops_before,
          negative_offset_belongs_to_its_buffer, coordinates, null_wild_and_freed, misaligned,
          unwritten, assertions, unsupported, lowest_program_wins, place_and_argument)
