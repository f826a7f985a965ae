/* Items that a framed end receives and sends: see sources.py and sinks.py.

   What a program awaits for each is a `Call`. It is over at once if an item waits, or if there is
   room; else it goes on as the coroutine of the Python twin. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "../counts.h"
#include "../transports/writing.h"

/* MessageProtocol in streams.py is a subclass of this. */
typedef struct {
    PyObject_HEAD
    PyObject *kept, *readers, *writers; /* deques; NULL before they are set */
    char full, writable;
    Py_ssize_t written, yield_at;
} Messages;

/* An ItemSource or an ItemSink. _bind sets what follows `closed`; before, `call_type` is NULL. */
typedef struct {
    PyObject_HEAD
    char closed;
    PyTypeObject *call_type;
    PyObject *twin; /* the twin's type: TransportSource or TransportSink */
    Messages *protocol;
    PyObject *convert; /* the codec's decode or encode, or NULL if an item is its packet */
    ItemCounts *counts;
    /* Of a source. */
    PyObject *errors, *codec_error; /* those that wait, and their type */
    PyObject *popleft;              /* the name of a deque's method */
    /* Of a sink. */
    Port *port;
} ItemEnd;

/* LEFT says that nothing was done, and the twin is to do it. */
typedef enum { FAILED, DONE, LEFT } Outcome;

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

static bool
is_empty(PyObject *deque)
{
    return deque && !PyObject_Size(deque);
}

/* Decode a packet or encode an item. */
static PyObject *
converted(const ItemEnd *self, PyObject *object)
{
    return self->convert ? PyObject_CallOneArg(self->convert, object) : Py_NewRef(object);
}

static Outcome
receive_item(ItemEnd *self, PyObject *Py_UNUSED(item), PyObject **result)
{
    const Messages *protocol = self->protocol;
    if (self->closed || protocol->full || !protocol->kept || is_empty(protocol->kept) ||
        !is_empty(protocol->readers) || !is_empty(self->errors))
        return LEFT;
    PyObject *message = PyObject_CallMethodNoArgs(protocol->kept, self->popleft);
    if (!message)
        return FAILED;
    *result = converted(self, message);
    Py_DECREF(message);
    if (*result)
        self->counts->received++;
    else if (PyErr_ExceptionMatches(self->codec_error))
        self->counts->broken++;
    return *result ? DONE : FAILED;
}

/* Write an item. Return false with an exception set. */
static bool
put_item(ItemEnd *self, PyObject *item)
{
    Messages *protocol = self->protocol;
    PyObject *packet = converted(self, item);
    if (!packet)
        return false;
    bool done;
    if (PyBytes_CheckExact(packet) && PyBytes_GET_SIZE(packet) &&
        PyBytes_GET_SIZE(packet) <= self->port->size_max) {
        done = write_one(self->port, packet);
        protocol->written += done;
    }
    else
        done = done_with(PyObject_CallMethod((PyObject *)protocol, "write", "((O))", packet));
    Py_DECREF(packet);
    self->counts->sent += done;
    return done;
}

static Outcome
send_item(ItemEnd *self, PyObject *item, PyObject **result)
{
    const Messages *protocol = self->protocol;
    if (self->closed || self->port->closed || !protocol->writable || !is_empty(protocol->writers) ||
        protocol->written >= protocol->yield_at)
        return LEFT;
    if (!put_item(self, item))
        return FAILED;
    *result = Py_NewRef(Py_None);
    return DONE;
}

static const Way RECEIVE = {"recv", receive_item}, NEXT = {"__anext__", receive_item},
                 SEND = {"send", send_item};

/* Calls. */

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

/* A codec's StopIteration, which is set, is no end of this call: a coroutine makes another exception of
   it (PEP 479). */
static void
raise_stop(void)
{
    PyObject *stop = take_exception();
    PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
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
        if (outcome == FAILED && PyErr_ExceptionMatches(PyExc_StopIteration))
            raise_stop();
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

/* Messages. */

static int
messages_traverse(PyObject *object, visitproc visit, void *arg)
{
    const Messages *self = (Messages *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->kept);
    Py_VISIT(self->readers);
    Py_VISIT(self->writers);
    return 0;
}

static int
messages_clear(PyObject *object)
{
    Messages *self = (Messages *)object;
    Py_CLEAR(self->kept);
    Py_CLEAR(self->readers);
    Py_CLEAR(self->writers);
    return 0;
}

static void
messages_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    messages_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef messages_members[] = {
    {"kept", T_OBJECT_EX, offsetof(Messages, kept), 0, NULL},
    {"_readers_waiting", T_OBJECT_EX, offsetof(Messages, readers), 0, NULL},
    {"_writers_waiting", T_OBJECT_EX, offsetof(Messages, writers), 0, NULL},
    {"_full", T_BOOL, offsetof(Messages, full), 0, NULL},
    {"writable", T_BOOL, offsetof(Messages, writable), 0, NULL},
    {"written", T_PYSSIZET, offsetof(Messages, written), 0, NULL},
    {"_yield_at", T_PYSSIZET, offsetof(Messages, yield_at), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot messages_slots[] = {
    {Py_tp_members, messages_members},
    {Py_tp_traverse, messages_traverse},
    {Py_tp_clear, messages_clear},
    {Py_tp_dealloc, messages_dealloc},
    {0, NULL},
};

static PyType_Spec messages_spec = {
    .name = "aiotun.native._native.Messages",
    .basicsize = sizeof(Messages),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = messages_slots,
};

/* ItemSource and ItemSink. */

static PyObject *
source_recv(PyObject *self, PyObject *Py_UNUSED(none))
{
    return new_call(self, NULL, &RECEIVE);
}

static PyObject *
source_anext(PyObject *self)
{
    return new_call(self, NULL, &NEXT);
}

static PyObject *
sink_send(PyObject *self, PyObject *item)
{
    return new_call(self, item, &SEND);
}

static PyObject *
sink_put(PyObject *object, PyObject *items)
{
    ItemEnd *self = (ItemEnd *)object;
    PyObject *iterator = is_bound(self) ? PyObject_GetIter(items) : NULL, *item;
    if (!iterator)
        return NULL;
    Py_ssize_t count = 0;
    bool done = true;
    while (done && (item = PyIter_Next(iterator))) {
        done = put_item(self, item);
        count += done;
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    if (!done && PyErr_ExceptionMatches(PyExc_StopIteration)) /* a codec's ends map(), which the twin calls */
        PyErr_Clear();
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(count);
}

/* Set all that calls need: the twin's type, the protocol, decode or encode (None if an item is its
   packet), the counters; of a source the errors that wait and their type; of a sink the port. To be
   called once. */
static PyObject *
end_bind(PyObject *object, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
         PyObject *Py_UNUSED(names))
{
    ItemEnd *self = (ItemEnd *)object;
    State *state = PyType_GetModuleState(base);
    const bool source = base == state->source_type;
    if (self->call_type || count != (source ? 6 : 5))
        return PyErr_Format(PyExc_RuntimeError, "an end is bound once, to all that it needs");
    if (!PyObject_TypeCheck(arguments[1], state->messages_type) ||
        !PyObject_TypeCheck(arguments[3], state->item_counts_type) ||
        !(source || (PyObject_TypeCheck(arguments[4], state->port_type) &&
                     ((Port *)arguments[4])->base)))
        return PyErr_Format(PyExc_TypeError, "this is nothing to bind an end to");
    if (source && !(self->popleft = PyUnicode_InternFromString("popleft")))
        return NULL;
    self->twin = Py_NewRef(arguments[0]);
    self->protocol = (Messages *)Py_NewRef(arguments[1]);
    self->convert = arguments[2] == Py_None ? NULL : Py_NewRef(arguments[2]);
    self->counts = (ItemCounts *)Py_NewRef(arguments[3]);
    if (source) {
        self->errors = Py_NewRef(arguments[4]);
        self->codec_error = Py_NewRef(arguments[5]);
    }
    else
        self->port = (Port *)Py_NewRef(arguments[4]);
    self->call_type = (PyTypeObject *)Py_NewRef(state->call_type);
    Py_RETURN_NONE;
}

static int
end_traverse(PyObject *object, visitproc visit, void *arg)
{
    const ItemEnd *self = (ItemEnd *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->call_type);
    Py_VISIT(self->twin);
    Py_VISIT(self->protocol);
    Py_VISIT(self->convert);
    Py_VISIT(self->counts);
    Py_VISIT(self->errors);
    Py_VISIT(self->codec_error);
    Py_VISIT(self->port);
    return 0;
}

/* An end that the collector clears is unbound: nothing that calls use is NULL after `call_type`
   is set. */
static int
end_clear(PyObject *object)
{
    ItemEnd *self = (ItemEnd *)object;
    Py_CLEAR(self->call_type);
    Py_CLEAR(self->twin);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->convert);
    Py_CLEAR(self->counts);
    Py_CLEAR(self->errors);
    Py_CLEAR(self->codec_error);
    Py_CLEAR(self->popleft);
    Py_CLEAR(self->port);
    return 0;
}

static void
end_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    end_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef end_members[] = {
    {"closed", T_BOOL, offsetof(ItemEnd, closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define BIND                                                                                       \
    {"_bind", (PyCFunction)(void (*)(void))end_bind, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL}

static PyMethodDef source_methods[] = {
    BIND,
    {"recv", source_recv, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef sink_methods[] = {
    BIND,
    {"send", sink_send, METH_O, NULL},
    {"put", sink_put, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot source_slots[] = {
    {Py_am_anext, source_anext},
    {Py_tp_members, end_members},
    {Py_tp_methods, source_methods},
    {Py_tp_traverse, end_traverse},
    {Py_tp_clear, end_clear},
    {Py_tp_dealloc, end_dealloc},
    {0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_members, end_members},
    {Py_tp_methods, sink_methods},
    {Py_tp_traverse, end_traverse},
    {Py_tp_clear, end_clear},
    {Py_tp_dealloc, end_dealloc},
    {0, NULL},
};

enum { END_FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                   Py_TPFLAGS_IMMUTABLETYPE };

static PyType_Spec source_spec = {
    .name = "aiotun.native._native.ItemSource",
    .basicsize = sizeof(ItemEnd),
    .flags = END_FLAGS,
    .slots = source_slots,
};

static PyType_Spec sink_spec = {
    .name = "aiotun.native._native.ItemSink",
    .basicsize = sizeof(ItemEnd),
    .flags = END_FLAGS,
    .slots = sink_slots,
};
