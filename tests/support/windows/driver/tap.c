/* tap-windows6 without a network: a stand-in for tests, not the real driver.

   What a program sees of an adapter behaves as the real one's device.c, rxpath.c and txpath.c say
   (9.26). Behind it is no NDIS, but a second device: what is written there arrives, what the
   program wrote is read there. A third one makes and removes adapters. Compiled by mingw, it
   runs in wine's winedevice.exe. */

#include <ntddk.h>

/* tap-windows.h */
#define TAP_CONTROL(number) CTL_CODE(FILE_DEVICE_UNKNOWN, number, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define GET_MAC TAP_CONTROL(1)
#define GET_VERSION TAP_CONTROL(2)
#define GET_MTU TAP_CONTROL(3)
#define SET_MEDIA_STATUS TAP_CONTROL(6)

/* Of the third device, with the text of the adapter's GUID; and of the far side. */
#define MAKE TAP_CONTROL(100)
#define REMOVE TAP_CONTROL(101)
#define ABORT_READS TAP_CONTROL(102) /* as when the machine slept: the cable is unplugged, too */
#define MEDIA TAP_CONTROL(103)

enum { ETHERNET_HEADER = 14, ETHERNET_MIN = 60, GUID_LENGTH = 38 };

typedef struct {
    LIST_ENTRY entry;
    ULONG size;
    UCHAR data[];
} Frame;

typedef struct {
    LIST_ENTRY entry;
    DEVICE_OBJECT *near, *far;
    WCHAR guid[GUID_LENGTH + 1];
    BOOLEAN open, connected, present;
    LIST_ENTRY reads;     /* of the program, that wait */
    LIST_ENTRY to_program, from_program;
} Adapter;

typedef enum { CONTROL, NEAR_SIDE, FAR_SIDE } Kind;
typedef struct {
    Kind kind;
    Adapter *adapter;
} Extension;

static DRIVER_OBJECT *driver;
static LIST_ENTRY adapters;
static KSPIN_LOCK lock; /* guards all of it */

static NTSTATUS
finish(IRP *irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static Frame *
make_frame(const void *data, ULONG size, ULONG at_least)
{
    const ULONG whole = size < at_least ? at_least : size;
    Frame *frame = ExAllocatePool(NonPagedPool, sizeof *frame + whole);
    RtlZeroMemory(frame->data, whole);
    RtlCopyMemory(frame->data, data, size);
    frame->size = whole;
    return frame;
}

static void
drop(LIST_ENTRY *frames)
{
    while (!IsListEmpty(frames))
        ExFreePool(CONTAINING_RECORD(RemoveHeadList(frames), Frame, entry));
}

static void
give(IRP *irp, Frame *frame)
{
    const ULONG room = IoGetCurrentIrpStackLocation(irp)->Parameters.Read.Length;
    const ULONG size = frame->size < room ? frame->size : room;
    RtlCopyMemory(MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority), frame->data,
                  size);
    finish(irp, frame->size > room ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS, size);
    ExFreePool(frame);
}

static void WINAPI
cancel(DEVICE_OBJECT *device, IRP *irp)
{
    (void)device;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    KIRQL level;
    KeAcquireSpinLock(&lock, &level);
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    KeReleaseSpinLock(&lock, level);
    finish(irp, STATUS_CANCELLED, 0);
}

/* With the lock: the first read that waits, or NULL. One that is being cancelled is its
   cancel routine's. */
static IRP *
next_read(Adapter *adapter)
{
    for (LIST_ENTRY *each = adapter->reads.Flink; each != &adapter->reads; each = each->Flink) {
        IRP *irp = CONTAINING_RECORD(each, IRP, Tail.Overlay.ListEntry);
        if (IoSetCancelRoutine(irp, NULL)) {
            RemoveEntryList(each);
            return irp;
        }
    }
    return NULL;
}

static void
match(Adapter *adapter)
{
    for (;;) {
        KIRQL level;
        IRP *irp = NULL;
        Frame *frame = NULL;
        KeAcquireSpinLock(&lock, &level);
        if (!IsListEmpty(&adapter->to_program) && (irp = next_read(adapter)))
            frame = CONTAINING_RECORD(RemoveHeadList(&adapter->to_program), Frame, entry);
        KeReleaseSpinLock(&lock, level);
        if (!frame)
            return;
        give(irp, frame);
    }
}

static void
abort_reads(Adapter *adapter)
{
    for (;;) {
        KIRQL level;
        KeAcquireSpinLock(&lock, &level);
        IRP *irp = next_read(adapter);
        KeReleaseSpinLock(&lock, level);
        if (!irp)
            return;
        finish(irp, STATUS_CANCELLED, 0);
    }
}

static NTSTATUS WINAPI
read(DEVICE_OBJECT *device, IRP *irp)
{
    const Extension *extension = device->DeviceExtension;
    Adapter *adapter = extension->adapter;
    if (extension->kind == FAR_SIDE) {
        if (IsListEmpty(&adapter->from_program))
            return finish(irp, STATUS_SUCCESS, 0);
        give(irp, CONTAINING_RECORD(RemoveHeadList(&adapter->from_program), Frame, entry));
        return STATUS_SUCCESS;
    }
    if (!adapter->present || !adapter->connected)
        return finish(irp, STATUS_CANCELLED, 0);
    IoMarkIrpPending(irp);
    KIRQL level;
    KeAcquireSpinLock(&lock, &level);
    IoSetCancelRoutine(irp, cancel);
    InsertTailList(&adapter->reads, &irp->Tail.Overlay.ListEntry);
    KeReleaseSpinLock(&lock, level);
    match(adapter);
    return STATUS_PENDING;
}

static NTSTATUS WINAPI
write(DEVICE_OBJECT *device, IRP *irp)
{
    const Extension *extension = device->DeviceExtension;
    Adapter *adapter = extension->adapter;
    const ULONG size = IoGetCurrentIrpStackLocation(irp)->Parameters.Write.Length;
    if (!adapter->present || !adapter->connected)
        return finish(irp, STATUS_CANCELLED, 0);
    if (size < ETHERNET_HEADER)
        return finish(irp, STATUS_BUFFER_TOO_SMALL, 0);
    const void *data = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
    if (extension->kind == FAR_SIDE) {
        InsertTailList(&adapter->to_program, &make_frame(data, size, 0)->entry);
        match(adapter);
    } else
        InsertTailList(&adapter->from_program, &make_frame(data, size, ETHERNET_MIN)->entry);
    return finish(irp, STATUS_SUCCESS, size);
}

static NTSTATUS WINAPI
create(DEVICE_OBJECT *device, IRP *irp)
{
    const Extension *extension = device->DeviceExtension;
    if (extension->kind == NEAR_SIDE) {
        if (extension->adapter->open || !extension->adapter->present)
            return finish(irp, STATUS_UNSUCCESSFUL, 0);
        extension->adapter->open = TRUE;
    }
    return finish(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS WINAPI
close(DEVICE_OBJECT *device, IRP *irp)
{
    const Extension *extension = device->DeviceExtension;
    if (extension->kind == NEAR_SIDE) {
        extension->adapter->open = extension->adapter->connected = FALSE;
        abort_reads(extension->adapter);
        drop(&extension->adapter->to_program);
    }
    return finish(irp, STATUS_SUCCESS, 0);
}

static DEVICE_OBJECT *
make_device(const WCHAR *name, const WCHAR *link, Kind kind, Adapter *adapter)
{
    UNICODE_STRING device_name, link_name;
    DEVICE_OBJECT *device;
    RtlInitUnicodeString(&device_name, name);
    RtlInitUnicodeString(&link_name, link);
    if (IoCreateDevice(driver, sizeof(Extension), &device_name, FILE_DEVICE_UNKNOWN, 0, FALSE,
                       &device))
        return NULL;
    *(Extension *)device->DeviceExtension = (Extension){kind, adapter};
    device->Flags |= DO_DIRECT_IO;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    IoCreateSymbolicLink(&link_name, &device_name);
    return device;
}

static const WCHAR *
joined(WCHAR *to, const WCHAR *first, const WCHAR *guid, const WCHAR *last)
{
    wcscpy(to, first);
    wcscat(to, guid);
    return wcscat(to, last);
}

static Adapter *
find(const WCHAR *guid)
{
    for (LIST_ENTRY *each = adapters.Flink; each != &adapters; each = each->Flink) {
        Adapter *adapter = CONTAINING_RECORD(each, Adapter, entry);
        if (adapter->present && !wcscmp(adapter->guid, guid))
            return adapter;
    }
    return NULL;
}

static NTSTATUS
make_adapter(const WCHAR *guid)
{
    WCHAR name[80], link[80];
    Adapter *adapter = ExAllocatePool(NonPagedPool, sizeof *adapter);
    RtlZeroMemory(adapter, sizeof *adapter);
    wcscpy(adapter->guid, guid);
    adapter->present = TRUE;
    InitializeListHead(&adapter->reads);
    InitializeListHead(&adapter->to_program);
    InitializeListHead(&adapter->from_program);
    InsertTailList(&adapters, &adapter->entry);
    adapter->near = make_device(joined(name, L"\\Device\\", guid, L".tap"),
                                joined(link, L"\\DosDevices\\Global\\", guid, L".tap"), NEAR_SIDE,
                                adapter);
    adapter->far = make_device(joined(name, L"\\Device\\", guid, L".far"),
                               joined(link, L"\\DosDevices\\", guid, L".far"), FAR_SIDE, adapter);
    return adapter->near && adapter->far ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}

/* Its devices stay while somebody has them open; their names go. */
static NTSTATUS
remove_adapter(Adapter *adapter)
{
    WCHAR link[80];
    UNICODE_STRING name;
    if (!adapter)
        return STATUS_NOT_FOUND;
    adapter->present = adapter->connected = FALSE;
    abort_reads(adapter);
    drop(&adapter->to_program);
    RtlInitUnicodeString(&name, joined(link, L"\\DosDevices\\Global\\", adapter->guid, L".tap"));
    IoDeleteSymbolicLink(&name);
    RtlInitUnicodeString(&name, joined(link, L"\\DosDevices\\", adapter->guid, L".far"));
    IoDeleteSymbolicLink(&name);
    IoDeleteDevice(adapter->near);
    IoDeleteDevice(adapter->far);
    return STATUS_SUCCESS;
}

static NTSTATUS WINAPI
control(DEVICE_OBJECT *device, IRP *irp)
{
    const Extension *extension = device->DeviceExtension;
    Adapter *adapter = extension->adapter;
    const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    const ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    const ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG *buffer = irp->AssociatedIrp.SystemBuffer;
    if (!in || !out || (adapter && !adapter->present))
        return finish(irp, STATUS_INVALID_PARAMETER, 0);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case GET_MAC:
        if (out < 6)
            return finish(irp, STATUS_BUFFER_TOO_SMALL, 0);
        RtlCopyMemory(buffer, "\x00\xFF\x01\x02\x03\x04", 6);
        return finish(irp, STATUS_SUCCESS, 6);
    case GET_VERSION:
        if (out < 12)
            return finish(irp, STATUS_BUFFER_TOO_SMALL, 0);
        buffer[0] = 9, buffer[1] = 26, buffer[2] = 0;
        return finish(irp, STATUS_SUCCESS, 12);
    case GET_MTU:
        if (out < 4)
            return finish(irp, STATUS_BUFFER_TOO_SMALL, 0);
        *buffer = 1500;
        return finish(irp, STATUS_SUCCESS, 4);
    case SET_MEDIA_STATUS:
        if (in < 4 || out < 4)
            return finish(irp, STATUS_BUFFER_TOO_SMALL, 0);
        adapter->connected = *buffer != 0;
        if (!adapter->connected)
            abort_reads(adapter);
        return finish(irp, STATUS_SUCCESS, 4);
    case MEDIA:
        *buffer = adapter->connected;
        return finish(irp, STATUS_SUCCESS, 4);
    case ABORT_READS:
        adapter->connected = FALSE;
        abort_reads(adapter);
        return finish(irp, STATUS_SUCCESS, 0);
    case MAKE:
        return finish(irp, make_adapter((const WCHAR *)buffer), 0);
    case REMOVE:
        return finish(irp, remove_adapter(find((const WCHAR *)buffer)), 0);
    default:
        return finish(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static void WINAPI
unload(DRIVER_OBJECT *object)
{
    (void)object;
}

NTSTATUS WINAPI
DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *path)
{
    (void)path;
    driver = object;
    InitializeListHead(&adapters);
    KeInitializeSpinLock(&lock);
    object->DriverUnload = unload;
    object->MajorFunction[IRP_MJ_CREATE] = create;
    object->MajorFunction[IRP_MJ_CLOSE] = close;
    object->MajorFunction[IRP_MJ_READ] = read;
    object->MajorFunction[IRP_MJ_WRITE] = write;
    object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    return make_device(L"\\Device\\StandinTap", L"\\DosDevices\\StandinTap", CONTROL, NULL)
               ? STATUS_SUCCESS
               : STATUS_UNSUCCESSFUL;
}
