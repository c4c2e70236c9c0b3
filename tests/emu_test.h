/* emu_test.h: what the emulator's tests share: fixtures, buffers, launches. */
#ifndef TKC_TESTS_EMU_TEST_H
#define TKC_TESTS_EMU_TEST_H

#include "runtime/emu/emu.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct Emu {
    Arena arena;
    Sources sources;
    Diagnostics diagnostics;
    EmuModule *module;
    EmuBuffer buffers[8];
    uint32_t buffer_count;
    uint8_t parameters[1024];
    uint32_t parameter_size;
    EmuLaunch launch;
    EmuResult result;
    Text printed;
} Emu;

static inline void emu_test_init(Emu *e) {
    memset(e, 0, sizeof *e);
    arena_init(&e->arena, 0);
    e->sources.arena = e->diagnostics.arena = e->printed.arena = &e->arena;
    e->diagnostics.sources = &e->sources;
    e->launch.checks = EMU_CHECK_ALL;
    for (int i = 0; i < 3; i++) e->launch.grid[i] = e->launch.block[i] = 1;
}

static inline const char *emu_messages(Emu *e) {
    Text text = {.arena = &e->arena};
    text_puts(&text, "");
    diag_render(&e->diagnostics, &text);
    return text.data;
}

/* The text is copied to a block of its own size, so that reading past it is caught. */
static inline EmuModule *emu_test_load(Emu *e, const char *path, const char *text, size_t length) {
    char *copy = arena_strndup(&e->arena, text, length);
    e->module = emu_load(&e->arena, &e->diagnostics, sources_add(&e->sources, path, copy, length));
    return e->module;
}

static inline void emu_test_fixture(Emu *e, const char *name) {
    char path[200];
    snprintf(path, sizeof path, "tests/emu/%s.ptx", name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: not there", path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = malloc((size_t)size + 1);
    ck_assert(fread(text, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    emu_test_init(e);
    emu_test_load(e, arena_strdup(&e->arena, path), text, (size_t)size);
    free(text);
    ck_assert_msg(e->module != NULL, "%s", emu_messages(e));
}

static inline void emu_test_free(Emu *e) {
    arena_free(&e->arena);
}

/* Adds a buffer over `data`; returns its device address. */
static inline uint64_t emu_test_buffer(Emu *e, const char *name, void *data, uint64_t size) {
    uint64_t address = EMU_BUFFER_ADDRESS(e->buffer_count);
    e->buffers[e->buffer_count++] =
        (EmuBuffer){.address = address, .size = size, .data = data, .name = name};
    return address;
}

static inline void emu_test_parameter(Emu *e, const void *value, uint32_t size, uint32_t align) {
    e->parameter_size = (e->parameter_size + align - 1) & ~(align - 1);
    memcpy(e->parameters + e->parameter_size, value, size);
    e->parameter_size += size;
}
static inline void emu_test_pointer(Emu *e, uint64_t address) {
    emu_test_parameter(e, &address, 8, 8);
}
static inline void emu_test_int(Emu *e, int32_t value) {
    emu_test_parameter(e, &value, 4, 4);
}
static inline void emu_test_array(Emu *e, const char *name, void *data, uint64_t size) {
    emu_test_pointer(e, emu_test_buffer(e, name, data, size));
}

static void emu_test_print(void *context, const char *text) {
    text_puts(&((Emu *)context)->printed, text);
}

static inline bool emu_test_launch(Emu *e, const char *entry, uint32_t grid, uint32_t block) {
    const EmuEntry *found = emu_find_entry(e->module, entry);
    ck_assert_msg(found != NULL, "no kernel `%s`", entry);
    ck_assert_uint_le(found->parameter_size, sizeof e->parameters);
    if (grid) e->launch.grid[0] = grid;
    if (block) e->launch.block[0] = block;
    e->launch.parameters = e->parameters;
    e->launch.buffers = e->buffers;
    e->launch.buffer_count = e->buffer_count;
    e->launch.print = emu_test_print;
    e->launch.print_context = e;
    return emu_launch(&e->arena, found, &e->launch, &e->result);
}

static inline void emu_test_run(Emu *e, const char *entry, uint32_t grid, uint32_t block) {
    ck_assert_msg(emu_test_launch(e, entry, grid, block), "%s: %s", entry, e->result.fault.message);
}

/* Must end with this fault, whose message holds `words`. */
static inline void emu_test_fault(Emu *e, const char *entry, uint32_t grid, uint32_t block,
                                  EmuFaultKind kind, const char *words) {
    bool fine = emu_test_launch(e, entry, grid, block);
    ck_assert_msg(!fine, "%s: no fault, but `%s` was planted", entry, emu_fault_name(kind));
    const EmuFault *fault = &e->result.fault;
    ck_assert_msg(fault->kind == kind && strstr(fault->message, words),
                  "%s: wanted %s (%s), got: %s", entry, emu_fault_name(kind), words,
                  fault->message);
}

static inline uint64_t emu_test_random(uint64_t *state) {
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 31);
}

/* A seed from the clock, or from TKC_SEED; printed, so that a failure can be repeated. */
static inline uint64_t emu_test_seed(void) {
    const char *given = getenv("TKC_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("TKC_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#define EMU_TEST_MAIN(name)                                                                        \
    int main(void) {                                                                               \
        SRunner *runner = srunner_create(name());                                                  \
        srunner_run_all(runner, CK_NORMAL);                                                        \
        int failed = srunner_ntests_failed(runner);                                                \
        srunner_free(runner);                                                                      \
        return failed != 0;                                                                        \
    }

#endif
