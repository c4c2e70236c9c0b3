/* ahead.c: what the next program, or the next turn of a loop, will load is asked for while this one
 * computes.
 *
 * A program that loads a row, computes from its copy in scratch, and stores the result leaves
 * memory idle in the middle. There, beside the first nest that reads the copy, each vector's
 * address is moved on by one program and prefetched. How far that is comes from the pointer itself:
 * its derivative by program_id(0), which is a scalar for everything but swizzled orders.
 *
 * In a loop, operands of products are packed at its start, and memory is idle while they are
 * multiplied: packing asks for what the next turn packs, by the derivative with respect to turns.
 *
 * A prefetch is only a hint: a wrong guess costs an instruction and is never an error.
 */
#include "compiler/cpu/emit.h"

enum { LEAST_BYTES = 1024 }; /* of a block: less is there before one could ask */
enum { MOST_VISITS = 256 };  /* of values on the way to a derivative */

/* By what, and how often values were visited so far: once for each way that leads to them. */
typedef struct By {
    Emitter *e;
    const Op *loop; /* its turns; NULL: program_id(0) */
    uint32_t visits;
} By;

/* d value / d turn of the loop, or / d program_id(0): an i64; NULL: 0. False: not known, or not the
 * same for all lanes. */
static bool derivative(By *by, const Value *value, Reg *change);

static Reg extended(Emitter *e, const Value *scalar) {
    return LLVMBuildSExtOrBitCast(e->b, scalar_of(e, scalar), e->i64, "");
}

static bool is_inside(const Value *value, const Op *loop) {
    if (value->op) return op_is_inside(value->op, loop->regions[0]);
    for (const Region *r = value->region; r; r = r->parent ? r->parent->parent : NULL)
        if (r == loop->regions[0]) return true;
    return false;
}

/* What the loop counts, or a scalar it carries and adds the same to each time. */
static bool derivative_of_argument(Emitter *e, const Op *loop, const Value *value, Reg *change) {
    const Region *body = loop->regions[0];
    if (type_is_block(value->type) || value->region != body) return false;
    if (value == body->arguments[0]) {
        *change = extended(e, op_operand(loop, 2));
        return true;
    }
    for (uint32_t i = 0; i < loop->result_count; i++) {
        if (body->arguments[i + 1] != value) continue;
        const Op *sum = op_operand(body->last, i)->op;
        if (!sum || sum->code != OP_add || !dtype_is_int(type_dtype(value->type))) return false;
        const bool second = op_operand(sum, 1) == value;
        const Value *amount = op_operand(sum, second ? 0 : 1);
        if (amount->op && amount->op->code == OP_cast) amount = op_operand(amount->op, 0);
        if (op_operand(sum, second ? 1 : 0) != value || is_inside(amount, loop)) return false;
        *change = extended(e, amount);
        return true;
    }
    return false;
}

static bool derivative_of_product(By *by, const Op *op, Reg *change) {
    Emitter *e = by->e;
    Reg d[2];
    for (uint32_t i = 0; i < 2; i++)
        if (!derivative(by, op_operand(op, i), &d[i])) return false;
    *change = NULL;
    if (!d[0] && !d[1]) return true;
    const Value *other = op_operand(op, d[0] ? 1 : 0);
    if (d[0] && d[1]) return false;
    while (other->op && other->op->code == OP_splat) other = op_operand(other->op, 0);
    if (type_is_block(other->type)) return false;
    *change = LLVMBuildMul(e->b, d[0] ? d[0] : d[1], extended(e, other), "");
    return true;
}

static bool derivative_of_sum(By *by, const Op *op, Reg *change) {
    Emitter *e = by->e;
    Reg d[2];
    for (uint32_t i = 0; i < 2; i++)
        if (!derivative(by, op_operand(op, i), &d[i])) return false;
    if (op->code == OP_offset && d[1]) {
        const Type *element = type_element(op_operand(op, 0)->type)->element;
        d[1] = LLVMBuildMul(e->b, d[1], const_i64(e, type_element_size(element)), "");
    }
    if (op->code == OP_sub && d[1]) d[1] = LLVMBuildNeg(e->b, d[1], "");
    *change = d[0] && d[1] ? LLVMBuildAdd(e->b, d[0], d[1], "") : d[0] ? d[0] : d[1];
    return true;
}

static bool derivative(By *by, const Value *value, Reg *change) {
    Emitter *e = by->e;
    const Op *loop = by->loop;
    const Op *op = value->op;
    *change = NULL;
    if (by->visits++ == MOST_VISITS) return false;
    if (loop && !is_inside(value, loop)) return true;
    if (!op && loop) return derivative_of_argument(e, loop, value, change);
    if (!op) return !type_is_block(value->type);
    if (type_is_block(value->type) && info_of(e, value)->stored) return false;
    if (!type_is_pointer(value->type) && !dtype_is_int(type_dtype(value->type))) return false;
    switch (op->code) {
    case OP_program_id:
        if (!loop && op_int(op, ATTR_axis, 0) == 0) *change = const_i64(e, 1);
        return true;
    case OP_constant:
    case OP_arange: return true;
    case OP_splat:
    case OP_broadcast:
    case OP_expand_dims:
    case OP_permute:
    case OP_reshape:
    case OP_hint:
    case OP_bitcast:
    case OP_cast: return derivative(by, op_operand(op, 0), change);
    case OP_add:
    case OP_sub:
    case OP_offset: return derivative_of_sum(by, op, change);
    case OP_mul: return derivative_of_product(by, op, change);
    case OP_rem: /* but for the end of a row of programs; a quotient changes only there */
        return derivative(by, op_operand(op, 0), change);
    default: break;
    }
    if (type_is_block(value->type) || op->region_count) return false;
    const bool quotient = op->code == OP_div;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!derivative(by, op_operand(op, i), change) || (*change && !quotient)) return false;
    *change = NULL;
    return true;
}

void ask_ahead(Nest *nest, const Value *value, const Place *place) {
    Emitter *e = nest->e;
    const Op *op = value->op;
    ValueInfo *info = info_of(e, value);
    if (!op || e->bounds || op->code != OP_load || info->asked_ahead || op->parent != e->region ||
        op->parent != e->module->kernel->body || nest->width == 1)
        return;
    const uint32_t size = type_element_size(type_element(value->type));
    const Value *pointer = op_operand(op, 0);
    By by = {.e = e};
    Reg change, base, step;
    if ((uint64_t)value->type->count * size < LEAST_BYTES || info_of(e, pointer)->has_load ||
        !derivative(&by, pointer, &change) || !change ||
        !eval_affine(nest, pointer, place, &base, &step) || !LLVMIsConstant(step) ||
        LLVMConstIntGetZExtValue(step) != size)
        return;
    Reg operands[4] = {as_pointer(e, LLVMBuildAdd(e->b, base, change, "")), const_i32(e, 0),
                       const_i32(e, 2), const_i32(e, 1)};
    call_intrinsic(e, "llvm.prefetch", 4, operands);
    vec_push(e->arena, &nest->asked, value);
}

void ask_next_turn(Nest *nest, const Op *load, Reg base) {
    Emitter *e = nest->e;
    const Op *loop = e->region->parent;
    By by = {.e = e, .loop = loop};
    Reg change;
    if (e->bounds || !loop || loop->code != OP_for || load->parent != e->region ||
        !derivative(&by, op_operand(load, 0), &change) || !change)
        return;
    Reg operands[4] = {as_pointer(e, LLVMBuildAdd(e->b, base, change, "")), const_i32(e, 0),
                       const_i32(e, 2), const_i32(e, 1)};
    call_intrinsic(e, "llvm.prefetch", 4, operands);
}
