/* Tests of compiler/base.c: the arena, growable arrays, texts, names. */
#include "tests/unit.h"

START_TEST(allocations_are_zeroed_aligned_and_apart) {
    Arena arena;
    arena_init(&arena, 0);
    uint8_t *blocks[1000];
    for (size_t i = 0; i < ARRAY_LENGTH(blocks); i++) {
        size_t size = i * 37 % 900;
        blocks[i] = arena_alloc(&arena, size);
        ck_assert_uint_eq((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < size; j++) ck_assert_uint_eq(blocks[i][j], 0);
        memset(blocks[i], (int)(i % 255 + 1), size);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(blocks); i++)
        for (size_t j = 0; j < i * 37 % 900; j++) ck_assert_uint_eq(blocks[i][j], i % 255 + 1);
    arena_free(&arena);
    ck_assert_uint_eq(arena.used, 0);
}
END_TEST

START_TEST(growing_the_last_block_stays_in_place) {
    Arena arena;
    arena_init(&arena, 0);
    char *block = arena_alloc(&arena, 100);
    memset(block, 'a', 100);
    char *grown = arena_grow(&arena, block, 100, 3000);
    ck_assert_ptr_eq(block, grown);
    for (int i = 100; i < 3000; i++) ck_assert_int_eq(grown[i], 0);
    (void)arena_alloc(&arena, 1);
    char *moved = arena_grow(&arena, grown, 3000, 4000);
    ck_assert_ptr_ne(grown, moved);
    ck_assert_mem_eq(moved, grown, 3000);
    for (int i = 3000; i < 4000; i++) ck_assert_int_eq(moved[i], 0);
    arena_free(&arena);
}
END_TEST

START_TEST(a_block_larger_than_a_chunk) {
    Arena arena;
    arena_init(&arena, 0);
    char *large = arena_alloc(&arena, 10 << 20);
    large[0] = large[(10 << 20) - 1] = 1;
    char *small = arena_alloc(&arena, 10);
    small[9] = 1;
    arena_free(&arena);
}
END_TEST

START_TEST(the_limit_ends_in_a_jump) {
    Arena arena;
    jmp_buf out;
    arena_init(&arena, 1 << 20);
    arena.on_exhausted = &out;
    volatile int rounds = 0;
    if (setjmp(out) == 0) {
        for (;;) {
            (void)arena_alloc(&arena, 1000);
            rounds++;
            ck_assert_int_lt(rounds, 2000);
        }
    }
    ck_assert_int_gt(rounds, 900);
    ck_assert_uint_le(arena.used, 1 << 20);
    if (setjmp(out) == 0) {
        (void)arena_alloc(&arena, SIZE_MAX - 8);
        ck_abort_msg("an impossible size was given");
    }
    arena.on_exhausted = NULL;
    ck_assert_ptr_null(arena_alloc(&arena, 1 << 20));
    arena_free(&arena);
}
END_TEST

START_TEST(vectors_grow) {
    Arena arena;
    arena_init(&arena, 0);
    VEC(int) numbers = {0};
    VEC(double) others = {0};
    for (int i = 0; i < 10000; i++) {
        vec_push(&arena, &numbers, i);
        vec_push(&arena, &others, i * 0.5);
    }
    ck_assert_uint_eq(numbers.length, 10000);
    for (int i = 0; i < 10000; i++) {
        ck_assert_int_eq(numbers.data[i], i);
        ck_assert(others.data[i] == i * 0.5);
    }
    arena_free(&arena);
}
END_TEST

START_TEST(texts_grow_and_end_in_nul) {
    Arena arena;
    arena_init(&arena, 0);
    Text text = {.arena = &arena};
    text_printf(&text, "%d", 7);
    ck_assert_str_eq(text.data, "7");
    for (int i = 0; i < 1000; i++) text_printf(&text, "%s,", "abcdefghijklmnopqrstuvwxyz");
    ck_assert_uint_eq(text.length, 1 + 27 * 1000);
    ck_assert_uint_eq(strlen(text.data), text.length);
    text_add(&text, "\0x", 2);
    ck_assert_uint_eq(text.length, 3 + 27 * 1000);
    ck_assert_int_eq(text.data[text.length], 0);
    ck_assert_str_eq(arena_printf(&arena, "%s-%d", "x", 5), "x-5");
    ck_assert_str_eq(arena_printf(&arena, "%s", ""), "");
    ck_assert_str_eq(arena_strndup(&arena, "hello", 3), "hel");
    arena_free(&arena);
}
END_TEST

START_TEST(equal_names_are_one_pointer) {
    Arena arena;
    arena_init(&arena, 0);
    Names names = {.arena = &arena};
    const char *kept[3000];
    char name[32];
    for (int i = 0; i < 3000; i++) {
        int length = snprintf(name, sizeof name, "name%d", i);
        kept[i] = intern(&names, name, (size_t)length);
        ck_assert_str_eq(kept[i], name);
    }
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "name%d", i);
        ck_assert_ptr_eq(intern_string(&names, name), kept[i]);
    }
    ck_assert_uint_eq(names.count, 3000);
    ck_assert_ptr_ne(intern(&names, "a\0b", 3), intern(&names, "a\0c", 3));
    ck_assert_ptr_ne(intern(&names, "a\0b", 3), intern(&names, "a", 1));
    ck_assert_ptr_eq(intern(&names, "", 0), intern_string(&names, ""));
    arena_free(&arena);
}
END_TEST

START_TEST(hashes_differ) {
    uint8_t bytes[64] = {0};
    uint64_t plain = hash_bytes(0, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        ck_assert_uint_ne(hash_bytes(0, bytes, sizeof bytes), plain);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    ck_assert_uint_ne(hash_bytes(0, bytes, 3), hash_bytes(0, bytes, 4));
    ck_assert_uint_ne(hash_bytes(0, bytes, 3), hash_bytes(1, bytes, 3));
}
END_TEST

UNIT_MAIN("base", allocations_are_zeroed_aligned_and_apart, growing_the_last_block_stays_in_place,
          a_block_larger_than_a_chunk, the_limit_ends_in_a_jump, vectors_grow,
          texts_grow_and_end_in_nul, equal_names_are_one_pointer, hashes_differ)
