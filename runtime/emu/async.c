/* async.c: cp.async and mbarriers.
 *
 * A cp.async takes its data at once but puts it into shared memory only when its lane waits for
 * its group: until then those bytes are marked, and touching them is a fault.
 *
 * The 8 bytes of an mbarrier hold an honest state (phase, arrivals, bytes), so that programs may
 * look at it; what the checks need besides lies in a table.
 */
#include "runtime/emu/machine.h"

enum { COUNT_LIMIT = (1 << 20) - 1 };

/* ---- cp.async -------------------------------------------------------------------------------- */

static Step cp_async(Warp *w, const Inst *in) {
    uint32_t size = (uint32_t)in->imm;
    uint64_t to[LANES], from[LANES];
    const uint32_t *take = lanes32(w, in->r[0]);
    addresses_of(w, &in->addresses[0], to);
    addresses_of(w, &in->addresses[1], from);
    if (size != 4 && size != 8 && size != 16)
        return fault(w, in, EMU_ASYNC, -1, 0, "cp.async of %u bytes", size);
    if (w->machine->counters) count_global(w, in, from, size, false);
    CopyGroups *copies = &w->copies;
    FOR_LANES(w->active, l) {
        Cta *cta;
        if (take[l] > size)
            return fault(w, in, EMU_ASYNC, l, from[l], "src-size %u exceeds cp-size %u", take[l],
                         size);
        uint8_t *at = shared_at(w, in, l, to[l], size, size, &cta);
        if (!at) return STEP_FAULT;
        CopyPiece piece = {.to = (uint32_t)(at - cta->shared), .size = size, .lane = (uint8_t)l};
        if (take[l]) {
            const uint8_t *source = global_at(w, in, l, from[l], take[l], size, ACCESS_READ);
            if (!source) return STEP_FAULT;
            memcpy(piece.data, source, take[l]);
        }
        Access access = plain_access(w, in, cta, l);
        if (!shared_write(&access, piece.to, size)) return STEP_FAULT;
        shared_pending(cta, piece.to, size, true);
        if (copies->count == copies->capacity) {
            uint32_t grown = copies->capacity ? copies->capacity * 2 : 128;
            Arena *arena = w->cluster->arena;
            copies->pieces = arena_grow(arena, copies->pieces, copies->capacity * sizeof(CopyPiece),
                                        grown * sizeof(CopyPiece));
            copies->group = arena_grow(arena, copies->group, copies->capacity * sizeof(uint32_t),
                                       grown * sizeof(uint32_t));
            copies->capacity = grown;
        }
        copies->pieces[copies->count] = piece;
        copies->group[copies->count++] = UINT32_MAX;
        w->cluster->counts->total.async_bytes += size;
    }
    return STEP_NEXT;
}

/* Lands what belongs to these lanes and to groups that are complete: all but the latest `keep`
 * committed ones; keep UINT32_MAX: uncommitted ones too. */
static bool land(Warp *w, const Inst *in, Mask lanes, uint32_t keep, bool everything) {
    CopyGroups *copies = &w->copies;
    uint32_t left = 0;
    for (uint32_t i = 0; i < copies->count; i++) {
        const CopyPiece *piece = &copies->pieces[i];
        uint32_t group = copies->group[i], committed = copies->committed[piece->lane];
        bool due = (lanes >> piece->lane & 1) &&
                   (everything || (group != UINT32_MAX && group + keep < committed));
        if (!due) {
            copies->pieces[left] = *piece;
            copies->group[left++] = group;
            continue;
        }
        shared_pending(w->cta, piece->to, piece->size, false);
        Access access = plain_access(w, in, w->cta, piece->lane);
        if (!shared_write(&access, piece->to, piece->size)) return false;
        memcpy(w->cta->shared + piece->to, piece->data, piece->size);
    }
    copies->count = left;
    return true;
}

static Step cp_commit(Warp *w, const Inst *in) {
    (void)in;
    CopyGroups *copies = &w->copies;
    for (uint32_t i = 0; i < copies->count; i++)
        if (copies->group[i] == UINT32_MAX && w->active >> copies->pieces[i].lane & 1)
            copies->group[i] = copies->committed[copies->pieces[i].lane];
    FOR_LANES(w->active, l) copies->committed[l]++;
    return STEP_NEXT;
}

static Step cp_wait(Warp *w, const Inst *in) {
    bool all = in->form->op == OP_cp_wait_all;
    uint32_t keep = all ? 0 : lanes32(w, in->r[0])[first_lane(w->active)];
    return land(w, in, w->active, keep, all) ? STEP_NEXT : STEP_FAULT;
}

/* ---- mbarrier state -------------------------------------------------------------------------- */

Mbarrier *find_mbarrier(Cta *cta, uint32_t address) {
    for (uint32_t i = 0; i < cta->mbarrier_count; i++)
        if (cta->mbarriers[i].valid && cta->mbarriers[i].address == address)
            return &cta->mbarriers[i];
    return NULL;
}

/* Shows the state to programs: phase in the top bits, then bytes and arrivals. */
static uint64_t state_word(const Mbarrier *m) {
    return (uint64_t)(m->phase & 1) << 63 | (uint64_t)(m->phase & 0xffff) << 40 |
           (uint64_t)(m->pending & COUNT_LIMIT) << 20 | (m->expected & COUNT_LIMIT);
}
static void show(Cta *cta, const Mbarrier *m) {
    uint64_t word = state_word(m);
    memcpy(cta->shared + m->address, &word, 8);
}

/* The mbarrier at an address; NULL after a fault. */
Mbarrier *mbarrier_at(Warp *w, const Inst *in, int lane, PtxSpace space, uint64_t address,
                      Cta **cta) {
    if (resolve_space(space, &address) != SPACE_SHARED) {
        fault(w, in, EMU_MBARRIER, lane, address, "0x%llx is not an address of shared memory",
              (unsigned long long)address);
        return NULL;
    }
    uint8_t *at = shared_at(w, in, lane, address, 8, 8, cta);
    if (!at) return NULL;
    Mbarrier *m = find_mbarrier(*cta, (uint32_t)(at - (*cta)->shared));
    if (!m) {
        fault(w, in, EMU_MBARRIER, lane, address, "there is no mbarrier at shared address 0x%llx",
              (unsigned long long)address);
        return NULL;
    }
    if (checks_races(w) && m->init_agent != w->agent && m->init_time > w->seen[m->init_agent]) {
        fault(w, in, EMU_RACE, lane, address,
              "uses the mbarrier at 0x%llx, but nothing orders this after its init at PTX line %u",
              (unsigned long long)address, m->init_line);
        return NULL;
    }
    return m;
}

static void clear_clock(const Cluster *cluster, uint32_t *clock) {
    memset(clock, 0, cluster->agent_capacity * sizeof *clock);
}

/* Completes the phase when nothing is outstanding. */
static void advance(Cluster *cluster, Cta *cta, Mbarrier *m) {
    if (m->pending || m->transactions) {
        show(cta, m);
        return;
    }
    uint32_t *seen = m->open_seen, *fenced = m->open_fenced;
    m->open_seen = m->seen, m->open_fenced = m->fenced;
    m->seen = seen, m->fenced = fenced;
    clear_clock(cluster, m->seen);
    clear_clock(cluster, m->fenced);
    m->phase++;
    m->open_seen[m->agent] = m->phase; /* copies of this phase are known to all who wait */
    m->pending = m->expected;
    cluster->progress++;
    show(cta, m);
    for (uint32_t i = 0; i < cluster->warp_count; i++) { /* let sleepers look again */
        Warp *w = &cluster->warps[i];
        for (uint32_t k = 0; k < w->fragment_count; k++) {
            Fragment *f = &w->fragments[k];
            if (f->wait != WAIT_MBARRIER) continue;
            f->wait = WAIT_NOTHING;
            f->timeouts = 0;
        }
    }
}

static Step mbar_init(Warp *w, const Inst *in) {
    Cluster *cluster = w->cluster;
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    FOR_LANES(w->active, l) {
        uint32_t count = lanes32(w, in->r[0])[l];
        uint64_t at = address[l];
        Cta *cta;
        if (resolve_space((PtxSpace)in->addresses->space, &at) != SPACE_SHARED)
            return fault(w, in, EMU_MBARRIER, l, at, "0x%llx is not an address of shared memory",
                         (unsigned long long)at);
        uint8_t *memory = shared_at(w, in, l, at, 8, 8, &cta);
        if (!memory) return STEP_FAULT;
        if (!count || count > COUNT_LIMIT)
            return fault(w, in, EMU_MBARRIER, l, at, "mbarrier.init with count %u", count);
        uint32_t offset = (uint32_t)(memory - cta->shared);
        Mbarrier *m = find_mbarrier(cta, offset);
        if (m)
            return fault(w, in, EMU_MBARRIER, l, at,
                         "the mbarrier at 0x%llx is initialised again without mbarrier.inval",
                         (unsigned long long)at);
        Access access = plain_access(w, in, cta, l);
        if (!shared_write(&access, offset, 8)) return STEP_FAULT;
        if (cta->mbarrier_count == cta->mbarrier_capacity) {
            uint32_t grown = cta->mbarrier_capacity ? cta->mbarrier_capacity * 2 : 16;
            cta->mbarriers =
                arena_grow(cluster->arena, cta->mbarriers,
                           cta->mbarrier_capacity * sizeof(Mbarrier), grown * sizeof(Mbarrier));
            cta->mbarrier_capacity = grown;
        }
        m = &cta->mbarriers[cta->mbarrier_count++];
        *m = (Mbarrier){.address = offset,
                        .expected = count,
                        .pending = count,
                        .valid = true,
                        .agent = new_agent(cluster),
                        .init_agent = w->agent,
                        .init_time = w->seen[w->agent],
                        .init_line = in->line};
        m->seen = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
        m->fenced = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
        m->open_seen = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
        m->open_fenced = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
        show(cta, m);
    }
    return STEP_NEXT;
}

static Step mbar_inval(Warp *w, const Inst *in) {
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    FOR_LANES(w->active, l) {
        Cta *cta;
        Mbarrier *m = mbarrier_at(w, in, l, (PtxSpace)in->addresses->space, address[l], &cta);
        if (!m) return STEP_FAULT;
        m->valid = false;
    }
    return STEP_NEXT;
}

/* ---- arriving -------------------------------------------------------------------------------- */

static bool arrive(Warp *w, const Inst *in, int lane, Cta *cta, Mbarrier *m, uint32_t count,
                   bool drop) {
    if (count > m->pending) {
        fault(w, in, EMU_MBARRIER, lane, m->address,
              "%u arrivals at the mbarrier at 0x%x, whose phase expects only %u more", count,
              m->address, m->pending);
        return false;
    }
    if (drop) m->expected -= count;
    m->pending -= count;
    advance(w->cluster, cta, m);
    return true;
}

static Step mbar_arrive(Warp *w, const Inst *in) {
    Opcode op = in->form->op;
    bool drop = op == OP_mbar_drop || op == OP_mbar_drop_no || op == OP_mbar_drop_tx;
    bool tx = op == OP_mbar_arrive_tx || op == OP_mbar_drop_tx;
    bool relaxed = in->form->word[CATEGORY_SEMANTICS] == WORD_relaxed;
    uint64_t address[LANES], state[LANES] = {0};
    addresses_of(w, in->addresses, address);
    bool released = false;
    FOR_LANES(w->active, l) {
        Cta *cta;
        Mbarrier *m = mbarrier_at(w, in, l, (PtxSpace)in->addresses->space, address[l], &cta);
        if (!m) return STEP_FAULT;
        uint32_t number = lanes32(w, in->r[1])[l];
        state[l] = state_word(m);
        if (tx) m->transactions += number;
        if (checks_races(w) && !relaxed) {
            uint32_t agents = w->cluster->agents; /* one release serves all lanes */
            for (uint32_t g = 0; g < agents; g++) {
                m->seen[g] = m->seen[g] > w->seen[g] ? m->seen[g] : w->seen[g];
                m->fenced[g] = m->fenced[g] > w->fenced[g] ? m->fenced[g] : w->fenced[g];
            }
            released = true;
        }
        if (!arrive(w, in, l, cta, m, tx ? 1 : number, drop)) return STEP_FAULT;
    }
    if (released) clock_tick(w);
    write64(w, in->r[0], state);
    return STEP_NEXT;
}

static Step mbar_transactions(Warp *w, const Inst *in) { /* expect_tx, complete_tx */
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    FOR_LANES(w->active, l) {
        Cta *cta;
        Mbarrier *m = mbarrier_at(w, in, l, (PtxSpace)in->addresses->space, address[l], &cta);
        if (!m) return STEP_FAULT;
        int64_t bytes = lanes32(w, in->r[0])[l];
        m->transactions += in->form->op == OP_mbar_expect ? bytes : -bytes;
        advance(w->cluster, cta, m);
    }
    return STEP_NEXT;
}

bool mbarrier_complete_tx(Warp *w, const Inst *in, int lane, Cta *cta, uint32_t address,
                          int64_t bytes) {
    Mbarrier *m = find_mbarrier(cta, address);
    if (!m) {
        fault(w, in, EMU_MBARRIER, lane, address,
              "the copy completes at 0x%x, where there is no mbarrier any more", address);
        return false;
    }
    m->transactions -= bytes;
    if (m->transactions < -COUNT_LIMIT) {
        fault(w, in, EMU_MBARRIER, lane, address,
              "copies have completed %lld bytes more than the mbarrier at 0x%x was told to expect",
              (long long)-m->transactions, address);
        return false;
    }
    advance(w->cluster, cta, m);
    return true;
}

/* cp.async.mbarrier.arrive: arrives when the lane's copies so far have landed. They land here. */
static Step cp_arrive(Warp *w, const Inst *in) {
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    if (!land(w, in, w->active, 0, true)) return STEP_FAULT;
    FOR_LANES(w->active, l) {
        Cta *cta;
        Mbarrier *m = mbarrier_at(w, in, l, (PtxSpace)in->addresses->space, address[l], &cta);
        if (!m) return STEP_FAULT;
        if (!form_has(in->form, F(noinc))) m->pending++;
        if (checks_races(w)) {
            for (uint32_t g = 0; g < w->cluster->agents; g++) {
                m->seen[g] = m->seen[g] > w->seen[g] ? m->seen[g] : w->seen[g];
                m->fenced[g] = m->fenced[g] > w->fenced[g] ? m->fenced[g] : w->fenced[g];
            }
        }
        if (!arrive(w, in, l, cta, m, 1, false)) return STEP_FAULT;
    }
    if (checks_races(w)) clock_tick(w);
    return STEP_NEXT;
}

/* ---- waiting --------------------------------------------------------------------------------- */

void mbarrier_time_out(Warp *w, Fragment *f) {
    (void)w;
    f->wait = WAIT_NOTHING;
}

static Step mbar_wait(Warp *w, const Inst *in) {
    bool parity = form_has(in->form, F(parity));
    bool relaxed = in->form->word[CATEGORY_SEMANTICS] == WORD_relaxed;
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    Mask done = 0;
    uint32_t asleep = 0;
    FOR_LANES(w->active, l) {
        Cta *cta;
        Mbarrier *m = mbarrier_at(w, in, l, (PtxSpace)in->addresses->space, address[l], &cta);
        if (!m) return STEP_FAULT;
        bool complete;
        if (parity) {
            complete = (m->phase & 1) != (lanes32(w, in->r[1])[l] & 1);
        } else {
            uint64_t state = lanes64(w, in->r[1])[l];
            complete = (state >> 40 & 0xffff) != (m->phase & 0xffff);
        }
        if (!complete) {
            asleep = m->address;
            continue;
        }
        done |= (Mask)1 << l;
        if (checks_races(w) && !relaxed) clock_acquire(w, m->open_seen, m->open_fenced);
    }
    EmuCounters *total = &w->cluster->counts->total;
    total->mbarrier_waits++;
    if (done != w->active) total->failed_mbarrier_waits++;
    Fragment *f = w->now;
    if (done == w->active) f->timeouts = 0;
    if (!done) { /* sleep until the phase ends; then, or for lack of progress, say "not yet" */
        f->wait = WAIT_MBARRIER;
        f->wait_for = asleep;
    }
    write_predicate(w, in->r[0], done);
    if (f->wait == WAIT_MBARRIER) {
        f->pc++;
        return STEP_BLOCK;
    }
    return done == w->active ? STEP_NEXT : STEP_YIELD;
}

static Step mbar_pending(Warp *w, const Inst *in) {
    const uint64_t *state = lanes64(w, in->r[1]);
    uint32_t out[LANES];
    for (int l = 0; l < LANES; l++) out[l] = (uint32_t)(state[l] >> 20) & COUNT_LIMIT;
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

Run select_async(const Form *form) {
    switch (form->op) {
    case OP_cp_async:
        return form_space(form, 0) == SPACE_SHARED && form_space(form, 1) == SPACE_GLOBAL ? cp_async
                                                                                          : NULL;
    case OP_cp_commit: return cp_commit;
    case OP_cp_arrive: return cp_arrive;
    default: return cp_wait;
    }
}

Run select_mbarrier(const Form *form) {
    switch (form->op) {
    case OP_mbar_init: return mbar_init;
    case OP_mbar_inval: return mbar_inval;
    case OP_mbar_expect:
    case OP_mbar_complete: return mbar_transactions;
    case OP_mbar_test:
    case OP_mbar_try: return mbar_wait;
    case OP_mbar_pending: return mbar_pending;
    default: return mbar_arrive;
    }
}
