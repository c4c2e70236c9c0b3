/* diag.c: collects messages, and renders them with the source line and a caret.
 *
 * A source line is shown as it is, except that bytes a terminal could act on or not show (control
 * bytes, broken UTF-8) become `?`, and that a long line is cut to a window around the caret. The
 * line of marks below it repeats the tabs of the source line, so that both align at any tab width.
 */
#include "compiler/diag.h"

#include <stdio.h>

/* ---- sources -------------------------------------------------------------------------- */

uint32_t sources_add(Sources *sources, const char *path, const char *text, size_t length) {
    Source source = {.path = path, .text = text, .length = text ? length : 0};
    if (text) {
        uint32_t lines = 1;
        for (size_t i = 0; i < length; i++) lines += text[i] == '\n';
        source.line_starts = arena_array(sources->arena, uint32_t, lines);
        source.line_count = lines;
        uint32_t line = 1;
        for (size_t i = 0; i < length; i++)
            if (text[i] == '\n') source.line_starts[line++] = (uint32_t)(i + 1);
    }
    vec_push(sources->arena, &sources->list, source);
    return sources->list.length - 1;
}

/* Where a line ends, its line break not counted. `line` counts from 1. */
static size_t line_end(const Source *source, uint32_t line) {
    size_t end = line < source->line_count ? source->line_starts[line] - 1u : source->length;
    if (end > source->line_starts[line - 1] && source->text[end - 1] == '\r') end--;
    return end;
}

static uint16_t to_uint16(size_t n) {
    return n > UINT16_MAX ? UINT16_MAX : (uint16_t)n;
}

Span sources_span(const Sources *sources, uint32_t source, size_t offset, size_t length) {
    if (source >= sources->list.length || !sources->list.data[source].text) return (Span){0};
    const Source *s = &sources->list.data[source];
    if (offset > s->length) offset = s->length;
    uint32_t low = 0, high = s->line_count; /* the line is in low..high-1 */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (s->line_starts[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    size_t end = line_end(s, low + 1);
    size_t room = end > offset ? end - offset : 1;
    if (length > room) length = room;
    if (length == 0) length = 1;
    return (Span){source, low + 1, to_uint16(offset - s->line_starts[low] + 1), to_uint16(length)};
}

Span span_join(Span first, Span last) {
    if (first.line == 0) return last;
    if (first.source != last.source || first.line != last.line) return first;
    uint32_t start = first.column < last.column ? first.column : last.column;
    uint32_t end = first.column + first.length, other = last.column + last.length;
    if (end < other) end = other;
    return (Span){first.source, first.line, to_uint16(start), to_uint16(end - start)};
}

/* ---- collecting ----------------------------------------------------------------------- */

static uint32_t limit_of(const Diagnostics *d) {
    return d->error_limit ? d->error_limit : 50;
}

static Diagnostic *new_message(Diagnostics *d, Severity severity, Location at, const char *format,
                               va_list args) {
    Diagnostic *message = arena_new(d->arena, Diagnostic);
    Text text = {.arena = d->arena};
    text_vprintf(&text, format, args);
    *message = (Diagnostic){.severity = severity, .at = at, .message = text.data ? text.data : ""};
    return message;
}

static void append(Diagnostics *d, Diagnostic *message) {
    if (d->last)
        d->last->next = message;
    else
        d->first = message;
    d->last = message;
}

Diagnostic *diag_error(Diagnostics *d, Location at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    d->latest = new_message(d, SEVERITY_ERROR, at, format, args);
    va_end(args);
    if (d->errors++ < limit_of(d)) append(d, d->latest);
    return d->latest;
}

Diagnostic *diag_warning(Diagnostics *d, Location at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    d->latest = new_message(d, SEVERITY_WARNING, at, format, args);
    va_end(args);
    if (d->warnings++ < limit_of(d)) append(d, d->latest);
    return d->latest;
}

Diagnostic *diag_note(Diagnostics *d, Location at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    Diagnostic *note = new_message(d, SEVERITY_NOTE, at, format, args);
    va_end(args);
    if (!d->latest) {
        append(d, note);
        return note;
    }
    Diagnostic **end = &d->latest->notes;
    while (*end) end = &(*end)->next;
    *end = note;
    return note;
}

void diag_also(Diagnostic *message, Span span) {
    for (size_t i = 0; i < ARRAY_LENGTH(message->also); i++) {
        if (message->also[i].line) continue;
        message->also[i] = span;
        return;
    }
}

/* ---- rendering ------------------------------------------------------------------------ */

enum { WIDEST_LINE = 120, WINDOW_BEFORE = 50, WINDOW = 110 };

/* Bytes of the UTF-8 character at `text`, or 0 when it is broken, a control character, or one
 * that changes the direction of writing (U+202A..202E, U+2066..2069). */
static size_t printable_bytes(const char *text, size_t length) {
    const uint8_t *b = (const uint8_t *)text;
    if (b[0] < 0x80) return b[0] >= 0x20 && b[0] != 0x7f ? 1 : 0;
    size_t count = b[0] >= 0xf0 && b[0] < 0xf5 ? 4 : b[0] >= 0xe0 ? 3 : b[0] >= 0xc2 ? 2 : 0;
    if (count == 0 || count > length || b[0] >= 0xf5) return 0;
    uint32_t code = b[0] & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((b[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (b[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
    if (code < least[count] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    if ((code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069)) return 0;
    return count;
}

static bool covers(Span span, Span line, size_t column) {
    return span.line == line.line && span.source == line.source && span.column <= column &&
           column < (size_t)span.column + span.length;
}

/* The mark under the characters of columns first..last. */
static char mark_at(const Diagnostic *message, size_t first, size_t last) {
    Span main = message->at.span;
    if (main.column >= first && main.column <= last) return '^';
    for (size_t column = first; column <= last; column++) {
        if (covers(main, main, column)) return '~';
        for (size_t i = 0; i < ARRAY_LENGTH(message->also); i++)
            if (message->also[i].line && covers(message->also[i], main, column)) return '~';
    }
    return ' ';
}

/* The source line of the message, and its marks below. */
static void render_line(const Source *source, const Diagnostic *message, Text *out) {
    Span at = message->at.span;
    if (!source->text || at.line > source->line_count) return;
    const char *line = source->text + source->line_starts[at.line - 1];
    size_t length = (size_t)(source->text + line_end(source, at.line) - line);
    size_t caret = at.column ? at.column - 1u : 0;
    if (caret > length) caret = length;

    size_t from = 0, to = length;
    if (length > WIDEST_LINE) {
        from = caret > WINDOW_BEFORE ? caret - WINDOW_BEFORE : 0;
        while (from > 0 && from < caret && ((uint8_t)line[from] & 0xc0) == 0x80) from++;
        if (to - from > WINDOW) to = from + WINDOW;
        while (to < length && ((uint8_t)line[to] & 0xc0) == 0x80) to++;
    }
    Text marks = {.arena = out->arena};
    if (from > 0) text_puts(out, "..."), text_puts(&marks, "   ");
    for (size_t i = from; i < to;) {
        size_t bytes = printable_bytes(line + i, length - i);
        bool tab = line[i] == '\t';
        if (tab)
            text_puts(out, "\t");
        else if (bytes)
            text_add(out, line + i, bytes);
        else
            text_puts(out, "?");
        if (bytes == 0) bytes = 1;
        char mark = mark_at(message, i + 1, i + bytes);
        if (mark == ' ' && tab) mark = '\t';
        text_add(&marks, &mark, 1);
        i += bytes;
    }
    if (to < length) text_puts(out, "...");
    if (caret >= to) text_puts(&marks, "^"); /* just behind the line, e.g. at the end of file */
    while (marks.length &&
           (marks.data[marks.length - 1] == ' ' || marks.data[marks.length - 1] == '\t'))
        marks.length--;
    text_puts(out, "\n");
    text_add(out, marks.data ? marks.data : "", marks.length);
    text_puts(out, "\n");
}

/* `before` is the span shown last: a note about the same place does not show it again. */
static void render_message(const Sources *sources, const Diagnostic *message, const Span *before,
                           Text *out) {
    static const char *const names[] = {"error", "warning", "note", "fault"};
    Span at = message->at.span;
    const Source *source = NULL;
    if (sources && at.line && at.source < sources->list.length)
        source = &sources->list.data[at.source];
    if (source)
        text_printf(out, "%s:%u:%u: ", source->path ? source->path : "?", at.line, at.column);
    text_printf(out, "%s: %s\n", names[message->severity], message->message);
    bool shown = before && before->source == at.source && before->line == at.line &&
                 before->column == at.column;
    if (source && !shown) render_line(source, message, out);
}

void diag_render(const Diagnostics *d, Text *out) {
    uint32_t shown = 0;
    for (const Diagnostic *message = d->first; message; message = message->next) {
        shown += message->severity == SEVERITY_ERROR;
        const Span *before = &message->at.span;
        render_message(d->sources, message, NULL, out);
        for (const CallSite *call = message->at.inlined_at; call; call = call->up) {
            Diagnostic level = {.severity = SEVERITY_NOTE, .at.span = call->span};
            level.message = arena_printf(out->arena, "in `%s`, called from here", call->function);
            render_message(d->sources, &level, NULL, out);
            before = &call->span;
        }
        for (const Diagnostic *note = message->notes; note; note = note->next) {
            render_message(d->sources, note, before, out);
            before = &note->at.span;
        }
    }
    if (d->errors > shown)
        text_printf(out, "%u more error%s not shown\n", d->errors - shown,
                    d->errors - shown == 1 ? "" : "s");
}
