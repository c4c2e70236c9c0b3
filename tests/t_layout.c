/* t_layout.c: linear layouts. Small cases are checked element by element against what the words in
 * layout.h say; the mma fragments against the formulas of the PTX ISA; large ones by properties. */
#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>

#include "compiler/layout/layout.h"
#include "compiler/layout/tile.h"

static uint32_t random_state = 12345;
static uint32_t random_bits(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* The example in layout.h. */
static Layout example(void) {
    Layout l = {.out_bits = 4};
    layout_push(&l, PLACE_REGISTER, 1);
    layout_push(&l, PLACE_LANE, 2);
    layout_push(&l, PLACE_LANE, 4);
    layout_push(&l, PLACE_WARP, 8);
    return l;
}

/* A random layout of 2^out elements that holds each of them. */
static Layout random_onto(uint32_t out, uint32_t registers, uint32_t lanes, uint32_t warps) {
    for (;;) {
        Layout l = {.out_bits = (uint8_t)out};
        uint32_t bits[] = {registers, lanes, warps};
        for (int p = 0; p < 3; p++)
            for (uint32_t k = 0; k < bits[p]; k++)
                layout_push(&l, (Place)p, random_bits() & ((1u << out) - 1));
        if (layout_is_onto(&l)) return l;
    }
}

START_TEST(the_example_holds_what_the_header_says) {
    static const char *const rows[4][4] = {{"w0l0r0", "w0l0r1", "w0l1r0", "w0l1r1"},
                                           {"w0l2r0", "w0l2r1", "w0l3r0", "w0l3r1"},
                                           {"w1l0r0", "w1l0r1", "w1l1r0", "w1l1r1"},
                                           {"w1l2r0", "w1l2r1", "w1l3r0", "w1l3r1"}};
    Layout l = example();
    for (uint32_t w = 0; w < 2; w++)
        for (uint32_t lane = 0; lane < 4; lane++)
            for (uint32_t r = 0; r < 2; r++) {
                uint32_t e = layout_element(&l, r, lane, w);
                char name[16];
                snprintf(name, sizeof name, "w%ul%ur%u", w, lane, r);
                ck_assert_str_eq(name, rows[e / 4][e % 4]);
            }
    ck_assert(layout_is_onto(&l) && layout_is_one_to_one(&l));
    ck_assert_uint_eq(layout_vector_bits(&l, NULL), 1);
}
END_TEST

START_TEST(find_inverts_every_element) {
    for (int round = 0; round < 200; round++) {
        Layout l = random_onto(5, 2, 3, 2);
        for (uint32_t e = 0; e < 32; e++) {
            uint32_t x;
            ck_assert(layout_find(&l, e, &x));
            ck_assert_uint_eq(layout_element(&l, x & 3, x >> 2 & 7, x >> 5), e);
        }
    }
    Layout half = {.out_bits = 2};
    uint32_t x;
    layout_push(&half, PLACE_REGISTER, 1);
    ck_assert(!layout_find(&half, 2, &x));
    ck_assert(!layout_is_onto(&half));
}
END_TEST

START_TEST(bit_maps_compose_and_invert) {
    uint32_t inverted = 0;
    for (int round = 0; round < 300; round++) {
        BitMap a = {.in_bits = 6, .out_bits = 6}, b = a, inverse;
        for (int k = 0; k < 6; k++) {
            a.columns[k] = random_bits() & 63;
            b.columns[k] = random_bits() & 63;
        }
        BitMap both = bit_map_compose(&a, &b);
        for (uint32_t x = 0; x < 64; x++)
            ck_assert_uint_eq(bit_map_apply(&both, x), bit_map_apply(&a, bit_map_apply(&b, x)));
        uint64_t seen = 0;
        for (uint32_t x = 0; x < 64; x++) seen |= 1ull << bit_map_apply(&a, x);
        bool regular = seen == UINT64_MAX;
        ck_assert_int_eq(bit_map_invert(&a, &inverse), regular);
        inverted += regular;
        for (uint32_t x = 0; regular && x < 64; x++)
            ck_assert_uint_eq(bit_map_apply(&inverse, bit_map_apply(&a, x)), x);
    }
    ck_assert_uint_gt(inverted, 30);
}
END_TEST

START_TEST(copies_are_the_bits_that_change_nothing_new) {
    Layout l = {.out_bits = 2};
    layout_push(&l, PLACE_REGISTER, 1);
    layout_push(&l, PLACE_LANE, 0);
    layout_push(&l, PLACE_LANE, 2);
    layout_push(&l, PLACE_WARP, 3); /* 1 ^ 2 */
    ck_assert_uint_eq(layout_copies(&l, PLACE_REGISTER), 0);
    ck_assert_uint_eq(layout_copies(&l, PLACE_LANE), 1);
    ck_assert_uint_eq(layout_copies(&l, PLACE_WARP), 1);
}
END_TEST

/* ---- shapes: element by element ------------------------------------------------------------- */

START_TEST(permute_moves_coordinates) {
    const uint32_t shape[3] = {2, 4, 8};
    const int64_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int o = 0; o < 6; o++) {
        Layout l = random_onto(6, 3, 2, 1), p = layout_permute(&l, 3, shape, orders[o]);
        for (uint32_t x = 0; x < 64; x++) {
            uint32_t e = layout_element(&l, x & 7, x >> 3 & 3, x >> 5);
            uint32_t c[3] = {e / 32, e / 8 % 4, e % 8}, r = 0;
            for (int d = 0; d < 3; d++) r = r * shape[orders[o][d]] + c[orders[o][d]];
            ck_assert_uint_eq(layout_element(&p, x & 7, x >> 3 & 3, x >> 5), r);
        }
    }
}
END_TEST

START_TEST(slice_forgets_one_coordinate) {
    const uint32_t shape[3] = {4, 2, 8};
    for (uint32_t axis = 0; axis < 3; axis++)
        for (int round = 0; round < 40; round++) {
            Layout l = random_onto(6, 3, 2, 1);
            uint8_t kept[MAX_PLACE_BITS] = {0};
            Layout s = layout_slice(&l, 3, shape, axis, kept);
            for (uint32_t x = 0; x < 1u << (s.bits[PLACE_REGISTER] + 3); x++) {
                uint32_t n = s.bits[PLACE_REGISTER], reg = x & ((1u << n) - 1), old = 0;
                for (uint32_t b = 0; b < n; b++) old |= (reg >> b & 1) << kept[b];
                uint32_t e = layout_element(&l, old, x >> n & 3, x >> (n + 2));
                uint32_t c[3] = {e / 16, e / 8 % 2, e % 8}, r = 0;
                for (uint32_t d = 0; d < 3; d++)
                    if (d != axis) r = r * shape[d] + c[d];
                ck_assert_uint_eq(layout_element(&s, reg, x >> n & 3, x >> (n + 2)), r);
            }
            ck_assert(layout_is_onto(&s));
        }
}
END_TEST

START_TEST(broadcast_repeats_in_registers) {
    const uint32_t from[3] = {4, 1, 8}, to[3] = {4, 16, 8};
    Layout l = random_onto(5, 2, 2, 1), b = layout_broadcast(&l, 3, from, to);
    ck_assert_uint_eq(b.out_bits, 9);
    ck_assert(layout_is_onto(&b));
    for (uint32_t x = 0; x < 512; x++) {
        uint32_t reg = x & 63, lane = x >> 6 & 3, warp = x >> 8;
        uint32_t small = layout_element(&l, reg & 3, lane, warp), j = reg >> 2;
        uint32_t e = layout_element(&b, reg, lane, warp);
        ck_assert_uint_eq(e / 128, small / 8);
        ck_assert_uint_eq(e % 8, small % 8);
        ck_assert_uint_eq(e / 8 % 16, j);
    }
}
END_TEST

START_TEST(split_undoes_join) {
    Layout l = random_onto(5, 2, 2, 1), half, j = layout_join(&l);
    uint32_t bit;
    ck_assert(layout_split(&j, &half, &bit));
    ck_assert_uint_eq(bit, 0);
    ck_assert(layout_equal(&l, &half));
    for (uint32_t x = 0; x < 64; x++)
        ck_assert_uint_eq(layout_element(&j, x & 7, x >> 3 & 3, x >> 5),
                          2 * layout_element(&l, x >> 1 & 3, x >> 3 & 3, x >> 5) + (x & 1));
    Layout lane = {.out_bits = 1};
    layout_push(&lane, PLACE_LANE, 1);
    ck_assert(!layout_split(&lane, &half, &bit));
}
END_TEST

START_TEST(text_reads_back) {
    Arena arena;
    arena_init(&arena, 0);
    for (int round = 0; round < 50; round++) {
        Layout l = random_onto(6, 4, 3, round % 3), back;
        Text text = {.arena = &arena};
        layout_print(&l, &text);
        const char *s = text.data;
        ck_assert(layout_read(&s, &back));
        ck_assert(*s == 0 && layout_equal(&l, &back));
    }
    static const char *const bad[] = {"",      "x",       "99 r[1]", "2 r[4]",
                                      "2 r[1", "2 r[,1]", "2 r[]",   "2 l[1;2]"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        const char *s = bad[i];
        Layout l;
        ck_assert_msg(!layout_read(&s, &l), "%s", bad[i]);
    }
    arena_free(&arena);
}
END_TEST

/* ---- conversion --------------------------------------------------------------------------------
 */

static void check_conversion(const Layout *from, const Layout *to) {
    BitMap map;
    ConversionKind kind = layout_conversion(from, to, &map);
    uint32_t tr = to->bits[PLACE_REGISTER], tl = to->bits[PLACE_LANE];
    uint32_t fr = from->bits[PLACE_REGISTER], fl = from->bits[PLACE_LANE];
    for (uint32_t x = 0; x < 1u << layout_total_bits(to); x++) {
        uint32_t reg = x & ((1u << tr) - 1), lane = x >> tr & ((1u << tl) - 1),
                 warp = x >> (tr + tl);
        uint32_t y = bit_map_apply(&map, x);
        uint32_t f_reg = y & ((1u << fr) - 1), f_lane = y >> fr & ((1u << fl) - 1),
                 f_warp = y >> (fr + fl);
        ck_assert_uint_eq(layout_element(to, reg, lane, warp),
                          layout_element(from, f_reg, f_lane, f_warp));
        if (kind <= CONVERT_LANES) ck_assert_uint_eq(f_warp, warp);
        if (kind <= CONVERT_REGISTERS) ck_assert_uint_eq(f_lane, lane);
        if (kind <= CONVERT_REGISTERS) /* no thread bit has a say in it */
            ck_assert_uint_eq(f_reg, bit_map_apply(&map, reg) & ((1u << fr) - 1));
        if (kind <= CONVERT_LANES) /* nor has the warp */
            ck_assert_uint_eq(y & ((1u << (fr + fl)) - 1),
                              bit_map_apply(&map, x & ((1u << (tr + tl)) - 1)));
        if (kind == CONVERT_NOTHING) ck_assert_uint_eq(f_reg, reg);
        uint32_t one_warp = bit_map_apply(&map, x & ((1u << (tr + tl)) - 1));
        uint32_t one_thread = bit_map_apply(&map, reg), thread_mask = (1u << (fr + fl)) - 1;
        if (kind <= CONVERT_LANES) ck_assert_uint_eq(y & thread_mask, one_warp & thread_mask);
        if (kind <= CONVERT_REGISTERS) ck_assert_uint_eq(f_reg, one_thread & ((1u << fr) - 1));
    }
}

START_TEST(conversions_find_every_element) {
    for (int round = 0; round < 500; round++) {
        Layout a = random_onto(5, 2, 3, 1), b = random_onto(5, 3, 3, 1);
        check_conversion(&a, &b);
        check_conversion(&b, &a);
        check_conversion(&a, &a);
        ck_assert_int_eq(layout_conversion(&a, &a, NULL), CONVERT_NOTHING);
    }
}
END_TEST

START_TEST(conversions_take_the_cheapest_way) {
    Layout a = example(), b = a;
    b.columns[PLACE_REGISTER][0] = 2; /* exchange register and lane bit 0 */
    b.columns[PLACE_LANE][0] = 1;
    ck_assert_int_eq(layout_conversion(&a, &b, NULL), CONVERT_LANES);
    Layout c = a;
    c.columns[PLACE_WARP][0] = 4;
    c.columns[PLACE_LANE][1] = 8;
    ck_assert_int_eq(layout_conversion(&a, &c, NULL), CONVERT_SHARED);
    Layout two = {.out_bits = 2}, exchanged = two;
    layout_push(&two, PLACE_REGISTER, 1);
    layout_push(&two, PLACE_REGISTER, 2);
    layout_push(&exchanged, PLACE_REGISTER, 2);
    layout_push(&exchanged, PLACE_REGISTER, 1);
    ck_assert_int_eq(layout_conversion(&two, &exchanged, NULL), CONVERT_REGISTERS);
    /* the same thread has it, but in which register depends on the lane */
    const char *text = "5 r[1] l[0,0,0,2,4] w[8,16]", *other = "5 l[0,0,1,2,4] w[8,16]";
    Layout paired, single;
    ck_assert(layout_read(&text, &paired) && layout_read(&other, &single));
    ck_assert_int_eq(layout_conversion(&paired, &single, NULL), CONVERT_LANES);
    check_conversion(&paired, &single);
    check_conversion(&single, &paired);
    /* a slice that all lanes hold: the lane itself is preferred to lane 0 */
    Layout slice = {.out_bits = 1};
    layout_push(&slice, PLACE_REGISTER, 1);
    layout_push(&slice, PLACE_LANE, 0);
    ck_assert_int_eq(layout_conversion(&slice, &slice, NULL), CONVERT_NOTHING);
}
END_TEST

/* ---- tiles
 * ---------------------------------------------------------------------------------------- */

START_TEST(coalesced_tiles_cover_their_block) {
    for (uint32_t m = 1; m <= 128; m *= 2)
        for (uint32_t n = 1; n <= 128; n *= 2)
            for (uint32_t v = 1; v <= 8; v *= 2) {
                uint32_t shape[2] = {m, n}, order[2] = {1, 0};
                Layout l = tile_coalesced(2, shape, order, v, 4);
                ck_assert(layout_is_onto(&l));
                ck_assert_uint_eq(l.bits[PLACE_LANE], 5);
                ck_assert_uint_eq(l.bits[PLACE_WARP], 2);
                ck_assert_uint_eq(layout_copies(&l, PLACE_REGISTER), 0);
                if (n >= v) ck_assert_uint_ge(1u << layout_vector_bits(&l, NULL), v);
            }
}
END_TEST

START_TEST(blocked_tiles_are_boxes) {
    uint32_t shape[2] = {32, 64}, per[2] = {2, 4}, lanes[2] = {4, 8}, warps[2] = {2, 1},
             order[2] = {1, 0};
    Layout l = tile_blocked(2, shape, per, lanes, warps, order);
    for (uint32_t w = 0; w < 2; w++)
        for (uint32_t t = 0; t < 32; t++)
            for (uint32_t r = 0; r < 8; r++) {
                uint32_t i = (r / 4) + 2 * (t / 8) + 8 * w, j = (r % 4) + 4 * (t % 8);
                ck_assert_uint_eq(layout_element(&l, r, t, w), i * 64 + j);
            }
    ck_assert_uint_eq(l.bits[PLACE_REGISTER], 5); /* 2048 elements, 64 threads */
    ck_assert(layout_is_onto(&l));
}
END_TEST

/* One 16 x 8 (x k) tile, one warp: the formulas of the PTX ISA. */
START_TEST(mma_fragments_are_those_of_the_isa) {
    MmaTile c = {2, {16, 8}, 1, 1};
    Layout l = tile_mma_result(&c);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = t / 4 + (i >= 2 ? 8 : 0), col = t % 4 * 2 + (i & 1);
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 8 + col);
        }
    MmaTile a16 = {2, {16, 16}, 1, 1};
    l = tile_mma_a(&a16, 16);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t row = t / 4 + ((i < 2 || (i >= 4 && i < 6)) ? 0 : 8);
            uint32_t col = t % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 16 + col);
        }
    MmaTile b16 = {2, {16, 8}, 1, 1};
    l = tile_mma_b(&b16, 16);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = t % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), col = t / 4;
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 8 + col);
        }
    MmaTile a32 = {2, {16, 8}, 1, 1};
    l = tile_mma_a(&a32, 32);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = t / 4 + (i & 1) * 8, col = t % 4 + (i >> 1) * 4;
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 8 + col);
        }
    MmaTile b32 = {2, {8, 8}, 1, 1};
    l = tile_mma_b(&b32, 32);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 2; i++)
            ck_assert_uint_eq(layout_element(&l, i, t, 0), (t % 4 + i * 4) * 8 + t / 4);
    MmaTile a8 = {2, {16, 32}, 1, 1};
    l = tile_mma_a(&a8, 8);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t row = t / 4 + ((i < 4 || (i >= 8 && i < 12)) ? 0 : 8);
            uint32_t col = t % 4 * 4 + (i & 3) + (i >= 8 ? 16 : 0);
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 32 + col);
        }
    MmaTile b8 = {2, {32, 8}, 1, 1};
    l = tile_mma_b(&b8, 8);
    for (uint32_t t = 0; t < 32; t++)
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t row = t % 4 * 4 + (i & 3) + (i >= 4 ? 16 : 0);
            ck_assert_uint_eq(layout_element(&l, i, t, 0), row * 8 + t / 4);
        }
    MmaTile a64 = {2, {8, 4}, 1, 1}, b64 = {2, {4, 8}, 1, 1};
    Layout la = tile_mma_a(&a64, 64), lb = tile_mma_b(&b64, 64);
    for (uint32_t t = 0; t < 32; t++) {
        ck_assert_uint_eq(layout_element(&la, 0, t, 0), t / 4 * 4 + t % 4);
        ck_assert_uint_eq(layout_element(&lb, 0, t, 0), t % 4 * 8 + t / 4);
    }
}
END_TEST

START_TEST(mma_tiles_cover_blocks_of_all_sizes) {
    for (uint32_t m = 1; m <= 256; m *= 2)
        for (uint32_t n = 1; n <= 256; n *= 2)
            for (uint32_t warps = 1; warps <= 8; warps *= 2) {
                uint32_t wm = tile_mma_warps_m(m, n, warps);
                MmaTile c = {2, {m, n}, wm, warps / wm}, a = {2, {m, 32}, wm, warps / wm},
                        b = {2, {32, n}, wm, warps / wm};
                Layout lc = tile_mma_result(&c), la = tile_mma_a(&a, 16), lb = tile_mma_b(&b, 16);
                ck_assert(layout_is_onto(&lc) && layout_is_onto(&la) && layout_is_onto(&lb));
                ck_assert_uint_eq(lc.bits[PLACE_LANE], 5);
                ck_assert_uint_eq(1u << lc.bits[PLACE_WARP], warps);
                ck_assert_uint_eq(layout_copies(&lc, PLACE_REGISTER), 0);
            }
    ck_assert_uint_eq(tile_mma_warps_m(128, 128, 4), 2);
    ck_assert_uint_eq(tile_mma_warps_m(128, 64, 4), 4);
    ck_assert_uint_eq(tile_mma_warps_m(16, 128, 4), 1);
}
END_TEST

/* P of attention: the result of one product becomes the left operand of the next in registers. */
START_TEST(result_becomes_operand_without_leaving_the_thread) {
    MmaTile s = {2, {128, 64}, 4, 1};
    Layout result = tile_mma_result(&s), operand = tile_mma_a(&s, 16);
    ck_assert_int_le(layout_conversion(&result, &operand, NULL), CONVERT_REGISTERS);
}
END_TEST

START_TEST(swizzled_rows_have_no_bank_conflicts) {
    for (uint32_t size = 1; size <= 4; size *= 2)
        for (uint32_t columns = 32 / size; columns * size <= 256; columns *= 2) {
            uint32_t shape[2] = {64, columns}, order[2] = {1, 0};
            Layout s = tile_shared_for_rows(2, shape, order, size);
            ck_assert(layout_is_onto(&s) && layout_is_one_to_one(&s));
            uint32_t vector = 16 / size;
            for (uint32_t row = 0; row < 64; row += 8)
                for (uint32_t col = 0; col < columns; col += vector) {
                    uint32_t address[8];
                    for (uint32_t i = 0; i < 8; i++) /* ldmatrix: 8 rows of 16 bytes */
                        ck_assert(layout_find(&s, (row + i) * columns + col, &address[i]));
                    for (uint32_t i = 0; i < 8; i++) address[i] *= size;
                    ck_assert_uint_eq(shared_wavefronts(address, 8, 16), 1);
                }
            for (uint32_t first = 0; first + 8 * vector <= 64 * columns; first += 8 * vector) {
                uint32_t address[8];
                for (uint32_t i = 0; i < 8; i++) { /* neighbours along the rows */
                    ck_assert(layout_find(&s, first + i * vector, &address[i]));
                    address[i] *= size;
                }
                ck_assert_uint_eq(shared_wavefronts(address, 8, 16), 1);
            }
        }
    uint32_t same_bank[8];
    for (uint32_t i = 0; i < 8; i++) same_bank[i] = i * 128;
    ck_assert_uint_eq(shared_wavefronts(same_bank, 8, 16), 8);
    ck_assert_uint_eq(shared_wavefronts(same_bank, 8, 4), 8);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("layout");
    TCase *algebra = tcase_create("algebra"), *shapes = tcase_create("shapes");
    TCase *conversion = tcase_create("conversion"), *tiles = tcase_create("tiles");
    tcase_add_test(algebra, the_example_holds_what_the_header_says);
    tcase_add_test(algebra, find_inverts_every_element);
    tcase_add_test(algebra, bit_maps_compose_and_invert);
    tcase_add_test(algebra, copies_are_the_bits_that_change_nothing_new);
    tcase_add_test(shapes, permute_moves_coordinates);
    tcase_add_test(shapes, slice_forgets_one_coordinate);
    tcase_add_test(shapes, broadcast_repeats_in_registers);
    tcase_add_test(shapes, split_undoes_join);
    tcase_add_test(shapes, text_reads_back);
    tcase_add_test(conversion, conversions_find_every_element);
    tcase_add_test(conversion, conversions_take_the_cheapest_way);
    tcase_add_test(tiles, coalesced_tiles_cover_their_block);
    tcase_add_test(tiles, blocked_tiles_are_boxes);
    tcase_add_test(tiles, mma_fragments_are_those_of_the_isa);
    tcase_add_test(tiles, mma_tiles_cover_blocks_of_all_sizes);
    tcase_add_test(tiles, result_becomes_operand_without_leaving_the_thread);
    tcase_add_test(tiles, swizzled_rows_have_no_bank_conflicts);
    suite_add_tcase(suite, algebra);
    suite_add_tcase(suite, shapes);
    suite_add_tcase(suite, conversion);
    suite_add_tcase(suite, tiles);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
