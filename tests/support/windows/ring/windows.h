/* As much of Windows as native/src/system/ring.h takes, for a compiler of another system that has
   sanitizers. A lock counts who holds it. */

#pragma once

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#define WINAPI

typedef uint8_t BYTE;
typedef uint32_t DWORD;

enum { ERROR_HANDLE_EOF = 38, ERROR_NO_MORE_ITEMS = 259 };

static DWORD last_error;

static inline DWORD
GetLastError(void)
{
    return last_error;
}

typedef struct {
    int shared;
} SRWLOCK;

static inline void
AcquireSRWLockShared(SRWLOCK *lock)
{
    lock->shared++;
}

static inline void
ReleaseSRWLockShared(SRWLOCK *lock)
{
    assert(lock->shared > 0);
    lock->shared--;
}

static inline void *
_aligned_malloc(size_t size, size_t alignment)
{
    return aligned_alloc(alignment, size);
}

static inline void
_aligned_free(void *memory)
{
    free(memory);
}
