/* overflow.c: warns when 32-bit arithmetic on what is known at compile time leaves 32 bits.
 *
 * Offsets that wrap read from the wrong place without a fault. Only what is certain is reported:
 * ranges come from constants and tl.arange through + - *; a run-time number ends the chain.
 */
#include "lang/lower_internal.h"

typedef struct Range {
    bool known;
    Wide low, high;
} Range;

static Range range_of(const Value *v, uint32_t *budget);

static Range combine(OpCode code, Range a, Range b) {
    Range r = {.known = a.known && b.known};
    if (!r.known) return r;
    if (code == OP_add) {
        r.low = a.low + b.low;
        r.high = a.high + b.high;
    } else if (code == OP_sub) {
        r.low = a.low - b.high;
        r.high = a.high - b.low;
    } else {
        Wide ends[4] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
        r.low = r.high = ends[0];
        for (int i = 1; i < 4; i++) {
            if (ends[i] < r.low) r.low = ends[i];
            if (ends[i] > r.high) r.high = ends[i];
        }
    }
    return r;
}

static bool fits(Range r) {
    return r.low >= INT32_MIN && r.high <= INT32_MAX;
}

static Range range_of(const Value *v, uint32_t *budget) {
    const Op *op = v->op;
    int64_t constant;
    if (!op || *budget == 0 || !dtype_is_int(type_dtype(v->type))) return (Range){.known = false};
    --*budget;
    switch (op->code) {
    case OP_constant:
        if (!value_constant_int(v, &constant)) return (Range){.known = false};
        return (Range){true, constant, constant};
    case OP_arange: return (Range){true, op_int(op, ATTR_start, 0), op_int(op, ATTR_end, 1) - 1};
    case OP_splat:
    case OP_broadcast:
    case OP_expand_dims:
    case OP_reshape:
    case OP_permute:
    case OP_hint: return range_of(op_operand(op, 0), budget);
    case OP_add:
    case OP_sub:
    case OP_mul: {
        Range a = range_of(op_operand(op, 0), budget);
        Range r = a.known ? combine(op->code, a, range_of(op_operand(op, 1), budget)) : a;
        bool wraps = r.known && type_dtype(v->type) == DT_i32 && !fits(r); /* said before */
        return wraps || (r.known && dtype_bits(type_dtype(v->type)) < 32) ? (Range){.known = false}
                                                                          : r;
    }
    default: return (Range){.known = false};
    }
}

void warn_of_overflow(Lower *l, const Value *v, Span at) {
    uint32_t budget = 64;
    const Op *op = v->op;
    if (l->checking || !op || type_dtype(v->type) != DT_i32 || !type_is_block(v->type)) return;
    if (op->code != OP_add && op->code != OP_sub && op->code != OP_mul) return;
    Range a = range_of(op_operand(op, 0), &budget), b = range_of(op_operand(op, 1), &budget);
    Range r = combine(op->code, a, b);
    if (!r.known || fits(r)) return;
    if (l->overflow_at.line == at.line && l->overflow_at.column == at.column) return;
    l->overflow_at = at;
    Wide worst = r.high > INT32_MAX ? r.high : r.low;
    diag_warning(l->diagnostics, here(l, at), "these 32-bit integers reach %s and wrap around",
                 wide_string(l->arena, worst));
    note(l, at, "make one operand 64 bits wide first, e.g. tl.arange(...).to(tl.int64)");
}
