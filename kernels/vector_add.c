/* vector_add.c: host of vector_add.tk. */
#include "kernels/host.h"

KERNEL_FILE(vector_add);

static tkc_status check(const char *name, const tkk_tensor *tensor, const tkk_tensor *like) {
    CHECK(check_shape(name, tensor, 1, like->shape));
    CHECK(check_dtype(name, tensor, TKC_F32));
    CHECK(check_reach(name, tensor, 0));
    return check_dense(name, tensor);
}

tkc_status tkk_vector_add(tkk_library *library, tkc_stream *stream, const tkk_tensor *x,
                          const tkk_tensor *y, const tkk_tensor *out) {
    CHECK(check_library(library));
    enum { BLOCK = 1024 };
    CHECK(check_rank("x", x, 1));
    CHECK(check("x", x, x));
    CHECK(check("y", y, x));
    CHECK(check("out", out, x));

    Call call;
    call_begin(&call, library, &file, "vector_add");
    call_tensor(&call, "x", x);
    call_tensor(&call, "y", y);
    call_tensor(&call, "out", out);
    call_int(&call, x->shape[0]);
    call_constant_int(&call, "BLOCK", BLOCK);
    return call_launch(&call, stream, tkc_grid1(tkc_cdiv(x->shape[0], BLOCK)));
}
