/* attention_2022.c: host of attention_2022.tk, with the block size and grids of its time. */
#include "kernels/host.h"

#include <math.h>

KERNEL_FILE(attention_2022);

enum { B, H, L, D, BLOCK = 128 };

static tkc_status check_tensor(const char *name, const tkk_tensor *tensor, tkc_dtype dtype,
                               uint32_t rank, const tkk_tensor *q) {
    CHECK(check_shape(name, tensor, rank, q->shape));
    CHECK(check_dtype(name, tensor, dtype));
    return check_dense(name, tensor);
}

static tkc_status check_forward(const tkk_attention_2022 *p) {
    CHECK_OPTIONS(p, "tkk_attention_2022");
    if (!isfinite(p->scale))
        return tkc_fail(TKC_INVALID_ARGUMENT, "scale is %g; it must be finite.", (double)p->scale);
    CHECK(check_rank("q", &p->q, 4));
    int64_t dim = p->q.shape[D], length = p->q.shape[L];
    if (dim != 16 && dim != 32 && dim != 64 && dim != 128)
        return tkc_fail(TKC_UNSUPPORTED,
                        "The head dimension is %lld; 16, 32, 64 and 128 are supported.",
                        (long long)dim);
    if (length % BLOCK != 0)
        return tkc_fail(TKC_UNSUPPORTED, "The length is %lld; it must be a multiple of %d.",
                        (long long)length, BLOCK);
    const int64_t most = ((int64_t)1 << 31) - 1;
    int64_t batch = p->q.shape[B], heads = p->q.shape[H];
    if (length > most || batch > most || heads > most || batch * heads > most ||
        batch * heads * length > most / dim)
        return tkc_fail(TKC_UNSUPPORTED, "A tensor has 2^31 elements or more.");
    CHECK(check_tensor("q", &p->q, TKC_F16, 4, &p->q));
    CHECK(check_tensor("k", &p->k, TKC_F16, 4, &p->q));
    CHECK(check_tensor("v", &p->v, TKC_F16, 4, &p->q));
    CHECK(check_tensor("out", &p->out, TKC_F16, 4, &p->q));
    CHECK(check_tensor("l", &p->l, TKC_F32, 3, &p->q));
    return check_tensor("m", &p->m, TKC_F32, 3, &p->q);
}

static tkc_status check_backward(const tkk_attention_2022 *p) {
    CHECK(check_forward(p));
    CHECK(check_tensor("dout", &p->dout, TKC_F16, 4, &p->q));
    CHECK(check_tensor("new_dout", &p->new_dout, TKC_F16, 4, &p->q));
    CHECK(check_tensor("delta", &p->delta, TKC_F32, 3, &p->q));
    CHECK(check_tensor("dq", &p->dq, TKC_F32, 4, &p->q));
    CHECK(check_tensor("dk", &p->dk, TKC_F16, 4, &p->q));
    return check_tensor("dv", &p->dv, TKC_F16, 4, &p->q);
}

static void begin(Call *call, tkk_library *library, const tkk_attention_2022 *p, const char *kernel,
                  int64_t block) {
    call_begin(call, library, &file, kernel);
    call->compile_only = p->compile_only;
    call->num_warps = 8;
    call->num_stages = 1;
    call_constant_int(call, "BLOCK_M", block);
}

/* The strides of a tensor without gaps; those it gives for dimensions of one element mean nothing.
 */
static void add_strides(Call *call, const char *const names[4], const tkk_tensor *tensor) {
    int64_t stride[4] = {[D] = 1};
    for (int i = D; i > B; i--) stride[i - 1] = stride[i] * tensor->shape[i];
    for (int i = B; i <= D; i++) call_stride(call, names[i], "i32", stride[i]);
}

static void add_all_strides(Call *call, const tkk_attention_2022 *p) {
    static const char *const q[] = {"stride_qz", "stride_qh", "stride_qm", "stride_qk"};
    static const char *const k[] = {"stride_kz", "stride_kh", "stride_kn", "stride_kk"};
    static const char *const v[] = {"stride_vz", "stride_vh", "stride_vk", "stride_vn"};
    add_strides(call, q, &p->q);
    add_strides(call, k, &p->k);
    add_strides(call, v, &p->v);
}

static void add_shape(Call *call, const tkk_attention_2022 *p, int64_t block) {
    call_int(call, p->q.shape[B]);
    call_int(call, p->q.shape[H]);
    call_int(call, p->q.shape[L]);
    call_constant_int(call, "BLOCK_N", block);
    call_constant_int(call, "BLOCK_DMODEL", p->q.shape[D]);
}

tkc_status tkk_attention_2022_forward(tkk_library *library, tkc_stream *stream,
                                      const tkk_attention_2022 *p) {
    CHECK(check_library(library));
    static const char *const o[] = {"stride_oz", "stride_oh", "stride_om", "stride_on"};
    CHECK(check_forward(p));
    CHECK(check_tensor("tmp", &p->tmp, TKC_F32, 3, &p->q));
    Call call;
    begin(&call, library, p, "_fwd_kernel", BLOCK);
    call_tensor(&call, "Q", &p->q);
    call_tensor(&call, "K", &p->k);
    call_tensor(&call, "V", &p->v);
    call_float(&call, p->scale);
    call_tensor(&call, "TMP", &p->tmp);
    call_tensor(&call, "L", &p->l);
    call_tensor(&call, "M", &p->m);
    call_tensor(&call, "Out", &p->out);
    add_all_strides(&call, p);
    add_strides(&call, o, &p->out);
    add_shape(&call, p, BLOCK);
    return call_launch(&call, stream,
                       tkc_grid2(p->q.shape[L] / BLOCK, p->q.shape[B] * p->q.shape[H]));
}

/* The gradients hold six blocks at once: on a GPU they must fit into registers. */
static int64_t backward_block(const tkk_library *library, const tkk_attention_2022 *p) {
    if (runs_on_host(library)) return BLOCK;
    return p->q.shape[D] <= 64 ? 64 : 32;
}

tkc_status tkk_attention_2022_backward(tkk_library *library, tkc_stream *stream,
                                       const tkk_attention_2022 *p) {
    CHECK(check_library(library));
    CHECK(check_backward(p));
    int64_t blocks = p->q.shape[L] / BLOCK, heads = p->q.shape[B] * p->q.shape[H];
    int64_t block = backward_block(library, p);

    Call call;
    begin(&call, library, p, "_bwd_preprocess", BLOCK);
    call.num_warps = p->q.shape[D] <= 64 ? 4 : 8;
    call.num_stages = 0;
    call_tensor(&call, "Out", &p->out);
    call_tensor(&call, "DO", &p->dout);
    call_tensor(&call, "L", &p->l);
    call_tensor(&call, "NewDO", &p->new_dout);
    call_tensor(&call, "Delta", &p->delta);
    call_constant_int(&call, "D_HEAD", p->q.shape[D]);
    CHECK(call_launch(&call, stream, tkc_grid1(blocks * heads)));

    begin(&call, library, p, "_bwd_kernel", block);
    call_tensor(&call, "Q", &p->q);
    call_tensor(&call, "K", &p->k);
    call_tensor(&call, "V", &p->v);
    call_float(&call, p->scale);
    call_tensor(&call, "Out", &p->out);
    call_tensor(&call, "DO", &p->new_dout);
    call_tensor(&call, "DQ", &p->dq);
    call_tensor(&call, "DK", &p->dk);
    call_tensor(&call, "DV", &p->dv);
    call_tensor(&call, "L", &p->l);
    call_tensor(&call, "M", &p->m);
    call_tensor(&call, "D", &p->delta);
    add_all_strides(&call, p);
    add_shape(&call, p, block);
    call_int(&call, p->q.shape[L] / block);
    return call_launch(&call, stream, tkc_grid1(heads));
}
