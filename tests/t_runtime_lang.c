/* t_runtime_lang.c: source text through the public API: compile, constants, imports, questions
 * about a file, and launches that check the names of the source. */
#include "tests/runtime_test.h"

#include <sys/stat.h>
#include <unistd.h>

static const char scale_tk[] =
    "import triton\n"
    "import triton.language as tl\n"
    "\n"
    "@triton.jit\n"
    "def scale(x: \"*fp32\", out: \"*fp32\", n: \"i32\", factor: \"fp32\",\n"
    "          BLOCK: tl.constexpr = 128):\n"
    "    tl.static_print(\"block\", BLOCK)\n"
    "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
    "    v = tl.load(x + i, mask=i < n)\n"
    "    tl.store(out + i, v * factor, mask=i < n)\n"
    "\n"
    "@triton.jit\n"
    "def copy(x, out, n, kind: tl.constexpr, BLOCK: tl.constexpr):\n"
    "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
    "    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)\n";

static void keep_lines(void *user, const char *line) {
    strcat(strcat(user, line), "|");
}

START_TEST(test_compile_and_launch) {
    char lines[256] = "";
    tkc_context_options callbacks = TKC_CONTEXT_OPTIONS_INIT;
    callbacks.user = lines;
    callbacks.static_print = keep_lines;
    Machine m = machine_open(&callbacks);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    const tkc_named constants[] = {{"BLOCK", "64"}};
    options.path = "scale.tk";
    options.text = scale_tk;
    options.kernel = "scale";
    options.constants = constants;
    options.constant_count = 1;
    options.num_warps = 8;
    options.verify = true;
    ok(tkc_compile(m.context, &options, &kernel, NULL));
    ck_assert_str_eq(tkc_kernel_name(kernel), "scale");
    ck_assert_uint_eq(tkc_kernel_parameter_count(kernel), 4);
    ck_assert_str_eq(tkc_kernel_constant(kernel, 0)->name, "BLOCK");
    ck_assert_str_eq(tkc_kernel_constant(kernel, 0)->text, "64");
    ck_assert_ptr_null(tkc_kernel_constant(kernel, 1));
    ck_assert_msg(strstr(lines, "block") && strstr(lines, "64"), "%s", lines);
    ck_assert_ptr_nonnull(strstr(tkc_kernel_text(kernel, "static", NULL), "64"));
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    ok(tkc_kernel_query(kernel, &info));
    ck_assert_uint_eq(info.num_warps, 8);

    float x[100], out[100];
    for (int i = 0; i < 100; i++) x[i] = (float)i;
    tkc_buffer *a = buffer_of(&m, "a", x, sizeof x), *b = buffer_of(&m, "b", x, sizeof x);
    tkc_argument arguments[] = {tkc_arg(a), tkc_arg(b), tkc_arg(100), tkc_arg(0.5), tkc_arg(64)};
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 4, NULL));
    ok(tkc_buffer_read(b, 0, out, sizeof out));
    for (int i = 0; i < 100; i++) ck_assert(out[i] == 0.5f * (float)i);
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 5, NULL),
          "Fixed at compile time, so not passed: `BLOCK`.");
    arguments[2] = tkc_arg(101);
    fails(TKC_LAUNCH_FAULT, tkc_launch(kernel, m.device, NULL, tkc_grid1(2), arguments, 4, NULL),
          "scale.tk:9:", ": fault: ", "`x`", "    v = tl.load(x + i, mask=i < n)\n", "^");
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(b);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

/* The constants' texts, wherever their values came from. */
START_TEST(test_constants) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    const tkc_named types[] = {{"x", "*fp16:16"}};
    options.path = "scale.tk";
    options.text = scale_tk;
    options.kernel = "copy";
    options.signature = "*i8, *fp16, i32:1, 'ab', 32";
    options.types = types;
    options.type_count = 1;
    ok(tkc_compile(m.context, &options, &kernel, NULL));
    ck_assert_uint_eq(tkc_kernel_parameter_count(kernel), 2);
    tkc_parameter p = TKC_PARAMETER_INIT;
    ok(tkc_kernel_parameter(kernel, 0, &p));
    ck_assert_str_eq(p.type, "*f16");
    ck_assert_int_eq(p.divisibility, 16);
    const char *const wanted[][2] = {{"n", "1"}, {"kind", "'ab'"}, {"BLOCK", "32"}};
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_ptr_nonnull(tkc_kernel_constant(kernel, i));
        ck_assert_str_eq(tkc_kernel_constant(kernel, i)->name, wanted[i][0]);
        ck_assert_str_eq(tkc_kernel_constant(kernel, i)->text, wanted[i][1]);
    }
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_refused) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel;
    char *log;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = "scale.tk";
    options.text = scale_tk;
    fails(TKC_COMPILE_ERROR, tkc_compile(m.context, &options, &kernel, &log), "scale", "copy");
    ck_assert_ptr_nonnull(log);
    tkc_free(log);
    options.kernel = "nothing";
    fails(TKC_COMPILE_ERROR, tkc_compile(m.context, &options, &kernel, NULL), "nothing");
    options.kernel = "copy";
    fails(TKC_COMPILE_ERROR, tkc_compile(m.context, &options, &kernel, NULL),
          "scale.tk:13:", "`x`");
    options.text = "import triton\n@triton.jit\ndef f(x: 'i32':\n    pass\n";
    fails(TKC_COMPILE_ERROR, tkc_compile(m.context, &options, &kernel, NULL),
          "scale.tk:3:", "error:", "^");
    ck_assert_ptr_null(kernel);
    machine_close(&m);
}
END_TEST

START_TEST(test_source_questions) {
    tkc_context *context;
    tkc_source *source;
    uint32_t errors;
    char *log;
    size_t size;
    ok(tkc_context_create(NULL, &context));
    ok(tkc_source_open(context, "scale.tk", scale_tk, 0, &source, &errors, &log));
    ck_assert_uint_eq(errors, 0);
    ck_assert_ptr_null(log);
    tkc_context_destroy(context); /* the source keeps it */
    ck_assert_str_eq(tkc_source_function(source, 0), "scale");
    ck_assert_str_eq(tkc_source_function(source, 1), "copy");
    ck_assert_ptr_null(tkc_source_function(source, 2));
    tkc_source_parameter p = TKC_SOURCE_PARAMETER_INIT;
    ok(tkc_source_parameter_at(source, "scale", 4, &p));
    ck_assert_str_eq(p.name, "BLOCK");
    ck_assert(p.is_constexpr);
    ck_assert_str_eq(p.default_value, "128");
    ok(tkc_source_parameter_at(source, "scale", 0, &p));
    ck_assert_str_eq(p.type, "*fp32");
    ck_assert(!p.is_constexpr && !p.default_value);
    ok(tkc_source_parameter_at(source, "copy", 0, &p));
    ck_assert_ptr_null(p.type);
    fails(TKC_NOT_FOUND, tkc_source_parameter_at(source, "scale", 5, &p), "5 parameters");
    fails(TKC_NOT_FOUND, tkc_source_parameter_at(source, "none", 0, &p), "`none`", "scale.tk");
    ok(tkc_source_check(source, "scale", &log));
    ck_assert_ptr_null(log);
    fails(TKC_NOT_FOUND, tkc_source_check(source, "none", NULL), "`none`");
    const char *ast = tkc_source_ast(source, &size);
    ck_assert_uint_eq(strlen(ast), size);
    ck_assert_ptr_nonnull(strstr(ast, "scale"));
    ck_assert_ptr_eq(tkc_source_ast(source, NULL), ast);
    tkc_source_destroy(source);
}
END_TEST

START_TEST(test_source_with_errors) {
    tkc_context *context;
    tkc_source *source;
    uint32_t errors;
    char *log;
    ok(tkc_context_create(NULL, &context));
    ok(tkc_source_open(context, "bad.tk",
                       "import triton\n"
                       "@triton.jit\n"
                       "def bad(x:\n"
                       "    pass\n"
                       "@triton.jit\n"
                       "def unknown(x):\n"
                       "    frobnicate(x)\n",
                       0, &source, &errors, &log));
    ck_assert_uint_ge(errors, 1);
    ck_assert_msg(log && strstr(log, "bad.tk:3:"), "%s", log);
    tkc_free(log);
    fails(TKC_COMPILE_ERROR, tkc_source_check(source, "unknown", &log), "bad.tk:7:5", "frobnicate");
    ck_assert_str_eq(log, tkc_last_error());
    tkc_free(log);
    tkc_source_destroy(source);
    fails(TKC_NOT_FOUND,
          tkc_source_open(context, "/nonexistent.tk", NULL, 0, &source, &errors, &log),
          "/nonexistent.tk");
    ck_assert_ptr_null(source);
    fails(TKC_INVALID_ARGUMENT, tkc_source_open(context, NULL, NULL, 0, &source, NULL, NULL),
          "Neither");
    tkc_context_destroy(context);
}
END_TEST

static void write_file(const char *folder, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(test_imports) {
    char folder[] = "/tmp/tkc-lang-XXXXXX", path[64], library[64], command[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(library, sizeof library, "%s/library", folder);
    ck_assert_int_eq(mkdir(library, 0700), 0);
    write_file(library, "helpers.tk",
               "import triton\n"
               "@triton.jit\n"
               "def twice(x):\n"
               "    return x * 2\n");
    write_file(folder, "main.tk",
               "import triton\n"
               "import triton.language as tl\n"
               "from helpers import twice\n"
               "@triton.jit\n"
               "def double(p: '*fp32'):\n"
               "    tl.store(p, twice(tl.load(p)))\n");
    snprintf(path, sizeof path, "%s/main.tk", folder);
    Machine m = machine_open(NULL);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = path;
    fails(TKC_COMPILE_ERROR, tkc_compile(m.context, &options, &kernel, NULL),
          "main.tk:", "helpers");
    const char *const folders[] = {library};
    options.include_paths = folders;
    options.include_path_count = 1;
    ok(tkc_compile(m.context, &options, &kernel, NULL));
    float word = 21;
    tkc_buffer *buffer = buffer_of(&m, "word", &word, 4);
    tkc_argument argument = tkc_arg(buffer);
    ok(tkc_launch(kernel, m.device, NULL, tkc_grid1(1), &argument, 1, NULL));
    ok(tkc_buffer_read(buffer, 0, &word, 4));
    ck_assert(word == 42);
    tkc_buffer_destroy(buffer);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Loops that unroll without end run into the limit of memory, not of the machine. */
START_TEST(test_memory_limit) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = "big.tk";
    options.text = "import triton\n"
                   "import triton.language as tl\n"
                   "@triton.jit\n"
                   "def f(p: '*i32'):\n"
                   "    for i in tl.static_range(100000):\n"
                   "        tl.store(p + i, i)\n";
    options.memory_limit = 1 << 20;
    fails(TKC_OUT_OF_MEMORY, tkc_compile(m.context, &options, &kernel, NULL), "`big.tk`", "1 MB");
    machine_close(&m);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("lang");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_compile_and_launch);
    tcase_add_test(tests, test_constants);
    tcase_add_test(tests, test_refused);
    tcase_add_test(tests, test_source_questions);
    tcase_add_test(tests, test_source_with_errors);
    tcase_add_test(tests, test_imports);
    tcase_add_test(tests, test_memory_limit);
    return run_suite("runtime with the language", tests);
}
