/* canon.h: what the files of pass_canon share.
 *
 * A rule looks at one op. It returns NULL when it has nothing to say, a value that may stand for
 * the op's (only) result, or that result itself when it changed the op in place. Every rule makes
 * the module smaller or simpler by some measure that no other rule makes worse; so it ends.
 */
#ifndef TKC_COMPILER_PASSES_CANON_H
#define TKC_COMPILER_PASSES_CANON_H

#include "compiler/ir.h"

typedef struct Canon {
    Module *module;
    VEC(Op *) work; /* ops to look at, the next one last; may hold removed ops */
    bool changed;
} Canon;

Value *canon_element(Canon *c, Op *op); /* canon_element.c: ops with the flag ELEMENT */
Value *canon_shape(Canon *c, Op *op);   /* canon_shape.c: ops that move elements */
/* canon_control.c: memory, reductions, if, for, while. Changes what it likes; true when it did. */
bool canon_control(Canon *c, Op *op);

/* For rules. New ops go before `op`, and are looked at in turn. */
static inline Builder builder_at(Canon *c, Op *op) {
    return (Builder){.module = c->module, .region = op->parent, .before = op, .at = op->at};
}
Value *canon_made(Canon *c, Value *value); /* a new op's result: look at it; returns it */
void canon_look_at(Canon *c, Op *op);
void canon_replace(Canon *c, Value *old, Value *with); /* all uses; the users are looked at */
void canon_remove(Canon *c, Op *op);                   /* what it used is looked at */
/* The op with other operands and another result type, its attributes kept. */
Value *canon_rebuild(Canon *c, Op *op, Value *const *operands, const Type *result);

/* A constant of `type` with the value of another constant, of the same element type. */
Value *canon_constant_like(Canon *c, Op *at, const Value *constant, const Type *type);
/* A block all of one value: a constant or a splat. */
static inline bool value_is_uniform(const Value *v) {
    return v->op && (v->op->code == OP_constant || v->op->code == OP_splat);
}

#endif
