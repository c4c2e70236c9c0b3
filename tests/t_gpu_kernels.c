/* t_gpu_kernels.c: the kernels of kernels/ at each level. The interpreter runs the IR that the GPU
 * passes made of a kernel, and all memory must hold the same bits afterwards as after the block IR:
 * the passes move data about and compute nothing.
 *
 * Also here: that printing and reading a lower level changes nothing, and how many converts,
 * barriers and copies the inner loops are left with.
 */
#include "tests/unit.h"

#include "compiler/gpu/gpu.h"
#include "compiler/interp.h"
#include "runtime/tkc.h"

enum { MOST_ARGUMENTS = 48 };

/* Arguments in the order of the parameters: `*N` is a tensor of N elements. */
typedef struct Row {
    const char *file, *kernel, *signature, *constants, *arguments;
    uint32_t grid[3];
} Row;

#define MATRIX "i32:16, i32:1"
#define STRIDES "i64:16, i64:16, i32:16, i32:1"
#define HEADS "i32, i32, i32, i32, i32"
static const Row rows[] = {
    {"vector_add", "vector_add", NULL, NULL, "*1000 *1000 *1000 1000", {1, 1, 1}},
    {"matmul",
     "matmul",
     "*fp16:16, *fp16:16, *fp16:16, i32, i32:16, i32:16, " MATRIX ", " MATRIX ", " MATRIX,
     "GROUP_M=2",
     "*16384 *32768 *32768 100 240 112 128 256 256",
     {2, 1, 1}},
    {"matmul",
     "matmul",
     "*fp16:16, *fp16:16, *fp32:16, i32:16, i32:16, i32:16, " MATRIX ", " MATRIX ", " MATRIX,
     "EVEN_MN=True EVEN_K=True BLOCK_M=64 BLOCK_N=32 ACTIVATION='gelu'",
     "*8192 *8192 *4096 64 64 128 128 64 64",
     {2, 1, 1}},
    {"matmul",
     "matmul", /* b transposed */
     "*fp16:16, *fp16:16, *fp16:16, i32:16, i32:16, i32:16, i32:16, i32:1, i32:1, i32:16, " MATRIX,
     NULL,
     "*16384 *16384 *16384 128 128 128 128 128 128",
     {1, 1, 1}},
    {"matmul",
     "matmul",
     "*fp32:16, *fp32:16, *fp32:16, i32:16, i32:16, i32:16, " MATRIX ", " MATRIX ", " MATRIX,
     "PRECISION='ieee' BLOCK_M=32 BLOCK_N=64",
     "*1024 *2048 *2048 32 64 32 32 64 64",
     {1, 1, 1}},
    {"matmul",
     "matmul",
     "*fp8e4nv:16, *fp8e4nv:16, *fp32:16, i32:16, i32:16, i32:16, " MATRIX ", " MATRIX ", " MATRIX,
     "BLOCK_M=32 BLOCK_N=64 BLOCK_K=64",
     "*4096 *8192 *4096 32 64 128 128 64 64",
     {1, 1, 1}},
    {"attention",
     "attention_forward",
     "*fp16:16, *fp16:16, *fp16:16, *fp16:16, *fp32:16, fp32, " STRIDES ", " STRIDES ", " STRIDES
     ", " STRIDES ", " HEADS,
     "BLOCK_M=64 BLOCK_N=32",
     "*16384 *16384 *16384 *16384 *256 0.125 16384 8192 64 16384 8192 64 16384 8192 64 16384 8192 "
     "64 2 1 120 120 0",
     {2, 2, 1}},
    {"attention",
     "attention_backward_kv",
     "*fp16:16, *fp16:16, *fp16:16, *fp16:16, *fp32:16, *fp32:16, *fp16:16, *fp16:16, "
     "fp32, " STRIDES ", " STRIDES ", " STRIDES ", " STRIDES ", " STRIDES ", " STRIDES ", " HEADS,
     "BLOCK_M=32 BLOCK_N=64",
     "*16384 *16384 *16384 *16384 *256 *256 *16384 *16384 0.125 16384 8192 64 16384 8192 64 16384 "
     "8192 64 16384 8192 64 16384 8192 64 16384 8192 64 2 1 120 120 0",
     {2, 2, 1}},
    {"attention",
     "attention_backward_q", /* with a window, a soft cap, dropout and padded dims */
     "*fp16:16, *fp16:16, *fp16:16, *fp16:16, *fp32:16, *fp32:16, *fp16:16, fp32, " STRIDES
     ", " STRIDES ", " STRIDES ", " STRIDES ", " STRIDES ", " HEADS
     ", False, 40, 'tf32', 64, 32, 'softmax', i32, i32, fp32, None, u32, fp32, i64",
     NULL,
     "*16384 *16384 *16384 *16384 *256 *256 *16384 0.125 16384 8192 64 16384 8192 64 16384 8192 64 "
     "16384 8192 64 16384 8192 64 2 1 120 120 0 20 7 2.0 1000000000 1.25 5",
     {2, 2, 1}},
};

/* ---- a kernel and its memory ------------------------------------------------------------- */

typedef struct Subject {
    Context *context;
    Module *module;
    InterpBuffer buffers[MOST_ARGUMENTS];
    uint64_t arguments[MOST_ARGUMENTS];
    uint32_t buffer_count;
} Subject;

static char *block_ir(const Row *row) {
    tkc_context *context;
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    tkc_named constants[8];
    char path[256], words[512], *log = NULL, *at = words;
    snprintf(path, sizeof path, "kernels/%s.tk", row->file);
    snprintf(words, sizeof words, "%s", row->constants ? row->constants : "");
    for (char *word; (word = strtok_r(at, " ", &at)); options.constant_count++) {
        char *equals = strchr(word, '=');
        *equals = 0;
        constants[options.constant_count] = (tkc_named){word, equals + 1};
    }
    options.path = path;
    options.kernel = row->kernel;
    options.signature = row->signature;
    options.constants = constants;
    ck_assert_int_eq(tkc_context_create(NULL, &context), TKC_OK);
    ck_assert_msg(tkc_compile(context, &options, &kernel, &log) == TKC_OK, "%s: %s", row->kernel,
                  log ? log : tkc_last_error());
    char *ir = strdup(tkc_kernel_text(kernel, "ir", NULL));
    tkc_kernel_destroy(kernel);
    tkc_context_destroy(context);
    tkc_free(log);
    return ir;
}

/* Small numbers of the dtype, the same for the same seed. */
static void fill(DType dtype, uint64_t count, void *data, uint64_t seed) {
    static const uint32_t bits[] = {/* 1, -0.5, 0.25, -2 */ 0x3c00, 0xb800, 0x3400, 0xc000};
    static const float wide[] = {1, -0.5f, 0.25f, -2};
    static const uint8_t narrow[] = {0x38, 0xb0, 0x28, 0xc0};
    for (uint64_t i = 0; i < count; i++) {
        uint32_t k = random_next(&seed) & 3;
        if (dtype == DT_f16)
            ((uint16_t *)data)[i] = (uint16_t)bits[k];
        else if (dtype == DT_f32)
            ((float *)data)[i] = wide[k];
        else if (dtype == DT_f8e4m3)
            ((uint8_t *)data)[i] = narrow[k];
        else
            ck_abort_msg("no numbers of %s here", dtype_name(dtype));
    }
}

static Subject *subject_new(const Row *row, const char *ir) {
    Subject *s = calloc(1, sizeof *s);
    s->context = context_new();
    s->module = context_must_read(s->context, ir);
    const Kernel *kernel = s->module->kernel;
    char words[1024], *at = words;
    snprintf(words, sizeof words, "%s", row->arguments);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const Type *type = kernel->parameters[i].type;
        char *word = strtok_r(at, " ", &at);
        ck_assert_msg(word != NULL, "%s: argument %s is missing", row->kernel,
                      kernel->parameters[i].name);
        if (type->kind != TYPE_POINTER) {
            float number = strtof(word, NULL);
            int64_t integer = strtoll(word, NULL, 10);
            if (dtype_is_float(type->dtype))
                memcpy(&s->arguments[i], &number, sizeof number);
            else
                memcpy(&s->arguments[i], &integer, dtype_size(type->dtype));
            continue;
        }
        ck_assert_int_eq(*word, '*');
        uint64_t count = strtoull(word + 1, NULL, 10), size = type_element_size(type->element);
        InterpBuffer *buffer = &s->buffers[s->buffer_count];
        *buffer = (InterpBuffer){.data = malloc(count * size), .size = count * size};
        fill(type->element->dtype, count, buffer->data, i + 1);
        s->arguments[i] = INTERP_BUFFER_ADDRESS(s->buffer_count++);
    }
    ck_assert_msg(!strtok_r(at, " ", &at), "%s: too many arguments", row->kernel);
    return s;
}

static void subject_free(Subject *s) {
    for (uint32_t i = 0; i < s->buffer_count; i++) free(s->buffers[i].data);
    context_free(s->context);
    free(s);
}

static void subject_run(Subject *s, const Row *row) {
    InterpLaunch launch = {.grid = {row->grid[0], row->grid[1], row->grid[2]},
                           .arguments = s->arguments,
                           .buffers = s->buffers,
                           .buffer_count = s->buffer_count,
                           .threads = 2};
    InterpFault fault;
    InterpPlan *plan = interp_plan(&s->context->arena, s->module);
    ck_assert_msg(interp_launch(plan, &launch, &fault), "%s: %s", row->kernel, fault.message);
}

static void lower(Subject *s, const char *target, uint32_t num_warps, const char *stop_after) {
    s->module->target = target;
    s->module->kernel->num_warps = num_warps;
    PipelineOptions options = {.verify = true, .stop_after = stop_after};
    ck_assert_msg(pipeline_run(s->module, pipeline_gpu, &options), "%s",
                  context_messages(s->context));
}

/* Passes at block level may compute differently (a polynomial for exp); what comes behind may not.
 */
static void lower_blocks(Subject *s) {
    for (const Pass *pass = pipeline_gpu; pass->name && pass->after == LEVEL_BLOCK; pass++)
        pass->run(s->module);
}

static void must_read_back(Subject *s) {
    const char *text = context_print(s->context, s->module);
    Module *again = context_must_read(s->context, text);
    ck_assert_str_eq(text, context_print(s->context, again));
}

/* ---- the same results at each level ------------------------------------------------------ */

static void compare(const Row *row, const char *ir, const Subject *wanted, const char *target,
                    uint32_t num_warps, const char *stop_after) {
    Subject *s = subject_new(row, ir);
    lower(s, target, num_warps, stop_after);
    must_read_back(s);
    subject_run(s, row);
    for (uint32_t i = 0; i < s->buffer_count; i++)
        ck_assert_msg(!memcmp(s->buffers[i].data, wanted->buffers[i].data, s->buffers[i].size),
                      "%s on %s, %u warps, after %s: buffer %u differs", row->kernel, target,
                      num_warps, stop_after ? stop_after : "all", i);
    subject_free(s);
}

START_TEST(every_level_computes_the_same) {
    const Row *row = &rows[_i];
    char *ir = block_ir(row);
    Subject *plain = subject_new(row, ir);
    lower_blocks(plain);
    subject_run(plain, row);
    compare(row, ir, plain, "sm_80", 4, "lay");
    compare(row, ir, plain, "sm_80", 4, "settle");
    compare(row, ir, plain, "sm_80", 4, "pipeline");
    compare(row, ir, plain, "sm_80", 4, NULL);
    compare(row, ir, plain, "sm_80", 1, NULL);
    compare(row, ir, plain, "sm_80", 8, NULL);
    compare(row, ir, plain, "sm_89", 4, NULL);
    compare(row, ir, plain, "sm_90a", 4, NULL);
    subject_free(plain);
    free(ir);
}
END_TEST

/* ---- what the inner loops are left with -------------------------------------------------- */

typedef struct Count {
    OpCode code;
    uint32_t in_loops;
} Count;

static void count_op(Op *op, void *context) {
    Count *count = context;
    count->in_loops +=
        op->code == count->code && op->parent->parent && op->parent->parent->code == OP_for;
}

static uint32_t in_loops(Subject *s, OpCode code) {
    Count count = {.code = code};
    region_walk(s->module->kernel->body, count_op, &count);
    return count.in_loops;
}

START_TEST(matmul_loop) {
    char *ir = block_ir(&rows[1]);
    Subject *s = subject_new(&rows[1], ir);
    lower(s, "sm_80", 4, NULL);
    ck_assert_uint_eq(in_loops(s, OP_barrier), 1);
    ck_assert_uint_eq(in_loops(s, OP_async_copy), 2);
    ck_assert_uint_eq(in_loops(s, OP_async_wait), 1);
    ck_assert_uint_eq(in_loops(s, OP_shared_load), 2);
    ck_assert_uint_eq(in_loops(s, OP_convert), 0);
    ck_assert_uint_eq(in_loops(s, OP_load), 0);
    subject_free(s);
    free(ir);
}
END_TEST

START_TEST(attention_loops) { /* two: without the mask and with it */
    char *ir = block_ir(&rows[6]);
    Subject *s = subject_new(&rows[6], ir);
    lower(s, "sm_80", 4, NULL);
    ck_assert_uint_eq(in_loops(s, OP_barrier), 2);
    ck_assert_uint_eq(in_loops(s, OP_async_copy), 4);
    ck_assert_uint_eq(in_loops(s, OP_convert), 0); /* weights stay in registers */
    ck_assert_uint_eq(in_loops(s, OP_dot), 4);
    subject_free(s);
    free(ir);
}
END_TEST

static void walk_dots(Op *op, void *context) {
    MmaTile tile;
    if (op->code == OP_dot) ck_assert(gpu_dot_mma(context, op, &tile));
}

START_TEST(dots_are_mma) {
    static const uint32_t which[] = {1, 2, 3, 5, 6, 7};
    for (uint32_t i = 0; i < ARRAY_LENGTH(which); i++) {
        char *ir = block_ir(&rows[which[i]]);
        Subject *s = subject_new(&rows[which[i]], ir);
        lower(s, "sm_80", 4, NULL);
        region_walk(s->module->kernel->body, walk_dots, s->module);
        subject_free(s);
        free(ir);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gpu_kernels");
    TCase *levels = tcase_create("levels"), *loops = tcase_create("loops");
    tcase_set_timeout(levels, 120);
    tcase_add_loop_test(levels, every_level_computes_the_same, 0, ARRAY_LENGTH(rows));
    tcase_add_test(loops, matmul_loop);
    tcase_add_test(loops, attention_loops);
    tcase_add_test(loops, dots_are_mma);
    suite_add_tcase(suite, levels);
    suite_add_tcase(suite, loops);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
