/* t_dev_emu.c: the `emu` device through the public interface, on saved kernels, so that it needs no
 * code generator: answers, tensors, faults with lines, counters, what it refuses. */
#include "tests/runtime_test.h"

#include <dlpack/dlpack.h>

#define HEADER(name, more)                                                                         \
    "// tkc kernel 1\n// name: " name "\n// target: sm_80\n// num_warps: 1\n// num_stages: 3\n"    \
    "// num_ctas: 1\n// shared_bytes: 0\n" more "// end\n"
#define PTX ".version 7.0\n.target sm_80\n.address_size 64\n"

/* out[i] = x[i] + bias, 32 a program; no bounds are checked */
static const char *const add_ptx = HEADER("add", "// parameter: *f32 16 x\n"
                                                 "// parameter: *f32 16 out\n"
                                                 "// parameter: f32 1 bias\n") PTX
    ".file 1 \"add.tk\"\n"
    ".visible .entry add(.param .u64 p0, .param .u64 p1, .param .f32 p2)\n{\n"
    "    .reg .f32 %f<3>; .reg .b32 %r<5>; .reg .b64 %d<6>;\n"
    "    .loc 1 3 5\n"
    "    ld.param.u64 %d0, [p0]; ld.param.u64 %d1, [p1]; ld.param.f32 %f0, [p2];\n"
    "    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x; mad.lo.s32 %r3, %r1, 32, %r2;\n"
    "    mul.wide.s32 %d2, %r3, 4; add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;\n"
    "    .loc 1 4 9\n"
    "    ld.global.f32 %f1, [%d3];\n"
    "    add.f32 %f2, %f1, %f0;\n"
    "    .loc 1 5 5\n"
    "    st.global.f32 [%d4], %f2;\n"
    "    ret;\n}\n";

static Machine open_emu(const char *name) {
    Machine m;
    ok(tkc_context_create(NULL, &m.context));
    ok(tkc_device_open(m.context, name, &m.device));
    return m;
}

static tkc_kernel *load(const Machine *m, const char *text) {
    tkc_kernel *kernel;
    ok(tkc_kernel_load(m->context, NULL, text, 0, &kernel));
    return kernel;
}

START_TEST(names) {
    Machine m = open_emu("emu");
    ck_assert_str_eq(tkc_device_name(m.device), "emu:sm_80");
    ck_assert_str_eq(tkc_device_target(m.device), "sm_80");
    machine_close(&m);
    m = open_emu("emu:sm_90a");
    ck_assert_str_eq(tkc_device_target(m.device), "sm_90a");
    tkc_device *device;
    fails(TKC_NOT_FOUND, tkc_device_open(m.context, "emu:sm_1", &device), "emu:sm_1");
    machine_close(&m);
}
END_TEST

START_TEST(answers_and_counters) {
    Machine m = open_emu("emu");
    tkc_kernel *kernel = load(&m, add_ptx);
    float x[64], out[64];
    for (int i = 0; i < 64; i++) x[i] = (float)i;
    tkc_buffer *from = buffer_of(&m, "x", x, sizeof x), *to = buffer_of(&m, "out", x, sizeof x);
    ok(tkc_buffer_poison(to));
    tkc_counters counters = TKC_COUNTERS_INIT;
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.counters = &counters;
    options.seed = 7;
    tkc_argument arguments[] = {tkc_arg(from), tkc_arg(to), tkc_arg(0.5f)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 3, &options));
    ok(tkc_buffer_read(to, 0, out, sizeof out));
    for (int i = 0; i < 64; i++) ck_assert(out[i] == x[i] + 0.5f);
    ck_assert_uint_eq(counters.programs, 2);
    ck_assert_uint_eq(counters.warps, 2);
    ck_assert_uint_eq(counters.load_requests, 2);
    ck_assert_uint_eq(counters.load_sectors, 8);
    ck_assert_uint_eq(counters.load_bytes, 256);
    ck_assert_uint_eq(counters.store_bytes, 256);
    ck_assert(strstr(counters.text, "add.tk") != NULL);
    ck_assert(counters.json[0] == '{');
    tkc_free(counters.text);
    tkc_free(counters.json);
    tkc_buffer_destroy(from);
    tkc_buffer_destroy(to);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(tensors) {
    Machine m = open_emu("emu");
    tkc_kernel *kernel = load(&m, add_ptx);
    _Alignas(16) float data[64] = {0};
    int64_t shape[] = {32};
    DLTensor x = {
        .data = data, .device = {kDLCPU, 0}, .ndim = 1, .dtype = {kDLFloat, 32, 1}, .shape = shape};
    DLTensor out = x;
    out.byte_offset = 128;
    tkc_argument arguments[] = {tkc_arg_dltensor(&x), tkc_arg_dltensor(&out), tkc_arg(2.0f)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(1), arguments, 3, NULL));
    for (int i = 0; i < 32; i++) ck_assert(data[32 + i] == 2.0f && data[i] == 0);
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 3, NULL),
          "out of bounds");
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(faults) {
    Machine m = open_emu("emu");
    tkc_kernel *kernel = load(&m, add_ptx);
    tkc_buffer *from, *to;
    ok(tkc_buffer_create(m.device, 256, "in", &from));
    ok(tkc_buffer_create(m.device, 200, "result", &to));
    ok(tkc_buffer_poison(from));
    tkc_argument arguments[] = {tkc_arg(from), tkc_arg(to), tkc_arg(0.5f)};
    const float numbers[64] = {0};
    ok(tkc_buffer_write(from, 0, numbers, 100));
    const tkc_grid empty[] = {{0, 1, 1}, {5, 0, 5}, {1, 1, 0}}; /* these run nothing */
    for (int i = 0; i < 3; i++)
        ok(tkc_launch(kernel, m.device, NULL, empty[i], arguments, 3, NULL));
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(1), arguments, 3, NULL),
          "add.tk:4: fault:", "offset 100 of `in`, where nothing was written before");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_UNWRITTEN);
    ok(tkc_buffer_write(from, 0, numbers, sizeof numbers));
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 3, NULL),
          "add.tk:5: fault:", "out of bounds", "CTA (1,0,0)", "offset 200 of `result` (200 bytes)",
          "`out`");
    const tkc_fault *fault = tkc_last_fault();
    ck_assert_int_eq(fault->kind, TKC_FAULT_OUT_OF_BOUNDS);
    ck_assert_str_eq(fault->file, "add.tk");
    ck_assert_uint_eq(fault->line, 5);
    ck_assert_uint_eq(fault->program[0], 1);
    ck_assert_str_eq(fault->buffer, "result");
    ck_assert_str_eq(fault->parameter, "out");
    ck_assert_int_eq(fault->offset, 200);
    ck_assert_uint_eq(fault->buffer_size, 200);
    ck_assert_uint_gt(fault->ptx_line, 10);
    arguments[0] = tkc_arg_buffer(NULL);
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(1), arguments, 3, NULL),
          "add.tk:4", "null");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_NULL);
    tkc_buffer_destroy(from);
    tkc_buffer_destroy(to);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(refused) {
    Machine m = open_emu("emu");
    tkc_kernel *kernel = load(&m, HEADER("a", "") PTX ".visible .entry b()\n{\n ret;\n}\n");
    fails(TKC_COMPILE_ERROR, tkc_kernel_prepare(kernel, m.device), "no entry");
    tkc_kernel_destroy(kernel);
    kernel = load(&m, HEADER("a", "// parameter: i32 1 n\n") PTX
                  ".visible .entry a(.param .u64 n)\n{\n ret;\n}\n");
    fails(TKC_COMPILE_ERROR, tkc_kernel_prepare(kernel, m.device), "`n: i32`", "8 bytes");
    tkc_kernel_destroy(kernel);
    kernel = load(&m, HEADER("a", "") PTX ".visible .entry a()\n{\n retrn;\n}\n");
    fails(TKC_COMPILE_ERROR, tkc_kernel_prepare(kernel, m.device), "retrn", "a.ptx:");
    tkc_device *interp;
    ok(tkc_device_open(m.context, "interp", &interp));
    fails(TKC_INVALID_ARGUMENT, tkc_kernel_prepare(kernel, interp), "compiled for `sm_80`");
    tkc_counters counters = TKC_COUNTERS_INIT;
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.counters = &counters;
    fails(TKC_UNSUPPORTED, tkc_launch(kernel, interp, NULL, tkc_grid1(1), NULL, 0, &options),
          "`interp` does not count");
    tkc_kernel_destroy(kernel);
    Machine other = {m.context, interp};
    kernel = compile_ir(&other, add_ir);
    fails(TKC_INVALID_ARGUMENT, tkc_kernel_prepare(kernel, m.device), "target `sm_80`");
    tkc_kernel_usage usage = TKC_KERNEL_USAGE_INIT;
    fails(TKC_UNSUPPORTED, tkc_kernel_usage_on(kernel, interp, &usage), "interp");
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(interp);
    machine_close(&m);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("emu");
    tcase_add_test(tests, names);
    tcase_add_test(tests, answers_and_counters);
    tcase_add_test(tests, tensors);
    tcase_add_test(tests, faults);
    tcase_add_test(tests, refused);
    return run_suite("the device emu", tests);
}
