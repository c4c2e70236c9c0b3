/* attention.c: host of attention.tk: checks the problem, picks blocks, launches. */
#include "kernels/host.h"

#include <math.h>

KERNEL_FILE(attention);

enum { B, H, L, D }; /* batch, heads, length, head_dim: the order of dimensions */

/* ---- checks ----------------------------------------------------------------------------- */

static tkc_status check_tensor(const char *name, const tkk_tensor *tensor, const tkk_tensor *like) {
    CHECK(check_shape(name, tensor, 4, like->shape));
    CHECK(check_float(name, tensor));
    if (tensor->shape[B] > INT32_MAX || tensor->shape[H] > INT32_MAX)
        return tkc_fail(TKC_UNSUPPORTED, "%s: batch or heads is over 2^31 - 1.", name);
    return check_reach(name, tensor, L);
}

static tkc_status check_state(const char *name, const tkk_tensor *tensor, const tkk_tensor *q) {
    CHECK(check_shape(name, tensor, 3, q->shape));
    CHECK(check_dtype(name, tensor, TKC_F32));
    return check_dense(name, tensor);
}

/* Options of the struct that the kernels do not have yet. */
static tkc_status check_missing(const tkk_attention *p) {
    const struct {
        const char *name;
        bool used;
    } options[] = {
        {"weighting", p->weighting != TKK_SOFTMAX},
        {"windowed", p->windowed},
        {"soft_cap", p->soft_cap != 0},
        {"bias", p->bias.rank != 0},
        {"dbias", p->dbias.rank != 0},
        {"slopes", p->slopes.rank != 0},
        {"dropout", p->dropout != 0},
        {"q_starts", p->q_starts.rank != 0},
        {"kv_starts", p->kv_starts.rank != 0},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].used)
            return tkc_fail(TKC_UNSUPPORTED, "tkk_attention: %s is not supported yet.",
                            options[i].name);
    return TKC_OK;
}

static tkc_status check_forward(const tkk_attention *p) {
    CHECK(check_options(p, p ? p->struct_size : 0, sizeof *p, "tkk_attention"));
    CHECK(check_missing(p));
    if ((uint32_t)p->mask > TKK_CAUSAL_TOP_LEFT || (uint32_t)p->precision > TKK_IEEE)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_attention: unknown mask or precision.");
    if (!(p->scale > 0) || !isfinite(p->scale))
        return tkc_fail(TKC_INVALID_ARGUMENT, "scale is %g; it must be positive and finite.",
                        (double)p->scale);
    CHECK(check_rank("q", &p->q, 4));
    CHECK(check_rank("k", &p->k, 4));
    CHECK(check_tensor("q", &p->q, &p->q));
    int64_t dim = p->q.shape[D], heads = p->q.shape[H], kv_heads = p->k.shape[H];
    if (dim != 16 && dim != 32 && dim != 64 && dim != 128 && dim != 256)
        return tkc_fail(TKC_UNSUPPORTED,
                        "The head dimension is %lld; 16, 32, 64, 128 and 256 are supported.",
                        (long long)dim);
    if (kv_heads < 1 ? heads != 0 : heads % kv_heads != 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "q has %lld heads and k has %lld; the first must be a multiple of the "
                        "second.",
                        (long long)heads, (long long)kv_heads);
    const tkk_tensor keys = {.rank = 4, .shape = {p->q.shape[B], kv_heads, p->k.shape[L], dim}};
    CHECK(check_tensor("k", &p->k, &keys));
    CHECK(check_tensor("v", &p->v, &keys));
    CHECK(check_dtype("k", &p->k, p->q.dtype));
    CHECK(check_dtype("v", &p->v, p->q.dtype));
    CHECK(check_tensor("out", &p->out, &p->q));
    return check_state("lse", &p->lse, &p->q);
}

static tkc_status check_backward(const tkk_attention *p) {
    CHECK(check_forward(p));
    CHECK(check_tensor("dout", &p->dout, &p->q));
    CHECK(check_dtype("dout", &p->dout, p->q.dtype));
    CHECK(check_state("delta", &p->delta, &p->q));
    CHECK(check_tensor("dq", &p->dq, &p->q));
    CHECK(check_tensor("dk", &p->dk, &p->k));
    return check_tensor("dv", &p->dv, &p->k);
}

/* ---- blocks ----------------------------------------------------------------------------- */

typedef struct Blocks {
    int32_t m, n, warps, stages;
} Blocks;

enum { FORWARD, BACKWARD_KV, BACKWARD_Q };

/* By kernel, then head dimension: up to 64, 128, 256. */
static const Blocks blocks16[3][3] = {
    [FORWARD] = {{128, 128, 8, 3}, {128, 64, 8, 3}, {128, 64, 8, 2}},
    [BACKWARD_KV] = {{64, 128, 8, 2}, {64, 128, 8, 2}, {32, 64, 8, 2}},
    [BACKWARD_Q] = {{128, 64, 8, 2}, {128, 64, 8, 2}, {64, 32, 8, 2}},
};
static const Blocks blocks32[3][3] = {
    [FORWARD] = {{128, 64, 8, 2}, {64, 64, 8, 2}, {64, 32, 8, 2}},
    [BACKWARD_KV] = {{64, 64, 8, 2}, {32, 64, 8, 2}, {32, 32, 8, 1}},
    [BACKWARD_Q] = {{64, 64, 8, 2}, {64, 32, 8, 2}, {32, 32, 8, 1}},
};

static int32_t fit(int32_t block, int64_t length) {
    int64_t enough = next_power_of_two(length);
    if (enough < 16) enough = 16; /* the least a dot takes */
    return enough < block ? (int32_t)enough : block;
}

static Blocks pick(const tkk_attention *p, int kernel) {
    int64_t dim = p->q.shape[D];
    const Blocks *by_dim = (p->q.dtype == TKC_F32 ? blocks32 : blocks16)[kernel];
    Blocks blocks = by_dim[dim <= 64 ? 0 : dim == 128 ? 1 : 2];
    blocks.m = fit(blocks.m, p->q.shape[L]);
    blocks.n = fit(blocks.n, p->k.shape[L]);
    return blocks;
}

/* ---- calls ------------------------------------------------------------------------------ */

static void begin(Call *call, tkk_library *library, const tkk_attention *p, const char *kernel,
                  Blocks blocks) {
    call_begin(call, library, &file, kernel);
    call->compile_only = p->compile_only;
    call->num_warps = (uint32_t)blocks.warps;
    call->num_stages = (uint32_t)blocks.stages;
    call_constant(call, "CAUSAL", p->mask == TKK_NO_MASK ? "False" : "True");
    call_constant(call, "PRECISION", p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant_int(call, "HEAD_DIM", p->q.shape[D]);
    call_constant_int(call, "BLOCK_M", blocks.m);
    call_constant_int(call, "BLOCK_N", blocks.n);
}

static void add_sizes(Call *call, const tkk_attention *p) {
    int64_t heads = p->q.shape[H], kv_heads = p->k.shape[H];
    call_int(call, heads);
    call_int(call, kv_heads ? heads / kv_heads : 1);
    call_int(call, p->q.shape[L]);
    call_int(call, p->k.shape[L]);
    call_int(call, p->mask == TKK_CAUSAL ? p->k.shape[L] - p->q.shape[L] : 0);
}

static const char *const q_strides[] = {"stride_qb", "stride_qh", "stride_qm", "stride_qd"};
static const char *const k_strides[] = {"stride_kb", "stride_kh", "stride_kn", "stride_kd"};
static const char *const v_strides[] = {"stride_vb", "stride_vh", "stride_vn", "stride_vd"};
static const char *const o_strides[] = {"stride_ob", "stride_oh", "stride_om", "stride_od"};
static const char *const p_strides[] = {"stride_pb", "stride_ph", "stride_pm", "stride_pd"};
static const char *const dq_strides[] = {"stride_dqb", "stride_dqh", "stride_dqm", "stride_dqd"};
static const char *const dk_strides[] = {"stride_dkb", "stride_dkh", "stride_dkn", "stride_dkd"};
static const char *const dv_strides[] = {"stride_dvb", "stride_dvh", "stride_dvn", "stride_dvd"};

tkc_status tkk_attention_forward(tkk_library *library, tkc_stream *stream, const tkk_attention *p) {
    CHECK(check_forward(p));
    Blocks blocks = pick(p, FORWARD);
    Call call;
    begin(&call, library, p, "attention_forward", blocks);
    call_tensor(&call, "q", &p->q);
    call_tensor(&call, "k", &p->k);
    call_tensor(&call, "v", &p->v);
    call_tensor(&call, "out", &p->out);
    call_tensor(&call, "lse", &p->lse);
    call_float(&call, p->scale);
    call_strides4(&call, q_strides, &p->q);
    call_strides4(&call, k_strides, &p->k);
    call_strides4(&call, v_strides, &p->v);
    call_strides4(&call, o_strides, &p->out);
    add_sizes(&call, p);
    return call_launch(&call, stream,
                       tkc_grid2(tkc_cdiv(p->q.shape[L], blocks.m), p->q.shape[B] * p->q.shape[H]));
}

static tkc_status launch_delta(tkk_library *library, tkc_stream *stream, const tkk_attention *p) {
    int32_t block = fit(128, p->q.shape[L]);
    Call call;
    call_begin(&call, library, &file, "attention_backward_delta");
    call.compile_only = p->compile_only;
    call_tensor(&call, "out", &p->out);
    call_tensor(&call, "dout", &p->dout);
    call_tensor(&call, "delta", &p->delta);
    call_strides4(&call, o_strides, &p->out);
    call_strides4(&call, p_strides, &p->dout);
    call_int(&call, p->q.shape[H]);
    call_int(&call, p->q.shape[L]);
    call_constant_int(&call, "HEAD_DIM", p->q.shape[D]);
    call_constant_int(&call, "BLOCK_M", block);
    return call_launch(&call, stream,
                       tkc_grid2(tkc_cdiv(p->q.shape[L], block), p->q.shape[B] * p->q.shape[H]));
}

/* What both gradient kernels read. */
static void add_inputs(Call *call, const tkk_attention *p) {
    call_tensor(call, "q", &p->q);
    call_tensor(call, "k", &p->k);
    call_tensor(call, "v", &p->v);
    call_tensor(call, "dout", &p->dout);
    call_tensor(call, "lse", &p->lse);
    call_tensor(call, "delta", &p->delta);
}

static void add_input_strides(Call *call, const tkk_attention *p) {
    call_float(call, p->scale);
    call_strides4(call, q_strides, &p->q);
    call_strides4(call, k_strides, &p->k);
    call_strides4(call, v_strides, &p->v);
    call_strides4(call, p_strides, &p->dout);
}

tkc_status tkk_attention_backward(tkk_library *library, tkc_stream *stream,
                                  const tkk_attention *p) {
    CHECK(check_backward(p));
    CHECK(launch_delta(library, stream, p));

    Call call;
    Blocks blocks = pick(p, BACKWARD_KV);
    begin(&call, library, p, "attention_backward_kv", blocks);
    add_inputs(&call, p);
    call_tensor(&call, "dk", &p->dk);
    call_tensor(&call, "dv", &p->dv);
    add_input_strides(&call, p);
    call_strides4(&call, dk_strides, &p->dk);
    call_strides4(&call, dv_strides, &p->dv);
    add_sizes(&call, p);
    CHECK(call_launch(&call, stream,
                      tkc_grid2(tkc_cdiv(p->k.shape[L], blocks.n), p->k.shape[B] * p->k.shape[H])));

    blocks = pick(p, BACKWARD_Q);
    begin(&call, library, p, "attention_backward_q", blocks);
    add_inputs(&call, p);
    call_tensor(&call, "dq", &p->dq);
    add_input_strides(&call, p);
    call_strides4(&call, dq_strides, &p->dq);
    add_sizes(&call, p);
    return call_launch(&call, stream,
                       tkc_grid2(tkc_cdiv(p->q.shape[L], blocks.m), p->q.shape[B] * p->q.shape[H]));
}
