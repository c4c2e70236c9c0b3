/* emit_dot.c: dot by tensor cores (mma.sync) and by fused multiply-adds.
 *
 * Both find their operands in the registers of the running thread: the register of element (m, k)
 * is the XOR of the registers of its coordinate bits, which a small table gives. Coordinates that
 * lanes and warps move are the thread's own business: the layouts agree on them.
 *
 * An operand that lies in shared memory is read as it is used, K step by K step.
 *
 * Blocks smaller than an instruction's tile: rows and columns that are not there are copies of
 * others (the layouts say so) and their results too; along K what is not there is zero, in both
 * operands, so that a NaN in a copy does no harm.
 */
#include "compiler/gpu/emit/emit.h"

/* ---- registers by coordinates -------------------------------------------------------------------
 */

/* Of a block [batch x] rows x columns. */
typedef struct Finder {
    uint32_t row_shift, batch_shift, bits; /* of an element number */
    uint32_t present;                      /* element bits that registers move */
    uint32_t reg[32];
    Scalar *values;
    const Type *type;
    SharedBlock *waiting; /* where values that are NULL come from */
} Finder;

static Finder finder_of(Emitter *e, const Op *op, uint32_t operand) {
    const Type *type = op_operand(op, operand)->type;
    Finder f = {.type = type, .values = emit_operand(e, op, operand)};
    const Value *source = op_operand(op, operand);
    while (source->op && emit_is_renaming(source->op)) source = op_operand(source->op, 0);
    f.waiting = e->waiting[source->number];
    if (f.waiting) f.values = emit_values(e, source);
    f.row_shift = log2_exact(type->shape[type->rank - 1]);
    f.batch_shift = f.row_shift + log2_exact(type->shape[type->rank - 2]);
    f.bits = log2_exact(type->count);
    for (uint32_t b = 0; b < f.bits; b++)
        if (layout_find_register(type->layout, 1u << b, &f.reg[b])) f.present |= 1u << b;
    return f;
}

static uint32_t element_at(const Finder *f, uint32_t batch, uint32_t row, uint32_t column) {
    return batch << f->batch_shift | row << f->row_shift | column;
}

/* Bits that lanes or warps move, or that the block does not have, count as 0. */
static uint32_t register_at(const Finder *f, uint32_t element) {
    uint32_t r = 0;
    for (uint32_t b = 0; b < f->bits; b++)
        if ((element & f->present) >> b & 1) r ^= f->reg[b];
    return r;
}

static Scalar value_at(Emitter *e, const Finder *f, uint32_t element) {
    uint32_t r = register_at(f, element);
    return f->waiting ? emit_shared_fetch(e, f->waiting, r) : f->values[r];
}

/* ---- mma.sync
 * ------------------------------------------------------------------------------------ */

typedef struct MmaKind {
    const char *name;
    uint32_t k; /* of one instruction */
    bool halves, doubles, half_result;
    uint32_t products; /* 3: hi*hi + hi*lo + lo*hi */
    bool to_tf32;
} MmaKind;

typedef struct Fragment { /* words of one operand of one instruction */
    uint32_t key;
    Scalar word[2][4]; /* [1]: what tf32 leaves of it */
} Fragment;

typedef struct Mma {
    const Op *op;
    MmaKind kind;
    Finder a, b, c;
    uint32_t k_extent, each; /* elements a word */
    Scalar in_k;             /* lanes whose part of K is there; NULL: all */
    VEC(Fragment) rows, columns;
} Mma;

static MmaKind kind_of(Emitter *e, const Op *op) {
    const DType a = type_dtype(op_operand(op, 0)->type), b = type_dtype(op_operand(op, 1)->type);
    const DType c = type_dtype(op_operand(op, 2)->type);
    const Word precision = op_word(op, ATTR_precision, WORD_tf32);
    MmaKind kind = {.products = 1};
    switch (a) {
    case DT_f16:
        kind.half_result = c == DT_f16;
        kind.name = kind.half_result ? "llvm.nvvm.mma.m16n8k16.row.col.f16.f16"
                                     : "llvm.nvvm.mma.m16n8k16.row.col.f32.f32";
        kind.k = 16, kind.halves = true;
        return kind;
    case DT_bf16: kind.name = "llvm.nvvm.mma.m16n8k16.row.col.bf16", kind.k = 16; return kind;
    case DT_f32:
        kind.name = "llvm.nvvm.mma.m16n8k8.row.col.tf32", kind.k = 8, kind.to_tf32 = true;
        if (precision != WORD_tf32) kind.products = 3;
        return kind;
    case DT_f64:
        kind.name = "llvm.nvvm.mma.m8n8k4.row.col.f64", kind.k = 4, kind.doubles = true;
        return kind;
    case DT_i8:
    case DT_u8:
        kind.k = 32;
        kind.name = arena_printf(e->arena, "llvm.nvvm.mma.m16n8k32.row.col.%s",
                                 a != b       ? a == DT_i8 ? "s8.u8" : "u8.s8"
                                 : a == DT_i8 ? "s8"
                                              : "u8");
        return kind;
    case DT_f8e4m3:
    case DT_f8e5m2:
        kind.k = 32;
        kind.name = arena_printf(e->arena, "llvm.nvvm.mma.m16n8k32.row.col.f32.%s.%s.f32",
                                 dtype_name(a) + 2, dtype_name(b) + 2);
        return kind;
    default: emit_fail(e, "no tensor core instruction for %s", dtype_name(a));
    }
}

/* True in lanes that hold a part of K that is there. */
static Scalar lanes_in_k(Emitter *e, const Mma *m) {
    uint32_t missing = 0;
    for (uint32_t b = 0; b < 2; b++)
        if (m->k_extent <= m->each << b) missing |= 1u << b;
    if (!missing) return NULL;
    LLVMBasicBlockRef here = emit_at_entry(e);
    Scalar bits = LLVMBuildAnd(e->builder, e->lane, emit_i32(e, missing), "");
    Scalar in = LLVMBuildICmp(e->builder, LLVMIntEQ, bits, emit_i32(e, 0), "");
    emit_back(e, here);
    return in;
}

/* One word of an operand: `each` elements from k on, of row (A) or column (B) `side`. */
static Scalar word_at(Emitter *e, const Mma *m, const Finder *f, uint32_t batch, uint32_t side,
                      uint32_t k) {
    const Type *element = type_element(f->type);
    const bool is_a = f == &m->a;
    Scalar part[4], word;
    ScalarType type = element_type(e, element);
    if (k >= m->k_extent) return LLVMConstNull(m->kind.doubles ? e->f64 : e->i32);
    for (uint32_t i = 0; i < m->each; i++) {
        uint32_t at = is_a ? element_at(f, batch, side, k + i) : element_at(f, batch, k + i, side);
        part[i] = k + i < m->k_extent ? value_at(e, f, at) : LLVMConstNull(type);
    }
    if (m->kind.doubles)
        word = part[0];
    else
        emit_pack(e, element, m->each, part, 4, &word);
    if (!m->in_k) return word;
    return LLVMBuildSelect(e->builder, m->in_k, word, LLVMConstNull(LLVMTypeOf(word)), "");
}

/* As the instruction takes it; tf32: rounded to nearest, and the rest in rest[0]. */
static Scalar as_operand(Emitter *e, const Mma *m, Scalar word, Scalar *rest) {
    if (m->kind.halves) return LLVMBuildBitCast(e->builder, word, LLVMVectorType(e->f16, 2), "");
    if (!m->kind.to_tf32) return word;
    Scalar x = LLVMBuildBitCast(e->builder, word, e->f32, "");
    Scalar rounded = INTRINSIC(e, "llvm.nvvm.f2tf32.rna", x);
    if (m->kind.products > 1) {
        Scalar big = LLVMBuildBitCast(e->builder, rounded, e->f32, "");
        *rest = INTRINSIC(e, "llvm.nvvm.f2tf32.rna", LLVMBuildFSub(e->builder, x, big, ""));
    }
    return rounded;
}

static const Fragment *fragment(Emitter *e, Mma *m, bool is_a, uint32_t batch, uint32_t side,
                                uint32_t k) {
    const Finder *f = is_a ? &m->a : &m->b;
    uint32_t key = is_a ? element_at(f, batch, side, 0) : element_at(f, batch, 0, side);
    const uint32_t count = is_a ? m->rows.length : m->columns.length;
    const Fragment *old = is_a ? m->rows.data : m->columns.data;
    for (uint32_t i = 0; i < count; i++)
        if (old[i].key == key) return &old[i];
    Fragment new = {.key = key};
    const uint32_t words = m->kind.doubles ? 1 : is_a ? 4 : 2;
    for (uint32_t w = 0; w < words; w++) {
        uint32_t row = is_a && (w & 1) ? 8 : 0, half = is_a ? w >> 1 : w;
        Scalar word = word_at(e, m, f, batch, side + row, k + half * 4 * m->each);
        new.word[0][w] = as_operand(e, m, word, &new.word[1][w]);
    }
    if (is_a) {
        vec_push(e->arena, &m->rows, new);
        return &m->rows.data[count];
    }
    vec_push(e->arena, &m->columns, new);
    return &m->columns.data[count];
}

static void multiply(Emitter *e, const Mma *m, const Scalar *a, const Scalar *b,
                     const uint32_t *registers, Scalar *acc) {
    Scalar in[10];
    uint32_t n = 0;
    const uint32_t results = m->kind.doubles ? 2 : 4;
    for (uint32_t i = 0; i < (m->kind.doubles ? 1 : 4); i++) in[n++] = a[i];
    for (uint32_t i = 0; i < (m->kind.doubles ? 1 : 2); i++) in[n++] = b[i];
    if (m->kind.half_result) {
        for (uint32_t i = 0; i < 2; i++) {
            Scalar pair = LLVMGetPoison(LLVMVectorType(e->f16, 2));
            for (uint32_t k = 0; k < 2; k++)
                pair = LLVMBuildInsertElement(e->builder, pair, acc[registers[2 * i + k]],
                                              emit_i32(e, k), "");
            in[n++] = pair;
        }
        Scalar sum = emit_intrinsic(e, m->kind.name, NULL, n, in);
        for (uint32_t i = 4; i-- > 0;)
            acc[registers[i]] = LLVMBuildExtractElement(e->builder, emit_part(e, sum, i / 2),
                                                        emit_i32(e, i % 2), "");
        return;
    }
    for (uint32_t i = 0; i < results; i++) in[n++] = acc[registers[i]];
    Scalar sum = emit_intrinsic(e, m->kind.name, NULL, n, in);
    for (uint32_t i = results; i-- > 0;) acc[registers[i]] = emit_part(e, sum, i);
}

/* One result tile: element `at` is its corner in this thread's registers. */
static void multiply_tile(Emitter *e, Mma *m, uint32_t at, uint32_t k, Scalar *acc) {
    const Finder *c = &m->c;
    uint32_t column = at & ((1u << c->row_shift) - 1), batch = at >> c->batch_shift;
    uint32_t row = (at & ((1u << c->batch_shift) - 1)) >> c->row_shift;
    for (uint32_t half = 0; half < (m->kind.doubles ? 2 : 1); half++) {
        uint32_t registers[4];
        if (half && !(c->present >> (c->row_shift + 3) & 1)) break;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t lower = m->kind.doubles ? half : i >> 1;
            uint32_t wanted = (i & 1) | (lower ? 8u << c->row_shift : 0);
            if (c->row_shift == 0) wanted &= ~1u;
            if (c->batch_shift - c->row_shift < 4) wanted &= 1;
            registers[i] = register_at(c, at | wanted);
        }
        /* copies of the fragments: making one may move the others */
        Fragment a = *fragment(e, m, true, batch, row + 8 * half, k);
        Fragment b = *fragment(e, m, false, batch, column, k);
        if (m->kind.products > 1) {
            multiply(e, m, a.word[1], b.word[0], registers, acc);
            multiply(e, m, a.word[0], b.word[1], registers, acc);
        }
        multiply(e, m, a.word[0], b.word[0], registers, acc);
    }
}

static void emit_mma(Emitter *e, const Op *op) {
    const Type *a = op_operand(op, 0)->type, *c = op_operand(op, 2)->type;
    Mma m = {.op = op, .kind = kind_of(e, op), .k_extent = a->shape[a->rank - 1]};
    m.a = finder_of(e, op, 0), m.b = finder_of(e, op, 1), m.c = finder_of(e, op, 2);
    m.each = m.kind.doubles ? 1 : 4 / type_element_size(a);
    m.in_k = lanes_in_k(e, &m);
    const uint32_t n = register_count(c);
    uint32_t corner = 0; /* element bits within a tile */
    if (m.c.row_shift) corner |= 1;
    if (m.c.batch_shift - m.c.row_shift >= 4) corner |= 8u << m.c.row_shift;
    Scalar *acc = emit_result(e, op, 0);
    memcpy(acc, m.c.values, n * sizeof *acc);
    for (uint32_t k = 0; k < m.k_extent; k += m.kind.k) {
        m.rows.length = m.columns.length = 0;
        for (uint32_t r = 0; r < n; r++) {
            uint32_t at = layout_column_sum(c->layout, PLACE_REGISTER, r);
            if (!(at & corner & m.c.present)) multiply_tile(e, &m, at, k, acc);
        }
    }
}

/* ---- multiply and add ---------------------------------------------------------------------------
 */

static Scalar multiply_add(Emitter *e, DType dtype, Scalar a, Scalar b, Scalar c) {
    if (dtype_is_float(dtype)) return INTRINSIC_OF(e, "llvm.fma", LLVMTypeOf(c), a, b, c);
    return LLVMBuildAdd(e->builder, LLVMBuildMul(e->builder, a, b, ""), c, "");
}

/* One side of an FMA dot, in the dtype of the sum; each register is converted once. */
typedef struct Side {
    Finder finder;
    Scalar *wide; /* NULL: not yet */
    DType to;
} Side;

static Side side_of(Emitter *e, const Op *op, uint32_t operand, DType to) {
    Side side = {.finder = finder_of(e, op, operand), .to = to};
    side.wide = arena_array(e->arena, Scalar, register_count(side.finder.type));
    return side;
}

static Scalar wide_at(Emitter *e, Side *side, uint32_t element) {
    Scalar *wide = &side->wide[register_at(&side->finder, element)];
    if (!*wide)
        *wide = emit_cast_one(e, value_at(e, &side->finder, element), type_dtype(side->finder.type),
                              side->to, false);
    return *wide;
}

static void emit_fma(Emitter *e, const Op *op) {
    const Type *type = op_operand(op, 2)->type;
    const DType result = type_dtype(type);
    const bool through_f32 = result == DT_f16 || result == DT_bf16 || dtype_is_fp8(result);
    const DType dtype = through_f32 ? DT_f32 : result;
    Side a = side_of(e, op, 0, dtype), b = side_of(e, op, 1, dtype), c = side_of(e, op, 2, dtype);
    const Finder *f = &c.finder;
    const uint32_t k_extent = a.finder.type->shape[a.finder.type->rank - 1];
    const uint32_t n = register_count(type);
    Scalar *acc = emit_result(e, op, 0);
    for (uint32_t k = 0; k < k_extent; k++)
        for (uint32_t r = 0; r < n; r++) {
            uint32_t at = layout_column_sum(type->layout, PLACE_REGISTER, r);
            uint32_t column = at & ((1u << f->row_shift) - 1), batch = at >> f->batch_shift;
            uint32_t row = (at & ((1u << f->batch_shift) - 1)) >> f->row_shift;
            Scalar x = wide_at(e, &a, element_at(&a.finder, batch, row, k));
            Scalar y = wide_at(e, &b, element_at(&b.finder, batch, k, column));
            acc[r] = multiply_add(e, dtype, x, y, k ? acc[r] : wide_at(e, &c, at));
        }
    for (uint32_t r = 0; r < n && through_f32; r++)
        acc[r] = emit_cast_one(e, acc[r], DT_f32, result, false);
}

void emit_dot(Emitter *e, const Op *op) {
    MmaTile tile;
    if (gpu_dot_mma(e->module, op, &tile))
        emit_mma(e, op);
    else
        emit_fma(e, op);
}
