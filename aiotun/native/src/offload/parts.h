/* The parts of which a run's frame is written. */

#pragma once

#include "runs.h"

/* Room in which the headers of a frame are made anew. */
typedef struct {
    VirtioNetHeader virtio;
    uint8_t bytes[IPV6_SIZE + TCP_SIZE + 40];
} Head;

_Static_assert(offsetof(Head, bytes) == VIRTIO_SIZE, "they follow each other in a frame, too");

enum { PARTS_MAX = 3 + SEGMENTS_MAX };

/* Fill in the parts of the frame that begins with a packet. Return how many there are. */
static int
frame_parts(Packet *packets, const Part *items, int32_t index, Head *head,
            Part *parts)
{
    const Packet *run = &packets[index];
    parts[0] = part(&head->virtio, VIRTIO_SIZE);
    if (run->count < 2) {
        memset(&head->virtio, 0, VIRTIO_SIZE);
        parts[1] = items[index];
        return 2;
    }
    const Layout *at = &run->at;
    const size_t length = at->ip + run->length - at->transport;
    uint8_t *ip = head->bytes, *transport = ip + at->transport - at->ip;
    memcpy(ip, run->data + at->ip, at->payload - at->ip);
    if (at->version == 4) {
        put16(ip + 2, run->length);
        memset(ip + 10, 0, 2);
        const uint16_t value = (uint16_t)~fold(sum_loop(NULL, ip, IPV4_SIZE));
        memcpy(ip + 10, &value, 2);
    }
    else
        put16(ip + 4, run->length - IPV6_SIZE);
    if (at->protocol == TCP) { /* the frame has FIN and PSH of its last packet */
        const uint8_t *last = items[run->last + packets[run->last].segments - 1].iov_base;
        transport[13] = last[at->transport + 13];
    }
    else
        put16(transport + 4, length);
    const uint16_t partial = fold(pseudo_header_sum(
        ip + addresses(at->version), addresses_size(at->version), at->protocol, length));
    memcpy(transport + checksum_offset(at->protocol), &partial, 2);
    head->virtio = (VirtioNetHeader){
        .flags = NEEDS_CSUM,
        .gso_type = gso_type(at->version, at->protocol),
        .hdr_len = (uint16_t)at->payload,
        .gso_size = (uint16_t)payload_size(run),
        .csum_start = (uint16_t)at->transport,
        .csum_offset = (uint16_t)checksum_offset(at->protocol),
    };
    int count = 1;
    if (at->ip) {
        parts[count++] = part(run->data, at->ip);
        parts[count++] = part(ip, at->payload - at->ip);
    }
    else /* both headers are one part */
        parts[0] = part(head, VIRTIO_SIZE + at->payload);
    for (int32_t i = index;; i = packets[i].next) {
        const int32_t segments = packets[i].segments;
        const uint8_t *whole = segments > 1 ? *payloads_of(&packets[i]) : NULL;
        if (whole)
            parts[count++] = part(whole, payloads_size(&packets[i], items + i));
        for (int32_t j = i; !whole && j < i + segments; j++)
            parts[count++] = part((const uint8_t *)items[j].iov_base + at->payload,
                                  items[j].iov_len - at->payload);
        if (i == run->last)
            return count;
    }
}
