/* base.h: memory, strings and growable arrays for one compilation.
 *
 * Everything a compilation makes lives in one Arena and dies with it; nothing else frees.
 * An allocation never returns NULL: when memory (or the arena's limit) is exhausted the arena
 * jumps to `on_exhausted`, which every public entry point sets.
 */
#ifndef TKC_COMPILER_BASE_H
#define TKC_COMPILER_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PRINTF_LIKE(form, first) __attribute__((format(printf, form, first)))
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ---- arena ---------------------------------------------------------------------------- */

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
    ArenaChunk *chunk;     /* newest chunk; older ones are linked from it */
    size_t used, limit;    /* bytes handed out; most that may be (0: no limit) */
    jmp_buf *on_exhausted; /* where to go when out of memory; NULL: allocation returns NULL */
} Arena;

void arena_init(Arena *arena, size_t limit);
void arena_free(Arena *arena); /* frees everything at once; the arena may be used again */

/* Zeroed memory, aligned to 16. */
void *arena_alloc(Arena *arena, size_t size);
/* Moves `old` (old_size bytes) to a larger place; extends in place when it was the last block. */
void *arena_grow(Arena *arena, void *old, size_t old_size, size_t new_size);
char *arena_strndup(Arena *arena, const char *text, size_t length);
char *arena_strdup(Arena *arena, const char *text);
char *arena_printf(Arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#define arena_new(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
#define arena_array(arena, T, n) ((T *)arena_alloc((arena), sizeof(T) * (size_t)(n)))

/* ---- growable arrays ------------------------------------------------------------------ */

/* VEC(int) v = {0}; vec_push(arena, &v, 7); v.data[0]; v.length */
#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *data;                                                                                   \
        uint32_t length, capacity;                                                                 \
    }

#define vec_push(arena, v, x)                                                                      \
    ((v)->length == (v)->capacity                                                                  \
         ? (void)((v)->data = vec_grow_((arena), (v)->data, &(v)->capacity, sizeof *(v)->data))    \
         : (void)0,                                                                                \
     (void)((v)->data[(v)->length++] = (x)))

void *vec_grow_(Arena *arena, void *data, uint32_t *capacity, size_t element_size);

/* ---- strings -------------------------------------------------------------------------- */

/* A growing text. `data` is always NUL-terminated once anything was added. */
typedef struct Text {
    Arena *arena;
    char *data;
    size_t length, capacity;
} Text;

void text_add(Text *text, const char *data, size_t length);
void text_puts(Text *text, const char *string);
void text_printf(Text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_vprintf(Text *text, const char *format, va_list args);

/* Interned strings: equal contents give the same pointer, so names compare with ==. */
typedef struct Names {
    Arena *arena;
    const char **slots;
    uint32_t count, capacity;
} Names;

const char *intern(Names *names, const char *text, size_t length);
const char *intern_string(Names *names, const char *text);

uint64_t hash_bytes(uint64_t seed, const void *data, size_t length);

#endif
