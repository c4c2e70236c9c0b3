/* k_multihead.c: the multi-head attention layer against float64: self and cross attention, masks,
 * dropout, either order of batch and length; and the causal self attention block. */
#include "tests/layer_test.h"
#include "tests/reference_multihead.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t batch, length, kv_length, dim, heads;
    ReferenceType type;
    int inputs; /* 1: self attention, 2: keys are values, 3: all differ */
    bool biases, causal, padded, length_first;
    int64_t sequences; /* one behind the other, all in a batch of 1; 0: as usual */
    double dropout, residual;
} Case;

enum { QUERY, KEY, VALUE, IN_WEIGHT, IN_BIAS, OUT_WEIGHT, OUT_BIAS, PARAMETERS };

static const char *const names[] = {"query",   "key",        "value",   "in_weight",
                                    "in_bias", "out_weight", "out_bias"};
static const char *const gradient_names[] = {"dquery",   "dkey",        "dvalue",   "din_weight",
                                             "din_bias", "dout_weight", "dout_bias"};

typedef struct Problem {
    Case c;
    ReferenceMultihead reference;
    double *mask; /* in full, added */
    Operand in[PARAMETERS], gradient[PARAMETERS], dout, out;
    tkc_buffer *seen, *saved, *starts;
    tkk_multihead call;
} Problem;

static bool has(const Case *c, int which) {
    if (which == KEY || which == VALUE) return c->inputs > which;
    return c->biases || (which != IN_BIAS && which != OUT_BIAS);
}

/* Keys that are padding: the last ones of every sequence but the first. */
static void make_mask(Problem *p, TestDevice *device) {
    const Case *c = &p->c;
    const int64_t rows = c->batch * c->heads * c->length;
    unsigned char *seen = malloc((size_t)(c->batch * c->kv_length));
    p->mask = test_numbers(rows * c->kv_length);
    for (int64_t i = 0; i < c->batch * c->kv_length; i++)
        seen[i] = i % c->kv_length < c->kv_length - i / c->kv_length * 3;
    for (int64_t i = 0; i < rows * c->kv_length; i++) {
        const int64_t batch = i / c->kv_length / c->length / c->heads;
        p->mask[i] = seen[batch * c->kv_length + i % c->kv_length] ? 0 : -INFINITY;
    }
    test_ok(
        tkc_buffer_create(device->device, (uint64_t)(c->batch * c->kv_length), "mask", &p->seen));
    test_ok(tkc_buffer_write(p->seen, 0, seen, (uint64_t)(c->batch * c->kv_length)));
    p->call.mask = tkk_tensor4(tkc_arg(p->seen), TKC_I1, c->batch, 1, 1, c->kv_length);
    free(seen);
}

/* Sequences of 0, 1, 2 ... rows and the rest: to the reference, one with a mask of blocks. */
static void make_starts(Problem *p, TestDevice *device) {
    const Case *c = &p->c;
    const int64_t n = c->length;
    int32_t starts[8];
    ck_assert_int_lt(c->sequences, 8);
    for (int64_t i = 0; i <= c->sequences; i++) starts[i] = (int32_t)(i * (i - 1) / 2);
    starts[c->sequences] = (int32_t)n;
    p->mask = test_numbers(c->heads * n * n);
    for (int64_t at = 0; at < c->heads * n * n; at++) {
        int64_t of_row = 0, of_key = 0;
        while (starts[of_row + 1] <= at / n % n) of_row++;
        while (starts[of_key + 1] <= at % n) of_key++;
        p->mask[at] = of_row == of_key ? 0 : -INFINITY;
    }
    const uint64_t bytes = (uint64_t)(c->sequences + 1) * sizeof *starts;
    test_ok(tkc_buffer_create(device->device, bytes, "starts", &p->starts));
    test_ok(tkc_buffer_write(p->starts, 0, starts, bytes));
    p->call.query_starts = tkk_vector(tkc_arg(p->starts), TKC_I32, c->sequences + 1);
}

static void make_operands(Problem *p, TestDevice *device, Random *random) {
    static const TestLayout interleaved = {.order = {1, 0, 2}};
    const Case *c = &p->c;
    const TestLayout *layout = c->length_first ? &interleaved : NULL;
    const int64_t shapes[PARAMETERS][3] = {{c->batch, c->length, c->dim},
                                           {c->batch, c->kv_length, c->dim},
                                           {c->batch, c->kv_length, c->dim},
                                           {3 * c->dim, c->dim},
                                           {3 * c->dim},
                                           {c->dim, c->dim},
                                           {c->dim}};
    static const uint32_t ranks[] = {3, 3, 3, 2, 1, 2, 1};
    tkk_tensor *const to[] = {&p->call.query,     &p->call.key,     &p->call.value,
                              &p->call.in_weight, &p->call.in_bias, &p->call.out_weight,
                              &p->call.out_bias};
    tkk_tensor *const gradients[] = {&p->call.dquery,     &p->call.dkey,     &p->call.dvalue,
                                     &p->call.din_weight, &p->call.din_bias, &p->call.dout_weight,
                                     &p->call.dout_bias};
    for (int i = 0; i < PARAMETERS; i++) {
        if (!has(c, i)) continue;
        const TestLayout *own = ranks[i] == 3 ? layout : NULL;
        const double deviation = i < IN_WEIGHT ? 1 : ranks[i] == 1 ? 0.3 : 1 / sqrt((double)c->dim);
        p->in[i] =
            random_operand(device, random, names[i], c->type, ranks[i], shapes[i], own, deviation);
        p->gradient[i] =
            output_operand(device, gradient_names[i], c->type, ranks[i], shapes[i], own);
        *to[i] = p->in[i].tensor;
        *gradients[i] = p->gradient[i].tensor;
    }
    p->dout = random_operand(device, random, "dout", c->type, 3, shapes[0], layout, 1);
    p->out = output_operand(device, "out", c->type, 3, shapes[0], layout);
    p->call.dout = p->dout.tensor;
    p->call.out = p->out.tensor;
}

static void make(Problem *p, TestDevice *device, Random *random) {
    const Case *c = &p->c;
    p->call = (tkk_multihead)TKK_MULTIHEAD_INIT;
    p->call.heads = (uint32_t)c->heads;
    p->call.precision = TKK_IEEE;
    p->call.is_causal = c->causal;
    p->call.dropout_p = c->dropout;
    p->call.residual_p = c->residual;
    p->call.dropout_seed = random_bits(random);
    make_operands(p, device, random);
    if (c->padded) make_mask(p, device);
    if (c->sequences) make_starts(p, device);
    const double *query = p->in[QUERY].values;
    const double *key = c->inputs > 1 ? p->in[KEY].values : query;
    p->reference = (ReferenceMultihead){.batch = c->batch,
                                        .length = c->length,
                                        .kv_length = c->kv_length,
                                        .dim = c->dim,
                                        .heads = c->heads,
                                        .causal = c->causal,
                                        .dropout = (double)(float)c->dropout,
                                        .residual = (double)(float)c->residual,
                                        .seed = p->call.dropout_seed,
                                        .query = query,
                                        .key = key,
                                        .value = c->inputs > 2 ? p->in[VALUE].values : key,
                                        .in_weight = p->in[IN_WEIGHT].values,
                                        .in_bias = p->in[IN_BIAS].values,
                                        .out_weight = p->in[OUT_WEIGHT].values,
                                        .out_bias = p->in[OUT_BIAS].values,
                                        .mask = p->mask,
                                        .dout = p->dout.values};
    reference_multihead(&p->reference);
    const uint64_t saved = tkk_multihead_saved(&p->call);
    ck_assert_uint_gt(saved, 0);
    test_ok(tkc_buffer_create(device->device, saved, "saved", &p->saved));
    test_ok(tkc_buffer_poison(p->saved));
    p->call.saved = (tkk_workspace){tkc_arg(p->saved), saved};
}

static void add(ReferenceSized to, ReferenceSized from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        to.value[i] += from.value[i];
        to.size[i] = hypot(to.size[i], from.size[i]);
    }
}

/* Where inputs are the same, gradients add up. */
static void merge_gradients(Problem *p) {
    ReferenceMultihead *r = &p->reference;
    const int64_t n = p->c.batch * p->c.kv_length * p->c.dim;
    if (p->c.inputs < 3) add(r->dkey, r->dvalue, n);
    if (p->c.inputs < 2) add(r->dquery, r->dkey, n);
}

static void compare(Problem *p, TestDevice *device, Operand *operand, ReferenceSized want) {
    const Case *c = &p->c;
    const double u = reference_unit_roundoff(c->type);
    /* projections, weights or their slopes, attention are rounded; scores are of rounded numbers */
    const ReferenceMethod method = {.weights = c->type, .roundings = 4, .operand_error = u};
    double *allowed = test_numbers(operand->n);
    for (int64_t i = 0; i < operand->n; i++)
        allowed[i] = reference_sdpa_tolerance(&p->reference.attention, &method, operand->t.type,
                                              want.value[i], want.size[i]);
    check_output(operand,
                 test_name(device, "multihead", c->type, "%lldx%lld/%lldx%lld heads %lld",
                           (long long)c->batch, (long long)c->length, (long long)c->kv_length,
                           (long long)c->dim, (long long)c->heads),
                 want.value, allowed);
    free(allowed);
}

static void release(Problem *p) {
    reference_multihead_free(&p->reference);
    for (int i = 0; i < PARAMETERS; i++)
        if (has(&p->c, i)) free_operands(2, (Operand *[]){&p->in[i], &p->gradient[i]});
    free_operands(2, (Operand *[]){&p->dout, &p->out});
    tkc_buffer_destroy(p->seen);
    tkc_buffer_destroy(p->starts);
    tkc_buffer_destroy(p->saved);
    free(p->mask);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    Problem p = {.c = *c};
    make(&p, device, random);
    merge_gradients(&p);
    test_ok(tkk_multihead_forward(device->library, NULL, &p.call));
    test_ok(tkk_multihead_backward(device->library, NULL, &p.call));
    const ReferenceMultihead *r = &p.reference;
    const ReferenceSized gradients[] = {r->dquery,   r->dkey,        r->dvalue,   r->din_weight,
                                        r->din_bias, r->dout_weight, r->dout_bias};
    compare(&p, device, &p.out, r->out);
    for (int i = 0; i < PARAMETERS; i++)
        if (has(c, i)) compare(&p, device, &p.gradient[i], gradients[i]);
    release(&p);
}

/* As torch.nn.MultiheadAttention is mostly used; batch first. */
static void check_self(TestDevice *device, Random *random) {
    const Case c = {.batch = 2,
                    .length = 17,
                    .kv_length = 17,
                    .dim = 32,
                    .heads = 2,
                    .type = REF_F32,
                    .inputs = 1,
                    .biases = true};
    check_case(device, random, &c);
}

/* Keys of another length, some of them padding; length first. */
static void check_cross(TestDevice *device, Random *random) {
    Case c = {.batch = 3,
              .length = 5,
              .kv_length = 20,
              .dim = 32,
              .heads = 2,
              .type = REF_F16,
              .inputs = 2,
              .biases = true,
              .padded = true,
              .length_first = true};
    check_case(device, random, &c);
    c.inputs = 3;
    c.type = REF_F32;
    c.padded = c.biases = false;
    check_case(device, random, &c);
}

/* The block of language models: causal, no biases, dropout of weights and of the result. */
static void check_causal(TestDevice *device, Random *random) {
    const Case c = {.batch = 2,
                    .length = 20,
                    .kv_length = 20,
                    .dim = 64,
                    .heads = 4,
                    .type = REF_BF16,
                    .inputs = 1,
                    .causal = true,
                    .dropout = 0.2,
                    .residual = 0.1};
    check_case(device, random, &c);
}

/* Sequences without padding, causal. */
static void check_sequences(TestDevice *device, Random *random) {
    const Case c = {.batch = 1,
                    .length = 30,
                    .kv_length = 30,
                    .dim = 32,
                    .heads = 2,
                    .type = REF_F32,
                    .inputs = 1,
                    .causal = true,
                    .sequences = 5};
    check_case(device, random, &c);
}

/* Inference keeps nothing, and takes a workspace that holds all. */
static void check_inference(TestDevice *device, Random *random) {
    Problem p = {.c = {.batch = 2,
                       .length = 17,
                       .kv_length = 17,
                       .dim = 32,
                       .heads = 2,
                       .type = REF_F32,
                       .inputs = 1,
                       .biases = true}};
    make(&p, device, random);
    p.call.saved = (tkk_workspace){0};
    const uint64_t size = tkk_multihead_workspace(device->library, &p.call, false);
    tkc_buffer *workspace;
    test_ok(tkc_buffer_create(device->device, size, "workspace", &workspace));
    p.call.workspace = (tkk_workspace){tkc_arg(workspace), size};
    p.call.compile_only = true;
    test_ok(tkk_multihead_forward(device->library, NULL, &p.call));
    p.call.compile_only = false;
    test_ok(tkk_multihead_forward(device->library, NULL, &p.call));
    compare(&p, device, &p.out, p.reference.out);
    p.call.workspace.size--;
    ck_assert_int_eq(tkk_multihead_forward(device->library, NULL, &p.call), TKC_INVALID_ARGUMENT);
    tkc_buffer_destroy(workspace);
    release(&p);
}

/* sum(out * dout) */
static double loss(ReferenceMultihead r) {
    reference_multihead(&r);
    double sum = 0;
    for (int64_t i = 0; i < r.batch * r.length * r.dim; i++) sum += r.out.value[i] * r.dout[i];
    reference_multihead_free(&r);
    return sum;
}

/* The reference's own gradients are slopes of its loss: cross attention with all options. */
START_TEST(reference) {
    enum { BATCH = 2, LENGTH = 3, KEYS = 4, DIM = 4, HEADS = 2 };
    static const int64_t counts[] = {BATCH * LENGTH * DIM,
                                     BATCH * KEYS * DIM,
                                     BATCH * KEYS * DIM,
                                     3 * DIM * DIM,
                                     3 * DIM,
                                     DIM * DIM,
                                     DIM};
    Random random = random_from_seed(1);
    double *x[PARAMETERS], dout[BATCH * LENGTH * DIM], mask[BATCH * HEADS * LENGTH * KEYS];
    for (int i = 0; i < PARAMETERS; i++) {
        x[i] = test_numbers(counts[i]);
        random_fill(&random, REF_F64, 1, x[i], counts[i]);
    }
    random_fill(&random, REF_F64, 1, dout, BATCH * LENGTH * DIM);
    random_fill(&random, REF_F64, 1, mask, BATCH * HEADS * LENGTH * KEYS);
    ReferenceMultihead r = {.batch = BATCH,
                            .length = LENGTH,
                            .kv_length = KEYS,
                            .dim = DIM,
                            .heads = HEADS,
                            .causal = true,
                            .dropout = 0.25,
                            .residual = 0.25,
                            .seed = 7,
                            .query = x[QUERY],
                            .key = x[KEY],
                            .value = x[VALUE],
                            .in_weight = x[IN_WEIGHT],
                            .in_bias = x[IN_BIAS],
                            .out_weight = x[OUT_WEIGHT],
                            .out_bias = x[OUT_BIAS],
                            .mask = mask,
                            .dout = dout};
    reference_multihead(&r);
    const ReferenceSized gradients[] = {r.dquery,   r.dkey,        r.dvalue,   r.din_weight,
                                        r.din_bias, r.dout_weight, r.dout_bias};
    for (int i = 0; i < PARAMETERS; i++)
        for (int64_t j = 0; j < counts[i]; j++) {
            const double original = x[i][j], step = 1e-5;
            x[i][j] = original + step;
            double slope = loss(r);
            x[i][j] = original - step;
            slope = (slope - loss(r)) / (2 * step);
            x[i][j] = original;
            if (fabs(slope - gradients[i].value[j]) > 1e-7 * (1 + fabs(slope)))
                ck_abort_msg("%s, element %d: %g, expected %g", gradient_names[i], (int)j,
                             gradients[i].value[j], slope);
        }
    reference_multihead_free(&r);
    for (int i = 0; i < PARAMETERS; i++) free(x[i]);
}
END_TEST

static void expect_refusal(TestDevice *device, const tkk_multihead *call, const char *words) {
    tkc_status status = tkk_multihead_backward(device->library, NULL, call);
    ck_assert_msg(status == TKC_INVALID_ARGUMENT || status == TKC_UNSUPPORTED,
                  "status %d where \"%s\" was expected", (int)status, words);
    ck_assert_msg(strstr(tkc_last_error(), words), "\"%s\" does not say \"%s\"", tkc_last_error(),
                  words);
}

static void check_refusals(TestDevice *device, Random *random) {
    Problem p = {.c = {.batch = 2,
                       .length = 4,
                       .kv_length = 6,
                       .dim = 32,
                       .heads = 2,
                       .type = REF_F16,
                       .inputs = 3,
                       .biases = true,
                       .padded = true}};
    make(&p, device, random);
    tkk_multihead call = p.call;
    call.heads = 3;
    expect_refusal(device, &call, "dim is 32 and heads is 3");
    call = p.call;
    call.key.rank = 0;
    expect_refusal(device, &call, "value is given without key");
    call = p.call;
    call.value.shape[1] = 5;
    expect_refusal(device, &call, "value: the extent of dimension 1 is 5");
    call = p.call;
    call.query.stride[0] *= 2;
    expect_refusal(device, &call, "query: there are gaps");
    call = p.call;
    call.in_weight.shape[0] = 32;
    expect_refusal(device, &call, "in_weight: the extent of dimension 0 is 32");
    call = p.call;
    call.out_weight.dtype = TKC_F32;
    expect_refusal(device, &call, "out_weight has dtype f32");
    call = p.call;
    call.saved.size = 0;
    expect_refusal(device, &call, "saved");
    call = p.call;
    call.saved.size = 100;
    expect_refusal(device, &call, "has 100 bytes");
    call = p.call;
    call.mask.shape[3] = 7;
    expect_refusal(device, &call, "mask: the extent of dimension 3 is 7");
    call = p.call;
    call.dropout_p = -1;
    expect_refusal(device, &call, "dropout_p is -1");
    call = p.call;
    call.residual_p = 1;
    expect_refusal(device, &call, "residual_p is 1");
    release(&p);
}

/* clang-format off */
START_TEST(self) { test_on_each_device(check_self); } END_TEST
START_TEST(cross) { test_on_each_device(check_cross); } END_TEST
START_TEST(causal) { test_on_each_device(check_causal); } END_TEST
START_TEST(sequences) { test_on_each_device(check_sequences); } END_TEST
START_TEST(inference) { test_on_each_device(check_inference); } END_TEST
START_TEST(refusals) { test_on_each_device(check_refusals); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("multihead");
    TCase *tests = tcase_create("multihead");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, reference);
    tcase_add_test(tests, self);
    tcase_add_test(tests, cross);
    tcase_add_test(tests, causal);
    tcase_add_test(tests, sequences);
    tcase_add_test(tests, inference);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
