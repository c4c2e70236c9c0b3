/* interp_dot.c: dot and dot_scaled.
 *
 * result[i, j] = c[i, j] + a[i, 0] b[0, j] + a[i, 1] b[1, j] + ..., in this order of k: each
 * product rounded to the accumulator's type, then added. Operands of f16, bf16, fp8 and tf32 have
 * exact products in f32, so there only the sums round, as with a fused multiply-add.
 *
 *   float operands   accumulate in f32; a result of f16 or bf16 is rounded once, at the end
 *   f32 operands     `tf32` (or no precision): rounded to tf32 first, to nearest, ties away (as
 *                    cvt.rna.tf32 does); `ieee` and launch.ieee_dot: as they are. tf32x3, bf16x3
 *                    and bf16x6 stand for f32 made from several products: as they are, too
 *   f64              f64 throughout
 *   integers         i32, wrapping
 *
 * Operands are converted once: a into rows of f32, b into panels of PANEL columns, so that the
 * inner loop reads both in order. A tile of the result stays in registers for all of k.
 */
#include "compiler/interp_internal.h"

enum { PANEL = 32, ROWS = 8 };

static uint32_t round_up(uint32_t n, uint32_t to) {
    return (n + to - 1) / to * to;
}

/* ---- planning -------------------------------------------------------------------------------- */

uint64_t dot_prepare(DotPlan *dot, const Op *op) {
    const bool scaled = op->code == OP_dot_scaled;
    const Type *a = op_operand(op, 0)->type, *c = op_result(op, 0)->type;
    const uint32_t r = a->rank;
    const bool packed = scaled && op_word(op, ATTR_a_format, WORD_none) == WORD_e2m1;
    *dot = (DotPlan){
        .a = type_dtype(a),
        .b = type_dtype(op_operand(op, scaled ? 2 : 1)->type),
        .c = type_dtype(c),
        .batch = r == 3 ? a->shape[0] : 1,
        .m = a->shape[r - 2],
        .k = a->shape[r - 1] * (packed ? 2 : 1),
        .n = c->shape[r - 1],
    };
    const Word precision = op_word(op, ATTR_precision, WORD_tf32);
    dot->tf32 = dot->a == DT_f32 && precision == WORD_tf32;
    dot->kind = dtype_is_int(dot->c)                   ? DOT_I32
                : dot->c == DT_f64 || dot->a == DT_f64 ? DOT_F64
                                                       : DOT_F32;
    const uint64_t size = dot->kind == DOT_F64 ? 8 : 4;
    const uint64_t rows = round_up(dot->m, ROWS), columns = round_up(dot->n, PANEL);
    dot->pack_b = rows * dot->k * size;
    dot->pack_c = dot->pack_b + columns * dot->k * size;
    return dot->pack_c + rows * columns * size;
}

/* ---- the micro-kernel: ROWS x PANEL results over all of k ------------------------------------ */

typedef void Tile(uint32_t k, const float *restrict a, const float *restrict b, float *restrict c,
                  size_t c_stride);

/* W: floats in a vector; V vectors and R rows stay in registers at a time. */
#define TILE(name, target, W, V, R)                                                                \
    typedef float name##_vector __attribute__((vector_size(W * 4), aligned(4), may_alias));        \
    target static void name(uint32_t k, const float *restrict a, const float *restrict b,          \
                            float *restrict c, size_t c_stride) {                                  \
        for (uint32_t column = 0; column < PANEL; column += W * V)                                 \
            for (uint32_t row = 0; row < ROWS; row += R) {                                         \
                name##_vector sum[R][V];                                                           \
                for (uint32_t i = 0; i < R; i++)                                                   \
                    for (uint32_t v = 0; v < V; v++)                                               \
                        sum[i][v] =                                                                \
                            *(const name##_vector *)(c + (row + i) * c_stride + column + v * W);   \
                for (uint32_t p = 0; p < k; p++) {                                                 \
                    const float *line = b + (size_t)p * PANEL + column;                            \
                    for (uint32_t i = 0; i < R; i++)                                               \
                        for (uint32_t v = 0; v < V; v++)                                           \
                            sum[i][v] += *(const name##_vector *)(line + v * W) *                  \
                                         a[(size_t)(row + i) * k + p];                             \
                }                                                                                  \
                for (uint32_t i = 0; i < R; i++)                                                   \
                    for (uint32_t v = 0; v < V; v++)                                               \
                        *(name##_vector *)(c + (row + i) * c_stride + column + v * W) = sum[i][v]; \
            }                                                                                      \
    }

TILE(tile_4, , 4, 2, 4)
#if defined(__x86_64__)
TILE(tile_8, __attribute__((target("avx2"))), 8, 2, 4)
TILE(tile_16, __attribute__((target("avx512f"))), 16, 2, 8)
#endif

static Tile *best_tile(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return tile_16;
    if (__builtin_cpu_supports("avx2")) return tile_8;
#endif
    return tile_4;
}

/* ---- converting operands --------------------------------------------------------------------- */

HOT static void round_tf32(size_t n, float *x) {
    uint32_t *bits = (uint32_t *)(void *)x;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &bits[i], sizeof u);
        const uint32_t rounded = (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & ~0x1fffu;
        memcpy(&bits[i], &rounded, sizeof rounded);
    }
}

static void to_f32(bool tf32, DType from, size_t n, float *to, const void *source) {
    eval_to_f32(from, n, to, source);
    if (tf32) round_tf32(n, to);
}

static void place_panel_row(uint32_t n, uint32_t k, uint32_t p, float *panels, const float *row) {
    const uint32_t columns = round_up(n, PANEL);
    for (uint32_t j = 0; j < columns; j += PANEL) {
        float *to = panels + (size_t)j * k + (size_t)p * PANEL;
        const uint32_t width = n - j < PANEL ? n - j : PANEL;
        memcpy(to, row + j, width * sizeof *to);
        memset(to + width, 0, (PANEL - width) * sizeof *to);
    }
}

enum { PIECE = 1024 };

static void pack_b(const DotPlan *dot, bool tf32, float *panels, const uint8_t *b) {
    const uint32_t size = dtype_size(dot->b);
    float row[PIECE];
    for (uint32_t p = 0; p < dot->k; p++)
        for (uint32_t j = 0; j < dot->n; j += PIECE) {
            const uint32_t n = dot->n - j < PIECE ? dot->n - j : PIECE;
            to_f32(tf32, dot->b, n, row, b + ((size_t)p * dot->n + j) * size);
            place_panel_row(n, dot->k, p, panels + (size_t)j * dot->k, row);
        }
}

/* ---- f32 ------------------------------------------------------------------------------------- */

/* a: rows of k; b: panels; c: rows of round_up(n, PANEL), in place. */
static void multiply(const DotPlan *dot, const float *a, const float *b, float *c,
                     size_t c_stride) {
    Tile *tile = best_tile();
    for (uint32_t j = 0; j < dot->n; j += PANEL)
        for (uint32_t i = 0; i < dot->m; i += ROWS)
            tile(dot->k, a + (size_t)i * dot->k, b + (size_t)j * dot->k,
                 c + (size_t)i * c_stride + j, c_stride);
}

/* c and result are f32 and need no padding: the result is its own accumulator. */
static bool accumulates_in_place(const DotPlan *dot) {
    return dot->c == DT_f32 && dot->m % ROWS == 0 && dot->n % PANEL == 0;
}

static void add_product(const DotPlan *dot, const float *a, const float *b, float *sum,
                        uint8_t *result) {
    const uint32_t stride = round_up(dot->n, PANEL), size = dtype_size(dot->c);
    if (accumulates_in_place(dot)) {
        multiply(dot, a, b, (float *)(void *)result, dot->n);
        return;
    }
    for (uint32_t i = 0; i < dot->m; i++)
        eval_to_f32(dot->c, dot->n, sum + (size_t)i * stride, result + (size_t)i * dot->n * size);
    multiply(dot, a, b, sum, stride);
    for (uint32_t i = 0; i < dot->m; i++)
        eval_from_f32(dot->c, false, dot->n, result + (size_t)i * dot->n * size,
                      sum + (size_t)i * stride);
}

static void dot_f32(Thread *t, const DotPlan *dot, const uint8_t *a, const uint8_t *b,
                    uint8_t *result) {
    float *rows = (float *)(void *)(t->base[0] + dot->pack_a);
    float *panels = (float *)(void *)(t->base[0] + dot->pack_b);
    const bool tf32 = dot->tf32 && !t->run->launch->ieee_dot;
    to_f32(tf32, dot->a, (size_t)dot->m * dot->k, rows, a);
    pack_b(dot, tf32, panels, b);
    add_product(dot, rows, panels, (float *)(void *)(t->base[0] + dot->pack_c), result);
}

/* ---- f64, integers: row by row --------------------------------------------------------------- */

#define ROW_BY_ROW(name, T)                                                                        \
    HOT static void add_row_##name(size_t n, T *restrict r, T factor, const T *restrict b) {       \
        for (size_t i = 0; i < n; i++) r[i] += factor * b[i];                                      \
    }                                                                                              \
    static void multiply_##name(const DotPlan *dot, const T *a, const T *b, T *c) {                \
        for (uint32_t i = 0; i < dot->m; i++)                                                      \
            for (uint32_t p = 0; p < dot->k; p++)                                                  \
                add_row_##name(dot->n, c + (size_t)i * dot->n, a[(size_t)i * dot->k + p],          \
                               b + (size_t)p * dot->n);                                            \
    }
ROW_BY_ROW(f64, double)
ROW_BY_ROW(u32, uint32_t)

static void convert(DType from, DType to, size_t n, void *result, const void *operand) {
    EvalCode code;
    if (eval_prepare(&code, OP_cast, from, to, 0)) eval_block(&code, n, result, &operand);
}

/* Everything is converted to one wide type, multiplied there, and converted back. */
static void dot_wide(Thread *t, const DotPlan *dot, const uint8_t *a, const uint8_t *b,
                     uint8_t *result) {
    const DType wide = dot->kind == DOT_F64 ? DT_f64 : DT_i32;
    void *wide_a = t->base[0] + dot->pack_a, *wide_b = t->base[0] + dot->pack_b;
    void *sum = t->base[0] + dot->pack_c;
    convert(dot->a, wide, (size_t)dot->m * dot->k, wide_a, a);
    convert(dot->b, wide, (size_t)dot->k * dot->n, wide_b, b);
    convert(dot->c, wide, (size_t)dot->m * dot->n, sum, result);
    if (dot->kind == DOT_F64)
        multiply_f64(dot, wide_a, wide_b, sum);
    else
        multiply_u32(dot, wide_a, wide_b, sum);
    convert(wide, dot->c, (size_t)dot->m * dot->n, result, sum);
}

bool interp_dot(Thread *t, const Step *step) {
    const DotPlan *dot = step->dot;
    const uint8_t *a = place_data(t, &step->in[0]), *b = place_data(t, &step->in[1]);
    uint8_t *result = place_data(t, &step->out[0]);
    copy_place(t, &step->in[2], &step->out[0]);
    for (uint32_t i = 0; i < dot->batch; i++) {
        if (dot->kind == DOT_F32)
            dot_f32(t, dot, a, b, result);
        else
            dot_wide(t, dot, a, b, result);
        a += (size_t)dot->m * dot->k * dtype_size(dot->a);
        b += (size_t)dot->k * dot->n * dtype_size(dot->b);
        result += (size_t)dot->m * dot->n * dtype_size(dot->c);
    }
    return true;
}

/* ---- dot_scaled ------------------------------------------------------------------------------ */

/* One matrix of a dot_scaled, seen as lines of `line` packed bytes or elements. */
typedef struct Scaled {
    Word format;
    const uint8_t *data, *scale;
    uint32_t k;
} Scaled;

/* Element i of the data in its format. Two e2m1 share a byte, the even one below. */
static float scaled_element(const Scaled *s, size_t i, bool high) {
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    static const DType dtypes[WORD_COUNT] = {[WORD_e4m3] = DT_f8e4m3,
                                             [WORD_e5m2] = DT_f8e5m2,
                                             [WORD_bf16] = DT_bf16,
                                             [WORD_fp16] = DT_f16};
    float value;
    if (s->format == WORD_e2m1) {
        const uint32_t code = high ? s->data[i] >> 4 : s->data[i] & 15;
        return code & 8 ? -e2m1[code & 7] : e2m1[code];
    }
    const DType dtype = dtypes[s->format];
    eval_to_f32(dtype, 1, &value, s->data + i * dtype_size(dtype));
    return value;
}

/* 2^(code - 127); 255 is NaN. */
static float scale_value(uint8_t code) {
    const uint32_t bits = code == 255 ? 0x7fffffffu
                          : code == 0 ? 0x00400000u
                                      : (uint32_t)code << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float scaled_at(const Scaled *s, uint32_t line, uint32_t p, size_t stride_line,
                       size_t stride_p) {
    const bool packed = s->format == WORD_e2m1;
    const size_t i = line * stride_line + (packed ? p / 2 : p) * stride_p;
    return scaled_element(s, i, p & 1) * scale_value(s->scale[(size_t)line * (s->k / 32) + p / 32]);
}

static void pack_scaled(const DotPlan *dot, const Scaled *a, const Scaled *b, float *rows,
                        float *panels) {
    const size_t a_line = a->format == WORD_e2m1 ? dot->k / 2 : dot->k;
    const uint32_t columns = round_up(dot->n, PANEL);
    for (uint32_t i = 0; i < dot->m; i++)
        for (uint32_t p = 0; p < dot->k; p++)
            rows[(size_t)i * dot->k + p] = scaled_at(a, i, p, a_line, 1);
    for (uint32_t j = 0; j < columns; j++)
        for (uint32_t p = 0; p < dot->k; p++)
            panels[(size_t)(j / PANEL * PANEL) * dot->k + (size_t)p * PANEL + j % PANEL] =
                j < dot->n ? scaled_at(b, j, p, 1, dot->n) : 0;
}

bool interp_dot_scaled(Thread *t, const Step *step) {
    const DotPlan *dot = step->dot;
    const Op *op = step->op;
    float *rows = (float *)(void *)(t->base[0] + dot->pack_a);
    float *panels = (float *)(void *)(t->base[0] + dot->pack_b);
    uint8_t *result = place_data(t, &step->out[0]);
    Scaled a = {op_word(op, ATTR_a_format, WORD_none), place_data(t, &step->in[0]),
                place_data(t, &step->in[1]), dot->k};
    Scaled b = {op_word(op, ATTR_b_format, WORD_none), place_data(t, &step->in[2]),
                place_data(t, &step->in[3]), dot->k};
    copy_place(t, &step->in[4], &step->out[0]);
    for (uint32_t i = 0; i < dot->batch; i++) {
        pack_scaled(dot, &a, &b, rows, panels);
        add_product(dot, rows, panels, (float *)(void *)(t->base[0] + dot->pack_c), result);
        a.data += (size_t)step->in[0].count / dot->batch * step->in[0].size;
        b.data += (size_t)step->in[2].count / dot->batch * step->in[2].size;
        a.scale += step->in[1].count / dot->batch;
        b.scale += step->in[3].count / dot->batch;
        result += (size_t)dot->m * dot->n * dtype_size(dot->c);
    }
    return true;
}
