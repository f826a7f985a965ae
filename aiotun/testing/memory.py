"""A pair of devices in memory, for tests without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import DeviceConfig, DeviceSettings, make_config
from ..device import Device
from ..platforms.memory import MemoryInterface, open_pair

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["MemoryDevice", "memory_devices"]


class MemoryDevice(Device):
    """One of two that `memory_devices` makes. `interface.delete()` ends it as deleting its
    interface does, with `InterfaceGoneError`."""

    interface: MemoryInterface


def memory_devices(
    *,
    capacity: int = 500,
    push_back: bool = False,
    config: DeviceConfig | None = None,
    **settings: Unpack[DeviceSettings],
) -> tuple[MemoryDevice, MemoryDevice]:
    """Two devices joined back to back: what one sends, the other receives.

    Each can do what any `Device` can, and be handed as `device=` to
    `create_device_endpoint` and `open_device`; two transports of a pair belong
    on the same event loop. Both are made after the same configuration.

    `capacity` is the number of frames that wait for a reader (500, as for a
    TUN). What comes on top is dropped and counted, as the kernel does; with
    `push_back` the writer has to wait instead: its protocol gets
    `pause_writing`, its `send` blocks.

    Closing one does not end the other.
    """
    config = make_config(config, settings)
    first, second = open_pair(config, capacity=capacity, push_back=push_back)
    return MemoryDevice.from_parts(*first), MemoryDevice.from_parts(*second)
