/* Tests of compiler/type.c: the dtype table, interning, types as text. */
#include "tests/unit.h"

START_TEST(dtypes_know_their_names) {
    for (DType d = DT_NONE + 1; d < DT_COUNT; d++) {
        const char *name = dtype_name(d), *triton = dtype_triton_name(d);
        ck_assert_int_eq(dtype_from_name(name, strlen(name)), d);
        ck_assert_int_eq(dtype_from_name(triton, strlen(triton)), d);
        ck_assert_uint_ge(dtype_size(d), 1);
        ck_assert_int_eq(dtype_is_float(d), dtype_mantissa_bits(d) > 0);
        ck_assert_int_ne(dtype_is_float(d), dtype_is_int(d));
    }
    ck_assert_int_eq(dtype_from_name("fp16", 4), DT_f16);
    ck_assert_int_eq(dtype_from_name("half", 4), DT_f16);
    ck_assert_int_eq(dtype_from_name("fp16x", 4), DT_f16);
    ck_assert_int_eq(dtype_from_name("fp16x", 5), DT_NONE);
    ck_assert_int_eq(dtype_from_name("", 0), DT_NONE);
    ck_assert_uint_eq(dtype_bits(DT_i1), 1);
    ck_assert_uint_eq(dtype_size(DT_i1), 1);
    ck_assert(dtype_is_unsigned(DT_i1) && dtype_is_unsigned(DT_u8) && !dtype_is_unsigned(DT_i8));
    ck_assert(dtype_is_fp8(DT_f8e5m2) && !dtype_is_fp8(DT_f16) && !dtype_is_fp8(DT_u64));
}
END_TEST

START_TEST(integers_wrap_to_their_dtype) {
    ck_assert_int_eq(dtype_wrap(DT_i8, 128), -128);
    ck_assert_int_eq(dtype_wrap(DT_u8, -1), 255);
    ck_assert_int_eq(dtype_wrap(DT_i1, 3), 1);
    ck_assert_int_eq(dtype_wrap(DT_i1, 2), 0);
    ck_assert_int_eq(dtype_wrap(DT_i32, INT64_C(0x180000000)), INT32_MIN);
    ck_assert_int_eq(dtype_wrap(DT_u32, -1), UINT32_MAX);
    ck_assert_int_eq(dtype_wrap(DT_i64, INT64_MIN), INT64_MIN);
    ck_assert_int_eq(dtype_wrap(DT_u64, -1), -1);
}
END_TEST

START_TEST(equal_types_are_one_pointer) {
    Context *c = context_new();
    Types types = {.arena = &c->arena};
    const Type *f16 = type_scalar(&types, DT_f16), *f32 = type_scalar(&types, DT_f32);
    ck_assert_ptr_eq(type_scalar(&types, DT_f16), f16);
    ck_assert_ptr_ne(f16, f32);
    ck_assert_ptr_eq(type_pointer(&types, f16), type_pointer(&types, f16));
    ck_assert_ptr_ne(type_pointer(&types, f16), type_pointer(&types, f32));
    for (int round = 0; round < 2; round++) {
        uint32_t before = types.count;
        for (uint32_t m = 1; m <= 256; m *= 2)
            for (uint32_t n = 1; n <= 256; n *= 2)
                for (DType d = DT_NONE + 1; d < DT_COUNT; d++) {
                    const Type *t =
                        type_block(&types, type_scalar(&types, d), 2, (uint32_t[]){m, n});
                    ck_assert(t->rank == 2 && t->shape[0] == m && t->shape[1] == n);
                    ck_assert(t->count == m * n && t->element->dtype == d);
                }
        ck_assert(round == 0 ? types.count > before : types.count == before);
    }
    ck_assert_ptr_eq(type_block(&types, f32, 0, NULL), f32);
    context_free(c);
}
END_TEST

START_TEST(elements_can_be_exchanged) {
    Context *c = context_new();
    Types types = {.arena = &c->arena};
    const Type *f32 = type_scalar(&types, DT_f32), *pointer = type_pointer(&types, f32);
    const Type *block = type_block(&types, pointer, 2, (uint32_t[]){4, 8});
    ck_assert(type_is_pointer(block) && type_is_pointer(pointer) && !type_is_pointer(f32));
    ck_assert_int_eq(type_dtype(block), DT_NONE);
    ck_assert_uint_eq(type_element_size(block), 8);
    const Type *values = type_with_element(&types, block, f32);
    ck_assert_ptr_eq(values, type_block(&types, f32, 2, (uint32_t[]){4, 8}));
    ck_assert(type_same_shape(values, block) && !type_same_shape(values, f32));
    ck_assert_ptr_eq(type_with_dtype(&types, f32, DT_i1), type_scalar(&types, DT_i1));
    ck_assert_ptr_eq(type_with_dtype(&types, values, DT_f32), values);
    context_free(c);
}
END_TEST

static const Type *read_type(Types *types, const char *text, const char **problem) {
    const char *at = text;
    const Type *type = type_read(types, &at, text + strlen(text), problem);
    return type && *at == '\0' ? type : NULL;
}

START_TEST(types_read_back_as_printed) {
    static const char *const texts[] = {
        "f32",        "i1",         "*f16",        "**f32",
        "1xf32",      "128x64xf16", "128x64x*f16", "2x2x2x2x2x2x2x2xi8",
        "1048576xi1", "4xf8e4m3b15"};
    Context *c = context_new();
    Types types = {.arena = &c->arena};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        const char *problem;
        const Type *type = read_type(&types, texts[i], &problem);
        ck_assert_msg(type != NULL, "%s: %s", texts[i], problem);
        ck_assert_str_eq(type_string(type, &c->arena), texts[i]);
    }
    context_free(c);
}
END_TEST

START_TEST(wrong_types_are_refused) {
    static const char *const texts[] = {"",
                                        "f33",
                                        "3xf32",
                                        "0xf32",
                                        "128",
                                        "128x",
                                        "x",
                                        "2097152xf32",
                                        "1048576x2xf32",
                                        "2x2x2x2x2x2x2x2x2xf32",
                                        "99999999999999999999xf32",
                                        "*",
                                        "*4xf32",
                                        "**********f32",
                                        "4x4",
                                        "-4xf32",
                                        "4 xf32"};
    Context *c = context_new();
    Types types = {.arena = &c->arena};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        const char *problem = NULL, *at = texts[i];
        const Type *type = type_read(&types, &at, texts[i] + strlen(texts[i]), &problem);
        ck_assert_msg(type == NULL, "%s was taken", texts[i]);
        ck_assert_ptr_nonnull(problem);
        ck_assert(at >= texts[i] && at <= texts[i] + strlen(texts[i]));
    }
    context_free(c);
}
END_TEST

UNIT_MAIN("type", dtypes_know_their_names, integers_wrap_to_their_dtype,
          equal_types_are_one_pointer, elements_can_be_exchanged, types_read_back_as_printed,
          wrong_types_are_refused)
