/* Threads, locks and conditions: POSIX' own, or Windows' (10 and later). */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK Mutex;
typedef CONDITION_VARIABLE Condition;
typedef volatile LONG64 Number; /* which threads count up */
typedef void *volatile Shared;  /* a pointer that one of them takes */

#define MUTEX_INITIALIZER SRWLOCK_INIT
#define CONDITION_INITIALIZER CONDITION_VARIABLE_INIT
#define THREAD(name, argument) static DWORD WINAPI name(LPVOID argument)

static inline void
lock_mutex(Mutex *mutex)
{
    AcquireSRWLockExclusive(mutex);
}

static inline bool
try_mutex(Mutex *mutex)
{
    return TryAcquireSRWLockExclusive(mutex);
}

static inline void
unlock_mutex(Mutex *mutex)
{
    ReleaseSRWLockExclusive(mutex);
}

static inline void
wait_for_condition(Condition *condition, Mutex *mutex)
{
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

static inline void
signal_condition(Condition *condition)
{
    WakeConditionVariable(condition);
}

static inline void
broadcast_condition(Condition *condition)
{
    WakeAllConditionVariable(condition);
}

static inline size_t
take_number(Number *next)
{
    return (size_t)(InterlockedIncrement64(next) - 1);
}

static inline size_t
drop_number(Number *number)
{
    return (size_t)InterlockedDecrement64(number);
}

static inline void
set_number(Number *number, size_t value)
{
    InterlockedExchange64(number, (LONG64)value);
}

static inline size_t
get_number(Number *number)
{
    return (size_t)InterlockedCompareExchange64(number, 0, 0);
}

/* Let another thread have the processor, if one waits for it. */
static inline void
yield_processor(void)
{
    SwitchToThread();
}

/* Put a pointer there, and return the one that was there. */
static inline void *
exchange_pointer(Shared *place, void *pointer)
{
    return InterlockedExchangePointer(place, pointer);
}

/* Start a thread for which nobody waits. Return false if the system refuses. */
static inline bool
start_thread(DWORD(WINAPI *body)(LPVOID), void *argument)
{
    const HANDLE thread = CreateThread(NULL, 0, body, argument, 0, NULL);
    return thread && CloseHandle(thread);
}

#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

typedef pthread_mutex_t Mutex;
typedef pthread_cond_t Condition;
typedef atomic_size_t Number;
typedef void *_Atomic Shared;

#define MUTEX_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INITIALIZER PTHREAD_COND_INITIALIZER
#define THREAD(name, argument) static void *name(void *argument)

static inline void
lock_mutex(Mutex *mutex)
{
    pthread_mutex_lock(mutex);
}

static inline bool
try_mutex(Mutex *mutex)
{
    return !pthread_mutex_trylock(mutex);
}

static inline void
unlock_mutex(Mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}

static inline void
wait_for_condition(Condition *condition, Mutex *mutex)
{
    pthread_cond_wait(condition, mutex);
}

static inline void
signal_condition(Condition *condition)
{
    pthread_cond_signal(condition);
}

static inline void
broadcast_condition(Condition *condition)
{
    pthread_cond_broadcast(condition);
}

static inline size_t
take_number(Number *next)
{
    return atomic_fetch_add(next, 1);
}

static inline size_t
drop_number(Number *number)
{
    return atomic_fetch_sub(number, 1) - 1;
}

static inline void
set_number(Number *number, size_t value)
{
    atomic_store(number, value);
}

static inline size_t
get_number(Number *number)
{
    return atomic_load(number);
}

static inline void
yield_processor(void)
{
    sched_yield();
}

static inline void *
exchange_pointer(Shared *place, void *pointer)
{
    return atomic_exchange(place, pointer);
}

/* The thread takes no signal but those of its own faults: a program waits for signals in threads that
   it knows, and blocks them in these. */
static inline bool
start_thread(void *(*body)(void *), void *argument)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_t started;
    const bool done = !pthread_create(&started, NULL, body, argument) && !pthread_detach(started);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return done;
}
#endif
