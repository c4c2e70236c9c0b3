// targets: sm_80
// A matrix product on tensor cores as written for sm_80: cp.async in three stages, ldmatrix,
// mma.sync. C[M][N] = A[M][K] * B[K][N], f16 in, f32 out; tiles of 64 x 64 x 32, four warps of
// 32 x 32. Variants with a planted bug each show what the emulator must catch.
#include <cuda_fp16.h>
#include <stdint.h>

typedef uint32_t u32;

enum Bug { CLEAN, NO_BARRIER, WRONG_SWIZZLE, LATE_WAIT, ONE_TOO_MANY, NO_WAIT, NO_LAST_BARRIER };

__device__ __forceinline__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}
__device__ __forceinline__ void copy16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void load4(u32 *r, u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
}
__device__ __forceinline__ void load4t(u32 *r, u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
}
__device__ __forceinline__ void mma(float *c, const u32 *a, const u32 *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

enum { BM = 64, BN = 64, BK = 32, STAGES = 3 };

template <int BUG>
__device__ void matmul(const half *A, const half *B, float *C, int N, int K) {
    __shared__ __align__(128) half sa[STAGES][BM * BK];
    __shared__ __align__(128) half sb[STAGES][BK * BN];
    int t = threadIdx.x, lane = t % 32, warp = t / 32;
    int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, wm = warp / 2 * 32, wn = warp % 2 * 32;
    int tiles = K / BK;
    auto fetch = [&](int tile, int stage) {
#pragma unroll 1
        for (int i = t; i < BM * BK / 8; i += 128) {
            int row = i / 4, chunk = i % 4;
            copy16(shared_address(&sa[stage][row * BK + ((chunk ^ (row >> 1 & 3)) * 8)]),
                   A + (size_t)(m0 + row) * K + tile * BK + chunk * 8);
        }
#pragma unroll 1
        for (int i = t; i < BK * BN / 8; i += 128) {
            int row = i / 8, chunk = i % 8;
            copy16(shared_address(&sb[stage][row * BN + ((chunk ^ (row & 7)) * 8)]),
                   B + (size_t)(tile * BK + row) * N + n0 + chunk * 8);
        }
    };
    float c[2][4][4] = {};
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < tiles) fetch(s, s);
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    int last = BUG == ONE_TOO_MANY ? tiles + 1 : tiles;
#pragma unroll 1
    for (int k = 0; k < last; k++) {
        if (BUG == LATE_WAIT)
            asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1) : "memory");
        else if (BUG != NO_WAIT)
            asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        if (BUG != NO_BARRIER) __syncthreads();
        int next = k + STAGES - 1;
        if (next < last) fetch(next, next % STAGES);
        asm volatile("cp.async.commit_group;" ::: "memory");
        const half *a = sa[k % STAGES], *b = sb[k % STAGES];
#pragma unroll 1
        for (int kk = 0; kk < BK; kk += 16) {
            u32 fa[2][4], fb[4][2];
            for (int i = 0; i < 2; i++) {
                int row = wm + i * 16 + lane % 16, chunk = kk / 8 + lane / 16;
                load4(fa[i], shared_address(&a[row * BK + ((chunk ^ (row >> 1 & 3)) * 8)]));
            }
            for (int j = 0; j < 2; j++) {
                int row = kk + lane % 16, chunk = wn / 8 + j * 2 + lane / 16;
                int swizzled = chunk ^ (row & (BUG == WRONG_SWIZZLE ? 3 : 7));
                u32 r[4];
                load4t(r, shared_address(&b[row * BN + swizzled * 8]));
                fb[2 * j][0] = r[0], fb[2 * j][1] = r[1];
                fb[2 * j + 1][0] = r[2], fb[2 * j + 1][1] = r[3];
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++) mma(c[i][j], fa[i], fb[j]);
        }
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int r = 0; r < 2; r++) {
                int row = m0 + wm + i * 16 + lane / 4 + r * 8, col = n0 + wn + j * 8 + lane % 4 * 2;
                *(float2 *)&C[(size_t)row * N + col] = make_float2(c[i][j][2 * r], c[i][j][2 * r + 1]);
            }
}

#define MATMUL(name, bug)                                                                          \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        name(const half *A, const half *B, float *C, int N, int K) {                               \
        matmul<bug>(A, B, C, N, K);                                                                \
    }
MATMUL(matmul_clean, CLEAN)
MATMUL(matmul_no_barrier, NO_BARRIER)
MATMUL(matmul_wrong_swizzle, WRONG_SWIZZLE)
MATMUL(matmul_late_wait, LATE_WAIT)
MATMUL(matmul_one_too_many, ONE_TOO_MANY)
MATMUL(matmul_no_wait, NO_WAIT)
