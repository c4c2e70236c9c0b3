/* matmul.c: host of matmul.tk: which blocks, which schedule, and the table of a group. */
#include "kernels/matmul.h"

#include <stdlib.h>

KERNEL_FILE(matmul);

static const tkk_matmul_options usual = TKK_MATMUL_OPTIONS_INIT;

const char *const activation_names[] = {
    [TKK_NO_ACTIVATION] = "'none'", [TKK_RELU] = "'relu'", [TKK_LEAKY_RELU] = "'leaky_relu'",
    [TKK_GELU] = "'gelu'",          [TKK_SILU] = "'silu'", [TKK_GELU_TANH] = "'gelu_tanh'",
};

/* ---- what is asked for ---------------------------------------------------------------------- */

/* A product, its operands seen as batches. */
typedef struct Product {
    const tkk_tensor *a, *b, *c;
    const tkk_matmul_options *options;
    int64_t batch, M, N, K;
} Product;

/* Dimension d of the matrix (0: rows, 1: columns), behind the batch dimension. */
static int64_t extent(const tkk_tensor *tensor, uint32_t d) {
    return tensor->shape[tensor->rank - 2 + d];
}

static int64_t stride(const tkk_tensor *tensor, uint32_t d) {
    return stride_of(tensor, tensor->rank - 2 + d);
}

static int64_t batch_stride(const tkk_tensor *tensor) {
    return tensor->rank == 3 ? stride_of(tensor, 0) : 0;
}

/* A matrix, or a batch of them when c is one. */
static tkc_status check_operand(const char *name, const tkk_tensor *tensor, const tkk_tensor *c,
                                int64_t rows, int64_t columns) {
    if (tensor && tensor->rank == 2)
        return check_shape(name, tensor, 2, (int64_t[]){rows, columns});
    if (!tensor || c->rank == 2) return check_rank(name, tensor, 2);
    return check_shape(name, tensor, 3, (int64_t[]){c->shape[0], rows, columns});
}

static tkc_status check_epilogue(const Product *p) {
    const tkk_matmul_options *o = p->options;
    if (is_given(&o->bias)) {
        CHECK(check_shape("bias", &o->bias, 1, (int64_t[]){p->N}));
        CHECK(check_float("bias", &o->bias));
        CHECK(check_reach("bias", &o->bias, 0));
    }
    if (is_given(&o->residual)) {
        CHECK(check_operand("residual", &o->residual, p->c, p->M, p->N));
        CHECK(check_float("residual", &o->residual));
        CHECK(check_reach("residual", &o->residual, o->residual.rank - 2));
    }
    if (is_given(&o->z)) {
        CHECK(check_shape("z", &o->z, p->c->rank, p->c->shape));
        CHECK(check_float("z", &o->z));
        CHECK(check_reach("z", &o->z, o->z.rank - 2));
    }
    return TKC_OK;
}

static tkc_status check_choices(const tkk_matmul_options *o) {
    CHECK_OPTIONS(o, "tkk_matmul_options");
    CHECK(check_activation("tkk_matmul", o->activation));
    CHECK(check_precision("tkk_matmul", o->precision));
    if ((uint32_t)o->schedule > TKK_PERSISTENT)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_matmul: unknown schedule %d.", (int)o->schedule);
    return TKC_OK;
}

static tkc_status read_product(Product *p, const tkk_tensor *a, const tkk_tensor *b,
                               const tkk_tensor *c, const tkk_matmul_options *options) {
    *p = (Product){.a = a, .b = b, .c = c, .options = options ? options : &usual, .batch = 1};
    CHECK(check_choices(p->options));
    CHECK(check_rank("c", c, c && c->rank == 3 ? 3 : 2));
    if (c->rank == 3) p->batch = c->shape[0];
    p->M = extent(c, 0);
    p->N = extent(c, 1);
    if (!a || a->rank < 2 || a->rank > 3) return check_rank("a", a, c->rank);
    p->K = extent(a, 1);
    CHECK(check_operand("a", a, c, p->M, p->K));
    CHECK(check_operand("b", b, c, p->K, p->N));
    CHECK(check_float("a", a));
    CHECK(check_dtype("b", b, a->dtype));
    CHECK(check_float("c", c));
    CHECK(check_reach("a", a, a->rank - 2));
    CHECK(check_reach("b", b, b->rank - 2));
    CHECK(check_reach("c", c, c->rank - 2));
    if (p->batch > 65535)
        return tkc_fail(TKC_UNSUPPORTED, "tkk_matmul: a batch of %lld; at most 65535 is supported.",
                        (long long)p->batch);
    return check_epilogue(p);
}

/* ---- how it is done --------------------------------------------------------------------- */

/* A block no larger than needed: 16 (the least a dot takes) to `most`. */
static int64_t block(int64_t size, int64_t most) {
    int64_t fit = next_power_of_two(size);
    return fit < 16 ? 16 : fit < most ? fit : most;
}

int64_t count_tiles(const Blocks *blocks, int64_t M, int64_t N) {
    return tkc_cdiv(M, blocks->m) * tkc_cdiv(N, blocks->n);
}

/* For host cores: sums and operands of a tile fit the second cache, where an element is used often
 * once it is there; narrower tiles where there would be too few for all cores. */
static Blocks host_blocks(const tkk_library *library, int64_t bytes, int64_t batch, int64_t M,
                          int64_t N, int64_t K) {
    enum { LEAST = 64, LEAST_PRODUCTS = 1 << 20 }; /* in a tile: less is not worth waking a core */
    Blocks b = {.m = block(M, 256), .n = block(N, 512), .k = block(K, 512 / bytes), .warps = 4};
    const double worth = (double)batch * M * N * K / LEAST_PRODUCTS;
    const double seats = 2.0 * processors(library), wanted = seats < worth ? seats : worth;
    while (b.n > LEAST && (double)batch * count_tiles(&b, M, N) < wanted) b.n /= 2;
    while (b.m > LEAST && (double)batch * count_tiles(&b, M, N) < wanted) b.m /= 2;
    return b;
}

/* For GPUs: smaller tiles rather than multiprocessors without any. */
static Blocks gpu_blocks(const tkk_library *library, int64_t bytes, int64_t batch, int64_t M,
                         int64_t N) {
    enum { LEAST = 64 };
    Blocks b = {.m = block(M, 128), .n = block(N, 128), .k = bytes == 4 ? 32 : 64};
    const double seats = processors(library);
    while (b.n > LEAST && (double)batch * count_tiles(&b, M, N) < seats) b.n /= 2;
    while (b.m > LEAST && (double)batch * count_tiles(&b, M, N) < seats) b.m /= 2;
    b.warps = b.m * b.n >= 128 * 128 ? 8 : 4;
    return b;
}

Blocks choose_blocks(const tkk_library *library, tkc_dtype dtype, int64_t batch, int64_t M,
                     int64_t N, int64_t K) {
    const int64_t bytes = tkc_dtype_size(dtype);
    return runs_on_host(library) ? host_blocks(library, bytes, batch, M, N, K)
                                 : gpu_blocks(library, bytes, batch, M, N);
}

typedef struct Plan {
    Blocks blocks;
    tkk_schedule schedule;
    int64_t tiles, splits, length; /* length: of a part of K */
} Plan;

/* Parts of K, when the tiles alone do not fill the device. A part is long enough to be worth the
 * trip of its sums through memory. */
static int64_t splits_for(const tkk_library *library, const Product *p, int64_t programs,
                          int64_t step) {
    enum { LEAST = 512 };
    int64_t seats = processors(library), shortest = LEAST > 4 * step ? LEAST : 4 * step;
    if (2 * programs > seats || p->K < 2 * shortest) return 1;
    int64_t most = p->K / shortest, wanted = seats / programs;
    return wanted < most ? wanted : most;
}

static Plan make_plan(const tkk_library *library, const Product *p) {
    Plan plan = {.blocks = choose_blocks(library, p->a->dtype, p->batch, p->M, p->N, p->K),
                 .schedule = p->options->schedule};
    const Blocks *b = &plan.blocks;
    plan.tiles = count_tiles(b, p->M, p->N);
    int64_t steps = tkc_cdiv(p->K, b->k), splits = p->options->splits;
    if (plan.schedule == TKK_AUTO_SCHEDULE || (plan.schedule == TKK_SPLIT_K && splits == 0))
        splits = splits_for(library, p, plan.tiles * p->batch, b->k);
    if (plan.schedule == TKK_AUTO_SCHEDULE) plan.schedule = splits > 1 ? TKK_SPLIT_K : TKK_TILES;
    if (splits > steps) splits = steps;
    if (splits < 1) splits = 1;
    if (splits > 65535) splits = 65535;
    plan.length = tkc_cdiv(steps > 0 ? steps : 1, splits) * b->k;
    plan.splits = p->K > 0 ? tkc_cdiv(p->K, plan.length) : 1;
    return plan;
}

/* Numbers that kernels hold in 32 bits, and workspaces that no machine has. */
static tkc_status check_plan(const Product *p, const Plan *plan) {
    if (plan->schedule == TKK_PERSISTENT && (double)plan->tiles * p->batch > INT32_MAX)
        return tkc_fail(TKC_UNSUPPORTED, "tkk_matmul: 2^31 tiles or more are too many for the "
                                         "persistent schedule.");
    if (plan->schedule == TKK_SPLIT_K &&
        (double)plan->splits * p->batch * p->M * p->N > (double)((int64_t)1 << 48))
        return tkc_fail(TKC_UNSUPPORTED,
                        "tkk_matmul: the sums of split K would take over 2^48 elements.");
    return TKC_OK;
}

static uint64_t parts_size(const Product *p, const Plan *plan) {
    if (plan->schedule != TKK_SPLIT_K) return 0;
    return scratch_size((uint64_t)plan->splits * p->batch * p->M * p->N * sizeof(float));
}

uint64_t tkk_matmul_workspace(tkk_library *library, const tkk_tensor *a, const tkk_tensor *b,
                              const tkk_tensor *c, const tkk_matmul_options *options) {
    if (!library) return 0;
    Product p;
    if (read_product(&p, a, b, c, options) != TKC_OK) return 0;
    Plan plan = make_plan(library, &p);
    return check_plan(&p, &plan) == TKC_OK ? parts_size(&p, &plan) : 0;
}

/* ---- arguments -------------------------------------------------------------------------------
 */

static void add_operands(Call *call, const Product *p) {
    call_int(call, p->M);
    call_stride(call, "N", "i32", p->N);
    call_stride(call, "K", "i32", p->K);
    call_stride(call, "stride_am", "i32", stride(p->a, 0));
    call_stride(call, "stride_ak", "i32", stride(p->a, 1));
    call_stride(call, "stride_bk", "i32", stride(p->b, 0));
    call_stride(call, "stride_bn", "i32", stride(p->b, 1));
}

static void add_result(Call *call, const Product *p) {
    call_stride(call, "stride_cm", "i32", stride(p->c, 0));
    call_stride(call, "stride_cn", "i32", stride(p->c, 1));
}

static void add_optional(Call *call, const char *name, const tkk_tensor *tensor) {
    if (is_given(tensor)) call_tensor(call, name, tensor);
}

/* Without one the parameter keeps its default, None. */
static void add_batch(Call *call, const char *name, const tkk_tensor *tensor) {
    if (is_given(tensor) && batch_stride(tensor) != 0)
        call_stride(call, name, "i64", batch_stride(tensor));
}

static void add_factor(Call *call, const char *name, float factor) {
    call_type(call, name, "fp32");
    call_float(call, factor);
}

static void add_epilogue(Call *call, const Product *p) {
    const tkk_matmul_options *o = p->options;
    add_optional(call, "z", &o->z);
    add_optional(call, "bias", &o->bias);
    add_optional(call, "residual", &o->residual);
    if (o->alpha != 1) add_factor(call, "alpha", o->alpha);
    if (is_given(&o->residual)) add_factor(call, "beta", o->beta);
    if (is_given(&o->z)) {
        call_stride(call, "stride_zm", "i32", stride(&o->z, 0));
        call_stride(call, "stride_zn", "i32", stride(&o->z, 1));
    }
    if (is_given(&o->bias)) call_stride(call, "stride_bias", "i32", stride_of(&o->bias, 0));
    if (is_given(&o->residual)) {
        call_stride(call, "stride_rm", "i32", stride(&o->residual, 0));
        call_stride(call, "stride_rn", "i32", stride(&o->residual, 1));
    }
}

void call_blocks(Call *call, const Blocks *blocks, bool even_mn, bool even_k) {
    call->num_warps = blocks->warps;
    call_constant(call, "EVEN_MN", even_mn ? "True" : "False");
    call_constant(call, "EVEN_K", even_k ? "True" : "False");
    call_constant_int(call, "BLOCK_M", blocks->m);
    call_constant_int(call, "BLOCK_N", blocks->n);
    call_constant_int(call, "BLOCK_K", blocks->k);
}

static void add_choices(Call *call, const Product *p, const Plan *plan) {
    const Blocks *b = &plan->blocks;
    call_constant(call, "PRECISION", p->options->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_blocks(call, b, p->M % b->m == 0 && p->N % b->n == 0, p->K % b->k == 0);
}

/* ---- launches ------------------------------------------------------------------------------- */

static tkc_status launch_tiles(tkk_library *library, tkc_stream *stream, const Product *p,
                               const Plan *plan) {
    const bool persistent = plan->schedule == TKK_PERSISTENT;
    Call call;
    call_begin(&call, library, &file, persistent ? "matmul_persistent" : "matmul");
    call.compile_only = p->options->compile_only;
    call_tensor(&call, "a", p->a);
    call_tensor(&call, "b", p->b);
    call_tensor(&call, "c", p->c);
    add_operands(&call, p);
    add_result(&call, p);
    add_epilogue(&call, p);
    add_batch(&call, "batch_a", p->a);
    add_batch(&call, "batch_b", p->b);
    add_batch(&call, "batch_c", p->c);
    add_batch(&call, "batch_z", &p->options->z);
    add_batch(&call, "batch_r", &p->options->residual);
    if (persistent) call_int(&call, p->batch);
    call_constant(&call, "ACTIVATION", activation_names[p->options->activation]);
    add_choices(&call, p, plan);
    if (!persistent) return call_launch(&call, stream, tkc_grid2(plan->tiles, p->batch));
    int64_t all = plan->tiles * p->batch, seats = processors(library);
    return call_launch(&call, stream, tkc_grid1(all < seats ? all : seats));
}

static tkc_status launch_parts(tkk_library *library, tkc_stream *stream, const Product *p,
                               const Plan *plan, const tkk_tensor *part) {
    Call call;
    call_begin(&call, library, &file, "matmul_split");
    call.compile_only = p->options->compile_only;
    call_tensor(&call, "a", p->a);
    call_tensor(&call, "b", p->b);
    call_tensor(&call, "part", part);
    add_operands(&call, p);
    call_int(&call, plan->length);
    add_batch(&call, "batch_a", p->a);
    add_batch(&call, "batch_b", p->b);
    add_choices(&call, p, plan);
    return call_launch(&call, stream, tkc_grid3(plan->tiles, p->batch, plan->splits));
}

static tkc_status launch_reduce(tkk_library *library, tkc_stream *stream, const Product *p,
                                const Plan *plan, const tkk_tensor *part) {
    enum { ROWS = 16, COLUMNS = 128 };
    Call call;
    call_begin(&call, library, &file, "matmul_reduce");
    call.compile_only = p->options->compile_only;
    call_tensor(&call, "part", part);
    call_tensor(&call, "c", p->c);
    call_int(&call, plan->splits);
    call_int(&call, p->M);
    call_stride(&call, "N", "i32", p->N);
    add_result(&call, p);
    add_epilogue(&call, p);
    add_batch(&call, "batch_c", p->c);
    add_batch(&call, "batch_z", &p->options->z);
    add_batch(&call, "batch_r", &p->options->residual);
    call_constant(&call, "ACTIVATION", activation_names[p->options->activation]);
    call_constant_int(&call, "BLOCK_M", ROWS);
    call_constant_int(&call, "BLOCK_N", COLUMNS);
    return call_launch(&call, stream,
                       tkc_grid3(tkc_cdiv(p->M, ROWS), tkc_cdiv(p->N, COLUMNS), p->batch));
}

static tkc_status launch_split(tkk_library *library, tkc_stream *stream, const Product *p,
                               const Plan *plan) {
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->options->workspace, parts_size(p, plan),
                        "tkk_matmul"));
    int64_t count = plan->splits * p->batch * p->M * p->N;
    tkk_tensor part = tkk_vector(scratch_take(&scratch, (uint64_t)count * 4), TKC_F32, count);
    tkc_status status = launch_parts(library, stream, p, plan, &part);
    if (status == TKC_OK) status = launch_reduce(library, stream, p, plan, &part);
    return scratch_end(&scratch, status);
}

tkc_status tkk_matmul(tkk_library *library, tkc_stream *stream, const tkk_tensor *a,
                      const tkk_tensor *b, const tkk_tensor *c, const tkk_matmul_options *options) {
    CHECK(check_library(library));
    Product p;
    CHECK(read_product(&p, a, b, c, options));
    if (p.batch == 0 || p.M == 0 || p.N == 0) return TKC_OK;
    Plan plan = make_plan(library, &p);
    CHECK(check_plan(&p, &plan));
    if (plan.schedule == TKK_SPLIT_K) return launch_split(library, stream, &p, &plan);
    return launch_tiles(library, stream, &p, &plan);
}

/* ---- groups --------------------------------------------------------------------------------- */

enum { TABLE_WORDS = 13, GROUP_MOST = 4096 };

/* What holds for all problems of a group. */
typedef struct Group {
    Blocks blocks;
    int64_t tiles;
    bool aligned, unit[6], even_mn, even_k;
} Group;

uint64_t tkk_matmul_grouped_workspace(uint32_t count) {
    return scratch_size((uint64_t)count * TABLE_WORDS * sizeof(int64_t));
}

static void strides_of(const Product *p, int64_t strides[6]) {
    const tkk_tensor *tensors[] = {p->a, p->b, p->c};
    for (uint32_t i = 0; i < 6; i++) strides[i] = stride(tensors[i / 2], i % 2);
}

static Group read_group(const tkk_library *library, uint32_t count, const Product *products) {
    Group g = {.aligned = true, .even_mn = true, .even_k = true};
    int64_t M = 0, N = 0, K = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (products[i].M > M) M = products[i].M;
        if (products[i].N > N) N = products[i].N;
        if (products[i].K > K) K = products[i].K;
    }
    g.blocks = choose_blocks(library, products[0].a->dtype, count, M, N, K);
    for (uint32_t d = 0; d < 6; d++) g.unit[d] = true;
    for (uint32_t i = 0; i < count; i++) {
        const Product *p = &products[i];
        int64_t strides[6];
        strides_of(p, strides);
        for (uint32_t d = 0; d < 6; d++) g.unit[d] = g.unit[d] && strides[d] == 1;
        g.even_mn = g.even_mn && p->M % g.blocks.m == 0 && p->N % g.blocks.n == 0;
        g.even_k = g.even_k && p->K % g.blocks.k == 0;
        g.tiles += count_tiles(&g.blocks, p->M, p->N);
    }
    for (uint32_t i = 0; i < count; i++) {
        const tkk_tensor *tensors[] = {products[i].a, products[i].b, products[i].c};
        int64_t strides[6];
        strides_of(&products[i], strides);
        for (uint32_t d = 0; d < 6; d++)
            g.aligned = g.aligned && (g.unit[d] || strides[d] % 16 == 0);
        g.aligned = g.aligned && products[i].N % 16 == 0 && products[i].K % 16 == 0;
        for (uint32_t d = 0; d < 3; d++)
            g.aligned = g.aligned && address_of(&tensors[d]->data) % 16 == 0;
    }
    return g;
}

static void write_table(const Group *g, uint32_t count, const Product *products, int64_t *table) {
    int64_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        const Product *p = &products[i];
        const tkk_tensor *tensors[] = {p->a, p->b, p->c};
        int64_t column[TABLE_WORDS] = {first, 0, 0, 0, p->M, p->N, p->K};
        for (uint32_t d = 0; d < 3; d++) column[1 + d] = (int64_t)address_of(&tensors[d]->data);
        strides_of(p, column + 7);
        for (uint32_t w = 0; w < TABLE_WORDS; w++) table[w * count + i] = column[w];
        first += count_tiles(&g->blocks, p->M, p->N);
    }
}

static tkc_status launch_group(tkk_library *library, tkc_stream *stream, const Group *g,
                               uint32_t count, const Product *first, const tkk_tensor *table) {
    static const char *const units[] = {"UNIT_AM", "UNIT_AK", "UNIT_BK",
                                        "UNIT_BN", "UNIT_CM", "UNIT_CN"};
    const tkk_matmul_options *o = first->options;
    Call call;
    call_begin(&call, library, &file, "matmul_grouped");
    call.compile_only = o->compile_only;
    call_tensor(&call, "table", table);
    call_int(&call, count);
    call_constant(&call, "A", dtype_constant(first->a->dtype));
    call_constant(&call, "B", dtype_constant(first->b->dtype));
    call_constant(&call, "C", dtype_constant(first->c->dtype));
    if (o->alpha != 1) add_factor(&call, "alpha", o->alpha);
    call_constant(&call, "ALIGNED", g->aligned ? "True" : "False");
    for (uint32_t d = 0; d < 6; d++) call_constant(&call, units[d], g->unit[d] ? "True" : "False");
    call_constant(&call, "ACTIVATION", activation_names[o->activation]);
    call_constant(&call, "PRECISION", o->precision == TKK_IEEE ? "'ieee'" : "'tf32'");
    call_blocks(&call, &g->blocks, g->even_mn, g->even_k);
    call_constant_int(&call, "COUNT", next_power_of_two(count));
    return call_launch(&call, stream, tkc_grid1(g->tiles));
}

/* The launch before may still be reading the table of a workspace that is used again. */
static tkc_status fill_table(tkc_stream *stream, const tkc_argument *to, const int64_t *table,
                             uint64_t size) {
    tkc_buffer *buffer = to->value.buffer;
    if (stream) CHECK(tkc_stream_synchronize(tkc_buffer_device(buffer), stream));
    return tkc_buffer_write(buffer, to->offset, table, size);
}

static tkc_status run_group(tkk_library *library, tkc_stream *stream, uint32_t count,
                            const Product *products, int64_t *table) {
    const tkk_matmul_options *o = products[0].options;
    Group g = read_group(library, count, products);
    if (g.tiles == 0) return TKC_OK;
    write_table(&g, count, products, table);
    Scratch scratch;
    const uint64_t size = (uint64_t)count * TABLE_WORDS * sizeof *table;
    CHECK(
        scratch_begin(&scratch, library, &o->workspace, scratch_size(size), "tkk_matmul_grouped"));
    tkk_tensor there = tkk_vector(scratch_take(&scratch, size), TKC_I64, count * TABLE_WORDS);
    tkc_status status = TKC_OK;
    if (!o->compile_only) status = fill_table(stream, &there.data, table, size);
    if (status == TKC_OK) status = launch_group(library, stream, &g, count, products, &there);
    return scratch_end(&scratch, status);
}

static tkc_status read_problems(uint32_t count, const tkk_tensor *a, const tkk_tensor *b,
                                const tkk_tensor *c, const tkk_matmul_options *o,
                                Product *products) {
    for (uint32_t i = 0; i < count; i++) {
        CHECK(read_product(&products[i], &a[i], &b[i], &c[i], o));
        if (c[i].rank != 2) return check_rank("c", &c[i], 2);
        CHECK(check_dtype("a", &a[i], a[0].dtype));
        CHECK(check_dtype("c", &c[i], c[0].dtype));
    }
    return TKC_OK;
}

tkc_status tkk_matmul_grouped(tkk_library *library, tkc_stream *stream, uint32_t count,
                              const tkk_tensor *a, const tkk_tensor *b, const tkk_tensor *c,
                              const tkk_matmul_options *options) {
    CHECK(check_library(library));
    const tkk_matmul_options *o = options ? options : &usual;
    CHECK(check_choices(o));
    if (count == 0) return TKC_OK;
    if (!a || !b || !c)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkk_matmul_grouped: a, b or c is NULL.");
    if (count > GROUP_MOST)
        return tkc_fail(TKC_UNSUPPORTED, "tkk_matmul_grouped: %u problems; at most %d at once.",
                        count, GROUP_MOST);
    if (is_given(&o->bias) || is_given(&o->residual) || is_given(&o->z) ||
        (o->schedule != TKK_AUTO_SCHEDULE && o->schedule != TKK_TILES))
        return tkc_fail(TKC_UNSUPPORTED,
                        "tkk_matmul_grouped has no bias, residual, z or schedule.");
    if (o->workspace.size && o->workspace.data.kind != TKC_ARGUMENT_BUFFER)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkk_matmul_grouped: the workspace must be a buffer, since the host "
                        "writes to it.");
    Product *products = calloc(count, sizeof *products);
    int64_t *table = calloc((size_t)count * TABLE_WORDS, sizeof *table);
    tkc_status status = TKC_OUT_OF_MEMORY;
    if (!products || !table)
        tkc_fail(status, "tkk_matmul_grouped: out of memory.");
    else if ((status = read_problems(count, a, b, c, o, products)) == TKC_OK)
        status = run_group(library, stream, count, products, table);
    free(products);
    free(table);
    return status;
}
