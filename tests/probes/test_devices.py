"""The probes of devices on the BSDs and macOS: on MODELS of their drivers."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from models.devices import KERNELS
from models.kernel import ModelKernel

import aiotun.probes
from aiotun import platforms
from aiotun.cli import doctor
from aiotun.platforms.bsd.interface import open_on
from aiotun.probes.base import Missing
from aiotun.probes.devices import PROBES


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModelKernel:
    made = KERNELS[request.param]()
    monkeypatch.setattr(platforms, "open_device", lambda config: open_on(made.system(made), config))
    return made


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_a_device_is_made_and_removed(kernel: ModelKernel, layer: str) -> None:
    kind = kernel.system.kinds[layer]  # type: ignore[index]
    assert PROBES[layer].attempt() == f"made {kind}0, and removed it"
    assert not kernel.interfaces


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_what_is_missing_is_told(kernel: ModelKernel, layer: str) -> None:
    with kernel.unprivileged(), pytest.raises(Missing) as info:
        PROBES[layer].attempt()
    assert "may not" in info.value.detail
    assert "run as root" not in info.value.detail
    assert "run as root" in info.value.remedies


@pytest.fixture
def on_freebsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for cached in (aiotun.probes._probes, aiotun.probes.probe):
        cached.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "freebsd15")
        aiotun.probes._probes()
    yield
    for cached in (aiotun.probes._probes, aiotun.probes.probe):
        cached.cache_clear()


@pytest.mark.usefixtures("on_freebsd")
@pytest.mark.parametrize("privileged", [True, False])
def test_the_doctor_speaks_of_them(
    kernel: ModelKernel, capsys: pytest.CaptureFixture[str], privileged: bool
) -> None:
    kernel.privileged = privileged
    found = {name: aiotun.probes.probe(name) for name in ("tun", "tap")}
    lines = list(doctor.report({}, found, colour=False, columns=500))
    assert any("tap" in line and ("ok" if privileged else "missing") in line for line in lines)
    said = doctor.verdict(found)
    assert said.startswith("This process can make" if privileged else "This process cannot make")
