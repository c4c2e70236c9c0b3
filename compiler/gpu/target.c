/* target.c: the GPUs we know. A new one is a row. */
#include "compiler/gpu/gpu.h"

enum { MMA_AMPERE = MMA_F16 | MMA_TF32 | MMA_S8 | MMA_F64, MMA_ADA = MMA_AMPERE | MMA_FP8 };

/* Shared memory is the most that one block may ask for (CUDA C++ Programming Guide, table of
 * compute capabilities, less the 1 KB the system keeps). f64 tensor cores of sm_86, sm_89 and
 * sm_120 are slow but there. */
/* clang-format off */
const GpuTarget gpu_targets[] = {
    {"sm_80", "sm_80", "+ptx80", "A100", 80, 163 * 1024, MMA_AMPERE,
     .cp_async = true},
    {"sm_86", "sm_86", "+ptx80", "RTX 30, A10, A40", 86, 99 * 1024, MMA_AMPERE,
     .cp_async = true},
    {"sm_89", "sm_89", "+ptx84", "RTX 40, L4, L40", 89, 99 * 1024, MMA_ADA,
     .cp_async = true},
    {"sm_90a", "sm_90a", "+ptx84", "H100, H200", 90, 227 * 1024, MMA_ADA,
     .cp_async = true, .bf16_arithmetic = true, .stmatrix = true, .vector_atomics = true,
     .wgmma = true, .tma = true},
    {"sm_100a", "sm_100a", "+ptx86", "B200, GB200", 100, 227 * 1024, MMA_ADA,
     .cp_async = true, .bf16_arithmetic = true, .stmatrix = true, .vector_atomics = true,
     .tma = true},
    {"sm_120a", "sm_120a", "+ptx87", "RTX 50", 120, 99 * 1024, MMA_ADA,
     .cp_async = true, .bf16_arithmetic = true, .stmatrix = true, .vector_atomics = true,
     .tma = true},
    {0},
};
/* clang-format on */

const GpuTarget *gpu_target(const char *name) {
    const bool by_number = strncmp(name, "cuda:", 5) == 0;
    for (const GpuTarget *t = gpu_targets; t->name; t++) {
        char number[16] = "";
        size_t length = strspn(t->name + 3, "0123456789");
        memcpy(number, t->name + 3, length);
        if (strcmp(by_number ? t->name + 3 : t->name, by_number ? name + 5 : name) == 0) return t;
        if (by_number && strcmp(number, name + 5) == 0) return t;
    }
    return NULL;
}
