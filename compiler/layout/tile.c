/* tile.c: constructors of the layouts in tile.h, column by column. */
#include "compiler/layout/tile.h"

#include <assert.h>

/* Fills the bits of a block dim by dim: `next[d]` is the lowest bit of dim d not given yet. */
typedef struct Filling {
    uint32_t rank, shift[MAX_RANK], bits[MAX_RANK], next[MAX_RANK];
    Layout layout;
} Filling;

static Filling begin(uint32_t rank, const uint32_t *shape) {
    Filling f = {.rank = rank};
    uint32_t at = 0;
    for (uint32_t d = rank; d-- > 0;) {
        f.shift[d] = at;
        f.bits[d] = log2_exact(shape[d]);
        at += f.bits[d];
    }
    f.layout.out_bits = (uint8_t)at;
    return f;
}

/* One more bit of `place` along dim d; a copy when the dim is full. */
static void give(Filling *f, Place place, uint32_t d) {
    uint32_t column = f->next[d] < f->bits[d] ? 1u << (f->shift[d] + f->next[d]) : 0;
    f->next[d]++;
    if (place == PLACE_REGISTER && !column) return; /* a register never holds a copy */
    layout_push(&f->layout, place, column);
}

/* The rest of the block in registers, fastest dim first. */
static Layout finish(Filling *f, const uint32_t *order) {
    for (uint32_t i = 0; i < f->rank; i++) {
        uint32_t d = order ? order[i] : f->rank - 1 - i;
        while (f->next[d] < f->bits[d]) give(f, PLACE_REGISTER, d);
    }
    return f->layout;
}

Layout tile_blocked(uint32_t rank, const uint32_t *shape, const uint32_t *per_thread,
                    const uint32_t *lanes, const uint32_t *warps, const uint32_t *order) {
    Filling f = begin(rank, shape);
    const uint32_t *boxes[] = {per_thread, lanes, warps};
    for (int p = PLACE_REGISTER; p <= PLACE_WARP; p++)
        for (uint32_t i = 0; i < rank; i++)
            for (uint32_t b = 0; b < log2_exact(boxes[p][order[i]]); b++)
                give(&f, (Place)p, order[i]);
    assert(f.layout.bits[PLACE_LANE] == LANE_BITS);
    return finish(&f, order);
}

Layout tile_coalesced(uint32_t rank, const uint32_t *shape, const uint32_t *order, uint32_t vector,
                      uint32_t num_warps) {
    Filling f = begin(rank, shape);
    uint32_t left[] = {log2_exact(vector), LANE_BITS, log2_exact(num_warps)};
    for (int p = PLACE_REGISTER; p <= PLACE_WARP; p++)
        for (uint32_t i = 0; i < rank && left[p]; i++)
            while (left[p] && f.next[order[i]] < f.bits[order[i]]) {
                give(&f, (Place)p, order[i]);
                left[p]--;
            }
    for (int p = PLACE_LANE; p <= PLACE_WARP; p++)
        while (left[p]--) layout_push(&f.layout, (Place)p, 0);
    return finish(&f, order);
}

/* ---- mma.sync ---------------------------------------------------------------------------- */

uint32_t tile_mma_warps_m(uint32_t m, uint32_t n, uint32_t num_warps) {
    uint32_t warps_m = 1, warps_n = 1;
    while (warps_m * warps_n < num_warps) {
        uint32_t rows = m / (16 * warps_m), columns = n / (8 * warps_n);
        /* split the longer side of a warp's part, in elements; ties go to M, whose operand is
         * the one that stays in registers */
        if (rows >= 2 && (16 * rows >= 8 * columns || columns < 2))
            warps_m *= 2;
        else if (columns >= 2)
            warps_n *= 2;
        else
            warps_m *= 2; /* more warps than tiles: copies */
    }
    return warps_m;
}

/* Warps are numbered along M first. Operands get a copy bit for warps along the other side. */
static void give_warps(Filling *f, const MmaTile *t, bool has_m, bool has_n) {
    uint32_t m = t->rank - 2, n = t->rank - 1;
    for (uint32_t b = 0; b < log2_exact(t->warps_m); b++) {
        if (has_m)
            give(f, PLACE_WARP, m);
        else
            layout_push(&f->layout, PLACE_WARP, 0);
    }
    for (uint32_t b = 0; b < log2_exact(t->warps_n); b++) {
        if (has_n)
            give(f, PLACE_WARP, n);
        else
            layout_push(&f->layout, PLACE_WARP, 0);
    }
}

/* Result 16 x 8: lane = 4 * (row mod 8) + column / 2; registers: column mod 2, then row / 8. */
Layout tile_mma_result(const MmaTile *t) {
    Filling f = begin(t->rank, t->shape);
    uint32_t m = t->rank - 2, n = t->rank - 1;
    give(&f, PLACE_REGISTER, n);
    for (int b = 0; b < 2; b++) give(&f, PLACE_LANE, n);
    for (int b = 0; b < 3; b++) give(&f, PLACE_LANE, m);
    give(&f, PLACE_REGISTER, m);
    give_warps(&f, t, true, true);
    return finish(&f, NULL);
}

/* A, 16 x k (k fills 32 bytes a row): each lane has 4 bytes of row lane/4 in a register pair's
 * part; registers: within 4 bytes, then rows + 8, then the second 16 bytes of k. */
Layout tile_mma_a(const MmaTile *t, uint32_t element_bits) {
    Filling f = begin(t->rank, t->shape);
    uint32_t m = t->rank - 2, k = t->rank - 1;
    for (uint32_t w = element_bits; w < 32; w *= 2) give(&f, PLACE_REGISTER, k);
    for (int b = 0; b < 2; b++) give(&f, PLACE_LANE, k);
    for (int b = 0; b < 3; b++) give(&f, PLACE_LANE, m);
    give(&f, PLACE_REGISTER, m); /* f64: two instructions of 8 rows each, as the result has them */
    if (element_bits < 64) give(&f, PLACE_REGISTER, k);
    give_warps(&f, t, true, false);
    return finish(&f, NULL);
}

/* B, k x 8: lane/4 is the column, lane mod 4 the 4 bytes along k. */
Layout tile_mma_b(const MmaTile *t, uint32_t element_bits) {
    Filling f = begin(t->rank, t->shape);
    uint32_t k = t->rank - 2, n = t->rank - 1;
    for (uint32_t w = element_bits; w < 32; w *= 2) give(&f, PLACE_REGISTER, k);
    for (int b = 0; b < 2; b++) give(&f, PLACE_LANE, k);
    for (int b = 0; b < 3; b++) give(&f, PLACE_LANE, n);
    if (element_bits < 64) give(&f, PLACE_REGISTER, k);
    give_warps(&f, t, false, true);
    uint32_t order[3] = {n, k, 0};
    return finish(&f, order);
}

/* ---- shared memory ----------------------------------------------------------------------- */

Layout tile_shared(uint32_t rank, const uint32_t *shape, const uint32_t *order,
                   uint32_t vector_bits, uint32_t per_phase_bits, uint32_t phase_bits) {
    Filling f = begin(rank, shape);
    for (uint32_t i = 0; i < rank; i++)
        while (f.next[order[i]] < f.bits[order[i]]) give(&f, PLACE_OFFSET, order[i]);
    uint32_t row_bits = f.bits[order[0]];
    uint32_t *columns = f.layout.columns[PLACE_OFFSET];
    for (uint32_t b = 0; b < phase_bits; b++) {
        uint32_t row = row_bits + per_phase_bits + b, place = vector_bits + b;
        if (place >= row_bits || row >= f.layout.out_bits) break;
        columns[row] ^= columns[place];
    }
    return f.layout;
}

Layout tile_shared_for_rows(uint32_t rank, const uint32_t *shape, const uint32_t *order,
                            uint32_t element_size) {
    uint32_t element_bits = log2_exact(element_size), row = log2_exact(shape[order[0]]);
    uint32_t vector = element_bits < 4 ? 4 - element_bits : 0; /* 16 bytes */
    if (vector > row) vector = row;
    uint32_t row_bytes = row + element_bits;                /* log2 */
    uint32_t phase = row - vector < 3 ? row - vector : 3;   /* 8 vectors make 128 bytes */
    uint32_t per_phase = row_bytes < 7 ? 7 - row_bytes : 0; /* rows that share 128 bytes */
    return tile_shared(rank, shape, order, vector, per_phase, phase);
}

uint32_t shared_wavefronts(const uint32_t *address, uint32_t lanes, uint32_t bytes) {
    uint32_t group = bytes >= 16 ? 8 : bytes == 8 ? 16 : 32, total = 0;
    for (uint32_t from = 0; from < lanes; from += group) {
        uint32_t worst = 1;
        for (uint32_t bank = 0; bank < 32; bank++) { /* distinct words of this bank */
            uint32_t words[128], count = 0;
            for (uint32_t i = from; i < from + group && i < lanes; i++)
                for (uint32_t b = 0; b < bytes; b += 4) {
                    uint32_t word = (address[i] + b) / 4;
                    if (word % 32 != bank) continue;
                    bool seen = false;
                    for (uint32_t k = 0; k < count; k++) seen |= words[k] == word;
                    if (!seen) words[count++] = word;
                }
            if (count > worst) worst = count;
        }
        total += worst;
    }
    return total;
}
