/* UDP sockets: this does what udp/linux.py and udp/messages.py do for every datagram. */

#pragma once

#include <Python.h>

#include "../state.h"
#include "trains.h"

/* Cut a list of bytes into lists, each of which can be one message. */
static PyObject *
native_batches(PyObject *Py_UNUSED(module), PyObject *list)
{
    if (!PyList_Check(list))
        return PyErr_Format(PyExc_TypeError, "datagrams come in a list");
    PyObject *datagrams = PyList_GetSlice(list, 0, PyList_GET_SIZE(list)); /* a private copy */
    PyObject *batches = datagrams ? PyList_New(0) : NULL;
    Py_ssize_t first = 0;
    Train train = {0};
    for (Py_ssize_t i = 0; batches && i < PyList_GET_SIZE(datagrams); i++) {
        PyObject *datagram = PyList_GET_ITEM(datagrams, i);
        if (!PyBytes_Check(datagram)) {
            PyErr_Format(PyExc_TypeError, "a datagram is bytes, not %s",
                         Py_TYPE(datagram)->tp_name);
            Py_CLEAR(batches);
            break;
        }
        const Py_ssize_t length = PyBytes_GET_SIZE(datagram);
        if (!train_takes(&train, (size_t)length) && i) {
            if (!append(batches, PyList_GetSlice(datagrams, first, i)))
                Py_CLEAR(batches);
            first = i;
        }
    }
    if (batches && first < PyList_GET_SIZE(datagrams) &&
        !append(batches, PyList_GetSlice(datagrams, first, PyList_GET_SIZE(datagrams))))
        Py_CLEAR(batches);
    Py_XDECREF(datagrams);
    return batches;
}

#ifdef __linux__

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* linux/udp.h */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* See linux.py, cmsg.py and address.py. */
enum { UDP_RECEIVE_MAX = 65536, UDP_ANCILLARY_MAX = 128, FLOW_MAX = 0xFFFFF };

/* Return a host's address as text. An IPv4 address that is mapped to IPv6 is written as IPv4. */
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
udp_new_address(const struct sockaddr_storage *from)
{
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        return Py_BuildValue("Ni", udp_host(AF_INET, &in->sin_addr), ntohs(in->sin_port));
    }
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)from;
    PyObject *host = udp_host(AF_INET6, &in->sin6_addr);
    if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
        return Py_BuildValue("Ni", host, ntohs(in->sin6_port));
    return Py_BuildValue("NiII", host, ntohs(in->sin6_port), ntohl(in->sin6_flowinfo) & FLOW_MAX,
                         in->sin6_scope_id);
}

/* The place where an address is kept that is told in these bytes. */
static KeptAddress *
udp_kept(Kept *kept, const uint8_t *told)
{
    uint32_t number = 0;
    for (size_t i = 0; i < ADDRESS_MAX; i += sizeof number) {
        uint32_t word;
        memcpy(&word, told + i, sizeof word);
        number = (number ^ word) * UINT32_C(0x9E3779B1); /* as Fibonacci hashing does */
    }
    return &kept->addresses[number >> 24];
}

/* Return the object that is kept for an address, or NULL. */
static PyObject *
udp_known(Kept *kept, const uint8_t *told)
{
    const KeptAddress *place = udp_kept(kept, told);
    return place->object && !memcmp(place->told, told, ADDRESS_MAX) ? Py_NewRef(place->object) : NULL;
}

/* Keep an object, which may be NULL, for an address, and return it. */
static PyObject *
udp_keep(Kept *kept, const uint8_t *told, PyObject *object)
{
    KeptAddress *place = udp_kept(kept, told);
    memcpy(place->told, told, ADDRESS_MAX);
    Py_XSETREF(place->object, Py_XNewRef(object));
    return object;
}

static PyObject *
udp_address(Kept *kept, const struct sockaddr_storage *from)
{
    _Static_assert(ADDRESS_MAX == sizeof(struct sockaddr_in6), "the longest one");
    const uint8_t *told = (const uint8_t *)from;
    PyObject *known = udp_known(kept, told);
    return known ? known : udp_keep(kept, told, udp_new_address(from));
}

/* The same for the address of this host. */
static PyObject *
udp_local(Kept *kept, int family, const struct in6_addr *local)
{
    uint8_t told[ADDRESS_MAX] = {0xFF, (uint8_t)family}; /* no address of another host begins so */
    memcpy(told + 2, local, family == AF_INET ? 4 : 16);
    PyObject *known = udp_known(kept, told);
    return known ? known : udp_keep(kept, told, udp_host(family, local));
}

typedef struct {
    int segment, ecn;
    PyObject *local; /* an owned reference; NULL if it could not be made */
} Described;

static Described
udp_describe(Kept *kept, struct msghdr *message)
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
    found.local = family ? udp_local(kept, family, &local) : Py_NewRef(Py_None);
    return found;
}

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
    Kept *kept = &((State *)PyModule_GetState(module))->kept;
    int fd, number = 0;
    Py_ssize_t limit, messages = 0, bytes = 0;
    PyTypeObject *type;
    if (!PyArg_ParseTuple(arguments, "inO!:receive_datagrams", &fd, &limit, &PyType_Type, &type) ||
        !is_tuple_type(type, "datagram"))
        return NULL;
    uint8_t buffer[UDP_RECEIVE_MAX];
    PyObject *datagrams = PyList_New(0);
    bool done = datagrams;
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
        Py_XDECREF(datagrams);
        return NULL;
    }
    return Py_BuildValue("Nnni", datagrams, messages, bytes, number);
}

/* What one call received. */
typedef struct {
    PyObject *trains; /* a list */
    Py_ssize_t datagrams, bytes;
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

/* Receive trains until there are so many datagrams, or an error. A call asks for several messages: so
   it shows without a second one that no more are there. Return false with an exception set. */
static bool
receive_trains(Received *received, Kept *kept, int fd, Py_ssize_t limit, PyTypeObject *type)
{
    enum { TOGETHER = 4 };
    _Static_assert((int)TOGETHER <= (int)TRAINS_KEPT, "a room for each");
    *received = (Received){.trains = PyList_New(0)};
    bool done = received->trains;
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
        for (unsigned i = 0; done && i < came; i++)
            done = add_train(received, kept, type, &messages[i], rooms[i]);
        for (unsigned i = 0; i < count; i++)
            if (rooms[i])
                keep_room(places[i], rooms[i]);
        if (came && came < count)
            received->number = EAGAIN;
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
    if (!receive_trains(&received, &((State *)PyModule_GetState(module))->kept, fd, limit, type))
        return NULL;
    return Py_BuildValue("Nnni", received.trains, received.datagrams, received.bytes, received.number);
}

/* How much one system call takes. UDP_PARTS_MAX is the kernel's own limit for a message
   (UIO_MAXIOV of linux/uio.h). */
enum { UDP_MESSAGES_MAX = 64, UDP_PARTS_MAX = 1024 };

/* A message's address and control messages. */
typedef struct {
    union {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } to;
    union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) +
                      CMSG_SPACE(sizeof(int))];
    } control;
} Envelope;

/* What one system call sends. References to the datagrams are held until it has returned. */
typedef struct {
    unsigned messages, parts;
    struct mmsghdr headers[UDP_MESSAGES_MAX];
    Envelope envelopes[UDP_MESSAGES_MAX];
    struct iovec iovecs[UDP_PARTS_MAX];
    PyObject *datagrams[UDP_PARTS_MAX];
} Post;

static bool
udp_read_host(int family, PyObject *host, void *address)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(host, &size);
    if (text && (strlen(text) != (size_t)size || inet_pton(family, text, address) != 1))
        PyErr_Format(PyExc_ValueError, "no numeric address: %R", host);
    return !PyErr_Occurred();
}

static bool
udp_is_v4(PyObject *host)
{
    return PyUnicode_FindChar(host, ':', 0, PyUnicode_GET_LENGTH(host), 1) < 0;
}

/* See to_socket in address.py. */
static bool
udp_write_address(struct msghdr *header, Envelope *envelope, int family, PyObject *addr)
{
    PyObject *host;
    long long port, flow = 0, scope = 0;
    if (!PyArg_ParseTuple(addr, "UL|LL", &host, &port, &flow, &scope))
        return false;
    if (port < 0 || port > UINT16_MAX || flow < 0 || flow > FLOW_MAX || scope < 0 || scope > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "no address: %R", addr);
        return false;
    }
    header->msg_name = &envelope->to;
    if (family == AF_INET) {
        struct sockaddr_in *to = &envelope->to.v4;
        header->msg_namelen = sizeof *to;
        *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        return udp_read_host(AF_INET, host, &to->sin_addr);
    }
    struct sockaddr_in6 *to = &envelope->to.v6;
    header->msg_namelen = sizeof *to;
    *to = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                .sin6_port = htons((uint16_t)port),
                                .sin6_flowinfo = htonl((uint32_t)flow),
                                .sin6_scope_id = (uint32_t)scope};
    uint8_t *address = to->sin6_addr.s6_addr;
    if (!udp_is_v4(host))
        return udp_read_host(AF_INET6, host, address);
    memset(address + 10, 0xFF, 2); /* mapped: RFC 4291, section 2.5.5.2 */
    return udp_read_host(AF_INET, host, address + 12);
}

/* Add a control message behind the others. Return where its bytes go, which the caller fills in. */
static void *
udp_add_control(struct msghdr *header, int level, int type, size_t size)
{
    struct cmsghdr *control =
        (struct cmsghdr *)((uint8_t *)header->msg_control + header->msg_controllen);
    header->msg_controllen += CMSG_SPACE(size);
    memset(control, 0, CMSG_SPACE(size));
    control->cmsg_len = CMSG_LEN(size);
    control->cmsg_level = level;
    control->cmsg_type = type;
    return CMSG_DATA(control);
}

/* See encode in cmsg.py. */
static bool
udp_write_control(struct msghdr *header, Envelope *envelope, bool v4, PyObject *local, int ecn,
                  Py_ssize_t segment)
{
    header->msg_control = envelope->control.bytes;
    if (segment) {
        const uint16_t size = (uint16_t)segment;
        memcpy(udp_add_control(header, IPPROTO_UDP, UDP_SEGMENT, sizeof size), &size, sizeof size);
    }
    if (ecn) {
        void *data = v4 ? udp_add_control(header, IPPROTO_IP, IP_TOS, sizeof ecn)
                        : udp_add_control(header, IPPROTO_IPV6, IPV6_TCLASS, sizeof ecn);
        memcpy(data, &ecn, sizeof ecn);
    }
    if (local == Py_None)
        return true;
    if (v4) {
        struct in_pktinfo *info =
            udp_add_control(header, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo));
        return udp_read_host(AF_INET, local, &info->ipi_spec_dst);
    }
    struct in6_pktinfo *info =
        udp_add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo));
    return udp_read_host(AF_INET6, local, &info->ipi6_addr);
}

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
    return (addr == Py_None || udp_write_address(header, envelope, family, addr)) &&
           udp_write_control(header, envelope, udp_is_v4(PyTuple_GET_ITEM(to, 0)), local, ecn,
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

#endif
