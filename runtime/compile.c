/* compile.c: text in, kernel out. The one place where front end and compiler meet.
 *
 *     file or text -> parse_file -> lower_kernel -> Module -> passes -> kernel
 *                                                                 \-> PTX for GPU targets
 *
 * What was compiled for a GPU before comes out of the cache instead (recall.h).
 *
 * A kernel and all that its compilation made live in one Compilation: parameters, texts and the
 * module point into its arena, so that destroying the kernel is freeing the arena. A GPU kernel
 * needs nothing but its code, which a server keeps hundreds of: unless more was asked for, the
 * compilation is freed and the kernel is as one that was saved and loaded. Running out of the arena
 * ends up in tkc_compile, whatever was going on.
 */
#include "compiler/cpu/cpu.h"
#include "runtime/device.h"
#include "runtime/frontend.h"
#include "runtime/gpu_code.h"
#include "runtime/recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct Compilation {
    tkc_kernel kernel; /* first: a kernel is destroyed by its address */
    FrontEnd front;
    tkc_compile_options options;
    const File *file; /* NULL: IR text */
    Module *module;
    Text dump, times, statics, ir;
    const char *gpu; /* name of the target; NULL: no GPU */
    GpuTexts gpu_texts;
    Text native[3]; /* target cpu, when asked for: LLVM IR, assembly, object (CpuForm) */
    Recall recall;
    CacheEntry entry;
    bool recalled;      /* the kernel is made of the entry */
    bool left;          /* the kernel is no part of this */
    char *log, *header; /* messages; what the code begins with. malloc */
    double lower_ms, passes_ms, code_ms;
} Compilation;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void destroy_compilation(tkc_kernel *kernel) {
    Compilation *c = (Compilation *)kernel;
    frontend_free(&c->front);
    free(c->entry.data);
    free(c->header);
    free(c->log);
    free(c);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Pass `index` of those with different names; NULL past the end. */
static const Pass *pass_at(uint32_t index) {
    const Pass *const lists[] = {pipeline_block, pipeline_gpu};
    const Pass *seen[64];
    uint32_t count = 0;
    for (size_t i = 0; i < RT_LENGTH(lists); i++)
        for (const Pass *pass = lists[i]; pass->name && count < RT_LENGTH(seen); pass++) {
            uint32_t first = 0;
            while (first < count && strcmp(seen[first]->name, pass->name) != 0) first++;
            if (first < count) continue;
            if (count == index) return pass;
            seen[count++] = pass;
        }
    return NULL;
}

const char *tkc_pass_name(uint32_t index) {
    const Pass *pass = pass_at(index);
    return pass ? pass->name : NULL;
}

const char *tkc_pass_about(uint32_t index) {
    const Pass *pass = pass_at(index);
    return pass ? pass->about : NULL;
}

static tkc_status check_pass(const char *option, const char *name, size_t length) {
    char known[256] = "";
    size_t used = 0;
    const char *pass;
    for (uint32_t i = 0; (pass = tkc_pass_name(i)); i++) {
        if (strlen(pass) == length && memcmp(pass, name, length) == 0) return TKC_OK;
        if (used < sizeof known)
            used +=
                (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", pass);
    }
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "tkc_compile_options.%s: there is no pass `%.*s`. "
                    "Passes: %s.",
                    option, (int)length, name, known);
}

static tkc_status check_passes(const tkc_compile_options *o) {
    tkc_status status = TKC_OK;
    if (o->dump_after && strcmp(o->dump_after, "all") != 0)
        status = check_pass("dump_after", o->dump_after, strlen(o->dump_after));
    if (!status && o->stop_after)
        status = check_pass("stop_after", o->stop_after, strlen(o->stop_after));
    for (const char *at = o->skip; !status && at && *at;) {
        size_t length = strcspn(at, ",");
        status = check_pass("skip", at, length);
        at += length + (at[length] == ',');
    }
    return status;
}

/* ---- text to module -------------------------------------------------------------------------- */

static bool is_ir(const tkc_compile_options *o) {
    size_t length = o->path ? strlen(o->path) : 0;
    if (o->language != TKC_LANGUAGE_AUTO) return o->language == TKC_LANGUAGE_IR;
    return length > 5 && strcmp(o->path + length - 5, ".tkir") == 0;
}

/* Public and internal lists of names are alike. */
static const NamedText *named_texts(Arena *arena, const tkc_named *from, uint32_t count) {
    NamedText *to = arena_array(arena, NamedText, count);
    for (uint32_t i = 0; i < count; i++)
        to[i] = (NamedText){arena_strdup(arena, from[i].name), arena_strdup(arena, from[i].text)};
    return to;
}

static const char *copy(Arena *arena, const char *string) {
    return string ? arena_strdup(arena, string) : NULL;
}

static Module *lower(Compilation *c) {
    FrontEnd *f = &c->front;
    const tkc_compile_options *o = &c->options;
    c->file = parse_file(&f->arena, &f->names, &f->sources, &f->diagnostics, f->source);
    if (f->diagnostics.errors) return NULL;
    c->statics.arena = &f->arena;
    LowerRequest request = {
        .arena = &f->arena,
        .sources = &f->sources,
        .diagnostics = &f->diagnostics,
        .names = &f->names,
        .file = c->file,
        .kernel = copy(&f->arena, o->kernel),
        .signature = copy(&f->arena, o->signature),
        .types = named_texts(&f->arena, o->types, o->type_count),
        .type_count = o->type_count,
        .constants = named_texts(&f->arena, o->constants, o->constant_count),
        .constant_count = o->constant_count,
        .num_warps = o->num_warps,
        .num_stages = o->num_stages,
        .num_ctas = o->num_ctas,
        .target = c->kernel.target,
        .open_import = recall_open,
        .import_context = &c->recall,
        .static_output = &c->statics,
    };
    return lower_kernel(&request);
}

/* The passes at block level, and for a GPU the rest of the way. */
static tkc_status run_passes(Compilation *c) {
    c->dump.arena = c->times.arena = c->ir.arena = &c->front.arena;
    PassRun run = {.options = &c->options,
                   .dump = &c->dump,
                   .times = c->options.time_passes ? &c->times : NULL};
    double start = now_ms();
    if (!passes_run(&run, c->module, pipeline_block)) return TKC_INTERNAL;
    if (!c->gpu || c->options.intermediate) ir_print(c->module, &c->ir);
    tkc_status status = TKC_OK;
    if (c->gpu) status = gpu_code(&run, c->module, c->gpu, &c->gpu_texts);
    c->code_ms = run.emit_ms;
    c->passes_ms = now_ms() - start - run.emit_ms;
    return status;
}

static tkc_status make_module(Compilation *c) {
    FrontEnd *f = &c->front;
    double start = now_ms();
    if (is_ir(&c->options))
        c->module = ir_read(&f->arena, &f->sources, &f->diagnostics, f->source);
    else
        c->module = lower(c);
    c->lower_ms = now_ms() - start;
    if (c->statics.length) rt_static_print(c->kernel.context, c->statics.data);
    tkc_status status = TKC_OK;
    if (c->module && !f->diagnostics.errors) status = run_passes(c);
    tkc_status reported =
        frontend_report(f, &f->diagnostics, status ? c->dump.data : NULL, &c->log);
    if (reported) return status ? status : reported;
    if (!c->module || status == TKC_COMPILE_ERROR || status == TKC_INTERNAL)
        return tkc_fail(TKC_INTERNAL,
                        "Compiling `%s` failed without a message, which is a defect "
                        "of tkc.",
                        f->path);
    return status;
}

/* ---- module to kernel ------------------------------------------------------------------------ */

static tkc_status take_parameters(Compilation *c) {
    const Kernel *from = c->module->kernel;
    Arena *arena = &c->front.arena;
    tkc_kernel *to = &c->kernel;
    to->parameter_count = from->parameter_count;
    to->parameters = arena_array(arena, tkc_parameter, from->parameter_count);
    for (uint32_t i = 0; i < from->parameter_count; i++) {
        const Parameter *p = &from->parameters[i];
        if (type_is_block(p->type))
            return tkc_fail(TKC_UNSUPPORTED,
                            "Parameter `%s` of kernel `%s` is a block; only "
                            "numbers and pointers can be launch arguments.",
                            p->name, from->name);
        bool pointer = p->type->kind == TYPE_POINTER;
        to->parameters[i] = (tkc_parameter){
            .struct_size = sizeof(tkc_parameter),
            .is_pointer = pointer,
            .dtype = (tkc_dtype)(pointer ? p->type->element->dtype : p->type->dtype),
            .name = p->name,
            .type = type_string(p->type, arena),
            .divisibility = p->divisibility > 0 ? p->divisibility : 1,
        };
    }
    return TKC_OK;
}

/* Item `index` of a signature, without blanks; NULL when there is none. Brackets and quotes keep
 * their commas. */
static const char *signature_item(Arena *arena, const char *signature, uint32_t index) {
    const char *at = signature ? signature : "", *start = at;
    int depth = 0;
    for (char quote = 0;; at++) {
        if (*at && quote) {
            quote = *at == quote ? 0 : quote;
            continue;
        }
        if (*at == '"' || *at == '\'') quote = *at;
        if (*at && strchr("([{", *at)) depth++;
        if (*at && strchr(")]}", *at)) depth--;
        if (*at && (*at != ',' || depth > 0)) continue;
        if (index-- == 0) break;
        if (!*at) return NULL;
        start = at + 1;
    }
    while (*start == ' ') start++;
    while (at > start && at[-1] == ' ') at--;
    return at > start ? arena_strndup(arena, start, (size_t)(at - start)) : NULL;
}

static const char *text_of(const tkc_named *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) return list[i].text;
    return NULL;
}

static bool is_launched(const Kernel *kernel, const char *name) {
    for (uint32_t i = 0; i < kernel->parameter_count; i++)
        if (strcmp(kernel->parameters[i].name, name) == 0) return true;
    return false;
}

/* The source's parameters that are no launch arguments, with the text that fixed them. */
static void take_constants(Compilation *c) {
    FrontEnd *f = &c->front;
    const tkc_compile_options *o = &c->options;
    const Kernel *kernel = c->module->kernel;
    uint32_t count = 0, used = 0;
    const KernelParameter *all = NULL;
    if (c->file) all = lang_parameters(&f->arena, c->file, &f->sources, kernel->name, &count);
    tkc_named *list = arena_array(&f->arena, tkc_named, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = all[i].name;
        if (!name || is_launched(kernel, name)) continue;
        const char *text = text_of(o->constants, o->constant_count, name);
        if (!text) text = text_of(o->types, o->type_count, name);
        if (!text) text = signature_item(&f->arena, o->signature, i);
        if (!text) text = all[i].default_text ? all[i].default_text : all[i].type;
        size_t length = text ? strlen(text) : 0; /* "i32:1" is the value 1 */
        bool is_one = length > 2 && strcmp(text + length - 2, ":1") == 0;
        list[used++] = (tkc_named){arena_strdup(&f->arena, name),
                                   is_one ? "1" : arena_strdup(&f->arena, text ? text : "")};
    }
    c->kernel.constants = list;
}

static void take_texts(Compilation *c) {
    FrontEnd *f = &c->front;
    const GpuTexts *gpu = &c->gpu_texts;
    const KernelText texts[] = {{"ir", c->ir.data, c->ir.length},
                                {"source", f->text, f->size},
                                {"dump", c->dump.data, c->dump.length},
                                {"times", c->times.data, c->times.length},
                                {"static", c->statics.data, c->statics.length},
                                {"laid", gpu->laid.data, gpu->laid.length},
                                {"placed", gpu->placed.data, gpu->placed.length},
                                {"llvm", gpu->llvm.data, gpu->llvm.length},
                                {"llvm", c->native[0].data, c->native[0].length},
                                {"asm", c->native[1].data, c->native[1].length},
                                {"obj", c->native[2].data, c->native[2].length},
                                {"ptx", c->kernel.code, c->kernel.code_size}};
    uint32_t used = 0;
    _Static_assert(RT_LENGTH(texts) < RT_LENGTH(c->kernel.texts), "the list ends with a NULL name");
    for (size_t i = 0; i < RT_LENGTH(texts); i++)
        if (texts[i].text) c->kernel.texts[used++] = texts[i];
}

/* The PTX with the header that makes it a saved kernel. */
static tkc_status take_code(Compilation *c) {
    const Text *ptx = &c->gpu_texts.ptx;
    Text code = {.arena = &c->front.arena};
    if (!ptx->length) return TKC_OK;
    c->header = rt_saved_header(&c->kernel);
    if (!c->header) return rt_fail_memory();
    text_puts(&code, c->header);
    text_add(&code, ptx->data, ptx->length);
    c->kernel.code = code.data;
    c->kernel.code_size = code.length;
    return TKC_OK;
}

/* Native code as text and as an object file, for those who ask for it; running needs none of it. */
static tkc_status cpu_texts(Compilation *c) {
#ifdef TKC_LLVM
    Arena *arena = &c->front.arena;
    Text error = {.arena = arena};
    CpuOptions options;
    const char *target = c->kernel.target;
    if (strcmp(target, "cpu") != 0 && strncmp(target, "cpu:", 4) != 0) return TKC_OK;
    if (!cpu_target(arena, target, &options, &error))
        return tkc_fail(TKC_INVALID_ARGUMENT, "The target `%s`: %s.", target, error.data);
    c->kernel.target = "cpu"; /* for which processor, the code itself knows */
    if (!c->options.intermediate || c->options.stop_after) return TKC_OK;
    c->header = rt_saved_header(&c->kernel);
    if (!c->header) return rt_fail_memory();
    options.header = c->header;
    for (int form = CPU_LLVM; form <= CPU_OBJECT; form++) {
        c->native[form].arena = arena;
        if (!cpu_emit(c->module, &options, (CpuForm)form, &c->native[form], &error))
            return tkc_fail(TKC_INTERNAL, "Kernel `%s` cannot be made native code: %s",
                            c->kernel.name, error.data ? error.data : "");
    }
#else
    (void)c;
#endif
    return TKC_OK;
}

static tkc_status make_kernel(Compilation *c) {
    const Kernel *from = c->module->kernel;
    tkc_kernel *to = &c->kernel;
    tkc_status status = take_parameters(c);
    if (status) return status;
    take_constants(c);
    to->name = from->name;
    to->module = c->module;
    to->info = (tkc_kernel_info){.struct_size = sizeof(tkc_kernel_info),
                                 .num_warps = from->num_warps,
                                 .num_stages = from->num_stages,
                                 .num_ctas = from->num_ctas,
                                 .shared_bytes = from->shared_bytes};
    status = c->gpu ? take_code(c) : cpu_texts(c);
    if (status) return status;
    take_texts(c);
    if (to->code)
        recall_keep(&c->recall, to->context, c->log, &c->statics, to->code, to->code_size);
    return TKC_OK;
}

/* ---- the entry point ------------------------------------------------------------------------- */

static tkc_status check_list(const char *what, const tkc_named *list, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!list || !list[i].name || !list[i].text)
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "tkc_compile_options.%s: entry %u of %u has no %s.", what, i, count,
                            !list || !list[i].name ? "name" : "text");
    return TKC_OK;
}

static tkc_status check_options(const tkc_compile_options *o) {
    tkc_status status = check_list("types", o->types, o->type_count);
    if (!status) status = check_list("constants", o->constants, o->constant_count);
    if (!status) status = check_passes(o);
    if (!status) status = target_check(o->target);
    for (uint32_t i = 0; !status && i < o->include_path_count; i++)
        if (!o->include_paths || !o->include_paths[i])
            status = tkc_fail(TKC_INVALID_ARGUMENT,
                              "tkc_compile_options.include_paths: entry %u of %u is NULL.", i,
                              o->include_path_count);
    return status;
}

/* The kernel, and what was said when it was compiled. */
static tkc_status take_recalled(Compilation *c, tkc_kernel **kernel) {
    const CacheEntry *entry = &c->entry;
    char *code = strdup(entry->section[CACHE_CODE]);
    if (entry->size[CACHE_LOG]) c->log = strdup(entry->section[CACHE_LOG]);
    if (!code || (entry->size[CACHE_LOG] && !c->log)) {
        free(code);
        return rt_fail_memory();
    }
    tkc_status status =
        rt_saved_kernel(c->kernel.context, c->front.path, code, entry->size[CACHE_CODE], kernel);
    if (status) return status;
    rt_static_print(c->kernel.context, entry->section[CACHE_STATICS]);
    (*kernel)->info.from_cache = c->recalled = c->left = true;
    return TKC_OK;
}

/* The kernel made of its code alone, where that is enough. */
static void leave(Compilation *c, tkc_kernel **kernel) {
    const tkc_compile_options *o = &c->options;
    *kernel = &c->kernel;
    if (!c->kernel.code || o->intermediate || o->time_passes || o->dump_after) return;
    char *code = strdup(c->kernel.code);
    tkc_kernel *made;
    if (!code ||
        rt_saved_kernel(c->kernel.context, c->front.path, code, c->kernel.code_size, &made))
        return;
    *kernel = made;
    c->left = true;
}

/* Here the arena's guard is set: running out of memory anywhere below returns to this frame. */
static tkc_status compile_guarded(Compilation *c, tkc_kernel **kernel) {
    FrontEnd *f = &c->front;
    if (setjmp(f->exhausted)) {
        f->arena.on_exhausted = NULL;
        return frontend_exhausted(f);
    }
    const tkc_compile_options *o = &c->options;
    f->diagnostics.error_limit = o->error_limit;
    f->imports.folders = o->include_paths;
    f->imports.folder_count = o->include_path_count;
    c->gpu = o->target ? gpu_target_name(o->target) : NULL;
    c->kernel.target = arena_strdup(&f->arena, c->gpu ? c->gpu : o->target ? o->target : "interp");
    c->recall = (Recall){.imports = &f->imports};
    tkc_status status = frontend_read(f, o->path, o->text, o->text_size);
    if (!status && c->gpu) recall_begin(&c->recall, c->kernel.context, f, o, c->gpu);
    if (!status && recall_find(&c->recall, c->kernel.context, &c->entry) &&
        take_recalled(c, kernel) == TKC_OK) {
        f->arena.on_exhausted = NULL;
        return TKC_OK;
    }
    if (!status) status = make_module(c);
    if (!status) status = make_kernel(c);
    f->arena.on_exhausted = NULL;
    if (!status) leave(c, kernel);
    return status;
}

static void tell_compiled(const Compilation *c, tkc_status status, double milliseconds) {
    const tkc_compile_options *o = &c->options;
    rt_compiled(c->kernel.context, &(tkc_compile_event){
                                       .struct_size = sizeof(tkc_compile_event),
                                       .status = status,
                                       .kernel = !status     ? c->kernel.name
                                                 : o->kernel ? o->kernel
                                                             : "",
                                       .path = o->path ? o->path : "",
                                       .target = c->kernel.target ? c->kernel.target : "interp",
                                       .milliseconds = milliseconds,
                                       .lower_ms = c->lower_ms,
                                       .passes_ms = c->passes_ms,
                                       .code_ms = c->code_ms,
                                   });
}

tkc_status tkc_compile(tkc_context *context, const tkc_compile_options *options,
                       tkc_kernel **kernel, char **log) {
    if (kernel) *kernel = NULL;
    if (log) *log = NULL;
    if (!context || !options || !kernel)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_compile: `%s` is NULL.",
                        !context  ? "context"
                        : options ? "kernel"
                                  : "options");
    tkc_compile_options taken = TKC_COMPILE_OPTIONS_INIT;
    tkc_status status = rt_take_options(&taken, sizeof taken, options, "tkc_compile_options");
    if (!status) status = check_options(&taken);
    if (status) return status;

    double start = now_ms();
    Compilation *c = calloc(1, sizeof *c);
    if (!c) return rt_fail_memory();
    frontend_init(&c->front, taken.memory_limit);
    c->options = taken;
    c->kernel.context = context;
    c->kernel.destroy = destroy_compilation;
    tkc_kernel *made = NULL;
    status = compile_guarded(c, &made);
    double elapsed = now_ms() - start;
    if (!c->recalled) tell_compiled(c, status, elapsed);
    if (log) {
        *log = c->log;
        c->log = NULL;
    }
    if (made && !c->recalled) made->info.compile_ms = elapsed;
    if (status || c->left) {
        destroy_compilation(&c->kernel);
        *kernel = made;
        return status;
    }
    memset(&c->options, 0, sizeof c->options); /* the caller's strings are no longer ours to use */
    pthread_mutex_init(&made->lock, NULL);
    rt_context_keep(context);
    *kernel = made;
    return TKC_OK;
}
