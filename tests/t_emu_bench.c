/* t_emu_bench.c: the emulator's benchmarks run clean and do what they say they do. */
#include "runtime/emu/bench.h"

#include "tests/check_quick.h"
#include <stdio.h>

START_TEST(benches) {
    static const double least[EMU_BENCH_COUNT] = {64 * 128 * 100 * 34, 16 * 4 * 100 * 8 * 4096.0,
                                                  8 * 20 * 4 * 2.0 * 64 * 128 * 16};
    EmuBenchResult result = emu_bench((EmuBench)_i, 0, 1);
    ck_assert_msg(!result.error[0], "%s: %s", result.name, result.error);
    ck_assert(result.amount >= least[_i] && result.seconds > 0);
    printf("%s: %.3g %s a second\n", result.name, result.amount / result.seconds, result.unit);
}
END_TEST

int main(void) {
    Suite *s = suite_create("emu_bench");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, benches, 0, EMU_BENCH_COUNT);
    suite_add_tcase(s, c);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
