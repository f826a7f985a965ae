/* Packets to many peers sealed in one call: this does what Tunnel.frames_from_device in wireguard/core, and
   what that calls, does for packets that are plain, and leaves all others to it. */

#pragma once

#include <Python.h>

#include "../aead/sources.h"
#include "../aead/trains.h"
#include "peers.h"

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

static bool
is_head(PyObject *object)
{
    return object && PyBytes_Check(object) && PyBytes_GET_SIZE(object) == TRANSPORT_HEAD_SIZE;
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
