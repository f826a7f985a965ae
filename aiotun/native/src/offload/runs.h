/* Runs: packets of one flow that can be one frame. */

#pragma once

#include "packet.h"

enum { SEGMENTS_MAX = 64 };

/* Make single packets of the segments. */
static void
take_apart(Packet *p)
{
    for (int32_t i = p->segments - 1; i > 0; i--)
        announce(p + i, 1, true);
    p->segments = 1;
}

static inline size_t
payload_size(const Packet *p)
{
    return p->size - p->at.payload;
}

/* Add a candidate to the run of its flow if it continues that run. */
static bool
merge(Packet *packets, int32_t run_index, int32_t index)
{
    Packet *run = &packets[run_index], *p = &packets[index], *last = &packets[run->last];
    const size_t size = payload_size(p);
    const uint16_t step = (uint16_t)(p->identification - last->identification);
    if (run->closed || p->sequence != run->sequence || size > payload_size(run) ||
        run->length + size > PACKET_MAX || step > 1 || !(run->steps & 1 << step) ||
        !same_headers(run, p) || !is_sound(run) || !is_sound(p))
        return false;
    last->next = index;
    p->merged = true;
    run->last = index;
    run->count++;
    run->length += (uint32_t)size;
    if (p->at.protocol == TCP)
        run->sequence += (uint32_t)size;
    run->steps = (uint8_t)(1 << step);
    run->closed = p->closed || size < payload_size(run) || run->count == SEGMENTS_MAX;
    return true;
}

static inline size_t
last_payload_size(const Packet *p, const Part *items)
{
    return items[p->segments - 1].iov_len - p->at.payload;
}

/* Return the size of all segments' payloads. `items` begin with the packet. */
static inline size_t
payloads_size(const Packet *p, const Part *items)
{
    return (size_t)(p->segments - 1) * payload_size(p) + last_payload_size(p, items);
}

/* Whether all segments of a frame go into one run. */
static bool
fit_one_run(const Packet *p, const Part *items)
{
    return p->candidate && p->segments <= SEGMENTS_MAX &&
           p->at.payload - p->at.ip + payloads_size(p, items) <= PACKET_MAX;
}

/* Begin a run with a candidate and its segments. Segmentation made them so that each continues
   the one before it. */
static void
start_run(Packet *packets, int32_t index, const Part *items)
{
    Packet *p = &packets[index];
    const size_t size = payloads_size(p, items);
    p->last = index;
    p->count = (uint8_t)p->segments;
    p->length = p->at.payload - p->at.ip + (uint32_t)size;
    if (p->at.protocol == TCP)
        p->sequence += (uint32_t)size;
    if (p->segments > 1) {
        const uint8_t *last = items[p->segments - 1].iov_base;
        const int step = p->at.version == 4;
        p->identification = (uint16_t)(p->identification + step * (p->segments - 1));
        p->steps = (uint8_t)(1 << step);
        p->closed = last_payload_size(p, items) < payload_size(p) || p->count == SEGMENTS_MAX ||
                    (p->at.protocol == TCP && last[p->at.transport + 13] & (FIN | PSH));
    }
}

/* Add the other segments of a frame whose first one is in the run already, as many of them as it takes.
   Those that it leaves are a frame of their own. `items` begin with the frame. */
static void
merge_others(Packet *run, Packet *p, const Part *items)
{
    const int step = p->at.version == 4;
    const int32_t all = p->segments;
    int32_t taken = 1;
    while (taken < all && !run->closed && run->steps & 1 << step) {
        const size_t size = items[taken].iov_len - p->at.payload;
        if (run->length + size > PACKET_MAX)
            break;
        taken++;
        run->count++;
        run->length += (uint32_t)size;
        if (p->at.protocol == TCP)
            run->sequence += (uint32_t)size;
        run->closed = size < payload_size(run) || run->count == SEGMENTS_MAX;
    }
    const uint8_t *last = items[taken - 1].iov_base, *whole = *payloads_of(p);
    if (p->at.protocol == TCP && last[p->at.transport + 13] & (FIN | PSH))
        run->closed = true;
    p->identification = (uint16_t)(p->identification + step * (taken - 1));
    p->segments = taken;
    if (taken < all)
        announce(p + taken, all - taken, true);
    if (taken + 1 < all)
        *payloads_of(p + taken) = whole ? whole + (size_t)taken * payload_size(p) : NULL;
}
