/* llvm.c: LLVM as a whole: starting it once, surviving its fatal errors, module in, PTX out.
 *
 * LLVM has two ways to give up on a module it cannot handle: a diagnostic handler and a
 * process-wide handler of fatal errors, after which it calls abort. Both jump back to the place
 * that llvm_guard named for this thread. What the module held is then lost to the process; nothing
 * else is: the next compilation starts from a new context.
 */
#include "compiler/gpu/emit/emit.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>

static const char triple[] = "nvptx64-nvidia-cuda";

/* Enough to clean up what the emitter writes; the default pipelines take three times as long and
 * end in the same machine code, since ptxas does the rest. */
static const char passes[] = "function(early-cse,simplifycfg,loop-mssa(licm),early-cse<memssa>,"
                             "instcombine<no-verify-fixpoint>,adce,simplifycfg)";

/* The two things that have to be per process and per thread: LLVM's own state is so. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static LLVMTargetRef nvptx;
static _Thread_local jmp_buf *guard;
static _Thread_local char fatal_message[512];

static void on_fatal(const char *reason) {
    snprintf(fatal_message, sizeof fatal_message, "%s", reason);
    if (guard) longjmp(*guard, 1);
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *unused) {
    (void)unused;
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError) return;
    char *text = LLVMGetDiagInfoDescription(info);
    snprintf(fatal_message, sizeof fatal_message, "%s", text);
    LLVMDisposeMessage(text);
    if (guard) longjmp(*guard, 1);
}

static void start(void) {
    /* The emitter vectorises itself, and shared memory needs no 64-bit addresses. Address
     * arithmetic is left to ptxas: LLVM's passes for it take up to a second for a thousand
     * addresses, and change nothing in the end. */
    static const char *const options[] = {"tkc", "-nvptx-short-ptr",
                                          "-opt-disable=slsr,nary-reassociate",
                                          "-disable-nvptx-load-store-vectorizer"};
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    LLVMParseCommandLineOptions(ARRAY_LENGTH(options), options, NULL);
    LLVMInstallFatalErrorHandler(on_fatal);
    char *message = NULL;
    if (LLVMGetTargetFromTriple(triple, &nvptx, &message)) nvptx = NULL;
    LLVMDisposeMessage(message);
}

bool llvm_start(void) {
    pthread_once(&once, start);
    return nvptx != NULL;
}

void llvm_guard(jmp_buf *place) {
    guard = place;
    fatal_message[0] = 0;
}

const char *llvm_fatal_message(void) {
    return fatal_message;
}

LLVMTargetMachineRef llvm_machine(const GpuTarget *target) {
    return LLVMCreateTargetMachine(nvptx, triple, target->processor, target->features,
                                   LLVMCodeGenLevelDefault, LLVMRelocDefault, LLVMCodeModelDefault);
}

static bool run_passes(Emitter *e, const char **message) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(e->code, passes, e->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *text = LLVMGetErrorMessage(error);
    *message = arena_strdup(e->arena, text);
    LLVMDisposeErrorMessage(text);
    return false;
}

bool llvm_write(Emitter *e, Text *ptx, const char **message) {
    char *text = NULL;
    LLVMMemoryBufferRef buffer = NULL;
    LLVMContextSetDiagnosticHandler(e->context, on_diagnostic, NULL);
    bool good = !LLVMVerifyModule(e->code, LLVMReturnStatusAction, &text);
    if (!good) *message = arena_strdup(e->arena, text);
    LLVMDisposeMessage(text);
    if (!good || !run_passes(e, message)) return false;
    emit_sink(e);
    if (LLVMTargetMachineEmitToMemoryBuffer(e->machine, e->code, LLVMAssemblyFile, &text,
                                            &buffer)) {
        *message = arena_strdup(e->arena, text);
        LLVMDisposeMessage(text);
        return false;
    }
    text_add(ptx, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return true;
}
