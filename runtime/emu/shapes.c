/* shapes.c: the operands of memory, warp, control, matrix and async instructions. */
#include "runtime/emu/operands.h"

/* ---- shapes: memory -------------------------------------------------------------------------- */

static void hint(Decoder *d) {
    if (form_has(&d->form, F(hint))) source_of(d, take(d), TYPE_b64, false);
}

void shape_load(Decoder *d) {
    uint32_t count = form_vector(&d->form);
    vector_of(d, type_at(d, 0), count, true);
    address(d);
    hint(d);
    end(d);
}

void shape_store(Decoder *d) {
    uint32_t count = form_vector(&d->form);
    address(d);
    vector_of(d, type_at(d, 0), count, false);
    hint(d);
    end(d);
}

static void atom_sources(Decoder *d, uint32_t count) {
    if (count > 1)
        vector_of(d, type_at(d, 0), count, false);
    else
        source(d, type_at(d, 0));
    if (d->form.word[CATEGORY_OPERATION] == WORD_cas) source(d, type_at(d, 0));
    hint(d);
    end(d);
}

void shape_atom(Decoder *d) {
    uint32_t count = form_vector(&d->form);
    if (count > 1)
        vector_of(d, type_at(d, 0), count, true);
    else
        destination(d, type_at(d, 0));
    address(d);
    atom_sources(d, count);
}

void shape_red(Decoder *d) {
    uint32_t count = form_vector(&d->form);
    for (uint32_t i = 0; i < count; i++) push(d, REF(SECTION_SINK, 0));
    address(d);
    atom_sources(d, count);
}

void shape_address(Decoder *d) {
    address(d);
    end(d);
}

void shape_discard(Decoder *d) {
    address(d);
    constant(d);
    end(d);
}

/* ---- shapes: warps and control --------------------------------------------------------------- */

void shape_result(Decoder *d) {
    destination(d, TYPE_b32);
    end(d);
}

void shape_value(Decoder *d) {
    source(d, d->form.type_count ? type_at(d, 0) : TYPE_u32);
    end(d);
}

void shape_shfl(Decoder *d) {
    destination_pair(d, 32, 1);
    for (int i = 0; i < 4; i++) source(d, TYPE_b32);
    end(d);
}

void shape_vote(Decoder *d) {
    destination(d, type_at(d, 0));
    predicate(d, 8);
    source(d, TYPE_b32);
    end(d);
}

void shape_match(Decoder *d) {
    destination_pair(d, 32, 1);
    source(d, type_at(d, 0));
    source(d, TYPE_b32);
    end(d);
}

void shape_redux(Decoder *d) {
    destination(d, type_at(d, 0));
    source(d, type_at(d, 0));
    source(d, TYPE_b32);
    end(d);
}

void shape_elect(Decoder *d) {
    destination_pair(d, 32, 1);
    source(d, TYPE_b32);
    end(d);
}

/* Labels are resolved by decode.c, which knows the pcs; the statement number is left in target. */
static uint32_t label(Decoder *d, const PtxOperand *o) {
    PtxSymbol *symbol = o->kind == OPERAND_NAME && o->name
                            ? ptx_lookup(d->module->ptx, d->statement->scope, o->name)
                            : NULL;
    if (symbol && symbol->kind == SYMBOL_LABEL) return symbol->index;
    decode_error(d, o, "`%s` is not a label of this function", o->name ? o->name : "this");
    return 0;
}

void shape_branch(Decoder *d) {
    d->inst.target = label(d, take(d));
    d->inst.flags |= INST_BRANCH;
    end(d);
}

void shape_brx(Decoder *d) {
    source(d, TYPE_u32);
    const PtxOperand *o = take(d);
    PtxSymbol *symbol = o->name ? ptx_lookup(d->module->ptx, d->statement->scope, o->name) : NULL;
    Targets *targets = arena_new(d->module->arena, Targets);
    if (!symbol || symbol->kind != SYMBOL_TARGETS) {
        decode_error(d, o, "a .branchtargets label is needed here");
    } else {
        for (const PtxOperand *t = symbol->targets; t; t = t->next) targets->count++;
        targets->pc = arena_array(d->module->arena, uint32_t, targets->count + 1);
        uint32_t i = 0;
        for (const PtxOperand *t = symbol->targets; t; t = t->next) targets->pc[i++] = label(d, t);
    }
    d->inst.extra = targets;
    d->inst.flags |= INST_TABLE;
    end(d);
}

/* The frame places of a call's arguments: variables of the caller's body. */
static uint32_t call_list(Decoder *d, const PtxOperand *list, CallCopy **copies) {
    uint32_t count = 0, i = 0;
    for (const PtxOperand *o = list ? list->items : NULL; o; o = o->next) count++;
    *copies = arena_array(d->module->arena, CallCopy, count + 1);
    for (const PtxOperand *o = list ? list->items : NULL; o; o = o->next, i++) {
        const PtxVariable *v = find_variable(d, o);
        PtxSpace space;
        bool frame = false;
        uint64_t at = v ? variable_address(d, o, v, &space, &frame) : 0;
        if (!v || !frame)
            decode_error(d, o, "calls take .param variables of the caller");
        else
            (*copies)[i] = (CallCopy){.from = (uint32_t)at, .size = (uint32_t)v->size};
    }
    return count;
}

void shape_call(Decoder *d) {
    const PtxOperand *o = take(d), *results = NULL, *arguments = NULL;
    if (o->kind == OPERAND_LIST) results = o, o = take(d);
    if (d->operand && d->operand->kind == OPERAND_LIST) arguments = take(d);
    if (d->operand) take(d); /* a prototype */
    PtxSymbol *symbol = o->name ? ptx_lookup(d->module->ptx, d->statement->scope, o->name) : NULL;
    Call *call = arena_new(d->module->arena, Call);
    d->inst.extra = call;
    if (!symbol || symbol->kind != SYMBOL_FUNCTION || !symbol->function) {
        decode_error(d, o, "calls through a register are not supported");
        return;
    }
    PtxFunction *callee = symbol->function;
    call->argument_count = call_list(d, arguments, &call->arguments);
    call->result_count = call_list(d, results, &call->results);
    if (!callee->defined) {
        if (!strcmp(callee->name, "vprintf"))
            call->builtin = BUILTIN_VPRINTF;
        else if (!strcmp(callee->name, "__assertfail"))
            call->builtin = BUILTIN_ASSERTFAIL;
        else
            decode_error(d, o, "`%s` is not defined in this module", callee->name);
        if (call->builtin && call->argument_count < 2)
            decode_error(d, o, "`%s` takes more arguments", callee->name);
        return;
    }
    if (callee->entry) decode_error(d, o, "a kernel cannot be called");
    if (callee->parameters.length != call->argument_count ||
        callee->returns.length != call->result_count) {
        decode_error(d, o, "`%s` takes %u arguments and gives %u results", callee->name,
                     callee->parameters.length, callee->returns.length);
        return;
    }
    call->callee = callee->code;
    for (uint32_t i = 0; i < call->argument_count; i++) {
        call->arguments[i].to = (uint32_t)callee->parameters.data[i]->address;
        if (call->arguments[i].size != callee->parameters.data[i]->size)
            decode_error(d, o, "argument %u has another size than `%s` declares", i, callee->name);
    }
    for (uint32_t i = 0; i < call->result_count; i++) {
        call->results[i].to = call->results[i].from;
        call->results[i].from = (uint32_t)callee->returns.data[i]->address;
        if (call->results[i].size != callee->returns.data[i]->size)
            decode_error(d, o, "result %u has another size than `%s` declares", i, callee->name);
    }
}

/* ---- shapes: barriers ------------------------------------------------------------------------ */

void shape_barrier(Decoder *d) { /* id[, count]; count 0: the whole CTA */
    source(d, TYPE_u32);
    optional_source(d, TYPE_u32, 0);
    end(d);
}

void shape_barred(Decoder *d) { /* d, id[, count], {!}p: pushed as id, count, d, p */
    bool sum = d->form.word[CATEGORY_OPERATION] == WORD_popc;
    Ref result = destination_of(d, take(d), sum ? 32 : 1, false);
    source(d, TYPE_u32);
    if (d->operand && d->operand->next)
        source(d, TYPE_u32);
    else
        push(d, literal(d->module, 0, 32));
    push(d, result);
    predicate(d, 8);
    end(d);
}

/* ---- shapes: matrices ------------------------------------------------------------------------ */

static uint32_t matrix_count(const Decoder *d) {
    Word word = (Word)d->form.word[CATEGORY_COUNT_WORD];
    return word == WORD_x4 ? 4 : word == WORD_x2 ? 2 : 1;
}

void shape_ldmatrix(Decoder *d) {
    vector_of(d, TYPE_b32, matrix_count(d), true);
    address(d);
    end(d);
}

void shape_stmatrix(Decoder *d) {
    address(d);
    vector_of(d, TYPE_b32, matrix_count(d), false);
    end(d);
}

void shape_movmatrix(Decoder *d) {
    destination(d, TYPE_b32);
    source(d, TYPE_b32);
    end(d);
}

/* Bits of the element type in fragments of an m x k (or k x n, m x n) matrix, in registers. */
static uint32_t fragment_registers(uint32_t elements, PtxType type) {
    uint32_t bits = type_bits(type);
    return elements * bits / 32 / (bits == 64 ? 64 : 32);
}

static PtxType fragment_register(PtxType type) {
    switch (type) {
    case TYPE_f32:
    case TYPE_f64:
    case TYPE_s32: return type;
    default: return TYPE_b32;
    }
}

void shape_mma(Decoder *d) {
    const Form *f = &d->form;
    if (f->type_count != 4 || !f->k) {
        decode_error(d, NULL, "`%s` is not a known mma", d->statement->opcode);
        return;
    }
    PtxType td = type_at(d, 0), ta = type_at(d, 1), tb = type_at(d, 2), tc = type_at(d, 3);
    uint32_t m = f->m, n = f->n, k = f->k;
    vector_of(d, fragment_register(td), fragment_registers(m * n, td), true);
    vector_of(d, fragment_register(ta), fragment_registers(m * k, ta), false);
    vector_of(d, fragment_register(tb), fragment_registers(k * n, tb), false);
    vector_of(d, fragment_register(tc), fragment_registers(m * n, tc), false);
    end(d);
}

/* wgmma: accumulators first, then the descriptors or A's registers, then scale-d. imm holds the
 * literal flags: bit 0 negates A, 1 negates B, 2 A transposed, 3 B transposed, 4: A in registers,
 * 5: scale-d given (last ref). */
void shape_wgmma(Decoder *d) {
    const Form *f = &d->form;
    PtxType td = type_at(d, 0), ta = type_at(d, 1);
    if (f->type_count != 3 || f->m != 64 || !f->n || f->n > 256 || f->n % 8) {
        decode_error(d, NULL, "`%s` is not a known wgmma", d->statement->opcode);
        return;
    }
    uint32_t count = 64u * f->n * type_bits(td) / 32 / 128;
    d->inst.flags |= INST_WGMMA;
    vector_of(d, fragment_register(td), count, true);
    if (d->operand && d->operand->kind == OPERAND_VECTOR) {
        d->inst.imm |= 16;
        vector_of(d, TYPE_b32, 4, false);
    } else {
        source(d, TYPE_b64);
    }
    source(d, TYPE_b64);
    if (d->operand) {
        predicate(d, 8);
    } else {
        push(d, literal(d->module, UINT32_MAX, 32));
    }
    bool half = type_bits(ta) == 16;
    for (int i = 0; d->operand && i < 2; i++) {
        uint64_t scale = constant(d);
        if (scale != 1 && scale != UINT64_MAX) decode_error(d, NULL, "imm-scale is 1 or -1");
        if (scale != 1) d->inst.imm |= (uint64_t)1 << i;
    }
    for (int i = d->inst.imm & 16 ? 1 : 0; half && d->operand && i < 2; i++)
        if (constant(d) & 1) d->inst.imm |= (uint64_t)4 << i;
    end(d);
}

/* ---- shapes: async copies -------------------------------------------------------------------- */

void shape_cp_async(Decoder *d) { /* [dst], [src], size[, src-size | ignore][, hint] */
    address(d);
    address(d);
    d->inst.imm = constant(d);
    if (d->operand && (!form_has(&d->form, F(hint)) || d->operand->next))
        source(d, TYPE_u32);
    else
        push(d, literal(d->module, d->inst.imm, 32));
    hint(d);
    end(d);
}

void shape_mbar_value(Decoder *d) {
    address(d);
    source(d, TYPE_u32);
    end(d);
}

void shape_mbar_arrive(Decoder *d) { /* state | _, [a][, count | tx[, count]] */
    const PtxOperand *o = take(d);
    push(d, destination_of(d, o, 64, false));
    address(d);
    bool tx = d->form.op == OP_mbar_arrive_tx || d->form.op == OP_mbar_drop_tx;
    optional_source(d, TYPE_u32, tx ? 0 : 1);
    end(d);
}

void shape_mbar_wait(Decoder *d) { /* p, [a], state | parity[, time hint] */
    destination(d, TYPE_pred);
    address(d);
    source(d, form_has(&d->form, F(parity)) ? TYPE_u32 : TYPE_b64);
    if (d->operand) source(d, TYPE_u32);
    end(d);
}

void shape_pending(Decoder *d) {
    destination(d, TYPE_u32);
    source(d, TYPE_b64);
    end(d);
}

void shape_bulk(Decoder *d) { /* [dst], [src], size[, [mbar]][, mask][, hint] */
    address(d);
    address(d);
    source(d, TYPE_u32);
    if (form_has(&d->form, F(complete_tx))) address_in(d, SPACE_CLUSTER);
    if (form_has(&d->form, F(multicast)))
        source(d, TYPE_b16);
    else
        push(d, literal(d->module, 0, 32));
    hint(d);
    end(d);
}

/* [dst], [map, {coordinates}], [mbar][, mask][, hint] or [map, {coordinates}], [src][, hint].
 * Refs: coordinates, then the multicast mask; addresses: shared, map[, mbar]. */
void shape_tensor(Decoder *d) {
    uint32_t rank = d->form.word[CATEGORY_DIMENSIONS] - WORD_d1 + 1u;
    if (!d->form.word[CATEGORY_DIMENSIONS]) {
        decode_error(d, NULL, "`%s` needs a dimension", d->statement->opcode);
        return;
    }
    bool load = form_space(&d->form, 0) != SPACE_GLOBAL;
    for (int i = 0; i < 2; i++) {
        bool map = (i == 1) == load;
        const PtxOperand *o = d->operand;
        address_in(d, map ? SPACE_GENERIC : load ? SPACE_CLUSTER : SPACE_SHARED);
        if (!map) continue;
        const PtxOperand *c = o && o->items ? o->items->next : NULL;
        uint32_t count = 0;
        for (const PtxOperand *x = c && c->kind == OPERAND_VECTOR ? c->items : c; x;
             x = c->kind == OPERAND_VECTOR ? x->next : NULL, count++)
            push(d, source_of(d, x, TYPE_s32, false));
        if (count != rank) decode_error(d, o, "%u coordinates are needed here", rank);
    }
    if (!load) { /* store: map came first */
        Address map = d->addresses.data[0];
        d->addresses.data[0] = d->addresses.data[1];
        d->addresses.data[1] = map;
    } else {
        address_in(d, SPACE_CLUSTER);
    }
    if (form_has(&d->form, F(multicast)))
        source(d, TYPE_b16);
    else
        push(d, literal(d->module, 0, 32));
    hint(d);
    end(d);
}

void shape_prefetch(Decoder *d) {
    d->operand = NULL;
    end(d);
}

void shape_st_async(Decoder *d) { /* [dst], value(s), [mbar] */
    address(d);
    vector_of(d, type_at(d, 0), form_vector(&d->form), false);
    address_in(d, SPACE_CLUSTER);
    end(d);
}
