/* main.c: launches the kernels of scale.tk, which were compiled to an object file. No compiler is
 * linked. */
#include <tkc.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const tkc_native tkc_native_scale, tkc_native_product;

enum { N = 1000, SIZE = 32 };

#define CHECK(call)                                                                                \
    if ((call) != TKC_OK) return fprintf(stderr, "%s: %s\n", #call, tkc_last_error()), 1
#define HOLDS(condition)                                                                           \
    if (!(condition)) return fprintf(stderr, "%s: does not hold\n", #condition), 1

static char printed[256];

static void keep(void *user, const char *line) {
    (void)user;
    snprintf(printed, sizeof printed, "%s", line);
}

static int check_scale(tkc_context *context, tkc_device *device) {
    static float in[N], out[N];
    tkc_kernel *kernel;
    tkc_buffer *x, *y;
    CHECK(tkc_kernel_native(context, &tkc_native_scale, &kernel));
    for (int i = 0; i < N; i++) in[i] = (float)i / N;
    CHECK(tkc_buffer_create(device, sizeof in, "x", &x));
    CHECK(tkc_buffer_create(device, sizeof out, "y", &y));
    CHECK(tkc_buffer_write(x, 0, in, sizeof in));
    tkc_argument arguments[] = {tkc_arg(x), tkc_arg(y), tkc_arg(0.5f), tkc_arg(N)};
    tkc_grid grid = tkc_grid1(tkc_cdiv(N, 64));
    CHECK(tkc_launch(kernel, device, NULL, grid, arguments, 4, NULL));
    CHECK(tkc_buffer_read(y, 0, out, sizeof out));
    for (int i = 0; i < N; i++) HOLDS(fabs(out[i] - 0.5 * exp(in[i])) < 1e-6);

    in[130] = -1;
    CHECK(tkc_buffer_write(x, 0, in, sizeof in));
    HOLDS(tkc_launch(kernel, device, NULL, grid, arguments, 4, NULL) == TKC_LAUNCH_FAULT);
    HOLDS(strstr(tkc_last_error(), "scale.tk:11:"));
    HOLDS(strstr(tkc_last_error(), "no negative numbers at element [2] (program 2, 0, 0)"));
    HOLDS(tkc_last_fault()->line == 11 && tkc_last_fault()->program[0] == 2);
    arguments[3] = tkc_arg(0.5f);
    HOLDS(tkc_launch(kernel, device, NULL, grid, arguments, 4, NULL) == TKC_INVALID_ARGUMENT);
    HOLDS(strstr(tkc_last_error(), "`n: i32`"));
    tkc_launch_options bounds = TKC_LAUNCH_OPTIONS_INIT;
    bounds.bounds = true;
    arguments[3] = tkc_arg(N);
    HOLDS(tkc_launch(kernel, device, NULL, grid, arguments, 4, &bounds) == TKC_UNSUPPORTED);
    tkc_buffer_destroy(x);
    tkc_buffer_destroy(y);
    tkc_kernel_destroy(kernel);
    return 0;
}

static int check_product(tkc_context *context, tkc_device *device) {
    static float a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
    tkc_kernel *kernel;
    tkc_buffer *buffers[3];
    CHECK(tkc_kernel_native(context, &tkc_native_product, &kernel));
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (float)(i - j);
            b[i][j] = (float)(i + 2 * j);
        }
    for (int i = 0; i < 3; i++) CHECK(tkc_buffer_create(device, sizeof a, NULL, &buffers[i]));
    CHECK(tkc_buffer_write(buffers[0], 0, a, sizeof a));
    CHECK(tkc_buffer_write(buffers[1], 0, b, sizeof b));
    const tkc_argument arguments[] = {tkc_arg(buffers[0]), tkc_arg(buffers[1]),
                                      tkc_arg(buffers[2])};
    CHECK(tkc_launch(kernel, device, NULL, tkc_grid1(1), arguments, 3, NULL));
    CHECK(tkc_buffer_read(buffers[2], 0, c, sizeof c));
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            float sum = 0;
            for (int k = 0; k < SIZE; k++) sum += a[i][k] * b[k][j];
            HOLDS(c[i][j] == sum);
        }
    char line[64];
    snprintf(line, sizeof line, "first %.9g", c[0][0]);
    HOLDS(strstr(printed, line));
    for (int i = 0; i < 3; i++) tkc_buffer_destroy(buffers[i]);
    tkc_kernel_destroy(kernel);
    return 0;
}

int main(void) {
    tkc_context *context;
    tkc_device *device;
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.print = keep;
    CHECK(tkc_context_create(&options, &context));
    CHECK(tkc_device_open(context, "cpu", &device));
    int failed = check_scale(context, device) || check_product(context, device);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return failed;
}
