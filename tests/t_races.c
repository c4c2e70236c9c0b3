/* Tests of the race checker: planted races and their clean twins, locks, flags, atomics; and
 * atomics themselves under contention.
 */
#include "tests/interp_test.h"

#include "compiler/eval.h"

#define HEAD                                                                                       \
    "kernel @test(x: *i32, y: *i32, n: i32) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
#define START                                                                                      \
    HEAD                                                                                           \
        "%1: i32 = program_id {axis = 0}\n%2: i32 = constant {value = 64}\n%3: i32 = mul %1, %2\n" \
        "%4: 64xi32 = arange {start = 0, end = 64}\n%5: 64xi32 = splat %3\n%6: 64xi32 = add %5, "  \
        "%4\n"                                                                                     \
        "%7: 64x*i32 = splat %x\n%8: 64x*i32 = offset %7, %6\n%9: 64x*i32 = offset %7, %4\n"       \
        "%10: 64x*i32 = splat %y\n%11: 64x*i32 = offset %10, %6\n%12: i32 = constant {value = "    \
        "0}\n"                                                                                     \
        "%13: i32 = constant {value = 1}\n%14: 64xi32 = constant {value = 1}\n"
#define END "return\n}\n"

static int32_t x[4096], y[4096];

static Case *run(const char *text, uint32_t programs) {
    Case *c = case_new(text);
    memset(x, 0, sizeof x);
    memset(y, 0, sizeof y);
    case_buffer(c, x, sizeof x);
    case_buffer(c, y, sizeof y);
    case_scalar(c, 0);
    c->launch.check_races = true;
    case_run(c, programs);
    return c;
}

static void must_be_clean(const char *text) {
    Case *c = run(text, 8);
    ck_assert_msg(c->fault.kind == FAULT_NONE, "%s", c->fault.message);
    case_free(c);
}

/* A race of program `program` with `other`, and words of the message. */
static void must_race(const char *text, uint32_t program, uint32_t other, const char *words) {
    for (int round = 0; round < 3; round++) { /* the same report every time */
        Case *c = run(text, 8);
        ck_assert_msg(c->fault.kind == FAULT_RACE, "kind %d %s", c->fault.kind, c->fault.message);
        ck_assert_msg(c->fault.program[0] == program && c->fault.other_program[0] == other, "%s",
                      c->fault.message);
        ck_assert_msg(strstr(c->fault.message, words), "%s", c->fault.message);
        case_free(c);
    }
}

START_TEST(stores) {
    must_be_clean(START "store %8, %6\n" END);
    must_race(START "store %9, %6\n" END, 1, 0,
              "store in a race: element [0] of the 64 block writes 4 bytes at offset 0 of `x` that "
              "program 0, 0, 0 writes on line 16, and nothing orders the two (program 1, 0, 0)");
    /* the same value makes it no better; one program alone is fine */
    must_race(START "store %9, %14\n" END, 1, 0, "store in a race");
    must_be_clean(START "store %8, %6\nstore %8, %14\n%20: 64xi32 = load %8\n" END);
}
END_TEST

START_TEST(loads_against_stores) {
    must_be_clean(START "%20: 64xi32 = load %9\nstore %11, %20\n" END);
    /* program p reads its row and writes the next one's */
    must_race(START "%20: 64xi32 = load %8\n%21: 64x*i32 = splat %x\n%22: 64xi32 = add %6, %14\n"
                    "%23: 64x*i32 = offset %21, %22\nstore %23, %20\n" END,
              1, 0, "load in a race: element [0] of the 64 block reads 4 bytes at offset 256");
    /* everybody reads, the last one writes */
    must_race(START "%20: 64xi32 = load %9\n%21: i32 = constant {value = 7}\n%22: i1 = eq %1, %21\n"
                    "if %22 {\nstore %9, %20\nyield\n} else {\nyield\n}\n" END,
              7, 6, "reads on line 16");
    /* different lanes of one row, by masks: no byte is shared */
    must_be_clean(START "%20: 64xi32 = splat %1\n%21: 64xi1 = eq %4, %20\nstore %9, %6, %21\n" END);
}
END_TEST

START_TEST(bytes_beside_each_other) {
    /* programs write neighbouring bytes of one word: no race; overlapping halves: one */
    const char *format =
        "kernel @test(x: *i8, y: *i32, n: i32) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
        "%%1: i32 = program_id {axis = 0}\n%%2: *i8 = offset %%x, %%1\n"
        "%%3: i8 = cast %%1\n%s" END;
    char text[512];
    snprintf(text, sizeof text, format, "store %2, %3\n");
    must_be_clean(text);
    snprintf(text, sizeof text, format,
             "store %2, %3\n%4: *i16 = bitcast %x\n%5: i32 = constant {value = 4}\n"
             "%6: i1 = eq %1, %5\n%7: i16 = cast %1\nif %6 {\nstore %4, %7\nyield\n} else "
             "{\nyield\n}\n");
    must_race(text, 4, 0, "writes 2 bytes at offset 0");
}
END_TEST

START_TEST(atomics_do_not_race) {
    must_be_clean(START "%20: 64xi32 = atomic_rmw %9, %14 {kind = add}\n" END);
    must_be_clean(START "%20: 64xi32 = atomic_rmw %9, %14 {kind = add, sem = relaxed}\n" END);
    for (int i = 0; i < 64; i++) ck_assert_int_eq(x[i], 8);
    must_race(START "%20: 64xi32 = atomic_rmw %9, %14 {kind = add}\n%21: 64xi32 = load %9\n" END, 1,
              0, "that program 0, 0, 0 reads");
    must_race(START "%20: i1 = eq %1, %13\nif %20 {\nstore %9, %14\nyield\n} else {\n"
                    "%21: 64xi32 = atomic_rmw %9, %14 {kind = max}\nyield\n}\n" END,
              1, 0, "updates atomically");
}
END_TEST

/* x[0] is a lock, y[0] what it guards. */
#define LOCKED(acquire, release)                                                                   \
    START "%20: i32 = while %12 (%21: i32) {\n%22: i32 = atomic_cas %x, %12, %13 {sem = " acquire  \
          "}\n%23: i1 = ne %22, %12\ncondition %23, %22\n} (%24: i32) {\nyield %24\n}\n"           \
          "%25: i32 = load %y\n%26: i32 = add %25, %13\nstore %y, %26\n"                           \
          "%27: i32 = atomic_rmw %x, %12 {kind = xchg, sem = " release "}\n" END

START_TEST(locks_order) {
    must_be_clean(LOCKED("acquire", "release"));
    ck_assert_int_eq(y[0], 8);
    must_be_clean(LOCKED("acq_rel", "acq_rel"));
    must_race(LOCKED("relaxed", "release"), 1, 0, "of `y`");
    must_race(LOCKED("acquire", "relaxed"), 1, 0, "of `y`");
}
END_TEST

/* The last one to arrive adds up what the others left: the counter orders them. */
#define LAST(sem)                                                                                  \
    START "store %11, %6\n%20: i32 = atomic_rmw %x, %13 {kind = add" sem "}\n"                     \
          "%21: i32 = constant {value = 7}\n%22: i1 = eq %20, %21\nif %22 {\n"                     \
          "%23: 512xi32 = arange {start = 0, end = 512}\n%24: 512x*i32 = splat %y\n"               \
          "%25: 512x*i32 = offset %24, %23\n%26: 512xi32 = load %25\n"                             \
          "%27: i32 = reduce %26 {axis = 0} (%28: i32, %29: i32) {\n%30: i32 = add %28, %29\n"     \
          "yield %30\n}\n%31: *i32 = offset %x, %13\nstore %31, %27\nyield\n} else "               \
          "{\nyield\n}\n" END

START_TEST(last_to_arrive) {
    must_be_clean(LAST(""));
    ck_assert_int_eq(x[1], 511 * 256);
    must_be_clean(LAST(", sem = acq_rel"));
    must_race(LAST(", sem = relaxed"), 7, 0, "writes on line 16");
    must_race(LAST(", sem = acquire"), 7, 0, "of `y`");
    must_race(LAST(", sem = release"), 7, 0, "of `y`");
}
END_TEST

/* Order passes on from program to program, and does not reach back. */
START_TEST(order_is_transitive) {
    /* each program waits for its turn, then writes x[64..128) and passes the turn on */
    const char *chain =
        START "%20: i32 = while %12 (%21: i32) {\n%22: i32 = atomic_cas %x, %1, %1\n"
              "%23: i1 = ne %22, %1\ncondition %23, %22\n} (%24: i32) {\nyield %24\n}\n"
              "%25: 64xi32 = constant {value = 64}\n%26: 64x*i32 = offset %9, %25\n"
              "%27: 64xi32 = load %26\n%28: 64xi32 = add %27, %14\nstore %26, %28\n"
              "%29: i32 = atomic_rmw %x, %13 {kind = add}\n" END;
    must_be_clean(chain);
    for (int i = 64; i < 128; i++) ck_assert_int_eq(x[i], 8);
    /* written after the release: the next one does not see it */
    must_race(START "%20: i32 = atomic_rmw %x, %13 {kind = add}\n%21: 64x*i32 = offset %9, %14\n"
                    "%22: i32 = constant {value = 3}\n%23: i1 = lt %20, %22\n"
                    "store %21, %6\n" END,
              1, 0, "offset 4 of `x`");
}
END_TEST

/* Without the checker: many threads, one counter; every kind of update. */
START_TEST(updates_are_atomic) {
    static const struct {
        const char *kind;
        DType dtype;
        double start, want;
    } cases[] = {
        {"add", DT_i32, 0, 3000 * 64},
        {"add", DT_f32, 0, 3000 * 64},
        {"add", DT_f64, 1, 1 + 3000 * 64},
        {"add", DT_i64, 5, 5 + 3000 * 64},
        {"add", DT_f16, 0, 2048},
        {"max", DT_f32, -1, 2999},
        {"min", DT_i32, 7, 0},
        {"max", DT_u64, 0, 2999},
        {"or", DT_u32, 0, 4095},
        {"xor", DT_i32, 0, 0},
        {"and", DT_i64, 8191, 0},
        {"max", DT_bf16, 0, 2992},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const bool add = strcmp(cases[i].kind, "add") == 0;
        const char *dtype = dtype_name(cases[i].dtype);
        char text[1024];
        snprintf(text, sizeof text,
                 "kernel @test(x: *%s) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
                 "%%1: i32 = program_id {axis = 0}\n%%2: i32 = constant {value = 1}\n"
                 "%%3: %s = cast %s\n%%4: 64x%s = splat %%3\n%%5: 64x*%s = splat %%x\n"
                 "%%6: 64x%s = atomic_rmw %%5, %%4 {kind = %s}\nreturn\n}\n",
                 dtype, dtype, add ? "%2" : "%1", dtype, dtype, dtype, cases[i].kind);
        Case *c = case_new(text);
        uint64_t cell = eval_bits_from_double(cases[i].dtype, cases[i].start);
        case_buffer(c, &cell, dtype_size(cases[i].dtype));
        c->launch.threads = 4;
        case_must_run(c, 3000);
        ck_assert_msg(eval_double_from_bits(cases[i].dtype, cell) == cases[i].want, "%s of %s: %g",
                      cases[i].kind, dtype, eval_double_from_bits(cases[i].dtype, cell));
        case_free(c);
    }
}
END_TEST

START_TEST(old_values_and_masks) {
    int32_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, old[8], copy[8];
    uint8_t mask[8] = {1, 0, 1, 0, 1, 0, 1, 0};
    memcpy(copy, in, sizeof in);
    run_blocks(3, (Tensor[]){{DT_i32, "8", copy}, {DT_i1, "8", mask}, {DT_i32, NULL, copy}},
               "%1: 8x*i32 = splat %x0\n%2: 8xi32 = arange {start = 0, end = 8}\n"
               "%3: 8x*i32 = offset %1, %2\n%4: 8xi32 = constant {value = 10}\n"
               "%200: 8xi32 = atomic_rmw %3, %4, %101 {kind = xchg}\n"
               "%5: 8xi32 = constant {value = 4}\n%201: 8xi32 = atomic_cas %3, %5, %2",
               2, (Tensor[]){{DT_i32, "8", old}, {DT_i32, "8", in}});
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(old[i], i % 2 ? 0 : i + 1);
        ck_assert_int_eq(in[i], i % 2 ? i + 1 : 10);
        ck_assert_int_eq(copy[i], i % 2 ? i + 1 == 4 ? 3 : i + 1 : 10);
    }
}
END_TEST

/* A lock taken by threads that really run side by side. */
START_TEST(locks_work_without_the_checker) {
    Case *c = case_new(LOCKED("acquire", "release"));
    memset(x, 0, sizeof x);
    memset(y, 0, sizeof y);
    case_buffer(c, x, sizeof x);
    case_buffer(c, y, sizeof y);
    case_scalar(c, 0);
    c->launch.threads = 4;
    case_must_run(c, 400);
    ck_assert_int_eq(y[0], 400);
    case_free(c);
}
END_TEST

UNIT_MAIN("races", stores, loads_against_stores, bytes_beside_each_other, atomics_do_not_race,
          locks_order, last_to_arrive, order_is_transitive, updates_are_atomic,
          old_values_and_masks, locks_work_without_the_checker)
