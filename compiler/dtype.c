/* dtype.c: the table of element types. It needs nothing else, so that libtkcrt can have it. */
#include "compiler/type.h"

typedef struct DTypeInfo {
    const char *name;
    uint32_t size;
    DTypeKind kind;
    const char *triton, *short_name, *c_name;
} DTypeInfo;

static const DTypeInfo dtype_infos[DT_COUNT] = {[DT_NONE] = {.name = "none", .triton = "none"},
#define X(name, size, kind, triton, short_name, c_name)                                            \
    [DT_##name] = {#name, size, DK_##kind, triton, short_name, c_name},
                                                DTYPES(X)
#undef X
};

const char *dtype_name(DType dtype) {
    return dtype_infos[dtype].name;
}
const char *dtype_triton_name(DType dtype) {
    return dtype_infos[dtype].triton;
}
uint32_t dtype_size(DType dtype) {
    return dtype_infos[dtype].size;
}
uint32_t dtype_bits(DType dtype) {
    return dtype == DT_i1 ? 1 : dtype_infos[dtype].size * 8;
}
DTypeKind dtype_kind(DType dtype) {
    return dtype_infos[dtype].kind;
}

uint32_t dtype_mantissa_bits(DType dtype) {
    switch (dtype) {
    case DT_f8e4m3:
    case DT_f8e4m3b15: return 3;
    case DT_f8e5m2: return 2;
    case DT_f16: return 10;
    case DT_bf16: return 7;
    case DT_f32: return 23;
    case DT_f64: return 52;
    default: return 0;
    }
}

int64_t dtype_wrap(DType dtype, int64_t value) {
    uint32_t bits = dtype_bits(dtype);
    if (bits >= 64) return value;
    uint64_t low = (uint64_t)value & ((UINT64_C(1) << bits) - 1);
    uint64_t sign = UINT64_C(1) << (bits - 1);
    return dtype_is_unsigned(dtype) ? (int64_t)low : (int64_t)((low ^ sign) - sign);
}

static bool is_spelled(const char *candidate, const char *name, size_t length) {
    return candidate && strlen(candidate) == length && !memcmp(candidate, name, length);
}

DType dtype_from_name(const char *name, size_t length) {
    for (DType d = DT_NONE + 1; d < DT_COUNT; d++) {
        const DTypeInfo *info = &dtype_infos[d];
        if (is_spelled(info->name, name, length) || is_spelled(info->triton, name, length) ||
            is_spelled(info->short_name, name, length) || is_spelled(info->c_name, name, length))
            return d;
    }
    return DT_NONE;
}
