/* layout.h: which thread holds which element of a block, as a linear map over GF(2).
 *
 * A worked example: a 4x4 block on a machine with 2 registers a thread, 4 lanes a warp, 2 warps.
 * Number the elements row-major: element (i, j) is number 4*i + j, in bits i1 i0 j1 j0. Say
 * that each thread holds two neighbours of a row, 2x2 threads make a warp, and the warps stand one
 * below the other:
 *
 *          j=0   j=1   j=2   j=3
 *     i=0  w0l0r0 w0l0r1 w0l1r0 w0l1r1        register bit 0 moves j0:  column 0001
 *     i=1  w0l2r0 w0l2r1 w0l3r0 w0l3r1        lane bit 0     moves j1:  column 0010
 *     i=2  w1l0r0 w1l0r1 w1l1r0 w1l1r1        lane bit 1     moves i0:  column 0100
 *     i=3  w1l2r0 w1l2r1 w1l3r0 w1l3r1        warp bit 0     moves i1:  column 1000
 *
 * The element that (register r, lane l, warp w) holds is the XOR of the columns of the bits that
 * are
 * set in r, l and w: thread w1 l1, register 1 holds 1000 ^ 0010 ^ 0001 = 1011 = (2, 3). That is
 * all a layout is: one column a hardware bit. Everything else is linear algebra on columns:
 *
 *   - A column of 0 means that the threads which differ in this bit hold the same element.
 *   - Two columns that share bits are a swizzle.
 *   - reshape keeps row-major numbers, so it keeps the layout; a transpose permutes the bits of
 * each
 *     column; a slice (what a reduction leaves) drops the bits of one dim.
 *   - Going from layout A to layout B is the map B^-1 A from hardware bits to hardware bits: when
 * it
 *     moves register bits only, the conversion is a renaming; when it keeps the warp bits, shuffles
 *     do it; else it goes through shared memory, whose offsets are one more input of such a map.
 *
 * Source of the idea: Zhou et al., "Linear Layouts: Robust Code Generation of Efficient Tensor
 * Computation Using F2", arXiv 2505.23819. Here a tensor coordinate is always the row-major number,
 * which makes one integer of each column.
 *
 * Layouts are small values, copied freely; no function allocates.
 */
#ifndef TKC_COMPILER_LAYOUT_LAYOUT_H
#define TKC_COMPILER_LAYOUT_LAYOUT_H

#include "compiler/type.h"

/* Inputs of a map. OFFSET: element offset in shared memory, for shared layouts only. */
typedef enum Place { PLACE_REGISTER, PLACE_LANE, PLACE_WARP, PLACE_OFFSET, PLACES } Place;

enum { MAX_PLACE_BITS = 20, LANE_BITS = 5 };

typedef struct Layout {
    uint8_t bits[PLACES];                      /* input bits of each place */
    uint8_t out_bits;                          /* bits of an element number: log2 of the count */
    uint32_t columns[PLACES][MAX_PLACE_BITS];  /* zero beyond bits[] */
} Layout;

uint32_t log2_exact(uint32_t power_of_two);

/* ---- reading ----------------------------------------------------------------------------- */

bool layout_equal(const Layout *a, const Layout *b);
uint32_t layout_total_bits(const Layout *l); /* over all places */
/* The XOR of the columns that `index` selects in one place. */
uint32_t layout_column_sum(const Layout *l, Place place, uint32_t index);
/* The element held by (register, lane, warp). */
uint32_t layout_element(const Layout *l, uint32_t reg, uint32_t lane, uint32_t warp);
uint32_t layout_rank(const Layout *l); /* of the matrix: out_bits when every element is held */
bool layout_is_onto(const Layout *l);
bool layout_is_one_to_one(const Layout *l);
/* Which bits of a place hold copies: bit k is set when column k depends on the columns before it
 * (places in order REGISTER, LANE, WARP; within one in bit order). A thread whose index has such a
 * bit set holds what another one holds too. */
uint32_t layout_copies(const Layout *l, Place place);

/* Elements next to each other in memory that one thread holds in registers 0, 1, 2, ...: the
 * largest 2^n such that register columns 0..n-1 are 1, 2, 4, ... in terms of `order` (bit position
 * k of contiguous memory is bit order[k] of an element number; NULL: the row-major numbers). */
uint32_t layout_vector_bits(const Layout *l, const uint8_t *order);

/* ---- algebra ----------------------------------------------------------------------------- */

/* Appends a column to a place. */
void layout_push(Layout *l, Place place, uint32_t column);

/* Solves l(x) = element for one x, the inputs as one number: REGISTER bits lowest, then LANE, WARP,
 * OFFSET. Bits that hold copies are 0 in x. False when no input holds the element. */
bool layout_find(const Layout *l, uint32_t element, uint32_t *input);

/* The same within one thread: an XOR of register columns that makes `element`. */
bool layout_find_register(const Layout *l, uint32_t element, uint32_t *reg);

/* A linear map on input numbers (packed as in layout_find): column k is the image of bit k. */
typedef struct BitMap {
    uint8_t in_bits, out_bits;
    uint32_t columns[32];
} BitMap;

uint32_t bit_map_apply(const BitMap *map, uint32_t x);
BitMap bit_map_compose(const BitMap *second, const BitMap *first); /* second(first(x)) */
bool bit_map_invert(const BitMap *map, BitMap *inverse);           /* false: singular */

/* For each input of `from`, an input of `to` that holds the same element (copies: the lowest one).
 * False when `to` lacks an element that `from` holds. */
bool layout_quotient(const Layout *from, const Layout *to, BitMap *map);

/* ---- shapes ------------------------------------------------------------------------------ */

/* The layout of the transposed block: result dim i is operand dim order[i]. */
Layout layout_permute(const Layout *l, uint32_t rank, const uint32_t *shape, const int64_t *order);
/* The layout after removing dim `axis` (of `shape`): what the threads hold once the elements along
 * it are one. Register bits that only moved along the axis disappear; lane and warp bits stay, with
 * a column of 0 (copies). `kept` (may be NULL) gets, for each register bit of the result, its bit
 * in the operand. */
Layout layout_slice(const Layout *l, uint32_t rank, const uint32_t *shape, uint32_t axis,
                    uint8_t *kept);
/* The inverse question: a layout for a block of shape `shape` (the one with extent 1 put back in
 * at `axis` is the same layout). When an extent of 1 is broadcast to 2^n, new register bits. */
Layout layout_broadcast(const Layout *l, uint32_t rank, const uint32_t *from, const uint32_t *to);
/* May `from`, of shape from_shape, be broadcast into `to` without moving data between threads?
 * (Lane and warp columns agree but for the repeated dims; each register comes from one of the same
 * thread.) map: register number of the result -> register number of the operand. */
bool layout_broadcast_map(const Layout *from, const Layout *to, uint32_t rank,
                          const uint32_t *from_shape, const uint32_t *to_shape, BitMap *map);
/* What `from` of layout_broadcast must be so that the result is `to`: `to` without the dims that
 * are repeated, its registers once each. */
Layout layout_unbroadcast(const Layout *to, uint32_t rank, const uint32_t *from_shape,
                          const uint32_t *to_shape);
/* The concatenation along dim 0 of two blocks with this layout: one more register bit, the last. */
Layout layout_concat(const Layout *l);
/* join adds a last dim of 2 as register bit 0; split removes the register bit that moves it (false
 * when a lane or warp bit does). */
Layout layout_join(const Layout *l);
bool layout_split(const Layout *l, Layout *half, uint32_t *register_bit);

/* Text for messages and IR: "r[1,2] l[4,8,..] w[..]"; a reader for the same form. */
void layout_print(const Layout *l, Text *out);
/* Reads the form at *text and moves it on; false (and *text where it failed) when it is not one. */
bool layout_read(const char **text, Layout *l);

/* ---- how to convert ---------------------------------------------------------------------- */

typedef enum ConversionKind {
    CONVERT_NOTHING,   /* the same element in the same place */
    CONVERT_REGISTERS, /* within each thread, all threads alike: a renaming */
    CONVERT_LANES,     /* within each warp, all warps alike: shuffles; lanes choose the register */
    CONVERT_SHARED     /* through shared memory */
} ConversionKind;

/* The cheapest way from one layout to another of the same block; `map` (may be NULL) gets the
 * quotient that reads: input of `to` -> the input of `from` that has the element. */
ConversionKind layout_conversion(const Layout *from, const Layout *to, BitMap *map);

#endif
