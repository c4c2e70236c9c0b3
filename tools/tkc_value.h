/* tkc_value.h: NAME=VALUE arguments of `tkc run`: numbers, tensors from files, generated tensors.
 *
 * Random element i of argument NAME is made from bits(key + i * 0x9e3779b97f4a7c15), where key =
 * bits(seed ^ FNV-1a-64(NAME)) and bits() is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
 * So it depends on the seed, the name and i only, and any element can be made on its own. `rand`
 * keeps as many leading bits as the type can hold in [0, 1); `randn` is Box-Muller on elements 2i
 * and 2i + 1, rounded to the type.
 */
#ifndef TKC_TOOLS_TKC_VALUE_H
#define TKC_TOOLS_TKC_VALUE_H

#include "tools/tkc_cli.h"

typedef enum GivenKind {
    GIVEN_INT,
    GIVEN_FLOAT,
    GIVEN_BOOL,
    GIVEN_NONE,
    GIVEN_TENSOR,
    GIVEN_TEXT /* anything else: only a compile-time parameter can take it */
} GivenKind;

typedef struct Given {
    const char *name, *text; /* as typed; text is the part after `=` */
    GivenKind kind;
    tkc_dtype dtype; /* of the tensor; of the number when fixed with `:dtype`, else TKC_NONE */
    bool negative;
    uint64_t integer; /* INT, BOOL: magnitude */
    double number;    /* INT too */
    tkc_array array;  /* TENSOR */
    bool poison;      /* TENSOR: not written yet; array.data is NULL */
    bool used;
} Given;

/* Reads one NAME=VALUE and makes the tensor it stands for. STATUS_DONE, or another status when a
 * message was printed. Free array with tkc_array_free. */
ExitStatus value_parse(Arena *arena, const char *argument, uint64_t seed, Given *given);
/* The same for the VALUE alone, as in the default of a parameter. */
ExitStatus value_parse_text(Arena *arena, const char *name, const char *text, uint64_t seed,
                            Given *given);

/* The type a number has when neither the user nor the file says: i1, i32, i64, u64, f32. */
tkc_dtype value_natural_dtype(const Given *given);
/* Bits of a float's significand, the hidden one included: f32: 24; 0 for integers. */
uint32_t value_significand_bits(tkc_dtype dtype);
/* "f32[128,64]", "i32 100", "none": for messages. */
const char *value_describe(Arena *arena, const Given *given);
const char *array_describe(Arena *arena, const tkc_array *array);

#endif
