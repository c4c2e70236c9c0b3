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

static bool has_sequences(const tkk_attention *p) {
    return is_given(&p->q_starts);
}

static tkc_status check_bias(const tkk_attention *p) {
    const tkk_tensor scores = {
        .rank = 4, .shape = {p->q.shape[B], p->q.shape[H], p->q.shape[L], p->k.shape[L]}};
    if (!is_given(&p->bias)) return TKC_OK;
    if (has_sequences(p))
        return tkc_fail(TKC_UNSUPPORTED, "bias cannot be combined with q_starts and kv_starts.");
    if (p->bias.dtype == TKC_I1) {
        CHECK(check_shape("bias", &p->bias, 4, scores.shape));
        return check_reach("bias", &p->bias, L);
    }
    return check_tensor("bias", &p->bias, &scores);
}

static tkc_status check_dbias(const tkk_attention *p) {
    if (!is_given(&p->dbias)) return TKC_OK;
    if (!is_given(&p->bias) || p->bias.dtype == TKC_I1)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "dbias is given, and there is no bias that has a gradient.");
    CHECK(check_shape("dbias", &p->dbias, 4, p->bias.shape));
    CHECK(check_dtype("dbias", &p->dbias, TKC_F32));
    return check_dense("dbias", &p->dbias);
}

static tkc_status check_starts(const char *name, const tkk_tensor *starts, int64_t longest) {
    CHECK(check_rank(name, starts, 1));
    CHECK(check_dtype(name, starts, TKC_I32));
    CHECK(check_dense(name, starts));
    if (starts->shape[0] < 1 || starts->shape[0] > INT32_MAX)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s has %lld elements; one more than there are sequences are needed.", name,
                        (long long)starts->shape[0]);
    if (longest < 0)
        return tkc_fail(TKC_INVALID_ARGUMENT, "The longest sequence of %s has %lld elements.", name,
                        (long long)longest);
    return TKC_OK;
}

static tkc_status check_sequences(const tkk_attention *p) {
    if (!is_given(&p->q_starts) && !is_given(&p->kv_starts)) return TKC_OK;
    if (!is_given(&p->q_starts) || !is_given(&p->kv_starts))
        return tkc_fail(TKC_INVALID_ARGUMENT, "q_starts and kv_starts belong together.");
    CHECK(check_starts("q_starts", &p->q_starts, p->longest_q));
    CHECK(check_starts("kv_starts", &p->kv_starts, p->longest_kv));
    CHECK(check_shape("kv_starts", &p->kv_starts, 1, p->q_starts.shape));
    if (p->q.shape[B] != 1)
        return tkc_fail(TKC_INVALID_ARGUMENT, "q has a batch of %lld; with q_starts it must be 1.",
                        (long long)p->q.shape[B]);
    return TKC_OK;
}

static tkc_status check_numbers(const tkk_attention *p) {
    CHECK(check_precision("tkk_attention", p->precision));
    if ((uint32_t)p->mask > TKK_CAUSAL_TOP_LEFT || (uint32_t)p->weighting > TKK_RELU_WEIGHTS)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_attention: unknown mask or weighting.");
    if (!(p->scale > 0) || !isfinite(p->scale))
        return tkc_fail(TKC_INVALID_ARGUMENT, "scale is %g; it must be positive and finite.",
                        (double)p->scale);
    if (!(p->soft_cap >= 0) || !isfinite(p->soft_cap))
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "soft_cap is %g; it must be positive and finite, or 0 for none.",
                        (double)p->soft_cap);
    if (!(p->dropout >= 0 && p->dropout < 1))
        return tkc_fail(TKC_INVALID_ARGUMENT, "dropout is %g; it must be in [0, 1).",
                        (double)p->dropout);
    return TKC_OK;
}

static tkc_status check_forward(const tkk_attention *p) {
    CHECK_OPTIONS(p, "tkk_attention");
    CHECK(check_numbers(p));
    CHECK(check_rank("q", &p->q, 4));
    CHECK(check_rank("k", &p->k, 4));
    CHECK(check_tensor("q", &p->q, &p->q));
    int64_t dim = p->q.shape[D], heads = p->q.shape[H], kv_heads = p->k.shape[H];
    if (dim < 1 || dim > 256)
        return tkc_fail(TKC_UNSUPPORTED, "The head dimension is %lld; 1 to 256 are supported.",
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
    CHECK(check_bias(p));
    CHECK(check_sequences(p));
    if (is_given(&p->slopes)) {
        CHECK(check_shape("slopes", &p->slopes, 1, &heads));
        CHECK(check_dtype("slopes", &p->slopes, TKC_F32));
        CHECK(check_dense("slopes", &p->slopes));
    }
    return p->weighting == TKK_SOFTMAX ? check_state("lse", &p->lse, &p->q) : TKC_OK;
}

static tkc_status check_backward(const tkk_attention *p) {
    CHECK(check_forward(p));
    CHECK(check_tensor("dout", &p->dout, &p->q));
    CHECK(check_dtype("dout", &p->dout, p->q.dtype));
    if (p->weighting == TKK_SOFTMAX) CHECK(check_state("delta", &p->delta, &p->q));
    CHECK(check_tensor("dq", &p->dq, &p->q));
    CHECK(check_tensor("dk", &p->dk, &p->k));
    CHECK(check_tensor("dv", &p->dv, &p->k));
    return check_dbias(p);
}

/* ---- blocks ----------------------------------------------------------------------------- */

typedef struct Blocks {
    int32_t m, n, warps, stages;
} Blocks;

enum { FORWARD, BACKWARD_KV, BACKWARD_Q };

/* By kernel, then head dimension: up to 32, 64, 128, 256. */
static const Blocks blocks16[3][4] = {
    [FORWARD] = {{128, 64, 4, 3}, {128, 128, 8, 3}, {128, 64, 8, 3}, {128, 32, 8, 2}},
    [BACKWARD_KV] = {{64, 128, 8, 2}, {64, 128, 8, 2}, {32, 128, 8, 2}, {32, 64, 8, 2}},
    [BACKWARD_Q] = {{128, 32, 8, 2}, {128, 64, 8, 2}, {128, 64, 8, 2}, {64, 32, 8, 2}},
};
static const Blocks blocks32[3][4] = {
    [FORWARD] = {{128, 32, 8, 2}, {128, 64, 8, 2}, {64, 64, 8, 2}, {64, 16, 8, 2}},
    [BACKWARD_KV] = {{64, 64, 8, 2}, {64, 64, 8, 2}, {32, 64, 8, 2}, {32, 32, 8, 1}},
    [BACKWARD_Q] = {{64, 64, 8, 2}, {128, 32, 8, 2}, {64, 32, 8, 2}, {32, 32, 8, 1}},
};
/* f32 where a program has 99 KB of shared memory: head dimensions up to 128, 256. */
static const Blocks blocks32_small[3][2] = {
    [FORWARD] = {{64, 16, 8, 2}, {32, 16, 8, 2}},
    [BACKWARD_KV] = {{16, 32, 4, 2}, {16, 16, 4, 1}},
    [BACKWARD_Q] = {{32, 32, 8, 1}, {16, 16, 4, 1}},
};

/* On host cores scores and operands of a block should fit the second cache, whatever the dtype;
 * wide blocks mean less to do for each row on the way. */
static const Blocks blocks_host[3] = {[FORWARD] = {128, 256, 4, 1},
                                      [BACKWARD_KV] = {128, 128, 4, 1},
                                      [BACKWARD_Q] = {128, 128, 4, 1}};

static int32_t fit(int32_t block, int64_t length) {
    int64_t enough = next_power_of_two(length);
    if (enough < 16) enough = 16; /* the least a dot takes */
    return enough < block ? (int32_t)enough : block;
}

/* Lengths of one sequence, at most, and how many there are. */
static int64_t longest_q(const tkk_attention *p) {
    int64_t all = p->q.shape[L];
    return has_sequences(p) && p->longest_q < all ? p->longest_q : all;
}

static int64_t longest_kv(const tkk_attention *p) {
    int64_t all = p->k.shape[L];
    return has_sequences(p) && p->longest_kv < all ? p->longest_kv : all;
}

static int64_t sequences(const tkk_attention *p) {
    return has_sequences(p) ? p->q_starts.shape[0] - 1 : p->q.shape[B];
}

/* The block whose length the grid divides is halved until every core has two programs or so. */
static Blocks pick_host(const tkk_library *library, const tkk_attention *p, int kernel) {
    Blocks blocks = blocks_host[kernel];
    if (p->mask != TKK_NO_MASK || p->windowed) blocks.n = blocks.n < 128 ? blocks.n : 128;
    blocks.m = fit(blocks.m, longest_q(p));
    blocks.n = fit(blocks.n, longest_kv(p));
    const bool by_keys = kernel == BACKWARD_KV;
    int32_t *divided = by_keys ? &blocks.n : &blocks.m;
    const int64_t heads = sequences(p) * (by_keys ? p->k : p->q).shape[H];
    const int64_t length = by_keys ? longest_kv(p) : longest_q(p);
    while (*divided > 64 && heads * tkc_cdiv(length, *divided) < 2 * (int64_t)processors(library))
        *divided /= 2;
    return blocks;
}

static Blocks pick(const tkk_library *library, const tkk_attention *p, int kernel) {
    if (runs_on_host(library)) return pick_host(library, p, kernel);
    int64_t dim = p->q.shape[D];
    const Blocks *by_dim = (p->q.dtype == TKC_F32 ? blocks32 : blocks16)[kernel];
    Blocks blocks = by_dim[dim <= 32 ? 0 : dim <= 64 ? 1 : dim <= 128 ? 2 : 3];
    if (p->q.dtype == TKC_F32 && dim > 64 && has_small_shared(library))
        blocks = blocks32_small[kernel][dim > 128];
    blocks.m = fit(blocks.m, longest_q(p));
    blocks.n = fit(blocks.n, longest_kv(p));
    return blocks;
}

/* ---- calls ------------------------------------------------------------------------------ */

static void begin(Call *call, tkk_library *library, const tkk_attention *p, const char *kernel,
                  Blocks blocks) {
    call_begin(call, library, &file, kernel);
    call->compile_only = p->compile_only;
    call->num_warps = (uint32_t)blocks.warps;
    call->num_stages = (uint32_t)blocks.stages;
    call_constant(call, "WEIGHTING", p->weighting == TKK_SOFTMAX ? "'softmax'" : "'relu'");
    call_constant(call, "CAUSAL", p->mask == TKK_NO_MASK ? "False" : "True");
    call_constant(call, "PRECISION", p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant_int(call, "HEAD_DIM", p->q.shape[D]);
    call_constant_int(call, "BLOCK_M", blocks.m);
    call_constant_int(call, "BLOCK_N", blocks.n);
}

static const char *const q_strides[] = {"stride_qb", "stride_qh", "stride_qm", "stride_qd"};
static const char *const k_strides[] = {"stride_kb", "stride_kh", "stride_kn", "stride_kd"};
static const char *const v_strides[] = {"stride_vb", "stride_vh", "stride_vn", "stride_vd"};
static const char *const o_strides[] = {"stride_ob", "stride_oh", "stride_om", "stride_od"};
static const char *const p_strides[] = {"stride_pb", "stride_ph", "stride_pm", "stride_pd"};
static const char *const x_strides[] = {"stride_xb", "stride_xh", "stride_xm", "stride_xn"};
static const char *const dq_strides[] = {"stride_dqb", "stride_dqh", "stride_dqm", "stride_dqd"};
static const char *const dk_strides[] = {"stride_dkb", "stride_dkh", "stride_dkn", "stride_dkd"};
static const char *const dv_strides[] = {"stride_dvb", "stride_dvh", "stride_dvn", "stride_dvd"};

/* lse and delta: ReLU weights have none. */
static void add_state(Call *call, const char *name, const tkk_tensor *state,
                      const tkk_attention *p) {
    if (p->weighting == TKK_SOFTMAX)
        call_tensor(call, name, state);
    else
        call_constant(call, name, "None");
}

static void add_sizes(Call *call, const tkk_attention *p) {
    int64_t heads = p->q.shape[H], kv_heads = p->k.shape[H];
    call_int(call, heads);
    call_int(call, kv_heads ? heads / kv_heads : 1);
    call_int(call, p->q.shape[L]);
    call_int(call, p->k.shape[L]);
    if (p->mask == TKK_CAUSAL_TOP_LEFT)
        call_int(call, 0);
    else if (has_sequences(p)) /* each has its own */
        call_constant(call, "diagonal", "None");
    else
        call_int(call, p->k.shape[L] - p->q.shape[L]);
}

static void add_reach(Call *call, const char *name, int64_t keys) {
    const int64_t longest = (int64_t)1 << 30; /* of all tensors: see check_reach */
    call_type(call, name, "i32");
    call_int(call, keys < longest ? keys : longest);
}

/* Parameters that are None without the option; in their order. */
static void add_options(Call *call, const tkk_attention *p) {
    if (p->windowed && p->window_left >= 0) add_reach(call, "left", p->window_left);
    if (p->windowed && p->window_right >= 0 && p->mask == TKK_NO_MASK)
        add_reach(call, "right", p->window_right);
    if (p->soft_cap > 0) {
        call_type(call, "cap", "fp32");
        call_float(call, p->soft_cap);
    }
    if (is_given(&p->slopes)) call_tensor(call, "slopes", &p->slopes);
    if (p->dropout > 0) {
        call_type(call, "dropped", "u32");
        call_int(call, llround((double)p->dropout * 0x1p32));
        call_type(call, "kept_scale", "fp32");
        call_float(call, 1 / (1 - (double)p->dropout));
        call_type(call, "seed", "i64");
        call_int(call, (int64_t)p->dropout_seed);
    }
    if (has_sequences(p)) {
        call_tensor(call, "q_starts", &p->q_starts);
        call_tensor(call, "kv_starts", &p->kv_starts);
    }
    if (is_given(&p->bias)) {
        bool rows = p->bias.stride[L] != 0 && p->bias.shape[L] > 1;
        call_tensor(call, "bias", &p->bias);
        call_constant(call, "BIAS_ROWS", rows ? "True" : "False");
        call_strides4(call, x_strides, &p->bias);
    }
}

static tkc_grid q_grid(const tkk_attention *p, Blocks blocks) {
    return tkc_grid2(tkc_cdiv(longest_q(p), blocks.m), sequences(p) * p->q.shape[H]);
}

static tkc_grid kv_grid(const tkk_attention *p, Blocks blocks) {
    return tkc_grid2(tkc_cdiv(longest_kv(p), blocks.n), sequences(p) * p->k.shape[H]);
}

tkc_status tkk_attention_forward(tkk_library *library, tkc_stream *stream, const tkk_attention *p) {
    CHECK(check_library(library));
    CHECK(check_forward(p));
    Blocks blocks = pick(library, p, FORWARD);
    Call call;
    begin(&call, library, p, "attention_forward", blocks);
    call_tensor(&call, "q", &p->q);
    call_tensor(&call, "k", &p->k);
    call_tensor(&call, "v", &p->v);
    call_tensor(&call, "out", &p->out);
    add_state(&call, "lse", &p->lse, p);
    call_float(&call, p->scale);
    call_strides4(&call, q_strides, &p->q);
    call_strides4(&call, k_strides, &p->k);
    call_strides4(&call, v_strides, &p->v);
    call_strides4(&call, o_strides, &p->out);
    add_sizes(&call, p);
    add_options(&call, p);
    return call_launch(&call, stream, q_grid(p, blocks));
}

static tkc_status launch_delta(tkk_library *library, tkc_stream *stream, const tkk_attention *p) {
    enum { ELEMENTS = 8192 }; /* of a block: more do not fit into registers */
    int64_t rows = ELEMENTS / next_power_of_two(p->q.shape[D]);
    int32_t block = fit(rows < 128 ? (int32_t)rows : 128, p->q.shape[L]);
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
    if (has_sequences(p)) {
        call_tensor(&call, "q_starts", &p->q_starts);
        call_type(&call, "sequences", "i32");
        call_int(&call, sequences(p));
    }
    return call_launch(&call, stream,
                       tkc_grid2(tkc_cdiv(p->q.shape[L], block), p->q.shape[B] * p->q.shape[H]));
}

/* What both gradient kernels read. */
static void add_inputs(Call *call, const tkk_attention *p) {
    call_tensor(call, "q", &p->q);
    call_tensor(call, "k", &p->k);
    call_tensor(call, "v", &p->v);
    call_tensor(call, "dout", &p->dout);
    add_state(call, "lse", &p->lse, p);
    add_state(call, "delta", &p->delta, p);
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
    CHECK(check_library(library));
    CHECK(check_backward(p));
    if (p->weighting == TKK_SOFTMAX) CHECK(launch_delta(library, stream, p));

    Call call;
    Blocks blocks = pick(library, p, BACKWARD_KV);
    begin(&call, library, p, "attention_backward_kv", blocks);
    add_inputs(&call, p);
    call_tensor(&call, "dk", &p->dk);
    call_tensor(&call, "dv", &p->dv);
    add_input_strides(&call, p);
    call_strides4(&call, dk_strides, &p->dk);
    call_strides4(&call, dv_strides, &p->dv);
    add_sizes(&call, p);
    add_options(&call, p);
    CHECK(call_launch(&call, stream, kv_grid(p, blocks)));

    blocks = pick(library, p, BACKWARD_Q);
    begin(&call, library, p, "attention_backward_q", blocks);
    add_inputs(&call, p);
    call_tensor(&call, "dq", &p->dq);
    add_input_strides(&call, p);
    call_strides4(&call, dq_strides, &p->dq);
    add_sizes(&call, p);
    add_options(&call, p);
    if (is_given(&p->dbias)) call_tensor(&call, "dbias", &p->dbias);
    return call_launch(&call, stream, q_grid(p, blocks));
}
