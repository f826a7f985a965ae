"""Conversations: datagrams out of packets and into them, timeouts and bounds, played by hand."""

from __future__ import annotations

import random
import struct
from typing import Any

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.flows.base import QUEUED, Decision, FlowCounters, FlowLimits
from aiotun.flows.conversations import IDLE_MIN, Conversation, ConversationTable
from aiotun.flows.translate import locate

CLIENT = {4: "10.1.0.7", 6: "fd01::7"}
SERVER = {4: "203.0.113.5", 6: "2001:db8::5"}


class Play:
    """The table, the packets that it wrote, and what its conversations got."""

    def __init__(self, *, decision: Decision | None = Decision.TAKE, **limits: Any) -> None:
        self.written: list[bytes] = []
        self.asked: list[Conversation] = []
        self.got: list[bytes] = []
        self.ended: list[Conversation] = []
        self.decision = decision
        self.may_report = True
        self.take = self._take
        self.now = 1000.0
        self.counters = FlowCounters()
        self.table = ConversationTable(
            FlowLimits(**limits),
            self.counters,
            write=self.written.append,
            admit=self._admit,
            take=lambda conversation: self.take(conversation),
            may_report=lambda: self.may_report,
        )

    def _admit(self, conversation: Conversation) -> Decision | None:
        self.asked.append(conversation)
        return self.decision

    def _take(self, conversation: Conversation) -> None:
        conversation.received = self.got.append
        conversation.ended = lambda: self.ended.append(conversation)

    @property
    def drops(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.counters.drops.items()}

    def receive(self, frame: bytes) -> None:
        found = locate(frame)
        assert found is not None
        assert found[0] == 17
        self.table.receive(frame, found[1], found[2], self.now)

    def client(
        self, payload: bytes = b"x", sport: int = 5000, version: int = 4, **fields: Any
    ) -> bytes:
        fields = {"source": CLIENT[version], "destination": SERVER[version], **fields}
        packet = packets.udp(version, payload, sport=sport, dport=fields.pop("dport", 80), **fields)
        self.receive(bytes(10) + packet)
        return packet

    def send(self, data: bytes, mtu: int = 1500, which: int = -1) -> None:
        self.table.send(self.asked[which], data, mtu, self.now)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"", b"x", b"question" * 100])
def test_there_and_back(version: int, payload: bytes) -> None:
    play = Play()
    play.client(payload, version=version)
    play.client(b"second", version=version)
    assert play.got == [payload, b"second"]
    play.send(payload)
    (answer,) = play.written
    packets.assert_sound(answer)
    assert answer == packets.udp(
        version,
        payload,
        sport=80,
        dport=5000,
        source=SERVER[version],
        destination=CLIENT[version],
    )
    assert play.counters.conversations == 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_of_zero_is_written_as_ones(version: int) -> None:
    """Zero says that there is none (RFC 768)."""
    play = Play()
    play.client(version=version)
    play.send(b"\0\0")
    start = (20 if version == 4 else 40) + 6
    rest = play.written[0][start : start + 2]  # what the sum of all else lacks
    play.send(rest)
    assert play.written[1][start : start + 2] == b"\xff\xff"
    packets.assert_sound(play.written[1])


@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_is_many_datagrams(version: int) -> None:
    play = Play()
    payload = random.Random(1).randbytes(2500)
    whole = packets.udp(version, payload, source=CLIENT[version], destination=SERVER[version])
    play.receive(packets.super_packet(whole, 1000))
    assert play.got == [payload[:1000], payload[1000:2000], payload[2000:]]


def test_a_super_packet_of_no_size() -> None:
    play = Play()
    frame = packets.super_packet(packets.udp(4, bytes(2500)), 1000)
    play.receive(frame[:4] + b"\0\0" + frame[6:])
    play.receive(frame[:1] + b"\x01" + frame[2:])
    assert (play.got, play.drops) == ([], {"malformed": 2})


def test_what_is_not_delivered() -> None:
    play = Play()
    good = packets.udp(4, b"payload")
    play.receive(bytes(10) + good[:-1] + b"!")
    play.receive(bytes(10) + good[:24] + b"\0\xff" + good[26:])
    for destination in ("224.0.0.251", "255.255.255.255"):
        play.client(destination=destination)
    play.client(sport=0)
    assert play.drops == {"checksum": 1, "malformed": 1, "not unicast": 3}
    assert (play.got, play.asked, play.written) == ([], [], [])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("decision", "code"),
    [
        (Decision.REFUSE, {4: b"\x03\x03", 6: b"\x01\x04"}),
        (Decision.UNREACHABLE, {4: b"\x03\x01", 6: b"\x01\x03"}),
        (Decision.DROP, None),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_what_is_not_taken(
    decision: Decision, code: dict[int, bytes] | None, version: int, later: bool
) -> None:
    play = Play(decision=None if later else decision)
    packet = play.client(b"z" * 2000, version=version)
    if later:
        play.table.decide(play.asked[0], decision)
    assert (play.got, len(play.table)) == ([], 0)
    assert play.asked[0].flow.ended
    if code is None:
        assert (play.written, play.drops) == ([], {"dropped": 1})
        return
    (answer,) = play.written
    head, most = (20, 576) if version == 4 else (40, 1280)
    assert answer[head : head + 2] == code[version]
    assert len(answer) == most
    assert packet.startswith(answer[head + 8 :])
    assert play.counters.refused == 1


def test_icmp_errors_are_limited() -> None:
    play = Play(decision=Decision.REFUSE)
    play.may_report = False
    play.client()
    assert (play.written, play.drops) == ([], {"errors limited": 1})


def test_datagrams_wait_for_the_decision() -> None:
    play = Play(decision=None, queued_bytes=3 * QUEUED)
    for number in range(4):
        play.client(bytes([number]))
    assert play.got == []
    play.table.decide(play.asked[0], Decision.TAKE)
    assert play.got == [b"\0", b"\1"]
    assert play.drops == {"pending": 2}
    play.client(b"next")
    play.table.decide(play.asked[0], Decision.REFUSE)
    assert (play.got[2:], play.written, len(play.asked)) == ([b"next"], [], 1)


@pytest.mark.parametrize("pending", [False, True])
def test_the_rest_of_what_ends_its_conversation_is_counted(pending: bool) -> None:
    play = Play(decision=None if pending else Decision.TAKE)

    def take_one(conversation: Conversation) -> None:
        def receive(data: bytes) -> None:
            play.got.append(data)
            play.table.end(conversation)

        conversation.received = receive

    play.take = take_one
    play.receive(packets.super_packet(packets.udp(4, bytes(2500)), 1000))
    if pending:
        play.table.decide(play.asked[0], Decision.TAKE)
    assert (play.got, play.drops, len(play.table)) == ([bytes(1000)], {"no flow": 2}, 0)


def test_all_that_waited_for_a_decision_is_counted() -> None:
    play = Play(decision=None)
    for sport in (5000, 5000, 5001, 5001, 5001):
        play.client(sport=sport)
    play.table.decide(play.asked[0], Decision.DROP)
    play.table.end(play.asked[1])
    assert play.drops == {"dropped": 2, "pending": 3}


@pytest.mark.parametrize(("port", "timeout"), [(80, 300.0), (53, 10.0)])
@pytest.mark.parametrize("by", ["client", "us"])
def test_timeouts(port: int, timeout: float, by: str) -> None:
    play = Play()
    play.client(dport=port)
    for _ in range(3):
        play.now += timeout - 1
        if by == "client":
            play.client(dport=port)
        else:
            play.send(b"news")
        play.table.expire(play.now)
    assert len(play.table) == 1
    play.now += timeout - 0.5
    play.table.expire(play.now)
    assert play.ended == []
    play.now += 0.5
    play.table.expire(play.now)
    assert play.ended == play.asked
    assert play.asked[0].flow.ended
    play.client(dport=port)
    assert len(play.asked) == 2


def establish(play: Play, sport: int) -> Conversation:
    play.client(sport=sport)
    play.send(b"answer")
    play.client(sport=sport)
    return play.asked[-1]


def test_a_flood_ends_no_established_conversation() -> None:
    play = Play(conversations=10)
    established = [establish(play, 4000 + number) for number in range(5)]
    for sport in range(6000, 7000):
        play.client(sport=sport)
        play.send(b"answered, but not heard")
    assert len(play.table) == 10
    assert len(play.ended) == 995
    assert not set(play.ended) & set(established)
    assert play.ended[0] is play.asked[5], "the oldest one first"


def test_a_flood_of_short_ones_neither() -> None:
    play = Play(conversations=3)
    play.client(sport=4000)
    play.client(sport=4001, dport=53)
    play.now += 1
    play.client(sport=4000)
    play.client(sport=4002)
    play.client(sport=4003)
    assert play.ended == [play.asked[1]], "the one that was idle for longest"


def test_a_client_that_nobody_answers_is_not_established() -> None:
    play = Play(conversations=1)
    for _ in range(3):
        play.client(sport=4000)
    play.client(sport=4001)
    assert play.ended == [play.asked[0]]


def test_established_ones_give_way_when_they_are_idle() -> None:
    play = Play(conversations=2)
    first = establish(play, 4000)
    play.now += 1
    second = establish(play, 4001)
    play.now += IDLE_MIN - 1.5
    play.client(sport=4002)
    assert play.drops == {"conversations full": 1}
    play.now += 0.5
    play.client(sport=4002)
    assert play.ended == [first]
    assert second.flow in [each.flow for each in play.table.conversations()]


def reassembled(fragments: list[bytes]) -> bytes:
    """The datagram in the fragments of an IP packet, read as RFC 791 and RFC 8200 say."""
    data = bytearray()
    for number, packet in enumerate(fragments):
        last = number == len(fragments) - 1
        if packet[0] >> 4 == 4:
            assert packets.ones_sum(packet[:20]) == 0xFFFF
            word, payload = int.from_bytes(packet[6:8], "big"), packet[20:]
            offset, more = (word & 0x1FFF) * 8, bool(word & 0x2000)
            assert not word & 0x4000
        else:
            assert packet[6] == 44
            following, _, word, _ = struct.unpack_from("!BBHI", packet, 40)
            assert following == 17
            offset, more, payload = word & 0xFFF8, bool(word & 1), packet[48:]
        assert (offset, more) == (len(data), not last)
        assert last or len(payload) % 8 == 0
        data += payload
    return bytes(data)


@given(st.sampled_from([4, 6]), st.integers(1200, 20000), st.sampled_from([1280, 1281, 1420, 1500]))
def test_long_datagrams_leave_in_fragments(version: int, size: int, mtu: int) -> None:
    play = Play()
    play.client(version=version)
    data = random.Random(size).randbytes(size)
    play.send(data, mtu)
    assert all(len(packet) <= mtu for packet in play.written)
    if len(play.written) > 1:
        datagram = reassembled(play.written)
    else:
        datagram = play.written[0][20 if version == 4 else 40 :]
    assert datagram[8:] == data
    addresses = packets.pseudo_header(version, SERVER[version], CLIENT[version], 17, len(datagram))
    assert packets.ones_sum(addresses + datagram) == 0xFFFF


@pytest.mark.parametrize(("version", "most"), [(4, 65507), (6, 65527)])
def test_the_longest_datagram(version: int, most: int) -> None:
    play = Play()
    play.client(version=version)
    play.send(bytes(most))
    assert reassembled(play.written)[8:] == bytes(most)
    with pytest.raises(ValueError, match=str(most + 1)):
        play.send(bytes(most + 1))


def test_a_narrow_path_gets_fragments() -> None:
    play = Play()
    play.client()
    play.table.narrow(play.asked[0], 600)
    play.send(bytes(1000))
    assert [len(packet) <= 600 for packet in play.written] == [True, True]
    play.table.narrow(play.asked[0], 0)
    play.written.clear()
    play.send(bytes(100))
    assert all(len(packet) <= 68 for packet in play.written)


def test_what_has_ended_gets_nothing() -> None:
    play = Play()
    play.client()
    conversation = play.asked[0]
    play.table.end(conversation)
    play.table.end(conversation)
    assert play.ended == [conversation]
    play.client(b"again")
    assert play.asked[1] is not conversation


@given(st.integers(0, 2**32))
def test_random_packets_raise_nothing(seed: int) -> None:
    chance = random.Random(seed)
    play = Play(conversations=5, decision=None)
    good = [packets.udp(v, b"payload" * n, sport=n) for v in (4, 6) for n in range(1, 5)]
    for _ in range(50):
        play.decision = chance.choice([None, *Decision])
        spoiled = bytearray(bytes(10) + chance.choice(good))
        for _ in range(chance.choice([0, 1, 5])):
            spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
        frame = bytes(spoiled)
        found = locate(frame)
        if found is not None and found[0] == 17:
            play.table.receive(frame, found[1], found[2], play.now)
        if play.asked and chance.random() < 0.3:
            play.table.decide(chance.choice(play.asked), chance.choice(list(Decision)))
        play.now += chance.choice([0, 1, 200])
        play.table.expire(play.now)
        assert len(play.table) <= 5
