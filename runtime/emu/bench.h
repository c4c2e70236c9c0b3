/* bench.h: the emulator's own measurements, for tkbench: three kernels in PTX text that is made
 * here, run with all checks on. Each returns the seconds of one launch and what it did in it. */
#ifndef TKC_RUNTIME_EMU_BENCH_H
#define TKC_RUNTIME_EMU_BENCH_H

#include "compiler/base.h"

typedef enum EmuBench {
    EMU_BENCH_PLAIN, /* integer and float arithmetic, loads and stores: thread instructions */
    EMU_BENCH_MMA,   /* mma.sync m16n8k16 on f16: operations */
    EMU_BENCH_WGMMA, /* wgmma m64n128k16 on bf16 from shared memory: operations */
    EMU_BENCH_COUNT
} EmuBench;

typedef struct EmuBenchResult {
    const char *name, *unit; /* "plain", "thread instructions" */
    double seconds, amount;
    char error[256]; /* empty: it ran */
} EmuBenchResult;

/* threads 0: as many as the machine has. `scale` stretches the run (1: some tens of ms). */
EmuBenchResult emu_bench(EmuBench which, uint32_t threads, uint32_t scale);

#endif
