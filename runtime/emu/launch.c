/* launch.c: runs a grid: checks what the caller asked for, spreads clusters over host threads,
 * schedules the warps of each. A cluster that spins too long is set aside while others start, so
 * that kernels whose CTAs wait for each other end. */
#include "runtime/emu/machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { SLICE = 2000, RESIDENT = 256 };
static const uint64_t CLUSTER_SLICE = 1 << 22; /* warp instructions before others may start */

uint64_t next_random(uint64_t *state) {
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- a cluster ------------------------------------------------------------------------------- */

static void set_special(Warp *w, Special special, uint64_t value) {
    if (!(w->machine->module->specials_used >> special & 1)) return;
    uint32_t *narrow = (uint32_t *)(void *)(w->specials + special * SPECIAL_BYTES);
    uint64_t *wide = (uint64_t *)(void *)narrow;
    for (int l = 0; l < LANES; l++) {
        if (special == SPECIAL_gridid)
            wide[l] = value;
        else
            narrow[l] = (uint32_t)value;
    }
}

static void fill_specials(Warp *w) {
    const Machine *m = w->machine;
    const EmuLaunch *launch = m->launch;
    const Cta *cta = w->cta;
    uint32_t in_cluster[3];
    for (int i = 0; i < 3; i++) in_cluster[i] = cta->id[i] % m->cluster[i];
    for (uint32_t i = 0; i < 3; i++) {
        set_special(w, SPECIAL_ntid_x + i, launch->block[i]);
        set_special(w, SPECIAL_ctaid_x + i, cta->id[i]);
        set_special(w, SPECIAL_nctaid_x + i, launch->grid[i]);
        set_special(w, SPECIAL_clusterid_x + i, cta->id[i] / m->cluster[i]);
        set_special(w, SPECIAL_nclusterid_x + i, m->clusters[i]);
        set_special(w, SPECIAL_cluster_ctaid_x + i, in_cluster[i]);
        set_special(w, SPECIAL_cluster_nctaid_x + i, m->cluster[i]);
    }
    set_special(w, SPECIAL_cluster_ctarank, cta->rank);
    set_special(w, SPECIAL_cluster_nctarank, w->cluster->cta_count);
    set_special(w, SPECIAL_warpid, w->index);
    set_special(w, SPECIAL_nwarpid, m->warps_per_cta);
    set_special(w, SPECIAL_smid, cta->linear % 132);
    set_special(w, SPECIAL_nsmid, 132);
    set_special(w, SPECIAL_gridid, 1);
    set_special(w, SPECIAL_dynamic_smem_size, launch->dynamic_shared);
    set_special(w, SPECIAL_total_smem_size, m->shared_size);
    for (uint32_t l = 0; l < LANES; l++) {
        uint32_t thread = w->index * LANES + l, bit = 1u << l;
        uint32_t values[][2] = {{SPECIAL_tid_x, thread % launch->block[0]},
                                {SPECIAL_tid_y, thread / launch->block[0] % launch->block[1]},
                                {SPECIAL_tid_z, thread / launch->block[0] / launch->block[1]},
                                {SPECIAL_laneid, l},
                                {SPECIAL_lanemask_eq, bit},
                                {SPECIAL_lanemask_lt, bit - 1},
                                {SPECIAL_lanemask_le, bit - 1 + bit},
                                {SPECIAL_lanemask_ge, ~(bit - 1)},
                                {SPECIAL_lanemask_gt, ~(bit - 1 + bit)}};
        for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
            if (m->module->specials_used >> values[i][0] & 1)
                ((uint32_t *)(void *)(w->specials + values[i][0] * SPECIAL_BYTES))[l] =
                    values[i][1];
    }
}

static void start_cta(Cluster *cluster, uint32_t rank, const uint32_t origin[3]) {
    Machine *m = cluster->machine;
    Cta *cta = &cluster->ctas[rank];
    cta->cluster = cluster;
    cta->rank = rank;
    uint32_t place[3] = {rank % m->cluster[0], rank / m->cluster[0] % m->cluster[1],
                         rank / m->cluster[0] / m->cluster[1]};
    for (int i = 0; i < 3; i++) cta->id[i] = origin[i] * m->cluster[i] + place[i];
    const uint32_t *grid = m->launch->grid;
    cta->linear = (cta->id[2] * grid[1] + cta->id[1]) * grid[0] + cta->id[0];
    uint32_t bytes = SHARED_BASE + m->shared_size;
    cta->shared = cluster_alloc_raw(cluster, bytes + 64);
    memset(cta->shared, 0xff, bytes); /* NaNs, and indices that lead nowhere */
    if (m->checks & (EMU_CHECK_RACES | EMU_CHECK_UNINITIALISED) && m->shared_size) {
        cta->shadow.cells = cluster_array(cluster, Cell, bytes / 4 + 1);
        cta->shadow.split_of = cluster_array(cluster, uint32_t, bytes / 4 + 1);
        for (uint32_t i = 0; i < bytes / 4 + 1; i++) {
            Cell *cell = &cta->shadow.cells[i];
            cell->writer = cell->reader[0] = cell->reader[1] = NO_AGENT;
        }
    }
    cta->first_warp = rank * m->warps_per_cta;
    cta->warp_count = cta->live_warps = m->warps_per_cta;
    for (uint32_t i = 0; i < m->warps_per_cta; i++) {
        Warp *w = &cluster->warps[cta->first_warp + i];
        w->cta = cta;
        w->cluster = cluster;
        w->machine = m;
        w->index = i;
        w->agent = cta->first_warp + i;
        w->specials = cluster_alloc_raw(cluster, SPECIAL_COUNT * SPECIAL_BYTES);
        if (m->local_size) w->local = cluster_alloc(cluster, (size_t)m->local_size * LANES);
        w->seen = cluster_array(cluster, uint32_t, cluster->agent_capacity);
        w->fenced = cluster_array(cluster, uint32_t, cluster->agent_capacity);
        w->seen[w->agent] = ++cluster->time;
        w->wgmma_group = 1;
        fill_specials(w);
        uint32_t lanes = m->threads_per_cta - i * LANES;
        warp_start(w, lanes >= LANES ? ALL_LANES : ((Mask)1 << lanes) - 1);
    }
}

static void cluster_free(Cluster *cluster, Slab **slabs) {
    Slab *slab = cluster->slab;
    slab->next = *slabs;
    *slabs = slab;
    Arena arena = cluster->arena_itself;
    arena_free(&arena);
    free(cluster);
}

static bool cluster_fill(Cluster *cluster, uint64_t number) {
    Machine *m = cluster->machine;
    if (setjmp(cluster->exhausted)) return false;
    uint32_t origin[3] = {(uint32_t)(number % m->clusters[0]),
                          (uint32_t)(number / m->clusters[0] % m->clusters[1]),
                          (uint32_t)(number / m->clusters[0] / m->clusters[1])};
    cluster->cta_count = m->cluster[0] * m->cluster[1] * m->cluster[2];
    cluster->warp_count = cluster->live_warps = cluster->cta_count * m->warps_per_cta;
    cluster->agents = 3 * cluster->warp_count;
    cluster->agent_capacity = cluster->agents + (m->shared_size ? MBARRIER_AGENTS : 0);
    cluster->ctas = cluster_array(cluster, Cta, cluster->cta_count);
    cluster->warps = cluster_array(cluster, Warp, cluster->warp_count);
    cluster->barrier_seen = cluster_array(cluster, uint32_t, cluster->agent_capacity);
    cluster->barrier_fenced = cluster_array(cluster, uint32_t, cluster->agent_capacity);
    cluster->released_seen = cluster_array(cluster, uint32_t, cluster->agent_capacity);
    cluster->released_fenced = cluster_array(cluster, uint32_t, cluster->agent_capacity);
    cluster->random = m->seed * 0x2545f4914f6cdd1du + number;
    for (uint32_t rank = 0; rank < cluster->cta_count; rank++) start_cta(cluster, rank, origin);
    cluster->counts->total.ctas += cluster->cta_count;
    cluster->counts->total.warps += cluster->warp_count;
    return true;
}

/* A slab from the pool, grown when the last user wanted more; NULL: out of memory. */
static Slab *take_slab(Slab **slabs) {
    Slab *slab = *slabs;
    if (slab) *slabs = slab->next;
    if (!slab) slab = calloc(1, sizeof *slab);
    if (!slab) return NULL;
    if (slab->wanted > slab->size) {
        free(slab->memory);
        slab->size = slab->wanted + slab->wanted / 4;
        slab->memory = malloc(slab->size);
        if (!slab->memory) slab->size = 0;
    }
    slab->used = slab->wanted = 0;
    return slab;
}

static void free_slabs(Slab *slab) {
    while (slab) {
        Slab *next = slab->next;
        free(slab->memory);
        free(slab);
        slab = next;
    }
}

void *cluster_alloc_raw(Cluster *cluster, size_t size) {
    Slab *slab = cluster->slab;
    size = (size + 63) & ~(size_t)63;
    slab->wanted += size;
    if (size > slab->size - slab->used) return arena_alloc(cluster->arena, size);
    slab->used += size;
    return slab->memory + slab->used - size;
}

void *cluster_alloc(Cluster *cluster, size_t size) {
    return memset(cluster_alloc_raw(cluster, size), 0, size);
}

static Cluster *cluster_start(Machine *m, uint64_t number, ThreadCounts *counts, Slab **slabs) {
    Cluster *cluster = calloc(1, sizeof *cluster);
    Slab *slab = take_slab(slabs);
    if (!cluster || !slab) {
        free(cluster);
        if (slab) slab->next = *slabs, *slabs = slab;
        return NULL;
    }
    arena_init(&cluster->arena_itself, 0);
    cluster->arena = &cluster->arena_itself;
    cluster->slab = slab;
    cluster->machine = m;
    cluster->counts = counts;
    cluster->arena->on_exhausted = &cluster->exhausted;
    if (cluster_fill(cluster, number)) return cluster;
    cluster_free(cluster, slabs);
    return NULL;
}

static bool warp_runnable(const Warp *w) {
    for (uint32_t i = 0; i < w->fragment_count; i++)
        if (w->fragments[i].wait == WAIT_NOTHING) return true;
    return false;
}

/* Nothing runs: waits for an mbarrier may be told "not yet", a few times. */
static bool time_out_waits(Cluster *cluster) {
    bool any = false;
    for (uint32_t i = 0; i < cluster->warp_count; i++) {
        Warp *w = &cluster->warps[i];
        for (uint32_t k = 0; k < w->fragment_count; k++) {
            Fragment *f = &w->fragments[k];
            if (f->wait != WAIT_MBARRIER || f->timeouts >= 4) continue;
            f->timeouts++;
            mbarrier_time_out(w, f);
            any = true;
        }
    }
    return any;
}

static Warp *choose(Cluster *cluster) {
    uint32_t count = cluster->warp_count;
    uint32_t first = cluster->next_warp;
    if (cluster->machine->seed) first = (uint32_t)(next_random(&cluster->random) % count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = first + i < count ? first + i : first + i - count;
        if (!warp_runnable(&cluster->warps[k])) continue;
        cluster->next_warp = k + 1 < count ? k + 1 : 0;
        return &cluster->warps[k];
    }
    return NULL;
}

static bool stuck(Cluster *cluster) {
    Text text = {.arena = cluster->arena};
    cluster_describe_waits(cluster, &text);
    cluster_fault(cluster, EMU_DEADLOCK, "nothing can go on: %s", text.data ? text.data : "");
    return false;
}

typedef enum Turn { TURN_OVER, TURN_DONE, TURN_FAULT } Turn;

static bool stopped(const Machine *m) {
    return __atomic_load_n(&m->stop, __ATOMIC_RELAXED);
}

/* Runs warps until all have exited, or the slice is used up. */
static Turn cluster_run(Cluster *cluster, uint64_t slice) {
    Machine *m = cluster->machine;
    if (setjmp(cluster->exhausted)) {
        cluster_fault(cluster, EMU_MEMORY, "out of host memory");
        return TURN_FAULT;
    }
    uint64_t until = cluster->executed + slice;
    while (cluster->live_warps) {
        if (stopped(m)) return TURN_FAULT;
        if (m->launch->cancel && *m->launch->cancel) {
            cluster_fault(cluster, EMU_CANCELLED, "the caller asked to stop");
            return TURN_FAULT;
        }
        if (cluster->executed > m->limit) {
            cluster_fault(cluster, EMU_LIMIT, "still running after %llu warp instructions",
                          (unsigned long long)cluster->executed);
            return TURN_FAULT;
        }
        if (cluster->executed > until) return TURN_OVER;
        if (cluster->pending_count && (!m->seed || next_random(&cluster->random) % 4 == 0)) {
            uint32_t which =
                m->seed ? (uint32_t)(next_random(&cluster->random) % cluster->pending_count) : 0;
            if (m->seed || cluster->executed % 2) {
                if (!pending_land(cluster, which)) return TURN_FAULT;
            }
        }
        Warp *w = choose(cluster);
        if (!w) {
            if (cluster->pending_count) {
                if (!pending_land(cluster, 0)) return TURN_FAULT;
            } else if (!time_out_waits(cluster)) {
                stuck(cluster);
                return TURN_FAULT;
            }
            continue;
        }
        uint64_t budget = m->seed ? 1 + next_random(&cluster->random) % 400 : SLICE;
        if (warp_run(w, budget) == RAN_FAULT) return TURN_FAULT;
    }
    while (cluster->pending_count)
        if (!pending_land(cluster, 0)) return TURN_FAULT;
    return TURN_DONE;
}

/* ---- host threads ---------------------------------------------------------------------------- */

typedef struct Worker {
    Machine *machine;
    ThreadCounts *counts;
    pthread_t thread;
    uint64_t cluster_count;
} Worker;

static void out_of_memory(Machine *m) {
    pthread_mutex_lock(m->lock);
    if (m->fault.kind == EMU_NONE) {
        m->fault = (EmuFault){.kind = EMU_MEMORY, .warp = -1, .lane = -1};
        snprintf(m->fault.message, sizeof m->fault.message, "out of host memory");
    }
    __atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(m->lock);
}

static void *work(void *context) {
    Worker *worker = context;
    Machine *m = worker->machine;
    Cluster *resident[RESIDENT];
    uint32_t count = 0, turn = 0;
    Slab *slabs = NULL;
    bool more = true;
    while (!stopped(m) && (more || count)) {
        bool fresh = count == 0 || (turn == 0 && count < RESIDENT && more);
        if (fresh && more) {
            uint64_t number = __atomic_fetch_add(&m->next_cluster, 1, __ATOMIC_RELAXED);
            more = number < worker->cluster_count;
            if (more) {
                resident[count] = cluster_start(m, number, worker->counts, &slabs);
                if (!resident[count]) {
                    out_of_memory(m);
                    break;
                }
                count++;
            }
        }
        if (!count) continue;
        turn = turn < count ? turn : 0;
        Turn result = cluster_run(resident[turn], CLUSTER_SLICE);
        if (result == TURN_OVER) {
            turn = turn + 1 < count ? turn + 1 : 0;
            continue;
        }
        cluster_free(resident[turn], &slabs);
        resident[turn] = resident[--count];
    }
    while (count) cluster_free(resident[--count], &slabs);
    free_slabs(slabs);
    return NULL;
}

/* ---- a launch -------------------------------------------------------------------------------- */

static bool refuse(EmuResult *result, const char *format, ...) PRINTF_LIKE(2, 3);
static bool refuse(EmuResult *result, const char *format, ...) {
    va_list args;
    va_start(args, format);
    result->fault = (EmuFault){.kind = EMU_LAUNCH, .warp = -1, .lane = -1};
    int n = snprintf(result->fault.message, sizeof result->fault.message, "bad launch: ");
    vsnprintf(result->fault.message + n, sizeof result->fault.message - (size_t)n, format, args);
    va_end(args);
    return false;
}

static bool check_shape(Machine *m, EmuResult *result) {
    const EmuEntry *e = m->entry;
    const EmuLaunch *launch = m->launch;
    uint64_t threads = 1, ctas = 1, in_cluster = 1;
    for (int i = 0; i < 3; i++) {
        m->cluster[i] = launch->cluster[i] ? launch->cluster[i] : e->cluster[i] ? e->cluster[i] : 1;
        if (!launch->grid[i] || !launch->block[i] || launch->block[i] > 1024 ||
            (i && launch->grid[i] > 65535))
            return refuse(result, "grid (%u,%u,%u) of blocks (%u,%u,%u)", launch->grid[0],
                          launch->grid[1], launch->grid[2], launch->block[0], launch->block[1],
                          launch->block[2]);
        threads *= launch->block[i];
        in_cluster *= m->cluster[i];
        if (launch->grid[i] % m->cluster[i])
            return refuse(result, "grid extent %u is not a multiple of the cluster's %u",
                          launch->grid[i], m->cluster[i]);
        m->clusters[i] = launch->grid[i] / m->cluster[i];
        ctas *= m->clusters[i];
        if (e->required_block[0] && e->required_block[i] != launch->block[i])
            return refuse(result, "`%s` requires blocks of (%u,%u,%u)", e->name,
                          e->required_block[0], e->required_block[1], e->required_block[2]);
    }
    if (threads > 1024) return refuse(result, "%llu threads a block", (unsigned long long)threads);
    uint64_t most = (uint64_t)e->max_block[0] * e->max_block[1] * e->max_block[2];
    if (most && threads > most)
        return refuse(result, "`%s` takes blocks of at most %llu threads", e->name,
                      (unsigned long long)most);
    if (in_cluster > MAX_CTAS)
        return refuse(result, "a cluster of %llu CTAs", (unsigned long long)in_cluster);
    m->threads_per_cta = (uint32_t)threads;
    m->warps_per_cta = (m->threads_per_cta + LANES - 1) / LANES;
    uint64_t shared = (uint64_t)e->shared_size + launch->dynamic_shared;
    uint32_t target = m->module->ptx->target;
    uint32_t limit = target >= 90                   ? SHARED_LIMIT
                     : target == 86 || target == 89 ? 99 << 10
                                                    : 163 << 10;
    if (shared > limit)
        return refuse(result, "%llu bytes of shared memory; sm_%u has at most %u",
                      (unsigned long long)shared, target, limit);
    m->shared_size = (uint32_t)shared;
    if (e->parameter_size && !launch->parameters) return refuse(result, "no parameters given");
    return true;
}

static int by_address(const void *a, const void *b) {
    const EmuBuffer *x = *(const EmuBuffer *const *)a, *y = *(const EmuBuffer *const *)b;
    return x->address < y->address ? -1 : x->address > y->address;
}

static bool map_memory(Machine *m, Arena *arena, EmuResult *result) {
    const EmuLaunch *launch = m->launch;
    const EmuModule *module = m->module;
    uint64_t variables = module->const_base - MODULE_WINDOW;
    uint8_t *image = arena_alloc(arena, module->global_size + 16);
    memcpy(image, module->global_image, module->global_size);
    m->variables = (EmuBuffer){
        .address = MODULE_WINDOW, .size = variables, .data = image, .name = "module variables"};
    m->constants = (EmuBuffer){.address = module->const_base,
                               .data = image + variables,
                               .size = module->global_size - variables,
                               .name = "module constants",
                               .read_only = true};
    m->sorted = arena_array(arena, const EmuBuffer *, launch->buffer_count + 2);
    if (m->variables.size) m->sorted[m->buffer_count++] = &m->variables;
    if (m->constants.size) m->sorted[m->buffer_count++] = &m->constants;
    for (uint32_t i = 0; i < launch->buffer_count; i++) {
        const EmuBuffer *b = &launch->buffers[i];
        if (!b->size) continue;
        if (b->address < LOWEST_BUFFER || b->address + b->size < b->address || !b->data)
            return refuse(result, "buffer `%s` at 0x%llx", b->name ? b->name : "?",
                          (unsigned long long)b->address);
        m->sorted[m->buffer_count++] = b;
    }
    qsort(m->sorted, m->buffer_count, sizeof *m->sorted, by_address);
    for (uint32_t i = 1; i < m->buffer_count; i++)
        if (m->sorted[i]->address - m->sorted[i - 1]->address < m->sorted[i - 1]->size)
            return refuse(result, "buffers `%s` and `%s` overlap", m->sorted[i - 1]->name,
                          m->sorted[i]->name);
    return true;
}

static bool run_once(Machine *m, Arena *arena, ThreadCounts *counts, uint32_t threads) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    uint64_t clusters = (uint64_t)m->clusters[0] * m->clusters[1] * m->clusters[2];
    Worker *workers = arena_array(arena, Worker, threads);
    m->lock = &lock;
    m->next_cluster = 0;
    __atomic_store_n(&m->stop, false, __ATOMIC_RELAXED);
    m->fault = (EmuFault){0};
    uint32_t started = 1;
    for (uint32_t t = 0; t < threads; t++)
        workers[t] = (Worker){.machine = m, .counts = &counts[t], .cluster_count = clusters};
    for (; started < threads; started++)
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started])) break;
    work(&workers[0]);
    for (uint32_t t = 1; t < started; t++) pthread_join(workers[t].thread, NULL);
    m->lock = NULL;
    return m->fault.kind == EMU_NONE;
}

/* ---- several schedules, one answer ----------------------------------------------------------- */

typedef struct Saved {
    uint8_t *before, *first;
} Saved;

static bool same_answer(const EmuLaunch *launch, const Saved *saved, uint64_t seed,
                        EmuResult *result) {
    for (uint32_t i = 0; i < launch->buffer_count; i++) {
        const EmuBuffer *b = &launch->buffers[i];
        if (b->read_only || !b->size || !memcmp(b->data, saved[i].first, b->size)) continue;
        uint64_t at = 0;
        while (b->data[at] == saved[i].first[at]) at++;
        result->fault =
            (EmuFault){.kind = EMU_SCHEDULE, .warp = -1, .lane = -1, .address = b->address + at};
        snprintf(result->fault.message, sizeof result->fault.message,
                 "answer depends on the schedule: byte %llu of `%s` is 0x%02x, but 0x%02x with "
                 "seed %llu",
                 (unsigned long long)at, b->name, saved[i].first[at], b->data[at],
                 (unsigned long long)seed);
        return false;
    }
    return true;
}

static bool run_schedules(Machine *m, Arena *arena, ThreadCounts *counts, uint32_t threads,
                          EmuResult *result) {
    const EmuLaunch *launch = m->launch;
    uint32_t rounds = launch->schedules > 1 ? launch->schedules : 1;
    Saved *saved = arena_array(arena, Saved, launch->buffer_count + 1);
    for (uint32_t i = 0; rounds > 1 && i < launch->buffer_count; i++) {
        if (launch->buffers[i].read_only || !launch->buffers[i].size) continue;
        saved[i].before = arena_alloc(arena, launch->buffers[i].size);
        saved[i].first = arena_alloc(arena, launch->buffers[i].size);
        memcpy(saved[i].before, launch->buffers[i].data, launch->buffers[i].size);
    }
    for (uint32_t round = 0; round < rounds; round++) {
        m->seed = launch->seed + round;
        for (uint32_t i = 0; round && i < launch->buffer_count; i++)
            if (saved[i].before)
                memcpy(launch->buffers[i].data, saved[i].before, launch->buffers[i].size);
        if (round && m->variables.size)
            memcpy(m->variables.data, m->module->global_image, m->variables.size);
        if (!run_once(m, arena, counts, threads)) {
            result->fault = m->fault;
            return false;
        }
        for (uint32_t i = 0; !round && rounds > 1 && i < launch->buffer_count; i++)
            if (saved[i].first)
                memcpy(saved[i].first, launch->buffers[i].data, launch->buffers[i].size);
        if (round && !same_answer(launch, saved, m->seed, result)) return false;
    }
    return true;
}

bool emu_launch(Arena *arena, const EmuEntry *entry, const EmuLaunch *launch, EmuResult *result) {
    *result = (EmuResult){0};
    Machine machine = {.module = entry->module,
                       .entry = entry,
                       .launch = launch,
                       .checks = launch->checks,
                       .counters = launch->counters,
                       .local_size = entry->local_size,
                       .limit = launch->instruction_limit ? launch->instruction_limit
                                                          : (uint64_t)1 << 36};
    Machine *m = &machine;
    if (!launch->grid[0] || !launch->grid[1] || !launch->grid[2]) return true; /* nothing to do */
    if (!check_shape(m, result)) return false;
    for (uint32_t i = 0; i < entry->module->codes.length; i++)
        if (!strcmp(entry->module->codes.data[i]->function->name, entry->name) &&
            entry->module->codes.data[i]->function->defined)
            m->code = entry->module->codes.data[i];
    Arena scratch;
    arena_init(&scratch, 0);
    jmp_buf exhausted;
    scratch.on_exhausted = &exhausted;
    bool fine = false;
    if (setjmp(exhausted)) {
        result->fault = (EmuFault){.kind = EMU_MEMORY, .warp = -1, .lane = -1};
        snprintf(result->fault.message, sizeof result->fault.message, "out of host memory");
        arena_free(&scratch);
        return false;
    }
    m->parameters = arena_alloc(&scratch, entry->parameter_size + 16);
    if (entry->parameter_size) memcpy(m->parameters, launch->parameters, entry->parameter_size);
    if (map_memory(m, &scratch, result)) {
        long host = sysconf(_SC_NPROCESSORS_ONLN);
        uint32_t threads = launch->threads ? launch->threads : host > 0 ? (uint32_t)host : 1;
        uint64_t clusters = (uint64_t)m->clusters[0] * m->clusters[1] * m->clusters[2];
        if (threads > clusters) threads = (uint32_t)clusters;
        if (threads > 256) threads = 256;
        ThreadCounts *counts = arena_array(&scratch, ThreadCounts, threads);
        for (uint32_t t = 0; t < threads; t++)
            counts[t].by_pc = arena_array(&scratch, InstCount, entry->module->insts.length + 1);
        fine = run_schedules(m, &scratch, counts, threads, result);
        counters_finish(arena, m, counts, threads, &result->counters);
    }
    arena_free(&scratch);
    return fine;
}
