/* dot.h: what the files of matrix products share.
 *
 *   unit     what the inner loop takes of a row of `a` at a time: one element, or, where the
 * machine multiplies pairs and adds both products, two neighbours along k panel    `count`
 * neighbours along m or n for each unit along k: [k][count] units, one after the other; the inner
 * loop reads a panel of b as a few vectors Pack     where an operand lies, converted, in one of two
 * forms: rows     a only: [m][k] units, with room between rows panels   [m or n / panel][k][panel]
 * units
 */
#ifndef TKC_COMPILER_CPU_DOT_H
#define TKC_COMPILER_CPU_DOT_H

#include "compiler/cpu/emit.h"

typedef enum DotKind {
    DOT_F32,
    DOT_F64,
    DOT_I32,
    DOT_BF16_PAIRS,
    DOT_I16_PAIRS,
    DOT_I8_QUADS
} DotKind;

typedef struct Dot {
    Emitter *e;
    const Op *op;
    DotKind kind;
    DType wide, sum;         /* what is multiplied, and what products are added in */
    RegType unit;            /* as the inner loop loads it */
    RegType type;            /* of `sum` */
    uint32_t size, per_unit; /* bytes of a unit (and of a sum); elements in it */
    uint32_t batch, m, n, k; /* k: units */
    uint32_t width, vectors; /* lanes of a vector, vectors of a panel of b */
    uint32_t rows;           /* of a tile */
    bool tf32;
} Dot;

typedef struct Pack {
    const Value *value;
    const Op *loop; /* packed before it; NULL: of one dot only */
    bool is_b, tf32, owned;
    DotKind kind;
    uint64_t slot, bytes;
    uint32_t panel; /* 0: rows */
    uint64_t pitch; /* rows: units from one to the next */
} Pack;

/* ---- dot.c ------------------------------------------------------------------------------------
 */

Dot dot_new(Emitter *e, const Op *op, uint32_t packed_a);
/* The product of what is packed, added to c: the op's result. Frees the packs that are its own. */
void dot_finish(const Dot *d, const Pack *a, const Pack *b, const Value *c);
static inline uint32_t dot_panel(const Dot *d) {
    return d->width * d->vectors;
}
/* Address of a unit. */
Reg dot_unit_at(const Dot *d, uint64_t slot, Reg index);
Reg dot_mul_add(Emitter *e, Reg a, uint64_t factor, Reg b); /* a * factor + b */
uint64_t dot_bytes(const Dot *d, uint64_t units);

/* ---- dot_pack.c -------------------------------------------------------------------------------
 */

Pack dot_operand(const Dot *d, uint32_t index);

/* ---- dot_tile.c -------------------------------------------------------------------------------
 */

/* Adds the product to the sums in the slot ([batch][m][n]); from_zero: writes it there. */
void dot_multiply(const Dot *d, const Pack *a, const Pack *b, uint64_t sums, bool from_zero);

#endif
