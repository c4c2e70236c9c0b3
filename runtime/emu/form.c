/* form.c: understands an opcode: finds its row in isa.def, then its words one by one. */
#include "runtime/emu/isa.h"

#include <stdio.h>

typedef struct Row {
    const char *text;
    uint32_t categories;
    uint64_t flags;
} Row;

/* clang-format off */
enum {
    ROUND = 1 << CATEGORY_ROUND, COMPARE = 1 << CATEGORY_COMPARE,
    OPERATION = 1 << CATEGORY_OPERATION, SPACE = 1 << CATEGORY_SPACE, SCOPE = 1 << CATEGORY_SCOPE,
    SEMANTICS = 1 << CATEGORY_SEMANTICS, CACHE = 1 << CATEGORY_CACHE,
    VECTOR = 1 << CATEGORY_VECTOR, COUNT = 1 << CATEGORY_COUNT_WORD,
    LAYOUT = 1 << CATEGORY_LAYOUT, MODE = 1 << CATEGORY_MODE,
    DIMENSIONS = 1 << CATEGORY_DIMENSIONS
};

static const Row rows[OPCODE_COUNT] = {
#define INSTRUCTION(id, text, shape, family, words, flags, class) {text, words, flags},
#include "runtime/emu/isa.def"
};

static const struct { const char *text; uint32_t category; } words[WORD_COUNT] = {
    {"", 0},
#define FLAG(name)
#define FLAG_TEXT(name, text)
#define WORD(category, name) {#name, category},
#define WORD_TEXT(category, name, text) {text, category},
#include "runtime/emu/words.def"
};

static const char *const flags[FLAG_COUNT] = {
#define FLAG(name) #name,
#define FLAG_TEXT(name, text) text,
#define WORD(category, name)
#define WORD_TEXT(category, name, text)
#include "runtime/emu/words.def"
};
/* clang-format on */

PtxSpace form_space(const Form *form, uint32_t index) {
    if (index >= form->space_count) return SPACE_GENERIC;
    switch (form->space[index]) {
    case WORD_global: return SPACE_GLOBAL;
    case WORD_shared:
    case WORD_shared_cta: return SPACE_SHARED;
    case WORD_shared_cluster: return SPACE_CLUSTER;
    case WORD_local: return SPACE_LOCAL;
    case WORD_const: return SPACE_CONST;
    default: return SPACE_PARAM;
    }
}

static bool same(const char *text, const char *word, size_t length) {
    return !strncmp(text, word, length) && !text[length];
}

/* The row whose text is the longest beginning of the opcode, whole words only. */
static const Row *find_row(const char *opcode) {
    const Row *best = NULL;
    size_t best_length = 0;
    for (const Row *row = rows; row < rows + OPCODE_COUNT; row++) {
        size_t length = strlen(row->text);
        if (length <= best_length || strncmp(opcode, row->text, length)) continue;
        if (opcode[length] && opcode[length] != '.') continue;
        best = row, best_length = length;
    }
    return best;
}

static bool read_shape(const char *word, size_t length, Form *form) {
    char text[16];
    if (length >= sizeof text || word[0] != 'm' || word[1] < '0' || word[1] > '9') return false;
    memcpy(text, word, length);
    text[length] = 0;
    unsigned m, n, k = 0;
    int used = 0;
    if (sscanf(text, "m%3un%3uk%3u%n", &m, &n, &k, &used) == 3 && used == (int)length) {
    } else if (sscanf(text, "m%3un%3u%n", &m, &n, &used) == 2 && used == (int)length) {
    } else {
        return false;
    }
    form->m = (uint16_t)m, form->n = (uint16_t)n, form->k = (uint16_t)k;
    return true;
}

static bool read_word(const Row *row, const char *word, size_t length, Form *form) {
    for (uint32_t f = 0; f < FLAG_COUNT; f++)
        if ((row->flags >> f & 1) && same(flags[f], word, length)) {
            form->flags |= (uint64_t)1 << f;
            return true;
        }
    for (uint32_t w = 1; w < WORD_COUNT; w++) {
        uint32_t category = words[w].category;
        if (!(row->categories & category) || !same(words[w].text, word, length)) continue;
        uint32_t index = (uint32_t)__builtin_ctz(category);
        if (index == CATEGORY_SPACE) {
            if (form->space_count == 2) return false;
            form->space[form->space_count++] = (uint8_t)w;
        } else if (index == CATEGORY_LAYOUT) {
            form->layout[form->word[index] ? 1 : 0] = (uint8_t)w;
        } else if (form->word[index] && index != CATEGORY_CACHE) {
            return false;
        }
        form->word[index] = (uint8_t)w;
        return true;
    }
    for (uint32_t t = TYPE_pred; t < TYPE_COUNT; t++)
        if (same(ptx_types[t].name, word, length)) {
            if (form->type_count == FORM_TYPES) return false;
            form->type[form->type_count++] = (uint8_t)t;
            return true;
        }
    return read_shape(word, length, form);
}

bool form_read(Arena *arena, const char *opcode, Form *form, const char **why) {
    memset(form, 0, sizeof *form);
    const Row *row = find_row(opcode);
    if (!row) {
        *why = arena_printf(arena, "unknown instruction `%s`", opcode);
        return false;
    }
    form->op = (Opcode)(row - rows);
    const char *at = opcode + strlen(row->text);
    while (*at) {
        const char *word = ++at;
        while (*at && *at != '.') at++;
        if (!read_word(row, word, (size_t)(at - word), form)) {
            *why = arena_printf(arena, "`.%.*s` is not understood in `%s`", (int)(at - word), word,
                                opcode);
            return false;
        }
    }
    return true;
}
