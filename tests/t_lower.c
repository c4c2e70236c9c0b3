/* t_lower.c: the front end as a library: questions about a file, lowering requests, and what
 * `tkc check` says when types are unknown (golden/ir and golden/error hold the rest). */
#include "lang/lang.h"
#include "tests/unit.h"

static const char prelude[] = "import triton\nimport triton.language as tl\n";

typedef struct Front {
    Context *context;
    Names names;
    File *file;
    LowerRequest request;
} Front;

static Front *front_new(const char *body) {
    Front *f = calloc(1, sizeof *f);
    f->context = context_new();
    Arena *arena = &f->context->arena;
    const char *text = arena_printf(arena, "%s%s", prelude, body);
    f->names.arena = arena;
    uint32_t source = sources_add(&f->context->sources, "test.tk", text, strlen(text));
    f->file = parse_file(arena, &f->names, &f->context->sources, &f->context->diagnostics, source);
    f->request = (LowerRequest){.arena = arena,
                                .sources = &f->context->sources,
                                .diagnostics = &f->context->diagnostics,
                                .names = &f->names,
                                .file = f->file,
                                .kernel = "kernel"};
    return f;
}

static void front_free(Front *f) {
    context_free(f->context);
    free(f);
}

/* ---- questions ----------------------------------------------------------------------------------
 */

START_TEST(a_file_tells_its_functions_and_parameters) {
    Front *f = front_new("@triton.jit\ndef first(x): pass\n"
                         "@triton.jit\ndef kernel(p: \"*fp16:16\", n, B: tl.constexpr = 2 * 64):\n"
                         "    pass\n");
    ck_assert_uint_eq(lang_function_count(f->file), 2);
    ck_assert_str_eq(lang_function_name(f->file, 0), "first");
    ck_assert_ptr_null(lang_function_name(f->file, 2));
    uint32_t count;
    const KernelParameter *p =
        lang_parameters(&f->context->arena, f->file, &f->context->sources, "kernel", &count);
    ck_assert_uint_eq(count, 3);
    ck_assert_str_eq(p[0].type, "*fp16:16");
    ck_assert(!p[0].is_constexpr && !p[0].has_default);
    ck_assert_ptr_null(p[1].type);
    ck_assert(p[2].is_constexpr && p[2].has_default);
    ck_assert_str_eq(p[2].default_text, "2 * 64");
    ck_assert_ptr_null(
        lang_parameters(&f->context->arena, f->file, &f->context->sources, "none", &count));
    ck_assert_uint_eq(count, 0);
    front_free(f);
}
END_TEST

/* A value given by name comes before a type by name, the signature, the annotation. */
START_TEST(parameters_are_found_in_order) {
    Front *f = front_new("@triton.jit\ndef kernel(p: \"*fp16\", n: \"i64\", m: \"i64\"):\n"
                         "    tl.store(p, n + m)\n");
    NamedText type = {"n", "i32"}, constant = {"m", "3"};
    f->request.types = &type;
    f->request.type_count = 1;
    f->request.constants = &constant;
    f->request.constant_count = 1;
    f->request.signature = "*fp32,i64,i64";
    Module *m = lower_kernel(&f->request);
    ck_assert_msg(m != NULL, "%s", context_messages(f->context));
    ck_assert_uint_eq(m->kernel->parameter_count, 2);
    ck_assert_str_eq(type_string(m->kernel->parameters[0].type, &f->context->arena), "*f32");
    ck_assert_str_eq(type_string(m->kernel->parameters[1].type, &f->context->arena), "i32");
    front_free(f);
}
END_TEST

START_TEST(an_error_gives_no_module) {
    Front *f = front_new("@triton.jit\ndef kernel(p: \"*fp32\"):\n    tl.store(p, q)\n");
    ck_assert_ptr_null(lower_kernel(&f->request));
    ck_assert_uint_eq(f->context->diagnostics.errors, 1);
    ck_assert_ptr_nonnull(strstr(context_messages(f->context), "`q` is not defined"));
    front_free(f);
}
END_TEST

START_TEST(static_print_goes_to_the_host) {
    Front *f = front_new("@triton.jit\ndef kernel(N: tl.constexpr):\n"
                         "    tl.static_print('N is', N, f'{N * 2:d}', sep='|')\n");
    Text out = {.arena = &f->context->arena};
    NamedText n = {"N", "21"};
    f->request.static_output = &out;
    f->request.constants = &n;
    f->request.constant_count = 1;
    ck_assert_ptr_nonnull(lower_kernel(&f->request));
    ck_assert_str_eq(out.data, "N is|21|42\n");
    front_free(f);
}
END_TEST

/* ---- check
 * ------------------------------------------------------------------------------------------ */

/* Bodies of kernel(p, q, n, m, N: tl.constexpr, FLAG: tl.constexpr). */
static const char *const fine[] = {
    "tl.store(p + tl.arange(0, N), tl.load(q + tl.arange(0, N)))",
    "if FLAG:\n        x = 1\n    else:\n        x = tl.zeros((N,), tl.float32)\n"
    "    tl.store(p, x)",
    "if n is None:\n        y = tl.load(p)\n    tl.store(q, y)",
    "for i in tl.static_range(N):\n        x = tl.load(p + i)\n    tl.store(q, x)",
    "i = tl.program_id(0)\n    if FLAG:\n        i = i.to(tl.int64)\n    tl.store(p + i, i)",
    "tl.static_assert(N % 16 == 0)\n    tl.store(p, N // 16)",
    "x = tl.load(p)\n    while x > 0:\n        x = x - n\n    tl.store(q, x)",
    "a, b = n\n    tl.store(p, a + b)",
    "tl.store(p, n[0] + n.field)",
    "x = tl.load(p, mask=m, other=0)\n    x += x.to(q.dtype.element_ty)\n    tl.store(q, x.sum(0))",
    "assert FLAG == 'a' or FLAG in ('b', 'c'), f'{FLAG}'",
    "if N > 3:\n        return\n    tl.store(p, 0)",
    "x = unknown_package_function(p)\n    tl.store(p, x)",
    "f = lambda v: v * n\n    tl.store(p, f(tl.load(q)))",
};

/* The message each must give. */
static const char *const wrong[][2] = {
    {"tl.store(p, missing)", "`missing` is not defined"},
    {"tl.stroe(p, 1)", "did you mean `store`?"},
    {"tl.load(p, msk=m)", "`load` has no argument `msk`"},
    {"tl.load()", "`load` needs an argument `pointer`"},
    {"tl.arange(0, 100)", "powers of two"},
    {"x = tl.zeros((4, 4), tl.float32) + tl.zeros((8,), tl.float32)", "do not fit"},
    {"tl.store(p, tl.arange(0, 4)[0])", "a block can only be indexed"},
    {"for i in range(4):\n        break", "`break` is not available"},
    {"x = tl.full((4,), 1, tl.int32) // 0.5", "needs integers"},
    {"helper(1, 2, 3)", "takes 1 argument by position"},
    {"helper(y=2)", "has no parameter `y`"},
    {"while True:\n        n += 1", "never ends"},
};

static Front *check_body(const char *body) {
    char *text = NULL;
    ck_assert_int_gt(asprintf(&text,
                              "from package.elsewhere import unknown_package_function\n"
                              "@triton.jit\ndef helper(x):\n    return x\n"
                              "@triton.jit\ndef kernel(p, q, n, m, N: tl.constexpr, "
                              "FLAG: tl.constexpr):\n    %s\n",
                              body),
                     0);
    Front *f = front_new(text);
    free(text);
    return f;
}

START_TEST(nothing_unknown_is_reported) {
    Front *f = check_body(fine[_i]);
    ck_assert_msg(lang_check(&f->request), "%s\n%s", fine[_i], context_messages(f->context));
    ck_assert_uint_eq(f->context->diagnostics.errors, 0);
    front_free(f);
}
END_TEST

START_TEST(what_is_certainly_wrong_is) {
    Front *f = check_body(wrong[_i][0]);
    ck_assert_msg(!lang_check(&f->request), "accepted: %s", wrong[_i][0]);
    const char *messages = context_messages(f->context);
    ck_assert_msg(strstr(messages, wrong[_i][1]) != NULL, "%s\nno \"%s\" in:\n%s", wrong[_i][0],
                  wrong[_i][1], messages);
    front_free(f);
}
END_TEST

/* A kernel may call itself, double its variables and unroll for ever: it must be told so. */
START_TEST(lowering_ends) {
    static const char *const endless[] = {
        "@triton.jit\ndef f(x):\n    return f(x) + f(x)\n"
        "@triton.jit\ndef kernel(p: \"*i32\"):\n    tl.store(p, f(1))\n",
        "@triton.jit\ndef kernel(p: \"*i32\"):\n"
        "    for i in tl.static_range(100000):\n        for j in tl.static_range(100000):\n"
        "            tl.store(p, i)\n",
        "def spin(n):\n    while True:\n        n += 1\n    return n\n"
        "@triton.jit\ndef kernel(p: \"*i32\"):\n    tl.store(p, spin(0))\n",
        "@triton.jit\ndef kernel(p: \"*i32\"):\n    t = (1, 2)\n"
        "    for i in tl.static_range(64):\n        t = t + t\n    tl.store(p, t[0])\n",
        "X = 'ab'\n@triton.jit\ndef kernel(p: \"*i32\"):\n    s: tl.constexpr = 'ab'\n"
        "    for i in tl.static_range(64):\n        s: tl.constexpr = s + s\n"
        "    tl.store(p, len(s))\n",
    };
    Front *f = front_new(endless[_i]);
    ck_assert_ptr_null(lower_kernel(&f->request));
    ck_assert_uint_gt(f->context->diagnostics.errors, 0);
    front_free(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lower");
    TCase *cases = tcase_create("lower");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, a_file_tells_its_functions_and_parameters);
    tcase_add_test(cases, parameters_are_found_in_order);
    tcase_add_test(cases, an_error_gives_no_module);
    tcase_add_test(cases, static_print_goes_to_the_host);
    tcase_add_loop_test(cases, nothing_unknown_is_reported, 0, (int)ARRAY_LENGTH(fine));
    tcase_add_loop_test(cases, what_is_certainly_wrong_is, 0, (int)ARRAY_LENGTH(wrong));
    tcase_add_loop_test(cases, lowering_ends, 0, 5);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
