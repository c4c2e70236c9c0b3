/* random_kernel.h: random kernels as text. Loops carry values in any order, ifs give them, views
 * share them; what is in sight at the end is stored, 8 values of each kind.
 *
 * The kernel takes (y: *i32, z: *f32, n: i32), and writes row k of OUT_ROW elements of y (f32: z)
 * for value k. */
#ifndef TKC_TESTS_RANDOM_KERNEL_H
#define TKC_TESTS_RANDOM_KERNEL_H

#include "tests/interp_test.h"

enum { KINDS = 6, MOST = 4000, OUT_ROW = 256 };
static const char *const kinds[KINDS] = {"i32",      "16xi32",    "16x16xi32",
                                         "16x1xi32", "16x16xf32", "256xi32"};

typedef struct Maker {
    Text text;
    uint64_t seed;
    uint32_t next;                            /* value number */
    uint32_t live[KINDS][MOST], count[KINDS]; /* values in sight, by kind */
    uint32_t ops;                             /* left to make */
} Maker;

static uint32_t draw(Maker *m, uint32_t n) {
    return random_next(&m->seed) % n;
}
/* A value in sight; mostly one of the newest, so that carried values meet. */
static uint32_t any(Maker *m, uint32_t kind) {
    const uint32_t count = m->count[kind], newest = count < 4 ? count : 4;
    return m->live[kind][draw(m, 4) ? count - 1 - draw(m, newest) : draw(m, count)];
}

static uint32_t define(Maker *m, uint32_t kind) {
    m->live[kind][m->count[kind]++] = m->next;
    return m->next++;
}

static void make_constant(Maker *m, uint32_t kind) {
    const bool real = kind == 4;
    text_printf(&m->text, "%%%u: %s = constant {value = %u%s}\n", m->next, kinds[kind], draw(m, 9),
                real ? ".0" : "");
    define(m, kind);
}

/* Rows whose elements all differ, as 16, as 256 and as 16x16. */
static void make_ranges(Maker *m) {
    text_printf(&m->text, "%%%u: 16xi32 = arange {start = 3, end = 19}\n", m->next);
    define(m, 1);
    text_printf(&m->text, "%%%u: 256xi32 = arange {start = 0, end = 256}\n", m->next);
    text_printf(&m->text, "%%%u: 16x16xi32 = reshape %%%u\n", m->next + 1, m->next);
    define(m, 5);
    define(m, 2);
}

static void make_binary(Maker *m, uint32_t kind) {
    static const char *const names[] = {"add", "sub", "mul", "xor", "min", "max", "and", "or"};
    if (kind == 4) return;
    const uint32_t a = any(m, kind), b = any(m, kind);
    text_printf(&m->text, "%%%u: %s = %s %%%u, %%%u\n", m->next, kinds[kind], names[draw(m, 8)], a,
                b);
    define(m, kind);
}

static void make_from(Maker *m, const char *op, uint32_t from, uint32_t to,
                      const char *attributes) {
    text_printf(&m->text, "%%%u: %s = %s %%%u %s\n", m->next, kinds[to], op, any(m, from),
                attributes);
    define(m, to);
}

static void make_reduce(Maker *m, uint32_t from, uint32_t to, uint32_t axis) {
    const uint32_t n = m->next;
    text_printf(&m->text,
                "%%%u: %s = reduce %%%u {axis = %u} (%%%u: i32, %%%u: i32) {\n"
                "%%%u: i32 = add %%%u, %%%u\n%s",
                n, kinds[to], any(m, from), axis, n + 1, n + 2, n + 3, n + 1, n + 2, "");
    if (draw(m, 2))
        text_printf(&m->text, "yield %%%u\n}\n", n + 3);
    else /* a region with a value from outside: one element at a time */
        text_printf(&m->text,
                    "%%%u: i32 = xor %%%u, %%%u\n%%%u: i32 = xor %%%u, %%%u\nyield %%%u\n}\n",
                    n + 4, n + 3, m->live[0][0], n + 5, n + 4, m->live[0][0], n + 5);
    m->next += 6;
    m->live[to][m->count[to]++] = n;
}

/* Of small whole numbers; at times of sums of products, which round, but in a fixed order. */
static void make_dot(Maker *m) {
    const uint32_t n = m->next;
    text_printf(&m->text,
                "%%%u: 16x16xi32 = constant {value = 3}\n%%%u: 16x16xi32 = and %%%u, %%%u\n"
                "%%%u: 16x16xf32 = cast %%%u\n"
                "%%%u: 16x16xf32 = dot %%%u, %%%u, %%%u {precision = ieee}\n",
                n, n + 1, any(m, 2), n, n + 2, n + 1, n + 3, draw(m, 4) ? n + 2 : any(m, 4), n + 2,
                any(m, 4));
    m->next += 3;
    define(m, 4);
}

static void make_ops(Maker *m, uint32_t depth);

typedef struct Carried {
    uint32_t kinds[6], count;
} Carried;

static Carried draw_carried(Maker *m) {
    Carried c = {.count = draw(m, 6)};
    const uint32_t often = draw(m, KINDS); /* several of one kind can change places */
    for (uint32_t i = 0; i < c.count; i++) c.kinds[i] = draw(m, 2) ? often : draw(m, KINDS);
    return c;
}

/* name: "for 1, 2, 3" and the like; the values that go in, or come out, follow. */
static void list_values(Maker *m, const Carried *c, bool comma) {
    for (uint32_t i = 0; i < c->count; i++)
        text_printf(&m->text, "%s%%%u", i || comma ? ", " : " ", any(m, c->kinds[i]));
}

static uint32_t list_results(Maker *m, const Carried *c) {
    const uint32_t first = m->next;
    for (uint32_t i = 0; i < c->count; i++)
        text_printf(&m->text, "%s%%%u: %s", i ? ", " : "", first + i, kinds[c->kinds[i]]);
    text_puts(&m->text, c->count ? " = " : "");
    m->next += c->count;
    return first;
}

static void show_results(Maker *m, const Carried *c, uint32_t first) {
    for (uint32_t i = 0; i < c->count; i++)
        m->live[c->kinds[i]][m->count[c->kinds[i]]++] = first + i;
}

static void make_body(Maker *m, const Carried *c, uint32_t depth) {
    uint32_t before[KINDS];
    memcpy(before, m->count, sizeof before);
    make_ops(m, depth + 1);
    text_puts(&m->text, "yield");
    list_values(m, c, false);
    text_puts(&m->text, "\n}");
    memcpy(m->count, before, sizeof before);
}

static void make_for(Maker *m, uint32_t depth) {
    const Carried c = draw_carried(m);
    uint32_t before[KINDS];
    const uint32_t bounds = m->next;
    text_printf(&m->text,
                "%%%u: i32 = constant {value = %u}\n%%%u: i32 = constant {value = %u}\n"
                "%%%u: i32 = constant {value = 1}\n",
                bounds, draw(m, 2), bounds + 1, draw(m, 4), bounds + 2);
    m->next += 3;
    const uint32_t first = list_results(m, &c);
    text_printf(&m->text, "for %%%u, %%%u, %%%u", bounds, bounds + 1, bounds + 2);
    list_values(m, &c, true);
    memcpy(before, m->count, sizeof before);
    text_printf(&m->text, " (%%%u: i32", m->next);
    define(m, 0);
    for (uint32_t i = 0; i < c.count; i++) {
        text_printf(&m->text, ", %%%u: %s", m->next, kinds[c.kinds[i]]);
        define(m, c.kinds[i]);
    }
    text_puts(&m->text, ") {\n");
    make_body(m, &c, depth);
    text_puts(&m->text, "\n");
    memcpy(m->count, before, sizeof before);
    show_results(m, &c, first);
}

static void make_if(Maker *m, uint32_t depth) {
    const Carried c = draw_carried(m);
    const uint32_t condition = m->next++;
    text_printf(&m->text, "%%%u: i1 = lt %%%u, %%%u\n", condition, any(m, 0), any(m, 0));
    const uint32_t first = list_results(m, &c);
    text_printf(&m->text, "if %%%u {\n", condition);
    make_body(m, &c, depth);
    text_puts(&m->text, " else {\n");
    make_body(m, &c, depth);
    text_puts(&m->text, "\n");
    show_results(m, &c, first);
}

/* Counts down from below 4; the count is the last value carried, and stays inside. */
static void make_while(Maker *m, uint32_t depth) {
    Carried c = draw_carried(m);
    uint32_t before[KINDS], arguments[6];
    const uint32_t three = m->next++, start = m->next++, zero = m->next++, one = m->next++;
    text_printf(&m->text,
                "%%%u: i32 = constant {value = 3}\n%%%u: i32 = and %%%u, %%%u\n"
                "%%%u: i32 = constant {value = 0}\n%%%u: i32 = constant {value = 1}\n",
                three, start, any(m, 0), three, zero, one);
    const uint32_t first = m->next;
    for (uint32_t i = 0; i < c.count; i++)
        text_printf(&m->text, "%%%u: %s, ", first + i, kinds[c.kinds[i]]);
    m->next += c.count + 1;
    text_printf(&m->text, "%%%u: i32 = while", m->next - 1);
    list_values(m, &c, false);
    text_printf(&m->text, "%s%%%u (", c.count ? ", " : " ", start);
    memcpy(before, m->count, sizeof before);
    for (uint32_t i = 0; i < c.count; i++) {
        arguments[i] = define(m, c.kinds[i]);
        text_printf(&m->text, "%%%u: %s, ", arguments[i], kinds[c.kinds[i]]);
    }
    const uint32_t left = m->next++, more = m->next++;
    text_printf(&m->text, "%%%u: i32) {\n%%%u: i1 = gt %%%u, %%%u\ncondition %%%u", left, more,
                left, zero, more);
    list_values(m, &c, true);
    text_printf(&m->text, ", %%%u\n} (", left);
    memcpy(m->count, before, sizeof before);
    for (uint32_t i = 0; i < c.count; i++)
        text_printf(&m->text, "%%%u: %s, ", define(m, c.kinds[i]), kinds[c.kinds[i]]);
    const uint32_t count = m->next++, fewer = m->next++;
    text_printf(&m->text, "%%%u: i32) {\n%%%u: i32 = sub %%%u, %%%u\n", count, fewer, count, one);
    make_ops(m, depth + 1);
    text_puts(&m->text, "yield");
    list_values(m, &c, false);
    text_printf(&m->text, "%s%%%u\n}\n", c.count ? ", " : " ", fewer);
    memcpy(m->count, before, sizeof before);
    show_results(m, &c, first);
}

static void make_ops(Maker *m, uint32_t depth) {
    for (uint32_t n = 2 + draw(m, 10); n > 0 && m->ops > 0; n--) {
        m->ops--;
        switch (draw(m, depth < 4 ? 16 : 13)) {
        case 0: draw(m, 2) ? make_constant(m, draw(m, KINDS)) : make_ranges(m); break;
        case 1: make_from(m, "splat", 0, 1 + draw(m, 2), ""); break;
        case 2: make_from(m, "broadcast", 3, 2, ""); break;
        case 3: make_from(m, "expand_dims", 1, 3, "{axis = 1}"); break;
        case 4: make_from(m, "permute", 2, 2, "{order = [1, 0]}"); break;
        case 5: make_from(m, "reshape", 2, 5, ""); break;
        case 6: make_from(m, "reshape", 5, 2, ""); break;
        case 7: make_reduce(m, 2, 1, draw(m, 2)); break;
        case 8: make_reduce(m, 1, 0, 0); break;
        case 9: make_dot(m); break;
        case 13: make_for(m, depth); break;
        case 14: make_if(m, depth); break;
        case 15: make_while(m, depth); break;
        default: make_binary(m, draw(m, KINDS));
        }
    }
}

/* Stores up to 8 values of each kind. */
static uint32_t make_stores(Maker *m) {
    uint32_t row = 0;
    for (uint32_t kind = 0; kind < KINDS; kind++)
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t v = any(m, kind), n = m->next, count = shape_count(kinds[kind]);
            const char *shape = kinds[kind], *p = kind == 4 ? "z" : "y";
            const int extent = (int)(strlen(shape) - 3); /* "16x16x" of "16x16xf32" */
            m->next += 6;
            text_printf(&m->text,
                        "%%%u: i32 = constant {value = %u}\n%%%u: *%s = offset %%%s, %%%u\n", n,
                        row++ * OUT_ROW, n + 1, shape + extent, p, n);
            if (kind == 0) {
                text_printf(&m->text, "store %%%u, %%%u\n", n + 1, v);
                continue;
            }
            text_printf(&m->text,
                        "%%%u: %uxi32 = arange {start = 0, end = %u}\n"
                        "%%%u: %.*si32 = reshape %%%u\n%%%u: %.*s*%s = splat %%%u\n"
                        "%%%u: %.*s*%s = offset %%%u, %%%u\nstore %%%u, %%%u\n",
                        n + 2, count, count, n + 3, extent, shape, n + 2, n + 4, extent, shape,
                        shape + extent, n + 1, n + 5, extent, shape, shape + extent, n + 4, n + 3,
                        n + 5, v);
        }
    return row;
}

static const char *make_kernel(Context *context, uint64_t seed) {
    Maker *m = arena_new(&context->arena, Maker);
    m->text.arena = &context->arena;
    m->seed = seed;
    m->next = 1;
    m->ops = 150;
    text_puts(&m->text, "kernel @test(y: *i32, z: *f32, n: i32) {num_warps = 4, num_stages = 3, "
                        "num_ctas = 1} {\n%100000: i32 = add %n, %n\n");
    m->live[0][m->count[0]++] = 100000;
    for (uint32_t kind = 0; kind < KINDS; kind++) make_constant(m, kind);
    make_ranges(m);
    while (m->ops > 0) make_ops(m, 0);
    make_stores(m);
    text_puts(&m->text, "return\n}\n");
    return m->text.data;
}

enum { OUT = KINDS * 8 * OUT_ROW }; /* elements that the stores reach */

#endif
