/* kernel_suites.c: all kernel tests in one program, for tools/gpu_check: one file to carry to a
 * machine with a GPU. `kernel_suites NAME` runs one; without a name it lists them. */
#include <stdio.h>
#include <string.h>

/* The k_*.c, their main renamed by the build, which lists them in kernel_suites.def. */
#define SUITE(name) int k_##name##_main(void);
#include "tests/kernel_suites.def"
#undef SUITE

static const struct {
    const char *name;
    int (*run)(void);
} suites[] = {
#define SUITE(name) {#name, k_##name##_main},
#include "tests/kernel_suites.def"
#undef SUITE
};

int main(int count, char **words) {
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (count < 2)
            puts(suites[i].name);
        else if (strcmp(words[1], suites[i].name) == 0)
            return suites[i].run();
    }
    return count < 2 ? 0 : 2;
}
