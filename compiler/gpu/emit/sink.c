/* sink.c: values that cost next to nothing are made where they are used.
 *
 * What differs from another value by a constant, and what widens a 32-bit number, is made again in
 * each block that uses it. Constant offsets then become part of the addresses of instructions, and
 * a loop holds one register instead of one for each distance. LLVM's own passes do the opposite:
 * they find the common value far above and keep it. So that its last ones do not do it again, what
 * such values start from goes through a move that LLVM cannot look into; ptxas drops it.
 *
 * Behind a loop everything is made again that parameters and the numbers of the thread and the
 * program give: the loop need not hold it.
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
    bool behind_loops;
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

/* "ctaid.x" when the value is that special register; else NULL. */
static const char *special_register(Scalar x) {
    static const char prefix[] = "llvm.nvvm.read.ptx.sreg.";
    size_t length;
    if (!LLVMIsACallInst(x) || !LLVMIsAFunction(LLVMGetCalledValue(x))) return NULL;
    const char *name = LLVMGetValueName2(LLVMGetCalledValue(x), &length);
    return strncmp(name, prefix, sizeof prefix - 1) ? NULL : name + sizeof prefix - 1;
}

/* Is the value whole numbers and addresses computed from nothing but parameters and special
 * registers? Takes what it costs from *budget. */
static bool is_from_start(Scalar x, uint32_t *budget) {
    if (LLVMIsAConstant(x) || LLVMIsAArgument(x)) return true;
    if (!LLVMIsAInstruction(x) || *budget == 0) return false;
    --*budget;
    switch (LLVMGetInstructionOpcode(x)) {
    case LLVMCall: return special_register(x) != NULL;
    case LLVMAdd:
    case LLVMSub:
    case LLVMMul:
    case LLVMUDiv:
    case LLVMSDiv:
    case LLVMURem:
    case LLVMSRem:
    case LLVMShl:
    case LLVMLShr:
    case LLVMAShr:
    case LLVMAnd:
    case LLVMOr:
    case LLVMXor:
    case LLVMTrunc:
    case LLVMZExt:
    case LLVMSExt:
    case LLVMICmp:
    case LLVMSelect:
    case LLVMGetElementPtr: break;
    default: return false;
    }
    for (int i = 0; i < LLVMGetNumOperands(x); i++)
        if (!is_from_start(LLVMGetOperand(x, (unsigned)i), budget)) return false;
    return true;
}

static bool is_worth_remaking(const Sink *s, Scalar value) {
    uint32_t budget = 64;
    if (is_cheap(value)) return true;
    return s->behind_loops && LLVMIsAInstruction(value) && is_from_start(value, &budget);
}

static Scalar remade(Sink *s, Scalar value) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->known[i].from == value || s->known[i].here == value) return s->known[i].here;
    if (!is_worth_remaking(s, value) || LLVMGetInstructionParent(value) == s->block) return NULL;
    if (s->count == ARRAY_LENGTH(s->known)) return NULL;
    const char *special = special_register(value);
    Scalar here = special ? emit_asm(s->e, arena_printf(s->e->arena, "mov.u32 $0, %%%s;", special),
                                     "=r", s->e->i32, 0, NULL, true)
                          : LLVMInstructionClone(value);
    s->known[s->count++] = (Remade){value, here};
    return here;
}

/* From the last instruction to the first: what was made anew is looked at in its turn, and moves up
 * to the first instruction that uses it. */
static void sink_into(Sink *s) {
    Scalar user = LLVMGetLastInstruction(s->block);
    for (; user && !LLVMIsAPHINode(user); user = LLVMGetPreviousInstruction(user))
        for (int i = 0; i < LLVMGetNumOperands(user); i++) {
            LLVMPositionBuilderBefore(s->e->builder, user);
            Scalar from = LLVMGetOperand(user, (unsigned)i), here = remade(s, from);
            if (!here) continue;
            if (LLVMGetInstructionParent(here)) LLVMInstructionRemoveFromParent(here);
            LLVMPositionBuilderBefore(s->e->builder, user);
            LLVMInsertIntoBuilder(s->e->builder, here);
            LLVMSetOperand(user, (unsigned)i, here);
        }
}

/* "r", "l": the register class of what may stand behind a move; NULL: something else. */
static const char *class_of(const Sink *s, Scalar root) {
    ScalarType type = LLVMTypeOf(root);
    if (!LLVMIsAInstruction(root) && !LLVMIsAArgument(root)) return NULL;
    if (LLVMIsAInstruction(root) && LLVMGetInstructionParent(root) == s->block) return NULL;
    if (type == s->e->shared || type == s->e->i32) return "r";
    return s->behind_loops && (type == s->e->i64 || type == s->e->global) ? "l" : NULL;
}

/* What cheap values start from, behind a move each. */
static void hide_roots(Sink *s) {
    VEC(Remade) moves = {0};
    Scalar first = LLVMGetFirstInstruction(s->block);
    while (LLVMIsAPHINode(first)) first = LLVMGetNextInstruction(first);
    for (Scalar x = first; x; x = LLVMGetNextInstruction(x)) {
        uint32_t budget = 64;
        const bool remade = s->behind_loops && is_from_start(x, &budget);
        if (!remade && !is_cheap(x)) continue;
        for (int k = 0; k < (remade ? LLVMGetNumOperands(x) : 1); k++) {
            Scalar root = LLVMGetOperand(x, (unsigned)k), move = NULL;
            const char *class = class_of(s, root);
            if (!class) continue;
            for (uint32_t i = 0; i < moves.length; i++)
                if (moves.data[i].from == root) move = moves.data[i].here;
            if (!move) {
                bool wide = *class == 'l';
                LLVMPositionBuilderBefore(s->e->builder, first);
                move = emit_asm(s->e, wide ? "mov.b64 $0, $1;" : "mov.b32 $0, $1;",
                                wide ? "=l,l" : "=r,r", LLVMTypeOf(root), 1, &root, true);
                vec_push(s->e->arena, &moves, ((Remade){root, move}));
            }
            LLVMSetOperand(x, (unsigned)k, move);
        }
    }
}

/* Is there a way from one block to the other, of one step or more? */
static bool reaches(Emitter *e, LLVMBasicBlockRef from, LLVMBasicBlockRef to) {
    VEC(LLVMBasicBlockRef) reached = {0};
    vec_push(e->arena, &reached, from);
    for (uint32_t i = 0; i < reached.length; i++) {
        Scalar end = LLVMGetBasicBlockTerminator(reached.data[i]);
        for (unsigned k = 0; k < LLVMGetNumSuccessors(end); k++) {
            LLVMBasicBlockRef next = LLVMGetSuccessor(end, k);
            bool known = false;
            if (next == to) return true;
            for (uint32_t j = 0; j < reached.length; j++) known |= reached.data[j] == next;
            if (!known) vec_push(e->arena, &reached, next);
        }
    }
    return false;
}

/* A loop of one block, as inner loops without branches are. */
static bool is_inner_loop(LLVMBasicBlockRef block) {
    Scalar end = LLVMGetBasicBlockTerminator(block);
    for (unsigned k = 0; k < LLVMGetNumSuccessors(end); k++)
        if (LLVMGetSuccessor(end, k) == block) return true;
    return false;
}

/* Is the block behind a loop, and in none? Or in one with inner loops, but in none of those? */
static bool is_behind_loops(Emitter *e, LLVMBasicBlockRef block) {
    const bool in_loop = reaches(e, block, block);
    bool behind = false;
    if (is_inner_loop(block)) return false;
    for (LLVMBasicBlockRef other = LLVMGetFirstBasicBlock(e->function); other && !behind;
         other = LLVMGetNextBasicBlock(other)) {
        if (other == block || !reaches(e, other, block)) continue;
        behind =
            in_loop ? is_inner_loop(other) && reaches(e, block, other) : reaches(e, other, other);
    }
    return behind;
}

void emit_sink(Emitter *e) {
    Sink *s = arena_new(e->arena, Sink);
    LLVMSetCurrentDebugLocation2(e->builder, NULL);
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(e->function); block;
         block = LLVMGetNextBasicBlock(block)) {
        s->e = e, s->block = block, s->count = 0;
        s->behind_loops = is_behind_loops(e, block);
        sink_into(s);
        hide_roots(s);
    }
}
