/* tkc_cli.h: what the command-line tools share: options, messages, exit statuses.
 *
 * A command describes its options in a table; the parser fills a struct from it and the help text
 * is printed from it, so neither can forget an option. Options stand in any order, before or after
 * other arguments; `--name=value`, `--name value`, `-nvalue` and `-n value` are the same; `--` ends
 * them.
 */
#ifndef TKC_TOOLS_TKC_CLI_H
#define TKC_TOOLS_TKC_CLI_H

#include <stdio.h>

#include "compiler/base.h"
#include "runtime/tkc.h"

struct cJSON; /* <cjson/cJSON.h> */

typedef enum ExitStatus {
    STATUS_DONE,
    STATUS_REFUSED,   /* the input was refused; diagnostics are on stderr */
    STATUS_USAGE,     /* wrong command line */
    STATUS_NO_DEVICE, /* no such device here */
    STATUS_FAULT      /* run-time fault: out of bounds, assertion, race */
} ExitStatus;

/* A list of texts, borrowed from argv. Has room for all of argv. */
typedef struct TextList {
    const char **items;
    uint32_t count;
} TextList;

typedef enum OptionKind {
    OPTION_FLAG,  /* bool */
    OPTION_TEXT,  /* const char * */
    OPTION_COUNT, /* uint32_t, at least `least` */
    OPTION_LIST   /* TextList: may be given several times */
} OptionKind;

typedef struct Option {
    const char *name;   /* "--grid"; NULL ends the table */
    const char *letter; /* "-g", or NULL */
    OptionKind kind;
    uint32_t least;    /* COUNT */
    size_t offset;     /* where in the command's struct */
    const char *value; /* how help calls the value: "X[,Y[,Z]]" */
    const char *about;
} Option;

/* Fills `into` (zeroed, with its defaults set) from the arguments; what is no option goes to
 * `others`. False when a message was printed: wrong usage. */
bool options_parse(Arena *arena, const char *command, const Option *table, void *into, int count,
                   char **arguments, TextList *others);
void options_help(const Option *table); /* to standard output, one option a line */

/* The middle value (the mean of the two middle ones); sorts the values. */
double tool_median(double *values, uint32_t count);

/* The nearest of `count` names to what was typed, or NULL when none is near. */
const char *nearest_name(const char *typed, const char *const *names, uint32_t count);

/* "tkc: error: ..." on stderr, with colour when stderr is a terminal. */
void tool_error(const char *format, ...) PRINTF_LIKE(1, 2);
void tool_note(const char *format, ...) PRINTF_LIKE(1, 2);
/* Rendered diagnostics, likewise. */
void tool_print_diagnostics(const char *text);
/* Sets the name in messages ("tkc"); called once by main. */
void tool_start(const char *name);

/* tkc_last_error() on stderr, and the exit status that fits. */
ExitStatus tool_report(tkc_status status);

/* Whole files. On failure: NULL or false, and a message was printed. "-" reads standard input. */
char *tool_read_file(Arena *arena, const char *path, size_t *length);
bool tool_write_file(const char *path, const void *data, size_t length);
/* All of `text` to standard output; false (with a message) when it cannot take it. */
bool tool_write_output(const char *text, size_t length);
/* Writes a report to a file, `-`: standard output, and deletes it. */
bool tool_write_json(struct cJSON *report, const char *path);

#endif
