/* tkbench_compile.c: what compiling for a GPU takes: text to PTX in a process whose library has not
 * compiled before, in the configurations that the hosts of kernels/ choose; and a whole run of tkc.
 *
 * A sample is a child of this process, which itself compiles nothing for a GPU: so LLVM starts anew
 * each time. No ptxas, no cache.
 */
#include "tools/tkbench.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/host.h"

KERNEL_TEXT(vector_add);

extern char **environ;

/* ---- one kernel, compiled by its host -------------------------------------------------------- */

typedef enum Part { PART_TOTAL, PART_LOWER, PART_PASSES, PART_CODE, PART_COUNT } Part;

typedef struct Times {
    const char *kernel; /* the one to time */
    double ms[PART_COUNT];
    bool found;
} Times;

static void take_times(void *user, const tkc_compile_event *event) {
    Times *times = user;
    if (strcmp(event->kernel, times->kernel) != 0 || event->status != TKC_OK) return;
    times->ms[PART_TOTAL] = event->milliseconds;
    times->ms[PART_LOWER] = event->lower_ms;
    times->ms[PART_PASSES] = event->passes_ms;
    times->ms[PART_CODE] = event->code_ms;
    times->found = true;
}

/* Calls a host for tensors at this address, which is read by small launches only. */
typedef tkc_status Host(tkk_library *library, tkc_argument memory);

static tkc_status call_vector_add(tkk_library *library, tkc_argument memory) {
    tkk_tensor x = tkk_vector(memory, TKC_F32, 1024);
    return tkk_vector_add(library, NULL, &x, &x, &x);
}

static tkc_status call_softmax(tkk_library *library, tkc_argument memory) {
    tkk_tensor x = tkk_matrix(memory, TKC_F32, 1, 1024);
    return tkk_softmax_forward(library, NULL, &x, &x, NULL);
}

static tkc_status call_matmul(tkk_library *library, tkc_argument memory) {
    tkk_matmul_options options = TKK_MATMUL_OPTIONS_INIT;
    tkk_tensor a = tkk_matrix(memory, TKC_F16, 4096, 4096);
    options.compile_only = true;
    return tkk_matmul(library, NULL, &a, &a, &a, &options);
}

static tkc_status call_attention(tkk_library *library, tkc_argument memory, bool backward) {
    tkk_attention p = TKK_ATTENTION_INIT;
    p.compile_only = true;
    p.q = p.k = p.v = p.out = p.dout = p.dq = p.dk = p.dv =
        tkk_tensor4(memory, TKC_F16, 4, 16, 4096, 64);
    p.lse = p.delta = tkk_tensor3(memory, TKC_F32, 4, 16, 4096);
    return backward ? tkk_attention_backward(library, NULL, &p)
                    : tkk_attention_forward(library, NULL, &p);
}

static tkc_status call_forward(tkk_library *library, tkc_argument memory) {
    return call_attention(library, memory, false);
}

static tkc_status call_backward(tkk_library *library, tkc_argument memory) {
    return call_attention(library, memory, true);
}

/* ---- a sample -------------------------------------------------------------------------------- */

/* The child: compiles and writes its Times. */
static void compile_in_child(int out, const char *device_name, const char *kernel, Host *host) {
    Times times = {.kernel = kernel};
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    tkc_context *context;
    tkc_device *device;
    tkk_library *library;
    tkc_buffer *buffer;
    static const uint32_t zero = 0;
    options.user = &times;
    options.compiled = take_times;
    options.cache_folder = "";
    tkc_status status = tkc_context_create(&options, &context);
    if (status == TKC_OK) status = tkc_device_open(context, device_name, &device);
    if (status == TKC_OK) status = tkk_create(context, device, &library);
    if (status == TKC_OK) status = tkc_buffer_create(device, 4096, "memory", &buffer);
    if (status == TKC_OK) status = tkc_buffer_fill(buffer, 0, 4096, &zero, 4);
    if (status == TKC_OK) status = host(library, tkc_arg_buffer(buffer));
    if (status != TKC_OK) tool_error("%s", tkc_last_error());
    if (write(out, &times, sizeof times) != (ssize_t)sizeof times) _exit(1);
    _exit(0);
}

static tkc_status sample_once(const char *device, const char *kernel, Host *host, Times *times) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) return tkc_fail(TKC_IO, "no pipe can be made");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) compile_in_child(ends[1], device, kernel, host);
    close(ends[1]);
    bool good = child > 0 && read(ends[0], times, sizeof *times) == (ssize_t)sizeof *times;
    close(ends[0]);
    if (child > 0) waitpid(child, NULL, 0);
    return good && times->found ? TKC_OK : tkc_fail(TKC_INTERNAL, "`%s` did not compile", kernel);
}

static tkc_status sample(Bench *bench, Samples *samples, const char *kernel, Host *host,
                         Part part) {
    const char *device = tkc_device_name(bench->device);
    if (strncmp(device, "emu", 3) != 0) device = "emu:sm_80";
    samples->wanted = bench->quick ? 5 : 21;
    while (!samples_done(samples)) {
        Times times;
        double start = now_seconds();
        tkc_status status = sample_once(device, kernel, host, &times);
        if (status != TKC_OK) return status;
        samples_add(samples, times.ms[part], now_seconds() - start);
    }
    return TKC_OK;
}

/* ---- a whole run of tkc ---------------------------------------------------------------------- */

/* The program `tkc` in the folder of this one, on vector_add.tk in a folder of its own. */
static tkc_status time_tkc(const char *folder, const char *const options[], double *seconds) {
    char program[1024], source[64], out[64];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 8);
    if (length < 0) return tkc_fail(TKC_IO, "/proc/self/exe cannot be read");
    program[length] = 0;
    strcpy(strrchr(program, '/') + 1, "tkc");
    snprintf(source, sizeof source, "%s/vector_add.tk", folder);
    snprintf(out, sizeof out, "%s/out.ptx", folder);
    const char *words[16] = {program};
    uint32_t count = 1;
    for (; *options; options++) {
        const char *word = *options;
        words[count++] = !strcmp(word, "FILE") ? source : !strcmp(word, "OUT") ? out : word;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    pid_t child;
    int status;
    double start = now_seconds();
    bool good = !posix_spawn(&child, program, &actions, NULL, (char **)words, environ) &&
                waitpid(child, &status, 0) == child;
    *seconds = now_seconds() - start;
    posix_spawn_file_actions_destroy(&actions);
    if (good && WIFEXITED(status) && WEXITSTATUS(status) == 0) return TKC_OK;
    return tkc_fail(TKC_IO, "%s, which should lie beside tkbench, failed", program);
}

static tkc_status sample_tkc(Bench *bench, Samples *samples, const char *const options[]) {
    char folder[] = "/tmp/tkbench-XXXXXX", path[64];
    if (!mkdtemp(folder)) return tkc_fail(TKC_IO, "no folder can be made in /tmp");
    snprintf(path, sizeof path, "%s/vector_add.tk", folder);
    setenv("TKC_CACHE", "", 1);
    tkc_status status = tool_write_file(path, vector_add_tk, vector_add_tk_length)
                            ? TKC_OK
                            : tkc_fail(TKC_IO, "%s cannot be written", path);
    samples->wanted = bench->quick ? 5 : MOST_SAMPLES;
    while (status == TKC_OK && !samples_done(samples)) {
        double seconds;
        status = time_tkc(folder, options, &seconds);
        if (status == TKC_OK) samples_add(samples, seconds * 1e3, seconds);
    }
    remove(path);
    snprintf(path, sizeof path, "%s/out.ptx", folder);
    remove(path);
    rmdir(folder);
    return status;
}

static tkc_status start_to_ptx(Bench *bench, Samples *samples) {
    static const char *const options[] = {"FILE", "-t", "sm_80", "-o", "OUT", NULL};
    return sample_tkc(bench, samples, options);
}

static tkc_status start_to_checked(Bench *bench, Samples *samples) {
    static const char *const options[] = {"check", "FILE", NULL};
    return sample_tkc(bench, samples, options);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define PART_OF(name, kernel, part)                                                                \
    static tkc_status name##_##part(Bench *bench, Samples *samples) {                              \
        return sample(bench, samples, #kernel, call_##name, part);                                 \
    }
#define KERNEL(name, kernel)                                                                       \
    PART_OF(name, kernel, PART_TOTAL)                                                              \
    PART_OF(name, kernel, PART_LOWER)                                                              \
    PART_OF(name, kernel, PART_PASSES)                                                             \
    PART_OF(name, kernel, PART_CODE)
#define call_backward_kv call_backward
#define call_backward_q call_backward
KERNEL(vector_add, vector_add)
KERNEL(softmax, softmax_forward)
KERNEL(matmul, matmul)
KERNEL(forward, attention_forward)
KERNEL(backward_kv, attention_backward_kv)
KERNEL(backward_q, attention_backward_q)

#define ROWS(name, text, target)                                                                   \
    {"compile", text ", text to PTX", "ms", false, target, name##_PART_TOTAL},                     \
        {"compile", "    front end", "ms", false, 0, name##_PART_LOWER},                           \
        {"compile", "    passes", "ms", false, 0, name##_PART_PASSES}, {                           \
        "compile", "    LLVM", "ms", false, 0, name##_PART_CODE                                    \
    }

const Measurement compile_measurements[] = {
    ROWS(vector_add, "vector add", 10),
    ROWS(softmax, "softmax", 15),
    ROWS(matmul, "matmul", 40),
    ROWS(forward, "attention", 60),
    ROWS(backward_kv, "attention dk, dv", 0),
    ROWS(backward_q, "attention dq", 0),
    {"compile", "tkc vector_add.tk, start to end", "ms", false, 30, start_to_ptx},
    {"compile", "tkc check vector_add.tk", "ms", false, 0, start_to_checked},
    {0},
};
