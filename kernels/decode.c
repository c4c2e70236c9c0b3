/* decode.c: host of decode.tk: checks, parts of a sequence, launches. */
#include "kernels/host.h"

#include <math.h>

KERNEL_FILE(decode);

enum { B, H, L, D };           /* batch, heads, length, head_dim */
enum { PAGE, PLACE, KV_HEAD }; /* dimensions of a cache in pages */
enum { MOST_SPLITS = 128, LEAST_PART = 256 };

/* The problem, with k and v as [batch or pages, kv_heads, places, head_dim] whatever lies where. */
typedef struct Plan {
    const tkk_decode *p;
    tkk_tensor k, v;
    bool paged;
    int64_t rows, capacity; /* rows: of a key head */
    int64_t block_m, block_n, block_d, splits;
} Plan;

/* ---- checks ----------------------------------------------------------------------------- */

static tkc_status check_cache(Plan *plan) {
    const tkk_decode *p = plan->p;
    plan->paged = p->table.rank > 0;
    plan->k = plan->paged ? tkk_exchange(p->k, PLACE, KV_HEAD) : p->k;
    plan->v = plan->paged ? tkk_exchange(p->v, PLACE, KV_HEAD) : p->v;
    CHECK(check_shape("v", &p->v, 4, p->k.shape));
    CHECK(check_dtype("k", &p->k, p->q.dtype));
    CHECK(check_dtype("v", &p->v, p->q.dtype));
    CHECK(check_reach("k", &plan->k, L));
    CHECK(check_reach("v", &plan->v, L));
    plan->capacity = plan->k.shape[L];
    const int64_t *q = p->q.shape;
    const int64_t keys[] = {plan->paged ? plan->k.shape[0] : q[B], plan->k.shape[H], plan->capacity,
                            q[D]};
    CHECK(check_shape("k", &plan->k, 4, keys));
    if (!plan->paged) return TKC_OK;
    CHECK(check_rank("table", &p->table, 2));
    CHECK(check_shape("table", &p->table, 2, (int64_t[]){q[B], p->table.shape[1]}));
    CHECK(check_dtype("table", &p->table, TKC_I32));
    if (p->table.shape[1] > 1 && p->table.stride[1] != 1)
        return tkc_fail(TKC_INVALID_ARGUMENT, "table: the stride of dimension 1 must be 1.");
    if (plan->k.shape[L] < 1 || plan->k.shape[B] > INT32_MAX)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "k: there are no places in a page, or over 2^31 - 1 pages.");
    if (p->table.shape[1] > (1 << 30) / plan->k.shape[L])
        return tkc_fail(TKC_UNSUPPORTED, "table: a sequence has room for more than 2^30 tokens.");
    plan->capacity = p->table.shape[1] * plan->k.shape[L];
    return TKC_OK;
}

static tkc_status check_problem(Plan *plan) {
    const tkk_decode *p = plan->p;
    CHECK_OPTIONS(p, "tkk_decode");
    CHECK(check_precision("tkk_decode", p->precision));
    if (p->splits > MOST_SPLITS)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_decode: %u splits; at most %d are supported.",
                        p->splits, MOST_SPLITS);
    if (!(p->scale > 0) || !isfinite(p->scale))
        return tkc_fail(TKC_INVALID_ARGUMENT, "scale is %g; it must be positive and finite.",
                        (double)p->scale);
    CHECK(check_rank("q", &p->q, 4));
    CHECK(check_rank("k", &p->k, 4));
    CHECK(check_rank("v", &p->v, 4));
    CHECK(check_float("q", &p->q));
    CHECK(check_reach("q", &p->q, L));
    CHECK(check_cache(plan));
    const int64_t *q = p->q.shape, kv_heads = plan->k.shape[H];
    if (q[D] < 1 || q[D] > 256)
        return tkc_fail(TKC_UNSUPPORTED, "The head dimension is %lld; 1 to 256 are supported.",
                        (long long)q[D]);
    if (kv_heads < 1 || q[H] % kv_heads != 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "q has %lld heads and k has %lld; the first must be a multiple of the "
                        "second.",
                        (long long)q[H], (long long)kv_heads);
    if (q[B] > UINT16_MAX || kv_heads > UINT16_MAX || q[H] * q[L] > 1 << 24)
        return tkc_fail(TKC_UNSUPPORTED, "q: batch or heads is over 65535, or heads * tokens over "
                                         "2^24.");
    if (p->lengths.rank == 0) return TKC_OK;
    CHECK(check_shape("lengths", &p->lengths, 1, q));
    CHECK(check_dtype("lengths", &p->lengths, TKC_I32));
    return check_dense("lengths", &p->lengths);
}

static tkc_status check_outputs(const tkk_decode *p) {
    CHECK(check_shape("out", &p->out, 4, p->q.shape));
    CHECK(check_float("out", &p->out));
    CHECK(check_reach("out", &p->out, L));
    if (p->lse.rank == 0) return TKC_OK;
    CHECK(check_shape("lse", &p->lse, 3, p->q.shape));
    CHECK(check_dtype("lse", &p->lse, TKC_F32));
    return check_dense("lse", &p->lse);
}

/* ---- plan ------------------------------------------------------------------------------- */

static int64_t within(int64_t x, int64_t least, int64_t most) {
    return x < least ? least : x > most ? most : x;
}

/* As many parts as fill the device twice, so that uneven sequences even out, but none so short
 * that bringing them together costs more than they save. */
static int64_t pick_splits(const Plan *plan, tkk_library *library) {
    if (plan->p->splits) return plan->p->splits;
    const int64_t programs =
        plan->p->q.shape[B] * plan->k.shape[H] * tkc_cdiv(plan->rows, plan->block_m);
    const int64_t wanted = (runs_on_host(library) ? 1 : 2) * (int64_t)processors(library);
    const int64_t worth = plan->capacity / LEAST_PART;
    const int64_t fill = programs > 0 ? tkc_cdiv(wanted, programs) : 1;
    return within(fill < worth ? fill : worth, 1, MOST_SPLITS);
}

static tkc_status make_plan(Plan *plan, tkk_library *library, const tkk_decode *p) {
    *plan = (Plan){.p = p};
    CHECK(check_problem(plan));
    const bool on_host = runs_on_host(library);
    plan->rows = p->q.shape[H] / plan->k.shape[H] * p->q.shape[L];
    plan->block_m = within(next_power_of_two(plan->rows), on_host ? 1 : 16, 64);
    plan->block_d = within(next_power_of_two(p->q.shape[D]), 16, 256);
    const bool narrow = !on_host && (plan->block_d > 128 || p->q.dtype == TKC_F32);
    plan->block_n = narrow ? 64 : 128;
    plan->splits = pick_splits(plan, library);
    return TKC_OK;
}

static uint64_t part_bytes(const Plan *plan, int64_t elements) {
    const int64_t *q = plan->p->q.shape;
    const uint64_t rows = (uint64_t)(q[B] * q[H] * q[L]);
    return scratch_size(4 * rows * (uint64_t)(plan->splits * elements) + 16);
}

static uint64_t workspace(const Plan *plan) {
    if (plan->splits == 1) return 0;
    return part_bytes(plan, plan->p->q.shape[D]) + part_bytes(plan, 1);
}

uint64_t tkk_decode_workspace(tkk_library *library, const tkk_decode *problem) {
    if (!library) return 0;
    Plan plan;
    return make_plan(&plan, library, problem) == TKC_OK ? workspace(&plan) : 0;
}

/* ---- calls ------------------------------------------------------------------------------ */

static const char *const q_strides[] = {"stride_qb", "stride_qh", "stride_qm", "stride_qd"};
static const char *const k_strides[] = {"stride_kb", "stride_kh", "stride_kn", "stride_kd"};
static const char *const v_strides[] = {"stride_vb", "stride_vh", "stride_vn", "stride_vd"};
static const char *const o_strides[] = {"stride_ob", "stride_oh", "stride_om", "stride_od"};

static tkc_status launch_attend(tkk_library *library, tkc_stream *stream, const Plan *plan,
                                const tkk_tensor *out, const tkk_tensor *lse) {
    const tkk_decode *p = plan->p;
    Call call;
    call_begin(&call, library, &file, "decode_attend");
    call.compile_only = p->compile_only;
    call.num_warps = 4;
    call.num_stages = 2;
    call_tensor(&call, "q", &p->q);
    call_tensor(&call, "k", &plan->k);
    call_tensor(&call, "v", &plan->v);
    call_tensor(&call, "out", out);
    call_float(&call, p->scale);
    call_strides4(&call, q_strides, &p->q);
    call_strides4(&call, k_strides, &plan->k);
    call_strides4(&call, v_strides, &plan->v);
    call_strides4(&call, o_strides, out);
    call_stride(&call, "stride_part", "i32", plan->splits > 1 ? p->q.shape[D] : 0);
    call_int(&call, p->q.shape[H] / plan->k.shape[H]);
    call_int(&call, p->q.shape[L]);
    call_int(&call, plan->capacity);
    call_int(&call, plan->splits);
    if (lse->rank) call_tensor(&call, "lse", lse);
    if (p->lengths.rank) call_tensor(&call, "lengths", &p->lengths);
    if (plan->paged) {
        call_tensor(&call, "table", &p->table);
        call_stride(&call, "stride_table", "i64", p->table.stride[0]);
        call_type(&call, "page_size", "i32");
        call_int(&call, plan->k.shape[L]);
        call_type(&call, "pages", "i32");
        call_int(&call, plan->k.shape[B]);
    }
    call_constant_int(&call, "HEAD_DIM", p->q.shape[D]);
    call_constant(&call, "PRECISION", p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant_int(&call, "BLOCK_M", plan->block_m);
    call_constant_int(&call, "BLOCK_N", plan->block_n);
    call_constant_int(&call, "BLOCK_D", plan->block_d);
    return call_launch(&call, stream,
                       tkc_grid3(plan->splits * tkc_cdiv(plan->rows, plan->block_m),
                                 plan->k.shape[H], p->q.shape[B]));
}

static tkc_status launch_combine(tkk_library *library, tkc_stream *stream, const Plan *plan,
                                 const tkk_tensor *parts, const tkk_tensor *lses) {
    const tkk_decode *p = plan->p;
    const int64_t *q = p->q.shape;
    Call call;
    call_begin(&call, library, &file, "decode_combine");
    call.compile_only = p->compile_only;
    call.num_warps = 4;
    call_tensor(&call, "parts_out", parts);
    call_tensor(&call, "parts_lse", lses);
    call_tensor(&call, "out", &p->out);
    call_strides4(&call, o_strides, &p->out);
    call_int(&call, q[H]);
    call_int(&call, q[L]);
    call_int(&call, plan->splits);
    if (p->lse.rank) call_tensor(&call, "lse", &p->lse);
    call_constant_int(&call, "HEAD_DIM", q[D]);
    call_constant_int(&call, "BLOCK_S", next_power_of_two(plan->splits));
    call_constant_int(&call, "BLOCK_D", plan->block_d);
    return call_launch(&call, stream, tkc_grid1(q[B] * q[H] * q[L]));
}

static tkc_status launch(tkk_library *library, tkc_stream *stream, const Plan *plan,
                         Scratch *scratch) {
    const tkk_decode *p = plan->p;
    const int64_t *q = p->q.shape, splits = plan->splits;
    if (splits == 1) return launch_attend(library, stream, plan, &p->out, &p->lse);
    /* The first part of each row; the others lie behind it. */
    tkk_tensor parts =
        tkk_tensor4(scratch_take(scratch, part_bytes(plan, q[D])), TKC_F32, q[B], q[H], q[L], q[D]);
    for (int i = 0; i < 3; i++) parts.stride[i] *= splits;
    const tkk_tensor lses =
        tkk_matrix(scratch_take(scratch, part_bytes(plan, 1)), TKC_F32, q[B] * q[H] * q[L], splits);
    CHECK(launch_attend(library, stream, plan, &parts, &lses));
    return launch_combine(library, stream, plan, &parts, &lses);
}

tkc_status tkk_decode_forward(tkk_library *library, tkc_stream *stream, const tkk_decode *p) {
    CHECK(check_library(library));
    Plan plan;
    CHECK(make_plan(&plan, library, p));
    CHECK(check_outputs(p));
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->workspace, workspace(&plan), "tkk_decode"));
    return scratch_end(&scratch, launch(library, stream, &plan, &scratch));
}
