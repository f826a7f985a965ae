/* A wintun.dll without a driver, for tests: a stand-in, not the real thing.

   The same exports, errors and ring semantics as the real one (0.14). On the other side of the
   rings are the tests (the Standin functions), or a UDP socket on the loopback interface, to
   the port that STANDIN_PORT names, and the last digit of the adapter's name is added to: each
   datagram is a packet. */

#include "standin.h"

#include <stdio.h>

CRITICAL_SECTION lock;
Adapter *adapters;
BOOL has_ipv6 = TRUE;
static NET_IFINDEX last_index = 100;

BOOL WINAPI
DllMain(HINSTANCE library, DWORD reason, LPVOID reserved)
{
    (void)library, (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        InitializeCriticalSection(&lock);
    return TRUE;
}

/* Failures to order. */

static struct {
    char function[64];
    DWORD error, times;
} ordered[16];

API void
StandinFail(const char *function, DWORD error, DWORD times)
{
    for (size_t i = 0; i < ARRAYSIZE(ordered); i++)
        if (!ordered[i].times || !times) {
            strncpy(ordered[i].function, function, sizeof ordered[i].function - 1);
            ordered[i].error = error;
            ordered[i].times = times;
            if (times)
                return;
        }
}

DWORD
failure(const char *function)
{
    for (size_t i = 0; i < ARRAYSIZE(ordered); i++)
        if (ordered[i].times && !strcmp(ordered[i].function, function)) {
            ordered[i].times--;
            return ordered[i].error;
        }
    return 0;
}

#define FAIL(value)                                                                                \
    do {                                                                                           \
        const DWORD error = failure(__func__);                                                     \
        if (error) {                                                                               \
            SetLastError(error);                                                                   \
            return value;                                                                          \
        }                                                                                          \
    } while (0)

/* Rings: each packet behind its size, whose highest bit says that it is still in use. Positions
   only grow; what begins before the end of the ring goes on behind it. */

enum { PACKET_MAX = 0xFFFF, IN_USE = (int)0x80000000 };

struct Ring {
    ULONG64 capacity, head, next, tail;
    BYTE data[];
};

static Ring *
make_ring(DWORD capacity)
{
    Ring *ring = calloc(1, sizeof(Ring) + capacity + PACKET_MAX + 8);
    ring->capacity = capacity;
    return ring;
}

static DWORD *
at(Ring *ring, ULONG64 position)
{
    return (DWORD *)(ring->data + position % ring->capacity);
}

static ULONG64
room_of(DWORD size)
{
    return (4 + (ULONG64)(size & ~(DWORD)IN_USE) + 3) & ~3ULL;
}

static BYTE *
allocate(Ring *ring, DWORD size)
{
    if (ring->tail - ring->head + room_of(size) > ring->capacity - 4)
        return NULL;
    DWORD *packet = at(ring, ring->tail);
    *packet = size | IN_USE;
    ring->tail += room_of(size);
    return (BYTE *)(packet + 1);
}

/* Packets are given back, and sent, in whatever order; the first in use stops the others. */
static void
advance(Ring *ring, ULONG64 *position, ULONG64 end)
{
    while (*position < end && !(*at(ring, *position) & (DWORD)IN_USE))
        *position += room_of(*at(ring, *position));
}

/* wintun.h */

static DWORD WINAPI pump(LPVOID session);

API Adapter *WINAPI
WintunCreateAdapter(LPCWSTR name, LPCWSTR type, const GUID *guid)
{
    FAIL(NULL);
    if (!name || !*name || lstrlenW(name) > 127 || !type || lstrlenW(type) > 127) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    EnterCriticalSection(&lock);
    for (Adapter *each = adapters; each; each = each->next)
        if (guid && each->present && !memcmp(&each->guid, guid, sizeof *guid)) {
            LeaveCriticalSection(&lock);
            SetLastError(ERROR_ALREADY_EXISTS);
            return NULL;
        }
    for (Adapter *each = adapters; each; each = each->next)
        if (each->present && !lstrcmpW(each->name, name))
            lstrcatW(each->name, L" 1"); /* the older one gives way */
    Adapter *adapter = calloc(1, sizeof *adapter);
    lstrcpyW(adapter->name, name);
    lstrcpyW(adapter->description, type);
    if (guid)
        adapter->guid = *guid;
    adapter->index = ++last_index;
    adapter->luid.Value = 53ULL << 48 | (ULONG64)adapter->index << 24;
    adapter->present = TRUE;
    configure(adapter);
    adapter->next = adapters;
    adapters = adapter;
    LeaveCriticalSection(&lock);
    return adapter;
}

API Adapter *WINAPI
WintunOpenAdapter(LPCWSTR name)
{
    for (Adapter *each = adapters; each; each = each->next)
        if (each->present && !lstrcmpW(each->name, name))
            return each;
    SetLastError(ERROR_NOT_FOUND);
    return NULL;
}

API void WINAPI
WintunCloseAdapter(Adapter *adapter)
{
    EnterCriticalSection(&lock);
    if (adapter->session)
        abort(); /* a session outlives its adapter: use after free */
    Adapter **place = &adapters;
    while (*place != adapter)
        place = &(*place)->next;
    *place = adapter->next; /* the tests still have it: it is not freed */
    adapter->present = FALSE;
    LeaveCriticalSection(&lock);
    notify();
}

API BOOL WINAPI
WintunDeleteDriver(void)
{
    FAIL(FALSE);
    if (adapters)
        SetLastError(ERROR_SHARING_VIOLATION);
    return !adapters;
}

API void WINAPI
WintunGetAdapterLUID(Adapter *adapter, NET_LUID *luid)
{
    *luid = adapter->luid;
}

API DWORD WINAPI
WintunGetRunningDriverVersion(void)
{
    FAIL(0);
    return 0 << 16 | 14;
}

typedef void(CALLBACK *Logger)(int level, DWORD64 timestamp, LPCWSTR line);
static Logger logger;

API void WINAPI
WintunSetLogger(Logger new_logger)
{
    logger = new_logger;
    if (logger)
        logger(0, 0, L"stand-in, not the real Wintun");
}

API Session *WINAPI
WintunStartSession(Adapter *adapter, DWORD capacity)
{
    FAIL(NULL);
    if (capacity < 0x20000 || capacity > 0x4000000 || capacity & (capacity - 1)) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    if (!adapter->present || adapter->session) {
        SetLastError(adapter->present ? ERROR_ALREADY_INITIALIZED : ERROR_FILE_NOT_FOUND);
        return NULL;
    }
    Session *session = calloc(1, sizeof *session);
    session->adapter = adapter;
    session->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    session->received = make_ring(capacity);
    session->sent = make_ring(capacity);
    EnterCriticalSection(&lock);
    adapter->session = session;
    LeaveCriticalSection(&lock);
    if (getenv("STANDIN_PORT"))
        CloseHandle(CreateThread(NULL, 0, pump, adapter, 0, NULL));
    notify();
    return session;
}

/* The driver has taken what was sent: the tests may still pull it. */
static void
keep_sent(Adapter *adapter, Ring *sent)
{
    const ULONG64 size = sent->next - sent->head;
    free(adapter->left);
    adapter->left = NULL;
    if (!size)
        return;
    Ring *ring = make_ring((DWORD)size);
    for (ULONG64 from = sent->head; from < sent->next; from += room_of(*at(sent, from))) {
        memcpy(ring->data + ring->next, at(sent, from), room_of(*at(sent, from)));
        ring->next += room_of(*at(sent, from));
    }
    adapter->left = ring;
}

API void WINAPI
WintunEndSession(Session *session)
{
    EnterCriticalSection(&lock);
    session->adapter->session = NULL;
    session->adapter->kept = session->received->next - session->received->head;
    keep_sent(session->adapter, session->sent);
    CloseHandle(session->event);
    memset(session->received, 0xDD, sizeof(Ring)); /* who uses it still shall notice */
    free(session->received);
    free(session->sent);
    free(session);
    LeaveCriticalSection(&lock);
    notify();
}

API HANDLE WINAPI
WintunGetReadWaitEvent(Session *session)
{
    return session->event;
}

static BOOL
ended(Session *session)
{
    const DWORD error = session->corrupt            ? ERROR_INVALID_DATA
                        : !session->adapter->present ? ERROR_HANDLE_EOF
                                                     : 0;
    if (error)
        SetLastError(error);
    return error != 0;
}

API BYTE *WINAPI
WintunReceivePacket(Session *session, DWORD *size)
{
    BYTE *data = NULL;
    FAIL(NULL);
    EnterCriticalSection(&lock);
    Ring *ring = session->received;
    if (ended(session))
        ;
    else if (ring->next == ring->tail)
        SetLastError(ERROR_NO_MORE_ITEMS);
    else {
        DWORD *packet = at(ring, ring->next);
        *size = *packet & ~(DWORD)IN_USE;
        ring->next += room_of(*packet);
        data = (BYTE *)(packet + 1);
    }
    LeaveCriticalSection(&lock);
    return data;
}

API void WINAPI
WintunReleaseReceivePacket(Session *session, const BYTE *data)
{
    EnterCriticalSection(&lock);
    ((DWORD *)data)[-1] &= ~(DWORD)IN_USE;
    advance(session->received, &session->received->head, session->received->next);
    LeaveCriticalSection(&lock);
}

API BYTE *WINAPI
WintunAllocateSendPacket(Session *session, DWORD size)
{
    BYTE *data = NULL;
    FAIL(NULL);
    EnterCriticalSection(&lock);
    if (ended(session))
        ;
    else if (size > PACKET_MAX)
        SetLastError(ERROR_INVALID_PARAMETER);
    else if (!(data = allocate(session->sent, size)))
        SetLastError(ERROR_BUFFER_OVERFLOW);
    LeaveCriticalSection(&lock);
    return data;
}

API void WINAPI
WintunSendPacket(Session *session, const BYTE *data)
{
    EnterCriticalSection(&lock);
    DWORD *size = (DWORD *)data - 1;
    *size &= ~(DWORD)IN_USE;
    if (*size < 20 || (data[0] >> 4 != 4 && data[0] >> 4 != 6))
        session->corrupt = TRUE; /* what the driver is not to be given */
    session->adapter->packets[1]++;
    session->adapter->bytes[1] += *size;
    advance(session->sent, &session->sent->next, session->sent->tail);
    LeaveCriticalSection(&lock);
}

/* The other side. */

API Adapter *
StandinFind(LPCWSTR name)
{
    return WintunOpenAdapter(name);
}

/* An adapter of another driver: a TAP's, or without a MAC address a network card's. */
API Adapter *
StandinAdd(LPCWSTR name, const GUID *guid, ULONG64 luid, const BYTE *mac)
{
    Adapter *adapter = calloc(1, sizeof *adapter);
    lstrcpyW(adapter->name, name);
    adapter->guid = *guid;
    adapter->luid.Value = luid;
    adapter->index = adapter->luid.Info.NetLuidIndex;
    adapter->present = TRUE;
    if (mac)
        memcpy(adapter->mac, mac, sizeof adapter->mac);
    adapter->card = !mac;
    configure(adapter);
    EnterCriticalSection(&lock);
    adapter->next = adapters;
    adapters = adapter;
    LeaveCriticalSection(&lock);
    return adapter;
}

API void
StandinForget(Adapter *adapter)
{
    WintunCloseAdapter(adapter);
}

/* Let a packet arrive; FALSE if there is no session, or no room. */
API BOOL
StandinPush(Adapter *adapter, const BYTE *packet, DWORD size)
{
    EnterCriticalSection(&lock);
    Session *session = adapter->session;
    BYTE *data = session ? allocate(session->received, size) : NULL;
    if (data) {
        memcpy(data, packet, size);
        ((DWORD *)data)[-1] |= (DWORD)IN_USE;
        SetEvent(session->event);
        adapter->packets[0]++;
        adapter->bytes[0] += size;
    }
    LeaveCriticalSection(&lock);
    return data != NULL;
}

/* The next packet that the program sent; 0 if there is none. The buffer has 65535 bytes. */
API DWORD
StandinPull(Adapter *adapter, BYTE *buffer)
{
    DWORD size = 0;
    EnterCriticalSection(&lock);
    Ring *ring = adapter->session ? adapter->session->sent : adapter->left;
    if (ring && ring->head < ring->next) {
        DWORD *packet = at(ring, ring->head);
        size = *packet;
        memcpy(buffer, packet + 1, size);
        ring->head += room_of(size);
    }
    LeaveCriticalSection(&lock);
    return size;
}

/* The adapter is removed from outside, as by the device manager. */
API void
StandinRemove(Adapter *adapter)
{
    EnterCriticalSection(&lock);
    adapter->present = FALSE;
    if (adapter->session)
        SetEvent(adapter->session->event);
    LeaveCriticalSection(&lock);
    notify();
}

/* Bytes of its ring that the last session took, and never gave back. */
API DWORD
StandinKept(Adapter *adapter)
{
    return (DWORD)adapter->kept;
}

API void
StandinCorrupt(Adapter *adapter)
{
    EnterCriticalSection(&lock);
    adapter->session->corrupt = TRUE;
    SetEvent(adapter->session->event);
    LeaveCriticalSection(&lock);
}

/* What netsh does. */
API void
StandinRename(Adapter *adapter, LPCWSTR name)
{
    EnterCriticalSection(&lock);
    lstrcpynW(adapter->name, name, 257);
    LeaveCriticalSection(&lock);
    notify();
}

API void
StandinIpv6(BOOL there)
{
    has_ipv6 = there;
}

/* Packets between the rings of an adapter and a socket, until its session ends. */
static DWORD WINAPI
pump(LPVOID argument)
{
    Adapter *adapter = argument;
    BYTE *buffer = malloc(0x10000);
    const int port = atoi(getenv("STANDIN_PORT")) + adapter->name[lstrlenW(adapter->name) - 1] - L'0';
    WSADATA started;
    WSAStartup(MAKEWORD(2, 2), &started);
    SOCKET sock = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((u_short)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int room = 4 << 20;
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, (char *)&room, sizeof room);
    connect(sock, (struct sockaddr *)&peer, sizeof peer);
    send(sock, "", 0, 0); /* says where we are */
    u_long nonblocking = 1;
    ioctlsocket(sock, FIONBIO, &nonblocking);
    while (adapter->session) {
        BOOL idle = TRUE;
        DWORD size;
        while ((size = StandinPull(adapter, buffer))) {
            send(sock, (char *)buffer, (int)size, 0);
            idle = FALSE;
        }
        int count;
        while ((count = recv(sock, (char *)buffer, 0x10000, 0)) > 0) {
            StandinPush(adapter, buffer, (DWORD)count);
            idle = FALSE;
        }
        if (idle) {
            fd_set readable;
            FD_ZERO(&readable);
            FD_SET(sock, &readable);
            struct timeval wait = {0, 500};
            select(0, &readable, NULL, NULL, &wait);
        }
    }
    closesocket(sock);
    free(buffer);
    return 0;
}
