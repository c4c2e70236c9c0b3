/* tkbench.c: runs benchmark suites and reports medians against their targets, as a table, as JSON
 * and as plots. */
#include "tools/seeds/seeds.h"
#include "tools/tkbench.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

typedef struct BenchOptions {
    const char *device, *json, *plot, *torch, *only;
    bool quick, list, help, resume, profile;
} BenchOptions;

/* clang-format off */
#define FIELD(name) offsetof(BenchOptions, name)
static const Option bench_options[] = {
    {"--device", "-d", OPTION_TEXT, 0, FIELD(device), "DEVICE",
     "where kernels run: interp; seeds: auto"},
    {"--quick", "-q", OPTION_FLAG, 0, FIELD(quick), NULL, "few samples"},
    {"--json", NULL, OPTION_TEXT, 0, FIELD(json), "FILE", "write a report; `-` is stdout"},
    {"--plot", NULL, OPTION_TEXT, 0, FIELD(plot), "FOLDER",
     "write a chart of each suite (needs gnuplot)"},
    {"--only", NULL, OPTION_TEXT, 0, FIELD(only), "TEXT",
     "seeds: tables whose name contains it, such as Softmax"},
    {"--torch", NULL, OPTION_TEXT, 0, FIELD(torch), "PYTHON",
     "seeds: measure PyTorch beside, with this Python"},
    {"--resume", NULL, OPTION_FLAG, 0, FIELD(resume), NULL,
     "seeds: take over what the --json report already has"},
    {"--profile", NULL, OPTION_FLAG, 0, FIELD(profile), NULL, "seeds: time spent in each kernel"},
    {"--list", "-l", OPTION_FLAG, 0, FIELD(list), NULL, "list the suites and what they measure"},
    {"--help", "-h", OPTION_FLAG, 0, FIELD(help), NULL, "this text"},
    {0},
};
#undef FIELD
/* clang-format on */

typedef struct Result {
    const Measurement *measurement;
    double median, least, most, peak;
    uint32_t samples;
} Result;

typedef VEC(Result) Results;

double now_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

bool samples_done(const Samples *samples) {
    return samples->count >= samples->wanted || samples->count >= MOST_SAMPLES ||
           (samples->count > 0 && samples->seconds >= samples->most_seconds);
}

void samples_add(Samples *samples, double value, double seconds) {
    samples->values[samples->count++] = value;
    samples->seconds += seconds;
}

/* Measurement `index` of all; NULL past the end. Those of compiling come first: they need a process
 * that has compiled nothing. */
static const Measurement *measurement_at(uint32_t index) {
    static const Measurement *const tables[] = {compile_measurements, measurements,
                                                dot_measurements};
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++)
        for (const Measurement *m = tables[i]; m->suite; m++)
            if (index-- == 0) return m;
    return NULL;
}

/* ---- running -----------------------------------------------------------------------------------
 */

static bool meets_target(const Result *result) {
    const Measurement *m = result->measurement;
    return m->more_is_better ? result->median >= m->target : result->median <= m->target;
}

static void print_result(const Result *result) {
    const Measurement *m = result->measurement;
    char target[32] = "";
    if (m->target > 0)
        snprintf(target, sizeof target, "%s %g", m->more_is_better ? ">=" : "<=", m->target);
    printf("%-9s %-31s %10.4g %10.4g %10.4g  %-8s %-8s %s", m->suite, m->name, result->median,
           result->least, result->most, m->unit, target,
           m->target > 0 ? meets_target(result) ? "met" : "NOT MET" : "");
    if (result->peak > 0)
        printf("%.0f %% of %.4g", 100 * result->median / result->peak, result->peak);
    printf("\n");
    fflush(stdout);
}

static bool measure(Bench *bench, const Measurement *measurement, Results *results) {
    Samples samples = {.wanted = bench->quick ? 3 : 9, .most_seconds = bench->quick ? 3 : 20};
    tkc_status status = measurement->run(bench, &samples);
    if (status != TKC_OK) {
        tool_report(status);
        tool_error("%s: %s did not run", measurement->suite, measurement->name);
        return false;
    }
    double median = tool_median(samples.values, samples.count) /* sorts */;
    Result result = {measurement,       median,
                     samples.values[0], samples.values[samples.count - 1],
                     samples.peak,      samples.count};
    print_result(&result);
    vec_push(bench->arena, results, result);
    return true;
}

static bool is_wanted(const char *suite, const TextList *suites) {
    for (uint32_t i = 0; i < suites->count; i++)
        if (strcmp(suites->items[i], suite) == 0) return true;
    return suites->count == 0;
}

static bool known_suites(const TextList *suites) {
    const char *names[64];
    const Measurement *m;
    uint32_t count = 0;
    for (uint32_t i = 0; (m = measurement_at(i)); i++)
        if (count == 0 || strcmp(names[count - 1], m->suite) != 0) names[count++] = m->suite;
    names[count++] = "seeds";
    for (uint32_t i = 0; i < suites->count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < count; j++) known |= strcmp(suites->items[i], names[j]) == 0;
        if (known) continue;
        const char *near = nearest_name(suites->items[i], names, count);
        tool_error("there is no suite `%s`%s%s%s", suites->items[i], near ? "; did you mean `" : "",
                   near ? near : "; see --list", near ? "`?" : "");
        return false;
    }
    return true;
}

/* ---- reports
 * -------------------------------------------------------------------------------------- */

/* The first line that a command prints or that a file has after `key`, or "". */
static const char *first_line(Arena *arena, FILE *stream, const char *key) {
    char line[256];
    const char *found = "";
    while (stream && !*found && fgets(line, sizeof line, stream)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *value = line + strlen(key);
        value += strspn(value, "\t :");
        found = arena_strndup(arena, value, strcspn(value, "\n"));
    }
    return found;
}

static const char *cpu_model(Arena *arena) {
    FILE *stream = fopen("/proc/cpuinfo", "r");
    const char *model = first_line(arena, stream, "model name");
    if (stream) fclose(stream);
    return model;
}

static const char *commit(Arena *arena) {
    FILE *stream = popen("git rev-parse --short=12 HEAD 2>/dev/null", "r");
    const char *found = first_line(arena, stream, "");
    if (stream) pclose(stream);
    return found;
}

const char *bench_host(Bench *bench) {
    return arena_printf(bench->arena, "%s, %ld cores", cpu_model(bench->arena),
                        sysconf(_SC_NPROCESSORS_ONLN));
}

cJSON *bench_json_report(Bench *bench) {
    cJSON *report = cJSON_CreateObject(), *host = cJSON_AddObjectToObject(report, "host");
    struct utsname system;
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    cJSON_AddStringToObject(report, "date", date);
    cJSON_AddStringToObject(report, "commit", commit(bench->arena));
    cJSON_AddStringToObject(report, "device", tkc_device_name(bench->device));
    cJSON_AddStringToObject(host, "cpu", cpu_model(bench->arena));
    cJSON_AddNumberToObject(host, "cores", (double)sysconf(_SC_NPROCESSORS_ONLN));
    if (uname(&system) == 0)
        cJSON_AddStringToObject(
            host, "system", arena_printf(bench->arena, "%s %s", system.sysname, system.machine));
    return report;
}

static cJSON *json_report(Bench *bench, const Results *results) {
    cJSON *report = bench_json_report(bench);
    cJSON *list = cJSON_AddArrayToObject(report, "results");
    for (uint32_t i = 0; i < results->length; i++) {
        const Result *result = &results->data[i];
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "suite", result->measurement->suite);
        cJSON_AddStringToObject(one, "name", result->measurement->name);
        cJSON_AddStringToObject(one, "unit", result->measurement->unit);
        cJSON_AddNumberToObject(one, "median", result->median);
        cJSON_AddNumberToObject(one, "least", result->least);
        cJSON_AddNumberToObject(one, "most", result->most);
        cJSON_AddNumberToObject(one, "samples", result->samples);
        if (result->peak > 0) cJSON_AddNumberToObject(one, "peak", result->peak);
        if (result->measurement->target > 0) {
            cJSON_AddNumberToObject(one, "target", result->measurement->target);
            cJSON_AddBoolToObject(one, "met", meets_target(result));
        }
        cJSON_AddItemToArray(list, one);
    }
    return report;
}

/* One chart a suite: bars of value / target (1 is the target), or of the value without target. */
static bool plot_suite(Bench *bench, const Results *results, const char *suite,
                       const char *folder) {
    Text script = {.arena = bench->arena}, data = {.arena = bench->arena};
    for (uint32_t i = 0; i < results->length; i++) {
        const Measurement *m = results->data[i].measurement;
        if (strcmp(m->suite, suite) != 0) continue;
        double ratio = m->target <= 0      ? 0
                       : m->more_is_better ? results->data[i].median / m->target
                                           : m->target / results->data[i].median;
        text_printf(&data, "\"%s\\n%.3g %s\" %g\n", m->name, results->data[i].median, m->unit,
                    ratio);
    }
    const char *base = arena_printf(bench->arena, "%s/%s", folder, suite);
    text_printf(&script,
                "set terminal svg size 900,420 font 'sans,12'\nset output '%s.svg'\n"
                "set title '%s: times the target'\nset style fill solid 0.6\nset yrange [0:*]\n"
                "set xtics rotate by -20\nset grid y\n"
                "plot '%s.dat' using 0:2:(0.6):xtic(1) with boxes notitle, 1 notitle\n",
                base, suite, base);
    const char *path = arena_printf(bench->arena, "%s.gp", base);
    if (!tool_write_file(arena_printf(bench->arena, "%s.dat", base), data.data, data.length) ||
        !tool_write_file(path, script.data, script.length))
        return false;
    if (system(arena_printf(bench->arena, "gnuplot '%s'", path)) == 0) return true;
    tool_error(
        "gnuplot failed; on Debian: apt-get install gnuplot-nox; %s.gp is what it should run",
        base);
    return false;
}

static bool plot_all(Bench *bench, const Results *results, const char *folder) {
    if (strchr(folder, '\'')) {
        tool_error("--plot: no quotes in the name of the folder");
        return false;
    }
    mkdir(folder, 0777); /* when it fails, writing there says why */
    for (uint32_t i = 0; i < results->length; i++) {
        const char *suite = results->data[i].measurement->suite;
        bool first = i == 0 || strcmp(results->data[i - 1].measurement->suite, suite) != 0;
        if (first && !plot_suite(bench, results, suite, folder)) return false;
    }
    return true;
}

/* ---- the command
 * ------------------------------------------------------------------------------------ */

static ExitStatus run_suites(Bench *bench, const BenchOptions *options, const TextList *suites) {
    Results results = {0};
    bool good = true;
    printf("%-9s %-31s %10s %10s %10s  %-8s %s\n", "suite", "measurement", "median", "least",
           "most", "unit", "target");
    const Measurement *m;
    for (uint32_t i = 0; (m = measurement_at(i)); i++)
        if (is_wanted(m->suite, suites)) good &= measure(bench, m, &results);
    if (options->json) good &= tool_write_json(json_report(bench, &results), options->json);
    if (options->plot) good &= plot_all(bench, &results, options->plot);
    return good ? STATUS_DONE : STATUS_REFUSED;
}

static bool is_seeds(const TextList *suites) {
    return suites->count == 1 && !strcmp(suites->items[0], "seeds");
}

static void add_time(void *user, const tkc_launch_event *event) {
    Bench *bench = user;
    KernelTime *found = NULL;
    for (uint32_t i = 0; i < bench->profile.length && !found; i++)
        if (!strcmp(bench->profile.data[i].name, event->kernel)) found = &bench->profile.data[i];
    if (!found) {
        KernelTime time = {0};
        snprintf(time.name, sizeof time.name, "%s", event->kernel);
        vec_push(bench->arena, &bench->profile, time);
        found = &bench->profile.data[bench->profile.length - 1];
    }
    found->launches++;
    found->milliseconds += event->milliseconds;
}

static ExitStatus start(Bench *bench, const BenchOptions *options, const TextList *suites) {
    if (options->help) {
        printf(
            "usage: tkbench [SUITE...] [--device D] [--quick] [--json FILE] [--plot FOLDER]\n\n"
            "Runs the suites (all but seeds when none is named) and prints the median of several\n"
            "samples, with the target where there is one. `tkbench seeds` prints the tables and\n"
            "draws the pictures of the documents the project began with.\n\nOptions:\n");
        options_help(bench_options);
        return STATUS_DONE;
    }
    if (options->list) {
        const Measurement *m;
        for (uint32_t i = 0; (m = measurement_at(i)); i++)
            printf("%-9s %s (%s)\n", m->suite, m->name, m->unit);
        printf("%-9s %s\n", "seeds",
               "layers, attention, backends: tables and pictures; alone only");
        return STATUS_DONE;
    }
    if (!known_suites(suites)) return STATUS_USAGE;
    bool seeds = is_seeds(suites);
    if (!seeds && (options->only || options->torch || options->resume || options->profile)) {
        tool_error("--only, --torch, --resume and --profile belong to `tkbench seeds`");
        return STATUS_USAGE;
    }
    const char *device = options->device ? options->device : seeds ? "auto" : "interp";
    tkc_context_options context = TKC_CONTEXT_OPTIONS_INIT;
    context.user = bench;
    if (options->profile) context.launched = add_time;
    tkc_status status = tkc_context_create(&context, &bench->context);
    if (status == TKC_OK) status = tkc_device_open(bench->context, device, &bench->device);
    if (status == TKC_OK) status = tkk_create(bench->context, bench->device, &bench->library);
    if (status == TKC_OK && seeds)
        return seed_run_all(bench,
                            &(SeedOptions){options->plot, options->json, options->torch,
                                           options->only, options->resume, options->profile});
    if (status == TKC_OK) return run_suites(bench, options, suites);
    ExitStatus exit_status = tool_report(status);
    return status == TKC_NOT_FOUND ? STATUS_NO_DEVICE : exit_status;
}

int main(int count, char **arguments) {
    Arena arena;
    TextList suites;
    BenchOptions options = {0};
    ExitStatus status = STATUS_USAGE;
    tool_start("tkbench");
    arena_init(&arena, 0);
    Bench bench = {.arena = &arena};
    if (options_parse(&arena, "tkbench", bench_options, &options, count - 1, arguments + 1,
                      &suites)) {
        bench.quick = options.quick;
        status = start(&bench, &options, &suites);
    }
    tkk_destroy(bench.library);
    tkc_device_destroy(bench.device);
    tkc_context_destroy(bench.context);
    arena_free(&arena);
    return status;
}
