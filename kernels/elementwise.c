/* elementwise.c: host of elementwise.tk. The dimensions of all tensors are put in the order in
 * which the result lies in memory, and merged where the strides of all allow it. */
#include "kernels/rows.h"

#include <math.h>

KERNEL_FILE(elementwise);

enum { MOST_TENSORS = 8 };

/* ---- tensors as [outer, middle, lanes, n] --------------------------------------------------- */

typedef struct Tiles {
    tkk_tensor tensors[MOST_TENSORS]; /* rank 4 after tiles_end; rank 0: not there */
    uint32_t count;
    int64_t rows, columns; /* of a block */
} Tiles;

/* Tensors are numbered in the order they are added; the first one is written. */
static void tiles_add(Tiles *tiles, const tkk_tensor *tensor) {
    tiles->tensors[tiles->count++] = *tensor;
}

/* The tensor in the shape of `like`: missing dimensions in front and extents of 1 are repeated. */
static tkk_tensor repeated(const tkk_tensor *tensor, const tkk_tensor *like) {
    if (tensor->data.kind == TKC_ARGUMENT_MISSING) return (tkk_tensor){.rank = 0};
    tkk_tensor full = *tensor;
    full.rank = like->rank;
    uint32_t missing = like->rank - tensor->rank;
    for (uint32_t i = 0; i < like->rank; i++) {
        full.shape[i] = like->shape[i];
        bool there = i >= missing && tensor->shape[i - missing] != 1;
        full.stride[i] = there ? tensor->stride[i - missing] : 0;
    }
    return full;
}

/* The number of each element, as if it were where the element lies. */
static tkk_tensor numbers_of(const tkk_tensor *like) {
    tkk_tensor numbers = *like;
    int64_t stride = 1;
    for (uint32_t i = like->rank; i-- > 0; stride *= like->shape[i]) numbers.stride[i] = stride;
    return numbers;
}

static void exchange(Tiles *tiles, uint32_t i, uint32_t j) {
    for (uint32_t t = 0; t < tiles->count; t++)
        if (tiles->tensors[t].rank) tiles->tensors[t] = tkk_exchange(tiles->tensors[t], i, j);
}

static bool merges(const Tiles *tiles, uint32_t i) {
    for (uint32_t t = 0; t < tiles->count; t++) {
        const tkk_tensor *tensor = &tiles->tensors[t];
        if (tensor->rank &&
            !goes_on(tensor->stride[i], tensor->stride[i + 1], tensor->shape[i + 1]))
            return false;
    }
    return true;
}

static void drop(Tiles *tiles, uint32_t dim, bool merged) {
    for (uint32_t t = 0; t < tiles->count; t++) {
        tkk_tensor *tensor = &tiles->tensors[t];
        if (!tensor->rank) continue;
        if (merged) tensor->shape[dim + 1] *= tensor->shape[dim];
        *tensor = rows_dropped(*tensor, dim);
    }
}

static void fill_up(Tiles *tiles) {
    for (uint32_t t = 0; t < tiles->count; t++) {
        tkk_tensor *tensor = &tiles->tensors[t];
        while (tensor->rank && tensor->rank < 4) {
            for (uint32_t i = tensor->rank++; i > 0; i--) {
                tensor->shape[i] = tensor->shape[i - 1];
                tensor->stride[i] = tensor->stride[i - 1];
            }
            tensor->shape[0] = 1;
            tensor->stride[0] = 0;
        }
    }
}

static void tiles_end(Tiles *tiles, const tkk_library *library) {
    const tkk_tensor *first = &tiles->tensors[0];
    for (uint32_t i = first->rank; i-- > 0 && first->rank > 1;)
        if (first->shape[i] == 1) drop(tiles, i, false);
    for (uint32_t i = 1; i < first->rank; i++)
        for (uint32_t j = i; j > 0 && first->stride[j - 1] < first->stride[j]; j--)
            exchange(tiles, j - 1, j);
    for (uint32_t i = first->rank; i-- > 1;)
        if (merges(tiles, i - 1)) drop(tiles, i - 1, true);
    fill_up(tiles);
    int64_t most = runs_on_host(library) ? 4096 : 1024;
    int64_t columns = next_power_of_two(first->shape[3]), rows = next_power_of_two(first->shape[2]);
    if (columns < 4) columns = 4; /* a counter makes four numbers */
    tiles->columns = columns < most ? columns : most;
    tiles->rows = rows < most / tiles->columns ? rows : most / tiles->columns;
}

static bool tiles_empty(const Tiles *tiles) {
    for (uint32_t i = 0; i < 4; i++)
        if (tiles->tensors[0].shape[i] == 0) return true;
    return false;
}

static void tiles_strides_(Call *call, const char *const names[4], const tkk_tensor *tensor) {
    for (uint32_t i = 0; i < 4; i++) { /* along n, lanes, middle, outer */
        uint32_t dim = 3 - i;
        int64_t stride = is_given(tensor) ? stride_of(tensor, dim) : 0;
        if (tensor->rank && i == 0 && tensor->shape[dim] == 1) stride = 1;
        if (!tensor->rank || (stride == 0 && i < 2))
            call_constant(call, names[i], "0"); /* the same element for a row, or all of them */
        else
            call_stride(call, names[i], "i64", stride);
    }
}

#define tiles_strides(call, name, tensor)                                                          \
    tiles_strides_((call), (const char *const[4]){name "_n", name "_l", name "_m", name "_o"},     \
                   (tensor))

static void tiles_sizes(const Tiles *tiles, Call *call) {
    const int64_t *shape = tiles->tensors[0].shape;
    call_stride(call, "n", "i32", shape[3]);
    call_stride(call, "lanes", "i32", shape[2]);
    call_stride(call, "middle", "i32", shape[1]);
    call_constant(call, "OUTER", shape[0] * shape[1] > 1 ? "True" : "False");
    bool even = shape[3] % tiles->columns == 0 && shape[2] % tiles->rows == 0;
    call_constant(call, "EVEN", even ? "True" : "False");
    call_constant_int(call, "ROWS", tiles->rows);
    call_constant_int(call, "BLOCK", tiles->columns);
}

static tkc_grid tiles_grid(const Tiles *tiles) {
    const int64_t *shape = tiles->tensors[0].shape;
    return tkc_grid1(tkc_cdiv(shape[3], tiles->columns) * tkc_cdiv(shape[2], tiles->rows) *
                     shape[1] * shape[0]);
}

/* ---- activations ---------------------------------------------------------------------------- */

static const char *const activations[] = {
    [TKK_NO_ACTIVATION] = "'none'", [TKK_RELU] = "'relu'", [TKK_LEAKY_RELU] = "'leaky_relu'",
    [TKK_GELU] = "'gelu'",          [TKK_SILU] = "'silu'", [TKK_GELU_TANH] = "'gelu_tanh'",
};

static tkc_status check_like(const char *name, const tkk_tensor *tensor, const tkk_tensor *like) {
    CHECK(check_rows_like(name, tensor, like));
    return check_float(name, tensor);
}

static tkc_status check_optional(const char *name, const tkk_tensor *tensor,
                                 const tkk_tensor *like) {
    return tensor->rank ? check_like(name, tensor, like) : TKC_OK;
}

static tkc_status check_activate(const tkk_activate *p) {
    CHECK_OPTIONS(p, "tkk_activate");
    CHECK(check_activation("tkk_activate", p->activation));
    if (!(p->dropout >= 0 && p->dropout <= 1))
        return tkc_fail(TKC_INVALID_ARGUMENT, "dropout is %g; it must be in [0, 1].",
                        (double)p->dropout);
    CHECK(check_rows("x", &p->x));
    CHECK(check_float("x", &p->x));
    CHECK(check_optional("gate", &p->gate, &p->x));
    if (!p->bias.rank) return TKC_OK;
    CHECK(check_shape("bias", &p->bias, 1, &p->x.shape[p->x.rank - 1]));
    return check_float("bias", &p->bias);
}

static void add_dropout(Call *call, const tkk_activate *p) {
    double p32 = (double)p->dropout * 0x1p32;
    call_int(call, (int64_t)p->seed);
    call_int(call, (int64_t)p->offset);
    call_int(call, p32 >= 0xffffffff ? 0xffffffff : (int64_t)llrint(p32));
    call_float(call, p->dropout < 1 ? 1 / (1 - (double)p->dropout) : 0);
}

/* Whether the elements of four neighbours in a row have one counter. */
static bool is_grouped(const tkk_tensor *numbers) {
    bool grouped = numbers->shape[3] == 1 || numbers->stride[3] == 1;
    for (uint32_t i = 0; i < 3; i++)
        if (numbers->shape[i] > 1 && numbers->stride[i] % 4 != 0) grouped = false;
    return grouped;
}

static void begin(Call *call, tkk_library *library, const tkk_activate *p, const char *kernel,
                  const tkk_tensor *numbers) {
    call_begin(call, library, &file, kernel);
    call->compile_only = p->compile_only;
    call_constant(call, "ACTIVATION", activations[p->activation]);
    call_constant(call, "DROPOUT", numbers->rank ? "True" : "False");
    call_constant(call, "GROUPED", numbers->rank && is_grouped(numbers) ? "True" : "False");
}

static void add_numbers(Tiles *tiles, const tkk_activate *p) {
    tkk_tensor numbers = numbers_of(&p->x);
    if (!(p->dropout > 0)) numbers.rank = 0;
    tiles_add(tiles, &numbers);
}

tkc_status tkk_activate_forward(tkk_library *library, tkc_stream *stream, const tkk_activate *p) {
    CHECK(check_library(library));
    enum { Y, X, BIAS, GATE, RESIDUAL, NUMBERS };
    CHECK(check_activate(p));
    CHECK(check_like("y", &p->y, &p->x));
    CHECK(check_optional("residual", &p->residual, &p->x));
    Tiles tiles = {.count = 0};
    tkk_tensor bias = repeated(&p->bias, &p->x);
    tiles_add(&tiles, &p->y);
    tiles_add(&tiles, &p->x);
    tiles_add(&tiles, &bias);
    tiles_add(&tiles, &p->gate);
    tiles_add(&tiles, &p->residual);
    add_numbers(&tiles, p);
    tiles_end(&tiles, library);
    if (tiles_empty(&tiles)) return TKC_OK;

    const tkk_tensor *t = tiles.tensors;
    Call call;
    begin(&call, library, p, "activate_forward", &t[NUMBERS]);
    call_tensor(&call, "x", &t[X]);
    call_optional(&call, "bias", given(&t[BIAS]));
    call_optional(&call, "gate", given(&t[GATE]));
    call_optional(&call, "residual", given(&t[RESIDUAL]));
    call_tensor(&call, "y", &t[Y]);
    tiles_strides(&call, "x", &t[X]);
    tiles_strides(&call, "b", &t[BIAS]);
    tiles_strides(&call, "g", &t[GATE]);
    tiles_strides(&call, "r", &t[RESIDUAL]);
    tiles_strides(&call, "y", &t[Y]);
    tiles_strides(&call, "i", &t[NUMBERS]);
    tiles_sizes(&tiles, &call);
    add_dropout(&call, p);
    return call_launch(&call, stream, tiles_grid(&tiles));
}

static tkc_status launch_backward(tkk_library *library, tkc_stream *stream, const tkk_activate *p) {
    enum { DY, X, BIAS, GATE, DX, DGATE, NUMBERS };
    Tiles tiles = {.count = 0};
    tkk_tensor bias = repeated(&p->bias, &p->x);
    tiles_add(&tiles, &p->dy);
    tiles_add(&tiles, &p->x);
    tiles_add(&tiles, &bias);
    tiles_add(&tiles, &p->gate);
    tiles_add(&tiles, &p->dx);
    tiles_add(&tiles, &p->dgate);
    add_numbers(&tiles, p);
    tiles_end(&tiles, library);
    if (tiles_empty(&tiles)) return TKC_OK;

    const tkk_tensor *t = tiles.tensors;
    Call call;
    begin(&call, library, p, "activate_backward", &t[NUMBERS]);
    call_tensor(&call, "x", &t[X]);
    call_optional(&call, "bias", given(&t[BIAS]));
    call_optional(&call, "gate", given(&t[GATE]));
    call_tensor(&call, "dy", &t[DY]);
    call_optional(&call, "dx", given(&t[DX]));
    call_optional(&call, "dgate", given(&t[DGATE]));
    tiles_strides(&call, "x", &t[X]);
    tiles_strides(&call, "b", &t[BIAS]);
    tiles_strides(&call, "g", &t[GATE]);
    tiles_strides(&call, "dy", &t[DY]);
    tiles_strides(&call, "dx", &t[DX]);
    tiles_strides(&call, "dg", &t[DGATE]);
    tiles_strides(&call, "i", &t[NUMBERS]);
    tiles_sizes(&tiles, &call);
    add_dropout(&call, p);
    return call_launch(&call, stream, tiles_grid(&tiles));
}

static tkc_status sum_bias(tkk_library *library, tkc_stream *stream, const tkk_activate *p) {
    tkk_tensor rows;
    if (!rows_as_matrix(&p->dx, &rows))
        return tkc_fail(TKC_UNSUPPORTED, "dbias needs a dx whose rows are equally far apart.");
    tkk_reduce_options options = TKK_REDUCE_OPTIONS_INIT;
    options.axis = 0;
    options.compile_only = p->compile_only;
    options.workspace = p->workspace;
    return tkk_reduce(library, stream, &rows, &p->dbias, &options);
}

tkc_status tkk_activate_backward(tkk_library *library, tkc_stream *stream, const tkk_activate *p) {
    CHECK(check_library(library));
    CHECK(check_activate(p));
    CHECK(check_like("dy", &p->dy, &p->x));
    CHECK(check_optional("dx", &p->dx, &p->x));
    CHECK(check_optional("dgate", &p->dgate, &p->x));
    if (p->dgate.rank && !p->gate.rank)
        return tkc_fail(TKC_INVALID_ARGUMENT, "dgate is given, but no gate.");
    if (p->dbias.rank) {
        CHECK(check_shape("dbias", &p->dbias, 1, &p->x.shape[p->x.rank - 1]));
        CHECK(check_float("dbias", &p->dbias));
        if (!p->dx.rank)
            return tkc_fail(TKC_INVALID_ARGUMENT, "dbias is the sum of dx, which is not given.");
    }
    if (!p->dx.rank && !p->dgate.rank) return TKC_OK;
    CHECK(launch_backward(library, stream, p));
    return p->dbias.rank ? sum_bias(library, stream, p) : TKC_OK;
}

uint64_t tkk_activate_workspace(tkk_library *library, const tkk_activate *p) {
    if (!library) return 0;
    tkk_tensor rows;
    if (!p || check_activate(p) || !p->dbias.rank || check_like("dx", &p->dx, &p->x) ||
        !rows_as_matrix(&p->dx, &rows))
        return 0;
    tkk_reduce_options options = TKK_REDUCE_OPTIONS_INIT;
    options.axis = 0;
    return tkk_reduce_workspace(library, &rows, &options);
}

/* ---- binary operations ------------------------------------------------------------------------
 */

static const char *const kinds[] = {
    [TKK_ADD] = "'add'",       [TKK_SUBTRACT] = "'subtract'", [TKK_MULTIPLY] = "'multiply'",
    [TKK_DIVIDE] = "'divide'", [TKK_MAXIMUM] = "'maximum'",   [TKK_MINIMUM] = "'minimum'",
};

/* Whether the tensor can be repeated to the shape of `out`. */
static tkc_status check_repeated(const char *name, const tkk_tensor *tensor,
                                 const tkk_tensor *out) {
    CHECK(check_rows(name, tensor));
    CHECK(check_float(name, tensor));
    if (tensor->rank > out->rank)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s has %u dimensions, out has %u.", name,
                        tensor->rank, out->rank);
    uint32_t missing = out->rank - tensor->rank;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] != 1 && tensor->shape[i] != out->shape[i + missing])
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "%s: the extent of dimension %u is %lld; it must be 1 or %lld.", name,
                            i, (long long)tensor->shape[i], (long long)out->shape[i + missing]);
    return TKC_OK;
}

tkc_status tkk_binary(tkk_library *library, tkc_stream *stream, tkk_binary_kind kind,
                      const tkk_tensor *x, const tkk_tensor *y, const tkk_tensor *out) {
    CHECK(check_library(library));
    enum { OUT, X, Y };
    if ((uint32_t)kind > TKK_MINIMUM)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_binary: unknown kind %d.", (int)kind);
    CHECK(check_rows("out", out));
    CHECK(check_float("out", out));
    CHECK(check_repeated("x", x, out));
    CHECK(check_repeated("y", y, out));
    tkk_tensor full_x = repeated(x, out), full_y = repeated(y, out);
    Tiles tiles = {.count = 0};
    tiles_add(&tiles, out);
    tiles_add(&tiles, &full_x);
    tiles_add(&tiles, &full_y);
    tiles_end(&tiles, library);
    if (tiles_empty(&tiles)) return TKC_OK;

    const tkk_tensor *t = tiles.tensors;
    Call call;
    call_begin(&call, library, &file, "binary");
    call_tensor(&call, "x", &t[X]);
    call_tensor(&call, "y", &t[Y]);
    call_tensor(&call, "out", &t[OUT]);
    tiles_strides(&call, "x", &t[X]);
    tiles_strides(&call, "y", &t[Y]);
    tiles_strides(&call, "out", &t[OUT]);
    call_constant(&call, "KIND", kinds[kind]);
    tiles_sizes(&tiles, &call);
    return call_launch(&call, stream, tiles_grid(&tiles));
}
