/* The module's state. */

#pragma once

#include <Python.h>

/* The types of this module that others of it look at. */
typedef struct {
    PyTypeObject *sealer, *opener, *window, *session, *peer, *interface;
} Types;
