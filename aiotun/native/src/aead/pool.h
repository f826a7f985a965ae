/* Threads that share a job, which is so many items; none needs Python. They begin while items are added. */

#pragma once

#include "../system/threading.h"

enum {
    POOL_THREADS_MAX = 64,
    POOL_STEP = 8,   /* a thread takes so many items at a time */
    POOL_YIELDS = 32 /* about as long as a step takes: to sleep and be woken takes longer */
};

/* Process the items from `first` up to `end`. Threads are numbered from 0. */
typedef void (*Step)(void *job, size_t first, size_t end, int thread);

typedef struct {
    Mutex job_lock; /* whoever holds it has the one job that there is at a time */
    Mutex lock;     /* it guards all that follows but the numbers */
    Condition begun, grown, ended;
    int workers;          /* workers that were started so far; the caller is thread 0 */
    unsigned long number; /* the number of the job, by which a worker knows a new one */
    int wanted;           /* how many workers may begin */
    bool whole;           /* no items are added any more */
    Step step;
    void *job;
    Number at_work; /* workers that are; they change it with the lock */
    Number added; /* items that may be processed; all steps but the last of a whole job are whole */
    Number taken; /* steps that were taken, */
    Number front; /* and how many of these by workers, from the front: the caller is at the back */
} Pool;

#define POOL_INITIALIZER                                                            \
    {                                                                               \
        .job_lock = MUTEX_INITIALIZER, .lock = MUTEX_INITIALIZER,                   \
        .begun = CONDITION_INITIALIZER, .grown = CONDITION_INITIALIZER,             \
        .ended = CONDITION_INITIALIZER                                              \
    }

static Pool pool = POOL_INITIALIZER;

static void
pool_do_step(size_t index, int thread)
{
    const size_t first = index * POOL_STEP, added = get_number(&pool.added);
    pool.step(pool.job, first, added - first < POOL_STEP ? added : first + POOL_STEP, thread);
}

/* Wait until there are so many steps and one more. Return false if there will not be. */
static bool
pool_has_more(size_t steps)
{
    if (steps * POOL_STEP < get_number(&pool.added))
        return true;
    lock_mutex(&pool.lock);
    while (steps * POOL_STEP >= get_number(&pool.added) && !pool.whole)
        wait_for_condition(&pool.grown, &pool.lock);
    unlock_mutex(&pool.lock);
    return steps * POOL_STEP < get_number(&pool.added);
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
        take_number(&pool.at_work);
        unlock_mutex(&pool.lock);
        while (pool_has_more(take_number(&pool.taken)))
            pool_do_step(take_number(&pool.front), thread);
        lock_mutex(&pool.lock);
        if (!drop_number(&pool.at_work))
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

/* Begin a job of `count` items, to which more may be added, in at most so many threads. Return false
   if another job keeps the workers busy. */
static bool
pool_begin(Step step, void *job, size_t count, int threads)
{
    if (!try_mutex(&pool.job_lock))
        return false;
    lock_mutex(&pool.lock);
    pool_grow(threads - 1);
    pool.wanted = threads - 1;
    pool.step = step;
    pool.job = job;
    pool.whole = false;
    set_number(&pool.added, count - count % POOL_STEP);
    set_number(&pool.taken, 0);
    set_number(&pool.front, 0);
    pool.number++;
    broadcast_condition(&pool.begun);
    unlock_mutex(&pool.lock);
    return true;
}

/* There are `count` items now, and more if the job is not whole. */
static void
pool_add(size_t count, bool whole)
{
    lock_mutex(&pool.lock);
    set_number(&pool.added, whole ? count : count - count % POOL_STEP);
    pool.whole = whole;
    broadcast_condition(&pool.grown);
    unlock_mutex(&pool.lock);
}

/* There are no more than `count` items: do what is left of them, and wait for the workers. */
static void
pool_end(size_t count)
{
    pool_add(count, true);
    const size_t steps = (count + POOL_STEP - 1) / POOL_STEP;
    for (size_t left = steps; take_number(&pool.taken) < steps;)
        pool_do_step(--left, 0);
    for (int i = 0; i < POOL_YIELDS && get_number(&pool.at_work); i++)
        yield_processor();
    lock_mutex(&pool.lock);
    pool.wanted = 0; /* who comes late need not begin */
    while (get_number(&pool.at_work))
        wait_for_condition(&pool.ended, &pool.lock);
    unlock_mutex(&pool.lock);
    unlock_mutex(&pool.job_lock);
}
