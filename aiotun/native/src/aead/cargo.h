/* The messages of trains, as items to be opened, and the packets that they held: see aead/frames.py. */

#pragma once

#include <Python.h>

#include "../offload/batch.h"
#include "../system/threading.h"
#include "arguments.h"
#include "cipher.h"
#include "replay.h"

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
