/* dot_tile.c: the inner loops of matrix products.
 *
 * A tile of rows x panel results stays in registers for all of k, which runs upwards. The code for
 * a shape of tile is a function of its own, which goes down the rows of one panel of b; all the
 * products of a kernel share it, since lengths and steps are its arguments.
 *
 * The machine's products of pairs add the two one after the other: of bf16 each is a fused
 * multiply-add that takes denormal numbers for zero; those of integers are exact.
 */
#include "compiler/cpu/dot.h"

#include <assert.h>
#include <stdio.h>

/* Arguments of the function. Steps are bytes; a_step: from row to row, of rows only. */
enum {
    TILE_A,
    TILE_B,
    TILE_C,
    TILE_M,
    TILE_K,
    TILE_A_STEP,
    TILE_C_STEP,
    TILE_FROM_ZERO,
    TILE_COUNT
};

/* A machine's instruction; operands are vectors of any elements. */
static Reg call_machine(Emitter *e, const char *name, RegType result, uint32_t count,
                        Reg *operands) {
    const unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    Reg function = LLVMGetIntrinsicDeclaration(e->llvm, id, NULL, 0);
    for (uint32_t i = 0; i < count; i++) {
        RegType type = LLVMTypeOf(LLVMGetParam(function, i));
        operands[i] = LLVMBuildBitCast(e->b, operands[i], type, "");
    }
    return LLVMBuildBitCast(e->b, function_call(e, function, operands, count), result, "");
}

static Reg multiply_units(const Dot *d, Reg a, Reg b, Reg c) {
    static const char *const bf16[] = {"llvm.x86.avx512bf16.dpbf16ps.128",
                                       "llvm.x86.avx512bf16.dpbf16ps.256",
                                       "llvm.x86.avx512bf16.dpbf16ps.512"};
    static const char *const i16[] = {"llvm.x86.sse2.pmadd.wd", "llvm.x86.avx2.pmadd.wd",
                                      "llvm.x86.avx512.pmaddw.d.512"};
    static const char *const i8[] = {"llvm.x86.avx512.vpdpbusd.128", "llvm.x86.avx512.vpdpbusd.256",
                                     "llvm.x86.avx512.vpdpbusd.512"};
    const uint32_t which = d->width == 16 ? 2 : d->width == 8 ? 1 : 0;
    Emitter *e = d->e;
    RegType type = LLVMTypeOf(c);
    if (d->kind == DOT_I16_PAIRS) {
        Reg both[2] = {a, b};
        return LLVMBuildAdd(e->b, c, call_machine(e, i16[which], type, 2, both), "");
    }
    Reg all[3] = {c, a, b};
    return call_machine(e, (d->kind == DOT_BF16_PAIRS ? bf16 : i8)[which], type, 3, all);
}

static Reg multiply_add(const Dot *d, Reg a, Reg b, Reg c) {
    Emitter *e = d->e;
    if (d->per_unit > 1) return multiply_units(d, a, b, c);
    if (d->kind == DOT_I32) return LLVMBuildAdd(e->b, c, LLVMBuildMul(e->b, a, b, ""), "");
    if (!e->fma) return LLVMBuildFAdd(e->b, c, LLVMBuildFMul(e->b, a, b, ""), "");
    Reg all[3] = {a, b, c};
    return call_intrinsic(e, "llvm.fma", 3, all);
}

static Reg scaled(Emitter *e, Reg x, uint64_t factor) {
    return LLVMBuildMul(e->b, x, const_i64(e, (int64_t)factor), "");
}

/* The sums of a tile: zeros or what is there. */
static void first_sums(const Dot *d, Reg from_zero, Reg *places, Reg *sums) {
    Emitter *e = d->e;
    const uint32_t count = d->rows * d->vectors;
    RegType vector = lanes_type(d->type, d->width);
    Branch branch;
    branch_open(e, &branch, LLVMBuildICmp(e->b, LLVMIntEQ, from_zero, const_i64(e, 0), ""));
    Reg there[MAX_CARRIED], zero = LLVMConstNull(vector);
    for (uint32_t i = 0; i < count; i++) there[i] = load_reg(e, vector, places[i], d->size);
    LLVMBasicBlockRef then_end = LLVMGetInsertBlock(e->b);
    branch_close(e, &branch);
    for (uint32_t i = 0; i < count; i++)
        sums[i] = branch_merge(e, &branch, then_end, there[i], branch.from, zero);
}

/* One tile over all of k. rows[i]: where row i of a begins; a unit further is k_step bytes. */
static void code_tile(const Dot *d, const Reg *rows, uint64_t k_step, Reg b, Reg k, Reg *sums) {
    enum { UNROLL = 4 };
    Emitter *e = d->e;
    const uint32_t v = d->vectors, unroll = d->k < UNROLL ? d->k : UNROLL;
    const uint64_t panel = (uint64_t)dot_panel(d) * d->size;
    RegType vector = lanes_type(d->type, d->width), units = lanes_type(d->unit, d->width);
    Loop loop;
    loop_open(e, &loop, k, unroll, d->rows * v, sums);
    memcpy(loop.next, loop.phi, sizeof loop.next);
    Reg a_far = scaled(e, loop.index, k_step);
    Reg b_k = byte_offset(e, b, scaled(e, loop.index, panel));
    for (uint32_t u = 0; u < unroll; u++) {
        Reg line[2];
        for (uint32_t j = 0; j < v; j++) {
            Reg far = const_i64(e, (int64_t)(u * panel + (uint64_t)j * d->width * d->size));
            line[j] =
                load_reg(e, d->per_unit > 1 ? units : vector, byte_offset(e, b_k, far), d->size);
        }
        for (uint32_t i = 0; i < d->rows; i++) {
            Reg at =
                byte_offset(e, byte_offset(e, rows[i], a_far), const_i64(e, (int64_t)(u * k_step)));
            Reg x = splat_reg(e, load_reg(e, d->unit, at, d->size), d->width);
            for (uint32_t j = 0; j < v; j++)
                loop.next[i * v + j] = multiply_add(d, x, line[j], loop.next[i * v + j]);
        }
    }
    loop_close(e, &loop);
    memcpy(sums, loop.phi, d->rows * v * sizeof *sums);
}

/* 128 times the sums of the columns of a panel: see dot.c about quads. */
static void column_sums(const Dot *d, Reg panel, Reg k, Reg *sums) {
    Emitter *e = d->e;
    RegType vector = lanes_type(d->type, d->width);
    Reg zero[2] = {LLVMConstNull(vector), LLVMConstNull(vector)};
    Reg all = const_int_like(LLVMGetUndef(vector), 0x80808080u);
    Loop loop;
    loop_open(e, &loop, k, 1, d->vectors, zero);
    Reg line = byte_offset(e, panel, scaled(e, loop.index, (uint64_t)dot_panel(d) * d->size));
    for (uint32_t j = 0; j < d->vectors; j++) {
        Reg far = const_i64(e, (int64_t)j * d->width * d->size);
        Reg b = load_reg(e, vector, byte_offset(e, line, far), d->size);
        loop.next[j] = multiply_units(d, all, b, loop.phi[j]);
    }
    loop_close(e, &loop);
    memcpy(sums, loop.phi, d->vectors * sizeof *sums);
}

/* The body of the function: all tiles of one panel. */
static void code_panel(const Dot *d, const Pack *a, const Reg *p) {
    Emitter *e = d->e;
    Reg extra[2];
    if (d->kind == DOT_I8_QUADS) column_sums(d, p[TILE_B], p[TILE_K], extra);
    Loop loop;
    loop_open(e, &loop, p[TILE_M], d->rows, 0, NULL);
    const uint64_t unit = d->size;
    Reg a_step = a->panel ? scaled(e, p[TILE_K], unit) : p[TILE_A_STEP];
    Reg first = byte_offset(e, p[TILE_A], LLVMBuildMul(e->b, loop.index, a_step, ""));
    Reg c = byte_offset(e, p[TILE_C], LLVMBuildMul(e->b, loop.index, p[TILE_C_STEP], ""));
    Reg rows[MAX_CARRIED], sums[MAX_CARRIED], places[MAX_CARRIED];
    for (uint32_t i = 0; i < d->rows; i++) {
        rows[i] = byte_offset(
            e, first, a->panel ? const_i64(e, (int64_t)(i * unit)) : scaled(e, p[TILE_A_STEP], i));
        Reg line = byte_offset(e, c, scaled(e, p[TILE_C_STEP], i));
        for (uint32_t j = 0; j < d->vectors; j++)
            places[i * d->vectors + j] =
                byte_offset(e, line, const_i64(e, (int64_t)j * d->width * d->size));
    }
    first_sums(d, p[TILE_FROM_ZERO], places, sums);
    for (uint32_t i = 0; i < d->rows * d->vectors && d->kind == DOT_I8_QUADS; i++)
        sums[i] = LLVMBuildSub(e->b, sums[i], extra[i % d->vectors], "");
    code_tile(d, rows, a->panel ? a->panel * unit : unit, p[TILE_B], p[TILE_K], sums);
    for (uint32_t i = 0; i < d->rows * d->vectors; i++) store_reg(e, sums[i], places[i], d->size);
    loop_close(e, &loop);
}

static Reg panel_function(const Dot *d, const Pack *a) {
    static const char *const kinds[] = {"f32", "f64", "i32", "bf16", "i16", "i8"};
    Emitter *e = d->e;
    char name[64];
    snprintf(name, sizeof name, "tkc.dot.%s.%ux%ux%u.%s%s", kinds[d->kind], d->rows, d->vectors,
             d->width, a->panel ? "panels" : "rows", d->k < 4 ? d->k == 1 ? ".1" : ".2" : "");
    RegType types[TILE_COUNT];
    for (uint32_t i = 0; i < TILE_COUNT; i++) types[i] = i <= TILE_C ? e->pointer : e->i64;
    Function function;
    if (function_open(e, &function, name, NULL, types, TILE_COUNT)) {
        code_panel(d, a, function.arguments);
        function_close(e, &function, NULL);
    }
    return function.value;
}

void dot_multiply(const Dot *d, const Pack *a, const Pack *b, uint64_t sums, bool from_zero) {
    Emitter *e = d->e;
    const uint32_t panel = dot_panel(d), panels = d->n / panel;
    assert(d->rows * d->vectors <= MAX_CARRIED);
    Reg function = panel_function(d, a);
    Loop batch, column;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &column, const_i64(e, panels), 1, 0, NULL);
    Reg number = dot_mul_add(e, batch.index, panels, column.index);
    const uint64_t a_matrix = (uint64_t)d->m * (a->panel ? d->k : a->pitch);
    Reg c = dot_mul_add(e, batch.index, (uint64_t)d->m * d->n, scaled(e, column.index, panel));
    Reg arguments[TILE_COUNT] = {
        [TILE_A] = dot_unit_at(d, a->slot, scaled(e, batch.index, a_matrix)),
        [TILE_B] = dot_unit_at(d, b->slot, scaled(e, number, (uint64_t)d->k * panel)),
        [TILE_C] = dot_unit_at(d, sums, c),
        [TILE_M] = const_i64(e, d->m),
        [TILE_K] = const_i64(e, d->k),
        [TILE_A_STEP] = const_i64(e, (int64_t)(a->pitch * d->size)),
        [TILE_C_STEP] = const_i64(e, (int64_t)d->n * d->size),
        [TILE_FROM_ZERO] = const_i64(e, from_zero),
    };
    function_call(e, function, arguments, TILE_COUNT);
    loop_close(e, &column);
    loop_close(e, &batch);
}
