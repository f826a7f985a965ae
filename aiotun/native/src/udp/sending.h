/* Messages that a socket sends: see linux.py. */

#pragma once

#include <Python.h>

#include <errno.h>
#include <sys/uio.h>

#include "cmsg.h"

/* How much one system call takes. UDP_PARTS_MAX is the kernel's own limit for a message
   (UIO_MAXIOV of linux/uio.h). */
enum { UDP_MESSAGES_MAX = 64, UDP_PARTS_MAX = 1024 };

/* What stands beside a message's datagrams. */
typedef struct {
    SocketAddress to;
    Control control;
} Envelope;

/* What one system call sends. References to the datagrams are held until it has returned. */
typedef struct {
    unsigned messages, parts;
    struct mmsghdr headers[UDP_MESSAGES_MAX];
    Envelope envelopes[UDP_MESSAGES_MAX];
    struct iovec iovecs[UDP_PARTS_MAX];
    PyObject *datagrams[UDP_PARTS_MAX];
} Post;

/* Add a message of `count` datagrams. The caller knows that there is room for them. Return false
   with an exception set. */
static bool
udp_add_message(Post *post, int family, PyObject *remote, PyObject *addr, PyObject *local, int ecn,
                PyObject *datagrams, Py_ssize_t count, Py_ssize_t segment)
{
    Envelope *envelope = &post->envelopes[post->messages];
    struct msghdr *header = &post->headers[post->messages].msg_hdr;
    *header = (struct msghdr){.msg_iov = &post->iovecs[post->parts]};
    post->messages++;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *datagram = PySequence_GetItem(datagrams, i);
        if (!datagram)
            return false;
        post->datagrams[post->parts] = datagram;
        struct iovec *part = &post->iovecs[post->parts++];
        if (!PyBytes_Check(datagram)) {
            PyErr_SetString(PyExc_TypeError, "a datagram is bytes");
            return false;
        }
        part->iov_base = PyBytes_AS_STRING(datagram);
        part->iov_len = (size_t)PyBytes_GET_SIZE(datagram);
    }
    header->msg_iovlen = (size_t)count;
    PyObject *to = addr == Py_None ? remote : addr;
    if (!PyTuple_Check(to) || !PyTuple_GET_SIZE(to) || !PyUnicode_Check(PyTuple_GET_ITEM(to, 0))) {
        PyErr_SetString(PyExc_TypeError, "an address is a tuple of a host and a port");
        return false;
    }
    return (addr == Py_None || udp_write_address(header, &envelope->to, family, addr)) &&
           udp_write_control(header, &envelope->control, udp_is_v4(PyTuple_GET_ITEM(to, 0)), local, ecn,
                             count > 1 ? (Py_ssize_t)header->msg_iov->iov_len : segment);
}

/* Add messages of a list, from `at` on, as many as there is room for. A message that raises ends
   this. Return false with an exception set if that was the first one. */
static bool
udp_add_messages(Post *post, int family, PyObject *remote, PyObject *messages, Py_ssize_t at)
{
    /* sendmmsg(2) loses an error that ends the call behind its first message. A connected socket
       tells an error only once, so its messages are sent one by one. */
    const unsigned limit = remote == Py_None ? UDP_MESSAGES_MAX : 1;
    bool done = true;
    unsigned complete = 0;
    while (done && post->messages < limit && at < PyList_GET_SIZE(messages)) {
        complete = post->messages;
        PyObject *addr, *local, *datagrams, *message = PySequence_GetItem(messages, at++);
        int ecn;
        Py_ssize_t segment;
        if (!message) {
            done = false;
            break;
        }
        if (!PyTuple_Check(message))
            PyErr_SetString(PyExc_TypeError, "a message is a tuple");
        done = PyTuple_Check(message) &&
               PyArg_ParseTuple(message, "OOiO!n", &addr, &local, &ecn, &PyList_Type, &datagrams,
                                &segment);
        const Py_ssize_t count = done ? PyList_GET_SIZE(datagrams) : 0;
        const bool fits = count <= (Py_ssize_t)(UDP_PARTS_MAX - post->parts);
        if (done && fits)
            done = udp_add_message(post, family, remote, addr, local, ecn, datagrams, count,
                                   segment);
        Py_DECREF(message);
        if (!fits)
            break;
    }
    if (!done && complete) {
        PyErr_Clear();
        post->messages = complete;
        done = true;
    }
    return done;
}

/* Send the messages. Return how many the kernel took; `number` is the errno with which it
   refused the next one. */
static unsigned
udp_send(int fd, Post *post, int *number)
{
    unsigned sent = 0;
    while (sent < post->messages && !*number) {
        const int more = sendmmsg(fd, post->headers + sent, post->messages - sent, MSG_DONTWAIT);
        if (more > 0)
            sent += (unsigned)more;
        else if (errno != EINTR)
            *number = errno;
    }
    return sent;
}

static PyObject *
native_send_messages(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, family, number = 0;
    PyObject *remote, *messages;
    Py_ssize_t start, sent = 0;
    if (!PyArg_ParseTuple(arguments, "iiOO!n:send_messages", &fd, &family, &remote, &PyList_Type,
                          &messages, &start))
        return NULL;
    Post post;
    bool done = true;
    while (done && !number && start + sent < PyList_GET_SIZE(messages)) {
        post.messages = post.parts = 0;
        done = udp_add_messages(&post, family, remote, messages, start + sent);
        if (done && !post.messages)
            number = EMSGSIZE; /* the kernel says this to a message of too many parts */
        else if (done) {
            Py_BEGIN_ALLOW_THREADS
            sent += udp_send(fd, &post, &number);
            Py_END_ALLOW_THREADS
        }
        while (post.parts)
            Py_DECREF(post.datagrams[--post.parts]);
    }
    if (!done && sent) {
        PyErr_Clear();
        done = true;
    }
    return done ? Py_BuildValue("ni", sent, number) : NULL;
}
