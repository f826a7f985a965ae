"""Connections from SYN to TIME_WAIT, played by hand."""

from __future__ import annotations

import random
from typing import Any

import packets
import pytest
from flow_tables import ACK, FIN, LISTENER, PEERS, PSH, RST, SYN, TablePlay, packed, source_of
from hypothesis import given
from hypothesis import strategies as st

from aiotun.flows import Decision, FlowLimits
from aiotun.flows.table import (
    CLOSED_TIMEOUT,
    FIRST_PORT,
    LAST_PORT,
    OPEN_TIMEOUT,
    OPENING_TIMEOUT,
    State,
)
from aiotun.flows.translate import locate


def tcp_fields(packet: bytes) -> dict[str, int]:
    start = packets.find_transport(packet)[1]
    return {
        "sport": int.from_bytes(packet[start : start + 2], "big"),
        "dport": int.from_bytes(packet[start + 2 : start + 4], "big"),
        "seq": int.from_bytes(packet[start + 4 : start + 8], "big"),
        "ack": int.from_bytes(packet[start + 8 : start + 12], "big"),
        "flags": packet[start + 13],
    }


@pytest.mark.parametrize("version", [4, 6])
def test_a_connection(version: int) -> None:
    play = TablePlay()
    play.client(SYN, version=version)
    syn = play.last(play.to_listener)
    assert source_of(syn) == (PEERS[version][0], FIRST_PORT)
    assert packed(LISTENER[version]) in syn[:40]
    assert play.asked[0].flow.destination[1] == 80
    play.listener(SYN | ACK, syn, version)
    answer = play.last(play.to_client)
    assert source_of(answer) == (play.asked[0].flow.destination.host, 80)
    assert tcp_fields(answer)["dport"] == 5000
    assert play.counters.established == 0
    play.client(ACK, version=version)
    assert play.counters.established == 1
    play.client(ACK | PSH, version=version, payload=b"question")
    assert play.last(play.to_listener).endswith(b"question")
    play.listener(ACK | PSH, syn, version, payload=b"answer")
    assert play.last(play.to_client).endswith(b"answer")
    assert len(play.table) == 1
    play.client(FIN | ACK, version=version)
    assert len(play.table) == 1
    play.listener(FIN | ACK, syn, version)
    assert len(play.table) == 0
    assert play.asked[0].flow.ended
    play.client(ACK, version=version)  # of the last FIN
    assert (len(play.to_listener), len(play.to_client)) == (5, 3)
    assert play.drops == {}


def test_super_packets_pass_whole() -> None:
    play = TablePlay()
    syn = play.open()
    frame = packets.super_packet(
        packets.tcp(
            4, bytes(40000), sport=5000, dport=80, source="10.1.0.7", destination="203.0.113.5"
        ),
        1000,
    )
    play.receive(frame[10:], frame[:10])
    written = play.to_listener[-1]
    assert written[:10] == frame[:10]
    assert len(written) == len(frame)
    assert source_of(written[10:]) == source_of(syn)


@pytest.mark.parametrize(
    ("decision", "answer", "counted"),
    [
        (Decision.REFUSE, "reset", {}),
        (Decision.UNREACHABLE, "icmp", {}),
        (Decision.DROP, None, {"dropped": 1}),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("later", [False, True])
def test_what_is_not_taken(
    decision: Decision, answer: str | None, counted: dict[str, int], version: int, later: bool
) -> None:
    play = TablePlay(decision=None if later else decision)
    syn = play.client(SYN, version=version, seq=0xFFFFFFFF)
    if later:
        assert play.to_client == []
        play.table.decide(play.asked[0], decision, play.now)
    assert play.to_listener == []
    assert play.drops == counted
    assert len(play.table) == 0
    assert play.asked[0].flow.ended
    if answer is None:
        assert play.to_client == []
        return
    packet = play.to_client[-1][10:]
    if answer == "reset":
        packets.assert_sound(packet)
        assert tcp_fields(packet) == {
            "sport": 80,
            "dport": 5000,
            "seq": 0,
            "ack": 0,
            "flags": RST | ACK,
        }
    else:
        head = 20 if version == 4 else 40
        assert packet[head : head + 2] == (b"\x03\x01" if version == 4 else b"\x01\x03")
        assert packet[head + 8 :] == syn
    play.client(SYN, version=version)
    assert len(play.asked) == 2, "each attempt is asked about"


def test_icmp_errors_are_limited() -> None:
    play = TablePlay(decision=Decision.UNREACHABLE)
    play.may_report = False
    play.client(SYN)
    assert play.to_client == []
    assert play.drops == {"errors limited": 1}


def test_resets_for_unknown_connections_are_limited() -> None:
    play = TablePlay()
    play.may_report = False
    play.client(ACK)
    play.client(RST)  # which gets none anyway
    assert play.to_client == []
    assert play.drops == {"no flow": 2, "errors limited": 1}
    play.may_report = True
    play.client(ACK)
    assert len(play.to_client) == 1


def test_a_pending_decision_holds_the_last_syn_back() -> None:
    play = TablePlay(decision=None)
    play.client(SYN)
    play.client(SYN, window=999)
    play.client(ACK)
    assert (len(play.asked), play.to_listener, play.to_client) == (1, [], [])
    play.table.decide(play.asked[0], Decision.TAKE, play.now)
    assert int.from_bytes(play.last(play.to_listener)[34:36], "big") == 999
    assert len(play.to_listener) == 1
    assert play.drops == {"pending": 2}
    play.table.decide(play.asked[0], Decision.REFUSE, play.now)
    assert play.to_client == [], "what is decided is decided"


def test_a_repeated_syn_with_a_wrong_checksum_does_not_replace_the_first() -> None:
    play = TablePlay(decision=None)
    syn = play.client(SYN)
    play.receive(syn[:-1] + bytes([syn[-1] ^ 1]))
    play.table.decide(play.asked[0], Decision.TAKE, play.now)
    play.last(play.to_listener)  # which looks at its checksum


def test_a_client_that_gives_up_while_it_is_decided() -> None:
    play = TablePlay(decision=None)
    play.client(SYN)
    ended: list[Any] = []
    play.asked[0].flow.add_done_callback(ended.append)
    play.client(RST)
    assert ended == [play.asked[0].flow]
    play.table.decide(play.asked[0], Decision.TAKE, play.now)
    assert play.to_listener == []
    play.asked[0].flow.add_done_callback(ended.append)
    assert len(ended) == 2, "called at once where it has ended"


@pytest.mark.parametrize(
    ("flags", "payload", "answer"),
    [
        (ACK, b"", {"seq": 77, "ack": 0, "flags": RST}),
        (FIN | ACK, b"xyz", {"seq": 77, "ack": 0, "flags": RST}),
        (FIN, b"xyz", {"seq": 0, "ack": 4 + 4, "flags": RST | ACK}),
        (SYN | ACK, b"", {"seq": 77, "ack": 0, "flags": RST}),
        (RST, b"", None),
        (RST | ACK, b"", None),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_no_connection(
    flags: int, payload: bytes, answer: dict[str, int] | None, version: int
) -> None:
    play = TablePlay()
    play.client(flags, version=version, payload=payload, seq=4, ack=77)
    assert play.drops == {"no flow": 1}
    if answer is None:
        assert play.to_client == []
    else:
        assert tcp_fields(play.last(play.to_client)) == {"sport": 80, "dport": 5000, **answer}


@pytest.mark.parametrize(
    ("source", "destination"),
    [("10.1.0.7", "224.0.0.5"), ("0.0.0.0", "10.2.0.2"), ("10.1.0.7", "255.255.255.255")],
)
def test_addresses_of_no_host_get_no_answer(source: str, destination: str) -> None:
    play = TablePlay()
    for flags in (SYN, ACK):
        play.client(flags, source=source, destination=destination)
    assert (play.drops, play.to_client, play.asked) == ({"not unicast": 2}, [], [])


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_a_wrong_checksum_begins_nothing_and_gets_no_answer(flags: int) -> None:
    play = TablePlay()
    packet = packets.tcp(4, sport=5000, dport=80, flags=flags)
    play.receive(packet[:-1] + b"\xff")
    assert (play.drops, play.to_client, play.asked) == ({"checksum": 1}, [], [])


def test_the_listener_speaks_to_nobody_else() -> None:
    play = TablePlay()
    stranger = packets.tcp(4, sport=FIRST_PORT + 7, source=PEERS[4][0])
    play.listener(SYN | ACK, stranger)
    assert (play.drops, play.to_client, play.to_listener) == ({"no flow": 1}, [], [])


@pytest.mark.parametrize("first", ["client", "listener"])
def test_half_closed_connections_carry_on(first: str) -> None:
    play = TablePlay()
    syn = play.open()
    play.hold(syn)
    if first == "client":
        play.client(FIN | ACK)
    else:
        play.listener(FIN | ACK, syn)
    for _ in range(5):
        play.now += OPEN_TIMEOUT + 1
        play.table.expire(play.now)
    play.client(ACK, payload=b"more")
    assert play.last(play.to_listener).endswith(b"more")
    play.listener(ACK, syn, payload=b"and more")
    assert play.last(play.to_client).endswith(b"and more")
    assert len(play.table) == 1


def test_a_connection_lives_as_long_as_its_socket() -> None:
    play = TablePlay()
    held = True
    syn = play.open()
    play.hold(syn, lambda: held)
    for _ in range(10):
        play.now += OPEN_TIMEOUT
        play.table.expire(play.now)
        assert len(play.table) == 1
    held = False
    for _ in range(2):
        play.now += OPEN_TIMEOUT
        play.table.expire(play.now)
    assert len(play.table) == 0
    assert play.asked[0].flow.ended
    assert not play.table.busy


def test_what_nobody_holds_lives_while_it_has_packets() -> None:
    play = TablePlay()
    play.open()
    for _ in range(5):
        play.now += OPEN_TIMEOUT
        play.client(ACK)
        play.table.expire(play.now)
    assert len(play.table) == 1


@pytest.mark.parametrize("by", ["client", "listener"])
def test_a_reset_ends_it(by: str) -> None:
    play = TablePlay()
    syn = play.open()
    if by == "client":
        play.client(RST)
        assert tcp_fields(play.last(play.to_listener))["flags"] == RST
    else:
        play.listener(RST | ACK, syn)
        assert tcp_fields(play.last(play.to_client))["flags"] == RST | ACK
    assert len(play.table) == 0
    assert play.asked[0].flow.ended


def test_a_reset_that_the_listener_does_not_believe() -> None:
    """RFC 5961: a reset out of sequence gets an ACK, and the connection lives."""
    play = TablePlay()
    syn = play.open()
    play.hold(syn)
    play.client(RST)
    assert not play.asked[0].flow.ended
    play.listener(ACK, syn)
    assert len(play.table) == 1
    play.client(RST)
    assert len(play.table) == 0
    play.now += CLOSED_TIMEOUT
    play.table.expire(play.now)  # idle since, and still somebody's
    assert len(play.table) == 1
    play.client(ACK, payload=b"alive")
    assert play.last(play.to_listener).endswith(b"alive")


def close(play: TablePlay, syn: bytes, sport: int = 5000) -> None:
    play.client(FIN | ACK, sport)
    play.listener(FIN | ACK, syn)
    play.client(ACK, sport)


def test_a_port_rests_before_it_is_used_again() -> None:
    play = TablePlay()
    ports = (LAST_PORT - FIRST_PORT + 1) * len(PEERS[4])
    syn = play.open()
    close(play, syn)
    table = play.table
    used = {source_of(syn)}
    for number in range(ports - 1):  # all others
        peer, port = table._ports[4].take()  # type: ignore[misc]
        used.add((".".join(map(str, peer)), port))
        assert number >= 0
    assert len(used) == ports
    play.client(SYN, 5001)
    assert play.drops == {"ports full": 1}
    play.now += CLOSED_TIMEOUT - 1
    play.table.expire(play.now)
    play.client(SYN, 5001)
    assert play.drops == {"ports full": 2}
    play.now += 1
    play.table.expire(play.now)
    play.client(SYN, 5001)
    assert source_of(play.last(play.to_listener)) == source_of(syn)


def test_the_same_client_port_anew_gets_another_port() -> None:
    play = TablePlay()
    syn = play.open()
    close(play, syn)
    again = play.open()
    assert source_of(again) != source_of(syn)
    assert len(play.table) == 1
    play.listener(ACK, syn)  # the old one's last words do not disturb it
    play.now += CLOSED_TIMEOUT
    play.table.expire(play.now)
    play.client(ACK, payload=b"x")
    assert source_of(play.last(play.to_listener)) == source_of(again)


def test_a_reset_connection_whose_client_has_begun_anew_stays_closed() -> None:
    play = TablePlay()
    held = True
    syn = play.open()
    play.hold(syn, lambda: held)
    play.client(RST)
    again = play.open()
    play.listener(ACK, syn)
    assert [each.flow for each in play.table.connections()] == [play.asked[1].flow]
    assert len(play.table) == 1
    play.now += CLOSED_TIMEOUT
    play.table.expire(play.now)
    assert len(play.table) == 1, "still held, and yet nothing comes of it"
    held = False
    play.now += CLOSED_TIMEOUT
    play.table.expire(play.now)
    assert play.asked[0].flow.ended
    play.client(ACK, payload=b"x")
    assert source_of(play.last(play.to_listener)) == source_of(again)


def test_many_connections_leave_nothing_behind() -> None:
    play = TablePlay()
    for number in range(2000):
        sport = 5000 + number % 100
        close(play, play.open(sport), sport)
        play.now += 1
        play.table.expire(play.now)
    play.now += CLOSED_TIMEOUT
    play.table.expire(play.now)
    assert not play.table.busy
    assert not play.table.paths
    assert (play.counters.established, play.drops) == (2000, {})


def test_a_flood_costs_no_open_connection_anything() -> None:
    play = TablePlay(half_open=10)
    syn = play.open()
    for sport in range(6000, 7000):
        play.client(SYN, sport)
    assert len(play.table) == 11
    assert play.drops == {"half open": 990}
    play.client(ACK, payload=b"still here")
    assert play.last(play.to_listener).endswith(b"still here")
    assert source_of(play.last(play.to_listener)) == source_of(syn)


def test_what_gives_way_is_taken_from_the_listener() -> None:
    play = TablePlay(half_open=1)
    play.client(SYN, 6000, seq=0xFFFFFFFF)
    first = play.last(play.to_listener)
    play.client(SYN, 6001)
    reset = play.to_listener[1][10:]
    packets.assert_sound(reset)
    assert source_of(reset) == source_of(first)
    assert {"seq": 0, "flags": RST}.items() <= tcp_fields(reset).items()
    assert play.asked[0].flow.ended
    assert not play.asked[1].flow.ended


def test_a_handshake_that_never_ends() -> None:
    play = TablePlay()
    play.client(SYN)
    play.now += OPENING_TIMEOUT - 1
    play.client(SYN)
    play.now += OPENING_TIMEOUT - 1
    play.table.expire(play.now)
    assert len(play.table) == 1
    play.now += 1
    play.table.expire(play.now)
    assert len(play.table) == 0


def test_the_number_of_flows_is_bounded() -> None:
    play = TablePlay(flows=3)
    syns = [play.open(sport) for sport in (6000, 6001, 6002)]
    play.client(SYN, 6003)
    assert play.drops == {"flows full": 1}
    close(play, syns[0], 6000)
    play.client(SYN, 6003)
    assert len(play.table) == 3
    assert play.drops == {"flows full": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"flows": 0},
        {"half_open": -1},
        {"conversations": 1.5},
        {"errors": True},
        {"conversation_timeout": 0},
        {"short_timeout": "10"},
    ],
)
def test_limits_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FlowLimits(**wrong)


@given(st.integers(0, 2**32), st.integers(20, 200))
def test_random_packets_raise_nothing_and_leave_sound(seed: int, count: int) -> None:
    """Whatever comes, what leaves has right checksums if it came with them."""
    chance = random.Random(seed)
    play = TablePlay(half_open=4, flows=8, decision=None)
    sound: list[bytes] = []
    for _ in range(count):
        play.decision = chance.choice([Decision.TAKE, Decision.TAKE, None, *Decision])
        version = chance.choice([4, 6])
        flags = chance.choice([SYN, ACK, SYN | ACK, FIN | ACK, RST, chance.randrange(256)])
        if chance.random() < 0.3 and play.to_listener:
            to = chance.choice(play.to_listener)[10:]
            play.listener(flags, to, 4 if to[0] >> 4 == 4 else 6)
        elif chance.random() < 0.2 and play.asked:
            play.table.decide(chance.choice(play.asked), chance.choice(list(Decision)), play.now)
        elif chance.random() < 0.1 and sound:
            spoiled = bytearray(chance.choice(sound))
            spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
            frame = bytes(10) + bytes(spoiled)
            found = locate(frame)
            before = len(play.to_client), len(play.to_listener)
            if found is not None and found[0] == 6:
                play.table.receive(frame, found[1], found[2], play.now)
            del play.to_client[before[0] :], play.to_listener[before[1] :]
        else:
            sound.append(play.client(flags, chance.randrange(5000, 5006), version))
        play.now += chance.choice([0, 0, 1, 100])
        play.table.expire(play.now)
        states = [each.state for each in play.table.connections()]
        assert State.CLOSED not in states
        assert len(states) == len(play.table) <= 8
    for frame in play.to_client + play.to_listener:
        if frame[10 + (9 if frame[10] >> 4 == 4 else 6)] == 6:
            packets.assert_sound(frame[10:])
