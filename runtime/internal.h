/* internal.h: what the files of the runtime share: failing, options, files, the context.
 *
 * The launch half (CMakeLists.txt lists it) includes nothing of lang/, and of compiler/ only
 * headers that need no library, so that it can be linked alone: libtkcrt.
 */
#ifndef TKC_RUNTIME_INTERNAL_H
#define TKC_RUNTIME_INTERNAL_H

#include "runtime/tkc.h"

#include <pthread.h>
#include <stdatomic.h>

#define RT_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ---- error.c ----------------------------------------------------------------------------- */

tkc_status rt_fail_memory(void);
/* Keeps a copy of the fault (its strings too) for tkc_last_fault. */
void rt_keep_fault(const tkc_fault *fault);

/* ---- options.c ----------------------------------------------------------------------------- */

/* Copies the caller's options over `to`, which holds the defaults of a struct of `size` bytes and
 * keeps them where the caller's header was older. NULL keeps all. */
tkc_status rt_take_options(void *to, size_t size, const void *from, const char *what);
/* Fills as much of the caller's struct as its struct_size says. */
tkc_status rt_give_struct(void *to, const void *from, size_t size, const char *what);
char *rt_copy_string(const char *string); /* NULL when out of memory, or when given NULL */

/* ---- file.c -------------------------------------------------------------------------------- */

typedef struct RtFile {
    char *data; /* for free(); aligned to 64 bytes; a NUL follows the last byte */
    size_t size;
} RtFile;

/* Reads a whole regular file of at most `limit` bytes. The failure says what is wrong with it. */
tkc_status rt_read_file(const char *path, uint64_t limit, RtFile *file);
/* True when there is such a regular file (or a link to one). */
bool rt_file_exists(const char *path);
/* Writes two pieces into a new file and puts it in place of `path` at once. */
tkc_status rt_write_file(const char *path, const void *head, size_t head_size, const void *body,
                         size_t body_size);

/* ---- context.c ----------------------------------------------------------------------------- */

struct tkc_context {
    atomic_uint references; /* the handle, and each device, kernel and source made from it */
    tkc_context_options options;
    char *cache_folder, *cuda_library; /* the options', copied */
    pthread_mutex_t callbacks;         /* held while one runs */
    pthread_mutex_t setup;             /* held while one of these is made */
    void *cuda;                        /* dev_cuda.c: the driver, once it was asked for */
    atomic_ullong cache_growth;        /* cache.c: bytes written since its size was looked at */
};

tkc_context *rt_context_keep(tkc_context *context);
void rt_context_release(tkc_context *context);
void rt_print(tkc_context *context, const char *line);
void rt_static_print(tkc_context *context, const char *text); /* one call a line of it */
void rt_compiled(tkc_context *context, const tkc_compile_event *event);
void rt_launched(tkc_context *context, const tkc_launch_event *event);

#endif
