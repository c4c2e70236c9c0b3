/* reduce.c: host of reduce.tk. Few long rows are done in parts, which a second launch reduces. */
#include "kernels/rows.h"

#include <math.h>

KERNEL_FILE(reduce);

static const tkk_reduce_options defaults = TKK_REDUCE_OPTIONS_INIT;

/* How rows are cut into parts, the same for every call with these shapes on this device. */
typedef struct Parts {
    int64_t count, piece; /* elements of one */
} Parts;

static const char *const kinds[] = {
    [TKK_SUM] = "'sum'", [TKK_MEAN] = "'sum'", [TKK_NORM] = "'sum'",
    [TKK_MAX] = "'max'", [TKK_MIN] = "'min'",
};

static bool is_extreme(const tkk_reduce_options *options) {
    return options->kind == TKK_MAX || options->kind == TKK_MIN;
}

static bool has_places(const tkk_reduce_options *options) {
    return options->places.data.kind != TKC_ARGUMENT_MISSING;
}

static tkc_status check(const tkk_reduce_options *options, const tkk_tensor *x,
                        const tkk_tensor *out, uint32_t *dim) {
    CHECK_OPTIONS(options, "options");
    if ((uint32_t)options->kind > TKK_MIN)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_reduce: unknown kind %d.", (int)options->kind);
    CHECK(check_rows("x", x));
    CHECK(check_float("x", x));
    CHECK(check_axis(options->axis, x, dim));
    if (out) {
        CHECK(check_rows_reduced("out", out, x, *dim));
        CHECK(check_float("out", out));
    }
    if (has_places(options)) {
        const tkk_tensor *places = &options->places;
        if (!is_extreme(options))
            return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_reduce: places are of maxima and minima.");
        CHECK(check_rows_reduced("places", places, x, *dim));
        if (places->dtype != TKC_I32 && places->dtype != TKC_I64)
            return tkc_fail(TKC_INVALID_ARGUMENT, "places has dtype %s; i32 or i64 is needed.",
                            tkc_dtype_name(places->dtype));
    } else if (!out) {
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_reduce: neither out nor places is given.");
    }
    if (x->shape[*dim] == 0 && is_extreme(options))
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_reduce: no element has an extreme; the extent "
                                              "of the axis is 0.");
    return TKC_OK;
}

static int64_t row_count(const tkk_tensor *x, uint32_t dim) {
    int64_t rows = 1;
    for (uint32_t i = 0; i < x->rank; i++)
        if (i != dim) rows *= x->shape[i];
    return rows;
}

static Parts parts_of(const tkk_library *library, const tkk_tensor *x, uint32_t dim) {
    enum { LEAST = 16384 }; /* elements that are worth a program */
    int64_t n = x->shape[dim], rows = row_count(x, dim), wanted = 1;
    if (rows > 0 && n > LEAST) {
        int64_t enough = 4 * (int64_t)processors(library);
        wanted = tkc_cdiv(enough, rows);
        if (wanted > n / LEAST) wanted = n / LEAST;
    }
    int64_t piece = tkc_cdiv(tkc_cdiv(n, wanted), 4096) * 4096;
    return (Parts){.count = n > 0 ? tkc_cdiv(n, piece) : 1, .piece = piece > 0 ? piece : 4096};
}

static uint64_t part_bytes(const tkk_tensor *x, uint32_t dim, Parts parts) {
    return parts.count > 1 ? scratch_size(4 * (uint64_t)(row_count(x, dim) * parts.count)) : 0;
}

uint64_t tkk_reduce_workspace(tkk_library *library, const tkk_tensor *x,
                              const tkk_reduce_options *options) {
    if (!library) return 0;
    uint32_t dim = 0;
    if (!options) options = &defaults;
    if (check_rows("x", x) || check_axis(options->axis, x, &dim)) return 0;
    uint64_t bytes = part_bytes(x, dim, parts_of(library, x, dim));
    return has_places(options) ? 2 * bytes : bytes;
}

/* One launch. Missing tensors are NULL. `part`: elements between the results of two parts. */
typedef struct Launch {
    const tkk_tensor *x, *x_places, *out, *places;
    uint32_t dim;
    Parts parts;
    int64_t part;
    bool square, root;
    double scale;
} Launch;

static tkc_status launch(tkk_library *library, tkc_stream *stream,
                         const tkk_reduce_options *options, const Launch *l) {
    Rows rows;
    rows_begin(&rows, l->dim, l->x);
    tkk_tensor out, places;
    if (l->out) rows_add(&rows, (out = rows_reduced(l->out, l->x, l->dim), &out));
    if (l->places) rows_add(&rows, (places = rows_reduced(l->places, l->x, l->dim), &places));
    rows_end(&rows);
    if (rows.lanes == 0 || rows.middle == 0 || rows.outer == 0) return TKC_OK;
    RowBlock block = rows_block(&rows, library, runs_on_host(library) ? 16384 : 2048);
    bool whole = block.whole && !l->places && l->parts.count == 1;
    Call call;
    call_begin(&call, library, &file, "reduce_rows");
    call.num_warps = block.warps;
    call.compile_only = options->compile_only;
    call_tensor(&call, "x", l->x);
    call_optional(&call, "out", l->out);
    rows_strides(&rows, &call, "x", l->x);
    rows_reduced_strides(&rows, &call, "out", l->out ? &out : NULL);
    rows_reduced_strides(&rows, &call, "places", l->places ? &places : NULL);
    rows_sizes(&rows, &call, &block);
    call_stride(&call, "piece", "i32", l->parts.piece);
    call_int(&call, l->part);
    call_float(&call, l->scale);
    call_optional(&call, "x_places", l->x_places);
    call_optional(&call, "places", l->places);
    call_constant(&call, "KIND", kinds[options->kind]);
    call_constant(&call, "WHOLE", whole ? "True" : "False");
    call_constant(&call, "SQUARE", l->square ? "True" : "False");
    call_constant(&call, "ROOT", l->root ? "True" : "False");
    tkc_grid grid = rows_grid(&rows, &block);
    return call_launch(&call, stream, tkc_grid2(grid.x, l->parts.count));
}

/* [parts, the other dimensions of x], without gaps. */
static tkk_tensor partial(tkc_argument data, tkc_dtype dtype, const tkk_tensor *x, uint32_t dim,
                          int64_t parts) {
    tkk_tensor made = {.data = data, .dtype = dtype, .rank = x->rank};
    made.shape[0] = parts;
    for (uint32_t i = 0, to = 1; i < x->rank; i++)
        if (i != dim) made.shape[to++] = x->shape[i];
    int64_t stride = 1;
    for (uint32_t i = made.rank; i-- > 0; stride *= made.shape[i]) made.stride[i] = stride;
    return made;
}

/* One part of it, in the shape of x with an extent of 1 at the axis. */
static tkk_tensor first_part(const tkk_tensor *partials, const tkk_tensor *x, uint32_t dim) {
    tkk_tensor part = *partials;
    for (uint32_t i = 0, from = 1; i < x->rank; i++) {
        part.shape[i] = i == dim ? 1 : partials->shape[from];
        part.stride[i] = i == dim ? 0 : partials->stride[from];
        if (i != dim) from++;
    }
    return part;
}

tkc_status tkk_reduce(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                      const tkk_tensor *out, const tkk_reduce_options *options) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    if (!options) options = &defaults;
    CHECK(check(options, x, out, &dim));
    const tkk_tensor *places = has_places(options) ? &options->places : NULL;
    Parts parts = parts_of(library, x, dim);
    int64_t n = x->shape[dim], rows = row_count(x, dim);
    bool norm = options->kind == TKK_NORM;
    Launch whole = {x, NULL, out, places, dim, parts, 0, norm, norm, 1};
    if (options->kind == TKK_MEAN) whole.scale = 1.0 / (double)n; /* of nothing: NaN */
    if (n == 0 && options->kind == TKK_MEAN) whole.scale = (double)NAN;
    if (parts.count == 1) return launch(library, stream, options, &whole);

    uint64_t bytes = part_bytes(x, dim, parts);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &options->workspace, places ? 2 * bytes : bytes,
                        "tkk_reduce"));
    tkk_tensor values = partial(scratch_take(&scratch, bytes), TKC_F32, x, dim, parts.count);
    tkk_tensor at = {.rank = 0};
    if (places) at = partial(scratch_take(&scratch, bytes), TKC_I32, x, dim, parts.count);
    tkk_tensor value_part = first_part(&values, x, dim), at_part = first_part(&at, x, dim);
    Launch first = {x,     NULL, &value_part, places ? &at_part : NULL, dim, parts, rows, norm,
                    false, 1};
    tkc_status status = launch(library, stream, options, &first);
    if (status != TKC_OK) return scratch_end(&scratch, status);
    /* The results, as seen from the partial ones, whose axis is the first dimension. */
    tkk_tensor out_view, places_view;
    if (out) out_view = rows_dropped(rows_reduced(out, x, dim), dim);
    if (places) places_view = rows_dropped(rows_reduced(places, x, dim), dim);
    Launch second = {&values,
                     places ? &at : NULL,
                     out ? &out_view : NULL,
                     places ? &places_view : NULL,
                     0,
                     {1, parts.count},
                     0,
                     false,
                     norm,
                     whole.scale};
    status = launch(library, stream, options, &second);
    return scratch_end(&scratch, status);
}
