/* run.c: the problems as calls of the kernel library. Everything a pass needs is made when the
 * problem is opened, workspaces too, so that a pass is launches and nothing else. */
#include "tools/seeds/seeds.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_BUFFERS = 48, PATTERN = 1 << 16 };

struct SeedRun {
    Bench *bench;
    SeedProblem problem;
    tkc_buffer *buffers[MOST_BUFFERS];
    uint32_t buffer_count;
    uint64_t essential;
    uint64_t random;
    tkc_status status; /* of the first failure while it is set up */
    tkc_status (*pass)(SeedRun *run);
    union {
        tkk_linear linear;
        tkk_conv2d conv2d;
        tkk_attention attention;
        tkk_sdpa sdpa;
        tkk_multihead multihead;
        struct {
            tkk_tensor x, y, dy, dx;
        } softmax;
        struct {
            tkk_tensor q, k, v, out, weights, slopes, dout, dq, dk, dv;
            float scale;
        } unfused;
        struct {
            tkk_linear to_qkv, to_out;
            tkk_attention attention;
        } block;
    };
};

/* ---- tensors ---------------------------------------------------------------------------- */

static tkc_argument make_buffer(SeedRun *run, uint64_t size) {
    tkc_buffer *buffer = NULL;
    if (run->status == TKC_OK && run->buffer_count == MOST_BUFFERS)
        run->status = tkc_fail(TKC_INTERNAL, "tkbench: too many buffers.");
    if (run->status == TKC_OK)
        run->status = tkc_buffer_create(run->bench->device, size, NULL, &buffer);
    if (buffer) run->buffers[run->buffer_count++] = buffer;
    return tkc_arg_buffer(buffer);
}

static uint64_t element_count(const tkk_tensor *tensor) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) count *= (uint64_t)tensor->shape[i];
    return count;
}

/* A tensor of rank up to 4; extents beyond the rank are 0. */
static tkk_tensor make_tensor(SeedRun *run, tkc_dtype dtype, int64_t n0, int64_t n1, int64_t n2,
                              int64_t n3) {
    tkc_argument none = tkc_arg_buffer(NULL);
    tkk_tensor tensor = n3   ? tkk_tensor4(none, dtype, n0, n1, n2, n3)
                        : n2 ? tkk_tensor3(none, dtype, n0, n1, n2)
                        : n1 ? tkk_matrix(none, dtype, n0, n1)
                             : tkk_vector(none, dtype, n0);
    tensor.data = make_buffer(run, element_count(&tensor) * tkc_dtype_size(dtype));
    return tensor;
}

/* Scratch and what is kept for the backward pass. */
static tkk_tensor make_extra(SeedRun *run, tkc_dtype dtype, int64_t n0, int64_t n1, int64_t n2) {
    return make_tensor(run, dtype, n0, n1, n2, 0);
}

static tkk_tensor make_result(SeedRun *run, tkc_dtype dtype, int64_t n0, int64_t n1, int64_t n2,
                              int64_t n3) {
    tkk_tensor tensor = make_tensor(run, dtype, n0, n1, n2, n3);
    run->essential += element_count(&tensor) * tkc_dtype_size(dtype);
    return tensor;
}

static double next_random(SeedRun *run) { /* splitmix64, in [-1, 1) */
    uint64_t z = run->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

/* Random numbers of the given deviation: one pattern again and again, which no kernel notices. */
static tkk_tensor make_input(SeedRun *run, tkc_dtype dtype, double deviation, int64_t n0,
                             int64_t n1, int64_t n2, int64_t n3) {
    tkk_tensor tensor = make_result(run, dtype, n0, n1, n2, n3);
    uint64_t left = element_count(&tensor), size = tkc_dtype_size(dtype), offset = 0;
    double *numbers = malloc(PATTERN * sizeof *numbers);
    char *bytes = malloc(PATTERN * size);
    if (!numbers || !bytes) run->status = tkc_fail(TKC_OUT_OF_MEMORY, "tkbench: out of memory.");
    for (uint32_t i = 0; run->status == TKC_OK && i < PATTERN; i++)
        numbers[i] = next_random(run) * deviation * sqrt(3);
    if (run->status == TKC_OK) tkc_encode(dtype, numbers, bytes, PATTERN);
    while (run->status == TKC_OK && left > 0) {
        uint64_t some = left < PATTERN ? left : PATTERN;
        run->status = tkc_buffer_write(tensor.data.value.buffer, offset, bytes, some * size);
        offset += some * size;
        left -= some;
    }
    free(numbers);
    free(bytes);
    return tensor;
}

static tkk_workspace make_workspace(SeedRun *run, uint64_t size) {
    return size ? (tkk_workspace){make_buffer(run, size), size} : (tkk_workspace){0};
}

/* ---- layers ------------------------------------------------------------------------------- */

static tkc_status linear_forward(SeedRun *run) {
    return tkk_linear_forward(run->bench->library, NULL, &run->linear);
}
static tkc_status linear_backward(SeedRun *run) {
    return tkk_linear_backward(run->bench->library, NULL, &run->linear);
}

static void open_linear(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    tkk_linear *l = &run->linear;
    *l = (tkk_linear)TKK_LINEAR_INIT;
    l->precision = TKK_IEEE;
    l->x = make_input(run, p->dtype, 1, p->batch, p->in, 0, 0);
    l->w = make_input(run, p->dtype, 1 / sqrt((double)p->in), p->out, p->in, 0, 0);
    l->b = make_input(run, p->dtype, 1, p->out, 0, 0, 0);
    if (p->backward) {
        l->dy = make_input(run, p->dtype, 1, p->batch, p->out, 0, 0);
        l->dx = make_result(run, p->dtype, p->batch, p->in, 0, 0);
        l->dw = make_result(run, p->dtype, p->out, p->in, 0, 0);
        l->db = make_result(run, p->dtype, p->out, 0, 0, 0);
    } else {
        l->y = make_result(run, p->dtype, p->batch, p->out, 0, 0);
    }
    l->workspace = make_workspace(run, tkk_linear_workspace(run->bench->library, l));
    run->pass = p->backward ? linear_backward : linear_forward;
}

static tkc_status conv2d_forward(SeedRun *run) {
    return tkk_conv2d_forward(run->bench->library, NULL, &run->conv2d);
}
static tkc_status conv2d_backward(SeedRun *run) {
    return tkk_conv2d_backward(run->bench->library, NULL, &run->conv2d);
}

static void open_conv2d(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    tkk_conv2d *c = &run->conv2d;
    int64_t out = p->length - p->kernel + 1;
    double deviation = 1 / sqrt((double)(p->in * p->kernel * p->kernel));
    *c = (tkk_conv2d)TKK_CONV2D_INIT;
    c->precision = TKK_IEEE;
    c->x = make_input(run, p->dtype, 1, p->batch, p->in, p->length, p->length);
    c->w = make_input(run, p->dtype, deviation, p->out, p->in, p->kernel, p->kernel);
    c->b = make_input(run, p->dtype, 1, p->out, 0, 0, 0);
    if (p->backward) {
        c->dy = make_input(run, p->dtype, 1, p->batch, p->out, out, out);
        c->dx = make_result(run, p->dtype, p->batch, p->in, p->length, p->length);
        c->dw = make_result(run, p->dtype, p->out, p->in, p->kernel, p->kernel);
        c->db = make_result(run, p->dtype, p->out, 0, 0, 0);
    } else {
        c->y = make_result(run, p->dtype, p->batch, p->out, out, out);
    }
    c->workspace = make_workspace(run, tkk_conv2d_workspace(run->bench->library, c));
    run->pass = p->backward ? conv2d_backward : conv2d_forward;
}

static tkc_status softmax_forward(SeedRun *run) {
    return tkk_softmax_forward(run->bench->library, NULL, &run->softmax.x, &run->softmax.y, NULL);
}
static tkc_status softmax_backward(SeedRun *run) {
    return tkk_softmax_backward(run->bench->library, NULL, &run->softmax.y, &run->softmax.dy,
                                &run->softmax.dx, NULL);
}

static void open_softmax(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    if (p->backward) {
        run->softmax.y = make_input(run, p->dtype, 1, p->batch, p->in, 0, 0);
        run->softmax.dy = make_input(run, p->dtype, 1, p->batch, p->in, 0, 0);
        run->softmax.dx = make_result(run, p->dtype, p->batch, p->in, 0, 0);
    } else {
        run->softmax.x = make_input(run, p->dtype, 1, p->batch, p->in, 0, 0);
        run->softmax.y = make_result(run, p->dtype, p->batch, p->in, 0, 0);
    }
    run->pass = p->backward ? softmax_backward : softmax_forward;
}

/* ---- attention ------------------------------------------------------------------------------ */

static tkc_status attention_forward(SeedRun *run) {
    return tkk_attention_forward(run->bench->library, NULL, &run->attention);
}
static tkc_status attention_backward(SeedRun *run) {
    return tkk_attention_backward(run->bench->library, NULL, &run->attention);
}

/* ReLU weights, fused. */
static void open_relu_attention(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    tkk_attention *a = &run->attention;
    int64_t b = p->batch, h = p->heads, n = p->length, d = p->in;
    *a = (tkk_attention)TKK_ATTENTION_INIT;
    a->weighting = TKK_RELU_WEIGHTS;
    a->mask = p->causal ? TKK_CAUSAL_TOP_LEFT : TKK_NO_MASK;
    a->scale = (float)(1 / sqrt((double)d));
    a->q = make_input(run, p->dtype, 1, b, h, n, d);
    a->k = make_input(run, p->dtype, 1, b, h, n, d);
    a->v = make_input(run, p->dtype, 1, b, h, n, d);
    a->out = make_result(run, p->dtype, b, h, n, d);
    a->lse = make_extra(run, TKC_F32, b, h, n);
    if (p->backward) {
        a->dout = make_input(run, p->dtype, 1, b, h, n, d);
        a->delta = make_extra(run, TKC_F32, b, h, n);
        a->dq = make_result(run, p->dtype, b, h, n, d);
        a->dk = make_result(run, p->dtype, b, h, n, d);
        a->dv = make_result(run, p->dtype, b, h, n, d);
        if (run->status == TKC_OK) run->status = attention_forward(run);
    }
    run->pass = p->backward ? attention_backward : attention_forward;
}

static tkc_status unfused_forward(SeedRun *run) {
    tkk_matmul_options scores = TKK_MATMUL_OPTIONS_INIT, plain = TKK_MATMUL_OPTIONS_INIT;
    tkk_tensor keys = tkk_exchange(run->unfused.k, 1, 2);
    scores.precision = plain.precision = TKK_IEEE;
    scores.activation = TKK_RELU;
    scores.alpha = run->unfused.scale;
    tkc_status status = tkk_matmul(run->bench->library, NULL, &run->unfused.q, &keys,
                                   &run->unfused.weights, &scores);
    if (status != TKC_OK) return status;
    return tkk_matmul(run->bench->library, NULL, &run->unfused.weights, &run->unfused.v,
                      &run->unfused.out, &plain);
}

/* slopes = weights > 0 ? slopes : 0, in place. */
static tkc_status relu_backward(tkk_library *library, const tkk_tensor *weights,
                                const tkk_tensor *slopes) {
    tkk_activate relu = TKK_ACTIVATE_INIT;
    relu.activation = TKK_RELU;
    relu.x = *weights;
    relu.dy = relu.dx = *slopes;
    return tkk_activate_backward(library, NULL, &relu);
}

/* With weights from the forward pass:
 *     dV = W^T dO    dW = dO V^T    dS = W > 0 ? scale dW : 0    dQ = dS K    dK = dS^T Q */
static tkc_status unfused_backward(SeedRun *run) {
    tkk_library *library = run->bench->library;
    tkk_matmul_options scaled = TKK_MATMUL_OPTIONS_INIT, plain = TKK_MATMUL_OPTIONS_INIT;
    tkk_tensor values = tkk_exchange(run->unfused.v, 1, 2);
    tkk_tensor weights = tkk_exchange(run->unfused.weights, 1, 2);
    tkk_tensor slopes = tkk_exchange(run->unfused.slopes, 1, 2);
    scaled.precision = plain.precision = TKK_IEEE;
    scaled.alpha = run->unfused.scale;
    tkc_status status =
        tkk_matmul(library, NULL, &weights, &run->unfused.dout, &run->unfused.dv, &plain);
    if (status == TKC_OK)
        status =
            tkk_matmul(library, NULL, &run->unfused.dout, &values, &run->unfused.slopes, &scaled);
    if (status == TKC_OK)
        status = relu_backward(library, &run->unfused.weights, &run->unfused.slopes);
    if (status == TKC_OK)
        status = tkk_matmul(library, NULL, &run->unfused.slopes, &run->unfused.k, &run->unfused.dq,
                            &plain);
    if (status == TKC_OK)
        status = tkk_matmul(library, NULL, &slopes, &run->unfused.q, &run->unfused.dk, &plain);
    return status;
}

/* ReLU weights, step by step, with all scores in memory. */
static void open_unfused(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    int64_t pairs = p->batch * p->heads, n = p->length, d = p->in;
    run->unfused.scale = (float)(1 / sqrt((double)d));
    run->unfused.q = make_input(run, p->dtype, 1, pairs, n, d, 0);
    run->unfused.k = make_input(run, p->dtype, 1, pairs, n, d, 0);
    run->unfused.v = make_input(run, p->dtype, 1, pairs, n, d, 0);
    run->unfused.out = make_result(run, p->dtype, pairs, n, d, 0);
    run->unfused.weights = make_extra(run, p->dtype, pairs, n, n);
    if (p->backward) {
        run->unfused.dout = make_input(run, p->dtype, 1, pairs, n, d, 0);
        run->unfused.slopes = make_extra(run, p->dtype, pairs, n, n);
        run->unfused.dq = make_result(run, p->dtype, pairs, n, d, 0);
        run->unfused.dk = make_result(run, p->dtype, pairs, n, d, 0);
        run->unfused.dv = make_result(run, p->dtype, pairs, n, d, 0);
        if (run->status == TKC_OK) run->status = unfused_forward(run);
    }
    run->pass = p->backward ? unfused_backward : unfused_forward;
}

static tkc_status sdpa_forward(SeedRun *run) {
    return tkk_sdpa_forward(run->bench->library, NULL, &run->sdpa);
}
static tkc_status sdpa_backward(SeedRun *run) {
    return tkk_sdpa_backward(run->bench->library, NULL, &run->sdpa);
}

static uint32_t backend_set(const char *name) {
    if (!strcmp(name, "flash")) return TKK_SDPA_FLASH;
    if (!strcmp(name, "efficient")) return TKK_SDPA_EFFICIENT;
    return !strcmp(name, "math") ? TKK_SDPA_MATH : TKK_SDPA_ANY;
}

static void open_sdpa(SeedRun *run, const char *backend) {
    const SeedProblem *p = &run->problem;
    tkk_sdpa *a = &run->sdpa;
    int64_t b = p->batch, h = p->heads, n = p->length, d = p->in;
    *a = (tkk_sdpa)TKK_SDPA_INIT;
    a->backends = backend_set(backend);
    a->precision = TKK_IEEE;
    a->is_causal = p->causal;
    a->query = make_input(run, p->dtype, 1, b, h, n, d);
    a->key = make_input(run, p->dtype, 1, b, h, n, d);
    a->value = make_input(run, p->dtype, 1, b, h, n, d);
    a->out = make_result(run, p->dtype, b, h, n, d);
    if (p->backward) {
        a->lse = make_extra(run, TKC_F32, b, h, n);
        a->dout = make_input(run, p->dtype, 1, b, h, n, d);
        a->dquery = make_result(run, p->dtype, b, h, n, d);
        a->dkey = make_result(run, p->dtype, b, h, n, d);
        a->dvalue = make_result(run, p->dtype, b, h, n, d);
    }
    a->workspace = make_workspace(run, tkk_sdpa_workspace(run->bench->library, a, p->backward));
    if (p->backward && run->status == TKC_OK) run->status = sdpa_forward(run);
    run->pass = p->backward ? sdpa_backward : sdpa_forward;
}

/* ---- multi-head layer ----------------------------------------------------------------------- */

static tkc_status multihead_forward(SeedRun *run) {
    return tkk_multihead_forward(run->bench->library, NULL, &run->multihead);
}
static tkc_status multihead_backward(SeedRun *run) {
    return tkk_multihead_backward(run->bench->library, NULL, &run->multihead);
}

static void open_multihead(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    tkk_multihead *m = &run->multihead;
    int64_t b = p->batch, n = p->length, d = p->in;
    double deviation = 1 / sqrt((double)d);
    *m = (tkk_multihead)TKK_MULTIHEAD_INIT;
    m->heads = (uint32_t)p->heads;
    m->precision = TKK_IEEE;
    m->query = make_input(run, p->dtype, 1, b, n, d, 0);
    m->in_weight = make_input(run, p->dtype, deviation, 3 * d, d, 0, 0);
    m->in_bias = make_input(run, p->dtype, 1, 3 * d, 0, 0, 0);
    m->out_weight = make_input(run, p->dtype, deviation, d, d, 0, 0);
    m->out_bias = make_input(run, p->dtype, 1, d, 0, 0, 0);
    m->out = make_result(run, p->dtype, b, n, d, 0);
    if (p->backward) {
        uint64_t size = tkk_multihead_saved(m);
        m->saved = (tkk_workspace){make_buffer(run, size), size};
        m->dout = make_input(run, p->dtype, 1, b, n, d, 0);
        m->dquery = make_result(run, p->dtype, b, n, d, 0);
        m->din_weight = make_result(run, p->dtype, 3 * d, d, 0, 0);
        m->din_bias = make_result(run, p->dtype, 3 * d, 0, 0, 0);
        m->dout_weight = make_result(run, p->dtype, d, d, 0, 0);
        m->dout_bias = make_result(run, p->dtype, d, 0, 0, 0);
    }
    uint64_t forward = tkk_multihead_workspace(run->bench->library, m, false);
    uint64_t backward = p->backward ? tkk_multihead_workspace(run->bench->library, m, true) : 0;
    m->workspace = make_workspace(run, forward > backward ? forward : backward);
    if (p->backward && run->status == TKC_OK) run->status = multihead_forward(run);
    run->pass = p->backward ? multihead_backward : multihead_forward;
}

/* ---- blocks of layers ------------------------------------------------------------------------ */

static tkc_status block_forward(SeedRun *run) {
    tkk_library *library = run->bench->library;
    tkc_status status = tkk_linear_forward(library, NULL, &run->block.to_qkv);
    if (status == TKC_OK) status = tkk_attention_forward(library, NULL, &run->block.attention);
    if (status == TKC_OK) status = tkk_linear_forward(library, NULL, &run->block.to_out);
    return status;
}

/* Lengths as torch_peer.py has them. */
static int64_t block_length(const SeedProblem *p, int64_t sequence) {
    if (!p->varied || sequence == 0) return p->length;
    return p->length / 2 - 16 + 32 * sequence / p->batch;
}

static tkk_tensor make_starts(SeedRun *run, int64_t *total) {
    const SeedProblem *p = &run->problem;
    tkk_tensor starts = make_extra(run, TKC_I32, p->batch + 1, 0, 0);
    int32_t *numbers = calloc((size_t)p->batch + 1, sizeof *numbers);
    if (!numbers) run->status = tkc_fail(TKC_OUT_OF_MEMORY, "tkbench: out of memory.");
    for (int64_t i = 0; numbers && i < p->batch; i++)
        numbers[i + 1] = numbers[i] + (int32_t)block_length(p, i);
    if (numbers) *total = numbers[p->batch];
    if (run->status == TKC_OK)
        run->status = tkc_buffer_write(starts.data.value.buffer, 0, numbers,
                                       ((uint64_t)p->batch + 1) * sizeof *numbers);
    free(numbers);
    return starts;
}

/* One third of qkv [rows, 3 width] as [batch, heads, length, head_dim]; all sequences one behind
 * the other when lengths vary. */
static tkk_tensor part_of(const tkk_tensor *qkv, int64_t batch, int64_t heads, int64_t part) {
    int64_t width = qkv->shape[1] / 3, length = qkv->shape[0] / batch;
    tkk_tensor view = tkk_tensor4(qkv->data, qkv->dtype, batch, heads, length, width / heads);
    view.data.offset += (uint64_t)(part * width) * tkc_dtype_size(qkv->dtype);
    view.stride[0] = length * qkv->stride[0];
    view.stride[1] = width / heads;
    view.stride[2] = qkv->stride[0];
    return view;
}

static void open_block(SeedRun *run) {
    const SeedProblem *p = &run->problem;
    tkk_linear *first = &run->block.to_qkv, *last = &run->block.to_out;
    tkk_attention *a = &run->block.attention;
    int64_t rows = p->batch * p->length, width = p->in, batch = p->varied ? 1 : p->batch;
    double deviation = 1 / sqrt((double)width);
    *first = *last = (tkk_linear)TKK_LINEAR_INIT;
    *a = (tkk_attention)TKK_ATTENTION_INIT;
    if (p->varied) {
        a->q_starts = a->kv_starts = make_starts(run, &rows);
        a->longest_q = a->longest_kv = p->length;
    }
    tkk_tensor qkv = make_extra(run, p->dtype, rows, 3 * width, 0);
    tkk_tensor mixed = make_extra(run, p->dtype, rows, width, 0);
    first->x = make_input(run, p->dtype, 1, rows, width, 0, 0);
    first->w = make_input(run, p->dtype, deviation, 3 * width, width, 0, 0);
    first->y = qkv;
    a->scale = (float)(1 / sqrt((double)width / (double)p->heads));
    a->q = part_of(&qkv, batch, p->heads, 0);
    a->k = part_of(&qkv, batch, p->heads, 1);
    a->v = part_of(&qkv, batch, p->heads, 2);
    a->out = tkk_tensor4(mixed.data, p->dtype, batch, p->heads, rows / batch, width / p->heads);
    a->out.stride[0] = rows / batch * width;
    a->out.stride[1] = width / p->heads;
    a->out.stride[2] = width;
    a->lse = make_extra(run, TKC_F32, batch, p->heads, rows / batch);
    last->x = mixed;
    last->w = make_input(run, p->dtype, deviation, width, width, 0, 0);
    last->y = make_result(run, p->dtype, rows, width, 0, 0);
    first->workspace = make_workspace(run, tkk_linear_workspace(run->bench->library, first));
    last->workspace = make_workspace(run, tkk_linear_workspace(run->bench->library, last));
    run->pass = block_forward;
}

/* ---- all of them ----------------------------------------------------------------------------- */

tkc_status seed_open(Bench *bench, const SeedProblem *problem, const char *backend,
                     SeedRun **opened) {
    SeedRun *run = calloc(1, sizeof *run);
    *opened = NULL;
    if (!run) return tkc_fail(TKC_OUT_OF_MEMORY, "tkbench: out of memory.");
    run->bench = bench;
    run->problem = *problem;
    switch (problem->layer) {
    case SEED_LINEAR: open_linear(run); break;
    case SEED_CONV2D: open_conv2d(run); break;
    case SEED_MULTIHEAD: open_multihead(run); break;
    case SEED_SOFTMAX: open_softmax(run); break;
    case SEED_BLOCK: open_block(run); break;
    case SEED_ATTENTION:
        if (!problem->relu)
            open_sdpa(run, backend);
        else if (!strcmp(backend, "math"))
            open_unfused(run);
        else
            open_relu_attention(run);
        break;
    }
    tkc_status status = run->status;
    if (status != TKC_OK) {
        seed_close(run);
        return status;
    }
    *opened = run;
    return TKC_OK;
}

tkc_status seed_call(SeedRun *run) {
    tkc_status status = run->pass(run);
    return status == TKC_OK ? tkc_device_synchronize(run->bench->device) : status;
}

uint64_t seed_essential_bytes(const SeedRun *run) {
    return run->essential;
}

void seed_close(SeedRun *run) {
    if (!run) return;
    for (uint32_t i = 0; i < run->buffer_count; i++) tkc_buffer_destroy(run->buffers[i]);
    free(run);
}
