/* Packets sealed to messages, and messages opened to packets, each an object. */

#pragma once

#include <Python.h>

#include "arguments.h"
#include "job.h"

/* Return the packets as a tuple, which no one else can change. Each is bytes, and small enough. */
static PyObject *
batch_of(PyObject *packets, size_t *bytes)
{
    PyObject *tuple = PySequence_Tuple(packets);
    *bytes = 0;
    for (Py_ssize_t i = 0; tuple && i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *packet = PyTuple_GET_ITEM(tuple, i);
        if (!PyBytes_Check(packet)) {
            PyErr_Format(PyExc_TypeError, "a packet is bytes, not %s", Py_TYPE(packet)->tp_name);
            Py_CLEAR(tuple);
        }
        else if (!check_size(PyBytes_GET_SIZE(packet)))
            Py_CLEAR(tuple);
        else
            *bytes += (size_t)PyBytes_GET_SIZE(packet);
    }
    return tuple;
}

static PyObject *
sealer_seal(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"packets", "head", "counter", "pad", "limit", NULL};
    PyObject *packets, *head, *first;
    Py_ssize_t pad = 1, limit = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|O&O&:seal", names, &packets, &head, &first,
                                     clip, &pad, clip, &limit))
        return NULL;
    if (!check_pad(pad))
        return NULL;
    size_t bytes;
    PyObject *batch = batch_of(packets, &bytes);
    if (!batch)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(batch);
    uint64_t counter;
    PyObject *messages = NULL;
    Item *items = NULL;
    if (!read_first_counter(first, (size_t)count, &counter))
        goto done;
    messages = PyList_New(count);
    items = PyMem_New(Item, (size_t)count);
    if (!messages || !items) {
        PyErr_NoMemory();
        goto failed;
    }
    Job job;
    if (!begin_job(&job, (Key *)self, items, seal_one, bytes))
        goto failed;
    const Py_ssize_t head_size = PyBytes_GET_SIZE(head);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *packet = PyTuple_GET_ITEM(batch, i);
        const Py_ssize_t size = PyBytes_GET_SIZE(packet);
        const Py_ssize_t behind = padding(size, pad, limit);
        PyObject *message = PyBytes_FromStringAndSize(
            NULL, head_size + COUNTER_SIZE + size + behind + TAG_SIZE);
        if (!message)
            break;
        PyList_SET_ITEM(messages, i, message);
        uint8_t *out = (uint8_t *)PyBytes_AS_STRING(message);
        memcpy(out, PyBytes_AS_STRING(head), (size_t)head_size);
        write_counter(out + head_size, counter + (uint64_t)i);
        items[i] = (Item){
            .in = (const uint8_t *)PyBytes_AS_STRING(packet),
            .out = out + head_size + COUNTER_SIZE,
            .size = size,
            .pad = behind,
            .counter = counter + (uint64_t)i,
        };
        add_items(&job, (size_t)i + 1);
    }
    end_job(&job);
    if (job.count == (size_t)count && all_sealed(&job))
        goto done;
failed:
    Py_CLEAR(messages);
done:
    PyMem_Free(items);
    Py_DECREF(batch);
    return messages;
}

static PyObject *
opener_open(PyObject *self, PyObject *messages)
{
    Key *key = (Key *)self;
    size_t bytes;
    PyObject *batch = batch_of(messages, &bytes);
    if (!batch)
        return NULL;
    const Py_ssize_t all = PyTuple_GET_SIZE(batch), front = key->head_size + COUNTER_SIZE;
    PyObject *opened = PyList_New(0), *counters = PyList_New(0), *result = NULL;
    PyObject **packets = PyMem_Calloc((size_t)all + 1, sizeof *packets);
    Item *items = PyMem_New(Item, (size_t)all);
    Py_ssize_t count = 0;
    if (!opened || !counters || !packets || !items) {
        PyErr_NoMemory();
        goto done;
    }
    Job job;
    if (!begin_job(&job, key, items, open_one, bytes))
        goto done;
    bool made = true;
    for (Py_ssize_t i = 0; i < all; i++) {
        PyObject *message = PyTuple_GET_ITEM(batch, i);
        const Py_ssize_t size = PyBytes_GET_SIZE(message) - front - TAG_SIZE;
        if (size < 0)
            continue;
        PyObject *packet = PyBytes_FromStringAndSize(NULL, size);
        made = packet;
        if (!made)
            break;
        packets[count] = packet;
        const uint8_t *in = (const uint8_t *)PyBytes_AS_STRING(message) + front;
        items[count++] = (Item){
            .in = in,
            .out = (uint8_t *)PyBytes_AS_STRING(packet),
            .size = size,
            .counter = read_counter(in - COUNTER_SIZE),
        };
        add_items(&job, (size_t)count);
    }
    end_job(&job);
    if (!made)
        goto done;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!items[i].done)
            continue;
        PyObject *counter = PyLong_FromUnsignedLongLong(items[i].counter);
        const bool kept = counter && !PyList_Append(counters, counter) &&
                          !PyList_Append(opened, packets[i]);
        Py_XDECREF(counter);
        if (!kept)
            goto done;
    }
    result = PyTuple_Pack(2, opened, counters);
done:
    for (Py_ssize_t i = 0; packets && i < count; i++)
        Py_DECREF(packets[i]);
    PyMem_Free(packets);
    PyMem_Free(items);
    Py_XDECREF(opened);
    Py_XDECREF(counters);
    Py_DECREF(batch);
    return result;
}
