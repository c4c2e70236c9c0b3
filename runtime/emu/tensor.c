/* tensor.c: tensor maps: their encoding (our own), and moving a box between a tensor in global
 * memory and its dense, perhaps swizzled, image in shared memory. */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

static const char magic[8] = "tkcmap1";

typedef struct Encoded { /* 128 bytes */
    char magic[8];
    uint64_t address;
    uint32_t stride16[5]; /* in units of 16 bytes; [0]: the element's size in bytes */
    uint32_t extent[5];   /* minus 1 */
    uint8_t box[5];       /* minus 1 */
    uint8_t element_stride[5];
    uint8_t rank, swizzle, is_float, is_bf16, fill_nan, element_size;
    uint32_t high[5]; /* upper bits of strides */
    uint8_t rest[32];
} Encoded;
_Static_assert(sizeof(Encoded) <= 128, "a tensor map has 128 bytes");

static bool refuse(char why[128], const char *text) {
    snprintf(why, 128, "%s", text);
    return false;
}

bool emu_encode_tensor_map(uint8_t map[128], const EmuTensorMap *d, char why[128]) {
    Encoded e = {.address = d->address,
                 .rank = (uint8_t)d->rank,
                 .swizzle = (uint8_t)d->swizzle,
                 .is_float = d->is_float,
                 .is_bf16 = d->is_bf16,
                 .fill_nan = d->fill_nan,
                 .element_size = (uint8_t)d->element_size};
    memcpy(e.magic, magic, sizeof magic);
    if (d->rank < 1 || d->rank > 5) return refuse(why, "a tensor has 1 to 5 dimensions");
    if (d->element_size != 1 && d->element_size != 2 && d->element_size != 4 &&
        d->element_size != 8)
        return refuse(why, "an element has 1, 2, 4 or 8 bytes");
    if (d->address % 16) return refuse(why, "the address is not a multiple of 16");
    if ((uint32_t)d->swizzle > EMU_SWIZZLE_128) return refuse(why, "unknown swizzle");
    for (uint32_t i = 0; i < d->rank; i++) {
        uint32_t step = d->element_stride[i] ? d->element_stride[i] : 1;
        if (!d->extent[i] || d->extent[i] > (uint64_t)1 << 32)
            return refuse(why, "an extent is 1 to 2^32");
        if (!d->box[i] || d->box[i] > 256) return refuse(why, "a box extent is 1 to 256");
        if (step > 8) return refuse(why, "an element stride is 1 to 8");
        if (i && (d->stride[i] % 16 || !d->stride[i] || d->stride[i] >= (uint64_t)1 << 40))
            return refuse(why, "a stride is not a multiple of 16 (or too large)");
        e.extent[i] = (uint32_t)(d->extent[i] - 1);
        e.box[i] = (uint8_t)(d->box[i] - 1);
        e.element_stride[i] = (uint8_t)step;
        e.stride16[i] = (uint32_t)(d->stride[i] / 16);
        e.high[i] = (uint32_t)(d->stride[i] / 16 >> 32);
    }
    uint32_t inner = d->box[0] * d->element_size;
    if (inner % 16) return refuse(why, "the box's innermost bytes are not a multiple of 16");
    uint32_t span = d->swizzle == EMU_SWIZZLE_NONE ? UINT32_MAX : 16u << d->swizzle;
    if (inner > span) return refuse(why, "the box is wider than the swizzle");
    memset(map, 0, 128);
    memcpy(map, &e, sizeof e);
    return true;
}

bool decode_tensor_map(const uint8_t map[128], EmuTensorMap *out) {
    Encoded e;
    memcpy(&e, map, sizeof e);
    if (memcmp(e.magic, magic, sizeof magic) || e.rank < 1 || e.rank > 5) return false;
    if (e.swizzle > EMU_SWIZZLE_128 || !e.element_size || e.element_size > 8) return false;
    *out = (EmuTensorMap){.rank = e.rank,
                          .element_size = e.element_size,
                          .is_float = e.is_float,
                          .is_bf16 = e.is_bf16,
                          .fill_nan = e.fill_nan,
                          .swizzle = (EmuSwizzle)e.swizzle,
                          .address = e.address};
    for (uint32_t i = 0; i < e.rank; i++) {
        out->extent[i] = (uint64_t)e.extent[i] + 1;
        out->box[i] = e.box[i] + 1u;
        out->element_stride[i] = e.element_stride[i];
        out->stride[i] = ((uint64_t)e.high[i] << 32 | e.stride16[i]) * 16;
        if (!e.element_stride[i]) return false;
    }
    out->stride[0] = e.element_size;
    return true;
}

static uint32_t box_count(const EmuTensorMap *map, uint32_t i) {
    return (map->box[i] + map->element_stride[i] - 1) / map->element_stride[i];
}

uint32_t tensor_box_bytes(const EmuTensorMap *map) {
    uint32_t bytes = map->element_size;
    for (uint32_t i = 0; i < map->rank; i++) bytes *= box_count(map, i);
    return bytes;
}

/* 16-byte columns are exchanged within 128-byte rows, by address: 32, 64 or 128 bytes wide. */
uint32_t swizzle_address(uint32_t address, EmuSwizzle swizzle) {
    static const uint32_t mask[] = {0, 1, 3, 7};
    return address ^ ((address >> 7 & mask[swizzle]) << 4);
}

typedef struct Walk {
    const Pending *p;
    uint32_t index[5];
    uint32_t offset; /* in the dense box */
} Walk;

/* The global address of the element at the walk's place; false when it is out of range. */
static bool element_address(const Walk *walk, uint64_t *address) {
    const EmuTensorMap *map = &walk->p->map;
    *address = map->address;
    for (uint32_t i = 0; i < map->rank; i++) {
        int64_t at =
            (int64_t)walk->p->coordinate[i] + (int64_t)walk->index[i] * map->element_stride[i];
        if (at < 0 || (uint64_t)at >= map->extent[i]) return false;
        *address += (uint64_t)at * map->stride[i];
    }
    return true;
}

static bool next_row(Walk *walk) { /* steps dimensions 1 and up */
    const EmuTensorMap *map = &walk->p->map;
    for (uint32_t i = 1; i < map->rank; i++) {
        if (++walk->index[i] < box_count(map, i)) return true;
        walk->index[i] = 0;
    }
    return false;
}

static void fill(const EmuTensorMap *map, uint8_t *at) {
    uint64_t nan = map->element_size == 8   ? 0x7fffffffffffffffu
                   : map->element_size == 4 ? 0x7fffffffu
                                            : 0x7fffu;
    uint64_t value = map->fill_nan && map->is_float ? nan : 0;
    memcpy(at, &value, map->element_size);
}

bool tensor_load(const Pending *p, uint8_t *shared) {
    const EmuTensorMap *map = &p->map;
    uint32_t size = map->element_size, count = box_count(map, 0);
    Walk walk = {.p = p};
    do {
        for (walk.index[0] = 0; walk.index[0] < count; walk.index[0]++, walk.offset += size) {
            uint8_t *to = shared + swizzle_address(p->shared + walk.offset, map->swizzle);
            uint64_t address;
            if (!element_address(&walk, &address)) {
                fill(map, to);
                continue;
            }
            const uint8_t *from =
                global_at(p->warp, p->inst, p->lane, address, size, 0, ACCESS_READ);
            if (!from) return false;
            /* Whole 16-byte columns at once where nothing is in the way. */
            uint32_t run = 16 / size;
            uint64_t last;
            Walk ahead = walk;
            ahead.index[0] += run - 1;
            if (walk.index[0] % run == 0 && map->element_stride[0] == 1 && ahead.index[0] < count &&
                element_address(&ahead, &last) &&
                global_at(p->warp, p->inst, p->lane, address, 16, 0, ACCESS_READ)) {
                memcpy(to, from, 16);
                walk.index[0] += run - 1;
                walk.offset += size * (run - 1);
            } else {
                memcpy(to, from, size);
            }
        }
    } while (next_row(&walk));
    return true;
}

static PtxType reduce_type(const EmuTensorMap *map) {
    if (!map->is_float) return map->element_size == 8 ? TYPE_u64 : TYPE_u32;
    if (map->element_size == 2) return map->is_bf16 ? TYPE_bf16 : TYPE_f16;
    return map->element_size == 8 ? TYPE_f64 : TYPE_f32;
}

bool tensor_store(const Pending *p, const uint8_t *shared, Word operation) {
    const EmuTensorMap *map = &p->map;
    uint32_t size = map->element_size, count = box_count(map, 0);
    Walk walk = {.p = p};
    do {
        for (walk.index[0] = 0; walk.index[0] < count; walk.index[0]++, walk.offset += size) {
            const uint8_t *from = shared + swizzle_address(p->shared + walk.offset, map->swizzle);
            uint64_t address, value = 0;
            if (!element_address(&walk, &address)) continue;
            uint8_t *to = global_at(p->warp, p->inst, p->lane, address, size, 0,
                                    operation ? ACCESS_ATOMIC : ACCESS_WRITE);
            if (!to) return false;
            memcpy(&value, from, size);
            if (operation)
                atomic_update(to, operation, reduce_type(map), value, 0, false);
            else
                memcpy(to, from, size);
        }
    } while (next_row(&walk));
    return true;
}
