/* Slots: a hash table of flows, each with its last run. */

#pragma once

#include <Python.h>

#include "packet.h"

enum { NONE = -1 };

/* What is known of a flow, or of all packets between two hosts whose ports are not in sight. */
typedef struct {
    uint32_t hash;  /* the slot is small, as the processor waits for each where there are many */
    Kind kind;      /* NO_FLOW: the slot is free */
    int32_t packet; /* the last packet of the flow */
    int32_t run;    /* the run that this packet is in, or NONE */
} Slot;

/* A flow's key has so many words of 32 bits at most: addresses, ports and protocol. The number
   of words is even. */
enum { FLOW_WORDS = 8 + 2 };

static uint64_t flow_keys[FLOW_WORDS + 1];

/* Take the key from the interpreter's own hash, which is keyed too, so that no sender can make
   flows collide. All interpreters of a process have the same key. */
static void
make_flow_keys(void)
{
    const PyHash_FuncDef *function = PyHash_GetFuncDef();
    for (uint32_t i = 0; i <= FLOW_WORDS; i++) {
        const uint32_t high[] = {i, 0}, low[] = {i, 1};
        flow_keys[i] = (uint64_t)function->hash(high, sizeof high) << 32 ^
                       (uint64_t)function->hash(low, sizeof low);
    }
}

/* Pair-multiply-shift, which is strongly universal: M. Thorup, "High Speed Hashing for Integers
   and Strings" (arXiv:1504.06804). */
static uint32_t
flow_hash(const Packet *p, Kind kind)
{
    uint32_t words[FLOW_WORDS];
    size_t count = addresses_size(p->at.version) / 4;
    const uint8_t *from = p->data + p->at.ip + addresses(p->at.version);
    if (count == 2) /* compilers make two instructions of this */
        memcpy(words, from, 8);
    else
        memcpy(words, from, 32);
    words[count] = words[count + 1] = 0;
    if (kind == FLOW) {
        memcpy(&words[count], p->data + p->at.transport, 4);
        words[count + 1] = p->at.protocol;
    }
    uint64_t hash = flow_keys[FLOW_WORDS];
    for (size_t i = 0; i < count + 2; i += 2)
        hash += (flow_keys[i] + words[i + 1]) * (flow_keys[i + 1] + words[i]);
    if (p->at.ip)
        hash ^= (uint64_t)PyHash_GetFuncDef()->hash(p->data, (Py_ssize_t)p->at.ip) << 32;
    return (uint32_t)(hash >> 32);
}

static bool
same_flow(const Packet *a, const Packet *b, Kind kind)
{
    if (a->at.version != b->at.version || a->at.ip != b->at.ip)
        return false;
    const uint8_t *x = a->data, *y = b->data;
    const size_t ip = a->at.ip;
    return (kind == HOSTS || (a->at.protocol == b->at.protocol &&
                              same_words(x + a->at.transport, y + b->at.transport, 1))) &&
           (a->at.version == 4 ? same_words(x + ip + addresses(4), y + ip + addresses(4), 2)
                               : same_words(x + ip + addresses(6), y + ip + addresses(6), 8)) &&
           (!ip || !memcmp(x, y, ip));
}

/* Return the slot of the packet's flow or hosts, or the free slot where it belongs. */
static Slot *
find_slot(Slot *slots, size_t mask, const Packet *packets, const Packet *p, Kind kind)
{
    const uint32_t hash = kind == FLOW ? p->hash : flow_hash(p, kind);
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        Slot *slot = &slots[i];
        if (slot->kind == NO_FLOW) {
            slot->hash = hash;
            return slot;
        }
        if (slot->hash == hash && slot->kind == kind &&
            same_flow(&packets[slot->packet], p, kind))
            return slot;
    }
}
