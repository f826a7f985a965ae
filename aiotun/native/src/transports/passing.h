/* What one port reads is written to another, as it is: see Port.target in fastpath.py. */

#pragma once

#include <Python.h>

#include "../packetio/writing.h"
#include "port.h"

/* Write a super-packet to the target, which has a virtio_net_hdr if the port that it comes from does.
   Without one all are packets, and their headers are empty. */
static bool
pass_frame(const Port *target, const uint8_t *frame, size_t size, Wanted wanted)
{
    return target->vnet_hdr ? write_super(target->channel, frame, size, target->tap, wanted)
                            : write_frame(target->channel, frame + VIRTIO_SIZE, size - VIRTIO_SIZE);
}

/* Write to the target what is read, through one buffer. This ends at the first frame that is not
   plain, which is to be delivered. Between the look at the target and the last write this thread
   runs no Python, so no finalizer can close either port meanwhile. */
static bool
pass_frames(Port *self, Reading *reading)
{
    PyObject **place = &self->kept->large[0];
    PyObject *room = take_room(place, FRAME_MAX);
    if (!room)
        return false;
    Port *target = (Port *)Py_NewRef(self->target); /* others may run while the GIL is released */
    target->uses++;
    uint8_t *frame = (uint8_t *)PyBytes_AS_STRING(room);
    const size_t header = self->vnet_hdr ? 0 : VIRTIO_SIZE;
    memset(frame, 0, header);
    const Wanted wanted = target->table->wanted;
    ptrdiff_t size = -1;
    Py_BEGIN_ALLOW_THREADS
    while (reading->frames < SUPER_PACKETS_MAX) {
        size = read_frame(self->channel, &NO_FAMILIES, frame + header, FRAME_MAX - header);
        if (size < 0)
            break;
        size += (ptrdiff_t)header;
        if (!pass_frame(target, frame, (size_t)size, wanted))
            break;
        count_frame(reading, frame, (size_t)size, self->tap);
        size = -1;
    }
    Py_END_ALLOW_THREADS
    count_sent(target->counts, reading);
    bool done = true;
    if (size >= 0) {
        shrink_room(room, size);
        done = append(reading->packets, new_super_packet(self, room));
        count_frame(reading, frame, (size_t)size, self->tap);
        if (!done)
            lose_frame(reading, frame, (size_t)size, self->tap);
    }
    keep_room(place, room);
    done = leave(target, done);
    Py_DECREF(target);
    return done;
}

static bool
may_pass(const Port *self)
{
    const Port *target = self->target;
    return target && target->channel >= 0 && self->vnet_hdr == target->vnet_hdr &&
           !self->families.any && !target->families.any && self->tap == target->tap && !target->closed &&
           !PyList_GET_SIZE(target->packets) && !PyObject_Size(target->backlog);
}
