/* Call: what a program awaits for an item. It is over at once if an item waits, or if there is room; else
   it goes on as the coroutine of the Python twin. */

#pragma once

#include <Python.h>

#include "../exceptions.h"
#include "items.h"

typedef struct {
    const char *name; /* of the method, which the twin has too */
    Outcome (*attempt)(ItemEnd *end, PyObject *item, PyObject **result);
} Way;

typedef struct {
    PyObject_HEAD
    const Way *way;
    ItemEnd *end;
    PyObject *item; /* what is sent, or NULL */
    PyObject *rest; /* the twin's coroutine, once it is needed */
    bool begun;
} Call;

static const Way RECEIVE = {"recv", receive_item}, NEXT = {"__anext__", receive_item},
                 SEND = {"send", send_item};

static bool
is_bound(const ItemEnd *self)
{
    if (!self->call_type)
        PyErr_SetString(PyExc_RuntimeError, "this end was not bound");
    return self->call_type;
}

static PyObject *
new_call(PyObject *end, PyObject *item, const Way *way)
{
    Call *self = is_bound((ItemEnd *)end) ? PyObject_GC_New(Call, ((ItemEnd *)end)->call_type) : NULL;
    if (!self)
        return NULL;
    self->way = way;
    self->end = (ItemEnd *)Py_NewRef(end);
    self->item = Py_XNewRef(item);
    self->rest = NULL;
    self->begun = false;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* Leave what is to be done to the twin's coroutine. */
static bool
leave_call(Call *self)
{
    self->rest = PyObject_CallMethod(self->end->twin, self->way->name, self->item ? "OO" : "O",
                                     self->end, self->item);
    return self->rest;
}

/* Begin with what was sent to the call, which is to be None as for any coroutine. */
static bool
begin_call(Call *self, PyObject *sent)
{
    if (self->begun)
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    else if (sent != Py_None)
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    else
        return self->begun = true;
    return false;
}

/* If the exception that is set is a codec's StopIteration, make of it what coroutines and generators do
   (PEP 479): it is no end of theirs. */
static void
raise_no_stop(const char *who)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return;
    PyObject *stop = take_exception();
    PyErr_Format(PyExc_RuntimeError, "%s raised StopIteration", who);
    PyObject *raised = take_exception();
    PyException_SetCause(raised, Py_NewRef(stop));
    PyException_SetContext(raised, stop);
    raise_exception(raised);
}

static PySendResult
call_am_send(PyObject *object, PyObject *value, PyObject **result)
{
    Call *self = (Call *)object;
    *result = NULL;
    if (!self->rest) {
        if (!begin_call(self, value))
            return PYGEN_ERROR;
        const Outcome outcome = self->way->attempt(self->end, self->item, result);
        if (outcome == FAILED)
            raise_no_stop("coroutine");
        if (outcome != LEFT)
            return outcome == DONE ? PYGEN_RETURN : PYGEN_ERROR;
        if (!leave_call(self))
            return PYGEN_ERROR;
    }
    return PyIter_Send(self->rest, value, result);
}

static PyObject *
call_send(PyObject *object, PyObject *value)
{
    PyObject *result;
    const PySendResult sent = call_am_send(object, value, &result);
    if (sent != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result); /* it may be a tuple */
    Py_DECREF(result);
    if (stop)
        raise_exception(stop);
    return NULL;
}

static PyObject *
call_next(PyObject *object)
{
    return call_send(object, Py_None);
}

static PyObject *
call_throw(PyObject *object, PyObject *arguments)
{
    Call *self = (Call *)object;
    if (!self->rest && !(begin_call(self, Py_None) && leave_call(self)))
        return NULL;
    PyObject *throw = PyObject_GetAttrString(self->rest, "throw");
    PyObject *result = throw ? PyObject_CallObject(throw, arguments) : NULL;
    Py_XDECREF(throw);
    return result;
}

static PyObject *
call_close(PyObject *object, PyObject *Py_UNUSED(none))
{
    Call *self = (Call *)object;
    self->begun = true;
    if (self->rest)
        return PyObject_CallMethod(self->rest, "close", NULL);
    Py_RETURN_NONE;
}

/* What was never awaited is told as of any coroutine: by the twin's, which is never awaited
   either. */
static void
call_finalize(PyObject *object)
{
    Call *self = (Call *)object;
    if (self->begun)
        return;
    PyObject *exception = take_exception();
    self->begun = true;
    if (leave_call(self))
        Py_CLEAR(self->rest);
    else
        PyErr_WriteUnraisable(object);
    if (exception)
        raise_exception(exception);
}

static int
call_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Call *self = (Call *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->end);
    Py_VISIT(self->item);
    Py_VISIT(self->rest);
    return 0;
}

static int
call_clear(PyObject *object)
{
    Py_CLEAR(((Call *)object)->rest);
    return 0;
}

static void
call_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Call *self = (Call *)object;
    if (!self->begun && PyObject_CallFinalizerFromDealloc(object))
        return;
    PyObject_GC_UnTrack(object);
    Py_DECREF(self->end);
    Py_XDECREF(self->item);
    Py_XDECREF(self->rest);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef call_methods[] = {
    {"send", call_send, METH_O, NULL},
    {"throw", call_throw, METH_VARARGS, NULL},
    {"close", call_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, call_am_send},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, call_next},
    {Py_tp_methods, call_methods},
    {Py_tp_traverse, call_traverse},
    {Py_tp_clear, call_clear},
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_finalize, call_finalize},
    {0, NULL},
};

static PyType_Spec call_spec = {
    .name = "aiotun.native._native.Call",
    .basicsize = sizeof(Call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};
