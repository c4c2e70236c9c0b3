/* saved.c: kernels as files: PTX with a comment at its top that says what a launch must know.
 *
 *     // tkc kernel 1
 *     // name: add
 *     // target: sm_80
 *     // num_warps: 4
 *     // num_stages: 3
 *     // num_ctas: 1
 *     // shared_bytes: 0
 *     // parameter: *f32 16 x          type, divisibility that it promises, name
 *     // parameter: i32 1 n
 *     // constant: BLOCK 1024          fixed at compile time: for messages
 *     // end
 *
 * Native code in an object file has the header alone as a string (compiler/cpu/native.h).
 *
 * Assemblers and drivers take such a file as it is. It is the form in which kernels are saved, kept
 * in the cache, and given to those who launch them without a compiler. Reading trusts nothing.
 */
#include "runtime/device.h"

#include "compiler/cpu/native.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "// tkc kernel 1"
#define LAST_LINE "// end"
#define LARGEST_SAVED ((uint64_t)64 << 20)
enum { MOST_SAVED_PARAMETERS = 4096 };

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct Lines {
    char *data; /* NULL at first, and after a failure */
    size_t length, capacity;
    bool failed;
} Lines;

static void add(Lines *lines, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    size_t needed = lines->length + (size_t)length + 1;
    if (length >= 0 && needed > lines->capacity) {
        size_t capacity = needed * 2;
        char *grown = realloc(lines->data, capacity);
        lines->failed |= !grown;
        if (grown) {
            lines->data = grown;
            lines->capacity = capacity;
        }
    }
    if (!lines->failed && length >= 0) {
        vsnprintf(lines->data + lines->length, lines->capacity - lines->length, format, again);
        lines->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

/* A constant is source text and may hold anything: what would end the line becomes a blank. */
static void add_plain(Lines *lines, const char *text) {
    size_t start = lines->length;
    add(lines, "%s", text);
    for (size_t i = start; i < lines->length && !lines->failed; i++)
        if ((unsigned char)lines->data[i] < ' ') lines->data[i] = ' ';
}

char *rt_saved_header(const tkc_kernel *kernel) {
    Lines lines = {0};
    const tkc_kernel_info *info = &kernel->info;
    add(&lines, FIRST_LINE "\n// name: %s\n// target: %s\n", kernel->name, kernel->target);
    add(&lines, "// num_warps: %u\n// num_stages: %u\n// num_ctas: %u\n// shared_bytes: %u\n",
        info->num_warps, info->num_stages, info->num_ctas, info->shared_bytes);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const tkc_parameter *p = &kernel->parameters[i];
        add(&lines, "// parameter: %s %lld %s\n", p->type, (long long)p->divisibility, p->name);
    }
    for (const tkc_named *constant = kernel->constants; constant->name; constant++) {
        add(&lines, "// constant: %s ", constant->name);
        add_plain(&lines, constant->text);
        add(&lines, "\n");
    }
    add(&lines, LAST_LINE "\n");
    if (!lines.failed) return lines.data;
    free(lines.data);
    return NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct SavedKernel {
    tkc_kernel kernel; /* first: a kernel is destroyed by its address */
    char *text;        /* the whole file: the code */
    char *header;      /* a copy of its top, cut into strings */
} SavedKernel;

typedef struct Reader {
    SavedKernel *made;
    const char *path;
    uint32_t line;
    uint32_t constant_count;
} Reader;

static void destroy_saved(tkc_kernel *kernel) {
    SavedKernel *saved = (SavedKernel *)kernel;
    free(saved->kernel.parameters);
    free(saved->kernel.constants);
    free(saved->header);
    free(saved->text);
    free(saved);
}

static tkc_status refuse(const Reader *r, const char *what) {
    return tkc_fail(TKC_COMPILE_ERROR, "`%s`, line %u: %s. It is not a kernel saved by tkc.",
                    r->path, r->line, what);
}

/* The word at *at, cut off; *at moves behind it. "" at the end. */
static char *take_word(char **at) {
    char *word = *at;
    size_t length = strcspn(word, " ");
    *at = word + length;
    if (**at) *(*at)++ = 0;
    return word;
}

static bool take_number(const char *text, uint64_t limit, uint64_t *number) {
    uint64_t value = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || value > limit / 10) return false;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *number = value;
    return *text && value <= limit;
}

static bool is_name(const char *text) {
    for (const char *at = text; *at; at++) {
        bool word = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_' ||
                    *at == '$' || *at == '.' || (*at & 0x80);
        if (!word && (at == text || *at < '0' || *at > '9')) return false;
    }
    return *text != 0;
}

static tkc_status take_parameter(Reader *r, char *text) {
    tkc_kernel *kernel = &r->made->kernel;
    uint64_t divisibility;
    char *type = take_word(&text), *number = take_word(&text), *name = text;
    bool pointer = *type == '*';
    /* A pointer to pointers has no dtype. */
    bool deep = pointer && type[1] == '*';
    tkc_dtype dtype = deep ? TKC_NONE : tkc_dtype_from_name(type + pointer);
    if (dtype == TKC_NONE && !deep) return refuse(r, "the type of the parameter is unknown");
    if (!take_number(number, INT64_MAX, &divisibility) || divisibility == 0)
        return refuse(r, "the divisibility of the parameter is no number");
    if (!is_name(name)) return refuse(r, "the parameter has no name");
    kernel->parameters[kernel->parameter_count++] =
        (tkc_parameter){.struct_size = sizeof(tkc_parameter),
                        .is_pointer = pointer,
                        .dtype = dtype,
                        .name = name,
                        .type = type,
                        .divisibility = (int64_t)divisibility};
    return TKC_OK;
}

typedef struct Field {
    const char *name;
    uint32_t least, most;
    uint32_t *to;
} Field;

static tkc_status take_field(Reader *r, const char *key, char *text) {
    tkc_kernel *kernel = &r->made->kernel;
    tkc_kernel_info *info = &kernel->info;
    const Field fields[] = {{"num_warps", 1, 32, &info->num_warps},
                            {"num_stages", 0, 64, &info->num_stages},
                            {"num_ctas", 1, 16, &info->num_ctas},
                            {"shared_bytes", 0, 1u << 20, &info->shared_bytes}};
    for (size_t i = 0; i < RT_LENGTH(fields); i++) {
        uint64_t number;
        if (strcmp(fields[i].name, key) != 0) continue;
        if (!take_number(text, fields[i].most, &number) || number < fields[i].least)
            return refuse(r, "the number is out of range");
        *fields[i].to = (uint32_t)number;
        return TKC_OK;
    }
    if (strcmp(key, "parameter") == 0) return take_parameter(r, text);
    if (strcmp(key, "constant") == 0) {
        char *name = take_word(&text);
        kernel->constants[r->constant_count++] = (tkc_named){name, text};
        return TKC_OK;
    }
    bool is_target = strcmp(key, "target") == 0;
    if (!is_target && strcmp(key, "name") != 0) return TKC_OK; /* a later version's */
    if (!is_name(text)) return refuse(r, "there is no name");
    *(is_target ? &kernel->target : &kernel->name) = text;
    return TKC_OK;
}

static tkc_status take_lines(Reader *r) {
    const char *first = "//";
    for (char *at = r->made->header, *next; at; at = next) {
        next = strchr(at, '\n');
        if (next) *next++ = 0;
        r->line++;
        size_t length = strlen(at);
        if (length && at[length - 1] == '\r') at[--length] = 0;
        if (strcmp(at, LAST_LINE) == 0) return TKC_OK;
        if (r->line == 1 || !*at) continue;
        char *colon = strchr(at, ':');
        if (strncmp(at, first, 2) != 0 || !colon || at[2] != ' ' || colon[1] != ' ')
            return refuse(r, "`// name: value` is expected");
        *colon = 0;
        tkc_status status = take_field(r, at + 3, colon + 2);
        if (status) return status;
    }
    return refuse(r, "the end of the header is missing");
}

/* How many lines a header may have: each could be a parameter, or a constant. */
static uint32_t count_lines(const char *text) {
    uint32_t count = 1;
    for (const char *at = text; (at = strchr(at, '\n')) && count <= MOST_SAVED_PARAMETERS; at++)
        count++;
    return count;
}

static tkc_status take_saved(Reader *r) {
    SavedKernel *made = r->made;
    const char *end = strstr(made->text, "\n" LAST_LINE);
    r->line = 1;
    if (strncmp(made->text, FIRST_LINE, strlen(FIRST_LINE)) != 0)
        return refuse(r, "`" FIRST_LINE "` is expected");
    if (!end) return refuse(r, "the end of the header is missing");
    size_t length = (size_t)(end - made->text) + strlen("\n" LAST_LINE);
    made->header = strndup(made->text, length);
    if (!made->header) return rt_fail_memory();
    uint32_t lines = count_lines(made->header);
    if (lines > MOST_SAVED_PARAMETERS) return refuse(r, "the header has too many lines");
    made->kernel.parameters = calloc(lines, sizeof(tkc_parameter));
    made->kernel.constants = calloc(lines + 1, sizeof(tkc_named));
    if (!made->kernel.parameters || !made->kernel.constants) return rt_fail_memory();
    r->line = 0;
    tkc_status status = take_lines(r);
    if (status) return status;
    const tkc_kernel_info *info = &made->kernel.info;
    if (!made->kernel.name || !made->kernel.target || !info->num_warps || !info->num_ctas)
        return refuse(r, "name, target, num_warps or num_ctas is missing");
    return TKC_OK;
}

tkc_status rt_saved_kernel(tkc_context *context, const char *path, char *text, size_t size,
                           tkc_kernel **kernel) {
    SavedKernel *made = calloc(1, sizeof *made);
    if (!made) {
        free(text);
        return rt_fail_memory();
    }
    made->text = text;
    Reader reader = {.made = made, .path = path};
    tkc_kernel *k = &made->kernel;
    k->info.struct_size = sizeof k->info;
    tkc_status status = TKC_OK;
    reader.line = 1;
    if (strlen(text) != size) status = refuse(&reader, "there is a zero byte in it");
    if (!status) status = take_saved(&reader);
    if (status) {
        destroy_saved(k);
        return status;
    }
    k->context = rt_context_keep(context);
    k->destroy = destroy_saved;
    k->code = text;
    k->code_size = size;
    k->texts[0] = (KernelText){"ptx", text, size};
    pthread_mutex_init(&k->lock, NULL);
    *kernel = k;
    return TKC_OK;
}

tkc_status tkc_kernel_native(tkc_context *context, const tkc_native *native, tkc_kernel **kernel) {
    const CpuNative *made = (const CpuNative *)native;
    if (kernel) *kernel = NULL;
    if (!context || !native || !kernel)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_native: `%s` is NULL.",
                        !context ? "context"
                        : kernel ? "native"
                                 : "kernel");
    if (made->version != CPU_NATIVE_VERSION)
        return tkc_fail(TKC_UNSUPPORTED,
                        "tkc_kernel_native: the object file has version %u, this library knows %u; "
                        "compile it again with this version's tkc.",
                        made->version, CPU_NATIVE_VERSION);
    char *header = strdup(made->header);
    if (!header) return rt_fail_memory();
    tkc_status status = rt_saved_kernel(context, "object file", header, strlen(header), kernel);
    if (status) return status;
    (*kernel)->native = native;
    (*kernel)->code = NULL; /* no GPU kernel */
    (*kernel)->code_size = 0;
    (*kernel)->texts[0] = (KernelText){0};
    return TKC_OK;
}

tkc_status tkc_kernel_load(tkc_context *context, const char *path, const char *text, size_t size,
                           tkc_kernel **kernel) {
    if (kernel) *kernel = NULL;
    if (!context || !kernel || (!path && !text))
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_load: `%s` is NULL.",
                        !context ? "context"
                        : kernel ? "path"
                                 : "kernel");
    RtFile file = {0};
    if (text) {
        if (size == 0) size = strlen(text);
        if (size > LARGEST_SAVED)
            return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_kernel_load: the text has %zu bytes.", size);
        file = (RtFile){malloc(size + 1), size};
        if (!file.data) return rt_fail_memory();
        memcpy(file.data, text, size);
        file.data[size] = 0;
    } else {
        tkc_status status = rt_read_file(path, LARGEST_SAVED, &file);
        if (status) return status;
    }
    return rt_saved_kernel(context, path ? path : "<text>", file.data, file.size, kernel);
}
