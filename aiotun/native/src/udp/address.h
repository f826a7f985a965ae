/* Addresses, as the system has them and as objects: see address.py. */

#pragma once

#include <Python.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../kept.h"

/* A flow label has 20 bits. */
enum { FLOW_MAX = 0xFFFFF };

/* The highest bits of a hash are an address's place among those that are kept. */
enum { ADDRESS_SHIFT = 24 };
_Static_assert(ADDRESSES_KEPT == 1 << (32 - ADDRESS_SHIFT), "one for each");

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
    return &kept->addresses[number >> ADDRESS_SHIFT];
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

typedef union {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} SocketAddress;

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

/* Write an address where a message has it: see to_socket in address.py. */
static bool
udp_write_address(struct msghdr *header, SocketAddress *written, int family, PyObject *addr)
{
    PyObject *host;
    long long port, flow = 0, scope = 0;
    if (!PyArg_ParseTuple(addr, "UL|LL", &host, &port, &flow, &scope))
        return false;
    if (port < 0 || port > UINT16_MAX || flow < 0 || flow > FLOW_MAX || scope < 0 || scope > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "no address: %R", addr);
        return false;
    }
    header->msg_name = written;
    if (family == AF_INET) {
        struct sockaddr_in *to = &written->v4;
        header->msg_namelen = sizeof *to;
        *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        return udp_read_host(AF_INET, host, &to->sin_addr);
    }
    struct sockaddr_in6 *to = &written->v6;
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

/* Write an address as udp_write_address does. The last ones that were written are kept: a peer's is the
   same object from packet to packet. */
static bool
udp_write_target(Kept *kept, struct msghdr *header, SocketAddress *written, int family,
                 PyObject *addr)
{
    _Static_assert(sizeof *written == ADDRESS_MAX, "of either family");
    const uint32_t number = (uint32_t)((uintptr_t)addr >> 4) * UINT32_C(0x9E3779B1);
    KeptAddress *place = &kept->targets[number >> ADDRESS_SHIFT];
    sa_family_t told;
    memcpy(&told, place->told, sizeof told);
    if (place->object == addr && told == family) {
        memcpy(written, place->told, ADDRESS_MAX);
        header->msg_name = written;
        header->msg_namelen = family == AF_INET ? sizeof written->v4 : sizeof written->v6;
        return true;
    }
    if (!udp_write_address(header, written, family, addr))
        return false;
    bool plain = PyTuple_CheckExact(addr) && PyUnicode_CheckExact(PyTuple_GET_ITEM(addr, 0));
    for (Py_ssize_t i = 1; plain && i < PyTuple_GET_SIZE(addr); i++)
        plain = PyLong_CheckExact(PyTuple_GET_ITEM(addr, i));
    if (!plain) /* it may say something else next time, or hold what is to go */
        return true;
    memcpy(place->told, written, ADDRESS_MAX);
    Py_XSETREF(place->object, Py_NewRef(addr));
    return true;
}
