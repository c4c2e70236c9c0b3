/* class.c: classes, as far as kernels use them: constants (C.NAME), and classes whose objects are
 * tuples with named fields (NamedTuple, dataclass, triton.aggregate), with methods, constructors
 * and base classes. An object cannot be changed, except by its constructor.
 */
#include "lang/lower_internal.h"

static const char *last_name(const Node *n) {
    if (n->kind == NODE_CALL) n = n->left;
    return n->kind == NODE_NAME || n->kind == NODE_ATTRIBUTE ? n->name : "";
}

static bool decorated(const Node *node, const char *name) {
    for (const Node *d = node->decorators; d; d = d->next)
        if (strcmp(last_name(d), name) == 0) return true;
    return false;
}

static bool makes_tuples(const Node *node) {
    for (const Node *b = node->items; b; b = b->next)
        if (strcmp(last_name(b), "NamedTuple") == 0) return true;
    for (const Node *d = node->decorators; d; d = d->next)
        if (strstr(last_name(d), "aggregate")) return true;
    return decorated(node, "dataclass");
}

static void add_fields(Lower *l, Class *c, const char *const *fields, uint32_t count) {
    const char **all = arena_array(l->arena, const char *, c->field_count + count + 1);
    if (c->field_count) memcpy(all, c->fields, c->field_count * sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < c->field_count; k++) known |= all[k] == fields[i];
        if (!known) all[c->field_count++] = fields[i];
    }
    c->fields = all;
}

Val class_val(Lower *l, FileScope *file, const Node *node) {
    Class *c = arena_new(l->arena, Class);
    *c = (Class){.name = node->name, .node = node, .file = file, .is_tuple = makes_tuples(node)};
    for (const Node *b = node->items; b; b = b->next) {
        Val base;
        if (b->kind != NODE_NAME || !file_item(file->file, b->name)) continue;
        if (!file_name(l, file, b->name, b->span, &base) || base.kind != VAL_CLASS) continue;
        c->base = base.klass;
        add_fields(l, c, base.klass->fields, base.klass->field_count);
    }
    for (const Node *s = node->body; s; s = s->next)
        if (s->kind == NODE_ANNOTATED && s->left->kind == NODE_NAME)
            add_fields(l, c, &s->left->name, 1);
    return (Val){.kind = VAL_CLASS, .klass = c};
}

bool class_method(Lower *l, const Class *c, const char *name, Val *method, bool *takes_self) {
    for (; c; c = c->base) {
        for (const Node *s = c->node ? c->node->body : NULL; s; s = s->next) {
            if (s->kind != NODE_FUNCTION || strcmp(s->name, name) != 0) continue;
            Function *f = arena_new(l->arena, Function);
            bool jit = decorated(s, "jit");
            *f = (Function){.name = s->name, .node = s, .file = c->file, .is_python = !jit};
            *method = (Val){.kind = VAL_FUNCTION, .function = f};
            *takes_self = !decorated(s, "staticmethod");
            return true;
        }
    }
    return false;
}

Val class_attribute(Lower *l, const Class *c, const char *name, const Node *node) {
    for (const Class *up = c; up; up = up->base) {
        for (const Node *s = up->node ? up->node->body : NULL; s; s = s->next) {
            bool assigned = s->kind == NODE_ASSIGN || s->kind == NODE_ANNOTATED;
            const Node *target = assigned ? (s->items ? s->items : s->left) : NULL;
            if (!target || target->kind != NODE_NAME || target->name != name || !s->right) continue;
            Function *f = arena_new(l->arena, Function);
            *f = (Function){.name = up->name, .file = up->file, .is_python = true};
            Frame frame = {.function = f, .scope = arena_new(l->arena, Scope), .up = l->frame};
            frame.site = l->frame->site;
            l->frame = &frame;
            Val v = lower_expression(l, s->right);
            l->frame = frame.up;
            return v;
        }
    }
    Val method;
    if (strcmp(name, "__name__") == 0) return val_string(c->name, strlen(c->name));
    bool takes_self;
    if (class_method(l, c, name, &method, &takes_self)) return method;
    if (l->checking) return val_unknown();
    return fail(l, node->op_span, "class `%s` has no `%s`", c->name, name);
}

Val tuple_with_field(Lower *l, Val tuple, const char *name, Val value) {
    const Class *c = tuple.named;
    for (uint32_t i = 0; i < tuple.count; i++) {
        if (c->fields[i] != name) continue;
        Val *items = arena_array(l->arena, Val, tuple.count);
        memcpy(items, tuple.items, tuple.count * sizeof *items);
        items[i] = value;
        tuple.items = items;
        return tuple;
    }
    return val_error();
}
