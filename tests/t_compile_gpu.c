/* t_compile_gpu.c: compiling for a GPU through the public interface: the texts, the cache and who
 * is told of what, imports that change, and the saved kernel. Skipped by a build without LLVM. */
#include "tests/runtime_test.h"

#include <malloc.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[] = "/tmp/tkc-compile-XXXXXX";

static const char *const scale_tk = "import triton\n"
                                    "import triton.language as tl\n"
                                    "from .factor import factor\n"
                                    "\n"
                                    "@triton.jit\n"
                                    "def scale(x: \"*fp32:16\", out: \"*fp32:16\", n: \"i32\",\n"
                                    "          BLOCK: tl.constexpr = 128):\n"
                                    "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
                                    "    value = tl.load(x + i, mask=i < n)\n"
                                    "    tl.static_print(\"compiling\")\n"
                                    "    tl.store(out + i, factor(value), mask=i < n)\n";

static void write_file(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void write_factor(int factor) {
    char text[256];
    snprintf(text, sizeof text,
             "import triton\n\n@triton.jit\ndef factor(x):\n    return x * %d.0\n", factor);
    write_file("factor.tk", text);
}

typedef struct Heard {
    int compiles, prints;
} Heard;

static void heard_compile(void *user, const tkc_compile_event *event) {
    ck_assert_str_eq(event->target, "sm_80");
    ((Heard *)user)->compiles++;
}

static void heard_print(void *user, const char *line) {
    ck_assert_str_eq(line, "compiling");
    ((Heard *)user)->prints++;
}

static tkc_context *open_context(Heard *heard) {
    char folder[64];
    tkc_context *context;
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    snprintf(folder, sizeof folder, "%s/cache", root);
    options.user = heard;
    options.compiled = heard_compile;
    options.static_print = heard_print;
    options.cache_folder = folder;
    ok(tkc_context_create(&options, &context));
    return context;
}

static tkc_kernel *compile(tkc_context *context, const char *block, bool no_cache) {
    char path[64];
    tkc_kernel *kernel;
    const tkc_named constants[] = {{"BLOCK", block}};
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    snprintf(path, sizeof path, "%s/scale.tk", root);
    options.path = path;
    options.kernel = "scale";
    options.target = "sm_80";
    options.constants = constants;
    options.constant_count = 1;
    options.no_cache = no_cache;
    ok(tkc_compile(context, &options, &kernel, NULL));
    return kernel;
}

/* Runs it on the emulator; what it multiplies by. */
static float factor_of(tkc_context *context, tkc_kernel *kernel) {
    Machine m = {.context = context};
    float x[200], out[200];
    for (int i = 0; i < 200; i++) x[i] = (float)i;
    ok(tkc_device_open(context, "emu", &m.device));
    tkc_buffer *from = buffer_of(&m, "x", x, sizeof x), *to = buffer_of(&m, "out", x, sizeof x);
    ok(tkc_buffer_poison(to));
    tkc_argument arguments[] = {tkc_arg(from), tkc_arg(to), tkc_arg(200)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(4), arguments, 3, NULL));
    ok(tkc_buffer_read(to, 0, out, sizeof out));
    for (int i = 0; i < 200; i++) ck_assert(out[i] == x[i] * out[1]);
    tkc_buffer_destroy(from);
    tkc_buffer_destroy(to);
    tkc_device_destroy(m.device);
    return out[1];
}

static bool from_cache(const tkc_kernel *kernel) {
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    ok(tkc_kernel_query(kernel, &info));
    return info.from_cache;
}

/* Compiles, and checks what was heard, where the kernel came from and what it does. */
static void expect(Heard *heard, tkc_context *context, const char *block, bool cached,
                   float factor) {
    *heard = (Heard){0};
    tkc_kernel *kernel = compile(context, block, false);
    ck_assert_int_eq(heard->compiles, cached ? 0 : 1);
    ck_assert_int_eq(heard->prints, 1);
    ck_assert_int_eq(from_cache(kernel), cached);
    ck_assert_float_eq(factor_of(context, kernel), factor);
    ck_assert_str_eq(tkc_kernel_constant(kernel, 0)->text, block);
    tkc_kernel_destroy(kernel);
}

START_TEST(recalled) {
    Heard heard = {0};
    ck_assert_ptr_nonnull(mkdtemp(root));
    write_file("scale.tk", scale_tk);
    write_factor(2);
    tkc_context *context = open_context(&heard);
    expect(&heard, context, "128", false, 2);
    expect(&heard, context, "128", true, 2);
    expect(&heard, context, "256", false, 2);
    tkc_context *other = open_context(&heard);
    expect(&heard, other, "256", true, 2);
    write_factor(3); /* an import has changed: compiled again, and kept in place of the old one */
    expect(&heard, other, "128", false, 3);
    expect(&heard, context, "128", true, 3);
    tkc_kernel *kernel = compile(context, "128", true);
    ck_assert(!from_cache(kernel));
    tkc_kernel_destroy(kernel);
    char folder[64];
    struct stat info;
    snprintf(folder, sizeof folder, "%s/cache", root);
    ck_assert_int_eq(stat(folder, &info), 0);
    tkc_context_destroy(other);
    tkc_context_destroy(context);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(texts_and_saving) {
    Heard heard = {0};
    ck_assert_ptr_nonnull(mkdtemp(root));
    write_file("scale.tk", scale_tk);
    write_factor(5);
    tkc_context *context = open_context(&heard);
    tkc_kernel *kernel = compile(context, "128", false), *loaded;
    const char *ptx = tkc_kernel_text(kernel, "ptx", NULL);
    ck_assert(strstr(ptx, ".visible .entry scale") && strstr(ptx, "// parameter: *f32 16 x\n"));
    ck_assert_ptr_null(tkc_kernel_text(kernel, "laid", NULL));
    ok(tkc_kernel_load(context, NULL, ptx, 0, &loaded));
    ck_assert_uint_eq(tkc_kernel_parameter_count(loaded), 3);
    ck_assert_float_eq(factor_of(context, loaded), 5);
    tkc_kernel_destroy(loaded);
    tkc_kernel_destroy(kernel);
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    char path[64];
    snprintf(path, sizeof path, "%s/scale.tk", root);
    options.path = path;
    options.kernel = "scale";
    options.target = "cuda:80";
    options.intermediate = true;
    ok(tkc_compile(context, &options, &kernel, NULL));
    ck_assert_str_eq(tkc_kernel_target(kernel), "sm_80");
    static const char *const whats[] = {"ir", "laid", "placed", "llvm", "ptx", "source"};
    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++)
        ck_assert_msg(tkc_kernel_text(kernel, whats[i], NULL) != NULL, "no %s", whats[i]);
    tkc_kernel_destroy(kernel);
    tkc_context_destroy(context);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Targets by name, and by number as Triton has them; the row that suits what has none of its own.
 */
START_TEST(targets) {
    static const char *const pairs[][2] = {
        {"sm_80", "sm_80"},      {"cuda:80", "sm_80"},  {"cuda:87", "sm_86"},
        {"cuda:90", "sm_90a"},   {"sm_90", "sm_90"},    {"cuda:103", "sm_103a"},
        {"cuda:120", "sm_120a"}, {"cuda:135", "sm_90"}, {"cuda:90a", "sm_90a"},
        {"cuda:75", NULL},       {"cuda:90x", NULL},    {"cuda:", NULL},
        {"sm_75", NULL},
    };
    static const char text[] = "import triton\nimport triton.language as tl\n"
                               "@triton.jit\ndef k(x: '*fp32'):\n    tl.store(x, 1.0)\n";
    tkc_context *context;
    ok(tkc_context_create(NULL, &context));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
        tkc_kernel *kernel;
        options.text = text;
        options.target = pairs[i][0];
        options.no_cache = true;
        if (!pairs[i][1]) {
            ck_assert_int_eq(tkc_compile(context, &options, &kernel, NULL), TKC_NOT_FOUND);
            ck_assert_ptr_nonnull(strstr(tkc_last_error(), "sm_90a"));
            continue;
        }
        ok(tkc_compile(context, &options, &kernel, NULL));
        ck_assert_str_eq(tkc_kernel_target(kernel), pairs[i][1]);
        ck_assert_ptr_nonnull(tkc_kernel_text(kernel, "ptx", NULL));
        tkc_kernel_destroy(kernel);
    }
    tkc_context_destroy(context);
}
END_TEST

/* A kernel holds its code and little else: no source, no IR. */
START_TEST(kept_memory) {
    Heard heard = {0};
    ck_assert_ptr_nonnull(mkdtemp(root));
    write_file("scale.tk", scale_tk);
    write_factor(5);
    tkc_context *context = open_context(&heard);
    tkc_kernel_destroy(compile(context, "128", true)); /* LLVM's own tables */
    enum { COUNT = 32 };
    tkc_kernel *kernels[COUNT];
    size_t before = mallinfo2().uordblks, code = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t size;
        kernels[i] = compile(context, "128", true);
        ck_assert_ptr_nonnull(tkc_kernel_text(kernels[i], "ptx", &size));
        ck_assert_ptr_null(tkc_kernel_text(kernels[i], "source", NULL));
        tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
        ok(tkc_kernel_query(kernels[i], &info));
        ck_assert(info.compile_ms > 0 && !info.from_cache);
        code += size;
    }
    size_t kept = mallinfo2().uordblks - before; /* a sanitizer's malloc says 0 */
    ck_assert_msg(kept < 4 * code + 262144, "%zu bytes for %zu bytes of code", kept, code);
    for (int i = 0; i < COUNT; i++) tkc_kernel_destroy(kernels[i]);
    tkc_context_destroy(context);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Processes that compile the same at the same time all get a kernel that works. */
START_TEST(processes) {
    Heard heard = {0};
    pid_t workers[4];
    ck_assert_ptr_nonnull(mkdtemp(root));
    write_file("scale.tk", scale_tk);
    write_factor(7);
    for (int i = 0; i < 4; i++) {
        workers[i] = fork();
        if (workers[i]) continue;
        tkc_context *context = open_context(&heard);
        tkc_kernel *kernel = compile(context, "64", false);
        float factor = factor_of(context, kernel);
        tkc_kernel_destroy(kernel);
        tkc_context_destroy(context);
        _exit(factor == 7 ? 0 : 1);
    }
    for (int i = 0; i < 4; i++) {
        int status;
        ck_assert_int_eq(waitpid(workers[i], &status, 0), workers[i]);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    tkc_context *context = open_context(&heard);
    expect(&heard, context, "64", true, 7);
    tkc_context_destroy(context);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* True when this build can make PTX. */
static bool has_generator(void) {
    tkc_context *context;
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    bool found = false;
    if (tkc_context_create(NULL, &context) != TKC_OK) return true;
    for (uint32_t i = 0; i < tkc_device_count(context); i++)
        if (tkc_device_describe(context, i, &info) == TKC_OK && strcmp(info.name, "emu") == 0) {
            found = info.available;
            if (!found) printf("skipped: %s\n", info.reason);
        }
    tkc_context_destroy(context);
    return found;
}

int main(void) {
    if (!has_generator()) return 77;
    TCase *tests = tcase_create("gpu");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, recalled);
    tcase_add_test(tests, texts_and_saving);
    tcase_add_test(tests, targets);
    tcase_add_test(tests, kept_memory);
    tcase_add_test(tests, processes);
    return run_suite("compiling for a GPU", tests);
}
