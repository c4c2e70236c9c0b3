/* kernel_test.c: devices, seeds, tensors in device memory, comparison. */
#include "tests/kernel_test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- devices, seed ---------------------------------------------------------------------- */

static uint64_t seed_of_run(void) {
    const char *given = getenv("TKC_TEST_SEED");
    if (given) return strtoull(given, NULL, 0);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    Random mixer = random_from_seed((uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec);
    return random_bits(&mixer) >> 32;
}

/* TKC_TEST_DEVICES in the environment names the devices to test: "cuda,emu:sm_90a"; without a
 * number or a target, all numbers, or the usual target. `name` is that of a device, and this gives
 * the name to open for match number `index` of the list; NULL: no more. */
static const char *wanted(const char *name, uint32_t index, char *to, size_t size) {
    const char *list = getenv("TKC_TEST_DEVICES");
    const size_t kind = strcspn(name, ":");
    if (!list || !*list) return index == 0 ? name : NULL;
    for (size_t word; *list; list += word + (list[word] == ',')) {
        word = strcspn(list, ",");
        const bool exact = strcspn(list, ":") < word, numbered = name[kind] == ':';
        if (strncmp(list, name, kind) != 0 || (word > kind && list[kind] != ':')) continue;
        if (exact && numbered && (strlen(name) != word || strncmp(list, name, word) != 0)) continue;
        if (index-- > 0) continue;
        snprintf(to, size, "%.*s", (int)word, list);
        return exact ? to : name;
    }
    return NULL;
}

static bool is_wanted(const char *name) {
    char open[64];
    return wanted(name, 0, open, sizeof open) != NULL;
}

static void check_on(tkc_context *context, const char *name, uint64_t seed,
                     void (*check)(TestDevice *device, Random *random)) {
    TestDevice device = {.name = name, .context = context};
    test_ok(tkc_device_open(context, name, &device.device));
    test_ok(tkk_create(context, device.device, &device.library));
    Random random = random_from_seed(seed);
    check(&device, &random);
    tkk_destroy(device.library);
    tkc_device_destroy(device.device);
}

void test_on_each_device(void (*check)(TestDevice *device, Random *random)) {
    /* The parent has put the seed of this run into the environment. */
    uint64_t seed = seed_of_run();
    tkc_context *context;
    test_ok(tkc_context_create(NULL, &context));
    uint32_t ran = 0;
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        tkc_device_info info = TKC_DEVICE_INFO_INIT;
        test_ok(tkc_device_describe(context, i, &info));
        if (!info.available) continue;
        char name[64];
        const char *open;
        for (uint32_t k = 0; (open = wanted(info.name, k, name, sizeof name)); k++, ran++)
            check_on(context, open, seed, check);
    }
    tkc_context_destroy(context);
    ck_assert_msg(ran > 0, "none of the devices to test is present");
}

static void name_missing_devices(void) {
    tkc_context *context;
    if (tkc_context_create(NULL, &context) != TKC_OK) return;
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        tkc_device_info info = TKC_DEVICE_INFO_INIT;
        if (tkc_device_describe(context, i, &info) == TKC_OK && !info.available &&
            is_wanted(info.name))
            printf("skipped: %s: %s\n", info.name, info.reason);
    }
    tkc_context_destroy(context);
}

int64_t test_size(int64_t usual, int64_t small) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)usual;
    return small;
#else
    const char *wanted = getenv("TKC_TEST_SMALL");
    return wanted && *wanted && strcmp(wanted, "0") != 0 ? small : usual;
#endif
}

int test_main(Suite *suite) {
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)seed_of_run());
    setenv("TKC_TEST_SEED", seed, 1);
    printf("seed: TKC_TEST_SEED=%s\n", seed);
    /* Not in this process: a CUDA driver that was started here would not work in the children that
     * run the tests. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        name_missing_devices();
        fflush(stdout);
        _exit(0);
    }
    if (child > 0) waitpid(child, NULL, 0);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- tensors ---------------------------------------------------------------------------- */

tkc_dtype test_dtype(ReferenceType type) {
    static const tkc_dtype dtypes[] = {
        [REF_F16] = TKC_F16, [REF_BF16] = TKC_BF16,     [REF_F32] = TKC_F32,
        [REF_F64] = TKC_F64, [REF_F8E4M3] = TKC_F8E4M3, [REF_F8E5M2] = TKC_F8E5M2,
        [REF_I8] = TKC_I8,   [REF_I32] = TKC_I32};
    return dtypes[type];
}

double *test_numbers(int64_t n) {
    double *numbers = malloc((size_t)(n > 0 ? n : 1) * sizeof *numbers);
    ck_assert_ptr_nonnull(numbers);
    return numbers;
}

/* Where dense element i lies, in elements from the start of the tensor. */
static int64_t place(const tkk_tensor *tensor, int64_t i) {
    int64_t at = 0;
    for (uint32_t d = tensor->rank; d-- > 0; i /= tensor->shape[d])
        at += i % tensor->shape[d] * tensor->stride[d];
    return at;
}

TestTensor test_tensor(TestDevice *device, const char *name, ReferenceType type, uint32_t rank,
                       const int64_t *shape, const TestLayout *layout, const double *values) {
    static const TestLayout plain = {0};
    if (!layout) layout = &plain;
    bool given = layout->order[0] || layout->order[1] || layout->order[2] || layout->order[3];
    TestTensor t = {.name = name, .type = type, .count = 1};
    t.tensor.dtype = test_dtype(type);
    t.tensor.rank = rank;
    int64_t extent = layout->step ? layout->step : 1;
    for (uint32_t i = rank; i-- > 0;) {
        uint32_t d = given ? layout->order[i] : i;
        t.tensor.shape[d] = shape[d];
        t.tensor.stride[d] = extent;
        extent *= shape[d] > 0 ? shape[d] : 1;
        if (i == rank - 1) extent += layout->gap;
        t.count *= shape[d];
    }
    t.room = layout->start + extent + layout->gap;

    size_t size = reference_size(type);
    test_ok(tkc_buffer_create(device->device, (uint64_t)t.room * size, name, &t.buffer));
    t.tensor.data = tkc_arg_buffer_at(t.buffer, (uint64_t)layout->start * size);
    if (!values) {
        test_ok(tkc_buffer_poison(t.buffer));
        return t;
    }
    char *image = malloc((size_t)t.room * size);
    ck_assert_ptr_nonnull(image);
    memset(image, 0xff, (size_t)t.room * size);
    for (int64_t i = 0; i < t.count; i++)
        reference_store(type, image, layout->start + place(&t.tensor, i), values[i]);
    test_ok(tkc_buffer_write(t.buffer, 0, image, (uint64_t)t.room * size));
    free(image);
    return t;
}

double *test_read(const TestTensor *t) {
    size_t size = reference_size(t->type);
    char *image = malloc((size_t)t->room * size);
    double *values = test_numbers(t->count);
    ck_assert_ptr_nonnull(image);
    test_ok(tkc_buffer_read(t->buffer, 0, image, (uint64_t)t->room * size));
    int64_t start = (int64_t)(t->tensor.data.offset / size);
    for (int64_t i = 0; i < t->count; i++) {
        int64_t at = start + place(&t->tensor, i);
        values[i] = reference_load(t->type, image, at);
        memset(image + (size_t)at * size, 0xff, size);
    }
    for (size_t i = 0; i < (size_t)t->room * size; i++)
        if ((unsigned char)image[i] != 0xff) /* an assertion that holds costs a system call */
            ck_abort_msg("%s: byte %zu is outside and was written", t->name, i);
    free(image);
    return values;
}

void test_free(TestTensor *tensor) {
    tkc_buffer_destroy(tensor->buffer);
    tensor->buffer = NULL;
}

void test_compare(const char *what, int64_t n, const double *got, const double *expected,
                  const double *allowed) {
    int64_t wrong = 0, first = -1, worst = -1;
    double worst_ratio = 0;
    for (int64_t i = 0; i < n; i++) {
        double error = got[i] == expected[i] ? 0 : fabs(got[i] - expected[i]);
        if (error != 0 && !isfinite(expected[i])) error = NAN; /* infinity is exact or wrong */
        if (!(error <= allowed[i])) {
            wrong++;
            if (first < 0) first = i;
        }
        double ratio = error == 0 ? 0 : error / allowed[i];
        if (worst < 0 || isnan(ratio) || ratio > worst_ratio) {
            worst = i;
            worst_ratio = ratio;
            if (isnan(ratio)) break;
        }
    }
    if (getenv("TKC_TEST_VERBOSE") && worst >= 0)
        printf("%-60s error/allowed %.3f (%.2e of %.2e at %g)\n", what, worst_ratio,
               fabs(got[worst] - expected[worst]), allowed[worst], expected[worst]);
    if (wrong == 0) return;
    ck_abort_msg("%s: %lld of %lld elements are wrong; element %lld is %.9g, expected %.9g within "
                 "%.3g; worst: element %lld is %.9g, expected %.9g within %.3g",
                 what, (long long)wrong, (long long)n, (long long)first, got[first],
                 expected[first], allowed[first], (long long)worst, got[worst], expected[worst],
                 allowed[worst]);
}
