/* verify.c: does a module keep every rule of the IR?
 *
 * Three walks. The first looks at the links alone (lists, parents, use lists); when one is broken
 * nothing else can be trusted, and the check stops there. The second numbers the values, so that
 * the third can keep one bit a value, "visible here", while it checks each op: its types by
 * rules.c, that its operands are visible, and that regions end as they must.
 */
#include "compiler/gpu/gpu.h"
#include "compiler/ir.h"
#include "compiler/layout/layout.h"
#include "compiler/rules.h"

#include <ctype.h>

typedef struct Verifier {
    Module *module;
    Level level;
    uint32_t count;       /* values */
    const Value **values; /* by number */
    bool *visible;        /* by number */
    uint64_t operands;    /* in all ops */
    uint64_t uses;        /* in all use lists */
    uint32_t errors;
} Verifier;

static void report(Verifier *v, const Op *op, const char *format, ...) PRINTF_LIKE(3, 4);

static void report(Verifier *v, const Op *op, const char *format, ...) {
    Text text = {.arena = v->module->arena};
    va_list args;
    va_start(args, format);
    text_vprintf(&text, format, args);
    va_end(args);
    v->errors++;
    if (!op) {
        diag_error(v->module->diagnostics, (Location){0}, "IR: %s", text.data);
        return;
    }
    Text line = {.arena = v->module->arena};
    op_print(v->module, op, &line);
    diag_error(v->module->diagnostics, op->at, "IR: `%s`: %s", line.data, text.data);
}

/* ---- links ------------------------------------------------------------------------------ */

/* Links may be broken here, so messages name the op only by its code. */
static bool broken(Verifier *v, const Op *op, const char *what) {
    v->errors++;
    diag_error(v->module->diagnostics, op ? op->at : (Location){0}, "IR: `%s`: %s",
               op && op->code < OP_COUNT ? op_infos[op->code].name : "kernel", what);
    return false;
}

static bool count_uses(Verifier *v, const Value *value, const Op *op) {
    Use *const *link = &value->uses;
    for (const Use *use = value->uses; use; link = &use->next, use = use->next) {
        v->uses++;
        if (use->value != value) return broken(v, op, "a use list holds a use of another value");
        if (use->link != link) return broken(v, op, "a use does not point back at its list");
        if (!use->user || use->user->operands > use || use_index(use) >= use->user->operand_count)
            return broken(v, op, "a use is no operand of its user");
        if (!use->user->parent) return broken(v, op, "a value is used by a removed op");
        if (use->next == value->uses) return broken(v, op, "a use list is a ring");
    }
    return true;
}

static bool check_region_links(Verifier *v, const Region *region, const Op *parent);

static bool check_op_links(Verifier *v, const Op *op) {
    if ((unsigned)op->code >= OP_COUNT) return broken(v, NULL, "there is no such op");
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!op->operands[i].value) return broken(v, op, "an operand is missing");
        if (op->operands[i].user != op) return broken(v, op, "an operand names another user");
        if (!op->operands[i].link) return broken(v, op, "an operand is in no use list");
    }
    v->operands += op->operand_count;
    for (uint32_t i = 0; i < op->result_count; i++) {
        const Value *result = &op->results[i];
        if (!result->type) return broken(v, op, "a result has no type");
        if (result->op != op || result->region || result->index != i)
            return broken(v, op, "a result does not name its op");
        if (!count_uses(v, result, op)) return false;
    }
    for (uint32_t i = 0; i < op->region_count; i++) {
        if (!op->regions[i]) return broken(v, op, "a region is missing");
        if (!check_region_links(v, op->regions[i], op)) return false;
    }
    return true;
}

static bool check_region_links(Verifier *v, const Region *region, const Op *parent) {
    if (region->parent != parent) return broken(v, parent, "a region names another parent");
    for (uint32_t i = 0; i < region->argument_count; i++) {
        const Value *argument = region->arguments[i];
        if (!argument->type) return broken(v, parent, "a region argument has no type");
        if (argument->op || argument->region != region || argument->index != i)
            return broken(v, parent, "a region argument does not name its region");
        if (!count_uses(v, argument, parent)) return false;
    }
    const Op *previous = NULL;
    for (const Op *op = region->first; op; previous = op, op = op->next) {
        if (op->parent != region) return broken(v, op, "an op names another region");
        if (op->previous != previous) return broken(v, op, "the list of ops is broken");
        if (!check_op_links(v, op)) return false;
    }
    if (region->last != previous) return broken(v, parent, "the end of a list of ops is broken");
    return true;
}

/* ---- values ----------------------------------------------------------------------------- */

static void set_visible(Verifier *v, const Value *value, bool visible) {
    v->values[value->number] = value;
    v->visible[value->number] = visible;
}

static bool is_visible(const Verifier *v, const Value *value) {
    return value->number < v->count && v->values[value->number] == value &&
           v->visible[value->number];
}

/* The threads of the kernel hold the whole block; shared memory holds each element once. */
static bool layout_fits(const Verifier *v, const Type *type) {
    const Layout *l = type->layout;
    if (l->out_bits != log2_exact(type->count) || !layout_is_onto(l)) return false;
    if (type->kind == TYPE_SHARED) return l->bits[PLACE_OFFSET] == layout_total_bits(l) &&
                                          layout_is_one_to_one(l);
    return l->bits[PLACE_OFFSET] == 0 && l->bits[PLACE_LANE] == LANE_BITS &&
           1u << l->bits[PLACE_WARP] == v->module->kernel->num_warps;
}

static void check_layout(Verifier *v, const Op *op, const Value *value) {
    const Type *type = value->type;
    if (!type->rank) return;
    if (v->level == LEVEL_BLOCK && type->layout)
        report(v, op, "a value has a layout, which there is none of at this level");
    else if (v->level != LEVEL_BLOCK && !type->layout)
        report(v, op, "a block value has no layout");
    else if (type->layout && !layout_fits(v, type))
        report(v, op, "the layout of %s does not fit it",
               type_string(type, v->module->arena));
}

static bool is_of_lower_level(const Op *op) {
    return op->code >= OP_convert && op->code <= OP_async_wait;
}

static void check_region(Verifier *v, const Region *region, const Op *parent);

static void check_op(Verifier *v, const Op *op) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!is_visible(v, op_operand(op, i))) report(v, op, "operand %u is not visible here", i);
    const char *bad = rule_check(&v->module->types, v->module->arena, op);
    if (bad) report(v, op, "%s", bad);
    if (v->level == LEVEL_BLOCK && is_of_lower_level(op))
        report(v, op, "there is no such op at this level");
    for (uint32_t i = 0; i < op->region_count; i++) check_region(v, op->regions[i], op);
    for (uint32_t i = 0; i < op->result_count; i++) {
        check_layout(v, op, &op->results[i]);
        set_visible(v, &op->results[i], true);
    }
}

/* Which op a region of `parent` must end in. */
static OpCode ending(const Region *region, const Op *parent) {
    if (!parent) return OP_return;
    return parent->code == OP_while && region == parent->regions[0] ? OP_condition : OP_yield;
}

static void check_region(Verifier *v, const Region *region, const Op *parent) {
    OpCode end = ending(region, parent);
    for (uint32_t i = 0; i < region->argument_count; i++) {
        check_layout(v, parent, region->arguments[i]);
        set_visible(v, region->arguments[i], true);
    }
    if (!region->last || region->last->code != end) {
        report(v, region->last ? region->last : parent, "a region must end in `%s`",
               op_infos[end].name);
    }
    for (const Op *op = region->first; op; op = op->next) {
        if (op != region->last && op_is(op, OPF_ENDS)) report(v, op, "this is not the last op");
        check_op(v, op);
    }
    for (uint32_t i = 0; i < region->argument_count; i++)
        set_visible(v, region->arguments[i], false);
    for (const Op *op = region->first; op; op = op->next)
        for (uint32_t i = 0; i < op->result_count; i++) set_visible(v, &op->results[i], false);
}

/* ---- kernel ----------------------------------------------------------------------------- */

static bool is_power_of_two(uint32_t n) {
    return n && (n & (n - 1)) == 0;
}

/* The printer writes names as they are, so they must be such that the reader takes them. */
static bool is_name(const char *name) {
    if (!name || !*name || isdigit((unsigned char)*name)) return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("_.", *name) && (unsigned char)*name < 0x80)
            return false;
    return true;
}

static void check_kernel(Verifier *v, const Kernel *kernel) {
    if (kernel->body->argument_count != kernel->parameter_count) {
        report(v, NULL, "the kernel has %u parameters, but its body takes %u values",
               kernel->parameter_count, kernel->body->argument_count);
        return;
    }
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const Parameter *p = &kernel->parameters[i];
        const Value *value = kernel->body->arguments[i];
        for (uint32_t j = 0; j < i && p->name && kernel->parameters[j].name; j++)
            if (!strcmp(kernel->parameters[j].name, p->name))
                report(v, NULL, "two parameters are named `%s`", p->name);
        if (!is_name(p->name))
            report(v, NULL, "parameter %u has no proper name", i);
        else if (!value->name || strcmp(value->name, p->name) != 0)
            report(v, NULL, "the value of parameter `%s` has another name", p->name);
        else if (p->type != value->type || type_is_block(p->type))
            report(v, NULL, "parameter `%s` must be a scalar or a pointer", p->name);
        else if (p->divisibility < 1)
            report(v, NULL, "the divisibility of `%s` must be positive", p->name);
    }
    if (!is_name(kernel->name)) report(v, NULL, "the kernel has no proper name");
    if (!is_power_of_two(kernel->num_warps) || kernel->num_warps > 64)
        report(v, NULL, "num_warps must be a power of two, at most 64");
    if (!is_power_of_two(kernel->num_ctas) || kernel->num_ctas > 16)
        report(v, NULL, "num_ctas must be a power of two, at most 16");
}

bool ir_verify(Module *module, Level level) {
    Verifier v = {.module = module, .level = level};
    const Kernel *kernel = module->kernel;
    if (!kernel || !kernel->body) return broken(&v, NULL, "the module has no kernel");
    if (!check_region_links(&v, kernel->body, NULL)) return false;
    if (v.uses != v.operands) return broken(&v, NULL, "an operand is missing in its use list");
    v.count = ir_number(module);
    v.values = arena_array(module->arena, const Value *, v.count);
    v.visible = arena_array(module->arena, bool, v.count);
    check_kernel(&v, kernel);
    check_region(&v, kernel->body, NULL);
    if (level == LEVEL_PLACED && v.errors == 0) {
        const Op *culprit;
        const char *bad = gpu_check_placed(module, &culprit);
        if (bad) report(&v, culprit, "%s", bad);
    }
    return v.errors == 0;
}
