/* context.c: the root object: options, callbacks, and who still needs it. */
#include "runtime/internal.h"

#include <stdlib.h>
#include <string.h>

static void free_context(tkc_context *context) {
    free(context->cache_folder);
    free(context->cuda_library);
    free(context->cuda);
    free(context);
}

tkc_status tkc_context_create(const tkc_context_options *options, tkc_context **context) {
    if (!context) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_context_create: `context` is NULL.");
    *context = NULL;
    tkc_context_options taken = TKC_CONTEXT_OPTIONS_INIT;
    tkc_status status = rt_take_options(&taken, sizeof taken, options, "tkc_context_options");
    if (status) return status;
    tkc_context *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    made->options = taken;
    made->cache_folder = rt_copy_string(taken.cache_folder);
    made->cuda_library = rt_copy_string(taken.cuda_library);
    if ((taken.cache_folder && !made->cache_folder) ||
        (taken.cuda_library && !made->cuda_library)) {
        free_context(made);
        return rt_fail_memory();
    }
    made->options.cache_folder = made->options.cuda_library = NULL; /* not ours to keep */
    atomic_init(&made->references, 1);
    atomic_init(&made->cache_growth, UINT64_MAX / 2); /* the first one looks */
    pthread_mutex_init(&made->callbacks, NULL);
    pthread_mutex_init(&made->setup, NULL);
    *context = made;
    return TKC_OK;
}

tkc_context *rt_context_keep(tkc_context *context) {
    atomic_fetch_add(&context->references, 1);
    return context;
}

void rt_context_release(tkc_context *context) {
    if (atomic_fetch_sub(&context->references, 1) > 1) return;
    pthread_mutex_destroy(&context->callbacks);
    pthread_mutex_destroy(&context->setup);
    free_context(context);
}

void tkc_context_destroy(tkc_context *context) {
    if (context) rt_context_release(context);
}

void rt_print(tkc_context *context, const char *line) {
    if (!context->options.print) return;
    pthread_mutex_lock(&context->callbacks);
    context->options.print(context->options.user, line);
    pthread_mutex_unlock(&context->callbacks);
}

void rt_static_print(tkc_context *context, const char *text) {
    if (!context->options.static_print) return;
    pthread_mutex_lock(&context->callbacks);
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = strndup(text, length);
        if (!line) break;
        context->options.static_print(context->options.user, line);
        free(line);
        text += length + (text[length] == '\n');
    }
    pthread_mutex_unlock(&context->callbacks);
}

void rt_compiled(tkc_context *context, const tkc_compile_event *event) {
    if (!context->options.compiled) return;
    pthread_mutex_lock(&context->callbacks);
    context->options.compiled(context->options.user, event);
    pthread_mutex_unlock(&context->callbacks);
}

void rt_launched(tkc_context *context, const tkc_launch_event *event) {
    pthread_mutex_lock(&context->callbacks);
    context->options.launched(context->options.user, event);
    pthread_mutex_unlock(&context->callbacks);
}
