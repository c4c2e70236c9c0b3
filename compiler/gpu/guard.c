/* guard.c: LLVM's handlers of errors. */
#include "compiler/gpu/guard.h"

#include <llvm-c/ErrorHandling.h>
#include <pthread.h>
#include <stdio.h>

/* Per process and per thread, since LLVM's own state is so. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
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
    LLVMInstallFatalErrorHandler(on_fatal);
}

void llvm_guard_start(void) {
    pthread_once(&once, start);
}

void llvm_guard_context(LLVMContextRef context) {
    LLVMContextSetDiagnosticHandler(context, on_diagnostic, NULL);
}

void llvm_guard(jmp_buf *place) {
    guard = place;
    fatal_message[0] = 0;
}

const char *llvm_fatal_message(void) {
    return fatal_message;
}
