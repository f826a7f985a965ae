/* What is counted with each packet, datagram and item. Classes of Python are subclasses of these types. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include <stddef.h>

#define COUNT(type, name) {#name, T_ULONGLONG, offsetof(type, name), 0, NULL}

/* Counters in packetio.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    unsigned long long frames_received, super_packets_received, packets_received, bytes_received,
        dropped_received, packets_sent, bytes_sent, frames_sent, super_packets_sent, dropped_sent;
} Counts;

static PyMemberDef counts_members[] = {
    COUNT(Counts, frames_received),
    COUNT(Counts, super_packets_received),
    COUNT(Counts, packets_received),
    COUNT(Counts, bytes_received),
    COUNT(Counts, dropped_received),
    COUNT(Counts, packets_sent),
    COUNT(Counts, bytes_sent),
    COUNT(Counts, frames_sent),
    COUNT(Counts, super_packets_sent),
    COUNT(Counts, dropped_sent),
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot counts_slots[] = {
    {Py_tp_members, counts_members},
    {0, NULL},
};

static PyType_Spec counts_spec = {
    .name = "aiotun.native._native.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = counts_slots,
};

/* UdpCounters in protocol.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    unsigned long long datagrams_received, bytes_received, messages_received, dropped_received,
        datagrams_sent, bytes_sent, messages_sent, dropped_sent;
} UdpCounts;

static PyMemberDef udp_counts_members[] = {
    COUNT(UdpCounts, datagrams_received),
    COUNT(UdpCounts, bytes_received),
    COUNT(UdpCounts, messages_received),
    COUNT(UdpCounts, dropped_received),
    COUNT(UdpCounts, datagrams_sent),
    COUNT(UdpCounts, bytes_sent),
    COUNT(UdpCounts, messages_sent),
    COUNT(UdpCounts, dropped_sent),
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot udp_counts_slots[] = {
    {Py_tp_members, udp_counts_members},
    {0, NULL},
};

static PyType_Spec udp_counts_spec = {
    .name = "aiotun.native._native.UdpCounts",
    .basicsize = sizeof(UdpCounts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = udp_counts_slots,
};

/* FramedCounters in base.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    unsigned long long received, sent, broken;
} ItemCounts;

static PyMemberDef item_counts_members[] = {
    COUNT(ItemCounts, received),
    COUNT(ItemCounts, sent),
    COUNT(ItemCounts, broken),
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot item_counts_slots[] = {
    {Py_tp_members, item_counts_members},
    {0, NULL},
};

static PyType_Spec item_counts_spec = {
    .name = "aiotun.native._native.ItemCounts",
    .basicsize = sizeof(ItemCounts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = item_counts_slots,
};
