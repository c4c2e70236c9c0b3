/* norm.c: host of norm.tk. Rows that are not too long are held on chip; longer ones are done in
 * pieces, and the gradients of weight and bias by launches of their own. */
#include "kernels/rows.h"

#include <math.h>

KERNEL_FILE(norm);

/* On cores forward needs room for two rows, backward for five. */
enum { LONGEST = 8192, LONGEST_FORWARD_ON_CORES = 65536, LONGEST_BACKWARD_ON_CORES = 16384 };

/* ---- checks ----------------------------------------------------------------------------- */

static tkc_status check_like(const char *name, const tkk_tensor *tensor, const tkk_norm *p) {
    CHECK(check_rows_like(name, tensor, &p->x));
    return check_float(name, tensor);
}

static tkc_status check_vector(const char *name, const tkk_tensor *tensor, int64_t length) {
    if (!is_given(tensor)) return TKC_OK;
    CHECK(check_shape(name, tensor, 1, &length));
    CHECK(check_float(name, tensor));
    return check_dense(name, tensor);
}

static tkc_status check_state(const char *name, const tkk_tensor *tensor, const tkk_norm *p,
                              uint32_t dim) {
    CHECK(check_rows_reduced(name, tensor, &p->x, dim));
    return check_dtype(name, tensor, TKC_F32);
}

static tkc_status check(const tkk_norm *p, uint32_t *dim) {
    CHECK_OPTIONS(p, "tkk_norm");
    CHECK(check_rows("x", &p->x));
    CHECK(check_float("x", &p->x));
    CHECK(check_axis(p->axis, &p->x, dim));
    return check_vector("weight", &p->weight, p->x.shape[*dim]);
}

static tkc_status check_forward(const tkk_norm *p, uint32_t *dim) {
    CHECK(check(p, dim));
    if (!(p->epsilon >= 0) || isinf(p->epsilon))
        return tkc_fail(TKC_INVALID_ARGUMENT, "epsilon is %g; it must be finite and not negative.",
                        (double)p->epsilon);
    CHECK(check_vector("bias", &p->bias, p->x.shape[*dim]));
    CHECK(check_like("y", &p->y, p));
    if (is_given(&p->residual)) CHECK(check_like("residual", &p->residual, p));
    if (is_given(&p->sum)) CHECK(check_like("sum", &p->sum, p));
    if (is_given(&p->mean)) CHECK(check_state("mean", &p->mean, p, *dim));
    if (is_given(&p->rstd)) CHECK(check_state("rstd", &p->rstd, p, *dim));
    return TKC_OK;
}

static tkc_status check_backward(const tkk_norm *p, uint32_t *dim) {
    CHECK(check(p, dim));
    CHECK(check_like("dy", &p->dy, p));
    CHECK(check_like("dx", &p->dx, p));
    if (is_given(&p->dsum)) CHECK(check_like("dsum", &p->dsum, p));
    if (!p->rms) CHECK(check_state("mean", &p->mean, p, *dim));
    CHECK(check_state("rstd", &p->rstd, p, *dim));
    CHECK(check_vector("dweight", &p->dweight, p->x.shape[*dim]));
    return check_vector("dbias", &p->dbias, p->x.shape[*dim]);
}

/* ---- the rows of all tensors ---------------------------------------------------------------- */

/* mean and rstd with the axis put back; NULL: not there. */
typedef struct State {
    tkk_tensor mean_view, rstd_view;
    const tkk_tensor *mean, *rstd;
} State;

static void add_state(State *state, Rows *rows, const tkk_norm *p, uint32_t dim) {
    *state = (State){.mean = NULL};
    if (is_given(&p->mean) && !p->rms) {
        state->mean_view = rows_reduced(&p->mean, &p->x, dim);
        state->mean = &state->mean_view;
        rows_add(rows, state->mean);
    }
    if (is_given(&p->rstd)) {
        state->rstd_view = rows_reduced(&p->rstd, &p->x, dim);
        state->rstd = &state->rstd_view;
        rows_add(rows, state->rstd);
    }
}

static void add_optional(Rows *rows, const tkk_tensor *tensor) {
    if (is_given(tensor)) rows_add(rows, tensor);
}

static void begin(Call *call, tkk_library *library, const tkk_norm *p, const char *kernel,
                  const RowBlock *block) {
    call_begin(call, library, &file, kernel);
    call->num_warps = block->warps;
    call->compile_only = p->compile_only;
    call_constant(call, "RMS", p->rms ? "True" : "False");
}

static void state_strides(Call *call, const Rows *rows, const State *state) {
    rows_reduced_strides(rows, call, "mean", state->mean);
    rows_reduced_strides(rows, call, "rstd", state->rstd);
}

/* ---- forward ---------------------------------------------------------------------------- */

tkc_status tkk_norm_forward(tkk_library *library, tkc_stream *stream, const tkk_norm *p) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check_forward(p, &dim));
    Rows rows;
    State state;
    rows_begin(&rows, dim, &p->x);
    rows_add(&rows, &p->y);
    add_optional(&rows, &p->residual);
    add_optional(&rows, &p->sum);
    add_state(&state, &rows, p, dim);
    rows_end(&rows);
    if (rows_empty(&rows)) return TKC_OK;

    bool host = runs_on_host(library);
    RowBlock block = rows_block(&rows, library, host ? LONGEST_FORWARD_ON_CORES : LONGEST);
    Call call;
    begin(&call, library, p, block.whole ? "norm_forward" : "norm_forward_long", &block);
    call_tensor(&call, "x", &p->x);
    call_optional(&call, "residual", given(&p->residual));
    call_optional(&call, "total", given(&p->sum));
    call_tensor(&call, "y", &p->y);
    call_optional(&call, "weight", given(&p->weight));
    call_optional(&call, "bias", given(&p->bias));
    call_optional(&call, "mean", state.mean);
    call_optional(&call, "rstd", state.rstd);
    rows_strides(&rows, &call, "x", &p->x);
    rows_strides(&rows, &call, "r", given(&p->residual));
    rows_strides(&rows, &call, "t", given(&p->sum));
    rows_strides(&rows, &call, "y", &p->y);
    state_strides(&call, &rows, &state);
    rows_sizes(&rows, &call, &block);
    call_float(&call, (double)p->epsilon);
    return call_launch(&call, stream, rows_grid(&rows, &block));
}

/* ---- backward --------------------------------------------------------------------------- */

/* Who sums the gradients of weight and bias: `programs`, `share` blocks of rows each. */
typedef struct Plan {
    Rows rows;
    State state;
    RowBlock block, sums; /* of dx; of the sums, where those have a launch of their own */
    int64_t blocks, programs, share;
    bool wanted;
} Plan;

static bool is_wanted(const tkk_tensor *gradient) {
    return is_given(gradient) && gradient->shape[0] > 0;
}

static void share_out(Plan *plan, const tkk_library *library, const RowBlock *block) {
    int64_t most = 4 * (int64_t)processors(library);
    plan->blocks = rows_grid(&plan->rows, block).x;
    plan->share = tkc_cdiv(plan->blocks, most < plan->blocks ? most : plan->blocks);
    plan->programs = tkc_cdiv(plan->blocks, plan->share);
}

static void make_plan(Plan *plan, const tkk_library *library, const tkk_norm *p, uint32_t dim) {
    Rows *rows = &plan->rows;
    rows_begin(rows, dim, &p->x);
    rows_add(rows, &p->dy);
    rows_add(rows, &p->dx);
    add_optional(rows, &p->dsum);
    add_state(&plan->state, rows, p, dim);
    rows_end(rows);
    plan->wanted = is_wanted(&p->dweight) || is_wanted(&p->dbias);
    plan->programs = 0;
    if (rows_empty(rows)) return;
    bool host = runs_on_host(library);
    plan->block = rows_block(rows, library, host ? LONGEST_BACKWARD_ON_CORES : LONGEST);
    plan->sums = (RowBlock){.rows = 16, .length = 128, .warps = 4};
    share_out(plan, library, plan->block.whole ? &plan->block : &plan->sums);
}

static uint64_t sums_bytes(const Plan *plan, const tkk_tensor *gradient) {
    if (!is_wanted(gradient)) return 0;
    return scratch_size(4 * (uint64_t)((plan->programs + 1) * gradient->shape[0]));
}

static uint64_t scratch_bytes(const Plan *plan, const tkk_norm *p) {
    return sums_bytes(plan, &p->dweight) + sums_bytes(plan, &p->dbias);
}

uint64_t tkk_norm_workspace(tkk_library *library, const tkk_norm *p) {
    if (!library) return 0;
    uint32_t dim = 0;
    if (check_backward(p, &dim) != TKC_OK) return 0;
    Plan plan;
    make_plan(&plan, library, p, dim);
    return scratch_bytes(&plan, p);
}

static void add_inputs(Call *call, const tkk_norm *p, const State *state, bool weight) {
    call_tensor(call, "x", &p->x);
    call_tensor(call, "dy", &p->dy);
    if (weight) call_optional(call, "weight", given(&p->weight));
    call_optional(call, "mean", state->mean);
    call_optional(call, "rstd", state->rstd);
}

static tkc_status launch_dx(tkk_library *library, tkc_stream *stream, const tkk_norm *p,
                            const Plan *plan, const tkk_tensor *dweight, const tkk_tensor *dbias) {
    const Rows *rows = &plan->rows;
    bool whole = plan->block.whole;
    Call call;
    begin(&call, library, p, whole ? "norm_backward" : "norm_backward_long", &plan->block);
    add_inputs(&call, p, &plan->state, true);
    call_optional(&call, "dsum", given(&p->dsum));
    call_tensor(&call, "dx", &p->dx);
    if (whole) {
        call_optional(&call, "dweight", dweight);
        call_optional(&call, "dbias", dbias);
    }
    rows_strides(rows, &call, "x", &p->x);
    rows_strides(rows, &call, "dy", &p->dy);
    rows_strides(rows, &call, "ds", given(&p->dsum));
    rows_strides(rows, &call, "dx", &p->dx);
    state_strides(&call, rows, &plan->state);
    rows_sizes(rows, &call, &plan->block);
    if (!whole) return call_launch(&call, stream, rows_grid(rows, &plan->block));
    call_int(&call, plan->blocks);
    call_int(&call, plan->share);
    return call_launch(&call, stream, tkc_grid1(plan->programs));
}

static tkc_status launch_sums(tkk_library *library, tkc_stream *stream, const tkk_norm *p,
                              const Plan *plan, const tkk_tensor *dweight,
                              const tkk_tensor *dbias) {
    const Rows *rows = &plan->rows;
    Call call;
    begin(&call, library, p, "norm_parameters", &plan->sums);
    add_inputs(&call, p, &plan->state, false);
    call_optional(&call, "dweight", dweight);
    call_optional(&call, "dbias", dbias);
    rows_strides(rows, &call, "x", &p->x);
    rows_strides(rows, &call, "dy", &p->dy);
    state_strides(&call, rows, &plan->state);
    rows_sizes(rows, &call, &plan->sums);
    call_int(&call, plan->blocks);
    call_int(&call, plan->share);
    return call_launch(&call, stream,
                       tkc_grid2(plan->programs, tkc_cdiv(rows->length, plan->sums.length)));
}

/* gradient = the sums of all programs, added up; zeros when there were none. */
static tkc_status add_up(tkk_library *library, tkc_stream *stream, const tkk_norm *p,
                         const tkk_tensor *sums, const tkk_tensor *gradient) {
    if (!sums) return TKC_OK;
    tkk_reduce_options options = TKK_REDUCE_OPTIONS_INIT;
    options.axis = 0;
    options.compile_only = p->compile_only;
    return tkk_reduce(library, stream, sums, gradient, &options);
}

static tkc_status run(tkk_library *library, tkc_stream *stream, const tkk_norm *p, const Plan *plan,
                      Scratch *scratch) {
    tkk_tensor sums[2] = {{.rank = 0}, {.rank = 0}};
    const tkk_tensor *gradients[2] = {&p->dweight, &p->dbias}, *to[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        if (!is_wanted(gradients[i])) continue;
        int64_t n = gradients[i]->shape[0];
        sums[i] = tkk_matrix(scratch_take(scratch, 4 * (uint64_t)(plan->programs * n)), TKC_F32,
                             plan->programs, n);
        to[i] = &sums[i];
    }
    if (!rows_empty(&plan->rows)) {
        CHECK(launch_dx(library, stream, p, plan, to[0], to[1]));
        if (plan->wanted && !plan->block.whole)
            CHECK(launch_sums(library, stream, p, plan, to[0], to[1]));
    }
    CHECK(add_up(library, stream, p, to[0], gradients[0]));
    return add_up(library, stream, p, to[1], gradients[1]);
}

tkc_status tkk_norm_backward(tkk_library *library, tkc_stream *stream, const tkk_norm *p) {
    CHECK(check_library(library));
    uint32_t dim = 0;
    CHECK(check_backward(p, &dim));
    Plan plan;
    make_plan(&plan, library, p, dim);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->workspace, scratch_bytes(&plan, p),
                        "tkk_norm_backward"));
    return scratch_end(&scratch, run(library, stream, p, &plan, &scratch));
}
