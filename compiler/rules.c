/* rules.c: what each op demands of its types and attributes, and what its results are.
 *
 * rule_check asks three questions in turn: are the counts those of the table, are the attributes
 * those of the table and sensible, do the types fit. The last is one function a type rule, and one
 * function an op for the ops whose rule is EXPLICIT. Each returns NULL or a phrase that says what
 * is wrong, to be put behind the op's name.
 */
#include "compiler/rules.h"

typedef struct Check {
    Types *types;
    Arena *arena;
    const Op *op;
} Check;

static const char *wrong(Check c, const char *format, ...) PRINTF_LIKE(2, 3);

static const char *wrong(Check c, const char *format, ...) {
    Text text = {.arena = c.arena};
    va_list args;
    va_start(args, format);
    text_vprintf(&text, format, args);
    va_end(args);
    return text.data;
}

static const Type *operand_type(Check c, uint32_t i) {
    return op_operand(c.op, i)->type;
}
static const Type *result_type(Check c, uint32_t i) {
    return c.op->results[i].type;
}
static const char *show(Check c, const Type *type) {
    return type_string(type, c.arena);
}

/* ---- inference -------------------------------------------------------------------------- */

const Type *rule_infer(Types *types, const Op *op, uint32_t index) {
    const Type *first = op->operand_count > 0 ? op_operand(op, 0)->type : NULL;
    switch (op_info(op)->rule) {
    case RULE_SAME:
    case RULE_SAME_INT:
    case RULE_SAME_FLOAT:
    case RULE_OFFSET: return first;
    case RULE_COMPARE: return type_with_dtype(types, first, DT_i1);
    case RULE_SELECT:
    case RULE_ATOMIC: return op_operand(op, 1)->type;
    case RULE_LOAD:
        if (!type_is_pointer(first)) return NULL;
        return type_with_element(types, first, type_element(first)->element);
    case RULE_DOT: return op_operand(op, 2)->type;
    case RULE_SCAN: return op_operand(op, index)->type;
    default: return NULL;
    }
}

/* ---- small demands ---------------------------------------------------------------------- */

static const char *want_operand(Check c, uint32_t i, const Type *wanted) {
    if (operand_type(c, i) == wanted) return NULL;
    return wrong(c, "operand %u is %s, but must be %s", i, show(c, operand_type(c, i)),
                 show(c, wanted));
}

static const char *want_result(Check c, uint32_t i, const Type *wanted) {
    if (result_type(c, i) == wanted) return NULL;
    return wrong(c, "result %u is %s, but must be %s", i, show(c, result_type(c, i)),
                 show(c, wanted));
}

static const char *want_block(Check c, uint32_t i) {
    if (type_is_block(operand_type(c, i))) return NULL;
    return wrong(c, "operand %u is %s, but must be a block", i, show(c, operand_type(c, i)));
}

static const char *want_same_operands(Check c, uint32_t first, uint32_t end) {
    for (uint32_t i = first + 1; i < end; i++)
        if (operand_type(c, i) != operand_type(c, first))
            return wrong(c, "operands %u and %u differ: %s and %s", first, i,
                         show(c, operand_type(c, first)), show(c, operand_type(c, i)));
    return NULL;
}

static const char *want_same_shape(Check c, const Type *a, const Type *b) {
    if (type_same_shape(a, b)) return NULL;
    return wrong(c, "the shapes of %s and %s differ", show(c, a), show(c, b));
}

/* A mask: i1 in the shape of `like`. */
static const char *want_mask(Check c, uint32_t i, const Type *like) {
    return want_operand(c, i, type_with_dtype(c.types, like, DT_i1));
}

static const char *want_axis(Check c, const Type *type, uint32_t end) {
    int64_t axis = op_int(c.op, ATTR_axis, 0);
    if (axis >= 0 && axis < end) return NULL;
    return wrong(c, "axis %lld is not one of %s", (long long)axis, show(c, type));
}

/* A block type made of a computed shape, which may be none (too large, not a power of two). */
static const char *want_shape(Check c, uint32_t i, const Type *element, uint32_t rank,
                              const uint32_t *shape) {
    const Type *type = result_type(c, i);
    bool same = type_element(type) == element && type->rank == rank;
    for (uint32_t d = 0; d < rank && same; d++) same = type->shape[d] == shape[d];
    if (same) return NULL;
    Text text = {.arena = c.arena};
    for (uint32_t d = 0; d < rank; d++) text_printf(&text, "%ux", shape[d]);
    type_print(element, &text);
    return wrong(c, "result %u is %s, but must be %s", i, show(c, type), text.data);
}

/* ---- attributes ------------------------------------------------------------------------- */

static bool word_fits(AttributeKey key, Word word) {
    static const struct {
        Word first, last;
    } ranges[ATTR_COUNT] = {
        [ATTR_rounding] = {WORD_rtne, WORD_rtz},
        [ATTR_cache] = {WORD_ca, WORD_wt},
        [ATTR_evict] = {WORD_evict_first, WORD_evict_last},
        [ATTR_kind] = {WORD_add, WORD_xchg},
        [ATTR_sem] = {WORD_relaxed, WORD_acq_rel},
        [ATTR_scope] = {WORD_cta, WORD_sys},
        [ATTR_precision] = {WORD_tf32, WORD_bf16x6},
        [ATTR_a_format] = {WORD_e2m1, WORD_fp16},
        [ATTR_b_format] = {WORD_e2m1, WORD_fp16},
    };
    return word != WORD_none && word >= ranges[key].first && word <= ranges[key].last;
}

static const char *check_attributes(Check c) {
    const OpInfo *info = op_info(c.op);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < c.op->attribute_count; i++) {
        const Attribute *a = &c.op->attributes[i];
        uint64_t bit = UINT64_C(1) << a->key;
        if (seen >= bit) return wrong(c, "attributes are not sorted, or one is given twice");
        seen |= bit;
        if (!((info->required | info->optional) & bit))
            return wrong(c, "attribute `%s` does not belong to this op", attribute_names[a->key]);
        if (a->is_float && attribute_kinds[a->key] != AK_NUMBER)
            return wrong(c, "attribute `%s` is not a float", attribute_names[a->key]);
        if (attribute_kinds[a->key] == AK_WORD && !word_fits(a->key, a->word))
            return wrong(c, "attribute `%s` cannot be `%s`", attribute_names[a->key],
                         word_names[a->word]);
    }
    for (AttributeKey key = 0; key < ATTR_COUNT; key++)
        if ((info->required & ~seen) >> key & 1)
            return wrong(c, "attribute `%s` is missing", attribute_names[key]);
    return NULL;
}

/* ---- leaves ----------------------------------------------------------------------------- */

static const char *check_constant(Check c) {
    const Attribute *value = op_attribute(c.op, ATTR_value);
    const Type *type = result_type(c, 0);
    DType dtype = type_dtype(type);
    if (value->is_float != dtype_is_float(dtype))
        return wrong(c, "the value of a constant of type %s must be %s", show(c, type),
                     dtype_is_float(dtype) ? "a float" : "an integer");
    if (dtype_is_int(dtype) && dtype_wrap(dtype, value->i) != value->i)
        return wrong(c, "the value does not fit in %s", dtype_name(dtype));
    return NULL;
}

static const char *check_arange(Check c) {
    int64_t start = op_int(c.op, ATTR_start, 0), end = op_int(c.op, ATTR_end, 0);
    const Type *type = result_type(c, 0);
    if (start < INT32_MIN || end > INT32_MAX || end <= start)
        return wrong(c, "the range from %lld to %lld is empty or too large", (long long)start,
                     (long long)end);
    if (type->rank != 1 || type_dtype(type) != DT_i32 || type->count != end - start)
        return wrong(c, "the result is %s, but must be %lldxi32", show(c, type),
                     (long long)(end - start));
    return NULL;
}

static const char *check_program_id(Check c) {
    int64_t axis = op_int(c.op, ATTR_axis, 0);
    if (axis < 0 || axis > 2) return wrong(c, "axis must be 0, 1 or 2");
    return want_result(c, 0, type_scalar(c.types, DT_i32));
}

/* ---- shape ------------------------------------------------------------------------------ */

static const char *check_splat(Check c) {
    const Type *from = operand_type(c, 0), *to = result_type(c, 0);
    if (type_is_block(from))
        return wrong(c, "operand 0 is %s, but must be no block", show(c, from));
    if (!type_is_block(to)) return wrong(c, "the result is %s, but must be a block", show(c, to));
    return want_result(c, 0, type_with_element(c.types, to, from));
}

static const char *check_broadcast(Check c) {
    const Type *from = operand_type(c, 0), *to = result_type(c, 0);
    const char *bad = want_block(c, 0);
    if (bad) return bad;
    bool fits = from->rank == to->rank && type_element(from) == type_element(to);
    for (uint32_t i = 0; i < from->rank && fits; i++)
        fits = from->shape[i] == to->shape[i] || from->shape[i] == 1;
    return fits ? NULL : wrong(c, "%s cannot become %s", show(c, from), show(c, to));
}

static const char *check_expand_dims(Check c) {
    const Type *from = operand_type(c, 0);
    const char *bad = want_block(c, 0);
    if (bad || (bad = want_axis(c, result_type(c, 0), from->rank + 1))) return bad;
    if (from->rank == MAX_RANK) return wrong(c, "the result has too many dimensions");
    uint32_t shape[MAX_RANK], axis = (uint32_t)op_int(c.op, ATTR_axis, 0);
    for (uint32_t i = 0; i <= from->rank; i++)
        shape[i] = i == axis ? 1 : from->shape[i - (i > axis)];
    return want_shape(c, 0, from->element, from->rank + 1, shape);
}

static const char *check_reshape(Check c) {
    const Type *from = operand_type(c, 0), *to = result_type(c, 0);
    if (type_is_block(from) && type_is_block(to) && from->element == to->element &&
        from->count == to->count)
        return NULL;
    return wrong(c, "%s cannot become %s", show(c, from), show(c, to));
}

static const char *check_permute(Check c) {
    const Type *from = operand_type(c, 0);
    const Attribute *order = op_attribute(c.op, ATTR_order);
    const char *bad = want_block(c, 0);
    if (bad) return bad;
    uint32_t shape[MAX_RANK], seen = 0;
    for (uint32_t i = 0; i < order->count; i++)
        if (order->ints[i] >= 0 && order->ints[i] < from->rank) seen |= 1u << order->ints[i];
    if (order->count != from->rank || seen != (1u << from->rank) - 1)
        return wrong(c, "`order` is no order of the %u dimensions of %s", from->rank,
                     show(c, from));
    for (uint32_t i = 0; i < from->rank; i++) shape[i] = from->shape[order->ints[i]];
    return want_shape(c, 0, from->element, from->rank, shape);
}

static const char *check_join(Check c) {
    const Type *from = operand_type(c, 0);
    const char *bad = want_same_operands(c, 0, 2);
    if (bad) return bad;
    if (from->rank == MAX_RANK) return wrong(c, "the result has too many dimensions");
    uint32_t shape[MAX_RANK];
    memcpy(shape, from->shape, sizeof shape);
    shape[from->rank] = 2;
    return want_shape(c, 0, type_element(from), from->rank + 1, shape);
}

static const char *check_split(Check c) {
    const Type *from = operand_type(c, 0);
    if (!type_is_block(from) || from->shape[from->rank - 1] != 2)
        return wrong(c, "the last extent of %s must be 2", show(c, from));
    const char *bad = want_shape(c, 0, from->element, from->rank - 1, from->shape);
    return bad ? bad : want_shape(c, 1, from->element, from->rank - 1, from->shape);
}

static const char *check_concat(Check c) {
    const Type *from = operand_type(c, 0);
    const char *bad = want_block(c, 0);
    if (bad || (bad = want_same_operands(c, 0, 2))) return bad;
    uint32_t shape[MAX_RANK];
    memcpy(shape, from->shape, sizeof shape);
    shape[0] *= 2;
    return want_shape(c, 0, from->element, from->rank, shape);
}

static const char *check_gather(Check c) {
    const Type *source = operand_type(c, 0), *index = operand_type(c, 1);
    const char *bad = want_block(c, 0);
    if (bad || (bad = want_axis(c, source, source->rank))) return bad;
    bool fits = index->rank == source->rank && dtype_is_int(type_dtype(index));
    for (uint32_t i = 0; i < source->rank && fits; i++)
        fits = i == op_int(c.op, ATTR_axis, 0) || index->shape[i] == source->shape[i];
    if (!fits) return wrong(c, "%s is no index into %s", show(c, index), show(c, source));
    return want_result(c, 0, type_with_element(c.types, index, source->element));
}

static const char *check_extract(Check c) {
    const Type *from = operand_type(c, 0);
    if (!type_is_block(from) || from->count != 1)
        return wrong(c, "operand 0 is %s, but must be a block of one element", show(c, from));
    return want_result(c, 0, from->element);
}

/* ---- arithmetic ------------------------------------------------------------------------- */

static bool is_wide_float_function(OpCode code) {
    return code >= OP_exp && code <= OP_nextafter;
}

static const char *check_same(Check c) {
    const Type *type = operand_type(c, 0);
    DType dtype = type_dtype(type);
    TypeRule rule = op_info(c.op)->rule;
    if (c.op->code != OP_hint && type_is_pointer(type))
        return wrong(c, "operand 0 is %s, but must be a number", show(c, type));
    if (rule == RULE_SAME_INT && !dtype_is_int(dtype))
        return wrong(c, "operand 0 is %s, but must be an integer", show(c, type));
    if (rule == RULE_SAME_FLOAT && !dtype_is_float(dtype))
        return wrong(c, "operand 0 is %s, but must be a float", show(c, type));
    if (is_wide_float_function(c.op->code) && dtype != DT_f32 && dtype != DT_f64)
        return wrong(c, "operand 0 is %s, but must be f32 or f64", show(c, type));
    const char *bad = want_same_operands(c, 0, c.op->operand_count);
    return bad ? bad : want_result(c, 0, type);
}

static const char *check_hint(Check c) {
    const Type *type = operand_type(c, 0);
    for (uint32_t i = 0; i < c.op->attribute_count; i++) {
        const Attribute *a = &c.op->attributes[i];
        if (a->count != (type->rank ? type->rank : 1))
            return wrong(c, "`%s` needs one number for each dimension of %s",
                         attribute_names[a->key], show(c, type));
        for (uint32_t j = 0; j < a->count; j++)
            if (a->ints[j] < 1) return wrong(c, "`%s` must be positive", attribute_names[a->key]);
    }
    return check_same(c);
}

static const char *check_compare(Check c) {
    const char *bad = want_same_operands(c, 0, 2);
    return bad ? bad : want_result(c, 0, type_with_dtype(c.types, operand_type(c, 0), DT_i1));
}

static const char *check_select(Check c) {
    const char *bad = want_same_operands(c, 1, 3);
    if (bad || (bad = want_mask(c, 0, operand_type(c, 1)))) return bad;
    return want_result(c, 0, operand_type(c, 1));
}

static const char *check_cast(Check c) {
    const Type *from = operand_type(c, 0), *to = result_type(c, 0);
    const char *bad = want_same_shape(c, from, to);
    if (bad) return bad;
    bool from_pointer = type_is_pointer(from), to_pointer = type_is_pointer(to);
    DType a = type_dtype(from), b = type_dtype(to);
    bool fits = !from_pointer && !to_pointer;
    if (c.op->code == OP_convert)
        fits = type_is_block(from) && type_element(from) == type_element(to);
    else if (c.op->code == OP_bitcast && fits)
        fits = dtype_bits(a) == dtype_bits(b);
    else if (c.op->code == OP_bitcast)
        fits = (from_pointer || a == DT_i64 || a == DT_u64) &&
               (to_pointer || b == DT_i64 || b == DT_u64);
    return fits ? NULL : wrong(c, "%s cannot become %s", show(c, from), show(c, to));
}

static const char *check_offset(Check c) {
    const Type *pointer = operand_type(c, 0), *by = operand_type(c, 1);
    if (!type_is_pointer(pointer))
        return wrong(c, "operand 0 is %s, but must be a pointer", show(c, pointer));
    if (!dtype_is_int(type_dtype(by)))
        return wrong(c, "operand 1 is %s, but must be an integer", show(c, by));
    const char *bad = want_same_shape(c, pointer, by);
    return bad ? bad : want_result(c, 0, pointer);
}

/* ---- memory ----------------------------------------------------------------------------- */

/* What operand 0 points at, in its shape; NULL when it is no pointer. */
static const Type *pointee(Check c) {
    const Type *pointer = operand_type(c, 0);
    if (!type_is_pointer(pointer)) return NULL;
    return type_with_element(c.types, pointer, type_element(pointer)->element);
}

static const char *check_memory(Check c) {
    const Type *value = pointee(c);
    uint32_t count = c.op->operand_count;
    if (!value)
        return wrong(c, "operand 0 is %s, but must be a pointer", show(c, operand_type(c, 0)));
    const char *bad = NULL;
    switch (c.op->code) {
    case OP_load:
        if (count > 1) bad = want_mask(c, 1, value);
        if (!bad && count > 2) bad = want_operand(c, 2, value);
        break;
    case OP_atomic_cas:
        bad = want_operand(c, 1, value);
        if (!bad) bad = want_operand(c, 2, value);
        break;
    default: /* store, atomic_rmw */
        bad = want_operand(c, 1, value);
        if (!bad && count > 2) bad = want_mask(c, 2, value);
    }
    if (!bad && c.op->result_count) bad = want_result(c, 0, value);
    if (bad || c.op->code != OP_atomic_rmw) return bad;
    Word kind = op_word(c.op, ATTR_kind, WORD_none);
    bool bits = kind == WORD_and || kind == WORD_or || kind == WORD_xor;
    if (kind == WORD_xchg || (bits ? dtype_is_int(type_dtype(value)) : !type_is_pointer(value)))
        return NULL;
    return wrong(c, "`%s` does not work on %s", word_names[kind], show(c, value));
}

/* ---- whole-block operations ------------------------------------------------------------- */

/* a: [B x] m x k, b: [B x] k x n, c: [B x] m x n, for the sizes k_a of a and k_b of b. */
static const char *check_matrices(Check c, const Type *a, const Type *b, const Type *sum,
                                  uint32_t scale_a, uint32_t scale_b) {
    uint32_t r = a->rank;
    bool fits = (r == 2 || r == 3) && b->rank == r && sum->rank == r &&
                a->shape[r - 1] * scale_a == b->shape[r - 2] * scale_b &&
                a->shape[r - 2] == sum->shape[r - 2] && b->shape[r - 1] == sum->shape[r - 1];
    if (fits && r == 3) fits = a->shape[0] == b->shape[0] && a->shape[0] == sum->shape[0];
    if (fits) return NULL;
    return wrong(c, "the shapes of %s, %s and %s do not fit together", show(c, a), show(c, b),
                 show(c, sum));
}

static const char *check_dot(Check c) {
    const Type *a = operand_type(c, 0), *b = operand_type(c, 1), *sum = operand_type(c, 2);
    const char *bad = check_matrices(c, a, b, sum, 1, 1);
    if (bad) return bad;
    DType da = type_dtype(a), db = type_dtype(b), ds = type_dtype(sum);
    bool fits = da != DT_NONE && (da == db || (dtype_is_fp8(da) && dtype_is_fp8(db))) &&
                ds != DT_NONE && dtype_is_float(da) == dtype_is_float(ds);
    if (!fits)
        return wrong(c, "cannot multiply %s by %s into %s", show(c, a), show(c, b), show(c, sum));
    return want_result(c, 0, sum);
}

/* Elements packed in one, when `dtype` can hold the format; else 0. */
static uint32_t format_packing(Word format, DType dtype) {
    switch (format) {
    case WORD_e2m1: return dtype == DT_u8 || dtype == DT_i8 ? 2 : 0;
    case WORD_e4m3: return dtype == DT_f8e4m3 || dtype == DT_u8;
    case WORD_e5m2: return dtype == DT_f8e5m2 || dtype == DT_u8;
    case WORD_bf16: return dtype == DT_bf16;
    case WORD_fp16: return dtype == DT_f16;
    default: return 0;
    }
}

static const char *check_scale(Check c, uint32_t i, const Type *like, uint32_t rows, uint32_t k) {
    const Type *scale = operand_type(c, i);
    uint32_t r = like->rank;
    bool fits = scale->rank == r && type_dtype(scale) == DT_u8 && scale->shape[r - 2] == rows &&
                scale->shape[r - 1] == k / 32 && (r == 2 || scale->shape[0] == like->shape[0]);
    return fits ? NULL : wrong(c, "operand %u is %s, which is no scale", i, show(c, scale));
}

static const char *check_dot_scaled(Check c) {
    const Type *a = operand_type(c, 0), *b = operand_type(c, 2), *sum = operand_type(c, 4);
    uint32_t pack_a = format_packing(op_word(c.op, ATTR_a_format, WORD_none), type_dtype(a));
    uint32_t pack_b = format_packing(op_word(c.op, ATTR_b_format, WORD_none), type_dtype(b));
    if (!pack_a) return wrong(c, "%s does not hold the format of a", show(c, a));
    if (!pack_b) return wrong(c, "%s does not hold the format of b", show(c, b));
    const char *bad = check_matrices(c, a, b, sum, pack_a, pack_b);
    if (bad) return bad;
    uint32_t r = a->rank, k = a->shape[r - 1] * pack_a;
    if (k < 32) return wrong(c, "k is %u, but a scale covers 32", k);
    if ((bad = check_scale(c, 1, a, a->shape[r - 2], k))) return bad;
    if ((bad = check_scale(c, 3, b, b->shape[r - 1], k))) return bad;
    if (!dtype_is_float(type_dtype(sum))) return wrong(c, "operand 4 must be a float");
    return want_result(c, 0, sum);
}

/* ---- regions ---------------------------------------------------------------------------- */

/* The op a region ends in, when it is the one wanted. */
static const Op *region_end(const Region *region, OpCode code) {
    return region->last && region->last->code == code ? region->last : NULL;
}

/* `end` gives, from operand `skip` on, values of these types. */
static const char *want_given(Check c, const Op *end, uint32_t skip, uint32_t count,
                              const Type *(*wanted)(Check c, uint32_t i), const char *name) {
    if (!end) return wrong(c, "a region does not end in `%s`", name);
    if (end->operand_count != count + skip)
        return wrong(c, "`%s` gives %d values, but must give %u", name,
                     (int)end->operand_count - (int)skip, count);
    for (uint32_t i = 0; i < count; i++)
        if (op_operand(end, i + skip)->type != wanted(c, i))
            return wrong(c, "`%s` gives %s as value %u, but must give %s", name,
                         show(c, op_operand(end, i + skip)->type), i, show(c, wanted(c, i)));
    return NULL;
}

/* The region's arguments from `skip` on have these types. */
static const char *want_arguments(Check c, uint32_t region, uint32_t skip, uint32_t count,
                                  const Type *(*wanted)(Check c, uint32_t i)) {
    const Region *r = c.op->regions[region];
    if (r->argument_count != count + skip)
        return wrong(c, "region %u takes %u values, but must take %u", region, r->argument_count,
                     count + skip);
    for (uint32_t i = 0; i < count; i++)
        if (r->arguments[i + skip]->type != wanted(c, i))
            return wrong(c, "region %u takes %s as value %u, but must take %s", region,
                         show(c, r->arguments[i + skip]->type), i + skip, show(c, wanted(c, i)));
    return NULL;
}

static const Type *operand_element(Check c, uint32_t i) {
    return type_element(operand_type(c, i % c.op->operand_count));
}
static const Type *result_element(Check c, uint32_t i) {
    return type_element(result_type(c, i));
}
static const Type *carried_type(Check c, uint32_t i) {
    return operand_type(c, i + 3);
}

static const char *want_pure(Check c) {
    if (!op_has_effect(c.op, OPF_READS | OPF_WRITES | OPF_EFFECT)) return NULL;
    return wrong(c, "the region must neither touch memory nor have other effects");
}

static const char *check_reduce(Check c) {
    uint32_t n = c.op->operand_count;
    bool scan = c.op->code == OP_scan;
    const Type *first = operand_type(c, 0);
    const char *bad = want_block(c, 0);
    if (bad || (bad = want_axis(c, first, first->rank))) return bad;
    if (c.op->result_count != n)
        return wrong(c, "there are %u results for %u operands", c.op->result_count, n);
    uint32_t shape[MAX_RANK], rank = 0, axis = (uint32_t)op_int(c.op, ATTR_axis, 0);
    for (uint32_t i = 0; i < first->rank; i++)
        if (scan || i != axis) shape[rank++] = first->shape[i];
    for (uint32_t i = 0; i < n; i++) {
        const Type *type = operand_type(c, i);
        if ((bad = want_same_shape(c, first, type))) return bad;
        if ((bad = want_shape(c, i, type->element, rank, shape))) return bad;
    }
    if ((bad = want_arguments(c, 0, 0, 2 * n, operand_element))) return bad;
    const Op *yield = region_end(c.op->regions[0], OP_yield);
    if ((bad = want_given(c, yield, 0, n, operand_element, "yield"))) return bad;
    return want_pure(c);
}

static const char *check_map(Check c) {
    const char *bad = NULL;
    for (uint32_t i = 0; i < c.op->operand_count && !bad; i++)
        bad = want_same_shape(c, operand_type(c, 0), operand_type(c, i));
    for (uint32_t i = 0; i < c.op->result_count && !bad; i++)
        bad = want_same_shape(c, operand_type(c, 0), result_type(c, i));
    if (bad || (bad = want_arguments(c, 0, 0, c.op->operand_count, operand_element))) return bad;
    const Op *yield = region_end(c.op->regions[0], OP_yield);
    if ((bad = want_given(c, yield, 0, c.op->result_count, result_element, "yield"))) return bad;
    return want_pure(c);
}

static const char *check_histogram(Check c) {
    const Type *values = operand_type(c, 0), *counts = result_type(c, 0);
    if (values->rank != 1 || !dtype_is_int(type_dtype(values)))
        return wrong(c, "operand 0 is %s, but must be a row of integers", show(c, values));
    if (counts->rank != 1 || type_dtype(counts) != DT_i32)
        return wrong(c, "the result is %s, but must be a row of i32", show(c, counts));
    return c.op->operand_count > 1 ? want_mask(c, 1, values) : NULL;
}

static const char *check_for(Check c) {
    const Type *index = operand_type(c, 0);
    uint32_t n = c.op->operand_count - 3u;
    const char *bad = want_same_operands(c, 0, 3);
    if (bad) return bad;
    if (type_is_block(index) || !dtype_is_int(index->dtype) || index->dtype == DT_i1)
        return wrong(c, "the loop index is %s, but must be an integer", show(c, index));
    if (c.op->result_count != n)
        return wrong(c, "there are %u results for %u carried values", c.op->result_count, n);
    for (uint32_t i = 0; i < n; i++)
        if ((bad = want_result(c, i, carried_type(c, i)))) return bad;
    if ((bad = want_arguments(c, 0, 1, n, carried_type))) return bad;
    if (c.op->regions[0]->arguments[0]->type != index)
        return wrong(c, "the loop index is %s inside, but %s outside",
                     show(c, c.op->regions[0]->arguments[0]->type), show(c, index));
    return want_given(c, region_end(c.op->regions[0], OP_yield), 0, n, carried_type, "yield");
}

static const char *check_while(Check c) {
    uint32_t n = c.op->operand_count, m = c.op->result_count;
    const Op *condition = region_end(c.op->regions[0], OP_condition);
    const char *bad = want_arguments(c, 0, 0, n, operand_type);
    if (bad || (bad = want_arguments(c, 1, 0, m, result_type))) return bad;
    if ((bad = want_given(c, condition, 1, m, result_type, "condition"))) return bad;
    return want_given(c, region_end(c.op->regions[1], OP_yield), 0, n, operand_type, "yield");
}

static const char *check_if(Check c) {
    const char *bad = want_operand(c, 0, type_scalar(c.types, DT_i1));
    for (uint32_t i = 0; i < 2 && !bad; i++) {
        const Op *yield = region_end(c.op->regions[i], OP_yield);
        bad = want_arguments(c, i, 0, 0, result_type);
        if (!bad) bad = want_given(c, yield, 0, c.op->result_count, result_type, "yield");
    }
    return bad;
}

/* ---- the outside ------------------------------------------------------------------------ */

static const char *check_condition(Check c) {
    return want_operand(c, 0, type_scalar(c.types, DT_i1));
}

static const char *check_assert(Check c) {
    const Type *type = operand_type(c, 0);
    if (type_dtype(type) != DT_i1)
        return wrong(c, "operand 0 is %s, but must be i1", show(c, type));
    return c.op->operand_count > 1 ? want_mask(c, 1, type) : NULL;
}

static const char *check_inline_asm(Check c) {
    const Type *shape = c.op->operand_count  ? operand_type(c, 0)
                        : c.op->result_count ? result_type(c, 0)
                                             : NULL;
    const char *bad = NULL;
    for (uint32_t i = 0; i < c.op->operand_count && !bad; i++)
        bad = want_same_shape(c, shape, operand_type(c, i));
    for (uint32_t i = 0; i < c.op->result_count && !bad; i++)
        bad = want_same_shape(c, shape, result_type(c, i));
    if (!bad && op_int(c.op, ATTR_pack, 1) < 1) bad = wrong(c, "`pack` must be positive");
    return bad;
}

/* ---- dispatch --------------------------------------------------------------------------- */

static const char *check_explicit(Check c) {
    switch (c.op->code) {
    case OP_constant: return check_constant(c);
    case OP_arange: return check_arange(c);
    case OP_program_id:
    case OP_num_programs: return check_program_id(c);
    case OP_splat: return check_splat(c);
    case OP_broadcast: return check_broadcast(c);
    case OP_expand_dims: return check_expand_dims(c);
    case OP_reshape: return check_reshape(c);
    case OP_permute: return check_permute(c);
    case OP_join: return check_join(c);
    case OP_split: return check_split(c);
    case OP_concat: return check_concat(c);
    case OP_gather: return check_gather(c);
    case OP_extract: return check_extract(c);
    case OP_dot_scaled: return check_dot_scaled(c);
    case OP_map: return check_map(c);
    case OP_histogram: return check_histogram(c);
    case OP_inline_asm: return check_inline_asm(c);
    case OP_shared_alloc:
    case OP_shared_load: return rule_check_shared(c.types, c.arena, c.op);
    default: return wrong(c, "this op has no type rule");
    }
}

static const char *check_none(Check c) {
    switch (c.op->code) {
    case OP_condition:
    case OP_assume: return check_condition(c);
    case OP_assert: return check_assert(c);
    case OP_shared_store:
    case OP_async_copy: return rule_check_shared(c.types, c.arena, c.op);
    default: return NULL; /* any operands: yield, print; none: return, barrier */
    }
}

static const char *check_types(Check c) {
    switch (op_info(c.op)->rule) {
    case RULE_NONE: return check_none(c);
    case RULE_EXPLICIT: return check_explicit(c);
    case RULE_SAME:
    case RULE_SAME_INT:
    case RULE_SAME_FLOAT: return c.op->code == OP_hint ? check_hint(c) : check_same(c);
    case RULE_COMPARE: return check_compare(c);
    case RULE_SELECT: return check_select(c);
    case RULE_CAST: return check_cast(c);
    case RULE_OFFSET: return check_offset(c);
    case RULE_LOAD:
    case RULE_STORE:
    case RULE_ATOMIC: return check_memory(c);
    case RULE_DOT: return check_dot(c);
    case RULE_REDUCE:
    case RULE_SCAN: return check_reduce(c);
    case RULE_FOR: return check_for(c);
    case RULE_WHILE: return check_while(c);
    case RULE_IF: return check_if(c);
    }
    return NULL;
}

static const char *check_counts(Check c) {
    const OpInfo *info = op_info(c.op);
    int operands = c.op->operand_count, results = c.op->result_count;
    if (operands < info->min_operands ||
        (info->max_operands != MANY && operands > info->max_operands))
        return wrong(c, "there are %d operands, but must be %s%d", operands,
                     info->max_operands == info->min_operands ? ""
                     : operands < info->min_operands          ? "at least "
                                                              : "at most ",
                     operands < info->min_operands ? info->min_operands : info->max_operands);
    if (info->results != MANY && results != info->results)
        return wrong(c, "there are %d results, but must be %d", results, info->results);
    if (c.op->region_count != info->regions)
        return wrong(c, "there are %d regions, but must be %d", c.op->region_count, info->regions);
    return NULL;
}

const char *rule_check(Types *types, Arena *arena, const Op *op) {
    Check c = {types, arena, op};
    const char *bad = check_counts(c);
    if (!bad) bad = check_attributes(c);
    if (!bad) bad = check_types(c);
    return bad ? bad : rule_check_layouts(types, arena, op);
}
