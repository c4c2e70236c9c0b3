/* t_cuda.c: the `cuda` device on the fake driver: what it calls and in which order, how arguments
 * arrive, what it does when the driver refuses, and that a launch does nothing but launch.
 *
 * The program links libtkcrt alone: this is what a user without the compiler has.
 */
#include "tests/fake_cuda.h"
#include "tests/runtime_test.h"

#include <dlfcn.h>
#include <dlpack/dlpack.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- kernels ------------------------------------------------------------------------------------
 */

#define HEADER(name, shared, more)                                                                 \
    "// tkc kernel 1\n// name: " name "\n// target: sm_80\n// num_warps: 4\n// num_stages: 3\n"    \
    "// num_ctas: 1\n// shared_bytes: " shared "\n" more "// end\n"
#define PTX ".version 7.0\n.target sm_80\n.address_size 64\n"

/* out[i] = x[i] + bias for i < n; one program of 128 threads each */
static const char *const add_ptx = HEADER("add", "0",
                                          "// parameter: *f32 16 x\n// parameter: *f32 16 out\n"
                                          "// parameter: f32 1 bias\n// parameter: i32 1 n\n"
                                          "// constant: BLOCK 128\n") PTX
    ".visible .entry add(.param .u64 .ptr .global .align 16 p0, .param .u64 p1, .param .f32 p2,\n"
    "                    .param .u32 p3)\n.reqntid 128, 1, 1\n{\n"
    "    .reg .pred %q; .reg .f32 %f<3>; .reg .b32 %r<5>; .reg .b64 %d<6>;\n"
    "    ld.param.u64 %d0, [p0]; ld.param.u64 %d1, [p1];\n"
    "    ld.param.f32 %f0, [p2]; ld.param.u32 %r0, [p3];\n"
    "    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x;\n"
    "    mad.lo.s32 %r3, %r1, 128, %r2;\n"
    "    setp.ge.s32 %q, %r3, %r0;\n"
    "    @%q bra DONE;\n"
    "    mul.wide.s32 %d2, %r3, 4; add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;\n"
    "    ld.global.f32 %f1, [%d3]; add.f32 %f2, %f1, %f0; st.global.f32 [%d4], %f2;\n"
    "DONE:\n    ret;\n}\n";

/* One parameter of every type; none is used. */
static const char *const pack_ptx =
    HEADER("pack", "0",
           "// parameter: i1 1 a\n// parameter: i8 1 b\n// parameter: i16 1 c\n"
           "// parameter: i32 1 d\n// parameter: i64 1 e\n// parameter: u8 1 f\n"
           "// parameter: f16 1 g\n// parameter: bf16 1 h\n// parameter: f32 1 i\n"
           "// parameter: f64 1 j\n// parameter: *f16 1 k\n// parameter: **f16 1 l\n") PTX
    ".visible .entry pack(.param .u8 a, .param .u8 b, .param .u16 c, .param .u32 d, .param .u64 "
    "e,\n"
    "  .param .u8 f, .param .b16 g, .param .b16 h, .param .f32 i, .param .f64 j, .param .u64 k,\n"
    "  .param .u64 l)\n{\n    ret;\n}\n";

static const char *const shared_ptx =
    HEADER("big", "98304", "") PTX ".visible .entry big()\n{\n    ret;\n}\n";

static const char *const broken_ptx =
    HEADER("broken", "0", "") PTX ".visible .entry broken()\n{\n    add.f33 %f0, %f1;\n}\n";

/* ---- the machine --------------------------------------------------------------------------------
 */

typedef struct Bench {
    FakeCuda *fake;
    tkc_context *context;
    tkc_device *device;
} Bench;

static FakeCuda *open_fake(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    ck_assert_msg(library != NULL, "%s", dlerror());
    FakeCudaState *state;
    *(void **)&state = dlsym(library, "fake_cuda_state");
    return state();
}

static tkc_context *context_with(const char *driver) {
    tkc_context *context;
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.cuda_library = driver;
    ok(tkc_context_create(&options, &context));
    return context;
}

static Bench bench_open(const char *path) {
    Bench b = {.fake = open_fake(path), .context = context_with(path)};
    ok(tkc_device_open(b.context, "cuda", &b.device));
    return b;
}

static void bench_close(Bench *b) {
    tkc_device_destroy(b->device);
    tkc_context_destroy(b->context);
    ck_assert_int_eq(b->fake->live_buffers, 0);
    ck_assert_int_eq(b->fake->live_modules, 0);
    ck_assert_int_eq(b->fake->live_streams, 0);
    ck_assert_int_eq(b->fake->live_events, 0);
    ck_assert_int_eq(b->fake->retained, 0);
}

static tkc_kernel *load(Bench *b, const char *text) {
    tkc_kernel *kernel;
    ok(tkc_kernel_load(b->context, NULL, text, 0, &kernel));
    return kernel;
}

static void forget(Bench *b) {
    b->fake->calls_length = 0;
    b->fake->calls[0] = 0;
}

/* The calls since the last `forget`, blanks between them, without those that switch contexts. */
static const char *calls(Bench *b) {
    static char text[4096];
    char *to = text;
    for (const char *at = b->fake->calls; *at; at += strcspn(at, "\n") + 1) {
        size_t length = strcspn(at, "\n");
        if (strncmp(at, "cuCtxGetCurrent", 15) == 0 || strncmp(at, "cuCtxPu", 7) == 0 ||
            strncmp(at, "cuCtxPo", 7) == 0)
            continue;
        if (to > text) *to++ = ' ';
        memcpy(to, at, length);
        to += length;
    }
    *to = 0;
    return text;
}

/* ---- tests --------------------------------------------------------------------------------------
 */

static void run_add(Bench *b, tkc_kernel *kernel, tkc_stream *stream) {
    float x[300], out[300];
    for (int i = 0; i < 300; i++) x[i] = (float)i;
    tkc_buffer *from, *to;
    ok(tkc_buffer_create(b->device, sizeof x, "x", &from));
    ok(tkc_buffer_create(b->device, sizeof out, "out", &to));
    ok(tkc_buffer_write(from, 0, x, sizeof x));
    ok(tkc_buffer_poison(to));
    tkc_argument arguments[] = {tkc_arg(from), tkc_arg(to), tkc_arg(0.5f), tkc_arg(300)};
    ok(tkc_launch(kernel, b->device, stream, tkc_grid1(3), arguments, 4, NULL));
    ok(tkc_device_synchronize(b->device));
    ok(tkc_buffer_read(to, 0, out, sizeof out));
    for (int i = 0; i < 300; i++) ck_assert_msg(out[i] == x[i] + 0.5f, "out[%d] is %g", i, out[i]);
    tkc_buffer_destroy(from);
    tkc_buffer_destroy(to);
}

START_TEST(add_runs) {
    const char *const drivers[] = {FAKE_CUDA, FAKE_CUDA_OLD};
    Bench b = bench_open(drivers[_i]);
    ck_assert_str_eq(tkc_device_name(b.device), "cuda:0");
    ck_assert_str_eq(tkc_device_target(b.device), "sm_80");
    tkc_kernel *kernel = load(&b, add_ptx);
    ck_assert_str_eq(tkc_kernel_name(kernel), "add");
    ck_assert_str_eq(tkc_kernel_target(kernel), "sm_80");
    ck_assert_uint_eq(tkc_kernel_parameter_count(kernel), 4);
    ck_assert_str_eq(tkc_kernel_constant(kernel, 0)->name, "BLOCK");
    ck_assert_str_eq(tkc_kernel_constant(kernel, 0)->text, "128");
    ck_assert_str_eq(tkc_kernel_text(kernel, "ptx", NULL), add_ptx);
    run_add(&b, kernel, NULL);
    ck_assert_uint_eq(b.fake->grid[0], 3);
    ck_assert_uint_eq(b.fake->grid[1], 1);
    ck_assert_uint_eq(b.fake->block[0], 128);
    ck_assert_uint_eq(b.fake->attribute_count, 0);
    ck_assert_ptr_eq(b.fake->stream, NULL);
    ck_assert(b.fake->line_info);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

/* What loading calls, and that the second launch calls the launch alone. */
START_TEST(load_order) {
    const char *const drivers[] = {FAKE_CUDA, FAKE_CUDA_OLD};
    const char *const loading[] = {
        "cuLibraryLoadData cuLibraryGetKernel cuKernelGetFunction cuFuncSetAttribute",
        "cuModuleLoadDataEx cuModuleGetFunction cuFuncSetAttribute"};
    const char *const launching[] = {"cuLaunchKernelEx", "cuLaunchKernel"};
    Bench b = bench_open(drivers[_i]);
    tkc_kernel *kernel = load(&b, shared_ptx);
    tkc_stream *stream;
    ok(tkc_stream_create(b.device, &stream));
    forget(&b);
    ok(tkc_kernel_prepare(kernel, b.device));
    ck_assert_str_eq(calls(&b), loading[_i]);
    ck_assert_uint_eq(b.fake->largest_shared, 98304);
    for (int i = 0; i < 2; i++) {
        forget(&b);
        ok(tkc_launch(kernel, b.device, stream, tkc_grid3(2, 3, 4), NULL, 0, NULL));
        ck_assert_str_eq(calls(&b), launching[_i]);
    }
    ck_assert_uint_eq(b.fake->grid[0], 2);
    ck_assert_uint_eq(b.fake->grid[1], 3);
    ck_assert_uint_eq(b.fake->grid[2], 4);
    ck_assert_uint_eq(b.fake->shared, 98304);
    ck_assert_ptr_eq(b.fake->stream, tkc_stream_native(stream));
    forget(&b);
    ok(tkc_launch(kernel, b.device, stream, tkc_grid1(0), NULL, 0, NULL));
    ck_assert_str_eq(calls(&b), "");
    tkc_stream_destroy(stream);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

/* The linker sends the library's calls of these to us (CMakeLists.txt: --wrap). */
static atomic_uint allocations, locks;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t size) {
    allocations++;
    return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    allocations++;
    return __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    allocations++;
    return __real_realloc(old, size);
}
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    locks++;
    return __real_pthread_mutex_lock(mutex);
}

START_TEST(launch_is_lean) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, add_ptx);
    tkc_buffer *x;
    tkc_stream *stream;
    ok(tkc_buffer_create(b.device, 4096, "x", &x));
    ok(tkc_stream_create(b.device, &stream));
    ck_assert_uint_gt(allocations, 0);
    ck_assert_uint_gt(locks, 0);
    ok(tkc_kernel_prepare(kernel, b.device));
    tkc_argument arguments[] = {tkc_arg(x), tkc_arg(x), tkc_arg(0.5f), tkc_arg(300)};
    forget(&b);
    allocations = locks = 0; /* Check's own calls are counted too: none until these are read */
    tkc_status status = tkc_launch(kernel, b.device, stream, tkc_grid1(3), arguments, 4, NULL);
    unsigned allocated = allocations, locked = locks;
    ok(status);
    ck_assert_uint_eq(allocated, 0);
    ck_assert_uint_eq(locked, 0);
    ck_assert_str_eq(calls(&b), "cuLaunchKernelEx");
    tkc_stream_destroy(stream);
    tkc_buffer_destroy(x);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(parameters) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, pack_ptx);
    static const uint32_t sizes[] = {1, 1, 2, 4, 8, 1, 2, 2, 4, 8, 8, 8};
    const uint64_t values[] = {1,      0x80,   0xfffe, 0x80000000u, 0x8000000000000001u,
                               0xff,   0x3c00, 0x3f80, 0x3fc00000,  0xbff8000000000000u,
                               0x1000, 0x2000};
    tkc_argument arguments[] = {
        tkc_arg(true),          tkc_arg_i32(-128),          tkc_arg_i64(-2),
        tkc_arg_i64(INT32_MIN), tkc_arg_i64(INT64_MIN + 1), tkc_arg_u8(255),
        tkc_arg_f32(1.0f),      tkc_arg_bf16(0x3f80),       tkc_arg_f64(1.5),
        tkc_arg_f64(-1.5),      tkc_arg_address(0x1000),    tkc_arg_address(0x2000)};
    ok(tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 12, NULL));
    ck_assert_uint_eq(b.fake->parameter_count, 12);
    for (int i = 0; i < 12; i++) {
        ck_assert_uint_eq(b.fake->parameter_sizes[i], sizes[i]);
        ck_assert_msg(b.fake->parameters[i] == values[i], "parameter %d is 0x%llx", i,
                      (unsigned long long)b.fake->parameters[i]);
    }
    arguments[3] = tkc_arg_i64(1ll << 40);
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 12, NULL), "`d: i32`",
          "out of range");
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(dlpack) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, add_ptx);
    tkc_buffer *memory;
    ok(tkc_buffer_create(b.device, 1024, "memory", &memory));
    int64_t shape[] = {128};
    DLTensor tensor = {.data = (void *)(uintptr_t)tkc_buffer_address(memory),
                       .device = {kDLCUDA, 0},
                       .ndim = 1,
                       .dtype = {kDLFloat, 32, 1},
                       .shape = shape,
                       .byte_offset = 512};
    tkc_argument arguments[] = {tkc_arg_dltensor(&tensor), tkc_arg(memory), tkc_arg(1.0f),
                                tkc_arg(128)};
    ok(tkc_buffer_fill(memory, 0, 1024, "\0\0\0\0", 4));
    ok(tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 4, NULL));
    ck_assert_uint_eq(b.fake->parameters[0], tkc_buffer_address(memory) + 512);
    tensor.device.device_id = 1;
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 4, NULL), "kDLCUDA:1",
          "cuda:0");
    tensor.device.device_type = kDLCPU;
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 4, NULL), "kDLCPU");
    tkc_buffer_destroy(memory);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(buffers) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_buffer *x, *y, *empty;
    unsigned char bytes[64], pattern[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ok(tkc_buffer_create(b.device, 64, "x", &x));
    ok(tkc_buffer_create(b.device, 64, "y", &y));
    ok(tkc_buffer_create(b.device, 0, "empty", &empty));
    ok(tkc_buffer_poison(empty));
    for (uint32_t size = 1; size <= 8; size *= 2)
        for (uint64_t start = 0; start < 9; start++) {
            ok(tkc_buffer_poison(x));
            ok(tkc_buffer_fill(x, start, 48, pattern, size));
            ok(tkc_buffer_read(x, 0, bytes, 64));
            for (uint64_t i = 0; i < 64; i++) {
                bool inside = i >= start && i < start + 48;
                ck_assert_uint_eq(bytes[i], inside ? pattern[(i - start) % size] : 0xff);
            }
        }
    ok(tkc_buffer_fill(x, 0, 64, "abcdabcd", 8));
    ok(tkc_buffer_copy(y, 8, x, 2, 16));
    ok(tkc_buffer_read(y, 8, bytes, 16));
    ck_assert_mem_eq(bytes, "cdabcdabcdabcdab", 16);
    tkc_buffer *wrapped;
    fails(TKC_UNSUPPORTED, tkc_buffer_wrap(b.device, bytes, 64, "bytes", &wrapped), "`bytes`",
          "tkc_arg_address");
    b.fake->fail_name = "cuMemAlloc_v2";
    b.fake->fail_result = 2;
    fails(TKC_OUT_OF_MEMORY, tkc_buffer_create(b.device, 1 << 20, "large", &wrapped), "`large`",
          "out of memory", "CUDA_ERROR_OUT_OF_MEMORY");
    b.fake->fail_name = NULL;
    tkc_buffer_destroy(empty);
    tkc_buffer_destroy(x);
    tkc_buffer_destroy(y);
    bench_close(&b);
}
END_TEST

START_TEST(streams_and_events) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_stream *stream, *mine;
    tkc_event *start, *stop;
    double milliseconds;
    int native;
    ok(tkc_stream_create(b.device, &stream));
    ok(tkc_event_create(b.device, &start));
    ok(tkc_event_create(b.device, &stop));
    ok(tkc_event_record(start, stream));
    ok(tkc_event_record(stop, stream));
    ok(tkc_event_synchronize(stop));
    ok(tkc_event_elapsed_ms(start, stop, &milliseconds));
    ck_assert(milliseconds >= 0 && milliseconds < 1000);
    ok(tkc_stream_synchronize(b.device, stream));
    ok(tkc_stream_adopt(b.device, &native, &mine));
    ck_assert_ptr_eq(tkc_stream_native(mine), &native);
    tkc_kernel *kernel = load(&b, add_ptx);
    run_add(&b, kernel, mine);
    ck_assert_ptr_eq(b.fake->stream, &native);
    tkc_stream_destroy(mine); /* not the driver's to destroy: live_streams says */
    ck_assert_int_eq(b.fake->live_streams, 1);
    tkc_kernel_destroy(kernel);
    tkc_event_destroy(start);
    tkc_event_destroy(stop);
    tkc_stream_destroy(stream);
    bench_close(&b);
}
END_TEST

START_TEST(capture) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, shared_ptx);
    tkc_stream *stream;
    ok(tkc_stream_create(b.device, &stream));
    b.fake->capturing = true;
    forget(&b);
    fails(TKC_INVALID_ARGUMENT, tkc_launch(kernel, b.device, stream, tkc_grid1(1), NULL, 0, NULL),
          "`big`", "tkc_kernel_prepare");
    ck_assert_str_eq(calls(&b), "cuStreamIsCapturing");
    b.fake->capturing = false;
    ok(tkc_kernel_prepare(kernel, b.device));
    b.fake->capturing = true;
    ok(tkc_launch(kernel, b.device, stream, tkc_grid1(1), NULL, 0, NULL));
    b.fake->capturing = false;
    tkc_stream_destroy(stream);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(load_errors) {
    Bench b = bench_open(FAKE_CUDA);
    b.fake->defer_compile = _i;
    tkc_kernel *kernel = load(&b, broken_ptx);
    fails(TKC_DRIVER, tkc_kernel_prepare(kernel, b.device), "`broken`", "CUDA_ERROR_INVALID_PTX",
          "add.f33");
    fails(TKC_DRIVER, tkc_kernel_prepare(kernel, b.device), "add.f33"); /* and again */
    ck_assert_int_eq(b.fake->live_modules, 0);
    tkc_kernel_destroy(kernel);

    kernel = load(&b, add_ptx);
    b.fake->fail_name = "cuLibraryLoadData";
    b.fake->fail_result = 222;
    fails(TKC_UNSUPPORTED, tkc_kernel_prepare(kernel, b.device), "`add`", "sm_80",
          "UNSUPPORTED_PTX_VERSION", "newer driver");
    b.fake->fail_name = NULL;
    ok(tkc_kernel_prepare(kernel, b.device));
    tkc_kernel_destroy(kernel);

    kernel = load(&b, HEADER("huge", "200000", "") PTX ".visible .entry huge()\n{\n ret;\n}\n");
    fails(TKC_UNSUPPORTED, tkc_kernel_prepare(kernel, b.device), "200000", "166912", "num_stages");
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(faults) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, add_ptx);
    tkc_argument arguments[] = {tkc_arg_address(4096), tkc_arg_address(4096), tkc_arg(1.0f),
                                tkc_arg(128)};
    b.fake->fail_name = "cuCtxSynchronize";
    b.fake->fail_result = 716;
    fails(TKC_LAUNCH_FAULT, tkc_device_synchronize(b.device), "MISALIGNED", "cuda:0", "emu");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_MISALIGNED);
    b.fake->fail_name = NULL;
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 4, NULL),
          "`add`", "ILLEGAL_ADDRESS");
    ck_assert_int_eq(tkc_last_fault()->kind, TKC_FAULT_OUT_OF_BOUNDS);
    b.fake->fail_name = "cuLaunchKernelEx";
    b.fake->fail_result = 4711;
    fails(TKC_DRIVER, tkc_launch(kernel, b.device, NULL, tkc_grid1(1), arguments, 4, NULL),
          "an unknown error", "4711");
    b.fake->fail_name = NULL;
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(clusters) {
    char text[1024];
    snprintf(text, sizeof text, "%s", shared_ptx);
    memcpy(strstr(text, "num_ctas: 1"), "num_ctas: 2", 11);
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, text);
    tkc_launch(kernel, b.device, NULL, tkc_grid2(3, 2), NULL, 0, NULL);
    ck_assert_uint_eq(b.fake->attribute_count, 1);
    ck_assert_uint_eq(b.fake->cluster[0], 2);
    ck_assert_uint_eq(b.fake->cluster[1], 1);
    ck_assert_uint_eq(b.fake->cluster[2], 1);
    ck_assert_uint_eq(b.fake->grid[0], 6);
    ck_assert_uint_eq(b.fake->grid[1], 2);
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, b.device, NULL, tkc_grid1(INT32_MAX), NULL, 0, NULL), "num_ctas");
    tkc_kernel_destroy(kernel);
    bench_close(&b);
    b = bench_open(FAKE_CUDA_OLD);
    kernel = load(&b, text);
    fails(TKC_UNSUPPORTED, tkc_kernel_prepare(kernel, b.device), "num_ctas = 2", "11.8");
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(usage) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel = load(&b, shared_ptx);
    tkc_kernel_usage found = TKC_KERNEL_USAGE_INIT;
    ok(tkc_kernel_usage_on(kernel, b.device, &found));
    ck_assert_uint_eq(found.registers, 40);
    ck_assert_uint_eq(found.local_bytes, 16);
    ck_assert_uint_eq(found.shared_bytes, 98304);
    ck_assert_uint_eq(found.programs, 1);
    ck_assert_uint_eq(found.multiprocessors, 4);
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(contexts) {
    setenv("FAKE_CUDA_DEVICES", "3", 1);
    Bench b = bench_open(FAKE_CUDA);
    tkc_device *second, *adopted, *again;
    void *library = dlopen(FAKE_CUDA, RTLD_NOW);
    int (*push)(void *), (*pop)(void **), (*current)(void **);
    *(void **)&push = dlsym(library, "cuCtxPushCurrent_v2");
    *(void **)&pop = dlsym(library, "cuCtxPopCurrent_v2");
    *(void **)&current = dlsym(library, "cuCtxGetCurrent");
    ok(tkc_device_open(b.context, "cuda:2", &second));
    ck_assert_str_eq(tkc_device_name(second), "cuda:2");
    fails(TKC_NO_DEVICE, tkc_device_open(b.context, "cuda:3", &adopted), "cuda:3", "has 3");
    fails(TKC_NOT_FOUND, tkc_device_open(b.context, "cuda:1x", &adopted), "cuda:1x");
    fails(TKC_NOT_FOUND, tkc_device_open(b.context, "cuda:", &adopted), "number");
    tkc_device_options options = TKC_DEVICE_OPTIONS_INIT;
    options.adopt_current = true;
    fails(TKC_INVALID_ARGUMENT, tkc_device_open_with(b.context, "cuda", &options, &adopted),
          "no CUDA context is current");

    struct {
        int device;
    } mine = {1};
    push(&mine);
    ok(tkc_device_open_with(b.context, "cuda", &options, &adopted));
    ck_assert_str_eq(tkc_device_name(adopted), "cuda:1");
    fails(TKC_INVALID_ARGUMENT, tkc_device_open_with(b.context, "cuda:2", &options, &again),
          "`cuda:1`", "`cuda:2`");
    Bench other = {b.fake, b.context, adopted};
    tkc_kernel *kernel = load(&b, add_ptx);
    run_add(&other, kernel, NULL);
    ck_assert_ptr_eq(b.fake->context, &mine);
    other.device = second; /* one kernel, two devices; the caller's context is current all along */
    run_add(&other, kernel, NULL);
    ck_assert_ptr_ne(b.fake->context, &mine);
    ck_assert_int_eq(b.fake->live_modules, 2);
    void *now;
    current(&now);
    ck_assert_ptr_eq(now, &mine);
    pop(&now);
    current(&now);
    ck_assert_ptr_eq(now, NULL);
    options.adopt_current = false;
    options.cuda_context = &mine;
    ok(tkc_device_open_with(b.context, "cuda:1", &options, &again));
    tkc_device_destroy(again);
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(adopted);
    tkc_device_destroy(second);
    bench_close(&b);
}
END_TEST

START_TEST(no_device) {
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    tkc_device *device;
    const char *const drivers[] = {"libno-such-driver.so.1", "/nowhere/libcuda.so", "libm.so.6",
                                   FAKE_CUDA, FAKE_CUDA};
    const char *const reasons[] = {"no NVIDIA driver is installed", "cannot be opened",
                                   "it has no cuInit", "the driver reports no device",
                                   "compute capability 7.5; 8.0 or later"};
    setenv("FAKE_CUDA_DEVICES", _i == 3 ? "0" : "1", 1);
    setenv("FAKE_CUDA_CAPABILITY", "75", 1);
    tkc_context *context = context_with(drivers[_i]);
    bool seen = false;
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        ok(tkc_device_describe(context, i, &info));
        if (strncmp(info.name, "cuda", 4) != 0) continue;
        seen = true;
        ck_assert(!info.available);
        ck_assert_msg(strstr(info.reason, reasons[_i]) != NULL, "%s", info.reason);
    }
    ck_assert(seen);
    fails(TKC_NO_DEVICE, tkc_device_open(context, "cuda", &device),
          _i == 4 ? "compute capability 7.5" : reasons[_i]);
    tkc_context_destroy(context);
}
END_TEST

START_TEST(targets) {
    static const char *const capabilities[] = {"80",  "86",  "87",  "89",  "90",  "100",
                                               "103", "110", "120", "121", "102", "135"};
    static const char *const names[] = {"sm_80",   "sm_86",   "sm_86",   "sm_89",
                                        "sm_90a",  "sm_100a", "sm_103a", "sm_110a",
                                        "sm_120a", "sm_121a", "sm_90",   "sm_90"};
    setenv("FAKE_CUDA_CAPABILITY", capabilities[_i], 1);
    Bench b = bench_open(FAKE_CUDA);
    ck_assert_str_eq(tkc_device_target(b.device), names[_i]);
    char text[4096];
    tkc_kernel *kernel = load(&b, add_ptx);
    ok(tkc_kernel_prepare(kernel, b.device));
    tkc_kernel_destroy(kernel);
    snprintf(text, sizeof text, "%s", add_ptx);
    memcpy(strstr(text, "sm_80"), "sm_89", 5);
    kernel = load(&b, text);
    int capability = atoi(capabilities[_i]);
    if (capability < 89)
        fails(TKC_UNSUPPORTED, tkc_kernel_prepare(kernel, b.device), "`sm_89`", names[_i]);
    else
        ok(tkc_kernel_prepare(kernel, b.device));
    tkc_kernel_destroy(kernel);
    bench_close(&b);
}
END_TEST

START_TEST(descriptions) {
    setenv("FAKE_CUDA_DEVICES", "2", 1);
    tkc_context *context = context_with(FAKE_CUDA);
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    uint32_t found = 0;
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        ok(tkc_device_describe(context, i, &info));
        if (strncmp(info.name, "cuda", 4) != 0) continue;
        char name[16];
        snprintf(name, sizeof name, "cuda:%u", found++);
        ck_assert_str_eq(info.name, name);
        ck_assert(info.available);
        ck_assert(info.memory == (uint64_t)8 << 30);
        ck_assert(strstr(info.description, "capability 8.0") && strstr(info.description, "12.4"));
    }
    ck_assert_uint_eq(found, 2);
    tkc_device *device;
    fails(TKC_NO_DEVICE, tkc_device_open(context, "interp", &device), "this build has no interp");
    ok(tkc_device_open(context, "auto", &device));
    ck_assert_str_eq(tkc_device_name(device), "cuda:0");
    tkc_device_destroy(device);
    tkc_context_destroy(context);
}
END_TEST

/* ---- many threads
 * -------------------------------------------------------------------------------- */

typedef struct Shared {
    Bench *bench;
    tkc_kernel *kernel;
} Shared;

static void *launch_often(void *context) {
    Shared *shared = context;
    for (int i = 0; i < 20; i++) run_add(shared->bench, shared->kernel, NULL);
    return NULL;
}

START_TEST(threads) {
    Bench b = bench_open(FAKE_CUDA);
    Shared shared = {&b, load(&b, add_ptx)};
    pthread_t workers[4];
    for (int i = 0; i < 4; i++) pthread_create(&workers[i], NULL, launch_often, &shared);
    for (int i = 0; i < 4; i++) pthread_join(workers[i], NULL);
    ck_assert_int_eq(b.fake->live_modules, 1);
    ck_assert_uint_eq(b.fake->launches, 80);
    tkc_kernel_destroy(shared.kernel);
    bench_close(&b);
}
END_TEST

/* ---- saved kernels
 * -------------------------------------------------------------------------------- */

START_TEST(files) {
    Bench b = bench_open(FAKE_CUDA);
    tkc_kernel *kernel;
    char path[] = "/tmp/tkc-kernel-XXXXXX";
    int fd = mkstemp(path);
    ck_assert(write(fd, add_ptx, strlen(add_ptx)) == (ssize_t)strlen(add_ptx));
    close(fd);
    ok(tkc_kernel_load(b.context, path, NULL, 0, &kernel));
    unlink(path);
    run_add(&b, kernel, NULL);
    tkc_kernel_destroy(kernel);
    fails(TKC_NOT_FOUND, tkc_kernel_load(b.context, path, NULL, 0, &kernel), path);
    bench_close(&b);
}
END_TEST

START_TEST(bad_files) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "`// tkc kernel 1` is expected"},
        {".version 7.0\n", "line 1"},
        {"// tkc kernel 1\n", "end of the header"},
        {"// tkc kernel 1\n// end\n", "missing"},
        {"// tkc kernel 1\n.version 7.0\n// end\n", "line 2"},
        {"// tkc kernel 1\n// num_warps: 33\n// end\n", "out of range"},
        {"// tkc kernel 1\n// num_warps: 99999999999999999999\n// end\n", "out of range"},
        {"// tkc kernel 1\n// name: a b\n// end\n", "no name"},
        {"// tkc kernel 1\n// parameter: f33 1 x\n// end\n", "type"},
        {"// tkc kernel 1\n// parameter: f32 0 x\n// end\n", "divisibility"},
        {"// tkc kernel 1\n// parameter: f32 1 \n// end\n", "no name"},
        {"// tkc kernel 1\n// parameter: \n// end\n", "type"},
        {"// tkc kernel 1\n//\n// end\n", "expected"},
    };
    tkc_context *context = context_with(FAKE_CUDA);
    tkc_kernel *kernel;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        fails(TKC_COMPILE_ERROR,
              tkc_kernel_load(context, "saved.ptx", cases[i].text, strlen(cases[i].text), &kernel),
              "saved.ptx", cases[i].part);
    /* Cut off anywhere, and with any byte changed, it is loaded or refused. */
    size_t length = strlen(add_ptx);
    char *copy = malloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        memcpy(copy, add_ptx, length + 1);
        copy[i] = (char)(copy[i] ^ (1 << i % 8));
        if (tkc_kernel_load(context, NULL, copy, length, &kernel) == TKC_OK)
            tkc_kernel_destroy(kernel);
        if (i && tkc_kernel_load(context, NULL, add_ptx, i, &kernel) == TKC_OK)
            tkc_kernel_destroy(kernel);
    }
    free(copy);
    tkc_context_destroy(context);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cuda");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, add_runs, 0, 2);
    tcase_add_loop_test(tests, load_order, 0, 2);
    tcase_add_test(tests, launch_is_lean);
    tcase_add_test(tests, parameters);
    tcase_add_test(tests, dlpack);
    tcase_add_test(tests, buffers);
    tcase_add_test(tests, streams_and_events);
    tcase_add_test(tests, capture);
    tcase_add_loop_test(tests, load_errors, 0, 2);
    tcase_add_test(tests, faults);
    tcase_add_test(tests, clusters);
    tcase_add_test(tests, usage);
    tcase_add_test(tests, contexts);
    tcase_add_loop_test(tests, no_device, 0, 5);
    tcase_add_loop_test(tests, targets, 0, 12);
    tcase_add_test(tests, descriptions);
    tcase_add_test(tests, threads);
    tcase_add_test(tests, files);
    tcase_add_test(tests, bad_files);
    return run_suite("cuda", tests);
}
