/* Messages: what MessageProtocol in streams.py and the ends of C have in common. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include <stddef.h>

/* MessageProtocol in streams.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    PyObject *kept, *readers, *writers; /* deques; NULL before they are set */
    char full, writable;
    Py_ssize_t written, yield_at;
} Messages;

static int
messages_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Messages *self = (Messages *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->kept);
    Py_VISIT(self->readers);
    Py_VISIT(self->writers);
    return 0;
}

static int
messages_clear(PyObject *object)
{
    Messages *self = (Messages *)object;
    Py_CLEAR(self->kept);
    Py_CLEAR(self->readers);
    Py_CLEAR(self->writers);
    return 0;
}

static void
messages_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    messages_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef messages_members[] = {
    {"kept", T_OBJECT_EX, offsetof(Messages, kept), 0, NULL},
    {"_readers_waiting", T_OBJECT_EX, offsetof(Messages, readers), 0, NULL},
    {"_writers_waiting", T_OBJECT_EX, offsetof(Messages, writers), 0, NULL},
    {"_full", T_BOOL, offsetof(Messages, full), 0, NULL},
    {"writable", T_BOOL, offsetof(Messages, writable), 0, NULL},
    {"written", T_PYSSIZET, offsetof(Messages, written), 0, NULL},
    {"_yield_at", T_PYSSIZET, offsetof(Messages, yield_at), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot messages_slots[] = {
    {Py_tp_members, messages_members},
    {Py_tp_traverse, messages_traverse},
    {Py_tp_clear, messages_clear},
    {Py_tp_dealloc, messages_dealloc},
    {0, NULL},
};

static PyType_Spec messages_spec = {
    .name = "aiotun.native._native.Messages",
    .basicsize = sizeof(Messages),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = messages_slots,
};
