/* Packets and their runs, of which GROTable and what writes make frames. */

#pragma once

#include <Python.h>

#include "coalesce.h"
#include "segment.h"
#include "system.h"

typedef struct {
    PyObject *const *items; /* bytes, which the caller holds */
    int32_t count;
    Packet *packets;
} Batch;

/* To be called with the GIL; it is given back for the work. False with an exception set,
   else batch_clear is to follow. `recent` is of the same layer, or NULL. */
static bool
batch_coalesce(Batch *batch, PyObject *const *items, Py_ssize_t count, Recent *recent, bool tap,
               bool tcp, bool udp)
{
    const size_t size = (size_t)(count ? count : 1) * sizeof(Packet);
    Packet *packets = count <= INT32_MAX ? allocate_aligned(CACHE_LINE, size) : NULL;
    *batch = (Batch){items, (int32_t)count, packets};
    size_t announced = 0;
    for (int32_t i = 0; packets && i < count; i += packets[i].segments, announced++) {
        const int32_t segments = recent ? count_recent(recent, items + i, count - i) : 0;
        announce(&packets[i], segments ? segments : 1, segments);
    }
    size_t slots_count = 2;
    while (slots_count * 3 < announced * 4)
        slots_count *= 2;
    bool done;
    Py_BEGIN_ALLOW_THREADS
    Slot *slots = PyMem_RawCalloc(slots_count, sizeof(Slot));
    done = packets && slots;
    if (done)
        coalesce(packets, items, batch->count, slots, slots_count - 1, tap, tcp, udp);
    PyMem_RawFree(slots);
    Py_END_ALLOW_THREADS
    if (!done) {
        free_aligned(packets);
        PyErr_NoMemory();
    }
    return done;
}

static void
batch_clear(Batch *batch)
{
    free_aligned(batch->packets);
}

static Py_ssize_t
batch_bytes(const Batch *batch)
{
    Py_ssize_t bytes = 0;
    for (int32_t i = 0; i < batch->count; i++)
        bytes += PyBytes_GET_SIZE(batch->items[i]);
    return bytes;
}

/* The frames from a packet on, as a list of bytes. */
static PyObject *
batch_frames(const Batch *batch, int32_t from)
{
    PyObject *frames = PyList_New(0);
    for (int32_t i = from; frames && i < batch->count; i += batch->packets[i].segments) {
        if (batch->packets[i].merged)
            continue;
        Head head;
        Part parts[PARTS_MAX];
        const int count = frame_parts(batch->packets, batch->items, i, &head, parts);
        Py_ssize_t size = 0;
        for (int j = 0; j < count; j++)
            size += (Py_ssize_t)parts[j].iov_len;
        PyObject *frame = PyBytes_FromStringAndSize(NULL, size);
        if (frame) {
            char *to = PyBytes_AS_STRING(frame);
            for (int j = 0; j < count; j++) {
                memcpy(to, parts[j].iov_base, parts[j].iov_len);
                to += parts[j].iov_len;
            }
        }
        if (!append(frames, frame))
            Py_CLEAR(frames);
    }
    return frames;
}

/* Without the GIL. */

/* A packet as it is. The kernel takes a small one sooner in one piece than in two. */
static bool
write_packet(int fd, const uint8_t *packet, size_t size)
{
    uint8_t frame[VIRTIO_SIZE + 512] = {0};
    if (size > sizeof frame - VIRTIO_SIZE)
        return write_parts(fd, (Part[]){part(frame, VIRTIO_SIZE), part(packet, size)}, 2);
    memcpy(frame + VIRTIO_SIZE, packet, size);
    return write_frame(fd, frame, VIRTIO_SIZE + size);
}

/* What one call wrote. */
typedef struct {
    Py_ssize_t bytes, frames, super_packets;
    PyObject *left; /* the frames that were not written, a list, or NULL if all were */
} Writing;

/* Coalesce and write up to the first error; false with an exception set. */
static bool
write_packets(Writing *writing, PyObject *const *items, Py_ssize_t count, Recent *recent, int fd,
              bool tap, bool tcp, bool udp)
{
    Packet single;
    Batch batch = {items, 1, &single};
    if (count == 1)
        single = (Packet){.segments = 1, .data = (const uint8_t *)PyBytes_AS_STRING(items[0])};
    else if (!batch_coalesce(&batch, items, count, recent, tap, tcp, udp))
        return false;
    *writing = (Writing){.bytes = batch_bytes(&batch)};
    int32_t i = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; i < batch.count; i += batch.packets[i].segments) {
        const Packet *p = &batch.packets[i];
        if (p->merged)
            continue;
        Head head;
        Part parts[PARTS_MAX];
        if (p->count > 1
                ? !write_parts(fd, parts, frame_parts(batch.packets, items, i, &head, parts))
                : !write_packet(fd, p->data, (size_t)PyBytes_GET_SIZE(items[i])))
            break;
        writing->frames++;
        writing->super_packets += p->count > 1;
    }
    Py_END_ALLOW_THREADS
    if (i < batch.count)
        writing->left = batch_frames(&batch, i);
    if (count != 1)
        batch_clear(&batch);
    return i >= batch.count || writing->left;
}

/* Write up to the first error; how many were written. */
static Py_ssize_t
write_frames(int fd, const Families *families, PyObject *const *frames, Py_ssize_t count)
{
    Py_ssize_t i = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; i < count; i++) {
        const uint8_t *frame = (const uint8_t *)PyBytes_AS_STRING(frames[i]);
        const size_t size = (size_t)PyBytes_GET_SIZE(frames[i]);
        if (!(families->any ? write_behind_family(fd, families, frame, size)
                            : write_frame(fd, frame, size)))
            break;
    }
    Py_END_ALLOW_THREADS
    return i;
}

/* Write a frame unless it is malformed, or to be segmented as what is false, or as TCP behind
   extension headers (see PacketWriter._takes); whether it was. Without the GIL. */
static bool
write_super(int fd, const uint8_t *frame, size_t size, bool tap, bool tcp, bool udp)
{
    Layout layout;
    return check_frame(frame, size, tap, &layout) &&
           (frame[1] == GSO_NONE ||
            (frame[1] == GSO_UDP_L4 ? udp : tcp && !has_extensions(&layout))) &&
           write_frame(fd, frame, size);
}
