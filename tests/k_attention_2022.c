/* k_attention_2022.c: the attention kernels of 2022 against float64, at every head dimension. */
#include "tests/kernel_test.h"

#include <math.h>
#include <stdlib.h>

static void compare(const TestDevice *device, const ReferenceAttention *r, const char *name,
                    const TestTensor *tensor, const double *want, const double *noise) {
    /* P is normalised and then rounded; dout / l is rounded before it is used, and so are P and
     * dS. */
    const ReferenceMethod method = {REF_F16, 2, 0};
    double *got = test_read(tensor), *allowed = test_numbers(tensor->count);
    for (int64_t i = 0; i < tensor->count; i++)
        allowed[i] = reference_attention_tolerance(r, &method, tensor->type, want[i], noise[i]);
    char what[128];
    snprintf(what, sizeof what, "%s: %lldx%lldx%lldx%lld on %s", name, (long long)r->batch,
             (long long)r->heads, (long long)r->q_length, (long long)r->dim, device->name);
    test_compare(what, tensor->count, got, want, allowed);
    free(got);
    free(allowed);
}

static void check_dim(TestDevice *device, Random *random, int64_t batch, int64_t heads,
                      int64_t length, int64_t dim) {
    enum { Q, K, V, DOUT, OUT, DQ, DK, DV, OUT_NOISE, DQ_NOISE, DK_NOISE, DV_NOISE, ARRAYS };
    int64_t rows = batch * heads * length, count = rows * dim;
    double *x[ARRAYS], *lse = test_numbers(rows), *zero = test_numbers(count);
    for (int i = 0; i < ARRAYS; i++) x[i] = test_numbers(count);
    for (int i = Q; i <= DOUT; i++) random_fill(random, REF_F16, i == DOUT ? 1 : 0.5, x[i], count);
    for (int64_t i = 0; i < count; i++) zero[i] = 0;
    ReferenceAttention r = {.batch = batch,
                            .heads = heads,
                            .kv_heads = heads,
                            .q_length = length,
                            .kv_length = length,
                            .dim = dim,
                            .causal = true,
                            .scale = (double)0.3f,
                            .q = x[Q],
                            .k = x[K],
                            .v = x[V],
                            .dout = x[DOUT],
                            .out = x[OUT],
                            .lse = lse,
                            .dq = x[DQ],
                            .dk = x[DK],
                            .dv = x[DV],
                            .out_noise = x[OUT_NOISE],
                            .dq_noise = x[DQ_NOISE],
                            .dk_noise = x[DK_NOISE],
                            .dv_noise = x[DV_NOISE]};
    reference_attention(&r);

    const int64_t shape[] = {batch, heads, length, dim};
    struct {
        const char *name;
        ReferenceType type;
        uint32_t rank;
        const double *values;
        TestTensor tensor;
    } t[] = {
        {"q", REF_F16, 4, x[Q], {0}},        {"k", REF_F16, 4, x[K], {0}},
        {"v", REF_F16, 4, x[V], {0}},        {"out", REF_F16, 4, NULL, {0}},
        {"tmp", REF_F32, 3, NULL, {0}},      {"l", REF_F32, 3, NULL, {0}},
        {"m", REF_F32, 3, NULL, {0}},        {"dout", REF_F16, 4, x[DOUT], {0}},
        {"new_dout", REF_F16, 4, NULL, {0}}, {"delta", REF_F32, 3, NULL, {0}},
        {"dq", REF_F32, 4, zero, {0}},       {"dk", REF_F16, 4, NULL, {0}},
        {"dv", REF_F16, 4, NULL, {0}},
    };
    enum { TENSORS = sizeof t / sizeof *t };
    tkk_attention_2022 call = TKK_ATTENTION_2022_INIT;
    tkk_tensor *fields[TENSORS] = {&call.q,  &call.k,  &call.v,    &call.out,      &call.tmp,
                                   &call.l,  &call.m,  &call.dout, &call.new_dout, &call.delta,
                                   &call.dq, &call.dk, &call.dv};
    for (int i = 0; i < TENSORS; i++) {
        t[i].tensor =
            test_tensor(device, t[i].name, t[i].type, t[i].rank, shape, NULL, t[i].values);
        *fields[i] = t[i].tensor.tensor;
    }
    call.scale = 0.3f;
    test_ok(tkk_attention_2022_forward(device->library, NULL, &call));
    compare(device, &r, "out", &t[3].tensor, x[OUT], x[OUT_NOISE]);
    test_ok(tkk_attention_2022_backward(device->library, NULL, &call));
    compare(device, &r, "dq", &t[10].tensor, x[DQ], x[DQ_NOISE]);
    compare(device, &r, "dk", &t[11].tensor, x[DK], x[DK_NOISE]);
    compare(device, &r, "dv", &t[12].tensor, x[DV], x[DV_NOISE]);

    call.q.shape[2] = 100;
    ck_assert_int_eq(tkk_attention_2022_forward(device->library, NULL, &call), TKC_UNSUPPORTED);
    for (int i = 0; i < TENSORS; i++) test_free(&t[i].tensor);
    for (int i = 0; i < ARRAYS; i++) free(x[i]);
    free(lse);
    free(zero);
}

static void check_dims(TestDevice *device, Random *random) {
    for (int64_t dim = 16; dim <= test_size(128, 32); dim *= 2)
        check_dim(device, random, 1, 1, test_size(384, 128), dim);
}

static void check_heads(TestDevice *device, Random *random) {
    check_dim(device, random, 2, 3, 256, test_size(32, 16));
}

START_TEST(dims) {
    test_on_each_device(check_dims);
}
END_TEST

START_TEST(heads) {
    test_on_each_device(check_heads);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention_2022");
    TCase *tests = tcase_create("attention_2022");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, dims);
    tcase_add_test(tests, heads);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
