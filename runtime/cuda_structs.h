/* cuda_structs.h: the two structs of the CUDA driver that a launch needs. A file of its own so that
 * tests/t_cuda_abi.c can lay them beside those of <cuda.h>. */
#ifndef TKC_RUNTIME_CUDA_STRUCTS_H
#define TKC_RUNTIME_CUDA_STRUCTS_H

typedef struct CUlaunchAttribute {
    CUlaunchAttributeID id;
    char pad[4];
    union {
        char room[64];
        struct {
            unsigned x, y, z;
        } cluster;
    } value;
} CUlaunchAttribute;

typedef struct CUlaunchConfig {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    CUstream stream;
    CUlaunchAttribute *attributes;
    unsigned attribute_count;
} CUlaunchConfig;

#endif
