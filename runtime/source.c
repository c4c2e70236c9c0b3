/* source.c: what can be asked of a source file before anything is compiled. */
#include "runtime/frontend.h"

#include <stdlib.h>

struct tkc_source {
    FrontEnd front;
    tkc_context *context;
    const File *file;
    Text ast;
    /* Parameters of the function asked for last. */
    const char *function;
    const KernelParameter *parameters;
    uint32_t parameter_count;
};

static void free_source(tkc_source *source) {
    frontend_free(&source->front);
    free(source);
}

static tkc_status parse(tkc_source *source, const char *path, const char *text, size_t size,
                        uint32_t *errors, char **log) {
    FrontEnd *f = &source->front;
    if (setjmp(f->exhausted)) return frontend_exhausted(f);
    tkc_status status = frontend_read(f, path, text, size);
    if (status) return status;
    source->file = parse_file(&f->arena, &f->names, &f->sources, &f->diagnostics, f->source);
    status = frontend_report(f, &f->diagnostics, NULL, log);
    if (errors) *errors = f->diagnostics.errors;
    return status == TKC_OUT_OF_MEMORY ? status : TKC_OK;
}

tkc_status tkc_source_open(tkc_context *context, const char *path, const char *text, size_t size,
                           tkc_source **source, uint32_t *errors, char **log) {
    if (source) *source = NULL;
    if (errors) *errors = 0;
    if (log) *log = NULL;
    if (!context || !source)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_source_open: `%s` is NULL.",
                        context ? "source" : "context");
    tkc_source *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    frontend_init(&made->front, 0);
    tkc_status status = parse(made, path, text, size, errors, log);
    if (status) {
        free_source(made);
        return status;
    }
    made->context = rt_context_keep(context);
    *source = made;
    return TKC_OK;
}

void tkc_source_destroy(tkc_source *source) {
    if (!source) return;
    tkc_context *context = source->context;
    free_source(source);
    rt_context_release(context);
}

const char *tkc_source_function(const tkc_source *source, uint32_t index) {
    if (!source || index >= lang_function_count(source->file)) return NULL;
    return lang_function_name(source->file, index);
}

static bool has_function(const tkc_source *source, const char *name) {
    uint32_t count = lang_function_count(source->file);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(lang_function_name(source->file, i), name) == 0) return true;
    return false;
}

static tkc_status fail_no_function(const tkc_source *source, const char *name) {
    return tkc_fail(TKC_NOT_FOUND, "`%s` has no jit function `%s`.", source->front.path, name);
}

static tkc_status find_parameters(tkc_source *source, const char *function) {
    FrontEnd *f = &source->front;
    if (source->function && strcmp(source->function, function) == 0) return TKC_OK;
    if (setjmp(f->exhausted)) return frontend_exhausted(f);
    source->function = NULL;
    source->parameters =
        lang_parameters(&f->arena, source->file, &f->sources, function, &source->parameter_count);
    source->function = arena_strdup(&f->arena, function);
    return TKC_OK;
}

tkc_status tkc_source_parameter_at(tkc_source *source, const char *function, uint32_t index,
                                   tkc_source_parameter *parameter) {
    if (!source || !function || !parameter)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_source_parameter_at: `%s` is NULL.",
                        !source    ? "source"
                        : function ? "parameter"
                                   : "function");
    if (!has_function(source, function)) return fail_no_function(source, function);
    tkc_status status = find_parameters(source, function);
    if (status) return status;
    if (index >= source->parameter_count)
        return tkc_fail(TKC_NOT_FOUND,
                        "`%s` has %u parameters; there is no number %u (they count "
                        "from 0).",
                        function, source->parameter_count, index);
    const KernelParameter *p = &source->parameters[index];
    tkc_source_parameter found = {.struct_size = sizeof found,
                                  .is_constexpr = p->is_constexpr,
                                  .name = p->name,
                                  .type = p->type,
                                  .default_value = p->has_default ? p->default_text : NULL};
    return rt_give_struct(parameter, &found, sizeof found, "tkc_source_parameter");
}

tkc_status tkc_source_check(tkc_source *source, const char *function, char **log) {
    if (log) *log = NULL;
    if (!source || !function)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_source_check: `%s` is NULL.",
                        source ? "function" : "source");
    if (!has_function(source, function)) return fail_no_function(source, function);
    FrontEnd *f = &source->front;
    if (setjmp(f->exhausted)) return frontend_exhausted(f);
    Diagnostics diagnostics = {.arena = &f->arena, .sources = &f->sources};
    LowerRequest request = {.arena = &f->arena,
                            .sources = &f->sources,
                            .diagnostics = &diagnostics,
                            .names = &f->names,
                            .file = source->file,
                            .kernel = function,
                            .open_import = import_open,
                            .import_context = &f->imports};
    bool good = lang_check(&request);
    tkc_status status = frontend_report(f, &diagnostics, NULL, log);
    if (good || status) return status;
    return tkc_fail(TKC_COMPILE_ERROR, "`%s` in `%s` was refused.", function, f->path);
}

const char *tkc_source_ast(tkc_source *source, size_t *size) {
    if (size) *size = 0;
    if (!source) return NULL;
    FrontEnd *f = &source->front;
    if (setjmp(f->exhausted)) {
        frontend_exhausted(f);
        return NULL;
    }
    if (!source->ast.data) {
        source->ast = (Text){.arena = &f->arena};
        ast_print(source->file, &source->ast);
    }
    if (size) *size = source->ast.length;
    return source->ast.data ? source->ast.data : ""; /* a file without any item */
}
