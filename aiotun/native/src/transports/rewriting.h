/* What a port reads is written back to it, rewritten: see Port.rewrites in fastpath.py. */

#pragma once

#include <Python.h>

#include "../flows/translate.h"
#include "../packetio/writing.h"
#include "port.h"

/* Frames one behind the other. */
typedef struct {
    uint8_t *bytes;
    int count;
    size_t ends[FRAMES_MAX + 1]; /* where each begins, and the last one ends */
} Frames;

static size_t
frame_size(const Frames *frames, int i)
{
    return frames->ends[i + 1] - frames->ends[i];
}

/* This does not need the GIL. */
static void
gather(Frames *frames, Channel channel)
{
    size_t end = frames->ends[0] = 0;
    frames->count = 0;
    while (frames->count < FRAMES_MAX && end + FRAME_MAX <= GATHERED_MAX) {
        const ptrdiff_t size =
            read_frame(channel, &NO_FAMILIES, frames->bytes + end, FRAME_MAX);
        if (size < 0)
            break;
        frames->ends[++frames->count] = end += (size_t)size;
    }
}

/* Write back frames that are plain for their rewrites, up to the first that is refused, which is as it
   came afterwards. This does not need the GIL. */
static int
write_back(const Frames *frames, Rewrite *const *rewrites, const size_t *transports, int plain,
           Channel channel, Wanted wanted)
{
    int written = 0;
    for (; written < plain; written++) {
        uint8_t *frame = frames->bytes + frames->ends[written], head[PLAIN_MAX];
        const size_t changed = transports[written] + TCP_SIZE;
        memcpy(head, frame, changed);
        rewrite_head(rewrites[written], frame, transports[written]);
        if (!write_super(channel, frame, frame_size(frames, written), false, wanted)) {
            memcpy(frame, head, changed);
            break;
        }
    }
    return written;
}

/* Note frames that were read. Deliver them, if nobody else has had them. Return false with an exception
   set. */
static bool
take_frames(const Port *self, Reading *reading, const Frames *frames, int from, int to, bool deliver)
{
    bool done = true;
    for (int i = from; i < to; i++) {
        const uint8_t *frame = frames->bytes + frames->ends[i];
        const size_t size = frame_size(frames, i);
        count_frame(reading, frame, size, self->tap);
        if (!deliver)
            continue;
        PyObject *bytes =
            done ? PyBytes_FromStringAndSize((const char *)frame, (Py_ssize_t)size) : NULL;
        done = bytes && append(reading->packets, new_super_packet(self, bytes));
        Py_XDECREF(bytes);
        if (!done)
            lose_frame(reading, frame, size, self->tap);
    }
    return done;
}

/* Write back what is read, rewritten, as long as nothing else is to be done with it. What begins with
   the first other frame is delivered, as it came. As in pass_frames no Python of this thread runs
   between the first read and the last write. */
static bool
rewrite_frames(Port *self, Reading *reading)
{
    Kept *kept = self->kept;
    Frames frames = {.bytes = kept->gathered};
    kept->gathered = NULL; /* others may run while the GIL is released */
    if (!frames.bytes && !(frames.bytes = malloc(GATHERED_MAX))) {
        PyErr_NoMemory();
        return false;
    }
    PyTypeObject *type = ((State *)PyType_GetModuleState(self->base))->rewrite_type;
    PyObject *all = Py_NewRef(self->rewrites);
    const Wanted wanted = self->table->wanted;
    Rewrite *rewrites[FRAMES_MAX];
    size_t transports[FRAMES_MAX];
    int plain = 0, written;
    Py_BEGIN_ALLOW_THREADS
    gather(&frames, self->channel);
    Py_END_ALLOW_THREADS
    reading->more = frames.ends[frames.count] + FRAME_MAX > GATHERED_MAX;
    for (; plain < frames.count; plain++) {
        Rewrite *rewrite = find_rewrite(all, type, frames.bytes + frames.ends[plain],
                                        frame_size(&frames, plain), &transports[plain]);
        if (!rewrite)
            break;
        rewrite->used = true;
        rewrites[plain] = (Rewrite *)Py_NewRef((PyObject *)rewrite);
    }
    Py_BEGIN_ALLOW_THREADS
    written = write_back(&frames, rewrites, transports, plain, self->channel, wanted);
    Py_END_ALLOW_THREADS
    take_frames(self, reading, &frames, 0, written, false);
    count_sent(self->counts, reading);
    const bool done = take_frames(self, reading, &frames, written, frames.count, true);
    free(kept->gathered);
    kept->gathered = frames.bytes;
    for (int i = 0; i < plain; i++)
        Py_DECREF(rewrites[i]); /* this may run finalizers, as the next line may */
    Py_DECREF(all);
    return done;
}

static bool
may_rewrite(const Port *self)
{
    return self->rewrites && self->delivery == SUPER && !self->tap &&
           !PyList_GET_SIZE(self->packets) && !PyObject_Size(self->backlog);
}
