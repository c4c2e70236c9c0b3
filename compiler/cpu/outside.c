/* outside.c: print and assert. */
#include "compiler/cpu/emit.h"

/* The runtime gets each operand whole, and makes the lines. */
static void print_operand(Emitter *e, const Op *op, uint32_t i, Reg print, Reg where) {
    const Value *v = op_operand(op, i);
    const Type *element = type_element(v->type);
    Reg elements = slot_pointer(e, info_of(e, v)->slot);
    if (!type_is_block(v->type)) {
        elements = where;
        Reg value = to_memory(e, scalar_of(e, v), element);
        store_reg(e, value, elements, type_element_size(element));
    }
    RegType types[5] = {e->pointer, e->pointer, e->i32, e->i32, e->pointer};
    RegType type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), types, 5, 0);
    Reg operands[5] = {e->launch, e->program, const_i32(e, order_of(e, op)), const_i32(e, i),
                       elements};
    LLVMBuildCall2(e->b, type, print, operands, 5, "");
}

void code_print(Emitter *e, const Op *op) {
    for (uint32_t i = 0; i < op->operand_count; i++) force(e, op_operand(op, i));
    before_write(e, op);
    const uint64_t slot = slot_alloc(e, 64);
    note_site(e, op);
    Reg print = LAUNCH_FIELD(e, print, e->pointer);
    Branch branch;
    branch_open(e, &branch, LLVMBuildIsNotNull(e->b, print, ""));
    for (uint32_t i = 0; i < op->operand_count; i++)
        print_operand(e, op, i, print, slot_pointer(e, slot));
    if (op->operand_count == 0) {
        RegType types[5] = {e->pointer, e->pointer, e->i32, e->i32, e->pointer};
        RegType type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), types, 5, 0);
        Reg operands[5] = {e->launch, e->program, const_i32(e, order_of(e, op)), const_i32(e, 0),
                           LLVMConstNull(e->pointer)};
        LLVMBuildCall2(e->b, type, print, operands, 5, "");
    }
    branch_close(e, &branch);
    slot_free(e, slot, 64);
}

void code_assert(Emitter *e, const Op *op) {
    const Value *holds = op_operand(op, 0);
    const Value *mask = op->operand_count > 1 ? op_operand(op, 1) : NULL;
    before_write(e, op);
    prepare(e, holds, holds->type, true);
    if (mask) prepare(e, mask, holds->type, true);
    Nest nest;
    const Type *space = holds->type;
    nest_open(&nest, e, space, type_is_block(space) ? space->rank - 1 : 0, 1);
    Reg good = eval_here(&nest, holds);
    if (mask) good = LLVMBuildOr(e->b, good, LLVMBuildNot(e->b, eval_here(&nest, mask), ""), "");
    CoordKind kind;
    Reg element =
        type_is_block(space) ? row_major(e, space, &nest.place, 1, &kind) : const_i64(e, 0);
    LLVMBasicBlockRef bad = new_block(e, "assertion"), go_on = new_block(e, "holds");
    LLVMBuildCondBr(e->b, good, go_on, bad);
    LLVMPositionBuilderAtEnd(e->b, bad);
    code_fault(e, op, CPU_FAULT_ASSERT, element, NULL);
    LLVMBuildUnreachable(e->b); /* the block behind the fault */
    LLVMPositionBuilderAtEnd(e->b, go_on);
    nest_close(&nest);
}
