/* emit_shared.c: blocks in shared memory: stores, loads, ldmatrix and stmatrix, async copies.
 *
 * The offset in bytes that a thread accesses for a register is a linear map of its register, lane
 * and warp bits: the block's layout followed by the inverse of the shared one (Place columns
 * below). Registers whose columns are 1, 2, 4, ... elements go in one instruction. What the columns
 * of the registers share with those of the thread (a swizzle) is XORed, the rest is a constant
 * offset of the instruction.
 *
 * ldmatrix moves 8 x 8 matrices of 16-bit elements, row addresses given by the lanes; it fits when
 * each lane wants 4 bytes of a row of 16 (plain), or a column of two rows (trans), that is, when
 * the columns of the right lane bits are 4 and 8, or 2, 4 and 8, and all others are whole rows.
 */
#include "compiler/gpu/emit/emit.h"

typedef struct Route {
    const Type *block;
    Layout bytes;  /* columns of REGISTER, LANE, WARP are offsets in bytes */
    uint32_t size; /* bytes an element */
    uint32_t registers;
} Route;

static Route route_of(Emitter *e, const Type *block, const Layout *shared) {
    const Layout *l = block->layout;
    Route route = {.block = block, .bytes = *l, .size = type_element_size(block)};
    uint32_t unit[32];
    route.registers = register_count(block);
    for (uint32_t b = 0; b < l->out_bits; b++) {
        uint32_t input;
        if (!layout_find(shared, 1u << b, &input)) emit_fail(e, "shared memory lacks an element");
        unit[b] = input * route.size;
    }
    for (int p = PLACE_REGISTER; p <= PLACE_WARP; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) {
            uint32_t sum = 0;
            for (uint32_t b = 0; b < l->out_bits; b++)
                if (l->columns[p][k] >> b & 1) sum ^= unit[b];
            route.bytes.columns[p][k] = sum;
        }
    return route;
}

/* ---- addresses --------------------------------------------------------------------------------
 */

static Scalar shared_pointer(Emitter *e) {
    if (e->shared_base) return e->shared_base;
    ScalarType bytes = LLVMArrayType2(e->i8, 0);
    e->shared_base = LLVMAddGlobalInAddressSpace(e->code, bytes, "shared_memory", 3);
    LLVMSetAlignment(e->shared_base, 1024);
    return e->shared_base;
}

Scalar emit_shared_address(Emitter *e, Scalar bytes) {
    return LLVMBuildGEP2(e->builder, e->i8, shared_pointer(e), &bytes, 1, "");
}

/* Pointers that differ by what registers share with threads; few. */
typedef struct Cursor {
    Index thread;
    Scalar base; /* bytes */
    uint32_t count, crossing[32];
    Scalar pointer[32];
} Cursor;

static Scalar cursor_at(Emitter *e, Cursor *c, uint32_t bytes) {
    const uint32_t crossing = bytes & c->thread.mask, apart = bytes & ~c->thread.mask;
    Scalar pointer = NULL;
    for (uint32_t i = 0; i < c->count && !pointer; i++)
        if (c->crossing[i] == crossing) pointer = c->pointer[i];
    if (!pointer) {
        LLVMBasicBlockRef here = emit_at_entry(e);
        Scalar thread = index_xor(e, c->thread, crossing);
        thread = emit_shared_address(e, thread);
        emit_back(e, here);
        pointer = LLVMBuildGEP2(e->builder, e->i8, thread, &c->base, 1, "");
        if (c->count < ARRAY_LENGTH(c->pointer)) {
            c->crossing[c->count] = crossing;
            c->pointer[c->count++] = pointer;
        }
    }
    if (!apart) return pointer;
    Scalar offset = emit_i32(e, apart);
    return LLVMBuildGEP2(e->builder, e->i8, pointer, &offset, 1, "");
}

static Cursor cursor_for(Emitter *e, const Layout *bytes, Scalar base) {
    return (Cursor){.thread =
                        emit_thread_index(e, bytes->columns[PLACE_LANE], bytes->bits[PLACE_LANE],
                                          bytes->columns[PLACE_WARP], bytes->bits[PLACE_WARP]),
                    .base = base};
}

/* ---- runs: registers that one instruction moves ------------------------------------------------
 */

typedef struct Run {
    uint32_t bits, bit[4]; /* register bits in order of their place in memory */
} Run;

static uint32_t spread_bits(const Run *run, uint32_t i) {
    uint32_t r = 0;
    for (uint32_t k = 0; k < run->bits; k++) r |= (i >> k & 1) << run->bit[k];
    return r;
}

static uint32_t run_mask(const Run *run) {
    return spread_bits(run, (1u << run->bits) - 1);
}

static Run longest_run(const Route *route, uint32_t widest) {
    const Layout *l = &route->bytes;
    Run run = {.bits = 0};
    while ((route->size << (run.bits + 1)) <= widest) {
        uint32_t wanted = route->size << run.bits, found = UINT32_MAX;
        for (uint32_t k = 0; k < l->bits[PLACE_REGISTER]; k++)
            if (l->columns[PLACE_REGISTER][k] == wanted) found = k;
        if (found == UINT32_MAX) break;
        run.bit[run.bits++] = found;
    }
    for (; run.bits; run.bits--) { /* nothing else may touch the offsets within a run */
        uint32_t low = (route->size << run.bits) - 1, mask = run_mask(&run);
        bool clean = true;
        for (int p = 0; p <= PLACE_WARP; p++)
            for (uint32_t k = 0; k < l->bits[p]; k++)
                if ((p || !(mask >> k & 1)) && (l->columns[p][k] & low)) clean = false;
        if (clean) break;
    }
    return run;
}

/* ---- ldmatrix and stmatrix
 * ----------------------------------------------------------------------- */

typedef struct MatrixPlan {
    bool trans;
    Run pair;       /* register bits within 4 bytes */
    Run matrices;   /* 0, 1 or 2 register bits that choose the matrix: x1, x2, x4 */
    Layout address; /* lane columns: where the row lies that lane i names */
} MatrixPlan;

static bool whole_rows(const uint32_t *columns, uint32_t count, uint32_t skip) {
    for (uint32_t k = 0; k < count; k++)
        if (!(skip >> k & 1) && (columns[k] & 15)) return false;
    return true;
}

static bool plan_matrices(const Route *route, MatrixPlan *plan) {
    const Layout *l = &route->bytes;
    const uint32_t *reg = l->columns[PLACE_REGISTER], *lane = l->columns[PLACE_LANE];
    const uint32_t bits = l->bits[PLACE_REGISTER];
    *plan = (MatrixPlan){.trans = false};
    for (uint32_t w = route->size; w < 4; w *= 2) {
        if (plan->pair.bits >= bits) return false;
        plan->pair.bit[plan->pair.bits] = plan->pair.bits;
        plan->pair.bits++;
    }
    if (!whole_rows(l->columns[PLACE_WARP], l->bits[PLACE_WARP], 0)) return false;
    const uint32_t pairs = run_mask(&plan->pair);
    bool plain = route->size <= 4 && lane[0] == 4 && lane[1] == 8 && whole_rows(lane + 2, 3, 0) &&
                 whole_rows(reg, bits, pairs);
    for (uint32_t k = 0; k < plan->pair.bits; k++) plain &= reg[k] == route->size << k;
    plan->trans = !plain && route->size == 2 && lane[2] == 2 && lane[3] == 4 && lane[4] == 8 &&
                  whole_rows(lane, 2, 0) && whole_rows(reg, bits, 0);
    if (!plain && !plan->trans) return false;
    for (uint32_t k = 0; k < bits && plan->matrices.bits < 2; k++)
        if (!(pairs >> k & 1)) plan->matrices.bit[plan->matrices.bits++] = k;
    uint32_t rows[3] = {lane[2], lane[3], lane[4]};
    if (plan->trans) rows[0] = reg[0], rows[1] = lane[0], rows[2] = lane[1];
    plan->address = *l;
    for (uint32_t k = 0; k < 5; k++) {
        uint32_t which = k - 3;
        plan->address.columns[PLACE_LANE][k] = k < 3 ? rows[k]
                                               : which < plan->matrices.bits
                                                   ? reg[plan->matrices.bit[which]]
                                                   : 0;
    }
    return true;
}

static const char *matrix_name(Emitter *e, const char *what, const MatrixPlan *plan) {
    return arena_printf(e->arena, "llvm.nvvm.%s.sync.aligned.m8n8.x%u%s.b16", what,
                        1u << plan->matrices.bits, plan->trans ? ".trans" : "");
}

/* Elements of word w (matrix w) of the group that starts at register r, and back. */
static void matrix_elements(const Route *route, const MatrixPlan *plan, uint32_t r, uint32_t w,
                            uint32_t *registers) {
    for (uint32_t i = 0; i < 4 / route->size; i++)
        registers[i] = r | spread_bits(&plan->matrices, w) | spread_bits(&plan->pair, i);
}

static void store_matrices(Emitter *e, const Route *route, const MatrixPlan *plan, Scalar base,
                           const Scalar *values) {
    const uint32_t skip = run_mask(&plan->pair) | run_mask(&plan->matrices);
    const uint32_t words = 1u << plan->matrices.bits, each = 4 / route->size;
    const char *name = matrix_name(e, "stmatrix", plan);
    Cursor cursor = cursor_for(e, &plan->address, base);
    for (uint32_t r = 0; r < route->registers; r++) {
        if (r & skip) continue;
        uint32_t at = layout_column_sum(&route->bytes, PLACE_REGISTER, r), registers[4];
        Scalar in[5] = {cursor_at(e, &cursor, at)}, part[4];
        for (uint32_t w = 0; w < words; w++) {
            matrix_elements(route, plan, r, w, registers);
            for (uint32_t i = 0; i < each; i++) part[i] = values[registers[i]];
            emit_pack(e, type_element(route->block), each, part, 4, in + 1 + w);
        }
        emit_intrinsic(e, name, e->shared, 1 + words, in);
    }
}

/* ---- blocks to and from shared memory
 * ------------------------------------------------------------- */

static uint32_t word_of(uint32_t bytes, uint32_t size) {
    return bytes < 4 ? bytes : size == 8 ? 8 : 4;
}

void emit_to_shared(Emitter *e, const Type *block, const Scalar *values, const Layout *shared,
                    Scalar base) {
    Route route = route_of(e, block, shared);
    const uint32_t copies = layout_copies(block->layout, PLACE_REGISTER);
    Scalar owner = emit_is_owner(e, block->layout), words[16], part[16];
    MatrixPlan plan;
    if (e->target->stmatrix && !owner && !copies && route.size == 2 &&
        plan_matrices(&route, &plan)) {
        store_matrices(e, &route, &plan, base, values);
        return;
    }
    Run run = longest_run(&route, 16);
    const uint32_t bytes = route.size << run.bits, word = word_of(bytes, route.size);
    const uint32_t mask = run_mask(&run), count = bytes / word;
    LLVMBasicBlockRef then, after = NULL;
    Cursor cursor = cursor_for(e, &route.bytes, base);
    if (owner) emit_branch_if(e, owner, &then, &after);
    for (uint32_t r = 0; r < route.registers; r++) {
        if (r & (mask | copies)) continue;
        for (uint32_t i = 0; i < 1u << run.bits; i++) part[i] = values[r | spread_bits(&run, i)];
        emit_pack(e, type_element(block), 1u << run.bits, part, word, words);
        Scalar value = words[0];
        if (count > 1) {
            value = LLVMGetPoison(LLVMVectorType(int_type(e, 8 * word), count));
            for (uint32_t i = 0; i < count; i++)
                value = LLVMBuildInsertElement(e->builder, value, words[i], emit_i32(e, i), "");
        }
        uint32_t at = layout_column_sum(&route.bytes, PLACE_REGISTER, r);
        LLVMSetAlignment(LLVMBuildStore(e->builder, value, cursor_at(e, &cursor, at)), bytes);
    }
    if (owner) emit_join(e, after);
}

struct SharedBlock {
    Route route;
    bool matrices;
    MatrixPlan plan; /* when `matrices`, else: */
    Run run;
    Cursor cursor;
    Scalar *values;
};

SharedBlock *emit_shared_open(Emitter *e, const Type *block, Scalar *values, const Layout *shared,
                              Scalar base) {
    SharedBlock *s = arena_new(e->arena, SharedBlock);
    *s = (SharedBlock){.route = route_of(e, block, shared), .values = values};
    s->run = longest_run(&s->route, 16);
    s->matrices = s->route.size << s->run.bits < 16 && s->route.size <= 4 &&
                  plan_matrices(&s->route, &s->plan);
    s->cursor = cursor_for(e, s->matrices ? &s->plan.address : &s->route.bytes, base);
    return s;
}

/* The ldmatrix that brings register r. */
static void fetch_matrices(Emitter *e, SharedBlock *s, uint32_t r) {
    const MatrixPlan *plan = &s->plan;
    const uint32_t words = 1u << plan->matrices.bits, each = 4 / s->route.size;
    r &= ~(run_mask(&plan->pair) | run_mask(&plan->matrices));
    uint32_t at = layout_column_sum(&s->route.bytes, PLACE_REGISTER, r), registers[4];
    Scalar got = INTRINSIC_OF(e, matrix_name(e, "ldmatrix", plan), e->shared,
                              cursor_at(e, &s->cursor, at)),
           part[4];
    for (uint32_t w = 0; w < words; w++) {
        Scalar word = words == 1 ? got : emit_part(e, got, w);
        emit_unpack(e, type_element(s->route.block), each, &word, 4, part);
        matrix_elements(&s->route, plan, r, w, registers);
        for (uint32_t i = 0; i < each; i++) s->values[registers[i]] = part[i];
    }
}

/* The load that brings register r. */
static void fetch_run(Emitter *e, SharedBlock *s, uint32_t r) {
    const uint32_t bytes = s->route.size << s->run.bits, word = word_of(bytes, s->route.size);
    const uint32_t count = bytes / word;
    Scalar words[16], part[16];
    ScalarType type = int_type(e, 8 * word);
    if (count > 1) type = LLVMVectorType(type, count);
    r &= ~run_mask(&s->run);
    uint32_t at = layout_column_sum(&s->route.bytes, PLACE_REGISTER, r);
    Scalar load = LLVMBuildLoad2(e->builder, type, cursor_at(e, &s->cursor, at), "");
    LLVMSetAlignment(load, bytes);
    for (uint32_t i = 0; i < count; i++)
        words[i] =
            count == 1 ? load : LLVMBuildExtractElement(e->builder, load, emit_i32(e, i), "");
    emit_unpack(e, type_element(s->route.block), 1u << s->run.bits, words, word, part);
    for (uint32_t i = 0; i < 1u << s->run.bits; i++)
        s->values[r | spread_bits(&s->run, i)] = part[i];
}

Scalar emit_shared_fetch(Emitter *e, SharedBlock *s, uint32_t r) {
    if (s->values[r]) return s->values[r];
    if (s->matrices)
        fetch_matrices(e, s, r);
    else
        fetch_run(e, s, r);
    return s->values[r];
}

void emit_from_shared(Emitter *e, const Type *block, Scalar *values, const Layout *shared,
                      Scalar base) {
    const uint32_t count = register_count(block);
    memset(values, 0, count * sizeof *values);
    SharedBlock *s = emit_shared_open(e, block, values, shared, base);
    for (uint32_t r = 0; r < count; r++) emit_shared_fetch(e, s, r);
}

/* ---- the ops -----------------------------------------------------------------------------------
 */

void emit_shared_alloc(Emitter *e, const Op *op) {
    e->values[op->results[0].number] = arena_new(e->arena, Scalar);
    emit_values(e, &op->results[0])[0] = emit_i32(e, op_int(op, ATTR_scratch, 0));
}

/* Byte offset of the buffer that operand 1 numbers. */
static Scalar buffer_base(Emitter *e, const Op *op) {
    const Type *shared = op_operand(op, 0)->type;
    uint32_t bytes = shared->count * type_element_size(shared->element);
    Scalar offset = LLVMBuildMul(e->builder, emit_scalar(e, op, 1), emit_i32(e, bytes), "");
    return LLVMBuildAdd(e->builder, offset, emit_scalar(e, op, 0), "");
}

void emit_shared_store(Emitter *e, const Op *op) {
    emit_to_shared(e, op_operand(op, 2)->type, emit_operand(e, op, 2),
                   op_operand(op, 0)->type->layout, buffer_base(e, op));
}

/* Is this op a renaming of registers, or one that leaves shared memory as it is? */
static bool is_harmless(const Op *op) {
    return op->code == OP_shared_load ||
           (op_is_pure(op) && !op->region_count && !op_attribute(op, ATTR_scratch));
}

/* The one dot, further down in the same region, that reads the value as it is in shared memory: it
 * fetches what it needs when it needs it, and few registers hold operands at a time. */
static bool waits_for_dot(const Op *load) {
    const Value *v = &load->results[0];
    const Op *user = NULL;
    while (v->uses && !v->uses->next) {
        user = v->uses->user;
        if (user->parent != load->parent || user->code == OP_dot) break;
        if (!emit_is_renaming(user)) return false;
        v = &user->results[0];
    }
    if (!user || user->parent != load->parent || user->code != OP_dot) return false;
    if (v == op_operand(user, 2)) return false;
    for (const Op *op = load->next; op != user; op = op->next)
        if (!is_harmless(op)) return false;
    return true;
}

void emit_shared_load(Emitter *e, const Op *op) {
    Scalar base = buffer_base(e, op), *values = emit_result(e, op, 0);
    const Type *block = op->results[0].type;
    const Layout *shared = op_operand(op, 0)->type->layout;
    if (!waits_for_dot(op)) {
        emit_from_shared(e, block, values, shared, base);
        return;
    }
    memset(values, 0, register_count(block) * sizeof *values);
    e->waiting[op->results[0].number] = emit_shared_open(e, block, values, shared, base);
}

/* ---- cp.async ----------------------------------------------------------------------------------
 */

/* Elements that one copy takes: a run in shared memory that is one in global memory too. */
static Run copy_run(Emitter *e, const Op *op, const Route *route) {
    const Value *pointers = op_operand(op, 2);
    const Value *mask = op->operand_count > 3 ? op_operand(op, 3) : NULL;
    Run run = longest_run(route, 16);
    for (uint32_t k = 0; k < run.bits; k++)
        if (run.bit[k] != k) run.bits = k;
    uint32_t vector = emit_access_vector(e, pointers, mask, route->size);
    while (run.bits && 1u << run.bits > vector) run.bits--;
    return run;
}

/* [@predicate] cp.async [to + offset], [from], bytes [, bytes or 0]; the mask fills with zeros. */
static void copy_at(Emitter *e, const Op *op, Scalar to, uint32_t offset, Scalar from, Scalar mask,
                    Scalar predicate, uint32_t bytes) {
    const bool bypass = bytes == 16 && op_word(op, ATTR_cache, WORD_cg) != WORD_ca;
    Text text = {.arena = e->arena};
    Scalar in[4] = {to, from};
    uint32_t n = 2;
    if (predicate) text_printf(&text, "@$%u ", mask ? 3 : 2);
    text_printf(&text, "cp.async.%s.shared.global [$0+%u], [$1], %u", bypass ? "cg" : "ca", offset,
                bytes);
    if (mask) {
        text_puts(&text, ", $2");
        in[n++] = LLVMBuildSelect(e->builder, mask, emit_i32(e, bytes), emit_i32(e, 0), "");
    }
    text_puts(&text, ";");
    if (predicate) in[n++] = predicate;
    emit_asm(e, text.data,
             mask        ? predicate ? "r,l,r,b" : "r,l,r"
             : predicate ? "r,l,b"
                         : "r,l",
             e->nothing, n, in, true);
}

static Scalar unless_true(Scalar mask) {
    if (mask && LLVMIsAConstantInt(mask) && LLVMConstIntGetZExtValue(mask)) return NULL;
    return mask;
}

void emit_async_copy(Emitter *e, const Op *op) {
    const Type *pointers = op_operand(op, 2)->type, *shared = op_operand(op, 0)->type;
    const Type *block = type_with_element(&e->module->types, pointers, shared->element);
    Route route = route_of(e, block, shared->layout);
    const Scalar *from = emit_operand(e, op, 2);
    const Scalar *mask = op->operand_count > 3 ? emit_operand(e, op, 3) : NULL;
    const bool skip = op_int(op, ATTR_skip, 0);
    const uint32_t copies = layout_copies(block->layout, PLACE_REGISTER);
    Run run = copy_run(e, op, &route);
    const uint32_t bytes = route.size << run.bits;
    if (bytes < 4) emit_fail(e, "an asynchronous copy of fewer than 4 bytes a thread");
    Scalar base = buffer_base(e, op), owner = emit_is_owner(e, block->layout);
    Cursor cursor = cursor_for(e, &route.bytes, base);
    for (uint32_t r = 0; r < route.registers; r++) {
        if (r & (run_mask(&run) | copies)) continue;
        uint32_t at = layout_column_sum(&route.bytes, PLACE_REGISTER, r);
        uint32_t apart = at & ~cursor.thread.mask;
        Scalar on = mask ? unless_true(mask[r]) : NULL, predicate = owner;
        if (skip && on) {
            predicate = owner ? LLVMBuildAnd(e->builder, owner, on, "") : on;
            on = NULL;
        }
        copy_at(e, op, cursor_at(e, &cursor, at & ~apart), apart, from[r], on, predicate, bytes);
    }
}

void emit_async_commit(Emitter *e) {
    emit_intrinsic(e, "llvm.nvvm.cp.async.commit.group", NULL, 0, NULL);
}

void emit_async_wait(Emitter *e, const Op *op) {
    INTRINSIC(e, "llvm.nvvm.cp.async.wait.group", emit_i32(e, op_int(op, ATTR_count, 0)));
}
