/* guard.h: surviving LLVM's fatal errors, in either back end.
 *
 * LLVM has two ways to give up on a module it cannot handle: a context's diagnostic handler, and a
 * process-wide handler of fatal errors, after which it calls abort. Both jump back to the place
 * that llvm_guard named for this thread. What the module held is then lost to the process, and its
 * context must be left alone; nothing else is lost: the next compilation starts from a new context.
 */
#ifndef TKC_COMPILER_GPU_GUARD_H
#define TKC_COMPILER_GPU_GUARD_H

#include <llvm-c/Core.h>
#include <setjmp.h>

/* Installs the process-wide handler, once. Thread-safe. */
void llvm_guard_start(void);
/* The context's errors come here as well. */
void llvm_guard_context(LLVMContextRef context);
/* Until it is called with NULL, an error that LLVM takes for fatal jumps to `place`. */
void llvm_guard(jmp_buf *place);
const char *llvm_fatal_message(void); /* of this thread's last one */

#endif
