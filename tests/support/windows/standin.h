/* What both halves of the stand-in share. */

#pragma once

#define _WIN32_WINNT 0x0A00
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <iphlpapi.h>
#include <netioapi.h>

#include <stdlib.h>
#include <string.h>

#define API __declspec(dllexport)

enum { ADDRESSES_MAX = 16, ROUTES_MAX = 32 };

typedef struct Ring Ring;
typedef struct Adapter Adapter;

typedef struct {
    Adapter *adapter;
    HANDLE event;
    Ring *received, *sent;
    BOOL corrupt;
} Session;

struct Adapter {
    BOOL present; /* in the system */
    NET_LUID luid;
    NET_IFINDEX index;
    GUID guid;
    BYTE mac[6]; /* of a TAP: zeros elsewhere */
    BOOL card;   /* a network card, which is always up */
    WCHAR name[257], description[257];
    Session *session;
    Ring *left; /* what was sent before the last session ended, and was not pulled yet */
    ULONG64 kept; /* bytes of its ring that the last session took, and never gave back */
    MIB_IPINTERFACE_ROW ip[2]; /* IPv4, IPv6 */
    MIB_UNICASTIPADDRESS_ROW addresses[ADDRESSES_MAX];
    size_t address_count;
    MIB_IPFORWARD_ROW2 routes[ROUTES_MAX];
    size_t route_count;
    WCHAR dns[2][256], search[2][256];
    ULONG64 packets[2], bytes[2]; /* to the program, from it */
    Adapter *next;
};

extern CRITICAL_SECTION lock; /* guards all of it */
extern Adapter *adapters;
extern BOOL has_ipv6;

/* The error that a test asked for in this function, or 0. */
DWORD failure(const char *function);

/* Tell those who asked for it of a change, in a thread of its own. */
void notify(void);

/* The defaults of a new interface. */
void configure(Adapter *adapter);
