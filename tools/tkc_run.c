/* tkc_run.c: `tkc run`: reads the arguments, compiles the kernel for their types, runs it. */
#include "tools/tkc_run.h"

#include "tools/tkc_commands.h"

#include <errno.h>
#include <stdlib.h>

/* clang-format off */
#define FIELD(name) offsetof(RunOptions, name)
const Option run_options[] = {
    {"--grid", "-g", OPTION_TEXT, 0, FIELD(grid), "X[,Y[,Z]]", "programs to run (required)"},
    {"--device", "-d", OPTION_TEXT, 0, FIELD(device), "DEVICE",
     "auto (the default), interp, cpu, cuda[:N], emu[:TARGET]"},
    {"--output", "-o", OPTION_LIST, 0, FIELD(outputs), "NAME=FILE.npy",
     "save this tensor after the run (may be repeated)"},
    {"--seed", NULL, OPTION_COUNT, 0, FIELD(seed), "N", "seed of rand and randn (default 0)"},
    {"--repeat", "-r", OPTION_COUNT, 1, FIELD(repeat), "N",
     "run N times, each from the same arguments, and tell the median time"},
    {"--check-against", NULL, OPTION_TEXT, 0, FIELD(check_against), "DEVICE",
     "run there too and compare every tensor"},
    {"--check-races", NULL, OPTION_FLAG, 0, FIELD(check_races), NULL,
     "two programs that use the same bytes without order are a fault"},
    {"--bounds", NULL, OPTION_FLAG, 0, FIELD(bounds), NULL,
     "check every access (cpu; interp and emu do in any case)"},
    {"--counters", NULL, OPTION_FLAG, 0, FIELD(counters), NULL,
     "count instructions and memory traffic (emu)"},
    {"--ieee", NULL, OPTION_FLAG, 0, FIELD(ieee), NULL,
     "f32 tl.dot in full f32, not tf32 (interp)"},
    {"--threads", NULL, OPTION_COUNT, 1, FIELD(threads), "N",
     "host threads (interp, cpu; default: all)"},
    {"--define", "-D", OPTION_LIST, 0, FIELD(constants), "NAME=VALUE",
     "fix a parameter at compile time"},
    {"--type", "-t", OPTION_LIST, 0, FIELD(types), "NAME=TYPE",
     "type of a parameter, e.g. x=*fp16:16, x='tensordesc<fp16[64,64]>'"},
    {"--include", "-I", OPTION_LIST, 0, FIELD(include), "FOLDER", "where imports are looked for"},
    {"--num-warps", NULL, OPTION_COUNT, 1, FIELD(num_warps), "N", "warps a program (GPU)"},
    {"--num-stages", NULL, OPTION_COUNT, 1, FIELD(num_stages), "N", "stages of pipelined loops"},
    {"--json", NULL, OPTION_TEXT, 0, FIELD(json), "FILE", "write a report; `-` is stdout"},
    {0},
};
#undef FIELD
/* clang-format on */

/* ---- reading the command line ------------------------------------------------------------------
 */

static bool parse_grid(const char *text, tkc_grid *grid) {
    int64_t *sides[] = {&grid->x, &grid->y, &grid->z};
    const char *at = text;
    *grid = tkc_grid3(1, 1, 1);
    for (uint32_t i = 0; i < 3; i++) {
        char *end;
        errno = 0;
        long long side = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || (*end == ',' && i == 2)) break;
        if (errno == ERANGE || side > INT32_MAX) {
            tool_error("--grid %s: at most %d programs along one side", text, INT32_MAX);
            return false;
        }
        if (side <= 0) {
            tool_error("--grid %s is empty: no program would run", text);
            return false;
        }
        *sides[i] = side;
        if (!*end) return true;
        at = end + 1;
    }
    tool_error("--grid takes one to three numbers, X[,Y[,Z]], not `%s`", text);
    return false;
}

static ExitStatus open_kernel(Run *run, const char *what) {
    const char *colons = strstr(what, "::");
    uint32_t errors;
    char *log;
    run->path = colons ? arena_strndup(run->arena, what, (size_t)(colons - what)) : what;
    run->context = source_context();
    if (!run->context) return STATUS_REFUSED;
    tkc_status status =
        tkc_source_open(run->context, run->path, NULL, 0, &run->source, &errors, &log);
    if (status != TKC_OK) return tool_report(status);
    tool_print_diagnostics(log);
    tkc_free(log);
    if (errors) return STATUS_REFUSED;
    TextList functions = source_functions(run->arena, run->source);
    for (uint32_t i = 0; colons && i < functions.count; i++)
        if (strcmp(functions.items[i], colons + 2) == 0) run->kernel = functions.items[i];
    if (!colons && functions.count == 1) run->kernel = functions.items[0];
    if (run->kernel) return STATUS_DONE;
    if (colons) {
        source_no_function(run->arena, run->source, run->path, colons + 2);
        return STATUS_REFUSED;
    }
    tool_error("%s has %u jit functions; write %s::KERNEL", run->path, functions.count, run->path);
    for (uint32_t i = 0; i < functions.count && i < 20; i++)
        tool_note("it has `%s`", functions.items[i]);
    return STATUS_USAGE;
}

static Given *find_given(Run *run, const char *name) {
    for (uint32_t i = 0; i < run->given_count; i++)
        if (strcmp(run->given[i].name, name) == 0) return &run->given[i];
    return NULL;
}

static ExitStatus parse_values(Run *run, const TextList *others) {
    run->given = arena_array(run->arena, Given, others->count + TKC_MAX_RANK);
    for (uint32_t i = 1; i < others->count; i++) {
        Given given = {.array = TKC_ARRAY_INIT};
        ExitStatus status = value_parse(run->arena, others->items[i], run->options->seed, &given);
        bool twice = status == STATUS_DONE && find_given(run, given.name);
        if (twice) tool_error("`%s` is given twice", given.name);
        run->given[run->given_count++] = given; /* kept in any case: the clean-up frees it */
        if (twice) return STATUS_USAGE;
        if (status != STATUS_DONE) return status;
    }
    return STATUS_DONE;
}

static bool parse_outputs(Run *run) {
    run->output_paths = arena_array(run->arena, const char *, run->given_count + 1);
    for (uint32_t i = 0; i < run->options->outputs.count; i++) {
        const char *text = run->options->outputs.items[i], *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1]) {
            tool_error("-o takes NAME=FILE.npy, not `%s`", text);
            return false;
        }
        const char *name = arena_strndup(run->arena, text, (size_t)(equals - text));
        Given *given = find_given(run, name);
        if (!given || given->kind != GIVEN_TENSOR) {
            tool_error("-o %s: no argument `%s` that is a tensor", text, name);
            return false;
        }
        run->output_paths[given - run->given] = equals + 1;
    }
    return true;
}

/* ---- matching values and parameters
 * --------------------------------------------------------------- */

static bool add_constant(Run *run, const char *name, const char *text) {
    tkc_named constant = {name, source_value_text(run->arena, text)};
    vec_push(run->arena, &run->constants, constant);
    return true;
}

/* A value for one parameter: a constant, or a type for the compiler and an argument later. */
static bool match_parameter(Run *run, const tkc_source_parameter *parameter) {
    Given *given = find_given(run, parameter->name);
    if (source_is_named(&run->constants, parameter->name)) { /* from -D */
        if (!given) return true;
        tool_error("`%s` is given twice, by -D and as an argument", parameter->name);
        return false;
    }
    if (!given && parameter->default_value && !parameter->is_constexpr) {
        given = &run->given[run->given_count];
        if (value_parse_text(run->arena, parameter->name, parameter->default_value, 0, given) !=
            STATUS_DONE)
            return false;
        run->given_count++;
    }
    if (!given) { /* a compile-time parameter may get its value from a default or from autotune */
        if (parameter->is_constexpr) return true;
        tool_error("no value for `%s`: write %s=VALUE", parameter->name, parameter->name);
        return false;
    }
    given->used = true;
    if (parameter->is_constexpr) {
        if (given->kind != GIVEN_TENSOR) return add_constant(run, given->name, given->text);
        tool_error("`%s` is a compile-time parameter; it cannot be a tensor", given->name);
        return false;
    }
    if (given->kind == GIVEN_NONE) return add_constant(run, given->name, "None");
    if (given->kind == GIVEN_TEXT) {
        tool_error("%s=%s: not a number, a tensor or none (-D %s=%s would fix it at compile time)",
                   given->name, given->text, given->name, given->text);
        return false;
    }
    if (!parameter->type && !source_is_named(&run->types, parameter->name)) {
        const char *dtype = tkc_dtype_name(value_natural_dtype(given));
        bool tensor = given->kind == GIVEN_TENSOR;
        tkc_named type = {given->name, arena_printf(run->arena, "%s%s", tensor ? "*" : "", dtype)};
        vec_push(run->arena, &run->types, type);
    }
    return true;
}

static ExitStatus match_parameters(Run *run) {
    tkc_source_parameter parameter;
    TextList names = {.items = arena_array(run->arena, const char *, 1)};
    bool good = true;
    for (uint32_t i = 0; source_parameter(run->source, run->kernel, i, &parameter); i++)
        names.count++;
    names.items = arena_array(run->arena, const char *, names.count + 1);
    for (uint32_t i = 0; source_parameter(run->source, run->kernel, i, &parameter); i++) {
        names.items[i] = arena_strdup(run->arena, parameter.name);
        good &= match_parameter(run, &parameter);
    }
    for (uint32_t i = 0; i < run->given_count; i++) {
        if (run->given[i].used || source_is_named(&run->constants, run->given[i].name)) continue;
        const char *near = nearest_name(run->given[i].name, names.items, names.count);
        tool_error("`%s` has no parameter `%s`%s%s%s", run->kernel, run->given[i].name,
                   near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
        good = false;
    }
    if (!good) source_describe(run->source, run->kernel);
    return good ? STATUS_DONE : STATUS_USAGE;
}

/* ---- compiling and launching
 * ------------------------------------------------------------------------ */

static ExitStatus open_device(Run *run, Launch *launch, const char *name) {
    tkc_status status = tkc_device_open(run->context, name, &launch->device);
    if (status == TKC_OK) {
        launch->device_name = tkc_device_name(launch->device);
        return STATUS_DONE;
    }
    ExitStatus exit_status = tool_report(status);
    return status == TKC_NOT_FOUND ? STATUS_NO_DEVICE : exit_status;
}

static ExitStatus compile_for(Run *run, Launch *launch) {
    const RunOptions *options = run->options;
    tkc_compile_options compile = TKC_COMPILE_OPTIONS_INIT;
    char *log;
    compile.path = run->path;
    compile.kernel = run->kernel;
    compile.types = run->types.data;
    compile.type_count = run->types.length;
    compile.constants = run->constants.data;
    compile.constant_count = run->constants.length;
    compile.num_warps = options->num_warps;
    compile.num_stages = options->num_stages;
    compile.include_paths = options->include.items;
    compile.include_path_count = options->include.count;
    compile.target = tkc_device_target(launch->device);
    tkc_status status = tkc_compile(run->context, &compile, &launch->kernel, &log);
    tool_print_diagnostics(log);
    bool told = log != NULL;
    tkc_free(log);
    if (status == TKC_OK) return STATUS_DONE;
    return told ? STATUS_REFUSED : tool_report(status);
}

static ExitStatus mismatch(Run *run, const tkc_parameter *parameter, const Given *given) {
    tool_error("`%s` is %s in %s, but %s=%s is %s", parameter->name, parameter->type, run->path,
               given->name, given->text,
               given->kind == GIVEN_TENSOR ? value_describe(run->arena, given)
                                           : tkc_dtype_name(value_natural_dtype(given)));
    return STATUS_USAGE;
}

/* The parts of a tensor descriptor (lang/README.md): x_shape0, x_stride0, ... are those of the
 * tensor given as x. */
static bool descriptor_part(Run *run, const char *name, tkc_argument *argument) {
    static const char *const parts[] = {"_shape", "_stride"};
    for (int k = 0; k < 2; k++) {
        const char *at = NULL;
        for (const char *p = name; (p = strstr(p, parts[k])) != NULL; p++) at = p;
        if (!at) continue;
        const char *digits = at + strlen(parts[k]);
        char *end;
        unsigned long dim = strtoul(digits, &end, 10);
        Given *given = find_given(run, arena_strndup(run->arena, name, (size_t)(at - name)));
        if (end == digits || *end || !given || given->kind != GIVEN_TENSOR ||
            dim >= given->array.rank)
            continue;
        int64_t value = given->array.shape[dim];
        for (uint32_t i = (uint32_t)dim + 1; k == 1 && i < given->array.rank; i++)
            value = i == dim + 1 ? given->array.shape[i] : value * given->array.shape[i];
        *argument = tkc_arg_named(name, k == 0 ? tkc_arg_i32((int32_t)value) : tkc_arg_i64(value));
        return true;
    }
    return false;
}

/* The launch argument for a parameter; makes the buffer of a tensor. */
static ExitStatus make_argument(Run *run, Launch *launch, const tkc_parameter *parameter,
                                tkc_argument *argument) {
    Given *given = find_given(run, parameter->name);
    if (!given && descriptor_part(run, parameter->name, argument)) return STATUS_DONE;
    if (!given) {
        tool_error("no value for `%s` (%s)", parameter->name, parameter->type);
        return STATUS_USAGE;
    }
    bool is_float = parameter->dtype >= TKC_F8E4M3;
    bool fixed = given->dtype != TKC_NONE && given->dtype != parameter->dtype;
    if (parameter->is_pointer != (given->kind == GIVEN_TENSOR) || fixed ||
        (!parameter->is_pointer && !is_float && given->kind == GIVEN_FLOAT))
        return mismatch(run, parameter, given);
    if (!parameter->is_pointer) {
        if (is_float)
            *argument = tkc_arg_f64(given->number);
        else if (given->negative)
            *argument = tkc_arg_i64((int64_t)(0 - given->integer));
        else
            *argument = tkc_arg_u64(given->integer);
        *argument = tkc_arg_named(given->name, *argument);
        return STATUS_DONE;
    }
    tkc_buffer **buffer = &launch->buffers[given - run->given];
    tkc_status status = tkc_buffer_create(launch->device, given->array.size, given->name, buffer);
    if (status == TKC_OK) status = tkc_buffer_set_dtype(*buffer, given->dtype);
    if (status != TKC_OK) return tool_report(status);
    launch->bytes += given->array.size;
    *argument = tkc_arg_named(given->name, tkc_arg_buffer(*buffer));
    return STATUS_DONE;
}

/* Puts every tensor back to what was given. */
static tkc_status write_buffers(Run *run, Launch *launch) {
    tkc_status status = TKC_OK;
    for (uint32_t i = 0; i < run->given_count && status == TKC_OK; i++) {
        Given *given = &run->given[i];
        if (!launch->buffers[i]) continue;
        status = given->poison ? tkc_buffer_poison(launch->buffers[i])
                               : tkc_buffer_write(launch->buffers[i], 0, given->array.data,
                                                  given->array.size);
    }
    return status;
}

static tkc_status read_buffers(Run *run, Launch *launch) {
    tkc_status status = TKC_OK;
    for (uint32_t i = 0; i < run->given_count && status == TKC_OK; i++) {
        if (!launch->buffers[i]) continue;
        tkc_array *result = &launch->results[i];
        *result = run->given[i].array;
        result->data = aligned_alloc(64, (result->size + 64) / 64 * 64);
        if (!result->data) return TKC_OUT_OF_MEMORY;
        status = tkc_buffer_read(launch->buffers[i], 0, result->data, result->size);
    }
    return status;
}

static void free_counters(Launch *launch) {
    tkc_free(launch->counters.text);
    tkc_free(launch->counters.json);
    launch->counters.text = launch->counters.json = NULL;
}

static tkc_status launch_once(Run *run, Launch *launch, const tkc_argument *arguments,
                              uint32_t count, tkc_event *events[2]) {
    tkc_launch_options options = TKC_LAUNCH_OPTIONS_INIT;
    options.threads = run->options->threads;
    options.check_races = run->options->check_races;
    options.ieee_dot = run->options->ieee;
    options.bounds = run->options->bounds && launch == &run->launch;
    if (run->options->counters && launch == &run->launch) {
        free_counters(launch);
        launch->counters = (tkc_counters)TKC_COUNTERS_INIT;
        options.counters = &launch->counters;
    }
    tkc_status status = write_buffers(run, launch);
    if (status == TKC_OK) status = tkc_event_record(events[0], NULL);
    if (status == TKC_OK)
        status =
            tkc_launch(launch->kernel, launch->device, NULL, run->grid, arguments, count, &options);
    if (status == TKC_OK) status = tkc_event_record(events[1], NULL);
    if (status == TKC_OK) status = tkc_device_synchronize(launch->device);
    if (status == TKC_OK)
        status = tkc_event_elapsed_ms(events[0], events[1], &launch->times[launch->repeats++]);
    return status;
}

static ExitStatus launch_all(Run *run, Launch *launch) {
    uint32_t count = tkc_kernel_parameter_count(launch->kernel);
    tkc_argument *arguments = arena_array(run->arena, tkc_argument, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        tkc_parameter parameter = TKC_PARAMETER_INIT;
        tkc_kernel_parameter(launch->kernel, i, &parameter);
        ExitStatus status = make_argument(run, launch, &parameter, &arguments[i]);
        if (status != STATUS_DONE) return status;
    }
    uint32_t repeats = run->options->repeat ? run->options->repeat : 1;
    tkc_event *events[2] = {NULL, NULL};
    launch->times = arena_array(run->arena, double, repeats);
    tkc_status status = tkc_event_create(launch->device, &events[0]);
    if (status == TKC_OK) status = tkc_event_create(launch->device, &events[1]);
    while (launch->repeats < repeats && status == TKC_OK)
        status = launch_once(run, launch, arguments, count, events);
    if (status == TKC_OK) status = read_buffers(run, launch);
    ExitStatus result = status == TKC_OK ? STATUS_DONE : tool_report(status);
    tkc_event_destroy(events[0]);
    tkc_event_destroy(events[1]);
    if (launch->repeats) {
        double *sorted = arena_array(run->arena, double, launch->repeats);
        memcpy(sorted, launch->times, launch->repeats * sizeof *sorted);
        launch->median = tool_median(sorted, launch->repeats);
    }
    return result;
}

static ExitStatus run_on(Run *run, Launch *launch, const char *device) {
    launch->buffers = arena_array(run->arena, tkc_buffer *, run->given_count + 1);
    launch->results = arena_array(run->arena, tkc_array, run->given_count + 1);
    ExitStatus status = open_device(run, launch, device);
    if (status == STATUS_DONE) status = compile_for(run, launch);
    if (status == STATUS_DONE) status = launch_all(run, launch);
    return status;
}

/* ---- the command
 * -------------------------------------------------------------------------------------- */

static void close_launch(Run *run, Launch *launch) {
    for (uint32_t i = 0; launch->buffers && i < run->given_count; i++) {
        tkc_buffer_destroy(launch->buffers[i]);
        free(launch->results[i].data);
    }
    free_counters(launch);
    tkc_kernel_destroy(launch->kernel);
    tkc_device_destroy(launch->device);
}

static void close_run(Run *run) {
    close_launch(run, &run->launch);
    close_launch(run, &run->other);
    for (uint32_t i = 0; i < run->given_count; i++) tkc_array_free(&run->given[i].array);
    tkc_source_destroy(run->source);
    tkc_context_destroy(run->context);
}

static ExitStatus run_kernel(Run *run, const TextList *others) {
    const RunOptions *options = run->options;
    if (others->count == 0) {
        tool_error("which kernel? `tkc help run` says how");
        return STATUS_USAGE;
    }
    if (!options->grid) {
        tool_error("--grid is missing: how many programs? --grid X[,Y[,Z]]");
        return STATUS_USAGE;
    }
    if (!parse_grid(options->grid, &run->grid) ||
        !source_constants(run->arena, &options->constants, &run->constants) ||
        !source_constants(run->arena, &options->types, &run->types))
        return STATUS_USAGE;
    ExitStatus status = open_kernel(run, others->items[0]);
    if (status == STATUS_DONE) status = parse_values(run, others);
    if (status == STATUS_DONE) status = match_parameters(run);
    if (status == STATUS_DONE && !parse_outputs(run)) status = STATUS_USAGE;
    if (status != STATUS_DONE) return status;
    status = run_on(run, &run->launch, options->device);
    if (status == STATUS_DONE && options->check_against)
        status = run_on(run, &run->other, options->check_against);
    if (status == STATUS_DONE) status = report_run(run);
    if (options->json && !report_json(run, status) && status == STATUS_DONE)
        status = STATUS_REFUSED;
    return status;
}

ExitStatus command_run(int count, char **arguments) {
    Arena arena;
    TextList others;
    RunOptions options = {0};
    Run run = {.arena = &arena, .options = &options};
    ExitStatus status = STATUS_USAGE;
    arena_init(&arena, 0);
    if (options_parse(&arena, "tkc run", run_options, &options, count, arguments, &others))
        status = run_kernel(&run, &others);
    close_run(&run);
    arena_free(&arena);
    return status;
}
