/* GROTable: see coalesce.py. Nothing here needs the GIL or an allocator of Python's. The packets
   are in memory that the caller holds. */

#pragma once

#include <Python.h>

#include "checksum.h"
#include "headers.h"

enum { SEGMENTS_MAX = 64 };

enum { NONE = -1 };

typedef enum { NO_FLOW, HOSTS, FLOW } Kind;

/* What is coalesced at all: the attributes of a GROTable. */
typedef struct {
    bool tcp, udp, udp_zero_checksum;
} Wanted;

/* One packet, or all segments of one frame in order. If the packet begins a run, this is the run
   too. All fields but `sequence` and `identification` are about the first segment. It fits into
   a cache line, because where there are many flows the processor waits for the cache line of
   each packet. */
typedef struct {
    _Alignas(CACHE_LINE) const uint8_t *data;
    uint32_t size; /* size of the packet, if it is in a flow */
    int32_t segments; /* how many packets begin with this one: the segments of a frame, or 1 */
    Layout at;
    int32_t next;
    uint32_t hash; /* hash of the flow */
    uint32_t sequence; /* what the next packet has, once the run was started */
    uint16_t identification;
    uint8_t steps; /* how much higher the next packet's may be: bit 0 stands for 0, bit 1 for 1 */
    uint8_t kind; /* a Kind; it is HOSTS if the ports are not in sight */
    /* These fields are about the run. */
    int32_t last;
    uint32_t length; /* length of all packets in one, from the IP header on */
    uint8_t count;
    bool closed;
    /* These fields are about the packet. */
    bool again; /* whether the packet before it that has a flow is of the same flow */
    bool candidate;
    bool merged; /* whether it is in the run of an earlier packet */
    bool verified, sound;
} Packet;

_Static_assert(sizeof(Packet) == CACHE_LINE, "one, not two");

/* The bits that are equal in all packets of a run: those that segmentation does not make anew. */
static const uint8_t SAME_IPV4[IPV4_SIZE] = {
    0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, /* not length, ID, checksum */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};
static const uint8_t SAME_IPV6[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff}; /* not the length */
static const uint8_t SAME_TCP[TCP_SIZE] = {
    0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, /* not the sequence number */
    0xff, 0xff, 0xff, 0xf6, 0xff, 0xff, 0,    0,    0xff, 0xff, /* not PSH, FIN and the checksum */
};

static inline bool
same_words(const uint8_t *a, const uint8_t *b, size_t count)
{
    uint32_t differ = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t x, y;
        memcpy(&x, a + 4 * i, 4);
        memcpy(&y, b + 4 * i, 4);
        differ |= x ^ y;
    }
    return !differ;
}

static bool
same_masked(const uint8_t *a, const uint8_t *b, const uint8_t *mask, size_t size)
{
    uint32_t differ = 0;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t x, y, m;
        memcpy(&x, a + i, 4);
        memcpy(&y, b + i, 4);
        memcpy(&m, mask + i, 4);
        differ |= (x ^ y) & m;
    }
    return !differ;
}

/* Whether two packets of one flow have the same headers. Their addresses and ports are known to
   be equal. */
static bool
same_headers(const Packet *a, const Packet *b)
{
    const uint8_t *x = a->data + a->at.transport, *y = b->data + b->at.transport;
    if (!(a->at.version == 4
              ? same_masked(a->data + a->at.ip, b->data + b->at.ip, SAME_IPV4, sizeof SAME_IPV4)
              : same_masked(a->data + a->at.ip, b->data + b->at.ip, SAME_IPV6, sizeof SAME_IPV6)))
        return false;
    return a->at.protocol == UDP
               ? !get16(x + 6) == !get16(y + 6) /* with a checksum, or without */
               : same_masked(x, y, SAME_TCP, TCP_SIZE) &&
                     same_words(x + TCP_SIZE, y + TCP_SIZE,
                                (a->at.payload - a->at.transport - TCP_SIZE) / 4);
}

/* Whether GRO may take the packet, if its checksums are right. */
static bool
is_candidate(Packet *p, bool udp_zero_checksum)
{
    const uint8_t *data = p->data;
    const size_t ip = p->at.ip, transport = p->at.transport;
    size_t payload = transport + transport_size(p->at.protocol), length;
    p->identification = 0;
    p->steps = 1;
    if (p->at.version == 4) {
        const uint16_t fragment = get16(data + ip + 6);
        if (data[ip] != 0x45 || fragment & ~0x4000)
            return false;
        length = get16(data + ip + 2);
        p->identification = get16(data + ip + 4);
        p->steps = p->at.protocol == UDP && fragment ? 1 | 2 : 2;
    }
    else
        length = IPV6_SIZE + get16(data + ip + 4);
    if (ip + length != p->size || payload >= p->size)
        return false;
    p->sequence = 0;
    p->closed = false;
    if (p->at.protocol == TCP) {
        const uint8_t flags = data[transport + 13];
        payload = transport + (data[transport + 12] >> 4) * 4;
        if (payload < transport + TCP_SIZE || payload >= p->size || flags & (SYN | RST | URG | CWR))
            return false;
        p->sequence = get32(data + transport + 4);
        p->closed = flags & (FIN | PSH);
    }
    else if (transport + get16(data + transport + 4) != p->size ||
             (!get16(data + transport + 6) && !(udp_zero_checksum && p->at.version == 4)))
        return false;
    p->at.payload = (uint32_t)payload;
    return payload <= UINT16_MAX; /* hdr_len has 16 bits */
}

/* Where the payloads of all segments of a frame stand in one piece, or NULL. The frame's second segment
   has it: that is no packet of its own as long as the segments are one. */
static inline const uint8_t **
payloads_of(Packet *p)
{
    return &p[1].data;
}

/* Set what is known of packets before they are parsed. */
static inline void
announce(Packet *p, int32_t segments, bool sound)
{
    p->segments = segments;
    p->verified = p->sound = sound;
}

/* Fill in all fields but those about the run. */
static void
parse(Packet *p, const Part *item, bool tap, Wanted wanted)
{
    const uint8_t *data = p->data = item->iov_base;
    const size_t size = item->iov_len;
    p->size = (uint32_t)size;
    p->kind = NO_FLOW;
    p->candidate = p->merged = false;
    p->count = 0;
    if (!find_ip(data, size, tap, &p->at))
        return;
    const size_t ip = p->at.ip;
    bool in_sight;
    if (p->at.version == 4) {
        p->at.protocol = data[ip + 9];
        p->at.transport = p->at.ip + (data[ip] & 0x0F) * 4;
        in_sight = !(get16(data + ip + 6) & FRAGMENT);
    }
    else {
        p->at.protocol = data[ip + 6];
        p->at.transport = p->at.ip + IPV6_SIZE;
        in_sight = !is_extension(p->at.protocol) && p->at.protocol != IPPROTO_FRAGMENT;
    }
    if (in_sight && p->at.protocol != TCP && p->at.protocol != UDP)
        return;
    if (!in_sight || p->at.transport >= size)
        p->kind = HOSTS;
    else if (p->at.transport + 4 <= size) {
        p->kind = FLOW;
        p->candidate = (p->at.protocol == TCP ? wanted.tcp : wanted.udp) &&
                       is_candidate(p, wanted.udp_zero_checksum);
    } /* a packet that ends within its ports can be of no run's flow: it ends no run */
}

static bool
is_sound(Packet *p)
{
    if (p->verified)
        return p->sound;
    p->verified = true;
    const uint8_t *ip = p->data + p->at.ip, *transport = p->data + p->at.transport;
    if (p->at.version == 4 &&
        (fold(sum_loop(NULL, ip, IPV4_SIZE)) != 0xFFFF || get16(ip + 10) == 0xFFFF))
        return false;
    if (p->at.protocol == TCP && get16(transport + 16) == 0xFFFF)
        return false;
    if (p->at.protocol == UDP && !get16(transport + 6))
        return p->sound = true; /* there is nothing to verify */
    const size_t addresses = addresses_size(p->at.version);
    const size_t length = p->size - p->at.transport;
    const uint64_t total =
        sum(transport - addresses, addresses + length) + htonl((uint32_t)(p->at.protocol + length));
    return p->sound = fold(total) == 0xFFFF;
}

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

/* What is known of a flow, or of all packets between two hosts whose ports are not in sight. */
typedef struct {
    uint32_t hash;  /* the slot is small, as the processor waits for each where there are many */
    Kind kind;      /* NO_FLOW: the slot is free */
    int32_t packet; /* the last packet of the flow */
    int32_t run;    /* the run that this packet is in, or NONE */
} Slot;

/* A flow's key has so many words of 32 bits at most: addresses, ports and protocol. The number
   of words is even. */
enum { FLOW_WORDS = 8 + 2 };

static uint64_t flow_keys[FLOW_WORDS + 1];

/* Take the key from the interpreter's own hash, which is keyed too, so that no sender can make
   flows collide. All interpreters of a process have the same key. */
static void
make_flow_keys(void)
{
    const PyHash_FuncDef *function = PyHash_GetFuncDef();
    for (uint32_t i = 0; i <= FLOW_WORDS; i++) {
        const uint32_t high[] = {i, 0}, low[] = {i, 1};
        flow_keys[i] = (uint64_t)function->hash(high, sizeof high) << 32 ^
                       (uint64_t)function->hash(low, sizeof low);
    }
}

/* Pair-multiply-shift, which is strongly universal: M. Thorup, "High Speed Hashing for Integers
   and Strings" (arXiv:1504.06804). */
static uint32_t
flow_hash(const Packet *p, Kind kind)
{
    uint32_t words[FLOW_WORDS];
    size_t count = addresses_size(p->at.version) / 4;
    const uint8_t *from = p->data + p->at.ip + addresses(p->at.version);
    if (count == 2) /* compilers make two instructions of this */
        memcpy(words, from, 8);
    else
        memcpy(words, from, 32);
    words[count] = words[count + 1] = 0;
    if (kind == FLOW) {
        memcpy(&words[count], p->data + p->at.transport, 4);
        words[count + 1] = p->at.protocol;
    }
    uint64_t hash = flow_keys[FLOW_WORDS];
    for (size_t i = 0; i < count + 2; i += 2)
        hash += (flow_keys[i] + words[i + 1]) * (flow_keys[i + 1] + words[i]);
    if (p->at.ip)
        hash ^= (uint64_t)PyHash_GetFuncDef()->hash(p->data, (Py_ssize_t)p->at.ip) << 32;
    return (uint32_t)(hash >> 32);
}

static bool
same_flow(const Packet *a, const Packet *b, Kind kind)
{
    if (a->at.version != b->at.version || a->at.ip != b->at.ip)
        return false;
    const uint8_t *x = a->data, *y = b->data;
    const size_t ip = a->at.ip;
    return (kind == HOSTS || (a->at.protocol == b->at.protocol &&
                              same_words(x + a->at.transport, y + b->at.transport, 1))) &&
           (a->at.version == 4 ? same_words(x + ip + addresses(4), y + ip + addresses(4), 2)
                               : same_words(x + ip + addresses(6), y + ip + addresses(6), 8)) &&
           (!ip || !memcmp(x, y, ip));
}

/* Return the slot of the packet's flow or hosts, or the free slot where it belongs. */
static Slot *
find_slot(Slot *slots, size_t mask, const Packet *packets, const Packet *p, Kind kind)
{
    const uint32_t hash = kind == FLOW ? p->hash : flow_hash(p, kind);
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        Slot *slot = &slots[i];
        if (slot->kind == NO_FLOW) {
            slot->hash = hash;
            return slot;
        }
        if (slot->hash == hash && slot->kind == kind &&
            same_flow(&packets[slot->packet], p, kind))
            return slot;
    }
}

/* Find the runs. The packets were announced, and `items` are their bytes. There are `mask + 1`
   slots, all free. Their number is a power of two, and a third more than the packets that were
   announced, so that probing ends soon. */
static void
coalesce(Packet *packets, const Part *items, int32_t count, Slot *slots, size_t mask,
         bool tap, Wanted wanted)
{
    enum { AHEAD = 8 }; /* so many packets are hashed while their slots come from memory */
    Slot *slot = NULL;
    const Packet *before = NULL;
    bool hosts_seen = false;
    for (int32_t i = 0, next = 0; i < count; i += packets[i].segments) {
        for (; next < count && next <= i + AHEAD; next += packets[next].segments) {
            Packet *p = &packets[next];
            parse(p, &items[next], tap, wanted);
            if (p->segments > 1 && !fit_one_run(p, items + next))
                take_apart(p);
            if (p->kind != FLOW)
                continue;
            p->again = before && same_flow(before, p, FLOW);
            p->hash = p->again ? before->hash : flow_hash(p, FLOW);
            __builtin_prefetch(&slots[p->hash & mask], 1);
            before = p;
        }
        Packet *p = &packets[i];
        if (p->kind == NO_FLOW)
            continue;
        if (p->kind == HOSTS) { /* it may belong to any flow between these hosts */
            Slot *hosts = find_slot(slots, mask, packets, p, HOSTS);
            hosts->kind = HOSTS;
            hosts->packet = i;
            hosts_seen = true;
            continue;
        }
        if (!p->again)
            slot = find_slot(slots, mask, packets, p, FLOW);
        if (slot->kind == NO_FLOW) {
            slot->kind = FLOW;
            slot->run = NONE;
        }
        else if (hosts_seen) {
            const Slot *hosts = find_slot(slots, mask, packets, p, HOSTS);
            if (hosts->kind == HOSTS && hosts->packet > slot->packet)
                slot->run = NONE;
        }
        slot->packet = i;
        if (p->candidate && slot->run != NONE && merge(packets, slot->run, i)) {
            if (p->segments > 1) {
                merge_others(&packets[slot->run], p, items + i);
                next = i + p->segments;
                before = p;
            }
            continue;
        }
        slot->run = p->candidate ? i : NONE;
        if (p->candidate)
            start_run(packets, i, items + i);
    }
}

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
        parts[0] = part(&head->virtio, VIRTIO_SIZE + at->payload);
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
