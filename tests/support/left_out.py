"""What of the tests cannot run on which system, and why."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["here"]

KERNEL = "it asks Linux' kernel"

SOCKET = "it asks Linux' socket"

INTERFACE = "platforms/windows/test_interface.py has its own"

ONE_AT_A_TIME = "Windows' own loop has one datagram on its way at a time"

UNKNOWN = "testing/test_pytest_plugin.py::test_unknown_capability_is_an_error"

LINUX_MAY_HAVE_IT = "elsewhere a name that is not known may be one of Linux"

WINDOWS = {
    "platforms/linux": KERNEL,
    "platforms/bsd": "it runs models of other systems, whose modules Windows does not load",
    "platforms/test_phones.py": "phones hand their devices over as descriptors",
    "platforms/test_settings.py": "its systems are Linux, and models of which Windows has no part",
    "offload/test_kernel_gro.py": KERNEL,
    "offload/test_kernel_split.py": KERNEL,
    "capturing/test_captured.py": KERNEL,
    "capturing/test_packet_ring.py": KERNEL,
    "probes/test_devices.py": "these devices are of macOS and the BSDs",
    "probes/test_linux.py": "its probes are Linux' own",
    "test_many_devices.py": "platforms/windows has its own",
    "test_traffic.py": KERNEL,
    "flows/test_guard.py": KERNEL,
    "flows/test_memory.py": KERNEL,
    "flows/test_other_systems.py": "it asks what the sockets of other systems are told",
    "flows/test_rootless.py": KERNEL,
    "flows/test_tcp.py": KERNEL,
    "flows/test_write_back.py": "C writes back what is behind a virtio_net_hdr, which no ring has",
    "test_device.py::test_details[ring]": INTERFACE,
    "test_device.py::test_what_nobody_reads_is_dropped_and_counted[ring]": INTERFACE,
    "testing/test_import.py::test_testing_can_be_imported_on_other_systems": "it plays another "
    "system of POSIX",
    UNKNOWN: LINUX_MAY_HAVE_IT,
    "testing/test_temporary_folder.py": "Windows calls users by no LOGNAME",
    "test_handover.py": "devices are handed over by UNIX sockets",
    "test_left_out.py::test_bsd": "it plays another system of POSIX",
    "test_left_out.py::test_macos": "it plays another system of POSIX",
    "test_left_out.py::test_what_does_not_import_is_told": "it plays another system of POSIX",
    "test_synchronous.py::test_a_handler_receives_within_a_wait": "there is no setitimer",
    "test_synchronous.py::test_interrupted_by_a_signal": "there is no SIGUSR1; "
    "platforms/windows/test_queue.py has ctrl-C",
    "framed/test_descriptors.py": "no descriptor of Windows is a terminal or a pipe to asyncio",
    "udp/test_bsd.py": "it is about the sockets of macOS and the BSDs",
    "udp/test_mmsg.py": "it is about the sockets of macOS and the BSDs",
    "udp/test_cmsg.py::test_the_numbers_are_those_of_the_socket_module": SOCKET,
    "udp/test_ending_within.py::test_plain_within_a_refusal[asyncio-abort]": ONE_AT_A_TIME,
    "udp/test_endpoint.py::test_a_descriptor_closed_by_others_ends_the_transport": "asyncio's own "
    "endpoint tells of it as of any error",
    "udp/test_endpoint.py::test_an_unclosed_transport_warns": "asyncio's own endpoint warns there",
    "udp/test_endpoint.py::test_flush_sends_now[asyncio-plain]": ONE_AT_A_TIME,
    "udp/test_endpoint.py::test_several_sockets_on_one_port": "there is no SO_REUSEPORT",
    "udp/test_endpoint.py::test_without_privileges_a_buffer_is_what_the_system_allows": "there is "
    "no SO_RCVBUFFORCE",
    "udp/test_port.py": "its port in C is of Linux' socket",
    "udp/test_trains.py::test_addresses_that_are_kept_are_those_of_each_datagram": SOCKET,
    "udp/test_trains.py::test_both_ways_to_receive_see_the_same": SOCKET,
    "udp/test_trains.py::test_the_native_one_makes_tuples": SOCKET,
    "udp/test_trains.py::test_what_is_sent_as_a_train_arrives_as_one": SOCKET,
    "udp/test_offload.py": SOCKET,
    "udp/test_sending.py": SOCKET,
    "benchmarks": "benchmarks and their peers are for Linux",
    "cli/test_bench.py": "benchmarks are for Linux",
    "cli/test_demo.py": "it takes privileges away as Linux does",
    "cli/test_doctor.py": "it takes privileges away as Linux does; platforms/windows has its own",
    "examples": "they are run in namespaces",
    "cli/test_completion.py": "these shells are another system's",
    "native/test_memory.py": "its descriptors are watched by a selector",
    "native/test_ring.py": "the sanitizers are another system's",
    "codecs/test_tokio.py": "its peer is reached by a UNIX socket",
    "wireguard/system": "it is about the routes and name servers of other systems",
    "wireguard/test_config_files.py::test_a_file_that_everybody_may_read": "files have no modes",
    "wireguard/test_endpoint.py::test_firewall_mark": "sockets have no marks",
    "wireguard/test_endpoint.py::test_many_datagrams_in_a_call": "the models are of other systems",
    "wireguard/test_endpoint.py::test_the_clock_counts_sleep": "it asks Linux' clock",
    "wireguard/test_exit.py": KERNEL,
    "wireguard/test_page.py": "its interfaces are Linux' devices",
    "wireguard/test_service.py": "its interfaces are Linux' devices",
    "wireguard/test_uapi_socket.py": "it is about UNIX sockets; wireguard/windows has the pipe",
    "wireguard/test_unix_socket.py": "it is about UNIX sockets",
    "tools": "these tools are for developers on Linux",
}
"""Folders, files and single tests below tests/, with the reason."""

NO_ICMP = "wine tells nobody who receives what ICMP said (select, recv), but the next to send"

NO_END = "wine ends no overlapped send that begins, with more than fits, after the peer has closed"

HELD_BACK = "asyncio's own endpoint, whose sending is replaced meanwhile, tells of no room then"

WINE = {
    "framed/test_ends.py::test_anyios_broken_stream[asyncio]": NO_END,
    "framed/test_datagrams.py::test_what_icmp_says_is_logged[selector]": NO_ICMP,
    "udp/test_endpoint.py::test_a_connected_endpoint_hears_what_icmp_says_and_lives_on": NO_ICMP,
    "udp/test_endpoint.py::test_an_error_of_earlier_datagrams_costs_no_later_one": NO_ICMP,
    **{
        f"udp/test_datagram_protocol.py::test_errors_of_a_peer[{each}]": NO_ICMP
        for each in (
            *("asyncio-event", "uvloop-event", "selector-event"),
            *("selector-plain", "selector-asyncio's own"),
        )
    },
    **{
        f"udp/test_endpoint.py::test_addresses_that_cannot_be_had[{loop}-no address of ours]": (
            "wine binds sockets to addresses that the machine has not"
        )
        for loop in ("asyncio", "uvloop", "selector")
    },
    "wireguard/test_cluster.py::test_a_link_that_is_full": HELD_BACK,
    "wireguard/test_cluster.py::test_a_link_to_a_server_whose_socket_is_full": HELD_BACK,
    "wireguard/test_endpoint.py::test_an_address_of_ours_is_gone": "the endpoint is asyncio's "
    "own, which tells no address of ours",
}
"""Those that do not run on Windows as wine (8.0) has it either."""

ELSEWHERE = {
    "platforms/windows": "make windows runs them",
    "udp/windows": "make windows runs them",
    "wireguard/windows": "make windows runs them",
}
"""Those that run on Windows alone."""

LINUX = "it asks Linux, or runs there alone"

MODEL = "its models of drivers take Linux for their sockets"

NO_SEQPACKET = "it takes SOCK_SEQPACKET of UNIX sockets, which macOS has not"

UNIX = {
    "benchmarks": "benchmarks and their peers are for Linux",
    "capturing/test_captured.py": LINUX,
    "capturing/test_packet_ring.py": LINUX,
    "cli/test_bench.py": LINUX,
    "cli/test_demo.py": LINUX,
    "cli/test_doctor.py": LINUX,
    "cli/test_watch.py": LINUX,
    "examples": "they are run in namespaces",
    "flows/test_guard.py": LINUX,
    "flows/test_memory.py": LINUX,
    "flows/test_rootless.py": LINUX,
    "flows/test_tcp.py": LINUX,
    "flows/test_other_systems.py": MODEL,
    "native/test_memory.py": LINUX,
    "offload/test_kernel_gro.py": LINUX,
    "offload/test_kernel_split.py": LINUX,
    "platforms/bsd": MODEL,
    "platforms/linux": LINUX,
    "platforms/test_phones.py": MODEL,
    "platforms/test_settings.py": MODEL,
    "probes/test_devices.py": MODEL,
    "probes/test_linux.py": LINUX,
    "test_many_devices.py": LINUX,
    "test_traffic.py": LINUX,
    "tools": "these tools are for developers on Linux",
    UNKNOWN: LINUX_MAY_HAVE_IT,
    "udp/test_bsd.py": MODEL,
    "udp/test_mmsg.py": MODEL,
    "udp/test_datagram_protocol.py": LINUX,
    "udp/test_offload.py": LINUX,
    "udp/test_sending.py": LINUX,
    "udp/test_trains.py": LINUX,
    "wireguard/system": LINUX,
    "wireguard/test_endpoint.py::test_many_datagrams_in_a_call": MODEL,
    "wireguard/test_exit.py": LINUX,
}
"""Those that do not run on macOS and the BSDs."""

MACOS = {
    "native/test_native.py": NO_SEQPACKET,
    "test_device.py": NO_SEQPACKET,
    "test_handover.py": NO_SEQPACKET,
    "test_synchronous.py": NO_SEQPACKET,
    "test_wrong_arguments.py": NO_SEQPACKET,
    "transports/test_ending_within.py": NO_SEQPACKET,
    "transports/test_fastpath.py": NO_SEQPACKET,
    "transports/test_twins.py": NO_SEQPACKET,
}
"""Those that do not run on macOS either."""


def here() -> dict[str, str]:
    """Folders, files and single tests below tests/ that this system leaves out, with the reason."""
    if sys.platform == "win32":
        return WINDOWS | (WINE if hasattr(ctypes.WinDLL("ntdll"), "wine_get_version") else {})
    if sys.platform == "linux":
        return ELSEWHERE
    return ELSEWHERE | UNIX | (MACOS if sys.platform == "darwin" else {})
