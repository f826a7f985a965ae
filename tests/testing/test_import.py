"""What is there after `import aiotun`, and what is left alone until it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aiotun


def test_testing_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys, aiotun; assert 'aiotun.testing' not in sys.modules;"
        "aiotun.testing.memory_devices()[0].close(); assert 'aiotun.testing' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="'aiotun' has no attribute 'tests'"):
        aiotun.tests  # type: ignore[attr-defined]  # noqa: B018


def test_types_of_arguments_have_a_place() -> None:
    def add(device: aiotun.Device, address: aiotun.typing.AddressLike) -> None:
        device.add_address(address)

    device, other = aiotun.testing.memory_devices()
    with device, other:
        add(device, "10.9.0.1/24")
        assert [str(address) for address in device.addresses()] == ["10.9.0.1/24"]


def test_testing_can_be_imported_on_other_systems() -> None:
    program = "import asyncio, sys; sys.platform = 'darwin'; import aiotun.testing"
    subprocess.run([sys.executable, "-c", program], check=True)
