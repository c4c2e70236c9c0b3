/* interp.c: running a plan: the programs of a launch on threads, control flow inside a program.
 *
 * Threads take programs in order from one counter, so when program p is at fault every lower one
 * has been started; they are finished, later ones are dropped, and the fault of the lowest program
 * is the one reported, whatever the threads did.
 *
 * A program may wait for another that was not started yet (it spins on a lock or a flag in a
 * `while` that touches memory). When all threads wait like that one more thread is made, so that
 * such a launch ends here as it does on a device that runs all its programs at once.
 */
#include "compiler/interp_internal.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* clang-format off */
#define STEP_EXPLICIT(name)   interp_##name
#define STEP_NONE(name)       interp_##name
#define STEP_LOAD(name)       interp_##name
#define STEP_STORE(name)      interp_##name
#define STEP_ATOMIC(name)     interp_##name
#define STEP_DOT(name)        interp_##name
#define STEP_REDUCE(name)     interp_##name
#define STEP_SCAN(name)       interp_##name
#define STEP_FOR(name)        interp_##name
#define STEP_WHILE(name)      interp_##name
#define STEP_IF(name)         interp_##name
#define STEP_SAME(name)       interp_element
#define STEP_SAME_INT(name)   interp_element
#define STEP_SAME_FLOAT(name) interp_element
#define STEP_COMPARE(name)    interp_element
#define STEP_SELECT(name)     interp_element
#define STEP_CAST(name)       interp_element
#define STEP_OFFSET(name)     interp_element
/* clang-format on */
StepRun *const interp_handlers[OP_COUNT] = {
#define OP(name, low, high, results, regions, rule, flags, required, optional)                     \
    [OP_##name] = STEP_##rule(name),
#include "compiler/ops.def"
#undef OP
};

uint64_t place_int(Thread *t, const Place *place) {
    uint64_t value = 0;
    memcpy(&value, place_data(t, place), place->size);
    return value;
}

/* ---- blocks, copies ------------------------------------------------------------------------- */

bool run_block(Thread *t, const Block *block) {
    for (uint32_t i = 0; i < block->count; i++) {
        const Step *step = &block->steps[i];
        if (!step->run(t, step)) return false;
    }
    return true;
}

void copy_place(Thread *t, const Place *from, const Place *to) {
    const uint8_t *source = place_data(t, from);
    uint8_t *target = place_data(t, to);
    if (source == target) return;
    for (uint32_t done = 0; done < to->stored; done += from->stored) {
        const uint32_t left = to->stored - done, n = left < from->stored ? left : from->stored;
        memcpy(target + (size_t)done * to->size, source, (size_t)n * to->size);
    }
}

void run_copies(Thread *t, const Block *block) {
    for (uint32_t i = 0; i < block->copy_count; i++)
        copy_place(t, &block->copies[i].from, &block->copies[i].to);
}

/* ---- element ops ---------------------------------------------------------------------------- */

bool interp_element(Thread *t, const Step *step) {
    const Op *op = step->op;
    const Place *out = &step->out[0];
    uint8_t *result = place_data(t, out);
    const void *operands[3];
    if (!step->code)
        return fault_text(t, step, FAULT_UNSUPPORTED, "there is no `%s` on this element type",
                          op_info(op)->name);
    for (uint32_t i = 0; i < op->operand_count; i++) operands[i] = place_data(t, &step->in[i]);
    if (!step->chunked) {
        eval_block(step->code, out->stored, result, operands);
        return true;
    }
    for (uint32_t done = 0; done < out->stored; done += UNIFORM) {
        const void *pieces[3];
        for (uint32_t i = 0; i < op->operand_count; i++)
            pieces[i] = (const uint8_t *)operands[i] + (size_t)done * place_stride(&step->in[i]);
        eval_block(step->code, UNIFORM, result + (size_t)done * out->size, pieces);
    }
    return true;
}

/* ---- control -------------------------------------------------------------------------------- */

bool may_go_on(Thread *t) {
    if (t->run->launch->cancel && __atomic_load_n(t->run->launch->cancel, __ATOMIC_RELAXED)) {
        if (!t->faulted) fault_text(t, NULL, FAULT_CANCELLED, "the launch was cancelled");
        return false;
    }
    return atomic_load_explicit(&t->run->lowest, memory_order_relaxed) >= t->number;
}

static void run_initial(Thread *t, const Step *step, uint32_t first, const Place *arguments) {
    for (uint32_t i = first; i < step->op->operand_count; i++)
        copy_place(t, &step->in[i], &arguments[i - first]);
}

/* Iterations of for (i = from; i < to; i += step), or i > to for a negative step. */
static uint64_t trip_count(DType dtype, uint64_t from, uint64_t to, uint64_t step) {
    if (dtype_is_unsigned(dtype)) return from < to ? (to - from - 1) / step + 1 : 0;
    const int64_t first = eval_int_from_bits(dtype, from), last = eval_int_from_bits(dtype, to);
    const int64_t by = eval_int_from_bits(dtype, step);
    if (by > 0) return first < last ? ((uint64_t)last - (uint64_t)first - 1) / (uint64_t)by + 1 : 0;
    return first > last ? ((uint64_t)first - (uint64_t)last - 1) / (0 - (uint64_t)by) + 1 : 0;
}

bool interp_for(Thread *t, const Step *step) {
    const Block *body = &step->blocks[0];
    const uint64_t from = place_int(t, &step->in[0]), to = place_int(t, &step->in[1]);
    const uint64_t by = place_int(t, &step->in[2]);
    if (by == 0) return fault_text(t, step, FAULT_ASSERT, "the step of this loop is 0");
    const uint64_t trips = trip_count(type_dtype(op_operand(step->op, 0)->type), from, to, by);
    run_initial(t, step, 3, body->arguments + 1);
    for (uint64_t i = 0; i < trips; i++) {
        const uint64_t index = from + i * by;
        memcpy(place_data(t, &body->arguments[0]), &index, body->arguments[0].size);
        if (!may_go_on(t) || !run_block(t, body)) return false;
        run_copies(t, body);
    }
    return true;
}

static void help_when_all_wait(Run *run);

bool interp_while(Thread *t, const Step *step) {
    const Block *before = &step->blocks[0], *after = &step->blocks[1];
    const bool may_wait = op_has_effect(step->op, OPF_READS | OPF_WRITES);
    bool waits = false, ok = true;
    run_initial(t, step, 0, before->arguments);
    for (uint64_t i = 0;; i++) {
        ok = may_go_on(t) && run_block(t, before);
        if (!ok) break;
        const bool go_on = place_int(t, &before->gives[0]) & 1;
        run_copies(t, before);
        if (!go_on) break;
        ok = run_block(t, after);
        if (!ok) break;
        run_copies(t, after);
        if (may_wait && i % 256 == 255) {
            if (!waits) atomic_fetch_add(&t->run->waiting, 1);
            waits = true;
            help_when_all_wait(t->run);
            sched_yield();
        }
    }
    if (waits) atomic_fetch_sub(&t->run->waiting, 1);
    return ok;
}

bool interp_if(Thread *t, const Step *step) {
    const Block *block = &step->blocks[place_int(t, &step->in[0]) & 1 ? 0 : 1];
    if (!run_block(t, block)) return false;
    run_copies(t, block);
    return true;
}

/* The ends of regions are read by the op that owns the region; a barrier has nothing to wait for,
 * since each op works on the whole block before the next begins. */
bool interp_yield(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
bool interp_condition(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
bool interp_return(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
bool interp_barrier(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}

/* ---- programs -------------------------------------------------------------------------------- */

void program_coordinates(const Run *run, uint64_t number, uint32_t program[3]) {
    const uint32_t *grid = run->launch->grid;
    program[0] = (uint32_t)(number % grid[0]);
    program[1] = (uint32_t)(number / grid[0] % grid[1]);
    program[2] = (uint32_t)(number / grid[0] / grid[1]);
}

static void report(Thread *t) {
    Run *run = t->run;
    pthread_mutex_lock(&run->lock);
    if (t->number < atomic_load(&run->lowest)) {
        *run->fault = t->fault;
        atomic_store(&run->lowest, t->number);
    }
    pthread_mutex_unlock(&run->lock);
}

static void run_program(Thread *t, uint64_t number) {
    t->number = number;
    t->faulted = false;
    program_coordinates(t->run, number, t->program);
    if (t->run->races) races_begin(t);
    if (may_go_on(t)) run_block(t, &t->plan->body);
    if (t->run->races) races_end(t);
    if (t->faulted) report(t);
}

static bool thread_begin(Thread *t, Run *run) {
    const InterpPlan *plan = run->plan;
    uint8_t *frame = NULL;
    if (posix_memalign((void **)&frame, ALIGNMENT, plan->frame_size + ALIGNMENT) != 0) return false;
    *t = (Thread){.run = run, .plan = plan, .base = {frame, (uint8_t *)plan->pool}};
    for (uint32_t i = 0; i < plan->module->kernel->parameter_count; i++) {
        const Place *place = &plan->parameters[i];
        uint64_t bits = run->launch->arguments[i];
        if (type_dtype(plan->module->kernel->parameters[i].type) == DT_i1) bits = bits != 0;
        memcpy(place_data(t, place), &bits, place->size);
    }
    return true;
}

/* What each thread does: take programs until none is left. */
static void *work(void *context) {
    Run *run = context;
    Thread t;
    if (!thread_begin(&t, run)) {
        t = (Thread){.run = run, .plan = run->plan, .number = atomic_load(&run->next)};
        fault_text(&t, NULL, FAULT_MEMORY, "no memory for the %llu bytes of one program",
                   (unsigned long long)run->plan->frame_size);
        report(&t);
        atomic_fetch_sub(&run->active, 1);
        return NULL;
    }
    for (;;) {
        const uint64_t number = atomic_fetch_add(&run->next, 1);
        if (number >= run->program_count || number > atomic_load(&run->lowest)) break;
        run_program(&t, number);
    }
    free(t.base[0]);
    atomic_fetch_sub(&run->active, 1);
    return NULL;
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { HELPERS_WHEN_WAITING = 512 };

/* Holding the lock. */
static bool start_helper(Run *run) {
    if (run->helper_count == run->helper_limit) return false;
    atomic_fetch_add(&run->active, 1);
    if (pthread_create(&run->helpers[run->helper_count], NULL, work, run) != 0) {
        atomic_fetch_sub(&run->active, 1);
        return false;
    }
    run->helper_count++;
    return true;
}

static void help_when_all_wait(Run *run) {
    if (atomic_load(&run->waiting) < atomic_load(&run->active) ||
        atomic_load(&run->next) >= run->program_count)
        return;
    pthread_mutex_lock(&run->lock);
    if (atomic_load(&run->waiting) >= atomic_load(&run->active)) start_helper(run);
    pthread_mutex_unlock(&run->lock);
}

static uint32_t thread_count(const Run *run) {
    uint64_t wanted = run->launch->threads;
    if (run->races) return 1; /* programs in order: the same report every time */
    if (wanted == 0) {
        cpu_set_t set;
        const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
        wanted = known ? (uint64_t)CPU_COUNT(&set) : (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    }
    if (wanted > run->program_count) wanted = run->program_count;
    return wanted < 1 ? 1 : wanted > 1024 ? 1024 : (uint32_t)wanted;
}

static void run_all(Run *run) {
    const uint32_t threads = thread_count(run);
    run->helper_limit = threads - 1 + HELPERS_WHEN_WAITING;
    run->helpers = calloc(run->helper_limit, sizeof *run->helpers);
    if (!run->helpers) run->helper_limit = 0;
    pthread_mutex_init(&run->lock, NULL);
    atomic_store(&run->active, 1);
    pthread_mutex_lock(&run->lock);
    for (uint32_t i = 1; i < threads && start_helper(run);) i++;
    pthread_mutex_unlock(&run->lock);
    work(run);
    /* Helpers may start helpers: those are in the list before their maker ends. */
    for (uint32_t i = 0;; i++) {
        pthread_mutex_lock(&run->lock);
        const uint32_t count = run->helper_count;
        pthread_mutex_unlock(&run->lock);
        if (i >= count) break;
        pthread_join(run->helpers[i], NULL);
    }
    pthread_mutex_destroy(&run->lock);
    free(run->helpers);
}

static bool refuse(InterpFault *fault, FaultKind kind, const char *why) {
    *fault = (InterpFault){.kind = kind, .parameter = -1, .buffer = -1};
    strncpy(fault->message, why, sizeof fault->message - 1);
    return false;
}

bool interp_launch(const InterpPlan *plan, const InterpLaunch *launch, InterpFault *fault) {
    Run run = {.plan = plan, .launch = launch, .fault = fault, .lowest = UINT64_MAX};
    const uint32_t *grid = launch->grid;
    *fault = (InterpFault){.parameter = -1, .buffer = -1};
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return true;
    const uint64_t plane = (uint64_t)grid[0] * grid[1];
    if (plane > UINT64_MAX / 4 / grid[2])
        return refuse(fault, FAULT_UNSUPPORTED, "the grid has more than 2^62 programs");
    run.program_count = plane * grid[2];
    if (launch->check_races) {
        run.races = races_new(plan, launch);
        if (!run.races) return refuse(fault, FAULT_MEMORY, "no memory for the race checker");
    }
    run_all(&run);
    if (run.races) races_free(run.races);
    return fault->kind == FAULT_NONE;
}
