/* aiotun.native._aead: what _aead.pyi says, by OpenSSL's EVP. There is no cryptography here. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "offload/checksum.h"
#include "aead/contexts.h"
#include "aead/replay.h"

/* See aead/python.py. */
enum {
    COUNTER_SIZE = 8,
    NONCE_SIZE = NONCE_HEAD_SIZE + COUNTER_SIZE,
    TAG_SIZE = 16,
    PAD_MAX = 65536,
    CONTENT_MAX = 1 << 24,
    WAVE = 64,         /* so many packets are added at a time to those that threads share */
    SHARED_MIN = 65536 /* bytes of a batch that threads share: a smaller one costs more to share */
};

typedef struct {
    PyObject_HEAD
    Contexts *contexts; /* what it takes one of */
    Secret secret;
    int threads;
    Py_ssize_t head_size; /* bytes in front of the counter in a message; an opener's alone */
} Key;

typedef struct Source Source; /* see frames.h */

/* One packet: where it stands, where it goes, and after opening whether it was authentic. */
typedef struct {
    const uint8_t *in;
    uint8_t *out;
    Py_ssize_t size; /* size of what is encrypted, without padding and tag */
    Py_ssize_t pad;
    uint64_t counter;
    const Source *source; /* the frame that the packet is made from, or NULL */
    size_t number;        /* the packet's place in that frame */
    bool done;
} Item;

typedef void (*Process)(const Secret *secret, EVP_CIPHER_CTX *context, Item *item);

/* Items that are processed, by threads while more are added. */
typedef struct {
    Key *key;
    Item *items;
    Process process;
    size_t count, shared; /* how many there are, and how many of these threads know of */
    int threads;
    Context contexts[POOL_THREADS_MAX]; /* one for each thread */
} Job;

static void
write_counter(uint8_t *to, uint64_t counter)
{
    for (int i = 0; i < COUNTER_SIZE; i++)
        to[i] = (uint8_t)(counter >> 8 * i);
}

static uint64_t
read_counter(const uint8_t *from)
{
    uint64_t counter = 0;
    for (int i = COUNTER_SIZE; i--;)
        counter = counter << 8 | from[i];
    return counter;
}

static bool
begin(const Secret *secret, EVP_CIPHER_CTX *context, uint64_t counter)
{
    uint8_t nonce[NONCE_SIZE];
    memcpy(nonce, secret->nonce_head, NONCE_HEAD_SIZE);
    write_counter(nonce + NONCE_HEAD_SIZE, counter);
    PyObject *associated = secret->associated;
    int size;
    return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) &&
           (!associated || EVP_CipherUpdate(context, NULL, &size,
                                            (const uint8_t *)PyBytes_AS_STRING(associated),
                                            (int)PyBytes_GET_SIZE(associated)));
}

#ifdef __x86_64__
NEEDED_AT_RUN_TIME("avx") static void
clear_upper_halves(void)
{
    _mm256_zeroupper();
}
#endif

/* End a packet. OpenSSL's Poly1305 for AVX512-IFMA (poly1305_blocks_vpmadd52) leaves the upper halves of
   vector registers in use, and the next SSE instruction would wait long for that. */
static bool
end(EVP_CIPHER_CTX *context, uint8_t *out)
{
    int written;
    const bool done = EVP_CipherFinal_ex(context, out, &written);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512ifma"))
        clear_upper_halves();
#endif
    return done;
}

static void
seal_one(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    const Py_ssize_t size = item->size + item->pad;
    const uint8_t *in = item->in;
    if (item->pad) {
        if (in != item->out)
            memcpy(item->out, in, (size_t)item->size);
        memset(item->out + item->size, 0, (size_t)item->pad);
        in = item->out;
    }
    OSSL_PARAM tag[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, item->out + size, TAG_SIZE),
        OSSL_PARAM_END,
    };
    int written;
    item->done = begin(secret, context, item->counter) &&
                 (!size || EVP_CipherUpdate(context, item->out, &written, in, (int)size)) &&
                 end(context, item->out + size) &&
                 EVP_CIPHER_CTX_get_params(context, tag);
}

static void
open_one(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    OSSL_PARAM tag[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(item->in + item->size),
                                TAG_SIZE),
        OSSL_PARAM_END,
    };
    int written;
    item->done = begin(secret, context, item->counter) &&
                 EVP_CIPHER_CTX_set_params(context, tag) &&
                 (!item->size ||
                  EVP_CipherUpdate(context, item->out, &written, item->in, (int)item->size)) &&
                 end(context, item->out + item->size);
}

static void
process_items(void *all, size_t first, size_t end, int thread)
{
    Job *job = all;
    for (size_t i = first; i < end; i++)
        job->process(&job->key->secret, job->contexts[thread].openssl, &job->items[i]);
}

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

static void
keep_contexts(Job *job)
{
    while (job->threads)
        keep_context(job->key->contexts, job->contexts[--job->threads]);
}

/* Begin a job of so many bytes in all. Return false with an exception set if the key was closed. No
   Python may run until its end, where the GIL is released. */
static bool
begin_job(Job *job, Key *key, Item *items, Process process, size_t bytes)
{
    const int wanted = bytes < SHARED_MIN ? 1 : key->threads;
    job->key = key;
    job->items = items;
    job->process = process;
    job->count = job->shared = 0;
    job->threads = 0;
    while (job->threads < wanted && take_context_for(key, &job->contexts[job->threads]))
        job->threads++;
    if (job->threads == wanted)
        return true;
    keep_contexts(job);
    return false;
}

/* Let threads know of the items. Return false if there are none that have time. */
static bool
share_items(Job *job)
{
    if (job->shared)
        pool_add(job->count, false);
    else if (job->threads == 1 || !pool_begin(process_items, job, job->count, job->threads))
        return false;
    job->shared = job->count;
    return true;
}

/* There are so many items in all now. */
static void
add_items(Job *job, size_t count)
{
    job->count = count;
    if (count - job->shared >= WAVE)
        share_items(job);
}

/* Process what is left, with the GIL released. */
static void
end_job(Job *job)
{
    Py_BEGIN_ALLOW_THREADS
    if (job->shared || share_items(job))
        pool_end(job->count);
    else
        process_items(job, 0, job->count, 0);
    Py_END_ALLOW_THREADS
    keep_contexts(job);
}

static bool
all_sealed(const Job *job)
{
    for (size_t i = 0; i < job->count; i++)
        if (!job->items[i].done) {
            PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not encrypt");
            return false;
        }
    return true;
}

static bool
check_pad(Py_ssize_t pad)
{
    if (pad < 1 || pad > PAD_MAX)
        PyErr_Format(PyExc_ValueError, "pad is 1 to %d bytes, not %zd", PAD_MAX, pad);
    return pad >= 1 && pad <= PAD_MAX;
}

static bool
check_size(Py_ssize_t size)
{
    if (size > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "a packet has at most %d bytes, not %zd", CONTENT_MAX, size);
    return size <= CONTENT_MAX;
}

/* How many bytes of padding follow a packet of that size. */
static Py_ssize_t
padding(Py_ssize_t size, Py_ssize_t pad, Py_ssize_t limit)
{
    const Py_ssize_t missing = (pad - size % pad) % pad, room = size < limit ? limit - size : 0;
    return missing < room ? missing : room;
}

/* Read the counter of the first of `count` messages. Return false with an exception set. */
static bool
read_first_counter(PyObject *number, size_t count, uint64_t *counter)
{
    *counter = PyLong_AsUnsignedLongLong(number);
    const bool fits = !PyErr_Occurred() && !(count && *counter > UINT64_MAX - (count - 1));
    if (!fits && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError)))
        PyErr_SetString(PyExc_OverflowError, "a counter has 64 bits");
    return fits;
}

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
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|nn:seal", names, &packets, &head, &first,
                                     &pad, &limit))
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

#include "wireguard/crossing.h"

static PyObject *
key_new(PyTypeObject *type, PyObject *args, PyObject *keywords, bool seal)
{
    static char *sealer_names[] = {"key",     "algorithm", "nonce_head", "associated_data",
                                   "threads", NULL};
    static char *opener_names[] = {"key",        "head_size",       "algorithm",
                                   "nonce_head", "associated_data", "threads", NULL};
    Py_buffer secret, nonce_head = {.buf = NULL};
    PyObject *associated = NULL;
    const char *algorithm = "chacha20-poly1305";
    Py_ssize_t head_size = 0;
    int threads = 1;
    if (seal ? !PyArg_ParseTupleAndKeywords(args, keywords, "y*|s$y*Si:Sealer", sealer_names,
                                            &secret, &algorithm, &nonce_head, &associated, &threads)
             : !PyArg_ParseTupleAndKeywords(args, keywords, "y*n|s$y*Si:Opener", opener_names,
                                            &secret, &head_size, &algorithm, &nonce_head,
                                            &associated, &threads))
        return NULL;
    Key *key = NULL;
    const bool chacha = !strcmp(algorithm, "chacha20-poly1305");
    if (!chacha && strcmp(algorithm, "aes-256-gcm"))
        PyErr_Format(PyExc_ValueError, "the algorithm is chacha20-poly1305 or aes-256-gcm, not %s",
                     algorithm);
    else if (secret.len != KEY_SIZE)
        PyErr_Format(PyExc_ValueError, "a key has %d bytes, not %zd", KEY_SIZE, secret.len);
    else if (nonce_head.buf && nonce_head.len != NONCE_HEAD_SIZE)
        PyErr_Format(PyExc_ValueError, "a nonce's head has %d bytes, not %zd", NONCE_HEAD_SIZE,
                     nonce_head.len);
    else if (head_size < 0 || head_size > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "a head has 0 to %d bytes, not %zd", CONTENT_MAX, head_size);
    else if (associated && PyBytes_GET_SIZE(associated) > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "associated data has at most %d bytes", CONTENT_MAX);
    else if (threads < 1 || threads > POOL_THREADS_MAX)
        PyErr_Format(PyExc_ValueError, "threads are 1 to %d, not %d", POOL_THREADS_MAX, threads);
    else if ((key = (Key *)type->tp_alloc(type, 0))) {
        static uint64_t numbers; /* the GIL guards it */
        key->contexts = &(chacha ? chacha20_poly1305 : aes_256_gcm)[seal ? SEALING : OPENING];
        key->secret.number = ++numbers;
        memcpy(key->secret.key, secret.buf, KEY_SIZE);
        if (nonce_head.buf)
            memcpy(key->secret.nonce_head, nonce_head.buf, NONCE_HEAD_SIZE);
        if (associated && PyBytes_GET_SIZE(associated))
            key->secret.associated = Py_NewRef(associated);
        key->threads = threads;
        key->head_size = head_size;
        Context context;
        if (take_context(key->contexts, &context))
            keep_context(key->contexts, context);
        else
            Py_CLEAR(key);
    }
    PyBuffer_Release(&secret);
    if (nonce_head.buf)
        PyBuffer_Release(&nonce_head);
    return (PyObject *)key;
}

static PyObject *
sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    return key_new(type, args, keywords, true);
}

static PyObject *
opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    return key_new(type, args, keywords, false);
}

static PyObject *
key_close(PyObject *self, PyObject *Py_UNUSED(args))
{
    Key *key = (Key *)self;
    forget_key(key->contexts, &key->secret);
    Py_RETURN_NONE;
}

static void
key_dealloc(PyObject *self)
{
    Key *key = (Key *)self;
    PyTypeObject *type = Py_TYPE(self);
    forget_key(key->contexts, &key->secret);
    Py_XDECREF(key->secret.associated);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Docstrings are the first lines of those in _aead.pyi, behind the signatures there. */

#define MORE ", *, nonce_head=b'\\x00\\x00\\x00\\x00', associated_data=b'', threads=1)\n--\n\n"

static PyMethodDef sealer_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_VARARGS | METH_KEYWORDS,
     "seal($self, packets, head, counter, pad=1, limit=sys.maxsize)\n--\n\n"
     "A message for each packet: head, counter, the packet encrypted, tag."},
    {"seal_frames", (PyCFunction)(void (*)(void))sealer_seal_frames, METH_VARARGS | METH_KEYWORDS,
     "seal_frames($self, frames, head, counter, pad=1, limit=sys.maxsize)\n--\n\n"
     "The packets of a TUN's frames (`gso_split`), sealed as `seal` does and put together."},
    {"close", key_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Wipe the key: natively, its copies are overwritten; else they are let go."},
    {0},
};

static PyMethodDef opener_methods[] = {
    {"open", opener_open, METH_O,
     "open($self, messages, /)\n--\n\n"
     "The packets of the messages that are authentic, padding and all, and their counters."},
    {"open_frames", (PyCFunction)(void (*)(void))opener_open_frames, METH_VARARGS | METH_KEYWORDS,
     "open_frames($self, trains, head, window, tcp=True, udp=True, udp_zero_checksum=False)\n--\n\n"
     "The IP packets of the messages with this head, as frames for a TUN."},
    {"close", key_close, METH_NOARGS, "close($self)\n--\n\nAs `Sealer.close`."},
    {0},
};

static PyType_Slot sealer_slots[] = {
    {Py_tp_doc, "Sealer(key, algorithm='chacha20-poly1305'" MORE
                "Seals packets with one key, which it keeps until it is closed or gone."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, key_dealloc},
    {Py_tp_methods, sealer_methods},
    {0, NULL},
};

static PyType_Slot opener_slots[] = {
    {Py_tp_doc, "Opener(key, head_size, algorithm='chacha20-poly1305'" MORE
                "Opens the messages of one key, as `Sealer` seals them."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, key_dealloc},
    {Py_tp_methods, opener_methods},
    {0, NULL},
};

static PyType_Spec sealer_spec = {
    .name = "aiotun.native._aead.Sealer",
    .basicsize = sizeof(Key),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sealer_slots,
};

static PyType_Spec opener_spec = {
    .name = "aiotun.native._aead.Opener",
    .basicsize = sizeof(Key),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = opener_slots,
};

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
