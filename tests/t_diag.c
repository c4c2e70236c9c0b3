/* Tests of compiler/diag.c: positions, and messages as they are shown. */
#include "tests/unit.h"

static Location at(Context *c, uint32_t source, size_t offset, size_t length) {
    return (Location){.span = sources_span(&c->sources, source, offset, length)};
}

static uint32_t add(Context *c, const char *text) {
    return sources_add(&c->sources, "add.tk", text, strlen(text));
}

static void shows(Context *c, const char *expected) {
    ck_assert_str_eq(context_messages(c), expected);
    context_free(c);
}

START_TEST(offsets_become_lines_and_columns) {
    Context *c = context_new();
    const char *text = "one\ntwo two\r\n\nfour";
    uint32_t source = add(c, text);
    Span span = sources_span(&c->sources, source, 0, 3);
    ck_assert(span.line == 1 && span.column == 1 && span.length == 3);
    span = sources_span(&c->sources, source, 8, 3);
    ck_assert(span.line == 2 && span.column == 5 && span.length == 3);
    span = sources_span(&c->sources, source, 8, 100); /* cut before the line break */
    ck_assert(span.line == 2 && span.column == 5 && span.length == 3);
    span = sources_span(&c->sources, source, 13, 1);
    ck_assert(span.line == 3 && span.column == 1 && span.length == 1);
    span = sources_span(&c->sources, source, strlen(text), 5);
    ck_assert(span.line == 4 && span.column == 5 && span.length == 1);
    span = sources_span(&c->sources, source, 1000, 1);
    ck_assert(span.line == 4 && span.column == 5);
    ck_assert_uint_eq(sources_span(&c->sources, 99, 0, 1).line, 0);
    context_free(c);
}
END_TEST

START_TEST(spans_join_on_one_line_only) {
    Context *c = context_new();
    uint32_t source = add(c, "abc def\nghi");
    Span a = sources_span(&c->sources, source, 0, 3), b = sources_span(&c->sources, source, 4, 3);
    Span below = sources_span(&c->sources, source, 8, 3), joined = span_join(b, a);
    ck_assert(joined.column == 1 && joined.length == 7);
    joined = span_join(a, below);
    ck_assert(joined.line == 1 && joined.length == 3);
    joined = span_join((Span){0}, below);
    ck_assert_uint_eq(joined.line, 2);
    context_free(c);
}
END_TEST

START_TEST(an_error_shows_its_line) {
    Context *c = context_new();
    uint32_t source = add(c, "x = a\n    out = left + right\ny\n");
    Diagnostic *error = diag_error(&c->diagnostics, at(c, source, 21, 1), "cannot add %s", "these");
    diag_also(error, sources_span(&c->sources, source, 16, 4));
    diag_also(error, sources_span(&c->sources, source, 23, 5));
    diag_note(&c->diagnostics, at(c, source, 0, 5), "`a` is here");
    diag_warning(&c->diagnostics, at(c, source, 29, 1), "unused");
    ck_assert_uint_eq(c->diagnostics.errors, 1);
    ck_assert_uint_eq(c->diagnostics.warnings, 1);
    shows(c, "add.tk:2:16: error: cannot add these\n"
             "    out = left + right\n"
             "          ~~~~ ^ ~~~~~\n"
             "add.tk:1:1: note: `a` is here\n"
             "x = a\n"
             "^~~~~\n"
             "add.tk:3:1: warning: unused\n"
             "y\n"
             "^\n");
}
END_TEST

START_TEST(tabs_align_and_odd_bytes_are_hidden) {
    Context *c = context_new();
    uint32_t source = add(c, "\tif\tx:\x01\x7f\xff\xc3\xa9\xe2\x80\xae y\n");
    diag_error(&c->diagnostics, at(c, source, 4, 1), "tab");
    diag_error(&c->diagnostics, at(c, source, 15, 1), "y");
    shows(c, "add.tk:1:5: error: tab\n"
             "\tif\tx:???\xc3\xa9??? y\n"
             "\t  \t^\n"
             "add.tk:1:16: error: y\n"
             "\tif\tx:???\xc3\xa9??? y\n"
             "\t  \t          ^\n");
}
END_TEST

START_TEST(a_position_behind_the_line_is_shown_there) {
    Context *c = context_new();
    uint32_t source = add(c, "f(x");
    diag_error(&c->diagnostics, at(c, source, 3, 1), "expected `)`");
    shows(c, "add.tk:1:4: error: expected `)`\n"
             "f(x\n"
             "   ^\n");
}
END_TEST

START_TEST(long_lines_are_cut) {
    Context *c = context_new();
    char *text = arena_alloc(&c->arena, 100001);
    memset(text, 'a', 100000);
    text[500] = 'X';
    text[99990] = 'Y';
    uint32_t source = add(c, text);
    diag_error(&c->diagnostics, at(c, source, 500, 1), "x");
    diag_error(&c->diagnostics, at(c, source, 99990, 1), "y");
    const char *shown = context_messages(c);
    ck_assert_uint_lt(strlen(shown), 600);
    const char *line = strstr(shown, "...aaa");
    ck_assert_ptr_nonnull(line);
    const char *x = strchr(line, 'X'), *caret = strchr(line, '^');
    const char *marks = strchr(line, '\n') + 1;
    ck_assert_int_eq(x - line, caret - marks);
    context_free(c);
}
END_TEST

START_TEST(calls_are_traced) {
    Context *c = context_new();
    uint32_t source = add(c, "a\nb\nc\n");
    CallSite outer = {.function = "middle", .span = sources_span(&c->sources, source, 4, 1)};
    CallSite inner = {"helper", sources_span(&c->sources, source, 2, 1), &outer};
    Location where = at(c, source, 0, 1);
    where.inlined_at = &inner;
    diag_error(&c->diagnostics, where, "wrong");
    diag_note(&c->diagnostics, (Location){0}, "nowhere");
    shows(c, "add.tk:1:1: error: wrong\na\n^\n"
             "add.tk:2:1: note: in `helper`, called from here\nb\n^\n"
             "add.tk:3:1: note: in `middle`, called from here\nc\n^\n"
             "note: nowhere\n");
}
END_TEST

START_TEST(a_source_without_text_shows_no_line) {
    Context *c = context_new();
    uint32_t source = sources_add(&c->sources, "gone.tk", NULL, 0);
    diag_error(&c->diagnostics, (Location){.span = {source, 12, 5, 3}}, "wrong");
    diag_error(&c->diagnostics, (Location){.span = {77, 12, 5, 3}}, "no such source");
    shows(c, "gone.tk:12:5: error: wrong\n"
             "error: no such source\n");
}
END_TEST

START_TEST(beyond_the_limit_errors_are_counted) {
    Context *c = context_new();
    c->diagnostics.error_limit = 2;
    for (int i = 0; i < 5; i++) {
        diag_error(&c->diagnostics, (Location){0}, "number %d", i);
        diag_note(&c->diagnostics, (Location){0}, "about %d", i);
    }
    ck_assert_uint_eq(c->diagnostics.errors, 5);
    shows(c, "error: number 0\nnote: about 0\nerror: number 1\nnote: about 1\n"
             "3 more errors not shown\n");
}
END_TEST

UNIT_MAIN("diag", offsets_become_lines_and_columns, spans_join_on_one_line_only,
          an_error_shows_its_line, tabs_align_and_odd_bytes_are_hidden,
          a_position_behind_the_line_is_shown_there, long_lines_are_cut, calls_are_traced,
          a_source_without_text_shows_no_line, beyond_the_limit_errors_are_counted)
