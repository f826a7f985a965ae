/* Port: see port.py. What a transport does each time all is well, with no Python between the
   system's calls and the protocol's; whatever is not plain goes to the transport's methods. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "batch.h"
#include "state.h"
#include "table.h"

/* What Counters in packetio.py is made of. */
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
    PyObject *transport, *write, *write_super; /* its methods, before they are replaced by ours */
    PyObject *protocol, *callback;
    enum { EACH, BATCH, SUPER } delivery; /* that the callback's name stands for */
    PyObject *tick, *pending, *backlog; /* lists, and a sized object */
    Counts *counts;
    Table *table;
    PyObject *super_packet, *frame; /* the type, and the name of its attribute */
    struct Port *target; /* or NULL */
    Kept *kept;
    int fd;
    bool tap, vnet_hdr;
    Py_ssize_t size_max, limit, read_limit;
    char hold, closed, due;
    PyObject *packets; /* a list of those that were written; nobody else has it */
} Port;

/* Writing. */

static bool
done_with(PyObject *result)
{
    Py_XDECREF(result);
    return result;
}

/* Like transport.flush(). */
static bool
port_flush(Port *self)
{
    if (!PyList_GET_SIZE(self->packets))
        return true;
    PyObject *none = PyList_New(0); /* a finalizer may write, flush and close */
    if (!none)
        return false;
    const Py_ssize_t waiting = PyObject_Size(self->backlog);
    if (waiting) {
        Py_DECREF(none);
        return waiting > 0 && done_with(PyObject_CallMethod(self->transport, "flush", NULL));
    }
    PyObject *packets = self->packets; /* taken away: others run while the GIL is given back */
    self->packets = none;
    PyObject *const *items = PySequence_Fast_ITEMS(packets);
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    Writing writing = {0};
    bool done = true;
    if (self->vnet_hdr)
        done = write_packets(&writing, items, count, &self->kept->recent[self->tap],
                             self->fd, self->tap, self->table->tcp, self->table->udp);
    else {
        for (Py_ssize_t i = 0; i < count; i++)
            writing.bytes += PyBytes_GET_SIZE(items[i]);
        writing.frames = write_frames(self->fd, items, count);
        if (writing.frames < count)
            done = (writing.left = PyList_GetSlice(packets, writing.frames, count));
    }
    Py_DECREF(packets);
    if (!done)
        return false;
    self->counts->packets_sent += (unsigned long long)count;
    self->counts->bytes_sent += (unsigned long long)writing.bytes;
    self->counts->frames_sent += (unsigned long long)writing.frames;
    self->counts->super_packets_sent += (unsigned long long)writing.super_packets;
    if (writing.left)
        done = done_with(PyObject_CallMethod(self->transport, "_write_left", "N", writing.left));
    return done;
}

static PyObject *
port_write(PyObject *object, PyObject *data)
{
    Port *self = (Port *)object;
    if (!PyBytes_CheckExact(data) || !PyBytes_GET_SIZE(data) ||
        PyBytes_GET_SIZE(data) > self->size_max || self->closed ||
        PyList_GET_SIZE(self->packets) + 1 >= self->limit || !(self->due || PyList_GET_SIZE(self->tick)))
        return PyObject_CallOneArg(self->write, data);
    if (!self->due) {
        if (PyList_Append(self->tick, object))
            return NULL;
        self->due = true;
    }
    if (PyList_Append(self->packets, data))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_append(PyObject *object, PyObject *packet)
{
    if (!PyBytes_CheckExact(packet))
        return PyErr_Format(PyExc_TypeError, "a packet is bytes");
    if (PyList_Append(((Port *)object)->packets, packet))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_take(PyObject *object, PyObject *Py_UNUSED(none))
{
    Port *self = (Port *)object;
    PyObject *none = PyList_New(0); /* a finalizer may write and flush */
    if (!none)
        return NULL;
    PyObject *packets = self->packets;
    self->packets = none;
    return packets;
}

static Py_ssize_t
port_length(PyObject *object)
{
    return PyList_GET_SIZE(((Port *)object)->packets);
}

static void
count_super_packets(Counts *counts, Py_ssize_t frames, Py_ssize_t super_packets, Py_ssize_t bytes)
{
    counts->packets_sent += (unsigned long long)frames;
    counts->bytes_sent += (unsigned long long)bytes;
    counts->frames_sent += (unsigned long long)frames;
    counts->super_packets_sent += (unsigned long long)super_packets;
}

static PyObject *
port_write_super(PyObject *object, PyObject *packet)
{
    Port *self = (Port *)object;
    if (!PyObject_TypeCheck(packet, (PyTypeObject *)self->super_packet))
        return PyObject_CallOneArg(self->write_super, packet);
    PyObject *frame = PyObject_GetAttr(packet, self->frame);
    if (!frame || !port_flush(self)) {
        Py_XDECREF(frame);
        return NULL;
    }
    /* Not before all that may close it, or leave something that waits. */
    bool written = PyBytes_CheckExact(frame) && self->vnet_hdr && !self->closed &&
                   !PyObject_Size(self->backlog);
    if (written) {
        const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
        const size_t size = (size_t)PyBytes_GET_SIZE(frame);
        const bool tcp = self->table->tcp, udp = self->table->udp;
        Py_BEGIN_ALLOW_THREADS
        written = write_super(self->fd, data, size, self->tap, tcp, udp);
        Py_END_ALLOW_THREADS
        if (written)
            count_super_packets(self->counts, 1, data[1] != GSO_NONE, size - VIRTIO_SIZE);
    }
    Py_DECREF(frame);
    if (written)
        Py_RETURN_NONE;
    return PyObject_CallOneArg(self->write_super, packet);
}

static PyObject *
port_end_of_tick(PyObject *object, PyObject *Py_UNUSED(none))
{
    Port *self = (Port *)object;
    self->due = false;
    if (!port_flush(self))
        return NULL;
    Py_RETURN_NONE;
}

/* Reading. */

/* SuperPacket(frame), with no call of Python. */
static PyObject *
new_super_packet(const Port *self, PyObject *frame)
{
    PyTypeObject *type = (PyTypeObject *)self->super_packet;
    PyObject *packet = type->tp_alloc(type, 0);
    if (packet && PyObject_SetAttr(packet, self->frame, frame))
        Py_CLEAR(packet);
    return packet;
}

static bool
read_super_packets(Port *self, Reading *reading)
{
    if (!read_frames(reading->packets, self->kept, self->fd, self->read_limit))
        return false;
    reading->frames = PyList_GET_SIZE(reading->packets);
    for (Py_ssize_t i = 0; i < reading->frames; i++) {
        PyObject *frame = PyList_GET_ITEM(reading->packets, i);
        const Py_ssize_t size = PyBytes_GET_SIZE(frame);
        reading->bytes += packet_size(size);
        reading->super_packets += size > 1 && PyBytes_AS_STRING(frame)[1];
        PyObject *packet = new_super_packet(self, frame);
        if (!packet)
            return false;
        PyList_SetItem(reading->packets, i, packet);
    }
    return true;
}

/* Frames that one call passes on. */
enum { PASSED_FRAMES_MAX = 64 };

/* Write what is read to the target, through one buffer, up to the first frame that is not plain:
   that one is to be delivered. */
static bool
pass_frames(Port *self, Reading *reading)
{
    PyObject **place = &self->kept->large[0];
    PyObject *room = take_room(place);
    if (!room)
        return false;
    Port *target = (Port *)Py_NewRef(self->target); /* others run while the GIL is given back */
    uint8_t *frame = (uint8_t *)PyBytes_AS_STRING(room);
    const bool tcp = target->table->tcp, udp = target->table->udp;
    ptrdiff_t size = 0;
    Py_BEGIN_ALLOW_THREADS
    while (reading->frames < PASSED_FRAMES_MAX) {
        size = read_frame(self->fd, frame, FRAME_MAX);
        if (size <= 0 || !write_super(target->fd, frame, (size_t)size, self->tap, tcp, udp))
            break;
        reading->frames++;
        reading->super_packets += frame[1] != GSO_NONE;
        reading->bytes += packet_size(size);
        size = 0;
    }
    Py_END_ALLOW_THREADS
    self->counts->packets_received += (unsigned long long)reading->frames;
    count_super_packets(target->counts, reading->frames, reading->super_packets, reading->bytes);
    Py_DECREF(target);
    bool done = true;
    if (size > 0) {
        shrink_room(room, size);
        done = append(reading->packets, new_super_packet(self, room));
        reading->frames++;
        reading->super_packets += size > 1 && frame[1] != GSO_NONE;
        reading->bytes += packet_size(size);
    }
    keep_room(place, room);
    return done;
}

static bool
may_pass(const Port *self)
{
    const Port *target = self->target;
    return target && self->vnet_hdr && target->vnet_hdr && self->tap == target->tap &&
           !target->closed && !PyList_GET_SIZE(target->packets) && !PyObject_Size(target->backlog);
}

static bool
read_batch(Port *self, Reading *reading)
{
    if (may_pass(self))
        return pass_frames(self, reading);
    if (self->delivery == SUPER)
        return read_super_packets(self, reading);
    if (self->vnet_hdr)
        return read_packets(reading, self->kept, self->fd, self->read_limit, self->tap);
    if (!read_frames(reading->packets, self->kept, self->fd, self->read_limit))
        return false;
    reading->frames = PyList_GET_SIZE(reading->packets);
    for (Py_ssize_t i = 0; i < reading->frames; i++)
        reading->bytes += PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, i));
    return true;
}

/* The one that is set, or NULL. */
static PyObject *
take_exception(void)
{
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

static void
raise_exception(PyObject *stolen)
{
    PyErr_SetObject((PyObject *)Py_TYPE(stolen), stolen);
    Py_DECREF(stolen);
}

/* Call the protocol for each packet; those that it is not to get are pending then. */
static bool
hand_over_each(Port *self, PyObject *callback, PyObject *packets)
{
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    Py_ssize_t taken = 0;
    bool done = true;
    while (done && !self->hold && taken < count)
        done = done_with(PyObject_CallOneArg(callback, PyList_GET_ITEM(packets, taken++)));
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

/* Call the protocol. False with an exception set. */
static bool
hand_over(Port *self, PyObject *name, PyObject *packets)
{
    const bool each = self->delivery == EACH;
    PyObject *protocol = Py_NewRef(self->protocol); /* another one may come within */
    PyObject *callback = PyObject_GetAttr(protocol, name);
    const bool done = callback && (each ? hand_over_each(self, callback, packets)
                                        : done_with(PyObject_CallOneArg(callback, packets)));
    Py_XDECREF(callback);
    Py_DECREF(protocol);
    return done;
}

/* Tell the loop of an exception that is none of those that end it. False with one set. */
static bool
complain(Port *self, PyObject *where)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return false;
    return done_with(
        PyObject_CallMethod(self->transport, "_complain", "NO", take_exception(), where));
}

/* Like flush_since(), of all in the tick, into an empty list. It goes on from exceptions; false with
   the last one set. */
static bool
flush_tick(Port *self, PyObject *written)
{
    PyObject *exception = take_exception();
    const bool taken = !PyList_SetSlice(written, 0, 0, self->tick) &&
                       !PyList_SetSlice(self->tick, 0, PY_SSIZE_T_MAX, NULL);
    for (Py_ssize_t i = 0; taken && i < PyList_GET_SIZE(written); i++) {
        PyObject *port = PyList_GET_ITEM(written, i);
        if (!done_with(Py_TYPE(port) == Py_TYPE(self)
                           ? port_end_of_tick(port, NULL)
                           : PyObject_CallMethod(port, "end_of_tick", NULL))) {
            PyObject *later = take_exception();
            PyException_SetContext(later, exception);
            exception = later;
        }
    }
    if (exception && taken)
        raise_exception(exception);
    else
        Py_XDECREF(exception);
    return !exception && taken;
}

/* Like transport._deliver(), of the one whose turn it is. */
static bool
deliver(Port *self, PyObject *packets)
{
    PyObject *written = PyList_New(0); /* a finalizer may write: so before the tick begins */
    if (!written || PyList_Append(self->tick, (PyObject *)self)) {
        Py_XDECREF(written);
        return false;
    }
    self->due = true;
    PyObject *name = Py_NewRef(self->callback);
    bool done = hand_over(self, name, packets) || complain(self, name);
    Py_DECREF(name);
    if (done && PyList_GET_SIZE(self->pending))
        done = done_with(PyObject_CallMethod(self->transport, "_deliver", "[]"));
    const bool flushed = flush_tick(self, written);
    Py_DECREF(written);
    return done && flushed;
}

static PyObject *
port_read_ready(PyObject *object, PyObject *Py_UNUSED(none))
{
    Port *self = (Port *)object;
    Reading reading = {.packets = PyList_New(0)};
    if (!reading.packets)
        return NULL;
    const bool plain = !self->hold && !self->closed && !PyList_GET_SIZE(self->pending) &&
                       !PyList_GET_SIZE(self->tick) && (self->delivery != SUPER || self->vnet_hdr);
    if (plain && !read_batch(self, &reading)) {
        reading_clear(&reading);
        return NULL;
    }
    if (!reading.frames) { /* it may be an error */
        reading_clear(&reading);
        return PyObject_CallMethod(self->transport, "_read_ready", NULL);
    }
    Counts *counts = self->counts;
    counts->frames_received += (unsigned long long)reading.frames;
    counts->super_packets_received += (unsigned long long)reading.super_packets;
    counts->packets_received += (unsigned long long)PyList_GET_SIZE(reading.packets);
    counts->bytes_received += (unsigned long long)reading.bytes;
    Py_INCREF(self);
    const bool done = (!reading.malformed ||
                       done_with(PyObject_CallMethod(self->transport, "_malformed", "O",
                                                     reading.malformed))) &&
                      (!PyList_GET_SIZE(reading.packets) || deliver(self, reading.packets));
    Py_DECREF(self);
    reading_clear(&reading);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

/* The type. */

static PyObject *
port_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    State *state = PyType_GetModuleState(type);
    PyObject *transport, *tick, *layer, *table, *backlog, *counters;
    Py_ssize_t size_max, limit, read_limit;
    int fd, vnet_hdr;
    if (!PyArg_ParseTuple(args, "OO!nnniUpO!OO!:Port", &transport, &PyList_Type, &tick, &size_max,
                          &limit, &read_limit, &fd, &layer, &vnet_hdr, state->table_type, &table,
                          &backlog, state->counts_type, &counters))
        return NULL;
    if (!twin(&state->super_packet, "aiotun.offload.superpacket", "SuperPacket"))
        return NULL;
    Port *self = (Port *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->transport = Py_NewRef(transport);
    self->write = PyObject_GetAttrString(transport, "write");
    self->write_super = PyObject_GetAttrString(transport, "write_super");
    self->protocol = Py_NewRef(Py_None);
    self->callback = Py_NewRef(Py_None);
    self->tick = Py_NewRef(tick);
    self->pending = PyList_New(0);
    self->packets = PyList_New(0);
    self->backlog = Py_NewRef(backlog);
    self->counts = (Counts *)Py_NewRef(counters);
    self->table = (Table *)Py_NewRef(table);
    self->super_packet = Py_XNewRef(state->super_packet);
    self->frame = PyUnicode_InternFromString("_frame");
    self->kept = &state->kept;
    self->fd = fd;
    self->tap = is_tap(layer);
    self->vnet_hdr = vnet_hdr;
    self->size_max = size_max;
    self->limit = limit;
    self->read_limit = read_limit;
    self->hold = true;
    if (!self->write || !self->write_super || !self->pending || !self->packets ||
        !self->super_packet || !self->frame)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
port_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Port *self = (Port *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->transport);
    Py_VISIT(self->write);
    Py_VISIT(self->write_super);
    Py_VISIT(self->protocol);
    Py_VISIT(self->target);
    Py_VISIT(self->tick);
    Py_VISIT(self->pending);
    Py_VISIT(self->backlog);
    Py_VISIT(self->counts);
    return 0;
}

/* What cycles go through, and nothing is NULL after it: methods may still be called. */
static int
port_clear(PyObject *object)
{
    Port *self = (Port *)object;
    Py_XSETREF(self->transport, Py_NewRef(Py_None));
    Py_XSETREF(self->write, Py_NewRef(Py_None));
    Py_XSETREF(self->write_super, Py_NewRef(Py_None));
    Py_XSETREF(self->protocol, Py_NewRef(Py_None));
    Py_CLEAR(self->target);
    return 0;
}

static void
port_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Port *self = (Port *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->transport);
    Py_XDECREF(self->write);
    Py_XDECREF(self->write_super);
    Py_XDECREF(self->protocol);
    Py_XDECREF(self->target);
    Py_XDECREF(self->callback);
    Py_XDECREF(self->tick);
    Py_XDECREF(self->pending);
    Py_XDECREF(self->backlog);
    Py_XDECREF(self->counts);
    Py_XDECREF(self->table);
    Py_XDECREF(self->super_packet);
    Py_XDECREF(self->frame);
    Py_XDECREF(self->packets);
    type->tp_free(object);
    Py_DECREF(type);
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
    if (!target || (target != Py_None && Py_TYPE(target) != Py_TYPE(object))) {
        PyErr_SetString(PyExc_TypeError, "a target is a Port, or None");
        return -1;
    }
    Py_XSETREF(((Port *)object)->target, target == Py_None ? NULL : (Port *)Py_NewRef(target));
    return 0;
}

static PyGetSetDef port_properties[] = {
    {"target", port_get_target, port_set_target, NULL, NULL},
    {"callback", port_get_callback, port_set_callback, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef port_members[] = {
    {"protocol", T_OBJECT, offsetof(Port, protocol), 0, NULL},
    {"pending", T_OBJECT, offsetof(Port, pending), READONLY, NULL},
    {"hold", T_BOOL, offsetof(Port, hold), 0, NULL},
    {"closed", T_BOOL, offsetof(Port, closed), 0, NULL},
    {"due", T_BOOL, offsetof(Port, due), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef port_methods[] = {
    {"write", port_write, METH_O, NULL},
    {"write_super", port_write_super, METH_O, NULL},
    {"append", port_append, METH_O, NULL},
    {"take", port_take, METH_NOARGS, NULL},
    {"end_of_tick", port_end_of_tick, METH_NOARGS, NULL},
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
    {Py_sq_length, port_length},
    {0, NULL},
};

static PyType_Spec port_spec = {
    .name = "aiotun.native._native.Port",
    .basicsize = sizeof(Port),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = port_slots,
};
