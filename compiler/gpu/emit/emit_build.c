/* emit_build.c: small builders: types, constants, calls, and indices that depend on the thread.
 *
 * A linear map on the bits of a number is done by groups of bits that move by the same distance:
 * each is one `and` and one shift; the groups are XORed.
 */
#include "compiler/gpu/emit/emit.h"

/* ---- values and types -------------------------------------------------------------------------
 */

void emit_fail(Emitter *e, const char *format, ...) {
    va_list args;
    Text text = {.arena = e->arena};
    va_start(args, format);
    text_vprintf(&text, format, args);
    va_end(args);
    diag_error(e->module->diagnostics, e->op ? e->op->at : e->module->kernel->at, "%s", text.data);
    longjmp(*e->failed, 1);
}

uint32_t register_count(const Type *type) {
    return type_is_block(type) ? 1u << type->layout->bits[PLACE_REGISTER] : 1;
}

ScalarType int_type(Emitter *e, uint32_t bits) {
    switch (bits) {
    case 1: return e->i1;
    case 8: return e->i8;
    case 16: return e->i16;
    case 32: return e->i32;
    case 64: return e->i64;
    default: return LLVMIntTypeInContext(e->context, bits);
    }
}

ScalarType element_type(Emitter *e, const Type *type) {
    const Type *element = type->kind == TYPE_SHARED ? type->element : type_element(type);
    if (element->kind == TYPE_POINTER) return e->global;
    switch (element->dtype) {
    case DT_f16: return e->f16;
    case DT_bf16: return e->bf16;
    case DT_f32: return e->f32;
    case DT_f64: return e->f64;
    default: return int_type(e, dtype_bits(element->dtype));
    }
}

ScalarType memory_type(Emitter *e, const Type *type) {
    ScalarType t = element_type(e, type);
    return t == e->i1 ? e->i8 : t;
}

Scalar *emit_values(Emitter *e, const Value *value) {
    return e->values[value->number];
}

Scalar *emit_operand(Emitter *e, const Op *op, uint32_t i) {
    return e->values[op_operand(op, i)->number];
}

Scalar *emit_result(Emitter *e, const Op *op, uint32_t i) {
    const Value *value = &op->results[i];
    return e->values[value->number] = arena_array(e->arena, Scalar, register_count(value->type));
}

Scalar emit_scalar(Emitter *e, const Op *op, uint32_t i) {
    return emit_operand(e, op, i)[0];
}

/* ---- calls --------------------------------------------------------------------------------------
 */

Scalar emit_i32(Emitter *e, int64_t value) {
    return LLVMConstInt(e->i32, (uint64_t)value, true);
}

Scalar emit_i64(Emitter *e, int64_t value) {
    return LLVMConstInt(e->i64, (uint64_t)value, true);
}

Scalar emit_intrinsic(Emitter *e, const char *name, ScalarType overload, uint32_t count,
                      Scalar *arguments) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    if (!id) emit_fail(e, "this LLVM has no %s", name);
    size_t types = overload ? 1 : 0;
    if (LLVMIntrinsicIsOverloaded(id) != (types == 1))
        emit_fail(e, "%s has other types in this LLVM", name);
    Scalar function = LLVMGetIntrinsicDeclaration(e->code, id, &overload, types);
    ScalarType type = LLVMIntrinsicGetType(e->context, id, &overload, types);
    return LLVMBuildCall2(e->builder, type, function, arguments, count, "");
}

static void mark_call(Emitter *e, Scalar call, const char *attribute) {
    unsigned kind = LLVMGetEnumAttributeKindForName(attribute, strlen(attribute));
    LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(e->context, kind, 0));
}

Scalar emit_asm(Emitter *e, const char *text, const char *constraints, ScalarType result,
                uint32_t count, Scalar *arguments, bool effect) {
    ScalarType *types = arena_array(e->arena, ScalarType, count + 1);
    for (uint32_t i = 0; i < count; i++) types[i] = LLVMTypeOf(arguments[i]);
    ScalarType type = LLVMFunctionType(result, types, count, false);
    Scalar code = LLVMGetInlineAsm(type, text, strlen(text), constraints, strlen(constraints),
                                   effect, false, LLVMInlineAsmDialectATT, false);
    Scalar call = LLVMBuildCall2(e->builder, type, code, arguments, count, "");
    mark_call(e, call, "nounwind");
    return call;
}

Scalar emit_part(Emitter *e, Scalar aggregate, uint32_t index) {
    return LLVMBuildExtractValue(e->builder, aggregate, index, "");
}

void emit_barrier(Emitter *e) {
    INTRINSIC(e, "llvm.nvvm.barrier.cta.sync.aligned.all", emit_i32(e, 0));
}

LLVMBasicBlockRef emit_block(Emitter *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->context, e->function, name);
}

void emit_branch_if(Emitter *e, Scalar condition, LLVMBasicBlockRef *then,
                    LLVMBasicBlockRef *after) {
    *then = emit_block(e, "then");
    *after = emit_block(e, "after");
    LLVMBuildCondBr(e->builder, condition, *then, *after);
    LLVMPositionBuilderAtEnd(e->builder, *then);
}

void emit_join(Emitter *e, LLVMBasicBlockRef after) {
    LLVMBuildBr(e->builder, after);
    LLVMPositionBuilderAtEnd(e->builder, after);
}

LLVMBasicBlockRef emit_at_entry(Emitter *e) {
    LLVMBasicBlockRef block = LLVMGetInsertBlock(e->builder);
    LLVMMetadataRef place = LLVMGetCurrentDebugLocation2(e->builder);
    LLVMPositionBuilderBefore(e->builder, e->entry_end);
    if (e->debug) LLVMSetCurrentDebugLocation2(e->builder, place);
    return block;
}

void emit_back(Emitter *e, LLVMBasicBlockRef block) {
    LLVMMetadataRef place = LLVMGetCurrentDebugLocation2(e->builder);
    LLVMPositionBuilderAtEnd(e->builder, block);
    if (e->debug) LLVMSetCurrentDebugLocation2(e->builder, place);
}

/* ---- indices ------------------------------------------------------------------------------------
 */

Index emit_linear(Emitter *e, Scalar x, uint32_t bits, const uint32_t *columns) {
    Index sum = {.base = NULL};
    for (int distance = -31; distance < 32; distance++) {
        uint32_t group = 0;
        for (uint32_t b = 0; b < bits; b++) {
            int to = (int)b + distance;
            if (to >= 0 && to < 32 && (columns[b] >> to & 1)) group |= 1u << b;
        }
        if (!group) continue;
        Scalar part = LLVMBuildAnd(e->builder, x, emit_i32(e, group), "");
        if (distance > 0) part = LLVMBuildShl(e->builder, part, emit_i32(e, distance), "");
        if (distance < 0) part = LLVMBuildLShr(e->builder, part, emit_i32(e, -distance), "");
        uint32_t mask = distance >= 0 ? group << distance : group >> -distance;
        if (!sum.base) {
            sum.base = part;
        } else if (sum.mask & mask) {
            sum.base = LLVMBuildXor(e->builder, sum.base, part, "");
        } else {
            sum.base = LLVMBuildOr(e->builder, sum.base, part, "");
            if (LLVMIsAInstruction(sum.base)) LLVMSetIsDisjoint(sum.base, true);
        }
        sum.mask |= mask;
    }
    if (!sum.base) sum.base = emit_i32(e, 0);
    return sum;
}

static Index index_sum(Emitter *e, Index a, Index b) {
    if (!a.mask) return b;
    if (!b.mask) return a;
    bool apart = !(a.mask & b.mask);
    Index sum = {.mask = a.mask | b.mask};
    sum.base = apart ? LLVMBuildOr(e->builder, a.base, b.base, "")
                     : LLVMBuildXor(e->builder, a.base, b.base, "");
    if (apart && LLVMIsAInstruction(sum.base)) LLVMSetIsDisjoint(sum.base, true);
    return sum;
}

Index emit_thread_index(Emitter *e, const uint32_t *lane_columns, uint32_t lane_bits,
                        const uint32_t *warp_columns, uint32_t warp_bits) {
    LLVMBasicBlockRef here = emit_at_entry(e);
    Index lane = emit_linear(e, e->lane, lane_bits, lane_columns);
    Index sum = index_sum(e, lane, emit_linear(e, e->warp, warp_bits, warp_columns));
    emit_back(e, here);
    return sum;
}

Index emit_thread_element(Emitter *e, const Layout *l) {
    for (uint32_t i = 0; i < e->threads.length; i++)
        if (e->threads.data[i].layout == l) return e->threads.data[i].index;
    ThreadIndex new = {l, emit_thread_index(e, l->columns[PLACE_LANE], l->bits[PLACE_LANE],
                                            l->columns[PLACE_WARP], l->bits[PLACE_WARP])};
    vec_push(e->arena, &e->threads, new);
    return new.index;
}

/* The part of the constant that the thread's bits do not touch is added, so that it can become the
 * constant offset of an access. */
Scalar index_xor(Emitter *e, Index index, uint32_t constant) {
    uint32_t crossing = constant & index.mask, apart = constant & ~index.mask;
    Scalar sum = index.base;
    if (crossing) sum = LLVMBuildXor(e->builder, sum, emit_i32(e, crossing), "");
    if (!apart) return sum;
    sum = LLVMBuildAdd(e->builder, sum, emit_i32(e, apart), "");
    if (LLVMIsABinaryOperator(sum)) {
        LLVMSetNSW(sum, true);
        LLVMSetNUW(sum, true);
    }
    return sum;
}

Scalar emit_element_number(Emitter *e, const Layout *layout, uint32_t reg) {
    return index_xor(e, emit_thread_element(e, layout),
                     layout_column_sum(layout, PLACE_REGISTER, reg));
}

Scalar emit_coordinate(Emitter *e, const Type *type, Scalar number, uint32_t d) {
    uint32_t shift = 0;
    for (uint32_t i = d + 1; i < type->rank; i++) shift += log2_exact(type->shape[i]);
    if (shift) number = LLVMBuildLShr(e->builder, number, emit_i32(e, shift), "");
    if (d) number = LLVMBuildAnd(e->builder, number, emit_i32(e, type->shape[d] - 1), "");
    return number;
}

Scalar emit_is_owner(Emitter *e, const Layout *layout) {
    const Place places[] = {PLACE_LANE, PLACE_WARP};
    Scalar owner = NULL;
    LLVMBasicBlockRef here = emit_at_entry(e);
    for (int i = 0; i < 2; i++) {
        uint32_t copies = layout_copies(layout, places[i]);
        if (!copies) continue;
        Scalar bits = LLVMBuildAnd(e->builder, i ? e->warp : e->lane, emit_i32(e, copies), "");
        Scalar none = LLVMBuildICmp(e->builder, LLVMIntEQ, bits, emit_i32(e, 0), "");
        owner = owner ? LLVMBuildAnd(e->builder, owner, none, "") : none;
    }
    emit_back(e, here);
    return owner;
}
