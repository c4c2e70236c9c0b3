/* vector_add.c: host of vector_add.tk. */
#include "kernels/host.h"

static const KernelFile file = {"vector_add.tk", vector_add_tk, &vector_add_tk_length};

static tkc_status check(const char *name, const tkck_tensor *tensor, const tkck_tensor *like) {
    CHECK(check_shape(name, tensor, 1, like->shape));
    CHECK(check_dtype(name, tensor, TKC_F32));
    CHECK(check_reach(name, tensor, 0));
    return check_dense(name, tensor);
}

tkc_status tkck_vector_add(tkck_library *library, tkc_stream *stream, const tkck_tensor *x,
                           const tkck_tensor *y, const tkck_tensor *out) {
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
