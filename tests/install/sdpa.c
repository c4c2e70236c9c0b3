/* sdpa.c: scaled dot product attention from C, forward and backward. */
#include <math.h>
#include <stdio.h>
#include <tkc_kernels.h>

enum { QUERY, KEY, VALUE, OUT, LSE, DOUT, DQUERY, DKEY, DVALUE, TENSORS };
enum { BATCH = 2, HEADS = 4, LENGTH = 100, DIM = 32, COUNT = BATCH * HEADS * LENGTH * DIM };
static float numbers[COUNT], dvalue[COUNT];

int main(void) {
    tkc_context *context;
    tkc_device *device;
    tkk_library *library;
    tkc_buffer *buffers[TENSORS];
    tkk_tensor t[TENSORS];
    if (tkc_context_create(NULL, &context) || tkc_device_open(context, "auto", &device) ||
        tkk_create(context, device, &library))
        return puts(tkc_last_error()), 1;
    for (int i = 0; i < COUNT; i++) numbers[i] = sinf((float)i * 0.7f);
    for (int i = 0; i < TENSORS; i++) {
        if (tkc_buffer_create(device, sizeof numbers, "tensor", &buffers[i]) ||
            tkc_buffer_write(buffers[i], 0, numbers, sizeof numbers))
            return puts(tkc_last_error()), 1;
        t[i] = tkk_tensor4(tkc_arg(buffers[i]), TKC_F32, BATCH, HEADS, LENGTH, DIM);
    }
    t[LSE] = tkk_tensor3(tkc_arg(buffers[LSE]), TKC_F32, BATCH, HEADS, LENGTH);
    tkk_sdpa p = TKK_SDPA_INIT;
    p.is_causal = true, p.precision = TKK_IEEE;
    p.query = t[QUERY], p.key = t[KEY], p.value = t[VALUE], p.out = t[OUT], p.lse = t[LSE];
    p.dout = t[DOUT], p.dquery = t[DQUERY], p.dkey = t[DKEY], p.dvalue = t[DVALUE];
    if (tkk_sdpa_forward(library, NULL, &p) || tkk_sdpa_backward(library, NULL, &p) ||
        tkc_buffer_read(buffers[DVALUE], 0, dvalue, sizeof dvalue))
        return puts(tkc_last_error()), 1;
    double sums[2] = {0};
    for (int i = 0; i < COUNT; i++) sums[0] += dvalue[i], sums[1] += numbers[i];
    printf("sum of dvalue %.5f, of dout %.5f: equal, as weights sum up to 1\n", sums[0], sums[1]);
    return fabs(sums[0] - sums[1]) > 1e-3;
}
