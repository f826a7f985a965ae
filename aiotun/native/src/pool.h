/* Threads that share the steps of a job; no step needs Python. */

#pragma once

#include "threading.h"

enum { POOL_THREADS_MAX = 64 };

/* Do the step with this index. A thread does one step at a time; threads are numbered from 0. */
typedef void (*Step)(void *job, size_t index, int thread);

typedef struct {
    Mutex job_lock; /* whoever holds it has the one job that there is at a time */
    Mutex lock;     /* it guards all that follows but `next` */
    Condition begun, ended;
    int workers;          /* workers that were started so far; the caller is thread 0 */
    unsigned long number; /* the number of the job, by which a worker knows a new one */
    int wanted, at_work;  /* how many the job wants, and how many are at work */
    Step step;
    void *job;
    size_t count;
    Number next;
} Pool;

#define POOL_INITIALIZER                                                            \
    {                                                                               \
        .job_lock = MUTEX_INITIALIZER, .lock = MUTEX_INITIALIZER,                   \
        .begun = CONDITION_INITIALIZER, .ended = CONDITION_INITIALIZER              \
    }

static Pool pool = POOL_INITIALIZER;

static void
pool_take_steps(int thread)
{
    for (size_t index; (index = take_number(&pool.next)) < pool.count;)
        pool.step(pool.job, index, thread);
}

THREAD(pool_worker, argument)
{
    const int thread = (int)(size_t)argument;
    unsigned long done = 0;
    lock_mutex(&pool.lock);
    for (;;) {
        while (done == pool.number || thread > pool.wanted)
            wait_for_condition(&pool.begun, &pool.lock);
        done = pool.number;
        unlock_mutex(&pool.lock);
        pool_take_steps(thread);
        lock_mutex(&pool.lock);
        if (!--pool.at_work)
            signal_condition(&pool.ended);
    }
    return 0;
}

/* Start workers until there are so many, or the system refuses. The caller holds `lock`. */
static void
pool_grow(int workers)
{
    while (pool.workers < workers) {
        if (!start_thread(pool_worker, (void *)(size_t)(pool.workers + 1)))
            return;
        pool.workers++;
    }
}

#ifdef _WIN32 /* which does not fork */
static bool
pool_register_reset(void)
{
    return true;
}
#else
/* Make everything anew in a child after fork: it has no workers, and its locks may be held by
   threads that it does not have. */
static void
pool_reset(void)
{
    pool = (Pool)POOL_INITIALIZER;
}

/* Return false without memory for it. */
static bool
pool_register_reset(void)
{
    static bool registered;
    registered = registered || !pthread_atfork(NULL, NULL, pool_reset);
    return registered;
}
#endif

/* Do all steps, in at most so many threads. The caller does them alone if another job keeps the
   workers busy. */
static void
pool_run(Step step, void *job, size_t count, int threads)
{
    if (threads == 1 || !try_mutex(&pool.job_lock)) {
        for (size_t index = 0; index < count; index++)
            step(job, index, 0);
        return;
    }
    lock_mutex(&pool.lock);
    pool_grow(threads - 1);
    pool.wanted = pool.at_work = pool.workers < threads ? pool.workers : threads - 1;
    pool.step = step;
    pool.job = job;
    pool.count = count;
    set_number(&pool.next, 0);
    pool.number++;
    broadcast_condition(&pool.begun);
    unlock_mutex(&pool.lock);
    pool_take_steps(0);
    lock_mutex(&pool.lock);
    while (pool.at_work)
        wait_for_condition(&pool.ended, &pool.lock);
    unlock_mutex(&pool.lock);
    unlock_mutex(&pool.job_lock);
}
