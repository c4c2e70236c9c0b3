/* list.c: which problems the seeds measured. */
#include "tools/seeds/seeds.h"

typedef struct Lister {
    Arena *arena;
    SeedRows *rows;
    bool quick, torch;
} Lister;

static SeedRow *add_row(Lister *list, const char *seed, const char *table, const char *label,
                        double x, SeedProblem problem) {
    SeedRow row = {.seed = seed, .table = table, .label = label, .x = x, .problem = problem};
    vec_push(list->arena, list->rows, row);
    return &list->rows->data[list->rows->length - 1];
}

static void add_series(SeedRow *row, const char *name, const char *backend) {
    row->series[row->series_count++] = (SeedSeries){.name = name, .backend = backend};
}

static void add_torch(const Lister *list, SeedRow *row, const char *name, const char *backend) {
    if (!list->torch) return;
    row->series[row->series_count++] =
        (SeedSeries){.name = name, .backend = backend, .torch = true};
}

/* ---- 004: layers ------------------------------------------------------------------------ */

static void list_layers(Lister *list) {
    const SeedProblem problems[] = {
        {.layer = SEED_LINEAR, .batch = 32, .in = 64, .out = 128},
        {.layer = SEED_LINEAR, .batch = 64, .in = 1024, .out = 2048},
        {.layer = SEED_LINEAR, .batch = 128, .in = 2048, .out = 4096},
        {.layer = SEED_CONV2D, .batch = 4, .in = 3, .length = 32, .kernel = 3, .out = 16},
        {.layer = SEED_CONV2D, .batch = 8, .in = 32, .length = 64, .kernel = 3, .out = 64},
        {.layer = SEED_CONV2D, .batch = 8, .in = 64, .length = 128, .kernel = 3, .out = 128},
        {.layer = SEED_MULTIHEAD, .batch = 16, .length = 32, .in = 64, .heads = 4},
        {.layer = SEED_MULTIHEAD, .batch = 32, .length = 64, .in = 128, .heads = 8},
        {.layer = SEED_MULTIHEAD, .batch = 32, .length = 128, .in = 256, .heads = 8},
        {.layer = SEED_SOFTMAX, .batch = 128, .in = 64},
        {.layer = SEED_SOFTMAX, .batch = 512, .in = 256},
        {.layer = SEED_SOFTMAX, .batch = 1024, .in = 512},
    };
    static const char *const names[] = {
        [SEED_LINEAR] = "nn.Linear",
        [SEED_CONV2D] = "nn.Conv2d",
        [SEED_MULTIHEAD] = "nn.MultiheadAttention",
        [SEED_SOFTMAX] = "nn.Softmax",
    };
    for (uint32_t first = 0; first < ARRAY_LENGTH(problems); first += 3)
        for (int backward = 0; backward < 2; backward++)
            for (uint32_t i = first; i < first + 3; i++) {
                SeedProblem p = problems[i];
                const char *label = "";
                p.backward = backward;
                p.dtype = TKC_F32;
                long long n = p.batch, in = p.in, out = p.out, length = p.length;
                switch (p.layer) {
                case SEED_LINEAR:
                    label = arena_printf(list->arena, "input=%lldx%lld, features=%lld", n, in, out);
                    break;
                case SEED_CONV2D:
                    label = arena_printf(list->arena,
                                         "input=%lldx%lldx%lldx%lld kernel=%lld channels=%lld", n,
                                         in, length, length, (long long)p.kernel, out);
                    break;
                case SEED_MULTIHEAD:
                    label =
                        arena_printf(list->arena, "input=%lldx%lldx%lld d_model=%lld n_heads=%lld",
                                     n, length, in, in, (long long)p.heads);
                    break;
                default: label = arena_printf(list->arena, "input=%lldx%lld dim=-1", n, in);
                }
                const char *table = arena_printf(list->arena, "%s, %s", names[p.layer],
                                                 backward ? "backward" : "forward");
                SeedRow *row = add_row(list, "004", table, label, 0, p);
                add_series(row, "tkc", NULL);
                add_torch(list, row, "torch", NULL);
            }
}

/* ---- 002: the benchmark of fused attention ---------------------------------------------- */

static void list_fused(Lister *list) {
    int last = list->quick ? 11 : 15;
    for (int backward = 0; backward < 2; backward++)
        for (int power = 10; power <= last; power++) {
            int64_t length = (int64_t)1 << power;
            SeedProblem p = {.layer = SEED_ATTENTION,
                             .dtype = TKC_F16,
                             .backward = backward,
                             .batch = 4,
                             .heads = 48,
                             .length = length,
                             .in = 64,
                             .causal = true};
            SeedRow *row = add_row(
                list, "002",
                arena_printf(list->arena,
                             "fused attention, batch 4, 48 heads of 64, f16, causal, %s",
                             backward ? "backward" : "forward"),
                arena_printf(list->arena, "N_CTX=%lld", (long long)length), (double)length, p);
            add_series(row, "tkc", "flash");
            add_torch(list, row, "torch", "default");
        }
}

/* ---- 001: backends; variable lengths ---------------------------------------------------- */

static void list_backends(Lister *list) {
    SeedProblem p = {.layer = SEED_ATTENTION,
                     .dtype = TKC_F16,
                     .batch = 32,
                     .heads = 32,
                     .length = 1024,
                     .in = 32};
    static const char *const backends[] = {"default", "math", "flash", "efficient"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(backends); i++) {
        SeedRow *row =
            add_row(list, "001", "scaled dot product attention (32, 32, 1024, 32), f16, by backend",
                    backends[i], 0, p);
        add_series(row, "tkc", backends[i]);
        add_torch(list, row, "torch", backends[i]);
    }
    SeedProblem block = {
        .layer = SEED_BLOCK, .dtype = TKC_F16, .batch = 32, .heads = 8, .length = 512, .in = 512};
    for (int varied = 1; varied >= 0; varied--) {
        block.varied = varied;
        SeedRow *row =
            add_row(list, "001", "self-attention block, 32 x 512 x 512, 8 heads, f16",
                    varied ? "variable lengths, half on average" : "all of full length", 0, block);
        add_series(row, "tkc", NULL);
        add_torch(list, row, "torch", NULL);
    }
}

/* ---- 000: ReLU and softmax attention ------------------------------------------------------ */

/* Lengths of the pictures; heads have 64 channels. */
static void list_embeds(Lister *list) {
    int64_t longest = list->quick ? 1024 : 4096;
    for (int64_t embed = 128; embed <= 1024; embed *= 2)
        for (int relu = 1; relu >= 0; relu--)
            for (int backward = 0; backward < 2; backward++)
                for (int64_t length = 128; length <= longest; length *= 2) {
                    SeedProblem p = {.layer = SEED_ATTENTION,
                                     .dtype = TKC_F32,
                                     .backward = backward,
                                     .batch = 1,
                                     .heads = embed / 64,
                                     .length = length,
                                     .in = 64,
                                     .relu = relu};
                    SeedRow *row = add_row(
                        list, "000",
                        arena_printf(list->arena, "attention embed=%lld %s, %s", (long long)embed,
                                     relu ? "ReLU" : "SoftMax", backward ? "backward" : "forward"),
                        arena_printf(list->arena, "length=%lld", (long long)length), (double)length,
                        p);
                    add_series(row, "tkc flash", "flash");
                    add_series(row, "tkc math", "math");
                    add_torch(list, row, relu ? "torch unfused" : "torch sdpa", "default");
                }
}

/* ---- memory by length --------------------------------------------------------------------- */

static void list_memory(Lister *list) {
    for (int backward = 0; backward < 2; backward++)
        for (int64_t length = 1024; length <= (list->quick ? 8192 : 16384); length *= 2) {
            SeedProblem p = {.layer = SEED_ATTENTION,
                             .dtype = TKC_F16,
                             .backward = backward,
                             .batch = 1,
                             .heads = 1,
                             .length = length,
                             .in = 64};
            SeedRow *row = add_row(
                list, "memory",
                arena_printf(list->arena, "extra memory of attention, one head of 64, f16, %s",
                             backward ? "backward" : "forward"),
                arena_printf(list->arena, "length=%lld", (long long)length), (double)length, p);
            add_series(row, "tkc flash", "flash");
            add_series(row, "tkc math", "math");
        }
}

bool seed_list(Arena *arena, bool quick, bool torch, const char *only, SeedRows *rows) {
    Lister list = {arena, rows, quick, torch};
    bool some = false;
    list_layers(&list);
    list_backends(&list);
    list_memory(&list);
    list_embeds(&list);
    list_fused(&list);
    for (uint32_t i = 0; i < rows->length; i++)
        some |= rows->data[i].wanted = !only || strcasestr(rows->data[i].table, only);
    return some;
}
