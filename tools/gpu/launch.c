/* launch.c: what a launch costs the host, on a GPU, through libtkcrt: kernels that do nothing, with
 * 0 and with 19 arguments, from saved PTX; and first one that does something, to see that it is
 * right.
 *
 *     launch FOLDER_OF_PTX [REPORT.json]
 *
 * A sample is the mean of 500 launches in a row (fewer than a GPU queues up); the median and the
 * best of 200 samples are told.
 */
#include "runtime/tkc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 200, LAUNCHES = 500, ELEMENTS = 100000 };

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != TKC_OK) {                                                                    \
            fprintf(stderr, "%s\n  failed: %s\n", #call, tkc_last_error());                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static tkc_kernel *load(tkc_context *context, const char *folder, const char *name) {
    char path[1024];
    tkc_kernel *kernel;
    snprintf(path, sizeof path, "%s/%s.ptx", folder, name);
    CHECK(tkc_kernel_load(context, path, NULL, 0, &kernel));
    return kernel;
}

/* ---- is it right? -------------------------------------------------------------------------------
 */

static int check_add(tkc_context *context, tkc_device *device, const char *folder) {
    tkc_kernel *kernel = load(context, folder, "vector_add");
    float *x = malloc(ELEMENTS * sizeof *x), *y = malloc(ELEMENTS * sizeof *y);
    tkc_buffer *buffers[3];
    int wrong = 0;
    if (!x || !y) return 1;
    for (int i = 0; i < ELEMENTS; i++) {
        x[i] = (float)i * 0.25f;
        y[i] = (float)(ELEMENTS - i);
    }
    for (int i = 0; i < 3; i++)
        CHECK(tkc_buffer_create(device, ELEMENTS * sizeof *x, "xyo", &buffers[i]));
    CHECK(tkc_buffer_write(buffers[0], 0, x, ELEMENTS * sizeof *x));
    CHECK(tkc_buffer_write(buffers[1], 0, y, ELEMENTS * sizeof *y));
    CHECK(tkc_buffer_poison(buffers[2]));
    tkc_argument arguments[] = {tkc_arg(buffers[0]), tkc_arg(buffers[1]), tkc_arg(buffers[2]),
                                tkc_arg(ELEMENTS)};
    CHECK(
        tkc_launch(kernel, device, NULL, tkc_grid1(tkc_cdiv(ELEMENTS, 1024)), arguments, 4, NULL));
    for (int i = 0; i < ELEMENTS; i++) x[i] += y[i];
    CHECK(tkc_buffer_read(buffers[2], 0, y, ELEMENTS * sizeof *y));
    for (int i = 0; i < ELEMENTS; i++) wrong += x[i] != y[i];
    if (wrong) fprintf(stderr, "vector_add: %d of %d elements are wrong\n", wrong, ELEMENTS);
    for (int i = 0; i < 3; i++) tkc_buffer_destroy(buffers[i]);
    free(x);
    free(y);
    tkc_kernel_destroy(kernel);
    return wrong;
}

/* ---- what does it cost?
 * -------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct Cost {
    double median, best; /* nanoseconds of a launch */
} Cost;

static Cost measure(tkc_device *device, tkc_kernel *kernel, tkc_stream *stream,
                    const tkc_argument *arguments, uint32_t count) {
    static double samples[SAMPLES];
    CHECK(tkc_kernel_prepare(kernel, device));
    for (int i = 0; i < SAMPLES; i++) {
        double start = now_ns();
        for (int j = 0; j < LAUNCHES; j++)
            CHECK(tkc_launch(kernel, device, stream, tkc_grid1(1), arguments, count, NULL));
        samples[i] = (now_ns() - start) / LAUNCHES;
        CHECK(tkc_stream_synchronize(device, stream));
    }
    qsort(samples, SAMPLES, sizeof *samples, by_value);
    return (Cost){samples[SAMPLES / 2], samples[0]};
}

int main(int count, char **words) {
    tkc_context *context;
    tkc_device *device;
    tkc_stream *stream;
    tkc_buffer *buffer;
    if (count < 2) return fprintf(stderr, "usage: launch FOLDER_OF_PTX [REPORT.json]\n"), 2;
    CHECK(tkc_context_create(NULL, &context));
    CHECK(tkc_device_open(context, "cuda", &device));
    CHECK(tkc_stream_create(device, &stream));
    CHECK(tkc_buffer_create(device, 4096, "x", &buffer));
    if (check_add(context, device, words[1])) return 1;
    tkc_argument arguments[19];
    for (int i = 0; i < 5; i++) arguments[i] = tkc_arg(buffer);
    for (int i = 5; i < 19; i++) arguments[i] = tkc_arg(i);
    tkc_kernel *kernels[] = {load(context, words[1], "empty_0"),
                             load(context, words[1], "empty_19")};
    Cost none = measure(device, kernels[0], stream, NULL, 0);
    Cost many = measure(device, kernels[1], stream, arguments, 19);
    printf("launch,  0 arguments: %7.0f ns (best %.0f)\n", none.median, none.best);
    printf("launch, 19 arguments: %7.0f ns (best %.0f)\n", many.median, many.best);
    if (count > 2) {
        FILE *file = fopen(words[2], "w");
        if (!file) return perror(words[2]), 1;
        fprintf(file, "{\"arguments_0_ns\": %.1f, \"arguments_19_ns\": %.1f}\n", none.median,
                many.median);
        if (fclose(file)) return perror(words[2]), 1;
    }
    tkc_kernel_destroy(kernels[0]);
    tkc_kernel_destroy(kernels[1]);
    tkc_buffer_destroy(buffer);
    tkc_stream_destroy(stream);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return 0;
}
