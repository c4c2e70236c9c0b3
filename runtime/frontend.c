/* frontend.c: reads a source into an arena, and turns messages into logs. */
#include "runtime/frontend.h"

#include <stdlib.h>

void frontend_init(FrontEnd *f, uint64_t memory_limit) {
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, (size_t)(memory_limit ? memory_limit : MEMORY_LIMIT));
    f->arena.on_exhausted = &f->exhausted;
    f->sources.arena = &f->arena;
    f->names.arena = &f->arena;
    f->diagnostics.arena = &f->arena;
    f->diagnostics.sources = &f->sources;
    f->imports.arena = &f->arena;
}

void frontend_free(FrontEnd *f) {
    for (uint32_t i = 0; i < f->imports.texts.length; i++) free(f->imports.texts.data[i]);
    free(f->file.data);
    arena_free(&f->arena);
}

tkc_status frontend_read(FrontEnd *f, const char *path, const char *text, size_t size) {
    if (!path && !text)
        return tkc_fail(TKC_INVALID_ARGUMENT, "Neither a path nor a source text was given.");
    f->path = arena_strdup(&f->arena, path ? path : "<text>");
    if (text) {
        if (size == 0) size = strlen(text);
        if (size > LARGEST_SOURCE)
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "The source text has %zu bytes; the limit is "
                            "%llu.",
                            size, (unsigned long long)LARGEST_SOURCE);
        f->text = arena_strndup(&f->arena, text, size);
        f->size = size;
    } else {
        tkc_status status = rt_read_file(path, LARGEST_SOURCE, &f->file);
        if (status) return status;
        f->text = f->file.data;
        f->size = f->file.size;
    }
    f->source = sources_add(&f->sources, f->path, f->text, f->size);
    return TKC_OK;
}

tkc_status frontend_exhausted(const FrontEnd *f) {
    return tkc_fail(TKC_OUT_OF_MEMORY,
                    "Compiling `%s` needs more than %llu MB of memory. Use smaller blocks or fewer "
                    "unrolled iterations, or raise tkc_compile_options.memory_limit.",
                    f->path ? f->path : "the source", (unsigned long long)(f->arena.limit >> 20));
}

tkc_status frontend_report(FrontEnd *f, const Diagnostics *d, const char *more, char **log) {
    Text text = {.arena = &f->arena};
    if (d->first || d->errors) diag_render(d, &text);
    if (d->errors) tkc_fail(TKC_COMPILE_ERROR, "%s", text.data);
    if (more) text_puts(&text, more);
    if (log && text.length) {
        *log = malloc(text.length + 1);
        if (!*log) return rt_fail_memory();
        memcpy(*log, text.data, text.length + 1);
    }
    return d->errors ? TKC_COMPILE_ERROR : TKC_OK;
}
