/* Datagrams that leave as one message: see trains.py. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { TRAIN_SEGMENTS_MAX = 64, TRAIN_SIZE_MAX = 65000 };

/* The last train that was made. All fields are zero before the first one. */
typedef struct {
    size_t segment, count, size;
} Train;

/* Add a datagram of so many bytes. Return false if it begins another train. */
static bool
train_takes(Train *train, size_t length)
{
    if (train->count && length && length <= train->segment && !(train->size % train->segment) &&
        train->count < TRAIN_SEGMENTS_MAX && train->size + length <= TRAIN_SIZE_MAX) {
        train->count++;
        train->size += length;
        return true;
    }
    *train = (Train){length, 1, length};
    return false;
}
