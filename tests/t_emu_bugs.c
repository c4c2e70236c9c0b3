/* t_emu_bugs.c: planted bugs, each with its clean twin: the bug is reported with its kind, its
 * place and its words in every schedule; the twin runs clean in every schedule. Then: PTX that must
 * be refused, and launches that must be refused. */
#include "tests/emu_test.h"

typedef uint32_t u32;

typedef struct Bug {
    const char *kernel;
    u32 block;
    int inputs; /* 1: (in, out), 0: (out) */
    bool has_n;
    EmuFaultKind kind;
    const char *words;
} Bug;

static const Bug bugs[] = {
    {"off_by_one", 128, 1, true, EMU_OUT_OF_BOUNDS, "`in` (4096 bytes)"},
    {"misaligned", 128, 1, false, EMU_MISALIGNED, "not a multiple of 16"},
    {"null_pointer", 32, 0, false, EMU_NULL_ADDRESS, "a null pointer"},
    {"missing_barrier", 256, 1, false, EMU_NONE, ""},
    {"write_after_read", 128, 1, false, EMU_RACE, "and nothing orders the two"},
    {"missing_warp_sync", 32, 1, false, EMU_RACE, "warp 0 lane"},
    {"byte_neighbours", 64, 1, false, EMU_RACE, "nothing orders"},
    {"divergent_barrier", 64, 0, false, EMU_BARRIER, "lanes 0xffffff00"},
    {"barrier_deadlock", 64, 0, false, EMU_DEADLOCK, "barrier 2 (32 of 64 threads arrived)"},
    {"uninitialised_shared", 64, 0, false, EMU_UNINITIALISED, "which nothing has written"},
    {"shared_overrun", 64, 0, false, EMU_OUT_OF_BOUNDS, "outside the CTA's"},
    {"shuffle_outsider", 32, 0, false, EMU_UNINITIALISED, "which does not take part"},
    {"async_overwritten", 32, 1, false, EMU_ASYNC, "still under way"},
    {"lanes_disagree", 32, 0, false, EMU_RACE, "store different values"},
    {"assertion", 32, 0, true, EMU_TRAP, "trap"},
};

static u32 in[1024], out[1024];

static void setup(Emu *e, const Bug *bug, uint64_t seed) {
    emu_test_fixture(e, "bugs.sm_80");
    if (bug->inputs) emu_test_array(e, "in", in, sizeof in);
    emu_test_array(e, "out", out, sizeof out);
    if (bug->has_n) emu_test_int(e, bug->inputs ? 1024 : 18);
    if (strstr(bug->kernel, "shared_overrun")) e->launch.dynamic_shared = 256;
    e->launch.seed = seed;
    if (!strcmp(bug->kernel, "off_by_one")) e->launch.grid[0] = 9;
}

START_TEST(planted) {
    const Bug *bug = &bugs[_i];
    char clean[64];
    snprintf(clean, sizeof clean, "%s_ok", bug->kernel);
    for (uint64_t seed = 0; seed < 6; seed++) {
        Emu e;
        setup(&e, bug, seed);
        if (bug->kind) {
            emu_test_fault(&e, bug->kernel, 0, bug->block, bug->kind, bug->words);
        } else { /* a race or an unwritten word, by the schedule */
            ck_assert(!emu_test_launch(&e, bug->kernel, 0, bug->block));
            ck_assert(e.result.fault.kind == EMU_RACE || e.result.fault.kind == EMU_UNINITIALISED);
        }
        const EmuFault *fault = &e.result.fault;
        ck_assert_uint_gt(fault->ptx_line, 0);
        ck_assert_msg(fault->source_file && !strcmp(fault->source_file, "bugs.cu"), "%s",
                      fault->message);
        ck_assert_uint_gt(fault->source_line, 10);
        emu_test_free(&e);
        setup(&e, bug, seed);
        emu_test_run(&e, clean, 0, bug->block);
        emu_test_free(&e);
    }
}
END_TEST

/* The lines that a fault names are those of the statement that is wrong. */
START_TEST(lines) {
    FILE *file = fopen("tests/emu/bugs.cu", "r");
    ck_assert(file != NULL);
    char line[400];
    u32 number = 0, wanted = 0;
    while (fgets(line, sizeof line, file)) {
        number++;
        if (strstr(line, "const float4 *)(in")) wanted = number;
    }
    fclose(file);
    Emu e;
    setup(&e, &bugs[1], 0);
    emu_test_fault(&e, "misaligned", 0, 128, EMU_MISALIGNED, "reads 16 bytes");
    ck_assert_uint_eq(e.result.fault.source_line, wanted);
    ck_assert_int_eq(e.result.fault.warp, 0);
    ck_assert_int_eq(e.result.fault.lane, 0);
    ck_assert(e.result.fault.address == EMU_BUFFER_ADDRESS(0) + 8);
    emu_test_free(&e);
}
END_TEST

START_TEST(schedules) {
    Emu e;
    emu_test_fixture(&e, "bugs.sm_80");
    emu_test_array(&e, "out", out, sizeof out);
    e.launch.schedules = 20;
    e.launch.checks = EMU_CHECK_GLOBAL; /* the last writer of an atomic exchange is no race */
    emu_test_fault(&e, "schedule", 0, 256, EMU_SCHEDULE, "`out`");
    emu_test_run(&e, "schedule_ok", 0, 256);
    emu_test_free(&e);
}
END_TEST

START_TEST(limits) {
    volatile bool cancel = true;
    Emu e;
    memset(out, 0, sizeof out);
    emu_test_fixture(&e, "bugs.sm_80");
    emu_test_array(&e, "out", out, sizeof out);
    e.launch.instruction_limit = 100000;
    emu_test_fault(&e, "endless", 0, 32, EMU_LIMIT, "still running");
    e.launch.instruction_limit = 0;
    e.launch.cancel = &cancel;
    emu_test_fault(&e, "endless", 0, 32, EMU_CANCELLED, "stop");
    e.launch.cancel = NULL;
    emu_test_run(&e, "endless_ok", 0, 32);
    e.buffers[0].read_only = true;
    emu_test_fault(&e, "endless_ok", 0, 32, EMU_READ_ONLY, "`out`");
    emu_test_free(&e);
}
END_TEST

/* ---- PTX that is wrong ----------------------------------------------------------------------- */

#define HEAD ".version 8.0\n.target sm_90a\n.address_size 64\n"
#define BODY(text)                                                                                 \
    HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b32 %r<9>;\n.reg .f32 %f<9>;\n"               \
         ".reg .b64 %rd<9>;\n.reg .pred %p<9>;\n" text "\nret;\n}\n"
static const struct {
    const char *text, *words;
    u32 line;
} refused[] = {
    {BODY("frobnicate.b32 %r1, %r2;"), "unknown instruction `frobnicate.b32`", 10},
    {BODY("add.s32 %r1, %r2;"), "needs more operands", 10},
    {BODY("add.s32 %r1, %r2, %r3, %r4;"), "takes fewer operands", 10},
    {BODY("add.s32 %r1, %r2, %rd3;"), "`%rd3` is .b64", 10},
    {BODY("add.s32 %r1, %r2, %q;"), "`%q` is not a register", 10},
    {BODY("add.s32 %r1, %r2, %r9;"), "`%r9` is not a register", 10},
    {BODY("add.sometimes.s32 %r1, %r2, %r3;"), "`.sometimes` is not understood", 10},
    {BODY("mul.s32 %r1, %r2, %r3;"), "cannot run it", 10},
    {BODY("bra nowhere;"), "`nowhere` is not a label", 10},
    {BODY("mov.b64 {%r1, %r2, %r3}, %rd1;"), "3 parts do not make", 10},
    {BODY("ld.global.v4.f32 {%f1, %f2}, [%rd1];"), "4 elements are needed", 10},
    {BODY("mov.f32 %f1, 3;"), "a float literal is needed", 10},
    {BODY("call foo, (%r1);"), "not supported", 10},
    {BODY("cp.async.cg.shared.global [%r1], [%rd1], %r2;"), "a constant is needed", 10},
    {BODY("wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16 {%f1}, %rd1, %rd2, %p1, 1, 1, 0, 0;"),
     "not a known wgmma", 10},
    {BODY("add.s32 %r1, %r2 %r3;"), "syntax error", 10},
    {BODY("L: L: add.s32 %r1, %r1, 1;"), "declared twice", 10},
    {BODY("/* never closed"), "never closed", 10},
    {HEAD ".entry k() { .reg .b32 %r<99999999>; }", "too many", 4},
    {HEAD ".global .b8 x[99999999999];", "too large", 4},
    {".version 8.0\n.target sm_1\n", "unknown target", 2},
    {"hello", "syntax error", 1},
    {"", "no .target", 1},
};

START_TEST(wrong_ptx) {
    for (u32 i = 0; i < ARRAY_LENGTH(refused); i++) {
        Emu e;
        emu_test_init(&e);
        EmuModule *module = emu_test_load(&e, "x.ptx", refused[i].text, strlen(refused[i].text));
        ck_assert_msg(module == NULL, "accepted: %s", refused[i].text);
        const Diagnostic *first = e.diagnostics.first;
        ck_assert(first != NULL);
        ck_assert_msg(strstr(first->message, refused[i].words) != NULL, "%u: wanted `%s`, got `%s`",
                      i, refused[i].words, first->message);
        ck_assert_msg(first->at.span.line == refused[i].line, "%u: line %u", i,
                      first->at.span.line);
        emu_test_free(&e);
    }
}
END_TEST

/* A use of a register that only some paths write; packing an unwritten half is fine. */
START_TEST(registers) {
    static const char text[] =
        BODY("ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 4;\n"
             "@%p1 mov.u32 %r2, 7;\nmov.b64 %rd2, {%r1, %r3};\nmov.b64 {%r4, %r5}, %rd2;\n"
             "@%p1 st.global.u32 [%rd1], %r2;\nst.global.u32 [%rd1], %r2;");
    Emu e;
    emu_test_init(&e);
    ck_assert_msg(emu_test_load(&e, "x.ptx", text, sizeof text - 1) != NULL, "%s",
                  emu_messages(&e));
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_fault(&e, "k", 1, 32, EMU_UNINITIALISED, "`%r2`");
    ck_assert_int_eq(e.result.fault.lane, 4);
    ck_assert_uint_eq(e.result.fault.ptx_line, 17);
    emu_test_run(&e, "k", 1, 4);
    e.launch.checks = EMU_CHECK_GLOBAL;
    emu_test_run(&e, "k", 1, 32);
    emu_test_free(&e);
}
END_TEST

START_TEST(wrong_launches) {
    Emu e;
    emu_test_fixture(&e, "matmul.sm_80");
    emu_test_fault(&e, "matmul_clean", 1, 256, EMU_LAUNCH, "at most 128 threads");
    emu_test_fault(&e, "matmul_clean", 1, 2048, EMU_LAUNCH, "");
    e.launch.dynamic_shared = 1 << 20;
    emu_test_fault(&e, "matmul_clean", 1, 128, EMU_LAUNCH, "bytes of shared memory");
    e.launch.dynamic_shared = 0;
    e.launch.cluster[0] = 2;
    emu_test_fault(&e, "matmul_clean", 3, 128, EMU_LAUNCH, "not a multiple of the cluster's");
    emu_test_buffer(&e, "low", out, 64);
    e.buffers[0].address = 4096;
    e.launch.cluster[0] = 0;
    emu_test_fault(&e, "matmul_clean", 1, 128, EMU_LAUNCH, "buffer `low`");
    emu_test_free(&e);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_bugs");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, planted, 0, (int)ARRAY_LENGTH(bugs));
    tcase_add_test(c, lines);
    tcase_add_test(c, schedules);
    tcase_add_test(c, limits);
    tcase_add_test(c, wrong_ptx);
    tcase_add_test(c, registers);
    tcase_add_test(c, wrong_launches);
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
