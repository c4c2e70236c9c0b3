/* tkc_run.h: one run of `tkc run`, shared by the file that runs (tkc_run.c) and the one that says
 * what came out (tkc_report.c). */
#ifndef TKC_TOOLS_TKC_RUN_H
#define TKC_TOOLS_TKC_RUN_H

#include "tools/tkc_source.h"
#include "tools/tkc_value.h"

typedef struct RunOptions {
    TextList outputs, constants, types, include;
    const char *grid, *device, *check_against, *json;
    uint32_t seed, repeat, threads, num_warps, num_stages;
    bool check_races, bounds, ieee, counters;
} RunOptions;

/* The kernel on one device: what it was given and what it made. */
typedef struct Launch {
    const char *device_name;
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer **buffers; /* of each given value; NULL: no tensor */
    tkc_array *results;   /* of each given value, after the last repeat */
    double *times;        /* milliseconds of each repeat */
    uint32_t repeats;
    double median;  /* of times */
    uint64_t bytes; /* of all buffers */
    tkc_counters counters; /* of the last repeat, with --counters */
} Launch;

typedef struct Run {
    Arena *arena;
    const RunOptions *options;
    tkc_context *context;
    tkc_source *source;
    const char *path, *kernel;
    tkc_grid grid;
    Given *given;
    uint32_t given_count;
    NamedList types, constants;
    const char **output_paths; /* of each given value; NULL: not saved */
    Launch launch, other;      /* other: --check-against */
} Run;

/* Differences of one tensor between two devices. */
typedef struct Difference {
    double absolute, relative; /* relative: to the larger of the value and the tensor's rms */
    double steps;              /* ulps of the type; integers: the difference itself */
    double allowed;            /* limit of `relative` */
    uint64_t at, count;        /* index of the worst element; how many are beyond the limit */
} Difference;

/* Saves the outputs and prints what was done; with --check-against compares. */
ExitStatus report_run(Run *run);
Difference compare_arrays(const tkc_array *a, const tkc_array *b);
/* Writes --json FILE, also for a run that ended in a fault. */
bool report_json(Run *run, ExitStatus status);

#endif
