/* t_gpu_emit.c: what the emitter writes, by counts of instructions: tensor cores, ldmatrix,
 * vectors, barriers, lines, and that the same input gives the same bytes. Numbers are for emu to
 * check. */
#include "compiler/base.h"
#include "runtime/tkc.h"

#include "tests/check_quick.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Compiled {
    Arena arena;
    Text ptx, messages;
    bool good;
} Compiled;

static void compile(Compiled *c, tkc_compile_options *options) {
    tkc_context *context;
    tkc_kernel *kernel;
    char *log;
    size_t size;
    arena_init(&c->arena, 0);
    c->ptx = c->messages = (Text){.arena = &c->arena};
    options->no_cache = options->verify = true;
    ck_assert_int_eq(tkc_context_create(NULL, &context), TKC_OK);
    c->good = tkc_compile(context, options, &kernel, &log) == TKC_OK;
    if (c->good) {
        const char *ptx = tkc_kernel_text(kernel, "ptx", &size);
        text_add(&c->ptx, ptx, size);
    }
    text_puts(&c->messages, log ? log : c->good ? "" : tkc_last_error());
    tkc_free(log);
    tkc_kernel_destroy(kernel);
    tkc_context_destroy(context);
}

static void compile_text(Compiled *c, const char *path, const char *text, const char *target) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = path;
    options.text = text;
    options.target = target;
    compile(c, &options);
}

static Compiled compile_file(const char *path, const char *kernel, const char *signature,
                             const tkc_named *constants, uint32_t count, const char *target) {
    Compiled c;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = path;
    options.kernel = kernel;
    options.signature = signature;
    options.constants = constants;
    options.constant_count = count;
    options.target = target;
    compile(&c, &options);
    ck_assert_msg(c.good, "%s: %s", path, c.messages.data);
    return c;
}

static Compiled compile_lines(const char *text, const char *target) {
    Compiled c;
    compile_text(&c, "test.tk", text, target);
    ck_assert_msg(c.good, "%s", c.messages.data);
    return c;
}

static uint32_t occurrences(const char *from, const char *to, const char *what) {
    uint32_t n = 0;
    for (const char *at = from; (at = strstr(at, what)) && at < to; at++) n++;
    return n;
}

static uint32_t count(const Compiled *c, const char *what) {
    return occurrences(c->ptx.data, c->ptx.data + c->ptx.length, what);
}

/* The innermost loop: from the label that a later branch goes back to, to that branch. */
static void loop_of(const Compiled *c, const char **from, const char **to) {
    for (const char *at = c->ptx.data; (at = strstr(at, "bra")); at++) {
        char label[64];
        if (sscanf(at, "bra%*[.a-z]%63[^;]", label) != 1 && sscanf(at, "bra %63[^;]", label) != 1)
            continue;
        const char *name = strstr(label, "$L");
        if (!name) continue;
        char *wanted = arena_printf((Arena *)&c->arena, "\n%s:", name);
        const char *target = strstr(c->ptx.data, wanted);
        if (!target || target > at) continue;
        *from = target, *to = at;
        return;
    }
    ck_abort_msg("there is no loop");
}

static const char matmul_types[] = "*fp16:16, *fp16:16, *fp16:16, i32:16, i32:16, i32:16, i32:16, "
                                   "1, i32:16, 1, i32:16, 1";
static const tkc_named even[] = {{"EVEN_MN", "True"}, {"EVEN_K", "True"}};

START_TEST(matmul_loop) {
    static const char *const targets[] = {"sm_80", "sm_90a"};
    Compiled c = compile_file("kernels/matmul.tk", "matmul", matmul_types, even, 2, targets[_i]);
    const char *from, *to;
    loop_of(&c, &from, &to);
    ck_assert_uint_eq(occurrences(from, to, "mma.sync.aligned.m16n8k16"), 64);
    ck_assert_uint_eq(occurrences(from, to, "ldmatrix.sync.aligned.m8n8.x4"), 16);
    ck_assert_uint_eq(occurrences(from, to, "cp.async.cg.shared.global"), 8);
    ck_assert_uint_eq(occurrences(from, to, "bar.sync"), 1);
    ck_assert_uint_eq(occurrences(from, to, "ld.shared"), 0);
    ck_assert_uint_eq(occurrences(from, to, "st.shared"), 0);
    ck_assert_uint_eq(occurrences(from, to, "shfl"), 0);
    ck_assert_uint_eq(count(&c, "st.global.v4"), 16);
    ck_assert_uint_eq(count(&c, "ld.local") + count(&c, "st.local"), 0);
    arena_free(&c.arena);
}
END_TEST

static const char add_source[] = "import triton\n"
                                 "import triton.language as tl\n"
                                 "@triton.jit\n"
                                 "def add(x: '*fp32:16', y: '*fp32:16', n: 'i32:16'):\n"
                                 "    i = tl.program_id(0) * 512 + tl.arange(0, 512)\n"
                                 "    v = tl.load(x + i, mask=i < n)\n"
                                 "    tl.store(y + i, v + 1.0, mask=i < n)\n";

START_TEST(vectors_under_a_mask) {
    Compiled c = compile_lines(add_source, "sm_80");
    ck_assert_uint_eq(count(&c, "ld.global.v4.b32"), 1);
    ck_assert_uint_eq(count(&c, "st.global.v4.b32"), 1);
    ck_assert_uint_eq(count(&c, "ld.global"), 1);
    ck_assert_uint_eq(count(&c, ".reqntid 128"), 1);
    ck_assert_uint_eq(count(&c, ".visible .entry add("), 1);
    arena_free(&c.arena);
}
END_TEST

/* Neighbours are added together where the GPU can: pairs of halves everywhere, vectors since sm_90.
 * Orders: one instruction carries its own, several share a fence. */
START_TEST(vectors_of_atomics) {
    static const char source[] = "import triton\n"
                                 "import triton.language as tl\n"
                                 "@triton.jit\n"
                                 "def add(x: '*fp32:16', y: '*fp16:16', n: 'i32:16'):\n"
                                 "    i = tl.arange(0, 1024)\n"
                                 "    tl.atomic_add(x + i, 1.0, mask=i < n, sem='relaxed')\n"
                                 "    tl.atomic_add(y + i, 1.0, mask=i < n)\n";
    Compiled old = compile_lines(source, "sm_80"), new = compile_lines(source, "sm_90a");
    ck_assert_uint_eq(count(&old, "red.relaxed.gpu.global.add.f32"), 8);
    ck_assert_uint_eq(count(&old, "red.relaxed.gpu.global.add.noftz.f16x2"), 4);
    ck_assert_uint_eq(count(&old, "fence.acq_rel.gpu"), 1);
    ck_assert_uint_eq(count(&new, "red.relaxed.gpu.global.add.v4.f32"), 2);
    ck_assert_uint_eq(count(&new, "red.release.gpu.global.add.noftz.v4.f16x2"), 1);
    ck_assert_uint_eq(count(&new, "fence.acq_rel.gpu"), 0);
    ck_assert_uint_eq(count(&old, "atom.") + count(&new, "atom."), 0);
    arena_free(&old.arena);
    arena_free(&new.arena);
}
END_TEST

/* A sorted axis within a warp takes a compare, a choice and at most one shuffle a register and
 * step, and no shared memory. */
START_TEST(sorting_network) {
    static const char source[] = "import triton\n"
                                 "import triton.language as tl\n"
                                 "@triton.jit\n"
                                 "def order(x: '*fp32:16', y: '*fp32:16'):\n"
                                 "    i = tl.arange(0, 64)[:, None] * 128\n"
                                 "    i = i + tl.arange(0, 128)[None, :]\n"
                                 "    tl.store(y + i, tl.sort(tl.load(x + i)))\n";
    enum { STEPS = 7 * 8 / 2, REGISTERS = 64 * 128 / 128 };
    Compiled c = compile_lines(source, "sm_80");
    ck_assert_uint_eq(count(&c, "setp.gt.f32"), STEPS * REGISTERS);
    ck_assert_uint_eq(count(&c, "selp"), STEPS * REGISTERS);
    ck_assert_uint_eq(count(&c, "shfl.sync.bfly"), (5 + 4 + 3 + 2 + 1) * REGISTERS);
    ck_assert_uint_eq(count(&c, "shfl"), count(&c, "shfl.sync.bfly"));
    ck_assert_uint_eq(count(&c, "bar.sync") + count(&c, "shared."), 0);
    ck_assert_uint_lt(c.ptx.length, 300000);
    arena_free(&c.arena);
}
END_TEST

START_TEST(lines_of_the_source) {
    Compiled c = compile_lines(add_source, "sm_90a");
    ck_assert_uint_eq(count(&c, ".target sm_90a\n"), 1); /* not "sm_90a, debug" */
    ck_assert_uint_ge(count(&c, ".loc\t1 6 "), 1);
    ck_assert_uint_ge(count(&c, ".loc\t1 7 "), 1);
    ck_assert_uint_eq(count(&c, ".file\t1 \"test.tk\""), 1);
    arena_free(&c.arena);
}
END_TEST

START_TEST(same_bytes) {
    Compiled a = compile_file("kernels/matmul.tk", "matmul", matmul_types, even, 2, "sm_80");
    Compiled b = compile_file("kernels/matmul.tk", "matmul", matmul_types, even, 2, "sm_80");
    ck_assert_str_eq(a.ptx.data, b.ptx.data);
    arena_free(&a.arena);
    arena_free(&b.arena);
}
END_TEST

static void *compile_often(void *unused) {
    (void)unused;
    for (int i = 0; i < 5; i++) {
        Compiled c = compile_lines(add_source, i & 1 ? "sm_80" : "sm_100a");
        arena_free(&c.arena);
    }
    return NULL;
}

START_TEST(threads_at_once) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, compile_often, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}
END_TEST

/* An error in what users wrote for the assembler ends up in a message, and the next compilation is
 * none the worse. */
START_TEST(errors_are_values) {
    static const char bad[] =
        "import triton\n"
        "import triton.language as tl\n"
        "@triton.jit\n"
        "def k(x: '*i32:16'):\n"
        "    i = tl.arange(0, 128)\n"
        "    v = tl.load(x + i)\n"
        "    v = tl.inline_asm_elementwise('nonsense $0;', '=r,r,r,r', [v], dtype=tl.int32,\n"
        "                                  is_pure=True, pack=1)\n"
        "    tl.store(x + i, v)\n";
    Compiled c;
    compile_text(&c, "bad.tk", bad, "sm_80");
    ck_assert(!c.good);
    ck_assert_ptr_nonnull(strstr(c.messages.data, "bad.tk:7"));
    ck_assert_ptr_nonnull(strstr(c.messages.data, "constraints"));
    arena_free(&c.arena);
    Compiled good = compile_lines(add_source, "sm_80");
    arena_free(&good.arena);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gpu_emit");
    TCase *all = tcase_create("ptx");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, matmul_loop, 0, 2);
    tcase_add_test(all, vectors_under_a_mask);
    tcase_add_test(all, vectors_of_atomics);
    tcase_add_test(all, sorting_network);
    tcase_add_test(all, lines_of_the_source);
    tcase_add_test(all, same_bytes);
    tcase_add_test(all, threads_at_once);
    tcase_add_test(all, errors_are_values);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
