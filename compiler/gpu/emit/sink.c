/* sink.c: values that cost next to nothing are made where they are used.
 *
 * What differs from another value by a constant, and what widens a 32-bit number, is made again in
 * each block that uses it. Constant offsets then become part of the addresses of instructions, and
 * a loop holds one register instead of one for each distance. LLVM's own passes do the opposite:
 * they find the common value far above and keep it. So that its last ones do not do it again, what
 * such values start from goes through a move that LLVM cannot look into; ptxas drops it.
 */
#include "compiler/gpu/emit/emit.h"

typedef struct Remade {
    Scalar from, here;
} Remade;

typedef struct Sink {
    Emitter *e;
    LLVMBasicBlockRef block;
    Remade known[512];
    uint32_t count;
} Sink;

static bool is_i32(Scalar x) {
    ScalarType type = LLVMTypeOf(x);
    return LLVMGetTypeKind(type) == LLVMIntegerTypeKind && LLVMGetIntTypeWidth(type) == 32;
}

static bool has_constants(Scalar instruction, unsigned from) {
    for (int i = (int)from; i < LLVMGetNumOperands(instruction); i++)
        if (!LLVMIsAConstantInt(LLVMGetOperand(instruction, (unsigned)i))) return false;
    return true;
}

static bool is_widening(Scalar x) {
    return (LLVMIsASExtInst(x) || LLVMIsAZExtInst(x)) && is_i32(LLVMGetOperand(x, 0));
}

static bool is_cheap(Scalar x) {
    if (!LLVMIsAInstruction(x)) return false;
    switch (LLVMGetInstructionOpcode(x)) {
    case LLVMGetElementPtr: return has_constants(x, 1);
    case LLVMAdd:
    case LLVMOr:
    case LLVMXor: return has_constants(x, 1) && is_i32(x);
    case LLVMShl: return has_constants(x, 1) && is_widening(LLVMGetOperand(x, 0));
    case LLVMSExt:
    case LLVMZExt: return is_widening(x);
    default: return false;
    }
}

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

/* What cheap values start from, behind a move each. */
static void hide_roots(Sink *s) {
    VEC(Remade) moves = {0};
    Scalar first = LLVMGetFirstInstruction(s->block);
    while (LLVMIsAPHINode(first)) first = LLVMGetNextInstruction(first);
    for (Scalar x = first; x; x = LLVMGetNextInstruction(x)) {
        if (!is_cheap(x)) continue;
        Scalar root = LLVMGetOperand(x, 0), move = NULL;
        if (LLVMTypeOf(root) != s->e->shared && !is_i32(root)) continue;
        if (!LLVMIsAInstruction(root) && !LLVMIsAArgument(root)) continue;
        if (LLVMIsAInstruction(root) && LLVMGetInstructionParent(root) == s->block) continue;
        for (uint32_t i = 0; i < moves.length; i++)
            if (moves.data[i].from == root) move = moves.data[i].here;
        if (!move) {
            LLVMPositionBuilderBefore(s->e->builder, first);
            move = emit_asm(s->e, "mov.b32 $0, $1;", "=r,r", LLVMTypeOf(root), 1, &root, true);
            vec_push(s->e->arena, &moves, ((Remade){root, move}));
        }
        LLVMSetOperand(x, 0, move);
    }
}

void emit_sink(Emitter *e) {
    Sink *s = arena_new(e->arena, Sink);
    LLVMSetCurrentDebugLocation2(e->builder, NULL);
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(e->function); block;
         block = LLVMGetNextBasicBlock(block)) {
        s->e = e, s->block = block, s->count = 0;
        sink_into(s);
        hide_roots(s);
    }
}
