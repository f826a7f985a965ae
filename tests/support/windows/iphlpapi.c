/* The functions of iphlpapi.dll that configure interfaces, over the adapters of the stand-in: a
   model of the real ones, which refuses what they refuse. The prototypes are those of
   mingw's netioapi.h, so the compiler compares them. */

#include "standin.h"

#include <nldef.h>

static int
family_at(ADDRESS_FAMILY family)
{
    return family == AF_INET ? 0 : family == AF_INET6 ? 1 : -1;
}

static Adapter *
find(NET_LUID luid)
{
    for (Adapter *each = adapters; each; each = each->next)
        if (each->present && each->luid.Value == luid.Value)
            return each;
    return NULL;
}

#define ENTER                                                                                      \
    DWORD result = failure(__func__);                                                              \
    if (result)                                                                                    \
    return result
#define LOCKED EnterCriticalSection(&lock)
#define LEAVE                                                                                      \
    LeaveCriticalSection(&lock);                                                                   \
    return result

void
configure(Adapter *adapter)
{
    for (int i = 0; i < 2; i++) {
        MIB_IPINTERFACE_ROW *row = &adapter->ip[i];
        row->Family = i ? AF_INET6 : AF_INET;
        row->InterfaceLuid = adapter->luid;
        row->InterfaceIndex = adapter->index;
        row->UseAutomaticMetric = TRUE;
        row->Metric = 5;
        row->NlMtu = 65535;
        row->SitePrefixLength = 64; /* of IPv4, too: and then it is refused */
        row->RouterDiscoveryBehavior = RouterDiscoveryEnabled;
        row->LinkLocalAddressBehavior = LinkLocalAlwaysOn;
        row->DadTransmits = i ? 1 : 3;
        row->Connected = TRUE;
    }
}

/* Changes. */

static struct {
    PIPINTERFACE_CHANGE_CALLBACK callback;
    PVOID context;
    BOOL of_routes;
} listeners[256];
static SRWLOCK calling = SRWLOCK_INIT;

static DWORD WINAPI
call_back(LPVOID of_routes)
{
    AcquireSRWLockShared(&calling);
    MIB_IPINTERFACE_ROW row = {0};
    for (size_t i = 0; i < ARRAYSIZE(listeners); i++)
        if (listeners[i].callback && listeners[i].of_routes == (of_routes != NULL))
            listeners[i].callback(listeners[i].context, &row, MibParameterNotification);
    ReleaseSRWLockShared(&calling);
    return 0;
}

void
notify(void)
{
    CloseHandle(CreateThread(NULL, 0, call_back, NULL, 0, NULL));
}

static void
notify_of_routes(void)
{
    CloseHandle(CreateThread(NULL, 0, call_back, &listeners, 0, NULL));
}

static DWORD
listen_to(ADDRESS_FAMILY family, PIPINTERFACE_CHANGE_CALLBACK callback, PVOID context,
          BOOL of_routes, HANDLE *handle)
{
    if (!callback || (family != AF_UNSPEC && family_at(family) < 0))
        return ERROR_INVALID_PARAMETER;
    for (size_t i = 0; i < ARRAYSIZE(listeners); i++)
        if (!listeners[i].callback) {
            listeners[i].context = context;
            listeners[i].of_routes = of_routes;
            listeners[i].callback = callback;
            *handle = (HANDLE)(i + 1);
            return 0;
        }
    return ERROR_NOT_ENOUGH_MEMORY;
}

API NETIOAPI_API
NotifyIpInterfaceChange(ADDRESS_FAMILY family, PIPINTERFACE_CHANGE_CALLBACK callback,
                        PVOID context, BOOLEAN initial, HANDLE *handle)
{
    ENTER;
    (void)initial;
    return listen_to(family, callback, context, FALSE, handle);
}

API NETIOAPI_API
NotifyUnicastIpAddressChange(ADDRESS_FAMILY family, PUNICAST_IPADDRESS_CHANGE_CALLBACK callback,
                             PVOID context, BOOLEAN initial, HANDLE *handle)
{
    ENTER;
    (void)initial;
    return listen_to(family, (PIPINTERFACE_CHANGE_CALLBACK)(void *)callback, context, FALSE,
                     handle);
}

API NETIOAPI_API
NotifyRouteChange2(ADDRESS_FAMILY family, PIPFORWARD_CHANGE_CALLBACK callback, PVOID context,
                   BOOLEAN initial, HANDLE *handle)
{
    ENTER;
    (void)initial;
    return listen_to(family, (PIPINTERFACE_CHANGE_CALLBACK)(void *)callback, context, TRUE, handle);
}

API NETIOAPI_API
CancelMibChangeNotify2(HANDLE handle)
{
    ENTER;
    AcquireSRWLockExclusive(&calling); /* waits for callbacks that run */
    listeners[(size_t)handle - 1].callback = NULL;
    ReleaseSRWLockExclusive(&calling);
    return 0;
}

API DWORD
StandinListeners(void)
{
    DWORD count = 0;
    for (size_t i = 0; i < ARRAYSIZE(listeners); i++)
        count += listeners[i].callback != NULL;
    return count;
}

/* Interfaces. */

API NETIOAPI_API
ConvertInterfaceAliasToLuid(const WCHAR *alias, PNET_LUID luid)
{
    ENTER;
    LOCKED;
    result = ERROR_INVALID_PARAMETER;
    for (Adapter *each = adapters; each; each = each->next)
        if (each->present && !lstrcmpW(each->name, alias)) {
            *luid = each->luid;
            result = 0;
        }
    LEAVE;
}

API NETIOAPI_API
ConvertInterfaceLuidToAlias(const NET_LUID *luid, PWSTR alias, SIZE_T length)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(*luid);
    if (!adapter)
        result = ERROR_INVALID_PARAMETER;
    else if (length <= (SIZE_T)lstrlenW(adapter->name))
        result = ERROR_NOT_ENOUGH_MEMORY;
    else
        lstrcpyW(alias, adapter->name);
    LEAVE;
}

API NETIOAPI_API
ConvertInterfaceLuidToGuid(const NET_LUID *luid, GUID *guid)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(*luid);
    if (adapter)
        *guid = adapter->guid;
    else
        result = ERROR_INVALID_PARAMETER;
    LEAVE;
}

API NETIOAPI_API
ConvertInterfaceLuidToIndex(const NET_LUID *luid, PNET_IFINDEX index)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(*luid);
    if (adapter)
        *index = adapter->index;
    else
        result = ERROR_INVALID_PARAMETER;
    LEAVE;
}

API NETIOAPI_API
GetIfEntry2(PMIB_IF_ROW2 row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    if (!adapter)
        result = ERROR_FILE_NOT_FOUND;
    else {
        memset(row, 0, sizeof *row);
        row->InterfaceLuid = adapter->luid;
        row->InterfaceIndex = adapter->index;
        row->InterfaceGuid = adapter->guid;
        lstrcpyW(row->Alias, adapter->name);
        lstrcpyW(row->Description, adapter->description);
        row->Mtu = 65535; /* the true one is IP's */
        row->Type = adapter->luid.Info.IfType;
        if (row->Type == IF_TYPE_ETHERNET_CSMACD) {
            row->PhysicalAddressLength = sizeof adapter->mac;
            memcpy(row->PhysicalAddress, adapter->mac, sizeof adapter->mac);
        }
        row->AdminStatus = NET_IF_ADMIN_STATUS_UP;
        row->OperStatus = adapter->session || adapter->card ? IfOperStatusUp : IfOperStatusDown;
        row->MediaConnectState =
            adapter->session ? MediaConnectStateConnected : MediaConnectStateDisconnected;
        row->OutUcastPkts = adapter->packets[0];
        row->OutOctets = adapter->bytes[0];
        row->InUcastPkts = adapter->packets[1];
        row->InOctets = adapter->bytes[1];
        row->OutDiscards = 7;
        row->InDiscards = 3;
        row->InErrors = 1;
    }
    LEAVE;
}

static MIB_IPINTERFACE_ROW *
ip_of(const MIB_IPINTERFACE_ROW *row, DWORD *result)
{
    const int i = family_at(row->Family);
    Adapter *adapter = find(row->InterfaceLuid);
    *result = i < 0 ? ERROR_INVALID_PARAMETER
              : !adapter ? ERROR_FILE_NOT_FOUND
              : i && !has_ipv6 ? ERROR_NOT_FOUND
                               : 0;
    return *result ? NULL : &adapter->ip[i];
}

API VOID NETIOAPI_API_
InitializeIpInterfaceEntry(PMIB_IPINTERFACE_ROW row)
{
    memset(row, 0xFF, sizeof *row);
    row->Family = AF_UNSPEC;
    row->InterfaceLuid.Value = 0;
    row->InterfaceIndex = 0;
}

API NETIOAPI_API
GetIpInterfaceEntry(PMIB_IPINTERFACE_ROW row)
{
    ENTER;
    LOCKED;
    MIB_IPINTERFACE_ROW *found = ip_of(row, &result);
    if (found)
        *row = *found;
    LEAVE;
}

API NETIOAPI_API
SetIpInterfaceEntry(PMIB_IPINTERFACE_ROW row)
{
    ENTER;
    LOCKED;
    MIB_IPINTERFACE_ROW *found = ip_of(row, &result);
    if (found && (row->SitePrefixLength > (row->Family == AF_INET ? 32u : 128u) ||
                  row->NlMtu < (row->Family == AF_INET ? 68u : 1280u) || row->NlMtu > 65535 ||
                  row->UseAutomaticMetric > 1))
        result = ERROR_INVALID_PARAMETER;
    else if (found) {
        *found = *row;
        found->SitePrefixLength = 64;
    }
    LeaveCriticalSection(&lock);
    notify();
    return result;
}

/* Tables: a count, and the rows 8 bytes behind it. */

API VOID NETIOAPI_API_
FreeMibTable(PVOID table)
{
    free(table);
}

static void *
make_table(size_t size, size_t count)
{
    ULONG *table = calloc(1, 8 + size * (count + 1));
    *table = 0;
    return table;
}

static void
add_row(void *table, const void *row, size_t size)
{
    memcpy((BYTE *)table + 8 + *(ULONG *)table * size, row, size);
    ++*(ULONG *)table;
}

/* Addresses. */

static size_t
size_of(const SOCKADDR_INET *address)
{
    return address->si_family == AF_INET ? 4 : 16;
}

static const void *
bytes_of(const SOCKADDR_INET *address)
{
    return address->si_family == AF_INET ? (const void *)&address->Ipv4.sin_addr
                                         : (const void *)&address->Ipv6.sin6_addr;
}

static BOOL
same(const SOCKADDR_INET *a, const SOCKADDR_INET *b)
{
    return a->si_family == b->si_family && !memcmp(bytes_of(a), bytes_of(b), size_of(a));
}

static DWORD
check_family(const SOCKADDR_INET *address)
{
    return family_at(address->si_family) < 0               ? ERROR_INVALID_PARAMETER
           : address->si_family == AF_INET6 && !has_ipv6 ? ERROR_NOT_FOUND
                                                         : 0;
}

API VOID NETIOAPI_API_
InitializeUnicastIpAddressEntry(PMIB_UNICASTIPADDRESS_ROW row)
{
    memset(row, 0, sizeof *row);
    row->PrefixOrigin = IpPrefixOriginUnchanged;
    row->SuffixOrigin = IpSuffixOriginUnchanged;
    row->ValidLifetime = row->PreferredLifetime = 0xFFFFFFFF;
    row->OnLinkPrefixLength = 255;
}

static void
add_route(Adapter *adapter, const MIB_UNICASTIPADDRESS_ROW *address)
{
    MIB_IPFORWARD_ROW2 row = {.InterfaceLuid = adapter->luid, .Protocol = MIB_IPPROTO_LOCAL};
    row.DestinationPrefix.Prefix = row.NextHop = address->Address;
    row.DestinationPrefix.PrefixLength = address->OnLinkPrefixLength;
    if (adapter->route_count < ROUTES_MAX)
        adapter->routes[adapter->route_count++] = row;
}

API NETIOAPI_API
CreateUnicastIpAddressEntry(const MIB_UNICASTIPADDRESS_ROW *row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    result = adapter ? check_family(&row->Address) : ERROR_FILE_NOT_FOUND;
    if (!result && (row->OnLinkPrefixLength > 8 * size_of(&row->Address) ||
                    row->PreferredLifetime > row->ValidLifetime))
        result = ERROR_INVALID_PARAMETER;
    for (Adapter *each = adapters; each && !result; each = each->next)
        for (size_t i = 0; i < each->address_count; i++)
            if (each->present && same(&each->addresses[i].Address, &row->Address))
                result = ERROR_OBJECT_ALREADY_EXISTS;
    if (!result && row->ValidLifetime && adapter->address_count < ADDRESSES_MAX) {
        MIB_UNICASTIPADDRESS_ROW *new = &adapter->addresses[adapter->address_count++];
        *new = *row;
        if (row->DadState != IpDadStatePreferred)
            new->DadState = IpDadStateTentative;
        add_route(adapter, row);
    }
    LeaveCriticalSection(&lock);
    notify();
    return result;
}

static size_t
position(const Adapter *adapter, const SOCKADDR_INET *address)
{
    size_t i = 0;
    while (i < adapter->address_count && !same(&adapter->addresses[i].Address, address))
        i++;
    return i;
}

static NL_DAD_STATE shown;
static DWORD looks;

/* Have so many looks at addresses see this state; how many of the order before were not taken. */
API DWORD
StandinDad(NL_DAD_STATE state, DWORD times)
{
    const DWORD left = looks;
    shown = state;
    looks = times;
    return left;
}

API NETIOAPI_API
GetUnicastIpAddressEntry(PMIB_UNICASTIPADDRESS_ROW row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    const size_t i = adapter ? position(adapter, &row->Address) : 0;
    if (!adapter)
        result = ERROR_FILE_NOT_FOUND;
    else if (i == adapter->address_count)
        result = ERROR_NOT_FOUND;
    else {
        *row = adapter->addresses[i];
        if (looks) {
            looks--;
            row->DadState = shown;
        }
        adapter->addresses[i].DadState = IpDadStatePreferred; /* when it is asked for again */
    }
    LEAVE;
}

API NETIOAPI_API
DeleteUnicastIpAddressEntry(const MIB_UNICASTIPADDRESS_ROW *row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    const size_t i = adapter ? position(adapter, &row->Address) : 0;
    if (!adapter)
        result = ERROR_FILE_NOT_FOUND;
    else if (i == adapter->address_count)
        result = ERROR_NOT_FOUND;
    else
        adapter->addresses[i] = adapter->addresses[--adapter->address_count];
    LeaveCriticalSection(&lock);
    notify();
    return result;
}

API NETIOAPI_API
GetUnicastIpAddressTable(ADDRESS_FAMILY family, PMIB_UNICASTIPADDRESS_TABLE *table)
{
    ENTER;
    (void)family;
    LOCKED;
    *table = make_table(sizeof(MIB_UNICASTIPADDRESS_ROW), 64 * ADDRESSES_MAX);
    for (Adapter *each = adapters; each; each = each->next)
        for (size_t i = 0; each->present && i < each->address_count; i++)
            add_row(*table, &each->addresses[i], sizeof each->addresses[i]);
    LEAVE;
}

/* Routes. */

API VOID NETIOAPI_API_
InitializeIpForwardEntry(PMIB_IPFORWARD_ROW2 row)
{
    memset(row, 0, sizeof *row);
    row->SitePrefixLength = 255;
    row->ValidLifetime = row->PreferredLifetime = 0xFFFFFFFF;
    row->Metric = 0xFFFFFFFF;
    row->Protocol = MIB_IPPROTO_NETMGMT;
    row->Immortal = TRUE;
}

static size_t
route_position(const Adapter *adapter, const MIB_IPFORWARD_ROW2 *row)
{
    size_t i = 0;
    for (; i < adapter->route_count; i++) {
        const MIB_IPFORWARD_ROW2 *each = &adapter->routes[i];
        if (each->DestinationPrefix.PrefixLength == row->DestinationPrefix.PrefixLength &&
            same(&each->DestinationPrefix.Prefix, &row->DestinationPrefix.Prefix) &&
            same(&each->NextHop, &row->NextHop))
            break;
    }
    return i;
}

API NETIOAPI_API
CreateIpForwardEntry2(const MIB_IPFORWARD_ROW2 *row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    const SOCKADDR_INET *prefix = &row->DestinationPrefix.Prefix;
    result = adapter ? check_family(prefix) : ERROR_FILE_NOT_FOUND;
    if (!result && (row->NextHop.si_family != prefix->si_family ||
                    row->DestinationPrefix.PrefixLength > 8 * size_of(prefix) ||
                    row->SitePrefixLength > row->DestinationPrefix.PrefixLength ||
                    !row->ValidLifetime))
        result = ERROR_INVALID_PARAMETER;
    if (!result && route_position(adapter, row) < adapter->route_count)
        result = ERROR_OBJECT_ALREADY_EXISTS;
    if (!result && adapter->route_count < ROUTES_MAX)
        adapter->routes[adapter->route_count++] = *row;
    LeaveCriticalSection(&lock);
    notify_of_routes();
    return result;
}

API NETIOAPI_API
DeleteIpForwardEntry2(const MIB_IPFORWARD_ROW2 *row)
{
    ENTER;
    LOCKED;
    Adapter *adapter = find(row->InterfaceLuid);
    const size_t i = adapter ? route_position(adapter, row) : 0;
    if (!adapter)
        result = ERROR_FILE_NOT_FOUND;
    else if (i == adapter->route_count)
        result = ERROR_NOT_FOUND;
    else
        adapter->routes[i] = adapter->routes[--adapter->route_count];
    LeaveCriticalSection(&lock);
    notify_of_routes();
    return result;
}

API NETIOAPI_API
GetIpForwardTable2(ADDRESS_FAMILY family, PMIB_IPFORWARD_TABLE2 *table)
{
    ENTER;
    (void)family;
    LOCKED;
    *table = make_table(sizeof(MIB_IPFORWARD_ROW2), 64 * ROUTES_MAX);
    for (Adapter *each = adapters; each; each = each->next)
        for (size_t i = 0; each->present && i < each->route_count; i++) {
            each->routes[i].InterfaceIndex = each->index;
            add_row(*table, &each->routes[i], sizeof each->routes[i]);
        }
    LEAVE;
}

/* DNS: mingw's headers do not have it. */

typedef struct {
    ULONG Version;
    ULONG64 Flags;
    PWSTR Domain, NameServer, SearchList;
    ULONG RegistrationEnabled, RegisterAdapterName, EnableLLMNR, QueryAdapterName;
    PWSTR ProfileNameServer;
} DnsInterfaceSettings;

API DWORD WINAPI
SetInterfaceDnsSettings(GUID guid, const DnsInterfaceSettings *settings)
{
    ENTER;
    LOCKED;
    const BOOL v6 = settings->Flags & 1;
    Adapter *adapter = adapters;
    while (adapter && memcmp(&adapter->guid, &guid, sizeof guid))
        adapter = adapter->next;
    if (!adapter)
        result = ERROR_FILE_NOT_FOUND;
    else if (settings->Version != 1 || settings->Flags & ~(ULONG64)0x27)
        result = ERROR_INVALID_PARAMETER;
    else if (!v6 != !wcschr(settings->NameServer, L':') && *settings->NameServer)
        result = ERROR_INVALID_PARAMETER;
    else {
        if (settings->Flags & 2)
            lstrcpynW(adapter->dns[v6], settings->NameServer, 256);
        if (settings->Flags & 4)
            lstrcpynW(adapter->search[v6], settings->SearchList, 256);
    }
    LEAVE;
}

API LPCWSTR
StandinDns(Adapter *adapter, BOOL v6, BOOL search)
{
    return search ? adapter->search[v6] : adapter->dns[v6];
}

API DWORD
StandinBehaviour(Adapter *adapter, BOOL v6)
{
    return (DWORD)adapter->ip[v6].RouterDiscoveryBehavior |
           (DWORD)adapter->ip[v6].LinkLocalAddressBehavior << 4 |
           (DWORD)adapter->ip[v6].UseAutomaticMetric << 8;
}
