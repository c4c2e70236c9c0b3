/* warp.c: runs a warp: fetches, guards, dispatches; divides lanes at branches and joins them
 * again; calls and returns. */
#include "runtime/emu/machine.h"

/* ---- frames and joins ------------------------------------------------------------------------ */

static Frame *new_frame(Warp *w, const Code *code, uint32_t local_base, Frame *up) {
    Frame **link = &w->free_frames;
    while (*link && (*link)->code != code) link = &(*link)->next_free;
    Frame *frame = *link;
    if (frame) {
        *link = frame->next_free;
        if (frame->defined) memset(frame->defined, 0, code->register_count * sizeof(Mask));
        memset(frame->in_flight, 0, code->register_count * sizeof(uint32_t));
    } else {
        frame = cluster_array(w->cluster, Frame, 1);
        frame->code = code;
        frame->registers = cluster_alloc(w->cluster, code->register_bytes + 64);
        frame->in_flight = cluster_array(w->cluster, uint32_t, code->register_count + 1);
        if (code->any_tracked && w->machine->checks & EMU_CHECK_UNINITIALISED)
            frame->defined = cluster_array(w->cluster, Mask, code->register_count + 1);
    }
    frame->local_base = local_base;
    frame->up = up;
    return frame;
}

static void free_frame(Warp *w, Frame *frame) {
    frame->next_free = w->free_frames;
    w->free_frames = frame;
}

static Join *new_join(Warp *w, Join value) {
    Join *join = w->free_joins;
    if (join)
        w->free_joins = join->up;
    else
        join = arena_new(w->cluster->arena, Join);
    *join = value;
    return join;
}

static void free_join(Warp *w, Join *join) {
    join->up = w->free_joins;
    w->free_joins = join;
}

static Fragment *add_fragment(Warp *w, Fragment value) {
    w->fragments[w->fragment_count] = value;
    return &w->fragments[w->fragment_count++];
}

static void remove_fragment(Warp *w, Fragment *f) {
    *f = w->fragments[--w->fragment_count];
    w->now = NULL;
}

/* Some lanes arrived at `join` or left it: goes on with those that are complete. */
static void settle(Warp *w, Join *join) {
    while (join && join->arrived == join->expected) {
        Join *up = join->up;
        Mask lanes = join->arrived;
        if (lanes)
            add_fragment(
                w, (Fragment){.mask = lanes, .pc = join->pc, .frame = join->frame, .join = up});
        if (join->is_call) free_frame(w, join->callee_frame);
        free_join(w, join);
        if (lanes) return;
        join = up;
    }
}

static void arrive(Warp *w, Fragment *f) {
    Join *join = f->join;
    join->arrived |= f->mask;
    remove_fragment(w, f);
    settle(w, join);
}

Step leave(Warp *w, Mask lanes) {
    Fragment *f = w->now;
    w->live &= ~lanes;
    for (Join *j = f->join; j; j = j->up) j->expected &= ~lanes;
    f->mask &= ~lanes;
    f->pc++;
    if (!f->mask) {
        Join *join = f->join;
        remove_fragment(w, f);
        settle(w, join);
    }
    if (!w->live) barriers_warp_left(w);
    return STEP_JUMP;
}

Step return_from(Warp *w, Mask lanes) {
    Fragment *f = w->now;
    Join *call = f->join;
    while (call && !call->is_call) call = call->up;
    if (!call) return leave(w, lanes);
    const Call *site = call->call;
    size_t stride = w->machine->local_size;
    for (uint32_t i = 0; i < site->result_count; i++) {
        const CallCopy *copy = &site->results[i];
        FOR_LANES(lanes, l)
        memcpy(w->local + stride * (size_t)l + call->frame->local_base + copy->to,
               w->local + stride * (size_t)l + f->frame->local_base + copy->from, copy->size);
    }
    for (Join *j = f->join; j != call; j = j->up) j->expected &= ~lanes;
    call->arrived |= lanes;
    f->mask &= ~lanes;
    f->pc++;
    if (!f->mask) {
        Join *join = f->join;
        remove_fragment(w, f);
        settle(w, join);
    }
    return STEP_JUMP;
}

Step enter_call(Warp *w, const Inst *in, const Call *call) {
    Fragment *f = w->now;
    const Code *code = call->callee;
    if (w->active != f->mask)
        return fault(w, in, EMU_UNSUPPORTED, -1, 0, "a call under a divergent guard");
    uint32_t base = f->frame->local_base + f->frame->code->local_bytes;
    if (base + code->local_bytes > w->machine->local_size)
        return fault(w, in, EMU_OUT_OF_BOUNDS, -1, 0, "the call stack of %u bytes overflows",
                     w->machine->local_size);
    uint32_t depth = 0;
    for (Frame *up = f->frame; up; up = up->up) depth++;
    if (depth > CALL_DEPTH_LIMIT)
        return fault(w, in, EMU_UNSUPPORTED, -1, 0, "calls nest deeper than %d", CALL_DEPTH_LIMIT);
    size_t stride = w->machine->local_size;
    for (uint32_t i = 0; i < call->argument_count; i++) {
        const CallCopy *copy = &call->arguments[i];
        FOR_LANES(w->active, l)
        memcpy(w->local + stride * (size_t)l + base + copy->to,
               w->local + stride * (size_t)l + f->frame->local_base + copy->from, copy->size);
    }
    Frame *frame = new_frame(w, code, base, f->frame);
    f->join = new_join(w, (Join){.expected = f->mask,
                                 .pc = f->pc + 1,
                                 .is_call = true,
                                 .frame = f->frame,
                                 .callee_frame = frame,
                                 .call = call,
                                 .up = f->join});
    f->frame = frame;
    f->pc = code->begin;
    w->base[SECTION_REGISTERS] = frame->registers;
    return STEP_JUMP;
}

/* ---- branches -------------------------------------------------------------------------------- */

static Join *join_for(Warp *w, Fragment *f, uint32_t pc) {
    Join *join = f->join;
    if (pc == UINT32_MAX) return join;
    if (join && !join->is_call && join->pc == pc && join->frame == f->frame) return join;
    return new_join(w, (Join){.expected = f->mask, .pc = pc, .frame = f->frame, .up = join});
}

Step diverge(Warp *w, const Inst *in, Mask taken) {
    Fragment *f = w->now;
    Mask stay = f->mask & ~taken;
    if (!stay) {
        f->pc = in->target;
        return STEP_JUMP;
    }
    Join *join = join_for(w, f, in->join);
    f->join = join;
    if (in->join == in->target) { /* those that jump are there at once */
        join->arrived |= taken;
        f->mask = stay;
        f->pc++;
        return STEP_JUMP;
    }
    Fragment other = {.mask = taken, .pc = in->target, .frame = f->frame, .join = join};
    if (in->join == f->pc + 1) {
        join->arrived |= stay;
        *f = other;
        return STEP_JUMP;
    }
    f->mask = stay;
    f->pc++;
    add_fragment(w, other);
    return STEP_JUMP;
}

static Step branch(Warp *w, const Inst *in) {
    return diverge(w, in, w->active);
}

static Step branch_table(Warp *w, const Inst *in) {
    Fragment *f = w->now;
    const Targets *targets = in->extra;
    const uint32_t *index = lanes32(w, in->r[0]);
    Mask rest = w->active, stay = f->mask & ~w->active;
    Join *join = NULL;
    FOR_LANES(rest, l)
    if (index[l] >= targets->count)
        return fault(w, in, EMU_OUT_OF_BOUNDS, l, index[l], "branch table index %u of %u", index[l],
                     targets->count);
    Mask first = 0;
    uint32_t first_pc = targets->pc[index[first_lane(rest)]];
    FOR_LANES(rest, l) if (targets->pc[index[l]] == first_pc) first |= (Mask)1 << l;
    if (first == f->mask) {
        f->pc = first_pc;
        return STEP_JUMP;
    }
    join = join_for(w, f, in->join);
    Frame *frame = f->frame;
    uint32_t next = f->pc + 1;
    *f = (Fragment){.mask = first, .pc = first_pc, .frame = frame, .join = join};
    rest &= ~first;
    while (rest) {
        uint32_t pc = targets->pc[index[first_lane(rest)]];
        Mask group = 0;
        FOR_LANES(rest, l) if (targets->pc[index[l]] == pc) group |= (Mask)1 << l;
        add_fragment(w, (Fragment){.mask = group, .pc = pc, .frame = frame, .join = join});
        rest &= ~group;
    }
    if (stay) add_fragment(w, (Fragment){.mask = stay, .pc = next, .frame = frame, .join = join});
    return STEP_JUMP;
}

/* ---- printf and assertions ------------------------------------------------------------------- */

static uint64_t call_argument(const Warp *w, const Call *call, uint32_t i, int lane) {
    uint64_t value = 0;
    const CallCopy *copy = &call->arguments[i];
    memcpy(&value,
           w->local + (size_t)w->machine->local_size * (size_t)lane + w->now->frame->local_base +
               copy->from,
           copy->size < 8 ? copy->size : 8);
    return value;
}

/* A string in global memory, NULL-terminated; false after a fault. */
static bool read_string(Warp *w, const Inst *in, int lane, uint64_t address, Text *out) {
    for (uint32_t i = 0; i < 4096; i++) {
        const uint8_t *at = global_at(w, in, lane, address + i, 1, 1, ACCESS_READ);
        if (!at) return false;
        if (!*at) break;
        text_add(out, (const char *)at, 1);
    }
    if (!out->data) text_puts(out, "");
    return true;
}

static bool read_local(Warp *w, const Inst *in, int lane, uint64_t address, uint64_t *value,
                       uint32_t size) {
    *value = 0;
    PtxSpace space = resolve_space(SPACE_GENERIC, &address);
    const uint8_t *at = space == SPACE_LOCAL
                            ? local_at(w, in, lane, address, size, 0)
                            : global_at(w, in, lane, address, size, 0, ACCESS_READ);
    if (at) memcpy(value, at, size);
    return at != NULL;
}

/* One conversion of a printf format, flags and all; advances *at past it. */
static bool print_one(Warp *w, const Inst *in, int lane, const char **at, uint64_t *arguments,
                      Text *out) {
    char spec[40] = "%";
    uint32_t length = 1;
    const char *p = *at + 1;
    bool wide = false;
    while (*p && strchr("-+ #0123456789.lhzjt", *p) && length < 30) {
        wide |= *p == 'l' || *p == 'z' || *p == 'j' || *p == 't';
        if (!strchr("lhzjt", *p)) spec[length++] = *p;
        p++;
    }
    char type = *p;
    *at = *p ? p + 1 : p;
    bool is_float = type && strchr("eEfFgGaA", type), is_pointer = type == 'p' || type == 's';
    if (!is_float && !is_pointer && !(type && strchr("dicuoxX", type))) return true;
    uint32_t size = wide || is_float || is_pointer ? 8 : 4;
    uint64_t value;
    *arguments = (*arguments + size - 1) & ~(uint64_t)(size - 1);
    if (!read_local(w, in, lane, *arguments, &value, size)) return false;
    *arguments += size;
    if (type == 's') {
        Text string = {.arena = w->cluster->arena};
        if (!read_string(w, in, lane, value, &string)) return false;
        text_puts(out, string.data);
    } else if (type == 'p') {
        text_printf(out, "0x%llx", (unsigned long long)value);
    } else if (type == 'c') {
        text_printf(out, "%c", (int)value);
    } else {
        char part[400];
        spec[length++] = is_float ? type : 'l';
        if (!is_float) spec[length++] = 'l', spec[length++] = type;
        spec[length] = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if (is_float)
            snprintf(part, sizeof part, spec, as_double(value));
        else if (type == 'd' || type == 'i')
            snprintf(part, sizeof part, spec,
                     size == 8 ? (long long)value : (long long)(int32_t)value);
        else
            snprintf(part, sizeof part, spec, (unsigned long long)value);
#pragma GCC diagnostic pop
        text_puts(out, part);
    }
    return true;
}

static Step print_lanes(Warp *w, const Inst *in, const Call *call) {
    FOR_LANES(w->active, l) {
        Text format = {.arena = w->cluster->arena}, out = {.arena = w->cluster->arena};
        if (!read_string(w, in, l, call_argument(w, call, 0, l), &format)) return STEP_FAULT;
        uint64_t arguments = call_argument(w, call, 1, l);
        const char *p = format.data;
        text_puts(&out, "");
        while (*p) {
            const char *percent = strchr(p, '%');
            size_t plain = percent ? (size_t)(percent - p) : strlen(p);
            text_add(&out, p, plain);
            p += plain;
            if (!percent) break;
            if (p[1] == '%') {
                text_puts(&out, "%");
                p += 2;
            } else if (!print_one(w, in, l, &p, &arguments, &out)) {
                return STEP_FAULT;
            }
        }
        device_print(w->machine, out.data);
        for (uint32_t i = 0; i < call->result_count; i++)
            memset(w->local + (size_t)w->machine->local_size * (size_t)l +
                       w->now->frame->local_base + call->results[i].from,
                   0, call->results[i].size);
    }
    return STEP_NEXT;
}

static Step assert_failed(Warp *w, const Inst *in, const Call *call) {
    int lane = first_lane(w->active);
    Text what = {.arena = w->cluster->arena}, file = {.arena = w->cluster->arena};
    if (!read_string(w, in, lane, call_argument(w, call, 0, lane), &what) ||
        !read_string(w, in, lane, call_argument(w, call, 1, lane), &file))
        return STEP_FAULT;
    unsigned line = call->argument_count > 2 ? (unsigned)call_argument(w, call, 2, lane) : 0;
    return fault(w, in, EMU_ASSERT, lane, 0, "%s:%u: assertion `%s` failed", file.data, line,
                 what.data);
}

static Step call_function(Warp *w, const Inst *in) {
    const Call *call = in->extra;
    if (call->builtin == BUILTIN_VPRINTF) return print_lanes(w, in, call);
    if (call->builtin == BUILTIN_ASSERTFAIL) return assert_failed(w, in, call);
    return enter_call(w, in, call);
}

static Step exit_lanes(Warp *w, const Inst *in) {
    if (w->machine->checks & EMU_CHECK_ASYNC && w->active == w->live) {
        if (w->wgmma_flights)
            return fault(w, in, EMU_WGMMA, -1, 0, "exits with a wgmma still in flight");
        if (stores_in_flight(w))
            return fault(w, in, EMU_ASYNC, -1, 0,
                         "exits while a bulk store may still read shared memory: no "
                         "cp.async.bulk.wait_group before");
    }
    return leave(w, w->active);
}
static Step return_lanes(Warp *w, const Inst *in) {
    return w->now->frame->up ? return_from(w, w->active) : exit_lanes(w, in);
}
static Step trap(Warp *w, const Inst *in) {
    return fault(w, in, EMU_TRAP, first_lane(w->active), 0, "trap");
}
static Step yield(Warp *w, const Inst *in) {
    (void)w, (void)in;
    return STEP_YIELD;
}

Run select_control(const Form *form) {
    switch (form->op) {
    case OP_bra: return branch;
    case OP_brx: return branch_table;
    case OP_call: return call_function;
    case OP_ret: return return_lanes;
    case OP_exit: return exit_lanes;
    case OP_trap: return trap;
    default: return yield; /* nanosleep, setmaxnreg */
    }
}

/* ---- gathering lanes ------------------------------------------------------------------------- */

Step gather(Warp *w, const Inst *in, Mask members, Mask *before) {
    Fragment *f = w->now;
    *before = w->active;
    if (w->active & ~members)
        return fault(w, in, EMU_WARP_SYNC, first_lane(w->active & ~members), 0,
                     "executes this, but is not in its member mask 0x%08x", members);
    Mask need = members & w->live;
    if (!(need & ~w->active)) return STEP_NEXT;
    Mask together = w->active;
    bool any_place = in->form->op == OP_warp_sync;
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        const Fragment *other = &w->fragments[i];
        if (other == f || other->wait != WAIT_WARP || (Mask)other->wait_for != members) continue;
        bool same = other->pc == f->pc && other->frame == f->frame;
        if (same || (any_place && w->code[other->pc].form->op == OP_warp_sync))
            together |= (Mask)(other->wait_for >> 32);
    }
    if (need & ~together) {
        f->wait = WAIT_WARP;
        f->wait_for = members | (uint64_t)w->active << 32;
        return STEP_BLOCK;
    }
    w->active = together;
    return STEP_NEXT;
}

void release_gathered(Warp *w, const Inst *in, Mask before) {
    if (w->active == before) return;
    Fragment *f = w->now;
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        Fragment *other = &w->fragments[i];
        if (other == f || other->wait != WAIT_WARP) continue;
        if (!((Mask)(other->wait_for >> 32) & w->active)) continue;
        other->wait = WAIT_NOTHING;
        other->pc++;
    }
    (void)in;
    w->active = before;
}

/* ---- the loop -------------------------------------------------------------------------------- */

bool warp_start(Warp *w, Mask lanes) {
    w->live = w->started = lanes;
    w->fragment_count = 0;
    w->code = w->machine->module->insts.data;
    w->base[SECTION_LITERALS] = w->machine->module->literals.data;
    w->base[SECTION_SPECIALS] = w->specials;
    w->base[SECTION_SINK] = w->cluster->sink;
    Frame *frame = new_frame(w, w->machine->code, 0, NULL);
    add_fragment(w, (Fragment){.mask = lanes, .pc = w->machine->code->begin, .frame = frame});
    return true;
}

/* Registers that may be unwritten, and accumulators in flight. */
static bool check_registers(Warp *w, const Inst *in, const Fragment *f) {
    Frame *frame = f->frame;
    const Code *code = frame->code;
    const uint32_t *defines = in->uses + in->use_count;
    if (w->wgmma_flights && !(in->flags & INST_WGMMA)) {
        for (uint32_t i = 0; i < (uint32_t)in->use_count + in->define_count; i++) {
            uint32_t flight = frame->in_flight[in->uses[i]];
            if (!flight || (flight & 1 && i < in->use_count)) continue;
            fault(w, in, EMU_WGMMA, -1, 0,
                  "%s `%s`, which a wgmma still in flight %s: no wgmma.wait_group before",
                  i < in->use_count ? "reads" : "writes", code->register_names[in->uses[i]],
                  flight & 1 ? "reads" : "writes");
            return false;
        }
    }
    if (!(in->flags & INST_TRACKED) || !frame->defined) return true;
    Mask doubtful = 0;
    for (uint32_t i = 0; i < in->use_count; i++) {
        uint32_t number = in->uses[i];
        bool is_guard = in->guard != REF_NONE && i + 1 == in->use_count;
        Mask missing =
            code->tracked[number] ? (is_guard ? f->mask : w->active) & ~frame->defined[number] : 0;
        if (missing && (is_guard || !(in->flags & INST_COPIES))) {
            fault(w, in, EMU_UNINITIALISED, first_lane(missing), 0,
                  "reads register `%s`, which this thread never wrote",
                  code->register_names[number]);
            return false;
        }
        doubtful |= missing;
    }
    for (uint32_t i = 0; i < in->define_count; i++) {
        Mask *defined = &frame->defined[defines[i]];
        *defined = (*defined | w->active) & ~(in->flags & INST_COPIES ? doubtful : 0);
    }
    return true;
}

static Fragment *pick(Warp *w, bool rotate) {
    if (w->now && !rotate && w->now->wait == WAIT_NOTHING) return w->now;
    uint32_t first = w->now ? (uint32_t)(w->now - w->fragments) + 1 : 0;
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        Fragment *f = &w->fragments[(first + i) % w->fragment_count];
        if (f->wait == WAIT_NOTHING) return f;
    }
    return NULL;
}

Ran warp_run(Warp *w, uint64_t budget) {
    Cluster *cluster = w->cluster;
    InstCount *counts = cluster->counts->by_pc;
    bool rotate = false;
    while (budget) {
        Fragment *f = pick(w, rotate);
        rotate = false;
        if (!f) return w->fragment_count ? RAN_BLOCKED : RAN_DONE;
        w->now = f;
        w->base[SECTION_REGISTERS] = f->frame->registers;
        Step step = STEP_NEXT;
        while (budget) {
            const Inst *in = &w->code[f->pc];
            if (in->flags & INST_JOIN && f->join && f->join->pc == f->pc && !f->join->is_call &&
                f->join->frame == f->frame) {
                arrive(w, f);
                break;
            }
            budget--;
            cluster->executed++;
            counts[f->pc].issues++;
            Mask active = f->mask;
            if (in->guard != REF_NONE) {
                Mask guard = predicate_of(w, in->guard);
                active &= in->guard_negated ? ~guard : guard;
                if (!active && !(in->flags & INST_TRACKED)) {
                    f->pc++;
                    continue;
                }
            }
            counts[f->pc].lanes +=
                active == ALL_LANES ? LANES : (uint64_t)__builtin_popcount(active);
            w->active = active;
            if ((in->flags & INST_TRACKED || w->wgmma_flights) && !check_registers(w, in, f))
                return RAN_FAULT;
            if (!active) {
                f->pc++;
                continue;
            }
            step = in->run(w, in);
            if (step == STEP_NEXT) {
                f->pc++;
                continue;
            }
            if (step == STEP_FAULT) return RAN_FAULT;
            if (step == STEP_YIELD) {
                f->pc++;
                rotate = w->fragment_count > 1;
                if (rotate) break;
                return RAN_ON;
            }
            if (step == STEP_JUMP && w->now && w->fragment_count == 1) {
                f = w->now;
                continue;
            }
            rotate = step == STEP_JUMP && ++w->switches % 256 == 0;
            break;
        }
    }
    return RAN_ON;
}
