/* isa.h: instructions, understood.
 *
 * A Form is what an opcode says (row of isa.def, types, words). An Inst is one decoded
 * instruction: the function that runs it and where its operands lie. Operands of every kind,
 * literals and special registers included, are arrays of one element a lane, so that a function
 * that runs an instruction is one plain loop: 32-bit and smaller values take 4 bytes a lane
 * (narrow ones zero-extended), 64-bit ones 8, 128-bit ones 16; predicates are one bit a lane.
 */
#ifndef TKC_RUNTIME_EMU_ISA_H
#define TKC_RUNTIME_EMU_ISA_H

#include "runtime/emu/emu.h"
#include "runtime/emu/ptx.h"

typedef enum Opcode {
#define INSTRUCTION(id, text, shape, family, words, flags, class) OP_##id,
#include "runtime/emu/isa.def"
    OPCODE_COUNT
} Opcode;

typedef enum Category {
    CATEGORY_ROUND,
    CATEGORY_COMPARE,
    CATEGORY_OPERATION,
    CATEGORY_SPACE,
    CATEGORY_SCOPE,
    CATEGORY_SEMANTICS,
    CATEGORY_CACHE,
    CATEGORY_VECTOR,
    CATEGORY_COUNT_WORD,
    CATEGORY_LAYOUT,
    CATEGORY_MODE,
    CATEGORY_DIMENSIONS,
    CATEGORY_COUNT
} Category;

typedef enum Word {
    WORD_none,
#define FLAG(name)
#define WORD(category, name) WORD_##name,
#include "runtime/emu/words.def"
    WORD_COUNT
} Word;

typedef enum Flag {
#define FLAG(name) FLAG_##name,
#define WORD(category, name)
#include "runtime/emu/words.def"
    FLAG_COUNT
} Flag;
#define F(name) ((uint64_t)1 << FLAG_##name)

enum { FORM_TYPES = 5 };

typedef struct Form {
    Opcode op;
    uint8_t type_count, space_count;
    uint8_t type[FORM_TYPES]; /* PtxType, in the order written */
    uint8_t space[2];         /* Words of CATEGORY_SPACE, in the order written */
    uint8_t layout[2];
    uint8_t word[CATEGORY_COUNT]; /* Word of each category, WORD_none when not written */
    uint16_t m, n, k;             /* shape of mma, ldmatrix, wgmma */
    uint64_t flags;
} Form;

static inline bool form_has(const Form *form, uint64_t flags) {
    return (form->flags & flags) != 0;
}
static inline uint32_t form_vector(const Form *form) {
    Word word = (Word)form->word[CATEGORY_VECTOR];
    return word == WORD_v2 ? 2 : word == WORD_v4 ? 4 : word == WORD_v8 ? 8 : 1;
}
/* The state space written first; SPACE_GENERIC when none. */
PtxSpace form_space(const Form *form, uint32_t index);

/* Understands an opcode. False: *why says which part is wrong. */
bool form_read(Arena *arena, const char *opcode, Form *form, const char **why);

/* ---- decoded code ---------------------------------------------------------------------------- */

/* Where an operand's lanes are: a section (top two bits) and a byte offset in it. */
typedef uint32_t Ref;
typedef enum Section {
    SECTION_REGISTERS,
    SECTION_LITERALS,
    SECTION_SPECIALS,
    SECTION_SINK
} Section;
#define REF(section, offset) (((uint32_t)(section) << 30) | (uint32_t)(offset))
#define REF_NONE UINT32_MAX

typedef struct Warp Warp;
typedef struct Inst Inst;

typedef enum Step {
    STEP_NEXT,  /* go on with the next instruction */
    STEP_JUMP,  /* the fragment's pc was set, or the set of fragments changed */
    STEP_BLOCK, /* the fragment waits; it will be told */
    STEP_YIELD, /* done, but let others run */
    STEP_FAULT  /* the launch is over */
} Step;

typedef Step (*Run)(Warp *warp, const Inst *inst);

enum {
    INST_JOIN = 1,    /* some branch reconverges here */
    INST_TRACKED = 2, /* reads or writes a register that may be uninitialised */
    INST_FRAME = 4,   /* mov, cvta: the value is relative to the frame's local memory */
    INST_BRANCH = 8,
    INST_TABLE = 16,
    INST_LEAVES = 32, /* for flow analysis */
    INST_COPIES = 64, /* only moves bits: passes uninitialised lanes on */
    INST_WGMMA = 128  /* wgmma itself: may use accumulators in flight */
};

typedef struct Address { /* [base + offset] */
    Ref base;            /* literal zeros when there is no register */
    bool wide;           /* the register has 64 bits */
    bool frame;          /* relative to the frame's local memory */
    uint8_t space;       /* PtxSpace; entry parameters: SPACE_PARAM, functions': SPACE_LOCAL */
    uint64_t offset;
} Address;

struct Inst {
    Run run;
    Ref r[4];  /* the first operands */
    Ref guard; /* REF_NONE: always */
    bool guard_negated;
    uint8_t class;
    uint16_t flags;
    uint32_t target; /* branches: pc; calls: function index */
    uint32_t join;   /* branches: where lanes meet again; UINT32_MAX: nowhere */
    uint64_t imm;    /* what the shape says */
    const Address *addresses;
    const Form *form;
    const Ref *refs; /* all operands, vectors flattened */
    uint16_t ref_count, use_count, define_count;
    const uint32_t *uses; /* registers read, then registers written */
    const void *extra;    /* a call's or a branch table's own data */
    uint32_t line, loc;
};

typedef struct Targets { /* brx */
    uint32_t count;
    uint32_t *pc;
} Targets;

typedef struct CallCopy { /* a parameter goes from one place of local memory to another */
    uint32_t from, to, size;
} CallCopy;

typedef struct Call {
    struct Code *callee; /* NULL: builtin */
    enum { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_ASSERTFAIL } builtin;
    uint32_t argument_count, result_count;
    CallCopy *arguments, *results; /* results run callee -> caller */
} Call;

typedef struct CallEdge {
    struct Code *callee;
    struct CallEdge *next;
} CallEdge;

typedef struct Code { /* one function */
    const PtxFunction *function;
    uint32_t begin, end; /* pcs in EmuModule.insts */
    uint32_t register_bytes, register_count;
    Ref *register_refs;          /* by register number */
    const char **register_names; /* by register number */
    uint8_t *register_bits;      /* 1, 32 (and narrower), 64, 128 */
    uint8_t *tracked;            /* by register number: needs run-time tracking */
    uint32_t local_bytes;        /* own frame; parameters of calls included */
    uint32_t shared_bytes;       /* static shared memory, the module's own included */
    uint32_t parameter_bytes;    /* kernels: the block of parameters */
    bool any_tracked;
    CallEdge *calls;
} Code;

struct EmuModule {
    Arena *arena;
    PtxModule *ptx;
    VEC(Inst) insts;
    VEC(Code *) codes;
    VEC(EmuEntry *) entries;
    VEC(uint8_t) literals;  /* 32 lanes each; begins with 512 zero bytes */
    uint64_t global_size;   /* bytes of module variables */
    uint8_t *global_image;  /* their initial values */
    uint64_t const_base;    /* from here on they are constant */
    uint64_t specials_used; /* bit per Special */
    uint64_t *literal_slots;
    uint32_t literal_count, literal_capacity;
};

/* Address map of the generic space. Buffers must lie above all of these. */
#define SHARED_WINDOW ((uint64_t)1 << 32)
#define LOCAL_WINDOW ((uint64_t)2 << 32)
#define PARAM_WINDOW ((uint64_t)3 << 32)
#define MODULE_WINDOW ((uint64_t)4 << 32)
#define FUNCTION_WINDOW ((uint64_t)6 << 32)
#define LOWEST_BUFFER ((uint64_t)8 << 32)
enum {
    SHARED_BASE = 1024,    /* shared addresses begin here, so that 0 is wild */
    SHARED_LIMIT = 232448, /* most shared memory a CTA may have: 227 KiB */
    CLUSTER_SHIFT = 24,    /* CTA r of a cluster: shared addresses from (r + 1) << 24 */
    PARAM_LIMIT = 32764,
    LOCAL_LIMIT = 512 << 10,
    RECURSIVE_LOCAL = 16 << 10,
    CALL_DEPTH_LIMIT = 64
};

/* Special registers: SPECIAL(id, text, bits). Lanes are filled when a warp starts. */
#define EMU_SPECIALS(SPECIAL)                                                                      \
    SPECIAL(tid_x, "%tid.x", 32)                                                                   \
    SPECIAL(tid_y, "%tid.y", 32)                                                                   \
    SPECIAL(tid_z, "%tid.z", 32)                                                                   \
    SPECIAL(ntid_x, "%ntid.x", 32)                                                                 \
    SPECIAL(ntid_y, "%ntid.y", 32)                                                                 \
    SPECIAL(ntid_z, "%ntid.z", 32)                                                                 \
    SPECIAL(ctaid_x, "%ctaid.x", 32)                                                               \
    SPECIAL(ctaid_y, "%ctaid.y", 32) SPECIAL(ctaid_z, "%ctaid.z", 32) SPECIAL(                     \
        nctaid_x, "%nctaid.x", 32) SPECIAL(nctaid_y, "%nctaid.y", 32) SPECIAL(nctaid_z,            \
                                                                              "%nctaid.z", 32)     \
        SPECIAL(laneid, "%laneid", 32) SPECIAL(warpid, "%warpid", 32) SPECIAL(                     \
            nwarpid, "%nwarpid", 32) SPECIAL(smid, "%smid", 32) SPECIAL(nsmid, "%nsmid", 32)       \
            SPECIAL(gridid, "%gridid", 64) SPECIAL(lanemask_eq, "%lanemask_eq", 32) SPECIAL(       \
                lanemask_le, "%lanemask_le", 32) SPECIAL(lanemask_lt, "%lanemask_lt", 32)          \
                SPECIAL(lanemask_ge, "%lanemask_ge", 32) SPECIAL(lanemask_gt, "%lanemask_gt", 32)  \
                    SPECIAL(clusterid_x, "%clusterid.x", 32) SPECIAL(                              \
                        clusterid_y, "%clusterid.y", 32) SPECIAL(clusterid_z, "%clusterid.z", 32)  \
                        SPECIAL(nclusterid_x, "%nclusterid.x", 32) SPECIAL(nclusterid_y,           \
                                                                           "%nclusterid.y", 32)    \
                            SPECIAL(nclusterid_z, "%nclusterid.z", 32) SPECIAL(                    \
                                cluster_ctaid_x, "%cluster_ctaid.x",                               \
                                32) SPECIAL(cluster_ctaid_y, "%cluster_ctaid.y", 32)               \
                                SPECIAL(cluster_ctaid_z, "%cluster_ctaid.z", 32) SPECIAL(          \
                                    cluster_nctaid_x, "%cluster_nctaid.x",                         \
                                    32) SPECIAL(cluster_nctaid_y, "%cluster_nctaid.y", 32)         \
                                    SPECIAL(cluster_nctaid_z, "%cluster_nctaid.z",                 \
                                            32) SPECIAL(cluster_ctarank, "%cluster_ctarank", 32)   \
                                        SPECIAL(cluster_nctarank, "%cluster_nctarank", 32)         \
                                            SPECIAL(dynamic_smem_size, "%dynamic_smem_size", 32)   \
                                                SPECIAL(total_smem_size, "%total_smem_size",       \
                                                        32) SPECIAL(clock, "%clock", 32)           \
                                                    SPECIAL(clock_hi, "%clock_hi",                 \
                                                            32) SPECIAL(clock64, "%clock64", 64)   \
                                                        SPECIAL(globaltimer, "%globaltimer", 64)   \
                                                            SPECIAL(globaltimer_lo,                \
                                                                    "%globaltimer_lo", 32)         \
                                                                SPECIAL(globaltimer_hi,            \
                                                                        "%globaltimer_hi", 32)

typedef enum Special {
#define SPECIAL(id, text, bits) SPECIAL_##id,
    EMU_SPECIALS(SPECIAL)
#undef SPECIAL
        SPECIAL_COUNT
} Special;
enum { SPECIAL_BYTES = 256 }; /* room for each, whatever its width */

/* ---- families -------------------------------------------------------------------------------- */

/* Each returns the function that runs this form, or NULL. */
Run select_arithmetic(const Form *form);
Run select_int(const Form *form);
Run select_float(const Form *form);
Run select_compare(const Form *form);
Run select_cvt(const Form *form);
Run select_move(const Form *form);
Run select_memory(const Form *form);
Run select_atom(const Form *form);
Run select_fence(const Form *form);
Run select_nothing(const Form *form);
Run select_warp(const Form *form);
Run select_control(const Form *form);
Run select_barrier(const Form *form);
Run select_matrix(const Form *form);
Run select_mma(const Form *form);
Run select_async(const Form *form);
Run select_mbarrier(const Form *form);
Run select_bulk(const Form *form);
Run select_wgmma(const Form *form);

/* mov in its shapes, which operands.c tells apart */
Run select_mov(uint32_t bits, uint32_t destinations, uint32_t sources);
Run select_mov_dynamic(Special special);

/* ---- loading, in order ----------------------------------------------------------------------- */

typedef struct Widen { /* register numbers */
    uint32_t narrow, wide;
} Widen;

typedef struct Decoder {
    EmuModule *module;
    PtxFunction *function;
    Code *code;
    const PtxStatement *statement;
    const PtxOperand *operand; /* next to be read */
    Form form;
    Inst inst;
    Run run; /* set by the shape: no need to select */
    VEC(Ref) refs;
    VEC(uint32_t) uses;
    VEC(uint32_t) defines;
    VEC(Address) addresses;
    VEC(Widen) widen[2]; /* [0] to be narrowed before the instruction, [1] widened after it */
    bool failed;
} Decoder;

typedef void Shape(Decoder *decoder);
#define INSTRUCTION(id, text, shape, family, words, flags, class) Shape shape_##shape;
#include "runtime/emu/isa.def"

void decode_error(Decoder *d, const PtxOperand *at, const char *format, ...) PRINTF_LIKE(3, 4);
Ref decode_guard(Decoder *d, const PtxOperand *o); /* the predicate before an instruction */
/* Literals become 32 equal lanes. */
Ref literal(EmuModule *module, uint64_t bits, uint32_t width);

/* Finds, for one function, where divergent lanes meet again, and which registers may be read
 * before they are written. */
void flow_analyse(EmuModule *module, Code *code);

#endif
