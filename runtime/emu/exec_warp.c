/* exec_warp.c: instructions by which the lanes of a warp look at each other. */
#include "runtime/emu/machine.h"

#define LANE_LOOP for (int l = 0; l < LANES; l++)

/* The member mask: the same in all lanes that execute. */
static bool members_of(Warp *w, const Inst *in, Ref ref, Mask *members) {
    const uint32_t *mask = lanes32(w, ref);
    *members = mask[first_lane(w->active)];
    FOR_LANES(w->active, l) if (mask[l] != *members) {
        fault(w, in, EMU_WARP_SYNC, l, 0, "member mask 0x%08x differs from lane %d's 0x%08x",
              mask[l], first_lane(w->active), *members);
        return false;
    }
    return true;
}

#define GATHER(ref)                                                                                \
    Mask members, before;                                                                          \
    if (!members_of(w, in, ref, &members)) return STEP_FAULT;                                      \
    Step step = gather(w, in, members, &before);                                                   \
    if (step != STEP_NEXT) return step;

static Step shuffle(Warp *w, const Inst *in) {
    GATHER(in->refs[5])
    const uint32_t *a = lanes32(w, in->r[2]), *b = lanes32(w, in->r[3]),
                   *c = lanes32(w, in->refs[4]);
    Word mode = (Word)in->form->word[CATEGORY_MODE];
    uint32_t out[LANES] = {0};
    Mask valid = 0;
    FOR_LANES(w->active, l) {
        uint32_t by = b[l] & 31, clamp = c[l] & 31, segment = c[l] >> 8 & 31;
        uint32_t lane = (uint32_t)l, low = lane & segment, high = low | (clamp & ~segment), from;
        bool good;
        switch (mode) {
        case WORD_up: from = lane - by, good = (int32_t)from >= (int32_t)high; break;
        case WORD_down: from = lane + by, good = from <= high; break;
        case WORD_bfly: from = lane ^ by, good = from <= high; break;
        default: from = low | (by & ~segment), good = from <= high; break;
        }
        if (!good) from = lane;
        if (!(w->active >> from & 1))
            return fault(w, in, EMU_UNINITIALISED, l, 0,
                         "shuffles from lane %u, which does not take part", from);
        out[l] = a[from];
        valid |= (Mask)good << l;
    }
    write32(w, in->r[0], out);
    if (in->imm & 2) write_predicate(w, in->r[1], valid);
    release_gathered(w, in, before);
    return STEP_NEXT;
}

static Step vote(Warp *w, const Inst *in) {
    GATHER(in->r[2])
    Mask yes = operand_predicate(w, in, in->r[1], 8) & w->active;
    Word mode = (Word)in->form->word[CATEGORY_MODE];
    bool result = form_has(in->form, F(uni)) ? yes == 0 || yes == w->active
                  : mode == WORD_all         ? yes == w->active
                                             : yes != 0;
    if (mode == WORD_ballot) {
        uint32_t out[LANES];
        LANE_LOOP out[l] = yes;
        write32(w, in->r[0], out);
    } else {
        write_predicate(w, in->r[0], result ? ALL_LANES : 0);
    }
    release_gathered(w, in, before);
    return STEP_NEXT;
}

static Step match(Warp *w, const Inst *in) {
    GATHER(in->r[3])
    bool wide = ptx_types[in->form->type[0]].bits == 64,
         all = in->form->word[CATEGORY_MODE] == WORD_all;
    uint32_t out[LANES] = {0};
    Mask same_all = 0;
    FOR_LANES(w->active, l) FOR_LANES(w->active, k) {
        bool same = wide ? lanes64(w, in->r[2])[l] == lanes64(w, in->r[2])[k]
                         : lanes32(w, in->r[2])[l] == lanes32(w, in->r[2])[k];
        out[l] |= (uint32_t)same << k;
    }
    if (all) {
        bool every = out[first_lane(w->active)] == w->active;
        same_all = every ? ALL_LANES : 0;
        LANE_LOOP out[l] = every ? w->active : 0;
    }
    write32(w, in->r[0], out);
    if (in->imm & 2) write_predicate(w, in->r[1], same_all);
    release_gathered(w, in, before);
    return STEP_NEXT;
}

static Step redux(Warp *w, const Inst *in) {
    GATHER(in->r[2])
    const uint32_t *a = lanes32(w, in->r[1]);
    bool sign = in->form->type[0] == TYPE_s32, real = in->form->type[0] == TYPE_f32;
    uint32_t result = a[first_lane(w->active)];
    bool nan = false;
    FOR_LANES(w->active, l) {
        uint32_t x = a[l];
        if (real) { /* min and max only */
            float v = as_float(x), r = as_float(result);
            if (form_has(in->form, F(abs))) v = v < 0 ? -v : v, r = r < 0 ? -r : r;
            nan |= v != v;
            bool take = r != r || (in->form->word[CATEGORY_OPERATION] == WORD_min ? v < r : v > r);
            result = float_bits(take && v == v ? v : r);
            continue;
        }
        if (l == first_lane(w->active)) continue;
        switch (in->form->word[CATEGORY_OPERATION]) {
        case WORD_add: result += x; break;
        case WORD_and: result &= x; break;
        case WORD_or: result |= x; break;
        case WORD_xor: result ^= x; break;
        case WORD_min:
            result = (sign ? (int32_t)x < (int32_t)result : x < result) ? x : result;
            break;
        default: result = (sign ? (int32_t)x > (int32_t)result : x > result) ? x : result; break;
        }
    }
    if (real &&
        (as_float(result) != as_float(result) || (nan && form_has(in->form, F(nan_result)))))
        result = 0x7fffffff;
    uint32_t out[LANES];
    LANE_LOOP out[l] = result;
    write32(w, in->r[0], out);
    release_gathered(w, in, before);
    return STEP_NEXT;
}

static Step elect(Warp *w, const Inst *in) {
    GATHER(in->r[2])
    uint32_t leader = (uint32_t)first_lane(w->active), out[LANES];
    LANE_LOOP out[l] = leader;
    write32(w, in->r[0], out);
    write_predicate(w, in->r[1], (Mask)1 << leader);
    release_gathered(w, in, before);
    return STEP_NEXT;
}

static Step active_mask(Warp *w, const Inst *in) {
    uint32_t out[LANES];
    LANE_LOOP out[l] = w->active;
    write32(w, in->r[0], out);
    return STEP_NEXT;
}

static Step warp_sync(Warp *w, const Inst *in) {
    GATHER(in->r[0])
    if (checks_races(w)) clock_tick(w);
    release_gathered(w, in, before);
    return STEP_NEXT;
}

Run select_warp(const Form *form) {
    Word op = (Word)form->word[CATEGORY_OPERATION], mode = (Word)form->word[CATEGORY_MODE];
    PtxType type = (PtxType)form->type[0];
    switch (form->op) {
    case OP_shfl: return mode >= WORD_up && mode <= WORD_idx && type == TYPE_b32 ? shuffle : NULL;
    case OP_vote:
        if (mode == WORD_ballot) return type == TYPE_b32 ? vote : NULL;
        return type == TYPE_pred && (form_has(form, F(uni)) || mode == WORD_all || mode == WORD_any)
                   ? vote
                   : NULL;
    case OP_match: return mode == WORD_all || mode == WORD_any ? match : NULL;
    case OP_redux:
        if (type == TYPE_f32) return op == WORD_min || op == WORD_max ? redux : NULL;
        return op && (type == TYPE_s32 || type == TYPE_u32 || type == TYPE_b32) ? redux : NULL;
    case OP_elect: return elect;
    case OP_activemask: return type == TYPE_b32 ? active_mask : NULL;
    default: return warp_sync;
    }
}
