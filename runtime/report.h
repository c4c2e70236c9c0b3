/* report.h: a fault of a kernel that ran on the host, told to the caller. */
#ifndef TKC_RUNTIME_REPORT_H
#define TKC_RUNTIME_REPORT_H

#include "compiler/interp.h"
#include "runtime/device.h"

/* Keeps the fault for tkc_last_fault; tkc_last_error is its text with the line of the source.
 * `buffer` is the name of the memory, or "". Returns the status that the launch ends with. */
tkc_status rt_report(const tkc_kernel *kernel, const InterpFault *fault, const char *buffer);

#endif
