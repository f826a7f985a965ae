/* Packets in memory that the kernel fills, as blocks of a capture file: see capturing/linux.py and
   codecs/pcapng_blocks.py. */

#pragma once

#include <Python.h>

#include "../offload/segment.h"

#ifdef __linux__

/* Where things are in struct tpacket3_hdr and the struct sockaddr_ll behind it (linux/if_packet.h). */
enum {
    NEXT_AT = 0,
    SECONDS_AT = 4,
    NANOSECONDS_AT = 8,
    SIZE_AT = 12,
    ORIGINAL_AT = 16,
    STATUS_AT = 20,
    START_AT = 24,
    KIND_AT = 48 + 10,
    CAPTURED_HEAD = KIND_AT + 1,
};
enum { STATUS_VLAN_VALID = 0x10, KIND_OUTGOING = 4 };

typedef struct {
    VirtioNetHeader header;
    const uint8_t *data;
    uint32_t size, original;
    uint64_t time;
    size_t next;
    bool outgoing, partial; /* `partial`: its checksum is to be completed */
} Captured;

/* How far packets are written. */
typedef struct {
    size_t count, room; /* packets, and bytes */
} Bounds;

static inline uint32_t
word_at(const uint8_t *from, size_t at)
{
    uint32_t value;
    memcpy(&value, from + at, sizeof value);
    return value;
}

/* Fill in the packet that is there. Return false unless it is plain: sound, and with no VLAN tag
   beside it. */
static bool
find_captured(Captured *found, const uint8_t *memory, size_t size, size_t at)
{
    if (at > size || size - at < CAPTURED_HEAD)
        return false;
    const uint8_t *head = memory + at;
    uint16_t start;
    memcpy(&start, head + START_AT, sizeof start);
    size -= at;
    *found = (Captured){
        .size = word_at(head, SIZE_AT),
        .original = word_at(head, ORIGINAL_AT),
        .time = word_at(head, SECONDS_AT) * UINT64_C(1000000000) + word_at(head, NANOSECONDS_AT),
        .next = at + word_at(head, NEXT_AT),
        .outgoing = head[KIND_AT] == KIND_OUTGOING,
    };
    if (word_at(head, STATUS_AT) & STATUS_VLAN_VALID || start < VIRTIO_SIZE || start > size ||
        found->size > size - start || found->size > found->original)
        return false;
    found->data = head + start;
    memcpy(&found->header, found->data - VIRTIO_SIZE, VIRTIO_SIZE);
    found->partial = !found->header.gso_type && found->header.flags & NEEDS_CSUM &&
                     found->size == found->original;
    return !found->partial ||
           (size_t)found->header.csum_start + found->header.csum_offset + 2 <= found->size;
}

/* An Enhanced Packet Block: up to its data, and behind that. */
enum { ENHANCED_HEAD = 28, ENHANCED_TAIL = 16 };
enum { ENHANCED_PACKET = 6, OPTION_FLAGS = 2, INBOUND = 1, OUTBOUND = 2 };

static inline size_t
enhanced_size(const Captured *packet)
{
    return ENHANCED_HEAD + ((size_t)packet->size + 3) / 4 * 4 + ENHANCED_TAIL;
}

static inline uint8_t *
put_little(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
    return to + 4;
}

static void
put_enhanced(uint8_t *to, const Captured *packet)
{
    const size_t total = enhanced_size(packet);
    const uint64_t head[] = {ENHANCED_PACKET, total, 0, packet->time >> 32, packet->time, packet->size,
                             packet->original};
    const uint64_t tail[] = {OPTION_FLAGS | 4 << 16, packet->outgoing ? OUTBOUND : INBOUND, 0, total};
    uint8_t *const end = to + total;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        to = put_little(to, head[i]);
    memcpy(to, packet->data, packet->size);
    if (packet->partial)
        complete_checksum(&packet->header, to, packet->size);
    memset(to + packet->size, 0, (size_t)(end - ENHANCED_TAIL - to) - packet->size);
    to = end - ENHANCED_TAIL;
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++)
        to = put_little(to, tail[i]);
}

/* Write plain packets from `at` on within the bounds, or, without `to`, only look how much that is.
   Reduce the bounds by it, and return where the next packet is. This does not need the GIL. */
static size_t
put_captured(uint8_t *to, Bounds *bounds, const uint8_t *memory, size_t size, size_t at)
{
    Captured packet;
    while (bounds->count && find_captured(&packet, memory, size, at) &&
           enhanced_size(&packet) <= bounds->room) {
        if (to) {
            put_enhanced(to, &packet);
            to += enhanced_size(&packet);
        }
        bounds->count--;
        bounds->room -= enhanced_size(&packet);
        at = packet.next;
    }
    return at;
}

static PyObject *
native_captured_packets(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer memory;
    Py_ssize_t at, count, room;
    if (!PyArg_ParseTuple(args, "y*nnn:captured_packets", &memory, &at, &count, &room))
        return NULL;
    PyObject *blocks = NULL;
    const size_t size = (size_t)memory.len;
    size_t next;
    Bounds left;
    if (at < 0 || count < 0 || room < 0) {
        PyErr_SetString(PyExc_ValueError, "neither a place nor a bound is below 0");
        goto done;
    }
    left = (Bounds){(size_t)count, (size_t)room};
    put_captured(NULL, &left, memory.buf, size, (size_t)at);
    count -= (Py_ssize_t)left.count;
    room -= (Py_ssize_t)left.room;
    blocks = PyBytes_FromStringAndSize(NULL, room);
    if (!blocks)
        goto done;
    left = (Bounds){(size_t)count, (size_t)room};
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(blocks);
    Py_BEGIN_ALLOW_THREADS
    next = put_captured(to, &left, memory.buf, size, (size_t)at);
    Py_END_ALLOW_THREADS
    if (left.room) /* it was changed meanwhile */
        _PyBytes_Resize(&blocks, room - (Py_ssize_t)left.room);
    if (blocks)
        blocks = Py_BuildValue("Nnn", blocks, count - (Py_ssize_t)left.count, (Py_ssize_t)next);
done:
    PyBuffer_Release(&memory);
    return blocks;
}

#endif
