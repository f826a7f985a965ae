/* GROTable: see coalesce.py. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "batch.h"
#include "../state.h"

typedef struct {
    PyObject_HEAD
    bool tap;
    Wanted wanted;
} Table;

static PyObject *
table_coalesce(PyObject *self, PyObject *packets)
{
    const Table *table = (Table *)self;
    PyObject *tuple = tuple_of_bytes(packets), *frames = NULL;
    if (!tuple)
        return NULL;
    Batch batch;
    if (batch_of_bytes(&batch, &PyTuple_GET_ITEM(tuple, 0), PyTuple_GET_SIZE(tuple))) {
        for (int32_t i = 0; i < batch.count; i++)
            announce(&batch.packets[i], 1, false);
        if (batch_coalesce(&batch, table->tap, table->wanted))
            frames = batch_frames(&batch, 0);
        batch_clear(&batch);
    }
    Py_DECREF(tuple);
    return frames;
}

static PyObject *
table_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"layer", "tcp", "udp", "udp_zero_checksum", NULL};
    bool tap = false;
    int tcp = 1, udp = 1, zero = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O&ppp:GROTable", names, to_tap, &tap, &tcp,
                                     &udp, &zero))
        return NULL;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (self) {
        self->tap = tap;
        self->wanted = (Wanted){tcp, udp, zero};
    }
    return (PyObject *)self;
}

static void
table_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef table_members[] = {
    {"tcp", T_BOOL, offsetof(Table, wanted.tcp), 0, NULL},
    {"udp", T_BOOL, offsetof(Table, wanted.udp), 0, NULL},
    {"udp_zero_checksum", T_BOOL, offsetof(Table, wanted.udp_zero_checksum), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
table_layer(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((Table *)self)->tap ? "tap" : "tun");
}

static PyGetSetDef table_properties[] = {
    {"layer", table_layer, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef table_methods[] = {
    {"coalesce", table_coalesce, METH_O,
     "coalesce($self, packets, /)\n--\n\n"
     "Frames (virtio_net_hdr and packet each) that stand for the packets, in writing order."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "GROTable(layer='tun', tcp=True, udp=True, udp_zero_checksum=False)\n--\n\n"
                "Coalesces packets by the rules of the kernel's own GRO."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_members, table_members},
    {Py_tp_methods, table_methods},
    {Py_tp_getset, table_properties},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "aiotun.native._native.GROTable",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_slots,
};
