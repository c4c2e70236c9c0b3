/* tkc_source.h: what `tkc` and `tkc run` both do with a source file before they compile: choose
 * kernels, describe their parameters, read -D options. */
#ifndef TKC_TOOLS_TKC_SOURCE_H
#define TKC_TOOLS_TKC_SOURCE_H

#include "tools/tkc_cli.h"

/* A list of name and value, from NAME=VALUE texts. */
typedef VEC(tkc_named) NamedList;

/* Context whose device_print goes to stdout and static_print to stderr. NULL: message printed. */
tkc_context *source_context(void);

/* Reads `NAME=VALUE` of each -D option. */
bool source_constants(Arena *arena, const TextList *options, NamedList *constants);
bool source_is_named(const NamedList *list, const char *name); /* is it in the list? */
/* The text of a compile-time value in the language: true -> True, none -> None, a bare word that
 * is no dtype -> a string; anything else as it is. */
const char *source_value_text(Arena *arena, const char *text);

/* Jit functions of the file as a list. */
TextList source_functions(Arena *arena, const tkc_source *source);
/* "has no function `x`; did you mean ..." or what the file has. */
void source_no_function(Arena *arena, const tkc_source *source, const char *path, const char *name);
/* On stderr: "kernel takes" and one parameter a line with its type. */
void source_describe(tkc_source *source, const char *function);
bool source_parameter(tkc_source *source, const char *function, uint32_t index,
                      tkc_source_parameter *parameter);

#endif
