/* seeds.c: goes through the rows: measures, prints each table when it is complete, and keeps the
 * report on disk as it grows, so that a run that was stopped can be resumed. */
#include "tools/seeds/seeds.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void show_progress(const SeedRows *rows, uint32_t done, double started) {
    if (!isatty(STDERR_FILENO)) return;
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    uint32_t full = rows->length ? done * WIDTH / rows->length : WIDTH;
    for (uint32_t i = 0; i < WIDTH; i++) bar[i] = i < full ? '=' : ' ';
    bar[WIDTH] = 0;
    fprintf(stderr, "\r\033[K[%s] %u/%u  %.0f s  %s", bar, done, rows->length,
            now_seconds() - started, done < rows->length ? rows->data[done].label : "\n");
    fflush(stderr);
}

static bool is_done(const SeedRow *row) {
    for (uint32_t i = 0; i < row->series_count; i++)
        if (!row->series[i].measured) return false;
    return true;
}

/* By time, longest first; then starts again. */
static void print_profile(Bench *bench) {
    KernelTime *kernels = bench->profile.data;
    uint32_t count = bench->profile.length;
    double all = 0;
    for (uint32_t i = 0; i < count; i++) all += kernels[i].milliseconds;
    if (count)
        printf(
            "\n| kernel | share | total, ms | launches | mean, ms |\n|---|---:|---:|---:|---:|\n");
    for (uint32_t done = 0; done < count; done++) {
        for (uint32_t i = done + 1; i < count; i++)
            if (kernels[i].milliseconds > kernels[done].milliseconds) {
                KernelTime other = kernels[i];
                kernels[i] = kernels[done];
                kernels[done] = other;
            }
        const KernelTime *k = &kernels[done];
        printf("| %s | %.1f %% | %.3f | %llu | %.4f |\n", k->name, 100 * k->milliseconds / all,
               k->milliseconds, (unsigned long long)k->launches,
               k->milliseconds / (double)k->launches);
    }
    bench->profile.length = 0;
}

/* Time grows with the square of x: series that would take too long are left out, with the reason.
 */
static void skip_slow(Bench *bench, const SeedRow *before, SeedRow *row) {
    double most = bench->quick ? 10 : 45, growth = row->x / before->x;
    if (row->x <= 0 || before->x <= 0) return;
    for (uint32_t s = 0; s < row->series_count; s++) {
        const SeedSeries *last = &before->series[s];
        double expected = (last->measured ? last->seconds : last->expected) * growth * growth;
        if (row->series[s].measured || expected <= most) continue;
        row->series[s].expected = expected;
        snprintf(row->series[s].why, sizeof row->series[s].why,
                 "about %.0f s a pass are expected; the limit is %.0f s", expected, most);
    }
}

static bool measure_all(Bench *bench, SeedPeer *peer, SeedRows *rows, const SeedOptions *options,
                        const char *torch) {
    double started = now_seconds();
    bool good = true;
    uint32_t count = 0;
    for (uint32_t first = 0, end; first < rows->length; first = end) {
        end = seed_table_end(rows, first);
        if (!rows->data[first].wanted) continue;
        for (uint32_t i = first; i < end; i++) {
            SeedRow *row = &rows->data[i];
            show_progress(rows, i, started);
            count++;
            if (is_done(row)) continue;
            if (i > first) skip_slow(bench, row - 1, row);
            seed_measure(bench, peer, row);
            for (uint32_t s = 0; s < row->series_count; s++)
                good &=
                    row->series[s].torch || row->series[s].measured || row->series[s].expected > 0;
            if (options->json) good &= seed_write_json(bench, rows, torch, options->json);
        }
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
        seed_print_table(rows, first, end - first, stdout);
        if (options->profile) print_profile(bench);
        fflush(stdout);
    }
    show_progress(rows, rows->length, started);
    printf("\n%u problems in %.0f s\n", count, now_seconds() - started);
    return good;
}

static bool write_tables(Bench *bench, const SeedRows *rows, const char *folder) {
    const char *path = arena_printf(bench->arena, "%s/tables.md", folder);
    FILE *stream = fopen(path, "w");
    if (!stream) {
        tool_error("%s cannot be written", path);
        return false;
    }
    for (uint32_t first = 0, end; first < rows->length; first = end) {
        end = seed_table_end(rows, first);
        if (seed_has_figures(rows, first)) seed_print_table(rows, first, end - first, stream);
    }
    return fclose(stream) == 0;
}

ExitStatus seed_run_all(Bench *bench, const SeedOptions *options) {
    SeedRows rows = {0};
    SeedPeer *peer = NULL;
    const char *torch = NULL;
    char why[256];
    if (options->torch) {
        peer = seed_peer_start(bench->arena, options->torch, &torch, why, sizeof why);
        if (!peer) {
            tool_error("--torch %s: %s", options->torch, why);
            return STATUS_REFUSED;
        }
    }
    if (!seed_list(bench->arena, bench->quick, peer != NULL, options->only, &rows)) {
        tool_error("--only %s: there is no such table", options->only);
        seed_peer_stop(peer);
        return STATUS_USAGE;
    }
    bool good = true;
    if (options->resume && options->json && access(options->json, F_OK) == 0)
        good = seed_read_json(bench, &rows, options->json);
    if (good) {
        printf("# The seeds' tables\n\nDevice %s; %s%s%s. Medians.\n",
               tkc_device_name(bench->device), bench_host(bench), torch ? "; " : "",
               torch ? torch : "");
        good = measure_all(bench, peer, &rows, options, torch);
        if (options->folder)
            good &= seed_write_gallery(bench, &rows, torch, options->folder) &&
                    write_tables(bench, &rows, options->folder);
        if (options->json) good &= seed_write_json(bench, &rows, torch, options->json);
    }
    seed_peer_stop(peer);
    return good ? STATUS_DONE : STATUS_REFUSED;
}
