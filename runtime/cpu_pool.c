/* cpu_pool.c: helpers, the list of jobs they look at, and blocks of scratch that are used again. */
#include "runtime/cpu_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_HELPERS = 512, HUGE_PAGE = 2 << 20 };

typedef struct Scratch {
    struct Scratch *next;
    uint8_t *data;
    size_t size;
} Scratch;

typedef struct Job {
    struct Job *next;
    CpuWork *work;
    void *context;
    uint64_t items, piece;
    size_t scratch_size;
    atomic_uint_fast64_t taken;
    atomic_bool stop, starved;
    uint32_t wanted, helpers; /* guarded by the pool's lock */
} Job;

struct CpuPool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    Job *jobs;
    Scratch *scratch;
    pthread_t threads[MOST_HELPERS];
    uint32_t count;
    bool closing;
};

/* ---- how many
 * ------------------------------------------------------------------------------------ */

/* Processors that the quota of the control group stands for; 0: no quota. */
static uint32_t quota(void) {
    char text[64];
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    long long most = 0, period = 0;
    const bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    if (!read || sscanf(text, "%lld %lld", &most, &period) != 2 || period <= 0 || most <= 0)
        return 0;
    const long long n = (most + period - 1) / period;
    return n < MOST_HELPERS ? (uint32_t)n : MOST_HELPERS;
}

uint32_t cpu_threads(void) {
    const char *wanted = getenv("TKC_NUM_THREADS");
    const long given = wanted ? strtol(wanted, NULL, 10) : 0;
    if (given > 0) return given < MOST_HELPERS ? (uint32_t)given : MOST_HELPERS;
    cpu_set_t set;
    uint32_t count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = (uint32_t)CPU_COUNT(&set);
    const uint32_t limit = quota();
    if (limit && limit < count) count = limit;
    return count ? count : 1;
}

/* ---- scratch
 * --------------------------------------------------------------------------------------- */

static void scratch_free(Scratch *scratch) {
    free(scratch->data);
    free(scratch);
}

static Scratch *scratch_take(CpuPool *pool, size_t size) {
    pthread_mutex_lock(&pool->lock);
    Scratch **at = &pool->scratch, *found = NULL;
    while (*at && (*at)->size < size) at = &(*at)->next;
    if ((found = *at)) *at = found->next;
    pthread_mutex_unlock(&pool->lock);
    if (found) return found;
    found = calloc(1, sizeof *found);
    if (!found) return NULL;
    const size_t unit = size >= HUGE_PAGE ? HUGE_PAGE : 4096;
    found->size = (size + unit - 1) / unit * unit;
    found->data = aligned_alloc(unit, found->size);
    if (!found->data) {
        free(found);
        return NULL;
    }
    if (unit == HUGE_PAGE) madvise(found->data, found->size, MADV_HUGEPAGE);
    memset(found->data, 0, found->size);
    return found;
}

static void scratch_give(CpuPool *pool, Scratch *scratch) {
    enum { MOST_KEPT = 64 };
    uint32_t kept = 0;
    pthread_mutex_lock(&pool->lock);
    for (const Scratch *s = pool->scratch; s; s = s->next) kept++;
    if (kept < MOST_KEPT) {
        scratch->next = pool->scratch;
        pool->scratch = scratch;
        scratch = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    if (scratch) scratch_free(scratch);
}

/* ---- work
 * ------------------------------------------------------------------------------------------- */

/* Pieces are taken in order, so that a program may wait for one with a lower number. */
static void take_part(CpuPool *pool, Job *job) {
    Scratch *scratch = scratch_take(pool, job->scratch_size);
    if (!scratch) {
        atomic_store(&job->starved, true);
        return;
    }
    while (!atomic_load_explicit(&job->stop, memory_order_relaxed)) {
        const uint64_t first = atomic_fetch_add(&job->taken, job->piece);
        if (first >= job->items) break;
        const uint64_t left = job->items - first;
        const uint64_t last = first + (left < job->piece ? left : job->piece);
        if (!job->work(job->context, first, last, scratch->data)) atomic_store(&job->stop, true);
    }
    scratch_give(pool, scratch);
}

static Job *job_with_room(CpuPool *pool) {
    for (Job *job = pool->jobs; job; job = job->next)
        if (job->wanted) return job;
    return NULL;
}

static void *help(void *argument) {
    CpuPool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        Job *job = job_with_room(pool);
        if (!job) {
            pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        job->wanted--;
        job->helpers++;
        pthread_mutex_unlock(&pool->lock);
        take_part(pool, job);
        pthread_mutex_lock(&pool->lock);
        job->wanted = 0; /* there is nothing left to take */
        if (--job->helpers == 0) pthread_cond_broadcast(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void call_helpers(CpuPool *pool, Job *job, uint32_t wanted) {
    pthread_mutex_lock(&pool->lock);
    while (pool->count < wanted && pool->count < MOST_HELPERS) {
        if (pthread_create(&pool->threads[pool->count], NULL, help, pool)) break;
        pool->count++;
    }
    job->wanted = wanted;
    Job **at = &pool->jobs;
    while (*at) at = &(*at)->next;
    *at = job;
    if (wanted == 1)
        pthread_cond_signal(&pool->work);
    else
        pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void send_helpers_off(CpuPool *pool, Job *job) {
    pthread_mutex_lock(&pool->lock);
    Job **at = &pool->jobs;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    while (job->helpers) pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

bool cpu_pool_run(CpuPool *pool, uint64_t items, uint32_t threads, size_t scratch_size,
                  CpuWork *work, void *context) {
    Job job = {.work = work, .context = context, .items = items, .scratch_size = scratch_size};
    if (threads == 0) threads = cpu_threads();
    if (threads > items) threads = (uint32_t)items;
    job.piece = items / ((uint64_t)threads * 32);
    job.piece = job.piece < 1 ? 1 : job.piece > 64 ? 64 : job.piece;
    if (threads > 1) call_helpers(pool, &job, threads - 1);
    take_part(pool, &job);
    if (threads > 1) send_helpers_off(pool, &job);
    /* A helper without memory is one less; without anybody nothing was done. */
    return !(job.starved && atomic_load(&job.taken) < items && !job.stop);
}

/* ---- the pool
 * ---------------------------------------------------------------------------------------- */

CpuPool *cpu_pool_new(void) {
    CpuPool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    return pool;
}

void cpu_pool_free(CpuPool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->count; i++) pthread_join(pool->threads[i], NULL);
    for (Scratch *s = pool->scratch, *next; s; s = next) {
        next = s->next;
        scratch_free(s);
    }
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
