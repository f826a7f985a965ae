/* aiotun.native._native: what _native.pyi says.

   It is written in C, because C needs nothing but a compiler, and vector code and sanitizers are at
   hand. The GIL guards all that calls share. It is released for system calls and for work on bytes,
   which are immutable. Each function holds a reference to the bytes that it works on.

   Before Python 3.12 garbage may be collected wherever Python allocates an object that can be
   part of a cycle. The finalizers that run then may call any function of this module again. So
   nothing is allocated between a look at what is shared and the use of it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "capturing/captured.h"
#include "counts.h"
#include "flows/translate.h"
#include "framed/ends.h"
#include "offload/checksum.h"
#include "offload/split.h"
#include "offload/table.h"
#include "packetio/reading.h"
#include "packetio/writing.h"
#include "state.h"
#include "transports/port_type.h"
#include "udp/batches.h"
#ifdef __linux__
#include "udp/port.h"
#endif

/* checksum and gso_split. */

static PyObject *
native_checksum(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"data", "initial", NULL};
    PyObject *data, *initial = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:checksum", names, &data, &initial))
        return NULL;
    bool plain = PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data);
    unsigned long add = 0;
    if (plain && initial) {
        plain = PyLong_Check(initial);
        add = plain ? PyLong_AsUnsignedLong(initial) : 0;
        plain = plain && !PyErr_Occurred() && add <= UINT32_MAX;
    }
    Py_buffer buffer;
    if (!plain || PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) {
        PyErr_Clear();
        State *state = PyModule_GetState(module);
        PyObject *checksum = imported(&state->checksum, "aiotun.offload.checksum", "checksum");
        return checksum ? PyObject_Call(checksum, args, keywords) : NULL;
    }
    uint16_t value = (uint16_t)~fold(sum(buffer.buf, (size_t)buffer.len) + htonl((uint32_t)add));
    PyBuffer_Release(&buffer);
    return PyLong_FromLong(ntohs(value));
}

static PyObject *
native_gso_split(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"frame", "layer", NULL};
    PyObject *frame;
    bool tap = false;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O&:gso_split", names, &frame, to_tap, &tap))
        return NULL;
    if (PyBytes_Check(frame)) {
        PyObject *packets = PyList_New(0);
        if (!packets)
            return NULL;
        Plan plan;
        if (!split(packets, NULL, (const uint8_t *)PyBytes_AS_STRING(frame),
                   (size_t)PyBytes_GET_SIZE(frame), tap, false, &plan)) {
            Py_DECREF(packets);
            return NULL;
        }
        if (plan != MALFORMED)
            return packets;
        Py_DECREF(packets);
    }
    State *state = PyModule_GetState(module);
    PyObject *gso_split = imported(&state->gso_split, "aiotun.offload.segment", "gso_split");
    return gso_split ? PyObject_Call(gso_split, args, keywords) : NULL;
}

/* Reading and writing channels. */

static PyObject *
no_reading(Reading *reading)
{
    reading_clear(reading);
    return NULL;
}

/* Say that nothing waited. Where a signal ended the wait its handler runs, and may raise. */
static PyObject *
nothing_read(Reading *reading)
{
    reading_clear(reading);
    return reading->signalled && PyErr_CheckSignals() ? NULL : Py_NewRef(Py_None);
}

/* For calls that are felt in a round trip: a look at each argument, where PyArg_ParseTuple would read a
   format. */
static bool
to_size(PyObject *number, Py_ssize_t *size)
{
    *size = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    return *size != -1 || !PyErr_Occurred();
}

static bool
are_so_many(Py_ssize_t count, Py_ssize_t least, Py_ssize_t most)
{
    if (least <= count && count <= most)
        return true;
    PyErr_Format(PyExc_TypeError, "%zd arguments", count);
    return false;
}

static PyObject *
native_read_packets(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t channel, limit;
    bool tap;
    Waiting waiting = {0};
    Reading reading = {0};
    if (!are_so_many(count, 3, 4) || !to_size(args[0], &channel) || !to_size(args[1], &limit) ||
        !to_tap(args[2], &tap) || (count > 3 && !to_waiting(args[3], &waiting)))
        return NULL;
    reading.wait = waiting.wait;
    reading.packets = PyList_New(0);
    if (!reading.packets || !read_packets(&reading, kept_by(module), channel, limit, tap))
        return no_reading(&reading);
    if (reading.nothing)
        return nothing_read(&reading);
    PyObject *const parts[] = {
        reading.packets,
        PyLong_FromSsize_t(reading.bytes),
        PyLong_FromSsize_t(reading.frames),
        PyLong_FromSsize_t(reading.super_packets),
        reading.malformed ? reading.malformed : Py_NewRef(Py_None),
    };
    return tuple_of(sizeof parts / sizeof *parts, parts);
}

static PyObject *
native_read_frames(PyObject *module, PyObject *args)
{
    Py_ssize_t channel;
    Py_ssize_t limit, call = 0;
    Families families;
    Waiting waiting = {0};
    if (!PyArg_ParseTuple(args, "nnO&|nO&:read_frames", &channel, &limit, to_families, &families,
                          &call, to_waiting, &waiting))
        return NULL;
    Reading reading = {.packets = PyList_New(0), .wait = waiting.wait};
    if (!reading.packets ||
        !read_frames(&reading, kept_by(module), channel, (ReceiveMany)call, &families, limit))
        return no_reading(&reading);
    return reading.nothing ? nothing_read(&reading) : reading.packets;
}

/* See are_packets in packetio.py. */
static PyObject *
native_are_packets(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t most;
    bool are = true;
    if (!are_so_many(count, 2, 2) || !to_size(args[1], &most))
        return NULL;
    if (!PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "packets are a list");
        return NULL;
    }
    for (Py_ssize_t i = 0; are && i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *packet = PyList_GET_ITEM(args[0], i);
        are = PyBytes_CheckExact(packet) && PyBytes_GET_SIZE(packet) && PyBytes_GET_SIZE(packet) <= most;
    }
    return PyBool_FromLong(are);
}

static PyObject *
native_write_packets(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t channel;
    bool tap;
    if (!are_so_many(count, 6, 6) || !to_size(args[0], &channel) || !to_tap(args[2], &tap))
        return NULL;
    const int tcp = PyObject_IsTrue(args[3]), udp = PyObject_IsTrue(args[4]),
              zero = PyObject_IsTrue(args[5]);
    PyObject *tuple = tcp < 0 || udp < 0 || zero < 0 ? NULL : tuple_of_bytes(args[1]);
    if (!tuple)
        return NULL;
    Writing writing;
    const bool done = write_packets(&writing, &PyTuple_GET_ITEM(tuple, 0), PyTuple_GET_SIZE(tuple),
                                    &kept_by(module)->recent[tap], channel, tap,
                                    (Wanted){tcp, udp, zero});
    Py_DECREF(tuple);
    if (!done)
        return NULL;
    PyObject *const parts[] = {
        PyLong_FromSsize_t(writing.bytes),
        PyLong_FromSsize_t(writing.frames),
        PyLong_FromSsize_t(writing.super_packets),
        writing.left ? writing.left : PyList_New(0),
    };
    return tuple_of(sizeof parts / sizeof *parts, parts);
}

static PyObject *
native_write_frames(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t channel;
    PyObject *frames;
    Families families;
    if (!PyArg_ParseTuple(args, "nOO&:write_frames", &channel, &frames, to_families, &families))
        return NULL;
    PyObject *tuple = tuple_of_bytes(frames);
    if (!tuple)
        return NULL;
    const Py_ssize_t written =
        write_frames(channel, &families, &PyTuple_GET_ITEM(tuple, 0), PyTuple_GET_SIZE(tuple));
    Py_DECREF(tuple);
    return PyLong_FromSsize_t(written);
}

static PyObject *
native_write_super(PyObject *Py_UNUSED(module), PyObject *args)
{
    int tcp, udp;
    Py_ssize_t channel;
    bool tap;
    PyObject *frame;
    if (!PyArg_ParseTuple(args, "nSO&pp:write_super", &channel, &frame, to_tap, &tap, &tcp, &udp))
        return NULL;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
    const size_t size = (size_t)PyBytes_GET_SIZE(frame);
    bool written;
    Py_BEGIN_ALLOW_THREADS
    written = write_super(channel, data, size, tap, (Wanted){.tcp = tcp, .udp = udp});
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(written);
}

/* The module. */

static PyTypeObject *
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddType(module, (PyTypeObject *)type))
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (PyModule_AddIntConstant(module, "SOURCES", AIOTUN_SOURCES))
        return -1;
    make_flow_keys();
    PyTypeObject *sink_type = NULL, *udp_port_type = NULL;
    bool done = (state->table_type = add_type(module, &table_spec)) &&
                (state->counts_type = add_type(module, &counts_spec)) &&
                (state->udp_counts_type = add_type(module, &udp_counts_spec)) &&
                (state->port_type = add_type(module, &port_spec)) &&
                (state->messages_type = add_type(module, &messages_spec)) &&
                (state->item_counts_type = add_type(module, &item_counts_spec)) &&
                (state->call_type = add_type(module, &call_spec)) &&
                (state->source_type = add_type(module, &source_spec)) &&
                (sink_type = add_type(module, &sink_spec)) &&
                (state->rewrite_type = add_type(module, &rewrite_spec));
#ifdef __linux__
    done = done && (udp_port_type = add_type(module, &udp_port_spec));
#endif
    Py_XDECREF(sink_type);
    Py_XDECREF(udp_port_type);
    return done ? 0 : -1;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->checksum);
    Py_VISIT(state->gso_split);
    Py_VISIT(state->table_type);
    Py_VISIT(state->counts_type);
    Py_VISIT(state->udp_counts_type);
    Py_VISIT(state->port_type);
    Py_VISIT(state->messages_type);
    Py_VISIT(state->item_counts_type);
    Py_VISIT(state->source_type);
    Py_VISIT(state->call_type);
    Py_VISIT(state->rewrite_type);
    Py_VISIT(state->super_packet);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->checksum);
    Py_CLEAR(state->gso_split);
    Py_CLEAR(state->table_type);
    Py_CLEAR(state->counts_type);
    Py_CLEAR(state->udp_counts_type);
    Py_CLEAR(state->port_type);
    Py_CLEAR(state->messages_type);
    Py_CLEAR(state->item_counts_type);
    Py_CLEAR(state->source_type);
    Py_CLEAR(state->call_type);
    Py_CLEAR(state->rewrite_type);
    Py_CLEAR(state->super_packet);
    for (size_t i = 0; i < THREADS_KEPT; i++)
        kept_clear(&state->kept.each[i]);
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
}

#define WITH_KEYWORDS(function) (PyCFunction)(void (*)(void)) function, METH_VARARGS | METH_KEYWORDS

/* Docstrings, here and in table.h, are the first lines of the twins', behind the twins' signatures
   (__text_signature__). */
static PyMethodDef module_methods[] = {
    {"checksum", WITH_KEYWORDS(native_checksum),
     "checksum($module, data, initial=0)\n--\n\n"
     "The checksum as it stands in a header: the complement of `partial_sum`."},
    {"gso_split", WITH_KEYWORDS(native_gso_split),
     "gso_split($module, frame, layer='tun')\n--\n\n"
     "Split a frame (virtio_net_hdr and packet, as read from a device) into its packets."},
    {"are_packets", (PyCFunction)(void (*)(void))native_are_packets, METH_FASTCALL, NULL},
    {"read_packets", (PyCFunction)(void (*)(void))native_read_packets, METH_FASTCALL, NULL},
    {"read_frames", native_read_frames, METH_VARARGS, NULL},
    {"write_packets", (PyCFunction)(void (*)(void))native_write_packets, METH_FASTCALL, NULL},
    {"write_frames", native_write_frames, METH_VARARGS, NULL},
    {"write_super", native_write_super, METH_VARARGS, NULL},
    {"batches", native_batches, METH_O, NULL},
    {"locate", native_locate, METH_O, NULL},
#ifdef __linux__
    {"receive_datagrams", native_receive_datagrams, METH_VARARGS, NULL},
    {"receive_trains", native_receive_trains, METH_VARARGS, NULL},
    {"send_messages", native_send_messages, METH_VARARGS, NULL},
    {"captured_packets", native_captured_packets, METH_VARARGS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    /* There is no Py_mod_gil: what calls share has no lock of its own. So an interpreter without
       the GIL takes it again for this module. */
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "aiotun.native._native",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
