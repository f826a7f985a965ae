#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "vpn.h"

/* A copy of the text of what was raised, which is forgotten then. */
static char *raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value != NULL ? PyObject_Repr(value) : NULL;
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    char *copy = strdup(utf8 != NULL ? utf8 : "an error without a text");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return copy;
}

char *vpn_start_python(const char *home, const char *folder)
{
    if (Py_IsInitialized()) { /* by an earlier run of the same process */
        return NULL;
    }
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.write_bytecode = 0; /* an app's folders cannot be written */
    PyStatus status = PyConfig_SetBytesString(&config, &config.home, home);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        return strdup(status.err_msg != NULL ? status.err_msg : "Python did not start");
    }
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    PyObject *entry = PyUnicode_DecodeFSDefault(folder);
    int failed = path == NULL || entry == NULL || PyList_Append(path, entry) < 0;
    char *reason = failed ? raised() : NULL;
    Py_XDECREF(entry);
    PyEval_SaveThread(); /* any thread may call now */
    return reason;
}

vpn *vpn_new(const char *host, int port, const char *name, const char *certificate, char **reason)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_ImportModule("vpn");
    PyObject *made = NULL;
    if (module != NULL) {
        made = PyObject_CallMethod(module, "Vpn", "siss", host, port, name, certificate);
        Py_DECREF(module);
    }
    if (made == NULL) {
        *reason = raised();
    }
    PyGILState_Release(state);
    return (vpn *)made;
}

char *vpn_run(vpn *self, int fd, int mtu)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *ended = fd < 0 ? PyObject_CallMethod((PyObject *)self, "run", "Oi", Py_None, mtu)
                             : PyObject_CallMethod((PyObject *)self, "run", "ii", fd, mtu);
    const char *utf8 = ended != NULL ? PyUnicode_AsUTF8(ended) : NULL;
    char *why = utf8 != NULL ? strdup(utf8) : raised();
    Py_XDECREF(ended);
    PyGILState_Release(state);
    return why;
}

void vpn_stop(vpn *self)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *nothing = PyObject_CallMethod((PyObject *)self, "stop", NULL);
    if (nothing == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(nothing);
    PyGILState_Release(state);
}

void vpn_free(vpn *self)
{
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF((PyObject *)self);
    PyGILState_Release(state);
}
