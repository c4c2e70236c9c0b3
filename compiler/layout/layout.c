/* layout.c: the algebra of layout.h. Matrices have at most 32 columns of 32 bits, so Gaussian
 * elimination on a handful of integers does everything.
 */
#include "compiler/layout/layout.h"

#include <assert.h>
#include <stdlib.h>

uint32_t log2_exact(uint32_t power_of_two) {
    assert(power_of_two && (power_of_two & (power_of_two - 1)) == 0);
    return (uint32_t)__builtin_ctz(power_of_two);
}

/* ---- reading ----------------------------------------------------------------------------- */

bool layout_equal(const Layout *a, const Layout *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

uint32_t layout_total_bits(const Layout *l) {
    uint32_t total = 0;
    for (int p = 0; p < PLACES; p++) total += l->bits[p];
    return total;
}

uint32_t layout_column_sum(const Layout *l, Place place, uint32_t index) {
    uint32_t sum = 0;
    for (uint32_t b = 0; b < l->bits[place]; b++)
        if (index >> b & 1) sum ^= l->columns[place][b];
    return sum;
}

uint32_t layout_element(const Layout *l, uint32_t reg, uint32_t lane, uint32_t warp) {
    return layout_column_sum(l, PLACE_REGISTER, reg) ^ layout_column_sum(l, PLACE_LANE, lane) ^
           layout_column_sum(l, PLACE_WARP, warp);
}

/* An echelon basis of columns, each with the combination of inputs that makes it. */
typedef struct Basis {
    uint32_t vector[32], inputs[32]; /* by leading bit; vector 0: none */
    uint32_t rank;
} Basis;

/* Reduces v by the basis; inputs are XORed along. */
static void reduce_by(const Basis *b, uint32_t *v, uint32_t *inputs) {
    while (*v) {
        uint32_t lead = 31u - (uint32_t)__builtin_clz(*v);
        if (!b->vector[lead]) return;
        *v ^= b->vector[lead];
        *inputs ^= b->inputs[lead];
    }
}

/* Adds a column made by `inputs`; false when it depends on those before. */
static bool basis_add(Basis *b, uint32_t v, uint32_t inputs) {
    for (;;) { /* full reduction below the first free leading bit */
        if (!v) return false;
        uint32_t lead = 31u - (uint32_t)__builtin_clz(v);
        if (!b->vector[lead]) {
            b->vector[lead] = v;
            b->inputs[lead] = inputs;
            b->rank++;
            return true;
        }
        v ^= b->vector[lead];
        inputs ^= b->inputs[lead];
    }
}

static Basis basis_of(const Layout *l) {
    Basis b = {.rank = 0};
    uint32_t input = 0;
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) basis_add(&b, l->columns[p][k], 1u << input++);
    return b;
}

uint32_t layout_rank(const Layout *l) {
    return basis_of(l).rank;
}
bool layout_is_onto(const Layout *l) {
    return layout_rank(l) == l->out_bits;
}
bool layout_is_one_to_one(const Layout *l) {
    return layout_rank(l) == layout_total_bits(l);
}

uint32_t layout_copies(const Layout *l, Place place) {
    Basis b = {.rank = 0};
    uint32_t copies = 0;
    for (int p = 0; p <= (int)place; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++)
            if (!basis_add(&b, l->columns[p][k], 0) && p == (int)place) copies |= 1u << k;
    return copies;
}

uint32_t layout_vector_bits(const Layout *l, const uint8_t *order) {
    uint32_t n = 0;
    while (n < l->bits[PLACE_REGISTER] && n < l->out_bits &&
           l->columns[PLACE_REGISTER][n] == 1u << (order ? order[n] : n))
        n++;
    /* the vector starts at a multiple of its size: no other column may touch its bits */
    for (;;) {
        uint32_t low = 0;
        for (uint32_t k = 0; k < n; k++) low |= 1u << (order ? order[k] : k);
        bool clean = true;
        for (int p = 0; p < PLACES; p++)
            for (uint32_t k = p == PLACE_REGISTER ? n : 0; k < l->bits[p]; k++)
                clean = clean && !(l->columns[p][k] & low);
        if (clean || n == 0) return n;
        n--;
    }
}

/* ---- algebra ----------------------------------------------------------------------------- */

void layout_push(Layout *l, Place place, uint32_t column) {
    assert(l->bits[place] < MAX_PLACE_BITS);
    l->columns[place][l->bits[place]++] = column;
}

bool layout_find(const Layout *l, uint32_t element, uint32_t *input) {
    Basis b = basis_of(l);
    *input = 0;
    reduce_by(&b, &element, input);
    return element == 0;
}

bool layout_find_register(const Layout *l, uint32_t element, uint32_t *reg) {
    Basis b = {.rank = 0};
    for (uint32_t k = 0; k < l->bits[PLACE_REGISTER]; k++)
        basis_add(&b, l->columns[PLACE_REGISTER][k], 1u << k);
    *reg = 0;
    reduce_by(&b, &element, reg);
    return element == 0;
}

uint32_t bit_map_apply(const BitMap *map, uint32_t x) {
    uint32_t y = 0;
    for (uint32_t k = 0; k < map->in_bits; k++)
        if (x >> k & 1) y ^= map->columns[k];
    return y;
}

BitMap bit_map_compose(const BitMap *second, const BitMap *first) {
    BitMap map = {.in_bits = first->in_bits, .out_bits = second->out_bits};
    for (uint32_t k = 0; k < first->in_bits; k++)
        map.columns[k] = bit_map_apply(second, first->columns[k]);
    return map;
}

bool bit_map_invert(const BitMap *map, BitMap *inverse) {
    Basis b = {.rank = 0};
    if (map->in_bits != map->out_bits) return false;
    for (uint32_t k = 0; k < map->in_bits; k++)
        if (!basis_add(&b, map->columns[k], 1u << k)) return false;
    *inverse = (BitMap){.in_bits = map->in_bits, .out_bits = map->out_bits};
    for (uint32_t k = 0; k < map->out_bits; k++) {
        uint32_t v = 1u << k;
        reduce_by(&b, &v, &inverse->columns[k]);
    }
    return true;
}

bool layout_quotient(const Layout *from, const Layout *to, BitMap *map) {
    Basis b = basis_of(to);
    uint32_t input = 0;
    *map = (BitMap){.in_bits = (uint8_t)layout_total_bits(from),
                    .out_bits = (uint8_t)layout_total_bits(to)};
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < from->bits[p]; k++, input++) {
            uint32_t v = from->columns[p][k];
            reduce_by(&b, &v, &map->columns[input]);
            if (v) return false;
        }
    return true;
}

/* ---- shapes ------------------------------------------------------------------------------ */

/* shift[d]: where dim d's bits begin in a row-major number. */
static uint32_t dim_shifts(uint32_t rank, const uint32_t *shape, uint32_t *shift) {
    uint32_t at = 0;
    for (uint32_t d = rank; d-- > 0;) {
        shift[d] = at;
        at += log2_exact(shape[d]);
    }
    return at;
}

static uint32_t dim_part(uint32_t number, uint32_t shift, uint32_t extent) {
    return number >> shift & (extent - 1);
}

/* Every column through one function of element numbers. */
#define MAP_COLUMNS(result, source, expression)                                                    \
    for (int p = 0; p < PLACES; p++)                                                               \
        for (uint32_t k = 0; k < (source)->bits[p]; k++) {                                         \
            uint32_t column = (source)->columns[p][k];                                             \
            (result).columns[p][k] = (expression);                                                 \
        }

static uint32_t permute_number(uint32_t number, uint32_t rank, const uint32_t *shape,
                               const uint32_t *from, const uint32_t *to, const int64_t *order) {
    uint32_t r = 0;
    for (uint32_t d = 0; d < rank; d++)
        r |= dim_part(number, from[order[d]], shape[order[d]]) << to[d];
    return r;
}

Layout layout_permute(const Layout *l, uint32_t rank, const uint32_t *shape, const int64_t *order) {
    uint32_t from[MAX_RANK], to[MAX_RANK], permuted[MAX_RANK];
    for (uint32_t d = 0; d < rank; d++) permuted[d] = shape[order[d]];
    dim_shifts(rank, shape, from);
    dim_shifts(rank, permuted, to);
    Layout r = *l;
    MAP_COLUMNS(r, l, permute_number(column, rank, shape, from, to, order))
    return r;
}

/* The number without the bits [shift, shift + bits). */
static uint32_t drop_bits(uint32_t number, uint32_t shift, uint32_t bits) {
    uint32_t low = number & ((1u << shift) - 1);
    return (uint32_t)((uint64_t)number >> (shift + bits)) << shift | low;
}

Layout layout_slice(const Layout *l, uint32_t rank, const uint32_t *shape, uint32_t axis,
                    uint8_t *kept) {
    uint32_t shift[MAX_RANK], bits = log2_exact(shape[axis]);
    dim_shifts(rank, shape, shift);
    Layout r = {.out_bits = (uint8_t)(l->out_bits - bits)};
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) {
            uint32_t column = drop_bits(l->columns[p][k], shift[axis], bits);
            if (p == PLACE_REGISTER && !column) continue;
            if (p == PLACE_REGISTER && kept) kept[r.bits[p]] = (uint8_t)k;
            layout_push(&r, (Place)p, column);
        }
    return r;
}

Layout layout_broadcast(const Layout *l, uint32_t rank, const uint32_t *from, const uint32_t *to) {
    uint32_t old_shift[MAX_RANK], new_shift[MAX_RANK];
    Layout r = *l;
    dim_shifts(rank, from, old_shift);
    r.out_bits = (uint8_t)dim_shifts(rank, to, new_shift);
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) {
            uint32_t column = 0;
            for (uint32_t d = 0; d < rank; d++)
                column |= dim_part(l->columns[p][k], old_shift[d], from[d]) << new_shift[d];
            r.columns[p][k] = column;
        }
    for (uint32_t d = rank; d-- > 0;) /* the repeated elements are one thread's */
        if (from[d] == 1)
            for (uint32_t b = 0; b < log2_exact(to[d]); b++)
                layout_push(&r, PLACE_REGISTER, 1u << (new_shift[d] + b));
    return r;
}

/* The element of the small block that is repeated at this element of the large one. */
static uint32_t unrepeat(uint32_t number, uint32_t rank, const uint32_t *from_shape,
                         const uint32_t *to_shape) {
    uint32_t small[MAX_RANK], large[MAX_RANK], r = 0;
    dim_shifts(rank, from_shape, small);
    dim_shifts(rank, to_shape, large);
    for (uint32_t d = 0; d < rank; d++) r |= dim_part(number, large[d], from_shape[d]) << small[d];
    return r;
}

bool layout_broadcast_map(const Layout *from, const Layout *to, uint32_t rank,
                          const uint32_t *from_shape, const uint32_t *to_shape, BitMap *map) {
    *map = (BitMap){.in_bits = to->bits[PLACE_REGISTER], .out_bits = from->bits[PLACE_REGISTER]};
    for (int p = PLACE_LANE; p <= PLACE_WARP; p++) {
        if (from->bits[p] != to->bits[p]) return false;
        for (uint32_t k = 0; k < to->bits[p]; k++)
            if (unrepeat(to->columns[p][k], rank, from_shape, to_shape) != from->columns[p][k])
                return false;
    }
    for (uint32_t k = 0; k < to->bits[PLACE_REGISTER]; k++) {
        uint32_t element = unrepeat(to->columns[PLACE_REGISTER][k], rank, from_shape, to_shape);
        if (!layout_find_register(from, element, &map->columns[k])) return false;
    }
    return true;
}

Layout layout_unbroadcast(const Layout *to, uint32_t rank, const uint32_t *from_shape,
                          const uint32_t *to_shape) {
    Layout r = {.out_bits = 0};
    for (uint32_t d = 0; d < rank; d++) r.out_bits += (uint8_t)log2_exact(from_shape[d]);
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < to->bits[p]; k++) {
            uint32_t column = unrepeat(to->columns[p][k], rank, from_shape, to_shape), reg;
            if (p == PLACE_REGISTER && layout_find_register(&r, column, &reg)) continue;
            layout_push(&r, (Place)p, column);
        }
    return r;
}

Layout layout_concat(const Layout *l) {
    Layout r = *l;
    layout_push(&r, PLACE_REGISTER, 1u << l->out_bits);
    r.out_bits++;
    return r;
}

Layout layout_join(const Layout *l) {
    Layout r = {.out_bits = (uint8_t)(l->out_bits + 1)};
    layout_push(&r, PLACE_REGISTER, 1);
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) layout_push(&r, (Place)p, l->columns[p][k] << 1);
    return r;
}

bool layout_split(const Layout *l, Layout *half, uint32_t *register_bit) {
    *half = (Layout){.out_bits = (uint8_t)(l->out_bits - 1)};
    bool found = false;
    for (int p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < l->bits[p]; k++) {
            uint32_t column = l->columns[p][k];
            if (!(column & 1)) {
                layout_push(half, (Place)p, column >> 1);
                continue;
            }
            if (p != PLACE_REGISTER || column != 1 || found) return false;
            found = true;
            *register_bit = k;
        }
    return found;
}

/* ---- text -------------------------------------------------------------------------------- */

static const char place_letters[] = {'r', 'l', 'w', 'o'};

void layout_print(const Layout *l, Text *out) {
    text_printf(out, "%u", l->out_bits);
    for (int p = 0; p < PLACES; p++) {
        if (!l->bits[p]) continue;
        text_printf(out, " %c[", place_letters[p]);
        for (uint32_t k = 0; k < l->bits[p]; k++)
            text_printf(out, k ? ",%u" : "%u", l->columns[p][k]);
        text_puts(out, "]");
    }
}

static bool read_number(const char **text, uint32_t limit, uint32_t *value) {
    uint64_t n = 0;
    const char *s = *text;
    if (*s < '0' || *s > '9') return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        n = n * 10 + (uint64_t)(*s - '0');
        if (n > limit) return false;
    }
    *text = s;
    *value = (uint32_t)n;
    return true;
}

bool layout_read(const char **text, Layout *l) {
    uint32_t value;
    *l = (Layout){.out_bits = 0};
    if (!read_number(text, MAX_PLACE_BITS, &value)) return false;
    l->out_bits = (uint8_t)value;
    for (int p = 0; p < PLACES; p++) {
        const char *s = *text;
        if (s[0] != ' ' || s[1] != place_letters[p] || s[2] != '[') continue;
        s += 3;
        for (;;) {
            if (l->bits[p] == MAX_PLACE_BITS || !read_number(&s, (1u << l->out_bits) - 1, &value)) {
                *text = s;
                return false;
            }
            layout_push(l, (Place)p, value);
            if (*s == ']') break;
            if (*s++ != ',') {
                *text = s - 1;
                return false;
            }
        }
        *text = s + 1;
    }
    return true;
}

/* ---- how to convert ---------------------------------------------------------------------- */

/* For each input of `to` an input of `from` with the element, preferring the thread itself: a bit
 * of `to` that may stay where it is does. */
static bool reading_map(const Layout *from, const Layout *to, BitMap *map) {
    if (!layout_quotient(to, from, map)) return false;
    Layout registers = {.out_bits = from->out_bits}; /* what a thread reaches by itself */
    registers.bits[PLACE_REGISTER] = from->bits[PLACE_REGISTER];
    memcpy(registers.columns[PLACE_REGISTER], from->columns[PLACE_REGISTER],
           sizeof registers.columns[PLACE_REGISTER]);
    uint32_t input = 0, first = 0; /* first: the place's lowest bit in an input of `from` */
    for (int p = PLACE_REGISTER; p <= PLACE_WARP; first += from->bits[p++])
        for (uint32_t k = 0; k < to->bits[p]; k++, input++) {
            uint32_t rest, reg;
            if (k >= from->bits[p]) continue;
            rest = to->columns[p][k] ^ from->columns[p][k];
            if (p == PLACE_REGISTER && rest) continue;
            if (layout_find(&registers, rest, &reg)) map->columns[input] = 1u << (first + k) | reg;
        }
    return true;
}

ConversionKind layout_conversion(const Layout *from, const Layout *to, BitMap *out) {
    BitMap map;
    if (!reading_map(from, to, &map)) {
        assert(!"two layouts of one block hold the same elements");
        return CONVERT_SHARED;
    }
    if (out) *out = map;
    uint32_t fr = from->bits[PLACE_REGISTER], tr = to->bits[PLACE_REGISTER];
    uint32_t lanes = from->bits[PLACE_LANE], warps = from->bits[PLACE_WARP];
    bool same_machine = lanes == to->bits[PLACE_LANE] && warps == to->bits[PLACE_WARP];
    if (!same_machine) return CONVERT_SHARED;
    /* thread bits of the map, seen from `to` (inputs tr...) to `from` (outputs fr...) */
    bool warp_stays = true, lane_stays = true;
    for (uint32_t k = 0; k < map.in_bits; k++) {
        uint32_t thread = map.columns[k] >> fr, registers = map.columns[k] & ((1u << fr) - 1);
        uint32_t wanted = k < tr ? 0 : 1u << (k - tr);
        uint32_t lane_mask = (1u << lanes) - 1;
        bool is_lane = k >= tr && k < tr + lanes, is_warp = k >= tr + lanes;
        /* a lane (warp) that reads another register than its neighbours: no renaming does that */
        lane_stays =
            lane_stays && (thread & lane_mask) == (wanted & lane_mask) && !(is_lane && registers);
        warp_stays = warp_stays && thread >> lanes == wanted >> lanes &&
                     !(is_warp && map.columns[k] != 1u << (k - tr + fr));
    }
    if (!warp_stays) return CONVERT_SHARED;
    if (!lane_stays) return CONVERT_LANES;
    bool same = fr == tr;
    for (uint32_t k = 0; k < map.in_bits && same; k++) same = map.columns[k] == 1u << k;
    return same ? CONVERT_NOTHING : CONVERT_REGISTERS;
}
