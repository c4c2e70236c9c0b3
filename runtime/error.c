/* error.c: status codes as text, and what the calling thread's last failure was.
 *
 * The text lives in one thread-local record, the only state outside objects that the library has:
 * errno with words. It is written only when a call fails, so that asking costs nothing and a
 * success in between loses nothing.
 */
#include "runtime/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct {
    char message[8192];
    bool faulted;
    tkc_fault fault;
    char strings[2048]; /* file, parameter, buffer and message of the fault */
} tkc_last_error_state;

uint32_t tkc_version(void) {
    return TKC_VERSION;
}

const char *tkc_status_string(tkc_status status) {
    switch (status) {
#define X(name, number, text)                                                                      \
    case TKC_##name: return text;
        TKC_STATUS_LIST(X)
#undef X
    case TKC_STATUS_PIN_: break;
    }
    return "unknown status";
}

const char *tkc_last_error(void) {
    return tkc_last_error_state.message;
}

/* The message may quote the previous one, hence the second buffer. */
tkc_status tkc_fail(tkc_status status, const char *format, ...) {
    char text[sizeof tkc_last_error_state.message];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) snprintf(text, sizeof text, "%s.", tkc_status_string(status));
    if (length >= (int)sizeof text) strcpy(text + sizeof text - 5, "...\n");
    memcpy(tkc_last_error_state.message, text, strlen(text) + 1);
    return status;
}

tkc_status rt_fail_memory(void) {
    return tkc_fail(TKC_OUT_OF_MEMORY, "The system has no more memory for this process.");
}

static const char *keep(const char *string, size_t *used) {
    size_t room = sizeof tkc_last_error_state.strings - *used;
    if (!string || room < 2) return "";
    size_t length = strnlen(string, room - 1);
    char *to = tkc_last_error_state.strings + *used;
    memcpy(to, string, length);
    to[length] = 0;
    *used += length + 1;
    return to;
}

void rt_keep_fault(const tkc_fault *fault) {
    tkc_fault *kept = &tkc_last_error_state.fault;
    size_t used = 0;
    *kept = *fault;
    kept->struct_size = sizeof *kept;
    kept->parameter = keep(fault->parameter, &used);
    kept->buffer = keep(fault->buffer, &used);
    kept->message = keep(fault->message, &used);
    kept->file = keep(fault->file, &used);
    tkc_last_error_state.faulted = true;
}

const tkc_fault *tkc_last_fault(void) {
    return tkc_last_error_state.faulted ? &tkc_last_error_state.fault : NULL;
}

void tkc_free(void *memory) {
    free(memory);
}
