/* lower_internal.h: what the files of the lowering share.
 *
 * Lowering runs the kernel's syntax tree on symbolic values. What Python would know at compile
 * time is a constant here (VAL_INT, VAL_DTYPE, VAL_TUPLE, ...); what only the device knows is an
 * IR value (VAL_TENSOR: a scalar or a block). Operations on constants are done at once; operations
 * with a tensor build IR. A failed expression is VAL_ERROR: reported once, silent afterwards. In
 * `tkc check` a parameter of unknown type is VAL_UNKNOWN, and so is all that depends on it.
 *
 *   lower.c      entry: parameters, signature, autotune configurations
 *   scope.c      what a name means: variables, file items, imports, modules
 *   stmt.c       statements, loops and branches, carried values
 *   expr.c       expressions
 *   call.c       binding arguments, inlining functions
 *   konst.c      arithmetic on constants
 *   semantics.c  typing and broadcasting of tensors
 *   builtin*.c   the functions of triton.language, from builtins.def
 */
#ifndef TKC_LANG_LOWER_INTERNAL_H
#define TKC_LANG_LOWER_INTERNAL_H

#include "lang/lang.h"

__extension__ typedef __int128 Wide; /* constant integers; Python's are wider, no kernel's are */

typedef enum ValKind {
    VAL_ERROR,
    VAL_UNKNOWN,
    VAL_TENSOR, /* value */
    VAL_NONE,
    VAL_BOOL,  /* integer 0 or 1 */
    VAL_INT,   /* integer */
    VAL_FLOAT, /* number */
    VAL_STRING,/* string, count */
    VAL_DTYPE, /* type: scalar, pointer or (from `.type`) block */
    VAL_TUPLE, /* items, count; lists too; names when it is a named tuple */
    VAL_DICT,  /* items: key, value, key, value ...; count pairs */
    VAL_SLICE, /* x[a:b:c]: items, 3 */
    VAL_ELLIPSIS,
    VAL_RANGE,    /* range object: items by RangeItem */
    VAL_FUNCTION, /* function */
    VAL_BUILTIN,  /* builtin, and self when bound to a value (x.sum) */
    VAL_MODULE,   /* string: dotted name; file when it is a source module */
    VAL_CLASS,    /* klass */
    VAL_BLOCK_POINTER, /* pointer */
    VAL_DESCRIPTOR     /* pointer (block_shape, shape, strides; no offsets) */
} ValKind;

typedef struct Lower Lower;
typedef struct Val Val;
typedef struct Call Call;
typedef struct FileScope FileScope;

/* A function of the source: a def or a lambda. */
typedef struct Function {
    const char *name;
    const Node *node; /* NODE_FUNCTION or NODE_LAMBDA */
    FileScope *file;
    struct Scope *closure; /* lambdas, nested defs: the scope they were made in, or NULL */
    bool nested;    /* inside a host function or class: names of those may be meant */
    bool is_python; /* not a jit function: runs on constants, numbers stay numbers */
} Function;

typedef struct Builtin {
    const char *name;
    const char *parameters; /* "pointer, mask=None, *rest": what the call's arguments are called */
    Val (*lower)(Lower *l, Call *call);
    int code; /* an OpCode, a DType ... whatever `lower` wants to know */
    uint32_t flags;
} Builtin;

/* Block pointers and tensor descriptors: a base and, for each dim, run-time numbers. */
typedef struct Pointer {
    Value *base;
    uint32_t rank;
    Value *shape[MAX_RANK], *strides[MAX_RANK]; /* i64 */
    Value *offsets[MAX_RANK];                   /* i32; unused in descriptors */
    uint32_t block[MAX_RANK];
    bool pad_nan;
} Pointer;

/* A named tuple class, or a class of constants. */
typedef struct Class {
    const char *name;
    const Node *node;
    FileScope *file;
    uint32_t field_count;
    const char **fields;
    bool is_tuple; /* NamedTuple, dataclass, aggregate: its objects are tuples of the fields */
    const struct Class *base;
} Class;

struct Val {
    ValKind kind;
    bool plain; /* TENSOR: a literal assigned without `: tl.constexpr` (for the message) */
    uint32_t count;
    Span span; /* where the value was made or last assigned; for messages */
    union {
        Value *value;
        Wide integer;
        double number;
        const char *string;
        const Type *type;
        Val *items;
        const Function *function;
        const Builtin *builtin;
        const Pointer *pointer;
        const Class *klass;
    };
    union {
        const Val *self;     /* BUILTIN: bound to */
        FileScope *file;     /* MODULE of source */
        const Class *named;  /* TUPLE made by a named tuple class */
    };
};

static inline bool val_is_constant(Val v) { return v.kind >= VAL_NONE && v.kind <= VAL_CLASS; }
static inline bool val_is_number(Val v) { return v.kind >= VAL_BOOL && v.kind <= VAL_FLOAT; }
static inline bool val_is_integer(Val v) { return v.kind == VAL_BOOL || v.kind == VAL_INT; }
static inline bool val_is_silent(Val v) { return v.kind <= VAL_UNKNOWN; }

/* ---- names -------------------------------------------------------------------------------- */

typedef struct Binding {
    const char *name;
    Val value;
    bool is_constexpr; /* declared so: may not be assigned a run-time value silently */
    bool lost;         /* assigned only in a branch or loop that may not have run */
} Binding;

/* Variables of one function. Branches work on copies. */
typedef struct Scope {
    VEC(Binding) bindings;
    struct Scope *outer; /* closure */
} Scope;

/* Top-level names of one source file, evaluated when first used. */
struct FileScope {
    const File *file;
    const char *path;
    bool is_std;
    VEC(Binding) known;           /* evaluated items */
    VEC(const Item *) evaluating; /* to find circular definitions */
    struct FileScope *next;
};

/* ---- the lowering --------------------------------------------------------------------------- */

typedef struct Frame { /* one function being inlined */
    const Function *function;
    Scope *scope;
    const CallSite *site; /* how we got here, NULL in the kernel */
    struct Frame *up;
    Val result;        /* value of the return reached last */
    /* loops around the statement, in this function: run-time ones, and unrolled ones */
    uint32_t loop_depth, unroll_depth;
} Frame;

struct Lower {
    const LowerRequest *request;
    Arena *arena;
    Names *names;
    Diagnostics *diagnostics;
    Sources *sources;
    Module *module;
    Types *types;
    Builder build;
    Frame *frame;
    FileScope *files, *std;
    bool checking;       /* tkc check: unknown types are allowed */
    uint32_t uncertain;  /* checking: below a condition that may be a constant */
    bool gave_up;        /* an error after which everything would be noise */
    uint32_t steps;      /* statements lowered, to stop runaway unrolling */
    uint32_t call_depth;
    Span overflow_at;    /* last warning of overflow.c */
};

typedef enum Flow { FLOW_ON, FLOW_RETURNED } Flow;

/* Parts of a VAL_RANGE. Hints that were not given are None. */
enum RangeItem {
    RANGE_FROM, RANGE_TO, RANGE_STEP, RANGE_STATIC, RANGE_NUM_STAGES, RANGE_UNROLL, RANGE_FLATTEN,
    RANGE_WARP_SPECIALIZE, RANGE_NO_MULTI_BUFFER, RANGE_ITEMS
};

/* ---- values and messages --------------------------------------------------------------------- */

Location here(const Lower *l, Span span);
/* Reports an error and returns VAL_ERROR. */
Val fail(Lower *l, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void note(Lower *l, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
/* "128xf32", "constexpr 5", "None", "the module triton.language" ... for messages. */
const char *describe(Lower *l, Val v);
/* The nearest name by edit distance, or NULL: for "did you mean". */
const char *nearest(const char *wanted, const char *const *known, uint32_t count);

Val val_error(void);
Val val_unknown(void);
Val val_none(void);
Val val_bool(bool b);
Val val_int(Wide i);
Val val_float(double d);
Val val_string(const char *s, size_t length);
Val val_dtype(Lower *l, DType dtype);
Val val_type(const Type *type);
Val val_tensor(Value *v);
Val val_tuple(const Val *items, uint32_t count); /* items stay with the caller's arena */
const char *wide_string(Arena *arena, Wide w);

/* ---- konst.c ------------------------------------------------------------------------------- */

Val konst_binary(Lower *l, Operator op, Val a, Val b, Span span);
Val konst_unary(Lower *l, Operator op, Val a, Span span);
Val konst_compare(Lower *l, Operator op, Val a, Val b, Span span);
bool konst_equal(Val a, Val b);
bool konst_truth(Val v); /* Python's bool(v) */
/* Appends str(v) to the text. */
void konst_print(Lower *l, Val v, Text *out);
/* The numbers of a range whose bounds are constants, as a tuple; else reported, or unknown. */
Val range_items(Lower *l, Val range, Span span);

/* ---- scope.c ------------------------------------------------------------------------------- */

Binding *scope_find(Scope *scope, const char *name); /* this function's variables only */
void scope_set(Lower *l, Scope *scope, const char *name, Val value);
Scope *scope_copy(Lower *l, const Scope *scope);
/* What a name means here: variable, closure, file item, Python builtin. Reports unknown names. */
Val name_value(Lower *l, const Node *name);
FileScope *file_scope(Lower *l, const File *file);
/* A name of a file's top level; false when the file does not define it. */
bool file_name(Lower *l, FileScope *file, const char *name, Span use, Val *value);
/* attribute `name` of module m: a builtin, a standard function, a submodule, an item of a source
 * module. */
Val module_attribute(Lower *l, Val module, const char *name, Span span);
const Item *file_item(const File *file, const char *name);

/* ---- class.c ---- */

Val class_val(Lower *l, FileScope *file, const Node *node);
Val class_attribute(Lower *l, const Class *c, const char *name, const Node *node);
/* Method `name`, not yet bound to an object. */
bool class_method(Lower *l, const Class *c, const char *name, Val *method, bool *takes_self);
Val tuple_with_field(Lower *l, Val tuple, const char *name, Val value); /* a changed copy */

/* ---- host_module.c ------------------------------------------------------------------------- */

/* What Python's math, torch or numpy define that is a compile-time value. */
bool host_module_attribute(Lower *l, const char *module, const char *name, Val *value);
bool host_module_known(const char *module); /* a package that never holds kernels */

/* ---- expr.c -------------------------------------------------------------------------------- */

Val lower_expression(Lower *l, const Node *node);
Val lower_attribute(Lower *l, Val of, const char *name, const Node *node);
Val lower_index(Lower *l, Val of, Val index, const Node *node);
/* a op b for any values; `node` gives the position and the operands for messages. */
Val lower_binary(Lower *l, Operator op, Val a, Val b, const Node *node);
Val lower_compare(Lower *l, Operator op, Val a, Val b, const Node *node);

/* Does an annotation say `tl.constexpr`? NULL: no. */
bool is_constexpr(const Node *annotation);

/* ---- stmt.c -------------------------------------------------------------------------------- */

Flow lower_body(Lower *l, const Node *statements); /* a function's body to its end */
void lower_assign(Lower *l, const Node *target, Val value, const Node *statement);

/* ---- call.c -------------------------------------------------------------------------------- */

/* A call of a builtin: arguments in the order of its parameter list. `rest` takes *args. */
enum { MAX_ARGUMENTS = 24 };
struct Call {
    const Builtin *builtin;
    const Node *node; /* the call; NULL when called by the compiler itself */
    Span span;
    Val arguments[MAX_ARGUMENTS];
    Span spans[MAX_ARGUMENTS]; /* where each argument was written (or the call's span) */
    bool given[MAX_ARGUMENTS];
    const char *names[MAX_ARGUMENTS];
    uint32_t count;
    Val *rest; /* *args */
    uint32_t rest_count;
    const char **keyword_names; /* **kwargs: the keywords that name no parameter */
    Val *keyword_values;
    uint32_t keyword_count;
};

Val lower_call(Lower *l, const Node *node);
/* Calls any callable with positional values. */
Val call_value(Lower *l, Val callee, const Val *arguments, uint32_t count, Span span);
Val call_function(Lower *l, const Function *function, const Val *positional,
                  uint32_t positional_count, const char *const *keywords,
                  const Val *keyword_values, uint32_t keyword_count, Span span);
Val call_std(Lower *l, const char *name, const Val *arguments, uint32_t count, Span span);

/* ---- semantics.c --------------------------------------------------------------------------- */

/* A tensor for a number or tensor (Triton's to_tensor: int -> i32/u32/i64/u64 by size, float ->
 * f32 or f64). NULL after an error. `what` names it in the message. */
Value *to_tensor(Lower *l, Val v, Span span, const char *what);
Value *constant_of(Lower *l, Val number, const Type *type); /* number: BOOL, INT or FLOAT */
Value *cast_to(Lower *l, Value *v, DType dtype, Word rounding);
Value *cast_to_type(Lower *l, Value *v, const Type *element, Span span); /* pointers too */
bool shapes_broadcast(const Type *a, const Type *b); /* can they be made equal? */
/* Not more elements than a block may have; reports it. */
bool check_elements(Lower *l, uint32_t rank, const uint32_t *shape, Span span);
/* Makes the shapes of all equal; reports a mismatch with the operands' places. */
bool broadcast_together(Lower *l, Value **values, uint32_t count, const Span *spans, Span at,
                        const char *what);
Value *broadcast_to(Lower *l, Value *v, uint32_t rank, const uint32_t *shape, Span span);
DType promote(DType a, bool a_is_number, DType b, bool b_is_number, bool division, bool *mixed);
/* An operand in `dtype`; a number that does not fit is an error. */
Value *number_operand(Lower *l, Val v, Value *as_tensor, DType dtype, Span span);
/* The type in which operands of a function of three (clamp, fma) meet: tensors first. */
DType common_dtype(Lower *l, const Val *values, Value *const *tensors, uint32_t count);
/* Operands of an arithmetic op in their common type and shape. */
bool arithmetic_operands(Lower *l, Val a, Val b, Span a_span, Span b_span, Span at, bool division,
                         const char *what, Value **x, Value **y);
Val tensor_binary(Lower *l, Operator op, Val a, Val b, Span a_span, Span b_span, Span at);
Val tensor_compare(Lower *l, Operator op, Val a, Val b, Span a_span, Span b_span, Span at);
Value *truth_value(Lower *l, Val v, Span span, const char *what); /* i1 scalar or block */
/* The same for what decides a branch: a block of one element counts as its element. */
Value *branch_condition(Lower *l, Val v, Span span);
Value *float_operand(Lower *l, Val v, Span span, const char *what); /* f32 or f64; widened */

/* ---- overflow.c ---------------------------------------------------------------------------- */

/* Warns when this sum or product certainly wraps for some element. */
void warn_of_overflow(Lower *l, const Value *v, Span at);

/* ---- builtin.c ----------------------------------------------------------------------------- */

/* A function of triton.language or a module below it, or of Python. */
const Builtin *builtin_find(const char *module, const char *name);
const Builtin *builtin_method(const char *name); /* x.name(...) */
const char *builtin_nearest(const char *name);
const char *method_nearest(const char *name);

/* Arguments as constants; each reports and returns false when it is not one. */
bool argument_int(Lower *l, Call *c, uint32_t i, int64_t *value);
bool argument_bool(Lower *l, Call *c, uint32_t i, bool *value);
bool argument_string(Lower *l, Call *c, uint32_t i, const char **value);
bool argument_dtype(Lower *l, Call *c, uint32_t i, const Type **value);
bool argument_shape(Lower *l, Call *c, uint32_t i, uint32_t *rank, uint32_t *shape);
bool argument_axis(Lower *l, Call *c, uint32_t i, uint32_t rank, uint32_t *axis);
Value *argument_tensor(Lower *l, Call *c, uint32_t i);
Val not_constant(Lower *l, Val v, Span span, const char *what); /* the error with its advice */

#endif
