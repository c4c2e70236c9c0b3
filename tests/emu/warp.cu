// Lanes and warps: shuffles, votes, atomics, barriers, divergence, calls.
#include <stdint.h>
#include <stdio.h>

typedef uint32_t u32;
typedef unsigned long long u64;

extern "C" __global__ void shuffles(const u32 *in, u32 *out) { // out[k * 32 + lane]
    u32 lane = threadIdx.x, x = in[lane];
    const u32 all = 0xffffffffu;
    int k = 0;
#define OUT(v) out[k++ * 32 + lane] = (v)
    OUT(__shfl_sync(all, x, 5));
    OUT(__shfl_sync(all, x, lane * 7 + 3));
    OUT(__shfl_sync(all, x, lane, 8));
    OUT(__shfl_up_sync(all, x, 3));
    OUT(__shfl_up_sync(all, x, 2, 16));
    OUT(__shfl_down_sync(all, x, 9));
    OUT(__shfl_down_sync(all, x, 3, 8));
    OUT(__shfl_xor_sync(all, x, 17));
    OUT(__ballot_sync(all, x & 1));
    OUT(__any_sync(all, x == in[7]));
    OUT(__all_sync(all, x != 12345));
    OUT(__match_any_sync(all, x & 3));
    int same;
    OUT(__match_all_sync(all, lane / 32, &same));
    OUT((u32)same);
    OUT(__reduce_add_sync(all, x));
    OUT(__reduce_min_sync(all, x));
    OUT((u32)__reduce_max_sync(all, (int)x));
    OUT(__reduce_xor_sync(all, x));
    OUT(__activemask());
    if (lane & 1) {
        OUT(__shfl_sync(0xaaaaaaaau, x, lane ^ 2));
    } else {
        OUT(__shfl_sync(0x55555555u, x, lane ^ 4));
    }
    u64 wide = (u64)x << 32 | lane;
    OUT((u32)(__shfl_xor_sync(all, wide, 1) >> 32));
    // both sides of a branch meet at one __syncwarp, as Volta allows
    __shared__ u32 s[32];
    if (lane < 16) {
        s[lane] = x;
        __syncwarp();
        OUT(s[lane + 16]);
    } else {
        s[lane] = x + 1;
        __syncwarp();
        OUT(s[lane - 16]);
    }
}

extern "C" __global__ void divergence(const u32 *in, u32 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 x = in[i], steps = 0;
    while (x != 1 && steps < 200) { // Collatz
        if (x & 1) {
            x = 3 * x + 1;
            if (x > 1000000) break;
        } else {
            x /= 2;
        }
        steps++;
    }
    switch (in[i] % 7) {
    case 0: steps += 1000; break;
    case 1: steps += 2000; // falls through
    case 2: steps += 3000; break;
    case 3: steps *= 3; break;
    case 4: steps ^= 0x55; break;
    default: steps = ~steps;
    }
    out[i] = steps;
}

__device__ __noinline__ u32 ackermann(u32 m, u32 n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}
struct Pair { u32 a; float b; u64 c; };
__device__ __noinline__ Pair swap_pair(Pair p, u32 by) {
    Pair q = {by, p.b * 2, p.c + p.a};
    return q;
}
extern "C" __global__ void calls(u32 *out) {
    u32 t = threadIdx.x;
    out[t] = ackermann(t % 3, t % 4);
    Pair p = {t, (float)t, 1000};
    for (u32 i = 0; i < t % 5; i++) p = swap_pair(p, t + i);
    out[32 + t] = p.a + (u32)p.b + (u32)p.c;
    u32 local[16];
    for (int i = 0; i < 16; i++) local[i] = t * i;
    u32 sum = 0;
    for (int i = 0; i < 16; i++) sum += local[(i * t) & 15];
    out[64 + t] = sum;
}

__device__ u32 counter;
__constant__ u32 table[4] = {3, 1, 4, 1};
__device__ u32 initial[4] = {10, 20, 30, 40};

extern "C" __global__ void atomics(u32 *sums, float *floats, u32 *slots, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    __shared__ u32 histogram[8];
    if (threadIdx.x < 8) histogram[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&histogram[i & 7], 1);
    __syncthreads();
    if (threadIdx.x < 8) atomicAdd(&sums[threadIdx.x], histogram[threadIdx.x]);
    atomicMax((int *)&sums[8], i);
    atomicMin(&sums[9], (u32)i + 5);
    atomicXor(&sums[10], (u32)i);
    atomicOr(&sums[11], 1u << (i & 31));
    atomicInc(&sums[12], 9);
    atomicAdd(floats, 1.0f);
    atomicAdd((double *)(floats + 2), 0.5);
    atomicAdd((u64 *)(sums + 14), 0x100000001ull);
    u32 old = atomicAdd(&counter, 1);
    slots[old] = table[i & 3] + initial[i & 3];
    // a lock by compare-and-swap, taken by lanes of one warp too
    __threadfence();
    bool done = false;
    while (!done) {
        if (atomicCAS(&sums[16], 0, 1) == 0) {
            sums[17] = ((volatile u32 *)sums)[17] + 1;
            __threadfence();
            atomicExch(&sums[16], 0);
            done = true;
        }
    }
}

extern "C" __global__ void barriers(u32 *out) { // 128 threads
    __shared__ u32 s[128];
    u32 t = threadIdx.x;
    s[t] = t * t;
    __syncthreads();
    u32 x = s[127 - t];
    u32 odd = __syncthreads_count(x & 1);
    int all = __syncthreads_and(x < 20000), any = __syncthreads_or(x == 49);
    // two warps meet at a named barrier, the other two at another
    s[t] = x + 1;
    if (t < 64)
        asm volatile("bar.sync 1, 64;" ::: "memory");
    else
        asm volatile("bar.sync 2, 64;" ::: "memory");
    x += s[t ^ 32];
    __syncthreads();
    // producers arrive, consumers wait
    if (t < 64) {
        s[t] = 7 * t;
        asm volatile("bar.arrive 3, 128;" ::: "memory");
    } else {
        asm volatile("bar.sync 3, 128;" ::: "memory");
        x += s[t - 64];
    }
    out[t] = x + odd + 1000 * all + 10000 * any;
}

extern "C" __global__ void hello(int n) {
    if (threadIdx.x == 3) printf("%d %5.2f %s %llx %c%%\n", n, n * 0.5, "text", 0x123456789abull, 'z');
}

// CTAs that wait for each other, later ones for earlier ones and the first for the last
extern "C" __global__ void chain(volatile u32 *flags, u32 *out) {
    if (threadIdx.x == 0) {
        u32 b = blockIdx.x;
        while (b && !flags[b - 1]) {}
        __threadfence();
        flags[b] = b + 1;
        if (!b) while (!flags[gridDim.x - 1]) {}
        out[b] = flags[b ? b - 1 : gridDim.x - 1];
    }
}
