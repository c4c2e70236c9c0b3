/* k_attention.c: fused attention, forward and backward, against float64: head dimensions, dtypes,
 * masks, lengths that are no multiple of a block, q length other than kv length, shared key heads,
 * strides. */
#include "tests/kernel_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t batch, heads, kv_heads, q_length, kv_length, dim;
    ReferenceType type;
    tkk_mask mask;
    tkk_precision precision;
    const TestLayout *layout;
} Case;

/* Everything of one problem: dense numbers, and tensors on the device. */
typedef struct Problem {
    Case c;
    ReferenceAttention reference;
    ReferenceMethod method;
    int64_t q_count, kv_count, rows;
    double *q, *k, *v, *dout;
    TestTensor tq, tk, tv, tdout, out, lse, delta, dq, dk, dv;
    tkk_attention call;
} Problem;

static void make_reference(Problem *p, Random *random) {
    const Case *c = &p->c;
    p->rows = c->batch * c->heads * c->q_length;
    p->q_count = p->rows * c->dim;
    p->kv_count = c->batch * c->kv_heads * c->kv_length * c->dim;
    double **inputs[] = {&p->q, &p->dout, &p->k, &p->v};
    for (int i = 0; i < 4; i++) {
        int64_t count = i < 2 ? p->q_count : p->kv_count;
        *inputs[i] = test_numbers(count);
        random_fill(random, c->type, i == 1 ? 1 : 0.7, *inputs[i], count);
    }
    ReferenceAttention *r = &p->reference;
    *r = (ReferenceAttention){
        .batch = c->batch,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .q_length = c->q_length,
        .kv_length = c->kv_length,
        .dim = c->dim,
        .diagonal = c->mask == TKK_CAUSAL ? c->kv_length - c->q_length : 0,
        .causal = c->mask != TKK_NO_MASK,
        .scale = (double)(float)(1.5 / sqrt((double)c->dim)),
        .q = p->q,
        .k = p->k,
        .v = p->v,
        .dout = p->dout,
    };
    double **of_q[] = {&r->out, &r->dq, &r->out_noise, &r->dq_noise};
    double **of_k[] = {&r->dk, &r->dv, &r->dk_noise, &r->dv_noise};
    for (int i = 0; i < 4; i++) {
        *of_q[i] = test_numbers(p->q_count);
        *of_k[i] = test_numbers(p->kv_count);
    }
    r->lse = test_numbers(p->rows);
    reference_attention(r);
    p->method = (ReferenceMethod){
        .weights = c->type,
        .roundings = 1,
        .operand_error = c->type == REF_F32 && c->precision == TKK_TF32 ? 0x1p-10 : 0};
}

static void make_tensors(Problem *p, TestDevice *device) {
    const Case *c = &p->c;
    const int64_t of_q[] = {c->batch, c->heads, c->q_length, c->dim};
    const int64_t of_k[] = {c->batch, c->kv_heads, c->kv_length, c->dim};
    ReferenceType type = c->type;
    p->tq = test_tensor(device, "q", type, 4, of_q, c->layout, p->q);
    p->tk = test_tensor(device, "k", type, 4, of_k, c->layout, p->k);
    p->tv = test_tensor(device, "v", type, 4, of_k, c->layout, p->v);
    p->tdout = test_tensor(device, "dout", type, 4, of_q, c->layout, p->dout);
    p->out = test_tensor(device, "out", type, 4, of_q, c->layout, NULL);
    p->lse = test_tensor(device, "lse", REF_F32, 3, of_q, NULL, NULL);
    p->delta = test_tensor(device, "delta", REF_F32, 3, of_q, NULL, NULL);
    p->dq = test_tensor(device, "dq", type, 4, of_q, c->layout, NULL);
    p->dk = test_tensor(device, "dk", type, 4, of_k, c->layout, NULL);
    p->dv = test_tensor(device, "dv", type, 4, of_k, c->layout, NULL);
    p->call = (tkk_attention)TKK_ATTENTION_INIT;
    p->call.mask = c->mask;
    p->call.precision = c->precision;
    p->call.scale = (float)p->reference.scale;
    p->call.q = p->tq.tensor;
    p->call.k = p->tk.tensor;
    p->call.v = p->tv.tensor;
    p->call.out = p->out.tensor;
    p->call.lse = p->lse.tensor;
    p->call.dout = p->tdout.tensor;
    p->call.delta = p->delta.tensor;
    p->call.dq = p->dq.tensor;
    p->call.dk = p->dk.tensor;
    p->call.dv = p->dv.tensor;
}

static void compare(const Problem *p, const TestDevice *device, const char *name,
                    const TestTensor *tensor, const double *want, const double *noise) {
    static const char *const masks[] = {"full", "causal", "causal top left"};
    const Case *c = &p->c;
    double *got = test_read(tensor), *allowed = test_numbers(tensor->count);
    for (int64_t i = 0; i < tensor->count; i++)
        allowed[i] = noise ? reference_attention_tolerance(&p->reference, &p->method, tensor->type,
                                                           want[i], noise[i])
                           : reference_lse_tolerance(&p->reference, &p->method, want[i]);
    char what[160];
    snprintf(what, sizeof what, "%s: %lldx%lld/%lldx%lldx%lldx%lld %s %s%s on %s", name,
             (long long)c->batch, (long long)c->heads, (long long)c->kv_heads,
             (long long)c->q_length, (long long)c->kv_length, (long long)c->dim,
             tkc_dtype_name(test_dtype(c->type)), masks[c->mask],
             p->method.operand_error > 0 ? " tf32" : "", device->name);
    test_compare(what, tensor->count, got, want, allowed);
    free(got);
    free(allowed);
}

static void release(Problem *p) {
    ReferenceAttention *r = &p->reference;
    double *numbers[] = {p->q,  p->k,         p->v,        p->dout,     r->out,      r->lse, r->dq,
                         r->dk, r->out_noise, r->dq_noise, r->dk_noise, r->dv_noise, r->dv};
    TestTensor *tensors[] = {&p->tq,  &p->tk,    &p->tv, &p->tdout, &p->out,
                             &p->lse, &p->delta, &p->dq, &p->dk,    &p->dv};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) free(numbers[i]);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    Problem p = {.c = *c};
    make_reference(&p, random);
    make_tensors(&p, device);
    const ReferenceAttention *r = &p.reference;
    test_ok(tkk_attention_forward(device->library, NULL, &p.call));
    compare(&p, device, "out", &p.out, r->out, r->out_noise);
    compare(&p, device, "lse", &p.lse, r->lse, NULL);
    test_ok(tkk_attention_backward(device->library, NULL, &p.call));
    compare(&p, device, "dq", &p.dq, r->dq, r->dq_noise);
    compare(&p, device, "dk", &p.dk, r->dk, r->dk_noise);
    compare(&p, device, "dv", &p.dv, r->dv, r->dv_noise);
    release(&p);
}

/* Every head dimension with every dtype, causal, at a length that is no multiple of a block. */
static void check_dims(TestDevice *device, Random *random) {
    static const ReferenceType types[] = {REF_F16, REF_BF16, REF_F32};
    for (int64_t dim = 16; dim <= 256; dim *= 2)
        for (int t = 0; t < 3; t++) {
            int64_t length = test_size(dim == 256 ? 130 : 300, dim == 256 ? 40 : 70);
            Case c = {1, 2, 2, length, length, dim, types[t], TKK_CAUSAL, TKK_IEEE, NULL};
            check_case(device, random, &c);
        }
}

/* Whole blocks, longer and shorter keys than queries, each mask. Top left with few keys: many rows
 * see all of them; bottom right with few keys: the first rows see none. */
static void check_lengths(TestDevice *device, Random *random) {
    static const int64_t lengths[][2] = {{256, 256}, {1, 1},     {1, 200},  {200, 1},
                                         {100, 333}, {333, 100}, {17, 129}, {128, 64}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int mask = TKK_NO_MASK; mask <= TKK_CAUSAL_TOP_LEFT; mask++) {
            Case c = {1,
                      1,
                      1,
                      lengths[i][0],
                      lengths[i][1],
                      32,
                      i % 2 ? REF_F32 : REF_F16,
                      (tkk_mask)mask,
                      TKK_IEEE,
                      NULL};
            check_case(device, random, &c);
        }
}

/* Diagonals just at, before and after the border of a block: one column too many or too few there
 * is a mistake in where the mask begins. */
static void check_diagonals(TestDevice *device, Random *random) {
    static const int64_t diagonals[] = {-129, -128, -127, -65, -64, -63, -33, -32, -31, -1,
                                        1,    30,   31,   32,  62,  63,  64,  126, 127, 128};
    for (size_t i = 0; i < sizeof diagonals / sizeof *diagonals; i++)
        for (int wide = 0; wide < 2; wide++) {
            Case c = {.batch = 1,
                      .heads = 1,
                      .kv_heads = 1,
                      .q_length = 140,
                      .dim = 16,
                      .type = wide ? REF_F32 : REF_F16,
                      .mask = TKK_CAUSAL,
                      .precision = TKK_IEEE};
            c.kv_length = c.q_length + diagonals[i];
            check_case(device, random, &c);
        }
}

static void check_shared_heads(TestDevice *device, Random *random) {
    Case c = {2, 6, 2, 90, 150, 64, REF_F16, TKK_CAUSAL, TKK_IEEE, NULL};
    check_case(device, random, &c);
    c = (Case){2, 4, 1, 150, 90, 16, REF_F32, TKK_NO_MASK, TKK_IEEE, NULL};
    check_case(device, random, &c);
}

static void check_layouts(TestDevice *device, Random *random) {
    static const TestLayout layouts[] = {
        {.order = {0, 2, 1, 3}},                      /* [batch, length, heads, dim] */
        {.order = {0, 1, 3, 2}},                      /* rows are columns */
        {.gap = 7, .start = 1},                       /* odd addresses and strides */
        {.order = {2, 0, 1, 3}, .step = 2, .gap = 2}, /* elements two apart */
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        Case c = {2, 2, 2, 70, 100, 32, REF_F16, TKK_CAUSAL, TKK_IEEE, &layouts[i]};
        check_case(device, random, &c);
    }
}

static void check_tf32(TestDevice *device, Random *random) {
    Case c = {1, 2, 2, 150, 150, 64, REF_F32, TKK_CAUSAL, TKK_TF32, NULL};
    check_case(device, random, &c);
}

/* Nothing to do: no rows, or no keys. */
static void check_empty(TestDevice *device, Random *random) {
    Case c = {1, 2, 2, 0, 5, 16, REF_F32, TKK_NO_MASK, TKK_IEEE, NULL};
    check_case(device, random, &c);
    c.q_length = 5;
    c.kv_length = 0;
    check_case(device, random, &c);
    c.batch = 0;
    check_case(device, random, &c);
}

/* A second run gives the same bits. */
static void check_repeat(TestDevice *device, Random *random) {
    Problem p = {.c = {1, 2, 1, 200, 200, 64, REF_F16, TKK_CAUSAL, TKK_IEEE, NULL}};
    make_reference(&p, random);
    make_tensors(&p, device);
    TestTensor *results[] = {&p.out, &p.dq, &p.dk, &p.dv};
    double *first[4];
    for (int run = 0; run < 2; run++) {
        test_ok(tkk_attention_forward(device->library, NULL, &p.call));
        test_ok(tkk_attention_backward(device->library, NULL, &p.call));
        for (int i = 0; i < 4; i++) {
            double *got = test_read(results[i]);
            if (run == 0) {
                first[i] = got;
                test_ok(tkc_buffer_poison(results[i]->buffer));
                continue;
            }
            ck_assert_mem_eq(got, first[i], (size_t)results[i]->count * sizeof *got);
            free(got);
            free(first[i]);
        }
    }
    release(&p);
}

static void expect_refusal(TestDevice *device, const tkk_attention *call, const char *words) {
    tkc_status status = tkk_attention_forward(device->library, NULL, call);
    ck_assert_msg(status == TKC_INVALID_ARGUMENT || status == TKC_UNSUPPORTED,
                  "status %d where \"%s\" was expected", (int)status, words);
    ck_assert_msg(strstr(tkc_last_error(), words), "\"%s\" does not say \"%s\"", tkc_last_error(),
                  words);
}

static void check_refusals(TestDevice *device, Random *random) {
    Problem p = {.c = {1, 2, 2, 8, 8, 16, REF_F16, TKK_CAUSAL, TKK_IEEE, NULL}};
    make_reference(&p, random);
    make_tensors(&p, device);
    tkk_attention call = p.call;
    call.scale = 0;
    expect_refusal(device, &call, "scale is 0");
    call = p.call;
    call.q.shape[3] = 257;
    expect_refusal(device, &call, "head dimension is 257");
    call = p.call;
    call.v.shape[2] = 7;
    expect_refusal(device, &call, "v: the extent of dimension 2 is 7");
    call = p.call;
    call.k.dtype = TKC_BF16;
    expect_refusal(device, &call, "k has dtype bf16");
    call = p.call;
    call.lse.stride[1] = 9;
    expect_refusal(device, &call, "lse: the stride of dimension 1");
    call = p.call;
    call.k.shape[1] = call.v.shape[1] = 3;
    expect_refusal(device, &call, "multiple");
    call = p.call;
    call.q.stride[2] = (int64_t)1 << 23;
    expect_refusal(device, &call, "q: the stride of dimension 2");
    call = p.call;
    call.struct_size = 8;
    expect_refusal(device, &call, "struct_size");
    release(&p);
}

/* clang-format off */
START_TEST(dims) { test_on_each_device(check_dims); } END_TEST
START_TEST(lengths) { test_on_each_device(check_lengths); } END_TEST
START_TEST(diagonals) { test_on_each_device(check_diagonals); } END_TEST
START_TEST(shared_heads) { test_on_each_device(check_shared_heads); } END_TEST
START_TEST(layouts) { test_on_each_device(check_layouts); } END_TEST
START_TEST(tf32) { test_on_each_device(check_tf32); } END_TEST
START_TEST(empty) { test_on_each_device(check_empty); } END_TEST
START_TEST(repeat) { test_on_each_device(check_repeat); } END_TEST
START_TEST(refusals) { test_on_each_device(check_refusals); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, dims);
    tcase_add_test(tests, lengths);
    tcase_add_test(tests, diagonals);
    tcase_add_test(tests, shared_heads);
    tcase_add_test(tests, layouts);
    tcase_add_test(tests, tf32);
    tcase_add_test(tests, empty);
    tcase_add_test(tests, repeat);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
