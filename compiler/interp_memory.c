/* interp_memory.c: load and store. Every byte is checked before it is touched.
 *
 * A block of addresses is looked at once for its lowest and highest active one. When both lie in
 * one buffer, and all are aligned, the access is good as a whole, and rows whose addresses are
 * contiguous are copied at once. Otherwise it is done element by element, in row-major order, up
 * to the first that is wrong. A store with several elements to one address leaves the last.
 *
 * Lanes that are masked off are never touched; a load gives them `other`, or zero without it.
 */
#include "compiler/interp_memory.h"

/* ---- looking at addresses and masks ---------------------------------------------------------- */

typedef struct Reach {
    uint64_t low, high, bits; /* of active lanes; bits: all addresses or-ed */
} Reach;

HOT static void reach_of_all(size_t n, const uint64_t *restrict address, Reach *reach) {
    uint64_t low = UINT64_MAX, high = 0, bits = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t a = address[i];
        low = a < low ? a : low;
        high = a > high ? a : high;
        bits |= a;
    }
    *reach = (Reach){low, high, bits};
}

HOT static void reach_of_active(size_t n, const uint64_t *restrict address,
                                const uint8_t *restrict mask, Reach *reach) {
    uint64_t low = UINT64_MAX, high = 0, bits = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t on = 0 - (uint64_t)mask[i], a = address[i];
        const uint64_t up = a | ~on, down = a & on;
        low = up < low ? up : low;
        high = down > high ? down : high;
        bits |= down;
    }
    *reach = (Reach){low, high, bits};
}

HOT static uint64_t strays(size_t n, const uint64_t *restrict address, uint64_t size) {
    uint64_t wrong = 0;
    const uint64_t first = address[0];
    for (size_t i = 0; i < n; i++) wrong |= address[i] ^ (first + i * size);
    return wrong;
}

HOT static uint32_t count_active(size_t n, const uint8_t *restrict mask) {
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += mask[i];
    return sum;
}

/* ---- one element ----------------------------------------------------------------------------- */

const InterpBuffer *buffer_at(const Run *run, uint64_t address) {
    const uint64_t k = address >> INTERP_BUFFER_SHIFT;
    if (k == 0 || k > run->launch->buffer_count || !run->launch->buffers[k - 1].data) return NULL;
    return &run->launch->buffers[k - 1];
}

/* Why `size` bytes at `address` may not be touched. */
static FaultKind address_fault(const Run *run, uint64_t address, uint32_t size) {
    const uint64_t half = UINT64_C(1) << (INTERP_BUFFER_SHIFT - 1);
    const uint64_t meant =
        address > UINT64_MAX - half ? 0 : (address + half) >> INTERP_BUFFER_SHIFT;
    if (meant == 0 || meant > run->launch->buffer_count || !run->launch->buffers[meant - 1].data)
        return FAULT_NULL;
    const uint64_t offset = address - INTERP_BUFFER_ADDRESS(meant - 1);
    const uint64_t bytes = run->launch->buffers[meant - 1].size;
    if (offset >= bytes || size > bytes - offset) return FAULT_OUT_OF_BOUNDS;
    return address % size ? FAULT_MISALIGNED : FAULT_NONE;
}

bool check_element(Thread *t, const Step *step, uint32_t element, uint64_t address, uint32_t size) {
    const FaultKind kind = address_fault(t->run, address, size);
    return kind == FAULT_NONE || fault_access(t, step, kind, element, address);
}

/* ---- an access in pieces --------------------------------------------------------------------- */

typedef struct Access {
    Thread *t;
    const Step *step;
    const uint64_t *address;
    const uint8_t *mask;  /* NULL: all on */
    uint8_t *data;        /* load: result; store: value */
    uint32_t data_stride; /* store: 0 when all elements are the same */
    uint32_t count, size;
    bool write, whole;          /* whole: known to be good; else each element is checked */
    const InterpBuffer *buffer; /* whole: the only one */
} Access;

/* `n` elements at contiguous addresses, known to be good, are about to be touched. */
static bool note_run(const Access *a, uint32_t first, uint32_t n, const InterpBuffer *buffer) {
    Thread *t = a->t;
    const uint64_t address = a->address[first], offset = address & INTERP_OFFSET_MASK;
    const uint64_t end = offset + (uint64_t)n * a->size;
    if (t->run->races &&
        !races_access(t, a->step, a->write ? RACE_WRITE : RACE_READ, address, a->size, n, first))
        return false;
    if (!buffer->written) return true;
    if (a->write) {
        mark_written(buffer->written, offset, end);
        return true;
    }
    const uint64_t hole = first_unwritten(buffer->written, offset, end);
    if (hole == end) return true;
    const uint32_t skip = (uint32_t)((hole - offset) / a->size);
    return fault_access(t, a->step, FAULT_UNWRITTEN, first + skip,
                        address + (uint64_t)skip * a->size);
}

/* One element may be a flag that another program polls: moved atomically. */
static void move_one(const Access *a, uint8_t *host, uint8_t *data) {
    switch (a->size) {
#define MOVE_ONE(bits)                                                                             \
    if (a->write)                                                                                  \
        __atomic_store_n((uint##bits##_t *)host, *(uint##bits##_t *)data, __ATOMIC_RELAXED);       \
    else                                                                                           \
        *(uint##bits##_t *)data = __atomic_load_n((uint##bits##_t *)host, __ATOMIC_RELAXED);
    case 1: MOVE_ONE(8) break;
    case 2: MOVE_ONE(16) break;
    case 4: MOVE_ONE(32) break;
    default: MOVE_ONE(64) break;
#undef MOVE_ONE
    }
}

/* Contiguous elements, all active. */
static bool move_run(const Access *a, uint32_t first, uint32_t n) {
    const InterpBuffer *buffer = a->buffer;
    uint8_t *host = buffer->data + (a->address[first] & INTERP_OFFSET_MASK);
    uint8_t *data = a->data + (size_t)first * a->data_stride;
    if ((buffer->written || a->t->run->races) && !note_run(a, first, n, buffer)) return false;
    if (a->count == 1)
        move_one(a, host, data);
    else if (!a->write)
        memcpy(data, host, (size_t)n * a->size);
    else if (a->data_stride)
        memcpy(host, data, (size_t)n * a->size);
    else
        for (uint32_t i = 0; i < n; i++) memcpy(host + (size_t)i * a->size, data, a->size);
    return true;
}

/* Any addresses: checked if need be, noted and moved one by one. */
static bool move_each(Access *a, uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < first + n; i++) {
        if (a->mask && !a->mask[i]) continue;
        if (!a->whole) {
            if (!check_element(a->t, a->step, i, a->address[i], a->size)) return false;
            a->buffer = buffer_at(a->t->run, a->address[i]);
        }
        if (!move_run(a, i, 1)) return false;
    }
    return true;
}

#define SCATTERED(bits)                                                                            \
    static void scattered_##bits(const Access *a, uint32_t first, uint32_t n) {                    \
        typedef uint##bits##_t T;                                                                  \
        uint8_t *const host = a->buffer->data;                                                     \
        uint8_t *const data = a->data;                                                             \
        const size_t stride = a->data_stride;                                                      \
        for (uint32_t i = first; i < first + n; i++) {                                             \
            if (a->mask && !a->mask[i]) continue;                                                  \
            T *at = (T *)(void *)(host + (a->address[i] & INTERP_OFFSET_MASK));                    \
            T *value = (T *)(void *)(data + i * stride);                                           \
            if (a->write)                                                                          \
                *at = *value;                                                                      \
            else                                                                                   \
                *value = *at;                                                                      \
        }                                                                                          \
    }
SCATTERED(8)
SCATTERED(16)
SCATTERED(32)
SCATTERED(64)

/* Any addresses in one buffer that are known to be good and need no notes. */
static void move_scattered(const Access *a, uint32_t first, uint32_t n) {
    switch (a->size) {
    case 1: scattered_8(a, first, n); break;
    case 2: scattered_16(a, first, n); break;
    case 4: scattered_32(a, first, n); break;
    default: scattered_64(a, first, n); break;
    }
}

static bool move_row(Access *a, uint32_t first, uint32_t n) {
    const uint32_t active = a->mask ? count_active(n, a->mask + first) : n;
    if (active == 0) return true;
    if (!a->whole) return move_each(a, first, n);
    if (strays(n, a->address + first, a->size) == 0) {
        if (active == n) return move_run(a, first, n);
        for (uint32_t i = first; i < first + n;) { /* stretches of active lanes */
            const uint32_t from = i;
            while (i < first + n && a->mask[i]) i++;
            if (i > from && !move_run(a, from, i - from)) return false;
            i += i == from;
        }
        return true;
    }
    if (a->buffer->written || a->t->run->races) return move_each(a, first, n);
    move_scattered(a, first, n);
    return true;
}

/* Rows that are short go together: [1024, 1] is as good as a row. */
static uint32_t row_length(const Type *type) {
    uint32_t n = 1;
    for (uint32_t d = type->rank; d-- > 0 && n < 16;) n *= type->shape[d];
    return n;
}

static bool move_all(Access *a) {
    const Type *type = pointer_type(a->step->op);
    Reach reach;
    if (a->mask)
        reach_of_active(a->count, a->address, a->mask, &reach);
    else
        reach_of_all(a->count, a->address, &reach);
    if (reach.low > reach.high) return true; /* no lane is active */
    const InterpBuffer *buffer = buffer_at(a->t->run, reach.low);
    const uint64_t end = (reach.high & INTERP_OFFSET_MASK) + a->size;
    a->whole = buffer && reach.low >> INTERP_BUFFER_SHIFT == reach.high >> INTERP_BUFFER_SHIFT &&
               end <= buffer->size && (reach.bits & (a->size - 1)) == 0;
    a->buffer = buffer;
    const uint32_t row = row_length(type);
    for (uint32_t first = 0; first < a->count; first += row)
        if (!move_row(a, first, row)) return false;
    return true;
}

static bool move_locked(Access *a) {
    if (!a->t->run->races) return move_all(a);
    races_lock(a->t);
    const bool ok = move_all(a);
    races_unlock(a->t);
    return ok;
}

/* ---- the ops --------------------------------------------------------------------------------- */

/* The mask as the access wants it; false when it turns everything off. */
static bool set_mask(Access *a, const Place *mask) {
    a->mask = place_data(a->t, mask);
    if (mask->uniform) {
        if (!a->mask[0]) return false;
        a->mask = NULL;
    }
    return true;
}

/* Memory may hold any byte where an i1 is wanted. */
HOT static void make_bool(size_t n, uint8_t *restrict x) {
    for (size_t i = 0; i < n; i++) x[i] = x[i] != 0;
}

/* What `in` says: pointers [, mask [, other]]. Masked-off lanes get `other`, or 0: all lanes do
 * first, and active ones are loaded over it. */
static bool load_into(Thread *t, const Step *step, const Place *in, uint32_t count,
                      const Place *out) {
    Access a = {.t = t, .step = step, .count = out->count, .size = out->size};
    a.address = place_data(t, &in[0]);
    a.data = place_data(t, out);
    a.data_stride = out->size;
    if (count > 1) {
        const bool some = set_mask(&a, &in[1]);
        if (some && (!a.mask || count_active(a.count, a.mask) == a.count))
            a.mask = NULL;
        else if (count > 2)
            copy_place(t, &in[2], out);
        else
            memset(a.data, 0, (size_t)out->count * out->size);
        if (!some) return true;
    }
    if (!move_locked(&a)) return false;
    if (type_element(pointer_type(step->op))->element->dtype == DT_i1) make_bool(a.count, a.data);
    return true;
}

bool interp_load(Thread *t, const Step *step) {
    return load_into(t, step, step->in, step->op->operand_count, &step->out[0]);
}

bool interp_store(Thread *t, const Step *step) {
    const Place *value = &step->in[1];
    Access a = {.t = t, .step = step, .count = value->count, .size = value->size, .write = true};
    a.address = place_data(t, &step->in[0]);
    a.data = place_data(t, value);
    a.data_stride = place_stride(value);
    if (step->op->operand_count > 2 && !set_mask(&a, &step->in[2])) return true;
    return move_locked(&a);
}

/* ---- shared memory: blocks of the frame -------------------------------------------------------*/

/* The block that operand 1 names; those of a ring lie one after the other. */
static bool find_buffer(Thread *t, const Step *step, Place *place) {
    const Op *alloc = op_operand(step->op, 0)->op;
    const uint64_t number = place_int(t, &step->in[1]);
    *place = step->in[0];
    if (number >= (uint64_t)op_int(alloc, ATTR_buffers, 1))
        return fault_text(t, step, FAULT_ASSERT, "shared memory has no buffer of this number");
    place->offset += number * place->count * place->size;
    return true;
}

bool interp_shared_alloc(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}

bool interp_shared_store(Thread *t, const Step *step) {
    Place to;
    if (!find_buffer(t, step, &to)) return false;
    copy_place(t, &step->in[2], &to);
    return true;
}

bool interp_shared_load(Thread *t, const Step *step) {
    Place from;
    if (!find_buffer(t, step, &from)) return false;
    copy_place(t, &from, &step->out[0]);
    return true;
}

/* A copy lands at once; so there is nothing to wait for. */
bool interp_async_copy(Thread *t, const Step *step) {
    Place to;
    if (!find_buffer(t, step, &to)) return false;
    return load_into(t, step, step->in + 2, step->op->operand_count - 2u, &to);
}

bool interp_async_commit(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
bool interp_async_wait(Thread *t, const Step *step) {
    return (void)t, (void)step, true;
}
