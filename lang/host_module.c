/* host_module.c: what a kernel may read from Python's own modules at compile time: numbers and
 * functions of `math`, and from torch and numpy the dtypes, their limits and a few numbers. All
 * else in these modules is host code.
 */
#include "lang/builtin_internal.h"

#include <float.h>
#include <math.h>

static bool is_module(const char *module, const char *name) {
    return strcmp(module, name) == 0;
}

static const struct {
    const char *name;
    double value;
} numbers[] = {{"pi", M_PI}, {"e", M_E},        {"tau", 2 * M_PI},  {"inf", INFINITY},
               {"nan", NAN}, {"Inf", INFINITY}, {"PINF", INFINITY}, {"NINF", -INFINITY}};

static const struct {
    const char *name;
    DType dtype;
} dtypes[] = {{"bool", DT_i1},           {"bool_", DT_i1},   {"int", DT_i32},
              {"long", DT_i64},          {"short", DT_i16},  {"half", DT_f16},
              {"float", DT_f32},         {"double", DT_f64}, {"float8_e4m3fn", DT_f8e4m3},
              {"float8_e5m2", DT_f8e5m2}};

/* Kernels that PyTorch's compiler wrote call these helpers; std.tk has them as _inductor_*. */
static bool inductor_attribute(Lower *l, const char *name, Val *value) {
    Val tl = {.kind = VAL_MODULE, .string = "triton.language"};
    if (strcmp(name, "libdevice") == 0 || strcmp(name, "math") == 0) {
        *value = (Val){.kind = VAL_MODULE, .string = "triton.language.math"};
        return true;
    }
    static const char *const known[] = {
        "maximum",         "minimum",          "max2", "min2", "any", "welford", "welford_reduce",
        "welford_combine", "promote_to_tensor"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (strcmp(known[i], name) != 0) continue;
        const char *ours = arena_printf(l->arena, "_inductor_%s", name);
        *value = module_attribute(l, tl, ours, (Span){0});
        return true;
    }
    return false;
}

bool host_module_attribute(Lower *l, const char *module, const char *name, Val *value) {
    if (is_module(module, "torch._inductor.runtime.triton_helpers"))
        return inductor_attribute(l, name, value);
    bool is_math = is_module(module, "math");
    bool is_torch = is_module(module, "torch"), is_numpy = is_module(module, "numpy");
    if (!is_math && !is_torch && !is_numpy) return false;
    for (uint32_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        if (strcmp(numbers[i].name, name) != 0) continue;
        *value = val_float(numbers[i].value);
        return true;
    }
    const Builtin *b = builtin_find(is_math ? "math" : "torch", name);
    if (b) *value = (Val){.kind = VAL_BUILTIN, .builtin = b};
    if (b || is_math) return b != NULL;
    DType d = dtype_from_name(name, strlen(name));
    if (d != DT_NONE && strcmp(dtype_triton_name(d), name) != 0) d = DT_NONE; /* f32, fp32, ... */
    for (uint32_t i = 0; d == DT_NONE && i < ARRAY_LENGTH(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0) d = dtypes[i].dtype;
    if (d != DT_NONE) *value = val_dtype(l, d);
    return d != DT_NONE;
}

/* Packages that never hold kernels, so that a name in them is host code. */
bool host_module_known(const char *module) {
    static const char *const known[] = {"math",      "torch",     "numpy",    "os",     "sys",
                                        "functools", "itertools", "warnings", "typing", "logging",
                                        "random",    "time",      "operator"};
    if (strncmp(module, "torch._inductor", 15) == 0) return false;
    size_t n = strcspn(module, ".");
    for (uint32_t i = 0; i < ARRAY_LENGTH(known); i++)
        if (strlen(known[i]) == n && memcmp(known[i], module, n) == 0) return true;
    return false;
}

/* ---- math ------------------------------------------------------------------------------------ */

static bool math_number(Lower *l, Call *c, uint32_t i, double *out) {
    Val v = c->arguments[i];
    if (val_is_number(v)) {
        *out = v.kind == VAL_FLOAT ? v.number : (double)v.integer;
        return true;
    }
    not_constant(l, v, c->spans[i], argument_name(l, c, i));
    if (v.kind == VAL_TENSOR)
        note(l, c->span, "`math.%s` runs at compile time; on the device it is tl.%s",
             c->builtin->name, c->builtin->name);
    return false;
}

static double math_function(int code, double x) {
    switch (code) {
    case OP_exp: return exp(x);
    case OP_exp2: return exp2(x);
    case OP_log: return log(x);
    case OP_log2: return log2(x);
    case OP_log10: return log10(x);
    case OP_log1p: return log1p(x);
    case OP_expm1: return expm1(x);
    case OP_sqrt: return sqrt(x);
    case OP_sin: return sin(x);
    case OP_cos: return cos(x);
    case OP_tan: return tan(x);
    case OP_tanh: return tanh(x);
    case OP_erf: return erf(x);
    case OP_abs: return fabs(x);
    case OP_floor: return floor(x);
    case OP_ceil: return ceil(x);
    case OP_trunc: return trunc(x);
    default: return NAN;
    }
}

Val builtin_host_math(Lower *l, Call *c) {
    double x, y;
    int code = c->builtin->code;
    if (!math_number(l, c, 0, &x)) return val_error();
    if (code == OP_pow || (code == OP_log && c->arguments[1].kind != VAL_NONE)) {
        if (!math_number(l, c, 1, &y)) return val_error();
        return val_float(code == OP_pow ? pow(x, y) : log(x) / log(y));
    }
    bool rounds = code == OP_floor || code == OP_ceil || code == OP_trunc;
    if (rounds && val_is_integer(c->arguments[0])) return val_int(c->arguments[0].integer);
    double r = math_function(code, x);
    if (isnan(r) && !isnan(x))
        return fail(l, c->span, "`math.%s` is not defined for this number", c->builtin->name);
    if (!rounds) return val_float(r);
    if (!(fabs(r) < 1e38)) return fail(l, c->span, "this float has no integer value");
    return val_int((Wide)r);
}

Val builtin_host_classify(Lower *l, Call *c) {
    double x;
    if (!math_number(l, c, 0, &x)) return val_error();
    return val_bool(c->builtin->code == CLASS_NAN   ? isnan(x)
                    : c->builtin->code == CLASS_INF ? isinf(x)
                                                    : isfinite(x));
}

/* ---- limits of types ------------------------------------------------------------------------- */

/* A named tuple made here: its class has no source. */
static Val record(Lower *l, const char *name, const char *const *fields, const Val *values,
                  uint32_t count) {
    Class *c = arena_new(l->arena, Class);
    Val *items = arena_array(l->arena, Val, count);
    c->name = name;
    c->field_count = count;
    c->fields = arena_array(l->arena, const char *, count);
    for (uint32_t i = 0; i < count; i++) {
        c->fields[i] = intern_string(l->names, fields[i]);
        items[i] = values[i];
    }
    Val v = val_tuple(items, count);
    v.named = c;
    return v;
}

static const struct {
    DType dtype;
    double max, tiny, eps;
} float_limits[] = {
    {DT_f64, DBL_MAX, DBL_MIN, DBL_EPSILON}, {DT_f32, FLT_MAX, FLT_MIN, FLT_EPSILON},
    {DT_f16, 65504, 0x1p-14, 0x1p-10},       {DT_bf16, 0x1.FEp127, 0x1p-126, 0x1p-7},
    {DT_f8e4m3, 448, 0x1p-6, 0x1p-3},        {DT_f8e5m2, 57344, 0x1p-14, 0x1p-2}};

static Val float_info(Lower *l, Call *c, DType d) {
    static const char *const fields[] = {"max", "min", "tiny", "smallest_normal", "eps", "bits"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(float_limits); i++) {
        if (float_limits[i].dtype != d) continue;
        double max = float_limits[i].max, tiny = float_limits[i].tiny;
        Val values[] = {val_float(max),
                        val_float(-max),
                        val_float(tiny),
                        val_float(tiny),
                        val_float(float_limits[i].eps),
                        val_int(dtype_bits(d))};
        return record(l, "finfo", fields, values, ARRAY_LENGTH(values));
    }
    return fail(l, c->spans[0], "`finfo` needs a float type, not %s", dtype_name(d));
}

Val builtin_host_limits(Lower *l, Call *c) {
    const Type *type;
    if (!argument_dtype(l, c, 0, &type)) return val_error();
    DType d = type_dtype(type);
    if (c->builtin->code == 0) return float_info(l, c, d);
    if (d == DT_NONE || !dtype_is_int(d) || d == DT_i1)
        return fail(l, c->spans[0], "`iinfo` needs an integer type, not %s",
                    type_string(type, l->arena));
    static const char *const fields[] = {"max", "min", "bits"};
    uint32_t bits = dtype_bits(d);
    bool is_unsigned = dtype_is_unsigned(d);
    Wide one = 1, high = (one << (is_unsigned ? bits : bits - 1)) - 1;
    Val values[] = {val_int(high), val_int(is_unsigned ? 0 : -high - 1), val_int(bits)};
    return record(l, "iinfo", fields, values, ARRAY_LENGTH(values));
}
