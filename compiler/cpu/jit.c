/* jit.c: the function around the body, LLVM's passes, object code, and running it.
 *
 * The light list of passes costs a tenth of -O2 and gives the same loops, since the loops are
 * already as they should be. The object goes to LLJIT, which links it into this process.
 */
#include "compiler/cpu/emit.h"
#include "compiler/gpu/guard.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LIGHT_PASSES                                                                               \
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),"              \
    "early-cse,simplifycfg)"

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static bool say(Text *error, const char *what, char *message) {
    text_printf(error, "%s%s%s", what, message ? ": " : "", message ? message : "");
    LLVMDisposeMessage(message);
    return false;
}

/* ---- the machine -------------------------------------------------------------------- */

typedef struct Machine {
    LLVMTargetMachineRef machine;
    char *triple, *processor, *features;
    bool native;
} Machine;

static bool has_feature(const char *features, const char *name) {
    const size_t length = strlen(name);
    bool on = false; /* the last mention counts */
    for (const char *at = features; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] != 0))
        if ((*at == '+' || *at == '-') && !strncmp(at + 1, name, length) &&
            (at[1 + length] == ',' || !at[1 + length]))
            on = *at == '+';
    return on;
}

static bool machine_open(Machine *m, const CpuOptions *o, Text *error) {
    *m = (Machine){0};
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    m->triple = LLVMGetDefaultTargetTriple();
    const char *wanted = o && o->processor ? o->processor : "native";
    m->native = !strcmp(wanted, "native");
    const char *known = processor_features(wanted);
    char *own = m->native ? LLVMGetHostCPUFeatures() : LLVMCreateMessage(known ? known : "");
    const char *more = o && o->features ? o->features : "";
    const size_t room = strlen(own) + strlen(more) + 64;
    m->features = malloc(room);
    m->processor = m->native ? LLVMGetHostCPUName() : LLVMCreateMessage(wanted);
    if (!m->features) {
        LLVMDisposeMessage(own);
        return say(error, "out of memory", NULL);
    }
    /* 512-bit registers are used where there are any: -mcpu may prefer 256. */
    snprintf(m->features, room, "%s%s%s", own, *own && *more ? "," : "", more);
    if (has_feature(m->features, "avx512f")) strcat(m->features, ",-prefer-256-bit");
    LLVMDisposeMessage(own);
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(m->triple, &target, &message))
        return say(error, "no code generator for this machine", message);
    m->machine =
        LLVMCreateTargetMachine(target, m->triple, m->processor, m->features,
                                LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
    return m->machine ? true : say(error, "no such processor", NULL);
}

static void machine_close(Machine *m) {
    if (m->machine) LLVMDisposeTargetMachine(m->machine);
    LLVMDisposeMessage(m->triple);
    LLVMDisposeMessage(m->processor);
    free(m->features);
}

static void set_widths(Emitter *e, const Machine *m) {
    const char *f = m->features;
    e->avx512 = has_feature(f, "avx512f") && has_feature(f, "avx512dq") &&
                has_feature(f, "avx512bw") && has_feature(f, "avx512vl");
    e->vector_bytes = e->avx512 ? 64 : has_feature(f, "avx2") ? 32 : 16;
    e->lanes = e->vector_bytes / 4;
    e->bf16_pairs = e->avx512 && has_feature(f, "avx512bf16");
    e->i8_quads = has_feature(f, e->avx512 ? "avx512vnni" : "avxvnni") && e->vector_bytes > 16;
    e->i16_pairs = !strncmp(m->triple, "x86_64", 6);
    e->fma = e->avx512 || has_feature(f, "fma") || has_feature(f, "neon");
}

/* ---- from module to LLVM ------------------------------------------------------------ */

static void add_attribute(Emitter *e, Reg function, uint32_t index, const char *name) {
    const unsigned id = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(function, index, LLVMCreateEnumAttribute(e->context, id, 0));
}

static const char *symbol_of(Emitter *e) {
    return arena_printf(e->arena, "tkc_%s", e->module->kernel->name);
}

static void open_function(Emitter *e) {
    RegType types[4] = {e->pointer, e->pointer, e->pointer, e->pointer};
    RegType type = LLVMFunctionType(e->i32, types, 4, 0);
    e->function = LLVMAddFunction(e->llvm, symbol_of(e), type);
    e->launch = LLVMGetParam(e->function, 0);
    e->scratch = LLVMGetParam(e->function, 1);
    e->program = LLVMGetParam(e->function, 2);
    e->fault = LLVMGetParam(e->function, 3);
    for (uint32_t i = 1; i <= 4; i++) add_attribute(e, e->function, i, "noalias");
    add_attribute(e, e->function, LLVMAttributeFunctionIndex, "nounwind");
    LLVMPositionBuilderAtEnd(e->b, new_block(e, "entry"));
}

static void emitter_open(Emitter *e, const Machine *m) {
    e->context = LLVMContextCreate();
    llvm_guard_context(e->context);
    e->llvm = LLVMModuleCreateWithNameInContext(e->module->kernel->name, e->context);
    e->b = LLVMCreateBuilderInContext(e->context);
    LLVMSetTarget(e->llvm, m->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(m->machine);
    LLVMSetModuleDataLayout(e->llvm, layout);
    LLVMDisposeTargetData(layout);
    e->i1 = LLVMInt1TypeInContext(e->context);
    e->i8 = LLVMInt8TypeInContext(e->context);
    e->i16 = LLVMInt16TypeInContext(e->context);
    e->i32 = LLVMInt32TypeInContext(e->context);
    e->i64 = LLVMInt64TypeInContext(e->context);
    e->half = LLVMHalfTypeInContext(e->context);
    e->f32 = LLVMFloatTypeInContext(e->context);
    e->f64 = LLVMDoubleTypeInContext(e->context);
    e->pointer = LLVMPointerTypeInContext(e->context, 0);
    set_widths(e, m);
}

static void emitter_close(Emitter *e) {
    if (e->b) LLVMDisposeBuilder(e->b);
    if (e->llvm) LLVMDisposeModule(e->llvm);
    if (e->context) LLVMContextDispose(e->context);
}

static uint64_t features_of(const Machine *m) {
    uint64_t features = 0, bit = 1;
#define FEATURE(name)                                                                              \
    if (has_feature(m->features, #name)) features |= bit;                                          \
    bit *= 2;
    CPU_FEATURES(FEATURE)
#undef FEATURE
    return features;
}

static bool build(Emitter *e, const Machine *m, Text *error) {
    plan_module(e);
    emitter_open(e, m);
    open_function(e);
    code_body(e);
    e->scratch_size += 4096; /* vectors may be read past the end of a slot */
    if (e->options && e->options->header) add_native(e, features_of(m), e->options->header);
    char *message = NULL;
    if (LLVMVerifyModule(e->llvm, LLVMReturnStatusAction, &message)) {
        return say(error, "the code that was made is not well-formed (a defect of tkc)", message);
    }
    LLVMDisposeMessage(message);
    return true;
}

static bool optimise(Emitter *e, const Machine *m, Text *error) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef bad = LLVMRunPasses(e->llvm, LIGHT_PASSES, m->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!bad) return true;
    char *message = LLVMGetErrorMessage(bad);
    text_printf(error, "LLVM: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

/* ---- running it in this process ----------------------------------------------------- */

static bool take_error(LLVMErrorRef bad, Text *error) {
    if (!bad) return true;
    char *message = LLVMGetErrorMessage(bad);
    text_printf(error, "LLVM: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

/* Linking says what is wrong in the error that it returns, too. */
static void say_nothing(void *unused, LLVMErrorRef bad) {
    (void)unused;
    LLVMConsumeError(bad);
}

static bool link_object(CpuCode *code, LLVMMemoryBufferRef object, const char *name, Text *error) {
    LLVMOrcLLJITRef jit = NULL;
    if (!take_error(LLVMOrcCreateLLJIT(&jit, NULL), error)) {
        LLVMDisposeMemoryBuffer(object);
        return false;
    }
    code->jit = jit;
    LLVMOrcExecutionSessionSetErrorReporter(LLVMOrcLLJITGetExecutionSession(jit), say_nothing,
                                            NULL);
    LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(jit);
    LLVMOrcDefinitionGeneratorRef process;
    if (!take_error(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                        &process, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL),
                    error)) {
        LLVMDisposeMemoryBuffer(object);
        return false;
    }
    LLVMOrcJITDylibAddGenerator(dylib, process);
    if (!take_error(LLVMOrcLLJITAddObjectFile(jit, dylib, object), error)) return false;
    LLVMOrcExecutorAddress address = 0;
    if (!take_error(LLVMOrcLLJITLookup(jit, &address, name), error)) return false;
    code->entry = (CpuEntry *)(uintptr_t)address;
    return true;
}

typedef struct Compilation {
    Arena arena;
    jmp_buf exhausted, fatal;
    Emitter e;
    Machine machine;
} Compilation;

static void close_compilation(Compilation *c) {
    llvm_guard(NULL);
    emitter_close(&c->e);
    machine_close(&c->machine);
}

/* After a fatal error nobody knows what state LLVM's objects are in: they are left alone. */
static bool give_up(Compilation *c, Text *error) {
    c->e.b = NULL;
    c->e.llvm = NULL;
    c->e.context = NULL;
    c->machine.machine = NULL;
    text_printf(error, "LLVM failed on the code made for this kernel: %s", llvm_fatal_message());
    return false;
}

static Compilation *open_compilation(const CpuOptions *options) {
    Compilation *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    llvm_guard_start();
    arena_init(&c->arena, 0);
    c->arena.on_exhausted = &c->exhausted;
    c->e.arena = &c->arena;
    c->e.options = options;
    c->e.bounds = options && options->bounds;
    return c;
}

void cpu_free(CpuCode *code) {
    if (code->jit) LLVMOrcDisposeLLJIT(code->jit);
    Compilation *c = (Compilation *)code->arena;
    if (c) {
        arena_free(&c->arena);
        free(c);
    }
    *code = (CpuCode){0};
}

static bool compile_guarded(Compilation *c, Module *module, CpuCode *code, Text *error) {
    Emitter *e = &c->e;
    if (setjmp(c->exhausted)) return say(error, "out of memory", NULL);
    if (setjmp(c->fatal)) {
        code->jit = NULL;
        return give_up(c, error);
    }
    llvm_guard(&c->fatal);
    const double start = now_ms();
    e->module = cpu_clone(&c->arena, module);
    code->module = e->module;
    if (!machine_open(&c->machine, e->options, error) || !build(e, &c->machine, error))
        return false;
    const double built = now_ms();
    if (!optimise(e, &c->machine, error)) return false;
    const double optimised = now_ms();
    LLVMMemoryBufferRef object = NULL;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(c->machine.machine, e->llvm, LLVMObjectFile, &message,
                                            &object))
        return say(error, "LLVM", message);
    const double emitted = now_ms();
    code->scratch_size = e->scratch_size;
    code->sites = sites_of(e);
    code->site_count = e->sites.length;
    code->stored = e->streams ? e->stored : 0;
    const bool linked = link_object(code, object, symbol_of(e), error);
    code->plan_ms = built - start;
    code->optimise_ms = optimised - built;
    code->code_ms = emitted - optimised;
    code->link_ms = now_ms() - emitted;
    return linked;
}

bool cpu_compile(Module *module, const CpuOptions *options, CpuCode *code, Text *error) {
    *code = (CpuCode){0};
    Compilation *c = open_compilation(options);
    if (!c) return say(error, "out of memory", NULL);
    code->arena = &c->arena;
    const bool good = compile_guarded(c, module, code, error);
    c->arena.on_exhausted = NULL;
    close_compilation(c);
    if (!good) cpu_free(code);
    return good;
}

/* ---- as a file ---------------------------------------------------------------------- */

static bool code_guarded(Compilation *c, Module *module, CpuForm form, Text *out, Text *error) {
    Emitter *e = &c->e;
    if (setjmp(c->exhausted)) return say(error, "out of memory", NULL);
    if (setjmp(c->fatal)) return give_up(c, error);
    llvm_guard(&c->fatal);
    e->module = cpu_clone(&c->arena, module);
    if (!machine_open(&c->machine, e->options, error) || !build(e, &c->machine, error) ||
        !optimise(e, &c->machine, error))
        return false;
    if (form == CPU_LLVM) {
        char *text = LLVMPrintModuleToString(e->llvm);
        text_puts(out, text);
        LLVMDisposeMessage(text);
        return true;
    }
    LLVMMemoryBufferRef buffer = NULL;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(c->machine.machine, e->llvm,
                                            form == CPU_ASM ? LLVMAssemblyFile : LLVMObjectFile,
                                            &message, &buffer))
        return say(error, "LLVM", message);
    text_add(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return true;
}

bool cpu_emit(Module *module, const CpuOptions *options, CpuForm form, Text *out, Text *error) {
    Compilation *c = open_compilation(options);
    if (!c) return say(error, "out of memory", NULL);
    const bool good = code_guarded(c, module, form, out, error);
    close_compilation(c);
    arena_free(&c->arena);
    free(c);
    return good;
}

const char *cpu_host_name(Arena *arena, uint32_t *vector_bits) {
    char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    const char *copy = arena_strdup(arena, name);
    *vector_bits = has_feature(features, "avx512f") ? 512
                   : has_feature(features, "avx2")  ? 256
                                                    : 128;
    LLVMDisposeMessage(name);
    LLVMDisposeMessage(features);
    return copy;
}
