/* kernel_suites.c: all kernel tests in one program, for tools/gpu_check: one file to carry to a
 * machine with a GPU. `kernel_suites NAME` runs one; without a name it lists them. */
#include <stdio.h>
#include <string.h>

/* The k_*.c, their main renamed by the build. */
int k_vector_add_main(void);
int k_softmax_main(void);
int k_matmul_main(void);
int k_attention_main(void);
int k_attention_2022_main(void);

static const struct {
    const char *name;
    int (*run)(void);
} suites[] = {{"vector_add", k_vector_add_main},
              {"softmax", k_softmax_main},
              {"matmul", k_matmul_main},
              {"attention", k_attention_main},
              {"attention_2022", k_attention_2022_main}};

int main(int count, char **words) {
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (count < 2)
            puts(suites[i].name);
        else if (strcmp(words[1], suites[i].name) == 0)
            return suites[i].run();
    }
    return count < 2 ? 0 : 2;
}
