/* operands.h: the pieces that the shapes of operands.c and shapes.c are made of. Each takes the
 * statement's next operand and appends a reference to the instruction being decoded. */
#ifndef TKC_RUNTIME_EMU_OPERANDS_H
#define TKC_RUNTIME_EMU_OPERANDS_H

#include "runtime/emu/isa.h"

uint32_t type_bits(PtxType type);
PtxType type_at(const Decoder *d, uint32_t index);
const PtxOperand *take(Decoder *d);
void push(Decoder *d, Ref ref);
uint64_t variable_address(Decoder *d, const PtxOperand *o, const PtxVariable *v, PtxSpace *space,
                          bool *frame);
const PtxVariable *find_variable(Decoder *d, const PtxOperand *o);
void address_in(Decoder *d, PtxSpace in_space);
void address(Decoder *d);
Ref destination_of(Decoder *d, const PtxOperand *o, uint32_t bits, bool loose);
void destination(Decoder *d, PtxType type);
Ref source_of(Decoder *d, const PtxOperand *o, PtxType type, bool loose);
void source(Decoder *d, PtxType type);
void predicate(Decoder *d, uint32_t bit);
void end(Decoder *d);
void destination_pair(Decoder *d, uint32_t bits, uint32_t pair_bits);
void vector_of(Decoder *d, PtxType type, uint32_t count, bool write);
uint64_t constant(Decoder *d);
void optional_source(Decoder *d, PtxType type, uint64_t fallback);

#endif
