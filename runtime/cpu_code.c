/* cpu_code.c: native code from the compiler: compiled when a device loads the kernel, and once more
 * with checks of every access when a launch asks for that.
 */
#include "runtime/cpu_code.h"
#include "runtime/report.h"

#include "compiler/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Compiled {
    CpuVariant variant;
    CpuCode code;
} Compiled;

struct CpuCompiled {
    CpuCode plain;
    pthread_mutex_t lock; /* held to make what follows */
    Compiled *checked;    /* every access is checked; NULL: not asked for yet */
};

/* ---- compiling ---------------------------------------------------------------------------- */

static tkc_status compile_guarded(Arena *arena, const tkc_kernel *kernel, bool bounds,
                                  CpuCode *code) {
    jmp_buf exhausted;
    arena->on_exhausted = &exhausted;
    if (setjmp(exhausted)) return rt_fail_memory();
    Text error = {.arena = arena};
    if (cpu_compile(kernel->module, &(CpuOptions){.bounds = bounds}, code, &error)) return TKC_OK;
    return tkc_fail(TKC_INTERNAL, "Kernel `%s` cannot be made native code: %s", kernel->name,
                    error.data ? error.data : "for an unknown reason");
}

static tkc_status compile(const tkc_kernel *kernel, bool bounds, CpuCode *code,
                          CpuVariant *variant) {
    Arena arena;
    arena_init(&arena, 0);
    const tkc_status status = compile_guarded(&arena, kernel, bounds, code);
    arena_free(&arena);
    *variant = (CpuVariant){.entry = code->entry,
                            .scratch_size = code->scratch_size,
                            .stored = code->stored,
                            .sites = code->sites,
                            .site_count = code->site_count};
    return status;
}

tkc_status cpu_code_new(const tkc_kernel *kernel, CpuVariant *plain, CpuCompiled **compiled) {
    CpuCompiled *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    const tkc_status status = compile(kernel, false, &made->plain, plain);
    if (status) {
        free(made);
        return status;
    }
    pthread_mutex_init(&made->lock, NULL);
    *compiled = made;
    return TKC_OK;
}

void cpu_code_free(CpuCompiled *compiled) {
    if (!compiled) return;
    cpu_free(&compiled->plain);
    if (compiled->checked) cpu_free(&compiled->checked->code);
    free(compiled->checked);
    pthread_mutex_destroy(&compiled->lock);
    free(compiled);
}

static tkc_status checked_variant(CpuCompiled *compiled, const tkc_kernel *kernel,
                                  CpuVariant **variant) {
    tkc_status status = TKC_OK;
    pthread_mutex_lock(&compiled->lock);
    if (!compiled->checked) {
        Compiled *checked = calloc(1, sizeof *checked);
        status =
            checked ? compile(kernel, true, &checked->code, &checked->variant) : rt_fail_memory();
        if (status)
            free(checked);
        else
            compiled->checked = checked;
    }
    if (!status) *variant = &compiled->checked->variant;
    pthread_mutex_unlock(&compiled->lock);
    return status;
}

/* ---- what may be accessed ------------------------------------------------------------------ */

void cpu_code_end(CpuChecks *checks) {
    free(checks->arguments);
    free(checks->plain);
    free(checks->ranges);
    free(checks->names);
}

static bool checks_new(CpuChecks *checks, uint32_t arguments) {
    const size_t room = arguments + 1; /* one range must be there */
    *checks = (CpuChecks){
        .check = cpu_check,
        .arguments = calloc(room, sizeof *checks->arguments),
        .plain = calloc(room, sizeof *checks->plain),
        .ranges = calloc(room, sizeof *checks->ranges),
        .names = calloc(room, sizeof *checks->names),
    };
    return checks->arguments && checks->plain && checks->ranges && checks->names;
}

/* The address of argument `i`, which points into this memory. */
static void add_range(CpuChecks *checks, uint32_t i, uint64_t address, uint64_t data, uint64_t size,
                      const char *name) {
    uint32_t k = 0;
    while (k < checks->count && (checks->ranges[k].data != data || checks->ranges[k].size != size))
        k++;
    checks->ranges[k] = (CpuRange){size, data};
    checks->names[k] = name;
    if (k == checks->count) checks->count++;
    checks->plain[i] = INTERP_BUFFER_ADDRESS(k) + (address - data);
    checks->arguments[i] = CPU_CHECKED_ADDRESS(k) + (address - data);
}

static void find_memory(CpuChecks *checks, const tkc_kernel *kernel, const DeviceLaunch *launch) {
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        const tkc_buffer *buffer = launch->given[i].value.buffer;
        checks->arguments[i] = checks->plain[i] = launch->arguments[i];
        if (kernel->parameters[i].is_pointer && launch->given[i].kind == TKC_ARGUMENT_BUFFER &&
            buffer)
            add_range(checks, i, launch->arguments[i], buffer->address, buffer->size, buffer->name);
    }
    for (uint32_t i = 0; i < launch->tensor_count; i++) {
        const DeviceTensor *tensor = &launch->tensors[i];
        const uint64_t data = (uint64_t)(uintptr_t)tensor->data;
        add_range(checks, tensor->argument, data, data, tensor->size,
                  kernel->parameters[tensor->argument].name);
    }
}

tkc_status cpu_code_checked(CpuCompiled *compiled, const tkc_kernel *kernel,
                            const DeviceLaunch *launch, CpuVariant **variant, CpuChecks *checks) {
    const tkc_status status = checked_variant(compiled, kernel, variant);
    if (status) return status;
    if (!checks_new(checks, launch->argument_count)) {
        cpu_code_end(checks);
        return rt_fail_memory();
    }
    find_memory(checks, kernel, launch);
    return TKC_OK;
}

/* ---- faults -------------------------------------------------------------------------------- */

static tkc_status report_access(const CpuCode *code, const tkc_kernel *kernel,
                                const CpuChecks *checks, const CpuFault *from, InterpFault *fault) {
    InterpBuffer *buffers = calloc(checks->count + 1, sizeof *buffers);
    if (!buffers) return rt_fail_memory();
    for (uint32_t k = 0; k < checks->count; k++)
        buffers[k] = (InterpBuffer){.data = (uint8_t *)(uintptr_t)checks->ranges[k].data,
                                    .size = checks->ranges[k].size};
    const InterpLaunch launch = {
        .arguments = checks->plain, .buffers = buffers, .buffer_count = checks->count};
    fault->kind = from->kind == CPU_FAULT_BOUNDS       ? FAULT_OUT_OF_BOUNDS
                  : from->kind == CPU_FAULT_MISALIGNED ? FAULT_MISALIGNED
                                                       : FAULT_NULL;
    interp_say_access(((const Module *)kernel->module)->kernel, &launch, cpu_op_at(code, from->op),
                      (uint32_t)from->element, from->address, fault);
    free(buffers);
    return rt_report(kernel, fault, fault->buffer < 0 ? "" : checks->names[fault->buffer]);
}

tkc_status cpu_code_report(const CpuCompiled *compiled, const tkc_kernel *kernel,
                           const CpuVariant *variant, const CpuChecks *checks,
                           const uint32_t *program, const CpuFault *from) {
    const CpuCode *code = checks ? &compiled->checked->code : &compiled->plain;
    const Op *op = cpu_op_at(code, from->op);
    InterpFault fault = {.parameter = -1, .buffer = -1};
    if (op) fault.at = op->at;
    memcpy(fault.program, program, sizeof fault.program);
    if (from->kind >= CPU_FAULT_BOUNDS) return report_access(code, kernel, checks, from, &fault);
    const CpuSite *site = cpu_site(variant, from->op);
    fault.kind = from->kind == CPU_FAULT_ASSERT ? FAULT_ASSERT : FAULT_UNSUPPORTED;
    cpu_coordinates(site, from->element, &fault.rank, fault.coordinates);
    cpu_say(site, from, program, fault.message, sizeof fault.message);
    return rt_report(kernel, &fault, "");
}
