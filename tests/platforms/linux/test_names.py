"""Which names are possible: our check beside the kernel's."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import outside
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from aiotun.config import check_name
from aiotun.errors import NameInvalidError
from aiotun.testing.namespace import Namespace

IFNAMSIZ = 16  # linux/if.h


@pytest.mark.requires("netns")
def test_names_as_the_kernel_judges_them(namespace: Namespace) -> None:
    """Renaming goes through the same check (dev_get_valid_name) as making."""
    name = "start"
    namespace.run(outside.make, name, "bridge")

    def renamed(new: str) -> bool:
        nonlocal name
        try:
            outside.rename(name, new)
        except OSError:
            return False
        name = new
        return True

    @given(st.text(st.characters(codec="utf-8", exclude_characters="%\0"), min_size=1, max_size=5))
    @example("a" * 15)
    @example("à")
    @example("\x1c")
    @example(".")
    @example("..")
    @example("lower")
    def check(new: str) -> None:
        assume(len(new.encode()) < IFNAMSIZ)  # the ioctl cuts longer ones off
        try:
            check_name(new)
        except NameInvalidError:
            assert not renamed(new)
        else:
            assert new == "lo" or renamed(new)

    namespace.run(check)
