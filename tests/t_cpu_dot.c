/* dot as native code: every kind of product, with each set of instructions the machine has.
 *
 * Most operands are small whole numbers, so that sums are exact whatever their order, and what is
 * expected is a sum of integers. What rounds is held to a bound, and special values to the rules in
 * compiler/cpu/dot.c.
 */
#include "tests/interp_test.h"

#include "compiler/cpu/cpu.h"
#include "compiler/eval.h"

#include <math.h>

#define NO_AVX512 "-avx512f,-avx512bw,-avx512vl,-avx512dq,-avx512bf16,-avx512vnni"

/* The machine's own, without products of pairs of bf16, AVX2, SSE2. */
static const char *const features[] = {NULL, "-avx512bf16,-avx512vnni", NO_AVX512,
                                       "-avx,-avx2,-fma,-avxvnni," NO_AVX512};

typedef struct Shape {
    uint32_t batch, m, n, k; /* batch 0: matrices without one */
} Shape;

/* What the kernel does beside the product. `flip`: the operand lies in memory transposed. */
typedef struct Form {
    bool flip_a, flip_b;
    bool permute_a, permute_b; /* ... and comes through a permute */
    bool from_f32;             /* operands are rounded from f32 in the kernel */
    bool loop;                 /* three times, in a loop that carries the sum */
    bool checked;              /* every access */
} Form;

typedef struct Matrix {
    const char *name;
    DType dtype;
    uint32_t batch, rows, columns;
    bool flip;
} Matrix;

static uint64_t count_of(const Matrix *x) {
    return (uint64_t)(x->batch ? x->batch : 1) * x->rows * x->columns;
}

/* Where an element lies. */
static uint64_t place_of(const Matrix *x, uint32_t batch, uint32_t row, uint32_t column) {
    const uint64_t first = (uint64_t)batch * x->rows * x->columns;
    return first +
           (x->flip ? (uint64_t)column * x->rows + row : (uint64_t)row * x->columns + column);
}

/* ---- kernels ------------------------------------------------------------------------ */

static const char *shape_of(Arena *arena, const Matrix *x) {
    if (x->batch) return arena_printf(arena, "%ux%ux%u", x->batch, x->rows, x->columns);
    return arena_printf(arena, "%ux%u", x->rows, x->columns);
}

/* Pointers to all elements, as %(at + 99). */
static void add_addresses(Text *t, const Matrix *x, uint32_t at) {
    const char *shape = shape_of(t->arena, x), *dtype = dtype_name(x->dtype);
    const uint32_t rank = x->batch ? 3 : 2;
    const uint32_t extents[3] = {x->batch, x->rows, x->columns};
    const uint32_t steps[3] = {x->rows * x->columns, x->flip ? 1 : x->columns,
                               x->flip ? x->rows : 1};
    uint32_t sum = 0;
    for (uint32_t d = 3 - rank; d < 3; d++) {
        const uint32_t n = at + 20 * d;
        char ones[3][16] = {"1", "1", "1"};
        snprintf(ones[d], sizeof ones[d], "%u", extents[d]);
        const char *thin = rank == 3 ? arena_printf(t->arena, "%sx%sx%s", ones[0], ones[1], ones[2])
                                     : arena_printf(t->arena, "%sx%s", ones[1], ones[2]);
        text_printf(t, "%%%u: %uxi32 = arange {start = 0, end = %u}\n", n, extents[d], extents[d]);
        text_printf(t, "%%%u: %sxi32 = reshape %%%u\n", n + 1, thin, n);
        text_printf(t, "%%%u: %sxi32 = constant {value = %u}\n", n + 2, thin, steps[d]);
        text_printf(t, "%%%u: %sxi32 = mul %%%u, %%%u\n", n + 3, thin, n + 1, n + 2);
        text_printf(t, "%%%u: %sxi32 = broadcast %%%u\n", n + 4, shape, n + 3);
        if (sum) text_printf(t, "%%%u: %sxi32 = add %%%u, %%%u\n", n + 5, shape, sum, n + 4);
        sum = sum ? n + 5 : n + 4;
    }
    text_printf(t, "%%%u: %sx*%s = splat %%%s\n", at + 98, shape, dtype, x->name);
    text_printf(t, "%%%u: %sx*%s = offset %%%u, %%%u\n", at + 99, shape, dtype, at + 98, sum);
}

/* The operand as %(at + 95). */
static void add_operand(Text *t, const Matrix *x, DType wanted, bool permute, uint32_t at) {
    Matrix stored = *x;
    if (permute) stored = (Matrix){x->name, x->dtype, x->batch, x->columns, x->rows, !x->flip};
    add_addresses(t, &stored, at);
    const char *shape = shape_of(t->arena, &stored), *dtype = dtype_name(x->dtype);
    text_printf(t, "%%%u: %sx%s = load %%%u\n", at + 90, shape, dtype, at + 99);
    uint32_t now = at + 90;
    if (wanted != x->dtype) {
        text_printf(t, "%%%u: %sx%s = cast %%%u\n", at + 91, shape, dtype_name(wanted), now);
        now = at + 91;
    }
    const char *order = !permute ? "" : x->batch ? "{order = [0, 2, 1]}" : "{order = [1, 0]}";
    text_printf(t, "%%%u: %sx%s = %s %%%u %s\n", at + 95, shape_of(t->arena, x), dtype_name(wanted),
                permute ? "permute" : "hint", now, order);
}

static const char *kernel_text(Arena *arena, const Matrix *x, const Form *form, DType in,
                               const char *attributes) {
    Text t = {.arena = arena};
    const char *result = shape_of(arena, &x[2]), *sum = dtype_name(x[2].dtype);
    text_puts(&t, "kernel @test(");
    for (uint32_t i = 0; i < 3; i++)
        text_printf(&t, "%s: *%s, ", x[i].name, dtype_name(x[i].dtype));
    text_printf(&t, "y: *%s) {num_warps = 4, num_stages = 3, num_ctas = 1} {\n", sum);
    add_operand(&t, &x[0], in, form->permute_a, 1000);
    add_operand(&t, &x[1], in, form->permute_b, 1100);
    add_operand(&t, &x[2], x[2].dtype, false, 1200);
    Matrix out = x[2];
    out.name = "y";
    add_addresses(&t, &out, 1300);
    if (form->loop) {
        text_puts(&t, "%1: i32 = constant {value = 0}\n%2: i32 = constant {value = 3}\n"
                      "%3: i32 = constant {value = 1}\n");
        text_printf(&t, "%%200: %sx%s = for %%1, %%2, %%3, %%1295 (%%4: i32, %%5: %sx%s) {\n",
                    result, sum, result, sum);
        text_printf(&t, "%%6: %sx%s = dot %%1095, %%1195, %%5 %s\nyield %%6\n}\n", result, sum,
                    attributes);
    } else {
        text_printf(&t, "%%200: %sx%s = dot %%1095, %%1195, %%1295 %s\n", result, sum, attributes);
    }
    text_puts(&t, "store %1399, %200\nreturn\n}\n");
    return t.data;
}

typedef struct Native {
    Context *context;
    CpuCode code;
    uint8_t *scratch;
} Native;

static void native_open(Native *native, const char *text, const CpuOptions *options) {
    *native = (Native){.context = context_new()};
    Module *module = context_must_read(native->context, text);
    Text error = {.arena = &native->context->arena};
    ck_assert_msg(cpu_compile(module, options, &native->code, &error), "%s", error.data);
    native->scratch = aligned_alloc(64, (native->code.scratch_size + 63) / 64 * 64);
}

static void native_run(Native *native, uint32_t count, void *const *data) {
    uint64_t arguments[8];
    for (uint32_t i = 0; i < count; i++) arguments[i] = (uint64_t)(uintptr_t)data[i];
    const CpuLaunch launch = {.arguments = arguments,
                              .grid = {1, 1, 1},
                              .tf32_half = 0x1000,
                              .tf32_mask = ~UINT64_C(0x1fff)};
    const uint32_t program[3] = {0};
    CpuFault fault;
    memset(native->scratch, 0xff, native->code.scratch_size); /* NaN, when it is read too early */
    const uint32_t status = native->code.entry(&launch, native->scratch, program, &fault);
    ck_assert_uint_eq(status, CPU_RUNNING);
}

static void native_close(Native *native) {
    free(native->scratch);
    cpu_free(&native->code);
    context_free(native->context);
}

static void run(const char *text, const char *with, void *const *data) {
    Native native;
    native_open(&native, text, &(CpuOptions){.features = with});
    native_run(&native, 4, data);
    native_close(&native);
}

/* With each access checked. */
static void run_checked(const char *text, void *const *data, const uint64_t *sizes) {
    Native native;
    CpuRange ranges[4];
    uint64_t arguments[4];
    native_open(&native, text, &(CpuOptions){.bounds = true});
    for (uint32_t i = 0; i < 4; i++) {
        ranges[i] = (CpuRange){sizes[i], (uint64_t)(uintptr_t)data[i]};
        arguments[i] = CPU_CHECKED_ADDRESS(i);
    }
    const CpuLaunch launch = {.arguments = arguments,
                              .grid = {1, 1, 1},
                              .tf32_mask = ~UINT64_C(0),
                              .check = cpu_check,
                              .ranges = ranges,
                              .range_count = 4};
    const uint32_t program[3] = {0};
    CpuFault fault;
    const uint32_t status = native.code.entry(&launch, native.scratch, program, &fault);
    ck_assert_uint_eq(status, CPU_RUNNING);
    native_close(&native);
}

/* ---- whole numbers ------------------------------------------------------------------ */

static void put(DType dtype, void *data, uint64_t i, int64_t x) {
    const uint64_t bits = dtype_is_float(dtype) ? eval_bits_from_double(dtype, (double)x)
                                                : eval_bits_from_int(dtype, x);
    memcpy((uint8_t *)data + i * dtype_size(dtype), &bits, dtype_size(dtype));
}

static int64_t get(DType dtype, const void *data, uint64_t i) {
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)data + i * dtype_size(dtype), dtype_size(dtype));
    return dtype_is_float(dtype) ? (int64_t)eval_double_from_bits(dtype, bits)
                                 : eval_int_from_bits(dtype, bits);
}

static void fill(const Matrix *x, void *data, int64_t least, int64_t most, uint64_t *seed) {
    for (uint64_t i = 0; i < count_of(x); i++)
        put(x->dtype, data, i, least + (int64_t)(random_next(seed) % (uint64_t)(most - least + 1)));
}

typedef struct Kind {
    DType in, out;
    int64_t least, most; /* of the operands */
} Kind;

/* fp8 and f16 hold these; sums of 3 * 256 products stay below 2^11 where the result is f16. */
static const Kind kinds[] = {
    {DT_f32, DT_f32, -9, 9},    {DT_f16, DT_f32, -9, 9},         {DT_f16, DT_f16, -1, 1},
    {DT_bf16, DT_f32, -9, 9},   {DT_bf16, DT_bf16, 0, 0},        {DT_f8e4m3, DT_f32, -9, 9},
    {DT_f8e5m2, DT_f32, -4, 4}, {DT_f64, DT_f64, -99, 99},       {DT_i8, DT_i32, -128, 127},
    {DT_u8, DT_i32, 0, 255},    {DT_i16, DT_i32, -32768, 32767}, {DT_i32, DT_i32, -99, 99},
};

static void check_whole(const Kind *kind, const Shape *s, const Form *form, const char *with) {
    const DType stored = form->from_f32 ? DT_f32 : kind->in;
    const Matrix x[3] = {{"a", stored, s->batch, s->m, s->k, form->flip_a},
                         {"b", stored, s->batch, s->k, s->n, form->flip_b},
                         {"c", kind->out, s->batch, s->m, s->n, false}};
    uint64_t seed = s->m + s->n * 3 + s->k * 5;
    void *data[4];
    uint64_t sizes[4];
    for (uint32_t i = 0; i < 4; i++) {
        sizes[i] = count_of(&x[i < 3 ? i : 2]) * dtype_size(x[i < 3 ? i : 2].dtype);
        data[i] = malloc(sizes[i]);
    }
    fill(&x[0], data[0], kind->least, kind->most, &seed);
    fill(&x[1], data[1], kind->least, kind->most, &seed);
    fill(&x[2], data[2], -9, 9, &seed);
    Arena arena;
    arena_init(&arena, 0);
    const char *text = kernel_text(&arena, x, form, kind->in, "");
    if (form->checked)
        run_checked(text, data, sizes);
    else
        run(text, with, data);
    for (uint32_t t = 0; t < (s->batch ? s->batch : 1); t++)
        for (uint32_t i = 0; i < s->m; i++)
            for (uint32_t j = 0; j < s->n; j++) {
                int64_t sum = 0;
                for (uint32_t k = 0; k < s->k; k++)
                    sum += get(stored, data[0], place_of(&x[0], t, i, k)) *
                           get(stored, data[1], place_of(&x[1], t, k, j));
                const uint64_t at = place_of(&x[2], t, i, j);
                int64_t want = get(kind->out, data[2], at) + (form->loop ? 3 : 1) * sum;
                if (dtype_is_int(kind->out)) want = (int32_t)(uint32_t)(uint64_t)want;
                if (get(kind->out, data[3], at) != want)
                    ck_abort_msg(
                        "%s to %s, %ux%ux%u, form %d%d%d%d%d%d, with %s: [%u, %u] is %lld, "
                        "not %lld",
                        dtype_name(kind->in), dtype_name(kind->out), s->m, s->n, s->k, form->flip_a,
                        form->flip_b, form->permute_a, form->permute_b, form->from_f32, form->loop,
                        with ? with : "all features", i, j, (long long)get(kind->out, data[3], at),
                        (long long)want);
            }
    arena_free(&arena);
    for (uint32_t i = 0; i < 4; i++) free(data[i]);
}

START_TEST(every_kind) {
    static const Shape shapes[] = {{0, 16, 16, 16}, {0, 128, 64, 32}, {0, 1, 1, 1},
                                   {0, 4, 128, 64}, {0, 2, 8, 256},   {4, 16, 32, 16},
                                   {2, 8, 16, 8},   {0, 64, 2, 4}};
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        for (size_t k = 0; k < ARRAY_LENGTH(shapes); k++) {
            const uint32_t turn = (uint32_t)(i + k);
            const Form form = {.flip_a = turn & 1, .flip_b = turn & 2, .loop = k == 2};
            check_whole(&kinds[i], &shapes[k], &form, NULL);
        }
}
END_TEST

/* Operands as they lie in memory, through a permute, from f32; before a loop. */
START_TEST(every_form) {
    static const Kind few[] = {
        {DT_f32, DT_f32, -9, 9}, {DT_bf16, DT_f32, -9, 9}, {DT_i8, DT_i32, -128, 127}};
    static const Shape shapes[] = {{0, 32, 64, 32}, {2, 16, 32, 64}};
    for (size_t i = 0; i < ARRAY_LENGTH(few); i++)
        for (uint32_t bits = 0; bits < 32; bits += 2 + bits % 3) {
            Form form = {.flip_a = bits & 1, .flip_b = bits & 2};
            form.permute_a = bits & 4;
            form.permute_b = bits & 8;
            form.from_f32 = i == 1 && bits & 16;
            form.loop = bits & 16;
            check_whole(&few[i], &shapes[bits % 5 == 0], &form, NULL);
            form.checked = true;
            if (bits % 3 == 0) check_whole(&few[i], &shapes[0], &form, NULL);
        }
}
END_TEST

START_TEST(every_machine) {
    static const Shape shapes[] = {{0, 32, 64, 32}, {0, 16, 8, 64}};
    for (size_t f = 1; f < ARRAY_LENGTH(features); f++)
        for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
            check_whole(&kinds[i], &shapes[i % 2], &(Form){.flip_a = f & 1, .flip_b = i & 1},
                        features[f]);
}
END_TEST

/* The sum that a loop carries is not written over while others of its elements are still read. */
START_TEST(carried_and_turned) {
    enum { N = 32, TURNS = 3 };
    static float a[N * N], b[N * N], c[N * N], y[N * N], sum[N * N], next[N * N];
    void *data[4] = {a, b, c, y};
    const Matrix x[4] = {{"a", DT_f32, 0, N, N, false},
                         {"b", DT_f32, 0, N, N, false},
                         {"c", DT_f32, 0, N, N, false},
                         {"y", DT_f32, 0, N, N, false}};
    uint64_t seed = 5;
    Arena arena;
    arena_init(&arena, 0);
    Text t = {.arena = &arena};
    text_puts(&t, "kernel @test(a: *f32, b: *f32, c: *f32, y: *f32)"
                  " {num_warps = 4, num_stages = 3, num_ctas = 1} {\n");
    for (uint32_t i = 0; i < 3; i++) {
        fill(&x[i], data[i], -3, 3, &seed);
        add_operand(&t, &x[i], DT_f32, false, 1000 + 100 * i);
    }
    add_addresses(&t, &x[3], 1300);
    text_puts(&t, "%1: i32 = constant {value = 0}\n%2: i32 = constant {value = 3}\n"
                  "%3: i32 = constant {value = 1}\n"
                  "%200: 32x32xf32 = for %1, %2, %3, %1295 (%4: i32, %5: 32x32xf32) {\n"
                  "%6: 32x32xf32 = add %5, %5\n"
                  "%7: 32x32xf32 = permute %6 {order = [1, 0]}\n"
                  "%8: 32x32xf32 = dot %1095, %1195, %7\nyield %8\n}\n"
                  "store %1399, %200\nreturn\n}\n");
    run(t.data, NULL, data);
    arena_free(&arena);
    memcpy(sum, c, sizeof sum);
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < N * N; i++) {
            next[i] = 2 * sum[i % N * N + i / N];
            for (uint32_t k = 0; k < N; k++) next[i] += a[i / N * N + k] * b[k * N + i % N];
        }
        memcpy(sum, next, sizeof sum);
    }
    for (uint32_t i = 0; i < N * N; i++) ck_assert(y[i] == sum[i]);
}
END_TEST

/* %to = %from doubled many times: there are 2^100 ways from one to the other. */
static void add_doublings(Text *t, uint32_t from, uint32_t to) {
    enum { TIMES = 100 };
    for (uint32_t i = 0; i < TIMES; i++) {
        const uint32_t next = i + 1 < TIMES ? to + 1 + i : to;
        text_printf(t, "%%%u: 32x32xf32 = add %%%u, %%%u\n", next, from, from);
        from = next;
    }
}

/* Nothing that is found out about values takes longer when many ways lead to them. */
START_TEST(many_ways) {
    static float zeros[32 * 32], y[32 * 32];
    void *data[4] = {zeros, zeros, zeros, y};
    const Matrix x[4] = {{"a", DT_f32, 0, 32, 32, false},
                         {"b", DT_f32, 0, 32, 32, true},
                         {"c", DT_f32, 0, 32, 32, false},
                         {"y", DT_f32, 0, 32, 32, false}};
    Arena arena;
    arena_init(&arena, 0);
    Text t = {.arena = &arena};
    text_puts(&t, "kernel @test(a: *f32, b: *f32, c: *f32, y: *f32)"
                  " {num_warps = 4, num_stages = 3, num_ctas = 1} {\n");
    for (uint32_t i = 0; i < 3; i++) add_operand(&t, &x[i], DT_f32, false, 1000 + 100 * i);
    add_addresses(&t, &x[3], 1300);
    add_doublings(&t, 1195, 2000);
    text_puts(&t, "%1: i32 = constant {value = 0}\n%2: i32 = constant {value = 3}\n"
                  "%3: i32 = constant {value = 1}\n%200: 32x32xf32, %201: 32x32xf32 = for %1, %2, "
                  "%3, %1295, %1095 (%4: i32, %5: 32x32xf32, %6: 32x32xf32) {\n");
    add_doublings(&t, 5, 3000);
    add_doublings(&t, 6, 4000);
    text_puts(&t, "%8: 32x32xf32 = dot %4000, %2000, %3000\nyield %8, %4000\n}\n"
                  "%9: 32x32xf32 = add %200, %201\nstore %1399, %9\nreturn\n}\n");
    y[0] = 1;
    run(t.data, NULL, data);
    arena_free(&arena);
    for (uint32_t i = 0; i < 32 * 32; i++) ck_assert(y[i] == 0);
}
END_TEST

/* ---- rounding ----------------------------------------------------------------------- */

static float round_tf32(float x) { /* to 10 bits, ties away from zero */
    int exponent;
    const double m = frexp((double)x, &exponent);
    return (float)ldexp(copysign(floor(fabs(m) * 2048 + 0.5), m), exponent - 11);
}

static float value_at(DType dtype, const void *data, uint64_t i) {
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)data + i * dtype_size(dtype), dtype_size(dtype));
    return (float)eval_double_from_bits(dtype, bits);
}

/* Sums of k products: the error is at most k u times the sum of magnitudes. With `ordered`, the
 * bits of fused multiply-adds in order of k. */
static void check_rounding(DType in, const char *attributes, bool tf32, bool ordered,
                           const char *with) {
    enum { M = 16, N = 32, K = 64 };
    static float a[M * K], b[K * N], c[M * N], y[M * N];
    void *data[4] = {a, b, c, y};
    const Matrix x[3] = {
        {"a", in, 0, M, K, false}, {"b", in, 0, K, N, false}, {"c", DT_f32, 0, M, N, false}};
    uint64_t seed = 7;
    for (uint32_t i = 0; i < 3; i++)
        for (uint64_t j = 0; j < count_of(&x[i]); j++) {
            const uint64_t bits =
                eval_bits_from_double(x[i].dtype, (double)(int32_t)random_next(&seed) * 0x1p-31);
            memcpy((uint8_t *)data[i] + j * dtype_size(x[i].dtype), &bits, dtype_size(x[i].dtype));
        }
    Arena arena;
    arena_init(&arena, 0);
    run(kernel_text(&arena, x, &(Form){0}, in, attributes), with, data);
    arena_free(&arena);
    for (uint32_t i = 0; i < M; i++)
        for (uint32_t j = 0; j < N; j++) {
            float ordered_sum = c[i * N + j];
            double sum = (double)ordered_sum, magnitude = fabs(sum);
            for (uint32_t k = 0; k < K; k++) {
                float u = value_at(in, a, (uint64_t)i * K + k);
                float v = value_at(in, b, (uint64_t)k * N + j);
                if (tf32) u = round_tf32(u), v = round_tf32(v);
                ordered_sum = fmaf(u, v, ordered_sum);
                sum += (double)u * (double)v;
                magnitude += fabs((double)u * (double)v);
            }
            const float got = y[i * N + j];
            ck_assert_msg(!ordered || got == ordered_sum, "%s %s: %a, not %a", dtype_name(in),
                          attributes, (double)got, (double)ordered_sum);
            ck_assert_double_le(fabs((double)got - sum), (K + 1) * 0x1p-24 * magnitude);
        }
}

START_TEST(rounding) {
    for (size_t f = 0; f < 3; f++) { /* with fused multiply-add */
        check_rounding(DT_f32, "{precision = ieee}", false, true, features[f]);
        check_rounding(DT_f32, "{precision = tf32}", true, true, features[f]);
        check_rounding(DT_f16, "", false, true, features[f]);
        check_rounding(DT_bf16, "{precision = ieee}", false, true, features[f]);
        check_rounding(DT_bf16, "", false, f > 0, features[f]);
        check_rounding(DT_f8e4m3, "", false, f > 0, features[f]);
    }
    check_rounding(DT_f32, "{precision = ieee}", false, false, features[3]);
}
END_TEST

/* ---- special values ----------------------------------------------------------------- */

enum { SIDE = 16 };

/* a[0][0] * b[0][0] + c[0][0], among zeros. */
static float one_product(Native *native, DType in, double a0, double b0, float c0) {
    static float a[SIDE * SIDE], b[SIDE * SIDE], c[SIDE * SIDE], y[SIDE * SIDE];
    void *data[4] = {a, b, c, y};
    const uint64_t bits[2] = {eval_bits_from_double(in, a0), eval_bits_from_double(in, b0)};
    memset(a, 0, sizeof a), memset(b, 0, sizeof b); /* another dtype may have been here */
    memcpy(a, &bits[0], dtype_size(in)), memcpy(b, &bits[1], dtype_size(in));
    c[0] = c0;
    native_run(native, 4, data);
    for (uint32_t i = 1; i < SIDE * SIDE; i++) /* other rows and columns see zeros only */
        ck_assert_msg(y[i] == 0 || (i < SIDE && !isfinite(a0)) || (i % SIDE == 0 && !isfinite(b0)),
                      "%s: %g * %g + %g: [%u] is %g", dtype_name(in), a0, b0, (double)c0, i,
                      (double)y[i]);
    return y[0];
}

START_TEST(special_values) {
    static const struct {
        DType in;
        const char *attributes;
        bool keeps_denormals;
    } all[] = {{DT_f32, "{precision = ieee}", true},  {DT_f32, "", true},   {DT_f16, "", true},
               {DT_bf16, "{precision = ieee}", true}, {DT_bf16, "", false}, {DT_f8e5m2, "", true}};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        const DType in = all[i].in;
        const Matrix x[3] = {{"a", in, 0, SIDE, SIDE, false},
                             {"b", in, 0, SIDE, SIDE, false},
                             {"c", DT_f32, 0, SIDE, SIDE, false}};
        Native native;
        Arena arena;
        arena_init(&arena, 0);
        native_open(&native, kernel_text(&arena, x, &(Form){0}, in, all[i].attributes),
                    &(CpuOptions){0});
        arena_free(&arena);
        ck_assert(isnan(one_product(&native, in, NAN, 1, 0)));
        ck_assert(isnan(one_product(&native, in, 0, NAN, 0)));
        ck_assert(isnan(one_product(&native, in, 1, 1, NAN)));
        if (in != DT_f8e5m2) { /* whose infinity no number becomes */
            ck_assert(isnan(one_product(&native, in, INFINITY, 0, 0)));
            ck_assert(one_product(&native, in, INFINITY, 2, 1) == INFINITY);
            ck_assert(one_product(&native, in, INFINITY, -2, 1) == -INFINITY);
            ck_assert(isnan(one_product(&native, in, INFINITY, 1, -INFINITY)));
        }
        /* The least number of the dtype times 1: bf16 may become zero, the others must not. */
        const double least = in == DT_f16 ? 0x1p-24 : in == DT_f8e5m2 ? 0x1p-16 : 0x1p-130;
        const double got = (double)one_product(&native, in, least, 1, 0);
        ck_assert(got == least || (!all[i].keeps_denormals && got == 0));
        native_close(&native);
    }
}
END_TEST

/* ---- dot_scaled, against the interpreter -------------------------------------------- */

static void fill_random(DType dtype, uint8_t *data, uint32_t count, uint64_t *seed) {
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t number = random_next(seed);
        const uint64_t bits = dtype == DT_u8
                                  ? number
                                  : eval_bits_from_double(dtype, (double)(int32_t)number * 0x1p-31);
        memcpy(data + i * dtype_size(dtype), &bits, dtype_size(dtype));
    }
}

START_TEST(scaled) {
    enum { M = 16, N = 32, K = 64 };
    static const char *const formats[] = {"e4m3", "e5m2", "e2m1", "bf16", "fp16"};
    static const DType dtypes[] = {DT_f8e4m3, DT_f8e5m2, DT_u8, DT_bf16, DT_f16};
    static uint8_t a[M * K * 2], b[K * N * 2], sa[M * K / 32], sb[N * K / 32];
    static float c[M * N], plain[M * N], exact[M * N];
    uint64_t seed = 3;
    for (uint32_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        const uint32_t k = dtypes[i] == DT_u8 ? K / 2 : K;
        fill_random(dtypes[i], a, M * k, &seed);
        fill_random(dtypes[i], b, k * N, &seed);
        for (uint32_t j = 0; j < sizeof sa; j++) sa[j] = (uint8_t)(120 + random_next(&seed) % 16);
        for (uint32_t j = 0; j < sizeof sb; j++) sb[j] = (uint8_t)(120 + random_next(&seed) % 16);
        char as[16], bs[16], text[160];
        snprintf(as, sizeof as, "%ux%u", M, k);
        snprintf(bs, sizeof bs, "%ux%u", k, N);
        snprintf(text, sizeof text,
                 "%%200: 16x32xf32 = dot_scaled %%100, %%101, %%102, %%103, %%104 {a_format = %s, "
                 "b_format = %s}",
                 formats[i], formats[i]);
        const Tensor in[] = {{dtypes[i], as, a},
                             {DT_u8, "16x2", sa},
                             {dtypes[i], bs, b},
                             {DT_u8, "32x2", sb},
                             {DT_f32, "16x32", c}};
        Case *t = case_blocks(5, in, text, 1, &(Tensor){DT_f32, "16x32", exact});
        case_must_run(t, 1);
        Native native = {.context = t->context};
        Text error = {.arena = &t->context->arena};
        ck_assert_msg(cpu_compile(t->module, NULL, &native.code, &error), "%s", error.data);
        native.scratch = aligned_alloc(64, (native.code.scratch_size + 63) / 64 * 64);
        native_run(&native, 6, (void *const[]){a, sa, b, sb, c, plain});
        for (uint32_t j = 0; j < M * N; j++)
            ck_assert_msg(fabsf(exact[j] - plain[j]) <= 1e-4f * fabsf(exact[j]) + 1e-3f,
                          "%s: element %u is %g, not %g", formats[i], j, (double)plain[j],
                          (double)exact[j]);
        native_close(&native);
        free(t);
    }
}
END_TEST

UNIT_MAIN("cpu_dot", every_kind, every_form, every_machine, carried_and_turned, many_ways, rounding,
          special_values, scaled)
