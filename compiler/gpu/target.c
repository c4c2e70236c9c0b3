/* target.c: the GPUs of targets.def, by name. */
#include "compiler/gpu/gpu.h"
#include "compiler/gpu/targets.h"

#include <stdio.h>
#include <stdlib.h>

enum { MMA_AMPERE = MMA_F16 | MMA_TF32 | MMA_S8 | MMA_F64, MMA_ADA = MMA_AMPERE | MMA_FP8 };

#define GPU_SINCE_90                                                                               \
    .cp_async = true, .bf16_arithmetic = true, .stmatrix = true, .vector_atomics = true

const GpuTarget gpu_targets[] = {
#define GPU_TARGET(number, row_name, row_features, row_about, kilobytes, row_mma, ...)             \
    {.name = row_name,                                                                             \
     .processor = row_name,                                                                        \
     .features = row_features,                                                                     \
     .about = row_about,                                                                           \
     .capability = number,                                                                         \
     .shared_bytes = kilobytes * 1024,                                                             \
     .mma = row_mma,                                                                               \
     __VA_ARGS__},
#include "compiler/gpu/targets.def"
#undef GPU_TARGET
    {0},
};

static const GpuTarget *row_of(const char *name) {
    for (const GpuTarget *t = gpu_targets; t->name; t++)
        if (strcmp(t->name, name) == 0) return t;
    return NULL;
}

const GpuTarget *gpu_target(const char *name) {
    if (strncmp(name, "cuda:", 5) != 0) return row_of(name);
    char own[16], *end;
    long capability = strtol(name + 5, &end, 10);
    if (capability < gpu_targets[0].capability || capability > 999) return NULL;
    if (!*end) return row_of(gpu_target_for((int)capability));
    snprintf(own, sizeof own, "sm_%.8s", name + 5);
    return row_of(own);
}
