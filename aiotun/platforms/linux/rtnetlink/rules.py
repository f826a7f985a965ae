"""The rules that choose a packet's routing table (ip-rule(8))."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6
from typing import Literal, NamedTuple

from .messages import decode_attributes, encode_number, get_number, unpack

__all__ = [
    "RTM_DELRULE",
    "RTM_GETRULE",
    "RTM_NEWRULE",
    "Rule",
    "decode_rule",
    "encode_rule",
    "encode_rule_dump",
]

# linux/rtnetlink.h
RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34

# linux/fib_rules.h
FR_ACT_TO_TBL = 1
FIB_RULE_INVERT = 2
FRA_PRIORITY = 6
FRA_FWMARK = 10
FRA_SUPPRESS_PREFIXLEN = 14
FRA_TABLE = 15
FRA_FWMASK = 16
FRA_PROTOCOL = 21

RULE = struct.Struct("=BBBBB2xBI")
"""struct fib_rule_hdr: family, prefix lengths of destination and source, ToS, table, action,
flags."""

ALL_ONES = 0xFFFF_FFFF
"""As a mask: the whole mark. As a prefix length to suppress: none."""

ATTRIBUTES = {
    FRA_PRIORITY,
    FRA_FWMARK,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    FRA_FWMASK,
    FRA_PROTOCOL,
}
"""All that a rule may have that `Rule` can say; others select more, or do something else."""

FAMILIES: dict[Literal[4, 6], int] = {4: AF_INET, 6: AF_INET6}


class Rule(NamedTuple):
    """Packets that it selects are routed by a table, if that table has a route for them."""

    version: Literal[4, 6]
    table: int
    fwmark: int | None = None
    """Selects packets with this mark, which is not 0; None: all."""
    inverted: bool = False
    """Selects all others instead ("not")."""
    suppress_prefixlength: int | None = None
    """Routes of the table count only if their prefix is longer; 0 leaves out default routes."""
    priority: int | None = None
    """Rules are asked in ascending order; None leaves it to the system: before all but the
    first."""

    def __str__(self) -> str:
        """As ip-rule(8) takes it."""
        words = [] if self.priority is None else [f"priority {self.priority}"]
        words += ["not"] if self.inverted else []
        words += [] if self.fwmark is None else [f"fwmark {self.fwmark:#x}"]
        words += [f"table {self.table}"]
        if self.suppress_prefixlength is not None:
            words += [f"suppress_prefixlength {self.suppress_prefixlength}"]
        return " ".join(words)


def encode_rule(rule: Rule) -> bytes:
    """A rule to add (RTM_NEWRULE) or to remove (RTM_DELRULE)."""
    table = rule.table if rule.table <= 0xFF else 0
    flags = FIB_RULE_INVERT if rule.inverted else 0
    body = RULE.pack(FAMILIES[rule.version], 0, 0, 0, table, FR_ACT_TO_TBL, flags)
    for kind, value in (
        (FRA_TABLE, rule.table),
        (FRA_FWMARK, rule.fwmark),
        (FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefixlength),
        (FRA_PRIORITY, rule.priority),
    ):
        if value is not None:
            body += encode_number(kind, value)
    return body


def encode_rule_dump(version: Literal[4, 6]) -> bytes:
    """Ask for all rules of an IP version (RTM_GETRULE)."""
    return RULE.pack(FAMILIES[version], 0, 0, 0, 0, 0, 0)


def decode_rule(body: bytes) -> Rule | None:
    """The body of RTM_NEWRULE; None for a rule that selects or does what `Rule` cannot say."""
    family, destination, source, tos, table, action, flags = unpack(RULE, body, 0)
    attributes = decode_attributes(body, RULE.size)
    version: Literal[4, 6] = 4 if family == AF_INET else 6
    if (
        family not in (AF_INET, AF_INET6)
        or destination
        or source
        or tos
        or action != FR_ACT_TO_TBL
        or attributes.keys() - ATTRIBUTES
        or get_number(attributes, FRA_FWMASK) not in (None, ALL_ONES)
    ):
        return None
    suppressed = get_number(attributes, FRA_SUPPRESS_PREFIXLEN)
    return Rule(
        version,
        get_number(attributes, FRA_TABLE) or table,
        get_number(attributes, FRA_FWMARK),
        bool(flags & FIB_RULE_INVERT),
        None if suppressed == ALL_ONES else suppressed,
        get_number(attributes, FRA_PRIORITY) or 0,
    )
