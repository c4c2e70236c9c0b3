/* pass.h: all passes, one line each, and the table that runs them.
 *
 * A pass is one file with one public function. It takes the module, changes it in place and
 * says whether it changed anything. It asserts what earlier passes promised.
 */
#ifndef TKC_COMPILER_PASSES_PASS_H
#define TKC_COMPILER_PASSES_PASS_H

#include "compiler/ir.h"

bool pass_canon(Module *module); /* local rewrites: fold constants, identities, shape of shape */
bool pass_cse(Module *module);   /* one op for equal pure ops (and loads nothing wrote between) */
bool pass_dce(Module *module);   /* drop what nothing needs, unused carried values included */
bool pass_licm(Module *module);  /* pure ops that do not depend on the loop move before it */
bool pass_math(Module *module); /* exp, sin, ... become arithmetic, for devices without them */

typedef struct Pass {
    const char *name;
    bool (*run)(Module *module);
    Level after; /* the level that holds after it */
    const char *about;
} Pass;

typedef struct PipelineOptions {
    const char *dump_after; /* pass name, "all", or NULL */
    const char *stop_after; /* pass name or NULL */
    const char *skip;       /* comma-separated pass names or NULL */
    bool verify;            /* check the IR after each pass */
    Text *dump;             /* where dumps go (headed "// after canon") */
    Text *times;            /* one line a pass with its milliseconds, or NULL */
} PipelineOptions;

/* The list for BLOCK level: what `interp` and `cpu` take. NULL-name terminated. */
extern const Pass pipeline_block[];

/* Runs a list. False when verification failed (reported in module->diagnostics). An unknown pass
 * name in the options is an error too, with the known names. */
bool pipeline_run(Module *module, const Pass *passes, const PipelineOptions *options);

#endif
