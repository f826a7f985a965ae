/* aiotun.offload._native: what _native.pyi says.

   In C, as that needs nothing but a compiler, and vector code and sanitizers are at
   first hand. Nothing that calls change is shared between them but what the GIL guards: there is nothing to lock, with the GIL or without. Bytes are immutable, and each
   function holds what it works on, so work on bytes alone goes on without the GIL. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <unistd.h>

#include "checksum.h"
#include "coalesce.h"
#include "headers.h"
#include "outbox.h"
#include "segment.h"
#include "udp.h"

/* The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet. */
enum { FRAME_MAX = VIRTIO_SIZE + 14 + 4 + PACKET_MAX };

/* Large frames that one call reads. */
enum { LARGE_MAX = 4 };

/* The Python versions: they do what is rare, and say what is wrong. */
typedef struct {
    PyObject *checksum, *gso_split;
    Recent recent;
    PyObject *large[LARGE_MAX]; /* frames as read_frames read them last */
} State;

static bool
is_tap(PyObject *layer)
{
    return PyUnicode_Check(layer) && !PyUnicode_CompareWithASCIIString(layer, "tap");
}

static const uint8_t *
bytes_of(PyObject *object)
{
    return (const uint8_t *)PyBytes_AS_STRING(object);
}

/* A tuple, which no one else can change, of bytes and nothing else. */
static PyObject *
tuple_of_bytes(PyObject *packets)
{
    PyObject *tuple = PySequence_Tuple(packets);
    if (!tuple)
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *packet = PyTuple_GET_ITEM(tuple, i);
        if (!PyBytes_Check(packet)) {
            PyErr_Format(PyExc_TypeError, "a packet is bytes, not %s", Py_TYPE(packet)->tp_name);
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}

/* System calls that do not block, without the GIL. */

static ssize_t
read_frame(int fd, uint8_t *buffer)
{
    ssize_t size;
    do
        size = read(fd, buffer, FRAME_MAX);
    while (size < 0 && errno == EINTR);
    return size;
}

static bool
write_parts(int fd, const struct iovec *parts, int count)
{
    ssize_t size;
    do
        size = writev(fd, parts, count);
    while (size < 0 && errno == EINTR);
    return size >= 0;
}

/* checksum and gso_split. */

static PyObject *
native_checksum(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"data", "initial", NULL};
    PyObject *data, *initial = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:checksum", names, &data, &initial))
        return NULL;
    unsigned long add = 0;
    if (initial) {
        add = PyLong_Check(initial) ? PyLong_AsUnsignedLong(initial) : (unsigned long)-1;
        if (PyErr_Occurred())
            PyErr_Clear();
        if (add > UINT32_MAX) {
            State *state = PyModule_GetState(module);
            return PyObject_Call(state->checksum, args, keywords);
        }
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE))
        return NULL;
    uint16_t value = (uint16_t)~fold(sum(buffer.buf, (size_t)buffer.len) + htonl((uint32_t)add));
    PyBuffer_Release(&buffer);
    return PyLong_FromLong(ntohs(value));
}

static PyObject *
native_gso_split(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"frame", "layer", NULL};
    PyObject *frame, *layer = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:gso_split", names, &frame, &layer))
        return NULL;
    if (PyBytes_Check(frame)) {
        PyObject *packets = PyList_New(0);
        if (!packets)
            return NULL;
        SplitResult result = split(packets, NULL, bytes_of(frame), (size_t)PyBytes_GET_SIZE(frame),
                                   layer && is_tap(layer));
        if (result != MALFORMED) {
            if (result == FAILED)
                Py_CLEAR(packets);
            return packets;
        }
        Py_DECREF(packets);
    }
    State *state = PyModule_GetState(module);
    return PyObject_Call(state->gso_split, args, keywords);
}

/* Packets and their runs, of which GROTable and write_packets make frames. */
typedef struct {
    PyObject *tuple; /* that holds them */
    Py_ssize_t count;
    Packet *packets;
} Batch;

static void
batch_clear(Batch *batch)
{
    PyMem_RawFree(batch->packets);
    Py_DECREF(batch->tuple);
}

/* To be called with the GIL; it is given back for the work. False with an exception set. */
static bool
batch_coalesce(Batch *batch, PyObject *packets, Recent *recent, bool tap, bool tcp, bool udp)
{
    batch->tuple = tuple_of_bytes(packets);
    if (!batch->tuple)
        return false;
    const size_t count = (size_t)(batch->count = PyTuple_GET_SIZE(batch->tuple));
    batch->packets = PyMem_RawMalloc(count * sizeof(Packet));
    for (size_t i = 0; batch->packets && i < count; i++) {
        const bool sound = recent && is_recent(recent, PyTuple_GET_ITEM(batch->tuple, i));
        batch->packets[i].verified = batch->packets[i].sound = sound;
    }
    size_t slots_count = 2;
    while (slots_count < 2 * count)
        slots_count *= 2;
    bool done;
    Py_BEGIN_ALLOW_THREADS
    Slot *slots = PyMem_RawCalloc(slots_count, sizeof(Slot));
    done = batch->packets && slots;
    if (done) {
        for (size_t i = 0; i < count; i++) {
            PyObject *packet = PyTuple_GET_ITEM(batch->tuple, i);
            parse(&batch->packets[i], bytes_of(packet), (size_t)PyBytes_GET_SIZE(packet), tap, tcp,
                  udp);
        }
        coalesce(batch->packets, batch->count, slots, slots_count - 1);
    }
    PyMem_RawFree(slots);
    Py_END_ALLOW_THREADS
    if (!done) {
        batch_clear(batch);
        PyErr_NoMemory();
    }
    return done;
}

/* The frames from a packet on, as a list of bytes. */
static PyObject *
batch_frames(const Batch *batch, Py_ssize_t from)
{
    PyObject *frames = PyList_New(0);
    for (Py_ssize_t i = from; frames && i < batch->count; i++) {
        if (batch->packets[i].merged)
            continue;
        Head head;
        struct iovec parts[PARTS_MAX];
        const int count = frame_parts(batch->packets, i, &head, parts);
        Py_ssize_t size = 0;
        for (int j = 0; j < count; j++)
            size += (Py_ssize_t)parts[j].iov_len;
        PyObject *frame = PyBytes_FromStringAndSize(NULL, size);
        if (frame) {
            char *to = PyBytes_AS_STRING(frame);
            for (int j = 0; j < count; j++) {
                memcpy(to, parts[j].iov_base, parts[j].iov_len);
                to += parts[j].iov_len;
            }
        }
        if (!append(frames, frame))
            Py_CLEAR(frames);
    }
    return frames;
}

/* GROTable. */

typedef struct {
    PyObject_HEAD
    PyObject *layer;
    char tcp, udp;
} Table;

static PyObject *
table_coalesce(PyObject *self, PyObject *packets)
{
    const Table *table = (Table *)self;
    Batch batch;
    if (!batch_coalesce(&batch, packets, NULL, is_tap(table->layer), table->tcp, table->udp))
        return NULL;
    PyObject *frames = batch_frames(&batch, 0);
    batch_clear(&batch);
    return frames;
}

static PyObject *
table_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"layer", "tcp", "udp", NULL};
    PyObject *layer = NULL;
    int tcp = 1, udp = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|Upp:GROTable", names, &layer, &tcp, &udp))
        return NULL;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->layer = layer ? Py_NewRef(layer) : PyUnicode_FromString("tun");
    self->tcp = (char)tcp;
    self->udp = (char)udp;
    if (!self->layer)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
table_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Table *)self)->layer);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef table_members[] = {
    {"layer", T_OBJECT_EX, offsetof(Table, layer), READONLY, NULL},
    {"tcp", T_BOOL, offsetof(Table, tcp), 0, NULL},
    {"udp", T_BOOL, offsetof(Table, udp), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef table_methods[] = {
    {"coalesce", table_coalesce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_members, table_members},
    {Py_tp_methods, table_methods},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "aiotun.offload._native.GROTable",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_slots,
};

/* Reading and writing descriptors. */

static PyObject *
native_read_packets(PyObject *module, PyObject *args)
{
    int fd;
    Py_ssize_t limit;
    PyObject *layer;
    if (!PyArg_ParseTuple(args, "inU:read_packets", &fd, &limit, &layer))
        return NULL;
    const bool tap = is_tap(layer);
    uint8_t buffer[FRAME_MAX];
    Recent *recent = &((State *)PyModule_GetState(module))->recent;
    recent->next = recent->cursor = 0;
    PyObject *packets = PyList_New(0), *malformed = Py_NewRef(Py_None);
    Py_ssize_t frames = 0, super_packets = 0;
    SplitResult result = packets ? ONE_PACKET : FAILED;
    while (result > MALFORMED && PyList_GET_SIZE(packets) < limit) {
        ssize_t size;
        Py_BEGIN_ALLOW_THREADS
        size = read_frame(fd, buffer);
        Py_END_ALLOW_THREADS
        if (size <= 0) /* an error, or the end of a descriptor that has one */
            break;
        frames++;
        result = split(packets, recent, buffer, (size_t)size, tap);
        if (result == SEGMENTS)
            super_packets++;
        if (result == MALFORMED) {
            Py_SETREF(malformed, PyBytes_FromStringAndSize((const char *)buffer, size));
            if (!malformed)
                result = FAILED;
        }
    }
    if (result == FAILED) {
        Py_XDECREF(packets);
        Py_XDECREF(malformed);
        return NULL;
    }
    Py_ssize_t bytes = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(packets); i++)
        bytes += PyBytes_GET_SIZE(PyList_GET_ITEM(packets, i));
    return Py_BuildValue("NnnnN", packets, bytes, frames, super_packets, malformed);
}

/* Bytes with room for the largest frame: those of an earlier one that nobody else holds any
   more, as glibc gives free memory of that size back to the system and takes it again page by
   page (M_TRIM_THRESHOLD in mallopt(3)). The GIL guards them; without it none are kept. */
static PyObject *
take_room(PyObject **kept)
{
    PyObject *room = *kept;
    *kept = NULL;
    if (room && Py_REFCNT(room) == 1)
        return room;
    Py_XDECREF(room);
    return PyBytes_FromStringAndSize(NULL, FRAME_MAX);
}

static void
keep_room(PyObject **kept, PyObject *stolen)
{
#ifdef Py_GIL_DISABLED
    Py_DECREF(stolen);
#else
    Py_XSETREF(*kept, stolen);
#endif
}

static PyObject *
native_read_frames(PyObject *module, PyObject *args)
{
    int fd;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "in:read_frames", &fd, &limit))
        return NULL;
    PyObject *frames = PyList_New(0);
    State *state = PyModule_GetState(module);
    size_t large = 0;
    bool done = frames;
    while (done && large < LARGE_MAX && PyList_GET_SIZE(frames) < limit) {
        PyObject **kept = &state->large[large];
        PyObject *room = take_room(kept);
        if (!room) {
            done = false;
            break;
        }
        char *buffer = PyBytes_AS_STRING(room);
        ssize_t size;
        Py_BEGIN_ALLOW_THREADS
        size = read_frame(fd, (uint8_t *)buffer);
        Py_END_ALLOW_THREADS
        if (size > FRAME_MAX / 2) {
            Py_SET_SIZE(room, size);
            buffer[size] = 0;
            forget_hash(room);
            done = append(frames, Py_NewRef(room));
            large++;
        }
        else if (size > 0)
            done = append(frames, PyBytes_FromStringAndSize(buffer, size));
        keep_room(kept, room);
        if (size <= 0)
            break;
    }
    if (!done)
        Py_CLEAR(frames);
    return frames;
}

static PyObject *
native_write_packets(PyObject *module, PyObject *args)
{
    int fd, tcp, udp;
    PyObject *packets, *layer;
    State *state = PyModule_GetState(module);
    Batch batch;
    if (!PyArg_ParseTuple(args, "iOUpp:write_packets", &fd, &packets, &layer, &tcp, &udp) ||
        !batch_coalesce(&batch, packets, &state->recent, is_tap(layer), tcp, udp))
        return NULL;
    Py_ssize_t i = 0, bytes = 0, frames = 0, super_packets = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; i < batch.count; i++) {
        if (batch.packets[i].merged)
            continue;
        Head head;
        struct iovec parts[PARTS_MAX];
        if (!write_parts(fd, parts, frame_parts(batch.packets, i, &head, parts)))
            break;
        frames++;
        super_packets += batch.packets[i].count > 1;
    }
    Py_END_ALLOW_THREADS
    for (Py_ssize_t j = 0; j < batch.count; j++)
        bytes += (Py_ssize_t)batch.packets[j].size;
    PyObject *left = batch_frames(&batch, i);
    batch_clear(&batch);
    return left ? Py_BuildValue("nnnN", bytes, frames, super_packets, left) : NULL;
}

static PyObject *
native_write_frames(PyObject *module, PyObject *args)
{
    int fd;
    PyObject *frames;
    if (!PyArg_ParseTuple(args, "iO:write_frames", &fd, &frames))
        return NULL;
    PyObject *tuple = tuple_of_bytes(frames);
    if (!tuple)
        return NULL;
    Py_ssize_t i = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *frame = PyTuple_GET_ITEM(tuple, i);
        struct iovec whole = part(bytes_of(frame), (size_t)PyBytes_GET_SIZE(frame));
        if (!write_parts(fd, &whole, 1))
            break;
    }
    Py_END_ALLOW_THREADS
    Py_DECREF(tuple);
    return PyLong_FromSsize_t(i);
}

static PyObject *
native_write_super(PyObject *module, PyObject *args)
{
    int fd, tcp, udp;
    PyObject *object, *layer;
    if (!PyArg_ParseTuple(args, "iSUpp:write_super", &fd, &object, &layer, &tcp, &udp))
        return NULL;
    const uint8_t *frame = bytes_of(object);
    const size_t size = (size_t)PyBytes_GET_SIZE(object);
    bool done = check_frame(frame, size, is_tap(layer)) &&
                (frame[1] == GSO_NONE || (frame[1] == GSO_UDP_L4 ? udp : tcp));
    if (done) {
        struct iovec whole = part(frame, size);
        Py_BEGIN_ALLOW_THREADS
        done = write_parts(fd, &whole, 1);
        Py_END_ALLOW_THREADS
    }
    return PyBool_FromLong(done);
}

/* The module. */

static PyObject *
import_from(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (!imported)
        return NULL;
    PyObject *found = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return found;
}

static int
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (!type)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->checksum = import_from("aiotun.offload.checksum", "checksum");
    state->gso_split = import_from("aiotun.offload.segment", "gso_split");
    if (!state->checksum || !state->gso_split)
        return -1;
    return add_type(module, &table_spec) || add_type(module, &outbox_spec) ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->checksum);
    Py_VISIT(state->gso_split);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->checksum);
    Py_CLEAR(state->gso_split);
    for (size_t i = 0; i < RECENT_MAX; i++)
        Py_CLEAR(state->recent.segments[i]);
    for (size_t i = 0; i < LARGE_MAX; i++)
        Py_CLEAR(state->large[i]);
    return 0;
}

#define WITH_KEYWORDS(function) (PyCFunction)(void (*)(void)) function, METH_VARARGS | METH_KEYWORDS

static PyMethodDef module_methods[] = {
    {"checksum", WITH_KEYWORDS(native_checksum), NULL},
    {"gso_split", WITH_KEYWORDS(native_gso_split), NULL},
    {"read_packets", native_read_packets, METH_VARARGS, NULL},
    {"read_frames", native_read_frames, METH_VARARGS, NULL},
    {"write_packets", native_write_packets, METH_VARARGS, NULL},
    {"write_frames", native_write_frames, METH_VARARGS, NULL},
    {"write_super", native_write_super, METH_VARARGS, NULL},
    {"batches", native_batches, METH_O, NULL},
#ifdef __linux__
    {"receive_datagrams", native_receive_datagrams, METH_VARARGS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "aiotun.offload._native",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
