/* t_cuda_abi.c: cuda.def against <cuda.h>, where that is installed: every row is declared a second
 * time, which a C compiler refuses when the types differ, and every number and size is compared.
 * The same for the two structs of cuda_driver.h. */
#include <stddef.h>
#include <stdio.h>

#if __has_include(<cuda.h>)
#include <cuda.h>

#define CUDA_ENTRY(need, name, parameters) CUresult CUDAAPI name parameters;
#include "runtime/cuda.def"

#define CUDA_CONSTANT(name, value) _Static_assert((int)(name) == (value), #name);
#include "runtime/cuda.def"

#define CUDA_TYPE(name, definition)                                                                \
    _Static_assert(sizeof(name) == sizeof(definition) && _Alignof(name) == _Alignof(definition),   \
                   #name);
#include "runtime/cuda.def"

/* The header of the runtime, its names moved out of the way. */
#define CUlaunchAttribute OurAttribute
#define CUlaunchConfig OurConfig
#include "runtime/cuda_structs.h"
#undef CUlaunchAttribute
#undef CUlaunchConfig

#define SAME(ours, theirs)                                                                         \
    _Static_assert(offsetof(OurConfig, ours) == offsetof(CUlaunchConfig, theirs), #ours);
SAME(grid_x, gridDimX)
SAME(grid_y, gridDimY)
SAME(grid_z, gridDimZ)
SAME(block_x, blockDimX)
SAME(block_y, blockDimY)
SAME(block_z, blockDimZ)
SAME(shared, sharedMemBytes)
SAME(stream, hStream)
SAME(attributes, attrs)
SAME(attribute_count, numAttrs)
_Static_assert(sizeof(OurConfig) == sizeof(CUlaunchConfig), "size of a launch configuration");
_Static_assert(sizeof(OurAttribute) == sizeof(CUlaunchAttribute), "size of a launch attribute");
_Static_assert(offsetof(OurAttribute, value) == offsetof(CUlaunchAttribute, value), "its value");
_Static_assert(offsetof(OurAttribute, value.cluster.y) ==
                   offsetof(CUlaunchAttribute, value.clusterDim.y),
               "extents of a cluster");

int main(void) {
    printf("cuda.def agrees with cuda.h of CUDA %d.%d\n", CUDA_VERSION / 1000,
           CUDA_VERSION % 1000 / 10);
    return 0;
}
#else
int main(void) {
    puts("skipped: there is no cuda.h");
    return 77;
}
#endif
