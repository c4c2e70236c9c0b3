/* tkc_source.c: choosing kernels and describing their parameters; see tkc_source.h. */
#include "tools/tkc_source.h"

#include <ctype.h>

static void print_device_line(void *user, const char *line) {
    (void)user;
    puts(line);
}

static void print_static_line(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "%s\n", line);
}

tkc_context *source_context(void) {
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    tkc_context *context;
    options.print = print_device_line;
    options.static_print = print_static_line;
    tkc_status status = tkc_context_create(&options, &context);
    if (status == TKC_OK) return context;
    tool_report(status);
    return NULL;
}

static bool is_word(const char *text) {
    if (!isalpha((unsigned char)*text) && *text != '_') return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && *text != '_') return false;
    return true;
}

const char *source_value_text(Arena *arena, const char *text) {
    static const char *const known[] = {"True", "False", "None", "inf", "nan"};
    if (strcasecmp(text, "true") == 0) return "True";
    if (strcasecmp(text, "false") == 0) return "False";
    if (strcasecmp(text, "none") == 0) return "None";
    if (!is_word(text) || tkc_dtype_from_name(text) != TKC_NONE) return text;
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++)
        if (strcmp(text, known[i]) == 0) return text;
    return arena_printf(arena, "'%s'", text);
}

bool source_constants(Arena *arena, const TextList *options, NamedList *constants) {
    for (uint32_t i = 0; i < options->count; i++) {
        const char *text = options->items[i], *equals = strchr(text, '=');
        tkc_named constant;
        if (!equals || equals == text || !equals[1]) {
            tool_error("-D takes NAME=VALUE, not `%s`", text);
            return false;
        }
        constant.name = arena_strndup(arena, text, (size_t)(equals - text));
        constant.text = source_value_text(arena, equals + 1);
        vec_push(arena, constants, constant);
    }
    return true;
}

bool source_is_named(const NamedList *list, const char *name) {
    for (uint32_t i = 0; i < list->length; i++)
        if (strcmp(list->data[i].name, name) == 0) return true;
    return false;
}

TextList source_functions(Arena *arena, const tkc_source *source) {
    TextList list = {0};
    while (tkc_source_function(source, list.count)) list.count++;
    list.items = arena_array(arena, const char *, list.count + 1);
    for (uint32_t i = 0; i < list.count; i++) list.items[i] = tkc_source_function(source, i);
    return list;
}

void source_no_function(Arena *arena, const tkc_source *source, const char *path,
                        const char *name) {
    TextList functions = source_functions(arena, source);
    const char *near = nearest_name(name, functions.items, functions.count);
    tool_error("%s has no jit function `%s`", path, name);
    if (near)
        tool_note("did you mean `%s`?", near);
    else
        for (uint32_t i = 0; i < functions.count && i < 20; i++)
            tool_note("it has `%s`", functions.items[i]);
}

bool source_parameter(tkc_source *source, const char *function, uint32_t index,
                      tkc_source_parameter *parameter) {
    *parameter = (tkc_source_parameter)TKC_SOURCE_PARAMETER_INIT;
    return tkc_source_parameter_at(source, function, index, parameter) == TKC_OK;
}

void source_describe(tkc_source *source, const char *function) {
    tkc_source_parameter parameter;
    int width = 0;
    for (uint32_t i = 0; source_parameter(source, function, i, &parameter); i++)
        if ((int)strlen(parameter.name) > width) width = (int)strlen(parameter.name);
    if (width > 24) width = 24;
    tool_note("`%s` takes", function);
    for (uint32_t i = 0; source_parameter(source, function, i, &parameter); i++) {
        const char *type = parameter.type           ? parameter.type
                           : parameter.is_constexpr ? "compile-time value"
                                                    : "any type";
        fprintf(stderr, "    %-*s  %s%s%s\n", width, parameter.name, type,
                parameter.default_value ? ", else " : "",
                parameter.default_value ? parameter.default_value : "");
    }
}
