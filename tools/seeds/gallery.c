/* gallery.c: a picture for every table, drawn by gnuplot, and one page with all of them. Rows that
 * have a place on the x axis make lines over it, on logarithmic scales; the others make bars. */
#include "tools/seeds/seeds.h"

#include <stdlib.h>
#include <sys/stat.h>

typedef enum Quantity { TIME, MEMORY, EXTRA } Quantity;

typedef struct Picture {
    const SeedRow *rows;
    uint32_t count;
    Quantity quantity;
    const char *name; /* of the files, without folder and ending */
} Picture;

static const char *const suffixes[] = {"time", "memory", "extra-memory"};
static const char *const axes[] = {"time, ms", "device memory, MiB",
                                   "memory beyond inputs and results, MiB"};

static double value_of(const SeedSeries *series, Quantity quantity) {
    switch (quantity) {
    case TIME: return series->seconds * 1e3;
    case MEMORY: return (double)series->bytes / 1048576;
    default: return (double)series->extra / 1048576;
    }
}

/* "nn.Linear, forward" -> "nn-linear-forward" */
static const char *file_name(Arena *arena, const char *seed, const char *table,
                             const char *suffix) {
    char *name = arena_printf(arena, "%s-%s-%s", seed, table, suffix), *to = name;
    for (const char *from = name; *from; from++) {
        char c = *from;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain)
            *to++ = c;
        else if (to > name && to[-1] != '-')
            *to++ = '-';
    }
    *to = 0;
    return name;
}

static bool has_series(const Picture *picture, uint32_t s) {
    if (picture->quantity != TIME && picture->rows->series[s].torch) return false;
    for (uint32_t i = 0; i < picture->count; i++)
        if (picture->rows[i].series[s].measured) return true;
    return false;
}

/* In lines of a dozen letters, or a word. */
static void add_label(Text *data, const char *label) {
    for (uint32_t length = 0; *label; label++, length++)
        if (*label == ' ' && length >= 12) {
            text_puts(data, "\\n");
            length = 0;
        } else {
            text_add(data, label, 1);
        }
}

/* One line a row: x, a label, then a column for each series ("?" where there is nothing). */
static void add_data(Text *data, const Picture *picture) {
    for (uint32_t i = 0; i < picture->count; i++) {
        const SeedRow *row = &picture->rows[i];
        text_printf(data, "%g \"", row->x);
        add_label(data, row->label);
        text_puts(data, "\"");
        for (uint32_t s = 0; s < row->series_count; s++) {
            double value = value_of(&row->series[s], picture->quantity);
            if (row->series[s].measured && value > 0)
                text_printf(data, " %g", value);
            else
                text_puts(data, " ?");
        }
        text_puts(data, "\n");
    }
}

static double least_value(const Picture *picture) {
    double least = 1;
    bool some = false;
    for (uint32_t i = 0; i < picture->count; i++)
        for (uint32_t s = 0; s < picture->rows[i].series_count; s++) {
            const SeedSeries *series = &picture->rows[i].series[s];
            double value = value_of(series, picture->quantity);
            if (!series->measured || value <= 0 || (some && value >= least)) continue;
            least = value;
            some = true;
        }
    return least;
}

static void add_script(Text *script, const Picture *picture, const char *folder) {
    const SeedRow *row = picture->rows;
    bool lines = row->x > 0, first = true;
    text_printf(script,
                "set terminal svg size 760,460 dynamic background rgb 'white' font 'sans,13'\n"
                "set output '%s/%s.svg'\nset datafile missing '?'\n"
                "set title \"%s\" noenhanced\nset ylabel '%s'\nset grid lc rgb '#cccccc'\n"
                "set key top left\n",
                folder, picture->name, row->table, axes[picture->quantity]);
    if (lines)
        text_puts(script, "set logscale x 2\nset logscale y\nset xlabel 'sequence length'\n");
    else
        text_printf(script,
                    "set style data histograms\nset style histogram clustered gap 1\n"
                    "set style fill solid 0.7 noborder\nset logscale y\nset yrange [%g:*]\n"
                    "set xtics noenhanced\nset bmargin 4\n",
                    least_value(picture) / 2);
    text_puts(script, "plot ");
    for (uint32_t s = 0; s < row->series_count; s++) {
        if (!has_series(picture, s)) continue;
        text_printf(script, "%s'%s/%s.dat' using ", first ? "" : ", ", folder, picture->name);
        if (lines)
            text_printf(script, "1:%u with linespoints lw 2 pt %u", s + 3, s + 4);
        else
            text_printf(script, "%u:xtic(2)", s + 3);
        text_printf(script, " title '%s' noenhanced", row->series[s].name);
        first = false;
    }
    text_puts(script, "\n");
}

static bool draw(Bench *bench, const Picture *picture, const char *folder) {
    Text data = {.arena = bench->arena}, script = {.arena = bench->arena};
    add_data(&data, picture);
    add_script(&script, picture, folder);
    const char *base = arena_printf(bench->arena, "%s/%s", folder, picture->name);
    const char *path = arena_printf(bench->arena, "%s.gp", base);
    if (!tool_write_file(arena_printf(bench->arena, "%s.dat", base), data.data, data.length) ||
        !tool_write_file(path, script.data, script.length))
        return false;
    if (system(arena_printf(bench->arena, "gnuplot '%s'", path)) == 0) return true;
    tool_error("gnuplot failed; on Debian: apt-get install gnuplot-nox; %s is what it should run",
               path);
    return false;
}

static void add_escaped(Text *page, const char *text) {
    for (; *text; text++)
        if (*text == '<')
            text_puts(page, "&lt;");
        else if (*text == '&')
            text_puts(page, "&amp;");
        else
            text_add(page, text, 1);
}

static const char *title_of(const char *seed) {
    if (!strcmp(seed, "000")) return "Attention with ReLU and with SoftMax weights (seed 000)";
    if (!strcmp(seed, "001")) return "Scaled dot product attention (seed 001)";
    if (!strcmp(seed, "002")) return "Fused attention (seed 002)";
    if (!strcmp(seed, "004")) return "Layers (seed 004)";
    return "Memory of attention by length";
}

static bool add_pictures(Bench *bench, Text *page, const SeedRow *rows, uint32_t count,
                         const char *folder) {
    for (Quantity quantity = TIME; quantity <= EXTRA; quantity++) {
        bool layers = !strcmp(rows->seed, "004"), memory = !strcmp(rows->seed, "memory");
        if (memory != (quantity == EXTRA) || (layers && quantity != TIME)) continue;
        Picture picture = {rows, count, quantity,
                           file_name(bench->arena, rows->seed, rows->table, suffixes[quantity])};
        bool some = false;
        for (uint32_t s = 0; s < rows->series_count; s++) some |= has_series(&picture, s);
        if (!some) continue;
        if (!draw(bench, &picture, folder)) return false;
        text_puts(page, "<figure><img alt=\"");
        add_escaped(page, rows->table);
        text_printf(page, ", %s\" src=\"%s.svg\"></figure>\n", suffixes[quantity], picture.name);
    }
    return true;
}

bool seed_write_gallery(Bench *bench, const SeedRows *rows, const char *torch, const char *folder) {
    if (strchr(folder, '\'')) {
        tool_error("--plot: no quotes in the name of the folder");
        return false;
    }
    mkdir(folder, 0777); /* when it fails, writing there says why */
    Text page = {.arena = bench->arena};
    text_puts(&page,
              "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
              "<title>tkc: tables and pictures of the seeds</title>\n<style>\n"
              "body{font:15px/1.5 sans-serif;max-width:1600px;margin:2em auto;padding:0 1em}\n"
              "figure{display:inline-block;margin:.5em;width:47%;min-width:340px}\n"
              "img{width:100%;border:1px solid #ddd}\n</style></head><body>\n"
              "<h1>tkc: tables and pictures of the seeds</h1>\n<p>Device: ");
    add_escaped(&page, tkc_device_name(bench->device));
    text_puts(&page, "; ");
    add_escaped(&page, bench_host(bench));
    if (torch) {
        text_puts(&page, "; ");
        add_escaped(&page, torch);
    }
    text_puts(&page, ". Medians; the tables are in <a href=\"tables.md\">tables.md</a>.</p>\n");
    const char *seed = "";
    for (uint32_t first = 0, end; first < rows->length; first = end) {
        end = seed_table_end(rows, first);
        if (!seed_has_figures(rows, first)) continue;
        if (strcmp(seed, rows->data[first].seed) != 0) {
            seed = rows->data[first].seed;
            text_printf(&page, "<h2>%s</h2>\n", title_of(seed));
        }
        if (!add_pictures(bench, &page, &rows->data[first], end - first, folder)) return false;
    }
    text_puts(&page, "</body></html>\n");
    return tool_write_file(arena_printf(bench->arena, "%s/index.html", folder), page.data,
                           page.length);
}
