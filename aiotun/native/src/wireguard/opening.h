/* Datagrams of many peers opened in one call: this does what Tunnel.trains_received in wireguard/core, and
   what that calls, does for packets that are plain, and leaves all others to it. */

#pragma once

#include <Python.h>

#include "../aead/cargo.h"
#include "peers.h"

/* Trains of one session that came in one way. */
typedef struct {
    PeerState *peer;           /* an owned reference */
    SessionState *session;     /* an owned reference */
    PyObject *addr, *local;    /* borrowed from the tuple of trains */
    int ecn;
    bool left;
    int32_t first, last;
    /* What follows is there if the trains are not left. */
    Secret secret;
    PyObject *window; /* an owned reference */
    Cargo cargo;
    size_t forged;
} Way;

typedef struct {
    PyObject *trains; /* a tuple */
    Way *ways;
    int32_t *next;
    bool *left;
    Item *items;
    uint8_t *scratch;
    int32_t count;          /* ways */
    size_t messages, bytes; /* at most */
    bool mixed;             /* messages in one train begin with different heads */
} Opens;

static void
leave_way(Opens *opens, Way *way)
{
    way->left = way->peer->left = true;
    for (int32_t i = way->first; i >= 0; i = opens->next[i])
        opens->left[i] = true;
}

/* A DatagramTrain that came in a way. The references are borrowed. */
typedef struct {
    PyObject *data, *addr, *local;
    size_t segment;
    int ecn;
} Came;

/* Read a DatagramTrain. Return whether it is one. */
static bool
read_came(PyObject *train, Came *came)
{
    if (!PyTuple_Check(train) || PyTuple_GET_SIZE(train) != 5)
        return false;
    came->data = PyTuple_GET_ITEM(train, 0);
    came->addr = PyTuple_GET_ITEM(train, 2);
    came->local = PyTuple_GET_ITEM(train, 3);
    PyObject *segment = PyTuple_GET_ITEM(train, 1), *ecn = PyTuple_GET_ITEM(train, 4);
    if (!PyBytes_Check(came->data) || !PyLong_Check(segment) || !PyLong_Check(ecn) ||
        PyBytes_GET_SIZE(came->data) > CONTENT_MAX)
        return false;
    const Py_ssize_t all = PyBytes_GET_SIZE(came->data), size = PyLong_AsSsize_t(segment);
    came->segment = (size_t)(0 < size && size < all ? size : all ? all : 1);
    const long field = PyLong_AsLong(ecn);
    came->ecn = (int)field;
    if (!PyErr_Occurred())
        return field >= 0 && field <= 3;
    PyErr_Clear();
    return false;
}

/* Whether all messages of a train begin as the first one, whose head is there. */
static bool
is_pure(const Came *came)
{
    const char *data = PyBytes_AS_STRING(came->data);
    const size_t size = (size_t)PyBytes_GET_SIZE(came->data);
    for (size_t at = came->segment; at < size; at += came->segment)
        if (size - at < TRANSPORT_HEAD_SIZE || memcmp(data + at, data, TRANSPORT_HEAD_SIZE))
            return false;
    return true;
}

static int
same(PyObject *a, PyObject *b)
{
    return a == b ? 1 : PyObject_RichCompareBool(a, b, Py_EQ);
}

/* Put a train to those that came in the same way. Return false with an exception set. */
static bool
group_train(Opens *opens, InterfaceState *self, const Types *types, uint64_t call, int32_t number)
{
    Came came;
    opens->left[number] = true;
    opens->next[number] = -1;
    if (!read_came(PyTuple_GET_ITEM(opens->trains, number), &came) ||
        PyBytes_GET_SIZE(came.data) < TRANSPORT_HEAD_SIZE)
        return true;
    PyObject *head =
        PyBytes_FromStringAndSize(PyBytes_AS_STRING(came.data), TRANSPORT_HEAD_SIZE);
    PyObject *found =
        head && check_interface(self) ? PyDict_GetItemWithError(self->sessions, head) : NULL;
    Py_XDECREF(head);
    if (!found)
        return !PyErr_Occurred();
    if (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) != 2 ||
        !PyObject_TypeCheck(PyTuple_GET_ITEM(found, 0), types->peer) ||
        !PyObject_TypeCheck(PyTuple_GET_ITEM(found, 1), types->session))
        return true;
    PeerState *peer = (PeerState *)PyTuple_GET_ITEM(found, 0);
    SessionState *session = (SessionState *)PyTuple_GET_ITEM(found, 1);
    peer_begin(peer, call);
    opens->left[number] = false;
    opens->mixed = !is_pure(&came);
    opens->messages += (size_t)PyBytes_GET_SIZE(came.data) / came.segment + 1;
    if (session->call == call) {
        Way *way = &opens->ways[session->run];
        int equal = way->ecn == came.ecn;
        if (equal && (equal = same(way->addr, came.addr)) > 0)
            equal = same(way->local, came.local);
        if (equal < 0)
            return false;
        if (equal) {
            opens->next[way->last] = number;
            way->last = number;
            return true;
        }
    }
    session->call = call;
    session->run = opens->count++;
    opens->ways[session->run] = (Way){
        .peer = (PeerState *)Py_NewRef(peer),
        .session = (SessionState *)Py_NewRef(session),
        .addr = came.addr,
        .local = came.local,
        .ecn = came.ecn,
        .first = number,
        .last = number,
    };
    return true;
}

/* Find the messages of trains, for which there is room, or leave them. */
static void
plan_way(Opens *opens, Way *way, const Types *types, double now, Item *items)
{
    const PeerState *peer = way->peer;
    const SessionState *session = way->session;
    bool plain = !peer->left && now < session->expires && (PyObject *)session != peer->next &&
                 is_plain_key(session->opener, types->opener, &chacha20_poly1305[OPENING]) &&
                 ((Key *)session->opener)->head_size == TRANSPORT_HEAD_SIZE && session->window &&
                 Py_IS_TYPE(session->window, types->window) &&
                 !(now >= session->last_minute && (PyObject *)session == peer->current &&
                   !peer->last_minute);
    way->cargo.items = items;
    for (int32_t i = way->first; plain && i >= 0; i = opens->next[i]) {
        Came came;
        plain = read_came(PyTuple_GET_ITEM(opens->trains, i), &came);
        const uint8_t *data = plain ? (const uint8_t *)PyBytes_AS_STRING(came.data) : NULL;
        if (plain)
            unload(&way->cargo, data, (size_t)PyBytes_GET_SIZE(came.data), came.segment, data,
                   TRANSPORT_HEAD_SIZE, &way->forged);
    }
    if (!plain) {
        leave_way(opens, way);
        return;
    }
    way->secret = ((Key *)session->opener)->secret;
    way->window = Py_NewRef(session->window);
}

/* Add to a counter of the interface. Return false with an exception set. */
static bool
count_drops(InterfaceState *self, const char *name, size_t number)
{
    if (!number)
        return true;
    PyObject *counters = PyObject_GetAttrString((PyObject *)self, "counters");
    PyObject *before = counters ? PyObject_GetAttrString(counters, name) : NULL;
    PyObject *more = before ? PyLong_FromSize_t(number) : NULL;
    PyObject *after = more ? PyNumber_Add(before, more) : NULL;
    const bool done = after && !PyObject_SetAttrString(counters, name, after);
    Py_XDECREF(counters);
    Py_XDECREF(before);
    Py_XDECREF(more);
    Py_XDECREF(after);
    return done;
}

/* Do what Peer.received does once messages were opened. Return false with an exception set. */
static bool
hear(PeerState *peer, const Way *way, const Outcome *outcome, double now)
{
    peer->rx_bytes += outcome->size + outcome->accepted * TRANSPORT_OVERHEAD;
    Py_XSETREF(peer->endpoint, Py_NewRef(way->addr));
    Py_XSETREF(peer->local, Py_NewRef(way->local));
    peer->silence_due = INFINITY;
    if (!traversed(peer, now))
        return false;
    if (!outcome->size)
        return true;
    if (peer->keepalive_due == INFINITY)
        return will_be(peer, &peer->keepalive_due, now + peer->keepalive_after);
    peer->another_keepalive = true;
    return true;
}

/* Take a frame from a peer: see Interface.deliver. */
static bool
deliver(InterfaceState *self, const Way *way, PyObject *frame)
{
    const uint8_t *packet = (const uint8_t *)PyBytes_AS_STRING(frame) + VIRTIO_SIZE;
    PyObject *source =
        address_of(packet, (size_t)PyBytes_GET_SIZE(frame) - VIRTIO_SIZE, 12, 8);
    PyObject *owner =
        source && check_interface(self) ? PyObject_GetItem(self->owners, source) : NULL;
    Py_XDECREF(source);
    if (!owner)
        return false;
    const bool own = owner == (PyObject *)way->peer;
    Py_DECREF(owner);
    if (!check_interface(self))
        return false;
    const int inner = ecn_of(packet);
    if (own && ((way->ecn != CE && way->ecn != ECT_1) || inner == CE || inner == way->ecn))
        return !PyList_Append(self->incoming, frame);
    PyObject *done = PyObject_CallMethod((PyObject *)self, "deliver", "OOi", frame, way->peer, way->ecn);
    Py_XDECREF(done);
    return done;
}

/* Take what was opened. Return false with an exception set. */
static bool
receive_way(InterfaceState *self, const Way *way, double now)
{
    Packet single = {.segments = 1};
    Part item;
    Batch batch = {1, &single, &item};
    const bool many = way->cargo.count > 1;
    if (many && !batch_begin(&batch, (Py_ssize_t)way->cargo.count))
        return false;
    Outcome outcome = {.forged = way->forged};
    take_opened(&outcome, way->cargo.items, way->cargo.count, (Window *)way->window, &batch);
    bool done = count_drops(self, "forged", outcome.forged) &&
                count_drops(self, "replayed", outcome.replayed) &&
                count_drops(self, "bad_packet", outcome.malformed) &&
                (!outcome.accepted || hear(way->peer, way, &outcome, now)) &&
                batch_coalesce(&batch, false, (Wanted){self->tcp, self->udp, self->udp_zero_checksum});
    int32_t next = 0;
    for (PyObject *frame; done && (frame = batch_next_frame(&batch, &next));) {
        done = deliver(self, way, frame);
        Py_DECREF(frame);
    }
    if (many)
        batch_clear(&batch);
    return done && !PyErr_Occurred();
}

static bool
open_ways(Opens *opens, InterfaceState *self, const Types *types, double now)
{
    Item *items = opens->items = PyMem_New(Item, opens->messages ? opens->messages : 1);
    for (int32_t i = 0; items && i < opens->count; i++) {
        Way *way = &opens->ways[i];
        if (i + AHEAD < opens->count) {
            const SessionState *later = opens->ways[i + AHEAD].session;
            expect(later->opener, sizeof(Key));
            expect(later->window, CACHE_LINE);
        }
        plan_way(opens, way, types, now, items);
        if (way->left)
            continue;
        items += way->cargo.count;
        opens->bytes += way->cargo.bytes;
    }
    uint8_t *to = items ? opens->scratch = take_scratch(opens->bytes) : NULL;
    if (!to) {
        PyErr_NoMemory();
        return false;
    }
    Contexts *contexts = &chacha20_poly1305[OPENING];
    Context context;
    if (!take_context(contexts, &context))
        return false;
    Py_BEGIN_ALLOW_THREADS
    for (int32_t i = 0; i < opens->count; i++) {
        const Way *way = &opens->ways[i];
        const bool opens_here = !way->left && give_key(&context, &way->secret);
        for (size_t j = 0; opens_here && j < way->cargo.count; j++) {
            Item *item = &way->cargo.items[j];
            item->out = to;
            to += item->size;
            open_one(&way->secret, context.openssl, item);
        }
    }
    Py_END_ALLOW_THREADS
    keep_context(contexts, context);
    bool done = true;
    for (int32_t i = 0; done && i < opens->count; i++)
        done = opens->ways[i].left || receive_way(self, &opens->ways[i], now);
    return done;
}

/* Open what is plain of a tuple of trains. Return a list of those that are left. */
static PyObject *
open_from_peers(InterfaceState *self, const Types *types, PyObject *trains, double now)
{
    if (!check_interface(self))
        return NULL;
    PyObject *left = NULL;
    const size_t number = (size_t)PyTuple_GET_SIZE(trains), room = number ? number : 1;
    Opens opens = {
        .trains = trains,
        .ways = PyMem_New(Way, room),
        .next = PyMem_New(int32_t, room),
        .left = PyMem_New(bool, room),
    };
    bool done = opens.ways && opens.next && opens.left && number <= INT32_MAX;
    if (!done)
        PyErr_NoMemory();
    const uint64_t call = ++calls;
    for (size_t i = 0; done && !opens.mixed && i < number; i++)
        done = group_train(&opens, self, types, call, (int32_t)i);
    if (opens.mixed) /* whose its messages are, Python finds out: nothing is to overtake them */
        left = done ? PySequence_List(trains) : NULL;
    else if (done && open_ways(&opens, self, types, now))
        left = list_left(trains, opens.left);
    for (int32_t i = 0; i < opens.count; i++) {
        Py_DECREF(opens.ways[i].peer);
        Py_DECREF(opens.ways[i].session);
        Py_XDECREF(opens.ways[i].window);
    }
    if (opens.ways)
        OPENSSL_cleanse(opens.ways, (size_t)opens.count * sizeof *opens.ways);
    if (opens.scratch)
        keep_scratch(opens.scratch, opens.bytes);
    PyMem_Free(opens.ways);
    PyMem_Free(opens.next);
    PyMem_Free(opens.left);
    PyMem_Free(opens.items);
    return left;
}
