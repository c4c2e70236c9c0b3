/* written.h: which bytes of a buffer were ever written: one bit a byte, bit i % 8 of bits[i / 8].
 *
 * Threads share the bits, so each byte of them is read and written atomically. */
#ifndef TKC_COMPILER_WRITTEN_H
#define TKC_COMPILER_WRITTEN_H

#include <stdint.h>

/* Bits of the bytes [from, to), which have one byte of bits. */
static inline uint8_t written_bits(uint64_t from, uint64_t to) {
    return (uint8_t)(((1u << (to - from)) - 1) << (from & 7));
}

static inline uint64_t written_piece_end(uint64_t from, uint64_t to) {
    return (from | 7) + 1 < to ? (from | 7) + 1 : to;
}

/* The first byte of [from, to) that was never written; `to` when there is none. */
static inline uint64_t first_unwritten(const uint8_t *bits, uint64_t from, uint64_t to) {
    while (from < to) {
        uint64_t end = written_piece_end(from, to);
        uint8_t there = __atomic_load_n(&bits[from >> 3], __ATOMIC_RELAXED);
        uint8_t missing = written_bits(from, end) & (uint8_t)~there;
        if (missing) return (from & ~UINT64_C(7)) + (uint64_t)__builtin_ctz(missing);
        from = end;
    }
    return to;
}

/* [from, to) was written. */
static inline void mark_written(uint8_t *bits, uint64_t from, uint64_t to) {
    while (from < to) {
        uint64_t end = written_piece_end(from, to);
        uint8_t more = written_bits(from, end);
        if (more == 0xff)
            __atomic_store_n(&bits[from >> 3], more, __ATOMIC_RELAXED);
        else if ((__atomic_load_n(&bits[from >> 3], __ATOMIC_RELAXED) & more) != more)
            __atomic_fetch_or(&bits[from >> 3], more, __ATOMIC_RELAXED);
        from = end;
    }
}

#endif
