/* interp_outside.c: print, assert, assume, and what cannot run here: inline assembly. */
#include "compiler/interp_internal.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- print ----------------------------------------------------------------------------------- */

typedef struct Line {
    char text[512];
    size_t length;
} Line;

static void add(Line *line, const char *format, ...) PRINTF_LIKE(2, 3);

static void add(Line *line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n =
        vsnprintf(line->text + line->length, sizeof line->text - line->length, format, args);
    va_end(args);
    line->length += n > 0 ? (size_t)n : 0;
    if (line->length >= sizeof line->text) line->length = sizeof line->text - 1;
}

static void add_number(Line *line, DType dtype, uint64_t bits, uint32_t size, bool hex) {
    if (hex || dtype == DT_NONE)
        add(line, "0x%0*" PRIx64, (int)size * 2, bits);
    else if (dtype == DT_f64)
        add(line, "%.17g", eval_double_from_bits(dtype, bits));
    else if (dtype_is_float(dtype))
        add(line, "%.9g", eval_double_from_bits(dtype, bits));
    else if (dtype_is_unsigned(dtype))
        add(line, "%" PRIu64, bits);
    else
        add(line, "%" PRId64, eval_int_from_bits(dtype, bits));
}

static void add_text(Line *line, const Op *op) {
    const Attribute *text = op_attribute(op, ATTR_text);
    if (text) add(line, "%.*s", (int)(text->count < 400 ? text->count : 400), text->string);
}

static void give_line(Thread *t, const Line *line) {
    pthread_mutex_lock(&t->run->lock);
    t->run->launch->print(t->run->launch->print_context, line->text);
    pthread_mutex_unlock(&t->run->lock);
}

/* One line an element: pid (x, y, z) idx (i, j) text value. Several operands are numbered. */
static void print_operand(Thread *t, const Step *step, uint32_t k) {
    const Op *op = step->op;
    const Type *type = op_operand(op, k)->type;
    const uint8_t *data = place_data(t, &step->in[k]);
    const uint32_t size = step->in[k].size;
    for (uint32_t i = 0; i < type->count; i++) {
        Line line = {.length = 0};
        uint64_t bits = 0;
        uint32_t rest = i, stride = type->count;
        memcpy(&bits, data + (size_t)i * size, size);
        add(&line, "pid (%u, %u, %u) idx (", t->program[0], t->program[1], t->program[2]);
        for (uint32_t d = 0; d < type->rank; d++) {
            stride /= type->shape[d];
            add(&line, "%s%u", d ? ", " : "", rest / stride);
            rest %= stride;
        }
        add(&line, ") ");
        add_text(&line, op);
        if (op->operand_count > 1) add(&line, " (operand %u)", k);
        add(&line, " ");
        add_number(&line, type_dtype(type), bits, size, op_int(op, ATTR_hex, 0) != 0);
        give_line(t, &line);
    }
}

bool interp_print(Thread *t, const Step *step) {
    if (!t->run->launch->print) return true;
    for (uint32_t k = 0; k < step->op->operand_count; k++) print_operand(t, step, k);
    if (step->op->operand_count == 0) {
        Line line = {.length = 0};
        add(&line, "pid (%u, %u, %u) ", t->program[0], t->program[1], t->program[2]);
        add_text(&line, step->op);
        give_line(t, &line);
    }
    return true;
}

/* ---- assert, assume, inline_asm -------------------------------------------------------------- */

bool interp_assert(Thread *t, const Step *step) {
    const Op *op = step->op;
    const uint8_t *holds = place_data(t, &step->in[0]);
    const uint8_t *mask = op->operand_count > 1 ? place_data(t, &step->in[1]) : NULL;
    for (uint32_t i = 0; i < step->in[0].count; i++) {
        if (holds[i] || (mask && !mask[i])) continue;
        const Attribute *text = op_attribute(op, ATTR_text);
        const int length = text ? (int)(text->count < 400 ? text->count : 400) : 0;
        fault_text(t, step, FAULT_ASSERT, "assertion failed%s%.*s", length ? ": " : "", length,
                   text ? text->string : "");
        fault_element(t, op_operand(op, 0)->type, i);
        return false;
    }
    return true;
}

bool interp_assume(Thread *t, const Step *step) {
    if (place_int(t, &step->in[0]) & 1) return true;
    return fault_text(t, step, FAULT_ASSERT, "what this kernel assumes does not hold here");
}

bool interp_inline_asm(Thread *t, const Step *step) {
    return fault_text(t, step, FAULT_UNSUPPORTED,
                      "inline assembly is for one kind of GPU; the interpreter cannot run it");
}
