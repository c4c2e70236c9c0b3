/* matmul_quantized.c: host of matmul.tk's products of int8 and fp8. */
#include "kernels/matmul.h"

KERNEL_FILE(matmul);

static bool is_fp8(tkc_dtype dtype) {
    return dtype == TKC_F8E4M3 || dtype == TKC_F8E5M2;
}

static tkc_status check_operands(const tkk_quantized_matmul *p) {
    CHECK(check_rank("a", &p->a, 2));
    CHECK(check_rank("b", &p->b, 2));
    CHECK(check_shape("b", &p->b, 2, (int64_t[]){p->a.shape[1], p->b.shape[1]}));
    CHECK(check_shape("c", &p->c, 2, (int64_t[]){p->a.shape[0], p->b.shape[1]}));
    const tkc_dtype a = p->a.dtype, b = p->b.dtype;
    if (a != TKC_I8 && !is_fp8(a))
        return tkc_fail(TKC_UNSUPPORTED, "a has dtype %s; i8, f8e4m3 or f8e5m2 is needed.",
                        tkc_dtype_name(a));
    if ((a == TKC_I8) != (b == TKC_I8) || (a != TKC_I8 && !is_fp8(b)))
        return tkc_fail(TKC_INVALID_ARGUMENT, "b has dtype %s, which does not go with a's %s.",
                        tkc_dtype_name(b), tkc_dtype_name(a));
    CHECK(check_reach("a", &p->a, 0));
    CHECK(check_reach("b", &p->b, 0));
    return check_reach("c", &p->c, 0);
}

/* One number for all, or one for each of `count`. */
static tkc_status check_scale(const char *name, const tkk_tensor *scale, int64_t count) {
    if (!is_given(scale)) return TKC_OK;
    CHECK(check_rank(name, scale, 1));
    CHECK(check_dtype(name, scale, TKC_F32));
    if (scale->shape[0] != 1 && scale->shape[0] != count)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s has %lld elements; 1 or %lld are needed.", name,
                        (long long)scale->shape[0], (long long)count);
    return check_reach(name, scale, 0);
}

static tkc_status check_all(const tkk_quantized_matmul *p) {
    CHECK_OPTIONS(p, "tkk_quantized_matmul");
    CHECK(check_activation("tkk_matmul_quantized", p->activation));
    CHECK(check_operands(p));
    CHECK(check_scale("a_scale", &p->a_scale, p->c.shape[0]));
    CHECK(check_scale("b_scale", &p->b_scale, p->c.shape[1]));
    if (is_given(&p->bias)) {
        CHECK(check_shape("bias", &p->bias, 1, (int64_t[]){p->c.shape[1]}));
        CHECK(check_float("bias", &p->bias));
        CHECK(check_reach("bias", &p->bias, 0));
    }
    if (p->c.dtype != TKC_I32) return check_float("c", &p->c);
    if (p->a.dtype != TKC_I8 || is_given(&p->a_scale) || is_given(&p->b_scale) ||
        is_given(&p->bias) || p->activation != TKK_NO_ACTIVATION)
        return tkc_fail(TKC_UNSUPPORTED,
                        "c has dtype i32, which takes sums of i8 without scales, bias and "
                        "activation.");
    return TKC_OK;
}

/* The scales and the bias, then their strides, as the kernel has them. */
static void add_vectors(Call *call, const tkk_quantized_matmul *p) {
    static const char *const names[] = {"a_scale", "b_scale", "bias"};
    static const char *const strides[] = {"stride_a_scale", "stride_b_scale", "stride_bias"};
    const tkk_tensor *vectors[] = {&p->a_scale, &p->b_scale, &p->bias};
    for (int i = 0; i < 3; i++)
        if (is_given(vectors[i])) call_tensor(call, names[i], vectors[i]);
    for (int i = 0; i < 3; i++)
        if (is_given(vectors[i])) call_stride(call, strides[i], "i32", stride_of(vectors[i], 0));
}

tkc_status tkk_matmul_quantized(tkk_library *library, tkc_stream *stream,
                                const tkk_quantized_matmul *p) {
    CHECK(check_library(library));
    CHECK(check_all(p));
    const int64_t M = p->c.shape[0], N = p->c.shape[1], K = p->a.shape[1];
    if (M == 0 || N == 0) return TKC_OK;
    Blocks blocks = choose_blocks(library, p->a.dtype, 1, M, N, K);
    Call call;
    call_begin(&call, library, &file, "matmul_quantized");
    call.compile_only = p->compile_only;
    call_tensor(&call, "a", &p->a);
    call_tensor(&call, "b", &p->b);
    call_tensor(&call, "c", &p->c);
    call_int(&call, M);
    call_stride(&call, "N", "i32", N);
    call_stride(&call, "K", "i32", K);
    call_stride(&call, "stride_am", "i32", stride_of(&p->a, 0));
    call_stride(&call, "stride_ak", "i32", stride_of(&p->a, 1));
    call_stride(&call, "stride_bk", "i32", stride_of(&p->b, 0));
    call_stride(&call, "stride_bn", "i32", stride_of(&p->b, 1));
    call_stride(&call, "stride_cm", "i32", stride_of(&p->c, 0));
    call_stride(&call, "stride_cn", "i32", stride_of(&p->c, 1));
    add_vectors(&call, p);
    call_constant(&call, "ACTIVATION", activation_names[p->activation]);
    call_blocks(&call, &blocks, M % blocks.m == 0 && N % blocks.n == 0, K % blocks.k == 0);
    return call_launch(&call, stream, tkc_grid1(count_tiles(&blocks, M, N)));
}
