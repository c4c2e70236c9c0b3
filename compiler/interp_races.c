/* interp_races.c: two programs, the same byte, at least one write, not both atomic, no order.
 *
 * Order between programs comes from atomics only. Each program counts epochs; a release leaves
 * at its address what the program knows (its own epoch, and those of others it has learnt of) and
 * begins a new epoch; an acquire at that address learns it. An access is ordered after another
 * when its program has learnt of that one's epoch. So programs that take a lock in turn are
 * ordered, and two plain stores that nothing orders are found whichever came first.
 *
 * For each granule of memory (the smallest element the kernel touches) there are two lists of
 * notes: the last write, or the atomics since; and the reads since. Equal lists are one list, found
 * by hashing, so a row that 1000 programs have read costs 1000 notes, not 1000 a byte.
 *
 * Programs run one after the other here, in order, unless one waits for another; the first race
 * met is reported, and is the same in every run.
 */
#include "compiler/interp_memory.h"

#include <stdlib.h>

typedef struct Note {
    uint32_t program, epoch;
    uint32_t step; /* Step.index */
    uint32_t next; /* older; 0: none */
} Note;

typedef struct Cell {
    uint32_t writes, reads; /* notes; 0: none */
} Cell;

typedef struct Entry {
    uint32_t program, epoch;
} Entry;

/* What a program has learnt, or left at an address: sorted by program. */
typedef struct RaceClock {
    Entry *entries;
    uint32_t count, capacity;
} RaceClock;

typedef struct Meeting { /* an address that releases went to */
    uint64_t address;
    RaceClock clock;
} Meeting;

enum { NOTE_LIMIT = 1 << 26, SHORT_LIST = 64 };

struct Races {
    const InterpPlan *plan;
    const InterpLaunch *launch;
    pthread_mutex_t lock;
    Cell **cells; /* by buffer; made when first touched */
    Note *notes;  /* notes[0] is no note */
    uint32_t note_count, note_capacity;
    uint32_t *table; /* hash of notes; 0: empty */
    uint32_t table_size;
    Meeting *meetings; /* hash by address; address 0: empty */
    uint32_t meeting_count, meeting_size;
};

/* ---- clocks ---------------------------------------------------------------------------------- */

/* Index of the first entry whose program is not below. */
static uint32_t clock_find(const RaceClock *clock, uint32_t program) {
    uint32_t low = 0, high = clock->count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (clock->entries[middle].program < program)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool clock_reserve(RaceClock *clock, uint32_t count) {
    if (count <= clock->capacity) return true;
    const uint32_t capacity = count < 8 ? 8 : count + count / 2;
    Entry *entries = realloc(clock->entries, capacity * sizeof *entries);
    if (!entries) return false;
    clock->entries = entries;
    clock->capacity = capacity;
    return true;
}

static bool clock_set(RaceClock *clock, uint32_t program, uint32_t epoch) {
    const uint32_t at = clock_find(clock, program);
    if (at < clock->count && clock->entries[at].program == program) {
        if (clock->entries[at].epoch < epoch) clock->entries[at].epoch = epoch;
        return true;
    }
    if (!clock_reserve(clock, clock->count + 1)) return false;
    memmove(clock->entries + at + 1, clock->entries + at,
            (clock->count - at) * sizeof *clock->entries);
    clock->entries[at] = (Entry){program, epoch};
    clock->count++;
    return true;
}

/* Merges from the back, in place. */
static bool clock_join(RaceClock *into, const RaceClock *from) {
    uint32_t extra = 0;
    for (uint32_t i = 0, j = 0; j < from->count; j++) {
        while (i < into->count && into->entries[i].program < from->entries[j].program) i++;
        extra += i == into->count || into->entries[i].program != from->entries[j].program;
    }
    if (!clock_reserve(into, into->count + extra)) return false;
    uint32_t i = into->count, j = from->count, k = into->count + extra;
    into->count = k;
    while (j > 0) {
        const Entry b = from->entries[j - 1];
        if (i > 0 && into->entries[i - 1].program > b.program) {
            into->entries[--k] = into->entries[--i];
            continue;
        }
        Entry merged = b;
        if (i > 0 && into->entries[i - 1].program == b.program) {
            i--;
            merged.epoch = into->entries[i].epoch > b.epoch ? into->entries[i].epoch : b.epoch;
        }
        into->entries[--k] = merged;
        j--;
    }
    return true;
}

static bool ordered(const Thread *t, const Note *note) {
    if (note->program == t->number) return true;
    if (!t->clock) return false;
    const uint32_t at = clock_find(t->clock, note->program);
    return at < t->clock->count && t->clock->entries[at].program == note->program &&
           t->clock->entries[at].epoch >= note->epoch;
}

/* ---- notes: equal ones are one --------------------------------------------------------------- */

static uint32_t note_slot(const Races *races, Note note) {
    uint64_t h = note.program * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ note.epoch ^ (uint64_t)note.step << 32) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 29) ^ note.next) * UINT64_C(0x94d049bb133111eb);
    uint32_t slot = (uint32_t)(h >> 32) & (races->table_size - 1);
    while (races->table[slot] && memcmp(&races->notes[races->table[slot]], &note, sizeof note) != 0)
        slot = (slot + 1) & (races->table_size - 1);
    return slot;
}

static bool notes_grow(Races *races) {
    if (races->note_count >= NOTE_LIMIT) return false;
    const uint32_t capacity = races->note_capacity * 2;
    Note *notes = realloc(races->notes, capacity * sizeof *notes);
    if (!notes) return false;
    races->notes = notes;
    uint32_t *table = calloc((size_t)capacity * 2, sizeof *table);
    if (!table) return false;
    free(races->table);
    races->table = table;
    races->table_size = capacity * 2;
    races->note_capacity = capacity;
    for (uint32_t i = 1; i < races->note_count; i++)
        races->table[note_slot(races, races->notes[i])] = i;
    return true;
}

/* 0: out of memory. */
static uint32_t note_new(Races *races, Note note) {
    if (races->note_count == races->note_capacity && !notes_grow(races)) return 0;
    const uint32_t slot = note_slot(races, note);
    if (!races->table[slot]) {
        races->notes[races->note_count] = note;
        races->table[slot] = races->note_count++;
    }
    return races->table[slot];
}

/* The list without notes that mean nothing beside `note`: those of its own program, and those
 * ordered before it (who comes after it comes after them). Long lists are looked at in part. */
static uint32_t list_prune(Thread *t, uint32_t list) {
    Races *races = t->run->races;
    uint32_t kept[SHORT_LIST], count = 0, dropped = 0;
    for (uint32_t i = 0; i < SHORT_LIST && list; i++, list = races->notes[list].next) {
        if (ordered(t, &races->notes[list]))
            dropped++;
        else
            kept[count++] = list;
    }
    if (dropped == 0 && count > 0) return kept[0];
    while (count-- > 0) {
        Note note = races->notes[kept[count]];
        note.next = list;
        list = note_new(races, note);
        if (!list) return 0;
    }
    return list;
}

/* ---- one cell -------------------------------------------------------------------------------- */

static bool is_atomic(const Races *races, const Note *note) {
    const OpCode code = races->plan->memory_steps[note->step - 1]->op->code;
    return code == OP_atomic_rmw || code == OP_atomic_cas;
}

/* A note of the list that races with what t does; 0: none. */
static uint32_t find_race(Thread *t, uint32_t list, bool atomics_too) {
    const Races *races = t->run->races;
    for (; list; list = races->notes[list].next) {
        const Note *note = &races->notes[list];
        if (!ordered(t, note) && (atomics_too || !is_atomic(races, note))) return list;
    }
    return 0;
}

typedef enum CellResult { CELL_FINE, CELL_RACE, CELL_MEMORY } CellResult;

/* What becomes of a cell; *other: the note it races with. */
static CellResult update_cell(Thread *t, const Step *step, RaceKind kind, Cell *cell,
                              uint32_t *other) {
    Races *races = t->run->races;
    Note note = {(uint32_t)t->number, t->epoch, step->index, 0};
    *other = find_race(t, cell->writes, kind != RACE_ATOMIC);
    if (!*other && kind != RACE_READ) *other = find_race(t, cell->reads, true);
    if (*other) return CELL_RACE;
    if (kind == RACE_READ) {
        note.next = list_prune(t, cell->reads);
        cell->reads = note_new(races, note);
        return cell->reads ? CELL_FINE : CELL_MEMORY;
    }
    if (kind == RACE_ATOMIC && cell->writes && is_atomic(races, &races->notes[cell->writes]))
        note.next = list_prune(t, cell->writes);
    cell->writes = note_new(races, note);
    cell->reads = 0;
    return cell->writes ? CELL_FINE : CELL_MEMORY;
}

static bool out_of_memory(Thread *t, const Step *step) {
    return fault_text(t, step, FAULT_MEMORY, "the race checker has no memory left");
}

bool races_access(Thread *t, const Step *step, RaceKind kind, uint64_t address, uint32_t size,
                  uint32_t count, uint32_t element) {
    Races *races = t->run->races;
    const uint64_t k = (address >> INTERP_BUFFER_SHIFT) - 1, granule = races->plan->granule;
    const uint64_t from = (address & INTERP_OFFSET_MASK) / granule;
    const uint64_t cells = (uint64_t)size * count / granule;
    if (!races->cells[k]) {
        races->cells[k] = calloc(races->launch->buffers[k].size / granule + 1, sizeof(Cell));
        if (!races->cells[k]) return out_of_memory(t, step);
    }
    Cell before = {0, 0}, after = {0, 0};
    for (uint64_t i = 0; i < cells; i++) {
        Cell *cell = &races->cells[k][from + i];
        if (i > 0 && cell->writes == before.writes && cell->reads == before.reads) {
            *cell = after;
            continue;
        }
        uint32_t other;
        before = *cell;
        switch (update_cell(t, step, kind, cell, &other)) {
        case CELL_FINE: break;
        case CELL_MEMORY: return out_of_memory(t, step);
        case CELL_RACE: {
            const Note *note = &races->notes[other];
            const Step *other_step = races->plan->memory_steps[note->step - 1];
            const uint32_t skip = (uint32_t)(i * granule / size);
            const OpCode code = other_step->op->code;
            return fault_race(t, step, other_step, note->program,
                              code != OP_load && code != OP_async_copy,
                              element + skip, address + (uint64_t)skip * size);
        }
        }
        after = *cell;
    }
    return true;
}

/* ---- order from atomics ---------------------------------------------------------------------- */

/* The slot of an address, empty or not. */
static Meeting *meeting_slot(const Races *races, uint64_t address) {
    uint32_t slot = (uint32_t)((address * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    for (;; slot++) {
        Meeting *m = &races->meetings[slot & (races->meeting_size - 1)];
        if (m->address == address || m->address == 0) return m;
    }
}

static bool meetings_grow(Races *races) {
    Meeting *old = races->meetings;
    const uint32_t size = races->meeting_size;
    Meeting *meetings = calloc((size_t)size * 2, sizeof *meetings);
    if (!meetings) return false;
    races->meetings = meetings;
    races->meeting_size = size * 2;
    for (uint32_t i = 0; i < size; i++)
        if (old[i].address) *meeting_slot(races, old[i].address) = old[i];
    free(old);
    return true;
}

bool races_acquire(Thread *t, uint64_t address) {
    const Meeting *m = meeting_slot(t->run->races, address);
    if (!m->address) return true;
    if (!t->clock) t->clock = calloc(1, sizeof *t->clock);
    if (t->clock && clock_join(t->clock, &m->clock)) return true;
    return out_of_memory(t, NULL);
}

bool races_release(Thread *t, uint64_t address) {
    Races *races = t->run->races;
    if (races->meeting_count * 2 >= races->meeting_size && !meetings_grow(races))
        return out_of_memory(t, NULL);
    Meeting *m = meeting_slot(races, address);
    races->meeting_count += m->address == 0;
    m->address = address;
    if (!clock_set(&m->clock, (uint32_t)t->number, t->epoch) ||
        (t->clock && !clock_join(&m->clock, t->clock)))
        return out_of_memory(t, NULL);
    t->epoch++;
    return true;
}

/* ---- begin and end --------------------------------------------------------------------------- */

static bool allocate(Races *races) {
    races->cells = calloc((size_t)races->launch->buffer_count + 1, sizeof *races->cells);
    races->note_count = 1;
    races->note_capacity = 1024;
    races->notes = calloc(races->note_capacity, sizeof *races->notes);
    races->table_size = races->note_capacity * 2;
    races->table = calloc(races->table_size, sizeof *races->table);
    races->meeting_size = 64;
    races->meetings = calloc(races->meeting_size, sizeof *races->meetings);
    return races->cells && races->notes && races->table && races->meetings;
}

Races *races_new(const InterpPlan *plan, const InterpLaunch *launch) {
    Races *races = calloc(1, sizeof *races);
    if (!races) return NULL;
    races->plan = plan;
    races->launch = launch;
    pthread_mutex_init(&races->lock, NULL);
    if (allocate(races)) return races;
    races_free(races);
    return NULL;
}

void races_free(Races *races) {
    for (uint32_t i = 0; races->cells && i < races->launch->buffer_count; i++)
        free(races->cells[i]);
    for (uint32_t i = 0; races->meetings && i < races->meeting_size; i++)
        free(races->meetings[i].clock.entries);
    free(races->cells);
    free(races->notes);
    free(races->table);
    free(races->meetings);
    pthread_mutex_destroy(&races->lock);
    free(races);
}

void races_begin(Thread *t) {
    t->clock = NULL;
    t->epoch = 1;
}

void races_end(Thread *t) {
    if (t->clock) free(t->clock->entries);
    free(t->clock);
    t->clock = NULL;
}

void races_lock(Thread *t) {
    pthread_mutex_lock(&t->run->races->lock);
}
void races_unlock(Thread *t) {
    pthread_mutex_unlock(&t->run->races->lock);
}
