/* causal_self_attention.c: the attention block of a language model, trained for some steps: c_attn
 * makes queries, keys and values of x in one product, each token attends to those before it, c_proj
 * brings the heads together. With dropout of the weights and of the result. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tkc_kernels.h>

enum { BATCH = 4, LENGTH = 32, DIM = 64, HEADS = 4, STEPS = 30 };

static tkc_device *device;

static void check(tkc_status status) {
    if (status == TKC_OK) return;
    puts(tkc_last_error());
    exit(1);
}

/* Numbers here and on the device. */
typedef struct Array {
    float *numbers;
    uint64_t bytes;
    tkc_buffer *buffer;
} Array;

static Array array(const char *name, int count, float scale) {
    Array a = {malloc((size_t)count * sizeof(float)), (uint64_t)count * sizeof(float), NULL};
    for (int i = 0; i < count; i++) a.numbers[i] = scale * sinf((float)i * (float)i);
    check(tkc_buffer_create(device, a.bytes, name, &a.buffer));
    check(tkc_buffer_write(a.buffer, 0, a.numbers, a.bytes));
    return a;
}

static void descend(Array *weight, Array *gradient, float rate) {
    check(tkc_buffer_read(gradient->buffer, 0, gradient->numbers, gradient->bytes));
    for (uint64_t i = 0; i < weight->bytes / sizeof(float); i++)
        weight->numbers[i] -= rate * gradient->numbers[i];
    check(tkc_buffer_write(weight->buffer, 0, weight->numbers, weight->bytes));
}

int main(void) {
    enum { COUNT = BATCH * LENGTH * DIM };
    tkc_context *context;
    tkk_library *library;
    check(tkc_context_create(NULL, &context));
    check(tkc_device_open(context, "auto", &device));
    check(tkk_create(context, device, &library));
    Array x = array("x", COUNT, 1), y = array("y", COUNT, 0), dy = array("dy", COUNT, 0);
    Array c_attn = array("c_attn", 3 * DIM * DIM, 0.2f), c_proj = array("c_proj", DIM * DIM, 0.2f);
    Array dc_attn = array("dc_attn", 3 * DIM * DIM, 0), dc_proj = array("dc_proj", DIM * DIM, 0);

    tkk_multihead block = TKK_MULTIHEAD_INIT;
    block.heads = HEADS;
    block.is_causal = true;
    block.dropout_p = block.residual_p = 0.1;
    block.query = tkk_tensor3(tkc_arg(x.buffer), TKC_F32, BATCH, LENGTH, DIM);
    block.in_weight = tkk_matrix(tkc_arg(c_attn.buffer), TKC_F32, 3 * DIM, DIM);
    block.out_weight = tkk_matrix(tkc_arg(c_proj.buffer), TKC_F32, DIM, DIM);
    block.out = tkk_tensor3(tkc_arg(y.buffer), TKC_F32, BATCH, LENGTH, DIM);
    block.dout = tkk_tensor3(tkc_arg(dy.buffer), TKC_F32, BATCH, LENGTH, DIM);
    block.din_weight = tkk_matrix(tkc_arg(dc_attn.buffer), TKC_F32, 3 * DIM, DIM);
    block.dout_weight = tkk_matrix(tkc_arg(dc_proj.buffer), TKC_F32, DIM, DIM);
    block.saved.size = tkk_multihead_saved(&block);
    Array saved = array("saved", (int)(block.saved.size / sizeof(float)), 0);
    block.saved.data = tkc_arg(saved.buffer);

    double first = 0, loss = 0;
    for (int step = 0; step < STEPS; step++) { /* learns to give x back */
        block.dropout_seed = (uint64_t)step;
        check(tkk_multihead_forward(library, NULL, &block));
        check(tkc_buffer_read(y.buffer, 0, y.numbers, y.bytes));
        loss = 0;
        for (int i = 0; i < COUNT; i++) {
            const float error = y.numbers[i] - x.numbers[i];
            dy.numbers[i] = 2 * error / COUNT;
            loss += error * error / COUNT;
        }
        check(tkc_buffer_write(dy.buffer, 0, dy.numbers, dy.bytes));
        check(tkk_multihead_backward(library, NULL, &block));
        descend(&c_attn, &dc_attn, 8);
        descend(&c_proj, &dc_proj, 8);
        if (step == 0) first = loss;
        if (step % 10 == 9) printf("step %2d: loss %.4f\n", step + 1, loss);
    }
    return loss < 0.8 * first ? 0 : (puts("nothing was learned"), 1);
}
