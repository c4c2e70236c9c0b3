/* runtime_test.h: what the tests of the runtime share: kernels as IR text, so that no front end is
 * needed, and short ways to open, compile and launch. */
#ifndef TKC_TESTS_RUNTIME_TEST_H
#define TKC_TESTS_RUNTIME_TEST_H

#include "runtime/tkc.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* out[i] = x[i] + y[i], 128 a program */
static const char *const add_ir = "kernel @add(x: *f32, y: *f32, out: *f32, n: i32)"
                                  " {num_warps = 4, num_stages = 3, num_ctas = 1} {\n"
                                  "    %0: i32 = program_id {axis = 0}\n"
                                  "    %1: i32 = constant {value = 128}\n"
                                  "    %2: i32 = mul %0, %1\n"
                                  "    %3: 128xi32 = arange {start = 0, end = 128}\n"
                                  "    %4: 128xi32 = splat %2\n"
                                  "    %5: 128xi32 = add %4, %3\n"
                                  "    %6: 128xi32 = splat %n\n"
                                  "    %7: 128xi1 = lt %5, %6\n"
                                  "    %8: 128x*f32 = splat %x\n"
                                  "    %9: 128x*f32 = offset %8, %5\n"
                                  "    %10: 128xf32 = load %9, %7\n"
                                  "    %11: 128x*f32 = splat %y\n"
                                  "    %12: 128x*f32 = offset %11, %5\n"
                                  "    %13: 128xf32 = load %12, %7\n"
                                  "    %14: 128xf32 = add %10, %13\n"
                                  "    %15: 128x*f32 = splat %out\n"
                                  "    %16: 128x*f32 = offset %15, %5\n"
                                  "    store %16, %14, %7\n"
                                  "    return\n"
                                  "}\n";

#define OPTIONS_IR " {num_warps = 4, num_stages = 3, num_ctas = 1} "

#define ok(call)                                                                                   \
    do {                                                                                           \
        tkc_status ok_status_ = (call);                                                            \
        ck_assert_msg(ok_status_ == TKC_OK, "%s: %s", #call, tkc_last_error());                    \
    } while (0)

/* The call fails with this status and its message has each of the parts (up to a NULL). */
#define fails(wanted, call, ...)                                                                   \
    do {                                                                                           \
        tkc_status fails_status_ = (call);                                                         \
        const char *const fails_parts_[] = {__VA_ARGS__, NULL};                                    \
        ck_assert_msg(fails_status_ == (wanted), "%s gave \"%s\": %s", #call,                      \
                      tkc_status_string(fails_status_), tkc_last_error());                         \
        for (int fails_i_ = 0; fails_parts_[fails_i_]; fails_i_++)                                 \
            ck_assert_msg(strstr(tkc_last_error(), fails_parts_[fails_i_]) != NULL,                \
                          "no \"%s\" in: %s", fails_parts_[fails_i_], tkc_last_error());           \
    } while (0)

typedef struct Machine {
    tkc_context *context;
    tkc_device *device;
} Machine;

static inline Machine machine_open(const tkc_context_options *options) {
    Machine m;
    ok(tkc_context_create(options, &m.context));
    ok(tkc_device_open(m.context, "interp", &m.device));
    return m;
}

static inline void machine_close(Machine *m) {
    tkc_device_destroy(m->device);
    tkc_context_destroy(m->context);
}

static inline tkc_kernel *compile_ir(const Machine *m, const char *text) {
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.language = TKC_LANGUAGE_IR;
    options.path = "test.tkir";
    options.text = text;
    ok(tkc_compile(m->context, &options, &kernel, NULL));
    return kernel;
}

/* A buffer holding these bytes. */
static inline tkc_buffer *buffer_of(const Machine *m, const char *name, const void *data,
                                    uint64_t size) {
    tkc_buffer *buffer;
    ok(tkc_buffer_create(m->device, size, name, &buffer));
    ok(tkc_buffer_write(buffer, 0, data, size));
    return buffer;
}

static inline int run_suite(const char *name, TCase *tests) {
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#endif
