/* gso_split: see segment.py. */

#pragma once

#include <Python.h>

#include "checksum.h"
#include "headers.h"

/* The segments that were made last. They are held, so the interpreter gives their place to
   nothing else: an object that is found here is a segment as it was made, checksums and
   all. One that nobody else holds any more is filled anew instead of freed and allocated.
   The GIL guards them. */
enum { RECENT_MAX = 256 };

typedef struct {
    PyObject *segments[RECENT_MAX];
    uint16_t frames[RECENT_MAX]; /* of the first segment of a frame: how many there are */
    size_t next;   /* to be replaced */
    size_t cursor; /* where the next one written is expected */
} Recent;

_Pragma("GCC diagnostic push")
_Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"") /* since 3.11, with no other way */
static inline void
forget_hash(PyObject *bytes)
{
    ((PyBytesObject *)bytes)->ob_shash = -1;
}
_Pragma("GCC diagnostic pop")

/* A segment to be filled, or NULL with an exception set. `recent` may be NULL. */
static PyObject *
new_segment(Recent *recent, Py_ssize_t size)
{
    if (recent && recent->next < RECENT_MAX) {
        PyObject **place = &recent->segments[recent->next];
        if (*place && Py_REFCNT(*place) == 1 && PyBytes_GET_SIZE(*place) == size)
            forget_hash(*place);
        else
            Py_XSETREF(*place, PyBytes_FromStringAndSize(NULL, size));
        if (*place)
            recent->frames[recent->next++] = 0;
        return Py_XNewRef(*place);
    }
    return PyBytes_FromStringAndSize(NULL, size);
}

/* How many of the packets are all segments of one frame in order, or 1 if the first one is
   some segment, else 0. Packets mostly leave in the order in which they came. */
static int32_t
count_recent(Recent *recent, PyObject *const *packets, Py_ssize_t count)
{
    enum { AHEAD = 4 };
    for (size_t i = recent->cursor; i < recent->cursor + AHEAD && i < RECENT_MAX; i++) {
        if (recent->segments[i] != packets[0])
            continue;
        size_t segments = recent->frames[i];
        if (!segments || (Py_ssize_t)segments > count ||
            memcmp(packets, &recent->segments[i], segments * sizeof *packets))
            segments = 1;
        recent->cursor = i + segments;
        return (int32_t)segments;
    }
    return 0;
}

typedef enum { FAILED = -1, MALFORMED, ONE_PACKET, SEGMENTS } SplitResult;

static bool
append(PyObject *list, PyObject *stolen)
{
    bool done = stolen && !PyList_Append(list, stolen);
    Py_XDECREF(stolen);
    return done;
}

/* The sum of the pseudo-header, its length left out. */
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

/* Append all segments; false with an exception set. */
static bool
append_segments(PyObject *list, Recent *recent, const VirtioNetHeader *header,
                const uint8_t *packet, size_t size, const Layout *at)
{
    const size_t ip = at->ip, transport = at->transport, payload = at->payload;
    const size_t field = transport + checksum_offset(at->protocol);
    uint8_t head[128]; /* IP and transport header without what differs between segments */
    const size_t head_size = payload - ip;
    PyObject *large = NULL;
    uint8_t *base = head;
    if (head_size > sizeof(head)) { /* long IPv6 extension headers */
        large = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)head_size);
        if (!large)
            return false;
        base = (uint8_t *)PyBytes_AS_STRING(large);
    }
    memcpy(base, packet + ip, head_size);
    uint16_t identification = get16(base + 4);
    uint32_t sequence = get32(base + transport - ip + 4);
    const uint8_t flags = at->protocol == TCP ? base[transport - ip + 13] : 0;
    uint64_t ip_sum = 0;
    if (at->version == 4) {
        memset(base + 2, 0, 4);
        memset(base + 10, 0, 2);
        ip_sum = sum(base, transport - ip);
    }
    memset(base + transport - ip + 4, 0, at->protocol == TCP ? 4 : 2);
    memset(base + field - ip, 0, 2);
    if (at->protocol == TCP)
        base[transport - ip + 13] = 0;
    const uint64_t transport_sum = sum(base + transport - ip, payload - transport) +
                                   segments_pseudo_sum(header, packet, size, at);

    bool done = true;
    const size_t first = recent ? recent->next : 0;
    for (size_t start = payload; start < size; start += header->gso_size) {
        size_t data = size - start < header->gso_size ? size - start : header->gso_size;
        size_t length = payload - transport + data;
        PyObject *segment = new_segment(recent, (Py_ssize_t)(payload + data));
        if (!segment) {
            done = false;
            break;
        }
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(segment);
        memcpy(to, packet, ip);
        memcpy(to + ip, base, head_size);
        uint64_t total = transport_sum + htons((uint16_t)length);
        total += copy_and_sum(to + payload, packet + start, data);
        if (at->version == 4) {
            put16(to + ip + 2, transport - ip + length);
            put16(to + ip + 4, identification);
            uint16_t value = (uint16_t)~fold(ip_sum + htons((uint16_t)(transport - ip + length)) +
                                             htons(identification));
            memcpy(to + ip + 10, &value, 2);
            identification++;
        }
        else
            put16(to + ip + 4, transport - ip - IPV6_SIZE + length);
        if (at->protocol == TCP) {
            uint8_t kept = flags;
            if (start > payload)
                kept &= (uint8_t)~CWR;
            if (start + data < size)
                kept &= (uint8_t)~(FIN | PSH);
            to[transport + 13] = kept;
            put32(to + transport + 4, sequence);
            total += htonl(sequence) + (uint64_t)htons(kept);
            sequence += (uint32_t)data;
        }
        else {
            put16(to + transport + 4, length);
            total += htons((uint16_t)length);
        }
        uint16_t value = (uint16_t)~fold(total);
        if (at->protocol == UDP && !value)
            value = 0xFFFF;
        memcpy(to + field, &value, 2);
        if (!append(list, segment)) {
            done = false;
            break;
        }
    }
    Py_XDECREF(large);
    if (done && recent && recent->next < RECENT_MAX) /* so there was room for all */
        recent->frames[first] = (uint16_t)(recent->next - first);
    return done;
}

/* Append the packets of a frame. MALFORMED sets no exception: gso_split in Python says what
   is wrong. */
static SplitResult
split(PyObject *list, Recent *recent, const uint8_t *frame, size_t size, bool tap)
{
    VirtioNetHeader header;
    if (size < VIRTIO_SIZE)
        return MALFORMED;
    memcpy(&header, frame, VIRTIO_SIZE);
    const uint8_t *packet = frame + VIRTIO_SIZE;
    size -= VIRTIO_SIZE;
    if (header.gso_type) {
        Layout layout;
        if (!find_layout(&header, packet, size, tap, &layout))
            return MALFORMED;
        if (size - layout.payload > header.gso_size)
            return append_segments(list, recent, &header, packet, size, &layout) ? SEGMENTS : FAILED;
    }
    const size_t start = header.csum_start, field = start + header.csum_offset;
    const bool partial = header.flags & NEEDS_CSUM;
    if (partial && field + 2 > size)
        return MALFORMED;
    PyObject *only = PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)size);
    if (only && partial) {
        uint16_t value = (uint16_t)~fold(sum(packet + start, size - start));
        if (!value)
            value = 0xFFFF;
        memcpy(PyBytes_AS_STRING(only) + field, &value, 2);
    }
    return append(list, only) ? ONE_PACKET : FAILED;
}
