/* cross_entropy.c: host of cross_entropy.tk. A mean or sum is made of the losses of the rows by a
 * launch of one program. */
#include "kernels/rows.h"

#include <math.h>

KERNEL_FILE(cross_entropy);

static const char *const kinds[] = {
    [TKK_LOSS_MEAN] = "'mean'", [TKK_LOSS_SUM] = "'sum'", [TKK_LOSS_NONE] = "'none'"};

/* ---- checks ----------------------------------------------------------------------------- */

static tkc_status check_scalar(const char *name, const tkk_tensor *tensor) {
    const int64_t one = 1;
    if (tensor->rank == 0) return check_shape(name, tensor, 0, &one);
    return check_shape(name, tensor, 1, &one);
}

/* One value a row, or one for all. */
static tkc_status check_loss(const char *name, const tkk_tensor *tensor, const tkk_cross_entropy *p,
                             uint32_t dim) {
    CHECK(p->reduction == TKK_LOSS_NONE ? check_rows_reduced(name, tensor, &p->logits, dim)
                                        : check_scalar(name, tensor));
    return check_float(name, tensor);
}

static tkc_status check_number(const char *name, float value, float most) {
    if (value >= 0 && value <= most) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT, "%s is %g; it must be between 0 and %g.", name,
                    (double)value, (double)most);
}

static tkc_status check(const tkk_cross_entropy *p, uint32_t *dim) {
    CHECK_OPTIONS(p, "tkk_cross_entropy");
    if ((uint32_t)p->reduction > TKK_LOSS_NONE)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_cross_entropy: unknown reduction %d.",
                        (int)p->reduction);
    CHECK(check_number("label_smoothing", p->label_smoothing, 1));
    CHECK(check_number("z_loss", p->z_loss, 3e38f));
    CHECK(check_rows("logits", &p->logits));
    CHECK(check_float("logits", &p->logits));
    CHECK(check_axis(p->axis, &p->logits, dim));
    if (p->logits.shape[*dim] == 0)
        return tkc_fail(TKC_INVALID_ARGUMENT, "logits: there are no classes.");
    CHECK(check_rows_reduced("labels", &p->labels, &p->logits, *dim));
    if (p->labels.dtype != TKC_I32 && p->labels.dtype != TKC_I64)
        return tkc_fail(TKC_INVALID_ARGUMENT, "labels has dtype %s; i32 or i64 is needed.",
                        tkc_dtype_name(p->labels.dtype));
    return TKC_OK;
}

static bool has_lse(const tkk_cross_entropy *p) {
    return p->lse.data.kind != TKC_ARGUMENT_MISSING;
}

static bool has_count(const tkk_cross_entropy *p) {
    return p->count.data.kind != TKC_ARGUMENT_MISSING;
}

static tkc_status check_f32(const char *name, const tkk_tensor *tensor, tkc_status status) {
    CHECK(status);
    return check_dtype(name, tensor, TKC_F32);
}

static tkc_status check_lse(const tkk_cross_entropy *p, uint32_t dim) {
    return check_f32("lse", &p->lse, check_rows_reduced("lse", &p->lse, &p->logits, dim));
}

static int64_t row_count(const tkk_cross_entropy *p, uint32_t dim) {
    int64_t rows = 1;
    for (uint32_t i = 0; i < p->logits.rank; i++)
        if (i != dim) rows *= p->logits.shape[i];
    return rows;
}

/* ---- forward ---------------------------------------------------------------------------- */

/* f32, one value a row in the order of rows. */
static tkk_tensor row_values(tkc_argument data, const tkk_cross_entropy *p, uint32_t dim) {
    tkk_tensor values = p->logits;
    values.data = data;
    values.dtype = TKC_F32;
    values.shape[dim] = 1;
    int64_t stride = 1;
    for (uint32_t i = values.rank; i-- > 0; stride *= values.shape[i]) values.stride[i] = stride;
    return values;
}

/* `losses` and `counted`: one value a row; counted may be NULL. */
static tkc_status launch_rows(tkk_library *library, tkc_stream *stream, const tkk_cross_entropy *p,
                              uint32_t dim, const tkk_tensor *losses, const tkk_tensor *counted) {
    tkk_tensor labels = rows_reduced(&p->labels, &p->logits, dim);
    tkk_tensor loss_view = rows_reduced(losses, &p->logits, dim), count_view, lse;
    Rows rows;
    rows_begin(&rows, dim, &p->logits);
    rows_add(&rows, &labels);
    rows_add(&rows, &loss_view);
    if (counted)
        rows_add(&rows, (count_view = rows_reduced(counted, &p->logits, dim), &count_view));
    if (has_lse(p)) rows_add(&rows, (lse = rows_reduced(&p->lse, &p->logits, dim), &lse));
    rows_end(&rows);
    if (rows_empty(&rows)) return TKC_OK;

    RowBlock block = rows_block(&rows, library, 2048);
    Call call;
    call_begin(&call, library, &file, "cross_entropy_forward");
    call.num_warps = block.warps;
    call.compile_only = p->compile_only;
    call_tensor(&call, "x", &p->logits);
    call_tensor(&call, "labels", &labels);
    call_tensor(&call, "losses", losses);
    call_optional(&call, "counted", counted);
    call_optional(&call, "lse", has_lse(p) ? &lse : NULL);
    rows_strides(&rows, &call, "x", &p->logits);
    rows_reduced_strides(&rows, &call, "label", &labels);
    rows_reduced_strides(&rows, &call, "loss", &loss_view);
    rows_reduced_strides(&rows, &call, "count", counted ? &count_view : NULL);
    rows_reduced_strides(&rows, &call, "lse", has_lse(p) ? &lse : NULL);
    rows_sizes(&rows, &call, &block);
    call_int(&call, p->ignore_index);
    call_float(&call, (double)p->label_smoothing);
    call_float(&call, (double)p->z_loss);
    call_constant(&call, "BY_ROW", runs_on_host(library) ? "True" : "False");
    call_constant(&call, "SMOOTH", p->label_smoothing > 0 ? "True" : "False");
    call_constant(&call, "Z_LOSS", p->z_loss > 0 ? "True" : "False");
    call_constant(&call, "CHECKED", p->check_labels ? "True" : "False");
    return call_launch(&call, stream, rows_grid(&rows, &block));
}

static tkc_status launch_total(tkk_library *library, tkc_stream *stream, const tkk_cross_entropy *p,
                               int64_t rows, const tkk_tensor *losses, const tkk_tensor *counted) {
    Call call;
    call_begin(&call, library, &file, "cross_entropy_total");
    call.num_warps = 16;
    call.compile_only = p->compile_only;
    call_tensor(&call, "losses", losses);
    call_tensor(&call, "counted", counted);
    call_tensor(&call, "loss", &p->loss);
    call_optional(&call, "count", has_count(p) ? &p->count : NULL);
    call_int(&call, rows);
    call_constant(&call, "MEAN", p->reduction == TKK_LOSS_MEAN ? "True" : "False");
    return call_launch(&call, stream, tkc_grid1(1));
}

uint64_t tkk_cross_entropy_workspace(const tkk_cross_entropy *p) {
    uint32_t dim = 0;
    if (!p || check(p, &dim) != TKC_OK || p->reduction == TKK_LOSS_NONE) return 0;
    return 2 * scratch_size(4 * (uint64_t)(row_count(p, dim) + 1));
}

tkc_status tkk_cross_entropy_forward(tkk_library *library, tkc_stream *stream,
                                     const tkk_cross_entropy *p) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check(p, &dim));
    CHECK(check_loss("loss", &p->loss, p, dim));
    if (has_lse(p)) CHECK(check_lse(p, dim));
    if (has_count(p)) CHECK(check_f32("count", &p->count, check_scalar("count", &p->count)));
    if (p->reduction == TKK_LOSS_NONE) return launch_rows(library, stream, p, dim, &p->loss, NULL);

    int64_t rows = row_count(p, dim);
    uint64_t bytes = 4 * (uint64_t)(rows + 1);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->workspace, 2 * scratch_size(bytes),
                        "tkk_cross_entropy_forward"));
    tkk_tensor losses = row_values(scratch_take(&scratch, bytes), p, dim);
    tkk_tensor counted = row_values(scratch_take(&scratch, bytes), p, dim);
    tkc_status status = launch_rows(library, stream, p, dim, &losses, &counted);
    if (status == TKC_OK) status = launch_total(library, stream, p, rows, &losses, &counted);
    return scratch_end(&scratch, status);
}

/* ---- backward --------------------------------------------------------------------------- */

/* On cores a program takes whole rows, in blocks that stay in the first cache with what is made of
 * them. */
static int64_t span_of(const Rows *rows, const tkk_library *library, RowBlock *block) {
    enum { SHORT = 256 };
    if (!runs_on_host(library)) return block->length;
    if (!rows->across && block->length > SHORT) block->length = SHORT;
    return tkc_cdiv(rows->length, block->length) * block->length;
}

tkc_status tkk_cross_entropy_backward(tkk_library *library, tkc_stream *stream,
                                      const tkk_cross_entropy *p) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check(p, &dim));
    CHECK(check_loss("dloss", &p->dloss, p, dim));
    CHECK(check_lse(p, dim));
    CHECK(check_rows_like("dlogits", &p->dlogits, &p->logits));
    CHECK(check_float("dlogits", &p->dlogits));
    bool mean = p->reduction == TKK_LOSS_MEAN, none = p->reduction == TKK_LOSS_NONE;
    if (mean) CHECK(check_f32("count", &p->count, check_scalar("count", &p->count)));

    tkk_tensor labels = rows_reduced(&p->labels, &p->logits, dim);
    tkk_tensor lse = rows_reduced(&p->lse, &p->logits, dim), dloss = p->dloss;
    Rows rows;
    rows_begin(&rows, dim, &p->logits);
    rows_add(&rows, &p->dlogits);
    rows_add(&rows, &labels);
    rows_add(&rows, &lse);
    if (none) rows_add(&rows, (dloss = rows_reduced(&p->dloss, &p->logits, dim), &dloss));
    rows_end(&rows);
    if (rows_empty(&rows)) return TKC_OK;

    RowBlock block = rows_block(&rows, library, 2048);
    int64_t span = span_of(&rows, library, &block);
    Call call;
    call_begin(&call, library, &file, "cross_entropy_backward");
    call.num_warps = block.warps;
    call.compile_only = p->compile_only;
    call_tensor(&call, "x", &p->logits);
    call_tensor(&call, "labels", &labels);
    call_tensor(&call, "lse", &lse);
    call_tensor(&call, "dloss", &dloss);
    call_optional(&call, "count", mean ? &p->count : NULL);
    call_tensor(&call, "dx", &p->dlogits);
    rows_strides(&rows, &call, "x", &p->logits);
    rows_reduced_strides(&rows, &call, "label", &labels);
    rows_reduced_strides(&rows, &call, "lse", &lse);
    rows_reduced_strides(&rows, &call, "dloss", none ? &dloss : NULL);
    rows_strides(&rows, &call, "dx", &p->dlogits);
    rows_sizes(&rows, &call, &block);
    call_int(&call, p->ignore_index);
    call_float(&call, (double)p->label_smoothing);
    call_float(&call, (double)p->z_loss);
    call_stride(&call, "span", "i32", span);
    call_constant(&call, "KIND", kinds[p->reduction]);
    call_constant(&call, "Z_LOSS", p->z_loss > 0 ? "True" : "False");
    call_constant(&call, "CHECKED", p->check_labels ? "True" : "False");
    tkc_grid grid = rows_grid(&rows, &block);
    return call_launch(&call, stream, tkc_grid2(grid.x, tkc_cdiv(rows.length, span)));
}
