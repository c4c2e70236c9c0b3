/* atom.c: atomic operations. Global memory is shared with other host threads: there every
 * operation is a compare-and-swap loop on the host. */
#include "runtime/emu/machine.h"
#include "runtime/emu/number.h"

static double half_value(PtxType type, uint32_t bits) {
    return number_decode(type == TYPE_f16 || type == TYPE_f16x2 ? &format_f16 : &format_bf16, bits);
}

static uint32_t half_apply(Word op, PtxType type, uint32_t old, uint32_t a) {
    const Format *format = type == TYPE_f16 || type == TYPE_f16x2 ? &format_f16 : &format_bf16;
    double x = half_value(type, old), y = half_value(type, a);
    double r = op == WORD_add   ? number_fma_odd(x, 1, y)
               : x != x         ? y
               : y != y         ? x
               : op == WORD_min ? (y < x ? y : x)
                                : (y > x ? y : x);
    return number_encode(format, r, ROUND_NEAREST, false);
}

static uint64_t float_apply(Word op, PtxType type, uint64_t old, uint64_t a, bool flush) {
    if (type == TYPE_f64) return double_bits(as_double(old) + as_double(a));
    float x = as_float((uint32_t)old), y = as_float((uint32_t)a);
    if (op != WORD_add) return float_bits(op == WORD_min ? fminf(x, y) : fmaxf(x, y));
    if (!flush) return canonical_f32(x + y);
    return canonical_f32(flush_f32(flush_f32(x) + flush_f32(y)));
}

/* The new value; a and b are the operands, b only of cas. */
uint64_t atomic_apply(Word op, PtxType type, uint64_t old, uint64_t a, uint64_t b, bool flush) {
    uint32_t bits = ptx_types[type].bits;
    bool sign = ptx_types[type].kind == TYPE_SIGNED;
    int64_t so = bits == 32 ? (int64_t)(int32_t)old : (int64_t)old;
    int64_t sa = bits == 32 ? (int64_t)(int32_t)a : (int64_t)a;
    if (op == WORD_exch) return a;
    if (op == WORD_cas) return old == a ? b : old;
    switch (type) {
    case TYPE_f32:
    case TYPE_f64: return float_apply(op, type, old, a, flush);
    case TYPE_f16:
    case TYPE_bf16: return half_apply(op, type, (uint32_t)old, (uint32_t)a);
    case TYPE_f16x2:
    case TYPE_bf16x2:
        return half_apply(op, type, old & 0xffff, a & 0xffff) |
               (uint64_t)half_apply(op, type, old >> 16 & 0xffff, a >> 16 & 0xffff) << 16;
    default: break;
    }
    switch (op) {
    case WORD_add: return old + a;
    case WORD_and: return old & a;
    case WORD_or: return old | a;
    case WORD_xor: return old ^ a;
    case WORD_inc: return old >= a ? 0 : old + 1;
    case WORD_dec: return old == 0 || old > a ? a : old - 1;
    case WORD_min: return sign ? (sa < so ? a : old) : (a < old ? a : old);
    default: return sign ? (sa > so ? a : old) : (a > old ? a : old);
    }
}

uint64_t atomic_update(uint8_t *at, Word op, PtxType type, uint64_t a, uint64_t b, bool flush) {
    switch (ptx_types[type].bits) {
#define UPDATE(N)                                                                                  \
    case N: {                                                                                      \
        uint##N##_t *p = (uint##N##_t *)(void *)at;                                                \
        uint##N##_t old = __atomic_load_n(p, __ATOMIC_ACQUIRE), new_value;                         \
        do {                                                                                       \
            new_value = (uint##N##_t)atomic_apply(op, type, old, a, b, flush);                     \
        } while (!__atomic_compare_exchange_n(p, &old, new_value, false, __ATOMIC_ACQ_REL,         \
                                              __ATOMIC_ACQUIRE));                                  \
        return old;                                                                                \
    }
        UPDATE(16)
        UPDATE(32)
        UPDATE(64)
    default: return 0;
    }
}

static uint8_t *place(Warp *w, const Inst *in, int lane, uint64_t address, uint32_t size,
                      bool *is_shared) {
    PtxSpace space = resolve_space((PtxSpace)in->addresses->space, &address);
    *is_shared = space == SPACE_SHARED;
    if (space == SPACE_LOCAL) return local_at(w, in, lane, address, size, size);
    bool exchange = in->form->word[CATEGORY_OPERATION] == WORD_exch; /* may want to write only */
    if (space != SPACE_SHARED)
        return global_at(w, in, lane, address, size, size, exchange ? ACCESS_WRITE : ACCESS_ATOMIC);
    Cta *cta;
    uint8_t *at = shared_at(w, in, lane, address, size, size, &cta);
    if (!at) return NULL;
    Access access = plain_access(w, in, cta, lane);
    access.atomic = true;
    uint32_t offset = (uint32_t)(at - cta->shared);
    if (!shared_read(&access, offset, size) || !shared_write(&access, offset, size)) return NULL;
    if (checks_races(w)) sync_address(w, cta, offset, in->form->op == OP_atom, true);
    return at;
}

enum { MOST_WORDS = 8 }; /* .v8.f16 */

static Step atomic(Warp *w, const Inst *in) {
    const Form *f = in->form;
    PtxType type = (PtxType)f->type[0];
    Word op = (Word)f->word[CATEGORY_OPERATION];
    uint32_t count = form_vector(f), bytes = ptx_types[type].bits / 8u,
             slot = bytes < 4 ? 4 : bytes;
    uint64_t address[LANES];
    addresses_of(w, in->addresses, address);
    if (w->machine->counters &&
        resolve_space((PtxSpace)in->addresses->space,
                      &(uint64_t){address[first_lane(w->active)]}) == SPACE_GLOBAL)
        count_global(w, in, address, bytes * count, true);
    FOR_LANES(w->active, l) {
        bool is_shared;
        uint8_t *at = place(w, in, l, address[l], bytes * count, &is_shared);
        if (!at) return STEP_FAULT;
        uint64_t a[MOST_WORDS] = {0}, b = 0; /* all read first: a result may be an operand too */
        for (uint32_t v = 0; v < count; v++)
            memcpy(&a[v], lanes_of(w, in->refs[count + v]) + slot * (uint32_t)l, bytes);
        if (op == WORD_cas)
            memcpy(&b, lanes_of(w, in->refs[2 * count]) + slot * (uint32_t)l, bytes);
        for (uint32_t v = 0; v < count; v++) {
            uint64_t old = atomic_update(at + v * bytes, op, type, a[v], b, !is_shared);
            if (in->refs[v] >> 30 == SECTION_REGISTERS) {
                uint8_t *out = lanes_out(w, in->refs[v]) + slot * (uint32_t)l;
                memset(out, 0, slot);
                memcpy(out, &old, bytes);
            }
        }
    }
    return op == WORD_cas || op == WORD_exch ? STEP_YIELD : STEP_NEXT;
}

Run select_atom(const Form *form) {
    PtxType type = (PtxType)form->type[0];
    Word op = (Word)form->word[CATEGORY_OPERATION];
    uint32_t bits = ptx_types[type].bits;
    if (form->type_count != 1 || form->space_count > 1) return NULL;
    bool red = form->op == OP_red, vector = form_vector(form) > 1;
    if (vector && (op != WORD_add && op != WORD_min && op != WORD_max)) return NULL;
    if (vector && ptx_types[type].kind != TYPE_FLOAT) return NULL;
    if (red && (op == WORD_exch || op == WORD_cas)) return NULL;
    switch (op) {
    case WORD_exch: return bits == 32 || bits == 64 ? atomic : NULL;
    case WORD_cas: return bits == 16 || bits == 32 || bits == 64 ? atomic : NULL;
    case WORD_add:
        return type != TYPE_b32 && type != TYPE_b64 && bits >= 16 && bits <= 64 &&
                       (ptx_types[type].kind == TYPE_FLOAT || bits >= 32)
                   ? atomic
                   : NULL;
    case WORD_inc:
    case WORD_dec: return type == TYPE_u32 ? atomic : NULL;
    case WORD_and:
    case WORD_or:
    case WORD_xor:
        return (bits == 32 || bits == 64) && ptx_types[type].kind != TYPE_FLOAT ? atomic : NULL;
    case WORD_min:
    case WORD_max:
        if (ptx_types[type].kind == TYPE_FLOAT) return type == TYPE_f64 ? NULL : atomic;
        return (bits == 32 || bits == 64) && ptx_types[type].kind != TYPE_BITS ? atomic : NULL;
    default: return NULL;
    }
}
