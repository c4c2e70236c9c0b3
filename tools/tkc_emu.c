/* tkc_emu.c: `tkc emu`: runs an entry of any PTX file on the emulator. */
#include "runtime/emu/emu.h"
#include "tools/tkc_commands.h"
#include "tools/tkc_value.h"

#include <errno.h>
#include <stdlib.h>

typedef struct EmuOptions {
    TextList outputs;
    const char *grid, *block, *json;
    uint32_t shared, seed, schedules, threads;
    bool counters;
} EmuOptions;

/* clang-format off */
#define FIELD(name) offsetof(EmuOptions, name)
const Option emu_options[] = {
    {"--grid", "-g", OPTION_TEXT, 0, FIELD(grid), "X[,Y[,Z]]", "blocks to run (required)"},
    {"--block", "-b", OPTION_TEXT, 0, FIELD(block), "X[,Y[,Z]]", "threads of a block"},
    {"--shared", NULL, OPTION_COUNT, 0, FIELD(shared), "BYTES", "dynamic shared memory"},
    {"--output", "-o", OPTION_LIST, 0, FIELD(outputs), "NAME=FILE.npy",
     "save this tensor after the run (may be repeated)"},
    {"--seed", NULL, OPTION_COUNT, 0, FIELD(seed), "N",
     "order of warps, and of rand and randn (default 0: round robin)"},
    {"--schedules", NULL, OPTION_COUNT, 1, FIELD(schedules), "N",
     "run in N orders and compare what they give"},
    {"--threads", NULL, OPTION_COUNT, 1, FIELD(threads), "N", "host threads (default: all)"},
    {"--counters", NULL, OPTION_FLAG, 0, FIELD(counters), NULL,
     "count instructions and memory traffic"},
    {"--json", NULL, OPTION_TEXT, 0, FIELD(json), "FILE",
     "write the counters there; `-` is stdout"},
    {0},
};
#undef FIELD
/* clang-format on */

typedef struct Job {
    Arena *arena;
    const EmuOptions *options;
    Sources sources;
    Diagnostics diagnostics;
    const EmuEntry *entry;
    EmuLaunch launch;
    Given *given;
    uint32_t given_count;
    EmuBuffer *buffers;
    uint8_t *parameters;
} Job;

/* ---- the file -----------------------------------------------------------------------------------
 */

static const EmuEntry *choose_entry(const EmuModule *module, const char *path, const char *name) {
    uint32_t count = emu_entry_count(module);
    const EmuEntry *found = name ? emu_find_entry(module, name) : NULL;
    if (!name && count == 1) found = emu_entry(module, 0);
    if (found) return found;
    if (name)
        tool_error("%s has no entry `%s`", path, name);
    else
        tool_error("%s has %u entries; write FILE::ENTRY", path, count);
    for (uint32_t i = 0; i < count && i < 20; i++)
        tool_note("it has `%s`", emu_entry(module, i)->name);
    return NULL;
}

/* What a kernel saved by tkc says of its launches; nothing when the file is another one's. */
static void take_header(Job *job, const char *path, const char *text, size_t size) {
    tkc_context *context;
    tkc_kernel *kernel;
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    if (tkc_context_create(NULL, &context) != TKC_OK) return;
    if (tkc_kernel_load(context, path, text, size, &kernel) == TKC_OK) {
        tkc_kernel_query(kernel, &info);
        job->launch.block[0] = info.num_warps * 32;
        job->launch.block[1] = job->launch.block[2] = 1;
        job->launch.dynamic_shared = info.shared_bytes;
        tkc_kernel_destroy(kernel);
    }
    tkc_context_destroy(context);
}

static ExitStatus open_file(Job *job, const char *what) {
    const char *colons = strstr(what, "::");
    const char *path = colons ? arena_strndup(job->arena, what, (size_t)(colons - what)) : what;
    size_t size;
    char *text = tool_read_file(job->arena, path, &size);
    if (!text) return STATUS_REFUSED;
    uint32_t source = sources_add(&job->sources, path, text, size);
    EmuModule *module = emu_load(job->arena, &job->diagnostics, source);
    Text messages = {.arena = job->arena};
    diag_render(&job->diagnostics, &messages);
    if (messages.data) tool_print_diagnostics(messages.data);
    if (!module) return STATUS_REFUSED;
    job->entry = choose_entry(module, path, colons ? colons + 2 : NULL);
    if (!job->entry) return STATUS_USAGE;
    memcpy(job->launch.block, job->entry->required_block, sizeof job->launch.block);
    take_header(job, path, text, size);
    return STATUS_DONE;
}

/* ---- the launch ---------------------------------------------------------------------------------
 */

static bool parse_sides(const char *option, const char *text, uint32_t sides[3]) {
    sides[0] = sides[1] = sides[2] = 1;
    for (uint32_t i = 0; i < 3; i++) {
        char *end;
        errno = 0;
        long long side = strtoll(text, &end, 10);
        if (end == text || errno || side < 1 || side > INT32_MAX) break;
        sides[i] = (uint32_t)side;
        if (!*end) return true;
        if (*end != ',') break;
        text = end + 1;
    }
    tool_error("%s takes one to three numbers above 0, X[,Y[,Z]]", option);
    return false;
}

/* The bits of a number in a parameter of `size` bytes. */
static bool number_bits(const Given *given, uint32_t size, uint64_t *bits) {
    static const tkc_dtype floats[] = {[2] = TKC_F16, [4] = TKC_F32, [8] = TKC_F64};
    tkc_dtype dtype = given->dtype;
    if (!dtype && given->kind == GIVEN_FLOAT && size <= 8) dtype = floats[size];
    *bits = given->negative ? 0 - given->integer : given->integer;
    if (!dtype) return given->kind != GIVEN_FLOAT && size <= 8;
    if (dtype >= TKC_F8E4M3) tkc_encode(dtype, &given->number, bits, 1);
    return tkc_dtype_size(dtype) == size;
}

static ExitStatus take_value(Job *job, uint32_t index) {
    Given *given = &job->given[index];
    const EmuParameter *parameter = &job->entry->parameters[index];
    uint64_t bits = 0;
    bool good = true;
    if (given->kind == GIVEN_TENSOR) {
        tkc_array *array = &given->array;
        if (!array->data) array->data = aligned_alloc(64, (array->size + 64) / 64 * 64);
        if (!array->data) return tool_report(TKC_OUT_OF_MEMORY);
        if (given->poison) memset(array->data, 0xff, array->size);
        bits = EMU_BUFFER_ADDRESS(index);
        job->buffers[index] = (EmuBuffer){
            .address = bits, .size = array->size, .data = array->data, .name = given->name};
        good = parameter->size == 8;
    } else if (given->kind != GIVEN_NONE) {
        good = given->kind != GIVEN_TEXT && number_bits(given, parameter->size, &bits);
    }
    if (!good) {
        tool_error("%s=%s does not fit parameter %u of `%s` (`%s`), which has %u bytes",
                   given->name, given->text, index + 1, job->entry->name, parameter->name,
                   parameter->size);
        return STATUS_USAGE;
    }
    memcpy(job->parameters + parameter->offset, &bits,
           parameter->size < sizeof bits ? parameter->size : sizeof bits);
    return STATUS_DONE;
}

static ExitStatus take_values(Job *job, const TextList *others) {
    const EmuEntry *entry = job->entry;
    job->given = arena_array(job->arena, Given, others->count + 1);
    job->buffers = arena_array(job->arena, EmuBuffer, entry->parameter_count + 1);
    job->parameters = arena_alloc(job->arena, entry->parameter_size + 8);
    for (uint32_t i = 1; i < others->count; i++) {
        Given *given = &job->given[job->given_count++];
        given->array = (tkc_array)TKC_ARRAY_INIT;
        ExitStatus status = value_parse(job->arena, others->items[i], job->options->seed, given);
        if (status != STATUS_DONE) return status;
    }
    if (job->given_count != entry->parameter_count) {
        tool_error("`%s` has %u parameters, and %u values were given", entry->name,
                   entry->parameter_count, job->given_count);
        for (uint32_t i = 0; i < entry->parameter_count; i++)
            tool_note("parameter `%s`: %u bytes%s", entry->parameters[i].name,
                      entry->parameters[i].size, entry->parameters[i].pointer ? ", a pointer" : "");
        return STATUS_USAGE;
    }
    for (uint32_t i = 0; i < job->given_count; i++) {
        ExitStatus status = take_value(job, i);
        if (status != STATUS_DONE) return status;
    }
    job->launch.buffers = job->buffers;
    job->launch.buffer_count = entry->parameter_count;
    job->launch.parameters = job->parameters;
    return STATUS_DONE;
}

static ExitStatus save_outputs(Job *job) {
    for (uint32_t i = 0; i < job->options->outputs.count; i++) {
        const char *text = job->options->outputs.items[i], *equals = strchr(text, '=');
        Given *found = NULL;
        for (uint32_t j = 0; j < job->given_count && equals; j++)
            if (strlen(job->given[j].name) == (size_t)(equals - text) &&
                strncmp(job->given[j].name, text, (size_t)(equals - text)) == 0)
                found = &job->given[j];
        if (!found || found->kind != GIVEN_TENSOR) {
            tool_error("-o %s: no argument of that name that is a tensor", text);
            return STATUS_USAGE;
        }
        tkc_status status = tkc_npy_save(equals + 1, &found->array);
        if (status != TKC_OK) return tool_report(status);
    }
    return STATUS_DONE;
}

static void print_text(void *context, const char *text) {
    (void)context;
    fputs(text, stdout);
}

static ExitStatus launch(Job *job) {
    const EmuOptions *options = job->options;
    EmuResult result;
    EmuLaunch *l = &job->launch;
    if (options->block && !parse_sides("--block", options->block, l->block)) return STATUS_USAGE;
    if (!l->block[0]) {
        tool_error("--block is missing: how many threads has a block of `%s`?", job->entry->name);
        return STATUS_USAGE;
    }
    if (options->shared) l->dynamic_shared = options->shared;
    l->checks = EMU_CHECK_ALL;
    l->seed = options->seed;
    l->schedules = options->schedules;
    l->threads = options->threads;
    l->counters = options->counters || options->json;
    l->print = print_text;
    if (!emu_launch(job->arena, job->entry, l, &result)) {
        tool_error("%s", result.fault.message);
        return STATUS_FAULT;
    }
    Text text = {.arena = job->arena}, json = {.arena = job->arena};
    emu_print_counters(&result.counters, &text);
    emu_print_counters_json(&result.counters, &json);
    if (options->counters && text.length) tool_write_output(text.data, text.length);
    if (options->json && json.length && strcmp(options->json, "-") == 0)
        return tool_write_output(json.data, json.length) ? STATUS_DONE : STATUS_REFUSED;
    if (options->json && json.length && !tool_write_file(options->json, json.data, json.length))
        return STATUS_REFUSED;
    return STATUS_DONE;
}

static ExitStatus run(Job *job, const TextList *others) {
    if (others->count == 0 || !job->options->grid) {
        tool_error(others->count ? "--grid is missing: how many blocks? --grid X[,Y[,Z]]"
                                 : "which file? `tkc help emu` says how");
        return STATUS_USAGE;
    }
    if (!parse_sides("--grid", job->options->grid, job->launch.grid)) return STATUS_USAGE;
    ExitStatus status = open_file(job, others->items[0]);
    if (status == STATUS_DONE) status = take_values(job, others);
    if (status == STATUS_DONE) status = launch(job);
    if (status == STATUS_DONE) status = save_outputs(job);
    return status;
}

ExitStatus command_emu(int count, char **arguments) {
    Arena arena;
    TextList others;
    EmuOptions options = {0};
    Job job = {.arena = &arena, .options = &options};
    ExitStatus status = STATUS_USAGE;
    arena_init(&arena, 0);
    job.sources.arena = job.diagnostics.arena = &arena;
    job.diagnostics.sources = &job.sources;
    if (options_parse(&arena, "tkc emu", emu_options, &options, count, arguments, &others))
        status = run(&job, &others);
    for (uint32_t i = 0; i < job.given_count; i++) tkc_array_free(&job.given[i].array);
    arena_free(&arena);
    return status;
}
