/* memory.c: loads and stores: where an address leads, and whether one may go there. */
#include "runtime/emu/machine.h"

#include "compiler/written.h"

#define LANE_LOOP for (int l = 0; l < LANES; l++)

/* ---- addresses ------------------------------------------------------------------------------- */

void addresses_of(const Warp *w, const Address *a, uint64_t out[LANES]) {
    uint64_t offset = a->offset + (a->frame ? w->now->frame->local_base : 0);
    if (a->wide) {
        const uint64_t *base = lanes64(w, a->base);
        LANE_LOOP out[l] = base[l] + offset;
    } else {
        const uint32_t *base = lanes32(w, a->base);
        LANE_LOOP out[l] = (uint32_t)(base[l] + offset);
    }
}

PtxSpace resolve_space(PtxSpace space, uint64_t *address) {
    if (space != SPACE_GENERIC) return space == SPACE_CLUSTER ? SPACE_SHARED : space;
    uint64_t window = *address & ~(uint64_t)UINT32_MAX;
    if (*address >= MODULE_WINDOW || *address < SHARED_WINDOW) return SPACE_GLOBAL;
    *address -= window;
    return window == SHARED_WINDOW  ? SPACE_SHARED
           : window == LOCAL_WINDOW ? SPACE_LOCAL
                                    : SPACE_PARAM;
}

static const char *verb(AccessKind kind) {
    return kind == ACCESS_READ ? "reads" : kind == ACCESS_WRITE ? "writes" : "updates";
}

/* ---- global memory --------------------------------------------------------------------------- */

static const EmuBuffer *find_buffer(Warp *w, uint64_t address) {
    const Machine *m = w->machine;
    if (!m->buffer_count) return NULL;
    const EmuBuffer *last = m->sorted[w->last_buffer];
    if (address - last->address < last->size) return last;
    uint32_t low = 0, high = m->buffer_count; /* the last one that begins at or before address */
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (m->sorted[middle]->address <= address)
            low = middle;
        else
            high = middle;
    }
    w->last_buffer = low;
    return m->sorted[low];
}

static void global_fault(Warp *w, const Inst *in, int lane, uint64_t address, uint64_t size,
                         AccessKind kind) {
    unsigned long long at = (unsigned long long)address, bytes = (unsigned long long)size;
    if (address < 4096) {
        fault(w, in, EMU_NULL_ADDRESS, lane, address,
              "%s %llu bytes at address 0x%llx: a null pointer", verb(kind), bytes, at);
        return;
    }
    const EmuBuffer *near = find_buffer(w, address);
    if (!near) {
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "%s %llu bytes at 0x%llx; the launch has no buffers", verb(kind), bytes, at);
        return;
    }
    const Machine *m = w->machine;
    uint64_t past = address - (near->address + near->size);
    if (w->last_buffer + 1 < m->buffer_count && address >= near->address + near->size) {
        const EmuBuffer *next = m->sorted[w->last_buffer + 1];
        if (next->address - address < past) near = next;
    }
    if (address < near->address)
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "%s %llu bytes at 0x%llx, %llu bytes before `%s` (%llu bytes)", verb(kind), bytes, at,
              (unsigned long long)(near->address - address), near->name,
              (unsigned long long)near->size);
    else
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "%s %llu bytes at 0x%llx, offset %llu of `%s` (%llu bytes)", verb(kind), bytes, at,
              (unsigned long long)(address - near->address), near->name,
              (unsigned long long)near->size);
}

/* Bytes that are read must have been written; those that are written are from now on. */
static bool note_access(Warp *w, const Inst *in, int lane, const EmuBuffer *buffer, uint64_t offset,
                        uint64_t size, AccessKind kind) {
    if (!buffer->written) return true;
    if (kind != ACCESS_WRITE && (w->machine->checks & EMU_CHECK_UNINITIALISED)) {
        uint64_t first = first_unwritten(buffer->written, offset, offset + size);
        if (first < offset + size) {
            fault(w, in, EMU_UNINITIALISED, lane, buffer->address + first,
                  "%s %llu bytes at offset %llu of `%s`, where nothing was written before",
                  verb(kind), (unsigned long long)size, (unsigned long long)offset, buffer->name);
            return false;
        }
    }
    if (kind != ACCESS_READ) mark_written(buffer->written, offset, offset + size);
    return true;
}

uint8_t *global_at(Warp *w, const Inst *in, int lane, uint64_t address, uint64_t size,
                   uint32_t align, AccessKind kind) {
    const EmuBuffer *buffer = find_buffer(w, address);
    if (!buffer || address < buffer->address || size > buffer->size ||
        address - buffer->address > buffer->size - size) {
        global_fault(w, in, lane, address, size, kind);
        return NULL;
    }
    if (align && address % align) {
        fault(w, in, EMU_MISALIGNED, lane, address,
              "%s %llu bytes at 0x%llx (offset %llu of `%s`), which is not a multiple of %u",
              verb(kind), (unsigned long long)size, (unsigned long long)address,
              (unsigned long long)(address - buffer->address), buffer->name, align);
        return NULL;
    }
    if (buffer->read_only && kind != ACCESS_READ) {
        fault(w, in, EMU_READ_ONLY, lane, address, "%s `%s`, which is read-only", verb(kind),
              buffer->name);
        return NULL;
    }
    uint64_t offset = address - buffer->address;
    if (!note_access(w, in, lane, buffer, offset, size, kind)) return NULL;
    return buffer->data + offset;
}

/* ---- shared and local memory ----------------------------------------------------------------- */

uint8_t *shared_at(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size,
                   uint32_t align, Cta **cta) {
    uint32_t rank = (uint32_t)(address >> CLUSTER_SHIFT);
    uint32_t offset = (uint32_t)address & ((1u << CLUSTER_SHIFT) - 1);
    *cta = rank && rank <= w->cluster->cta_count ? &w->cluster->ctas[rank - 1] : w->cta;
    uint32_t limit = SHARED_BASE + w->machine->shared_size;
    if (rank > w->cluster->cta_count || offset < SHARED_BASE || offset + (uint64_t)size > limit) {
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "shared address 0x%llx (%u bytes) is outside the CTA's %u bytes, which begin at 0x%x",
              (unsigned long long)address, size, w->machine->shared_size, SHARED_BASE);
        return NULL;
    }
    if (align && offset % align) {
        fault(w, in, EMU_MISALIGNED, lane, address, "shared address 0x%llx is not a multiple of %u",
              (unsigned long long)address, align);
        return NULL;
    }
    if ((*cta)->live_warps == 0 && *cta != w->cta) {
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "shared memory of cluster CTA %u is used after that CTA has exited", rank - 1);
        return NULL;
    }
    return (*cta)->shared + offset;
}

uint8_t *local_at(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size,
                  uint32_t align) {
    uint32_t limit = w->machine->local_size;
    if (size > limit || address > limit - size) {
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "local address 0x%llx (%u bytes) is outside the thread's %u bytes",
              (unsigned long long)address, size, limit);
        return NULL;
    }
    if (align && address % align) {
        fault(w, in, EMU_MISALIGNED, lane, address, "local address 0x%llx is not a multiple of %u",
              (unsigned long long)address, align);
        return NULL;
    }
    return w->local + (size_t)limit * (size_t)lane + address;
}

static uint8_t *parameter_at(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size) {
    uint32_t limit = w->machine->entry->parameter_size;
    if (size > limit || address > limit - size) {
        fault(w, in, EMU_OUT_OF_BOUNDS, lane, address,
              "parameter offset %llu (%u bytes) is outside the kernel's %u parameter bytes",
              (unsigned long long)address, size, limit);
        return NULL;
    }
    return w->machine->parameters + address;
}

/* ---- one access of all lanes ----------------------------------------------------------------- */

static uint8_t *lane_at(Warp *w, const Inst *in, PtxSpace space, int lane, uint64_t address,
                        uint32_t size, AccessKind kind) {
    switch (resolve_space(space, &address)) {
    case SPACE_SHARED: {
        Cta *cta;
        uint8_t *at = shared_at(w, in, lane, address, size, size, &cta);
        if (!at) return NULL;
        Access access = plain_access(w, in, cta, lane);
        uint32_t offset = (uint32_t)(at - cta->shared);
        bool fine = kind == ACCESS_READ ? shared_read(&access, offset, size)
                                        : shared_write(&access, offset, size);
        return fine ? at : NULL;
    }
    case SPACE_LOCAL: return local_at(w, in, lane, address, size, size);
    case SPACE_PARAM: return parameter_at(w, in, lane, address, size);
    default: return global_at(w, in, lane, address, size, size, kind);
    }
}

/* Host addresses of all active lanes; others point at a harmless place. */
static bool lanes_at(Warp *w, const Inst *in, PtxSpace space, const uint64_t address[LANES],
                     uint32_t size, AccessKind kind, uint8_t *at[LANES]) {
    LANE_LOOP at[l] = w->cluster->sink;
    int first = first_lane(w->active);
    uint64_t probe = address[first];
    if (resolve_space(space, &probe) == SPACE_GLOBAL) { /* usually one buffer holds them all */
        const EmuBuffer *buffer = find_buffer(w, address[first]);
        if (buffer && !(buffer->read_only && kind != ACCESS_READ)) {
            uint64_t bad = 0, room = buffer->size < size ? 0 : buffer->size - size + 1;
            LANE_LOOP {
                uint64_t offset = address[l] - buffer->address;
                bool on = w->active >> l & 1, fits = offset < room && !(address[l] & (size - 1));
                bad |= on && !fits;
                at[l] = on && fits ? buffer->data + offset : at[l];
            }
            if (!bad && !buffer->written) return true;
            LANE_LOOP at[l] = w->cluster->sink;
        }
    }
    FOR_LANES(w->active, l) {
        at[l] = lane_at(w, in, space, l, address[l], size, kind);
        if (!at[l]) return false;
    }
    return true;
}

static void count_traffic(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t size,
                          bool store) {
    uint64_t probe = address[first_lane(w->active)];
    PtxSpace space = resolve_space((PtxSpace)in->addresses->space, &probe);
    if (space == SPACE_GLOBAL || space == SPACE_CONST)
        count_global(w, in, address, size, store);
    else if (space == SPACE_SHARED)
        count_shared(w, in, address, size, store);
}

static inline void host_fence(void) {
#ifndef __SANITIZE_THREAD__ /* which does not know fences */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Accesses with an order are how CTAs on different host threads talk: one load or store each. */
static inline void copy_ordered(uint8_t *to, const uint8_t *from, uint32_t bytes, bool to_memory) {
    const void *source = from;
    void *target = to;
    if (bytes == 4 && to_memory)
        __atomic_store_n((uint32_t *)target, *(const uint32_t *)source, __ATOMIC_RELAXED);
    else if (bytes == 4)
        *(uint32_t *)target = __atomic_load_n((const uint32_t *)source, __ATOMIC_RELAXED);
    else if (bytes == 8 && to_memory)
        __atomic_store_n((uint64_t *)target, *(const uint64_t *)source, __ATOMIC_RELAXED);
    else if (bytes == 8)
        *(uint64_t *)target = __atomic_load_n((const uint64_t *)source, __ATOMIC_RELAXED);
    else
        memcpy(to, from, bytes);
}

static void order(Warp *w, const Inst *in, const uint64_t address[LANES], bool store) {
    Word semantics = (Word)in->form->word[CATEGORY_SEMANTICS];
    if (!semantics || semantics == WORD_weak) return;
    host_fence();
    if (!checks_races(w) || semantics == WORD_mmio) return;
    FOR_LANES(w->active, l) {
        uint64_t at = address[l];
        if (resolve_space((PtxSpace)in->addresses->space, &at) != SPACE_SHARED) continue;
        Cta *cta;
        if (!shared_at(w, in, l, at, 1, 0, &cta)) return;
        sync_address(w, cta, (uint32_t)at & ((1u << CLUSTER_SHIFT) - 1), !store, store);
    }
}

#define GATHER(T, W, convert)                                                                      \
    for (uint32_t v = 0; v < count; v++) {                                                         \
        uint##W##_t out[LANES];                                                                    \
        LANE_LOOP {                                                                                \
            T value;                                                                               \
            memcpy(&value, at[l] + v * sizeof value, sizeof value);                                \
            out[l] = (uint##W##_t)convert value;                                                   \
        }                                                                                          \
        write##W(w, in->refs[v], out);                                                             \
    }

static Step load(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType type = (PtxType)f->type[0];
    uint32_t count = in->ref_count, bytes = ptx_types[type].bits / 8u, size = bytes * count;
    uint64_t address[LANES];
    uint8_t *at[LANES];
    addresses_of(w, in->addresses, address);
    order(w, in, address, false);
    if (!lanes_at(w, in, (PtxSpace)in->addresses->space, address, size, ACCESS_READ, at))
        return STEP_FAULT;
    if (w->machine->counters) count_traffic(w, in, address, size, false);
    bool sign = ptx_types[type].kind == TYPE_SIGNED;
    if (f->word[CATEGORY_SEMANTICS] && bytes >= 4) {
        for (uint32_t v = 0; v < count; v++) FOR_LANES(w->active, l)
        copy_ordered(lanes_out(w, in->refs[v]) + bytes * (uint32_t)l, at[l] + bytes * v, bytes,
                     false);
        return STEP_YIELD;
    }
    switch (bytes) {
    case 1:
        if (sign) {
            GATHER(int8_t, 32, (int32_t))
        } else {
            GATHER(uint8_t, 32, )
        }
        break;
    case 2:
        if (sign) {
            GATHER(int16_t, 32, (int32_t))
        } else {
            GATHER(uint16_t, 32, )
        }
        break;
    case 4: GATHER(uint32_t, 32, ) break;
    case 8: GATHER(uint64_t, 64, ) break;
    default:
        for (uint32_t v = 0; v < count; v++) FOR_LANES(w->active, l)
        memcpy(lanes_out(w, in->refs[v]) + 16 * l, at[l] + 16 * v, 16);
    }
    return f->word[CATEGORY_SEMANTICS] ? STEP_YIELD : STEP_NEXT;
}

/* Lanes that store to one address must agree on what: else nobody can say which wins. */
static Step same_values(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t count,
                        uint32_t bytes, uint32_t slot) {
    FOR_LANES(w->active, l) FOR_LANES(w->active, k) {
        if (k <= l || address[k] != address[l]) continue;
        for (uint32_t v = 0; v < count; v++) {
            const uint8_t *from = lanes_of(w, in->refs[v]);
            if (memcmp(from + slot * (uint32_t)l, from + slot * (uint32_t)k, bytes))
                return fault(w, in, EMU_RACE, l, address[l],
                             "lanes %d and %d store different values to shared address 0x%llx", l,
                             k, (unsigned long long)address[l]);
        }
    }
    return STEP_NEXT;
}

static Step store(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType type = (PtxType)f->type[0];
    uint32_t count = in->ref_count, bytes = ptx_types[type].bits / 8u, size = bytes * count;
    uint32_t slot = bytes < 4 ? 4 : bytes;
    uint64_t address[LANES];
    uint8_t *at[LANES];
    addresses_of(w, in->addresses, address);
    order(w, in, address, true);
    if (in->addresses->space == SPACE_CONST || in->addresses->space == SPACE_PARAM)
        return fault(w, in, EMU_READ_ONLY, -1, address[first_lane(w->active)],
                     "stores to constant or parameter memory");
    w->overlap = false;
    if (!lanes_at(w, in, (PtxSpace)in->addresses->space, address, size, ACCESS_WRITE, at))
        return STEP_FAULT;
    if (w->overlap && same_values(w, in, address, count, bytes, slot) == STEP_FAULT)
        return STEP_FAULT;
    if (w->machine->counters) count_traffic(w, in, address, size, true);
    bool ordered = f->word[CATEGORY_SEMANTICS] && bytes >= 4;
    for (uint32_t v = 0; v < count; v++) {
        const uint8_t *from = lanes_of(w, in->refs[v]);
        if (ordered) {
            FOR_LANES(w->active, l)
            copy_ordered(at[l] + bytes * v, from + bytes * (uint32_t)l, bytes, true);
            continue;
        }
        switch (bytes) {
        case 4: FOR_LANES(w->active, l) memcpy(at[l] + 4 * v, from + 4 * l, 4); break;
        case 8: FOR_LANES(w->active, l) memcpy(at[l] + 8 * v, from + 8 * l, 8); break;
        default:
            FOR_LANES(w->active, l)
            memcpy(at[l] + bytes * v, from + slot * (uint32_t)l, bytes);
        }
    }
    return f->word[CATEGORY_SEMANTICS] == WORD_release ? STEP_YIELD : STEP_NEXT;
}

Run select_memory(const Form *form) {
    if (form->type_count != 1 || form->type[0] == TYPE_pred) return NULL;
    uint32_t bits = ptx_types[form->type[0]].bits;
    if (bits < 8 || form->space_count > 1 || bits * form_vector(form) > 256) return NULL;
    return form->op == OP_st ? store : load;
}

/* ---- fences ---------------------------------------------------------------------------------- */

static Step fence(Warp *w, const Inst *in) {
    host_fence();
    if (checks_races(w) && (in->form->op == OP_fence_async || in->form->op == OP_fence_init))
        proxy_fence(w);
    return STEP_NEXT;
}
Run select_fence(const Form *form) {
    (void)form;
    return fence;
}

static Step nothing(Warp *w, const Inst *in) {
    (void)w, (void)in;
    return STEP_NEXT;
}
Run select_nothing(const Form *form) {
    (void)form;
    return nothing;
}
