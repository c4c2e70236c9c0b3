/* t_emu_hand.c: PTX written by hand, for what compilers seldom write. Each case computes %o (a
 * .b32, or %q, a .b64, whose low half is stored) in every lane from %l (the lane) and the
 * addresses %m (global, 4 KiB) and `s` (shared, 4 KiB). */
#include "tests/emu_test.h"

#include <math.h>

typedef uint32_t u32;

static u32 bits(float f) {
    u32 b;
    memcpy(&b, &f, 4);
    return b;
}

typedef struct Case {
    const char *code;
    u32 (*want)(u32 lane);
} Case;

#define WANT(name, expression)                                                                     \
    static u32 name(u32 l) {                                                                       \
        (void)l;                                                                                   \
        return expression;                                                                         \
    }
WANT(lane, l)
WANT(reversed, 31 - l)
WANT(set_float, l < 7 ? 0x3f800000 : 0)
WANT(set_mask, l < 7 ? UINT32_MAX : 0)
WANT(choose, (int32_t)(l - 9) >= 0 ? l : 100)
WANT(lop_predicate, (l & 1) ? 5 : 6)
WANT(table, l % 4 == 0 ? 10 : l % 4 == 1 ? 20 : l % 4 == 2 ? 30 : l)
WANT(permute_f4e, l % 4 == 0   ? 0x03020100
                  : l % 4 == 1 ? 0x04030201
                  : l % 4 == 2 ? 0x05040302
                               : 0x06050403)
WANT(permute_sign, 0x000000ff)
WANT(packed_bytes, l | (l + 1) << 8 | (l + 2) << 16 | (l + 3) << 24)
WANT(unpacked, (l * 0x01010101u >> 16 & 255) + 1)
WANT(wide_sum, (u32)((0xffffffffu + (uint64_t)l) >> 32))
WANT(mad_wide, (u32)((int64_t)(int32_t)(0 - l) * 7 + 1000))
WANT(extend, l % 32 == 0 ? 0 : (l & 15) == 0 ? 0xffffffffu : l & 1 ? 0xffffffffu : 0)
WANT(masked, l ? (0xffffffffu >> (32 - (l > 8 ? 8 : l))) << 4 : 0)
WANT(vote_count, 16)
WANT(sums, 32 * 31 / 2)
WANT(halves, 0x40004200) /* 1 + 1, 1 + 2 */
WANT(vector_sum, bits(32.f))
WANT(mixed_sum, bits(2 * (float)l * (float)l + 0.125f)) /* l times l in f16, twice over */
WANT(double_third, bits((float)((double)l / 3)))
WANT(double_root, bits((float)sqrt((double)l)))
WANT(is_finite, l % 2)
WANT(smallest, bits(-3.f))
WANT(magnitude, bits(l & 1 ? -2.f : 2.f))
WANT(minimum3, bits(l < 3 ? (float)l : 3.f))
WANT(transactions, 64 + 3 * l)
WANT(arrivals, 33)
WANT(async_store, l + 77)
WANT(async_sum, 2 * l)
WANT(reduced, l + 5)
WANT(matrix, (2 * l) | (2 * l + 1) << 16)
WANT(in_order, l == 0 ? 32 : l)
WANT(own_operand, l)
WANT(swapped, (31 - l) * 3)
WANT(spaces, 0x15)
WANT(funnel_wide, l ? (0x80000001u << l) | (0x40000000u >> (32 - l)) : 0x80000001u)
WANT(nth, l < 16 ? 2 * l : UINT32_MAX)
WANT(saturated, l > 3 ? 127 : l * 40)
WANT(stored_bytes, (l + 1) & 255)
WANT(far, l * 4 + 3)

static const Case cases[] = {
    {"mov.u32 %o, %laneid;", lane},
    {"sub.s32 %o, 31, %l;", reversed},
    {"set.lt.f32.u32 %f1, %l, 7; mov.b32 %o, %f1;", set_float},
    {"set.lo.u32.u32 %o, %l, 7;", set_mask},
    {"sub.s32 %r1, %l, 9; slct.s32.s32 %o, %l, 100, %r1;", choose},
    {"setp.eq.u32 %p1, 1, 1; lop3.and.b32 %r1|%p2, %l, 1, 0, 0xc0, %p1; selp.b32 %o, 5, 6, %p2;",
     lop_predicate},
    {"rem.u32 %r1, %l, 4; T: .branchtargets A, B, C, D; brx.idx %r1, T;\nA: mov.u32 %o, 10; bra "
     "E;\n"
     "B: mov.u32 %o, 20; bra E;\nC: mov.u32 %o, 30; bra.uni E;\nD: mov.u32 %o, %l;\nE: "
     "bar.warp.sync "
     "0xffffffff;",
     table},
    {"prmt.b32.f4e %o, 0x03020100, 0x07060504, %l;", permute_f4e},
    {"prmt.b32 %o, 0x00000080, 0, 0x1118;", permute_sign},
    {"cvt.u8.u32 %h1, %l; add.u16 %h2, %h1, 1; add.u16 %h3, %h1, 2; add.u16 %h4, %h1, 3;\n"
     "shl.b16 %h2, %h2, 8; or.b16 %h1, %h1, %h2; shl.b16 %h4, %h4, 8; or.b16 %h3, %h3, %h4;\n"
     "mov.b32 %o, {%h1, %h3};",
     packed_bytes},
    {"mul.lo.u32 %r1, %l, 0x01010101; bfe.u32 %o, %r1, 16, 8; add.u32 %o, %o, 1;", unpacked},
    {"cvt.u64.u32 %q1, %l; add.u64 %q1, %q1, 0xffffffff; shr.u64 %q, %q1, 32; cvt.u32.u64 %o, %q;",
     wide_sum},
    {"neg.s32 %r1, %l; mad.wide.s32 %q, %r1, 7, 1000; cvt.u32.u64 %o, %q;", mad_wide},
    {"and.b32 %r1, %l, 15; setp.eq.u32 %p1, %r1, 0; and.b32 %r2, %l, 1; @%p1 shr.u32 %r2, %l, 4;\n"
     "szext.wrap.s32 %o, %r2, 1;",
     extend},
    {"min.u32 %r1, %l, 8; bmsk.clamp.b32 %o, 4, %r1;", masked},
    {"and.b32 %r1, %l, 1; setp.eq.u32 %p1, %r1, 1; bar.red.popc.u32 %o, 0, %p1;", vote_count},
    {"redux.sync.add.u32 %o, %l, 0xffffffff;", sums},
    {"mov.b32 %r1, 0x3c003c00; mov.b32 %r2, 0x3c004000; add.f16x2 %o, %r1, %r2; "
     "prmt.b32 %o, %o, 0, 0x3210; mov.b32 {%h1, %h2}, %o; mov.b32 %o, {%h2, %h1}; "
     "prmt.b32 %o, %o, 0, 0x1032; prmt.b32 %o, %o, 0, 0x3210;",
     halves},
    {"setp.eq.u32 %p1, %l, 0; @%p1 st.global.v2.f32 [%m], {0f00000000, 0f00000000};\n"
     "bar.warp.sync 0xffffffff; red.global.add.v2.f32 [%m], {0f3F800000, 0f40000000};\n"
     "bar.warp.sync 0xffffffff; ld.global.f32 %f1, [%m]; mov.b32 %o, %f1;",
     vector_sum},
    {"cvt.rn.f64.u32 %d1, %l; div.rn.f64 %d2, %d1, 0d4008000000000000; cvt.rn.f32.f64 %f1, %d2; "
     "mov.b32 %o, %f1;",
     double_third},
    {"cvt.rn.f64.u32 %d1, %l; sqrt.rn.f64 %d2, %d1; cvt.rn.f32.f64 %f1, %d2; mov.b32 %o, %f1;",
     double_root},
    {"and.b32 %r1, %l, 1; setp.eq.u32 %p1, %r1, 0; selp.f32 %f1, 0f7F800000, 0f3F800000, %p1;\n"
     "testp.finite.f32 %p2, %f1; selp.u32 %o, 1, 0, %p2;",
     is_finite},
    {"mov.f32 %f1, 0fC0400000; mov.f32 %f2, 0f7FFFFFFF; min.f32 %f3, %f1, %f2; mov.b32 %o, %f3;",
     smallest},
    {"and.b32 %r1, %l, 1; setp.eq.u32 %p1, %r1, 1; selp.f32 %f1, 0fBF800000, 0f3F800000, %p1;\n"
     "max.xorsign.abs.f32 %f2, %f1, 0f40000000; mov.b32 %o, %f2;",
     magnitude},
    {"cvt.rn.f32.u32 %f1, %l; min.f32 %f2, %f1, 0f40A00000, 0f40400000; mov.b32 %o, %f2;",
     minimum3},
    /* an mbarrier's phase by plain arrivals and by bytes */
    {"setp.eq.u32 %p1, %l, 0; @%p1 mbarrier.init.shared.b64 [s], 1; bar.sync 0;\n"
     "@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [s], 64; @%p1 mbarrier.complete_tx.relaxed.cta"
     ".shared::cta.b64 [s], 64;\nW: mbarrier.try_wait.parity.shared.b64 %p2, [s], 0; @!%p2 bra W;\n"
     "mad.lo.u32 %o, %l, 3, 64;",
     transactions},
    {"setp.eq.u32 %p1, %l, 0; @%p1 mbarrier.init.shared.b64 [s], 33; bar.sync 0;\n"
     "mbarrier.arrive.shared.b64 %q1, [s]; @%p1 mbarrier.arrive.shared.b64 _, [s];\n"
     "W: mbarrier.test_wait.shared.b64 %p2, [s], %q1; @!%p2 bra W;\n"
     "mbarrier.pending_count.b64 %r1, %q1; mov.u32 %o, 33;",
     arrivals},
    {"setp.eq.u32 %p1, %l, 0; @%p1 mbarrier.init.shared.b64 [s], 1; bar.sync 0;\n"
     "@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [s], 128; mov.u32 %r1, s; shl.b32 %r2, %l, 2; "
     "add.u32 %r1, %r1, %r2; add.u32 %r3, %l, 77; mov.u32 %r4, s;\n"
     "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r1+64], %r3, [%r4];\n"
     "W: mbarrier.try_wait.parity.shared.b64 %p2, [s], 0; @!%p2 bra W;\nld.shared.u32 %o, "
     "[%r1+64];",
     async_store},
    {"setp.eq.u32 %p1, %l, 0; @%p1 mbarrier.init.shared.b64 [s], 1; mov.u32 %r1, s; "
     "shl.b32 %r2, %l, 2; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1+64], %l; bar.sync 0;\n"
     "@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [s], 128; mov.u32 %r4, s;\n"
     "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r1+64], %l, "
     "[%r4];\nW: mbarrier.try_wait.parity.shared.b64 %p2, [s], 0; @!%p2 bra W;\n"
     "ld.shared.u32 %o, [%r1+64];",
     async_sum},
    {"shl.b32 %r2, %l, 2; cvt.u64.u32 %q1, %r2; add.u64 %q1, %q1, %m; st.global.u32 [%q1], 5;\n"
     "mov.u32 %r1, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %l; fence.proxy.async; bar.sync "
     "0;\n"
     "setp.eq.u32 %p1, %l, 0; mov.u32 %r3, 128; mov.u32 %r4, s;\n"
     "@%p1 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%m], [%r4], %r3;\n"
     "@%p1 cp.async.bulk.commit_group; @%p1 cp.async.bulk.wait_group 0; bar.sync 0;\n"
     "ld.global.u32 %o, [%q1];",
     reduced},
    {"add.u32 %r1, %l, %l; add.u32 %r2, %r1, 1; shl.b32 %r2, %r2, 16; or.b32 %r3, %r1, %r2;\n"
     "mov.u32 %r4, s; shl.b32 %r5, %l, 4; and.b32 %r5, %r5, 127; add.u32 %r4, %r4, %r5;\n"
     "stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r4], {%r3}; bar.warp.sync 0xffffffff;\n"
     "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%o}, [%r4];",
     matrix},
    {"setp.eq.u32 %p1, %l, 0; @%p1 st.global.u32 [%m], 0; bar.warp.sync 0xffffffff;\n"
     "atom.global.inc.u32 %r1, [%m], 1000; @!%p1 mov.u32 %o, %r1; @!%p1 mov.u32 %o, %l; "
     "bar.warp.sync 0xffffffff; @%p1 ld.global.u32 %o, [%m];",
     in_order},
    /* A result that is an operand too: all operands are read first. */
    {"mad.wide.u32 %q1, %l, 8, %m; st.global.v2.f32 [%q1], {0f00000000, 0f00000000};\n"
     "cvt.rn.f32.u32 %f1, %l; mov.f32 %f2, 0f3f800000;\n"
     "atom.global.add.v2.f32 {%f1, %f2}, [%q1], {%f1, %f1};\n"
     "ld.global.f32 %f3, [%q1+4]; cvt.rzi.u32.f32 %o, %f3;",
     own_operand},
    {"mul.lo.u32 %r1, %l, 3; sub.u32 %r2, 31, %l; shfl.sync.idx.b32 %o|%p1, %r1, %r2, 31, "
     "0xffffffff;",
     swapped},
    {"mov.u64 %q1, s; cvta.shared.u64 %q2, %q1; isspacep.shared %p1, %q2; isspacep.global %p2, "
     "%q2;\n"
     "selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; isspacep.global %p1, %m; selp.u32 %r3, 4, "
     "0, "
     "%p1; cvta.to.shared.u64 %q3, %q2; setp.eq.u64 %p2, %q1, %q3; selp.u32 %r4, 16, 0, %p2;\n"
     "or.b32 %o, %r1, %r2; or.b32 %o, %o, %r3; or.b32 %o, %o, %r4;",
     spaces},
    {"mov.u32 %r1, 0x40000000; mov.u32 %r2, 0x80000001; shf.l.wrap.b32 %o, %r1, %r2, %l;",
     funnel_wide},
    {"mov.u32 %r1, 0x55555555; add.u32 %r2, %l, 1; fns.b32 %o, %r1, 0, %r2;", nth},
    {"mul.lo.s32 %r1, %l, 40; cvt.sat.s8.s32 %h1, %r1; cvt.s32.s8 %o, %h1;", saturated},
    {"cvt.u64.u32 %q1, %l; add.u64 %q1, %q1, %m; add.u32 %r1, %l, 1; cvt.u16.u32 %h1, %r1;\n"
     "st.global.u8 [%q1], %h1; ld.global.u8 %h2, [%q1]; cvt.u32.u16 %o, %h2;",
     stored_bytes},
    {"{ .reg .b32 %r<3>; .param .b32 a; .param .b32 b; shl.b32 %r1, %l, 2; st.param.b32 [a], %r1;\n"
     "call.uni (b), add3, (a); ld.param.b32 %o, [b]; }",
     far},
    {"cvt.rn.f32.u32 %f1, %l; cvt.rn.f16.f32 %h1, %f1; cvt.rn.bf16.f32 %h2, %f1; mov.f32 %f2, "
     "0f3E000000;\n"
     "fma.rn.f32.f16 %f2, %h1, %h1, %f2; fma.rn.f32.bf16 %f2, %h2, %h2, %f2;\n"
     "add.f32.f16 %f2, %h1, %f2; neg.f32 %f1, %f1; sub.f32.bf16 %f2, %h2, %f2;\n"
     "neg.f32 %f2, %f2; add.f32 %f2, %f2, 0f00000000; mov.b32 %o, %f2;",
     mixed_sum},
};

static const char head[] =
    ".version 8.6\n.target sm_90a\n.address_size 64\n"
    ".func (.param .b32 r) add3(.param .b32 x) { .reg .b32 %t<2>; ld.param.b32 %t1, [x]; "
    "add.u32 %t1, %t1, 3; st.param.b32 [r], %t1; ret; }\n"
    ".visible .entry k(.param .u64 out, .param .u64 memory)\n{\n.reg .b32 %r<9>, %o, %l;\n"
    ".reg .b64 %q<9>, %q, %m, %z;\n.reg .b16 %h<9>;\n.reg .f32 %f<9>;\n.reg .f64 %d<9>;\n"
    ".reg .pred %p<9>;\n.shared .align 128 .b8 s[4096];\nmov.u32 %l, %tid.x;\n"
    "ld.param.u64 %m, [memory];\n";
static const char tail[] = "\nld.param.u64 %z, [out];\nmad.wide.u32 %z, %l, 4, %z;\n"
                           "st.global.u32 [%z], %o;\nret;\n}\n";

START_TEST(by_hand) {
    const Case *test = &cases[_i];
    for (uint64_t seed = 0; seed < 3; seed++) {
        u32 out[32], memory[1024];
        Emu e;
        emu_test_init(&e);
        const char *text = arena_printf(&e.arena, "%s%s%s", head, test->code, tail);
        ck_assert_msg(emu_test_load(&e, "hand.ptx", text, strlen(text)) != NULL, "%s",
                      emu_messages(&e));
        memset(out, 0xcc, sizeof out);
        emu_test_array(&e, "out", out, sizeof out);
        emu_test_array(&e, "memory", memory, sizeof memory);
        e.launch.seed = seed;
        emu_test_run(&e, "k", 1, 32);
        for (u32 l = 0; l < 32; l++)
            ck_assert_msg(out[l] == test->want(l), "%s\nlane %u: %08x, not %08x", test->code, l,
                          out[l], test->want(l));
        emu_test_free(&e);
    }
}
END_TEST

/* What a profiler would say of single accesses: { code, requests, sectors, wavefronts, ideal }. */
static const struct {
    const char *code;
    u32 requests, sectors, waves, ideal;
} counted[] = {
    {"mad.wide.u32 %q1, %l, 4, %m; ld.global.u32 %o, [%q1];", 1, 4, 0, 0},
    {"mad.wide.u32 %q1, %l, 32, %m; ld.global.u32 %o, [%q1];", 1, 32, 0, 0},
    {"ld.global.u32 %o, [%m];", 1, 1, 0, 0},
    {"mad.wide.u32 %q1, %l, 16, %m; ld.global.v4.u32 {%o, _, _, _}, [%q1];", 1, 16, 0, 0},
    {"setp.lt.u32 %p1, %l, 8; mov.u32 %o, 0; mad.wide.u32 %q1, %l, 4, %m; "
     "@%p1 ld.global.u32 %o, [%q1];",
     1, 1, 0, 0},
    {"mov.u32 %r1, s; mad.lo.u32 %r1, %l, 4, %r1; st.shared.u32 [%r1], %l; mov.u32 %o, 0;", 0, 0, 1,
     1},
    {"mov.u32 %r1, s; mad.lo.u32 %r1, %l, 8, %r1; st.shared.u32 [%r1], %l; mov.u32 %o, 0;", 0, 0, 2,
     1},
    {"mov.u32 %r1, s; mad.lo.u32 %r1, %l, 128, %r1; st.shared.u32 [%r1], %l; mov.u32 %o, 0;", 0, 0,
     32, 1},
    {"mov.u32 %r1, s; mad.lo.u32 %r1, %l, 132, %r1; setp.lt.u32 %p1, %l, 31; "
     "@%p1 st.shared.u32 [%r1], %l; mov.u32 %o, 0;",
     0, 0, 1, 1},
    {"mov.u32 %r1, s; mad.lo.u32 %r1, %l, 16, %r1; st.shared.v4.u32 [%r1], {%l, %l, %l, %l}; "
     "mov.u32 %o, 0;",
     0, 0, 4, 4},
};

START_TEST(counting) {
    u32 out[32], memory[1024] = {0};
    Emu e;
    emu_test_init(&e);
    const char *text = arena_printf(&e.arena, "%s%s%s", head, counted[_i].code, tail);
    ck_assert_msg(emu_test_load(&e, "hand.ptx", text, strlen(text)) != NULL, "%s",
                  emu_messages(&e));
    emu_test_array(&e, "out", out, sizeof out);
    emu_test_array(&e, "memory", memory, sizeof memory);
    e.launch.counters = true;
    emu_test_run(&e, "k", 1, 32);
    const EmuCounters *c = &e.result.counters;
    ck_assert_uint_eq(c->load_requests, counted[_i].requests);
    ck_assert_uint_eq(c->load_sectors, counted[_i].sectors);
    ck_assert_uint_eq(c->shared_wavefronts, counted[_i].waves);
    ck_assert_uint_eq(c->ideal_wavefronts, counted[_i].ideal);
    ck_assert_uint_eq(c->store_requests, 1); /* the result's */
    ck_assert_uint_eq(c->store_sectors, 4);
    emu_test_free(&e);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("emu_hand");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, by_hand, 0, (int)ARRAY_LENGTH(cases));
    tcase_add_loop_test(c, counting, 0, (int)ARRAY_LENGTH(counted));
    suite_add_tcase(s, c);
    return s;
}
EMU_TEST_MAIN(suite)
