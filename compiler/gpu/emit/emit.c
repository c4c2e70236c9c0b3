/* emit.c: a kernel as an LLVM function: parameters, regions, control flow, and the dispatch of ops
 * to the other files.
 *
 * The entry block holds nothing but what depends on the thread alone (lane, warp, the places they
 * select); everything may be asked for there at any time, so nothing of it is computed twice or in
 * a loop. Ops that only rename elements (expand_dims, reshape, permute, broadcast, join, split,
 * concat) emit no instruction: they make a new array of the same LLVM values.
 */
#include "compiler/gpu/emit/emit.h"

#include <llvm-c/Target.h>

/* ---- leaves -------------------------------------------------------------------------------------
 */

static Scalar constant_one(Emitter *e, const Type *element, const Attribute *value) {
    ScalarType type = element_type(e, element);
    if (element->kind == TYPE_POINTER) {
        Scalar address = emit_i64(e, value->is_float ? (int64_t)value->f : value->i);
        return LLVMConstIntToPtr(address, type);
    }
    double number = value->is_float ? value->f : (double)value->i;
    int64_t whole = value->is_float ? (int64_t)value->f : value->i;
    if (dtype_is_fp8(element->dtype))
        return emit_cast_one(e, LLVMConstReal(e->f32, number), DT_f32, element->dtype, false);
    if (dtype_is_float(element->dtype)) return LLVMConstReal(type, number);
    return LLVMConstInt(type, (uint64_t)whole, true);
}

static void emit_constant(Emitter *e, const Op *op) {
    const Type *type = op->results[0].type;
    Scalar *to = emit_result(e, op, 0);
    Scalar one = constant_one(e, type_element(type), op_attribute(op, ATTR_value));
    for (uint32_t r = 0; r < register_count(type); r++) to[r] = one;
}

static void emit_arange(Emitter *e, const Op *op) {
    const Type *type = op->results[0].type;
    int64_t start = op_int(op, ATTR_start, 0);
    Scalar *to = emit_result(e, op, 0);
    ScalarType wide = element_type(e, type);
    for (uint32_t r = 0; r < register_count(type); r++) {
        to[r] = emit_element_number(e, type->layout, r);
        if (start) to[r] = LLVMBuildAdd(e->builder, to[r], emit_i32(e, start), "");
        to[r] = LLVMBuildIntCast2(e->builder, to[r], wide, true, "");
    }
}

static void emit_program(Emitter *e, const Op *op) {
    static const char *const names[2][3] = {
        {"llvm.nvvm.read.ptx.sreg.ctaid.x", "llvm.nvvm.read.ptx.sreg.ctaid.y",
         "llvm.nvvm.read.ptx.sreg.ctaid.z"},
        {"llvm.nvvm.read.ptx.sreg.nctaid.x", "llvm.nvvm.read.ptx.sreg.nctaid.y",
         "llvm.nvvm.read.ptx.sreg.nctaid.z"}};
    emit_result(e, op, 0)[0] = emit_intrinsic(
        e, names[op->code == OP_num_programs][op_int(op, ATTR_axis, 0)], NULL, 0, NULL);
}

/* ---- renamings
 * ----------------------------------------------------------------------------------- */

bool emit_is_renaming(const Op *op) {
    return op->code == OP_permute || op->code == OP_reshape || op->code == OP_expand_dims;
}

static void emit_same_registers(Emitter *e, const Op *op) {
    const Type *type = op->results[0].type;
    Scalar *from = emit_operand(e, op, 0), *to = emit_result(e, op, 0);
    bool spread = op->code == OP_splat;
    for (uint32_t r = 0; r < register_count(type); r++) to[r] = from[spread ? 0 : r];
}

static void emit_broadcast(Emitter *e, const Op *op) {
    const Type *from = op_operand(op, 0)->type, *to = op->results[0].type;
    Scalar *old = emit_operand(e, op, 0), *new = emit_result(e, op, 0);
    BitMap map;
    if (!layout_broadcast_map(from->layout, to->layout, to->rank, from->shape, to->shape, &map))
        emit_fail(e, "this broadcast would move data between threads");
    for (uint32_t r = 0; r < register_count(to); r++) new[r] = old[bit_map_apply(&map, r)];
}

static void emit_join_op(Emitter *e, const Op *op) {
    Scalar *to = emit_result(e, op, 0);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t r = 0; r < register_count(op_operand(op, i)->type); r++)
            to[2 * r + i] = emit_operand(e, op, i)[r];
}

static void emit_split(Emitter *e, const Op *op) {
    const Type *type = op_operand(op, 0)->type;
    Scalar *from = emit_operand(e, op, 0);
    Layout half;
    uint32_t bit;
    if (!layout_split(type->layout, &half, &bit)) emit_fail(e, "this split moves data");
    for (uint32_t i = 0; i < 2; i++) {
        Scalar *to = emit_result(e, op, i);
        for (uint32_t r = 0; r < register_count(op->results[i].type); r++) {
            uint32_t low = r & ((1u << bit) - 1);
            to[r] = from[(r ^ low) << 1 | i << bit | low];
        }
    }
}

static void emit_concat(Emitter *e, const Op *op) {
    uint32_t n = register_count(op_operand(op, 0)->type);
    Scalar *to = emit_result(e, op, 0);
    for (uint32_t r = 0; r < 2 * n; r++) to[r] = emit_operand(e, op, r >= n)[r % n];
}

static void emit_map(Emitter *e, const Op *op) {
    Scalar in[64], out[64];
    uint32_t n = register_count(op_operand(op, 0)->type);
    if (op->operand_count > ARRAY_LENGTH(in) || op->result_count > ARRAY_LENGTH(out))
        emit_fail(e, "map of more than %zu blocks", ARRAY_LENGTH(in));
    for (uint32_t i = 0; i < op->result_count; i++) emit_result(e, op, i);
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t i = 0; i < op->operand_count; i++) in[i] = emit_operand(e, op, i)[r];
        emit_inline(e, op->regions[0], in, out);
        for (uint32_t i = 0; i < op->result_count; i++) emit_values(e, &op->results[i])[r] = out[i];
    }
}

/* ---- control flow
 * --------------------------------------------------------------------------------- */

/* One phi for each register of a value. */
static Scalar *phis_for(Emitter *e, const Type *type) {
    uint32_t n = register_count(type);
    Scalar *phis = arena_array(e->arena, Scalar, n);
    for (uint32_t r = 0; r < n; r++) phis[r] = LLVMBuildPhi(e->builder, element_type(e, type), "");
    return phis;
}

static void feed_phis(const Type *type, Scalar *phis, const Scalar *values,
                      LLVMBasicBlockRef from) {
    for (uint32_t r = 0; r < register_count(type); r++)
        LLVMAddIncoming(phis[r], (Scalar *)&values[r], &from, 1);
}

static void set_values(Emitter *e, const Value *value, Scalar *scalars) {
    e->values[value->number] = scalars;
}

/* Does another iteration follow the one with this index? Exact, with no overflow: the distance to
 * the end, as an unsigned number, is compared with the step. */
static Scalar goes_on(Emitter *e, const Op *op, Scalar index, Scalar to, Scalar step,
                      bool is_unsigned) {
    int64_t known;
    Scalar up =
        LLVMBuildICmp(e->builder, LLVMIntUGT, LLVMBuildSub(e->builder, to, index, ""), step, "");
    if (is_unsigned || (value_constant_int(op_operand(op, 2), &known) && known > 0)) return up;
    Scalar down = LLVMBuildICmp(e->builder, LLVMIntUGT, LLVMBuildSub(e->builder, index, to, ""),
                                LLVMBuildNeg(e->builder, step, ""), "");
    Scalar negative =
        LLVMBuildICmp(e->builder, LLVMIntSLT, step, LLVMConstNull(LLVMTypeOf(step)), "");
    return LLVMBuildSelect(e->builder, negative, down, up, "");
}

static Scalar begins(Emitter *e, const Op *op, Scalar from, Scalar to, Scalar step,
                     bool is_unsigned) {
    int64_t known;
    Scalar up = LLVMBuildICmp(e->builder, is_unsigned ? LLVMIntULT : LLVMIntSLT, from, to, "");
    if (is_unsigned || (value_constant_int(op_operand(op, 2), &known) && known > 0)) return up;
    Scalar down = LLVMBuildICmp(e->builder, LLVMIntSGT, from, to, "");
    Scalar negative =
        LLVMBuildICmp(e->builder, LLVMIntSLT, step, LLVMConstNull(LLVMTypeOf(step)), "");
    return LLVMBuildSelect(e->builder, negative, down, up, "");
}

/* if (there is one) do { body } while (there is another) */
static void emit_for(Emitter *e, const Op *op) {
    const Region *body = op->regions[0];
    const uint32_t carried = op->result_count;
    bool is_unsigned = dtype_is_unsigned(type_dtype(op_operand(op, 0)->type));
    Scalar from = emit_scalar(e, op, 0), to = emit_scalar(e, op, 1), step = emit_scalar(e, op, 2);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), loop = emit_block(e, "loop"),
                      after = emit_block(e, "after");
    LLVMBuildCondBr(e->builder, begins(e, op, from, to, step, is_unsigned), loop, after);
    LLVMPositionBuilderAtEnd(e->builder, loop);
    Scalar *index = phis_for(e, body->arguments[0]->type);
    LLVMAddIncoming(index[0], &from, &before, 1);
    set_values(e, body->arguments[0], index);
    for (uint32_t i = 0; i < carried; i++) {
        Scalar *phis = phis_for(e, body->arguments[1 + i]->type);
        feed_phis(body->arguments[1 + i]->type, phis, emit_operand(e, op, 3 + i), before);
        set_values(e, body->arguments[1 + i], phis);
    }
    emit_region(e, body);
    const Op *yield = body->last;
    Scalar more = goes_on(e, op, index[0], to, step, is_unsigned);
    Scalar next = LLVMBuildAdd(e->builder, index[0], step, "");
    LLVMBasicBlockRef end = LLVMGetInsertBlock(e->builder);
    LLVMBuildCondBr(e->builder, more, loop, after);
    LLVMAddIncoming(index[0], &next, &end, 1);
    LLVMPositionBuilderAtEnd(e->builder, after);
    for (uint32_t i = 0; i < carried; i++) {
        const Type *type = op->results[i].type;
        feed_phis(type, emit_values(e, body->arguments[1 + i]), emit_operand(e, yield, i), end);
        Scalar *phis = phis_for(e, type);
        feed_phis(type, phis, emit_operand(e, op, 3 + i), before);
        feed_phis(type, phis, emit_operand(e, yield, i), end);
        set_values(e, &op->results[i], phis);
    }
}

static void emit_while(Emitter *e, const Op *op) {
    const Region *test = op->regions[0], *body = op->regions[1];
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), head = emit_block(e, "while"),
                      loop = emit_block(e, "loop"), after = emit_block(e, "after");
    LLVMBuildBr(e->builder, head);
    LLVMPositionBuilderAtEnd(e->builder, head);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const Type *type = test->arguments[i]->type;
        Scalar *phis = phis_for(e, type);
        feed_phis(type, phis, emit_operand(e, op, i), before);
        set_values(e, test->arguments[i], phis);
    }
    emit_region(e, test);
    const Op *condition = test->last;
    LLVMBuildCondBr(e->builder, emit_scalar(e, condition, 0), loop, after);
    for (uint32_t i = 1; i < condition->operand_count; i++) {
        set_values(e, body->arguments[i - 1], emit_operand(e, condition, i));
        set_values(e, &op->results[i - 1], emit_operand(e, condition, i));
    }
    LLVMPositionBuilderAtEnd(e->builder, loop);
    emit_region(e, body);
    LLVMBasicBlockRef end = LLVMGetInsertBlock(e->builder);
    LLVMBuildBr(e->builder, head);
    for (uint32_t i = 0; i < op->operand_count; i++)
        feed_phis(test->arguments[i]->type, emit_values(e, test->arguments[i]),
                  emit_operand(e, body->last, i), end);
    LLVMPositionBuilderAtEnd(e->builder, after);
}

static void emit_if(Emitter *e, const Op *op) {
    LLVMBasicBlockRef sides[2] = {emit_block(e, "then"), emit_block(e, "else")}, ends[2];
    LLVMBasicBlockRef after = emit_block(e, "after");
    LLVMBuildCondBr(e->builder, emit_scalar(e, op, 0), sides[0], sides[1]);
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(e->builder, sides[i]);
        emit_region(e, op->regions[i]);
        ends[i] = LLVMGetInsertBlock(e->builder);
        LLVMBuildBr(e->builder, after);
    }
    LLVMPositionBuilderAtEnd(e->builder, after);
    for (uint32_t k = 0; k < op->result_count; k++) {
        const Type *type = op->results[k].type;
        Scalar *phis = phis_for(e, type);
        for (int i = 0; i < 2; i++)
            feed_phis(type, phis, emit_operand(e, op->regions[i]->last, k), ends[i]);
        set_values(e, &op->results[k], phis);
    }
}

void emit_inline(Emitter *e, const Region *region, const Scalar *arguments, Scalar *results) {
    for (uint32_t i = 0; i < region->argument_count; i++) {
        Scalar *one = arena_new(e->arena, Scalar);
        *one = arguments[i];
        set_values(e, region->arguments[i], one);
    }
    emit_region(e, region);
    for (uint32_t i = 0; i < region->last->operand_count; i++)
        results[i] = emit_scalar(e, region->last, i);
}

/* ---- dispatch
 * ------------------------------------------------------------------------------------ */

static void emit_assume(Emitter *e, const Op *op) {
    INTRINSIC(e, "llvm.assume", emit_scalar(e, op, 0));
}

static void emit_other_op(Emitter *e, const Op *op) {
    switch (op->code) {
    case OP_constant: emit_constant(e, op); return;
    case OP_arange: emit_arange(e, op); return;
    case OP_program_id:
    case OP_num_programs: emit_program(e, op); return;
    case OP_splat:
    case OP_expand_dims:
    case OP_reshape:
    case OP_permute:
    case OP_extract:
    case OP_hint: emit_same_registers(e, op); return;
    case OP_broadcast: emit_broadcast(e, op); return;
    case OP_join: emit_join_op(e, op); return;
    case OP_split: emit_split(e, op); return;
    case OP_concat: emit_concat(e, op); return;
    case OP_map: emit_map(e, op); return;
    case OP_gather: emit_gather(e, op); return;
    case OP_histogram: emit_histogram(e, op); return;
    case OP_load: emit_load(e, op); return;
    case OP_store: emit_store(e, op); return;
    case OP_atomic_rmw:
    case OP_atomic_cas: emit_atomic(e, op); return;
    case OP_dot: emit_dot(e, op); return;
    case OP_reduce: emit_reduce(e, op); return;
    case OP_scan: emit_scan(e, op); return;
    case OP_for: emit_for(e, op); return;
    case OP_while: emit_while(e, op); return;
    case OP_if: emit_if(e, op); return;
    case OP_yield:
    case OP_condition: return; /* the op around it reads them */
    case OP_return: LLVMBuildRetVoid(e->builder); return;
    case OP_convert: emit_convert(e, op); return;
    case OP_shared_alloc: emit_shared_alloc(e, op); return;
    case OP_shared_store: emit_shared_store(e, op); return;
    case OP_shared_load: emit_shared_load(e, op); return;
    case OP_async_copy: emit_async_copy(e, op); return;
    case OP_async_commit: emit_async_commit(e); return;
    case OP_async_wait: emit_async_wait(e, op); return;
    case OP_print: emit_print(e, op); return;
    case OP_assert: emit_assert(e, op); return;
    case OP_assume: emit_assume(e, op); return;
    case OP_barrier: emit_barrier(e); return;
    case OP_inline_asm: emit_inline_asm(e, op); return;
    default: emit_fail(e, "`%s` cannot be emitted for a GPU", op_info(op)->name);
    }
}

/* ---- debug lines
 * ----------------------------------------------------------------------------------- */

static LLVMMetadataRef file_of(Emitter *e, uint32_t source) {
    if (e->files[source]) return e->files[source];
    const char *path = e->module->sources->list.data[source].path;
    if (!path) path = "kernel";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t folder = slash ? (size_t)(slash - path) : 0;
    e->files[source] = LLVMDIBuilderCreateFile(e->debug, name, strlen(name), path, folder);
    return e->files[source];
}

static LLVMMetadataRef subprogram(Emitter *e, const char *name, Span span) {
    uint32_t source = span.line ? span.source : 0;
    LLVMMetadataRef file = file_of(e, source);
    return LLVMDIBuilderCreateFunction(e->debug, file, name, strlen(name), name, strlen(name), file,
                                       span.line, e->subroutine, true, true, span.line,
                                       LLVMDIFlagZero, true);
}

/* The scope of a function inlined at `site`, and the place of the call in its caller. */
static const InlinedScope *inlined_scope(Emitter *e, const CallSite *site) {
    for (uint32_t i = 0; i < e->scopes.length; i++)
        if (e->scopes.data[i].site == site) return &e->scopes.data[i];
    LLVMMetadataRef scope = e->subprogram, call = NULL;
    if (site->up) {
        const InlinedScope *up = inlined_scope(e, site->up);
        scope = up->scope, call = up->call;
    }
    InlinedScope new = {.site = site};
    new.call = LLVMDIBuilderCreateDebugLocation(e->context, site->span.line, site->span.column,
                                                scope, call);
    new.scope = subprogram(e, site->function ? site->function : "function", site->span);
    vec_push(e->arena, &e->scopes, new);
    return &e->scopes.data[e->scopes.length - 1];
}

static void set_line(Emitter *e, const Op *op) {
    if (!e->debug || !op->at.span.line) return;
    LLVMMetadataRef scope = e->subprogram, call = NULL;
    if (op->at.inlined_at) {
        const InlinedScope *inlined = inlined_scope(e, op->at.inlined_at);
        scope = inlined->scope, call = inlined->call;
    }
    LLVMSetCurrentDebugLocation2(e->builder,
                                 LLVMDIBuilderCreateDebugLocation(e->context, op->at.span.line,
                                                                  op->at.span.column, scope, call));
}

void emit_region(Emitter *e, const Region *region) {
    for (const Op *op = region->first; op; op = op->next) {
        e->op = op;
        set_line(e, op);
        if (op_is(op, OPF_ELEMENT))
            emit_element_op(e, op);
        else
            emit_other_op(e, op);
    }
}

/* ---- the function
 * ---------------------------------------------------------------------------------- */

static void start_types(Emitter *e) {
    LLVMContextRef c = e->context;
    e->nothing = LLVMVoidTypeInContext(c);
    e->i1 = LLVMInt1TypeInContext(c);
    e->i8 = LLVMInt8TypeInContext(c);
    e->i16 = LLVMInt16TypeInContext(c);
    e->i32 = LLVMInt32TypeInContext(c);
    e->i64 = LLVMInt64TypeInContext(c);
    e->f16 = LLVMHalfTypeInContext(c);
    e->bf16 = LLVMBFloatTypeInContext(c);
    e->f32 = LLVMFloatTypeInContext(c);
    e->f64 = LLVMDoubleTypeInContext(c);
    e->generic = LLVMPointerTypeInContext(c, 0);
    e->global = LLVMPointerTypeInContext(c, 1);
    e->shared = LLVMPointerTypeInContext(c, 3);
}

/* Only lines, no types and no debug sections: anything more and ptxas stops optimising. */
static void start_debug(Emitter *e) {
    enum { DIRECTIVES_ONLY = 3 };
    const Kernel *kernel = e->module->kernel;
    uint32_t count = e->module->sources->list.length;
    if (!count || !kernel->at.span.line) return;
    e->files = arena_array(e->arena, LLVMMetadataRef, count);
    e->debug = LLVMCreateDIBuilder(e->code);
    LLVMMetadataRef file = file_of(e, kernel->at.span.source);
    LLVMDIBuilderCreateCompileUnit(e->debug, LLVMDWARFSourceLanguageC, file, "tkc", 3, true, "", 0,
                                   0, "", 0, (LLVMDWARFEmissionKind)DIRECTIVES_ONLY, 0, false,
                                   false, "", 0, "", 0);
    e->subroutine = LLVMDIBuilderCreateSubroutineType(e->debug, file, NULL, 0, LLVMDIFlagZero);
    e->subprogram = subprogram(e, kernel->name, kernel->at.span);
    LLVMSetSubprogram(e->function, e->subprogram);
    static const char flag[] = "Debug Info Version";
    LLVMAddModuleFlag(e->code, LLVMModuleFlagBehaviorWarning, flag, sizeof flag - 1,
                      LLVMValueAsMetadata(emit_i32(e, LLVMDebugMetadataVersion())));
}

static void add_attribute(Emitter *e, const char *name, const char *value) {
    LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(e->context, name, (unsigned)strlen(name),
                                                      value, (unsigned)strlen(value)));
}

/* Can an SM hold two blocks of the kernel, by their shared memory? (A block may ask for all but the
 * 1 KB that the system takes of it, and takes for each.) */
static bool two_fit(const Emitter *e) {
    enum { SYSTEM = 1024 };
    return 2 * (e->module->kernel->shared_bytes + SYSTEM) <= e->target->shared_bytes + SYSTEM;
}

static void start_function(Emitter *e) {
    const Kernel *kernel = e->module->kernel;
    uint32_t n = kernel->parameter_count;
    ScalarType *types = arena_array(e->arena, ScalarType, n + 1);
    for (uint32_t i = 0; i < n; i++) types[i] = memory_type(e, kernel->parameters[i].type);
    e->function =
        LLVMAddFunction(e->code, kernel->name, LLVMFunctionType(e->nothing, types, n, false));
    LLVMSetFunctionCallConv(e->function, LLVMPTXKernelCallConv);
    add_attribute(e, "nvvm.reqntid", arena_printf(e->arena, "%u", kernel->num_warps * 32));
    /* ptxas spills a few registers so that two blocks fit, unless it is told that one is enough */
    if (!two_fit(e)) add_attribute(e, "nvvm.minctasm", "1");
    unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, kind, 0));
    LLVMBasicBlockRef entry = emit_block(e, "entry"), body = emit_block(e, "body");
    LLVMPositionBuilderAtEnd(e->builder, entry);
    e->entry_end = LLVMBuildBr(e->builder, body);
    start_debug(e);
    if (e->debug)
        LLVMSetCurrentDebugLocation2(
            e->builder, LLVMDIBuilderCreateDebugLocation(e->context, kernel->at.span.line, 1,
                                                         e->subprogram, NULL));
    LLVMPositionBuilderBefore(e->builder, e->entry_end);
    Scalar thread = emit_intrinsic(e, "llvm.nvvm.read.ptx.sreg.tid.x", NULL, 0, NULL);
    e->lane = LLVMBuildAnd(e->builder, thread, emit_i32(e, 31), "lane");
    e->warp = LLVMBuildLShr(e->builder, thread, emit_i32(e, 5), "warp");
    for (uint32_t i = 0; i < n; i++) {
        Scalar *value = arena_new(e->arena, Scalar);
        value[0] = LLVMGetParam(e->function, i);
        LLVMSetValueName2(value[0], kernel->parameters[i].name, strlen(kernel->parameters[i].name));
        if (type_dtype(kernel->parameters[i].type) == DT_i1)
            value[0] = LLVMBuildICmp(e->builder, LLVMIntNE, value[0], LLVMConstNull(e->i8), "");
        set_values(e, kernel->body->arguments[i], value);
    }
    LLVMPositionBuilderAtEnd(e->builder, body);
}

static bool emit_module(Emitter *e, GpuCode *code) {
    const char *message = NULL;
    LLVMSetTarget(e->code, "nvptx64-nvidia-cuda");
    LLVMTargetDataRef data = LLVMCreateTargetDataLayout(e->machine);
    LLVMSetModuleDataLayout(e->code, data);
    LLVMDisposeTargetData(data);
    start_types(e);
    start_function(e);
    emit_region(e, e->module->kernel->body);
    if (e->debug) LLVMDIBuilderFinalize(e->debug);
    if (code->llvm) {
        char *text = LLVMPrintModuleToString(e->code);
        text_puts(code->llvm, text);
        LLVMDisposeMessage(text);
    }
    if (!code->ptx || llvm_write(e, code->ptx, &message)) return true;
    diag_error(e->module->diagnostics, e->module->kernel->at,
               "LLVM refuses the code made for this kernel: %s", message);
    return false;
}

static void finish(Emitter *e) {
    if (e->debug) LLVMDisposeDIBuilder(e->debug);
    LLVMDisposeBuilder(e->builder);
    LLVMDisposeTargetMachine(e->machine);
    LLVMDisposeModule(e->code);
    LLVMContextDispose(e->context);
}

/* A program is one block of threads, whatever num_ctas says: that asks for its work to be shared
 * out among several, with the same result. */
static bool fit_block(Module *module) {
    enum { MOST_WARPS = 32 };
    Kernel *kernel = module->kernel;
    kernel->num_ctas = 1;
    if (kernel->num_warps <= MOST_WARPS) return true;
    diag_error(module->diagnostics, kernel->at, "a GPU runs at most %u warps a program, not %u",
               MOST_WARPS, kernel->num_warps);
    return false;
}

bool gpu_emit(Module *module, const GpuTarget *target, GpuCode *code) {
    jmp_buf failed, fatal, exhausted, *outer = module->arena->on_exhausted;
    if (!llvm_start()) {
        diag_error(module->diagnostics, module->kernel->at, "this LLVM cannot write PTX");
        return false;
    }
    if (!fit_block(module)) return false;
    Emitter *e = arena_new(module->arena, Emitter);
    *e = (Emitter){.module = module, .target = target, .arena = module->arena, .failed = &failed};
    const uint32_t numbers = ir_number(module) + 1;
    e->values = arena_array(e->arena, Scalar *, numbers);
    e->waiting = arena_array(e->arena, SharedBlock *, numbers);
    e->axis = axis_analyse(module);
    if (setjmp(fatal)) { /* the context is in an unknown state: leave it */
        module->arena->on_exhausted = outer;
        llvm_guard(NULL);
        diag_error(module->diagnostics, module->kernel->at,
                   "LLVM failed on the code made for this kernel: %s", llvm_fatal_message());
        return false;
    }
    llvm_guard(&fatal);
    e->context = LLVMContextCreate();
    e->code = LLVMModuleCreateWithNameInContext(module->kernel->name, e->context);
    e->builder = LLVMCreateBuilderInContext(e->context);
    e->machine = llvm_machine(target);
    volatile bool good = false, out_of_memory = false;
    if (setjmp(exhausted)) {
        out_of_memory = true;
    } else if (!setjmp(failed)) {
        module->arena->on_exhausted = &exhausted;
        good = emit_module(e, code);
    }
    module->arena->on_exhausted = outer;
    llvm_guard(NULL);
    finish(e);
    if (out_of_memory && outer) longjmp(*outer, 1);
    return good && !out_of_memory;
}
