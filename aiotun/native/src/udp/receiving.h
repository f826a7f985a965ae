/* Datagrams and trains that a socket receives: see linux.py. */

#pragma once

#include <Python.h>

#include <errno.h>
#include <sys/uio.h>

#include "../objects.h"
#include "../state.h"
#include "cmsg.h"
#include "trains.h"

enum { UDP_RECEIVE_MAX = 65536, UDP_ANCILLARY_MAX = 128 };

/* Make a named tuple of its type and a tuple of its fields. The reference to the fields is taken
   over. */
static PyObject *
udp_named(PyTypeObject *type, PyObject *fields)
{
    PyObject *args = fields ? PyTuple_Pack(1, fields) : NULL;
    PyObject *named = args ? PyTuple_Type.tp_new(type, args, NULL) : NULL;
    Py_XDECREF(fields);
    Py_XDECREF(args);
    return named;
}

/* What one message brought. */
typedef struct {
    ssize_t size, segment; /* `segment` equals `size` if there is one datagram */
    PyObject *addr, *local, *ecn; /* these are NULL if they could not be made */
} Arrival;

static void
arrival_clear(Arrival *arrival)
{
    Py_CLEAR(arrival->addr);
    Py_CLEAR(arrival->local);
    Py_CLEAR(arrival->ecn);
}

/* Room for what the system tells of a message. */
typedef struct {
    union {
        struct cmsghdr aligned;
        uint8_t bytes[UDP_ANCILLARY_MAX];
    } control;
    struct sockaddr_storage from;
    struct iovec whole;
} Told;

/* Receive at most so many messages in one call. Return how many came, or 0 and the errno. */
static unsigned
udp_receive(int fd, uint8_t *const *buffers, unsigned count, struct mmsghdr *messages, Told *told,
            int *number)
{
    for (unsigned i = 0; i < count; i++) {
        memset(&told[i].from, 0, sizeof told[i].from);
        told[i].whole = (struct iovec){buffers[i], UDP_RECEIVE_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &told[i].from,
                                              .msg_namelen = sizeof told[i].from,
                                              .msg_iov = &told[i].whole,
                                              .msg_iovlen = 1,
                                              .msg_control = told[i].control.bytes,
                                              .msg_controllen = sizeof told[i].control};
    }
    int received;
    Py_BEGIN_ALLOW_THREADS
    do
        received = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    while (received < 0 && errno == EINTR);
    *number = received < 0 ? errno : 0;
    Py_END_ALLOW_THREADS
    return received < 0 ? 0 : (unsigned)received;
}

/* Read what the system told of a message. An exception is set where a field is NULL. */
static Arrival
udp_arrived(Kept *kept, struct mmsghdr *message)
{
    const ssize_t size = message->msg_len;
    const Described found = udp_describe(kept, &message->msg_hdr);
    return (Arrival){
        .size = size,
        .segment = found.segment > 0 && found.segment < size ? found.segment : size,
        .local = found.local,
        .addr = udp_address(kept, message->msg_hdr.msg_name),
        .ecn = PyLong_FromLong(found.ecn),
    };
}

static bool
is_tuple_type(PyTypeObject *type, const char *noun)
{
    if (PyType_IsSubtype(type, &PyTuple_Type))
        return true;
    PyErr_Format(PyExc_TypeError, "a %s is a tuple", noun);
    return false;
}

static PyObject *
native_receive_datagrams(PyObject *module, PyObject *arguments)
{
    Kept *kept = kept_by(module);
    int fd, number = 0;
    Py_ssize_t limit, messages = 0, bytes = 0;
    PyTypeObject *type;
    if (!PyArg_ParseTuple(arguments, "inO!:receive_datagrams", &fd, &limit, &PyType_Type, &type) ||
        !is_tuple_type(type, "datagram"))
        return NULL;
    uint8_t buffer[UDP_RECEIVE_MAX];
    PyObject *datagrams = PyList_New(0);
    if (!datagrams)
        return NULL;
    bool done = true;
    while (done && PyList_GET_SIZE(datagrams) < limit) {
        struct mmsghdr message;
        Told told;
        if (!udp_receive(fd, (uint8_t *[]){buffer}, 1, &message, &told, &number))
            break;
        Arrival arrival = udp_arrived(kept, &message);
        messages++;
        bytes += arrival.size;
        ssize_t at = 0;
        done = arrival.local && arrival.addr && arrival.ecn;
        do {
            const ssize_t left = arrival.size - at;
            const ssize_t size = arrival.segment < left ? arrival.segment : left;
            PyObject *data =
                done ? PyBytes_FromStringAndSize((const char *)buffer + at, size) : NULL;
            done = data && append(datagrams, udp_named(type, PyTuple_Pack(4, data, arrival.addr,
                                                                          arrival.local,
                                                                          arrival.ecn)));
            Py_XDECREF(data);
            at += arrival.segment;
        } while (done && at < arrival.size);
        arrival_clear(&arrival);
    }
    if (!done) {
        PyErr_Clear();
        number = ENOMEM;
    }
    return Py_BuildValue("Nnni", datagrams, messages, bytes, number);
}

/* What one call received. */
typedef struct {
    PyObject *trains; /* a list */
    Py_ssize_t datagrams, bytes; /* if there was no memory for a message it is not in the list */
    int number; /* the errno with which it ended, or 0 */
} Received;

/* Add a train that came into the room. Return false with an exception set. */
static bool
add_train(Received *received, Kept *kept, PyTypeObject *type, struct mmsghdr *message, PyObject *room)
{
    Arrival arrival = udp_arrived(kept, message);
    const bool large = arrival.size > UDP_RECEIVE_MAX / 2;
    if (large)
        shrink_room(room, arrival.size);
    PyObject *data =
        large ? Py_NewRef(room) : PyBytes_FromStringAndSize(PyBytes_AS_STRING(room), arrival.size);
    const bool whole = data && arrival.local && arrival.addr && arrival.ecn;
    const bool done =
        whole && append(received->trains,
                        udp_named(type, Py_BuildValue("OnOOO", data, (Py_ssize_t)arrival.segment,
                                                      arrival.addr, arrival.local, arrival.ecn)));
    Py_XDECREF(data);
    received->bytes += arrival.size;
    received->datagrams += arrival.size ? (arrival.size + arrival.segment - 1) / arrival.segment : 1;
    arrival_clear(&arrival);
    return done;
}

/* Receive trains until there are so many datagrams, or an error; that there is no memory for one of them
   is an error of this kind. A call asks for several messages: so it shows without a second one that no
   more are there. Return false with an exception set, when nothing was received. */
static bool
receive_trains(Received *received, Kept *kept, int fd, Py_ssize_t limit, PyTypeObject *type)
{
    enum { TOGETHER = 4 };
    _Static_assert((int)TOGETHER <= (int)TRAINS_KEPT, "a room for each");
    *received = (Received){.trains = PyList_New(0)};
    if (!received->trains)
        return false;
    bool done = true;
    while (done && !received->number && received->datagrams < limit) {
        const Py_ssize_t fit = (limit - received->datagrams) / TRAIN_SEGMENTS_MAX;
        const unsigned count = fit < 1 ? 1 : fit < TOGETHER ? (unsigned)fit : TOGETHER;
        PyObject *rooms[TOGETHER] = {NULL}, **places[TOGETHER];
        uint8_t *buffers[TOGETHER];
        for (unsigned i = 0; i < count; i++) {
            places[i] = &kept->trains[(PyList_GET_SIZE(received->trains) + i) % TRAINS_KEPT];
            done = done && (rooms[i] = take_room(places[i], FRAME_MAX));
            buffers[i] = done ? (uint8_t *)PyBytes_AS_STRING(rooms[i]) : NULL;
        }
        struct mmsghdr messages[TOGETHER];
        Told told[TOGETHER];
        const unsigned came =
            done ? udp_receive(fd, buffers, count, messages, told, &received->number) : 0;
        for (unsigned i = 0; i < came; i++)
            if (!add_train(received, kept, type, &messages[i], rooms[i])) {
                PyErr_Clear();
                received->number = ENOMEM;
            }
        for (unsigned i = 0; i < count; i++)
            if (rooms[i])
                keep_room(places[i], rooms[i]);
        if (came && came < count && !received->number)
            received->number = EAGAIN;
    }
    if (!done && PyList_GET_SIZE(received->trains)) {
        PyErr_Clear();
        received->number = ENOMEM;
        done = true;
    }
    if (!done)
        Py_CLEAR(received->trains);
    return done;
}

static PyObject *
native_receive_trains(PyObject *module, PyObject *arguments)
{
    int fd;
    Py_ssize_t limit;
    PyTypeObject *type;
    if (!PyArg_ParseTuple(arguments, "inO!:receive_trains", &fd, &limit, &PyType_Type, &type) ||
        !is_tuple_type(type, "train"))
        return NULL;
    Received received;
    if (!receive_trains(&received, kept_by(module), fd, limit, type))
        return NULL;
    return Py_BuildValue("Nnni", received.trains, received.datagrams, received.bytes, received.number);
}
