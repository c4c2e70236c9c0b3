/* cache.c: the folder of results.
 *
 * An entry is a file named by its key. It begins with a hash of all that follows, so that one that
 * was cut short or altered is told from a whole one. It is written under another name and renamed,
 * so that readers see all of it or nothing, and two writers of one key do no harm: they write the
 * same. Nobody waits for anybody, and there is no lock file.
 *
 * Reading an entry touches it. When more was written than a sixteenth of the limit, the folder is
 * looked through and what was not touched for longest is removed, until an eighth is free.
 */
#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_LINE "tkc cache 1\n"
#define USUAL_LIMIT ((uint64_t)512 << 20)
#define LARGEST_ENTRY ((uint64_t)256 << 20)
enum { HASH_DIGITS = 32, LONGEST_PATH = 4096, LONGEST_MESSAGE = 8192, ABANDONED_SECONDS = 3600 };

static const char ending[] = ".entry";

/* ---- keys -------------------------------------------------------------------------------------
 */

static void digits_of(XXH128_hash_t hash, char digits[CACHE_KEY_SIZE]) {
    snprintf(digits, CACHE_KEY_SIZE, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

void cache_hash(const void *data, size_t size, char digits[CACHE_KEY_SIZE]) {
    digits_of(XXH3_128bits(data, size), digits);
}

/* The linker's name for the bytes of one loaded file; false: it gave none. */
static bool add_build_id(CacheKey *key, const struct dl_phdr_info *info) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_NOTE) continue;
        const char *at = (const char *)(info->dlpi_addr + header->p_vaddr);
        for (size_t left = header->p_memsz; left >= sizeof(ElfW(Nhdr));) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            size_t name = (note.n_namesz + 3) & ~(size_t)3,
                   value = (note.n_descsz + 3) & ~(size_t)3;
            size_t size = sizeof note + name + value;
            if (size > left) break;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4) {
                cache_key_bytes(key, at + sizeof note + name, note.n_descsz);
                return true;
            }
            at += size;
            left -= size;
        }
    }
    return false;
}

static bool holds_us(const struct dl_phdr_info *info) {
    uintptr_t here = (uintptr_t)&holds_us;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && here >= start && here - start < header->p_memsz)
            return true;
    }
    return false;
}

/* The compiler is in the file that this function is in, and in LLVM's when that is another. */
static int add_compiler(struct dl_phdr_info *info, size_t size, void *context) {
    CacheKey *key = context;
    struct stat file;
    const char *path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
    (void)size;
    if (!holds_us(info) && !strstr(info->dlpi_name, "libLLVM")) return 0;
    if (add_build_id(key, info)) return 0;
    if (stat(path, &file)) return 0;
    cache_key_text(key, path);
    cache_key_number(key, (uint64_t)file.st_size);
    cache_key_number(key, (uint64_t)file.st_mtim.tv_sec);
    cache_key_number(key, (uint64_t)file.st_mtim.tv_nsec);
    return 0;
}

CacheKey cache_key_begin(void) {
    CacheKey key = {.state = XXH3_createState()};
    if (!key.state) return key;
    XXH3_128bits_reset(key.state);
    cache_key_text(&key, FIRST_LINE);
    cache_key_number(&key, TKC_VERSION);
    dl_iterate_phdr(add_compiler, &key);
    return key;
}

void cache_key_bytes(CacheKey *key, const void *data, size_t size) {
    uint64_t length = size;
    if (!key->state) return;
    XXH3_128bits_update(key->state, &length, sizeof length);
    if (size) XXH3_128bits_update(key->state, data, size);
}

void cache_key_text(CacheKey *key, const char *text) {
    if (text)
        cache_key_bytes(key, text, strlen(text) + 1);
    else
        cache_key_bytes(key, NULL, 0);
}

void cache_key_number(CacheKey *key, uint64_t number) {
    cache_key_bytes(key, &number, sizeof number);
}

bool cache_key_end(CacheKey *key, char digits[CACHE_KEY_SIZE]) {
    if (!key->state) return false;
    digits_of(XXH3_128bits_digest(key->state), digits);
    XXH3_freeState(key->state);
    key->state = NULL;
    return true;
}

/* ---- the folder -------------------------------------------------------------------------------
 */

/* False: there is none. */
static bool folder_of(const tkc_context *context, char path[LONGEST_PATH]) {
    const char *given = context->cache_folder ? context->cache_folder : getenv("TKC_CACHE");
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = -1;
    if (given)
        length = snprintf(path, LONGEST_PATH, "%s", given);
    else if (base && *base == '/')
        length = snprintf(path, LONGEST_PATH, "%s/tkc", base);
    else if (home && *home == '/')
        length = snprintf(path, LONGEST_PATH, "%s/.cache/tkc", home);
    return length > 0 && length < LONGEST_PATH - CACHE_KEY_SIZE - (int)sizeof ending;
}

bool cache_is_on(const tkc_context *context) {
    char path[LONGEST_PATH];
    return folder_of(context, path);
}

static bool path_of(const tkc_context *context, const char *key, char path[LONGEST_PATH]) {
    if (!folder_of(context, path)) return false;
    size_t length = strlen(path);
    snprintf(path + length, LONGEST_PATH - length, "/%s%s", key, ending);
    return true;
}

/* Makes the folders that the file is in, for their owner alone. */
static void make_folders(char *path) {
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(path, 0700);
        *at = '/';
    }
}

/* ---- entries ----------------------------------------------------------------------------------
 */

/* hash, newline; for each section its length, newline, its bytes, NUL */
static bool split(RtFile *file, CacheEntry *entry) {
    size_t start = strlen(FIRST_LINE) + HASH_DIGITS + 1;
    char digits[CACHE_KEY_SIZE];
    if (file->size < start || memcmp(file->data, FIRST_LINE, strlen(FIRST_LINE)) != 0) return false;
    cache_hash(file->data + start, file->size - start, digits);
    if (memcmp(file->data + strlen(FIRST_LINE), digits, HASH_DIGITS) != 0 ||
        file->data[start - 1] != '\n')
        return false;
    char *at = file->data + start, *end = file->data + file->size;
    for (int i = 0; i < CACHE_SECTIONS; i++) {
        char *number_end;
        unsigned long long size = strtoull(at, &number_end, 10);
        if (number_end == at || number_end >= end || *number_end != '\n') return false;
        at = number_end + 1;
        if (size >= (unsigned long long)(end - at) || at[size]) return false;
        entry->section[i] = at;
        entry->size[i] = (size_t)size;
        at += size + 1;
    }
    entry->data = file->data;
    return at == end;
}

/* Whether it went well; when not, tkc_last_error says again what it said before: the caller's call
 * does not fail. */
static bool quietly(tkc_status status, const char *before) {
    if (status) tkc_fail(status, "%s", before);
    return status == TKC_OK;
}

bool cache_find(tkc_context *context, const char *key, CacheEntry *entry) {
    char path[LONGEST_PATH], before[LONGEST_MESSAGE];
    RtFile file;
    if (!path_of(context, key, path) || !rt_file_exists(path)) return false;
    snprintf(before, sizeof before, "%s", tkc_last_error());
    if (!quietly(rt_read_file(path, LARGEST_ENTRY, &file), before)) return false;
    if (!split(&file, entry)) {
        free(file.data);
        unlink(path);
        return false;
    }
    utimensat(AT_FDCWD, path, NULL, 0);
    return true;
}

/* ---- the limit --------------------------------------------------------------------------------
 */

typedef struct Kept {
    char name[CACHE_KEY_SIZE + sizeof ending];
    uint64_t size;
    struct timespec used;
} Kept;

typedef struct Folder {
    Kept *list;
    size_t count, capacity;
    uint64_t size;
} Folder;

static int by_age(const void *a, const void *b) {
    const struct timespec *x = &((const Kept *)a)->used, *y = &((const Kept *)b)->used;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void look_at(Folder *folder, int fd, const char *name, time_t now) {
    struct stat info;
    size_t length = strlen(name), least = HASH_DIGITS + sizeof ending - 1;
    if (length < least || memcmp(name + HASH_DIGITS, ending, sizeof ending - 1) != 0) return;
    if (fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) || !S_ISREG(info.st_mode)) return;
    if (length > least) { /* under another name still: its writer is gone when it is old */
        if (now - info.st_mtim.tv_sec > ABANDONED_SECONDS) unlinkat(fd, name, 0);
        return;
    }
    if (folder->count == folder->capacity) {
        size_t capacity = folder->capacity ? folder->capacity * 2 : 256;
        Kept *grown = realloc(folder->list, capacity * sizeof *grown);
        if (!grown) return;
        folder->list = grown;
        folder->capacity = capacity;
    }
    Kept *kept = &folder->list[folder->count++];
    *kept = (Kept){.size = (uint64_t)info.st_size, .used = info.st_mtim};
    memcpy(kept->name, name, length + 1);
    folder->size += kept->size;
}

static void trim(const char *path, uint64_t limit) {
    Folder folder = {0};
    DIR *directory = opendir(path);
    if (!directory) return;
    time_t now = time(NULL);
    for (struct dirent *entry; (entry = readdir(directory));)
        look_at(&folder, dirfd(directory), entry->d_name, now);
    if (folder.size > limit) qsort(folder.list, folder.count, sizeof *folder.list, by_age);
    uint64_t size = folder.size, enough = limit - limit / 8;
    for (size_t i = 0; i < folder.count && folder.size > limit && size > enough; i++) {
        unlinkat(dirfd(directory), folder.list[i].name, 0);
        size -= folder.list[i].size;
    }
    free(folder.list);
    closedir(directory);
}

static void count_growth(tkc_context *context, uint64_t size) {
    char path[LONGEST_PATH];
    uint64_t limit = context->options.cache_limit ? context->options.cache_limit : USUAL_LIMIT;
    if (atomic_fetch_add(&context->cache_growth, size) + size <= limit / 16) return;
    atomic_store(&context->cache_growth, 0);
    if (folder_of(context, path)) trim(path, limit);
}

/* ---- keeping ----------------------------------------------------------------------------------
 */

void cache_keep(tkc_context *context, const char *key, const CacheEntry *entry) {
    char path[LONGEST_PATH], before[LONGEST_MESSAGE], digits[CACHE_KEY_SIZE];
    char head[sizeof FIRST_LINE + CACHE_KEY_SIZE + 2];
    size_t size = 0;
    if (!path_of(context, key, path)) return;
    for (int i = 0; i < CACHE_SECTIONS; i++) size += entry->size[i] + 24;
    char *body = malloc(size), *at = body;
    if (!body) return;
    for (int i = 0; i < CACHE_SECTIONS; i++) {
        at += sprintf(at, "%zu\n", entry->size[i]);
        if (entry->size[i]) memcpy(at, entry->section[i], entry->size[i]);
        at += entry->size[i];
        *at++ = 0;
    }
    size = (size_t)(at - body);
    cache_hash(body, size, digits);
    int head_size = snprintf(head, sizeof head, FIRST_LINE "%s\n", digits);
    make_folders(path);
    snprintf(before, sizeof before, "%s", tkc_last_error());
    if (quietly(rt_write_file(path, head, (size_t)head_size, body, size), before))
        count_growth(context, size);
    free(body);
}
