/* canon_element.c: rules for ops that work element by element.
 *
 * In this order: constants fold (by the one definition in eval.h), an op on blocks that are each
 * all of one value becomes a scalar op, constants go to the right, and the laws of arithmetic apply
 * that hold for the dtype. Integers wrap, so they are a ring; floats have hardly any laws.
 */
#include "compiler/passes/canon.h"
#include "compiler/eval.h"

#include <assert.h>

/* ---- constants -------------------------------------------------------------------------- */

static uint64_t constant_bits(const Value *v) {
    return eval_bits_from_number(type_dtype(v->type), op_attribute(v->op, ATTR_value));
}

static Value *constant_from_bits(Canon *c, Op *at, const Type *type, uint64_t bits) {
    DType dtype = type_dtype(type);
    Builder b = builder_at(c, at);
    if (dtype_is_float(dtype))
        return build_constant_float(&b, type, eval_double_from_bits(dtype, bits));
    return build_constant_int(&b, type,
                              dtype == DT_NONE ? (int64_t)bits : eval_int_from_bits(dtype, bits));
}

static Value *fold(Canon *c, Op *op) {
    uint64_t operands[3], result;
    assert(op->operand_count <= ARRAY_LENGTH(operands));
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!value_is_constant(op_operand(op, i))) return NULL;
        operands[i] = constant_bits(op_operand(op, i));
    }
    if (!eval_op(op, operands, &result)) return NULL;
    return constant_from_bits(c, op, op_result(op, 0)->type, result);
}

/* The scalar that a uniform block is made of. */
static Value *scalar_of(Canon *c, Op *at, Value *x) {
    if (x->op->code == OP_splat) return op_operand(x->op, 0);
    return canon_constant_like(c, at, x, type_element(x->type));
}

/* op(splat x, splat y) is splat op(x, y). */
static Value *scalarize(Canon *c, Op *op) {
    const Type *type = op_result(op, 0)->type;
    if (!type_is_block(type)) return NULL;
    Value *operands[3];
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!value_is_uniform(op_operand(op, i))) return NULL;
    for (uint32_t i = 0; i < op->operand_count; i++)
        operands[i] = scalar_of(c, op, op_operand(op, i));
    Value *scalar = canon_rebuild(c, op, operands, type_element(type));
    Builder b = builder_at(c, op);
    return canon_made(c, build_to(&b, OP_splat, scalar, type));
}

/* True when v is a constant integer, or a splat of one, equal to `wanted`. */
static bool is_int(const Value *v, int64_t wanted) {
    int64_t value;
    return value_constant_int(v, &value) && value == dtype_wrap(type_dtype(v->type), wanted);
}

static bool is_float(const Value *v, double wanted) { /* by its bits: -0.0 is not 0.0 */
    if (!value_is_constant(v)) return false;
    const Attribute *value = op_attribute(v->op, ATTR_value);
    return value->is_float && !memcmp(&value->f, &wanted, sizeof wanted);
}

static Value *int_like(Canon *c, Op *op, int64_t value) {
    Builder b = builder_at(c, op);
    return build_constant_int(&b, op_result(op, 0)->type, value);
}

static int64_t least_of(DType d) {
    return dtype_is_unsigned(d) ? 0 : (int64_t)(UINT64_MAX << (dtype_bits(d) - 1));
}

static int64_t most_of(DType d) {
    return dtype_is_unsigned(d) ? dtype_wrap(d, -1) : ~least_of(d);
}

/* ---- order of operands ------------------------------------------------------------------ */

static OpCode mirrored(OpCode code) {
    switch (code) {
    case OP_lt: return OP_gt;
    case OP_le: return OP_ge;
    case OP_gt: return OP_lt;
    case OP_ge: return OP_le;
    default: return code;
    }
}

/* Constants to the right. */
static Value *order_operands(Op *op) {
    bool compares = op_info(op)->rule == RULE_COMPARE;
    if (op->operand_count != 2 || !(op_is(op, OPF_COMMUTES) || compares)) return NULL;
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    if (!value_is_constant(x) || value_is_constant(y)) return NULL;
    op->code = mirrored(op->code);
    op_set_operand(op, 0, y);
    op_set_operand(op, 1, x);
    return op_result(op, 0);
}

/* op(op(x, c1), c2) is op(x, op(c1, c2)). */
static Value *reassociate(Canon *c, Op *op) {
    Value *inner = op_operand(op, 0), *last = op_operand(op, 1);
    if (!inner->op || inner->op->code != op->code || !value_is_constant(last)) return NULL;
    Value *middle = op_operand(inner->op, 1);
    if (!value_is_constant(middle)) return NULL;
    DType dtype = type_dtype(last->type);
    uint64_t bits, operands[2] = {constant_bits(middle), constant_bits(last)};
    if (!eval_scalar(op->code, dtype, dtype, operands, &bits)) return NULL;
    Value *both = constant_from_bits(c, op, last->type, bits);
    return canon_rebuild(c, op, (Value *[]){op_operand(inner->op, 0), both}, inner->type);
}

/* ---- integers --------------------------------------------------------------------------- */

static Value *min_max_int(Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    DType dtype = type_dtype(x->type);
    int64_t neutral = op->code == OP_min ? most_of(dtype) : least_of(dtype);
    int64_t absorbing = op->code == OP_min ? least_of(dtype) : most_of(dtype);
    return x == y || is_int(y, neutral) ? x : is_int(y, absorbing) ? y : NULL;
}

/* x - c is x + -c: one form for the rules on sums. */
static Value *subtract_int(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    int64_t value;
    if (is_int(y, 0)) return x;
    if (x == y) return int_like(c, op, 0);
    if (!value_is_constant(y) || !value_constant_int(y, &value)) return NULL;
    Value *negative = int_like(c, op, (int64_t)(0 - (uint64_t)value));
    Builder b = builder_at(c, op);
    return canon_made(c, build_binary(&b, OP_add, x, negative));
}

/* not (x < y) is x >= y. With NaN only eq and ne are opposites. */
static Value *invert_compare(Canon *c, Op *op) {
    const Value *x = op_operand(op, 0);
    if (!x->op || op_info(x->op)->rule != RULE_COMPARE || !is_int(op_operand(op, 1), 1) ||
        type_dtype(x->type) != DT_i1)
        return NULL;
    Value *a = op_operand(x->op, 0), *b = op_operand(x->op, 1);
    OpCode code = x->op->code;
    bool equality = code == OP_eq || code == OP_ne;
    if (!equality && dtype_is_float(type_dtype(a->type))) return NULL;
    static const OpCode opposites[] = {OP_ne, OP_eq, OP_ge, OP_gt, OP_le, OP_lt};
    _Static_assert(OP_ne == OP_eq + 1 && OP_ge == OP_eq + 5, "comparisons stand in this order");
    Builder at = builder_at(c, op);
    return canon_made(c, build_binary(&at, opposites[code - OP_eq], a, b));
}

static Value *binary_int(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1), *found = NULL;
    bool zero = is_int(y, 0), one = is_int(y, 1), ones = is_int(y, -1), same = x == y;
    switch (op->code) {
    case OP_add: found = zero ? x : NULL; break;
    case OP_sub: return subtract_int(c, op);
    case OP_mul: found = one ? x : zero ? y : NULL; break;
    case OP_div: return one ? x : NULL;
    case OP_rem: return one ? int_like(c, op, 0) : NULL;
    case OP_mulhi: return zero ? y : NULL;
    case OP_and: found = ones || same ? x : zero ? y : NULL; break;
    case OP_or: found = zero || same ? x : ones ? y : NULL; break;
    case OP_xor: found = zero ? x : same ? int_like(c, op, 0) : invert_compare(c, op); break;
    case OP_shl:
    case OP_shr: return zero || is_int(x, 0) ? x : NULL;
    case OP_min:
    case OP_max: found = min_max_int(op); break;
    default: return NULL;
    }
    return found ? found : reassociate(c, op); /* reached only by associative ops */
}

static Value *clamp_int(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *low = op_operand(op, 1), *high = op_operand(op, 2);
    DType dtype = type_dtype(x->type);
    Builder b = builder_at(c, op);
    if (is_int(low, least_of(dtype))) return canon_made(c, build_binary(&b, OP_min, x, high));
    if (is_int(high, most_of(dtype))) return canon_made(c, build_binary(&b, OP_max, x, low));
    return NULL;
}

static Value *compare(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    DType dtype = type_dtype(x->type);
    OpCode code = op->code;
    if (dtype_is_float(dtype)) return NULL;
    if (x == y) return int_like(c, op, code == OP_eq || code == OP_le || code == OP_ge);
    if (dtype == DT_NONE) return NULL; /* pointers */
    bool least = is_int(y, least_of(dtype)), most = is_int(y, most_of(dtype));
    if ((code == OP_lt && least) || (code == OP_gt && most)) return int_like(c, op, 0);
    if ((code == OP_ge && least) || (code == OP_le && most)) return int_like(c, op, 1);
    return NULL;
}

/* ---- floats ----------------------------------------------------------------------------- */

/* dot(a, b, 0) + c is dot(a, b, c): what `acc += dot(a, b)` means. Rounds as dot does. */
static Value *accumulate(Canon *c, Op *op, Value *product, Value *sum) {
    Op *dot = product->op;
    if (!dot || dot->code != OP_dot || !product->uses || product->uses->next) return NULL;
    const Value *start = op_operand(dot, 2);
    if (!is_int(start, 0) && !is_float(start, 0.0)) return NULL;
    if (dtype_size(type_dtype(sum->type)) < 4 || op_int(dot, ATTR_max_imprecise, 0)) return NULL;
    Value *operands[] = {op_operand(dot, 0), op_operand(dot, 1), sum};
    Builder b = builder_at(c, op);
    Op *made = build_op(&b, OP_dot, 3, operands, 1, &sum->type);
    op_copy_attributes(c->module, made, dot);
    made->at = dot->at;
    return canon_made(c, op_result(made, 0));
}

static Value *add_any(Canon *c, Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    Value *made = accumulate(c, op, x, y);
    return made ? made : accumulate(c, op, y, x);
}

static Value *binary_float(Op *op) {
    Value *x = op_operand(op, 0), *y = op_operand(op, 1);
    switch (op->code) {
    case OP_add: return is_float(y, -0.0) ? x : NULL; /* 0.0 would turn -0.0 into 0.0 */
    case OP_sub: return is_float(y, 0.0) ? x : NULL;
    case OP_mul:
    case OP_div: return is_float(y, 1.0) ? x : NULL;
    default: return NULL;
    }
}

/* ---- select, casts, pointers ------------------------------------------------------------ */

static Value *select(Op *op) {
    Value *condition = op_operand(op, 0), *yes = op_operand(op, 1), *no = op_operand(op, 2);
    if (yes == no || is_int(condition, 1)) return yes;
    if (is_int(condition, 0)) return no;
    if (type_dtype(yes->type) == DT_i1 && is_int(yes, 1) && is_int(no, 0)) return condition;
    return NULL;
}

/* Every value of `from` is a value of `to`. */
static bool holds(DType to, DType from) {
    if (to == from) return true;
    if (from == DT_f8e4m3b15 || to == DT_f8e4m3b15) return to == DT_f32 || to == DT_f64;
    if (dtype_is_float(from)) {
        if (dtype_is_fp8(from))
            return to == DT_f16 || to == DT_bf16 || to == DT_f32 || to == DT_f64;
        return (to == DT_f32 && dtype_size(from) == 2) || to == DT_f64;
    }
    uint32_t digits = dtype_bits(from) - (dtype_kind(from) == DK_SIGNED);
    if (dtype_is_float(to)) /* bf16, f32 and f64 reach far enough; f16 ends at 2^16 */
        return !dtype_is_fp8(to) && digits <= dtype_mantissa_bits(to) + 1;
    if (dtype_kind(from) == DK_SIGNED && dtype_kind(to) != DK_SIGNED) return false;
    return digits <= dtype_bits(to) - (dtype_kind(to) == DK_SIGNED);
}

/* cast(cast(x)) without the step between. When nothing is lost there, only the kinds matter: from
 * an integer, one step wraps where two (by way of a float) saturate. */
static bool step_is_idle(DType from, DType middle, DType to) {
    bool ints = dtype_is_int(from) && dtype_is_int(middle) && dtype_is_int(to);
    if (from == DT_f8e5m2 && to == DT_f8e5m2) return false; /* infinity came back finite */
    if (ints && middle != DT_i1 && to != DT_i1 && dtype_bits(to) <= dtype_bits(middle)) return true;
    if (!holds(middle, from)) return false;
    if (dtype_is_int(from) && dtype_is_float(middle) && dtype_is_int(to)) return holds(to, from);
    return true;
}

static Value *cast(Canon *c, Op *op) {
    Value *x = op_operand(op, 0);
    const Type *type = op_result(op, 0)->type;
    if (x->type == type) return type_dtype(type) == DT_f8e5m2 ? NULL : x;
    if (!x->op || x->op->code != OP_cast) return NULL;
    Value *inner = op_operand(x->op, 0);
    if (dtype_is_int(type_dtype(inner->type)) && op_attribute(op, ATTR_rounding)) return NULL;
    if (!step_is_idle(type_dtype(inner->type), type_dtype(x->type), type_dtype(type))) return NULL;
    return canon_rebuild(c, op, &inner, type);
}

static Value *bitcast(Canon *c, Op *op) {
    Value *x = op_operand(op, 0);
    if (x->type == op_result(op, 0)->type) return x;
    if (!x->op || x->op->code != OP_bitcast) return NULL;
    return canon_rebuild(c, op, (Value *[]){op_operand(x->op, 0)}, op_result(op, 0)->type);
}

/* offset(offset(p, c1), c2) is offset(p, c1 + c2), unless the sum wraps. */
static Value *offset(Canon *c, Op *op) {
    Value *pointer = op_operand(op, 0), *by = op_operand(op, 1);
    int64_t first, second, sum;
    if (is_int(by, 0)) return pointer;
    if (!pointer->op || pointer->op->code != OP_offset || !value_constant_int(by, &second))
        return NULL;
    Value *inner = op_operand(pointer->op, 1);
    DType dtype = type_dtype(by->type);
    if (inner->type != by->type || !value_constant_int(inner, &first)) return NULL;
    if (__builtin_add_overflow(first, second, &sum) || dtype_wrap(dtype, sum) != sum) return NULL;
    if (dtype == DT_u64 && (uint64_t)sum < (uint64_t)first) return NULL;
    Builder b = builder_at(c, op);
    Value *operands[] = {op_operand(pointer->op, 0), build_constant_int(&b, by->type, sum)};
    return canon_rebuild(c, op, operands, pointer->type);
}

static Value *unary(Op *op) {
    Value *x = op_operand(op, 0);
    bool same = x->op && x->op->code == op->code;
    switch (op->code) {
    case OP_abs: return same || dtype_is_unsigned(type_dtype(x->type)) ? x : NULL;
    case OP_floor:
    case OP_ceil:
    case OP_trunc:
    case OP_round:
    case OP_rint: return same ? x : NULL;
    default: return NULL;
    }
}

Value *canon_element(Canon *c, Op *op) {
    Value *found = fold(c, op);
    if (!found) found = scalarize(c, op);
    if (!found) found = order_operands(op);
    if (found) return found;
    bool ints = dtype_is_int(type_dtype(op_operand(op, 0)->type));
    switch (op->code) {
    case OP_select: return select(op);
    case OP_cast: return cast(c, op);
    case OP_bitcast: return bitcast(c, op);
    case OP_offset: return offset(c, op);
    case OP_clamp: return ints ? clamp_int(c, op) : NULL;
    case OP_add: found = add_any(c, op); break;
    default: break;
    }
    if (found) return found;
    if (op_info(op)->rule == RULE_COMPARE) return compare(c, op);
    if (op->operand_count == 1) return unary(op);
    if (op->operand_count != 2) return NULL;
    return ints ? binary_int(c, op) : binary_float(op);
}
