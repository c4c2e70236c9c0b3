/* report.c: faults in words. The first one in a cluster ends it; of several host threads' faults
 * the one in the lowest CTA is kept. */
#include "runtime/emu/machine.h"

#include <pthread.h>

static const char *const names[] = {
#define FAULT(name, words) words,
    EMU_FAULTS(FAULT)
#undef FAULT
};

const char *emu_fault_name(EmuFaultKind kind) {
    return (unsigned)kind < ARRAY_LENGTH(names) ? names[kind] : "?";
}

static void keep(Machine *machine, const EmuFault *fault, uint64_t order) {
    pthread_mutex_lock(machine->lock);
    if (machine->fault.kind == EMU_NONE || order < machine->fault_order) {
        machine->fault = *fault;
        machine->fault_order = order;
    }
    __atomic_store_n(&machine->stop, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(machine->lock);
}

Step fault(Warp *w, const Inst *in, EmuFaultKind kind, int lane, uint64_t address,
           const char *format, ...) {
    if (w->cluster->faulted) return STEP_FAULT; /* one is enough */
    w->cluster->faulted = true;
    const PtxModule *ptx = w->machine->module->ptx;
    EmuFault f = {.kind = kind,
                  .ptx_line = in->line,
                  .warp = (int32_t)w->index,
                  .lane = lane,
                  .address = address};
    memcpy(f.cta, w->cta->id, sizeof f.cta);
    const PtxLoc *loc = in->loc ? &ptx->locs.data[in->loc] : NULL;
    if (loc && loc->file < ptx->files.length) f.source_file = ptx->files.data[loc->file];
    f.source_line = loc ? loc->line : 0;
    int n = snprintf(f.message, sizeof f.message, "%s:%u: ", ptx->path, in->line);
    if (f.source_line)
        n += snprintf(f.message + n, sizeof f.message - (size_t)n, "(%s:%u) ",
                      f.source_file ? f.source_file : "source", f.source_line);
    n += snprintf(f.message + n, sizeof f.message - (size_t)n, "%s: CTA (%u,%u,%u) warp %u",
                  emu_fault_name(kind), f.cta[0], f.cta[1], f.cta[2], w->index);
    if (lane >= 0) n += snprintf(f.message + n, sizeof f.message - (size_t)n, " lane %d", lane);
    n += snprintf(f.message + n, sizeof f.message - (size_t)n, ": ");
    if (n < (int)sizeof f.message) {
        va_list args;
        va_start(args, format);
        vsnprintf(f.message + n, sizeof f.message - (size_t)n, format, args);
        va_end(args);
    }
    keep(w->machine, &f, w->cta->linear);
    return STEP_FAULT;
}

void cluster_fault(Cluster *cluster, EmuFaultKind kind, const char *format, ...) {
    if (cluster->faulted) return;
    cluster->faulted = true;
    const Cta *cta = &cluster->ctas[0];
    EmuFault f = {.kind = kind, .warp = -1, .lane = -1};
    memcpy(f.cta, cta->id, sizeof f.cta);
    int n = snprintf(f.message, sizeof f.message, "%s: CTA (%u,%u,%u): ", emu_fault_name(kind),
                     f.cta[0], f.cta[1], f.cta[2]);
    /* The line that most helps is that of the first warp that waits. */
    for (uint32_t i = 0; i < cluster->warp_count && !f.ptx_line; i++) {
        const Warp *w = &cluster->warps[i];
        for (uint32_t k = 0; k < w->fragment_count && !f.ptx_line; k++) {
            const Inst *in = &w->code[w->fragments[k].pc];
            const PtxModule *ptx = w->machine->module->ptx;
            f.ptx_line = in->line;
            f.warp = (int32_t)w->index;
            if (!in->loc) continue;
            f.source_line = ptx->locs.data[in->loc].line;
            uint32_t file = ptx->locs.data[in->loc].file;
            if (file < ptx->files.length) f.source_file = ptx->files.data[file];
        }
    }
    va_list args;
    va_start(args, format);
    vsnprintf(f.message + n, sizeof f.message - (size_t)n, format, args);
    va_end(args);
    keep(cluster->machine, &f, cta->linear);
}

void device_print(Machine *machine, const char *text) {
    if (!machine->launch->print) return;
    pthread_mutex_lock(machine->lock);
    machine->launch->print(machine->launch->print_context, text);
    pthread_mutex_unlock(machine->lock);
}
