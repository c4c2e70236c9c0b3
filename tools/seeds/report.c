/* report.c: tables in Markdown, and the report in JSON, which can be read again to go on with. */
#include "tools/seeds/seeds.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

uint32_t seed_table_end(const SeedRows *rows, uint32_t first) {
    uint32_t end = first + 1;
    while (end < rows->length && !strcmp(rows->data[end].table, rows->data[first].table)) end++;
    return end;
}

bool seed_has_figures(const SeedRows *rows, uint32_t first) {
    for (uint32_t i = first; i < seed_table_end(rows, first); i++)
        for (uint32_t s = 0; s < rows->data[i].series_count; s++)
            if (rows->data[i].series[s].measured) return true;
    return false;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const SeedSeries *torch_series(const SeedRow *row) {
    for (uint32_t i = 0; i < row->series_count; i++)
        if (row->series[i].torch) return &row->series[i];
    return NULL;
}

/* The time of the row's first series by torch's; 0 when one is missing. */
static double ratio_of(const SeedRow *row) {
    const SeedSeries *torch = torch_series(row);
    if (!torch || !torch->measured || !row->series[0].measured) return 0;
    return row->series[0].seconds / torch->seconds;
}

static void print_seconds(FILE *stream, const SeedSeries *series) {
    if (series->measured)
        fprintf(stream, " %.3g |", series->seconds * 1e3);
    else
        fprintf(stream, " - |");
}

static void print_overall(const SeedRow *rows, uint32_t count, FILE *stream) {
    double values[64];
    fprintf(stream, "| median |");
    for (uint32_t s = 0; s < rows->series_count; s++) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < count && found < ARRAY_LENGTH(values); i++)
            if (rows[i].series[s].measured) values[found++] = rows[i].series[s].seconds;
        if (found)
            fprintf(stream, " %.3g |", tool_median(values, found) * 1e3);
        else
            fprintf(stream, " - |");
    }
    if (torch_series(rows)) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < count && found < ARRAY_LENGTH(values); i++)
            if (ratio_of(&rows[i]) > 0) values[found++] = ratio_of(&rows[i]);
        if (found)
            fprintf(stream, " %.2f |", tool_median(values, found));
        else
            fprintf(stream, " - |");
    }
    for (uint32_t s = 0; s < rows->series_count; s++)
        if (!rows->series[s].torch) fprintf(stream, " | |");
    fprintf(stream, "\n");
}

void seed_print_table(const SeedRows *all, uint32_t first, uint32_t count, FILE *stream) {
    const SeedRow *rows = &all->data[first];
    fprintf(stream, "\n### %s\n\n| problem |", rows->table);
    for (uint32_t s = 0; s < rows->series_count; s++)
        fprintf(stream, " %s, ms |", rows->series[s].name);
    bool torch = torch_series(rows) != NULL;
    if (torch) fprintf(stream, " %s / %s |", rows->series[0].name, torch_series(rows)->name);
    for (uint32_t s = 0; s < rows->series_count; s++)
        if (!rows->series[s].torch)
            fprintf(stream, " %s, MiB | beyond tensors |", rows->series[s].name);
    fprintf(stream, "\n|---|");
    for (uint32_t s = 0; s < rows->series_count; s++)
        fprintf(stream, rows->series[s].torch ? "---:|" : "---:|---:|---:|");
    fprintf(stream, torch ? "---:|\n" : "\n");
    for (uint32_t i = 0; i < count; i++) {
        const SeedRow *row = &rows[i];
        fprintf(stream, "| %s |", row->label);
        for (uint32_t s = 0; s < row->series_count; s++) print_seconds(stream, &row->series[s]);
        if (torch && ratio_of(row) > 0)
            fprintf(stream, " %.2f |", ratio_of(row));
        else if (torch)
            fprintf(stream, " - |");
        for (uint32_t s = 0; s < row->series_count; s++) {
            const SeedSeries *series = &row->series[s];
            if (series->torch) continue;
            if (series->measured)
                fprintf(stream, " %.4g | %.4g |", (double)series->bytes / 1048576,
                        (double)series->extra / 1048576);
            else
                fprintf(stream, " - | - |");
        }
        fprintf(stream, "\n");
    }
    if (count > 1) print_overall(rows, count, stream);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t s = 0; s < rows[i].series_count; s++)
            if (rows[i].series[s].why[0])
                fprintf(stream, "\n%s, %s: not measured: %s\n", rows[i].label,
                        rows[i].series[s].name, rows[i].series[s].why);
}

/* ---- JSON ------------------------------------------------------------------------------- */

static cJSON *series_json(const SeedSeries *series) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "name", series->name);
    if (series->measured) {
        cJSON_AddNumberToObject(one, "seconds", series->seconds);
        cJSON_AddNumberToObject(one, "least", series->least);
        cJSON_AddNumberToObject(one, "most", series->most);
        if (!series->torch) {
            cJSON_AddNumberToObject(one, "bytes", (double)series->bytes);
            cJSON_AddNumberToObject(one, "extra_bytes", (double)series->extra);
        }
    } else if (series->why[0]) {
        cJSON_AddStringToObject(one, "not_measured", series->why);
    }
    return one;
}

bool seed_write_json(Bench *bench, const SeedRows *rows, const char *torch, const char *path) {
    cJSON *report = bench_json_report(bench);
    if (torch) cJSON_AddStringToObject(report, "torch", torch);
    cJSON_AddBoolToObject(report, "quick", bench->quick);
    cJSON *list = cJSON_AddArrayToObject(report, "rows");
    for (uint32_t i = 0; i < rows->length; i++) {
        const SeedRow *row = &rows->data[i];
        cJSON *one = cJSON_CreateObject(), *series = NULL;
        cJSON_AddStringToObject(one, "seed", row->seed);
        cJSON_AddStringToObject(one, "table", row->table);
        cJSON_AddStringToObject(one, "problem", row->label);
        series = cJSON_AddArrayToObject(one, "series");
        for (uint32_t s = 0; s < row->series_count; s++)
            cJSON_AddItemToArray(series, series_json(&row->series[s]));
        cJSON_AddItemToArray(list, one);
    }
    return tool_write_json(report, path);
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) && item->valuedouble > 0 ? item->valuedouble : 0;
}

static void take_series(SeedRow *row, const cJSON *found) {
    for (uint32_t s = 0; s < row->series_count; s++) {
        SeedSeries *series = &row->series[s];
        if (strcmp(series->name, text_of(found, "name")) != 0) continue;
        series->seconds = number_of(found, "seconds");
        series->least = number_of(found, "least");
        series->most = number_of(found, "most");
        series->bytes = (uint64_t)number_of(found, "bytes");
        series->extra = (uint64_t)number_of(found, "extra_bytes");
        series->measured = series->seconds > 0;
    }
}

bool seed_read_json(Bench *bench, SeedRows *rows, const char *path) {
    size_t length = 0;
    const char *text = tool_read_file(bench->arena, path, &length);
    cJSON *report = text ? cJSON_ParseWithLength(text, length) : NULL;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(report, "rows"), *one, *series;
    bool good =
        cJSON_IsArray(list) && !strcmp(text_of(report, "device"), tkc_device_name(bench->device));
    if (good) {
        cJSON_ArrayForEach(one, list) {
            for (uint32_t i = 0; i < rows->length; i++) {
                SeedRow *row = &rows->data[i];
                if (strcmp(row->table, text_of(one, "table")) != 0 ||
                    strcmp(row->label, text_of(one, "problem")) != 0)
                    continue;
                cJSON_ArrayForEach(series, cJSON_GetObjectItemCaseSensitive(one, "series"))
                    take_series(row, series);
            }
        }
    } else if (text) {
        tool_error("%s is no report of this command on the device %s; give another --json", path,
                   tkc_device_name(bench->device));
    }
    cJSON_Delete(report);
    return good;
}
