/* Key: what a Sealer and an Opener are. */

#pragma once

#include <Python.h>

#include "contexts.h"

typedef struct {
    PyObject_HEAD
    Contexts *contexts; /* what it takes one of */
    Secret secret;
    int threads;
    Py_ssize_t head_size; /* bytes in front of the counter in a message; an opener's alone */
} Key;

/* Take a context that has this key. Return false with an exception set. */
static bool
take_context_for(Key *key, Context *taken)
{
    if (!key->secret.number) {
        PyErr_SetString(PyExc_ValueError, "the key was closed");
        return false;
    }
    if (!take_context(key->contexts, taken))
        return false;
    if (give_key(taken, &key->secret))
        return true;
    keep_context(key->contexts, *taken);
    PyErr_SetString(PyExc_RuntimeError, "OpenSSL does not take this key");
    return false;
}
