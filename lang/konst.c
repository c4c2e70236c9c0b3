/* konst.c: arithmetic on values known at compile time, by Python's rules: integers do not wrap
 * (they are refused beyond 127 bits), // and % round towards minus infinity, / gives a float.
 */
#include "lang/lower_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

Val val_error(void) {
    return (Val){.kind = VAL_ERROR};
}
Val val_unknown(void) {
    return (Val){.kind = VAL_UNKNOWN};
}
Val val_none(void) {
    return (Val){.kind = VAL_NONE};
}
Val val_bool(bool b) {
    return (Val){.kind = VAL_BOOL, .integer = b};
}
Val val_int(Wide i) {
    return (Val){.kind = VAL_INT, .integer = i};
}
Val val_float(double d) {
    return (Val){.kind = VAL_FLOAT, .number = d};
}
Val val_string(const char *s, size_t length) {
    return (Val){.kind = VAL_STRING, .string = s, .count = (uint32_t)length};
}
Val val_dtype(Lower *l, DType dtype) {
    return (Val){.kind = VAL_DTYPE, .type = type_scalar(l->types, dtype)};
}
Val val_type(const Type *type) {
    return (Val){.kind = VAL_DTYPE, .type = type};
}
Val val_tensor(Value *v) {
    return (Val){.kind = VAL_TENSOR, .value = v};
}
Val val_tuple(const Val *items, uint32_t count) {
    return (Val){.kind = VAL_TUPLE, .items = (Val *)(uintptr_t)items, .count = count};
}

const char *wide_string(Arena *arena, Wide w) {
    char digits[48];
    int at = sizeof digits;
    bool negative = w < 0;
    digits[--at] = 0;
    do {
        int digit = (int)(w % 10);
        digits[--at] = (char)('0' + (digit < 0 ? -digit : digit));
        w /= 10;
    } while (w);
    if (negative) digits[--at] = '-';
    return arena_strdup(arena, digits + at);
}

static double as_double(Val v) {
    return v.kind == VAL_FLOAT ? v.number : (double)v.integer;
}

bool konst_truth(Val v) {
    switch (v.kind) {
    case VAL_NONE: return false;
    case VAL_BOOL:
    case VAL_INT: return v.integer != 0;
    case VAL_FLOAT: return v.number != 0;
    case VAL_STRING:
    case VAL_TUPLE:
    case VAL_DICT: return v.count != 0;
    default: return true;
    }
}

bool konst_equal(Val a, Val b) {
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind == VAL_FLOAT || b.kind == VAL_FLOAT) return as_double(a) == as_double(b);
        return a.integer == b.integer;
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case VAL_NONE:
    case VAL_ELLIPSIS: return true;
    case VAL_STRING: return a.count == b.count && memcmp(a.string, b.string, a.count) == 0;
    case VAL_DTYPE: return a.type == b.type;
    case VAL_FUNCTION: return a.function->node == b.function->node;
    case VAL_BUILTIN: return a.builtin == b.builtin;
    case VAL_CLASS: return a.klass->node == b.klass->node;
    case VAL_TENSOR: return a.value == b.value;
    case VAL_TUPLE:
        if (a.count != b.count) return false;
        for (uint32_t i = 0; i < a.count; i++)
            if (!konst_equal(a.items[i], b.items[i])) return false;
        return true;
    default: return false;
    }
}

static void print_float(double d, Text *out) {
    if (isnan(d)) {
        text_puts(out, "nan");
    } else if (isinf(d)) {
        text_puts(out, d < 0 ? "-inf" : "inf");
    } else { /* the shortest form that reads back, as Python prints */
        char s[40];
        for (int precision = 1; precision <= 17; precision++) {
            snprintf(s, sizeof s, "%.*g", precision, d);
            if (strtod(s, NULL) == d) break;
        }
        text_puts(out, s);
        if (!strpbrk(s, ".en")) text_puts(out, ".0");
    }
}

void konst_print(Lower *l, Val v, Text *out) {
    switch (v.kind) {
    case VAL_NONE: text_puts(out, "None"); break;
    case VAL_BOOL: text_puts(out, v.integer ? "True" : "False"); break;
    case VAL_INT: text_puts(out, wide_string(l->arena, v.integer)); break;
    case VAL_FLOAT: print_float(v.number, out); break;
    case VAL_STRING: text_add(out, v.string, v.count); break;
    case VAL_TUPLE:
        text_puts(out, "(");
        for (uint32_t i = 0; i < v.count; i++) {
            if (i) text_puts(out, ", ");
            konst_print(l, v.items[i], out);
        }
        text_puts(out, v.count == 1 ? ",)" : ")");
        break;
    case VAL_DTYPE:
        if (v.type->kind == TYPE_SCALAR)
            text_puts(out, dtype_triton_name(v.type->dtype));
        else
            type_print(v.type, out);
        break;
    default: text_puts(out, describe(l, v)); break;
    }
}

static Val too_large(Lower *l, Span span) {
    return fail(l, span, "this constant has more than 127 bits");
}

static Wide floor_div(Wide a, Wide b) {
    Wide q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static Val integer_binary(Lower *l, Operator op, Wide a, Wide b, Span span) {
    Wide r = 0;
    switch (op) {
    case OPERATOR_ADD:
        if (__builtin_add_overflow(a, b, &r)) return too_large(l, span);
        return val_int(r);
    case OPERATOR_SUB:
        if (__builtin_sub_overflow(a, b, &r)) return too_large(l, span);
        return val_int(r);
    case OPERATOR_MUL:
        if (__builtin_mul_overflow(a, b, &r)) return too_large(l, span);
        return val_int(r);
    case OPERATOR_DIV:
    case OPERATOR_FLOORDIV:
    case OPERATOR_MOD:
        if (b == 0) return fail(l, span, "division by zero in a compile-time expression");
        if (op == OPERATOR_DIV) return val_float((double)a / (double)b);
        if (b == -1)
            return op == OPERATOR_MOD ? val_int(0) : integer_binary(l, OPERATOR_SUB, 0, a, span);
        r = floor_div(a, b);
        return val_int(op == OPERATOR_FLOORDIV ? r : a - r * b);
    case OPERATOR_POW:
        if (b < 0) return val_float(pow((double)a, (double)b));
        r = 1;
        if (a == 0 || a == 1) return val_int(b == 0 ? 1 : a);
        if (a == -1) return val_int(b % 2 ? -1 : 1);
        for (Wide i = 0; i < b; i++)
            if (__builtin_mul_overflow(r, a, &r)) return too_large(l, span);
        return val_int(r);
    case OPERATOR_AND: return val_int(a & b);
    case OPERATOR_OR: return val_int(a | b);
    case OPERATOR_XOR: return val_int(a ^ b);
    case OPERATOR_SHL:
    case OPERATOR_SHR:
        if (b < 0) return fail(l, span, "shift by the negative count %s", wide_string(l->arena, b));
        if (op == OPERATOR_SHR) return val_int(b > 126 ? (a < 0 ? -1 : 0) : a >> b);
        if (a == 0) return val_int(0);
        if (b > 126 || __builtin_mul_overflow(a, (Wide)1 << b, &r)) return too_large(l, span);
        return val_int(r);
    default: break;
    }
    return fail(l, span, "`%s` is not defined on integers", operator_names[op]);
}

static Val float_binary(Lower *l, Operator op, double a, double b, Span span) {
    switch (op) {
    case OPERATOR_ADD: return val_float(a + b);
    case OPERATOR_SUB: return val_float(a - b);
    case OPERATOR_MUL: return val_float(a * b);
    case OPERATOR_POW: return val_float(pow(a, b));
    case OPERATOR_DIV:
    case OPERATOR_FLOORDIV:
    case OPERATOR_MOD:
        if (b == 0) return fail(l, span, "division by zero in a compile-time expression");
        if (op == OPERATOR_DIV) return val_float(a / b);
        if (op == OPERATOR_FLOORDIV) return val_float(floor(a / b));
        return val_float(a - floor(a / b) * b);
    default:
        return fail(l, span, "`%s` is not defined on floating-point numbers", operator_names[op]);
    }
}

enum { MAX_ITEMS = 65536, MAX_STRING = 1 << 20 };

static Val tuple_concat(Lower *l, Val a, Val b, Span span) {
    if ((uint64_t)a.count + b.count > MAX_ITEMS)
        return fail(l, span, "this tuple has more than %d items", MAX_ITEMS);
    Val *items = arena_array(l->arena, Val, a.count + b.count);
    if (a.count) memcpy(items, a.items, a.count * sizeof *items);
    if (b.count) memcpy(items + a.count, b.items, b.count * sizeof *items);
    return val_tuple(items, a.count + b.count);
}

static Val tuple_repeat(Lower *l, Val t, Wide times, Span span) {
    if (times < 0) times = 0;
    if (times > MAX_ITEMS || times * t.count > MAX_ITEMS)
        return fail(l, span, "this tuple has more than %d items", MAX_ITEMS);
    uint32_t n = (uint32_t)times;
    Val *items = arena_array(l->arena, Val, n * t.count + 1);
    for (uint32_t i = 0; i < n && t.count; i++)
        memcpy(items + i * t.count, t.items, t.count * sizeof *items);
    return val_tuple(items, n * t.count);
}

Val konst_binary(Lower *l, Operator op, Val a, Val b, Span span) {
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind == VAL_FLOAT || b.kind == VAL_FLOAT)
            return float_binary(l, op, as_double(a), as_double(b), span);
        Val r = integer_binary(l, op, a.integer, b.integer, span);
        bool logic = op == OPERATOR_AND || op == OPERATOR_OR || op == OPERATOR_XOR;
        if (logic && a.kind == VAL_BOOL && b.kind == VAL_BOOL) r.kind = VAL_BOOL;
        return r;
    }
    if (op == OPERATOR_ADD && a.kind == VAL_STRING && b.kind == VAL_STRING) {
        if ((size_t)a.count + b.count > MAX_STRING)
            return fail(l, span, "this string has more than 1 MiB");
        char *s = arena_alloc(l->arena, (size_t)a.count + b.count + 1);
        memcpy(s, a.string, a.count);
        memcpy(s + a.count, b.string, b.count);
        return val_string(s, (size_t)a.count + b.count);
    }
    if (op == OPERATOR_ADD && a.kind == VAL_TUPLE && b.kind == VAL_TUPLE)
        return tuple_concat(l, a, b, span);
    if (op == OPERATOR_MUL && a.kind == VAL_TUPLE && val_is_integer(b))
        return tuple_repeat(l, a, b.integer, span);
    if (op == OPERATOR_MUL && b.kind == VAL_TUPLE && val_is_integer(a))
        return tuple_repeat(l, b, a.integer, span);
    return fail(l, span, "`%s` cannot take %s and %s", operator_names[op], describe(l, a),
                describe(l, b));
}

Val konst_unary(Lower *l, Operator op, Val a, Span span) {
    if (op == OPERATOR_NOT) return val_bool(!konst_truth(a));
    if (val_is_integer(a)) {
        switch (op) {
        case OPERATOR_NEG: return integer_binary(l, OPERATOR_SUB, 0, a.integer, span);
        case OPERATOR_POS: return val_int(a.integer);
        case OPERATOR_INVERT: return val_int(~a.integer);
        default: break;
        }
    }
    if (a.kind == VAL_FLOAT) {
        if (op == OPERATOR_NEG) return val_float(-a.number);
        if (op == OPERATOR_POS) return a;
    }
    return fail(l, span, "`%s` cannot take %s", operator_names[op], describe(l, a));
}

static bool contains(Val item, Val in) {
    if (in.kind == VAL_STRING)
        return item.kind == VAL_STRING &&
               memmem(in.string, in.count, item.string, item.count) != NULL;
    uint32_t step = in.kind == VAL_DICT ? 2 : 1;
    for (uint32_t i = 0; i < in.count * step; i += step)
        if (konst_equal(item, in.items[i])) return true;
    return false;
}

static int order(Val a, Val b) { /* -1 0 1; 2: unordered (NaN) */
    if (a.kind == VAL_FLOAT || b.kind == VAL_FLOAT) {
        double x = as_double(a), y = as_double(b);
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    }
    return a.integer < b.integer ? -1 : a.integer > b.integer;
}

Val konst_compare(Lower *l, Operator op, Val a, Val b, Span span) {
    switch (op) {
    case OPERATOR_EQ:
    case OPERATOR_IS: return val_bool(konst_equal(a, b));
    case OPERATOR_NE:
    case OPERATOR_IS_NOT: return val_bool(!konst_equal(a, b));
    case OPERATOR_IN:
    case OPERATOR_NOT_IN:
        if (b.kind != VAL_TUPLE && b.kind != VAL_STRING && b.kind != VAL_DICT)
            return fail(l, span, "`in` needs a tuple, a list or a string on its right, not %s",
                        describe(l, b));
        return val_bool(contains(a, b) == (op == OPERATOR_IN));
    default: break;
    }
    int o;
    if (val_is_number(a) && val_is_number(b)) {
        o = order(a, b);
    } else if (a.kind == VAL_STRING && b.kind == VAL_STRING) {
        o = strcmp(a.string, b.string);
        o = o < 0 ? -1 : o > 0;
    } else {
        return fail(l, span, "`%s` cannot compare %s with %s", operator_names[op], describe(l, a),
                    describe(l, b));
    }
    switch (op) {
    case OPERATOR_LT: return val_bool(o == -1);
    case OPERATOR_LE: return val_bool(o == -1 || o == 0);
    case OPERATOR_GT: return val_bool(o == 1);
    default: return val_bool(o == 1 || o == 0);
    }
}

Val range_items(Lower *l, Val range, Span span) {
    enum { MOST = 65536 };
    VEC(Val) list = {0};
    for (int i = RANGE_FROM; i <= RANGE_STEP; i++)
        if (!val_is_integer(range.items[i]))
            return not_constant(l, range.items[i], span, "this range");
    Wide step = range.items[RANGE_STEP].integer, to = range.items[RANGE_TO].integer;
    if (step == 0) return fail(l, span, "a range with step 0");
    for (Wide i = range.items[RANGE_FROM].integer; step > 0 ? i < to : i > to; i += step) {
        if (list.length >= MOST) return fail(l, span, "more than %d items", MOST);
        vec_push(l->arena, &list, val_int(i));
    }
    return val_tuple(list.data, list.length);
}
