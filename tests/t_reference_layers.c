/* t_reference_layers.c: the gradients in reference_layers.c are those of its functions: central
 * differences say so. */
#include "tests/reference_layers.h"

#include "tests/check_quick.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 3, N = 7, COUNT = ROWS * N };

/* The sum of slope * result, for inputs that lie in `input`. */
typedef double Loss(void *context);

/* Compares d loss / d input[i] with `gradient`. */
static void check_gradient(const char *name, Loss *loss, void *context, double *input, int64_t n,
                           const double *gradient) {
    const double step = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        double value = input[i];
        input[i] = value + step;
        double above = loss(context);
        input[i] = value - step;
        double below = loss(context);
        input[i] = value;
        double slope = (above - below) / (2 * step);
        ck_assert_msg(fabs(slope - gradient[i]) < 1e-7 * (1 + fabs(slope)), "%s: %lld: %g, %g",
                      name, (long long)i, gradient[i], slope);
    }
}

static double product(const double *a, const double *b) {
    double sum = 0;
    for (int i = 0; i < COUNT; i++) sum += a[i] * b[i];
    return sum;
}

static void fill(double *x, int64_t n) {
    Random random = random_from_seed(n * 1234567u);
    random_fill(&random, REF_F64, 1, x, n);
}

/* ---- softmax ------------------------------------------------------------------------------ */

typedef struct Softmax {
    double x[COUNT], y[COUNT], dy[COUNT], dx[COUNT];
} Softmax;

static double softmax_loss(void *context) {
    Softmax *s = context;
    reference_softmax(ROWS, N, s->x, s->y);
    return product(s->y, s->dy);
}

static double log_softmax_loss(void *context) {
    Softmax *s = context;
    reference_log_softmax(ROWS, N, s->x, s->y);
    return product(s->y, s->dy);
}

START_TEST(softmax) {
    Softmax s;
    fill(s.x, COUNT);
    for (int i = 0; i < COUNT; i++) s.dy[i] = cos(i);
    softmax_loss(&s);
    reference_softmax_backward(ROWS, N, s.y, s.dy, s.dx);
    check_gradient("softmax", softmax_loss, &s, s.x, COUNT, s.dx);
    log_softmax_loss(&s);
    reference_log_softmax_backward(ROWS, N, s.y, s.dy, s.dx);
    check_gradient("log softmax", log_softmax_loss, &s, s.x, COUNT, s.dx);
}
END_TEST

/* ---- norm --------------------------------------------------------------------------------- */

static double norm_loss(void *context) {
    ReferenceNorm *p = context;
    reference_norm(p);
    return product(p->y, p->dy);
}

START_TEST(norm) {
    double s[COUNT], y[COUNT], dy[COUNT], dx[COUNT], mean[ROWS], rstd[ROWS];
    double weight[N], bias[N], dweight[N], dbias[N];
    for (int rms = 0; rms < 2; rms++) {
        ReferenceNorm p = {.rows = ROWS,
                           .n = N,
                           .rms = rms,
                           .epsilon = 1e-3,
                           .s = s,
                           .weight = weight,
                           .bias = bias,
                           .y = y,
                           .mean = mean,
                           .rstd = rstd,
                           .dy = dy,
                           .dx = dx,
                           .dweight = dweight,
                           .dbias = dbias};
        fill(s, COUNT);
        fill(weight, N);
        for (int i = 0; i < N; i++) bias[i] = i;
        for (int i = 0; i < COUNT; i++) dy[i] = cos(i);
        norm_loss(&p);
        reference_norm_backward(&p);
        double kept[3][COUNT];
        for (int i = 0; i < COUNT; i++) kept[0][i] = dx[i];
        for (int i = 0; i < N; i++) kept[1][i] = dweight[i], kept[2][i] = dbias[i];
        check_gradient("norm, s", norm_loss, &p, s, COUNT, kept[0]);
        check_gradient("norm, weight", norm_loss, &p, weight, N, kept[1]);
        check_gradient("norm, bias", norm_loss, &p, bias, N, kept[2]);
    }
}
END_TEST

/* ---- activations -------------------------------------------------------------------------- */

typedef struct Activation {
    ReferenceActivation f;
    double x;
} Activation;

static double activation_loss(void *context) {
    const Activation *a = context;
    return reference_activate(a->f, a->x);
}

START_TEST(activations) {
    for (ReferenceActivation f = REF_NONE; f <= REF_GELU_TANH; f++)
        for (int i = -40; i <= 40; i++) {
            Activation a = {f, i == 0 ? 0.01 : 0.2 * i}; /* relu has a corner at 0 */
            double slope = reference_activation_slope(f, a.x);
            check_gradient("activation", activation_loss, &a, &a.x, 1, &slope);
        }
}
END_TEST

/* ---- cross entropy ------------------------------------------------------------------------ */

static double cross_entropy_loss(void *context) {
    ReferenceCrossEntropy *p = context;
    reference_cross_entropy(p);
    double sum = 0;
    for (int r = 0; r < ROWS; r++) sum += p->loss[r] * p->slope[r];
    return sum;
}

START_TEST(cross_entropy) {
    double x[COUNT], dx[COUNT], loss[ROWS], lse[ROWS], slope[ROWS] = {0.5, 2, -1};
    const int64_t labels[ROWS] = {3, -1, 6};
    ReferenceCrossEntropy p = {.rows = ROWS,
                               .n = N,
                               .smoothing = 0.2,
                               .z_loss = 0.1,
                               .x = x,
                               .labels = labels,
                               .loss = loss,
                               .lse = lse,
                               .slope = slope,
                               .dx = dx};
    fill(x, COUNT);
    cross_entropy_loss(&p);
    reference_cross_entropy_backward(&p);
    check_gradient("cross entropy", cross_entropy_loss, &p, x, COUNT, dx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("reference_layers");
    TCase *tests = tcase_create("gradients");
    tcase_add_test(tests, softmax);
    tcase_add_test(tests, norm);
    tcase_add_test(tests, activations);
    tcase_add_test(tests, cross_entropy);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
