/* The types Sealer and Opener. */

#pragma once

#include <Python.h>

#include "frames.h"
#include "packets.h"

static PyObject *
key_new(PyTypeObject *type, PyObject *args, PyObject *keywords, bool seal)
{
    static char *sealer_names[] = {"key",     "algorithm", "nonce_head", "associated_data",
                                   "threads", NULL};
    static char *opener_names[] = {"key",        "head_size",       "algorithm",
                                   "nonce_head", "associated_data", "threads", NULL};
    Py_buffer secret, nonce_head = {.obj = NULL};
    PyObject *associated = NULL;
    const char *algorithm = "chacha20-poly1305";
    Py_ssize_t head_size = 0, threads = 1;
    if (seal ? !PyArg_ParseTupleAndKeywords(args, keywords, "O&|s$O&SO&:Sealer", sealer_names,
                                            get_secret, &secret, &algorithm, get_secret, &nonce_head,
                                            &associated, clip, &threads)
             : !PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|s$O&SO&:Opener", opener_names,
                                            get_secret, &secret, clip, &head_size, &algorithm,
                                            get_secret, &nonce_head, &associated, clip, &threads))
        return NULL;
    Key *key = NULL;
    const bool chacha = !strcmp(algorithm, "chacha20-poly1305");
    if (!chacha && strcmp(algorithm, "aes-256-gcm"))
        PyErr_Format(PyExc_ValueError, "the algorithm is chacha20-poly1305 or aes-256-gcm, not %s",
                     algorithm);
    else if (secret.len != KEY_SIZE)
        PyErr_Format(PyExc_ValueError, "a key has %d bytes, not %zd", KEY_SIZE, secret.len);
    else if (nonce_head.obj && nonce_head.len != NONCE_HEAD_SIZE)
        PyErr_Format(PyExc_ValueError, "a nonce's head has %d bytes, not %zd", NONCE_HEAD_SIZE,
                     nonce_head.len);
    else if (head_size < 0 || head_size > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "a head has 0 to %d bytes, not %zd", CONTENT_MAX, head_size);
    else if (associated && PyBytes_GET_SIZE(associated) > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "associated data has at most %d bytes", CONTENT_MAX);
    else if (threads < 1 || threads > POOL_THREADS_MAX)
        PyErr_Format(PyExc_ValueError, "threads are 1 to %d, not %zd", POOL_THREADS_MAX, threads);
    else if ((key = (Key *)type->tp_alloc(type, 0))) {
        static uint64_t numbers; /* the GIL guards it */
        key->contexts = &(chacha ? chacha20_poly1305 : aes_256_gcm)[seal ? SEALING : OPENING];
        key->secret.number = ++numbers;
        memcpy(key->secret.key, secret.buf, KEY_SIZE);
        if (nonce_head.obj)
            memcpy(key->secret.nonce_head, nonce_head.buf, NONCE_HEAD_SIZE);
        if (associated && PyBytes_GET_SIZE(associated))
            key->secret.associated = Py_NewRef(associated);
        key->threads = (int)threads;
        key->head_size = head_size;
        Context context;
        if (take_context(key->contexts, &context))
            keep_context(key->contexts, context);
        else
            Py_CLEAR(key);
    }
    PyBuffer_Release(&secret);
    if (nonce_head.obj)
        PyBuffer_Release(&nonce_head);
    return (PyObject *)key;
}

static PyObject *
sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    return key_new(type, args, keywords, true);
}

static PyObject *
opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    return key_new(type, args, keywords, false);
}

static PyObject *
key_close(PyObject *self, PyObject *Py_UNUSED(args))
{
    Key *key = (Key *)self;
    forget_key(key->contexts, &key->secret);
    Py_RETURN_NONE;
}

static void
key_dealloc(PyObject *self)
{
    Key *key = (Key *)self;
    PyTypeObject *type = Py_TYPE(self);
    forget_key(key->contexts, &key->secret);
    Py_XDECREF(key->secret.associated);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Docstrings are the first lines of those in _aead.pyi, behind the signatures there. */

#define MORE ", *, nonce_head=b'\\x00\\x00\\x00\\x00', associated_data=b'', threads=1)\n--\n\n"

static PyMethodDef sealer_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_VARARGS | METH_KEYWORDS,
     "seal($self, packets, head, counter, pad=1, limit=sys.maxsize)\n--\n\n"
     "A message for each packet: head, counter, the packet encrypted, tag."},
    {"seal_frames", (PyCFunction)(void (*)(void))sealer_seal_frames, METH_VARARGS | METH_KEYWORDS,
     "seal_frames($self, frames, head, counter, pad=1, limit=sys.maxsize)\n--\n\n"
     "The packets of a TUN's frames (`gso_split`), sealed as `seal` does and put together."},
    {"close", key_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Wipe the key: natively, its copies are overwritten; else they are let go."},
    {0},
};

static PyMethodDef opener_methods[] = {
    {"open", opener_open, METH_O,
     "open($self, messages, /)\n--\n\n"
     "The packets of the messages that are authentic, padding and all, and their counters."},
    {"open_frames", (PyCFunction)(void (*)(void))opener_open_frames, METH_VARARGS | METH_KEYWORDS,
     "open_frames($self, trains, head, window, tcp=True, udp=True, udp_zero_checksum=False)\n--\n\n"
     "The IP packets of the messages with this head, as frames for a TUN."},
    {"close", key_close, METH_NOARGS, "close($self)\n--\n\nAs `Sealer.close`."},
    {0},
};

static PyType_Slot sealer_slots[] = {
    {Py_tp_doc, "Sealer(key, algorithm='chacha20-poly1305'" MORE
                "Seals packets with one key, which it keeps until it is closed or gone."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, key_dealloc},
    {Py_tp_methods, sealer_methods},
    {0, NULL},
};

static PyType_Slot opener_slots[] = {
    {Py_tp_doc, "Opener(key, head_size, algorithm='chacha20-poly1305'" MORE
                "Opens the messages of one key, as `Sealer` seals them."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, key_dealloc},
    {Py_tp_methods, opener_methods},
    {0, NULL},
};

static PyType_Spec sealer_spec = {
    .name = "aiotun.native._aead.Sealer",
    .basicsize = sizeof(Key),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sealer_slots,
};

static PyType_Spec opener_spec = {
    .name = "aiotun.native._aead.Opener",
    .basicsize = sizeof(Key),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = opener_slots,
};
