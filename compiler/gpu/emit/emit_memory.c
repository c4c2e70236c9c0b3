/* emit_memory.c: loads, stores and atomics of global memory.
 *
 * How many elements one instruction takes follows from two things: the run of registers that the
 * layout puts next to each other in memory, and the run of addresses that is contiguous, aligned
 * and under one mask (axis facts). Accesses under a mask, and those with hints, are one predicated
 * instruction of inline assembly each: no branches, and loads stay together. Threads and registers
 * that hold copies store nothing.
 */
#include "compiler/gpu/emit/emit.h"

enum { WIDEST = 16 };

typedef struct Access {
    const Op *op;
    const Type *element; /* what the pointers point at */
    const Scalar *pointers, *mask;
    const Layout *layout;   /* NULL: one scalar access */
    uint32_t count, vector; /* registers; elements an instruction */
    uint32_t word, words;   /* bytes of a word, words an instruction */
    Scalar owner;           /* NULL: all threads */
    const char *order;      /* atomics: "acq_rel.gpu" */
} Access;

/* Bit positions of an element number that follow each other in memory along dim d. */
static void dim_order(const Type *type, uint32_t d, uint8_t *order) {
    uint32_t shift = 0, at = 0, total = log2_exact(type->count);
    for (uint32_t i = d + 1; i < type->rank; i++) shift += log2_exact(type->shape[i]);
    uint32_t bits = log2_exact(type->shape[d]);
    for (uint32_t b = 0; b < bits; b++) order[at++] = (uint8_t)(shift + b);
    for (uint32_t b = 0; b < total; b++)
        if (b < shift || b >= shift + bits) order[at++] = (uint8_t)b;
}

uint32_t emit_access_vector(Emitter *e, const Value *pointers, const Value *mask, uint32_t size) {
    const Type *type = pointers->type;
    uint32_t best = 1;
    for (uint32_t d = 0; d < type->rank; d++) {
        uint8_t order[32];
        uint32_t run = axis_vector(e->axis, pointers, mask, d);
        dim_order(type, d, order);
        uint32_t held = 1u << layout_vector_bits(type->layout, order);
        run = run < held ? run : held;
        run = run < type->shape[d] ? run : type->shape[d];
        if (run > best) best = run;
    }
    while (best * size > WIDEST) best /= 2;
    return best;
}

static Access access_of(Emitter *e, const Op *op, uint32_t mask) {
    const Value *pointers = op_operand(op, 0);
    const Value *masks = op->operand_count > mask ? op_operand(op, mask) : NULL;
    Access a = {.op = op, .element = type_element(pointers->type)->element, .vector = 1};
    const uint32_t size = type_element_size(a.element);
    a.pointers = emit_values(e, pointers);
    a.mask = masks ? emit_values(e, masks) : NULL;
    a.count = register_count(pointers->type);
    if (type_is_block(pointers->type)) {
        a.layout = pointers->type->layout;
        a.vector = emit_access_vector(e, pointers, masks, size);
    }
    const uint32_t bytes = a.vector * size;
    a.word = bytes < 4 ? bytes : size == 8 ? 8 : 4;
    a.words = bytes / a.word;
    return a;
}

/* ".L1::evict_first", ".cg", ... or "" */
static const char *hints(Emitter *e, const Op *op) {
    Word cache = op_word(op, ATTR_cache, WORD_none), evict = op_word(op, ATTR_evict, WORD_none);
    if (cache != WORD_none) return arena_printf(e->arena, ".%s", word_names[cache]);
    if (evict != WORD_none) return arena_printf(e->arena, ".L1::%s", word_names[evict]);
    return "";
}

static const char *word_letter(uint32_t word) {
    return word == 8 ? "l" : word == 4 ? "r" : "h";
}

static ScalarType asm_type(Emitter *e, uint32_t word) {
    return word == 1 ? e->i16 : int_type(e, 8 * word);
}

static const char *vector_suffix(uint32_t words) {
    return words == 4 ? ".v4" : words == 2 ? ".v2" : "";
}

/* "{$a,$b}" or "$a" */
static void put_list(Text *text, uint32_t from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        text_printf(text, "%s$%u", i ? "," : count > 1 ? "{" : "", from + i);
    if (count > 1) text_puts(text, "}");
}

/* ---- loads
 * --------------------------------------------------------------------------------------- */

static void plain_load(Emitter *e, const Access *a, Scalar pointer, Scalar *words) {
    ScalarType word = int_type(e, 8 * a->word);
    ScalarType type = a->words > 1 ? LLVMVectorType(word, a->words) : word;
    Scalar load = LLVMBuildLoad2(e->builder, type, pointer, "");
    LLVMSetAlignment(load, a->word * a->words);
    for (uint32_t i = 0; i < a->words; i++)
        words[i] =
            a->words == 1 ? load : LLVMBuildExtractElement(e->builder, load, emit_i32(e, i), "");
}

/* words: what they are where the mask is off; then what was loaded. */
static void asm_load(Emitter *e, const Access *a, Scalar pointer, Scalar mask, Scalar *words) {
    Text text = {.arena = e->arena}, constraints = {.arena = e->arena};
    Scalar in[6];
    uint32_t n = 0;
    ScalarType word = asm_type(e, a->word), types[4] = {word, word, word, word};
    const bool is_volatile = op_int(a->op, ATTR_is_volatile, 0) != 0;
    if (mask) text_printf(&text, "@$%u ", a->words + 1);
    text_printf(&text, "ld%s.global%s%s.b%u ", is_volatile ? ".volatile" : "",
                is_volatile ? "" : hints(e, a->op), vector_suffix(a->words), 8 * a->word);
    put_list(&text, 0, a->words);
    text_printf(&text, ", [$%u];", a->words);
    for (uint32_t i = 0; i < a->words; i++) text_printf(&constraints, "=%s,", word_letter(a->word));
    text_puts(&constraints, "l");
    in[n++] = pointer;
    if (mask) {
        text_puts(&constraints, ",b");
        in[n++] = mask;
        for (uint32_t i = 0; i < a->words; i++) {
            text_printf(&constraints, ",%u", i);
            in[n++] = a->word == 1 ? LLVMBuildZExt(e->builder, words[i], e->i16, "") : words[i];
        }
    }
    ScalarType result =
        a->words > 1 ? LLVMStructTypeInContext(e->context, types, a->words, false) : word;
    Scalar loaded = emit_asm(e, text.data, constraints.data, result, n, in, true);
    for (uint32_t i = 0; i < a->words; i++) {
        words[i] = a->words > 1 ? emit_part(e, loaded, i) : loaded;
        if (a->word == 1) words[i] = LLVMBuildTrunc(e->builder, words[i], e->i8, "");
    }
}

void emit_load(Emitter *e, const Op *op) {
    Access a = access_of(e, op, 1);
    const Scalar *other = op->operand_count > 2 ? emit_operand(e, op, 2) : NULL;
    const bool needs_asm = hints(e, op)[0] || op_int(op, ATTR_is_volatile, 0);
    Scalar *to = emit_result(e, op, 0), words[WIDEST];
    for (uint32_t r = 0; r < a.count; r += a.vector) {
        Scalar mask = a.mask ? a.mask[r] : NULL;
        if (mask && LLVMIsAConstantInt(mask) && LLVMConstIntGetZExtValue(mask)) mask = NULL;
        for (uint32_t i = 0; i < a.words; i++) words[i] = LLVMConstNull(int_type(e, 8 * a.word));
        if (mask && other) emit_pack(e, a.element, a.vector, other + r, a.word, words);
        if (mask || needs_asm)
            asm_load(e, &a, a.pointers[r], mask, words);
        else
            plain_load(e, &a, a.pointers[r], words);
        emit_unpack(e, a.element, a.vector, words, a.word, to + r);
    }
}

/* ---- stores
 * -------------------------------------------------------------------------------------- */

static void plain_store(Emitter *e, const Access *a, Scalar pointer, const Scalar *words) {
    Scalar value = words[0];
    if (a->words > 1) {
        value = LLVMGetPoison(LLVMVectorType(int_type(e, 8 * a->word), a->words));
        for (uint32_t i = 0; i < a->words; i++)
            value = LLVMBuildInsertElement(e->builder, value, words[i], emit_i32(e, i), "");
    }
    LLVMSetAlignment(LLVMBuildStore(e->builder, value, pointer), a->word * a->words);
}

static void asm_store(Emitter *e, const Access *a, Scalar pointer, Scalar mask,
                      const Scalar *words) {
    Text text = {.arena = e->arena}, constraints = {.arena = e->arena};
    Scalar in[6];
    uint32_t n = 0;
    if (mask) text_printf(&text, "@$%u ", a->words + 1);
    text_printf(&text, "st.global%s%s.b%u [$0], ", hints(e, a->op), vector_suffix(a->words),
                8 * a->word);
    put_list(&text, 1, a->words);
    text_puts(&text, ";");
    text_puts(&constraints, "l");
    in[n++] = pointer;
    for (uint32_t i = 0; i < a->words; i++) {
        text_printf(&constraints, ",%s", word_letter(a->word));
        in[n++] = a->word == 1 ? LLVMBuildZExt(e->builder, words[i], e->i16, "") : words[i];
    }
    if (mask) {
        text_puts(&constraints, ",b");
        in[n++] = mask;
    }
    emit_asm(e, text.data, constraints.data, e->nothing, n, in, true);
}

/* Thread 0, for accesses that the whole block does once. */
static Scalar is_first_thread(Emitter *e) {
    LLVMBasicBlockRef here = emit_at_entry(e);
    Scalar both = LLVMBuildOr(e->builder, e->lane, e->warp, "");
    Scalar first = LLVMBuildICmp(e->builder, LLVMIntEQ, both, emit_i32(e, 0), "");
    emit_back(e, here);
    return first;
}

static Scalar both(Emitter *e, Scalar a, Scalar b) {
    if (!a || !b) return a ? a : b;
    return LLVMBuildAnd(e->builder, a, b, "");
}

void emit_store(Emitter *e, const Op *op) {
    Access a = access_of(e, op, 2);
    const Scalar *values = emit_operand(e, op, 1);
    const uint32_t copies = a.layout ? layout_copies(a.layout, PLACE_REGISTER) : 0;
    const bool needs_asm = hints(e, op)[0] != 0;
    Scalar words[WIDEST];
    a.owner = a.layout ? emit_is_owner(e, a.layout) : is_first_thread(e);
    for (uint32_t r = 0; r < a.count; r += a.vector) {
        if (r & copies) continue;
        Scalar mask = both(e, a.mask ? a.mask[r] : NULL, a.owner);
        emit_pack(e, a.element, a.vector, values + r, a.word, words);
        if (mask || needs_asm)
            asm_store(e, &a, a.pointers[r], mask, words);
        else
            plain_store(e, &a, a.pointers[r], words);
    }
}

/* ---- atomics
 * ------------------------------------------------------------------------------------- */

/* "add.f32", "add.noftz.v2.f16x2", ...: what the instruction is called that takes `words` words;
 * NULL: there is none. */
static const char *atomic_name(Emitter *e, const Access *a) {
    const Word kind = op_word(a->op, ATTR_kind, WORD_add);
    const DType dtype = a->element->kind == TYPE_POINTER ? DT_NONE : a->element->dtype;
    const uint32_t bits = dtype == DT_NONE ? 64 : dtype_bits(dtype);
    const char *name = word_names[kind], *many = vector_suffix(a->words);
    if (kind == WORD_xchg) name = "exch";
    if (dtype == DT_bf16 && !e->target->bf16_arithmetic) return NULL;
    if (bits == 16 && kind == WORD_add && dtype_is_float(dtype))
        return arena_printf(e->arena, "add.noftz%s.%s%s", many, dtype_name(dtype),
                            a->word == 4 ? "x2" : "");
    if (bits < 32) return NULL;
    if (kind == WORD_add && dtype_is_float(dtype))
        return arena_printf(e->arena, "add%s.%s", many, dtype_name(dtype));
    if (kind == WORD_add) return arena_printf(e->arena, "add.u%u", bits);
    if (kind == WORD_max || kind == WORD_min) {
        if (dtype_is_float(dtype)) return NULL;
        return arena_printf(e->arena, "%s.%c%u", name, dtype_is_unsigned(dtype) ? 'u' : 's', bits);
    }
    return arena_printf(e->arena, "%s.b%u", name, bits);
}

/* How many elements one instruction adds: pairs of 16-bit floats share a word, and some targets
 * take vectors of words. Else one. */
static uint32_t atomic_vector(Emitter *e, const Access *a) {
    const DType dtype = a->element->kind == TYPE_POINTER ? DT_NONE : a->element->dtype;
    const bool half = dtype == DT_f16 || (dtype == DT_bf16 && e->target->bf16_arithmetic);
    if (a->op->code != OP_atomic_rmw || op_word(a->op, ATTR_kind, WORD_add) != WORD_add) return 1;
    if (e->target->vector_atomics && (half || dtype == DT_f32)) return a->vector;
    return half && a->vector >= 2 ? 2 : 1;
}

/* The order and scope of an instruction. Several instructions of a thread are ordered by one fence
 * before them, and one after them, since each order on an instruction costs as much as a fence.
 * What is not looked at orders nothing that follows. */
static const char *order_of(Emitter *e, const Op *op, bool single, bool looked_at) {
    Word order = op_word(op, ATTR_sem, WORD_acq_rel), scope = op_word(op, ATTR_scope, WORD_gpu);
    if (!looked_at && order == WORD_acquire) order = WORD_relaxed;
    if (!looked_at && order == WORD_acq_rel) order = WORD_release;
    if (!single) order = WORD_relaxed;
    return arena_printf(e->arena, "%s.%s", word_names[order], word_names[scope]);
}

static void fence(Emitter *e, const Op *op) {
    const char *text =
        arena_printf(e->arena, "fence.acq_rel.%s;", word_names[op_word(op, ATTR_scope, WORD_gpu)]);
    emit_asm(e, text, "~{memory}", e->nothing, 0, NULL, true);
}

/* atom.<order>.global.<name> old, [pointer], values..; or red, when old is NULL. Each of `sets`
 * values is a->words words of 16, 32 or 64 bits. */
static void atom(Emitter *e, const Access *a, const char *name, Scalar pointer, Scalar mask,
                 uint32_t sets, const Scalar *values, Scalar *old) {
    ScalarType word = LLVMTypeOf(values[0]), types[4] = {word, word, word, word};
    const char *letter = word_letter(LLVMGetIntTypeWidth(word) / 8);
    const uint32_t n = a->words, results = old ? n : 0;
    Scalar in[16] = {pointer};
    uint32_t count = 1;
    Text text = {.arena = e->arena}, constraints = {.arena = e->arena};
    if (mask) text_printf(&text, "@$%u ", results + 1 + sets * n);
    text_printf(&text, "%s.%s.global.%s ", old ? "atom" : "red", a->order, name);
    if (old) put_list(&text, 0, n);
    text_printf(&text, "%s[$%u]", old ? ", " : "", results);
    for (uint32_t i = 0; i < results; i++) text_printf(&constraints, "=%s,", letter);
    text_puts(&constraints, "l");
    for (uint32_t i = 0; i < sets; i++) {
        text_puts(&text, ", ");
        put_list(&text, results + 1 + i * n, n);
    }
    text_puts(&text, ";");
    for (uint32_t i = 0; i < sets * n; i++) {
        text_printf(&constraints, ",%s", letter);
        in[count++] = values[i];
    }
    if (mask) {
        text_puts(&constraints, ",b");
        in[count++] = mask;
    }
    for (uint32_t i = 0; mask && i < results; i++) { /* where it is off: 0 */
        text_printf(&constraints, ",%u", i);
        in[count++] = LLVMConstNull(word);
    }
    ScalarType result = !old    ? e->nothing
                        : n > 1 ? LLVMStructTypeInContext(e->context, types, n, false)
                                : word;
    Scalar got = emit_asm(e, text.data, constraints.data, result, count, in, true);
    for (uint32_t i = 0; i < results; i++) old[i] = n > 1 ? emit_part(e, got, i) : got;
}

/* Largest and smallest of floats, by those of integers: the order of positive floats is that of
 * their bits, the order of negative ones the reverse. */
static void atomic_float_extreme(Emitter *e, const Access *a, Scalar pointer, Scalar mask,
                                 Scalar bits, Scalar *old) {
    ScalarType type = LLVMTypeOf(bits);
    const uint32_t width = LLVMGetIntTypeWidth(type);
    const bool largest = op_word(a->op, ATTR_kind, WORD_max) == WORD_max;
    Scalar negative = LLVMBuildICmp(e->builder, LLVMIntSLT, bits, LLVMConstNull(type), "");
    Scalar on = both(e, mask, LLVMBuildNot(e->builder, negative, ""));
    Scalar off = both(e, mask, negative);
    const char *one = arena_printf(e->arena, "%s.s%u", largest ? "max" : "min", width);
    const char *two = arena_printf(e->arena, "%s.u%u", largest ? "min" : "max", width);
    Scalar positive_old, negative_old;
    atom(e, a, one, pointer, on, 1, &bits, old ? &positive_old : NULL);
    atom(e, a, two, pointer, off, 1, &bits, old ? &negative_old : NULL);
    if (old) *old = LLVMBuildSelect(e->builder, negative, negative_old, positive_old, "");
}

/* What no instruction does: 16-bit floats where the target cannot add them. Tries until no one came
 * between the read and the exchange. */
static Scalar atomic_loop(Emitter *e, const Access *a, Scalar pointer, Scalar mask, Scalar bits) {
    const Word kind = op_word(a->op, ATTR_kind, WORD_add);
    const DType dtype = a->element->kind == TYPE_POINTER ? DT_NONE : a->element->dtype;
    if (dtype_bits(dtype) != 16 || kind != WORD_add || !dtype_is_float(dtype))
        emit_fail(e, "atomic %s of %s: the GPU has none", word_names[kind], dtype_name(dtype));
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), then, after;
    if (!mask) mask = LLVMConstInt(e->i1, 1, 0);
    emit_branch_if(e, mask, &then, &after);
    Scalar first = LLVMBuildLoad2(e->builder, e->i16, pointer, "");
    LLVMSetVolatile(first, true);
    LLVMBasicBlockRef loop = emit_block(e, "again");
    LLVMBuildBr(e->builder, loop);
    LLVMPositionBuilderAtEnd(e->builder, loop);
    Scalar seen = LLVMBuildPhi(e->builder, e->i16, "");
    ScalarType type = dtype == DT_f16 ? e->f16 : e->bf16;
    Scalar sum = LLVMBuildFAdd(e->builder, LLVMBuildBitCast(e->builder, seen, type, ""),
                               LLVMBuildBitCast(e->builder, bits, type, ""), "");
    Scalar values[2] = {seen, LLVMBuildBitCast(e->builder, sum, e->i16, "")}, old;
    atom(e, a, "cas.b16", pointer, NULL, 2, values, &old);
    Scalar done = LLVMBuildICmp(e->builder, LLVMIntEQ, old, seen, "");
    LLVMAddIncoming(seen, &first, &then, 1);
    LLVMAddIncoming(seen, &old, &loop, 1);
    LLVMBuildCondBr(e->builder, done, after, loop);
    LLVMPositionBuilderAtEnd(e->builder, after);
    Scalar result = LLVMBuildPhi(e->builder, e->i16, ""), zero = LLVMConstNull(e->i16);
    LLVMAddIncoming(result, &old, &loop, 1);
    LLVMAddIncoming(result, &zero, &before, 1);
    return result;
}

/* Elements r .. r + a->vector - 1 of the block; `old` NULL: not looked at. */
static void atomic_at(Emitter *e, const Access *a, uint32_t r, Scalar mask, Scalar *old) {
    const Op *op = a->op;
    const DType dtype = a->element->kind == TYPE_POINTER ? DT_NONE : a->element->dtype;
    Scalar words[4], got[4];
    emit_pack(e, a->element, a->vector, emit_operand(e, op, 1) + r, a->word, words);
    if (op->code == OP_atomic_cas) {
        if (a->word < 2) emit_fail(e, "atomic_cas of one byte: the GPU has none");
        emit_pack(e, a->element, 1, emit_operand(e, op, 2) + r, a->word, words + 1);
        const char *name = arena_printf(e->arena, "cas.b%u", 8 * a->word);
        atom(e, a, name, a->pointers[r], mask, 2, words, got);
    } else {
        const char *name = atomic_name(e, a);
        const Word kind = op_word(op, ATTR_kind, WORD_add);
        const bool extreme = kind == WORD_max || kind == WORD_min;
        Scalar *wanted = old || kind == WORD_xchg ? got : NULL; /* there is no red.exch */
        if (name)
            atom(e, a, name, a->pointers[r], mask, 1, words, wanted);
        else if (extreme && (dtype == DT_f32 || dtype == DT_f64))
            atomic_float_extreme(e, a, a->pointers[r], mask, words[0], wanted);
        else
            got[0] = atomic_loop(e, a, a->pointers[r], mask, words[0]);
    }
    if (old) emit_unpack(e, a->element, a->vector, got, a->word, old);
}

/* The old values of threads that own them, to all that hold the element. */
static void spread_old(Emitter *e, const Access *a, const Type *type, Scalar *old) {
    const Op *op = a->op;
    Scalar base = emit_i32(e, op_int(op, ATTR_scratch, 0));
    Layout plain = {.out_bits = 0};
    if (a->layout) {
        uint32_t copies = layout_copies(a->layout, PLACE_REGISTER);
        for (uint32_t r = 0; copies && r < a->count; r++) {
            uint32_t source;
            uint32_t element = layout_column_sum(a->layout, PLACE_REGISTER, r);
            if ((r & copies) && layout_find_register(a->layout, element, &source))
                old[r] = old[source & ~copies];
        }
        if (!a->owner) return;
        plain.out_bits = a->layout->out_bits;
        for (uint32_t b = 0; b < plain.out_bits; b++) layout_push(&plain, PLACE_OFFSET, 1u << b);
        emit_to_shared(e, type, old, &plain, base);
        emit_barrier(e);
        emit_from_shared(e, type, old, &plain, base);
        return;
    }
    LLVMBasicBlockRef then, after;
    Scalar word;
    const uint32_t size = type_element_size(type);
    Scalar place = emit_shared_address(e, base);
    emit_branch_if(e, a->owner, &then, &after);
    emit_pack(e, type, 1, old, size, &word);
    LLVMBuildStore(e->builder, word, place);
    emit_join(e, after);
    emit_barrier(e);
    word = LLVMBuildLoad2(e->builder, int_type(e, 8 * size), place, "");
    emit_unpack(e, type, 1, &word, size, old);
}

void emit_atomic(Emitter *e, const Op *op) {
    Access a = access_of(e, op, op->code == OP_atomic_cas ? 3 : 2);
    const Type *type = op->results[0].type;
    const uint32_t copies = a.layout ? layout_copies(a.layout, PLACE_REGISTER) : 0;
    const uint32_t size = type_element_size(a.element);
    const bool looked_at = !value_unused(&op->results[0]);
    const Word order = op_word(op, ATTR_sem, WORD_acq_rel);
    a.vector = atomic_vector(e, &a);
    a.word = a.vector == 1 ? size : 4;
    a.words = a.vector * size / a.word;
    a.owner = a.layout ? emit_is_owner(e, a.layout) : is_first_thread(e);
    Scalar *old = emit_result(e, op, 0);
    const bool single = a.count >> __builtin_popcount(copies) <= a.vector;
    a.order = order_of(e, op, single, looked_at || op->code == OP_atomic_cas);
    if (!single && (order == WORD_release || order == WORD_acq_rel)) fence(e, op);
    for (uint32_t r = 0; r < a.count; r += a.vector) {
        if (r & copies) continue;
        atomic_at(e, &a, r, both(e, a.mask ? a.mask[r] : NULL, a.owner),
                  looked_at ? old + r : NULL);
    }
    if (!looked_at) return;
    if (!single && (order == WORD_acquire || order == WORD_acq_rel)) fence(e, op);
    spread_old(e, &a, type, old);
}
