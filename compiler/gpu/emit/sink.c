/* sink.c: values that cost next to nothing are made where they are used.
 *
 * What differs from another value by a constant, and what widens a 32-bit number, is made again in
 * each block that uses it. Constant offsets then become part of the addresses of instructions, and
 * a loop holds one register instead of one for each distance. LLVM's own passes do the opposite:
 * they find the common value far above and keep it.
 */
#include "compiler/gpu/emit/emit.h"

typedef struct Remade {
    Scalar from, here;
} Remade;

static bool has_constant(Scalar instruction, unsigned from) {
    for (int i = (int)from; i < LLVMGetNumOperands(instruction); i++)
        if (!LLVMIsAConstantInt(LLVMGetOperand(instruction, (unsigned)i))) return false;
    return true;
}

static bool is_widening(Scalar x) {
    return LLVMIsASExtInst(x) || LLVMIsAZExtInst(x);
}

static bool is_cheap(Scalar x) {
    if (!LLVMIsAInstruction(x)) return false;
    switch (LLVMGetInstructionOpcode(x)) {
    case LLVMGetElementPtr: return has_constant(x, 1);
    case LLVMAdd:
    case LLVMOr:
    case LLVMXor: return has_constant(x, 1);
    case LLVMShl: return has_constant(x, 1) && is_widening(LLVMGetOperand(x, 0));
    case LLVMSExt:
    case LLVMZExt: {
        ScalarType from = LLVMTypeOf(LLVMGetOperand(x, 0));
        return LLVMGetTypeKind(from) == LLVMIntegerTypeKind && LLVMGetIntTypeWidth(from) == 32;
    }
    default: return false;
    }
}

typedef struct Sink {
    Emitter *e;
    LLVMBasicBlockRef block;
    Remade known[512];
    uint32_t count;
} Sink;

static Scalar remade(Sink *s, Scalar value) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->known[i].from == value || s->known[i].here == value) return s->known[i].here;
    if (!is_cheap(value) || LLVMGetInstructionParent(value) == s->block) return NULL;
    if (s->count == ARRAY_LENGTH(s->known)) return NULL;
    Scalar here = LLVMInstructionClone(value);
    s->known[s->count++] = (Remade){value, here};
    return here;
}

/* From the last instruction to the first: what was made anew is looked at in its turn, and moves up
 * to the first instruction that uses it. */
static void sink_into(Sink *s) {
    Scalar user = LLVMGetLastInstruction(s->block);
    for (; user && !LLVMIsAPHINode(user); user = LLVMGetPreviousInstruction(user))
        for (int i = 0; i < LLVMGetNumOperands(user); i++) {
            Scalar from = LLVMGetOperand(user, (unsigned)i), here = remade(s, from);
            if (!here) continue;
            if (LLVMGetInstructionParent(here)) LLVMInstructionRemoveFromParent(here);
            LLVMPositionBuilderBefore(s->e->builder, user);
            LLVMInsertIntoBuilder(s->e->builder, here);
            LLVMSetOperand(user, (unsigned)i, here);
        }
}

void emit_sink(Emitter *e) {
    Sink *s = arena_new(e->arena, Sink);
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(e->function); block;
         block = LLVMGetNextBasicBlock(block)) {
        s->e = e, s->block = block, s->count = 0;
        sink_into(s);
    }
}
