"""What tests of programs built on aiotun need: devices in memory, namespaces, probes."""

from .memory import memory_devices
from .namespace import Namespace, become_root

__all__ = ["Namespace", "become_root", "memory_devices"]
