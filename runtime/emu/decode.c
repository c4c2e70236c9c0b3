/* decode.c: from a parsed module to code that runs: lays out variables, decodes every
 * statement once, resolves labels, and describes the entries. */
#include "runtime/emu/isa.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Row {
    Shape *shape;
    Run (*select)(const Form *form);
    EmuClass class;
} Row;

static const Row rows[OPCODE_COUNT] = {
#define INSTRUCTION(id, text, shape, family, words, flags, class)                                  \
    {shape_##shape, select_##family, EMU_CLASS_##class},
#include "runtime/emu/isa.def"
};

void decode_error(Decoder *d, const PtxOperand *at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char message[400];
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    bool here = at && at->line;
    ptx_error(d->module->ptx,
              here           ? at->line
              : d->statement ? d->statement->line
                             : 0,
              here           ? at->column
              : d->statement ? d->statement->column
                             : 0,
              "%s", message);
    d->failed = true;
}

/* ---- instructions ---------------------------------------------------------------------------- */

typedef struct FormMemo { /* opcodes repeat: each is understood once */
    const char **opcode;
    Form **form;
    uint32_t count, capacity;
} FormMemo;

static Form *form_of(Decoder *d, FormMemo *memo, const char *opcode) {
    Arena *arena = d->module->arena;
    if (memo->count * 2 >= memo->capacity) {
        FormMemo old = *memo;
        memo->capacity = old.capacity ? old.capacity * 2 : 256;
        memo->opcode = arena_array(arena, const char *, memo->capacity);
        memo->form = arena_array(arena, Form *, memo->capacity);
        for (uint32_t i = 0; i < old.capacity; i++) {
            if (!old.opcode[i]) continue;
            uint32_t at = (uint32_t)((uintptr_t)old.opcode[i] >> 4) & (memo->capacity - 1);
            while (memo->opcode[at]) at = (at + 1) & (memo->capacity - 1);
            memo->opcode[at] = old.opcode[i], memo->form[at] = old.form[i];
        }
    }
    uint32_t at = (uint32_t)((uintptr_t)opcode >> 4) & (memo->capacity - 1);
    for (; memo->opcode[at]; at = (at + 1) & (memo->capacity - 1))
        if (memo->opcode[at] == opcode) return memo->form[at];
    Form *form = arena_new(arena, Form);
    const char *why;
    if (!form_read(arena, opcode, form, &why)) {
        decode_error(d, NULL, "%s", why);
        return NULL;
    }
    memo->opcode[at] = opcode, memo->form[at] = form;
    memo->count++;
    return form;
}

static uint8_t class_of(const Form *form, EmuClass class, const Address *addresses) {
    PtxType type = (PtxType)form->type[0];
    if (class == EMU_CLASS_integer && ptx_types[type].kind == TYPE_FLOAT) class = EMU_CLASS_f32;
    if (class == EMU_CLASS_f32 || class == EMU_CLASS_special) {
        if (type == TYPE_f64) return EMU_CLASS_f64;
        if (class == EMU_CLASS_f32 && type != TYPE_f32 && type != TYPE_f32x2) return EMU_CLASS_f16;
    }
    if (class == EMU_CLASS_global && addresses) {
        switch (addresses->space) {
        case SPACE_SHARED:
        case SPACE_CLUSTER: return EMU_CLASS_shared;
        case SPACE_LOCAL: return EMU_CLASS_local;
        case SPACE_PARAM:
        case SPACE_CONST: return EMU_CLASS_parameter;
        default: break;
        }
    }
    return (uint8_t) class;
}

static void *keep(Arena *arena, const void *data, size_t size) {
    return memcpy(arena_alloc(arena, size ? size : 1), data ? data : "", size);
}

/* Loads, stores and conversions may name a 64-bit register for a narrower value: a conversion
 * goes before or behind them. */
static void change_width(Decoder *d, Widen w, bool widen) {
    Arena *arena = d->module->arena;
    bool sign = ptx_types[d->form.type[0]].kind == TYPE_SIGNED;
    const Inst *main = &d->inst;
    Form *form = arena_new(arena, Form);
    *form = (Form){.op = OP_cvt, .type_count = 2};
    form->type[0] = widen ? sign ? TYPE_s64 : TYPE_u64 : TYPE_u32;
    form->type[1] = widen ? sign ? TYPE_s32 : TYPE_u32 : TYPE_u64;
    uint32_t to = widen ? w.wide : w.narrow, from = widen ? w.narrow : w.wide;
    bool guarded = main->guard != REF_NONE;
    uint32_t numbers[] = {from, guarded ? main->uses[main->use_count - 1] : to, to};
    Ref refs[] = {d->code->register_refs[to], d->code->register_refs[from]};
    Inst inst = {.run = select_cvt(form),
                 .r = {refs[0], refs[1]},
                 .guard = main->guard,
                 .guard_negated = main->guard_negated,
                 .class = EMU_CLASS_convert,
                 .flags = INST_COPIES,
                 .form = form,
                 .join = UINT32_MAX,
                 .ref_count = 2,
                 .refs = keep(arena, refs, sizeof refs),
                 .use_count = guarded ? 2 : 1,
                 .define_count = 1,
                 .uses = keep(arena, numbers, sizeof numbers),
                 .line = main->line,
                 .loc = main->loc};
    vec_push(arena, &d->module->insts, inst);
}

static void decode_statement(Decoder *d, FormMemo *memo, const PtxStatement *s) {
    Arena *arena = d->module->arena;
    d->statement = s;
    d->operand = s->operands;
    d->refs.length = d->uses.length = d->defines.length = d->addresses.length = 0;
    d->widen[0].length = d->widen[1].length = 0;
    d->run = NULL;
    d->failed = false;
    d->inst = (Inst){.guard = REF_NONE, .line = s->line, .loc = s->loc, .join = UINT32_MAX};
    const Form *form = form_of(d, memo, s->opcode);
    if (!form) return;
    d->form = *form;
    const Row *row = &rows[form->op];
    Inst *inst = &d->inst;
    row->shape(d);
    if (d->failed) return;
    inst->run = d->run ? d->run : row->select(form);
    if (!inst->run) {
        decode_error(d, NULL, "`%s` does not exist, or the emulator cannot run it", s->opcode);
        return;
    }
    if (s->guarded) {
        PtxOperand guard = {.kind = OPERAND_NAME,
                            .name = s->guard,
                            .negated = s->guard_negated,
                            .line = s->line,
                            .column = s->column};
        inst->guard = decode_guard(d, &guard);
        inst->guard_negated = s->guard_negated;
    }
    inst->form = form;
    if (form->op == OP_ret || form->op == OP_exit || form->op == OP_trap)
        inst->flags |= INST_LEAVES;
    inst->class = class_of(form, row->class, d->addresses.data);
    inst->ref_count = (uint16_t)d->refs.length;
    inst->refs = keep(arena, d->refs.data, d->refs.length * sizeof(Ref));
    for (uint32_t i = 0; i < 4; i++)
        inst->r[i] = i < d->refs.length ? d->refs.data[i] : REF(SECTION_SINK, 0);
    inst->addresses = keep(arena, d->addresses.data, d->addresses.length * sizeof(Address));
    inst->use_count = (uint16_t)d->uses.length;
    inst->define_count = (uint16_t)d->defines.length;
    for (uint32_t i = 0; i < d->defines.length; i++) vec_push(arena, &d->uses, d->defines.data[i]);
    inst->uses = keep(arena, d->uses.data, d->uses.length * sizeof(uint32_t));
    for (uint32_t i = 0; i < d->widen[0].length; i++) change_width(d, d->widen[0].data[i], false);
    vec_push(arena, &d->module->insts, *inst);
    for (uint32_t i = 0; i < d->widen[1].length; i++) change_width(d, d->widen[1].data[i], true);
}

static void decode_function(EmuModule *module, PtxFunction *function, FormMemo *memo) {
    Arena *arena = module->arena;
    Code *code = function->code;
    Decoder d = {.module = module, .function = function, .code = code};
    uint32_t errors = module->ptx->diagnostics->errors;
    uint32_t *pc_of = arena_array(arena, uint32_t, function->statements.length + 1);
    code->begin = module->insts.length;
    for (uint32_t i = 0; i < function->statements.length; i++) {
        pc_of[i] = module->insts.length;
        const PtxStatement *s = &function->statements.data[i];
        if (s->kind == STATEMENT_INSTRUCTION) decode_statement(&d, memo, s);
    }
    /* Falling off the end returns. */
    PtxStatement last = {.opcode = intern_string(&module->ptx->names, "ret"),
                         .scope = function->scope,
                         .line = function->line};
    if (function->statements.length)
        last.line = function->statements.data[function->statements.length - 1].line;
    pc_of[function->statements.length] = module->insts.length;
    decode_statement(&d, memo, &last);
    code->end = module->insts.length;
    if (module->ptx->diagnostics->errors != errors) return;
    for (uint32_t pc = code->begin; pc < code->end; pc++) {
        Inst *inst = &module->insts.data[pc];
        if (inst->flags & INST_BRANCH) inst->target = pc_of[inst->target];
        if (!(inst->flags & INST_TABLE)) continue;
        const Targets *targets = inst->extra;
        for (uint32_t i = 0; i < targets->count; i++) targets->pc[i] = pc_of[targets->pc[i]];
    }
    for (uint32_t pc = code->begin; pc < code->end; pc++) {
        const Inst *inst = &module->insts.data[pc];
        if (inst->form->op != OP_call) continue;
        CallEdge *edge = arena_new(arena, CallEdge);
        *edge = (CallEdge){.callee = ((const Call *)inst->extra)->callee, .next = code->calls};
        if (edge->callee) code->calls = edge;
    }
    flow_analyse(module, code);
}

/* ---- layout ---------------------------------------------------------------------------------- */

static uint64_t place(PtxVariable *v, uint64_t at, uint32_t least_align) {
    uint64_t align = v->align > least_align ? v->align : least_align;
    v->address = (at + align - 1) & ~(align - 1);
    return v->address + v->size;
}

static void layout_frames(EmuModule *module) {
    PtxModule *ptx = module->ptx;
    for (uint32_t i = 0; i < ptx->functions.length; i++) {
        PtxFunction *f = ptx->functions.data[i];
        Code *code = arena_new(module->arena, Code);
        code->function = f;
        f->code = code;
        vec_push(module->arena, &module->codes, code);
        uint64_t frame = 0, parameters = 0;
        for (uint32_t v = 0; v < f->parameters.length; v++)
            if (f->entry)
                parameters = place(f->parameters.data[v], parameters, 1);
            else
                frame = place(f->parameters.data[v], frame, 8);
        for (uint32_t v = 0; v < f->returns.length; v++)
            frame = place(f->returns.data[v], frame, 8);
        for (uint32_t v = 0; v < f->variables.length; v++) {
            PtxVariable *variable = f->variables.data[v];
            if (variable->space == SPACE_LOCAL || variable->space == SPACE_PARAM)
                frame = place(variable, frame, 8);
        }
        if (frame > LOCAL_LIMIT || parameters > PARAM_LIMIT) {
            ptx_error(ptx, f->line, 1, "`%s` needs too much local or parameter memory", f->name);
            frame = parameters = 0;
        }
        code->local_bytes = (uint32_t)((frame + 15) & ~(uint64_t)15);
        code->parameter_bytes = (uint32_t)parameters;
    }
}

/* One place for each shared variable, the same in every kernel; dynamic memory follows. */
static uint32_t layout_shared(EmuModule *module, bool *dynamic_used) {
    PtxModule *ptx = module->ptx;
    uint64_t end = SHARED_BASE, largest = SHARED_BASE;
    for (uint32_t v = 0; v < ptx->variables.length; v++)
        if (ptx->variables.data[v]->space == SPACE_SHARED && !ptx->variables.data[v]->is_extern)
            end = place(ptx->variables.data[v], end, 4);
    largest = end;
    for (uint32_t i = 0; i < ptx->functions.length; i++) {
        PtxFunction *f = ptx->functions.data[i];
        uint64_t own = end;
        for (uint32_t v = 0; v < f->variables.length; v++)
            if (f->variables.data[v]->space == SPACE_SHARED && !f->variables.data[v]->is_extern)
                own = place(f->variables.data[v], own, 4);
        f->code->shared_bytes = (uint32_t)(own - SHARED_BASE);
        if (own > largest) largest = own;
    }
    uint64_t dynamic = largest;
    for (uint32_t v = 0; v < ptx->variables.length; v++)
        if (ptx->variables.data[v]->space == SPACE_SHARED && ptx->variables.data[v]->is_extern)
            place(ptx->variables.data[v], largest, 16), *dynamic_used = true;
    for (uint32_t v = 0; v < ptx->variables.length; v++)
        if (ptx->variables.data[v]->space == SPACE_SHARED && ptx->variables.data[v]->is_extern &&
            ptx->variables.data[v]->address > dynamic)
            dynamic = ptx->variables.data[v]->address;
    if (dynamic > SHARED_BASE + (1u << 20)) {
        ptx_error(ptx, 0, 0, "the module's shared variables take %llu bytes",
                  (unsigned long long)dynamic);
        return 0;
    }
    return (uint32_t)(dynamic - SHARED_BASE);
}

static void store_initial(EmuModule *module, PtxVariable *v) {
    uint32_t size = (ptx_types[v->type].bits + 7u) / 8u;
    for (uint32_t i = 0; i < v->initial_count && (uint64_t)(i + 1) * size <= v->size; i++) {
        const PtxInitial *initial = &v->initial[i];
        uint64_t bits = initial->bits;
        if (initial->symbol) {
            PtxSymbol *symbol = ptx_lookup(module->ptx, 0, initial->symbol);
            if (symbol && symbol->kind == SYMBOL_VARIABLE)
                bits += symbol->variable->address +
                        (symbol->variable->space == SPACE_SHARED && initial->generic ? SHARED_WINDOW
                                                                                     : 0);
            else if (symbol && symbol->kind == SYMBOL_FUNCTION && symbol->function)
                bits += FUNCTION_WINDOW + symbol->function->index;
            else
                ptx_error(module->ptx, v->line, 1, "`%s` is not known here", initial->symbol);
        }
        if (initial->is_float && initial->width == 64 && v->type == TYPE_f32) {
            double wide;
            memcpy(&wide, &bits, 8);
            float narrow = (float)wide;
            bits = 0;
            memcpy(&bits, &narrow, 4);
        }
        memcpy(module->global_image + (v->address - MODULE_WINDOW) + (size_t)i * size, &bits, size);
    }
}

static void layout_globals(EmuModule *module) {
    PtxModule *ptx = module->ptx;
    uint64_t end = MODULE_WINDOW;
    for (int constant = 0; constant < 2; constant++) {
        if (constant) module->const_base = end;
        for (uint32_t v = 0; v < ptx->variables.length; v++)
            if (ptx->variables.data[v]->space == (constant ? SPACE_CONST : SPACE_GLOBAL))
                end = place(ptx->variables.data[v], end, 16);
    }
    module->global_size = end - MODULE_WINDOW;
    if (module->global_size > (uint64_t)1 << 31) {
        ptx_error(ptx, 0, 0, "the module's variables are too large");
        module->global_size = 0;
        return;
    }
    module->global_image = arena_alloc(module->arena, module->global_size + 1);
    for (uint32_t v = 0; v < ptx->variables.length; v++)
        if (ptx->variables.data[v]->space == SPACE_GLOBAL ||
            ptx->variables.data[v]->space == SPACE_CONST)
            store_initial(module, ptx->variables.data[v]);
}

/* ---- entries --------------------------------------------------------------------------------- */

/* Local memory that a function and all it calls may need. Recursion: as much as there is. */
static uint32_t local_need(EmuModule *module, Code *root) {
    uint32_t count = module->codes.length, index = root->function->index, before = 0;
    uint32_t *need = arena_array(module->arena, uint32_t, count + 1);
    for (uint32_t round = 0; round <= CALL_DEPTH_LIMIT; round++) {
        bool changed = false;
        before = need[index];
        for (uint32_t i = 0; i < count; i++) {
            uint32_t total = module->codes.data[i]->local_bytes;
            for (const CallEdge *edge = module->codes.data[i]->calls; edge; edge = edge->next) {
                uint32_t sum =
                    module->codes.data[i]->local_bytes + need[edge->callee->function->index];
                if (sum > total) total = sum;
            }
            if (total > RECURSIVE_LOCAL) total = RECURSIVE_LOCAL;
            changed |= total != need[i];
            need[i] = total;
        }
        if (!changed) break;
    }
    uint32_t most = root->local_bytes > RECURSIVE_LOCAL ? root->local_bytes : need[index];
    return before == need[index] || most > RECURSIVE_LOCAL ? most : RECURSIVE_LOCAL;
}

static void describe_entry(EmuModule *module, Code *code, uint32_t shared) {
    Arena *arena = module->arena;
    const PtxFunction *f = code->function;
    EmuEntry *entry = arena_new(arena, EmuEntry);
    EmuParameter *parameters = arena_array(arena, EmuParameter, f->parameters.length + 1);
    for (uint32_t i = 0; i < f->parameters.length; i++) {
        const PtxVariable *v = f->parameters.data[i];
        parameters[i] = (EmuParameter){.name = v->name,
                                       .offset = (uint32_t)v->address,
                                       .size = (uint32_t)v->size,
                                       .align = v->align,
                                       .pointer = v->is_pointer};
    }
    *entry = (EmuEntry){.module = module,
                        .name = f->name,
                        .parameters = parameters,
                        .parameter_count = f->parameters.length,
                        .parameter_size = code->parameter_bytes,
                        .shared_size = shared,
                        .local_size = local_need(module, code),
                        .max_registers = f->max_registers,
                        .instruction_count = code->end - code->begin};
    memcpy(entry->required_block, f->required_block, sizeof f->required_block);
    memcpy(entry->max_block, f->max_block, sizeof f->max_block);
    memcpy(entry->cluster, f->cluster, sizeof f->cluster);
    vec_push(arena, &module->entries, entry);
}

EmuModule *emu_load(Arena *arena, Diagnostics *diagnostics, uint32_t source) {
    uint32_t errors = diagnostics->errors;
    PtxModule *ptx = ptx_parse(arena, diagnostics, source);
    if (diagnostics->errors != errors) return NULL;
    EmuModule *module = arena_new(arena, EmuModule);
    module->arena = arena;
    module->ptx = ptx;
    for (int i = 0; i < 512; i++) vec_push(arena, &module->literals, (uint8_t)0);
    layout_frames(module);
    bool dynamic = false;
    uint32_t shared = layout_shared(module, &dynamic);
    layout_globals(module);
    FormMemo memo = {0};
    for (uint32_t i = 0; i < ptx->functions.length; i++)
        if (ptx->functions.data[i]->defined) decode_function(module, ptx->functions.data[i], &memo);
    if (diagnostics->errors != errors) return NULL;
    for (uint32_t i = 0; i < module->codes.length; i++)
        if (module->codes.data[i]->function->entry && module->codes.data[i]->function->defined)
            describe_entry(module, module->codes.data[i],
                           dynamic || module->codes.data[i]->calls
                               ? shared
                               : module->codes.data[i]->shared_bytes);
    if (ptx->target == 0) ptx_error(ptx, 1, 1, "no .target: is this PTX?");
    return diagnostics->errors == errors ? module : NULL;
}

uint32_t emu_entry_count(const EmuModule *module) {
    return module->entries.length;
}

const EmuEntry *emu_entry(const EmuModule *module, uint32_t index) {
    return index < module->entries.length ? module->entries.data[index] : NULL;
}

const EmuEntry *emu_find_entry(const EmuModule *module, const char *name) {
    for (uint32_t i = 0; i < module->entries.length; i++)
        if (!strcmp(module->entries.data[i]->name, name)) return module->entries.data[i];
    return NULL;
}

