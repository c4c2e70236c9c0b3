/* dot.c: matrix products by register tiles.
 *
 * Operands are converted once, to f32 (f64, i32), and laid out for the inner loop:
 *
 *     a   rows [m][k], or columns [k][m] when that is how it comes; read one element at a time
 *     b   panels [n / nr][k][nr]: the inner loop reads nr neighbours, a few vectors
 *
 * The tile of mr x nr results stays in registers for all of k, which runs upwards: f16, bf16 and
 * fp8 give the interpreter's bits, f32 differs by the rounding of its products. An operand that is
 * made before a loop is packed before that loop.
 */
#include "compiler/cpu/emit.h"

typedef enum DotKind { DOT_F32, DOT_F64, DOT_I32 } DotKind;

typedef struct Dot {
    Emitter *e;
    const Op *op;
    DotKind kind;
    DType wide; /* what is multiplied */
    RegType type;
    uint32_t size, batch, m, n, k;
    uint32_t width, vectors, rows; /* of a vector; vectors and rows of a tile */
    bool tf32;
} Dot;

typedef struct Pack {
    const Value *value;
    const Op *loop; /* NULL: of this dot only */
    bool is_b, tf32, owned;
    uint64_t slot, bytes;
    uint32_t panel;            /* b: columns of a panel */
    uint64_t row_step, k_step; /* a: elements to the next row, to the next k */
} Pack;

static Dot dot_new(Emitter *e, const Op *op, uint32_t pack_a) {
    const Type *a = op_operand(op, 0)->type, *c = op_result(op, 0)->type;
    const uint32_t r = a->rank;
    const DType da = type_dtype(a), dc = type_dtype(c);
    Dot d = {.e = e, .op = op};
    d.kind = dtype_is_int(dc) ? DOT_I32 : dc == DT_f64 || da == DT_f64 ? DOT_F64 : DOT_F32;
    d.wide = d.kind == DOT_I32 ? DT_i32 : d.kind == DOT_F64 ? DT_f64 : DT_f32;
    d.type = d.kind == DOT_I32 ? e->i32 : d.kind == DOT_F64 ? e->f64 : e->f32;
    d.size = dtype_size(d.wide);
    d.batch = r == 3 ? a->shape[0] : 1;
    d.m = a->shape[r - 2];
    d.k = a->shape[r - 1] * pack_a;
    d.n = c->shape[r - 1];
    const uint32_t lanes = e->vector_bytes / d.size;
    d.width = d.n < lanes ? d.n : lanes;
    d.vectors = d.n >= 2 * d.width ? 2 : 1;
    d.rows = e->avx512 ? 8 : 4;
    if (d.m < d.rows) d.rows = d.m;
    d.tf32 = op->code == OP_dot && da == DT_f32 && d.kind == DOT_F32 &&
             op_word(op, ATTR_precision, WORD_tf32) == WORD_tf32;
    return d;
}

/* ---- converting --------------------------------------------------------------------- */

/* To nearest, ties away; the launch may say that nothing is to be rounded. */
static Reg round_tf32(Emitter *e, Reg x) {
    RegType ints = lanes_type(e->i32, width_of(x));
    Reg half = LLVMBuildTrunc(e->b, LAUNCH_FIELD(e, tf32_half, e->i64), e->i32, "");
    Reg mask = LLVMBuildTrunc(e->b, LAUNCH_FIELD(e, tf32_mask, e->i64), e->i32, "");
    Reg u = LLVMBuildBitCast(e->b, x, ints, "");
    Reg exponent = LLVMBuildAnd(e->b, u, const_int_like(u, 0x7f800000u), "");
    Reg special = LLVMBuildICmp(e->b, LLVMIntEQ, exponent, const_int_like(u, 0x7f800000u), "");
    Reg r = LLVMBuildAdd(e->b, u, splat_reg(e, half, width_of(x)), "");
    r = LLVMBuildAnd(e->b, r, splat_reg(e, mask, width_of(x)), "");
    return LLVMBuildBitCast(e->b, LLVMBuildSelect(e->b, special, u, r, ""), LLVMTypeOf(x), "");
}

static Reg converted(const Dot *d, const Value *value, Reg x) {
    x = code_cast(d->e, type_dtype(value->type), d->wide, false, x);
    return d->tf32 ? round_tf32(d->e, x) : x;
}

static Reg element_at(const Dot *d, uint64_t slot, Reg index) {
    Reg offset = LLVMBuildMul(d->e->b, index, const_i64(d->e, d->size), "");
    return byte_offset(d->e, slot_pointer(d->e, slot), offset);
}

static Reg mul_add(Emitter *e, Reg a, uint64_t factor, Reg b) {
    return LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a, const_i64(e, (int64_t)factor), ""), b, "");
}

/* Writes the value, converted, with `pitch` elements from row to row. */
static void pack_rows(const Dot *d, const Value *value, uint64_t slot, uint64_t pitch) {
    Emitter *e = d->e;
    const Type *type = value->type;
    const uint32_t last = type->rank - 1, width = d->width < type->shape[last] ? e->lanes : 1;
    prepare(e, value, type, true);
    Nest nest;
    const uint32_t lanes = usual_width(e, type, last);
    (void)width;
    nest_open(&nest, e, type, last, lanes);
    Reg x = splat_reg(e, converted(d, value, eval_here(&nest, value)), lanes);
    Reg row = nest.place.at[last - 1].base;
    if (type->rank == 3) row = mul_add(e, nest.place.at[0].base, type->shape[1], row);
    store_reg(e, x, element_at(d, slot, mul_add(e, row, pitch, nest.place.at[last].base)), d->size);
    nest_close(&nest);
}

/* From rows [k][n] to panels. */
static void pack_panels(const Dot *d, const Value *value, uint64_t slot) {
    Emitter *e = d->e;
    const Type *type = value->type;
    const uint32_t last = type->rank - 1, panel = d->width * d->vectors;
    prepare(e, value, type, true);
    Nest nest;
    nest_open(&nest, e, type, last, d->width);
    Reg x = splat_reg(e, converted(d, value, eval_here(&nest, value)), d->width);
    Reg column = nest.place.at[last].base, k = nest.place.at[last - 1].base;
    const uint64_t shift = (uint64_t)__builtin_ctz(panel);
    Reg number = LLVMBuildLShr(e->b, column, const_i64(e, (int64_t)shift), "");
    if (type->rank == 3) number = mul_add(e, nest.place.at[0].base, d->n / panel, number);
    Reg rest = LLVMBuildAnd(e->b, column, const_i64(e, panel - 1), "");
    Reg at = mul_add(e, mul_add(e, number, d->k, k), panel, rest);
    store_reg(e, x, element_at(d, slot, at), d->size);
    nest_close(&nest);
}

/* rows[i] lane j <-> rows[j] lane i */
static void transpose(Emitter *e, uint32_t n, Reg *rows) {
    for (uint32_t step = n / 2; step >= 1; step /= 2)
        for (uint32_t i = 0; i < n; i++) {
            if (i & step) continue;
            int low[64], high[64];
            for (uint32_t j = 0; j < n; j++) {
                low[j] = (int)(j & step ? n + (j ^ step) : j);
                high[j] = (int)(j & step ? n + j : j ^ step);
            }
            Reg a = rows[i], b = rows[i + step];
            rows[i] = shuffle(e, a, b, n, low);
            rows[i + step] = shuffle(e, a, b, n, high);
        }
}

/* From rows [n][k] of converted elements to panels, a square of vectors at a time. */
static void transpose_panels(const Dot *d, uint64_t from, uint64_t slot) {
    Emitter *e = d->e;
    const uint32_t panel = d->width * d->vectors;
    const uint32_t side = d->k < d->width ? d->k : d->width;
    Loop batch, column, k;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &column, const_i64(e, d->n), side, 0, NULL);
    loop_open(e, &k, const_i64(e, d->k), side, 0, NULL);
    Reg rows[64];
    Reg first = mul_add(e, mul_add(e, batch.index, d->n, column.index), d->k, k.index);
    for (uint32_t i = 0; i < side; i++) {
        Reg at = LLVMBuildAdd(e->b, first, const_i64(e, (int64_t)i * d->k), "");
        rows[i] = load_reg(e, lanes_type(d->type, side), element_at(d, from, at), d->size);
    }
    if (side > 1) transpose(e, side, rows);
    const uint64_t shift = (uint64_t)__builtin_ctz(panel);
    Reg number = LLVMBuildLShr(e->b, column.index, const_i64(e, (int64_t)shift), "");
    number = mul_add(e, batch.index, d->n / panel, number);
    Reg rest = LLVMBuildAnd(e->b, column.index, const_i64(e, panel - 1), "");
    Reg to = mul_add(e, mul_add(e, number, d->k, k.index), panel, rest);
    for (uint32_t i = 0; i < side; i++) {
        Reg at = LLVMBuildAdd(e->b, to, const_i64(e, (int64_t)i * panel), "");
        store_reg(e, rows[i], element_at(d, slot, at), d->size);
    }
    loop_close(e, &k);
    loop_close(e, &column);
    loop_close(e, &batch);
}

/* ---- operands ----------------------------------------------------------------------- */

/* What a permute of the last two dims is made from, while it is lazy; else NULL. */
static const Value *transposed(Emitter *e, const Value *v) {
    if (!v->op || v->op->code != OP_permute || info_of(e, v)->ready) return NULL;
    const int64_t *order = op_attribute(v->op, ATTR_order)->ints;
    const uint32_t r = v->type->rank;
    if (order[r - 1] != r - 2 || order[r - 2] != r - 1) return NULL;
    return op_operand(v->op, 0);
}

/* It lies in a slot as it is wanted. */
static bool in_place(const Dot *d, const Value *v) {
    const ValueInfo *info = info_of(d->e, v);
    if (type_dtype(v->type) != d->wide || d->tf32) return false;
    if (!info->ready && info->stored) force(d->e, v);
    return info->ready;
}

static uint64_t bytes_for(const Dot *d, uint64_t elements) {
    return (elements * d->size + 63) / 64 * 64;
}

static Pack pack_a(const Dot *d, const Value *v) {
    Emitter *e = d->e;
    Pack p = {.value = v, .tf32 = d->tf32};
    const Value *columns = transposed(e, v), *source = columns ? columns : v;
    const uint32_t length = columns ? d->m : d->k, count = columns ? d->k : d->m;
    uint64_t pitch = length;
    if (in_place(d, source)) {
        p.slot = info_of(e, source)->slot;
    } else {
        if (pitch * d->size % 1024 == 0) pitch += 64 / d->size; /* rows in other cache sets */
        p.owned = true;
        p.bytes = bytes_for(d, pitch * count * d->batch);
        p.slot = slot_alloc(e, p.bytes);
        pack_rows(d, source, p.slot, pitch);
    }
    p.row_step = columns ? 1 : pitch;
    p.k_step = columns ? pitch : 1;
    return p;
}

static Pack pack_b(const Dot *d, const Value *v) {
    Emitter *e = d->e;
    const uint32_t panel = d->width * d->vectors;
    Pack p = {.value = v, .tf32 = d->tf32, .is_b = true, .panel = panel, .owned = true};
    const Value *rows = transposed(e, v);
    p.bytes = bytes_for(d, (uint64_t)d->batch * d->k * d->n);
    if (!rows) {
        if (d->n == panel && d->batch == 1 && in_place(d, v)) {
            p.owned = false;
            p.slot = info_of(e, v)->slot;
            return p;
        }
        p.slot = slot_alloc(e, p.bytes);
        pack_panels(d, v, p.slot);
        return p;
    }
    const bool there = in_place(d, rows);
    const uint64_t from = there ? info_of(e, rows)->slot : slot_alloc(e, p.bytes);
    if (!there) pack_rows(d, rows, from, d->k);
    p.slot = slot_alloc(e, p.bytes);
    transpose_panels(d, from, p.slot);
    if (!there) slot_free(e, from, p.bytes);
    return p;
}

static const Pack *find_pack(const Dot *d, const Value *v, bool is_b) {
    for (uint32_t i = 0; i < d->e->packs.length; i++) {
        const Pack *p = d->e->packs.data[i];
        if (p->value == v && p->is_b == is_b && p->tf32 == d->tf32 &&
            (!is_b || p->panel == d->width * d->vectors))
            return p;
    }
    return NULL;
}

static Pack operand(const Dot *d, uint32_t index) {
    const Value *v = op_operand(d->op, index);
    const Pack *found = find_pack(d, v, index == 1);
    if (found) {
        Pack p = *found;
        p.owned = false;
        return p;
    }
    return index == 1 ? pack_b(d, v) : pack_a(d, v);
}

static bool is_outside_of(const Value *v, const Op *loop) {
    for (uint32_t i = 0; i < loop->region_count; i++) {
        if (v->op && op_is_inside(v->op, loop->regions[i])) return false;
        for (const Region *r = v->region; r; r = r->parent ? r->parent->parent : NULL)
            if (r == loop->regions[i]) return false;
    }
    return true;
}

/* Lazy values of the loop body that depend on nothing of the loop count too: permutes of it. */
static bool depends_on_loop(Emitter *e, const Value *v, const Op *loop) {
    if (is_outside_of(v, loop)) return false;
    return !v->op || v->op->code != OP_permute || depends_on_loop(e, op_operand(v->op, 0), loop);
}

void pack_outside(Emitter *e, const Op *loop, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->region_count; i++) pack_outside(e, loop, op->regions[i]);
        if (op->code != OP_dot) continue;
        const Dot d = dot_new(e, op, 1);
        for (uint32_t i = 0; i < 2; i++) {
            const Value *v = op_operand(op, i);
            if (depends_on_loop(e, v, loop) || find_pack(&d, v, i == 1)) continue;
            if (is_outside_of(v, loop) && v->op == NULL && !info_of(e, v)->ready) continue;
            Pack *p = arena_new(e->arena, Pack);
            *p = i == 1 ? pack_b(&d, v) : pack_a(&d, v);
            p->loop = loop;
            vec_push(e->arena, &e->packs, p);
        }
    }
}

void release_packs(Emitter *e, const Op *loop) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->packs.length; i++) {
        Pack *p = e->packs.data[i];
        if (p->loop != loop)
            e->packs.data[kept++] = p;
        else if (p->owned)
            slot_free(e, p->slot, p->bytes);
    }
    e->packs.length = kept;
}

/* ---- the inner loops ---------------------------------------------------------------- */

static Reg multiply_add(const Dot *d, Reg a, Reg b, Reg c) {
    Emitter *e = d->e;
    if (d->kind == DOT_I32) return LLVMBuildAdd(e->b, c, LLVMBuildMul(e->b, a, b, ""), "");
    if (!e->fma) return LLVMBuildFAdd(e->b, c, LLVMBuildFMul(e->b, a, b, ""), "");
    Reg all[3] = {a, b, c};
    return call_intrinsic(e, "llvm.fma", 3, all);
}

/* One tile: sums stay in registers. */
static void tile(const Dot *d, const Pack *a, const Pack *b, Reg a_first, Reg b_first, Reg c_first,
                 uint64_t c_slot, bool from_zero) {
    enum { UNROLL = 4 };
    Emitter *e = d->e;
    RegType vector = lanes_type(d->type, d->width);
    Reg sums[MAX_CARRIED], place[MAX_CARRIED];
    const uint32_t v = d->vectors, count = d->rows * v;
    for (uint32_t i = 0; i < count; i++) {
        const int64_t far = (int64_t)(i / v) * d->n + (int64_t)(i % v) * d->width;
        place[i] = byte_offset(e, element_at(d, c_slot, c_first), const_i64(e, far * d->size));
        sums[i] = from_zero ? LLVMConstNull(vector) : load_reg(e, vector, place[i], d->size);
    }
    Reg a_at = element_at(d, a->slot, a_first), b_at = element_at(d, b->slot, b_first);
    const uint32_t unroll = d->k < UNROLL ? d->k : UNROLL;
    Loop loop;
    loop_open(e, &loop, const_i64(e, d->k), unroll, count, sums);
    memcpy(loop.next, loop.phi, sizeof loop.next);
    const int64_t k_bytes = (int64_t)a->k_step * d->size, panel = d->width * v;
    Reg a_k = byte_offset(e, a_at, LLVMBuildMul(e->b, loop.index, const_i64(e, k_bytes), ""));
    Reg b_k =
        byte_offset(e, b_at, LLVMBuildMul(e->b, loop.index, const_i64(e, panel * d->size), ""));
    for (uint32_t u = 0; u < unroll; u++) {
        Reg line[2];
        for (uint32_t j = 0; j < v; j++) {
            const int64_t far = ((int64_t)u * panel + (int64_t)j * d->width) * d->size;
            line[j] = load_reg(e, vector, byte_offset(e, b_k, const_i64(e, far)), d->size);
        }
        for (uint32_t i = 0; i < d->rows; i++) {
            const int64_t far = (int64_t)i * (int64_t)a->row_step * d->size + u * k_bytes;
            Reg x = load_reg(e, d->type, byte_offset(e, a_k, const_i64(e, far)), d->size);
            x = splat_reg(e, x, d->width);
            for (uint32_t j = 0; j < v; j++)
                loop.next[i * v + j] = multiply_add(d, x, line[j], loop.next[i * v + j]);
        }
    }
    loop_close(e, &loop);
    for (uint32_t i = 0; i < count; i++) store_reg(e, loop.phi[i], place[i], d->size);
}

static void multiply(const Dot *d, const Pack *a, const Pack *b, uint64_t c_slot, bool from_zero) {
    Emitter *e = d->e;
    const uint32_t panel = d->width * d->vectors;
    Loop batch, column, row;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &column, const_i64(e, d->n / panel), 1, 0, NULL);
    loop_open(e, &row, const_i64(e, d->m), d->rows, 0, NULL);
    const uint64_t a_matrix = a->row_step == 1 ? a->k_step * d->k : a->row_step * d->m;
    Reg a_row = LLVMBuildMul(e->b, row.index, const_i64(e, (int64_t)a->row_step), "");
    Reg a_first = mul_add(e, batch.index, a_matrix, a_row);
    Reg number = mul_add(e, batch.index, d->n / panel, column.index);
    Reg b_first = LLVMBuildMul(e->b, number, const_i64(e, (int64_t)d->k * panel), "");
    Reg c_row = mul_add(e, batch.index, d->m, row.index);
    Reg c_column = LLVMBuildMul(e->b, column.index, const_i64(e, panel), "");
    tile(d, a, b, a_first, b_first, mul_add(e, c_row, d->n, c_column), c_slot, from_zero);
    loop_close(e, &row);
    loop_close(e, &column);
    loop_close(e, &batch);
}

/* ---- the result --------------------------------------------------------------------- */

static bool is_zero(const Value *v) {
    if (!value_is_constant(v)) return false;
    const Attribute *value = op_attribute(v->op, ATTR_value);
    return value->is_float ? value->f == 0 && !__builtin_signbit(value->f) : value->i == 0;
}

/* Only element by element, at the same place. */
static bool reads_here(Emitter *e, const Value *v, const Value *carried) {
    if (v == carried || !type_is_block(v->type) || info_of(e, v)->ready || !v->op) return true;
    for (uint32_t i = 0; i < v->op->operand_count; i++) {
        const Value *x = op_operand(v->op, i);
        if (op_is(v->op, OPF_ELEMENT) ? !reads_here(e, x, carried) : x == carried) return false;
    }
    return true;
}

/* When the result is all that becomes of a carried block, it is written over it. */
static bool use_carried_slot(Emitter *e, const Op *op) {
    const Value *result = op_result(op, 0);
    const Use *use = result->uses;
    if (!use || use->next || use->user->code != OP_yield) return false;
    const Op *loop = use->user->parent->parent;
    if (!loop || loop->code != OP_for || op->parent != loop->regions[0]) return false;
    const Value *carried = loop->regions[0]->arguments[use_index(use) + 1];
    const ValueInfo *from = info_of(e, carried);
    if (!from->ready || is_needed_after(e, carried, op)) return false;
    if (!reads_here(e, op_operand(op, op->operand_count - 1), carried)) return false;
    ValueInfo *info = info_of(e, result);
    info->slot = from->slot;
    info->has_slot = true;
    return true;
}

static void convert_slot(const Dot *d, DType from, uint64_t from_slot, DType to, uint64_t to_slot) {
    Emitter *e = d->e;
    const Type *shape = op_result(d->op, 0)->type;
    const Type *in = type_with_dtype(&e->module->types, shape, from);
    const Type *out = type_with_dtype(&e->module->types, shape, to);
    Nest nest;
    nest_open(&nest, e, shape, shape->rank - 1, usual_width(e, shape, shape->rank - 1));
    Reg x = slot_read(e, in, from_slot, &nest.place, nest.width);
    slot_write(e, out, to_slot, &nest.place, code_cast(e, from, to, false, x), nest.width);
    nest_close(&nest);
}

static void finish(const Dot *d, const Pack *a, const Pack *b, const Value *c) {
    Emitter *e = d->e;
    const Value *result = op_result(d->op, 0);
    const DType dtype = type_dtype(result->type);
    const bool direct = dtype == d->wide || (d->kind == DOT_I32 && dtype == DT_u32);
    const bool zero = is_zero(c);
    if (!use_carried_slot(e, d->op)) give_slot(e, result);
    ValueInfo *info = info_of(e, result);
    const uint64_t bytes = bytes_for(d, result->type->count);
    const uint64_t sums = direct ? info->slot : slot_alloc(e, bytes);
    if (!zero && !(info_of(e, c)->ready && info_of(e, c)->slot == info->slot))
        materialise(e, 1, &c, &info->slot);
    if (!zero && !direct) convert_slot(d, dtype, info->slot, d->wide, sums);
    multiply(d, a, b, sums, zero);
    if (!direct) {
        convert_slot(d, d->wide, sums, dtype, info->slot);
        slot_free(e, sums, bytes);
    }
    if (a->owned) slot_free(e, a->slot, a->bytes);
    if (b->owned) slot_free(e, b->slot, b->bytes);
    info->ready = true;
}

void code_dot(Emitter *e, const Op *op) {
    const Dot d = dot_new(e, op, 1);
    const Pack a = operand(&d, 0), b = operand(&d, 1);
    finish(&d, &a, &b, op_operand(op, 2));
}

/* ---- dot_scaled: one element at a time, packed as for any dot ----------------------- */

static Reg scaled_element(const Dot *d, Word format, DType dtype, Reg x, Reg k) {
    Emitter *e = d->e;
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    (void)dtype;
    switch (format) {
    case WORD_e4m3: return widen_to_f32(e, DT_f8e4m3, x);
    case WORD_e5m2: return widen_to_f32(e, DT_f8e5m2, x);
    case WORD_bf16: return widen_to_f32(e, DT_bf16, x);
    case WORD_fp16: return widen_to_f32(e, DT_f16, x);
    default: break;
    }
    Reg table[8];
    for (int i = 0; i < 8; i++) table[i] = LLVMConstReal(e->f32, (double)e2m1[i]);
    Reg odd = LLVMBuildTrunc(e->b, k, e->i1, "");
    Reg high = LLVMBuildLShr(e->b, x, LLVMConstInt(e->i8, 4, 0), "");
    Reg code = LLVMBuildSelect(e->b, odd, high, x, "");
    Reg index = LLVMBuildAnd(e->b, code, LLVMConstInt(e->i8, 7, 0), "");
    Reg value = LLVMBuildExtractElement(e->b, LLVMConstVector(table, 8), index, "");
    Reg sign = LLVMBuildAnd(e->b, code, LLVMConstInt(e->i8, 8, 0), "");
    Reg minus = LLVMBuildICmp(e->b, LLVMIntNE, sign, LLVMConstInt(e->i8, 0, 0), "");
    return LLVMBuildSelect(e->b, minus, LLVMBuildFNeg(e->b, value, ""), value, "");
}

static Reg scale_value(Emitter *e, Reg code) {
    Reg wide = LLVMBuildZExt(e->b, code, e->i32, "");
    Reg bits = LLVMBuildShl(e->b, wide, const_i32(e, 23), "");
    Reg zero = LLVMBuildICmp(e->b, LLVMIntEQ, wide, const_i32(e, 0), "");
    Reg nan = LLVMBuildICmp(e->b, LLVMIntEQ, wide, const_i32(e, 255), "");
    bits = LLVMBuildSelect(e->b, zero, const_i32(e, 0x00400000), bits, "");
    bits = LLVMBuildSelect(e->b, nan, const_i32(e, 0x7fffffff), bits, "");
    return LLVMBuildBitCast(e->b, bits, e->f32, "");
}

static void pack_scaled(const Dot *d, bool is_b, Word format, const Value *data, const Value *scale,
                        uint64_t slot) {
    Emitter *e = d->e;
    const uint32_t lines = is_b ? d->n : d->m, panel = d->width * d->vectors;
    force(e, data);
    force(e, scale);
    Loop batch, line, k;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &line, const_i64(e, lines), 1, 0, NULL);
    loop_open(e, &k, const_i64(e, d->k), 1, 0, NULL);
    Reg element = k.index;
    if (format == WORD_e2m1) element = LLVMBuildLShr(e->b, element, const_i64(e, 1), "");
    Reg group = LLVMBuildLShr(e->b, k.index, const_i64(e, 5), "");
    const uint32_t r = data->type->rank;
    Place at = {.rank = r}, scale_at = {.rank = r};
    at.at[0] = scale_at.at[0] = (Coord){COORD_ONE, true, batch.index};
    at.at[r - 2] = (Coord){COORD_ONE, true, is_b ? element : line.index};
    at.at[r - 1] = (Coord){COORD_ONE, true, is_b ? line.index : element};
    scale_at.at[r - 2] = (Coord){COORD_ONE, true, line.index};
    scale_at.at[r - 1] = (Coord){COORD_ONE, true, group};
    Reg x = slot_read(e, data->type, info_of(e, data)->slot, &at, 1);
    x = scaled_element(d, format, type_dtype(data->type), x, k.index);
    Reg s = slot_read(e, scale->type, info_of(e, scale)->slot, &scale_at, 1);
    x = LLVMBuildFMul(e->b, x, scale_value(e, s), "");
    Reg to;
    if (is_b) {
        const uint64_t shift = (uint64_t)__builtin_ctz(panel);
        Reg number = LLVMBuildLShr(e->b, line.index, const_i64(e, (int64_t)shift), "");
        number = mul_add(e, batch.index, d->n / panel, number);
        Reg rest = LLVMBuildAnd(e->b, line.index, const_i64(e, panel - 1), "");
        to = mul_add(e, mul_add(e, number, d->k, k.index), panel, rest);
    } else {
        to = mul_add(e, mul_add(e, batch.index, d->m, line.index), d->k, k.index);
    }
    store_reg(e, x, element_at(d, slot, to), d->size);
    loop_close(e, &k);
    loop_close(e, &line);
    loop_close(e, &batch);
}

void code_dot_scaled(Emitter *e, const Op *op) {
    const Word fa = op_word(op, ATTR_a_format, WORD_none),
               fb = op_word(op, ATTR_b_format, WORD_none);
    Dot d = dot_new(e, op, fa == WORD_e2m1 ? 2 : 1);
    d.kind = DOT_F32;
    d.wide = DT_f32;
    Pack a = {.owned = true, .row_step = d.k, .k_step = 1};
    Pack b = {.owned = true, .is_b = true, .panel = d.width * d.vectors};
    a.bytes = bytes_for(&d, (uint64_t)d.batch * d.m * d.k);
    b.bytes = bytes_for(&d, (uint64_t)d.batch * d.n * d.k);
    a.slot = slot_alloc(e, a.bytes);
    b.slot = slot_alloc(e, b.bytes);
    pack_scaled(&d, false, fa, op_operand(op, 0), op_operand(op, 1), a.slot);
    pack_scaled(&d, true, fb, op_operand(op, 2), op_operand(op, 3), b.slot);
    finish(&d, &a, &b, op_operand(op, 4));
}
