/* Results of the CPU device do not depend on how many threads run the programs, to the bit. */
#include "tests/runtime_test.h"

/* Long enough that threads are woken, and no multiples of the blocks. */
enum { M = 1000, N = 610, K = 260, HEADS = 5, LENGTH = 610, DIM = 32 };

typedef struct Launch {
    Machine machine;
    tkc_kernel *kernel;
    tkc_grid grid;
    tkc_buffer *out;
    uint64_t size;
    tkc_argument arguments[24];
    uint32_t count;
} Launch;

static void open_machine(Launch *launch) {
    *launch = (Launch){0};
    setenv("TKC_NUM_THREADS", "16", 1);
    ok(tkc_context_create(NULL, &launch->machine.context));
    ok(tkc_device_open(launch->machine.context, "cpu", &launch->machine.device));
    unsetenv("TKC_NUM_THREADS");
}

static void add_tensor(Launch *launch, tkc_dtype dtype, uint64_t count, bool is_result) {
    const uint64_t size = count * tkc_dtype_size(dtype);
    double *numbers = malloc(count * sizeof *numbers);
    void *bytes = malloc(size);
    uint64_t state = launch->count + 1;
    for (uint64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        numbers[i] = (double)(state >> 11) * 0x1p-52 - 1;
    }
    tkc_encode(dtype, numbers, bytes, count);
    tkc_buffer *buffer = buffer_of(&launch->machine, "tensor", bytes, size);
    launch->arguments[launch->count++] = tkc_arg(buffer);
    if (is_result) launch->out = buffer, launch->size = size;
    free(numbers);
    free(bytes);
}

static void add_ints(Launch *launch, uint32_t count, const int64_t *numbers) {
    for (uint32_t i = 0; i < count; i++)
        launch->arguments[launch->count++] = tkc_arg_i64(numbers[i]);
}

static void compile(Launch *launch, const char *path, const char *kernel, uint32_t type_count,
                    const tkc_named *types, uint32_t constant_count, const tkc_named *constants) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = path;
    options.kernel = kernel;
    options.types = types;
    options.type_count = type_count;
    options.constants = constants;
    options.constant_count = constant_count;
    options.target = tkc_device_target(launch->machine.device);
    ok(tkc_compile(launch->machine.context, &options, &launch->kernel, NULL));
}

/* Twice with each number: which thread takes which programs changes from run to run. */
static void compare(Launch *launch) {
    static const uint32_t threads[] = {1, 2, 3, 7, 16, 1, 2, 3, 7, 16};
    uint8_t *first = malloc(launch->size), *again = malloc(launch->size);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
        options.threads = threads[i];
        ok(tkc_buffer_poison(launch->out));
        ok(tkc_launch(launch->kernel, launch->machine.device, NULL, launch->grid, launch->arguments,
                      launch->count, &options));
        ok(tkc_buffer_read(launch->out, 0, i ? again : first, launch->size));
        if (i > 0)
            ck_assert_msg(!memcmp(first, again, launch->size), "%u threads: other bits",
                          threads[i]);
    }
    free(first);
    free(again);
}

static void close_machine(Launch *launch) {
    for (uint32_t i = 0; i < launch->count; i++)
        if (launch->arguments[i].kind == TKC_ARGUMENT_BUFFER)
            tkc_buffer_destroy(launch->arguments[i].value.buffer);
    tkc_kernel_destroy(launch->kernel);
    tkc_device_destroy(launch->machine.device);
    tkc_context_destroy(launch->machine.context);
}

static void check_matmul(tkc_dtype dtype, const char *pointer) {
    Launch launch;
    open_machine(&launch);
    const tkc_named types[] = {{"a", pointer},       {"b", pointer},      {"c", "*fp32"},
                               {"N", "i32"},         {"K", "i32"},        {"stride_am", "i32"},
                               {"stride_bk", "i32"}, {"stride_cm", "i32"}};
    const tkc_named constants[] = {{"BLOCK_M", "32"}, {"BLOCK_N", "32"}, {"BLOCK_K", "32"}};
    compile(&launch, "kernels/matmul.tk", "matmul", 8, types, 3, constants);
    add_tensor(&launch, dtype, M * K, false);
    add_tensor(&launch, dtype, K * N, false);
    add_tensor(&launch, TKC_F32, M * N, true);
    add_ints(&launch, 6, (int64_t[]){M, N, K, K, N, N});
    launch.grid = tkc_grid1(tkc_cdiv(M, 32) * tkc_cdiv(N, 32));
    compare(&launch);
    close_machine(&launch);
}

START_TEST(matmul) {
    check_matmul(TKC_F32, "*fp32");
    check_matmul(TKC_BF16, "*bf16");
}
END_TEST

START_TEST(attention) {
    Launch launch;
    open_machine(&launch);
    const tkc_named types[] = {
        {"q", "*bf16:16"}, {"k", "*bf16:16"}, {"v", "*bf16:16"}, {"out", "*bf16:16"}};
    const tkc_named constants[] = {{"HEAD_DIM", "32"}, {"BLOCK_M", "32"}, {"BLOCK_N", "32"}};
    compile(&launch, "kernels/attention.tk", "attention_forward", 4, types, 3, constants);
    for (int i = 0; i < 4; i++) add_tensor(&launch, TKC_BF16, HEADS * LENGTH * DIM, i == 3);
    tkc_buffer *out = launch.out;
    const uint64_t size = launch.size;
    add_tensor(&launch, TKC_F32, HEADS * LENGTH, false);
    launch.out = out, launch.size = size;
    launch.arguments[launch.count++] = tkc_arg(0.2f);
    for (int i = 0; i < 4; i++)
        add_ints(&launch, 3, (int64_t[]){HEADS * LENGTH * DIM, LENGTH * DIM, DIM});
    add_ints(&launch, 5, (int64_t[]){HEADS, 1, LENGTH, LENGTH, 0});
    launch.grid = tkc_grid2(tkc_cdiv(LENGTH, 32), HEADS);
    compare(&launch);
    close_machine(&launch);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cpu_threads");
    tcase_add_test(tests, matmul);
    tcase_add_test(tests, attention);
    return run_suite("cpu_threads", tests);
}
