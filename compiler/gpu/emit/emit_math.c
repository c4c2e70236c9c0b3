/* emit_math.c: functions of one float that are instructions of the GPU.
 *
 * Largest errors (PTX ISA): exp2 2^-22.5 relative, log2 2^-22 absolute near 1 and 2 ulp elsewhere,
 * rsqrt 2^-22.9 relative; sqrt and the functions that give whole numbers are exact or correctly
 * rounded. exp2 gives 0 for results below the normal numbers. Every other function is made of these
 * and of arithmetic before it gets here (passes/math.c).
 */
#include "compiler/gpu/emit/emit.h"

typedef struct MathRow {
    OpCode code;
    const char *f32, *f64;
    bool overloaded;
} MathRow;

static const MathRow rows[] = {
    {OP_exp2, "llvm.nvvm.ex2.approx.ftz", NULL, true},
    {OP_log2, "llvm.nvvm.lg2.approx.f", NULL, false},
    {OP_rsqrt, "llvm.nvvm.rsqrt.approx.f", NULL, false},
    {OP_sqrt, "llvm.nvvm.sqrt.rn.f", "llvm.nvvm.sqrt.rn.d", false},
    {OP_floor, "llvm.floor", "llvm.floor", true},
    {OP_ceil, "llvm.ceil", "llvm.ceil", true},
    {OP_trunc, "llvm.trunc", "llvm.trunc", true},
    {OP_rint, "llvm.roundeven", "llvm.roundeven", true},
    {OP_round, "llvm.round", "llvm.round", true},
};

Scalar emit_math(Emitter *e, OpCode code, DType dtype, Scalar x) {
    for (uint32_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        const char *name = dtype == DT_f64 ? rows[i].f64 : rows[i].f32;
        if (rows[i].code != code || !name) continue;
        ScalarType type = rows[i].overloaded ? LLVMTypeOf(x) : NULL;
        return emit_intrinsic(e, name, type, 1, &x);
    }
    return NULL;
}
