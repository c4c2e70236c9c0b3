/* frontend.h: what compiling a kernel and asking about a source file have in common: one arena
 * with everything read and made, a place to go when it is full, and the messages.
 */
#ifndef TKC_RUNTIME_FRONTEND_H
#define TKC_RUNTIME_FRONTEND_H

#include "lang/lang.h"
#include "runtime/internal.h"

#define LARGEST_SOURCE ((uint64_t)64 << 20)
#define MEMORY_LIMIT ((uint64_t)2 << 30)

/* Where imports are looked for. */
typedef struct ImportSearch {
    Arena *arena;
    const char *const *folders;
    uint32_t folder_count;
    VEC(char *) texts; /* malloc: freed with the front end */
} ImportSearch;

typedef struct FrontEnd {
    Arena arena;
    jmp_buf exhausted;
    Sources sources;
    Diagnostics diagnostics;
    Names names;
    ImportSearch imports;
    RtFile file;      /* when the text came from a file */
    const char *path; /* as messages show it */
    const char *text;
    size_t size;
    uint32_t source;
} FrontEnd;

/* Then the caller sets the guard, in the frame that stays: `if (setjmp(f->exhausted)) ...`. */
void frontend_init(FrontEnd *f, uint64_t memory_limit);
void frontend_free(FrontEnd *f);
/* Reads the file, or takes the text, and adds it to the sources. */
tkc_status frontend_read(FrontEnd *f, const char *path, const char *text, size_t size);
tkc_status frontend_exhausted(const FrontEnd *f);
/* Makes `*log` (free) from the messages, when there are any and log is not NULL. When there are
 * errors they become tkc_last_error and the result is TKC_COMPILE_ERROR. `more` may be NULL. */
tkc_status frontend_report(FrontEnd *f, const Diagnostics *d, const char *more, char **log);

/* open_import of lang.h; the context is an ImportSearch. */
bool import_open(void *context, const char *from, const char *module, uint32_t level,
                 const char **path, const char **text, size_t *length);

#endif
