/* Trains with room for the messages of items: see aead/frames.py. */

#pragma once

#include <Python.h>

#include "../objects.h"
#include "../udp/trains.h"
#include "cipher.h"

/* Return a number as an object: the last one that was made, if it is the same again. */
static PyObject *
number_again(PyObject **last, size_t number)
{
    if (!*last || PyLong_AsSize_t(*last) != number)
        Py_XSETREF(*last, PyLong_FromSize_t(number));
    return Py_XNewRef(*last);
}

/* Make room for a train of the first packets whose messages can be together, and say how many these
   are. Return its bytes, or NULL with an exception set. */
static PyObject *
take_train(const Item *items, size_t count, size_t head_size, size_t *taken, size_t *segment)
{
    Train train = {0};
    size_t number = 0;
    for (; number < count; number++) {
        const Train before = train;
        const size_t size = (size_t)(items[number].size + items[number].pad);
        if (!train_takes(&train, head_size + COUNTER_SIZE + size + TAG_SIZE) && number) {
            train = before;
            break;
        }
    }
    *taken = number;
    *segment = train.segment;
    return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)train.size);
}

/* Give packets their places in a train that has room for them, behind heads and counters. Return how
   many these are. */
static size_t
place_items(Item *items, PyObject *train, const uint8_t *head, size_t head_size)
{
    uint8_t *out = (uint8_t *)PyBytes_AS_STRING(train);
    const uint8_t *end = out + PyBytes_GET_SIZE(train);
    size_t count = 0;
    while (out < end) {
        Item *item = &items[count++];
        memcpy(out, head, head_size);
        write_counter(out + head_size, item->counter);
        item->out = out + head_size + COUNTER_SIZE;
        out = item->out + item->size + item->pad + TAG_SIZE;
    }
    return count;
}

/* Make a train for the messages of the first packets that can be together, and say how many these
   are. The messages are filled in later. Return its bytes, or NULL with an exception set. */
static PyObject *
make_train(Item *items, size_t count, const uint8_t *head, size_t head_size, size_t *taken,
           size_t *segment)
{
    PyObject *bytes = take_train(items, count, head_size, taken, segment);
    if (bytes)
        place_items(items, bytes, head, head_size);
    return bytes;
}

/* Make room for trains of all messages: a list of tuples. */
static PyObject *
take_trains(const Item *items, size_t count, size_t head_size)
{
    PyObject *trains = PyList_New(0), *last = NULL;
    for (size_t at = 0, taken, segment; trains && at < count; at += taken) {
        PyObject *bytes = take_train(items + at, count - at, head_size, &taken, &segment);
        if (!append(trains, tuple_of(2, (PyObject *[]){bytes, number_again(&last, segment)})))
            Py_CLEAR(trains);
    }
    Py_XDECREF(last);
    return trains;
}
