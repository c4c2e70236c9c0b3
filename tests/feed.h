/* feed.h: feeds any bytes to the library, as source text or as IR text. Nothing may crash, hang or
 * leak; what was accepted must print as text that reads back to the same text. Used with mutated
 * files by t_noise.c and with libFuzzer by fuzz.c. */
#ifndef TKC_TESTS_FEED_H
#define TKC_TESTS_FEED_H

#include <stdbool.h>
#include <stddef.h>

/* Each returns false when a promise about accepted input was broken; the text is in `why`. */
bool feed_source(const char *text, size_t size, char why[256]); /* parse, dump, check */
bool feed_ir(const char *text, size_t size, char why[256]);     /* read, print, read, print */
bool feed_lower(const char *text, size_t size, char why[256]);  /* compile every typed function */

#endif
