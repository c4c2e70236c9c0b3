/* add.c: a program outside the project: compiles a kernel from text, runs it, checks it. */
#include <stdio.h>
#include <tkc.h>

static const char text[] = "import triton\n"
                           "import triton.language as tl\n"
                           "@triton.jit\n"
                           "def add(x: '*fp32', n: 'i32', BLOCK: tl.constexpr = 64):\n"
                           "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
                           "    tl.store(x + i, tl.load(x + i, mask=i < n) + 1.5, mask=i < n)\n";

int main(void) {
    float numbers[100] = {0};
    tkc_context *context;
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer *x;
    tkc_compile_options options = TKC_COMPILE_OPTIONS_INIT;
    options.path = "add.tk";
    options.text = text;
    if (tkc_context_create(NULL, &context) || tkc_device_open(context, "interp", &device) ||
        tkc_compile(context, &options, &kernel, NULL) ||
        tkc_buffer_wrap(device, numbers, sizeof numbers, "x", &x))
        return puts(tkc_last_error()), 1;
    tkc_argument arguments[] = {tkc_arg(x), tkc_arg(100)};
    if (tkc_launch(kernel, device, NULL, tkc_grid1(tkc_cdiv(100, 64)), arguments, 2, NULL))
        return puts(tkc_last_error()), 1;
    tkc_buffer_destroy(x);
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    for (int i = 0; i < 100; i++)
        if (numbers[i] != 1.5f) return printf("numbers[%d] is %g, not 1.5\n", i, numbers[i]), 1;
    return puts("100 numbers are right"), 0;
}
