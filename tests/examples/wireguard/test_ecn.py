"""Congestion marks, after figure 4 of RFC 6040."""

from __future__ import annotations

import packets
import pytest

from examples.wireguard.ecn import decapsulate, ecn_of

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3
DROP = None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("inner", "outer", "result"),
    [
        (NOT_ECT, ECT_1, NOT_ECT),
        (NOT_ECT, CE, DROP),
        (ECT_0, ECT_1, ECT_1),
        (ECT_0, CE, CE),
        (ECT_1, ECT_1, ECT_1),
        (ECT_1, CE, CE),
        (CE, ECT_1, CE),
        (CE, CE, CE),
    ],
)
def test_decapsulate(version: int, inner: int, outer: int, result: int | None) -> None:
    def marked(ecn: int) -> bytes:
        fields = {"tos": 0xB8 | ecn, "flow_label": 0xFFFFF} if version == 6 else {"tos": 0xB8 | ecn}
        return packets.udp(version, b"payload", **fields)

    assert ecn_of(marked(inner)) == inner
    expected = None if result is None else marked(result)
    assert decapsulate(marked(inner), outer) == expected
