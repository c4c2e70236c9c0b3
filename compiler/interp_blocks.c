/* interp_blocks.c: leaves, and ops that move elements and never change them.
 *
 * Elements are moved by their size, rows at a time: a row is the last dimension of the result.
 */
#include "compiler/interp_internal.h"

/* ---- rows ----------------------------------------------------------------------------------- */

#define MOVE(bits)                                                                                 \
    HOT static void fill_##bits(size_t n, void *to, const void *from) {                            \
        uint##bits##_t *restrict r = to;                                                           \
        const uint##bits##_t x = *(const uint##bits##_t *)from;                                    \
        for (size_t i = 0; i < n; i++) r[i] = x;                                                   \
    }                                                                                              \
    static void stride_##bits(size_t n, void *to, size_t to_step, const void *from,                \
                              size_t from_step) {                                                  \
        uint##bits##_t *restrict r = to;                                                           \
        const uint##bits##_t *restrict x = from;                                                   \
        for (size_t i = 0; i < n; i++) r[i * to_step] = x[i * from_step];                          \
    }
MOVE(8)
MOVE(16)
MOVE(32)
MOVE(64)

/* n copies of one element. */
static void fill_row(size_t n, uint32_t size, void *to, const void *from) {
    switch (size) {
    case 1: fill_8(n, to, from); break;
    case 2: fill_16(n, to, from); break;
    case 4: fill_32(n, to, from); break;
    default: fill_64(n, to, from); break;
    }
}

void move_elements(size_t n, uint32_t size, void *to, size_t to_step, const void *from,
                   size_t from_step) {
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, n * size);
        return;
    }
    switch (size) {
    case 1: stride_8(n, to, to_step, from, from_step); break;
    case 2: stride_16(n, to, to_step, from, from_step); break;
    case 4: stride_32(n, to, to_step, from, from_step); break;
    default: stride_64(n, to, to_step, from, from_step); break;
    }
}

/* ---- leaves --------------------------------------------------------------------------------- */

bool interp_constant(Thread *t, const Step *step) {
    const Place *out = &step->out[0];
    const DType dtype = type_dtype(op_result(step->op, 0)->type);
    const uint64_t bits = eval_bits_from_number(dtype, op_attribute(step->op, ATTR_value));
    fill_row(out->stored, out->size, place_data(t, out), &bits);
    return true;
}

bool interp_arange(Thread *t, const Step *step) {
    int32_t *r = place_data(t, &step->out[0]);
    const int32_t start = (int32_t)op_int(step->op, ATTR_start, 0);
    for (uint32_t i = 0; i < step->out[0].count; i++) r[i] = start + (int32_t)i;
    return true;
}

static bool give_int(Thread *t, const Step *step, uint32_t value) {
    memcpy(place_data(t, &step->out[0]), &value, sizeof value);
    return true;
}

bool interp_program_id(Thread *t, const Step *step) {
    return give_int(t, step, t->program[op_int(step->op, ATTR_axis, 0)]);
}

bool interp_num_programs(Thread *t, const Step *step) {
    return give_int(t, step, t->run->launch->grid[op_int(step->op, ATTR_axis, 0)]);
}

/* ---- shape ---------------------------------------------------------------------------------- */

bool interp_splat(Thread *t, const Step *step) {
    const Place *out = &step->out[0];
    fill_row(out->stored, out->size, place_data(t, out), place_data(t, &step->in[0]));
    return true;
}

/* Walks the rows of a block of type `to` and copies row by row from an operand where a step along
 * dimension d is steps[d] elements. */
static void gather_rows(const Type *to, uint32_t size, uint8_t *result, const uint8_t *source,
                        const size_t *steps) {
    const uint32_t last = to->rank - 1, n = to->shape[last];
    uint32_t index[MAX_RANK] = {0};
    for (uint32_t done = 0; done < to->count; done += n) {
        size_t from = 0;
        for (uint32_t d = 0; d < last; d++) from += index[d] * steps[d];
        if (steps[last] == 0)
            fill_row(n, size, result + (size_t)done * size, source + from * size);
        else
            move_elements(n, size, result + (size_t)done * size, 1, source + from * size,
                          steps[last]);
        for (uint32_t d = last; d-- > 0 && ++index[d] == to->shape[d];) index[d] = 0;
    }
}

static void row_major_steps(const Type *type, size_t *steps) {
    size_t step = 1;
    for (uint32_t d = type->rank; d-- > 0; step *= type->shape[d]) steps[d] = step;
}

bool interp_broadcast(Thread *t, const Step *step) {
    const Type *from = op_operand(step->op, 0)->type, *to = op_result(step->op, 0)->type;
    const Place *in = &step->in[0], *out = &step->out[0];
    if (in->uniform || in->count == 1) {
        fill_row(out->stored, out->size, place_data(t, out), place_data(t, in));
        return true;
    }
    size_t steps[MAX_RANK];
    row_major_steps(from, steps);
    for (uint32_t d = 0; d < from->rank; d++)
        if (from->shape[d] == 1) steps[d] = 0;
    gather_rows(to, out->size, place_data(t, out), place_data(t, in), steps);
    return true;
}

bool interp_permute(Thread *t, const Step *step) {
    const Type *from = op_operand(step->op, 0)->type, *to = op_result(step->op, 0)->type;
    const int64_t *order = op_attribute(step->op, ATTR_order)->ints;
    size_t steps[MAX_RANK], permuted[MAX_RANK];
    row_major_steps(from, steps);
    for (uint32_t d = 0; d < to->rank; d++) permuted[d] = steps[order[d]];
    gather_rows(to, step->out[0].size, place_data(t, &step->out[0]), place_data(t, &step->in[0]),
                permuted);
    return true;
}

/* Views: planned away; as steps they copy. */
static bool copy_through(Thread *t, const Step *step) {
    copy_place(t, &step->in[0], &step->out[0]);
    return true;
}
bool interp_expand_dims(Thread *t, const Step *step) {
    return copy_through(t, step);
}
bool interp_reshape(Thread *t, const Step *step) {
    return copy_through(t, step);
}
bool interp_extract(Thread *t, const Step *step) {
    return copy_through(t, step);
}

bool interp_join(Thread *t, const Step *step) {
    const Place *in = step->in, *out = &step->out[0];
    uint8_t *r = place_data(t, out);
    move_elements(in[0].count, out->size, r, 2, place_data(t, &in[0]), 1);
    move_elements(in[1].count, out->size, r + out->size, 2, place_data(t, &in[1]), 1);
    return true;
}

bool interp_split(Thread *t, const Step *step) {
    const Place *in = &step->in[0], *out = step->out;
    const uint8_t *x = place_data(t, in);
    move_elements(out[0].count, in->size, place_data(t, &out[0]), 1, x, 2);
    move_elements(out[1].count, in->size, place_data(t, &out[1]), 1, x + in->size, 2);
    return true;
}

bool interp_concat(Thread *t, const Step *step) {
    const size_t half = (size_t)step->in[0].count * step->in[0].size;
    uint8_t *r = place_data(t, &step->out[0]);
    memcpy(r, place_data(t, &step->in[0]), half);
    memcpy(r + half, place_data(t, &step->in[1]), half);
    return true;
}

/* ---- by index -------------------------------------------------------------------------------- */

static int64_t element_int(const void *data, DType dtype, uint32_t i) {
    uint64_t bits = 0;
    const uint32_t size = dtype_size(dtype);
    memcpy(&bits, (const uint8_t *)data + (size_t)i * size, size);
    return eval_int_from_bits(dtype, bits);
}

static inline void copy_element(uint32_t size, uint8_t *to, const uint8_t *from) {
    switch (size) {
    case 1: *to = *from; return;
    case 2: memcpy(to, from, 2); return;
    case 4: memcpy(to, from, 4); return;
    default: memcpy(to, from, 8); return;
    }
}

bool interp_gather(Thread *t, const Step *step) {
    const Type *source = op_operand(step->op, 0)->type, *index = op_operand(step->op, 1)->type;
    const uint32_t axis = (uint32_t)op_int(step->op, ATTR_axis, 0), size = step->out[0].size;
    const uint8_t *x = place_data(t, &step->in[0]);
    const void *where = place_data(t, &step->in[1]);
    uint8_t *r = place_data(t, &step->out[0]);
    const DType dtype = type_dtype(index);
    const int64_t extent = source->shape[axis];
    uint32_t inner = 1, i = 0;
    for (uint32_t d = axis + 1; d < source->rank; d++) inner *= source->shape[d];
    const uint32_t part = index->shape[axis] * inner; /* what shares the dims before the axis */
    for (size_t first = 0; i < index->count; first += (size_t)extent * inner)
        for (const uint32_t end = i + part; i < end; i++) {
            const int64_t at =
                dtype == DT_i32 ? ((const int32_t *)where)[i] : element_int(where, dtype, i);
            if (at < 0 || at >= extent) {
                fault_text(t, step, FAULT_OUT_OF_BOUNDS,
                           "gather out of bounds: index %lld on axis %u, which has %u elements",
                           (long long)at, axis, source->shape[axis]);
                fault_element(t, index, i);
                return false;
            }
            copy_element(size, r + (size_t)i * size,
                         x + (first + (size_t)at * inner + i % inner) * size);
        }
    return true;
}

bool interp_histogram(Thread *t, const Step *step) {
    const DType dtype = type_dtype(op_operand(step->op, 0)->type);
    const void *values = place_data(t, &step->in[0]);
    const uint8_t *mask = step->op->operand_count > 1 ? place_data(t, &step->in[1]) : NULL;
    uint32_t *counts = place_data(t, &step->out[0]);
    memset(counts, 0, (size_t)step->out[0].count * sizeof *counts);
    for (uint32_t i = 0; i < step->in[0].count; i++) {
        const uint64_t bin = (uint64_t)element_int(values, dtype, i);
        if (bin < step->out[0].count && (!mask || mask[i])) counts[bin]++;
    }
    return true;
}

/* Never run: a view. */
bool interp_convert(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
