/* barrier.c: barriers of a CTA (numbered, with or without a thread count, with reduction) and of
 * a cluster; and the story of who waits for what when nothing can go on. */
#include "runtime/emu/machine.h"

static void lanes_text(Text *text, Mask lanes) {
    if (lanes == ALL_LANES)
        text_puts(text, "all lanes");
    else if (!(lanes & (lanes - 1)))
        text_printf(text, "lane %d", first_lane(lanes));
    else
        text_printf(text, "lanes 0x%08x", lanes);
}

/* ---- barriers of a CTA ----------------------------------------------------------------------- */

static uint32_t threads_arrived(const Cta *cta, const Barrier *b) {
    uint32_t threads = 0;
    for (uint32_t i = 0; i < cta->warp_count; i++) {
        const Warp *w = &cta->cluster->warps[cta->first_warp + i];
        if (!b->arrived[i]) continue;
        bool whole = !(w->live & ~b->arrived[i]);
        threads += whole ? LANES : (uint32_t)__builtin_popcount(b->arrived[i]);
    }
    return threads;
}

static bool complete(const Cta *cta, const Barrier *b) {
    if (!b->busy) return false;
    if (b->expected) return threads_arrived(cta, b) >= b->expected;
    for (uint32_t i = 0; i < cta->warp_count; i++)
        if (cta->cluster->warps[cta->first_warp + i].live & ~b->arrived[i]) return false;
    return true;
}

static void write_votes(Warp *w, const Fragment *f, const Barrier *b) {
    const Inst *in = &w->code[f->pc];
    Word op = (Word)in->form->word[CATEGORY_OPERATION];
    if (!op) return;
    const uint8_t *registers = w->base[SECTION_REGISTERS];
    Mask active = w->active;
    w->base[SECTION_REGISTERS] = f->frame->registers;
    w->active = f->mask;
    if (op == WORD_popc) {
        uint32_t out[LANES];
        for (int l = 0; l < LANES; l++) out[l] = b->votes;
        write32(w, in->r[2], out);
    } else {
        bool yes = op == WORD_and ? b->votes == b->voters : b->votes > 0;
        write_predicate(w, in->r[2], yes ? ALL_LANES : 0);
    }
    w->base[SECTION_REGISTERS] = registers;
    w->active = active;
}

static void finish(Cta *cta, uint32_t id) {
    Cluster *cluster = cta->cluster;
    Barrier *b = &cta->barriers[id];
    for (uint32_t i = 0; i < cta->warp_count; i++) {
        Warp *w = &cluster->warps[cta->first_warp + i];
        for (uint32_t k = 0; k < w->fragment_count; k++) {
            Fragment *f = &w->fragments[k];
            if (f->wait != WAIT_BARRIER || f->wait_for != id) continue;
            write_votes(w, f, b);
            f->wait = WAIT_NOTHING;
            f->pc++;
            if (b->seen) clock_acquire(w, b->seen, b->fenced);
        }
        b->arrived[i] = 0;
    }
    if (b->seen) memset(b->seen, 0, cluster->agent_capacity * sizeof(uint32_t));
    if (b->fenced) memset(b->fenced, 0, cluster->agent_capacity * sizeof(uint32_t));
    b->busy = false;
    b->expected = b->voters = b->votes = 0;
    cluster->progress++;
}

void barriers_warp_left(Warp *w) {
    Cta *cta = w->cta;
    cta->live_warps--;
    w->cluster->live_warps--;
    for (uint32_t id = 0; id < BARRIERS; id++)
        if (!cta->barriers[id].expected && complete(cta, &cta->barriers[id])) finish(cta, id);
    cluster_barrier_check(w->cluster);
}

static Step uniform(Warp *w, const Inst *in, Ref ref, uint32_t *value, const char *what) {
    const uint32_t *lanes = lanes32(w, ref);
    *value = lanes[first_lane(w->active)];
    FOR_LANES(w->active, l)
    if (lanes[l] != *value)
        return fault(w, in, EMU_BARRIER, l, 0, "lanes of one warp give different %s: %u and %u",
                     what, *value, lanes[l]);
    return STEP_NEXT;
}

/* Where the lanes are that should be here too. */
static Step divergent(Warp *w, const Inst *in) {
    Text text = {.arena = w->cluster->arena};
    Mask missing = w->live & ~w->active;
    lanes_text(&text, missing);
    text_puts(&text, " of the warp did not come along");
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        const Fragment *f = &w->fragments[i];
        if (!(f->mask & missing) || f == w->now) continue;
        text_printf(&text, "; ");
        lanes_text(&text, f->mask & missing);
        text_printf(&text, " at PTX line %u", w->code[f->pc].line);
    }
    for (const Join *j = w->now ? w->now->join : NULL; j; j = j->up) {
        if (!(j->arrived & missing)) continue;
        text_printf(&text, "; ");
        lanes_text(&text, j->arrived & missing);
        text_printf(&text, " wait to rejoin at PTX line %u", w->code[j->pc].line);
    }
    return fault(w, in, EMU_BARRIER, first_lane(missing), 0,
                 "an aligned barrier in divergent code: %s", text.data);
}

static bool is_aligned(const Form *f) {
    bool bar = f->op >= OP_bar_sync && f->op <= OP_bar_cta_red;
    return bar || form_has(f, F(aligned));
}

static Step cta_barrier(Warp *w, const Inst *in) {
    const Form *f = in->form;
    Cta *cta = w->cta;
    uint32_t id, count;
    Step step = uniform(w, in, in->r[0], &id, "barrier numbers");
    if (step == STEP_NEXT) step = uniform(w, in, in->r[1], &count, "thread counts");
    if (step != STEP_NEXT) return step;
    bool arrive_only = f->op == OP_bar_arrive || f->op == OP_bar_cta_arrive ||
                       f->op == OP_barrier_arrive || f->op == OP_barrier_cta_arrive;
    if (id >= BARRIERS)
        return fault(w, in, EMU_BARRIER, -1, 0, "barrier %u does not exist (0..15)", id);
    if (count % LANES || (arrive_only && !count))
        return fault(w, in, EMU_BARRIER, -1, 0, "thread count %u: a multiple of 32 is needed",
                     count);
    if (is_aligned(f) && w->active != w->live) return divergent(w, in);
    Barrier *b = &cta->barriers[id];
    if (b->busy && b->expected != count)
        return fault(
            w, in, EMU_BARRIER, -1, 0,
            "barrier %u is used with %u threads here, but with %u by those who wait (0: all)", id,
            count, b->expected);
    if (b->arrived[w->index] & w->active)
        return fault(w, in, EMU_BARRIER, first_lane(b->arrived[w->index] & w->active), 0,
                     "arrives at barrier %u twice before it completed", id);
    if (checks_races(w)) {
        if (!b->seen) {
            b->seen = arena_array(w->cluster->arena, uint32_t, w->cluster->agent_capacity);
            b->fenced = arena_array(w->cluster->arena, uint32_t, w->cluster->agent_capacity);
        }
        clock_release(w, b->seen, b->fenced);
    }
    b->busy = true;
    b->expected = count;
    b->arrived[w->index] |= w->active;
    if (f->word[CATEGORY_OPERATION]) {
        Mask yes = operand_predicate(w, in, in->r[3], 8) & w->active;
        b->voters += (uint32_t)__builtin_popcount(w->active);
        b->votes += (uint32_t)__builtin_popcount(yes);
    }
    if (count && threads_arrived(cta, b) > count)
        return fault(w, in, EMU_BARRIER, -1, 0, "barrier %u expects %u threads, but %u arrived", id,
                     count, threads_arrived(cta, b));
    if (!arrive_only) {
        w->cluster->counts->total.barrier_waits++;
        w->now->wait = WAIT_BARRIER;
        w->now->wait_for = id;
    }
    Fragment *now = w->now;
    bool done = complete(cta, b);
    if (done) finish(cta, id);
    if (arrive_only) return STEP_NEXT;
    (void)now;
    return done ? STEP_JUMP : STEP_BLOCK;
}

/* ---- the cluster's barrier ------------------------------------------------------------------- */

void cluster_barrier_check(Cluster *cluster) {
    bool any = false;
    for (uint32_t i = 0; i < cluster->warp_count; i++) {
        if (cluster->warps[i].live & ~cluster->warps[i].cluster_arrived) return;
        any |= cluster->warps[i].cluster_arrived != 0;
    }
    if (!any) return;
    size_t bytes = cluster->agent_capacity * sizeof(uint32_t);
    if (cluster->barrier_seen) {
        memcpy(cluster->released_seen, cluster->barrier_seen, bytes);
        memcpy(cluster->released_fenced, cluster->barrier_fenced, bytes);
        memset(cluster->barrier_seen, 0, bytes);
        memset(cluster->barrier_fenced, 0, bytes);
    }
    for (uint32_t i = 0; i < cluster->warp_count; i++) {
        Warp *w = &cluster->warps[i];
        w->cluster_arrived = 0;
        for (uint32_t k = 0; k < w->fragment_count; k++) {
            Fragment *f = &w->fragments[k];
            if (f->wait != WAIT_CLUSTER) continue;
            f->wait = WAIT_NOTHING;
            f->pc++;
            w->cluster_due &= ~f->mask;
            if (cluster->barrier_seen)
                clock_acquire(w, cluster->released_seen, cluster->released_fenced);
        }
    }
    cluster->progress++;
}

static Step cluster_barrier(Warp *w, const Inst *in) {
    const Form *f = in->form;
    Cluster *cluster = w->cluster;
    if (form_has(f, F(aligned)) && w->active != w->live) return divergent(w, in);
    if (f->op == OP_cluster_arrive) {
        if (w->cluster_due & w->active)
            return fault(w, in, EMU_BARRIER, first_lane(w->cluster_due & w->active), 0,
                         "arrives at the cluster barrier again without having waited");
        w->cluster_arrived |= w->active;
        w->cluster_due |= w->active;
        if (checks_races(w) && f->word[CATEGORY_SEMANTICS] != WORD_relaxed)
            clock_release(w, cluster->barrier_seen, cluster->barrier_fenced);
        cluster_barrier_check(cluster);
        return STEP_NEXT;
    }
    if (w->active & ~w->cluster_due)
        return fault(w, in, EMU_BARRIER, first_lane(w->active & ~w->cluster_due), 0,
                     "waits for the cluster barrier without having arrived");
    if (!(w->cluster_arrived & w->active)) { /* that phase is over */
        w->cluster_due &= ~w->active;
        if (checks_races(w)) clock_acquire(w, cluster->released_seen, cluster->released_fenced);
        return STEP_NEXT;
    }
    cluster->counts->total.barrier_waits++;
    w->now->wait = WAIT_CLUSTER;
    return STEP_BLOCK;
}

Run select_barrier(const Form *form) {
    if (form->op == OP_cluster_arrive || form->op == OP_cluster_wait) return cluster_barrier;
    bool red = form->op == OP_bar_red || form->op == OP_bar_cta_red || form->op == OP_barrier_red ||
               form->op == OP_barrier_cta_red;
    Word op = (Word)form->word[CATEGORY_OPERATION];
    if (red && op != WORD_and && op != WORD_or && op != WORD_popc) return NULL;
    return cta_barrier;
}

/* ---- who waits for what ---------------------------------------------------------------------- */

static void describe_fragment(const Warp *w, const Fragment *f, Text *text) {
    const Cta *cta = w->cta;
    if (text->length) text_puts(text, "; ");
    if (w->cluster->cta_count > 1) text_printf(text, "CTA %u ", cta->rank);
    text_printf(text, "warp %u ", w->index);
    if (f->mask != w->live) {
        lanes_text(text, f->mask);
        text_puts(text, " ");
    }
    text_printf(text, "at PTX line %u waits for ", w->code[f->pc].line);
    switch (f->wait) {
    case WAIT_BARRIER: {
        const Barrier *b = &cta->barriers[f->wait_for];
        text_printf(text, "barrier %u (%u of %u threads arrived)", (unsigned)f->wait_for,
                    threads_arrived(cta, b), b->expected ? b->expected : cta->live_warps * LANES);
        break;
    }
    case WAIT_CLUSTER: text_puts(text, "the cluster barrier"); break;
    case WAIT_WARP:
        lanes_text(text, (Mask)f->wait_for & w->live & ~(Mask)(f->wait_for >> 32));
        text_puts(text, " of its own warp");
        break;
    case WAIT_MBARRIER: {
        const Mbarrier *m = find_mbarrier((Cta *)cta, (uint32_t)f->wait_for);
        text_printf(text, "mbarrier 0x%x", (unsigned)f->wait_for);
        if (m)
            text_printf(text, " (phase %u; %u of %u arrivals and %lld bytes outstanding)", m->phase,
                        m->pending, m->expected, (long long)m->transactions);
        break;
    }
    default: text_puts(text, "nothing");
    }
}

bool cluster_describe_waits(Cluster *cluster, Text *text) {
    uint32_t told = 0;
    for (uint32_t i = 0; i < cluster->warp_count; i++) {
        const Warp *w = &cluster->warps[i];
        for (uint32_t k = 0; k < w->fragment_count; k++)
            if (w->fragments[k].wait != WAIT_NOTHING && told++ < 8)
                describe_fragment(w, &w->fragments[k], text);
    }
    if (told > 8) text_printf(text, "; and %u more", told - 8);
    return told > 0;
}
