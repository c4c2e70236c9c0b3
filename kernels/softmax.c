/* softmax.c: host of softmax.tk. Rows of up to LONGEST columns are held on chip; longer ones are
 * done in pieces. */
#include "kernels/host.h"

KERNEL_FILE(softmax);

enum { LONGEST = 16384, PIECE = 4096 };

static tkc_status check(const char *name, const tkk_tensor *tensor, const tkk_tensor *like) {
    CHECK(check_shape(name, tensor, 2, like->shape));
    CHECK(check_float(name, tensor));
    if (tensor->shape[1] > 1 && tensor->stride[1] != 1)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: the stride of its columns is %lld; it must be 1.", name,
                        (long long)tensor->stride[1]);
    if (tensor->shape[1] > (int64_t)1 << 30 || tensor->shape[0] >= (int64_t)1 << 31)
        return tkc_fail(TKC_UNSUPPORTED, "%s: more than 2^30 columns or 2^31 - 1 rows.", name);
    return TKC_OK;
}

/* Two forms of each kernel: the row at once, or in pieces. */
static void begin(Call *call, tkk_library *library, int64_t columns, const char *whole,
                  const char *pieces) {
    call_begin(call, library, &file, columns <= LONGEST ? whole : pieces);
    int64_t block = columns <= LONGEST ? next_power_of_two(columns) : PIECE;
    call_constant_int(call, "BLOCK", block);
    call->num_warps = block >= 4096 ? 16 : block >= 2048 ? 8 : 4;
}

static void stride(Call *call, const char *name, const tkk_tensor *tensor) {
    call_stride(call, name, "i64", tensor->shape[0] > 1 ? tensor->stride[0] : 0);
}

tkc_status tkk_softmax_forward(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                               const tkk_tensor *y) {
    CHECK(check_rank("x", x, 2));
    CHECK(check("x", x, x));
    CHECK(check("y", y, x));
    if (x->shape[0] == 0 || x->shape[1] == 0) return TKC_OK;

    Call call;
    begin(&call, library, x->shape[1], "softmax_forward", "softmax_forward_long");
    call_tensor(&call, "x", x);
    call_tensor(&call, "y", y);
    stride(&call, "x_stride", x);
    stride(&call, "y_stride", y);
    call_int(&call, x->shape[1]);
    return call_launch(&call, stream, tkc_grid1(x->shape[0]));
}

tkc_status tkk_softmax_backward(tkk_library *library, tkc_stream *stream, const tkk_tensor *y,
                                const tkk_tensor *dy, const tkk_tensor *dx) {
    CHECK(check_rank("y", y, 2));
    CHECK(check("y", y, y));
    CHECK(check("dy", dy, y));
    CHECK(check("dx", dx, y));
    if (y->shape[0] == 0 || y->shape[1] == 0) return TKC_OK;

    Call call;
    begin(&call, library, y->shape[1], "softmax_backward", "softmax_backward_long");
    call_tensor(&call, "y", y);
    call_tensor(&call, "dy", dy);
    call_tensor(&call, "dx", dx);
    stride(&call, "y_stride", y);
    stride(&call, "dy_stride", dy);
    stride(&call, "dx_stride", dx);
    call_int(&call, y->shape[1]);
    return call_launch(&call, stream, tkc_grid1(y->shape[0]));
}
