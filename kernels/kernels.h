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
 * options, blocks (and so, in coarse steps, on sizes: whether they fill blocks, and how many there
 * are), which strides are 1 or multiples of 4, 8 or 16, and whether addresses are multiples of 16:
 * give the same kinds of tensors and nothing is compiled twice. The context's `compiled` callback
 * tells when something was. With `compile_only` a call checks its arguments, compiles what it
 * needs, loads it on the device and runs nothing; tkk_vector_add, tkk_binary and tkk_quantize,
 * which have no options, compile in their first call.
 *
 * Tensors are views: where the first element lies, dtype, shape, strides (in elements). The memory
 * is the caller's and is used until the stream has done the work. Outputs may not overlap inputs or
 * each other, unless the function says so; this is not checked. Extents may be 0, head dimensions
 * excepted. Arithmetic is fp32 inside, and dtypes are f16, bf16 and f32, unless the header says
 * otherwise. An optional tensor that is not wanted is of rank 0: all zeros, as the _INIT of its
 * struct leaves it. Options and problems start from their _INIT and are read during the call alone.
 *
 * Every function returns a tkc_status; tkc_last_error() says in words what was wrong, with the
 * name of the tensor. Shapes, dtypes and options are checked before anything runs:
 * TKC_INVALID_ARGUMENT, or TKC_UNSUPPORTED for what is meaningful but not done here (extents over
 * 2^30 or strides that do not fit, mostly). Work is given to `stream` (NULL: the default one), and
 * a fault in a kernel is reported as tkc_launch says. All functions but tkk_destroy may be called
 * from several threads at once.
 *
 * A call can be captured into a CUDA graph when what it needs is compiled (the same call has been
 * made, or with `compile_only`) and its workspace, if it takes one, is given. tkk_..._workspace
 * functions run nothing and return bytes; 0 when the call needs none, or would be refused.
 * tkk_matmul_grouped cannot be captured.
 *
 * Names: a gradient is called d and the tensor's name. attention.h and decode.h are the kernels
 * themselves (q, k, v), sdpa.h and multihead.h the functions of PyTorch in its words (query, key,
 * value). Where there are more keys than rows, is_causal lets the first row see one key, TKK_CAUSAL
 * and is_lower_right let the last row see all.
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
