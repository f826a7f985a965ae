/* What C and Python both read and change of a WireGuard interface, its peers and their sessions.
   Interface, Peer and Session in wireguard/core are subclasses of these types: so all of it stands in
   one place. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    PyObject_HEAD
    /* First what sealing takes, then what opening takes. */
    double expires, rekey_due;
    unsigned long long sent;
    PyObject *sealed_head, *sealer;
    double last_minute;
    PyObject *opener, *window;
    int32_t run; /* in the call that opens, if that is `call` */
    uint64_t call;
} SessionState;

typedef struct {
    PyObject_HEAD
    PyObject *current, *next, *endpoint, *local;
    unsigned long long tx_bytes, rx_bytes;
    double silence_due, keepalive_due, persistent_due, visit, patience, keepalive_after;
    unsigned persistent_keepalive;
    char another_keepalive, last_minute;
    bool left;         /* to Python, from now on in the call that seals or opens, if that is `call` */
    int32_t groups[4]; /* by the ECN field, in the call that seals; -1: there is none */
    uint64_t call;
} PeerState;

typedef struct {
    PyObject_HEAD
    PyObject *owners, *contacted, *sessions; /* dicts */
    PyObject *outgoing, *incoming;           /* lists */
    Py_ssize_t mtu;
    char tcp, udp, udp_zero_checksum;
} InterfaceState;

#define FIELD(type, kind, field, name) {name, kind, offsetof(type, field), 0, NULL}

static PyMemberDef session_members[] = {
    FIELD(SessionState, T_DOUBLE, expires, "expires"),
    FIELD(SessionState, T_DOUBLE, rekey_due, "rekey_due"),
    FIELD(SessionState, T_ULONGLONG, sent, "sent"),
    FIELD(SessionState, T_OBJECT_EX, sealed_head, "sealed_head"),
    FIELD(SessionState, T_OBJECT_EX, sealer, "_sealer"),
    FIELD(SessionState, T_DOUBLE, last_minute, "last_minute"),
    FIELD(SessionState, T_OBJECT_EX, opener, "_opener"),
    FIELD(SessionState, T_OBJECT_EX, window, "_window"),
    {0},
};

static PyMemberDef peer_members[] = {
    FIELD(PeerState, T_OBJECT_EX, current, "_current"),
    FIELD(PeerState, T_OBJECT_EX, next, "_next"),
    FIELD(PeerState, T_OBJECT_EX, endpoint, "endpoint"),
    FIELD(PeerState, T_OBJECT_EX, local, "_local"),
    FIELD(PeerState, T_ULONGLONG, tx_bytes, "tx_bytes"),
    FIELD(PeerState, T_ULONGLONG, rx_bytes, "rx_bytes"),
    FIELD(PeerState, T_DOUBLE, silence_due, "_silence_due"),
    FIELD(PeerState, T_DOUBLE, keepalive_due, "_keepalive_due"),
    FIELD(PeerState, T_DOUBLE, persistent_due, "_persistent_due"),
    FIELD(PeerState, T_DOUBLE, visit, "visit"),
    FIELD(PeerState, T_DOUBLE, patience, "_patience"),
    FIELD(PeerState, T_DOUBLE, keepalive_after, "_keepalive_after"),
    FIELD(PeerState, T_UINT, persistent_keepalive, "persistent_keepalive"),
    FIELD(PeerState, T_BOOL, another_keepalive, "_another_keepalive"),
    FIELD(PeerState, T_BOOL, last_minute, "_last_minute"),
    {0},
};

static PyMemberDef interface_members[] = {
    FIELD(InterfaceState, T_OBJECT_EX, owners, "owners"),
    FIELD(InterfaceState, T_OBJECT_EX, contacted, "contacted"),
    FIELD(InterfaceState, T_OBJECT_EX, sessions, "sessions"),
    FIELD(InterfaceState, T_OBJECT_EX, outgoing, "outgoing"),
    FIELD(InterfaceState, T_OBJECT_EX, incoming, "incoming"),
    FIELD(InterfaceState, T_PYSSIZET, mtu, "mtu"),
    FIELD(InterfaceState, T_BOOL, tcp, "tcp"),
    FIELD(InterfaceState, T_BOOL, udp, "udp"),
    FIELD(InterfaceState, T_BOOL, udp_zero_checksum, "udp_zero_checksum"),
    {0},
};

/* The objects of a state are the members of that kind. */

static PyObject **
next_object(PyObject *self, PyMemberDef **member)
{
    for (; (*member)->name; ++*member)
        if ((*member)->type == T_OBJECT_EX)
            return (PyObject **)((char *)self + (*member)++->offset);
    return NULL;
}

static int
traverse_members(PyObject *self, PyMemberDef *member, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (PyObject **place; (place = next_object(self, &member));)
        Py_VISIT(*place);
    return 0;
}

static int
clear_members(PyObject *self, PyMemberDef *member)
{
    for (PyObject **place; (place = next_object(self, &member));)
        Py_CLEAR(*place);
    return 0;
}

static void
dealloc_members(PyObject *self, PyMemberDef *member)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear_members(self, member);
    type->tp_free(self);
    Py_DECREF(type);
}

#define STATE(which, Type, text, state_methods)                                                     \
    static int which##_traverse(PyObject *self, visitproc visit, void *arg)                         \
    {                                                                                              \
        return traverse_members(self, which##_members, visit, arg);                                 \
    }                                                                                              \
    static int which##_clear(PyObject *self)                                                        \
    {                                                                                              \
        return clear_members(self, which##_members);                                                \
    }                                                                                              \
    static void which##_dealloc(PyObject *self)                                                     \
    {                                                                                              \
        dealloc_members(self, which##_members);                                                     \
    }                                                                                              \
    static PyType_Slot which##_slots[] = {                                                          \
        {Py_tp_dealloc, which##_dealloc}, {Py_tp_traverse, which##_traverse},                        \
        {Py_tp_clear, which##_clear},     {Py_tp_members, which##_members},                          \
        {Py_tp_methods, state_methods},  {0, NULL},                                                \
    };                                                                                             \
    static PyType_Spec which##_spec = {                                                             \
        .name = "aiotun.native._aead." text,                                                       \
        .basicsize = sizeof(Type),                                                                 \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,                    \
        .slots = which##_slots,                                                                     \
    }
