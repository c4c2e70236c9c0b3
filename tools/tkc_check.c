/* tkc_check.c: `tkc check`: every jit function of many files, as far as that is possible without
 * types. Files are checked in parallel; what is printed is in the order of the files. */
#include "tools/tkc_commands.h"
#include "tools/tkc_source.h"

#include <errno.h>
#include <fts.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct CheckOptions {
    uint32_t threads;
    bool quiet;
} CheckOptions;

/* clang-format off */
#define FIELD(name) offsetof(CheckOptions, name)
const Option check_options[] = {
    {"--threads", "-j", OPTION_COUNT, 1, FIELD(threads), "N", "files checked at the same time"},
    {"--quiet", "-q", OPTION_FLAG, 0, FIELD(quiet), NULL,
     "no messages: only one line a function and the counts"},
    {0},
};
#undef FIELD
/* clang-format on */

typedef struct CheckedFile {
    const char *path;
    Arena arena;          /* of the texts; each file has its own, so that threads share nothing */
    Text lines, messages; /* for stdout, for stderr */
    uint32_t accepted, rejected;
    bool unreadable;
} CheckedFile;

typedef struct CheckRun {
    tkc_context *context;
    VEC(CheckedFile) files;
    atomic_uint next;
} CheckRun;

/* The first error of a log without its position: "...: error: MESSAGE". */
static const char *first_error(Arena *arena, const char *log) {
    const char *found = log ? strstr(log, "error: ") : NULL;
    if (!found) return "refused";
    found += strlen("error: ");
    return arena_strndup(arena, found, strcspn(found, "\n"));
}

static uint32_t first_error_line(const char *log) {
    const char *found = log ? strstr(log, ": error: ") : NULL;
    uint32_t line = 0;
    if (!found) return 0;
    /* back over ":LINE:COLUMN" */
    const char *at = found;
    while (at > log && at[-1] >= '0' && at[-1] <= '9') at--;
    if (at == log || at[-1] != ':') return 0;
    at--;
    while (at > log && at[-1] >= '0' && at[-1] <= '9') at--;
    for (; *at >= '0' && *at <= '9' && line < 100000000; at++)
        line = line * 10 + (uint32_t)(*at - '0');
    return line;
}

static void refuse(CheckedFile *file, const char *function, const char *log) {
    uint32_t line = first_error_line(log);
    file->rejected++;
    text_puts(&file->lines, file->path);
    if (line) text_printf(&file->lines, ":%u", line);
    text_printf(&file->lines, ": %s%srejected: %s\n", function, *function ? " " : "",
                first_error(&file->arena, log));
}

static void check_file(tkc_context *context, CheckedFile *file) {
    tkc_source *source;
    uint32_t errors = 0;
    char *log = NULL;
    file->lines.arena = file->messages.arena = &file->arena;
    tkc_status status = tkc_source_open(context, file->path, NULL, 0, &source, &errors, &log);
    if (status != TKC_OK) {
        file->unreadable = true;
        text_printf(&file->messages, "tkc: error: %s\n", tkc_last_error());
        return;
    }
    char *syntax = log;
    const char *function;
    text_puts(&file->messages, syntax ? syntax : "");
    for (uint32_t i = 0; (function = tkc_source_function(source, i)); i++) {
        if (tkc_source_check(source, function, &log) == TKC_OK) {
            file->accepted++;
            text_printf(&file->lines, "%s: %s ok\n", file->path, function);
            if (log) text_puts(&file->messages, log);
        } else {
            refuse(file, function, log ? log : tkc_last_error());
            text_puts(&file->messages, log ? log : "");
        }
        tkc_free(log);
    }
    if (errors && !file->rejected) refuse(file, "", syntax); /* outside any function */
    tkc_free(syntax);
    tkc_source_destroy(source);
}

static void *check_some(void *context) {
    CheckRun *run = context;
    uint32_t i;
    while ((i = atomic_fetch_add(&run->next, 1)) < run->files.length)
        check_file(run->context, &run->files.data[i]);
    return NULL;
}

static void check_all(CheckRun *run, uint32_t threads) {
    enum { MOST_THREADS = 64 };
    pthread_t workers[MOST_THREADS];
    uint32_t started = 0;
    if (threads == 0) threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > run->files.length) threads = run->files.length;
    while (started + 1 < threads && pthread_create(&workers[started], NULL, check_some, run) == 0)
        started++;
    check_some(run);
    for (uint32_t i = 0; i < started; i++) pthread_join(workers[i], NULL);
}

/* ---- finding files ----------------------------------------------------------------------------
 */

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_kernel_file(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".tk") == 0 || strcmp(dot, ".py") == 0);
}

static void add_file(Arena *arena, CheckRun *run, const char *path) {
    CheckedFile file = {.path = arena_strdup(arena, path)};
    arena_init(&file.arena, 0);
    vec_push(arena, &run->files, file);
}

static bool add_folder(Arena *arena, CheckRun *run, const char *path) {
    char *const roots[] = {arena_strdup(arena, path), NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    uint32_t before = run->files.length;
    for (FTSENT *entry; walk && (entry = fts_read(walk));) {
        bool hidden = entry->fts_level > 0 && entry->fts_name[0] == '.';
        if (entry->fts_info == FTS_D && hidden) fts_set(walk, entry, FTS_SKIP);
        if (entry->fts_info == FTS_F && !hidden && is_kernel_file(entry->fts_name))
            add_file(arena, run, entry->fts_path);
    }
    if (walk) fts_close(walk);
    if (run->files.length == before) tool_error("%s holds no .tk or .py file", path);
    return run->files.length > before;
}

static bool find_files(Arena *arena, CheckRun *run, const TextList *paths) {
    for (uint32_t i = 0; i < paths->count; i++) {
        struct stat about;
        if (stat(paths->items[i], &about) != 0) {
            tool_error("cannot read `%s`: %s", paths->items[i], strerror(errno));
            return false;
        }
        if (!S_ISDIR(about.st_mode))
            add_file(arena, run, paths->items[i]);
        else if (!add_folder(arena, run, paths->items[i]))
            return false;
    }
    return true;
}

/* ---- the command --------------------------------------------------------------------------------
 */

static ExitStatus print_results(const CheckRun *run, bool quiet) {
    uint32_t accepted = 0, rejected = 0, unreadable = 0;
    for (uint32_t i = 0; i < run->files.length; i++) {
        const CheckedFile *file = &run->files.data[i];
        if (file->lines.data) fputs(file->lines.data, stdout);
        if (file->messages.data && (!quiet || file->unreadable)) {
            fflush(stdout);
            tool_print_diagnostics(file->messages.data);
        }
        accepted += file->accepted;
        rejected += file->rejected;
        unreadable += file->unreadable;
    }
    printf("checked %u functions in %u files: %u ok, %u rejected\n", accepted + rejected,
           run->files.length, accepted, rejected);
    return rejected || unreadable ? STATUS_REFUSED : STATUS_DONE;
}

ExitStatus command_check(int count, char **arguments) {
    Arena arena;
    TextList paths;
    CheckOptions options = {0};
    CheckRun run = {0};
    ExitStatus status = STATUS_USAGE;
    arena_init(&arena, 0);
    if (!options_parse(&arena, "tkc check", check_options, &options, count, arguments, &paths)) {
        /* said already */
    } else if (paths.count == 0) {
        tool_error("which files? `tkc check kernels` checks a folder");
    } else if (!find_files(&arena, &run, &paths) || !(run.context = source_context())) {
        status = STATUS_REFUSED;
    } else {
        check_all(&run, options.threads);
        status = print_results(&run, options.quiet);
    }
    for (uint32_t i = 0; i < run.files.length; i++) arena_free(&run.files.data[i].arena);
    tkc_context_destroy(run.context);
    arena_free(&arena);
    return status;
}
