/* conv2d.c: host of conv2d.tk.
 *
 * Forward pass and gradient of the input are Sums: the same kernel with other numbers. The gradient
 * of the input is one Sum for each remainder of the pixels modulo the stride (a phase), since only
 * every stride-th tap of a line meets a pixel. */
#include "kernels/matmul.h"

KERNEL_FILE(conv2d);

/* ---- the problem ------------------------------------------------------------------------ */

/* A layer's numbers; x and y are views whose pixels were put in one row where that is possible. */
typedef struct Conv {
    const tkk_conv2d *p;
    tkk_tensor x, y; /* y: or dy, or an empty one that has the shape alone */
    int64_t batch, in, out, groups;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
} Conv;

/* What one launch of conv2d makes; the letters are those of conv2d.tk. */
typedef struct Sum {
    int64_t groups, M, K, taps[2], pixel[2], first[2], step[2];
    int64_t batch, size[2], out[2];
    tkk_tensor x, y;
    const tkk_tensor *bias;
    tkk_activation activation;
    /* which taps of w, and its strides: group, M, K, u, v */
    int64_t first_tap[2], tap_step[2], w_stride[5];
} Sum;

static tkc_status check_image(const char *name, const tkk_tensor *tensor, const int64_t *shape) {
    CHECK(check_shape(name, tensor, 4, shape));
    CHECK(check_float(name, tensor));
    CHECK(check_reach(name, tensor, 1));
    int64_t far = 0;
    for (uint32_t d = 2; d < 4; d++) {
        int64_t step = stride_of(tensor, d);
        far += (tensor->shape[d] + 256) * (step < 0 ? -step : step);
    }
    if (far > INT32_MAX)
        return tkc_fail(TKC_UNSUPPORTED, "%s: an image spans 2^31 elements or more.", name);
    return TKC_OK;
}

static tkc_status check_numbers(const tkk_conv2d *p) {
    enum { MOST = 1 << 20 };
    CHECK_OPTIONS(p, "tkk_conv2d");
    CHECK(check_activation("tkk_conv2d", p->activation));
    CHECK(check_precision("tkk_conv2d", p->precision));
    for (int d = 0; d < 2; d++) {
        if (p->stride[d] < 1 || p->dilation[d] < 1)
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "tkk_conv2d: stride and dilation are at least 1.");
        if (p->stride[d] > MOST || p->dilation[d] > MOST || p->padding[d] > MOST)
            return tkc_fail(TKC_UNSUPPORTED,
                            "tkk_conv2d: stride, padding or dilation is over 2^20.");
    }
    CHECK(check_rank("x", &p->x, 4));
    CHECK(check_rank("w", &p->w, 4));
    CHECK(check_float("x", &p->x));
    CHECK(check_dtype("w", &p->w, p->x.dtype));
    const int64_t in = p->x.shape[1], out = p->w.shape[0];
    if (p->groups < 1 || in % p->groups || out % p->groups)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkk_conv2d: %lld input and %lld output channels are not multiples of %u "
                        "groups.",
                        (long long)in, (long long)out, p->groups);
    if (p->w.shape[2] < 1 || p->w.shape[3] < 1 || p->w.shape[2] > MOST || p->w.shape[3] > MOST)
        return tkc_fail(TKC_INVALID_ARGUMENT, "w: the kernel is empty or over 2^20.");
    if (p->x.shape[0] > 65535)
        return tkc_fail(TKC_UNSUPPORTED, "x: a batch of %lld; at most 65535 is supported.",
                        (long long)p->x.shape[0]);
    CHECK(
        check_shape("w", &p->w, 4, (int64_t[]){out, in / p->groups, p->w.shape[2], p->w.shape[3]}));
    CHECK(check_reach("w", &p->w, 0));
    return check_image("x", &p->x, p->x.shape);
}

/* Products of extents that kernels hold in 32 bits, and counts that no machine has room for. */
static tkc_status check_counts(const Conv *c) {
    const double row = (double)c->in / c->groups * c->kernel[0] * c->kernel[1];
    const double lines = (double)c->batch * c->y.shape[2] * (c->y.shape[3] / 16 + 1);
    const double taps = (double)c->out * row, results = (double)c->out * c->batch;
    if (row > 1 << 30 || lines > 1 << 30 || taps > (double)((int64_t)1 << 40) ||
        results > (double)((int64_t)1 << 40))
        return tkc_fail(TKC_UNSUPPORTED, "tkk_conv2d: so large a layer is not supported.");
    return TKC_OK;
}

/* A 1 x 1 kernel without stride or padding sees no rows: all pixels become one. */
static bool is_one_row(const tkk_tensor *t) {
    return t->shape[2] == 1 || t->shape[3] == 1 || t->stride[2] == t->shape[3] * t->stride[3];
}

static tkk_tensor in_one_row(tkk_tensor t) {
    if (t.shape[3] == 1) t.stride[3] = t.stride[2];
    t.shape[3] *= t.shape[2];
    t.shape[2] = 1;
    return t;
}

/* `y`: y or dy, or NULL when only numbers are wanted. */
static tkc_status read_conv(Conv *c, const tkk_conv2d *p, const char *name, const tkk_tensor *y) {
    CHECK(check_numbers(p));
    *c = (Conv){.p = p,
                .x = p->x,
                .batch = p->x.shape[0],
                .in = p->x.shape[1],
                .out = p->w.shape[0],
                .groups = p->groups};
    int64_t shape[4] = {c->batch, c->out};
    bool pointwise = true;
    for (int d = 0; d < 2; d++) {
        c->kernel[d] = p->w.shape[2 + d];
        c->stride[d] = p->stride[d];
        c->padding[d] = p->padding[d];
        c->dilation[d] = p->dilation[d];
        int64_t reach = p->x.shape[2 + d] + 2 * c->padding[d] - c->dilation[d] * (c->kernel[d] - 1);
        if (reach < 1)
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "tkk_conv2d: the kernel reaches beyond the padded input along the %s.",
                            d ? "width" : "height");
        shape[2 + d] = (reach - 1) / c->stride[d] + 1;
        pointwise = pointwise && c->kernel[d] == 1 && c->stride[d] == 1 && c->padding[d] == 0;
    }
    if (y) CHECK(check_image(name, y, shape));
    c->y = y ? *y : tkk_tensor4(p->x.data, p->x.dtype, shape[0], shape[1], shape[2], shape[3]);
    CHECK(check_counts(c));
    const bool dx = is_given(&p->dx);
    if (dx) CHECK(check_image("dx", &p->dx, p->x.shape));
    if (pointwise && is_one_row(&c->x) && is_one_row(&c->y) && (!dx || is_one_row(&p->dx)) &&
        c->x.shape[2] * c->x.shape[3] < 1 << 30) {
        c->x = in_one_row(c->x);
        c->y = in_one_row(c->y);
    }
    return TKC_OK;
}

/* ---- sums --------------------------------------------------------------------------------- */

static Sum forward_sum(const Conv *c) {
    const tkk_tensor *w = &c->p->w;
    Sum s = {.groups = c->groups,
             .M = c->out / c->groups,
             .K = c->in / c->groups,
             .batch = c->batch,
             .x = c->x,
             .y = c->y,
             .bias = &c->p->b,
             .activation = c->p->activation,
             .w_stride = {c->out / c->groups * stride_of(w, 0), stride_of(w, 0), stride_of(w, 1),
                          stride_of(w, 2), stride_of(w, 3)}};
    for (int d = 0; d < 2; d++) {
        s.size[d] = c->x.shape[2 + d];
        s.out[d] = c->y.shape[2 + d];
        s.taps[d] = c->kernel[d];
        s.tap_step[d] = 1;
        s.pixel[d] = c->stride[d];
        s.first[d] = -c->padding[d];
        s.step[d] = c->dilation[d];
    }
    return s;
}

static int64_t greatest_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Pixels h of dx with h mod stride == phase. A tap u reaches them from dy's row
 * (h + padding - u dilation) / stride, when that has no remainder. */
static Sum dx_sum(const Conv *c, const tkk_tensor *dx, const int64_t phase[2]) {
    static const tkk_tensor none = {0};
    const tkk_tensor *w = &c->p->w;
    Sum s = {.groups = c->groups,
             .M = c->in / c->groups,
             .K = c->out / c->groups,
             .batch = c->batch,
             .x = c->y,
             .y = *dx,
             .bias = &none,
             .w_stride = {c->out / c->groups * stride_of(w, 0), stride_of(w, 1), stride_of(w, 0),
                          stride_of(w, 2), stride_of(w, 3)}};
    int64_t offset = 0;
    for (int d = 0; d < 2; d++) {
        int64_t stride = c->stride[d], divisor = greatest_divisor(stride, c->dilation[d]);
        int64_t at = phase[d] + c->padding[d], first = 0;
        while (first < stride / divisor && (at - first * c->dilation[d]) % stride != 0) first++;
        s.size[d] = c->y.shape[2 + d];
        s.out[d] = tkc_cdiv(dx->shape[2 + d] - phase[d], stride);
        s.pixel[d] = 1;
        s.first_tap[d] = first;
        s.tap_step[d] = stride / divisor;
        bool some = first < stride / divisor && first < c->kernel[d];
        s.taps[d] = some ? tkc_cdiv(c->kernel[d] - first, s.tap_step[d]) : 0;
        s.first[d] = some ? (at - first * c->dilation[d]) / stride : 0;
        s.step[d] = -c->dilation[d] / divisor;
        offset += phase[d] * dx->stride[2 + d];
        s.y.stride[2 + d] *= stride;
        s.y.shape[2 + d] = s.out[d];
    }
    uint64_t bytes = (uint64_t)(offset * tkc_dtype_size(dx->dtype)); /* wraps, as addresses do */
    if (s.y.data.kind == TKC_ARGUMENT_ADDRESS)
        s.y.data.value.u += bytes;
    else
        s.y.data.offset += bytes;
    return s;
}

/* ---- how it is done --------------------------------------------------------------------- */

typedef struct Pixels {
    int64_t h, w;
} Pixels;

/* A tile of about `count` pixels that wastes few. On the host rows are best left alone: their
 * pixels are neighbours in memory. */
static Pixels choose_pixels(const tkk_library *library, const int64_t out[2], int64_t count) {
    const int64_t least = runs_on_host(library) ? 32 : count;
    Pixels best = {1, count};
    if (out[1] < count) {
        best.w = next_power_of_two(out[1]);
    } else {
        int64_t wasted = tkc_cdiv(out[1], count) * count;
        for (int64_t w = count / 2; w >= count / 4 && w >= least; w /= 2)
            if (tkc_cdiv(out[1], w) * w < wasted) {
                best.w = w;
                wasted = tkc_cdiv(out[1], w) * w;
            }
    }
    if (best.w < least) {
        best.h = count / best.w;
        int64_t rows = next_power_of_two(out[0]);
        if (best.h > rows) best.h = rows;
    }
    if (best.h * best.w < 16) best.w = 16 / best.h; /* the least a dot takes */
    return best;
}

static int64_t fit(int64_t extent, int64_t least, int64_t most) {
    int64_t size = next_power_of_two(extent);
    return size < least ? least : size < most ? size : most;
}

/* A power of two up to `most` that leaves little of its last tile empty; a tile costs as much as 8
 * of its columns beside them. */
static int64_t choose_tile(int64_t count, int64_t most) {
    int64_t best = 16, least = INT64_MAX;
    for (int64_t size = 16; size <= most; size *= 2) {
        int64_t cost = tkc_cdiv(count, size) * (size + 8);
        if (cost < least) {
            best = size;
            least = cost;
        }
    }
    return best;
}

/* Few channels on both sides make no matrix. */
static bool is_direct(const Sum *s) {
    return s->M < 8 && s->K < 8;
}

static bool is_flat(const Sum *s) {
    return s->K < 16;
}

static int64_t taps_of(const Sum *s) {
    return s->taps[0] * s->taps[1];
}

/* Weights lie as the kernel wants them: rows of [K, taps]. */
static bool weights_fit(const Sum *s) {
    const int64_t *stride = s->w_stride;
    const bool k_first = is_direct(s) || is_flat(s);
    return k_first && (s->taps[1] == 1 || stride[4] == 1) &&
           (s->taps[0] == 1 || stride[3] == s->taps[1]) && (s->K == 1 || stride[2] == taps_of(s)) &&
           s->first_tap[0] == 0 && s->first_tap[1] == 0 && s->tap_step[0] == 1 &&
           s->tap_step[1] == 1;
}

static uint64_t weights_size(const Sum *s, tkc_dtype dtype) {
    if (weights_fit(s)) return 0;
    return scratch_size((uint64_t)(s->groups * s->M * s->K * taps_of(s)) * tkc_dtype_size(dtype));
}

static tkc_status lay_weights(tkk_library *library, tkc_stream *stream, const Conv *c, const Sum *s,
                              const tkk_tensor *to) {
    const bool k_first = is_direct(s) || is_flat(s);
    Call call;
    call_begin(&call, library, &file, "conv2d_weights");
    call.compile_only = c->p->compile_only;
    call_tensor(&call, "w", &c->p->w);
    call_tensor(&call, "out", to);
    call_int(&call, s->M);
    call_int(&call, s->K);
    call_int(&call, taps_of(s));
    call_int(&call, s->taps[1]);
    for (int d = 0; d < 2; d++) call_int(&call, s->first_tap[d]);
    for (int d = 0; d < 2; d++) call_int(&call, s->tap_step[d]);
    for (int i = 0; i < 5; i++) call_int(&call, s->w_stride[i]);
    call_int(&call, k_first ? taps_of(s) : 1);
    call_int(&call, k_first ? 1 : s->K);
    call_constant_int(&call, "BLOCK", fit(s->K, 16, 128));
    return call_launch(&call, stream, tkc_grid1(s->groups * s->M));
}

static void add_image(Call *call, const char *const names[4], const tkk_tensor *t) {
    for (uint32_t d = 0; d < 4; d++) {
        int64_t stride = stride_of(t, d);
        if (d < 3 && stride == 1) stride = 1; /* rare: a variant of its own is in order */
        call_stride(call, names[d], d == 0 ? "i64" : "i32", stride);
    }
}

static const char *const x_strides[] = {"stride_xb", "stride_xc", "stride_xh", "stride_xw"};
static const char *const y_strides[] = {"stride_yb", "stride_yc", "stride_yh", "stride_yw"};

static void add_geometry(Call *call, const Sum *s) {
    call_stride(call, "pixel_h", "i32", s->pixel[0]);
    call_stride(call, "pixel_w", "i32", s->pixel[1]);
    for (int d = 0; d < 2; d++) call_int(call, s->first[d]);
    for (int d = 0; d < 2; d++) call_int(call, s->step[d]);
}

static tkc_status launch_sum(tkk_library *library, tkc_stream *stream, const Conv *c, const Sum *s,
                             const tkk_tensor *w, int64_t w_group, int64_t w_row) {
    const bool host = runs_on_host(library), direct = is_direct(s), flat = is_flat(s);
    const int64_t least = host ? 4 : 16, taps = taps_of(s);
    const int64_t block_m = fit(s->M, least, host ? 128 : 64);
    const int64_t block_k = fit(flat ? s->K * taps : s->K, least, host ? 64 : 32);
    const Pixels pixels = choose_pixels(library, s->out, 128);
    const int64_t tiles_m = tkc_cdiv(s->M, block_m);
    Call call;
    call_begin(&call, library, &file, direct ? "conv2d_direct" : "conv2d");
    call.compile_only = c->p->compile_only;
    call.num_warps = 4;
    call_tensor(&call, "x", &s->x);
    call_tensor(&call, "w", w);
    call_tensor(&call, "y", &s->y);
    call_stride(&call, "M", "i32", s->M);
    call_stride(&call, "K", "i32", s->K);
    for (int d = 0; d < 2; d++) call_int(&call, s->size[d]);
    for (int d = 0; d < 2; d++) call_int(&call, s->out[d]);
    call_int(&call, taps);
    call_int(&call, s->taps[1] ? s->taps[1] : 1);
    add_geometry(&call, s);
    call_stride(&call, "stride_wg", "i64", s->groups > 1 ? w_group : 0);
    call_stride(&call, "stride_wm", "i32", s->M > 1 ? w_row : 0);
    add_image(&call, x_strides, &s->x);
    add_image(&call, y_strides, &s->y);
    if (is_given(s->bias)) {
        call_tensor(&call, "bias", s->bias);
        call_stride(&call, "stride_bias", "i32", stride_of(s->bias, 0));
    }
    call_constant(&call, "ACTIVATION", activation_names[s->activation]);
    call_constant_int(&call, "BLOCK_H", pixels.h);
    call_constant_int(&call, "BLOCK_W", pixels.w);
    int64_t tiles = tkc_cdiv(s->out[0], pixels.h) * tkc_cdiv(s->out[1], pixels.w);
    if (direct) return call_launch(&call, stream, tkc_grid3(tiles, s->groups * s->M, s->batch));
    call_constant(&call, "PRECISION", c->p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant(&call, "FLAT", flat ? "True" : "False");
    call_constant(&call, "EVEN_M", s->M % block_m == 0 ? "True" : "False");
    call_constant(&call, "EVEN_K", s->K % block_k == 0 ? "True" : "False");
    call_constant_int(&call, "BLOCK_M", block_m);
    call_constant_int(&call, "BLOCK_K", block_k);
    return call_launch(&call, stream, tkc_grid3(tiles, tiles_m * s->groups, s->batch));
}

/* Lays out the weights when that is needed, then the sum. */
static tkc_status run_sum(tkk_library *library, tkc_stream *stream, const Conv *c, const Sum *s,
                          Scratch *scratch) {
    if (s->batch == 0 || s->M == 0 || s->out[0] <= 0 || s->out[1] <= 0) return TKC_OK;
    const uint64_t size = weights_size(s, c->p->x.dtype);
    if (size == 0)
        return launch_sum(library, stream, c, s, &c->p->w, s->w_stride[0], s->w_stride[1]);
    const int64_t row = taps_of(s) * s->K;
    const tkk_tensor laid =
        tkk_vector(scratch_take(scratch, size), c->p->x.dtype, s->groups * s->M * row);
    CHECK(lay_weights(library, stream, c, s, &laid));
    return launch_sum(library, stream, c, s, &laid, s->M * row, row);
}

static tkc_status check_bias(const char *name, const tkk_tensor *bias, int64_t out) {
    CHECK(check_shape(name, bias, 1, (int64_t[]){out}));
    CHECK(check_float(name, bias));
    return check_reach(name, bias, 0);
}

tkc_status tkk_conv2d_forward(tkk_library *library, tkc_stream *stream, const tkk_conv2d *p) {
    CHECK(check_library(library));
    Conv c;
    CHECK(read_conv(&c, p, "y", p ? &p->y : NULL));
    if (is_given(&p->b)) CHECK(check_bias("b", &p->b, c.out));
    const Sum s = forward_sum(&c);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->workspace, weights_size(&s, p->x.dtype),
                        "tkk_conv2d"));
    return scratch_end(&scratch, run_sum(library, stream, &c, &s, &scratch));
}

/* ---- gradients ------------------------------------------------------------------------------ */

/* Of the gradient of the weights. */
typedef struct Plan {
    bool by_lines; /* conv2d_gradient_lines */
    Pixels pixels;
    int64_t block_m, block_n, lines, length, parts;
    uint64_t size;
} Plan;

/* As many parts as fill the device; on the host, so many that a part of x and dy stays in the
 * cache while all tiles read it. */
static Plan plan_dw(const tkk_library *library, const Conv *c, const Sum *s) {
    enum { CACHED = 1 << 17 };
    const bool host = runs_on_host(library);
    const int64_t count = s->K * taps_of(s);
    Plan plan = {.by_lines = host && s->K >= 16,
                 .pixels = choose_pixels(library, s->out, host ? 128 : 32),
                 .block_m = fit(s->M, 16, host ? 128 : 64)};
    plan.block_n = choose_tile(plan.by_lines ? s->K : count, host ? 128 : 64);
    plan.lines = s->batch * tkc_cdiv(s->out[0], plan.pixels.h);
    int64_t tiles = tkc_cdiv(s->M, plan.block_m) * s->groups;
    if (!plan.by_lines) tiles *= tkc_cdiv(count, plan.block_n);
    int64_t parts = tkc_cdiv(2 * (int64_t)processors(library), tiles > 0 ? tiles : 1);
    const double read = (double)s->batch * ((double)c->in * s->size[0] * s->size[1] +
                                            (double)c->out * s->out[0] * s->out[1]);
    int64_t most = plan.lines < 65535 ? plan.lines : 65535;
    if (host && !plan.by_lines && (double)parts < read / CACHED)
        parts = read / CACHED < (double)most ? (int64_t)(read / CACHED) : most;
    if (parts > most) parts = most > 1 ? most : 1;
    plan.length = tkc_cdiv(plan.lines > 0 ? plan.lines : 1, parts);
    plan.parts = tkc_cdiv(plan.lines > 0 ? plan.lines : 1, plan.length);
    plan.size = scratch_size((uint64_t)(plan.parts * c->out * count) * sizeof(float));
    return plan;
}

/* Into dw, or into db: one group and tap. */
static tkc_status launch_reduce(tkk_library *library, tkc_stream *stream, const Conv *c,
                                const tkk_tensor *part, int64_t parts, const tkk_tensor *out) {
    const bool bias = out->rank == 1;
    const int64_t groups = bias ? 1 : c->groups, M = c->out / groups, K = bias ? 1 : c->in / groups;
    const int64_t taps = bias ? 1 : c->kernel[0] * c->kernel[1], block = fit(M, 16, 256);
    Call call;
    call_begin(&call, library, &file, "conv2d_reduce");
    call.compile_only = c->p->compile_only;
    call_tensor(&call, "part", part);
    call_tensor(&call, "out", out);
    call_int(&call, parts);
    call_stride(&call, "M", "i32", M);
    call_int(&call, K);
    call_int(&call, taps);
    call_int(&call, c->kernel[1]);
    for (uint32_t d = 0; d < 4; d++) call_int(&call, bias && d > 0 ? 0 : stride_of(out, d));
    call_constant_int(&call, "BLOCK", block);
    return call_launch(&call, stream, tkc_grid2(groups * taps * K, tkc_cdiv(M, block)));
}

static tkc_status run_dw(tkk_library *library, tkc_stream *stream, const Conv *c, const Sum *s,
                         const Plan *plan, Scratch *scratch) {
    const int64_t count = s->K * taps_of(s);
    if (c->out == 0 || count == 0) return TKC_OK;
    const tkk_tensor part =
        tkk_vector(scratch_take(scratch, plan->size), TKC_F32, plan->parts * c->out * count);
    Call call;
    call_begin(&call, library, &file, plan->by_lines ? "conv2d_gradient_lines" : "conv2d_gradient");
    call.compile_only = c->p->compile_only;
    call.num_warps = 4;
    call_tensor(&call, "dy", &s->y);
    call_tensor(&call, "x", &s->x);
    call_tensor(&call, "part", &part);
    call_stride(&call, "M", "i32", s->M);
    call_stride(&call, "K", "i32", s->K);
    for (int d = 0; d < 2; d++) call_int(&call, s->size[d]);
    for (int d = 0; d < 2; d++) call_int(&call, s->out[d]);
    call_int(&call, plan->lines);
    call_int(&call, plan->length);
    call_int(&call, taps_of(s));
    call_int(&call, s->taps[1]);
    add_geometry(&call, s);
    add_image(&call, x_strides, &s->x);
    add_image(&call, y_strides, &s->y);
    call_constant(&call, "PRECISION", c->p->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_constant_int(&call, "BLOCK_M", plan->block_m);
    call_constant_int(&call, "BLOCK_N", plan->block_n);
    call_constant_int(&call, "BLOCK_H", plan->pixels.h);
    call_constant_int(&call, "BLOCK_W", plan->pixels.w);
    if (plan->by_lines)
        call_constant_int(&call, "LINES", plan->pixels.h * plan->pixels.w < 128 ? 2 : 1);
    const int64_t tiles_m = tkc_cdiv(s->M, plan->block_m) * s->groups;
    const tkc_grid grid = plan->by_lines
                              ? tkc_grid2(tiles_m, plan->parts)
                              : tkc_grid3(tkc_cdiv(count, plan->block_n), tiles_m, plan->parts);
    CHECK(call_launch(&call, stream, grid));
    return launch_reduce(library, stream, c, &part, plan->parts, &c->p->dw);
}

static uint64_t sums_size(const Conv *c) {
    return scratch_size((uint64_t)(c->batch * c->out) * sizeof(float));
}

static tkc_status run_db(tkk_library *library, tkc_stream *stream, const Conv *c,
                         Scratch *scratch) {
    if (c->out == 0) return TKC_OK;
    const tkk_tensor part =
        tkk_vector(scratch_take(scratch, sums_size(c)), TKC_F32, c->batch * c->out);
    Call call;
    call_begin(&call, library, &file, "conv2d_sums");
    call.compile_only = c->p->compile_only;
    call_tensor(&call, "dy", &c->y);
    call_tensor(&call, "part", &part);
    for (int d = 2; d < 4; d++) call_int(&call, c->y.shape[d]);
    add_image(&call, y_strides, &c->y);
    call_constant_int(&call, "BLOCK_W", fit(c->y.shape[3], 16, 512));
    if (c->batch > 0) CHECK(call_launch(&call, stream, tkc_grid2(c->out, c->batch)));
    return launch_reduce(library, stream, c, &part, c->batch, &c->p->db);
}

static tkc_status run_dx(tkk_library *library, tkc_stream *stream, const Conv *c,
                         const tkk_tensor *dx, Scratch *scratch) {
    int64_t phase[2];
    for (phase[0] = 0; phase[0] < c->stride[0] && phase[0] < dx->shape[2]; phase[0]++)
        for (phase[1] = 0; phase[1] < c->stride[1] && phase[1] < dx->shape[3]; phase[1]++) {
            const Sum s = dx_sum(c, dx, phase);
            CHECK(run_sum(library, stream, c, &s, scratch));
        }
    return TKC_OK;
}

static uint64_t dx_size(const Conv *c, const tkk_tensor *dx) {
    uint64_t size = 0;
    int64_t phase[2];
    for (phase[0] = 0; phase[0] < c->stride[0] && phase[0] < dx->shape[2]; phase[0]++)
        for (phase[1] = 0; phase[1] < c->stride[1] && phase[1] < dx->shape[3]; phase[1]++) {
            const Sum s = dx_sum(c, dx, phase);
            size += weights_size(&s, c->p->x.dtype);
        }
    return size;
}

/* dx as the other views are: with its pixels in one row where theirs are. */
static tkk_tensor view_dx(const Conv *c) {
    const bool merged = c->x.shape[2] != c->p->x.shape[2];
    return merged ? in_one_row(c->p->dx) : c->p->dx;
}

static uint64_t backward_size(tkk_library *library, const Conv *c) {
    const tkk_conv2d *p = c->p;
    const Sum s = forward_sum(c);
    uint64_t size = 0;
    if (is_given(&p->dx)) {
        const tkk_tensor dx = view_dx(c);
        size += dx_size(c, &dx);
    }
    if (is_given(&p->dw)) size += plan_dw(library, c, &s).size;
    if (is_given(&p->db)) size += sums_size(c);
    return size;
}

uint64_t tkk_conv2d_workspace(tkk_library *library, const tkk_conv2d *p) {
    if (!library) return 0;
    Conv c;
    const tkk_tensor *y = p && is_given(&p->dy) ? &p->dy : NULL;
    if (read_conv(&c, p, "dy", y) != TKC_OK) return 0;
    const Sum s = forward_sum(&c);
    const uint64_t forward = weights_size(&s, p->x.dtype), backward = backward_size(library, &c);
    return forward > backward ? forward : backward;
}

static tkc_status run_backward(tkk_library *library, tkc_stream *stream, const Conv *c,
                               Scratch *scratch) {
    const tkk_conv2d *p = c->p;
    if (is_given(&p->dx)) {
        const tkk_tensor dx = view_dx(c);
        CHECK(run_dx(library, stream, c, &dx, scratch));
    }
    if (is_given(&p->dw)) {
        const Sum s = forward_sum(c);
        const Plan plan = plan_dw(library, c, &s);
        CHECK(run_dw(library, stream, c, &s, &plan, scratch));
    }
    return is_given(&p->db) ? run_db(library, stream, c, scratch) : TKC_OK;
}

tkc_status tkk_conv2d_backward(tkk_library *library, tkc_stream *stream, const tkk_conv2d *p) {
    CHECK(check_library(library));
    Conv c;
    CHECK(read_conv(&c, p, "dy", p ? &p->dy : NULL));
    CHECK(check_dtype("dy", &p->dy, p->x.dtype));
    if (is_given(&p->dw)) {
        CHECK(check_shape("dw", &p->dw, 4, p->w.shape));
        CHECK(check_float("dw", &p->dw));
        CHECK(check_reach("dw", &p->dw, 0));
    }
    if (is_given(&p->db)) CHECK(check_bias("db", &p->db, c.out));
    Scratch scratch;
    CHECK(
        scratch_begin(&scratch, library, &p->workspace, backward_size(library, &c), "tkk_conv2d"));
    return scratch_end(&scratch, run_backward(library, stream, &c, &scratch));
}
