/* locate and Rewrite: see flows/translate.py. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "../state.h"

enum { KEY_MAX = 2 * 16 + 4, ROUTING = 43, FRAGMENT_HEADER = 44 };

/* Where a packet belongs. */
typedef struct {
    uint8_t protocol;
    size_t transport; /* the offset of its transport header in the frame */
    char key[KEY_MAX];
    size_t key_size;
} Located;

static bool
locate(const uint8_t *frame, size_t end, Located *at)
{
    if (end < VIRTIO_SIZE + IPV4_SIZE + 8)
        return false;
    const size_t size = end - VIRTIO_SIZE;
    const uint8_t *ip = frame + VIRTIO_SIZE;
    const int version = ip[0] >> 4;
    size_t transport = VIRTIO_SIZE + IPV6_SIZE;
    uint8_t protocol;
    if (version == 4) {
        transport = VIRTIO_SIZE + (ip[0] & 0x0F) * 4u;
        if (ip[0] < 0x45 || get16(ip + 2) != size || transport + 8 > end)
            return false;
        protocol = get16(ip + 6) & FRAGMENT ? FRAGMENT_HEADER : ip[9];
    }
    else {
        if (version != 6 || size < IPV6_SIZE + 8 || get16(ip + 4) != size - IPV6_SIZE)
            return false;
        protocol = ip[6];
        while (is_extension(protocol) && protocol != ROUTING) {
            protocol = frame[transport];
            transport += 8 + frame[transport + 1] * 8u;
            if (transport + 8 > end)
                return false;
        }
    }
    const size_t both = addresses_size(version);
    memcpy(at->key, ip + addresses(version), both);
    memcpy(at->key + both, frame + transport, 4);
    at->key_size = both + 4;
    at->protocol = protocol;
    at->transport = transport;
    return true;
}

static PyObject *
native_locate(PyObject *Py_UNUSED(module), PyObject *object)
{
    if (!PyBytes_Check(object))
        return PyErr_Format(PyExc_TypeError, "a frame is bytes, not %s", Py_TYPE(object)->tp_name);
    Located at;
    if (!locate((const uint8_t *)PyBytes_AS_STRING(object), (size_t)PyBytes_GET_SIZE(object), &at))
        Py_RETURN_NONE;
    return Py_BuildValue("iny#", (int)at.protocol, (Py_ssize_t)at.transport, at.key,
                         (Py_ssize_t)at.key_size);
}

typedef struct {
    PyObject_HEAD
    uint8_t key[KEY_MAX]; /* the new one */
    size_t size;          /* of the key; 0 before __init__ */
    uint32_t addresses, all; /* what sums of these grow by: 1 to 0xFFFF */
    char plain, used;
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

static int
rewrite_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"old", "new", NULL};
    PyObject *old, *new;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "SS:Rewrite", names, &old, &new))
        return -1;
    const Py_ssize_t size = PyBytes_GET_SIZE(new);
    if (PyBytes_GET_SIZE(old) != size || (size != 8 + 4 && size != 32 + 4)) {
        PyErr_Format(PyExc_ValueError, "keys have 12 or 36 bytes, both the same number");
        return -1;
    }
    Rewrite *self = (Rewrite *)object;
    const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(old);
    self->size = (size_t)size;
    memcpy(self->key, PyBytes_AS_STRING(new), self->size);
    self->addresses = difference(from, self->key, self->size - 4);
    self->all = difference(from, self->key, self->size);
    return 0;
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

/* The version of the packets that it is for. */
static int
version_of(const Rewrite *self)
{
    return self->size == 8 + 4 ? 4 : 6;
}

/* Whether the packet's TCP header is such that rewrite_head can be called. */
static bool
can_rewrite(const Rewrite *self, const uint8_t *frame, size_t size, size_t transport)
{
    return self->size && transport >= VIRTIO_SIZE + ip_size(version_of(self)) && transport <= size &&
           size - transport >= TCP_SIZE &&
           (!(frame[0] & NEEDS_CSUM) || is_partial_tcp(frame, transport));
}

/* Rewrite a frame where it stands. No byte behind its checksum is looked at. */
static void
rewrite_head(const Rewrite *self, uint8_t *frame, size_t transport)
{
    uint8_t *ip = frame + VIRTIO_SIZE, *field = frame + transport + 16;
    const size_t both = self->size - 4;
    const int version = version_of(self);
    if (version == 4)
        put16(ip + 10, (uint16_t)~grow((uint16_t)~get16(ip + 10), self->addresses));
    memcpy(ip + addresses(version), self->key, both);
    memcpy(frame + transport, self->key + both, 4);
    put16(field, frame[0] & NEEDS_CSUM ? grow(get16(field), self->addresses)
                                       : (uint16_t)~grow((uint16_t)~get16(field), self->all));
}

static PyObject *
rewrite_apply(PyObject *object, PyTypeObject *type, PyObject *const *arguments, Py_ssize_t count,
              PyObject *names)
{
    Rewrite *self = (Rewrite *)object;
    if (count != 2 || names || !PyBytes_Check(arguments[0]))
        return PyErr_Format(PyExc_TypeError, "apply() takes bytes and an offset");
    const Py_ssize_t offset = PyLong_AsSsize_t(arguments[1]);
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    const uint8_t *frame = (const uint8_t *)PyBytes_AS_STRING(arguments[0]);
    const size_t size = (size_t)PyBytes_GET_SIZE(arguments[0]);
    if (offset < 0 || !can_rewrite(self, frame, size, (size_t)offset))
        Py_RETURN_NONE;
    PyObject **place = &kept_here(&((State *)PyType_GetModuleState(type))->kept)->rewritten;
    const bool large = size > ROOM_SIZE && size <= FRAME_MAX;
    PyObject *rewritten =
        large ? take_room(place, FRAME_MAX) : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!rewritten)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(rewritten);
    memcpy(to, frame, size);
    rewrite_head(self, to, (size_t)offset);
    self->used = true;
    if (large) {
        shrink_room(rewritten, (Py_ssize_t)size);
        keep_room(place, Py_NewRef(rewritten));
    }
    return rewritten;
}

/* Bytes until the end of a plain packet's TCP header, without its options. */
enum { PLAIN_MAX = VIRTIO_SIZE + 256 };

/* Return the rewrite that is all that a packet needs, as a borrowed reference, or NULL; and where the
   packet's TCP header is. `rewrites` is a dict, by keys. No Python runs within this. */
static Rewrite *
find_rewrite(PyObject *rewrites, PyTypeObject *type, const uint8_t *frame, size_t size,
             size_t *transport)
{
    Located at;
    if (!locate(frame, size, &at) || at.protocol != TCP || at.transport + TCP_SIZE > PLAIN_MAX ||
        at.transport + TCP_SIZE > size || frame[at.transport + 13] & (SYN | FIN | RST))
        return NULL;
    PyObject *key = PyBytes_FromStringAndSize(at.key, (Py_ssize_t)at.key_size);
    PyObject *found = key ? PyDict_GetItemWithError(rewrites, key) : NULL;
    Py_XDECREF(key);
    if (!found || !PyObject_TypeCheck(found, type)) {
        PyErr_Clear(); /* of memory: the twin may have some */
        return NULL;
    }
    Rewrite *rewrite = (Rewrite *)found;
    *transport = at.transport;
    return rewrite->plain && rewrite->size == at.key_size &&
                   can_rewrite(rewrite, frame, size, at.transport)
               ? rewrite
               : NULL;
}

static void
rewrite_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef rewrite_members[] = {
    {"plain", T_BOOL, offsetof(Rewrite, plain), 0, NULL},
    {"used", T_BOOL, offsetof(Rewrite, used), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef rewrite_methods[] = {
    {"apply", (PyCFunction)(void (*)(void))rewrite_apply,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rewrite_slots[] = {
    {Py_tp_init, rewrite_init},
    {Py_tp_dealloc, rewrite_dealloc},
    {Py_tp_members, rewrite_members},
    {Py_tp_methods, rewrite_methods},
    {0, NULL},
};

static PyType_Spec rewrite_spec = {
    .name = "aiotun.native._native.Rewrite",
    .basicsize = sizeof(Rewrite),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rewrite_slots,
};
