/* race.c: happens-before over shared memory.
 *
 * Each warp has a clock for every agent: "I know what that agent did up to then". Time is one
 * counter for the whole cluster. A release copies a warp's knowledge to a barrier, an mbarrier or
 * an address and ends the warp's present interval; an acquire takes it over. An access is fine
 * when everything that conflicts with it is known to the warp that makes it.
 *
 * Agents 0..W-1 are the warps. Agents W..2W-1 stand for the reads that a warp's wgmmas make,
 * 2W..3W-1 for those of its bulk stores; waiting for them is knowing them. Each mbarrier is an
 * agent as well: copies that signal it write in its name, and its phases are the time.
 *
 * The async proxy needs more: a write by ordinary instructions is visible to it only behind a
 * proxy fence, so each warp keeps a second clock, `fenced`, of what is known through one.
 *
 * Every 4 bytes have a cell of history; a cell that is used bytewise is split into four.
 */
#include "runtime/emu/machine.h"

/* ---- clocks ---------------------------------------------------------------------------------- */

static void raise_all(uint32_t *to, const uint32_t *from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = to[i] > from[i] ? to[i] : from[i];
}

void clock_tick(Warp *w) {
    w->seen[w->agent] = ++w->cluster->time;
}

void clock_release(Warp *w, uint32_t *seen, uint32_t *fenced) {
    raise_all(seen, w->seen, w->cluster->agents);
    raise_all(fenced, w->fenced, w->cluster->agents);
    clock_tick(w);
}

void clock_acquire(Warp *w, const uint32_t *seen, const uint32_t *fenced) {
    raise_all(w->seen, seen, w->cluster->agents);
    raise_all(w->fenced, fenced, w->cluster->agents);
}

void proxy_fence(Warp *w) {
    raise_all(w->fenced, w->seen, w->cluster->agents);
    clock_tick(w);
}

uint32_t new_agent(Cluster *cluster) {
    if (cluster->agents < cluster->agent_capacity) return cluster->agents++;
    return cluster->agents - 1; /* shared by the last ones: laxer, never wrong */
}

void sync_address(Warp *w, Cta *cta, uint32_t address, bool acquire, bool release) {
    uint32_t slot = (address >> 2) * 0x9e3779b1u >> 26;
    Cluster *cluster = w->cluster;
    if (!cta->sync_seen[slot]) {
        cta->sync_seen[slot] = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
        cta->sync_fenced[slot] = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
    }
    if (acquire) clock_acquire(w, cta->sync_seen[slot], cta->sync_fenced[slot]);
    if (release) clock_release(w, cta->sync_seen[slot], cta->sync_fenced[slot]);
}

/* ---- reports --------------------------------------------------------------------------------- */

static void describe_agent(const Cluster *cluster, uint32_t agent, uint8_t lane, Text *text) {
    uint32_t warps = cluster->warp_count;
    if (agent >= 3 * warps) {
        text_puts(text, "an async copy");
        return;
    }
    const Warp *other = &cluster->warps[agent % warps];
    if (agent >= 2 * warps)
        text_puts(text, "a bulk store of ");
    else if (agent >= warps)
        text_puts(text, "a wgmma of ");
    if (cluster->cta_count > 1)
        text_printf(text, "CTA (%u,%u,%u) ", other->cta->id[0], other->cta->id[1],
                    other->cta->id[2]);
    text_printf(text, "warp %u", other->index);
    if (lane < LANES) text_printf(text, " lane %u", lane);
}

static void describe_line(const Access *a, uint32_t line, Text *text) {
    const EmuModule *module = a->warp->machine->module;
    if (!line) return;
    text_printf(text, " at PTX line %u", line);
    for (uint32_t pc = 0; pc < module->insts.length; pc++) {
        const Inst *in = &module->insts.data[pc];
        if (in->line != line || !in->loc) continue;
        text_printf(text, " (source line %u)", module->ptx->locs.data[in->loc].line);
        return;
    }
}

static bool race(const Access *a, uint32_t address, uint32_t agent, uint8_t lane, uint32_t line,
                 bool they_wrote, bool i_write, bool proxy) {
    Text text = {.arena = a->warp->cluster->arena};
    describe_agent(a->warp->cluster, agent, lane, &text);
    text_puts(&text, they_wrote ? " wrote" : " read");
    describe_line(a, line, &text);
    const char *mine = a->atomic ? "atomic access to" : i_write ? "write to" : "read of";
    if (proxy)
        fault(a->warp, a->inst, EMU_PROXY, a->lane < LANES ? a->lane : -1, address,
              "async %s shared address 0x%x without fence.proxy.async: what %s is not visible to "
              "the async proxy",
              mine, address, text.data);
    else
        fault(a->warp, a->inst, EMU_RACE, a->lane < LANES ? a->lane : -1, address,
              "%s%s shared address 0x%x races: %s, and nothing orders the two",
              a->async ? "async " : "", mine, address, text.data);
    return false;
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Is what `agent` did at `time` (in `lane`) known to the warp that acts now? */
static inline bool known(const Access *a, uint32_t agent, uint32_t time, uint8_t lane) {
    const Warp *w = a->warp;
    if (agent == w->agent) {
        if (a->async || time < w->seen[agent]) return true;
        return lane == a->lane || !(w->machine->checks & EMU_CHECK_WARP_RACES);
    }
    return time <= w->seen[agent];
}

static ReadSet *read_set_of(Cluster *cluster, Cell *cell) {
    if (!cell->read_set) {
        if (cluster->read_set_free) {
            cell->read_set = cluster->read_set_free;
            ReadSet *set = &cluster->read_sets[cell->read_set - 1];
            cluster->read_set_free = (uint32_t)(uintptr_t)set->next_free;
            memset(set->time, 0, cluster->agent_capacity * sizeof(uint32_t));
        } else {
            if (cluster->read_set_count == cluster->read_set_capacity) {
                uint32_t grown = cluster->read_set_capacity ? cluster->read_set_capacity * 2 : 256;
                cluster->read_sets = arena_grow(cluster->arena, cluster->read_sets,
                                                cluster->read_set_capacity * sizeof(ReadSet),
                                                grown * sizeof(ReadSet));
                cluster->read_set_capacity = grown;
            }
            ReadSet *set = &cluster->read_sets[cluster->read_set_count++];
            set->time = arena_array(cluster->arena, uint32_t, cluster->agent_capacity);
            cell->read_set = cluster->read_set_count;
        }
    }
    return &cluster->read_sets[cell->read_set - 1];
}

static void forget_reads(Cluster *cluster, Cell *cell) {
    cell->reader[0] = cell->reader[1] = NO_AGENT;
    if (!cell->read_set) return;
    ReadSet *set = &cluster->read_sets[cell->read_set - 1];
    set->next_free = (ReadSet *)(uintptr_t)cluster->read_set_free;
    cluster->read_set_free = cell->read_set;
    cell->read_set = 0;
}

static inline bool write_known(const Access *a, const Cell *cell, uint32_t address, bool i_write) {
    if (cell->writer == NO_AGENT) return true;
    if (a->atomic && cell->flags & CELL_ATOMIC) return true;
    /* Two lanes of one warp that store by the same instruction: store() compares the values. */
    bool same_instruction = i_write && cell->writer == a->agent && cell->write_time == a->time &&
                            cell->write_line == a->inst->line;
    if (same_instruction && cell->write_lane != a->lane) a->warp->overlap = true;
    if (!same_instruction && !known(a, cell->writer, cell->write_time, cell->write_lane))
        return race(a, address, cell->writer, cell->write_lane, cell->write_line, true, i_write,
                    false);
    bool by_hand = cell->writer < a->warp->cluster->warp_count;
    if (a->async && by_hand && cell->write_time > a->warp->fenced[cell->writer])
        return race(a, address, cell->writer, cell->write_lane, cell->write_line, true, i_write,
                    true);
    return true;
}

static bool note_read(const Access *a, Cell *cell, uint32_t address) {
    if (!write_known(a, cell, address, false)) return false;
    for (int i = 0; i < 2; i++) {
        if (cell->reader[i] != a->agent) continue;
        if (cell->read_lane[i] != a->lane && cell->read_time[i] == a->time)
            cell->read_lane[i] = LANE_MANY;
        else
            cell->read_lane[i] = a->lane;
        cell->read_time[i] = a->time;
        cell->read_line[i] = a->inst->line;
        return true;
    }
    for (int i = 0; i < 2; i++) {
        bool free =
            cell->reader[i] == NO_AGENT || (cell->reader[i] != a->warp->agent &&
                                            cell->read_time[i] <= a->warp->seen[cell->reader[i]]);
        if (!free) continue;
        cell->reader[i] = (uint16_t)a->agent;
        cell->read_time[i] = a->time;
        cell->read_lane[i] = a->lane;
        cell->read_line[i] = a->inst->line;
        return true;
    }
    ReadSet *set = read_set_of(a->warp->cluster, cell);
    set->time[a->agent] = a->time;
    return true;
}

static bool note_write(const Access *a, Cell *cell, uint32_t address) {
    if (!write_known(a, cell, address, true)) return false;
    if (!(a->atomic && cell->flags & CELL_ATOMIC)) {
        for (int i = 0; i < 2; i++)
            if (cell->reader[i] != NO_AGENT &&
                !known(a, cell->reader[i], cell->read_time[i], cell->read_lane[i]))
                return race(a, address, cell->reader[i], cell->read_lane[i], cell->read_line[i],
                            false, true, false);
        if (cell->read_set) {
            const ReadSet *set = &a->warp->cluster->read_sets[cell->read_set - 1];
            for (uint32_t g = 0; g < a->warp->cluster->agents; g++)
                if (set->time[g] && g != a->warp->agent && set->time[g] > a->warp->seen[g])
                    return race(a, address, g, LANE_MANY, 0, false, true, false);
        }
    }
    cell->writer = (uint16_t)a->agent;
    cell->write_time = a->time;
    cell->write_lane = a->lane;
    cell->write_line = a->inst->line;
    cell->flags = (uint8_t)(a->atomic ? cell->flags | CELL_ATOMIC : cell->flags & ~CELL_ATOMIC);
    if (cell->reader[0] != NO_AGENT || cell->read_set) forget_reads(a->warp->cluster, cell);
    return true;
}

/* The four cells of a word that is used bytewise. */
static Cell *split_cell(Cluster *cluster, Shadow *shadow, uint32_t word) {
    Cell *cell = &shadow->cells[word];
    if (!(cell->flags & CELL_SPLIT)) {
        if (shadow->split_count == shadow->split_capacity) {
            uint32_t grown = shadow->split_capacity ? shadow->split_capacity * 2 : 64;
            shadow->split =
                arena_grow(cluster->arena, shadow->split, shadow->split_capacity * 4 * sizeof(Cell),
                           (size_t)grown * 4 * sizeof(Cell));
            shadow->split_capacity = grown;
        }
        shadow->split_of[word] = shadow->split_count++;
        for (uint32_t i = 0; i < 4; i++) {
            Cell *byte = &shadow->split[shadow->split_of[word] * 4 + i];
            *byte = *cell;
            byte->read_set = 0;
            if (!cell->read_set) continue;
            uint32_t *from = cluster->read_sets[cell->read_set - 1].time;
            ReadSet *to = read_set_of(cluster, byte);
            from = cluster->read_sets[cell->read_set - 1].time;
            memcpy(to->time, from, cluster->agent_capacity * sizeof(uint32_t));
        }
        cell->flags |= CELL_SPLIT;
    }
    return &shadow->split[shadow->split_of[word] * 4];
}

/* ---- accesses -------------------------------------------------------------------------------- */

Access plain_access(Warp *w, const Inst *in, Cta *cta, int lane) {
    return (Access){.warp = w,
                    .inst = in,
                    .cta = cta,
                    .agent = w->agent,
                    .time = w->seen ? w->seen[w->agent] : 0,
                    .lane = (uint8_t)lane};
}

static bool unwritten(const Access *a, uint32_t address) {
    fault(a->warp, a->inst, EMU_UNINITIALISED, a->lane < LANES ? a->lane : -1, address,
          "reads shared address 0x%x, which nothing has written", address);
    return false;
}

static bool in_the_way(const Access *a, uint32_t address, bool i_write) {
    fault(a->warp, a->inst, EMU_ASYNC, a->lane < LANES ? a->lane : -1, address,
          "%s shared address 0x%x while a cp.async to it is still under way: no wait_group (and "
          "barrier) before this",
          i_write ? "writes to" : "reads", address);
    return false;
}

static bool touch(const Access *a, uint32_t address, uint32_t size, bool write) {
    const Machine *machine = a->warp->machine;
    Shadow *shadow = &a->cta->shadow;
    if (!shadow->cells) return true;
    bool races = machine->checks & EMU_CHECK_RACES;
    bool init = machine->checks & EMU_CHECK_UNINITIALISED;
    for (uint32_t at = address; at < address + size;) {
        uint32_t word = at / 4, first = at % 4;
        uint32_t count = 4 - first < address + size - at ? 4 - first : address + size - at;
        uint32_t bytes = ((1u << count) - 1) << first;
        Cell *cell = &shadow->cells[word];
        if (cell->flags & CELL_PENDING) return in_the_way(a, at, write);
        if (init && !write && (cell->flags & bytes) != bytes)
            return unwritten(a, at + (uint32_t)__builtin_ctz((~cell->flags & bytes) >> first));
        if (races) {
            if (count < 4 || cell->flags & CELL_SPLIT) {
                Cell *split = split_cell(a->warp->cluster, shadow, word);
                for (uint32_t i = first; i < first + count; i++)
                    if (!(write ? note_write : note_read)(a, &split[i], at - first + i))
                        return false;
            } else if (!(write ? note_write : note_read)(a, cell, at)) {
                return false;
            }
        }
        if (write) shadow->cells[word].flags |= (uint8_t)bytes;
        at += count;
    }
    return true;
}

bool shared_read(const Access *a, uint32_t address, uint32_t size) {
    return touch(a, address, size, false);
}
bool shared_write(const Access *a, uint32_t address, uint32_t size) {
    return touch(a, address, size, true);
}

void shared_pending(Cta *cta, uint32_t address, uint32_t size, bool on) {
    if (!cta->shadow.cells) return;
    for (uint32_t word = address / 4; word < (address + size + 3) / 4; word++)
        cta->shadow.cells[word].flags =
            (uint8_t)(on ? cta->shadow.cells[word].flags | CELL_PENDING
                         : cta->shadow.cells[word].flags & ~CELL_PENDING);
}
