/* recall.h: whether a compile was done before, here or by another process.
 *
 * The key of the cache is made from all that is known before a source is read through: its text and
 * path, what the caller asked for, the target, the compiler. What it imports is only known
 * afterwards; the entry lists it, and is taken when every import would find the same text again.
 */
#ifndef TKC_RUNTIME_RECALL_H
#define TKC_RUNTIME_RECALL_H

#include "runtime/cache.h"
#include "runtime/frontend.h"

typedef struct Recall {
    bool on; /* else nothing is found and nothing kept */
    char key[CACHE_KEY_SIZE];
    ImportSearch *imports;
    Text seen; /* one line for each import of this compile */
} Recall;

/* After frontend_read. Off when the options ask for more than a kernel. */
void recall_begin(Recall *recall, const tkc_context *context, FrontEnd *front,
                  const tkc_compile_options *options, const char *target);
bool recall_find(Recall *recall, tkc_context *context, CacheEntry *entry);
/* open_import of lang.h, taking notes; the context is a Recall. */
bool recall_open(void *context, const char *from, const char *module, uint32_t level,
                 const char **path, const char **text, size_t *length);
/* The log and statics may be empty; the code is PTX with its header. */
void recall_keep(Recall *recall, tkc_context *context, const char *log, const Text *statics,
                 const char *code, size_t size);

#endif
