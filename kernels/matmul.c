/* matmul.c: host of matmul.tk. */
#include "kernels/host.h"

KERNEL_FILE(matmul);

static const char *const activations[] = {
    [TKK_NO_ACTIVATION] = "'none'", [TKK_RELU] = "'relu'", [TKK_LEAKY_RELU] = "'leaky_relu'",
    [TKK_GELU] = "'gelu'",          [TKK_SILU] = "'silu'", [TKK_GELU_TANH] = "'gelu_tanh'",
};

/* A block no larger than needed: 16 (the least a dot takes) to `most`. */
static int64_t block(int64_t extent, int64_t most) {
    int64_t fit = next_power_of_two(extent);
    return fit < 16 ? 16 : fit < most ? fit : most;
}

static int64_t stride_of(const tkk_tensor *tensor, uint32_t i) {
    return tensor->shape[i] > 1 ? tensor->stride[i] : 0;
}

static tkc_status check_all(const tkk_tensor *a, const tkk_tensor *b, const tkk_tensor *c,
                            const tkk_matmul_options *options) {
    CHECK(check_options(options, options->struct_size, sizeof *options, "tkk_matmul_options"));
    if ((uint32_t)options->activation > TKK_GELU_TANH || (uint32_t)options->precision > TKK_IEEE)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_matmul: unknown activation or precision.");
    CHECK(check_rank("a", a, 2));
    CHECK(check_rank("c", c, 2));
    CHECK(check_shape("b", b, 2, (int64_t[]){a->shape[1], c->shape[1]}));
    CHECK(check_shape("c", c, 2, (int64_t[]){a->shape[0], b->shape[1]}));
    CHECK(check_float("a", a));
    CHECK(check_dtype("b", b, a->dtype));
    CHECK(check_float("c", c));
    CHECK(check_reach("a", a, 0));
    CHECK(check_reach("b", b, 0));
    return check_reach("c", c, 0);
}

tkc_status tkk_matmul(tkk_library *library, tkc_stream *stream, const tkk_tensor *a,
                      const tkk_tensor *b, const tkk_tensor *c, const tkk_matmul_options *options) {
    static const tkk_matmul_options usual = TKK_MATMUL_OPTIONS_INIT;
    if (!options) options = &usual;
    CHECK(check_all(a, b, c, options));
    int64_t M = c->shape[0], N = c->shape[1], K = a->shape[1];
    if (M == 0 || N == 0) return TKC_OK;

    int64_t block_m = block(M, 128), block_n = block(N, 128);
    int64_t block_k = a->dtype == TKC_F32 ? 32 : 64;
    Call call;
    call_begin(&call, library, &file, "matmul");
    call.compile_only = options->compile_only;
    call.num_warps = block_m * block_n >= 128 * 128 ? 8 : 4;
    call_tensor(&call, "a", a);
    call_tensor(&call, "b", b);
    call_tensor(&call, "c", c);
    call_int(&call, M);
    call_stride(&call, "N", "i32", N);
    call_stride(&call, "K", "i32", K);
    call_stride(&call, "stride_am", "i32", stride_of(a, 0));
    call_stride(&call, "stride_ak", "i32", stride_of(a, 1));
    call_stride(&call, "stride_bk", "i32", stride_of(b, 0));
    call_stride(&call, "stride_bn", "i32", stride_of(b, 1));
    call_stride(&call, "stride_cm", "i32", stride_of(c, 0));
    call_stride(&call, "stride_cn", "i32", stride_of(c, 1));
    call_constant(&call, "ACTIVATION", activations[options->activation]);
    call_constant(&call, "PRECISION", options->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant(&call, "EVEN_MN", M % block_m == 0 && N % block_n == 0 ? "True" : "False");
    call_constant(&call, "EVEN_K", K % block_k == 0 ? "True" : "False");
    call_constant_int(&call, "BLOCK_M", block_m);
    call_constant_int(&call, "BLOCK_N", block_n);
    call_constant_int(&call, "BLOCK_K", block_k);
    int64_t tiles = tkc_cdiv(M, block_m) * tkc_cdiv(N, block_n);
    return call_launch(&call, stream, tkc_grid1(tiles));
}
