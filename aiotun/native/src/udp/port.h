/* UdpPort: the way of trains between a UDP socket and its transport's protocol, while all is plain.
   Whatever is not is left to the transport, whose state this asks for by name: see udp/selector.py. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "../counts.h"
#include "../exceptions.h"
#include "receiving.h"
#include "sending.h"

/* Attributes of the transport, of its protocol, and of its socket. To look one up takes long after an
   idle while, so none is looked up that is not needed. */
static const char *const UDP_NAMES[] = {"_takes_trains", "_scheduled",      "_gathered",
                                        "_closing",      "_protocol",       "trains_received",
                                        "_turns",        "_end_of_tick",    "gso"};
enum {
    TAKES_TRAINS, SCHEDULED, GATHERED, CLOSING, PROTOCOL, TRAINS_RECEIVED, TURNS, END_OF_TICK, GSO,
    UDP_NAMES_COUNT
};

typedef struct {
    PyObject_HEAD
    PyObject *transport, *socket, *backlog, *tick; /* the last two are lists */
    PyObject *names[UDP_NAMES_COUNT];
    UdpCounts *counts;
    PyTypeObject *train;
    Kept *kept;
    int fd, family, uses; /* `uses` is the transport's */
    Py_ssize_t limit;
} UdpPort;

/* Return whether an attribute of an object is true, or -1 with an exception set. */
static int
udp_has(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    const int has = value ? PyObject_IsTrue(value) : -1;
    Py_XDECREF(value);
    return has;
}

/* The same for one of the transport. */
static int
udp_is(const UdpPort *self, int name)
{
    return udp_has(self->transport, self->names[name]);
}

static bool
udp_set(const UdpPort *self, int name, PyObject *value)
{
    return !PyObject_SetAttr(self->transport, self->names[name], value);
}

/* The socket is no longer read or written. Return whether the transport is closed by now, or -1 with an
   exception set. */
static int
udp_leave(UdpPort *self)
{
    const int closing = udp_is(self, CLOSING);
    if (closing > 0)
        return done_with(PyObject_CallMethod(self->transport, "_leave", NULL)) ? 1 : -1;
    self->uses--;
    return closing;
}

/* See UdpTransport._end_of_tick, to which it is left where something is to be flushed. */
static bool
udp_end_of_tick(const UdpPort *self)
{
    const int gathered = udp_is(self, GATHERED);
    if (gathered)
        return gathered > 0 &&
               done_with(PyObject_CallMethodNoArgs(self->transport, self->names[END_OF_TICK]));
    PyObject *turns = PyObject_GetAttr(self->transport, self->names[TURNS]);
    PyObject *one = turns ? PyLong_FromLong(1) : NULL;
    PyObject *more = one ? PyNumber_Add(turns, one) : NULL;
    const bool done = more && udp_set(self, TURNS, more) && udp_set(self, SCHEDULED, Py_False);
    Py_XDECREF(turns);
    Py_XDECREF(one);
    Py_XDECREF(more);
    return done;
}

/* Give the protocol trains, then flush what was written, wherever: see UdpTransport._hand_over. */
static bool
udp_hand_over(const UdpPort *self, PyObject *trains)
{
    if (PyList_Append(self->tick, self->transport))
        return false;
    PyObject *protocol = udp_set(self, SCHEDULED, Py_True)
                             ? PyObject_GetAttr(self->transport, self->names[PROTOCOL])
                             : NULL;
    PyObject *done =
        protocol ? PyObject_CallMethodOneArg(protocol, self->names[TRAINS_RECEIVED], trains) : NULL;
    Py_XDECREF(protocol);
    if (!done && !PyErr_ExceptionMatches(PyExc_SystemExit) &&
        !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyObject *raised = take_exception();
        done = PyObject_CallMethod(self->transport, "_complain", "Os", raised, "trains_received");
        Py_DECREF(raised);
    }
    Py_XDECREF(done);
    Finally block;
    begin_finally(&block);
    if (PyList_GET_SIZE(self->tick) != 1)
        done_with(PyObject_CallMethod(self->transport, "_flush_tick", NULL));
    else if (!PyList_SetSlice(self->tick, 0, 1, NULL))
        udp_end_of_tick(self);
    return end_finally(&block);
}

static PyObject *
udp_port_read_ready(PyObject *object, PyObject *Py_UNUSED(none))
{
    UdpPort *self = (UdpPort *)object;
    if (PyList_GET_SIZE(self->tick) || self->uses || udp_is(self, TAKES_TRAINS) <= 0)
        return PyErr_Occurred() ? NULL : PyObject_CallMethod(self->transport, "_read_ready", NULL);
    self->uses++;
    Received received;
    receive_trains(&received, self->kept, self->fd, self->limit, self->train);
    Finally block;
    begin_finally(&block);
    const int closing = udp_leave(self);
    bool done = end_finally(&block);
    if (done &&
        (closing || !received.datagrams || (received.number && received.number != EAGAIN)))
        done = done_with(PyObject_CallMethod(self->transport, "_take_rest", "Onni", received.trains,
                                             received.datagrams, received.bytes, received.number));
    else if (done) {
        self->counts->datagrams_received += (unsigned long long)received.datagrams;
        self->counts->bytes_received += (unsigned long long)received.bytes;
        self->counts->messages_received += (unsigned long long)PyList_GET_SIZE(received.trains);
        done = udp_hand_over(self, received.trains);
    }
    Py_XDECREF(received.trains);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

/* Read a number. Return false if it is none that fits, with no exception set. */
static bool
udp_read_number(PyObject *object, Py_ssize_t *number)
{
    *number = PyLong_Check(object) ? PyLong_AsSsize_t(object) : -1;
    if (*number != -1 || !PyErr_Occurred())
        return PyLong_Check(object);
    PyErr_Clear();
    return false;
}

/* Add a message of an entry's train, and say of how many datagrams. The entry is held until it was sent.
   Return false if it is not plain, perhaps with an exception set. */
static bool
udp_add_train(Post *post, const UdpPort *self, PyObject *entry, Py_ssize_t *datagrams)
{
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 5)
        return false;
    PyObject *data = PyTuple_GET_ITEM(entry, 0), *addr = PyTuple_GET_ITEM(entry, 2);
    PyObject *local = PyTuple_GET_ITEM(entry, 3);
    Py_ssize_t segment, ecn;
    if (!PyBytes_Check(data) || !udp_read_number(PyTuple_GET_ITEM(entry, 1), &segment) ||
        !PyTuple_Check(addr) || !PyTuple_GET_SIZE(addr) ||
        !PyUnicode_Check(PyTuple_GET_ITEM(addr, 0)) ||
        !udp_read_number(PyTuple_GET_ITEM(entry, 4), &ecn) || ecn < 0 || ecn > 3)
        return false;
    const Py_ssize_t size = PyBytes_GET_SIZE(data);
    const bool many = 0 < segment && segment < size;
    if (many && ((size - 1) / segment >= TRAIN_SEGMENTS_MAX ||
                 udp_has(self->socket, self->names[GSO]) <= 0))
        return false;
    Envelope *envelope = &post->envelopes[post->messages];
    struct msghdr *header = &post->headers[post->messages].msg_hdr;
    struct iovec *part = &post->iovecs[post->messages];
    *part = (struct iovec){PyBytes_AS_STRING(data), (size_t)size};
    *header = (struct msghdr){.msg_iov = part, .msg_iovlen = 1};
    if (!udp_write_target(self->kept, header, &envelope->to, self->family, addr) ||
        !envelope->to.v4.sin_port || /* it stands at the same place in both */
        !udp_write_control(header, &envelope->control, udp_is_v4(PyTuple_GET_ITEM(addr, 0)), local,
                           (int)ecn, many ? segment : 0))
        return false;
    post->messages++;
    *datagrams = many ? (size - 1) / segment + 1 : 1;
    return true;
}

/* Fill a post with the entries from a place on, and note how many datagrams each has. Return false if
   it ends at one that is not plain. */
static bool
udp_fill(Post *post, const UdpPort *self, PyObject *entries, Py_ssize_t at, Py_ssize_t *datagrams)
{
    bool plain = true;
    post->messages = 0;
    for (; plain && post->messages < UDP_MESSAGES_MAX && at < PyList_GET_SIZE(entries); at++)
        plain = udp_add_train(post, self, PyList_GET_ITEM(entries, at), &datagrams[post->messages]);
    PyErr_Clear(); /* the transport raises it again */
    return plain;
}

static PyObject *
udp_port_post(PyObject *object, PyObject *outgoing)
{
    UdpPort *self = (UdpPort *)object;
    if (!PyList_Check(outgoing))
        return PyErr_Format(PyExc_TypeError, "what is posted comes in a list");
    /* A private copy: others may change the list meanwhile. Within this a finalizer may close. */
    PyObject *entries = PyList_GetSlice(outgoing, 0, PyList_GET_SIZE(outgoing));
    if (!entries)
        return NULL;
    if (PyList_GET_SIZE(self->backlog) || self->uses || udp_is(self, GATHERED) ||
        udp_is(self, CLOSING)) {
        if (PyErr_Occurred())
            Py_CLEAR(entries);
        return entries;
    }
    self->uses++;
    Post post;
    Py_ssize_t at = 0, datagrams[UDP_MESSAGES_MAX];
    bool plain = true;
    int number = 0;
    while (plain && !number && at < PyList_GET_SIZE(entries)) {
        plain = udp_fill(&post, self, entries, at, datagrams);
        unsigned sent;
        Py_BEGIN_ALLOW_THREADS
        sent = udp_send(self->fd, &post, &number);
        Py_END_ALLOW_THREADS
        at += sent;
        self->counts->messages_sent += sent;
        for (unsigned i = 0; i < sent; i++) {
            self->counts->bytes_sent += (unsigned long long)post.iovecs[i].iov_len;
            self->counts->datagrams_sent += (unsigned long long)datagrams[i];
        }
    }
    PyObject *left =
        udp_leave(self) >= 0 ? PyList_GetSlice(entries, at, PyList_GET_SIZE(entries)) : NULL;
    Py_DECREF(entries);
    return left;
}

static int
udp_port_traverse(PyObject *object, visitproc visit, void *arg)
{
    const UdpPort *self = (UdpPort *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->transport);
    Py_VISIT(self->socket);
    Py_VISIT(self->tick);
    return 0;
}

static void
udp_port_dealloc(PyObject *object)
{
    UdpPort *self = (UdpPort *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->transport);
    Py_XDECREF(self->socket);
    Py_XDECREF(self->backlog);
    Py_XDECREF(self->tick);
    Py_XDECREF(self->counts);
    Py_XDECREF(self->train);
    for (size_t i = 0; i < UDP_NAMES_COUNT; i++)
        Py_XDECREF(self->names[i]);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
udp_port_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    State *state = PyType_GetModuleState(type);
    PyObject *transport, *socket, *backlog, *tick, *counts;
    PyTypeObject *train;
    int fd, family;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "OOiiO!O!O!O!n:UdpPort", &transport, &socket, &fd, &family,
                          &PyList_Type, &backlog, &PyList_Type, &tick, state->udp_counts_type,
                          &counts, &PyType_Type, &train, &limit) ||
        !is_tuple_type(train, "train"))
        return NULL;
    UdpPort *self = (UdpPort *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->transport = Py_NewRef(transport);
    self->socket = Py_NewRef(socket);
    self->backlog = Py_NewRef(backlog);
    self->tick = Py_NewRef(tick);
    self->counts = (UdpCounts *)Py_NewRef(counts);
    self->train = (PyTypeObject *)Py_NewRef(train);
    self->kept = kept_here(&state->kept);
    self->fd = fd;
    self->family = family;
    self->limit = limit;
    for (size_t i = 0; i < UDP_NAMES_COUNT; i++)
        if (!(self->names[i] = PyUnicode_InternFromString(UDP_NAMES[i]))) {
            Py_DECREF(self);
            return NULL;
        }
    return (PyObject *)self;
}

static PyMethodDef udp_port_methods[] = {
    {"read_ready", udp_port_read_ready, METH_NOARGS, NULL},
    {"post", udp_port_post, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef udp_port_members[] = {
    {"uses", T_INT, offsetof(UdpPort, uses), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot udp_port_slots[] = {
    {Py_tp_new, udp_port_new},
    {Py_tp_members, udp_port_members},
    {Py_tp_dealloc, udp_port_dealloc},
    {Py_tp_traverse, udp_port_traverse},
    {Py_tp_methods, udp_port_methods},
    {0, NULL},
};

static PyType_Spec udp_port_spec = {
    .name = "aiotun.native._native.UdpPort",
    .basicsize = sizeof(UdpPort),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = udp_port_slots,
};
