/* bench.c: makes the PTX of the benchmarks and runs it. */
#include "runtime/emu/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/emu/emu.h"

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void head(Text *t, const char *extra) {
    text_puts(t, ".version 8.0\n.target sm_90a\n.address_size 64\n");
    text_printf(t, "%s.visible .entry bench(.param .u64 out, .param .u32 rounds)\n{\n", extra);
    text_puts(t, ".reg .b32 %r<200>;\n.reg .f32 %f<200>;\n.reg .b64 %rd<20>;\n.reg .pred %p<4>;\n"
                 "ld.param.u64 %rd1, [out];\nld.param.u32 %r1, [rounds];\nmov.u32 %r2, %tid.x;\n"
                 "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmad.lo.s32 %r5, %r3, %r4, %r2;\n"
                 "mul.wide.u32 %rd2, %r5, 4;\nadd.s64 %rd3, %rd1, %rd2;\nmov.u32 %r6, 0;\n");
}

static void tail(Text *t) {
    text_puts(t, "add.s32 %r6, %r6, 1;\nsetp.lt.u32 %p1, %r6, %r1;\n@%p1 bra LOOP;\n"
                 "st.global.f32 [%rd3], %f1;\nret;\n}\n");
}

/* What compilers write between matrix products: index arithmetic, fused multiply-adds, a compare
 * and a select, one load and one store of global memory a round. */
static void plain(Text *t) {
    head(t, "");
    text_puts(t, "cvt.rn.f32.u32 %f1, %r5;\nmov.f32 %f2, 0f3F000000;\nmov.u32 %r7, 1;\nLOOP:\n");
    for (int i = 0; i < 4; i++)
        text_puts(t, "mad.lo.s32 %r7, %r7, 1664525, 1013904223;\nshr.u32 %r8, %r7, 9;\n"
                     "xor.b32 %r9, %r8, %r5;\nfma.rn.f32 %f1, %f1, %f2, 0f3F800000;\n"
                     "mul.f32 %f3, %f1, 0f3F7D70A4;\nadd.f32 %f1, %f3, %f2;\n"
                     "setp.gt.f32 %p2, %f1, 0f42C80000;\nselp.f32 %f1, 0f3F800000, %f1, %p2;\n");
    text_puts(t, "st.global.f32 [%rd3], %f1;\nld.global.f32 %f1, [%rd3];\n");
    tail(t);
}

static void mma(Text *t) {
    head(t, "");
    for (int i = 0; i < 6; i++) text_printf(t, "mov.b32 %%r%d, 0x3C003800;\n", 10 + i);
    for (int i = 1; i < 33; i++) text_printf(t, "mov.f32 %%f%d, 0f00000000;\n", i);
    text_puts(t, "LOOP:\n");
    for (int i = 1; i < 33; i += 4)
        text_printf(t,
                    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%%f%d, %%f%d, %%f%d, "
                    "%%f%d}, {%%r10, %%r11, %%r12, %%r13}, {%%r14, %%r15}, {%%f%d, %%f%d, %%f%d, "
                    "%%f%d};\n",
                    i, i + 1, i + 2, i + 3, i, i + 1, i + 2, i + 3);
    tail(t);
}

static void wgmma(Text *t) {
    head(t, ".shared .align 1024 .b8 tile[32768];\n");
    text_puts(t,
              "mov.u32 %r7, tile;\nshl.b32 %r8, %r2, 2;\nadd.s32 %r7, %r7, %r8;\n"
              "mov.u32 %r9, 0;\nFILL:\nst.shared.u32 [%r7], 0x3F803F80;\nadd.s32 %r7, %r7, 512;\n"
              "add.s32 %r9, %r9, 1;\nsetp.lt.u32 %p1, %r9, 64;\n@%p1 bra FILL;\n"
              "fence.proxy.async;\nbar.sync 0;\nmov.u32 %r7, tile;\nshr.u32 %r7, %r7, 4;\n"
              "cvt.u64.u32 %rd4, %r7;\nor.b64 %rd4, %rd4, 0x4000004000010000;\n"
              "add.s64 %rd5, %rd4, 512;\nsetp.ne.u32 %p2, %r1, 0;\n");
    for (int i = 1; i < 65; i++) text_printf(t, "mov.f32 %%f%d, 0f00000000;\n", i);
    text_puts(t, "LOOP:\nwgmma.fence.sync.aligned;\n");
    for (int k = 0; k < 4; k++) {
        text_puts(t, "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {");
        for (int i = 1; i < 65; i++) text_printf(t, "%s%%f%d", i > 1 ? ", " : "", i);
        text_puts(t, "}, %rd4, %rd5, %p2, 1, 1, 0, 0;\n");
    }
    text_puts(t, "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n");
    tail(t);
}

EmuBenchResult emu_bench(EmuBench which, uint32_t threads, uint32_t scale) {
    static const struct {
        const char *name, *unit;
        void (*write)(Text *text);
        uint32_t grid, rounds;
    } benches[EMU_BENCH_COUNT] = {{"plain", "thread instructions", plain, 64, 100},
                                  {"mma", "operations", mma, 16, 100},
                                  {"wgmma", "operations", wgmma, 8, 20}};
    EmuBenchResult result = {.name = benches[which].name, .unit = benches[which].unit};
    Arena arena;
    jmp_buf exhausted;
    arena_init(&arena, 0);
    arena.on_exhausted = &exhausted;
    if (setjmp(exhausted)) {
        snprintf(result.error, sizeof result.error, "out of memory");
        arena_free(&arena);
        return result;
    }
    Sources sources = {.arena = &arena};
    Diagnostics diagnostics = {.arena = &arena, .sources = &sources};
    Text text = {.arena = &arena};
    benches[which].write(&text);
    uint32_t source = sources_add(&sources, "bench.ptx", text.data, text.length);
    EmuModule *module = emu_load(&arena, &diagnostics, source);
    if (!module) {
        snprintf(result.error, sizeof result.error, "%s", diagnostics.first->message);
        arena_free(&arena);
        return result;
    }
    uint32_t size = benches[which].grid * 128 * 4;
    EmuBuffer buffer = {.address = EMU_BUFFER_ADDRESS(0),
                        .size = size,
                        .name = "out",
                        .data = arena_alloc(&arena, size)};
    struct {
        uint64_t out;
        uint32_t rounds;
    } parameters = {buffer.address, benches[which].rounds * (scale ? scale : 1)};
    EmuLaunch launch = {.grid = {benches[which].grid, 1, 1},
                        .block = {128, 1, 1},
                        .parameters = &parameters,
                        .buffers = &buffer,
                        .buffer_count = 1,
                        .checks = EMU_CHECK_ALL,
                        .threads = threads};
    EmuResult ran;
    double start = seconds_now();
    bool fine = emu_launch(&arena, emu_entry(module, 0), &launch, &ran);
    result.seconds = seconds_now() - start;
    result.amount = (double)(which == EMU_BENCH_PLAIN ? ran.counters.thread_instructions
                                                      : ran.counters.tensor_operations);
    if (!fine) snprintf(result.error, sizeof result.error, "%.250s", ran.fault.message);
    arena_free(&arena);
    return result;
}
