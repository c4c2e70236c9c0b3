/* recall.c: keys of compiles, and notes of what they import. */
#include "runtime/recall.h"

#include <stdio.h>
#include <stdlib.h>

static void add_list(CacheKey *key, const tkc_named *list, uint32_t count) {
    cache_key_number(key, count);
    for (uint32_t i = 0; i < count; i++) {
        cache_key_text(key, list[i].name);
        cache_key_text(key, list[i].text);
    }
}

/* Only a plain compile: what looks into the compiler must run it. */
static bool is_plain(const tkc_compile_options *o) {
    return !o->no_cache && !o->intermediate && !o->dump_after && !o->stop_after && !o->skip &&
           !o->time_passes && !o->verify;
}

void recall_begin(Recall *recall, const tkc_context *context, FrontEnd *front,
                  const tkc_compile_options *o, const char *target) {
    *recall = (Recall){.imports = &front->imports, .seen = {.arena = &front->arena}};
    if (!is_plain(o) || !cache_is_on(context)) return;
    CacheKey key = cache_key_begin();
    cache_key_text(&key, front->path);
    cache_key_bytes(&key, front->text, front->size);
    cache_key_text(&key, target);
    cache_key_text(&key, o->kernel);
    cache_key_text(&key, o->signature);
    add_list(&key, o->types, o->type_count);
    add_list(&key, o->constants, o->constant_count);
    cache_key_number(&key, o->language);
    cache_key_number(&key, o->num_warps);
    cache_key_number(&key, o->num_stages);
    cache_key_number(&key, o->num_ctas);
    cache_key_number(&key, o->include_path_count);
    for (uint32_t i = 0; i < o->include_path_count; i++) cache_key_text(&key, o->include_paths[i]);
    recall->on = cache_key_end(&key, recall->key);
}

/* ---- imports ------------------------------------------------------------------------------------
 *
 * A line of notes: level, importing file, module, file found, hash of its text; between tabs. An
 * import that found nothing has "" and "". What has tabs or newlines in it cannot be noted, and
 * then the compile is not kept.
 */

static bool is_one_field(const char *text) {
    return !strpbrk(text, "\t\n");
}

bool recall_open(void *context, const char *from, const char *module, uint32_t level,
                 const char **path, const char **text, size_t *length) {
    Recall *recall = context;
    char hash[CACHE_KEY_SIZE] = "";
    if (!recall->on) return import_open(recall->imports, from, module, level, path, text, length);
    bool found = import_open(recall->imports, from, module, level, path, text, length);
    if (!from) from = "";
    if (found) cache_hash(*text, *length, hash);
    recall->on &= is_one_field(from) && is_one_field(module) && (!found || is_one_field(*path));
    text_printf(&recall->seen, "%u\t%s\t%s\t%s\t%s\n", level, from, module, found ? *path : "",
                hash);
    return found;
}

/* The text up to the tab or newline, as a string; *at moves behind it. NULL: no such end. */
static char *take_field(char **at, char end) {
    char *field = *at, *stop = strchr(field, end);
    if (!stop) return NULL;
    *stop = 0;
    *at = stop + 1;
    return field;
}

static bool import_is_same(Recall *recall, char **at) {
    char *level = take_field(at, '\t'), *from = level ? take_field(at, '\t') : NULL;
    char *module = from ? take_field(at, '\t') : NULL, *path = module ? take_field(at, '\t') : NULL;
    char *hash = path ? take_field(at, '\n') : NULL;
    const char *found_path, *text;
    size_t length;
    char found_hash[CACHE_KEY_SIZE];
    if (!hash) return false;
    if (!import_open(recall->imports, *from ? from : NULL, module,
                     (uint32_t)strtoul(level, NULL, 10), &found_path, &text, &length))
        return !*path;
    cache_hash(text, length, found_hash);
    return strcmp(found_path, path) == 0 && strcmp(found_hash, hash) == 0;
}

/* ---- entries ------------------------------------------------------------------------------------
 */

bool recall_find(Recall *recall, tkc_context *context, CacheEntry *entry) {
    if (!recall->on || !cache_find(context, recall->key, entry)) return false;
    char *lines = arena_strndup(recall->imports->arena, entry->section[CACHE_IMPORTS],
                                entry->size[CACHE_IMPORTS]);
    bool same = true;
    while (*lines && same) same = import_is_same(recall, &lines);
    if (same) return true;
    free(entry->data);
    entry->data = NULL;
    return false;
}

void recall_keep(Recall *recall, tkc_context *context, const char *log, const Text *statics,
                 const char *code, size_t size) {
    CacheEntry entry = {
        .section = {recall->seen.data, log, statics->data, code},
        .size = {recall->seen.length, log ? strlen(log) : 0, statics->length, size},
    };
    if (recall->on) cache_keep(context, recall->key, &entry);
}
