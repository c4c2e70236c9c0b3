/* multihead.c: the multi-head attention layer: projections of the inputs, attention on strided
 * views of what they wrote, projection of the result.
 *
 * The three projections of the inputs are `parts`: neighbouring ones that have the same input are
 * one product with more columns. Self attention has one part of all three; heads are never copied.
 */
#include "kernels/host.h"

/* Projections first ... first + count - 1 (of query, key and value) of one input. */
typedef struct Part {
    const char *name, *gradient_name;
    const tkk_tensor *input, *gradient;
    int64_t first, count, length; /* length: of the sequence */
    bool length_first;            /* how rows are numbered */
    tkk_tensor rows;              /* the input as a matrix */
    tkk_tensor projected, slopes; /* [rows, count * dim]; slopes: backward only */
} Part;

typedef struct Layer {
    const tkk_multihead *p;
    tkk_library *library;
    tkc_stream *stream;
    int64_t batch, length, kv_length, dim;
    tkc_dtype dtype;
    Part parts[3];
    uint32_t part_count;
    bool out_length_first;
    tkk_tensor attended, lse;               /* saved */
    tkk_tensor dattended, dresult;          /* scratch of the backward pass */
    tkk_workspace linear_space, sdpa_space; /* scratch */
} Layer;

/* ---- tensors as matrices ---------------------------------------------------------------- */

/* [batch, length, dim] as a matrix of batch * length rows. `length_first`: sequences interleaved.
 */
static tkc_status as_rows(const char *name, const tkk_tensor *t, bool length_first,
                          tkk_tensor *rows) {
    const uint32_t outer = length_first ? 1 : 0, inner = 1 - outer;
    const bool one = t->shape[outer] <= 1 || t->shape[inner] <= 1;
    if (!one && t->stride[outer] != t->shape[inner] * t->stride[inner])
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "%s: there are gaps between its rows, or they are not numbered as those of "
                        "the tensors beside it.",
                        name);
    const int64_t stride = t->shape[inner] > 1 ? t->stride[inner] : stride_of(t, outer);
    *rows = tkk_matrix(t->data, t->dtype, t->shape[0] * t->shape[1], t->shape[2]);
    rows->stride[0] = stride;
    rows->stride[1] = t->stride[2];
    return TKC_OK;
}

static bool is_length_first(const tkk_tensor *t) {
    return t->shape[0] > 1 && t->shape[1] > 1 && t->stride[1] > t->stride[0];
}

/* Columns [first, first + dim) of a matrix of rows, as [batch, heads, length, head_dim]. */
static tkk_tensor as_heads(const Layer *layer, const tkk_tensor *matrix, int64_t first,
                           int64_t length, bool length_first) {
    const tkk_tensor columns = tkk_narrow(*matrix, 1, first, layer->dim);
    const int64_t head_dim = layer->dim / layer->p->heads, row = matrix->stride[0];
    tkk_tensor t =
        tkk_tensor4(columns.data, columns.dtype, layer->batch, layer->p->heads, length, head_dim);
    t.stride[0] = length_first ? row : length * row;
    t.stride[1] = head_dim;
    t.stride[2] = length_first ? layer->batch * row : row;
    return t;
}

/* ---- checks ----------------------------------------------------------------------------- */

static tkc_status check_input(const Layer *layer, const char *name, const tkk_tensor *t,
                              int64_t length, bool exact_dtype) {
    CHECK(check_shape(name, t, 3, (int64_t[]){layer->batch, length, layer->dim}));
    CHECK(check_float(name, t));
    return exact_dtype ? check_dtype(name, t, layer->dtype) : TKC_OK;
}

static tkc_status check_weight(const Layer *layer, const char *name, const tkk_tensor *t,
                               int64_t rows, bool exact_dtype) {
    CHECK(check_shape(name, t, 2, (int64_t[]){rows, layer->dim}));
    CHECK(check_float(name, t));
    return exact_dtype ? check_dtype(name, t, layer->dtype) : TKC_OK;
}

static tkc_status check_vector(const char *name, const tkk_tensor *t, int64_t length) {
    if (t->rank == 0) return TKC_OK;
    CHECK(check_shape(name, t, 1, &length));
    return check_float(name, t);
}

static tkc_status make_parts(Layer *layer) {
    const tkk_multihead *p = layer->p;
    const bool own_keys = p->key.rank == 0, own_values = p->value.rank == 0;
    if (own_keys && !own_values)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_multihead: value is given without key.");
    if (own_keys) {
        layer->parts[0] = (Part){"query", "dquery", &p->query, &p->dquery, .count = 3};
    } else {
        layer->parts[0] = (Part){"query", "dquery", &p->query, &p->dquery, .count = 1};
        layer->parts[1] =
            (Part){"key", "dkey", &p->key, &p->dkey, .first = 1, .count = own_values ? 2 : 1};
        layer->parts[2] = (Part){"value", "dvalue", &p->value, &p->dvalue, .first = 2, .count = 1};
    }
    layer->part_count = own_keys ? 1 : own_values ? 2 : 3;
    for (uint32_t i = 0; i < layer->part_count; i++) {
        Part *part = &layer->parts[i];
        part->length = i ? layer->kv_length : layer->length;
        CHECK(check_input(layer, part->name, part->input, part->length, true));
        part->length_first = is_length_first(part->input);
        CHECK(as_rows(part->name, part->input, part->length_first, &part->rows));
    }
    return TKC_OK;
}

/* What both directions read. */
static tkc_status begin(Layer *layer, tkk_library *library, tkc_stream *stream,
                        const tkk_multihead *p) {
    CHECK_OPTIONS(p, "tkk_multihead");
    CHECK(check_rank("query", &p->query, 3));
    if (p->key.rank) CHECK(check_rank("key", &p->key, 3));
    const int64_t dim = p->query.shape[2];
    if (p->heads < 1 || dim < 1 || dim % p->heads != 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkk_multihead: dim is %lld and heads is %u; the first must be a multiple "
                        "of the second.",
                        (long long)dim, p->heads);
    const int64_t most = 1 << 30, batch = p->query.shape[0], length = p->query.shape[1];
    const int64_t kv_length = p->key.rank ? p->key.shape[1] : length;
    if (dim > 1 << 20 || batch > most || length > most || kv_length > most ||
        batch * length > most || batch * kv_length > most)
        return tkc_fail(TKC_UNSUPPORTED,
                        "tkk_multihead: dim is over 2^20, or batch * length over 2^30.");
    if (!(p->residual_p >= 0 && (float)p->residual_p < 1))
        return tkc_fail(TKC_INVALID_ARGUMENT, "residual_p is %g; it must be in [0, 1).",
                        p->residual_p);
    *layer = (Layer){.p = p,
                     .library = library,
                     .stream = stream,
                     .batch = batch,
                     .length = length,
                     .kv_length = kv_length,
                     .dim = dim,
                     .dtype = p->query.dtype};
    CHECK(make_parts(layer));
    CHECK(check_weight(layer, "in_weight", &p->in_weight, 3 * dim, true));
    CHECK(check_weight(layer, "out_weight", &p->out_weight, dim, true));
    CHECK(check_vector("in_bias", &p->in_bias, 3 * dim));
    CHECK(check_vector("out_bias", &p->out_bias, dim));
    layer->out_length_first = layer->parts[0].length_first;
    return TKC_OK;
}

static tkc_status check_forward(Layer *layer) {
    const tkk_multihead *p = layer->p;
    CHECK(check_input(layer, "out", &p->out, layer->length, false));
    layer->out_length_first = is_length_first(&p->out);
    return TKC_OK;
}

static tkc_status check_backward(Layer *layer) {
    const tkk_multihead *p = layer->p;
    CHECK(check_input(layer, "dout", &p->dout, layer->length, true));
    layer->out_length_first = is_length_first(&p->dout);
    for (uint32_t i = 0; i < layer->part_count; i++) {
        const Part *part = &layer->parts[i];
        if (part->gradient->rank)
            CHECK(check_input(layer, part->gradient_name, part->gradient, part->length, false));
    }
    if (p->din_weight.rank)
        CHECK(check_weight(layer, "din_weight", &p->din_weight, 3 * layer->dim, false));
    if (p->dout_weight.rank)
        CHECK(check_weight(layer, "dout_weight", &p->dout_weight, layer->dim, false));
    CHECK(check_vector("din_bias", &p->din_bias, 3 * layer->dim));
    CHECK(check_vector("dout_bias", &p->dout_bias, layer->dim));
    if (p->saved.size == 0)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkk_multihead_backward: `saved` of the forward pass is needed.");
    return TKC_OK;
}

/* ---- steps ------------------------------------------------------------------------------ */

static tkk_linear linear_of(const Layer *layer) {
    tkk_linear linear = TKK_LINEAR_INIT;
    linear.precision = layer->p->precision;
    linear.compile_only = layer->p->compile_only;
    linear.workspace = layer->linear_space;
    return linear;
}

static tkk_tensor part_of(const tkk_tensor *t, const Layer *layer, const Part *part) {
    return t->rank ? tkk_narrow(*t, 0, part->first * layer->dim, part->count * layer->dim) : *t;
}

static tkc_status input_linear(const Layer *layer, const Part *part, bool backward,
                               tkk_linear *linear) {
    const tkk_multihead *p = layer->p;
    *linear = linear_of(layer);
    linear->x = part->rows;
    linear->w = part_of(&p->in_weight, layer, part);
    if (!backward) {
        linear->b = part_of(&p->in_bias, layer, part);
        linear->y = part->projected;
        return TKC_OK;
    }
    linear->dy = part->slopes;
    if (part->gradient->rank)
        CHECK(as_rows(part->gradient_name, part->gradient, part->length_first, &linear->dx));
    linear->dw = part_of(&p->din_weight, layer, part);
    linear->db = part_of(&p->din_bias, layer, part);
    return TKC_OK;
}

static tkc_status output_linear(const Layer *layer, bool backward, tkk_linear *linear) {
    const tkk_multihead *p = layer->p;
    *linear = linear_of(layer);
    linear->x = layer->attended;
    linear->w = p->out_weight;
    if (!backward) {
        linear->b = p->out_bias;
        return as_rows("out", &p->out, layer->out_length_first, &linear->y);
    }
    CHECK(as_rows("dout", &p->dout, layer->out_length_first, &linear->dy));
    if (p->residual_p > 0) linear->dy = layer->dresult;
    linear->dx = layer->dattended;
    linear->dw = p->dout_weight;
    linear->db = p->dout_bias;
    return TKC_OK;
}

/* The heads of query (0), key (1) or value (2), or of their gradients. */
static tkk_tensor projected_heads(const Layer *layer, int64_t which, bool slopes) {
    const Part *part = layer->parts;
    while (which >= part->first + part->count) part++;
    return as_heads(layer, slopes ? &part->slopes : &part->projected,
                    (which - part->first) * layer->dim, part->length, part->length_first);
}

static tkk_sdpa sdpa_of(const Layer *layer, bool backward) {
    const tkk_multihead *p = layer->p;
    tkk_sdpa sdpa = TKK_SDPA_INIT;
    sdpa.backends = p->backends;
    sdpa.precision = p->precision;
    sdpa.is_causal = p->is_causal;
    sdpa.is_lower_right = p->is_lower_right;
    sdpa.compile_only = p->compile_only;
    sdpa.dropout_p = p->dropout_p;
    sdpa.dropout_seed = p->dropout_seed;
    sdpa.query = projected_heads(layer, 0, false);
    sdpa.key = projected_heads(layer, 1, false);
    sdpa.value = projected_heads(layer, 2, false);
    sdpa.mask = p->mask;
    sdpa.out = as_heads(layer, &layer->attended, 0, layer->length, layer->out_length_first);
    sdpa.lse = layer->lse;
    sdpa.workspace = layer->sdpa_space;
    sdpa.query_starts = p->query_starts;
    sdpa.key_starts = p->key.rank ? p->key_starts : p->query_starts;
    sdpa.longest_query = p->longest_query;
    sdpa.longest_key = p->key.rank ? p->longest_key : p->longest_query;
    if (!backward) return sdpa;
    sdpa.dout = as_heads(layer, &layer->dattended, 0, layer->length, layer->out_length_first);
    sdpa.dquery = projected_heads(layer, 0, true);
    sdpa.dkey = projected_heads(layer, 1, true);
    sdpa.dvalue = projected_heads(layer, 2, true);
    sdpa.dmask = p->dmask;
    return sdpa;
}

/* to = dropout(from), both [batch, length, dim]: forward, and backward of a gradient. The offset is
 * where no weight's random number is. */
static tkc_status drop(const Layer *layer, const tkk_tensor *from, const tkk_tensor *to) {
    tkk_activate dropout = TKK_ACTIVATE_INIT;
    dropout.compile_only = layer->p->compile_only;
    dropout.dropout = (float)layer->p->residual_p;
    dropout.seed = layer->p->dropout_seed;
    dropout.offset = UINT64_C(1) << 63;
    dropout.x = *from;
    dropout.y = *to;
    return tkk_activate_forward(layer->library, layer->stream, &dropout);
}

static tkc_status forward(const Layer *layer) {
    tkk_linear linear;
    for (uint32_t i = 0; i < layer->part_count; i++) {
        CHECK(input_linear(layer, &layer->parts[i], false, &linear));
        CHECK(tkk_linear_forward(layer->library, layer->stream, &linear));
    }
    const tkk_sdpa sdpa = sdpa_of(layer, false);
    CHECK(tkk_sdpa_forward(layer->library, layer->stream, &sdpa));
    CHECK(output_linear(layer, false, &linear));
    CHECK(tkk_linear_forward(layer->library, layer->stream, &linear));
    return layer->p->residual_p > 0 ? drop(layer, &layer->p->out, &layer->p->out) : TKC_OK;
}

/* dresult, a matrix, as [batch, length, dim]. */
static tkk_tensor dresult3(const Layer *layer) {
    const int64_t dim = layer->dim;
    tkk_tensor t = tkk_tensor3(layer->dresult.data, layer->dtype, layer->batch, layer->length, dim);
    t.stride[0] = (layer->out_length_first ? 1 : layer->length) * dim;
    t.stride[1] = (layer->out_length_first ? layer->batch : 1) * dim;
    return t;
}

static tkc_status backward(const Layer *layer) {
    tkk_linear linear;
    if (layer->p->residual_p > 0) {
        const tkk_tensor dresult = dresult3(layer);
        CHECK(drop(layer, &layer->p->dout, &dresult));
    }
    CHECK(output_linear(layer, true, &linear));
    CHECK(tkk_linear_backward(layer->library, layer->stream, &linear));
    const tkk_sdpa sdpa = sdpa_of(layer, true);
    CHECK(tkk_sdpa_backward(layer->library, layer->stream, &sdpa));
    for (uint32_t i = 0; i < layer->part_count; i++) {
        CHECK(input_linear(layer, &layer->parts[i], true, &linear));
        CHECK(tkk_linear_backward(layer->library, layer->stream, &linear));
    }
    return TKC_OK;
}

/* ---- memory ----------------------------------------------------------------------------- */

/* Memory handed out, or only counted when there is none. */
typedef struct Space {
    Scratch *scratch;
    uint64_t used;
} Space;

static tkc_argument take(Space *space, uint64_t size) {
    space->used += scratch_size(size ? size : 16);
    return space->scratch ? scratch_take(space->scratch, size ? size : 16) : tkc_arg_address(0);
}

static tkk_tensor take_matrix(Space *space, tkc_dtype dtype, int64_t rows, int64_t columns) {
    const uint64_t bytes = (uint64_t)(rows * columns) * tkc_dtype_size(dtype);
    return tkk_matrix(take(space, bytes), dtype, rows, columns);
}

static void place_saved(Layer *layer, Space *space) {
    for (uint32_t i = 0; i < layer->part_count; i++) {
        Part *part = &layer->parts[i];
        part->projected =
            take_matrix(space, layer->dtype, layer->batch * part->length, part->count * layer->dim);
    }
    const int64_t rows = layer->batch * layer->length, heads = layer->p->heads;
    layer->attended = take_matrix(space, layer->dtype, rows, layer->dim);
    layer->lse = tkk_tensor3(take(space, (uint64_t)(rows * heads) * 4), TKC_F32, layer->batch,
                             heads, layer->length);
}

static tkk_workspace take_space(Space *space, uint64_t size) {
    if (size == 0) return (tkk_workspace){0};
    return (tkk_workspace){take(space, size), size};
}

static uint64_t larger(uint64_t x, uint64_t y) {
    return x > y ? x : y;
}

/* What the linear layers need: they run one after the other. */
static tkc_status linear_bytes(const Layer *layer, bool is_backward, uint64_t *bytes) {
    tkk_linear linear;
    CHECK(output_linear(layer, is_backward, &linear));
    *bytes = tkk_linear_workspace(layer->library, &linear);
    for (uint32_t i = 0; i < layer->part_count; i++) {
        CHECK(input_linear(layer, &layer->parts[i], is_backward, &linear));
        *bytes = larger(*bytes, tkk_linear_workspace(layer->library, &linear));
    }
    return TKC_OK;
}

static tkc_status place_scratch(Layer *layer, Space *space, bool is_backward) {
    const int64_t rows = layer->batch * layer->length;
    if (is_backward) {
        for (uint32_t i = 0; i < layer->part_count; i++) {
            Part *part = &layer->parts[i];
            part->slopes = take_matrix(space, layer->dtype, layer->batch * part->length,
                                       part->count * layer->dim);
        }
        layer->dattended = take_matrix(space, layer->dtype, rows, layer->dim);
        if (layer->p->residual_p > 0)
            layer->dresult = take_matrix(space, layer->dtype, rows, layer->dim);
    }
    uint64_t bytes;
    layer->linear_space = layer->sdpa_space = (tkk_workspace){0};
    CHECK(linear_bytes(layer, is_backward, &bytes));
    layer->linear_space = take_space(space, bytes);
    const tkk_sdpa sdpa = sdpa_of(layer, is_backward);
    tkk_sdpa_choice choice = TKK_SDPA_CHOICE_INIT;
    CHECK(tkk_sdpa_choose(layer->library, &sdpa, is_backward, &choice));
    layer->sdpa_space = take_space(space, choice.workspace);
    return TKC_OK;
}

/* The forward pass keeps in its workspace what nobody wants saved. */
static tkc_status count_scratch(Layer *layer, bool is_backward, uint64_t *bytes) {
    Space space = {0}, saved = {0};
    place_saved(layer, layer->p->saved.size ? &saved : &space);
    CHECK(place_scratch(layer, &space, is_backward));
    *bytes = space.used;
    return TKC_OK;
}

uint64_t tkk_multihead_saved(const tkk_multihead *problem) {
    Layer layer;
    Space space = {0};
    if (begin(&layer, NULL, NULL, problem) != TKC_OK) return 0;
    place_saved(&layer, &space);
    return space.used;
}

uint64_t tkk_multihead_workspace(tkk_library *library, const tkk_multihead *problem,
                                 bool is_backward) {
    if (!library) return 0;
    Layer layer;
    uint64_t bytes = 0;
    if (begin(&layer, library, NULL, problem) != TKC_OK) return 0;
    if ((is_backward ? check_backward : check_forward)(&layer) != TKC_OK) return 0;
    return count_scratch(&layer, is_backward, &bytes) == TKC_OK ? bytes : 0;
}

/* ---- calls ------------------------------------------------------------------------------ */

static tkc_status run_with(Layer *layer, Scratch *saved, Scratch *scratch, bool is_backward) {
    Space of_saved = {.scratch = saved}, space = {.scratch = scratch};
    place_saved(layer, layer->p->saved.size ? &of_saved : &space);
    CHECK(place_scratch(layer, &space, is_backward));
    return is_backward ? backward(layer) : forward(layer);
}

static tkc_status run(Layer *layer, bool is_backward) {
    const tkk_multihead *p = layer->p;
    Scratch saved = {0}, scratch;
    uint64_t bytes;
    if (p->saved.size)
        CHECK(scratch_begin(&saved, layer->library, &p->saved, tkk_multihead_saved(p),
                            "tkk_multihead: saved"));
    CHECK(count_scratch(layer, is_backward, &bytes));
    CHECK(scratch_begin(&scratch, layer->library, &p->workspace, bytes, "tkk_multihead"));
    return scratch_end(&scratch, run_with(layer, &saved, &scratch, is_backward));
}

tkc_status tkk_multihead_forward(tkk_library *library, tkc_stream *stream, const tkk_multihead *p) {
    CHECK(check_library(library));
    Layer layer;
    CHECK(begin(&layer, library, stream, p));
    CHECK(check_forward(&layer));
    return run(&layer, false);
}

tkc_status tkk_multihead_backward(tkk_library *library, tkc_stream *stream,
                                  const tkk_multihead *p) {
    CHECK(check_library(library));
    Layer layer;
    CHECK(begin(&layer, library, stream, p));
    CHECK(check_backward(&layer));
    return run(&layer, true);
}
