/* k_decode.c: attention of a few tokens against a cache, contiguous and in pages, in one part and
 * in several, against float64. */
#include "tests/kernel_test.h"
#include "tests/reference_sdpa.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t batch, heads, kv_heads, tokens, capacity, dim;
    int64_t page_size; /* 0: a contiguous cache */
    ReferenceType type;
    uint32_t splits;
    const int32_t *lengths; /* NULL: full */
    const TestLayout *layout;
} Case;

typedef struct Problem {
    Case c;
    int64_t rows, keys;
    double *q, *k, *v, *out, *out_terms, *lse;
    double score_terms, score_largest;
    TestTensor tq, tk, tv, tout, tlse;
    tkc_buffer *lengths, *table;
    tkk_decode call;
} Problem;

static tkc_buffer *integers(TestDevice *device, const char *name, const int32_t *values,
                            int64_t count) {
    tkc_buffer *buffer;
    test_ok(tkc_buffer_create(device->device, (uint64_t)count * 4, name, &buffer));
    test_ok(tkc_buffer_write(buffer, 0, values, (uint64_t)count * 4));
    return buffer;
}

static int64_t length_of(const Case *c, int64_t i) {
    const int64_t length = c->lengths ? c->lengths[i] : c->capacity;
    return length < c->capacity ? length : c->capacity;
}

/* Each sequence is a problem of its own. */
static void make_reference(Problem *p) {
    const Case *c = &p->c;
    const int64_t of_q = c->heads * c->tokens, of_k = c->kv_heads * c->capacity;
    for (int64_t i = 0; i < c->batch; i++) {
        const int64_t length = length_of(c, i);
        double *k = test_numbers(c->kv_heads * length * c->dim);
        double *v = test_numbers(c->kv_heads * length * c->dim);
        for (int64_t h = 0; h < c->kv_heads; h++)
            for (int64_t at = 0; at < length * c->dim; at++) {
                const int64_t from = (i * of_k + h * c->capacity) * c->dim + at;
                k[h * length * c->dim + at] = p->k[from];
                v[h * length * c->dim + at] = p->v[from];
            }
        ReferenceSdpa r = {.batch = 1,
                           .heads = c->heads,
                           .kv_heads = c->kv_heads,
                           .q_length = c->tokens,
                           .kv_length = length,
                           .dim = c->dim,
                           .value_dim = c->dim,
                           .causal = true,
                           .diagonal = length - c->tokens,
                           .scale = (double)p->call.scale,
                           .q = p->q + i * of_q * c->dim,
                           .k = k,
                           .v = v};
        reference_sdpa(&r);
        memcpy(p->out + i * of_q * c->dim, r.out, (size_t)(of_q * c->dim) * sizeof *k);
        memcpy(p->out_terms + i * of_q * c->dim, r.out_terms, (size_t)(of_q * c->dim) * sizeof *k);
        memcpy(p->lse + i * of_q, r.lse, (size_t)of_q * sizeof *k);
        p->score_terms = fmax(p->score_terms, r.score_terms);
        p->score_largest = fmax(p->score_largest, r.score_largest);
        reference_sdpa_free(&r);
        free(k);
        free(v);
    }
}

/* Pages in random order, one of them of nobody; entries behind the length of a sequence are no page
 * numbers. Dense numbers [pages, page_size, kv_heads, dim]. */
static void make_pages(Problem *p, TestDevice *device, Random *random) {
    const Case *c = &p->c;
    const int64_t each = tkc_cdiv(c->capacity, c->page_size), pages = c->batch * each + 1;
    const int64_t shape[] = {pages, c->page_size, c->kv_heads, c->dim};
    const int64_t count = pages * c->page_size * c->kv_heads * c->dim;
    double *k = test_numbers(count), *v = test_numbers(count);
    int32_t *order = malloc((size_t)pages * sizeof *order);
    int32_t *table = malloc((size_t)(c->batch * each) * sizeof *table);
    for (int64_t i = 0; i < count; i++) k[i] = v[i] = NAN;
    for (int64_t i = 0; i < pages; i++) {
        const int64_t other = (int64_t)(random_bits(random) % (uint64_t)(i + 1));
        order[i] = order[other];
        order[other] = (int32_t)i;
    }
    for (int64_t i = 0; i < c->batch * c->capacity; i++) {
        const int64_t b = i / c->capacity, j = i % c->capacity;
        if (j >= length_of(c, b)) continue;
        const int64_t page = order[b * each + j / c->page_size];
        for (int64_t h = 0; h < c->kv_heads; h++) {
            const int64_t from = ((b * c->kv_heads + h) * c->capacity + j) * c->dim;
            const int64_t to =
                ((page * c->page_size + j % c->page_size) * c->kv_heads + h) * c->dim;
            memcpy(k + to, p->k + from, (size_t)c->dim * sizeof *k);
            memcpy(v + to, p->v + from, (size_t)c->dim * sizeof *v);
        }
    }
    for (int64_t i = 0; i < c->batch * each; i++)
        table[i] = i % each * c->page_size < length_of(c, i / each) ? order[i] : -1000000;
    p->tk = test_tensor(device, "k", c->type, 4, shape, NULL, k);
    p->tv = test_tensor(device, "v", c->type, 4, shape, NULL, v);
    p->table = integers(device, "table", table, c->batch * each);
    p->call.table = tkk_matrix(tkc_arg(p->table), TKC_I32, c->batch, each);
    free(k);
    free(v);
    free(order);
    free(table);
}

static void make(Problem *p, TestDevice *device, Random *random) {
    const Case *c = &p->c;
    const int64_t of_q[] = {c->batch, c->heads, c->tokens, c->dim};
    const int64_t of_k[] = {c->batch, c->kv_heads, c->capacity, c->dim};
    p->rows = c->batch * c->heads * c->tokens;
    p->keys = c->batch * c->kv_heads * c->capacity * c->dim;
    p->q = test_numbers(p->rows * c->dim);
    p->k = test_numbers(p->keys);
    p->v = test_numbers(p->keys);
    p->out = test_numbers(p->rows * c->dim);
    p->out_terms = test_numbers(p->rows * c->dim);
    p->lse = test_numbers(p->rows);
    random_fill(random, c->type, 0.7, p->q, p->rows * c->dim);
    random_fill(random, c->type, 0.7, p->k, p->keys);
    random_fill(random, c->type, 0.7, p->v, p->keys);
    p->call = (tkk_decode)TKK_DECODE_INIT;
    p->call.precision = TKK_IEEE;
    p->call.scale = 1.5f / sqrtf((float)c->dim);
    p->call.splits = c->splits;
    make_reference(p);
    p->tq = test_tensor(device, "q", c->type, 4, of_q, c->layout, p->q);
    p->tout = test_tensor(device, "out", c->type, 4, of_q, c->layout, NULL);
    p->tlse = test_tensor(device, "lse", REF_F32, 3, of_q, NULL, NULL);
    if (c->page_size) {
        make_pages(p, device, random);
    } else {
        p->tk = test_tensor(device, "k", c->type, 4, of_k, c->layout, p->k);
        p->tv = test_tensor(device, "v", c->type, 4, of_k, c->layout, p->v);
    }
    if (c->lengths) {
        p->lengths = integers(device, "lengths", c->lengths, c->batch);
        p->call.lengths = tkk_vector(tkc_arg(p->lengths), TKC_I32, c->batch);
    }
    p->call.q = p->tq.tensor;
    p->call.k = p->tk.tensor;
    p->call.v = p->tv.tensor;
    p->call.out = p->tout.tensor;
    p->call.lse = p->tlse.tensor;
}

static void release(Problem *p) {
    double *numbers[] = {p->q, p->k, p->v, p->out, p->out_terms, p->lse};
    TestTensor *tensors[] = {&p->tq, &p->tk, &p->tv, &p->tout, &p->tlse};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) free(numbers[i]);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
    tkc_buffer_destroy(p->lengths);
    tkc_buffer_destroy(p->table);
}

static void compare(const Problem *p, TestDevice *device, const TestTensor *tensor,
                    const double *want, const double *size) {
    const Case *c = &p->c;
    const ReferenceMethod method = {.weights = size ? c->type : REF_F32, .roundings = 1};
    const ReferenceSdpa r = {.heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .q_length = c->tokens,
                             .kv_length = c->capacity,
                             .dim = c->dim,
                             .score_terms = p->score_terms,
                             .score_largest = p->score_largest};
    double *got = test_read(tensor), *allowed = test_numbers(tensor->count);
    for (int64_t i = 0; i < tensor->count; i++)
        allowed[i] =
            reference_sdpa_tolerance(&r, &method, tensor->type, want[i], size ? size[i] : 1);
    char what[160];
    snprintf(what, sizeof what,
             "%s: %lldx%lld/%lldx%lldx%lldx%lld pages of %lld, %u parts, %s on %s", tensor->name,
             (long long)c->batch, (long long)c->heads, (long long)c->kv_heads, (long long)c->tokens,
             (long long)c->capacity, (long long)c->dim, (long long)c->page_size, c->splits,
             tkc_dtype_name(test_dtype(c->type)), device->name);
    test_compare(what, tensor->count, got, want, allowed);
    free(got);
    free(allowed);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    Problem p = {.c = *c};
    make(&p, device, random);
    test_ok(tkk_decode_forward(device->library, NULL, &p.call));
    compare(&p, device, &p.tout, p.out, p.out_terms);
    compare(&p, device, &p.tlse, p.lse, NULL);
    release(&p);
}

/* One token, one part; heads that share their keys; sequences of all lengths, also of none. */
static void check_contiguous(TestDevice *device, Random *random) {
    static const int32_t lengths[] = {90, 1, 64, 0};
    const Case c = {.batch = 4,
                    .heads = 6,
                    .kv_heads = 2,
                    .tokens = 1,
                    .capacity = 90,
                    .dim = 64,
                    .type = REF_F16,
                    .splits = 1,
                    .lengths = lengths};
    check_case(device, random, &c);
}

/* Several tokens, more parts than blocks of some sequences, odd strides and head dimension. */
static void check_split(TestDevice *device, Random *random) {
    static const int32_t lengths[] = {300, 2, 150};
    static const TestLayout layout = {.order = {0, 2, 1, 3}, .gap = 3, .start = 1};
    const Case c = {.batch = 3,
                    .heads = 3,
                    .kv_heads = 3,
                    .tokens = 3,
                    .capacity = 300,
                    .dim = 40,
                    .type = REF_F32,
                    .splits = 5,
                    .lengths = lengths,
                    .layout = &layout};
    check_case(device, random, &c);
}

/* Pages smaller than a block, their size no power of two; larger than a block, more rows than a
 * block. Lengths beyond the cache are cut. */
static void check_paged(TestDevice *device, Random *random) {
    static const int32_t lengths[] = {200, 7, 1000000};
    Case c = {.batch = 3,
              .heads = 4,
              .kv_heads = 1,
              .tokens = 2,
              .capacity = 204,
              .dim = 32,
              .page_size = 12,
              .type = REF_BF16,
              .splits = 2,
              .lengths = lengths};
    check_case(device, random, &c);
    c = (Case){.batch = 1,
               .heads = 70,
               .kv_heads = 1,
               .tokens = 1,
               .capacity = 128,
               .dim = 16,
               .page_size = 128,
               .type = REF_F32,
               .splits = 0};
    check_case(device, random, &c);
}

/* A whole head dimension, parts chosen by the host; a caller's workspace and compile_only. */
static void check_wide(TestDevice *device, Random *random) {
    Problem p = {.c = {.batch = 1,
                       .heads = 2,
                       .kv_heads = 1,
                       .tokens = 1,
                       .capacity = test_size(1100, 600),
                       .dim = 256,
                       .type = REF_F16}};
    make(&p, device, random);
    const uint64_t size = tkk_decode_workspace(device->library, &p.call);
    ck_assert_uint_gt(size, 0);
    tkc_buffer *workspace;
    test_ok(tkc_buffer_create(device->device, size, "workspace", &workspace));
    p.call.workspace = (tkk_workspace){tkc_arg(workspace), size};
    p.call.compile_only = true;
    test_ok(tkk_decode_forward(device->library, NULL, &p.call));
    p.call.compile_only = false;
    test_ok(tkk_decode_forward(device->library, NULL, &p.call));
    compare(&p, device, &p.tout, p.out, p.out_terms);
    p.call.workspace.size = size - 1;
    ck_assert_int_eq(tkk_decode_forward(device->library, NULL, &p.call), TKC_INVALID_ARGUMENT);
    tkc_buffer_destroy(workspace);
    release(&p);
}

static void expect_refusal(TestDevice *device, const tkk_decode *call, const char *words) {
    tkc_status status = tkk_decode_forward(device->library, NULL, call);
    ck_assert_msg(status == TKC_INVALID_ARGUMENT || status == TKC_UNSUPPORTED,
                  "status %d where \"%s\" was expected", (int)status, words);
    ck_assert_msg(strstr(tkc_last_error(), words), "\"%s\" does not say \"%s\"", tkc_last_error(),
                  words);
}

static void check_refusals(TestDevice *device, Random *random) {
    static const int32_t lengths[] = {5, 5};
    Problem p = {.c = {.batch = 2,
                       .heads = 4,
                       .kv_heads = 2,
                       .tokens = 1,
                       .capacity = 16,
                       .dim = 16,
                       .page_size = 4,
                       .type = REF_F16,
                       .lengths = lengths}};
    make(&p, device, random);
    tkk_decode call = p.call;
    call.table.dtype = TKC_I64;
    expect_refusal(device, &call, "table has dtype i64");
    call = p.call;
    call.table.shape[0] = 3;
    expect_refusal(device, &call, "table: the extent of dimension 0 is 3");
    call = p.call;
    call.k.shape[2] = call.v.shape[2] = 3;
    expect_refusal(device, &call, "q has 4 heads and k has 3");
    call = p.call;
    call.lengths.shape[0] = 1;
    expect_refusal(device, &call, "lengths: the extent of dimension 0 is 1");
    call = p.call;
    call.splits = 129;
    expect_refusal(device, &call, "at most 128");
    call = p.call;
    call.out.shape[3] = 8;
    expect_refusal(device, &call, "out: the extent of dimension 3 is 8");
    call = p.call;
    call.scale = NAN;
    expect_refusal(device, &call, "scale is");
    call = p.call;
    call.table.rank = 0;
    expect_refusal(device, &call, "k: the extent of dimension 0");
    release(&p);
}

/* clang-format off */
START_TEST(contiguous) { test_on_each_device(check_contiguous); } END_TEST
START_TEST(split) { test_on_each_device(check_split); } END_TEST
START_TEST(paged) { test_on_each_device(check_paged); } END_TEST
START_TEST(wide) { test_on_each_device(check_wide); } END_TEST
START_TEST(refusals) { test_on_each_device(check_refusals); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("decode");
    TCase *tests = tcase_create("decode");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, contiguous);
    tcase_add_test(tests, split);
    tcase_add_test(tests, paged);
    tcase_add_test(tests, wide);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
