/* What is counted with each packet, datagram and item. Classes of Python are subclasses of these types. */

#pragma once

#include <Python.h>
#include <structmember.h>

/* Counters in packetio.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    unsigned long long frames_received, super_packets_received, packets_received, bytes_received,
        dropped_received, packets_sent, bytes_sent, frames_sent, super_packets_sent, dropped_sent;
} Counts;

#define COUNT(name) {#name, T_ULONGLONG, offsetof(Counts, name), 0, NULL}

static PyMemberDef counts_members[] = {
    COUNT(frames_received),
    COUNT(super_packets_received),
    COUNT(packets_received),
    COUNT(bytes_received),
    COUNT(dropped_received),
    COUNT(packets_sent),
    COUNT(bytes_sent),
    COUNT(frames_sent),
    COUNT(super_packets_sent),
    COUNT(dropped_sent),
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

#define UDP_COUNT(name) {#name, T_ULONGLONG, offsetof(UdpCounts, name), 0, NULL}

static PyMemberDef udp_counts_members[] = {
    UDP_COUNT(datagrams_received), UDP_COUNT(bytes_received), UDP_COUNT(messages_received),
    UDP_COUNT(dropped_received),   UDP_COUNT(datagrams_sent), UDP_COUNT(bytes_sent),
    UDP_COUNT(messages_sent),      UDP_COUNT(dropped_sent),   {NULL, 0, 0, 0, NULL},
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
    {"received", T_ULONGLONG, offsetof(ItemCounts, received), 0, NULL},
    {"sent", T_ULONGLONG, offsetof(ItemCounts, sent), 0, NULL},
    {"broken", T_ULONGLONG, offsetof(ItemCounts, broken), 0, NULL},
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
