/* machine.h: the running machine: clusters of CTAs of warps of fragments.
 *
 * A cluster (one CTA when there is none) is run by one host thread, which switches between its
 * warps at blocking points. A warp's lanes run together as one Fragment until a branch divides
 * them; then a Join remembers where they meet again (flow.c). Any fragment of a warp may run
 * while another waits, so lanes of one warp may wait for each other, as on Volta and later.
 *
 * Order between accesses is kept in vector clocks over "agents": each warp, and further agents
 * for what happens asynchronously on a warp's behalf (see race.c).
 */
#ifndef TKC_RUNTIME_EMU_MACHINE_H
#define TKC_RUNTIME_EMU_MACHINE_H

#include <stdio.h>

#include "runtime/emu/isa.h"

enum {
    LANES = 32,
    MAX_WARPS = 32,
    MAX_CTAS = 16,
    BARRIERS = 16,
    SINK_BYTES = 512,
    BULK_HISTORY = 8
};
typedef uint32_t Mask;
#define ALL_LANES UINT32_MAX

typedef struct Cta Cta;
typedef struct Cluster Cluster;
typedef struct Machine Machine;

typedef struct Frame { /* one activation of a function */
    const Code *code;
    uint8_t *registers;
    Mask *defined;       /* by register number: lanes that were written; NULL: not tracked */
    uint32_t *in_flight; /* by register number: 2 * wgmma group (+ 1: it only reads it); 0: idle */
    uint32_t local_base;
    struct Frame *up, *next_free;
} Frame;

typedef struct Join { /* where lanes of a divided fragment meet */
    Mask expected, arrived;
    uint32_t pc;
    bool is_call; /* met by `ret`, not by reaching pc */
    Frame *frame; /* that the lanes go on with */
    Frame *callee_frame;
    const Call *call;
    struct Join *up;
} Join;

typedef enum Wait { WAIT_NOTHING, WAIT_BARRIER, WAIT_CLUSTER, WAIT_WARP, WAIT_MBARRIER } Wait;

typedef struct Fragment {
    Mask mask;
    uint32_t pc;
    Frame *frame;
    Join *join;
    Wait wait;
    uint64_t wait_for; /* barrier number, member mask, or mbarrier address */
    uint32_t timeouts; /* mbarrier waits that were given up for lack of progress */
} Fragment;

typedef struct CopyPiece { /* cp.async of one lane */
    uint32_t to, size;
    uint8_t lane;
    uint8_t data[16];
} CopyPiece;

typedef struct CopyGroups { /* cp.async not yet landed */
    CopyPiece *pieces;
    uint32_t *group; /* of each piece, counted by its lane; UINT32_MAX: not committed */
    uint32_t count, capacity;
    uint32_t committed[LANES];
} CopyGroups;

struct Warp {
    const uint8_t *base[4]; /* by Section */
    Mask active;            /* lanes that execute the present instruction */
    Mask carry;             /* .cc */
    Fragment *now;
    const Inst *code; /* all instructions of the module */
    Cta *cta;
    Cluster *cluster;
    Machine *machine;
    uint32_t index;     /* within the CTA */
    uint32_t agent;     /* within the cluster */
    Mask live, started; /* lanes that have not exited; lanes that ever were */
    Fragment fragments[LANES];
    uint32_t fragment_count;
    Join *free_joins;
    Frame *free_frames;
    uint8_t *specials;
    uint8_t *local;          /* lane l: local + l * machine->local_size */
    uint32_t *seen, *fenced; /* by agent: events up to this time happened before (see race.c) */
    CopyGroups copies;
    uint32_t wgmma_group;        /* being filled; groups are numbered from 1 */
    uint32_t wgmma_done;         /* all up to this one are complete */
    bool wgmma_open;             /* something was issued since the last commit */
    bool wgmma_fenced;           /* wgmma.fence was executed since registers were last touched */
    uint32_t wgmma_flights;      /* accumulators in flight: slow path on */
    uint32_t bulk_ticket;        /* bulk stores issued by the warp */
    uint32_t bulk_groups[LANES]; /* committed by each lane */
    uint32_t bulk_ticket_of[LANES][BULK_HISTORY]; /* the last ticket of a group */
    Mask cluster_arrived;                         /* at the cluster barrier's present phase */
    Mask cluster_due;                             /* have arrived and not yet waited */
    bool overlap;         /* lanes of one store may have met at an address */
    uint32_t last_buffer; /* index in machine->sorted that was hit last */
    uint64_t switches;
};

typedef struct Barrier {
    uint32_t expected;       /* threads, when the instruction gave a count; 0: the whole CTA */
    bool busy;               /* someone has arrived */
    Mask arrived[MAX_WARPS]; /* lanes, by warp */
    uint32_t voters, votes;  /* bar.red: lanes that took part; those with a true predicate */
    uint32_t *seen, *fenced;
} Barrier;

typedef struct ReadSet { /* more readers than a cell has room for */
    uint32_t *time;      /* by agent */
    struct ReadSet *next_free;
} ReadSet;

typedef struct Cell { /* history of 4 (or, when split, 1) bytes of shared memory */
    uint32_t write_time, read_time[2];
    uint16_t writer, reader[2]; /* agents; NO_AGENT: none */
    uint8_t write_lane, read_lane[2];
    uint8_t flags;       /* CELL_* */
    uint32_t read_set;   /* index + 1 */
    uint32_t write_line; /* PTX line of the write */
    uint32_t read_line[2];
} Cell;
enum {
    CELL_PENDING = 16, /* a cp.async will write here */
    CELL_SPLIT = 32,   /* the history of each byte is kept in the table of split cells */
    CELL_ATOMIC = 64   /* the last write was atomic */
    /* the low four bits: which bytes were ever written */
};
enum { NO_AGENT = UINT16_MAX, LANE_MANY = 255, SYNC_SLOTS = 64, MBARRIER_AGENTS = 256 };

typedef struct Shadow { /* one for each CTA */
    Cell *cells;        /* shared_size / 4 */
    Cell *split;        /* groups of four */
    uint32_t split_count, split_capacity;
    uint32_t *split_of; /* by cell: group + 1 */
} Shadow;

typedef struct Mbarrier { /* what the checker knows; the count itself lies in shared memory */
    uint32_t address;     /* in its CTA's shared memory */
    uint32_t phase;       /* completed phases */
    uint32_t expected, pending;
    int64_t transactions;
    uint32_t agent;
    uint32_t init_agent, init_time, init_line;
    uint32_t *seen, *fenced;           /* gathered by this phase's arrivals */
    uint32_t *open_seen, *open_fenced; /* released by the latest completed phase */
    bool valid;
} Mbarrier;

typedef struct Pending {                                     /* a bulk copy on its way */
    enum { PENDING_LOAD, PENDING_STORE, PENDING_COPY } kind; /* COPY: shared to shared */
    const Inst *inst;
    Warp *warp;
    int lane;
    Cta *cta;         /* whose shared memory; of a COPY: the destination's */
    uint32_t shared;  /* address there */
    uint64_t global;  /* or, of a COPY, address in the warp's own CTA */
    uint32_t size;    /* bytes */
    EmuTensorMap map; /* rank 0: not a tensor */
    int32_t coordinate[5];
    uint32_t mbarrier;      /* loads and copies: to be told, in `cta`; stores: 0 */
    uint32_t phase;         /* of that mbarrier, when issued */
    uint32_t group, ticket; /* stores: UINT32_MAX until committed */
} Pending;

struct Cta {
    uint32_t id[3], rank, linear;
    Cluster *cluster;
    uint8_t *shared; /* by address; SHARED_BASE.. is valid */
    Shadow shadow;
    Barrier barriers[BARRIERS];
    uint32_t *sync_seen[SYNC_SLOTS], *sync_fenced[SYNC_SLOTS]; /* by hash of the address */
    Mbarrier *mbarriers;
    uint32_t mbarrier_count, mbarrier_capacity;
    uint32_t first_warp, warp_count, live_warps;
};

typedef struct InstCount { /* by pc */
    uint64_t issues, lanes;
    uint64_t requests, sectors, bytes;
    uint64_t wavefronts, ideal;
} InstCount;

typedef struct ThreadCounts { /* one for each host thread, merged at the end */
    InstCount *by_pc;
    EmuCounters total;
} ThreadCounts;

typedef struct Slab { /* memory that clusters of one host thread use one after the other */
    uint8_t *memory;
    size_t size, used, wanted;
    struct Slab *next;
} Slab;

struct Cluster {
    Slab *slab;
    Machine *machine;
    Cta *ctas;
    uint32_t cta_count;
    Warp *warps;
    uint32_t warp_count, live_warps, next_warp;
    uint32_t agents, agent_capacity;
    uint32_t time;
    uint64_t random, executed;
    Pending *pending;
    uint32_t pending_count, pending_capacity;
    ReadSet *read_sets;
    uint32_t read_set_count, read_set_capacity, read_set_free;
    uint32_t *barrier_seen, *barrier_fenced;
    uint32_t *released_seen, *released_fenced;
    uint64_t progress; /* counts mbarrier changes, landed copies, finished barriers */
    ThreadCounts *counts;
    bool faulted;
    Arena *arena; /* what the slab is too small for; freed with the cluster */
    Arena arena_itself;
    jmp_buf exhausted;
    uint8_t sink[SINK_BYTES];
};

struct Machine { /* one launch; read-only while it runs, but for the marked parts */
    const EmuModule *module;
    const EmuEntry *entry;
    const EmuLaunch *launch;
    const Code *code;
    const EmuBuffer **sorted; /* by address */
    EmuBuffer variables;      /* the module's own: writable part and constants */
    EmuBuffer constants;
    uint32_t buffer_count;
    uint32_t cluster[3], clusters[3]; /* CTAs a cluster; clusters a grid */
    uint32_t threads_per_cta, warps_per_cta;
    uint32_t shared_size; /* static + dynamic */
    uint32_t local_size;
    uint32_t checks;
    bool counters;
    uint64_t seed, limit;
    uint8_t *parameters;
    /* shared between host threads: */
    uint64_t next_cluster;
    bool stop;
    void *lock; /* for printing and faults */
    EmuFault fault;
    uint64_t fault_order;
};

/* Memory for as long as the cluster lives; zeroed, or (raw) as it comes. */
void *cluster_alloc(Cluster *cluster, size_t size);
void *cluster_alloc_raw(Cluster *cluster, size_t size);
#define cluster_array(cluster, T, n) ((T *)cluster_alloc((cluster), sizeof(T) * (size_t)(n)))

/* ---- lanes ----------------------------------------------------------------------------------- */

static inline const uint8_t *lanes_of(const Warp *w, Ref ref) {
    return w->base[ref >> 30] + (ref & 0x3fffffff);
}
static inline uint8_t *lanes_out(Warp *w, Ref ref) {
    return (uint8_t *)lanes_of(w, ref);
}
static inline const uint32_t *lanes32(const Warp *w, Ref ref) {
    return (const uint32_t *)lanes_of(w, ref);
}
static inline const uint64_t *lanes64(const Warp *w, Ref ref) {
    return (const uint64_t *)lanes_of(w, ref);
}
static inline Mask predicate_of(const Warp *w, Ref ref) {
    return *lanes32(w, ref);
}

static inline void write32(Warp *w, Ref ref, const uint32_t value[LANES]) {
    uint32_t *out = (uint32_t *)lanes_out(w, ref);
    if (w->active == ALL_LANES) {
        memcpy(out, value, 4 * LANES);
        return;
    }
    Mask mask = w->active;
    for (int l = 0; l < LANES; l++) out[l] = mask >> l & 1 ? value[l] : out[l];
}
static inline void write64(Warp *w, Ref ref, const uint64_t value[LANES]) {
    uint64_t *out = (uint64_t *)lanes_out(w, ref);
    if (w->active == ALL_LANES) {
        memcpy(out, value, 8 * LANES);
        return;
    }
    Mask mask = w->active;
    for (int l = 0; l < LANES; l++) out[l] = mask >> l & 1 ? value[l] : out[l];
}
static inline void write_predicate(Warp *w, Ref ref, Mask value) {
    uint32_t *out = (uint32_t *)lanes_out(w, ref);
    *out = (*out & ~w->active) | (value & w->active);
}
/* A predicate operand, with the `!` that the shape left in imm bit `bit`. */
static inline Mask operand_predicate(const Warp *w, const Inst *in, Ref ref, uint32_t bit) {
    Mask value = predicate_of(w, ref);
    return in->imm >> bit & 1 ? ~value : value;
}
static inline int first_lane(Mask mask) {
    return mask ? __builtin_ctz(mask) : -1;
}
static inline float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static inline double as_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, 8);
    return value;
}
static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}
#define FOR_LANES(mask, l)                                                                         \
    for (Mask rest_##l = (mask); rest_##l; rest_##l &= rest_##l - 1)                               \
        for (int l = __builtin_ctz(rest_##l), once_##l = 1; once_##l; once_##l = 0)

/* ---- faults (report.c) ----------------------------------------------------------------------- */

/* Ends the launch. lane -1: the warp as a whole. Always returns STEP_FAULT. */
Step fault(Warp *w, const Inst *in, EmuFaultKind kind, int lane, uint64_t address,
           const char *format, ...) PRINTF_LIKE(6, 7);
void cluster_fault(Cluster *cluster, EmuFaultKind kind, const char *format, ...) PRINTF_LIKE(3, 4);

void device_print(Machine *machine, const char *text);

/* ---- memory (memory.c) ----------------------------------------------------------------------- */

typedef enum AccessKind { ACCESS_READ, ACCESS_WRITE, ACCESS_ATOMIC } AccessKind;

/* Addresses of all lanes, base + offset + frame. */
void addresses_of(const Warp *w, const Address *a, uint64_t out[LANES]);
/* Host memory for `size` bytes at a global (or generic global) address; NULL after a fault.
 * `size` need not be a power of two; `align` is checked unless 0. */
uint8_t *global_at(Warp *w, const Inst *in, int lane, uint64_t address, uint64_t size,
                   uint32_t align, AccessKind kind);
/* Resolves a shared or shared::cluster address to a CTA and an offset there; NULL after a fault. */
uint8_t *shared_at(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size,
                   uint32_t align, Cta **cta);
/* Any address: says which space a generic one means, and makes it an address of that space. */
PtxSpace resolve_space(PtxSpace space, uint64_t *address);
uint8_t *local_at(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size,
                  uint32_t align);

/* ---- order and races (race.c) ---------------------------------------------------------------- */

typedef struct Access {
    Warp *warp;
    const Inst *inst;
    Cta *cta;
    uint32_t agent, time; /* who and when; a warp's own clock for plain accesses */
    uint8_t lane;
    bool async; /* through the async proxy */
    bool atomic;
} Access;

Access plain_access(Warp *w, const Inst *in, Cta *cta, int lane);
/* Each returns false after a fault. `address` is an offset in the CTA's shared memory. */
bool shared_read(const Access *a, uint32_t address, uint32_t size);
bool shared_write(const Access *a, uint32_t address, uint32_t size);
void shared_pending(Cta *cta, uint32_t address, uint32_t size, bool on);
/* Ordering: release what the warp knows into a clock; acquire it from there. */
void clock_release(Warp *w, uint32_t *seen, uint32_t *fenced);
void clock_acquire(Warp *w, const uint32_t *seen, const uint32_t *fenced);
void clock_tick(Warp *w);
void proxy_fence(Warp *w);
uint32_t new_agent(Cluster *cluster);
void sync_address(Warp *w, Cta *cta, uint32_t address, bool acquire, bool release);
static inline bool checks_races(const Warp *w) {
    return w->machine->checks & EMU_CHECK_RACES;
}
/* Agents that belong to a warp besides itself. */
static inline uint32_t wgmma_agent(const Warp *w) {
    return w->agent + w->cluster->warp_count;
}
static inline uint32_t bulk_agent(const Warp *w) {
    return w->agent + 2 * w->cluster->warp_count;
}

/* ---- fragments (warp.c) ---------------------------------------------------------------------- */

typedef enum Ran { RAN_ON, RAN_BLOCKED, RAN_DONE, RAN_FAULT } Ran;
Ran warp_run(Warp *w, uint64_t budget);
bool warp_start(Warp *w, Mask lanes);
Step diverge(Warp *w, const Inst *in, Mask taken);
Step leave(Warp *w, Mask lanes); /* exit */
Step return_from(Warp *w, Mask lanes);
Step enter_call(Warp *w, const Inst *in, const Call *call);
/* Waits until all lanes of `members` stand at this instruction, then sets w->active to them all.
 * STEP_NEXT: go on with it; else return the step. */
Step gather(Warp *w, const Inst *in, Mask members, Mask *before);
void release_gathered(Warp *w, const Inst *in, Mask before);

/* ---- barriers (barrier.c), async (async.c, bulk.c) ------------------------------------------- */

void barriers_warp_left(Warp *w);
void cluster_barrier_check(Cluster *cluster);
bool cluster_describe_waits(Cluster *cluster, Text *text);
Mbarrier *find_mbarrier(Cta *cta, uint32_t address);
Mbarrier *mbarrier_at(Warp *w, const Inst *in, int lane, PtxSpace space, uint64_t address,
                      Cta **cta);
bool mbarrier_complete_tx(Warp *w, const Inst *in, int lane, Cta *cta, uint32_t address,
                          int64_t bytes);
void mbarrier_time_out(Warp *w, Fragment *f); /* a wait ends with "not yet" */
bool stores_in_flight(const Warp *w);         /* bulk stores that still read shared memory */
bool decode_tensor_map(const uint8_t map[128], EmuTensorMap *out);
uint32_t tensor_box_bytes(const EmuTensorMap *map);
bool tensor_load(const Pending *p, uint8_t *shared);
bool tensor_store(const Pending *p, const uint8_t *shared, Word operation);
uint32_t swizzle_address(uint32_t address, EmuSwizzle swizzle);
void decode_elements(PtxType type, float out[LANES], const uint32_t *in, uint32_t j);
/* d[m][n] += a[m][k] * b[k][n]; m a multiple of 4, n of 8; d and b are dense. */
void matrix_multiply(float *restrict d, const float *restrict a, uint32_t a_pitch,
                     const float *restrict b, uint32_t m, uint32_t n, uint32_t k);
bool pending_land(Cluster *cluster, uint32_t index);

/* ---- counters (counters.c) ------------------------------------------------------------------- */

void count_global(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t size,
                  bool store);
void count_shared(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t size,
                  bool store);
void counters_finish(Arena *arena, const Machine *machine, const ThreadCounts *threads,
                     uint32_t thread_count, EmuCounters *out);
uint64_t next_random(uint64_t *state);
uint64_t atomic_apply(Word op, PtxType type, uint64_t old, uint64_t a, uint64_t b, bool flush);
uint64_t atomic_update(uint8_t *at, Word op, PtxType type, uint64_t a, uint64_t b, bool flush);
static inline InstCount *count_of(const Warp *w, const Inst *in) {
    return &w->cluster->counts->by_pc[in - w->code];
}

#endif
