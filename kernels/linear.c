/* linear.c: linear layers, made of products and of linear.tk.
 *
 * The backward pass makes dz = dy f'(z) once, in memory: both products need all of it, several
 * times over. Without an activation dz is dy itself. */
#include "kernels/matmul.h"

KERNEL_FILE(linear);

static tkc_status check_all(const tkk_linear *p) {
    CHECK_OPTIONS(p, "tkk_linear");
    CHECK(check_activation("tkk_linear", p->activation));
    CHECK(check_precision("tkk_linear", p->precision));
    CHECK(check_rank("x", &p->x, 2));
    CHECK(check_rank("w", &p->w, 2));
    CHECK(check_shape("w", &p->w, 2, (int64_t[]){p->w.shape[0], p->x.shape[1]}));
    CHECK(check_float("x", &p->x));
    CHECK(check_dtype("w", &p->w, p->x.dtype));
    CHECK(check_reach("x", &p->x, 0));
    return check_reach("w", &p->w, 0);
}

/* The matrix product's names for the tensors of a layer are replaced by the layer's own. */
static tkc_status check_matrix(const char *name, const tkk_tensor *tensor, int64_t rows,
                               int64_t columns) {
    CHECK(check_shape(name, tensor, 2, (int64_t[]){rows, columns}));
    CHECK(check_float(name, tensor));
    return check_reach(name, tensor, 0);
}

static tkc_status check_bias(const char *name, const tkk_tensor *tensor, int64_t length) {
    CHECK(check_shape(name, tensor, 1, (int64_t[]){length}));
    CHECK(check_float(name, tensor));
    return check_reach(name, tensor, 0);
}

/* ---- forward -------------------------------------------------------------------------------- */

static tkk_matmul_options plain_options(const tkk_linear *p) {
    tkk_matmul_options o = TKK_MATMUL_OPTIONS_INIT;
    o.precision = p->precision;
    o.compile_only = p->compile_only;
    return o;
}

static tkk_matmul_options forward_options(const tkk_linear *p) {
    tkk_matmul_options o = plain_options(p);
    o.activation = p->activation;
    o.bias = p->b;
    o.residual = p->residual;
    o.z = p->z;
    o.workspace = p->workspace;
    return o;
}

tkc_status tkk_linear_forward(tkk_library *library, tkc_stream *stream, const tkk_linear *p) {
    CHECK(check_library(library));
    CHECK(check_all(p));
    const int64_t rows = p->x.shape[0], out = p->w.shape[0];
    CHECK(check_matrix("y", &p->y, rows, out));
    if (is_given(&p->b)) CHECK(check_bias("b", &p->b, out));
    if (is_given(&p->residual)) CHECK(check_matrix("residual", &p->residual, rows, out));
    if (is_given(&p->z)) CHECK(check_matrix("z", &p->z, rows, out));
    const tkk_matmul_options o = forward_options(p);
    const tkk_tensor w = tkk_exchange(p->w, 0, 1);
    return tkk_matmul(library, stream, &p->x, &w, &p->y, &o);
}

/* ---- backward ------------------------------------------------------------------------------- */

enum { SHORTEST_PART = 64, MOST_PARTS = 256, COLUMNS = 128 };

/* What the backward pass needs of the workspace. */
typedef struct Needs {
    int64_t parts, length;
    uint64_t dz, sums, product;
} Needs;

static bool has_activation(const tkk_linear *p) {
    return p->activation != TKK_NO_ACTIVATION;
}

static int64_t count_parts(const tkk_library *library, int64_t rows, int64_t columns) {
    int64_t programs = tkc_cdiv(columns, COLUMNS), wanted = 2 * processors(library);
    int64_t parts = tkc_cdiv(wanted, programs > 0 ? programs : 1), most = rows / SHORTEST_PART;
    if (parts > most) parts = most;
    if (parts > MOST_PARTS) parts = MOST_PARTS;
    return parts > 1 ? parts : 1;
}

static tkk_tensor dz_of(const tkk_linear *p, tkc_argument data) {
    return tkk_matrix(data, p->x.dtype, p->x.shape[0], p->w.shape[0]);
}

/* dx = dz w, dw = dz^T x. */
static tkc_status products(tkk_library *library, tkc_stream *stream, const tkk_linear *p,
                           const tkk_tensor *dz, const tkk_workspace *workspace) {
    tkk_matmul_options o = plain_options(p);
    if (workspace) o.workspace = *workspace;
    if (is_given(&p->dx)) CHECK(tkk_matmul(library, stream, dz, &p->w, &p->dx, &o));
    const tkk_tensor turned = tkk_exchange(*dz, 0, 1);
    if (is_given(&p->dw)) CHECK(tkk_matmul(library, stream, &turned, &p->x, &p->dw, &o));
    return TKC_OK;
}

static uint64_t products_size(tkk_library *library, const tkk_linear *p) {
    const tkk_matmul_options o = plain_options(p);
    const tkk_tensor dz = dz_of(p, p->x.data), turned = tkk_exchange(dz, 0, 1);
    uint64_t dx = is_given(&p->dx) ? tkk_matmul_workspace(library, &dz, &p->w, &p->dx, &o) : 0;
    uint64_t dw = is_given(&p->dw) ? tkk_matmul_workspace(library, &turned, &p->x, &p->dw, &o) : 0;
    return dx > dw ? dx : dw;
}

static Needs backward_needs(tkk_library *library, const tkk_linear *p) {
    const int64_t rows = p->x.shape[0], out = p->w.shape[0];
    Needs n = {.parts = count_parts(library, rows, out)};
    n.length = tkc_cdiv(rows > 0 ? rows : 1, n.parts);
    n.parts = tkc_cdiv(rows > 0 ? rows : 1, n.length);
    if (has_activation(p)) n.dz = scratch_size((uint64_t)rows * out * tkc_dtype_size(p->x.dtype));
    if (is_given(&p->db)) n.sums = scratch_size((uint64_t)n.parts * out * sizeof(float));
    n.product = products_size(library, p);
    return n;
}

uint64_t tkk_linear_workspace(tkk_library *library, const tkk_linear *p) {
    if (!library) return 0;
    if (check_all(p) != TKC_OK) return 0;
    const Needs n = backward_needs(library, p);
    const tkk_matmul_options o = forward_options(p);
    const tkk_tensor w = tkk_exchange(p->w, 0, 1);
    const uint64_t backward = n.dz + n.sums + n.product;
    const uint64_t forward =
        is_given(&p->y) ? tkk_matmul_workspace(library, &p->x, &w, &p->y, &o) : 0;
    return forward > backward ? forward : backward;
}

static tkc_status launch_gradient(tkk_library *library, tkc_stream *stream, const tkk_linear *p,
                                  const Needs *n, const tkk_tensor *dz, const tkk_tensor *part) {
    const int64_t rows = p->x.shape[0], out = p->w.shape[0];
    Call call;
    call_begin(&call, library, &file, "linear_gradient");
    call.compile_only = p->compile_only;
    call_tensor(&call, "dy", &p->dy);
    call_optional(&call, "part", part);
    call_int(&call, rows);
    call_stride(&call, "N", "i32", out);
    call_int(&call, n->length);
    call_stride(&call, "stride_ym", "i64", stride_of(&p->dy, 0));
    call_stride(&call, "stride_yn", "i32", stride_of(&p->dy, 1));
    if (has_activation(p)) {
        call_tensor(&call, "z", &p->z);
        call_tensor(&call, "dz", dz);
        call_stride(&call, "stride_zm", "i64", stride_of(&p->z, 0));
        call_stride(&call, "stride_zn", "i32", stride_of(&p->z, 1));
    }
    call_constant(&call, "ACTIVATION", activation_names[p->activation]);
    call_constant(&call, "SUMS", part ? "True" : "False");
    call_constant_int(&call, "BLOCK_N", COLUMNS);
    return call_launch(&call, stream, tkc_grid2(n->parts, tkc_cdiv(out, COLUMNS)));
}

static tkc_status launch_bias(tkk_library *library, tkc_stream *stream, const tkk_linear *p,
                              const Needs *n, const tkk_tensor *part) {
    enum { BLOCK = 256 };
    const int64_t out = p->w.shape[0];
    Call call;
    call_begin(&call, library, &file, "linear_bias");
    call.compile_only = p->compile_only;
    call_tensor(&call, "part", part);
    call_tensor(&call, "db", &p->db);
    call_int(&call, n->parts);
    call_stride(&call, "N", "i32", out);
    call_stride(&call, "stride_db", "i32", stride_of(&p->db, 0));
    call_constant_int(&call, "BLOCK", BLOCK);
    return call_launch(&call, stream, tkc_grid1(tkc_cdiv(out, BLOCK)));
}

static tkc_status run_backward(tkk_library *library, tkc_stream *stream, const tkk_linear *p,
                               const Needs *n, Scratch *scratch) {
    tkk_tensor dz = p->dy, part;
    if (n->dz) dz = dz_of(p, scratch_take(scratch, n->dz));
    if (n->sums)
        part = tkk_vector(scratch_take(scratch, n->sums), TKC_F32, n->parts * p->w.shape[0]);
    if (p->w.shape[0] > 0 && (n->dz || n->sums))
        CHECK(launch_gradient(library, stream, p, n, &dz, n->sums ? &part : NULL));
    if (n->sums) CHECK(launch_bias(library, stream, p, n, &part));
    tkk_workspace rest = {.size = n->product};
    if (n->product) rest.data = scratch_take(scratch, n->product);
    return products(library, stream, p, &dz, &rest);
}

static tkc_status check_backward(const tkk_linear *p) {
    const int64_t rows = p->x.shape[0], in = p->x.shape[1], out = p->w.shape[0];
    CHECK(check_matrix("dy", &p->dy, rows, out));
    CHECK(check_dtype("dy", &p->dy, p->x.dtype));
    if (has_activation(p)) CHECK(check_matrix("z", &p->z, rows, out));
    if (is_given(&p->dx)) CHECK(check_matrix("dx", &p->dx, rows, in));
    if (is_given(&p->dw)) CHECK(check_matrix("dw", &p->dw, out, in));
    return is_given(&p->db) ? check_bias("db", &p->db, out) : TKC_OK;
}

tkc_status tkk_linear_backward(tkk_library *library, tkc_stream *stream, const tkk_linear *p) {
    CHECK(check_library(library));
    CHECK(check_all(p));
    CHECK(check_backward(p));
    if (p->w.shape[0] == 0 && p->x.shape[1] == 0) return TKC_OK;
    const Needs n = backward_needs(library, p);
    Scratch scratch;
    CHECK(scratch_begin(&scratch, library, &p->workspace, n.dz + n.sums + n.product, "tkk_linear"));
    return scratch_end(&scratch, run_backward(library, stream, p, &n, &scratch));
}
