/* ReplayWindow: see replay.py. */

#pragma once

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "arguments.h"

enum { REPLAY_BLOCK = 64, REPLAY_BLOCKS = 128 };

typedef struct {
    PyObject_HEAD
    uint64_t limit;
    uint64_t next; /* one more than the newest counter; 0 if there is none */
    uint64_t blocks[REPLAY_BLOCKS];
} Window;

static bool
window_accept(Window *window, uint64_t counter)
{
    const uint64_t block = counter / REPLAY_BLOCK, bit = UINT64_C(1) << counter % REPLAY_BLOCK;
    uint64_t *place = &window->blocks[block % REPLAY_BLOCKS];
    if (counter >= window->next) {
        if (counter >= window->limit)
            return false;
        uint64_t begun = window->next ? (window->next - 1) / REPLAY_BLOCK + 1 : 0;
        if (block >= REPLAY_BLOCKS && begun <= block - REPLAY_BLOCKS)
            begun = block - REPLAY_BLOCKS + 1;
        for (; begun <= block; begun++)
            window->blocks[begun % REPLAY_BLOCKS] = 0;
        window->next = counter + 1;
    }
    else if (window->next - 1 - counter > (REPLAY_BLOCKS - 1) * REPLAY_BLOCK || *place & bit)
        return false;
    *place |= bit;
    return true;
}

static PyObject *
window_accept_method(PyObject *self, PyObject *number)
{
    uint64_t counter;
    if (!read_first_counter(number, 1, &counter))
        return NULL;
    return PyBool_FromLong(window_accept((Window *)self, counter));
}

static PyObject *
window_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"limit", NULL};
    PyObject *number;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!:ReplayWindow", names, &PyLong_Type, &number))
        return NULL;
    uint64_t limit;
    Window *window = read_first_counter(number, 1, &limit) ? (Window *)type->tp_alloc(type, 0) : NULL;
    if (window)
        window->limit = limit;
    return (PyObject *)window;
}

static void
window_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef window_methods[] = {
    {"accept", window_accept_method, METH_O,
     "accept($self, counter, /)\n--\n\n"
     "Whether an authentic datagram's counter is new; it is not afterwards."},
    {0},
};

static PyType_Slot window_slots[] = {
    {Py_tp_doc, "ReplayWindow(limit)\n--\n\n"
                "A ring of blocks of bits: moving on clears blocks, and shifts nothing."},
    {Py_tp_new, window_new},
    {Py_tp_dealloc, window_dealloc},
    {Py_tp_methods, window_methods},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "aiotun.native._aead.ReplayWindow",
    .basicsize = sizeof(Window),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = window_slots,
};
