/* k_sdpa.c: scaled dot product attention: every backend against float64 with masks, dropout, shared
 * heads, head dimensions; gradients against differences; which backend is chosen, and why. */
#include "tests/kernel_test.h"
#include "tests/reference_sdpa.h"

#include <math.h>
#include <stdlib.h>

typedef enum MaskKind { NO_MASK, SEEN, ADDED } MaskKind;

typedef struct Case {
    int64_t batch, heads, kv_heads, q_length, kv_length, dim, value_dim;
    ReferenceType type;
    uint32_t backends; /* each of them is tested */
    MaskKind mask;
    uint32_t mask_repeats; /* bit i: dimension i of the mask has extent 1 */
    bool causal, lower_right;
    double dropout;
    const TestLayout *layout;
    bool tf32;
} Case;

/* Everything of one problem: dense numbers, and tensors on the device. */
typedef struct Problem {
    Case c;
    ReferenceSdpa reference;
    ReferenceMethod method;
    double *q, *k, *v, *dout, *mask, *bias; /* bias: the mask in full; what is hidden -inf */
    int64_t mask_shape[4];
    TestTensor query, key, value, out, lse, tdout, dquery, dkey, dvalue, added, dmask;
    tkc_buffer *seen;
    tkk_sdpa call;
} Problem;

static double *random_numbers(Random *random, ReferenceType type, double deviation, int64_t n) {
    double *numbers = test_numbers(n);
    random_fill(random, type, deviation, numbers, n);
    return numbers;
}

/* One row sees nothing, unless the rows of the mask are one. */
static void make_mask(Problem *p, Random *random) {
    const Case *c = &p->c;
    const int64_t full[] = {c->batch, c->heads, c->q_length, c->kv_length};
    int64_t count = 1, all = 1;
    for (int i = 0; i < 4; i++) {
        p->mask_shape[i] = c->mask_repeats & 1u << i ? 1 : full[i];
        count *= p->mask_shape[i];
        all *= full[i];
    }
    p->mask = random_numbers(random, c->type, 1, count);
    p->bias = test_numbers(all);
    for (int64_t i = 0; i < count; i++) {
        const bool first_row = p->mask_shape[2] > 1 && i / p->mask_shape[3] == 0;
        if (c->mask == SEEN) p->mask[i] = p->mask[i] > -0.5 && !first_row;
    }
    for (int64_t i = 0; i < all; i++) {
        int64_t at = 0, rest = i, stride = 1;
        for (int d = 3; d >= 0; d--) {
            at += rest % full[d] % p->mask_shape[d] * stride;
            stride *= p->mask_shape[d];
            rest /= full[d];
        }
        p->bias[i] = c->mask == ADDED ? p->mask[at] : p->mask[at] > 0 ? 0 : -INFINITY;
    }
}

static void make_reference(Problem *p, Random *random) {
    const Case *c = &p->c;
    const int64_t rows = c->batch * c->heads * c->q_length;
    const int64_t keys = c->batch * c->kv_heads * c->kv_length;
    p->q = random_numbers(random, c->type, 0.7, rows * c->dim);
    p->k = random_numbers(random, c->type, 0.7, keys * c->dim);
    p->v = random_numbers(random, c->type, 0.7, keys * c->value_dim);
    p->dout = random_numbers(random, c->type, 1, rows * c->value_dim);
    if (c->mask != NO_MASK) make_mask(p, random);
    p->reference = (ReferenceSdpa){.batch = c->batch,
                                   .heads = c->heads,
                                   .kv_heads = c->kv_heads,
                                   .q_length = c->q_length,
                                   .kv_length = c->kv_length,
                                   .dim = c->dim,
                                   .value_dim = c->value_dim,
                                   .causal = c->causal,
                                   .diagonal = c->lower_right ? c->kv_length - c->q_length : 0,
                                   .scale = (double)(float)(1.3 / sqrt((double)c->dim)),
                                   .dropout = (double)(float)c->dropout,
                                   .seed = random_bits(random),
                                   .q = p->q,
                                   .k = p->k,
                                   .v = p->v,
                                   .bias = p->bias,
                                   .dout = p->dout};
    reference_sdpa(&p->reference);
    p->method = (ReferenceMethod){.weights = c->type,
                                  .roundings = c->type == REF_F64 ? 8 : 1, /* its exp and log */
                                  .operand_error = c->tf32 ? 0x1p-10 : 0};
}

static void make_mask_tensor(Problem *p, TestDevice *device) {
    const int64_t *s = p->mask_shape;
    if (p->c.mask == NO_MASK) return;
    if (p->c.mask == ADDED) {
        p->added = test_tensor(device, "mask", p->c.type, 4, s, NULL, p->mask);
        p->call.mask = p->added.tensor;
        const int64_t full[] = {p->c.batch, p->c.heads, p->c.q_length, p->c.kv_length};
        p->dmask = test_tensor(device, "dmask", p->c.type == REF_F64 ? REF_F64 : REF_F32, 4, full,
                               NULL, NULL);
        p->call.dmask = p->dmask.tensor;
        return;
    }
    const int64_t count = s[0] * s[1] * s[2] * s[3];
    unsigned char *bytes = malloc((size_t)count);
    for (int64_t i = 0; i < count; i++) bytes[i] = p->mask[i] > 0;
    test_ok(tkc_buffer_create(device->device, (uint64_t)count, "mask", &p->seen));
    test_ok(tkc_buffer_write(p->seen, 0, bytes, (uint64_t)count));
    free(bytes);
    p->call.mask = tkk_tensor4(tkc_arg(p->seen), TKC_I1, s[0], s[1], s[2], s[3]);
}

static void make_tensors(Problem *p, TestDevice *device) {
    const Case *c = &p->c;
    const int64_t of_q[] = {c->batch, c->heads, c->q_length, c->dim};
    const int64_t of_k[] = {c->batch, c->kv_heads, c->kv_length, c->dim};
    const int64_t of_v[] = {c->batch, c->kv_heads, c->kv_length, c->value_dim};
    const int64_t of_out[] = {c->batch, c->heads, c->q_length, c->value_dim};
    const ReferenceType type = c->type;
    p->query = test_tensor(device, "query", type, 4, of_q, c->layout, p->q);
    p->key = test_tensor(device, "key", type, 4, of_k, c->layout, p->k);
    p->value = test_tensor(device, "value", type, 4, of_v, c->layout, p->v);
    p->tdout = test_tensor(device, "dout", type, 4, of_out, c->layout, p->dout);
    p->out = test_tensor(device, "out", type, 4, of_out, c->layout, NULL);
    p->lse = test_tensor(device, "lse", type == REF_F64 ? REF_F64 : REF_F32, 3, of_q, NULL, NULL);
    p->dquery = test_tensor(device, "dquery", type, 4, of_q, c->layout, NULL);
    p->dkey = test_tensor(device, "dkey", type, 4, of_k, c->layout, NULL);
    p->dvalue = test_tensor(device, "dvalue", type, 4, of_v, c->layout, NULL);
    p->call = (tkk_sdpa)TKK_SDPA_INIT;
    p->call.precision = c->tf32 ? TKK_TF32 : TKK_IEEE;
    p->call.is_causal = c->causal;
    p->call.is_lower_right = c->lower_right;
    p->call.enable_gqa = c->heads != c->kv_heads;
    p->call.scale = p->reference.scale;
    p->call.dropout_p = c->dropout;
    p->call.dropout_seed = p->reference.seed;
    p->call.query = p->query.tensor;
    p->call.key = p->key.tensor;
    p->call.value = p->value.tensor;
    p->call.out = p->out.tensor;
    p->call.lse = p->lse.tensor;
    p->call.dout = p->tdout.tensor;
    p->call.dquery = p->dquery.tensor;
    p->call.dkey = p->dkey.tensor;
    p->call.dvalue = p->dvalue.tensor;
    make_mask_tensor(p, device);
}

static void release(Problem *p) {
    double *numbers[] = {p->q, p->k, p->v, p->dout, p->mask, p->bias};
    TestTensor *tensors[] = {&p->query,  &p->key,  &p->value,  &p->out,   &p->lse,  &p->tdout,
                             &p->dquery, &p->dkey, &p->dvalue, &p->added, &p->dmask};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) free(numbers[i]);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) test_free(tensors[i]);
    tkc_buffer_destroy(p->seen);
    reference_sdpa_free(&p->reference);
}

/* And poisons it, for the next backend. */
static void compare(const Problem *p, const TestDevice *device, uint32_t backend,
                    const TestTensor *tensor, const double *want, const double *terms) {
    const Case *c = &p->c;
    if (!tensor->buffer) return;
    double *got = test_read(tensor), *allowed = test_numbers(tensor->count);
    ReferenceMethod method = p->method;
    if (!terms) method.weights = tensor->type; /* lse: of f32 weights, which sum up to 1 */
    for (int64_t i = 0; i < tensor->count; i++)
        allowed[i] = reference_sdpa_tolerance(&p->reference, &method, tensor->type, want[i],
                                              terms ? terms[i] : 1);
    char what[160];
    snprintf(what, sizeof what, "%s of %s: %lldx%lld/%lldx%lld/%lldx%lld/%lld %s on %s",
             tensor->name, tkk_sdpa_backend_name((tkk_sdpa_backend)backend), (long long)c->batch,
             (long long)c->heads, (long long)c->kv_heads, (long long)c->q_length,
             (long long)c->kv_length, (long long)c->dim, (long long)c->value_dim,
             tkc_dtype_name(test_dtype(c->type)), device->name);
    test_compare(what, tensor->count, got, want, allowed);
    test_ok(tkc_buffer_poison(tensor->buffer));
    free(got);
    free(allowed);
}

static void check_case(TestDevice *device, Random *random, const Case *c) {
    Problem p = {.c = *c};
    make_reference(&p, random);
    make_tensors(&p, device);
    const ReferenceSdpa *r = &p.reference;
    for (uint32_t backend = TKK_SDPA_FLASH; backend <= TKK_SDPA_MATH; backend *= 2) {
        if (!(c->backends & backend)) continue;
        p.call.backends = backend;
        test_ok(tkk_sdpa_forward(device->library, NULL, &p.call));
        test_ok(tkk_sdpa_backward(device->library, NULL, &p.call));
        compare(&p, device, backend, &p.out, r->out, r->out_terms);
        compare(&p, device, backend, &p.lse, r->lse, NULL);
        compare(&p, device, backend, &p.dquery, r->dq, r->dq_terms);
        compare(&p, device, backend, &p.dkey, r->dk, r->dk_terms);
        compare(&p, device, backend, &p.dvalue, r->dv, r->dv_terms);
        compare(&p, device, backend, &p.dmask, r->dbias, r->dbias_terms);
    }
    release(&p);
}

/* Several chunks of rows, the last a short one; a mask of one row for all; fp16. */
static void check_half(TestDevice *device, Random *random) {
    const Case c = {.batch = 1,
                    .heads = 2,
                    .kv_heads = 1,
                    .q_length = test_size(258, 130),
                    .kv_length = 40,
                    .dim = 24,
                    .value_dim = 24,
                    .type = REF_F16,
                    .backends = TKK_SDPA_FLASH | TKK_SDPA_EFFICIENT,
                    .mask = SEEN,
                    .mask_repeats = 6,
                    .dropout = 0.2};
    check_case(device, random, &c);
}

/* A mask that is added and has a gradient, the causal one on top, heads interleaved; fp32. */
static void check_single(TestDevice *device, Random *random) {
    static const TestLayout interleaved = {.order = {0, 2, 1, 3}};
    const Case c = {.batch = 2,
                    .heads = 3,
                    .kv_heads = 3,
                    .q_length = 33,
                    .kv_length = 41,
                    .dim = 16,
                    .value_dim = 16,
                    .type = REF_F32,
                    .backends = TKK_SDPA_FLASH | TKK_SDPA_MATH,
                    .mask = ADDED,
                    .mask_repeats = 1,
                    .causal = true,
                    .lower_right = true,
                    .layout = &interleaved};
    check_case(device, random, &c);
}

/* What only the steps take: head dimensions over 256 or different ones, fp64; rows of keys longer
 * than a block; a row that sees nothing. */
static void check_steps(TestDevice *device, Random *random) {
    Case c = {.batch = 1,
              .heads = 2,
              .kv_heads = 1,
              .q_length = 20,
              .kv_length = 50,
              .dim = 264,
              .value_dim = 40,
              .type = REF_BF16,
              .backends = TKK_SDPA_MATH,
              .mask = SEEN,
              .mask_repeats = 3};
    check_case(device, random, &c);
    c = (Case){.batch = 1,
               .heads = 1,
               .kv_heads = 1,
               .q_length = 131,
               .kv_length = 30,
               .dim = 17,
               .value_dim = 9,
               .type = REF_F64,
               .backends = TKK_SDPA_EFFICIENT,
               .dropout = 0.5,
               .causal = true,
               .mask = ADDED,
               .mask_repeats = 3};
    check_case(device, random, &c);
    c = (Case){.batch = 1,
               .heads = 1,
               .kv_heads = 1,
               .q_length = 3,
               .kv_length = test_size(1500, 1100),
               .dim = 8,
               .value_dim = 8,
               .type = REF_F32,
               .backends = TKK_SDPA_MATH,
               .dropout = 0.9,
               .tf32 = true};
    check_case(device, random, &c);
}

/* sum(out * dout) of the math backend in fp64 */
static double loss(TestDevice *device, Problem *p) {
    test_ok(tkk_sdpa_forward(device->library, NULL, &p->call));
    double *out = test_read(&p->out), sum = 0;
    for (int64_t i = 0; i < p->out.count; i++) sum += out[i] * p->dout[i];
    free(out);
    return sum;
}

/* Each gradient is the slope of the loss between two nearby inputs. */
static void check_differences(TestDevice *device, Random *random) {
    Problem p = {.c = {.batch = 1,
                       .heads = 2,
                       .kv_heads = 1,
                       .q_length = 3,
                       .kv_length = 4,
                       .dim = 3,
                       .value_dim = 2,
                       .type = REF_F64,
                       .backends = TKK_SDPA_MATH,
                       .mask = ADDED,
                       .dropout = 0.3,
                       .causal = true}};
    make_reference(&p, random);
    make_tensors(&p, device);
    p.call.backends = TKK_SDPA_MATH;
    test_ok(tkk_sdpa_forward(device->library, NULL, &p.call));
    test_ok(tkk_sdpa_backward(device->library, NULL, &p.call));
    const struct {
        const TestTensor *input, *gradient;
    } pairs[] = {
        {&p.query, &p.dquery}, {&p.key, &p.dkey}, {&p.value, &p.dvalue}, {&p.added, &p.dmask}};
    const double step = 1e-5;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const int64_t count = pairs[i].input->count;
        double *x = test_read(pairs[i].input), *got = test_read(pairs[i].gradient);
        double *slopes = test_numbers(count), *allowed = test_numbers(count);
        for (int64_t j = 0; j < count; j++) {
            double losses[2], original = x[j];
            for (int side = 0; side < 2; side++) {
                x[j] = original + (side ? step : -step);
                test_ok(tkc_buffer_write(pairs[i].input->buffer, (uint64_t)j * 8, &x[j], 8));
                losses[side] = loss(device, &p);
            }
            test_ok(tkc_buffer_write(pairs[i].input->buffer, (uint64_t)j * 8, &original, 8));
            slopes[j] = (losses[1] - losses[0]) / (2 * step);
            /* third derivatives times step^2, and roundings over step */
            allowed[j] = 1e-8 * (1 + fabs(slopes[j]));
        }
        test_compare(pairs[i].gradient->name, count, got, slopes, allowed);
        free(x);
        free(got);
        free(slopes);
        free(allowed);
    }
    release(&p);
}

/* Without heads, as [batch, length, head_dim], and without lse. The example of the header. */
static void check_rank3(TestDevice *device, Random *random) {
    const int64_t shape[] = {2, 3, 8};
    double *x = random_numbers(random, REF_F32, 1, 48);
    ReferenceSdpa r = {.batch = 2,
                       .heads = 1,
                       .kv_heads = 1,
                       .q_length = 3,
                       .kv_length = 3,
                       .dim = 8,
                       .value_dim = 8,
                       .scale = 1 / sqrt(8),
                       .q = x,
                       .k = x,
                       .v = x};
    reference_sdpa(&r);
    TestTensor tx = test_tensor(device, "x", REF_F32, 3, shape, NULL, x);
    TestTensor out = test_tensor(device, "out", REF_F32, 3, shape, NULL, NULL);
    tkk_sdpa call = TKK_SDPA_INIT;
    call.precision = TKK_IEEE;
    call.query = call.key = call.value = tx.tensor;
    call.out = out.tensor;
    test_ok(tkk_sdpa_forward(device->library, NULL, &call));
    const ReferenceMethod method = {.weights = REF_F32, .roundings = 1};
    double *got = test_read(&out), allowed[48];
    for (int i = 0; i < 48; i++)
        allowed[i] = reference_sdpa_tolerance(&r, &method, REF_F32, r.out[i], r.out_terms[i]);
    test_compare("rank 3", 48, got, r.out, allowed);
    free(got);
    free(x);
    test_free(&tx);
    test_free(&out);
    reference_sdpa_free(&r);
}

/* One row of query, and the last three: forward by parts of the keys. */
static void check_few_rows(TestDevice *device, Random *random) {
    Case c = {.batch = 1,
              .heads = 4,
              .kv_heads = 2,
              .q_length = 1,
              .kv_length = test_size(700, 520),
              .dim = 16,
              .value_dim = 16,
              .type = REF_F16,
              .backends = TKK_SDPA_FLASH};
    check_case(device, random, &c);
    c.q_length = 3;
    c.kv_length = 50;
    c.causal = c.lower_right = true;
    check_case(device, random, &c);
}

/* No rows, or no keys: zeros. */
static void check_empty(TestDevice *device, Random *random) {
    Case c = {.batch = 1,
              .heads = 2,
              .kv_heads = 2,
              .q_length = 0,
              .kv_length = 5,
              .dim = 16,
              .value_dim = 16,
              .type = REF_F32,
              .backends = TKK_SDPA_ANY};
    check_case(device, random, &c);
    c.q_length = 5;
    c.kv_length = 0;
    check_case(device, random, &c);
}

/* ---- choice ----------------------------------------------------------------------------- */

static void expect(const char *text, const char *words) {
    ck_assert_msg(strstr(text, words), "\"%s\" does not say \"%s\"", text, words);
}

static void expect_refusal(TestDevice *device, const tkk_sdpa *call, const char *words) {
    tkc_status status = tkk_sdpa_forward(device->library, NULL, call);
    ck_assert_msg(status == TKC_INVALID_ARGUMENT || status == TKC_UNSUPPORTED,
                  "status %d where \"%s\" was expected", (int)status, words);
    expect(tkc_last_error(), words);
}

static tkk_sdpa_choice choose(TestDevice *device, const tkk_sdpa *call) {
    tkk_sdpa_choice choice = TKK_SDPA_CHOICE_INIT;
    test_ok(tkk_sdpa_choose(device->library, call, false, &choice));
    ck_assert_uint_eq(choice.workspace, tkk_sdpa_workspace(device->library, call, false));
    return choice;
}

/* Shapes alone decide, so the tensors need no memory. */
static void check_choice(TestDevice *device, Random *random) {
    (void)random;
    tkk_sdpa call = TKK_SDPA_INIT;
    const tkc_argument none = tkc_arg_address(0);
    call.query = call.key = call.value = tkk_tensor4(none, TKC_F16, 32, 32, 1024, 32);
    call.lse = tkk_tensor3(none, TKC_F32, 32, 32, 1024);
    tkk_sdpa_choice choice = choose(device, &call);
    ck_assert_int_eq(choice.backend, TKK_SDPA_FLASH);
    ck_assert_uint_eq(choice.workspace, 0);
    expect(choice.reasons, "math: flash is preferred");
    call.backends = TKK_SDPA_MATH; /* 32 x 32 x 1024 x 1024 scores */
    choice = choose(device, &call);
    ck_assert_int_eq(choice.backend, TKK_SDPA_MATH);
    ck_assert_uint_eq(choice.workspace, UINT64_C(1) << 32);
    expect(choice.reasons, "flash: not allowed");

    call.backends = 0;
    call.query = call.key = call.value = tkk_tensor4(none, TKC_F16, 32, 32, 1024, 320);
    choice = choose(device, &call);
    ck_assert_int_eq(choice.backend, TKK_SDPA_EFFICIENT);
    ck_assert_uint_eq(choice.workspace, UINT64_C(1) << 29);
    expect(choice.reasons, "flash: head dimension 320 is over 256");
    call.query = call.key = call.value = tkk_tensor4(none, TKC_F64, 1, 1, 300, 16);
    call.lse = tkk_tensor3(none, TKC_F64, 1, 1, 300);
    choice = choose(device, &call);
    ck_assert_int_eq(choice.backend, TKK_SDPA_MATH);
    expect(choice.reasons, "flash: f64");

    call.query_starts.rank = 1;
    ck_assert_int_eq(tkk_sdpa_choose(device->library, &call, false, &choice), TKC_UNSUPPORTED);
    expect(tkc_last_error(), "math: it takes no query_starts");
    call.query_starts.rank = 0;
    call.backends = TKK_SDPA_FLASH | TKK_SDPA_MATH;
    call.workspace = (tkk_workspace){none, 1000};
    call.out = call.query;
    expect_refusal(device, &call, "none of the allowed backends can do it");
    expect(tkc_last_error(), "flash: f64 is not among its dtypes");
    expect(tkc_last_error(), "math: it needs 729600 bytes and the workspace has 1000");
    ck_assert_ptr_null(strstr(tkc_last_error(), "efficient"));
    ck_assert_int_eq(tkk_sdpa_choose(device->library, &call, false, &choice), TKC_UNSUPPORTED);
    expect(choice.reasons, "memory-efficient: not allowed");
}

static void check_refusals(TestDevice *device, Random *random) {
    Problem p = {.c = {.batch = 1,
                       .heads = 4,
                       .kv_heads = 2,
                       .q_length = 4,
                       .kv_length = 5,
                       .dim = 16,
                       .value_dim = 16,
                       .type = REF_F16,
                       .mask = SEEN}};
    make_reference(&p, random);
    make_tensors(&p, device);
    tkk_sdpa call = p.call;
    call.enable_gqa = false;
    expect_refusal(device, &call, "query has 4 heads and key has 2");
    call = p.call;
    call.dropout_p = 1;
    expect_refusal(device, &call, "dropout_p is 1");
    call = p.call;
    call.scale = -1;
    expect_refusal(device, &call, "scale is -1");
    call = p.call;
    call.mask.shape[3] = 4;
    expect_refusal(device, &call, "mask: the extent of dimension 3 is 4");
    call = p.call;
    call.mask.dtype = TKC_I32;
    expect_refusal(device, &call, "mask has dtype i32");
    call = p.call;
    call.value.dtype = TKC_F32;
    expect_refusal(device, &call, "value has dtype f32");
    call = p.call;
    call.key.rank = 3;
    expect_refusal(device, &call, "key has 3 dimensions");
    call = p.call;
    call.lse.dtype = TKC_F16;
    expect_refusal(device, &call, "lse has dtype f16");
    call = p.call;
    call.backends = 8;
    expect_refusal(device, &call, "backends is 8");
    call = p.call;
    call.struct_size = 8;
    expect_refusal(device, &call, "struct_size");
    call = p.call;
    call.dmask = call.dquery;
    ck_assert_int_eq(tkk_sdpa_backward(device->library, NULL, &call), TKC_INVALID_ARGUMENT);
    expect(tkc_last_error(), "dmask");
    release(&p);
}

/* clang-format off */
START_TEST(half) { test_on_each_device(check_half); } END_TEST
START_TEST(single) { test_on_each_device(check_single); } END_TEST
START_TEST(steps) { test_on_each_device(check_steps); } END_TEST
START_TEST(differences) { test_on_each_device(check_differences); } END_TEST
START_TEST(rank3) { test_on_each_device(check_rank3); } END_TEST
START_TEST(few_rows) { test_on_each_device(check_few_rows); } END_TEST
START_TEST(empty) { test_on_each_device(check_empty); } END_TEST
START_TEST(choice) { test_on_each_device(check_choice); } END_TEST
START_TEST(refusals) { test_on_each_device(check_refusals); } END_TEST
/* clang-format on */

int main(void) {
    Suite *suite = suite_create("sdpa");
    TCase *tests = tcase_create("sdpa");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, half);
    tcase_add_test(tests, single);
    tcase_add_test(tests, steps);
    tcase_add_test(tests, differences);
    tcase_add_test(tests, rank3);
    tcase_add_test(tests, few_rows);
    tcase_add_test(tests, empty);
    tcase_add_test(tests, choice);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
