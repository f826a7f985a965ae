/* Writing packets and frames to a descriptor of which write(2) takes one frame. */

#pragma once

#include <Python.h>

#include "../offload/batch.h"
#include "../offload/split.h"
#include "../system/system.h"

/* Note which packets are segments of one frame. `recent` is that of their layer. */
static void
announce_recent(Batch *batch, Recent *recent, PyObject *const *objects)
{
    for (int32_t i = 0; i < batch->count; i += batch->packets[i].segments) {
        const uint8_t *whole;
        const int32_t segments = count_recent(recent, objects + i, batch->count - i, &whole);
        announce(&batch->packets[i], segments ? segments : 1, segments);
        if (segments > 1)
            *payloads_of(&batch->packets[i]) = whole;
    }
}

/* Write a packet as it is. The kernel takes a small packet faster in one piece than in two. This does
   not need the GIL. */
static bool
write_packet(Channel channel, const uint8_t *packet, size_t size)
{
    uint8_t frame[VIRTIO_SIZE + 512] = {0};
    if (size > sizeof frame - VIRTIO_SIZE)
        return write_parts(channel, (Part[]){part(frame, VIRTIO_SIZE), part(packet, size)}, 2);
    memcpy(frame + VIRTIO_SIZE, packet, size);
    return write_frame(channel, frame, VIRTIO_SIZE + size);
}

/* What one call wrote. */
typedef struct {
    Py_ssize_t bytes; /* in all packets */
    Py_ssize_t packets, frames, super_packets;
    PyObject *left; /* the frames that were not written, a list, or NULL if all were */
} Writing;

/* Coalesce packets and write the frames, up to the first error. Return false with an exception
   set. */
static bool
write_packets(Writing *writing, PyObject *const *items, Py_ssize_t count, Recent *recent,
              Channel channel, bool tap, Wanted wanted)
{
    Packet single = {.segments = 1};
    Part item;
    Batch batch = {1, &single, &item};
    PyObject *room = NULL; /* what it holds stays as it is, as long as this holds it */
    *writing = (Writing){0};
    for (Py_ssize_t i = 0; i < count; i++)
        writing->bytes += PyBytes_GET_SIZE(items[i]);
    if (count == 1) {
        single.data = (const uint8_t *)PyBytes_AS_STRING(items[0]);
        item = part(single.data, (size_t)PyBytes_GET_SIZE(items[0]));
    }
    else {
        if (!batch_of_bytes(&batch, items, count))
            return false;
        announce_recent(&batch, recent, items);
        room = Py_XNewRef(recent->room);
    }
    int32_t i = 0;
    bool found;
    Py_BEGIN_ALLOW_THREADS
    found = batch_find_runs(&batch, tap, wanted);
    for (; found && i < batch.count; i += batch.packets[i].segments) {
        const Packet *p = &batch.packets[i];
        if (p->merged)
            continue;
        Head head;
        Part parts[PARTS_MAX];
        if (p->count > 1
                ? !write_parts(channel, parts, frame_parts(batch.packets, batch.items, i, &head, parts))
                : !write_packet(channel, p->data, batch.items[i].iov_len))
            break;
        writing->packets += p->count > 1 ? p->count : 1;
        writing->frames++;
        writing->super_packets += p->count > 1;
    }
    Py_END_ALLOW_THREADS
    if (!found)
        PyErr_NoMemory();
    else if (i < batch.count)
        writing->left = batch_frames(&batch, i);
    Py_XDECREF(room);
    if (count != 1)
        batch_clear(&batch);
    return found && (i >= batch.count || writing->left);
}

/* Write frames up to the first error. Return how many were written. */
static Py_ssize_t
write_frames(Channel channel, const Families *families, PyObject *const *frames, Py_ssize_t count)
{
    Py_ssize_t i = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; i < count; i++) {
        const uint8_t *frame = (const uint8_t *)PyBytes_AS_STRING(frames[i]);
        const size_t size = (size_t)PyBytes_GET_SIZE(frames[i]);
        if (!(families->any ? write_behind_family(channel, families, frame, size)
                            : write_frame(channel, frame, size)))
            break;
    }
    Py_END_ALLOW_THREADS
    return i;
}

/* Do what PacketWriter._takes does, for a frame that check_frame took. */
static inline bool
takes_super(const uint8_t *frame, size_t size, bool tap, Wanted wanted, const Layout *layout)
{
    enum { ETHERNET_MAX = 18 }; /* with one VLAN tag, as in PACKET_MAX of packetio.py */
    size -= VIRTIO_SIZE;
    switch (frame[1]) {
    case GSO_NONE:
        return size && size <= PACKET_MAX + (tap ? ETHERNET_MAX : 0);
    case GSO_UDP_L4:
        return wanted.udp;
    default:
        return wanted.tcp && !has_extensions(layout);
    }
}

/* Write a frame, and return whether it was written. A frame is not written if it is malformed,
   if no device carries its packet, if it is to be segmented and its protocol is not `wanted`, or
   if it is TCP behind extension headers. This does not need the GIL. */
static bool
write_super(Channel channel, const uint8_t *frame, size_t size, bool tap, Wanted wanted)
{
    Layout layout;
    return check_frame(frame, size, tap, &layout) &&
           takes_super(frame, size, tap, wanted, &layout) && write_frame(channel, frame, size);
}
