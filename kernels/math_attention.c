/* math_attention.c: host of math_attention.tk: attention step by step, some rows at a time. */
#include "kernels/sdpa_internal.h"

#include <math.h>

KERNEL_FILE(math_attention);

enum { B, H, L, D }; /* batch, heads, length, head_dim: the order of dimensions */

/* Scores of `rows` rows of all heads, or their slopes. */
typedef struct Scores {
    tkk_tensor tensor;
    int64_t rows, pitch; /* pitch: elements of a row with its padding */
} Scores;

static tkc_dtype sum_dtype(const SdpaProblem *p) {
    return p->query.dtype == TKC_F64 ? TKC_F64 : TKC_F32;
}

/* ---- scratch ---------------------------------------------------------------------------- */

/* Rows begin at multiples of 16 elements. */
static int64_t pitch_of(const SdpaProblem *p) {
    return (p->key.shape[L] + 15) / 16 * 16;
}

static int64_t rows_of(const SdpaProblem *p, int64_t chunk) {
    return p->query.shape[L] < chunk ? p->query.shape[L] : chunk;
}

static bool is_chunked(const SdpaProblem *p, int64_t chunk) {
    return p->query.shape[L] > chunk;
}

static bool multiply(uint64_t *x, uint64_t y) {
    return !__builtin_mul_overflow(*x, y, x) && *x <= UINT64_MAX / 8;
}

static uint64_t score_bytes(const SdpaProblem *p, int64_t rows) {
    uint64_t bytes = tkc_dtype_size(sum_dtype(p));
    bool fits = multiply(&bytes, (uint64_t)p->query.shape[B]) &&
                multiply(&bytes, (uint64_t)p->query.shape[H]) && multiply(&bytes, (uint64_t)rows) &&
                multiply(&bytes, (uint64_t)pitch_of(p));
    return !fits ? UINT64_MAX : bytes ? bytes : 16;
}

static uint64_t carried_bytes(const SdpaProblem *p, const tkk_tensor *tensor) {
    uint64_t bytes = tkc_dtype_size(sum_dtype(p));
    for (uint32_t i = 0; i < 4; i++)
        if (!multiply(&bytes, (uint64_t)tensor->shape[i])) return UINT64_MAX;
    return bytes ? bytes : 16;
}

uint64_t math_attention_scratch(const SdpaProblem *p, int64_t chunk, bool backward) {
    const uint64_t scores = score_bytes(p, rows_of(p, chunk));
    const uint64_t dk = carried_bytes(p, &p->key), dv = carried_bytes(p, &p->value);
    if (scores == UINT64_MAX || dk == UINT64_MAX || dv == UINT64_MAX) return UINT64_MAX;
    uint64_t bytes = scratch_size(scores);
    if (backward) bytes += scratch_size(scores);
    if (backward && is_chunked(p, chunk)) bytes += scratch_size(dk) + scratch_size(dv);
    return bytes;
}

static tkc_argument take_scores(const SdpaProblem *p, int64_t chunk, Scratch *scratch) {
    return scratch_take(scratch, score_bytes(p, rows_of(p, chunk)));
}

static Scores scores_at(const SdpaProblem *p, tkc_argument memory, int64_t rows) {
    Scores s = {.rows = rows, .pitch = pitch_of(p)};
    s.tensor = tkk_tensor4(memory, sum_dtype(p), p->query.shape[B], p->query.shape[H], rows,
                           p->key.shape[L]);
    s.tensor.stride[L] = s.pitch;
    s.tensor.stride[H] = rows * s.pitch;
    s.tensor.stride[B] = p->query.shape[H] * rows * s.pitch;
    return s;
}

/* ---- steps ------------------------------------------------------------------------------ */

/* c = scale * (a b) + bias, masked. The heads of c are sums over `members` heads of a each, and
 * `share` heads of a meet one of b. */
typedef struct Product {
    tkk_tensor a, b, c;
    double scale;
    int64_t members, share;
    const tkk_tensor *bias; /* NULL: none */
    bool causal;
    int64_t diagonal;
    const tkk_tensor *carried; /* of a sum in several launches; NULL: one */
    bool first, last;
} Product;

static const char *const a_strides[] = {"stride_ab", "stride_ah", "stride_am", "stride_ak"};
static const char *const b_strides[] = {"stride_bb", "stride_bh", "stride_bk", "stride_bn"};
static const char *const c_strides[] = {"stride_cb", "stride_ch", "stride_cm", "stride_cn"};
static const char *const x_strides[] = {"stride_xb", "stride_xh", "stride_xm", "stride_xn"};

static int64_t fit(int64_t extent, int64_t most) {
    int64_t enough = next_power_of_two(extent);
    return enough < 16 ? 16 : enough < most ? enough : most; /* 16: the least a dot takes */
}

/* Masks at multiples of 16 leave loads whole. */
static void add_extent(Call *call, const char *name, int64_t extent) {
    call_type(call, name, extent % 16 ? "i32" : "i32:16");
    call_int(call, extent);
}

static const char *truth(bool x) {
    return x ? "True" : "False";
}

static tkc_status launch_product(const SdpaProblem *p, const Product *f) {
    const bool wide = f->b.dtype == TKC_F64;
    const int64_t M = f->c.shape[2], N = f->c.shape[3], K = f->a.shape[3];
    const int64_t block_m = fit(M, wide ? 64 : 128), block_n = fit(N, wide ? 64 : 128);
    Call call;
    call_begin(&call, p->library, &file, "attention_product");
    call.compile_only = p->compile_only;
    call.num_warps = block_m * block_n >= 128 * 128 ? 8 : 4;
    call_tensor(&call, "a", &f->a);
    call_tensor(&call, "b", &f->b);
    call_tensor(&call, "c", &f->c);
    call_float(&call, f->scale);
    call_strides4(&call, a_strides, &f->a);
    call_strides4(&call, b_strides, &f->b);
    call_strides4(&call, c_strides, &f->c);
    call_int(&call, f->c.shape[1]);
    call_int(&call, f->members);
    call_int(&call, f->share);
    add_extent(&call, "M", M);
    add_extent(&call, "N", N);
    add_extent(&call, "K", K);
    call_int(&call, f->diagonal);
    if (f->carried) call_tensor(&call, "carried", f->carried);
    if (f->bias) {
        call_tensor(&call, "bias", f->bias);
        call_strides4(&call, x_strides, f->bias);
    }
    call_constant(&call, "CAUSAL", truth(f->causal));
    call_constant(&call, "FIRST", truth(!f->carried || f->first));
    call_constant(&call, "LAST", truth(!f->carried || f->last));
    call_constant(&call, "PRECISION", wide || p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant_int(&call, "BLOCK_M", block_m);
    call_constant_int(&call, "BLOCK_N", block_n);
    call_constant_int(&call, "BLOCK_K", fit(K, f->b.dtype == TKC_F32 || wide ? 32 : 64));
    return call_launch(
        &call, p->stream,
        tkc_grid1(tkc_cdiv(M, block_m) * tkc_cdiv(N, block_n) * f->c.shape[0] * f->c.shape[1]));
}

/* What attention_weights and attention_slopes have in common: `rows` rows from first_row on. */
static tkc_status launch_rows(const SdpaProblem *p, Call *call, const Scores *s, int64_t first_row,
                              const tkk_tensor *dbias) {
    call->compile_only = p->compile_only;
    call_stride(call, "row_stride", "i64", s->pitch);
    call_int(call, s->rows);
    add_extent(call, "columns", p->key.shape[L]);
    call_int(call, p->query.shape[L]);
    call_int(call, first_row);
    call_int(call, (int64_t)rint(p->dropout * 0x1p32));
    call_float(call, 1.0 - p->dropout);
    call_int(call, (int64_t)p->seed);
    if (dbias->rank) call_tensor(call, "dbias", dbias);
    call_constant(call, "DROPOUT", truth(p->dropout > 0));
    call_constant_int(call, "BLOCK", fit(p->key.shape[L], 1024));
    return call_launch(call, p->stream, tkc_grid1(s->rows * p->query.shape[B] * p->query.shape[H]));
}

static tkc_status make_weights(const SdpaProblem *p, const Scores *s, int64_t first_row) {
    Call call;
    call_begin(&call, p->library, &file, "attention_weights");
    call_tensor(&call, "scores", &s->tensor);
    call_tensor(&call, "lse", &p->lse);
    static const tkk_tensor none;
    return launch_rows(p, &call, s, first_row, &none);
}

static tkc_status make_slopes(const SdpaProblem *p, const Scores *s, const Scores *slopes,
                              int64_t first_row) {
    Call call;
    call_begin(&call, p->library, &file, "attention_slopes");
    call_tensor(&call, "scores", &s->tensor);
    call_tensor(&call, "slopes", &slopes->tensor);
    call_tensor(&call, "lse", &p->lse);
    return launch_rows(p, &call, s, first_row, &p->dmask);
}

/* ---- rows by rows ----------------------------------------------------------------------- */

static int64_t group_of(const SdpaProblem *p) {
    return p->key.shape[H] ? p->query.shape[H] / p->key.shape[H] : 1;
}

static tkc_status make_scores(const SdpaProblem *p, const Scores *s, int64_t first_row) {
    tkk_tensor bias = p->mask.rank ? tkk_narrow(p->mask, L, first_row, s->rows) : p->mask;
    Product scores = {.a = tkk_narrow(p->query, L, first_row, s->rows),
                      .b = tkk_exchange(p->key, L, D),
                      .c = s->tensor,
                      .scale = p->scale,
                      .members = 1,
                      .share = group_of(p),
                      .bias = p->mask.rank ? &bias : NULL,
                      .causal = p->causal,
                      .diagonal = first_row + p->diagonal};
    return launch_product(p, &scores);
}

tkc_status math_attention_forward(const SdpaProblem *p, int64_t chunk, Scratch *scratch) {
    const int64_t length = p->query.shape[L];
    const tkc_argument memory = take_scores(p, chunk, scratch);
    for (int64_t first = 0; first < length; first += chunk) {
        Scores s = scores_at(p, memory, length - first < chunk ? length - first : chunk);
        CHECK(make_scores(p, &s, first));
        CHECK(make_weights(p, &s, first));
        Product out = {.a = s.tensor,
                       .b = p->value,
                       .c = tkk_narrow(p->out, L, first, s.rows),
                       .scale = 1,
                       .members = 1,
                       .share = group_of(p)};
        CHECK(launch_product(p, &out));
    }
    return TKC_OK;
}

/* What one chunk of rows gives: all of its dq, its part of dk and dv. */
static tkc_status backward_rows(const SdpaProblem *p, const Scores *s, const Scores *slopes,
                                int64_t first, const tkk_tensor *dk, const tkk_tensor *dv) {
    const tkk_tensor query = tkk_narrow(p->query, L, first, s->rows);
    const tkk_tensor dout = tkk_narrow(p->dout, L, first, s->rows);
    const bool is_first = first == 0, is_last = first + s->rows == p->query.shape[L];
    CHECK(make_scores(p, s, first));
    Product dweights = {.a = dout,
                        .b = tkk_exchange(p->value, L, D),
                        .c = slopes->tensor,
                        .scale = 1,
                        .members = 1,
                        .share = group_of(p)};
    CHECK(launch_product(p, &dweights));
    CHECK(make_slopes(p, s, slopes, first));
    Product dvalue = {.a = tkk_exchange(s->tensor, 2, 3),
                      .b = dout,
                      .c = p->dvalue,
                      .scale = 1,
                      .members = group_of(p),
                      .share = 1,
                      .carried = dv,
                      .first = is_first,
                      .last = is_last};
    CHECK(launch_product(p, &dvalue));
    Product dkey = {.a = tkk_exchange(slopes->tensor, 2, 3),
                    .b = query,
                    .c = p->dkey,
                    .scale = p->scale,
                    .members = group_of(p),
                    .share = 1,
                    .carried = dk,
                    .first = is_first,
                    .last = is_last};
    CHECK(launch_product(p, &dkey));
    Product dquery = {.a = slopes->tensor,
                      .b = p->key,
                      .c = tkk_narrow(p->dquery, L, first, s->rows),
                      .scale = p->scale,
                      .members = 1,
                      .share = group_of(p)};
    return launch_product(p, &dquery);
}

tkc_status math_attention_backward(const SdpaProblem *p, int64_t chunk, Scratch *scratch) {
    const int64_t length = p->query.shape[L];
    const tkc_argument memory = take_scores(p, chunk, scratch);
    const tkc_argument more = take_scores(p, chunk, scratch);
    tkk_tensor dk = {0}, dv = {0};
    if (is_chunked(p, chunk)) {
        const int64_t *k = p->key.shape, *v = p->value.shape;
        dk = tkk_tensor4(scratch_take(scratch, carried_bytes(p, &p->key)), sum_dtype(p), k[0], k[1],
                         k[2], k[3]);
        dv = tkk_tensor4(scratch_take(scratch, carried_bytes(p, &p->value)), sum_dtype(p), v[0],
                         v[1], v[2], v[3]);
    }
    int64_t first = 0;
    do { /* once without rows too: then dk and dv are zero */
        const int64_t rows = length - first < chunk ? length - first : chunk;
        Scores s = scores_at(p, memory, rows), slopes = scores_at(p, more, rows);
        CHECK(backward_rows(p, &s, &slopes, first, dk.rank ? &dk : NULL, dv.rank ? &dv : NULL));
        first += chunk;
    } while (first < length);
    return TKC_OK;
}
