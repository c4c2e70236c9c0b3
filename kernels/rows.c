/* rows.c: tensors seen as rows along one dimension, and how they are cut into blocks. */
#include "kernels/rows.h"

#include <assert.h>

/* ---- checks ----------------------------------------------------------------------------- */

tkc_status check_axis(int32_t axis, const tkk_tensor *tensor, uint32_t *dim) {
    int32_t rank = (int32_t)tensor->rank;
    if (axis < -rank || axis >= rank)
        return tkc_fail(TKC_INVALID_ARGUMENT, "axis is %d; the tensor has %d dimensions.", axis,
                        rank);
    *dim = (uint32_t)(axis < 0 ? axis + rank : axis);
    return TKC_OK;
}

tkc_status check_rows(const char *name, const tkk_tensor *tensor) {
    if (!tensor) return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the tensor is NULL.", name);
    if (tensor->rank < 1 || tensor->rank > TKK_MAX_RANK)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s has %u dimensions; 1 to %d are supported.", name,
                        tensor->rank, TKK_MAX_RANK);
    CHECK(check_rank(name, tensor, tensor->rank));
    int64_t rows = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] > (int64_t)1 << 30)
            return tkc_fail(TKC_UNSUPPORTED, "%s: the extent of dimension %u is over 2^30.", name,
                            i);
        if (tensor->shape[i] > 0 && rows > ((int64_t)1 << 48) / tensor->shape[i])
            return tkc_fail(TKC_UNSUPPORTED, "%s has over 2^48 elements.", name);
        if (tensor->shape[i] > 0) rows *= tensor->shape[i];
    }
    return TKC_OK;
}

tkc_status check_rows_like(const char *name, const tkk_tensor *tensor, const tkk_tensor *like) {
    CHECK(check_shape(name, tensor, like->rank, like->shape));
    return check_rows(name, tensor);
}

tkc_status check_rows_reduced(const char *name, const tkk_tensor *tensor, const tkk_tensor *like,
                              uint32_t dim) {
    if (!tensor) return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the tensor is NULL.", name);
    int64_t shape[TKK_MAX_RANK];
    uint32_t rank = 0;
    for (uint32_t i = 0; i < like->rank; i++)
        if (i != dim)
            shape[rank++] = like->shape[i];
        else if (tensor->rank == like->rank)
            shape[rank++] = 1;
    return check_shape(name, tensor, rank, shape);
}

/* ---- the view ---------------------------------------------------------------------------- */

void rows_begin(Rows *rows, uint32_t axis, const tkk_tensor *tensor) {
    rows->axis = axis;
    rows->tensor_count = 0;
    rows_add(rows, tensor);
}

void rows_add(Rows *rows, const tkk_tensor *tensor) {
    assert(rows->tensor_count < ROWS_MOST_TENSORS);
    rows->tensors[rows->tensor_count++] = *tensor;
}

tkk_tensor rows_reduced(const tkk_tensor *tensor, const tkk_tensor *like, uint32_t dim) {
    tkk_tensor full = *tensor;
    full.rank = like->rank;
    for (uint32_t i = 0, from = 0; i < like->rank; i++) {
        full.shape[i] = like->shape[i];
        full.stride[i] = i == dim ? 0 : tensor->stride[from];
        if (i != dim || tensor->rank == like->rank) from++;
    }
    return full;
}

tkk_tensor rows_dropped(tkk_tensor tensor, uint32_t dim) {
    for (uint32_t i = dim; i + 1 < tensor.rank; i++) {
        tensor.shape[i] = tensor.shape[i + 1];
        tensor.stride[i] = tensor.stride[i + 1];
    }
    tensor.rank--;
    return tensor;
}

bool goes_on(int64_t outer, int64_t stride, int64_t extent) {
    int64_t end;
    return !__builtin_mul_overflow(stride, extent, &end) && outer == end;
}

bool rows_as_matrix(const tkk_tensor *tensor, tkk_tensor *matrix) {
    *matrix = *tensor;
    if (tensor->rank == 1) {
        matrix->rank = 2;
        matrix->shape[0] = 1, matrix->shape[1] = tensor->shape[0];
        matrix->stride[0] = tensor->shape[0], matrix->stride[1] = tensor->stride[0];
    }
    while (matrix->rank > 2) {
        int64_t *shape = matrix->shape, *stride = matrix->stride;
        if (shape[0] != 1 && shape[1] != 1 && !goes_on(stride[0], stride[1], shape[1]))
            return false;
        int64_t extent = shape[0] * shape[1], apart = shape[1] != 1 ? stride[1] : stride[0];
        *matrix = rows_dropped(*matrix, 0);
        matrix->shape[0] = extent;
        matrix->stride[0] = apart;
    }
    return true;
}

/* Whether dimension i goes on where dimension j ends, in all tensors. */
static bool joined(const Rows *rows, uint32_t i, uint32_t j, int64_t extent) {
    for (uint32_t t = 0; t < rows->tensor_count; t++)
        if (!goes_on(rows->tensors[t].stride[i], rows->tensors[t].stride[j], extent)) return false;
    return true;
}

static uint64_t distance(int64_t stride) {
    return stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
}

void rows_end(Rows *rows) {
    const tkk_tensor *first = &rows->tensors[0];
    int64_t extents[3] = {1, 1, 1};
    uint32_t dims[3] = {rows->axis, rows->axis, rows->axis}, count = 0;
    for (uint32_t d = first->rank; d-- > 0;) {
        if (d == rows->axis || first->shape[d] == 1) continue;
        if (count > 0 && joined(rows, d, dims[count - 1], extents[count - 1])) {
            extents[count - 1] *= first->shape[d];
            continue;
        }
        dims[count] = d;
        extents[count++] = first->shape[d];
    }
    rows->length = first->shape[rows->axis];
    rows->lanes = extents[0], rows->middle = extents[1], rows->outer = extents[2];
    rows->lane_dim = dims[0], rows->middle_dim = dims[1], rows->outer_dim = dims[2];
    rows->across = rows->lanes > 1 && rows->length > 1 &&
                   distance(first->stride[dims[0]]) < distance(first->stride[rows->axis]);
}

bool rows_empty(const Rows *rows) {
    return rows->length == 0 || rows->lanes == 0 || rows->middle == 0 || rows->outer == 0;
}

/* ---- blocks and calls ---------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

RowBlock rows_block(const Rows *rows, const tkk_library *library, int64_t longest) {
    enum { MOST = 2048, PIECE = 4096, AT_ONCE = 8192, SIDE_BY_SIDE = 32, WIDE = 256 };
    bool host = runs_on_host(library);
    int64_t lanes = next_power_of_two(rows->lanes), most = MOST;
    int64_t fewest = rows->across ? least(host ? WIDE : SIDE_BY_SIDE, lanes) : 1;
    RowBlock block = {.length = next_power_of_two(rows->length)};
    if (host && block.length <= AT_ONCE && lanes * block.length <= AT_ONCE) most = AT_ONCE;
    block.whole = block.length <= longest / fewest;
    if (!block.whole) block.length = (host ? MOST : PIECE) / fewest;
    block.rows = least(lanes, most / block.length);
    if (block.rows < fewest) block.rows = fewest;
    int64_t elements = block.rows * block.length;
    block.warps = elements > 8192 ? 16 : elements > 2048 ? 8 : 4;
    return block;
}

static void stride(Call *call, const char *name, const tkk_tensor *tensor, uint32_t dim,
                   int64_t extent, int64_t otherwise) {
    if (tensor)
        call_stride(call, name, "i64", extent > 1 ? tensor->stride[dim] : otherwise);
    else
        call_constant(call, name, "0");
}

void rows_strides_(const Rows *rows, Call *call, const char *const names[4],
                   const tkk_tensor *tensor) {
    stride(call, names[0], tensor, rows->axis, rows->length, 1);
    rows_reduced_strides_(rows, call, names + 1, tensor);
}

void rows_reduced_strides_(const Rows *rows, Call *call, const char *const names[3],
                           const tkk_tensor *tensor) {
    stride(call, names[0], tensor, rows->lane_dim, rows->lanes, 0);
    stride(call, names[1], tensor, rows->middle_dim, rows->middle, 0);
    stride(call, names[2], tensor, rows->outer_dim, rows->outer, 0);
}

void rows_sizes(const Rows *rows, Call *call, const RowBlock *block) {
    call_stride(call, "n", "i32", rows->length);
    call_stride(call, "lanes", "i32", rows->lanes);
    call_stride(call, "middle", "i32", rows->middle);
    call_constant_int(call, "AXIS", rows->across ? 0 : 1);
    call_constant(call, "OUTER", rows->middle * rows->outer > 1 ? "True" : "False");
    bool even =
        rows->length > 0 && rows->length % block->length == 0 && rows->lanes % block->rows == 0;
    call_constant(call, "EVEN", even ? "True" : "False");
    call_constant_int(call, "ROWS", block->rows);
    call_constant_int(call, "BLOCK", block->length);
}

tkc_grid rows_grid(const Rows *rows, const RowBlock *block) {
    return tkc_grid1(tkc_cdiv(rows->lanes, block->rows) * rows->middle * rows->outer);
}
