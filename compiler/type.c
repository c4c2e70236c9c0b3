/* type.c: one Type for each distinct type.
 *
 * Types live in a hash table keyed by all that distinguishes them; making a type is looking it up.
 * An element type is interned before the types made of it, so its pointer is part of their key.
 */
#include "compiler/type.h"

#include "compiler/layout/layout.h"

#include <assert.h>
#include <ctype.h>

/* ---- interning ------------------------------------------------------------------------ */

static uint64_t type_hash(const Type *t) {
    uint64_t key[4] = {t->kind, t->dtype, (uintptr_t)t->element, (uintptr_t)t->layout};
    return hash_bytes(hash_bytes(t->rank, key, sizeof key), t->shape, t->rank * sizeof(uint32_t));
}

static bool type_equal(const Type *a, const Type *b) {
    return a->kind == b->kind && a->dtype == b->dtype && a->element == b->element &&
           a->layout == b->layout && a->rank == b->rank &&
           !memcmp(a->shape, b->shape, a->rank * sizeof(uint32_t));
}

static const Type **find_slot(const Type **slots, uint32_t capacity, const Type *wanted) {
    uint32_t at = (uint32_t)type_hash(wanted) & (capacity - 1);
    while (slots[at] && !type_equal(slots[at], wanted)) at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static const Type *type_intern(Types *types, const Type *wanted) {
    if (types->count * 2 >= types->capacity) {
        uint32_t capacity = types->capacity ? types->capacity * 2 : 64;
        const Type **slots = arena_array(types->arena, const Type *, capacity);
        for (uint32_t i = 0; i < types->capacity; i++)
            if (types->slots[i]) *find_slot(slots, capacity, types->slots[i]) = types->slots[i];
        types->slots = slots;
        types->capacity = capacity;
    }
    const Type **slot = find_slot(types->slots, types->capacity, wanted);
    if (!*slot) {
        Type *type = arena_new(types->arena, Type);
        *type = *wanted;
        *slot = type;
        types->count++;
    }
    return *slot;
}

const Type *type_scalar(Types *types, DType dtype) {
    return type_intern(types, &(Type){.kind = TYPE_SCALAR, .dtype = dtype, .count = 1});
}

const Type *type_pointer(Types *types, const Type *pointee) {
    assert(!type_is_block(pointee));
    return type_intern(types, &(Type){.kind = TYPE_POINTER, .element = pointee, .count = 1});
}

const Type *type_block(Types *types, const Type *element, uint32_t rank, const uint32_t *shape) {
    assert(!type_is_block(element) && rank <= MAX_RANK);
    if (rank == 0) return element;
    Type type = {.kind = TYPE_BLOCK, .element = element, .rank = rank, .count = 1};
    for (uint32_t i = 0; i < rank; i++) {
        assert(shape[i] && (shape[i] & (shape[i] - 1)) == 0);
        assert(type.count <= MAX_BLOCK_ELEMENTS / shape[i]);
        type.shape[i] = shape[i];
        type.count *= shape[i];
    }
    return type_intern(types, &type);
}

const Type *type_with_element(Types *types, const Type *shape_of, const Type *element) {
    if (!type_is_block(shape_of)) return element;
    Type type = *shape_of;
    type.element = element;
    return type_intern(types, &type);
}

const Type *type_with_dtype(Types *types, const Type *shape_of, DType dtype) {
    return type_with_element(types, shape_of, type_scalar(types, dtype));
}

/* ---- layouts -------------------------------------------------------------------------- */

/* The layout is first, so that a pointer to it is a pointer to this. */
typedef struct NamedLayout {
    Layout layout;
    uint32_t number;
} NamedLayout;

const Layout *type_layout(Types *types, const Layout *layout) {
    for (uint32_t i = 0; i < types->layouts.length; i++) {
        NamedLayout *named = types->layouts.data[i];
        if (layout == &named->layout || layout_equal(&named->layout, layout)) return &named->layout;
    }
    NamedLayout *named = arena_new(types->arena, NamedLayout);
    *named = (NamedLayout){*layout, types->layouts.length};
    vec_push(types->arena, &types->layouts, named);
    return &named->layout;
}

uint32_t layout_number(const Layout *interned) {
    return ((const NamedLayout *)(const void *)interned)->number;
}

void layout_set_number(const Layout *interned, uint32_t number) {
    ((NamedLayout *)(uintptr_t)interned)->number = number;
}

const Type *type_with_layout(Types *types, const Type *type, const Layout *layout) {
    if (!type_is_block(type)) return type;
    Type laid = *type;
    laid.layout = layout ? type_layout(types, layout) : NULL;
    return type_intern(types, &laid);
}

const Type *type_shared(Types *types, const Type *block, const Layout *layout) {
    assert(type_is_block(block));
    Type shared = *block;
    shared.kind = TYPE_SHARED;
    shared.layout = type_layout(types, layout);
    return type_intern(types, &shared);
}

uint32_t type_element_size(const Type *t) {
    const Type *element = t->kind == TYPE_SHARED ? t->element : type_element(t);
    return element->kind == TYPE_POINTER ? 8 : dtype_size(element->dtype);
}

bool type_same_shape(const Type *a, const Type *b) {
    return a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof(uint32_t));
}

/* ---- text ----------------------------------------------------------------------------- */

void type_print(const Type *type, Text *out) {
    if (type->kind == TYPE_SHARED) text_puts(out, "shared ");
    for (uint32_t i = 0; i < type->rank; i++) text_printf(out, "%ux", type->shape[i]);
    const Type *element = type->rank ? type->element : type;
    for (; element->kind == TYPE_POINTER; element = element->element) text_puts(out, "*");
    text_puts(out, dtype_name(element->dtype));
    if (type->layout) text_printf(out, "#%u", layout_number(type->layout));
}

const char *type_string(const Type *type, Arena *arena) {
    Text text = {.arena = arena};
    type_print(type, &text);
    return text.data;
}

enum { MAX_POINTER_DEPTH = 8 };

const Type *type_read(Types *types, const char **cursor, const char *end, const char **problem) {
    uint32_t shape[MAX_RANK], rank = 0, count = 1;
    const char *at = *cursor;
    bool shared = end - at > 7 && !memcmp(at, "shared ", 7);
    at += shared ? 7 : 0;
    while (at < end && isdigit((unsigned char)*at)) {
        uint64_t extent = 0;
        const char *start = at;
        for (; at < end && isdigit((unsigned char)*at); at++)
            if (extent <= MAX_BLOCK_ELEMENTS) extent = extent * 10 + (uint64_t)(*at - '0');
        *cursor = start;
        *problem = extent == 0 || (extent & (extent - 1)) ? "an extent must be a power of two"
                   : extent > MAX_BLOCK_ELEMENTS / count  ? "a block has at most 1048576 elements"
                   : rank == MAX_RANK                     ? "a block has at most 8 dimensions"
                   : at == end || *at != 'x'              ? "expected `x` after an extent"
                                                          : NULL;
        if (*problem) return NULL;
        shape[rank++] = (uint32_t)extent;
        count *= (uint32_t)extent;
        *cursor = ++at;
    }
    uint32_t stars = 0;
    for (; at < end && *at == '*'; at++) stars++;
    const char *name = at;
    while (at < end && isalnum((unsigned char)*at)) at++;
    DType dtype = dtype_from_name(name, (size_t)(at - name));
    *problem = stars > MAX_POINTER_DEPTH ? "too many levels of pointers"
               : dtype == DT_NONE        ? "expected a type, like f32, *f16 or 64x32xf32"
                                         : NULL;
    if (*problem) return NULL;
    const Type *type = type_scalar(types, dtype);
    while (stars--) type = type_pointer(types, type);
    *cursor = at;
    type = type_block(types, type, rank, shape);
    const Layout *layout = NULL;
    if (at < end && *at == '#') {
        uint64_t number = 0;
        for (at++; at < end && isdigit((unsigned char)*at) && number < UINT32_MAX; at++)
            number = number * 10 + (uint64_t)(*at - '0');
        bool known = at[-1] != '#' && number < types->text_names.length;
        layout = known ? types->text_names.data[number] : NULL;
        *problem = !known                            ? "there is no layout of this number"
                   : !rank                           ? "only blocks have a layout"
                   : 1u << layout->out_bits != count ? "this layout has other elements"
                                                     : NULL;
        if (*problem) return NULL;
        *cursor = at;
    }
    *problem = shared && !layout ? "shared memory has a shape and a layout, like 64xf16#0" : NULL;
    if (*problem) return NULL;
    return shared ? type_shared(types, type, layout) : type_with_layout(types, type, layout);
}
