/* fuzz.c: libFuzzer harness, built by the preset `fuzz` (clang) three times, with FEED =
 * feed_source, feed_ir, feed_lower: build-fuzz/bin/fuzz_ir -max_total_time=60 CORPUS
 * tests/golden/canon */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[256];
    char *text = malloc(size + 1); /* the library takes size 0 for "ends in NUL" */
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (!FEED(text, size, why)) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    free(text);
    return 0;
}
