/* UDP sockets: what udp/linux.py and udp/messages.py do for every datagram. */

#pragma once

#include <Python.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "segment.h"

/* See messages.py. */
enum { UDP_SEGMENTS_MAX = 64, UDP_SIZE_MAX = 65000 };

/* A list of bytes, cut into lists of which each can be one message. */
static PyObject *
native_batches(PyObject *Py_UNUSED(module), PyObject *list)
{
    if (!PyList_Check(list))
        return PyErr_Format(PyExc_TypeError, "datagrams come in a list");
    PyObject *datagrams = PyList_GetSlice(list, 0, PyList_GET_SIZE(list)); /* nobody changes it */
    PyObject *batches = datagrams ? PyList_New(0) : NULL;
    Py_ssize_t first = 0, segment = 0, size = 0;
    for (Py_ssize_t i = 0; batches && i < PyList_GET_SIZE(datagrams); i++) {
        PyObject *datagram = PyList_GET_ITEM(datagrams, i);
        if (!PyBytes_Check(datagram)) {
            PyErr_Format(PyExc_TypeError, "a datagram is bytes, not %s",
                         Py_TYPE(datagram)->tp_name);
            Py_CLEAR(batches);
            break;
        }
        const Py_ssize_t length = PyBytes_GET_SIZE(datagram);
        if (i > first && (!length || length > segment || size % segment ||
                          i - first == UDP_SEGMENTS_MAX || size + length > UDP_SIZE_MAX)) {
            if (!append(batches, PyList_GetSlice(datagrams, first, i)))
                Py_CLEAR(batches);
            first = i;
        }
        if (i == first) {
            segment = length;
            size = 0;
        }
        size += length;
    }
    if (batches && first < PyList_GET_SIZE(datagrams) &&
        !append(batches, PyList_GetSlice(datagrams, first, PyList_GET_SIZE(datagrams))))
        Py_CLEAR(batches);
    Py_XDECREF(datagrams);
    return batches;
}

#ifdef __linux__

#include <netinet/udp.h>

#ifndef UDP_GRO /* linux/udp.h */
#define UDP_GRO 104
#endif

/* See linux.py and control.py. */
enum { UDP_RECEIVE_MAX = 65536, UDP_ANCILLARY_MAX = 128 };

/* A host as it is written, an IPv4 one in its own form. */
static PyObject *
udp_host(int family, const void *address)
{
    char text[INET6_ADDRSTRLEN];
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address)) {
        address = (const uint8_t *)address + 12;
        family = AF_INET;
    }
    inet_ntop(family, address, text, sizeof text);
    return PyUnicode_FromString(text);
}

static PyObject *
udp_address(const struct sockaddr_storage *from)
{
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        return Py_BuildValue("Ni", udp_host(AF_INET, &in->sin_addr), ntohs(in->sin_port));
    }
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)from;
    PyObject *host = udp_host(AF_INET6, &in->sin6_addr);
    if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
        return Py_BuildValue("Ni", host, ntohs(in->sin6_port));
    return Py_BuildValue("NiII", host, ntohs(in->sin6_port), ntohl(in->sin6_flowinfo) & 0xFFFFF,
                         in->sin6_scope_id);
}

typedef struct {
    int segment, ecn;
    PyObject *local; /* owned; NULL if that failed */
} Described;

static Described
udp_describe(struct msghdr *message)
{
    Described found = {0, 0, NULL};
    struct in6_addr local;
    int family = 0;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each;
         each = CMSG_NXTHDR(message, each)) {
        const uint8_t *data = CMSG_DATA(each);
        const size_t size = each->cmsg_len - CMSG_LEN(0);
        if (each->cmsg_level == IPPROTO_UDP && each->cmsg_type == UDP_GRO && size >= sizeof(int))
            memcpy(&found.segment, data, sizeof(int));
        else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_TOS && size)
            found.ecn = data[0] & 3;
        else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_TCLASS &&
                 size >= sizeof(int)) {
            memcpy(&found.ecn, data, sizeof(int));
            found.ecn &= 3;
        }
        else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO && size >= 12) {
            memcpy(&local, data + 4, 4); /* in_pktinfo.ipi_spec_dst */
            family = AF_INET;
        }
        else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO &&
                 size >= 20) {
            memcpy(&local, data, 16); /* in6_pktinfo.ipi6_addr */
            family = AF_INET6;
        }
    }
    found.local = family ? udp_host(family, &local) : Py_NewRef(Py_None);
    return found;
}

/* A named tuple, from its type. */
static PyObject *
udp_datagram(PyTypeObject *type, const uint8_t *data, Py_ssize_t size, PyObject *addr,
             PyObject *local, PyObject *ecn)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, size);
    PyObject *fields = bytes ? PyTuple_Pack(4, bytes, addr, local, ecn) : NULL;
    PyObject *args = fields ? PyTuple_Pack(1, fields) : NULL;
    PyObject *datagram = args ? PyTuple_Type.tp_new(type, args, NULL) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(fields);
    Py_XDECREF(args);
    return datagram;
}

static PyObject *
native_receive_datagrams(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, number = 0;
    Py_ssize_t limit, messages = 0, bytes = 0;
    PyTypeObject *type;
    if (!PyArg_ParseTuple(arguments, "inO!:receive_datagrams", &fd, &limit, &PyType_Type, &type))
        return NULL;
    if (!PyType_IsSubtype(type, &PyTuple_Type))
        return PyErr_Format(PyExc_TypeError, "a datagram is a tuple");
    uint8_t buffer[UDP_RECEIVE_MAX];
    PyObject *datagrams = PyList_New(0);
    bool done = datagrams;
    while (done && PyList_GET_SIZE(datagrams) < limit) {
        union {
            struct cmsghdr aligned;
            uint8_t bytes[UDP_ANCILLARY_MAX];
        } control;
        struct sockaddr_storage from = {0};
        struct iovec whole = {buffer, sizeof buffer};
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof from,
                                 .msg_iov = &whole,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control};
        ssize_t size;
        Py_BEGIN_ALLOW_THREADS
        do
            size = recvmsg(fd, &message, MSG_DONTWAIT);
        while (size < 0 && errno == EINTR);
        number = size < 0 ? errno : 0;
        Py_END_ALLOW_THREADS
        if (size < 0)
            break;
        messages++;
        bytes += size;
        Described found = udp_describe(&message);
        PyObject *addr = udp_address(&from), *ecn = PyLong_FromLong(found.ecn);
        const ssize_t segment = found.segment > 0 ? found.segment : size;
        ssize_t at = 0;
        done = found.local && addr && ecn;
        do {
            const ssize_t left = size - at;
            done = done && append(datagrams, udp_datagram(type, buffer + at,
                                                          segment < left ? segment : left, addr,
                                                          found.local, ecn));
            at += segment;
        } while (done && at < size);
        Py_XDECREF(found.local);
        Py_XDECREF(addr);
        Py_XDECREF(ecn);
    }
    if (!done) {
        Py_XDECREF(datagrams);
        return NULL;
    }
    return Py_BuildValue("Nnni", datagrams, messages, bytes, number);
}

#endif
