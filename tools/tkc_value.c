/* tkc_value.c: reading NAME=VALUE and filling tensors; see tkc_value.h. */
#include "tools/tkc_value.h"

#include "compiler/type.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- numbers --------------------------------------------------------------------------------- */

/* An integer literal: sign, decimal or 0x / 0b / 0o digits, `_` between digits. */
static bool parse_integer(const char *text, size_t length, Given *given) {
    size_t i = 0;
    uint64_t base = 10, value = 0;
    given->negative = length && text[0] == '-';
    if (length && (text[0] == '-' || text[0] == '+')) i++;
    if (i + 2 < length && text[i] == '0' && strchr("xXbBoO", text[i + 1])) {
        int letter = tolower((unsigned char)text[i + 1]);
        base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
        i += 2;
    }
    if (i == length) return false;
    for (; i < length; i++) {
        int c = tolower((unsigned char)text[i]);
        if (c == '_') continue;
        uint64_t digit = c >= '0' && c <= '9'   ? (uint64_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint64_t)(c - 'a' + 10)
                                                : 99;
        if (digit >= base || value > (UINT64_MAX - digit) / base) return false;
        value = value * base + digit;
    }
    if (given->negative && value > (uint64_t)INT64_MAX + 1) return false;
    given->kind = GIVEN_INT;
    given->integer = value;
    given->number = given->negative ? -(double)value : (double)value;
    return true;
}

static bool parse_float(const char *text, size_t length, double *number) {
    char copy[64], *end;
    if (length == 0 || length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    /* strtod also takes hexadecimal and `infinity`, `nan(...)`; only inf and nan are ours. */
    if (strspn(copy, "+-.0123456789eE") != length && strcmp(copy, "inf") && strcmp(copy, "-inf") &&
        strcmp(copy, "nan"))
        return false;
    *number = strtod(copy, &end);
    return *end == 0;
}

static bool parse_number(const char *text, size_t length, Given *given) {
    if (parse_integer(text, length, given)) return true;
    given->kind = GIVEN_FLOAT;
    given->negative = false;
    return parse_float(text, length, &given->number);
}

/* ---- random and other fillings -----------------------------------------------------------------
 */

static uint64_t bits_of(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t key_of(uint64_t seed, const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return bits_of(seed ^ hash);
}

static uint64_t random_bits(uint64_t key, uint64_t index) {
    return bits_of(key + index * 0x9e3779b97f4a7c15u);
}

typedef enum Filling {
    FILL_ZEROS,
    FILL_ONES,
    FILL_FULL,
    FILL_ARANGE,
    FILL_RAND,
    FILL_RANDN,
    FILL_POISON,
    FILL_COUNT
} Filling;
static const char *const filling_names[FILL_COUNT] = {"zeros", "ones",  "full",  "arange",
                                                      "rand",  "randn", "poison"};

typedef struct Generator {
    Filling filling;
    uint32_t argument_count;
    double arguments[2];
    uint64_t key;
    bool is_float;
    uint32_t unit_bits; /* floats: numbers k / 2^unit_bits in [0, 1) are exact in the type */
} Generator;

static double unit_random(uint64_t key, uint64_t index, uint32_t bits) {
    return ldexp((double)(random_bits(key, index) >> (64 - bits)), -(int)bits);
}

static double random_number(const Generator *g, uint64_t i) {
    const double *a = g->arguments;
    if (g->filling == FILL_RANDN) {
        double mean = g->argument_count > 0 ? a[0] : 0,
               deviation = g->argument_count > 1 ? a[1] : 1;
        double u = 1 - unit_random(g->key, 2 * i, 53), v = unit_random(g->key, 2 * i + 1, 53);
        return mean + deviation * sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
    }
    double low = g->argument_count == 2 ? a[0] : 0;
    double high = g->argument_count == 2   ? a[1]
                  : g->argument_count == 1 ? a[0]
                  : g->is_float            ? 1
                                           : 100;
    if (g->is_float) return low + (high - low) * unit_random(g->key, i, g->unit_bits);
    return low + floor((high - low) * unit_random(g->key, i, 53));
}

static double element(const Generator *g, uint64_t i) {
    const double *a = g->arguments;
    switch (g->filling) {
    case FILL_ONES: return 1;
    case FILL_FULL: return a[0];
    case FILL_ARANGE:
        return (g->argument_count > 0 ? a[0] : 0) + (double)i * (g->argument_count > 1 ? a[1] : 1);
    case FILL_RAND:
    case FILL_RANDN: return random_number(g, i);
    default: return 0;
    }
}

static bool fill(const Generator *generator, tkc_array *array) {
    enum { CHUNK = 1024 };
    double numbers[CHUNK];
    uint64_t count = tkc_array_count(array), size = tkc_dtype_size(array->dtype);
    array->data = aligned_alloc(64, (array->size + 64) / 64 * 64);
    if (!array->data) return false;
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        for (uint64_t j = 0; j < n; j++) numbers[j] = element(generator, i + j);
        tkc_encode(array->dtype, numbers, (char *)array->data + i * size, n);
    }
    return true;
}

/* ---- tensors
 * --------------------------------------------------------------------------------------- */

static bool complain(const Given *given, const char *what) {
    tool_error("%s=%s: %s", given->name, given->text, what);
    return false;
}

/* "f32[128,64]" */
static bool parse_shape(Given *given, const char *text) {
    tkc_array *array = &given->array;
    size_t length = strcspn(text, "[");
    char dtype[32];
    snprintf(dtype, sizeof dtype, "%.*s", (int)length, text);
    array->dtype = length < sizeof dtype ? tkc_dtype_from_name(dtype) : TKC_NONE;
    if (array->dtype == TKC_NONE)
        return complain(given, "unknown dtype; `tkc help run` lists them");
    if (text[length] != '[') return complain(given, "a shape must follow the dtype: f32[128,64]");
    text += length + 1;
    while (*text && *text != ']') {
        char *end;
        errno = 0;
        long long extent = strtoll(text, &end, 10);
        if (!isdigit((unsigned char)*text) || errno || (*end != ',' && *end != ']'))
            return complain(given, "a shape is numbers with commas between: f32[128,64]");
        if (array->rank == TKC_MAX_RANK) return complain(given, "too many dimensions");
        array->shape[array->rank++] = extent;
        text = end + (*end == ',');
    }
    if (strcmp(text, "]") != 0) return complain(given, "the shape must end in `]`");
    uint64_t count = tkc_array_count(array);
    if (count > (UINT64_C(1) << 40) / tkc_dtype_size(array->dtype))
        return complain(given, "that is more than 2^40 bytes");
    array->size = count * tkc_dtype_size(array->dtype);
    given->dtype = array->dtype;
    return true;
}

/* "(1,2)" after the name of a filling; returns what follows, NULL when a message was printed. */
static const char *parse_arguments(Given *given, const char *text, Generator *generator) {
    static const uint32_t most[FILL_COUNT] = {0, 0, 1, 2, 2, 2, 0};
    if (*text != '(') return text;
    do {
        size_t length = strcspn(++text, ",)");
        if (generator->argument_count == most[generator->filling] ||
            !parse_float(text, length, &generator->arguments[generator->argument_count++])) {
            complain(given, most[generator->filling] ? "the numbers in ( ) are not right"
                                                     : "this filling takes no numbers");
            return NULL;
        }
        text += length;
    } while (*text == ',');
    if (*text == ')') return text + 1;
    complain(given, "`)` is missing");
    return NULL;
}

/* "randn:f32[128]", "full(2):f32[4]". *known: it starts with the name of a filling. */
static bool parse_filling(Given *given, uint64_t seed, bool *known) {
    Generator generator = {.key = key_of(seed, given->name)};
    size_t length = strcspn(given->text, ":(");
    if (!given->text[length]) return *known = false;
    while (generator.filling < FILL_COUNT &&
           (strlen(filling_names[generator.filling]) != length ||
            memcmp(filling_names[generator.filling], given->text, length) != 0))
        generator.filling++;
    *known = generator.filling < FILL_COUNT;
    if (!*known) return false;
    const char *rest = parse_arguments(given, given->text + length, &generator);
    if (!rest) return false;
    if (*rest != ':') return complain(given, "write NAME:dtype[shape], such as randn:f32[128]");
    if (generator.filling == FILL_FULL && generator.argument_count == 0)
        return complain(given, "full needs a number: full(2.5):f32[128]");
    given->kind = GIVEN_TENSOR;
    given->poison = generator.filling == FILL_POISON;
    if (!parse_shape(given, rest + 1)) return false;
    generator.unit_bits = value_significand_bits(given->dtype);
    generator.is_float = generator.unit_bits > 0;
    if (!given->poison && !fill(&generator, &given->array)) return complain(given, "out of memory");
    return true;
}

/* Numbers of another type are converted; the library takes raw bytes and bits itself. */
static tkc_status load_as(const char *path, tkc_dtype dtype, tkc_array *array) {
    tkc_status status = tkc_npy_load(path, dtype, array);
    tkc_array from = TKC_ARRAY_INIT;
    if (status != TKC_BAD_NPY || dtype == TKC_NONE) return status;
    if (tkc_npy_load(path, TKC_NONE, &from) != TKC_OK) return status;
    uint64_t count = tkc_array_count(&from);
    double *numbers = malloc(count * sizeof(double) + 1);
    *array = from;
    array->dtype = dtype;
    array->size = count * tkc_dtype_size(dtype);
    array->data = aligned_alloc(64, (array->size + 64) / 64 * 64);
    status = numbers && array->data ? TKC_OK : TKC_OUT_OF_MEMORY;
    if (status == TKC_OK) {
        tkc_decode(from.dtype, from.data, numbers, count);
        tkc_encode(dtype, numbers, array->data, count);
    }
    free(numbers);
    tkc_array_free(&from);
    return status;
}

/* "@file.npy", "@file.npy:bf16" */
static ExitStatus parse_file(Arena *arena, Given *given) {
    const char *path = given->text + 1, *colon = strrchr(path, ':');
    tkc_dtype dtype = colon ? tkc_dtype_from_name(colon + 1) : TKC_NONE;
    if (dtype != TKC_NONE) path = arena_strndup(arena, path, (size_t)(colon - path));
    given->kind = GIVEN_TENSOR;
    tkc_status status = load_as(path, dtype, &given->array);
    given->dtype = given->array.dtype;
    return status == TKC_OK ? STATUS_DONE : tool_report(status);
}

/* ---- values
 * ------------------------------------------------------------------------------------------ */

ExitStatus value_parse_text(Arena *arena, const char *name, const char *text, uint64_t seed,
                            Given *given) {
    bool known;
    *given = (Given){.name = name, .text = text, .array = TKC_ARRAY_INIT};
    if (text[0] == '@') return parse_file(arena, given);
    if (parse_filling(given, seed, &known)) return STATUS_DONE;
    if (known) return STATUS_USAGE;
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    if (parse_number(text, length, given)) {
        if (!colon) return STATUS_DONE;
        given->dtype = tkc_dtype_from_name(colon + 1);
        if (given->dtype != TKC_NONE) return STATUS_DONE;
        return complain(given, "unknown dtype after `:`"), STATUS_USAGE;
    }
    given->kind = GIVEN_TEXT;
    if (strcasecmp(text, "none") == 0) given->kind = GIVEN_NONE;
    if (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0) {
        given->kind = GIVEN_BOOL;
        given->integer = text[0] == 't' || text[0] == 'T';
        given->number = (double)given->integer;
    }
    return STATUS_DONE;
}

ExitStatus value_parse(Arena *arena, const char *argument, uint64_t seed, Given *given) {
    const char *equals = strchr(argument, '=');
    if (!equals || equals == argument || !equals[1]) {
        tool_error("arguments of the kernel are NAME=VALUE, not `%s`", argument);
        return STATUS_USAGE;
    }
    const char *name = arena_strndup(arena, argument, (size_t)(equals - argument));
    return value_parse_text(arena, name, equals + 1, seed, given);
}

tkc_dtype value_natural_dtype(const Given *given) {
    if (given->dtype != TKC_NONE) return given->dtype;
    if (given->kind == GIVEN_BOOL) return TKC_I1;
    if (given->kind == GIVEN_FLOAT) return TKC_F32;
    if (given->negative) return given->integer <= (UINT64_C(1) << 31) ? TKC_I32 : TKC_I64;
    return given->integer <= INT32_MAX ? TKC_I32 : given->integer <= INT64_MAX ? TKC_I64 : TKC_U64;
}

uint32_t value_significand_bits(tkc_dtype dtype) {
    const char *name = tkc_dtype_name(dtype);
    DType own = dtype_from_name(name, strlen(name));
    return dtype_is_float(own) ? dtype_mantissa_bits(own) + 1 : 0;
}

const char *array_describe(Arena *arena, const tkc_array *array) {
    Text text = {.arena = arena};
    text_printf(&text, "%s[", tkc_dtype_name(array->dtype));
    for (uint32_t i = 0; i < array->rank; i++)
        text_printf(&text, "%s%lld", i ? "," : "", (long long)array->shape[i]);
    text_puts(&text, "]");
    return text.data;
}

const char *value_describe(Arena *arena, const Given *given) {
    if (given->kind == GIVEN_TENSOR) return array_describe(arena, &given->array);
    if (given->dtype == TKC_NONE) return given->text;
    return arena_printf(arena, "%s (%s)", given->text, tkc_dtype_name(given->dtype));
}
