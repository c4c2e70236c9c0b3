/* fake_cuda.h: how a test talks to the fake CUDA driver (fake_cuda.c).
 *
 * The fake is a shared library with the entry points of cuda.def. Device memory is host memory,
 * and launches run at once, on the PTX emulator. Every call is written down, and any can be made to
 * fail. The test opens the library too and gets its state by `fake_cuda_state`.
 *
 * The environment sets the machine: FAKE_CUDA_DEVICES (1), FAKE_CUDA_CAPABILITY (80). With
 * FAKE_CUDA_IDLE launches run nothing and nothing is written down, to time what comes before them.
 */
#ifndef TKC_TESTS_FAKE_CUDA_H
#define TKC_TESTS_FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAKE_CALLS = 1 << 20, FAKE_PARAMETERS = 64 };

typedef struct FakeCuda {
    int device_count, capability;
    /* Names of the calls, each followed by a newline. */
    char calls[FAKE_CALLS];
    size_t calls_length;
    /* The call of this name fails with `fail_result`, the first `fail_after` times excepted. */
    const char *fail_name;
    int fail_result, fail_after;
    bool capturing; /* what cuStreamIsCapturing says of a stream that is not NULL */
    bool idle;
    bool defer_compile; /* libraries assemble when a kernel is asked for, as lazy loading does */
    int live_buffers, live_modules, live_streams, live_events, retained;
    /* The last launch. */
    uint32_t launches, grid[3], block[3], shared, cluster[3], attribute_count;
    void *stream, *context; /* context: the current one when it was launched */
    uint32_t parameter_count, parameter_sizes[FAKE_PARAMETERS];
    uint64_t parameters[FAKE_PARAMETERS]; /* the bytes that its size says, the others zero */
    uint32_t largest_shared;              /* set by cuFuncSetAttribute */
    bool line_info;                       /* asked for by a JIT option */
} FakeCuda;

typedef FakeCuda *FakeCudaState(void);

#endif
