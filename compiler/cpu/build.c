/* build.c: small things to say in LLVM: types, constants, vectors, loops, branches, calls. */
#include "compiler/cpu/emit.h"

#include <assert.h>
#include <stdio.h>

/* ---- types ------------------------------------------------------------------------------------
 */

RegType reg_type(Emitter *e, const Type *element) {
    if (element->kind == TYPE_POINTER) return e->i64;
    switch (element->dtype) {
    case DT_i1: return e->i1;
    case DT_f32: return e->f32;
    case DT_f64: return e->f64;
    default: break;
    }
    switch (dtype_size(element->dtype)) {
    case 1: return e->i8;
    case 2: return e->i16;
    case 4: return e->i32;
    default: return e->i64;
    }
}

RegType stored_type(Emitter *e, const Type *element) {
    return type_dtype(element) == DT_i1 ? e->i8 : reg_type(e, element);
}

RegType lanes_type(RegType type, uint32_t width) {
    return width == 1 ? type : LLVMVectorType(type, width);
}

uint32_t width_of(Reg reg) {
    RegType type = LLVMTypeOf(reg);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetVectorSize(type) : 1;
}

static RegType element_of(Reg reg) {
    RegType type = LLVMTypeOf(reg);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
}

/* ---- constants, lanes ---------------------------------------------------------------------------
 */

Reg const_i64(Emitter *e, int64_t value) {
    return LLVMConstInt(e->i64, (uint64_t)value, 1);
}
Reg const_i32(Emitter *e, int64_t value) {
    return LLVMConstInt(e->i32, (uint64_t)value, 1);
}

static Reg const_splat(Reg like, Reg scalar) {
    const uint32_t width = width_of(like);
    if (width == 1) return scalar;
    Reg all[256];
    for (uint32_t i = 0; i < width; i++) all[i] = scalar;
    return LLVMConstVector(all, width);
}

Reg const_like(Reg like, double value) {
    return const_splat(like, LLVMConstReal(element_of(like), value));
}
Reg const_int_like(Reg like, uint64_t value) {
    return const_splat(like, LLVMConstInt(element_of(like), value, 0));
}

Reg splat_reg(Emitter *e, Reg reg, uint32_t width) {
    if (width == 1 || width_of(reg) == width) return reg;
    assert(width_of(reg) == 1);
    RegType type = LLVMVectorType(LLVMTypeOf(reg), width);
    Reg one = LLVMBuildInsertElement(e->b, LLVMGetPoison(type), reg, const_i64(e, 0), "");
    Reg zeros = LLVMConstNull(LLVMVectorType(e->i32, width));
    return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(type), zeros, "");
}

Reg lane_numbers(Emitter *e, RegType type, uint32_t width) {
    Reg all[256];
    (void)e;
    if (width == 1) return LLVMConstInt(type, 0, 0);
    for (uint32_t i = 0; i < width; i++) all[i] = LLVMConstInt(type, i, 0);
    return LLVMConstVector(all, width);
}

Reg extract_lane(Emitter *e, Reg vector, uint32_t lane) {
    if (width_of(vector) == 1) return vector;
    return LLVMBuildExtractElement(e->b, vector, const_i64(e, lane), "");
}

void same_width(Emitter *e, uint32_t count, Reg *regs) {
    uint32_t width = 1;
    for (uint32_t i = 0; i < count; i++)
        if (width_of(regs[i]) > width) width = width_of(regs[i]);
    for (uint32_t i = 0; i < count; i++) regs[i] = splat_reg(e, regs[i], width);
}

Reg shuffle(Emitter *e, Reg a, Reg b, uint32_t count, const int *order) {
    Reg mask[256];
    for (uint32_t i = 0; i < count; i++) mask[i] = const_i32(e, order[i]);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, count), "");
}

/* ---- calls --------------------------------------------------------------------------------------
 */

Reg call_overloaded(Emitter *e, const char *name, uint32_t type_count, RegType *types,
                    uint32_t count, Reg *operands) {
    const unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    Reg function = LLVMGetIntrinsicDeclaration(e->llvm, id, types, type_count);
    RegType type = LLVMGlobalGetValueType(function);
    return LLVMBuildCall2(e->b, type, function, operands, count, "");
}

Reg call_intrinsic(Emitter *e, const char *name, uint32_t count, Reg *operands) {
    RegType type = LLVMTypeOf(operands[0]);
    return call_overloaded(e, name, 1, &type, count, operands);
}

Reg call_extern(Emitter *e, const char *name, RegType result, uint32_t count, Reg *operands) {
    RegType types[8];
    for (uint32_t i = 0; i < count; i++) types[i] = LLVMTypeOf(operands[i]);
    RegType type = LLVMFunctionType(result, types, count, 0);
    Reg function = LLVMGetNamedFunction(e->llvm, name);
    if (!function) function = LLVMAddFunction(e->llvm, name, type);
    return LLVMBuildCall2(e->b, type, function, operands, count, "");
}

bool function_open(Emitter *e, Function *f, const char *name, RegType result, RegType *types,
                   uint32_t count) {
    assert(count <= MOST_ARGUMENTS);
    *f = (Function){.value = LLVMGetNamedFunction(e->llvm, name), .caller = e->function};
    if (f->value) return false;
    if (!result) result = LLVMVoidTypeInContext(e->context);
    f->value = LLVMAddFunction(e->llvm, name, LLVMFunctionType(result, types, count, 0));
    LLVMSetLinkage(f->value, LLVMInternalLinkage);
    static const char *const attributes[] = {"noinline", "nounwind"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(attributes); i++) {
        const unsigned id = LLVMGetEnumAttributeKindForName(attributes[i], strlen(attributes[i]));
        LLVMAddAttributeAtIndex(f->value, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(e->context, id, 0));
    }
    f->here = LLVMGetInsertBlock(e->b);
    f->before = LLVMGetBasicBlockTerminator(f->here);
    e->function = f->value;
    LLVMPositionBuilderAtEnd(e->b, new_block(e, "entry"));
    for (uint32_t i = 0; i < count; i++) f->arguments[i] = LLVMGetParam(f->value, i);
    return true;
}

void function_close(Emitter *e, Function *f, Reg result) {
    if (result)
        LLVMBuildRet(e->b, result);
    else
        LLVMBuildRetVoid(e->b);
    e->function = f->caller;
    if (f->before)
        LLVMPositionBuilderBefore(e->b, f->before);
    else
        LLVMPositionBuilderAtEnd(e->b, f->here);
}

Reg function_call(Emitter *e, Reg function, Reg *operands, uint32_t count) {
    return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(function), function, operands, count, "");
}

/* ---- memory ------------------------------------------------------------------------- */

Reg as_pointer(Emitter *e, Reg address) {
    RegType type =
        width_of(address) == 1 ? e->pointer : LLVMVectorType(e->pointer, width_of(address));
    return LLVMBuildIntToPtr(e->b, address, type, "");
}

Reg byte_offset(Emitter *e, Reg pointer, Reg offset) {
    return LLVMBuildGEP2(e->b, e->i8, pointer, &offset, 1, "");
}

Reg load_reg(Emitter *e, RegType type, Reg pointer, uint32_t align) {
    Reg load = LLVMBuildLoad2(e->b, type, pointer, "");
    LLVMSetAlignment(load, align);
    return load;
}

void store_reg(Emitter *e, Reg value, Reg pointer, uint32_t align) {
    LLVMSetAlignment(LLVMBuildStore(e->b, value, pointer), align);
}

Reg to_memory(Emitter *e, Reg reg, const Type *element) {
    if (type_dtype(element) != DT_i1) return reg;
    return LLVMBuildZExt(e->b, reg, lanes_type(e->i8, width_of(reg)), "");
}

Reg from_memory(Emitter *e, Reg reg, const Type *element) {
    if (type_dtype(element) != DT_i1) return reg;
    return LLVMBuildICmp(e->b, LLVMIntNE, reg, LLVMConstNull(LLVMTypeOf(reg)), "");
}

Reg launch_field(Emitter *e, size_t offset, RegType type) {
    return load_reg(e, type, byte_offset(e, e->launch, const_i64(e, (int64_t)offset)), 8);
}

/* ---- control ------------------------------------------------------------------------ */

LLVMBasicBlockRef new_block(Emitter *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->context, e->function, name);
}

/* The same number, but nobody can tell: LLVM's strength reduction takes most of the time of code
 * generation to find other ways to count, and finds none that is better. */
static Reg opaque(Emitter *e, Reg x) {
    RegType type = LLVMTypeOf(x), function = LLVMFunctionType(type, &type, 1, 0);
    Reg nothing = LLVMGetInlineAsm(function, "", 0, "=r,0", 4, 0, 0, LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(e->b, function, nothing, &x, 1, "");
}

void loop_open(Emitter *e, Loop *loop, Reg count, uint64_t step, uint32_t carried,
               const Reg *initial) {
    assert(carried <= MAX_CARRIED);
    *loop = (Loop){.carried = carried, .count = count, .step = step};
    loop->once = LLVMIsConstant(count) && LLVMConstIntGetZExtValue(count) <= step;
    if (loop->once) {
        loop->index = const_i64(e, 0);
        for (uint32_t i = 0; i < carried; i++) loop->phi[i] = initial[i];
        return;
    }
    loop->before = LLVMGetInsertBlock(e->b);
    loop->body = new_block(e, "loop");
    loop->branch = LLVMBuildBr(e->b, loop->body);
    LLVMPositionBuilderAtEnd(e->b, loop->body);
    loop->index = LLVMBuildPhi(e->b, e->i64, "i");
    Reg zero = const_i64(e, 0);
    LLVMAddIncoming(loop->index, &zero, &loop->before, 1);
    for (uint32_t i = 0; i < carried; i++) {
        loop->phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(initial[i]), "");
        LLVMAddIncoming(loop->phi[i], (Reg *)&initial[i], &loop->before, 1);
    }
}

void loop_close(Emitter *e, Loop *loop) {
    if (!loop->once) {
        Reg next = LLVMBuildNUWAdd(e->b, loop->index, const_i64(e, (int64_t)loop->step), "");
        next = opaque(e, next);
        Reg more = LLVMBuildICmp(e->b, LLVMIntULT, next, loop->count, "");
        LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b), end = new_block(e, "done");
        LLVMBuildCondBr(e->b, more, loop->body, end);
        LLVMAddIncoming(loop->index, &next, &from, 1);
        for (uint32_t i = 0; i < loop->carried; i++)
            LLVMAddIncoming(loop->phi[i], &loop->next[i], &from, 1);
        LLVMPositionBuilderAtEnd(e->b, end);
    }
    for (uint32_t i = 0; i < loop->carried; i++) loop->phi[i] = loop->next[i];
}

void branch_open(Emitter *e, Branch *branch, Reg condition) {
    branch->from = LLVMGetInsertBlock(e->b);
    branch->then = new_block(e, "then");
    branch->other = new_block(e, "else");
    branch->end = NULL;
    LLVMBuildCondBr(e->b, condition, branch->then, branch->other);
    LLVMPositionBuilderAtEnd(e->b, branch->then);
}

void branch_else(Emitter *e, Branch *branch) {
    branch->end = new_block(e, "end");
    LLVMBuildBr(e->b, branch->end);
    LLVMPositionBuilderAtEnd(e->b, branch->other);
}

/* Without branch_else: the other block is where both meet. */
void branch_close(Emitter *e, Branch *branch) {
    LLVMBasicBlockRef end = branch->end ? branch->end : branch->other;
    LLVMBuildBr(e->b, end);
    LLVMPositionBuilderAtEnd(e->b, end);
}

Reg branch_merge(Emitter *e, Branch *branch, LLVMBasicBlockRef then_end, Reg then_value,
                 LLVMBasicBlockRef else_end, Reg else_value) {
    (void)branch;
    Reg phi = LLVMBuildPhi(e->b, LLVMTypeOf(then_value), "");
    LLVMAddIncoming(phi, &then_value, &then_end, 1);
    LLVMAddIncoming(phi, &else_value, &else_end, 1);
    return phi;
}

static void store_fault(Emitter *e, size_t offset, Reg value) {
    store_reg(e, value, byte_offset(e, e->fault, const_i64(e, (int64_t)offset)), 4);
}

void code_fault(Emitter *e, const Op *op, uint32_t kind, Reg element, Reg address) {
    if (kind < CPU_FAULT_BOUNDS) note_site(e, op);
    store_fault(e, offsetof(CpuFault, kind), const_i32(e, kind));
    store_fault(e, offsetof(CpuFault, op), const_i32(e, order_of(e, op)));
    store_fault(e, offsetof(CpuFault, element), element ? element : const_i64(e, 0));
    store_fault(e, offsetof(CpuFault, address), address ? address : const_i64(e, 0));
    LLVMBuildRet(e->b, const_i32(e, kind));
    LLVMPositionBuilderAtEnd(e->b, new_block(e, "after"));
}
