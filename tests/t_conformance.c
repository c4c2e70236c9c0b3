/* t_conformance.c: kernels whose results Triton's own interpreter computed (tools/conformance.py),
 * on every device that is present. conformance/README.md says how a case is written.
 *
 * All cases of a file run; those that fail are listed together.
 */
#include "runtime/tkc.h"

#include "tests/check_quick.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/conformance/"
enum { MAX_INPUTS = 6, ELEMENTS = 256 };

typedef struct Case {
    char kernel[64];
    uint32_t number; /* of the kernel's cases, from 0 */
    char inputs[MAX_INPUTS][16], output[16];
    uint32_t input_count;
    uint64_t count, ulp;
} Case;

typedef struct Report {
    char text[16384];
    size_t length;
    uint32_t ran, failed;
    struct {
        char name[64];
        uint32_t ran;
    } devices[8]; /* how many cases ran on each */
} Report;

__attribute__((format(printf, 4, 5))) static void complain(Report *report, const char *device,
                                                           const Case *c, const char *format, ...) {
    va_list args;
    char text[512];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report->failed++;
    size_t room = sizeof report->text - report->length;
    int n = snprintf(report->text + report->length, room, "  %.63s #%u on %s: %s\n", c->kernel,
                     c->number, device, text);
    report->length += (size_t)n < room ? (size_t)n : room - 1;
}

/* ---- cases ------------------------------------------------------------------------------------
 */

/* "f32 i32 -> f16[64] ulp 2" */
static bool read_case(const char *line, Case *c) {
    char words[16][16];
    uint32_t n = 0, at = 0;
    for (int used; n < 16 && sscanf(line, "%15s%n", words[n], &used) == 1; n++) line += used;
    c->input_count = 0;
    c->count = ELEMENTS;
    c->ulp = 0;
    for (; at < n && strcmp(words[at], "->") != 0; at++) {
        if (c->input_count == MAX_INPUTS) return false;
        strcpy(c->inputs[c->input_count++], words[at]);
    }
    if (++at >= n) return false;
    strcpy(c->output, words[at]);
    char *bracket = strchr(c->output, '[');
    if (bracket) {
        c->count = strtoull(bracket + 1, NULL, 10);
        *bracket = 0;
    }
    if (at + 2 < n && strcmp(words[at + 1], "ulp") == 0) c->ulp = strtoull(words[at + 2], NULL, 10);
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------
 */

static tkc_array load(const char *name, tkc_dtype dtype) {
    tkc_array array = TKC_ARRAY_INIT;
    char path[256];
    snprintf(path, sizeof path, FOLDER "data/%s.npy", name);
    tkc_status status = tkc_npy_load(path, dtype, &array);
    ck_assert_msg(status == TKC_OK, "%s: %s", path, tkc_last_error());
    return array;
}

/* Numbers in an order where neighbours differ by 1: the bits, negative ones mirrored. */
static int64_t place(const uint8_t *bytes, uint32_t size) {
    uint64_t bits = 0, sign = 1ull << (size * 8 - 1);
    memcpy(&bits, bytes, size);
    return bits & sign ? -(int64_t)(bits & (sign - 1)) : (int64_t)bits;
}

static bool is_float(tkc_dtype d) {
    return d >= TKC_F8E4M3 && d <= TKC_F64;
}

/* Element that differs by more than `ulp`, or `count`. NaN equals NaN. */
static uint64_t first_difference(const tkc_array *wanted, const uint8_t *got, uint64_t ulp) {
    uint32_t size = tkc_dtype_size(wanted->dtype);
    uint64_t count = tkc_array_count(wanted);
    const uint8_t *want = wanted->data;
    for (uint64_t i = 0; i < count; i++, want += size, got += size) {
        if (memcmp(want, got, size) == 0) continue;
        if (!is_float(wanted->dtype)) return i;
        double x, y;
        tkc_decode(wanted->dtype, want, &x, 1);
        tkc_decode(wanted->dtype, got, &y, 1);
        if (isnan(x) && isnan(y)) continue;
        if (isnan(x) || isnan(y)) return i;
        int64_t distance = place(want, size) - place(got, size);
        if ((uint64_t)(distance < 0 ? -distance : distance) > ulp) return i;
    }
    return count;
}

/* ---- running
 * -------------------------------------------------------------------------------------- */

static tkc_kernel *compile(tkc_context *context, const char *file, const Case *c,
                           const char *target, char **log) {
    char signature[256] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < c->input_count; i++)
        n += (size_t)snprintf(signature + n, sizeof signature - n, "*%s, ", c->inputs[i]);
    snprintf(signature + n, sizeof signature - n, "*%s", c->output);
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = file;
    options.kernel = c->kernel;
    options.signature = signature;
    options.target = target;
    options.verify = true;
    tkc_kernel *kernel = NULL;
    return tkc_compile(context, &options, &kernel, log) == TKC_OK ? kernel : NULL;
}

static void launch(tkc_device *device, tkc_kernel *kernel, const char *stem, const Case *c,
                   Report *report) {
    tkc_buffer *buffers[MAX_INPUTS + 1] = {NULL};
    tkc_argument arguments[MAX_INPUTS + 1];
    char name[256];
    for (uint32_t i = 0; i < c->input_count; i++) {
        snprintf(name, sizeof name, "%.15s-%c", c->inputs[i], "abcdef"[i]);
        tkc_array x = load(name, tkc_dtype_from_name(c->inputs[i]));
        ck_assert_int_eq(tkc_buffer_create(device, x.size, c->inputs[i], &buffers[i]), TKC_OK);
        ck_assert_int_eq(tkc_buffer_write(buffers[i], 0, x.data, x.size), TKC_OK);
        tkc_array_free(&x);
        arguments[i] = tkc_arg_buffer(buffers[i]);
    }
    snprintf(name, sizeof name, "%s-%.63s-%u", stem, c->kernel, c->number);
    tkc_array wanted = load(name, tkc_dtype_from_name(c->output));
    tkc_buffer *out;
    ck_assert_int_eq(tkc_buffer_create(device, wanted.size, "out", &out), TKC_OK);
    ck_assert_int_eq(tkc_buffer_poison(out), TKC_OK);
    arguments[c->input_count] = tkc_arg_buffer(out);
    uint8_t *got = malloc(wanted.size);
    tkc_status status =
        tkc_launch(kernel, device, NULL, tkc_grid1(1), arguments, c->input_count + 1, NULL);
    if (status == TKC_OK) status = tkc_buffer_read(out, 0, got, wanted.size);
    uint64_t i = status == TKC_OK ? first_difference(&wanted, got, c->ulp) : 0;
    if (status != TKC_OK) {
        complain(report, tkc_device_name(device), c, "%s", tkc_last_error());
    } else if (i < tkc_array_count(&wanted)) {
        uint32_t size = tkc_dtype_size(wanted.dtype);
        double x, y;
        tkc_decode(wanted.dtype, (uint8_t *)wanted.data + i * size, &x, 1);
        tkc_decode(wanted.dtype, got + i * size, &y, 1);
        complain(report, tkc_device_name(device), c,
                 "element %" PRIu64 " is %.17g, Triton has %.17g", i, y, x);
    }
    free(got);
    tkc_array_free(&wanted);
    tkc_buffer_destroy(out);
    for (uint32_t k = 0; k < c->input_count; k++) tkc_buffer_destroy(buffers[k]);
}

static void count_run(Report *report, const char *device) {
    report->ran++;
    for (int i = 0; i < 8; i++) {
        if (report->devices[i].ran && strcmp(report->devices[i].name, device) != 0) continue;
        snprintf(report->devices[i].name, sizeof report->devices[i].name, "%.63s", device);
        report->devices[i].ran++;
        return;
    }
}

static void print_runs(const Report *report, const char *path) {
    printf("%s:", path);
    for (int i = 0; i < 8 && report->devices[i].ran; i++)
        printf(" %u on %s", report->devices[i].ran, report->devices[i].name);
    printf("\n");
    fflush(stdout);
}

static void run_case_on(tkc_context *context, const char *name, const char *file, const char *stem,
                        const Case *c, Report *report) {
    tkc_device *device;
    char *log = NULL;
    if (tkc_device_open(context, name, &device) != TKC_OK) return;
    tkc_kernel *kernel = compile(context, file, c, tkc_device_target(device), &log);
    count_run(report, tkc_device_name(device));
    if (kernel)
        launch(device, kernel, stem, c, report);
    else
        complain(report, name, c, "%.400s", log ? log : tkc_last_error());
    tkc_free(log);
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(device);
}

static void run_case(tkc_context *context, const char *file, const char *stem, const Case *c,
                     Report *report) {
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        tkc_device_info info = TKC_DEVICE_INFO_INIT;
        ck_assert_int_eq(tkc_device_describe(context, i, &info), TKC_OK);
        if (!info.available) continue;
        run_case_on(context, info.name, file, stem, c, report);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        if (strcmp(info.name, "emu") == 0) /* a second GPU */
            run_case_on(context, "emu:sm_90a", file, stem, c, report);
#endif
    }
}

/* Cases stand above the kernel they are for. */
static void run_file(const char *stem) {
    char path[256], line[256];
    static Report report;
    Case cases[64];
    uint32_t pending = 0;
    tkc_context *context;
    memset(&report, 0, sizeof report);
    ck_assert_int_eq(tkc_context_create(NULL, &context), TKC_OK);
    snprintf(path, sizeof path, FOLDER "%s.tk", stem);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "# case:", 7) == 0) {
            ck_assert_msg(pending < 64 && read_case(line + 7, &cases[pending]), "%s", line);
            pending++;
        } else if (strncmp(line, "def ", 4) == 0) {
            for (uint32_t i = 0; i < pending; i++) {
                snprintf(cases[i].kernel, sizeof cases[i].kernel, "%.*s",
                         (int)strcspn(line + 4, "("), line + 4);
                cases[i].number = i;
                run_case(context, path, stem, &cases[i], &report);
            }
            pending = 0;
        }
    }
    fclose(f);
    tkc_context_destroy(context);
    print_runs(&report, path);
    ck_assert_msg(report.ran > 0, "%s has no case", path);
    ck_assert_msg(report.failed == 0, "%s: %u of %u failed\n%s", path, report.failed, report.ran,
                  report.text);
}

START_TEST(arithmetic) {
    run_file("arithmetic");
}
END_TEST

START_TEST(functions) {
    run_file("functions");
}
END_TEST

START_TEST(blocks) {
    run_file("blocks");
}
END_TEST

START_TEST(control) {
    run_file("control");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("conformance");
    TCase *all = tcase_create("files");
    tcase_set_timeout(all, 240);
    tcase_add_test(all, arithmetic);
    tcase_add_test(all, functions);
    tcase_add_test(all, blocks);
    tcase_add_test(all, control);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
