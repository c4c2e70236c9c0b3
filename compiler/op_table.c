/* op_table.c: ops.def as data. */
#include "compiler/ir.h"

#define A(attribute) (UINT64_C(1) << ATTR_##attribute)
enum {
    PURE = OPF_PURE,
    ELEMENT = OPF_ELEMENT,
    COMMUTES = OPF_COMMUTES,
    READS = OPF_READS,
    WRITES = OPF_WRITES,
    EFFECT = OPF_EFFECT,
    ENDS = OPF_ENDS,
    NESTED = OPF_NESTED
};
_Static_assert(ATTR_COUNT <= 64, "a set of attributes is a word of 64 bits");

const OpInfo op_infos[OP_COUNT] = {
#define OP(name, min, max, results, regions, rule, flags, required, optional)                      \
    {#name, min, max, results, regions, RULE_##rule, flags, required, optional},
#include "compiler/ops.def"
#undef OP
};

const char *const attribute_names[ATTR_COUNT] = {
#define ATTRIBUTE(name, kind) #name,
#include "compiler/ops.def"
#undef ATTRIBUTE
};

const AttributeKind attribute_kinds[ATTR_COUNT] = {
#define ATTRIBUTE(name, kind) AK_##kind,
#include "compiler/ops.def"
#undef ATTRIBUTE
};

const char *const word_names[WORD_COUNT] = {
    "none",
#define WORD(name) #name,
#include "compiler/ops.def"
#undef WORD
};

Word word_from_name(const char *name, size_t length) {
    for (Word word = WORD_none + 1; word < WORD_COUNT; word++)
        if (strlen(word_names[word]) == length && !memcmp(word_names[word], name, length))
            return word;
    return WORD_none;
}
