/* report.c: the same words and numbers for faults of every device that runs on the host. */
#include "runtime/report.h"

#include <string.h>

_Static_assert((int)TKC_FAULT_NONE == (int)FAULT_NONE &&
                   (int)TKC_FAULT_OUT_OF_BOUNDS == (int)FAULT_OUT_OF_BOUNDS &&
                   (int)TKC_FAULT_MISALIGNED == (int)FAULT_MISALIGNED &&
                   (int)TKC_FAULT_NULL == (int)FAULT_NULL &&
                   (int)TKC_FAULT_UNWRITTEN == (int)FAULT_UNWRITTEN &&
                   (int)TKC_FAULT_RACE == (int)FAULT_RACE &&
                   (int)TKC_FAULT_ASSERT == (int)FAULT_ASSERT &&
                   (int)TKC_FAULT_UNSUPPORTED == (int)FAULT_UNSUPPORTED &&
                   (int)TKC_FAULT_MEMORY == (int)FAULT_MEMORY &&
                   (int)TKC_FAULT_CANCELLED == (int)FAULT_CANCELLED &&
                   sizeof((tkc_fault *)0)->coordinates == sizeof((InterpFault *)0)->coordinates,
               "faults of the interpreter and of tkc.h must be the same");

tkc_status rt_report(const tkc_kernel *kernel, const InterpFault *fault, const char *buffer) {
    const Module *module = kernel->module;
    const Sources *sources = module->sources;
    Span at = fault->at.span;
    bool known = at.line && at.source < sources->list.length;
    bool has_parameter =
        fault->parameter >= 0 && (uint32_t)fault->parameter < kernel->parameter_count;
    tkc_fault given = {
        .kind = (tkc_fault_kind)fault->kind,
        .file = known ? sources->list.data[at.source].path : "",
        .line = at.line,
        .column = at.column,
        .parameter = has_parameter ? kernel->parameters[fault->parameter].name : "",
        .buffer = buffer,
        .offset = fault->offset,
        .buffer_size = fault->buffer_size,
        .rank = fault->rank,
        .message = fault->message,
    };
    memcpy(given.program, fault->program, sizeof given.program);
    memcpy(given.other_program, fault->other_program, sizeof given.other_program);
    memcpy(given.coordinates, fault->coordinates, sizeof given.coordinates);
    rt_keep_fault(&given);

    tkc_status status = TKC_LAUNCH_FAULT;
    if (fault->kind == FAULT_CANCELLED) status = TKC_CANCELLED;
    if (fault->kind == FAULT_MEMORY) status = TKC_OUT_OF_MEMORY;
    if (fault->kind == FAULT_UNSUPPORTED) status = TKC_UNSUPPORTED;

    Arena arena;
    jmp_buf exhausted;
    arena_init(&arena, 0);
    arena.on_exhausted = &exhausted;
    if (setjmp(exhausted)) {
        tkc_fail(status, "%s", fault->message);
    } else {
        Diagnostics diagnostics = {.arena = &arena, .sources = sources};
        Text text = {.arena = &arena};
        Diagnostic *message = diag_warning(&diagnostics, fault->at, "%s", fault->message);
        message->severity = SEVERITY_FAULT;
        diag_render(&diagnostics, &text);
        tkc_fail(status, "%s", text.data);
    }
    arena_free(&arena);
    return status;
}
