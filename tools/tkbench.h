/* tkbench.h: what a benchmark is. A suite is a table of measurements; each one sets itself up,
 * takes samples as long as it is told to, and gives one number a sample.
 */
#ifndef TKC_TOOLS_TKBENCH_H
#define TKC_TOOLS_TKBENCH_H

#include "kernels/kernels.h"
#include "tools/tkc_cli.h"

/* Time spent in one kernel; gathered under --profile. */
typedef struct KernelTime {
    char name[64];
    uint64_t launches;
    double milliseconds;
} KernelTime;

typedef struct Bench {
    Arena *arena;
    tkc_context *context;
    tkc_device *device;
    tkk_library *library;
    bool quick; /* few samples */
    VEC(KernelTime) profile;
} Bench;

enum { MOST_SAMPLES = 64 };

typedef struct Samples {
    double values[MOST_SAMPLES];
    uint32_t count, wanted;
    double seconds, most_seconds; /* spent so far; no new sample after that, but for the first */
    double peak; /* what the machine could do at most, in the unit; 0: not known */
} Samples;

typedef struct Measurement {
    const char *suite, *name, *unit;
    bool more_is_better;
    double target; /* 0: none */
    /* Takes samples until samples_done. A failed call is returned; its text is tkc_last_error. */
    tkc_status (*run)(Bench *bench, Samples *samples);
} Measurement;

/* All end with suite NULL. */
extern const Measurement measurements[];         /* tkbench_suites.c */
extern const Measurement compile_measurements[]; /* tkbench_compile.c; come first */
extern const Measurement dot_measurements[];     /* tkbench_cpu_dot.c */

/* tkbench_cpu.c */
tkc_status cpu_matmul_1024(Bench *bench, Samples *samples);
tkc_status cpu_matmul_2048(Bench *bench, Samples *samples);
tkc_status cpu_softmax(Bench *bench, Samples *samples);
tkc_status cpu_layer_norm(Bench *bench, Samples *samples);
tkc_status cpu_call_empty(Bench *bench, Samples *samples);
tkc_status cpu_call_matmul(Bench *bench, Samples *samples);
tkc_status cpu_call_softmax(Bench *bench, Samples *samples);
tkc_status cpu_make_vector_add(Bench *bench, Samples *samples);
tkc_status cpu_make_forward(Bench *bench, Samples *samples);
tkc_status cpu_make_attention(Bench *bench, Samples *samples);
tkc_status cpu_vector_add(Bench *bench, Samples *samples);

/* tkbench_emu.c */
tkc_status emu_plain(Bench *bench, Samples *samples);
tkc_status emu_mma(Bench *bench, Samples *samples);
tkc_status emu_wgmma(Bench *bench, Samples *samples);
tkc_status emu_matmul_256(Bench *bench, Samples *samples);

/* Date, commit, device, host. */
struct cJSON *bench_json_report(Bench *bench);
/* "AMD EPYC, 2 cores" */
const char *bench_host(Bench *bench);

bool samples_done(const Samples *samples);
/* One sample that took `seconds`, with the value to report. */
void samples_add(Samples *samples, double value, double seconds);
double now_seconds(void);

#endif
