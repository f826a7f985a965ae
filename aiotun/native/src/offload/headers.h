/* Where the headers of a packet are: see headers.py and virtio.py. */

#pragma once

#include <string.h>

#include "../system/system.h"

enum { TCP = IPPROTO_TCP, UDP = IPPROTO_UDP };

enum {
    PACKET_MAX = 65535,
    IPV4_SIZE = 20,
    IPV6_SIZE = 40,
    TCP_SIZE = 20,
    UDP_SIZE = 8,
    FRAGMENT = 0x3FFF,
};

/* Byte 13 of the TCP header. */
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, URG = 0x20, CWR = 0x80 };

typedef struct {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
} VirtioNetHeader;

enum { VIRTIO_SIZE = 10 };
_Static_assert(sizeof(VirtioNetHeader) == VIRTIO_SIZE, "no padding");

enum { NEEDS_CSUM = 1 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

/* Where a packet's headers are, as offsets into its bytes. */
typedef struct {
    uint8_t version; /* 4 or 6 */
    uint8_t protocol;
    uint32_t ip, transport, payload;
} Layout;

static inline uint16_t
get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

static inline uint32_t
get32(const uint8_t *from)
{
    return (uint32_t)get16(from) << 16 | get16(from + 2);
}

static inline void
put16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static inline void
put32(uint8_t *to, uint32_t value)
{
    put16(to, value >> 16);
    put16(to + 2, value);
}

static inline size_t
ip_size(int version)
{
    return version == 4 ? IPV4_SIZE : IPV6_SIZE;
}

static inline size_t
addresses_size(int version)
{
    return version == 4 ? 8 : 32;
}

/* Return the offset of the addresses in the IP header. */
static inline size_t
addresses(int version)
{
    return version == 4 ? 12 : 8;
}

static inline size_t
transport_size(uint8_t protocol)
{
    return protocol == TCP ? TCP_SIZE : UDP_SIZE;
}

static inline size_t
checksum_offset(uint8_t protocol)
{
    return protocol == TCP ? 16 : 6;
}

static inline uint8_t
gso_type(int version, uint8_t protocol)
{
    return protocol == UDP ? GSO_UDP_L4 : version == 4 ? GSO_TCPV4 : GSO_TCPV6;
}

/* Whether it is an IPv6 extension header behind which the kernel segments. */
static inline bool
is_extension(uint8_t protocol)
{
    return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS;
}

static inline bool
has_extensions(const Layout *at)
{
    return at->version == 6 && at->transport > at->ip + IPV6_SIZE;
}

/* Fill in the version and the offset of the IP header. Return false if there is no whole IP
   header. */
static bool
find_ip(const uint8_t *packet, size_t size, bool tap, Layout *layout)
{
    size_t ip = 0;
    uint16_t ethertype = 0;
    if (tap) {
        ip = 14;
        if (size <= ip)
            return false;
        ethertype = get16(packet + 12);
        while (ethertype == 0x8100 || ethertype == 0x88A8) {
            ip += 4;
            if (size <= ip)
                return false;
            ethertype = get16(packet + ip - 2);
        }
    }
    if (size <= ip || size > UINT32_MAX)
        return false;
    const uint8_t version = packet[ip] >> 4;
    if ((version != 4 && version != 6) || size < ip + ip_size(version))
        return false;
    if (tap && ethertype != (version == 4 ? 0x0800 : 0x86DD))
        return false;
    layout->version = version;
    layout->ip = (uint32_t)ip;
    return true;
}

/* Fill in what is behind the IP header. Return false if lengths contradict the bytes. */
static bool
find_payload(const uint8_t *packet, size_t size, Layout *layout)
{
    size_t ip = layout->ip, end, transport;
    uint8_t protocol;
    if (layout->version == 4) {
        end = ip + get16(packet + ip + 2);
        protocol = packet[ip + 9];
        transport = ip + (packet[ip] & 0x0F) * 4;
        if (transport < ip + IPV4_SIZE || get16(packet + ip + 6) & FRAGMENT)
            return false;
    }
    else {
        transport = ip + IPV6_SIZE;
        end = transport + get16(packet + ip + 4);
        protocol = packet[ip + 6];
        while (is_extension(protocol) && transport + 2 <= size) {
            protocol = packet[transport];
            transport += 8 + packet[transport + 1] * 8u;
        }
    }
    if (end != size || (protocol != TCP && protocol != UDP))
        return false;
    size_t payload = transport + transport_size(protocol);
    if (payload > size)
        return false;
    if (protocol == UDP) {
        if (transport + get16(packet + transport + 4) != size)
            return false;
    }
    else {
        payload = transport + (packet[transport + 12] >> 4) * 4;
        if (payload < transport + TCP_SIZE || payload > size)
            return false;
    }
    layout->protocol = protocol;
    layout->transport = (uint32_t)transport;
    layout->payload = (uint32_t)payload;
    return true;
}

/* Do what VirtioNetHeader.layout does. Return false where that raises. */
static bool
find_layout(const VirtioNetHeader *header, const uint8_t *packet, size_t size, bool tap,
            Layout *layout)
{
    enum { GSO_BY_FRAGS = 0xFFFF, UDP_SEGMENTS_MAX = 128, SPLIT_MAX = 4 << 20 };
    if (header->hdr_len > size || !find_ip(packet, size, tap, layout) ||
        !find_payload(packet, size, layout))
        return false;
    uint8_t type = header->gso_type;
    if (layout->protocol == TCP)
        type &= (uint8_t)~GSO_ECN;
    if (type != gso_type(layout->version, layout->protocol) || header->gso_size == 0 ||
        header->gso_size == GSO_BY_FRAGS)
        return false;
    if (header->flags & NEEDS_CSUM) {
        if (header->csum_start != layout->transport ||
            header->csum_offset != checksum_offset(layout->protocol))
            return false;
    }
    else if (layout->protocol == UDP)
        return false;
    const size_t payload = size - layout->payload;
    const uint64_t segments = (payload + header->gso_size - 1) / header->gso_size;
    return (layout->protocol == TCP || segments <= UDP_SEGMENTS_MAX) &&
           payload + segments * layout->payload <= SPLIT_MAX;
}

/* Do for a frame what VirtioNetHeader.check does. Return false where that raises. If the packet
   is to be segmented, fill in its layout. */
static inline bool
check_frame(const uint8_t *frame, size_t size, bool tap, Layout *layout)
{
    enum { CSUM_START_MIN = 20 };
    VirtioNetHeader header;
    if (size < VIRTIO_SIZE)
        return false;
    memcpy(&header, frame, VIRTIO_SIZE);
    const uint8_t *packet = frame + VIRTIO_SIZE;
    size -= VIRTIO_SIZE;
    if (header.gso_type == GSO_NONE) {
        if (header.hdr_len > size)
            return false;
    }
    else {
        if (!find_layout(&header, packet, size, tap, layout) || size - layout->ip > PACKET_MAX)
            return false;
        size_t behind = size - layout->transport - transport_size(layout->protocol);
        if (size - layout->payload <= header.gso_size && header.gso_size < behind)
            return false;
    }
    return !(header.flags & NEEDS_CSUM) ||
           (header.csum_start >= CSUM_START_MIN &&
            (size_t)header.csum_start + header.csum_offset + 2 <= size);
}

/* What a frame stands for. */
typedef struct {
    size_t packets, bytes;
} Weight;

/* Do what weigh() in packetio.py does. */
static inline Weight
weigh(const uint8_t *frame, size_t size, bool tap)
{
    Weight weight = {1, size > VIRTIO_SIZE ? size - VIRTIO_SIZE : 0};
    VirtioNetHeader header;
    Layout layout;
    if (!weight.bytes || frame[1] == GSO_NONE)
        return weight;
    memcpy(&header, frame, VIRTIO_SIZE);
    if (find_layout(&header, frame + VIRTIO_SIZE, weight.bytes, tap, &layout) &&
        weight.bytes > layout.payload) {
        const size_t more = (weight.bytes - layout.payload - 1) / header.gso_size;
        weight.packets += more;
        weight.bytes += more * layout.payload;
    }
    return weight;
}
