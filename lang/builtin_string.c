/* builtin_string.c: methods of compile-time strings, as far as constants of kernels (inline
 * assembly put together by a function, names of formats) are made with them.
 */
#include "lang/builtin_internal.h"

#include <ctype.h>
#include <stdlib.h>

enum { MAX_STRING = 1 << 20 };

static Val text_value(Lower *l, Call *c, const Text *text) {
    if (text->length > MAX_STRING) return fail(l, c->span, "this string has more than 1 MiB");
    return val_string(text->data ? text->data : "", text->length);
}

Val builtin_string_strip(Lower *l, Call *c) {
    (void)l;
    Val s = c->arguments[0];
    uint32_t from = 0, to = s.count;
    while (from < to && isspace((unsigned char)s.string[from])) from++;
    while (to > from && isspace((unsigned char)s.string[to - 1])) to--;
    return val_string(arena_strndup(l->arena, s.string + from, to - from), to - from);
}

Val builtin_string_join(Lower *l, Call *c) {
    Val items = c->arguments[1];
    Text text = {.arena = l->arena};
    if (items.kind != VAL_TUPLE)
        return fail(l, c->spans[1], "`join` needs a list of strings, not %s", describe(l, items));
    for (uint32_t i = 0; i < items.count && text.length <= MAX_STRING; i++) {
        if (items.items[i].kind != VAL_STRING)
            return fail(l, c->spans[1], "`join` needs strings, not %s",
                        describe(l, items.items[i]));
        if (i) text_add(&text, c->arguments[0].string, c->arguments[0].count);
        text_add(&text, items.items[i].string, items.items[i].count);
    }
    return text_value(l, c, &text);
}

Val builtin_string_split(Lower *l, Call *c) {
    Val s = c->arguments[0], by = c->arguments[1];
    VEC(Val) parts = {0};
    bool words = by.kind == VAL_NONE; /* at runs of white space */
    if (!words && (by.kind != VAL_STRING || by.count == 0))
        return fail(l, c->spans[1], "`split` needs a separator");
    uint32_t at = 0;
    while (at <= s.count) {
        while (words && at < s.count && isspace((unsigned char)s.string[at])) at++;
        if (words && at == s.count) break;
        uint32_t end = at;
        if (words) {
            while (end < s.count && !isspace((unsigned char)s.string[end])) end++;
        } else {
            const char *found = memmem(s.string + at, s.count - at, by.string, by.count);
            end = found ? (uint32_t)(found - s.string) : s.count;
        }
        vec_push(l->arena, &parts,
                 val_string(arena_strndup(l->arena, s.string + at, end - at), end - at));
        at = end + (words ? 1 : end < s.count ? by.count : 1);
    }
    return val_tuple(parts.data, parts.length);
}

Val builtin_string_replace(Lower *l, Call *c) {
    Val s = c->arguments[0], old = c->arguments[1], by = c->arguments[2];
    Text text = {.arena = l->arena};
    if (old.kind != VAL_STRING || by.kind != VAL_STRING || old.count == 0)
        return fail(l, c->span, "`replace` needs two strings");
    uint32_t at = 0;
    while (at < s.count && text.length <= MAX_STRING) {
        const char *found = memmem(s.string + at, s.count - at, old.string, old.count);
        uint32_t end = found ? (uint32_t)(found - s.string) : s.count;
        text_add(&text, s.string + at, end - at);
        if (found) text_add(&text, by.string, by.count);
        at = end + (found ? old.count : 0);
        if (!found) break;
    }
    return text_value(l, c, &text);
}

/* The value a replacement field {name}, {3} or {} stands for. */
static const Val *field_value(const Call *c, const char *name, size_t length, uint32_t *next) {
    if (length == 0) return *next < c->rest_count ? &c->rest[(*next)++] : NULL;
    if (isdigit((unsigned char)*name)) {
        unsigned long i = strtoul(name, NULL, 10);
        return i < c->rest_count ? &c->rest[i] : NULL;
    }
    for (uint32_t i = 0; i < c->keyword_count; i++)
        if (strlen(c->keyword_names[i]) == length && memcmp(c->keyword_names[i], name, length) == 0)
            return &c->keyword_values[i];
    return NULL;
}

/* "{} {1} {name}".format(...); a format after a colon is not understood. */
Val builtin_string_format(Lower *l, Call *c) {
    Val s = c->arguments[0];
    Text text = {.arena = l->arena};
    uint32_t next = 0;
    for (uint32_t i = 0; i < s.count && text.length <= MAX_STRING; i++) {
        char ch = s.string[i];
        bool twice = i + 1 < s.count && s.string[i + 1] == ch;
        if (ch != '{' && ch != '}') {
            text_add(&text, &ch, 1);
        } else if (twice) {
            text_add(&text, &ch, 1);
            i++;
        } else {
            const char *name = s.string + i + 1, *end = memchr(name, '}', s.count - i - 1);
            const Val *v = NULL;
            if (ch == '{' && end) v = field_value(c, name, (size_t)(end - name), &next);
            if (!v)
                return fail(l, c->span, "`format`: no value for the field at character %u", i + 1);
            konst_print(l, *v, &text);
            i = (uint32_t)(end - s.string);
        }
    }
    return text_value(l, c, &text);
}
