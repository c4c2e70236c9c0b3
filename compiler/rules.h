/* rules.h: the type rules of the op table, for the builder, the reader and the verifier alike. */
#ifndef TKC_COMPILER_RULES_H
#define TKC_COMPILER_RULES_H

#include "compiler/ir.h"

/* Type of result `index`, for rules that infer it; operands are in place. NULL when the rule does
 * not infer, or the operands have no such type. */
const Type *rule_infer(Types *types, const Op *op, uint32_t index);

/* Checks operand, result and region types of one op, its attributes and its counts. NULL when all
 * is well, else what is wrong, as a phrase made in `arena`. Looks at nothing but the op, its
 * operands' types and the last ops of its regions. */
const char *rule_check(Types *types, Arena *arena, const Op *op);

/* The part of rule_check that is about layouts and shared memory (rules_layout.c): how the layouts
 * of an op's results follow from those of its operands. NULL: well, or there are no layouts. */
const char *rule_check_layouts(Types *types, Arena *arena, const Op *op);
/* Types of shared_alloc, shared_store, shared_load and async_copy. */
const char *rule_check_shared(Types *types, Arena *arena, const Op *op);

#endif
