/* softmax.c: host of softmax.tk. Rows that are not too long are held on chip; longer ones are done
 * in pieces. */
#include "kernels/rows.h"

KERNEL_FILE(softmax);

static const tkk_softmax_options defaults = TKK_SOFTMAX_OPTIONS_INIT;

static tkc_status check(const tkk_softmax_options **options, const tkk_tensor *first,
                        const char *name, uint32_t *dim) {
    if (!*options) *options = &defaults;
    CHECK_OPTIONS(*options, "options");
    CHECK(check_rows(name, first));
    return check_axis((*options)->axis, first, dim);
}

static RowBlock begin(Call *call, tkk_library *library, const tkk_softmax_options *options,
                      const Rows *rows, const char *whole, const char *pieces) {
    enum { LONGEST = 16384, LONGEST_ON_CORES = 65536 };
    RowBlock block = rows_block(rows, library, runs_on_host(library) ? LONGEST_ON_CORES : LONGEST);
    call_begin(call, library, &file, block.whole ? whole : pieces);
    call->num_warps = block.warps;
    call->compile_only = options->compile_only;
    call_constant(call, "LOG", options->logarithm ? "True" : "False");
    return block;
}

tkc_status tkk_softmax_forward(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                               const tkk_tensor *y, const tkk_softmax_options *options) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check(&options, x, "x", &dim));
    CHECK(check_rows_like("y", y, x));
    CHECK(check_float("x", x));
    CHECK(check_float("y", y));
    Rows rows;
    rows_begin(&rows, dim, x);
    rows_add(&rows, y);
    rows_end(&rows);
    if (rows_empty(&rows)) return TKC_OK;

    Call call;
    RowBlock block =
        begin(&call, library, options, &rows, "softmax_forward", "softmax_forward_long");
    if (!block.whole) call_constant(&call, "BY_ROW", runs_on_host(library) ? "True" : "False");
    call_tensor(&call, "x", x);
    call_tensor(&call, "y", y);
    rows_strides(&rows, &call, "x", x);
    rows_strides(&rows, &call, "y", y);
    rows_sizes(&rows, &call, &block);
    return call_launch(&call, stream, rows_grid(&rows, &block));
}

tkc_status tkk_softmax_backward(tkk_library *library, tkc_stream *stream, const tkk_tensor *y,
                                const tkk_tensor *dy, const tkk_tensor *dx,
                                const tkk_softmax_options *options) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check(&options, y, "y", &dim));
    CHECK(check_rows_like("dy", dy, y));
    CHECK(check_rows_like("dx", dx, y));
    CHECK(check_float("y", y));
    CHECK(check_float("dy", dy));
    CHECK(check_float("dx", dx));
    Rows rows;
    rows_begin(&rows, dim, y);
    rows_add(&rows, dy);
    rows_add(&rows, dx);
    rows_end(&rows);
    if (rows_empty(&rows)) return TKC_OK;

    Call call;
    RowBlock block =
        begin(&call, library, options, &rows, "softmax_backward", "softmax_backward_long");
    call_tensor(&call, "y", y);
    call_tensor(&call, "dy", dy);
    call_tensor(&call, "dx", dx);
    rows_strides(&rows, &call, "y", y);
    rows_strides(&rows, &call, "dy", dy);
    rows_strides(&rows, &call, "dx", dx);
    rows_sizes(&rows, &call, &block);
    return call_launch(&call, stream, rows_grid(&rows, &block));
}
