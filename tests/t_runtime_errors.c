/* t_runtime_errors.c: what is refused, and that the message names the argument, what was given and
 * what was needed. */
#include "tests/runtime_test.h"

#include <dlpack/dlpack.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- compiling ----------------------------------------------------------------------------------
 */

static tkc_status compile(const Machine *m, const tkc_compile_options *options, char **log) {
    tkc_kernel *kernel;
    tkc_status status = tkc_compile(m->context, options, &kernel, log);
    if (status) ck_assert_ptr_null(kernel);
    tkc_kernel_destroy(kernel);
    return status;
}

START_TEST(test_source_files) {
    Machine m = machine_open(NULL);
    char folder[] = "/tmp/tkc-test-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    fails(TKC_INVALID_ARGUMENT, compile(&m, &options, NULL), "Neither a path nor a source text");
    options.path = "/nonexistent/x.tk";
    fails(TKC_NOT_FOUND, compile(&m, &options, NULL), "There is no file `/nonexistent/x.tk`");
    options.path = folder;
    fails(TKC_IO, compile(&m, &options, NULL), folder, "is a directory");
    options.path = "/dev/zero";
    fails(TKC_IO, compile(&m, &options, NULL), "not a regular file");
    snprintf(path, sizeof path, "%s/pipe", folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    options.path = path;
    fails(TKC_IO, compile(&m, &options, NULL), path, "not a regular file"); /* and does not block */
    unlink(path);
    snprintf(path, sizeof path, "%s/huge.tk", folder);
    FILE *file = fopen(path, "w");
    ck_assert_int_eq(ftruncate(fileno(file), 65l << 20), 0);
    fclose(file);
    fails(TKC_IO, compile(&m, &options, NULL), path, "68157440 bytes", "limit is 67108864");
    unlink(path);
    if (geteuid() != 0) { /* root may read everything */
        file = fopen(path, "w");
        fclose(file);
        ck_assert_int_eq(chmod(path, 0), 0);
        fails(TKC_IO, compile(&m, &options, NULL), path, "Permission denied");
        unlink(path);
    }
    rmdir(folder);
    machine_close(&m);
}
END_TEST

START_TEST(test_compile_log) {
    Machine m = machine_open(NULL);
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    char *log;
    options.path = "dir/bad.tkir"; /* the ending says that it is IR */
    options.text =
        "kernel @bad(n: i32)" OPTIONS_IR "{\n    %0: i32 = frobnicate %n\n    return\n}\n";
    ck_assert_int_eq(compile(&m, &options, &log), TKC_COMPILE_ERROR);
    ck_assert_ptr_nonnull(log);
    ck_assert_msg(strstr(log, "dir/bad.tkir:2:15: error: "), "%s", log);
    ck_assert_msg(strstr(log, "    %0: i32 = frobnicate %n\n              ^"), "%s", log);
    ck_assert_str_eq(log, tkc_last_error());
    tkc_free(log);
    options.text = add_ir;
    ck_assert_int_eq(compile(&m, &options, &log), TKC_OK);
    ck_assert_ptr_null(log);
    options.memory_limit = 4096;
    fails(TKC_OUT_OF_MEMORY, compile(&m, &options, &log), "dir/bad.tkir", "memory_limit");
    options.memory_limit = 0;
    options.text_size = 30; /* a text that ends before its NUL */
    fails(TKC_COMPILE_ERROR, compile(&m, &options, &log), "dir/bad.tkir:1:");
    tkc_free(log);
    machine_close(&m);
}
END_TEST

START_TEST(test_compile_arguments) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.text = add_ir;
    options.path = "add.tkir";
    fails(TKC_INVALID_ARGUMENT, tkc_compile(NULL, &options, &kernel, NULL), "`context` is NULL");
    fails(TKC_INVALID_ARGUMENT, tkc_compile(m.context, NULL, &kernel, NULL), "`options` is NULL");
    fails(TKC_INVALID_ARGUMENT, tkc_compile(m.context, &options, NULL, NULL), "`kernel` is NULL");
    options.constant_count = 1;
    fails(TKC_INVALID_ARGUMENT, compile(&m, &options, NULL), "constants", "entry 0 of 1");
    const tkc_named named[] = {{"BLOCK", NULL}};
    options.constants = named;
    fails(TKC_INVALID_ARGUMENT, compile(&m, &options, NULL), "entry 0 of 1 has no text");
    options.constant_count = 0;
    options.stop_after = "lunch";
    fails(TKC_INVALID_ARGUMENT, compile(&m, &options, NULL), "stop_after", "`lunch`", "dce");
    options.stop_after = NULL;
    options.struct_size = 1 << 20;
    fails(TKC_INVALID_ARGUMENT, compile(&m, &options, NULL), "tkc_compile_options.struct_size");
    machine_close(&m);
}
END_TEST

/* No bytes may crash the compile of IR text. */
START_TEST(test_random_text) {
    Machine m = machine_open(NULL);
    unsigned seed = 12345;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.language = TKC_LANGUAGE_IR;
    size_t length = strlen(add_ir);
    for (int round = 0; round < 300; round++) {
        char *text = malloc(length);
        memcpy(text, add_ir, length);
        for (int i = 0; i < 1 + round % 4; i++)
            text[(unsigned)rand_r(&seed) % length] = (char)rand_r(&seed);
        options.text = text;
        options.text_size = round % 5 ? length : 1 + (unsigned)rand_r(&seed) % length;
        compile(&m, &options, NULL);
        free(text);
    }
    machine_close(&m);
}
END_TEST

/* ---- launching ----------------------------------------------------------------------------------
 */

typedef struct Bench {
    Machine m;
    tkc_kernel *kernel;
    tkc_buffer *x, *y, *out;
} Bench;

static Bench bench_open(void) {
    Bench b;
    float zero[256] = {0};
    b.m = machine_open(NULL);
    b.kernel = compile_ir(&b.m, add_ir);
    b.x = buffer_of(&b.m, "the x", zero, sizeof zero);
    b.y = buffer_of(&b.m, "the y", zero, sizeof zero);
    b.out = buffer_of(&b.m, "the out", zero, sizeof zero);
    return b;
}

static void bench_close(Bench *b) {
    tkc_buffer_destroy(b->x);
    tkc_buffer_destroy(b->y);
    tkc_buffer_destroy(b->out);
    tkc_kernel_destroy(b->kernel);
    machine_close(&b->m);
}

/* The add kernel with one argument exchanged. */
static tkc_status launch_with(Bench *b, uint32_t index, tkc_argument argument) {
    tkc_argument arguments[] = {tkc_arg(b->x), tkc_arg(b->y), tkc_arg(b->out), tkc_arg(256)};
    arguments[index] = argument;
    return tkc_launch(b->kernel, b->m.device, NULL, tkc_grid1(2), arguments, 4, NULL);
}

START_TEST(test_count) {
    Bench b = bench_open();
    tkc_argument arguments[] = {tkc_arg(b.x), tkc_arg(b.y), tkc_arg(b.out), tkc_arg(1), tkc_arg(2)};
    tkc_grid grid = tkc_grid1(1);
    fails(TKC_INVALID_ARGUMENT, tkc_launch(b.kernel, b.m.device, NULL, grid, arguments, 2, NULL),
          "Kernel `add` takes 4 arguments and 2 were given", "Missing: `out: *f32`, `n: i32`.");
    fails(TKC_INVALID_ARGUMENT, tkc_launch(b.kernel, b.m.device, NULL, grid, arguments, 5, NULL),
          "takes 4 arguments and 5 were given", "`x: *f32`, `y: *f32`, `out: *f32`, `n: i32`.");
    fails(TKC_INVALID_ARGUMENT, tkc_launch(b.kernel, b.m.device, NULL, grid, NULL, 4, NULL),
          "`arguments` is NULL");
    fails(TKC_INVALID_ARGUMENT, tkc_launch(NULL, b.m.device, NULL, grid, arguments, 4, NULL),
          "`kernel` is NULL");
    fails(TKC_INVALID_ARGUMENT, tkc_launch(b.kernel, NULL, NULL, grid, arguments, 4, NULL),
          "`device` is NULL");
    bench_close(&b);
}
END_TEST

START_TEST(test_grid) {
    Bench b = bench_open();
    tkc_argument arguments[] = {tkc_arg(b.x), tkc_arg(b.y), tkc_arg(b.out), tkc_arg(1)};
    const struct {
        tkc_grid grid;
        const char *part;
    } cases[] = {{{-1, 1, 1}, "x must be 0 to 2147483647"},
                 {{2147483648, 1, 1}, "(2147483648, 1, 1): x must"},
                 {{1, 65536, 1}, "y must be 0 to 65535"},
                 {{1, 1, 65536}, "z must be 0 to 65535"},
                 {{0, -5, 1}, "y must be"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        fails(TKC_INVALID_ARGUMENT,
              tkc_launch(b.kernel, b.m.device, NULL, cases[i].grid, arguments, 4, NULL),
              "The grid of kernel `add`", cases[i].part);
    bench_close(&b);
}
END_TEST

START_TEST(test_scalars) {
    Bench b = bench_open();
    const char *place = "Argument 4 of kernel `add`, `n: i32`";
    tkc_argument unset;
    memset(&unset, 0, sizeof unset);
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg(0.5)), place, "the float 0.5 (f64)",
          "An integer is needed");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg(b.x)), place, "buffer `the x`",
          "A number is needed");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, unset), place, "unset tkc_argument");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg(2147483648)), place,
          "2147483648 (i64) is out of range", "-2147483648 to 2147483647");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg(-2147483649)), "-2147483649");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg(UINT64_MAX)), "18446744073709551615");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg_f16(1)), place, "the bits 0x1 of a f16");
    fails(TKC_INVALID_ARGUMENT, launch_with(&b, 3, tkc_arg_named("m", tkc_arg(1))), place,
          "is named `m`");
    bench_close(&b);
}
END_TEST

/* A kernel of one scalar of this type, with that argument. */
static tkc_status give_scalar(const Machine *m, const char *type, tkc_argument argument) {
    char text[256];
    snprintf(text, sizeof text, "kernel @f(v: %s)" OPTIONS_IR "{\n    return\n}\n", type);
    tkc_kernel *kernel = compile_ir(m, text);
    tkc_status status = tkc_launch(kernel, m->device, NULL, tkc_grid1(1), &argument, 1, NULL);
    tkc_kernel_destroy(kernel);
    return status;
}

START_TEST(test_scalar_ranges) {
    Machine m = machine_open(NULL);
    tkc_status bad = TKC_INVALID_ARGUMENT;
    fails(bad, give_scalar(&m, "i1", tkc_arg(2)), "i1 holds 0 to 1");
    fails(bad, give_scalar(&m, "u8", tkc_arg(256)), "u8 holds 0 to 255");
    fails(bad, give_scalar(&m, "u8", tkc_arg(-1)), "-1 (i32)", "u8 holds 0 to 255");
    fails(bad, give_scalar(&m, "i8", tkc_arg(128)), "i8 holds -128 to 127");
    fails(bad, give_scalar(&m, "u64", tkc_arg(-1)), "u64 holds 0 to 18446744073709551615");
    fails(bad, give_scalar(&m, "i64", tkc_arg(UINT64_MAX)), "9223372036854775807");
    fails(bad, give_scalar(&m, "f32", tkc_arg(1)), "the integer 1 (i32)", "A float is needed");
    fails(bad, give_scalar(&m, "f16", tkc_arg(1e6)),
          "the float 1000000 (f64) is out of range of f16");
    fails(bad, give_scalar(&m, "f32", tkc_arg(1e300)), "out of range of f32");
    fails(bad, give_scalar(&m, "f8e4m3", tkc_arg(500.0f)), "out of range of f8e4m3");
    fails(bad, give_scalar(&m, "f8e4m3", tkc_arg((float)INFINITY)), "out of range of f8e4m3");
    fails(bad, give_scalar(&m, "bf16", tkc_arg_f16(1)), "the bits 0x1 of a f16");
    ok(give_scalar(&m, "f8e4m3", tkc_arg(448.0f)));
    ok(give_scalar(&m, "f16", tkc_arg(65519.0)));
    ok(give_scalar(&m, "f16", tkc_arg(-(double)INFINITY)));
    ok(give_scalar(&m, "f16", tkc_arg((double)NAN)));
    fails(bad, give_scalar(&m, "i32 {divisibility = 16}", tkc_arg(24)), "24 (i32)",
          "not divisible by 16", "signature promises");
    fails(bad, give_scalar(&m, "i32 {divisibility = 16}", tkc_arg(-24)), "-24");
    ok(give_scalar(&m, "i32 {divisibility = 16}", tkc_arg(-32)));
    ok(give_scalar(&m, "u64 {divisibility = 3}", tkc_arg(UINT64_MAX)));
    machine_close(&m);
}
END_TEST

START_TEST(test_pointers) {
    Bench b = bench_open();
    const char *place = "Argument 1 of kernel `add`, `x: *f32`";
    tkc_status bad = TKC_INVALID_ARGUMENT;
    fails(bad, launch_with(&b, 0, tkc_arg(0)), place, "the integer 0 (i32)", "A pointer is needed");
    fails(bad, launch_with(&b, 0, tkc_arg(1.0f)), place, "the float 1 (f32)", "tkc_arg_buffer");
    fails(bad, launch_with(&b, 0, tkc_arg_buffer_at(b.x, 2)), place, "buffer `the x`",
          "not aligned to the 4 bytes");
    fails(bad, launch_with(&b, 0, tkc_arg_buffer_at(b.x, 1028)), place, "offset 1028",
          "has 1024 bytes");
    fails(bad, launch_with(&b, 0, tkc_arg_buffer_at(NULL, 4)), place, "NULL but has offset 4");
    fails(bad, launch_with(&b, 0, tkc_arg_address(3)), place, "the address 0x3", "not aligned");
    ok(tkc_buffer_set_dtype(b.x, TKC_F16));
    fails(bad, launch_with(&b, 0, tkc_arg(b.x)), place, "buffer `the x` holds f16, not f32");
    ok(tkc_buffer_set_dtype(b.x, TKC_F32));
    ok(launch_with(&b, 0, tkc_arg(b.x)));
    tkc_device *other;
    tkc_buffer *foreign;
    ok(tkc_device_open(b.m.context, "interp", &other));
    ok(tkc_buffer_create(other, 1024, "foreign", &foreign));
    fails(bad, launch_with(&b, 0, tkc_arg(foreign)), place, "`foreign` belongs to another device");
    tkc_stream *stream;
    ok(tkc_stream_create(other, &stream));
    fails(bad, tkc_launch(b.kernel, b.m.device, stream, tkc_grid1(1), NULL, 0, NULL),
          "stream belongs to another device");
    fails(bad, tkc_buffer_copy(foreign, 0, b.x, 0, 4), "`the x` and `foreign`");
    tkc_stream_destroy(stream);
    tkc_buffer_destroy(foreign);
    tkc_device_destroy(other);
    tkc_buffer *gone = b.x;
    tkc_buffer_destroy(b.x);
    fails(bad, launch_with(&b, 0, tkc_arg(gone)), place, "the buffer was destroyed");
    fails(bad, tkc_buffer_write(gone, 0, "", 1), "tkc_buffer_write: the buffer was destroyed");
    ck_assert_uint_eq(tkc_buffer_size(gone), 0);
    tkc_buffer_destroy(gone); /* twice does nothing */
    b.x = NULL;
    bench_close(&b);
}
END_TEST

START_TEST(test_promised_alignment) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel =
        compile_ir(&m, "kernel @f(p: *f16 {divisibility = 16})" OPTIONS_IR "{\n    return\n}\n");
    _Alignas(16) char memory[64];
    tkc_buffer *wrapped;
    ok(tkc_buffer_wrap(m.device, memory + 8, 32, "wrapped", &wrapped));
    tkc_argument argument = tkc_arg(wrapped);
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, m.device, NULL, tkc_grid1(1), &argument, 1, NULL), "`p: *f16`",
          "buffer `wrapped`", "not divisible by 16", "signature promises");
    argument = tkc_arg_buffer_at(wrapped, 8);
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(1), &argument, 1, NULL));
    tkc_buffer_destroy(wrapped);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_buffer_ranges) {
    Bench b = bench_open();
    char bytes[8] = {0};
    tkc_status bad = TKC_INVALID_ARGUMENT;
    fails(bad, tkc_buffer_write(b.x, 1020, bytes, 8), "8 bytes from offset 1020", "`the x`",
          "1024");
    fails(bad, tkc_buffer_read(b.x, UINT64_MAX, bytes, 8), "offset 18446744073709551615");
    fails(bad, tkc_buffer_fill(b.x, 0, 1024, bytes, 3), "1, 2, 4 or 8 bytes", "3 bytes");
    fails(bad, tkc_buffer_fill(b.x, 0, 6, bytes, 4), "size 6");
    fails(bad, tkc_buffer_write(b.x, 0, NULL, 1), "`from` is NULL");
    fails(bad, tkc_buffer_read(NULL, 0, bytes, 1), "the buffer is NULL");
    fails(bad, tkc_buffer_wrap(b.m.device, NULL, 1, "w", &(tkc_buffer *){NULL}),
          "`memory` is NULL");
    fails(bad, tkc_buffer_set_dtype(b.x, (tkc_dtype)77), "77 is no element type");
    tkc_buffer *huge;
    fails(TKC_OUT_OF_MEMORY, tkc_buffer_create(b.m.device, UINT64_MAX, "huge", &huge), "`huge`");
    ck_assert_ptr_null(huge);
    bench_close(&b);
}
END_TEST

START_TEST(test_dltensors) {
    Bench b = bench_open();
    _Alignas(16) float data[256];
    int64_t shape[] = {2, 128}, strides[] = {128, 1};
    const DLTensor good = {data, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, strides, 0};
    const char *place = "Argument 1 of kernel `add`, `x: *f32`";
    tkc_status bad = TKC_INVALID_ARGUMENT;
    DLTensor t = good;
    ok(launch_with(&b, 0, tkc_arg_dltensor(&t)));
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(NULL)), place, "the DLTensor is NULL");
    fails(bad, launch_with(&b, 3, tkc_arg_dltensor(&t)), "`n: i32`", "a DLTensor was given");
    t.device.device_type = kDLCUDA;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "kDLCUDA:0", "`interp` cannot use");
    t = good;
    t.dtype.bits = 16;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "holds float16, not f32");
    t.dtype.code = kDLBfloat;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), "holds bfloat16, not f32");
    t.dtype = (DLDataType){kDLFloat, 32, 4};
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), "holds float32 in groups of 4");
    t.dtype = (DLDataType){kDLComplex, 64, 1};
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), "holds complex64");
    t.dtype = (DLDataType){99, 5, 1};
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), "type code 99 with 5 bits");
    t = good;
    t.byte_offset = 2;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "not aligned to the 4 bytes");
    t = good;
    t.data = NULL;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "its data is NULL");
    t = good;
    t.ndim = -1;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "ndim -1");
    t = good;
    t.shape = NULL;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "no shape");
    t = good;
    strides[0] = -128;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "strides[0] is -128");
    strides[0] = 128;
    shape[1] = -3;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "shape[1] is -3");
    shape[1] = INT64_MAX;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "more memory than there is");
    t.strides = NULL;
    fails(bad, launch_with(&b, 0, tkc_arg_dltensor(&t)), place, "more memory than there is");
    bench_close(&b);
}
END_TEST

/* ---- faults
 * -------------------------------------------------------------------------------------- */

START_TEST(test_fault_numbers) {
    Bench b = bench_open();
    ck_assert_ptr_null(tkc_last_fault());
    tkc_argument arguments[] = {tkc_arg(b.x), tkc_arg(b.y), tkc_arg(b.out), tkc_arg(300)};
    fails(TKC_LAUNCH_FAULT,
          tkc_launch(b.kernel, b.m.device, NULL, tkc_grid1(3), arguments, 4, NULL),
          "test.tkir:12:20: fault: ", "`x`", "\n    %10: 128xf32 = load %9, %7\n", " ^~~~\n");
    const tkc_fault *fault = tkc_last_fault();
    ck_assert_ptr_nonnull(fault);
    ck_assert_int_eq(fault->kind, TKC_FAULT_OUT_OF_BOUNDS);
    ck_assert_str_eq(fault->file, "test.tkir");
    ck_assert_uint_eq(fault->line, 12);
    ck_assert_str_eq(fault->parameter, "x");
    ck_assert_str_eq(fault->buffer, "the x");
    ck_assert_uint_eq(fault->program[0], 2);
    ck_assert_int_eq(fault->offset, 1024);
    ck_assert_uint_eq(fault->buffer_size, 1024);
    ck_assert_uint_eq(fault->rank, 1);
    ck_assert_uint_eq(fault->coordinates[0], 0);
    ck_assert_ptr_nonnull(strstr(tkc_last_error(), fault->message));
    /* The next failure that is no fault leaves it; a launch works again. */
    ok(launch_with(&b, 3, tkc_arg(256)));
    ck_assert_int_eq(tkc_last_fault()->offset, 1024);
    bench_close(&b);
}
END_TEST

START_TEST(test_unwritten) {
    Bench b = bench_open();
    float zero[255] = {0};
    ok(tkc_buffer_poison(b.y));
    ok(tkc_buffer_write(b.y, 0, zero, sizeof zero)); /* all but the last */
    fails(TKC_LAUNCH_FAULT, launch_with(&b, 3, tkc_arg(256)), "fault", "`y`");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_UNWRITTEN);
    ck_assert_int_eq(tkc_last_fault()->offset, 1020);
    ok(tkc_buffer_fill(b.y, 1020, 4, zero, 4));
    ok(launch_with(&b, 3, tkc_arg(256)));
    bench_close(&b);
}
END_TEST

START_TEST(test_null_and_asserts) {
    Bench b = bench_open();
    fails(TKC_LAUNCH_FAULT, launch_with(&b, 1, tkc_arg_buffer(NULL)),
          ":15:20: fault: ", "null pointer");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_NULL);
    tkc_kernel *kernel =
        compile_ir(&b.m, "kernel @f(v: i1)" OPTIONS_IR "{\n    assert %v {text = \"v must hold\"}\n"
                         "    return\n}\n");
    tkc_argument no = tkc_arg(false);
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, b.m.device, NULL, tkc_grid1(1), &no, 1, NULL),
          "v must hold", "test.tkir:2:");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_ASSERT);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(test_races) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel =
        compile_ir(&m, "kernel @f(p: *i32)" OPTIONS_IR "{\n    %0: i32 = program_id {axis = 0}\n"
                       "    store %p, %0\n    return\n}\n");
    int32_t word = 0;
    tkc_buffer *buffer = buffer_of(&m, "word", &word, 4);
    tkc_argument argument = tkc_arg(buffer);
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), &argument, 1, &options));
    options.check_races = true;
    fails(TKC_LAUNCH_FAULT,
          tkc_launch(kernel, m.device, NULL, tkc_grid1(2), &argument, 1, &options), "fault", "`p`");
    const tkc_fault *fault = tkc_last_fault();
    ck_assert_int_eq(fault->kind, TKC_FAULT_RACE);
    ck_assert_uint_ne(fault->program[0], fault->other_program[0]);
    ck_assert_str_eq(fault->buffer, "word");
    options.check_races = false;
    volatile bool cancel = true;
    options.cancel = &cancel;
    fails(TKC_CANCELLED,
          tkc_launch(kernel, m.device, NULL, tkc_grid1(1000), &argument, 1, &options), "");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_CANCELLED);
    tkc_buffer_destroy(buffer);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("errors");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_source_files);
    tcase_add_test(tests, test_compile_log);
    tcase_add_test(tests, test_compile_arguments);
    tcase_add_test(tests, test_random_text);
    tcase_add_test(tests, test_count);
    tcase_add_test(tests, test_grid);
    tcase_add_test(tests, test_scalars);
    tcase_add_test(tests, test_scalar_ranges);
    tcase_add_test(tests, test_pointers);
    tcase_add_test(tests, test_promised_alignment);
    tcase_add_test(tests, test_buffer_ranges);
    tcase_add_test(tests, test_dltensors);
    tcase_add_test(tests, test_fault_numbers);
    tcase_add_test(tests, test_unwritten);
    tcase_add_test(tests, test_null_and_asserts);
    tcase_add_test(tests, test_races);
    return run_suite("runtime errors", tests);
}
