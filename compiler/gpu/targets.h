/* targets.h: which row of targets.def is for a GPU. For the runtime's launch half too, which has no
 * compiler. */
#ifndef TKC_COMPILER_GPU_TARGETS_H
#define TKC_COMPILER_GPU_TARGETS_H

#include <stddef.h>
#include <string.h>

/* The name of the target for a GPU of this compute capability (103 for 10.3), which is 80 or more.
 */
static inline const char *gpu_target_for(int capability) {
    static const struct {
        int capability;
        const char *name;
    } rows[] = {
#define GPU_TARGET(number, row_name, ...) {number, row_name},
#include "compiler/gpu/targets.def"
#undef GPU_TARGET
    };
    const char *best = rows[0].name;
    int of_best = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int number = rows[i].capability;
        const int alone = rows[i].name[strlen(rows[i].name) - 1] == 'a';
        if (alone ? number != capability : number > capability || of_best == capability) continue;
        best = rows[i].name;
        of_best = number;
    }
    return best;
}

#endif
