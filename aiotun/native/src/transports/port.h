/* Port: see fastpath.py.

   This does what happens for every packet. No Python runs between the system's calls and the
   protocol's. Whatever is not plain is left to the Python twin's function, which works on the
   same object. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "../state.h"
#include "../offload/table.h"
#include "../flows/translate.h"
#include "../packetio/writing.h"

/* Counters in packetio.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    unsigned long long frames_received, super_packets_received, packets_received, bytes_received,
        dropped_received, packets_sent, bytes_sent, frames_sent, super_packets_sent, dropped_sent;
} Counts;

#define COUNT(name) {#name, T_ULONGLONG, offsetof(Counts, name), 0, NULL}

static PyMemberDef counts_members[] = {
    COUNT(frames_received),
    COUNT(super_packets_received),
    COUNT(packets_received),
    COUNT(bytes_received),
    COUNT(dropped_received),
    COUNT(packets_sent),
    COUNT(bytes_sent),
    COUNT(frames_sent),
    COUNT(super_packets_sent),
    COUNT(dropped_sent),
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot counts_slots[] = {
    {Py_tp_members, counts_members},
    {0, NULL},
};

static PyType_Spec counts_spec = {
    .name = "aiotun.native._native.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = counts_slots,
};

typedef struct Port {
    PyObject_HEAD
    /* Attributes that the Python twin uses too. */
    PyObject *protocol, *callback; /* `callback` is the name of a method */
    PyObject *tick, *pending, *packets; /* these are lists */
    struct Port *target; /* it may be NULL */
    PyObject *rewrites;  /* a dict, or NULL */
    char reading, closed, due;
    int uses;
    Py_ssize_t turns;
    /* _bind sets all that follows. */
    PyTypeObject *base; /* the type in C, which all ports have as a base; NULL before _bind */
    PyObject *twin;     /* the twin's type, fastpath.Port */
    PyObject *backlog;  /* the frames that wait, of which only the number is asked */
    Counts *counts;
    Table *table;
    PyObject *super_packet, *frame; /* the type SuperPacket, and the name of its attribute */
    Kept *kept;
    Channel channel;
    bool tap, vnet_hdr;
    Families families;
    ReceiveMany receive_many; /* it may be NULL */
    Py_ssize_t size_max, limit, read_limit;
    enum { EACH, BATCH, SUPER } delivery; /* what the callback's name stands for */
} Port;

static bool
done_with(PyObject *result)
{
    Py_XDECREF(result);
    return result;
}

/* Call the twin's method of that name; the argument may be NULL. */
static PyObject *
leave_to_twin(Port *self, const char *name, PyObject *argument)
{
    if (!self->base)
        return PyErr_Format(PyExc_RuntimeError, "the port was not bound");
    return PyObject_CallMethod(self->twin, name, argument ? "OO" : "O", self, argument);
}

/* Return the exception that is set, or NULL, and set none. */
static PyObject *
take_exception(void)
{
    if (!PyErr_Occurred())
        return NULL;
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback)
        PyException_SetTraceback(exception, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return exception;
#endif
}

/* Set an exception as it was taken. PyErr_SetObject would give it what is handled here as its context. */
static void
raise_exception(PyObject *stolen)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(stolen);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(stolen)), stolen, PyException_GetTraceback(stolen));
#endif
}

/* Writing. */

/* A call that counted itself among the uses is over. Return `done`, which is false with an
   exception set. */
static bool
leave(Port *self, bool done)
{
    if (!self->closed) {
        self->uses--;
        return done;
    }
    PyObject *exception = done ? NULL : take_exception();
    done = done_with(leave_to_twin(self, "_leave", NULL));
    if (!exception)
        return done;
    if (done)
        raise_exception(exception);
    else
        Py_DECREF(exception);
    return false;
}

static bool
port_flush(Port *self)
{
    if (!PyList_GET_SIZE(self->packets))
        return true;
    self->uses++;
    PyObject *none = PyList_New(0); /* within this a finalizer may write, flush and close */
    if (!none)
        return leave(self, false);
    if (!self->base || PyObject_Size(self->backlog)) {
        Py_DECREF(none);
        return leave(self, done_with(leave_to_twin(self, "flush", NULL)));
    }
    PyObject *packets = self->packets; /* others may run while the GIL is released */
    self->packets = none;
    PyObject *const *items = PySequence_Fast_ITEMS(packets);
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    Writing writing = {0};
    bool done = true;
    if (self->vnet_hdr)
        done = write_packets(&writing, items, count, &self->kept->recent[self->tap], self->channel,
                             self->tap, self->table->wanted);
    else {
        for (Py_ssize_t i = 0; i < count; i++)
            writing.bytes += PyBytes_GET_SIZE(items[i]);
        writing.frames = write_frames(self->channel, &self->families, items, count);
        if (writing.frames < count)
            done = (writing.left = PyList_GetSlice(packets, writing.frames, count));
    }
    Py_DECREF(packets);
    if (!done)
        return leave(self, false);
    self->counts->packets_sent += (unsigned long long)count;
    self->counts->bytes_sent += (unsigned long long)writing.bytes;
    self->counts->frames_sent += (unsigned long long)writing.frames;
    self->counts->super_packets_sent += (unsigned long long)writing.super_packets;
    if (writing.left) {
        done = done_with(leave_to_twin(self, "write_left", writing.left));
        Py_DECREF(writing.left);
    }
    return leave(self, done);
}

static PyObject *
port_flush_method(PyObject *object, PyObject *Py_UNUSED(none))
{
    if (!port_flush((Port *)object))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_end_of_tick(PyObject *object, PyObject *none)
{
    ((Port *)object)->turns++;
    ((Port *)object)->due = false;
    return port_flush_method(object, none);
}

static bool
write_one(Port *self, PyObject *data)
{
    if (!PyBytes_CheckExact(data) || !PyBytes_GET_SIZE(data) ||
        PyBytes_GET_SIZE(data) > self->size_max || self->closed ||
        PyList_GET_SIZE(self->packets) + 1 >= self->limit ||
        !(self->due || PyList_GET_SIZE(self->tick)))
        return done_with(leave_to_twin(self, "write", data));
    if (!self->due) {
        if (PyList_Append(self->tick, (PyObject *)self))
            return false;
        self->due = true;
    }
    return append(self->packets, Py_NewRef(data));
}

static PyObject *
port_write(PyObject *object, PyObject *data)
{
    if (!write_one((Port *)object, data))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_writelines(PyObject *object, PyObject *packets)
{
    PyObject *iterator = PyObject_GetIter(packets), *packet;
    if (!iterator)
        return NULL;
    bool done = true;
    while (done && (packet = PyIter_Next(iterator))) {
        done = write_one((Port *)object, packet);
        Py_DECREF(packet);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static void
count_sent(Counts *counts, const Reading *written)
{
    counts->packets_sent += (unsigned long long)written->count;
    counts->bytes_sent += (unsigned long long)written->bytes;
    counts->frames_sent += (unsigned long long)written->frames;
    counts->super_packets_sent += (unsigned long long)written->super_packets;
}

static PyObject *
port_write_super(PyObject *object, PyObject *packet)
{
    Port *self = (Port *)object;
    if (!self->base || !PyObject_TypeCheck(packet, (PyTypeObject *)self->super_packet))
        return leave_to_twin(self, "write_super", packet);
    PyObject *frame = PyObject_GetAttr(packet, self->frame);
    if (!frame || !port_flush(self)) {
        Py_XDECREF(frame);
        return NULL;
    }
    /* This is asked last: what stands above may close the port, or leave frames that wait. */
    bool written = PyBytes_CheckExact(frame) && self->vnet_hdr && !self->closed &&
                   !PyObject_Size(self->backlog);
    if (written) {
        const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
        const size_t size = (size_t)PyBytes_GET_SIZE(frame);
        const Wanted wanted = self->table->wanted;
        self->uses++; /* another thread may end the transport while the GIL is released */
        Py_BEGIN_ALLOW_THREADS
        written = write_super(self->channel, data, size, self->tap, wanted);
        Py_END_ALLOW_THREADS
        if (written) {
            Reading counted = {0};
            count_frame(&counted, data, size, self->tap);
            count_sent(self->counts, &counted);
        }
        if (!leave(self, true)) {
            Py_DECREF(frame);
            return NULL;
        }
    }
    Py_DECREF(frame);
    if (written)
        Py_RETURN_NONE;
    return leave_to_twin(self, "write_super_flushed", packet);
}

/* Reading. */

/* Make SuperPacket(frame) without a call of Python. */
static PyObject *
new_super_packet(const Port *self, PyObject *frame)
{
    PyTypeObject *type = (PyTypeObject *)self->super_packet;
    PyObject *packet = type->tp_alloc(type, 0);
    if (packet && PyObject_SetAttr(packet, self->frame, frame))
        Py_CLEAR(packet);
    return packet;
}

/* One wake-up passes on so many super-packets at most, and begins no further batch after so many, or
   after it has split so many. */
enum { SUPER_PACKETS_MAX = 64, SPLIT_MAX = 12 };

/* It reads so many frames that have no virtio_net_hdr, or writes so many back. */
enum { FRAMES_MAX = 64 };

/* All that wait are read, where none is large: the more packets for one place are read together, the
   more of them leave together. */
static bool
read_super_packets(Port *self, Reading *reading)
{
    if (!read_frames(reading->packets, self->kept, self->channel, NULL, &self->families, ROOMS))
        return false;
    Py_ssize_t large = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(reading->packets); i++) {
        PyObject *frame = PyList_GET_ITEM(reading->packets, i);
        large += is_large(PyBytes_GET_SIZE(frame));
        count_frame(reading, (const uint8_t *)PyBytes_AS_STRING(frame),
                    (size_t)PyBytes_GET_SIZE(frame), self->tap);
        PyObject *packet = new_super_packet(self, frame);
        if (!packet)
            return false;
        PyList_SetItem(reading->packets, i, packet);
    }
    reading->more = large == LARGE_MAX;
    return true;
}

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
    size_t end = frames->count = 0;
    frames->ends[0] = 0;
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

/* Note frames that were read. Deliver them, if nobody else has had them. */
static bool
take_frames(const Port *self, Reading *reading, const Frames *frames, int from, int to, bool deliver)
{
    for (int i = from; i < to; i++) {
        const uint8_t *frame = frames->bytes + frames->ends[i];
        const size_t size = frame_size(frames, i);
        count_frame(reading, frame, size, self->tap);
        PyObject *bytes =
            deliver ? PyBytes_FromStringAndSize((const char *)frame, (Py_ssize_t)size) : NULL;
        const bool done =
            !deliver || (bytes && append(reading->packets, new_super_packet(self, bytes)));
        Py_XDECREF(bytes);
        if (!done)
            return false;
    }
    return true;
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

static bool
read_batch(Port *self, Reading *reading)
{
    if (may_pass(self))
        return pass_frames(self, reading);
    if (may_rewrite(self))
        return rewrite_frames(self, reading);
    if (self->delivery == SUPER)
        return read_super_packets(self, reading);
    if (self->vnet_hdr)
        return read_packets(reading, self->kept, self->channel, self->read_limit, self->tap);
    if (!read_frames(reading->packets, self->kept, self->channel, self->receive_many,
                     &self->families, FRAMES_MAX))
        return false;
    reading->frames = PyList_GET_SIZE(reading->packets);
    const Py_ssize_t last = reading->frames - 1;
    if (last >= 0 && !PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, last))) {
        reading->malformed = Py_NewRef(PyList_GET_ITEM(reading->packets, last));
        if (PyList_SetSlice(reading->packets, last, last + 1, NULL))
            return false;
    }
    count_packets(reading);
    return true;
}

/* Whether the protocol still takes what was read for it. */
static bool
goes_on(const Port *self, PyObject *protocol)
{
    return self->reading && self->protocol == protocol;
}

/* Call the protocol for each packet. Packets that it is not to get are pending afterwards. */
static bool
hand_over_each(Port *self, PyObject *callback, PyObject *protocol, PyObject *packets)
{
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    const size_t bound = PyMethod_Check(callback); /* its function is called at once, with the object */
    PyObject *function = bound ? PyMethod_GET_FUNCTION(callback) : callback;
    PyObject *arguments[] = {NULL, bound ? PyMethod_GET_SELF(callback) : NULL, NULL};
    Py_ssize_t taken = 0;
    bool done = true;
    while (done && taken < count && (!taken || goes_on(self, protocol))) {
        arguments[2] = PyList_GET_ITEM(packets, taken++);
        done = done_with(PyObject_Vectorcall(function, arguments + 2 - bound,
                                             (1 + bound) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
    }
    if (taken == count)
        return done;
    PyObject *exception = take_exception();
    const bool kept = !PyList_SetSlice(packets, 0, taken, NULL) &&
                      !PyList_SetSlice(self->pending, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, packets);
    if (kept && exception)
        raise_exception(exception);
    else
        Py_XDECREF(exception);
    return done && kept;
}

/* Call the protocol. Return false with an exception set. */
static bool
hand_over(Port *self, PyObject *name, PyObject *packets)
{
    const bool each = self->delivery == EACH;
    PyObject *protocol = Py_NewRef(self->protocol); /* the callback may set another one */
    bool done;
    if (each && PyList_GET_SIZE(packets) > 1) {
        PyObject *callback = PyObject_GetAttr(protocol, name);
        done = callback && hand_over_each(self, callback, protocol, packets);
        Py_XDECREF(callback);
    }
    else
        done = done_with(PyObject_CallMethodOneArg(
            protocol, name, each ? PyList_GET_ITEM(packets, 0) : packets));
    Py_DECREF(protocol);
    return done;
}

/* Tell the owner of the exception that is set, unless it is one that ends the loop. Return false
   with an exception set. */
static bool
complain(Port *self, PyObject *where)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return false;
    PyObject *exception = take_exception();
    PyObject *owner = PyObject_GetAttrString((PyObject *)self, "owner");
    const bool done =
        owner && done_with(PyObject_CallMethod(owner, "_complain", "OO", exception, where));
    Py_XDECREF(owner);
    Py_DECREF(exception);
    return done;
}

/* Flush all that is in the tick, as flush_since() does. `written` is an empty list, which takes
   what is flushed. An exception does not end this. Return false with the last exception set. */
static bool
flush_tick(Port *self, PyObject *written)
{
    PyObject *exception = take_exception();
    exchange_items(written, self->tick);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(written); i++) {
        PyObject *port = PyList_GET_ITEM(written, i);
        if (!done_with(Py_TYPE(port) == Py_TYPE(self)
                           ? port_end_of_tick(port, NULL)
                           : PyObject_CallMethod(port, "_end_of_tick", NULL))) {
            PyObject *later = take_exception();
            if (later == exception) /* it is no context of its own */
                Py_DECREF(exception);
            else
                PyException_SetContext(later, exception);
            exception = later;
        }
    }
    if (exception)
        raise_exception(exception);
    return !exception;
}

/* Give the protocol these packets. Nothing else is pending, and no other delivery is under way. */
static bool
deliver(Port *self, PyObject *packets)
{
    PyObject *written = PyList_New(0); /* made before the tick begins: a finalizer may write */
    if (!written || PyList_Append(self->tick, (PyObject *)self)) {
        Py_XDECREF(written);
        return false;
    }
    self->due = true;
    PyObject *name = Py_NewRef(self->callback);
    bool done = hand_over(self, name, packets) || complain(self, name);
    Py_DECREF(name);
    while (done && PyList_GET_SIZE(self->pending) && self->reading)
        done = done_with(leave_to_twin(self, "_hand_over", NULL));
    const bool flushed = flush_tick(self, written);
    Py_DECREF(written);
    return done && flushed;
}

/* Let the twin deliver the packets, or keep them until they can be delivered. */
static bool
deliver_late(Port *self, PyObject *packets)
{
    return !PyList_SetSlice(self->pending, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, packets) &&
           done_with(leave_to_twin(self, "deliver", NULL));
}

static bool
refuse_malformed(Port *self, PyObject *frame)
{
    PyObject *reader = PyObject_GetAttrString((PyObject *)self, "reader");
    const bool done = reader && done_with(PyObject_CallMethod(reader, "refuse", "O", frame));
    Py_XDECREF(reader);
    return done;
}

/* Read one batch and deliver it. Return false with an exception set. If `reading` has no frames then,
   nothing waited, there is an error, or it is for the twin to read. */
static bool
read_and_deliver(Port *self, Reading *reading)
{
    const bool super = self->delivery == SUPER;
    const bool plain = self->base && self->reading && !PyList_GET_SIZE(self->pending) &&
                       !PyList_GET_SIZE(self->tick) &&
                       (!super || self->vnet_hdr || may_pass(self));
    if (!plain)
        return true;
    self->uses++; /* another thread may end the transport while the GIL is released */
    if (!leave(self, read_batch(self, reading)))
        return false;
    Counts *counts = self->counts;
    counts->frames_received += (unsigned long long)reading->frames;
    counts->super_packets_received += (unsigned long long)reading->super_packets;
    counts->packets_received += (unsigned long long)reading->count;
    counts->bytes_received += (unsigned long long)reading->bytes;
    if (reading->malformed && !refuse_malformed(self, reading->malformed))
        return false;
    if (!PyList_GET_SIZE(reading->packets))
        return true;
    const bool still = self->reading && (self->delivery == SUPER) == super &&
                       !PyList_GET_SIZE(self->pending) && !PyList_GET_SIZE(self->tick);
    return still ? deliver(self, reading->packets) : deliver_late(self, reading->packets);
}

static PyObject *
port_read_ready(PyObject *object, PyObject *Py_UNUSED(none))
{
    Port *self = (Port *)object;
    Py_ssize_t frames = 0;
    bool done, more;
    do {
        Reading reading = {.packets = PyList_New(0)};
        done = reading.packets && read_and_deliver(self, &reading);
        frames += reading.frames;
        more = reading.more;
        reading_clear(&reading);
    } while (done && more && frames < (self->delivery == SUPER ? SUPER_PACKETS_MAX : SPLIT_MAX));
    if (done && !frames)
        return leave_to_twin(self, "read_ready", NULL);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

/* The type. */

static PyObject *
port_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(keywords))
{
    PyObject *tick = PyList_New(0), *pending = PyList_New(0), *packets = PyList_New(0);
    Port *self = tick && pending && packets ? (Port *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        Py_XDECREF(tick);
        Py_XDECREF(pending);
        Py_XDECREF(packets);
        return NULL;
    }
    self->protocol = Py_NewRef(Py_None);
    self->callback = Py_NewRef(Py_None);
    self->tick = tick;
    self->pending = pending;
    self->packets = packets;
    self->channel = -1;
    return (PyObject *)self;
}

/* Set all that the functions in C need. The twin calls this once, when it has set its
   attributes. */
static PyObject *
port_bind(PyObject *object, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
          PyObject *Py_UNUSED(names))
{
    Port *self = (Port *)object;
    State *state = PyType_GetModuleState(base);
    if (!state->super_packet)
        state->super_packet = import_from("aiotun.offload.superpacket", "SuperPacket");
    PyObject *tuple = PyTuple_New(count);
    if (!state->super_packet || !tuple) {
        Py_XDECREF(tuple);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(arguments[i]));
    PyObject *twin, *layer, *table, *backlog, *counters;
    int vnet_hdr;
    Py_ssize_t channel, call = 0;
    Families families;
    Py_ssize_t read_limit, limit, size_max;
    const bool valid = PyArg_ParseTuple(
        tuple, "O!nUpO&O!OO!nnn|n:_bind", &PyType_Type, &twin, &channel, &layer, &vnet_hdr, to_families,
        &families, state->table_type, &table, &backlog, state->counts_type, &counters, &read_limit, &limit,
        &size_max, &call);
    if (valid && self->base)
        PyErr_SetString(PyExc_RuntimeError, "a port is bound once");
    if (valid && !self->base) {
        self->frame = PyUnicode_InternFromString("_frame");
        self->twin = Py_NewRef(twin);
        self->backlog = Py_NewRef(backlog);
        self->counts = (Counts *)Py_NewRef(counters);
        self->table = (Table *)Py_NewRef(table);
        self->super_packet = Py_NewRef(state->super_packet);
        self->kept = &state->kept;
        self->channel = channel;
        self->tap = is_tap(layer);
        self->vnet_hdr = vnet_hdr;
        self->families = families;
        self->receive_many = (ReceiveMany)call;
        self->size_max = size_max;
        self->limit = limit;
        self->read_limit = read_limit;
        if (self->frame)
            self->base = base; /* the object's own type holds a reference to it */
    }
    Py_DECREF(tuple);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* A queue that is watched has no descriptor here: each read and write fails, and the twin goes
   on. */
static PyObject *
port_set_channel(PyObject *object, PyObject *number)
{
    const Py_ssize_t channel = PyLong_AsSsize_t(number);
    if (channel == -1 && PyErr_Occurred())
        return NULL;
    ((Port *)object)->channel = channel;
    Py_RETURN_NONE;
}

static int
port_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Port *self = (Port *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->protocol);
    Py_VISIT(self->target);
    Py_VISIT(self->rewrites);
    Py_VISIT(self->tick);
    Py_VISIT(self->pending);
    Py_VISIT(self->packets);
    Py_VISIT(self->backlog);
    Py_VISIT(self->counts);
    return 0;
}

/* Clear what cycles go through. Lists need not be cleared here, as the collector clears them.
   After this, nothing that methods use is NULL. */
static int
port_clear(PyObject *object)
{
    Port *self = (Port *)object;
    Py_XSETREF(self->protocol, Py_NewRef(Py_None));
    Py_CLEAR(self->target);
    Py_CLEAR(self->rewrites);
    return 0;
}

static void
port_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Port *self = (Port *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->protocol);
    Py_XDECREF(self->callback);
    Py_XDECREF(self->tick);
    Py_XDECREF(self->pending);
    Py_XDECREF(self->packets);
    Py_XDECREF(self->target);
    Py_XDECREF(self->rewrites);
    Py_XDECREF(self->twin);
    Py_XDECREF(self->backlog);
    Py_XDECREF(self->counts);
    Py_XDECREF(self->table);
    Py_XDECREF(self->super_packet);
    Py_XDECREF(self->frame);
    type->tp_free(object);
    Py_DECREF(type);
}

/* An attribute at an offset: a list, or any object. */
typedef struct {
    size_t at;
    bool list;
} Attribute;

static const Attribute protocol_attribute = {offsetof(Port, protocol), false},
                       tick_attribute = {offsetof(Port, tick), true},
                       pending_attribute = {offsetof(Port, pending), true},
                       packets_attribute = {offsetof(Port, packets), true};

static PyObject *
port_get(PyObject *object, void *closure)
{
    return Py_NewRef(*(PyObject **)((char *)object + ((const Attribute *)closure)->at));
}

static int
port_set(PyObject *object, PyObject *value, void *closure)
{
    const Attribute *attribute = closure;
    if (!value || (attribute->list && !PyList_Check(value))) {
        PyErr_Format(PyExc_TypeError, "this attribute is %s", attribute->list ? "a list" : "there");
        return -1;
    }
    PyObject **place = (PyObject **)((char *)object + attribute->at);
    Py_XSETREF(*place, Py_NewRef(value));
    return 0;
}

static PyObject *
port_get_callback(PyObject *object, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Port *)object)->callback);
}

static int
port_set_callback(PyObject *object, PyObject *name, void *Py_UNUSED(closure))
{
    Port *self = (Port *)object;
    if (!name || !PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a callback is set by its name");
        return -1;
    }
    Py_XSETREF(self->callback, Py_NewRef(name));
    self->delivery = !PyUnicode_CompareWithASCIIString(name, "packet_received")    ? EACH
                     : !PyUnicode_CompareWithASCIIString(name, "packets_received") ? BATCH
                                                                                   : SUPER;
    return 0;
}

static PyObject *
port_get_target(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *target = (PyObject *)((Port *)object)->target;
    return Py_NewRef(target ? target : Py_None);
}

static int
port_set_target(PyObject *object, PyObject *target, void *Py_UNUSED(closure))
{
    Port *self = (Port *)object;
    const bool none = target == Py_None;
    if (!target || (!none && !(self->base && PyObject_TypeCheck(target, self->base) &&
                               ((Port *)target)->base))) {
        PyErr_SetString(PyExc_TypeError, "a target is a native port, or None");
        return -1;
    }
    Py_XSETREF(self->target, none ? NULL : (Port *)Py_NewRef(target));
    return 0;
}

static PyObject *
port_get_rewrites(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *rewrites = ((Port *)object)->rewrites;
    return Py_NewRef(rewrites ? rewrites : Py_None);
}

static int
port_set_rewrites(PyObject *object, PyObject *rewrites, void *Py_UNUSED(closure))
{
    if (!rewrites || (rewrites != Py_None && !PyDict_Check(rewrites))) {
        PyErr_SetString(PyExc_TypeError, "rewrites are a dict, or None");
        return -1;
    }
    Py_XSETREF(((Port *)object)->rewrites, rewrites == Py_None ? NULL : Py_NewRef(rewrites));
    return 0;
}

static PyGetSetDef port_properties[] = {
    {"protocol", port_get, port_set, NULL, (void *)&protocol_attribute},
    {"tick", port_get, port_set, NULL, (void *)&tick_attribute},
    {"pending", port_get, port_set, NULL, (void *)&pending_attribute},
    {"packets", port_get, port_set, NULL, (void *)&packets_attribute},
    {"target", port_get_target, port_set_target, NULL, NULL},
    {"rewrites", port_get_rewrites, port_set_rewrites, NULL, NULL},
    {"callback", port_get_callback, port_set_callback, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef port_members[] = {
    {"reading", T_BOOL, offsetof(Port, reading), 0, NULL},
    {"closed", T_BOOL, offsetof(Port, closed), 0, NULL},
    {"due", T_BOOL, offsetof(Port, due), 0, NULL},
    {"uses", T_INT, offsetof(Port, uses), 0, NULL},
    {"turns", T_PYSSIZET, offsetof(Port, turns), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef port_methods[] = {
    {"_bind", (PyCFunction)(void (*)(void))port_bind, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     NULL},
    {"_set_channel", port_set_channel, METH_O, NULL},
    {"write", port_write, METH_O, "write($self, data, /)\n--\n\nSee `PacketTransport.write`."},
    {"writelines", port_writelines, METH_O, NULL},
    {"write_super", port_write_super, METH_O,
     "write_super($self, packet, /)\n--\n\nSee `PacketTransport.write_super`."},
    {"flush", port_flush_method, METH_NOARGS, NULL},
    {"_end_of_tick", port_end_of_tick, METH_NOARGS, NULL},
    {"read_ready", port_read_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot port_slots[] = {
    {Py_tp_new, port_new},
    {Py_tp_dealloc, port_dealloc},
    {Py_tp_traverse, port_traverse},
    {Py_tp_clear, port_clear},
    {Py_tp_members, port_members},
    {Py_tp_methods, port_methods},
    {Py_tp_getset, port_properties},
    {0, NULL},
};

static PyType_Spec port_spec = {
    .name = "aiotun.native._native.Port",
    .basicsize = sizeof(Port),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = port_slots,
};
