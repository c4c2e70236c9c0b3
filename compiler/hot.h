/* hot.h: HOT and WARM mark loops worth compiling for several vector widths of one machine
 * family; the loader picks at run time. Results never depend on the pick: nothing is contracted
 * or reordered (-ffp-contract=off). Sanitizers do not get along with the pick and go without.
 */
#ifndef TKC_COMPILER_HOT_H
#define TKC_COMPILER_HOT_H

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__SANITIZE_THREAD__)
#define HOT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define WARM __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define HOT
#define WARM
#endif

#define INLINE static inline __attribute__((always_inline))

#endif
