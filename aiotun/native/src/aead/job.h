/* Items that are sealed or opened, by threads while more are added. */

#pragma once

#include <Python.h>

#include "cipher.h"
#include "key.h"

enum {
    WAVE = 64,         /* so many packets are added at a time to those that threads share */
    SHARED_MIN = 65536 /* bytes of a batch that threads share: a smaller one costs more to share */
};

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
process_items(void *all, size_t first, size_t end, int thread)
{
    Job *job = all;
    for (size_t i = first; i < end; i++)
        job->process(&job->key->secret, job->contexts[thread].openssl, &job->items[i]);
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
