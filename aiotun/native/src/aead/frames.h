/* A device's frames are sealed to trains of messages, and trains are opened to frames, without
   an object for each packet: see aead/frames.py. */

#pragma once

#include <Python.h>

#include "cargo.h"
#include "job.h"
#include "sources.h"
#include "state.h"
#include "trains.h"

/* A call that needs no more of these allocates no memory for them: with many peers, each peer has
   one packet. */
enum { FEW_SOURCES = 2, FEW_ITEMS = 8 };

/* Seal the items into trains that have room for them. Return false with an exception set. */
static bool
seal_into(PyObject *trains, Key *key, Item *items, PyObject *head, size_t bytes)
{
    Job job;
    if (!begin_job(&job, key, items, seal_in_place, bytes))
        return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(trains); i++) {
        PyObject *train = PyTuple_GET_ITEM(PyList_GET_ITEM(trains, i), 0);
        add_items(&job, job.count + place_items(items + job.count, train,
                                                (const uint8_t *)PyBytes_AS_STRING(head),
                                                (size_t)PyBytes_GET_SIZE(head)));
    }
    end_job(&job);
    return all_sealed(&job);
}

static PyObject *
sealer_seal_frames(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"frames", "head", "counter", "pad", "limit", NULL};
    PyObject *frames, *head, *number;
    Py_ssize_t pad = 1, limit = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|O&O&:seal_frames", names, &frames, &head,
                                     &number, clip, &pad, clip, &limit))
        return NULL;
    PyObject *tuple = PySequence_Tuple(frames), *trains = NULL;
    if (!tuple)
        return NULL;
    const size_t sources_count = (size_t)PyTuple_GET_SIZE(tuple);
    Source few_sources[FEW_SOURCES];
    Item few_items[FEW_ITEMS], *items = few_items;
    Source *sources =
        sources_count <= FEW_SOURCES ? few_sources : PyMem_New(Source, sources_count);
    size_t count = 0, begun = 0, bytes = 0;
    if (!sources) {
        PyErr_NoMemory();
        goto done;
    }
    while (begun < sources_count) {
        Source *source = &sources[begun];
        const size_t packets = read_source(source, PyTuple_GET_ITEM(tuple, (Py_ssize_t)begun++));
        if (!packets)
            goto done;
        count += packets;
        bytes += source->size;
    }
    if (!check_pad(pad))
        goto done;
    if (count > FEW_ITEMS && !(items = PyMem_New(Item, count))) {
        PyErr_NoMemory();
        goto done;
    }
    size_t next = 0;
    for (size_t i = 0; i < sources_count; i++) {
        const Source *source = &sources[i];
        const size_t packets =
            source->plan == SEGMENTS ? segments_count(&source->segmenter) : 1;
        if (!list_items(items + next, source, packets, pad, limit)) {
            check_size((Py_ssize_t)source->size);
            goto done;
        }
        next += packets;
    }
    uint64_t counter;
    if (!read_first_counter(number, count, &counter))
        goto done;
    for (size_t i = 0; i < count; i++)
        items[i].counter = counter + i;
    trains = take_trains(items, count, (size_t)PyBytes_GET_SIZE(head));
    if (trains && !seal_into(trains, (Key *)self, items, head, bytes))
        Py_CLEAR(trains);
done:
    for (size_t i = 0; i < begun; i++)
        segmenter_clear(&sources[i].segmenter);
    if (sources != few_sources)
        PyMem_Free(sources);
    if (items != few_items)
        PyMem_Free(items);
    Py_DECREF(tuple);
    return trains ? Py_BuildValue("Nn", trains, (Py_ssize_t)count) : NULL;
}

/* Read a train: a tuple of its bytes and the size of its segments. Return false with an
   exception set. */
static bool
read_train(PyObject *train, PyObject **data, size_t *segment)
{
    PyObject *number; /* an int: another object may say something else when it is read again */
    if (!PyTuple_Check(train)) {
        PyErr_Format(PyExc_TypeError, "a train is a tuple, not %s", Py_TYPE(train)->tp_name);
        return false;
    }
    if (!PyArg_ParseTuple(train, "SO!", data, &PyLong_Type, &number) ||
        !check_size(PyBytes_GET_SIZE(*data)))
        return false;
    Py_ssize_t size;
    if (!clip(number, &size))
        return false;
    const Py_ssize_t all = PyBytes_GET_SIZE(*data);
    *segment = (size_t)(0 < size && size < all ? size : all ? all : 1);
    return true;
}

static PyObject *
opener_open_frames(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"trains", "head", "window", "tcp", "udp", "udp_zero_checksum", NULL};
    Key *key = (Key *)self;
    const Types *types = PyType_GetModuleState(Py_TYPE(self)); /* which has no subclasses */
    PyObject *trains, *head, *window;
    int tcp = 1, udp = 1, zero = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|ppp:open_frames", names, &trains, &head,
                                     &window, &tcp, &udp, &zero))
        return NULL;
    if (!Py_IS_TYPE(window, types->window))
        return PyErr_Format(PyExc_TypeError, "a window is a ReplayWindow of this module, not %s",
                            Py_TYPE(window)->tp_name);
    const size_t head_size = (size_t)PyBytes_GET_SIZE(head);
    if (PyBytes_GET_SIZE(head) != key->head_size)
        return PyErr_Format(PyExc_ValueError, "the head has %zd bytes, not %zd", key->head_size,
                            PyBytes_GET_SIZE(head));
    PyObject *tuple = PySequence_Tuple(trains), *data, *frames = NULL;
    if (!tuple)
        return NULL;
    size_t messages = 0, segment;
    Outcome outcome = {0};
    Item few_items[FEW_ITEMS];
    Cargo cargo = {.items = few_items, .strays = PyList_New(0)};
    uint8_t *scratch = NULL;
    Batch batch = {0};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        if (!read_train(PyTuple_GET_ITEM(tuple, i), &data, &segment))
            goto done;
        messages += (size_t)PyBytes_GET_SIZE(data) / segment + 1;
    }
    if (messages > FEW_ITEMS)
        cargo.items = PyMem_New(Item, messages);
    if (!cargo.strays || !cargo.items) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        if (!read_train(PyTuple_GET_ITEM(tuple, i), &data, &segment) ||
            !unload(&cargo, (const uint8_t *)PyBytes_AS_STRING(data),
                    (size_t)PyBytes_GET_SIZE(data), segment,
                    (const uint8_t *)PyBytes_AS_STRING(head), head_size, &outcome.forged))
            goto done;
    scratch = take_scratch(cargo.bytes);
    if (!scratch) {
        PyErr_NoMemory();
        goto done;
    }
    if (!batch_begin(&batch, (Py_ssize_t)cargo.count))
        goto done;
    uint8_t *to = scratch;
    for (size_t i = 0; i < cargo.count; i++) {
        cargo.items[i].out = to;
        to += cargo.items[i].size;
    }
    Job job;
    if (!begin_job(&job, key, cargo.items, open_one, cargo.bytes))
        goto done;
    add_items(&job, cargo.count);
    end_job(&job);
    take_opened(&outcome, cargo.items, cargo.count, (Window *)window, &batch);
    if (batch_coalesce(&batch, false, (Wanted){tcp, udp, zero}))
        frames = batch_frames(&batch, 0);
done:
    batch_clear(&batch);
    if (scratch)
        keep_scratch(scratch, cargo.bytes);
    if (cargo.items != few_items)
        PyMem_Free(cargo.items);
    Py_DECREF(tuple);
    if (!frames) {
        Py_XDECREF(cargo.strays);
        return NULL;
    }
    return Py_BuildValue("NNnnnnn", frames, cargo.strays, (Py_ssize_t)outcome.accepted,
                         (Py_ssize_t)outcome.size, (Py_ssize_t)outcome.forged,
                         (Py_ssize_t)outcome.replayed, (Py_ssize_t)outcome.malformed);
}
