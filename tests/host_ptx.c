/* host_ptx.c: what the hosts of kernels/ compile for a GPU: every dtype and head dimension with the
 * blocks they choose. host_ptx TARGET FOLDER [few] compiles it all (or the largest of each kind)
 * for the emulator of that target, runs nothing, and writes each kernel's PTX into the folder,
 * named after the call. For ptxas.sh. */
#include "kernels/kernels.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Work {
    tkk_library *library;
    const char *folder; /* for PTX */
    char cache[512];
    uint32_t failed, written;
} Work;

/* Moves what the cache has got to `name`-0.ptx, `name`-1.ptx ... An entry ends with the PTX text.
 */
static void take_entries(Work *w, const char *name) {
    DIR *folder = opendir(w->cache);
    uint32_t number = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[1024];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", w->cache, entry->d_name);
        FILE *in = strstr(entry->d_name, ".entry") ? fopen(path, "rb") : NULL;
        if (!in || stat(path, &info) != 0) continue;
        char *data = calloc(1, (size_t)info.st_size + 1);
        size_t size = fread(data, 1, (size_t)info.st_size, in);
        fclose(in);
        unlink(path);
        const char *start = memmem(data, size, "\n.version ", 10);
        snprintf(path, sizeof path, "%s/%s-%u.ptx", w->folder, name, number++);
        FILE *out = start ? fopen(path, "w") : NULL;
        if (out && fputs(start, out) >= 0 && fclose(out) == 0)
            w->written++;
        else
            w->failed++;
        free(data);
    }
    if (folder) closedir(folder);
}

static void done(Work *w, tkc_status status, const char *name) {
    if (status != TKC_OK) {
        fprintf(stderr, "%s: %s\n", name, tkc_last_error());
        w->failed++;
    }
    take_entries(w, name);
}

/* Nothing is launched, so any address will do; it is aligned, as memory from an allocator is. */
static tkc_argument somewhere(void) {
    return tkc_arg_address(1 << 20);
}

static void attention(Work *w, tkc_dtype dtype, tkk_precision precision, int64_t dim,
                      tkk_mask mask) {
    const int64_t batch = 2, heads = 4, length = 1024;
    tkk_tensor x = tkk_tensor4(somewhere(), dtype, batch, heads, length, dim);
    tkk_tensor state = tkk_tensor3(somewhere(), TKC_F32, batch, heads, length);
    tkk_attention p = TKK_ATTENTION_INIT;
    p.mask = mask, p.precision = precision, p.compile_only = true;
    p.q = p.k = p.v = p.out = p.dout = p.dq = p.dk = p.dv = x;
    p.lse = p.delta = state;
    char name[128];
    for (int backward = 0; backward < 2; backward++) {
        snprintf(name, sizeof name, "attention_%s_%s_%s_%d%s", backward ? "backward" : "forward",
                 tkc_dtype_name(dtype), precision == TKK_IEEE ? "ieee" : "tf32", (int)dim,
                 mask == TKK_NO_MASK ? "" : "_causal");
        done(w, (backward ? tkk_attention_backward : tkk_attention_forward)(w->library, NULL, &p),
             name);
    }
}

static void attention_2022(Work *w, int64_t dim) {
    const int64_t batch = 2, heads = 4, length = 1024;
    tkk_tensor x = tkk_tensor4(somewhere(), TKC_F16, batch, heads, length, dim), wide = x;
    wide.dtype = TKC_F32;
    tkk_attention_2022 p = TKK_ATTENTION_2022_INIT;
    p.compile_only = true;
    p.q = p.k = p.v = p.out = p.dout = p.new_dout = p.dk = p.dv = x;
    p.dq = wide;
    p.tmp = p.l = p.m = p.delta = tkk_tensor3(somewhere(), TKC_F32, batch, heads, length);
    char name[128];
    snprintf(name, sizeof name, "attention_2022_%d", (int)dim);
    done(w, tkk_attention_2022_forward(w->library, NULL, &p), name);
    snprintf(name, sizeof name, "attention_2022_backward_%d", (int)dim);
    done(w, tkk_attention_2022_backward(w->library, NULL, &p), name);
}

/* `rest`: what M and N have beyond a multiple of the blocks. */
static void matmul(Work *w, tkc_dtype dtype, tkk_precision precision, int64_t rest,
                   bool transposed) {
    const int64_t m = 1024 + rest, n = 2048 + rest, k = 512;
    tkk_tensor a = tkk_matrix(somewhere(), dtype, m, k), b = tkk_matrix(somewhere(), dtype, k, n);
    if (transposed) b = tkk_exchange(tkk_matrix(somewhere(), dtype, n, k), 0, 1);
    tkk_tensor c = tkk_matrix(somewhere(), dtype, m, n);
    tkk_matmul_options options = TKK_MATMUL_OPTIONS_INIT;
    options.compile_only = true;
    options.precision = precision;
    options.schedule = TKK_TILES;
    char name[128];
    snprintf(name, sizeof name, "matmul_%s_%s%s%s", tkc_dtype_name(dtype),
             precision == TKK_IEEE ? "ieee" : "tf32", rest ? "_ragged" : "",
             transposed ? "_t" : "");
    done(w, tkk_matmul(w->library, NULL, &a, &b, &c, &options), name);
}

/* Everything, or (`few`) what is largest of each kind: what fits there fits elsewhere. */
static void compile(Work *w, bool few) {
    static const int64_t dims[] = {16, 32, 64, 128, 256};
    static const struct {
        tkc_dtype dtype;
        tkk_precision precision;
    } kinds[] = {
        {TKC_F16, TKK_TF32}, {TKC_F32, TKK_TF32}, {TKC_F32, TKK_IEEE}, {TKC_BF16, TKK_TF32}};
    const size_t kind_count = few ? 1 : sizeof kinds / sizeof *kinds;
    for (size_t k = 0; k < kind_count; k++) {
        for (size_t d = few ? 2 : 0; d < sizeof dims / sizeof *dims; d++) {
            if (!few || dims[d] == 128)
                attention(w, kinds[k].dtype, kinds[k].precision, dims[d], TKK_NO_MASK);
            attention(w, kinds[k].dtype, kinds[k].precision, dims[d], TKK_CAUSAL);
        }
        matmul(w, kinds[k].dtype, kinds[k].precision, 0, false);
        matmul(w, kinds[k].dtype, kinds[k].precision, 48, true);
    }
    attention_2022(w, 64);
    if (!few) attention_2022(w, 128);
}

int main(int argc, char **argv) {
    const bool few = argc == 4 && strcmp(argv[3], "few") == 0;
    if (argc != 3 && !few) {
        fprintf(stderr, "usage: host_ptx TARGET FOLDER [few]\n");
        return 2;
    }
    Work w = {.folder = argv[2]};
    char device_name[64];
    snprintf(device_name, sizeof device_name, "emu:%s", argv[1]);
    snprintf(w.cache, sizeof w.cache, "%s/cache", argv[2]);
    mkdir(w.cache, 0777);
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.cache_folder = w.cache;
    tkc_context *context;
    tkc_device *device;
    if (tkc_context_create(&options, &context) != TKC_OK ||
        tkc_device_open(context, device_name, &device) != TKC_OK ||
        tkk_create(context, device, &w.library) != TKC_OK) {
        fprintf(stderr, "%s: %s\n", device_name, tkc_last_error());
        return 1;
    }
    compile(&w, few);
    tkk_destroy(w.library);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    rmdir(w.cache);
    printf("%u kernels\n", w.written);
    return w.failed || !w.written ? 1 : 0;
}
