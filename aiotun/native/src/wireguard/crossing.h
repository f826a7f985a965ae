/* Crossing: what an interface's device and its socket hand over goes to the other one: see
   wireguard/endpoint.py. No Python runs while all is plain. */

#pragma once

#include <Python.h>

#include "interface.h"

/* Attributes of WireGuard and of what belongs to it. */
static const char *const CROSSING_NAMES[] = {"udp", "post", "deadline", "_due", "transport", "write_super",
                                             "_frame"};
enum {
    NAME_UDP, NAME_POST, NAME_DEADLINE, NAME_DUE, NAME_TRANSPORT, NAME_WRITE_SUPER, NAME_FRAME,
    CROSSING_NAMES_COUNT
};

typedef struct {
    PyObject_HEAD
    PyObject *wireguard, *tunnel, *interface, *timers, *clock;
    PyObject *names[CROSSING_NAMES_COUNT];
    PyTypeObject *super_packet;
} Crossing;

static bool
read_clock(const Crossing *self, double *now)
{
    PyObject *time = PyObject_CallNoArgs(self->clock);
    *now = time ? PyFloat_AsDouble(time) : -1;
    Py_XDECREF(time);
    return !PyErr_Occurred();
}

/* Let the tunnel do what is left, if there is anything. The reference is taken over. */
static bool
leave_to_tunnel(const Crossing *self, const char *method, PyObject *left, double now)
{
    PyObject *done = !left                      ? NULL
                     : !PyList_GET_SIZE(left) ? Py_NewRef(Py_None)
                                              : PyObject_CallMethod(self->tunnel, method, "Od", left, now);
    Py_XDECREF(left);
    Py_XDECREF(done);
    return done;
}

/* Return a list of an interface's, which gets an empty one instead. */
static PyObject *
take_list(InterfaceState *interface, PyObject **place)
{
    PyObject *none = PyList_New(0); /* within this a finalizer may change the interface */
    if (!none || !check_interface(interface)) {
        Py_XDECREF(none);
        return NULL;
    }
    PyObject *list = *place;
    *place = none;
    return list;
}

static bool
attribute_as_double(PyObject *object, PyObject *name, double *number)
{
    PyObject *value = PyObject_GetAttr(object, name);
    *number = value ? PyFloat_AsDouble(value) : -1;
    Py_XDECREF(value);
    return !PyErr_Occurred();
}

/* Send what the interface has for peers. What is not plain is left to WireGuard._pass_on, and so is
   a timer that is due earlier than what is waited for. */
static bool
pass_on(const Crossing *self)
{
    InterfaceState *interface = (InterfaceState *)self->interface;
    if (!check_interface(interface))
        return false;
    bool plain = true;
    if (PyList_GET_SIZE(interface->outgoing)) {
        PyObject *outgoing = take_list(interface, &interface->outgoing);
        PyObject *udp = outgoing ? PyObject_GetAttr(self->wireguard, self->names[NAME_UDP]) : NULL;
        PyObject *left = udp ? PyObject_CallMethodOneArg(udp, self->names[NAME_POST], outgoing) : NULL;
        Py_XDECREF(udp);
        Py_XDECREF(outgoing);
        if (left && !PyList_Check(left)) { /* another iterable is Python, which may change the interface */
            PyErr_SetString(PyExc_TypeError, "what is left of a post is a list");
            Py_CLEAR(left);
        }
        const bool done = left && check_interface(interface) && /* `post` may have changed it */
                          !PyList_SetSlice(interface->outgoing, 0, 0, left);
        Py_XDECREF(left);
        if (!done)
            return false;
        plain = !PyList_GET_SIZE(interface->outgoing);
    }
    double deadline, due;
    if (!attribute_as_double(self->timers, self->names[NAME_DEADLINE], &deadline) ||
        !attribute_as_double(self->wireguard, self->names[NAME_DUE], &due))
        return false;
    if (plain && deadline >= due)
        return true;
    PyObject *done = PyObject_CallMethod(self->wireguard, "_pass_on", NULL);
    Py_XDECREF(done);
    return done;
}

static PyObject *
crossing_super_packets_received(PyObject *object, PyTypeObject *base, PyObject *const *arguments,
                                Py_ssize_t count, PyObject *names)
{
    const Crossing *self = (const Crossing *)object;
    PyObject *packets = takes(1, count, names) ? PySequence_Tuple(arguments[0]) : NULL;
    PyObject *frames = packets ? PyTuple_New(PyTuple_GET_SIZE(packets)) : NULL;
    bool done = frames;
    for (Py_ssize_t i = 0; done && i < PyTuple_GET_SIZE(packets); i++) {
        PyObject *frame = PyObject_GetAttr(PyTuple_GET_ITEM(packets, i), self->names[NAME_FRAME]);
        done = frame;
        PyTuple_SET_ITEM(frames, i, frame);
    }
    double now;
    done = done && read_clock(self, &now) &&
           leave_to_tunnel(self, "_seal",
                           seal_for_peers((InterfaceState *)self->interface,
                                          PyType_GetModuleState(base), frames, now),
                           now) &&
           pass_on(self);
    Py_XDECREF(packets);
    Py_XDECREF(frames);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

/* Give the device what peers sent: see WireGuard._write. */
static bool
write_incoming(const Crossing *self)
{
    InterfaceState *interface = (InterfaceState *)self->interface;
    if (!check_interface(interface))
        return false;
    if (!PyList_GET_SIZE(interface->incoming))
        return true;
    PyObject *frames = take_list(interface, &interface->incoming);
    PyObject *transport = frames ? PyObject_GetAttr(self->wireguard, self->names[NAME_TRANSPORT]) : NULL;
    PyObject *write = transport ? PyObject_GetAttr(transport, self->names[NAME_WRITE_SUPER]) : NULL;
    bool done = write;
    for (Py_ssize_t i = 0; done && i < PyList_GET_SIZE(frames); i++) {
        PyObject *packet = self->super_packet->tp_alloc(self->super_packet, 0);
        PyObject *written = packet && !PyObject_SetAttr(packet, self->names[NAME_FRAME], PyList_GET_ITEM(frames, i))
                                ? PyObject_CallOneArg(write, packet)
                                : NULL;
        Py_XDECREF(packet);
        Py_XDECREF(written);
        done = written;
    }
    Py_XDECREF(write);
    Py_XDECREF(transport);
    Py_XDECREF(frames);
    return done;
}

static PyObject *
crossing_trains_received(PyObject *object, PyTypeObject *base, PyObject *const *arguments,
                         Py_ssize_t count, PyObject *names)
{
    const Crossing *self = (const Crossing *)object;
    PyObject *trains = takes(1, count, names) ? PySequence_Tuple(arguments[0]) : NULL;
    double now;
    const bool done = trains && read_clock(self, &now) &&
                      leave_to_tunnel(self, "_open",
                                      open_from_peers((InterfaceState *)self->interface,
                                                      PyType_GetModuleState(base), trains, now),
                                      now) &&
                      write_incoming(self) && pass_on(self);
    Py_XDECREF(trains);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
crossing_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    const Types *types = PyType_GetModuleState(type);
    PyObject *wireguard, *tunnel, *interface, *timers, *clock;
    PyTypeObject *super_packet;
    if (!PyArg_ParseTuple(args, "OOO!OOO!:Crossing", &wireguard, &tunnel, types->interface, &interface,
                          &timers, &clock, &PyType_Type, &super_packet))
        return NULL;
    Crossing *self = (Crossing *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->wireguard = Py_NewRef(wireguard);
    self->tunnel = Py_NewRef(tunnel);
    self->interface = Py_NewRef(interface);
    self->timers = Py_NewRef(timers);
    self->clock = Py_NewRef(clock);
    self->super_packet = (PyTypeObject *)Py_NewRef(super_packet);
    for (size_t i = 0; i < CROSSING_NAMES_COUNT; i++)
        if (!(self->names[i] = PyUnicode_InternFromString(CROSSING_NAMES[i]))) {
            Py_DECREF(self);
            return NULL;
        }
    return (PyObject *)self;
}

static int
crossing_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Crossing *self = (const Crossing *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->wireguard);
    Py_VISIT(self->tunnel);
    Py_VISIT(self->interface);
    Py_VISIT(self->timers);
    Py_VISIT(self->clock);
    Py_VISIT(self->super_packet);
    return 0;
}

static void
crossing_dealloc(PyObject *object)
{
    Crossing *self = (Crossing *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->wireguard);
    Py_XDECREF(self->tunnel);
    Py_XDECREF(self->interface);
    Py_XDECREF(self->timers);
    Py_XDECREF(self->clock);
    Py_XDECREF(self->super_packet);
    for (size_t i = 0; i < CROSSING_NAMES_COUNT; i++)
        Py_XDECREF(self->names[i]);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef crossing_methods[] = {
    {"super_packets_received", (PyCFunction)(void (*)(void))crossing_super_packets_received,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {"trains_received", (PyCFunction)(void (*)(void))crossing_trains_received,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {0},
};

static PyType_Slot crossing_slots[] = {
    {Py_tp_new, crossing_new},
    {Py_tp_dealloc, crossing_dealloc},
    {Py_tp_traverse, crossing_traverse},
    {Py_tp_methods, crossing_methods},
    {0, NULL},
};

static PyType_Spec crossing_spec = {
    .name = "aiotun.native._aead.Crossing",
    .basicsize = sizeof(Crossing),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = crossing_slots,
};
