/* The Internet checksum (RFC 1071): see checksum.py.

   A sum adds words in the machine's byte order, and is not folded. RFC 1071 section 2 (B) says
   why the order does not matter until the result is stored. */

#pragma once

#include <string.h>

#include "../system/system.h"

#define NEEDED_AT_RUN_TIME(isa) __attribute__((target(isa)))

/* Sum the bytes up, and copy them unless `to` is NULL. Compilers make vector code of this plain
   loop (with -O3). It is inlined below once for each instruction set. */
__attribute__((always_inline)) static inline uint64_t
sum_loop(uint8_t *restrict to, const uint8_t *restrict from, size_t size)
{
    uint64_t low = 0, high = 0;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        if (to)
            memcpy(to + i, &word, 8);
        low += (uint32_t)word;
        high += word >> 32;
    }
    if (i < size) {
        uint64_t word = 0; /* zeros behind the end add nothing to the sum */
        memcpy(&word, from + i, size - i);
        if (to)
            memcpy(to + i, &word, size - i);
        low += (uint32_t)word;
        high += word >> 32;
    }
    return low + high;
}

#ifdef __x86_64__

NEEDED_AT_RUN_TIME("avx2") static uint64_t
sum_avx2(const uint8_t *from, size_t size)
{
    return sum_loop(NULL, from, size);
}

NEEDED_AT_RUN_TIME("avx2") static uint64_t
copy_and_sum_avx2(uint8_t *restrict to, const uint8_t *restrict from, size_t size)
{
    return sum_loop(to, from, size);
}

#endif

static uint64_t
sum(const uint8_t *from, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return sum_avx2(from, size);
#endif
    return sum_loop(NULL, from, size);
}

static uint64_t
copy_and_sum(uint8_t *restrict to, const uint8_t *restrict from, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return copy_and_sum_avx2(to, from, size);
#endif
    return sum_loop(to, from, size);
}

/* Fold a sum to 16 bits, in the machine's byte order. The result is 0 only if all bytes are
   zero. */
static inline uint16_t
fold(uint64_t sum)
{
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 16) + (uint16_t)sum;
    sum = (sum >> 16) + (uint16_t)sum;
    return (uint16_t)sum;
}

/* Sum up the pseudo-header of TCP or UDP. `size` is that of both addresses: 8 or 32. */
static inline uint64_t
pseudo_header_sum(const uint8_t *addresses, size_t size, uint8_t protocol, size_t length)
{
    return (size == 8 ? sum_loop(NULL, addresses, 8) : sum_loop(NULL, addresses, 32)) +
           htonl((uint32_t)(protocol + length));
}
