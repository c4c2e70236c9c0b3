/* interp_atomic.c: atomic_rmw and atomic_cas, atomic between threads on the host's memory.
 *
 * Elements are done one by one in row-major order. What an update makes of the old value is the
 * scalar op's meaning (eval.h), whatever the dtype, in a compare-and-swap loop. Lanes that are
 * masked off give zero.
 */
#include "compiler/interp_memory.h"

typedef struct Update {
    Thread *t;
    const Step *step;
    const uint64_t *address;
    const uint8_t *mask; /* NULL: all on */
    uint32_t mask_stride, count, size;
    bool acquires, releases, reads_old;
} Update;

static uint64_t element_bits(const uint8_t *data, uint32_t stride, uint32_t size, uint32_t i) {
    uint64_t bits = 0;
    memcpy(&bits, data + (size_t)i * stride, size);
    return bits;
}

#define ATOMIC(bits)                                                                               \
    static uint64_t load_##bits(uint8_t *host) {                                                   \
        return __atomic_load_n((uint##bits##_t *)(void *)host, __ATOMIC_ACQUIRE);                  \
    }                                                                                              \
    static bool swap_##bits(uint8_t *host, uint64_t *expected, uint64_t desired) {                 \
        uint##bits##_t old = (uint##bits##_t) * expected;                                          \
        const bool done = __atomic_compare_exchange_n((uint##bits##_t *)(void *)host, &old,        \
                                                      (uint##bits##_t)desired, false,              \
                                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);         \
        *expected = old;                                                                           \
        return done;                                                                               \
    }
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

static uint64_t load_old(uint8_t *host, uint32_t size) {
    switch (size) {
    case 1: return load_8(host);
    case 2: return load_16(host);
    case 4: return load_32(host);
    default: return load_64(host);
    }
}

/* False: memory held something else, which is now in *expected. */
static bool swap(uint8_t *host, uint32_t size, uint64_t *expected, uint64_t desired) {
    switch (size) {
    case 1: return swap_8(host, expected, desired);
    case 2: return swap_16(host, expected, desired);
    case 4: return swap_32(host, expected, desired);
    default: return swap_64(host, expected, desired);
    }
}

/* ---- around each element --------------------------------------------------------------------- */

static Update update_new(Thread *t, const Step *step) {
    const Word sem = op_word(step->op, ATTR_sem, WORD_acq_rel);
    Update u = {.t = t, .step = step, .count = step->out[0].count, .size = step->out[0].size};
    u.address = place_data(t, &step->in[0]);
    u.reads_old = !value_unused(op_result(step->op, 0));
    /* Who does not look at the old value cannot know what came before. */
    u.acquires = (sem == WORD_acq_rel || sem == WORD_acquire) && u.reads_old;
    u.releases = sem == WORD_acq_rel || sem == WORD_release;
    return u;
}

/* The host address of element i, checked; NULL: a fault. */
static uint8_t *begin_element(const Update *u, uint32_t i, bool reads) {
    Thread *t = u->t;
    const uint64_t address = u->address[i], offset = address & INTERP_OFFSET_MASK;
    if (!check_element(t, u->step, i, address, u->size)) return NULL;
    const InterpBuffer *buffer = buffer_at(t->run, address);
    if (buffer->written && reads &&
        first_unwritten(buffer->written, offset, offset + u->size) != offset + u->size) {
        fault_access(t, u->step, FAULT_UNWRITTEN, i, address);
        return NULL;
    }
    if (t->run->races && ((u->acquires && !races_acquire(t, address)) ||
                          !races_access(t, u->step, RACE_ATOMIC, address, u->size, 1, i)))
        return NULL;
    return buffer->data + offset;
}

static bool end_element(const Update *u, uint32_t i, bool written) {
    Thread *t = u->t;
    const uint64_t address = u->address[i], offset = address & INTERP_OFFSET_MASK;
    const InterpBuffer *buffer = buffer_at(t->run, address);
    if (written && buffer->written) mark_written(buffer->written, offset, offset + u->size);
    return !(t->run->races && u->releases && written) || races_release(t, address);
}

typedef bool UpdateAll(const Update *u);

static bool run_update(Update *u, UpdateAll *all) {
    if (!u->t->run->races) return all(u);
    races_lock(u->t);
    const bool ok = all(u);
    races_unlock(u->t);
    return ok;
}

/* ---- the ops --------------------------------------------------------------------------------- */

static bool rmw_all(const Update *u) {
    Thread *t = u->t;
    const Step *step = u->step;
    const uint8_t *values = place_data(t, &step->in[1]);
    uint8_t *result = place_data(t, &step->out[0]);
    const bool exchange = op_word(step->op, ATTR_kind, WORD_none) == WORD_xchg;
    for (uint32_t i = 0; i < u->count; i++) {
        uint64_t old = 0, value = element_bits(values, place_stride(&step->in[1]), u->size, i);
        if (!u->mask || u->mask[(size_t)i * u->mask_stride]) {
            uint8_t *host = begin_element(u, i, !exchange || u->reads_old);
            if (!host) return false;
            const void *operands[2] = {&old, &value};
            uint64_t desired = value;
            old = load_old(host, u->size);
            do {
                if (!exchange) eval_block(step->code, 1, &desired, operands);
            } while (!swap(host, u->size, &old, desired));
            if (!end_element(u, i, true)) return false;
        }
        memcpy(result + (size_t)i * u->size, &old, u->size);
    }
    return true;
}

bool interp_atomic_rmw(Thread *t, const Step *step) {
    Update u = update_new(t, step);
    if (!step->code && op_word(step->op, ATTR_kind, WORD_none) != WORD_xchg)
        return fault_text(t, step, FAULT_UNSUPPORTED, "no such atomic on this element type");
    if (step->op->operand_count > 2) {
        u.mask = place_data(t, &step->in[2]);
        u.mask_stride = place_stride(&step->in[2]);
    }
    return run_update(&u, rmw_all);
}

static bool cas_all(const Update *u) {
    Thread *t = u->t;
    const Step *step = u->step;
    const uint8_t *expected = place_data(t, &step->in[1]), *desired = place_data(t, &step->in[2]);
    uint8_t *result = place_data(t, &step->out[0]);
    for (uint32_t i = 0; i < u->count; i++) {
        uint8_t *host = begin_element(u, i, true);
        if (!host) return false;
        uint64_t old = element_bits(expected, place_stride(&step->in[1]), u->size, i);
        const bool swapped = swap(host, u->size, &old,
                                  element_bits(desired, place_stride(&step->in[2]), u->size, i));
        if (!end_element(u, i, swapped)) return false;
        memcpy(result + (size_t)i * u->size, &old, u->size);
    }
    return true;
}

bool interp_atomic_cas(Thread *t, const Step *step) {
    Update u = update_new(t, step);
    return run_update(&u, cas_all);
}
