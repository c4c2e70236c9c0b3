/* interp_test.h: what the tests of the interpreter share: kernels from text, buffers, launches.
 *
 * A Case is one kernel with its arguments, given in the order of the parameters. case_blocks makes
 * the kernel itself: it loads blocks, runs some ops on them, and stores blocks.
 */
#ifndef TKC_TESTS_INTERP_TEST_H
#define TKC_TESTS_INTERP_TEST_H

#include "tests/unit.h"

#include "compiler/interp.h"

typedef struct Case {
    Context *context;
    Module *module;
    InterpPlan *plan;
    InterpBuffer buffers[16];
    uint64_t arguments[16];
    uint32_t argument_count;
    InterpLaunch launch;
    InterpFault fault;
} Case;

static inline Case *case_new(const char *text) {
    Case *c = calloc(1, sizeof *c);
    c->context = context_new();
    c->module = context_must_read(c->context, text);
    c->plan = interp_plan(&c->context->arena, c->module);
    c->launch = (InterpLaunch){.grid = {1, 1, 1}, .threads = 2};
    return c;
}

static inline void case_free(Case *c) {
    context_free(c->context);
    free(c);
}

/* The next argument: a pointer to the start of `size` bytes. */
static inline void case_buffer(Case *c, void *data, uint64_t size) {
    const uint32_t k = c->launch.buffer_count++;
    c->buffers[k] = (InterpBuffer){.data = data, .size = size};
    c->arguments[c->argument_count++] = INTERP_BUFFER_ADDRESS(k);
}

static inline void case_scalar(Case *c, uint64_t bits) {
    c->arguments[c->argument_count++] = bits;
}

static inline bool case_run(Case *c, uint32_t programs) {
    c->launch.grid[0] = programs;
    c->launch.arguments = c->arguments;
    c->launch.buffers = c->buffers;
    return interp_launch(c->plan, &c->launch, &c->fault);
}

static inline void case_must_run(Case *c, uint32_t programs) {
    if (!case_run(c, programs)) ck_abort_msg("fault: %s", c->fault.message);
}

/* A block in memory. `shape` is "8x16", or NULL for a scalar. */
typedef struct Tensor {
    DType dtype;
    const char *shape;
    void *data;
} Tensor;

static inline uint32_t shape_count(const char *shape) {
    uint32_t count = 1;
    while (shape && *shape >= '0' && *shape <= '9') {
        char *end;
        count *= (uint32_t)strtoul(shape, &end, 10);
        shape = *end ? end + 1 : end;
    }
    return count;
}

static inline void add_pointers(Text *t, const Tensor *x, const char *name, uint32_t number) {
    const char *dtype = dtype_name(x->dtype);
    if (!x->shape) return;
    text_printf(t, "%%%u: %uxi32 = arange {start = 0, end = %u}\n", number, shape_count(x->shape),
                shape_count(x->shape));
    text_printf(t, "%%%u: %sxi32 = reshape %%%u\n", number + 1, x->shape, number);
    text_printf(t, "%%%u: %sx*%s = splat %%%s\n", number + 2, x->shape, dtype, name);
    text_printf(t, "%%%u: %sx*%s = offset %%%u, %%%u\n", number + 3, x->shape, dtype, number + 2,
                number + 1);
}

/* Loads `in` as %100, %101 ..., runs the ops of `middle`, stores %200, %201 ... to `out`. */
static inline Case *case_blocks(uint32_t in_count, const Tensor *in, const char *middle,
                                uint32_t out_count, const Tensor *out) {
    Context *context = context_new();
    Text t = {.arena = &context->arena};
    text_puts(&t, "kernel @test(");
    for (uint32_t i = 0; i < in_count; i++)
        text_printf(&t, "x%u: *%s, ", i, dtype_name(in[i].dtype));
    for (uint32_t i = 0; i < out_count; i++)
        text_printf(&t, "y%u: *%s%s", i, dtype_name(out[i].dtype), i + 1 < out_count ? ", " : "");
    text_puts(&t, ") {num_warps = 4, num_stages = 3, num_ctas = 1} {\n");
    for (uint32_t i = 0; i < in_count; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%u", i);
        add_pointers(&t, &in[i], name, 1000 + 10 * i);
        const char *shape = in[i].shape ? in[i].shape : "";
        text_printf(&t, "%%%u: %s%s%s = load ", 100 + i, shape, *shape ? "x" : "",
                    dtype_name(in[i].dtype));
        if (*shape)
            text_printf(&t, "%%%u\n", 1003 + 10 * i);
        else
            text_printf(&t, "%%%s\n", name);
    }
    text_printf(&t, "%s\n", middle);
    for (uint32_t i = 0; i < out_count; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%u", i);
        add_pointers(&t, &out[i], name, 2000 + 10 * i);
        if (out[i].shape)
            text_printf(&t, "store %%%u, %%%u\n", 2003 + 10 * i, 200 + i);
        else
            text_printf(&t, "store %%%s, %%%u\n", name, 200 + i);
    }
    text_puts(&t, "return\n}\n");
    Case *c = case_new(t.data);
    for (uint32_t i = 0; i < in_count + out_count; i++) {
        const Tensor *x = i < in_count ? &in[i] : &out[i - in_count];
        case_buffer(c, x->data, (uint64_t)shape_count(x->shape) * dtype_size(x->dtype));
    }
    context_free(context);
    return c;
}

static inline void run_blocks(uint32_t in_count, const Tensor *in, const char *middle,
                              uint32_t out_count, const Tensor *out) {
    Case *c = case_blocks(in_count, in, middle, out_count, out);
    case_must_run(c, 1);
    case_free(c);
}

#endif
