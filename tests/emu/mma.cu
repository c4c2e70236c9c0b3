// Every kind of mma.sync, one warp each: fragments come straight from memory in the order of the
// registers (frag[register * 32 + lane]), so that the test decides where each element goes.
#include <stdint.h>

typedef uint32_t u32;

#define LOAD(v, n) u32 v[n]; for (int i = 0; i < n; i++) v[i] = p##v[i * 32 + threadIdx.x]
#define STORE(n) for (int i = 0; i < n; i++) pd[i * 32 + threadIdx.x] = d[i]

#define MMA_4_4_2(name, op)                                                                        \
    extern "C" __global__ void name(const u32 *pa, const u32 *pb, const u32 *pc, u32 *pd) {        \
        LOAD(a, 4); LOAD(b, 2); LOAD(c, 4); u32 d[4];                                              \
        asm volatile("mma.sync.aligned." op " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "             \
                     "{%10,%11,%12,%13};"                                                          \
                     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]),           \
                       "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));                                \
        STORE(4);                                                                                  \
    }
#define MMA_F(name, op)                                                                            \
    extern "C" __global__ void name(const u32 *pa, const u32 *pb, const float *pc, float *pd) {    \
        LOAD(a, 4); LOAD(b, 2);                                                                    \
        float c[4], d[4];                                                                          \
        for (int i = 0; i < 4; i++) c[i] = pc[i * 32 + threadIdx.x];                               \
        asm volatile("mma.sync.aligned." op " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "             \
                     "{%10,%11,%12,%13};"                                                          \
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]),           \
                       "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));                                \
        STORE(4);                                                                                  \
    }
MMA_F(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA_F(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_F(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA_4_4_2(mma_s8, "m16n8k32.row.col.s32.s8.s8.s32")
MMA_4_4_2(mma_u8s8, "m16n8k32.row.col.satfinite.s32.u8.s8.s32")
MMA_4_4_2(mma_s4, "m16n8k64.row.col.s32.s4.s4.s32")
#if __CUDA_ARCH__ >= 890
MMA_F(mma_e4m3, "m16n8k32.row.col.f32.e4m3.e4m3.f32")
MMA_F(mma_e5m2, "m16n8k32.row.col.f32.e5m2.e4m3.f32")
#endif

extern "C" __global__ void mma_f16_f16(const u32 *pa, const u32 *pb, const u32 *pc, u32 *pd) {
    LOAD(a, 4); LOAD(b, 2); LOAD(c, 2);
    u32 d[2];
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%9};"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]));
    STORE(2);
}
extern "C" __global__ void mma_f64(const double *pa, const double *pb, const double *pc, double *pd) {
    int t = threadIdx.x;
    double d[2], c0 = pc[t], c1 = pc[32 + t];
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%4,%5};"
                 : "=d"(d[0]), "=d"(d[1]) : "d"(pa[t]), "d"(pb[t]), "d"(c0), "d"(c1));
    STORE(2);
}
// ldmatrix (plain and transposed), movmatrix and back through shared memory
extern "C" __global__ void matrices(const u32 *in, u32 *out) {
    __shared__ __align__(16) u32 s[128];
    int t = threadIdx.x;
    for (int i = 0; i < 4; i++) s[i * 32 + t] = in[i * 32 + t];
    __syncwarp();
    u32 row = (u32)__cvta_generic_to_shared(s + t * 4), r[4], m;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row));
    for (int i = 0; i < 4; i++) out[i * 32 + t] = r[i];
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(m) : "r"(r[1]));
    out[128 + t] = m;
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(row));
    out[160 + t] = r[0], out[192 + t] = r[1];
}
