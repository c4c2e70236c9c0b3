/* t_gpu_loops.c: what the kernels of kernels/ are made of on a GPU, as `tkc FILE -t sm_80` compiles
 * them: instructions of the inner loops, by kind and number, and what the emulator counts: no bank
 * conflicts in shared memory, and of each sector of global memory every byte is used. */
#include "tests/runtime_test.h"

enum { MOST_ARGUMENTS = 48, MOST_COUNTS = 20 };

/* Arguments in the order of the parameters: `*N` is an f16 tensor of N elements, `+N` an f32 one.
 */
typedef struct Case {
    const char *file, *kernel, *constants;
    uint32_t warps;
    const char *arguments;
    tkc_grid grid;
} Case;

/* The constant "NAME=VALUE"s of a case, cut apart. */
typedef struct Constants {
    char words[256];
    tkc_named named[8];
    uint32_t count;
} Constants;

static void read_constants(const char *text, Constants *c) {
    char *at = c->words;
    snprintf(c->words, sizeof c->words, "%s", text);
    for (char *word; (word = strtok_r(at, " ", &at));) {
        char *equals = strchr(word, '=');
        *equals = 0;
        c->named[c->count++] = (tkc_named){word, equals + 1};
    }
}

static tkc_kernel *compile(tkc_context *context, const Case *c, const char *target) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    Constants constants = {.count = 0};
    tkc_kernel *kernel;
    char path[256], *log = NULL;
    read_constants(c->constants, &constants);
    snprintf(path, sizeof path, "kernels/%s.tk", c->file);
    options.path = path;
    options.kernel = c->kernel;
    options.constants = constants.named;
    options.constant_count = constants.count;
    options.num_warps = c->warps;
    options.target = target;
    ck_assert_msg(tkc_compile(context, &options, &kernel, &log) == TKC_OK, "%s: %s", c->kernel,
                  log ? log : tkc_last_error());
    tkc_free(log);
    return kernel;
}

/* ---- loops ------------------------------------------------------------------------------- */

typedef struct Count {
    const char *start; /* of the instruction's name */
    uint32_t wanted;
} Count;

typedef struct LoopRow {
    Case c;
    Count counts[MOST_COUNTS];
    uint32_t rest; /* all others, at most: addresses, the loop itself */
} LoopRow;

/* clang-format off */
static const LoopRow loops[] = {
    {{"matmul", "matmul", "EVEN_MN=True EVEN_K=True", 4, "", {0}},
     {{"mma.sync.aligned.m16n8k16", 64}, {"ldmatrix.sync.aligned.m8n8.x4", 16},
      {"cp.async.cg", 8}, {"cp.async.commit", 1}, {"cp.async.wait", 1}, {"bar.sync", 1}}, 48},
    {{"attention", "attention_forward", "CAUSAL=False HEAD_DIM=64", 8, "", {0}},
     {{"mma.sync.aligned.m16n8k16", 64}, {"ldmatrix.sync.aligned.m8n8.x4", 32},
      {"cp.async.cg", 4}, {"cp.async.commit", 1}, {"cp.async.wait", 1}, {"bar.sync", 1},
      {"ex2.approx", 34}, {"fma.rn.f32", 34}, {"max.f32", 34 + 2}, {"add.f32", 34}, {"mul.f32", 34},
      {"cvt.rn.f16x2", 16}, {"shfl.sync.bfly", 8}}, 56},
    {{"attention", "attention_forward", "CAUSAL=False HEAD_DIM=128", 8, "", {0}},
     {{"mma.sync.aligned.m16n8k16", 128}, {"ldmatrix.sync.aligned.m8n8.x4", 72},
      {"cp.async.cg", 8}, {"cp.async.commit", 1}, {"cp.async.wait", 1}, {"bar.sync", 1},
      {"ex2.approx", 34}, {"fma.rn.f32", 34}, {"max.f32", 34 + 2}, {"add.f32", 34}, {"mul.f32", 66},
      {"cvt.rn.f16x2", 16}, {"shfl.sync.bfly", 8}}, 80},
};
/* clang-format on */

/* The first loop that has no other inside: from a label to the branch that goes back to it. */
static void find_loop(const char *ptx, const char **from, const char **to) {
    for (const char *at = ptx; (at = strstr(at, "bra")); at++) {
        char label[64], wanted[72];
        if (sscanf(at, "bra%*[.a-z]%63[^;]", label) != 1 && sscanf(at, "bra %63[^;]", label) != 1)
            continue;
        const char *name = strstr(label, "$L");
        if (!name) continue;
        snprintf(wanted, sizeof wanted, "\n%s:", name);
        *from = strstr(ptx, wanted);
        *to = at;
        if (*from && *from < at) return;
    }
    ck_abort_msg("there is no loop");
}

/* The next instruction's name at or behind `at`, NULL at the end; moves `at` behind its line. */
static const char *next_instruction(const char **at, const char *to) {
    while (*at < to) {
        const char *line = *at + strspn(*at, " \t");
        *at += strcspn(*at, "\n");
        *at += **at == '\n';
        if (*line == '@') line += strcspn(line, " \t"), line += strspn(line, " \t");
        if (*line >= 'a' && *line <= 'z') return line;
    }
    return NULL;
}

START_TEST(inner_loop) {
    const LoopRow *row = &loops[_i];
    tkc_context *context;
    ok(tkc_context_create(NULL, &context));
    tkc_kernel *kernel = compile(context, &row->c, "sm_80");
    const char *ptx = tkc_kernel_text(kernel, "ptx", NULL), *from, *to;
    uint32_t found[MOST_COUNTS] = {0}, rest = 0;
    ck_assert_ptr_null(strstr(ptx, ".local"));
    find_loop(ptx, &from, &to);
    for (const char *at = from + 1, *name; (name = next_instruction(&at, to));) {
        uint32_t k = 0;
        while (k < MOST_COUNTS && row->counts[k].start &&
               strncmp(name, row->counts[k].start, strlen(row->counts[k].start)) != 0)
            k++;
        const bool listed = k < MOST_COUNTS && row->counts[k].start;
        if (listed) found[k]++;
        rest += !listed && strncmp(name, "mov", 3) != 0; /* assemblers drop moves */
        for (const char *const *bad = (const char *const[]){"ld.", "st.", "div", "cvt.f32", NULL};
             *bad; bad++)
            ck_assert_msg(strncmp(name, *bad, strlen(*bad)) != 0, "%s: %.40s in the inner loop",
                          row->c.kernel, name);
    }
    for (uint32_t k = 0; k < MOST_COUNTS && row->counts[k].start; k++)
        ck_assert_msg(found[k] == row->counts[k].wanted, "%s %s: %u %s, not %u", row->c.kernel,
                      row->c.constants, found[k], row->counts[k].start, row->counts[k].wanted);
    ck_assert_msg(rest <= row->rest, "%s %s: %u other instructions, not at most %u", row->c.kernel,
                  row->c.constants, rest, row->rest);
    tkc_kernel_destroy(kernel);
    tkc_context_destroy(context);
}
END_TEST

/* ---- traffic ----------------------------------------------------------------------------- */

#define STRIDES "16384 16384 64 "
#define FOUR STRIDES STRIDES STRIDES STRIDES
#define HEADS "1 1 256 256 0"
#define FLOATS "*16384 *16384 *16384 *16384 "
static const Case traffic[] = {
    {"matmul",
     "matmul",
     "EVEN_MN=True EVEN_K=True",
     4,
     "*24576 *24576 *16384 128 128 192 192 128 128",
     {1, 1, 1}},
    {"attention",
     "attention_forward",
     "CAUSAL=False",
     8,
     FLOATS "+256 0.125 " FOUR HEADS,
     {1, 1, 1}},
    {"attention",
     "attention_backward_delta",
     "",
     4,
     "*16384 *16384 +256 " STRIDES STRIDES "1 256",
     {1, 1, 1}},
    {"attention",
     "attention_backward_kv",
     "CAUSAL=False",
     4,
     FLOATS "+256 +256 *16384 *16384 0.125 " FOUR STRIDES STRIDES HEADS,
     {1, 1, 1}},
    {"attention",
     "attention_backward_q",
     "CAUSAL=False",
     4,
     FLOATS "+256 +256 *16384 0.125 " FOUR STRIDES HEADS,
     {1, 1, 1}},
    {"softmax",
     "softmax_forward",
     "BLOCK=1024",
     4,
     "+2048 +2048 1024 0 0 1024 0 0 1024 2 1",
     {2, 1, 1}},
};

START_TEST(memory_traffic) {
    const Case *c = &traffic[_i];
    static const char *const targets[] = {"emu:sm_80", "emu:sm_90a"};
    for (uint32_t t = 0; t < 2; t++) {
        Machine m;
        ok(tkc_context_create(NULL, &m.context));
        ok(tkc_device_open(m.context, targets[t], &m.device));
        tkc_kernel *kernel = compile(m.context, c, targets[t] + 4);
        tkc_argument arguments[MOST_ARGUMENTS];
        tkc_buffer *buffers[MOST_ARGUMENTS];
        uint32_t count = 0, buffer_count = 0;
        char words[512], *at = words;
        snprintf(words, sizeof words, "%s", c->arguments);
        for (char *word; (word = strtok_r(at, " ", &at)); count++) {
            if (*word == '*' || *word == '+') {
                uint64_t size = strtoull(word + 1, NULL, 10) * (*word == '*' ? 2 : 4);
                void *zeros = calloc(1, size);
                ok(tkc_buffer_create(m.device, size, word, &buffers[buffer_count]));
                ok(tkc_buffer_write(buffers[buffer_count], 0, zeros, size));
                free(zeros);
                arguments[count] = tkc_arg_buffer(buffers[buffer_count++]);
            } else {
                arguments[count] = strchr(word, '.') ? tkc_arg_f32(strtof(word, NULL))
                                                     : tkc_arg_i64(strtoll(word, NULL, 10));
            }
        }
        tkc_counters n = TKC_COUNTERS_INIT;
        tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
        options.counters = &n;
        ok(tkc_launch(kernel, m.device, NULL, c->grid, arguments, count, &options));
        ck_assert_msg(n.shared_wavefronts == n.ideal_wavefronts,
                      "%s on %s: %llu wavefronts, ideal are %llu\n%s", c->kernel, targets[t],
                      (unsigned long long)n.shared_wavefronts,
                      (unsigned long long)n.ideal_wavefronts, n.text);
        /* bytes that several lanes ask for count more than once */
        ck_assert_msg(n.load_sectors * 32 <= n.load_bytes && n.store_sectors * 32 <= n.store_bytes,
                      "%s on %s: not all of each sector is used\n%s", c->kernel, targets[t],
                      n.text);
        if (_i == 0) /* each operand is read once: nothing behind the end of the loop */
            ck_assert_uint_eq(n.load_bytes, 2 * 24576 * 2);
        tkc_free(n.text);
        tkc_free(n.json);
        for (uint32_t i = 0; i < buffer_count; i++) tkc_buffer_destroy(buffers[i]);
        tkc_kernel_destroy(kernel);
        machine_close(&m);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gpu_loops");
    TCase *tests = tcase_create("loops");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, inner_loop, 0, sizeof loops / sizeof *loops);
    tcase_add_loop_test(tests, memory_traffic, 0, sizeof traffic / sizeof *traffic);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
