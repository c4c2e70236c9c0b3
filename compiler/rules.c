/* rules.c: what each op demands of its types and attributes, and what its results are. */
#include "compiler/rules.h"

const Type *rule_infer(Types *types, const Op *op, uint32_t index) {
    const Type *first = op->operand_count > 0 ? op_operand(op, 0)->type : NULL;
    switch (op_info(op)->rule) {
    case RULE_SAME:
    case RULE_SAME_INT:
    case RULE_SAME_FLOAT:
    case RULE_OFFSET: return first;
    case RULE_COMPARE: return type_with_dtype(types, first, DT_i1);
    case RULE_SELECT:
    case RULE_ATOMIC: return op_operand(op, 1)->type;
    case RULE_LOAD:
        if (!type_is_pointer(first)) return NULL;
        return type_with_element(types, first, type_element(first)->element);
    case RULE_DOT: return op_operand(op, 2)->type;
    case RULE_SCAN: return op_operand(op, index)->type;
    default: return NULL;
    }
}
