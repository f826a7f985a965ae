/* What each system has in its own way: the order of bytes, protocol numbers, aligned memory, and
   channels, of which a read gives one frame and a write takes one. Outside this folder none but Linux'
   own files (udp, captured.h, boot_time.h) names a header of a system. */

#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* What frames are read from and written to; descriptor.h and ring.h say what it is. */
typedef intptr_t Channel;

enum { CACHE_LINE = 64 };

enum { FAMILY_SIZE = 4 };

/* What a read gives in the place of a size: no frame waits, or it is for the twin to say why there is
   none: an error, the end of a descriptor. */
enum { NONE_WAITS = -1, NOT_PLAIN = -2 };

/* How long a reader waits for its first frame, and for what else. */
enum { INTERRUPTS_MAX = 3 };
typedef struct {
    int milliseconds; /* -1: without end */
    int count, interrupts[INTERRUPTS_MAX]; /* descriptors: the wait ends once one of them is readable */
} Wait;

/* The 4 bytes that some systems put in front of a packet: a number for IPv4 and one for IPv6.
   `any` is false for systems that put nothing there. */
typedef struct {
    bool any;
    uint8_t v4[FAMILY_SIZE], v6[FAMILY_SIZE];
} Families;

static const Families NO_FAMILIES = {0};

#if defined(_MSC_VER) && !defined(__clang__) /* MSVC does without these hints */
#define __attribute__(hint)
#define __builtin_prefetch(...)
#endif

/* One call receives so many frames at most, where there is such a call. */
enum { RECEIVED_MAX = 64 };

#ifdef _WIN32
#include "ring.h"
#else
#include "descriptor.h"
#endif

/* Write a packet behind its family. A packet that is not an IP packet is not written. */
static inline bool
write_behind_family(Channel channel, const Families *families, const uint8_t *packet, size_t size)
{
    const int version = size ? packet[0] >> 4 : 0;
    const uint8_t *family = version == 4 ? families->v4 : version == 6 ? families->v6 : NULL;
    return family && write_parts(channel, (Part[]){part(family, FAMILY_SIZE), part(packet, size)}, 2);
}
