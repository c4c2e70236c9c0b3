/* rope.c: host of rope.tk. */
#include "kernels/rows.h"

#include <math.h>

KERNEL_FILE(rope);

enum { B, L, H, D }; /* batch, length, heads, dim: the order of dimensions */

static int64_t rotary_of(const tkk_rope *p, const tkk_tensor *x) {
    return p->rotary_dim ? p->rotary_dim : x->shape[x->rank - 1];
}

/* [length, heads, dim] as a batch of one. */
static tkk_tensor as_batch(const tkk_tensor *tensor) {
    tkk_tensor full = *tensor;
    if (tensor->rank == 4) return full;
    for (uint32_t i = 3; i > 0; i--) {
        full.shape[i] = tensor->shape[i - 1];
        full.stride[i] = tensor->stride[i - 1];
    }
    full.shape[0] = 1;
    full.stride[0] = 0;
    full.rank = 4;
    return full;
}

static tkc_status check_positions(const tkk_rope *p, const tkk_tensor *x) {
    if (!p->positions.rank) return TKC_OK;
    if (p->positions.dtype != TKC_I32 && p->positions.dtype != TKC_I64)
        return tkc_fail(TKC_INVALID_ARGUMENT, "positions has dtype %s; i32 or i64 is needed.",
                        tkc_dtype_name(p->positions.dtype));
    uint32_t rank = p->positions.rank == 1 ? 1 : 2;
    return check_shape("positions", &p->positions, rank, rank == 1 ? &x->shape[L] : x->shape);
}

static tkc_status check_table(const char *name, const tkk_tensor *table, const tkk_rope *p,
                              int64_t rotary) {
    CHECK(check_rank(name, table, 2));
    CHECK(check_shape(name, table, 2, (int64_t[]){p->cos.shape[0], rotary / 2}));
    CHECK(check_float(name, table));
    if (rotary > 2 && table->stride[1] != 1)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s: the stride of its columns must be 1.", name);
    return TKC_OK;
}

static tkc_status check(const tkk_rope *p, const char *from_name, const tkk_tensor *from,
                        const char *to_name, const tkk_tensor *to) {
    CHECK_OPTIONS(p, "tkk_rope");
    if (from->rank != 3) CHECK(check_rank(from_name, from, 4));
    CHECK(check_rows(from_name, from));
    CHECK(check_float(from_name, from));
    CHECK(check_rows_like(to_name, to, from));
    CHECK(check_float(to_name, to));
    int64_t dim = from->shape[from->rank - 1], rotary = rotary_of(p, from);
    if (rotary < 0 || rotary > dim || rotary % 2 != 0 || rotary > 8192)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "rotary_dim is %lld; it must be even, at most 8192 and at most the last "
                        "extent, %lld.",
                        (long long)rotary, (long long)dim);
    if (dim > 16384) return tkc_fail(TKC_UNSUPPORTED, "%s: dim is over 16384.", from_name);
    tkk_tensor x = as_batch(from);
    CHECK(check_positions(p, &x));
    if (p->cos.rank || p->sin.rank) {
        CHECK(check_table("cos", &p->cos, p, rotary));
        return check_table("sin", &p->sin, p, rotary);
    }
    if (!(p->base > 0) || isinf(p->base))
        return tkc_fail(TKC_INVALID_ARGUMENT, "base is %g; it must be positive and finite.",
                        p->base);
    return TKC_OK;
}

/* Whether both are the same elements in the same places. */
static bool is_in_place(const tkk_tensor *x, const tkk_tensor *y) {
    if (address_of(&x->data) != address_of(&y->data) || x->dtype != y->dtype) return false;
    for (uint32_t i = 0; i < 4; i++)
        if (x->shape[i] > 1 && x->stride[i] != y->stride[i]) return false;
    return true;
}

static int64_t at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void add_strides(Call *call, const char *const names[4], const tkk_tensor *tensor) {
    for (uint32_t i = 0; i < 4; i++)
        call_stride(call, names[i], "i64", tensor->shape[i] > 1 ? tensor->stride[i] : i == D);
}

static tkc_status turn(tkk_library *library, tkc_stream *stream, const tkk_rope *p,
                       const tkk_tensor *from, const tkk_tensor *to, double sign) {
    tkk_tensor x = as_batch(from), y = as_batch(to);
    int64_t rotary = rotary_of(p, from), half = next_power_of_two(rotary / 2);
    int64_t rest = is_in_place(&x, &y) ? 0 : x.shape[D] - rotary;
    for (uint32_t i = 0; i < 4; i++)
        if (x.shape[i] == 0) return TKC_OK;
    if (rotary == 0 && rest == 0) return TKC_OK;

    enum { ELEMENTS = 1024 };
    int64_t rows = half < ELEMENTS ? ELEMENTS / half : 1;
    rows = at_most(rows, next_power_of_two(x.shape[L]));
    int64_t blocks = tkc_cdiv(x.shape[L], rows) * x.shape[B];
    int64_t groups = at_most(x.shape[H], tkc_cdiv(8 * (int64_t)processors(library), blocks));
    int64_t share = tkc_cdiv(x.shape[H], groups);

    Call call;
    call_begin(&call, library, &file, "rope");
    call.compile_only = p->compile_only;
    call.num_warps = rows * half >= 512 ? 4 : rows * half >= 128 ? 2 : 1;
    bool tables = p->cos.rank > 0;
    call_tensor(&call, "x", &x);
    call_tensor(&call, "y", &y);
    call_optional(&call, "positions", given(&p->positions));
    call_optional(&call, "cos", tables ? &p->cos : NULL);
    call_optional(&call, "sin", tables ? &p->sin : NULL);
    add_strides(&call, (const char *const[4]){"x_b", "x_l", "x_h", "x_d"}, &x);
    add_strides(&call, (const char *const[4]){"y_b", "y_l", "y_h", "y_d"}, &y);
    uint32_t last = p->positions.rank ? p->positions.rank - 1 : 0;
    call_int(&call, last ? p->positions.stride[0] : 0);
    call_int(&call, p->positions.stride[last]);
    call_stride(&call, "cos_l", "i64", tables ? p->cos.stride[0] : 0);
    call_stride(&call, "sin_l", "i64", tables ? p->sin.stride[0] : 0);
    call_int(&call, x.shape[L]);
    call_int(&call, x.shape[H]);
    call_stride(&call, "dim", "i32", x.shape[D]);
    call_int(&call, share);
    call_int(&call, p->offset);
    call_int(&call, tables ? p->cos.shape[0] : 0);
    call_float(&call, tables ? 0 : log2(p->base));
    call_float(&call, sign);
    call_constant_int(&call, "ROTARY", rotary);
    call_constant(&call, "INTERLEAVED", p->interleaved ? "True" : "False");
    call_constant_int(&call, "REST", rest > 0 ? next_power_of_two(rest) : 0);
    call_constant_int(&call, "BLOCK_L", rows);
    call_constant_int(&call, "HALF", half);
    return call_launch(&call, stream, tkc_grid1(blocks * tkc_cdiv(x.shape[H], share)));
}

tkc_status tkk_rope_forward(tkk_library *library, tkc_stream *stream, const tkk_rope *p) {
    CHECK(check_library(library));
    CHECK(check(p, "x", p ? &p->x : NULL, "y", p ? &p->y : NULL));
    return turn(library, stream, p, &p->x, &p->y, 1);
}

tkc_status tkk_rope_backward(tkk_library *library, tkc_stream *stream, const tkk_rope *p) {
    CHECK(check_library(library));
    CHECK(check(p, "dy", p ? &p->dy : NULL, "dx", p ? &p->dx : NULL));
    return turn(library, stream, p, &p->dy, &p->dx, -1);
}
