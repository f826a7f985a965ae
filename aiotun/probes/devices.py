"""The probes of devices on systems other than Linux: one is made for a moment."""

from __future__ import annotations

from functools import partial

from .. import platforms
from ..config import DeviceConfig, Layer
from ..errors import TunError
from .base import Missing, Probe

__all__ = ["PROBES"]


def _make(layer: Layer) -> str:
    try:
        interface, queue = platforms.open_device(DeviceConfig(layer=layer, up=None))
    except TunError as exc:
        what = (exc.strerror or str(exc)).partition(": ")[0]  # the remedies stand apart
        raise Missing(what, *exc.remedies) from exc
    except OSError as exc:
        raise Missing(str(exc)) from exc
    try:
        return f"made {interface.name}, and removed it"
    finally:
        queue.close()
        interface.close()


PROBES = {"tun": Probe(partial(_make, "tun")), "tap": Probe(partial(_make, "tap"))}
