/* base.c: the arena and what stands on it.
 *
 * The arena is a list of zeroed chunks, each at least as large as the one before. An allocation
 * takes the next bytes of the newest chunk; nothing is handed out twice, so what comes out of
 * calloc is still zero when it is given away. Under AddressSanitizer all bytes not handed out are
 * poisoned and blocks stand apart, so that running over the end of one is caught.
 */
#include "compiler/base.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
enum { GAP = 0 };
#endif

/* ---- arena ---------------------------------------------------------------------------- */

enum { ALIGNMENT = 16, FIRST_CHUNK = 64 * 1024, LARGEST_CHUNK = 4 * 1024 * 1024 };

struct ArenaChunk {
    ArenaChunk *older;
    size_t size, used; /* bytes of `data` */
    size_t last;       /* where the newest block starts */
    _Alignas(ALIGNMENT) uint8_t data[];
};

void arena_init(Arena *arena, size_t limit) {
    *arena = (Arena){.limit = limit};
}

void arena_free(Arena *arena) {
    ArenaChunk *chunk = arena->chunk;
    while (chunk) {
        ArenaChunk *older = chunk->older;
        ASAN_UNPOISON_MEMORY_REGION(chunk->data, chunk->size);
        free(chunk);
        chunk = older;
    }
    arena->chunk = NULL;
    arena->used = 0;
}

static void *exhausted(Arena *arena) {
    if (arena->on_exhausted) longjmp(*arena->on_exhausted, 1);
    return NULL;
}

static size_t round_up(size_t size) {
    return (size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);
}

static bool add_chunk(Arena *arena, size_t at_least) {
    size_t size = arena->chunk ? arena->chunk->size * 2 : FIRST_CHUNK;
    if (size > LARGEST_CHUNK) size = LARGEST_CHUNK;
    if (size < at_least) size = at_least;
    ArenaChunk *chunk = calloc(1, sizeof(ArenaChunk) + size);
    if (!chunk) return false;
    chunk->size = size;
    chunk->older = arena->chunk;
    arena->chunk = chunk;
    ASAN_POISON_MEMORY_REGION(chunk->data, size);
    return true;
}

static bool within_limit(Arena *arena, size_t more) {
    return !arena->limit || (more <= arena->limit && arena->used <= arena->limit - more);
}

void *arena_alloc(Arena *arena, size_t size) {
    if (size > SIZE_MAX / 4) return exhausted(arena);
    size_t needed = round_up(size ? size : 1) + GAP;
    if (!within_limit(arena, needed)) return exhausted(arena);
    ArenaChunk *chunk = arena->chunk;
    if (!chunk || chunk->size - chunk->used < needed) {
        if (!add_chunk(arena, needed)) return exhausted(arena);
        chunk = arena->chunk;
    }
    chunk->last = chunk->used;
    chunk->used += needed;
    arena->used += needed;
    ASAN_UNPOISON_MEMORY_REGION(chunk->data + chunk->last, size);
    return chunk->data + chunk->last;
}

void *arena_grow(Arena *arena, void *old, size_t old_size, size_t new_size) {
    if (!old) return arena_alloc(arena, new_size);
    assert(new_size >= old_size);
    if (new_size > SIZE_MAX / 4) return exhausted(arena);
    ArenaChunk *chunk = arena->chunk;
    if ((uint8_t *)old == chunk->data + chunk->last) {
        size_t end = chunk->last + round_up(new_size ? new_size : 1) + GAP;
        size_t more = end > chunk->used ? end - chunk->used : 0;
        if (end <= chunk->size) {
            if (!within_limit(arena, more)) return exhausted(arena);
            chunk->used += more;
            arena->used += more;
            ASAN_UNPOISON_MEMORY_REGION(old, new_size);
            return old;
        }
    }
    void *moved = arena_alloc(arena, new_size);
    if (moved) memcpy(moved, old, old_size);
    return moved;
}

char *arena_strndup(Arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) return exhausted(arena);
    char *copy = arena_alloc(arena, length + 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(Arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(Arena *arena, const char *format, ...) {
    Text text = {.arena = arena};
    va_list args;
    va_start(args, format);
    text_vprintf(&text, format, args);
    va_end(args);
    return text.data ? text.data : arena_strndup(arena, "", 0);
}

/* ---- growable arrays ------------------------------------------------------------------ */

void *vec_grow_(Arena *arena, void *data, uint32_t *capacity, size_t element_size) {
    uint32_t larger = *capacity ? *capacity * 2 : 8;
    if (larger <= *capacity || element_size > SIZE_MAX / 4 / larger) return exhausted(arena);
    data = arena_grow(arena, data, *capacity * element_size, larger * element_size);
    *capacity = larger;
    return data;
}

/* ---- strings -------------------------------------------------------------------------- */

/* Makes room for `more` bytes and a NUL. */
static bool text_reserve(Text *text, size_t more) {
    if (more > SIZE_MAX / 4 - text->length) return exhausted(text->arena) != NULL;
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t larger = text->capacity ? text->capacity * 2 : 64;
    if (larger < needed) larger = needed;
    char *data = arena_grow(text->arena, text->data, text->capacity, larger);
    if (!data) return false;
    text->data = data;
    text->capacity = larger;
    return true;
}

void text_add(Text *text, const char *data, size_t length) {
    if (!text_reserve(text, length)) return;
    if (length) memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_puts(Text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_printf(Text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vprintf(text, format, args);
    va_end(args);
}

void text_vprintf(Text *text, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    size_t room = text->capacity - text->length;
    char none[1], *end = room ? text->data + text->length : none;
    int length = vsnprintf(end, room, format, args);
    if (length >= 0 && (size_t)length >= room && text_reserve(text, (size_t)length))
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
    if (length >= 0 && text->capacity - text->length > (size_t)length)
        text->length += (size_t)length;
    va_end(again);
}

/* A name is stored behind its length and hash, so that the table can grow without rehashing. */
typedef struct NameHead {
    uint32_t length, hash;
} NameHead;

static const NameHead *name_head(const char *name) {
    return (const NameHead *)(const void *)name - 1;
}

static void names_grow(Names *names) {
    uint32_t capacity = names->capacity ? names->capacity * 2 : 256;
    const char **slots = arena_array(names->arena, const char *, capacity);
    for (uint32_t i = 0; i < names->capacity; i++) {
        if (!names->slots[i]) continue;
        uint32_t at = name_head(names->slots[i])->hash & (capacity - 1);
        while (slots[at]) at = (at + 1) & (capacity - 1);
        slots[at] = names->slots[i];
    }
    names->slots = slots;
    names->capacity = capacity;
}

const char *intern(Names *names, const char *text, size_t length) {
    if (length > UINT32_MAX - 64) return exhausted(names->arena);
    if (names->count * 2 >= names->capacity) names_grow(names);
    uint32_t hash = (uint32_t)hash_bytes(0, text, length);
    uint32_t at = hash & (names->capacity - 1);
    for (const char *name; (name = names->slots[at]); at = (at + 1) & (names->capacity - 1)) {
        const NameHead *head = name_head(name);
        if (head->hash == hash && head->length == length && !memcmp(name, text, length))
            return name;
    }
    NameHead *head = arena_alloc(names->arena, sizeof *head + length + 1);
    *head = (NameHead){(uint32_t)length, hash};
    char *name = (char *)(head + 1);
    if (length) memcpy(name, text, length);
    names->slots[at] = name;
    names->count++;
    return name;
}

const char *intern_string(Names *names, const char *text) {
    return intern(names, text, strlen(text));
}

/* Eight bytes at a time: xor in, multiply by an odd constant, fold the high half down. */
uint64_t hash_bytes(uint64_t seed, const void *data, size_t length) {
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    const uint8_t *bytes = data;
    uint64_t hash = (seed ^ length) * factor;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32;
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < length; i++) tail |= (uint64_t)bytes[i] << (8 * i);
    hash = (hash ^ tail) * factor;
    return hash ^ (hash >> 29);
}
