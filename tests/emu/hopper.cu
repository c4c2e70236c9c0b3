// targets: sm_90a
// What sm_90 added: mbarriers, bulk and tensor copies, wgmma, clusters. Part of it goes through the
// toolkit's own C++ wrappers, so that not every instruction here is of our own writing.
#include <cooperative_groups.h>
#include <cuda/barrier>
#include <cuda_fp16.h>
#include <stdint.h>

namespace cg = cooperative_groups;
typedef uint32_t u32;
typedef uint64_t u64;

struct alignas(64) Map { u64 words[16]; };

__device__ __forceinline__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}
__device__ __forceinline__ void init(u64 *b, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
__device__ __forceinline__ void fence_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void fence_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void arrive(u64 *b) {
    asm volatile("{ .reg .b64 s; mbarrier.arrive.shared::cta.b64 s, [%0]; }" ::"r"(shared_address(b)) : "memory");
}
__device__ __forceinline__ void expect(u64 *b, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void wait(u64 *b, u32 parity) {
    asm volatile("{\n.reg .pred P1;\nLAB_WAIT:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 P1, [%0], %1;\n"
                 "@P1 bra DONE;\nbra LAB_WAIT;\nDONE:\n}" ::"r"(shared_address(b)), "r"(parity) : "memory");
}
__device__ __forceinline__ void tensor2(void *to, const Map *map, u64 *b, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4}], [%2];" ::"r"(shared_address(to)), "l"(map), "r"(shared_address(b)), "r"(x), "r"(y) : "memory");
}

// ---- plain bulk copies, in and out ----
enum { FINE, NO_PROXY_FENCE, NO_WAIT, NO_EXPECT, NO_READ_WAIT, NO_INIT_FENCE, NO_SYNC };
template <int BUG> __device__ void bulk_twice(const u32 *in, u32 *out) {
    __shared__ __align__(128) u32 s[256];
    __shared__ __align__(8) u64 full;
    u32 t = threadIdx.x;
    if (t == 0) {
        init(&full, 1);
        if (BUG != NO_INIT_FENCE) fence_async();
    }
    if (BUG != NO_SYNC) __syncthreads();
    for (int round = 0; round < 2; round++) {
        if (t == 0) {
            if (BUG == NO_EXPECT) arrive(&full); else expect(&full, 1024);
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                             shared_address(s)), "l"(in + round * 256), "r"(1024), "r"(shared_address(&full)) : "memory");
        }
        if (BUG != NO_WAIT) wait(&full, round);
        s[t] = s[t] * 2 + 1;
        if (BUG != NO_PROXY_FENCE) fence_async();
        __syncthreads();
        if (t == 0) {
            asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;" ::"l"(
                             out + round * 256), "r"(shared_address(s)), "r"(1024) : "memory");
            if (BUG != NO_READ_WAIT) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
        }
        __syncthreads();
    }
}
#define BULK(name, bug) extern "C" __global__ void name(const u32 *in, u32 *out) { bulk_twice<bug>(in, out); }
BULK(bulk_ok, FINE)
BULK(bulk_no_proxy_fence, NO_PROXY_FENCE)
BULK(bulk_no_wait, NO_WAIT)
BULK(bulk_no_expect, NO_EXPECT)
BULK(bulk_no_read_wait, NO_READ_WAIT)
BULK(bulk_no_init_fence, NO_INIT_FENCE)
BULK(bulk_no_sync, NO_SYNC)

// the same by the toolkit's barrier
extern "C" __global__ void bulk_library(const u32 *in, u32 *out) {
    __shared__ alignas(128) u32 s[256];
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    if (threadIdx.x == 0) {
        init(&bar, blockDim.x);
        cuda::device::experimental::fence_proxy_async_shared_cta();
    }
    __syncthreads();
    cuda::barrier<cuda::thread_scope_block>::arrival_token token;
    if (threadIdx.x == 0) {
        cuda::device::experimental::cp_async_bulk_global_to_shared(s, in, 1024, bar);
        token = cuda::device::barrier_arrive_tx(bar, 1, 1024);
    } else {
        token = bar.arrive();
    }
    bar.wait(std::move(token));
    out[threadIdx.x] = s[threadIdx.x ^ 1];
}

// ---- tensor copies: a box as it lies in shared memory, and back again ----
extern "C" __global__ void tensor_in(const __grid_constant__ Map map, u32 *out, int rank, int bytes,
                                     int c0, int c1, int c2, int c3, int c4) {
    extern __shared__ __align__(1024) u32 box[];
    __shared__ __align__(8) u64 full;
    if (threadIdx.x == 0) {
        init(&full, 1);
        fence_init();
        expect(&full, bytes);
        u32 to = shared_address(box), b = shared_address(&full);
#define LOAD(dims, coords)                                                                         \
    asm volatile("cp.async.bulk.tensor." dims ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" coords "}], [%2];" ::"r"(to), \
                 "l"(&map), "r"(b), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4) : "memory")
        if (rank == 1) LOAD("1d", "%3");
        if (rank == 2) LOAD("2d", "%3, %4");
        if (rank == 3) LOAD("3d", "%3, %4, %5");
        if (rank == 4) LOAD("4d", "%3, %4, %5, %6");
        if (rank == 5) LOAD("5d", "%3, %4, %5, %6, %7");
    }
    __syncthreads();
    wait(&full, 0);
    for (int i = threadIdx.x; i < bytes / 4; i += blockDim.x) out[i] = box[i];
}
extern "C" __global__ void tensor_out(const __grid_constant__ Map map, const u32 *in, int bytes,
                                      int x, int y, int add) {
    extern __shared__ __align__(1024) u32 box[];
    for (int i = threadIdx.x; i < bytes / 4; i += blockDim.x) box[i] = in[i];
    fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        if (add)
            asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map), "r"(shared_address(box)), "r"(x), "r"(y) : "memory");
        else
            asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map), "r"(shared_address(box)), "r"(x), "r"(y) : "memory");
        asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;" ::: "memory");
    }
}

// ---- wgmma: one instruction on bytes and descriptors that the test chooses ----
__device__ __forceinline__ void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wg_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

#define D16(t) "+" t(d[0]), "+" t(d[1]), "+" t(d[2]), "+" t(d[3]), "+" t(d[4]), "+" t(d[5]), "+" t(d[6]), "+" t(d[7]), \
               "+" t(d[8]), "+" t(d[9]), "+" t(d[10]), "+" t(d[11]), "+" t(d[12]), "+" t(d[13]), "+" t(d[14]), "+" t(d[15])
#define REGS16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"

#define WGMMA(name, T, t, op, tail)                                                                \
    extern "C" __global__ void name(const u32 *in, int words, u64 da, u64 db, int scale,           \
                                    const T *pc, T *pd) {                                          \
        extern __shared__ __align__(1024) u32 s[];                                                 \
        for (int i = threadIdx.x; i < words; i += 128) s[i] = in[i];                               \
        fence_async();                                                                             \
        __syncthreads();                                                                           \
        u64 base = shared_address(s) >> 4;                                                         \
        T d[16];                                                                                   \
        for (int i = 0; i < 16; i++) d[i] = pc[i * 128 + threadIdx.x];                             \
        wg_fence();                                                                                \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned." op     \
                     " " REGS16 ", %16, %17, p, 1, 1" tail "; }"                                   \
                     : D16(t) : "l"(da + base), "l"(db + base), "r"(scale));                       \
        wg_commit();                                                                               \
        wg_wait<0>();                                                                              \
        for (int i = 0; i < 16; i++) pd[i * 128 + threadIdx.x] = d[i];                             \
    }
WGMMA(wgmma_f16, float, "f", "m64n32k16.f32.f16.f16", ", 0, 0")
WGMMA(wgmma_f16_ta, float, "f", "m64n32k16.f32.f16.f16", ", 1, 0")
WGMMA(wgmma_f16_tb, float, "f", "m64n32k16.f32.f16.f16", ", 0, 1")
WGMMA(wgmma_bf16, float, "f", "m64n32k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_tf32, float, "f", "m64n32k8.f32.tf32.tf32", "")
WGMMA(wgmma_e4m3, float, "f", "m64n32k32.f32.e4m3.e4m3", "")

extern "C" __global__ void wgmma_s8(const u32 *in, int words, u64 da, u64 db, int scale, const int *pc, int *pd) {
    extern __shared__ __align__(1024) u32 s[];
    for (int i = threadIdx.x; i < words; i += 128) s[i] = in[i];
    fence_async();
    __syncthreads();
    u64 base = shared_address(s) >> 4;
    int d[16];
    for (int i = 0; i < 16; i++) d[i] = pc[i * 128 + threadIdx.x];
    wg_fence();
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 " REGS16 ", %16, %17, p; }"
                 : D16("r") : "l"(da + base), "l"(db + base), "r"(scale));
    wg_commit();
    wg_wait<0>();
    for (int i = 0; i < 16; i++) pd[i * 128 + threadIdx.x] = d[i];
}
// A from registers: pa[register * 128 + thread]
extern "C" __global__ void wgmma_registers(const u32 *in, int words, const u32 *pa, u64 db, float *pd) {
    extern __shared__ __align__(1024) u32 s[];
    for (int i = threadIdx.x; i < words; i += 128) s[i] = in[i];
    fence_async();
    __syncthreads();
    u32 a[4];
    float d[16] = {};
    for (int i = 0; i < 4; i++) a[i] = pa[i * 128 + threadIdx.x];
    wg_fence();
    asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 " REGS16 ", {%16,%17,%18,%19}, %20, 1, 1, 1, 0;"
                 : D16("f") : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(db + (shared_address(s) >> 4)));
    wg_commit();
    wg_wait<0>();
    for (int i = 0; i < 16; i++) pd[i * 128 + threadIdx.x] = d[i];
}

// ---- a matrix product: producer warp, ring of mbarriers, wgmma; C[M][N] = A[M][K] * B[N][K] ----
enum { BM = 64, BN = 32, BK = 64, STAGES = 3 };
enum { CLEAN, EARLY_READ, NO_FENCE, LATE_RELEASE, SHORT_EXPECT, WRONG_PARITY };
struct Ring {
    half a[STAGES][BM * BK];
    half b[STAGES][BN * BK];
    u64 full[STAGES], empty[STAGES];
};
template <int BUG>
__device__ void product(const Map *ma, const Map *mb, float *C, int N, int K) {
    extern __shared__ __align__(1024) unsigned char memory[];
    Ring &ring = *(Ring *)memory;
    int t = threadIdx.x, tiles = K / BK;
    if (t == 0) {
        for (int s = 0; s < STAGES; s++) init(&ring.full[s], 1), init(&ring.empty[s], 128);
        fence_init();
    }
    __syncthreads();
    if (t >= 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (t == 128)
#pragma unroll 1
            for (int k = 0; k < tiles; k++) {
                int s = k % STAGES, round = k / STAGES;
                if (k >= STAGES || BUG == WRONG_PARITY) wait(&ring.empty[s], (round & 1) ^ (BUG == WRONG_PARITY ? 0 : 1));
                expect(&ring.full[s], (BM + BN) * BK * 2 - (BUG == SHORT_EXPECT ? 4096 : 0));
                tensor2(ring.a[s], ma, &ring.full[s], k * BK, blockIdx.y * BM);
                tensor2(ring.b[s], mb, &ring.full[s], k * BK, blockIdx.x * BN);
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float d[16];
    for (int i = 0; i < 16; i++) d[i] = 0;
#pragma unroll 1
    for (int k = 0; k < tiles; k++) {
        int s = k % STAGES;
        wait(&ring.full[s], k / STAGES & 1);
        // 128-byte swizzle: rows of 128 bytes, 8 rows are 1024 bytes
        const u64 form = (u64)1 << 62 | (u64)(1024 >> 4) << 32 | (u64)1 << 16;
        u64 da = form | (shared_address(ring.a[s]) >> 4), db = form | (shared_address(ring.b[s]) >> 4);
        if (BUG == LATE_RELEASE && k + 1 < tiles) arrive(&ring.empty[s]);
        if (BUG != NO_FENCE) wg_fence();
#pragma unroll
        for (int kk = 0; kk < BK / 16; kk++)
            asm volatile("{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 " REGS16 ", %16, %17, p, 1, 1, 0, 0; }"
                         : D16("f") : "l"(da + kk * 2), "l"(db + kk * 2), "r"(k + kk));
        wg_commit();
        if (BUG == EARLY_READ && k + 1 == tiles) break;
        wg_wait<0>();
        if (BUG != LATE_RELEASE) arrive(&ring.empty[s]);
    }
    int warp = t / 32, lane = t % 32;
    for (int i = 0; i < 16; i += 2) {
        int row = blockIdx.y * BM + warp * 16 + lane / 4 + (i >> 1 & 1) * 8;
        int col = blockIdx.x * BN + (i >> 2) * 8 + lane % 4 * 2;
        *(float2 *)&C[row * N + col] = make_float2(d[i], d[i + 1]);
    }
    if (BUG == EARLY_READ) wg_wait<0>();
}
#define PRODUCT(name, bug)                                                                         \
    extern "C" __global__ void __launch_bounds__(256) name(const __grid_constant__ Map a, const __grid_constant__ Map b, \
                                                           float *C, int N, int K) {               \
        product<bug>(&a, &b, C, N, K);                                                             \
    }
PRODUCT(product_ok, CLEAN)
PRODUCT(product_early_read, EARLY_READ)
PRODUCT(product_no_fence, NO_FENCE)
PRODUCT(product_late_release, LATE_RELEASE)
PRODUCT(product_short_expect, SHORT_EXPECT)
PRODUCT(product_wrong_parity, WRONG_PARITY)

// ---- clusters ----
extern "C" __global__ void __cluster_dims__(4, 1, 1) cluster_sum(const u32 *in, u32 *out) {
    __shared__ u32 s[64];
    cg::cluster_group cluster = cg::this_cluster();
    u32 t = threadIdx.x, rank = cluster.block_rank();
    s[t] = in[blockIdx.x * 64 + t];
    cluster.sync();
    u32 sum = 0;
    for (u32 r = 0; r < cluster.num_blocks(); r++) sum += cluster.map_shared_rank(s, r)[t];
    cluster.sync();
    atomicAdd(cluster.map_shared_rank(s, (rank + 1) % 4) + 63, 0);
    cluster.sync();
    out[blockIdx.x * 64 + t] = sum + 1000 * rank;
}
// no second barrier: a CTA may be gone when another looks into it
extern "C" __global__ void __cluster_dims__(2, 1, 1) cluster_race(const u32 *in, u32 *out) {
    __shared__ u32 s[64];
    cg::cluster_group cluster = cg::this_cluster();
    s[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    out[blockIdx.x * 64 + threadIdx.x] = cluster.map_shared_rank(s, cluster.block_rank() ^ 1)[threadIdx.x];
    cluster.sync();
}
// one CTA loads for both; each arrives at the other's barrier
extern "C" __global__ void __cluster_dims__(2, 1, 1) cluster_multicast(const __grid_constant__ Map map, u32 *out) {
    __shared__ __align__(1024) u32 box[256];
    __shared__ __align__(8) u64 full, hello;
    cg::cluster_group cluster = cg::this_cluster();
    u32 rank = cluster.block_rank();
    if (threadIdx.x == 0) {
        init(&full, 1);
        init(&hello, 1);
        fence_init();
        expect(&full, 1024);
    }
    cluster.sync();
    if (threadIdx.x == 0) {
        u32 remote;
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(&hello)), "r"(rank ^ 1));
        asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote) : "memory");
        if (rank == 0)
            asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(
                             shared_address(box)), "l"(&map), "r"(shared_address(&full)), "r"(0), "r"(0), "h"((short)3) : "memory");
    }
    wait(&hello, 0);
    wait(&full, 0);
    out[(blockIdx.x * blockDim.x + threadIdx.x)] = box[threadIdx.x] + rank;
    cluster.sync();
}
