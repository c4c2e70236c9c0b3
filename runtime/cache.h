/* cache.h: one folder of results, shared by all processes, addressed by what they are made from.
 *
 *     cache_find(context, key, &entry)     another process, or an earlier run, has made it
 *     cache_keep(context, key, sections)   so that it is found from now on
 *
 * Nothing here can fail a compile: a folder that cannot be read, written or made, a disk that is
 * full, an entry that is damaged: then there is no entry, and it is made again.
 */
#ifndef TKC_RUNTIME_CACHE_H
#define TKC_RUNTIME_CACHE_H

#include "runtime/internal.h"

enum { CACHE_KEY_SIZE = 33 }; /* 32 hexadecimal digits and a NUL */

/* What an entry is made of. */
typedef enum CacheSection {
    CACHE_IMPORTS, /* what else must be as it was */
    CACHE_LOG,     /* warnings */
    CACHE_STATICS, /* what static_print wrote */
    CACHE_CODE,
    CACHE_SECTIONS
} CacheSection;

typedef struct CacheEntry {
    char *data; /* for free(); the sections point into it, each ended by a NUL */
    const char *section[CACHE_SECTIONS];
    size_t size[CACHE_SECTIONS];
} CacheEntry;

/* A key grows by everything that has a say in the result, in a fixed order. */
typedef struct CacheKey {
    void *state; /* NULL: out of memory, nothing will be found or kept */
} CacheKey;

CacheKey cache_key_begin(void);
void cache_key_bytes(CacheKey *key, const void *data, size_t size);
void cache_key_text(CacheKey *key, const char *text); /* NULL is a text of its own */
void cache_key_number(CacheKey *key, uint64_t number);
/* The digits of it; false: there is no key. Ends it either way. */
bool cache_key_end(CacheKey *key, char digits[CACHE_KEY_SIZE]);
void cache_hash(const void *data, size_t size, char digits[CACHE_KEY_SIZE]);

/* Is there a folder to keep results in? */
bool cache_is_on(const tkc_context *context);
/* False: it is not there. An entry that is damaged is removed. */
bool cache_find(tkc_context *context, const char *key, CacheEntry *entry);
/* `data` of the entry is not looked at. */
void cache_keep(tkc_context *context, const char *key, const CacheEntry *entry);

#endif
