/* tensor.h: the library handle, tensors, and what options of several kernels share. Contracts
 * that hold for all functions are in kernels.h. */
#ifndef TKC_KERNELS_TENSOR_H
#define TKC_KERNELS_TENSOR_H

#include "runtime/tkc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tkk_library tkk_library;

/* Context and device must outlive the library. */
TKC_API tkc_status tkk_create(tkc_context *context, tkc_device *device, tkk_library **library);
TKC_API void tkk_destroy(tkk_library *library);

/* ---- tensors ---------------------------------------------------------------------------- */

enum { TKK_MAX_RANK = 4 };

typedef struct tkk_tensor {
    tkc_argument data; /* tkc_arg(buffer), tkc_arg_buffer_at(buffer, bytes), tkc_arg_address(a) */
    tkc_dtype dtype;
    uint32_t rank;
    int64_t shape[TKK_MAX_RANK];
    int64_t stride[TKK_MAX_RANK]; /* in elements */
} tkk_tensor;

/* Row-major tensors without gaps. */
TKC_API tkk_tensor tkk_vector(tkc_argument data, tkc_dtype dtype, int64_t length);
TKC_API tkk_tensor tkk_matrix(tkc_argument data, tkc_dtype dtype, int64_t rows, int64_t columns);
TKC_API tkk_tensor tkk_tensor3(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1,
                               int64_t n2);
TKC_API tkk_tensor tkk_tensor4(tkc_argument data, tkc_dtype dtype, int64_t n0, int64_t n1,
                               int64_t n2, int64_t n3);
/* The same elements with two dimensions exchanged. */
TKC_API tkk_tensor tkk_exchange(tkk_tensor tensor, uint32_t i, uint32_t j);

/* The elements start ... start + length - 1 of one dimension. */
TKC_API tkk_tensor tkk_narrow(tkk_tensor tensor, uint32_t dim, int64_t start, int64_t length);

/* How products of two f32 are made. Those of f16 and bf16 are exact, with one exception: CPUs that
 * multiply pairs of bf16 take numbers below 2^-126 for 0, unless TKK_IEEE is asked for. */
typedef enum tkk_precision {
    TKK_TF32 = 0, /* operands rounded to 10 mantissa bits: tensor cores */
    TKK_IEEE,     /* full f32 */
    TKK_PRECISION_PIN_ = 0x7fffffff
} tkk_precision;

/* Scratch memory. Functions that need some between their launches have a `workspace` option, and a
 * tkk_..._workspace function that says how many bytes. All zeros: the function makes its own for
 * this call, and waits for the device before it returns; give one where launches must not wait or
 * are captured into a graph. The address is a multiple of 16. What it holds afterwards means
 * nothing, and launches on another stream must not use it at the same time. */
typedef struct tkk_workspace {
    tkc_argument data; /* tkc_arg(buffer), tkc_arg_buffer_at(buffer, bytes), tkc_arg_address(a) */
    uint64_t size;     /* bytes */
} tkk_workspace;

#ifdef __cplusplus
}
#endif

#endif
