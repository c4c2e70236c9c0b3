/* llvm.c: LLVM as a whole: starting it once, module in, PTX out. */
#include "compiler/gpu/emit/emit.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>

static const char triple[] = "nvptx64-nvidia-cuda";

/* Enough to clean up what the emitter writes; the default pipelines take three times as long and
 * end in the same machine code, since ptxas does the rest. */
static const char passes[] = "function(early-cse,simplifycfg,early-cse<memssa>,"
                             "instcombine<no-verify-fixpoint>,adce,simplifycfg)";

/* Per process: LLVM's own state is so. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static LLVMTargetRef nvptx;

static void start(void) {
    /* The emitter vectorises itself, and shared memory needs no 64-bit addresses. Address
     * arithmetic is left to ptxas: LLVM's passes for it take up to a second for a thousand
     * addresses, and change nothing in the end. LLVM keeps options for the whole process: who uses
     * the same library beside us sees these three, which are about NVPTX. */
    static const char *const options[] = {"tkc", "-nvptx-short-ptr",
                                          "-opt-disable=slsr,nary-reassociate",
                                          "-disable-nvptx-load-store-vectorizer"};
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    LLVMParseCommandLineOptions(ARRAY_LENGTH(options), options, NULL);
    llvm_guard_start();
    char *message = NULL;
    if (LLVMGetTargetFromTriple(triple, &nvptx, &message)) nvptx = NULL;
    LLVMDisposeMessage(message);
}

bool llvm_start(void) {
    pthread_once(&once, start);
    return nvptx != NULL;
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
    llvm_guard_context(e->context);
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
