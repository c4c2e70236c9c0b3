// Arithmetic corner cases. Each kernel writes out[op * n + i]; the operations are in the order of
// the tables in t_emu_arith.c, which computes the same in plain C.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;

extern "C" __global__ void int_ops(const u32 *pa, const u32 *pb, const u32 *pc, u32 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 a = pa[i], b = pb[i], c = pc[i], d, e;
    int sa = (int)a, sb = (int)b;
    u32 *o = out + i;
#define OUT(x) *o = (x), o += n
    OUT(a + b);
    OUT(a * b + c);
    OUT(__umulhi(a, b));
    OUT(__mulhi(sa, sb));
    OUT(b ? a / b : 0);
    OUT(b ? a % b : 0);
    OUT(sb && !(sa == INT_MIN && sb == -1) ? sa / sb : 0);
    OUT(sb && !(sa == INT_MIN && sb == -1) ? sa % sb : 0);
    OUT(min(sa, sb));
    OUT(max(a, b));
    OUT(abs(sa));
    OUT(__usad(a, b, c));
    OUT(__sad(sa, sb, c));
    OUT(__popc(a));
    OUT(__clz(a));
    OUT(__ffs(a));
    OUT(__brev(a));
    OUT(__byte_perm(a, b, c));
    OUT(__funnelshift_l(a, b, c));
    OUT(__funnelshift_rc(a, b, c));
    OUT(__dp4a(sa, sb, (int)c));
    OUT(__dp4a(a, b, c));
    OUT(__dp2a_lo(sa, sb, (int)c));
    OUT(__dp2a_hi(a, b, c));
    OUT((a & b) ^ (~a & c)); // lop3
    OUT(__mul24(sa, sb));
    OUT(__umul24(a, b));
    asm("bfe.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b & 63), "r"(c & 63));
    OUT(d);
    asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c & 63), "r"(c >> 8 & 63));
    OUT(d);
    asm("bfind.s32 %0, %1;" : "=r"(d) : "r"(a));
    OUT(d);
    asm("shl.b32 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b & 63));
    OUT(d);
    asm("shr.s32 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b & 63));
    OUT(d);
    asm("add.sat.s32 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    OUT(d);
    asm("{ add.cc.u32 %0, %2, %3; addc.u32 %1, %2, %4; }" : "=r"(d), "=r"(e) : "r"(a), "r"(b), "r"(c));
    OUT(d);
    OUT(e);
    asm("{ sub.cc.u32 %0, %2, %3; subc.u32 %1, %4, %2; }" : "=r"(d), "=r"(e) : "r"(a), "r"(b), "r"(c));
    OUT(d);
    OUT(e);
    asm("{ mad.lo.cc.u32 %0, %2, %3, %4; madc.hi.u32 %1, %2, %3, %4; }" : "=r"(d), "=r"(e) : "r"(a), "r"(b), "r"(c));
    OUT(d);
    OUT(e);
    asm("fns.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b & 31), "r"((c & 7) - 3));
    OUT(d);
    u64 w = (u64)a << 32 | b, v = (u64)c << 32 | a;
    OUT((u32)(w * v >> 32));
    OUT((u32)__umul64hi(w, v));
    OUT((u32)(__mul64hi((long long)w, (long long)v) >> 32));
    OUT((u32)(v ? w / v : 0));
    OUT((u32)__popcll(w));
    OUT((u32)__clzll((long long)w));
    OUT((u32)(w >> (c & 63)));
    OUT((u32)((long long)w >> (c & 63)));
    OUT((u32)(short)a * (u32)(short)b);
    OUT((u32)(unsigned short)(a >> 3) % (u32)(unsigned short)(b | 1));
    OUT((u32)(w < v) + 2u * (u32)((long long)w < (long long)v) + 4u * (u32)(sa < sb) + 8u * (u32)(a < b));
}

extern "C" __global__ void float_ops(const float *pa, const float *pb, const float *pc, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a = pa[i], b = pb[i], c = pc[i], d;
    float *o = out + i;
    OUT(__fadd_rn(a, b));
    OUT(__fadd_rz(a, b));
    OUT(__fadd_ru(a, b));
    OUT(__fadd_rd(a, b));
    OUT(__fsub_rn(a, b));
    OUT(__fmul_rn(a, b));
    OUT(__fmul_rz(a, b));
    OUT(__fmul_ru(a, b));
    OUT(__fmaf_rn(a, b, c));
    OUT(__fmaf_rz(a, b, c));
    OUT(__fmaf_rd(a, b, c));
    OUT(__fdiv_rn(a, b));
    OUT(__fsqrt_rn(a));
    OUT(__frcp_rn(a));
    OUT(fminf(a, b));
    OUT(fmaxf(a, b));
    OUT(fabsf(a));
    OUT(-a);
    OUT(__saturatef(a));
    OUT(rintf(a));
    OUT(floorf(a));
    OUT(ceilf(a));
    OUT(truncf(a));
    OUT(copysignf(a, b));
    asm("add.ftz.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
    OUT(d);
    asm("mul.ftz.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
    OUT(d);
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
    OUT(d);
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
    OUT(d);
    OUT((float)__float2int_rn(a));
    OUT((float)__float2int_rz(a));
    OUT((float)__float2int_ru(a));
    OUT((float)__float2uint_rd(a));
    OUT((float)__float2ll_rz(a));
    OUT(__int2float_rz(__float_as_int(a)));
    OUT(__uint2float_ru(__float_as_uint(a)));
    OUT(__ll2float_rn((long long)__float_as_uint(a) << 32 | __float_as_uint(b)));
    OUT(__ull2float_rd((u64)__float_as_uint(a) << 32 | __float_as_uint(b)));
    OUT((float)__ull2double_rn((u64)__float_as_uint(a) << 32 | __float_as_uint(b)));
    OUT((float)((double)a * (double)b + (double)c));
    OUT((float)(a < b) + 2.f * (float)(a <= b) + 4.f * (float)(a == b) + 8.f * (float)(a != b));
    OUT((float)!(a < b) + 2.f * (float)!(a >= b) + 4.f * (float)isnan(a));
}

// approximate functions: compared within the stated error
extern "C" __global__ void approx_ops(const float *pa, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a = pa[i], d;
    float *o = out + i;
#define APPROX(text) asm(text " %0, %1;" : "=f"(d) : "f"(a)); OUT(d)
    APPROX("ex2.approx.f32");
    APPROX("lg2.approx.f32");
    APPROX("sin.approx.f32");
    APPROX("cos.approx.f32");
    APPROX("rcp.approx.f32");
    APPROX("sqrt.approx.f32");
    APPROX("rsqrt.approx.f32");
    APPROX("tanh.approx.f32");
    OUT(__fdividef(1.0f, a));
    OUT(expf(a));
    OUT(logf(a));
    OUT(sinf(a));
}

// half and bfloat16, as bits
extern "C" __global__ void half_ops(const u32 *pa, const u32 *pb, const u32 *pc, u32 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 a = pa[i], b = pb[i], c = pc[i], d;
    u32 *o = out + i;
#define ASM2(text) asm(text " %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); OUT(d)
#define ASM3(text) asm(text " %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); OUT(d)
    ASM2("add.f16x2");
    ASM2("sub.f16x2");
    ASM2("mul.f16x2");
    ASM3("fma.rn.f16x2");
    ASM3("fma.rn.relu.f16x2");
    ASM2("min.f16x2");
    ASM2("max.NaN.f16x2");
    ASM2("add.sat.f16x2");
    ASM3("fma.rn.bf16x2");
    ASM2("max.bf16x2");
    ASM2("min.NaN.bf16x2");
    ASM2("cvt.rn.f16x2.f32");
    ASM2("cvt.rn.bf16x2.f32");
    ASM2("cvt.rz.bf16x2.f32");
    ASM2("cvt.rn.relu.f16x2.f32");
    unsigned short h;
    asm("cvt.rz.f16.f32 %0, %1;" : "=h"(h) : "r"(a));
    OUT(h);
    asm("cvt.rp.f16.f32 %0, %1;" : "=h"(h) : "r"(a));
    OUT(h);
    asm("cvt.f32.f16 %0, %1;" : "=r"(d) : "h"((unsigned short)a));
    OUT(d);
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "r"(a));
    OUT(d);
    asm("cvt.rni.s16.f16 %0, %1;" : "=h"(h) : "h"((unsigned short)a));
    OUT(h);
    asm("cvt.rn.f16.s32 %0, %1;" : "=h"(h) : "r"(a));
    OUT(h);
    asm("cvt.sat.s8.s32 %0, %1;" : "=r"(d) : "r"(a));
    OUT(d);
    asm("cvt.sat.u16.s32 %0, %1;" : "=h"(h) : "r"(a));
    OUT(h);
}

// 8-bit floats need sm_89; compiled for sm_90a only
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
extern "C" __global__ void fp8_ops(const u32 *pa, const u32 *pb, u32 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 a = pa[i], b = pb[i], d;
    unsigned short h;
    u32 *o = out + i;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(h) : "r"(a), "r"(b));
    OUT(h);
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(h) : "r"(a), "r"(b));
    OUT(h);
    asm("cvt.rn.satfinite.relu.e4m3x2.f32 %0, %1, %2;" : "=h"(h) : "r"(a), "r"(b));
    OUT(h);
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(d) : "h"((unsigned short)a));
    OUT(d);
    asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(d) : "h"((unsigned short)a));
    OUT(d);
    asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(h) : "r"(a));
    OUT(h);
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    OUT(d);
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    OUT(d);
}
#endif
