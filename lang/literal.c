/* literal.c: numbers, strings and f-strings.
 *
 * An f-string is one token. Here it is taken apart: its text is decoded, and the expression of
 * each field is scanned and parsed on its own, at its own place in the source. A field may hold
 * any expression, strings with the same quotes and further f-strings too, so the scanner and this
 * file use the same two functions to find where a string and where a field ends.
 */
#include "lang/parse_internal.h"
#include "parse.h"

#include <locale.h>
#include <stdlib.h>

/* ---- numbers ----------------------------------------------------------------------------- */

static uint32_t digit_value(char c) {
    if (c >= '0' && c <= '9') return (uint32_t)(c - '0');
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 99;
}

static double read_double(Arena *arena, const char *text, size_t length) {
    char *digits = arena_alloc(arena, length + 1);
    size_t n = 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != '_') digits[n++] = text[i];
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the host may have set another */
    double value = plain ? strtod_l(digits, NULL, plain) : strtod(digits, NULL);
    if (plain) freelocale(plain);
    return value;
}

static void read_integer(Parser *parser, Node *node, const char *text, size_t length) {
    uint32_t base = 10;
    size_t i = 0;
    if (length > 2 && text[0] == '0') {
        char c = text[1] | 0x20;
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        if (base != 10) i = 2;
    }
    uint64_t low = 0, high = 0;
    for (; i < length; i++) {
        if (text[i] == '_') continue;
        if (high >> 58 != 0 && high > UINT64_MAX / base) {
            parse_error(parser, node->span, "this integer needs more than 128 bits");
            return;
        }
        uint64_t a = (low & UINT32_MAX) * base + digit_value(text[i]);
        uint64_t b = (low >> 32) * base + (a >> 32);
        uint64_t carry = b >> 32;
        low = (b << 32) | (a & UINT32_MAX);
        if (high > (UINT64_MAX - carry) / base) {
            parse_error(parser, node->span, "this integer needs more than 128 bits");
            return;
        }
        high = high * base + carry;
    }
    node->integer = low;
    node->integer_high = high;
    size_t digit = 0;
    while (digit < length && (text[digit] == '0' || text[digit] == '_')) digit++;
    if (base == 10 && length > 1 && text[0] == '0' && digit < length)
        parse_error(parser, node->span,
                    "a decimal number cannot start with 0; octal numbers are written 0o%.*s",
                    (int)(length - digit > 40 ? 40 : length - digit), text + digit);
}

Node *make_number(Parser *parser, Place place) {
    const Token *t = place.first;
    bool integer = t->kind == T_INT;
    Node *node = node_new(parser, integer ? NODE_INT : NODE_FLOAT, place);
    const char *text = parser->text + t->begin;
    if (integer)
        read_integer(parser, node, text, t->end - t->begin);
    else
        node->number = read_double(parser->arena, text, t->end - t->begin);
    return node_close(parser, node);
}

/* ---- where strings end ------------------------------------------------------------------- */

static bool is_triple(const char *text, size_t at, size_t limit) {
    return at + 2 < limit && text[at + 1] == text[at] && text[at + 2] == text[at];
}

/* Length of a string prefix (r, b, u, f and mixes) with its quote at `at`; -1: no string. */
static int string_prefix(const char *text, size_t at, size_t limit, bool *format, bool *raw) {
    *format = *raw = false;
    for (int n = 0; n < 3 && at + (size_t)n < limit; n++) {
        char c = text[at + (size_t)n];
        if (c == '"' || c == '\'') return n;
        c |= 0x20;
        if (c == 'f')
            *format = true;
        else if (c == 'r')
            *raw = true;
        else if (c != 'b' && c != 'u')
            return -1;
    }
    return -1;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (uint8_t)c >= 0x80;
}

/* One walk over strings and fields, each inside the other; `depth` bounds the recursion, and
 * `budget` the whole work: a field that turns out to be open is looked at in vain. */
typedef struct Walk {
    const char *text;
    size_t limit;
    size_t *budget;
    int depth;
} Walk;

static bool walk_field(Walk *w, size_t at, size_t *expression_end, size_t *end);

static bool walk_string(Walk *w, size_t at, bool format, bool raw, size_t *end) {
    const char *s = w->text;
    char quote = s[at];
    bool triple = is_triple(s, at, w->limit);
    size_t i = at + (triple ? 3 : 1);
    while (i < w->limit) {
        char c = s[i];
        if (c == '\\' && i + 1 < w->limit) {
            if (format && (s[i + 1] == '{' || s[i + 1] == '}')) {
                i++;
            } else if (format && !raw && s[i + 1] == 'N' && i + 2 < w->limit && s[i + 2] == '{') {
                i += 3; /* a character's name: no field */
            } else {
                i += s[i + 1] == '\r' && i + 2 < w->limit && s[i + 2] == '\n' ? 3 : 2;
            }
            continue;
        }
        if (c == '\n' && !triple) break;
        if (c == quote && (!triple || is_triple(s, i, w->limit))) {
            *end = i + (triple ? 3 : 1);
            return true;
        }
        if (c == '{' && format) {
            size_t inner, after;
            if (i + 1 < w->limit && s[i + 1] == '{')
                i += 2;
            else if (walk_field(w, i + 1, &inner, &after))
                i = after;
            else
                format = false; /* no braces from here on; decoding tells what is wrong */
            continue;
        }
        i++;
    }
    *end = i < w->limit ? i : w->limit;
    return false;
}

/* The format after the colon: text, with fields in it. `at` is behind the colon. */
static bool walk_format(Walk *w, size_t at, size_t *end) {
    while (at < w->limit) {
        char c = w->text[at];
        if (c == '}') {
            *end = at + 1;
            return true;
        }
        if (c == '\n') return false;
        size_t inner;
        if (c != '{')
            at++;
        else if (!walk_field(w, at + 1, &inner, &at))
            return false;
        if (*w->budget == 0) return false;
        --*w->budget;
    }
    return false;
}

/* True at the `=` of {x=}, which is no comparison and no assignment. */
static bool is_echo(const Walk *w, size_t start, size_t at) {
    const char *s = w->text;
    if (at > start && strchr("=!<>:", s[at - 1])) return false;
    for (at++; at < w->limit && (s[at] == ' ' || s[at] == '\t');) at++;
    return at < w->limit && (s[at] == '}' || s[at] == '!' || s[at] == ':');
}

static bool walk_expression(Walk *w, size_t at, size_t *stop) {
    const char *s = w->text;
    uint32_t open = 0;
    for (size_t i = at; i < w->limit;) {
        if (*w->budget == 0) return false;
        --*w->budget;
        char c = s[i];
        bool format, raw;
        int prefix = i > at && is_word(s[i - 1]) && is_word(c)
                         ? -1
                         : string_prefix(s, i, w->limit, &format, &raw);
        if (prefix >= 0) {
            size_t before = i;
            bool closed = walk_string(w, i + (size_t)prefix, format, raw, &i);
            *w->budget -= *w->budget < i - before ? *w->budget : i - before;
            if (!closed) return false;
            continue;
        }
        if (open == 0 && (c == '}' || c == ':' || (c == '!' && s[i + 1] != '=') ||
                          (c == '=' && is_echo(w, at, i)))) {
            *stop = i;
            return true;
        }
        if (c == '(' || c == '[' || c == '{') open++;
        if (c == ')' || c == ']' || c == '}') {
            if (open == 0) return false;
            open--;
        }
        i++;
    }
    return false;
}

static bool walk_field(Walk *w, size_t at, size_t *expression_end, size_t *end) {
    if (w->depth == MAX_FORMAT_DEPTH) return false;
    w->depth++;
    size_t i;
    bool closed = walk_expression(w, at, &i);
    if (closed) {
        *expression_end = i;
        const char *s = w->text;
        while (i < w->limit && (s[i] == '=' || s[i] == ' ' || s[i] == '\t')) i++;
        if (i < w->limit && s[i] == '!')
            for (i++; i < w->limit && is_word(s[i]);) i++;
        if (i < w->limit && s[i] == ':') {
            closed = walk_format(w, i + 1, end);
        } else {
            closed = i < w->limit && s[i] == '}';
            *end = i + 1;
        }
    }
    w->depth--;
    return closed;
}

bool string_end(const char *text, size_t at, size_t limit, bool format, bool raw, size_t *budget,
                size_t *end) {
    Walk walk = {text, limit, budget, 0};
    return walk_string(&walk, at, format, raw, end);
}

/* ---- what strings say -------------------------------------------------------------------- */

uint32_t utf8_decode(const char *text, size_t room, uint32_t *code) {
    const uint8_t *s = (const uint8_t *)text;
    if (room == 0) return 0;
    *code = s[0];
    if (s[0] < 0x80) return 1;
    uint32_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || room < length) return 0;
    uint32_t value = s[0] & (0x7Fu >> length);
    for (uint32_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (s[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    *code = value;
    return length;
}

static char *utf8_encode(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

/* Literals that stand side by side, as one value. */
typedef struct Strings {
    Parser *parser;
    Place place;
    NodeList parts; /* of an f-string; empty for a plain one */
    char *start;    /* text of the part that is being read */
    char *out;      /* where its next byte goes */
    bool bytes, raw, format;
} Strings;

static Span offset_span(const Parser *parser, size_t at, size_t length) {
    return sources_span(parser->sources, parser->source, at, length);
}

/* `digits` hexadecimal digits at `at`. */
static bool read_hex(const char *text, size_t at, size_t limit, uint32_t digits, uint32_t *code) {
    *code = 0;
    for (uint32_t i = 0; i < digits; i++) {
        uint32_t d = at + i < limit ? digit_value(text[at + i]) : 99;
        if (d > 15) return false;
        *code = *code << 4 | d;
    }
    return true;
}

/* The escape whose backslash is at `at`. Returns where to go on. An escape that means nothing is
 * kept as it is written. */
static size_t read_escape(Strings *s, size_t at, size_t limit) {
    const char *text = s->parser->text;
    char c = text[at + 1];
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        *s->out++ = to[known - from];
        return at + 2;
    }
    if (c == '\n') return at + 2;
    if (c == '\r' && at + 2 < limit && text[at + 2] == '\n') return at + 3;
    if (c >= '0' && c <= '7') {
        uint32_t code = 0, n = 0;
        for (; n < 3 && at + 1 + n < limit && text[at + 1 + n] >= '0' && text[at + 1 + n] <= '7';
             n++)
            code = code * 8 + (uint32_t)(text[at + 1 + n] - '0');
        if (s->bytes)
            *s->out++ = (char)code;
        else
            s->out = utf8_encode(s->out, code);
        return at + 1 + n;
    }
    uint32_t digits = c == 'x' ? 2 : c == 'u' && !s->bytes ? 4 : c == 'U' && !s->bytes ? 8 : 0;
    if (digits) {
        uint32_t code;
        if (!read_hex(text, at + 2, limit, digits, &code) || code > 0x10FFFF ||
            (code >= 0xD800 && code <= 0xDFFF)) {
            parse_error(s->parser, offset_span(s->parser, at, 2),
                        "`\\%c` needs %u hexadecimal digits that name a character", c, digits);
            return at + 2;
        }
        if (s->bytes)
            *s->out++ = (char)code;
        else
            s->out = utf8_encode(s->out, code);
        return at + 2 + digits;
    }
    *s->out++ = '\\';
    return at + 1;
}

/* The text so far becomes a STRING of the f-string. */
static void end_part(Strings *s) {
    if (s->out == s->start) return;
    Node *node = node_new(s->parser, NODE_STRING, s->place);
    node->string = s->start;
    node->string_length = (uint32_t)(s->out - s->start);
    *s->out++ = 0;
    s->start = s->out;
    list_add(&s->parts, node_close(s->parser, node));
}

static Node *parse_field(Strings *s, size_t begin, size_t end) {
    Parser *outer = s->parser;
    if (outer->format_depth == MAX_FORMAT_DEPTH) {
        parse_error(outer, offset_span(outer, begin, end - begin),
                    "f-strings nested deeper than %d levels", MAX_FORMAT_DEPTH);
        return NULL;
    }
    uint32_t line = offset_span(outer, begin, 1).line;
    const Source *source = &outer->sources->list.data[outer->source];
    Scan scan = {.arena = outer->arena,
                 .text = outer->text,
                 .begin = (uint32_t)begin,
                 .end = (uint32_t)end,
                 .line = line,
                 .line_start = source->line_starts[line - 1]};
    scan_tokens(&scan);
    TokenList tokens = layout_tokens(outer->arena, outer->text, &scan.tokens, true);
    Parser inner = *outer;
    inner.format_depth++;
    if (tokens.length == 1) {
        parse_error(outer, offset_span(outer, begin ? begin - 1 : 0, 1),
                    "this field of the f-string is empty");
        return NULL;
    }
    Diagnostic *error = NULL;
    Node *node = parse_range(&inner, T_START_EXPRESSION, tokens.data,
                             tokens.data + tokens.length - 1, outer->diagnostics, &error);
    if (error && !outer->first_error) outer->first_error = error;
    outer->stopped |= inner.stopped;
    return node;
}

/* The field whose brace is at `at`. Returns where to go on; `limit` on an error. */
static size_t read_field(Strings *s, size_t at, size_t limit) {
    Parser *parser = s->parser;
    const char *text = parser->text;
    size_t stop, end, budget = 16 * (limit - at) + 4096;
    Walk walk = {text, limit, &budget, 0};
    if (!walk_field(&walk, at + 1, &stop, &end)) {
        parse_error(parser, offset_span(parser, at, 1),
                    "this `{` of the f-string is never closed; write `{{` for a brace");
        return limit;
    }
    size_t after = stop;
    while (text[after] == '=' || text[after] == ' ' || text[after] == '\t') after++;
    if (after > stop && memchr(text + stop, '=', after - stop)) { /* {x=}: its text too */
        memcpy(s->out, text + at + 1, after - at - 1);
        s->out += after - at - 1;
    }
    end_part(s);
    Node *expression = parse_field(s, at + 1, stop);
    if (!expression) return limit;
    if (text[after] == '!')
        for (after++; is_word(text[after]);) after++;
    Node *node = node_new(parser, NODE_FORMAT, s->place);
    node->span = offset_span(parser, at, end - at);
    node->left = expression;
    if (text[after] == ':') node->name = intern(parser->names, text + after + 1, end - after - 2);
    list_add(&s->parts, node_close(parser, node));
    return end;
}

static void read_string(Strings *s, const Token *token) {
    const char *text = s->parser->text;
    size_t at = token->begin;
    s->bytes = s->raw = s->format = false;
    for (; text[at] != '"' && text[at] != '\''; at++) {
        char c = text[at] | 0x20;
        s->bytes |= c == 'b';
        s->raw |= c == 'r';
        s->format |= c == 'f';
    }
    size_t quotes = is_triple(text, at, token->end) && token->end - at >= 6 ? 3 : 1;
    size_t limit = token->end - quotes;
    for (at += quotes; at < limit;) {
        char c = text[at];
        bool twice = at + 1 < limit && text[at + 1] == c;
        if (c == '\\' && !s->raw && at + 1 < limit) {
            bool brace = text[at + 1] == 'N' && at + 2 < limit && text[at + 2] == '{';
            const char *close = brace ? memchr(text + at, '}', limit - at) : NULL;
            size_t end = close ? (size_t)(close + 1 - text) : at;
            if (!close) end = read_escape(s, at, limit);
            while (close && at < end) *s->out++ = text[at++]; /* \N{..} is kept */
            at = end;
        } else if (c == '\r' && at + 1 < limit && text[at + 1] == '\n') {
            at++;
        } else if (s->format && c == '{' && !twice) {
            at = read_field(s, at, limit);
        } else if (s->format && c == '}' && !twice) {
            parse_error(s->parser, offset_span(s->parser, at, 1),
                        "this `}` of the f-string closes nothing; write `}}` for a brace");
            return;
        } else {
            *s->out++ = c;
            at += s->format && (c == '{' || c == '}') ? 2 : 1;
        }
    }
}

Node *make_strings(Parser *parser, Place place) {
    size_t size = 1;
    for (const Token *t = place.first; t <= place.last; t++)
        size += 2 * (size_t)(t->end - t->begin);
    char *text = arena_alloc(parser->arena, size);
    Strings s = {.parser = parser, .place = place, .start = text, .out = text};
    for (const Token *t = place.first; t <= place.last; t++) read_string(&s, t);
    if (s.parts.first) {
        end_part(&s);
        return node_items(parser, NODE_FSTRING, place, s.parts);
    }
    Node *node = node_new(parser, NODE_STRING, place);
    node->string = text;
    node->string_length = (uint32_t)(s.out - text);
    return node_close(parser, node);
}
