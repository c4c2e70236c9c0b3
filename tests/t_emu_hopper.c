/* t_emu_hopper.c: what sm_90 added: mbarriers, bulk and tensor copies, wgmma, clusters; each with
 * planted bugs. */
#include "tests/emu_test.h"

#include <math.h>

typedef uint32_t u32;
typedef uint64_t u64;

/* ---- bulk copies ----------------------------------------------------------------------------- */

static u32 in[4096], out[16384];

static void bulk(Emu *e, u64 seed) {
    u64 state = emu_test_seed();
    for (u32 i = 0; i < ARRAY_LENGTH(in); i++) in[i] = (u32)emu_test_random(&state);
    memset(out, 0, sizeof out);
    emu_test_fixture(e, "hopper.sm_90a");
    emu_test_array(e, "in", in, 2048);
    emu_test_array(e, "out", out, 2048);
    e->launch.seed = seed;
}

START_TEST(bulk_copies) {
    for (u64 seed = 0; seed < 8; seed++) {
        Emu e;
        bulk(&e, seed);
        emu_test_run(&e, "bulk_ok", 1, 256);
        for (u32 i = 0; i < 512; i++) ck_assert_uint_eq(out[i], in[i] * 2 + 1);
        ck_assert_uint_eq(e.result.counters.bulk_load_bytes, 2048);
        ck_assert_uint_eq(e.result.counters.bulk_store_bytes, 2048);
        emu_test_run(&e, "bulk_library", 1, 256);
        for (u32 i = 0; i < 256; i++) ck_assert_uint_eq(out[i], in[i ^ 1]);
        emu_test_free(&e);
    }
}
END_TEST

static const struct {
    const char *kernel, *words;
    uint32_t kinds; /* bits of EmuFaultKind: more than one when the schedule decides */
} bulk_bugs[] = {
    {"bulk_no_proxy_fence", "fence.proxy.async", 1u << EMU_PROXY},
    {"bulk_no_wait", "shared address", 1u << EMU_RACE | 1u << EMU_UNINITIALISED},
    {"bulk_no_expect", "shared address", 1u << EMU_RACE | 1u << EMU_UNINITIALISED},
    {"bulk_no_read_wait", "a bulk store of warp 0", 1u << EMU_RACE},
    {"bulk_no_init_fence", "not", 1u << EMU_PROXY},
    {"bulk_no_sync", "mbarrier", 1u << EMU_MBARRIER | 1u << EMU_RACE},
};
START_TEST(bulk_planted) {
    for (u64 seed = 0; seed < 6; seed++) {
        Emu e;
        bulk(&e, seed);
        bool fine = emu_test_launch(&e, bulk_bugs[_i].kernel, 1, 256);
        const EmuFault *fault = &e.result.fault;
        bool right = bulk_bugs[_i].kinds >> fault->kind & 1;
        ck_assert_msg(!fine && (right || _i == 4), "%s, seed %llu: %s", bulk_bugs[_i].kernel,
                      (unsigned long long)seed, fine ? "no fault" : fault->message);
        if (_i != 4)
            ck_assert_msg(strstr(fault->message, bulk_bugs[_i].words) != NULL, "%s",
                          fault->message);
        ck_assert_uint_gt(fault->source_line, 0);
        emu_test_free(&e);
    }
}
END_TEST

/* ---- tensor copies --------------------------------------------------------------------------- */

static u32 swizzled(u32 offset, EmuSwizzle swizzle) { /* offset from an aligned place */
    u32 row = offset / 128, column = offset / 16 % 8;
    switch (swizzle) {
    case EMU_SWIZZLE_128: column ^= row % 8; break;
    case EMU_SWIZZLE_64: column ^= row % 4; break;
    case EMU_SWIZZLE_32: column ^= row % 2; break;
    default: break;
    }
    return row * 128 + column * 16 + offset % 16;
}

static void tensor_case(u32 rank, EmuSwizzle swizzle, const int32_t at[5], bool nan) {
    static const u64 extents[5] = {24, 13, 5, 4, 3};
    static const u32 boxes[5] = {16, 8, 3, 2, 2};
    static u32 tensor[24 * 13 * 5 * 4 * 3];
    for (u32 i = 0; i < ARRAY_LENGTH(tensor); i++) tensor[i] = i + 1;
    Emu e;
    emu_test_fixture(&e, "hopper.sm_90a");
    EmuTensorMap map = {
        .rank = rank, .element_size = 4, .swizzle = swizzle, .is_float = nan, .fill_nan = nan};
    u64 stride = 4;
    u32 bytes = 4;
    for (u32 i = 0; i < rank; i++) {
        map.extent[i] = extents[i];
        map.box[i] = i == 0 && swizzle == EMU_SWIZZLE_32 ? 8 : boxes[i];
        map.element_stride[i] = 1;
        map.stride[i] = stride;
        stride *= extents[i];
        bytes *= map.box[i];
    }
    map.address = emu_test_buffer(&e, "tensor", tensor, sizeof tensor);
    uint8_t encoded[128];
    char why[128] = "";
    ck_assert_msg(emu_encode_tensor_map(encoded, &map, why), "%s", why);
    emu_test_parameter(&e, encoded, 128, 64);
    emu_test_array(&e, "out", out, bytes);
    emu_test_int(&e, (int)rank);
    emu_test_int(&e, (int)bytes);
    for (int i = 0; i < 5; i++) emu_test_int(&e, at[i]);
    e.launch.dynamic_shared = bytes + 1024;
    emu_test_run(&e, "tensor_in", 1, 64);
    for (u32 i = 0; i < bytes / 4; i++) {
        u32 rest = i, index = 0, scale = 1;
        bool inside = true;
        for (u32 k = 0; k < rank; k++) {
            int64_t x = (int64_t)at[k] + rest % map.box[k];
            rest /= map.box[k];
            inside &= x >= 0 && x < (int64_t)extents[k];
            index += (u32)x * scale;
            scale *= (u32)extents[k];
        }
        u32 want = inside ? index + 1 : nan ? 0x7fffffff : 0;
        ck_assert_msg(out[swizzled(i * 4, swizzle) / 4] == want, "rank %u element %u: %u, not %u",
                      rank, i, out[swizzled(i * 4, swizzle) / 4], want);
    }
    emu_test_free(&e);
}

START_TEST(tensor_loads) {
    static const int32_t inside[5] = {4, 3, 1, 1, 0}, edge[5] = {-5, 9, 3, -1, 2};
    for (u32 rank = 1; rank <= 5; rank++) {
        tensor_case(rank, EMU_SWIZZLE_NONE, inside, false);
        tensor_case(rank, EMU_SWIZZLE_NONE, edge, true);
    }
    for (u32 s = EMU_SWIZZLE_32; s <= EMU_SWIZZLE_128; s++) {
        tensor_case(2, (EmuSwizzle)s, inside, false);
        tensor_case(3, (EmuSwizzle)s, edge, false);
    }
}
END_TEST

START_TEST(tensor_stores) {
    enum { WIDE = 48, HIGH = 20 };
    for (int add = 0; add < 2; add++) {
        float tensor[WIDE * HIGH], box[32 * 8];
        for (u32 i = 0; i < WIDE * HIGH; i++) tensor[i] = (float)i;
        for (u32 i = 0; i < 32 * 8; i++) box[i] = (float)(i * 3);
        Emu e;
        emu_test_fixture(&e, "hopper.sm_90a");
        EmuTensorMap map = {.rank = 2,
                            .element_size = 4,
                            .is_float = true,
                            .swizzle = EMU_SWIZZLE_128,
                            .extent = {WIDE, HIGH},
                            .stride = {4, WIDE * 4},
                            .box = {32, 8},
                            .element_stride = {1, 1}};
        map.address = emu_test_buffer(&e, "tensor", tensor, sizeof tensor);
        uint8_t encoded[128];
        char why[128];
        ck_assert(emu_encode_tensor_map(encoded, &map, why));
        emu_test_parameter(&e, encoded, 128, 64);
        emu_test_array(&e, "box", box, sizeof box);
        emu_test_int(&e, sizeof box);
        emu_test_int(&e, 30);
        emu_test_int(&e, 15);
        emu_test_int(&e, add);
        e.launch.dynamic_shared = sizeof box + 1024;
        emu_test_run(&e, "tensor_out", 1, 64);
        for (u32 y = 0; y < HIGH; y++)
            for (u32 x = 0; x < WIDE; x++) {
                float before = (float)(y * WIDE + x), want = before;
                if (x >= 30 && y >= 15 && x < 62 && y < 23) {
                    float moved = box[swizzled(((y - 15) * 32 + x - 30) * 4, EMU_SWIZZLE_128) / 4];
                    want = add ? before + moved : moved;
                }
                ck_assert_msg(tensor[y * WIDE + x] == want, "%u,%u: %g, not %g", x, y,
                              (double)tensor[y * WIDE + x], (double)want);
            }
        emu_test_free(&e);
    }
}
END_TEST

START_TEST(wrong_maps) {
    EmuTensorMap good = {.rank = 2,
                         .element_size = 2,
                         .swizzle = EMU_SWIZZLE_128,
                         .extent = {64, 64},
                         .stride = {2, 128},
                         .box = {64, 64},
                         .element_stride = {1, 1},
                         .address = EMU_BUFFER_ADDRESS(0)},
                 bad;
    uint8_t encoded[128];
    char why[128];
    ck_assert(emu_encode_tensor_map(encoded, &good, why));
    bad = good, bad.box[0] = 128;
    ck_assert(!emu_encode_tensor_map(encoded, &bad, why) && strstr(why, "swizzle"));
    bad = good, bad.stride[1] = 100;
    ck_assert(!emu_encode_tensor_map(encoded, &bad, why) && strstr(why, "stride"));
    bad = good, bad.address += 8;
    ck_assert(!emu_encode_tensor_map(encoded, &bad, why) && strstr(why, "address"));
    bad = good, bad.rank = 6;
    ck_assert(!emu_encode_tensor_map(encoded, &bad, why) && strstr(why, "dimensions"));
    bad = good, bad.box[1] = 257;
    ck_assert(!emu_encode_tensor_map(encoded, &bad, why) && strstr(why, "box"));
}
END_TEST

/* ---- wgmma ----------------------------------------------------------------------------------- */

typedef struct Place { /* of operands: swizzle, or MN-major */
    EmuSwizzle swizzle;
    bool mn_major;
} Place;

/* Byte of element (mn, k), and the descriptor's fields; 32 bytes of k at most, blocks densely
 * packed. */
static u32 place(Place p, u32 mn, u32 k, u32 size) {
    u32 span = 16u << p.swizzle, byte = k * size;
    if (p.mn_major) /* f16, 128-byte swizzle: 64 of mn a row, a row a k; blocks of 8 k */
        return swizzled(mn / 64 * 2048 + k / 8 * 1024 + k % 8 * 128 + mn % 64 * 2, EMU_SWIZZLE_128);
    if (p.swizzle == EMU_SWIZZLE_NONE) /* 8 x 16 byte blocks: k neighbours 128 apart, mn 256 */
        return mn / 8 * 256 + byte / 16 * 128 + mn % 8 * 16 + byte % 16;
    return swizzled(mn / 8 * 8 * span + mn % 8 * span + byte, p.swizzle);
}
static u64 descriptor(Place p, u32 start) {
    static const u64 codes[] = {0, 3, 2, 1};
    u64 span = 16u << p.swizzle, leading = 1, stride = 8 * span;
    if (p.mn_major)
        leading = 2048, stride = 1024;
    else if (p.swizzle == EMU_SWIZZLE_NONE)
        leading = 128, stride = 256;
    return start / 16 | (leading / 16 ? leading / 16 : 1) << 16 | stride / 16 << 32 |
           codes[p.swizzle] << 62;
}

typedef struct Product {
    const char *kernel;
    u32 k, size; /* bytes of an element */
    Place a, b;
    char type;
} Product;

static float element_value(char type, u32 bits) {
    float v;
    u32 wide = bits;
    switch (type) {
    case 'h': {
        double m = bits & 1023;
        int e = (int)(bits >> 10 & 31);
        return (float)((bits & 0x8000 ? -1 : 1) * ldexp(m + 1024, e - 25));
    }
    case 'b': wide = bits << 16; break;
    case 't': wide = bits & 0xffffe000; break;
    case '8':
        return (float)((bits & 128 ? -1 : 1) * ldexp((bits & 7) + 8, (int)(bits >> 3 & 15) - 10));
    default: return (float)(int8_t)bits;
    }
    memcpy(&v, &wide, 4);
    return v;
}
static u32 element_random(char type, u64 *state) {
    u32 r = (u32)emu_test_random(state);
    switch (type) {
    case 'h': return (r & 0x87ff) | 0x3800;
    case 'b': return (r & 0x80ff) | 0x3f00;
    case 't': return (r & 0x80ffffff) | 0x3f000000;
    case '8': return (r & 0x8f) | 0x30;
    default: return r & 255;
    }
}

static const Product products[] = {
    {"wgmma_f16", 16, 2, {EMU_SWIZZLE_128, false}, {EMU_SWIZZLE_128, false}, 'h'},
    {"wgmma_f16", 16, 2, {EMU_SWIZZLE_NONE, false}, {EMU_SWIZZLE_NONE, false}, 'h'},
    {"wgmma_f16", 16, 2, {EMU_SWIZZLE_64, false}, {EMU_SWIZZLE_32, false}, 'h'},
    {"wgmma_f16_ta", 16, 2, {EMU_SWIZZLE_128, true}, {EMU_SWIZZLE_128, false}, 'h'},
    {"wgmma_f16_tb", 16, 2, {EMU_SWIZZLE_128, false}, {EMU_SWIZZLE_128, true}, 'h'},
    {"wgmma_bf16", 16, 2, {EMU_SWIZZLE_32, false}, {EMU_SWIZZLE_64, false}, 'b'},
    {"wgmma_tf32", 8, 4, {EMU_SWIZZLE_128, false}, {EMU_SWIZZLE_128, false}, 't'},
    {"wgmma_e4m3", 32, 1, {EMU_SWIZZLE_128, false}, {EMU_SWIZZLE_NONE, false}, '8'},
    {"wgmma_s8", 32, 1, {EMU_SWIZZLE_64, false}, {EMU_SWIZZLE_128, false}, 'i'},
};
enum { B_START = 16384, WGMMA_BYTES = 32768 };

START_TEST(wgmma_kinds) {
    const Product *p = &products[_i];
    static uint8_t bytes[WGMMA_BYTES];
    static float a[64][32], b[32][32];
    u32 c[16 * 128], d[16 * 128];
    u64 state = emu_test_seed();
    for (int scale = 0; scale < 2; scale++) {
        memset(bytes, 0x7e, sizeof bytes);
        for (u32 k = 0; k < p->k; k++) {
            for (u32 m = 0; m < 64; m++) {
                u32 bits = element_random(p->type, &state);
                a[m][k] = element_value(p->type, bits);
                memcpy(bytes + place(p->a, m, k, p->size), &bits, p->size);
            }
            for (u32 n = 0; n < 32; n++) {
                u32 bits = element_random(p->type, &state);
                b[n][k] = element_value(p->type, bits);
                memcpy(bytes + B_START + place(p->b, n, k, p->size), &bits, p->size);
            }
        }
        for (u32 i = 0; i < 16 * 128; i++) {
            float v = (float)(i % 37);
            if (p->type == 'i')
                c[i] = i % 37;
            else
                memcpy(&c[i], &v, 4);
        }
        Emu e;
        emu_test_fixture(&e, "hopper.sm_90a");
        emu_test_array(&e, "in", bytes, sizeof bytes);
        emu_test_int(&e, WGMMA_BYTES / 4);
        emu_test_pointer(&e, descriptor(p->a, 0));
        emu_test_pointer(&e, descriptor(p->b, B_START));
        emu_test_int(&e, scale);
        emu_test_array(&e, "c", c, sizeof c);
        emu_test_array(&e, "d", d, sizeof d);
        e.launch.dynamic_shared = WGMMA_BYTES;
        emu_test_run(&e, p->kernel, 1, 128);
        ck_assert_uint_eq(e.result.counters.tensor_operations, 2 * 64 * 32 * p->k);
        for (u32 m = 0; m < 64; m++)
            for (u32 n = 0; n < 32; n++) {
                u32 reg = n / 8 * 4 + m % 16 / 8 * 2 + n % 2;
                u32 at = reg * 128 + m / 16 * 32 + m % 8 * 4 + n % 8 / 2;
                double sum = scale ? (double)(at % 37) : 0, size = fabs(sum);
                for (u32 k = 0; k < p->k; k++) {
                    double product = (double)a[m][k] * (double)b[n][k];
                    sum += product, size += fabs(product);
                }
                float got;
                memcpy(&got, &d[at], 4);
                double value = p->type == 'i' ? (double)(int32_t)d[at] : (double)got;
                ck_assert_msg(fabs(value - sum) <= size * 33 * 0x1p-24,
                              "%s row %u column %u: %g, not %g", p->kernel, m, n, value, sum);
            }
        emu_test_free(&e);
    }
}
END_TEST

START_TEST(wgmma_from_registers) {
    static uint8_t bytes[WGMMA_BYTES];
    static u32 pa[4 * 128];
    static float a[64][16], b[32][16], d[16 * 128];
    Place swizzle = {EMU_SWIZZLE_128, false};
    u64 state = emu_test_seed();
    memset(pa, 0, sizeof pa);
    for (u32 k = 0; k < 16; k++) {
        for (u32 m = 0; m < 64; m++) {
            u32 bits = element_random('h', &state);
            a[m][k] = element_value('h', bits);
            u32 reg = m % 16 / 8 + k / 8 * 2;
            pa[reg * 128 + m / 16 * 32 + m % 8 * 4 + k % 8 / 2] |= bits << (k % 2 * 16);
        }
        for (u32 n = 0; n < 32; n++) {
            u32 bits = element_random('h', &state);
            b[n][k] = element_value('h', bits);
            memcpy(bytes + place(swizzle, n, k, 2), &bits, 2);
        }
    }
    Emu e;
    emu_test_fixture(&e, "hopper.sm_90a");
    emu_test_array(&e, "in", bytes, sizeof bytes);
    emu_test_int(&e, WGMMA_BYTES / 4);
    emu_test_array(&e, "a", pa, sizeof pa);
    emu_test_pointer(&e, descriptor(swizzle, 0));
    emu_test_array(&e, "d", d, sizeof d);
    e.launch.dynamic_shared = WGMMA_BYTES;
    emu_test_run(&e, "wgmma_registers", 1, 128);
    for (u32 m = 0; m < 64; m++)
        for (u32 n = 0; n < 32; n++) {
            double sum = 0;
            for (u32 k = 0; k < 16; k++) sum += (double)a[m][k] * (double)b[n][k];
            u32 reg = n / 8 * 4 + m % 16 / 8 * 2 + n % 2;
            float got = d[reg * 128 + m / 16 * 32 + m % 8 * 4 + n % 8 / 2];
            ck_assert_msg(fabs((double)got - sum) <= 0x1p-12, "row %u column %u: %g, not %g", m, n,
                          (double)got, sum);
        }
    emu_test_free(&e);
}
END_TEST

/* ---- a whole matrix product ------------------------------------------------------------------ */

enum { M = 128, N = 64, K = 512 };
static uint16_t ga[M * K], gb[N * K];
static float gc[M * N];

static void product(Emu *e, u64 seed, EmuSwizzle swizzle_b) {
    u64 state = emu_test_seed();
    for (u32 i = 0; i < M * K; i++) ga[i] = (uint16_t)element_random('h', &state);
    for (u32 i = 0; i < N * K; i++) gb[i] = (uint16_t)element_random('h', &state);
    memset(gc, 0xff, sizeof gc);
    emu_test_fixture(e, "hopper.sm_90a");
    EmuTensorMap map = {.rank = 2,
                        .element_size = 2,
                        .swizzle = EMU_SWIZZLE_128,
                        .extent = {K, M},
                        .stride = {2, K * 2},
                        .box = {64, 64},
                        .element_stride = {1, 1}};
    uint8_t encoded[128];
    char why[128];
    map.address = emu_test_buffer(e, "A", ga, sizeof ga);
    ck_assert(emu_encode_tensor_map(encoded, &map, why));
    emu_test_parameter(e, encoded, 128, 64);
    map.address = emu_test_buffer(e, "B", gb, sizeof gb);
    map.extent[1] = N;
    map.box[1] = 32;
    map.swizzle = swizzle_b;
    ck_assert(emu_encode_tensor_map(encoded, &map, why));
    emu_test_parameter(e, encoded, 128, 64);
    emu_test_array(e, "C", gc, sizeof gc);
    emu_test_int(e, N);
    emu_test_int(e, K);
    e->launch.grid[1] = M / 64;
    e->launch.dynamic_shared = 3 * (64 + 32) * 64 * 2 + 64;
    e->launch.seed = seed;
}

static bool product_right(void) {
    for (u32 m = 0; m < M; m++)
        for (u32 n = 0; n < N; n++) {
            double sum = 0;
            for (u32 k = 0; k < K; k++)
                sum += (double)element_value('h', ga[m * K + k]) *
                       (double)element_value('h', gb[n * K + k]);
            if (!(fabs((double)gc[m * N + n] - sum) <= K * K * 0x1p-24)) return false;
        }
    return true;
}

START_TEST(products_fine) {
    Emu e;
    product(&e, (u64)_i, EMU_SWIZZLE_128);
    emu_test_run(&e, "product_ok", N / 32, 256);
    ck_assert(product_right());
    ck_assert_uint_eq(e.result.counters.tensor_operations, 2 * M * N * K);
    emu_test_free(&e);
}
END_TEST

START_TEST(products_planted) {
    static const struct {
        const char *kernel, *words;
        u32 kinds;
    } bugs[] = {{"product_early_read", "still in flight", 1u << EMU_WGMMA},
                {"product_no_fence", "no wgmma.fence", 1u << EMU_WGMMA},
                {"product_late_release", "races", 1u << EMU_RACE},
                {"product_short_expect", "mbarrier", 1u << EMU_MBARRIER | 1u << EMU_DEADLOCK},
                {"product_wrong_parity", "waits for mbarrier", 1u << EMU_DEADLOCK}};
    for (u64 seed = 0; seed < 4; seed++) {
        Emu e;
        product(&e, seed, EMU_SWIZZLE_128);
        bool fine = emu_test_launch(&e, bugs[_i].kernel, N / 32, 256);
        const EmuFault *fault = &e.result.fault;
        ck_assert_msg(!fine && bugs[_i].kinds >> fault->kind & 1 &&
                          strstr(fault->message, bugs[_i].words),
                      "%s, seed %llu: %s", bugs[_i].kernel, (unsigned long long)seed,
                      fine ? "no fault" : fault->message);
        emu_test_free(&e);
    }
}
END_TEST

/* A tensor map that swizzles otherwise than the descriptor says: the numbers are wrong. */
START_TEST(products_swizzle) {
    Emu e;
    product(&e, 0, EMU_SWIZZLE_NONE);
    e.buffer_count = 3;
    bool ran = emu_test_launch(&e, "product_ok", N / 32, 256);
    ck_assert(!ran || !product_right());
    emu_test_free(&e);
}
END_TEST

/* ---- clusters -------------------------------------------------------------------------------- */

START_TEST(clusters) {
    for (u64 seed = 0; seed < 6; seed++) {
        Emu e;
        bulk(&e, seed);
        emu_test_run(&e, "cluster_sum", 8, 64);
        for (u32 b = 0; b < 8; b++)
            for (u32 t = 0; t < 64; t++) {
                u32 sum = 1000 * (b % 4);
                for (u32 r = 0; r < 4; r++) sum += in[(b / 4 * 4 + r) * 64 + t];
                ck_assert_uint_eq(out[b * 64 + t], sum);
            }
        bool fine = emu_test_launch(&e, "cluster_race", 2, 64);
        EmuFaultKind kind = e.result.fault.kind;
        ck_assert_msg(!fine && (kind == EMU_RACE || kind == EMU_UNINITIALISED), "%s",
                      e.result.fault.message);
        emu_test_free(&e);
    }
}
END_TEST

START_TEST(multicast) {
    for (u64 seed = 0; seed < 6; seed++) {
        Emu e;
        bulk(&e, seed);
        e.buffer_count = 0;
        e.parameter_size = 0;
        EmuTensorMap map = {.rank = 2,
                            .element_size = 4,
                            .extent = {32, 8},
                            .stride = {4, 128},
                            .box = {32, 8},
                            .element_stride = {1, 1}};
        uint8_t encoded[128];
        char why[128];
        map.address = emu_test_buffer(&e, "tensor", in, 1024);
        ck_assert(emu_encode_tensor_map(encoded, &map, why));
        emu_test_parameter(&e, encoded, 128, 64);
        emu_test_array(&e, "out", out, sizeof out);
        emu_test_run(&e, "cluster_multicast", 2, 128);
        for (u32 i = 0; i < 256; i++) ck_assert_uint_eq(out[i], in[i % 128] + i / 128);
        emu_test_free(&e);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_hopper");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, bulk_copies);
    tcase_add_loop_test(c, bulk_planted, 0, (int)ARRAY_LENGTH(bulk_bugs));
    tcase_add_test(c, tensor_loads);
    tcase_add_test(c, tensor_stores);
    tcase_add_test(c, wrong_maps);
    tcase_add_loop_test(c, wgmma_kinds, 0, (int)ARRAY_LENGTH(products));
    tcase_add_test(c, wgmma_from_registers);
    tcase_add_loop_test(c, products_fine, 0, 6);
    tcase_add_loop_test(c, products_planted, 0, 5);
    tcase_add_test(c, products_swizzle);
    tcase_add_test(c, clusters);
    tcase_add_test(c, multicast);
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
