/* feed.c: see feed.h. Goes through the public API, as any host program would. */
#include "tests/feed.h"

#include <stdio.h>
#include <string.h>

#include "runtime/tkc.h"

static const uint64_t memory_limit = 64u << 20;

/* Compiles IR text without passes and gives what it prints; NULL when it is refused. */
static tkc_kernel *read_ir(tkc_context *context, const char *text, size_t size) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    tkc_kernel *kernel;
    options.language = TKC_LANGUAGE_IR;
    options.path = "noise.tkir";
    options.text = size ? text : "";
    options.text_size = size;
    options.skip = "canon,licm,cse,dce";
    options.memory_limit = memory_limit;
    return tkc_compile(context, &options, &kernel, NULL) == TKC_OK ? kernel : NULL;
}

/* What a kernel prints must be accepted, and print the same again. */
static bool prints_back(tkc_context *context, const tkc_kernel *kernel, char why[256]) {
    size_t size, again_size = 0;
    const char *text = tkc_kernel_text(kernel, "ir", &size);
    tkc_kernel *second = read_ir(context, text, size);
    if (!second) {
        snprintf(why, 256, "its own output is refused: %s", tkc_last_error());
        return false;
    }
    const char *again = tkc_kernel_text(second, "ir", &again_size);
    bool same = size == again_size && memcmp(text, again, size) == 0;
    if (!same) snprintf(why, 256, "printed and read back, it is another text");
    tkc_kernel_destroy(second);
    return same;
}

bool feed_ir(const char *text, size_t size, char why[256]) {
    tkc_context *context;
    if (tkc_context_create(NULL, &context) != TKC_OK) return true;
    tkc_kernel *kernel = read_ir(context, text, size);
    bool good = !kernel || prints_back(context, kernel, why);
    tkc_kernel_destroy(kernel);
    tkc_context_destroy(context);
    return good;
}

/* Opens the text and calls `visit` for each function. */
static bool each_function(const char *text, size_t size, char why[256],
                          bool (*visit)(tkc_context *context, tkc_source *source,
                                        const char *function, const char *text, size_t size,
                                        char why[256])) {
    tkc_context *context;
    tkc_source *source;
    const char *function;
    bool good = true;
    if (tkc_context_create(NULL, &context) != TKC_OK) return true;
    if (tkc_source_open(context, "noise.tk", size ? text : "", size, &source, NULL, NULL) ==
        TKC_OK) {
        good = tkc_source_ast(source, NULL) != NULL;
        if (!good) snprintf(why, 256, "no syntax tree");
        for (uint32_t i = 0; good && (function = tkc_source_function(source, i)); i++)
            good = visit(context, source, function, text, size, why);
        tkc_source_destroy(source);
    }
    tkc_context_destroy(context);
    return good;
}

static bool check_function(tkc_context *context, tkc_source *source, const char *function,
                           const char *text, size_t size, char why[256]) {
    (void)context, (void)text, (void)size, (void)why;
    tkc_source_check(source, function, NULL);
    return true;
}

static bool compile_function(tkc_context *context, tkc_source *source, const char *function,
                             const char *text, size_t size, char why[256]) {
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    tkc_kernel *kernel;
    (void)source;
    options.path = "noise.tk";
    options.text = text;
    options.text_size = size;
    options.kernel = function;
    options.memory_limit = memory_limit;
    options.verify = true;
    if (tkc_compile(context, &options, &kernel, NULL) != TKC_OK) return true;
    bool good = prints_back(context, kernel, why);
    tkc_kernel_destroy(kernel);
    return good;
}

bool feed_source(const char *text, size_t size, char why[256]) {
    return each_function(text, size, why, check_function);
}

bool feed_lower(const char *text, size_t size, char why[256]) {
    return each_function(text, size, why, compile_function);
}
