/* t_cache.c: the folder of results: entries, damage, the limit, many processes, folders that cannot
 * be used; and keys, which must differ when anything differs. */
#include "runtime/cache.h"
#include "runtime/recall.h"
#include "tests/runtime_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char root[] = "/tmp/tkc-cache-XXXXXX";

static void make_root(void) {
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void) {
    char command[80];
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", root, root);
    ck_assert_int_eq(system(command), 0);
}

static tkc_context *context_in(const char *folder, uint64_t limit) {
    tkc_context *context;
    tkc_context_options options = TKC_CONTEXT_OPTIONS_INIT;
    options.cache_folder = folder;
    options.cache_limit = limit;
    ok(tkc_context_create(&options, &context));
    return context;
}

static void key_of(uint64_t number, char digits[CACHE_KEY_SIZE]) {
    CacheKey key = cache_key_begin();
    cache_key_number(&key, number);
    ck_assert(cache_key_end(&key, digits));
}

/* An entry whose sections tell its number; `size` bytes of code. */
static CacheEntry entry_of(uint64_t number, size_t size) {
    static char texts[3][32], code[1 << 16];
    CacheEntry entry = {0};
    for (int i = 0; i < 3; i++) {
        snprintf(texts[i], sizeof texts[i], "%d of %llu", i, (unsigned long long)number);
        entry.section[i] = texts[i];
        entry.size[i] = strlen(texts[i]);
    }
    memset(code, (int)(number % 251), size);
    entry.section[CACHE_CODE] = code;
    entry.size[CACHE_CODE] = size;
    return entry;
}

static void keep(tkc_context *context, uint64_t number, size_t size) {
    char key[CACHE_KEY_SIZE];
    CacheEntry entry = entry_of(number, size);
    key_of(number, key);
    cache_keep(context, key, &entry);
}

/* It is there and right, or it is not there. */
static bool find(tkc_context *context, uint64_t number, size_t size) {
    char key[CACHE_KEY_SIZE];
    CacheEntry found, wanted = entry_of(number, size);
    key_of(number, key);
    if (!cache_find(context, key, &found)) return false;
    for (int i = 0; i < CACHE_SECTIONS; i++) {
        ck_assert_uint_eq(found.size[i], wanted.size[i]);
        ck_assert(memcmp(found.section[i], wanted.section[i], wanted.size[i]) == 0);
        ck_assert_int_eq(found.section[i][found.size[i]], 0);
    }
    free(found.data);
    return true;
}

static void path_of(uint64_t number, char path[128]) {
    char key[CACHE_KEY_SIZE];
    key_of(number, key);
    snprintf(path, 128, "%s/%s.entry", root, key);
}

static uint64_t folder_size(uint32_t *count) {
    uint64_t size = 0;
    DIR *directory = opendir(root);
    *count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat info;
        if (entry->d_name[0] == '.') continue;
        ck_assert_int_eq(fstatat(dirfd(directory), entry->d_name, &info, 0), 0);
        size += (uint64_t)info.st_size;
        ++*count;
    }
    closedir(directory);
    return size;
}

/* ---- entries ------------------------------------------------------------------------------------
 */

START_TEST(kept_and_found) {
    char deep[64];
    make_root();
    snprintf(deep, sizeof deep, "%s/a/b/c", root);
    tkc_context *context = context_in(deep, 0), *other = context_in(deep, 0);
    ck_assert(!find(context, 1, 1000));
    keep(context, 1, 1000);
    keep(context, 2, 0);
    ck_assert(find(context, 1, 1000));
    ck_assert(find(other, 2, 0));
    ck_assert(!find(other, 3, 0));
    struct stat info;
    ck_assert_int_eq(stat(deep, &info), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0700);
    tkc_context_destroy(context);
    tkc_context_destroy(other);
    remove_root();
}
END_TEST

START_TEST(folders) {
    make_root();
    setenv("TKC_CACHE", "", 1);
    tkc_context *context = context_in(NULL, 0);
    ck_assert(!cache_is_on(context));
    keep(context, 1, 10);
    ck_assert(!find(context, 1, 10));
    unsetenv("TKC_CACHE");
    setenv("XDG_CACHE_HOME", root, 1);
    keep(context, 1, 10);
    ck_assert(find(context, 1, 10));
    char path[64];
    snprintf(path, sizeof path, "%s/tkc", root);
    ck_assert_int_eq(access(path, F_OK), 0);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", root, 1);
    keep(context, 2, 10);
    snprintf(path, sizeof path, "%s/.cache/tkc", root);
    ck_assert_int_eq(access(path, F_OK), 0);
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    ck_assert(!cache_is_on(context));
    tkc_context_destroy(context);
    context = context_in("", 0);
    setenv("HOME", root, 1);
    ck_assert(!cache_is_on(context));
    tkc_context_destroy(context);
    remove_root();
}
END_TEST

/* Cut anywhere, or with any byte changed, an entry is no entry, and it is removed. */
START_TEST(damage) {
    char path[128], whole[1024], changed[1024];
    make_root();
    tkc_context *context = context_in(root, 0);
    keep(context, 1, 100);
    path_of(1, path);
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, whole, sizeof whole);
    close(fd);
    ck_assert(size > 100 && size < 1024);
    for (ssize_t i = 0; i < 2 * size; i++) {
        bool cut = i < size;
        memcpy(changed, whole, (size_t)size);
        if (!cut) changed[i - size] = (char)(changed[i - size] ^ (1 << i % 8));
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ck_assert(write(fd, changed, (size_t)(cut ? i : size)) == (cut ? i : size));
        close(fd);
        ck_assert(!find(context, 1, 100));
        ck_assert_int_ne(access(path, F_OK), 0);
    }
    keep(context, 1, 100);
    ck_assert(find(context, 1, 100));
    tkc_context_destroy(context);
    remove_root();
}
END_TEST

START_TEST(read_only) {
    if (geteuid() == 0) { /* root may write anywhere; a file in the way stops root too */
        tkc_context *context = context_in("/dev/null/tkc", 0);
        tkc_fail(TKC_IO, "as before");
        keep(context, 1, 10);
        ck_assert(!find(context, 1, 10));
        ck_assert_str_eq(tkc_last_error(), "as before");
        tkc_context_destroy(context);
        context = context_in("/proc/tkc-cache", 0);
        keep(context, 1, 10);
        ck_assert(!find(context, 1, 10));
        ck_assert_str_eq(tkc_last_error(), "as before");
        tkc_context_destroy(context);
        return;
    }
    make_root();
    tkc_context *context = context_in(root, 0);
    keep(context, 1, 10);
    ck_assert_int_eq(chmod(root, 0500), 0);
    tkc_fail(TKC_IO, "as before");
    keep(context, 2, 10);
    ck_assert(find(context, 1, 10));
    ck_assert(!find(context, 2, 10));
    ck_assert_str_eq(tkc_last_error(), "as before");
    tkc_context_destroy(context);
    remove_root();
}
END_TEST

/* ---- the limit ----------------------------------------------------------------------------------
 */

START_TEST(limit) {
    enum { ENTRY = 2000, LIMIT = 100000 };
    make_root();
    tkc_context *context = context_in(root, LIMIT);
    uint32_t count;
    for (uint64_t i = 0; i < 200; i++) {
        keep(context, i, ENTRY);
        ck_assert(find(context, i, ENTRY));
        if (i > 5) ck_assert_msg(find(context, 3, ENTRY), "used all the time, gone at %d", (int)i);
        ck_assert_uint_le(folder_size(&count), LIMIT + LIMIT / 16 + 2 * ENTRY);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    ck_assert_uint_gt(count, LIMIT / ENTRY / 2);
    ck_assert(!find(context, 0, ENTRY));
    ck_assert(find(context, 3, ENTRY));
    tkc_context_destroy(context);
    /* What a writer left behind when it died goes too, once it is old; other files stay. */
    char path[160], key[CACHE_KEY_SIZE];
    key_of(1000, key);
    snprintf(path, sizeof path, "%s/%s.entry.77-0.new", root, key);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    struct timespec old[2] = {{time(NULL) - 7200, 0}, {time(NULL) - 7200, 0}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
    char foreign[64];
    snprintf(foreign, sizeof foreign, "%s/notes.txt", root);
    close(open(foreign, O_CREAT | O_WRONLY, 0600));
    utimensat(AT_FDCWD, foreign, old, 0);
    context = context_in(root, LIMIT);
    keep(context, 2000, ENTRY);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(access(foreign, F_OK), 0);
    tkc_context_destroy(context);
    remove_root();
}
END_TEST

/* ---- many processes
 * ------------------------------------------------------------------------------ */

/* Writers of the same keys, readers, and one that damages; every entry found is right. */
static int work(int worker) {
    tkc_context *context = context_in(root, 60000);
    uint64_t state = (uint64_t)worker * 7919 + 1;
    for (int i = 0; i < 300; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = (state >> 33) % 40;
        if (worker == 0 && i % 10 == 0) {
            char path[128];
            path_of(number, path);
            int fd = open(path, O_WRONLY);
            if (fd >= 0 && ftruncate(fd, 50)) return 2;
            if (fd >= 0) close(fd);
        } else if (!find(context, number, 3000)) {
            keep(context, number, 3000);
        }
    }
    tkc_context_destroy(context);
    return 0;
}

START_TEST(processes) {
    enum { WORKERS = 8 };
    pid_t workers[WORKERS];
    make_root();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        if (workers[i] == 0) _exit(work(i));
        ck_assert_int_gt(workers[i], 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        int status;
        ck_assert_int_eq(waitpid(workers[i], &status, 0), workers[i]);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker %d: %d", i, status);
    }
    uint32_t count;
    ck_assert_uint_le(folder_size(&count), 60000 + WORKERS * (60000 / 16 + 3200));
    DIR *directory = opendir(root);
    for (struct dirent *entry; (entry = readdir(directory));)
        ck_assert_msg(!strstr(entry->d_name, ".new"), "%s is left", entry->d_name);
    closedir(directory);
    remove_root();
}
END_TEST

/* ---- keys of compiles
 * ---------------------------------------------------------------------------- */

static void key_of_compile(const tkc_compile_options *options, const char *target, char *digits) {
    tkc_context *context = context_in("/nowhere", 0);
    FrontEnd front;
    Recall recall;
    frontend_init(&front, 0);
    ck_assert(!setjmp(front.exhausted));
    ok(frontend_read(&front, options->path, options->text, options->text_size));
    recall_begin(&recall, context, &front, options, target);
    memcpy(digits, recall.on ? recall.key : "off", recall.on ? CACHE_KEY_SIZE : 4);
    frontend_free(&front);
    tkc_context_destroy(context);
}

START_TEST(keys_differ) {
    const tkc_named one = {"N", "1"}, two = {"N", "2"}, shifted[] = {{"N1", ""}};
    const char *folder = "include";
    tkc_compile_options base = TKC_COMPILE_OPTIONS_INIT, variants[14];
    char keys[16][CACHE_KEY_SIZE];
    base.path = "a.tk";
    base.text = "text";
    for (int i = 0; i < 14; i++) variants[i] = base;
    variants[1].path = "b.tk";
    variants[2].text = "text ";
    variants[3].kernel = "k";
    variants[4].signature = "k";
    variants[5].types = &one, variants[5].type_count = 1;
    variants[6].constants = &one, variants[6].constant_count = 1;
    variants[7].constants = &two, variants[7].constant_count = 1;
    variants[8].constants = shifted, variants[8].constant_count = 1;
    variants[9].num_warps = 8;
    variants[10].num_stages = 8;
    variants[11].num_ctas = 8;
    variants[12].include_paths = &folder, variants[12].include_path_count = 1;
    variants[13].signature = "";
    for (int i = 0; i < 14; i++) key_of_compile(&variants[i], "sm_80", keys[i]);
    key_of_compile(&base, "sm_86", keys[14]);
    key_of_compile(&base, "sm_80", keys[15]);
    for (int i = 0; i < 15; i++)
        for (int j = 0; j < i; j++) ck_assert_str_ne(keys[i], keys[j]);
    ck_assert_str_eq(keys[0], keys[15]);
    base.no_cache = true;
    key_of_compile(&base, "sm_80", keys[0]);
    ck_assert_str_eq(keys[0], "off");
    base.no_cache = false;
    base.time_passes = true;
    key_of_compile(&base, "sm_80", keys[0]);
    ck_assert_str_eq(keys[0], "off");
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cache");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, kept_and_found);
    tcase_add_test(tests, folders);
    tcase_add_test(tests, damage);
    tcase_add_test(tests, read_only);
    tcase_add_test(tests, limit);
    tcase_add_test(tests, processes);
    tcase_add_test(tests, keys_differ);
    return run_suite("cache", tests);
}
