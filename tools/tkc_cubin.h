/* tkc_cubin.h: machine code from PTX, by ptxas where a CUDA toolkit is installed. */
#ifndef TKC_TOOLS_TKC_CUBIN_H
#define TKC_TOOLS_TKC_CUBIN_H

#include "tools/tkc_cli.h"

/* Runs ptxas (PTXAS of the environment, the path, /usr/local/cuda/bin). Its messages go to stderr.
 * STATUS_REFUSED and a message when there is none, or when it refuses. */
ExitStatus cubin_from_ptx(Arena *arena, const char *ptx, size_t ptx_size, const char *target,
                          const char **cubin, size_t *cubin_size);

#endif
