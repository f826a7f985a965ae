"""Congestion marks, after figure 4 of RFC 6040."""

from __future__ import annotations

import packets
import pytest

from aiotun.wireguard.core.ecn import decapsulate, ecn_of

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


@pytest.mark.parametrize("wrong_by", [0, 1, 0x1234, 0xFFFE])
@pytest.mark.parametrize(("inner", "outer"), [(ECT_0, ECT_1), (ECT_0, CE), (ECT_1, CE)])
def test_the_checksum_is_as_wrong_as_before(inner: int, outer: int, wrong_by: int) -> None:
    """Whoever receives the packet is to find what happened to it before the tunnel."""

    def marked(ecn: int) -> bytes:
        packet = packets.udp(4, b"payload", tos=ecn, options=bytes(8))
        checksum = packets.ones_sum(packet[10:12], wrong_by)
        return packet[:10] + checksum.to_bytes(2, "big") + packet[12:]

    assert decapsulate(marked(inner), outer) == marked(outer)
