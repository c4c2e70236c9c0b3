/* builtin_host.c: functions on compile-time values: types, static checks and output, ranges, and
 * the part of Python's own functions that kernels use.
 */
#include "lang/builtin_internal.h"

#include <math.h>
#include <ctype.h>
#include <stdlib.h>

/* ---- types ----------------------------------------------------------------------------------- */

Val builtin_constexpr(Lower *l, Call *c) {
    Val v = c->arguments[0];
    return v.kind == VAL_TENSOR ? not_constant(l, v, c->spans[0], "the argument of tl.constexpr")
                                : v;
}

Val builtin_pointer_type(Lower *l, Call *c) {
    const Type *element;
    if (!argument_dtype(l, c, 0, &element)) return val_error();
    if (type_is_block(element)) return fail(l, c->spans[0], "a pointer to a block");
    return val_type(type_pointer(l->types, element));
}

Val builtin_block_type(Lower *l, Call *c) {
    const Type *element;
    uint32_t rank, shape[MAX_RANK];
    if (!argument_dtype(l, c, 0, &element) || !argument_shape(l, c, 1, &rank, shape))
        return val_error();
    return val_type(type_block(l->types, type_element(element), rank, shape));
}

/* tl.tensor, tl.dtype: only meant for isinstance. */
Val builtin_type_name(Lower *l, Call *c) {
    Val name = c->rest_count == 1 ? c->rest[0] : val_none();
    if (c->builtin->code == 1 && name.kind == VAL_STRING) { /* tl.dtype("fp16") */
        DType d = dtype_from_name(name.string, name.count);
        if (d != DT_NONE) return val_dtype(l, d);
        return fail(l, c->span, "'%.40s' is not the name of a type", name.string);
    }
    return fail(l, c->span, "`%s` cannot be called in a kernel", c->builtin->name);
}

Val builtin_is_dtype(Lower *l, Call *c) {
    (void)l;
    const Type *t = c->arguments[0].type;
    DType d = type_dtype(t);
    DTypeKind kind = dtype_kind(d);
    switch (c->builtin->code) {
    case IS_FP8: return val_bool(dtype_is_fp8(d));
    case IS_FLOATING: return val_bool(dtype_is_float(d));
    case IS_STANDARD_FLOATING: return val_bool(dtype_is_float(d) && !dtype_is_fp8(d));
    case IS_INT: return val_bool(d != DT_NONE && dtype_is_int(d));
    case IS_INT_SIGNED: return val_bool(kind == DK_SIGNED);
    case IS_INT_UNSIGNED: return val_bool(kind == DK_UNSIGNED || kind == DK_BOOL);
    case IS_POINTER: return val_bool(type_element(t)->kind == TYPE_POINTER);
    case IS_BLOCK: return val_bool(type_is_block(t));
    default: return val_bool((int)d == c->builtin->code);
    }
}

/* Is v an instance of the class `type` names? -1: not a class we know. */
static int is_instance(Val v, Val type) {
    if (type.kind == VAL_CLASS)
        return v.kind == VAL_TUPLE && v.named && v.named->node == type.klass->node;
    if (type.kind != VAL_BUILTIN) return -1;
    const char *name = type.builtin->name;
    if (strcmp(name, "tensor") == 0) return v.kind == VAL_TENSOR;
    if (strcmp(name, "dtype") == 0) return v.kind == VAL_DTYPE;
    if (strcmp(name, "constexpr") == 0) return val_is_constant(v) && v.kind != VAL_TUPLE;
    if (strcmp(name, "int") == 0) return val_is_integer(v);
    if (strcmp(name, "float") == 0) return v.kind == VAL_FLOAT;
    if (strcmp(name, "bool") == 0) return v.kind == VAL_BOOL;
    if (strcmp(name, "str") == 0) return v.kind == VAL_STRING;
    if (strcmp(name, "tuple") == 0 || strcmp(name, "list") == 0) return v.kind == VAL_TUPLE;
    if (strcmp(name, "dict") == 0) return v.kind == VAL_DICT;
    if (strcmp(name, "tensor_descriptor") == 0) return v.kind == VAL_DESCRIPTOR;
    return -1;
}

Val builtin_isinstance(Lower *l, Call *c) {
    Val v = c->arguments[0], types = c->arguments[1];
    const Val *items = types.kind == VAL_TUPLE ? types.items : &types;
    uint32_t count = types.kind == VAL_TUPLE ? types.count : 1;
    bool yes = false;
    for (uint32_t i = 0; i < count; i++) {
        int is = is_instance(v, items[i]);
        if (is < 0 && items[i].kind != VAL_MODULE)
            return fail(l, c->spans[1], "`isinstance` of %s", describe(l, items[i]));
        yes |= is > 0;
    }
    return val_bool(yes);
}

Val builtin_type(Lower *l, Call *c) {
    Val v = c->arguments[0];
    static const struct {
        ValKind kind;
        const char *name;
    } names[] = {{VAL_BOOL, "bool"},  {VAL_INT, "int"},     {VAL_FLOAT, "float"},
                 {VAL_STRING, "str"}, {VAL_TUPLE, "tuple"}, {VAL_DICT, "dict"}};
    if (v.kind == VAL_TUPLE && v.named) return (Val){.kind = VAL_CLASS, .klass = v.named};
    for (uint32_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (names[i].kind == v.kind)
            return (Val){.kind = VAL_BUILTIN, .builtin = builtin_find("python", names[i].name)};
    if (v.kind == VAL_TENSOR)
        return (Val){.kind = VAL_BUILTIN, .builtin = builtin_find("triton.language", "tensor")};
    return fail(l, c->span, "`type` of %s", describe(l, v));
}

static bool has_attribute(Val v, const char *name) {
    if (v.kind == VAL_TENSOR) {
        static const char *const known[] = {"dtype", "type", "shape", "numel", "T", "ndim"};
        for (uint32_t i = 0; i < ARRAY_LENGTH(known); i++)
            if (strcmp(known[i], name) == 0) return true;
        return builtin_method(name) != NULL;
    }
    if (v.kind == VAL_TUPLE && v.named)
        for (uint32_t i = 0; i < v.named->field_count; i++)
            if (strcmp(v.named->fields[i], name) == 0) return true;
    if (v.kind == VAL_MODULE && !v.file) return builtin_find(v.string, name) != NULL;
    return false;
}

Val builtin_hasattr(Lower *l, Call *c) {
    const char *name;
    if (!argument_string(l, c, 1, &name)) return val_error();
    return val_bool(has_attribute(c->arguments[0], name));
}

Val builtin_getattr(Lower *l, Call *c) {
    const char *name;
    if (!argument_string(l, c, 1, &name)) return val_error();
    if (c->given[2] && !has_attribute(c->arguments[0], name)) return c->arguments[2];
    Node node = {.kind = NODE_ATTRIBUTE, .span = c->span, .op_span = c->span, .left = &node};
    return lower_attribute(l, c->arguments[0], intern_string(l->names, name), &node);
}

Val builtin_callable(Lower *l, Call *c) {
    (void)l;
    ValKind k = c->arguments[0].kind;
    return val_bool(k == VAL_FUNCTION || k == VAL_BUILTIN || k == VAL_CLASS);
}

/* ---- static checks and output ---------------------------------------------------------------- */

Val builtin_static_assert(Lower *l, Call *c) {
    Val v = c->arguments[0];
    if (v.kind == VAL_TENSOR) {
        not_constant(l, v, c->spans[0], "the condition of static_assert");
        note(l, c->span, "for a run-time condition write tl.device_assert");
        return val_error();
    }
    if (konst_truth(v) || l->uncertain) return val_none();
    Text text = {.arena = l->arena};
    text_puts(&text, "");
    if (c->arguments[1].kind != VAL_NONE) konst_print(l, c->arguments[1], &text);
    return fail(l, c->span, "static assertion failed%s%s", text.length ? ": " : "", text.data);
}

Val builtin_static_print(Lower *l, Call *c) {
    const char *separator = " ", *end = "\n";
    if (c->given[1] && !argument_string(l, c, 1, &separator)) return val_error();
    if (c->given[2] && !argument_string(l, c, 2, &end)) return val_error();
    Text *out = l->request->static_output;
    if (!out) return val_none();
    for (uint32_t i = 0; i < c->rest_count; i++) {
        if (i) text_puts(out, separator);
        konst_print(l, c->rest[i], out);
    }
    text_puts(out, end);
    return val_none();
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* tl.condition(c, hints...) around the condition of `while` */
Val builtin_condition(Lower *l, Call *c) {
    (void)l;
    return c->arguments[0];
}

Val builtin_range(Lower *l, Call *c) {
    Val *items = arena_array(l->arena, Val, RANGE_ITEMS);
    for (int i = 0; i < RANGE_ITEMS; i++) items[i] = val_none();
    bool two = c->arguments[1].kind != VAL_NONE;
    items[RANGE_FROM] = two ? c->arguments[0] : val_int(0);
    items[RANGE_TO] = two ? c->arguments[1] : c->arguments[0];
    items[RANGE_STEP] = c->arguments[2].kind == VAL_NONE ? val_int(1) : c->arguments[2];
    items[RANGE_STATIC] = val_bool(c->builtin->code == 1);
    for (int i = 0; i < 3; i++)
        if (items[i].kind == VAL_TUPLE || items[i].kind == VAL_FLOAT || items[i].kind == VAL_STRING)
            return fail(l, c->span, "a range counts integers, not %s", describe(l, items[i]));
    if (c->builtin->code == 0) { /* tl.range: its hints */
        static const struct {
            uint32_t argument, item;
        } hints[] = {{3, RANGE_NUM_STAGES},
                     {4, RANGE_UNROLL},
                     {5, RANGE_NO_MULTI_BUFFER},
                     {6, RANGE_FLATTEN},
                     {7, RANGE_WARP_SPECIALIZE}};
        for (uint32_t i = 0; i < ARRAY_LENGTH(hints); i++) {
            Val v = c->arguments[hints[i].argument];
            if (!c->given[hints[i].argument] || v.kind == VAL_NONE) continue;
            if (!val_is_integer(v))
                return not_constant(l, v, c->spans[hints[i].argument],
                                    argument_name(l, c, hints[i].argument));
            if (v.integer || hints[i].item == RANGE_NUM_STAGES) items[hints[i].item] = v;
        }
    }
    return (Val){.kind = VAL_RANGE, .items = items, .count = RANGE_ITEMS};
}

/* ---- python ---------------------------------------------------------------------------------- */

Val builtin_len(Lower *l, Call *c) {
    Val v = c->arguments[0];
    if (v.kind == VAL_TUPLE || v.kind == VAL_STRING || v.kind == VAL_DICT) return val_int(v.count);
    if (v.kind == VAL_TENSOR && type_is_block(v.value->type))
        return val_int(v.value->type->shape[0]);
    return fail(l, c->spans[0], "%s has no length", describe(l, v));
}

static Val number_from_text(Lower *l, Call *c, bool is_float) {
    const char *s = c->arguments[0].string;
    char *end;
    double d = strtod(s, &end);
    while (isspace((unsigned char)*end)) end++;
    if (end == s || *end) return fail(l, c->spans[0], "'%.40s' is not a number", s);
    return is_float ? val_float(d) : val_int((Wide)strtoll(s, NULL, 10));
}

Val builtin_convert(Lower *l, Call *c) {
    Val v = c->given[0] ? c->arguments[0] : val_int(0);
    ValKind to = (ValKind)c->builtin->code;
    if (v.kind == VAL_TENSOR) {
        DType d = to == VAL_FLOAT ? DT_f32 : to == VAL_INT ? DT_i32 : DT_i1;
        DType from = type_dtype(v.value->type);
        bool already = (to == VAL_FLOAT && dtype_is_float(from)) ||
                       (to == VAL_INT && dtype_is_int(from) && from != DT_i1);
        if (already) return v;
        Value *t = cast_to_type(l, v.value, type_scalar(l->types, d), c->span);
        return t ? val_tensor(t) : val_error();
    }
    if (to == VAL_BOOL) return val_bool(konst_truth(v));
    if (v.kind == VAL_STRING) return number_from_text(l, c, to == VAL_FLOAT);
    if (!val_is_number(v)) return fail(l, c->spans[0], "%s is not a number", describe(l, v));
    if (to == VAL_FLOAT) return v.kind == VAL_FLOAT ? v : val_float((double)v.integer);
    if (v.kind != VAL_FLOAT) return val_int(v.integer);
    if (!(fabs(v.number) < 1e38)) return fail(l, c->spans[0], "this float has no integer value");
    return val_int((Wide)v.number);
}

Val builtin_str(Lower *l, Call *c) {
    Text text = {.arena = l->arena};
    text_puts(&text, "");
    if (c->given[0]) konst_print(l, c->arguments[0], &text);
    return val_string(text.data, text.length);
}

/* A tuple, list or constant range as items. */
static bool iterate(Lower *l, Call *c, Val v, const Val **items, uint32_t *count) {
    if (v.kind == VAL_RANGE) v = range_items(l, v, c->span);
    if (v.kind == VAL_TUPLE) {
        *items = v.items;
        *count = v.count;
        return true;
    }
    if (val_is_silent(v)) return false;
    fail(l, c->span, "%s is not a list of compile-time values", describe(l, v));
    return false;
}

Val builtin_tuple(Lower *l, Call *c) {
    const Val *items = c->rest;
    uint32_t count = c->rest_count;
    if (c->builtin->code == 1) {
        if (!c->given[0]) return val_tuple(NULL, 0);
        if (!iterate(l, c, c->arguments[0], &items, &count)) return val_error();
    } else if (count == 1 && items[0].kind == VAL_TUPLE) {
        return items[0];
    }
    return val_tuple(items, count);
}

Val builtin_aggregate_replace(Lower *l, Call *c) {
    Val v = c->arguments[0];
    if (v.kind != VAL_TUPLE || !v.named)
        return fail(l, c->spans[0], "%s has no fields", describe(l, v));
    for (uint32_t i = 0; i < c->keyword_count; i++) {
        Val changed = tuple_with_field(l, v, c->keyword_names[i], c->keyword_values[i]);
        if (changed.kind == VAL_ERROR)
            return fail(l, c->span, "`%s` has no field `%s`", v.named->name, c->keyword_names[i]);
        v = changed;
    }
    return v;
}

Val builtin_dict(Lower *l, Call *c) {
    if (!c->given[0]) return (Val){.kind = VAL_DICT};
    return fail(l, c->span, "`dict` of values is not understood in a kernel");
}

Val builtin_dict_get(Lower *l, Call *c) {
    Val d = c->arguments[0];
    (void)l;
    for (uint32_t i = 0; i < d.count; i++)
        if (konst_equal(d.items[2 * i], c->arguments[1])) return d.items[2 * i + 1];
    return c->arguments[2];
}

Val builtin_sorted(Lower *l, Call *c) {
    const Val *items;
    uint32_t count;
    bool down;
    if (!iterate(l, c, c->arguments[0], &items, &count) || !argument_bool(l, c, 2, &down))
        return val_error();
    Val *copy = arena_array(l->arena, Val, count + 1);
    for (uint32_t i = 0; i < count; i++) { /* insertion: stable, lists are short */
        uint32_t at = i;
        for (; at > 0; at--) {
            Val before =
                konst_compare(l, down ? OPERATOR_GT : OPERATOR_LT, items[i], copy[at - 1], c->span);
            if (before.kind == VAL_ERROR) return before;
            if (!konst_truth(before)) break;
            copy[at] = copy[at - 1];
        }
        copy[at] = items[i];
    }
    return val_tuple(copy, count);
}

Val builtin_reversed(Lower *l, Call *c) {
    const Val *items;
    uint32_t count;
    if (!iterate(l, c, c->arguments[0], &items, &count)) return val_error();
    Val *copy = arena_array(l->arena, Val, count + 1);
    for (uint32_t i = 0; i < count; i++) copy[i] = items[count - 1 - i];
    return val_tuple(copy, count);
}

Val builtin_zip(Lower *l, Call *c) {
    uint32_t shortest = UINT32_MAX;
    const Val **lists = arena_array(l->arena, const Val *, c->rest_count + 1);
    for (uint32_t i = 0; i < c->rest_count; i++) {
        uint32_t count;
        if (!iterate(l, c, c->rest[i], &lists[i], &count)) return val_error();
        if (count < shortest) shortest = count;
    }
    if (c->rest_count == 0) shortest = 0;
    Val *rows = arena_array(l->arena, Val, shortest + 1);
    for (uint32_t r = 0; r < shortest; r++) {
        Val *row = arena_array(l->arena, Val, c->rest_count);
        for (uint32_t i = 0; i < c->rest_count; i++) row[i] = lists[i][r];
        rows[r] = val_tuple(row, c->rest_count);
    }
    return val_tuple(rows, shortest);
}

Val builtin_enumerate(Lower *l, Call *c) {
    const Val *items;
    uint32_t count;
    int64_t start = 0;
    if (!iterate(l, c, c->arguments[0], &items, &count)) return val_error();
    if (c->given[1] && !argument_int(l, c, 1, &start)) return val_error();
    Val *rows = arena_array(l->arena, Val, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        Val *row = arena_array(l->arena, Val, 2);
        row[0] = val_int(start + i);
        row[1] = items[i];
        rows[i] = val_tuple(row, 2);
    }
    return val_tuple(rows, count);
}

Val builtin_python_sum(Lower *l, Call *c) {
    if (c->arguments[0].kind == VAL_TENSOR) return call_std(l, "sum", c->arguments, 1, c->span);
    const Val *items;
    uint32_t count;
    if (!iterate(l, c, c->arguments[0], &items, &count)) return val_error();
    Val total = c->given[1] ? c->arguments[1] : val_int(0);
    for (uint32_t i = 0; i < count; i++) {
        bool tensor = total.kind == VAL_TENSOR || items[i].kind == VAL_TENSOR;
        total = tensor ? tensor_binary(l, OPERATOR_ADD, total, items[i], c->span, c->span, c->span)
                       : konst_binary(l, OPERATOR_ADD, total, items[i], c->span);
        if (total.kind == VAL_ERROR) return total;
    }
    return total;
}

Val builtin_all_any(Lower *l, Call *c) {
    const Val *items;
    uint32_t count;
    bool all = c->builtin->code == 1;
    if (!iterate(l, c, c->arguments[0], &items, &count)) return val_error();
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].kind == VAL_TENSOR)
            return not_constant(l, items[i], c->spans[0], argument_name(l, c, 0));
        if (konst_truth(items[i]) != all) return val_bool(!all);
    }
    return val_bool(all);
}

Val builtin_string(Lower *l, Call *c) {
    Val s = c->arguments[0];
    int code = c->builtin->code;
    if (code >= 2) {
        char *copy = arena_strndup(l->arena, s.string, s.count);
        for (uint32_t i = 0; i < s.count; i++)
            copy[i] = (char)(code == 2 ? tolower((unsigned char)copy[i])
                                       : toupper((unsigned char)copy[i]));
        return val_string(copy, s.count);
    }
    const char *part;
    if (!argument_string(l, c, 1, &part)) return val_error();
    size_t n = strlen(part);
    if (n > s.count) return val_bool(false);
    return val_bool(memcmp(code == 0 ? s.string : s.string + s.count - n, part, n) == 0);
}

/* ---- triton ---------------------------------------------------------------------------------- */

Val builtin_next_power_of_2(Lower *l, Call *c) {
    int64_t n;
    if (!argument_int(l, c, 0, &n)) return val_error();
    Wide p = 1;
    while (p < n) p *= 2;
    return val_int(n <= 0 ? 0 : p);
}

/* triton.Config({...}, num_warps=8): kept as a dict; lower.c reads it. */
Val builtin_config(Lower *l, Call *c) {
    Val kwargs = c->arguments[0];
    if (kwargs.kind != VAL_DICT)
        return fail(l, c->spans[0], "triton.Config needs a dict of parameter values");
    static const char *const options[] = {"num_warps", "num_stages", "num_ctas"};
    Val *items = arena_array(l->arena, Val, 2 * (kwargs.count + 3));
    uint32_t n = kwargs.count;
    if (n) memcpy(items, kwargs.items, 2 * n * sizeof *items);
    for (uint32_t i = 0; i < 3; i++) {
        if (!c->given[i + 1]) continue;
        items[2 * n] = val_string(options[i], strlen(options[i]));
        items[2 * n++ + 1] = c->arguments[i + 1];
    }
    return (Val){.kind = VAL_DICT, .items = items, .count = n};
}

Val builtin_num_threads(Lower *l, Call *c) {
    uint32_t warps = l->module->kernel->num_warps;
    return val_int(c->builtin->code == 1 ? warps : warps * 32);
}

/* Is the target at least this compute capability? Targets without one (interp, cpu) count as the
 * newest that is fully described, sm_90. */
Val builtin_capability(Lower *l, Call *c) {
    int64_t major, minor;
    if (!argument_int(l, c, 0, &major)) return val_error();
    minor = 0;
    if (c->given[1] && !argument_int(l, c, 1, &minor)) return val_error();
    const char *target = l->request->target;
    long number = target && strncmp(target, "sm_", 3) == 0 ? strtol(target + 3, NULL, 10) : 90;
    return val_bool(number / 10 > major || (number / 10 == major && number % 10 >= minor));
}
