/* quantize.c: host of quantize.tk. */
#include "kernels/matmul.h"

KERNEL_FILE(quantize);

static int64_t largest_of(tkc_dtype dtype) {
    switch (dtype) {
    case TKC_I8: return 127;
    case TKC_F8E4M3: return 448;
    case TKC_F8E5M2: return 57344;
    default: return 0;
    }
}

tkc_status tkk_quantize(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                        const tkk_tensor *q, const tkk_tensor *scale) {
    CHECK(check_library(library));
    enum { LONGEST = 2048 };
    CHECK(check_rank("x", x, 2));
    CHECK(check_float("x", x));
    CHECK(check_shape("q", q, 2, x->shape));
    CHECK(check_shape("scale", scale, 1, (int64_t[]){x->shape[0]}));
    CHECK(check_dtype("scale", scale, TKC_F32));
    if (largest_of(q->dtype) == 0)
        return tkc_fail(TKC_UNSUPPORTED, "q has dtype %s; i8, f8e4m3 or f8e5m2 is needed.",
                        tkc_dtype_name(q->dtype));
    CHECK(check_reach("x", x, 0));
    CHECK(check_reach("q", q, 0));
    const int64_t rows = x->shape[0], columns = x->shape[1];
    if (rows == 0) return TKC_OK;
    int64_t block = next_power_of_two(columns);
    if (block > LONGEST) block = LONGEST;
    Call call;
    call_begin(&call, library, &file, "quantize_rows");
    call.num_warps = block >= 1024 ? 8 : 4;
    call_tensor(&call, "x", x);
    call_tensor(&call, "q", q);
    call_tensor(&call, "scale", scale);
    call_stride(&call, "columns", "i32", columns);
    call_stride(&call, "stride_xm", "i64", stride_of(x, 0));
    call_stride(&call, "stride_xn", "i64", stride_of(x, 1));
    call_stride(&call, "stride_qm", "i64", stride_of(q, 0));
    call_stride(&call, "stride_qn", "i64", stride_of(q, 1));
    call_stride(&call, "stride_scale", "i64", stride_of(scale, 0));
    call_constant_int(&call, "LARGEST", largest_of(q->dtype));
    call_constant_int(&call, "BLOCK", block);
    return call_launch(&call, stream, tkc_grid1(rows));
}
