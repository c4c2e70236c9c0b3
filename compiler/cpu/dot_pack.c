/* dot_pack.c: operands of matrix products, converted and laid out for the inner loop.
 *
 * Elements are taken in the direction in which they are neighbours where they come from. When that
 * is along m or n, a vector of them goes to a panel as it is (of pairs: two, interleaved); when it
 * is along k, rows of `a` stay rows, and those of `b` are transposed, a square of vectors at a
 * time, from a few converted rows that are in the first cache.
 */
#include "compiler/cpu/dot.h"

#include <stdio.h>

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

/* f32 rounded to bf16 on the way here only. */
static bool is_rounded_here(const Dot *d, const Value *v) {
    const ValueInfo *info = info_of(d->e, v);
    return d->kind == DOT_BF16_PAIRS && v->op && v->op->code == OP_cast && !info->ready &&
           !info->stored && type_dtype(op_operand(v->op, 0)->type) == DT_f32 &&
           op_word(v->op, ATTR_rounding, WORD_rtne) != WORD_rtz;
}

/* Elements at a place as the product takes them: i8 quads of a with 128 added. The machine's own
 * rounding to bf16 takes denormal numbers for zero, as its product will. */
static Reg element(const Dot *d, Nest *nest, const Value *v, const Place *place, uint32_t width,
                   bool is_a) {
    Emitter *e = d->e;
    if (is_rounded_here(d, v)) {
        Reg x = splat_reg(e, eval(nest, op_operand(v->op, 0), place), width);
        RegType bf16 = LLVMBFloatTypeInContext(e->context);
        x = LLVMBuildFPTrunc(e->b, x, lanes_type(bf16, width), "");
        return LLVMBuildBitCast(e->b, x, lanes_type(e->i16, width), "");
    }
    Reg x = code_cast(e, type_dtype(v->type), d->wide, false, eval(nest, v, place));
    if (d->kind == DOT_I8_QUADS && is_a) x = LLVMBuildXor(e->b, x, const_int_like(x, 0x80), "");
    return splat_reg(e, d->tf32 ? round_tf32(e, x) : x, width);
}

/* ---- where neighbours are ----------------------------------------------------------- */

/* Does the address go up by one element from lane to lane along the dimension? */
static bool load_follows(Emitter *e, const Op *load, uint32_t dim) {
    const Type *type = load->results[0].type;
    const uint32_t size = type_element_size(type);
    if (type->shape[dim] == 1) return false;
    Nest nest = {.e = e, .space = type, .width = e->lanes, .lane_dim = dim};
    nest.place.rank = type->rank;
    for (uint32_t d = 0; d < type->rank; d++)
        nest.place.at[d] = (Coord){d == dim ? COORD_STEP : COORD_ONE, false, const_i64(e, 0)};
    Reg base, step;
    const bool good = eval_affine(&nest, op_operand(load, 0), &nest.place, &base, &step) &&
                      LLVMIsConstant(step) && LLVMConstIntGetZExtValue(step) == size;
    nest_forget(&nest);
    return good;
}

static uint32_t find_neighbours(Emitter *e, const Value *v, uint32_t walk) {
    ValueInfo *info = info_of(e, v);
    const uint32_t last = v->type->rank - 1;
    if (info->ready || info->stored || !v->op || info->mark == walk) return last;
    info->mark = walk;
    if (v->op->code == OP_permute) {
        const uint32_t from = find_neighbours(e, op_operand(v->op, 0), walk);
        const int64_t *order = op_attribute(v->op, ATTR_order)->ints;
        for (uint32_t d = 0; d <= last; d++)
            if (order[d] == from) return d;
    }
    if (v->op->code == OP_load)
        return !load_follows(e, v->op, last) && load_follows(e, v->op, last - 1) ? last - 1 : last;
    if (op_is(v->op, OPF_ELEMENT))
        for (uint32_t i = 0; i < v->op->operand_count; i++) {
            const Value *x = op_operand(v->op, i);
            if (!type_is_block(x->type) || (info->has_load && !info_of(e, x)->has_load)) continue;
            const uint32_t dim = find_neighbours(e, x, walk);
            if (dim != last) return dim;
        }
    return last;
}

/* The dimension along which the elements of a value that is prepared are neighbours. */
static uint32_t neighbour_dim(Emitter *e, const Value *v) {
    e->walk += 2;
    return find_neighbours(e, v, e->walk);
}

/* ---- packing ------------------------------------------------------------------------ */

/* `x` is the dimension that is not k: m of a is the last but one, n of b the last. */
static bool is_a_along(const Value *v, uint32_t x) {
    return x == v->type->rank - 2;
}

/* Rows along x: some of one matrix of the value; all of all its matrices when batch is NULL. */
typedef struct Part {
    Reg batch, first;
    uint32_t count;
} Part;

/* a * factor + b, before the innermost loop: coordinates that do not change there come from
 * outside.
 */
static Reg coordinate(Nest *nest, Reg a, uint64_t factor, Reg b) {
    Emitter *e = nest->e;
    const Loop *lanes = &nest->loops[nest->loop_count - 1];
    if (lanes->once) return dot_mul_add(e, a, factor, b);
    const LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
    LLVMPositionBuilderBefore(e->b, lanes->branch);
    Reg sum = dot_mul_add(e, a, factor, b);
    LLVMPositionBuilderAtEnd(e->b, here);
    return sum;
}

static uint32_t k_dim(const Value *v, uint32_t x) {
    const uint32_t last = v->type->rank - 1;
    return x == last ? last - 1 : last;
}

static Reg element_at(const Dot *d, uint64_t slot, Reg index) {
    Reg offset = LLVMBuildMul(d->e->b, index, const_i64(d->e, dtype_size(d->wide)), "");
    return byte_offset(d->e, slot_pointer(d->e, slot), offset);
}

/* Converted rows, one for each place along `x`, with `pitch` units from one to the next. */
static void pack_rows(const Dot *d, const Value *v, uint32_t x, const Part *part, uint64_t slot,
                      uint64_t pitch) {
    Emitter *e = d->e;
    const uint32_t k = k_dim(v, x);
    const Type *space = v->type;
    if (part->batch) {
        uint32_t shape[MAX_RANK];
        memcpy(shape, space->shape, sizeof shape);
        if (space->rank == 3) shape[0] = 1;
        shape[x] = part->count;
        space = type_block(&e->module->types, type_element(v->type), space->rank, shape);
    }
    const uint32_t width = usual_width(e, space, k);
    prepare(e, v, space, space == v->type);
    Nest nest;
    nest_open(&nest, e, space, k, width);
    nest.next_turn = true;
    Reg row = nest.place.at[x].base;
    if (part->batch) {
        nest.place.at[x].base = coordinate(&nest, row, 1, part->first);
        if (space->rank == 3) nest.place.at[0].base = part->batch;
    } else if (space->rank == 3) {
        row = dot_mul_add(e, nest.place.at[0].base, space->shape[x], row);
    }
    Reg elements = element(d, &nest, v, &nest.place, width, is_a_along(v, x));
    Reg at = dot_mul_add(e, row, pitch * d->per_unit, nest.place.at[k].base);
    store_reg(e, elements, element_at(d, slot, at), dtype_size(d->wide));
    nest_close(&nest);
}

static Reg interleave(Emitter *e, Reg a, Reg b, uint32_t width) {
    int order[256];
    if (width == 1) {
        Reg both = LLVMGetPoison(LLVMVectorType(LLVMTypeOf(a), 2));
        both = LLVMBuildInsertElement(e->b, both, a, const_i64(e, 0), "");
        return LLVMBuildInsertElement(e->b, both, b, const_i64(e, 1), "");
    }
    for (uint32_t i = 0; i < 2 * width; i++) order[i] = (int)(i / 2 + i % 2 * width);
    return shuffle(e, a, b, 2 * width, order);
}

/* Of a unit of the panel that begins at x for this k. */
static Reg panel_unit(const Dot *d, uint32_t extent, uint32_t panel, Reg batch, Reg x, Reg k) {
    Emitter *e = d->e;
    Reg number = LLVMBuildLShr(e->b, x, const_i64(e, __builtin_ctz(panel)), "");
    number = dot_mul_add(e, batch, extent / panel, number);
    Reg rest = LLVMBuildAnd(e->b, x, const_i64(e, panel - 1), "");
    return dot_mul_add(e, dot_mul_add(e, number, d->k, k), panel, rest);
}

/* One vector of units of a panel, or of several. */
static void pack_vector(const Dot *d, Nest *nest, const Value *v, uint32_t x, uint32_t panel,
                        Reg unit, uint64_t slot) {
    Emitter *e = d->e;
    Place *place = &nest->place;
    const uint32_t width = nest->width, k = k_dim(v, x);
    Reg batch = v->type->rank == 3 ? place->at[0].base : const_i64(e, 0);
    Reg part[4] = {NULL};
    for (uint32_t i = 0; i < d->per_unit; i++) {
        if (d->per_unit > 1)
            place->at[k].base = coordinate(nest, unit, d->per_unit, const_i64(e, i));
        part[i] = element(d, nest, v, place, width, is_a_along(v, x));
    }
    if (d->per_unit == 4) {
        part[0] = interleave(e, part[0], part[2], width);
        part[1] = interleave(e, part[1], part[3], width);
    }
    Reg units = part[0];
    if (d->per_unit > 1) units = interleave(e, part[0], part[1], width_of(part[0]));
    Reg at = panel_unit(d, v->type->shape[x], panel, batch, place->at[x].base, unit);
    store_reg(e, units, dot_unit_at(d, slot, at), dtype_size(d->wide));
}

/* Panels of what has its neighbours along `x`: a vector for each unit; vectors of units of several
 * are interleaved. Few vectors a row of a masked load are written one after the other: their masks
 * mostly stay the same from row to row. */
static void pack_panels(const Dot *d, const Value *v, uint32_t x, uint32_t panel, uint64_t slot) {
    enum { FEW = 8 };
    Emitter *e = d->e;
    const uint32_t k = k_dim(v, x), r = v->type->rank;
    uint32_t shape[MAX_RANK];
    memcpy(shape, v->type->shape, sizeof shape);
    const uint32_t extent = shape[x], width = panel < d->width ? panel : d->width;
    const bool few = v->op && v->op->code == OP_load && v->op->operand_count > 1 &&
                     !info_of(e, v)->ready && !info_of(e, v)->stored && d->per_unit == 1 &&
                     extent > width && extent / width <= FEW;
    shape[k] = d->k;
    if (few) shape[x] = width;
    const Type *space = type_block(&e->module->types, type_element(v->type), r, shape);
    prepare(e, v, space, space == v->type);
    Nest nest;
    nest_open(&nest, e, space, x, width);
    nest.next_turn = true;
    Reg unit = nest.place.at[k].base;
    for (uint32_t i = 0; i < (few ? extent / width : 1); i++) {
        if (few) nest.place.at[x].base = const_i64(e, i * width);
        pack_vector(d, &nest, v, x, panel, unit, slot);
    }
    nest_close(&nest);
}

/* Of each part of `part` elements: the first (or second) halves of both, in turns of `run`. */
static Reg unpack(Emitter *e, uint32_t n, uint32_t part, uint32_t run, bool second, Reg a, Reg b) {
    int order[64];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = i % part, turn = at / (2 * run);
        const uint32_t from = i - at + second * part / 2 + turn * run + at % run;
        order[i] = (int)(at / run % 2 ? n + from : from);
    }
    return shuffle(e, a, b, n, order);
}

/* Two of the 4 (or 2) parts of a, then of b: first, first + step ... */
static Reg take_parts(Emitter *e, uint32_t n, uint32_t part, uint32_t first, uint32_t step, Reg a,
                      Reg b) {
    int order[64];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = i % (n / 2) / part;
        order[i] = (int)((i < n / 2 ? 0 : n) + (first + number * step) * part + i % part);
    }
    return shuffle(e, a, b, n, order);
}

/* rows[i] lane j <-> rows[j] lane i, by what machines do in one instruction: within parts of 16
 * bytes elements and pairs are unpacked; then parts change places. */
static void transpose(Emitter *e, uint32_t n, uint32_t size, Reg *rows) {
    const uint32_t part = n < 16 / size ? n : 16 / size, groups = n / part;
    Reg mixed[64];
    for (uint32_t run = 1; run < part; run *= 2) {
        for (uint32_t i = 0; i < n / 2; i++) { /* pairs of rows, `run` apart, in order */
            const uint32_t low = i / run * 2 * run + i % run, group = low / part * part;
            const uint32_t to = group + (i - group / 2) * 2;
            mixed[to] = unpack(e, n, part, run, false, rows[low], rows[low + run]);
            mixed[to + 1] = unpack(e, n, part, run, true, rows[low], rows[low + run]);
        }
        memcpy(rows, mixed, n * sizeof *rows);
    }
    for (uint32_t j = 0; j < part && groups > 1; j++) {
        Reg x[4], *w = mixed;
        for (uint32_t g = 0; g < groups; g++) w[g] = rows[g * part + j];
        if (groups == 2) {
            for (uint32_t l = 0; l < 2; l++)
                rows[l * part + j] = take_parts(e, n, part, l, 1, w[0], w[1]);
            continue;
        }
        for (uint32_t l = 0; l < 4; l++)
            x[l] = take_parts(e, n, part, l / 2 * 2, 1, w[l % 2 * 2], w[l % 2 * 2 + 1]);
        for (uint32_t l = 0; l < 4; l++)
            rows[l * part + j] = take_parts(e, n, part, l % 2, 2, x[l / 2 * 2], x[l / 2 * 2 + 1]);
    }
}

/* A function that transposes `side` rows of `count` units, square by square; steps are bytes. */
static Reg transpose_function(const Dot *d, uint32_t side) {
    enum { FROM, TO, FROM_STEP, TO_STEP, UNITS, ARGUMENTS };
    Emitter *e = d->e;
    char name[48];
    snprintf(name, sizeof name, "tkc.transpose.%u.%u", d->size, side);
    RegType types[ARGUMENTS] = {e->pointer, e->pointer, e->i64, e->i64, e->i64};
    RegType unit = d->size == 8 ? e->i64 : e->i32;
    Function f;
    if (!function_open(e, &f, name, NULL, types, ARGUMENTS)) return f.value;
    Loop loop;
    loop_open(e, &loop, f.arguments[UNITS], side, 0, NULL);
    Reg rows[64], far = LLVMBuildMul(e->b, loop.index, const_i64(e, d->size), "");
    Reg from = byte_offset(e, f.arguments[FROM], far);
    Reg to =
        byte_offset(e, f.arguments[TO], LLVMBuildMul(e->b, loop.index, f.arguments[TO_STEP], ""));
    for (uint32_t i = 0; i < side; i++) {
        Reg step = LLVMBuildMul(e->b, f.arguments[FROM_STEP], const_i64(e, i), "");
        rows[i] = load_reg(e, lanes_type(unit, side), byte_offset(e, from, step), d->size);
    }
    if (side > 1) transpose(e, side, d->size, rows);
    for (uint32_t i = 0; i < side; i++) {
        Reg step = LLVMBuildMul(e->b, f.arguments[TO_STEP], const_i64(e, i), "");
        store_reg(e, rows[i], byte_offset(e, to, step), d->size);
    }
    loop_close(e, &loop);
    function_close(e, &f, NULL);
    return f.value;
}

/* Units from row to row such that rows do not meet in few sets of the cache. */
static uint64_t pitch_for(const Dot *d) {
    return (uint64_t)d->k * d->size % 1024 ? d->k : d->k + 64 / d->size;
}

/* Panels of b from rows along k: those that lie at `rows`, or, when it is NULL, the value's, some
 * at a time. */
static void pack_transposed(const Dot *d, const Value *v, const uint64_t *rows, uint64_t slot) {
    Emitter *e = d->e;
    const uint32_t side = d->k < d->width ? d->k : d->width, panel = dot_panel(d);
    const uint64_t pitch = rows ? d->k : pitch_for(d), bytes = dot_bytes(d, side * pitch);
    const uint64_t from = rows ? *rows : slot_alloc(e, bytes);
    Reg function = transpose_function(d, side);
    if (!rows) prepare(e, v, type_element(v->type), false);
    Loop batch, column;
    loop_open(e, &batch, const_i64(e, d->batch), 1, 0, NULL);
    loop_open(e, &column, const_i64(e, d->n), side, 0, NULL);
    Reg first = const_i64(e, 0);
    if (rows) {
        first = dot_mul_add(e, dot_mul_add(e, batch.index, d->n, column.index), d->k, first);
    } else {
        const Part part = {batch.index, column.index, side};
        pack_rows(d, v, v->type->rank - 1, &part, from, pitch);
    }
    Reg to = panel_unit(d, d->n, panel, batch.index, column.index, const_i64(e, 0));
    Reg arguments[] = {dot_unit_at(d, from, first), dot_unit_at(d, slot, to),
                       const_i64(e, (int64_t)(pitch * d->size)),
                       const_i64(e, (int64_t)panel * d->size), const_i64(e, d->k)};
    function_call(e, function, arguments, ARRAY_LENGTH(arguments));
    loop_close(e, &column);
    loop_close(e, &batch);
    if (!rows) slot_free(e, from, bytes);
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

static void give_room(const Dot *d, Pack *p, uint64_t units) {
    p->owned = true;
    p->bytes = dot_bytes(d, units);
    p->slot = slot_alloc(d->e, p->bytes);
}

static Pack pack_a(const Dot *d, const Value *v) {
    Emitter *e = d->e;
    const uint32_t x = v->type->rank - 2;
    const uint64_t lines = (uint64_t)d->batch * d->m;
    Pack p = {.value = v, .tf32 = d->tf32, .kind = d->kind, .pitch = d->k};
    if (d->kind != DOT_I8_QUADS && in_place(d, v)) {
        p.slot = info_of(e, v)->slot;
        return p;
    }
    prepare(e, v, v->type, true);
    if (neighbour_dim(e, v) == x) {
        p.panel = d->rows;
        give_room(d, &p, lines * d->k);
        pack_panels(d, v, x, d->rows, p.slot);
        return p;
    }
    p.pitch = pitch_for(d);
    give_room(d, &p, lines * p.pitch);
    pack_rows(d, v, x, &(Part){0}, p.slot, p.pitch);
    return p;
}

static Pack pack_b(const Dot *d, const Value *v) {
    Emitter *e = d->e;
    const uint32_t panel = dot_panel(d), x = v->type->rank - 1;
    Pack p = {.value = v, .is_b = true, .tf32 = d->tf32, .kind = d->kind, .panel = panel};
    const uint64_t units = (uint64_t)d->batch * d->k * d->n;
    const Value *rows = transposed(e, v);
    if (d->n == panel && d->batch == 1 && d->per_unit == 1 && !rows && in_place(d, v)) {
        p.slot = info_of(e, v)->slot;
    } else if (rows && in_place(d, rows)) {
        give_room(d, &p, units);
        pack_transposed(d, v, &info_of(e, rows)->slot, p.slot);
    } else {
        prepare(e, v, v->type, true);
        const bool along_n = neighbour_dim(e, v) == x;
        give_room(d, &p, units);
        if (along_n)
            pack_panels(d, v, x, panel, p.slot);
        else
            pack_transposed(d, v, NULL, p.slot);
    }
    return p;
}

static const Pack *find_pack(const Dot *d, const Value *v, bool is_b) {
    const uint32_t panel = is_b ? dot_panel(d) : d->rows;
    for (uint32_t i = 0; i < d->e->packs.length; i++) {
        const Pack *p = d->e->packs.data[i];
        if (p->value == v && p->is_b == is_b && p->tf32 == d->tf32 && p->kind == d->kind &&
            (!p->panel || p->panel == panel))
            return p;
    }
    return NULL;
}

Pack dot_operand(const Dot *d, uint32_t index) {
    const Value *v = op_operand(d->op, index);
    const Pack *found = find_pack(d, v, index == 1);
    if (found) {
        Pack p = *found;
        p.owned = false;
        return p;
    }
    return index == 1 ? pack_b(d, v) : pack_a(d, v);
}

/* ---- before loops --------------------------------------------------------------------- */

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
