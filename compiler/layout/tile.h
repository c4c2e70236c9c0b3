/* tile.h: the layouts that kernels use: blocked (for memory), mma.sync operands and results (for
 * tensor cores), swizzled shared memory.
 *
 * All of them cover the whole block: when the threads hold less than the block in one round,
 * register
 * bits repeat the tile; when they could hold more, the bits left over hold copies (columns of 0).
 */
#ifndef TKC_COMPILER_LAYOUT_TILE_H
#define TKC_COMPILER_LAYOUT_TILE_H

#include "compiler/layout/layout.h"

/* Each thread takes a box of per_thread[d] elements, a warp a box of lanes[d] threads (their
 * product
 * is 32), the warps a box of warps[d]; order[0] is the dim that varies fastest within each. */
Layout tile_blocked(uint32_t rank, const uint32_t *shape, const uint32_t *per_thread,
                    const uint32_t *lanes, const uint32_t *warps, const uint32_t *order);

/* The blocked layout for memory access: `vector` elements a thread along the dims in `order`, then
 * lanes along the fastest dim first, then warps. */
Layout tile_coalesced(uint32_t rank, const uint32_t *shape, const uint32_t *order, uint32_t vector,
                      uint32_t num_warps);

/* mma.sync fragments (PTX ISA, "Matrix fragments for mma.m16n8k*"). The block is M x N (result), M
 * x K
 * (A) or K x N (B), with a batch dim before them when rank is 3. Warps stand warps_m x warps_n,
 * each
 * on its own 16 x 8 tiles; operands repeat over the warps that share their rows or columns.
 * element_bits: width of an operand element (64 32 16 8); the result's is always one register each.
 * */
typedef struct MmaTile {
    uint32_t rank;
    uint32_t shape[3];
    uint32_t warps_m, warps_n;
} MmaTile;

Layout tile_mma_result(const MmaTile *tile);
Layout tile_mma_a(const MmaTile *tile, uint32_t element_bits);
Layout tile_mma_b(const MmaTile *tile, uint32_t element_bits);

/* How many warps stand along M for a result of m x n: as square a tile per warp as can be. */
uint32_t tile_mma_warps_m(uint32_t m, uint32_t n, uint32_t num_warps);

/* Shared memory for a block: offset -> element (PLACE_OFFSET only, one to one). Rows of the fastest
 * dim (order[0]) are split into vectors of 2^vector_bits elements; the vector's place in the row is
 * XORed with `phase` bits of the row number, so that column accesses hit different banks:
 *   place' = place ^ (row / per_phase mod 2^phase_bits). */
Layout tile_shared(uint32_t rank, const uint32_t *shape, const uint32_t *order,
                   uint32_t vector_bits, uint32_t per_phase_bits, uint32_t phase_bits);

/* The swizzle for rows of 2^row_bits elements of `element_size` bytes, read or written 16 bytes at
 * a
 * time down columns (ldmatrix, transposed stores): without bank conflicts. */
Layout tile_shared_for_rows(uint32_t rank, const uint32_t *shape, const uint32_t *order,
                            uint32_t element_size);

/* Wavefronts (of 128 bytes) that one warp-wide access takes: lane i accesses `bytes` bytes at byte
 * address address[i]; 16-byte accesses go a quarter warp at a time, 8-byte ones a half. */
uint32_t shared_wavefronts(const uint32_t *address, uint32_t lanes, uint32_t bytes);

#endif
