/* k_cross_entropy.c: cross entropy of logits with labels, and its gradient. */
#include "tests/layer_test.h"

#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int64_t rows, n;
    bool across; /* logits [n, rows] with axis 0, labels [rows] */
    ReferenceType type;
    tkk_loss_reduction reduction;
    float smoothing, z_loss;
    double deviation;
    TestLayout layout;
} Case;

static const Case cases[] = {
    {1, 1, false, REF_F32, TKK_LOSS_MEAN, 0, 0, 1, {.gap = 0}},
    {37, 10, false, REF_F32, TKK_LOSS_MEAN, 0, 0, 3, {.gap = 0}},
    {20, 1000, false, REF_F16, TKK_LOSS_NONE, 0.1f, 0, 2, {.gap = 8, .start = 2}},
    {5, 5003, false, REF_BF16, TKK_LOSS_SUM, 0, 1e-3f, 4, {.gap = 0}},
    {300, 7, true, REF_F32, TKK_LOSS_MEAN, 0.2f, 1e-2f, 1, {.gap = 0}},
    {9, 3000, false, REF_F32, TKK_LOSS_SUM, 0, 0, 1e4, {.gap = 0}},
    {0, 12, false, REF_F32, TKK_LOSS_SUM, 0, 0, 1, {.gap = 0}},
};

enum { IGNORED = -7 };

static void check(TestDevice *device, Random *random, const Case *c) {
    int64_t rows = c->rows, n = c->n, count = rows * n, one = 1;
    const int64_t shape[] = {c->across ? n : rows, c->across ? rows : n};
    bool none = c->reduction == TKK_LOSS_NONE;
    const int64_t *loss_shape = none ? &rows : &one;
    Operand x =
        random_operand(device, random, "logits", c->type, 2, shape, &c->layout, c->deviation);
    Operand loss = output_operand(device, "loss", REF_F32, 1, loss_shape, NULL);
    Operand lse = output_operand(device, "lse", REF_F32, 1, &rows, NULL);
    Operand counted = output_operand(device, "count", REF_F32, 1, &one, NULL);
    Operand dloss = random_operand(device, random, "dloss", REF_F32, 1, loss_shape, NULL, 1);
    Operand dx = output_operand(device, "dlogits", c->type, 2, shape, &c->layout);
    int64_t *labels = malloc((size_t)(rows + 1) * sizeof *labels), valid = 0;
    for (int64_t r = 0; r < rows; r++) {
        labels[r] = r % 5 == 3 ? IGNORED : (int64_t)(random_bits(random) % (uint64_t)n);
        valid += labels[r] >= 0;
    }
    IndexOperand tl =
        index_operand(device, "labels", rows % 2 ? TKC_I32 : TKC_I64, 1, &rows, labels);

    double *seen = test_numbers(count), *losses = test_numbers(rows), *lses = test_numbers(rows);
    double *loss_allowed = test_numbers(rows + 1), *lse_allowed = test_numbers(rows);
    double *dxs = test_numbers(count), *allowed = test_numbers(count), *slope = test_numbers(rows);
    double *to = test_numbers(count), *to_allowed = test_numbers(count);
    reference_exchange(1, c->across ? n : 1, c->across ? rows : count, x.values, seen);
    ReferenceCrossEntropy r = {.rows = rows,
                               .n = n,
                               .smoothing = (double)c->smoothing,
                               .z_loss = (double)c->z_loss,
                               .x = seen,
                               .labels = labels,
                               .loss = losses,
                               .lse = lses,
                               .slope = slope,
                               .dx = dxs};
    reference_cross_entropy(&r);
    reference_cross_entropy_tolerances(&r, loss_allowed, lse_allowed);
    double total = 0, size = 0, wrong = 0, u = reference_unit_roundoff(REF_F32);
    for (int64_t i = 0; i < rows; i++) {
        total += losses[i];
        size += fabs(losses[i]);
        wrong += loss_allowed[i];
    }
    double share = c->reduction == TKK_LOSS_MEAN ? 1 / (double)valid : 1;

    tkk_cross_entropy p = TKK_CROSS_ENTROPY_INIT;
    p.axis = c->across ? 0 : -1;
    p.reduction = c->reduction;
    p.label_smoothing = c->smoothing, p.z_loss = c->z_loss;
    p.ignore_index = IGNORED;
    p.logits = x.tensor, p.labels = tl.tensor, p.loss = loss.tensor, p.lse = lse.tensor;
    p.count = counted.tensor;
    p.check_labels = true;
    tkc_buffer *workspace = NULL;
    p.workspace.size = tkk_cross_entropy_workspace(&p);
    ck_assert(none || p.workspace.size > 0);
    if (p.workspace.size > 0) {
        test_ok(tkc_buffer_create(device->device, p.workspace.size, "workspace", &workspace));
        test_ok(tkc_buffer_poison(workspace));
        p.workspace.data = tkc_arg_buffer(workspace);
    }
    test_ok(tkk_cross_entropy_forward(device->library, NULL, &p));
    tkc_buffer_destroy(workspace);
    const char *what =
        test_name(device, "cross entropy", c->type, "%lldx%lld", (long long)rows, (long long)n);
    check_output(&lse, what, lses, lse_allowed);
    if (none) {
        check_output(&loss, what, losses, loss_allowed);
    } else {
        double mean = total * share;
        double off = share * (wrong + (REFERENCE_SIGMAS * sqrt((double)rows) + 3) * u * size);
        check_output(&loss, what, &mean, &off);
        ck_assert(read_output(&counted)[0] == (double)valid);
    }

    Operand lse_given = given_operand(device, "lse", REF_F32, 1, &rows, NULL, lses);
    memcpy(lses, lse_given.values, (size_t)rows * sizeof *lses);
    for (int64_t i = 0; i < rows; i++) slope[i] = dloss.values[none ? i : 0] * share;
    reference_cross_entropy_backward(&r);
    reference_cross_entropy_backward_tolerances(&r, c->type, allowed);
    p.lse = lse_given.tensor, p.dloss = dloss.tensor, p.dlogits = dx.tensor;
    test_ok(tkk_cross_entropy_backward(device->library, NULL, &p));
    reference_exchange(1, c->across ? rows : 1, c->across ? n : count, dxs, to);
    reference_exchange(1, c->across ? rows : 1, c->across ? n : count, allowed, to_allowed);
    check_output(&dx, what, to, to_allowed);
    p.dlogits = x.tensor; /* in place: the same numbers */
    test_ok(tkk_cross_entropy_backward(device->library, NULL, &p));
    for (int64_t i = 0; i < count; i++) to_allowed[i] = 0;
    check_output(&x, "cross entropy in place", dx.values, to_allowed);

    double *all[] = {seen, losses, lses,    loss_allowed, lse_allowed,
                     dxs,  to,     allowed, slope,        to_allowed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(labels);
    tkc_buffer_destroy(tl.buffer);
    free_operands(7, (Operand *[]){&x, &loss, &lse, &counted, &dloss, &dx, &lse_given});
}

static void check_cases(TestDevice *device, Random *random) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(device, random, &cases[i]);
}

/* -inf among the logits, no row that counts, labels that are no class. */
static void check_special(TestDevice *device, Random *random) {
    (void)random;
    enum { ROWS = 3, N = 8 };
    const int64_t shape[] = {ROWS, N}, rows = ROWS, one = 1;
    double x[ROWS * N];
    for (int i = 0; i < ROWS * N; i++) x[i] = i % N < 4 ? -INFINITY : 0;
    int64_t labels[ROWS] = {5, 2, N};
    Operand tx = given_operand(device, "logits", REF_F32, 2, shape, NULL, x);
    Operand loss = output_operand(device, "loss", REF_F32, 1, &rows, NULL);
    Operand mean = output_operand(device, "mean", REF_F32, 1, &one, NULL);
    Operand lse = output_operand(device, "lse", REF_F32, 1, &rows, NULL);
    Operand dloss = given_operand(device, "dloss", REF_F32, 1, &rows, NULL, (double[]){1, 1, 1});
    IndexOperand tl = index_operand(device, "labels", TKC_I64, 1, &rows, labels);
    tkk_cross_entropy p = TKK_CROSS_ENTROPY_INIT;
    p.reduction = TKK_LOSS_NONE;
    p.logits = tx.tensor, p.labels = tl.tensor, p.loss = loss.tensor, p.lse = lse.tensor;
    test_ok(tkk_cross_entropy_forward(device->library, NULL, &p));
    const double *got = read_output(&loss);
    ck_assert_msg(fabs(got[0] - log(4)) < 1e-6 && isinf(got[1]) && isnan(got[2]), "%g %g %g",
                  got[0], got[1], got[2]);
    p.dloss = dloss.tensor, p.dlogits = tx.tensor;
    test_ok(tkk_cross_entropy_backward(device->library, NULL, &p));
    got = read_output(&tx);
    ck_assert_msg(got[0] == 0 && fabs(got[5] + 0.75) < 1e-6 && fabs(got[N + 2] + 1) < 1e-6 &&
                      isnan(got[2 * N]),
                  "%g %g %g %g", got[0], got[5], got[N + 2], got[2 * N]);

    p.reduction = TKK_LOSS_MEAN;
    p.loss = mean.tensor;
    p.check_labels = true;
    tkc_status status = tkk_cross_entropy_forward(device->library, NULL, &p);
    if (status == TKC_OK) status = tkc_device_synchronize(device->device);
    if (strcmp(device->name, "interp") == 0 || strcmp(device->name, "cpu") == 0) {
        ck_assert_int_eq(status, TKC_LAUNCH_FAULT);
        ck_assert_ptr_nonnull(strstr(tkc_last_error(), "a label is no class"));
        p.check_labels = false;
        for (int i = 0; i < ROWS; i++) labels[i] = -100;
        test_ok(tkc_buffer_write(tl.buffer, 0, labels, sizeof labels));
        test_ok(tkk_cross_entropy_forward(device->library, NULL, &p));
        ck_assert(isnan(read_output(&mean)[0]));
    }
    tkc_buffer_destroy(tl.buffer);
    free_operands(5, (Operand *[]){&tx, &loss, &mean, &lse, &dloss});
}

START_TEST(rows_of_classes) {
    test_on_each_device(check_cases);
}
END_TEST

START_TEST(special) {
    test_on_each_device(check_special);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cross_entropy");
    TCase *tests = tcase_create("cross_entropy");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, rows_of_classes);
    tcase_add_test(tests, special);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
