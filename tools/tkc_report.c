/* tkc_report.c: what `tkc run` tells: saved outputs, time, differences between devices, JSON. */
#include "tools/tkc_run.h"

#include <cjson/cJSON.h>
#include <math.h>

/* ---- comparing --------------------------------------------------------------------------------
 */

/* How far two devices may differ, relative to the larger of the value and the rms of its tensor:
 * 2^-m for a type with m+1 significant bits would be one rounding; a sum of some thousand terms in
 * another order, or another polynomial for exp, costs a few bits more. Integers: nothing. */
static double allowed_difference(tkc_dtype dtype) {
    switch (dtype) {
    case TKC_F64: return ldexp(1, -40);
    case TKC_F32: return ldexp(1, -13);
    case TKC_F16: return ldexp(1, -8);
    case TKC_BF16: return ldexp(1, -5);
    case TKC_F8E4M3:
    case TKC_F8E4M3B15: return ldexp(1, -2);
    case TKC_F8E5M2: return ldexp(1, -1);
    default: return 0;
    }
}

enum { CHUNK = 1024 };

typedef struct Pair {
    const tkc_array *a, *b;
    double x[CHUNK], y[CHUNK];
} Pair;

/* Decodes the elements from `first` on; returns how many. */
static uint64_t decode_pair(Pair *pair, uint64_t first) {
    uint64_t left = tkc_array_count(pair->a) - first, n = left < CHUNK ? left : CHUNK;
    uint64_t at = first * tkc_dtype_size(pair->a->dtype);
    tkc_decode(pair->a->dtype, (const char *)pair->a->data + at, pair->x, n);
    tkc_decode(pair->b->dtype, (const char *)pair->b->data + at, pair->y, n);
    return n;
}

Difference compare_arrays(const tkc_array *a, const tkc_array *b) {
    Difference difference = {.allowed = allowed_difference(a->dtype)};
    Pair pair = {.a = a, .b = b};
    uint64_t count = tkc_array_count(a), finite = 0;
    double squares = 0;
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = decode_pair(&pair, i);
        for (uint64_t j = 0; j < n; j++) {
            if (!isfinite(pair.y[j])) continue;
            squares += pair.y[j] * pair.y[j];
            finite++;
        }
    }
    double rms = finite ? sqrt(squares / (double)finite) : 0;
    int bits = (int)value_significand_bits(a->dtype);
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = decode_pair(&pair, i);
        for (uint64_t j = 0; j < n; j++) {
            double x = pair.x[j], y = pair.y[j];
            if (x == y || (isnan(x) && isnan(y))) continue;
            double absolute = isfinite(x) && isfinite(y) ? fabs(x - y) : INFINITY;
            double relative = absolute / fmax(fabs(y), rms);
            double step = bits && y != 0 ? ldexp(1, ilogb(y) + 1 - bits) : 1;
            if (relative > difference.allowed) difference.count++;
            if (absolute > difference.absolute) difference.absolute = absolute;
            if (relative > difference.relative) {
                difference.relative = relative;
                difference.at = i + j;
            }
            if (bits ? y != 0 : true) difference.steps = fmax(difference.steps, absolute / step);
        }
    }
    return difference;
}

/* ---- text
 * ---------------------------------------------------------------------------------------- */

static bool print_difference(Run *run, uint32_t i) {
    Difference difference = compare_arrays(&run->launch.results[i], &run->other.results[i]);
    printf("%s: %s and %s differ by at most %.3g (relative %.3g, %.3g %s; allowed %.3g)\n",
           run->given[i].name, run->launch.device_name, run->other.device_name, difference.absolute,
           difference.relative, difference.steps,
           value_significand_bits(run->given[i].dtype) ? "ulp" : "units", difference.allowed);
    if (difference.count == 0) return true;
    fflush(stdout);
    tool_error("%s: %llu elements differ by more than allowed, most at index %llu",
               run->given[i].name, (unsigned long long)difference.count,
               (unsigned long long)difference.at);
    return false;
}

static double gigabytes_per_second(const Launch *launch) {
    return launch->median > 0 ? (double)launch->bytes / launch->median / 1e6 : 0;
}

static void print_time(const Launch *launch) {
    printf("%s: %.3f ms", launch->device_name, launch->median);
    if (launch->repeats > 1) printf(" (median of %u)", launch->repeats);
    printf(", %.3f GB/s over %.3f MB of tensors\n", gigabytes_per_second(launch),
           (double)launch->bytes / 1e6);
}

ExitStatus report_run(Run *run) {
    for (uint32_t i = 0; i < run->given_count; i++) {
        if (!run->output_paths[i]) continue;
        tkc_status status = tkc_npy_save(run->output_paths[i], &run->launch.results[i]);
        if (status != TKC_OK) return tool_report(status);
        printf("%s: %s saved in %s\n", run->given[i].name,
               array_describe(run->arena, &run->launch.results[i]), run->output_paths[i]);
    }
    print_time(&run->launch);
    if (run->launch.counters.text) fputs(run->launch.counters.text, stdout);
    bool same = true;
    if (run->options->check_against) {
        print_time(&run->other);
        for (uint32_t i = 0; i < run->given_count; i++)
            if (run->launch.buffers[i]) same &= print_difference(run, i);
    }
    return same ? STATUS_DONE : STATUS_FAULT;
}

/* ---- JSON
 * ------------------------------------------------------------------------------------------ */

static void add_shape(cJSON *object, const tkc_array *array) {
    cJSON *shape = cJSON_AddArrayToObject(object, "shape");
    for (uint32_t i = 0; i < array->rank; i++)
        cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)array->shape[i]));
}

static cJSON *json_argument(Run *run, uint32_t i) {
    const Given *given = &run->given[i];
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "name", given->name);
    cJSON_AddStringToObject(object, "value", given->text);
    if (given->kind != GIVEN_TENSOR) return object;
    cJSON_AddStringToObject(object, "dtype", tkc_dtype_name(given->dtype));
    add_shape(object, &given->array);
    if (run->output_paths[i]) cJSON_AddStringToObject(object, "saved", run->output_paths[i]);
    if (run->other.results && run->other.results[i].data && run->launch.results[i].data) {
        Difference difference = compare_arrays(&run->launch.results[i], &run->other.results[i]);
        cJSON_AddNumberToObject(object, "max_absolute_difference", difference.absolute);
        cJSON_AddNumberToObject(object, "max_relative_difference", difference.relative);
        cJSON_AddNumberToObject(object, "max_ulp_difference", difference.steps);
        cJSON_AddNumberToObject(object, "elements_beyond_tolerance", (double)difference.count);
    }
    return object;
}

static cJSON *json_launch(const Launch *launch) {
    cJSON *object = cJSON_CreateObject();
    tkc_kernel_info info = TKC_KERNEL_INFO_INIT;
    cJSON_AddStringToObject(object, "device", launch->device_name ? launch->device_name : "");
    if (launch->kernel && tkc_kernel_query(launch->kernel, &info) == TKC_OK)
        cJSON_AddNumberToObject(object, "compile_ms", info.compile_ms);
    cJSON *times = cJSON_AddArrayToObject(object, "run_ms");
    for (uint32_t i = 0; i < launch->repeats; i++)
        cJSON_AddItemToArray(times, cJSON_CreateNumber(launch->times[i]));
    cJSON_AddNumberToObject(object, "median_ms", launch->median);
    cJSON_AddNumberToObject(object, "bytes", (double)launch->bytes);
    cJSON_AddNumberToObject(object, "gb_per_s", gigabytes_per_second(launch));
    cJSON *counters = launch->counters.json ? cJSON_Parse(launch->counters.json) : NULL;
    if (counters) cJSON_AddItemToObject(object, "counters", counters);
    return object;
}

static cJSON *json_fault(void) {
    const tkc_fault *fault = tkc_last_fault();
    if (!fault) return cJSON_CreateNull();
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "message", fault->message);
    cJSON_AddStringToObject(object, "file", fault->file);
    cJSON_AddNumberToObject(object, "line", fault->line);
    cJSON_AddStringToObject(object, "parameter", fault->parameter);
    cJSON_AddNumberToObject(object, "offset", (double)fault->offset);
    cJSON_AddNumberToObject(object, "buffer_size", (double)fault->buffer_size);
    return object;
}

bool report_json(Run *run, ExitStatus status) {
    const double grid[] = {(double)run->grid.x, (double)run->grid.y, (double)run->grid.z};
    cJSON *report = cJSON_CreateObject();
    cJSON_AddStringToObject(report, "file", run->path);
    cJSON_AddStringToObject(report, "kernel", run->kernel);
    cJSON_AddItemToObject(report, "grid", cJSON_CreateDoubleArray(grid, 3));
    cJSON_AddNumberToObject(report, "seed", run->options->seed);
    cJSON_AddNumberToObject(report, "status", status);
    cJSON *arguments = cJSON_AddArrayToObject(report, "arguments");
    for (uint32_t i = 0; i < run->given_count; i++)
        cJSON_AddItemToArray(arguments, json_argument(run, i));
    cJSON *launches = cJSON_AddArrayToObject(report, "launches");
    cJSON_AddItemToArray(launches, json_launch(&run->launch));
    if (run->other.device_name) cJSON_AddItemToArray(launches, json_launch(&run->other));
    if (status == STATUS_FAULT) cJSON_AddItemToObject(report, "fault", json_fault());
    return tool_write_json(report, run->options->json);
}
