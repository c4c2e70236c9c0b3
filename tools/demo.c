/* demo.c: the program behind tools/demo. It compiles the fused attention kernels, of 2022 and of
 * today, runs them forward and backward on the problem their tutorial tested with, and compares
 * what they give with float64.
 *
 * One line says what is going on at each moment; a table comes last. Exit status 0 when all
 * results are within the allowed error, 1 when not or when something failed, 2 for wrong usage, 3
 * when there is no such device.
 */
#include "kernels/kernels.h"
#include "tests/reference.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { Z = 3, H = 2, N_CTX = 2048, D_HEAD = 64 };
enum { ROWS = Z * H * N_CTX, COUNT = ROWS * D_HEAD };
static const double scale = 0.3;
static const double forward_flops = 4.0 * Z * H * N_CTX * N_CTX * D_HEAD / 2; /* causal: half */

enum { O, DQ, DK, DV, RESULTS };
static const char *const result_names[RESULTS] = {"O", "dQ", "dK", "dV"};

typedef struct Demo {
    tkc_context *context;
    tkc_device *device;
    tkk_library *library;
    tkc_event *start, *stop;
    double *q, *k, *v, *dout;
    double *want[RESULTS];
    uint64_t seed;
} Demo;

/* One kernel file at one dtype: how far off its results are, and how long it took. */
typedef struct Line {
    const char *file;
    ReferenceType type;
    double allowed, error[RESULTS], forward_ms, backward_ms;
} Line;

/* ---- small things ----------------------------------------------------------------------- */

static _Noreturn void fail(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("tkc-demo: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

static void must(tkc_status status, const char *what) {
    if (status != TKC_OK)
        fail(status == TKC_NO_DEVICE || status == TKC_NOT_FOUND ? 3 : 1, "%s: %s", what,
             tkc_last_error());
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void announce(const char *format, ...) {
    char line[160];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    printf("%-58s", line);
    fflush(stdout);
}

static void print_time(double milliseconds) {
    if (milliseconds < 1000)
        printf("%9.2f ms\n", milliseconds);
    else
        printf("%9.2f s\n", milliseconds / 1000);
    fflush(stdout);
}

static void print_compiled(void *user, const tkc_compile_event *event) {
    (void)user;
    char line[160];
    snprintf(line, sizeof line, "compiled %s::%s for %s", event->path, event->kernel,
             event->target);
    printf("%-58s", line);
    print_time(event->milliseconds);
}

static double *numbers(int64_t n) {
    double *to = malloc((size_t)n * sizeof *to);
    if (!to) fail(1, "out of memory");
    return to;
}

/* ---- the problem, and its answer in float64 ---------------------------------------------------
 */

static void make_problem(Demo *demo) {
    Random random = random_from_seed(demo->seed);
    double **inputs[] = {&demo->q, &demo->k, &demo->v, &demo->dout};
    for (int i = 0; i < 4; i++) {
        *inputs[i] = numbers(COUNT);
        random_fill(&random, REF_F16, i < 3 ? 0.5 : 1.0, *inputs[i], COUNT);
    }
}

static void make_reference(Demo *demo) {
    for (int i = 0; i < RESULTS; i++) demo->want[i] = numbers(COUNT);
    double *lse = numbers(ROWS), start = seconds();
    announce("reference in float64, forward and backward");
    ReferenceAttention reference = {
        .batch = Z,
        .heads = H,
        .kv_heads = H,
        .q_length = N_CTX,
        .kv_length = N_CTX,
        .dim = D_HEAD,
        .causal = true,
        .scale = scale,
        .q = demo->q,
        .k = demo->k,
        .v = demo->v,
        .dout = demo->dout,
        .out = demo->want[O],
        .lse = lse,
        .dq = demo->want[DQ],
        .dk = demo->want[DK],
        .dv = demo->want[DV],
    };
    reference_attention(&reference);
    print_time(1000 * (seconds() - start));
    free(lse);
}

/* ---- tensors on the device --------------------------------------------------------------------
 */

static tkc_dtype dtype_of(ReferenceType type) {
    return type == REF_F16 ? TKC_F16 : TKC_F32;
}

/* [Z, H, N_CTX, D_HEAD] with these values, or poisoned. */
static tkk_tensor tensor4(Demo *demo, const char *name, ReferenceType type, const double *values) {
    tkc_buffer *buffer;
    uint64_t size = (uint64_t)COUNT * reference_size(type);
    must(tkc_buffer_create(demo->device, size, name, &buffer), name);
    if (values) {
        void *image = malloc(size);
        if (!image) fail(1, "out of memory");
        for (int64_t i = 0; i < COUNT; i++) reference_store(type, image, i, values[i]);
        must(tkc_buffer_write(buffer, 0, image, size), name);
        free(image);
    } else {
        must(tkc_buffer_poison(buffer), name);
    }
    return tkk_tensor4(tkc_arg_buffer(buffer), dtype_of(type), Z, H, N_CTX, D_HEAD);
}

static tkk_tensor tensor3(Demo *demo, const char *name) {
    tkc_buffer *buffer;
    must(tkc_buffer_create(demo->device, (uint64_t)ROWS * 4, name, &buffer), name);
    must(tkc_buffer_poison(buffer), name);
    return tkk_tensor3(tkc_arg_buffer(buffer), TKC_F32, Z, H, N_CTX);
}

static void zero(const tkk_tensor *tensor) {
    const uint64_t nothing = 0;
    tkc_buffer *buffer = tensor->data.value.buffer;
    must(tkc_buffer_fill(buffer, 0, tkc_buffer_size(buffer), &nothing, 8), "clearing dQ");
}

static void drop(tkk_tensor *tensor) {
    tkc_buffer_destroy(tensor->data.value.buffer);
}

/* Largest distance from the reference; a NaN counts as infinite. */
static double error_of(const tkk_tensor *tensor, const double *want) {
    ReferenceType type = tensor->dtype == TKC_F16 ? REF_F16 : REF_F32;
    tkc_buffer *buffer = tensor->data.value.buffer;
    uint64_t size = tkc_buffer_size(buffer);
    void *image = malloc(size);
    if (!image) fail(1, "out of memory");
    must(tkc_buffer_read(buffer, 0, image, size), "reading a result");
    double worst = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        double error = fabs(reference_load(type, image, i) - want[i]);
        worst = error <= worst ? worst : isnan(error) ? INFINITY : error;
    }
    free(image);
    return worst;
}

/* ---- running --------------------------------------------------------------------------------- */

typedef tkc_status (*Pass)(tkk_library *library, tkc_stream *stream, const void *problem);

/* Runs a pass, on a fast device a few times, and returns the best time in milliseconds. `clear` is
 * set to zero before each run. */
static double time_pass(Demo *demo, Pass pass, const void *problem, const tkk_tensor *clear,
                        const char *what) {
    double best = INFINITY, spent = 0;
    announce("%s on %s", what, tkc_device_name(demo->device));
    for (int run = 0; run < 20 && spent < 200; run++) {
        double milliseconds;
        if (clear) zero(clear);
        must(tkc_event_record(demo->start, NULL), what);
        must(pass(demo->library, NULL, problem), what);
        must(tkc_event_record(demo->stop, NULL), what);
        must(tkc_event_synchronize(demo->stop), what);
        must(tkc_event_elapsed_ms(demo->start, demo->stop, &milliseconds), what);
        best = fmin(best, milliseconds);
        spent += milliseconds;
    }
    print_time(best);
    return best;
}

static tkc_status forward(tkk_library *library, tkc_stream *stream, const void *problem) {
    return tkk_attention_forward(library, stream, problem);
}

static tkc_status backward(tkk_library *library, tkc_stream *stream, const void *problem) {
    return tkk_attention_backward(library, stream, problem);
}

static tkc_status forward_2022(tkk_library *library, tkc_stream *stream, const void *problem) {
    return tkk_attention_2022_forward(library, stream, problem);
}

static tkc_status backward_2022(tkk_library *library, tkc_stream *stream, const void *problem) {
    return tkk_attention_2022_backward(library, stream, problem);
}

/* What is run in turn: tensors first, so that all kernels are compiled before anything runs. */
static void prepare_today(Demo *demo, tkk_attention *p, ReferenceType type) {
    *p = (tkk_attention)TKK_ATTENTION_INIT;
    p->mask = TKK_CAUSAL;
    p->precision = TKK_IEEE;
    p->scale = (float)scale;
    p->q = tensor4(demo, "q", type, demo->q);
    p->k = tensor4(demo, "k", type, demo->k);
    p->v = tensor4(demo, "v", type, demo->v);
    p->dout = tensor4(demo, "dout", type, demo->dout);
    p->out = tensor4(demo, "out", type, NULL);
    p->dq = tensor4(demo, "dq", type, NULL);
    p->dk = tensor4(demo, "dk", type, NULL);
    p->dv = tensor4(demo, "dv", type, NULL);
    p->lse = tensor3(demo, "lse");
    p->delta = tensor3(demo, "delta");
    p->compile_only = true;
    must(tkk_attention_forward(demo->library, NULL, p), "compiling attention.tk");
    must(tkk_attention_backward(demo->library, NULL, p), "compiling attention.tk");
    p->compile_only = false;
}

static void run_today(Demo *demo, tkk_attention *p, Line *line) {
    const char *type = line->type == REF_F16 ? "fp16" : "fp32";
    char what[64];
    snprintf(what, sizeof what, "attention.tk %s, forward", type);
    line->forward_ms = time_pass(demo, forward, p, NULL, what);
    snprintf(what, sizeof what, "attention.tk %s, backward", type);
    line->backward_ms = time_pass(demo, backward, p, NULL, what);
    const tkk_tensor *results[RESULTS] = {&p->out, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < RESULTS; i++) line->error[i] = error_of(results[i], demo->want[i]);
    tkk_tensor *all[] = {&p->q,  &p->k,  &p->v,  &p->dout, &p->out,
                          &p->dq, &p->dk, &p->dv, &p->lse,  &p->delta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
}

static void prepare_2022(Demo *demo, tkk_attention_2022 *p) {
    *p = (tkk_attention_2022)TKK_ATTENTION_2022_INIT;
    p->scale = (float)scale;
    p->q = tensor4(demo, "Q", REF_F16, demo->q);
    p->k = tensor4(demo, "K", REF_F16, demo->k);
    p->v = tensor4(demo, "V", REF_F16, demo->v);
    p->dout = tensor4(demo, "DO", REF_F16, demo->dout);
    p->out = tensor4(demo, "Out", REF_F16, NULL);
    p->new_dout = tensor4(demo, "NewDO", REF_F16, NULL);
    p->dq = tensor4(demo, "DQ", REF_F32, NULL);
    p->dk = tensor4(demo, "DK", REF_F16, NULL);
    p->dv = tensor4(demo, "DV", REF_F16, NULL);
    p->tmp = tensor3(demo, "TMP");
    p->l = tensor3(demo, "L");
    p->m = tensor3(demo, "M");
    p->delta = tensor3(demo, "Delta");
    p->compile_only = true;
    must(tkk_attention_2022_forward(demo->library, NULL, p), "compiling attention_2022.tk");
    must(tkk_attention_2022_backward(demo->library, NULL, p), "compiling attention_2022.tk");
    p->compile_only = false;
}

static void run_2022(Demo *demo, tkk_attention_2022 *p, Line *line) {
    line->forward_ms = time_pass(demo, forward_2022, p, NULL, "attention_2022.tk, forward");
    line->backward_ms = time_pass(demo, backward_2022, p, &p->dq, "attention_2022.tk, backward");
    const tkk_tensor *results[RESULTS] = {&p->out, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < RESULTS; i++) line->error[i] = error_of(results[i], demo->want[i]);
    tkk_tensor *all[] = {&p->q,  &p->k,  &p->v,   &p->dout, &p->out, &p->new_dout, &p->dq,
                          &p->dk, &p->dv, &p->tmp, &p->l,    &p->m,   &p->delta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
}

/* ---- the table ---------------------------------------------------------------------------------
 */

static bool print_table(const Demo *demo, const Line *lines, size_t count) {
    bool good = true;
    printf("\n%-18s %-6s %-5s %-4s %10s %9s  %-8s %10s %9s\n", "kernel", "device", "dtype", "",
           "max error", "allowed", "pass", "ms", "GFLOP/s");
    for (size_t i = 0; i < count; i++) {
        const Line *line = &lines[i];
        for (int r = 0; r < RESULTS; r++) {
            bool within = line->error[r] <= line->allowed;
            good = good && within;
            printf("%-18s %-6s %-5s %-4s %10.2e %9.0e", r == 0 ? line->file : "",
                   r == 0 ? tkc_device_name(demo->device) : "",
                   r > 0                   ? ""
                   : line->type == REF_F16 ? "fp16"
                                           : "fp32",
                   result_names[r], line->error[r], line->allowed);
            /* forward makes O; backward makes the other three and does 2.5 times the work */
            if (r <= DQ) {
                double ms = r == O ? line->forward_ms : line->backward_ms;
                printf("  %-8s %10.2f %9.1f", r == O ? "forward" : "backward", ms,
                       forward_flops * (r == O ? 1 : 2.5) / (ms * 1e6));
            }
            printf("%s\n", within ? "" : "  TOO LARGE");
        }
    }
    return good;
}

static void print_help(void) {
    puts("usage: tkc-demo [--device NAME] [--seed N]\n"
         "\n"
         "Compiles the fused attention kernels (attention_2022.tk, attention.tk), runs them "
         "forward\n"
         "and backward on a test problem, and compares O, dQ, dK and dV with float64.\n"
         "\n"
         "  --device NAME  interp, cpu, cuda, emu ... (`tkc devices` lists them); default: the "
         "best\n"
         "  --seed N       of the random inputs; default 20\n"
         "  --help         this text\n"
         "\n"
         "Exit status: 0 all results are within the allowed error, 1 not so, 2 wrong usage, 3 no\n"
         "such device.");
}

int main(int argc, char **argv) {
    Demo demo = {.seed = 20};
    const char *device_name = "auto";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
        if (strcmp(argv[i], "--device") != 0 && strcmp(argv[i], "--seed") != 0)
            fail(2, "unknown argument \"%s\"; try --help", argv[i]);
        if (!value) fail(2, "%s needs a value; try --help", argv[i]);
        if (!strcmp(argv[i], "--device")) {
            device_name = value;
        } else {
            char *end;
            demo.seed = strtoull(value, &end, 0);
            if (!*value || *end) fail(2, "--seed needs a number, not \"%s\"", value);
        }
        i++;
    }

    double start = seconds();
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.compiled = print_compiled;
    must(tkc_context_create(&options, &demo.context), "starting");
    must(tkc_device_open(demo.context, device_name, &demo.device), "opening the device");
    must(tkk_create(demo.context, demo.device, &demo.library), "starting");
    must(tkc_event_create(demo.device, &demo.start), "starting");
    must(tkc_event_create(demo.device, &demo.stop), "starting");
    printf("fused causal attention, Z=%d H=%d N_CTX=%d D_HEAD=%d, scale %g, device %s, seed %llu\n",
           Z, H, N_CTX, D_HEAD, scale, tkc_device_name(demo.device), (unsigned long long)demo.seed);

    Line lines[] = {
        {.file = "attention_2022.tk", .type = REF_F16, .allowed = 1e-2},
        {.file = "attention.tk", .type = REF_F16, .allowed = 1e-2},
        {.file = "attention.tk", .type = REF_F32, .allowed = 1e-4},
    };
    tkk_attention_2022 old;
    tkk_attention today[2];
    make_problem(&demo);
    prepare_2022(&demo, &old);
    prepare_today(&demo, &today[0], REF_F16);
    prepare_today(&demo, &today[1], REF_F32);
    make_reference(&demo);
    run_2022(&demo, &old, &lines[0]);
    run_today(&demo, &today[0], &lines[1]);
    run_today(&demo, &today[1], &lines[2]);
    bool good = print_table(&demo, lines, sizeof lines / sizeof *lines);
    printf("\n%s, %.1f s in all\n",
           good ? "all results are within the allowed error" : "NOT all results are right",
           seconds() - start);

    tkc_event_destroy(demo.start);
    tkc_event_destroy(demo.stop);
    tkk_destroy(demo.library);
    tkc_device_destroy(demo.device);
    tkc_context_destroy(demo.context);
    double *all[] = {demo.q, demo.k, demo.v, demo.dout};
    for (int i = 0; i < 4; i++) {
        free(all[i]);
        free(demo.want[i]);
    }
    return good ? 0 : 1;
}
