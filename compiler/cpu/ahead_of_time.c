/* ahead_of_time.c: what stands beside the code in an object file, so that it can be launched where
 * there is no compiler: the kernel's header, the processor it needs, and for each op that prints or
 * that may end a program, what messages say of it. Code that is run in this process has the same
 * table of such ops.
 */
#include "compiler/cpu/emit.h"

/* ---- ops that messages are about ---------------------------------------------------------- */

void note_site(Emitter *e, const Op *op) {
    for (uint32_t i = 0; i < e->sites.length; i++)
        if (e->sites.data[i] == op) return;
    vec_push(e->arena, &e->sites, op);
}

static CpuOperand operand_of(const Type *type) {
    const Type *element = type_element(type);
    CpuOperand operand = {.dtype = type_is_pointer(element) ? 0 : type_dtype(element),
                          .size = type_element_size(element),
                          .count = 1};
    if (!type_is_block(type)) return operand;
    operand.rank = type->rank;
    operand.count = type->count;
    for (uint32_t d = 0; d < type->rank; d++) operand.shape[d] = type->shape[d];
    return operand;
}

_Static_assert((int)CPU_MOST_RANK == (int)MAX_RANK, "blocks have more dimensions than sites tell");

static CpuSite site_of(Emitter *e, const Op *op) {
    const Sources *sources = e->module->sources;
    const Span at = op->at.span;
    const bool known = at.line && at.source < sources->list.length;
    const Attribute *text = op_attribute(op, ATTR_text);
    CpuOperand *operands = arena_array(e->arena, CpuOperand, op->operand_count + 1);
    for (uint32_t i = 0; i < op->operand_count; i++)
        operands[i] = operand_of(op_operand(op, i)->type);
    return (CpuSite){
        .op = order_of(e, op),
        .line = at.line,
        .column = at.column,
        .hex = op_int(op, ATTR_hex, 0) != 0,
        .operand_count = op->operand_count,
        .file = known ? sources->list.data[at.source].path : "",
        .text = text ? arena_strndup(e->arena, text->string, text->count) : "",
        .operands = operands,
    };
}

const CpuSite *sites_of(Emitter *e) {
    CpuSite *sites = arena_array(e->arena, CpuSite, e->sites.length + 1);
    for (uint32_t i = 0; i < e->sites.length; i++) sites[i] = site_of(e, e->sites.data[i]);
    return sites;
}

/* ---- the same as constants of the object -------------------------------------------------- */

static Reg constant_struct(Emitter *e, Reg *fields, uint32_t count) {
    return LLVMConstStructInContext(e->context, fields, count, 0);
}

/* The address of a constant that only this object sees. */
static Reg private_constant(Emitter *e, Reg value) {
    Reg global = LLVMAddGlobal(e->llvm, LLVMTypeOf(value), "");
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    return global;
}

static Reg constant_text(Emitter *e, const char *text) {
    return private_constant(e,
                            LLVMConstStringInContext(e->context, text, (unsigned)strlen(text), 0));
}

static Reg constant_operand(Emitter *e, const CpuOperand *operand) {
    Reg shape[CPU_MOST_RANK];
    for (uint32_t d = 0; d < CPU_MOST_RANK; d++) shape[d] = const_i32(e, operand->shape[d]);
    Reg fields[] = {const_i32(e, operand->dtype), const_i32(e, operand->size),
                    const_i32(e, operand->rank), const_i32(e, operand->count),
                    LLVMConstArray2(e->i32, shape, CPU_MOST_RANK)};
    return constant_struct(e, fields, ARRAY_LENGTH(fields));
}

static Reg constant_site(Emitter *e, const CpuSite *site) {
    Reg *operands = arena_array(e->arena, Reg, site->operand_count + 1);
    for (uint32_t i = 0; i < site->operand_count; i++)
        operands[i] = constant_operand(e, &site->operands[i]);
    operands[site->operand_count] = constant_operand(e, &(CpuOperand){0}); /* gives the type */
    Reg list = LLVMConstArray2(LLVMTypeOf(operands[site->operand_count]), operands,
                               site->operand_count + 1);
    Reg fields[] = {
        const_i32(e, site->op),       const_i32(e, site->line),          const_i32(e, site->column),
        const_i32(e, site->hex),      const_i32(e, site->operand_count), const_i32(e, 0),
        constant_text(e, site->file), constant_text(e, site->text),      private_constant(e, list)};
    return constant_struct(e, fields, ARRAY_LENGTH(fields));
}

void add_native(Emitter *e, uint64_t features, const char *header) {
    const CpuSite *sites = sites_of(e);
    const uint32_t count = e->sites.length;
    Reg *list = arena_array(e->arena, Reg, count + 1);
    for (uint32_t i = 0; i < count; i++) list[i] = constant_site(e, &sites[i]);
    Reg table = LLVMConstNull(e->pointer);
    if (count) table = private_constant(e, LLVMConstArray2(LLVMTypeOf(list[0]), list, count));
    Reg fields[] = {const_i32(e, CPU_NATIVE_VERSION),
                    const_i32(e, count),
                    const_i64(e, (int64_t)features),
                    constant_text(e, header ? header : ""),
                    e->function,
                    const_i64(e, (int64_t)e->scratch_size),
                    const_i64(e, (int64_t)(e->streams ? e->stored : 0)),
                    table};
    Reg native = constant_struct(e, fields, ARRAY_LENGTH(fields));
    const char *name = arena_printf(e->arena, "tkc_native_%s", e->module->kernel->name);
    Reg global = LLVMAddGlobal(e->llvm, LLVMTypeOf(native), name);
    LLVMSetInitializer(global, native);
    LLVMSetGlobalConstant(global, 1);
}

/* ---- processors --------------------------------------------------------------------------- */

#define LEVEL_2 "+cx16,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3"
#define LEVEL_3 LEVEL_2 ",+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe"
#define LEVEL_4 LEVEL_3 ",+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"

static const struct {
    const char *name, *features;
} processors[] = {
    {"generic", ""},        {"x86-64", ""},         {"x86-64-v2", LEVEL_2},
    {"x86-64-v3", LEVEL_3}, {"x86-64-v4", LEVEL_4},
};

const char *processor_features(const char *name) {
    for (uint32_t i = 0; i < ARRAY_LENGTH(processors); i++)
        if (!strcmp(processors[i].name, name)) return processors[i].features;
    return NULL;
}

static bool is_feature(const char *name, size_t length) {
#define FEATURE(feature)                                                                           \
    if (strlen(#feature) == length && !memcmp(name, #feature, length)) return true;
    CPU_FEATURES(FEATURE)
#undef FEATURE
    return false;
}

bool cpu_target(Arena *arena, const char *target, CpuOptions *options, Text *error) {
    *options = (CpuOptions){0};
    if (strcmp(target, "cpu") == 0) return true;
    Text features = {.arena = arena};
    for (const char *at = target + strlen("cpu:"); *at;) {
        const size_t length = strcspn(at, ",");
        const char *word = arena_strndup(arena, at, length);
        const bool signed_word = *word == '+' || *word == '-';
        at += length + (at[length] == ',');
        if (!signed_word && (processor_features(word) || !strcmp(word, "native"))) {
            options->processor = word;
        } else if (signed_word && is_feature(word + 1, length - 1)) {
            text_printf(&features, "%s%s", features.length ? "," : "", word);
        } else {
            text_printf(error, "`%s` is unknown: a processor is native", word);
            for (uint32_t i = 0; i < ARRAY_LENGTH(processors); i++)
                text_printf(error, ", %s", processors[i].name);
            text_puts(error, "; + or - may stand before");
#define FEATURE(feature) text_puts(error, " " #feature);
            CPU_FEATURES(FEATURE)
#undef FEATURE
            return false;
        }
    }
    options->features = features.data;
    return true;
}
