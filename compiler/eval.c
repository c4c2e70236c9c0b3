/* eval.c: finds the loop of an op, runs it on blocks or on one element, and turns numbers into
 * bits and back. The loops themselves are in eval_arith.c, eval_math.c and eval_cast.c.
 */
#include "compiler/eval_loops.h"

#include <assert.h>

/* Which type rules have rows. An op whose row is missing fails at link, by name. */
#define ROW_NONE(name) NULL
#define ROW_EXPLICIT(name) NULL
#define ROW_SAME(name) eval_##name
#define ROW_SAME_INT(name) eval_##name
#define ROW_SAME_FLOAT(name) eval_##name
#define ROW_COMPARE(name) eval_##name
#define ROW_SELECT(name) eval_##name
#define ROW_CAST(name) NULL
#define ROW_OFFSET(name) NULL
#define ROW_LOAD(name) NULL
#define ROW_STORE(name) NULL
#define ROW_ATOMIC(name) NULL
#define ROW_DOT(name) NULL
#define ROW_REDUCE(name) NULL
#define ROW_SCAN(name) NULL
#define ROW_FOR(name) NULL
#define ROW_WHILE(name) NULL
#define ROW_IF(name) NULL
static EvalLoop *const *const rows[OP_COUNT] = {
#define OP(name, low, high, results, regions, rule, flags, required, optional)                     \
    [OP_##name] = ROW_##rule(name),
#include "compiler/ops.def"
#undef OP
};

static uint32_t size_of(DType dtype) {
    return dtype == DT_NONE ? 8 : dtype_size(dtype);
}

/* ---- finding the loop ------------------------------------------------------------------- */

static bool prepare_cast(EvalCode *code, DType in, DType out, bool rtz) {
    if (in == DT_NONE || out == DT_NONE) return false;
    if (in == out) {
        code->loop = eval_hint[in];
        return true;
    }
    code->widen = eval_widen_loop(in);
    code->narrow = eval_narrow_loop(out, rtz && dtype_is_float(in));
    const DType from = code->widen ? DT_f32 : in, to = code->narrow ? DT_f32 : out;
    if (rtz && from == DT_f64 && to == DT_f32)
        code->loop = eval_truncate_loop();
    else if (code->narrow && eval_odd_loop(from))
        code->loop = eval_odd_loop(from);
    else if (from != to)
        code->loop = eval_cast_loop(from, to);
    return true;
}

static bool prepare_row(EvalCode *code, EvalLoop *const *row, OpCode op, DType in, DType out) {
    if (op == OP_select || op == OP_hint) {
        code->loop = row[in];
        return true;
    }
    code->widen = eval_widen_loop(in);
    if (code->widen && op == OP_nextafter) /* its steps are those of f32 */
        return false;
    code->loop = row[in] ? row[in] : code->widen ? row[DT_f32] : NULL;
    code->narrow = eval_narrow_loop(out, false);
    return code->loop != NULL;
}

bool eval_prepare(EvalCode *code, OpCode op, DType in, DType out, uint32_t flags) {
    *code = (EvalCode){
        .arity = (uint8_t)op_infos[op].min_operands,
        .in_size = (uint8_t)size_of(in),
        .out_size = (uint8_t)size_of(out),
    };
    if (op == OP_cast) return prepare_cast(code, in, out, flags & EVAL_RTZ);
    if (op == OP_bitcast) {
        code->loop = eval_hint[in];
        return size_of(in) == size_of(out);
    }
    const bool compare = op_infos[op].rule == RULE_COMPARE;
    if (!rows[op] || out != (compare ? DT_i1 : in)) return false;
    const bool nan = op == OP_clamp && (flags & EVAL_NAN) && dtype_is_float(in);
    return prepare_row(code, nan ? eval_clamp_nan : rows[op], op, in, out);
}

static bool prepare_offset(EvalCode *code, const Op *op) {
    const Type *pointer = type_element(op_operand(op, 0)->type);
    code->loop = eval_offset[type_dtype(op_operand(op, 1)->type)];
    code->scale = type_element_size(pointer->element);
    code->arity = 2;
    code->out_size = 8;
    return code->loop != NULL;
}

bool eval_prepare_op(EvalCode *code, const Op *op) {
    if (op->result_count != 1 || op->operand_count == 0) return false;
    if (op->code == OP_offset) {
        *code = (EvalCode){0};
        return prepare_offset(code, op);
    }
    const Value *typed = op_operand(op, op->code == OP_select ? 1 : 0);
    const uint32_t flags = (op_word(op, ATTR_rounding, WORD_rtne) == WORD_rtz ? EVAL_RTZ : 0) |
                           (op_int(op, ATTR_nan, 0) ? EVAL_NAN : 0);
    return eval_prepare(code, op->code, type_dtype(typed->type), type_dtype(op_result(op, 0)->type),
                        flags);
}

/* ---- running it ------------------------------------------------------------------------------ */

enum { CHUNK = 512 };

static void run_through_f32(const EvalCode *code, size_t n, uint8_t *result,
                            const void *const *operands) {
    float wide[3][CHUNK], sum[CHUNK];
    for (size_t done = 0; done < n; done += CHUNK) {
        const size_t m = n - done < CHUNK ? n - done : CHUNK;
        const void *inputs[3];
        for (uint32_t i = 0; i < code->arity; i++) {
            const void *source = (const uint8_t *)operands[i] + done * code->in_size;
            inputs[i] = source;
            if (code->widen) {
                code->widen(m, wide[i], &source);
                inputs[i] = wide[i];
            }
        }
        uint8_t *place = result + done * code->out_size;
        if (code->loop) code->loop(m, code->narrow ? (void *)sum : place, inputs);
        if (code->narrow) {
            const void *middle = code->loop ? sum : inputs[0];
            code->narrow(m, place, &middle);
        }
    }
}

void eval_block(const EvalCode *code, size_t n, void *result, const void *const *operands) {
    if (code->scale) {
        const void *with_scale[3] = {operands[0], operands[1], &code->scale};
        code->loop(n, result, with_scale);
    } else if (!code->widen && !code->narrow) {
        code->loop(n, result, operands);
    } else if (!code->loop && !code->narrow) {
        code->widen(n, result, operands);
    } else if (!code->loop && !code->widen) {
        code->narrow(n, result, operands);
    } else {
        run_through_f32(code, n, result, operands);
    }
}

/* Little-endian hosts only: the low bytes of the bits are the element. */
static void run_one(const EvalCode *code, const uint64_t *operands, uint64_t *result) {
    const void *inputs[3];
    for (uint32_t i = 0; i < code->arity; i++) inputs[i] = &operands[i];
    *result = 0;
    eval_block(code, 1, result, inputs);
}

bool eval_scalar(OpCode op, DType in, DType out, const uint64_t *operands, uint64_t *result) {
    EvalCode code;
    if (!eval_prepare(&code, op, in, out, 0)) return false;
    run_one(&code, operands, result);
    return true;
}

bool eval_op(const Op *op, const uint64_t *operands, uint64_t *result) {
    EvalCode code;
    if (!op_is(op, OPF_ELEMENT) || !eval_prepare_op(&code, op)) return false;
    run_one(&code, operands, result);
    return true;
}

/* ---- values and their bits ------------------------------------------------------------------- */

static uint64_t cast_bits(DType in, DType out, uint64_t bits) {
    uint64_t result = 0;
    const bool known = eval_scalar(OP_cast, in == DT_NONE ? DT_u64 : in,
                                   out == DT_NONE ? DT_u64 : out, &bits, &result);
    return known ? result : 0;
}

uint64_t eval_bits_from_double(DType dtype, double value) {
    return cast_bits(DT_f64, dtype, f64_bits(value));
}

/* Unlike a cast, wraps to i1 too: only the last bit counts. */
uint64_t eval_bits_from_int(DType dtype, int64_t value) {
    return dtype == DT_i1 ? (uint64_t)value & 1 : cast_bits(DT_i64, dtype, (uint64_t)value);
}

double eval_double_from_bits(DType dtype, uint64_t bits) {
    return f64_from(cast_bits(dtype, DT_f64, bits));
}

int64_t eval_int_from_bits(DType dtype, uint64_t bits) {
    return (int64_t)cast_bits(dtype, DT_i64, bits);
}

uint64_t eval_bits_from_number(DType dtype, const Attribute *value) {
    return value->is_float ? eval_bits_from_double(dtype, value->f)
                           : eval_bits_from_int(dtype, value->i);
}

void eval_to_f32(DType from, size_t n, float *result, const void *operand) {
    EvalCode code;
    const bool known = eval_prepare(&code, OP_cast, from, DT_f32, 0);
    assert(known);
    (void)known;
    eval_block(&code, n, result, &operand);
}

void eval_from_f32(DType to, bool rtz, size_t n, void *result, const float *operand) {
    EvalCode code;
    const bool known = eval_prepare(&code, OP_cast, DT_f32, to, rtz ? EVAL_RTZ : 0);
    const void *operands[1] = {operand};
    assert(known);
    (void)known;
    eval_block(&code, n, result, operands);
}
