/* aiotun.native._aead: what _aead.pyi says. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "aead/replay.h"
#include "aead/state.h"
#include "aead/types.h"
#include "wireguard/boot_time.h"
#include "wireguard/crossing.h"

static PyMethodDef module_methods[] = {
#ifdef __linux__
    {"boot_time", boot_time, METH_NOARGS, "boot_time()\n--\n\nSee `wireguard.endpoint.clock`."},
#endif
    {0},
};

/* What the messages of a large batch took would go back to the system when they are freed, and come
   again page by page. glibc keeps twice the largest piece that it mapped and that was freed (mallopt(3),
   M_TRIM_THRESHOLD), unless the user's environment says how much. */
static void
keep_freed_memory(void)
{
    enum { KEPT = 8 << 20 };
    PyMem_RawFree(PyMem_RawMalloc(KEPT / 2));
}

static int
module_exec(PyObject *module)
{
    if (!pool_register_reset()) {
        PyErr_NoMemory();
        return -1;
    }
    keep_freed_memory();
    if (PyModule_AddIntConstant(module, "SOURCES", AIOTUN_SOURCES))
        return -1;
    make_flow_keys();
    Types *types = PyModule_GetState(module);
    const struct {
        PyType_Spec *spec;
        PyTypeObject **kept;
    } all[] = {
        {&sealer_spec, &types->sealer},   {&opener_spec, &types->opener},
        {&window_spec, &types->window},   {&session_spec, &types->session},
        {&peer_spec, &types->peer},       {&interface_spec, &types->interface},
        {&crossing_spec, NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, all[i].spec, NULL);
        if (!type || PyModule_AddType(module, (PyTypeObject *)type)) {
            Py_XDECREF(type);
            return -1;
        }
        if (all[i].kept)
            *all[i].kept = (PyTypeObject *)type;
        else
            Py_DECREF(type);
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    const Types *types = PyModule_GetState(module);
    Py_VISIT(types->sealer);
    Py_VISIT(types->opener);
    Py_VISIT(types->window);
    Py_VISIT(types->session);
    Py_VISIT(types->peer);
    Py_VISIT(types->interface);
    return 0;
}

static int
module_clear(PyObject *module)
{
    Types *types = PyModule_GetState(module);
    Py_CLEAR(types->sealer);
    Py_CLEAR(types->opener);
    Py_CLEAR(types->window);
    Py_CLEAR(types->session);
    Py_CLEAR(types->peer);
    Py_CLEAR(types->interface);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "aiotun.native._aead",
    .m_size = sizeof(Types),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__aead(void)
{
    return PyModuleDef_Init(&module_def);
}
