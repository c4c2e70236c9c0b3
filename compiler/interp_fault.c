/* interp_fault.c: what went wrong, in the user's words, on one line.
 *
 * A fault is made in its thread and handed to the launch when the program has ended.
 */
#include "compiler/interp_internal.h"

#include <inttypes.h>
#include <stdio.h>

/* Appends to the message, cut at its end. */
static void say(InterpFault *fault, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(InterpFault *fault, const char *format, ...) {
    const size_t used = strlen(fault->message), room = sizeof fault->message - used;
    va_list args;
    va_start(args, format);
    vsnprintf(fault->message + used, room, format, args);
    va_end(args);
}

static void begin(Thread *t, const Step *step, FaultKind kind) {
    t->fault = (InterpFault){.kind = kind, .parameter = -1, .buffer = -1};
    t->faulted = true;
    memcpy(t->fault.program, t->program, sizeof t->program);
    if (step) t->fault.at = step->op->at;
}

static void say_program(InterpFault *fault, const char *name, const uint32_t program[3]) {
    say(fault, " (%sprogram %u, %u, %u)", name, program[0], program[1], program[2]);
}

bool fault_text(Thread *t, const Step *step, FaultKind kind, const char *format, ...) {
    va_list args;
    begin(t, step, kind);
    va_start(args, format);
    vsnprintf(t->fault.message, sizeof t->fault.message, format, args);
    va_end(args);
    if (kind != FAULT_CANCELLED && kind != FAULT_MEMORY) say_program(&t->fault, "", t->program);
    return false;
}

static void set_element(InterpFault *fault, const Type *type, uint32_t element) {
    fault->rank = type->rank;
    for (uint32_t d = type->rank; d-- > 0;) {
        fault->coordinates[d] = element % type->shape[d];
        element /= type->shape[d];
    }
}

/* "element [5, 0] of the 128x64 block"; nothing for a scalar. */
static void say_element(InterpFault *fault, const Type *type) {
    for (uint32_t d = 0; d < fault->rank; d++)
        say(fault, "%s%u", d ? ", " : "element [", fault->coordinates[d]);
    for (uint32_t d = 0; d < fault->rank; d++)
        say(fault, "%s%u", d ? "x" : "] of the ", type->shape[d]);
    if (fault->rank) say(fault, " block ");
}

void fault_element(Thread *t, const Type *type, uint32_t element) {
    InterpFault *fault = &t->fault;
    char *tail = strstr(fault->message, " (program ");
    if (tail) *tail = 0;
    set_element(fault, type, element);
    for (uint32_t d = 0; d < fault->rank; d++)
        say(fault, "%s%u", d ? ", " : " at element [", fault->coordinates[d]);
    if (fault->rank) say(fault, "]");
    say_program(fault, "", t->program);
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* The launch of a kernel that an access belongs to. */
typedef struct Scene {
    const Kernel *kernel;
    const InterpLaunch *launch;
} Scene;

static int32_t parameter_of(const Scene *scene, uint32_t k, bool *several) {
    const Kernel *kernel = scene->kernel;
    int32_t found = -1;
    *several = false;
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const bool here = type_is_pointer(kernel->parameters[i].type) &&
                          scene->launch->arguments[i] >> INTERP_BUFFER_SHIFT == (uint64_t)k + 1;
        *several |= here && found >= 0;
        if (here && found < 0) found = (int32_t)i;
    }
    return found;
}

static Scene scene_of(const Run *run) {
    return (Scene){run->plan->module->kernel, run->launch};
}

static bool has_mask(const Op *op) {
    return op->operand_count > (op->code == OP_load ? 1u : 2u) || op->code == OP_atomic_cas;
}

static const char *verb(const Op *op) {
    switch (op->code) {
    case OP_load: return "reads";
    case OP_store: return "writes";
    default: return "updates";
    }
}

static const char *noun(const Op *op) {
    return op->code == OP_load ? "load" : op->code == OP_store ? "store" : "atomic";
}

/* "`x`", or what there is to say about memory that is no argument's. */
static void say_buffer(const Scene *scene, InterpFault *fault) {
    bool several = false;
    if (fault->buffer >= 0)
        fault->parameter = parameter_of(scene, (uint32_t)fault->buffer, &several);
    if (fault->parameter >= 0)
        say(fault, "`%s`%s", scene->kernel->parameters[fault->parameter].name,
            several ? " (and others in the same memory)" : "");
    else
        say(fault, "memory that no argument points to");
}

/* Which buffer was meant: the nearest, so that a negative offset belongs to the one above. */
static void find_buffer(const InterpLaunch *launch, InterpFault *fault, uint64_t address) {
    const uint64_t half = UINT64_C(1) << (INTERP_BUFFER_SHIFT - 1);
    const uint64_t k = (address + half) >> INTERP_BUFFER_SHIFT;
    if (address > UINT64_MAX - half || k == 0 || k > launch->buffer_count) return;
    fault->buffer = (int32_t)(k - 1);
    fault->offset = (int64_t)(address - INTERP_BUFFER_ADDRESS(k - 1));
    fault->buffer_size = launch->buffers[k - 1].size;
}

static const char *const fault_titles[] = {
    [FAULT_OUT_OF_BOUNDS] = " out of bounds",
    [FAULT_MISALIGNED] = " misaligned",
    [FAULT_NULL] = " of an invalid address",
    [FAULT_UNWRITTEN] = " of memory never written",
    [FAULT_RACE] = " in a race",
};

/* The first half of every message on an access: which element does what to which bytes. */
static void say_access(const Scene *scene, const Op *op, uint32_t element, uint64_t address,
                       InterpFault *fault) {
    const Type *pointer = pointer_type(op);
    const uint32_t size = type_element_size(type_element(pointer)->element);
    find_buffer(scene->launch, fault, address);
    set_element(fault, pointer, element);
    say(fault, "%s%s: ", noun(op), fault_titles[fault->kind]);
    say_element(fault, pointer);
    say(fault, "%s %u byte%s ", verb(op), size, size == 1 ? "" : "s");
    if (fault->buffer < 0) {
        say(fault, "at address 0x%" PRIx64, address);
        return;
    }
    say(fault, "at offset %" PRId64 " of ", fault->offset);
    say_buffer(scene, fault);
}

void interp_say_access(const Kernel *kernel, const InterpLaunch *launch, const Op *op,
                       uint32_t element, uint64_t address, InterpFault *fault) {
    const Scene scene = {kernel, launch};
    const Type *pointee = type_element(pointer_type(op))->element;
    fault->at = op->at;
    fault->parameter = fault->buffer = -1;
    fault->message[0] = 0;
    say_access(&scene, op, element, address, fault);
    switch (fault->kind) {
    case FAULT_OUT_OF_BOUNDS:
        say(fault, ", which has %" PRIu64 " bytes", fault->buffer_size);
        say(fault, has_mask(op) ? "" : "; the %s has no mask", noun(op));
        break;
    case FAULT_MISALIGNED:
        say(fault, ", which is no multiple of %u", type_element_size(pointee));
        break;
    case FAULT_NULL:
        if (fault->buffer >= 0)
            say(fault, ", which was freed");
        else if (address >> (INTERP_BUFFER_SHIFT - 1) == 0)
            say(fault, ": a null pointer");
        else
            say(fault, ", where there is no buffer");
        break;
    case FAULT_UNWRITTEN: say(fault, ", where nothing was written before"); break;
    default: break;
    }
    say_program(fault, "", fault->program);
}

bool fault_access(Thread *t, const Step *step, FaultKind kind, uint32_t element, uint64_t address) {
    begin(t, step, kind);
    interp_say_access(t->run->plan->module->kernel, t->run->launch, step->op, element, address,
                      &t->fault);
    return false;
}

bool fault_race(Thread *t, const Step *step, const Step *other, uint64_t other_program,
                bool other_writes, uint32_t element, uint64_t address) {
    begin(t, step, FAULT_RACE);
    InterpFault *fault = &t->fault;
    program_coordinates(t->run, other_program, fault->other_program);
    const Scene scene = scene_of(t->run);
    say_access(&scene, step->op, element, address, fault);
    const bool atomic = other->op->code == OP_atomic_rmw || other->op->code == OP_atomic_cas;
    const uint32_t *o = fault->other_program;
    say(fault, " that program %u, %u, %u %s%s on line %u", o[0], o[1], o[2],
        atomic         ? "updates"
        : other_writes ? "writes"
                       : "reads",
        atomic ? " atomically" : "", other->op->at.span.line);
    say(fault, ", and nothing orders the two");
    say_program(fault, "", t->program);
    return false;
}
