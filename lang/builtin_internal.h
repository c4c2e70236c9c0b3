/* builtin_internal.h: the implementations that builtins.def names. */
#ifndef TKC_LANG_BUILTIN_INTERNAL_H
#define TKC_LANG_BUILTIN_INTERNAL_H

#include "lang/lower_internal.h"

enum {
    TL = 1,
    METHOD = 2,
    PYTHON = 4,
    TRITON = 8,
    DTYPE = 16,
    STR = 32,
    DICT = 64,
    DESCRIPTOR = 128,
    MATH = 256,
    TORCH = 512
};

/* Codes of is_dtype beside the DTypes, and of classify. */
enum {
    IS_FP8 = DT_COUNT,
    IS_FLOATING,
    IS_STANDARD_FLOATING,
    IS_INT,
    IS_INT_SIGNED,
    IS_INT_UNSIGNED,
    IS_POINTER,
    IS_BLOCK
};
enum { CLASS_NAN, CLASS_INF, CLASS_FINITE, CLASS_NEGATIVE };

#define builtin_NONE NULL

Val builtin_abs(Lower *l, Call *c);
Val builtin_advance(Lower *l, Call *c);
Val builtin_aggregate_replace(Lower *l, Call *c);
Val builtin_all_any(Lower *l, Call *c);
Val builtin_arange(Lower *l, Call *c);
Val builtin_assert(Lower *l, Call *c);
Val builtin_assume(Lower *l, Call *c);
Val builtin_atomic(Lower *l, Call *c);
Val builtin_as_bits(Lower *l, Call *c);
Val builtin_atomic_load(Lower *l, Call *c);
Val builtin_atomic_store(Lower *l, Call *c);
Val builtin_capability(Lower *l, Call *c);
Val builtin_condition(Lower *l, Call *c);
Val builtin_from_integer(Lower *l, Call *c);
Val builtin_string_format(Lower *l, Call *c);
Val builtin_string_join(Lower *l, Call *c);
Val builtin_string_replace(Lower *l, Call *c);
Val builtin_string_split(Lower *l, Call *c);
Val builtin_string_strip(Lower *l, Call *c);
Val builtin_to_tensor(Lower *l, Call *c);
Val builtin_atomic_cas(Lower *l, Call *c);
Val builtin_barrier(Lower *l, Call *c);
Val builtin_bitcast(Lower *l, Call *c);
Val builtin_block_type(Lower *l, Call *c);
Val builtin_broadcast(Lower *l, Call *c);
Val builtin_broadcast_to(Lower *l, Call *c);
Val builtin_callable(Lower *l, Call *c);
Val builtin_cast(Lower *l, Call *c);
Val builtin_cat(Lower *l, Call *c);
Val builtin_clamp(Lower *l, Call *c);
Val builtin_classify(Lower *l, Call *c);
Val builtin_config(Lower *l, Call *c);
Val builtin_constexpr(Lower *l, Call *c);
Val builtin_convert(Lower *l, Call *c);
Val builtin_descriptor_atomic(Lower *l, Call *c);
Val builtin_descriptor_gather(Lower *l, Call *c);
Val builtin_descriptor_load(Lower *l, Call *c);
Val builtin_descriptor_scatter(Lower *l, Call *c);
Val builtin_descriptor_store(Lower *l, Call *c);
Val builtin_dict(Lower *l, Call *c);
Val builtin_dict_get(Lower *l, Call *c);
Val builtin_dot(Lower *l, Call *c);
Val builtin_dot_scaled(Lower *l, Call *c);
Val builtin_enumerate(Lower *l, Call *c);
Val builtin_expand_dims(Lower *l, Call *c);
Val builtin_fdiv(Lower *l, Call *c);
Val builtin_float_binary(Lower *l, Call *c);
Val builtin_fma(Lower *l, Call *c);
Val builtin_full(Lower *l, Call *c);
Val builtin_gather(Lower *l, Call *c);
Val builtin_getattr(Lower *l, Call *c);
Val builtin_hasattr(Lower *l, Call *c);
Val builtin_hint(Lower *l, Call *c);
Val builtin_histogram(Lower *l, Call *c);
Val builtin_host_classify(Lower *l, Call *c);
Val builtin_host_limits(Lower *l, Call *c);
Val builtin_host_math(Lower *l, Call *c);
Val builtin_inline_asm(Lower *l, Call *c);
Val builtin_integer_unary(Lower *l, Call *c);
Val builtin_is_dtype(Lower *l, Call *c);
Val builtin_isinstance(Lower *l, Call *c);
Val builtin_item(Lower *l, Call *c);
Val builtin_join(Lower *l, Call *c);
Val builtin_len(Lower *l, Call *c);
Val builtin_load(Lower *l, Call *c);
Val builtin_logical(Lower *l, Call *c);
Val builtin_make_block_ptr(Lower *l, Call *c);
Val builtin_make_descriptor(Lower *l, Call *c);
Val builtin_map(Lower *l, Call *c);
Val builtin_minmax(Lower *l, Call *c);
Val builtin_mulhi(Lower *l, Call *c);
Val builtin_next_power_of_2(Lower *l, Call *c);
Val builtin_num_threads(Lower *l, Call *c);
Val builtin_numel(Lower *l, Call *c);
Val builtin_operator(Lower *l, Call *c);
Val builtin_permute(Lower *l, Call *c);
Val builtin_pointer_type(Lower *l, Call *c);
Val builtin_print(Lower *l, Call *c);
Val builtin_program(Lower *l, Call *c);
Val builtin_python_minmax(Lower *l, Call *c);
Val builtin_python_sum(Lower *l, Call *c);
Val builtin_range(Lower *l, Call *c);
Val builtin_reduce(Lower *l, Call *c);
Val builtin_reshape(Lower *l, Call *c);
Val builtin_reversed(Lower *l, Call *c);
Val builtin_scan(Lower *l, Call *c);
Val builtin_sorted(Lower *l, Call *c);
Val builtin_split(Lower *l, Call *c);
Val builtin_static_assert(Lower *l, Call *c);
Val builtin_static_print(Lower *l, Call *c);
Val builtin_store(Lower *l, Call *c);
Val builtin_str(Lower *l, Call *c);
Val builtin_string(Lower *l, Call *c);
Val builtin_to_integer(Lower *l, Call *c);
Val builtin_tuple(Lower *l, Call *c);
Val builtin_type(Lower *l, Call *c);
Val builtin_type_name(Lower *l, Call *c);
Val builtin_unary(Lower *l, Call *c);
Val builtin_where(Lower *l, Call *c);
Val builtin_zeros(Lower *l, Call *c);
Val builtin_zip(Lower *l, Call *c);

/* "`load`: pointer" for messages about argument i. */
const char *argument_name(Lower *l, const Call *c, uint32_t i);
/* A list of ints given as one tuple or as *rest; each a constant. */
bool constant_list(Lower *l, Call *c, Val first, uint32_t *count, int64_t *values, uint32_t limit);
bool check_extent(Lower *l, Wide extent, Span span); /* a power of two within the limits */
Val full_of(Lower *l, const Type *type, Val value, Span span);

#endif
