/* Packets to many peers sealed, and datagrams of many peers opened, in one call: this does what
   wireguard/core does for packets that are plain (Tunnel.frames_from_device and trains_received, and
   what these call), and leaves all others to it. */

#pragma once

#include <Python.h>

#include <math.h>

#include "../aead/frames.h"
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

static bool
is_head(PyObject *object)
{
    return object && PyBytes_Check(object) && PyBytes_GET_SIZE(object) == TRANSPORT_HEAD_SIZE;
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

/* What is done for objects of an interface: those of the tuple that are left, as a list. */
typedef PyObject *(*ForPeers)(InterfaceState *self, const Types *types, PyObject *tuple, double now);

/* Whether a method was given so many arguments, and none by its name. Return false with an exception
   set. */
static bool
takes(Py_ssize_t wanted, Py_ssize_t count, PyObject *names)
{
    if (count != wanted || names)
        PyErr_Format(PyExc_TypeError, "this takes %zd arguments, and none by its name", wanted);
    return count == wanted && !names;
}

/* The method by which Python has it done, with the objects and the time. */
static PyObject *
done_for_peers(ForPeers what, PyObject *self, PyTypeObject *base, PyObject *const *arguments,
               Py_ssize_t count, PyObject *names)
{
    if (!takes(2, count, names))
        return NULL;
    const double now = PyFloat_AsDouble(arguments[1]);
    PyObject *tuple = PyErr_Occurred() ? NULL : PySequence_Tuple(arguments[0]);
    PyObject *left =
        tuple ? what((InterfaceState *)self, PyType_GetModuleState(base), tuple, now) : NULL;
    Py_XDECREF(tuple);
    return left;
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

/* Sealing. */

/* Frames for one peer that leave with one ECN field. */
typedef struct {
    PeerState *peer; /* an owned reference */
    int ecn;
    bool left;
    int32_t first, last; /* frames; `next` in Seals leads from one to the next */
    size_t count;        /* messages */
    /* What follows is there if the frames are not left. */
    Secret secret;
    Item *items;
} Group;

typedef struct {
    PyObject *frames; /* a tuple */
    Group *groups;
    Source *sources; /* of each frame */
    int32_t *next;   /* the next frame of the same group, or -1 */
    bool *left;      /* which frames are left to Python */
    Item *items;
    int32_t count; /* groups */
    size_t messages;
    PyObject *outgoing; /* a list: see Outgoing in interface.py */
    PyObject *segment;  /* see number_again */
} Seals;

static void
leave_group(Seals *seals, Group *group)
{
    group->left = group->peer->left = true;
    for (int32_t i = group->first; i >= 0; i = seals->next[i])
        seals->left[i] = true;
}

/* Put a frame into its group. Return false with an exception set. */
static bool
group_frame(Seals *seals, InterfaceState *self, const Types *types, uint64_t call, int32_t frame)
{
    PyObject *object = PyTuple_GET_ITEM(seals->frames, frame);
    seals->left[frame] = true;
    seals->next[frame] = -1;
    if (!PyBytes_Check(object) || PyBytes_GET_SIZE(object) < VIRTIO_SIZE + 2)
        return true;
    const uint8_t *packet = (const uint8_t *)PyBytes_AS_STRING(object) + VIRTIO_SIZE;
    PyObject *destination =
        address_of(packet, (size_t)PyBytes_GET_SIZE(object) - VIRTIO_SIZE, 16, 24);
    if (!destination)
        return false;
    const int suspect = check_interface(self) ? PyDict_Contains(self->contacted, destination) : -1;
    PyObject *owner = suspect ? NULL : PyObject_GetItem(self->owners, destination);
    Py_DECREF(destination);
    if (!owner)
        return suspect == 1;
    if (!PyObject_TypeCheck(owner, types->peer)) {
        Py_DECREF(owner);
        return true;
    }
    PeerState *peer = (PeerState *)owner;
    const int ecn = ecn_of(packet);
    peer_begin(peer, call);
    seals->left[frame] = false;
    Group *group;
    if (peer->groups[ecn] < 0) {
        expect(peer->current, sizeof(SessionState));
        peer->groups[ecn] = seals->count++;
        group = &seals->groups[peer->groups[ecn]];
        *group = (Group){.peer = peer, .ecn = ecn, .first = frame, .last = frame};
    }
    else {
        group = &seals->groups[peer->groups[ecn]];
        seals->next[group->last] = frame;
        group->last = frame;
        Py_DECREF(owner);
    }
    size_t packets;
    Source *source = &seals->sources[frame];
    if (!plan_source(source, object, &packets))
        return false;
    group->left = group->left || !packets || source->size > CONTENT_MAX;
    group->count += packets;
    seals->messages += packets;
    return true;
}

/* Fetch what is asked of the session of a group that comes later. */
static void
expect_group(const Group *group, const Types *types)
{
    const PeerState *peer = group->peer;
    const SessionState *session = (SessionState *)peer->current;
    if (!session || !PyObject_TypeCheck(session, types->session))
        return;
    expect(session->sealer, sizeof(Key));
    expect(session->sealed_head, CACHE_LINE);
    expect(peer->endpoint, CACHE_LINE);
}

/* Give a group's messages their key, counters and places, and do what Peer.send does, or leave the group.
   Return false with an exception set. */
static bool
plan_group(Seals *seals, Group *group, const Types *types, double now, Item *items, Py_ssize_t mtu)
{
    PeerState *peer = group->peer;
    SessionState *session = (SessionState *)peer->current;
    if (group->left || peer->left || !session || !PyObject_TypeCheck(session, types->session) ||
        now >= session->expires || now >= session->rekey_due ||
        session->sent > REKEY_AFTER_MESSAGES - group->count ||
        !is_plain_key(session->sealer, types->sealer, &chacha20_poly1305[SEALING]) ||
        !is_head(session->sealed_head) || !peer->endpoint || peer->endpoint == Py_None ||
        !peer->local) {
        leave_group(seals, group);
        return true;
    }
    /* From where objects are made on, a finalizer may have taken the session away. */
    uint8_t head[TRANSPORT_HEAD_SIZE];
    memcpy(head, PyBytes_AS_STRING(session->sealed_head), sizeof head);
    group->secret = ((Key *)session->sealer)->secret;
    uint64_t counter = session->sent;
    session->sent += group->count;
    PyObject *endpoint = Py_NewRef(peer->endpoint), *local = Py_NewRef(peer->local);
    group->items = items;
    size_t size = 0;
    for (int32_t i = group->first; i >= 0; i = seals->next[i]) {
        const Source *source = &seals->sources[i];
        const size_t packets =
            source->plan == SEGMENTS ? segments_count(&source->segmenter) : 1;
        list_items(items, source, packets, PADDING, mtu);
        for (size_t j = 0; j < packets; j++, items++) {
            items->counter = counter++;
            size += (size_t)(items->size + items->pad) + TRANSPORT_OVERHEAD;
        }
    }
    bool done = true;
    for (size_t at = 0, taken, segment; done && at < group->count; at += taken) {
        PyObject *data = make_train(group->items + at, group->count - at, head, sizeof head, &taken,
                                    &segment);
        done = append(seals->outgoing,
                      tuple_of(5, (PyObject *[]){data, number_again(&seals->segment, segment),
                                                 Py_NewRef(endpoint), Py_NewRef(local),
                                                 PyLong_FromLong(group->ecn)}));
    }
    Py_DECREF(endpoint);
    Py_DECREF(local);
    if (!done)
        return false;
    peer->tx_bytes += size;
    peer->keepalive_due = INFINITY;
    return traversed(peer, now) &&
           (peer->silence_due != INFINITY || size <= group->count * TRANSPORT_OVERHEAD ||
            will_be(peer, &peer->silence_due, now + peer->patience));
}

static bool
plan_groups(Seals *seals, const InterfaceState *self, const Types *types, double now)
{
    Item *items = seals->items;
    for (int32_t i = 0; i < seals->count; i++) {
        Group *group = &seals->groups[i];
        if (i + AHEAD < seals->count)
            expect_group(&seals->groups[i + AHEAD], types);
        if (!plan_group(seals, group, types, now, items, self->mtu))
            return false;
        Py_CLEAR(group->peer); /* while the caches have it */
        items += group->count;
    }
    return true;
}

/* Seal what is not left. This does not need the GIL. */
static bool
seal_planned(const Seals *seals, Context *context)
{
    bool done = true;
    for (int32_t i = 0; done && i < seals->count; i++) {
        const Group *group = &seals->groups[i];
        if (group->left)
            continue;
        done = give_key(context, &group->secret);
        for (size_t j = 0; done && j < group->count; j++) {
            seal_in_place(&group->secret, context->openssl, &group->items[j]);
            done = group->items[j].done;
        }
    }
    return done;
}

static bool
seal_groups(Seals *seals, InterfaceState *self, const Types *types, double now)
{
    seals->outgoing = PyList_New(0);
    seals->items = PyMem_New(Item, seals->messages ? seals->messages : 1);
    if (!seals->outgoing || !seals->items) {
        PyErr_NoMemory();
        return false;
    }
    Contexts *contexts = &chacha20_poly1305[SEALING];
    Context context;
    if (!take_context(contexts, &context))
        return false;
    const bool planned = plan_groups(seals, self, types, now);
    bool done = planned;
    if (planned) {
        Py_BEGIN_ALLOW_THREADS
        done = seal_planned(seals, &context);
        Py_END_ALLOW_THREADS
    }
    keep_context(contexts, context);
    if (planned && !done)
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not encrypt");
    if (!done || !check_interface(self))
        return false;
    const Py_ssize_t end = PyList_GET_SIZE(self->outgoing);
    return !PyList_SetSlice(self->outgoing, end, end, seals->outgoing);
}

/* Seal what is plain of a tuple of frames. Return a list of those that are left. */
static PyObject *
seal_for_peers(InterfaceState *self, const Types *types, PyObject *frames, double now)
{
    if (!check_interface(self))
        return NULL;
    PyObject *left = NULL;
    const size_t number = (size_t)PyTuple_GET_SIZE(frames), room = number ? number : 1;
    Seals seals = {
        .frames = frames,
        .groups = PyMem_New(Group, room),
        .sources = PyMem_Calloc(room, sizeof(Source)),
        .next = PyMem_New(int32_t, room),
        .left = PyMem_New(bool, room),
    };
    bool done = seals.groups && seals.sources && seals.next && seals.left && number <= INT32_MAX;
    if (!done)
        PyErr_NoMemory();
    const uint64_t call = ++calls;
    for (size_t i = 0; done && i < number; i++)
        done = group_frame(&seals, self, types, call, (int32_t)i);
    if (done && seal_groups(&seals, self, types, now))
        left = list_left(frames, seals.left);
    for (int32_t i = 0; i < seals.count; i++)
        Py_XDECREF(seals.groups[i].peer);
    if (seals.groups)
        OPENSSL_cleanse(seals.groups, (size_t)seals.count * sizeof *seals.groups);
    for (size_t i = 0; seals.sources && i < number; i++)
        segmenter_clear(&seals.sources[i].segmenter);
    Py_XDECREF(seals.outgoing);
    Py_XDECREF(seals.segment);
    PyMem_Free(seals.groups);
    PyMem_Free(seals.sources);
    PyMem_Free(seals.next);
    PyMem_Free(seals.left);
    PyMem_Free(seals.items);
    return left;
}

static PyObject *
interface_seal_for_peers(PyObject *self, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    return done_for_peers(seal_for_peers, self, base, arguments, count, names);
}

/* Opening. */

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

/* Whether all messages of a train begin with the head. */
static bool
is_pure(const Came *came, PyObject *head)
{
    const char *data = PyBytes_AS_STRING(came->data);
    const size_t size = (size_t)PyBytes_GET_SIZE(came->data), length = (size_t)PyBytes_GET_SIZE(head);
    size_t at = 0;
    do {
        if (size - at < length || memcmp(data + at, PyBytes_AS_STRING(head), length))
            return false;
        at += came->segment;
    } while (at < size);
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
                 is_head(session->head) &&
                 is_plain_key(session->opener, types->opener, &chacha20_poly1305[OPENING]) &&
                 ((Key *)session->opener)->head_size == TRANSPORT_HEAD_SIZE && session->window &&
                 Py_IS_TYPE(session->window, types->window) &&
                 !(now >= session->last_minute && (PyObject *)session == peer->current &&
                   !peer->last_minute);
    way->cargo.items = items;
    for (int32_t i = way->first; plain && i >= 0; i = opens->next[i]) {
        Came came;
        plain = read_came(PyTuple_GET_ITEM(opens->trains, i), &came) && is_pure(&came, session->head);
        if (plain)
            unload(&way->cargo, (const uint8_t *)PyBytes_AS_STRING(came.data),
                   (size_t)PyBytes_GET_SIZE(came.data), came.segment,
                   (const uint8_t *)PyBytes_AS_STRING(session->head), TRANSPORT_HEAD_SIZE,
                   &way->forged);
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
    for (size_t i = 0; done && i < number; i++)
        done = group_train(&opens, self, types, call, (int32_t)i);
    if (done && open_ways(&opens, self, types, now))
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

static PyObject *
interface_open_from_peers(PyObject *self, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names)
{
    return done_for_peers(open_from_peers, self, base, arguments, count, names);
}

/* The types. */

static PyMethodDef interface_methods[] = {
    {"seal_for_peers", (PyCFunction)(void (*)(void))interface_seal_for_peers,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {"open_from_peers", (PyCFunction)(void (*)(void))interface_open_from_peers,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {0},
};

static PyMethodDef no_methods[] = {{0}};

STATE(session, SessionState, "SessionState", no_methods);
STATE(peer, PeerState, "PeerState", no_methods);
STATE(interface, InterfaceState, "InterfaceState", interface_methods);
