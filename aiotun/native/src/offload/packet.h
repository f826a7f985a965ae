/* What is known of a packet that may be coalesced: see coalesce.py. */

#pragma once

#include "checksum.h"
#include "headers.h"

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
