/* t_threads.c: one context, one device and one kernel used from many threads at once: compiles,
 * launches, buffers that come and go, faults and error texts of each thread's own. Meant for the
 * thread sanitizer. */
#include "tests/runtime_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 4, ROUNDS = 12, N = 512 };

typedef struct Shared {
    Machine m;
    tkc_kernel *kernel;
    atomic_uint compiles, lines;
} Shared;

typedef struct Worker {
    Shared *shared;
    uint32_t number;
    pthread_t thread;
} Worker;

static void count_compile(void *user, const tkc_compile_event *event) {
    (void)event;
    atomic_fetch_add(&((Shared *)user)->compiles, 1);
}

static void launch_add(const Worker *w, tkc_kernel *kernel, uint32_t round) {
    const Machine *m = &w->shared->m;
    float x[N], y[N], out[N];
    for (uint32_t i = 0; i < N; i++) x[i] = (float)(i + round), y[i] = (float)w->number;
    tkc_buffer *a = buffer_of(m, "a", x, sizeof x), *b = buffer_of(m, "b", y, sizeof y), *c;
    ok(tkc_buffer_create(m->device, sizeof out, "c", &c));
    ok(tkc_buffer_poison(c));
    const tkc_argument arguments[] = {tkc_arg(a), tkc_arg(b), tkc_arg(c), tkc_arg(N)};
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.threads = 1 + round % 2;
    ok(tkc_launch(kernel, m->device, NULL, tkc_grid1(N / 128), arguments, 4, &options));
    ok(tkc_buffer_read(c, 0, out, sizeof out));
    for (uint32_t i = 0; i < N; i++) ck_assert(out[i] == x[i] + y[i]);
    tkc_buffer_destroy(a);
    tkc_buffer_destroy(b);
    tkc_buffer_destroy(c);
}

/* Each thread sees its own fault, whatever the others do. */
static void launch_fault(const Worker *w) {
    const Machine *m = &w->shared->m;
    uint32_t length = 128 * w->number + 64;
    char name[16], part[24];
    float *zeros = calloc(length, sizeof *zeros);
    snprintf(name, sizeof name, "of %u", w->number);
    tkc_buffer *x = buffer_of(m, name, zeros, length * sizeof *zeros);
    const tkc_argument arguments[] = {tkc_arg(x), tkc_arg(x), tkc_arg(x), tkc_arg(length + 1)};
    fails(TKC_LAUNCH_FAULT,
          tkc_launch(w->shared->kernel, m->device, NULL, tkc_grid1(w->number + 1), arguments, 4,
                     NULL),
          "fault");
    ck_assert_str_eq(tkc_last_fault()->buffer, name);
    ck_assert_int_eq(tkc_last_fault()->offset, (int64_t)(length * sizeof *zeros));
    ck_assert_uint_eq(tkc_last_fault()->program[0], w->number);
    snprintf(part, sizeof part, "and %u were", w->number % 4);
    fails(TKC_INVALID_ARGUMENT,
          tkc_launch(w->shared->kernel, m->device, NULL, tkc_grid1(1), arguments, w->number % 4,
                     NULL),
          part);
    tkc_buffer_destroy(x);
    free(zeros);
}

static void *work(void *argument) {
    const Worker *w = argument;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        launch_add(w, w->shared->kernel, round);
        if (round % 4 == 0) launch_fault(w);
        if (round % 3) continue;
        tkc_kernel *own = compile_ir(&w->shared->m, add_ir);
        launch_add(w, own, round);
        tkc_kernel_destroy(own);
    }
    return NULL;
}

START_TEST(test_all_at_once) {
    Shared shared;
    memset(&shared, 0, sizeof shared);
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.user = &shared;
    options.compiled = count_compile;
    shared.m = machine_open(&options);
    shared.kernel = compile_ir(&shared.m, add_ir); /* loaded by whoever launches first */
    Worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].shared = &shared;
        workers[i].number = i;
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
    ck_assert_uint_eq(atomic_load(&shared.compiles), 1 + THREADS * ROUNDS / 3);
    tkc_kernel_destroy(shared.kernel);
    machine_close(&shared.m);
}
END_TEST

/* A launch that never ends by itself, stopped from another thread. */
static void *stop_soon(void *flag) {
    struct timespec pause = {0, 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    __atomic_store_n((volatile bool *)flag, true, __ATOMIC_RELAXED);
    return NULL;
}

START_TEST(test_cancel) {
    Machine m = machine_open(NULL);
    tkc_kernel *kernel = compile_ir(&m, "kernel @forever(p: *i32)" OPTIONS_IR "{\n"
                                        "    while () {\n"
                                        "        %0: i32 = load %p\n"
                                        "        %1: i32 = constant {value = 0}\n"
                                        "        %2: i1 = eq %0, %1\n"
                                        "        condition %2\n"
                                        "    } () {\n"
                                        "        yield\n"
                                        "    }\n"
                                        "    return\n"
                                        "}\n");
    int32_t zero = 0;
    tkc_buffer *buffer = buffer_of(&m, "zero", &zero, 4);
    tkc_argument argument = tkc_arg(buffer);
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    volatile bool cancel = false;
    options.cancel = &cancel;
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, (void *)&cancel), 0);
    fails(TKC_CANCELLED, tkc_launch(kernel, m.device, NULL, tkc_grid1(2), &argument, 1, &options),
          "");
    pthread_join(thread, NULL);
    tkc_buffer_destroy(buffer);
    tkc_kernel_destroy(kernel);
    machine_close(&m);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_all_at_once);
    tcase_add_test(tests, test_cancel);
    return run_suite("threads", tests);
}
