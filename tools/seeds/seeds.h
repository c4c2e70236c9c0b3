/* seeds.h: `tkbench seeds`: the tables and pictures of the documents this project began with.
 *
 *     000   attention with ReLU and with softmax weights, embed 128 to 1024: time and memory
 *     001   scaled dot product attention: four backends, padded against variable lengths
 *     002   fused attention, causal, 4 x 48 heads of 64, length 2^10 and up
 *     004   Linear, Conv2d, MultiheadAttention, Softmax
 *
 * A Row is one problem, and its series are those that solve it: this library (with one backend or
 * another), and PyTorch in a second process when `--torch` names a Python that has it. The series
 * of a row are measured in turns, sample by sample, so that their ratio holds whatever else the
 * machine does. Figures are medians.
 */
#ifndef TKC_TOOLS_SEEDS_H
#define TKC_TOOLS_SEEDS_H

#include "tools/tkbench.h"

typedef enum SeedLayer {
    SEED_LINEAR,    /* x [batch, in], weight [out, in], bias */
    SEED_CONV2D,    /* x [batch, in, length, length], weight [out, in, kernel, kernel], bias;
                       padding 0, stride 1 */
    SEED_MULTIHEAD, /* self attention: x [batch, length, in], `heads` heads */
    SEED_SOFTMAX,   /* x [batch, in] along rows */
    SEED_ATTENTION, /* q, k, v [batch, heads, length, in] */
    SEED_BLOCK,     /* self-attention block: x [batch, length, in], no bias or mask, forward only */
} SeedLayer;

typedef struct SeedProblem {
    SeedLayer layer;
    bool backward; /* time of the gradients alone, after a forward pass */
    tkc_dtype dtype;
    int64_t batch, heads, length, in, out, kernel;
    bool relu, causal;
    bool varied; /* BLOCK: sequences of half the length on average, not padded */
} SeedProblem;

/* One that solves the problem. */
typedef struct SeedSeries {
    const char *name;    /* "tkc", "tkc math", "torch" */
    const char *backend; /* attention: "default", "flash", "efficient", "math"; else NULL */
    bool torch;
    /* What was found. */
    bool measured;
    double seconds, least, most; /* of one pass: median, ends */
    uint64_t bytes;              /* all device memory of the pass: tensors and scratch; torch: 0 */
    uint64_t extra;              /* of it, neither input nor result */
    double expected;             /* seconds: left out because that is too long; else 0 */
    char why[256];               /* not measured: the reason */
} SeedSeries;

enum { SEED_MOST_SERIES = 6 };

typedef struct SeedRow {
    const char *seed, *table; /* "004", "nn.Linear forward"; rows of a table stand together */
    const char *label;        /* "input=32x64, features=128" */
    bool wanted;              /* to be measured now */
    double x;                 /* place in the picture; 0: the picture has bars */
    SeedProblem problem;
    SeedSeries series[SEED_MOST_SERIES];
    uint32_t series_count;
} SeedRow;

typedef VEC(SeedRow) SeedRows;

typedef struct SeedOptions {
    const char *folder; /* where the pictures go, or NULL */
    const char *json;   /* report, written after every row; or NULL */
    const char *torch;  /* Python with PyTorch, or NULL */
    const char *only;   /* measure tables whose name contains it; NULL: all */
    bool resume;        /* take over what `json` already has */
    bool profile;       /* time by kernel */
} SeedOptions;

/* list.c: all rows, fewer and smaller ones when `quick`. Those are wanted that belong to tables
 * whose name contains `only` (NULL: all); false: there are none. */
bool seed_list(Arena *arena, bool quick, bool torch, const char *only, SeedRows *rows);

/* run.c: a problem set up on the device. */
typedef struct SeedRun SeedRun;
tkc_status seed_open(Bench *bench, const SeedProblem *problem, const char *backend, SeedRun **run);
tkc_status seed_call(SeedRun *run);                /* one pass; returns when it is done */
uint64_t seed_essential_bytes(const SeedRun *run); /* inputs and results */
void seed_close(SeedRun *run);

/* peer.c: PyTorch in a process of its own, spoken to by lines of JSON. */
typedef struct SeedPeer SeedPeer;
/* NULL when it cannot be started: `why` says why. `version`: what it calls itself. */
SeedPeer *seed_peer_start(Arena *arena, const char *python, const char **version, char *why,
                          size_t why_size);
/* Sets the problem up. False: `why`. */
bool seed_peer_open(SeedPeer *peer, const SeedProblem *problem, const char *backend, char *why,
                    size_t why_size);
/* Seconds of one pass, over at least `least_seconds` of passes; negative when it failed: `why`. */
double seed_peer_sample(SeedPeer *peer, double least_seconds, char *why, size_t why_size);
void seed_peer_close(SeedPeer *peer);
void seed_peer_stop(SeedPeer *peer);

/* measure.c: fills the series of a row. */
void seed_measure(Bench *bench, SeedPeer *peer, SeedRow *row);

/* report.c */
void seed_print_table(const SeedRows *rows, uint32_t first, uint32_t count, FILE *stream);
bool seed_write_json(Bench *bench, const SeedRows *rows, const char *torch, const char *path);
/* Takes over the figures of rows that the report has; false: it is no such report. */
bool seed_read_json(Bench *bench, SeedRows *rows, const char *path);
/* Was anything of the table that begins there measured? */
bool seed_has_figures(const SeedRows *rows, uint32_t first);
/* First row of the next table. */
uint32_t seed_table_end(const SeedRows *rows, uint32_t first);

/* gallery.c: pictures and index.html. */
bool seed_write_gallery(Bench *bench, const SeedRows *rows, const char *torch, const char *folder);

/* seeds.c: the command. */
ExitStatus seed_run_all(Bench *bench, const SeedOptions *options);

#endif
