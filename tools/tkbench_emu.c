/* tkbench_emu.c: how fast the PTX emulator runs, with all of its checks on. */
#include "tools/tkbench.h"

#include "runtime/emu/bench.h"

static tkc_status sample(Bench *bench, Samples *samples, EmuBench which, double unit) {
    while (!samples_done(samples)) {
        EmuBenchResult result = emu_bench(which, 0, bench->quick ? 1 : 4);
        if (result.error[0]) return tkc_fail(TKC_INTERNAL, "%s", result.error);
        samples_add(samples, result.amount / result.seconds / unit, result.seconds);
    }
    return TKC_OK;
}

tkc_status emu_plain(Bench *bench, Samples *samples) {
    return sample(bench, samples, EMU_BENCH_PLAIN, 1e6);
}
tkc_status emu_mma(Bench *bench, Samples *samples) {
    return sample(bench, samples, EMU_BENCH_MMA, 1e9);
}
tkc_status emu_wgmma(Bench *bench, Samples *samples) {
    return sample(bench, samples, EMU_BENCH_WGMMA, 1e9);
}

/* One f16 product, 4 warps a block, compiled by tkc and run as PTX. */
tkc_status emu_matmul_256(Bench *bench, Samples *samples) {
    enum { N = 256 };
    static const uint8_t zero = 0;
    tkc_device *device = NULL;
    tkk_library *library = NULL;
    tkc_buffer *buffers[3] = {NULL, NULL, NULL};
    tkk_tensor tensors[3];
    tkc_status status = tkc_device_open(bench->context, "emu:sm_80", &device);
    for (int i = 0; i < 3 && status == TKC_OK; i++) {
        status = tkc_buffer_create(device, N * N * 2, NULL, &buffers[i]);
        if (status == TKC_OK) status = tkc_buffer_fill(buffers[i], 0, N * N * 2, &zero, 1);
        tensors[i] = tkk_matrix(tkc_arg_buffer(buffers[i]), TKC_F16, N, N);
    }
    if (status == TKC_OK) status = tkk_create(bench->context, device, &library);
    if (status == TKC_OK) /* compiles */
        status = tkk_matmul(library, NULL, &tensors[0], &tensors[1], &tensors[2], NULL);
    while (status == TKC_OK && !samples_done(samples)) {
        double start = now_seconds();
        status = tkk_matmul(library, NULL, &tensors[0], &tensors[1], &tensors[2], NULL);
        double seconds = now_seconds() - start;
        if (status == TKC_OK) samples_add(samples, seconds, seconds);
    }
    tkk_destroy(library);
    for (int i = 0; i < 3; i++) tkc_buffer_destroy(buffers[i]);
    tkc_device_destroy(device);
    return status;
}
