/* Random kernels, run as they are and after the passes: the two have different lifetimes, hoisted
 * and dropped ops, so places in the frame differ all over; the results must not. Loops carry
 * values in any order, ifs give them, views share them. Then the same through the passes of a GPU:
 * layouts move data about, and the text of what they make reads back as it was.
 */
#include "tests/random_kernel.h"

#include "compiler/gpu/gpu.h"
#include "compiler/passes/pass.h"

static void run_kernel(Case *c, int32_t *out) {
    memset(out, 0, OUT * sizeof *out);
    case_buffer(c, out, OUT * sizeof *out);
    c->buffers[1] = c->buffers[0];
    c->arguments[c->argument_count++] = c->arguments[0];
    case_scalar(c, 21);
    case_must_run(c, 1);
}

static void lower_for_gpu(Case *c, int round) {
    static const char *const targets[] = {"sm_80", "sm_89", "sm_90a"};
    c->module->target = targets[round % 3];
    c->module->kernel->num_warps = 1u << round % 5;
    ck_assert_msg(pipeline_run(c->module, pipeline_gpu, &(PipelineOptions){.verify = true}), "%s",
                  context_messages(c->context));
    const char *text = context_print(c->context, c->module);
    Module *again = context_must_read(c->context, text);
    ck_assert_str_eq(text, context_print(c->context, again));
}

static void compare_all(uint32_t rounds, bool gpu) {
    static int32_t plain[OUT], passed[OUT];
    uint64_t seed = random_seed(47);
    for (uint32_t round = 0; round < rounds; round++) {
        Context *context = context_new();
        const uint64_t start = seed;
        const char *text =
            make_kernel(context, seed = seed * 6364136223846793005u + 1442695040888963407u);
        Case *a = case_new(text), *b = case_new(text);
        ck_assert_msg(pipeline_run(b->module, pipeline_block, &(PipelineOptions){.verify = true}),
                      "%s", context_messages(b->context));
        if (gpu) lower_for_gpu(b, (int)round);
        b->plan = interp_plan(&b->context->arena, b->module);
        run_kernel(a, plain);
        run_kernel(b, passed);
        if (memcmp(plain, passed, sizeof plain) != 0)
            ck_abort_msg("results differ with TKC_SEED=%llu", (unsigned long long)start);
        case_free(a);
        case_free(b);
        context_free(context);
    }
}

START_TEST(random_kernels) {
    compare_all(1500, false);
}
END_TEST

START_TEST(random_kernels_on_gpu_levels) {
    compare_all(600, true);
}
END_TEST

UNIT_MAIN("interp_random", random_kernels, random_kernels_on_gpu_levels)
