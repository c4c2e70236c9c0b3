/* t_noise.c: files of the project with bytes changed, cut, doubled and exchanged are fed to the
 * front end and to the IR reader, some hundred times each. The seed is printed; TKC_SEED=n runs
 * that one again, TKC_ROUNDS=n more rounds. A crash or a leak is found by the sanitizers. */
#include "tests/check_quick.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/feed.h"

#include <stdint.h>

static uint64_t seed, state;

static uint32_t below(uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return limit ? (uint32_t)(state >> 33) % limit : 0;
}

typedef struct Bytes {
    char *data;
    size_t size, capacity;
} Bytes;

static Bytes read_bytes(const char *path) {
    Bytes bytes = {0};
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot read %s", path);
    fseek(file, 0, SEEK_END);
    bytes.size = (size_t)ftell(file);
    bytes.capacity = bytes.size + 4096;
    bytes.data = malloc(bytes.capacity);
    rewind(file);
    ck_assert_uint_eq(fread(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    return bytes;
}

/* Puts `size` bytes (random when `from` is NULL) in place of `cut` bytes at `at`. */
static void replace(Bytes *bytes, size_t at, size_t cut, const char *from, size_t size) {
    char copy[64];
    if (cut > bytes->size - at) cut = bytes->size - at;
    if (size > sizeof copy || bytes->size - cut + size > bytes->capacity) return;
    for (size_t i = 0; i < size; i++) copy[i] = from ? from[i] : (char)below(256);
    memmove(bytes->data + at + size, bytes->data + at + cut, bytes->size - at - cut);
    memcpy(bytes->data + at, copy, size);
    bytes->size += size - cut;
}

static void mutate(Bytes *bytes) {
    static const char *const words[] = {"(",
                                        ")",
                                        "[",
                                        "]",
                                        "\n",
                                        "    ",
                                        "\t",
                                        ":",
                                        "\"",
                                        "'",
                                        "\"\"\"",
                                        "#",
                                        "\\\n",
                                        "if ",
                                        "for i in range(n):",
                                        "return",
                                        "lambda",
                                        "tl.",
                                        "-",
                                        "**",
                                        "0x",
                                        "1e999",
                                        "%0",
                                        "{",
                                        "}",
                                        " = ",
                                        "128x64xf32",
                                        "*",
                                        "99999999999999999999",
                                        "yield",
                                        ",",
                                        "@",
                                        "\0",
                                        "\xff",
                                        "None"};
    uint32_t at = below((uint32_t)bytes->size + 1), kind = below(8);
    uint32_t from = below((uint32_t)bytes->size + 1), length = below(32);
    if (from + length > bytes->size) length = (uint32_t)bytes->size - from;
    const char *word = words[below(sizeof words / sizeof words[0])];
    size_t word_length = *word ? strlen(word) : 1;
    switch (kind) {
    case 0: replace(bytes, at, 1, NULL, 1); break;
    case 1: replace(bytes, at, length, NULL, 0); break;
    case 2: replace(bytes, at, 0, bytes->data + from, length); break;
    case 3: bytes->size = below(4) ? bytes->size : at; break;
    default: replace(bytes, at, below(3), word, word_length); break;
    }
}

static void feed_files(const char *pattern, bool (*feed)(const char *, size_t, char[256]),
                       uint32_t rounds) {
    const char *more = getenv("TKC_ROUNDS");
    glob_t files;
    char why[256];
    ck_assert_int_eq(glob(pattern, 0, NULL, &files), 0);
    if (more) rounds = (uint32_t)strtoul(more, NULL, 10);
    for (uint32_t round = 0; round < rounds; round++) {
        Bytes bytes = read_bytes(files.gl_pathv[round % files.gl_pathc]);
        for (uint32_t changes = below(round / 8 % 8 + 1); changes > 0; changes--) mutate(&bytes);
        bool good = feed(bytes.data, bytes.size, why);
        if (!good) {
            FILE *kept = fopen("/tmp/tkc-noise-failed", "wb");
            if (kept) fwrite(bytes.data, 1, bytes.size, kept), fclose(kept);
        }
        ck_assert_msg(good, "seed %llu, round %u (see /tmp/tkc-noise-failed): %s",
                      (unsigned long long)seed, round, why);
        free(bytes.data);
    }
    globfree(&files);
}

START_TEST(test_source) {
    state = seed;
    feed_files("kernels/*.tk", feed_source, 200);
    feed_files("tests/golden/*/*.tk", feed_source, 200);
}
END_TEST

START_TEST(test_ir) {
    state = seed;
    feed_files("tests/golden/*/*.tkir", feed_ir, 1000);
}
END_TEST

START_TEST(test_lower) {
    state = seed;
    feed_files("tests/golden/ir/*.tk", feed_lower, 300);
    feed_files("kernels/*.tk", feed_lower, 60);
}
END_TEST

/* Bytes that are no text at all. */
START_TEST(test_random) {
    char why[256];
    state = seed;
    for (uint32_t size = 0; size < 3000; size += 1 + size / 4) {
        char *data = malloc(size + 1);
        for (uint32_t i = 0; i < size; i++) data[i] = (char)below(256);
        ck_assert(feed_source(data, size, why));
        ck_assert(feed_ir(data, size, why));
        free(data);
    }
}
END_TEST

int main(void) {
    const char *given = getenv("TKC_SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)seed);
    Suite *suite = suite_create("noise");
    TCase *tests = tcase_create("noise");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, test_source);
    tcase_add_test(tests, test_ir);
    tcase_add_test(tests, test_lower);
    tcase_add_test(tests, test_random);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
