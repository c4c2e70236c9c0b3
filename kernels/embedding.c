/* embedding.c: host of embedding.tk. */
#include "kernels/rows.h"

KERNEL_FILE(embedding);

/* Indices and their rows as a list: out is [count, dim]. */
typedef struct List {
    tkk_tensor out;
    int64_t count, dim, rows; /* rows of the table */
} List;

static tkc_status check_contiguous(const char *name, const tkk_tensor *matrix) {
    if (matrix->shape[1] <= 1 || matrix->stride[1] == 1) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the stride of its last dimension must be 1.", name);
}

static tkc_status check_table(const char *name, const tkk_tensor *table) {
    CHECK(check_rank(name, table, 2));
    CHECK(check_rows(name, table));
    CHECK(check_float(name, table));
    return check_contiguous(name, table);
}

static tkc_status check(const tkk_embedding *p, const char *table_name, const tkk_tensor *table,
                        const char *name, const tkk_tensor *out, List *list) {
    CHECK(check_table(table_name, table));
    const tkk_tensor *indices = &p->indices;
    CHECK(check_rank("indices", indices, indices->rank));
    if (indices->rank < 1 || indices->rank >= TKK_MAX_RANK)
        return tkc_fail(TKC_INVALID_ARGUMENT, "indices has %u dimensions; 1 to %d are supported.",
                        indices->rank, TKK_MAX_RANK - 1);
    CHECK(check_rows("indices", indices));
    CHECK(check_dense("indices", indices));
    if (indices->dtype != TKC_I32 && indices->dtype != TKC_I64)
        return tkc_fail(TKC_INVALID_ARGUMENT, "indices has dtype %s; i32 or i64 is needed.",
                        tkc_dtype_name(indices->dtype));
    int64_t shape[TKK_MAX_RANK], count = 1;
    for (uint32_t i = 0; i < indices->rank; i++) count *= shape[i] = indices->shape[i];
    shape[indices->rank] = table->shape[1];
    CHECK(check_shape(name, out, indices->rank + 1, shape));
    CHECK(check_float(name, out));
    if (count > (int64_t)1 << 30)
        return tkc_fail(TKC_UNSUPPORTED, "indices has over 2^30 elements.");
    if (!rows_as_matrix(out, &list->out))
        return tkc_fail(TKC_UNSUPPORTED, "%s: its rows are not equally far apart.", name);
    list->count = count;
    list->dim = table->shape[1];
    list->rows = table->shape[0];
    return check_contiguous(name, &list->out);
}

/* A block of rows by columns. */
typedef struct Shape {
    int64_t rows, columns;
} Shape;

static Shape shape_of(const List *list, int64_t most_columns, int64_t elements) {
    int64_t columns = next_power_of_two(list->dim);
    Shape shape = {.columns = columns < most_columns ? columns : most_columns};
    shape.rows = elements / shape.columns;
    if (shape.rows < 1) shape.rows = 1;
    return shape;
}

static void begin(Call *call, tkk_library *library, const tkk_embedding *p, const char *kernel,
                  Shape shape) {
    call_begin(call, library, &file, kernel);
    call->compile_only = p->compile_only;
    call_constant_int(call, "ROWS", shape.rows);
    call_constant_int(call, "BLOCK", shape.columns);
}

static void add_sizes(Call *call, const List *list) {
    call_int(call, list->count);
    call_stride(call, "dim", "i32", list->dim);
    call_int(call, list->rows);
}

static tkc_grid grid_of(const List *list, int64_t rows, Shape shape) {
    return tkc_grid2(tkc_cdiv(rows, shape.rows), tkc_cdiv(list->dim, shape.columns));
}

tkc_status tkk_embedding_forward(tkk_library *library, tkc_stream *stream, const tkk_embedding *p) {
    CHECK(check_library(library));
    List list;
    CHECK_OPTIONS(p, "tkk_embedding");
    CHECK(check(p, "table", &p->table, "out", &p->out, &list));
    if (list.count == 0 || list.dim == 0) return TKC_OK;
    Shape shape = shape_of(&list, 1024, 2048);
    Call call;
    begin(&call, library, p, "embedding_forward", shape);
    call_tensor(&call, "table", &p->table);
    call_tensor(&call, "indices", &p->indices);
    call_tensor(&call, "out", &p->out);
    call_stride(&call, "table_row", "i64", stride_of(&p->table, 0));
    call_stride(&call, "out_row", "i64", stride_of(&list.out, 0));
    add_sizes(&call, &list);
    call_constant(&call, "CHECKED", p->check_indices ? "True" : "False");
    return call_launch(&call, stream, grid_of(&list, list.count, shape));
}

static void add_gradients(Call *call, const tkk_embedding *p, const List *list) {
    call_tensor(call, "dout", &p->dout);
    call_tensor(call, "indices", &p->indices);
    call_tensor(call, "dtable", &p->dtable);
    call_stride(call, "dout_row", "i64", stride_of(&list->out, 0));
    call_stride(call, "dtable_row", "i64", stride_of(&p->dtable, 0));
    add_sizes(call, list);
    call_int(call, p->padding_index);
}

/* Zeros, then atomics. */
static tkc_status scatter(tkk_library *library, tkc_stream *stream, const tkk_embedding *p,
                          const List *list) {
    Shape shape = shape_of(list, 1024, 2048);
    Call call;
    begin(&call, library, p, "embedding_zeros", shape);
    call_tensor(&call, "dtable", &p->dtable);
    call_stride(&call, "dtable_row", "i64", stride_of(&p->dtable, 0));
    call_stride(&call, "dim", "i32", list->dim);
    call_int(&call, list->rows);
    CHECK(call_launch(&call, stream, grid_of(list, list->rows, shape)));
    if (list->count == 0) return TKC_OK;
    begin(&call, library, p, "embedding_scatter", shape);
    add_gradients(&call, p, list);
    return call_launch(&call, stream, grid_of(list, list->count, shape));
}

tkc_status tkk_embedding_backward(tkk_library *library, tkc_stream *stream,
                                  const tkk_embedding *p) {
    CHECK(check_library(library));
    List list;
    CHECK_OPTIONS(p, "tkk_embedding");
    CHECK(check(p, "dtable", &p->dtable, "dout", &p->dout, &list));
    if (list.rows == 0 || list.dim == 0) return TKC_OK;
    if (p->atomic) {
        CHECK(check_dtype("dtable", &p->dtable, TKC_F32));
        return scatter(library, stream, p, &list);
    }
    bool host = runs_on_host(library);
    Shape shape = shape_of(&list, 512, host ? 2048 : 4096);
    if (shape.rows > 16) shape.rows = 16;
    Call call;
    begin(&call, library, p, "embedding_backward", shape);
    add_gradients(&call, p, &list);
    call_constant_int(&call, "LOOK", host ? 4096 : 1024);
    return call_launch(&call, stream, grid_of(&list, list.rows, shape));
}
