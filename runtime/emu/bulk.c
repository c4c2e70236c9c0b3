/* bulk.c: bulk copies, plain and tensor, by the async proxy: loads and copies that tell an
 * mbarrier, stores and reductions in bulk groups. Nothing moves when it is issued: it lands some
 * time later, in an order that the seed decides, at the latest when somebody waits for it. */
#include "runtime/emu/machine.h"

/* ---- issuing --------------------------------------------------------------------------------- */

static void add_pending(Cluster *cluster, const Pending *p) {
    if (cluster->pending_count == cluster->pending_capacity) {
        uint32_t grown = cluster->pending_capacity ? cluster->pending_capacity * 2 : 16;
        cluster->pending = arena_grow(cluster->arena, cluster->pending,
                                      cluster->pending_capacity * sizeof *p, grown * sizeof *p);
        cluster->pending_capacity = grown;
    }
    cluster->pending[cluster->pending_count++] = *p;
}

/* A copy into shared memory: from here on it belongs to the mbarrier's present phase. */
static bool issue_load(Pending *p, uint64_t to, uint64_t mbarrier, uint32_t align) {
    Warp *w = p->warp;
    const Inst *in = p->inst;
    uint8_t *at = shared_at(w, in, p->lane, to, p->size, align, &p->cta);
    if (!at) return false;
    p->shared = (uint32_t)(at - p->cta->shared);
    Cta *owner;
    Mbarrier *m = mbarrier_at(w, in, p->lane, SPACE_CLUSTER, mbarrier, &owner);
    if (!m) return false;
    if (owner != p->cta) {
        fault(w, in, EMU_MBARRIER, p->lane, mbarrier,
              "the mbarrier is in CTA %u of the cluster, the destination in CTA %u", owner->rank,
              p->cta->rank);
        return false;
    }
    bool async = w->machine->checks & EMU_CHECK_ASYNC && checks_races(w);
    if (async && m->init_time > w->fenced[m->init_agent]) {
        fault(w, in, EMU_PROXY, p->lane, mbarrier,
              "the mbarrier at 0x%x was initialised at PTX line %u; no fence.mbarrier_init or "
              "fence.proxy.async makes that visible to the async proxy",
              m->address, m->init_line);
        return false;
    }
    p->mbarrier = m->address;
    p->phase = m->phase;
    Access access = {.warp = w,
                     .inst = in,
                     .cta = p->cta,
                     .agent = m->agent,
                     .time = m->phase + 1,
                     .lane = (uint8_t)p->lane,
                     .async = w->machine->checks & EMU_CHECK_ASYNC};
    if (!shared_write(&access, p->shared, p->size)) return false;
    add_pending(w->cluster, p);
    return true;
}

/* A copy out of shared memory: reads it until its group is waited for. */
static bool issue_store(Pending *p, uint64_t from, uint32_t align) {
    Warp *w = p->warp;
    uint8_t *at = shared_at(w, p->inst, p->lane, from, p->size, align, &p->cta);
    if (!at) return false;
    p->shared = (uint32_t)(at - p->cta->shared);
    p->group = UINT32_MAX;
    p->ticket = ++w->bulk_ticket;
    Access access = {.warp = w,
                     .inst = p->inst,
                     .cta = p->cta,
                     .agent = bulk_agent(w),
                     .time = p->ticket,
                     .lane = (uint8_t)p->lane,
                     .async = w->machine->checks & EMU_CHECK_ASYNC};
    if (!shared_read(&access, p->shared, p->size)) return false;
    add_pending(w->cluster, p);
    return true;
}

/* Destinations in all CTAs that the multicast mask names. */
static bool issue_multicast(Pending *p, uint64_t to, uint64_t mbarrier, uint32_t mask,
                            uint32_t align) {
    const uint32_t inside = (1u << CLUSTER_SHIFT) - 1;
    for (uint32_t rank = 0; rank < 16; rank++) {
        if (!(mask >> rank & 1)) continue;
        uint64_t window = (uint64_t)(rank + 1) << CLUSTER_SHIFT;
        if (!issue_load(p, window | (to & inside), window | (mbarrier & inside), align))
            return false;
    }
    return true;
}

static bool shared_address(Warp *w, const Inst *in, int lane, const Address *a, uint64_t *address) {
    if (resolve_space((PtxSpace)a->space, address) == SPACE_SHARED) return true;
    fault(w, in, EMU_OUT_OF_BOUNDS, lane, *address, "0x%llx is not an address of shared memory",
          (unsigned long long)*address);
    return false;
}

static Step bulk(Warp *w, const Inst *in) {
    const Form *f = in->form;
    bool tells = form_has(f, F(complete_tx));
    PtxSpace to_space = form_space(f, 0), from_space = form_space(f, 1);
    uint64_t to[LANES], from[LANES], mbarrier[LANES] = {0};
    addresses_of(w, &in->addresses[0], to);
    addresses_of(w, &in->addresses[1], from);
    if (tells) addresses_of(w, &in->addresses[2], mbarrier);
    FOR_LANES(w->active, l) {
        Pending p = {.inst = in, .warp = w, .lane = l, .size = lanes32(w, in->r[0])[l]};
        if (p.size % 16 || !p.size)
            return fault(w, in, EMU_MISALIGNED, l, to[l],
                         "a bulk copy of %u bytes: a multiple of 16 is needed", p.size);
        bool fine;
        if (to_space == SPACE_GLOBAL) {
            p.kind = PENDING_STORE;
            p.global = to[l];
            fine = shared_address(w, in, l, &in->addresses[1], &from[l]) &&
                   global_at(w, in, l, to[l], p.size, 16, ACCESS_WRITE) &&
                   issue_store(&p, from[l], 16);
        } else if (from_space == SPACE_GLOBAL) {
            p.kind = PENDING_LOAD;
            p.global = from[l];
            uint32_t mask = form_has(f, F(multicast)) ? lanes32(w, in->r[1])[l] & 0xffff : 0;
            fine = global_at(w, in, l, from[l], p.size, 16, ACCESS_READ) &&
                   (mask ? issue_multicast(&p, to[l], mbarrier[l], mask, 16)
                         : issue_load(&p, to[l], mbarrier[l], 16));
        } else {
            p.kind = PENDING_COPY;
            Cta *own;
            uint8_t *at = shared_at(w, in, l, from[l], p.size, 16, &own);
            p.global = at ? (uint64_t)(at - own->shared) : 0;
            Access access = {.warp = w,
                             .inst = in,
                             .cta = own,
                             .agent = bulk_agent(w),
                             .time = w->bulk_ticket,
                             .lane = (uint8_t)l,
                             .async = true};
            fine = at && shared_read(&access, (uint32_t)p.global, p.size) &&
                   issue_load(&p, to[l], mbarrier[l], 16);
        }
        if (!fine) return STEP_FAULT;
    }
    return STEP_NEXT;
}

static bool read_map(Warp *w, const Inst *in, int lane, uint64_t address, EmuTensorMap *map) {
    const uint8_t *at;
    uint64_t inside = address;
    if (resolve_space(SPACE_GENERIC, &inside) == SPACE_PARAM) {
        uint32_t limit = w->machine->entry->parameter_size;
        at = limit >= 128 && inside <= limit - 128 ? w->machine->parameters + inside : NULL;
        if (!at)
            fault(w, in, EMU_OUT_OF_BOUNDS, lane, inside, "a tensor map at parameter offset %llu",
                  (unsigned long long)inside);
    } else {
        at = global_at(w, in, lane, address, 128, 0, ACCESS_READ);
    }
    if (!at) return false;
    if (address % 64) {
        fault(w, in, EMU_MISALIGNED, lane, address, "a tensor map must be aligned to 64 bytes");
        return false;
    }
    if (decode_tensor_map(at, map)) return true;
    fault(w, in, EMU_UNSUPPORTED, lane, address,
          "these 128 bytes are not a tensor map (of the emulator's making)");
    return false;
}

static Step tensor(Warp *w, const Inst *in) {
    const Form *f = in->form;
    uint32_t rank = f->word[CATEGORY_DIMENSIONS] - WORD_d1 + 1u;
    bool load = form_space(f, 0) != SPACE_GLOBAL;
    uint64_t place[LANES], map[LANES], mbarrier[LANES] = {0};
    addresses_of(w, &in->addresses[0], place);
    addresses_of(w, &in->addresses[1], map);
    if (load) addresses_of(w, &in->addresses[2], mbarrier);
    FOR_LANES(w->active, l) {
        Pending p = {.kind = load ? PENDING_LOAD : PENDING_STORE, .inst = in, .warp = w, .lane = l};
        if (!read_map(w, in, l, map[l], &p.map)) return STEP_FAULT;
        if (p.map.rank != rank)
            return fault(w, in, EMU_ASYNC, l, map[l], "a tensor map of rank %u in a %ud copy",
                         p.map.rank, rank);
        for (uint32_t i = 0; i < rank; i++) p.coordinate[i] = (int32_t)lanes32(w, in->refs[i])[l];
        p.size = tensor_box_bytes(&p.map);
        uint32_t mask = form_has(f, F(multicast)) ? lanes32(w, in->refs[rank])[l] & 0xffff : 0;
        if (!shared_address(w, in, l, &in->addresses[0], &place[l])) return STEP_FAULT;
        bool fine = !load  ? issue_store(&p, place[l], 128)
                    : mask ? issue_multicast(&p, place[l], mbarrier[l], mask, 128)
                           : issue_load(&p, place[l], mbarrier[l], 128);
        if (!fine) return STEP_FAULT;
    }
    return STEP_NEXT;
}

/* ---- landing --------------------------------------------------------------------------------- */

static bool reduce_bytes(const Pending *p, uint8_t *to, const uint8_t *from) {
    const Form *f = p->inst->form;
    PtxType type = (PtxType)f->type[0];
    uint32_t size = ptx_types[type].bits / 8u;
    for (uint32_t i = 0; i + size <= p->size; i += size) {
        uint64_t value = 0;
        memcpy(&value, from + i, size);
        atomic_update(to + i, (Word)f->word[CATEGORY_OPERATION], type, value, 0, false);
    }
    return true;
}

static bool land_store(const Pending *p) {
    const Form *f = p->inst->form;
    p->warp->cluster->counts->total.bulk_store_bytes += p->size;
    if (p->map.rank) return tensor_store(p, p->cta->shared, (Word)f->word[CATEGORY_OPERATION]);
    uint8_t *to = global_at(p->warp, p->inst, p->lane, p->global, p->size, 16, ACCESS_WRITE);
    if (!to) return false;
    if (f->op == OP_bulk_reduce) return reduce_bytes(p, to, p->cta->shared + p->shared);
    memcpy(to, p->cta->shared + p->shared, p->size);
    return true;
}

static bool land_load(const Pending *p) {
    Mbarrier *m = find_mbarrier(p->cta, p->mbarrier);
    if (m && m->phase != p->phase && p->warp->machine->checks & EMU_CHECK_ASYNC) {
        fault(p->warp, p->inst, EMU_MBARRIER, p->lane, p->mbarrier,
              "phase %u of the mbarrier at 0x%x completed before this copy of %u bytes: expect_tx "
              "announced too few",
              p->phase, p->mbarrier, p->size);
        return false;
    }
    p->warp->cluster->counts->total.bulk_load_bytes += p->size;
    if (p->kind == PENDING_COPY) {
        memmove(p->cta->shared + p->shared, p->warp->cta->shared + p->global, p->size);
    } else if (p->map.rank) {
        if (!tensor_load(p, p->cta->shared)) return false;
    } else {
        const uint8_t *from =
            global_at(p->warp, p->inst, p->lane, p->global, p->size, 16, ACCESS_READ);
        if (!from) return false;
        memcpy(p->cta->shared + p->shared, from, p->size);
    }
    return mbarrier_complete_tx(p->warp, p->inst, p->lane, p->cta, p->mbarrier, p->size);
}

bool pending_land(Cluster *cluster, uint32_t index) {
    Pending p = cluster->pending[index];
    memmove(&cluster->pending[index], &cluster->pending[index + 1],
            (cluster->pending_count - index - 1) * sizeof p);
    cluster->pending_count--;
    cluster->progress++;
    return p.kind == PENDING_STORE ? land_store(&p) : land_load(&p);
}

/* ---- bulk groups ----------------------------------------------------------------------------- */

bool stores_in_flight(const Warp *w) {
    const Cluster *cluster = w->cluster;
    for (uint32_t i = 0; i < cluster->pending_count; i++)
        if (cluster->pending[i].kind == PENDING_STORE && cluster->pending[i].warp == w) return true;
    /* Landed by chance, but never waited for: just as wrong. */
    return checks_races(w) && w->seen[bulk_agent(w)] < w->bulk_ticket;
}

static Step bulk_commit(Warp *w, const Inst *in) {
    Cluster *cluster = w->cluster;
    (void)in;
    for (uint32_t i = 0; i < cluster->pending_count; i++) {
        Pending *p = &cluster->pending[i];
        if (p->kind == PENDING_STORE && p->warp == w && p->group == UINT32_MAX &&
            w->active >> p->lane & 1)
            p->group = w->bulk_groups[p->lane];
    }
    FOR_LANES(w->active, l) {
        w->bulk_groups[l]++;
        uint32_t slot = w->bulk_groups[l] % BULK_HISTORY;
        w->bulk_ticket_of[l][slot] = w->bulk_ticket;
    }
    return STEP_NEXT;
}

/* All groups but the latest `keep` of these lanes land, and what they read may be overwritten. */
static Step bulk_wait(Warp *w, const Inst *in) {
    Cluster *cluster = w->cluster;
    uint32_t keep = lanes32(w, in->r[0])[first_lane(w->active)];
    for (uint32_t i = 0; i < cluster->pending_count;) {
        const Pending *p = &cluster->pending[i];
        bool due = p->kind == PENDING_STORE && p->warp == w && w->active >> p->lane & 1 &&
                   p->group != UINT32_MAX && p->group + keep < w->bulk_groups[p->lane];
        if (!due)
            i++;
        else if (!pending_land(cluster, i))
            return STEP_FAULT;
    }
    if (!checks_races(w)) return STEP_NEXT;
    FOR_LANES(w->active, l) {
        if (w->bulk_groups[l] <= keep || keep >= BULK_HISTORY) continue;
        uint32_t ticket = w->bulk_ticket_of[l][(w->bulk_groups[l] - keep) % BULK_HISTORY];
        uint32_t *seen = &w->seen[bulk_agent(w)];
        *seen = *seen > ticket ? *seen : ticket;
    }
    return STEP_NEXT;
}

/* ---- st.async, red.async --------------------------------------------------------------------- */

static Step store_async(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType type = (PtxType)f->type[0];
    uint32_t bytes = ptx_types[type].bits / 8u, count = in->ref_count;
    uint64_t to[LANES], mbarrier[LANES];
    addresses_of(w, &in->addresses[0], to);
    addresses_of(w, &in->addresses[1], mbarrier);
    FOR_LANES(w->active, l) {
        Cta *cta, *owner;
        uint8_t *at = shared_at(w, in, l, to[l], bytes * count, bytes * count, &cta);
        if (!at) return STEP_FAULT;
        Mbarrier *m = mbarrier_at(w, in, l, SPACE_CLUSTER, mbarrier[l], &owner);
        if (!m) return STEP_FAULT;
        if (owner != cta)
            return fault(w, in, EMU_MBARRIER, l, mbarrier[l],
                         "the mbarrier is not in the CTA that is written to");
        Access access = {.warp = w,
                         .inst = in,
                         .cta = cta,
                         .agent = m->agent,
                         .time = m->phase + 1,
                         .lane = (uint8_t)l,
                         .atomic = f->op == OP_red_async};
        if (!shared_write(&access, (uint32_t)(at - cta->shared), bytes * count)) return STEP_FAULT;
        for (uint32_t v = 0; v < count; v++) {
            uint64_t value = 0;
            memcpy(&value, lanes_of(w, in->refs[v]) + bytes * (uint32_t)l, bytes);
            if (f->op == OP_red_async)
                atomic_update(at + v * bytes, (Word)f->word[CATEGORY_OPERATION], type, value, 0,
                              false);
            else
                memcpy(at + v * bytes, &value, bytes);
        }
        if (!mbarrier_complete_tx(w, in, l, cta, m->address, bytes * count)) return STEP_FAULT;
    }
    return STEP_NEXT;
}

Run select_bulk(const Form *form) {
    PtxSpace to = form_space(form, 0), from = form_space(form, 1);
    bool out = to == SPACE_GLOBAL && from == SPACE_SHARED;
    bool in = (to == SPACE_CLUSTER || to == SPACE_SHARED) && from == SPACE_GLOBAL;
    bool across = to == SPACE_CLUSTER && from == SPACE_SHARED && form->space_count == 2;
    bool tells = form_has(form, F(complete_tx)), grouped = form_has(form, F(bulk_group));
    uint32_t bits = ptx_types[form->type[0]].bits;
    switch (form->op) {
    case OP_bulk: return (out && grouped) || ((in || across) && tells) ? bulk : NULL;
    case OP_bulk_reduce:
        return out && grouped && form->type_count == 1 && bits >= 16 && bits <= 64 &&
                       form->word[CATEGORY_OPERATION]
                   ? bulk
                   : NULL;
    case OP_tensor: return (out && grouped) || (in && tells) ? tensor : NULL;
    case OP_tensor_reduce: return out && grouped && form->word[CATEGORY_OPERATION] ? tensor : NULL;
    case OP_bulk_commit: return bulk_commit;
    case OP_bulk_wait: return bulk_wait;
    default: return form->type_count == 1 && bits >= 32 && bits <= 64 && tells ? store_async : NULL;
    }
}
