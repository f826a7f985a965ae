"""What tests of programs built on aiotun need: devices in memory, network namespaces."""

from .memory import MemoryDevice, memory_devices
from .namespace import Namespace, become_root

__all__ = ["MemoryDevice", "Namespace", "become_root", "memory_devices"]
