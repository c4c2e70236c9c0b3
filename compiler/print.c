/* print.c: the IR as text that ir_read takes back.
 *
 * Values are numbered afresh in order of definition, attributes stand in the order of the table,
 * and floats are written in hexadecimal: the same module always gives the same bytes, whatever
 * the locale, and reading them gives the same bits. Layouts are numbered in order of use, and
 * stand at the top:
 *
 *     #0 = 7 r[1,2] l[4,8,16,32,64] w[0,0]
 */
#include "compiler/ir.h"
#include "compiler/layout/layout.h"

typedef struct Printer {
    Text *out;
    uint32_t parameters; /* numbered before all other values, but shown by name */
    bool positions;
    uint32_t source_count;
    uint32_t *source_number; /* by index in Sources: how the text calls it */
} Printer;

/* ---- literals --------------------------------------------------------------------------- */

static void print_float(double value, Text *out) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t mantissa = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    bool negative = bits >> 63;
    if (exponent == 0x7ff) {
        text_puts(out, mantissa ? "nan" : negative ? "-inf" : "inf");
        return;
    }
    int digits = 13; /* hexadecimal digits of the mantissa, trailing zeros dropped */
    while (digits > 0 && (mantissa & 15) == 0) mantissa >>= 4, digits--;
    text_printf(out, "%s0x%d", negative ? "-" : "", exponent != 0);
    if (digits) text_printf(out, ".%0*llx", digits, (unsigned long long)mantissa);
    bool zero = exponent == 0 && mantissa == 0;
    text_printf(out, "p%+d", zero ? 0 : exponent == 0 ? -1022 : exponent - 1023);
}

static void print_string(const char *string, uint32_t length, Text *out) {
    text_puts(out, "\"");
    for (uint32_t i = 0; i < length; i++) {
        char c = string[i];
        if (c == '"' || c == '\\')
            text_printf(out, "\\%c", c);
        else if (c == '\n')
            text_puts(out, "\\n");
        else if (c == '\t')
            text_puts(out, "\\t");
        else if (c < 0x20 || c > 0x7e)
            text_printf(out, "\\x%02x", (unsigned char)c);
        else
            text_add(out, &c, 1);
    }
    text_puts(out, "\"");
}

static void print_attribute(const Attribute *a, Text *out) {
    text_printf(out, "%s = ", attribute_names[a->key]);
    switch (attribute_kinds[a->key]) {
    case AK_NUMBER:
        if (a->is_float) {
            print_float(a->f, out);
            return;
        }
        /* fall through */
    case AK_INT: text_printf(out, "%lld", (long long)a->i); return;
    case AK_WORD: text_puts(out, word_names[a->word]); return;
    case AK_STRING: print_string(a->string, a->count, out); return;
    case AK_INTS:
        for (uint32_t i = 0; i < a->count; i++)
            text_printf(out, "%s%lld", i ? ", " : "[", (long long)a->ints[i]);
        text_puts(out, a->count ? "]" : "[]");
    }
}

/* ---- ops -------------------------------------------------------------------------------- */

static void print_value(const Printer *p, const Value *value) {
    if (value->region && !value->region->parent)
        text_printf(p->out, "%%%s", value->name);
    else
        text_printf(p->out, "%%%u", value->number - p->parameters);
}

static void print_definition(const Printer *p, const Value *value) {
    print_value(p, value);
    text_puts(p->out, ": ");
    type_print(value->type, p->out);
}

static void print_position(const Printer *p, Span span) {
    if (!p->positions || !span.line || span.source >= p->source_count) return;
    uint32_t number = p->source_number[span.source];
    text_puts(p->out, " @");
    if (number) text_printf(p->out, "%u:", number);
    text_printf(p->out, "%u:%u", span.line, span.column);
}

static void print_head(const Printer *p, const Op *op) {
    for (uint32_t i = 0; i < op->result_count; i++) {
        if (i) text_puts(p->out, ", ");
        print_definition(p, &op->results[i]);
    }
    if (op->result_count) text_puts(p->out, " = ");
    text_puts(p->out, op_info(op)->name);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        text_puts(p->out, i ? ", " : " ");
        print_value(p, op_operand(op, i));
    }
    for (uint32_t i = 0; i < op->attribute_count; i++) {
        text_puts(p->out, i ? ", " : " {");
        print_attribute(&op->attributes[i], p->out);
    }
    if (op->attribute_count) text_puts(p->out, "}");
    print_position(p, op->at.span);
}

static void indent(const Printer *p, uint32_t depth) {
    for (uint32_t i = 0; i < depth; i++) text_puts(p->out, "    ");
}

static void print_region(const Printer *p, const Region *region, uint32_t depth);

static void print_op(const Printer *p, const Op *op, uint32_t depth) {
    indent(p, depth);
    print_head(p, op);
    for (uint32_t i = 0; i < op->region_count; i++) {
        const Region *region = op->regions[i];
        if (op->code == OP_if && i == 1) text_puts(p->out, " else");
        if (op->code != OP_if) {
            text_puts(p->out, " (");
            for (uint32_t j = 0; j < region->argument_count; j++) {
                if (j) text_puts(p->out, ", ");
                print_definition(p, region->arguments[j]);
            }
            text_puts(p->out, ")");
        }
        text_puts(p->out, " ");
        print_region(p, region, depth);
    }
    text_puts(p->out, "\n");
}

static void print_region(const Printer *p, const Region *region, uint32_t depth) {
    text_puts(p->out, "{\n");
    for (const Op *op = region->first; op; op = op->next) print_op(p, op, depth + 1);
    indent(p, depth);
    text_puts(p->out, "}");
}

void op_print(const Module *module, const Op *op, Text *out) {
    Printer p = {.out = out, .parameters = module->kernel->body->argument_count};
    print_head(&p, op);
}

/* ---- kernel ----------------------------------------------------------------------------- */

static void mark_source(Op *op, void *context) {
    const Printer *p = context;
    Span span = op->at.span;
    if (span.line && span.source < p->source_count) p->source_number[span.source] = 1;
}

/* Names the sources that positions lie in, and numbers them in that order. */
static void print_sources(Printer *p, Module *module) {
    const Sources *sources = module->sources;
    if (!sources) return;
    p->source_count = sources->list.length;
    p->source_number = arena_array(module->arena, uint32_t, p->source_count);
    Op kernel = {.at = module->kernel->at};
    mark_source(&kernel, p);
    region_walk(module->kernel->body, mark_source, p);
    uint32_t number = 0;
    for (uint32_t i = 0; i < p->source_count; i++) {
        if (!p->source_number[i]) continue;
        const char *path = sources->list.data[i].path;
        text_puts(p->out, "source ");
        print_string(path ? path : "", path ? (uint32_t)strlen(path) : 0, p->out);
        text_puts(p->out, "\n");
        p->source_number[i] = number++;
    }
}

/* Names layouts in order of use; every one is without a number at first. */
static void print_layout(const Type *type, uint32_t *count, Text *out) {
    if (!type->layout || layout_number(type->layout) != UINT32_MAX) return;
    layout_set_number(type->layout, *count);
    text_printf(out, "#%u = ", (*count)++);
    layout_print(type->layout, out);
    text_puts(out, "\n");
}

static void print_region_layouts(const Region *region, uint32_t *count, Text *out) {
    for (const Op *op = region->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->result_count; i++)
            print_layout(op->results[i].type, count, out);
        for (uint32_t i = 0; i < op->region_count; i++) {
            const Region *inner = op->regions[i];
            for (uint32_t j = 0; j < inner->argument_count; j++)
                print_layout(inner->arguments[j]->type, count, out);
            print_region_layouts(inner, count, out);
        }
    }
}

static void print_layouts(Module *module, Text *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < module->types.layouts.length; i++)
        layout_set_number((const Layout *)(const void *)module->types.layouts.data[i], UINT32_MAX);
    print_region_layouts(module->kernel->body, &count, out);
}

/* What the kernel says beyond the options a user gives. */
static void print_level(const Module *module, Text *out) {
    if (module->level == LEVEL_BLOCK) return;
    text_printf(out, ", level = %s", module->level == LEVEL_LAID ? "laid" : "placed");
    if (module->target) text_printf(out, ", target = %s", module->target);
    if (module->kernel->shared_bytes)
        text_printf(out, ", shared_bytes = %u", module->kernel->shared_bytes);
}

static void print_module(Module *module, Text *out, bool positions) {
    Kernel *kernel = module->kernel;
    Printer p = {.out = out, .parameters = kernel->body->argument_count, .positions = positions};
    ir_number(module);
    if (positions) print_sources(&p, module);
    if (module->types.layouts.length) print_layouts(module, out);
    text_printf(out, "kernel @%s(", kernel->name);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const Parameter *parameter = &kernel->parameters[i];
        text_printf(out, "%s%s: ", i ? ", " : "", parameter->name);
        type_print(parameter->type, out);
        if (parameter->divisibility > 1)
            text_printf(out, " {divisibility = %lld}", (long long)parameter->divisibility);
    }
    text_printf(out, ") {num_warps = %u, num_stages = %u, num_ctas = %u", kernel->num_warps,
                kernel->num_stages, kernel->num_ctas);
    print_level(module, out);
    text_puts(out, "}");
    print_position(&p, kernel->at.span);
    text_puts(out, " ");
    print_region(&p, kernel->body, 0);
    text_puts(out, "\n");
}

void ir_print(Module *module, Text *out) {
    print_module(module, out, false);
}

void ir_print_with_positions(Module *module, Text *out) {
    print_module(module, out, true);
}
