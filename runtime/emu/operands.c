/* operands.c: how the operands of each instruction read: which are written, which are read, how
 * wide they are. Each shape_* consumes the statement's operands in order and appends references
 * to the instruction; decode.c then looks up the function that runs it. */
#include "runtime/emu/operands.h"

#include <math.h>
#include <stdlib.h>

static const struct {
    const char *text;
    uint8_t bits;
} specials[SPECIAL_COUNT] = {
#define SPECIAL(id, text, bits) {text, bits},
    EMU_SPECIALS(SPECIAL)
#undef SPECIAL
};

uint32_t type_bits(PtxType type) {
    return ptx_types[type].bits;
}

PtxType type_at(const Decoder *d, uint32_t index) {
    if (!d->form.type_count) return TYPE_none;
    return (PtxType)d->form.type[index < d->form.type_count ? index : d->form.type_count - 1u];
}

const PtxOperand *take(Decoder *d) {
    static const PtxOperand nothing = {.kind = OPERAND_INT};
    const PtxOperand *operand = d->operand;
    if (!operand) {
        decode_error(d, NULL, "`%s` needs more operands", d->statement->opcode);
        return &nothing;
    }
    d->operand = operand->next;
    return operand;
}

void push(Decoder *d, Ref ref) {
    vec_push(d->module->arena, &d->refs, ref);
}

/* ---- registers and literals ------------------------------------------------------------------ */

static uint32_t add_register(Decoder *d, const char *name, uint32_t bits) {
    Arena *arena = d->module->arena;
    Code *code = d->code;
    uint32_t capacity = code->register_count;
    if (capacity % 64 == 0) {
        size_t grown = capacity + 64;
        code->register_refs =
            arena_grow(arena, code->register_refs, capacity * sizeof(Ref), grown * sizeof(Ref));
        code->register_names = arena_grow(arena, code->register_names, capacity * sizeof(char *),
                                          grown * sizeof(char *));
        code->register_bits = arena_grow(arena, code->register_bits, capacity, grown);
    }
    uint32_t bytes = bits <= 32 ? 128 : bits * 4;
    if (code->register_bytes > (64u << 20)) decode_error(d, NULL, "too many registers");
    code->register_refs[capacity] = REF(SECTION_REGISTERS, code->register_bytes);
    code->register_names[capacity] = name;
    code->register_bits[capacity] = (uint8_t)bits;
    code->register_bytes += bytes;
    return code->register_count++;
}

/* The number of a register within its function; numbers are given at first sight. */
static uint32_t register_number(Decoder *d, PtxSymbol *symbol, const char *name) {
    Arena *arena = d->module->arena;
    uint32_t index = 0;
    if (symbol->kind == SYMBOL_REGISTERS) index = (uint32_t)atoi(name + strlen(symbol->name) - 1);
    if (!symbol->targets) /* borrowed: the table of numbers, 0: none yet */
        symbol->targets = arena_alloc(arena, sizeof(uint32_t) * (size_t)(symbol->count + 1));
    uint32_t *number = (uint32_t *)symbol->targets + index;
    if (*number) return *number - 1;
    *number = add_register(d, name, type_bits(symbol->type)) + 1;
    return *number - 1;
}

static const char *bits_text(uint32_t bits) {
    return bits == 1    ? ".pred"
           : bits == 8  ? ".b8"
           : bits == 16 ? ".b16"
           : bits == 32 ? ".b32"
           : bits == 64 ? ".b64"
                        : ".b128";
}

/* A register of `bits` (loose: or wider). `write` and `read` say what happens to it. */
static Ref register_ref(Decoder *d, const PtxOperand *o, uint32_t bits, bool loose, bool write,
                        bool read) {
    PtxSymbol *symbol = o->kind == OPERAND_NAME && o->name
                            ? ptx_lookup(d->module->ptx, d->statement->scope, o->name)
                            : NULL;
    if (!symbol || (symbol->kind != SYMBOL_REGISTER && symbol->kind != SYMBOL_REGISTERS)) {
        decode_error(d, o, "%s%s%s is not a register", o->name ? "`" : "this",
                     o->name ? o->name : "", o->name ? "`" : "");
        return REF(SECTION_SINK, 0);
    }
    uint32_t have = type_bits(symbol->type);
    if (symbol->vector > 1) decode_error(d, o, "vector registers are not supported");
    if (o->bits) decode_error(d, o, "only an address may be register + number");
    bool fits = loose && have > bits && bits > 1 && have <= 64;
    if (have != bits && !fits)
        decode_error(d, o, "`%s` is %s, but `%s` needs %s here", o->name, bits_text(have),
                     d->statement->opcode, bits_text(bits));
    uint32_t number = register_number(d, symbol, o->name);
    if (fits && have == 64 && bits <= 32) { /* goes through a 32-bit register of our own */
        uint32_t middle = add_register(d, o->name, 32);
        Widen widen = {.narrow = middle, .wide = number};
        vec_push(d->module->arena, &d->widen[write ? 1 : 0], widen);
        number = middle;
    }
    if (read) vec_push(d->module->arena, &d->uses, number);
    if (write) vec_push(d->module->arena, &d->defines, number);
    return d->code->register_refs[number];
}

Ref literal(EmuModule *module, uint64_t bits, uint32_t width) {
    uint32_t bytes = width <= 32 ? 128 : width * 4;
    if (!bits) return REF(SECTION_LITERALS, 0); /* 512 zero bytes serve every width */
    if (module->literal_count * 2 >= module->literal_capacity) {
        uint32_t old = module->literal_capacity;
        uint64_t *slots = module->literal_slots;
        module->literal_capacity = old ? old * 2 : 64;
        module->literal_slots =
            arena_array(module->arena, uint64_t, 2 * (size_t)module->literal_capacity);
        module->literal_count = 0;
        for (uint32_t i = 0; i < old; i++) {
            if (!slots[2 * i + 1]) continue;
            uint32_t at = (uint32_t)(slots[2 * i] * 0x9e3779b97f4a7c15u >> 32);
            while (module->literal_slots[2 * (at & (module->literal_capacity - 1)) + 1]) at++;
            at &= module->literal_capacity - 1;
            module->literal_slots[2 * at] = slots[2 * i];
            module->literal_slots[2 * at + 1] = slots[2 * i + 1];
            module->literal_count++;
        }
    }
    uint32_t at = (uint32_t)(bits * 0x9e3779b97f4a7c15u >> 32);
    for (;; at++) {
        uint64_t *slot = module->literal_slots + 2 * (at & (module->literal_capacity - 1));
        if (slot[1] && (slot[0] != bits || (slot[1] & 255) != bytes / 4 % 255)) continue;
        if (slot[1]) return (Ref)(slot[1] >> 8);
        uint32_t offset = module->literals.length;
        for (uint32_t i = 0; i < bytes; i++) {
            uint32_t per_lane = bytes / 32;
            uint32_t in_lane = i % per_lane;
            uint8_t byte = in_lane < 8 ? (uint8_t)(bits >> (8 * in_lane)) : 0;
            vec_push(module->arena, &module->literals, byte);
        }
        Ref ref = REF(SECTION_LITERALS, offset);
        slot[0] = bits;
        slot[1] = (uint64_t)ref << 8 | (bytes / 4 % 255);
        module->literal_count++;
        return ref;
    }
}

static uint64_t literal_bits(Decoder *d, const PtxOperand *o, PtxType type) {
    uint32_t bits = type_bits(type);
    bool is_float = ptx_types[type].kind == TYPE_FLOAT;
    if (o->kind == OPERAND_INT) {
        if (is_float && bits >= 32 && type != TYPE_f16x2 && type != TYPE_bf16x2 &&
            type != TYPE_tf32)
            decode_error(d, o, "a float literal is needed here");
        return bits >= 64 ? o->bits : o->bits & (((uint64_t)1 << bits) - 1);
    }
    if (o->kind != OPERAND_FLOAT) {
        decode_error(d, o, "a register or a number is needed here");
        return 0;
    }
    if (bits == 32 && o->width == 64) {
        double wide;
        memcpy(&wide, &o->bits, 8);
        float narrow = (float)wide;
        uint32_t result;
        memcpy(&result, &narrow, 4);
        return result;
    }
    if (bits == 64 && o->width == 32) {
        float narrow;
        uint32_t low = (uint32_t)o->bits;
        memcpy(&narrow, &low, 4);
        double wide = (double)narrow;
        uint64_t result;
        memcpy(&result, &wide, 8);
        return result;
    }
    if (bits != o->width) decode_error(d, o, "a float literal does not fit here");
    return o->bits;
}

/* ---- variables ------------------------------------------------------------------------------- */

/* Where a variable lies, as an address in its own space. */
uint64_t variable_address(Decoder *d, const PtxOperand *o, const PtxVariable *v, PtxSpace *space,
                          bool *frame) {
    *frame = v->space == SPACE_LOCAL;
    *space = v->space;
    uint64_t address = v->address;
    if (v->space == SPACE_PARAM) {
        bool own = false;
        for (uint32_t i = 0; d->function->entry && i < d->function->parameters.length; i++)
            own |= d->function->parameters.data[i] == v;
        *frame = !own;
        if (!own) *space = SPACE_LOCAL;
    }
    if (v->is_extern && v->space != SPACE_SHARED)
        decode_error(d, o, "`%s` is extern: the emulator runs one module", v->name);
    return address + o->bits;
}

const PtxVariable *find_variable(Decoder *d, const PtxOperand *o) {
    PtxSymbol *symbol = o->kind == OPERAND_NAME && o->name
                            ? ptx_lookup(d->module->ptx, d->statement->scope, o->name)
                            : NULL;
    return symbol && symbol->kind == SYMBOL_VARIABLE ? symbol->variable : NULL;
}

static int find_special(const char *name) {
    for (int i = 0; i < SPECIAL_COUNT; i++)
        if (!strcmp(specials[i].text, name)) return i;
    return -1;
}

static Ref special_ref(Decoder *d, uint32_t special) {
    d->module->specials_used |= (uint64_t)1 << special;
    return REF(SECTION_SPECIALS, special * SPECIAL_BYTES);
}

void address_in(Decoder *d, PtxSpace in_space) {
    const PtxOperand *o = take(d);
    Address a = {.base = REF(SECTION_LITERALS, 0), .wide = true, .space = (uint8_t)in_space};
    if (o->kind != OPERAND_ADDRESS || !o->items) {
        decode_error(d, o, "an [address] is needed here");
    } else {
        const PtxOperand *base = o->items;
        const PtxVariable *v = find_variable(d, base);
        if (base->kind == OPERAND_INT) {
            a.offset = base->bits;
        } else if (v) {
            PtxSpace space;
            a.offset = variable_address(d, base, v, &space, &a.frame);
            if (a.space == SPACE_GENERIC && space == SPACE_PARAM) a.offset += PARAM_WINDOW;
            if (a.space == SPACE_GENERIC && space == SPACE_SHARED) a.offset += SHARED_WINDOW;
            if (a.space == SPACE_PARAM || space == SPACE_LOCAL) a.space = (uint8_t)space;
            bool same = a.space == space || a.space == SPACE_GENERIC ||
                        (a.space == SPACE_CLUSTER && space == SPACE_SHARED) ||
                        (a.space == SPACE_GLOBAL && space == SPACE_CONST);
            if (!same) decode_error(d, base, "`%s` lies in another state space", v->name);
        } else {
            PtxOperand plain = *base;
            plain.bits = 0;
            PtxSymbol *symbol =
                base->name ? ptx_lookup(d->module->ptx, d->statement->scope, base->name) : NULL;
            a.wide = symbol && type_bits(symbol->type) == 64;
            a.base = register_ref(d, &plain, a.wide ? 64 : 32, false, false, true);
            a.offset = base->bits;
            if (a.space == SPACE_PARAM && !d->function->entry) a.space = SPACE_LOCAL;
        }
    }
    vec_push(d->module->arena, &d->addresses, a);
}

/* An address in the space that the opcode names first, second ... */
void address(Decoder *d) {
    address_in(d, form_space(&d->form, d->addresses.length));
}

/* ---- the pieces that shapes are made of ------------------------------------------------------ */

static bool is_sink(const PtxOperand *o) {
    return o->kind == OPERAND_NAME && o->name && !strcmp(o->name, "_");
}

Ref destination_of(Decoder *d, const PtxOperand *o, uint32_t bits, bool loose) {
    if (is_sink(o)) return REF(SECTION_SINK, 0);
    return register_ref(d, o, bits, loose, true, false);
}

void destination(Decoder *d, PtxType type) {
    push(d, destination_of(d, take(d), type_bits(type), false));
}

Ref source_of(Decoder *d, const PtxOperand *o, PtxType type, bool loose) {
    uint32_t bits = type_bits(type);
    if (o->kind != OPERAND_NAME) return literal(d->module, literal_bits(d, o, type), bits);
    PtxSymbol *symbol = ptx_lookup(d->module->ptx, d->statement->scope, o->name);
    if (!symbol) {
        int special = find_special(o->name);
        if (special >= 0) {
            if (special >= SPECIAL_clock) decode_error(d, o, "only mov reads `%s`", o->name);
            if (specials[special].bits < bits && !loose)
                decode_error(d, o, "`%s` is .b%u", o->name, specials[special].bits);
            return special_ref(d, (uint32_t)special);
        }
        if (!strcmp(o->name, "WARP_SZ")) return literal(d->module, 32 + o->bits, bits);
    }
    if (symbol && (symbol->kind == SYMBOL_VARIABLE || symbol->kind == SYMBOL_FUNCTION)) {
        PtxSpace space;
        bool frame = false;
        uint64_t value = FUNCTION_WINDOW;
        if (symbol->kind == SYMBOL_VARIABLE)
            value = variable_address(d, o, symbol->variable, &space, &frame);
        else if (symbol->function)
            value += symbol->function->index;
        if (bits != 64 && bits != 32) decode_error(d, o, "an address does not fit here");
        if (frame && d->form.op != OP_mov && d->form.op != OP_cvta)
            decode_error(d, o, "only mov takes the address of a local variable");
        if (frame) d->inst.flags |= INST_FRAME;
        return literal(d->module, bits == 32 ? (uint32_t)value : value, bits);
    }
    return register_ref(d, o, bits, loose, false, true);
}

void source(Decoder *d, PtxType type) {
    const PtxOperand *o = take(d);
    if (o->negated) decode_error(d, o, "`!` is for predicates");
    push(d, source_of(d, o, type, false));
}

/* A predicate that is read; when negated, imm bit `bit` is set. Literals 0 and 1 will do. */
void predicate(Decoder *d, uint32_t bit) {
    const PtxOperand *o = take(d);
    if (o->negated) d->inst.imm |= (uint64_t)1 << bit;
    if (o->kind == OPERAND_INT)
        push(d, literal(d->module, o->bits & 1 ? UINT32_MAX : 0, 32));
    else
        push(d, register_ref(d, o, 1, false, false, true));
}

Ref decode_guard(Decoder *d, const PtxOperand *o) {
    return register_ref(d, o, 1, false, false, true);
}

void end(Decoder *d) {
    if (d->operand) decode_error(d, d->operand, "`%s` takes fewer operands", d->statement->opcode);
}

/* d or d|p: pushes both (the second may be the sink). */
void destination_pair(Decoder *d, uint32_t bits, uint32_t pair_bits) {
    const PtxOperand *o = take(d);
    push(d, destination_of(d, o, bits, false));
    push(d, o->pair ? destination_of(d, o->pair, pair_bits, false) : REF(SECTION_SINK, 0));
    d->inst.imm |= o->pair ? 2 : 0;
}

/* {a, b, ...} or a single one; pushes each. Returns how many. */
static uint32_t vector(Decoder *d, PtxType type, bool write, bool read, bool loose) {
    const PtxOperand *o = take(d);
    const PtxOperand *item = o->kind == OPERAND_VECTOR ? o->items : o;
    uint32_t count = 0;
    for (; item && count < 256; item = o->kind == OPERAND_VECTOR ? item->next : NULL, count++) {
        if (write && is_sink(item))
            push(d, REF(SECTION_SINK, 0));
        else if (write)
            push(d, register_ref(d, item, type_bits(type), loose, true, read));
        else
            push(d, source_of(d, item, type, loose));
    }
    return count;
}

void vector_of(Decoder *d, PtxType type, uint32_t count, bool write) {
    const PtxOperand *o = d->operand;
    uint32_t have = vector(d, type, write, false, true);
    if (have != count) decode_error(d, o, "%u elements are needed here, not %u", count, have);
}

/* A small constant; registers are refused. */
uint64_t constant(Decoder *d) {
    const PtxOperand *o = take(d);
    if (o->kind != OPERAND_INT) decode_error(d, o, "a constant is needed here");
    return o->bits;
}

void optional_source(Decoder *d, PtxType type, uint64_t fallback) {
    if (d->operand)
        source(d, type);
    else
        push(d, literal(d->module, fallback, type_bits(type)));
}

static PtxType wide_type(PtxType type) {
    switch (type) {
    case TYPE_u16: return TYPE_u32;
    case TYPE_s16: return TYPE_s32;
    case TYPE_u32: return TYPE_u64;
    case TYPE_s32: return TYPE_s64;
    default: return TYPE_none;
    }
}

/* ---- shapes: arithmetic ---------------------------------------------------------------------- */

void shape_none(Decoder *d) {
    end(d);
}

void shape_unary(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    end(d);
}

/* The type of what is added or multiplied: fma.rn.f32.f16 takes halves, and adds an f32. */
static PtxType factor_type(const Decoder *d) {
    PtxType type = type_at(d, 0), other = type_at(d, 1);
    bool mixed = type == TYPE_f32 && (other == TYPE_f16 || other == TYPE_bf16);
    return mixed ? other : type;
}

void shape_binary(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, factor_type(d));
    source(d, type_at(d, 0));
    end(d);
}

void shape_minmax(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, type_at(d, 0));
    if (d->operand) source(d, type_at(d, 0)); /* three-operand forms */
    end(d);
}

void shape_ternary(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, factor_type(d));
    source(d, factor_type(d));
    source(d, type_at(d, 0));
    end(d);
}

void shape_multiply(Decoder *d) {
    PtxType type = type_at(d, 0);
    bool wide = form_has(&d->form, F(wide));
    if (wide && !wide_type(type)) decode_error(d, NULL, "mul.wide takes 16 or 32-bit integers");
    destination(d, wide ? wide_type(type) : type);
    source(d, type);
    source(d, type);
    end(d);
}

void shape_mad(Decoder *d) {
    PtxType type = type_at(d, 0);
    bool wide = form_has(&d->form, F(wide));
    if (wide && !wide_type(type)) decode_error(d, NULL, "mad.wide takes 16 or 32-bit integers");
    destination(d, wide ? wide_type(type) : type);
    source(d, type);
    source(d, type);
    source(d, wide ? wide_type(type) : type);
    end(d);
}

void shape_shift(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, TYPE_u32);
    end(d);
}

void shape_funnel(Decoder *d) {
    destination(d, TYPE_b32);
    source(d, TYPE_b32);
    source(d, TYPE_b32);
    source(d, TYPE_u32);
    end(d);
}

void shape_bfe(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, TYPE_u32);
    source(d, TYPE_u32);
    end(d);
}

void shape_bfi(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, TYPE_u32);
    source(d, TYPE_u32);
    end(d);
}

void shape_count(Decoder *d) {
    destination(d, TYPE_u32);
    source(d, type_at(d, 0));
    end(d);
}

void shape_lop3(Decoder *d) {
    const PtxOperand *o = take(d);
    bool logic = d->form.word[CATEGORY_OPERATION] != WORD_none;
    push(d, destination_of(d, o, 32, false));
    for (int i = 0; i < 3; i++) source(d, TYPE_b32);
    d->inst.imm = constant(d) & 255;
    if (logic) {
        push(d, o->pair ? destination_of(d, o->pair, 1, false) : REF(SECTION_SINK, 0));
        predicate(d, 8);
    }
    end(d);
}

void shape_dot4(Decoder *d) { /* d, a, b, c: types say whether a and b have signs */
    bool negative = ptx_types[type_at(d, 0)].kind == TYPE_SIGNED ||
                    ptx_types[type_at(d, 1)].kind == TYPE_SIGNED;
    PtxType sum = negative ? TYPE_s32 : TYPE_u32;
    destination(d, sum);
    source(d, TYPE_b32);
    source(d, TYPE_b32);
    source(d, sum);
    end(d);
}

void shape_testp(Decoder *d) {
    destination(d, TYPE_pred);
    source(d, type_at(d, 0));
    end(d);
}

/* ---- shapes: compare, select, move ----------------------------------------------------------- */

void shape_setp(Decoder *d) {
    destination_pair(d, 1, 1);
    source(d, type_at(d, 0));
    source(d, type_at(d, 0));
    if (d->form.word[CATEGORY_OPERATION]) predicate(d, 8);
    end(d);
}

void shape_set(Decoder *d) {
    destination(d, type_at(d, 0));
    push(d, REF(SECTION_SINK, 0));
    source(d, type_at(d, 1));
    source(d, type_at(d, 1));
    if (d->form.word[CATEGORY_OPERATION]) predicate(d, 8);
    end(d);
}

void shape_selp(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, type_at(d, 0));
    predicate(d, 8);
    end(d);
}

void shape_slct(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, type_at(d, 1));
    end(d);
}

void shape_cvt(Decoder *d) {
    PtxType to = type_at(d, 0), from = type_at(d, 1);
    push(d, destination_of(d, take(d), type_bits(to), true));
    push(d, source_of(d, take(d), from, true));
    if (d->operand) push(d, source_of(d, take(d), from, true));
    end(d);
}

/* mov moves one value, packs several into one, or takes one apart. */
void shape_mov(Decoder *d) {
    PtxType type = type_at(d, 0);
    uint32_t bits = type_bits(type), parts;
    const PtxOperand *to = d->operand, *from = to ? to->next : NULL;
    d->inst.flags |= INST_COPIES;
    if (to && from && (to->kind == OPERAND_VECTOR || from->kind == OPERAND_VECTOR)) {
        bool pack = from->kind == OPERAND_VECTOR;
        parts = 0;
        for (const PtxOperand *i = pack ? from->items : to->items; i; i = i->next) parts++;
        PtxType part = TYPE_none;
        if (parts && bits % parts == 0)
            part = bits / parts == 8    ? TYPE_b8
                   : bits / parts == 16 ? TYPE_b16
                   : bits / parts == 32 ? TYPE_b32
                   : bits / parts == 64 ? TYPE_b64
                                        : TYPE_none;
        if (!part || parts > 8) {
            decode_error(d, to, "%u parts do not make a .b%u", parts, bits);
            return;
        }
        if (pack) {
            push(d, destination_of(d, take(d), bits, false));
            vector(d, part, false, true, false);
        } else {
            vector(d, part, true, false, false);
            source(d, type);
        }
        d->run = select_mov(bits, pack ? 1 : parts, pack ? parts : 1);
        end(d);
        return;
    }
    destination(d, type);
    int special = from && from->kind == OPERAND_NAME && from->name &&
                          !ptx_lookup(d->module->ptx, d->statement->scope, from->name)
                      ? find_special(from->name)
                      : -1;
    if (special >= 0) {
        take(d);
        push(d, special_ref(d, (uint32_t)special));
        if (bits == 64 && specials[special].bits == 32)
            decode_error(d, from, "`%s` is .b32", from->name);
        if (special >= SPECIAL_clock) d->run = select_mov_dynamic((Special)special);
    } else if (type == TYPE_pred) {
        predicate(d, 8);
    } else {
        source(d, type);
    }
    if (!d->run) d->run = select_mov(bits, 1, 1);
    end(d);
}

void shape_isspacep(Decoder *d) {
    destination(d, TYPE_pred);
    source(d, TYPE_u64);
    end(d);
}

void shape_mapa(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, TYPE_u32);
    end(d);
}

void shape_getrank(Decoder *d) {
    destination(d, TYPE_u32);
    source(d, type_at(d, 0));
    end(d);
}

void shape_policy(Decoder *d) {
    destination(d, TYPE_b64);
    push(d, literal(d->module, 0, 64));
    if (d->operand) take(d);
    end(d);
}
