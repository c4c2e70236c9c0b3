/* lang.h: from source text to block IR.
 *
 *     File *file = parse_file(arena, names, sources, diagnostics, source);
 *     Module *module = lower_kernel(&request, diagnostics);
 *
 * The whole front end is a pure function of its inputs: no files but those `open_import` gives,
 * no globals, no printing.
 */
#ifndef TKC_LANG_LANG_H
#define TKC_LANG_LANG_H

#include "compiler/ir.h"
#include "lang/ast.h"

/* A value the user fixes at compile time: `text` is an expression of the language ("128",
 * "True", "'tf32'", "tl.float16", "f16", "None"). */
typedef struct NamedText {
    const char *name, *text;
} NamedText;

typedef struct LowerRequest {
    Arena *arena;
    Sources *sources;
    Diagnostics *diagnostics;
    Names *names;         /* the table the file was parsed with */
    const File *file;
    const char *kernel;   /* NULL: the only kernel of the file */
    /* Types of the parameters. Each one is found, in this order: in `constants`, in `types`
     * (by name), in `signature` (by position: "*fp16:16, i32, fp32, 128"), in the parameter's own
     * annotation, in @autotune and @heuristics, in its default (constexpr parameters only). */
    const char *signature;      /* NULL: none */
    const NamedText *types;     /* name, type ("*fp16:16") */
    uint32_t type_count;
    const NamedText *constants; /* name, value */
    uint32_t constant_count;
    uint32_t num_warps, num_stages, num_ctas; /* 0: what autotune or the default (4, 3, 1) says */
    const char *target; /* "sm_80", "cpu", ...: what target queries answer; NULL: "interp" */
    /* Finds the source of an imported module ("pkg.mod", with `level` leading dots, imported by the
     * file `from`); returns false when there is none. May be NULL: no imports. */
    bool (*open_import)(void *context, const char *from, const char *module, uint32_t level,
                        const char **path, const char **text, size_t *length);
    void *import_context;
    /* static_print goes here; NULL: dropped. */
    Text *static_output;
} LowerRequest;

/* The kernel as BLOCK-level IR, verified; NULL and messages on any error. */
Module *lower_kernel(const LowerRequest *request);

/* ---- questions a host asks about a kernel before it knows the types -------------------------- */

typedef struct KernelParameter {
    const char *name;
    const char *type;  /* annotated type text ("*fp16:16"), or NULL */
    bool is_constexpr;
    bool has_default;
    const char *default_text; /* source text of the default, or NULL */
    Span span;
} KernelParameter;

/* Jit functions of the file in order. Helpers are listed too: any jit function can be a kernel. So
 * are functions with syntax errors, which nothing else accepts. */
uint32_t lang_function_count(const File *file);
const char *lang_function_name(const File *file, uint32_t index);
/* Parameters of function `name`; NULL (and *count 0) when the file has no such function. */
const KernelParameter *lang_parameters(Arena *arena, const File *file, const Sources *sources,
                                       const char *name, uint32_t *count);

/* ---- tkc check ----------------------------------------------------------------------------- */

/* Checks one jit function as far as can be known without types: names, builtins, keyword
 * arguments. Parameters without a type are taken as unknown; nothing that depends on them is
 * reported. Messages go to request->diagnostics (request->kernel names the function). */
bool lang_check(const LowerRequest *request);

#endif
