/* Threads that share the steps of a job; no step needs Python. */

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { POOL_THREADS_MAX = 64 };

/* Do the step with this index. A thread does one step at a time; threads are numbered from 0. */
typedef void (*Step)(void *job, size_t index, int thread);

typedef struct {
    pthread_mutex_t job_lock; /* whoever holds it has the one job that there is at a time */
    pthread_mutex_t lock;     /* it guards all that follows but `next` */
    pthread_cond_t begun, ended;
    int workers;          /* workers that were started so far; the caller is thread 0 */
    unsigned long number; /* the number of the job, by which a worker knows a new one */
    int wanted, at_work;  /* how many the job wants, and how many are at work */
    Step step;
    void *job;
    size_t count;
    atomic_size_t next;
} Pool;

#define POOL_INITIALIZER                                                            \
    {                                                                               \
        .job_lock = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER,   \
        .begun = PTHREAD_COND_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER        \
    }

static Pool pool = POOL_INITIALIZER;

static void
pool_take_steps(int thread)
{
    for (size_t index; (index = atomic_fetch_add(&pool.next, 1)) < pool.count;)
        pool.step(pool.job, index, thread);
}

static void *
pool_worker(void *argument)
{
    const int thread = (int)(size_t)argument;
    unsigned long done = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (done == pool.number || thread > pool.wanted)
            pthread_cond_wait(&pool.begun, &pool.lock);
        done = pool.number;
        pthread_mutex_unlock(&pool.lock);
        pool_take_steps(thread);
        pthread_mutex_lock(&pool.lock);
        if (!--pool.at_work)
            pthread_cond_signal(&pool.ended);
    }
    return NULL;
}

/* Start workers until there are so many, or the system refuses. The caller holds `lock`. */
static void
pool_grow(int workers)
{
    while (pool.workers < workers) {
        pthread_t started;
        if (pthread_create(&started, NULL, pool_worker, (void *)(size_t)(pool.workers + 1)))
            return;
        pthread_detach(started);
        pool.workers++;
    }
}

/* Make everything anew in a child after fork: it has no workers, and its locks may be held by
   threads that it does not have. */
static void
pool_reset(void)
{
    pool = (Pool)POOL_INITIALIZER;
}

/* Do all steps, in at most so many threads. The caller does them alone if another job keeps the
   workers busy. */
static void
pool_run(Step step, void *job, size_t count, int threads)
{
    if (threads == 1 || pthread_mutex_trylock(&pool.job_lock)) {
        for (size_t index = 0; index < count; index++)
            step(job, index, 0);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool_grow(threads - 1);
    pool.wanted = pool.at_work = pool.workers < threads ? pool.workers : threads - 1;
    pool.step = step;
    pool.job = job;
    pool.count = count;
    atomic_store(&pool.next, 0);
    pool.number++;
    pthread_cond_broadcast(&pool.begun);
    pthread_mutex_unlock(&pool.lock);
    pool_take_steps(0);
    pthread_mutex_lock(&pool.lock);
    while (pool.at_work)
        pthread_cond_wait(&pool.ended, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&pool.job_lock);
}
