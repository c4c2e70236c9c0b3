/* t_cpu_device.c: the CPU device from outside: launches from many threads at once, the same bits
 * whatever the number of threads, and code that does not grow with the blocks. */
#include "tests/runtime_test.h"

#include <pthread.h>
#include <stdatomic.h>

/* Rows of x, times w, softmax of the sums: a dot, reductions, exp, masks; programs of all lengths.
 */
static const char rows_text[] =
    "import triton\nimport triton.language as tl\n\n\n@triton.jit\n"
    "def rows(x: '*fp32', w: '*fp32', y: '*fp32', n: 'i32', K: tl.constexpr = 64,\n"
    "         M: tl.constexpr = 16, N: tl.constexpr = 64):\n"
    "    m = tl.program_id(0) * M + tl.arange(0, M)\n"
    "    j = tl.arange(0, N)\n"
    "    k = tl.arange(0, K)\n"
    "    inside = (m < n)[:, None]\n"
    "    acc = tl.zeros([M, N], dtype=tl.float32)\n"
    "    for turn in range(tl.program_id(0) % 5 + 1):\n"
    "        a = tl.load(x + m[:, None] * K + k[None, :], mask=inside, other=0.0)\n"
    "        b = tl.load(w + k[:, None] * N + j[None, :])\n"
    "        acc = tl.dot(a, b, acc, input_precision='ieee')\n"
    "    e = tl.exp(acc - tl.max(acc, axis=1)[:, None])\n"
    "    tl.store(y + m[:, None] * N + j[None, :], e / tl.sum(e, axis=1)[:, None], mask=inside)\n";

enum { ROWS = 801, K = 64, N = 64, GRID = (ROWS + 15) / 16 };

typedef struct Problem {
    tkc_context *context;
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer *x, *w;
} Problem;

static tkc_kernel *compile(tkc_context *context, const char *path, const char *text,
                           const char *kernel, const tkc_named *types, uint32_t type_count,
                           const tkc_named *constants, uint32_t constant_count) {
    tkc_kernel *made = NULL;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = path;
    options.text = text;
    options.text_size = text ? strlen(text) : 0;
    options.kernel = kernel;
    options.target = "cpu";
    options.types = types;
    options.type_count = type_count;
    options.constants = constants;
    options.constant_count = constant_count;
    options.intermediate = true;
    ok(tkc_compile(context, &options, &made, NULL));
    return made;
}

static tkc_buffer *numbers(tkc_device *device, const char *name, uint32_t count) {
    tkc_buffer *buffer;
    float *data = malloc(count * sizeof *data);
    uint32_t state = count;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (float)(int32_t)state * 0x1p-32f;
    }
    ok(tkc_buffer_create(device, count * sizeof *data, name, &buffer));
    ok(tkc_buffer_write(buffer, 0, data, count * sizeof *data));
    free(data);
    return buffer;
}

static void open_problem(Problem *p) {
    ok(tkc_context_create(NULL, &p->context));
    ok(tkc_device_open(p->context, "cpu", &p->device));
    p->kernel = compile(p->context, "rows.tk", rows_text, "rows", NULL, 0, NULL, 0);
    p->x = numbers(p->device, "x", ROWS * K);
    p->w = numbers(p->device, "w", K * N);
}

static void close_problem(Problem *p) {
    tkc_buffer_destroy(p->x);
    tkc_buffer_destroy(p->w);
    tkc_kernel_destroy(p->kernel);
    tkc_device_destroy(p->device);
    tkc_context_destroy(p->context);
}

/* The result, on so many threads; malloc. */
static float *run_with(const Problem *p, uint32_t threads, bool bounds) {
    const uint64_t size = sizeof(float) * ROWS * N;
    tkc_buffer *y;
    float *data = malloc(size);
    ok(tkc_buffer_create(p->device, size, "y", &y));
    ok(tkc_buffer_poison(y));
    const tkc_argument arguments[] = {tkc_arg(p->x), tkc_arg(p->w), tkc_arg(y), tkc_arg(ROWS)};
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.threads = threads;
    options.bounds = bounds;
    ok(tkc_launch(p->kernel, p->device, NULL, tkc_grid1(GRID), arguments, 4, &options));
    ok(tkc_buffer_read(y, 0, data, size));
    tkc_buffer_destroy(y);
    return data;
}

static float *run(const Problem *p, uint32_t threads) {
    return run_with(p, threads, false);
}

START_TEST(threads_agree) {
    Problem p;
    open_problem(&p);
    float *one = run(&p, 1);
    for (uint32_t i = 0; i < ROWS; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < N; j++) sum += (double)one[i * N + j];
        ck_assert_msg(sum > 0.9999 && sum < 1.0001, "row %u sums up to %g", i, sum);
    }
    for (uint32_t threads = 2; threads <= 16; threads++) {
        float *many = run(&p, threads);
        ck_assert_msg(!memcmp(one, many, sizeof(float) * ROWS * N),
                      "%u threads give another result than one", threads);
        free(many);
    }
    free(one);
    close_problem(&p);
}
END_TEST

/* The words of faults: tests/golden/cli/bounds.sh. */
START_TEST(bounds) {
    Problem p;
    open_problem(&p);
    float *plain = run(&p, 0), *checked = run_with(&p, 0, true);
    ck_assert_msg(!memcmp(plain, checked, sizeof(float) * ROWS * N), "checking changes the result");
    tkc_buffer *y = numbers(p.device, "short", ROWS * N - 1);
    const tkc_argument arguments[] = {tkc_arg(p.x), tkc_arg(p.w), tkc_arg(y), tkc_arg(ROWS)};
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.bounds = true;
    fails(TKC_LAUNCH_FAULT,
          tkc_launch(p.kernel, p.device, NULL, tkc_grid1(GRID), arguments, 4, &options),
          "store out of bounds: element [0, 63] of the 16x64 block writes 4 bytes at offset 205052 "
          "of `y`, which has 205052 bytes (program 50, 0, 0)");
    const tkc_fault *fault = tkc_last_fault();
    ck_assert_int_eq(fault->kind, TKC_FAULT_OUT_OF_BOUNDS);
    ck_assert_str_eq(fault->buffer, "short");
    ck_assert_str_eq(fault->parameter, "y");
    ck_assert_int_eq(fault->offset, 4 * (ROWS * N - 1));
    tkc_buffer_destroy(y);
    free(plain);
    free(checked);
    close_problem(&p);
}
END_TEST

typedef struct Caller {
    const Problem *problem;
    const float *expected;
    uint32_t number;
    pthread_t thread;
} Caller;

static void *call_often(void *context) {
    const Caller *c = context;
    for (uint32_t i = 0; i < 8; i++) {
        float *got = run(c->problem, (c->number + i) % 4);
        ck_assert(!memcmp(got, c->expected, sizeof(float) * ROWS * N));
        free(got);
    }
    return NULL;
}

START_TEST(many_callers) {
    Problem p;
    Caller callers[4];
    open_problem(&p);
    float *expected = run(&p, 1);
    for (uint32_t i = 0; i < 4; i++) {
        callers[i] = (Caller){.problem = &p, .expected = expected, .number = i};
        ck_assert(!pthread_create(&callers[i].thread, NULL, call_often, &callers[i]));
    }
    for (uint32_t i = 0; i < 4; i++) pthread_join(callers[i].thread, NULL);
    free(expected);
    close_problem(&p);
}
END_TEST

static size_t code_size(tkc_context *context, const char *file, const char *kernel,
                        const char *block) {
    const tkc_named constants[] = {{"BLOCK_M", block}, {"BLOCK_N", block}};
    tkc_kernel *made = compile(context, file, NULL, kernel, NULL, 0, constants, 2);
    size_t size = 0;
    ck_assert_ptr_nonnull(tkc_kernel_text(made, "obj", &size));
    tkc_kernel_destroy(made);
    return size;
}

START_TEST(code_does_not_grow) {
    static const char *const kernels[][2] = {{"kernels/matmul.tk", "matmul"},
                                             {"kernels/attention.tk", "attention_forward"}};
    tkc_context *context;
    ok(tkc_context_create(NULL, &context));
    for (uint32_t i = 0; i < 2; i++) {
        const size_t small = code_size(context, kernels[i][0], kernels[i][1], "32");
        const size_t large = code_size(context, kernels[i][0], kernels[i][1], "128");
        ck_assert_msg(large <= small + small / 2, "%s: %zu bytes with blocks of 128, %zu with 32",
                      kernels[i][1], large, small);
    }
    tkc_context_destroy(context);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cpu_device");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, threads_agree);
    tcase_add_test(tests, many_callers);
    tcase_add_test(tests, bounds);
    tcase_add_test(tests, code_does_not_grow);
    return run_suite("cpu_device", tests);
}
