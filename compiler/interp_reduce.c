/* interp_reduce.c: reduce, scan, map: ops with a region that says what happens to elements.
 *
 * The region runs on up to LANES elements at a time when the plan found that it can, otherwise on
 * one. The order in which elements meet is part of the language here, and the same everywhere:
 *
 *     reduce   neighbours along the axis first, then neighbours of the results, ...:
 *              ((x0 x1) (x2 x3)) ((x4 x5) (x6 x7)). The earlier one is on the left.
 *     scan     from the first to the last (reverse: from the last to the first):
 *              y0 = x0, y1 = (y0 x1), y2 = (y1 x2)
 *
 * Each step rounds to the dtype of the operand.
 *
 * A block is seen as [outer, axis, inner]. Halving the axis pairs element [q, 0, i] with [q, 1, i]
 * of the same bytes seen as [outer * axis / 2, 2, inner].
 */
#include "compiler/interp_internal.h"

/* ---- running the region ---------------------------------------------------------------------- */

/* The region's steps on n lanes; its arguments are in place. */
static bool run_lanes(Thread *t, const Step *step, uint32_t n) {
    const Block *block = &step->blocks[0];
    if (step->lanes == 1) return may_go_on(t) && run_block(t, block);
    for (uint32_t i = 0; i < block->count; i++) {
        const Step *inner = &block->steps[i];
        const void *operands[3];
        if (!op_is(inner->op, OPF_ELEMENT) || !inner->code) { /* a constant; or a fault to be */
            if (!inner->run(t, inner)) return false;
            continue;
        }
        for (uint32_t k = 0; k < inner->op->operand_count; k++)
            operands[k] = place_data(t, &inner->in[k]);
        eval_block(inner->code, n, place_data(t, &inner->out[0]), operands);
    }
    return true;
}

/* ---- pairs of neighbours --------------------------------------------------------------------- */

#define PAIRS(bits)                                                                                \
    HOT static void pairs_##bits(size_t n, void *left, void *right, const void *from) {            \
        uint##bits##_t *restrict l = left, *restrict r = right;                                    \
        const uint##bits##_t *restrict x = from;                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            l[i] = x[2 * i];                                                                       \
            r[i] = x[2 * i + 1];                                                                   \
        }                                                                                          \
    }
PAIRS(8)
PAIRS(16)
PAIRS(32)
PAIRS(64)

/* Lanes first .. first + n of [pairs, 2, inner], taken apart. */
static void take_pairs(uint32_t first, uint32_t n, uint32_t inner, uint32_t size, uint8_t *left,
                       uint8_t *right, const uint8_t *from) {
    if (inner == 1) {
        from += (size_t)first * 2 * size;
        switch (size) {
        case 1: pairs_8(n, left, right, from); break;
        case 2: pairs_16(n, left, right, from); break;
        case 4: pairs_32(n, left, right, from); break;
        default: pairs_64(n, left, right, from); break;
        }
        return;
    }
    for (uint32_t done = 0; done < n;) {
        const uint32_t pair = (first + done) / inner, i = (first + done) % inner;
        const uint32_t run = inner - i < n - done ? inner - i : n - done;
        const uint8_t *x = from + ((size_t)pair * 2 * inner + i) * size;
        memcpy(left + (size_t)done * size, x, (size_t)run * size);
        memcpy(right + (size_t)done * size, x + (size_t)inner * size, (size_t)run * size);
        done += run;
    }
}

typedef struct Reduction {
    const uint8_t *from; /* the level above: [2 * lanes] */
    uint8_t *half;       /* scratch: results of a level */
    uint8_t *spare;      /* scratch: LANES elements */
    uint8_t *result;
    uint32_t size;
} Reduction;

/* One level of a recognised combine function: no region is run. */
static void combine_pairs(const Step *step, Reduction *r, uint8_t *to, uint32_t lanes,
                          uint32_t inner) {
    uint8_t left[LANES * 8], right[LANES * 8];
    const uint32_t size = r->size;
    if (inner >= 64) { /* long rows combine where they lie; in place needs the spare */
        for (uint32_t q = 0; q < lanes / inner; q++)
            for (uint32_t i = 0; i < inner; i += LANES) {
                const uint32_t n = inner - i < LANES ? inner - i : LANES;
                const uint8_t *x = r->from + ((size_t)q * 2 * inner + i) * size;
                const void *operands[2] = {x, x + (size_t)inner * size};
                uint8_t *place = to + ((size_t)q * inner + i) * size;
                eval_block(step->code, n, place == x ? r->spare : place, operands);
                if (place == x) memcpy(place, r->spare, (size_t)n * size);
            }
        return;
    }
    for (uint32_t first = 0; first < lanes; first += LANES) {
        const uint32_t n = lanes - first < LANES ? lanes - first : LANES;
        const void *operands[2] = {left, right};
        take_pairs(first, n, inner, size, left, right, r->from);
        eval_block(step->code, n, to + (size_t)first * size, operands);
    }
}

static bool region_pairs(Thread *t, const Step *step, Reduction *r, uint8_t *const *to,
                         uint32_t lanes, uint32_t inner) {
    const Block *block = &step->blocks[0];
    const uint32_t count = step->op->operand_count;
    for (uint32_t first = 0; first < lanes; first += step->lanes) {
        const uint32_t n = lanes - first < step->lanes ? lanes - first : step->lanes;
        for (uint32_t k = 0; k < count; k++)
            take_pairs(first, n, inner, r[k].size, place_data(t, &block->arguments[k]),
                       place_data(t, &block->arguments[count + k]), r[k].from);
        if (!run_lanes(t, step, n)) return false;
        for (uint32_t k = 0; k < count; k++)
            memcpy(to[k] + (size_t)first * r[k].size, place_data(t, &block->gives[k]),
                   (size_t)n * r[k].size);
    }
    return true;
}

static uint32_t inner_extent(const Op *op) {
    const Type *type = op_operand(op, 0)->type;
    uint32_t inner = 1;
    for (uint32_t d = (uint32_t)op_int(op, ATTR_axis, 0) + 1; d < type->rank; d++)
        inner *= type->shape[d];
    return inner;
}

static uint32_t axis_extent(const Op *op) {
    return op_operand(op, 0)->type->shape[op_int(op, ATTR_axis, 0)];
}

/* Halves the axis until it is gone. The last level writes the result; what a level writes in the
 * scratch lies before what it still has to read. */
static bool reduce_all(Thread *t, const Step *step, Reduction *r, uint8_t **to) {
    const uint32_t count = step->op->operand_count, inner = inner_extent(step->op);
    uint32_t lanes = step->in[0].count;
    for (uint32_t axis = axis_extent(step->op); axis > 1; axis /= 2) {
        lanes /= 2;
        for (uint32_t k = 0; k < count; k++) to[k] = axis == 2 ? r[k].result : r[k].half;
        if (step->code)
            combine_pairs(step, &r[0], to[0], lanes, inner);
        else if (!region_pairs(t, step, r, to, lanes, inner))
            return false;
        for (uint32_t k = 0; k < count; k++) r[k].from = to[k];
    }
    return true;
}

enum { MAX_TOGETHER = 64 }; /* blocks that one reduce may take */

bool interp_reduce(Thread *t, const Step *step) {
    const uint32_t count = step->op->operand_count;
    Reduction r[MAX_TOGETHER];
    uint8_t *to[MAX_TOGETHER];
    uint8_t *scratch = t->base[0] + step->scratch;
    if (count > MAX_TOGETHER)
        return fault_text(t, step, FAULT_UNSUPPORTED, "a reduce of more than %d blocks",
                          MAX_TOGETHER);
    for (uint32_t k = 0; k < count; k++) {
        const Place *in = &step->in[k];
        r[k] = (Reduction){.from = place_data(t, in), .size = in->size};
        r[k].result = place_data(t, &step->out[k]);
        r[k].half = scratch;
        scratch += ((uint64_t)in->count / 2 * in->size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        r[k].spare = scratch;
        scratch += (step->lanes * (uint64_t)in->size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        if (axis_extent(step->op) == 1)
            memcpy(r[k].result, r[k].from, (size_t)in->count * in->size);
    }
    return reduce_all(t, step, r, to);
}

/* ---- scan ------------------------------------------------------------------------------------ */

/* Lanes first .. first + n of plane j along the axis: from the block, or into it. */
static void move_plane(const Op *op, uint32_t j, uint32_t first, uint32_t n, uint32_t size,
                       uint8_t *block, uint8_t *lanes, bool into) {
    const uint32_t inner = inner_extent(op), axis = axis_extent(op);
    if (inner == 1) {
        uint8_t *at = block + ((size_t)first * axis + j) * size;
        move_elements(n, size, into ? at : lanes, into ? axis : 1, into ? lanes : at,
                      into ? 1 : axis);
        return;
    }
    for (uint32_t done = 0; done < n;) {
        const uint32_t o = (first + done) / inner, i = (first + done) % inner;
        const uint32_t run = inner - i < n - done ? inner - i : n - done;
        uint8_t *at = block + (((size_t)o * axis + j) * inner + i) * size;
        uint8_t *lane = lanes + (size_t)done * size;
        memcpy(into ? at : lane, into ? lane : at, (size_t)run * size);
        done += run;
    }
}

static bool scan_lanes(Thread *t, const Step *step, uint32_t first, uint32_t n) {
    const Block *block = &step->blocks[0];
    const Op *op = step->op;
    const uint32_t count = op->operand_count, axis = axis_extent(op);
    const bool reverse = op_int(op, ATTR_reverse, 0) != 0;
    for (uint32_t s = 0; s < axis; s++) {
        const uint32_t j = reverse ? axis - 1 - s : s;
        for (uint32_t k = 0; k < count; k++)
            move_plane(op, j, first, n, step->in[k].size, place_data(t, &step->in[k]),
                       place_data(t, &block->arguments[s == 0 ? k : count + k]), false);
        if (s > 0 && !run_lanes(t, step, n)) return false;
        for (uint32_t k = 0; k < count; k++)
            move_plane(op, j, first, n, step->in[k].size, place_data(t, &step->out[k]),
                       place_data(t, s == 0 ? &block->arguments[k] : &block->gives[k]), true);
        /* Arguments last: a region may give an argument as it is. */
        for (uint32_t k = 0; k < count && s + 1 < axis; k++)
            move_plane(op, j, first, n, step->in[k].size, place_data(t, &step->out[k]),
                       place_data(t, &block->arguments[k]), false);
    }
    return true;
}

bool interp_scan(Thread *t, const Step *step) {
    const uint32_t lanes = step->in[0].count / axis_extent(step->op);
    for (uint32_t first = 0; first < lanes; first += step->lanes) {
        const uint32_t n = lanes - first < step->lanes ? lanes - first : step->lanes;
        if (!scan_lanes(t, step, first, n)) return false;
    }
    return true;
}

/* ---- map ------------------------------------------------------------------------------------- */

bool interp_map(Thread *t, const Step *step) {
    const Block *block = &step->blocks[0];
    const Op *op = step->op;
    const uint32_t count = step->in[0].count;
    for (uint32_t first = 0; first < count; first += step->lanes) {
        const uint32_t n = count - first < step->lanes ? count - first : step->lanes;
        for (uint32_t k = 0; k < op->operand_count; k++) {
            const uint8_t *from = place_data(t, &step->in[k]);
            const size_t size = step->in[k].size;
            memcpy(place_data(t, &block->arguments[k]), from + first * size, n * size);
        }
        if (!run_lanes(t, step, n)) return false;
        for (uint32_t k = 0; k < op->result_count; k++) {
            uint8_t *to = place_data(t, &step->out[k]);
            const size_t size = step->out[k].size;
            memcpy(to + first * size, place_data(t, &block->gives[k]), n * size);
        }
    }
    return true;
}
