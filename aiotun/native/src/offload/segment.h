/* The segments of a super-packet, one by one and in any order: see segment.py. */

#pragma once

#include <Python.h>

#include "checksum.h"
#include "headers.h"

/* A super-packet, and what its segments have in common. */
typedef struct {
    const uint8_t *packet;
    size_t size, gso_size;
    Layout at;
    uint8_t head[128]; /* the headers of IP and transport, without what differs between segments */
    PyObject *large;   /* bytes instead of `head` for long IPv6 extension headers, or NULL */
    uint64_t ip_sum, transport_sum;
    uint32_t sequence;
    uint16_t identification;
    uint8_t flags;
} Segmenter;

/* Sum up the pseudo-header without its length. */
static uint64_t
segments_pseudo_sum(const VirtioNetHeader *header, const uint8_t *packet, size_t size,
                    const Layout *at)
{
    if (has_extensions(at) && header->flags & NEEDS_CSUM) {
        uint16_t partial;
        memcpy(&partial, packet + at->transport + checksum_offset(at->protocol), 2);
        return partial + (uint64_t)htons((uint16_t)~(size - at->transport));
    }
    return pseudo_header_sum(packet + at->ip + addresses(at->version), addresses_size(at->version),
                             at->protocol, 0);
}

static inline size_t
head_size(const Segmenter *self)
{
    return self->at.payload - self->at.ip;
}

static inline uint8_t *
segment_head(const Segmenter *self)
{
    return self->large ? (uint8_t *)PyBytes_AS_STRING(self->large) : (uint8_t *)self->head;
}

/* Get ready to segment a packet. Return false with an exception set; otherwise the caller calls
   segmenter_clear in the end. */
static bool
segmenter_begin(Segmenter *self, const VirtioNetHeader *header, const uint8_t *packet, size_t size,
                const Layout *at)
{
    self->packet = packet;
    self->size = size;
    self->gso_size = header->gso_size;
    self->at = *at;
    self->large = NULL;
    if (head_size(self) > sizeof self->head) {
        self->large = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)head_size(self));
        if (!self->large)
            return false;
    }
    uint8_t *head = segment_head(self), *transport = head + at->transport - at->ip;
    memcpy(head, packet + at->ip, head_size(self));
    self->identification = get16(head + 4);
    self->sequence = get32(transport + 4);
    self->flags = at->protocol == TCP ? transport[13] : 0;
    self->ip_sum = 0;
    if (at->version == 4) {
        memset(head + 2, 0, 4);
        memset(head + 10, 0, 2);
        self->ip_sum = sum(head, at->transport - at->ip);
    }
    memset(transport + 4, 0, at->protocol == TCP ? 4 : 2);
    memset(transport + checksum_offset(at->protocol), 0, 2);
    if (at->protocol == TCP)
        transport[13] = 0;
    self->transport_sum = sum(transport, at->payload - at->transport) +
                          segments_pseudo_sum(header, packet, size, at);
    return true;
}

static void
segmenter_clear(Segmenter *self)
{
    Py_CLEAR(self->large);
}

static inline size_t
segments_count(const Segmenter *self)
{
    return (self->size - self->at.payload + self->gso_size - 1) / self->gso_size;
}

/* Return the size of the segment with that number. */
static inline size_t
segment_size(const Segmenter *self, size_t number)
{
    const size_t left = self->size - self->at.payload - number * self->gso_size;
    return self->at.payload + (left < self->gso_size ? left : self->gso_size);
}

/* Make the segment with that number. This does not need the GIL. */
static void
make_segment(const Segmenter *self, size_t number, uint8_t *to)
{
    const size_t ip = self->at.ip, transport = self->at.transport, payload = self->at.payload;
    const size_t start = number * self->gso_size, size = segment_size(self, number) - payload;
    const size_t length = payload - transport + size;
    memcpy(to, self->packet, ip);
    memcpy(to + ip, segment_head(self), head_size(self));
    uint64_t total = self->transport_sum + htons((uint16_t)length);
    total += copy_and_sum(to + payload, self->packet + payload + start, size);
    if (self->at.version == 4) {
        const uint16_t identification = (uint16_t)(self->identification + number);
        put16(to + ip + 2, transport - ip + length);
        put16(to + ip + 4, identification);
        const uint16_t value =
            (uint16_t)~fold(self->ip_sum + htons((uint16_t)(transport - ip + length)) +
                            htons(identification));
        memcpy(to + ip + 10, &value, 2);
    }
    else
        put16(to + ip + 4, transport - ip - IPV6_SIZE + length);
    if (self->at.protocol == TCP) {
        const uint32_t sequence = self->sequence + (uint32_t)start;
        uint8_t kept = self->flags;
        if (start)
            kept &= (uint8_t)~CWR;
        if (payload + start + size < self->size)
            kept &= (uint8_t)~(FIN | PSH);
        to[transport + 13] = kept;
        put32(to + transport + 4, sequence);
        total += htonl(sequence) + (uint64_t)htons(kept);
    }
    else {
        put16(to + transport + 4, length);
        total += htons((uint16_t)length);
    }
    uint16_t value = (uint16_t)~fold(total);
    if (self->at.protocol == UDP && !value)
        value = 0xFFFF;
    memcpy(to + transport + checksum_offset(self->at.protocol), &value, 2);
}

/* Complete the partial checksum of a packet. The caller knows that the checksum lies within the
   packet. */
static void
complete_checksum(const VirtioNetHeader *header, uint8_t *packet, size_t size)
{
    const size_t start = header->csum_start;
    uint16_t value = (uint16_t)~fold(sum(packet + start, size - start));
    if (!value)
        value = 0xFFFF;
    memcpy(packet + start + header->csum_offset, &value, 2);
}

/* What is to be done with a frame. */
typedef enum { MALFORMED, ONE_PACKET, SEGMENTS } Plan;

/* Fill in the header, and the layout if the packet is to be segmented. For a MALFORMED frame
   gso_split in Python says what is wrong. */
static Plan
plan_split(const uint8_t *frame, size_t size, bool tap, VirtioNetHeader *header, Layout *layout)
{
    if (size < VIRTIO_SIZE)
        return MALFORMED;
    memcpy(header, frame, VIRTIO_SIZE);
    size -= VIRTIO_SIZE;
    if (header->gso_type) {
        if (!find_layout(header, frame + VIRTIO_SIZE, size, tap, layout))
            return MALFORMED;
        if (size - layout->payload > header->gso_size)
            return SEGMENTS;
    }
    if (header->flags & NEEDS_CSUM && (size_t)header->csum_start + header->csum_offset + 2 > size)
        return MALFORMED;
    return ONE_PACKET;
}
