/* sdpa.c: scaled dot product attention: checks a problem, chooses a backend, and calls it. */
#include "kernels/sdpa_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { B, H, L, D }; /* batch, heads, length, head_dim: the order of dimensions */
enum { FLASH, EFFICIENT, MATH, BACKENDS };

static const char *const names[BACKENDS] = {"flash", "memory-efficient", "math"};

/* The math backend is taken for small problems only, by itself. */
static const uint64_t most_for_math = UINT64_C(64) << 20;

const char *tkk_sdpa_backend_name(tkk_sdpa_backend backend) {
    for (int i = 0; i < BACKENDS; i++)
        if (backend == (tkk_sdpa_backend)(1 << i)) return names[i];
    return "none";
}

/* ---- checks: every tensor gets rank 4 ---------------------------------------------------- */

/* A dimension of one element in front of dimension `dim`. */
static void insert(tkk_tensor *tensor, uint32_t dim) {
    for (uint32_t i = tensor->rank++; i > dim; i--) {
        tensor->shape[i] = tensor->shape[i - 1];
        tensor->stride[i] = tensor->stride[i - 1];
    }
    tensor->shape[dim] = 1;
    tensor->stride[dim] = 0;
}

static tkc_status check_rank_of(const char *name, const tkk_tensor *tensor, uint32_t rank) {
    CHECK(check_rank(name, tensor, rank));
    tkk_tensor full = *tensor;
    if (rank == 3) insert(&full, H);
    return check_reach(name, &full, L);
}

/* `to` becomes `from` with the full rank, whose shape must be `shape`. */
static tkc_status take(const char *name, tkk_tensor *to, const tkk_tensor *from, uint32_t rank,
                       const int64_t *shape) {
    CHECK(check_rank_of(name, from, rank));
    *to = *from;
    if (rank == 3) insert(to, H);
    CHECK(check_shape(name, to, 4, shape));
    if (to->dtype == TKC_F64) return TKC_OK;
    return check_float(name, to);
}

static tkc_status take_inputs(SdpaProblem *to, const tkk_sdpa *from) {
    const tkk_tensor *query = &from->query, *key = &from->key, *value = &from->value;
    const uint32_t rank = query->rank == 3 ? 3 : 4;
    CHECK(check_rank("query", query, rank));
    CHECK(check_rank("key", key, rank));
    CHECK(check_rank("value", value, rank));
    const int64_t batch = query->shape[0], dim = query->shape[rank - 1];
    const int64_t heads = rank == 4 ? query->shape[1] : 1, kv_heads = rank == 4 ? key->shape[1] : 1;
    const int64_t kv_length = key->shape[rank - 2];
    if (batch > INT32_MAX || heads > INT32_MAX || batch * heads > INT32_MAX)
        return tkc_fail(TKC_UNSUPPORTED, "query: batch * heads is over 2^31 - 1.");
    CHECK(take("query", &to->query, query, rank,
               (int64_t[]){batch, heads, query->shape[rank - 2], dim}));
    CHECK(take("key", &to->key, key, rank, (int64_t[]){batch, kv_heads, kv_length, dim}));
    CHECK(take("value", &to->value, value, rank,
               (int64_t[]){batch, kv_heads, kv_length, value->shape[rank - 1]}));
    CHECK(check_dtype("key", key, query->dtype));
    CHECK(check_dtype("value", value, query->dtype));
    if (dim == 0) return tkc_fail(TKC_INVALID_ARGUMENT, "query: the head dimension is 0.");
    if (kv_heads == heads) return TKC_OK;
    if (!from->enable_gqa)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "query has %lld heads and key has %lld; they must be equal without "
                        "enable_gqa.",
                        (long long)heads, (long long)kv_heads);
    if (kv_heads < 1 || heads % kv_heads != 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "query has %lld heads and key has %lld; the first must be a multiple of "
                        "the second.",
                        (long long)heads, (long long)kv_heads);
    return TKC_OK;
}

static tkc_status take_mask(SdpaProblem *to, const tkk_sdpa *from) {
    const tkk_tensor *mask = &from->mask;
    to->mask = *mask;
    if (mask->rank == 0) return TKC_OK;
    if (mask->rank > from->query.rank)
        return tkc_fail(TKC_INVALID_ARGUMENT, "mask has %u dimensions, more than query.",
                        mask->rank);
    CHECK(check_rank("mask", mask, mask->rank));
    const bool known = mask->dtype == TKC_I1 || mask->dtype == TKC_F16 || mask->dtype == TKC_BF16 ||
                       mask->dtype == TKC_F32 ||
                       (mask->dtype == TKC_F64 && from->query.dtype == TKC_F64);
    if (!known)
        return tkc_fail(TKC_UNSUPPORTED, "mask has dtype %s; i1, f16, bf16 or f32 is needed.",
                        tkc_dtype_name(mask->dtype));
    while (to->mask.rank < from->query.rank) insert(&to->mask, 0);
    if (to->mask.rank == 3) insert(&to->mask, H);
    const int64_t full[] = {to->query.shape[B], to->query.shape[H], to->query.shape[L],
                            to->key.shape[L]};
    for (uint32_t i = 0; i < 4; i++)
        if (to->mask.shape[i] == 1) {
            to->mask.shape[i] = full[i];
            to->mask.stride[i] = 0;
        }
    CHECK(check_shape("mask", &to->mask, 4, full));
    return check_reach("mask", &to->mask, L);
}

/* tkk_attention says what is wrong with them. */
static void take_starts(SdpaProblem *to, const tkk_sdpa *from) {
    to->query_starts = from->query_starts;
    to->key_starts = from->key_starts;
    to->longest_query = from->longest_query ? from->longest_query : to->query.shape[L];
    to->longest_key = from->longest_key ? from->longest_key : to->key.shape[L];
}

static bool has_sequences(const SdpaProblem *p) {
    return p->query_starts.rank || p->key_starts.rank;
}

/* What both directions read. */
static tkc_status take_problem(SdpaProblem *to, tkk_library *library, tkc_stream *stream,
                               const tkk_sdpa *from) {
    CHECK_OPTIONS(from, "tkk_sdpa");
    if (from->backends & ~(uint32_t)TKK_SDPA_ANY)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_sdpa: backends is %u, with unknown bits.",
                        from->backends);
    CHECK(check_precision("tkk_sdpa", from->precision));
    if (from->is_lower_right && !from->is_causal)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_sdpa: is_lower_right without is_causal.");
    if (!(from->scale >= 0) || !isfinite((float)from->scale))
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "scale is %g; it must be positive and finite, or 0 for 1 / "
                        "sqrt(head_dim).",
                        from->scale);
    if (!(from->dropout_p >= 0 && (float)from->dropout_p < 1))
        return tkc_fail(TKC_INVALID_ARGUMENT, "dropout_p is %g; it must be in [0, 1).",
                        from->dropout_p);
    *to = (SdpaProblem){.library = library,
                        .stream = stream,
                        .precision = from->precision,
                        .causal = from->is_causal,
                        .compile_only = from->compile_only,
                        .dropout = (float)from->dropout_p,
                        .seed = from->dropout_seed};
    CHECK(take_inputs(to, from));
    CHECK(take_mask(to, from));
    take_starts(to, from);
    to->lower_right = from->is_lower_right;
    if (to->lower_right) to->diagonal = to->key.shape[L] - to->query.shape[L];
    const double natural = 1.0 / sqrt((double)to->query.shape[D]);
    to->scale = from->scale > 0 ? from->scale : natural;
    return TKC_OK;
}

static tkc_dtype sum_dtype(const SdpaProblem *p) {
    return p->query.dtype == TKC_F64 ? TKC_F64 : TKC_F32;
}

static tkc_status take_lse(SdpaProblem *to, const tkk_tensor *lse, uint32_t query_rank) {
    const int64_t *q = to->query.shape;
    CHECK(check_rank("lse", lse, query_rank - 1));
    to->lse = *lse;
    if (query_rank == 3) insert(&to->lse, H);
    CHECK(check_shape("lse", &to->lse, 3, q));
    CHECK(check_dtype("lse", &to->lse, sum_dtype(to)));
    return check_dense("lse", &to->lse);
}

static tkc_status take_outputs(SdpaProblem *to, const tkk_sdpa *from, bool backward) {
    const uint32_t rank = from->query.rank;
    const int64_t *q = to->query.shape;
    CHECK(
        take("out", &to->out, &from->out, rank, (int64_t[]){q[B], q[H], q[L], to->value.shape[D]}));
    if (from->lse.rank || backward) CHECK(take_lse(to, &from->lse, rank));
    if (!backward) return TKC_OK;
    CHECK(take("dout", &to->dout, &from->dout, rank, to->out.shape));
    CHECK(check_dtype("dout", &to->dout, to->query.dtype));
    CHECK(take("dquery", &to->dquery, &from->dquery, rank, to->query.shape));
    CHECK(take("dkey", &to->dkey, &from->dkey, rank, to->key.shape));
    CHECK(take("dvalue", &to->dvalue, &from->dvalue, rank, to->value.shape));
    if (from->dmask.rank == 0) return TKC_OK;
    if (from->mask.rank == 0 || from->mask.dtype == TKC_I1)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "dmask: there is no gradient without a mask that is added.");
    CHECK(take("dmask", &to->dmask, &from->dmask, rank, to->mask.shape));
    CHECK(check_dtype("dmask", &to->dmask, sum_dtype(to)));
    return check_dense("dmask", &to->dmask);
}

/* ---- choice ----------------------------------------------------------------------------- */

enum { REASON_MAX = 120 };

typedef struct Choice {
    int backend; /* BACKENDS: none */
    uint64_t need[BACKENDS];
    char why_not[BACKENDS][REASON_MAX]; /* "": it can */
} Choice;

static int64_t chunk_of(const SdpaProblem *p, int backend) {
    return backend == MATH && p->query.shape[L] > SDPA_CHUNK ? p->query.shape[L] : SDPA_CHUNK;
}

static uint64_t row_bytes(const SdpaProblem *p) {
    uint64_t rows = (uint64_t)(p->query.shape[B] * p->query.shape[H] * p->query.shape[L]);
    return scratch_size(rows ? rows * tkc_dtype_size(sum_dtype(p)) : 16);
}

/* The rows of query are the last tokens. */
static tkk_decode decode_problem(const SdpaProblem *p) {
    tkk_decode d = TKK_DECODE_INIT;
    d.precision = p->precision;
    d.scale = (float)p->scale;
    d.compile_only = p->compile_only;
    d.q = p->query;
    d.k = p->key;
    d.v = p->value;
    d.out = p->out;
    d.lse = p->lse;
    return d;
}

static bool is_decode(const SdpaProblem *p, bool backward) {
    const int64_t length = p->query.shape[L];
    const bool few = p->causal ? p->lower_right && length <= 16 : length == 1;
    return few && !backward && p->dropout == 0 && !p->mask.rank && !has_sequences(p) &&
           p->key.shape[H] > 0;
}

/* Of this backend, lse included where the caller gives none. */
static uint64_t need_of(const SdpaProblem *p, const tkk_sdpa *from, int backend, bool backward) {
    const bool own_lse = !backward && from->lse.rank == 0;
    const uint64_t rows = own_lse || (backend == FLASH && backward) ? row_bytes(p) : 0;
    const tkk_decode decode = decode_problem(p);
    if (backend == FLASH && is_decode(p, backward))
        return tkk_decode_workspace(p->library, &decode);
    if (backend == FLASH) return rows;
    const uint64_t scores = math_attention_scratch(p, chunk_of(p, backend), backward);
    return scores == UINT64_MAX ? scores : scores + rows;
}

static void find_reasons(Choice *choice, const SdpaProblem *p, const tkk_sdpa *from) {
    const int64_t dim = p->query.shape[D], value_dim = p->value.shape[D];
    char *flash = choice->why_not[FLASH];
    if (p->query.dtype == TKC_F64)
        snprintf(flash, REASON_MAX, "f64 is not among its dtypes (f16, bf16, f32)");
    else if (dim > 256)
        snprintf(flash, REASON_MAX, "head dimension %lld is over 256", (long long)dim);
    else if (value_dim != dim)
        snprintf(flash, REASON_MAX, "the head dimension of value, %lld, is not that of query, %lld",
                 (long long)value_dim, (long long)dim);
    else if (has_sequences(p) && p->mask.rank)
        snprintf(flash, REASON_MAX, "it takes no mask with query_starts");
    for (int i = EFFICIENT; i < BACKENDS; i++)
        if (has_sequences(p))
            snprintf(choice->why_not[i], REASON_MAX, "it takes no query_starts");
        else if (p->key.shape[L] >= (1 << 23) - 16)
            snprintf(choice->why_not[i], REASON_MAX, "kv_length %lld is not below 2^23 - 16",
                     (long long)p->key.shape[L]);
        else if (choice->need[i] == UINT64_MAX)
            snprintf(choice->why_not[i], REASON_MAX, "its scores need over 2^60 bytes");
    for (int i = 0; i < BACKENDS; i++)
        if (!*choice->why_not[i] && from->workspace.size && from->workspace.size < choice->need[i])
            snprintf(choice->why_not[i], REASON_MAX,
                     "it needs %llu bytes and the workspace has %llu",
                     (unsigned long long)choice->need[i], (unsigned long long)from->workspace.size);
}

static Choice choose(const SdpaProblem *p, const tkk_sdpa *from, bool backward) {
    Choice choice = {.backend = BACKENDS};
    const uint32_t allowed = from->backends ? from->backends : TKK_SDPA_ANY;
    for (int i = 0; i < BACKENDS; i++) choice.need[i] = need_of(p, from, i, backward);
    find_reasons(&choice, p, from);
    bool can[BACKENDS];
    for (int i = 0; i < BACKENDS; i++) can[i] = (allowed & 1u << i) && !*choice.why_not[i];
    if (can[FLASH])
        choice.backend = FLASH;
    else if (can[MATH] && (choice.need[MATH] <= most_for_math || !can[EFFICIENT]))
        choice.backend = MATH;
    else if (can[EFFICIENT])
        choice.backend = EFFICIENT;
    return choice;
}

/* "flash: ...; math: ..." of the backends in the set, with `between`. */
static void list_reasons(const Choice *choice, uint32_t set, const char *between, char *to,
                         size_t size) {
    size_t used = 0;
    *to = 0;
    for (int i = 0; i < BACKENDS && used < size; i++)
        if (set & 1u << i)
            used += (size_t)snprintf(to + used, size - used, "%s%s: %s", used ? between : "",
                                     names[i], choice->why_not[i]);
}

static tkc_status no_backend(const Choice *choice, const tkk_sdpa *from) {
    char reasons[BACKENDS * (REASON_MAX + 24)];
    list_reasons(choice, from->backends ? from->backends : TKK_SDPA_ANY, "; ", reasons,
                 sizeof reasons);
    return tkc_fail(TKC_UNSUPPORTED, "tkk_sdpa: none of the allowed backends can do it. %s.",
                    reasons);
}

tkc_status tkk_sdpa_choose(tkk_library *library, const tkk_sdpa *problem, bool backward,
                           tkk_sdpa_choice *to) {
    CHECK(check_library(library));
    SdpaProblem p;
    CHECK_OPTIONS(to, "tkk_sdpa_choice");
    to->backend = 0;
    CHECK(take_problem(&p, library, NULL, problem));
    Choice choice = choose(&p, problem, backward);
    for (int i = 0; i < BACKENDS; i++)
        if (problem->backends && !(problem->backends & 1u << i))
            snprintf(choice.why_not[i], REASON_MAX, "not allowed");
        else if (!*choice.why_not[i])
            snprintf(choice.why_not[i], REASON_MAX, "%s is preferred", names[choice.backend]);
    const uint32_t chosen = choice.backend < BACKENDS ? 1u << choice.backend : 0;
    list_reasons(&choice, TKK_SDPA_ANY & ~chosen, "\n", to->reasons, sizeof to->reasons);
    if (!chosen) return no_backend(&choice, problem);
    to->backend = (tkk_sdpa_backend)chosen;
    to->workspace = choice.need[choice.backend];
    return TKC_OK;
}

uint64_t tkk_sdpa_workspace(tkk_library *library, const tkk_sdpa *problem, bool backward) {
    if (!library) return 0;
    tkk_sdpa_choice choice = TKK_SDPA_CHOICE_INIT;
    if (!problem) return 0;
    tkk_sdpa unbound = *problem;
    unbound.workspace = (tkk_workspace){0};
    return tkk_sdpa_choose(library, &unbound, backward, &choice) == TKC_OK ? choice.workspace : 0;
}

/* ---- calls ------------------------------------------------------------------------------ */

static tkc_status run_decode(const SdpaProblem *p, Scratch *scratch) {
    tkk_decode d = decode_problem(p);
    const uint64_t need = tkk_decode_workspace(p->library, &d);
    if (need) d.workspace = (tkk_workspace){scratch_take(scratch, need), need};
    return tkk_decode_forward(p->library, p->stream, &d);
}

static tkk_attention flash_problem(const SdpaProblem *p) {
    tkk_attention a = TKK_ATTENTION_INIT;
    if (p->causal) a.mask = p->lower_right ? TKK_CAUSAL : TKK_CAUSAL_TOP_LEFT;
    a.precision = p->precision;
    a.scale = (float)p->scale;
    a.compile_only = p->compile_only;
    a.q = p->query;
    a.k = p->key;
    a.v = p->value;
    a.out = p->out;
    a.lse = p->lse;
    a.bias = p->mask;
    a.dropout = (float)p->dropout;
    a.dropout_seed = p->seed;
    a.q_starts = p->query_starts;
    a.kv_starts = p->key_starts;
    a.longest_q = has_sequences(p) ? p->longest_query : 0;
    a.longest_kv = has_sequences(p) ? p->longest_key : 0;
    return a;
}

static tkk_tensor take_row_values(const SdpaProblem *p, Scratch *scratch) {
    const int64_t *q = p->query.shape;
    return tkk_tensor3(scratch_take(scratch, row_bytes(p)), sum_dtype(p), q[B], q[H], q[L]);
}

static tkc_status run_forward(SdpaProblem *p, int backend, Scratch *scratch) {
    if (backend == FLASH && is_decode(p, false)) return run_decode(p, scratch);
    if (p->lse.rank == 0) p->lse = take_row_values(p, scratch);
    if (backend != FLASH) return math_attention_forward(p, chunk_of(p, backend), scratch);
    const tkk_attention a = flash_problem(p);
    return tkk_attention_forward(p->library, p->stream, &a);
}

static tkc_status run_backward(SdpaProblem *p, int backend, Scratch *scratch) {
    if (backend != FLASH) return math_attention_backward(p, chunk_of(p, backend), scratch);
    tkk_attention a = flash_problem(p);
    a.dout = p->dout;
    a.delta = take_row_values(p, scratch);
    a.dq = p->dquery;
    a.dk = p->dkey;
    a.dv = p->dvalue;
    a.dbias = p->dmask;
    return tkk_attention_backward(p->library, p->stream, &a);
}

static tkc_status run(tkk_library *library, tkc_stream *stream, const tkk_sdpa *problem,
                      bool backward) {
    SdpaProblem p;
    CHECK(take_problem(&p, library, stream, problem));
    CHECK(take_outputs(&p, problem, backward));
    const Choice choice = choose(&p, problem, backward);
    if (choice.backend == BACKENDS) return no_backend(&choice, problem);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &problem->workspace, choice.need[choice.backend],
                        "tkk_sdpa"));
    return scratch_end(&scratch,
                       (backward ? run_backward : run_forward)(&p, choice.backend, &scratch));
}

tkc_status tkk_sdpa_forward(tkk_library *library, tkc_stream *stream, const tkk_sdpa *problem) {
    CHECK(check_library(library));
    return run(library, stream, problem, false);
}

tkc_status tkk_sdpa_backward(tkk_library *library, tkc_stream *stream, const tkk_sdpa *problem) {
    CHECK(check_library(library));
    return run(library, stream, problem, true);
}
