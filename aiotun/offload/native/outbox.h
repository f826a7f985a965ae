/* Outbox: see outbox.py. A method call that the interpreter needs no frame for. */

#pragma once

#include <Python.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *otherwise, *packets;
    Py_ssize_t size_max, limit;
    char open;
} Outbox;

static PyObject *
outbox_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *otherwise;
    Py_ssize_t size_max, limit;
    if (!PyArg_ParseTuple(args, "Onn:Outbox", &otherwise, &size_max, &limit))
        return NULL;
    Outbox *self = (Outbox *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->otherwise = Py_NewRef(otherwise);
    self->size_max = size_max;
    self->limit = limit;
    self->packets = PyList_New(0);
    if (!self->packets)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
outbox_write(PyObject *object, PyObject *data)
{
    const Outbox *self = (Outbox *)object;
    if (!self->open || !PyBytes_CheckExact(data) || !PyBytes_GET_SIZE(data) ||
        PyBytes_GET_SIZE(data) > self->size_max ||
        PyList_GET_SIZE(self->packets) + 1 >= self->limit)
        return PyObject_CallOneArg(self->otherwise, data);
    if (PyList_Append(self->packets, data))
        return NULL;
    Py_RETURN_NONE;
}

static int
outbox_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Outbox *self = (Outbox *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->otherwise);
    Py_VISIT(self->packets);
    return 0;
}

/* Not `packets`: they are no part of a cycle, and `write` relies on them. */
static int
outbox_clear(PyObject *object)
{
    Outbox *self = (Outbox *)object;
    Py_XSETREF(self->otherwise, Py_NewRef(Py_None));
    return 0;
}

static void
outbox_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Outbox *self = (Outbox *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->otherwise);
    Py_XDECREF(self->packets);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef outbox_members[] = {
    {"packets", T_OBJECT_EX, offsetof(Outbox, packets), READONLY, NULL},
    {"open", T_BOOL, offsetof(Outbox, open), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef outbox_methods[] = {
    {"write", outbox_write, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot outbox_slots[] = {
    {Py_tp_new, outbox_new},         {Py_tp_dealloc, outbox_dealloc},
    {Py_tp_traverse, outbox_traverse}, {Py_tp_clear, outbox_clear},
    {Py_tp_members, outbox_members}, {Py_tp_methods, outbox_methods},
    {0, NULL},
};

static PyType_Spec outbox_spec = {
    .name = "aiotun.offload._native.Outbox",
    .basicsize = sizeof(Outbox),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = outbox_slots,
};
