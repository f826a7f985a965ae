/* Being told of sleep and resume, as powrprof.dll has it: mingw's headers do not declare it. */

#include "standin.h"

enum { DEVICE_NOTIFY_CALLBACK = 2, LISTENERS_MAX = 8 };

typedef ULONG(CALLBACK *Callback)(PVOID context, ULONG kind, PVOID setting);

typedef struct {
    Callback callback;
    PVOID context;
} Parameters; /* DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS */

static Parameters listeners[LISTENERS_MAX];
static DWORD count;

API DWORD WINAPI
PowerRegisterSuspendResumeNotification(DWORD flags, HANDLE recipient, PVOID *handle)
{
    const Parameters *parameters = recipient;
    const DWORD error = failure(__func__);
    if (error)
        return error;
    if (flags != DEVICE_NOTIFY_CALLBACK || !parameters || !parameters->callback || !handle ||
        count == LISTENERS_MAX)
        return ERROR_INVALID_PARAMETER;
    listeners[count] = *parameters;
    *handle = &listeners[count++];
    return 0;
}

static DWORD WINAPI
tell(LPVOID kind)
{
    for (DWORD i = 0; i < count; i++)
        listeners[i].callback(listeners[i].context, (ULONG)(ULONG_PTR)kind, NULL);
    return 0;
}

/* Tell of a PBT_ kind, in a thread of its own; how many are told. Waits until they have been. */
API DWORD
StandinPower(DWORD kind)
{
    HANDLE thread = CreateThread(NULL, 0, tell, (LPVOID)(ULONG_PTR)kind, 0, NULL);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    return count;
}
