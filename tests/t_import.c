/* t_import.c: where the source of an imported module is looked for, and that no module name leads
 * anywhere else. */
#include "runtime/frontend.h"

#include "tests/check_quick.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/tkc-import-XXXXXX";

/* Makes a file below root, and the folders it needs; its text is its own name. */
static void make(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(path, 0700);
            *at = '/';
        }
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(name, file);
    fclose(file);
}

/*  main.py          imports from here
 *  near.tk near.py  side by side: .tk comes first
 *  pkg/__init__.py  pkg/kernels/__init__.py  pkg/kernels/add.py  pkg/kernels/tiles.py pkg/common.py
 *  top.py           beside the outermost package
 *  more/far.py      more/near.py  on the include path; more/dir.py is a folder */
static void make_tree(void) {
    static const char *const files[] = {"main.py",
                                        "near.tk",
                                        "near.py",
                                        "pkg/__init__.py",
                                        "pkg/kernels/__init__.py",
                                        "pkg/common.py",
                                        "top.py",
                                        "more/far.py",
                                        "pkg/kernels/add.py",
                                        "pkg/kernels/tiles.py",
                                        "more/near.py",
                                        "more/dir.py/x"};
    ck_assert_ptr_nonnull(mkdtemp(root));
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) make(files[i]);
}

static void remove_tree(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* What the import finds must be the file `expected` (NULL: nothing), seen from file `from`. */
static void finds(const char *from, const char *module, uint32_t level, const char *expected) {
    Arena arena;
    char path[128], folder[64], wanted[128];
    snprintf(path, sizeof path, "%s/%s", root, from);
    snprintf(folder, sizeof folder, "%s/more", root);
    const char *const folders[] = {"/nonexistent", folder};
    arena_init(&arena, 0);
    ImportSearch search = {.arena = &arena, .folders = folders, .folder_count = 2};
    const char *found = NULL, *text = NULL;
    size_t length = 0;
    bool good = import_open(&search, path, module, level, &found, &text, &length);
    ck_assert_msg(good == (expected != NULL), "%s from %s: %s", module, from, found ? found : "-");
    if (expected) {
        snprintf(wanted, sizeof wanted, "%s/%s", root, expected);
        ck_assert_str_eq(found, wanted);
        ck_assert_str_eq(text, expected);
        ck_assert_uint_eq(length, strlen(expected));
    }
    for (uint32_t i = 0; i < search.texts.length; i++) free(search.texts.data[i]);
    arena_free(&arena);
}

START_TEST(test_where) {
    make_tree();
    finds("main.py", "near", 0, "near.tk");
    finds("main.py", "near", 1, "near.tk");
    finds("main.py", "far", 0, "more/far.py");
    finds("main.py", "far", 1, NULL);
    finds("main.py", "pkg", 0, "pkg/__init__.py");
    finds("main.py", "pkg.common", 0, "pkg/common.py");
    finds("main.py", "dir", 0, NULL);
    finds("pkg/kernels/add.py", "tiles", 1, "pkg/kernels/tiles.py");
    finds("pkg/kernels/add.py", "tiles", 0, "pkg/kernels/tiles.py");
    finds("pkg/kernels/add.py", "common", 2, "pkg/common.py");
    finds("pkg/kernels/add.py", "", 1, "pkg/kernels/__init__.py");
    finds("pkg/kernels/add.py", "", 2, "pkg/__init__.py");
    finds("pkg/kernels/add.py", "pkg.common", 0, "pkg/common.py");
    finds("pkg/kernels/add.py", "top", 0, "top.py");
    finds("pkg/kernels/add.py", "common", 0, NULL);
    finds("pkg/kernels/add.py", "top", 3, "top.py");
    remove_tree();
}
END_TEST

START_TEST(test_nowhere_else) {
    make_tree();
    static const char *const names[] = {"",     "..near", "a..b", ".near",       "near.",
                                        "/etc", "a/b",    "../x", "near\n",      "nea r",
                                        "~",    "*",      "a\\b", "pkg.../near", "%s"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) finds("main.py", names[i], 0, NULL);
    finds("main.py", "near", 1000, NULL);
    remove_tree();
}
END_TEST

START_TEST(test_relative_paths) {
    make_tree();
    ck_assert_int_eq(chdir(root), 0);
    Arena arena;
    arena_init(&arena, 0);
    ImportSearch search = {.arena = &arena};
    const char *path, *text;
    size_t length;
    ck_assert(import_open(&search, "main.py", "near", 0, &path, &text, &length));
    ck_assert_str_eq(path, "near.tk");
    ck_assert(import_open(&search, NULL, "pkg.common", 0, &path, &text, &length));
    ck_assert_str_eq(path, "pkg/common.py");
    ck_assert_int_eq(chdir("pkg/kernels"), 0);
    ck_assert(import_open(&search, "add.py", "common", 2, &path, &text, &length));
    ck_assert_str_eq(path, "./../common.py");
    ck_assert(import_open(&search, "add.py", "top", 0, &path, &text, &length));
    ck_assert_str_eq(text, "top.py");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert(!import_open(&search, "/x.py", "near", 3, &path, &text, &length));
    for (uint32_t i = 0; i < search.texts.length; i++) free(search.texts.data[i]);
    arena_free(&arena);
    remove_tree();
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("import");
    tcase_add_test(tests, test_where);
    tcase_add_test(tests, test_nowhere_else);
    tcase_add_test(tests, test_relative_paths);
    Suite *suite = suite_create("import");
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
