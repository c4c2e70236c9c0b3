/* launch_half.c: the small program of launch_half.sh: one saved kernel, launched with libtkcrt. The
 * kernel is a string here; a file would do (tkc_kernel_load with a path). */
#include "runtime/tkc.h"

#include <stdio.h>

static const char kernel_text[] =
    "// tkc kernel 1\n// name: fill\n// target: sm_80\n// num_warps: 1\n// num_stages: 1\n"
    "// num_ctas: 1\n// shared_bytes: 0\n// parameter: *i32 4 out\n// parameter: i32 1 value\n"
    "// end\n.version 7.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry fill(.param .u64 p0, .param .u32 p1)\n{\n"
    "    .reg .b32 %r<3>; .reg .b64 %d<4>;\n"
    "    ld.param.u64 %d0, [p0]; ld.param.u32 %r0, [p1];\n"
    "    mov.u32 %r1, %tid.x; mul.wide.u32 %d1, %r1, 4; add.s64 %d2, %d0, %d1;\n"
    "    add.s32 %r2, %r0, %r1; st.global.u32 [%d2], %r2;\n    ret;\n}\n";

#define CHECK(call)                                                                                \
    if ((call) != TKC_OK) return fprintf(stderr, "%s: %s\n", #call, tkc_last_error()), 1

int main(void) {
    tkc_context *context;
    tkc_device *device;
    tkc_kernel *kernel;
    tkc_buffer *out;
    int32_t values[32];
    CHECK(tkc_context_create(NULL, &context));
    CHECK(tkc_device_open(context, "auto", &device));
    CHECK(tkc_kernel_load(context, NULL, kernel_text, 0, &kernel));
    CHECK(tkc_buffer_create(device, sizeof values, "out", &out));
    tkc_argument arguments[] = {tkc_arg(out), tkc_arg(100)};
    CHECK(tkc_launch(kernel, device, NULL, tkc_grid1(1), arguments, 2, NULL));
    CHECK(tkc_buffer_read(out, 0, values, sizeof values));
    for (int i = 0; i < 32; i++)
        if (values[i] != 100 + i) return fprintf(stderr, "values[%d] is %d\n", i, values[i]), 1;
    printf("32 values right on %s\n", tkc_device_name(device));
    tkc_buffer_destroy(out);
    tkc_kernel_destroy(kernel);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return 0;
}
