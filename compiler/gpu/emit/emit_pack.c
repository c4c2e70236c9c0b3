/* emit_pack.c: elements as words: for accesses of several elements at once, and for shuffles. */
#include "compiler/gpu/emit/emit.h"

static uint32_t size_of(const Type *element) {
    return type_element_size(element);
}

/* An element as the integer it is in memory. */
static Scalar to_bits(Emitter *e, const Type *element, Scalar x) {
    ScalarType bits = int_type(e, 8 * size_of(element));
    if (element->kind == TYPE_POINTER) return LLVMBuildPtrToInt(e->builder, x, bits, "");
    if (element->dtype == DT_i1) return LLVMBuildZExt(e->builder, x, bits, "");
    return LLVMBuildBitCast(e->builder, x, bits, "");
}

static Scalar from_bits(Emitter *e, const Type *element, Scalar x) {
    ScalarType type = element_type(e, element);
    if (element->kind == TYPE_POINTER) return LLVMBuildIntToPtr(e->builder, x, type, "");
    if (element->dtype == DT_i1) return LLVMBuildTrunc(e->builder, x, type, "");
    return LLVMBuildBitCast(e->builder, x, type, "");
}

void emit_pack(Emitter *e, const Type *element, uint32_t count, const Scalar *from, uint32_t word,
               Scalar *to) {
    const uint32_t size = size_of(element);
    if (size > word) { /* wide elements fall apart */
        for (uint32_t i = 0; i < count; i++) {
            Scalar bits = to_bits(e, element, from[i]);
            for (uint32_t k = 0; k < size / word; k++) {
                Scalar part = LLVMBuildLShr(
                    e->builder, bits, LLVMConstInt(LLVMTypeOf(bits), 8ull * word * k, false), "");
                to[i * (size / word) + k] =
                    LLVMBuildTrunc(e->builder, part, int_type(e, 8 * word), "");
            }
        }
        return;
    }
    const uint32_t each = word / size;
    for (uint32_t i = 0; i < count / each; i++) {
        if (each == 1) {
            to[i] = to_bits(e, element, from[i]);
            continue;
        }
        ScalarType part = element->dtype == DT_i1 || element->kind == TYPE_POINTER
                              ? int_type(e, 8 * size)
                              : element_type(e, element);
        Scalar vector = LLVMGetPoison(LLVMVectorType(part, each));
        for (uint32_t k = 0; k < each; k++) {
            Scalar x = from[i * each + k];
            if (LLVMTypeOf(x) != part) x = to_bits(e, element, x);
            vector = LLVMBuildInsertElement(e->builder, vector, x, emit_i32(e, k), "");
        }
        to[i] = LLVMBuildBitCast(e->builder, vector, int_type(e, 8 * word), "");
    }
}

void emit_unpack(Emitter *e, const Type *element, uint32_t count, const Scalar *from, uint32_t word,
                 Scalar *to) {
    const uint32_t size = size_of(element);
    if (size > word) {
        const uint32_t parts = size / word;
        ScalarType wide = int_type(e, 8 * size);
        for (uint32_t i = 0; i < count; i++) {
            Scalar bits = NULL;
            for (uint32_t k = 0; k < parts; k++) {
                Scalar part = LLVMBuildZExt(e->builder, from[i * parts + k], wide, "");
                if (k)
                    part =
                        LLVMBuildShl(e->builder, part, LLVMConstInt(wide, 8ull * word * k, 0), "");
                bits = bits ? LLVMBuildOr(e->builder, bits, part, "") : part;
            }
            to[i] = from_bits(e, element, bits);
        }
        return;
    }
    const uint32_t each = word / size;
    for (uint32_t i = 0; i < count / each; i++) {
        if (each == 1) {
            to[i] = from_bits(e, element, from[i]);
            continue;
        }
        bool plain = element->kind == TYPE_SCALAR && element->dtype != DT_i1;
        ScalarType part = plain ? element_type(e, element) : int_type(e, 8 * size);
        Scalar vector = LLVMBuildBitCast(e->builder, from[i], LLVMVectorType(part, each), "");
        for (uint32_t k = 0; k < each; k++) {
            Scalar x = LLVMBuildExtractElement(e->builder, vector, emit_i32(e, k), "");
            to[i * each + k] = plain ? x : from_bits(e, element, x);
        }
    }
}

/* shfl.sync of one element: `mode` is "bfly" or "idx"; `lane` the mask or the lane to read. */
Scalar emit_shuffle(Emitter *e, const char *mode, const Type *element, Scalar x, Scalar lane) {
    Scalar words[2], result;
    const uint32_t size = size_of(element), count = size > 4 ? 2 : 1;
    const char *name = arena_printf(e->arena, "llvm.nvvm.shfl.sync.%s.i32", mode);
    if (size >= 4)
        emit_pack(e, element, 1, &x, 4, words);
    else
        words[0] = LLVMBuildZExt(e->builder, to_bits(e, element, x), e->i32, "");
    for (uint32_t i = 0; i < count; i++)
        words[i] = INTRINSIC(e, name, emit_i32(e, -1), words[i], lane, emit_i32(e, 31));
    if (size < 4) {
        Scalar low = LLVMBuildTrunc(e->builder, words[0], int_type(e, 8 * size), "");
        return from_bits(e, element, low);
    }
    emit_unpack(e, element, 1, words, 4, &result);
    return result;
}
