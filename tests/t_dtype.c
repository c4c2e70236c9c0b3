/* t_dtype.c: the runtime's own conversions against the compiler's: all bits of the small types, and
 * random numbers of every size for all types. */
#include "compiler/eval.h"
#include "tests/runtime_test.h"

#include <math.h>
#include <time.h>

static uint64_t next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = (*state ^ (*state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool same(double a, double b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check_decode(tkc_dtype dtype, uint64_t bits) {
    double ours, theirs = eval_double_from_bits((DType)dtype, bits);
    tkc_decode(dtype, &bits, &ours, 1);
    ck_assert_msg(same(ours, theirs), "%s 0x%llx: %.17g, not %.17g", tkc_dtype_name(dtype),
                  (unsigned long long)bits, ours, theirs);
}

static void check_encode(tkc_dtype dtype, double value) {
    uint64_t ours = 0, theirs = eval_bits_from_double((DType)dtype, value);
    tkc_encode(dtype, &value, &ours, 1);
    ck_assert_msg(ours == theirs, "%s of %.17g: 0x%llx, not 0x%llx", tkc_dtype_name(dtype), value,
                  (unsigned long long)ours, (unsigned long long)theirs);
}

START_TEST(decoding) {
    for (int dtype = TKC_I1; dtype < TKC_DTYPE_COUNT; dtype++) {
        if (dtype == TKC_I1) continue; /* any byte; the compiler has 0 and 1 only */
        if (tkc_dtype_size((tkc_dtype)dtype) <= 2)
            for (uint32_t bits = 0; bits < 1u << 8 * tkc_dtype_size((tkc_dtype)dtype); bits++)
                check_decode((tkc_dtype)dtype, bits);
    }
}
END_TEST

START_TEST(encoding) {
    static const double special[] = {0.0,    -0.0,  INFINITY, -INFINITY, NAN,   1e300,  -1e300,
                                     1e-300, 448,   464,      465,       480,   65504,  65519,
                                     65520,  65536, 57344,    61440,     1.875, 1.9375, 5e-324};
    uint64_t state = (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)state);
    for (int dtype = TKC_F8E4M3; dtype <= TKC_F64; dtype++) {
        for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
            if (dtype >= TKC_F32 && isnan(special[i])) continue; /* which NaN is the machine's */
            check_encode((tkc_dtype)dtype, special[i]);
            check_encode((tkc_dtype)dtype, -special[i]);
        }
        for (int i = 0; i < 40000; i++) {
            double value = ldexp((double)(int64_t)next(&state), (int)(next(&state) % 80) - 110);
            check_encode((tkc_dtype)dtype, value);
        }
        /* Halfway between neighbours, and next to it. */
        for (uint32_t bits = 0; bits < 0x7fff && dtype <= TKC_BF16; bits++) {
            uint64_t low = bits, high = bits + 1;
            double a, b;
            if (tkc_dtype_size((tkc_dtype)dtype) == 1 && bits >= 0x7f) break;
            tkc_decode((tkc_dtype)dtype, &low, &a, 1);
            tkc_decode((tkc_dtype)dtype, &high, &b, 1);
            if (!isfinite(a) || !isfinite(b)) continue;
            check_encode((tkc_dtype)dtype, (a + b) / 2);
            check_encode((tkc_dtype)dtype, nextafter((a + b) / 2, 0));
            check_encode((tkc_dtype)dtype, -nextafter((a + b) / 2, 1e9));
        }
    }
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("dtype");
    tcase_add_test(tests, decoding);
    tcase_add_test(tests, encoding);
    return run_suite("dtype", tests);
}
