/* tkc_cli.c: option tables, messages and files for the tools. The only mutable state of a tool is
 * here: its name and whether stderr takes colour. */
#include "tools/tkc_cli.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *tool_name = "tkc";
static bool coloured;

void tool_start(const char *name) {
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    tool_name = name;
    coloured = isatty(STDERR_FILENO) && !(no_color && *no_color) &&
               !(terminal && strcmp(terminal, "dumb") == 0);
}

/* ---- messages ------------------------------------------------------------------------------ */

#define RED "\033[1;31m"
#define YELLOW "\033[1;33m"
#define CYAN "\033[1;36m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

static void message(const char *colour, const char *word, const char *format, va_list args) {
    fprintf(stderr, "%s: %s%s:%s ", tool_name, coloured ? colour : "", word, coloured ? PLAIN : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void tool_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    message(RED, "error", format, args);
    va_end(args);
}

void tool_note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    message(CYAN, "note", format, args);
    va_end(args);
}

/* Colours the word after the position, or a whole line of carets. */
static void print_coloured(const char *line, size_t length) {
    static const struct {
        const char *word, *colour;
    } words[] = {
        {": error: ", RED}, {": fault: ", RED}, {": warning: ", YELLOW}, {": note: ", CYAN}};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        const char *found = memmem(line, length, words[i].word, strlen(words[i].word));
        if (!found) continue;
        const char *rest = found + strlen(words[i].word);
        fprintf(stderr, "%.*s: %s%.*s%s%.*s\n", (int)(found - line), line, words[i].colour,
                (int)(rest - found) - 3, found + 2, PLAIN, (int)(line + length - rest) + 1,
                rest - 1);
        return;
    }
    bool carets = memchr(line, '^', length) != NULL;
    for (size_t i = 0; i < length && carets; i++) carets = strchr(" ^~|", line[i]) != NULL;
    fprintf(stderr, "%s%.*s%s\n", carets ? GREEN : "", (int)length, line, carets ? PLAIN : "");
}

void tool_print_diagnostics(const char *text) {
    if (!text || !*text) return;
    if (!coloured) {
        fputs(text, stderr);
        if (text[strlen(text) - 1] != '\n') fputc('\n', stderr);
        return;
    }
    while (*text) {
        size_t length = strcspn(text, "\n");
        print_coloured(text, length);
        text += length + (text[length] == '\n');
    }
}

ExitStatus tool_report(tkc_status status) {
    const char *text = tkc_last_error();
    if (status == TKC_COMPILE_ERROR || status == TKC_LAUNCH_FAULT)
        tool_print_diagnostics(text);
    else
        tool_error("%s", *text ? text : tkc_status_string(status));
    switch (status) {
    case TKC_OK: return STATUS_DONE;
    case TKC_INVALID_ARGUMENT: return STATUS_USAGE;
    case TKC_NO_DEVICE: return STATUS_NO_DEVICE;
    case TKC_LAUNCH_FAULT:
    case TKC_CANCELLED: return STATUS_FAULT;
    default: return STATUS_REFUSED;
    }
}

/* ---- the nearest name ------------------------------------------------------------------------ */

enum { LONGEST_NAME = 48 };

/* Edits (insert, delete, replace, exchange of neighbours) that turn one text into the other. */
static uint32_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    uint32_t row[3][LONGEST_NAME + 1];
    if (n > LONGEST_NAME || m > LONGEST_NAME) return UINT32_MAX;
    for (size_t j = 0; j <= m; j++) row[0][j] = (uint32_t)j;
    for (size_t i = 1; i <= n; i++) {
        uint32_t *now = row[i % 3], *above = row[(i - 1) % 3], *before = row[(i + 1) % 3];
        now[0] = (uint32_t)i;
        for (size_t j = 1; j <= m; j++) {
            uint32_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *nearest_name(const char *typed, const char *const *names, uint32_t count) {
    const char *best = NULL;
    uint32_t least = (uint32_t)(strlen(typed) / 3 + 1);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t distance = edit_distance(typed, names[i]);
        if (distance <= least && (!best || distance < least)) {
            best = names[i];
            least = distance;
        }
    }
    return best;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tool_median(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* ---- options -----------------------------------------------------------------------------------
 */

static const Option *find_option(const Option *table, const char *text, size_t length) {
    for (const Option *option = table; option->name; option++) {
        if (strlen(option->name) == length && memcmp(option->name, text, length) == 0)
            return option;
        if (option->letter && length == 2 && memcmp(option->letter, text, 2) == 0) return option;
    }
    return NULL;
}

static void unknown_option(const char *command, const Option *table, const char *text,
                           size_t length) {
    const char *names[64];
    char typed[LONGEST_NAME + 2];
    uint32_t count = 0;
    for (const Option *option = table; option->name && count < ARRAY_LENGTH(names); option++)
        names[count++] = option->name;
    snprintf(typed, sizeof typed, "%.*s", (int)length, text);
    const char *near = nearest_name(typed, names, count);
    if (near)
        tool_error("%s has no option `%.*s`; did you mean `%s`?", command, (int)length, text, near);
    else
        tool_error("%s has no option `%.*s`; see `%s --help`", command, (int)length, text, command);
}

static bool parse_count(const Option *option, const char *text, uint32_t *count) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > INT32_MAX || value < option->least) {
        tool_error("`%s` takes a number of at least %u, not `%s`", option->name, option->least,
                   text);
        return false;
    }
    *count = (uint32_t)value;
    return true;
}

static bool set_option(const Option *option, char *into, const char *text) {
    void *field = into + option->offset;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)field = true; return true;
    case OPTION_TEXT: *(const char **)field = text; return true;
    case OPTION_COUNT: return parse_count(option, text, field);
    case OPTION_LIST: {
        TextList *list = field;
        list->items[list->count++] = text;
        return true;
    }
    }
    return false;
}

bool options_parse(Arena *arena, const char *command, const Option *table, void *into, int count,
                   char **arguments, TextList *others) {
    bool all_others = false;
    *others = (TextList){.items = arena_array(arena, const char *, count + 1)};
    for (const Option *option = table; option->name; option++)
        if (option->kind == OPTION_LIST)
            ((TextList *)(void *)((char *)into + option->offset))->items =
                arena_array(arena, const char *, count + 1);
    for (int i = 0; i < count; i++) {
        const char *text = arguments[i];
        if (all_others || text[0] != '-' || !text[1]) {
            others->items[others->count++] = text;
            continue;
        }
        if (strcmp(text, "--") == 0) {
            all_others = true;
            continue;
        }
        bool is_long = text[1] == '-';
        size_t length = is_long ? strcspn(text, "=") : 2;
        const Option *option = find_option(table, text, length);
        if (!option) return unknown_option(command, table, text, length), false;
        const char *value = text[length] ? text + length + (text[length] == '=') : NULL;
        if (option->kind == OPTION_FLAG && value) {
            tool_error("`%s` takes no value", option->name);
            return false;
        }
        if (option->kind != OPTION_FLAG && !value) {
            if (i + 1 == count) {
                tool_error("`%.*s` needs a value: %s", (int)length, text, option->value);
                return false;
            }
            value = arguments[++i];
        }
        if (!set_option(option, into, value)) return false;
    }
    return true;
}

void options_help(const Option *table) {
    for (const Option *option = table; option->name; option++) {
        char left[96];
        snprintf(left, sizeof left, "%s%s%s%s%s", option->letter ? option->letter : "",
                 option->letter ? ", " : "", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        if (strlen(left) > 26)
            printf("  %s\n  %-26s  %s\n", left, "", option->about);
        else
            printf("  %-26s  %s\n", left, option->about);
    }
}

/* ---- files --------------------------------------------------------------------------------------
 */

static char *read_stream(Arena *arena, FILE *stream, size_t *length) {
    Text text = {.arena = arena};
    char buffer[1 << 16];
    size_t got;
    text_add(&text, "", 0);
    while ((got = fread(buffer, 1, sizeof buffer, stream)) > 0) text_add(&text, buffer, got);
    *length = text.length;
    return text.data ? text.data : arena_strdup(arena, "");
}

char *tool_read_file(Arena *arena, const char *path, size_t *length) {
    bool standard = strcmp(path, "-") == 0;
    struct stat about;
    FILE *stream = standard ? stdin : fopen(path, "rb");
    if (!stream) {
        tool_error("cannot read `%s`: %s", path, strerror(errno));
        return NULL;
    }
    char *data = NULL;
    if (!standard && fstat(fileno(stream), &about) == 0 && S_ISDIR(about.st_mode))
        errno = EISDIR;
    else
        data = read_stream(arena, stream, length);
    if (ferror(stream)) data = NULL;
    if (!data) tool_error("cannot read `%s`: %s", path, strerror(errno));
    if (!standard) fclose(stream);
    return data;
}

bool tool_write_file(const char *path, const void *data, size_t length) {
    FILE *stream = fopen(path, "wb");
    bool good = stream && fwrite(data, 1, length, stream) == length;
    if (stream && fclose(stream) != 0) good = false;
    if (!good) tool_error("cannot write `%s`: %s", path, strerror(errno));
    return good;
}

bool tool_write_output(const char *text, size_t length) {
    if (fwrite(text, 1, length, stdout) == length && fflush(stdout) == 0) return true;
    tool_error("cannot write the output: %s", strerror(errno));
    return false;
}

bool tool_write_json(cJSON *report, const char *path) {
    char *text = cJSON_Print(report);
    cJSON_Delete(report);
    if (!text) {
        tool_error("out of memory");
        return false;
    }
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the NUL, which is not written */
    bool good = strcmp(path, "-") == 0 ? tool_write_output(text, length + 1)
                                       : tool_write_file(path, text, length + 1);
    free(text);
    return good;
}
