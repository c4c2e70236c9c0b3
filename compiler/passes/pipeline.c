/* pipeline.c: the list of passes, and what runs a list.
 *
 * canon comes first since it halves most kernels; licm before cse, so that what two loops compute
 * alike is seen side by side; canon again for what became equal (x - x, a select of one value); dce
 * last, since the others leave values that nothing uses.
 */
#include "compiler/passes/pass.h"

#include <time.h>

const Pass pipeline_block[] = {
    {"canon", pass_canon, LEVEL_BLOCK, "fold constants, simplify locally"},
    {"licm", pass_licm, LEVEL_BLOCK, "move what does not depend on a loop before it"},
    {"cse", pass_cse, LEVEL_BLOCK, "merge equal ops"},
    {"canon", pass_canon, LEVEL_BLOCK, "simplify what became equal"},
    {"dce", pass_dce, LEVEL_BLOCK, "drop what nothing needs"},
    {0},
};

static bool names_pass(const char *name, size_t length, const char *pass) {
    return strlen(pass) == length && !memcmp(name, pass, length);
}

/* Is the pass in the comma-separated list? */
static bool is_listed(const char *list, const char *pass) {
    for (size_t length; list && *list; list += length + (list[length] == ',')) {
        length = strcspn(list, ",");
        if (names_pass(list, length, pass)) return true;
    }
    return false;
}

static bool check_name(Module *module, const Pass *passes, const char *name, size_t length) {
    Text known = {.arena = module->arena};
    for (const Pass *pass = passes; pass->name; pass++) {
        if (names_pass(name, length, pass->name)) return true;
        bool seen = false;
        for (const Pass *p = passes; p < pass; p++) seen |= !strcmp(p->name, pass->name);
        if (!seen) text_printf(&known, "%s%s", known.length ? ", " : "", pass->name);
    }
    diag_error(module->diagnostics, (Location){0}, "there is no pass `%.*s`; there are: %s",
               (int)length, name, known.length ? known.data : "none");
    return false;
}

static bool check_options(Module *module, const Pass *passes, const PipelineOptions *options) {
    bool good = true;
    if (options->dump_after && strcmp(options->dump_after, "all") != 0)
        good &= check_name(module, passes, options->dump_after, strlen(options->dump_after));
    if (options->stop_after)
        good &= check_name(module, passes, options->stop_after, strlen(options->stop_after));
    const char *skip = options->skip;
    for (size_t length; skip && *skip; skip += length + (skip[length] == ',')) {
        length = strcspn(skip, ",");
        good &= check_name(module, passes, skip, length);
    }
    return good;
}

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

bool pipeline_run(Module *module, const Pass *passes, const PipelineOptions *options) {
    if (!check_options(module, passes, options)) return false;
    double total = 0;
    for (const Pass *pass = passes; pass->name; pass++) {
        if (is_listed(options->skip, pass->name)) continue;
        double start = milliseconds();
        pass->run(module);
        if (module->level < pass->after) module->level = pass->after;
        double taken = milliseconds() - start;
        total += taken;
        if (options->times) text_printf(options->times, "%-8s %8.3f ms\n", pass->name, taken);
        if (options->dump && options->dump_after &&
            (!strcmp(options->dump_after, "all") || !strcmp(options->dump_after, pass->name))) {
            text_printf(options->dump, "// after %s\n", pass->name);
            ir_print(module, options->dump);
        }
        if (options->verify && !ir_verify(module, pass->after)) {
            diag_note(module->diagnostics, (Location){0}, "found after the pass `%s`", pass->name);
            return false;
        }
        if (options->stop_after && !strcmp(options->stop_after, pass->name)) break;
    }
    if (options->times) text_printf(options->times, "%-8s %8.3f ms\n", "total", total);
    return true;
}
