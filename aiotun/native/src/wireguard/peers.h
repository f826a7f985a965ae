/* What sealing for many peers and opening from them have in common. */

#pragma once

#include <Python.h>

#include <math.h>

#include "../aead/cipher.h"
#include "../aead/key.h"
#include "../aead/state.h"
#include "../system/system.h"
#include "states.h"

/* See peer.py, session.py, messages.py and ecn.py in wireguard/core. */
#define REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
enum { PADDING = 16, TRANSPORT_HEAD_SIZE = 8, TRANSPORT_OVERHEAD = 32 };
enum { ECT_1 = 1, CE = 3 };

/* Calls have numbers, by which objects tell what is noted in them for this call. The GIL guards
   this. */
static uint64_t calls;

/* A frame's destination or source: see packets.py. It has as many bytes of an address as there
   are. */
static PyObject *
address_of(const uint8_t *packet, size_t size, size_t v4, size_t v6)
{
    const bool four = packet[0] < 0x50;
    const size_t at = four ? v4 : v6, length = four ? 4 : 16;
    const size_t there = size <= at ? 0 : size - at < length ? size - at : length;
    return PyBytes_FromStringAndSize((const char *)packet + (there ? at : 0), (Py_ssize_t)there);
}

static int
ecn_of(const uint8_t *packet)
{
    return packet[0] >> 4 == 4 ? packet[1] & 3 : packet[1] >> 4 & 3;
}

/* Note when a timer is due that begins to run: see Peer._will_be. */
static bool
will_be(PeerState *peer, double *timer, double due)
{
    PyObject *done = NULL;
    const bool earlier = due < peer->visit;
    if (earlier && !(done = PyObject_CallMethod((PyObject *)peer, "_will_be", "d", due)))
        return false;
    Py_XDECREF(done);
    *timer = due;
    return true;
}

/* The peer's NAT has seen a packet: see Peer._traversed. */
static bool
traversed(PeerState *peer, double now)
{
    return !peer->persistent_keepalive ||
           will_be(peer, &peer->persistent_due, now + peer->persistent_keepalive);
}

/* Begin a call that notes something in this peer. */
static void
peer_begin(PeerState *peer, uint64_t call)
{
    if (peer->call == call)
        return;
    peer->call = call;
    peer->left = false;
    for (size_t i = 0; i < sizeof peer->groups / sizeof *peer->groups; i++)
        peer->groups[i] = -1;
}

/* With many peers all of them has left the processor's caches: it fetches what comes next. */
static inline void
expect(const void *place, size_t size)
{
    for (size_t at = 0; place && at < size; at += CACHE_LINE)
        __builtin_prefetch((const uint8_t *)place + at);
}

enum { AHEAD = 4 }; /* groups, or ways: memory is waited for as long as it takes to look at so many */

/* Whether a session's key is one that C takes here: others are left to Python. */
static bool
is_plain_key(PyObject *object, PyTypeObject *type, const Contexts *contexts)
{
    const Key *key = (Key *)object;
    return object && Py_IS_TYPE(object, type) && key->contexts == contexts && key->secret.number &&
           !key->secret.associated;
}

/* Whether an interface is what C relies on. This is asked anew wherever Python may have run: it may
   have changed the attributes. Return false with an exception set. */
static bool
check_interface(const InterfaceState *self)
{
    const bool valid = self->owners && PyDict_Check(self->owners) && self->contacted &&
                       PyDict_Check(self->contacted) && self->sessions &&
                       PyDict_Check(self->sessions) && self->outgoing &&
                       PyList_Check(self->outgoing) && self->incoming && PyList_Check(self->incoming);
    if (!valid)
        PyErr_SetString(PyExc_TypeError, "an interface has three dicts and two lists");
    return valid;
}

/* Return the objects of the tuple that are left, as a list. */
static PyObject *
list_left(PyObject *tuple, const bool *left)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list && i < PyTuple_GET_SIZE(tuple); i++)
        if (left[i] && PyList_Append(list, PyTuple_GET_ITEM(tuple, i)))
            Py_CLEAR(list);
    return list;
}
