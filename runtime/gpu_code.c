/* gpu_code.c: runs the passes of a GPU target in two pieces, so that the IR can be shown at each
 * level, and then the emitter, where this build has one (TKC_LLVM). */
#include "runtime/gpu_code.h"

#include <stdio.h>
#include <time.h>

enum { MOST_PASSES = 32 };

/* ---- lists of passes --------------------------------------------------------------------------
 */

static bool has_pass(const Pass *passes, const char *name, size_t length) {
    for (const Pass *pass = passes; pass->name; pass++)
        if (strlen(pass->name) == length && memcmp(pass->name, name, length) == 0) return true;
    return false;
}

static const char *own_name(const Pass *passes, const char *name) {
    return name && has_pass(passes, name, strlen(name)) ? name : NULL;
}

static const char *own_names(Arena *arena, const Pass *passes, const char *list) {
    Text own = {.arena = arena};
    for (size_t length; list && *list; list += length + (list[length] == ',')) {
        length = strcspn(list, ",");
        if (!has_pass(passes, list, length)) continue;
        if (own.length) text_puts(&own, ",");
        text_add(&own, list, length);
    }
    return own.data;
}

bool passes_run(PassRun *run, Module *module, const Pass *passes) {
    const tkc_compile_options *o = run->options;
    if (run->stopped) return true;
    bool all = o->dump_after && strcmp(o->dump_after, "all") == 0;
    PipelineOptions options = {
        .dump_after = all ? "all" : own_name(passes, o->dump_after),
        .stop_after = own_name(passes, o->stop_after),
        .skip = own_names(module->arena, passes, o->skip),
        .verify = o->verify,
        .dump = run->dump,
        .times = run->times,
    };
    run->stopped = options.stop_after != NULL;
    return pipeline_run(module, passes, &options);
}

/* ---- targets ----------------------------------------------------------------------------------
 */

const char *gpu_target_name(const char *target) {
    const GpuTarget *found = gpu_target(target);
    return found ? found->name : NULL;
}

tkc_status target_check(const char *target) {
    char names[256] = "";
    size_t used = 0;
    if (!target || gpu_target(target) || !strcmp(target, "interp") || !strcmp(target, "cpu") ||
        !strncmp(target, "cpu:", 4))
        return TKC_OK;
    for (const GpuTarget *t = gpu_targets; t->name && used < sizeof names; t++)
        used += (size_t)snprintf(names + used, sizeof names - used, ", %s", t->name);
    return tkc_fail(TKC_NOT_FOUND,
                    "tkc_compile_options.target: there is no target `%s`. Targets: interp, cpu%s.",
                    target, names);
}

/* ---- the way down -----------------------------------------------------------------------------
 */

#ifdef TKC_LLVM
static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static tkc_status emit(PassRun *run, Module *module, const GpuTarget *target, GpuTexts *texts) {
    GpuCode code = {.llvm = run->options->intermediate ? &texts->llvm : NULL, .ptx = &texts->ptx};
    double start = now_ms();
    bool good = gpu_emit(module, target, &code);
    run->emit_ms = now_ms() - start;
    if (run->times) text_printf(run->times, "%-8s %8.3f ms\n", "emit", run->emit_ms);
    return good ? TKC_OK : TKC_COMPILE_ERROR;
}
#else
static tkc_status emit(PassRun *run, Module *module, const GpuTarget *target, GpuTexts *texts) {
    (void)module, (void)texts;
    if (run->options->intermediate) return TKC_OK;
    return tkc_fail(TKC_UNSUPPORTED,
                    "This build of tkc has no code generator for `%s`: it was made without LLVM. "
                    "Build it with LLVM 22 or newer (llvm-22-dev), or load a saved kernel "
                    "(tkc_kernel_load).",
                    target->name);
}
#endif

/* The passes of pipeline_gpu whose level after is `level`; they stand together. */
static const Pass *passes_of(Level level, Pass list[MOST_PASSES + 1]) {
    uint32_t count = 0;
    for (const Pass *pass = pipeline_gpu; pass->name && count < MOST_PASSES; pass++)
        if (pass->after == level) list[count++] = *pass;
    list[count] = (Pass){0};
    return list;
}

static bool run_level(PassRun *run, Module *module, Level level, Text *text) {
    Pass list[MOST_PASSES + 1];
    if (run->stopped) return true;
    if (!passes_run(run, module, passes_of(level, list)) || module->diagnostics->errors)
        return false;
    if (run->options->intermediate) ir_print(module, text);
    return true;
}

tkc_status gpu_code(PassRun *run, Module *module, const char *target, GpuTexts *texts) {
    Arena *arena = module->arena;
    Text empty = {.arena = arena};
    *texts = (GpuTexts){empty, empty, empty, empty};
    module->target = target;
    Pass list[MOST_PASSES + 1];
    if (!passes_run(run, module, passes_of(LEVEL_BLOCK, list))) return TKC_COMPILE_ERROR;
    if (!run_level(run, module, LEVEL_LAID, &texts->laid)) return TKC_COMPILE_ERROR;
    if (!run_level(run, module, LEVEL_PLACED, &texts->placed)) return TKC_COMPILE_ERROR;
    if (run->stopped) return TKC_OK;
    return emit(run, module, gpu_target(target), texts);
}
