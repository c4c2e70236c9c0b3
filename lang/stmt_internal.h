/* stmt_internal.h: what the files of the statements share: stmt.c (dispatch, assignment), carry.c
 * (values that cross a region's border), branch.c (`if`), loop.c (`for`, `while`).
 */
#ifndef TKC_LANG_STMT_INTERNAL_H
#define TKC_LANG_STMT_INTERNAL_H

#include "lang/lower_internal.h"

/* What comes after the statements at hand, in the blocks around them. */
typedef struct Rest {
    const Node *statements;
    const struct Rest *next;
} Rest;

Flow lower_statements(Lower *l, const Node *list, const Rest *rest);
Flow lower_if(Lower *l, const Node *n, const Rest *rest);
Flow lower_for(Lower *l, const Node *n);
Flow lower_while(Lower *l, const Node *n);

/* ---- carry.c ---- */

typedef VEC(Value *) Leaves;

/* All tensors of a value, in a fixed order. */
void collect_leaves(Lower *l, Val v, Leaves *out);
/* The same value with other tensors, taken in that order. */
Val with_leaves(Lower *l, Val v, Value **leaves, uint32_t *at);

/* Two values that must become one variable: their leaves side by side, constants turned into the
 * tensor they meet. `regions` is where conversions go. */
typedef struct Merge {
    Region *regions[2];
    Leaves leaves[2];
} Merge;

typedef enum Fit { FIT_OK, FIT_TYPES, FIT_KINDS } Fit;

/* `merged` has the shape of the result; its leaves are found in m->leaves afterwards. */
Fit merge_values(Lower *l, Merge *m, Val a, Val b, Val *merged);
bool val_same(Val a, Val b); /* nothing to merge */

#endif
