/* tkc_compile.c: `tkc FILE`: compiles kernels and writes the stage that --emit names. */
#include "tools/tkc_commands.h"
#include "tools/tkc_cubin.h"
#include "tools/tkc_source.h"

#include <stdlib.h>
#include <sys/stat.h>

typedef struct CompileOptions {
    TextList kernels, constants, include;
    const char *signature, *target, *emit, *output, *passes, *dump_after, *stop_after, *skip;
    uint32_t num_warps, num_stages;
    bool time_passes;
} CompileOptions;

/* clang-format off */
#define FIELD(name) offsetof(CompileOptions, name)
const Option compile_options[] = {
    {"--kernel", "-n", OPTION_LIST, 0, FIELD(kernels), "KERNEL",
     "compile this kernel (may be repeated)"},
    {"--signature", "-s", OPTION_TEXT, 0, FIELD(signature), "TYPES",
     "types of the parameters, in order: \"*fp16:16, i32, 128\""},
    {"--define", "-D", OPTION_LIST, 0, FIELD(constants), "NAME=VALUE",
     "fix a parameter at compile time"},
    {"--target", "-t", OPTION_TEXT, 0, FIELD(target), "TARGET",
     "interp (the default), cpu, cpu:x86-64-v3, sm_80, sm_90a, sm_100a"},
    {"--num-warps", NULL, OPTION_COUNT, 1, FIELD(num_warps), "N", "warps a program"},
    {"--num-stages", NULL, OPTION_COUNT, 1, FIELD(num_stages), "N", "stages of pipelined loops"},
    {"--emit", NULL, OPTION_TEXT, 0, FIELD(emit), "KIND",
     "ast, ir (the default); GPU: laid, placed, llvm, ptx (the default), cubin; cpu: asm, obj"},
    {"--output", "-o", OPTION_TEXT, 0, FIELD(output), "PATH",
     "write here; `PATH/` is a folder with one file a kernel"},
    {"--include", "-I", OPTION_LIST, 0, FIELD(include), "FOLDER",
     "look here for imported modules, after the folder of the file"},
    {"--passes", NULL, OPTION_TEXT, 0, FIELD(passes), "LIST",
     "run only these passes: all, none, or names with commas"},
    {"--skip", NULL, OPTION_TEXT, 0, FIELD(skip), "LIST", "leave these passes out"},
    {"--stop-after", NULL, OPTION_TEXT, 0, FIELD(stop_after), "PASS", "stop after this pass"},
    {"--dump-after", NULL, OPTION_TEXT, 0, FIELD(dump_after), "PASS",
     "print the IR after this pass, or after `all`, on stderr"},
    {"--time-passes", NULL, OPTION_FLAG, 0, FIELD(time_passes), NULL,
     "print the milliseconds of each pass on stderr"},
    {0},
};
#undef FIELD
/* clang-format on */

static const char *const emit_kinds[] = {"ast", "ir",    "laid", "placed", "llvm",
                                         "ptx", "cubin", "asm",  "obj",    "c"};
enum { FIRST_GPU_KIND = 2, FIRST_CPU_KIND = 7, KINDS_IN_THIS_BUILD = 9 };

/* One run of the command. */
typedef struct Job {
    Arena *arena;
    const CompileOptions *options;
    const char *path;
    char *text; /* of the file */
    size_t size;
    bool is_ir;
    NamedList constants;
    const char *skip;
    tkc_context *context;
    tkc_source *source;
    uint32_t written;
} Job;

/* ---- options -------------------------------------------------------------------------------- */

static bool known_emit(const char *emit) {
    uint32_t count = ARRAY_LENGTH(emit_kinds);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(emit, emit_kinds[i]) != 0) continue;
        if (i < KINDS_IN_THIS_BUILD) return true;
        tool_error("--emit=%s is not in this build yet", emit);
        return false;
    }
    const char *near = nearest_name(emit, emit_kinds, count);
    tool_error("there is no --emit=%s%s%s%s", emit, near ? "; did you mean --emit=" : "",
               near ? near : "", near ? "?" : "; see `tkc help compile`");
    return false;
}

static bool is_gpu_kind(const char *emit) {
    for (uint32_t i = FIRST_GPU_KIND; emit && i < FIRST_CPU_KIND; i++)
        if (strcmp(emit, emit_kinds[i]) == 0) return true;
    return false;
}

static bool is_cpu_kind(const char *emit) {
    for (uint32_t i = FIRST_CPU_KIND; emit && i < KINDS_IN_THIS_BUILD; i++)
        if (strcmp(emit, emit_kinds[i]) == 0) return true;
    return emit && strcmp(emit, "llvm") == 0;
}

static bool names_gpu(const char *target) {
    return strncmp(target, "sm_", 3) == 0 || strncmp(target, "cuda:", 5) == 0;
}

static bool names_cpu(const char *target) {
    return strcmp(target, "cpu") == 0 || strncmp(target, "cpu:", 4) == 0;
}

/* What is written when --emit says nothing. */
static const char *kind_of(const CompileOptions *options) {
    if (options->emit) return options->emit;
    if (options->target && names_cpu(options->target)) return "asm";
    return options->target && names_gpu(options->target) ? "ptx" : "ir";
}

static bool list_has(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ',')) return true;
    return false;
}

/* A pass may stand in the pipeline twice. */
static bool was_named(const char *const *names, uint32_t index) {
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(names[i], names[index]) == 0) return true;
    return false;
}

/* Complains about a name in a comma-separated list that is no pass. */
static bool known_passes(const char *option, const char *list) {
    const char *names[64];
    uint32_t count = 0;
    while (count < ARRAY_LENGTH(names) && tkc_pass_name(count)) {
        names[count] = tkc_pass_name(count);
        count++;
    }
    for (const char *at = list; *at;) {
        char name[64];
        size_t length = strcspn(at, ",");
        bool known = false;
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        for (uint32_t i = 0; i < count; i++) known |= strcmp(names[i], name) == 0;
        if (!known) {
            const char *near = nearest_name(name, names, count);
            tool_error("%s: there is no pass `%s`%s%s%s", option, name,
                       near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
            for (uint32_t i = 0; !near && i < count; i++)
                if (!was_named(names, i)) tool_note("pass %s: %s", names[i], tkc_pass_about(i));
            return false;
        }
        at += length + (at[length] == ',');
    }
    return true;
}

/* --passes names what runs, the library wants what does not. False: message printed. */
static bool passes_to_skip(Arena *arena, const CompileOptions *options, const char **skip) {
    Text text = {.arena = arena};
    const char *passes = options->passes ? options->passes : "all";
    *skip = options->skip;
    if (options->skip && !known_passes("--skip", options->skip)) return false;
    if (strcmp(passes, "all") == 0) return true;
    if (options->skip) {
        tool_error("--passes and --skip say the same thing; give one of them");
        return false;
    }
    if (strcmp(passes, "none") == 0) passes = "";
    if (!known_passes("--passes", passes)) return false;
    text_add(&text, "", 0);
    for (uint32_t i = 0; tkc_pass_name(i); i++)
        if (!list_has(passes, tkc_pass_name(i)))
            text_printf(&text, "%s%s", text.length ? "," : "", tkc_pass_name(i));
    *skip = text.length ? text.data : NULL;
    return true;
}

static bool valid_options(const CompileOptions *options) {
    if (options->emit && !known_emit(options->emit)) return false;
    const char *target = options->target ? options->target : "interp";
    bool gpu = names_gpu(target);
    if (!gpu && strcmp(target, "interp") != 0 && !names_cpu(target)) {
        tool_error("there is no target `%s`; targets are interp, cpu, and GPUs such as sm_80, "
                   "sm_90a, sm_100a",
                   target);
        return false;
    }
    bool cpu = names_cpu(target);
    if (is_cpu_kind(options->emit) && !cpu && !is_gpu_kind(options->emit)) {
        tool_error("--emit=%s is for the CPU: add -t cpu", options->emit);
        return false;
    }
    if (is_gpu_kind(options->emit) && !gpu && !(cpu && is_cpu_kind(options->emit))) {
        tool_error("--emit=%s is for a GPU: say which, as in -t sm_80", options->emit);
        return false;
    }
    if (options->dump_after && strcmp(options->dump_after, "all") != 0 &&
        !known_passes("--dump-after", options->dump_after))
        return false;
    return !options->stop_after || known_passes("--stop-after", options->stop_after);
}

/* ---- output ---------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat about;
    return (path[0] && path[strlen(path) - 1] == '/') ||
           (stat(path, &about) == 0 && S_ISDIR(about.st_mode));
}

static bool write_text(Job *job, const char *name, const char *ending, const char *text,
                       size_t size) {
    const char *output = job->options->output;
    bool first = job->written++ == 0;
    if (!output || strcmp(output, "-") == 0)
        return (first || tool_write_output("\n", 1)) && tool_write_output(text, size);
    if (!is_folder(output)) return tool_write_file(output, text, size);
    mkdir(output, 0777); /* when it fails, writing the file says why */
    const char *slash = output[strlen(output) - 1] == '/' ? "" : "/";
    return tool_write_file(arena_printf(job->arena, "%s%s%s.%s", output, slash, name, ending), text,
                           size);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static bool has_parameter(Job *job, const char *kernel, const char *name) {
    tkc_source_parameter parameter;
    for (uint32_t i = 0; source_parameter(job->source, kernel, i, &parameter); i++)
        if (strcmp(parameter.name, name) == 0) return true;
    return false;
}

/* The stage that was asked for. */
static ExitStatus write_stage(Job *job, const tkc_kernel *kernel) {
    const char *kind = kind_of(job->options), *name = tkc_kernel_name(kernel);
    bool is_cubin = strcmp(kind, "cubin") == 0;
    size_t size;
    const char *text = tkc_kernel_text(kernel, is_cubin ? "ptx" : kind, &size);
    if (!text) {
        tool_error("`%s` has no --emit=%s: --stop-after=%s ends before it", name, kind,
                   job->options->stop_after ? job->options->stop_after : "");
        return STATUS_USAGE;
    }
    if (is_cubin) {
        ExitStatus status =
            cubin_from_ptx(job->arena, text, size, tkc_kernel_target(kernel), &text, &size);
        if (status != STATUS_DONE) return status;
    }
    bool is_ir =
        strcmp(kind, "ir") == 0 || strcmp(kind, "laid") == 0 || strcmp(kind, "placed") == 0;
    const char *ending = is_ir                       ? "tkir"
                         : strcmp(kind, "llvm") == 0 ? "ll"
                         : strcmp(kind, "asm") == 0  ? "s"
                         : strcmp(kind, "obj") == 0  ? "o"
                                                     : kind;
    return write_text(job, name, ending, text, size) ? STATUS_DONE : STATUS_REFUSED;
}

static ExitStatus compile_kernel(Job *job, const char *kernel_name) {
    const CompileOptions *options = job->options;
    const char *kind = kind_of(options);
    tkc_compile_options compile = TKC_COMPILE_OPTIONS_INIT;
    NamedList constants = {0};
    for (uint32_t i = 0; i < job->constants.length; i++)
        if (!kernel_name || has_parameter(job, kernel_name, job->constants.data[i].name))
            vec_push(job->arena, &constants, job->constants.data[i]);
    compile.language = job->is_ir ? TKC_LANGUAGE_IR : TKC_LANGUAGE_KERNEL;
    compile.path = job->path;
    compile.text = job->text;
    compile.text_size = job->size;
    compile.kernel = kernel_name;
    compile.signature = options->signature;
    compile.constants = constants.data;
    compile.constant_count = constants.length;
    compile.num_warps = options->num_warps;
    compile.num_stages = options->num_stages;
    compile.include_paths = options->include.items;
    compile.include_path_count = options->include.count;
    compile.target = options->target;
    compile.dump_after = options->dump_after;
    compile.stop_after = options->stop_after;
    compile.skip = job->skip;
    compile.time_passes = options->time_passes;
    compile.verify = true;
    compile.intermediate = strcmp(kind, "ptx") != 0 && strcmp(kind, "cubin") != 0;

    tkc_kernel *kernel;
    char *log;
    tkc_status status = tkc_compile(job->context, &compile, &kernel, &log);
    if (status != TKC_OK) {
        ExitStatus exit_status = STATUS_REFUSED;
        if (log)
            tool_print_diagnostics(log);
        else
            exit_status = tool_report(status);
        tkc_free(log);
        return exit_status;
    }
    tool_print_diagnostics(log);
    tkc_free(log);
    const char *dump = tkc_kernel_text(kernel, "dump", NULL);
    const char *times = tkc_kernel_text(kernel, "times", NULL);
    if (dump) fputs(dump, stderr);
    if (times) fputs(times, stderr);
    ExitStatus written = write_stage(job, kernel);
    tkc_kernel_destroy(kernel);
    return written;
}

/* Does the file say all types of its run-time parameters? Then it is a kernel, no helper. A
 * parameter that is None by default is not there. */
static bool is_typed(Job *job, const char *function) {
    tkc_source_parameter parameter;
    bool some = false;
    for (uint32_t i = 0; source_parameter(job->source, function, i, &parameter); i++) {
        if (parameter.is_constexpr || source_is_named(&job->constants, parameter.name)) continue;
        const char *otherwise = parameter.default_value;
        if (!parameter.type && otherwise && strcmp(otherwise, "None") == 0) continue;
        if (!parameter.type) return false;
        some = true;
    }
    return some;
}

static ExitStatus choose_kernels(Job *job, TextList *kernels) {
    TextList all = source_functions(job->arena, job->source);
    const TextList *wanted = &job->options->kernels;
    if (all.count == 0) {
        tool_error("%s has no jit function: a kernel is a `def` below `@triton.jit`", job->path);
        return STATUS_REFUSED;
    }
    kernels->items = arena_array(job->arena, const char *, all.count + wanted->count);
    for (uint32_t i = 0; i < wanted->count; i++) {
        bool found = false;
        for (uint32_t j = 0; j < all.count; j++) found |= !strcmp(all.items[j], wanted->items[i]);
        if (!found) {
            source_no_function(job->arena, job->source, job->path, wanted->items[i]);
            return STATUS_REFUSED;
        }
        kernels->items[kernels->count++] = wanted->items[i];
    }
    if (kernels->count) return STATUS_DONE;
    if (all.count == 1) {
        *kernels = all;
        return STATUS_DONE;
    }
    for (uint32_t i = 0; i < all.count && !job->options->signature; i++)
        if (is_typed(job, all.items[i])) kernels->items[kernels->count++] = all.items[i];
    if (kernels->count) return STATUS_DONE;
    tool_error("%s has %u jit functions%s; choose with -n, and give types with -s", job->path,
               all.count,
               job->options->signature ? "" : ", none with types for all its parameters");
    for (uint32_t i = 0; i < all.count && i < 20; i++) source_describe(job->source, all.items[i]);
    return STATUS_USAGE;
}

/* A -D that no kernel knows is a slip of the keyboard. */
static bool check_constants(Job *job, const TextList *kernels) {
    for (uint32_t i = 0; i < job->constants.length; i++) {
        const char *name = job->constants.data[i].name, *names[64];
        tkc_source_parameter parameter;
        uint32_t count = 0;
        bool known = false;
        for (uint32_t j = 0; j < kernels->count; j++)
            for (uint32_t k = 0; count < ARRAY_LENGTH(names) &&
                                 source_parameter(job->source, kernels->items[j], k, &parameter);
                 k++) {
                known |= strcmp(parameter.name, name) == 0;
                names[count++] = arena_strdup(job->arena, parameter.name);
            }
        if (known) continue;
        const char *near = nearest_name(name, names, count);
        tool_error("-D %s: no parameter has that name%s%s%s", name, near ? "; did you mean `" : "",
                   near ? near : "", near ? "`?" : "");
        for (uint32_t j = 0; j < kernels->count && !near; j++)
            source_describe(job->source, kernels->items[j]);
        return false;
    }
    return true;
}

static ExitStatus compile_source(Job *job) {
    TextList kernels = {0};
    uint32_t errors;
    char *log;
    tkc_status status =
        tkc_source_open(job->context, job->path, job->text, job->size, &job->source, &errors, &log);
    if (status != TKC_OK) return tool_report(status);
    tool_print_diagnostics(log);
    tkc_free(log);
    if (job->options->emit && strcmp(job->options->emit, "ast") == 0) {
        size_t size;
        const char *ast = tkc_source_ast(job->source, &size), *slash = strrchr(job->path, '/');
        const char *name = slash ? slash + 1 : job->path;
        name = arena_strndup(job->arena, name, strcspn(name, "."));
        if (!ast || !write_text(job, name, "ast", ast, size)) return STATUS_REFUSED;
        return errors ? STATUS_REFUSED : STATUS_DONE;
    }
    if (errors) return STATUS_REFUSED;
    ExitStatus result = choose_kernels(job, &kernels);
    if (result != STATUS_DONE) return result;
    if (!check_constants(job, &kernels)) return STATUS_USAGE;
    const char *output = job->options->output;
    if (kernels.count > 1 && output && strcmp(output, "-") != 0 && !is_folder(output)) {
        tool_error("%s has %u kernels; `-o %s/` writes one file for each", job->path, kernels.count,
                   output);
        return STATUS_USAGE;
    }
    for (uint32_t i = 0; i < kernels.count; i++) {
        ExitStatus one = compile_kernel(job, kernels.items[i]);
        if (one != STATUS_DONE) result = one;
    }
    return result;
}

static ExitStatus compile_ir(Job *job) {
    const CompileOptions *options = job->options;
    if (options->emit && strcmp(options->emit, "ast") == 0) {
        tool_error("%s is IR text: it has no syntax tree", job->path);
        return STATUS_USAGE;
    }
    if (options->kernels.count || options->signature || options->constants.count) {
        tool_error("%s is IR text: -n, -s and -D have no meaning for it", job->path);
        return STATUS_USAGE;
    }
    return compile_kernel(job, NULL);
}

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

static ExitStatus compile_file(Job *job) {
    job->text = tool_read_file(job->arena, job->path, &job->size);
    if (!job->text) return STATUS_REFUSED;
    job->is_ir = ends_with(job->path, ".tkir");
    if (strcmp(job->path, "-") == 0) job->path = "<stdin>";
    job->context = source_context();
    if (!job->context) return STATUS_REFUSED;
    ExitStatus status = job->is_ir ? compile_ir(job) : compile_source(job);
    tkc_source_destroy(job->source);
    tkc_context_destroy(job->context);
    return status;
}

ExitStatus command_compile(int count, char **arguments) {
    Arena arena;
    TextList files;
    CompileOptions options = {0};
    Job job = {.arena = &arena, .options = &options};
    ExitStatus status = STATUS_USAGE;
    arena_init(&arena, 0);
    if (!options_parse(&arena, "tkc", compile_options, &options, count, arguments, &files) ||
        !valid_options(&options) || !passes_to_skip(&arena, &options, &job.skip) ||
        !source_constants(&arena, &options.constants, &job.constants)) {
        /* said already */
    } else if (files.count != 1) {
        tool_error(files.count ? "tkc compiles one file at a time, not %s and %s"
                               : "which file? `tkc help compile` says how",
                   files.count ? files.items[0] : "", files.count ? files.items[1] : "");
    } else {
        job.path = files.items[0];
        status = compile_file(&job);
    }
    arena_free(&arena);
    return status;
}
