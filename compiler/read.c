/* read.c: reads the text of a kernel back. The text may hold anything.
 *
 *     file      = { "source" string } { "#" number "=" layout } kernel
 *     kernel    = "kernel" "@" name "(" [ parameter { "," parameter } ] ")"
 *                 "{" option { "," option } "}" [ position ] body
 *     parameter = name ":" type [ "{" "divisibility" "=" integer "}" ]
 *     body      = "{" { op } "}"
 *     op        = [ value { "," value } "=" ] code [ operand { "," operand } ] [ attributes ]
 *                 [ position ] { region }
 *     value     = "%" number ":" type
 *     region    = [ "(" [ value { "," value } ] ")" ] body       ("else" before the second of `if`)
 *     position  = "@" [ source ":" ] line ":" column
 *
 * An op ends with its line, unless a bracket is open; `// ...` is skipped. The reader makes ops
 * with the builder, so it checks counts and what is named; whether types agree is left to
 * ir_verify. It stops at the first error: after one, the current token is the end of the text.
 */
#include "compiler/ir.h"
#include "compiler/layout/layout.h"

#include <ctype.h>
#include <math.h>

typedef enum TokenKind {
    TOKEN_END,
    TOKEN_NAME,   /* add, wgmma_fence, x.1 */
    TOKEN_VALUE,  /* %12, %name */
    TOKEN_NUMBER, /* -12, 0x1.8p+1, 1.5, -inf */
    TOKEN_STRING, /* with its quotes */
    TOKEN_MARK    /* any other character */
} TokenKind;

typedef struct Token {
    TokenKind kind;
    const char *start, *end;
    bool first_on_line;
} Token;

enum { MAX_DEPTH = 100, MAX_OPERANDS = 4096, MAX_INTS = 64, MAX_LITERAL = 1 << 20 };

typedef struct Position {
    Op *op;
    Span span;
} Position;

typedef struct Reader {
    Arena *arena;
    Sources *sources;
    Diagnostics *diagnostics;
    uint32_t source;
    const char *text, *end;
    Token token; /* the current one */
    bool failed;
    uint32_t depth;
    Module *module;
    Value **slots; /* values by interned name, open addressing */
    uint32_t value_count, slot_capacity;
    VEC(uint32_t) named_sources;
    VEC(Position) positions; /* given in the text; until it is verified, ops point into the text */
} Reader;

/* ---- errors ----------------------------------------------------------------------------- */

static Location location(const Reader *r, const char *start, const char *end) {
    size_t offset = (size_t)(start - r->text);
    return (Location){.span = sources_span(r->sources, r->source, offset, (size_t)(end - start))};
}

static bool fail_at(Reader *r, const char *start, const char *end, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Returns false always. The first error ends the text, so that all loops end. */
static bool fail_at(Reader *r, const char *start, const char *end, const char *format, ...) {
    if (r->failed) return false;
    Text text = {.arena = r->arena};
    va_list args;
    va_start(args, format);
    text_vprintf(&text, format, args);
    va_end(args);
    diag_error(r->diagnostics, location(r, start, end), "%s", text.data);
    r->failed = true;
    r->token = (Token){.kind = TOKEN_END, .start = r->end, .end = r->end, .first_on_line = true};
    return false;
}

static bool fail(Reader *r, const char *message) {
    return fail_at(r, r->token.start, r->token.end, "%s", message);
}

/* ---- tokens ----------------------------------------------------------------------------- */

static bool is_name_byte(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.' || (unsigned char)c >= 0x80;
}

static void scan_string(Reader *r, const char *at) {
    r->token.kind = TOKEN_STRING;
    while (at < r->end && *at != '"' && *at != '\n') at += *at == '\\' && at + 1 < r->end ? 2 : 1;
    r->token.end = at < r->end ? at + 1 : r->end;
    if (at >= r->end || *at != '"')
        fail_at(r, r->token.start, r->token.start + 1, "this string does not end on its line");
}

static const char *skip_blank(Reader *r, const char *at, bool *new_line) {
    for (; at < r->end; at++) {
        if (*at == '\n')
            *new_line = true;
        else if (*at == '/' && at + 1 < r->end && at[1] == '/')
            while (at + 1 < r->end && at[1] != '\n') at++;
        else if (*at != ' ' && *at != '\t' && *at != '\r')
            break;
    }
    return at;
}

static void advance_to(Reader *r, const char *at, bool new_line) {
    if (r->failed) return;
    at = skip_blank(r, at, &new_line);
    r->token = (Token){.kind = TOKEN_END, .start = at, .end = at, .first_on_line = new_line};
    if (at == r->end) return;
    char c = *at++;
    bool negative = c == '-' && at < r->end && isalnum((unsigned char)*at);
    if (isdigit((unsigned char)c) || negative) {
        r->token.kind = TOKEN_NUMBER;
        for (; at < r->end; at++) {
            bool exponent = strchr("eEpP", at[-1]) != NULL;
            if (!is_name_byte(*at) && !(exponent && (*at == '+' || *at == '-'))) break;
        }
    } else if (c == '%' || is_name_byte(c)) {
        r->token.kind = c == '%' ? TOKEN_VALUE : TOKEN_NAME;
        while (at < r->end && is_name_byte(*at)) at++;
    } else if (c == '"') {
        scan_string(r, at);
        return;
    } else {
        r->token.kind = TOKEN_MARK;
    }
    r->token.end = at;
}

static void advance(Reader *r) {
    advance_to(r, r->token.end, false);
}

static bool is_mark(const Reader *r, char mark) {
    return r->token.kind == TOKEN_MARK && *r->token.start == mark;
}

static bool is_word(const Reader *r, const char *word) {
    size_t length = (size_t)(r->token.end - r->token.start);
    return r->token.kind == TOKEN_NAME && length == strlen(word) &&
           !memcmp(r->token.start, word, length);
}

static bool accept(Reader *r, char mark) {
    if (!is_mark(r, mark)) return false;
    advance(r);
    return true;
}

static bool expect(Reader *r, char mark) {
    if (accept(r, mark)) return true;
    return fail_at(r, r->token.start, r->token.end, "expected `%c`", mark);
}

static bool expect_word(Reader *r, const char *word) {
    if (!is_word(r, word)) return fail_at(r, r->token.start, r->token.end, "expected `%s`", word);
    advance(r);
    return true;
}

static const char *read_name(Reader *r) {
    if (r->token.kind != TOKEN_NAME) return fail(r, "expected a name"), NULL;
    const char *start = r->token.start;
    const char *name = intern(&r->module->names, start, (size_t)(r->token.end - start));
    advance(r);
    return name;
}

/* ---- literals --------------------------------------------------------------------------- */

/* An integer in the token's text; false when it is none or does not fit. */
static bool parse_int(const char *at, const char *end, int64_t *value) {
    bool negative = at < end && *at == '-';
    uint64_t magnitude = 0, most = (uint64_t)INT64_MAX + negative;
    at += negative;
    if (at == end) return false;
    for (; at < end; at++) {
        if (!isdigit((unsigned char)*at)) return false;
        uint64_t digit = (uint64_t)(*at - '0');
        if (magnitude > (most - digit) / 10) return false;
        magnitude = magnitude * 10 + digit;
    }
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

static bool read_int(Reader *r, int64_t *value) {
    if (r->token.kind != TOKEN_NUMBER || !parse_int(r->token.start, r->token.end, value))
        return fail(r, "expected an integer of at most 64 bits");
    advance(r);
    return true;
}

static bool read_uint32(Reader *r, uint32_t least, uint32_t most, uint32_t *value) {
    int64_t wide;
    Token token = r->token;
    if (!read_int(r, &wide)) return false;
    if (wide < least || wide > most)
        return fail_at(r, token.start, token.end, "expected a number from %u to %u", least, most);
    *value = (uint32_t)wide;
    return true;
}

/* Digits of base 10 or 16 with an optional point; counts the digits behind it. */
static const char *parse_digits(const char *at, const char *end, unsigned base, uint64_t *mantissa,
                                int *behind) {
    bool point = false, any = false;
    for (; at < end; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        unsigned char c = (unsigned char)*at;
        if (base == 16 ? !isxdigit(c) : !isdigit(c)) break;
        unsigned digit = (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
        if (*mantissa > (UINT64_C(1) << 53) / base) return NULL;
        *mantissa = *mantissa * base + digit;
        *behind += point;
        any = true;
    }
    return any ? at : NULL;
}

/* Hexadecimal floats, and decimal ones that are exact products or quotients of doubles; so the
 * value depends on neither locale nor library. */
static bool parse_float(const char *at, const char *end, double *value) {
    bool negative = at < end && *at == '-';
    at += negative;
    uint64_t mantissa = 0;
    int behind = 0;
    int64_t exponent = 0;
    if (end - at == 3 && !memcmp(at, "inf", 3)) {
        *value = INFINITY;
    } else if (end - at == 3 && !memcmp(at, "nan", 3)) {
        *value = NAN;
    } else {
        bool hex = end - at > 2 && at[0] == '0' && at[1] == 'x';
        at = parse_digits(hex ? at + 2 : at, end, hex ? 16 : 10, &mantissa, &behind);
        if (!at) return false;
        if (at < end) {
            if (tolower((unsigned char)*at) != (hex ? 'p' : 'e')) return false;
            at++;
            if (at < end && *at == '+') at++;
            if (!parse_int(at, end, &exponent)) return false;
            if (exponent < -5000 || exponent > 5000) return false;
        }
        exponent -= hex ? 4 * behind : behind;
        if (mantissa > UINT64_C(1) << 53) return false;
        *value = (double)mantissa;
        if (hex) {
            *value = ldexp(*value, (int)exponent);
        } else {
            if (exponent < -22 || exponent > 22) return false;
            double power = 1;
            for (int64_t i = exponent; i != 0; i += i > 0 ? -1 : 1) power *= 10;
            *value = exponent < 0 ? *value / power : *value * power;
        }
    }
    if (negative) *value = -*value;
    return true;
}

/* Resolves escapes; the token is a whole string. */
static const char *read_string(Reader *r, uint32_t *length) {
    if (r->token.kind != TOKEN_STRING) return fail(r, "expected a string"), NULL;
    const char *at = r->token.start + 1, *end = r->token.end - 1;
    if (end - at > MAX_LITERAL) return fail(r, "this string is too long"), NULL;
    char *string = arena_alloc(r->arena, (size_t)(end - at) + 1);
    *length = 0;
    while (at < end) {
        char c = *at++;
        if (c == '\\' && at < end) {
            const char *escape = at - 1;
            c = *at++;
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
            else if (c == 'x' && end - at >= 2 && isxdigit((unsigned char)at[0]) &&
                     isxdigit((unsigned char)at[1])) {
                uint64_t code = 0;
                int behind = 0;
                at = parse_digits(at, at + 2, 16, &code, &behind);
                c = (char)code;
            } else if (c != '"' && c != '\\') {
                return fail_at(r, escape, at, "this escape is none of \\n \\t \\\" \\\\ \\xHH"),
                       NULL;
            }
        }
        string[(*length)++] = c;
    }
    advance(r);
    return string;
}

static const Type *read_type(Reader *r) {
    if (r->failed) return NULL;
    const char *at = r->token.start, *problem;
    const Type *type = type_read(&r->module->types, &at, r->end, &problem);
    if (!type) {
        fail_at(r, at, at + (at < r->end), "%s", problem);
        return NULL;
    }
    advance_to(r, at, false);
    return type;
}

/* ---- values ----------------------------------------------------------------------------- */

static Value **find_slot(Value **slots, uint32_t capacity, const char *name) {
    uint32_t at = (uint32_t)hash_bytes(0, &name, sizeof name) & (capacity - 1);
    while (slots[at] && slots[at]->name != name) at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static void grow_slots(Reader *r) {
    uint32_t capacity = r->slot_capacity ? r->slot_capacity * 2 : 256;
    Value **slots = arena_array(r->arena, Value *, capacity);
    for (uint32_t i = 0; i < r->slot_capacity; i++)
        if (r->slots[i]) *find_slot(slots, capacity, r->slots[i]->name) = r->slots[i];
    r->slots = slots;
    r->slot_capacity = capacity;
}

/* While reading, a value's name is what the text calls it. */
static bool define(Reader *r, Value *value, const char *name, Token token) {
    if (r->value_count * 2 >= r->slot_capacity) grow_slots(r);
    Value **slot = find_slot(r->slots, r->slot_capacity, name);
    if (*slot) return fail_at(r, token.start, token.end, "%%%s is defined twice", name);
    value->name = name;
    *slot = value;
    r->value_count++;
    return true;
}

static const char *value_name(Reader *r, Token token) {
    return intern(&r->module->names, token.start + 1, (size_t)(token.end - token.start - 1));
}

typedef struct Definition {
    Token token;
    const Type *type;
} Definition;

typedef VEC(Definition) Definitions;

/* "%" number ":" type, any number of them. */
static bool read_definitions(Reader *r, Definitions *list) {
    do {
        Definition d = {.token = r->token};
        bool numbered = d.token.kind == TOKEN_VALUE && d.token.end - d.token.start > 1;
        for (const char *at = d.token.start + 1; at < d.token.end && numbered; at++)
            numbered = isdigit((unsigned char)*at);
        if (!numbered) return fail(r, "expected a value, like %0");
        if (list->length == MAX_OPERANDS) return fail(r, "there are too many values");
        advance(r);
        if (!expect(r, ':') || !(d.type = read_type(r))) return false;
        vec_push(r->arena, list, d);
    } while (accept(r, ','));
    return true;
}

typedef VEC(Value *) Values;

static bool read_operands(Reader *r, Values *operands) {
    do {
        if (r->token.kind != TOKEN_VALUE) return fail(r, "expected an operand, like %0");
        if (operands->length == MAX_OPERANDS) return fail(r, "there are too many operands");
        const char *name = value_name(r, r->token);
        Value *value = r->slot_capacity ? *find_slot(r->slots, r->slot_capacity, name) : NULL;
        if (!value)
            return fail_at(r, r->token.start, r->token.end, "%%%s is not defined here", name);
        vec_push(r->arena, operands, value);
        advance(r);
    } while (accept(r, ','));
    return true;
}

/* ---- attributes, positions -------------------------------------------------------------- */

static bool read_ints(Reader *r, Op *op, AttributeKey key) {
    int64_t ints[MAX_INTS];
    uint32_t count = 0;
    if (!expect(r, '[')) return false;
    while (!is_mark(r, ']')) {
        if (count == MAX_INTS) return fail(r, "this list is too long");
        if (count > 0 && !expect(r, ',')) return false;
        if (!read_int(r, &ints[count++])) return false;
    }
    op_set_ints(r->module, op, key, count, ints);
    return expect(r, ']');
}

static bool read_number(Reader *r, Op *op, AttributeKey key) {
    int64_t value;
    double number;
    const char *start = r->token.start, *end = r->token.end;
    if (r->token.kind != TOKEN_NUMBER && r->token.kind != TOKEN_NAME)
        return fail(r, "expected a number");
    if (parse_int(start, end, &value)) {
        op_set_int(r->module, op, key, value);
    } else if (parse_float(start, end, &number)) {
        op_set_float(r->module, op, key, number);
    } else {
        return fail(r, "expected a number: 12, 1.5, 0x1.8p+1, inf or nan; a decimal that is not "
                       "short must be written in hexadecimal");
    }
    advance(r);
    return true;
}

static bool read_attribute_value(Reader *r, Op *op, AttributeKey key) {
    int64_t value;
    uint32_t length;
    const char *string;
    Word word;
    switch (attribute_kinds[key]) {
    case AK_NUMBER: return read_number(r, op, key);
    case AK_INTS: return read_ints(r, op, key);
    case AK_INT:
        if (!read_int(r, &value)) return false;
        op_set_int(r->module, op, key, value);
        return true;
    case AK_STRING:
        if (!(string = read_string(r, &length))) return false;
        op_set_string(r->module, op, key, string, length);
        return true;
    case AK_WORD:
        word = word_from_name(r->token.start, (size_t)(r->token.end - r->token.start));
        if (r->token.kind != TOKEN_NAME || word == WORD_none) return fail(r, "unknown word");
        op_set_word(r->module, op, key, word);
        advance(r);
        return true;
    }
    return false;
}

static AttributeKey attribute_from_name(Token token) {
    size_t length = (size_t)(token.end - token.start);
    for (AttributeKey key = 0; key < ATTR_COUNT; key++)
        if (strlen(attribute_names[key]) == length &&
            !memcmp(attribute_names[key], token.start, length))
            return key;
    return ATTR_COUNT;
}

static bool read_attributes(Reader *r, Op *op) {
    do {
        AttributeKey key = attribute_from_name(r->token);
        if (r->token.kind != TOKEN_NAME || key == ATTR_COUNT) return fail(r, "unknown attribute");
        if (op_attribute(op, key)) return fail(r, "this attribute is given twice");
        advance(r);
        if (!expect(r, '=') || !read_attribute_value(r, op, key)) return false;
    } while (accept(r, ','));
    return expect(r, '}');
}

/* What stands behind "@". Positions count from 1; source 0 is the first one named. */
static bool read_position(Reader *r, Span *span) {
    uint32_t numbers[3], count = 0;
    Token token = r->token;
    do {
        if (!read_uint32(r, 0, UINT32_MAX, &numbers[count++])) return false;
    } while (count < 3 && accept(r, ':'));
    uint32_t source = count == 3 ? numbers[0] : 0;
    uint32_t line = numbers[count > 1 ? count - 2 : 0], column = numbers[count - 1];
    if (count < 2 || line == 0 || column == 0 || column > UINT16_MAX)
        return fail_at(r, token.start, token.end, "expected a position, like @12:5");
    if (source >= r->named_sources.length)
        return fail_at(r, token.start, token.end, "this position lies in a source not named above");
    *span = (Span){r->named_sources.data[source], line, (uint16_t)column, 1};
    return true;
}

/* ---- ops -------------------------------------------------------------------------------- */

static bool read_body(Reader *r, Region *region);

static bool read_regions(Reader *r, Op *op) {
    for (uint32_t i = 0; i < op->region_count; i++) {
        Definitions arguments = {0};
        if (op->code == OP_if) {
            if (i == 1 && !expect_word(r, "else")) return false;
        } else {
            if (!expect(r, '(')) return false;
            if (!is_mark(r, ')') && !read_definitions(r, &arguments)) return false;
            if (!expect(r, ')')) return false;
        }
        for (uint32_t j = 0; j < arguments.length; j++) {
            Token token = arguments.data[j].token;
            Value *value = region_add_argument(r->module, op->regions[i], arguments.data[j].type);
            if (!define(r, value, value_name(r, token), token)) return false;
        }
        if (!read_body(r, op->regions[i])) return false;
    }
    return true;
}

/* Makes the op once its counts are known to be in order; the builder asserts them. */
static Op *make_op(Reader *r, Region *region, Token token, OpCode code, const Definitions *results,
                   const Values *operands) {
    const OpInfo *info = &op_infos[code];
    int given = (int)operands->length;
    if (given < info->min_operands || (info->max_operands != MANY && given > info->max_operands)) {
        fail_at(r, token.start, token.end, "`%s` does not take %d operand%s", info->name, given,
                given == 1 ? "" : "s");
        return NULL;
    }
    if (info->results != MANY && (int)results->length != info->results) {
        fail_at(r, token.start, token.end, "`%s` has %d result%s, not %u", info->name,
                info->results, info->results == 1 ? "" : "s", results->length);
        return NULL;
    }
    const Type **types = arena_array(r->arena, const Type *, results->length);
    for (uint32_t i = 0; i < results->length; i++) types[i] = results->data[i].type;
    Builder b = {.module = r->module, .region = region, .at = location(r, token.start, token.end)};
    return build_op(&b, code, operands->length, operands->data, results->length, types);
}

static OpCode code_from_name(Token token) {
    size_t length = (size_t)(token.end - token.start);
    for (OpCode code = 0; code < OP_COUNT; code++)
        if (strlen(op_infos[code].name) == length &&
            !memcmp(op_infos[code].name, token.start, length))
            return code;
    return OP_COUNT;
}

static bool read_op(Reader *r, Region *region) {
    Definitions results = {0};
    Values operands = {0};
    Position position = {0};
    if (r->token.kind == TOKEN_VALUE && (!read_definitions(r, &results) || !expect(r, '=')))
        return false;
    Token token = r->token;
    OpCode code = code_from_name(token);
    if (token.kind != TOKEN_NAME || code == OP_COUNT) return fail(r, "expected an op");
    advance(r);
    if (r->token.kind == TOKEN_VALUE && !r->token.first_on_line && !read_operands(r, &operands))
        return false;
    Op *op = make_op(r, region, token, code, &results, &operands);
    if (!op) return false;
    if (code != OP_if && accept(r, '{') && !read_attributes(r, op)) return false;
    if (!r->token.first_on_line && accept(r, '@')) {
        position.op = op;
        if (!read_position(r, &position.span)) return false;
        vec_push(r->arena, &r->positions, position);
    }
    if (!read_regions(r, op)) return false;
    for (uint32_t i = 0; i < results.length; i++) {
        Token name = results.data[i].token;
        if (!define(r, op_result(op, i), value_name(r, name), name)) return false;
    }
    if (r->token.kind != TOKEN_END && !r->token.first_on_line && !is_mark(r, '}'))
        return fail(r, "expected the end of the line");
    return true;
}

static bool read_body(Reader *r, Region *region) {
    if (r->depth == MAX_DEPTH) return fail(r, "regions are nested too deeply");
    r->depth++;
    if (!expect(r, '{')) return false;
    while (!r->failed && !is_mark(r, '}')) {
        if (r->token.kind == TOKEN_END) return fail(r, "expected `}`");
        if (!read_op(r, region)) return false;
    }
    r->depth--;
    return expect(r, '}');
}

/* ---- kernel ----------------------------------------------------------------------------- */

static bool read_parameter(Reader *r, Parameter *parameter) {
    Token token = r->token;
    *parameter = (Parameter){.divisibility = 1, .span = location(r, token.start, token.end).span};
    if (!(parameter->name = read_name(r)) || !expect(r, ':')) return false;
    token = r->token;
    if (!(parameter->type = read_type(r))) return false;
    if (parameter->type->rank)
        return fail_at(r, token.start, token.end, "a parameter must be a scalar or a pointer");
    if (!accept(r, '{')) return true;
    token = r->token;
    if (!expect_word(r, "divisibility") || !expect(r, '=')) return false;
    if (!read_int(r, &parameter->divisibility)) return false;
    if (parameter->divisibility < 1)
        return fail_at(r, token.start, token.end, "the divisibility must be positive");
    return expect(r, '}');
}

static bool read_level(Reader *r) {
    advance(r);
    if (!expect(r, '=')) return false;
    Level level = is_word(r, "laid")     ? LEVEL_LAID
                  : is_word(r, "placed") ? LEVEL_PLACED
                                         : LEVEL_BLOCK;
    if (level == LEVEL_BLOCK) return fail(r, "expected laid or placed");
    r->module->level = level;
    advance(r);
    return true;
}

static bool read_target(Reader *r) {
    advance(r);
    return expect(r, '=') && (r->module->target = read_name(r));
}

static bool read_options(Reader *r, Kernel *kernel) {
    if (!expect(r, '{')) return false;
    do {
        if (is_word(r, "level") || is_word(r, "target")) {
            if (!(is_word(r, "level") ? read_level(r) : read_target(r))) return false;
            continue;
        }
        if (is_word(r, "shared_bytes")) {
            advance(r);
            if (!expect(r, '=') || !read_uint32(r, 0, 1 << 20, &kernel->shared_bytes)) return false;
            continue;
        }
        uint32_t *option = is_word(r, "num_warps")    ? &kernel->num_warps
                           : is_word(r, "num_stages") ? &kernel->num_stages
                           : is_word(r, "num_ctas")   ? &kernel->num_ctas
                                                      : NULL;
        if (!option) return fail(r, "expected num_warps, num_stages or num_ctas");
        advance(r);
        if (!expect(r, '=') || !read_uint32(r, 0, 64, option)) return false;
    } while (accept(r, ','));
    return expect(r, '}');
}

static bool read_sources(Reader *r) {
    while (is_word(r, "source")) {
        uint32_t length;
        advance(r);
        const char *path = read_string(r, &length);
        if (!path) return false;
        vec_push(r->arena, &r->named_sources, sources_add(r->sources, path, NULL, 0));
    }
    return true;
}

/* The layout lies in the text as it is; the text need not end in a NUL, so a copy does. */
static bool read_layouts(Reader *r) {
    Types *types = &r->module->types;
    while (accept(r, '#')) {
        uint32_t number;
        Layout layout;
        Token token = r->token;
        if (!read_uint32(r, 0, UINT32_MAX, &number)) return false;
        if (number != types->text_names.length)
            return fail_at(r, token.start, token.end, "layouts are numbered 0, 1, 2, ...");
        if (!expect(r, '=')) return false;
        if (r->failed || r->token.kind == TOKEN_END) return fail(r, "expected a layout");
        const char *line = memchr(r->token.start, '\n', (size_t)(r->end - r->token.start));
        size_t length = (size_t)((line ? line : r->end) - r->token.start);
        const char *copy = arena_strndup(r->arena, r->token.start, length), *at = copy;
        bool good = layout_read(&at, &layout) && layout_total_bits(&layout) <= 32;
        const char *stop = r->token.start + (at - copy);
        if (!good) return fail_at(r, stop, stop + (stop < r->end), "this is no layout");
        vec_push(r->arena, &types->text_names, type_layout(types, &layout));
        advance_to(r, stop, false);
    }
    return true;
}

static bool read_kernel(Reader *r) {
    VEC(Parameter) parameters = {0};
    VEC(Token) names = {0};
    Parameter parameter;
    if (!read_sources(r) || !read_layouts(r)) return false;
    if (!expect_word(r, "kernel") || !expect(r, '@')) return false;
    Token token = r->token;
    const char *name = read_name(r);
    if (!name || !expect(r, '(')) return false;
    while (!is_mark(r, ')')) {
        if (parameters.length > 0 && !expect(r, ',')) return false;
        if (parameters.length == MAX_OPERANDS) return fail(r, "there are too many parameters");
        vec_push(r->arena, &names, r->token);
        if (!read_parameter(r, &parameter)) return false;
        vec_push(r->arena, &parameters, parameter);
    }
    advance(r);
    Kernel *kernel = kernel_new(r->module, name, parameters.length, parameters.data);
    kernel->at = location(r, token.start, token.end);
    for (uint32_t i = 0; i < parameters.length; i++) {
        Value *value = kernel->body->arguments[i];
        if (!define(r, value, value->name, names.data[i])) return false;
    }
    if (!read_options(r, kernel)) return false;
    if (accept(r, '@') && !read_position(r, &kernel->at.span)) return false;
    if (!read_body(r, kernel->body)) return false;
    return r->token.kind == TOKEN_END || fail(r, "expected the end of the text");
}

/* Names belong to the variables of a source; what the text calls a value is no such name. */
static void forget_names(Op *op, void *context) {
    (void)context;
    for (uint32_t i = 0; i < op->result_count; i++) op->results[i].name = NULL;
    for (uint32_t i = 0; i < op->region_count; i++)
        for (uint32_t j = 0; j < op->regions[i]->argument_count; j++)
            op->regions[i]->arguments[j]->name = NULL;
}

Module *ir_read(Arena *arena, Sources *sources, Diagnostics *diagnostics, uint32_t source) {
    const Source *s = &sources->list.data[source];
    Reader r = {.arena = arena, .sources = sources, .diagnostics = diagnostics, .source = source};
    r.text = s->text ? s->text : "";
    r.end = r.text + s->length;
    r.module = module_new(arena, sources, diagnostics);
    advance_to(&r, r.text, true);
    if (!read_kernel(&r)) return NULL;
    region_walk(r.module->kernel->body, forget_names, NULL);
    if (!ir_verify(r.module, r.module->level)) return NULL;
    for (uint32_t i = 0; i < r.positions.length; i++)
        r.positions.data[i].op->at.span = r.positions.data[i].span;
    return r.module;
}
