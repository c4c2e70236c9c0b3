/* kernels.h: ready-made kernels, called like functions.
 *
 *     tkk_library *library;
 *     tkk_create(context, device, &library);
 *     tkk_tensor a = tkk_matrix(tkc_arg(a_buffer), TKC_F16, M, K);
 *     tkk_tensor b = tkk_matrix(tkc_arg(b_buffer), TKC_F16, K, N);
 *     tkk_tensor c = tkk_matrix(tkc_arg(c_buffer), TKC_F16, M, N);
 *     if (tkk_matmul(library, NULL, &a, &b, &c, NULL) != TKC_OK) puts(tkc_last_error());
 *
 * A library belongs to one device. It compiles a kernel when it is first needed, from source text
 * that is part of the program, and keeps it. What is compiled depends on dtypes, head dimension,
 * options, which strides are 1 or multiples of 4, 8 or 16, and whether addresses are multiples of
 * 16: give the same kinds of tensors and nothing is compiled twice. The context's `compiled`
 * callback tells when something was; `compile_only` does it ahead of time.
 *
 * Tensors are views: where the first element lies, dtype, shape, strides. The memory is the
 * caller's and is used until the stream has done the work. Outputs may not overlap inputs, unless
 * the function says so. Arithmetic is fp32 inside; dtypes are f16, bf16 and f32.
 *
 * Every function returns a tkc_status; tkc_last_error() says in words what was wrong, with the
 * name of the tensor. Shapes, dtypes and options are checked before anything runs:
 * TKC_INVALID_ARGUMENT, or TKC_UNSUPPORTED for what is meaningful but not done here. Work is given
 * to `stream` (NULL: the default one), and a fault in a kernel is reported as tkc_launch says.
 * All functions but tkk_destroy may be called from several threads at once.
 */
#ifndef TKC_KERNELS_KERNELS_H
#define TKC_KERNELS_KERNELS_H

#include "kernels/attention.h"
#include "kernels/decode.h"
#include "kernels/layers.h"
#include "kernels/matrix.h"
#include "kernels/multihead.h"
#include "kernels/sdpa.h"
#include "kernels/tensor.h"

#endif
