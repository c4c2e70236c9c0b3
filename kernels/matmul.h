/* matmul.h: what the hosts of matrix products share. */
#ifndef TKC_KERNELS_MATMUL_H
#define TKC_KERNELS_MATMUL_H

#include "kernels/host.h"

extern const char *const activation_names[]; /* by tkk_activation: "'relu'" */

/* The tile that one program makes, and the step along K. */
typedef struct Blocks {
    int64_t m, n, k;
    uint32_t warps;
} Blocks;

/* For `batch` products of this size. */
Blocks choose_blocks(const tkk_library *library, tkc_dtype dtype, int64_t batch, int64_t M,
                     int64_t N, int64_t K);
int64_t count_tiles(const Blocks *blocks, int64_t M, int64_t N);
/* Adds them as constants of a kernel of matmul.tk, and the number of warps. `even_mn`, `even_k`:
 * the sizes are multiples of the blocks. */
void call_blocks(Call *call, const Blocks *blocks, bool even_mn, bool even_k);

#endif
