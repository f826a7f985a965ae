"""All that a run found out, as it is kept in a JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .ratios import Sample

__all__ = ["Failure", "Micro", "Results", "Timing"]


@dataclass(frozen=True)
class Failure:
    """A measurement that came to nothing, or a row that this machine cannot run."""

    row: str
    reason: str
    workload: str | None = None
    round: int | None = None


@dataclass(frozen=True)
class Timing:
    """Nanoseconds a packet of one function of `aiotun.offload`."""

    operation: str
    size: int
    """Bytes of a packet."""
    flows: int
    nanoseconds: float


@dataclass(frozen=True)
class Micro:
    """The micro-benchmarks of one implementation."""

    implementation: str
    timings: list[Timing]
    packets: int
    """Split and coalesced one after another while the memory was watched."""
    memory_growth: int
    """Bytes resident, from the first tenth of these packets to the end."""


@dataclass
class Results:
    machine: dict[str, Any]
    options: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    micro: list[Micro] = field(default_factory=list)
    import_seconds: float | None = None
    """`import aiotun` in a fresh interpreter, median."""

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        data["samples"] = [Sample(**sample) for sample in data["samples"]]
        data["failures"] = [Failure(**failure) for failure in data["failures"]]
        data["micro"] = [
            Micro(**{**micro, "timings": [Timing(**timing) for timing in micro["timings"]]})
            for micro in data["micro"]
        ]
        return cls(**data)
