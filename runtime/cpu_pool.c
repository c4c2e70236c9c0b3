/* cpu_pool.c: helpers, the list of jobs they look at, and blocks of scratch that are used again.
 *
 * To wake a thread takes longer than many launches last. So a job that is expected to be short runs
 * on the caller's thread, and whoever has to wait, a helper for work or a caller for its helpers,
 * looks for a while before it sleeps.
 */
#include "runtime/cpu_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_HELPERS = 512, HUGE_PAGE = 2 << 20 };
#define ALWAYS UINT64_MAX

/* In nanoseconds: a job that pays for a helper, a piece that pays for taking it, and how long one
 * looks before one sleeps. */
enum { LEAST_JOB = 6000, LEAST_PIECE = 2000, LOOKS = 50000 };

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
    /* Written with the pool's lock. */
    atomic_uint helpers;
    uint32_t wanted;
    bool waited_for;
} Job;

struct CpuPool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    Job *jobs;
    Scratch *scratch;
    pthread_t threads[MOST_HELPERS];
    uint32_t processors, count, looking;
    atomic_uint news; /* jobs so far, and the end */
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

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Lets others run who have no processor now: it may be one of them that is waited for. */
static void pause_briefly(void) {
#if defined(__x86_64__)
    for (int i = 0; i < 8; i++) __builtin_ia32_pause();
#endif
    sched_yield();
}

/* Until the number is another one, or for as long as looking is worth it. */
static void look_while(atomic_uint *number, uint32_t is) {
    const uint64_t start = now();
    while (atomic_load_explicit(number, memory_order_acquire) == is && now() - start < LOOKS)
        pause_briefly();
}

/* Pieces are taken in order, so that a program may wait for one with a lower number. Begins none
 * after `until`. Returns how many items were done. */
static uint64_t take_part(CpuPool *pool, Job *job, uint64_t until) {
    uint64_t done = 0;
    Scratch *scratch = scratch_take(pool, job->scratch_size);
    if (!scratch) {
        atomic_store(&job->starved, true);
        return 0;
    }
    while (!atomic_load_explicit(&job->stop, memory_order_relaxed) &&
           (until == ALWAYS || now() < until)) {
        const uint64_t first = atomic_fetch_add(&job->taken, job->piece);
        if (first >= job->items) break;
        const uint64_t left = job->items - first;
        const uint64_t last = first + (left < job->piece ? left : job->piece);
        done += last - first;
        if (!job->work(job->context, first, last, scratch->data)) atomic_store(&job->stop, true);
    }
    scratch_give(pool, scratch);
    return done;
}

static Job *job_with_room(CpuPool *pool) {
    for (Job *job = pool->jobs; job; job = job->next)
        if (job->wanted) return job;
    return NULL;
}

/* Called, and returns, with the lock. */
static void wait_for_news(CpuPool *pool) {
    const uint32_t news = atomic_load(&pool->news);
    pool->looking++;
    pthread_mutex_unlock(&pool->lock);
    look_while(&pool->news, news);
    pthread_mutex_lock(&pool->lock);
    pool->looking--;
    while (atomic_load(&pool->news) == news) pthread_cond_wait(&pool->work, &pool->lock);
}

static void *help(void *argument) {
    CpuPool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        Job *job = job_with_room(pool);
        if (!job) {
            wait_for_news(pool);
            continue;
        }
        job->wanted--;
        atomic_fetch_add(&job->helpers, 1);
        pthread_mutex_unlock(&pool->lock);
        take_part(pool, job, ALWAYS);
        pthread_mutex_lock(&pool->lock);
        job->wanted = 0; /* there is nothing left to take */
        if (job->waited_for) pthread_cond_broadcast(&pool->done);
        atomic_fetch_sub(&job->helpers, 1); /* and now the job may be gone */
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
    atomic_fetch_add(&pool->news, 1);
    const uint32_t asleep = wanted > pool->looking ? wanted - pool->looking : 0;
    if (asleep == 1)
        pthread_cond_signal(&pool->work);
    else if (asleep)
        pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void send_helpers_off(CpuPool *pool, Job *job) {
    pthread_mutex_lock(&pool->lock);
    Job **at = &pool->jobs;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    pthread_mutex_unlock(&pool->lock);
    const uint64_t start = now();
    while (atomic_load_explicit(&job->helpers, memory_order_acquire) && now() - start < LOOKS)
        pause_briefly();
    pthread_mutex_lock(&pool->lock);
    job->waited_for = true;
    while (atomic_load(&job->helpers)) pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

/* How many items are taken at once: enough to pay for it, but so few that all threads end together.
 */
static uint64_t piece_of(uint64_t items, uint32_t threads, uint64_t item_ns) {
    enum { USUAL = 64 };
    uint64_t piece = items / ((uint64_t)threads * 32), few = items / ((uint64_t)threads * 4);
    if (piece > USUAL) piece = USUAL;
    const uint64_t enough = item_ns ? LEAST_PIECE / item_ns : 0;
    if (piece < enough) piece = enough < few ? enough : few;
    return piece ? piece : 1;
}

bool cpu_pool_run(CpuPool *pool, uint64_t items, uint32_t threads, size_t scratch_size,
                  CpuItemTime *time, CpuWork *work, void *context) {
    Job job = {.work = work, .context = context, .items = items, .scratch_size = scratch_size};
    const uint64_t known = atomic_load_explicit(time, memory_order_relaxed);
    if (threads == 0) threads = pool->processors;
    if (threads > items) threads = (uint32_t)items;
    job.piece = piece_of(items, threads, known);
    const bool brief = known && known <= LEAST_JOB && items * known <= LEAST_JOB;
    const uint64_t start = now();
    uint64_t done = 0;
    if (brief) done = take_part(pool, &job, start + 2 * LEAST_JOB);
    const bool more = atomic_load(&job.taken) < items; /* it may take longer than the last time */
    if (more && threads > 1) call_helpers(pool, &job, threads - 1);
    if (more) done += take_part(pool, &job, ALWAYS);
    if (done) {
        const uint64_t took = (now() - start) / done;
        atomic_store_explicit(time, took ? took : 1, memory_order_relaxed);
    }
    if (more && threads > 1) send_helpers_off(pool, &job);
    /* A helper without memory is one less; without anybody nothing was done. */
    return !(job.starved && atomic_load(&job.taken) < items && !job.stop);
}

/* ---- the pool
 * ---------------------------------------------------------------------------------------- */

CpuPool *cpu_pool_new(void) {
    CpuPool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->processors = cpu_threads();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    return pool;
}

void cpu_pool_free(CpuPool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    atomic_fetch_add(&pool->news, 1);
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
