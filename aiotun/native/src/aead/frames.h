/* A device's frames are sealed to trains of messages, and trains are opened to frames, without
   an object for each packet: see aead/frames.py. aead.c includes this file behind its types. */

#pragma once

#include <Python.h>

#include "../offload/batch.h"
#include "../offload/segment.h"
#include "../system/threading.h"
#include "../udp/trains.h"

/* A frame whose packets are to be sealed. */
struct Source {
    Plan plan;
    VirtioNetHeader header;
    const uint8_t *packet;
    size_t size;
    Segmenter segmenter; /* in use if the plan is SEGMENTS */
};

/* A call that needs no more of these allocates no memory for them: with many peers, each peer has
   one packet. */
enum { FEW_SOURCES = 2, FEW_ITEMS = 8 };

/* Make a packet at the place of its message, and seal it there. */
static void
seal_in_place(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    const Source *source = item->source;
    if (source->plan == SEGMENTS)
        make_segment(&source->segmenter, item->number, item->out);
    else {
        memcpy(item->out, source->packet, source->size);
        if (source->header.flags & NEEDS_CSUM)
            complete_checksum(&source->header, item->out, source->size);
    }
    item->in = item->out;
    seal_one(secret, context, item);
}

/* Raise what gso_split raises for this frame. */
static void
raise_malformed(PyObject *frame)
{
    PyObject *module = PyImport_ImportModule("aiotun.offload.segment");
    PyObject *packets = module ? PyObject_CallMethod(module, "gso_split", "O", frame) : NULL;
    if (packets)
        PyErr_SetString(PyExc_RuntimeError, "the frame is not malformed");
    Py_XDECREF(packets);
    Py_XDECREF(module);
}

/* Fill in a source, and say how many packets it has: 0 if the frame is malformed. Return false with
   an exception set. */
static bool
plan_source(Source *source, PyObject *frame, size_t *packets)
{
    *packets = 0;
    source->segmenter.large = NULL;
    if (!PyBytes_Check(frame))
        return true;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
    const size_t size = (size_t)PyBytes_GET_SIZE(frame);
    Layout layout;
    source->plan = plan_split(data, size, false, &source->header, &layout);
    if (source->plan == MALFORMED)
        return true;
    source->packet = data + VIRTIO_SIZE;
    source->size = size - VIRTIO_SIZE;
    if (source->plan == SEGMENTS) {
        if (!segmenter_begin(&source->segmenter, &source->header, source->packet, source->size,
                             &layout))
            return false;
        *packets = segments_count(&source->segmenter);
    }
    else
        *packets = 1;
    return true;
}

/* The same, but return the number of packets, or 0 with an exception set. */
static size_t
read_source(Source *source, PyObject *frame)
{
    size_t packets;
    if (plan_source(source, frame, &packets) && !packets) {
        if (PyBytes_Check(frame))
            raise_malformed(frame);
        else
            PyErr_Format(PyExc_TypeError, "a frame is bytes, not %s", Py_TYPE(frame)->tp_name);
    }
    return packets;
}

/* Fill in the items of a source's packets but for their counters. Return false if one is too
   large. */
static bool
list_items(Item *items, const Source *source, size_t packets, Py_ssize_t pad, Py_ssize_t limit)
{
    for (size_t i = 0; i < packets; i++) {
        const Py_ssize_t size = (Py_ssize_t)(
            source->plan == SEGMENTS ? segment_size(&source->segmenter, i) : source->size);
        if (size > CONTENT_MAX)
            return false;
        items[i] = (Item){
            .size = size, .pad = padding(size, pad, limit), .source = source, .number = i};
    }
    return true;
}

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
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|nn:seal_frames", names, &frames, &head,
                                     &number, &pad, &limit))
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

/* Return the length that an IP packet says it has. Padding may follow it. Return 0 if the packet
   is not whole. */
static size_t
ip_length(const uint8_t *packet, size_t size)
{
    size_t header, length;
    if (size >= IPV4_SIZE && packet[0] >= 0x45 && packet[0] <= 0x4F) {
        header = (packet[0] & 0x0F) * 4;
        length = get16(packet + 2);
    }
    else if (size >= IPV6_SIZE && packet[0] >> 4 == 6) {
        header = IPV6_SIZE;
        length = IPV6_SIZE + get16(packet + 4);
    }
    else
        return 0;
    return header <= length && length <= size ? length : 0;
}

/* So much memory for what is decrypted is kept from one call to the next. glibc may give that
   much back to the system, and take it again page by page (M_TRIM_THRESHOLD in mallopt(3)). */
enum { SCRATCH_KEPT = 1 << 19 };
static Shared scratch_kept;

static uint8_t *
take_scratch(size_t size)
{
    uint8_t *kept = size <= SCRATCH_KEPT ? exchange_pointer(&scratch_kept, NULL) : NULL;
    return kept ? kept : malloc(size < SCRATCH_KEPT ? SCRATCH_KEPT : size);
}

static void
keep_scratch(uint8_t *scratch, size_t size)
{
    free(size <= SCRATCH_KEPT ? exchange_pointer(&scratch_kept, scratch) : scratch);
}

/* The messages in the trains of one call. */
typedef struct {
    Item *items; /* the messages to be opened */
    size_t count, bytes;
    PyObject *strays; /* a list of the messages that have another head */
} Cargo;

/* Fill in the messages of one train. `items` has room for them. */
static bool
unload(Cargo *cargo, const uint8_t *data, size_t size, size_t segment, const uint8_t *head,
       size_t head_size, size_t *forged)
{
    const size_t front = head_size + COUNTER_SIZE;
    size_t at = 0;
    do {
        const uint8_t *message = data + at;
        const size_t length = size - at < segment ? size - at : segment;
        at += segment;
        if (length < head_size || memcmp(message, head, head_size)) {
            if (!append(cargo->strays, PyBytes_FromStringAndSize((const char *)message,
                                                                 (Py_ssize_t)length)))
                return false;
        }
        else if (length < front + TAG_SIZE)
            ++*forged;
        else {
            const size_t content = length - front - TAG_SIZE;
            cargo->items[cargo->count++] = (Item){
                .in = message + front,
                .size = (Py_ssize_t)content,
                .counter = read_counter(message + head_size),
            };
            cargo->bytes += content;
        }
    } while (at < size);
    return true;
}

/* What came of messages: how many are authentic and new and how many bytes are in them, and how
   many are not, or hold no whole IP packet. */
typedef struct {
    size_t accepted, size, forged, replayed, malformed;
} Outcome;

/* Put the packets of messages that are authentic and new into the batch, which has room. */
static void
take_opened(Outcome *outcome, const Item *items, size_t count, Window *window, Batch *batch)
{
    batch->count = 0;
    for (size_t i = 0; i < count; i++) {
        const Item *item = &items[i];
        if (!item->done)
            outcome->forged++;
        else if (!window_accept(window, item->counter))
            outcome->replayed++;
        else {
            outcome->accepted++;
            outcome->size += (size_t)item->size;
            const size_t length = ip_length(item->out, (size_t)item->size);
            if (length)
                batch_take(batch, batch->count++, item->out, length);
            else if (item->size)
                outcome->malformed++;
        }
    }
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
    const Py_ssize_t size = PyLong_AsSsize_t(number);
    if (size == -1 && PyErr_Occurred())
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
    PyObject *trains, *head, *window_object;
    int tcp = 1, udp = 1, zero = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OSO|ppp:open_frames", names, &trains, &head,
                                     &window_object, &tcp, &udp, &zero))
        return NULL;
    if (!is_window(window_object))
        return PyErr_Format(PyExc_TypeError, "a window is a ReplayWindow of this module, not %s",
                            Py_TYPE(window_object)->tp_name);
    Window *window = (Window *)window_object;
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
    take_opened(&outcome, cargo.items, cargo.count, window, &batch);
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
