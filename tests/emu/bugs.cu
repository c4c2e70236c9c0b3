// targets: sm_80
// Small kernels with a planted bug each, beside their clean twins (name ends in _ok).
#include <stdint.h>
typedef uint32_t u32;

#define TWINS(name, params, args)                                                                  \
    template <bool OK> __device__ void name##_body params;                                         \
    extern "C" __global__ void name params { name##_body<false> args; }                            \
    extern "C" __global__ void name##_ok params { name##_body<true> args; }                        \
    template <bool OK> __device__ void name##_body params

TWINS(off_by_one, (const float *in, float *out, int n), (in, out, n)) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (OK ? i < n : i <= n) out[i] = in[i] * 2;
}
TWINS(misaligned, (const float *in, float *out), (in, out)) {
    float4 v = *(const float4 *)(in + threadIdx.x * 4 + (OK ? 0 : 2));
    out[threadIdx.x] = v.x + v.y + v.z + v.w;
}
TWINS(null_pointer, (float *out), (out)) {
    float *p = OK ? out : (float *)(uintptr_t)(out == nullptr);
    p[threadIdx.x] = 1;
}
TWINS(missing_barrier, (const u32 *in, u32 *out), (in, out)) {
    __shared__ u32 s[256];
    s[threadIdx.x] = in[threadIdx.x];
    if (OK) __syncthreads();
    if (threadIdx.x < 256) out[threadIdx.x] = s[threadIdx.x ^ 32];
}
TWINS(write_after_read, (const u32 *in, u32 *out), (in, out)) {
    __shared__ u32 s[128];
    u32 t = threadIdx.x, sum = 0;
    for (int i = 0; i < 3; i++) {
        s[t] = in[i * 128 + t];
        __syncthreads();
        sum += s[127 - t];
        if (OK) __syncthreads();
    }
    out[t] = sum;
}
TWINS(missing_warp_sync, (const u32 *in, u32 *out), (in, out)) {
    __shared__ u32 s[32];
    s[threadIdx.x] = in[threadIdx.x];
    if (OK) __syncwarp();
    out[threadIdx.x] = ((volatile u32 *)s)[threadIdx.x ^ 1];
}
TWINS(byte_neighbours, (const u32 *in, u32 *out), (in, out)) { // no race: bytes of one word
    __shared__ uint8_t s[64];
    s[threadIdx.x] = (uint8_t)in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[63 - threadIdx.x];
    if (!OK) s[threadIdx.x ^ 33] = 1;
}
TWINS(divergent_barrier, (u32 *out), (out)) {
    __shared__ u32 s[64];
    s[threadIdx.x] = threadIdx.x;
    if (OK || threadIdx.x < 40) __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}
TWINS(barrier_deadlock, (u32 *out), (out)) {
    if (threadIdx.x < 32)
        asm volatile("bar.sync 1, 64;" ::: "memory");
    else
        asm volatile("bar.sync %0, 64;" ::"n"(OK ? 1 : 2) : "memory");
    out[threadIdx.x] = 1;
}
TWINS(uninitialised_shared, (u32 *out), (out)) {
    __shared__ u32 s[64];
    if (threadIdx.x < (OK ? 64 : 63)) s[threadIdx.x] = 7;
    __syncthreads();
    out[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(shared_overrun, (u32 *out), (out)) {
    extern __shared__ u32 dynamic[];
    dynamic[threadIdx.x + (OK ? 0 : 1)] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = dynamic[threadIdx.x + (OK ? 0 : 1)];
}
TWINS(shuffle_outsider, (u32 *out), (out)) {
    u32 x = threadIdx.x;
    if (threadIdx.x < 16 || OK) x = __shfl_xor_sync(OK ? 0xffffffffu : 0xffffu, x, OK ? 1 : 16);
    out[threadIdx.x] = x;
}
TWINS(async_overwritten, (const u32 *in, u32 *out), (in, out)) {
    __shared__ __align__(16) u32 s[128];
    u32 t = threadIdx.x, to = (u32)__cvta_generic_to_shared(s + 4 * t);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;\n cp.async.commit_group;" ::"r"(to), "l"(in + 4 * t) : "memory");
    if (OK) asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    out[t] = s[4 * t];
}
TWINS(schedule, (u32 *out), (out)) { // which warp comes last decides
    __shared__ u32 last;
    if (threadIdx.x % 32 == 0) atomicExch(&last, OK ? 5 : threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = last;
}
TWINS(assertion, (u32 *out, int n), (out, n)) {
    if (!OK && n != 17) __trap();
    out[threadIdx.x] = 1;
}
TWINS(endless, (volatile u32 *out), (out)) {
    while (!OK && out[0] == 0) {}
    out[threadIdx.x] = 1;
}
TWINS(lanes_disagree, (u32 *out), (out)) {
    __shared__ u32 s[8];
    s[threadIdx.x % 8] = OK ? threadIdx.x % 8 : threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x % 8];
}
