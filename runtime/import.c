/* import.c: finds the source of a module that a kernel file imports.
 *
 * `from .tiles import x` (level 1) starts at the importing file's own folder, each further dot one
 * folder up. `from pkg.tiles import x` is looked for in that folder, in the folder above the
 * outermost package the file is part of (folders with __init__.py), then along the include paths.
 * A module pkg.tiles is the file pkg/tiles.tk, pkg/tiles.py or pkg/tiles/__init__.py.
 */
#include "runtime/frontend.h"

enum { MOST_LEVELS = 64 };

/* Module names come from source text: only words and dots, so that none leads out of a folder. */
static bool is_plain(const char *module) {
    for (const char *at = module; *at; at++) {
        bool word = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_' ||
                    (*at >= '0' && *at <= '9') || (*at & 0x80);
        bool dot = *at == '.' && at > module && at[-1] != '.' && at[1];
        if (!word && !dot) return false;
    }
    return true;
}

/* The folder of a path: "a/b.py" -> "a", "b.py" -> ".", "/b.py" -> "/". */
static const char *folder_of(Arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ".";
    return slash == path ? "/" : arena_strndup(arena, path, (size_t)(slash - path));
}

/* One folder up. A relative path that has no more parts goes up with "..". */
static const char *parent_of(Arena *arena, const char *folder) {
    const char *slash = strrchr(folder, '/');
    const char *last = slash ? slash + 1 : folder;
    bool is_root = strcmp(folder, "/") == 0;
    if (is_root) return folder;
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return arena_printf(arena, "%s/..", folder);
    return folder_of(arena, folder);
}

static bool try_file(ImportSearch *search, const char *file, const char **path, const char **text,
                     size_t *length) {
    RtFile read;
    if (!rt_file_exists(file)) return false;
    vec_push(search->arena, &search->texts, NULL); /* may not return: before there is a file */
    if (rt_read_file(file, LARGEST_SOURCE, &read)) return false;
    search->texts.data[search->texts.length - 1] = read.data;
    *path = file;
    *text = read.data;
    *length = read.size;
    return true;
}

/* `relative`: the module with slashes, "" for the package itself. */
static bool try_folder(ImportSearch *search, const char *folder, const char *relative,
                       const char **path, const char **text, size_t *length) {
    static const char *const endings[] = {".tk", ".py", "/__init__.py"};
    Arena *arena = search->arena;
    const char *prefix = strcmp(folder, ".") == 0   ? ""
                         : strcmp(folder, "/") == 0 ? "/"
                                                    : arena_printf(arena, "%s/", folder);
    if (!*relative)
        return try_file(search, arena_printf(arena, "%s__init__.py", prefix), path, text, length);
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        const char *file = arena_printf(arena, "%s%s%s", prefix, relative, endings[i]);
        if (try_file(search, file, path, text, length)) return true;
    }
    return false;
}

static bool is_package(Arena *arena, const char *folder) {
    return rt_file_exists(arena_printf(arena, "%s/__init__.py", folder));
}

bool import_open(void *context, const char *from, const char *module, uint32_t level,
                 const char **path, const char **text, size_t *length) {
    ImportSearch *search = context;
    Arena *arena = search->arena;
    if (!is_plain(module) || level > MOST_LEVELS || (level == 0 && !*module)) return false;
    char *relative = arena_strdup(arena, module);
    for (char *at = relative; *at; at++)
        if (*at == '.') *at = '/';
    const char *folder = folder_of(arena, from ? from : "");
    if (level > 0) {
        for (uint32_t i = 1; i < level; i++) folder = parent_of(arena, folder);
        return try_folder(search, folder, relative, path, text, length);
    }
    if (try_folder(search, folder, relative, path, text, length)) return true;
    const char *root = folder;
    for (int i = 0; i < MOST_LEVELS && is_package(arena, root); i++) root = parent_of(arena, root);
    if (root != folder && try_folder(search, root, relative, path, text, length)) return true;
    for (uint32_t i = 0; i < search->folder_count; i++)
        if (try_folder(search, search->folders[i], relative, path, text, length)) return true;
    return false;
}
