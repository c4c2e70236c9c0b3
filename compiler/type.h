/* type.h: element types and block types.
 *
 * Types are interned in a Types table: two equal types are the same pointer, so compare with ==.
 *
 *     f32                   scalar
 *     *f16  **f32           pointer to a scalar (or to a pointer)
 *     128x64xf16            block; every extent is a power of two
 *     128x64x*f16           block of pointers
 *     128x64xf16#2          block whose elements the threads hold as layout 2 says (LAID level)
 *     shared 128x64xf16#3   blocks in shared memory, one or more of this shape (LAID level)
 */
#ifndef TKC_COMPILER_TYPE_H
#define TKC_COMPILER_TYPE_H

#include "compiler/base.h"

/* name, C spelling in tkc.h, size in bytes, kind, the names Triton gives it (first is shown).
 * Blocks of i1 take one byte an element, 0 or 1. f8e4m3 is the finite-only form (no infinity,
 * NaN is 0x7f; Triton: float8e4nv); f8e4m3b15 has bias 15 and saturates. */
#define DTYPES(X)                                                                                  \
    X(i1,        1, BOOL,     "int1",       "i1",   "bool")                                        \
    X(i8,        1, SIGNED,   "int8",       "i8",   NULL)                                          \
    X(i16,       2, SIGNED,   "int16",      "i16",  NULL)                                          \
    X(i32,       4, SIGNED,   "int32",      "i32",  NULL)                                          \
    X(i64,       8, SIGNED,   "int64",      "i64",  NULL)                                          \
    X(u8,        1, UNSIGNED, "uint8",      "u8",   NULL)                                          \
    X(u16,       2, UNSIGNED, "uint16",     "u16",  NULL)                                          \
    X(u32,       4, UNSIGNED, "uint32",     "u32",  NULL)                                          \
    X(u64,       8, UNSIGNED, "uint64",     "u64",  NULL)                                          \
    X(f8e4m3,    1, FLOAT,    "float8e4nv", "fp8e4nv", NULL)                                       \
    X(f8e5m2,    1, FLOAT,    "float8e5",   "fp8e5", NULL)                                         \
    X(f8e4m3b15, 1, FLOAT,    "float8e4b15", "fp8e4b15", NULL)                                     \
    X(f16,       2, FLOAT,    "float16",    "fp16", "half")                                        \
    X(bf16,      2, FLOAT,    "bfloat16",   "bf16", NULL)                                          \
    X(f32,       4, FLOAT,    "float32",    "fp32", "float")                                       \
    X(f64,       8, FLOAT,    "float64",    "fp64", "double")

typedef enum DType {
    DT_NONE, /* not a scalar */
#define X(name, size, kind, triton, short_name, c_name) DT_##name,
    DTYPES(X)
#undef X
    DT_COUNT
} DType;

typedef enum DTypeKind { DK_NONE, DK_BOOL, DK_SIGNED, DK_UNSIGNED, DK_FLOAT } DTypeKind;

const char *dtype_name(DType dtype);        /* "f32" */
const char *dtype_triton_name(DType dtype); /* "float32" */
uint32_t dtype_size(DType dtype);           /* bytes in memory */
uint32_t dtype_bits(DType dtype);           /* value bits: 1 for i1 */
DTypeKind dtype_kind(DType dtype);
/* Any spelling: "f32", "fp32", "float32", "float". DT_NONE when unknown. */
DType dtype_from_name(const char *name, size_t length);
int64_t dtype_wrap(DType dtype, int64_t value); /* the low bits, extended by the dtype's sign */
uint32_t dtype_mantissa_bits(DType dtype); /* f32: 23, f16: 10, bf16: 7; 0 for integers */

static inline bool dtype_is_float(DType d) { return dtype_kind(d) == DK_FLOAT; }
static inline bool dtype_is_int(DType d) {
    return d != DT_NONE && dtype_kind(d) != DK_FLOAT; /* i1 included */
}
static inline bool dtype_is_fp8(DType d) { return d >= DT_f8e4m3 && d <= DT_f8e4m3b15; }
static inline bool dtype_is_unsigned(DType d) {
    return dtype_kind(d) == DK_UNSIGNED || dtype_kind(d) == DK_BOOL;
}

enum { MAX_RANK = 8 };
#define MAX_BLOCK_ELEMENTS (1u << 20) /* Triton's own limit (TRITON_MAX_TENSOR_NUMEL) */

typedef enum TypeKind { TYPE_SCALAR, TYPE_POINTER, TYPE_BLOCK, TYPE_SHARED } TypeKind;

struct Layout; /* compiler/layout/ (LAID level and below); NULL at BLOCK level */

typedef struct Type {
    TypeKind kind;
    DType dtype;                 /* SCALAR */
    const struct Type *element;  /* POINTER: pointee; BLOCK, SHARED: scalar or pointer */
    uint32_t rank;               /* BLOCK, SHARED: at least 1 */
    uint32_t shape[MAX_RANK];    /* BLOCK, SHARED */
    uint32_t count;              /* elements; 1 for a scalar or pointer */
    const struct Layout *layout; /* BLOCK: interned; SHARED: its columns are those of OFFSET */
} Type;

typedef struct Types {
    Arena *arena;
    const Type **slots;
    uint32_t count, capacity;
    VEC(struct NamedLayout *) layouts;     /* each layout once */
    VEC(const struct Layout *) text_names; /* reader: what #0, #1, ... in the text stand for */
} Types;

const Type *type_scalar(Types *types, DType dtype);
const Type *type_pointer(Types *types, const Type *pointee);
/* `element` is scalar or pointer. Rank 0 gives the element type itself. */
const Type *type_block(Types *types, const Type *element, uint32_t rank, const uint32_t *shape);
/* Same shape (or scalar) with another element. */
const Type *type_with_element(Types *types, const Type *shape_of, const Type *element);
const Type *type_with_dtype(Types *types, const Type *shape_of, DType dtype);

/* ---- layouts -------------------------------------------------------------------------- */

/* The one copy of this layout in the table. */
const struct Layout *type_layout(Types *types, const struct Layout *layout);
/* The number it is printed by; the printer gives new ones, in order of use. */
uint32_t layout_number(const struct Layout *interned);
void layout_set_number(const struct Layout *interned, uint32_t number);
/* A block type with this layout (interned here), or without one (NULL). Others as they are. */
const Type *type_with_layout(Types *types, const Type *type, const struct Layout *layout);
/* Memory for blocks of this block type, laid out so. */
const Type *type_shared(Types *types, const Type *block, const struct Layout *layout);

static inline bool type_is_block(const Type *t) { return t->kind == TYPE_BLOCK; }
static inline const Type *type_element(const Type *t) { return type_is_block(t) ? t->element : t; }
static inline bool type_is_pointer(const Type *t) { /* scalar pointer or block of pointers */
    return type_element(t)->kind == TYPE_POINTER;
}
static inline DType type_dtype(const Type *t) { return type_element(t)->dtype; } /* NONE: pointer */
uint32_t type_element_size(const Type *t); /* bytes an element; 8 for pointers */
bool type_same_shape(const Type *a, const Type *b);

void type_print(const Type *type, Text *out);              /* "128x64x*f16" */
const char *type_string(const Type *type, Arena *arena);
/* Reads what type_print wrote and moves *cursor behind it. NULL: *problem says what is wrong, and
 * *cursor is where. Untrusted. */
const Type *type_read(Types *types, const char **cursor, const char *end, const char **problem);

#endif
