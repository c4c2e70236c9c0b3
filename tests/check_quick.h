/* check_quick.h: Check, where an assertion that holds costs nothing. Check's own tells the parent
 * process each time how far the test has come, which is a system call: most of the time of tests
 * that assert a million things. What fails is reported with its line as ever; what crashes, with
 * the line where its test began. */
#ifndef TKC_TESTS_CHECK_QUICK_H
#define TKC_TESTS_CHECK_QUICK_H

#include <check.h>

#undef ck_assert_msg
#define ck_assert_msg(condition, ...)                                                              \
    ((condition) ? (void)0                                                                         \
                 : _ck_assert_failed(__FILE__, __LINE__, "`" #condition "` does not hold",         \
                                     ##__VA_ARGS__))

#endif
