/* The type Port: its attributes, and the methods that Python calls. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "reading.h"

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
    PyObject *super_packet =
        imported(&state->super_packet, "aiotun.offload.superpacket", "SuperPacket");
    PyObject *tuple = super_packet ? PyTuple_New(count) : NULL; /* for PyArg_ParseTuple */
    if (!tuple)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(arguments[i]));
    PyObject *twin, *table, *backlog, *counters;
    int vnet_hdr;
    bool tap;
    Py_ssize_t channel, call = 0;
    Families families;
    Py_ssize_t read_limit, limit, size_max;
    const bool valid = PyArg_ParseTuple(
        tuple, "O!nO&pO&O!OO!nnn|n:_bind", &PyType_Type, &twin, &channel, to_tap, &tap, &vnet_hdr,
        to_families, &families, state->table_type, &table, &backlog, state->counts_type, &counters, &read_limit, &limit,
        &size_max, &call);
    if (valid && self->base)
        PyErr_SetString(PyExc_RuntimeError, "a port is bound once");
    if (valid && !self->base) {
        self->frame = PyUnicode_InternFromString("_frame");
        self->twin = Py_NewRef(twin);
        self->backlog = Py_NewRef(backlog);
        self->counts = (Counts *)Py_NewRef(counters);
        self->table = (Table *)Py_NewRef(table);
        self->super_packet = Py_NewRef(super_packet);
        self->kept = kept_here(&state->kept);
        self->channel = channel;
        self->tap = tap;
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
        PyErr_SetString(PyExc_TypeError,
                        value ? "this attribute is a list" : "this attribute cannot be deleted");
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
