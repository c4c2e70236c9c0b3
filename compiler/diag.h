/* diag.h: source positions, and messages that point at them.
 *
 * A pass never prints. It reports into a Diagnostics list; the tool renders the list:
 *
 *     kernels/add.tk:7:16: error: cannot broadcast block<128xf32> with block<64xf32>
 *         out = x + y
 *               ~ ^ ~
 *     kernels/add.tk:5:9: note: `x` is block<128xf32> because of this
 *
 * A message says what is wrong in the user's words; a note says where the other half is, or
 * what to write instead.
 */
#ifndef TKC_COMPILER_DIAG_H
#define TKC_COMPILER_DIAG_H

#include "compiler/base.h"

/* A piece of one line of one source. Lines and columns count from 1, columns in bytes;
 * line 0 means "nowhere". `length` is the number of bytes to underline (at least 1). */
typedef struct Span {
    uint32_t source; /* index into Sources */
    uint32_t line;
    uint16_t column, length;
} Span;

/* Where an inlined function was called from; `up` is the call that inlined the caller. */
typedef struct CallSite {
    const char *function; /* name of the function that was inlined */
    Span span;            /* the call */
    const struct CallSite *up;
} CallSite;

typedef struct Location {
    Span span;
    const CallSite *inlined_at;
} Location;

typedef struct Source {
    const char *path; /* as the user gave it */
    const char *text; /* NUL-terminated, `length` bytes; may be NULL (IR read back from text) */
    size_t length;
    uint32_t *line_starts; /* byte offset of each line */
    uint32_t line_count;
} Source;

typedef struct Sources {
    Arena *arena;
    VEC(Source) list;
} Sources;

/* Adds a source (path and text are not copied). Returns its index. */
uint32_t sources_add(Sources *sources, const char *path, const char *text, size_t length);
/* Span of `length` bytes at byte `offset` (cut at the end of the line). */
Span sources_span(const Sources *sources, uint32_t source, size_t offset, size_t length);
Span span_join(Span first, Span last); /* one span over both when on one line, else `first` */

/* A fault is what a kernel did wrong while it ran. */
typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_NOTE, SEVERITY_FAULT } Severity;

typedef struct Diagnostic {
    Severity severity;
    Location at;
    Span also[2]; /* further pieces of the same line to underline with ~ */
    const char *message;
    struct Diagnostic *notes, *next; /* notes hang below the message they explain */
} Diagnostic;

typedef struct Diagnostics {
    Arena *arena;
    const Sources *sources;
    Diagnostic *first, *last;
    Diagnostic *latest; /* what a note goes below, kept or not */
    uint32_t errors, warnings;
    uint32_t error_limit; /* after this many errors further ones are counted, not kept; 0: 50 */
} Diagnostics;

/* Each returns the new message, never NULL, so that notes and spans can be added. A note goes
 * below the latest error or warning. */
Diagnostic *diag_error(Diagnostics *d, Location at, const char *format, ...) PRINTF_LIKE(3, 4);
Diagnostic *diag_warning(Diagnostics *d, Location at, const char *format, ...) PRINTF_LIKE(3, 4);
Diagnostic *diag_note(Diagnostics *d, Location at, const char *format, ...) PRINTF_LIKE(3, 4);
void diag_also(Diagnostic *message, Span span); /* underline this piece too */

/* Appends all messages in order, with source lines, carets, notes and chains of call sites. */
void diag_render(const Diagnostics *d, Text *out);

#endif
