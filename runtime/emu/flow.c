/* flow.c: what must be known about a function's control flow before it runs.
 *
 * 1. Where divergent lanes meet again: the immediate post-dominator of each branch (Cooper,
 *    Harvey and Kennedy's iteration, run on the reversed graph).
 * 2. Which registers may be read before they are written: "certainly written" flows forward,
 *    lanes being independent threads. Only the others are tracked while running. A mov passes
 *    doubt on instead of being a use, so that packing half-undefined vectors stays legal.
 */
#include "runtime/emu/isa.h"

typedef struct Block {
    uint32_t begin, end; /* pcs */
    uint32_t order;      /* place in reverse post-order of the reversed graph */
    uint32_t post;       /* immediate post-dominator */
    VEC(uint32_t) out;
    VEC(uint32_t) in;
} Block;

typedef struct Flow {
    EmuModule *module;
    Code *code;
    Block *blocks; /* the last one is the exit */
    uint32_t count;
    uint32_t *block_of; /* by pc - code->begin */
} Flow;

static const Inst *inst_at(const Flow *f, uint32_t pc) {
    return &f->module->insts.data[pc];
}

static bool ends_block(const Inst *inst) {
    return inst->flags & (INST_BRANCH | INST_TABLE | INST_LEAVES);
}

static void edge(Flow *f, uint32_t from, uint32_t to) {
    vec_push(f->module->arena, &f->blocks[from].out, to);
    vec_push(f->module->arena, &f->blocks[to].in, from);
}

static void make_blocks(Flow *f) {
    Arena *arena = f->module->arena;
    uint32_t begin = f->code->begin, length = f->code->end - begin;
    bool *starts = arena_array(arena, bool, length + 1);
    starts[0] = true;
    for (uint32_t i = 0; i < length; i++) {
        const Inst *inst = inst_at(f, begin + i);
        if (!ends_block(inst)) continue;
        starts[i + 1] = true;
        if (inst->flags & INST_BRANCH) starts[inst->target - begin] = true;
        const Targets *targets = inst->extra;
        for (uint32_t t = 0; inst->flags & INST_TABLE && t < targets->count; t++)
            starts[targets->pc[t] - begin] = true;
    }
    f->block_of = arena_array(arena, uint32_t, length + 1);
    for (uint32_t i = 0; i < length; i++) f->count += starts[i];
    f->blocks = arena_array(arena, Block, f->count + 1);
    uint32_t b = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (starts[i]) f->blocks[b++].begin = begin + i;
        f->blocks[b - 1].end = begin + i + 1;
        f->block_of[i] = b - 1;
    }
    uint32_t exit = f->count;
    for (b = 0; b < f->count; b++) {
        const Inst *last = inst_at(f, f->blocks[b].end - 1);
        bool always = last->guard == REF_NONE;
        if (last->flags & INST_BRANCH) edge(f, b, f->block_of[last->target - begin]);
        const Targets *targets = last->extra;
        for (uint32_t t = 0; last->flags & INST_TABLE && t < targets->count; t++)
            edge(f, b, f->block_of[targets->pc[t] - begin]);
        if (last->flags & INST_LEAVES) edge(f, b, exit);
        if (!(ends_block(last) && always)) edge(f, b, b + 1 < f->count ? b + 1 : exit);
        if (last->flags & INST_TABLE && !targets->count) edge(f, b, exit);
    }
}

static uint32_t meet(const Flow *f, uint32_t a, uint32_t b) {
    while (a != b) {
        while (f->blocks[a].order > f->blocks[b].order) a = f->blocks[a].post;
        while (f->blocks[b].order > f->blocks[a].order) b = f->blocks[b].post;
    }
    return a;
}

static void post_dominators(Flow *f) {
    Arena *arena = f->module->arena;
    uint32_t exit = f->count, placed = 0, depth = 0;
    uint32_t *order = arena_array(arena, uint32_t, f->count + 1);
    uint32_t *stack = arena_array(arena, uint32_t, f->count + 2);
    uint32_t *next = arena_array(arena, uint32_t, f->count + 1);
    bool *seen = arena_array(arena, bool, f->count + 1);
    /* Post-order of the reversed graph, from the exit. Loops that never leave are entered from
     * any of their blocks, as if that block could exit. */
    for (uint32_t root = exit, tries = 0; tries <= f->count; root = tries++) {
        if (seen[root]) continue;
        if (root != exit) edge(f, root, exit);
        seen[root] = true;
        stack[depth++] = root;
        while (depth) {
            Block *block = &f->blocks[stack[depth - 1]];
            uint32_t *i = &next[stack[depth - 1]];
            while (*i < block->in.length && seen[block->in.data[*i]]) ++*i;
            if (*i < block->in.length) {
                seen[block->in.data[*i]] = true;
                stack[depth++] = block->in.data[*i];
            } else {
                order[placed++] = stack[--depth];
            }
        }
    }
    /* The exit must come first in reverse post-order, whatever the roots were. */
    uint32_t number = 1;
    for (uint32_t i = placed; i-- > 0;) f->blocks[order[i]].order = order[i] == exit ? 0 : number++;
    for (uint32_t b = 0; b <= f->count; b++) f->blocks[b].post = UINT32_MAX;
    f->blocks[exit].post = exit;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = placed; i-- > 0;) {
            Block *block = &f->blocks[order[i]];
            if (order[i] == exit) continue;
            uint32_t post = UINT32_MAX;
            for (uint32_t s = 0; s < block->out.length; s++) {
                uint32_t to = block->out.data[s];
                if (f->blocks[to].post == UINT32_MAX) continue;
                post = post == UINT32_MAX ? to : meet(f, post, to);
            }
            if (post != block->post && post != UINT32_MAX) block->post = post, changed = true;
        }
    }
}

/* Lanes that are about to leave need not wait for the others. */
static bool only_leaves(const Flow *f, uint32_t block) {
    const Inst *first = inst_at(f, f->blocks[block].begin);
    return first->flags & INST_LEAVES && first->guard == REF_NONE && f->code->function->entry;
}

static void set_joins(Flow *f) {
    for (uint32_t b = 0; b < f->count; b++) {
        Inst *last = &f->module->insts.data[f->blocks[b].end - 1];
        uint32_t post = f->blocks[b].post;
        if (!(last->flags & (INST_BRANCH | INST_TABLE)) || post >= f->count) continue;
        if (only_leaves(f, post)) continue;
        last->join = f->blocks[post].begin;
        f->module->insts.data[last->join].flags |= INST_JOIN;
    }
}

/* ---- certainly written ----------------------------------------------------------------------- */

typedef uint64_t Bits;

static bool bit(const Bits *set, uint32_t i) {
    return set[i / 64] >> (i % 64) & 1;
}
static void set_bit(Bits *set, uint32_t i, bool on) {
    if (on)
        set[i / 64] |= (Bits)1 << (i % 64);
    else
        set[i / 64] &= ~((Bits)1 << (i % 64));
}

/* Walks one block; calls doubtful registers out into `tracked` when it is not NULL. */
static void walk(const Flow *f, const Block *block, Bits *written, uint8_t *tracked) {
    for (uint32_t pc = block->begin; pc < block->end; pc++) {
        const Inst *inst = inst_at(f, pc);
        bool sure = true;
        for (uint32_t u = 0; u < inst->use_count; u++) {
            if (bit(written, inst->uses[u])) continue;
            sure = false;
            if (tracked) tracked[inst->uses[u]] = 1;
        }
        const uint32_t *defines = inst->uses + inst->use_count;
        for (uint32_t d = 0; d < inst->define_count; d++) {
            bool already = bit(written, defines[d]);
            bool now = inst->guard == REF_NONE ? (inst->flags & INST_COPIES ? sure : true)
                                               : already && (!(inst->flags & INST_COPIES) || sure);
            set_bit(written, defines[d], now);
            if (tracked && inst->flags & INST_COPIES && !sure) tracked[defines[d]] = 1;
        }
    }
}

static void certainly_written(Flow *f) {
    Arena *arena = f->module->arena;
    Code *code = f->code;
    uint32_t registers = code->register_count, words = registers / 64 + 1;
    code->tracked = arena_array(arena, uint8_t, registers + 1);
    if ((uint64_t)words * f->count > 1u << 22) { /* hostile size: track everything */
        memset(code->tracked, 1, registers);
    } else {
        Bits *in = arena_array(arena, Bits, (size_t)words * f->count);
        Bits *state = arena_array(arena, Bits, words);
        memset(in, 255, (size_t)words * f->count * sizeof *in);
        memset(in, 0, words * sizeof *in);
        bool *pending = arena_array(arena, bool, f->count + 1);
        pending[0] = true;
        bool *reached = arena_array(arena, bool, f->count + 1);
        for (bool again = true; again;) {
            again = false;
            for (uint32_t b = 0; b < f->count; b++) {
                if (!pending[b]) continue;
                pending[b] = false;
                reached[b] = true;
                memcpy(state, in + (size_t)words * b, words * sizeof *in);
                walk(f, &f->blocks[b], state, NULL);
                for (uint32_t s = 0; s < f->blocks[b].out.length; s++) {
                    uint32_t to = f->blocks[b].out.data[s];
                    if (to == f->count) continue;
                    bool changed = !reached[to];
                    for (uint32_t w = 0; w < words; w++) {
                        Bits both = in[(size_t)words * to + w] & state[w];
                        changed |= both != in[(size_t)words * to + w];
                        in[(size_t)words * to + w] = both;
                    }
                    if (changed) pending[to] = again = true;
                }
            }
        }
        for (uint32_t b = 0; b < f->count; b++) {
            memcpy(state, in + (size_t)words * b, words * sizeof *in);
            if (reached[b]) walk(f, &f->blocks[b], state, code->tracked);
        }
    }
    for (uint32_t pc = code->begin; pc < code->end; pc++) {
        Inst *inst = &f->module->insts.data[pc];
        for (uint32_t i = 0; i < (uint32_t)inst->use_count + inst->define_count; i++)
            if (code->tracked[inst->uses[i]]) inst->flags |= INST_TRACKED, code->any_tracked = true;
    }
}

void flow_analyse(EmuModule *module, Code *code) {
    Flow f = {.module = module, .code = code};
    make_blocks(&f);
    post_dominators(&f);
    set_joins(&f);
    certainly_written(&f);
}
