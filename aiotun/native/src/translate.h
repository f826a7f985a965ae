/* locate and Rewrite: see flows/translate.py. */

#pragma once

#include <Python.h>

#include "state.h"

enum { KEY_MAX = 2 * 16 + 4, ROUTING = 43, FRAGMENT_HEADER = 44 };

static PyObject *
native_locate(PyObject *Py_UNUSED(module), PyObject *object)
{
    if (!PyBytes_Check(object))
        return PyErr_Format(PyExc_TypeError, "a frame is bytes, not %s", Py_TYPE(object)->tp_name);
    const uint8_t *frame = (const uint8_t *)PyBytes_AS_STRING(object);
    const size_t end = (size_t)PyBytes_GET_SIZE(object);
    if (end < VIRTIO_SIZE + IPV4_SIZE + 8)
        Py_RETURN_NONE;
    const size_t size = end - VIRTIO_SIZE;
    const uint8_t *ip = frame + VIRTIO_SIZE;
    const int version = ip[0] >> 4;
    size_t transport = VIRTIO_SIZE + IPV6_SIZE;
    uint8_t protocol;
    if (version == 4) {
        transport = VIRTIO_SIZE + (ip[0] & 0x0F) * 4;
        if (ip[0] < 0x45 || get16(ip + 2) != size || transport + 8 > end)
            Py_RETURN_NONE;
        protocol = get16(ip + 6) & FRAGMENT ? FRAGMENT_HEADER : ip[9];
    }
    else {
        if (version != 6 || size < IPV6_SIZE + 8 || get16(ip + 4) != size - IPV6_SIZE)
            Py_RETURN_NONE;
        protocol = ip[6];
        while (is_extension(protocol) && protocol != ROUTING) {
            protocol = frame[transport];
            transport += 8 + frame[transport + 1] * 8;
            if (transport + 8 > end)
                Py_RETURN_NONE;
        }
    }
    char key[KEY_MAX];
    const size_t both = addresses_size(version);
    memcpy(key, ip + addresses(version), both);
    memcpy(key + both, frame + transport, 4);
    return Py_BuildValue("iny#", (int)protocol, (Py_ssize_t)transport, key, (Py_ssize_t)both + 4);
}

typedef struct {
    PyObject_HEAD
    uint8_t key[KEY_MAX]; /* the new one */
    size_t size;
    uint32_t addresses, all; /* what sums of these grow by: 1 to 0xFFFF */
} Rewrite;

static uint32_t
difference(const uint8_t *old, const uint8_t *new, size_t size)
{
    int64_t grown = 0;
    for (size_t i = 0; i < size; i += 2)
        grown += get16(new + i) - get16(old + i);
    grown = (grown % 0xFFFF + 0xFFFF) % 0xFFFF;
    return grown ? (uint32_t)grown : 0xFFFF;
}

/* Add to a one's complement sum of 16 bits. The result is never 0, as `grown` is not. */
static uint16_t
grow(uint16_t value, uint32_t grown)
{
    grown += value;
    return (uint16_t)((grown & 0xFFFF) + (grown >> 16));
}

static PyObject *
rewrite_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"old", "new", NULL};
    PyObject *old, *new;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "SS:Rewrite", names, &old, &new))
        return NULL;
    const Py_ssize_t size = PyBytes_GET_SIZE(new);
    if (PyBytes_GET_SIZE(old) != size || (size != 8 + 4 && size != 32 + 4))
        return PyErr_Format(PyExc_ValueError, "keys have 12 or 36 bytes, both the same number");
    Rewrite *self = (Rewrite *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(old);
    self->size = (size_t)size;
    memcpy(self->key, PyBytes_AS_STRING(new), self->size);
    self->addresses = difference(from, self->key, self->size - 4);
    self->all = difference(from, self->key, self->size);
    return (PyObject *)self;
}

/* Whether the frame's header says that the checksum of TCP there is partial. */
static bool
is_partial_tcp(const uint8_t *frame, size_t transport)
{
    VirtioNetHeader header;
    memcpy(&header, frame, VIRTIO_SIZE);
    return header.csum_start == transport - VIRTIO_SIZE && header.csum_offset == 16 &&
           transport < VIRTIO_SIZE + 128;
}

static PyObject *
rewrite_apply(PyObject *object, PyTypeObject *type, PyObject *const *arguments, Py_ssize_t count,
              PyObject *names)
{
    const Rewrite *self = (Rewrite *)object;
    if (count != 2 || names || !PyBytes_Check(arguments[0]))
        return PyErr_Format(PyExc_TypeError, "apply() takes bytes and an offset");
    const Py_ssize_t offset = PyLong_AsSsize_t(arguments[1]);
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    const uint8_t *frame = (const uint8_t *)PyBytes_AS_STRING(arguments[0]);
    const size_t size = (size_t)PyBytes_GET_SIZE(arguments[0]), both = self->size - 4;
    const int version = both == 8 ? 4 : 6;
    const size_t transport = (size_t)offset, field = transport + 16;
    if (offset < VIRTIO_SIZE + (Py_ssize_t)ip_size(version) || transport > size ||
        field + 4 > size)
        Py_RETURN_NONE;
    const bool partial = frame[0] & NEEDS_CSUM;
    if (partial && !is_partial_tcp(frame, transport))
        Py_RETURN_NONE;
    const uint16_t sum = get16(frame + field);
    PyObject **place = &((State *)PyType_GetModuleState(type))->kept.rewritten;
    const bool large = size > ROOM_SIZE && size <= FRAME_MAX;
    PyObject *rewritten =
        large ? take_room(place, FRAME_MAX) : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!rewritten)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(rewritten), *ip = to + VIRTIO_SIZE;
    memcpy(to, frame, size);
    if (version == 4)
        put16(ip + 10, (uint16_t)~grow((uint16_t)~get16(ip + 10), self->addresses));
    memcpy(ip + addresses(version), self->key, both);
    memcpy(to + transport, self->key + both, 4);
    put16(to + field, partial ? grow(sum, self->addresses)
                              : (uint16_t)~grow((uint16_t)~sum, self->all));
    if (large) {
        shrink_room(rewritten, (Py_ssize_t)size);
        keep_room(place, Py_NewRef(rewritten));
    }
    return rewritten;
}

static void
rewrite_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef rewrite_methods[] = {
    {"apply", (PyCFunction)(void (*)(void))rewrite_apply,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rewrite_slots[] = {
    {Py_tp_new, rewrite_new},
    {Py_tp_dealloc, rewrite_dealloc},
    {Py_tp_methods, rewrite_methods},
    {0, NULL},
};

static PyType_Spec rewrite_spec = {
    .name = "aiotun.native._native.Rewrite",
    .basicsize = sizeof(Rewrite),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rewrite_slots,
};
