/* unit.h: what the unit tests of compiler/ share: a fresh context for each test, IR from text and
 * back, a printed seed, and a main. */
#ifndef TKC_TESTS_UNIT_H
#define TKC_TESTS_UNIT_H

#include "compiler/ir.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct Context {
    Arena arena;
    Sources sources;
    Diagnostics diagnostics;
} Context;

static inline Context *context_new(void) {
    Context *context = calloc(1, sizeof *context);
    arena_init(&context->arena, 0);
    context->sources.arena = &context->arena;
    context->diagnostics.arena = &context->arena;
    context->diagnostics.sources = &context->sources;
    return context;
}

static inline void context_free(Context *context) {
    arena_free(&context->arena);
    free(context);
}

static inline const char *context_messages(Context *context) {
    Text text = {.arena = &context->arena};
    text_puts(&text, "");
    diag_render(&context->diagnostics, &text);
    return text.data;
}

/* NULL and messages when the text is refused. The text is copied to the end of a block of its own,
 * so that reading past it is caught. */
static inline Module *context_read(Context *context, const char *text, size_t length) {
    char *copy = arena_strndup(&context->arena, text, length);
    uint32_t source = sources_add(&context->sources, "test.tkir", copy, length);
    return ir_read(&context->arena, &context->sources, &context->diagnostics, source);
}

static inline Module *context_must_read(Context *context, const char *text) {
    Module *module = context_read(context, text, strlen(text));
    ck_assert_msg(module != NULL, "refused:\n%s", context_messages(context));
    return module;
}

static inline const char *context_print(Context *context, Module *module) {
    Text text = {.arena = &context->arena};
    ir_print(module, &text);
    return text.data;
}

/* xorshift; tests print the seed they start from. */
static inline uint32_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* TKC_SEED, or a fixed number. */
static inline uint64_t random_seed(uint64_t otherwise) {
    const char *given = getenv("TKC_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : otherwise;
    printf("seed %llu (TKC_SEED sets it)\n", (unsigned long long)seed);
    fflush(stdout);
    return seed ? seed : 1;
}

static inline int run_tests(const char *name, const TTest *const *tests, size_t count) {
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 120);
    for (size_t i = 0; i < count; i++) tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#define UNIT_MAIN(name, ...)                                                                       \
    int main(void) {                                                                               \
        const TTest *const tests[] = {__VA_ARGS__};                                                \
        return run_tests(name, tests, sizeof tests / sizeof *tests);                               \
    }

#endif
