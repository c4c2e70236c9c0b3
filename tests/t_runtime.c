/* t_runtime.c: the public C API where all goes well. */
#include "tests/runtime_test.h"

#include <dlpack/dlpack.h>
#include <math.h>

START_TEST(test_constants) {
    ck_assert_uint_eq(tkc_version(), TKC_VERSION);
    for (int i = 0; i <= TKC_INTERNAL; i++) {
        ck_assert_uint_gt(strlen(tkc_status_string((tkc_status)i)), 0);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(tkc_status_string((tkc_status)i), tkc_status_string((tkc_status)j));
    }
    ck_assert_str_eq(tkc_status_string((tkc_status)12345), "unknown status");
    ck_assert_str_eq(tkc_dtype_name(TKC_BF16), "bf16");
    ck_assert_str_eq(tkc_dtype_name((tkc_dtype)99), "?");
    ck_assert_int_eq(tkc_dtype_from_name("fp32"), TKC_F32);
    ck_assert_int_eq(tkc_dtype_from_name("float8e5"), TKC_F8E5M2);
    ck_assert_int_eq(tkc_dtype_from_name("f33"), TKC_NONE);
    ck_assert_uint_eq(tkc_dtype_size(TKC_NONE), 0);
    ck_assert_int_eq(tkc_cdiv(10, 3), 4);
    ck_assert_int_eq(tkc_cdiv(9, 3), 3);
    ck_assert_int_eq(tkc_cdiv(0, 3), 0);
}
END_TEST

START_TEST(test_encode) {
    const double in[] = {1, -2.5, 1e300, -1e300, NAN, 0.3};
    double back[6];
    uint64_t bits[6];
    tkc_encode(TKC_F16, in, bits, 6);
    const uint16_t halves[] = {0x3c00, 0xc100, 0x7c00, 0xfc00};
    ck_assert_mem_eq(bits, halves, sizeof halves);
    tkc_decode(TKC_F16, bits, back, 6);
    ck_assert(back[1] == -2.5 && isinf(back[2]) && isnan(back[4]));
    tkc_encode(TKC_I8, in, bits, 6);
    const int8_t bytes[] = {1, -2, 127, -128, 0, 0};
    ck_assert_mem_eq(bits, bytes, sizeof bytes);
    tkc_encode(TKC_U16, in, bits, 6);
    const uint16_t words[] = {1, 0, 65535, 0, 0, 0};
    ck_assert_mem_eq(bits, words, sizeof words);
    tkc_encode(TKC_I64, in, bits, 6);
    const int64_t longs[] = {1, -2, INT64_MAX, INT64_MIN, 0, 0};
    ck_assert_mem_eq(bits, longs, sizeof longs);
    tkc_encode(TKC_U64, in, bits, 6);
    ck_assert(bits[2] == UINT64_MAX && bits[3] == 0);
    tkc_encode(TKC_I1, in, bits, 6);
    const uint8_t bools[] = {1, 1, 1, 1, 1, 1};
    ck_assert_mem_eq(bits, bools, sizeof bools);
    tkc_encode(TKC_F8E4M3, in, bits, 6);
    tkc_decode(TKC_F8E4M3, bits, back, 6);
    ck_assert(back[0] == 1 && back[2] == 448 && isnan(back[4]) && back[5] == 0.3125);
}
END_TEST

/* Options of an older and of a newer header. */
START_TEST(test_struct_sizes) {
    tkc_context *context;
    struct {
        tkc_context_options known;
        uint64_t later;
    } newer = {TKC_CONTEXT_OPTIONS_INIT, 0};
    newer.known.struct_size = sizeof newer;
    ok(tkc_context_create(&newer.known, &context));
    tkc_context_destroy(context);
    newer.later = 1;
    fails(TKC_UNSUPPORTED, tkc_context_create(&newer.known, &context), "does not know");
    ck_assert_ptr_null(context);
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.struct_size = 8; /* a header that had only `user` to come */
    ok(tkc_context_create(&options, &context));
    options.struct_size = 0;
    tkc_context *other;
    fails(TKC_INVALID_ARGUMENT, tkc_context_create(&options, &other), "struct_size is 0", "_INIT");
    struct {
        tkc_device_info info;
        uint64_t guard;
    } cut = {TKC_DEVICE_INFO_INIT, 77};
    cut.info.struct_size = 8; /* only `threads` is known to the caller */
    ok(tkc_device_describe(context, 0, &cut.info));
    ck_assert_uint_gt(cut.info.threads, 0);
    ck_assert_str_eq(cut.info.name, "");
    ck_assert_uint_eq(cut.guard, 77);
    tkc_context_destroy(context);
}
END_TEST

START_TEST(test_devices) {
    tkc_context *context;
    tkc_device *device;
    ok(tkc_context_create(NULL, &context));
    uint32_t count = tkc_device_count(context), interps = 0;
    ck_assert_uint_ge(count, 4);
    for (uint32_t i = 0; i < count; i++) {
        tkc_device_info info = TKC_DEVICE_INFO_INIT;
        ok(tkc_device_describe(context, i, &info));
        ck_assert_str_ne(info.name, "");
        ck_assert_str_ne(info.description, "");
        ck_assert_int_eq(info.available, info.reason[0] == 0);
        interps += strcmp(info.name, "interp") == 0 && info.available;
        if (info.available) continue;
        fails(TKC_NO_DEVICE, tkc_device_open(context, info.name, &device), info.name, "no");
        ck_assert_ptr_null(device);
    }
    ck_assert_uint_eq(interps, 1);
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    fails(TKC_NOT_FOUND, tkc_device_describe(context, count, &info), "there is no device");
    fails(TKC_NOT_FOUND, tkc_device_open(context, "gpu", &device), "`gpu`", "interp, cpu, cuda");
    fails(TKC_NOT_FOUND, tkc_device_open(context, "interp:1", &device), "interp:1");
    ok(tkc_device_open(context, NULL, &device));
    tkc_device_destroy(device);
    ok(tkc_device_open(context, "interp", &device));
    ck_assert_str_eq(tkc_device_name(device), "interp");
    ck_assert_str_eq(tkc_device_target(device), "interp");
    ok(tkc_device_synchronize(device));
    tkc_device_destroy(device);
    tkc_context_destroy(context);
}
END_TEST

START_TEST(test_buffers) {
    Machine m = machine_open(NULL);
    tkc_buffer *a, *b, *none;
    char bytes[256], back[256];
    for (int i = 0; i < 256; i++) bytes[i] = (char)i;
    ok(tkc_buffer_create(m.device, 256, "a", &a));
    ok(tkc_buffer_create(m.device, 256, NULL, &b));
    ok(tkc_buffer_create(m.device, 0, "none", &none));
    ck_assert_uint_eq(tkc_buffer_size(a), 256);
    ck_assert_str_eq(tkc_buffer_name(a), "a");
    ck_assert_str_eq(tkc_buffer_name(b), "");
    ck_assert_ptr_eq(tkc_buffer_device(a), m.device);
    ck_assert(tkc_buffer_address(a) && tkc_buffer_address(a) != tkc_buffer_address(b));
    ok(tkc_buffer_write(a, 0, bytes, 256));
    ok(tkc_buffer_write(none, 0, NULL, 0));
    ok(tkc_buffer_fill(b, 0, 256, "ab", 2));
    ok(tkc_buffer_copy(b, 10, a, 20, 30));
    ok(tkc_buffer_read(b, 0, back, 256));
    ck_assert_mem_eq(back, "ababababab", 10);
    ck_assert_mem_eq(back + 10, bytes + 20, 30);
    ck_assert_mem_eq(back + 40, "abab", 4);
    ck_assert_mem_eq(back + 252, "abab", 4);
    ok(tkc_buffer_copy(a, 1, a, 0, 255)); /* overlapping */
    ok(tkc_buffer_read(a, 0, back, 256));
    ck_assert_mem_eq(back + 1, bytes, 255);
    ok(tkc_buffer_poison(a));
    ok(tkc_buffer_read(a, 8, back, 4));
    ck_assert_mem_eq(back, "\xff\xff\xff\xff", 4);
    ok(tkc_buffer_set_dtype(a, TKC_F16));
    ck_assert_int_eq(tkc_buffer_dtype(a), TKC_F16);
    tkc_buffer_destroy(none);
    tkc_buffer_destroy(b);
    tkc_device_destroy(m.device); /* the buffer keeps it */
    tkc_context_destroy(m.context);
    ok(tkc_buffer_read(a, 0, back, 4));
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(NULL);
}
END_TEST

START_TEST(test_kernel_answers) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, add_ir);
    ck_assert_str_eq(tkc_kernel_name(kernel), "add");
    ck_assert_str_eq(tkc_kernel_target(kernel), "interp");
    ck_assert_uint_eq(tkc_kernel_parameter_count(kernel), 4);
    tkc_parameter p = TKC_PARAMETER_INIT;
    ok(tkc_kernel_parameter(kernel, 2, &p));
    ck_assert(p.is_pointer && p.dtype == TKC_F32 && p.divisibility == 1);
    ck_assert_str_eq(p.name, "out");
    ck_assert_str_eq(p.type, "*f32");
    ok(tkc_kernel_parameter(kernel, 3, &p));
    ck_assert(!p.is_pointer && p.dtype == TKC_I32);
    fails(TKC_NOT_FOUND, tkc_kernel_parameter(kernel, 4, &p), "`add` has 4 parameters", "4");
    ck_assert_ptr_null(tkc_kernel_constant(kernel, 0));
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    ok(tkc_kernel_query(kernel, &info));
    ck_assert_uint_eq(info.num_warps, 4);
    ck_assert_uint_eq(info.num_stages, 3);
    ck_assert(info.compile_ms > 0);
    size_t size;
    const char *ir = tkc_kernel_text(kernel, "ir", &size);
    ck_assert_uint_eq(strlen(ir), size);
    ck_assert_ptr_nonnull(strstr(ir, "kernel @add(x: *f32"));
    ck_assert_str_eq(tkc_kernel_text(kernel, "source", NULL), add_ir);
    ck_assert_ptr_null(tkc_kernel_text(kernel, "ptx", &size));
    ck_assert_uint_eq(size, 0);
    tkc_kernel *again = compile_ir(&m, ir); /* what it prints it reads */
    ck_assert_str_eq(tkc_kernel_text(again, "ir", NULL), ir);
    tkc_kernel_destroy(again);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_passes) {
    Machine m = machine_open(NULL);
    uint32_t count = 0;
    while (tkc_pass_name(count)) {
        ck_assert_ptr_nonnull(tkc_pass_about(count));
        for (uint32_t i = 0; i < count; i++)
            ck_assert_str_ne(tkc_pass_name(i), tkc_pass_name(count));
        count++;
    }
    ck_assert_uint_ge(count, 4);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.language = TKC_LANGUAGE_IR;
    options.text = add_ir;
    options.dump_after = "all";
    options.skip = "canon,licm";
    options.time_passes = options.verify = true;
    ok(tkc_compile(m.context, &options, &kernel, NULL));
    ck_assert_ptr_nonnull(strstr(tkc_kernel_text(kernel, "dump", NULL), "// after cse"));
    ck_assert_ptr_null(strstr(tkc_kernel_text(kernel, "dump", NULL), "// after canon"));
    ck_assert_ptr_nonnull(strstr(tkc_kernel_text(kernel, "times", NULL), "cse"));
    tkc_kernel_destroy(kernel);
    options.skip = "cse,nothing";
    fails(TKC_INVALID_ARGUMENT, tkc_compile(m.context, &options, &kernel, NULL), "skip",
          "`nothing`", "canon, licm");
    machine_close(&m);
}
END_TEST

/* Adds on buffers `a`, `b`, `c` at once: launch, read, compare. */
static void check_add(const Machine *m, tkc_kernel *kernel, tkc_stream *stream) {
    enum { N = 1000 };
    float x[N], y[N], out[N];
    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
        y[i] = 0.5f * (float)(N - i);
    }
    tkc_buffer *a = buffer_of(m, "a", x, sizeof x), *b = buffer_of(m, "b", y, sizeof y), *c;
    ok(tkc_buffer_create(m->device, sizeof out, "c", &c));
    ok(tkc_buffer_poison(c));
    const tkc_argument arguments[] = {tkc_arg(a), tkc_arg(b), tkc_arg(c),
                                      tkc_arg_named("n", tkc_arg(N))};
    ok(tkc_launch(kernel, m->device, stream, tkc_grid1(tkc_cdiv(N, 128)), arguments, 4, NULL));
    ok(tkc_buffer_read(c, 0, out, sizeof out));
    for (int i = 0; i < N; i++) ck_assert(out[i] == x[i] + y[i]);
    /* Halves of one buffer through offsets and through addresses. */
    const tkc_argument halves[] = {tkc_arg_buffer_at(a, 2000), tkc_arg(b),
                                   tkc_arg_address(tkc_buffer_address(c) + 2000), tkc_arg(500L)};
    ok(tkc_launch(kernel, m->device, stream, tkc_grid1(4), halves, 4, NULL));
    ok(tkc_buffer_read(c, 2000, out, 2000));
    for (int i = 0; i < 500; i++) ck_assert(out[i] == x[500 + i] + y[i]);
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(b);
    tkc_buffer_destroy(c);
}

START_TEST(test_launch) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, add_ir);
    ok(tkc_kernel_prepare(kernel, m.device));
    check_add(&m, kernel, NULL);
    tkc_stream *stream;
    tkc_event *start, *stop;
    double ms = -1;
    ok(tkc_stream_create(m.device, &stream));
    ok(tkc_event_create(m.device, &start));
    ok(tkc_event_create(m.device, &stop));
    fails(TKC_INVALID_ARGUMENT, tkc_event_elapsed_ms(start, stop, &ms), "never recorded");
    ok(tkc_event_record(start, stream));
    check_add(&m, kernel, stream);
    ok(tkc_event_record(stop, stream));
    ok(tkc_event_synchronize(stop));
    ok(tkc_stream_synchronize(m.device, stream));
    ok(tkc_event_elapsed_ms(start, stop, &ms));
    ck_assert(ms > 0 && ms < 60000);
    tkc_event_destroy(start);
    tkc_event_destroy(stop);
    tkc_stream_destroy(stream);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_empty_grid) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, add_ir);
    const tkc_argument arguments[] = {tkc_arg_buffer(NULL), tkc_arg_buffer(NULL),
                                      tkc_arg_buffer(NULL), tkc_arg(1)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(0), arguments, 4, NULL));
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid3(5, 0, 5), arguments, 4, NULL));
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_wrapped_memory) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, add_ir);
    float x[200], y[200], out[200];
    for (int i = 0; i < 200; i++) x[i] = (float)i, y[i] = 1, out[i] = -1;
    tkc_buffer *a, *b, *c;
    ok(tkc_buffer_wrap(m.device, x, sizeof x, "x", &a));
    ok(tkc_buffer_wrap(m.device, y, sizeof y, "y", &b));
    ok(tkc_buffer_wrap(m.device, out, sizeof out, "out", &c));
    const tkc_argument arguments[] = {tkc_arg(a), tkc_arg(b), tkc_arg(c), tkc_arg(150)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 4, NULL));
    for (int i = 0; i < 200; i++) ck_assert(out[i] == (i < 150 ? (float)i + 1 : -1));
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(b);
    tkc_buffer_destroy(c);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_dltensors) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, add_ir);
    float memory[9][32], (*x)[32] = memory + 1, y[256], out[256];
    int64_t shape[] = {4, 32}, strides[] = {64, 1}, length[] = {256};
    for (int i = 0; i < 256; i++) x[i / 32][i % 32] = (float)i, y[i] = 2;
    DLTensor tx = {.data = memory,
                   .device = {kDLCPU, 0},
                   .ndim = 2,
                   .dtype = {kDLFloat, 32, 1},
                   .shape = shape,
                   .strides = strides,
                   .byte_offset = sizeof memory[0]};
    DLTensor ty = {y, {kDLCPU, 0}, 1, {kDLFloat, 32, 1}, length, NULL, 0};
    DLManagedTensor to = {.dl_tensor = {out, {kDLCPU, 0}, 1, {kDLFloat, 32, 1}, length, NULL, 0}};
    tkc_argument arguments[] = {tkc_arg_dltensor(&tx), tkc_arg_dltensor(&ty), tkc_arg_dltensor(&to),
                                tkc_arg(224)}; /* every second row of 8: 7 rows are spanned */
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 4, NULL));
    for (int i = 0; i < 224; i++) ck_assert(out[i] == (float)i + 2);
    /* One element more is beyond what shape and strides span. */
    arguments[3] = tkc_arg(225);
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 4, NULL),
          "fault: ", "`x`");
    const tkc_fault *fault = tkc_last_fault();
    ck_assert_int_eq(fault->kind, TKC_FAULT_OUT_OF_BOUNDS);
    ck_assert_str_eq(fault->parameter, "x");
    ck_assert_str_eq(fault->buffer, "x");
    ck_assert_int_eq(fault->offset, 224 * 4);
    ck_assert_uint_eq(fault->buffer_size, 224 * 4);
    /* In place: two arguments over the same memory are the same memory. */
    tkc_argument place[] = {tkc_arg_dltensor(&ty), tkc_arg_dltensor(&ty), tkc_arg_dltensor(&ty),
                            tkc_arg(256)};
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.check_races = true;
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), place, 4, &options));
    for (int i = 0; i < 256; i++) ck_assert(y[i] == 4);
    /* Empty ones, with and without data. */
    length[0] = 0;
    ty.data = NULL;
    place[3] = tkc_arg(0);
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(1), place, 4, NULL));
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

/* A scalar of each type reaches the kernel with its bits intact. */
static void check_scalar(const Machine *m, tkc_dtype dtype, tkc_argument argument, uint64_t bits) {
    char text[512];
    const char *name = tkc_dtype_name(dtype);
    snprintf(text, sizeof text,
             "kernel @put(p: *%s, v: %s)" OPTIONS_IR "{\n    store %%p, %%v\n    return\n}\n", name,
             name);
    tkc_kernel *kernel = compile_ir(m, text);
    uint64_t found = 0;
    tkc_buffer *buffer = buffer_of(m, "p", &found, 8);
    const tkc_argument arguments[] = {tkc_arg(buffer), argument};
    ok(tkc_launch(kernel, m->device, NULL, tkc_grid1(1), arguments, 2, NULL));
    ok(tkc_buffer_read(buffer, 0, &found, 8));
    ck_assert_msg(found == bits, "%s: %llx is not %llx", name, (unsigned long long)found,
                  (unsigned long long)bits);
    tkc_buffer_destroy(buffer);
    tkc_kernel_destroy(kernel);
}

START_TEST(test_scalars) {
    Machine m = machine_open(NULL);
    check_scalar(&m, TKC_I1, tkc_arg(true), 1);
    check_scalar(&m, TKC_I1, tkc_arg(0), 0);
    check_scalar(&m, TKC_I8, tkc_arg(-128), 0x80);
    check_scalar(&m, TKC_I16, tkc_arg((int8_t)-2), 0xfffe);
    check_scalar(&m, TKC_I32, tkc_arg(-3), 0xfffffffd);
    check_scalar(&m, TKC_I32, tkc_arg(2147483647UL), 0x7fffffff);
    check_scalar(&m, TKC_I64, tkc_arg(-4), 0xfffffffffffffffc);
    check_scalar(&m, TKC_I64, tkc_arg(INT64_MIN), 0x8000000000000000);
    check_scalar(&m, TKC_U8, tkc_arg(255), 255);
    check_scalar(&m, TKC_U16, tkc_arg(65535u), 65535);
    check_scalar(&m, TKC_U32, tkc_arg(4294967295u), 4294967295u);
    check_scalar(&m, TKC_U64, tkc_arg(UINT64_MAX), UINT64_MAX);
    check_scalar(&m, TKC_I16, tkc_arg_bits(TKC_I16, 0x8001), 0x8001);
    check_scalar(&m, TKC_F16, tkc_arg(1.0f), 0x3c00);
    check_scalar(&m, TKC_F16, tkc_arg_f16(0x1234), 0x1234);
    check_scalar(&m, TKC_BF16, tkc_arg(1.0), 0x3f80);
    check_scalar(&m, TKC_BF16, tkc_arg(1.00390625), 0x3f80); /* a tie goes to even */
    check_scalar(&m, TKC_BF16, tkc_arg(1.01171875), 0x3f82);
    check_scalar(&m, TKC_F32, tkc_arg(0.1), 0x3dcccccd);
    check_scalar(&m, TKC_F32, tkc_arg((float)-INFINITY), 0xff800000);
    check_scalar(&m, TKC_F32, tkc_arg_bf16(0x3f80), 0x3f800000);
    check_scalar(&m, TKC_F64, tkc_arg(0.1f), 0x3fb99999a0000000);
    check_scalar(&m, TKC_F8E4M3, tkc_arg(1.0f), 0x38);
    check_scalar(&m, TKC_F8E5M2, tkc_arg_bits(TKC_F8E5M2, 0x3c), 0x3c);
    machine_close(&m);
}
END_TEST

typedef struct Heard {
    char text[1024];
    uint32_t compiles, launches;
    tkc_compile_event last;
    tkc_launch_event launch;
    char kernel[64];
} Heard;

static void hear_line(void *user, const char *line) {
    Heard *heard = user;
    strcat(strcat(heard->text, line), "|");
}

static void hear_compile(void *user, const tkc_compile_event *event) {
    Heard *heard = user;
    heard->compiles++;
    heard->last = *event;
    snprintf(heard->kernel, sizeof heard->kernel, "%s", event->kernel);
}

static void hear_launch(void *user, const tkc_launch_event *event) {
    Heard *heard = user;
    heard->launches++;
    heard->launch = *event;
    snprintf(heard->kernel, sizeof heard->kernel, "%s", event->kernel);
}

START_TEST(test_callbacks) {
    Heard heard = {0};
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.user = &heard;
    options.print = hear_line;
    options.compiled = hear_compile;
    Machine m = machine_open(&options);
    tkc_kernel *kernel = compile_ir(&m, "kernel @say(n: i32)" OPTIONS_IR
                                        "{\n    print %n {text = \"n is\"}\n    return\n}\n");
    ck_assert_uint_eq(heard.compiles, 1);
    ck_assert_str_eq(heard.kernel, "say");
    ck_assert(heard.last.status == TKC_OK && heard.last.milliseconds > 0);
    const tkc_argument arguments[] = {tkc_arg(42)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(1), arguments, 1, NULL));
    ck_assert_msg(strstr(heard.text, "n is") && strstr(heard.text, "42"), "%s", heard.text);
    tkc_compile_options wrong = TKC_COMPILE_OPTIONS_INIT;
    wrong.language = TKC_LANGUAGE_IR;
    wrong.text = "what is this";
    tkc_kernel *none;
    ck_assert_int_eq(tkc_compile(m.context, &wrong, &none, NULL), TKC_COMPILE_ERROR);
    ck_assert_uint_eq(heard.compiles, 2);
    ck_assert_int_eq(heard.last.status, TKC_COMPILE_ERROR);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_launched) {
    Heard heard = {0};
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.user = &heard;
    options.launched = hear_launch;
    Machine m = machine_open(&options);
    tkc_kernel *kernel = compile_ir(&m, "kernel @quiet(n: i32)" OPTIONS_IR "{\n    return\n}\n");
    const tkc_argument arguments[] = {tkc_arg(42)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid2(3, 2), arguments, 1, NULL));
    ck_assert_uint_eq(heard.launches, 1);
    ck_assert_str_eq(heard.kernel, "quiet");
    ck_assert(heard.launch.status == TKC_OK && heard.launch.milliseconds > 0);
    ck_assert(heard.launch.grid[0] == 3 && heard.launch.grid[1] == 2 && heard.launch.grid[2] == 1);
    const tkc_argument wrong[] = {tkc_arg(0.5f)};
    fails(TKC_INVALID_ARGUMENT, tkc_launch(kernel, m.device, NULL, tkc_grid1(1), wrong, 1, NULL),
          "`n: i32`");
    ck_assert_uint_eq(heard.launches, 2);
    ck_assert_int_eq(heard.launch.status, TKC_INVALID_ARGUMENT);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_memory_use) {
    Machine m = machine_open(NULL);
    tkc_buffer *a, *b, *wrapped;
    char mine[64] = {0};
    ck_assert_uint_eq(tkc_device_memory_used(m.device), 0);
    ok(tkc_buffer_create(m.device, 1000, "a", &a));
    ok(tkc_buffer_create(m.device, 500, "b", &b));
    ok(tkc_buffer_wrap(m.device, mine, sizeof mine, "mine", &wrapped));
    ck_assert_uint_eq(tkc_device_memory_used(m.device), 1500);
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(wrapped);
    ck_assert_uint_eq(tkc_device_memory_used(m.device), 500);
    ck_assert_uint_eq(tkc_device_memory_peak(m.device), 1500);
    tkc_device_memory_reset_peak(m.device);
    ck_assert_uint_eq(tkc_device_memory_peak(m.device), 500);
    tkc_buffer_destroy(b);
    ck_assert_uint_eq(tkc_device_memory_used(m.device), 0);
    machine_close(&m);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("runtime");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_constants);
    tcase_add_test(tests, test_encode);
    tcase_add_test(tests, test_struct_sizes);
    tcase_add_test(tests, test_devices);
    tcase_add_test(tests, test_buffers);
    tcase_add_test(tests, test_kernel_answers);
    tcase_add_test(tests, test_passes);
    tcase_add_test(tests, test_launch);
    tcase_add_test(tests, test_empty_grid);
    tcase_add_test(tests, test_wrapped_memory);
    tcase_add_test(tests, test_dltensors);
    tcase_add_test(tests, test_scalars);
    tcase_add_test(tests, test_callbacks);
    tcase_add_test(tests, test_launched);
    tcase_add_test(tests, test_memory_use);
    return run_suite("runtime", tests);
}
