/* emit_outside.c: print, assert, inline assembly. */
#include "compiler/gpu/emit/emit.h"

#include <stdio.h>

/* ---- vprintf
 * -------------------------------------------------------------------------------------- */

typedef struct Message {
    Text format;
    uint32_t bytes, count; /* of the arguments */
    Scalar value[40];
    uint32_t offset[40];
} Message;

static void add_argument(Emitter *e, Message *m, Scalar x) {
    ScalarType type = LLVMTypeOf(x);
    const uint32_t size = type == e->i32 ? 4 : 8;
    if (m->count == ARRAY_LENGTH(m->value)) emit_fail(e, "too much to print in one line");
    m->bytes = (m->bytes + size - 1) / size * size;
    m->value[m->count] = x;
    m->offset[m->count++] = m->bytes;
    m->bytes += size;
}

/* Text of the user's: no part of the format. */
static void add_text(Message *m, const char *text, size_t length) {
    for (size_t i = 0; i < length && text[i]; i++)
        text_add(&m->format, text[i] == '%' ? "%%" : &text[i], text[i] == '%' ? 2 : 1);
}

static void add_attribute_text(Message *m, const Op *op) {
    const Attribute *text = op_attribute(op, ATTR_text);
    if (text) add_text(m, text->string, text->count < 400 ? text->count : 400);
}

static void add_program(Emitter *e, Message *m) {
    static const char *const names[] = {"llvm.nvvm.read.ptx.sreg.ctaid.x",
                                        "llvm.nvvm.read.ptx.sreg.ctaid.y",
                                        "llvm.nvvm.read.ptx.sreg.ctaid.z"};
    text_puts(&m->format, "pid (%u, %u, %u) ");
    for (int i = 0; i < 3; i++) add_argument(e, m, emit_intrinsic(e, names[i], NULL, 0, NULL));
}

static void add_coordinates(Emitter *e, Message *m, const Type *type, uint32_t r) {
    Scalar number = type_is_block(type) ? emit_element_number(e, type->layout, r) : NULL;
    text_puts(&m->format, "idx (");
    for (uint32_t d = 0; number && d < type->rank; d++) {
        text_puts(&m->format, d ? ", %u" : "%u");
        add_argument(e, m, emit_coordinate(e, type, number, d));
    }
    text_puts(&m->format, ") ");
}

static void add_number(Emitter *e, Message *m, const Type *type, Scalar x, bool hex) {
    const Type *element = type_element(type);
    const DType dtype = element->dtype;
    const uint32_t size = type_element_size(element);
    if (hex || element->kind == TYPE_POINTER) {
        Scalar bits;
        emit_pack(e, element, 1, &x, size, &bits);
        text_printf(&m->format, "0x%%0%ullx", 2 * size);
        add_argument(e, m, LLVMBuildZExtOrBitCast(e->builder, bits, e->i64, ""));
    } else if (dtype_is_float(dtype)) {
        text_puts(&m->format, dtype == DT_f64 ? "%.17g" : "%.9g");
        add_argument(e, m, emit_cast_one(e, x, dtype, DT_f64, false));
    } else {
        text_puts(&m->format, dtype_is_unsigned(dtype) ? "%llu" : "%lld");
        add_argument(e, m, LLVMBuildIntCast2(e->builder, x, e->i64, !dtype_is_unsigned(dtype), ""));
    }
}

static Scalar format_constant(Emitter *e, const Message *m) {
    ScalarType type = LLVMArrayType2(e->i8, m->format.length + 1);
    char name[32];
    snprintf(name, sizeof name, "format_%u", e->prints++);
    Scalar global = LLVMAddGlobalInAddressSpace(e->code, type, name, 1);
    LLVMSetInitializer(
        global, LLVMConstStringInContext2(e->context, m->format.data, m->format.length, false));
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    return LLVMConstAddrSpaceCast(global, e->generic);
}

static void print_message(Emitter *e, const Message *m) {
    Scalar function = LLVMGetNamedFunction(e->code, "vprintf");
    ScalarType types[2] = {e->generic, e->generic};
    ScalarType type = LLVMFunctionType(e->i32, types, 2, false);
    if (!function) function = LLVMAddFunction(e->code, "vprintf", type);
    Scalar in[2] = {format_constant(e, m), LLVMConstNull(e->generic)};
    if (m->count) {
        LLVMBasicBlockRef here = emit_at_entry(e);
        ScalarType buffer = LLVMArrayType2(e->i64, (m->bytes + 7) / 8);
        in[1] = LLVMBuildAlloca(e->builder, buffer, "");
        emit_back(e, here);
        for (uint32_t i = 0; i < m->count; i++) {
            Scalar offset = emit_i32(e, m->offset[i]);
            Scalar place = LLVMBuildGEP2(e->builder, e->i8, in[1], &offset, 1, "");
            LLVMBuildStore(e->builder, m->value[i], place);
        }
    }
    LLVMBuildCall2(e->builder, type, function, in, 2, "");
}

/* Thread 0 for scalars, the owners of blocks; NULL: everyone. */
static Scalar prints_it(Emitter *e, const Type *type) {
    if (type && type_is_block(type)) return emit_is_owner(e, type->layout);
    Scalar both = LLVMBuildOr(e->builder, e->lane, e->warp, "");
    return LLVMBuildICmp(e->builder, LLVMIntEQ, both, emit_i32(e, 0), "");
}

void emit_print(Emitter *e, const Op *op) {
    const bool hex = op_int(op, ATTR_hex, 0) != 0;
    for (uint32_t k = 0; k < (op->operand_count ? op->operand_count : 1u); k++) {
        const Type *type = op->operand_count ? op_operand(op, k)->type : NULL;
        uint32_t n = type ? register_count(type) : 1;
        uint32_t copies =
            type && type_is_block(type) ? layout_copies(type->layout, PLACE_REGISTER) : 0;
        LLVMBasicBlockRef then, after = NULL;
        Scalar mine = prints_it(e, type);
        if (mine) emit_branch_if(e, mine, &then, &after);
        for (uint32_t r = 0; r < n; r++) {
            if (r & copies) continue;
            Message m = {.format = {.arena = e->arena}};
            add_program(e, &m);
            if (type) add_coordinates(e, &m, type, r);
            add_attribute_text(&m, op);
            if (op->operand_count > 1) text_printf(&m.format, " (operand %u)", k);
            if (type) {
                text_puts(&m.format, " ");
                add_number(e, &m, type, emit_operand(e, op, k)[r], hex);
            }
            text_puts(&m.format, "\n");
            print_message(e, &m);
        }
        if (mine) emit_join(e, after);
    }
}

/* ---- assert -------------------------------------------------------------------------------------
 */

void emit_assert(Emitter *e, const Op *op) {
    const Type *type = op_operand(op, 0)->type;
    const Scalar *holds = emit_operand(e, op, 0);
    const Scalar *mask = op->operand_count > 1 ? emit_operand(e, op, 1) : NULL;
    const Span span = op->at.span;
    for (uint32_t r = 0; r < register_count(type); r++) {
        Scalar bad = LLVMBuildNot(e->builder, holds[r], "");
        if (mask) bad = LLVMBuildAnd(e->builder, bad, mask[r], "");
        if (LLVMIsAConstantInt(bad) && !LLVMConstIntGetZExtValue(bad)) continue;
        LLVMBasicBlockRef then, after;
        emit_branch_if(e, bad, &then, &after);
        Message m = {.format = {.arena = e->arena}};
        if (span.line && span.source < e->module->sources->list.length) {
            const char *path = e->module->sources->list.data[span.source].path;
            if (path) add_text(&m, path, strlen(path));
            text_printf(&m.format, ":%u: ", span.line);
        }
        add_program(e, &m);
        if (type_is_block(type)) add_coordinates(e, &m, type, r);
        text_puts(&m.format, "assertion failed: ");
        add_attribute_text(&m, op);
        text_puts(&m.format, "\n");
        print_message(e, &m);
        emit_intrinsic(e, "llvm.trap", NULL, 0, NULL);
        emit_join(e, after);
    }
}

/* ---- inline assembly
 * ------------------------------------------------------------------------------ */

enum { MAX_PLACES = 64 };

typedef struct Assembly {
    const Op *op;
    uint32_t pack;
    char letter[MAX_PLACES]; /* of each constraint, outputs first */
    uint32_t outputs, places;
} Assembly;

/* "=r,=r,r,r": letters by place. */
static void read_constraints(Emitter *e, Assembly *a) {
    const Attribute *text = op_attribute(a->op, ATTR_constraints);
    const char *s = text->string, *end = s + text->count;
    while (s < end) {
        while (s < end && (*s == ' ' || *s == ',')) s++;
        if (s == end) break;
        if (*s == '~') { /* a clobber takes no place */
            while (s < end && *s != ',') s++;
            continue;
        }
        bool output = *s == '=';
        while (s < end && (*s == '=' || *s == '&')) s++;
        if (s == end || a->places == MAX_PLACES) emit_fail(e, "constraints of inline assembly");
        if (output) a->outputs++;
        a->letter[a->places++] = *s;
        while (s < end && *s != ',') s++;
    }
}

static ScalarType letter_type(Emitter *e, char letter) {
    switch (letter) {
    case 'b': return e->i1;
    case 'h':
    case 'c': return e->i16;
    case 'l': return e->i64;
    case 'f': return e->f32;
    case 'd': return e->f64;
    case 'q': return LLVMIntTypeInContext(e->context, 128);
    default: return e->i32;
    }
}

/* Bits of x as another type: widths may differ (zero-extended, cut). */
static Scalar fit(Emitter *e, Scalar x, ScalarType type) {
    ScalarType from = LLVMTypeOf(x);
    if (from == type) return x;
    LLVMTypeKind kind = LLVMGetTypeKind(from);
    if (kind == LLVMFloatTypeKind) x = LLVMBuildBitCast(e->builder, x, e->i32, "");
    if (kind == LLVMDoubleTypeKind) x = LLVMBuildBitCast(e->builder, x, e->i64, "");
    ScalarType bits = type == e->f32 ? e->i32 : type == e->f64 ? e->i64 : type;
    x = LLVMBuildIntCast2(e->builder, x, bits, false, "");
    return LLVMBuildBitCast(e->builder, x, type, "");
}

/* Words that `pack` elements make: of 4 bytes when the elements are smaller. */
static uint32_t words_of(const Type *element, uint32_t pack, uint32_t *word) {
    const uint32_t size = type_element_size(element), bytes = size * pack;
    *word = size >= 4 ? size : bytes >= 4 ? 4 : bytes;
    return bytes / *word;
}

static void assemble(Emitter *e, const Assembly *a, uint32_t r) {
    const Op *op = a->op;
    const Attribute *text = op_attribute(op, ATTR_asm_text);
    const Attribute *constraints = op_attribute(op, ATTR_constraints);
    Scalar in[MAX_PLACES], words[MAX_PLACES];
    ScalarType types[MAX_PLACES];
    uint32_t place = a->outputs, word;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Type *element = type_element(op_operand(op, i)->type);
        uint32_t count = words_of(element, a->pack, &word);
        if (place + count > a->places) emit_fail(e, "inline assembly has too few constraints");
        const Scalar *values = emit_operand(e, op, i);
        const bool is_block = type_is_block(op_operand(op, i)->type);
        Scalar part[MAX_PLACES];
        for (uint32_t k = 0; k < a->pack; k++) part[k] = values[is_block ? r + k : 0];
        emit_pack(e, element, a->pack, part, word, words);
        for (uint32_t k = 0; k < count; k++, place++)
            in[place - a->outputs] = fit(e, words[k], letter_type(e, a->letter[place]));
    }
    if (place != a->places) emit_fail(e, "inline assembly has too many constraints");
    for (uint32_t i = 0; i < a->outputs; i++) types[i] = letter_type(e, a->letter[i]);
    ScalarType result = a->outputs == 0 ? e->nothing
                        : a->outputs == 1
                            ? types[0]
                            : LLVMStructTypeInContext(e->context, types, a->outputs, 0);
    const char *code = arena_strndup(e->arena, text->string, text->count);
    const char *limits = arena_strndup(e->arena, constraints->string, constraints->count);
    Scalar got = emit_asm(e, code, limits, result, a->places - a->outputs, in,
                          op_int(op, ATTR_pure, 0) == 0);
    place = 0;
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Type *element = type_element(op->results[i].type);
        uint32_t count = words_of(element, a->pack, &word);
        if (place + count > a->outputs) emit_fail(e, "inline assembly has too few outputs");
        for (uint32_t k = 0; k < count; k++, place++)
            words[k] =
                fit(e, a->outputs == 1 ? got : emit_part(e, got, place), int_type(e, 8 * word));
        emit_unpack(e, element, a->pack, words, word, emit_values(e, &op->results[i]) + r);
    }
}

void emit_inline_asm(Emitter *e, const Op *op) {
    Assembly a = {.op = op, .pack = (uint32_t)op_int(op, ATTR_pack, 1)};
    uint32_t n = 1;
    read_constraints(e, &a);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (type_is_block(op_operand(op, i)->type)) n = register_count(op_operand(op, i)->type);
    for (uint32_t i = 0; i < op->result_count; i++) {
        if (type_is_block(op->results[i].type)) n = register_count(op->results[i].type);
        emit_result(e, op, i);
    }
    if (a.pack > 32) emit_fail(e, "inline assembly packs more than 32 elements");
    if (n % a.pack)
        emit_fail(e, "inline assembly packs %u elements, and a thread holds %u", a.pack, n);
    for (uint32_t r = 0; r < n; r += a.pack) assemble(e, &a, r);
}
